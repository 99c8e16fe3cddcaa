/* Keys by number. A key is found by hash and the driver's comparison of bytes; each knows its place
 * in the heap of deadlines. */
#include "coherence/keytab.h"

#include <string.h>

#include "common/must.h"

static uint32_t bucket_count(uint32_t capacity)
{
    uint32_t n = 16;
    while (n < capacity) {
        n *= 2;
    }
    return n;
}

static size_t round_up(size_t n)
{
    return (n + 15u) & ~(size_t)15u;
}

size_t keytab_size(uint32_t capacity)
{
    return round_up(capacity * sizeof(struct keytab_slot)) +
           round_up(bucket_count(capacity) * sizeof(uint32_t)) +
           round_up(capacity * sizeof(uint32_t));
}

void keytab_init(struct keytab *t, void *memory, uint32_t capacity,
                 bool (*same_key)(void *ctx, struct coh_ref a, struct coh_ref b), void *ctx)
{
    must(capacity > 0);
    char *at = memory;
    memset(memory, 0, keytab_size(capacity));
    *t = (struct keytab){.capacity = capacity,
                         .bucket_mask = bucket_count(capacity) - 1,
                         .same_key = same_key,
                         .ctx = ctx};
    t->slots = (void *)at;
    at += round_up(capacity * sizeof *t->slots);
    t->buckets = (void *)at;
    at += round_up(bucket_count(capacity) * sizeof *t->buckets);
    t->heap = (void *)at;
    memset(t->buckets, 0xFF, bucket_count(capacity) * sizeof *t->buckets);
    for (uint32_t i = 0; i < capacity; i++) {
        t->slots[i].next = i + 1 < capacity ? i + 1 : KEYTAB_NONE;
    }
}

static uint32_t *bucket_of(const struct keytab *t, uint64_t hash)
{
    return &t->buckets[(uint32_t)(hash ^ hash >> 32) & t->bucket_mask];
}

uint32_t keytab_find(const struct keytab *t, const struct hermes_key *key)
{
    uint32_t i = *bucket_of(t, key->hash);
    for (; i != KEYTAB_NONE; i = t->slots[i].next) {
        const struct hermes_key *k = &t->slots[i].key;
        if (k->hash == key->hash && k->slot == key->slot && t->same_key(t->ctx, k->ref, key->ref)) {
            break;
        }
    }
    return i;
}

uint32_t keytab_take(struct keytab *t, const struct hermes_key *key)
{
    must(t->used < t->capacity);
    uint32_t i = t->free;
    struct keytab_slot *s = &t->slots[i];
    uint32_t *bucket = bucket_of(t, key->hash);
    t->free = s->next;
    t->used++;
    *s = (struct keytab_slot){.key = *key,
                              .deadline = UINT64_MAX,
                              .next = *bucket,
                              .heap_pos = KEYTAB_NONE,
                              .used = true};
    *bucket = i;
    return i;
}

void keytab_give(struct keytab *t, uint32_t i)
{
    struct keytab_slot *s = &t->slots[i];
    must(i < t->capacity && s->used);
    keytab_deadline(t, i, UINT64_MAX);
    uint32_t *at = bucket_of(t, s->key.hash);
    while (*at != i) {
        at = &t->slots[*at].next;
    }
    *at = s->next;
    s->used = false;
    s->next = t->free;
    t->free = i;
    t->used--;
}

/* ---- deadlines ---- */

static void put(struct keytab *t, uint32_t at, uint32_t i)
{
    t->heap[at] = i;
    t->slots[i].heap_pos = at;
}

static uint64_t due(const struct keytab *t, uint32_t at)
{
    return t->slots[t->heap[at]].deadline;
}

static void up(struct keytab *t, uint32_t at)
{
    uint32_t i = t->heap[at];
    while (at > 0 && due(t, (at - 1) / 2) > t->slots[i].deadline) {
        put(t, at, t->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(t, at, i);
}

static void down(struct keytab *t, uint32_t at)
{
    uint32_t i = t->heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= t->heap_count) {
            break;
        }
        if (child + 1 < t->heap_count && due(t, child + 1) < due(t, child)) {
            child++;
        }
        if (due(t, child) >= t->slots[i].deadline) {
            break;
        }
        put(t, at, t->heap[child]);
        at = child;
    }
    put(t, at, i);
}

void keytab_deadline(struct keytab *t, uint32_t i, uint64_t at)
{
    struct keytab_slot *s = &t->slots[i];
    if (s->deadline == at) {
        return;
    }
    s->deadline = at;
    if (at != UINT64_MAX && s->heap_pos == KEYTAB_NONE) {
        put(t, t->heap_count++, i);
        up(t, s->heap_pos);
    } else if (at != UINT64_MAX) {
        up(t, s->heap_pos);
        down(t, s->heap_pos);
    } else if (s->heap_pos != KEYTAB_NONE) {
        uint32_t hole = s->heap_pos;
        s->heap_pos = KEYTAB_NONE;
        t->heap_count--;
        if (hole < t->heap_count) {
            put(t, hole, t->heap[t->heap_count]);
            up(t, hole);
            down(t, t->slots[t->heap[hole]].heap_pos);
        }
    }
}

uint32_t keytab_first(const struct keytab *t)
{
    return t->heap_count == 0 ? KEYTAB_NONE : t->heap[0];
}

uint64_t keytab_next_deadline(const struct keytab *t)
{
    return t->heap_count == 0 ? UINT64_MAX : due(t, 0);
}
