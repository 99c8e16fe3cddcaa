/* Writes of this proxy, one per key at a time (G2-G4, G11), and the deletion of what has expired
 * (H12).
 *
 * Hot, in generation g: a new token stands at every member before HOTWRITE(g) leaves, so nobody is
 * Valid when the backend runs it; DONE takes the token back together with the value. -COLD means
 * that the generation is over: nothing was done, the command goes cold; -HOT means the opposite.
 * Each of these changes of mind needs a change of generation at the backend, so they end.
 *
 * If the outcome of a HOTWRITE is not known, the command may still take effect, at any time, as
 * long as the backend is in that generation. Then the token must never be taken back, nor may a
 * later write of this proxy take back one that replaced it: lost_generation. From then on what
 * would be DONE in that generation is LOST, and everybody reports to the coordinator (G8). */
#include "coherence/galene_int.h"

static const struct coh_ref no_reply;

/* ---- the end of a write ---- */

static void clear(struct record *r)
{
    r->stage = STAGE_NONE;
    r->expiring = false;
    r->resend_at = UINT64_MAX;
    r->give_up_at = UINT64_MAX;
    r->request = 0;
    r->group_count = 0;
}

static void finish(struct galene *g, struct record *r, enum galene_result result,
                   struct coh_ref reply, uint64_t ts)
{
    clear(r);
    gal_complete_all(g, &r->group, result, reply, ts);
}

/* What to tell when the write left no value (it was not executed, or was overwritten at once). The
 * others may have missed the DONE of an earlier write of this proxy, whose token this one's has
 * replaced: so never less than what the own entry holds, which has seen it. False: nothing is known
 * that would do. */
static bool value_to_tell(const struct record *r, bool here, struct galene_value *v)
{
    if (v->kind != GMSG_NO_VALUE || MUTANT(G5_DONE_WITHOUT_VALUE)) {
        return true;
    }
    if (!here || r->draining) {
        return false;
    }
    *v = r->value; /* none: no earlier write has left one */
    return true;
}

/* The token is taken back everywhere, with what is known of the value. */
static void send_done(struct galene *g, struct record *r, const struct galene_value *left)
{
    bool here = r->prepared && r->generation == r->write_generation;
    bool lost = r->lost_generation == r->write_generation && !MUTANT(G8_LOST_FORGOTTEN);
    struct galene_value v = *left;
    if (here && !lost && r->own_token == r->write_token) {
        r->own_token = 0;
    }
    if (here) {
        r->own_last = r->write_token;
    }
    lost = !value_to_tell(r, here, &v) || lost;
    entry_publish(g, r);
    struct gmsg *m = gal_send(g, lost ? GMSG_LOST : GMSG_DONE, gal_others(g), gal_key(g, r),
                              r->write_generation);
    m->token = r->write_token;
    if (!lost) {
        gal_set_value(m, &v);
    }
}

void write_give_up(struct galene *g, struct record *r, enum galene_result result)
{
    must(r->stage == STAGE_INV); /* HOTWRITE has not left */
    const struct galene_value nothing = {.kind = GMSG_NO_VALUE};
    gal_mark(g, result == GALENE_DONE_RETRY ? GALENE_MARK_RETRIED : GALENE_MARK_GAVE_UP, r,
             r->write_token, 0);
    send_done(g, r, &nothing);
    finish(g, r, result, no_reply, 0);
}

/* ---- the beginning ---- */

static uint32_t last_of(const struct record *r)
{
    return r->group.tail;
}

/* Blind writes at the head of the queue join the group: the last of them is the one that is sent
 * (G11). */
static void combine(struct galene *g, struct record *r, enum galene_mark m)
{
    while (r->group.head != NIL && r->writes.head != NIL && r->group_count < GALENE_BATCH &&
           g->ops[last_of(r)].op.blind &&
           (g->ops[r->writes.head].op.blind || MUTANT(G11_COMBINE_RMW))) {
        gal_mark(g, m, r, g->ops[r->writes.head].op.id, r->group_count);
        queue_push(g, &r->group, queue_pop(g, &r->writes));
        r->group_count++;
    }
}

