/* Union, intersection and difference of sorted sets and sets, to the client or to another key.
 *
 * Sums of floating point numbers depend on their order. It is Redis': the inputs of a union or
 * intersection are taken from the smallest to the largest, inputs of equal size as named. */
#include <math.h>
#include <stdlib.h>

#include "backends/cmd/cmd_zset.h"
#include "backends/cmd/zsource.h"
#include "common/mem.h"

enum op { OP_UNION, OP_INTER, OP_DIFF };
enum aggregate { AGGREGATE_SUM, AGGREGATE_MIN, AGGREGATE_MAX };

struct request {
    enum op op;
    bool cardinality; /* ZINTERCARD */
    bool store;
    int numkeys_at;
    int n;
    struct zsource *in;
    enum aggregate aggregate;
    bool withscores;
    int64_t limit;
};

/* The keys, as far as they exist. False: answered. */
static bool read_keys(struct cmd_ctx *c, struct request *r)
{
    int64_t n;
    if (!cmd_i64(c, c->argv[r->numkeys_at], &n, NULL)) {
        return false;
    }
    if (n < 1) {
        resp_errorf(c->out, "ERR at least 1 input key is needed for '%s' command", c->cmd->name);
        return false;
    }
    if (n > c->argc - (r->numkeys_at + 1)) {
        cmd_syntax_error(c);
        return false;
    }
    r->n = (int)n;
    r->in = mem_zalloc((size_t)n * sizeof r->in[0]);
    for (int i = 0; i < r->n; i++) {
        struct entry *e = cmd_lookup(c, c->argv[r->numkeys_at + 1 + i]);
        if (!zsource_init(&r->in[i], e)) {
            return cmd_type_ok(c, e, VAL_ZSET);
        }
        r->in[i].order = i;
    }
    return true;
}

static bool parse_weights(struct cmd_ctx *c, struct request *r, int j)
{
    for (int i = 0; i < r->n; i++) {
        if (!cmd_double(c, c->argv[j + i], &r->in[i].weight, "ERR weight value is not a float")) {
            return false;
        }
    }
    return true;
}

static bool parse_aggregate(struct cmd_ctx *c, struct request *r, struct span s)
{
    if (span_is(s, "sum")) {
        r->aggregate = AGGREGATE_SUM;
    } else if (span_is(s, "min")) {
        r->aggregate = AGGREGATE_MIN;
    } else if (span_is(s, "max")) {
        r->aggregate = AGGREGATE_MAX;
    } else {
        cmd_syntax_error(c);
        return false;
    }
    return true;
}

