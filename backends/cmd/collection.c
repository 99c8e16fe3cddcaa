/* What the handlers of collection types share. */
#include "backends/cmd/collection.h"

#include <inttypes.h>

#include "backends/types/object.h"
#include "common/glob.h"
#include "common/num.h"

void collection_keep(struct cmd_ctx *c, struct entry *e, struct span key, enum val_type type,
                     void *object)
{
    bool empty = type != VAL_STREAM && object_ops(type)->count(object) == 0;
    if (e == NULL) {
        if (empty) {
            store_lazy_add(c->store, type, object);
        } else {
            (void)store_put_object(c->store, NULL, key, type, object);
        }
        return;
    }
    if (entry_object(e) != object) {
        entry_set_object(e, object);
    }
    if (empty) {
        store_delete(c->store, e);
    }
}

void collection_store(struct cmd_ctx *c, struct span key, enum val_type type, void *object)
{
    struct entry *e = cmd_lookup_write(c, key);
    if (object_ops(type)->count(object) == 0) {
        store_lazy_add(c->store, type, object);
        if (e != NULL) {
            store_delete(c->store, e);
            c->dirty++;
        }
        return;
    }
    e = store_put_object(c->store, e, key, type, object);
    if (entry_expire_ms(e) != 0) {
        (void)store_set_expire(c->store, e, 0);
    }
    c->dirty++;
}

bool cmd_range(struct cmd_ctx *c, struct span s, int64_t min, int64_t max, int64_t *out,
               const char *text)
{
    int64_t v = 0;
    if (!cmd_i64(c, s, &v, text)) {
        return false;
    }
    if (v >= min && v <= max) {
        *out = v;
        return true;
    }
    if (text != NULL) {
        resp_error(c->out, text);
    } else {
        resp_errorf(c->out,
                    "ERR value is out of range, value must between %" PRId64 " and %" PRId64, min,
                    max);
    }
    return false;
}

bool cmd_positive(struct cmd_ctx *c, struct span s, int64_t *out)
{
    return cmd_range(c, s, 0, INT64_MAX, out, "ERR value is out of range, must be positive");
}

/* ---- scans ---- */

/* The cursor is looked at before the key is, as in Redis. */
static bool scan_begin(struct cmd_ctx *c, struct collection_scan *s)
{
    *s = (struct collection_scan){.count = 10};
    if (!num_parse_u64(c->argv[2], &s->cursor)) {
        resp_error(c->out, "ERR invalid cursor");
        return false;
    }
    return true;
}

static bool scan_options(struct cmd_ctx *c, struct collection_scan *s)
{
    for (int i = 3; i < c->argc; i += 2) {
        bool has_value = i + 1 < c->argc;
        if (has_value && span_is(c->argv[i], "count")) {
            if (!cmd_i64(c, c->argv[i + 1], &s->count, NULL)) {
                return false;
            }
            if (s->count < 1) {
                cmd_syntax_error(c);
                return false;
            }
        } else if (has_value && span_is(c->argv[i], "match")) {
            struct span pattern = c->argv[i + 1];
            bool all = pattern.len == 1 && pattern.p[0] == '*';
            s->pattern = all ? span_of(NULL, 0) : pattern;
            if (!all && pattern.p == NULL) {
                s->pattern.p = "";
            }
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    s->out = (struct resp_out){.b = &s->bytes, .proto = c->out->proto};
    return true;
}

bool collection_scan_wants(struct collection_scan *s, struct span element)
{
    s->visited++;
    return s->pattern.p == NULL || glob_match(s->pattern, element, false);
}

void collection_scan_add(struct collection_scan *s, struct span value)
{
    resp_bulk_span(&s->out, value);
    s->values++;
}

/* Redis' rule: count elements or ten times as many buckets. */
static bool scan_more(const struct collection_scan *s, uint64_t cursor, uint64_t *steps)
{
    uint64_t most = (uint64_t)s->count > UINT64_MAX / 10 ? UINT64_MAX : (uint64_t)s->count * 10;
    return cursor != 0 && (*steps)++ < most && s->visited < (uint64_t)s->count;
}

static void scan_end(struct cmd_ctx *c, struct collection_scan *s, uint64_t cursor)
{
    char text[NUM_I64_MAX];
    resp_array(c->out, 2);
    resp_bulk(c->out, text, num_fmt_u64(text, cursor));
    resp_array(c->out, s->values);
    buf_add(c->out->b, buf_head(&s->bytes), buf_used(&s->bytes));
    buf_free(&s->bytes);
}

static void scan_empty(struct cmd_ctx *c)
{
    resp_array(c->out, 2);
    resp_bulk_str(c->out, "0");
    resp_array(c->out, 0);
}

void collection_scan(struct cmd_ctx *c, enum val_type type, collection_step_fn step)
{
    struct collection_scan s;
    if (!scan_begin(c, &s)) {
        return;
    }
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (e == NULL) {
        scan_empty(c);
        return;
    }
    if (!cmd_type_ok(c, e, type) || !scan_options(c, &s)) {
        return;
    }
    uint64_t cursor = s.cursor;
    uint64_t steps = 0;
    do {
        cursor = step(e, cursor, &s);
    } while (scan_more(&s, cursor, &steps));
    scan_end(c, &s, cursor);
}

/* ---- random elements ---- */

void collection_draw(struct cmd_ctx *c, const struct collection_draw *d, int64_t count)
{
    if (count < -COLLECTION_REPEATS_MAX) {
        resp_error(c->out, "ERR value is out of range");
        return;
    }
    (void)cmd_random(c); /* a state of 0 becomes another */
    if (count >= 0) {
        size_t n = (uint64_t)count < d->size ? (size_t)count : d->size;
        resp_array(c->out, n * d->each);
        d->some(d->from, n, c->rng, c->out);
        return;
    }
    resp_array(c->out, (size_t)-count * d->each);
    for (int64_t i = 0; i > count; i--) {
        d->one(d->from, c->rng, c->out);
    }
}

/* ---- others ---- */

void blocking_command(struct cmd_ctx *c)
{
    resp_errorf(c->out, "ERR blocking commands are not supported by Halcyon yet: '%s'",
                c->cmd->name);
}

int collection_numkeys(const struct span *argv, int argc, int at, int *idx, int max)
{
    int64_t n = 0;
    if (at >= argc || !num_parse_i64(argv[at], &n) || n < 1 || n > argc - at - 1) {
        return -1;
    }
    for (int i = 0; i < n && i < max; i++) {
        idx[i] = at + 1 + i;
    }
    return (int)n;
}
