/* Client operations: admitted, queued on their key, started when the key is Valid, completed.
 *
 * One update of this replica per key at a time; everything else waits in the order it came (H14),
 * reads too, since a read that overtook an earlier write of the same connection would break program
 * order. pump() is called whenever a key has become Valid: it first gives the verdict on an own
 * update that was overtaken, then takes operations from the queue until one makes the key not
 * Valid.
 *
 * Verdicts (H5): Valid above an own update means that every member of the view has seen something
 * larger, so nobody can complete it any more, and, since only the owner replays an RMW while it is
 * in the view (H6), nobody has. A blind write was then overwritten at once: it counts as done,
 * right before what overwrote it. One that was refused at a floor (H8) was never stored by somebody
 * whose ACK it needs: it starts again. */
#include "coherence/hermes_int.h"

#define PUMP_MAX 16 /* operations taken from a queue per step */

static bool is_rmw(enum hermes_op_kind kind)
{
    return kind != HERMES_WRITE;
}

/* Makes the update of an operation on a Valid key; false: the operation is not to run, *refusal
 * says why. */
static bool make_update(struct hermes *h, struct record *r, const struct hermes_op *op,
                        struct hermes_update *u, enum hermes_result *refusal)
{
    struct hermes_meta m;
    key_meta(h, &r->key, &m);
    if (ts_version(m.ts) + 2 > TS_VERSION_MAX) {
        *refusal = HERMES_TRYAGAIN;
        return false;
    }
    *u = (struct hermes_update){
        .base = m.ts, .owner = h->id, .now_ms = h->wall_ms, .rmw = is_rmw(op->kind)};
    if (!hot_judge(h, op, &m, u, refusal)) {
        return false;
    }
    if (op->kind == HERMES_UPDATE || op->kind == HERMES_EXPIRE) {
        if (!h->store.prepare(h->store.ctx, &r->key, op, h->wall_ms, &u->effects)) {
            *refusal = HERMES_NOTHING;
            return false;
        }
    } else if (op->effects.handle != 0) {
        u->effects = h->store.hold(h->store.ctx, op->effects);
    }
    uint64_t add = u->rmw ? 1 : 2; /* H1 */
    if ((u->rmw && MUTANT(H1_RMW_PLUS_TWO)) || (!u->rmw && MUTANT(H1_WRITE_PLUS_ONE))) {
        add = u->rmw ? 2 : 1;
    }
    u->ts = ts_make(ts_version(m.ts) + add, h->id);
    return true;
}

/* op NIL: the core's own conditional DEL of an expired key. */
static void start(struct hermes *h, struct record *r, const struct hermes_op *op, uint32_t op_index)
{
    struct hermes_update u = {0};
    enum hermes_result refusal = HERMES_NOTHING;
    if (!make_update(h, r, op, &u, &refusal)) {
        struct hermes_meta m;
        key_meta(h, &r->key, &m);
        if (op_index != NIL) {
            complete(h, op_index, refusal, m.ts, m.generation, false);
        }
        return;
    }
    key_set_own(h, r, &u, op_index);
    key_set_pending(h, r, &u);
    if (u.effects.handle != 0) {
        h->store.drop(h->store.ctx, u.effects);
    }
    own_round(h, r);
}

/* H12: nil is answered only after the deletion has committed. True: the read waits for it, at the
 * head of the queue. */
static bool expire_first(struct hermes *h, struct record *r, const struct hermes_meta *m,
                         uint32_t op)
{
    if (!m->live || m->expire_ms == 0 || h->wall_ms <= m->expire_ms || MUTANT(H12_NIL_BY_CLOCK)) {
        return false;
    }
    if (m->hot) {
        mark(h, HERMES_MARK_HOT_REFUSED, &r->key, m->ts, m->generation);
        complete(h, op, HERMES_HOT, m->ts, m->generation, false);
        return true;
    }
    key_push_head(h, r, op);
    if (slot_blocked(h, r->key.slot)) {
        slot_wait(h, r);
    } else {
        mark(h, HERMES_MARK_EXPIRED_DELETED, &r->key, m->ts, 0);
        struct hermes_op del = {.kind = HERMES_EXPIRE, .key = r->key};
        start(h, r, &del, NIL);
    }
    return true;
}

static void read_now(struct hermes *h, const struct hermes_key *key, const struct hermes_meta *m,
                     uint32_t op)
{
    h->store.read(h->store.ctx, key, h->ops[op].op.id);
    complete(h, op, HERMES_DONE, m->ts, m->generation, false);
}

static void run(struct hermes *h, struct record *r, uint32_t op)
{
    const struct hermes_op *o = &h->ops[op].op;
    if (h->ops[op].parent != NIL) {
        key_push_head(h, r, op);
        ticket_turn(h, op);
        return;
    }
    struct hermes_meta m;
    key_meta(h, &r->key, &m);
    if (!has_lease(h)) { /* H9 */
        mark(h, HERMES_MARK_READ_NO_LEASE, &r->key, m.ts, 0);
        complete(h, op, HERMES_TRYAGAIN, 0, 0, false);
    } else if (o->kind == HERMES_READ) {
        if (!expire_first(h, r, &m, op)) {
            read_now(h, &r->key, &m, op);
        }
    } else if (slot_blocked(h, r->key.slot)) { /* H11 */
        mark(h, HERMES_MARK_OP_WAITED_FOR_GRANT, &r->key, m.ts, 0);
        key_push_head(h, r, op);
        slot_wait(h, r);
    } else {
        struct hermes_op copy = *o;
        copy.key = r->key;
        start(h, r, &copy, op);
    }
}

