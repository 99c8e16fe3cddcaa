/* Extendible hashing over segments.
 *
 *   hash:  [ directory index .. | 16 bits: bucket in the segment | ............ | 8 bits: tag ]
 *           depth bits name the segment
 *
 * A segment is one header line and 63 to 111 buckets of one cache line each: seven slots, seven
 * tags, one counter. A look-up reads a directory entry, a bucket, and the entry. A key whose home
 * bucket is full goes to one of the next three; the home bucket counts such keys, so that a miss
 * ends there when the counter is 0.
 *
 * Growth: when a key finds no place, its segment is copied into the next larger size (63, 79, 95,
 * 111 buckets), and from the largest it is split in two by the next bit of the hash. So the load
 * stays between about 70 and 90 %, and no step moves more than one segment's entries (at most 777).
 * The directory doubles when a segment at full depth splits: a memory copy of 16 bytes per segment.
 * Shrinking is the reverse, with slack in between.
 *
 * Hash order: the directory is indexed by the top bits and the bucket number grows with the hash,
 * so a position in the order of hashes survives every split, merge and resize; scanning
 * (store_scan) is built on that.
 *
 * Floods: keys that all fall into the same four buckets although their segment is not half full
 * cannot be parted by growing; they go to the segment's spill list, which is searched linearly.
 * With a seeded hash this does not happen by itself. */
#include "backends/store/table.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/mem.h"
#include "common/must.h"

#define BUCKETS_MIN 63u
#define BUCKETS_MAX 111u
#define BUCKETS_STEP 16u
#define DEPTH_MAX 30u

uint64_t table_hash(const struct table *t, struct span key)
{
    return XXH3_64bits_withSeed(key.p, key.len, t->seed);
}

static inline uint64_t entry_hash(const struct table *t, const struct entry *e)
{
    return table_hash(t, ent_key(e));
}

static inline char *slot_of_entry(struct entry *e)
{
    return (char *)e + ((e->flags & ENT_EXPIRE) != 0 ? SLOT_EXPIRES : 0);
}

/* ---- segments ---- */

static struct seg *seg_new(uint64_t prefix, unsigned depth, unsigned buckets)
{
    struct seg *s = mem_zalloc(sizeof *s + buckets * sizeof(struct bucket));
    s->prefix = prefix;
    s->depth = (uint8_t)depth;
    s->buckets = (uint8_t)buckets;
    return s;
}

static void seg_free(struct seg *s)
{
    mem_free(s->spill);
    mem_free(s);
}

static inline unsigned next_bucket(const struct seg *s, unsigned b)
{
    return b + 1u == s->buckets ? 0 : b + 1u;
}

static void spill_add(struct seg *s, char *slot)
{
    if (s->spill_count == s->spill_cap) {
        s->spill_cap = s->spill_cap == 0 ? 4 : s->spill_cap * 2;
        s->spill = mem_realloc(s->spill, s->spill_cap * sizeof(char *));
    }
    s->spill[s->spill_count++] = slot;
}

/* Lowest empty slot of a bucket; BUCKET_SLOTS: none. Without branches: which one it is cannot be
 * foretold. */
static inline unsigned free_slot(const struct bucket *b)
{
    unsigned empty = 1u << BUCKET_SLOTS;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        empty |= (unsigned)(b->slot[i] == NULL) << i;
    }
    return (unsigned)__builtin_ctz(empty);
}

/* Puts a slot into one of the buckets it may lie in. */
static bool seg_place(struct seg *s, uint64_t hash, char *slot)
{
    unsigned home = table_bucket(s->depth, s->buckets, hash);
    unsigned at = home;
    for (unsigned reach = 0; reach < BUCKET_REACH; reach++) {
        struct bucket *b = &s->b[at];
        unsigned i = free_slot(b);
        if (i != BUCKET_SLOTS) {
            b->slot[i] = slot;
            b->tag[i] = (uint8_t)hash;
            s->b[home].over = (uint8_t)(s->b[home].over + (reach != 0));
            return true;
        }
        at = next_bucket(s, at);
    }
    return false;
}

static void seg_count(struct seg *s, char *slot)
{
    s->count++;
    s->expiring += slot_expires(slot);
}

