/* A replica: the model store behind the core's vtable, and the driver: fill an input, step, carry
 * out the outputs.
 *
 * Checked at every step: what an update makes of a key is the same at every replica that runs it
 * (the ledger), and two replicas that would both answer a read of a key give the same answer. */
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

static void limbo_empty(struct hw *w)
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

static uint64_t key_index(const struct hermes_key *key)
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
    return &node_of(ctx)->entries[key_index(key)];
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

static bool expired(const struct hw_entry *e, uint64_t now_ms)
{
    return e->v.live && e->expire_ms != 0 && now_ms > e->expire_ms;
}

static int64_t run_effect(struct hw_entry *e, const struct hw_effect *f, uint64_t now_ms)
{
    if (f->kind == HW_NO_CHANGE) {
        return 0;
    }
    if (expired(e, now_ms)) {
        e->v = (struct hist_value){0};
        e->expire_ms = 0;
    }
    if (f->kind == HW_EXPIRE) {
        return 0;
    }
    int64_t ret = hist_apply(&e->v, (enum hist_kind)f->kind, f->arg, f->arg2);
    if (f->kind == HIST_SET || !e->v.live) {
        e->expire_ms = f->kind == HIST_SET ? f->expire_ms : 0;
    }
    return ret;
}

static bool store_prepare(void *ctx, const struct hermes_key *key, const struct hermes_op *op,
                          uint64_t wall_ms, struct coh_ref *effects)
{
    const struct place *p = ctx;
    struct hw *w = hw_of(p->s);
    struct hw_entry copy = *entry_of(ctx, key);
    if (op->kind == HERMES_EXPIRE) {
        if (!expired(&copy, wall_ms)) {
            return false;
        }
        struct hw_effect del = {.kind = HW_EXPIRE};
        node_of(ctx)->holds++;
        *effects = (struct coh_ref){hw_blob_new(w, &del), sizeof del};
        return true;
    }
    const struct hw_effect *f = &w->blobs[op->effects.handle].effect;
    bool was_expired = expired(&copy, wall_ms);
    struct hist_value before = copy.v;
    int64_t ret = run_effect(&copy, f, wall_ms);
    bool same = copy.v.live == before.live && copy.v.value == before.value &&
                copy.v.length == before.length;
    if (same && !was_expired && (f->kind == HIST_DEL || f->kind == HIST_CAS)) {
        w->ops[op->id - 1].h.ret = ret;
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
static void ledger(struct sim *s, unsigned node, uint64_t key, const struct hw_entry *e,
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
    ledger(p->s, p->node, key_index(key), e, u, f);
    if (op != 0) {
        w->ops[op - 1].h.ret = ret;
        w->ops[op - 1].h.base = u->base;
        w->ops[op - 1].h.has_base = u->rmw;
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
    bool gone = !e->v.live || expired(e, hw_wall_ms(p->s, p->node));
    hw_of(p->s)->ops[op - 1].h.ret = gone ? HIST_ABSENT : e->v.value;
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

/* ---- the driver ---- */

uint64_t hw_wall_ms(struct sim *s, unsigned node)
{
    return (uint64_t)((int64_t)(sim_clock(s, node) / SIM_MS) +
                      hw_of(s)->nodes[node].wall_offset_ms);
}

static unsigned place_of_id(const struct hw *w, uint32_t id)
{
    for (unsigned i = 0; i < w->config.replicas; i++) {
        if (w->nodes[i].id == id) {
            return i;
        }
    }
    return HW_REPLICAS_MAX;
}

static void put64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

#define PAYLOAD_BYTES 25u

static void send_out(struct sim *s, unsigned node, const struct hermes_out *o)
{
    struct hw *w = hw_of(s);
    const struct hermes_msg *m = &o->u.msg;
    uint8_t key[8];
    uint8_t payload[PAYLOAD_BYTES];
    struct msg_bytes b = {0};
    if (m->key.ref.handle != 0) {
        put64(key, key_index(&m->key));
        b.key = key;
        b.key_len = sizeof key;
    }
    struct hw_effect value = {0};
    const struct hw_effect *e = NULL;
    if (m->payload.handle != 0) {
        must(w->blobs[m->payload.handle].refs > 0 || w->limbo != UINT32_MAX);
        e = &w->blobs[m->payload.handle].effect;
    } else if (m->kind == MSG_HERMES_VALUE || m->kind == MSG_HERMES_PULL_VALUE) {
        const struct hw_entry *entry = &w->nodes[node].entries[key_index(&m->key)];
        value = (struct hw_effect){0, entry->v.value, entry->v.length, entry->expire_ms};
        e = &value;
    }
    if (e != NULL) {
        payload[0] = e->kind;
        put64(payload + 1, (uint64_t)e->arg);
        put64(payload + 9, (uint64_t)e->arg2);
        put64(payload + 17, e->expire_ms);
        b.payload = payload;
        b.payload_len = PAYLOAD_BYTES;
    }
    uint8_t frame[SIM_FRAME_MAX];
    size_t len = msg_encode(m, &b, frame, sizeof frame);
    const struct view *v = hermes_view(w->nodes[node].core);
    for (unsigned i = 0; i < view_count(v); i++) {
        unsigned to = (o->to_mask >> i & 1) != 0 ? place_of_id(w, v->ids[i]) : HW_REPLICAS_MAX;
        if (to < w->config.replicas) {
            sim_send(s, node, to, frame, len);
        }
    }
}

static void trace_out(struct sim *s, unsigned node)
{
    struct hw *w = hw_of(s);
    for (uint32_t i = 0; i < w->out.trace_count; i++) {
        const struct hermes_trace *t = &w->trace[i];
        sim_mark(s, (unsigned)t->mark);
        sim_hash(s, (uint64_t)t->mark << 32 ^ t->ts);
        if (s->verbose) {
            sim_note(s, "  n%u(%u) %s key %llu ts %llu.%u arg %llx", node, w->nodes[node].id,
                     hermes_mark_name(t->mark), (unsigned long long)t->key_hash / 77,
                     (unsigned long long)ts_version(t->ts), ts_id(t->ts),
                     (unsigned long long)t->arg);
        }
    }
    w->out.trace_count = 0;
}

/* Would it answer a read of this key now? */
static bool serves(struct sim *s, unsigned node, uint64_t key)
{
    const struct hw_node *n = &hw_of(s)->nodes[node];
    return s->nodes[node].up && n->core != NULL && n->entries[key].state == 0 &&
           hermes_may_read(n->core, sim_clock(s, node));
}

static void check_agreement(struct sim *s, unsigned node)
{
    struct hw *w = hw_of(s);
    for (uint64_t k = 0; k < w->config.keys; k++) {
        if (!serves(s, node, k)) {
            continue;
        }
        const struct hw_entry *a = &w->nodes[node].entries[k];
        for (unsigned j = 0; j < w->config.replicas; j++) {
            const struct hw_entry *b = &w->nodes[j].entries[k];
            if (j == node || !serves(s, j, k)) {
                continue;
            }
            bool same = a->v.live == b->v.live &&
                        (!a->v.live || (a->ts == b->ts && a->v.value == b->v.value));
            if (!same || a->hot != b->hot) {
                sim_fail(
                    s,
                    "nodes %u and %u both serve key %llu: ts %llx value %lld, ts %llx value %lld",
                    node, j, (unsigned long long)k, (unsigned long long)a->ts,
                    (long long)a->v.value, (unsigned long long)b->ts, (long long)b->v.value);
            }
        }
    }
}

static void check_grants(struct sim *s)
{
    struct hw *w = hw_of(s);
    for (uint16_t slot = 0; slot < HW_SLOTS; slot++) {
        for (unsigned i = 0; i < w->config.replicas; i++) {
            const struct hermes *holder = w->nodes[i].core;
            if (holder == NULL || !hermes_holds_grant(holder, slot)) {
                continue;
            }
            for (unsigned j = 0; j < w->config.replicas; j++) {
                const struct hermes *other = w->nodes[j].core;
                if (other != NULL && j != i &&
                    hermes_view(other)->epoch == hermes_view(holder)->epoch &&
                    !hermes_expelled(other) &&
                    (hermes_own_in_slot(other, slot) != 0 || hermes_holds_grant(other, slot))) {
                    sim_fail(s,
                             "node %u holds the grant of slot %u and node %u has an update under "
                             "way in it",
                             i, slot, j);
                }
            }
        }
    }
}

static enum err step(struct sim *s, unsigned node, struct hermes_in *in)
{
    struct hw *w = hw_of(s);
    struct hw_node *n = &w->nodes[node];
    in->now_ns = sim_clock(s, node); /* read now: after the input came in (H9) */
    in->wall_ms = hw_wall_ms(s, node);
    w->out.count = 0;
    w->out.trace = w->trace;
    w->out.trace_capacity = sizeof w->trace / sizeof w->trace[0];
    w->out.trace_count = 0;
    w->stepping = node;
    enum err e = hermes_step(n->core, in, &w->out);
    hermes_check(n->core);
    trace_out(s, node);
    for (uint32_t i = 0; i < w->out.count; i++) {
        const struct hermes_out *o = &w->out.out[i];
        switch (o->kind) {
        case HERMES_OUT_SEND:
            send_out(s, node, o);
            break;
        case HERMES_OUT_DONE:
            hw_done(s, node, &o->u.done);
            break;
        case HERMES_OUT_CAUGHT_UP:
            sim_note(s, "node %u has caught up", node);
            break;
        }
    }
    w->out.count = 0;
    limbo_empty(w);
    check_agreement(s, node);
    if (w->config.purge) {
        check_grants(s);
    }
    sim_wake_at(s, node, hermes_next_deadline(n->core));
    return e;
}

static const struct hermes_limits limits = {.records = 128,
                                            .ops = 64,
                                            .slots = HW_SLOTS,
                                            .resend_ns = 20 * SIM_MS,
                                            .replay_ns = 60 * SIM_MS,
                                            .seed = 1};

void hw_node_start(struct sim *s, unsigned node, uint32_t id, bool founder)
{
    struct hw *w = hw_of(s);
    struct hw_node *n = &w->nodes[node];
    struct hermes_limits l = limits;
    if (n->memory == NULL) {
        n->memory = mem_alloc(hermes_size(&limits));
    }
    memset(n->entries, 0, sizeof n->entries);
    n->held_count = 0;
    n->holds = 0;
    n->id = id;
    n->lease_sent = 0;
    places[node] = (struct place){s, node};
    struct hermes_store store = {.ctx = &places[node],
                                 .get = store_get,
                                 .mark = store_mark,
                                 .prepare = store_prepare,
                                 .apply = store_apply,
                                 .install = store_install,
                                 .read = store_read,
                                 .same_key = store_same_key,
                                 .hold = store_hold,
                                 .drop = store_drop,
                                 .scan = store_scan,
                                 .purge = store_purge};
    l.seed = id;
    if (w->config.tight) {
        l.records = 14;
        l.ops = 8;
    }
    n->core = hermes_init(n->memory, &l, &store, id, founder);
    sim_note(s, "node %u is incarnation %u%s", node, id, founder ? ", a founder" : "");
}

/* What a dead core held is lost with it: the pool is large enough for a run. */
void hw_node_stop(struct sim *s, unsigned node)
{
    hw_of(s)->nodes[node].core = NULL;
    sim_wake_at(s, node, SIM_NEVER);
}

static enum err deliver(struct sim *s, unsigned node, const uint8_t *frame, size_t len)
{
    struct hw *w = hw_of(s);
    struct hermes_msg m;
    struct msg_bytes b;
    if (msg_decode(frame, len, &m, &b) != OK) {
        return OK; /* truncated: the connection would be closed */
    }
    if (b.key != NULL) {
        uint32_t key_len = m.key.ref.len;
        if (key_len != 8) {
            return OK;
        }
        hw_key(&m.key, get64(b.key));
    }
    uint32_t blob = 0;
    if (b.payload_len == PAYLOAD_BYTES) {
        struct hw_effect e = {b.payload[0], (int64_t)get64(b.payload + 1),
                              (int64_t)get64(b.payload + 9), get64(b.payload + 17)};
        blob = hw_blob_new(w, &e);
        m.payload.handle = blob;
    }
    struct hermes_in in = {.kind = HERMES_IN_MSG, .u.msg = &m};
    if (s->verbose) {
        sim_note(
            s,
            "n%u <- %s from %u epoch %llu key %llu ts %llu.%u base %llu.%u held %llu.%u ver %llu",
            node, msg_name(m.kind), m.sender, (unsigned long long)m.epoch,
            (unsigned long long)m.key.hash / 77, (unsigned long long)ts_version(m.ts), ts_id(m.ts),
            (unsigned long long)ts_version(m.base), ts_id(m.base),
            (unsigned long long)ts_version(m.held), ts_id(m.held), (unsigned long long)m.version);
    }
    enum err e = step(s, node, &in);
    if (blob != 0) {
        hw_blob_drop(w, blob);
        limbo_empty(w);
    }
    return e;
}

void hw_node_frame(struct sim *s, unsigned node, const uint8_t *frame, size_t len)
{
    struct hw_node *n = &hw_of(s)->nodes[node];
    if (n->core == NULL) {
        return;
    }
    if (deliver(s, node, frame, len) == ERR_AGAIN && n->held_count < HW_HELD_MAX &&
        len <= sizeof n->held[0].bytes) {
        struct hw_held *h = &n->held[n->held_count++];
        h->len = (uint16_t)len;
        memcpy(h->bytes, frame, len);
    }
}

void hw_node_view(struct sim *s, unsigned node, const struct view *v)
{
    struct hw_node *n = &hw_of(s)->nodes[node];
    struct hermes_in in = {.kind = HERMES_IN_VIEW, .u.view = v};
    (void)step(s, node, &in);
    unsigned count = n->held_count;
    n->held_count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct hw_held h = n->held[i];
        hw_node_frame(s, node, h.bytes, h.len);
    }
}

void hw_node_lease(struct sim *s, unsigned node, struct lease lease)
{
    struct hermes_in in = {.kind = HERMES_IN_LEASE, .u.lease = lease};
    (void)step(s, node, &in);
}

void hw_node_timer(struct sim *s, unsigned node)
{
    if (hw_of(s)->nodes[node].core != NULL) {
        struct hermes_in in = {.kind = HERMES_IN_TIMER};
        (void)step(s, node, &in);
    }
}

void hw_node_peer(struct sim *s, unsigned node, uint32_t peer_id)
{
    if (hw_of(s)->nodes[node].core != NULL) {
        struct hermes_in in = {.kind = HERMES_IN_PEER, .u.peer = peer_id};
        (void)step(s, node, &in);
    }
}

void hw_node_op(struct sim *s, unsigned node, uint32_t i)
{
    struct hw *w = hw_of(s);
    const struct hw_op *o = &w->ops[i];
    struct hermes_op op = {.id = i + 1,
                           .kind = o->kind,
                           .effects = {o->effects, sizeof(struct hw_effect)},
                           .hotwrite = o->hotwrite,
                           .generation = o->generation,
                           .version = o->version};
    hw_key(&op.key, o->h.key);
    struct hermes_in in = {.kind = HERMES_IN_OP, .u.op = &op};
    if (step(s, node, &in) == ERR_BUSY) {
        struct hermes_done busy = {.op = i + 1, .result = HERMES_TRYAGAIN};
        hw_done(s, node, &busy);
    }
}
