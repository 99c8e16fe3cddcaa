/* Scenarios of updates, replays and views: rules H1-H7. */
#include "tests/sim/scenario_hermes.h"

void h1_write_plus_two_rmw_plus_one(struct script *sc)
{
    uint32_t a = sc_set(sc, 0, 10);
    sc_run(sc, 500);
    uint32_t b = sc_incr(sc, 1);
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_version(sc, a) == 2);
    EXPECT(sc, sc_done(sc, b, HERMES_DONE) && sc_version(sc, b) == 3 && sc_ret(sc, b) == 11);
}

void h2_smaller_write_is_acked_not_stored(struct script *sc)
{
    sc_cut(sc, 2, 1, true);         /* node 2's can not commit */
    uint32_t a = sc_set(sc, 0, 10); /* 2.1 */
    uint32_t c = sc_set(sc, 2, 30); /* 2.3, larger, at the same time */
    sc_run(sc, 500);
    EXPECT(sc, MARKS(sc, INV_SMALLER_WRITE) == 1);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && MARKS(sc, WRITE_SUPERSEDED) == 1);
    EXPECT(sc, !sc->w->ops[c].replied);
    sc_cut(sc, 2, 1, false);
    sc_run(sc, 300000);
    EXPECT(sc, sc_done(sc, c, HERMES_DONE) && sc->w->nodes[1].entries[0].v.value == 30);
}

void h2_smaller_rmw_is_rejected(struct script *sc)
{
    uint32_t a = sc_incr(sc, 0);    /* 1.1 */
    uint32_t c = sc_set(sc, 2, 30); /* 2.3 */
    sc_run(sc, 2000);
    EXPECT(sc, MARKS(sc, RMW_REJECTED) >= 1 && MARKS(sc, RMW_RETRIED) == 1);
    EXPECT(sc, sc_done(sc, c, HERMES_DONE) && sc_done(sc, a, HERMES_DONE) && sc_ret(sc, a) == 31);
}

void h2_rmw_without_base_fetches_it(struct script *sc)
{
    uint32_t learners[] = {4, 0};
    uint32_t members[] = {1, 2, 0};
    sc_set(sc, 0, 10);
    sc_run(sc, 500);
    sim_crash(sc->s, 2);
    sim_restart(sc->s, 2); /* incarnation 4, empty; its transfer is cut off */
    EXPECT(sc, sc->w->nodes[2].id == 4);
    sc_cut(sc, 2, 0, true);
    sc_cut(sc, 2, 1, true);
    sc_view(sc, 2, members, learners, 7);
    sc_run(sc, 500);
    sc_leases(sc);
    uint32_t a = sc_incr(sc, 0);
    sc_run(sc, 30);
    sc_cut(sc, 2, 0, false);
    sc_run(sc, 2000);
    EXPECT(sc, MARKS(sc, BASE_FETCHED) >= 1);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_ret(sc, a) == 11);
}

void h3_commit_needs_every_ack(struct script *sc)
{
    sc_cut(sc, 2, 0, true);
    uint32_t a = sc_set(sc, 0, 10);
    sc_run(sc, 10000);
    EXPECT(sc, !sc->w->ops[a].replied && !sc->w->nodes[1].entries[0].v.live);
    sc_cut(sc, 2, 0, false);
    sc_run(sc, 100000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc->w->nodes[1].entries[0].v.value == 10);
}

void h3_val_of_another_ts_does_nothing(struct script *sc)
{
    sc_set(sc, 0, 10);
    sc_run(sc, 55); /* request 20, INV 20, ACK 20: not yet */
    sc_cut(sc, 0, 1, true);
    sc_run(sc, 500); /* committed; the VAL to node 1 is lost */
    sc_cut(sc, 0, 1, false);
    sc_cut(sc, 1, 2, true);
    uint32_t c = sc_set(sc, 2, 30);
    sc_run(sc, 500);
    EXPECT(sc, !sc->w->ops[c].replied);
    EXPECT(sc, sc->w->nodes[1].entries[0].v.value == 10); /* proved by the base of 2's (H4) */
}

void h4_base_proves_commit(struct script *sc)
{
    sc_incr(sc, 0);
    sc_run(sc, 55);
    sc_cut(sc, 0, 1, true);
    sc_run(sc, 100); /* committed at 0 and 2; node 1 has no VAL */
    uint32_t b = sc_incr(sc, 2);
    sc_run(sc, 200);
    EXPECT(sc, MARKS(sc, BASE_PROVED) == 1 && MARKS(sc, BASE_FETCHED) == 0);
    EXPECT(sc, sc->w->nodes[1].entries[0].v.live);
    sc_cut(sc, 0, 1, false);
    sc_run(sc, 100000);
    EXPECT(sc, sc_done(sc, b, HERMES_DONE) && sc_ret(sc, b) == 2);
}

