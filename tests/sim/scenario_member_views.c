/* V1, V4, V5, L4, L5, L8, and what operators and peers may ask for. */
#include "tests/sim/scenario_member.h"

static void isolate(struct mscript *sc, unsigned holder, bool on)
{
    for (unsigned i = 0; i < 3; i++) {
        msc_cut(sc, holder, ACCEPTOR(i), on);
    }
}

static void restart_and_join(struct mscript *sc, unsigned holder)
{
    sim_restart(sc->s, holder);
    ms_join(sc->s, sc->m, holder);
}

void v1_older_maps_are_ignored(struct mscript *sc)
{
    msc_all_in(sc);
    static struct member_map old;
    EXPECT(sc, ms_chosen_map(sc->m, 2, &old));
    uint64_t version = sc->m->hold[0].map_version;
    uint64_t ignored = MARKS(sc, MAP_OLD);
    msc_message(sc, ACCEPTOR(0), 0, (struct member_msg){.kind = MEMBER_MSG_MAP, .map = &old});
    msc_run(sc, 1);
    EXPECT(sc, sc->m->hold[0].map_version == version && MARKS(sc, MAP_OLD) == ignored + 1);
    EXPECT(sc, holder_map(sc->m->hold[0].core)->version == version);
}

void v4_who_was_out_begins_anew(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t id = sc->m->hold[0].id;
    isolate(sc, 0, true);
    msc_run(sc, 600);
    EXPECT(sc, !msc_in_map(sc, id) && sc->m->hold[0].id == id); /* it does not know yet */
    EXPECT(sc, !msc_leased(sc, 0));
    isolate(sc, 0, false);
    msc_run(sc, 60);
    EXPECT(sc, MARKS(sc, EXPELLED) == 1 && sc->m->hold[0].id == 0);
    EXPECT(sc, holder_id(sc->m->hold[0].core) == 0);
    ms_join(sc->s, sc->m, 0);
    msc_run(sc, 100);
    EXPECT(sc, sc->m->hold[0].id > id && msc_in_map(sc, sc->m->hold[0].id));
    EXPECT(sc, !msc_is_member(sc, 0)); /* what it had is worth nothing */
}

void v4_ids_are_never_given_twice(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t newest = sc->m->hold[3].id;
    sim_crash(sc->s, 3);
    msc_run(sc, 1);
    restart_and_join(sc, 3);
    msc_run(sc, 100);
    EXPECT(sc, sc->m->hold[3].id == 0); /* its predecessor may still have a lease */
    msc_run(sc, 600);
    EXPECT(sc, sc->m->hold[3].id > newest && MARKS(sc, LEFT_OUT_SAME_ADDRESS) > 0);
    EXPECT(sc, !msc_in_map(sc, newest));
}

/* The only member of a shard is paused; a message of the process that had its address before is
 * late. Taken for a request it would prove that the member is gone. */
void v4_late_join_counts_nothing(struct mscript *sc)
{
    ms_join(sc->s, sc->m, 0);
    msc_run(sc, 100);
    uint32_t id = sc->m->hold[0].id;
    EXPECT(sc, msc_is_member(sc, 0));
    struct member_msg late = {.kind = MEMBER_MSG_JOIN,
                              .nonce = 999,
                              .token = 5,
                              .group = "a",
                              .workers = 1,
                              .peer_port = 2000};
    ms_address(0, &late.at);
    sim_pause(sc->s, 0);
    for (unsigned i = 0; i < 3; i++) {
        msc_message(sc, 0, ACCEPTOR(i), late);
    }
    msc_run(sc, 1000);
    EXPECT(sc, MARKS(sc, JOIN_STALE) >= 3 && msc_in_map(sc, id));
    sim_resume(sc->s, 0);
    msc_run(sc, 100);
    EXPECT(sc, msc_leased(sc, 0) && sc->m->hold[0].id == id);
}

void v5_learners_are_promoted_when_they_have_it_all(struct mscript *sc)
{
    ms_join(sc->s, sc->m, 0);
    msc_run(sc, 100);
    ms_join(sc->s, sc->m, 1);
    msc_run(sc, 300);
    EXPECT(sc, msc_in_map(sc, sc->m->hold[1].id) && !msc_is_member(sc, 1));
    ms_join(sc->s, sc->m, 2);
    msc_caught_up(sc, 1);
    msc_run(sc, 100);
    EXPECT(sc, msc_is_member(sc, 1) && !msc_is_member(sc, 2) && MARKS(sc, PROMOTED) == 1);
    EXPECT(sc, msc_leased(sc, 1)); /* what it was granted as a learner is a lease at once */
}

