/* Replies in RESP2 and RESP3, built by hand into the output buffer: one reservation per value, no
 * printf on the way of data. */
#include "common/resp.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/must.h"
#include "common/num.h"

#define LINE_MAX_BYTES 32 /* mark, 20 digits and sign, CR LF */

static inline void put_end(char *p)
{
    p[0] = '\r';
    p[1] = '\n';
}

static inline size_t put_line(char *p, char mark, uint64_t v)
{
    p[0] = mark;
    size_t n = 1;
    if (v < 10) { /* most lengths and counts are small */
        p[n++] = (char)('0' + v);
    } else if (v < 100) {
        p[n++] = (char)('0' + v / 10);
        p[n++] = (char)('0' + v % 10);
    } else {
        n += num_fmt_u64(p + 1, v);
    }
    p[n] = '\r';
    p[n + 1] = '\n';
    return n + 2;
}

static inline void header(struct resp_out *o, char mark, uint64_t v)
{
    buf_commit(o->b, put_line(buf_reserve(o->b, LINE_MAX_BYTES), mark, v));
}

void resp_simple(struct resp_out *o, const char *text)
{
    size_t n = strlen(text);
    char *p = buf_reserve(o->b, n + 3);
    p[0] = '+';
    memcpy(p + 1, text, n); /* NOLINT(bugprone-not-null-terminated-result): bytes, no string */
    put_end(p + 1 + n);
    buf_commit(o->b, n + 3);
}

void resp_ok(struct resp_out *o)
{
    buf_add(o->b, "+OK\r\n", 5);
}

/* Appends "-text\r\n"; ends of lines inside would break the protocol and become blanks. */
static void error_line(struct resp_out *o, const char *text, size_t n)
{
    while (n != 0 && (text[n - 1] == '\r' || text[n - 1] == '\n')) {
        n--;
    }
    char *p = buf_reserve(o->b, n + 3);
    *p++ = '-';
    for (size_t i = 0; i < n; i++) {
        p[i] = text[i];
        if (p[i] == '\r' || p[i] == '\n') {
            p[i] = ' ';
        }
    }
    put_end(p + n);
    buf_commit(o->b, n + 3);
}

void resp_error(struct resp_out *o, const char *text)
{
    error_line(o, text, strlen(text));
}

void resp_errorf(struct resp_out *o, const char *fmt, ...)
{
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    must(n >= 0);
    if ((size_t)n < sizeof small) {
        error_line(o, small, (size_t)n);
        return;
    }
    struct buf big = {0};
    va_start(ap, fmt);
    vsnprintf(buf_reserve(&big, (size_t)n + 1), (size_t)n + 1, fmt, ap);
    va_end(ap);
    error_line(o, big.p, (size_t)n);
    buf_free(&big);
}

void resp_int(struct resp_out *o, int64_t v)
{
    if (v >= 0) {
        header(o, ':', (uint64_t)v);
        return;
    }
    char *p = buf_reserve(o->b, LINE_MAX_BYTES);
    p[0] = ':';
    size_t n = 1 + num_fmt_i64(p + 1, v);
    put_end(p + n);
    buf_commit(o->b, n + 2);
}

void resp_bulk(struct resp_out *o, const char *bytes, size_t len)
{
    char *p = buf_reserve(o->b, len + LINE_MAX_BYTES + 2);
    size_t n = put_line(p, '$', len);
    if (len != 0) {
        memcpy(p + n, bytes, len);
        n += len;
    }
    p[n] = '\r';
    p[n + 1] = '\n';
    buf_commit(o->b, n + 2);
}

void resp_bulk_span(struct resp_out *o, struct span s)
{
    resp_bulk(o, s.p, s.len);
}

void resp_bulk_str(struct resp_out *o, const char *s)
{
    resp_bulk(o, s, strlen(s));
}

void resp_bulk_i64(struct resp_out *o, int64_t v)
{
    char text[NUM_I64_MAX];
    resp_bulk(o, text, num_fmt_i64(text, v));
}

void resp_null(struct resp_out *o)
{
    if (o->proto >= 3) {
        buf_add(o->b, "_\r\n", 3);
    } else {
        buf_add(o->b, "$-1\r\n", 5);
    }
}

void resp_null_array(struct resp_out *o)
{
    if (o->proto >= 3) {
        buf_add(o->b, "_\r\n", 3);
    } else {
        buf_add(o->b, "*-1\r\n", 5);
    }
}

void resp_array(struct resp_out *o, size_t n)
{
    header(o, '*', n);
}

void resp_map(struct resp_out *o, size_t pairs)
{
    header(o, o->proto >= 3 ? '%' : '*', o->proto >= 3 ? pairs : pairs * 2);
}

void resp_set(struct resp_out *o, size_t n)
{
    header(o, o->proto >= 3 ? '~' : '*', n);
}

void resp_push(struct resp_out *o, size_t n)
{
    header(o, o->proto >= 3 ? '>' : '*', n);
}

void resp_attribute(struct resp_out *o, size_t pairs)
{
    must(o->proto >= 3);
    header(o, '|', pairs);
}

void resp_double(struct resp_out *o, double v)
{
    char text[NUM_DOUBLE_MAX + 3];
    size_t n = num_fmt_double(text + 1, v);
    if (o->proto < 3) {
        resp_bulk(o, text + 1, n);
        return;
    }
    text[0] = ',';
    put_end(text + 1 + n);
    buf_add(o->b, text, n + 3);
}

