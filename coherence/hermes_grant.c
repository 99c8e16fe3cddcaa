/* Exclusive slot grants (H11), and what is done under them: updates of several keys
 * (hermes_multi.c) and purging tombstones (H8).
 *
 * The owner sends LOCK(slot, nonce) to everybody; each starts no new update in the slot, waits
 * until nothing of the slot is pending at it, and answers LOCKED; with all answers the owner holds
 * the grant until it sends UNLOCK. A member is locked by one owner at a time and ignores others'
 * LOCKs until that one is gone; of two that want the same slot the one with the larger id yields.
 * Nonces grow per owner, so what is late is recognised. A member that has been locked for long says
 * LOCKED again, and is told UNLOCK if the owner does not want the slot any more; so a lost UNLOCK
 * heals. A view change voids everything.
 *
 * A grant taken for updates of several keys is kept for a while after the last of them; meanwhile
 * the owner's updates of one key need nobody's leave either. A member where something waits says
 * WANT, or LOCK: then the owner starts no more than YIELD_STARTS updates of several keys, ends what
 * is under way and gives the grant up; what waits elsewhere starts before it can ask again. LOCKED
 * tells the member's floor: the owner's updates start above all of them.
 *
 * Purge(F): each first raises the slot's floor to F, then drops tombstones up to F. Learners purge
 * nothing: no purge while there is one. */
#include "coherence/hermes_int.h"

#define YIELD_STARTS 16u

static const struct grant *grant_held(const struct hermes *h, uint16_t slot)
{
    uint32_t i = h->slots[slot].grant;
    return i != 0 && h->grants[i - 1].phase == GRANT_HELD ? &h->grants[i - 1] : NULL;
}

bool slot_blocked(const struct hermes *h, uint16_t slot)
{
    if (h->slots[slot].locked_by == 0 || MUTANT(H11_START_IN_LOCKED)) {
        return false;
    }
    const struct grant *g = grant_held(h, slot);
    return g == NULL || g->op != NIL || (g->yield && g->starts != 0);
}

void floor_raise(struct hermes *h, uint16_t slot, uint64_t version)
{
    if (version > h->slots[slot].floor) {
        h->slots[slot].floor = version;
    }
}

static void send_slot(struct hermes *h, enum msg_kind kind, uint32_t to_mask, uint16_t slot,
                      uint64_t nonce, uint64_t version)
{
    struct hermes_msg *m = send_to(h, kind, to_mask);
    m->slot = slot;
    m->nonce = nonce;
    m->version = version;
}

static struct grant *grant_of(struct hermes *h, uint16_t slot)
{
    return h->slots[slot].grant == 0 ? NULL : &h->grants[h->slots[slot].grant - 1];
}

bool hermes_holds_grant(const struct hermes *h, uint16_t slot)
{
    return grant_held(h, slot) != NULL;
}

/* ---- what waits for a slot ---- */

void slot_forget(struct hermes *h, struct record *r)
{
    uint32_t *at = &h->blocked;
    while (r->blocked && &h->records[*at] != r) {
        at = &h->records[*at].blocked_next;
    }
    if (r->blocked) {
        *at = r->blocked_next;
        r->blocked = false;
    }
}

static void say_want(struct hermes *h, uint16_t slot)
{
    struct slot_info *s = &h->slots[slot];
    if (s->locked_by != 0 && s->locked_by != h->id) {
        s->want_said = true;
        send_slot(h, MSG_HERMES_WANT, mask_of(h, s->locked_by), slot, s->lock_nonce, 0);
    }
}

void slot_wait(struct hermes *h, struct record *r)
{
    if (!r->blocked) {
        r->blocked = true;
        r->blocked_next = h->blocked;
        h->blocked = (uint32_t)(r - h->records);
    }
    if (!h->slots[r->key.slot].want_said) {
        say_want(h, r->key.slot);
    }
}

