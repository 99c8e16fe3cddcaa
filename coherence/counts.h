#ifndef COHERENCE_COUNTS_H
#define COHERENCE_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "coherence/sketch.h"
#include "common/err.h"

/* Counts of keys as bytes: between the workers of a proxy, and as the payload of COUNTS between
 * proxies (coherence/gmsg.h).
 *
 * Wire, per key: length of the key (1 byte), the key, reads, writes, others, over (8 bytes each,
 * little-endian). Nothing else; no bytes at all are no keys. */
#define COUNTS_ITEM_MAX (1u + SKETCH_KEY_MAX + 8u * (SKETCH_USES + 1u))

/* Writes one item (key at most SKETCH_KEY_MAX) to at, which has room for COUNTS_ITEM_MAX bytes.
 * Returns how many it took. */
size_t counts_put(uint8_t *at, const struct sketch_item *item);
/* Reads the first of the items in bytes[0..len), len not 0; *used: how many bytes it took. The key
 * borrows from bytes; hash is left 0: each process has a hash of its own. ERR_PROTO: malformed, or
 * counts so large that sums could wrap; *item and *used unspecified. */
enum err counts_get(const uint8_t *bytes, size_t len, struct sketch_item *item,
                    size_t *used) must_use;

#endif
