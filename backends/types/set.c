/* Sets: an intset, then a table of items. */
#include "backends/types/set.h"

#include "backends/types/dump.h"
#include "backends/types/handle.h"
#include "backends/types/intset.h"
#include "backends/types/item.h"
#include "backends/types/types.h"

#define INTSET_MAX ((uint64_t)1 << 30)
/* A dump's intset stays one up to this size, whatever the limit of who reads it. */
#define LOAD_INTSET_MAX 4096

static bool is_ints(const struct set *s)
{
    return form_of(s) == FORM_INTSET;
}

struct set *set_new(void)
{
    return handle_of(intset_new(), FORM_INTSET);
}

size_t set_count(const struct set *s)
{
    return is_ints(s) ? intset_count(block_of(s)) : dict_count(block_of(s));
}

bool set_has(const struct set *s, struct span member)
{
    if (!is_ints(s)) {
        return dict_find(block_of(s), member, dict_hash(member)) != NULL;
    }
    int64_t v = 0;
    return num_parse_i64(member, &v) && intset_has(block_of(s), v);
}

static struct set *to_table(const struct set *s)
{
    struct dict *d = dict_new(item_text);
    struct set_iter it = set_iter(s);
    struct span member;
    while (set_next(&it, &member)) {
        dict_add(d, item_new(member), dict_hash(member));
    }
    return handle_of(d, FORM_TABLE);
}

static void leave_ints(struct set **s)
{
    struct set *table = to_table(*s);
    intset_free(block_of(*s));
    *s = table;
}

bool set_add(struct set **s, struct span member, uint64_t intset_max)
{
    if (is_ints(*s)) {
        int64_t v = 0;
        if (num_parse_i64(member, &v)) {
            bool added;
            *s = handle_of(intset_add(block_of(*s), v, &added), FORM_INTSET);
            if (added && set_count(*s) > (intset_max < INTSET_MAX ? intset_max : INTSET_MAX)) {
                leave_ints(s);
            }
            return added;
        }
        leave_ints(s);
    }
    struct dict *d = block_of(*s);
    uint64_t hash = dict_hash(member);
    if (dict_find(d, member, hash) != NULL) {
        return false;
    }
    dict_add(d, item_new(member), hash);
    return true;
}

bool set_remove(struct set **s, struct span member)
{
    if (!is_ints(*s)) {
        void *item = dict_remove(block_of(*s), member, dict_hash(member));
        mem_free(item);
        return item != NULL;
    }
    int64_t v = 0;
    bool removed = false;
    if (num_parse_i64(member, &v)) {
        *s = handle_of(intset_remove(block_of(*s), v, &removed), FORM_INTSET);
    }
    return removed;
}

struct set_iter set_iter(const struct set *s)
{
    struct set_iter it = {.s = s};
    if (!is_ints(s)) {
        it.it = dict_iter(block_of(s));
    }
    return it;
}

static struct span number_text(const struct set *s, size_t i, char *tmp)
{
    return span_of(tmp, num_fmt_i64(tmp, intset_at(block_of(s), i)));
}

bool set_next(struct set_iter *it, struct span *member)
{
    if (!is_ints(it->s)) {
        const void *item = dict_next(&it->it);
        if (item != NULL) {
            *member = item_text(item);
        }
        return item != NULL;
    }
    if (it->i == set_count(it->s)) {
        return false;
    }
    *member = number_text(it->s, it->i++, it->tmp);
    return true;
}

struct visitor {
    set_fn fn;
    void *arg;
};

static void visit_item(void *arg, void *item)
{
    const struct visitor *v = arg;
    v->fn(v->arg, item_text(item));
}

uint64_t set_scan(const struct set *s, uint64_t cursor, set_fn fn, void *arg)
{
    struct visitor v = {fn, arg};
    if (!is_ints(s)) {
        return dict_scan(block_of(s), cursor, visit_item, &v);
    }
    struct set_iter it = set_iter(s);
    struct span member;
    while (set_next(&it, &member)) {
        fn(arg, member);
    }
    return 0;
}

void set_random(const struct set *s, uint64_t *rng, set_fn fn, void *arg)
{
    struct visitor v = {fn, arg};
    if (!is_ints(s)) {
        visit_item(&v, dict_random(block_of(s), rng));
        return;
    }
    char tmp[NUM_I64_MAX];
    fn(arg, number_text(s, dict_rng(rng) % set_count(s), tmp));
}

void set_sample(const struct set *s, size_t n, uint64_t *rng, set_fn fn, void *arg)
{
    struct visitor v = {fn, arg};
    if (!is_ints(s)) {
        dict_sample(block_of(s), n, rng, visit_item, &v);
        return;
    }
    struct set_iter it = set_iter(s);
    struct span member;
    for (size_t left = set_count(s); n != 0 && set_next(&it, &member); left--) {
        if (dict_takes(rng, left, &n)) {
            fn(arg, member);
        }
    }
}

/* ---- as an object of the store ---- */

static const char *encoding(const void *o)
{
    return is_ints(o) ? "intset" : "hashtable";
}

static size_t count(const void *o)
{
    return set_count(o);
}

static size_t memory(const void *o, size_t samples)
{
    return is_ints(o) ? mem_usable(block_of(o)) : dict_memory_with_items(block_of(o), samples);
}

static bool free_step(void *o, size_t budget)
{
    if (is_ints(o)) {
        intset_free(block_of(o));
        return false;
    }
    return dict_free_step(block_of(o), budget, mem_free);
}

void set_free(struct set *s)
{
    if (s != NULL) {
        (void)free_step(s, SIZE_MAX);
    }
}

static void *copy(const void *o)
{
    return is_ints(o) ? handle_of(intset_copy(block_of(o)), FORM_INTSET) : (void *)to_table(o);
}

/* Dump: 1 if an intset, count, members. */
static void dump(const void *o, struct buf *out)
{
    dump_put_u64(out, is_ints(o));
    dump_put_u64(out, set_count(o));
    struct set_iter it = set_iter(o);
    struct span member;
    while (set_next(&it, &member)) {
        dump_put_span(out, member);
    }
}

static void *load(const char *p, size_t len, size_t *used)
{
    struct dump_reader r = dump_reader(p, len);
    bool small = dump_get_byte(&r, 1) == 1;
    uint64_t n = dump_get_count(&r, 1);
    struct set *s = set_new();
    if (!small) {
        leave_ints(&s);
    }
    for (; n != 0 && !r.bad; n--) {
        struct span member = dump_get_span(&r);
        if (!r.bad && !set_add(&s, member, LOAD_INTSET_MAX)) {
            r.bad = true; /* a member twice */
        }
    }
    if (r.bad) {
        set_free(s);
        return NULL;
    }
    *used = (size_t)((const char *)r.p - p);
    return s;
}

static uint64_t digest(const void *o)
{
    uint64_t sum = 0;
    struct set_iter it = set_iter(o);
    struct span member;
    while (set_next(&it, &member)) {
        sum += digest_span(member, 2);
    }
    return sum;
}

const struct object_ops set_ops = {.name = "set",
                                   .encoding = encoding,
                                   .count = count,
                                   .memory = memory,
                                   .free_step = free_step,
                                   .copy = copy,
                                   .dump = dump,
                                   .load = load,
                                   .digest = digest};