static void seg_add(struct seg *s, uint64_t hash, char *slot)
{
    if (!seg_place(s, hash, slot)) {
        spill_add(s, slot);
        s->b[table_bucket(s->depth, s->buckets, hash)].over |= BUCKET_SPILLED;
    }
    seg_count(s, slot);
}

/* Moves everything in from to low, or to high when the bit of the hash below low's depth says so
 * (high may be NULL). Entries are touched for their keys, so they are fetched a few buckets ahead.
 */
static void seg_pour(const struct table *t, const struct seg *from, struct seg *low,
                     struct seg *high)
{
    uint64_t middle = high == NULL ? 0 : high->prefix;
    for (unsigned at = 0; at < from->buckets; at++) {
        if (at + 2 < from->buckets) {
            for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
                __builtin_prefetch(from->b[at + 2].slot[i]);
            }
        }
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            char *slot = from->b[at].slot[i];
            if (slot != NULL) {
                uint64_t h = entry_hash(t, slot_entry(slot));
                seg_add(high != NULL && h >= middle ? high : low, h, slot);
            }
        }
    }
    for (uint32_t i = 0; i < from->spill_count; i++) {
        uint64_t h = entry_hash(t, slot_entry(from->spill[i]));
        seg_add(high != NULL && h >= middle ? high : low, h, from->spill[i]);
    }
}

/* ---- directory ---- */

static void dir_set(struct table *t, struct seg *s)
{
    size_t first = (size_t)(s->prefix >> t->shift);
    size_t n = (size_t)1 << (64 - t->shift - s->depth);
    struct dirent d = {.seg = s, .depth = s->depth, .buckets = s->buckets};
    for (size_t i = 0; i < n; i++) {
        t->dir[first + i] = d;
    }
}

static void dir_double(struct table *t)
{
    size_t n = table_dir_size(t);
    struct dirent *dir = mem_alloc(2 * n * sizeof *dir);
    for (size_t i = 0; i < n; i++) {
        dir[2 * i] = dir[2 * i + 1] = t->dir[i];
    }
    mem_free(t->dir);
    t->dir = dir;
    t->shift--;
}

static void dir_halve(struct table *t)
{
    size_t n = table_dir_size(t) / 2;
    struct dirent *dir = mem_alloc(n * sizeof *dir);
    for (size_t i = 0; i < n; i++) {
        dir[i] = t->dir[2 * i];
    }
    mem_free(t->dir);
    t->dir = dir;
    t->shift++;
}

void table_init(struct table *t, uint64_t seed)
{
    *t = (struct table){.seed = seed, .shift = 63};
    t->dir = mem_alloc(2 * sizeof *t->dir);
    dir_set(t, seg_new(0, 0, BUCKETS_MIN));
    t->at_depth[0] = 1;
}

void table_free(struct table *t)
{
    for (uint64_t pos = 0;;) {
        struct seg *s = table_dirent(t, pos)->seg;
        pos = seg_end(s);
        seg_free(s);
        if (pos == 0) {
            break;
        }
    }
    mem_free(t->dir);
    t->dir = NULL;
}

static void resize(struct table *t, struct seg *s, unsigned buckets)
{
    struct seg *larger = seg_new(s->prefix, s->depth, buckets);
    seg_pour(t, s, larger, NULL);
    dir_set(t, larger);
    seg_free(s);
}

static void split(struct table *t, struct seg *s)
{
    if (s->depth == 64 - t->shift) {
        dir_double(t);
    }
    unsigned depth = s->depth + 1u;
    struct seg *low = seg_new(s->prefix, depth, BUCKETS_MIN);
    struct seg *high = seg_new(s->prefix | (uint64_t)1 << (64 - depth), depth, BUCKETS_MIN);
    seg_pour(t, s, low, high);
    dir_set(t, low);
    dir_set(t, high);
    t->at_depth[s->depth]--;
    t->at_depth[depth] += 2;
    seg_free(s);
}

/* Makes room in a segment; false if that would not help: it is not even half full, its keys just
 * fall badly. */
