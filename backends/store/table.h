#ifndef BACKENDS_STORE_TABLE_H
#define BACKENDS_STORE_TABLE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backends/store/entry.h"

/* The hash table of the store: extendible hashing over segments of 63 to 111 cache-line buckets.
 * See table.c. */
#define BUCKET_SLOTS 7u
#define BUCKET_REACH 4u /* a key lies in its home bucket or one of the next three */
#define BUCKET_SPILLED                                                                             \
    0x80u               /* bit of over: some key of this home lies in the segment's spill list */
#define SLOT_EXPIRES 1u /* lowest bit of a slot: the entry has an expiry */

struct bucket {
    char *slot[BUCKET_SLOTS];  /* entry pointer and SLOT_EXPIRES; NULL: empty */
    uint8_t tag[BUCKET_SLOTS]; /* low byte of the hash */
    uint8_t over;              /* how many keys of this home lie in later buckets */
};
_Static_assert(sizeof(struct bucket) == 64, "a bucket is a cache line");

struct seg {
    uint64_t prefix; /* first hash of its range */
    char **spill;
    uint32_t spill_count, spill_cap;
    uint32_t count;    /* entries, spilled ones included */
    uint32_t expiring; /* of them with an expiry */
    uint8_t depth;     /* its range is 2^(64 - depth) hashes */
    uint8_t buckets;
    char pad[64 - 8 - sizeof(char **) - 16 - 2];
    struct bucket b[];
};
_Static_assert(sizeof(struct seg) == 64, "the head of a segment is a cache line");

struct dirent {
    struct seg *seg;
    uint8_t depth, buckets; /* copies: a look-up does not read the segment's head */
};

struct table {
    struct dirent *dir;
    uint64_t count;
    uint64_t seed;
    unsigned shift;        /* directory index = hash >> shift */
    uint32_t at_depth[65]; /* segments by depth */
};

static inline bool slot_expires(const char *slot)
{
    return ((uintptr_t)slot & SLOT_EXPIRES) != 0;
}

static inline struct entry *slot_entry(char *slot)
{
    return (struct entry *)(void *)(slot - ((uintptr_t)slot & SLOT_EXPIRES));
}

void table_init(struct table *t, uint64_t seed);
void table_free(struct table *t); /* segments and directory, not the entries */

uint64_t table_hash(const struct table *t, struct span key);
struct entry *table_find(const struct table *t, struct span key, uint64_t hash);
struct entry *table_find_hash(const struct table *t, uint64_t hash); /* whatever has this hash */
void table_insert(struct table *t, uint64_t hash, struct entry *e);  /* not there yet */
void table_remove(struct table *t, uint64_t hash, const struct entry *e);
/* The entry moved, or its expiry came or went. */
void table_replace(struct table *t, uint64_t hash, const struct entry *old, struct entry *e);

static inline size_t table_dir_size(const struct table *t)
{
    return (size_t)1 << (64 - t->shift);
}

static inline const struct dirent *table_dirent(const struct table *t, uint64_t hash)
{
    return &t->dir[hash >> t->shift];
}

/* Home bucket by the 16 bits below the depth: monotone in the hash, which is what scanning needs.
 */
static inline unsigned table_bucket(unsigned depth, unsigned buckets, uint64_t hash)
{
    return (unsigned)((hash << depth) >> 48) * buckets >> 16;
}

#define TAG_ONES 0x0101010101010101u
#define TAG_HIGHS 0x0080808080808080u /* of the seven tags: not the counter */

/* The top bit of each byte whose tag is the hash's; the lowest is right, one above it may not be.
 * Bit / 8 is the slot. */
static inline uint64_t bucket_tag_matches(const struct bucket *b, uint64_t hash)
{
    uint64_t word = 0;
    memcpy(&word, b->tag, sizeof word);
    word = le64toh(word) ^ ((hash & 0xFFu) * TAG_ONES);
    return (word - TAG_ONES) & ~word & TAG_HIGHS;
}

/* ---- walking in hash order: a position is a hash with only its 48 top bits used ---- */

/* First hash behind this segment; 0: it was the last. */
static inline uint64_t seg_end(const struct seg *s)
{
    return s->depth == 0 ? 0 : s->prefix + ((uint64_t)1 << (64 - s->depth));
}

/* First hash of bucket b, or of the next segment for b == buckets. */
static inline uint64_t seg_bucket_start(const struct seg *s, unsigned b)
{
    if (b >= s->buckets) {
        return seg_end(s);
    }
    uint64_t x = (((uint64_t)b << 16) + s->buckets - 1u) / s->buckets;
    return s->prefix | ((x << 48) >> s->depth);
}

struct gather { /* zero-initialise; free e with mem_free */
    struct entry **e;
    size_t count, cap;
};
/* Gathers (replacing what was there) the entries with a hash >= pos whose home is the bucket that
 * pos is in. Returns the position of the next bucket; 0: the end. */
uint64_t table_gather(const struct table *t, uint64_t pos, struct gather *g);

#endif
