/* The membership world put together: what a run looks like, what befalls it, when it has settled.
 */
#include "tests/sim/world_member.h"

#include <string.h>

#include "coherence/mutant.h"
#include "common/must.h"

static const char *const marks[] = {
#define X(name) #name,
    MEMBER_MARKS(X)
#undef X
        NULL};

#ifdef COH_MUTANTS
static const char *const mutants[] = {NULL,
#define X(name) #name,
                                      COH_MEMBER_MUTANTS(X)
#undef X
                                          NULL};

static void mutant_set(unsigned n)
{
    static const unsigned numbers[] = {COH_NO_MUTANT,
#define X(name) COH_##name,
                                       COH_MEMBER_MUTANTS(X)
#undef X
    };
    coh_mutant = numbers[n];
}
#endif

static uint64_t some_ms(struct sim *s, uint32_t from, uint32_t span)
{
    return SIM_MS * (from + sim_choose(s, SITE_MEMBER, span));
}

/* ---- what the holders' drivers do ---- */

static void on_view(struct sim *s, unsigned i, const struct holder_out *o)
{
    struct mw *w = mw_of(s);
    struct ms_holder *h = &w->ms.hold[i];
    if (o->u.view.founder) {
        h->has_data = true;
    }
    if (!o->u.view.member && !h->has_data && !w->scripted) {
        sim_at(s, some_ms(s, 5, 150), MW_EV_CAUGHT_UP, i, h->boot);
    }
}

static void on_lease(struct sim *s, unsigned i, struct lease lease)
{
    (void)s;
    (void)i;
    (void)lease;
}

static void on_expelled(struct sim *s, unsigned i, bool ordered)
{
    struct mw *w = mw_of(s);
    w->ms.hold[i].spare = ordered;
    if (!w->scripted) {
        sim_at(s, some_ms(s, 1, 100), MW_EV_JOIN, i, 0);
    }
}

static void on_released(struct sim *s, unsigned i)
{
    if (!mw_of(s)->scripted) {
        sim_at(s, some_ms(s, 1, 20), MW_EV_STOPPED, i, 0);
    }
}

static const struct ms_ops ops = {on_view, on_lease, on_expelled, on_released, NULL};

/* ---- setting up ---- */

static void start_all(struct sim *s)
{
    struct mw *w = mw_of(s);
    for (unsigned i = 0; i < w->ms.acceptors; i++) {
        w->ms.acceptor_node[i] = w->ms.holders + i;
        if (w->scripted || sim_choose(s, SITE_CONFIG, 4) != 3) {
            ms_acceptor_prepare(&w->ms, i);
        }
        ms_acceptor_start(s, &w->ms, i);
    }
    for (unsigned i = 0; i < w->ms.holders; i++) {
        unsigned shards = w->ms.genesis.group_count - 1u;
        w->ms.holder_node[i] = i;
        w->ms.hold[i].home = (uint16_t)(i == w->ms.holders - 1 && w->ms.holders > 1 ? MAP_PROXIES
                                        : i < 3 || shards == 1                      ? 1
                                                                                    : 2);
        ms_holder_start(s, &w->ms, i);
        if (!w->scripted) {
            sim_at(s, SIM_MS * sim_choose(s, SITE_MEMBER, 30), MW_EV_JOIN, i, 0);
        }
    }
}

