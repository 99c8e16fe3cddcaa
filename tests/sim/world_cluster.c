/* Replicas under a real membership service, put together.
 *
 * The simulator never kills the last replica that has the data: it does not crash one unless
 * another member has renewed its lease a moment ago. Two that die within the time it takes to
 * notice one are a fault that no shard survives. */
#include "tests/sim/world_cluster.h"

#include <string.h>

#include "coherence/mutant.h"
#include "common/must.h"

#define SHARD 1u

static const char *const marks[] = {
#define X(name) #name,
    HERMES_MARKS(X)
#undef X
#define X(name) #name,
        MEMBER_MARKS(X)
#undef X
            NULL};

#ifdef COH_MUTANTS
/* Of the membership's wrong lines those that make clients see something wrong. */
#define CLUSTER_MUTANTS(X)                                                                         \
    X(R1_ANY_NONCE)                                                                                \
    X(R3_FROM_ARRIVAL)                                                                             \
    X(R4_VOTE_BELOW_PROMISE)                                                                       \
    X(R4_FORGET_ACCEPTED)                                                                          \
    X(R4_MINORITY_DECIDES)                                                                         \
    X(V5_PROMOTE_EARLY)                                                                            \
    X(V4_STAYS_WHEN_OUT)                                                                           \
    X(L5_NO_EXCLUSION)

static const char *const mutants[] = {NULL,
#define X(name) #name,
                                      CLUSTER_MUTANTS(X)
#undef X
                                          NULL};

static void mutant_set(unsigned n)
{
    static const unsigned numbers[] = {COH_NO_MUTANT,
#define X(name) COH_##name,
                                       CLUSTER_MUTANTS(X)
#undef X
    };
    coh_mutant = numbers[n];
}
#endif

/* Numbers of our events, beside those of the Hermes world. */
enum { CW_EV_JOIN = 100, CW_EV_STOP, CW_EV_STOPPED, CW_EV_ACCEPTOR, CW_EV_RESUME, CW_EV_RESTART };

static uint64_t some_ms(struct sim *s, uint32_t from, uint32_t span)
{
    return SIM_MS * (from + sim_choose(s, SITE_MEMBER, span));
}

/* ---- what the holder says, to the core ---- */

static void on_view(struct sim *s, unsigned i, const struct holder_out *o)
{
    struct cw *w = cw_of(s);
    struct hw_node *n = &w->hw.nodes[i];
    struct view v;
    must(o->u.view.group == SHARD && map_view(o->u.view.map, SHARD, &v));
    if (n->core == NULL || n->id != o->u.view.id) {
        hw_node_start(s, i, o->u.view.id, o->u.view.founder);
        w->ms.hold[i].has_data = o->u.view.founder;
    }
    hw_node_view(s, i, &v);
}

static void on_lease(struct sim *s, unsigned i, struct lease lease)
{
    if (cw_of(s)->hw.nodes[i].core != NULL) {
        hw_node_lease(s, i, lease);
    }
}

/* What was under way gets its end from the core, if there is a view to install; the rest is dropped
 * with it (V4). */
static void on_expelled(struct sim *s, unsigned i, bool ordered)
{
    struct cw *w = cw_of(s);
    struct view v;
    (void)ordered;
    if (w->hw.nodes[i].core != NULL && map_view(holder_map(w->ms.hold[i].core), SHARD, &v) &&
        view_index(&v, w->hw.nodes[i].id) < 0) {
        hw_node_view(s, i, &v);
    }
    sim_at(s, some_ms(s, 1, 100), CW_EV_JOIN, i, 0);
}

static void on_released(struct sim *s, unsigned i)
{
    sim_at(s, some_ms(s, 1, 20), CW_EV_STOPPED, i, 0);
}

static uint64_t core_deadline(struct sim *s, unsigned i)
{
    const struct hermes *h = cw_of(s)->hw.nodes[i].core;
    return h == NULL ? SIM_NEVER : hermes_next_deadline(h);
}

