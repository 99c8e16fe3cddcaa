/* The Galene world put together: what a run looks like, and which event goes where. */
#include "tests/sim/world_galene.h"

#include <string.h>

#include "coherence/mutant.h"
#include "common/mem.h"
#include "common/must.h"

static const char *const marks[] = {
#define X(name) #name,
    GALENE_MARKS(X)
#undef X
#define X(name) "HOTSET_" #name,
        HOTSET_MARKS(X)
#undef X
            NULL};

#ifdef COH_MUTANTS
/* The proxies' own, and those of the backend's half of the rules. */
#define WITH_BACKEND(X)                                                                            \
    COH_GALENE_MUTANTS(X)                                                                          \
    X(G3_ANY_GENERATION)                                                                           \
    X(G4_PLAIN_WRITE_TO_HOT) X(G6_PROMOTE_ANY_GENERATION) X(G7_DEMOTE_ANY_GENERATION)

static const char *const mutants[] = {NULL,
#define X(name) #name,
                                      WITH_BACKEND(X)
#undef X
                                          NULL};
static const unsigned numbers[] = {0,
#define X(name) COH_##name,
                                   WITH_BACKEND(X)
#undef X
};

static void mutant_set(unsigned n)
{
    coh_mutant = numbers[n];
}
#endif

static void draw_config(struct sim *s)
{
    struct gw_config *c = &gw_of(s)->config;
    static const uint8_t key_counts[] = {1, 2, 4, 8};
    c->proxies = 3;
    uint32_t p = sim_choose(s, SITE_CONFIG, 4);
    c->proxies = p == 2 ? 2 : p == 3 ? 4 : 3;
    c->clients = 3 + sim_choose(s, SITE_CONFIG, 5);
    c->keys = key_counts[sim_choose(s, SITE_CONFIG, 4)];
    c->pipeline = 1 + sim_choose(s, SITE_CONFIG, 4);
    c->mix = sim_choose(s, SITE_CONFIG, 3) != 0;
    c->rmw_heavy = sim_choose(s, SITE_CONFIG, 2) != 0;
    c->del = sim_choose(s, SITE_CONFIG, 3) == 2;
    c->expire = sim_choose(s, SITE_CONFIG, 4) == 3;
    c->tight = sim_choose(s, SITE_CONFIG, 8) == 7;
    c->switched = sim_choose(s, SITE_CONFIG, 6) == 5;
    c->ops = 250 + sim_choose(s, SITE_CONFIG, 350);
}

static void setup(struct sim *s)
{
    struct gw *w = gw_of(s);
    hw_blobs_init(&w->hw);
    gw_blobs_init(w);
    if (!w->scripted) {
        draw_config(s);
    }
    w->hw.scripted = w->scripted;
    w->hw.config = (struct hw_config){
        .replicas = GW_REPLICAS, .keys = w->config.keys, .pipeline = 1, .mix = true, .hot = true};
    w->hw.extra = w->config.proxies;
    w->hw.true_wall = true;
    w->hw.on_done = gb_done;
    w->hw.on_lost = gb_replica_lost;
    s->node_count = GW_REPLICAS + w->config.proxies + 2;
    s->fault_nodes = GW_REPLICAS + w->config.proxies;
    for (unsigned i = 0; i < s->node_count; i++) {
        s->nodes[i].up = true;
    }
    for (unsigned i = 0; i < GW_REPLICAS; i++) {
        w->hw.nodes[i].wall_offset_ms = (int64_t)sim_choose(s, SITE_CLOCK, 30);
    }
    for (unsigned i = 0; i < w->config.proxies; i++) {
        w->proxies[i].wall_offset_ms = (int64_t)sim_choose(s, SITE_CLOCK, 30);
    }
    hw_start(s);
    gg_init(s);
    if (w->scripted) {
        return;
    }
    gl_init(s);
    for (unsigned i = 0; i < w->config.proxies; i++) {
        sim_at(s, HW_RENEW_NS / 4 + (i + 5) * SIM_MS, GW_EV_RENEW, i, 0);
    }
    sim_at(s, 12 * SIM_MS, GW_EV_GROUP, 0, 0);
    sim_at(s, 50 * SIM_MS, GW_EV_PEER, 0, 0);
    sim_at(s, 15 * SIM_MS, GW_EV_CHAOS, 0, 0);
}

static bool is_proxy(const struct gw *w, unsigned node)
{
    return node >= GW_REPLICAS && node < GW_REPLICAS + w->config.proxies;
}

static void at_proxy(struct sim *s, unsigned proxy, unsigned from, const uint8_t *frame, size_t len)
{
    struct gw *w = gw_of(s);
    if (from == hw_clients_node(&w->hw)) {
        gl_arrived(s, proxy,
                   (uint32_t)frame[1] | (uint32_t)frame[2] << 8 | (uint32_t)frame[3] << 16);
    } else if (from == hw_members_node(&w->hw)) {
        gg_at_proxy(s, proxy, frame, len);
    } else if (from < GW_REPLICAS) {
        gb_at_proxy(s, proxy, frame, len);
    } else {
        gp_frame(s, proxy, frame, len);
    }
}

