/* What the hot-set coordinator says (G6, G7, G9), as a member hears it, and what a member has to
 * tell the coordinator (G8, G9, G12, G13).
 *
 * Control messages are acted on in their own epoch only, from the coordinator of that view, and in
 * the order in which it sent them: each carries a number that grows. A late PREP or FILL would make
 * an entry in a generation that has been drained. */
#include "coherence/galene_int.h"

static bool in_order(struct galene *g, const struct gmsg *m)
{
    if (m->epoch == g->view.epoch && m->sender != g->view.ids[0]) {
        return false;
    }
    if (m->seq <= g->control_seq && !MUTANT(G9_NO_ORDER)) {
        gal_mark(g, GALENE_MARK_CONTROL_OUT_OF_ORDER, NULL, m->seq, g->control_seq);
        return false;
    }
    g->control_seq = m->seq > g->control_seq ? m->seq : g->control_seq;
    return true;
}

static void answer(struct galene *g, const struct gmsg *m, enum gmsg_kind kind)
{
    gal_send(g, kind, gal_mask_of(g, m->sender), &m->key, m->generation)->epoch = m->epoch;
}

static bool no_room(const struct galene *g, const struct record *r)
{
    return (r == NULL && g->keys.used == g->limits.records) ||
           g->entries >= g->limits.records - g->limits.records / 4;
}

/* G6: emptied, and never again Valid in an older generation. */
static enum err on_prep(struct galene *g, const struct gmsg *m)
{
    struct record *r = gal_find(g, &m->key);
    if ((r == NULL || !r->prepared) && no_room(g, r)) {
        gal_mark(g, GALENE_MARK_PREP_NO_ROOM, NULL, m->generation, 0);
        return ERR_BUSY;
    }
    if (!in_order(g, m)) {
        return OK;
    }
    r = gal_get(g, &m->key);
    if (r->prepared && m->generation <= r->generation) {
        gal_mark(g, GALENE_MARK_PREPARED_AGAIN, r, m->generation, r->generation);
    } else {
        if (r->prepared) {
            entry_drop(g, r);
        }
        r->prepared = true;
        r->generation = m->generation;
        r->report_generation = 0;
        r->report_at = UINT64_MAX;
        g->entries++;
        gal_mark(g, GALENE_MARK_PREPARED, r, m->generation, 0);
    }
    entry_publish(g, r);
    answer(g, m, GMSG_PREPARED);
    gal_settle(g, r);
    return OK;
}

static void on_fill(struct galene *g, struct record *r, const struct gmsg *m)
{
    if (r == NULL || !r->prepared || r->generation != m->generation) {
        gal_mark(g, GALENE_MARK_FILL_LATE, r, m->generation, 0);
        return;
    }
    entry_fenced(r, m->generation);
    bool older = r->value.kind != GMSG_NO_VALUE && m->ts <= r->value.ts;
    gal_mark(g, older ? GALENE_MARK_FILL_OLDER : GALENE_MARK_FILLED, r, m->ts, r->value.ts);
    if (!older) {
        struct galene_value v = {.kind = (enum gmsg_value)m->flags,
                                 .ts = m->ts,
                                 .expire_ms = m->expire_ms,
                                 .ref = m->payload};
        entry_keep(g, r, &v);
    }
}

/* G7. */
static void on_drain(struct galene *g, struct record *r, const struct gmsg *m)
{
    if (r != NULL && r->prepared && r->generation <= m->generation) {
        gal_mark(g, GALENE_MARK_DRAINED, r, m->generation, 0);
        if (!MUTANT(G7_DRAIN_NOT_KEPT)) {
            entry_drain(r);
        }
        if (!r->drained) {
            r->drained = true;
            r->drop_wait_until = g->now + g->limits.drop_wait_ns;
        }
        entry_publish(g, r);
    }
    answer(g, m, GMSG_DRAINED);
}

