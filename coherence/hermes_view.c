/* View changes (H7): pending updates are sent again in the new epoch with empty ACK sets, those of
 * removed owners are replayed; in slices, from timer steps. A record not visited yet is safe
 * meanwhile: its ACK set is tagged with the old epoch and counts for nothing.
 *
 * A replica that finds itself outside the new view will never be let in again under this id: what
 * it started and does not know the end of is UNKNOWN (H13), what only waited is for another
 * replica. */
#include "coherence/hermes_int.h"

#define SCAN_MAX 2048u /* records looked at per step, used or not */

void scan_start(struct hermes *h, uint32_t peer)
{
    h->scan_peer = h->scan_at < h->limits.records ? 0 : peer; /* two walks at once: one for all */
    h->scan_at = 0;
}

void on_view(struct hermes *h, const struct view *v)
{
    if (v->epoch <= h->view.epoch || h->expelled || !view_ok(v)) { /* V1 */
        return;
    }
    h->view = *v;
    mark(h, HERMES_MARK_VIEW_INSTALLED, NULL, 0, v->epoch);
    grants_void(h);
    if (view_index(v, h->id) < 0) {
        h->expelled = true;
        mark(h, HERMES_MARK_EXPELLED, NULL, 0, v->epoch);
    } else if (!h->caught_up) {
        transfer_start(h);
    }
    scan_start(h, 0);
}

/* True if the record is done with. */
static void expel(struct hermes *h, struct record *r)
{
    if (r->own.active) {
        uint32_t op = r->own.op;
        uint64_t ts = r->own.u.ts;
        key_clear_own(h, r);
        if (op != NIL) {
            complete(h, op, MUTANT(H13_UNKNOWN_RETRIED) ? HERMES_TRYAGAIN : HERMES_UNKNOWN, ts, 0,
                     false);
        }
    }
    if (r->group != NIL) {
        group_drop(h, r->group);
    } else if (r->has_pending) {
        key_clear_pending(h, r);
    }
    fail_waiting(h, r);
    key_set_state(h, r);
    if (r->head != NIL) {
        key_set_deadline(h, r, h->now);
    }
    key_release(h, r);
}

static void revisit(struct hermes *h, struct record *r)
{
    if (h->expelled) {
        expel(h, r);
        return;
    }
    if (r->group != NIL) {
        group_revisit(h, r);
        pump(h, r);
        return;
    }
    bool own = r->own.active && !r->own.open;
    if (own && r->own.round.epoch != h->view.epoch && !MUTANT(H7_NO_RESEND)) {
        mark(h, HERMES_MARK_RESENT_NEW_EPOCH, &r->key, r->own.u.ts, h->view.epoch);
        r->tries = 0;
        own_round(h, r);
    }
    if (r->replaying && r->round.epoch != h->view.epoch) {
        replay_round(h, r);
    } else if (r->has_pending && !view_is_member(&h->view, r->pending.owner)) {
        r->replay_at = h->now; /* the timer does it */
    }
    pump(h, r);
}

/* The connection to this peer is new: what it may have missed, again. */
static void revisit_peer(struct hermes *h, struct record *r)
{
    uint32_t peer = mask_of(h, h->scan_peer);
    if (r->group != NIL) {
        group_revisit_peer(h, r, peer);
    } else if (r->own.active && !r->own.open && (r->own.round.acks & peer) == 0) {
        send_update(h, peer, &r->key, &r->own.u);
    } else if (r->replaying && (r->round.acks & peer) == 0) {
        send_update(h, peer, &r->key, &r->pending);
    } else if (r->has_pending && !r->replaying && r->pending.owner == h->scan_peer) {
        ask(h, &r->key, r, peer);
    }
}

void scan_slice(struct hermes *h)
{
    unsigned seen = 0;
    uint32_t end =
        h->limits.records - h->scan_at > SCAN_MAX ? h->scan_at + SCAN_MAX : h->limits.records;
    for (; h->scan_at < end && seen < HERMES_SLICE && out_has_room(h, 60); h->scan_at++) {
        struct record *r = &h->records[h->scan_at];
        if (!r->used) {
            continue;
        }
        seen++;
        if (h->scan_peer != 0 && !h->expelled) {
            revisit_peer(h, r);
        } else {
            revisit(h, r);
            if (h->expelled && r->used) { /* more waiting than fits one step */
                return;
            }
        }
    }
}
