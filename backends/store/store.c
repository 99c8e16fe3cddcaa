/* Look-ups and changes of entries, and what is counted about them. Layout of an entry: entry.h; the
 * table: table.c.
 *
 * Deletion and the protocol: an entry that carries protocol fields (a timestamp, hot, a generation,
 * a state) becomes a tombstone when it is deleted, so that no handler can lose them (DESIGN H8);
 * deleting a tombstone removes it. Without a protocol all of these are zero and deletion removes
 * the entry at once. */
#include "backends/store/store_private.h"

#include <assert.h>
#include <stdatomic.h>

#include "backends/types/object.h"
#include "common/mem.h"
#include "common/must.h"

#define LAZY_FREE_ABOVE 64u /* elements: larger collections are freed in slices */
#define STRING_PREALLOC_MAX ((size_t)1 << 20)

struct store *store_new(const struct store_options *o)
{
    struct store *s = mem_zalloc(sizeof *s);
    s->options = *o;
    s->rng = o->seed[0] ^ o->seed[1] ^ 0x9E3779B97F4A7C15u;
    table_init(&s->table, o->seed[0] ^ (o->seed[1] * 0x9E3779B97F4A7C15u));
    static atomic_uint stores; /* marks of another store at the same place are others */
    unsigned n = atomic_fetch_add_explicit(&stores, 1, memory_order_relaxed);
    for (unsigned i = 0; i < STRING_MARKS; i++) {
        s->string_marks[i] = n << 20;
    }
    return s;
}

void store_free(struct store *s)
{
    if (s == NULL) {
        return;
    }
    store_flush(s, -1);
    while (store_lazy_step(s, SIZE_MAX)) {
    }
    table_free(&s->table);
    mem_free(s->lazy);
    mem_free(s->scratch.e);
    mem_free(s);
}

void store_set_options(struct store *s, const struct store_options *o)
{
    uint64_t seed[2] = {s->options.seed[0], s->options.seed[1]};
    s->options = *o;
    memcpy(s->options.seed, seed, sizeof seed);
    s->pool_count = 0;
}

uint64_t store_random_u64(uint64_t *rng)
{
    uint64_t x = *rng != 0 ? *rng : 0x9E3779B97F4A7C15u;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *rng = x;
    return x * 0x2545F4914F6CDD1Du;
}

/* ---- look-up ---- */

uint64_t store_hash(const struct store *s, struct span key)
{
    return table_hash(&s->table, key);
}

/* A function that only prefetches looks to gcc as if it did nothing, and then its calls are
 * dropped; this is something. */
#define KEEP() __asm__ volatile("")

void store_prefetch(const struct store *s, uint64_t hash)
{
    const struct dirent *d = table_dirent(&s->table, hash);
    __builtin_prefetch(&d->seg->b[table_bucket(d->depth, d->buckets, hash)]);
    KEEP();
}

void store_prefetch_entry(const struct store *s, uint64_t hash)
{
    const struct dirent *d = table_dirent(&s->table, hash);
    unsigned home = table_bucket(d->depth, d->buckets, hash);
    const struct bucket *b = &d->seg->b[home];
    uint64_t m = bucket_tag_matches(b, hash);
    if (m == 0 && b->over != 0) {
        b = &d->seg->b[home + 1u == d->buckets ? 0 : home + 1u];
        m = bucket_tag_matches(b, hash);
    }
    if (m != 0) {
        __builtin_prefetch(b->slot[__builtin_ctzll(m) >> 3]);
    }
    KEEP();
}

bool entry_dead_slow(const struct store *s, const struct entry *e)
{
    unsigned db = key_db(ent_key(e));
    return (s->flushing >> db & 1u) != 0 && ent_epoch(e) != (s->epoch[db] & 3u);
}

static void remember(struct store *s, struct entry *e, uint64_t hash)
{
    s->last = e;
    s->last_hash = hash;
}

struct entry *store_find_any_hashed(struct store *s, struct span key, uint64_t hash)
{
    if (s->last != NULL && s->last_hash == hash && ent_key_is(s->last, key) &&
        !entry_dead(s, s->last)) {
        return s->last;
    }
    struct entry *e = table_find(&s->table, key, hash);
    if (e != NULL && entry_dead(s, e)) {
        store_drop_dead(s, e);
        return NULL;
    }
    remember(s, e, hash);
    return e;
}

struct entry *store_find_hashed(struct store *s, struct span key, uint64_t hash)
{
    struct entry *e = store_find_any_hashed(s, key, hash);
    return e != NULL && ent_type(e) != VAL_TOMBSTONE ? e : NULL;
}

struct entry *store_find(struct store *s, struct span key)
{
    return store_find_hashed(s, key, store_hash(s, key));
}

