/* Finding hot keys: sampling, and what a worker does at the end of an epoch.
 *
 *   at the full second   EXPORT  every worker writes the top of its summary, by owner, into the
 *                                boxes it has for the owners, halves its counts, and tells them
 *   100 ms later         FREEZE  an owner takes what came as the epoch's result, and sends it to
 * the coordinator of its partition 200 ms later         DECIDE  the coordinator hands the sum of
 * what came to the hot set's core
 *
 * A box belongs to one pair of workers. It is filled by one and emptied by the other; which of them
 * may touch it, its flag says. The boxes outlive all workers, so a message that is never taken is
 * harmless. */
#include "proxy/finder.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <xxhash.h>

#include "coherence/counts.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/slot.h"
#include "proxy/hot.h"

/* Keys handed on per epoch: as many as may be hot, within these. */
#define TOP_LEAST 256u
#define TOP_MOST 8192u
/* A key that was sampled more seldom is not handed on; less often than SAMPLES_SURE it may be there
 * by chance, and does not become hot for it. */
#define SAMPLES_MIN 2u
#define SAMPLES_SURE 5u
#define KEYS_MAX 64 /* of one request */

#define WORKERS_MAX 256u
#define EPOCH_MS 1000u
#define FREEZE_MS 100u
#define DECIDE_MS 200u /* after FREEZE: reports of loaded proxies come late */

enum phase { PHASE_EXPORT, PHASE_FREEZE, PHASE_DECIDE };

struct box {
    atomic_bool full;  /* false: the sender's; true: the owner's */
    uint32_t interval; /* of the sender's samples */
    struct buf counts;
    struct finder *owner;
};

/* How often the keys of one owner are used, for OBJECT FREQ at any worker: hash without its lower
 * byte, and the level in it. Written by the owner, at places that follow from the hash. */
#define LEVELS 8192u
#define LEVEL_PROBES 4u
struct levels {
    _Atomic uint64_t at[LEVELS];
};

static struct {
    pthread_mutex_t lock; /* guards users; the rest is set before any worker's loop runs */
    unsigned workers, users;
    struct box *boxes;     /* [sender * workers + owner] */
    struct levels *levels; /* [owner] */
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct box *box_of(unsigned sender, unsigned owner)
{
    return &shared.boxes[sender * shared.workers + owner];
}

/* ---- sampling ---- */

/* Any good hash will do: no other process sees it. */
static uint64_t hash_of(struct span inner)
{
    return XXH3_64bits(inner.p, inner.len);
}

struct inner {
    char bytes[SKETCH_KEY_MAX];
    struct span key;
};

/* The inner form of a client's key; NULL: too long. Borrows key where it can. */
static const struct span *inner_of(struct inner *to, unsigned db, struct span key)
{
    to->key = key;
    if (key_needs_prefix(db, key)) {
        if (key.len + 2 > sizeof to->bytes) {
            return NULL;
        }
        struct buf b = {.p = to->bytes, .cap = sizeof to->bytes};
        key_add_inner(&b, db, key);
        to->key = buf_span(&b);
    }
    return to->key.len <= SKETCH_KEY_MAX ? &to->key : NULL;
}

static enum sketch_use use_of(const struct cmd *cmd)
{
    if ((cmd->flags & CMD_WRITE) != 0) {
        return SKETCH_WRITE;
    }
    return (cmd->flags & CMD_HOTREAD) != 0 ? SKETCH_READ : SKETCH_OTHER;
}

static void take_key(struct finder *f, unsigned db, struct span key, enum sketch_use use,
                     uint32_t weight)
{
    if (f->rules.prefix_count != 0 && hot_rules_mode(&f->rules, key) == HOT_OFF) {
        return;
    }
    struct inner in;
    const struct span *inner = inner_of(&in, db, key);
    if (inner == NULL) {
        f->counts.too_long++;
        return;
    }
    (void)sketch_add(f->seen, hash_of(*inner), *inner, use, weight);
}

void finder_take(struct finder *f, const struct cmd *cmd, const struct span *argv, int argc,
                 unsigned db)
{
    uint32_t weight = sampler_take(&f->sampler);
    if (!f->on || (cmd->first_key == 0 && cmd->keys == NULL)) {
        return;
    }
    int few[KEYS_MAX];
    int n = cmd_get_keys(cmd, argv, argc, few, KEYS_MAX);
    enum sketch_use use = use_of(cmd);
    f->counts.samples++;
    for (int i = 0; i < n; i++) {
        take_key(f, db, argv[few[i]], use, weight);
    }
}

/* ---- how often ---- */

static unsigned level_of(uint64_t uses)
{
    double level = 12.75 * log2(1 + (double)uses / FINDER_EPOCHS);
    return level < 1 ? 1 : level > 255 ? 255 : (unsigned)level;
}

static void levels_clear(const struct finder *f)
{
    struct levels *l = &shared.levels[f->pw->w->index];
    for (uint32_t i = 0; i < LEVELS; i++) {
        atomic_store_explicit(&l->at[i], 0, memory_order_relaxed); /* numbers on their own */
    }
}

/* A reader that comes meanwhile may find too little. */
static void levels_publish(const struct finder *f)
{
    struct levels *l = &shared.levels[f->pw->w->index];
    levels_clear(f);
    uint32_t n = sketch_top(f->frozen, f->top, f->top_max);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t hash = f->top[i].hash;
        for (uint32_t k = 0; k < LEVEL_PROBES; k++) {
            _Atomic uint64_t *at = &l->at[((hash >> 32) + k) % LEVELS];
            if (atomic_load_explicit(at, memory_order_relaxed) == 0) {
                uint64_t level = level_of(sketch_item_sum(&f->top[i]));
                atomic_store_explicit(at, (hash & ~(uint64_t)255) | level, memory_order_relaxed);
                break;
            }
        }
    }
}