void l4_the_end_of_a_lease_is_said(struct mscript *sc)
{
    msc_all_in(sc);
    isolate(sc, 0, true);
    msc_run(sc, 420);
    EXPECT(sc, MARKS(sc, LEASE_ENDED) == 1 && sc->m->hold[0].lease.until_ns == 0);
}

void l4_views_do_not_interrupt_leases(struct mscript *sc)
{
    ms_join(sc->s, sc->m, 0);
    ms_join(sc->s, sc->m, 3);
    msc_run(sc, 200);
    uint64_t epoch = sc->m->hold[0].lease.epoch;
    ms_join(sc->s, sc->m, 1);
    bool always = true;
    for (unsigned k = 0; k < 200; k++) {
        sim_advance(sc->s, 50000);
        always = always && msc_leased(sc, 0) && msc_leased(sc, 3) &&
                 sc->m->hold[0].lease.epoch == sc->m->hold[0].epoch;
    }
    EXPECT(sc, always && sc->m->hold[0].lease.epoch == epoch + 1);
    EXPECT(sc, MARKS(sc, LEASE_KEPT_OVER_VIEW) > 0);
    EXPECT(sc, sc->m->hold[3].lease.epoch == 1); /* nothing changed in its group */
}

void l5_minority_side_stops_majority_goes_on(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t id = sc->m->hold[0].id;
    for (unsigned k = 0; k < 7; k++) { /* holder 0 and acceptor 0 on one side */
        if (k != 0 && k != ACCEPTOR(0)) {
            msc_cut(sc, 0, k, true);
            msc_cut(sc, ACCEPTOR(0), k, true);
        }
    }
    msc_run(sc, 398);
    EXPECT(sc, !msc_leased(sc, 0) && msc_leased(sc, 1) && msc_leased(sc, 2) && msc_leased(sc, 3));
    msc_run(sc, 100);
    EXPECT(sc, !msc_in_map(sc, id) && msc_leased(sc, 1) && msc_leased(sc, 2));
    msc_run(sc, 1000);
    EXPECT(sc, !msc_leased(sc, 0) && sc->m->hold[0].id == id);
    for (unsigned k = 0; k < 7; k++) {
        msc_cut(sc, 0, k, false);
        msc_cut(sc, ACCEPTOR(0), k, false);
    }
    msc_run(sc, 200);
    EXPECT(sc, MARKS(sc, EXPELLED) == 1);
    EXPECT(sc, acceptor_map(sc->m->acc[0].core)->version == sc->m->chosen);
}

void l5_without_acceptors_leases_end(struct mscript *sc)
{
    msc_all_in(sc);
    uint64_t version = sc->m->chosen;
    sim_crash(sc->s, ACCEPTOR(0));
    sim_crash(sc->s, ACCEPTOR(1));
    msc_run(sc, 398);
    for (unsigned i = 0; i < 4; i++) {
        EXPECT(sc, !msc_leased(sc, i));
    }
    sim_pause(sc->s, 2);
    msc_run(sc, 2000);
    EXPECT(sc, sc->m->chosen == version);
    sim_restart(sc->s, ACCEPTOR(0));
    msc_run(sc, 100);
    EXPECT(sc, msc_leased(sc, 0) && msc_leased(sc, 1) && msc_leased(sc, 3));
    msc_run(sc, 900);
    EXPECT(sc, !msc_in_map(sc, sc->m->hold[2].id));
}

void l5_silent_members_stay_while_none_is_heard(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t ids[3] = {sc->m->hold[0].id, sc->m->hold[1].id, sc->m->hold[2].id};
    for (unsigned i = 0; i < 3; i++) {
        sim_pause(sc->s, i);
    }
    msc_run(sc, 3000);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT(sc, msc_in_map(sc, ids[i]));
    }
    sim_resume(sc->s, 1);
    msc_run(sc, 300);
    EXPECT(sc, !msc_in_map(sc, ids[0]) && msc_in_map(sc, ids[1]) && !msc_in_map(sc, ids[2]));
    EXPECT(sc, msc_leased(sc, 1));
    sim_pause(sc->s, 1); /* the last one */
    msc_run(sc, 3000);
    EXPECT(sc, msc_in_map(sc, ids[1]));
}

