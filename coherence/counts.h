#ifndef COHERENCE_COUNTS_H
#define COHERENCE_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "coherence/sketch.h"
#include "common/err.h"

/* Counts of keys as bytes: between the workers of a proxy, and as the payload of COUNTS between
 * proxies (coherence/gmsg.h).
 *
 * Wire: the interval of sampling (4 bytes, little-endian), then per key: length of the key (1
 * byte), the key, reads, writes, others, over (8 bytes each). Nothing else. Between workers the
 * head is left out. */
#define COUNTS_ITEM_MAX (1u + SKETCH_KEY_MAX + 8u * (SKETCH_USES + 1u))

#define COUNTS_HEAD 4u
/* Writes and reads the head, COUNTS_HEAD bytes: one use in `interval` was looked at (not 0). */
size_t counts_begin(uint8_t *at, uint32_t interval);
enum err counts_start(const uint8_t *bytes, size_t len, uint32_t *interval) must_use;

/* Writes one item (key at most SKETCH_KEY_MAX) to at, which has room for COUNTS_ITEM_MAX bytes.
 * Returns how many it took. */
size_t counts_put(uint8_t *at, const struct sketch_item *item);
/* Reads the first of the items in bytes[0..len), len not 0; *used: how many bytes it took. The key
 * borrows from bytes; hash is left 0: each process has a hash of its own. ERR_PROTO: malformed, or
 * counts so large that sums could wrap; *item and *used unspecified. */
enum err counts_get(const uint8_t *bytes, size_t len, struct sketch_item *item,
                    size_t *used) must_use;

#endif