static uint64_t holder_deadline(struct sim *s, unsigned node)
{
    return ms_holder_deadline(&cw_of(s)->ms, node);
}

static const struct ms_ops ops = {on_view, on_lease, on_expelled, on_released, core_deadline};

/* The core says once that it has everything; the holder goes on saying it. */
static void poll_caught_up(struct sim *s, unsigned i)
{
    struct cw *w = cw_of(s);
    struct ms_holder *h = &w->ms.hold[i];
    const struct hermes *core = w->hw.nodes[i].core;
    if (core != NULL && h->core != NULL && h->id == w->hw.nodes[i].id && !h->has_data &&
        hermes_caught_up(core)) {
        h->has_data = true;
        ms_simple(s, &w->ms, i, HOLDER_IN_CAUGHT_UP, 0);
    }
}

/* ---- the run ---- */

static void setup(struct sim *s)
{
    struct cw *w = cw_of(s);
    hw_blobs_init(&w->hw);
    hw_draw_config(s);
    unsigned r = w->hw.config.replicas;
    unsigned acceptors = sim_choose(s, SITE_CONFIG, 4) == 3 ? 1 : 3;
    w->stops = sim_choose(s, SITE_CONFIG, 2) != 0;
    w->hw.also_wake = holder_deadline;
    s->node_count = r + 1 + acceptors;
    s->fault_nodes = r;
    s->jump_nodes = r;
    ms_init(s, &w->ms, acceptors, r, 1);
    w->ms.ops = &ops;
    w->ms.mark_base = HERMES_MARK_COUNT;
    w->ms.leases_not_judged = true;
    w->ms.persist_faults = sim_choose(s, SITE_CONFIG, 3) == 2;
    for (unsigned i = 0; i < s->node_count; i++) {
        s->nodes[i].up = true;
    }
    for (unsigned i = 0; i < acceptors; i++) {
        w->ms.acceptor_node[i] = i == 0 ? hw_members_node(&w->hw) : hw_clients_node(&w->hw) + i;
        ms_acceptor_prepare(&w->ms, i);
        ms_acceptor_start(s, &w->ms, i);
    }
    for (unsigned i = 0; i < r; i++) {
        w->hw.nodes[i].wall_offset_ms = (int64_t)sim_choose(s, SITE_CLOCK, 30);
        w->ms.holder_node[i] = i;
        w->ms.hold[i].home = SHARD;
        ms_holder_start(s, &w->ms, i);
        sim_at(s, SIM_MS * sim_choose(s, SITE_MEMBER, 10), CW_EV_JOIN, i, 0);
    }
    hw_load_init(s);
    sim_at(s, 50 * SIM_MS, HW_EV_PEER, 0, 0);
    sim_at(s, 300 * SIM_MS, CW_EV_STOP, 0, 0);
    sim_at(s, 200 * SIM_MS, CW_EV_ACCEPTOR, 0, 0);
}

static void deliver(struct sim *s, unsigned node, unsigned from, const uint8_t *frame, size_t len)
{
    struct cw *w = cw_of(s);
    if (len == 0 || node == hw_clients_node(&w->hw) ||
        ms_deliver(s, &w->ms, node, from, frame, len)) {
        return;
    }
    if (from == hw_clients_node(&w->hw)) {
        world_hermes.deliver(s, node, from, frame, len);
    } else {
        hw_node_frame(s, node, frame, len);
        poll_caught_up(s, node);
    }
}

static void wake(struct sim *s, unsigned node)
{
    struct cw *w = cw_of(s);
    if (ms_wake(s, &w->ms, node) || node >= w->hw.config.replicas) {
        return;
    }
    uint64_t now = sim_clock(s, node);
    if (ms_holder_deadline(&w->ms, node) <= now) {
        ms_holder_timer(s, &w->ms, node);
    }
    if (core_deadline(s, node) <= now) {
        hw_node_timer(s, node);
    }
    poll_caught_up(s, node);
}

