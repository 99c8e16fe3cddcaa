/* What the sorted set commands share: look-up, storing, bounds. */
#include <limits.h>
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

void zset_store(struct cmd_ctx *c, struct span key, struct zset *z)
{
    struct entry *e = cmd_lookup_write(c, key);
    if (zset_count(z) == 0) {
        zset_free(z);
        if (e != NULL) {
            store_delete(c->store, e);
            c->dirty++;
        }
        return;
    }
    e = store_put_object(c->store, e, key, VAL_ZSET, z);
    store_set_expire(c->store, e, 0);
    c->dirty++;
}

bool cmd_long_in(struct cmd_ctx *c, struct span s, int64_t min, int64_t max, int64_t *out,
                 const char *text)
{
    int64_t v;
    if (text == NULL && min == 0 && max == LONG_MAX) {
        text = "ERR value is out of range, must be positive";
    }
    if (!cmd_i64(c, s, &v, text)) {
        return false;
    }
    if (v < min || v > max) {
        if (text != NULL) {
            resp_error(c->out, text);
        } else {
            resp_errorf(c->out, "ERR value is out of range, value must between %lld and %lld",
                        (long long)min, (long long)max);
        }
        return false;
    }
    *out = v;
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

static int keys_counted(const struct span *argv, int argc, int at, int *idx, int max)
{
    int64_t n;
    if (at >= argc || !num_parse_i64(argv[at], &n) || n < 1 || n > argc - at - 1) {
        return -1;
    }
    int out = 0;
    for (int i = 0; i < (int)n && out < max; i++) {
        idx[out++] = at + 1 + i;
    }
    return out;
}

int zset_keys_numkeys(const struct span *argv, int argc, int *idx, int max)
{
    return keys_counted(argv, argc, 1, idx, max);
}

int zset_keys_numkeys_blocking(const struct span *argv, int argc, int *idx, int max)
{
    return keys_counted(argv, argc, 2, idx, max);
}

int zset_keys_store(const struct span *argv, int argc, int *idx, int max)
{
    if (max == 0) {
        return 0;
    }
    idx[0] = 1;
    int n = keys_counted(argv, argc, 2, idx + 1, max - 1);
    return n < 0 ? -1 : n + 1;
}
