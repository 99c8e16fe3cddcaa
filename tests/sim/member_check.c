/* What must hold of the membership service, judged from outside with true time: which values were
 * voted for by a majority (that is when a map is chosen, whoever knows it), and what that means. */
#include <string.h>

#include "common/must.h"
#include "tests/sim/member_sim.h"

static struct ms_map pack(const struct member_map *map)
{
    struct ms_map p;
    memset(&p, 0, sizeof p);
    p.len = (uint16_t)map_encode(map, p.bytes, sizeof p.bytes);
    return p;
}

bool ms_chosen_map(const struct ms *m, uint64_t version, struct member_map *map)
{
    if (version == 0) {
        *map = m->genesis;
        return true;
    }
    const struct ms_map *p = version < MS_VERSIONS_MAX ? &m->maps[version] : NULL;
    return p != NULL && p->len != 0 && map_decode(p->bytes, p->len, map) == OK;
}

int ms_runs(struct sim *s, const struct ms *m, uint64_t boot)
{
    for (unsigned i = 0; i < m->holders; i++) {
        if (boot != 0 && m->hold[i].boot == boot && m->hold[i].core != NULL &&
            s->nodes[m->holder_node[i]].up) {
            return (int)i;
        }
    }
    return -1;
}

static bool lease_valid_now(struct sim *s, const struct ms *m, unsigned holder)
{
    const struct ms_holder *h = &m->hold[holder];
    return h->core != NULL && h->lease.until_ns > sim_clock(s, m->holder_node[holder]);
}

/* The claim: who is left out has no lease from now on. */
static void check_left_out(struct sim *s, struct ms *m, const struct map_node *n, uint64_t version)
{
    struct ms_id *id = &m->ids[n->id];
    id->out_version = version;
    id->was_learner = (n->flags & MAP_MEMBER) == 0;
    int holder = ms_runs(s, m, n->boot);
    if (!m->leases_not_judged && (n->flags & MAP_MEMBER) != 0 && holder >= 0 &&
        m->hold[holder].id == n->id &&
        lease_valid_now(s, m, (unsigned)holder)) { /* learners serve nothing */
        sim_fail(s, "map %llu leaves out %u, which still has a lease for %llu us",
                 (unsigned long long)version, n->id,
                 (unsigned long long)(m->hold[holder].lease.until_ns -
                                      sim_clock(s, m->holder_node[holder])) /
                     1000);
    }
}

void ms_saw_lease(struct sim *s, struct ms *m, unsigned holder)
{
    const struct ms_holder *h = &m->hold[holder];
    uint32_t id = h->core != NULL ? holder_id(h->core) : 0;
    if (!m->leases_not_judged && id != 0 && id < MS_IDS_MAX && m->ids[id].out_version != 0 &&
        !m->ids[id].was_learner && lease_valid_now(s, m, holder)) {
        sim_fail(s, "holder %u takes a lease as %u, which map %llu leaves out", holder, id,
                 (unsigned long long)m->ids[id].out_version);
    }
}

static void check_ids(struct sim *s, struct ms *m, const struct member_map *map)
{
    for (unsigned i = 0; i < map->node_count; i++) {
        const struct map_node *n = &map->nodes[i];
        must(n->id < MS_IDS_MAX);
        struct ms_id *id = &m->ids[n->id];
        if ((id->boot != 0 && id->boot != n->boot) || id->out_version != 0) {
            sim_fail(s, "map %llu gives id %u a second time", (unsigned long long)map->version,
                     n->id);
        }
        id->boot = n->boot;
    }
}

/* Is the data of a member lost for sure, or given up by an operator? */
static bool really_gone(struct sim *s, const struct ms *m, const struct map_node *n)
{
    int holder = ms_runs(s, m, n->boot);
    return holder < 0 || m->hold[holder].releasing || m->ids[n->id].forced ||
           !m->hold[holder].has_data;
}

static void check_group(struct sim *s, const struct ms *m, const struct member_map *base,
                        const struct member_map *next, uint16_t g)
{
    if (g == MAP_PROXIES || !base->groups[g].founded) {
        return;
    }
    bool kept = false;
    for (unsigned i = 0; i < next->node_count; i++) {
        const struct map_node *n = &next->nodes[i];
        const struct map_node *was = map_by_id(base, n->id);
        if (n->group != g || was == NULL || (n->flags & MAP_MEMBER) == 0) {
            continue;
        }
        kept = true;
        int holder = ms_runs(s, m, n->boot);
        if ((was->flags & MAP_MEMBER) == 0 && holder >= 0 && !m->hold[holder].has_data) {
            sim_fail(s, "map %llu makes %u a member, which lacks data",
                     (unsigned long long)next->version, n->id);
        }
    }
    bool forced = false;
    for (unsigned i = 0; i < base->node_count; i++) {
        const struct map_node *n = &base->nodes[i];
        forced = forced || (n->group == g && m->ids[n->id].forced);
    }
    for (unsigned i = 0; i < base->node_count && !kept && !forced; i++) {
        const struct map_node *n = &base->nodes[i];
        if (n->group == g && (n->flags & MAP_MEMBER) != 0 && !really_gone(s, m, n)) {
            sim_fail(s, "map %llu gives up shard %u although %u lives and has its data",
                     (unsigned long long)next->version, g, n->id);
        }
    }
}