static bool grow(struct table *t, struct seg *s)
{
    if ((s->count - s->spill_count) * 2 < s->buckets * BUCKET_SLOTS) {
        return false;
    }
    if (s->buckets < BUCKETS_MAX) {
        resize(t, s, s->buckets + BUCKETS_STEP);
        return true;
    }
    if (s->depth == DEPTH_MAX) {
        return false;
    }
    split(t, s);
    return true;
}

static void merge(struct table *t, struct seg *s, struct seg *buddy)
{
    struct seg *both =
        seg_new(s->prefix < buddy->prefix ? s->prefix : buddy->prefix, s->depth - 1u, BUCKETS_MIN);
    seg_pour(t, s, both, NULL);
    seg_pour(t, buddy, both, NULL);
    dir_set(t, both);
    t->at_depth[s->depth] -= 2;
    t->at_depth[both->depth]++;
    seg_free(s);
    seg_free(buddy);
    unsigned depth = 64 - t->shift;
    if (depth > 2 && t->at_depth[depth] == 0 && t->at_depth[depth - 1] == 0) {
        dir_halve(t);
    }
}

/* After removals: a smaller size below 30 % load; one segment for two when they then are less than
 * 45 % full together. */
static void shrink(struct table *t, struct seg *s)
{
    unsigned slots = s->buckets * BUCKET_SLOTS;
    if (s->buckets > BUCKETS_MIN) {
        if (s->count * 10u < slots * 3u) {
            resize(t, s, BUCKETS_MIN);
        }
        return;
    }
    if (s->depth == 0 || s->count * 4u > slots) {
        return;
    }
    uint64_t other = s->prefix ^ (uint64_t)1 << (64 - s->depth);
    struct seg *buddy = table_dirent(t, other)->seg;
    if (buddy->depth == s->depth &&
        (s->count + buddy->count) * 20u < BUCKETS_MIN * BUCKET_SLOTS * 9u) {
        merge(t, s, buddy);
    }
}

/* ---- look-up ---- */

static inline struct entry *bucket_find(const struct bucket *b, struct span key, uint64_t hash)
{
    for (uint64_t m = bucket_tag_matches(b, hash); m != 0; m &= m - 1) {
        char *slot = b->slot[__builtin_ctzll(m) >> 3];
        if (slot != NULL && ent_key_is(slot_entry(slot), key)) {
            return slot_entry(slot);
        }
    }
    return NULL;
}

static __attribute__((noinline)) struct entry *find_over(const struct seg *s, unsigned home,
                                                         struct span key, uint64_t hash)
{
    unsigned at = home;
    for (unsigned reach = 1; reach < BUCKET_REACH; reach++) {
        at = next_bucket(s, at);
        struct entry *e = bucket_find(&s->b[at], key, hash);
        if (e != NULL) {
            return e;
        }
    }
    if ((s->b[home].over & BUCKET_SPILLED) != 0) {
        for (uint32_t i = 0; i < s->spill_count; i++) {
            if (ent_key_is(slot_entry(s->spill[i]), key)) {
                return slot_entry(s->spill[i]);
            }
        }
    }
    return NULL;
}

struct entry *table_find(const struct table *t, struct span key, uint64_t hash)
{
    const struct dirent *d = table_dirent(t, hash);
    unsigned home = table_bucket(d->depth, d->buckets, hash);
    const struct bucket *b = &d->seg->b[home];
    struct entry *e = bucket_find(b, key, hash);
    if (e != NULL || b->over == 0) {
        return e;
    }
    return find_over(d->seg, home, key, hash);
}

struct entry *table_find_hash(const struct table *t, uint64_t hash)
{
    const struct seg *s = table_dirent(t, hash)->seg;
    unsigned at = table_bucket(s->depth, s->buckets, hash);
    for (unsigned reach = 0; reach < BUCKET_REACH; reach++) {
        for (uint64_t m = bucket_tag_matches(&s->b[at], hash); m != 0; m &= m - 1) {
            char *slot = s->b[at].slot[__builtin_ctzll(m) >> 3];
            if (slot != NULL && entry_hash(t, slot_entry(slot)) == hash) {
                return slot_entry(slot);
            }
        }
        at = next_bucket(s, at);
    }
    return NULL;
}

/* ---- changes ---- */

