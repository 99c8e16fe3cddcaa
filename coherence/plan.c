/* What the next map should be, by what one acceptor knows: who is left out, who is let in, who is
 * promoted. All that can be done at once goes into one version.
 *
 * A node is *silent* if a majority of acceptors say so, so that all promises to it have run out
 * there; *lost for certain* if it has released its lease or another process asks to join from its
 * address. The data of a shard is where its members are, so:
 *
 *   - while a member is heard of (or a learner that has caught up: it is promoted in the same map)
 *     whoever is silent goes;
 *   - if none is, only who is lost for certain goes, and the silent stay: any of them may be the
 * one that comes back with the data;
 *   - if all are lost for certain and somebody waits at the door, or an operator forces it, the
 * shard begins anew, empty: learners go too (what they have is a part of what was lost).
 *
 * Heard of means: it has just echoed a token that left here a moment ago. A renewal alone says
 * little: it may have lain in a buffer while the acceptor stood still and its sender died.
 *
 * The proxies' group has nothing to lose. */
#include "coherence/acceptor_int.h"

#include <string.h>

enum fate { KEEP, SILENT, RELEASED, SAME_ADDRESS, ORDERED, BLAMED, FORCED, SWEPT };

struct sight { /* of nodes[i] of the base */
    enum fate fate;
    bool lost; /* for certain */
    bool promote;
    bool fresh; /* heard of just now */
};

static bool majority_gone(const struct acceptor *a, unsigned i)
{
    unsigned count = acceptor_gone(a, i) ? 1 : 0;
    for (unsigned k = 0; k < a->count; k++) {
        const struct peer_status *p = &a->peers[k];
        count += k != a->index && p->heard && a->now - p->at <= 4 * a->params.renew_ns &&
                 p->version == a->st.base.version && (p->gone[i / 64] >> (i % 64) & 1) != 0;
    }
    return count >= acceptor_majority(a);
}

static bool joiner_fresh(const struct acceptor *a, const struct joiner *j)
{
    return j->boot != 0 && (a->now < j->fresh_until || MUTANT(V4_LATE_JOIN_COUNTS));
}

static bool address_wanted(const struct acceptor *a, const struct map_address *at)
{
    for (unsigned i = 0; i < JOINERS_MAX; i++) {
        if (joiner_fresh(a, &a->joiners[i]) && map_same_address(&a->joiners[i].at, at)) {
            return true;
        }
    }
    return false;
}

static const struct order *order_for(const struct acceptor *a, uint32_t id)
{
    for (unsigned i = 0; i < ORDERS_MAX; i++) {
        const struct order *o = &a->orders[i];
        if (o->used && o->id == id && a->now < o->fresh_until) {
            return o;
        }
    }
    return NULL;
}

/* A REPLACE is done only while the replacement has the data and is heard of. */
static bool replacement_ready(const struct acceptor *a, const struct order *o)
{
    for (unsigned i = 0; i < a->st.base.node_count; i++) {
        if (a->st.base.nodes[i].id == o->other) {
            bool member = (a->st.base.nodes[i].flags & MAP_MEMBER) != 0;
            return !acceptor_gone(a, i) && (member || acceptor_learner_ready(a, i));
        }
    }
    return false;
}

static bool blames_now(const struct acceptor *a, unsigned who, unsigned target)
{
    const struct node_info *n = &a->info[who];
    return n->blames == a->st.base.nodes[target].id &&
           a->now - n->blamed_at <= 4 * a->params.renew_ns;
}

/* How many members of its group say that this node does not answer them. */
static unsigned blames_of(const struct acceptor *a, unsigned target)
{
    const struct member_map *base = &a->st.base;
    unsigned count = 0;
    for (unsigned i = 0; i < base->node_count; i++) {
        count += i != target && base->nodes[i].group == base->nodes[target].group &&
                 (base->nodes[i].flags & MAP_MEMBER) != 0 && blames_now(a, i, target);
    }
    return count;
}

