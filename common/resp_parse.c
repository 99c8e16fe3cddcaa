/* Requests of RESP clients: multibulk and inline, with the limits, the leniency and the error texts
 * of Redis 7.0.
 *
 * Two ways in. resp_parse_whole is the fast one: one pass over a request that is all there, no
 * state. Whatever it does not like (incomplete, malformed, odd) it leaves to resp_parse, a state
 * machine over one growing request that knows every limit and text. Both read lengths the same way,
 * so they agree on every request both accept.
 *
 * Redis' leniency that clients may rely on: the byte behind a '\r' is not looked at, nor are the
 * two behind an argument; a line ends for good at a byte of zero (then the request never completes
 * and falls to the 64 KB limit). */
#include "common/resp.h"

#include <ctype.h>
#include <stdio.h>

#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"
#include "common/words.h"

enum { MODE_NONE, MODE_MULTIBULK, MODE_INLINE };

#define ARGV_CAP_FIRST 8u
#define ARGV_CAP_KEEP 64u
#define INLINE_CAP_KEEP 1024u

void resp_parser_init(struct resp_parser *p)
{
    *p = (struct resp_parser){.bulk_len = -1};
}

void resp_parser_free(struct resp_parser *p)
{
    mem_free(p->argv);
    mem_free(p->inline_args);
    resp_parser_init(p);
}

void resp_parser_reset(struct resp_parser *p)
{
    if (p->argv_cap > ARGV_CAP_KEEP) {
        mem_free(p->argv);
        p->argv = NULL;
        p->argv_cap = 0;
    }
    if (p->inline_cap > INLINE_CAP_KEEP) {
        mem_free(p->inline_args);
        p->inline_args = NULL;
        p->inline_cap = 0;
    }
    p->mode = MODE_NONE;
    p->argc = 0;
    p->pos = p->scanned = 0;
    p->bulk_len = -1;
    p->args_left = p->args_declared = 0;
}

size_t resp_wanted(const struct resp_parser *p)
{
    return p->mode == MODE_MULTIBULK && p->bulk_len >= 0 ? p->pos + (size_t)p->bulk_len + 2 : 0;
}

static void push_arg(struct resp_parser *p, struct span arg)
{
    if (p->argc == p->argv_cap) {
        uint32_t cap = p->argv_cap == 0 ? ARGV_CAP_FIRST : p->argv_cap * 2;
        p->argv = mem_realloc(p->argv, cap * sizeof *p->argv);
        p->argv_cap = cap;
    }
    p->argv[p->argc++] = arg;
}

/* Where the first `wanted` byte at or behind p->pos is, no zero byte before it; SIZE_MAX if it is
 * not there (yet). */
static size_t find_line_end(struct resp_parser *p, const char *bytes, size_t len, char wanted)
{
    size_t from = p->scanned > p->pos ? p->scanned : p->pos;
    const char *hit = from < len ? memchr(bytes + from, wanted, len - from) : NULL;
    size_t end = hit != NULL ? (size_t)(hit - bytes) : len;
    const char *zero = from < end ? memchr(bytes + from, 0, end - from) : NULL;
    if (zero != NULL) {
        p->scanned = (size_t)(zero - bytes);
        return SIZE_MAX;
    }
    p->scanned = end;
    return hit != NULL ? end : SIZE_MAX;
}

static enum resp_result bad(struct errmsg *error, const char *text)
{
    snprintf(error->text, sizeof error->text, "Protocol error: %s", text);
    return RESP_BAD;
}

struct number {
    int64_t value;
    bool valid;
};

/* A line `<mark><number>\r?` at p->pos. RESP_REQUEST means: it is there, *n and p->pos are set. */
static enum resp_result read_number(struct resp_parser *p, const char *bytes, size_t len,
                                    struct number *n, const char *too_big, struct errmsg *error)
{
    size_t cr = find_line_end(p, bytes, len, '\r');
    if (cr == SIZE_MAX && len - p->pos > RESP_INLINE_MAX) {
        return bad(error, too_big);
    }
    if (cr == SIZE_MAX || cr + 2 > len) {
        return RESP_MORE;
    }
    struct span digits = span_of(NULL, 0);
    if (cr > p->pos) {
        digits = span_of(bytes + p->pos + 1, cr - p->pos - 1);
    }
    n->valid = num_parse_i64(digits, &n->value);
    p->pos = cr + 2;
    return RESP_REQUEST;
}

