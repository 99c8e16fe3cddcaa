#ifndef BACKENDS_TYPES_ITEM_H
#define BACKENDS_TYPES_ITEM_H

#include <stddef.h>
#include <stdint.h>

#include "common/mem.h"
#include "common/span.h"

/* Items of tables: texts with their lengths in front (groups of 7 bits, lowest first), in one
 * block. */
#define ITEM_LEN_MAX 10

static inline size_t item_len_size(size_t len)
{
    size_t n = 1;
    for (; len >= 128; len >>= 7) {
        n++;
    }
    return n;
}

static inline char *item_put_len(char *p, size_t len)
{
    for (; len >= 128; len >>= 7) {
        *p++ = (char)(len | 128);
    }
    *p++ = (char)len;
    return p;
}

static inline const char *item_get_len(const char *p, size_t *len)
{
    size_t v = (unsigned char)*p++;
    if (v >= 128) {
        v &= 127;
        for (unsigned shift = 7;; shift += 7) {
            size_t b = (unsigned char)*p++;
            v |= (b & 127) << shift;
            if (b < 128) {
                break;
            }
        }
    }
    *len = v;
    return p;
}

/* An item of one text: members of sets. */
static inline struct span item_text(const void *item)
{
    size_t len;
    const char *p = item_get_len(item, &len);
    return span_of(p, len);
}

static inline void *item_new(struct span text)
{
    char *item = mem_alloc(item_len_size(text.len) + text.len);
    char *p = item_put_len(item, text.len);
    if (text.len != 0) {
        memcpy(p, text.p, text.len);
    }
    return item;
}

#endif