/* Do this member and another of its group say so of each other? Then the connection between them is
 * gone, and one of the two has to go, however well both reach all others. */
static bool blamed_by_whom_it_blames(const struct acceptor *a, unsigned target)
{
    const struct member_map *base = &a->st.base;
    for (unsigned i = 0; i < base->node_count; i++) {
        if (i != target && base->nodes[i].group == base->nodes[target].group &&
            (base->nodes[i].flags & MAP_MEMBER) != 0 && blames_now(a, i, target) &&
            blames_now(a, target, i)) {
            return true;
        }
    }
    return false;
}

/* The one of the group that most of the others blame, or of a pair that blame each other; the
 * youngest of equals. */
static unsigned most_blamed(const struct acceptor *a, uint16_t group)
{
    const struct member_map *base = &a->st.base;
    unsigned found = MAP_NODES_MAX;
    unsigned most = 0;
    for (unsigned i = 0; i < base->node_count; i++) {
        if (base->nodes[i].group != group) {
            continue;
        }
        bool member = (base->nodes[i].flags & MAP_MEMBER) != 0;
        unsigned others = map_members(base, group) - (member ? 1 : 0);
        unsigned count = blames_of(a, i);
        bool enough =
            count * 2 > others || (blamed_by_whom_it_blames(a, i) && !MUTANT(L5_PAIR_KEPT));
        if (count > 0 && enough && count >= most) {
            found = i;
            most = count;
        }
    }
    return found;
}

static void look_at(const struct acceptor *a, unsigned i, struct sight *s)
{
    const struct map_node *n = &a->st.base.nodes[i];
    const struct node_info *info = &a->info[i];
    const struct order *o = order_for(a, n->id);
    bool silent = majority_gone(a, i) && !MUTANT(L5_NO_EXCLUSION);
    *s = (struct sight){.fate = KEEP};
    uint64_t alive = MUTANT(L5_LATE_RENEWAL_COUNTS) && info->was_heard ? info->heard : info->alive;
    s->fresh = alive != 0 && !info->released && a->now - alive <= 4 * a->params.renew_ns;
    if (o != NULL && o->kind == MEMBER_CHANGE_FORCE) {
        s->fate = FORCED;
        s->lost = true;
    } else if (info->released) {
        s->fate = RELEASED;
        s->lost = true;
    } else if (o != NULL && (o->kind == MEMBER_CHANGE_LEAVE || replacement_ready(a, o))) {
        s->fate = ORDERED;
    } else if (silent && address_wanted(a, &n->at)) {
        s->fate = SAME_ADDRESS;
        s->lost = true;
    } else if (silent) {
        s->fate = SILENT;
    } else if (acceptor_learner_ready(a, i) && s->fresh) {
        s->promote = true;
    }
}

static bool somebody_waits(const struct acceptor *a, uint16_t group)
{
    for (unsigned i = 0; i < JOINERS_MAX; i++) {
        if (joiner_fresh(a, &a->joiners[i]) &&
            map_group_by_name(&a->st.base, a->joiners[i].group) == group) {
            return true;
        }
    }
    return false;
}

