/* Scenarios of promotion, demotion, recovery and coordinators: rules G6-G9, G13. */
#include "tests/sim/scenario_galene.h"

static void hot_with_value(struct gscript *sc, int64_t value)
{
    gs_set(sc, 0, value);
    gs_run(sc, 500);
    gs_hot(sc);
    EXPECT(sc, gs_all_valid(sc));
}

void g6_promote_waits_for_every_prepared(struct gscript *sc)
{
    gs_cut(sc, 2, 0, true);
    gs_hot(sc);
    gs_run(sc, 5000);
    EXPECT(sc, gs_prepared(sc, 1) && !gs_valid(sc, 1) && !gs_hot_at_shard(sc));
    gs_cut(sc, 2, 0, false);
    gs_run(sc, 40000);
    EXPECT(sc, gs_all_valid(sc) && gs_hot_at_shard(sc) && HMARKS(sc, PREP_RESENT) >= 1);
}

void g6_fill_of_another_epoch_is_refused(struct gscript *sc)
{
    gs_view(sc, 2, gs_all, 7);
    gs_cut(sc, 2, 0, true);
    gs_hot(sc);
    EXPECT(sc, gs_prepared(sc, 1) && !gs_valid(sc, 1));
    struct gmsg fill = {.kind = GMSG_FILL,
                        .epoch = 1,
                        .sender = 1,
                        .seq = 50,
                        .generation = gs_generation(sc, 1),
                        .ts = ts_make(5, 1),
                        .flags = GMSG_VALUE};
    gs_inject(sc, 1, fill);
    EXPECT(sc, !gs_valid(sc, 1) && GMARKS(sc, CONTROL_OLD_EPOCH) == 1);
}

void g7_demote_waits_for_every_drained(struct gscript *sc)
{
    hot_with_value(sc, 10);
    gs_cut(sc, 2, 0, true);
    gs_cold(sc);
    gs_run(sc, 5000);
    EXPECT(sc, gs_hot_at_shard(sc) && gs_prepared(sc, 1) && !gs_valid(sc, 1) && !gs_valid(sc, 2));
    gs_cut(sc, 2, 0, false);
    gs_run(sc, 40000);
    EXPECT(sc, !gs_hot_at_shard(sc) && !gs_prepared(sc, 0) && !gs_prepared(sc, 1));
    EXPECT(sc, HMARKS(sc, DRAIN_RESENT) >= 1 && GMARKS(sc, DROPPED) == 3);
}

void g7_new_writes_wait_for_drop(struct gscript *sc)
{
    hot_with_value(sc, 10);
    gs_cut(sc, 2, 0, true);
    gs_cold(sc);
    gs_run(sc, 1000);
    uint32_t a = gs_set(sc, 1, 20);
    gs_run(sc, 1000);
    EXPECT(sc, !gs_replied(sc, a) && GMARKS(sc, WRITE_WAITED_FOR_DROP) >= 1);
    EXPECT(sc, GMARKS(sc, WRITE_COLD) == 0);
    gs_run(sc, 32000); /* not for ever: cold, refused, a hot write of a drained key */
    EXPECT(sc, gs_done(sc, a) && GMARKS(sc, REFUSED_HOT) == 1);
    uint32_t b = gs_set(sc, 1, 30);
    gs_cut(sc, 2, 0, false);
    gs_run(sc, 60000);
    EXPECT(sc, gs_done(sc, b) && !gs_hot_at_shard(sc));
}

/* The request had left; the connection breaks; it arrives long after. */
static uint32_t unknown_write(struct gscript *sc, unsigned proxy, int64_t value)
{
    sc->w->hold_requests = true;
    uint32_t a = gs_set(sc, proxy, value);
    gs_run(sc, 200);
    EXPECT(sc, !gs_replied(sc, a) && GMARKS(sc, ROUND_DONE) == 1);
    sc->w->hold_requests = false;
    gb_break(sc->s, proxy);
    EXPECT(sc, gs_replied(sc, a) && sc->w->ops[a].result == GALENE_DONE_UNKNOWN);
    return a;
}

