#ifndef COHERENCE_KEYTAB_H
#define COHERENCE_KEYTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherence/msg.h"

/* A bounded table of keys with a deadline each: hash table, free list and a binary heap, all of
 * indices into arrays made at init. A core keeps what it knows of key number i in an array of its
 * own. References of keys are the caller's affair. */
#define KEYTAB_NONE UINT32_MAX

struct keytab_slot {
    struct hermes_key key;
    uint64_t deadline;
    uint32_t next, heap_pos;
    bool used;
};

struct keytab {
    struct keytab_slot *slots;
    uint32_t *buckets, *heap;
    uint32_t capacity, used, heap_count, free, bucket_mask;
    bool (*same_key)(void *ctx, struct coh_ref a, struct coh_ref b);
    void *ctx;
};

/* Bytes, a multiple of 16, that keytab_init takes from the front of memory. */
size_t keytab_size(uint32_t capacity);
void keytab_init(struct keytab *t, void *memory, uint32_t capacity,
                 bool (*same_key)(void *ctx, struct coh_ref a, struct coh_ref b), void *ctx);
uint32_t keytab_find(const struct keytab *t, const struct hermes_key *key); /* or KEYTAB_NONE */
/* A new number for a key that has none; no deadline. There must be room (used < capacity). */
uint32_t keytab_take(struct keytab *t, const struct hermes_key *key);
void keytab_give(struct keytab *t, uint32_t i);
void keytab_deadline(struct keytab *t, uint32_t i, uint64_t at); /* UINT64_MAX: none */
/* The number with the smallest deadline, or KEYTAB_NONE if there is none. */
uint32_t keytab_first(const struct keytab *t);
uint64_t keytab_next_deadline(const struct keytab *t); /* UINT64_MAX: none */

#endif
