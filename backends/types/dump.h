#ifndef BACKENDS_TYPES_DUMP_H
#define BACKENDS_TYPES_DUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/span.h"

/* The pieces that dumps of objects are made of: numbers in groups of 7 bits, lowest first; texts
 * with their length in front. The reader never trusts its bytes: after the first mistake `bad` is
 * set and everything reads as 0 or empty. */
void dump_put_u64(struct buf *out, uint64_t v);
void dump_put_span(struct buf *out, struct span s);

struct dump_reader {
    const unsigned char *p, *end;
    bool bad;
};
struct dump_reader dump_reader(const char *p, size_t len);
uint64_t dump_get_u64(struct dump_reader *r);
struct span dump_get_span(struct dump_reader *r); /* points into the dump */
/* A count of things of at least min_bytes each: bad if the rest cannot hold them, or if it is 0 (no
 * empty collections). */
uint64_t dump_get_count(struct dump_reader *r, size_t min_bytes);
/* A byte that must be at most max. */
unsigned dump_get_byte(struct dump_reader *r, unsigned max);

/* Hash of an element for digests: the same on every replica. */
uint64_t digest_span(struct span s, uint64_t seed);

#endif