void g8_unknown_outcome_needs_a_new_generation(struct gscript *sc)
{
    hot_with_value(sc, 10);
    uint64_t g = gs_generation(sc, 0);
    unknown_write(sc, 1, 20);
    EXPECT(sc, !gs_valid(sc, 1));
    gs_run(sc, 30);
    EXPECT(sc, !gs_valid(sc, 0) && !gs_valid(sc, 2));
    gs_run(sc, 1000);
    EXPECT(sc, gs_all_valid(sc) && gs_generation(sc, 2) > g && HMARKS(sc, REPROMOTING) == 1);
    gb_late(sc->s, 0);
    gs_run(sc, 500);
    uint32_t r = gs_get(sc, 2);
    gs_run(sc, 200);
    EXPECT(sc, gs_all_valid(sc) && gs_ret(sc, r) == 10);
}

/* A second write of the same proxy must not take back what guards against the first. */
void g8_lost_is_not_forgotten(struct gscript *sc)
{
    hot_with_value(sc, 10);
    gs_cut(sc, 1, 0, true); /* so that nobody hears of it yet */
    gs_cut(sc, 1, 2, true);
    for (unsigned i = 0; i < 2; i++) {
        sc->s->cut[gw_node(1)][gw_node(i == 0 ? 0 : 2)] = false;
    }
    sc->w->hold_requests = true;
    gs_set(sc, 1, 20);
    gs_run(sc, 200);
    sc->w->hold_requests = false;
    gs_cut(sc, 1, 0, true);
    gs_cut(sc, 1, 2, true);
    gb_break(sc->s, 1);
    gs_run(sc, 100);
    gs_cut(sc, 1, 0, false);
    gs_cut(sc, 1, 2, false);
    uint32_t b = gs_set(sc, 1, 30);
    gs_run(sc, 170);
    EXPECT(sc, gs_done(sc, b));
    gb_late(sc->s, 0); /* the first one takes effect now, or never */
    gs_run(sc, 100);
    uint32_t r = gs_get(sc, 1);
    gs_run(sc, 200);
    EXPECT(sc, gs_done(sc, r));
    gs_run(sc, 100000);
    EXPECT(sc, gs_all_valid(sc) && HMARKS(sc, REPROMOTING) >= 1);
}

void g8_departed_writer(struct gscript *sc)
{
    const uint32_t left[] = {1, 2, 0};
    hot_with_value(sc, 10);
    uint64_t g = gs_generation(sc, 0);
    sc->w->hold_requests = true;
    gs_set(sc, 2, 20);
    gs_run(sc, 200);
    sc->w->hold_requests = false;
    sim_crash(sc->s, gw_node(2));
    gs_run(sc, 500);
    EXPECT(sc, !gs_valid(sc, 0) && !gs_valid(sc, 1));
    gs_view(sc, 2, left, 3);
    gs_run(sc, 60);
    EXPECT(sc, GMARKS(sc, STUCK) == 2);
    gs_run(sc, 1000);
    EXPECT(sc, gs_valid(sc, 0) && gs_valid(sc, 1) && gs_generation(sc, 0) > g);
    gb_late(sc->s, 0);
    gs_run(sc, 500);
    EXPECT(sc, gs_valid(sc, 0) && gs_valid(sc, 1));
}

void g8_joiner_gets_entries(struct gscript *sc)
{
    const uint32_t two[] = {1, 2, 0};
    gs_view(sc, 2, two, 7);
    gs_set(sc, 0, 10);
    gs_run(sc, 500);
    gs_hot(sc);
    EXPECT(sc, gs_valid(sc, 0) && gs_valid(sc, 1) && galene_expelled(sc->w->proxies[2].core));
    gp_stop(sc->s, 2);
    gp_start(sc->s, 2, 4);
    const uint32_t joined[] = {1, 2, 4, 0};
    gs_view(sc, 3, joined, 7);
    gs_run(sc, 2000);
    EXPECT(sc, gs_all_valid(sc) && HMARKS(sc, REPROMOTING) == 1);
}

void g9_control_of_older_views_is_refused(struct gscript *sc)
{
    gs_view(sc, 2, gs_all, 7);
    hot_with_value(sc, 10);
    struct gmsg m = {
        .kind = GMSG_DRAIN, .epoch = 1, .sender = 1, .seq = 50, .generation = gs_generation(sc, 1)};
    gs_inject(sc, 1, m);
    EXPECT(sc, gs_valid(sc, 1));
    m.kind = GMSG_PREP;
    m.generation++;
    gs_inject(sc, 1, m);
    EXPECT(sc, gs_valid(sc, 1) && GMARKS(sc, CONTROL_OLD_EPOCH) == 2);
}