static void slot_wake(struct hermes *h, uint16_t slot)
{
    uint32_t *at = &h->blocked;
    while (*at != NIL) {
        struct record *r = &h->records[*at];
        if (r->key.slot == slot) {
            *at = r->blocked_next;
            r->blocked = false;
            look_again(h, r);
        } else {
            at = &r->blocked_next;
        }
    }
}

static void lock_set(struct hermes *h, uint16_t slot, uint32_t by, uint64_t nonce)
{
    struct slot_info *s = &h->slots[slot];
    if (s->locked_by == 0) {
        h->locked_slots++;
    }
    s->locked_by = by;
    s->lock_nonce = nonce;
    s->lock_acked = false;
    s->want_said = false;
    if (h->lock_deadline == UINT64_MAX) {
        h->lock_deadline = h->now + h->limits.replay_ns;
    }
}

static void lock_clear(struct hermes *h, uint16_t slot)
{
    if (h->slots[slot].locked_by != 0) {
        h->slots[slot].locked_by = 0;
        h->locked_slots--;
        slot_wake(h, slot);
    }
}

/* ---- owner ---- */

static void all_ready(struct hermes *h)
{
    h->grants_short = false;
    for (uint32_t p = h->parents; p != NIL; p = h->ops[p].next) {
        multi_ready(h, p);
    }
}

static void grant_end(struct hermes *h, struct grant *g, enum hermes_result result)
{
    if (h->slots[g->slot].locked_by == h->id) {
        lock_clear(h, g->slot);
    }
    if (g->op != NIL) {
        complete(h, g->op, result, 0, 0, false);
    }
    g->phase = GRANT_FREE;
    h->slots[g->slot].grant = 0;
    if (h->slots[g->slot].multis != 0) {
        multis_ready(h, g->slot); /* they ask anew */
    }
    if (h->grants_short) {
        all_ready(h);
    }
}

static struct grant *grant_new(struct hermes *h, uint16_t slot, uint32_t op)
{
    for (uint32_t i = 0; i < HERMES_GRANTS_MAX; i++) {
        if (h->grants[i].phase == GRANT_FREE) {
            h->grants[i] = (struct grant){.phase = GRANT_WANTED, .slot = slot, .op = op};
            h->slots[slot].grant = i + 1;
            return &h->grants[i];
        }
    }
    return NULL;
}

/* ---- owner, for updates of several keys ---- */

static void grant_release(struct hermes *h, struct grant *g)
{
    mark(h, HERMES_MARK_GRANT_RELEASED, NULL, g->starts, g->slot);
    send_slot(h, MSG_HERMES_UNLOCK, others_mask(h), g->slot, g->nonce, 0);
    grant_end(h, g, HERMES_DONE);
}

static bool is_idle(const struct hermes *h, const struct grant *g)
{
    return g->phase == GRANT_HELD && g->op == NIL && h->slots[g->slot].own == 0;
}

/* Somebody else wants the slot: now, or when what is under way has ended. */
static void yield_check(struct hermes *h, struct grant *g)
{
    if (is_idle(h, g) && g->yield && (g->starts != 0 || h->slots[g->slot].multis == 0) &&
        !MUTANT(H11_GRANT_NEVER_GIVEN_UP)) {
        grant_release(h, g);
    }
}

/* The one longest unused makes room. */
static bool make_room(struct hermes *h)
{
    struct grant *oldest = NULL;
    for (uint32_t i = 0; i < HERMES_GRANTS_MAX; i++) {
        struct grant *g = &h->grants[i];
        if (is_idle(h, g) && h->slots[g->slot].multis == 0 &&
            (oldest == NULL || g->used_at < oldest->used_at)) {
            oldest = g;
        }
    }
    if (oldest != NULL) {
        grant_release(h, oldest);
    }
    return oldest != NULL;
}

static void grant_ask(struct hermes *h, struct grant *g);

