/* The Hermes replica: what comes in, what goes out, when to be called again. The rules are in the
 * files by message family:
 *
 *   hermes_op.c        client operations: waiting, starting, verdicts, completing
 *                      (H1, H5, H9, H12, H14)
 *   hermes_inv.c       INV (H2, H4)
 *   hermes_ack.c       ACK, NACK, commit (H3)
 *   hermes_val.c       VAL and what it commits
 *   hermes_replay.c    timers, replays, fetching (H6, H8 FLOOR)
 *   hermes_view.c      view changes in slices (H7, H13)
 *   hermes_grant.c     exclusive slot grants and purging (H8, H11)
 *   hermes_transfer.c  learners (H10)
 *   hermes_multi.c     updates of several keys; hermes_multi_op.c: operations that need them (H11)
 *   hermes_hot.c       hot flag and generation (G3, G4, G6, G7)
 *   hermes_key.c       records, deadlines, queues, allowed moves
 *
 * States of a key (a key without a record is Valid):
 *
 *                     own update starts                  larger INV
 *      +--> VALID -------------------------> WRITE ---------------------> TRANS (own and a larger
 *      |     |  ^        all ACKs, VAL        |  | superseded: INVALID      |     pending one)
 *      |     |  +-----------------------------+  v                          | own done: INVALID
 *      |     | larger INV                                                   | VAL of the larger
 *      |     v               replay                                         v   one: VALID
 *      +-- INVALID ----------------------> REPLAY ---- all ACKs, VAL ------> VALID
 *     VAL, or a value     <---------------  (larger INV: INVALID, TRANS)
 *
 * The outbox is filled in the order of sending; a completion never precedes the sends it depends
 * on. Messages are acted on only in their own epoch (section 4, before H1); so a sender is always
 * somebody in the installed view.
 *
 * It does not: read clocks, know what values are, decide views.
 *
 * Sources: Katsarakis et al., Hermes, ASPLOS 2020, section 3; DESIGN section 4; PROTOCOLS sections
 * 2, 5, 6. */
#include "coherence/hermes_int.h"

#include <string.h>

static const char *const mark_names[HERMES_MARK_COUNT] = {
#define X(name) [HERMES_MARK_##name] = #name,
    HERMES_MARKS(X)
#undef X
};

const char *hermes_mark_name(enum hermes_mark m)
{
    return (unsigned)m < HERMES_MARK_COUNT ? mark_names[m] : "?";
}

/* ---- memory ---- */

static size_t round_up(size_t n)
{
    return (n + 15u) & ~(size_t)15u;
}

static uint32_t bucket_count(const struct hermes_limits *l)
{
    uint32_t n = 16;
    while (n < l->records) {
        n *= 2;
    }
    return n;
}

static uint32_t parts_max(const struct hermes_limits *l)
{
    return l->records < MSG_PARTS_MAX ? l->records : MSG_PARTS_MAX;
}

/* For the parts of all messages of a step: what does not fit is sent by a later one. */
static size_t parts_room(const struct hermes_limits *l)
{
    return 2 * (size_t)parts_max(l);
}

size_t hermes_size(const struct hermes_limits *l)
{
    return round_up(sizeof(struct hermes)) + round_up(l->records * sizeof(struct record)) +
           round_up(bucket_count(l) * sizeof(uint32_t)) + round_up(l->records * sizeof(uint32_t)) +
           round_up(l->ops * sizeof(struct op_slot)) + round_up(l->records * sizeof(struct group)) +
           round_up((parts_room(l) + parts_max(l)) * sizeof(struct hermes_part)) +
           round_up(MSG_PARTS_MAX * sizeof(struct hermes_key)) +
           round_up(l->slots * sizeof(struct slot_info));
}

static void *carve(char **at, size_t bytes)
{
    void *p = *at;
    *at += round_up(bytes);
    memset(p, 0, bytes);
    return p;
}