static enum resp_result parse_count(struct resp_parser *p, const char *bytes, size_t len,
                                    const struct resp_limits *limits, struct errmsg *error)
{
    struct number n = {0};
    enum resp_result r = read_number(p, bytes, len, &n, "too big mbulk count string", error);
    if (r != RESP_REQUEST) {
        return r;
    }
    if (!n.valid || n.value > (int64_t)limits->args_max) {
        return bad(error, "invalid multibulk length");
    }
    if (n.value > RESP_ARGS_UNAUTH_MAX && limits->unauthenticated) {
        return bad(error, "unauthenticated multibulk length");
    }
    p->args_left = p->args_declared = n.value > 0 ? (uint32_t)n.value : 0;
    return RESP_REQUEST;
}

static enum resp_result parse_bulk_header(struct resp_parser *p, const char *bytes, size_t len,
                                          const struct resp_limits *limits, struct errmsg *error)
{
    size_t start = p->pos;
    struct number n = {0};
    enum resp_result r = read_number(p, bytes, len, &n, "too big bulk count string", error);
    if (r != RESP_REQUEST) {
        return r;
    }
    if (bytes[start] != '$') {
        char got = bytes[start];
        if (got == '\r' || got == '\n') {
            got = ' ';
        }
        snprintf(error->text, sizeof error->text, "Protocol error: expected '$', got '%c'", got);
        return RESP_BAD;
    }
    if (!n.valid || n.value < 0 || (uint64_t)n.value > limits->bulk_bytes_max) {
        return bad(error, "invalid bulk length");
    }
    if (n.value > RESP_BULK_UNAUTH_MAX && limits->unauthenticated) {
        return bad(error, "unauthenticated bulk length");
    }
    p->bulk_len = n.value;
    return RESP_REQUEST;
}

static enum resp_result parse_multibulk(struct resp_parser *p, const char *bytes, size_t len,
                                        const struct resp_limits *limits, struct errmsg *error)
{
    enum resp_result r = RESP_REQUEST;
    if (p->pos == 0) {
        r = parse_count(p, bytes, len, limits, error);
        if (r != RESP_REQUEST) {
            return r;
        }
    }
    while (p->args_left != 0) {
        if (p->bulk_len < 0) {
            r = parse_bulk_header(p, bytes, len, limits, error);
            if (r != RESP_REQUEST) {
                return r;
            }
        }
        size_t n = (size_t)p->bulk_len;
        if (len - p->pos < n + 2) {
            return RESP_MORE;
        }
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): an offset until the request is whole */
        push_arg(p, span_of((const char *)(uintptr_t)p->pos, n));
        p->pos += n + 2;
        p->scanned = p->pos;
        p->bulk_len = -1;
        p->args_left--;
    }
    for (uint32_t i = 0; i < p->argc; i++) {
        p->argv[i].p = bytes + (uintptr_t)p->argv[i].p;
    }
    return RESP_REQUEST;
}

static enum resp_result parse_inline(struct resp_parser *p, const char *bytes, size_t len,
                                     struct errmsg *error)
{
    size_t end = find_line_end(p, bytes, len, '\n');
    if (end == SIZE_MAX) {
        return len > RESP_INLINE_MAX ? bad(error, "too big inline request") : RESP_MORE;
    }
    p->pos = end + 1;
    struct span rest = span_of(bytes, end);
    if (end != 0 && bytes[end - 1] == '\r') {
        rest.len--;
    }
    if (p->inline_cap < rest.len + 1) {
        mem_free(p->inline_args);
        p->inline_cap = rest.len + 1;
        p->inline_args = mem_alloc(p->inline_cap);
    }
    size_t used = 0;
    for (;;) {
        size_t n = 0;
        int r = word_next(&rest, p->inline_args + used, &n);
        if (r < 0) {
            return bad(error, "unbalanced quotes in request");
        }
        if (r == 0) {
            return RESP_REQUEST;
        }
        push_arg(p, span_of(p->inline_args + used, n));
        used += n;
    }
}

