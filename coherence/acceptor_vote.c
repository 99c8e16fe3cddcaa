/* Votes (R4, R5): an ordinary Paxos acceptor for version base + 1, with one more condition: a map
 * is accepted only when every promise to whom it leaves out has run out. Together with R2 (who was
 * voted out is granted nothing) this makes the vote and the lease one decision. */
#include "coherence/acceptor_int.h"

#include <string.h>

/* Is this vote about the version after our base? If not, who is behind is told. */
static bool right_version(struct acceptor *a, const struct member_msg *m, uint64_t version)
{
    if (a->forgot) {
        acceptor_mark(a, MEMBER_MARK_ABSTAINED, version, 0);
        return false;
    }
    if (version <= a->st.base.version) {
        acceptor_mark(a, MEMBER_MARK_VOTE_OLD_VERSION, version, m->sender);
        acceptor_send(a, MEMBER_MSG_MAP, m->sender);
        return false;
    }
    if (version > a->st.base.version + 1) {
        acceptor_mark(a, MEMBER_MARK_VOTE_BEHIND, version, m->sender);
        acceptor_send_status_to(a, m->sender);
        return false;
    }
    return true;
}

static void refuse(struct acceptor *a, const struct member_msg *m, uint64_t version,
                   uint64_t wait_ns)
{
    struct member_msg *r = acceptor_send(a, MEMBER_MSG_REFUSED, m->sender);
    r->version = version;
    r->ballot = m->ballot;
    r->accepted = a->st.promised;
    r->wait_ns = wait_ns;
}

void acceptor_on_prepare(struct acceptor *a, const struct member_msg *m)
{
    if (!right_version(a, m, m->version)) {
        return;
    }
    if (m->ballot < a->st.promised) {
        acceptor_mark(a, MEMBER_MARK_REFUSED_BALLOT, m->version, m->ballot);
        refuse(a, m, m->version, 0);
        return;
    }
    if (m->ballot > a->st.promised) {
        a->st.promised = m->ballot;
        a->dirty = true;
    }
    if (m->sender != a->index) {
        a->others_ballot_at = a->now;
    }
    acceptor_persist(a);
    acceptor_mark(a, MEMBER_MARK_PROMISED, m->version, m->ballot);
    struct member_msg *r = acceptor_send(a, MEMBER_MSG_PROMISE, m->sender);
    r->version = m->version;
    r->ballot = m->ballot;
    r->accepted = MUTANT(R4_FORGET_ACCEPTED) ? 0 : a->st.accepted;
    r->map = r->accepted != 0 ? &a->st.value : NULL;
}

/* How long nobody may be left out yet, ns. bar: from now on those in question are granted nothing,
 * so that this comes to an end. */
static uint64_t lease_wait(struct acceptor *a, const struct member_map *next, bool bar)
{
    uint64_t wait = 0;
    for (unsigned i = 0; i < a->st.base.node_count; i++) {
        struct node_info *n = &a->info[i];
        bool learner = (a->st.base.nodes[i].flags & MAP_MEMBER) == 0; /* serves nothing */
        if (map_by_id(next, a->st.base.nodes[i].id) != NULL || n->released || learner) {
            continue;
        }
        uint64_t until = n->until > a->votes_out_from ? n->until : a->votes_out_from; /* R4, R5 */
        if (until > a->now) {
            wait = until - a->now > wait ? until - a->now : wait;
            if (bar) {
                n->barred = a->now + 2 * acceptor_promise_ns(a);
            }
        }
    }
    return MUTANT(R4_NO_WAIT) ? 0 : wait;
}

void acceptor_on_accept(struct acceptor *a, const struct member_msg *m)
{
    uint64_t version = m->map->version;
    if (!right_version(a, m, version)) {
        return;
    }
    if (m->ballot < a->st.promised && !MUTANT(R4_VOTE_BELOW_PROMISE)) {
        acceptor_mark(a, MEMBER_MARK_REFUSED_BALLOT, version, m->ballot);
        refuse(a, m, version, 0);
        return;
    }
    if (!map_follows(&a->st.base, m->map)) {
        acceptor_mark(a, MEMBER_MARK_IMPOSSIBLE, version, m->ballot);
        return;
    }
    if (m->sender != a->index) {
        a->others_ballot_at = a->now;
    }
    bool again = a->st.accepted == m->ballot;
    uint64_t wait = again ? 0 : lease_wait(a, m->map, (m->flags & MEMBER_FLAG_BAR) != 0);
    if (wait > 0) {
        bool restarted = a->now < a->votes_out_from;
        acceptor_mark(a, restarted ? MEMBER_MARK_REFUSED_RESTARTED : MEMBER_MARK_REFUSED_LEASE,
                      version, wait);
        refuse(a, m, version, wait);
        return;
    }
    if (!again) {
        a->st.promised = m->ballot > a->st.promised ? m->ballot : a->st.promised;
        a->st.accepted = m->ballot;
        a->st.value = *m->map;
        a->accepted_at = a->now;
        a->dirty = true;
    }
    acceptor_persist(a);
    acceptor_mark(a, MEMBER_MARK_ACCEPTED, version, m->ballot);
    struct member_msg *r = acceptor_send(a, MEMBER_MSG_ACCEPTED, m->sender);
    r->version = version;
    r->ballot = m->ballot;
}

/* What is known of nodes moves with them; promises are about incarnations (see member.h). */
static void carry_info(struct acceptor *a, const struct member_map *map)
{
    const struct member_map *base = &a->st.base;
    unsigned from = 0;
    for (unsigned to = 0; to < map->node_count; to++) { /* both ascend */
        while (from < base->node_count && base->nodes[from].id < map->nodes[to].id) {
            from++;
        }
        bool kept = from < base->node_count && base->nodes[from].id == map->nodes[to].id;
        must(!kept || from >= to);
        a->info[to] = kept ? a->info[from] : (struct node_info){.heard = a->now};
    }
    memset(&a->info[map->node_count], 0, (MAP_NODES_MAX - map->node_count) * sizeof a->info[0]);
}

void acceptor_learn(struct acceptor *a, const struct member_map *map)
{
    if (map->version <= a->st.base.version || map_cluster(map) != a->cluster) {
        return;
    }
    bool mine = a->st.accepted != 0 && map->version == a->st.base.version + 1;
    bool other =
        mine && (a->st.value.next_id != map->next_id || a->st.value.node_count != map->node_count);
    acceptor_mark(a, other ? MEMBER_MARK_LEARNED_OTHER : MEMBER_MARK_LEARNED, map->version, 0);
    carry_info(a, map);
    if (map != &a->st.base) {
        a->st.base = *map;
    }
    a->st.promised = 0;
    a->st.accepted = 0;
    memset(&a->st.value, 0, sizeof a->st.value);
    a->dirty = true;
    for (unsigned i = 0; i < JOINERS_MAX; i++) {
        if (a->joiners[i].boot != 0 && map_by_boot(map, a->joiners[i].boot) != NULL) {
            a->joiners[i].boot = 0;
        }
    }
    proposer_stop(a);
    a->p.backoff_ns = 0;
    a->p.wants = false;
    a->p.not_before = 0;
    a->others_ballot_at = 0;
    a->look = true;
    struct acceptor_out *push = &a->out->out[a->out->count];
    (void)acceptor_answer(a, MEMBER_MSG_MAP);
    push->kind = ACCEPTOR_OUT_PUSH;
    acceptor_persist(a); /* behind the sends: if it is lost, it is learnt again */
}