/* Settles the fates of a shard's nodes; true if it begins anew. */
static bool settle_group(struct acceptor *a, uint16_t group, struct sight *sights, bool mark)
{
    const struct member_map *base = &a->st.base;
    bool alive = false;
    bool forced = false;
    bool all_lost = true;
    bool changes = false;
    for (unsigned i = 0; i < base->node_count; i++) {
        const struct sight *s = &sights[i];
        bool member = (base->nodes[i].flags & MAP_MEMBER) != 0;
        if (base->nodes[i].group != group || (!member && !s->promote)) {
            continue;
        }
        alive = alive || (s->fate == KEEP && s->fresh);
        forced = forced || s->fate == FORCED;
        all_lost = all_lost && s->lost;
        changes = changes || s->fate != KEEP;
    }
    if (!changes || alive) {
        return false;
    }
    bool anew = (all_lost && (forced || somebody_waits(a, group))) || MUTANT(L5_LAST_EXCLUDED);
    for (unsigned i = 0; i < base->node_count; i++) {
        struct sight *s = &sights[i];
        if (base->nodes[i].group != group) {
            continue;
        }
        bool member = (base->nodes[i].flags & MAP_MEMBER) != 0;
        if (anew) {
            s->promote = false;
            s->fate = s->fate == KEEP ? SWEPT : s->fate;
        } else if (member && s->fate != KEEP && (!s->lost || all_lost)) {
            s->fate = KEEP;
            if (mark) {
                acceptor_mark(a, MEMBER_MARK_LAST_KEPT, base->version, base->nodes[i].id);
            }
        }
    }
    if (anew && mark) {
        acceptor_mark(a, forced ? MEMBER_MARK_FORCED : MEMBER_MARK_REFOUNDED, base->version, group);
    }
    return anew;
}

static void mark_fate(struct acceptor *a, enum fate fate, uint32_t id)
{
    static const enum member_mark marks[] = {
        [SILENT] = MEMBER_MARK_LEFT_OUT_SILENT,
        [RELEASED] = MEMBER_MARK_LEFT_OUT_RELEASED,
        [SAME_ADDRESS] = MEMBER_MARK_LEFT_OUT_SAME_ADDRESS,
        [ORDERED] = MEMBER_MARK_LEFT_OUT_ORDERED,
        [BLAMED] = MEMBER_MARK_LEFT_OUT_BLAMED,
        [FORCED] = MEMBER_MARK_LEFT_OUT_ORDERED,
        [SWEPT] = MEMBER_MARK_LEFT_OUT_ORDERED,
    };
    if (fate != KEEP) {
        acceptor_mark(a, marks[fate], a->st.base.version, id);
    }
    const struct order *o = fate == ORDERED ? order_for(a, id) : NULL;
    if (o != NULL && o->kind == MEMBER_CHANGE_REPLACE) {
        acceptor_mark(a, MEMBER_MARK_REPLACED, id, o->other);
    }
}

static void remember_order(struct member_map *m, uint32_t id)
{
    if (m->ordered_count == MAP_ORDERED_MAX) {
        m->ordered_count--;
        memmove(m->ordered_out, m->ordered_out + 1, m->ordered_count * sizeof m->ordered_out[0]);
    }
    m->ordered_out[m->ordered_count++] = id;
}

/* Takes out who goes, promotes who may; touched: groups that changed. */
static void apply_fates(struct acceptor *a, const struct sight *sights, bool *touched, bool mark)
{
    struct member_map *m = &a->plan;
    unsigned at = 0;
    for (unsigned i = 0; i < a->st.base.node_count; i++) {
        const struct map_node *n = &a->st.base.nodes[i];
        const struct sight *s = &sights[i];
        if (s->fate != KEEP) {
            touched[n->group] = true;
            if (s->fate == ORDERED || s->fate == FORCED) {
                remember_order(m, n->id);
            }
            m->next_id -= MUTANT(V4_ID_TWICE) && n->id + 1 == m->next_id ? 1 : 0;
            map_remove(m, at);
        } else {
            if (s->promote) {
                touched[n->group] = true;
                m->nodes[at].flags |= MAP_MEMBER;
            }
            at++;
        }
        if (mark) {
            mark_fate(a, s->fate, n->id);
            if (s->promote && s->fate == KEEP) {
                acceptor_mark(a, MEMBER_MARK_PROMOTED, a->st.base.version, n->id);
            }
        }
    }
}