struct hermes *hermes_init(void *memory, const struct hermes_limits *l,
                           const struct hermes_store *store, uint32_t id, bool founder)
{
    must(((uintptr_t)memory & 15u) == 0);
    must(l->records > 0 && l->ops > 0 && l->slots > 0 && l->slots <= MSG_SLOTS &&
         l->resend_ns > 0 && l->replay_ns > 0);
    must(id != 0 && id <= TS_ID_MAX);
    char *at = memory;
    struct hermes *h = carve(&at, sizeof *h);
    h->limits = *l;
    h->store = *store;
    h->id = id;
    h->caught_up = founder;
    h->rng = l->seed ^ UINT64_C(0x9E3779B97F4A7C15);
    h->records = carve(&at, l->records * sizeof *h->records);
    h->buckets = carve(&at, bucket_count(l) * sizeof *h->buckets);
    h->heap = carve(&at, l->records * sizeof *h->heap);
    h->ops = carve(&at, l->ops * sizeof *h->ops);
    h->groups = carve(&at, l->records * sizeof *h->groups);
    h->parts = carve(&at, (parts_room(l) + parts_max(l)) * sizeof *h->parts);
    h->parts_room = (uint32_t)parts_room(l);
    h->keys = carve(&at, MSG_PARTS_MAX * sizeof *h->keys);
    h->slots = carve(&at, l->slots * sizeof *h->slots);
    h->bucket_mask = bucket_count(l) - 1;
    memset(h->buckets, 0xFF, bucket_count(l) * sizeof *h->buckets);
    for (uint32_t i = 0; i < l->records; i++) {
        h->records[i].next = i + 1 < l->records ? i + 1 : NIL;
        h->groups[i].next = h->records[i].next;
    }
    h->dirty = h->blocked = h->ready = h->parents = NIL;
    h->free_groups = l->records;
    for (uint32_t i = 0; i < l->ops; i++) {
        h->ops[i].next = i + 1 < l->ops ? i + 1 : NIL;
    }
    h->free_records = l->records;
    h->free_ops = l->ops;
    h->scan_at = l->records;
    h->lock_deadline = UINT64_MAX;
    return h;
}

/* ---- outputs ---- */

void mark(struct hermes *h, enum hermes_mark m, const struct hermes_key *key, uint64_t ts,
          uint64_t arg)
{
    h->marks[m]++;
    struct hermes_outbox *out = h->out;
    if (out->trace != NULL && out->trace_count < out->trace_capacity) {
        out->trace[out->trace_count++] =
            (struct hermes_trace){m, key == NULL ? 0 : key->hash, ts, arg};
    }
}

bool out_has_room(const struct hermes *h, uint32_t n)
{
    return h->out->count + n <= HERMES_OUT_MAX;
}

static struct hermes_out *out_next(struct hermes *h, enum hermes_out_kind kind)
{
    must(h->out->count < HERMES_OUT_MAX);
    struct hermes_out *o = &h->out->out[h->out->count++];
    o->kind = kind;
    o->to_mask = 0;
    return o;
}

/* A message to be filled in, or a spare one that goes nowhere if nobody is to get it. */
struct hermes_msg *send_to(struct hermes *h, enum msg_kind kind, uint32_t to_mask)
{
    struct hermes_out *o = out_next(h, HERMES_OUT_SEND);
    o->to_mask = to_mask & others_mask(h);
    memset(&o->u.msg, 0, sizeof o->u.msg);
    o->u.msg.kind = kind;
    o->u.msg.epoch = h->view.epoch;
    o->u.msg.sender = h->id;
    if (o->to_mask == 0) {
        h->out->count--;
    }
    return &o->u.msg;
}

void send_key(struct hermes *h, enum msg_kind kind, uint32_t to_mask, const struct hermes_key *key,
              uint64_t ts, uint64_t held)
{
    struct hermes_msg *m = send_to(h, kind, to_mask);
    m->key = *key;
    m->ts = ts;
    m->held = held;
}

void send_update(struct hermes *h, uint32_t to_mask, const struct hermes_key *key,
                 const struct hermes_update *u)
{
    struct hermes_msg *m = send_to(h, MSG_HERMES_INV, to_mask);
    m->key = *key;
    m->ts = u->ts;
    m->base = u->base;
    m->owner = u->owner;
    m->flags = (uint8_t)((u->rmw ? MSG_FLAG_RMW : 0u) | (u->hot ? MSG_FLAG_HOT : 0u));
    m->generation = u->generation;
    m->now_ms = u->now_ms;
    m->payload = u->effects;
}

void complete(struct hermes *h, uint32_t op, enum hermes_result result, uint64_t ts,
              uint64_t generation, bool superseded)
{
    struct hermes_out *o = out_next(h, HERMES_OUT_DONE);
    o->u.done = (struct hermes_done){h->ops[op].op.id, result, ts, generation, superseded};
    if (result == HERMES_UNKNOWN) {
        mark(h, HERMES_MARK_UNKNOWN_REPORTED, NULL, ts, 0);
    }
    op_give(h, op);
}

/* ---- small things everybody needs ---- */

uint32_t mask_of(const struct hermes *h, uint32_t id)
{
    int i = view_index(&h->view, id);
    return i < 0 ? 0 : UINT32_C(1) << i;
}

uint32_t self_mask(const struct hermes *h)
{
    return mask_of(h, h->id);
}

uint32_t others_mask(const struct hermes *h)
{
    return view_mask(&h->view) & ~self_mask(h);
}

