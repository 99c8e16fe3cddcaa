/* Sorted set commands on single members: adding, removing, scores, ranks, counting. */
#include <math.h>

#include "backends/cmd/cmd_zset.h"
#include "common/mem.h"

/* ---- ZADD, ZINCRBY ---- */

struct zadd {
    bool nx, xx, gt, lt, ch, incr;
    int first; /* argument of the first score */
    int pairs;
};

/* What became of one pair. */
enum zadd_result { ZADD_NOP, ZADD_SAME, ZADD_UPDATED, ZADD_ADDED, ZADD_NAN };

static void zadd_flags(struct cmd_ctx *c, struct zadd *a)
{
    for (a->first = 2; a->first < c->argc; a->first++) {
        struct span s = c->argv[a->first];
        if (span_is(s, "nx")) {
            a->nx = true;
        } else if (span_is(s, "xx")) {
            a->xx = true;
        } else if (span_is(s, "ch")) {
            a->ch = true;
        } else if (span_is(s, "incr")) {
            a->incr = true;
        } else if (span_is(s, "gt")) {
            a->gt = true;
        } else if (span_is(s, "lt")) {
            a->lt = true;
        } else {
            return;
        }
    }
}

static bool zadd_parse(struct cmd_ctx *c, struct zadd *a)
{
    zadd_flags(c, a);
    int left = c->argc - a->first;
    const char *error = NULL;
    if (left % 2 != 0 || left == 0) {
        cmd_syntax_error(c);
        return false;
    }
    a->pairs = left / 2;
    if (a->nx && a->xx) {
        error = "ERR XX and NX options at the same time are not compatible";
    } else if ((a->gt && a->nx) || (a->lt && a->nx) || (a->gt && a->lt)) {
        error = "ERR GT, LT, and/or NX options at the same time are not compatible";
    } else if (a->incr && a->pairs > 1) {
        error = "ERR INCR option supports a single increment-element pair";
    }
    if (error != NULL) {
        resp_error(c->out, error);
    }
    return error == NULL;
}

static enum zadd_result zadd_one(struct zset *z, const struct zset_limits *l, const struct zadd *a,
                                 struct span member, double *score)
{
    struct zset_ref ref;
    if (!zset_find(z, member, &ref)) {
        if (a->xx) {
            return ZADD_NOP;
        }
        zset_insert(z, l, member, *score);
        return ZADD_ADDED;
    }
    if (a->nx) {
        return ZADD_NOP;
    }
    double now = a->incr ? ref.score + *score : *score;
    if (isnan(now)) {
        return ZADD_NAN;
    }
    if ((a->lt && now >= ref.score) || (a->gt && now <= ref.score)) {
        return ZADD_NOP;
    }
    *score = now;
    if (now == ref.score) {
        return ZADD_SAME;
    }
    zset_update(z, ref, now);
    return ZADD_UPDATED;
}

/* Applies all pairs and answers. z is not NULL. */
static void zadd_run(struct cmd_ctx *c, struct zset *z, const struct zadd *a, double *scores)
{
    struct zset_limits l = zset_limits_of(c);
    int64_t added = 0;
    int64_t updated = 0;
    enum zadd_result result = ZADD_NOP;
    for (int i = 0; i < a->pairs; i++) {
        result = zadd_one(z, &l, a, c->argv[a->first + 2 * i + 1], &scores[i]);
        added += result == ZADD_ADDED;
        updated += result == ZADD_UPDATED;
    }
    c->dirty += (uint64_t)(added + updated);
    if (result == ZADD_NAN) {
        resp_error(c->out, "ERR resulting score is not a number (NaN)");
    } else if (!a->incr) {
        resp_int(c->out, a->ch ? added + updated : added);
    } else if (result == ZADD_NOP) {
        resp_null(c->out);
    } else {
        resp_double(c->out, scores[0]);
    }
}

static void zadd_generic(struct cmd_ctx *c, struct zadd a)
{
    if (!zadd_parse(c, &a)) {
        return;
    }
    double small[32];
    size_t bytes = (size_t)a.pairs * sizeof(double);
    double *scores = bytes <= sizeof small ? small : mem_alloc(bytes);
    for (int i = 0; i < a.pairs; i++) {
        if (!cmd_double(c, c->argv[a.first + 2 * i], &scores[i], NULL)) {
            goto out;
        }
    }
    struct entry *e;
    struct zset *z;
    if (!zset_write(c, c->argv[1], &e, &z)) {
        goto out;
    }
    if (z != NULL) {
        zadd_run(c, z, &a, scores);
    } else if (!a.xx) {
        z = zset_new();
        zadd_run(c, z, &a, scores);
        store_put_object(c->store, NULL, c->argv[1], VAL_ZSET, z);
    } else if (a.incr) {
        resp_null(c->out);
    } else {
        resp_int(c->out, 0);
    }
out:
    if (scores != small) {
        mem_free(scores);
    }
}

void zadd_command(struct cmd_ctx *c)
{
    zadd_generic(c, (struct zadd){0});
}

void zincrby_command(struct cmd_ctx *c)
{
    zadd_generic(c, (struct zadd){.incr = true});
}

/* ---- removing ---- */

