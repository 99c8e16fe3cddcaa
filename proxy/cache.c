/* The table of hot keys: an index of open addressing over an array of entries, and blocks of bytes.
 *
 *   index[hash & mask] -> tag (upper half of the hash) and place + 1; 0: free
 *   entry: sequence number, state, hash, expiry, lengths, block
 *   block: the key, padded to words, then the value as a bulk string
 *
 * Everything readers look at is atomic, so that a torn read is a read that will be thrown away and
 * nothing worse. A reader takes the sequence number, loads (acquire, so that none of it moves
 * behind the second look at the number), and looks at the number again. The writer makes it odd,
 * stores (release, so that none of it moves before), and makes it even with an exchange: a full
 * barrier, because what follows may be an acknowledgement that depends on no reader seeing the old
 * value.
 *
 * The index and the blocks change under a lock among the writers. An entry that leaves is taken out
 * by moving its successors up; a reader that passes meanwhile may miss one of those, which costs it
 * a way to the shard and nothing else. Blocks are never given back to the system, so a reader that
 * holds a dead one reads bytes of something else, and finds out. */
#include "proxy/cache.h"

#include <pthread.h>
#include <xxhash.h>

#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

#define CHUNK_BYTES ((size_t)256 * 1024)
#define CLASS_FIRST 64u
#define CLASSES 12u /* 64 bytes .. 128 KiB */
#define NO_CLASS 255u
#define TRIES 4

typedef _Atomic uint64_t word;

struct entry {
    _Atomic uint32_t seq;
    _Atomic uint32_t state; /* enum cache_state */
    word hash, expire_ms;
    _Atomic(word *) block;
    _Atomic uint32_t klen, vlen;
    uint8_t size_class; /* the writer's */
    bool indexed;
};

struct chunk {
    struct chunk *next;
    /* and what a reader that holds a dead block may run over, looking for a longer key */
    word words[(CHUNK_BYTES + CACHE_KEY_MAX) / 8];
};

struct cache {
    struct cache_limits limits;
    struct cache_counts counts;
    word *index;
    uint32_t mask;
    struct entry *entries;
    pthread_mutex_t lock; /* of what follows, and of writing to the index */
    struct chunk *chunks;
    size_t chunk_used;
    uint64_t memory;
    word *free[CLASSES]; /* linked by their first word */
};

struct cache *cache_new(const struct cache_limits *l)
{
    struct cache *c = mem_zalloc(sizeof *c);
    c->limits = *l;
    uint32_t size = 64;
    while (size < l->entries * 4u) {
        size *= 2;
    }
    c->mask = size - 1;
    c->index = mem_zalloc(size * sizeof *c->index);
    c->entries = mem_zalloc(l->entries * sizeof *c->entries);
    for (uint32_t i = 0; i < l->entries; i++) {
        c->entries[i].size_class = NO_CLASS;
    }
    c->chunk_used = CHUNK_BYTES;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void cache_free(struct cache *c)
{
    if (c == NULL) {
        return;
    }
    while (c->chunks != NULL) {
        struct chunk *next = c->chunks->next;
        mem_free(c->chunks);
        c->chunks = next;
    }
    pthread_mutex_destroy(&c->lock);
    mem_free(c->index);
    mem_free(c->entries);
    mem_free(c);
}

uint64_t cache_hash(struct span key)
{
    return XXH3_64bits(key.p, key.len);
}

const struct cache_counts *cache_counts(const struct cache *c)
{
    return &c->counts;
}

/* ---- words ---- */

static size_t words_of(size_t bytes)
{
    return (bytes + 7) / 8;
}

static uint64_t load(const word *w)
{
    return atomic_load_explicit(w, memory_order_acquire);
}

/* to has room for whole words. */
static void copy_out(char *to, const word *from, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t v = load(&from[i]);
        memcpy(to + 8 * i, &v, sizeof v);
    }
}

static void copy_in(word *to, const char *from, size_t bytes)
{
    for (; bytes >= 8; bytes -= 8, from += 8, to++) {
        uint64_t v = 0;
        memcpy(&v, from, 8);
        atomic_store_explicit(to, v, memory_order_release);
    }
    if (bytes != 0) {
        uint64_t v = 0;
        memcpy(&v, from, bytes);
        atomic_store_explicit(to, v, memory_order_release);
    }
}

