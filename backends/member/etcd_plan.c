#include "backends/member/etcd_plan.h"

#include <string.h>

#include "common/must.h"

static void begin(const struct member_map *base, struct etcd_plan *p)
{
    memset(p, 0, sizeof *p);
    p->next = *base;
    p->next.version++;
}

/* A group's epoch grows once with a version that changes who is in it. */
static void touch(const struct member_map *base, struct etcd_plan *p, uint16_t group)
{
    p->next.groups[group].epoch = base->groups[group].epoch + 1;
}

static unsigned position(const struct member_map *m, uint32_t id)
{
    for (unsigned i = 0; i < m->node_count; i++) {
        if (m->nodes[i].id == id) {
            return i;
        }
    }
    return m->node_count;
}

static void leave_out(const struct member_map *base, struct etcd_plan *p, uint32_t id)
{
    unsigned at = position(&p->next, id);
    must(at < p->next.node_count && p->out_count < ETCD_OUT_MAX);
    touch(base, p, p->next.nodes[at].group);
    map_remove(&p->next, at);
    p->out[p->out_count++] = id;
}

/* Learners of a group that has lost its last member have nobody to learn from: they have no data,
 * and go too. They join again. */
static void drop_orphans(const struct member_map *base, struct etcd_plan *p, uint16_t group)
{
    if (group == MAP_PROXIES || map_members(&p->next, group) != 0) {
        return;
    }
    p->next.groups[group].founded = false;
    for (unsigned i = p->next.node_count; i-- > 0;) {
        if (p->next.nodes[i].group == group) {
            touch(base, p, group);
            map_remove(&p->next, i);
        }
    }
}

enum member_reason etcd_plan_join(const struct member_map *base, const struct etcd_fact *facts,
                                  const struct member_join *join, uint64_t boot,
                                  struct etcd_plan *p)
{
    begin(base, p);
    uint16_t group = map_group_by_name(base, join->group);
    if (group == MAP_NO_GROUP) {
        return MEMBER_NO_GROUP;
    }
    for (unsigned i = 0; i < base->node_count; i++) {
        const struct map_node *n = &base->nodes[i];
        if (map_same_address(&n->at, &join->at)) {
            if (!facts[i].silent) {
                return MEMBER_OCCUPIED;
            }
            leave_out(base, p, n->id);
            drop_orphans(base, p, n->group);
        } else if (n->group == group && n->workers != join->workers) {
            return MEMBER_WORKERS;
        }
    }
    bool has_data = group != MAP_PROXIES && map_members(&p->next, group) != 0;
    struct map_node *n = map_add(&p->next, group);
    if (n == NULL) {
        return MEMBER_FULL;
    }
    n->boot = boot;
    n->at = join->at;
    n->workers = join->workers;
    n->peer_port = join->peer_port;
    n->flags = has_data ? 0 : MAP_MEMBER | (group != MAP_PROXIES ? MAP_FOUNDER : 0);
    p->next.groups[group].founded = group != MAP_PROXIES;
    touch(base, p, group);
    return MEMBER_DONE;
}

/* Is somebody of the group heard of who has the data? */
static bool has_living_member(const struct member_map *base, const struct etcd_fact *facts,
                              uint16_t group)
{
    for (unsigned i = 0; i < base->node_count; i++) {
        const struct map_node *n = &base->nodes[i];
        if (n->group == group && (n->flags & MAP_MEMBER) != 0 && !facts[i].silent) {
            return true;
        }
    }
    return false;
}

bool etcd_plan_leave_out(const struct member_map *base, const struct etcd_fact *facts,
                         uint32_t self, struct etcd_plan *p)
{
    begin(base, p);
    for (unsigned i = 0; i < base->node_count && p->out_count < ETCD_OUT_MAX; i++) {
        const struct map_node *n = &base->nodes[i];
        if (!facts[i].silent || n->id == self) {
            continue;
        }
        if (n->group == MAP_PROXIES || (n->flags & MAP_MEMBER) == 0 ||
            has_living_member(base, facts, n->group) || facts[i].forced) {
            leave_out(base, p, n->id);
            drop_orphans(base, p, n->group);
        }
    }
    return p->out_count != 0;
}

bool etcd_plan_promote(const struct member_map *base, uint32_t id, struct etcd_plan *p)
{
    begin(base, p);
    unsigned at = position(base, id);
    if (at == base->node_count || (base->nodes[at].flags & MAP_MEMBER) != 0) {
        return false;
    }
    p->next.nodes[at].flags |= MAP_MEMBER;
    touch(base, p, base->nodes[at].group);
    return true;
}

bool etcd_plan_go(const struct member_map *base, uint32_t id, bool ordered, struct etcd_plan *p)
{
    begin(base, p);
    unsigned at = position(base, id);
    if (at == base->node_count) {
        return false;
    }
    uint16_t group = base->nodes[at].group;
    touch(base, p, group);
    map_remove(&p->next, at);
    drop_orphans(base, p, group);
    if (ordered) {
        struct member_map *m = &p->next;
        if (m->ordered_count == MAP_ORDERED_MAX) {
            memmove(m->ordered_out, m->ordered_out + 1,
                    (MAP_ORDERED_MAX - 1) * sizeof m->ordered_out[0]);
            m->ordered_count--;
        }
        m->ordered_out[m->ordered_count++] = id;
    }
    return true;
}

bool etcd_plan_is_last(const struct member_map *base, const struct etcd_fact *facts, uint32_t id)
{
    unsigned at = position(base, id);
    if (at == base->node_count || base->nodes[at].group == MAP_PROXIES ||
        (base->nodes[at].flags & MAP_MEMBER) == 0) {
        return false;
    }
    for (unsigned i = 0; i < base->node_count; i++) {
        const struct map_node *n = &base->nodes[i];
        if (i != at && n->group == base->nodes[at].group && (n->flags & MAP_MEMBER) != 0 &&
            !facts[i].silent) {
            return false;
        }
    }
    return true;
}