void zrem_command(struct cmd_ctx *c)
{
    struct entry *e;
    struct zset *z;
    if (!zset_write(c, c->argv[1], &e, &z)) {
        return;
    }
    int64_t removed = 0;
    for (int i = 2; z != NULL && i < c->argc; i++) {
        struct zset_ref ref;
        if (!zset_find(z, c->argv[i], &ref)) {
            continue;
        }
        zset_remove(z, ref);
        removed++;
        if (zset_count(z) == 0) {
            store_delete(c->store, e);
            z = NULL;
        }
    }
    c->dirty += (uint64_t)removed;
    resp_int(c->out, removed);
}

/* Removes what of() finds in the set and answers how many; the bounds were parsed before the key is
 * looked up. */
static void remove_ranks(struct cmd_ctx *c, struct entry *e, struct zset *z, struct zset_ranks r)
{
    uint64_t n = r.end - r.start;
    if (n != 0 && n == zset_count(z)) {
        store_delete(c->store, e);
    } else {
        zset_remove_ranks(z, r.start, n);
    }
    c->dirty += n;
    resp_int(c->out, (int64_t)n);
}

void zremrangebyrank_command(struct cmd_ctx *c)
{
    int64_t start;
    int64_t stop;
    if (!cmd_i64(c, c->argv[2], &start, NULL) || !cmd_i64(c, c->argv[3], &stop, NULL)) {
        return;
    }
    struct entry *e;
    struct zset *z;
    if (!zset_write(c, c->argv[1], &e, &z)) {
        return;
    }
    if (z == NULL) {
        resp_int(c->out, 0);
    } else {
        remove_ranks(c, e, z, zset_ranks_by_index(z, start, stop));
    }
}

void zremrangebyscore_command(struct cmd_ctx *c)
{
    struct zset_score_range r;
    if (!zset_parse_score_range(c->argv[2], c->argv[3], &r)) {
        resp_error(c->out, ZSET_BAD_SCORE_RANGE);
        return;
    }
    struct entry *e;
    struct zset *z;
    if (!zset_write(c, c->argv[1], &e, &z)) {
        return;
    }
    if (z == NULL) {
        resp_int(c->out, 0);
    } else {
        remove_ranks(c, e, z, zset_ranks_by_score(z, &r));
    }
}

void zremrangebylex_command(struct cmd_ctx *c)
{
    struct zset_lex_range r;
    if (!zset_parse_lex_range(c->argv[2], c->argv[3], &r)) {
        resp_error(c->out, ZSET_BAD_LEX_RANGE);
        return;
    }
    struct entry *e;
    struct zset *z;
    if (!zset_write(c, c->argv[1], &e, &z)) {
        return;
    }
    if (z == NULL) {
        resp_int(c->out, 0);
    } else {
        remove_ranks(c, e, z, zset_ranks_by_lex(z, &r));
    }
}

/* ---- looking ---- */

void zcard_command(struct cmd_ctx *c)
{
    struct zset *z;
    if (zset_read(c, c->argv[1], &z)) {
        resp_int(c->out, z == NULL ? 0 : (int64_t)zset_count(z));
    }
}

void zscore_command(struct cmd_ctx *c)
{
    struct zset *z;
    if (!zset_read(c, c->argv[1], &z)) {
        return;
    }
    struct zset_ref ref;
    if (z != NULL && zset_find(z, c->argv[2], &ref)) {
        resp_double(c->out, ref.score);
    } else {
        resp_null(c->out);
    }
}

void zmscore_command(struct cmd_ctx *c)
{
    struct zset *z;
    if (!zset_read(c, c->argv[1], &z)) {
        return;
    }
    resp_array(c->out, (size_t)c->argc - 2);
    for (int i = 2; i < c->argc; i++) {
        struct zset_ref ref;
        if (z != NULL && zset_find(z, c->argv[i], &ref)) {
            resp_double(c->out, ref.score);
        } else {
            resp_null(c->out);
        }
    }
}

static void rank_generic(struct cmd_ctx *c, bool reverse)
{
    struct zset *z;
    if (!zset_read(c, c->argv[1], &z)) {
        return;
    }
    struct zset_ref ref;
    if (z == NULL || !zset_find(z, c->argv[2], &ref)) {
        resp_null(c->out);
        return;
    }
    uint64_t rank = zset_rank(z, ref);
    resp_int(c->out, (int64_t)(reverse ? zset_count(z) - 1 - rank : rank));
}

void zrank_command(struct cmd_ctx *c)
{
    rank_generic(c, false);
}

void zrevrank_command(struct cmd_ctx *c)
{
    rank_generic(c, true);
}

static void reply_ranks(struct cmd_ctx *c, struct zset_ranks r)
{
    resp_int(c->out, (int64_t)(r.end - r.start));
}

void zcount_command(struct cmd_ctx *c)
{
    struct zset_score_range r;
    if (!zset_parse_score_range(c->argv[2], c->argv[3], &r)) {
        resp_error(c->out, ZSET_BAD_SCORE_RANGE);
        return;
    }
    struct zset *z;
    if (zset_read(c, c->argv[1], &z)) {
        reply_ranks(c, z == NULL ? (struct zset_ranks){0} : zset_ranks_by_score(z, &r));
    }
}

void zlexcount_command(struct cmd_ctx *c)
{
    struct zset_lex_range r;
    if (!zset_parse_lex_range(c->argv[2], c->argv[3], &r)) {
        resp_error(c->out, ZSET_BAD_LEX_RANGE);
        return;
    }
    struct zset *z;
    if (zset_read(c, c->argv[1], &z)) {
        reply_ranks(c, z == NULL ? (struct zset_ranks){0} : zset_ranks_by_lex(z, &r));
    }
}