/* An RMW that gave up may still be completed by survivors when its owner and the one that made it
 * give up are removed. */
void h5_given_up_is_not_decided(struct script *sc)
{
    const uint32_t last[] = {3, 0};
    sc_cut(sc, 1, 2, true);
    uint32_t a = sc_incr(sc, 0);    /* 1.1 reaches node 2 */
    uint32_t b = sc_set(sc, 1, 20); /* 2.2 reaches node 0 only */
    sc_run(sc, 100);
    EXPECT(sc, MARKS(sc, RMW_GAVE_UP) == 1 && !sc->w->ops[a].replied);
    sc_view(sc, 2, last, NULL, 7);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, a, HERMES_UNKNOWN) && sc_done(sc, b, HERMES_UNKNOWN));
    EXPECT(sc, sc->w->nodes[2].entries[0].v.value == 1); /* it did take effect */
}

void h6_write_is_replayed_after_timeout(struct script *sc)
{
    sc_set(sc, 0, 10);
    sc_run(sc, 55);
    sc_cut(sc, 0, 1, true);
    sc_run(sc, 100000);
    EXPECT(sc, MARKS(sc, REPLAY_TIMEOUT) >= 1);
    EXPECT(sc, sc->w->nodes[1].entries[0].state != 0); /* needs node 0's ACK */
    sc_cut(sc, 0, 1, false);
    sc_run(sc, 100000);
    EXPECT(sc,
           sc->w->nodes[1].entries[0].state == 0 && sc->w->nodes[1].entries[0].ts == ts_make(2, 1));
}

void h6_rmw_owner_is_asked_not_replayed(struct script *sc)
{
    sc_cut(sc, 0, 2, true);
    uint32_t a = sc_incr(sc, 0);
    sc_run(sc, 150000);
    EXPECT(sc, MARKS(sc, OWNER_ASKED) >= 1);
    EXPECT(sc, MARKS(sc, REPLAY_TIMEOUT) == 0 && MARKS(sc, REPLAY_DEAD_OWNER) == 0);
    EXPECT(sc, !sc->w->ops[a].replied);
}

void h6_dead_owner_is_replayed(struct script *sc)
{
    const uint32_t left[] = {2, 3, 0};
    uint32_t a = sc_incr(sc, 0);
    sc_run(sc, 45);
    sim_crash(sc->s, 0); /* before its ACKs */
    sc_view(sc, 2, left, NULL, 6);
    sc_leases(sc);
    sc_run(sc, 1000);
    EXPECT(sc, MARKS(sc, REPLAY_DEAD_OWNER) >= 1 && MARKS(sc, REPLAY_COMMITTED) >= 1);
    EXPECT(sc, sc->w->nodes[1].entries[0].ts == ts_make(1, 1)); /* the same update */
    EXPECT(sc, sc->w->ops[a].h.status == HIST_UNKNOWN);
    uint32_t b = sc_get(sc, 2);
    sc_run(sc, 100);
    EXPECT(sc, sc_done(sc, b, HERMES_DONE) && sc_ret(sc, b) == 1);
}

/* PROTOCOLS section 2.11: an ACK of the old epoch must not complete an RMW in the new one. */
void h7_acks_start_empty(struct script *sc)
{
    const uint32_t left[] = {1, 2, 0};
    sc_cut(sc, 2, 0, true);
    uint32_t a = sc_incr(sc, 0);
    sc_run(sc, 100); /* node 1 has ACKed, node 2 not */
    sc_cut(sc, 1, 0, true);
    sc_view(sc, 2, left, NULL, 3);
    sc_run(sc, 5000);
    EXPECT(sc, !sc->w->ops[a].replied && MARKS(sc, ACKS_RESET) == 1 &&
                   MARKS(sc, RESENT_NEW_EPOCH) == 1);
    sc_cut(sc, 1, 0, false);
    sc_run(sc, 100000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE));
}

void h7_other_epochs_are_not_acted_on(struct script *sc)
{
    sc_view(sc, 2, one_two_three, NULL, 1); /* node 0 alone knows epoch 2 */
    sc_leases(sc);
    uint32_t a = sc_set(sc, 0, 10);
    uint32_t b = sc_set(sc, 1, 20);
    sc_run(sc, 200);
    EXPECT(sc, MARKS(sc, NEW_EPOCH_HELD) >= 2 && MARKS(sc, OLD_EPOCH_DROPPED) >= 1);
    EXPECT(sc, !sc->w->ops[a].replied && !sc->w->ops[b].replied);
    sc_view(sc, 3, one_two_three, NULL, 7);
    sc_leases(sc);
    sc_run(sc, 200000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_done(sc, b, HERMES_DONE));
}
