/* Sorted set commands that take or pick members: popping, random members, scanning. */
#include <math.h>

#include "backends/cmd/cmd_zset.h"
#include "common/mem.h"
#include "common/slot.h"

/* ---- ZPOPMIN, ZPOPMAX, ZMPOP ---- */

/* Answers n members from one end, without the header, and removes them. nested: as [member, score]
 * pairs. */
static void pop_members(struct cmd_ctx *c, struct entry *e, bool max, uint64_t n, bool nested)
{
    struct zset *z = entry_object(e);
    uint64_t count = zset_count(z);
    struct zset_iter it = zset_iter_at(z, max ? count - 1 : 0, max);
    struct zset_item item;
    for (uint64_t i = 0; i < n && zset_iter_next(&it, &item); i++) {
        if (nested) {
            resp_array(c->out, 2);
        }
        resp_bulk_span(c->out, item.member);
        resp_double(c->out, item.score);
    }
    c->dirty += n;
    if (n == count) {
        store_delete(c->store, e);
    } else {
        zset_remove_ranks(z, max ? count - n : 0, n);
    }
}

static void pop_generic(struct cmd_ctx *c, bool max)
{
    int64_t count = -1;
    if (c->argc > 3) {
        cmd_syntax_error(c);
        return;
    }
    if (c->argc == 3 && !cmd_positive(c, c->argv[2], &count)) {
        return;
    }
    struct entry *e;
    struct zset *z;
    if (!zset_write(c, c->argv[1], &e, &z)) {
        return;
    }
    if (z == NULL || count == 0) {
        resp_array(c->out, 0);
        return;
    }
    bool nested = c->out->proto == 3 && count != -1;
    uint64_t n = count == -1 ? 1 : (uint64_t)count;
    if (n > zset_count(z)) {
        n = zset_count(z);
    }
    resp_array(c->out, nested ? n : 2 * n);
    pop_members(c, e, max, n, nested);
}

void zpopmin_command(struct cmd_ctx *c)
{
    pop_generic(c, false);
}

void zpopmax_command(struct cmd_ctx *c)
{
    pop_generic(c, true);
}

/* Parses `numkeys key ... MIN|MAX [COUNT n]`. False: answered. */
static bool zmpop_parse(struct cmd_ctx *c, int *key_count, bool *max, int64_t *count)
{
    int64_t n;
    if (!cmd_range(c, c->argv[1], 1, INT64_MAX, &n, "ERR numkeys should be greater than 0")) {
        return false;
    }
    int64_t where = n >= c->argc ? c->argc : n + 2;
    if (where >= c->argc) {
        cmd_syntax_error(c);
        return false;
    }
    *max = span_is(c->argv[where], "max");
    if (!*max && !span_is(c->argv[where], "min")) {
        cmd_syntax_error(c);
        return false;
    }
    *key_count = (int)n;
    *count = -1;
    for (int j = (int)where + 1; j < c->argc; j += 2) {
        if (*count != -1 || !span_is(c->argv[j], "count") || j + 1 >= c->argc) {
            cmd_syntax_error(c);
            return false;
        }
        if (!cmd_range(c, c->argv[j + 1], 1, INT64_MAX, count,
                       "ERR count should be greater than 0")) {
            return false;
        }
    }
    if (*count == -1) {
        *count = 1;
    }
    return true;
}

void zmpop_command(struct cmd_ctx *c)
{
    int key_count;
    bool max;
    int64_t count;
    if (!zmpop_parse(c, &key_count, &max, &count)) {
        return;
    }
    for (int i = 2; i < 2 + key_count; i++) {
        struct entry *e;
        struct zset *z;
        if (!zset_write(c, c->argv[i], &e, &z)) {
            return;
        }
        if (z == NULL) {
            continue;
        }
        uint64_t n = (uint64_t)count < zset_count(z) ? (uint64_t)count : zset_count(z);
        resp_array(c->out, 2);
        resp_bulk_span(c->out, key_outer(c->argv[i]));
        resp_array(c->out, n);
        pop_members(c, e, max, n, true);
        return;
    }
    resp_null_array(c->out);
}

/* ---- ZRANDMEMBER ---- */

static void reply_member(struct cmd_ctx *c, const struct zset_item *item, bool withscores)
{
    if (withscores && c->out->proto == 3) {
        resp_array(c->out, 2);
    }
    resp_bulk_span(c->out, item->member);
    if (withscores) {
        resp_double(c->out, item->score);
    }
}

static uint64_t random_below(struct cmd_ctx *c, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)cmd_random(c) * n) >> 64);
}