void table_insert(struct table *t, uint64_t hash, struct entry *e)
{
    char *slot = slot_of_entry(e);
    t->count++;
    for (;;) {
        struct seg *s = table_dirent(t, hash)->seg;
        if (seg_place(s, hash, slot)) {
            seg_count(s, slot);
            return;
        }
        if (!grow(t, s)) {
            seg_add(s, hash, slot);
            return;
        }
    }
}

/* The place of an entry: a slot of a bucket or of the spill list. *reach: how far from home. */
static char **find_slot(struct seg *s, uint64_t hash, const struct entry *e, unsigned *reach)
{
    unsigned at = table_bucket(s->depth, s->buckets, hash);
    for (unsigned r = 0; r < BUCKET_REACH; r++) {
        struct bucket *b = &s->b[at];
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (b->slot[i] != NULL && slot_entry(b->slot[i]) == e) {
                *reach = r;
                return &b->slot[i];
            }
        }
        at = next_bucket(s, at);
    }
    for (uint32_t i = 0; i < s->spill_count; i++) {
        if (slot_entry(s->spill[i]) == e) {
            *reach = BUCKET_REACH;
            return &s->spill[i];
        }
    }
    unreachable(); /* callers name entries of this table only */
}

static void spill_remove(const struct table *t, struct seg *s, char **slot, unsigned home)
{
    *slot = s->spill[--s->spill_count];
    for (uint32_t i = 0; i < s->spill_count; i++) {
        if (table_bucket(s->depth, s->buckets, entry_hash(t, slot_entry(s->spill[i]))) == home) {
            return;
        }
    }
    s->b[home].over &= (uint8_t)~BUCKET_SPILLED;
}

void table_remove(struct table *t, uint64_t hash, const struct entry *e)
{
    struct seg *s = table_dirent(t, hash)->seg;
    unsigned reach = 0;
    char **slot = find_slot(s, hash, e, &reach);
    unsigned home = table_bucket(s->depth, s->buckets, hash);
    s->expiring -= slot_expires(*slot);
    s->count--;
    t->count--;
    if (reach == BUCKET_REACH) {
        spill_remove(t, s, slot, home);
    } else {
        *slot = NULL;
        s->b[home].over = (uint8_t)(s->b[home].over - (reach != 0));
    }
    if ((s->count & 15u) == 0) {
        shrink(t, s);
    }
}

void table_replace(struct table *t, uint64_t hash, const struct entry *old, struct entry *e)
{
    struct seg *s = table_dirent(t, hash)->seg;
    unsigned reach = 0;
    char **slot = find_slot(s, hash, old, &reach);
    s->expiring -= slot_expires(*slot);
    *slot = slot_of_entry(e);
    s->expiring += slot_expires(*slot);
}

/* ---- walking ---- */

uint64_t table_gather(const struct table *t, uint64_t pos, struct gather *g)
{
    const struct seg *s = table_dirent(t, pos)->seg;
    unsigned home = table_bucket(s->depth, s->buckets, pos);
    unsigned reach = s->b[home].over == 0 ? 1 : BUCKET_REACH;
    size_t spilled = (s->b[home].over & BUCKET_SPILLED) != 0 ? s->spill_count : 0;
    size_t most = (size_t)reach * BUCKET_SLOTS + spilled;
    if (g->cap < most) {
        g->cap = most < 64 ? 64 : most;
        g->e = mem_realloc(g->e, g->cap * sizeof(struct entry *));
    }
    size_t near = 0;
    unsigned at = home;
    for (unsigned r = 0; r < reach; r++) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (s->b[at].slot[i] != NULL) {
                g->e[near] = slot_entry(s->b[at].slot[i]);
                __builtin_prefetch(g->e[near++]);
            }
        }
        at = next_bucket(s, at);
    }
    for (size_t i = 0; i < spilled; i++) {
        g->e[near++] = slot_entry(s->spill[i]);
    }
    g->count = 0;
    for (size_t i = 0; i < near; i++) {
        uint64_t h = entry_hash(t, g->e[i]);
        if (h >= pos && table_bucket(s->depth, s->buckets, h) == home) {
            g->e[g->count++] = g->e[i];
        }
    }
    return seg_bucket_start(s, home + 1);
}