static void deliver(struct sim *s, unsigned node, unsigned from, const uint8_t *frame, size_t len)
{
    struct gw *w = gw_of(s);
    if (len == 0) {
        return;
    }
    if (is_proxy(w, node)) {
        at_proxy(s, node - GW_REPLICAS, from, frame, len);
    } else if (node == hw_members_node(&w->hw) && is_proxy(w, from)) {
        gg_at_service(s, from - GW_REPLICAS, frame, len);
    } else if (node < GW_REPLICAS && is_proxy(w, from)) {
        gb_at_replica(s, node, from - GW_REPLICAS, frame, len);
    } else {
        hw_deliver(s, node, from, frame, len);
    }
}

static void wake(struct sim *s, unsigned node)
{
    if (node < GW_REPLICAS) {
        hw_node_timer(s, node);
    } else if (is_proxy(gw_of(s), node)) {
        gp_timer(s, node - GW_REPLICAS);
    }
}

static void rejoin(struct sim *s, unsigned proxy, uint32_t id)
{
    struct gw *w = gw_of(s);
    struct gw_proxy *p = &w->proxies[proxy];
    unsigned node = gw_node(proxy);
    if (!p->joining || p->id != id || !s->nodes[node].up || p->core == NULL) {
        return;
    }
    if (s->nodes[node].paused || (galene_expelled(p->core) && !galene_idle(p->core))) {
        sim_at(s, 20 * SIM_MS, GW_EV_REJOIN, proxy, id);
        return;
    }
    p->joining = false;
    gl_proxy_lost(s, proxy);
    gp_stop(s, proxy);
    gp_start(s, proxy, ++w->next_id);
}

static bool runs(struct sim *s, unsigned proxy)
{
    return s->nodes[gw_node(proxy)].up && !s->nodes[gw_node(proxy)].paused &&
           gw_of(s)->proxies[proxy].core != NULL;
}

static void event(struct sim *s, uint32_t kind, uint64_t a, uint64_t b)
{
    struct gw *w = gw_of(s);
    unsigned proxy = (unsigned)a;
    if (kind < GW_EV_CLIENT) {
        hw_event(s, kind, a, b);
        return;
    }
    switch ((enum gw_event)kind) {
    case GW_EV_CLIENT:
        gl_turn(s, proxy);
        break;
    case GW_EV_RENEW:
        if (runs(s, proxy)) {
            gg_renew(s, proxy);
        }
        sim_at(s, HW_RENEW_NS, GW_EV_RENEW, a, 0);
        break;
    case GW_EV_GROUP:
        gg_tick(s);
        sim_at(s, 10 * SIM_MS, GW_EV_GROUP, 0, 0);
        break;
    case GW_EV_REPLY:
        gl_reply(s, (uint32_t)a);
        break;
    case GW_EV_REJOIN:
        rejoin(s, proxy, (uint32_t)b);
        break;
    case GW_EV_PEER:
        if (!s->healed) {
            unsigned x = sim_choose(s, SITE_NODE, w->config.proxies);
            unsigned y = sim_choose(s, SITE_NODE, w->config.proxies);
            if (runs(s, x) && x != y) {
                gp_peer(s, x, w->proxies[y].id);
            }
            sim_at(s, 150 * SIM_MS, GW_EV_PEER, 0, 0);
        }
        break;
    case GW_EV_CHAOS:
        if (!s->healed) {
            gl_chaos(s);
            sim_at(s, SIM_MS * (5 + sim_choose(s, SITE_WORK, 60)), GW_EV_CHAOS, 0, 0);
        }
        break;
    case GW_EV_LATE:
        gb_late(s, (unsigned)a);
        break;
    }
}

static bool may_crash(struct sim *s, unsigned node)
{
    return node >= GW_REPLICAS || !hw_is_last(s, node);
}

static void crash(struct sim *s, unsigned node)
{
    if (node < GW_REPLICAS) {
        hw_crash(s, node);
        return;
    }
    gl_proxy_lost(s, node - GW_REPLICAS);
    gp_stop(s, node - GW_REPLICAS);
    gw_of(s)->proxies[node - GW_REPLICAS].joining = false;
}

static void restart(struct sim *s, unsigned node)
{
    if (node < GW_REPLICAS) {
        hw_restart(s, node);
    } else {
        gp_start(s, node - GW_REPLICAS, ++gw_of(s)->next_id);
    }
}

static void heal(struct sim *s)
{
    for (unsigned i = 0; i < s->fault_nodes; i++) {
        sim_restart(s, i);
    }
}

static void teardown(struct sim *s)
{
    struct gw *w = gw_of(s);
    for (unsigned i = 0; i < GW_PROXIES_MAX; i++) {
        mem_free(w->proxies[i].core_memory);
        mem_free(w->proxies[i].hot_memory);
        w->proxies[i].core_memory = NULL;
        w->proxies[i].hot_memory = NULL;
        w->proxies[i].core = NULL;
    }
    hw_teardown(s);
}

const struct sim_world world_galene = {
    .name = "galene",
    .state_bytes = sizeof(struct gw),
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
    .settled = gl_settled,
    .heal = heal,
    .judge = gl_judge,
    .teardown = teardown,
    .scenarios = scenarios_galene,
};
