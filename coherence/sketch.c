/* Space-Saving over weighted uses.
 *
 * Counters are kept in a heap with the smallest count on top (four children per node: the path down
 * is short and its children lie side by side). A key that has no counter takes over the smallest
 * one: its count becomes what the newcomer may have had before (`over`). So
 *
 *   1. the count that orders the heap is reads + writes + others + over, an upper bound;
 *   2. reads + writes + others were counted while the key had its counter: a lower bound;
 *   3. a key without a counter was used at most as often as the smallest count says or, if it was
 *      forgotten by halving, the floor.
 *
 * Halving rounds what was counted down and the whole up, so both bounds stay true.
 *
 * Counters are found by hash in an open-addressing table of their numbers, emptied by shifting
 * back. A linked list of equal counts (the other known form) would make adding 1 cheaper, and
 * adding a weight or merging two summaries much dearer. */
#include "coherence/sketch.h"

#include <string.h>

#include "common/must.h"

#define NIL UINT32_MAX
#define ARITY 4u

/* A counter is spread over arrays, so that finding and moving touch little memory: hashes[n],
 * at[n] (its place in the heap), counters[n]; its count is in the heap. */
struct counter {
    uint64_t uses[SKETCH_USES];
    uint64_t over;
    uint8_t len;
    char key[SKETCH_KEY_MAX];
};

struct node {
    uint64_t count; /* sum of the uses and over */
    uint32_t n;     /* of which counter */
};

struct sketch {
    uint32_t capacity, used;
    uint32_t mask; /* of table */
    uint64_t total;
    uint64_t floor;    /* a forgotten key was used at most this often */
    struct node *heap; /* `used` of them */
    struct counter *counters;
    uint64_t *hashes;
    uint32_t *at;
    uint32_t *order; /* scratch of sketch_top */
    uint32_t *table; /* numbers of counters, NIL: free */
};

static uint32_t table_size(uint32_t capacity)
{
    uint32_t n = 8;
    while (n < capacity * 2) {
        n *= 2;
    }
    return n;
}

static size_t align(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

enum { HEAP, COUNTERS, HASHES, AT, ORDER, TABLE, ARRAYS };

/* Where the arrays begin behind struct sketch; returns the bytes of all. */
static size_t lay_out(uint32_t capacity, size_t at[ARRAYS])
{
    const size_t sizes[ARRAYS] = {
        [HEAP] = capacity * sizeof(struct node), [COUNTERS] = capacity * sizeof(struct counter),
        [HASHES] = capacity * sizeof(uint64_t),  [AT] = capacity * sizeof(uint32_t),
        [ORDER] = capacity * sizeof(uint32_t),   [TABLE] = table_size(capacity) * sizeof(uint32_t),
    };
    size_t size = align(sizeof(struct sketch));
    for (unsigned i = 0; i < ARRAYS; i++) {
        at[i] = size;
        size += align(sizes[i]);
    }
    return size;
}

size_t sketch_size(uint32_t capacity)
{
    must(capacity >= 1 && capacity <= SKETCH_CAPACITY_MAX);
    size_t at[ARRAYS];
    return lay_out(capacity, at);
}

struct sketch *sketch_init(void *memory, uint32_t capacity)
{
    size_t at[ARRAYS];
    lay_out(capacity, at);
    char *p = memory;
    struct sketch *s = memory;
    *s = (struct sketch){
        .capacity = capacity,
        .mask = table_size(capacity) - 1,
        .heap = (struct node *)(void *)(p + at[HEAP]),
        .counters = (struct counter *)(void *)(p + at[COUNTERS]),
        .hashes = (uint64_t *)(void *)(p + at[HASHES]),
        .at = (uint32_t *)(void *)(p + at[AT]),
        .order = (uint32_t *)(void *)(p + at[ORDER]),
        .table = (uint32_t *)(void *)(p + at[TABLE]),
    };
    sketch_reset(s);
    return s;
}

void sketch_reset(struct sketch *s)
{
    s->used = 0;
    s->total = 0;
    s->floor = 0;
    memset(s->table, 0xFF, ((size_t)s->mask + 1) * sizeof *s->table);
}

/* ---- the table ---- */

static uint32_t home_of(const struct sketch *s, uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32) & s->mask;
}

static uint32_t find(const struct sketch *s, uint64_t hash, struct span key)
{
    for (uint32_t i = home_of(s, hash);; i = (i + 1) & s->mask) {
        uint32_t n = s->table[i];
        if (n == NIL) {
            return NIL;
        }
        const struct counter *c = &s->counters[n];
        if (s->hashes[n] == hash && c->len == key.len && memcmp(c->key, key.p, key.len) == 0) {
            return n;
        }
    }
}

static void table_add(struct sketch *s, uint32_t n)
{
    uint32_t i = home_of(s, s->hashes[n]);
    while (s->table[i] != NIL) {
        i = (i + 1) & s->mask;
    }
    s->table[i] = n;
}

