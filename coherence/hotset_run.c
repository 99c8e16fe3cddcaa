/* What happens to one key: promotion (G6), demotion (G7), and what can go wrong with each.
 *
 * Every promotion has a generation of its own, larger than all before. One whose outcome is not
 * known, or that was refused, is simply followed by another: PROMOTE is a read-modify-write, so
 * what came before it is decided, and what is still under way in an older generation is fenced
 * (G8). */
#include "coherence/hotset_int.h"

static uint32_t everybody(const struct hotset *h)
{
    return view_mask(&h->view);
}

static uint32_t mask_of(const struct hotset *h, uint32_t id)
{
    int i = view_index(&h->view, id);
    return i < 0 ? 0 : UINT32_C(1) << i;
}

void hot_set_deadline(struct hotset *h, struct hot_key *k)
{
    uint64_t at = k->at < k->give_up_at ? k->at : k->give_up_at;
    keytab_deadline(&h->keys, hot_index(h, k), at);
}

static void send_round(struct hotset *h, struct hot_key *k, enum gmsg_kind kind)
{
    hot_send(h, kind, everybody(h) & ~k->acks, hot_key_of(h, k), k->generation);
    k->at = h->now + hot_jitter(h, h->limits.resend_ns << k->tries);
    k->tries = k->tries < 4 ? (uint8_t)(k->tries + 1) : k->tries;
}

static void begin_round(struct hotset *h, struct hot_key *k, enum hot_state state,
                        enum gmsg_kind kind)
{
    hot_set_state(h, k, state);
    k->request = 0;
    k->acks = 0;
    k->tries = 0;
    k->epoch = h->view.epoch;
    send_round(h, k, kind);
}

static bool complete(const struct hotset *h, const struct hot_key *k)
{
    return (k->acks & everybody(h)) == everybody(h);
}

/* ---- promotion ---- */

void hot_promote(struct hotset *h, struct hot_key *k)
{
    if (k->state == HOT_HOT) {
        hot_mark(h, HOTSET_MARK_REPROMOTING, k, k->generation, 0);
    }
    k->request = 0;
    k->at = UINT64_MAX;
    k->give_up_at = UINT64_MAX;
    hot_set_state(h, k, HOT_QUEUED);
    hot_set_deadline(h, k);
}

static void ask_promote(struct hotset *h, struct hot_key *k)
{
    hot_set_state(h, k, HOT_PROMOTING);
    k->at = UINT64_MAX;
    k->give_up_at = UINT64_MAX;
    hot_request(h, k, GALENE_ASK_PROMOTE, k->generation);
}

/* False: generations of a newer epoch are about, this coordinator is a thing of the past. */
static bool next_generation(struct hotset *h, struct hot_key *k)
{
    uint64_t least = (k->floor > k->generation ? k->floor : k->generation) + 1;
    uint64_t next = generation_make(h->view.epoch, h->counter + 1);
    if (next < least) {
        next = least;
    }
    if (generation_epoch(next) != h->view.epoch) {
        return false;
    }
    h->counter = next & ((UINT64_C(1) << GENERATION_COUNTER_BITS) - 1);
    k->generation = next;
    return true;
}

/* G8: in slices, so that few keys are empty at a time. */
void hot_queue_pump(struct hotset *h)
{
    while (h->queue_head != NIL && hot_room(h, 16)) {
        if (h->in_state[HOT_PREPARING] + h->in_state[HOT_PROMOTING] >= h->limits.filling) {
            hot_mark(h, HOTSET_MARK_PREP_WAITS_FOR_SLICE, NULL, h->in_state[HOT_QUEUED], 0);
            return;
        }
        struct hot_key *k = &h->records[h->queue_head];
        if (!next_generation(h, k)) {
            hot_forget(h, k);
            continue;
        }
        k->give_up_at = h->now + h->limits.give_up_ns;
        begin_round(h, k, HOT_PREPARING, GMSG_PREP);
        hot_mark(h, HOTSET_MARK_PROMOTING, k, k->generation, 0);
        if (MUTANT(G6_NO_PREPARED)) {
            ask_promote(h, k);
        }
        hot_set_deadline(h, k);
    }
}

void hot_on_prepared(struct hotset *h, const struct gmsg *m)
{
    struct hot_key *k = hot_find(h, &m->key);
    if (k == NULL || k->state != HOT_PREPARING || k->generation != m->generation ||
        k->epoch != h->view.epoch) {
        return;
    }
    k->acks |= mask_of(h, m->sender);
    if (complete(h, k)) {
        ask_promote(h, k);
    }
    hot_set_deadline(h, k);
}

