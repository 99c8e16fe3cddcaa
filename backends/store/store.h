#ifndef BACKENDS_STORE_STORE_H
#define BACKENDS_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

/* The key space of one worker: a hash table of entries, expiry, eviction, scanning.
 * Single-threaded, no locks.
 *
 * An entry is one block: header (protocol fields, flags, access clock), key, and a short string
 * value; longer strings and collections hang off it. Keys are inner keys (common/slot.h). The store
 * knows nothing of commands and sockets, and expires nothing by itself: callers say what time it is
 * and decide (DESIGN H12: expiry is a write). */
struct store;
struct entry;

enum val_type { VAL_STRING, VAL_LIST, VAL_SET, VAL_ZSET, VAL_HASH, VAL_STREAM, VAL_TOMBSTONE };
enum str_enc {
    STR_INT,
    STR_EMBSTR,
    STR_RAW
}; /* what OBJECT ENCODING says; the bytes are text in every case */

enum evict_policy {
    EVICT_NOEVICTION,
    EVICT_ALLKEYS_LRU,
    EVICT_ALLKEYS_LFU,
    EVICT_ALLKEYS_RANDOM,
    EVICT_VOLATILE_LRU,
    EVICT_VOLATILE_LFU,
    EVICT_VOLATILE_RANDOM,
    EVICT_VOLATILE_TTL
};

struct store_options {
    uint64_t seed[2]; /* of the hash: against chosen-key floods */
    bool lfu;         /* the access clock holds LFU data instead of LRU (follows the policy) */
    uint8_t lfu_log_factor, lfu_decay_minutes;
};

struct store *store_new(const struct store_options *o);
void store_free(struct store *s);
void store_set_options(struct store *s, const struct store_options *o); /* seed is ignored */

/* ---- look-up. No expiry, no access clock: see cmd_lookup in backends/cmd/cmd.h for what commands
 * use. ---- */
uint64_t store_hash(const struct store *s, struct span key);
void store_prefetch(const struct store *s, uint64_t hash); /* first stage: the bucket */
void store_prefetch_entry(const struct store *s,
                          uint64_t hash);                       /* second stage: the entry itself */
struct entry *store_find(struct store *s, struct span key);     /* NULL: absent or tombstone */
struct entry *store_find_any(struct store *s, struct span key); /* tombstones too */
/* The same with store_hash(key) known. */
struct entry *store_find_hashed(struct store *s, struct span key, uint64_t hash);
struct entry *store_find_any_hashed(struct store *s, struct span key, uint64_t hash);

/* ---- writing. Each returns the entry, which may have moved: pointers to the old one are dead. A
 * value that is replaced is freed (big collections: lazily, see store_lazy_step). e may be NULL for
 * a new key; otherwise e's key must equal key. ---- */
struct entry *store_put_string(struct store *s, struct entry *e, struct span key, struct span value,
                               enum str_enc enc); /* keeps expiry and protocol fields */
/* The same with the expiry given (0: none), in one step: SET, SETEX, GETSET. The value must not
 * point into the store. */
struct string_value {
    struct span bytes;
    enum str_enc enc;
    uint64_t expire_ms;
};
struct entry *store_put_string_expire(struct store *s, struct entry *e, struct span key,
                                      struct string_value v);
/* Takes object; keeps expiry and protocol fields. VAL_TOMBSTONE with object NULL: what is left of a
 * deleted key (no expiry). */
struct entry *store_put_object(struct store *s, struct entry *e, struct span key,
                               enum val_type type, void *object);
/* Makes the string value exactly len bytes (new bytes are zero), STR_RAW, and gives a writable
 * pointer to it. */
struct entry *store_string_resize(struct store *s, struct entry *e, size_t len, char **bytes);
/* For who remembers something about a long string: as long as the bytes of an entry_string are at
 * the same place and this number is the same, they were not written. False: not long enough. */
bool store_string_mark(const struct store *s, struct span string, uint32_t *mark);
/* Removes key and value. An entry with protocol fields (ts, state, hot, generation: not all zero)
 * becomes a tombstone, so that they survive (DESIGN H8); deleting a tombstone removes it for good.
 */
void store_delete(struct store *s, struct entry *e);
struct entry *store_set_expire(struct store *s, struct entry *e,
                               uint64_t expire_ms); /* absolute wall ms; 0: none */
