/* Hash commands. */
#include "backends/cmd/cmd_hash.h"

#include <math.h>

#include "backends/cmd/collection.h"
#include "backends/cmd/config.h"
#include "backends/types/hash.h"
#include "common/num.h"

static struct hash_limits limits_of(const struct cmd_ctx *c)
{
    return (struct hash_limits){c->config->hash_max_listpack_entries,
                                c->config->hash_max_listpack_value};
}

static struct hash *hash_of(const struct entry *e)
{
    return entry_object(e);
}

static void put_back(struct cmd_ctx *c, struct entry *e, struct hash *h)
{
    collection_keep(c, e, c->argv[1], VAL_HASH, h);
}

/* The hash to read, or NULL after answering the error or what stands for an absent key. */
static const struct hash *read_hash(struct cmd_ctx *c, void (*absent)(struct resp_out *))
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (e == NULL) {
        absent(c->out);
        return NULL;
    }
    return cmd_type_ok(c, e, VAL_HASH) ? hash_of(e) : NULL;
}

static void reply_zero(struct resp_out *o)
{
    resp_int(o, 0);
}

static void reply_empty_array(struct resp_out *o)
{
    resp_array(o, 0);
}

static void reply_empty_map(struct resp_out *o)
{
    resp_map(o, 0);
}

/* ---- writing ---- */

/* Sets all pairs of argv[2..]; false after an error. */
static bool set_pairs(struct cmd_ctx *c, int64_t *created)
{
    if (c->argc % 2 == 1) {
        resp_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->cmd->name);
        return false;
    }
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_HASH)) {
        return false;
    }
    struct hash *h = e == NULL ? hash_new() : hash_of(e);
    for (int i = 2; i < c->argc; i += 2) {
        *created += hash_put(&h, c->argv[i], c->argv[i + 1], limits_of(c));
    }
    put_back(c, e, h);
    c->dirty += (uint64_t)(c->argc - 2) / 2;
    return true;
}

void hset_command(struct cmd_ctx *c)
{
    int64_t created = 0;
    if (set_pairs(c, &created)) {
        resp_int(c->out, created);
    }
}

void hmset_command(struct cmd_ctx *c)
{
    int64_t created = 0;
    if (set_pairs(c, &created)) {
        resp_ok(c->out);
    }
}

void hsetnx_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_HASH)) {
        return;
    }
    char tmp[NUM_I64_MAX];
    struct span old;
    if (e != NULL && hash_get(hash_of(e), c->argv[2], tmp, &old)) {
        resp_int(c->out, 0);
        return;
    }
    struct hash *h = e == NULL ? hash_new() : hash_of(e);
    (void)hash_put(&h, c->argv[2], c->argv[3], limits_of(c));
    put_back(c, e, h);
    c->dirty++;
    resp_int(c->out, 1);
}

void hdel_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_HASH)) {
        return;
    }
    int64_t removed = 0;
    if (e != NULL) {
        struct hash *h = hash_of(e);
        for (int i = 2; i < c->argc && hash_count(h) != 0; i++) {
            removed += hash_remove(&h, c->argv[i]);
        }
        put_back(c, e, h);
    }
    c->dirty += (uint64_t)removed;
    resp_int(c->out, removed);
}

void hincrby_command(struct cmd_ctx *c)
{
    int64_t by = 0;
    if (!cmd_i64(c, c->argv[3], &by, NULL)) {
        return;
    }
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_HASH)) {
        return;
    }
    char text[NUM_I64_MAX];
    struct span old;
    int64_t value = 0;
    if (e != NULL && hash_get(hash_of(e), c->argv[2], text, &old) && !num_parse_i64(old, &value)) {
        resp_error(c->out, "ERR hash value is not an integer");
        return;
    }
    if (__builtin_add_overflow(value, by, &value)) {
        resp_error(c->out, "ERR increment or decrement would overflow");
        return;
    }
    struct hash *h = e == NULL ? hash_new() : hash_of(e);
    (void)hash_put(&h, c->argv[2], span_of(text, num_fmt_i64(text, value)), limits_of(c));
    put_back(c, e, h);
    c->dirty++;
    resp_int(c->out, value);
}