static bool same_bytes(const word *w, struct span key)
{
    size_t left = key.len;
    for (const char *p = key.p; left != 0; w++) {
        size_t n = left < 8 ? left : 8;
        uint64_t v = 0;
        memcpy(&v, p, n);
        if (load(w) != v) { /* the padding is zero */
            return false;
        }
        p += n;
        left -= n;
    }
    return true;
}

/* ---- blocks: under the lock ---- */

static unsigned class_of(size_t bytes)
{
    unsigned k = 0;
    while (k < CLASSES && (size_t)CLASS_FIRST << k < bytes) {
        k++;
    }
    return k;
}

static word *block_take(struct cache *c, unsigned k)
{
    word *b = c->free[k];
    size_t bytes = (size_t)CLASS_FIRST << k;
    if (b != NULL) {
        c->free[k] = (word *)(uintptr_t)load(b); /* NOLINT(performance-no-int-to-ptr): a list */
    } else if (c->chunk_used + bytes > CHUNK_BYTES) {
        if (c->memory + CHUNK_BYTES > c->limits.memory_max) {
            return NULL;
        }
        struct chunk *chunk = mem_zalloc(sizeof *chunk);
        chunk->next = c->chunks;
        c->chunks = chunk;
        c->chunk_used = 0;
        c->memory += CHUNK_BYTES;
    }
    if (b == NULL) {
        b = &c->chunks->words[c->chunk_used / 8];
        c->chunk_used += bytes;
    }
    atomic_fetch_add_explicit(&c->counts.bytes, bytes, memory_order_relaxed);
    return b;
}

static void block_give(struct cache *c, word *b, unsigned k)
{
    atomic_store_explicit(b, (uint64_t)(uintptr_t)c->free[k], memory_order_release);
    c->free[k] = b;
    atomic_fetch_sub_explicit(&c->counts.bytes, (uint64_t)CLASS_FIRST << k, memory_order_relaxed);
}

/* ---- the index: changed under the lock ---- */

static uint64_t slot_value(uint64_t hash, uint32_t place)
{
    return (hash >> 32) << 32 | (place + 1);
}

static void index_add(struct cache *c, uint64_t hash, uint32_t place)
{
    uint32_t i = (uint32_t)hash & c->mask;
    while (load(&c->index[i]) != 0) {
        i = (i + 1) & c->mask;
    }
    atomic_store_explicit(&c->index[i], slot_value(hash, place), memory_order_release);
}

static void index_remove(struct cache *c, uint64_t hash, uint32_t place)
{
    uint32_t i = (uint32_t)hash & c->mask;
    uint64_t mine = slot_value(hash, place);
    while (load(&c->index[i]) != mine) {
        must(load(&c->index[i]) != 0);
        i = (i + 1) & c->mask;
    }
    for (uint32_t j = (i + 1) & c->mask;; j = (j + 1) & c->mask) { /* its successors move up */
        uint64_t v = load(&c->index[j]);
        if (v == 0) {
            break;
        }
        uint32_t home = (uint32_t)load(&c->entries[(uint32_t)v - 1].hash) & c->mask;
        if (((j - home) & c->mask) >= ((j - i) & c->mask)) {
            atomic_store_explicit(&c->index[i], v, memory_order_release);
            i = j;
        }
    }
    atomic_store_explicit(&c->index[i], 0, memory_order_release);
}

/* ---- writing ---- */

static void write_begin(struct entry *e)
{
    uint32_t seq = atomic_load_explicit(&e->seq, memory_order_relaxed);
    atomic_store_explicit(&e->seq, seq + 1, memory_order_relaxed);
}

static void write_end(struct entry *e)
{
    uint32_t seq = atomic_load_explicit(&e->seq, memory_order_relaxed);
    atomic_exchange_explicit(&e->seq, seq + 1, memory_order_seq_cst);
}

static void set_state(struct entry *e, enum cache_state state)
{
    atomic_store_explicit(&e->state, (uint32_t)state, memory_order_release);
}

/* A block that holds key and value, and the key in it; nobody reads the entry (odd). False: no
 * room, and no block. */