struct entry *store_find_any(struct store *s, struct span key)
{
    return store_find_any_hashed(s, key, store_hash(s, key));
}

/* ---- counts ---- */

/* What an entry adds to the counts: before and after each change. */
static void count_entry(struct store *s, const struct entry *e, uint64_t one)
{
    if (ent_type(e) == VAL_TOMBSTONE) {
        s->tombstones += one;
        return;
    }
    unsigned db = key_db(ent_key(e));
    s->count[db] += one;
    if ((e->flags & ENT_EXPIRE) != 0) {
        s->expires[db] += one;
    }
}

#define COUNT_IN 1u
#define COUNT_OUT UINT64_MAX /* adds -1 */

uint64_t store_count(const struct store *s, unsigned db)
{
    return s->count[db];
}

uint64_t store_count_expires(const struct store *s, unsigned db)
{
    return s->expires[db];
}

uint64_t store_tombstones(const struct store *s)
{
    return s->tombstones;
}

/* ---- changing the shape of an entry ---- */

static void object_free(struct store *s, enum val_type type, void *object)
{
    const struct object_ops *ops = object_ops(type);
    if (ops->count(object) > LAZY_FREE_ABOVE) {
        store_lazy_add(s, type, object);
        return;
    }
    while (ops->free_step(object, SIZE_MAX)) {
    }
}

void value_free(struct store *s, struct entry *e)
{
    if ((e->flags & ENT_OUT) == 0 || ent_out(e) == NULL) {
        return;
    }
    if (ent_type(e) == VAL_STRING) {
        mem_free(ent_out(e));
    } else {
        object_free(s, ent_type(e), ent_out(e));
    }
    ent_set_out(e, NULL);
}

static void set_kind(struct entry *e, enum val_type type, enum str_enc enc)
{
    e->kind = (uint8_t)((e->kind & 0x60u) | (unsigned)type | (unsigned)enc << 3);
}

static void set_lengths(struct entry *e, size_t klen, size_t vlen)
{
    e->klen = (e->flags & ENT_LONGKEY) != 0 ? 0 : (uint8_t)klen;
    e->vlen = (e->flags & ENT_OUT) != 0 ? 0 : (uint8_t)vlen;
    if ((e->flags & ENT_LONGKEY) != 0) {
        ent_set_field_u64(e, ENT_LONGKEY, klen);
    }
}

static struct entry *entry_new(struct store *s, struct span key, unsigned flags, size_t vlen)
{
    if (key.len > UINT8_MAX) {
        flags |= ENT_LONGKEY;
    }
    struct entry *e = mem_alloc(ent_block_size(flags, key.len, vlen));
    unsigned db = key_db(key);
    *e = (struct entry){.flags = (uint8_t)flags, .kind = (uint8_t)((s->epoch[db] & 3u) << 5)};
    ent_set_access(e, access_initial(s));
    memset(e->body, 0, ent_fields_size(flags));
    set_lengths(e, key.len, vlen);
    memcpy(ent_key_bytes(e), key.p, key.len);
    return e;
}

/* Gives e these fields and this room for a short value; keeps header, key and every field that
 * stays, and the short value as far as it fits. New fields are zero. The entry may move. Its counts
 * must be out (count_entry). */
static struct entry *reshape(struct store *s, struct entry *e, unsigned fields, size_t vlen)
{
    struct span key = ent_key(e);
    unsigned flags = (e->flags & ~ENT_FIELDS) | fields | (e->flags & ENT_LONGKEY);
    if (flags == e->flags &&
        ent_block_size(flags, key.len, vlen) == ent_block_size(flags, key.len, e->vlen)) {
        set_lengths(e, key.len, vlen);
        return e;
    }
    struct entry *n = mem_alloc(ent_block_size(flags, key.len, vlen));
    *n = *e;
    n->flags = (uint8_t)flags;
    memset(n->body, 0, ent_fields_size(flags));
    for (unsigned f = ENT_OUT; f <= ENT_GEN; f <<= 1) {
        if ((flags & e->flags & f) != 0) {
            ent_set_field_u64(n, f, ent_field_u64(e, f));
        }
    }
    set_lengths(n, key.len, vlen);
    char *to = ent_key_bytes(n);
    memcpy(to, key.p, key.len);
    if (((flags | e->flags) & ENT_OUT) == 0) {
        memcpy(to + key.len, key.p + key.len, vlen < e->vlen ? vlen : e->vlen);
    }
    uint64_t hash = table_hash(&s->table, key);
    table_replace(&s->table, hash, e, n);
    remember(s, n, hash);
    mem_free(e);
    return n;
}

static char *inline_value(struct entry *e)
{
    return ent_key_bytes(e) + ent_key(e).len;
}

