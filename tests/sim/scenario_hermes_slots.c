/* Scenarios of tombstones, leases, learners, grants, expiry, outcomes, order and the hot flag:
 * rules H8-H14, G3, G4, G6, G7. */
#include "tests/sim/scenario_hermes.h"

void h8_purged_key_starts_above_the_floor(struct script *sc)
{
    sc_set(sc, 0, 10);
    sc_run(sc, 500);
    sc_del(sc, 1);
    sc_run(sc, 500);
    uint32_t p = sc_control(sc, 2, HERMES_PURGE, 3);
    sc_run(sc, 2000);
    EXPECT(sc, sc_done(sc, p, HERMES_DONE) && !sc->w->nodes[0].entries[0].present);
    uint32_t a = sc_incr(sc, 0);
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_version(sc, a) == 4 && sc_ret(sc, a) == 1);
}

void h8_floor_is_answered(struct script *sc)
{
    sc_set(sc, 0, 10);
    sc_run(sc, 500);
    sc_del(sc, 1);
    sc_run(sc, 500);
    uint32_t p = sc_control(sc, 2, HERMES_PURGE, 9);
    sc_run(sc, 41); /* LOCK and LOCKED have gone their ways */
    sc_cut(sc, 2, 0, true);
    sc_run(sc, 2000); /* node 1 has purged, node 0 has not heard of it */
    sc_view(sc, 2, one_two_three, NULL, 7);
    sc_leases(sc);
    sc_cut(sc, 2, 0, false);
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, p, HERMES_REFUSED) && MARKS(sc, GRANT_VOIDED) == 1);
    uint32_t a = sc_set(sc, 0, 40);
    sc_run(sc, 2000);
    EXPECT(sc, MARKS(sc, FLOOR_ANSWERED) >= 1 && sc_done(sc, a, HERMES_DONE) &&
                   sc_version(sc, a) == 11);
}

/* A purge cut short: node 0 keeps the tombstone, the others have the floor of the same version. */
void h8_nothing_has_many_names(struct script *sc)
{
    sc_set(sc, 0, 10);
    sc_run(sc, 500);
    sc_del(sc, 1);
    sc_run(sc, 500);
    sc_control(sc, 2, HERMES_PURGE, 3);
    sc_run(sc, 41);
    sc_cut(sc, 2, 0, true);
    sc_run(sc, 2000);
    EXPECT(sc, sc->w->nodes[0].entries[0].present && !sc->w->nodes[1].entries[0].present);
    sc_view(sc, 2, one_two_three, NULL, 7);
    sc_leases(sc);
    sc_cut(sc, 2, 0, false);
    uint32_t a = sc_incr(sc, 1); /* base (3, 0); node 0 has (3, 2) */
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_version(sc, a) == 4 && sc_ret(sc, a) == 1);
}

void h8_generation_survives_purge(struct script *sc)
{
    uint32_t p = sc_control(sc, 0, HERMES_PROMOTE, 5);
    sc_run(sc, 500);
    uint32_t d = sc_control(sc, 0, HERMES_DEMOTE, 5);
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, p, HERMES_DONE) && sc_done(sc, d, HERMES_DONE));
    p = sc_control(sc, 2, HERMES_PURGE, 9);
    sc_run(sc, 2000);
    EXPECT(sc, sc_done(sc, p, HERMES_DONE) && !sc->w->nodes[1].entries[0].present);
    p = sc_control(sc, 1, HERMES_PROMOTE, 5);
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, p, HERMES_REFUSED));
}

void h8_hot_tombstone_is_kept(struct script *sc)
{
    sc_control(sc, 0, HERMES_PROMOTE, 5); /* of an absent key: a hot tombstone */
    sc_run(sc, 500);
    uint32_t p = sc_control(sc, 2, HERMES_PURGE, 9);
    sc_run(sc, 2000);
    EXPECT(sc, sc_done(sc, p, HERMES_DONE) && sc->w->nodes[1].entries[0].present &&
                   sc->w->nodes[1].entries[0].hot);
}

/* A replica is stopped past its lease; a read waits in its socket; meanwhile a view without it
 * commits. */
void h9_clock_is_read_after_the_request(struct script *sc)
{
    const uint32_t left[] = {2, 3, 0};
    sc_set(sc, 0, 10);
    sc_run(sc, 500);
    sc_lease(sc, 0, 5 * SIM_MS);
    sc_run(sc, 100);
    sim_pause(sc->s, 0);
    uint32_t a = sc_get(sc, 0);
    sc_run(sc, 20000);
    sc_view(sc, 2, left, NULL, 6);
    sc_lease(sc, 1, 100 * SIM_MS);
    sc_lease(sc, 2, 100 * SIM_MS);
    uint32_t b = sc_set(sc, 1, 20);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, b, HERMES_DONE));
    sim_resume(sc->s, 0);
    sc_run(sc, 100);
    EXPECT(sc, sc_done(sc, a, HERMES_TRYAGAIN));
}

