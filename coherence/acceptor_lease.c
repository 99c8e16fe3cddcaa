/* What holders ask an acceptor for: leases (R2), to be let in, to be let go, operators' changes.
 *
 * Requests are remembered for as long as one lease only: who asks repeats itself. A JOIN counts
 * only if it brings back a token that this acceptor gave out a moment ago, so that a message from a
 * process long dead, late on the wire, lets nobody in and above all pushes nobody out (a joiner's
 * address is what proves that an earlier process there is gone). */
#include "coherence/acceptor_int.h"

#include <string.h>

static unsigned position_of(const struct acceptor *a, uint32_t id)
{
    const struct map_node *n = map_by_id(&a->st.base, id);
    return n == NULL ? MAP_NODES_MAX : (unsigned)(n - a->st.base.nodes);
}

bool acceptor_learner_ready(const struct acceptor *a, unsigned i)
{
    const struct map_node *n = &a->st.base.nodes[i];
    if ((n->flags & MAP_MEMBER) != 0) {
        return false;
    }
    return a->info[i].caught_up == a->st.base.groups[n->group].epoch ||
           (MUTANT(V5_PROMOTE_EARLY) && a->info[i].was_heard);
}

/* A newer map for who does not know it. */
static void tell(struct acceptor *a, uint64_t version)
{
    acceptor_saw_version(a, version);
    if (version < a->st.base.version) {
        acceptor_mark(a, MEMBER_MARK_TOLD_NEWER_MAP, version, MEMBER_NO_ACCEPTOR);
        acceptor_answer(a, MEMBER_MSG_MAP);
    } else if (version > a->st.base.version) {
        acceptor_send_status(a); /* some other acceptor has it */
    }
}

static void note_renewal(struct acceptor *a, unsigned i, const struct member_msg *m)
{
    struct node_info *n = &a->info[i];
    n->heard = a->now;
    n->was_heard = true;
    if (m->token <= a->now && m->token > n->alive) {
        n->alive = m->token;
    }
    n->told_silent = n->released;
    uint64_t caught_up = (m->flags & MEMBER_FLAG_CAUGHT_UP) != 0 ? m->epoch : 0;
    bool learner = (a->st.base.nodes[i].flags & MAP_MEMBER) == 0;
    a->look = a->look || (learner && caught_up != n->caught_up) || n->blames != m->other ||
              (learner && MUTANT(V5_PROMOTE_EARLY));
    n->caught_up = caught_up;
    n->blames = m->other;
    n->blamed_at = a->now;
}

void acceptor_on_renew(struct acceptor *a, const struct member_msg *m)
{
    tell(a, m->version);
    if (m->id == 0) {
        return;
    }
    unsigned i = position_of(a, m->id);
    if (i == MAP_NODES_MAX) {
        acceptor_mark(a, MEMBER_MARK_GRANT_REFUSED_OUT, a->st.base.version, m->id);
        if (!MUTANT(R2_GRANT_WHO_IS_OUT)) {
            return;
        }
    } else {
        note_renewal(a, i, m);
        const struct node_info *n = &a->info[i];
        if (a->forgot) { /* R2: it may have voted this one out */
            acceptor_mark(a, MEMBER_MARK_ABSTAINED, a->st.base.version, m->id);
            return;
        }
        if (n->released) {
            acceptor_mark(a, MEMBER_MARK_GRANT_REFUSED_RELEASED, a->st.base.version, m->id);
            return;
        }
        if (a->now < n->barred) {
            acceptor_mark(a, MEMBER_MARK_GRANT_REFUSED_BARRED, a->st.base.version, m->id);
            return;
        }
        if (a->st.accepted != 0 && map_by_id(&a->st.value, m->id) == NULL) { /* R2 */
            acceptor_mark(a, MEMBER_MARK_GRANT_REFUSED_VOTED, a->st.value.version, m->id);
            if (!MUTANT(R2_GRANT_AFTER_VOTE)) {
                return;
            }
        }
        if (a->stopped && MUTANT(R5_NO_GRANT_WITHOUT_DISK)) {
            return;
        }
        a->info[i].until = a->now + acceptor_promise_ns(a);
    }
    acceptor_mark(a, MEMBER_MARK_GRANTED, m->id, m->nonce);
    struct member_msg *g = acceptor_answer(a, MEMBER_MSG_GRANT);
    g->id = m->id;
    g->nonce = m->nonce;
    g->token = a->now;
}

void acceptor_on_release(struct acceptor *a, const struct member_msg *m)
{
    unsigned i = position_of(a, m->id);
    if (i == MAP_NODES_MAX) {
        acceptor_answer(a, MEMBER_MSG_MAP);
        return;
    }
    if (!a->info[i].released) {
        a->info[i].released = true;
        acceptor_mark(a, MEMBER_MARK_RELEASED, a->st.base.version, m->id);
        a->look = true;
    }
}

/* ---- joining ---- */

static struct joiner *joiner_slot(struct acceptor *a, const struct member_msg *m)
{
    struct joiner *free = NULL;
    for (unsigned i = 0; i < JOINERS_MAX; i++) {
        struct joiner *j = &a->joiners[i];
        if (j->boot == m->nonce || (j->boot != 0 && map_same_address(&j->at, &m->at))) {
            return j;
        }
        if (free == NULL && (j->boot == 0 || a->now >= j->fresh_until)) {
            free = j;
        }
    }
    return free;
}

