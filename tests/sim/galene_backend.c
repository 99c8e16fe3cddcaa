/* Requests of proxies to the shard, at both ends.
 *
 * A proxy knows three ends of a request: an answer; -TRYAGAIN, which means that nothing was done,
 * so the next replica is asked; and silence or a broken connection, after which a read is asked
 * elsewhere and everything else is unknown. What had left may still arrive, much later (late
 * HOTWRITEs, PROMOTEs of coordinators that are gone). */
#include <string.h>

#include "common/must.h"
#include "tests/sim/world_galene.h"

#define ATTEMPT_NS (120 * SIM_MS)
#define GIVE_UP_NS (400 * SIM_MS)

static uint8_t *put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
    return p + bytes;
}

static uint64_t get(const uint8_t **p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)(*p)[i] << (8 * i);
    }
    *p += bytes;
    return v;
}

/* ---- the proxy's end ---- */

static bool is_read(const struct gw_request *r)
{
    return r->kind == GALENE_ASK_READ;
}

static void make_frame(struct sim *s, unsigned proxy, unsigned i, bool lose_answer,
                       struct gw_frame *f)
{
    const struct gw *w = gw_of(s);
    const struct gw_request *r = &w->proxies[proxy].requests[i];
    const struct gw_op *o = r->op == 0 ? NULL : &w->ops[r->op - 1];
    uint8_t *p = put(f->bytes, GW_REQUEST, 1);
    p = put(p, i, 1);
    p = put(p, r->serial, 4);
    p = put(p, (uint64_t)r->kind, 1);
    p = put(p, r->key, 1);
    p = put(p, r->generation, 8);
    p = put(p, lose_answer, 1);
    p = put(p, r->op, 4);
    p = put(p, o == NULL ? 0 : (uint64_t)o->h.kind, 1);
    p = put(p, o == NULL ? 0 : (uint64_t)o->h.arg, 8);
    p = put(p, o == NULL ? 0 : (uint64_t)o->h.arg2, 8);
    p = put(p, o == NULL ? 0 : o->expire_ms, 4);
    p = put(p, o != NULL && o->blind, 1);
    f->len = (uint16_t)(p - f->bytes);
}

static unsigned late_slot(struct gw *w)
{
    unsigned i = 0;
    while (i < sizeof w->late / sizeof w->late[0] && w->late[i].used) {
        i++;
    }
    return i;
}

/* The request leaves, one way or another. */
static void leave(struct sim *s, unsigned proxy, unsigned i)
{
    struct gw *w = gw_of(s);
    struct gw_request *r = &w->proxies[proxy].requests[i];
    r->waiting = false;
    r->deadline = sim_clock(s, gw_node(proxy)) + ATTEMPT_NS;
    if (s->cut[gw_node(proxy)][r->replica] || !s->nodes[r->replica].up) { /* no connection */
        r->waiting = true;
        r->deadline = sim_clock(s, gw_node(proxy)) + 3 * SIM_MS;
        return;
    }
    struct gw_frame f;
    bool lose_answer = sim_fault(s, SITE_NET, s->faults.drop, 160);
    make_frame(s, proxy, i, lose_answer, &f);
    unsigned slot = late_slot(w);
    bool late = slot < sizeof w->late / sizeof w->late[0] &&
                (w->hold_requests || sim_fault(s, SITE_NET, s->faults.late_duplicate, 120));
    if (late) {
        w->late[slot] =
            (struct gw_late){.used = true, .proxy = proxy, .replica = r->replica, .frame = f};
        if (!w->hold_requests) {
            sim_at(s, SIM_MS * (1 + sim_choose(s, SITE_NET, 1500)), GW_EV_LATE, slot, 0);
        }
    } else if (!sim_fault(s, SITE_NET, s->faults.drop, 160)) {
        sim_post(s, gw_node(proxy), r->replica, f.bytes, f.len);
    }
}

void gb_late(struct sim *s, unsigned slot)
{
    struct gw_late *l = &gw_of(s)->late[slot];
    if (l->used) {
        l->used = false;
        sim_post(s, gw_node(l->proxy), l->replica, l->frame.bytes, l->frame.len);
    }
}