uint64_t jitter(struct hermes *h, uint64_t ns)
{
    h->rng ^= h->rng << 13;
    h->rng ^= h->rng >> 7;
    h->rng ^= h->rng << 17;
    return ns + h->rng % (ns / 4 + 1);
}

uint64_t clock_now(const struct hermes *h)
{
    return MUTANT(H9_CACHED_TIME) ? h->loop_now : h->now;
}

static bool lease_ok(const struct hermes *h, uint64_t now)
{
    if (MUTANT(H9_NO_LEASE)) {
        return h->view.epoch != 0;
    }
    if (MUTANT(H9_LEASE_ANY_EPOCH)) {
        return h->view.epoch != 0 && now < h->lease.until_ns;
    }
    return lease_valid(&h->lease, &h->view, now);
}

static bool may_serve(const struct hermes *h)
{
    if (h->expelled) {
        return false;
    }
    if (MUTANT(H10_SERVE_EARLY)) {
        return view_index(&h->view, h->id) >= 0;
    }
    return h->caught_up && view_is_member(&h->view, h->id); /* H10 */
}

bool has_lease(const struct hermes *h)
{
    return may_serve(h) && lease_ok(h, clock_now(h));
}

bool hermes_may_read(const struct hermes *h, uint64_t now_ns)
{
    return may_serve(h) && lease_ok(h, now_ns);
}

/* ---- the step ---- */

static enum err on_message(struct hermes *h, const struct hermes_msg *m)
{
    bool any_epoch = MUTANT(H7_NO_EPOCH_CHECK) && view_index(&h->view, m->sender) >= 0;
    if (m->epoch > h->view.epoch && !h->expelled && !any_epoch) {
        mark(h, HERMES_MARK_NEW_EPOCH_HELD, NULL, m->ts, m->epoch);
        return ERR_AGAIN;
    }
    if ((m->epoch != h->view.epoch && !any_epoch) || h->expelled) {
        mark(h, HERMES_MARK_OLD_EPOCH_DROPPED, NULL, m->ts, m->epoch);
        return OK;
    }
    if (m->sender == h->id || view_index(&h->view, m->sender) < 0 ||
        m->key.slot >= h->limits.slots || m->slot >= h->limits.slots) {
        return OK; /* nobody we know in this epoch: nothing to answer to */
    }
    switch (m->kind) {
    case MSG_HERMES_INV:
        return on_inv(h, m, false);
    case MSG_HERMES_ACK:
        on_ack(h, m);
        return OK;
    case MSG_HERMES_NACK:
        on_nack(h, m);
        return OK;
    case MSG_HERMES_VAL:
        on_val(h, m);
        return OK;
    case MSG_HERMES_GET:
        on_get(h, m);
        return OK;
    case MSG_HERMES_VALUE:
        return on_value(h, m);
    case MSG_HERMES_FLOOR:
        on_floor(h, m);
        return OK;
    case MSG_HERMES_LOCK:
        on_lock(h, m);
        return OK;
    case MSG_HERMES_LOCKED:
        on_locked(h, m);
        return OK;
    case MSG_HERMES_UNLOCK:
        on_unlock(h, m);
        return OK;
    case MSG_HERMES_WANT:
        on_want(h, m);
        return OK;
    case MSG_HERMES_MULTI:
        return on_multi(h, m, false);
    case MSG_HERMES_PULL_MULTI:
        return on_pull_multi(h, m);
    case MSG_HERMES_PURGE:
        on_purge(h, m);
        return OK;
    case MSG_HERMES_PURGED:
        on_purged(h, m);
        return OK;
    case MSG_HERMES_PULL:
        on_pull(h, m);
        return OK;
    case MSG_HERMES_PULL_SLOT:
        on_pull_slot(h, m);
        return OK;
    case MSG_HERMES_PULL_VALUE:
        return on_pull_value(h, m);
    case MSG_HERMES_PULL_INV:
        return on_pull_inv(h, m);
    case MSG_HERMES_PULL_END:
        on_pull_end(h, m);
        return OK;
    case MSG_KIND_COUNT:
        break;
    }
    unreachable();
}

static void on_timer(struct hermes *h)
{
    if (h->scan_at < h->limits.records) {
        scan_slice(h);
    }
    grants_timer(h);
    transfer_timer(h);
    for (unsigned n = 0; n < HERMES_SLICE && h->heap_count > 0 && out_has_room(h, 40); n++) {
        struct record *r = &h->records[h->heap[0]];
        if (r->deadline > h->now) {
            break;
        }
        record_timer(h, r);
    }
}