static bool token_ok(const struct acceptor *a, uint64_t token)
{
    return MUTANT(V4_LATE_JOIN_COUNTS) ||
           (token != 0 && token <= a->now && a->now - token <= a->params.lease_ns);
}

void acceptor_on_join(struct acceptor *a, const struct member_msg *m)
{
    tell(a, m->version);
    if (map_by_boot(&a->st.base, m->nonce) != NULL) {
        return;
    }
    enum member_reason reason = MEMBER_PENDING;
    struct joiner *j = token_ok(a, m->token) ? joiner_slot(a, m) : NULL;
    if (j == NULL) {
        acceptor_mark(a, MEMBER_MARK_JOIN_STALE, m->nonce, m->token);
    } else {
        bool known = j->boot == m->nonce;
        j->boot = m->nonce;
        j->at = m->at;
        j->workers = m->workers;
        j->peer_port = m->peer_port;
        if (!known || m->group[0] != '\0') { /* what an operator said to a spare stays */
            memcpy(j->group, m->group, sizeof j->group);
        }
        j->fresh_until = a->now + a->params.lease_ns;
        reason = plan_join_reason(a, j);
        a->look = true;
    }
    struct member_msg *w = acceptor_answer(a, MEMBER_MSG_WAIT);
    w->nonce = m->nonce;
    w->token = a->now;
    w->reason = reason;
}

/* ---- operators ---- */

static enum member_reason join_order(struct acceptor *a, const struct member_msg *m)
{
    uint16_t group = map_group_by_name(&a->st.base, m->group);
    if (group == MAP_NO_GROUP) {
        return MEMBER_NO_GROUP;
    }
    const struct map_node *n = map_by_address(&a->st.base, &m->at);
    if (n != NULL) {
        return n->group == group ? MEMBER_DONE : MEMBER_OCCUPIED;
    }
    for (unsigned i = 0; i < JOINERS_MAX; i++) {
        struct joiner *j = &a->joiners[i];
        if (j->boot != 0 && a->now < j->fresh_until && map_same_address(&j->at, &m->at)) {
            memcpy(j->group, m->group, sizeof j->group);
            a->look = true;
            enum member_reason r = plan_join_reason(a, j);
            return r == MEMBER_OCCUPIED ? MEMBER_PENDING : r;
        }
    }
    return MEMBER_NO_NODE;
}

static bool is_last(const struct acceptor *a, unsigned i)
{
    const struct map_node *n = &a->st.base.nodes[i];
    if (n->group == MAP_PROXIES || (n->flags & MAP_MEMBER) == 0) {
        return false;
    }
    for (unsigned k = 0; k < a->st.base.node_count; k++) {
        const struct map_node *other = &a->st.base.nodes[k];
        if (k != i && other->group == n->group &&
            ((other->flags & MAP_MEMBER) != 0 || acceptor_learner_ready(a, k))) {
            return false;
        }
    }
    return true;
}

static enum member_reason out_order(const struct acceptor *a, const struct member_msg *m)
{
    unsigned i = position_of(a, m->id);
    if (i == MAP_NODES_MAX) {
        return m->id != 0 && m->id < a->st.base.next_id ? MEMBER_DONE : MEMBER_NO_NODE;
    }
    if (m->change != MEMBER_CHANGE_FORCE && is_last(a, i)) {
        return MEMBER_LAST;
    }
    if (m->change == MEMBER_CHANGE_REPLACE) {
        unsigned k = position_of(a, m->other);
        if (k == MAP_NODES_MAX || k == i ||
            a->st.base.nodes[k].group != a->st.base.nodes[i].group) {
            return MEMBER_NO_NODE;
        }
        if ((a->st.base.nodes[k].flags & MAP_MEMBER) == 0 && !acceptor_learner_ready(a, k)) {
            return MEMBER_NOT_CAUGHT_UP;
        }
    }
    return MEMBER_PENDING;
}

static void note_order(struct acceptor *a, const struct member_msg *m)
{
    struct order *free = NULL;
    for (unsigned i = 0; i < ORDERS_MAX; i++) {
        struct order *o = &a->orders[i];
        bool stale = !o->used || a->now >= o->fresh_until;
        if (o->used && o->id == m->id) {
            free = o;
            break;
        }
        free = free == NULL && stale ? o : free;
    }
    if (free != NULL) { /* else: it will be said again */
        *free = (struct order){true, m->change, m->id, m->other, a->now + a->params.lease_ns};
        a->look = true;
    }
}

void acceptor_on_change(struct acceptor *a, const struct member_msg *m)
{
    enum member_reason r = m->change == MEMBER_CHANGE_JOIN ? join_order(a, m) : out_order(a, m);
    if (r == MEMBER_PENDING && m->change != MEMBER_CHANGE_JOIN) {
        note_order(a, m);
    }
    struct member_msg *answer = acceptor_answer(a, MEMBER_MSG_RESULT);
    answer->nonce = m->nonce;
    answer->reason = r;
}
