/* INV: somebody wants to update a key (H2), and what that proves about earlier updates (H4). */
#include "coherence/hermes_int.h"

void update_of_msg(const struct hermes_msg *m, struct hermes_update *u)
{
    *u = (struct hermes_update){.ts = m->ts,
                                .base = m->base,
                                .generation = m->generation,
                                .now_ms = m->now_ms,
                                .owner = m->owner,
                                .rmw = (m->flags & MSG_FLAG_RMW) != 0,
                                .hot = (m->flags & MSG_FLAG_HOT) != 0,
                                .effects = m->payload};
}

/* H4: an update started from base, so base was Valid somewhere: it is committed. */
void prove(struct hermes *h, struct record *r, uint64_t base)
{
    if (MUTANT(H4_NO_PROOF)) {
        return;
    }
    if (r->has_pending && r->pending.ts == base) {
        mark(h, HERMES_MARK_BASE_PROVED, &r->key, base, 0);
        (void)commit_pending(h, r);
    } else if (r->own.active && r->own.u.ts == base) {
        commit_own_early(h, r);
    }
}

/* Larger than all I have seen: pending from now on; mine, if any, is overtaken. */
static void store_update(struct hermes *h, struct record *r, const struct hermes_update *u)
{
    key_set_pending(h, r, u);
    mark(h, HERMES_MARK_INV_STORED, &r->key, u->ts, u->owner);
    if (r->own.active && r->own.u.rmw && !r->own.open) { /* H5: given up, not decided */
        mark(h, HERMES_MARK_RMW_GAVE_UP, &r->key, r->own.u.ts, u->ts);
        r->own.open = true;
        r->resend_at = UINT64_MAX;
        if (MUTANT(H5_RETRY_AT_ONCE) && r->own.op != NIL) {
            uint32_t op = r->own.op;
            key_clear_own(h, r);
            key_push_head(h, r, op);
        }
    }
    r->replay_at = h->now + jitter(h, h->limits.replay_ns);
    if (MUTANT(H3_APPLY_AT_INV)) {
        h->store.apply(h->store.ctx, &r->key, u, 0);
    }
}

/* The answer to GET brings the INV again. Should that still not be enough, asking at once would go
 * round and round at the speed of the network: the next one waits for the INV to be sent by timer.
 */
static void fetch_base(struct hermes *h, const struct record *r, const struct hermes_update *u,
                       uint32_t from)
{
    uint64_t what = r->key.hash ^ u->ts;
    uint32_t slot = (uint32_t)((what ^ what >> 20 ^ what >> 40) % ASKED_SLOTS);
    if (h->asked[slot].what == what && h->now < h->asked[slot].at + h->limits.resend_ns / 2) {
        return;
    }
    h->asked[slot].what = what;
    h->asked[slot].at = h->now;
    mark(h, HERMES_MARK_BASE_FETCHED, &r->key, u->ts, u->base);
    ask(h, &r->key, r, from);
}

static void inv_larger(struct hermes *h, struct record *r, const struct hermes_msg *m,
                       bool transferred)
{
    struct hermes_update u;
    update_of_msg(m, &u);
    uint32_t from = mask_of(h, m->sender);
    struct hermes_meta c;
    key_meta(h, &r->key, &c);
    if (u.rmw && !key_base_held(h, &r->key, &c, u.base)) {
        if (c.ts > u.base) { /* what it would skip is committed here: it can never commit */
            mark(h, HERMES_MARK_IMPOSSIBLE, &r->key, u.ts, c.ts);
            send_key(h, MSG_HERMES_NACK, from, &r->key, u.ts, c.ts);
        } else { /* H2: first the base; the answer brings the update again */
            fetch_base(h, r, &u, from);
        }
        return;
    }
    store_update(h, r, &u);
    if (!transferred) {
        send_key(h, MSG_HERMES_ACK, from, &r->key, u.ts, u.ts);
    }
}

/* Not larger. meta: the committed state; seen: the largest ts here. */
static void inv_not_larger(struct hermes *h, const struct record *r, const struct hermes_msg *m,
                           const struct hermes_meta *c, uint64_t seen)
{
    uint32_t from = mask_of(h, m->sender);
    bool pending = r != NULL && r->has_pending;
    if (m->ts == seen) {
        send_key(h, MSG_HERMES_ACK, from, &m->key, m->ts, seen);
    } else if (h->caught_up && !pending && !c->live &&
               ts_version(m->ts) <= h->slots[m->key.slot].floor) { /* H8 */
        mark(h, HERMES_MARK_FLOOR_ANSWERED, &m->key, m->ts, h->slots[m->key.slot].floor);
        struct hermes_msg *f = send_to(h, MSG_HERMES_FLOOR, from);
        f->key = m->key;
        f->ts = m->ts;
        f->version = h->slots[m->key.slot].floor;
    } else if ((m->flags & MSG_FLAG_RMW) == 0 || MUTANT(H2_ACK_SMALLER_RMW)) {
        mark(h, HERMES_MARK_INV_SMALLER_WRITE, &m->key, m->ts, seen);
        if (!MUTANT(H2_DROP_SMALLER_WRITE)) {
            send_key(h, MSG_HERMES_ACK, from, &m->key, m->ts,
                     MUTANT(H2_ACK_SMALLER_RMW) ? m->ts : seen);
        }
    } else if (pending) {
        mark(h, HERMES_MARK_RMW_REJECTED, &m->key, m->ts, seen);
        send_update(h, from, &m->key, &r->pending);
    } else {
        mark(h, HERMES_MARK_RMW_NACKED, &m->key, m->ts, seen);
        send_key(h, MSG_HERMES_NACK, from, &m->key, m->ts, seen);
    }
}

enum err on_inv(struct hermes *h, const struct hermes_msg *m, bool transferred)
{
    struct record *r = key_find(h, &m->key);
    if (r != NULL && r->has_pending && m->base != 0) {
        prove(h, r, m->base);
    }
    /* H11: nothing passes an update of several keys, whatever its ts: what races it started from
       the same base, and has a smaller one. */
    if (r != NULL && r->group != NIL && !MUTANT(H11_ACK_BESIDE_MULTI)) {
        mark(h, HERMES_MARK_MULTI_REFUSED, &m->key, m->ts, r->pending.ts);
        if (!transferred) {
            group_send(h, mask_of(h, m->sender), r->group);
        }
        return OK;
    }
    struct hermes_meta c;
    key_meta(h, &m->key, &c);
    uint64_t seen = r != NULL && r->seen > c.ts ? r->seen : c.ts;
    bool at_floor = h->caught_up && !c.live && (r == NULL || !r->has_pending) &&
                    ts_version(m->ts) <= h->slots[m->key.slot].floor && !MUTANT(H8_NO_FLOOR);
    if (m->ts > seen && !at_floor) {
        if (r == NULL && h->free_records == 0) {
            return ERR_BUSY;
        }
        r = key_get(h, &m->key);
        inv_larger(h, r, m, transferred);
    } else if (!transferred) {
        inv_not_larger(h, r, m, &c, at_floor && m->ts > seen ? UINT64_MAX : seen);
    }
    if (r != NULL) {
        pump(h, r);
    }
    return OK;
}