/* Before a new value is written over whatever there is; NULL: there is nothing at all. */
static struct entry *prepare_overwrite(struct store *s, struct entry *e, struct span key)
{
    if (e == NULL && (s->tombstones != 0 || s->flushing != 0)) {
        e = store_find_any(s, key);
    }
    if (e != NULL) {
        count_entry(s, e, COUNT_OUT);
    }
    return e;
}

static struct entry *insert_new(struct store *s, struct entry *e)
{
    uint64_t hash = table_hash(&s->table, ent_key(e));
    table_insert(&s->table, hash, e);
    remember(s, e, hash);
    count_entry(s, e, COUNT_IN);
    return e;
}

static struct big *big_new(struct span value)
{
    struct big *b = mem_alloc(sizeof *b + value.len);
    b->len = value.len;
    memcpy(b->bytes, value.p, value.len);
    return b;
}

static unsigned expire_field(uint64_t expire_ms)
{
    return expire_ms != 0 ? ENT_EXPIRE : 0;
}

static unsigned mark_of(const char *bytes)
{
    return (unsigned)(((uintptr_t)bytes * 0x9E3779B97F4A7C15u) >> 58);
}
static_assert(STRING_MARKS == 64, "mark_of gives 6 bits");

static void long_string_written(struct store *s, const struct big *b)
{
    if (b->len >= STRING_MARK_LEN) {
        s->string_marks[mark_of(b->bytes)]++;
    }
}

bool store_string_mark(const struct store *s, struct span string, uint32_t *mark)
{
    if (string.len < STRING_MARK_LEN) {
        return false;
    }
    *mark = s->string_marks[mark_of(string.p)];
    return true;
}

static struct entry *put_long(struct store *s, struct entry *e, struct span key, struct span value,
                              unsigned fields)
{
    if (e == NULL) {
        e = entry_new(s, key, fields | ENT_OUT, 0);
        ent_set_out(e, big_new(value));
        return e;
    }
    struct big *old = ent_type(e) == VAL_STRING && (e->flags & ENT_OUT) != 0 ? ent_out(e) : NULL;
    if (old != NULL && mem_good_size(sizeof *old + value.len) == mem_usable(old)) {
        old->len = value.len;
        memcpy(old->bytes, value.p, value.len);
        return reshape(s, e, fields | ENT_OUT | (e->flags & ENT_GEN), 0);
    }
    value_free(s, e);
    e = reshape(s, e, fields | ENT_OUT | (e->flags & ENT_GEN), 0);
    ent_set_out(e, big_new(value));
    return e;
}

struct entry *store_put_string_expire(struct store *s, struct entry *e, struct span key,
                                      struct string_value v)
{
    e = prepare_overwrite(s, e, key);
    unsigned fields = expire_field(v.expire_ms);
    bool fresh = e == NULL;
    if (v.bytes.len > ENT_INLINE_MAX) {
        e = put_long(s, e, key, v.bytes, fields);
        long_string_written(s, ent_out(e));
    } else {
        if (fresh) {
            e = entry_new(s, key, fields, v.bytes.len);
        } else {
            value_free(s, e);
            e = reshape(s, e, fields | (e->flags & ENT_GEN), v.bytes.len);
        }
        if (v.bytes.len != 0) {
            memcpy(inline_value(e), v.bytes.p, v.bytes.len);
        }
    }
    set_kind(e, VAL_STRING, v.enc);
    if (v.expire_ms != 0) {
        ent_set_field_u64(e, ENT_EXPIRE, v.expire_ms);
    }
    if (fresh) {
        return insert_new(s, e);
    }
    count_entry(s, e, COUNT_IN);
    return e;
}

struct entry *store_put_string(struct store *s, struct entry *e, struct span key, struct span value,
                               enum str_enc enc)
{
    struct string_value v = {
        .bytes = value, .enc = enc, .expire_ms = e != NULL ? ent_expire(e) : 0};
    return store_put_string_expire(s, e, key, v);
}

struct entry *store_put_object(struct store *s, struct entry *e, struct span key,
                               enum val_type type, void *object)
{
    must(type != VAL_STRING);
    must((object == NULL) == (type == VAL_TOMBSTONE));
    unsigned fields = type == VAL_TOMBSTONE ? 0 : ENT_OUT;
    e = prepare_overwrite(s, e, key);
    bool fresh = e == NULL;
    if (fresh) {
        e = entry_new(s, key, fields, 0);
    } else {
        value_free(s, e);
        unsigned keep = type == VAL_TOMBSTONE ? ENT_GEN : ENT_GEN | ENT_EXPIRE;
        e = reshape(s, e, fields | (e->flags & keep), 0);
    }
    set_kind(e, type, STR_RAW);
    if (type != VAL_TOMBSTONE) {
        ent_set_out(e, object);
    }
    if (fresh) {
        return insert_new(s, e);
    }
    count_entry(s, e, COUNT_IN);
    return e;
}

