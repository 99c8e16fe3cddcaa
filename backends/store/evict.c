/* Eviction candidates.
 *
 * As in Redis a small pool keeps the best candidates seen so far and each call adds a sample to it,
 * so that the quality approaches the true order. A sample is a run of neighbouring buckets from a
 * random position, whose entries are fetched together. The pool remembers hashes, not pointers:
 * entries may move or go between calls; a candidate is looked up and judged anew when its turn
 * comes. */
#include "backends/store/store_private.h"

#define SAMPLE_MIN 16u
#define RANDOM_TRIES 64u

static bool policy_volatile(enum evict_policy p)
{
    return p == EVICT_VOLATILE_LRU || p == EVICT_VOLATILE_LFU || p == EVICT_VOLATILE_RANDOM ||
           p == EVICT_VOLATILE_TTL;
}

static bool may_evict(const struct store *s, const struct entry *e, enum evict_policy policy)
{
    return entry_live(s, e) && (e->flags & ENT_HOT) == 0 && entry_state(e) == 0 &&
           (!policy_volatile(policy) || (e->flags & ENT_EXPIRE) != 0);
}

static uint64_t score_of(const struct store *s, const struct entry *e, enum evict_policy policy,
                         uint64_t now_ms)
{
    switch (policy) {
    case EVICT_ALLKEYS_LRU:
    case EVICT_VOLATILE_LRU:
        return entry_idle_seconds(s, e, now_ms);
    case EVICT_ALLKEYS_LFU:
    case EVICT_VOLATILE_LFU:
        return 255u - entry_freq(s, e, now_ms);
    case EVICT_VOLATILE_TTL:
        return UINT64_MAX - ent_expire(e);
    case EVICT_NOEVICTION:
    case EVICT_ALLKEYS_RANDOM:
    case EVICT_VOLATILE_RANDOM:
        break;
    }
    return 0;
}

static void pool_add(struct store *s, uint64_t score, uint64_t hash)
{
    if (s->pool_count == POOL_SIZE && score <= s->pool[0].score) {
        return;
    }
    for (size_t i = 0; i < s->pool_count; i++) {
        if (s->pool[i].hash == hash) {
            return;
        }
    }
    if (s->pool_count == POOL_SIZE) {
        memmove(&s->pool[0], &s->pool[1], (POOL_SIZE - 1) * sizeof s->pool[0]);
        s->pool_count--;
    }
    size_t at = s->pool_count;
    while (at != 0 && s->pool[at - 1].score > score) {
        s->pool[at] = s->pool[at - 1];
        at--;
    }
    s->pool[at] = (struct pool_item){.score = score, .hash = hash};
    s->pool_count++;
}

static size_t sample_bucket(const struct store *s, const struct bucket *b, enum evict_policy policy,
                            struct entry **out)
{
    size_t n = 0;
    for (unsigned k = 0; k < BUCKET_SLOTS; k++) {
        __builtin_prefetch(b->slot[k]);
    }
    for (unsigned k = 0; k < BUCKET_SLOTS; k++) {
        bool fits = b->slot[k] != NULL && (!policy_volatile(policy) || slot_expires(b->slot[k]));
        if (fits && may_evict(s, slot_entry(b->slot[k]), policy)) {
            out[n++] = slot_entry(b->slot[k]);
        }
    }
    return n;
}

/* Collects at least SAMPLE_MIN entries that may go, as far as there are any, from a random position
 * on. */
static size_t sample(const struct store *s, enum evict_policy policy, uint64_t pos,
                     struct entry **out)
{
    const struct table *t = &s->table;
    size_t n = 0;
    unsigned skip = table_bucket(table_dirent(t, pos)->depth, table_dirent(t, pos)->buckets, pos);
    uint64_t start = table_dirent(t, pos)->seg->prefix;
    uint64_t at = start;
    do {
        const struct seg *seg = table_dirent(t, at)->seg;
        bool any = seg->expiring != 0 || !policy_volatile(policy);
        for (unsigned i = 0; any && i < seg->buckets && n < SAMPLE_MIN; i++) {
            n += sample_bucket(s, &seg->b[(i + skip) % seg->buckets], policy, out + n);
        }
        skip = 0;
        at = seg_end(seg);
    } while (at != start && n < SAMPLE_MIN);
    return n;
}

static struct entry *pool_take(struct store *s, enum evict_policy policy, uint64_t now_ms)
{
    while (s->pool_count != 0) {
        struct pool_item item = s->pool[--s->pool_count];
        struct entry *e = table_find_hash(&s->table, item.hash);
        if (e != NULL && may_evict(s, e, policy) && score_of(s, e, policy, now_ms) >= item.score) {
            return e;
        }
    }
    return NULL;
}

static struct entry *random_victim(struct store *s, enum evict_policy policy, uint64_t *rng)
{
    for (unsigned i = 0; i < RANDOM_TRIES; i++) {
        struct entry *e = store_random(s, -1, rng, policy == EVICT_VOLATILE_RANDOM);
        if (e == NULL || may_evict(s, e, policy)) {
            return e;
        }
    }
    struct entry *found[SAMPLE_MIN + BUCKET_SLOTS];
    size_t n = sample(s, policy, store_random_u64(rng), found);
    return n == 0 ? NULL : found[store_random_u64(rng) % n];
}

struct entry *store_evict_candidate(struct store *s, enum evict_policy policy, uint64_t now_ms,
                                    uint64_t *rng)
{
    store_saw_time(s, now_ms);
    if (policy == EVICT_NOEVICTION) {
        return NULL;
    }
    if (policy == EVICT_ALLKEYS_RANDOM || policy == EVICT_VOLATILE_RANDOM) {
        return random_victim(s, policy, rng);
    }
    if (policy != s->pool_policy) {
        s->pool_count = 0;
        s->pool_policy = policy;
    }
    struct entry *found[SAMPLE_MIN + BUCKET_SLOTS];
    for (int round = 0; round < 2; round++) {
        size_t n = sample(s, policy, store_random_u64(rng), found);
        for (size_t i = 0; i < n; i++) {
            pool_add(s, score_of(s, found[i], policy, now_ms),
                     table_hash(&s->table, ent_key(found[i])));
        }
        struct entry *e = pool_take(s, policy, now_ms);
        if (e != NULL) {
            return e;
        }
    }
    return NULL;
}