static unsigned level_here(unsigned owner, uint64_t hash)
{
    const struct levels *l = &shared.levels[owner];
    for (uint32_t k = 0; k < LEVEL_PROBES; k++) {
        uint64_t v =
            atomic_load_explicit(&l->at[((hash >> 32) + k) % LEVELS], memory_order_relaxed);
        if (((v ^ hash) & ~(uint64_t)255) == 0) {
            return (unsigned)(v & 255);
        }
    }
    return 0;
}

unsigned finder_frequency(const struct finder *f, unsigned db, struct span key)
{
    struct inner in;
    struct sketch_item item;
    const struct span *inner = inner_of(&in, db, key);
    if (inner == NULL || !f->on) {
        return 0;
    }
    uint64_t hash = hash_of(*inner);
    unsigned level = level_here(slot_of(key) % shared.workers, hash);
    if (sketch_find(f->seen, hash, *inner, &item)) { /* since the last epoch, or too seldom */
        unsigned mine = level_of(sketch_item_sum(&item));
        level = mine > level ? mine : level;
    }
    return level;
}

void finder_reset(struct finder *f)
{
    levels_clear(f);
    sketch_reset(f->seen);
    sketch_reset(f->mine);
    sketch_reset(f->frozen);
    sketch_reset(f->group);
}

/* ---- the end of an epoch ---- */

static void on_mail(void *arg)
{
    struct box *b = arg;
    struct finder *f = b->owner;
    const uint8_t *p = (const uint8_t *)buf_head(&b->counts);
    size_t left = buf_used(&b->counts);
    while (left != 0) {
        struct sketch_item item;
        size_t used = 0;
        enum err e = counts_get(p, left, &item, &used);
        must(e == OK); /* one of us wrote it */
        item.hash = hash_of(item.key);
        (void)sketch_add_item(f->mine, &item);
        p += used;
        left -= used;
    }
    f->interval = b->interval > f->interval ? b->interval : f->interval;
    b->counts.head = b->counts.len = 0;
    atomic_store_explicit(&b->full, false, memory_order_release); /* partner: export */
}

static void put(struct buf *b, const struct sketch_item *item)
{
    char *at = buf_reserve(b, COUNTS_ITEM_MAX);
    buf_commit(b, counts_put((uint8_t *)at, item));
}