static void table_remove(struct sketch *s, uint32_t n)
{
    uint32_t i = home_of(s, s->hashes[n]);
    while (s->table[i] != n) {
        i = (i + 1) & s->mask;
    }
    for (uint32_t j = (i + 1) & s->mask; s->table[j] != NIL; j = (j + 1) & s->mask) {
        uint32_t home = home_of(s, s->hashes[s->table[j]]);
        if (((j - home) & s->mask) >= ((j - i) & s->mask)) { /* it may be as far forward as i */
            s->table[i] = s->table[j];
            i = j;
        }
    }
    s->table[i] = NIL;
}

/* ---- the heap ---- */

static void place(struct sketch *s, uint32_t at, struct node node)
{
    s->heap[at] = node;
    s->at[node.n] = at;
}

/* The count at `at` grew. */
static void sink(struct sketch *s, uint32_t at)
{
    struct node node = s->heap[at];
    for (;;) {
        uint32_t first = at * ARITY + 1;
        uint32_t end = first + ARITY < s->used ? first + ARITY : s->used;
        uint32_t least = NIL;
        uint64_t least_count = node.count;
        for (uint32_t i = first; i < end; i++) {
            if (s->heap[i].count < least_count) {
                least = i;
                least_count = s->heap[i].count;
            }
        }
        if (least == NIL) {
            break;
        }
        place(s, at, s->heap[least]);
        at = least;
    }
    place(s, at, node);
}

/* The count at `at` is new or shrank. */
static void rise(struct sketch *s, uint32_t at)
{
    struct node node = s->heap[at];
    while (at > 0) {
        uint32_t parent = (at - 1) / ARITY;
        if (s->heap[parent].count <= node.count) {
            break;
        }
        place(s, at, s->heap[parent]);
        at = parent;
    }
    place(s, at, node);
}

static void heap_build(struct sketch *s)
{
    for (uint32_t i = s->used; i-- > 0;) {
        if (i * ARITY + 1 < s->used) {
            sink(s, i);
        }
    }
}

/* ---- counting ---- */

/* A counter for a key that has none: a free one, or the smallest. */
static uint32_t take(struct sketch *s, uint64_t hash, struct span key)
{
    uint32_t n;
    uint64_t before = sketch_missed(s);
    if (s->used < s->capacity) {
        n = s->used++;
        place(s, n, (struct node){before, n}); /* grow puts the heap in order */
    } else {
        n = s->heap[0].n;
        table_remove(s, n);
        s->heap[0].count = before;
    }
    struct counter *c = &s->counters[n];
    memset(c->uses, 0, sizeof c->uses);
    c->over = before;
    c->len = (uint8_t)key.len;
    memcpy(c->key, key.p, key.len);
    s->hashes[n] = hash;
    table_add(s, n);
    return n;
}

static uint32_t number_of(struct sketch *s, uint64_t hash, struct span key)
{
    uint32_t n = find(s, hash, key);
    return n != NIL ? n : take(s, hash, key);
}

static void grow(struct sketch *s, uint32_t n, uint64_t by)
{
    s->heap[s->at[n]].count += by;
    rise(s, s->at[n]); /* only a counter that was free before has anywhere to rise to */
    sink(s, s->at[n]);
}

bool sketch_add(struct sketch *s, uint64_t hash, struct span key, enum sketch_use use,
                uint64_t weight)
{
    if (key.len > SKETCH_KEY_MAX) {
        return false;
    }
    uint32_t n = number_of(s, hash, key);
    s->counters[n].uses[use] += weight;
    s->total += weight;
    grow(s, n, weight);
    return true;
}

bool sketch_add_item(struct sketch *s, const struct sketch_item *item)
{
    if (item->key.len > SKETCH_KEY_MAX) {
        return false;
    }
    uint32_t n = number_of(s, item->hash, item->key);
    struct counter *c = &s->counters[n];
    for (unsigned u = 0; u < SKETCH_USES; u++) {
        c->uses[u] += item->uses[u];
    }
    c->over += item->over;
    uint64_t sum = sketch_item_sum(item);
    s->total += sum;
    grow(s, n, sum + item->over);
    return true;
}

/* Takes counter n out of the table and moves the last one into its place. The heap is void then. */
static void drop(struct sketch *s, uint32_t n)
{
    table_remove(s, n);
    uint32_t last = s->used - 1;
    if (n != last) {
        table_remove(s, last);
        s->counters[n] = s->counters[last];
        s->hashes[n] = s->hashes[last];
        table_add(s, n);
    }
    s->used = last;
}

static uint64_t counted(const struct counter *c)
{
    return c->uses[SKETCH_READ] + c->uses[SKETCH_WRITE] + c->uses[SKETCH_OTHER];
}