/* Somebody wants it out, and this may or may not have been decided. */
static bool may_be_out(const struct ms *m, uint32_t id)
{
    static struct member_map map;
    for (unsigned i = 0; i < m->ballot_count; i++) {
        const struct ms_ballot *b = &m->ballots[i];
        if (b->version > m->chosen && map_decode(b->map.bytes, b->map.len, &map) == OK &&
            map_by_id(&map, id) == NULL) {
            return true;
        }
    }
    return false;
}

/* Has another member renewed just now? */
static bool another_lives(struct sim *s, unsigned node)
{
    struct cw *w = cw_of(s);
    static struct member_map map;
    if (!ms_chosen_map(&w->ms, w->ms.chosen, &map)) {
        return false;
    }
    for (unsigned i = 0; i < w->hw.config.replicas; i++) {
        const struct ms_holder *h = &w->ms.hold[i];
        const struct map_node *n = map_by_id(&map, h->id);
        if (i != node && s->nodes[i].up && !s->nodes[i].paused && h->core != NULL && n != NULL &&
            (n->flags & MAP_MEMBER) != 0 && h->map_version == w->ms.chosen && !h->releasing &&
            !may_be_out(&w->ms, h->id) && h->lease.until_ns > sim_clock(s, i) + 300 * SIM_MS) {
            return true;
        }
    }
    return false;
}

static bool has_data(struct sim *s, unsigned node)
{
    const struct cw *w = cw_of(s);
    return w->ms.hold[node].core != NULL && w->ms.hold[node].has_data;
}

static bool may_crash(struct sim *s, unsigned node)
{
    return node >= cw_of(s)->hw.config.replicas || !has_data(s, node) || another_lives(s, node);
}

static void join(struct sim *s, unsigned i)
{
    struct cw *w = cw_of(s);
    struct ms_holder *h = &w->ms.hold[i];
    const struct hermes *core = w->hw.nodes[i].core;
    if (h->core == NULL || h->boot != 0 || h->releasing) {
        return;
    }
    if (s->nodes[i].paused || (core != NULL && hermes_expelled(core) && !hermes_idle(core))) {
        sim_at(s, 20 * SIM_MS, CW_EV_JOIN, i, 0);
        return;
    }
    if (core != NULL) {
        hw_node_lost(s, i);
        hw_node_stop(s, i);
    }
    ms_join(s, &w->ms, i);
}

static void planned_stop(struct sim *s)
{
    struct cw *w = cw_of(s);
    unsigned i = sim_choose(s, SITE_MEMBER, w->hw.config.replicas);
    if (w->stops && sim_chance(s, SITE_MEMBER, 1, 2) && w->ms.hold[i].core != NULL &&
        !w->ms.hold[i].releasing && !s->nodes[i].paused && another_lives(s, i)) {
        sim_note(s, "replica %u is to stop", i);
        ms_simple(s, &w->ms, i, HOLDER_IN_RELEASE, 0);
        sim_at(s, some_ms(s, 300, 600), CW_EV_STOPPED, i, 0);
    }
    sim_at(s, some_ms(s, 200, 500), CW_EV_STOP, 0, 0);
}

static void stopped(struct sim *s, unsigned i)
{
    struct cw *w = cw_of(s);
    if (w->ms.hold[i].core == NULL || !w->ms.hold[i].releasing || !s->nodes[i].up) {
        return;
    }
    if (s->nodes[i].paused || !may_crash(s, i)) { /* whoever is to have its data is not there yet */
        sim_at(s, 20 * SIM_MS, CW_EV_STOPPED, i, 0);
        return;
    }
    sim_crash(s, i);
    sim_at(s, some_ms(s, 1, 300), CW_EV_RESTART, i, 0);
}

