#ifndef BACKENDS_STORE_ENTRY_H
#define BACKENDS_STORE_ENTRY_H

#include "backends/store/store.h"

/* Layout of an entry: inside backends/store only (and backends/cmd/ctx.c, which every command comes
 * through).
 *
 *   header 16 | value pointer 8? | expiry 8? | generation 8? | key length 8? | key | short string
 * value
 *
 * Fields with a question mark are there when their flag is set, so the common entry (key below 256
 * bytes, string value below 256 bytes, no expiry, never hot) is 16 + key + value. Blocks are sized
 * in steps that are size classes of jemalloc, so that a value may grow within its class without
 * moving. Values that do not fit hang off in a block of their own (struct big). */
#define ENT_HOT 1u
#define ENT_OUT 2u /* value pointer: struct big, or the object of a collection */
#define ENT_EXPIRE 4u
#define ENT_GEN 8u
#define ENT_LONGKEY 16u
#define ENT_FIELDS (ENT_OUT | ENT_EXPIRE | ENT_GEN | ENT_LONGKEY)

#define ENT_INLINE_MAX 255u

struct entry {
    uint64_t ts;
    uint32_t access_state; /* access clock 24, state 8 (top) */
    uint8_t kind;          /* type 3, encoding 2, flush epoch 2 (from the low end) */
    uint8_t flags;
    uint8_t klen, vlen; /* of key and value when short */
    char body[];
};

struct big {
    uint64_t len;
    char bytes[];
};

static inline size_t ent_fields_size(unsigned flags)
{
    /* 8 for each of four bits; a table in a constant, because the portable population count is a
     * call */
    return 8u * (0x4332322132212110u >> ((flags & ENT_FIELDS) >> 1) * 4 & 15u);
}

/* Where a field is in the body: behind those before it in the order above. */
static inline size_t ent_field_at(const struct entry *e, unsigned flag)
{
    return ent_fields_size(e->flags & (flag - 1));
}

static inline uint64_t ent_field_u64(const struct entry *e, unsigned flag)
{
    uint64_t v = 0;
    memcpy(&v, e->body + ent_field_at(e, flag), sizeof v);
    return v;
}

static inline void ent_set_field_u64(struct entry *e, unsigned flag, uint64_t v)
{
    memcpy(e->body + ent_field_at(e, flag), &v, sizeof v);
}

static inline struct span ent_key(const struct entry *e)
{
    size_t len = (e->flags & ENT_LONGKEY) == 0 ? e->klen : ent_field_u64(e, ENT_LONGKEY);
    return span_of(e->body + ent_fields_size(e->flags), len);
}

/* For writing the key, and the short value behind it. */
static inline char *ent_key_bytes(struct entry *e)
{
    return e->body + ent_fields_size(e->flags);
}

static inline bool ent_key_is(const struct entry *e, struct span key)
{
    struct span mine = ent_key(e);
    return mine.len == key.len && memcmp(mine.p, key.p, key.len) == 0;
}

static inline enum val_type ent_type(const struct entry *e)
{
    return (enum val_type)(e->kind & 7u);
}

static inline unsigned ent_epoch(const struct entry *e)
{
    return (e->kind >> 5) & 3u;
}

static inline void *ent_out(const struct entry *e)
{
    void *p = NULL;
    memcpy(&p, e->body, sizeof p);
    return p;
}

static inline void ent_set_out(struct entry *e, void *p)
{
    memcpy(e->body, &p, sizeof p);
}

static inline uint64_t ent_expire(const struct entry *e)
{
    return (e->flags & ENT_EXPIRE) != 0 ? ent_field_u64(e, ENT_EXPIRE) : 0;
}

static inline uint32_t ent_access(const struct entry *e)
{
    return e->access_state & 0xFFFFFFu;
}

static inline void ent_set_access(struct entry *e, uint32_t access)
{
    e->access_state = (e->access_state & 0xFF000000u) | (access & 0xFFFFFFu);
}

/* Rounds to the size classes of jemalloc: 16 bytes apart up to 128, then four per doubling. */
static inline size_t ent_size_class(size_t n)
{
    if (n <= 128) {
        return (n + 15u) & ~(size_t)15u;
    }
    size_t step = (size_t)1 << (61 - __builtin_clzll(n - 1));
    return (n + step - 1) & ~(step - 1);
}

static inline size_t ent_block_size(unsigned flags, size_t klen, size_t vlen)
{
    size_t n =
        sizeof(struct entry) + ent_fields_size(flags) + klen + ((flags & ENT_OUT) != 0 ? 0 : vlen);
    return ent_size_class(n);
}

#endif