void h9_lease_of_another_epoch(struct script *sc)
{
    sc_view(sc, 2, one_two_three, NULL, 7);
    uint32_t a = sc_get(sc, 0);
    sc_run(sc, 100);
    EXPECT(sc, sc_done(sc, a, HERMES_TRYAGAIN));
    sc_lease(sc, 0, 100 * SIM_MS);
    a = sc_get(sc, 0);
    sc_run(sc, 100);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE));
}

void h9_lease_end(struct script *sc)
{
    sc_lease(sc, 0, SIM_MS);
    uint32_t a = sc_get(sc, 0);
    sc_run(sc, 1000);
    uint32_t b = sc_get(sc, 0);
    sc_run(sc, 100);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_done(sc, b, HERMES_TRYAGAIN));
}

/* A learner joins while something is pending at the donor and below a floor there are live keys. */
void h10_learner_takes_value_pending_and_floor(struct script *sc)
{
    const uint32_t members[] = {1, 2, 0};
    const uint32_t learners[] = {4, 0};
    const uint32_t all[] = {1, 2, 4, 0};
    uint32_t p = sc_control(sc, 2, HERMES_PURGE, 50);
    sc_run(sc, 2000);
    EXPECT(sc, sc_done(sc, p, HERMES_DONE));
    sc_incr(sc, 0); /* 51.1 */
    sc_run(sc, 500);
    sim_crash(sc->s, 2);
    sim_restart(sc->s, 2);
    sc_cut(sc, 1, 0, true);
    sc_cut(
        sc, 0, 2,
        true); /* what node 0 resends does not reach the learner; node 1 becomes its donor later */
    uint32_t a = sc_incr(sc, 0);
    sc_run(sc, 100);
    sc_view(sc, 2, members, learners, 7);
    sc_leases(sc);
    sc_run(sc, 400000);
    EXPECT(sc, !hermes_caught_up(sc->w->nodes[2].core) && !sc->w->ops[a].replied);
    uint32_t b = sc_get(sc, 2);
    sc_run(sc, 100);
    EXPECT(sc, sc_done(sc, b, HERMES_TRYAGAIN));
    sc_cut(sc, 0, 2, false);
    sc_run(sc, 200);
    sc_cut(sc, 1, 0, false);
    sc_run(sc, 400000);
    EXPECT(sc, hermes_caught_up(sc->w->nodes[2].core) && sc_done(sc, a, HERMES_DONE));
    sc_view(sc, 3, all, NULL, 7);
    sc_leases(sc);
    uint32_t c = sc_issue(
        sc, 2,
        (struct hw_op){.kind = HERMES_WRITE, .h = {.kind = HIST_SET, .arg = 9, .key = HW_SLOTS}});
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, c, HERMES_DONE) && sc_version(sc, c) == 52 &&
                   MARKS(sc, FLOOR_ANSWERED) == 0);
}

/* A live key below its slot's floor, and a learner that has heard of the floor first. */
void h10_floor_says_nothing_at_a_learner(struct script *sc)
{
    const uint32_t members[] = {1, 2, 0};
    const uint32_t learners[] = {4, 0};
    sc_set(sc, 0, 10); /* 2.1 */
    sc_run(sc, 500);
    uint32_t p = sc_control(sc, 2, HERMES_PURGE, 50);
    sc_run(sc, 2000);
    EXPECT(sc, sc_done(sc, p, HERMES_DONE));
    sim_crash(sc->s, 2);
    sim_restart(sc->s, 2);
    sc_view(sc, 2, members, learners, 7);
    sc_leases(sc);
    uint32_t a = sc_incr(sc, 0); /* 3.1, below the floor: the learner must not refuse it */
    sc_run(sc, 100000);
    EXPECT(sc,
           sc_done(sc, a, HERMES_DONE) && sc_version(sc, a) == 3 && MARKS(sc, FLOOR_ANSWERED) == 0);
    EXPECT(sc, hermes_caught_up(sc->w->nodes[2].core) && sc->w->nodes[2].entries[0].v.value == 11);
}

void h11_grant_excludes_updates(struct script *sc)
{
    sc_cut(sc, 1, 2, true); /* node 1 does not answer LOCK */
    uint32_t p = sc_control(sc, 2, HERMES_PURGE, 9);
    sc_run(sc, 1000);
    uint32_t a = sc_set(sc, 0, 10);
    sc_run(sc, 1000);
    EXPECT(sc, !sc->w->ops[a].replied && MARKS(sc, OP_WAITED_FOR_GRANT) == 1);
    sc_cut(sc, 1, 2, false);
    sc_run(sc, 100000);
    EXPECT(sc, sc_done(sc, p, HERMES_DONE) && sc_done(sc, a, HERMES_DONE));
}

