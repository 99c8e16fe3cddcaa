/* The table of watched keys: open addressing, emptied as a whole. */
#include "backends/node/watch.h"

#include <string.h>

#include "common/mem.h"

#define PLACES 16384u /* a power of two */
#define FULL (PLACES / 2)

struct place {
    char *key; /* NULL: free */
    size_t len;
    uint64_t version;
};

struct watch_table {
    uint64_t last; /* number given */
    uint32_t count;
    struct place places[PLACES];
};

struct watch_table *watch_new(void)
{
    return mem_zalloc(sizeof(struct watch_table));
}

static void empty(struct watch_table *t)
{
    for (uint32_t i = 0; t->count != 0 && i < PLACES; i++) {
        if (t->places[i].key != NULL) {
            mem_free(t->places[i].key);
            t->places[i] = (struct place){0};
            t->count--;
        }
    }
}

void watch_free(struct watch_table *t)
{
    if (t != NULL) {
        empty(t);
        mem_free(t);
    }
}

static uint32_t find(const struct watch_table *t, struct span key)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < key.len; i++) {
        h = (h ^ (unsigned char)key.p[i]) * 0x100000001B3u;
    }
    uint32_t i = (uint32_t)(h ^ h >> 32) & (PLACES - 1);
    while (t->places[i].key != NULL && !span_eq(span_of(t->places[i].key, t->places[i].len), key)) {
        i = (i + 1) & (PLACES - 1);
    }
    return i;
}

void watch_add(struct watch_table *t, struct span key)
{
    if (t->places[find(t, key)].key != NULL) {
        return;
    }
    if (t->count >= FULL) {
        empty(t);
    }
    struct place *p = &t->places[find(t, key)];
    p->key = mem_alloc(key.len + 1);
    memcpy(p->key, key.p, key.len);
    p->len = key.len;
    p->version = ++t->last;
    t->count++;
}

uint64_t watch_version(const struct watch_table *t, struct span key)
{
    return t->places[find(t, key)].version;
}

void watch_changed(struct watch_table *t, struct span key)
{
    struct place *p = &t->places[find(t, key)];
    if (p->key != NULL) {
        p->version = ++t->last;
    }
}

void watch_changed_all(struct watch_table *t)
{
    empty(t);
}

bool watch_any(const struct watch_table *t)
{
    return t->count != 0;
}