static void setup(struct sim *s)
{
    struct mw *w = mw_of(s);
    static const uint8_t acceptors[] = {3, 3, 5, 1};
    unsigned a = 3;
    unsigned h = 4;
    unsigned shards = 1;
    if (!w->scripted) {
        a = acceptors[sim_choose(s, SITE_CONFIG, 4)];
        h = 4 + sim_choose(s, SITE_CONFIG, 4);
        shards = h >= 6 && sim_choose(s, SITE_CONFIG, 2) != 0 ? 2 : 1;
        w->operators = sim_choose(s, SITE_CONFIG, 2) != 0;
        w->blame = sim_choose(s, SITE_CONFIG, 3) == 2;
        w->stops = sim_choose(s, SITE_CONFIG, 2) != 0;
        w->partitions = sim_choose(s, SITE_CONFIG, 2) != 0;
        w->ms.persist_faults = sim_choose(s, SITE_CONFIG, 2) != 0;
        w->ms.crash_at_persist = sim_choose(s, SITE_CONFIG, 2) != 0;
    }
    ms_init(s, &w->ms, a, h, shards);
    w->ms.ops = &ops;
    s->node_count = a + h;
    s->fault_nodes = a + h;
    s->jump_nodes = h;
    for (unsigned i = 0; i < s->node_count; i++) {
        s->nodes[i].up = true;
    }
    start_all(s);
    if (w->scripted) {
        return;
    }
    sim_at(s, 300 * SIM_MS, MW_EV_OPERATOR, 0, 0);
    sim_at(s, 250 * SIM_MS, MW_EV_BLAME, 0, 0);
    sim_at(s, 350 * SIM_MS, MW_EV_STOP, 0, 0);
    sim_at(s, 200 * SIM_MS, MW_EV_PARTITION, 0, 0);
    sim_at(s, 150 * SIM_MS, MW_EV_DISK, 0, 0);
}

static void deliver(struct sim *s, unsigned node, unsigned from, const uint8_t *frame, size_t len)
{
    (void)ms_deliver(s, &mw_of(s)->ms, node, from, frame, len);
}

static void wake(struct sim *s, unsigned node)
{
    struct mw *w = mw_of(s);
    int holder = ms_holder_at(&w->ms, node);
    if (!ms_wake(s, &w->ms, node) && w->ms.hold[holder].core != NULL) {
        ms_holder_timer(s, &w->ms, (unsigned)holder);
    }
}

/* ---- events ---- */

/* Not now: paused processes do nothing. */
static bool stands_still(struct sim *s, unsigned holder, enum mw_event kind, uint64_t b)
{
    struct mw *w = mw_of(s);
    if (s->nodes[w->ms.holder_node[holder]].paused) {
        sim_at(s, 20 * SIM_MS, kind, holder, b);
        return true;
    }
    return w->ms.hold[holder].core == NULL;
}

/* A learner has pulled everything from a member that has it. */
static void caught_up(struct sim *s, unsigned i, uint64_t boot)
{
    struct mw *w = mw_of(s);
    struct ms_holder *h = &w->ms.hold[i];
    if (stands_still(s, i, MW_EV_CAUGHT_UP, boot) || h->boot != boot || h->id == 0 || h->has_data) {
        return;
    }
    const struct member_map *map = holder_map(h->core);
    const struct map_node *self = map_by_id(map, h->id);
    for (unsigned k = 0; k < w->ms.holders && self != NULL; k++) {
        const struct ms_holder *donor = &w->ms.hold[k];
        unsigned node = w->ms.holder_node[k];
        const struct map_node *n = map_by_id(map, donor->id);
        if (k != i && donor->core != NULL && s->nodes[node].up && !s->nodes[node].paused &&
            n != NULL && n->group == self->group && (n->flags & MAP_MEMBER) != 0 &&
            donor->epoch == h->epoch && donor->has_data) {
            h->has_data = true;
            ms_simple(s, &w->ms, i, HOLDER_IN_CAUGHT_UP, 0);
            return;
        }
    }
    sim_at(s, 30 * SIM_MS, MW_EV_CAUGHT_UP, i, boot);
}

static void join(struct sim *s, unsigned i)
{
    struct mw *w = mw_of(s);
    if (!stands_still(s, i, MW_EV_JOIN, 0) && w->ms.hold[i].boot == 0 && !w->ms.hold[i].releasing) {
        ms_join(s, &w->ms, i);
    }
}

static void planned_stop(struct sim *s)
{
    struct mw *w = mw_of(s);
    unsigned i = sim_choose(s, SITE_MEMBER, w->ms.holders);
    struct ms_holder *h = &w->ms.hold[i];
    if (w->stops && sim_chance(s, SITE_MEMBER, 1, 3) && h->core != NULL && !h->releasing &&
        !s->nodes[w->ms.holder_node[i]].paused) {
        sim_note(s, "holder %u is to stop", i);
        ms_simple(s, &w->ms, i, HOLDER_IN_RELEASE, 0);
        sim_at(s, some_ms(s, 300, 600), MW_EV_STOPPED, i, h->boot);
    }
    sim_at(s, some_ms(s, 100, 400), MW_EV_STOP, 0, 0);
}