bool grant_for_multi(struct hermes *h, uint16_t slot)
{
    struct grant *g = grant_of(h, slot);
    if (MUTANT(H11_MULTI_WITHOUT_GRANT)) {
        return h->slots[slot].locked_by == 0;
    }
    if (g == NULL) {
        g = grant_new(h, slot, NIL);
        if (g == NULL && make_room(h)) {
            g = grant_new(h, slot, NIL);
        }
        if (g == NULL) {
            h->grants_short = true; /* the timer looks again */
            return false;
        }
        grant_ask(h, g);
    }
    return g->phase == GRANT_HELD && g->op == NIL && !(g->yield && g->starts >= YIELD_STARTS);
}

void grant_used(struct hermes *h, uint16_t slot)
{
    struct grant *g = grant_of(h, slot);
    if (g != NULL) {
        mark(h, HERMES_MARK_GRANT_KEPT, NULL, g->starts, slot);
        g->starts++;
        g->used_at = h->now;
    }
}

void on_want(struct hermes *h, const struct hermes_msg *m)
{
    struct grant *g = grant_of(h, m->slot);
    if (g == NULL || g->nonce != m->nonce) {
        send_slot(h, MSG_HERMES_UNLOCK, mask_of(h, m->sender), m->slot, m->nonce, 0);
        return;
    }
    mark(h, HERMES_MARK_GRANT_WANTED_BY_OTHER, NULL, 0, m->slot);
    g->yield = true;
    yield_check(h, g);
}

/* ---- owner ---- */

static void purge_here(struct hermes *h, struct grant *g)
{
    floor_raise(h, g->slot, g->version);
    g->purged_here =
        h->store.purge(h->store.ctx, g->slot, g->version, &h->slots[g->slot].generation);
}

static void grant_advance(struct hermes *h, struct grant *g)
{
    bool all = (g->acks & others_mask(h)) == others_mask(h);
    if (g->phase == GRANT_WANTED && all && h->slots[g->slot].busy == 0 &&
        h->slots[g->slot].locked_by == h->id) {
        g->phase = GRANT_HELD;
        g->acks = 0;
        mark(h, HERMES_MARK_GRANT_TAKEN, NULL, g->version, g->slot);
        if (g->op == NIL) {
            g->used_at = h->now;
            g->deadline = h->now + h->limits.replay_ns;
            slot_wake(h, g->slot);
            multis_ready(h, g->slot);
            yield_check(h, g);
            return;
        }
        send_slot(h, MSG_HERMES_PURGE, others_mask(h), g->slot, g->nonce, g->version);
        purge_here(h, g);
        g->deadline = h->now + h->limits.resend_ns;
        all = others_mask(h) == 0;
    }
    if (g->phase == GRANT_HELD && g->op != NIL && all && g->purged_here) {
        mark(h, HERMES_MARK_PURGE_DONE, NULL, g->version, g->slot);
        send_slot(h, MSG_HERMES_UNLOCK, others_mask(h), g->slot, g->nonce, 0);
        grant_end(h, g, HERMES_DONE);
    }
}

static void grant_ask(struct hermes *h, struct grant *g)
{
    if (h->slots[g->slot].locked_by == 0) {
        g->nonce = ++h->nonce;
        g->acks = 0;
        lock_set(h, g->slot, h->id, g->nonce);
    }
    if (h->slots[g->slot].locked_by == h->id) {
        send_slot(h, MSG_HERMES_LOCK, others_mask(h) & ~g->acks, g->slot, g->nonce, 0);
    } else {
        say_want(h, g->slot);
    }
    g->deadline = h->now + jitter(h, h->limits.resend_ns);
    grant_advance(h, g);
}

enum err on_purge_op(struct hermes *h, const struct hermes_op *op)
{
    struct grant *g = grant_of(h, op->key.slot);
    if (g != NULL && is_idle(h, g) && h->slots[op->key.slot].multis == 0) {
        grant_release(h, g); /* kept and not used: it is taken for this */
    }
    bool taken = grant_of(h, op->key.slot) != NULL;
    uint32_t i = op_take(h, op);
    if (!has_lease(h)) {
        complete(h, i, HERMES_TRYAGAIN, 0, 0, false);
    } else if (h->view.learners != 0 || taken || op->version > TS_VERSION_MAX) {
        complete(h, i, HERMES_REFUSED, 0, 0, false);
    } else if ((g = grant_new(h, op->key.slot, i)) == NULL) {
        complete(h, i, HERMES_REFUSED, 0, 0, false);
    } else {
        g->version = op->version;
        grant_ask(h, g);
    }
    return OK;
}