static void reply_at(struct cmd_ctx *c, const struct zset *z, uint64_t rank, bool withscores)
{
    struct zset_iter it = zset_iter_at(z, rank, false);
    struct zset_item item;
    if (zset_iter_next(&it, &item)) {
        reply_member(c, &item, withscores);
    }
}

/* Highest first, as Redis does when all are asked for. */
static void reply_everything(struct cmd_ctx *c, const struct zset *z, bool withscores)
{
    struct zset_iter it = zset_iter_at(z, zset_count(z) - 1, true);
    struct zset_item item;
    while (zset_iter_next(&it, &item)) {
        reply_member(c, &item, withscores);
    }
}

/* n different members, each subset with the same probability: walks the set once and takes a member
 * with the probability (still wanted) / (still there). Where few of many are wanted, draws ranks
 * instead and looks for doubles among them. */
static void reply_distinct(struct cmd_ctx *c, const struct zset *z, uint64_t n, bool withscores)
{
    uint64_t total = zset_count(z);
    if (n == total) {
        reply_everything(c, z, withscores);
        return;
    }
    if (n * 8 < total && n <= 1024) {
        uint64_t *picked = mem_alloc(n * sizeof *picked);
        for (uint64_t i = 0; i < n;) {
            uint64_t rank = random_below(c, total);
            uint64_t k = 0;
            while (k < i && picked[k] != rank) {
                k++;
            }
            if (k == i) {
                picked[i++] = rank;
                reply_at(c, z, rank, withscores);
            }
        }
        mem_free(picked);
        return;
    }
    struct zset_iter it = zset_iter_at(z, 0, false);
    struct zset_item item;
    for (; n > 0 && zset_iter_next(&it, &item); total--) {
        if (random_below(c, total) < n) {
            reply_member(c, &item, withscores);
            n--;
        }
    }
}

static void random_many(struct cmd_ctx *c, int64_t count, bool withscores)
{
    struct zset *z;
    if (!zset_read(c, c->argv[1], &z)) {
        return;
    }
    if (z == NULL || count == 0) {
        resp_array(c->out, 0);
        return;
    }
    bool distinct = count > 0;
    uint64_t n = distinct ? (uint64_t)count : (uint64_t)-count;
    if (distinct && n > zset_count(z)) {
        n = zset_count(z);
    }
    resp_array(c->out, withscores && c->out->proto == 2 ? 2 * n : n);
    if (distinct) {
        reply_distinct(c, z, n, withscores);
        return;
    }
    while (n-- > 0) {
        reply_at(c, z, random_below(c, zset_count(z)), withscores);
    }
}

void zrandmember_command(struct cmd_ctx *c)
{
    if (c->argc >= 3) {
        int64_t count;
        if (!cmd_range(c, c->argv[2], -INT64_MAX, INT64_MAX, &count, NULL)) {
            return;
        }
        bool withscores = c->argc == 4 && span_is(c->argv[3], "withscores");
        if (c->argc > 4 || (c->argc == 4 && !withscores)) {
            cmd_syntax_error(c);
        } else if (count < -COLLECTION_REPEATS_MAX ||
                   (withscores && (count < -INT64_MAX / 2 || count > INT64_MAX / 2))) {
            resp_error(c->out, "ERR value is out of range");
        } else {
            random_many(c, count, withscores);
        }
        return;
    }
    struct zset *z;
    if (!zset_read(c, c->argv[1], &z)) {
        return;
    }
    if (z == NULL) {
        resp_null(c->out);
    } else {
        reply_at(c, z, random_below(c, zset_count(z)), false);
    }
}

/* ---- ZSCAN ---- */

#define SCAN_INT_MAX 4611686018427387904.0 /* 2^62 */

struct scan {
    struct collection_scan *s;
    bool packed;
};

static void scan_member(void *arg, struct span member, double score)
{
    const struct scan *s = arg;
    if (!collection_scan_wants(s->s, member)) {
        return;
    }
    char text[NUM_DOUBLE_MAX];
    size_t len = 0;
    if (s->packed && fabs(score) <= SCAN_INT_MAX && (double)(int64_t)score == score) {
        len = num_fmt_i64(text, (int64_t)score); /* Redis shows what is in its listpack */
    } else {
        len = num_fmt_double(text, score);
    }
    collection_scan_add(s->s, member);
    collection_scan_add(s->s, span_of(text, len));
}

static uint64_t scan_step(const struct entry *e, uint64_t cursor, struct collection_scan *s)
{
    struct scan v = {s, zset_is_packed(entry_object(e))};
    return zset_scan(entry_object(e), cursor, scan_member, &v);
}

void zscan_command(struct cmd_ctx *c)
{
    collection_scan(c, VAL_ZSET, scan_step);
}
