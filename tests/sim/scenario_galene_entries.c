/* Scenarios of reads, writes and entries: rules G1-G5, G10-G12, H12, H14. */
#include "tests/sim/scenario_galene.h"

/* A write of proxy 0 that cannot go on: proxy 2's ACK is missing. */
static uint32_t blocked_write(struct gscript *sc, int64_t value)
{
    gs_cut(sc, 2, 0, true);
    uint32_t a = gs_set(sc, 0, value);
    gs_run(sc, 200);
    EXPECT(sc, !gs_replied(sc, a));
    return a;
}

static void hot_with_value(struct gscript *sc, int64_t value)
{
    gs_set(sc, 0, value);
    gs_run(sc, 500);
    gs_hot(sc);
    EXPECT(sc, gs_all_valid(sc));
}

void g1_forwarded_read_changes_nothing(struct gscript *sc)
{
    hot_with_value(sc, 10);
    blocked_write(sc, 20);
    uint32_t r = gs_get(sc, 1);
    gs_run(sc, 200);
    EXPECT(sc, gs_done(sc, r) && gs_ret(sc, r) == 10);
    EXPECT(sc, GMARKS(sc, READ_FORWARDED) == 1 && !gs_valid(sc, 1));
}

void g1_reads_share_the_next_one(struct gscript *sc)
{
    hot_with_value(sc, 10);
    blocked_write(sc, 20);
    uint32_t r[7];
    for (unsigned i = 0; i < 7; i++) {
        r[i] = gs_get_by(sc, i, 1);
    }
    gs_run(sc, 500);
    for (unsigned i = 0; i < 7; i++) {
        EXPECT(sc, gs_done(sc, r[i]) && gs_ret(sc, r[i]) == 10);
    }
    /* four leave as they come, the rest with the next one */
    EXPECT(sc, GMARKS(sc, READ_FORWARDED) == 5 && GMARKS(sc, READ_SHARED) == 2);
}

void g1_lease_end(struct gscript *sc)
{
    hot_with_value(sc, 10);
    gs_lease(sc, 1, 2 * SIM_MS);
    uint32_t a = gs_get(sc, 1);
    gs_run(sc, 1000);
    EXPECT(sc, gs_done(sc, a) && GMARKS(sc, READ_FORWARDED) == 0);
    gs_run(sc, 2000);
    uint32_t b = gs_get(sc, 1);
    gs_run(sc, 500);
    EXPECT(sc, gs_done(sc, b) && GMARKS(sc, READ_NO_LEASE) >= 1 && GMARKS(sc, READ_FORWARDED) == 1);
}

void g1_near_expiry_is_forwarded(struct gscript *sc)
{
    gs_op(sc, 0, 0,
          (struct gw_op){.kind = GALENE_WRITE,
                         .blind = true,
                         .expire_ms = 100,
                         .h = {.kind = HIST_SET, .arg = 10}});
    gs_run(sc, 500);
    gs_hot(sc);
    EXPECT(sc, gs_all_valid(sc));
    gs_run(sc, 60000); /* within the margin of 50 ms */
    uint32_t a = gs_get(sc, 1);
    gs_run(sc, 500);
    EXPECT(sc, gs_done(sc, a) && gs_ret(sc, a) == 10);
    EXPECT(sc, GMARKS(sc, READ_NEAR_EXPIRY) >= 1 && GMARKS(sc, READ_FORWARDED) == 1);
}

void g2_hotwrite_waits_for_every_ack(struct gscript *sc)
{
    hot_with_value(sc, 10);
    uint32_t a = blocked_write(sc, 20);
    EXPECT(sc, !gs_valid(sc, 0) && !gs_valid(sc, 1) && !gs_valid(sc, 2));
    gs_run(sc, 5000);
    EXPECT(sc, !gs_replied(sc, a) && GMARKS(sc, ROUND_DONE) == 0);
    const struct galene *g = sc->w->proxies[0].core;
    uint64_t now = sim_clock(sc->s, gw_node(0));
    EXPECT(sc, galene_owing(g, now - SIM_MS) == 4 && galene_owing(g, now - 10 * SIM_MS) == 0);
    gs_cut(sc, 2, 0, false);
    gs_run(sc, 40000);
    EXPECT(sc, gs_done(sc, a) && galene_owing(g, UINT64_MAX) == 0 && GMARKS(sc, INV_RESENT) >= 1 &&
                   gs_all_valid(sc));
    uint32_t r = gs_get(sc, 2);
    gs_run(sc, 100);
    EXPECT(sc, gs_done(sc, r) && gs_ret(sc, r) == 20);
}