/* The text of the sum in out (NUM_LDOUBLE_MAX bytes), or an error. e: the hash or NULL. */
static bool float_sum(struct cmd_ctx *c, const struct entry *e, long double by, struct span *sum,
                      char *out)
{
    char tmp[NUM_I64_MAX];
    struct span old;
    long double value = 0;
    if (e != NULL && hash_get(hash_of(e), c->argv[2], tmp, &old) &&
        !num_parse_ldouble(old, &value)) {
        resp_error(c->out, "ERR hash value is not a float");
        return false;
    }
    value += by;
    if (isnan(value) || isinf(value)) {
        resp_error(c->out, "ERR increment would produce NaN or Infinity");
        return false;
    }
    *sum = span_of(out, num_fmt_ldouble(out, value));
    return true;
}

static bool float_increment(struct cmd_ctx *c, long double *by)
{
    if (!num_parse_ldouble(c->argv[3], by)) {
        resp_error(c->out, "ERR value is not a valid float");
        return false;
    }
    if (isnan(*by) || isinf(*by)) {
        resp_error(c->out, "ERR value is NaN or Infinity");
        return false;
    }
    return true;
}

void hincrbyfloat_command(struct cmd_ctx *c)
{
    char text[NUM_LDOUBLE_MAX];
    struct span sum;
    long double by = 0;
    if (!float_increment(c, &by)) {
        return;
    }
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_HASH) || !float_sum(c, e, by, &sum, text)) {
        return;
    }
    struct hash *h = e == NULL ? hash_new() : hash_of(e);
    (void)hash_put(&h, c->argv[2], sum, limits_of(c));
    put_back(c, e, h);
    c->dirty++;
    resp_bulk_span(c->out, sum);
}

bool hincrbyfloat_rewrite(struct cmd_ctx *c, struct effects *fx)
{
    char text[NUM_LDOUBLE_MAX];
    struct span sum;
    long double by = 0;
    if (!float_increment(c, &by)) {
        return false;
    }
    struct entry *e = cmd_peek(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_HASH) || !float_sum(c, e, by, &sum, text)) {
        return false;
    }
    const struct span argv[] = {SPAN_LIT("HSET"), c->argv[1], c->argv[2], sum};
    effects_add(fx, 4, argv);
    resp_bulk_span(c->out, sum);
    return true;
}

/* ---- reading ---- */

void hget_command(struct cmd_ctx *c)
{
    const struct hash *h = read_hash(c, resp_null);
    if (h == NULL) {
        return;
    }
    char tmp[NUM_I64_MAX];
    struct span value;
    if (hash_get(h, c->argv[2], tmp, &value)) {
        resp_bulk_span(c->out, value);
    } else {
        resp_null(c->out);
    }
}

void hmget_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_HASH)) {
        return;
    }
    resp_array(c->out, (size_t)(c->argc - 2));
    for (int i = 2; i < c->argc; i++) {
        char tmp[NUM_I64_MAX];
        struct span value;
        if (e != NULL && hash_get(hash_of(e), c->argv[i], tmp, &value)) {
            resp_bulk_span(c->out, value);
        } else {
            resp_null(c->out);
        }
    }
}

void hgetall_command(struct cmd_ctx *c)
{
    const struct hash *h = read_hash(c, reply_empty_map);
    if (h == NULL) {
        return;
    }
    resp_map(c->out, hash_count(h));
    struct hash_iter it = hash_iter(h);
    struct span field;
    struct span value;
    while (hash_next(&it, &field, &value)) {
        resp_bulk_span(c->out, field);
        resp_bulk_span(c->out, value);
    }
}

static void one_side(struct cmd_ctx *c, bool want_field)
{
    const struct hash *h = read_hash(c, reply_empty_array);
    if (h == NULL) {
        return;
    }
    resp_array(c->out, hash_count(h));
    struct hash_iter it = hash_iter(h);
    struct span field;
    struct span value;
    while (hash_next(&it, &field, &value)) {
        resp_bulk_span(c->out, want_field ? field : value);
    }
}

