/* The proposer beside an acceptor: one ballot at a time, for the version after its acceptor's base.
 *
 *            something to do, its turn            majority promised
 *   IDLE ------------------------------> PREPARING -----------------> PROPOSING --> decided: learn,
 *    ^   <------------------------------     |                            |         tell everybody
 *    |     no need, lost, timeout: back-off  +----------------------------+
 *    +---------------------------------------------------------------------
 *
 * Something to do: plan_next wants a change, or a value that this acceptor accepted has been
 * waiting for its outcome. A value that may have been chosen is proposed again instead of the own
 * plan (that is Paxos), with BAR: its exclusions may concern somebody who renews at some acceptors
 * and not at others, and who would otherwise keep the instance open for ever. It was made when
 * other nodes were alive than now, so it is worth a moment's waiting to find that it was not
 * chosen: if those that have accepted anything, and those that have not answered, are no majority,
 * nothing was.
 *
 * The own acceptor has to be among those that promised: its disk is what keeps a ballot from being
 * used twice, for different maps, after a restart.
 *
 * Acceptors take turns: the i-th waits i steps before it begins, so they seldom compete; if they
 * do, the larger ballot wins and the other backs off, longer each time, with jitter. Without a
 * majority of acceptors in sight nothing is begun at all. */
#include "coherence/acceptor_int.h"

#include <string.h>

#define BALLOT_INDEX_BITS 3u

static uint64_t jitter(struct acceptor *a, uint64_t ns)
{
    a->rng ^= a->rng << 13;
    a->rng ^= a->rng >> 7;
    a->rng ^= a->rng << 17;
    return a->rng % (ns + 1);
}

static unsigned count_of(const struct acceptor *a, uint32_t mask)
{
    unsigned count = 0;
    for (unsigned i = 0; i < a->count; i++) {
        count += mask >> i & 1;
    }
    return count;
}

static bool majority_of(const struct acceptor *a, uint32_t mask)
{
    return count_of(a, mask) >= (MUTANT(R4_MINORITY_DECIDES) ? 1 : acceptor_majority(a));
}

/* The very first map waits for all: as long as nobody has promised anything an acceptor can tell
 * that it is new (acceptor.c). */
static bool enough_in_sight(const struct acceptor *a)
{
    uint32_t mask = UINT32_C(1) << a->index;
    for (unsigned i = 0; i < a->count; i++) {
        const struct peer_status *p = &a->peers[i];
        bool fresh = p->heard && a->now - p->at <= 4 * a->params.renew_ns && !p->forgot;
        mask |= fresh ? UINT32_C(1) << i : 0;
    }
    bool first = a->st.base.version == 0 && a->st.promised == 0;
    return first ? count_of(a, mask) == a->count : majority_of(a, mask);
}

void proposer_stop(struct acceptor *a)
{
    a->p.phase = BALLOT_IDLE;
    a->p.answered = 0;
    a->p.best = 0;
}

static void give_up(struct acceptor *a, enum member_mark why)
{
    struct proposer *p = &a->p;
    acceptor_mark(a, why, p->version, p->ballot);
    proposer_stop(a);
    uint64_t longest = 16 * a->params.renew_ns;
    p->backoff_ns = p->backoff_ns == 0 ? a->params.renew_ns / 2 : 2 * p->backoff_ns;
    p->backoff_ns = p->backoff_ns > longest ? longest : p->backoff_ns;
    p->not_before = a->now + p->backoff_ns / 2 + jitter(a, p->backoff_ns);
    p->wants = true;
}

static void send_prepare(struct acceptor *a)
{
    for (unsigned i = 0; i < a->count; i++) {
        if ((a->p.answered >> i & 1) == 0) {
            struct member_msg *m = acceptor_send(a, MEMBER_MSG_PREPARE, i);
            m->version = a->p.version;
            m->ballot = a->p.ballot;
        }
    }
}

