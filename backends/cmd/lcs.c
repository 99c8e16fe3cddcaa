/* LCS: longest common subsequence of two strings, by the usual table of (n + 1) * (m + 1) lengths,
 * read backwards. */
#include "backends/cmd/config.h"
#include "backends/cmd/string_cmds.h"
#include "common/mem.h"

struct lcs_options {
    bool len, idx, with_match_len;
    int64_t min_match_len;
};

static bool parse(struct cmd_ctx *c, struct lcs_options *o)
{
    *o = (struct lcs_options){0};
    for (int i = 3; i < c->argc; i++) {
        if (span_is(c->argv[i], "idx")) {
            o->idx = true;
        } else if (span_is(c->argv[i], "len")) {
            o->len = true;
        } else if (span_is(c->argv[i], "withmatchlen")) {
            o->with_match_len = true;
        } else if (span_is(c->argv[i], "minmatchlen") && i + 1 < c->argc) {
            if (!cmd_i64(c, c->argv[++i], &o->min_match_len, NULL)) {
                return false;
            }
            o->min_match_len = o->min_match_len < 0 ? 0 : o->min_match_len;
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    if (o->idx && o->len) {
        resp_error(c->out, "ERR If you want both the length and indexes, please just use IDX.");
        return false;
    }
    return true;
}

/* at(i, j): length for the first i bytes of a and the first j of b */
struct lcs {
    struct span a, b;
    uint32_t *lengths;
};

static inline uint32_t *at(const struct lcs *t, size_t i, size_t j)
{
    return &t->lengths[i * (t->b.len + 1) + j];
}

static void fill(struct lcs *t)
{
    memset(t->lengths, 0, (t->b.len + 1) * sizeof *t->lengths);
    for (size_t i = 1; i <= t->a.len; i++) {
        *at(t, i, 0) = 0;
        for (size_t j = 1; j <= t->b.len; j++) {
            uint32_t up = *at(t, i - 1, j);
            uint32_t left = *at(t, i, j - 1);
            if (t->a.p[i - 1] == t->b.p[j - 1]) {
                *at(t, i, j) = *at(t, i - 1, j - 1) + 1;
            } else {
                *at(t, i, j) = up > left ? up : left;
            }
        }
    }
}

/* From (i, j) skips back to where both strings match, and over that match; *i, *j are then its
 * start. Returns its length, 0: none left. */
static size_t previous_match(const struct lcs *t, size_t *i, size_t *j)
{
    size_t len = 0;
    while (*i > 0 && *j > 0) {
        if (t->a.p[*i - 1] == t->b.p[*j - 1]) {
            len++;
            --*i;
            --*j;
        } else if (len != 0) {
            break;
        } else if (*at(t, *i - 1, *j) > *at(t, *i, *j - 1)) {
            --*i;
        } else {
            --*j;
        }
    }
    return len;
}

static void reply_range(struct cmd_ctx *c, size_t start, size_t len)
{
    resp_array(c->out, 2);
    resp_int(c->out, (int64_t)start);
    resp_int(c->out, (int64_t)(start + len - 1));
}

static void reply_matches(struct cmd_ctx *c, const struct lcs *t, const struct lcs_options *o)
{
    resp_map(c->out, 2);
    resp_bulk_str(c->out, "matches");
    size_t mark = resp_defer(c->out);
    size_t n = 0;
    size_t i = t->a.len;
    size_t j = t->b.len;
    for (size_t len = previous_match(t, &i, &j); len != 0; len = previous_match(t, &i, &j)) {
        if ((int64_t)len >= o->min_match_len) {
            resp_array(c->out, o->with_match_len ? 3 : 2);
            reply_range(c, i, len);
            reply_range(c, j, len);
            if (o->with_match_len) {
                resp_int(c->out, (int64_t)len);
            }
            n++;
        }
    }
    resp_defer_end(c->out, mark, RESP_ARRAY, n);
    resp_bulk_str(c->out, "len");
    resp_int(c->out, *at(t, t->a.len, t->b.len));
}

static void reply_text(struct cmd_ctx *c, const struct lcs *t)
{
    size_t left = *at(t, t->a.len, t->b.len);
    char *text = mem_alloc(left);
    size_t total = left;
    size_t i = t->a.len;
    size_t j = t->b.len;
    for (size_t len = previous_match(t, &i, &j); len != 0; len = previous_match(t, &i, &j)) {
        left -= len;
        memcpy(text + left, t->a.p + i, len);
    }
    resp_bulk(c->out, text, total);
    mem_free(text);
}

void lcs_command(struct cmd_ctx *c)
{
    struct entry *a = cmd_lookup(c, c->argv[1]);
    struct entry *b = cmd_lookup(c, c->argv[2]);
    if ((a != NULL && entry_type(a) != VAL_STRING) || (b != NULL && entry_type(b) != VAL_STRING)) {
        resp_error(c->out, "ERR The specified keys must contain string values");
        return;
    }
    struct lcs_options o;
    if (!parse(c, &o)) {
        return;
    }
    struct lcs t = {.a = a != NULL ? entry_string(a) : span_of("", 0),
                    .b = b != NULL ? entry_string(b) : span_of("", 0)};
    if (t.a.len >= UINT32_MAX - 1 || t.b.len >= UINT32_MAX - 1) {
        resp_error(c->out, "ERR String too long for LCS");
        return;
    }
    uint64_t cells = ((uint64_t)t.a.len + 1) * ((uint64_t)t.b.len + 1);
    if (cells * sizeof *t.lengths > c->config->proto_max_bulk_len) {
        resp_error(c->out,
                   "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
        return;
    }
    t.lengths = mem_try_alloc(cells * sizeof *t.lengths);
    if (t.lengths == NULL) {
        resp_error(c->out, "ERR Insufficient memory, failed allocating transient memory for LCS");
        return;
    }
    fill(&t);
    if (o.idx) {
        reply_matches(c, &t, &o);
    } else if (o.len) {
        resp_int(c->out, *at(&t, t.a.len, t.b.len));
    } else {
        reply_text(c, &t);
    }
    mem_free(t.lengths);
}