/* One member is dead, the others stand still; a renewal of the dead one comes late. Taken for a
 * sign of life it would cost the living ones, and the data. */
void l5_a_late_renewal_says_nothing(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t dead = sc->m->hold[0].id;
    uint32_t one = sc->m->hold[1].id;
    uint32_t two = sc->m->hold[2].id;
    sim_crash(sc->s, 0);
    sim_pause(sc->s, 1);
    sim_pause(sc->s, 2);
    msc_run(sc, 390);
    struct member_msg late = {.kind = MEMBER_MSG_RENEW,
                              .id = dead,
                              .nonce = 3,
                              .token = sim_clock(sc->s, ACCEPTOR(0)) - 390 * SIM_MS,
                              .version = msc_map(sc)->version};
    for (unsigned i = 0; i < 3; i++) {
        msc_message(sc, 0, ACCEPTOR(i), late);
    }
    msc_run(sc, 200);
    EXPECT(sc, msc_in_map(sc, one) && msc_in_map(sc, two));
    sim_resume(sc->s, 1);
    msc_run(sc, 600);
    EXPECT(sc, msc_leased(sc, 1) && !msc_in_map(sc, dead) && !msc_in_map(sc, two));
}

void l5_an_empty_shard_is_founded_again(struct mscript *sc)
{
    ms_join(sc->s, sc->m, 0);
    msc_run(sc, 100);
    ms_join(sc->s, sc->m, 1);
    msc_run(sc, 100);
    uint32_t id = sc->m->hold[0].id;
    sim_crash(sc->s, 0); /* with all the data there was: 1 is a learner still */
    ms_join(sc->s, sc->m, 2);
    msc_run(sc, 1500);
    EXPECT(sc, msc_in_map(sc, id) && !msc_is_member(sc, 1) && !msc_is_member(sc, 2));
    restart_and_join(sc, 0);
    msc_run(sc, 100);
    EXPECT(sc, msc_is_member(sc, 0) && sc->m->hold[0].has_data && MARKS(sc, REFOUNDED) > 0);
    EXPECT(sc, !msc_in_map(sc, id) && MARKS(sc, EXPELLED) == 2); /* the learners begin anew */
    EXPECT(sc, msc_leased(sc, 0));
}

void l8_a_stall_ends_the_lease(struct mscript *sc)
{
    msc_all_in(sc);
    ms_simple(sc->s, sc->m, 0, HOLDER_IN_TURN, sim_clock(sc->s, 0) - 90 * SIM_MS);
    EXPECT(sc, msc_leased(sc, 0));
    ms_simple(sc->s, sc->m, 0, HOLDER_IN_TURN, sim_clock(sc->s, 0) - 110 * SIM_MS);
    EXPECT(sc, !msc_leased(sc, 0) && MARKS(sc, STALLED) == 1);
    msc_run(sc, 1);
    EXPECT(sc, msc_leased(sc, 0)); /* renewed at once */
    sim_pause(sc->s, 0);
    msc_run(sc, 200);
    sim_resume(sc->s, 0);
    sim_advance(sc->s, 10);
    EXPECT(sc, !msc_leased(sc, 0) && MARKS(sc, STALLED) == 2);
    msc_run(sc, 1);
    EXPECT(sc, msc_leased(sc, 0));
}

void operators_leave_and_join(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t id = sc->m->hold[0].id;
    EXPECT(sc, msc_change(sc, MEMBER_CHANGE_LEAVE, 77, 0) == MEMBER_NO_NODE);
    EXPECT(sc, msc_change(sc, MEMBER_CHANGE_LEAVE, id, 0) == MEMBER_DONE);
    EXPECT(sc, !msc_in_map(sc, id) && MARKS(sc, LEFT_OUT_ORDERED) > 0);
    EXPECT(sc, MARKS(sc, EXPELLED) == 1 && sc->m->hold[0].spare); /* it knows that it was told to */
    EXPECT(sc, msc_order_join(sc, 0, "a") == MEMBER_NO_NODE);     /* nobody asks yet */
    ms_join(sc->s, sc->m, 0);
    msc_run(sc, 300);
    EXPECT(sc, sc->m->hold[0].id == 0);
    EXPECT(sc, msc_order_join(sc, 0, "c") == MEMBER_NO_GROUP);
    EXPECT(sc, msc_order_join(sc, 0, "a") == MEMBER_DONE);
    EXPECT(sc, msc_in_map(sc, sc->m->hold[0].id) && !msc_is_member(sc, 0));
    EXPECT(sc, msc_order_join(sc, 0, MAP_PROXIES_NAME) == MEMBER_OCCUPIED);
}