void h11_smaller_id_wins(struct script *sc)
{
    uint32_t p = sc_control(sc, 2, HERMES_PURGE, 5);
    uint32_t q = sc_control(sc, 0, HERMES_PURGE, 6);
    sc_run(sc, 300000);
    EXPECT(sc, MARKS(sc, GRANT_YIELDED) == 1 && sc_done(sc, p, HERMES_DONE) &&
                   sc_done(sc, q, HERMES_DONE));
}

void h11_view_change_voids_grants(struct script *sc)
{
    sc_cut(sc, 1, 2, true);
    uint32_t p = sc_control(sc, 2, HERMES_PURGE, 9);
    sc_run(sc, 1000);
    sc_view(sc, 2, one_two_three, NULL, 7);
    sc_leases(sc);
    sc_run(sc, 100);
    EXPECT(sc, sc_done(sc, p, HERMES_REFUSED));
    uint32_t a = sc_set(sc, 0, 10);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE));
}

void h12_nil_only_after_deletion(struct script *sc)
{
    sc_issue(
        sc, 0,
        (struct hw_op){.kind = HERMES_WRITE, .expire_ms = 5, .h = {.kind = HIST_SET, .arg = 10}});
    sc_run(sc, 20000);
    sc_cut(sc, 0, 2, true);
    uint32_t a = sc_get(sc, 0);
    sc_run(sc, 1000);
    EXPECT(sc, !sc->w->ops[a].replied && MARKS(sc, EXPIRED_DELETED) == 1);
    sc_cut(sc, 0, 2, false);
    sc_run(sc, 100000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_ret(sc, a) == HIST_ABSENT &&
                   !sc->w->nodes[2].entries[0].v.live);
}

void h13_expelled_is_unknown(struct script *sc)
{
    const uint32_t left[] = {2, 3, 0};
    sc_cut(sc, 0, 1, true);
    sc_cut(sc, 0, 2, true);
    uint32_t a = sc_set(sc, 0, 10);
    uint32_t b = sc_get(sc, 0);
    sc_run(sc, 1000);
    sc_view(sc, 2, left, NULL, 7);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, a, HERMES_UNKNOWN) && sc_done(sc, b, HERMES_TRYAGAIN));
}

void h14_program_order(struct script *sc)
{
    uint32_t a = sc_set(sc, 0, 10);
    uint32_t b = sc_get(sc, 0);
    uint32_t c = sc_incr(sc, 0);
    uint32_t d = sc_get(sc, 0);
    sc_run(sc, 2000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_ret(sc, b) == 10 && sc_ret(sc, c) == 11 &&
                   sc_ret(sc, d) == 11);
}

void g3_g4_g7_generation_is_checked(struct script *sc)
{
    sc_control(sc, 0, HERMES_PROMOTE, 5);
    sc_run(sc, 500);
    uint32_t plain = sc_set(sc, 1, 10);
    uint32_t other = sc_issue(sc, 1,
                              (struct hw_op){.kind = HERMES_WRITE,
                                             .hotwrite = true,
                                             .generation = 4,
                                             .h = {.kind = HIST_SET, .arg = 11}});
    uint32_t right = sc_issue(sc, 2,
                              (struct hw_op){.kind = HERMES_WRITE,
                                             .hotwrite = true,
                                             .generation = 5,
                                             .h = {.kind = HIST_SET, .arg = 12}});
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, plain, HERMES_HOT) && sc_done(sc, other, HERMES_COLD) &&
                   sc_done(sc, right, HERMES_DONE));
    uint32_t demote = sc_control(sc, 1, HERMES_DEMOTE, 4);
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, demote, HERMES_REFUSED));
    demote = sc_control(sc, 1, HERMES_DEMOTE, 5);
    sc_run(sc, 500);
    plain = sc_set(sc, 0, 13);
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, demote, HERMES_DONE) && sc_done(sc, plain, HERMES_DONE));
}

void g6_generations_grow(struct script *sc)
{
    uint32_t a = sc_control(sc, 0, HERMES_PROMOTE, 5);
    sc_run(sc, 500);
    uint32_t b = sc_control(sc, 1, HERMES_PROMOTE, 5);
    uint32_t c = sc_control(sc, 2, HERMES_PROMOTE, 6);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_done(sc, b, HERMES_REFUSED) &&
                   sc_done(sc, c, HERMES_DONE));
    EXPECT(sc, sc->w->nodes[0].entries[0].generation == 6);
}