static void stopped(struct sim *s, unsigned i, uint64_t boot)
{
    struct mw *w = mw_of(s);
    struct ms_holder *h = &w->ms.hold[i];
    unsigned node = w->ms.holder_node[i];
    if (h->core != NULL && h->releasing && (boot == 0 || boot == h->boot) && s->nodes[node].up) {
        sim_note(s, "holder %u stops", i);
        sim_crash(s, node);
        sim_at(s, some_ms(s, 1, 300), MW_EV_START, i, 0);
    }
}

static void operator_acts(struct sim *s)
{
    struct mw *w = mw_of(s);
    unsigned i = sim_choose(s, SITE_MEMBER, w->ms.holders);
    struct ms_holder *h = &w->ms.hold[i];
    if (h->core == NULL || h->change_open || s->nodes[w->ms.holder_node[i]].paused) {
        return;
    }
    unsigned target = sim_choose(s, SITE_MEMBER, w->ms.holders);
    unsigned other = sim_choose(s, SITE_MEMBER, w->ms.holders);
    struct member_change c = {.id = w->ms.hold[target].id, .other = w->ms.hold[other].id};
    if (w->ms.hold[target].spare) {
        c.kind = MEMBER_CHANGE_JOIN;
        c.id = 0;
        ms_address(target, &c.at);
        memcpy(c.group, w->ms.genesis.groups[w->ms.hold[target].home].name, MAP_TEXT_MAX);
    } else {
        uint32_t pick = sim_choose(s, SITE_MEMBER, 5);
        c.kind = pick == 4   ? MEMBER_CHANGE_FORCE
                 : pick >= 2 ? MEMBER_CHANGE_REPLACE
                             : MEMBER_CHANGE_LEAVE;
        if (c.id == 0) {
            return;
        }
    }
    ms_change(s, &w->ms, i, &c);
}

static void blame(struct sim *s)
{
    struct mw *w = mw_of(s);
    uint32_t target = w->ms.hold[sim_choose(s, SITE_MEMBER, w->ms.holders)].id;
    bool on = sim_chance(s, SITE_MEMBER, 1, 3);
    for (unsigned i = 0; w->blame && i < w->ms.holders; i++) {
        if (w->ms.hold[i].core != NULL && !s->nodes[w->ms.holder_node[i]].paused) {
            ms_simple(s, &w->ms, i, HOLDER_IN_BLAME, on && w->ms.hold[i].id != target ? target : 0);
        }
    }
    sim_at(s, some_ms(s, 100, 500), MW_EV_BLAME, 0, 0);
}

/* One node alone, halves, or a ring in which each acceptor sees its neighbours only; one way or
 * both.
 */
static void partition(struct sim *s)
{
    struct mw *w = mw_of(s);
    sim_at(s, some_ms(s, 200, 700), MW_EV_PARTITION, 0, 0);
    if (!w->partitions || !sim_chance(s, SITE_LINK, 1, 2)) {
        return;
    }
    uint32_t shape = sim_choose(s, SITE_LINK, 3);
    uint32_t pick = sim_choose(s, SITE_LINK, 1u << s->node_count);
    uint32_t way = sim_choose(s, SITE_LINK, 3);
    for (unsigned a = 0; a < s->node_count; a++) {
        for (unsigned b = 0; b < s->node_count; b++) {
            bool apart = shape == 0   ? a == pick % s->node_count
                         : shape == 1 ? (pick >> a & 1) != 0 && (pick >> b & 1) == 0
                                      : a < w->ms.acceptors && b < w->ms.acceptors &&
                                            (a + w->ms.acceptors - b) % w->ms.acceptors >= 2;
            if (apart && a != b) {
                s->cut[a][b] = s->cut[a][b] || way != 1;
                s->cut[b][a] = s->cut[b][a] || way != 2;
            }
        }
    }
    sim_note(s, "partition: shape %u of %x, way %u", shape, pick, way);
    sim_at(s, some_ms(s, 50, 900), MW_EV_UNITE, 0, 0);
}