static bool parse_options(struct cmd_ctx *c, struct request *r)
{
    bool weighable = r->op != OP_DIFF && !r->cardinality;
    int j = r->numkeys_at + 1 + r->n;
    while (j < c->argc) {
        struct span s = c->argv[j];
        int left = c->argc - j;
        if (weighable && left >= r->n + 1 && span_is(s, "weights")) {
            if (!parse_weights(c, r, j + 1)) {
                return false;
            }
            j += r->n + 1;
        } else if (weighable && left >= 2 && span_is(s, "aggregate")) {
            if (!parse_aggregate(c, r, c->argv[j + 1])) {
                return false;
            }
            j += 2;
        } else if (!r->store && !r->cardinality && span_is(s, "withscores")) {
            r->withscores = true;
            j++;
        } else if (r->cardinality && left >= 2 && span_is(s, "limit")) {
            if (!cmd_range(c, c->argv[j + 1], 0, INT64_MAX, &r->limit,
                           "ERR LIMIT can't be negative")) {
                return false;
            }
            j += 2;
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    return true;
}

static int by_size(const void *a, const void *b)
{
    const struct zsource *x = a;
    const struct zsource *y = b;
    size_t n = zsource_count(x);
    size_t m = zsource_count(y);
    return n != m ? (n < m ? -1 : 1) : x->order - y->order;
}

static double combine(const struct request *r, double a, double b)
{
    switch (r->aggregate) {
    case AGGREGATE_SUM: {
        double sum = a + b;
        return isnan(sum) ? 0 : sum; /* +inf and -inf */
    }
    case AGGREGATE_MIN:
        return b < a ? b : a;
    case AGGREGATE_MAX:
        return b > a ? b : a;
    }
    return a;
}

static double weighted(const struct zsource *s, double score)
{
    double v = s->weight * score;
    return isnan(v) ? 0 : v; /* 0 times infinity */
}

/* The limits while the result is made. A small set has no negative zero (zset.c) but Redis, which
 * makes results in the large form, shows and aggregates them: where one can arise, the large form
 * is used here too. */
static struct zset_limits result_limits(const struct cmd_ctx *c, const struct request *r)
{
    bool negative_zero = false;
    for (int i = 0; i < r->n; i++) {
        const struct zsource *x = &r->in[i];
        negative_zero |= x->weight != 1 || (x->z != NULL && !zset_is_packed(x->z));
    }
    return negative_zero ? (struct zset_limits){0} : zset_limits_of(c);
}

static void run_union(struct cmd_ctx *c, const struct request *r, struct zset *to)
{
    struct zset_limits l = result_limits(c, r);
    for (int i = 0; i < r->n; i++) {
        struct zsource_iter it = zsource_iter(&r->in[i]);
        struct zset_item item;
        while (zsource_next(&it, &item)) {
            double score = weighted(&r->in[i], item.score);
            struct zset_ref ref;
            if (!zset_find(to, item.member, &ref)) {
                zset_insert(to, &l, item.member, score);
                continue;
            }
            double both = combine(r, ref.score, score);
            if (both != ref.score || signbit(both) != signbit(ref.score)) {
                zset_update(to, ref, both);
            }
        }
    }
}

/* True if the member is in all the other inputs; adds their scores up. */
static bool in_all(const struct request *r, struct span member, double own, double *score)
{
    for (int j = 1; j < r->n; j++) {
        double v;
        if (zsource_same(&r->in[j], &r->in[0])) {
            v = own;
        } else if (!zsource_find(&r->in[j], member, &v)) {
            return false;
        }
        *score = combine(r, *score, v * r->in[j].weight);
    }
    return true;
}

/* Into to (NULL: only counts); gives the number of members. */
static uint64_t run_inter(struct cmd_ctx *c, const struct request *r, struct zset *to)
{
    struct zset_limits l = result_limits(c, r);
    uint64_t n = 0;
    struct zsource_iter it = zsource_iter(&r->in[0]);
    struct zset_item item;
    while (zsource_next(&it, &item)) {
        double score = weighted(&r->in[0], item.score);
        if (!in_all(r, item.member, item.score, &score)) {
            continue;
        }
        n++;
        if (to != NULL) {
            zset_insert(to, &l, item.member, score);
        } else if (r->limit != 0 && n >= (uint64_t)r->limit) {
            break;
        }
    }
    return n;
}

static bool in_any_other(const struct request *r, struct span member)
{
    for (int j = 1; j < r->n; j++) {
        double v;
        if (zsource_same(&r->in[j], &r->in[0]) || zsource_find(&r->in[j], member, &v)) {
            return true;
        }
    }
    return false;
}

static void run_diff(struct cmd_ctx *c, const struct request *r, struct zset *to)
{
    struct zset_limits l = result_limits(c, r);
    struct zsource_iter it = zsource_iter(&r->in[0]);
    struct zset_item item;
    while (zsource_next(&it, &item)) {
        if (!in_any_other(r, item.member)) {
            zset_insert(to, &l, item.member, item.score);
        }
    }
}

static void reply_all(struct cmd_ctx *c, const struct zset *z, bool withscores)
{
    uint64_t n = zset_count(z);
    bool pairs = withscores && c->out->proto == 3;
    resp_array(c->out, withscores && !pairs ? 2 * n : n);
    struct zset_iter it = zset_iter_at(z, 0, false);
    struct zset_item item;
    while (zset_iter_next(&it, &item)) {
        if (pairs) {
            resp_array(c->out, 2);
        }
        resp_bulk_span(c->out, item.member);
        if (withscores) {
            resp_double(c->out, item.score);
        }
    }
}

static void run(struct cmd_ctx *c, struct request *r)
{
    if (r->op != OP_DIFF) {
        qsort(r->in, (size_t)r->n, sizeof r->in[0], by_size);
    }
    if (r->cardinality) {
        resp_int(c->out, (int64_t)run_inter(c, r, NULL));
        return;
    }
    struct zset *to = zset_new();
    switch (r->op) {
    case OP_UNION:
        run_union(c, r, to);
        break;
    case OP_INTER:
        run_inter(c, r, to);
        break;
    case OP_DIFF:
        run_diff(c, r, to);
        break;
    }
    if (r->store) {
        struct zset_limits l = zset_limits_of(c);
        zset_pack(to, &l);
        resp_int(c->out, (int64_t)zset_count(to));
        collection_store(c, c->argv[1], VAL_ZSET, to);
    } else {
        reply_all(c, to, r->withscores);
        store_lazy_add(c->store, VAL_ZSET, to); /* a large one is freed in slices */
    }
}

static void generic(struct cmd_ctx *c, struct request r)
{
    r.numkeys_at = r.store ? 2 : 1;
    if (read_keys(c, &r) && parse_options(c, &r)) {
        run(c, &r);
    }
    mem_free(r.in);
}

void zunion_command(struct cmd_ctx *c)
{
    generic(c, (struct request){.op = OP_UNION});
}

void zinter_command(struct cmd_ctx *c)
{
    generic(c, (struct request){.op = OP_INTER});
}

void zdiff_command(struct cmd_ctx *c)
{
    generic(c, (struct request){.op = OP_DIFF});
}

void zunionstore_command(struct cmd_ctx *c)
{
    generic(c, (struct request){.op = OP_UNION, .store = true});
}

void zinterstore_command(struct cmd_ctx *c)
{
    generic(c, (struct request){.op = OP_INTER, .store = true});
}

void zdiffstore_command(struct cmd_ctx *c)
{
    generic(c, (struct request){.op = OP_DIFF, .store = true});
}

void zintercard_command(struct cmd_ctx *c)
{
    generic(c, (struct request){.op = OP_INTER, .cardinality = true});
}
