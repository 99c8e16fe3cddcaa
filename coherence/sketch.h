#ifndef COHERENCE_SKETCH_H
#define COHERENCE_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

/* Which keys are used most: a Space-Saving summary of a stream of requests (DESIGN section 5,
 * "Which keys").
 *
 * A summary of k counters never misses a key that makes up more than 1/k of the stream. What it
 * says of a key is bounded on both sides: the uses it counted happened (reads + writes + others),
 * and at most `over` more happened before the key got its counter. Uses come with a weight: a
 * sample of one request in n counts for n.
 *
 * Source: Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k elements in
 * data streams", ICDT 2005. */

/* Kinds of uses, counted apart. */
enum sketch_use {
    SKETCH_READ,  /* a read that a cached value can answer */
    SKETCH_WRITE, /* anything that may change the key */
    SKETCH_OTHER, /* a read that needs the node: of a collection, say */
    SKETCH_USES
};

#define SKETCH_KEY_MAX 255u /* longer keys are not followed */
#define SKETCH_CAPACITY_MAX (UINT32_C(1) << 20)

/* What is known of one key. */
struct sketch_item {
    uint64_t hash;
    struct span key; /* borrowed from the summary: until it is changed */
    uint64_t uses[SKETCH_USES];
    uint64_t over; /* uses that may have happened besides */
};

static inline uint64_t sketch_item_sum(const struct sketch_item *i)
{
    return i->uses[SKETCH_READ] + i->uses[SKETCH_WRITE] + i->uses[SKETCH_OTHER];
}

struct sketch;

/* Bytes of memory for a summary of so many counters (1..SKETCH_CAPACITY_MAX). */
size_t sketch_size(uint32_t capacity);
/* Makes an empty one in the caller's memory (sketch_size bytes, aligned for any object), which the
 * caller frees when it is done with it. */
struct sketch *sketch_init(void *memory, uint32_t capacity);
void sketch_reset(struct sketch *s);

/* Counts `weight` uses of a key. hash: any good 64-bit hash of the key's bytes, the same at
 * everybody who merges. Returns false, and counts nothing, if the key is longer than
 * SKETCH_KEY_MAX. Cost: O(log capacity), about 100 ns. The bytes of key are copied. */
bool sketch_add(struct sketch *s, uint64_t hash, struct span key, enum sketch_use use,
                uint64_t weight);
/* Counts what another summary says of a key: so summaries are merged. The bounds of the sum hold as
 * those of one summary do, for keys that are in both. */
bool sketch_add_item(struct sketch *s, const struct sketch_item *item);
/* Halves all counts: the next epoch weighs twice as much as this one. Keys of which nothing is left
 * are forgotten. O(capacity). */
void sketch_halve(struct sketch *s);
/* Forgets one key. O(capacity). */
void sketch_forget(struct sketch *s, uint64_t hash, struct span key);

/* The keys with the most counted uses, most first; at most n. Returns how many. O(capacity). */
uint32_t sketch_top(struct sketch *s, struct sketch_item *items, uint32_t n);
/* What is known of this key; false (item untouched): nothing. */
bool sketch_find(const struct sketch *s, uint64_t hash, struct span key, struct sketch_item *item);
uint32_t sketch_count(const struct sketch *s);    /* keys in it */
uint32_t sketch_capacity(const struct sketch *s); /* counters */
/* All weight ever added, halved with the counts. */
uint64_t sketch_total(const struct sketch *s);
/* A key that is not in it was used at most this often. */
uint64_t sketch_missed(const struct sketch *s);

#endif
