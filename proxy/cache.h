#ifndef PROXY_CACHE_H
#define PROXY_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/span.h"

/* The symmetric cache's table: what the readers of all workers of a process may see of hot keys.
 *
 * An entry is written by one worker, the one that owns its key (cache_set), and read by all
 * (cache_read) under the entry's sequence number: readers take no lock, copy, and look again
 * whether anything changed. Whether a value that is VALID may be answered (lease, program order)
 * is for the caller to know; the protocol is in coherence/galene.h.
 *
 * A reader may miss an entry while others come and go: then the key is looked for where it surely
 * is, in its shard. It never sees one that is not there, nor bytes of two values.
 *
 * Memory of values is taken from the budget in blocks of powers of two and kept for good; a value
 * for which there is none is not readable here (BUSY, or NONE if there is none for the key). */
struct cache;

struct cache_limits {
    uint32_t entries;    /* places, all workers' together */
    uint32_t value_max;  /* bytes; longer values are BUSY */
    uint64_t memory_max; /* bytes of keys and values */
};
#define CACHE_KEY_MAX 512u /* bytes of an inner key; longer ones are NONE to readers */

struct cache *cache_new(const struct cache_limits *l);
void cache_free(struct cache *c); /* after all readers; NULL allowed */

/* The hash of an inner key, the same in all processes. */
uint64_t cache_hash(struct span key);

enum cache_state {
    CACHE_NONE,   /* not in the table */
    CACHE_BUSY,   /* known, but not to be answered from here */
    CACHE_VALUE,  /* a string */
    CACHE_ABSENT, /* there is no such key, which is known for sure */
};

/* ---- writing: cache_set of one place from one thread only ---- */
struct cache_value {
    enum cache_state state;
    struct span bytes;  /* CACHE_VALUE */
    uint64_t expire_ms; /* wall clock; 0: none */
};
/* Makes the place (< entries) say this of the key. When it returns no reader sees anything older
 * any more. The key of a place stays the same until it was set to NONE. False: there was no room,
 * and BUSY was set instead. Cost: a lock when the place is taken or given up, or changes size. */
bool cache_set(struct cache *c, uint32_t place, uint64_t hash, struct span key,
               const struct cache_value *v);
/* Sets places first .. first + count - 1 to NONE, whatever key they had. From their writer. */
void cache_clear(struct cache *c, uint32_t first, uint32_t count);

/* ---- reading: any thread ---- */
struct cache_counts {
    _Atomic uint32_t entries; /* in the table now */
    _Atomic uint64_t bytes;   /* of the budget in use */
    _Atomic uint64_t no_room; /* values that found none */
};
const struct cache_counts *cache_counts(const struct cache *c);
/* One predictable branch for who has no hot keys. */
static inline bool cache_any(const struct cache_counts *n)
{
    return atomic_load_explicit(&n->entries, memory_order_relaxed) != 0;
}

enum cache_form {
    CACHE_BULK, /* $length, the bytes, CRLF: as a reply */
    CACHE_RAW,  /* the bytes */
    CACHE_META  /* nothing is appended */
};
struct cache_got {
    uint64_t expire_ms;
    uint32_t len; /* of the value */
};
/* Brings what looking up keys of these hashes will touch closer, all of it at once: a look-up that
 * misses the processor's caches costs three waits, one after the other. */
void cache_prefetch(const struct cache *c, const uint64_t *hashes, size_t n);

/* Looks the key up and appends a VALUE to out. fresh_ms: a value that expires by then is BUSY. out
 * is as before unless VALUE is returned; it may be NULL with META. */
enum cache_state cache_read(const struct cache *c, uint64_t hash, struct span key,
                            uint64_t fresh_ms, enum cache_form form, struct buf *out,
                            struct cache_got *got);

#endif
