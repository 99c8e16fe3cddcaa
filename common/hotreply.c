/* The node's answer about a hot key, and back. */
#include "common/hotreply.h"

#define HEADER 29u

static void put(unsigned char *to, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        to[i] = (unsigned char)(v >> 8 * i);
    }
}

static uint64_t take(const unsigned char *from, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)from[i] << 8 * i;
    }
    return v;
}

void hot_reply_add(struct buf *b, const struct hot_reply *r)
{
    unsigned char header[HEADER] = {(unsigned char)r->what};
    put(header + 1, r->ts, 8);
    put(header + 9, r->generation, 8);
    put(header + 17, r->expire_ms, 8);
    put(header + 25, r->value.len, 4);
    buf_add(b, header, sizeof header);
    buf_add(b, r->value.p, r->value.len);
    buf_add(b, r->reply.p, r->reply.len);
}

bool hot_reply_parse(struct span bytes, struct hot_reply *out)
{
    if (bytes.len < HEADER) {
        return false;
    }
    const unsigned char *p = (const unsigned char *)bytes.p;
    uint64_t len = take(p + 25, 4);
    if (p[0] > HOT_UNCACHEABLE || len > bytes.len - HEADER || (p[0] != HOT_STRING && len != 0)) {
        return false;
    }
    *out = (struct hot_reply){.what = (enum hot_what)p[0],
                              .ts = take(p + 1, 8),
                              .generation = take(p + 9, 8),
                              .expire_ms = take(p + 17, 8),
                              .value = span_of(bytes.p + HEADER, (size_t)len),
                              .reply = span_of(bytes.p + HEADER + len, bytes.len - HEADER - len)};
    return true;
}