/* A PREP and a FILL that come after the DROP of their generation. */
void g9_control_keeps_its_order(struct gscript *sc)
{
    hot_with_value(sc, 10);
    uint64_t g = gs_generation(sc, 1);
    gs_cold(sc);
    gs_run(sc, 1000);
    EXPECT(sc, !gs_prepared(sc, 1) && !gs_hot_at_shard(sc));
    struct gmsg m = {.kind = GMSG_PREP, .epoch = 1, .sender = 1, .seq = 1, .generation = g};
    gs_inject(sc, 1, m);
    m.kind = GMSG_FILL;
    m.seq = 2;
    m.ts = ts_make(3, 1);
    m.flags = GMSG_VALUE;
    gs_inject(sc, 1, m);
    EXPECT(sc, !gs_prepared(sc, 1) && GMARKS(sc, CONTROL_OUT_OF_ORDER) == 2);
}

void g9_unknown_hot_key_is_retired(struct gscript *sc)
{
    gs_ask_shard(sc, GALENE_ASK_PROMOTE, generation_make(1, 1000));
    gs_run(sc, 500);
    EXPECT(sc, gs_hot_at_shard(sc));
    uint32_t a = gs_set(sc, 1, 20);
    gs_run(sc, 2000);
    EXPECT(sc, gs_done(sc, a) && GMARKS(sc, HOT_UNKNOWN_HERE) == 1);
    EXPECT(sc, HMARKS(sc, REPORT_UNKNOWN_HOT) == 1 && !gs_hot_at_shard(sc));
}

/* A PROMOTE of unknown outcome takes effect after the key has been demoted again. */
void g9_late_promote_is_retired(struct gscript *sc)
{
    sc->w->hold_requests = true;
    gs_hot(sc);
    sc->w->hold_requests = false;
    gb_break(sc->s, 0);
    EXPECT(sc, HMARKS(sc, PROMOTE_UNKNOWN) == 1 && !gs_hot_at_shard(sc));
    gs_cold(sc);
    gs_run(sc, 1000);
    EXPECT(sc, HMARKS(sc, DEMOTE_REFUSED) == 1 && !gs_prepared(sc, 1));
    gb_late(sc->s, 0);
    gs_run(sc, 500);
    EXPECT(sc, gs_hot_at_shard(sc));
    uint32_t a = gs_set(sc, 1, 20);
    gs_run(sc, 2000);
    EXPECT(sc, gs_done(sc, a) && !gs_hot_at_shard(sc));
    uint32_t b = gs_demote(sc, 2);
    gs_run(sc, 1000);
    EXPECT(sc, gs_done(sc, b));
}

/* A coordinator that was left out, alone in what it takes for the view. */
void g9_newer_generation_is_left_alone(struct gscript *sc)
{
    const uint32_t alone[] = {1, 0};
    const uint32_t others[] = {2, 3, 0};
    hot_with_value(sc, 10);
    gs_view(sc, 2, alone, 1);
    gs_lease(sc, 0, 0);
    gs_view(sc, 3, others, 6);
    gs_run(sc, 1000);
    EXPECT(sc, gs_valid(sc, 1) && gs_valid(sc, 2) && HMARKS(sc, ADOPTED) == 1);
    gs_cold(sc);
    gs_run(sc, 5000);
    EXPECT(sc, HMARKS(sc, OUTLIVED) >= 1 && gs_hot_at_shard(sc));
    EXPECT(sc, gs_valid(sc, 1) && gs_valid(sc, 2));
}

void g13_demotion_is_waited_for(struct gscript *sc)
{
    hot_with_value(sc, 10);
    gs_cut(sc, 1, 0, true);
    uint32_t a = gs_demote(sc, 2);
    gs_run(sc, 5000);
    EXPECT(sc, !gs_replied(sc, a) && gs_hot_at_shard(sc));
    gs_cut(sc, 1, 0, false);
    gs_run(sc, 60000);
    EXPECT(sc, gs_done(sc, a) && !gs_hot_at_shard(sc) && !gs_prepared(sc, 2));
    uint32_t b = gs_demote(sc, 1); /* of what is cold already */
    gs_run(sc, 1000);
    EXPECT(sc, gs_done(sc, b) && HMARKS(sc, REPORT_COLD_ALREADY) >= 1);
}