/* A long string's own block with room for len bytes; grows ahead of need, so that appending is
 * linear in the end. */
static struct big *big_resize(struct big *b, size_t len)
{
    size_t need = sizeof *b + len;
    size_t have = mem_usable(b);
    if (need > have || need < have / 4) {
        size_t ahead = need <= have || len <= b->len ? 0
                       : len < STRING_PREALLOC_MAX   ? len
                                                     : STRING_PREALLOC_MAX;
        b = mem_realloc(b, need + ahead);
    }
    if (len > b->len) {
        memset(b->bytes + b->len, 0, len - b->len);
    }
    b->len = len;
    return b;
}

struct entry *store_string_resize(struct store *s, struct entry *e, size_t len, char **bytes)
{
    must(ent_type(e) == VAL_STRING);
    count_entry(s, e, COUNT_OUT);
    unsigned keep = e->flags & (ENT_EXPIRE | ENT_GEN);
    if ((e->flags & ENT_OUT) != 0) {
        struct big *b = big_resize(ent_out(e), len);
        ent_set_out(e, b);
        long_string_written(s, b);
        *bytes = b->bytes;
    } else if (len > ENT_INLINE_MAX) {
        struct big *b = big_new(span_of(inline_value(e), e->vlen));
        b = big_resize(b, len);
        e = reshape(s, e, keep | ENT_OUT, 0);
        ent_set_out(e, b);
        long_string_written(s, b);
        *bytes = b->bytes;
    } else {
        size_t old = e->vlen;
        e = reshape(s, e, keep, len);
        *bytes = inline_value(e);
        if (len > old) {
            memset(*bytes + old, 0, len - old);
        }
    }
    set_kind(e, VAL_STRING, STR_RAW);
    count_entry(s, e, COUNT_IN);
    return e;
}

static void remove_entry(struct store *s, struct entry *e)
{
    if (s->last == e) {
        s->last = NULL;
    }
    value_free(s, e);
    table_remove(&s->table, table_hash(&s->table, ent_key(e)), e);
    mem_free(e);
}

void store_drop_dead(struct store *s, struct entry *e)
{
    if (ent_type(e) == VAL_TOMBSTONE) {
        s->tombstones--;
    } else {
        s->dead_keys--;
    }
    remove_entry(s, e);
}

void store_delete(struct store *s, struct entry *e)
{
    bool protocol = e->ts != 0 || (e->flags & (ENT_HOT | ENT_GEN)) != 0 || entry_state(e) != 0;
    if (protocol && ent_type(e) != VAL_TOMBSTONE) {
        store_put_object(s, e, ent_key(e), VAL_TOMBSTONE, NULL);
        return;
    }
    count_entry(s, e, COUNT_OUT);
    remove_entry(s, e);
}

struct entry *store_set_expire(struct store *s, struct entry *e, uint64_t expire_ms)
{
    must(ent_type(e) != VAL_TOMBSTONE);
    unsigned fields = (e->flags & (ENT_OUT | ENT_GEN)) | expire_field(expire_ms);
    if ((fields & ENT_EXPIRE) != (e->flags & ENT_EXPIRE)) {
        count_entry(s, e, COUNT_OUT);
        e = reshape(s, e, fields, e->vlen);
        count_entry(s, e, COUNT_IN);
    }
    if (expire_ms != 0) {
        ent_set_field_u64(e, ENT_EXPIRE, expire_ms);
    }
    return e;
}

struct entry *store_set_hot(struct store *s, struct entry *e, bool hot, uint64_t generation)
{
    unsigned fields = (e->flags & (ENT_OUT | ENT_EXPIRE)) | (generation != 0 ? ENT_GEN : 0);
    count_entry(s, e, COUNT_OUT);
    e = reshape(s, e, fields, e->vlen);
    count_entry(s, e, COUNT_IN);
    if (generation != 0) {
        ent_set_field_u64(e, ENT_GEN, generation);
    }
    e->flags = (uint8_t)((e->flags & ~ENT_HOT) | (hot ? ENT_HOT : 0));
    return e;
}

void *store_take_object(struct store *s, struct entry *e, enum val_type *type)
{
    must(entry_has_object(e));
    void *object = ent_out(e);
    *type = ent_type(e);
    /* an empty long string: the block keeps its shape, so the entry does not move and the caller's
     * pointer lives */
    struct big *empty = mem_alloc(sizeof *empty);
    empty->len = 0;
    ent_set_out(e, empty);
    set_kind(e, VAL_STRING, STR_RAW);
    (void)s;
    return object;
}