static enum member_reason join_reason(const struct member_map *m, const struct joiner *j)
{
    if (j->group[0] == '\0') {
        return MEMBER_SPARE;
    }
    uint16_t group = map_group_by_name(m, j->group);
    if (group == MAP_NO_GROUP) {
        return MEMBER_NO_GROUP;
    }
    if (map_by_address(m, &j->at) != NULL) {
        return MEMBER_OCCUPIED;
    }
    unsigned count = 0;
    for (unsigned i = 0; i < m->node_count; i++) {
        if (m->nodes[i].group == group) {
            count++;
            if (m->nodes[i].workers != j->workers) {
                return MEMBER_WORKERS;
            }
        }
    }
    return count >= VIEW_NODES_MAX || m->node_count == MAP_NODES_MAX ? MEMBER_FULL : MEMBER_PENDING;
}

enum member_reason plan_join_reason(const struct acceptor *a, const struct joiner *j)
{
    return join_reason(&a->st.base, j);
}

static void let_in(struct acceptor *a, bool *touched, bool mark)
{
    struct member_map *m = &a->plan;
    bool founding[MAP_GROUPS_MAX];
    for (unsigned g = 0; g < m->group_count; g++) {
        founding[g] = g != MAP_PROXIES && !m->groups[g].founded;
    }
    for (unsigned i = 0; i < JOINERS_MAX; i++) {
        const struct joiner *j = &a->joiners[i];
        if (!joiner_fresh(a, j) || map_by_boot(m, j->boot) != NULL) {
            continue;
        }
        enum member_reason r = join_reason(m, j);
        struct map_node *n =
            r == MEMBER_PENDING ? map_add(m, map_group_by_name(m, j->group)) : NULL;
        if (n == NULL) {
            if (mark) {
                acceptor_mark(a, MEMBER_MARK_JOIN_WAITS, m->version, r);
            }
            continue;
        }
        n->boot = j->boot;
        n->at = j->at;
        n->workers = j->workers;
        n->peer_port = j->peer_port;
        n->flags = founding[n->group]        ? MAP_MEMBER | MAP_FOUNDER
                   : n->group == MAP_PROXIES ? MAP_MEMBER
                                             : 0;
        m->groups[n->group].founded = n->group != MAP_PROXIES;
        touched[n->group] = true;
        if (mark) {
            acceptor_mark(a,
                          founding[n->group]        ? MEMBER_MARK_FOUNDER
                          : n->group == MAP_PROXIES ? MEMBER_MARK_PROXY_ADDED
                                                    : MEMBER_MARK_LEARNER_ADDED,
                          m->version, n->id);
        }
    }
}

bool plan_next(struct acceptor *a, bool *bar, bool mark)
{
    const struct member_map *base = &a->st.base;
    struct sight sights[MAP_NODES_MAX];
    bool touched[MAP_GROUPS_MAX] = {false};
    for (unsigned i = 0; i < base->node_count; i++) {
        look_at(a, i, &sights[i]);
    }
    a->plan = *base;
    a->plan.version++;
    for (uint16_t g = 0; g < base->group_count; g++) {
        unsigned blamed = most_blamed(a, g);
        if (blamed != MAP_NODES_MAX && sights[blamed].fate == KEEP) {
            sights[blamed].fate = BLAMED;
            sights[blamed].promote = false;
        }
        if (g != MAP_PROXIES && settle_group(a, g, sights, mark)) {
            a->plan.groups[g].founded = false;
        }
    }
    *bar = false;
    for (unsigned i = 0; i < base->node_count; i++) {
        enum fate f = sights[i].fate;
        *bar = *bar || f == ORDERED || f == FORCED || f == RELEASED || f == BLAMED || f == SWEPT;
    }
    apply_fates(a, sights, touched, mark);
    let_in(a, touched, mark);
    bool changed = false;
    for (uint16_t g = 0; g < base->group_count; g++) {
        a->plan.groups[g].epoch += touched[g] ? 1 : 0;
        changed = changed || touched[g];
    }
    return changed;
}
