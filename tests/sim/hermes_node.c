/* A replica's driver: fill an input, step, carry out the outputs.
 *
 * Checked at every step: two replicas that would both answer a read of a key give the same answer,
 * and no grant is held while another has an update under way in the slot. */
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "tests/sim/world_hermes.h"

uint64_t hw_wall_ms(struct sim *s, unsigned node)
{
    if (hw_of(s)->true_wall) {
        return (uint64_t)((int64_t)(s->now / SIM_MS) + 1000000 +
                          hw_of(s)->nodes[node].wall_offset_ms);
    }
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

#define PAYLOAD_BYTES (26u + 10u * HW_PARTS_MAX)

static void put_effect(uint8_t *p, const struct hw_effect *e)
{
    p[0] = e->kind;
    put64(p + 1, (uint64_t)e->arg);
    put64(p + 9, (uint64_t)e->arg2);
    put64(p + 17, e->expire_ms);
    p[25] = e->step_count;
    p += 26;
    for (unsigned i = 0; i < HW_PARTS_MAX; i++, p += 10) {
        p[0] = e->steps[i].kind;
        p[1] = e->steps[i].key;
        put64(p + 2, (uint64_t)e->steps[i].arg);
    }
}

static void get_effect(const uint8_t *p, struct hw_effect *e)
{
    *e = (struct hw_effect){.kind = p[0],
                            .arg = (int64_t)get64(p + 1),
                            .arg2 = (int64_t)get64(p + 9),
                            .expire_ms = get64(p + 17),
                            .step_count = p[25]};
    p += 26;
    for (unsigned i = 0; i < HW_PARTS_MAX; i++, p += 10) {
        e->steps[i] = (struct hw_step){p[0], p[1], (int64_t)get64(p + 2)};
    }
}

static void send_out(struct sim *s, unsigned node, const struct hermes_out *o)
{
    struct hw *w = hw_of(s);
    const struct hermes_msg *m = &o->u.msg;
    uint8_t key[8];
    uint8_t payload[PAYLOAD_BYTES];
    struct msg_bytes b = {0};
    if (m->key.ref.handle != 0) {
        put64(key, hw_key_index(&m->key));
        b.key = key;
        b.key_len = sizeof key;
    }
    struct hw_effect value = {0};
    const struct hw_effect *e = NULL;
    if (m->payload.handle != 0) {
        must(w->blobs[m->payload.handle].refs > 0 || w->limbo != UINT32_MAX);
        e = &w->blobs[m->payload.handle].effect;
    } else if (m->kind == MSG_HERMES_VALUE || m->kind == MSG_HERMES_PULL_VALUE) {
        const struct hw_entry *entry = &w->nodes[node].entries[hw_key_index(&m->key)];
        value = (struct hw_effect){
            .arg = entry->v.value, .arg2 = entry->v.length, .expire_ms = entry->expire_ms};
        e = &value;
    }
    if (e != NULL) {
        put_effect(payload, e);
        b.payload = payload;
        b.payload_len = PAYLOAD_BYTES;
    }
    uint8_t part_bytes[HW_PARTS_MAX][8];
    struct msg_key part_keys[HW_PARTS_MAX];
    must(m->part_count <= HW_PARTS_MAX);
    for (uint32_t i = 0; i < m->part_count; i++) {
        put64(part_bytes[i], hw_key_index(&m->parts[i].key));
        part_keys[i] = (struct msg_key){part_bytes[i], sizeof part_bytes[i]};
    }
    b.part_keys = part_keys;
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
        if (w->on_done == NULL) { /* else the marks are those of the world around */
            sim_mark(s, (unsigned)t->mark);
        }
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

static void arm(struct sim *s, unsigned node)
{
    struct hw *w = hw_of(s);
    uint64_t at =
        w->nodes[node].core != NULL ? hermes_next_deadline(w->nodes[node].core) : SIM_NEVER;
    uint64_t also = w->also_wake != NULL ? w->also_wake(s, node) : SIM_NEVER;
    sim_wake_at(s, node, also < at ? also : at);
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
    hw_limbo_empty(w);
    check_agreement(s, node);
    if (w->config.purge || w->config.multi) {
        check_grants(s);
    }
    arm(s, node);
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
    struct hermes_store store;
    hw_store(s, node, &store);
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
    arm(s, node);
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
    struct hermes_part parts[HW_PARTS_MAX];
    if (m.part_count > HW_PARTS_MAX) {
        return OK;
    }
    const uint8_t *at = b.parts;
    for (uint32_t i = 0; i < m.part_count; i++) {
        struct msg_key part_key;
        msg_part_next(&at, &parts[i], &part_key);
        hw_key(&parts[i].key, get64(part_key.p));
    }
    m.parts = parts;
    uint32_t blob = 0;
    if (b.payload_len == PAYLOAD_BYTES) {
        struct hw_effect e;
        get_effect(b.payload, &e);
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
        hw_limbo_empty(w);
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
    struct hermes_key keys[HW_PARTS_MAX];
    op.keys = keys;
    op.key_count = o->step_count;
    op.reads = o->step_count != 0;
    for (unsigned k = 0; k < o->step_count; k++) {
        hw_key(&keys[k], o->steps[k].key);
        op.reads = op.reads && o->steps[k].kind == HIST_GET;
    }
    struct hermes_in in = {.kind = HERMES_IN_OP, .u.op = &op};
    if (step(s, node, &in) != OK) {
        struct hermes_done busy = {.op = i + 1, .result = HERMES_TRYAGAIN};
        hw_done(s, node, &busy);
    }
}
