/* A hash table that grows by one bucket at a time: linear hashing (Litwin, VLDB'80) with buckets of
 * a cache line.
 *
 * With n buckets and 2^level <= n < 2^(level+1), a hash belongs to bucket (hash mod 2^(level+1)) if
 * that is below n, else to (hash mod 2^level). Adding bucket n splits exactly one old bucket, n -
 * 2^level; removing the last merges it back. One such step follows an insertion when there are more
 * than FILL_MAX items per bucket, or a removal when there are fewer than FILL_MIN: a table is never
 * rebuilt, and its memory follows its count.
 *
 * A bucket has 7 slots and for each 8 bits of the hash, which are compared all at once before any
 * item is touched. When 7 are not enough the last slot points to another bucket (bit CHAINED); the
 * items of a chain have no order, and all but the last bucket of a chain are full (a removal fills
 * its hole from the end).
 *
 * Buckets live in segments of SEGMENT; the directory of segments is an array. The first segment
 * starts with one bucket and doubles until it is whole, so that small tables are small.
 *
 * The scan cursor counts in reversed bits, as Redis' does: a bucket's successors after a split have
 * the same low bits, so whatever sizes the table takes between two calls, no residue class is left
 * out. */
#include "backends/types/dict.h"

#include <assert.h>

#include <xxhash.h>

#include "common/mem.h"
#include "common/must.h"

#define SLOTS 7u
#define CHAINED 0x80u
#define FILL_MAX 5u
#define FILL_MIN 2u
#define SEGMENT 128u
#define RANDOM_CHAIN 16u /* chains longer than this lose a little of their share in dict_random */
#define RANDOM_TRIES 4096u

struct bucket {
    uint8_t used; /* bits 0..6: slot holds an item; CHAINED: slot 6 is the next bucket */
    uint8_t tag[SLOTS];
    void *slot[SLOTS];
};
static_assert(sizeof(struct bucket) == 64, "a bucket is a cache line");

struct dict {
    dict_key_fn key;
    struct bucket **segment;
    size_t count;       /* items */
    size_t buckets;     /* n, without chained ones */
    size_t chained;     /* chained buckets */
    size_t segment_cap; /* room in the directory */
    uint32_t first_cap; /* buckets in the first segment */
    uint8_t level;
};

static uint64_t hash_seed;

void dict_set_seed(uint64_t seed)
{
    hash_seed = seed;
}

uint64_t dict_hash(struct span key)
{
    return XXH3_64bits_withSeed(key.p, key.len, hash_seed);
}

static uint8_t tag_of(uint64_t hash)
{
    return (uint8_t)(hash >> 56);
}

static struct bucket *bucket_at(const struct dict *d, size_t i)
{
    return &d->segment[i / SEGMENT][i % SEGMENT];
}

static struct bucket *bucket_of(const struct dict *d, uint64_t hash)
{
    size_t i = (size_t)(hash & (((uint64_t)2 << d->level) - 1));
    if (i >= d->buckets) {
        i &= ((size_t)1 << d->level) - 1;
    }
    return bucket_at(d, i);
}

static struct bucket *chain_next(const struct bucket *b)
{
    return (b->used & CHAINED) != 0 ? b->slot[SLOTS - 1] : NULL;
}

/* Bits of the slots that hold items. */
static unsigned items_of(const struct bucket *b)
{
    return b->used & ((b->used & CHAINED) != 0 ? 0x3fu : 0x7fu);
}

static unsigned lowest(unsigned bits)
{
    return (unsigned)__builtin_ctz(bits);
}

struct dict *dict_new(dict_key_fn key)
{
    struct dict *d = mem_alloc(sizeof *d);
    *d = (struct dict){.key = key, .buckets = 1, .segment_cap = 1, .first_cap = 1};
    d->segment = mem_alloc(sizeof(struct bucket *));
    d->segment[0] = mem_zalloc(sizeof(struct bucket));
    return d;
}

size_t dict_count(const struct dict *d)
{
    return d->count;
}

size_t dict_memory(const struct dict *d)
{
    size_t full = (d->buckets - 1) / SEGMENT;
    size_t buckets = full == 0 ? d->first_cap : (full + 1) * SEGMENT;
    return mem_good_size(sizeof *d) + mem_good_size(d->segment_cap * sizeof(struct bucket *)) +
           (buckets + d->chained) * sizeof(struct bucket);
}