void on_locked(struct hermes *h, const struct hermes_msg *m)
{
    struct grant *g = grant_of(h, m->slot);
    if (g == NULL || g->nonce != m->nonce) {
        send_slot(h, MSG_HERMES_UNLOCK, mask_of(h, m->sender), m->slot, m->nonce, 0);
        return;
    }
    if (g->phase == GRANT_WANTED && h->slots[m->slot].locked_by == h->id) {
        if (!MUTANT(H11_FLOOR_NOT_TOLD)) {
            floor_raise(h, m->slot, m->version);
        }
        g->acks |= mask_of(h, m->sender);
        grant_advance(h, g);
    }
}

void on_purged(struct hermes *h, const struct hermes_msg *m)
{
    struct grant *g = grant_of(h, m->slot);
    if (g != NULL && g->phase == GRANT_HELD && g->op != NIL && g->nonce == m->nonce) {
        g->acks |= mask_of(h, m->sender);
        grant_advance(h, g);
    }
}

/* ---- member ---- */

void slot_settled(struct hermes *h, uint16_t slot)
{
    struct slot_info *s = &h->slots[slot];
    if (s->locked_by == h->id) {
        struct grant *g = grant_of(h, slot);
        if (g != NULL && (g->phase == GRANT_WANTED || g->yield)) {
            g->deadline = h->now; /* the timer looks at it: this may be the middle of something */
        }
    } else if (s->locked_by != 0 && !s->lock_acked) {
        s->lock_acked = true;
        send_slot(h, MSG_HERMES_LOCKED, mask_of(h, s->locked_by), slot, s->lock_nonce, s->floor);
    }
}

void on_lock(struct hermes *h, const struct hermes_msg *m)
{
    struct slot_info *s = &h->slots[m->slot];
    struct grant *g = grant_of(h, m->slot);
    if (s->locked_by == h->id) {
        if (g != NULL && g->op == NIL) {
            g->yield = true;
            yield_check(h, g);
            g = grant_of(h, m->slot);
        }
    }
    if (s->locked_by == h->id) {
        if (g == NULL || g->phase == GRANT_HELD || m->sender > h->id) {
            mark(h, HERMES_MARK_LOCK_DEFERRED, NULL, 0, m->slot); /* it asks again */
            return;
        }
        mark(h, HERMES_MARK_GRANT_YIELDED, NULL, 0, m->slot);
        send_slot(h, MSG_HERMES_UNLOCK, others_mask(h), m->slot, g->nonce, 0);
        g->nonce = 0;
        lock_clear(h, m->slot);
    } else if (s->locked_by != 0 && s->locked_by != m->sender) {
        mark(h, HERMES_MARK_LOCK_DEFERRED, NULL, 0, m->slot);
        return;
    }
    if (s->locked_by == m->sender && m->nonce < s->lock_nonce) {
        return;
    }
    lock_set(h, m->slot, m->sender, m->nonce);
    if (s->busy == 0) {
        slot_settled(h, m->slot);
    }
}

void on_unlock(struct hermes *h, const struct hermes_msg *m)
{
    struct slot_info *s = &h->slots[m->slot];
    if (s->locked_by == m->sender && s->lock_nonce == m->nonce) {
        lock_clear(h, m->slot);
        struct grant *g = grant_of(h, m->slot);
        if (g != NULL && g->phase == GRANT_WANTED) {
            g->deadline = h->now; /* my turn */
        }
    }
}