static void retry(struct hotset *h, struct hot_key *k)
{
    k->at = h->now + hot_jitter(h, h->limits.retry_ns);
    hot_set_state(h, k, HOT_RETRY);
}

static void promoted(struct hotset *h, struct hot_key *k, const struct galene_value *v)
{
    hot_set_state(h, k, HOT_HOT);
    k->strikes = 0;
    k->cold_strikes = 0;
    bool cacheable = (v->kind == GMSG_VALUE || v->kind == GMSG_ABSENT) && v->ts != 0;
    if (!cacheable) { /* G12 */
        hot_mark(h, HOTSET_MARK_UNCACHEABLE, k, v->ts, 0);
        hot_demote(h, k, 0, h->limits.cool_ns);
        return;
    }
    hot_mark(h, HOTSET_MARK_PROMOTED, k, k->generation, v->ts);
    struct gmsg *m = hot_send(h, GMSG_FILL, everybody(h), hot_key_of(h, k), k->generation);
    m->flags = (uint8_t)v->kind;
    m->ts = v->ts;
    if (v->kind == GMSG_VALUE) {
        m->expire_ms = v->expire_ms;
        m->payload = v->ref;
    }
}

static void on_promote_answer(struct hotset *h, struct hot_key *k, const struct galene_answer *a)
{
    if (k->epoch != h->view.epoch) { /* who was prepared then may not be a member now (G6) */
        hot_mark(h, HOTSET_MARK_ANSWER_LATE, k, k->generation, 0);
        hot_promote(h, k);
        return;
    }
    switch (a->kind) {
    case GALENE_REPLY:
        promoted(h, k, &a->value);
        break;
    case GALENE_REFUSED:
        hot_mark(h, HOTSET_MARK_PROMOTE_REFUSED, k, k->generation, a->generation);
        k->floor = a->generation > k->floor ? a->generation : k->floor;
        retry(h, k);
        break;
    case GALENE_UNKNOWN:
        hot_mark(h, HOTSET_MARK_PROMOTE_UNKNOWN, k, k->generation, 0);
        retry(h, k);
        break;
    case GALENE_COLD:
    case GALENE_HOT:
    case GALENE_FAILED:
        hot_mark(h, HOTSET_MARK_PROMOTE_FAILED, k, k->generation, 0);
        retry(h, k);
        break;
    }
    if (k->want_cold && k->state != HOT_DRAINING) {
        hot_demote(h, k, 0, h->limits.cool_ns);
    }
}

/* ---- demotion ---- */

static void drain(struct hotset *h, struct hot_key *k)
{
    k->give_up_at = UINT64_MAX; /* somebody who does not answer leaves the view in the end */
    k->demote_generation = k->generation;
    begin_round(h, k, HOT_DRAINING, GMSG_DRAIN);
}

static void ask_demote(struct hotset *h, struct hot_key *k)
{
    hot_set_state(h, k, HOT_DEMOTING);
    k->at = UINT64_MAX;
    hot_request(h, k, GALENE_ASK_DEMOTE, k->demote_generation);
}

static void cold_now(struct hotset *h, struct hot_key *k)
{
    hot_mark(h, HOTSET_MARK_DEMOTED, k, k->generation, 0);
    hot_send(h, GMSG_DROP, everybody(h), hot_key_of(h, k), k->generation);
    hot_set_state(h, k, HOT_COOLING);
    k->at = h->now + (k->cool_ns != 0 ? k->cool_ns : h->limits.retry_ns);
    k->cool_ns = 0;
    k->reads = 0;
    k->writes = 0;
}

/* A generation of a newer epoch is not for this coordinator to end: those who have entries in it
 * may not be in its view, and would not be asked to drain them (G9). */
static bool of_newer_epoch(const struct hotset *h, uint64_t generation)
{
    return generation_epoch(generation) > h->view.epoch && !MUTANT(G9_NEWER_GENERATION);
}

/* generation: what somebody was told the key is hot in, if larger than what is known. */
void hot_demote(struct hotset *h, struct hot_key *k, uint64_t generation, uint64_t cool_ns)
{
    if (of_newer_epoch(h, generation)) {
        hot_mark(h, HOTSET_MARK_OUTLIVED, k, generation, h->view.epoch);
        if (k->state == HOT_COUNTED) {
            hot_forget(h, k);
        }
        return;
    }
    k->cool_ns = cool_ns > k->cool_ns ? cool_ns : k->cool_ns;
    bool under_way = k->state == HOT_DRAINING || k->state == HOT_DEMOTING;
    if (under_way && generation <= k->generation) {
        return;
    }
    if (k->state == HOT_PROMOTING && k->request != 0) {
        k->want_cold = true;
        return;
    }
    k->want_cold = false;
    k->generation = generation > k->generation ? generation : k->generation;
    if (k->generation == 0) { /* it has not begun yet */
        cold_now(h, k);
        hot_set_deadline(h, k);
        return;
    }
    hot_mark(h, HOTSET_MARK_DEMOTING, k, k->generation, 0);
    drain(h, k);
    if (MUTANT(G7_NO_DRAINED)) {
        ask_demote(h, k);
    }
    hot_set_deadline(h, k);
}

