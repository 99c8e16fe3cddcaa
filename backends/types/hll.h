#ifndef BACKENDS_TYPES_HLL_H
#define BACKENDS_TYPES_HLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/span.h"

/* HyperLogLog in Redis' own representation, so that the strings mean the same in both.
 *
 * 16 bytes of header ("HYLL", encoding, three unused bytes, the last count as 8 bytes little endian
 * whose highest bit says that it is out of date), then 16384 registers: dense, 6 bits each, lowest
 * bits first; or sparse, a row of opcodes ZERO 00nnnnnn (n+1 registers of 0), XZERO 01nnnnnn
 * nnnnnnnn (the same, 14 bits), VAL 1vvvvvnn (n+1 registers of v+1). All functions take strings
 * from anywhere: nothing about the opcodes is trusted. */
#define HLL_REGISTERS 16384
#define HLL_HEADER 16
#define HLL_DENSE_BYTES (HLL_HEADER + HLL_REGISTERS * 6 / 8)

enum hll_result { HLL_SAME, HLL_CHANGED, HLL_CORRUPT };

/* Which register an element belongs to, and the value it wants there (1 .. 51). */
struct hll_mark {
    uint32_t index;
    uint8_t value;
};
struct hll_mark hll_mark_of(struct span element);

/* True if the header is right (and the length, if dense). What follows may still be corrupt. */
bool hll_is_valid(struct span s);
bool hll_is_dense(struct span s);

/* An empty one, sparse, into an empty buffer. */
void hll_init(struct buf *b);
/* Raises a register. b holds a valid string and may grow; it turns dense when sparse_max bytes do
 * not suffice or the value is above 32. Does not touch the stored count. HLL_CORRUPT: b may be half
 * changed. */
enum hll_result hll_set(struct buf *b, size_t sparse_max, struct hll_mark m);
/* The same for the bytes of a dense string in place. */
enum hll_result hll_dense_set(char *bytes, struct hll_mark m);
/* True if the string, as it is, has at least this value there. A corrupt sparse string: false. */
bool hll_has(struct span s, struct hll_mark m);
/* Turns b dense; false: corrupt. */
bool hll_to_dense(struct buf *b);

/* The count stored in the header, if it is up to date. */
bool hll_cached(struct span s, uint64_t *count);
void hll_invalidate(char *bytes); /* marks it as out of date */

/* Estimates (Ertl 2017); false: corrupt. */
bool hll_count(struct span s, uint64_t *count);
/* Raises each of HLL_REGISTERS bytes to the string's registers; false: corrupt. */
bool hll_merge(uint8_t *registers, struct span s);
uint64_t hll_count_registers(const uint8_t *registers);

#endif