/* The generation is over while proxy 1, out of the view and not knowing it, waits for its HOTWRITE.
 */
void g3_cold_drains_the_entry(struct gscript *sc)
{
    const uint32_t left[] = {1, 3, 0};
    hot_with_value(sc, 10);
    sc->w->hold_requests = true;
    uint32_t a = gs_set(sc, 1, 20);
    gs_run(sc, 200);
    EXPECT(sc, GMARKS(sc, ROUND_DONE) == 1);
    sc->w->hold_requests = false;
    gs_view(sc, 2, left, 5);
    gs_run(sc, 1000); /* the departed writer's invalidation: a new generation */
    EXPECT(sc, gs_generation(sc, 0) > gs_generation(sc, 1) && gs_valid(sc, 0));
    gb_late(sc->s, 0);
    gs_run(sc, 500);
    struct hermes_key key;
    struct galene_entry e;
    hw_key(&key, 0);
    EXPECT(sc, GMARKS(sc, REFUSED_COLD) == 1);
    EXPECT(sc, galene_look(sc->w->proxies[1].core, &key, &e) && e.draining);
    EXPECT(sc, !gs_replied(sc, a) && GMARKS(sc, WAITS_FOR_VIEW) == 1);
    gs_view(sc, 3, left, 7);
    gs_run(sc, 1000);
    EXPECT(sc, gs_replied(sc, a) && sc->w->ops[a].result == GALENE_DONE_RETRY);
}

void g4_write_without_an_entry(struct gscript *sc)
{
    hot_with_value(sc, 10);
    uint64_t g = gs_generation(sc, 2);
    gs_inject(
        sc, 2,
        (struct gmsg){.kind = GMSG_DROP, .epoch = 1, .sender = 1, .seq = 50, .generation = g});
    EXPECT(sc, !gs_prepared(sc, 2));
    uint32_t a = gs_set(sc, 2, 20);
    gs_run(sc, 400);
    EXPECT(sc, gs_done(sc, a) && HMARKS(sc, REPORT_UNKNOWN_HOT) >= 1);
    uint32_t r = gs_get(sc, 1);
    gs_run(sc, 200);
    EXPECT(sc, gs_done(sc, r) && gs_ret(sc, r) == 20);
}

/* Proxy 1 has been left out, and believes itself in a view of its own: it must not write. */
void g4_old_view_waits(struct gscript *sc)
{
    const uint32_t alone[] = {2, 0};
    const uint32_t others[] = {1, 3, 0};
    gs_view(sc, 2, alone, 2);
    gs_view(sc, 3, others, 5);
    gs_hot(sc);
    EXPECT(sc, gs_valid(sc, 0) && gs_valid(sc, 2));
    uint32_t a = gs_set(sc, 1, 20);
    gs_run(sc, 5000);
    EXPECT(sc, !gs_replied(sc, a) && GMARKS(sc, WAITS_FOR_VIEW) >= 1 && gs_valid(sc, 2));
    gs_view(sc, 4, gs_all, 7);
    gs_run(sc, 2000);
    EXPECT(sc, gs_done(sc, a) && gs_all_valid(sc));
}

void g5_only_its_own_done_takes_it_back(struct gscript *sc)
{
    hot_with_value(sc, 10);
    blocked_write(sc, 20);
    uint64_t g = gs_generation(sc, 1);
    gs_inject(sc, 1,
              (struct gmsg){.kind = GMSG_DONE,
                            .epoch = 1,
                            .sender = 1,
                            .generation = g,
                            .token = 99,
                            .flags = GMSG_NO_VALUE});
    EXPECT(sc, !gs_valid(sc, 1));
    gs_inject(sc, 1,
              (struct gmsg){.kind = GMSG_DONE,
                            .epoch = 1,
                            .sender = 3,
                            .generation = g,
                            .token = 1,
                            .flags = GMSG_NO_VALUE});
    EXPECT(sc, !gs_valid(sc, 1) && GMARKS(sc, DONE_OTHER_TOKEN) == 2);
}