static void send_accept(struct acceptor *a)
{
    for (unsigned i = 0; i < a->count; i++) {
        if ((a->p.answered >> i & 1) == 0) {
            struct member_msg *m = acceptor_send(a, MEMBER_MSG_ACCEPT, i);
            m->ballot = a->p.ballot;
            m->flags = a->p.bar ? MEMBER_FLAG_BAR : 0;
            m->map = &a->p.value;
        }
    }
}

static uint64_t phase_ns(const struct acceptor *a)
{
    /* Whoever is barred has to run out first. */
    return a->p.phase == BALLOT_PROPOSING && a->p.bar
               ? 2 * a->params.renew_ns + 2 * acceptor_promise_ns(a)
               : 2 * a->params.renew_ns;
}

static void enter(struct acceptor *a, enum ballot_phase phase)
{
    a->p.phase = phase;
    a->p.answered = 0;
    a->p.deadline = a->now + phase_ns(a);
    a->p.resend_at = a->now + a->params.renew_ns / 2;
}

static void begin(struct acceptor *a)
{
    struct proposer *p = &a->p;
    uint64_t seen = p->max_ballot > a->st.promised ? p->max_ballot : a->st.promised;
    p->ballot = ((seen >> BALLOT_INDEX_BITS) + 1) << BALLOT_INDEX_BITS | a->index;
    p->max_ballot = p->ballot;
    p->version = a->st.base.version + 1;
    p->best = 0;
    p->holding = 0;
    p->patient_until = a->now + a->params.renew_ns / 2;
    p->bar = false;
    p->wants = false;
    acceptor_mark(a, MEMBER_MARK_BALLOT_STARTED, p->version, p->ballot);
    enter(a, BALLOT_PREPARING);
    send_prepare(a);
}

static bool unfinished(const struct acceptor *a)
{
    return a->st.accepted != 0 && a->now - a->accepted_at >= 3 * a->params.renew_ns;
}

/* An acceptor that forgot waits for the next version: it gets one, if need be without changes. */
static bool somebody_waits_for_a_version(const struct acceptor *a)
{
    for (unsigned i = 0; i < a->count; i++) {
        const struct peer_status *p = &a->peers[i];
        if (p->heard && a->now - p->at <= 4 * a->params.renew_ns &&
            p->waits_for == a->st.base.version + 1) {
            return true;
        }
    }
    return false;
}

void proposer_consider(struct acceptor *a)
{
    struct proposer *p = &a->p;
    if (!a->look || p->phase != BALLOT_IDLE || a->persisting) {
        return;
    }
    if (p->wants && a->now < p->not_before) {
        return;
    }
    a->look = false;
    bool bar = false;
    if (!enough_in_sight(a) ||
        (!unfinished(a) && !plan_next(a, &bar, false) && !somebody_waits_for_a_version(a))) {
        p->wants = false;
        return;
    }
    uint64_t turn = p->wants ? 0 : a->now + a->index * (a->params.renew_ns / 2);
    uint64_t other = a->others_ballot_at == 0 ? 0 : a->others_ballot_at + 2 * a->params.renew_ns;
    uint64_t from = other > turn ? other : turn;
    if (a->now < from) { /* its turn comes */
        p->wants = true;
        p->not_before = from;
        a->look = true;
        return;
    }
    begin(a);
}

uint64_t proposer_deadline(const struct acceptor *a)
{
    const struct proposer *p = &a->p;
    if (p->phase != BALLOT_IDLE) {
        return p->deadline < p->resend_at ? p->deadline : p->resend_at; /* patience ends with it */
    }
    return p->wants ? p->not_before : UINT64_MAX;
}

static bool mine(const struct acceptor *a, const struct member_msg *m, enum ballot_phase phase)
{
    return a->p.phase == phase && m->ballot == a->p.ballot && m->version == a->p.version;
}

/* Who has not promised this ballot may still vote in a smaller one; who has, can not any more. */
static bool may_be_chosen(const struct acceptor *a)
{
    unsigned silent = a->count - count_of(a, a->p.answered);
    return a->p.best != 0 && count_of(a, a->p.holding) + silent >= acceptor_majority(a);
}

