/* The model store of a replica: what the core's vtable sees, references, effects, and the ledger:
 * what an update makes of a key must be the same at every replica that runs it. */
#include <string.h>

#include "coherence/mutant.h"
#include "common/mem.h"
#include "common/must.h"
#include "tests/sim/world_hermes.h"

/* ---- references ---- */

void hw_blobs_init(struct hw *w)
{
    w->limbo = UINT32_MAX;
    w->free_blob = UINT32_MAX;
    for (uint32_t i = HW_BLOBS_MAX; i-- > 1;) {
        w->blobs[i].next = w->free_blob;
        w->free_blob = i;
    }
}

uint32_t hw_blob_new(struct hw *w, const struct hw_effect *e)
{
    uint32_t b = w->free_blob;
    must(b != UINT32_MAX);
    w->free_blob = w->blobs[b].next;
    w->blobs[b] = (struct hw_blob){.refs = 1, .effect = *e};
    w->blobs_used++;
    return b;
}

/* Freed when the outbox has been carried out: it may name this one. */
void hw_blob_drop(struct hw *w, uint32_t b)
{
    must(b != 0 && b < HW_BLOBS_MAX && w->blobs[b].refs > 0);
    if (--w->blobs[b].refs == 0) {
        w->blobs[b].next = w->limbo;
        w->limbo = b;
        w->blobs_used--;
    }
}

void hw_limbo_empty(struct hw *w)
{
    while (w->limbo != UINT32_MAX) {
        uint32_t b = w->limbo;
        w->limbo = w->blobs[b].next;
        w->blobs[b].next = w->free_blob;
        w->free_blob = b;
    }
}

/* Keys are numbers; the reference is the number + 1 with a bit on top. */
#define KEY_REF (UINT64_C(1) << 40)

void hw_key(struct hermes_key *key, uint64_t index)
{
    *key = (struct hermes_key){/* some collide */ .hash =
                                   (index < 16 ? index : index & ~UINT64_C(1)) * 77,
                               .ref = {KEY_REF | (index + 1), 8},
                               .slot = (uint16_t)(index % HW_SLOTS)};
}

uint64_t hw_key_index(const struct hermes_key *key)
{
    must((key->ref.handle & KEY_REF) != 0);
    return (key->ref.handle & ~KEY_REF) - 1;
}

/* ---- the store ---- */

struct place { /* the ctx of a vtable */
    struct sim *s;
    unsigned node;
};
static struct place places[HW_REPLICAS_MAX];

static struct hw_node *node_of(void *ctx)
{
    const struct place *p = ctx;
    return &hw_of(p->s)->nodes[p->node];
}

static struct hw_entry *entry_of(void *ctx, const struct hermes_key *key)
{
    return &node_of(ctx)->entries[hw_key_index(key)];
}

static void store_get(void *ctx, const struct hermes_key *key, struct hermes_meta *out)
{
    const struct hw_entry *e = entry_of(ctx, key);
    *out = (struct hermes_meta){.ts = e->ts,
                                .generation = e->generation,
                                .expire_ms = e->v.live ? e->expire_ms : 0,
                                .live = e->v.live,
                                .hot = e->hot};
}

static void store_mark(void *ctx, const struct hermes_key *key, uint8_t state)
{
    struct hw_entry *e = entry_of(ctx, key);
    e->state = state;
    e->present = state != 0 || e->ts != 0 || e->v.live;
}

/* The key as a command left or found it. */
static void note_after(struct hw *w, uint64_t op, const struct hw_entry *e)
{
    if (op != 0) {
        w->ops[op - 1].has_after = true;
        w->ops[op - 1].after = *e;
    }
}

bool hw_expired(const struct hw_entry *e, uint64_t now_ms)
{
    return e->v.live && e->expire_ms != 0 && now_ms > e->expire_ms;
}

int64_t hw_run_effect(struct hw_entry *e, uint8_t kind, int64_t arg, int64_t arg2,
                      uint64_t expire_ms, uint64_t now_ms)
{
    if (kind == HW_NO_CHANGE) {
        return 0;
    }
    if (hw_expired(e, now_ms)) {
        e->v = (struct hist_value){0};
        e->expire_ms = 0;
    }
    if (kind == HW_EXPIRE) {
        return 0;
    }
    int64_t ret = hist_apply(&e->v, (enum hist_kind)kind, arg, arg2);
    if (kind == HIST_SET || !e->v.live) {
        e->expire_ms = kind == HIST_SET ? expire_ms : 0;
    }
    return ret;
}

