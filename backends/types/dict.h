#ifndef BACKENDS_TYPES_DICT_H
#define BACKENDS_TYPES_DICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

/* A hash table of items by their key, for big collections: sets, hashes, the member index of sorted
 * sets.
 *
 * An item is a block of its owner's, which holds its own key; the table holds pointers and frees
 * nothing but itself. It grows and shrinks by one bucket at a time, so no operation costs more than
 * a bucket's worth of items, at any size. About 15 bytes per item. Pointers to slots, and
 * iterators, die with the next dict_add, dict_remove or clear step; items never move. Not
 * thread-safe. */
struct dict;

/* The key inside an item (borrows). Must not change while the item is in the table. */
typedef struct span (*dict_key_fn)(const void *item);

/* Seed of the hash of all tables of the process: against chosen-key floods. Call once before the
 * first table is made. */
void dict_set_seed(uint64_t seed);

struct dict *dict_new(dict_key_fn key);
void dict_free(struct dict *d,
               void (*free_item)(
                   void *)); /* all at once; free_item NULL: items are not freed; d NULL allowed */
/* Frees about budget items and the table's own memory in slices. True: more to do, and nothing but
 * another step may be called; false: d is gone. */
bool dict_free_step(struct dict *d, size_t budget, void (*free_item)(void *));

size_t dict_count(const struct dict *d);
size_t dict_memory(const struct dict *d); /* the table alone, without the items; O(1) */

/* The functions that look for a key take its hash, so that one request computes it once. */
uint64_t dict_hash(struct span key);
void *dict_find(const struct dict *d, struct span key, uint64_t hash); /* NULL: not there */
/* Where the item's pointer is kept, to put another block with the same key there (realloc); NULL:
 * not there. */
void **dict_find_slot(struct dict *d, struct span key, uint64_t hash);
void dict_prefetch(const struct dict *d, uint64_t hash); /* the bucket */
void dict_add(struct dict *d, void *item,
              uint64_t hash); /* the key must not be in d; d takes no ownership */
void *dict_remove(struct dict *d, struct span key,
                  uint64_t hash); /* gives the item; NULL: not there */

/* The table and its items, each one allocation; samples 0: every item, else the mean of so many
 * times the count. */
size_t dict_memory_with_items(const struct dict *d, size_t samples);

/* The next number of a xorshift64 sequence (a state of 0 is replaced). */
uint64_t dict_rng(uint64_t *rng);
/* A random item, each with the same probability; d must not be empty. O(1) expected. */
void *dict_random(const struct dict *d, uint64_t *rng);
/* Calls fn for n different items (n <= count), every choice with the same probability; not in
 * random order. O(n) expected. fn must not change the table. */
typedef void (*dict_scan_fn)(void *arg, void *item);
void dict_sample(const struct dict *d, size_t n, uint64_t *rng, dict_scan_fn fn, void *arg);

/* For choosing n of many in one pass (Knuth's algorithm S): is this one of the *wanted, if it is
 * the first of the `left` still to come? Counts *wanted down. */
static inline bool dict_takes(uint64_t *rng, size_t left, size_t *wanted)
{
    bool takes = dict_rng(rng) % left < *wanted;
    *wanted -= takes;
    return takes;
}

/* Visits a few items and returns the next cursor; 0 first and at the end. Redis' guarantees: what
 * is in the table all the time is visited at least once, whatever is added and removed between the
 * calls. fn must not change the table. */
uint64_t dict_scan(const struct dict *d, uint64_t cursor, dict_scan_fn fn, void *arg);

/* All items: `struct dict_iter it = dict_iter(d); while ((item = dict_next(&it)) != NULL)`. */
struct dict_iter {
    const struct dict *d;
    const void *bucket;
    size_t next_bucket;
    unsigned left; /* bits of the slots of the bucket still to be visited */
};
struct dict_iter dict_iter(const struct dict *d);
void *dict_next(struct dict_iter *it);

#endif