static bool round_complete(const struct galene *g, const struct record *r)
{
    uint32_t need = gal_others(g);
    return (r->acks & need) == need || MUTANT(G2_NO_ACKS);
}

/* Every member of the view has the token: nobody is Valid, so the write may take effect (G2). */
static void hotwrite(struct galene *g, struct record *r)
{
    gal_mark(g, GALENE_MARK_ROUND_DONE, r, r->write_token, r->acks);
    combine(g, r, GALENE_MARK_COMBINED_LATE);
    r->stage = STAGE_HOT;
    r->resend_at = UINT64_MAX;
    r->give_up_at = UINT64_MAX;
    r->request = gal_request(g, r, r->expiring ? GALENE_ASK_EXPIRE : GALENE_ASK_HOTWRITE, 0,
                             r->write_generation, last_of(r));
    if (MUTANT(G11_EARLY_REPLY)) {
        while (r->group.head != r->group.tail) {
            gal_complete(g, queue_pop(g, &r->group), GALENE_DONE_REPLY, NULL, no_reply, 0);
        }
    }
}

void write_resend(struct galene *g, struct record *r, uint32_t to_mask)
{
    struct gmsg *m = gal_send(g, GMSG_INV, to_mask, gal_key(g, r), r->write_generation);
    m->token = r->write_token;
}

void write_round(struct galene *g, struct record *r)
{
    /* Who has entries in a generation was a member when its epoch began. A proxy whose view is
     * older than that has left the group, perhaps without knowing it yet, and would ask the wrong
     * ones: it waits for a view. Before the first one too. */
    bool old_view = generation_epoch(r->write_generation) > g->view.epoch;
    if (g->view.epoch == 0 || (old_view && !MUTANT(G4_OLD_VIEW))) {
        gal_mark(g, GALENE_MARK_WAITS_FOR_VIEW, r, r->write_generation, g->view.epoch);
        return;
    }
    if (!MUTANT(G10_KEEP_ACKS)) {
        r->acks = 0;
    }
    r->round_epoch = g->view.epoch;
    r->round_since = g->now;
    r->tries = 0;
    r->resend_at = g->now + gal_jitter(g, g->limits.resend_ns);
    write_resend(g, r, gal_others(g) & ~r->acks);
    if (round_complete(g, r)) {
        hotwrite(g, r);
    }
}

static void start_hot(struct galene *g, struct record *r, uint64_t generation)
{
    r->stage = STAGE_INV;
    r->write_generation = generation;
    r->write_token = ++g->last_token;
    r->acks = 0;
    r->round_epoch = 0;
    uint64_t since = r->group.head == NIL ? g->now : g->ops[r->group.head].since;
    r->give_up_at = since + g->limits.give_up_ns;
    gal_mark(g, GALENE_MARK_WRITE_HOT, r, r->write_token, generation);
    entry_fenced(r, generation);
    if (r->prepared && r->generation == generation) {
        r->own_token = MUTANT(G2_NO_OWN_TOKEN) ? 0 : r->write_token;
    } else if (!r->prepared || r->generation < generation) { /* it should have been told (G8, G9) */
        gal_mark(g, GALENE_MARK_HOT_UNKNOWN_HERE, r, r->generation, generation);
        if (r->prepared) {
            entry_drain(r);
        }
        report_soon(g, r, GMSG_REPORT_UNKNOWN_HOT, generation);
        report_timer(g, r);
    }
    entry_publish(g, r);
    if (MUTANT(G4_NO_ROUND) && !(r->prepared && r->generation == generation)) {
        hotwrite(g, r);
        return;
    }
    write_round(g, r);
}