static bool fit(struct cache *c, struct entry *e, struct span key, size_t value_bytes)
{
    unsigned k = class_of(words_of(key.len) * 8 + value_bytes);
    if (k == e->size_class || (value_bytes == 0 && e->size_class != NO_CLASS)) {
        return true;
    }
    word *b = atomic_load_explicit(&e->block, memory_order_relaxed);
    pthread_mutex_lock(&c->lock);
    if (e->size_class != NO_CLASS) {
        block_give(c, b, e->size_class);
    }
    b = k < CLASSES ? block_take(c, k) : NULL;
    pthread_mutex_unlock(&c->lock);
    e->size_class = b != NULL ? (uint8_t)k : NO_CLASS;
    atomic_store_explicit(&e->block, b, memory_order_release);
    if (b != NULL) {
        copy_in(b, key.p, key.len);
    }
    return b != NULL;
}

static void leave(struct cache *c, uint32_t place, uint64_t hash)
{
    struct entry *e = &c->entries[place];
    write_begin(e);
    set_state(e, CACHE_NONE);
    write_end(e);
    pthread_mutex_lock(&c->lock);
    index_remove(c, hash, place);
    if (e->size_class != NO_CLASS) {
        block_give(c, atomic_load_explicit(&e->block, memory_order_relaxed), e->size_class);
    }
    pthread_mutex_unlock(&c->lock);
    e->size_class = NO_CLASS;
    e->indexed = false;
    atomic_fetch_sub_explicit(&c->counts.entries, 1, memory_order_relaxed);
}

static void enter(struct cache *c, uint32_t place, uint64_t hash)
{
    struct entry *e = &c->entries[place];
    pthread_mutex_lock(&c->lock);
    atomic_store_explicit(&e->hash, hash, memory_order_release);
    index_add(c, hash, place);
    pthread_mutex_unlock(&c->lock);
    e->indexed = true;
    atomic_fetch_add_explicit(&c->counts.entries, 1, memory_order_relaxed);
}

bool cache_set(struct cache *c, uint32_t place, uint64_t hash, struct span key,
               const struct cache_value *v)
{
    must(place < c->limits.entries);
    struct entry *e = &c->entries[place];
    if (v->state == CACHE_NONE) {
        if (e->indexed) {
            leave(c, place, hash);
        }
        return true;
    }
    bool is_value = v->state == CACHE_VALUE;
    char head[NUM_I64_MAX + 3] = "$";
    size_t head_len = 0;
    if (is_value) {
        head_len = 1 + num_fmt_u64(head + 1, v->bytes.len);
        head[head_len++] = '\r';
        head[head_len++] = '\n';
    }
    write_begin(e);
    bool small_enough = key.len <= CACHE_KEY_MAX && v->bytes.len <= c->limits.value_max;
    bool ok = small_enough && fit(c, e, key, is_value ? head_len + v->bytes.len + 2 : 0);
    if (!ok && small_enough) {
        atomic_fetch_add_explicit(&c->counts.no_room, 1, memory_order_relaxed);
    }
    if (ok && is_value) {
        /* The head may end inside a word: the three pieces are put together first. */
        char few[256];
        size_t n = head_len + v->bytes.len + 2;
        char *bulk = n <= sizeof few ? few : mem_alloc(n);
        /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, no string */
        memcpy(bulk, head, head_len);
        memcpy(bulk + head_len, v->bytes.p, v->bytes.len);
        memcpy(bulk + n - 2, "\r\n", 2);
        word *b = atomic_load_explicit(&e->block, memory_order_relaxed);
        copy_in(b + words_of(key.len), bulk, n);
        if (bulk != few) {
            mem_free(bulk);
        }
        atomic_store_explicit(&e->vlen, (uint32_t)v->bytes.len, memory_order_release);
        atomic_store_explicit(&e->expire_ms, v->expire_ms, memory_order_release);
    }
    atomic_store_explicit(&e->klen, (uint32_t)key.len, memory_order_release);
    set_state(e, ok ? v->state : CACHE_BUSY);
    write_end(e);
    if (!e->indexed) {
        enter(c, place, hash);
    }
    return ok;
}

void cache_clear(struct cache *c, uint32_t first, uint32_t count)
{
    must(first <= c->limits.entries && count <= c->limits.entries - first);
    for (uint32_t place = first; place < first + count; place++) {
        if (c->entries[place].indexed) {
            leave(c, place, load(&c->entries[place].hash));
        }
    }
}

/* ---- reading ---- */