static void propose(struct acceptor *a)
{
    struct proposer *p = &a->p;
    if (may_be_chosen(a)) {
        acceptor_mark(a, MEMBER_MARK_VALUE_RECOVERED, p->version, p->best);
        p->bar = true;
    } else if (plan_next(a, &p->bar, true) || somebody_waits_for_a_version(a)) {
        p->value = a->plan;
    } else {
        acceptor_mark(a, MEMBER_MARK_NO_NEED, p->version, p->ballot);
        proposer_stop(a);
        return;
    }
    enter(a, BALLOT_PROPOSING);
    send_accept(a);
}

static bool enough_promises(const struct acceptor *a)
{
    const struct proposer *p = &a->p;
    bool own = (p->answered >> a->index & 1) != 0 || MUTANT(R4_BALLOT_TWICE);
    bool all = count_of(a, p->answered) == a->count;
    return own && majority_of(a, p->answered) &&
           (!may_be_chosen(a) || all || a->now >= p->patient_until);
}

void acceptor_on_promise(struct acceptor *a, const struct member_msg *m)
{
    struct proposer *p = &a->p;
    if (!mine(a, m, BALLOT_PREPARING)) {
        return;
    }
    if (m->accepted != 0 && !map_follows(&a->st.base, m->map)) {
        acceptor_mark(a, MEMBER_MARK_IMPOSSIBLE, m->version, m->accepted);
        return;
    }
    p->answered |= UINT32_C(1) << m->sender;
    if (m->accepted > p->best) {
        p->best = m->accepted;
        p->value = *m->map;
    }
    p->holding |= m->accepted != 0 ? UINT32_C(1) << m->sender : 0;
    if (enough_promises(a)) {
        propose(a);
    }
}

void proposer_timer(struct acceptor *a)
{
    struct proposer *p = &a->p;
    if (p->phase == BALLOT_IDLE) {
        a->look = a->look || (p->wants && a->now >= p->not_before) || unfinished(a);
        return;
    }
    if (a->now >= p->deadline) {
        give_up(a, MEMBER_MARK_BALLOT_TIMEOUT);
        a->look = true;
        return;
    }
    if (p->phase == BALLOT_PREPARING && enough_promises(a)) {
        propose(a);
        return;
    }
    if (a->now >= p->resend_at) {
        p->resend_at = a->now + a->params.renew_ns / 2;
        if (p->phase == BALLOT_PREPARING) {
            send_prepare(a);
        } else {
            send_accept(a);
        }
    }
}

void acceptor_on_accepted(struct acceptor *a, const struct member_msg *m)
{
    struct proposer *p = &a->p;
    if (!mine(a, m, BALLOT_PROPOSING)) {
        return;
    }
    p->answered |= UINT32_C(1) << m->sender;
    if (!majority_of(a, p->answered)) {
        return;
    }
    acceptor_mark(a, MEMBER_MARK_DECIDED, p->version, p->ballot);
    for (unsigned i = 0; i < a->count; i++) {
        if (i != a->index) {
            acceptor_send(a, MEMBER_MSG_MAP, i);
        }
    }
    acceptor_learn(a, &p->value);
}

void acceptor_on_refused(struct acceptor *a, const struct member_msg *m)
{
    struct proposer *p = &a->p;
    p->max_ballot = m->version == a->st.base.version + 1 && m->accepted > p->max_ballot
                        ? m->accepted
                        : p->max_ballot;
    if (p->phase == BALLOT_IDLE || m->ballot != p->ballot || m->version != p->version) {
        return;
    }
    if (m->accepted > p->ballot) {
        give_up(a, MEMBER_MARK_BALLOT_LOST);
        return;
    }
    uint64_t at = a->now + m->wait_ns; /* again when the promises there have run out */
    if (m->wait_ns != 0 && at < p->resend_at) {
        p->resend_at = at;
    }
}