void g5_other_epochs_are_not_acted_on(struct gscript *sc)
{
    gs_view(sc, 2, gs_all, 7);
    hot_with_value(sc, 10);
    uint64_t g = gs_generation(sc, 1);
    struct gmsg inv = {.kind = GMSG_INV, .epoch = 1, .sender = 3, .generation = g, .token = 9};
    gs_inject(sc, 1, inv);
    EXPECT(sc, gs_valid(sc, 1) && GMARKS(sc, OLD_EPOCH_DROPPED) == 1);
    inv.epoch = 3;
    gs_inject(sc, 1, inv);
    EXPECT(sc, gs_valid(sc, 1) && GMARKS(sc, NEW_EPOCH_HELD) == 1);
    gs_view(sc, 3, gs_all, 7);
    EXPECT(sc, !gs_valid(sc, 1) && GMARKS(sc, INV_SET) == 1);
}

void g5_larger_generation_drains(struct gscript *sc)
{
    hot_with_value(sc, 10);
    uint64_t g = gs_generation(sc, 1);
    gs_inject(
        sc, 1,
        (struct gmsg){.kind = GMSG_INV, .epoch = 1, .sender = 3, .generation = g + 1, .token = 9});
    EXPECT(sc, !gs_valid(sc, 1) && GMARKS(sc, ODD_INV_LARGER) == 1);
}

void g5_lost_done_is_asked_for(struct gscript *sc)
{
    hot_with_value(sc, 10);
    uint32_t a = gs_set(sc, 0, 20);
    gs_run(sc, 70); /* the round is over */
    gs_cut(sc, 0, 1, true);
    gs_run(sc, 300);
    EXPECT(sc, gs_done(sc, a) && gs_valid(sc, 0) && gs_valid(sc, 2) && !gs_valid(sc, 1));
    gs_cut(sc, 0, 1, false);
    gs_run(sc, 80000);
    EXPECT(sc, GMARKS(sc, ASK_ANSWERED) == 1 && gs_all_valid(sc));
}

/* The DONE of one write is lost, the next write of the same proxy comes to nothing. */
void g5_done_tells_of_earlier_writes_too(struct gscript *sc)
{
    hot_with_value(sc, 10);
    uint32_t a = gs_set(sc, 0, 20);
    gs_run(sc, 70); /* the round is over */
    gs_cut(sc, 0, 2, true);
    gs_run(sc, 300);
    EXPECT(sc, gs_done(sc, a) && gs_valid(sc, 1) && !gs_valid(sc, 2));
    gs_cut(sc, 0, 2, false);
    gs_cut(sc, 1, 0, true);
    uint32_t b = gs_set(sc, 0, 30); /* proxy 1's ACK is missing, until it is given up */
    gs_run(sc, 800000);
    EXPECT(sc, gs_replied(sc, b) && sc->w->ops[b].result == GALENE_DONE_TRYAGAIN);
    gs_run(sc, 1000);
    EXPECT(sc, gs_all_valid(sc) && GMARKS(sc, GAVE_UP) == 1);
    uint32_t r = gs_get(sc, 2);
    gs_run(sc, 200);
    EXPECT(sc, gs_ret(sc, r) == 20);
}

void g10_new_view_restarts_the_round(struct gscript *sc)
{
    const uint32_t left[] = {1, 2, 0};
    hot_with_value(sc, 10);
    uint32_t a = blocked_write(sc, 20);
    gs_view(sc, 2, left, 3);
    gs_run(sc, 1000);
    EXPECT(sc, gs_done(sc, a) && GMARKS(sc, ROUND_RESTARTED) == 1);
    EXPECT(sc, gs_valid(sc, 0) && gs_valid(sc, 1));
}

void g10_acks_start_empty(struct gscript *sc)
{
    const uint32_t left[] = {1, 2, 0};
    hot_with_value(sc, 10);
    uint32_t a = blocked_write(sc, 20); /* proxy 1 has acknowledged, in epoch 1 */
    gs_cut(sc, 1, 0, true);
    gs_view(sc, 2, left, 1);
    gs_run(sc, 5000);
    EXPECT(sc, !gs_replied(sc, a) && GMARKS(sc, ROUND_DONE) == 0);
    gs_cut(sc, 1, 0, false);
    gs_view(sc, 3, left, 3);
    gs_run(sc, 1000);
    EXPECT(sc, gs_done(sc, a));
}