size_t dict_memory_with_items(const struct dict *d, size_t samples)
{
    size_t sum = 0;
    size_t seen = 0;
    struct dict_iter it = dict_iter(d);
    while (samples == 0 || seen < samples) {
        const void *item = dict_next(&it);
        if (item == NULL) {
            break;
        }
        sum += mem_usable(item);
        seen++;
    }
    double mean = seen == 0 ? 0 : (double)sum / (double)seen;
    return dict_memory(d) + (seen == d->count ? sum : (size_t)(mean * (double)d->count));
}

/* ---- a chain ---- */

static void chain_add(struct dict *d, struct bucket *b, void *item, uint8_t tag)
{
    for (struct bucket *next = chain_next(b); next != NULL; next = chain_next(b)) {
        b = next;
    }
    if (b->used == 0x7f) {
        struct bucket *more = mem_zalloc(sizeof *more);
        more->slot[0] = b->slot[SLOTS - 1];
        more->tag[0] = b->tag[SLOTS - 1];
        more->used = 1;
        b->slot[SLOTS - 1] = more;
        b->used = 0x3fu | CHAINED;
        d->chained++;
        b = more;
    }
    unsigned i = lowest(~(unsigned)b->used);
    b->slot[i] = item;
    b->tag[i] = tag;
    b->used |= (uint8_t)(1u << i);
}

/* Where the hash's tag matches: bits of slots, a superset of the truth. */
static unsigned candidates(const struct bucket *b, uint8_t tag)
{
    uint64_t meta;
    memcpy(&meta, b, sizeof meta);
    const uint64_t ones = 0x0101010101010101u;
    uint64_t x = meta ^ (ones * tag);
    uint64_t zero = (x - ones) & ~x & (ones << 7);
    unsigned bits = 0;
    for (zero &= ~(uint64_t)0xff; zero != 0; zero &= zero - 1) {
        bits |= 1u << (((unsigned)__builtin_ctzll(zero) >> 3) - 1);
    }
    return bits & items_of(b);
}

static bool chain_find(const struct dict *d, struct span key, uint64_t hash, struct bucket **in,
                       unsigned *slot)
{
    for (struct bucket *b = bucket_of(d, hash); b != NULL; b = chain_next(b)) {
        for (unsigned bits = candidates(b, tag_of(hash)); bits != 0; bits &= bits - 1) {
            unsigned i = lowest(bits);
            if (span_eq(d->key(b->slot[i]), key)) {
                *in = b;
                *slot = i;
                return true;
            }
        }
    }
    return false;
}

/* Empties slot i of b, a bucket of the chain that starts at head, filling the hole from the chain's
 * last bucket. */
static void chain_remove(struct dict *d, struct bucket *head, struct bucket *b, unsigned i)
{
    struct bucket *parent = NULL;
    struct bucket *last = head;
    for (struct bucket *next = chain_next(last); next != NULL; next = chain_next(last)) {
        parent = last;
        last = next;
    }
    unsigned from = 31u - (unsigned)__builtin_clz(items_of(last));
    if (last == b) {
        from = i;
    } else {
        b->slot[i] = last->slot[from];
        b->tag[i] = last->tag[from];
    }
    last->used &= (uint8_t) ~(1u << from);
    if (last->used == 0 && parent != NULL) {
        mem_free(last);
        parent->slot[SLOTS - 1] = NULL;
        parent->used = 0x3f;
        d->chained--;
    }
}

/* ---- growing and shrinking by a bucket ---- */

static void make_room_for_bucket(struct dict *d)
{
    size_t n = d->buckets;
    if (n < SEGMENT) {
        if (n < d->first_cap) {
            return;
        }
        d->segment[0] =
            mem_realloc(d->segment[0], (size_t)2 * d->first_cap * sizeof(struct bucket));
        memset(d->segment[0] + d->first_cap, 0, d->first_cap * sizeof(struct bucket));
        d->first_cap *= 2;
        return;
    }
    if (n % SEGMENT != 0) {
        return;
    }
    if (n / SEGMENT == d->segment_cap) {
        d->segment_cap *= 2;
        d->segment = mem_realloc(d->segment, d->segment_cap * sizeof(struct bucket *));
    }
    d->segment[n / SEGMENT] = mem_zalloc(SEGMENT * sizeof(struct bucket));
}

