/* Reading and writing of dumps of objects. */
#include "backends/types/dump.h"

#include <xxhash.h>

void dump_put_u64(struct buf *out, uint64_t v)
{
    char *p = buf_reserve(out, 10);
    size_t n = 0;
    for (; v >= 128; v >>= 7) {
        p[n++] = (char)(v | 128);
    }
    p[n++] = (char)v;
    buf_commit(out, n);
}

void dump_put_span(struct buf *out, struct span s)
{
    dump_put_u64(out, s.len);
    buf_add(out, s.p, s.len);
}

struct dump_reader dump_reader(const char *p, size_t len)
{
    const unsigned char *q = (const unsigned char *)p;
    return (struct dump_reader){.p = q, .end = q + len};
}

static void fail(struct dump_reader *r)
{
    r->bad = true;
    r->p = r->end;
}

uint64_t dump_get_u64(struct dump_reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->p == r->end) {
            break;
        }
        unsigned char b = *r->p++;
        if (shift == 63 && b > 1) {
            break;
        }
        v |= (uint64_t)(b & 127u) << shift;
        if (b < 128) {
            return v;
        }
    }
    fail(r);
    return 0;
}

struct span dump_get_span(struct dump_reader *r)
{
    uint64_t len = dump_get_u64(r);
    if (r->bad || len > (uint64_t)(r->end - r->p)) {
        fail(r);
        return span_of("", 0);
    }
    struct span s = span_of((const char *)r->p, (size_t)len);
    r->p += len;
    return s;
}

uint64_t dump_get_count(struct dump_reader *r, size_t min_bytes)
{
    uint64_t n = dump_get_u64(r);
    if (r->bad || n == 0 || n > (uint64_t)(r->end - r->p) / min_bytes) {
        fail(r);
        return 0;
    }
    return n;
}

unsigned dump_get_byte(struct dump_reader *r, unsigned max)
{
    if (r->p == r->end || *r->p > max) {
        fail(r);
        return 0;
    }
    return *r->p++;
}

uint64_t digest_span(struct span s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.p, s.len, seed);
}