enum resp_result resp_parse(struct resp_parser *p, const char *bytes, size_t len,
                            const struct resp_limits *limits, size_t *consumed,
                            struct errmsg *error)
{
    if (p->mode == MODE_NONE) {
        if (len == 0) {
            return RESP_MORE;
        }
        resp_parser_reset(p);
        p->mode = bytes[0] == '*' ? MODE_MULTIBULK : MODE_INLINE;
    }
    enum resp_result r = p->mode == MODE_MULTIBULK ? parse_multibulk(p, bytes, len, limits, error)
                                                   : parse_inline(p, bytes, len, error);
    if (r == RESP_REQUEST) {
        *consumed = p->pos;
    }
    if (r != RESP_MORE) {
        p->mode = MODE_NONE;
    }
    return r;
}

/* ---- the fast way ---- */

/* Plain digits, no leading zero, then "\r\n". Returns the position behind, or NULL. At most 9
 * digits. */
static inline const char *number_line(const char *p, const char *end, uint32_t *value)
{
    if (end - p < 3) {
        return NULL;
    }
    uint32_t v = (uint32_t)(unsigned char)*p - '0';
    if (v > 9 || (v == 0 && p[1] != '\r')) {
        return NULL;
    }
    const char *limit = end - p > 11 ? p + 9 : end - 2; /* two bytes must follow the last digit */
    for (p++; p < limit; p++) {
        uint32_t digit = (uint32_t)(unsigned char)*p - '0';
        if (digit > 9) {
            break;
        }
        v = v * 10 + digit;
    }
    if (p + 2 > end || p[0] != '\r' || p[1] != '\n') {
        return NULL;
    }
    *value = v;
    return p + 2;
}

static size_t whole_inline(const char *bytes, size_t len, struct span *argv, uint32_t argv_max,
                           uint32_t *argc)
{
    const char *nl = memchr(bytes, '\n', len);
    if (nl == NULL) {
        return 0;
    }
    uint32_t n = 0;
    const char *p = bytes;
    while (p < nl) {
        while (p < nl && isspace((unsigned char)*p)) {
            p++;
        }
        const char *start = p;
        while (p < nl && !isspace((unsigned char)*p)) {
            if (*p == '"' || *p == '\'' || *p == '\0') {
                return 0;
            }
            p++;
        }
        if (p != start) {
            if (n == argv_max) {
                return 0;
            }
            argv[n++] = span_of(start, (size_t)(p - start));
        }
    }
    if (n == 0) {
        return 0; /* an empty line is resp_parse's */
    }
    *argc = n;
    return (size_t)(nl + 1 - bytes);
}

size_t resp_parse_whole(const char *bytes, size_t len, const struct resp_limits *limits,
                        struct span *argv, uint32_t argv_max, uint32_t *argc)
{
    if (len == 0) {
        return 0;
    }
    if (__builtin_expect(bytes[0] != '*', 0)) {
        return whole_inline(bytes, len, argv, argv_max, argc);
    }
    const char *end = bytes + len;
    uint32_t n = 0;
    const char *p = number_line(bytes + 1, end, &n);
    if (p == NULL || n == 0 || n > argv_max || n > limits->args_max ||
        (limits->unauthenticated && n > RESP_ARGS_UNAUTH_MAX)) {
        return 0;
    }
    uint64_t bulk_max = limits->unauthenticated && limits->bulk_bytes_max > RESP_BULK_UNAUTH_MAX
                            ? RESP_BULK_UNAUTH_MAX
                            : limits->bulk_bytes_max;
    for (uint32_t i = 0; i < n; i++) {
        if (p >= end || *p != '$') {
            return 0;
        }
        uint32_t size = 0;
        p = number_line(p + 1, end, &size);
        if (p == NULL || size > bulk_max || (size_t)(end - p) < (size_t)size + 2) {
            return 0;
        }
        argv[i] = span_of(p, size);
        p += size + 2;
    }
    *argc = n;
    return (size_t)(p - bytes);
}
