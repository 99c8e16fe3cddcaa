/* Counts of keys as bytes. */
#include "coherence/counts.h"

#include <string.h>

#include "common/must.h"

#define COUNT_MAX (UINT64_C(1) << 48)

static uint8_t *put64(uint8_t *at, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        at[i] = (uint8_t)(v >> (8 * i));
    }
    return at + 8;
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t v = 0;
    for (unsigned i = 8; i-- > 0;) {
        v = v << 8 | at[i];
    }
    return v;
}

static uint64_t fit(uint64_t v)
{
    return v < COUNT_MAX ? v : COUNT_MAX;
}

size_t counts_begin(uint8_t *at, uint32_t interval)
{
    must(interval != 0);
    for (unsigned i = 0; i < COUNTS_HEAD; i++) {
        at[i] = (uint8_t)(interval >> (8 * i));
    }
    return COUNTS_HEAD;
}

enum err counts_start(const uint8_t *bytes, size_t len, uint32_t *interval)
{
    if (len < COUNTS_HEAD) {
        return ERR_PROTO;
    }
    uint32_t v = 0;
    for (unsigned i = COUNTS_HEAD; i-- > 0;) {
        v = v << 8 | bytes[i];
    }
    *interval = v;
    return v != 0 ? OK : ERR_PROTO;
}

size_t counts_put(uint8_t *at, const struct sketch_item *item)
{
    must(item->key.len <= SKETCH_KEY_MAX);
    uint8_t *p = at;
    *p++ = (uint8_t)item->key.len;
    if (item->key.len != 0) {
        memcpy(p, item->key.p, item->key.len);
        p += item->key.len;
    }
    for (unsigned u = 0; u < SKETCH_USES; u++) {
        p = put64(p, fit(item->uses[u]));
    }
    p = put64(p, fit(item->over));
    return (size_t)(p - at);
}

enum err counts_get(const uint8_t *bytes, size_t len, struct sketch_item *item, size_t *used)
{
    must(len != 0);
    size_t n = bytes[0];
    size_t size = 1 + n + 8 * (SKETCH_USES + 1);
    if (len < size) {
        return ERR_PROTO;
    }
    const uint8_t *p = bytes + 1 + n;
    *item = (struct sketch_item){.key = span_of((const char *)bytes + 1, n)};
    for (unsigned u = 0; u < SKETCH_USES; u++, p += 8) {
        item->uses[u] = get64(p);
        if (item->uses[u] > COUNT_MAX) {
            return ERR_PROTO;
        }
    }
    item->over = get64(p);
    *used = size;
    return item->over > COUNT_MAX ? ERR_PROTO : OK;
}