void resp_bool(struct resp_out *o, bool v)
{
    if (o->proto >= 3) {
        buf_add(o->b, v ? "#t\r\n" : "#f\r\n", 4);
    } else {
        buf_add(o->b, v ? ":1\r\n" : ":0\r\n", 4);
    }
}

void resp_verbatim(struct resp_out *o, const char *ext3, const char *bytes, size_t len)
{
    if (o->proto < 3) {
        resp_bulk(o, bytes, len);
        return;
    }
    char *p = buf_reserve(o->b, len + LINE_MAX_BYTES + 6);
    size_t n = put_line(p, '=', len + 4);
    memcpy(p + n, ext3, 3);
    p[n + 3] = ':';
    n += 4;
    if (len != 0) {
        memcpy(p + n, bytes, len);
        n += len;
    }
    put_end(p + n);
    buf_commit(o->b, n + 2);
}

void resp_big_number(struct resp_out *o, struct span digits)
{
    if (o->proto < 3) {
        resp_bulk_span(o, digits);
        return;
    }
    char *p = buf_reserve(o->b, digits.len + 3);
    p[0] = '(';
    memcpy(p + 1, digits.p, digits.len);
    put_end(p + 1 + digits.len);
    buf_commit(o->b, digits.len + 3);
}

void resp_ldouble(struct resp_out *o, long double v)
{
    char text[NUM_LDOUBLE_MAX];
    resp_bulk(o, text, num_fmt_ldouble(text, v));
}

/* The mark counts from the buffer's head, because growing moves the bytes in use to the front. */
size_t resp_defer(struct resp_out *o)
{
    return buf_used(o->b);
}

void resp_defer_end(struct resp_out *o, size_t mark, enum resp_aggregate kind, size_t n)
{
    char line[LINE_MAX_BYTES];
    char sign = '*';
    size_t count = n;
    switch (kind) {
    case RESP_ARRAY:
        break;
    case RESP_MAP:
        sign = o->proto >= 3 ? '%' : '*';
        count = o->proto >= 3 ? n : n * 2;
        break;
    case RESP_SET:
        sign = o->proto >= 3 ? '~' : '*';
        break;
    }
    size_t size = put_line(line, sign, count);
    size_t body = buf_used(o->b) - mark;
    buf_reserve(o->b, size);
    char *at = buf_head(o->b) + mark;
    memmove(at + size, at, body);
    memcpy(at, line, size);
    buf_commit(o->b, size);
}

/* ---- size of a reply ---- */

#define REPLY_DEPTH_MAX 8
#define REPLY_COUNT_MAX (INT64_C(1) << 31)

/* One line's end: position behind CR LF, 0 if it is not there yet, -1 if a CR stands alone. */
static int64_t line_end(const char *p, size_t len, size_t from)
{
    const char *cr = from < len ? memchr(p + from, '\r', len - from) : NULL;
    if (cr == NULL || (size_t)(cr + 1 - p) == len) {
        return 0;
    }
    return cr[1] == '\n' ? cr + 2 - p : -1;
}

static inline bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* Takes one value's header at p[*at]; *children: values that follow inside it. 1 ok, 0 incomplete,
 * -1 malformed. */
static int take_value(const char *p, size_t len, size_t *at, uint64_t *children)
{
    *children = 0;
    if (*at >= len) {
        return 0;
    }
    char type = p[*at];
    if (!is_one_of(type, "+-:$*_,#!=(%~>|")) {
        return -1;
    }
    int64_t end = line_end(p, len, *at + 1);
    if (end <= 0) {
        return (int)end;
    }
    struct span text = span_of(p + *at + 1, (size_t)end - 2 - (*at + 1));
    *at = (size_t)end;
    if (is_one_of(type, "+-:_,#(")) {
        return 1;
    }
    int64_t n = 0;
    if (!num_parse_i64(text, &n) || n < -1 || n > REPLY_COUNT_MAX ||
        (n == -1 && type != '$' && type != '*')) {
        return -1;
    }
    if (n == -1) {
        return 1;
    }
    if (type == '$' || type == '!' || type == '=') {
        if (len - *at < (size_t)n + 2) {
            return 0;
        }
        if (p[*at + (size_t)n] != '\r' || p[*at + (size_t)n + 1] != '\n') {
            return -1;
        }
        *at += (size_t)n + 2;
        return 1;
    }
    /* an attribute is followed by the value it belongs to */
    *children = type == '%' ? (uint64_t)n * 2 : type == '|' ? (uint64_t)n * 2 + 1 : (uint64_t)n;
    return 1;
}

int64_t resp_reply_size(const char *bytes, size_t len)
{
    uint64_t open[REPLY_DEPTH_MAX + 1] = {1}; /* values still to come at each depth */
    unsigned depth = 0;
    size_t at = 0;
    for (;;) {
        while (open[depth] == 0) {
            if (depth == 0) {
                return (int64_t)at;
            }
            depth--;
        }
        uint64_t children = 0;
        int r = take_value(bytes, len, &at, &children);
        if (r <= 0) {
            return r;
        }
        open[depth]--;
        if (children != 0) {
            if (depth == REPLY_DEPTH_MAX) {
                return -1;
            }
            open[++depth] = children;
        }
    }
}
