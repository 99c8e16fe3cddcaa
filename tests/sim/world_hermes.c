/* The Hermes world put together: what a run looks like, and which event goes where. */
#include "tests/sim/world_hermes.h"

#include <string.h>

#include "coherence/mutant.h"
#include "common/mem.h"

static const char *const marks[] = {
#define X(name) #name,
    HERMES_MARKS(X)
#undef X
        NULL};

#ifdef COH_MUTANTS
static const char *const mutants[] = {NULL,
#define X(name) #name,
                                      COH_HERMES_MUTANTS(X)
#undef X
                                          NULL};

static void mutant_set(unsigned n)
{
    coh_mutant = n;
}
#endif

void hw_draw_config(struct sim *s)
{
    struct hw_config *c = &hw_of(s)->config;
    static const uint8_t key_counts[] = {1, 8, 4, 64};
    c->replicas = 3 + (sim_choose(s, SITE_CONFIG, 4) == 3 ? sim_choose(s, SITE_CONFIG, 3) : 0);
    c->clients = 3 + sim_choose(s, SITE_CONFIG, 4);
    uint32_t k = sim_choose(s, SITE_CONFIG, 4);
    c->keys = key_counts[k];
    c->zipf = k == 3;
    c->pipeline = 1 + sim_choose(s, SITE_CONFIG, 4);
    c->mix = sim_choose(s, SITE_CONFIG, 3) != 0;
    c->rmw_heavy = sim_choose(s, SITE_CONFIG, 2) != 0;
    c->del = sim_choose(s, SITE_CONFIG, 3) == 2;
    c->purge = c->del && sim_choose(s, SITE_CONFIG, 2) != 0;
    c->hot = sim_choose(s, SITE_CONFIG, 4) == 3;
    c->expire = sim_choose(s, SITE_CONFIG, 6) == 5;
    c->tight = sim_choose(s, SITE_CONFIG, 5) == 4;
    c->ops = 200 + sim_choose(s, SITE_CONFIG, 300);
    c->multi = c->keys > HW_SLOTS && sim_choose(s, SITE_CONFIG, 3) != 0;
    c->accounts = c->multi && sim_choose(s, SITE_CONFIG, 2) != 0;
    c->mix = c->mix || c->multi; /* values are not unique then */
}

void hw_start(struct sim *s)
{
    const struct hw *w = hw_of(s);
    hw_members_init(s);
    if (w->scripted) {
        return;
    }
    for (unsigned i = 0; i < w->config.replicas; i++) {
        sim_at(s, HW_RENEW_NS / 4 + i * SIM_MS, HW_EV_RENEW, i, 0);
    }
    sim_at(s, 10 * SIM_MS, HW_EV_MEMBERS, 0, 0);
    sim_at(s, 50 * SIM_MS, HW_EV_PEER, 0, 0);
}

static void setup(struct sim *s)
{
    struct hw *w = hw_of(s);
    hw_blobs_init(w);
    if (!w->scripted) {
        hw_draw_config(s);
    }
    s->node_count = w->config.replicas + 2;
    s->fault_nodes = w->config.replicas;
    for (unsigned i = 0; i < s->node_count; i++) {
        s->nodes[i].up = true;
    }
    for (unsigned i = 0; i < w->config.replicas; i++) {
        w->nodes[i].wall_offset_ms = (int64_t)sim_choose(s, SITE_CLOCK, 30);
    }
    hw_start(s);
    if (!w->scripted) {
        hw_load_init(s);
    }
}

void hw_deliver(struct sim *s, unsigned node, unsigned from, const uint8_t *frame, size_t len)
{
    struct hw *w = hw_of(s);
    if (len == 0) {
        return;
    }
    if (node == hw_members_node(w)) {
        hw_members_frame(s, from, frame, len);
    } else if (node >= w->config.replicas) {
        return;
    } else if (from == hw_clients_node(w)) {
        hw_request(s, node,
                   (uint32_t)frame[1] | (uint32_t)frame[2] << 8 | (uint32_t)frame[3] << 16 |
                       (uint32_t)frame[4] << 24);
    } else if (from == hw_members_node(w)) {
        hw_members_answer(s, node, frame, len);
    } else {
        hw_node_frame(s, node, frame, len);
    }
}

