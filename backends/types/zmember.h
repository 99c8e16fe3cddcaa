#ifndef BACKENDS_TYPES_ZMEMBER_H
#define BACKENDS_TYPES_ZMEMBER_H

#include <stdint.h>
#include <string.h>

#include "common/mem.h"
#include "common/span.h"

/* One member of a large sorted set: a block of its own, because both the tree (ztree.h) and the
 * index (dict.h) point to it. The length is one byte, or 0xFF and four bytes, so that a member of
 * up to 15 bytes takes 32 bytes in all. */
struct zmember {
    double score; /* never NaN */
    char data[];
};

#define ZMEMBER_LONG 0xFFu

/* Gives a new block with the score and a copy of the bytes. */
static inline struct zmember *zmember_new(struct span s, double score)
{
    size_t head = s.len < ZMEMBER_LONG ? 1 : 1 + sizeof(uint32_t);
    struct zmember *m = mem_alloc(sizeof *m + head + s.len);
    m->score = score;
    m->data[0] = (char)(head == 1 ? s.len : ZMEMBER_LONG);
    if (head != 1) {
        uint32_t len = (uint32_t)s.len;
        memcpy(m->data + 1, &len, sizeof len);
    }
    if (s.len != 0) {
        memcpy(m->data + head, s.p, s.len);
    }
    return m;
}

/* The member's bytes; valid as long as the block. */
static inline struct span zmember_span(const struct zmember *m)
{
    uint8_t small = (uint8_t)m->data[0];
    if (small != ZMEMBER_LONG) {
        return span_of(m->data + 1, small);
    }
    uint32_t len;
    memcpy(&len, m->data + 1, sizeof len);
    return span_of(m->data + 1 + sizeof len, len);
}

/* Bytes the allocator gave for the block. */
static inline size_t zmember_memory(const struct zmember *m)
{
    return mem_usable(m);
}

/* memcmp order, the shorter first: how members of equal score are ordered. */
static inline int zmember_cmp(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

#endif