static void disk(struct sim *s)
{
    struct mw *w = mw_of(s);
    unsigned i = sim_choose(s, SITE_MEMBER, w->ms.acceptors);
    w->ms.acc[i].disk_full =
        w->ms.persist_faults && !w->ms.acc[i].disk_full && sim_chance(s, SITE_MEMBER, 1, 3);
    sim_at(s, some_ms(s, 50, 300), MW_EV_DISK, 0, 0);
}

static bool data_lives(struct sim *s, const struct member_map *map, uint16_t group)
{
    struct mw *w = mw_of(s);
    for (unsigned i = 0; i < map->node_count; i++) {
        int holder = ms_runs(s, &w->ms, map->nodes[i].boot);
        if (map->nodes[i].group == group && (map->nodes[i].flags & MAP_MEMBER) != 0 &&
            holder >= 0 && (group == MAP_PROXIES || w->ms.hold[holder].has_data)) {
            return true;
        }
    }
    return group == MAP_PROXIES;
}

/* After healing an operator helps where only he can: spares get a group again, and a shard all of
 * whose members are gone for good is given up. */
static void help(struct sim *s)
{
    struct mw *w = mw_of(s);
    static struct member_map map;
    sim_at(s, 200 * SIM_MS, MW_EV_HELP, 0, 0);
    unsigned via = w->ms.holders;
    for (unsigned i = 0; i < w->ms.holders; i++) {
        if (w->ms.hold[i].core != NULL && !w->ms.hold[i].change_open && via == w->ms.holders) {
            via = i;
        }
    }
    if (via == w->ms.holders || !ms_chosen_map(&w->ms, w->ms.chosen, &map)) {
        return;
    }
    for (unsigned i = 0; i < w->ms.holders; i++) {
        const struct ms_holder *h = &w->ms.hold[i];
        if (h->core != NULL && h->spare && h->id == 0) {
            struct member_change c = {.kind = MEMBER_CHANGE_JOIN};
            ms_address(i, &c.at);
            memcpy(c.group, w->ms.genesis.groups[h->home].name, MAP_TEXT_MAX);
            ms_change(s, &w->ms, via, &c);
            return;
        }
    }
    for (unsigned i = 0; i < map.node_count && s->now > w->healed_at + 4000 * SIM_MS; i++) {
        if (ms_runs(s, &w->ms, map.nodes[i].boot) < 0 && !data_lives(s, &map, map.nodes[i].group)) {
            struct member_change c = {.kind = MEMBER_CHANGE_FORCE, .id = map.nodes[i].id};
            ms_change(s, &w->ms, via, &c);
            return;
        }
    }
}

static void come_up(struct sim *s, unsigned node)
{
    if ((mw_of(s)->gone >> node & 1) == 0) {
        sim_restart(s, node);
    }
}

static void event(struct sim *s, uint32_t kind, uint64_t a, uint64_t b)
{
    struct mw *w = mw_of(s);
    unsigned i = (unsigned)a;
    switch ((enum mw_event)kind) {
    case MW_EV_JOIN:
        join(s, i);
        break;
    case MW_EV_CAUGHT_UP:
        caught_up(s, i, b);
        break;
    case MW_EV_STOP:
        if (!s->healed) {
            planned_stop(s);
        }
        break;
    case MW_EV_STOPPED:
        if (!stands_still(s, i, MW_EV_STOPPED, b)) {
            stopped(s, i, b);
        }
        break;
    case MW_EV_START:
        come_up(s, w->ms.holder_node[i]);
        break;
    case MW_EV_OPERATOR:
        if (!s->healed) {
            sim_at(s, some_ms(s, 50, 400), MW_EV_OPERATOR, 0, 0);
            if (w->operators) {
                operator_acts(s);
            }
        }
        break;
    case MW_EV_BLAME:
        if (!s->healed) {
            blame(s);
        }
        break;
    case MW_EV_PARTITION:
        if (!s->healed) {
            partition(s);
        }
        break;
    case MW_EV_UNITE:
        memset(s->cut, 0, sizeof s->cut);
        break;
    case MW_EV_DISK:
        if (!s->healed) {
            disk(s);
        }
        break;
    case MW_EV_HELP:
        help(s);
        break;
    case MW_EV_RESTART:
        come_up(s, i);
        break;
    }
}

