/* What happens to a pending update that nobody finishes (H6), and how a replica gets what it has
 * missed.
 *
 * A blind write is replayed by whoever holds it, when its owner has left the view or the
 * message-loss timeout has passed. An RMW only when its owner has left: as long as it is here, it
 * may have given up, and a replay by others would make its verdict wrong (PROTOCOLS trap 3); so it
 * is asked. A replay is the same update again, same ts, kind, base and effects, with ACKs collected
 * by the replayer. Timers decide when, never what.
 *
 * GET asks for what a replica has above what the asker has: the committed value, and the pending
 * update after it. A value so received in the own epoch is committed, and nothing larger is unless
 * something larger has been ACKed here; so the key is Valid at it when nothing larger is pending.
 */
#include "coherence/hermes_int.h"

void ask(struct hermes *h, const struct hermes_key *key, const struct record *r, uint32_t to_mask)
{
    struct hermes_meta c;
    key_meta(h, key, &c);
    send_key(h, MSG_HERMES_GET, to_mask, key, c.ts, r != NULL && r->seen > c.ts ? r->seen : c.ts);
}

static void replay_start(struct hermes *h, struct record *r, bool owner_left)
{
    mark(h, owner_left ? HERMES_MARK_REPLAY_DEAD_OWNER : HERMES_MARK_REPLAY_TIMEOUT, &r->key,
         r->pending.ts, r->pending.owner);
    if (MUTANT(H6_REPLAY_NEW_TS)) {
        r->pending.ts = ts_make(ts_version(r->pending.ts) + 2, h->id);
        r->pending.owner = h->id;
        r->seen = r->pending.ts;
    }
    r->replaying = true;
    r->tries = 0;
    r->round = (struct round){.epoch = h->view.epoch};
    replay_round(h, r);
}

/* Somebody else's update is pending, or an own one that is superseded or open. */
static void pending_timer(struct hermes *h, struct record *r)
{
    if (r->group != NIL) {
        group_timer(h, r);
        return;
    }
    bool owner_here = view_is_member(&h->view, r->pending.owner);
    if (r->replaying) {
        replay_round(h, r);
        return;
    }
    r->replay_at = h->now + jitter(h, h->limits.replay_ns);
    if (MUTANT(H6_NO_REPLAY)) {
        return;
    }
    if (!view_is_member(&h->view, h->id)) { /* a learner coordinates nothing (H10) */
        ask(h, &r->key, r, owner_here ? mask_of(h, r->pending.owner) : others_mask(h));
    } else if (!owner_here || !r->pending.rmw || r->pending.owner == h->id ||
               MUTANT(H6_REPLAY_RMW_EARLY)) {
        replay_start(h, r, !owner_here);
    } else {
        mark(h, HERMES_MARK_OWNER_ASKED, &r->key, r->pending.ts, r->pending.owner);
        ask(h, &r->key, r, mask_of(h, r->pending.owner));
    }
}

void record_timer(struct hermes *h, struct record *r)
{
    if (r->head != NIL && !has_lease(h)) {
        fail_waiting(h, r);
    }
    if (r->own.active && !r->own.open && r->resend_at <= h->now) {
        mark(h, HERMES_MARK_RESENT, &r->key, r->own.u.ts, r->own.round.acks);
        own_round(h, r);
    } else if (r->resend_at <= h->now) {
        r->resend_at = UINT64_MAX; /* it only asked for another pump; left in the past it would wake
                                      us for ever */
    }
    if (r->has_pending && r->replay_at <= h->now) {
        pending_timer(h, r);
    }
    pump(h, r);
}

void on_get(struct hermes *h, const struct hermes_msg *m)
{
    struct hermes_meta c;
    key_meta(h, &m->key, &c);
    const struct record *r = key_find(h, &m->key);
    bool pending = r != NULL && r->has_pending;
    uint32_t from = mask_of(h, m->sender);
    if (!pending && c.ts == m->held && c.ts > m->ts) {
        send_key(h, MSG_HERMES_VAL, from, &m->key, c.ts, 0);
    } else if (c.ts > m->ts) {
        struct hermes_msg *v = send_to(h, MSG_HERMES_VALUE, from);
        v->key = m->key;
        v->ts = c.ts;
        v->flags = (uint8_t)((c.live ? MSG_FLAG_LIVE : 0u) | (c.hot ? MSG_FLAG_HOT : 0u));
        v->generation = c.generation;
    }
    if (pending && r->pending.ts > m->held && r->group != NIL) {
        group_send(h, from, r->group);
    } else if (pending && r->pending.ts > m->held) {
        send_update(h, from, &m->key, &r->pending);
    }
}

