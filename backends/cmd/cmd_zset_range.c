/* ZRANGE and its family: by index, score or member, either way, to the client or to another key. */
#include "backends/cmd/cmd_zset.h"

enum range_by { BY_AUTO, BY_RANK, BY_SCORE, BY_LEX };
enum range_way { WAY_AUTO, WAY_UP, WAY_DOWN };

/* One request of the family. */
struct range {
    int key; /* argument of the source key; the bounds follow */
    bool store;
    bool withscores;
    enum range_by by;
    enum range_way way;
    int64_t offset, limit; /* limit -1: none */
    int64_t start, stop;
    struct zset_score_range score;
    struct zset_lex_range lex;
};

/* Options after the bounds. False: answered. */
static bool parse_options(struct cmd_ctx *c, struct range *r)
{
    r->limit = -1;
    for (int j = r->key + 3; j < c->argc; j++) {
        struct span s = c->argv[j];
        int left = c->argc - j - 1;
        if (!r->store && span_is(s, "withscores")) {
            r->withscores = true;
        } else if (span_is(s, "limit") && left >= 2) {
            if (!cmd_i64(c, c->argv[j + 1], &r->offset, NULL) ||
                !cmd_i64(c, c->argv[j + 2], &r->limit, NULL)) {
                return false;
            }
            j += 2;
        } else if (r->way == WAY_AUTO && span_is(s, "rev")) {
            r->way = WAY_DOWN;
        } else if (r->by == BY_AUTO && span_is(s, "bylex")) {
            r->by = BY_LEX;
        } else if (r->by == BY_AUTO && span_is(s, "byscore")) {
            r->by = BY_SCORE;
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    if (r->way == WAY_AUTO) {
        r->way = WAY_UP;
    }
    if (r->by == BY_AUTO) {
        r->by = BY_RANK;
    }
    const char *error = NULL;
    if (r->limit != -1 && r->by == BY_RANK) {
        error =
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
    } else if (r->withscores && r->by == BY_LEX) {
        error = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
    }
    if (error != NULL) {
        resp_error(c->out, error);
    }
    return error == NULL;
}

static bool parse_bounds(struct cmd_ctx *c, struct range *r)
{
    struct span min = c->argv[r->key + 1];
    struct span max = c->argv[r->key + 2];
    if (r->by == BY_RANK) {
        return cmd_i64(c, min, &r->start, NULL) && cmd_i64(c, max, &r->stop, NULL);
    }
    if (r->way == WAY_DOWN) {
        struct span tmp = min;
        min = max;
        max = tmp;
    }
    if (r->by == BY_SCORE) {
        if (!zset_parse_score_range(min, max, &r->score)) {
            resp_error(c->out, ZSET_BAD_SCORE_RANGE);
            return false;
        }
        return true;
    }
    if (!zset_parse_lex_range(min, max, &r->lex)) {
        resp_error(c->out, ZSET_BAD_LEX_RANGE);
        return false;
    }
    return true;
}

/* Where to begin and how many to take. */
static void select_ranks(const struct zset *z, const struct range *r, uint64_t *first, uint64_t *n)
{
    struct zset_ranks in = {0, 0};
    bool down = r->way == WAY_DOWN;
    switch (r->by) {
    case BY_RANK:
        in = zset_ranks_by_index(z, r->start, r->stop);
        *n = in.end - in.start;
        *first = down ? zset_count(z) - 1 - in.start : in.start;
        return;
    case BY_SCORE:
        in = zset_ranks_by_score(z, &r->score);
        break;
    case BY_LEX:
        in = zset_ranks_by_lex(z, &r->lex);
        break;
    case BY_AUTO:
        break;
    }
    uint64_t count = in.end - in.start;
    *first = 0;
    *n = 0;
    if (r->offset < 0 || (uint64_t)r->offset >= count) {
        return; /* a negative offset skips everything, as in Redis */
    }
    count -= (uint64_t)r->offset;
    *n = r->limit >= 0 && (uint64_t)r->limit < count ? (uint64_t)r->limit : count;
    *first = down ? in.end - 1 - (uint64_t)r->offset : in.start + (uint64_t)r->offset;
}

static void reply_range(struct cmd_ctx *c, const struct zset *z, const struct range *r)
{
    uint64_t first;
    uint64_t n;
    select_ranks(z, r, &first, &n);
    bool pairs = r->withscores && c->out->proto == 3;
    resp_array(c->out, r->withscores && !pairs ? 2 * n : n);
    struct zset_iter it = zset_iter_at(z, first, r->way == WAY_DOWN);
    struct zset_item item;
    while (n-- > 0 && zset_iter_next(&it, &item)) {
        if (pairs) {
            resp_array(c->out, 2);
        }
        resp_bulk_span(c->out, item.member);
        if (r->withscores) {
            resp_double(c->out, item.score);
        }
    }
}

static void store_range(struct cmd_ctx *c, const struct zset *z, const struct range *r)
{
    struct zset *to = zset_new();
    struct zset_limits l = zset_limits_of(c);
    uint64_t n = 0;
    uint64_t first = 0;
    if (z != NULL) {
        select_ranks(z, r, &first, &n);
        struct zset_iter it = zset_iter_at(z, first, r->way == WAY_DOWN);
        struct zset_item item;
        for (uint64_t left = n; left > 0 && zset_iter_next(&it, &item); left--) {
            zset_insert(to, &l, item.member, item.score);
        }
    }
    collection_store(c, c->argv[1], VAL_ZSET, to);
    resp_int(c->out, (int64_t)n);
}

static void range_generic(struct cmd_ctx *c, struct range r)
{
    if (!parse_options(c, &r) || !parse_bounds(c, &r)) {
        return;
    }
    struct zset *z;
    if (!zset_read(c, c->argv[r.key], &z)) {
        return;
    }
    if (r.store) {
        store_range(c, z, &r);
    } else if (z == NULL) {
        resp_array(c->out, 0);
    } else {
        reply_range(c, z, &r);
    }
}

void zrange_command(struct cmd_ctx *c)
{
    range_generic(c, (struct range){.key = 1});
}

void zrangestore_command(struct cmd_ctx *c)
{
    range_generic(c, (struct range){.key = 2, .store = true});
}

void zrangebyscore_command(struct cmd_ctx *c)
{
    range_generic(c, (struct range){.key = 1, .by = BY_SCORE, .way = WAY_UP});
}

void zrangebylex_command(struct cmd_ctx *c)
{
    range_generic(c, (struct range){.key = 1, .by = BY_LEX, .way = WAY_UP});
}

void zrevrange_command(struct cmd_ctx *c)
{
    range_generic(c, (struct range){.key = 1, .by = BY_RANK, .way = WAY_DOWN});
}

void zrevrangebyscore_command(struct cmd_ctx *c)
{
    range_generic(c, (struct range){.key = 1, .by = BY_SCORE, .way = WAY_DOWN});
}

void zrevrangebylex_command(struct cmd_ctx *c)
{
    range_generic(c, (struct range){.key = 1, .by = BY_LEX, .way = WAY_DOWN});
}