static void crash(struct sim *s, unsigned node)
{
    struct mw *w = mw_of(s);
    int acceptor = ms_acceptor_at(&w->ms, node);
    if (acceptor >= 0) {
        ms_acceptor_stop(s, &w->ms, (unsigned)acceptor);
        if (!w->scripted && sim_fault(s, SITE_NODE, s->faults.crash, 40)) {
            ms_disk_lost(s, &w->ms, (unsigned)acceptor);
        }
        if (!w->scripted && !s->healed) { /* the nemesis does so too, unless it crashed by itself */
            sim_at(s, some_ms(s, 1, 900), MW_EV_RESTART, node, 0);
        }
    } else {
        ms_holder_stop(s, &w->ms, (unsigned)ms_holder_at(&w->ms, node));
    }
}

static void restart(struct sim *s, unsigned node)
{
    struct mw *w = mw_of(s);
    int acceptor = ms_acceptor_at(&w->ms, node);
    if (acceptor >= 0) {
        ms_acceptor_start(s, &w->ms, (unsigned)acceptor);
        return;
    }
    unsigned i = (unsigned)ms_holder_at(&w->ms, node);
    ms_holder_start(s, &w->ms, i);
    w->ms.hold[i].spare = false;
    if (!w->scripted) {
        sim_at(s, some_ms(s, 1, 30), MW_EV_JOIN, i, 0);
    }
}

/* Nothing but one acceptor is to be missed. */
static bool all_remember(const struct mw *w)
{
    for (unsigned i = 0; i < w->ms.acceptors; i++) {
        if (w->ms.acc[i].disk_len == 0) {
            return false;
        }
    }
    return w->ms.acceptors > 1 && w->ms.chosen > 0; /* the first map needs them all */
}

/* One acceptor of several, or one holder, may stay dead for ever. */
static void heal(struct sim *s)
{
    struct mw *w = mw_of(s);
    w->healed_at = s->now;
    uint32_t pick = sim_choose(s, SITE_MEMBER, 3 * s->node_count);
    if (pick > 0 && pick < s->node_count && (pick < w->ms.holders || all_remember(w))) {
        sim_crash(s, pick);
        w->gone = 1u << pick;
    }
    for (unsigned i = 0; i < s->node_count; i++) {
        if ((w->gone >> i & 1) == 0) {
            sim_restart(s, i);
        }
    }
    for (unsigned i = 0; i < w->ms.acceptors; i++) {
        w->ms.acc[i].disk_full = false;
    }
    for (unsigned i = 0; i < w->ms.holders; i++) {
        struct ms_holder *h = &w->ms.hold[i];
        if (h->core != NULL) {
            ms_simple(s, &w->ms, i, HOLDER_IN_BLAME, 0);
        }
    }
    sim_at(s, 200 * SIM_MS, MW_EV_HELP, 0, 0);
}

static bool settled(struct sim *s)
{
    struct mw *w = mw_of(s);
    return ms_settled(s, &w->ms, w->gone);
}

static void judge(struct sim *s)
{
    (void)s;
}

static void teardown(struct sim *s)
{
    ms_free(&mw_of(s)->ms);
}

const struct sim_world world_member = {
    .name = "member",
    .state_bytes = sizeof(struct mw),
    .marks = marks,
#ifdef COH_MUTANTS
    .mutants = mutants,
    .mutant_set = mutant_set,
#endif
    .setup = setup,
    .deliver = deliver,
    .wake = wake,
    .event = event,
    .crash = crash,
    .restart = restart,
    .settled = settled,
    .heal = heal,
    .judge = judge,
    .teardown = teardown,
    .scenarios = scenarios_member,
};