enum err hermes_step(struct hermes *h, const struct hermes_in *in, struct hermes_outbox *out)
{
    must(out->count == 0);
    must(in->now_ns >= h->now);
    h->out = out;
    h->parts_used = 0;
    h->now = in->now_ns;
    if (in->kind != HERMES_IN_MSG && in->kind != HERMES_IN_OP) {
        h->loop_now = in->now_ns;
    }
    h->wall_ms = in->wall_ms;
    enum err e = OK;
    switch (in->kind) {
    case HERMES_IN_MSG:
        e = on_message(h, in->u.msg);
        break;
    case HERMES_IN_TIMER:
        on_timer(h);
        break;
    case HERMES_IN_OP:
        e = on_op(h, in->u.op);
        break;
    case HERMES_IN_VIEW:
        on_view(h, in->u.view);
        break;
    case HERMES_IN_LEASE:
        h->lease = in->u.lease;
        break;
    case HERMES_IN_PEER:
        scan_start(h, in->u.peer);
        break;
    }
    if (e == ERR_BUSY) {
        mark(h, HERMES_MARK_BUSY_REFUSED, NULL, 0, 0);
    }
    settle(h);
    h->out = NULL;
    return e;
}

uint64_t hermes_next_deadline(const struct hermes *h)
{
    if (h->scan_at < h->limits.records || h->dirty != NIL || h->ready != NIL) {
        return h->now;
    }
    uint64_t at = h->heap_count > 0 ? h->records[h->heap[0]].deadline : UINT64_MAX;
    uint64_t grants = grants_deadline(h);
    at = grants < at ? grants : at;
    return h->pull.wanted && h->pull.deadline < at ? h->pull.deadline : at;
}

/* ---- for drivers and checkers ---- */

const struct view *hermes_view(const struct hermes *h)
{
    return &h->view;
}

bool hermes_caught_up(const struct hermes *h)
{
    return h->caught_up;
}

bool hermes_expelled(const struct hermes *h)
{
    return h->expelled;
}

const uint64_t *hermes_marks(const struct hermes *h)
{
    return h->marks;
}

uint32_t hermes_own_in_slot(const struct hermes *h, uint16_t slot)
{
    return h->slots[slot].own;
}

bool hermes_idle(const struct hermes *h)
{
    for (unsigned i = 0; i < HERMES_GRANTS_MAX; i++) {
        if (h->grants[i].phase != GRANT_FREE) {
            return false;
        }
    }
    return h->free_records == h->limits.records && h->free_ops == h->limits.ops &&
           h->free_groups == h->limits.records && h->locked_slots == 0;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9FB21C651E98DF25);
    return a ^ a >> 31;
}

uint64_t hermes_digest(const struct hermes *h)
{
    uint64_t d = mix(mix(h->view.epoch, h->id), (uint64_t)h->caught_up << 1 | h->expelled);
    for (uint32_t i = 0; i < h->limits.records; i++) {
        const struct record *r = &h->records[i];
        if (!r->used) {
            continue;
        }
        uint64_t k = mix(mix(r->key.hash, r->seen), r->state);
        k = mix(mix(k, r->has_pending ? r->pending.ts : 0), r->own.active ? r->own.u.ts : 0);
        k = mix(k, r->group == NIL ? 0 : 1 + h->groups[r->group].round.acks);
        k = mix(mix(k, r->own.round.acks), r->round.acks);
        d += mix(k, r->deadline); /* a sum: the order of records says nothing */
    }
    for (uint32_t i = 0; i < h->limits.slots; i++) {
        d = mix(mix(d, h->slots[i].floor), h->slots[i].locked_by);
    }
    return d;
}

static void drop_ref(struct hermes *h, struct coh_ref ref)
{
    if (ref.handle != 0) {
        h->store.drop(h->store.ctx, ref);
    }
}

void hermes_close(struct hermes *h)
{
    for (uint32_t i = 0; i < h->limits.records; i++) {
        struct record *r = &h->records[i];
        if (!r->used) {
            continue;
        }
        for (uint32_t op = r->head; op != NIL; op = h->ops[op].next) {
            drop_ref(h, h->ops[op].op.effects);
        }
        if (r->own.active) {
            drop_ref(h, r->own.u.effects);
            if (r->own.op != NIL) {
                drop_ref(h, h->ops[r->own.op].op.effects);
            }
        }
        if (r->has_pending) {
            drop_ref(h, r->pending.effects);
        }
        drop_ref(h, r->key.ref);
    }
    for (uint32_t i = 0; i < h->limits.records; i++) {
        if (h->groups[i].used) {
            drop_ref(h, h->groups[i].u.effects);
        }
    }
    multis_close(h);
}

void hermes_check(const struct hermes *h)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < h->limits.records; i++) {
        if (h->records[i].used) {
            used++;
            hermes_check_record(h, &h->records[i]);
        }
    }
    must(used + h->free_records == h->limits.records);
    must(h->heap_count <= used);
    must(h->free_ops <= h->limits.ops);
}
