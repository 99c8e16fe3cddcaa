/* Scanning, random entries, and samples of what has an expiry. */
#include "backends/store/store_private.h"

/* positions use the 40 top bits of a hash: more than there are buckets */
#define CURSOR_SHIFT 24u
#define RANDOM_TRIES 100u
#define TTL_SAMPLES 50u
#define SAMPLE_BUCKETS 1024u /* bound of one walk for expiring entries */
#define SAMPLE_SEGS 256u

uint64_t store_scan(struct store *s, uint64_t cursor, size_t count, store_scan_fn fn, void *arg)
{
    uint64_t pos = cursor << CURSOR_SHIFT;
    size_t visited = 0;
    size_t buckets = count > SIZE_MAX / 10 ? SIZE_MAX : count * 10;
    do {
        pos = table_gather(&s->table, pos, &s->scratch);
        for (size_t i = 0; i < s->scratch.count; i++) {
            if (!entry_dead(s, s->scratch.e[i])) {
                fn(arg, s->scratch.e[i]);
            }
        }
        visited += s->scratch.count;
    } while (pos != 0 && visited < count && --buckets != 0);
    return pos >> CURSOR_SHIFT;
}

static bool random_fits(const struct store *s, char *slot, int db, bool with_expiry)
{
    if (slot == NULL || (with_expiry && !slot_expires(slot))) {
        return false;
    }
    const struct entry *e = slot_entry(slot);
    return entry_live(s, e) && (db < 0 || key_db(ent_key(e)) == (unsigned)db);
}

static struct entry *first_in(const struct store *s, const struct seg *seg, int db,
                              bool with_expiry)
{
    for (unsigned i = 0; i < seg->buckets * BUCKET_SLOTS; i++) {
        char *slot = seg->b[i / BUCKET_SLOTS].slot[i % BUCKET_SLOTS];
        if (random_fits(s, slot, db, with_expiry)) {
            return slot_entry(slot);
        }
    }
    return NULL;
}

/* The first entry that fits from a position on, around the whole table. */
static struct entry *first_from(const struct store *s, uint64_t pos, int db, bool with_expiry)
{
    uint64_t start = table_dirent(&s->table, pos)->seg->prefix;
    uint64_t at = start;
    do {
        const struct seg *seg = table_dirent(&s->table, at)->seg;
        struct entry *e =
            with_expiry && seg->expiring == 0 ? NULL : first_in(s, seg, db, with_expiry);
        if (e != NULL) {
            return e;
        }
        at = seg_end(seg);
    } while (at != start);
    return NULL;
}

struct entry *store_random(struct store *s, int db, uint64_t *rng, bool with_expiry)
{
    uint64_t there = 0;
    for (int i = db < 0 ? 0 : db; i <= (db < 0 ? (int)DB_COUNT - 1 : db); i++) {
        there += with_expiry ? s->expires[i] : s->count[i];
    }
    if (there == 0) {
        return NULL;
    }
    for (unsigned i = 0; i < RANDOM_TRIES; i++) {
        uint64_t r = store_random_u64(rng);
        const struct seg *seg = table_dirent(&s->table, r)->seg;
        uint64_t pick = store_random_u64(rng);
        unsigned b = (unsigned)((uint32_t)pick * (uint64_t)seg->buckets >> 32);
        char *slot = seg->b[b].slot[(pick >> 32) % BUCKET_SLOTS];
        if (random_fits(s, slot, db, with_expiry)) {
            return slot_entry(slot);
        }
    }
    return first_from(s, store_random_u64(rng), db, with_expiry);
}

/* ---- expiry ---- */

/* Visits entries with an expiry from a position on, bucket by bucket as they lie; segments without
 * any are skipped. Ends after a bounded walk, at the end of a full round, or when fn says so.
 * Returns where to go on. */
typedef bool (*expiring_fn)(void *arg, struct entry *e);

static bool visit_bucket(const struct store *s, const struct bucket *b, expiring_fn fn, void *arg)
{
    bool enough = false;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        if (slot_expires(b->slot[i]) && entry_live(s, slot_entry(b->slot[i]))) {
            enough |= fn(arg, slot_entry(b->slot[i]));
        }
    }
    return enough;
}

static bool visit_spilled(const struct store *s, const struct seg *seg, expiring_fn fn, void *arg)
{
    bool enough = false;
    for (uint32_t i = 0; i < seg->spill_count && !enough; i++) {
        if (slot_expires(seg->spill[i]) && entry_live(s, slot_entry(seg->spill[i]))) {
            enough = fn(arg, slot_entry(seg->spill[i]));
        }
    }
    return enough;
}

static uint64_t visit_expiring(const struct store *s, uint64_t pos, expiring_fn fn, void *arg)
{
    const struct table *t = &s->table;
    unsigned buckets = 0;
    uint64_t first = table_dirent(t, pos)->seg->prefix;
    for (unsigned segs = 0; segs < SAMPLE_SEGS && buckets < SAMPLE_BUCKETS; segs++) {
        const struct seg *seg = table_dirent(t, pos)->seg;
        unsigned b = table_bucket(seg->depth, seg->buckets, pos);
        for (; seg->expiring != 0 && b < seg->buckets; b++, buckets++) {
            if (visit_bucket(s, &seg->b[b], fn, arg)) {
                return seg_bucket_start(seg, b + 1);
            }
        }
        pos = seg_end(seg);
        if (visit_spilled(s, seg, fn, arg) || pos == first) {
            break;
        }
    }
    return pos;
}

struct expired_sample {
    uint64_t now_ms;
    struct entry **found;
    size_t count, max;
    size_t samples, seen, expired;
};

static bool sample_one(void *arg, struct entry *e)
{
    struct expired_sample *x = arg;
    x->seen++;
    if (entry_expired_at(ent_expire(e), x->now_ms)) {
        x->expired++;
        if (x->count < x->max && (e->flags & ENT_HOT) == 0 && entry_state(e) == 0) {
            x->found[x->count++] = e;
        }
    }
    return x->seen >= x->samples || x->count == x->max;
}

size_t store_sample_expired(struct store *s, uint64_t now_ms, size_t samples, struct entry **found,
                            size_t max, bool *worth)
{
    store_saw_time(s, now_ms);
    struct expired_sample x = {.now_ms = now_ms, .found = found, .max = max, .samples = samples};
    *worth = false;
    if (max == 0 || samples == 0) {
        return 0;
    }
    s->expire_pos = visit_expiring(s, s->expire_pos, sample_one, &x);
    *worth = x.count != 0 && x.expired * 4 > x.seen;
    return x.count;
}

struct ttl_sample {
    uint64_t now_ms, sum, count;
    unsigned db;
};

static bool ttl_one(void *arg, struct entry *e)
{
    struct ttl_sample *x = arg;
    uint64_t expire = ent_expire(e);
    if (expire > x->now_ms && key_db(ent_key(e)) == x->db) {
        x->sum += expire - x->now_ms;
        x->count++;
    }
    return x->count >= TTL_SAMPLES;
}

uint64_t store_avg_ttl_ms(const struct store *s, unsigned db, uint64_t now_ms)
{
    struct ttl_sample x = {.now_ms = now_ms, .db = db};
    if (s->expires[db] != 0) {
        visit_expiring(s, 0, ttl_one, &x);
    }
    return x.count == 0 ? 0 : x.sum / x.count;
}