void hot_on_drained(struct hotset *h, const struct gmsg *m)
{
    struct hot_key *k = hot_find(h, &m->key);
    if (k == NULL || k->state != HOT_DRAINING || k->generation != m->generation ||
        k->epoch != h->view.epoch) {
        return;
    }
    k->acks |= mask_of(h, m->sender);
    if (complete(h, k)) {
        ask_demote(h, k);
    }
    hot_set_deadline(h, k);
}

/* Not hot in that generation: cold, if the key's own generation is that one; else it may be hot in
 * the one it has. One that is smaller has been drained with it. */
static void demote_refused(struct hotset *h, struct hot_key *k, uint64_t has)
{
    hot_mark(h, HOTSET_MARK_DEMOTE_REFUSED, k, k->demote_generation, has);
    if (has == k->demote_generation || has == 0) {
        cold_now(h, k);
    } else if (of_newer_epoch(h, has)) {
        hot_mark(h, HOTSET_MARK_OUTLIVED, k, has, h->view.epoch);
        k->at = h->now + hot_jitter(h, h->limits.retry_ns); /* until the view is learnt */
    } else if (has > k->generation) {
        k->generation = has;
        drain(h, k);
    } else {
        k->demote_generation = has;
        ask_demote(h, k);
    }
}

static void on_demote_answer(struct hotset *h, struct hot_key *k, const struct galene_answer *a)
{
    switch (a->kind) {
    case GALENE_REPLY:
        /* hot in a smaller generation cannot be: there is one flag per key */
        cold_now(h, k);
        return;
    case GALENE_REFUSED:
        demote_refused(h, k, a->generation);
        return;
    case GALENE_UNKNOWN: /* asked again: refused, if it has been done */
        hot_mark(h, HOTSET_MARK_DEMOTE_UNKNOWN, k, k->demote_generation, 0);
        break;
    case GALENE_COLD:
    case GALENE_HOT:
    case GALENE_FAILED:
        hot_mark(h, HOTSET_MARK_DEMOTE_FAILED, k, k->demote_generation, 0);
        break;
    }
    k->at = h->now + hot_jitter(h, h->limits.retry_ns);
}

void hot_on_answer(struct hotset *h, const struct galene_answer *a)
{
    uint64_t i = a->request & ((1u << 20) - 1);
    struct hot_key *k = i < h->keys.capacity ? &h->records[i] : NULL;
    if (k == NULL || !h->keys.slots[i].used || k->request != a->request || a->request == 0) {
        hot_mark(h, HOTSET_MARK_ANSWER_LATE, NULL, a->request, 0);
        return;
    }
    k->request = 0;
    if (k->state == HOT_PROMOTING) {
        on_promote_answer(h, k, a);
    } else {
        on_demote_answer(h, k, a);
    }
    hot_set_deadline(h, k);
}

/* ---- time ---- */

void hot_on_timer(struct hotset *h, struct hot_key *k)
{
    if (k->give_up_at <= h->now) { /* somebody has no room, or does not answer */
        hot_mark(h, HOTSET_MARK_PROMOTE_GIVEN_UP, k, k->generation, k->acks);
        k->give_up_at = UINT64_MAX;
        hot_demote(h, k, 0, h->limits.cool_ns);
        return;
    }
    switch ((enum hot_state)k->state) {
    case HOT_PREPARING:
        hot_mark(h, HOTSET_MARK_PREP_RESENT, k, k->generation, k->acks);
        send_round(h, k, GMSG_PREP);
        break;
    case HOT_DRAINING:
        hot_mark(h, HOTSET_MARK_DRAIN_RESENT, k, k->generation, k->acks);
        send_round(h, k, GMSG_DRAIN);
        break;
    case HOT_RETRY:
        hot_promote(h, k);
        break;
    case HOT_DEMOTING:
        ask_demote(h, k);
        break;
    case HOT_COOLING:
        hot_forget(h, k);
        return;
    case HOT_COUNTED:
    case HOT_QUEUED:
    case HOT_PROMOTING:
    case HOT_HOT:
        k->at = UINT64_MAX;
        break;
    }
    hot_set_deadline(h, k);
}