static void start_cold(struct galene *g, struct record *r)
{
    gal_mark(g, GALENE_MARK_WRITE_COLD, r, r->generation, 0);
    r->stage = STAGE_COLD;
    r->resend_at = UINT64_MAX;
    r->give_up_at = UINT64_MAX;
    r->request = gal_request(g, r, GALENE_ASK_WRITE, 0, 0, last_of(r));
}

/* G7: after DRAIN, DROP is near. */
static bool wait_for_drop(struct galene *g, struct record *r)
{
    if (!r->prepared || !r->drained || g->now >= r->drop_wait_until) {
        return false;
    }
    gal_mark(g, GALENE_MARK_WRITE_WAITED_FOR_DROP, r, r->generation, 0);
    return true;
}

void write_pump(struct galene *g, struct record *r)
{
    if (r->stage != STAGE_NONE || !gal_room(g, 8)) {
        return;
    }
    if (r->expire_generation != 0) {
        r->expiring = true;
        uint64_t generation = r->expire_generation;
        r->expire_generation = 0;
        start_hot(g, r, generation);
        return;
    }
    if (r->writes.head == NIL || wait_for_drop(g, r)) {
        return;
    }
    uint64_t told = g->ops[r->writes.head].op.generation;
    queue_push(g, &r->group, queue_pop(g, &r->writes));
    r->group_count = 1;
    combine(g, r, GALENE_MARK_COMBINED);
    bool here = r->prepared && !r->draining && r->value.kind != GMSG_NO_VALUE;
    if (here && r->generation >= told) {
        start_hot(g, r, r->generation);
    } else if (told != 0 && told >= r->generation) { /* else: what it was told is over */
        start_hot(g, r, told);
    } else {
        start_cold(g, r);
    }
}

/* ---- ACKs ---- */

void gal_on_ack(struct galene *g, const struct gmsg *m)
{
    struct record *r = gal_find(g, &m->key);
    if (r == NULL || r->stage != STAGE_INV || r->write_token != m->token ||
        r->write_generation != m->generation || r->round_epoch != g->view.epoch) {
        gal_mark(g, GALENE_MARK_ACK_LATE, NULL, m->token, m->sender);
        return;
    }
    r->acks |= gal_mask_of(g, m->sender);
    if (round_complete(g, r)) {
        hotwrite(g, r);
    }
    gal_settle(g, r);
}

/* ---- answers ---- */

static void committed(struct galene *g, struct record *r, const struct galene_answer *a)
{
    entry_fenced(r, r->write_generation);
    if (r->expiring) {
        gal_mark(g, GALENE_MARK_EXPIRE_WRITTEN, r, a->value.ts, 0);
    }
    struct galene_value v = a->value;
    if (v.ts == 0 && (v.kind == GMSG_VALUE || v.kind == GMSG_ABSENT)) {
        v.kind = GMSG_UNCACHEABLE; /* no backend says that */
    }
    if (r->prepared && r->generation == r->write_generation) {
        if (v.kind == GMSG_UNCACHEABLE) { /* G12 */
            gal_mark(g, GALENE_MARK_UNCACHEABLE, r, a->value.ts, 0);
            if (!MUTANT(G12_KEEP_OLD)) {
                entry_drain(r);
            }
            report_soon(g, r, GMSG_REPORT_UNCACHEABLE, r->generation);
        } else if (v.kind == GMSG_NO_VALUE) {
            gal_mark(g, GALENE_MARK_SUPERSEDED, r, a->value.ts, 0);
        } else {
            entry_keep(g, r, &v);
        }
    }
    send_done(g, r, &v);
    finish(g, r, GALENE_DONE_REPLY, a->reply, a->value.ts);
}

