/* Hashes: a pack while small, then a table of items.
 *
 * An item of the table is one block: length of the field, length of the value, field, value. */
#include "backends/types/hash.h"

#include "backends/types/dump.h"
#include "backends/types/handle.h"
#include "backends/types/item.h"
#include "backends/types/object.h"
#include "backends/types/pack.h"
#include "backends/types/types.h"

/* A dump's packed hash stays packed up to these sizes, whatever the limits of who reads it. */
#define LOAD_PACK_ENTRIES 4096
#define LOAD_PACK_VALUE 4096

static bool packed(const struct hash *h)
{
    return form_of(h) == FORM_PACK;
}

static struct hash *of_pack(struct pack *p)
{
    return handle_of(p, FORM_PACK);
}

static struct span parts_of(const void *item, struct span *value)
{
    size_t field_len;
    size_t value_len;
    const char *p = item_get_len(item, &field_len);
    p = item_get_len(p, &value_len);
    *value = span_of(p + field_len, value_len);
    return span_of(p, field_len);
}

static struct span field_of(const void *item)
{
    struct span value;
    return parts_of(item, &value);
}

static size_t pair_size(struct span field, struct span value)
{
    return item_len_size(field.len) + item_len_size(value.len) + field.len + value.len;
}

static char *write_text(char *p, struct span s)
{
    if (s.len != 0) {
        memcpy(p, s.p, s.len);
    }
    return p + s.len;
}

static void *pair_new(struct span field, struct span value)
{
    char *item = mem_alloc(pair_size(field, value));
    char *p = item_put_len(item, field.len);
    p = item_put_len(p, value.len);
    write_text(write_text(p, field), value);
    return item;
}

struct hash *hash_new(void)
{
    return of_pack(pack_new());
}

size_t hash_count(const struct hash *h)
{
    return packed(h) ? pack_count(block_of(h)) / 2 : dict_count(block_of(h));
}

bool hash_is_packed(const struct hash *h)
{
    return packed(h);
}

/* A table of h's fields, whatever h is. */
static struct hash *table_of(const struct hash *h)
{
    struct dict *d = dict_new(field_of);
    struct hash_iter it = hash_iter(h);
    struct span field;
    struct span value;
    while (hash_next(&it, &field, &value)) {
        dict_add(d, pair_new(field, value), dict_hash(field));
    }
    return handle_of(d, FORM_TABLE);
}

static void leave_pack(struct hash **h)
{
    struct hash *table = table_of(*h);
    pack_free(block_of(*h));
    *h = table;
}

static bool pack_lookup(const struct pack *p, struct span field, size_t *pos)
{
    *pos = pack_find(p, pack_first(p), field, 1);
    return *pos != PACK_NONE;
}

bool hash_get(const struct hash *h, struct span field, char *tmp, struct span *value)
{
    if (packed(h)) {
        const struct pack *p = block_of(h);
        size_t pos;
        if (!pack_lookup(p, field, &pos)) {
            return false;
        }
        *value = pack_get(p, pack_next(p, pos), tmp);
        return true;
    }
    const void *item = dict_find(block_of(h), field, dict_hash(field));
    if (item == NULL) {
        return false;
    }
    parts_of(item, value);
    return true;
}

static bool table_put(struct dict *d, struct span field, struct span value)
{
    uint64_t hash = dict_hash(field);
    void **slot = dict_find_slot(d, field, hash);
    if (slot == NULL) {
        dict_add(d, pair_new(field, value), hash);
        return true;
    }
    struct span old;
    struct span own = parts_of(*slot, &old);
    if (old.len == value.len) {
        write_text((char *)*slot + (old.p - (const char *)*slot), value);
        return false;
    }
    void *item = pair_new(own, value);
    mem_free(*slot);
    *slot = item;
    return false;
}

static bool pack_put(struct pack **p, struct span field, struct span value)
{
    size_t pos;
    if (pack_lookup(*p, field, &pos)) {
        *p = pack_replace(*p, pack_next(*p, pos), value);
        return false;
    }
    *p = pack_append(*p, field);
    *p = pack_append(*p, value);
    return true;
}

bool hash_put(struct hash **h, struct span field, struct span value, struct hash_limits limits)
{
    if (packed(*h) && (field.len > limits.value_bytes || value.len > limits.value_bytes ||
                       !pack_fits(block_of(*h), field.len + value.len))) {
        leave_pack(h);
    }
    if (!packed(*h)) {
        return table_put(block_of(*h), field, value);
    }
    struct pack *p = block_of(*h);
    bool is_new = pack_put(&p, field, value);
    *h = of_pack(p);
    if (hash_count(*h) > limits.entries) {
        leave_pack(h);
    }
    return is_new;
}

bool hash_remove(struct hash **h, struct span field)
{
    if (!packed(*h)) {
        void *item = dict_remove(block_of(*h), field, dict_hash(field));
        mem_free(item);
        return item != NULL;
    }
    struct pack *p = block_of(*h);
    size_t pos;
    if (!pack_lookup(p, field, &pos)) {
        return false;
    }
    *h = of_pack(pack_erase(p, pos, 2));
    return true;
}