void on_purge(struct hermes *h, const struct hermes_msg *m)
{
    struct slot_info *s = &h->slots[m->slot];
    if (s->locked_by != m->sender || s->lock_nonce != m->nonce || s->busy != 0) {
        return; /* late, or something is still to be settled here: it is sent again */
    }
    floor_raise(h, m->slot, m->version);
    if (h->store.purge(h->store.ctx, m->slot, m->version, &s->generation)) {
        send_slot(h, MSG_HERMES_PURGED, mask_of(h, m->sender), m->slot, m->nonce, 0);
    }
}

/* ---- time and views ---- */

void grants_void(struct hermes *h)
{
    if (MUTANT(H11_GRANT_SURVIVES_VIEW)) {
        return;
    }
    for (unsigned i = 0; i < HERMES_GRANTS_MAX; i++) {
        if (h->grants[i].phase != GRANT_FREE) {
            mark(h, HERMES_MARK_GRANT_VOIDED, NULL, 0, h->grants[i].slot);
            grant_end(h, &h->grants[i], HERMES_REFUSED);
        }
    }
    for (uint32_t i = 0; i < h->limits.slots && h->locked_slots > 0; i++) {
        lock_clear(h, (uint16_t)i);
    }
}

uint64_t grants_deadline(const struct hermes *h)
{
    uint64_t at = h->locked_slots > 0 ? h->lock_deadline : UINT64_MAX;
    if (h->grants_short && h->now + h->limits.resend_ns < at) {
        at = h->now + h->limits.resend_ns;
    }
    for (unsigned i = 0; i < HERMES_GRANTS_MAX; i++) {
        if (h->grants[i].phase != GRANT_FREE && h->grants[i].deadline < at) {
            at = h->grants[i].deadline;
        }
    }
    return at;
}

static void grant_timer(struct hermes *h, struct grant *g)
{
    if (g->phase == GRANT_WANTED) {
        grant_ask(h, g);
        return;
    }
    if (g->op == NIL) {
        g->deadline = h->now + h->limits.replay_ns;
        if (is_idle(h, g) && h->slots[g->slot].multis == 0 &&
            h->now >= g->used_at + h->limits.replay_ns) {
            grant_release(h, g);
        } else {
            yield_check(h, g);
        }
        return;
    }
    if (!g->purged_here) {
        purge_here(h, g);
    }
    send_slot(h, MSG_HERMES_PURGE, others_mask(h) & ~g->acks, g->slot, g->nonce, g->version);
    g->deadline = h->now + jitter(h, h->limits.resend_ns);
    grant_advance(h, g);
}

void grants_timer(struct hermes *h)
{
    for (unsigned i = 0; i < HERMES_GRANTS_MAX; i++) {
        if (h->grants[i].phase != GRANT_FREE && h->grants[i].deadline <= h->now &&
            out_has_room(h, 8)) {
            grant_timer(h, &h->grants[i]);
        }
    }
    if (h->grants_short) {
        all_ready(h);
    }
    if (h->locked_slots == 0 || h->lock_deadline > h->now) {
        return;
    }
    unsigned asked = 0; /* a slice of the slots: is this lock still meant? */
    for (; h->lock_scan < h->limits.slots && asked < HERMES_GRANTS_MAX && out_has_room(h, 8);
         h->lock_scan++) {
        const struct slot_info *s = &h->slots[h->lock_scan];
        if (s->locked_by != 0 && s->locked_by != h->id && s->lock_acked && s->busy == 0) {
            mark(h, HERMES_MARK_UNLOCK_ASKED, NULL, 0, h->lock_scan);
            send_slot(h, MSG_HERMES_LOCKED, mask_of(h, s->locked_by), (uint16_t)h->lock_scan,
                      s->lock_nonce, s->floor);
            if (s->want_said) { /* the first may have been lost */
                say_want(h, (uint16_t)h->lock_scan);
            }
            asked++;
        }
    }
    h->lock_deadline = h->now;
    if (h->lock_scan >= h->limits.slots) {
        h->lock_scan = 0;
        h->lock_deadline = h->now + h->limits.replay_ns;
    }
}