/* G3: the generation is over, nothing was done. */
static void refused_cold(struct galene *g, struct record *r)
{
    gal_mark(g, GALENE_MARK_REFUSED_COLD, r, r->write_token, r->write_generation);
    entry_fenced(r, r->write_generation + 1);
    if (r->prepared && r->generation == r->write_generation) {
        if (r->own_token == r->write_token) {
            r->own_token = 0;
        }
        if (!MUTANT(G3_NO_DRAIN)) {
            entry_drain(r);
        }
    }
    entry_publish(g, r);
    if (r->expiring) {
        clear(r);
    } else if (g->expelled) {
        gal_mark(g, GALENE_MARK_RETRIED, r, r->write_token, 0);
        finish(g, r, GALENE_DONE_RETRY, no_reply, 0);
    } else {
        start_cold(g, r);
    }
}

static void outcome_unknown(struct galene *g, struct record *r)
{
    gal_mark(g, GALENE_MARK_OUTCOME_UNKNOWN, r, r->write_token, r->write_generation);
    if (r->write_generation > r->lost_generation) { /* the smaller one is over */
        r->lost_generation = r->write_generation;
    }
    const struct galene_value nothing = {.kind = GMSG_NO_VALUE};
    if (MUTANT(G8_UNKNOWN_CLEARS)) {
        r->lost_generation = 0;
    } else if (r->prepared && r->generation == r->write_generation) {
        entry_stick(g, r);
    }
    report_soon(g, r, GMSG_REPORT_STUCK, r->write_generation);
    send_done(g, r, &nothing);
    finish(g, r, GALENE_DONE_UNKNOWN, no_reply, 0);
}

static void answer_hot(struct galene *g, struct record *r, const struct galene_answer *a)
{
    const struct galene_value nothing = {.kind = GMSG_NO_VALUE};
    switch (a->kind) {
    case GALENE_REPLY:
        committed(g, r, a);
        return;
    case GALENE_COLD:
    case GALENE_HOT: /* cannot be: treated as what it would mean */
        refused_cold(g, r);
        return;
    case GALENE_FAILED:
    case GALENE_REFUSED:
        gal_mark(g, GALENE_MARK_BACKEND_FAILED, r, r->write_token, 1);
        send_done(g, r, &nothing);
        finish(g, r, GALENE_DONE_TRYAGAIN, a->reply, 0);
        return;
    case GALENE_UNKNOWN:
        outcome_unknown(g, r);
        return;
    }
    unreachable();
}

/* G4. */
static void refused_hot(struct galene *g, struct record *r, uint64_t generation)
{
    gal_mark(g, GALENE_MARK_REFUSED_HOT, r, generation, 0);
    if (g->expelled) {
        gal_mark(g, GALENE_MARK_RETRIED, r, 0, 0);
        finish(g, r, GALENE_DONE_RETRY, no_reply, 0);
    } else if (r->generation == generation && wait_for_drop(g, r)) {
        queue_put_back(g, &r->writes, &r->group);
        clear(r);
    } else {
        start_hot(g, r, generation);
    }
}

static void answer_cold(struct galene *g, struct record *r, const struct galene_answer *a)
{
    switch (a->kind) {
    case GALENE_REPLY:
        finish(g, r, GALENE_DONE_REPLY, a->reply, a->value.ts);
        return;
    case GALENE_HOT:
        refused_hot(g, r, a->generation);
        return;
    case GALENE_COLD:
    case GALENE_FAILED:
    case GALENE_REFUSED:
        gal_mark(g, GALENE_MARK_BACKEND_FAILED, r, 0, 1);
        finish(g, r, GALENE_DONE_TRYAGAIN, a->reply, 0);
        return;
    case GALENE_UNKNOWN:
        gal_mark(g, GALENE_MARK_OUTCOME_UNKNOWN, r, 0, 0);
        finish(g, r, GALENE_DONE_UNKNOWN, a->reply, 0);
        return;
    }
    unreachable();
}

bool write_answer(struct galene *g, struct record *r, const struct galene_answer *a)
{
    if (r->request != a->request || (r->stage != STAGE_HOT && r->stage != STAGE_COLD)) {
        return false;
    }
    r->request = 0;
    if (r->stage == STAGE_HOT) {
        answer_hot(g, r, a);
    } else {
        answer_cold(g, r, a);
    }
    return true;
}