struct hash_iter hash_iter(const struct hash *h)
{
    struct hash_iter it = {.h = h};
    if (packed(h)) {
        it.pos = pack_first(block_of(h));
    } else {
        it.it = dict_iter(block_of(h));
    }
    return it;
}

bool hash_next(struct hash_iter *it, struct span *field, struct span *value)
{
    if (!packed(it->h)) {
        const void *item = dict_next(&it->it);
        if (item != NULL) {
            *field = parts_of(item, value);
        }
        return item != NULL;
    }
    if (it->pos == PACK_NONE) {
        return false;
    }
    const struct pack *p = block_of(it->h);
    *field = pack_get(p, it->pos, it->field_tmp);
    it->pos = pack_next(p, it->pos);
    *value = pack_get(p, it->pos, it->value_tmp);
    it->pos = pack_next(p, it->pos);
    return true;
}

struct visitor {
    hash_fn fn;
    void *arg;
};

static void visit_item(void *arg, void *item)
{
    const struct visitor *v = arg;
    struct span value;
    struct span field = parts_of(item, &value);
    v->fn(v->arg, field, value);
}

uint64_t hash_scan(const struct hash *h, uint64_t cursor, hash_fn fn, void *arg)
{
    struct visitor v = {fn, arg};
    if (!packed(h)) {
        return dict_scan(block_of(h), cursor, visit_item, &v);
    }
    struct hash_iter it = hash_iter(h);
    struct span field;
    struct span value;
    while (hash_next(&it, &field, &value)) {
        fn(arg, field, value);
    }
    return 0;
}

void hash_random(const struct hash *h, uint64_t *rng, hash_fn fn, void *arg)
{
    struct visitor v = {fn, arg};
    if (!packed(h)) {
        visit_item(&v, dict_random(block_of(h), rng));
        return;
    }
    const struct pack *p = block_of(h);
    char field_tmp[NUM_I64_MAX];
    char value_tmp[NUM_I64_MAX];
    size_t pos = pack_at(p, 2 * (int64_t)(dict_rng(rng) % hash_count(h)));
    fn(arg, pack_get(p, pos, field_tmp), pack_get(p, pack_next(p, pos), value_tmp));
}

void hash_sample(const struct hash *h, size_t n, uint64_t *rng, hash_fn fn, void *arg)
{
    struct visitor v = {fn, arg};
    if (!packed(h)) {
        dict_sample(block_of(h), n, rng, visit_item, &v);
        return;
    }
    struct hash_iter it = hash_iter(h);
    struct span field;
    struct span value;
    for (size_t left = hash_count(h); n != 0 && hash_next(&it, &field, &value); left--) {
        if (dict_takes(rng, left, &n)) {
            fn(arg, field, value);
        }
    }
}

/* ---- as an object of the store ---- */

static const char *encoding(const void *o)
{
    return packed(o) ? "listpack" : "hashtable";
}

static size_t count(const void *o)
{
    return hash_count(o);
}

static size_t memory(const void *o, size_t samples)
{
    return packed(o) ? mem_usable(block_of(o)) : dict_memory_with_items(block_of(o), samples);
}

static bool free_step(void *o, size_t budget)
{
    if (packed(o)) {
        pack_free(block_of(o));
        return false;
    }
    return dict_free_step(block_of(o), budget, mem_free);
}

void hash_free(struct hash *h)
{
    if (h != NULL) {
        (void)free_step(h, SIZE_MAX);
    }
}

static void *copy(const void *o)
{
    return packed(o) ? of_pack(pack_copy(block_of(o))) : table_of(o);
}

/* Dump: 1 if packed, count, then field and value of each. */
static void dump(const void *o, struct buf *out)
{
    dump_put_u64(out, packed(o));
    dump_put_u64(out, hash_count(o));
    struct hash_iter it = hash_iter(o);
    struct span field;
    struct span value;
    while (hash_next(&it, &field, &value)) {
        dump_put_span(out, field);
        dump_put_span(out, value);
    }
}

static void *load(const char *p, size_t len, size_t *used)
{
    struct dump_reader r = dump_reader(p, len);
    bool small = dump_get_byte(&r, 1) == 1;
    uint64_t n = dump_get_count(&r, 2);
    struct hash_limits limits = {small ? LOAD_PACK_ENTRIES : 0, LOAD_PACK_VALUE};
    struct hash *h = hash_new();
    for (; n != 0 && !r.bad; n--) {
        struct span field = dump_get_span(&r);
        struct span value = dump_get_span(&r);
        if (!r.bad && !hash_put(&h, field, value, limits)) {
            r.bad = true; /* a field twice */
        }
    }
    if (r.bad) {
        hash_free(h);
        return NULL;
    }
    *used = (size_t)((const char *)r.p - p);
    return h;
}

static uint64_t digest(const void *o)
{
    uint64_t sum = 0;
    struct hash_iter it = hash_iter(o);
    struct span field;
    struct span value;
    while (hash_next(&it, &field, &value)) {
        sum += digest_span(value, digest_span(field, 1));
    }
    return sum;
}

const struct object_ops hash_ops = {.name = "hash",
                                    .encoding = encoding,
                                    .count = count,
                                    .memory = memory,
                                    .free_step = free_step,
                                    .copy = copy,
                                    .dump = dump,
                                    .load = load,
                                    .digest = digest};