void gb_request(struct sim *s, unsigned proxy, enum gw_whose whose, const struct galene_request *q)
{
    struct gw *w = gw_of(s);
    struct gw_proxy *p = &w->proxies[proxy];
    unsigned i = 0;
    while (i < GW_REQUESTS_MAX && p->requests[i].used) {
        i++;
    }
    must(i < GW_REQUESTS_MAX);
    struct gw_request *r = &p->requests[i];
    *r = (struct gw_request){.used = true,
                             .whose = (uint8_t)whose,
                             .kind = q->kind,
                             .core_request = q->request,
                             .key = hw_key_index(&q->key),
                             .generation = q->generation,
                             .op = (uint32_t)q->op,
                             .serial = ++w->next_serial,
                             .give_up = sim_clock(s, gw_node(proxy)) + GIVE_UP_NS};
    r->replica = (unsigned)(r->key % GW_REPLICAS);
    if (is_read(r) || sim_chance(s, SITE_WORK, 1, 6)) {
        r->replica = sim_choose(s, SITE_WORK, GW_REPLICAS);
    }
    leave(s, proxy, i);
}

/* What came of it, to whoever asked. */
static void resolve(struct sim *s, unsigned proxy, unsigned i, struct galene_answer *a)
{
    struct gw_request *r = &gw_of(s)->proxies[proxy].requests[i];
    enum gw_whose whose = (enum gw_whose)r->whose;
    uint32_t op = r->op;
    a->request = r->core_request;
    r->used = false;
    sim_hash(s, (uint64_t)a->kind << 8 ^ a->value.ts);
    sim_note(s, "p%u: request %d of %u, key %llu op %u: answer %d gen %llx ts %llu.%u", proxy,
             r->kind, whose, (unsigned long long)r->key, op, a->kind,
             (unsigned long long)a->generation, (unsigned long long)ts_version(a->value.ts),
             ts_id(a->value.ts));
    if (whose == GW_OF_DRIVER) {
        gl_cold_answer(s, proxy, op - 1, a);
    } else {
        gp_answer(s, proxy, whose, a);
    }
}

static void next_replica(struct sim *s, unsigned proxy, unsigned i, uint64_t after_ns)
{
    struct gw_request *r = &gw_of(s)->proxies[proxy].requests[i];
    uint64_t now = sim_clock(s, gw_node(proxy));
    if (now >= r->give_up) {
        struct galene_answer failed = {.kind = GALENE_FAILED};
        resolve(s, proxy, i, &failed);
        return;
    }
    r->replica = (r->replica + 1) % GW_REPLICAS;
    r->serial = ++gw_of(s)->next_serial; /* answers of the earlier attempt are not heard any more */
    r->waiting = true;
    r->deadline = now + after_ns;
}

static void silence(struct sim *s, unsigned proxy, unsigned i)
{
    if (is_read(&gw_of(s)->proxies[proxy].requests[i])) {
        next_replica(s, proxy, i, 0);
    } else {
        struct galene_answer unknown = {.kind = GALENE_UNKNOWN};
        resolve(s, proxy, i, &unknown);
    }
}

void gb_timer(struct sim *s, unsigned proxy)
{
    struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    for (unsigned i = 0; i < GW_REQUESTS_MAX; i++) {
        struct gw_request *r = &p->requests[i];
        if (!r->used || r->deadline > sim_clock(s, gw_node(proxy))) {
            continue;
        }
        if (!r->waiting) {
            silence(s, proxy, i);
        } else if (s->cut[gw_node(proxy)][r->replica] || !s->nodes[r->replica].up) {
            next_replica(s, proxy, i, 3 * SIM_MS);
        } else {
            leave(s, proxy, i);
        }
    }
}

uint64_t gb_next_deadline(struct sim *s, unsigned proxy)
{
    const struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    uint64_t at = UINT64_MAX;
    for (unsigned i = 0; i < GW_REQUESTS_MAX; i++) {
        if (p->requests[i].used && p->requests[i].deadline < at) {
            at = p->requests[i].deadline;
        }
    }
    return at;
}

void gb_break(struct sim *s, unsigned proxy)
{
    for (unsigned i = 0; i < GW_REQUESTS_MAX; i++) {
        if (gw_of(s)->proxies[proxy].requests[i].used) {
            silence(s, proxy, i);
        }
    }
    gp_set_wake(s, proxy);
}

#define TRYAGAIN 0xFFu
#define ANSWER_BYTES 71u

