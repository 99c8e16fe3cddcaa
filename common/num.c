/* Numbers to and from text, with exactly the rules of Redis 7.0. */
#include "common/num.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/mem.h"

bool num_parse_i64(struct span s, int64_t *out)
{
    if (s.len == 0 || s.len > 20) {
        return false;
    }
    size_t i = 0;
    bool negative = s.p[0] == '-';
    if (negative) {
        i = 1;
        if (s.len == 1) {
            return false;
        }
    }
    unsigned first = (unsigned)(unsigned char)s.p[i] - '0';
    if (first == 0 && s.len == 1) {
        *out = 0;
        return true;
    }
    if (first == 0 || first > 9) {
        return false; /* "-0", "01" and anything that is no digit */
    }
    uint64_t v = first;
    for (i++; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, digit, &v)) {
            return false;
        }
    }
    if (v > (uint64_t)INT64_MAX + (negative ? 1u : 0u)) {
        return false;
    }
    *out = (int64_t)(negative ? 0 - v : v);
    return true;
}

/* strtoul of the C library, whole string, no blank in front: a sign is allowed (and wraps), the
 * empty string is 0, and the text ends at a byte of zero. */
bool num_parse_u64(struct span s, uint64_t *out)
{
    const char *zero = s.len != 0 ? memchr(s.p, 0, s.len) : NULL;
    if (zero != NULL) {
        s.len = (size_t)(zero - s.p);
    }
    size_t i = 0;
    bool negative = false;
    if (s.len != 0 && (s.p[0] == '-' || s.p[0] == '+')) {
        negative = s.p[0] == '-';
        i = 1;
        if (s.len == 1) {
            return false;
        }
    }
    uint64_t v = 0;
    for (; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, digit, &v)) {
            return false;
        }
    }
    *out = negative ? 0 - v : v;
    return true;
}

/* A terminated copy for the C library's parsers: in `small` when it fits, else on the heap. */
static char *terminated(struct span s, char *small, size_t room)
{
    char *text = s.len < room ? small : mem_alloc(s.len + 1);
    if (s.len != 0) {
        memcpy(text, s.p, s.len);
    }
    text[s.len] = '\0';
    return text;
}

bool num_parse_double(struct span s, double *out)
{
    int64_t whole = 0;
    if (s.len <= 15 && num_parse_i64(s, &whole)) { /* exact in a double */
        *out = (double)whole;
        return true;
    }
    if (s.len == 0 || isspace((unsigned char)s.p[0])) {
        return false;
    }
    char small[128];
    char *text = terminated(s, small, sizeof small);
    char *end = NULL;
    errno = 0;
    double v = strtod(text, &end);
    bool over = errno == ERANGE && (isinf(v) || fpclassify(v) == FP_ZERO);
    bool ok = (size_t)(end - text) == s.len && !over && !isnan(v);
    if (text != small) {
        mem_free(text);
    }
    if (ok) {
        *out = v;
    }
    return ok;
}

bool num_parse_ldouble(struct span s, long double *out)
{
    if (s.len == 0 || s.len >= NUM_LDOUBLE_MAX || isspace((unsigned char)s.p[0])) {
        return false;
    }
    char text[NUM_LDOUBLE_MAX];
    memcpy(text, s.p, s.len);
    text[s.len] = '\0';
    char *end = NULL;
    errno = 0;
    long double v = strtold(text, &end);
    bool over = errno == ERANGE && (isinf(v) || fpclassify(v) == FP_ZERO);
    if ((size_t)(end - text) != s.len || over || isnan(v)) {
        return false;
    }
    *out = v;
    return true;
}

static const char digit_pairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

size_t num_fmt_u64(char *out, uint64_t v)
{
    char tmp[NUM_I64_MAX];
    size_t at = sizeof tmp;
    while (v >= 100) {
        at -= 2;
        memcpy(tmp + at, digit_pairs + (v % 100 * 2), 2);
        v /= 100;
    }
    if (v >= 10) {
        at -= 2;
        memcpy(tmp + at, digit_pairs + v * 2, 2);
    } else {
        tmp[--at] = (char)('0' + v);
    }
    size_t n = sizeof tmp - at;
    memcpy(out, tmp + at, n);
    out[n] = '\0';
    return n;
}

size_t num_fmt_i64(char *out, int64_t v)
{
    if (v >= 0) {
        return num_fmt_u64(out, (uint64_t)v);
    }
    out[0] = '-';
    return 1 + num_fmt_u64(out + 1, 0 - (uint64_t)v);
}

size_t num_fmt_double(char *out, double v)
{
    if (isinf(v) || isnan(v)) {
        const char *name = isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
        size_t n = strlen(name);
        memcpy(out, name, n + 1);
        return n;
    }
    /* %.17g shows every whole number below 10^17 as plain digits; up to 2^52 the conversion is
     * exact */
    if (fabs(v) < 4503599627370496.0 && v == (double)(int64_t)v && !(v == 0 && signbit(v))) {
        return num_fmt_i64(out, (int64_t)v);
    }
    int n = snprintf(out, NUM_DOUBLE_MAX, "%.17g", v);
    return (size_t)n;
}

size_t num_fmt_ldouble(char *out, long double v)
{
    if (isinf(v)) {
        return num_fmt_double(out, v > 0 ? (double)INFINITY : (double)-INFINITY);
    }
    int written = snprintf(out, NUM_LDOUBLE_MAX, "%.17Lf", v);
    size_t n = (size_t)written;
    if (memchr(out, '.', n) != NULL) {
        while (out[n - 1] == '0') {
            n--;
        }
        if (out[n - 1] == '.') {
            n--;
        }
    }
    if (n == 2 && out[0] == '-' && out[1] == '0') {
        out[0] = '0';
        n = 1;
    }
    out[n] = '\0';
    return n;
}

bool num_parse_memory(struct span s, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {{"", 1},
                 {"b", 1},
                 {"k", 1000},
                 {"kb", 1024},
                 {"m", 1000000},
                 {"mb", 1u << 20},
                 {"g", UINT64_C(1000000000)},
                 {"gb", 1u << 30}};
    size_t digits = 0;
    uint64_t v = 0;
    while (digits < s.len && isdigit((unsigned char)s.p[digits])) {
        unsigned digit = (unsigned)(unsigned char)s.p[digits] - '0';
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v)) {
            return false;
        }
        digits++;
    }
    if (digits == 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (span_is(span_of(s.p + digits, s.len - digits), units[i].name)) {
            return !__builtin_mul_overflow(v, units[i].factor, out);
        }
    }
    return false;
}