void operators_replace(struct mscript *sc)
{
    ms_join(sc->s, sc->m, 3);
    ms_join(sc->s, sc->m, 0);
    msc_run(sc, 200);
    ms_join(sc->s, sc->m, 1);
    msc_run(sc, 200);
    uint32_t from = sc->m->hold[0].id;
    uint32_t to = sc->m->hold[1].id;
    EXPECT(sc, msc_change(sc, MEMBER_CHANGE_LEAVE, from, 0) == MEMBER_LAST);
    EXPECT(sc, msc_change(sc, MEMBER_CHANGE_REPLACE, from, to) == MEMBER_LAST);
    ms_join(sc->s, sc->m, 2);
    msc_caught_up(sc, 1);
    msc_run(sc, 200);
    EXPECT(sc,
           msc_change(sc, MEMBER_CHANGE_REPLACE, from, sc->m->hold[2].id) == MEMBER_NOT_CAUGHT_UP);
    EXPECT(sc, msc_change(sc, MEMBER_CHANGE_REPLACE, from, sc->m->hold[3].id) == MEMBER_NO_NODE);
    EXPECT(sc, msc_change(sc, MEMBER_CHANGE_REPLACE, from, to) == MEMBER_DONE);
    EXPECT(sc, MARKS(sc, REPLACED) > 0 && !msc_in_map(sc, from) && msc_leased(sc, 1));
}

void operators_force(struct mscript *sc)
{
    ms_join(sc->s, sc->m, 3);
    ms_join(sc->s, sc->m, 0);
    msc_run(sc, 200);
    ms_join(sc->s, sc->m, 1);
    msc_run(sc, 200);
    uint32_t id = sc->m->hold[0].id;
    sim_pause(sc->s, 0);
    msc_run(sc, 1000);
    EXPECT(sc, msc_in_map(sc, id));
    EXPECT(sc, msc_change(sc, MEMBER_CHANGE_FORCE, id, 0) == MEMBER_DONE);
    EXPECT(sc, MARKS(sc, FORCED) > 0 && MARKS(sc, EXPELLED) == 1 && sc->m->hold[1].id == 0);
    ms_join(sc->s, sc->m, 1);
    msc_run(sc, 200);
    EXPECT(sc, msc_is_member(sc, 1) && sc->m->hold[1].has_data); /* a founder */
    sim_resume(sc->s, 0);
    msc_run(sc, 200);
    EXPECT(sc, sc->m->hold[0].id == 0 && sc->m->hold[0].spare);
}

void peers_blame(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t id = sc->m->hold[2].id;
    ms_simple(sc->s, sc->m, 0, HOLDER_IN_BLAME, id);
    msc_run(sc, 1000);
    EXPECT(sc, msc_in_map(sc, id)); /* one of two others is not enough */
    ms_simple(sc->s, sc->m, 1, HOLDER_IN_BLAME, id);
    msc_run(sc, 300);
    EXPECT(sc, msc_in_map(sc, id)); /* it has a lease */
    msc_run(sc, 300);
    EXPECT(sc, !msc_in_map(sc, id) && MARKS(sc, LEFT_OUT_BLAMED) > 0);
    EXPECT(sc, MARKS(sc, GRANT_REFUSED_BARRED) > 0 && msc_leased(sc, 0));
}

void l5_of_a_pair_that_blame_each_other_the_younger_goes(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t one = sc->m->hold[1].id;
    uint32_t two = sc->m->hold[2].id;
    uint32_t younger = one > two ? one : two;
    ms_simple(sc->s, sc->m, 1, HOLDER_IN_BLAME, two);
    msc_run(sc, 1000);
    EXPECT(sc, msc_in_map(sc, one) && msc_in_map(sc, two));
    ms_simple(sc->s, sc->m, 2, HOLDER_IN_BLAME, one);
    msc_run(sc, 600);
    EXPECT(sc, !msc_in_map(sc, younger) && msc_in_map(sc, one + two - younger));
    EXPECT(sc, MARKS(sc, LEFT_OUT_BLAMED) == 1 && msc_leased(sc, 0));
}