void hkeys_command(struct cmd_ctx *c)
{
    one_side(c, true);
}

void hvals_command(struct cmd_ctx *c)
{
    one_side(c, false);
}

void hlen_command(struct cmd_ctx *c)
{
    const struct hash *h = read_hash(c, reply_zero);
    if (h != NULL) {
        resp_int(c->out, (int64_t)hash_count(h));
    }
}

void hstrlen_command(struct cmd_ctx *c)
{
    const struct hash *h = read_hash(c, reply_zero);
    if (h != NULL) {
        char tmp[NUM_I64_MAX];
        struct span value;
        bool there = hash_get(h, c->argv[2], tmp, &value);
        resp_int(c->out, there ? (int64_t)value.len : 0);
    }
}

void hexists_command(struct cmd_ctx *c)
{
    const struct hash *h = read_hash(c, reply_zero);
    if (h != NULL) {
        char tmp[NUM_I64_MAX];
        struct span value;
        resp_int(c->out, hash_get(h, c->argv[2], tmp, &value));
    }
}

/* ---- random fields ---- */

static void add_field(void *arg, struct span field, struct span value)
{
    (void)value;
    resp_bulk_span(arg, field);
}

static void add_pair(void *arg, struct span field, struct span value)
{
    struct resp_out *o = arg;
    if (o->proto > 2) {
        resp_array(o, 2);
    }
    resp_bulk_span(o, field);
    resp_bulk_span(o, value);
}

struct random_hash {
    const struct hash *h;
    hash_fn add;
};

static void random_one(const void *from, uint64_t *rng, struct resp_out *out)
{
    const struct random_hash *r = from;
    hash_random(r->h, rng, r->add, out);
}

static void random_some(const void *from, size_t n, uint64_t *rng, struct resp_out *out)
{
    const struct random_hash *r = from;
    hash_sample(r->h, n, rng, r->add, out);
}

static void random_fields(struct cmd_ctx *c, int64_t count, bool with_values)
{
    const struct hash *h = read_hash(c, reply_empty_array);
    if (h == NULL) {
        return;
    }
    struct random_hash r = {h, with_values ? add_pair : add_field};
    struct collection_draw d = {.from = &r,
                                .size = hash_count(h),
                                .each = with_values && c->out->proto == 2 ? 2 : 1,
                                .one = random_one,
                                .some = random_some};
    collection_draw(c, &d, count);
}

void hrandfield_command(struct cmd_ctx *c)
{
    if (c->argc == 2) {
        const struct hash *h = read_hash(c, resp_null);
        if (h != NULL) {
            (void)cmd_random(c);
            hash_random(h, c->rng, add_field, c->out);
        }
        return;
    }
    int64_t count = 0;
    if (!cmd_range(c, c->argv[2], -INT64_MAX, INT64_MAX, &count, NULL)) {
        return;
    }
    if (c->argc > 4 || (c->argc == 4 && !span_is(c->argv[3], "withvalues"))) {
        cmd_syntax_error(c);
        return;
    }
    if (c->argc == 4 && (count < -INT64_MAX / 2 || count > INT64_MAX / 2)) {
        resp_error(c->out, "ERR value is out of range");
        return;
    }
    random_fields(c, count, c->argc == 4);
}

/* ---- scan ---- */

static void scan_field(void *arg, struct span field, struct span value)
{
    struct collection_scan *s = arg;
    if (collection_scan_wants(s, field)) {
        collection_scan_add(s, field);
        collection_scan_add(s, value);
    }
}

static uint64_t scan_step(const struct entry *e, uint64_t cursor, struct collection_scan *s)
{
    return hash_scan(hash_of(e), cursor, scan_field, s);
}

void hscan_command(struct cmd_ctx *c)
{
    collection_scan(c, VAL_HASH, scan_step);
}