static void chosen(struct sim *s, struct ms *m, uint64_t version, const struct ms_map *p)
{
    static struct member_map base;
    static struct member_map next;
    must(version < MS_VERSIONS_MAX);
    if (m->maps[version].len != 0) {
        if (memcmp(&m->maps[version], p, sizeof *p) != 0) {
            sim_fail(s, "two maps were chosen as version %llu", (unsigned long long)version);
        }
        return;
    }
    m->maps[version] = *p;
    m->chosen = version > m->chosen ? version : m->chosen;
    must(map_decode(p->bytes, p->len, &next) == OK);
    sim_note(s, "map %llu is chosen: %u nodes", (unsigned long long)version, next.node_count);
    if (!ms_chosen_map(m, version - 1, &base) || !map_follows(&base, &next)) {
        sim_fail(s, "map %llu does not follow the one before", (unsigned long long)version);
        return;
    }
    for (unsigned i = 0; i < base.node_count; i++) {
        if (map_by_id(&next, base.nodes[i].id) == NULL) {
            check_left_out(s, m, &base.nodes[i], version);
        }
    }
    check_ids(s, m, &next);
    for (uint16_t g = 0; g < next.group_count; g++) {
        check_group(s, m, &base, &next, g);
    }
}

static struct ms_ballot *ballot_of(struct ms *m, uint64_t version, uint64_t ballot)
{
    for (unsigned i = 0; i < m->ballot_count; i++) {
        if (m->ballots[i].version == version && m->ballots[i].ballot == ballot) {
            return &m->ballots[i];
        }
    }
    must(m->ballot_count < MS_BALLOTS_MAX);
    struct ms_ballot *b = &m->ballots[m->ballot_count++];
    b->version = version;
    b->ballot = ballot;
    return b;
}

/* A vote counts from the moment it leaves the acceptor, whether it arrives or not. */
void ms_saw_send(struct sim *s, struct ms *m, unsigned acceptor, const struct member_msg *msg)
{
    m->sent[acceptor][msg->kind]++;
    if (msg->kind == MEMBER_MSG_ACCEPT) {
        struct ms_ballot *b = ballot_of(m, msg->map->version, msg->ballot);
        struct ms_map p = pack(msg->map);
        if (b->map.len != 0 && memcmp(&b->map, &p, sizeof p) != 0) {
            sim_fail(s, "two maps were proposed in one ballot");
        }
        b->map = p;
    } else if (msg->kind == MEMBER_MSG_ACCEPTED) {
        struct ms_ballot *b = ballot_of(m, msg->version, msg->ballot);
        b->voters |= UINT32_C(1) << acceptor;
        unsigned count = 0;
        for (unsigned i = 0; i < m->acceptors; i++) {
            count += b->voters >> i & 1;
        }
        if (count >= m->acceptors / 2 + 1) {
            must(b->map.len != 0);
            chosen(s, m, b->version, &b->map);
        }
    }
}

void ms_saw_map(struct sim *s, struct ms *m, const struct member_map *map, const char *who,
                unsigned index)
{
    struct ms_map p = pack(map);
    if (map->version >= MS_VERSIONS_MAX || memcmp(&p, &m->maps[map->version], sizeof p) != 0) {
        sim_fail(s, "%s %u learnt a map %llu that was not chosen", who, index,
                 (unsigned long long)map->version);
    }
}

bool ms_settled(struct sim *s, const struct ms *m, unsigned without)
{
    static struct member_map map;
    if (!ms_chosen_map(m, m->chosen, &map)) {
        return false;
    }
    for (unsigned i = 0; i < m->acceptors; i++) {
        unsigned node = m->acceptor_node[i];
        if ((without >> node & 1) == 0 &&
            (m->acc[i].core == NULL || acceptor_map(m->acc[i].core)->version != m->chosen ||
             !acceptor_votes(m->acc[i].core))) {
            sim_note(s, "not settled: acceptor %u", i);
            return false;
        }
    }
    unsigned running = 0;
    for (unsigned i = 0; i < m->holders; i++) {
        unsigned node = m->holder_node[i];
        const struct ms_holder *h = &m->hold[i];
        if ((without >> node & 1) != 0) {
            continue;
        }
        running++;
        const struct map_node *n = h->core != NULL ? map_by_id(&map, h->id) : NULL;
        if (n == NULL || (n->flags & MAP_MEMBER) == 0 || h->map_version != m->chosen ||
            !lease_valid_now(s, m, i)) {
            sim_note(s, "not settled: holder %u is %u of map %llu", i, h->id,
                     (unsigned long long)h->map_version);
            return false;
        }
    }
    return map.node_count == running;
}