static int64_t run_effect(struct hw_entry *e, const struct hw_effect *f, uint64_t now_ms)
{
    return hw_run_effect(e, f->kind, f->arg, f->arg2, f->expire_ms, now_ms);
}

static bool store_prepare(void *ctx, const struct hermes_key *key, const struct hermes_op *op,
                          uint64_t wall_ms, struct coh_ref *effects)
{
    const struct place *p = ctx;
    struct hw *w = hw_of(p->s);
    struct hw_entry copy = *entry_of(ctx, key);
    if (op->kind == HERMES_EXPIRE) {
        if (!hw_expired(&copy, wall_ms)) {
            note_after(w, op->id, &copy);
            return false;
        }
        struct hw_effect del = {.kind = HW_EXPIRE};
        node_of(ctx)->holds++;
        *effects = (struct coh_ref){hw_blob_new(w, &del), sizeof del};
        return true;
    }
    const struct hw_effect *f = &w->blobs[op->effects.handle].effect;
    bool was_expired = hw_expired(&copy, wall_ms);
    struct hist_value before = copy.v;
    int64_t ret = run_effect(&copy, f, wall_ms);
    bool same = copy.v.live == before.live && copy.v.value == before.value &&
                copy.v.length == before.length;
    if (same && !was_expired && (f->kind == HIST_DEL || f->kind == HIST_CAS)) {
        w->ops[op->id - 1].h.ret = ret;
        note_after(w, op->id, entry_of(ctx, key));
        return false;
    }
    w->blobs[op->effects.handle].refs++;
    node_of(ctx)->holds++;
    *effects = op->effects;
    return true;
}

static uint64_t ledger_hash(uint64_t key, uint64_t ts)
{
    uint64_t h = (ts ^ key << 50) * UINT64_C(0x9E3779B97F4A7C15);
    return h >> 32;
}

/* The first replica to run an update writes down what it made; the others must make the same. */
void hw_ledger(struct sim *s, unsigned node, uint64_t key, const struct hw_entry *e,
               const struct hermes_update *u, const struct hw_effect *f)
{
    struct hw *w = hw_of(s);
    uint64_t i = ledger_hash(key, u->ts) % HW_LEDGER_SIZE;
    for (; w->ledger[i].ts != 0; i = (i + 1) % HW_LEDGER_SIZE) {
        struct hw_applied *a = &w->ledger[i];
        if (a->key == key && a->ts == u->ts) {
            if (a->v.live != e->v.live || a->v.value != e->v.value || a->hot != e->hot ||
                a->generation != e->generation) {
                sim_fail(s,
                         "node %u: key %llu at ts %llx has value %lld here and %lld elsewhere (hot "
                         "%d %d, gen %llu %llu)",
                         node, (unsigned long long)key, (unsigned long long)u->ts,
                         (long long)e->v.value, (long long)a->v.value, e->hot, a->hot,
                         (unsigned long long)e->generation, (unsigned long long)a->generation);
            }
            return;
        }
    }
    must(w->ledger_count < HW_LEDGER_SIZE - 1);
    w->ledger_count++;
    w->ledger[i] =
        (struct hw_applied){key, u->ts, u->base, e->v, e->hot, u->rmw, e->generation, *f};
}

static void store_apply(void *ctx, const struct hermes_key *key, const struct hermes_update *u,
                        uint64_t op)
{
    const struct place *p = ctx;
    struct hw *w = hw_of(p->s);
    struct hw_entry *e = entry_of(ctx, key);
    struct hw_effect none = {.kind = HW_NO_CHANGE};
    const struct hw_effect *f =
        u->effects.handle == 0 ? &none : &w->blobs[u->effects.handle].effect;
    int64_t ret = run_effect(e, f, u->now_ms);
    bool forget = MUTANT(H8_NO_TOMBSTONE) && !e->v.live && !u->hot; /* what the tombstone is for */
    e->ts = forget ? 0 : u->ts;
    e->hot = u->hot;
    e->generation = u->generation;
    e->present = true;
    hw_ledger(p->s, p->node, hw_key_index(key), e, u, f);
    if (op != 0) {
        w->ops[op - 1].h.ret = ret;
        w->ops[op - 1].h.base = u->base;
        w->ops[op - 1].h.has_base = u->rmw;
        note_after(w, op, e);
    }
}