static void export(struct finder *f)
{
    unsigned me = f->pw->w->index;
    unsigned n = shared.workers;
    bool free_box[WORKERS_MAX];
    for (unsigned o = 0; o < n; o++) {
        /* partner: on_mail */
        free_box[o] = !atomic_load_explicit(&box_of(me, o)->full, memory_order_acquire);
        f->counts.lost += !free_box[o];
    }
    uint64_t least = (uint64_t)SAMPLES_MIN * f->sampler.interval;
    uint32_t count = sketch_top(f->seen, f->top, f->top_max);
    for (uint32_t i = 0; i < count && sketch_item_sum(&f->top[i]) >= least; i++) {
        unsigned owner = slot_of_inner(f->top[i].key) % n;
        if (free_box[owner]) {
            put(&box_of(me, owner)->counts, &f->top[i]);
        }
    }
    for (unsigned o = 0; o < n; o++) {
        struct box *b = box_of(me, o);
        if (!free_box[o] || buf_used(&b->counts) == 0) {
            continue;
        }
        b->interval = f->sampler.interval;
        atomic_store_explicit(&b->full, true, memory_order_relaxed); /* the post publishes it */
        if (o == me) {
            on_mail(b);
        } else {
            loop_post(server_worker(f->pw->w->server, o)->loop, on_mail, b);
        }
    }
    sketch_halve(f->seen);
    sampler_epoch(&f->sampler);
    f->counts.epochs++;
}

static void freeze(struct finder *f)
{
    struct sketch *old = f->frozen;
    f->frozen = f->mine;
    f->mine = old;
    sketch_reset(old);
    levels_publish(f);
}

/* ---- the proxies' group ---- */

static void report(struct finder *f)
{
    uint32_t n = sketch_top(f->frozen, f->top, f->top_max);
    buf_commit(&f->payload,
               counts_begin((uint8_t *)buf_reserve(&f->payload, COUNTS_HEAD), f->interval));
    for (uint32_t i = 0; i < n; i++) {
        put(&f->payload, &f->top[i]);
    }
    f->interval = 1;
    hot_send_counts(f->pw, buf_span(&f->payload));
    f->payload.head = f->payload.len = 0;
}

static void on_counts(struct proxy_worker *pw, uint32_t sender, struct span payload)
{
    struct finder *f = pw->finder;
    const uint8_t *p = (const uint8_t *)payload.p;
    uint32_t interval = 0;
    (void)sender;
    f->counts.reports++;
    if (counts_start(p, payload.len, &interval) != OK) {
        f->counts.malformed++;
        return;
    }
    f->group_interval = interval > f->group_interval ? interval : f->group_interval;
    p += COUNTS_HEAD;
    for (size_t left = payload.len - COUNTS_HEAD; left != 0;) {
        struct sketch_item item;
        size_t used = 0;
        if (counts_get(p, left, &item, &used) != OK ||
            slot_of_inner(item.key) % shared.workers != pw->w->index) {
            f->counts.malformed++;
            return;
        }
        item.hash = hash_of(item.key);
        (void)sketch_add_item(f->group, &item);
        p += used;
        left -= used;
    }
}

static void decide_key(struct finder *f, const struct sketch_item *item)
{
    struct span key = key_outer(item->key);
    struct hot_counted counted = {
        .key = item->key,
        .reads = item->uses[SKETCH_READ] / FINDER_EPOCHS,
        .writes = item->uses[SKETCH_WRITE] / FINDER_EPOCHS,
        .denied = hot_rules_denied(&f->rules, key),
        .pinned = hot_rules_pinned(&f->rules, key),
    };
    uint64_t few = (uint64_t)f->pw->set->hot_reads_min - 1;
    if (sketch_item_sum(item) < (uint64_t)SAMPLES_SURE * f->group_interval && counted.reads > few) {
        counted.reads = few; /* enough to stay hot, not to become it */
    }
    hot_count_key(f->pw, &counted);
}