static void wake(struct sim *s, unsigned node)
{
    if (node < hw_of(s)->config.replicas) {
        hw_node_timer(s, node);
    }
}

static void rejoin(struct sim *s, unsigned node, uint32_t id)
{
    struct hw *w = hw_of(s);
    struct hw_node *n = &w->nodes[node];
    if (!n->joining || n->id != id || !s->nodes[node].up) {
        return;
    }
    if (s->nodes[node].paused || (hermes_expelled(n->core) && !hermes_idle(n->core))) {
        sim_at(s, 20 * SIM_MS, HW_EV_REJOIN, node, id);
        return;
    }
    n->joining = false;
    hw_node_lost(s, node);
    hw_node_stop(s, node);
    hw_node_start(s, node, ++w->next_id, false);
}

void hw_event(struct sim *s, uint32_t kind, uint64_t a, uint64_t b)
{
    struct hw *w = hw_of(s);
    unsigned node = (unsigned)a;
    switch ((enum hw_event)kind) {
    case HW_EV_CLIENT:
        hw_client_turn(s, node);
        break;
    case HW_EV_RENEW:
        if (s->nodes[node].up && !s->nodes[node].paused) {
            hw_renew(s, node);
        }
        sim_at(s, HW_RENEW_NS, HW_EV_RENEW, a, 0);
        break;
    case HW_EV_MEMBERS:
        hw_members_tick(s);
        sim_at(s, 10 * SIM_MS, HW_EV_MEMBERS, 0, 0);
        break;
    case HW_EV_REPLY:
        hw_reply(s, (uint32_t)a);
        break;
    case HW_EV_REJOIN:
        rejoin(s, node, (uint32_t)b);
        break;
    case HW_EV_PEER:
        if (!s->healed) {
            unsigned x = sim_choose(s, SITE_NODE, w->config.replicas);
            unsigned y = sim_choose(s, SITE_NODE, w->config.replicas);
            if (s->nodes[x].up && !s->nodes[x].paused && w->nodes[x].core != NULL && x != y) {
                hw_node_peer(s, x, w->nodes[y].id);
            }
            sim_at(s, 150 * SIM_MS, HW_EV_PEER, 0, 0);
        }
        break;
    case HW_EV_CHAOS:
        break;
    }
}

static bool may_crash(struct sim *s, unsigned node)
{
    return !hw_is_last(s, node);
}

void hw_crash(struct sim *s, unsigned node)
{
    hw_node_lost(s, node);
    hw_node_stop(s, node);
    hw_of(s)->nodes[node].joining = false;
}

void hw_restart(struct sim *s, unsigned node)
{
    hw_node_start(s, node, ++hw_of(s)->next_id, false);
}

/* Two runs in five or so, one replica stays dead for ever: the core of the rest must settle without
 * it. */
static void heal(struct sim *s)
{
    struct hw *w = hw_of(s);
    for (unsigned i = 0; i < w->config.replicas; i++) {
        sim_restart(s, i);
    }
    uint32_t pick = sim_choose(s, SITE_MEMBER, 2 * w->config.replicas);
    if (pick > 0 && pick <= w->config.replicas && may_crash(s, pick - 1)) {
        sim_crash(s, pick - 1);
        w->gone = 1u << (pick - 1);
    }
}

void hw_teardown(struct sim *s)
{
    struct hw *w = hw_of(s);
    for (unsigned i = 0; i < HW_REPLICAS_MAX; i++) {
        mem_free(w->nodes[i].memory);
        w->nodes[i].memory = NULL;
        w->nodes[i].core = NULL;
    }
}

const struct sim_world world_hermes = {
    .name = "hermes",
    .state_bytes = sizeof(struct hw),
    .marks = marks,
#ifdef COH_MUTANTS
    .mutants = mutants,
    .mutant_set = mutant_set,
#endif
    .setup = setup,
    .deliver = hw_deliver,
    .wake = wake,
    .event = hw_event,
    .may_crash = may_crash,
    .crash = hw_crash,
    .restart = hw_restart,
    .settled = hw_settled,
    .heal = heal,
    .judge = hw_judge,
    .teardown = hw_teardown,
    .scenarios = scenarios_hermes,
    .bench = hermes_bench,
};