/* Payload of a value: an effect blob with the parts of a hw_entry. */
static void store_install(void *ctx, const struct hermes_key *key, const struct hermes_meta *meta,
                          struct coh_ref payload)
{
    const struct place *p = ctx;
    struct hw_entry *e = entry_of(ctx, key);
    const struct hw_effect *v = &hw_of(p->s)->blobs[payload.handle].effect;
    e->v = meta->live ? (struct hist_value){true, v->arg, v->arg2} : (struct hist_value){0};
    e->expire_ms = v->expire_ms;
    e->ts = meta->ts;
    e->hot = meta->hot;
    e->generation = meta->generation;
    e->present = true;
}

static void store_read(void *ctx, const struct hermes_key *key, uint64_t op)
{
    const struct place *p = ctx;
    const struct hw_entry *e = entry_of(ctx, key);
    bool gone = !e->v.live || hw_expired(e, hw_wall_ms(p->s, p->node));
    note_after(hw_of(p->s), op, e);
    hw_of(p->s)->ops[op - 1].h.ret = gone ? HIST_ABSENT : e->v.value;
}

static bool store_prepare_multi(void *ctx, const struct hermes_op *op, uint64_t wall_ms,
                                struct coh_ref *effects)
{
    const struct place *p = ctx;
    if (!hw_prepare_multi(p->s, p->node, op, wall_ms)) {
        return false;
    }
    hw_of(p->s)->blobs[op->effects.handle].refs++;
    node_of(ctx)->holds++;
    *effects = op->effects;
    return true;
}

static void store_apply_multi(void *ctx, const struct hermes_part *parts, uint32_t count,
                              const struct hermes_update *u, uint64_t op)
{
    const struct place *p = ctx;
    hw_apply_multi(p->s, p->node, parts, count, u, op);
}

static bool store_same_key(void *ctx, struct coh_ref a, struct coh_ref b)
{
    (void)ctx;
    return a.handle == b.handle;
}

static struct coh_ref store_hold(void *ctx, struct coh_ref ref)
{
    const struct place *p = ctx;
    node_of(ctx)->holds++;
    if ((ref.handle & KEY_REF) == 0) {
        must(hw_of(p->s)->blobs[ref.handle].refs > 0);
        hw_of(p->s)->blobs[ref.handle].refs++;
    }
    return ref;
}

static void store_drop(void *ctx, struct coh_ref ref)
{
    const struct place *p = ctx;
    node_of(ctx)->holds--;
    if ((ref.handle & KEY_REF) == 0) {
        hw_blob_drop(hw_of(p->s), (uint32_t)ref.handle);
    }
}

static size_t store_scan(void *ctx, uint64_t *cursor, size_t max, struct hermes_key *out)
{
    const struct hw_node *n = node_of(ctx);
    uint64_t keys = hw_of(((const struct place *)ctx)->s)->config.keys;
    size_t count = 0;
    uint64_t i = *cursor;
    max = max < 4 ? max : 4; /* several slices even with few keys */
    for (; i < keys && count < max; i++) {
        if (n->entries[i].present) {
            hw_key(&out[count++], i);
        }
    }
    *cursor = i < keys ? i : 0;
    return count;
}

static bool store_purge(void *ctx, uint16_t slot, uint64_t version, uint64_t *generation)
{
    struct hw_node *n = node_of(ctx);
    unsigned keys = hw_of(((const struct place *)ctx)->s)->config.keys;
    unsigned dropped = 0;
    for (uint64_t i = slot; i < keys; i += HW_SLOTS) {
        struct hw_entry *e = &n->entries[i];
        if (!e->present || e->v.live || e->hot || ts_version(e->ts) > version || e->state != 0) {
            continue;
        }
        if (dropped == 4) {
            return false; /* the rest with the next call */
        }
        *generation = e->generation > *generation ? e->generation : *generation;
        memset(e, 0, sizeof *e);
        dropped++;
    }
    return true;
}

void hw_store(struct sim *s, unsigned node, struct hermes_store *out)
{
    places[node] = (struct place){s, node};
    *out = (struct hermes_store){.ctx = &places[node],
                                 .get = store_get,
                                 .mark = store_mark,
                                 .prepare = store_prepare,
                                 .apply = store_apply,
                                 .prepare_multi = store_prepare_multi,
                                 .apply_multi = store_apply_multi,
                                 .install = store_install,
                                 .read = store_read,
                                 .same_key = store_same_key,
                                 .hold = store_hold,
                                 .drop = store_drop,
                                 .scan = store_scan,
                                 .purge = store_purge};
}
