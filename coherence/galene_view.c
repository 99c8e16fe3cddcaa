/* Views and time (G8, G10).
 *
 * A view is installed at once and its consequences are carried out in slices: a round's ACKs count
 * only in the epoch in which it was started, and an invalidation of somebody who has left stands
 * until the slice comes to it, so a record that has not been looked at yet is merely late. */
#include "coherence/galene_int.h"

#define SCAN_MAX 2048u /* records looked at per step, used or not */

static void scan_start(struct galene *g, uint32_t peer)
{
    g->scan_peer = g->scan_at < g->limits.records ? 0 : peer; /* two walks at once: one for all */
    g->scan_at = 0;
}

void gal_on_view(struct galene *g, const struct view *v)
{
    if (v->epoch <= g->view.epoch || g->expelled || !view_ok(v)) {
        return;
    }
    g->view = *v;
    g->control_seq = 0;
    gal_mark(g, GALENE_MARK_VIEW_INSTALLED, NULL, v->epoch, v->members);
    if (view_index(v, g->id) < 0) {
        g->expelled = true;
        gal_mark(g, GALENE_MARK_EXPELLED, NULL, v->epoch, 0);
    }
    scan_start(g, 0);
}

void gal_on_peer(struct galene *g, uint32_t peer)
{
    if (gal_mask_of(g, peer) != 0 && peer != g->id) {
        scan_start(g, peer);
    }
}

static void revisit(struct galene *g, struct record *r)
{
    if (g->expelled) {
        gal_settle(g, r);
        return;
    }
    entry_departed(g, r);
    if (r->stage == STAGE_INV && r->round_epoch != g->view.epoch && !MUTANT(G10_NO_RESTART)) {
        gal_mark(g, GALENE_MARK_ROUND_RESTARTED, r, r->write_token, g->view.epoch);
        write_round(g, r);
    }
    if (report_wanted(r)) { /* there may be a new coordinator */
        r->report_at = g->now;
    }
    gal_settle(g, r);
}

/* The connection to this peer is new: what it may have missed, again; what may have been missed
 * here is asked for. */
static void revisit_peer(struct galene *g, struct record *r)
{
    uint32_t peer = gal_mask_of(g, g->scan_peer);
    if (r->stage == STAGE_INV && r->round_epoch == g->view.epoch && (r->acks & peer) == 0) {
        write_resend(g, r, peer);
    }
    entry_ask(g, r, g->scan_peer);
    gal_settle(g, r);
}

static void scan_slice(struct galene *g)
{
    unsigned seen = 0;
    uint32_t end =
        g->limits.records - g->scan_at > SCAN_MAX ? g->scan_at + SCAN_MAX : g->limits.records;
    for (; g->scan_at < end && seen < GALENE_SLICE && gal_room(g, 180); g->scan_at++) {
        if (!g->keys.slots[g->scan_at].used) {
            continue;
        }
        seen++;
        if (g->scan_peer != 0 && !g->expelled) {
            revisit_peer(g, &g->records[g->scan_at]);
        } else {
            revisit(g, &g->records[g->scan_at]);
        }
    }
}

/* ---- time ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t oldest(const struct galene *g, const struct queue *q)
{
    return q->head == NIL ? UINT64_MAX : g->ops[q->head].since + g->limits.give_up_ns;
}

/* Is something left over that the last step had no room for? */
static bool unfinished(const struct galene *g, const struct record *r)
{
    if (g->expelled) {
        return r->reads.head != NIL || r->writes.head != NIL || r->demotes.head != NIL;
    }
    bool waits = r->prepared && r->drained && g->now < r->drop_wait_until;
    if (r->stage == STAGE_NONE &&
        (r->expire_generation != 0 || (r->writes.head != NIL && !waits))) {
        return true;
    }
    if (r->reads.head != NIL && r->expire_generation == 0 && !r->expiring) {
        for (unsigned i = 0; i < FORWARDED_MAX; i++) {
            if (r->forwarded[i].request == 0) {
                return true;
            }
        }
    }
    return false;
}

uint64_t record_deadline(const struct galene *g, const struct record *r)
{
    if (unfinished(g, r)) {
        return g->now;
    }
    if (g->expelled) {
        return UINT64_MAX; /* only the backend's answers are missing */
    }
    uint64_t at = earlier(r->resend_at, r->give_up_at);
    at = earlier(at, entry_ask_at(g, r));
    at = earlier(at, r->report_at);
    at = earlier(at, entry_hopeless(r) ? r->linger_at : UINT64_MAX);
    at = earlier(at, earlier(oldest(g, &r->reads), oldest(g, &r->writes)));
    at = earlier(at, oldest(g, &r->demotes));
    if (r->stage == STAGE_NONE && r->writes.head != NIL) {
        at = earlier(at, r->drop_wait_until);
    }
    return at;
}

static void resend_timer(struct galene *g, struct record *r)
{
    if (r->stage != STAGE_INV || r->resend_at > g->now) {
        return;
    }
    r->tries = r->tries < 4 ? (uint8_t)(r->tries + 1) : r->tries;
    r->resend_at = g->now + gal_jitter(g, g->limits.resend_ns << r->tries);
    gal_mark(g, GALENE_MARK_INV_RESENT, r, r->write_token, r->tries);
    if (r->round_epoch == g->view.epoch) {
        write_resend(g, r, gal_others(g) & ~r->acks);
    }
}

static void record_timer(struct galene *g, struct record *r)
{
    if (!g->expelled) {
        if (r->stage == STAGE_INV && r->give_up_at <= g->now) {
            write_give_up(g, r, GALENE_DONE_TRYAGAIN);
        }
        resend_timer(g, r);
        entry_ask(g, r, 0);
        if (r->report_at <= g->now) {
            report_timer(g, r);
        }
        if (entry_hopeless(r) && r->linger_at <= g->now) {
            gal_mark(g, GALENE_MARK_LINGERED, r, r->generation, 0);
            entry_drop(g, r);
            r->report_generation = 0;
        }
    }
    gal_settle(g, r);
}

void gal_on_timer(struct galene *g)
{
    if (g->scan_at < g->limits.records) {
        scan_slice(g);
    }
    for (unsigned n = 0; n < GALENE_SLICE && gal_room(g, 180); n++) {
        uint32_t i = keytab_first(&g->keys);
        if (i == KEYTAB_NONE || g->keys.slots[i].deadline > g->now) {
            break;
        }
        record_timer(g, &g->records[i]);
    }
}