static void heap_refill(struct sketch *s)
{
    for (uint32_t n = 0; n < s->used; n++) {
        const struct counter *c = &s->counters[n];
        place(s, n, (struct node){counted(c) + c->over, n});
    }
    heap_build(s);
}

void sketch_halve(struct sketch *s)
{
    s->floor = (s->floor + 1) / 2;
    for (uint32_t n = s->used; n-- > 0;) {
        struct counter *c = &s->counters[n];
        uint64_t count = (counted(c) + c->over + 1) / 2;
        for (unsigned u = 0; u < SKETCH_USES; u++) {
            c->uses[u] /= 2;
        }
        c->over = count - counted(c);
        if (counted(c) == 0) {
            s->floor = count > s->floor ? count : s->floor;
            drop(s, n);
        }
    }
    s->total /= 2;
    heap_refill(s);
}

void sketch_forget(struct sketch *s, uint64_t hash, struct span key)
{
    uint32_t n = key.len <= SKETCH_KEY_MAX ? find(s, hash, key) : NIL;
    if (n != NIL) {
        drop(s, n);
        heap_refill(s);
    }
}

/* ---- what came out ---- */

static struct sketch_item item_of(const struct sketch *s, uint32_t n)
{
    const struct counter *c = &s->counters[n];
    struct sketch_item item = {
        .hash = s->hashes[n], .key = span_of(c->key, c->len), .over = c->over};
    memcpy(item.uses, c->uses, sizeof item.uses);
    return item;
}

static uint64_t seen(const struct sketch *s, uint32_t n)
{
    return counted(&s->counters[n]);
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t t = *a;
    *a = *b;
    *b = t;
}

/* Brings the `want` largest of order[0..n) to its front, in no order (Hoare's selection, with the
 * middle of three as pivot). */
static void select_largest(const struct sketch *s, uint32_t *order, uint32_t n, uint32_t want)
{
    uint32_t low = 0;
    uint32_t high = n;
    while (high - low > 1 && want > low && want < high) {
        uint32_t a = order[low];
        uint32_t b = order[low + (high - low) / 2];
        uint32_t c = order[high - 1];
        uint64_t x = seen(s, a);
        uint64_t y = seen(s, b);
        uint64_t z = seen(s, c);
        uint64_t pivot = x < y ? (y < z ? y : (x < z ? z : x)) : (x < z ? x : (y < z ? z : y));
        uint32_t above = low; /* [low, above): larger; [above, i): equal; [below, high): smaller */
        uint32_t below = high;
        for (uint32_t i = low; i < below;) {
            uint64_t v = seen(s, order[i]);
            if (v > pivot) {
                swap(&order[above++], &order[i++]);
            } else if (v < pivot) {
                swap(&order[i], &order[--below]);
            } else {
                i++;
            }
        }
        if (want < above) {
            high = above;
        } else if (want > below) {
            low = below;
        } else {
            return; /* the cut is among equals */
        }
    }
}

/* Heap sort, largest first: no recursion, no worst case. */
static void sort_down(const struct sketch *s, uint32_t *order, uint32_t n)
{
    for (uint32_t end = n, start = n / 2; end > 1;) {
        if (start > 0) {
            start--;
        } else {
            end--;
            swap(&order[0], &order[end]);
        }
        uint32_t at = start;
        for (;;) {
            uint32_t child = at * 2 + 1;
            if (child >= end) {
                break;
            }
            if (child + 1 < end && seen(s, order[child + 1]) < seen(s, order[child])) {
                child++;
            }
            if (seen(s, order[at]) <= seen(s, order[child])) {
                break;
            }
            swap(&order[at], &order[child]);
            at = child;
        }
    }
}

uint32_t sketch_top(struct sketch *s, struct sketch_item *items, uint32_t n)
{
    if (n > s->used) {
        n = s->used;
    }
    for (uint32_t i = 0; i < s->used; i++) {
        s->order[i] = i;
    }
    select_largest(s, s->order, s->used, n);
    sort_down(s, s->order, n);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = item_of(s, s->order[i]);
    }
    return n;
}

bool sketch_find(const struct sketch *s, uint64_t hash, struct span key, struct sketch_item *item)
{
    uint32_t n = key.len <= SKETCH_KEY_MAX ? find(s, hash, key) : NIL;
    if (n == NIL) {
        return false;
    }
    *item = item_of(s, n);
    return true;
}

uint32_t sketch_count(const struct sketch *s)
{
    return s->used;
}

uint32_t sketch_capacity(const struct sketch *s)
{
    return s->capacity;
}

uint64_t sketch_total(const struct sketch *s)
{
    return s->total;
}

uint64_t sketch_missed(const struct sketch *s)
{
    uint64_t least = s->used < s->capacity ? 0 : s->heap[0].count;
    return least > s->floor ? least : s->floor;
}
