/* What the sorted set commands share: look-up, storing, bounds. */
#include <math.h>
#include <stdlib.h>

#include "backends/cmd/cmd_zset.h"
#include "backends/cmd/config.h"
#include "common/mem.h"

struct zset_limits zset_limits_of(const struct cmd_ctx *c)
{
    return (struct zset_limits){(size_t)c->config->zset_max_listpack_entries,
                                (size_t)c->config->zset_max_listpack_value};
}

bool zset_read(struct cmd_ctx *c, struct span key, struct zset **z)
{
    struct entry *e = cmd_lookup(c, key);
    if (!cmd_type_ok(c, e, VAL_ZSET)) {
        return false;
    }
    *z = e == NULL ? NULL : entry_object(e);
    return true;
}

bool zset_write(struct cmd_ctx *c, struct span key, struct entry **e, struct zset **z)
{
    *e = cmd_lookup_write(c, key);
    if (!cmd_type_ok(c, *e, VAL_ZSET)) {
        return false;
    }
    *z = *e == NULL ? NULL : entry_object(*e);
    return true;
}

/* ---- bounds ---- */

/* Redis hands the text to strtod as it is: leading blanks, hexadecimal and even nothing at all are
 * numbers here. */
static bool parse_bound(struct span s, double *out, bool *open)
{
    char small[64];
    char *text = s.len < sizeof small ? small : mem_alloc(s.len + 1);
    if (s.len != 0) {
        memcpy(text, s.p, s.len);
    }
    text[s.len] = '\0';
    *open = text[0] == '(';
    char *end;
    *out = strtod(text + (*open ? 1 : 0), &end);
    bool ok = *end == '\0' && !isnan(*out);
    if (text != small) {
        mem_free(text);
    }
    return ok;
}

bool zset_parse_score_range(struct span min, struct span max, struct zset_score_range *r)
{
    return parse_bound(min, &r->min, &r->min_open) && parse_bound(max, &r->max, &r->max_open);
}

static bool parse_lex_bound(struct span s, struct zset_lex_bound *b)
{
    if (s.len == 0) {
        return false;
    }
    *b = (struct zset_lex_bound){.member = span_of(s.p + 1, s.len - 1)};
    switch (s.p[0]) {
    case '+':
    case '-':
        b->kind = s.p[0] == '+' ? 1 : -1;
        return s.len == 1 || s.p[1] == '\0';
    case '(':
        b->open = true;
        return true;
    case '[':
        return true;
    default:
        return false;
    }
}

bool zset_parse_lex_range(struct span min, struct span max, struct zset_lex_range *r)
{
    return parse_lex_bound(min, &r->min) && parse_lex_bound(max, &r->max);
}

static bool below_min_score(const void *arg, double score, struct span member)
{
    (void)member;
    const struct zset_score_range *r = arg;
    return score < r->min || (r->min_open && score == r->min);
}

static bool upto_max_score(const void *arg, double score, struct span member)
{
    (void)member;
    const struct zset_score_range *r = arg;
    return score < r->max || (!r->max_open && score == r->max);
}

static int cmp_bound(struct span member, const struct zset_lex_bound *b)
{
    return b->kind != 0 ? -b->kind : zmember_cmp(member, b->member);
}

static bool below_min_lex(const void *arg, double score, struct span member)
{
    (void)score;
    const struct zset_lex_bound *b = &((const struct zset_lex_range *)arg)->min;
    int cmp = cmp_bound(member, b);
    return cmp < 0 || (cmp == 0 && b->open);
}

static bool upto_max_lex(const void *arg, double score, struct span member)
{
    (void)score;
    const struct zset_lex_bound *b = &((const struct zset_lex_range *)arg)->max;
    int cmp = cmp_bound(member, b);
    return cmp < 0 || (cmp == 0 && !b->open);
}

static struct zset_ranks ranks(uint64_t start, uint64_t end)
{
    return (struct zset_ranks){start, end < start ? start : end};
}

struct zset_ranks zset_ranks_by_score(const struct zset *z, const struct zset_score_range *r)
{
    return ranks(zset_count_before(z, below_min_score, r), zset_count_before(z, upto_max_score, r));
}

struct zset_ranks zset_ranks_by_lex(const struct zset *z, const struct zset_lex_range *r)
{
    return ranks(zset_count_before(z, below_min_lex, r), zset_count_before(z, upto_max_lex, r));
}

struct zset_ranks zset_ranks_by_index(const struct zset *z, int64_t start, int64_t stop)
{
    int64_t n = (int64_t)zset_count(z);
    if (start < 0) {
        start = start < -n ? 0 : start + n;
    }
    if (stop < 0) {
        stop = stop < -n ? -1 : stop + n;
    }
    if (start > stop || start >= n) {
        return ranks(0, 0);
    }
    return ranks((uint64_t)start, (uint64_t)(stop >= n ? n : stop + 1));
}

/* ---- movable keys ---- */

int zset_keys_numkeys(const struct span *argv, int argc, int *idx, int max)
{
    return collection_numkeys(argv, argc, 1, idx, max);
}

int zset_keys_numkeys_blocking(const struct span *argv, int argc, int *idx, int max)
{
    return collection_numkeys(argv, argc, 2, idx, max);
}

int zset_keys_store(const struct span *argv, int argc, int *idx, int max)
{
    if (max == 0) {
        return 0;
    }
    idx[0] = 1;
    int n = collection_numkeys(argv, argc, 2, idx + 1, max - 1);
    return n < 0 ? -1 : n + 1;
}