static void decide(struct finder *f)
{
    if (f->on && hot_coordinates(f->pw)) { /* who does not look does not judge */
        uint32_t n = sketch_top(f->group, f->top, f->top_max);
        for (uint32_t i = 0; i < n; i++) {
            decide_key(f, &f->top[i]);
        }
        hot_count_end(f->pw);
    }
    sketch_reset(f->group);
    f->group_interval = 1;
}

static void on_timer(void *arg)
{
    struct finder *f = arg;
    uint64_t next_ms = 0;
    switch ((enum phase)f->phase) {
    case PHASE_EXPORT:
        export(f);
        f->phase = PHASE_FREEZE;
        next_ms = FREEZE_MS;
        break;
    case PHASE_FREEZE:
        freeze(f);
        report(f);
        f->phase = PHASE_DECIDE;
        next_ms = DECIDE_MS;
        break;
    case PHASE_DECIDE:
        decide(f);
        f->phase = PHASE_EXPORT;
        next_ms = EPOCH_MS - clk_wall_ms() % EPOCH_MS;
        break;
    }
    loop_timer_start(f->timer, next_ms * 1000u);
}

/* ---- life ---- */

static struct sketch *sketch_make(uint32_t capacity)
{
    return sketch_init(mem_alloc(sketch_size(capacity)), capacity);
}

/* All workers start before the loop of any runs. */
static void join(struct finder *f)
{
    (void)pthread_mutex_lock(&shared.lock);
    if (shared.users++ == 0) {
        unsigned n = server_workers(f->pw->w->server);
        must(n >= 1 && n <= WORKERS_MAX);
        shared.workers = n;
        shared.boxes = mem_zalloc((size_t)n * n * sizeof *shared.boxes);
        shared.levels = mem_zalloc(n * sizeof *shared.levels);
    }
    for (unsigned i = 0; i < shared.workers; i++) {
        box_of(i, f->pw->w->index)->owner = f;
    }
    (void)pthread_mutex_unlock(&shared.lock);
}

struct finder *finder_start(struct proxy_worker *pw)
{
    struct finder *f = mem_zalloc(sizeof *f);
    f->pw = pw;
    int64_t hot = pw->set->hot_keys_max;
    f->top_max = hot < TOP_LEAST ? TOP_LEAST : hot > TOP_MOST ? TOP_MOST : (uint32_t)hot;
    f->seen = sketch_make(f->top_max * 2);
    f->mine = sketch_make(f->top_max);
    f->frozen = sketch_make(f->top_max);
    f->group = sketch_make(f->top_max);
    f->top = mem_alloc(f->top_max * sizeof *f->top);
    f->interval = f->group_interval = 1;
    sampler_init(&f->sampler, (uint32_t)clk_mono_ns() ^ (pw->w->index + 1) * 0x9E3779B9u);
    join(f);
    finder_configured(f);
    f->timer = loop_timer_new(pw->w->loop, on_timer, f);
    loop_timer_start(f->timer, (EPOCH_MS - clk_wall_ms() % EPOCH_MS) * 1000u);
    return f;
}

void finder_prepare(void)
{
    hot_on_counts(on_counts);
}

void finder_configured(struct finder *f)
{
    const struct proxy_settings *set = f->pw->set;
    hot_rules_set(&f->rules, &set->hot_pin, &set->hot_deny, &set->hot_prefix);
    f->on = set->hot_tracking;
    if (!f->on) {
        finder_reset(f);
    }
}

static void boxes_free(void)
{
    for (unsigned i = 0; i < shared.workers * shared.workers; i++) {
        buf_free(&shared.boxes[i].counts);
    }
    mem_free(shared.boxes);
    mem_free(shared.levels);
    shared.boxes = NULL;
    shared.levels = NULL;
}

void finder_stop(struct finder *f)
{
    if (f == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&shared.lock);
    if (--shared.users == 0) { /* the loops of all others have ended */
        boxes_free();
    }
    (void)pthread_mutex_unlock(&shared.lock);
    loop_timer_free(f->timer);
    hot_rules_free(&f->rules);
    mem_free(f->seen);
    mem_free(f->mine);
    mem_free(f->frozen);
    mem_free(f->group);
    buf_free(&f->payload);
    mem_free(f->top);
    mem_free(f);
}