static void complete_demotes(struct galene *g, struct record *r, uint64_t generation)
{
    struct queue later;
    const struct coh_ref none = {0};
    queue_init(&later);
    while (r->demotes.head != NIL && gal_room(g, 80)) {
        uint32_t op = queue_pop(g, &r->demotes);
        if (g->ops[op].op.generation > generation) {
            queue_push(g, &later, op);
            continue;
        }
        gal_mark(g, GALENE_MARK_DEMOTE_DONE, r, g->ops[op].op.id, generation);
        gal_complete(g, op, GALENE_DONE_DEMOTED, NULL, none, 0);
    }
    queue_put_back(g, &r->demotes, &later);
}

/* The backend is cold, or hot in a larger generation: what is drained here is over. */
static void on_drop(struct galene *g, struct record *r, const struct gmsg *m)
{
    if (r == NULL) {
        return;
    }
    entry_fenced(r, m->generation + 1);
    if (r->prepared && r->generation <= m->generation) {
        gal_mark(g, GALENE_MARK_DROPPED, r, m->generation, r->generation);
        entry_drop(g, r);
        r->report_generation = 0;
        r->report_at = UINT64_MAX;
    }
    complete_demotes(g, r, m->generation);
}

enum err gal_on_control(struct galene *g, const struct gmsg *m)
{
    if (m->kind == GMSG_PREP) {
        return on_prep(g, m);
    }
    if (!in_order(g, m)) {
        return OK;
    }
    struct record *r = gal_find(g, &m->key);
    if (m->kind == GMSG_FILL) {
        on_fill(g, r, m);
    } else if (m->kind == GMSG_DRAIN) {
        on_drain(g, r, m);
    } else {
        on_drop(g, r, m);
    }
    if (r != NULL) {
        gal_settle(g, r);
    }
    return OK;
}

/* ---- reports ---- */

/* What there is to say, from the state: 0 nothing. */
static uint64_t wanted(const struct record *r, enum gmsg_report *kind)
{
    *kind = GMSG_REPORT_STUCK;
    if (r->report_generation != 0 && !(r->prepared && r->generation > r->report_generation)) {
        *kind = (enum gmsg_report)r->report_kind;
        return r->report_generation;
    }
    if (entry_hopeless(r)) {
        return r->generation;
    }
    return r->lost_generation;
}

bool report_wanted(const struct record *r)
{
    enum gmsg_report kind;
    return r->demotes.head != NIL || wanted(r, &kind) != 0;
}

void report_soon(struct galene *g, struct record *r, enum gmsg_report kind, uint64_t generation)
{
    if (kind == GMSG_REPORT_UNCACHEABLE || kind == GMSG_REPORT_UNKNOWN_HOT) {
        r->report_kind = (uint8_t)kind;
        r->report_generation = generation;
    }
    r->report_at = g->now;
}

static void send_report(struct galene *g, struct record *r, enum gmsg_report kind,
                        uint64_t generation)
{
    uint32_t to = g->view.epoch == 0 || g->expelled ? 0 : 1; /* the lowest id */
    gal_mark(g, GALENE_MARK_REPORTED, r, generation, (uint64_t)kind);
    gal_send(g, GMSG_REPORT, to, gal_key(g, r), generation)->flags = (uint8_t)kind;
}

/* Again and again, until a new generation or DROP comes. */
void report_timer(struct galene *g, struct record *r)
{
    enum gmsg_report kind;
    uint64_t generation = wanted(r, &kind);
    r->report_at = UINT64_MAX;
    if (r->demotes.head != NIL) {
        uint64_t asked = r->prepared ? r->generation : 0;
        for (uint32_t i = r->demotes.head; i != NIL; i = g->ops[i].next) {
            asked = g->ops[i].op.generation > asked ? g->ops[i].op.generation : asked;
        }
        gal_mark(g, GALENE_MARK_DEMOTE_ASKED, r, asked, 0);
        send_report(g, r, GMSG_REPORT_DEMOTE, asked);
    } else if (generation != 0) {
        send_report(g, r, kind, generation);
    } else {
        return;
    }
    r->report_at = g->now + gal_jitter(g, g->limits.report_ns);
}
