/* Set commands over several sets: union, intersection, difference. */
#include <stdlib.h>

#include "backends/cmd/cmd_set.h"
#include "backends/cmd/collection.h"
#include "backends/cmd/config.h"
#include "backends/types/set.h"
#include "common/mem.h"

/* From this many sets on, SDIFF looks into one union of the others instead of into each. */
#define DIFF_UNION_FROM 6

/* The sets of argv[first .. first + count); NULL for absent keys. */
struct sources {
    const struct set **set;
    int count;
    int absent;
};

static bool sources_open(struct cmd_ctx *c, struct sources *src, int first, int count)
{
    *src = (struct sources){.count = count};
    src->set = mem_alloc((size_t)count * sizeof(const struct set *));
    for (int i = 0; i < count; i++) {
        struct entry *e = cmd_lookup(c, c->argv[first + i]);
        if (!cmd_type_ok(c, e, VAL_SET)) {
            mem_free(src->set);
            return false;
        }
        src->set[i] = e == NULL ? NULL : entry_object(e);
        src->absent += e == NULL;
    }
    return true;
}

static void sources_close(struct sources *src)
{
    mem_free(src->set);
}

/* ---- the three operations; fn gets each member of the result once and says whether to go on ----
 */

typedef bool (*member_fn)(void *arg, struct span member);

static int by_count(const void *a, const void *b)
{
    size_t x = set_count(*(const struct set *const *)a);
    size_t y = set_count(*(const struct set *const *)b);
    return (x > y) - (x < y);
}

static void intersect(struct sources *src, member_fn fn, void *arg)
{
    if (src->absent != 0) {
        return;
    }
    qsort(src->set, (size_t)src->count, sizeof(const struct set *), by_count);
    struct set_iter it = set_iter(src->set[0]);
    struct span member;
    while (set_next(&it, &member)) {
        int i = 1;
        while (i < src->count && (src->set[i] == src->set[0] || set_has(src->set[i], member))) {
            i++;
        }
        if (i == src->count && !fn(arg, member)) {
            return;
        }
    }
}

static struct set *union_of(const struct sources *src, int first, uint64_t intset_max)
{
    struct set *result = set_new();
    for (int i = first; i < src->count; i++) {
        if (src->set[i] == NULL) {
            continue;
        }
        struct set_iter it = set_iter(src->set[i]);
        struct span member;
        while (set_next(&it, &member)) {
            (void)set_add(&result, member, intset_max);
        }
    }
    return result;
}

static bool in_any(const struct sources *src, int first, struct span member)
{
    for (int i = first; i < src->count; i++) {
        if (src->set[i] != NULL && set_has(src->set[i], member)) {
            return true;
        }
    }
    return false;
}

static struct set *difference_of(struct cmd_ctx *c, const struct sources *src)
{
    uint64_t intset_max = c->config->set_max_intset_entries;
    struct set *result = set_new();
    if (src->set[0] == NULL) {
        return result;
    }
    struct set *others = src->count >= DIFF_UNION_FROM ? union_of(src, 1, intset_max) : NULL;
    struct set_iter it = set_iter(src->set[0]);
    struct span member;
    while (set_next(&it, &member)) {
        bool out = others != NULL ? set_has(others, member) : in_any(src, 1, member);
        if (!out) {
            (void)set_add(&result, member, intset_max);
        }
    }
    set_free(others);
    return result;
}

/* ---- replies and stores ---- */

struct collector {
    struct cmd_ctx *c;
    struct set *set;
    size_t count;
    size_t limit;
};

static bool reply_member(void *arg, struct span member)
{
    struct collector *to = arg;
    resp_bulk_span(to->c->out, member);
    to->count++;
    return true;
}

static bool keep_member(void *arg, struct span member)
{
    struct collector *to = arg;
    (void)set_add(&to->set, member, to->c->config->set_max_intset_entries);
    return true;
}

static bool count_member(void *arg, struct span member)
{
    struct collector *to = arg;
    (void)member;
    to->count++;
    return to->count != to->limit;
}

/* Takes the set. */
static void reply_set(struct cmd_ctx *c, struct set *s)
{
    resp_set(c->out, set_count(s));
    struct set_iter it = set_iter(s);
    struct span member;
    while (set_next(&it, &member)) {
        resp_bulk_span(c->out, member);
    }
    store_lazy_add(c->store, VAL_SET, s);
}

/* Takes the set. */
static void store_set(struct cmd_ctx *c, struct set *s)
{
    size_t count = set_count(s);
    collection_store(c, c->argv[1], VAL_SET, s);
    resp_int(c->out, (int64_t)count);
}

void sunion_command(struct cmd_ctx *c)
{
    struct sources src;
    if (sources_open(c, &src, 1, c->argc - 1)) {
        reply_set(c, union_of(&src, 0, c->config->set_max_intset_entries));
        sources_close(&src);
    }
}

void sunionstore_command(struct cmd_ctx *c)
{
    struct sources src;
    if (sources_open(c, &src, 2, c->argc - 2)) {
        store_set(c, union_of(&src, 0, c->config->set_max_intset_entries));
        sources_close(&src);
    }
}

void sdiff_command(struct cmd_ctx *c)
{
    struct sources src;
    if (sources_open(c, &src, 1, c->argc - 1)) {
        reply_set(c, difference_of(c, &src));
        sources_close(&src);
    }
}

void sdiffstore_command(struct cmd_ctx *c)
{
    struct sources src;
    if (sources_open(c, &src, 2, c->argc - 2)) {
        store_set(c, difference_of(c, &src));
        sources_close(&src);
    }
}

void sinter_command(struct cmd_ctx *c)
{
    struct sources src;
    if (sources_open(c, &src, 1, c->argc - 1)) {
        struct collector to = {.c = c};
        size_t mark = resp_defer(c->out);
        intersect(&src, reply_member, &to);
        resp_defer_end(c->out, mark, RESP_SET, to.count);
        sources_close(&src);
    }
}

void sinterstore_command(struct cmd_ctx *c)
{
    struct sources src;
    if (sources_open(c, &src, 2, c->argc - 2)) {
        struct collector to = {.c = c, .set = set_new()};
        intersect(&src, keep_member, &to);
        store_set(c, to.set);
        sources_close(&src);
    }
}

void sintercard_command(struct cmd_ctx *c)
{
    int64_t keys = 0;
    int64_t limit = 0;
    if (!cmd_range(c, c->argv[1], 1, INT64_MAX, &keys, "ERR numkeys should be greater than 0")) {
        return;
    }
    if (keys > c->argc - 2) {
        resp_error(c->out, "ERR Number of keys can't be greater than number of args");
        return;
    }
    for (int i = 2 + (int)keys; i < c->argc; i += 2) {
        if (!span_is(c->argv[i], "limit") || i + 1 == c->argc) {
            cmd_syntax_error(c);
            return;
        }
        if (!cmd_range(c, c->argv[i + 1], 0, INT64_MAX, &limit, "ERR LIMIT can't be negative")) {
            return;
        }
    }
    struct sources src;
    if (sources_open(c, &src, 2, (int)keys)) {
        struct collector to = {.c = c, .limit = (size_t)limit};
        intersect(&src, count_member, &to);
        resp_int(c->out, (int64_t)to.count);
        sources_close(&src);
    }
}

int sintercard_keys(const struct span *argv, int argc, int *idx, int max)
{
    return collection_numkeys(argv, argc, 1, idx, max);
}