static void verdict(struct hermes *h, struct record *r)
{
    uint32_t op = r->own.op;
    uint64_t ts = r->own.u.ts;
    bool again = r->own.u.rmw || r->own.open;
    uint64_t generation = r->own.u.generation;
    key_clear_own(h, r);
    if (op == NIL) {
        return; /* the read that wanted it looks again */
    }
    if (again) {
        mark(h, HERMES_MARK_RMW_RETRIED, &r->key, ts, r->seen);
        key_push_head(h, r, op);
    } else {
        mark(h, HERMES_MARK_WRITE_SUPERSEDED, &r->key, ts, r->seen);
        complete(h, op, HERMES_DONE, ts, generation, true);
    }
}

void pump(struct hermes *h, struct record *r)
{
    if (!r->has_pending) {
        if (r->own.active) {
            verdict(h, r);
        }
        uint32_t blocked = NIL;
        for (unsigned n = 0; n < PUMP_MAX && !r->has_pending && r->head != NIL &&
                             r->head != blocked && out_has_room(h, 8);
             n++) {
            uint32_t op = key_pop(h, r);
            run(h, r, op);
            blocked = r->head == op ? op : NIL; /* put back: nothing behind it may pass */
        }
        r->resend_at = r->has_pending || r->head == NIL ? r->resend_at : UINT64_MAX;
        if (!r->has_pending && r->head != NIL && blocked == NIL) {
            r->resend_at = h->now; /* the rest in the next step */
        }
    }
    key_set_state(h, r);
    key_release(h, r);
}

void fail_waiting(struct hermes *h, struct record *r)
{
    for (unsigned n = 0; n < PUMP_MAX && r->head != NIL && out_has_room(h, 8); n++) {
        if (ticket_stays(h, r->head)) {
            return;
        }
        if (h->ops[r->head].parent != NIL) {
            multi_end(h, h->ops[r->head].parent, HERMES_TRYAGAIN, 0, 0);
        } else {
            complete(h, key_pop(h, r), HERMES_TRYAGAIN, 0, 0, false);
        }
    }
}

void look_again(struct hermes *h, struct record *r)
{
    if (!r->dirty) {
        r->dirty = true;
        r->dirty_next = h->dirty;
        h->dirty = (uint32_t)(r - h->records);
    }
}

#define SETTLE_MAX 1024 /* the rest in the next step */

/* What a commit of several keys, a lock or an unlock has set in motion elsewhere. Not done on the
 * spot: whoever called is in the middle of a record. */
void settle(struct hermes *h)
{
    for (unsigned n = 0; n < SETTLE_MAX && out_has_room(h, 24); n++) {
        if (h->dirty != NIL) {
            struct record *r = &h->records[h->dirty];
            h->dirty = r->dirty_next;
            r->dirty = false;
            pump(h, r);
        } else if (h->ready != NIL) {
            uint32_t parent = h->ready;
            h->ready = h->ops[parent].ready_next;
            h->ops[parent].ready = false;
            multi_try(h, parent);
        } else {
            return;
        }
    }
}

static bool known(enum hermes_op_kind kind)
{
    return kind >= HERMES_READ && kind <= HERMES_MULTI;
}

/* A record for an operation of this replica's own. Not the whole table is for those: if every
 * replica filled its table with updates of different keys, none could take the INV of another, and
 * all would wait for ever. Half of it, shared out among the view, leaves room for everybody's and
 * for what departed owners have left behind. */
bool room_for_own(const struct hermes *h, uint32_t records)
{
    uint32_t nodes = view_count(&h->view) == 0 ? 1 : view_count(&h->view);
    uint32_t share = h->limits.records / (2 * nodes);
    return h->limits.records - h->free_records + records <= (share == 0 ? 1 : share);
}

enum err on_op(struct hermes *h, const struct hermes_op *op)
{
    if (!known(op->kind)) {
        return ERR_UNSUPPORTED;
    }
    must(op->id != 0 && op->key.slot < h->limits.slots);
    if (h->free_ops == 0) {
        return ERR_BUSY;
    }
    if (op->kind == HERMES_PURGE) {
        return on_purge_op(h, op);
    }
    if (op->kind == HERMES_MULTI) {
        return on_multi_op(h, op);
    }
    struct record *r = key_find(h, &op->key);
    struct hermes_meta m;
    key_meta(h, &op->key, &m);
    bool expired = m.live && m.expire_ms != 0 && h->wall_ms > m.expire_ms;
    bool at_once =
        r == NULL && op->kind == HERMES_READ && !expired; /* the common case needs no record */
    if (MUTANT(H14_OVERTAKE) && op->kind == HERMES_READ && r != NULL) {
        at_once = r->state == KEY_WRITE || r->state == KEY_VALID;
    }
    if (r == NULL && !at_once && !room_for_own(h, 1)) {
        return ERR_BUSY;
    }
    uint32_t i = op_take(h, op);
    if (!has_lease(h)) {
        mark(h, HERMES_MARK_READ_NO_LEASE, &op->key, 0, 0);
        complete(h, i, HERMES_TRYAGAIN, 0, 0, false);
        return OK;
    }
    if (at_once) {
        read_now(h, &op->key, &m, i);
        return OK;
    }
    r = key_get(h, &op->key);
    if (r->has_pending) {
        mark(h, HERMES_MARK_READ_WAITED, &op->key, r->seen, (uint64_t)op->kind);
    }
    bool idle = !r->has_pending && r->head == NIL;
    key_push(h, r, i);
    if (idle) {
        pump(h, r);
    }
    return OK;
}
