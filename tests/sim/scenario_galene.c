/* What scripts of the Galene world are made of, and the table that runs them. */
#include "tests/sim/scenario_galene.h"

#include <string.h>

#define LONG_NS (100000 * SIM_MS)

const uint32_t gs_all[] = {1, 2, 3, 0};

void gs_run(struct gscript *sc, uint64_t us)
{
    sim_advance(sc->s, us * 1000);
}

void gs_lease(struct gscript *sc, unsigned proxy, uint64_t ns)
{
    const struct gw_proxy *p = &sc->w->proxies[proxy];
    if (p->core != NULL) {
        gp_lease(
            sc->s, proxy,
            (struct lease){galene_view(p->core)->epoch, sim_clock(sc->s, gw_node(proxy)) + ns});
    }
}

void gs_view(struct gscript *sc, uint64_t epoch, const uint32_t *members, unsigned proxies)
{
    unsigned m = 0;
    while (members[m] != 0) {
        m++;
    }
    struct view v;
    EXPECT(sc, view_make(&v, epoch, members, m, NULL, 0));
    sc->w->group.view = v;
    for (unsigned i = 0; i < sc->w->config.proxies; i++) {
        if ((proxies >> i & 1) != 0 && sc->w->proxies[i].core != NULL) {
            gp_view(sc->s, i, &v);
            gs_lease(sc, i, LONG_NS);
        }
    }
}

void gs_hot(struct gscript *sc)
{
    gp_want(sc->s, 0, 0, HOTSET_WANT_HOT);
    gs_run(sc, 500);
}

void gs_cold(struct gscript *sc)
{
    gp_want(sc->s, 0, 0, HOTSET_WANT_COLD);
}

uint32_t gs_op(struct gscript *sc, unsigned client, unsigned proxy, struct gw_op op)
{
    return gl_issue(sc->s, client, proxy, &op);
}

uint32_t gs_set_by(struct gscript *sc, unsigned client, unsigned proxy, int64_t value)
{
    return gs_op(
        sc, client, proxy,
        (struct gw_op){.kind = GALENE_WRITE, .blind = true, .h = {.kind = HIST_SET, .arg = value}});
}

uint32_t gs_set(struct gscript *sc, unsigned proxy, int64_t value)
{
    return gs_set_by(sc, proxy, proxy, value);
}

uint32_t gs_incr_by(struct gscript *sc, unsigned client, unsigned proxy)
{
    return gs_op(sc, client, proxy, (struct gw_op){.kind = GALENE_WRITE, .h = {.kind = HIST_INCR}});
}

uint32_t gs_append(struct gscript *sc, unsigned proxy)
{
    return gs_op(sc, proxy, proxy,
                 (struct gw_op){.kind = GALENE_WRITE, .h = {.kind = HIST_APPEND, .arg = 7}});
}

uint32_t gs_get_by(struct gscript *sc, unsigned client, unsigned proxy)
{
    return gs_op(
        sc, client, proxy,
        (struct gw_op){.kind = GALENE_READ, .local = true, .share = 1, .h = {.kind = HIST_GET}});
}

uint32_t gs_get(struct gscript *sc, unsigned proxy)
{
    return gs_get_by(sc, proxy, proxy);
}

uint32_t gs_demote(struct gscript *sc, unsigned proxy)
{
    return gs_op(sc, proxy, proxy, (struct gw_op){.kind = GALENE_DEMOTE, .h = {.kind = HIST_GET}});
}

bool gs_replied(struct gscript *sc, uint32_t op)
{
    return sc->w->ops[op].at == GW_AT_REPLIED;
}

bool gs_done(struct gscript *sc, uint32_t op)
{
    return gs_replied(sc, op) && sc->w->ops[op].h.status == HIST_OK;
}

int64_t gs_ret(struct gscript *sc, uint32_t op)
{
    return sc->w->ops[op].h.ret;
}

bool gs_valid(struct gscript *sc, unsigned proxy)
{
    return gp_serves(sc->s, proxy, 0);
}

bool gs_all_valid(struct gscript *sc)
{
    return gs_valid(sc, 0) && gs_valid(sc, 1) && gs_valid(sc, 2);
}

static struct galene_entry look(struct gscript *sc, unsigned proxy)
{
    struct hermes_key key;
    struct galene_entry e = {0};
    hw_key(&key, 0);
    if (sc->w->proxies[proxy].core != NULL) {
        (void)galene_look(sc->w->proxies[proxy].core, &key, &e);
    }
    return e;
}

bool gs_prepared(struct gscript *sc, unsigned proxy)
{
    return look(sc, proxy).prepared;
}

uint64_t gs_generation(struct gscript *sc, unsigned proxy)
{
    return look(sc, proxy).generation;
}

bool gs_hot_at_shard(struct gscript *sc)
{
    return sc->w->hw.nodes[0].entries[0].hot;
}

void gs_cut(struct gscript *sc, unsigned from, unsigned to, bool on)
{
    sc->s->cut[gw_node(from)][gw_node(to)] = on;
}

void gs_inject(struct gscript *sc, unsigned proxy, struct gmsg m)
{
    uint8_t key[8] = {0};
    uint8_t value[16] = {77};
    struct msg_bytes b = {.key = key, .key_len = sizeof key};
    if (m.flags == GMSG_VALUE && (m.kind == GMSG_DONE || m.kind == GMSG_FILL)) {
        b.payload = value;
        b.payload_len = sizeof value;
    }
    uint8_t frame[GW_FRAME_MAX];
    size_t n = gmsg_encode(&m, &b, frame, sizeof frame);
    gp_frame(sc->s, proxy, frame, n);
}

void gs_ask_shard(struct gscript *sc, enum galene_request_kind kind, uint64_t generation)
{
    struct galene_request q = {.kind = kind, .generation = generation};
    hw_key(&q.key, 0);
    gb_request(sc->s, 0, GW_OF_HOTSET, &q);
    gp_set_wake(sc->s, 0);
}

static const struct {
    const char *name;
    void (*fn)(struct gscript *sc);
} table[] = {
#define X(name) {#name, name},
    GALENE_SCENARIOS(X)
#undef X
};

int scenarios_galene(void)
{
    int failures = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct sim *s = sim_new(&world_galene);
        struct gscript sc = {.s = s, .w = gw_of(s), .name = table[i].name};
        chooser_init_tape(&s->choose, NULL, NULL, 0);
        sc.w->scripted = true;
        sc.w->config = (struct gw_config){.proxies = 3, .keys = 4};
        sim_begin(s);
        for (unsigned n = 0; n < GW_REPLICAS; n++) {
            hw_node_lease(s, n, (struct lease){1, sim_clock(s, n) + LONG_NS});
        }
        for (unsigned n = 0; n < 3; n++) {
            gs_lease(&sc, n, LONG_NS);
        }
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