/* Detaches the object of a collection (RENAME, lazy free): the entry keeps its key and becomes an
 * empty string. */
void *store_take_object(struct store *s, struct entry *e, enum val_type *type);

/* ---- accessors ---- */
struct span entry_key(const struct entry *e);
enum val_type entry_type(const struct entry *e);
struct span
entry_string(const struct entry *e); /* VAL_STRING only; valid until the entry is written */
enum str_enc entry_enc(const struct entry *e);
void entry_set_enc(struct entry *e, enum str_enc enc);
void *entry_object(const struct entry *e); /* collections only */
void entry_set_object(struct entry *e,
                      void *object);             /* the object moved (realloc); type unchanged */
uint64_t entry_expire_ms(const struct entry *e); /* 0: none */
static inline bool entry_expired_at(uint64_t expire_ms, uint64_t now_ms)
{
    return expire_ms != 0 && now_ms > expire_ms; /* Redis: strictly after */
}
uint64_t entry_ts(const struct entry *e); /* protocol timestamp (DESIGN 3) */
void entry_set_ts(struct entry *e, uint64_t ts);
uint8_t entry_state(const struct entry *e); /* protocol state; 0 = Valid; a non-zero state means the
                                               core holds a record for it */
void entry_set_state(struct entry *e, uint8_t state);
bool entry_hot(const struct entry *e);
struct entry *store_set_hot(struct store *s, struct entry *e, bool hot,
                            uint64_t generation); /* generation 0: never was hot */
uint64_t entry_generation(const struct entry *e);
size_t entry_memory(const struct store *s, const struct entry *e,
                    size_t samples); /* MEMORY USAGE */

/* Access clock: LRU or LFU as configured. now_ms of the command. New entries get the latest time
 * the store was told. */
void store_saw_time(struct store *s, uint64_t now_ms);
void entry_touch(struct store *s, struct entry *e, uint64_t now_ms);
uint64_t entry_idle_seconds(const struct store *s, const struct entry *e, uint64_t now_ms);
uint8_t entry_freq(const struct store *s, const struct entry *e, uint64_t now_ms);
void entry_set_access(struct store *s, struct entry *e, int64_t idle_seconds, int freq,
                      uint64_t now_ms); /* -1: leave */

/* ---- counts, per database ---- */
uint64_t store_count(const struct store *s, unsigned db);
uint64_t store_count_expires(const struct store *s, unsigned db);
uint64_t store_tombstones(const struct store *s);
uint64_t store_avg_ttl_ms(const struct store *s, unsigned db, uint64_t now_ms); /* sampled */

/* ---- walking. The cursor is 0 at first and at the end; guarantees are Redis' (every key present
 * all the time is visited at least once, whatever happens meanwhile) and more: no key is visited
 * twice. A cursor is a position in the order of hashes, below 2^40: the upper 24 bits are free for
 * callers that join several stores. Tombstones are visited too (entry_type tells). fn must not
 * change the store. Returns the next cursor. Cost: about `count` entries. ---- */
typedef void (*store_scan_fn)(void *arg, struct entry *e);
uint64_t store_scan(struct store *s, uint64_t cursor, size_t count, store_scan_fn fn, void *arg);
struct entry *store_random(struct store *s, int db, uint64_t *rng,
                           bool with_expiry); /* db -1: any; NULL: none; fair enough as Redis' */

/* ---- expiry and eviction candidates: the caller commits the deletion ---- */
/* Up to max entries that have an expiry in the past, found by sampling like Redis' active cycle;
 * returns how many and, in *worth, whether it pays to call again at once (more than 25 % of the
 * sample had expired). */
size_t store_sample_expired(struct store *s, uint64_t now_ms, size_t samples, struct entry **found,
                            size_t max, bool *worth);
/* The next victim under the policy (never a hot key, never one whose state is not 0), or NULL. */
struct entry *store_evict_candidate(struct store *s, enum evict_policy policy, uint64_t now_ms,
                                    uint64_t *rng);

/* ---- emptying and lazy freeing: bounded work per step ---- */
void store_flush(
    struct store *s,
    int db); /* -1: all. O(1) for all; a single database is walked in store_lazy_step */
void store_lazy_add(struct store *s, enum val_type type, void *object);
bool store_lazy_step(struct store *s,
                     size_t budget); /* true: more to do. budget: about so many elements */
uint64_t store_lazy_pending(const struct store *s);

#endif