static unsigned head_length(uint32_t len)
{
    unsigned n = 4; /* $, one digit, CRLF */
    for (; len >= 10; len /= 10) {
        n++;
    }
    return n;
}

/* One look. *again: somebody was writing. */
/* NOLINTNEXTLINE(readability-function-size): the hottest path, nothing is packed for it */
static enum cache_state look(const struct entry *e, struct span key, uint64_t fresh_ms,
                             enum cache_form form, struct buf *out, struct cache_got *got,
                             bool *again)
{
    uint32_t seq = atomic_load_explicit(&e->seq, memory_order_acquire);
    *again = (seq & 1) != 0;
    if (*again) {
        return CACHE_BUSY;
    }
    uint32_t state = atomic_load_explicit(&e->state, memory_order_acquire);
    const word *b = atomic_load_explicit(&e->block, memory_order_acquire);
    uint32_t klen = atomic_load_explicit(&e->klen, memory_order_acquire);
    uint32_t vlen = atomic_load_explicit(&e->vlen, memory_order_acquire);
    uint64_t expire_ms = load(&e->expire_ms);
    bool same = state != CACHE_NONE && klen == key.len && b != NULL && klen <= CACHE_KEY_MAX &&
                same_bytes(b, key);
    size_t add = 0;
    if (same && state == CACHE_VALUE && form != CACHE_META && out != NULL) {
        /* Before what was read so far is known to belong together nothing is believed that could
         * lead outside of a block. */
        if (atomic_load_explicit(&e->seq, memory_order_relaxed) != seq) {
            *again = true;
            return CACHE_BUSY;
        }
        unsigned head = head_length(vlen);
        size_t words = words_of(head + (size_t)vlen + 2);
        char *to = buf_reserve(out, words * 8);
        copy_out(to, b + words_of(klen), words);
        add = head + (size_t)vlen + 2;
        if (form == CACHE_RAW) {
            memmove(to, to + head, vlen);
            add = vlen;
        }
    }
    *again = atomic_load_explicit(&e->seq, memory_order_relaxed) != seq;
    if (*again) {
        return CACHE_BUSY;
    }
    if (!same) {
        return CACHE_NONE;
    }
    if (state == CACHE_VALUE && expire_ms != 0 && expire_ms <= fresh_ms) {
        return CACHE_BUSY;
    }
    if (state == CACHE_VALUE) {
        if (add != 0) {
            buf_commit(out, add);
        }
        *got = (struct cache_got){.expire_ms = expire_ms, .len = vlen};
    }
    return (enum cache_state)state;
}

void cache_prefetch(const struct cache *c, const uint64_t *hashes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        __builtin_prefetch(&c->index[(uint32_t)hashes[i] & c->mask]);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t v = load(&c->index[(uint32_t)hashes[i] & c->mask]);
        if (v != 0 && v >> 32 == hashes[i] >> 32) {
            __builtin_prefetch(&c->entries[(uint32_t)v - 1]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t v = load(&c->index[(uint32_t)hashes[i] & c->mask]);
        if (v != 0 && v >> 32 == hashes[i] >> 32) {
            const word *b =
                atomic_load_explicit(&c->entries[(uint32_t)v - 1].block, memory_order_relaxed);
            __builtin_prefetch(b);
            __builtin_prefetch((const char *)b + 64);
        }
    }
}

/* NOLINTNEXTLINE(readability-function-size): as above */
enum cache_state cache_read(const struct cache *c, uint64_t hash, struct span key,
                            uint64_t fresh_ms, enum cache_form form, struct buf *out,
                            struct cache_got *got)
{
    uint32_t i = (uint32_t)hash & c->mask;
    for (uint32_t n = 0; n <= c->mask; n++, i = (i + 1) & c->mask) {
        uint64_t v = load(&c->index[i]);
        if (v == 0) {
            return CACHE_NONE;
        }
        if (v >> 32 != hash >> 32) {
            continue;
        }
        const struct entry *e = &c->entries[(uint32_t)v - 1];
        enum cache_state state = CACHE_BUSY;
        bool again = true;
        for (int t = 0; t < TRIES && again; t++) {
            state = look(e, key, fresh_ms, form, out, got, &again);
        }
        if (state != CACHE_NONE) {
            return state;
        }
    }
    return CACHE_NONE;
}