static void acceptor_fault(struct sim *s)
{
    struct cw *w = cw_of(s);
    unsigned node = w->ms.acceptor_node[sim_choose(s, SITE_MEMBER, w->ms.acceptors)];
    if (sim_fault(s, SITE_NODE, s->faults.crash, 20)) {
        sim_crash(s, node);
        sim_at(s, some_ms(s, 1, 600), CW_EV_RESTART, node, 0);
    } else if (sim_fault(s, SITE_NODE, s->faults.pause, 20)) {
        sim_pause(s, node);
        sim_at(s, some_ms(s, 1, 600), CW_EV_RESUME, node, 0);
    }
    sim_at(s, some_ms(s, 20, 100), CW_EV_ACCEPTOR, 0, 0);
}

static void event(struct sim *s, uint32_t kind, uint64_t a, uint64_t b)
{
    struct cw *w = cw_of(s);
    unsigned i = (unsigned)a;
    switch (kind) {
    case CW_EV_JOIN:
        join(s, i);
        break;
    case CW_EV_STOP:
        if (!s->healed) {
            planned_stop(s);
        }
        break;
    case CW_EV_STOPPED:
        stopped(s, i);
        break;
    case CW_EV_ACCEPTOR:
        if (!s->healed) {
            acceptor_fault(s);
        }
        break;
    case CW_EV_RESUME:
        sim_resume(s, i);
        break;
    case CW_EV_RESTART:
        if (!hw_gone(&w->hw, i)) {
            sim_restart(s, i);
        }
        break;
    default:
        world_hermes.event(s, kind, a, b);
        break;
    }
}

static void crash(struct sim *s, unsigned node)
{
    struct cw *w = cw_of(s);
    int acceptor = ms_acceptor_at(&w->ms, node);
    if (acceptor >= 0) {
        ms_acceptor_stop(s, &w->ms, (unsigned)acceptor);
        if (sim_fault(s, SITE_NODE, s->faults.crash, 40)) {
            ms_disk_lost(s, &w->ms, (unsigned)acceptor);
        }
        return;
    }
    hw_node_lost(s, node);
    hw_node_stop(s, node);
    ms_holder_stop(s, &w->ms, node);
}

static void restart(struct sim *s, unsigned node)
{
    struct cw *w = cw_of(s);
    int acceptor = ms_acceptor_at(&w->ms, node);
    if (acceptor >= 0) {
        ms_acceptor_start(s, &w->ms, (unsigned)acceptor);
        return;
    }
    ms_holder_start(s, &w->ms, node);
    sim_at(s, some_ms(s, 1, 30), CW_EV_JOIN, node, 0);
}

static void heal(struct sim *s)
{
    struct cw *w = cw_of(s);
    uint32_t pick = sim_choose(s, SITE_MEMBER, 2 * s->node_count);
    if (pick > 0 && pick < w->hw.config.replicas && s->nodes[pick].up && may_crash(s, pick)) {
        sim_crash(s, pick);
        w->hw.gone = 1u << pick;
    }
    for (unsigned i = 0; i < s->node_count; i++) {
        if (!hw_gone(&w->hw, i)) {
            sim_restart(s, i);
        }
    }
}

static bool settled(struct sim *s)
{
    struct cw *w = cw_of(s);
    static struct member_map map;
    if (s->now < s->end_at + 300 * SIM_MS) { /* who was paused has yet to notice (L8) */
        return false;
    }
    if (!ms_settled(s, &w->ms, w->hw.gone) || !ms_chosen_map(&w->ms, w->ms.chosen, &map) ||
        !map_view(&map, SHARD, &w->hw.members.view)) {
        return false;
    }
    return hw_settled(s);
}

static void teardown(struct sim *s)
{
    ms_free(&cw_of(s)->ms);
    hw_teardown(s);
}

const struct sim_world world_cluster = {
    .name = "cluster",
    .state_bytes = sizeof(struct cw),
    .marks = marks,
#ifdef COH_MUTANTS
    .mutants = mutants,
    .mutant_set = mutant_set,
#endif
    .setup = setup,
    .deliver = deliver,
    .wake = wake,
    .event = event,
    .may_crash = may_crash,
    .crash = crash,
    .restart = restart,
    .settled = settled,
    .heal = heal,
    .judge = hw_judge,
    .teardown = teardown,
};