void gb_at_proxy(struct sim *s, unsigned proxy, const uint8_t *frame, size_t len)
{
    struct gw *w = gw_of(s);
    struct gw_proxy *p = &w->proxies[proxy];
    if (p->core == NULL || len != ANSWER_BYTES) {
        return;
    }
    const uint8_t *at = frame + 1;
    unsigned i = (unsigned)get(&at, 1);
    uint32_t serial = (uint32_t)get(&at, 4);
    if (i >= GW_REQUESTS_MAX || !p->requests[i].used || p->requests[i].serial != serial) {
        return;
    }
    unsigned kind = (unsigned)get(&at, 1);
    if (kind == TRYAGAIN) {
        next_replica(s, proxy, i, 2 * SIM_MS + 1000 * (uint64_t)sim_choose(s, SITE_WORK, 8));
        gp_set_wake(s, proxy);
        return;
    }
    struct galene_answer a = {.kind = (enum galene_answer_kind)kind};
    a.generation = get(&at, 8);
    a.value.kind = (enum gmsg_value)get(&at, 1);
    a.value.ts = get(&at, 8);
    a.value.expire_ms = get(&at, 8);
    struct gw_blob value = {.v.live = true};
    value.v.value = (int64_t)get(&at, 8);
    value.v.length = (int64_t)get(&at, 8);
    struct gw_blob reply = {.v = {true, p->requests[i].op, 0}};
    reply.v.length = (int64_t)get(&at, 8);
    reply.changed = get(&at, 1) != 0;
    reply.base = get(&at, 8);
    reply.has_base = get(&at, 6) != 0;
    uint32_t v = a.value.kind == GMSG_VALUE ? gw_blob_new(w, &value) : 0;
    uint32_t b = gw_blob_new(w, &reply);
    a.value.ref.handle = v;
    a.reply.handle = b;
    resolve(s, proxy, i, &a);
    gw_blob_drop(w, b);
    if (v != 0) {
        gw_blob_drop(w, v);
    }
    gw_limbo_empty(w);
    gp_set_wake(s, proxy);
}

/* ---- the replica's end ---- */

static uint32_t op_slot(struct hw *hw)
{
    for (uint32_t i = 0; i < HW_OPS_MAX; i++) {
        if (!hw->ops[i].open) {
            hw->op_count = i >= hw->op_count ? i + 1 : hw->op_count;
            return i;
        }
    }
    must(false);
    return 0;
}

static void fill_op(struct sim *s, unsigned replica, const uint8_t *at, struct hw_op *o,
                    struct gw_backend_op *b)
{
    struct hw *hw = hw_of(s);
    enum galene_request_kind kind = (enum galene_request_kind)get(&at, 1);
    *o = (struct hw_op){.open = true, .node = replica};
    o->h.key = get(&at, 1);
    o->h.client = UINT32_MAX;
    o->generation = get(&at, 8);
    b->lose_answer = get(&at, 1) != 0;
    at += 4;
    struct hw_effect e = {.kind = (uint8_t)get(&at, 1)};
    e.arg = (int64_t)get(&at, 8);
    e.arg2 = (int64_t)get(&at, 8);
    uint64_t expire = get(&at, 4);
    e.expire_ms = expire == 0 ? 0 : hw_wall_ms(s, replica) + expire;
    bool blind = get(&at, 1) != 0;
    o->hotwrite = kind == GALENE_ASK_HOTWRITE || kind == GALENE_ASK_EXPIRE;
    o->h.kind = (enum hist_kind)e.kind;
    switch (kind) {
    case GALENE_ASK_READ:
        o->kind = HERMES_READ;
        break;
    case GALENE_ASK_WRITE:
    case GALENE_ASK_HOTWRITE:
        o->kind = blind ? HERMES_WRITE : HERMES_UPDATE;
        o->writes = true;
        o->effects = hw_blob_new(hw, &e);
        break;
    case GALENE_ASK_EXPIRE:
        o->kind = HERMES_EXPIRE;
        break;
    case GALENE_ASK_PROMOTE:
        o->kind = HERMES_PROMOTE;
        break;
    case GALENE_ASK_DEMOTE:
        o->kind = HERMES_DEMOTE;
        break;
    }
}

#define REQUEST_BYTES 43u

