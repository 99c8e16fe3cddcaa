/* What scripts of the membership world are made of, and the table that runs them. */
#include "tests/sim/scenario_member.h"

#include <string.h>

void msc_run(struct mscript *sc, uint64_t ms)
{
    sim_advance(sc->s, ms * SIM_MS);
}

void msc_caught_up(struct mscript *sc, unsigned holder)
{
    sc->m->hold[holder].has_data = true;
    ms_simple(sc->s, sc->m, holder, HOLDER_IN_CAUGHT_UP, 0);
}

void msc_all_in(struct mscript *sc)
{
    for (unsigned i = 0; i < 4; i++) {
        ms_join(sc->s, sc->m, i);
        msc_run(sc, 200);
        if (i == 1 || i == 2) {
            EXPECT(sc, !msc_is_member(sc, i));
            msc_caught_up(sc, i);
            msc_run(sc, 100);
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        EXPECT(sc, msc_is_member(sc, i) && msc_leased(sc, i));
    }
}

void msc_cut(struct mscript *sc, unsigned a, unsigned b, bool on)
{
    sc->s->cut[a][b] = on;
    sc->s->cut[b][a] = on;
}

void msc_message(struct mscript *sc, unsigned from, unsigned to, struct member_msg msg)
{
    uint8_t frame[SIM_FRAME_MAX];
    int acceptor = ms_acceptor_at(sc->m, from);
    msg.cluster = map_cluster(&sc->m->genesis);
    msg.sender = acceptor < 0 ? MEMBER_NO_ACCEPTOR : (uint8_t)acceptor;
    if (acceptor >= 0) {
        ms_saw_send(sc->s, sc->m, (unsigned)acceptor, &msg);
    }
    sim_post(sc->s, from, to, frame, member_msg_encode(&msg, frame, sizeof frame));
}

const struct member_map *msc_map(struct mscript *sc)
{
    static struct member_map map;
    EXPECT(sc, ms_chosen_map(sc->m, sc->m->chosen, &map));
    return &map;
}

const struct member_map *msc_map_without(struct mscript *sc, int holder)
{
    static struct member_map map;
    map = *msc_map(sc);
    map.version++;
    for (unsigned i = 0; i < map.node_count; i++) {
        if (holder >= 0 && map.nodes[i].id == sc->m->hold[holder].id) {
            map.groups[map.nodes[i].group].epoch++;
            map_remove(&map, i);
        }
    }
    return &map;
}

void msc_accept(struct mscript *sc, unsigned from, unsigned to, uint64_t ballot, int without)
{
    msc_message(sc, ACCEPTOR(from), ACCEPTOR(to),
                (struct member_msg){.kind = MEMBER_MSG_ACCEPT,
                                    .ballot = ballot,
                                    .map = msc_map_without(sc, without)});
}

void msc_prepare(struct mscript *sc, unsigned from, unsigned to, uint64_t ballot)
{
    msc_message(sc, ACCEPTOR(from), ACCEPTOR(to),
                (struct member_msg){.kind = MEMBER_MSG_PREPARE,
                                    .version = msc_map(sc)->version + 1,
                                    .ballot = ballot});
}

bool msc_leased(struct mscript *sc, unsigned holder)
{
    return sc->m->hold[holder].core != NULL &&
           sc->m->hold[holder].lease.until_ns > sim_clock(sc->s, holder);
}

bool msc_in_map(struct mscript *sc, uint32_t id)
{
    return id != 0 && map_by_id(msc_map(sc), id) != NULL;
}

bool msc_is_member(struct mscript *sc, unsigned holder)
{
    const struct map_node *n = map_by_id(msc_map(sc), sc->m->hold[holder].id);
    return n != NULL && (n->flags & MAP_MEMBER) != 0;
}

static enum member_reason answered(struct mscript *sc, const struct member_change *c)
{
    ms_change(sc->s, sc->m, 3, c);
    msc_run(sc, 1000);
    EXPECT(sc, !sc->m->hold[3].change_open);
    return sc->m->hold[3].change_result;
}

enum member_reason msc_change(struct mscript *sc, enum member_change_kind kind, uint32_t id,
                              uint32_t other)
{
    struct member_change c = {.kind = kind, .id = id, .other = other};
    return answered(sc, &c);
}

enum member_reason msc_order_join(struct mscript *sc, unsigned holder, const char *group)
{
    struct member_change c = {.kind = MEMBER_CHANGE_JOIN};
    ms_address(holder, &c.at);
    EXPECT(sc, map_text_set(c.group, group, strlen(group)));
    return answered(sc, &c);
}

static const struct {
    const char *name;
    void (*fn)(struct mscript *sc);
} table[] = {
#define X(name) {#name, name},
    MEMBER_SCENARIOS(X)
#undef X
};

int scenarios_member(void)
{
    int failures = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct sim *s = sim_new(&world_member);
        struct mscript sc = {.s = s, .m = &mw_of(s)->ms, .name = table[i].name};
        chooser_init_tape(&s->choose, NULL, NULL, 0);
        mw_of(s)->scripted = true;
        sim_begin(s);
        msc_run(&sc, 20);
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