/* Takes the items out of a chain into its new place(s). */
static void redistribute(struct dict *d, struct bucket *from)
{
    struct bucket old = *from;
    memset(from, 0, sizeof *from);
    struct bucket *heap = NULL;
    for (struct bucket *b = &old; b != NULL;) {
        for (unsigned bits = items_of(b); bits != 0; bits &= bits - 1) {
            unsigned i = lowest(bits);
            uint64_t hash = dict_hash(d->key(b->slot[i]));
            chain_add(d, bucket_of(d, hash), b->slot[i], b->tag[i]);
        }
        struct bucket *next = chain_next(b);
        if (heap != NULL) {
            mem_free(heap);
            d->chained--;
        }
        heap = next;
        b = next;
    }
}

static void grow(struct dict *d)
{
    make_room_for_bucket(d);
    size_t split = d->buckets - ((size_t)1 << d->level);
    d->buckets++;
    if (d->buckets == (size_t)2 << d->level) {
        d->level++;
    }
    redistribute(d, bucket_at(d, split));
}

static void release_room(struct dict *d)
{
    size_t n = d->buckets;
    if (n != 0 && n % SEGMENT == 0) {
        mem_free(d->segment[n / SEGMENT]);
    }
    while (d->first_cap > 4 && n <= d->first_cap / 4) {
        d->first_cap /= 2;
        d->segment[0] = mem_realloc(d->segment[0], d->first_cap * sizeof(struct bucket));
    }
}

static void shrink(struct dict *d)
{
    size_t last = d->buckets - 1;
    struct bucket *b = bucket_at(d, last);
    d->buckets = last;
    if (last < (size_t)1 << d->level) {
        d->level--;
    }
    redistribute(d, b);
    release_room(d);
}

/* ---- the interface ---- */

void **dict_find_slot(struct dict *d, struct span key, uint64_t hash)
{
    struct bucket *b = NULL;
    unsigned i = 0;
    return chain_find(d, key, hash, &b, &i) ? &b->slot[i] : NULL;
}

void *dict_find(const struct dict *d, struct span key, uint64_t hash)
{
    struct bucket *b = NULL;
    unsigned i = 0;
    return chain_find(d, key, hash, &b, &i) ? b->slot[i] : NULL;
}

void dict_prefetch(const struct dict *d, uint64_t hash)
{
    __builtin_prefetch(bucket_of(d, hash));
}

void dict_add(struct dict *d, void *item, uint64_t hash)
{
    chain_add(d, bucket_of(d, hash), item, tag_of(hash));
    d->count++;
    if (d->count > d->buckets * FILL_MAX) {
        grow(d);
    }
}

void *dict_remove(struct dict *d, struct span key, uint64_t hash)
{
    struct bucket *b = NULL;
    unsigned i = 0;
    if (!chain_find(d, key, hash, &b, &i)) {
        return NULL;
    }
    void *item = b->slot[i];
    chain_remove(d, bucket_of(d, hash), b, i);
    d->count--;
    if (d->buckets > 1 && d->count < d->buckets * FILL_MIN) {
        shrink(d);
    }
    return item;
}

uint64_t dict_rng(uint64_t *rng)
{
    uint64_t x = *rng != 0 ? *rng : 0x9e3779b97f4a7c15u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *rng = x;
    return x;
}

static unsigned chain_count(const struct bucket *b)
{
    unsigned n = 0;
    for (; b != NULL; b = chain_next(b)) {
        n += (unsigned)__builtin_popcount(items_of(b));
    }
    return n;
}

static void *chain_item(const struct bucket *b, unsigned nth)
{
    for (; b != NULL; b = chain_next(b)) {
        for (unsigned bits = items_of(b); bits != 0; bits &= bits - 1) {
            if (nth-- == 0) {
                return b->slot[lowest(bits)];
            }
        }
    }
    return NULL;
}

void *dict_random(const struct dict *d, uint64_t *rng)
{
    must(d->count != 0);
    /* A bucket and a place in it are drawn; a place that is empty is drawn again: so every item has
     * the same chance. */
    for (unsigned i = 0; i < RANDOM_TRIES; i++) {
        uint64_t r = dict_rng(rng);
        const struct bucket *b = bucket_at(d, (size_t)((r >> 8) % d->buckets));
        unsigned n = chain_count(b);
        unsigned place = (unsigned)((r & 0xff) % RANDOM_CHAIN);
        if (n > RANDOM_CHAIN) {
            place = (unsigned)(dict_rng(rng) % n);
        }
        if (place < n) {
            return chain_item(b, place);
        }
    }
    struct dict_iter it = dict_iter(d);
    return dict_next(&it);
}