static void install(struct hermes *h, const struct hermes_msg *m)
{
    struct hermes_meta meta = {.ts = m->ts,
                               .generation = m->generation,
                               .live = (m->flags & MSG_FLAG_LIVE) != 0,
                               .hot = (m->flags & MSG_FLAG_HOT) != 0};
    mark(h, HERMES_MARK_VALUE_INSTALLED, &m->key, m->ts, meta.live);
    h->store.install(h->store.ctx, &m->key, &meta, m->payload);
    if (!meta.live && ts_id(m->ts) == 0 &&
        m->ts != 0) { /* the sender's floor stands for the key (H8) */
        floor_raise(h, m->key.slot, ts_version(m->ts));
    }
}

/* An own update at or below a floor was never taken by who holds the floor: it starts again. */
static void open_below_floor(struct hermes *h, struct record *r, uint64_t version)
{
    if (r->own.active && ts_version(r->own.u.ts) <= version) {
        r->own.open = true;
        r->resend_at = UINT64_MAX;
        mark(h, HERMES_MARK_FLOOR_RAISED, &r->key, r->own.u.ts, version);
    }
}

enum err on_value(struct hermes *h, const struct hermes_msg *m)
{
    struct record *r = key_find(h, &m->key);
    struct hermes_meta c;
    key_meta(h, &m->key, &c);
    bool learner = !h->caught_up;
    if (m->ts <= c.ts && !(learner && MUTANT(H10_OVERWRITE))) {
        return OK;
    }
    if (r == NULL) {
        if (learner) {
            install(h, m);
        } else if ((m->flags & MSG_FLAG_LIVE) == 0 && ts_id(m->ts) == 0 && !c.live) {
            floor_raise(
                h, m->key.slot,
                ts_version(m->ts)); /* a base that is nothing but a floor I had not heard of */
        } else {
            mark(h, HERMES_MARK_ODD_VALUE_REFUSED, &m->key, m->ts, c.ts);
        }
        return OK;
    }
    bool floor = ts_id(m->ts) == 0 && (m->flags & MSG_FLAG_LIVE) == 0;
    uint64_t covers =
        floor ? m->ts | TS_ID_MAX : m->ts; /* nothing up to a floor can commit any more */
    if (r->group != NIL && r->pending.ts <= covers) { /* nothing but it leads to what is there */
        mark(h, HERMES_MARK_MULTI_PROVED, &r->key, r->pending.ts, 0);
        group_commit(h, r->group);
        key_meta(h, &m->key, &c);
        if (m->ts <= c.ts) {
            return OK;
        }
    }
    if (r->has_pending && r->pending.ts == m->ts &&
        (!r->pending.rmw || key_base_held(h, &r->key, &c, r->pending.base))) {
        (void)commit_pending(h, r); /* so that an own one gets its reply */
    } else if (r->has_pending && r->pending.ts > covers && r->pending.rmw &&
               m->ts > r->pending.base) {
        mark(h, HERMES_MARK_ODD_VALUE_REFUSED, &m->key, m->ts, r->pending.ts);
    } else {
        install(h, m);
        if (floor) {
            open_below_floor(h, r, ts_version(m->ts));
        }
        if (r->has_pending && r->pending.ts <= covers) {
            key_clear_pending(h, r);
        }
        if (!r->has_pending) {
            r->seen = m->ts;
        }
    }
    pump(h, r);
    return OK;
}

/* H8: what I sent is at or below the slot's floor at a member that is Valid there: it can not
 * commit, and the key counts as absent at the floor. */
void on_floor(struct hermes *h, const struct hermes_msg *m)
{
    floor_raise(h, m->key.slot, m->version);
    struct record *r = key_find(h, &m->key);
    struct hermes_meta c;
    key_meta(h, &m->key, &c);
    if (r == NULL || !r->has_pending || r->group != NIL || r->pending.ts != m->ts || c.live) {
        return;
    }
    open_below_floor(h, r, m->version);
    key_clear_pending(h, r);
    r->seen = c.ts;
    pump(h, r);
}
