/* What scripts are made of, and the table that runs them. */
#include "tests/sim/scenario_hermes.h"

void sc_lease(struct script *sc, unsigned node, uint64_t ns)
{
    struct hw_node *n = &sc->w->nodes[node];
    if (n->core == NULL) {
        return;
    }
    hw_node_lease(sc->s, node,
                  (struct lease){hermes_view(n->core)->epoch, sim_clock(sc->s, node) + ns});
}

void sc_leases(struct script *sc)
{
    for (unsigned i = 0; i < sc->w->config.replicas; i++) {
        sc_lease(sc, i, 100000 * SIM_MS);
    }
}

/* Members and learners by incarnation, 0 ends each list. Told to those nodes whose bit is set. */
void sc_view(struct script *sc, uint64_t epoch, const uint32_t *members, const uint32_t *learners,
             unsigned nodes)
{
    unsigned m = 0;
    unsigned l = 0;
    while (members[m] != 0) {
        m++;
    }
    while (learners != NULL && learners[l] != 0) {
        l++;
    }
    struct view v;
    EXPECT(sc, view_make(&v, epoch, members, m, learners, l));
    sc->w->members.view = v;
    for (unsigned i = 0; i < sc->w->config.replicas; i++) {
        if ((nodes >> i & 1) != 0) {
            hw_node_view(sc->s, i, &v);
        }
    }
}

void sc_cut(struct script *sc, unsigned from, unsigned to, bool on)
{
    sc->s->cut[from][to] = on;
}

uint32_t sc_issue(struct script *sc, unsigned node, struct hw_op o)
{
    return hw_issue(sc->s, node, node, &o);
}

uint32_t sc_set(struct script *sc, unsigned node, int64_t value)
{
    return sc_issue(sc, node,
                    (struct hw_op){.kind = HERMES_WRITE, .h = {.kind = HIST_SET, .arg = value}});
}

uint32_t sc_incr(struct script *sc, unsigned node)
{
    return sc_issue(sc, node, (struct hw_op){.kind = HERMES_UPDATE, .h = {.kind = HIST_INCR}});
}

uint32_t sc_del(struct script *sc, unsigned node)
{
    return sc_issue(sc, node, (struct hw_op){.kind = HERMES_UPDATE, .h = {.kind = HIST_DEL}});
}

uint32_t sc_get(struct script *sc, unsigned node)
{
    return sc_issue(sc, node, (struct hw_op){.kind = HERMES_READ, .h = {.kind = HIST_GET}});
}

uint32_t sc_control(struct script *sc, unsigned node, enum hermes_op_kind kind, uint64_t arg)
{
    return sc_issue(
        sc, node,
        (struct hw_op){.kind = kind, .generation = arg, .version = arg, .h = {.kind = HIST_GET}});
}

bool sc_done(struct script *sc, uint32_t op, enum hermes_result result)
{
    return sc->w->ops[op].replied && sc->w->ops[op].result == result;
}

int64_t sc_ret(struct script *sc, uint32_t op)
{
    return sc->w->ops[op].h.ret;
}

uint64_t sc_version(struct script *sc, uint32_t op)
{
    return ts_version(sc->w->ops[op].h.ts);
}

void sc_run(struct script *sc, uint64_t us)
{
    sim_advance(sc->s, us * US);
}

const uint32_t one_two_three[] = {1, 2, 3, 0};

static const struct {
    const char *name;
    void (*fn)(struct script *sc);
} table[] = {
#define X(name) {#name, name},
    SCENARIOS(X)
#undef X
};

int scenarios_hermes(void)
{
    int failures = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct sim *s = sim_new(&world_hermes);
        struct script sc = {.s = s, .w = hw_of(s), .name = table[i].name};
        chooser_init_tape(&s->choose, NULL, NULL, 0);
        sc.w->scripted = true;
        sc.w->config = (struct hw_config){
            .replicas = 3, .keys = 8, .purge = true, .mix = true, .expire = true, .multi = true};
        sim_begin(s);
        sc_leases(&sc);
        table[i].fn(&sc);
        sim_end(s);
        if (s->failed) {
            printf("scenario %s: %s\n", sc.name, s->failure);
            sc.failures++;
        }
        failures += sc.failures;
        chooser_deinit(&s->choose);
        sim_free(s);
    }
    return failures;
}