void gb_at_replica(struct sim *s, unsigned replica, unsigned proxy, const uint8_t *frame,
                   size_t len)
{
    struct gw *w = gw_of(s);
    if (w->hw.nodes[replica].core == NULL) {
        return;
    }
    must(len == REQUEST_BYTES);
    uint32_t i = op_slot(&w->hw);
    const uint8_t *at = frame + 1;
    struct gw_backend_op *b = &w->backend[i];
    *b = (struct gw_backend_op){.proxy = proxy, .id = (uint32_t)get(&at, 1)};
    b->serial = (uint32_t)get(&at, 4);
    fill_op(s, replica, at, &w->hw.ops[i], b);
    hw_node_op(s, replica, i);
}

static void close_op(struct hw *hw, struct hw_op *o)
{
    o->open = false;
    if (o->effects != 0) {
        hw_blob_drop(hw, o->effects);
        o->effects = 0;
    }
}

static unsigned answer_kind(enum hermes_result r)
{
    switch (r) {
    case HERMES_DONE:
    case HERMES_NOTHING:
        return GALENE_REPLY;
    case HERMES_HOT:
        return GALENE_HOT;
    case HERMES_COLD:
        return GALENE_COLD;
    case HERMES_REFUSED:
        return GALENE_REFUSED;
    case HERMES_TRYAGAIN:
        return TRYAGAIN;
    case HERMES_UNKNOWN:
        return GALENE_UNKNOWN;
    }
    unreachable();
}

static enum gmsg_value value_kind(const struct hw_op *o, const struct hermes_done *d)
{
    if (!o->has_after || d->superseded) {
        return GMSG_NO_VALUE;
    }
    if (!o->after.v.live) {
        return GMSG_ABSENT;
    }
    return o->after.v.length >= GW_UNCACHEABLE_LENGTH ? GMSG_UNCACHEABLE : GMSG_VALUE;
}

void gb_done(struct sim *s, unsigned replica, const struct hermes_done *d)
{
    struct gw *w = gw_of(s);
    struct hw_op *o = &w->hw.ops[d->op - 1];
    const struct gw_backend_op *b = &w->backend[d->op - 1];
    if (!o->open) {
        sim_fail(s, "replica %u answered op %llu twice", replica, (unsigned long long)d->op);
        return;
    }
    unsigned kind = answer_kind(d->result);
    enum gmsg_value value = kind == GALENE_REPLY ? value_kind(o, d) : GMSG_NO_VALUE;
    uint8_t frame[GW_FRAME_MAX];
    uint8_t *p = put(frame, GW_ANSWER, 1);
    p = put(p, b->id, 1);
    p = put(p, b->serial, 4);
    p = put(p, kind, 1);
    p = put(p, d->generation, 8);
    p = put(p, (uint64_t)value, 1);
    p = put(p, d->ts, 8);
    p = put(p, value == GMSG_VALUE ? o->after.expire_ms : 0, 8);
    p = put(p, (uint64_t)o->after.v.value, 8);
    p = put(p, (uint64_t)o->after.v.length, 8);
    p = put(p, (uint64_t)o->h.ret, 8);
    p = put(p, d->result == HERMES_DONE && o->writes, 1);
    p = put(p, o->h.base, 8);
    p = put(p, o->h.has_base && !d->superseded, 6);
    close_op(&w->hw, o);
    must(p - frame == ANSWER_BYTES);
    if (!b->lose_answer && !s->cut[replica][gw_node(b->proxy)]) {
        sim_post(s, replica, gw_node(b->proxy), frame, (size_t)(p - frame));
    }
}

/* Its connections break: who waits for it hears nothing any more. */
void gb_replica_lost(struct sim *s, unsigned replica)
{
    struct gw *w = gw_of(s);
    for (uint32_t i = 0; i < w->hw.op_count; i++) {
        if (w->hw.ops[i].open && w->hw.ops[i].node == replica) {
            close_op(&w->hw, &w->hw.ops[i]);
        }
    }
    hw_limbo_empty(&w->hw);
    for (unsigned i = 0; i < w->config.proxies; i++) {
        struct gw_proxy *p = &w->proxies[i];
        for (unsigned j = 0; j < GW_REQUESTS_MAX; j++) {
            struct gw_request *r = &p->requests[j];
            if (r->used && !r->waiting && r->replica == replica) {
                r->deadline = sim_clock(s, gw_node(i));
            }
        }
        gp_set_wake(s, i);
    }
}