void g11_blind_writes_are_combined(struct gscript *sc)
{
    hot_with_value(sc, 10);
    uint32_t a = blocked_write(sc, 20);
    uint32_t b = gs_set_by(sc, 4, 0, 30);
    uint32_t c = gs_set_by(sc, 5, 0, 40);
    uint32_t d = gs_incr_by(sc, 6, 0);
    uint32_t e = gs_set_by(sc, 7, 0, 50);
    gs_run(sc, 100);
    gs_cut(sc, 2, 0, false);
    gs_run(sc, 60000);
    EXPECT(sc, gs_done(sc, a) && gs_done(sc, b) && gs_done(sc, c) && gs_done(sc, e));
    EXPECT(sc, gs_done(sc, d) && gs_ret(sc, d) == 41);
    EXPECT(sc, GMARKS(sc, COMBINED_LATE) == 2 && GMARKS(sc, ROUND_DONE) == 3);
    uint32_t r = gs_get(sc, 2);
    gs_run(sc, 200);
    EXPECT(sc, gs_ret(sc, r) == 50);
}

void g11_combined_are_unknown_together(struct gscript *sc)
{
    hot_with_value(sc, 10);
    uint32_t a = blocked_write(sc, 20);
    uint32_t b = gs_set_by(sc, 4, 0, 30);
    gs_run(sc, 100);
    sc->w->hold_requests = true;
    gs_cut(sc, 2, 0, false);
    gs_run(sc, 40000);
    EXPECT(sc, GMARKS(sc, ROUND_DONE) == 1 && !gs_replied(sc, a) && !gs_replied(sc, b));
    sc->w->hold_requests = false;
    gb_break(sc->s, 0);
    EXPECT(sc, sc->w->ops[a].result == GALENE_DONE_UNKNOWN);
    EXPECT(sc, sc->w->ops[b].result == GALENE_DONE_UNKNOWN);
}

void g12_uncacheable_is_demoted(struct gscript *sc)
{
    hot_with_value(sc, 10);
    for (unsigned i = 0; i < 3; i++) { /* as long as it may not be, and more */
        uint32_t a = gs_append(sc, 1);
        gs_run(sc, 130);
        EXPECT(sc, i == 2 || !gs_done(sc, a) || gs_all_valid(sc) || !gs_valid(sc, 1));
        gs_run(sc, 500);
        EXPECT(sc, gs_done(sc, a));
    }
    EXPECT(sc, GMARKS(sc, UNCACHEABLE) == 3 && !gs_valid(sc, 0) && !gs_valid(sc, 2));
    EXPECT(sc, !gs_hot_at_shard(sc) && !gs_prepared(sc, 1) && HMARKS(sc, REPORT_UNCACHEABLE) >= 1);
}

void h12_expired_hot_key_is_deleted_by_a_proxy(struct gscript *sc)
{
    sc->w->hw.config.expire = true; /* the search knows no clocks */
    gs_op(sc, 0, 0,
          (struct gw_op){.kind = GALENE_WRITE,
                         .blind = true,
                         .expire_ms = 60,
                         .h = {.kind = HIST_SET, .arg = 10}});
    gs_run(sc, 500);
    gs_hot(sc);
    gs_run(sc, 80000);
    uint32_t a = gs_get(sc, 1);
    gs_run(sc, 1000);
    EXPECT(sc, gs_done(sc, a) && gs_ret(sc, a) == HIST_ABSENT);
    EXPECT(sc, GMARKS(sc, READ_EXPIRED) == 1 && GMARKS(sc, EXPIRE_WRITTEN) == 1);
    EXPECT(sc, gs_all_valid(sc) && gs_hot_at_shard(sc)); /* that it is absent is cached too (G12) */
}

void h14_program_order_at_a_proxy(struct gscript *sc)
{
    hot_with_value(sc, 10);
    blocked_write(sc, 20);
    uint32_t a = gs_set_by(sc, 5, 0, 30);
    uint32_t b = gs_get_by(sc, 5, 0);
    uint32_t c = gs_get_by(sc, 6, 0); /* another connection's need not wait */
    gs_run(sc, 400);
    EXPECT(sc, !gs_replied(sc, a) && !gs_replied(sc, b) && gs_done(sc, c) && gs_ret(sc, c) == 10);
    gs_cut(sc, 2, 0, false);
    gs_run(sc, 60000);
    EXPECT(sc, gs_done(sc, a) && gs_done(sc, b) && gs_ret(sc, b) == 30);
    EXPECT(sc, GMARKS(sc, ORDER_WAITED) == 1);
}