void dict_sample(const struct dict *d, size_t n, uint64_t *rng, dict_scan_fn fn, void *arg)
{
    if (n > d->count / 3) {
        struct dict_iter it = dict_iter(d);
        for (size_t left = d->count; n != 0; left--) {
            void *item = dict_next(&it);
            if (dict_takes(rng, left, &n)) {
                fn(arg, item);
            }
        }
        return;
    }
    struct dict *drawn = dict_new(d->key);
    while (dict_count(drawn) < n) {
        void *item = dict_random(d, rng);
        struct span key = d->key(item);
        uint64_t hash = dict_hash(key);
        if (dict_find(drawn, key, hash) == NULL) {
            dict_add(drawn, item, hash);
            fn(arg, item);
        }
    }
    dict_free(drawn, NULL);
}

static uint64_t reverse_bits(uint64_t v)
{
    v = __builtin_bswap64(v);
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0fu) | (v & 0x0f0f0f0f0f0f0f0fu) << 4;
    v = (v >> 2 & 0x3333333333333333u) | (v & 0x3333333333333333u) << 2;
    return (v >> 1 & 0x5555555555555555u) | (v & 0x5555555555555555u) << 1;
}

static void visit_chain(const struct bucket *b, dict_scan_fn fn, void *arg)
{
    for (; b != NULL; b = chain_next(b)) {
        for (unsigned bits = items_of(b); bits != 0; bits &= bits - 1) {
            fn(arg, b->slot[lowest(bits)]);
        }
    }
}

uint64_t dict_scan(const struct dict *d, uint64_t cursor, dict_scan_fn fn, void *arg)
{
    uint64_t half = (uint64_t)1 << d->level;
    size_t i = (size_t)(cursor & (half - 1));
    visit_chain(bucket_at(d, i), fn, arg);
    if (i + half < d->buckets) {
        visit_chain(bucket_at(d, i + half), fn, arg);
    }
    cursor |= ~(half - 1);
    return reverse_bits(reverse_bits(cursor) + 1);
}

static void enter_bucket(struct dict_iter *it, const struct bucket *b)
{
    it->bucket = b;
    it->left = items_of(b);
    for (unsigned bits = it->left; bits != 0; bits &= bits - 1) {
        __builtin_prefetch(b->slot[lowest(bits)]);
    }
}

struct dict_iter dict_iter(const struct dict *d)
{
    struct dict_iter it = {.d = d};
    return it;
}

void *dict_next(struct dict_iter *it)
{
    while (it->left == 0) {
        const struct bucket *next = it->bucket == NULL ? NULL : chain_next(it->bucket);
        if (next == NULL) {
            if (it->next_bucket == it->d->buckets) {
                return NULL;
            }
            next = bucket_at(it->d, it->next_bucket++);
        }
        enter_bucket(it, next);
    }
    const struct bucket *b = it->bucket;
    unsigned i = lowest(it->left);
    it->left &= it->left - 1;
    return b->slot[i];
}

static size_t free_chain(struct dict *d, struct bucket *b, void (*free_item)(void *))
{
    size_t freed = 0;
    struct bucket *heap = NULL;
    for (; b != NULL; b = heap) {
        for (unsigned bits = items_of(b); bits != 0; bits &= bits - 1) {
            freed++;
            if (free_item != NULL) {
                free_item(b->slot[lowest(bits)]);
            }
        }
        struct bucket *next = chain_next(b);
        if (heap == b) {
            mem_free(b);
        }
        heap = next;
    }
    d->count -= freed;
    return freed;
}

bool dict_free_step(struct dict *d, size_t budget, void (*free_item)(void *))
{
    size_t done = 0;
    while (d->buckets != 0 && done < budget) {
        size_t last = --d->buckets;
        done += 1 + free_chain(d, bucket_at(d, last), free_item);
        if (last % SEGMENT == 0) {
            mem_free(d->segment[last / SEGMENT]);
        }
    }
    if (d->buckets != 0) {
        return true;
    }
    mem_free(d->segment);
    mem_free(d);
    return false;
}

void dict_free(struct dict *d, void (*free_item)(void *))
{
    if (d != NULL) {
        (void)dict_free_step(d, SIZE_MAX, free_item);
    }
}
