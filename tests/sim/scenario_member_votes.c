/* R1-R5: leases and votes. */
#include "tests/sim/scenario_member.h"

static void grant(struct mscript *sc, unsigned acceptor, unsigned holder, uint64_t nonce)
{
    msc_message(sc, ACCEPTOR(acceptor), holder,
                (struct member_msg){
                    .kind = MEMBER_MSG_GRANT, .id = sc->m->hold[holder].id, .nonce = nonce});
}

/* Nothing of what acceptors answer reaches this holder by itself. */
static void deafen(struct mscript *sc, unsigned holder, bool on)
{
    for (unsigned i = 0; i < 3; i++) {
        sc->s->cut[ACCEPTOR(i)][holder] = on;
    }
}

static void acceptors_apart(struct mscript *sc, bool apart)
{
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < i; k++) {
            msc_cut(sc, ACCEPTOR(i), ACCEPTOR(k), apart);
        }
    }
}

static void keep_acceptors_apart(struct mscript *sc)
{
    acceptors_apart(sc, true);
}

void r1_grants_of_one_nonce_count(struct mscript *sc)
{
    msc_all_in(sc);
    deafen(sc, 0, true);
    msc_run(sc, 460);
    EXPECT(sc, !msc_leased(sc, 0));

    uint64_t nonce = sc->m->hold[0].nonce;
    grant(sc, 0, 0, nonce - 8); /* sent 400 ms ago: says nothing any more */
    grant(sc, 1, 0, nonce - 8);
    msc_run(sc, 1);
    EXPECT(sc, !msc_leased(sc, 0));
    grant(sc, 0, 0, nonce); /* one of the newest and one of an older: no majority for either */
    grant(sc, 1, 0, nonce - 2);
    msc_run(sc, 1);
    EXPECT(sc, !msc_leased(sc, 0));
    grant(sc, 2, 0, nonce);
    msc_run(sc, 1);
    EXPECT(sc, msc_leased(sc, 0));
}

void r2_no_grant_after_the_vote(struct mscript *sc)
{
    msc_all_in(sc);
    keep_acceptors_apart(sc);
    sim_pause(sc->s, 0);
    msc_run(sc, 420);
    msc_accept(sc, 1, 0, 99, 0); /* without holder 0, who may or may not be out now */
    msc_run(sc, 1);
    EXPECT(sc, MARKS(sc, ACCEPTED) > 0 && sc->m->sent[0][MEMBER_MSG_ACCEPTED] > 0);

    msc_cut(sc, 0, ACCEPTOR(1), true);
    sim_resume(sc->s, 0);
    msc_run(sc, 200);
    EXPECT(sc, MARKS(sc, GRANT_REFUSED_VOTED) > 0);
    EXPECT(sc, !msc_leased(sc, 0)); /* only acceptor 2 grants */
    EXPECT(sc, msc_leased(sc, 1));
}

void r2_who_is_out_is_granted_nothing(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t id = sc->m->hold[0].id;
    sim_pause(sc->s, 0);
    msc_run(sc, 600);
    EXPECT(sc, !msc_in_map(sc, id));
    uint64_t granted = sc->m->ids[id].granted;
    msc_message(
        sc, 0, ACCEPTOR(0),
        (struct member_msg){
            .kind = MEMBER_MSG_RENEW, .id = id, .nonce = 7, .version = msc_map(sc)->version});
    msc_run(sc, 1);
    EXPECT(sc, sc->m->ids[id].granted == granted && MARKS(sc, GRANT_REFUSED_OUT) > 0);
}

void r3_counts_from_the_sending(struct mscript *sc)
{
    msc_all_in(sc);
    for (unsigned i = 0; i < 3; i++) {
        sc->s->nodes[ACCEPTOR(i)].slow_ns = 100 * SIM_MS;
    }
    msc_run(sc, 500);
    for (unsigned k = 0; k < 100; k++) { /* the answer is 100 ms old, whenever one looks */
        msc_run(sc, 1);
        uint64_t left = sc->m->hold[0].lease.until_ns - sim_clock(sc->s, 0);
        EXPECT(sc, msc_leased(sc, 0) && left <= 296 * SIM_MS);
    }
}

void r3_needs_a_majority(struct mscript *sc)
{
    msc_all_in(sc);
    msc_cut(sc, 0, ACCEPTOR(1), true);
    msc_cut(sc, 0, ACCEPTOR(2), true);
    msc_run(sc, 398);
    EXPECT(sc, !msc_leased(sc, 0) && msc_leased(sc, 1));
    EXPECT(sc, MARKS(sc, GRANT_MINORITY) > 0);
    msc_run(sc, 1000);
    EXPECT(sc, !msc_leased(sc, 0));
}

void r3_leaves_the_margin(struct mscript *sc)
{
    msc_all_in(sc);
    for (unsigned k = 0; k < 60; k++) {
        msc_run(sc, 1);
        EXPECT(sc, sc->m->hold[0].lease.until_ns - sim_clock(sc->s, 0) <= 396 * SIM_MS);
    }
}

void r4_waits_for_the_promises(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t id = sc->m->hold[0].id;
    uint64_t voted = sc->m->sent[0][MEMBER_MSG_ACCEPTED];
    msc_accept(sc, 1, 0, 99, 0); /* a proposer that does not care */
    msc_run(sc, 1);
    EXPECT(sc, MARKS(sc, REFUSED_LEASE) == 1 && sc->m->sent[0][MEMBER_MSG_ACCEPTED] == voted);

    msc_run(sc, 50 - sc->s->now / SIM_MS % 50);
    sim_pause(sc->s, 0); /* renewed at most 50 ms ago */
    msc_run(sc, 353);
    EXPECT(sc, msc_in_map(sc, id));
    msc_run(sc, 100);
    EXPECT(sc, !msc_in_map(sc, id) && MARKS(sc, LEFT_OUT_SILENT) > 0);
    EXPECT(sc, msc_leased(sc, 1) && msc_leased(sc, 2));
}

void r4_votes_are_on_disk(struct mscript *sc)
{
    msc_all_in(sc);
    keep_acceptors_apart(sc);
    msc_prepare(sc, 1, 0, 99);
    msc_run(sc, 1);
    sim_crash(sc->s, ACCEPTOR(0));
    msc_run(sc, 1);
    sim_restart(sc->s, ACCEPTOR(0));
    uint64_t refused = MARKS(sc, REFUSED_BALLOT);
    msc_prepare(sc, 2, 0, 98);
    msc_run(sc, 1);
    EXPECT(sc, MARKS(sc, REFUSED_BALLOT) == refused + 1);
}

void r4_lower_ballots_are_refused(struct mscript *sc)
{
    msc_all_in(sc);
    keep_acceptors_apart(sc);
    uint64_t voted = sc->m->sent[0][MEMBER_MSG_ACCEPTED];
    msc_prepare(sc, 1, 0, 99);
    msc_accept(sc, 2, 0, 98, -1);
    msc_run(sc, 1);
    EXPECT(sc, MARKS(sc, REFUSED_BALLOT) == 1 && sc->m->sent[0][MEMBER_MSG_ACCEPTED] == voted);
    msc_accept(sc, 1, 0, 99, -1);
    msc_run(sc, 1);
    EXPECT(sc, sc->m->sent[0][MEMBER_MSG_ACCEPTED] == voted + 1);
}

/* Two of three have voted, so the map is chosen, and nobody knows. Whoever proposes next has to
 * find it; that another one is not chosen is judged by the world. */
void r4_what_may_be_chosen_is_proposed_again(struct mscript *sc)
{
    msc_all_in(sc);
    uint64_t version = msc_map(sc)->version;
    keep_acceptors_apart(sc);
    sim_pause(sc->s, 0);
    msc_run(sc, 420);
    msc_accept(sc, 2, 0, 101, 0);
    msc_accept(sc, 2, 1, 101, 0);
    msc_run(sc, 1);
    EXPECT(sc, sc->m->chosen == version + 1);

    ms_holder_stop(sc->s, sc->m, 1); /* meanwhile something else is wanted: 1 comes back */
    ms_holder_start(sc->s, sc->m, 1);
    ms_join(sc->s, sc->m, 1);
    acceptors_apart(sc, false);
    msc_run(sc, 1500);
    EXPECT(sc, MARKS(sc, VALUE_RECOVERED) > 0 && sc->m->chosen > version + 1);
    EXPECT(sc, acceptor_map(sc->m->acc[2].core)->version == sc->m->chosen);
}

/* Were it to propose now and to restart, it would not know that it has used this ballot. */
void r4_ballots_are_not_used_twice(struct mscript *sc)
{
    msc_cut(sc, 0, ACCEPTOR(1), true); /* the request reaches acceptor 0 only */
    msc_cut(sc, 0, ACCEPTOR(2), true);
    sc->m->acc[0].disk_full = true;
    ms_join(sc->s, sc->m, 0);
    msc_run(sc, 300);
    EXPECT(sc, MARKS(sc, PROMISED) >= 3 && sc->m->sent[0][MEMBER_MSG_ACCEPT] == 0);
    sc->m->acc[0].disk_full = false;
    msc_run(sc, 2000);
    EXPECT(sc, msc_is_member(sc, 0));
}

void r4_a_minority_decides_nothing(struct mscript *sc)
{
    msc_all_in(sc);
    uint64_t version = sc->m->chosen;
    msc_cut(sc, ACCEPTOR(0), ACCEPTOR(1), true);
    msc_cut(sc, ACCEPTOR(0), ACCEPTOR(2), true);
    msc_cut(sc, 0, ACCEPTOR(0), true); /* only acceptor 0 takes it for gone */
    msc_run(sc, 1500);
    EXPECT(sc, sc->m->chosen == version && msc_leased(sc, 0));
    EXPECT(sc, acceptor_map(sc->m->acc[0].core)->version == version);
}

void r4_release_needs_no_waiting(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t id = sc->m->hold[1].id;
    ms_simple(sc->s, sc->m, 1, HOLDER_IN_RELEASE, 0);
    EXPECT(sc, !msc_leased(sc, 1));
    msc_run(sc, 5);
    EXPECT(sc, !msc_in_map(sc, id) && MARKS(sc, LEFT_OUT_RELEASED) > 0 && MARKS(sc, LEFT) == 1);
    EXPECT(sc, msc_leased(sc, 0) && msc_leased(sc, 2));
}

void r5_restarted_votes_nobody_out(struct mscript *sc)
{
    msc_all_in(sc);
    uint32_t id = sc->m->hold[0].id;
    for (unsigned i = 0; i < 3; i++) {
        sim_crash(sc->s, ACCEPTOR(i));
        sim_restart(sc->s, ACCEPTOR(i));
    }
    sim_pause(sc->s, 0);
    uint64_t voted = sc->m->sent[0][MEMBER_MSG_ACCEPTED];
    msc_accept(sc, 1, 0, 99, 0);
    msc_run(sc, 1);
    EXPECT(sc, MARKS(sc, REFUSED_RESTARTED) > 0);
    EXPECT(sc, sc->m->sent[0][MEMBER_MSG_ACCEPTED] == voted);
    msc_run(sc, 400);
    EXPECT(sc, msc_in_map(sc, id));
    msc_run(sc, 200);
    EXPECT(sc, !msc_in_map(sc, id));
}

void r5_disk_full_grants_and_does_not_vote(struct mscript *sc)
{
    msc_all_in(sc);
    msc_cut(sc, ACCEPTOR(2), ACCEPTOR(0), true);
    msc_cut(sc, ACCEPTOR(2), ACCEPTOR(1), true);
    msc_cut(sc, ACCEPTOR(2), 0, true);
    sc->m->acc[0].disk_full = true;
    uint64_t promised = sc->m->sent[0][MEMBER_MSG_PROMISE];
    msc_prepare(sc, 1, 0, 99);
    msc_prepare(sc, 1, 0, 99);
    msc_run(sc, 1);
    EXPECT(sc, sc->m->sent[0][MEMBER_MSG_PROMISE] == promised && MARKS(sc, PERSIST_FAILED) > 0);
    EXPECT(sc, !acceptor_votes(sc->m->acc[0].core));
    msc_run(sc, 1000);
    EXPECT(sc, msc_leased(sc, 0)); /* acceptors 0 and 1 */
    uint32_t id = sc->m->hold[1].id;
    sim_pause(sc->s, 1);
    msc_run(sc, 1000);
    EXPECT(sc, msc_in_map(sc, id)); /* acceptor 1 alone decides nothing */
    sc->m->acc[0].disk_full = false;
    msc_run(sc, 3000);
    EXPECT(sc, acceptor_votes(sc->m->acc[0].core) && MARKS(sc, PERSIST_RECOVERED) > 0);
    EXPECT(sc, !msc_in_map(sc, id));
}

/* Acceptors 0 and 1 have chosen a map without holder 0, then 0 loses its disk. With acceptor 2,
 * which knows nothing, it must neither choose another nor give holder 0 a lease. */
void r5_a_lost_disk_is_not_a_new_acceptor(struct mscript *sc)
{
    msc_all_in(sc);
    uint64_t version = msc_map(sc)->version;
    keep_acceptors_apart(sc);
    sim_pause(sc->s, 0);
    msc_run(sc, 420);
    msc_accept(sc, 2, 0, 101, 0);
    msc_accept(sc, 2, 1, 101, 0);
    msc_run(sc, 1);
    EXPECT(sc, sc->m->chosen == version + 1);

    sim_crash(sc->s, ACCEPTOR(0));
    ms_disk_lost(sc->s, sc->m, 0);
    sim_restart(sc->s, ACCEPTOR(0));
    msc_cut(sc, ACCEPTOR(0), ACCEPTOR(2), false);
    msc_cut(sc, 0, ACCEPTOR(1), true);
    sim_resume(sc->s, 0);
    ms_holder_stop(sc->s, sc->m, 1);
    ms_holder_start(sc->s, sc->m, 1);
    ms_join(sc->s, sc->m, 1); /* something to decide */
    msc_run(sc, 2000);
    EXPECT(sc, sc->m->chosen == version + 1 && !msc_leased(sc, 0));
    EXPECT(sc, !acceptor_votes(sc->m->acc[0].core) && MARKS(sc, ABSTAINED) > 0);

    acceptors_apart(sc, false);
    msc_run(sc, 3000);
    EXPECT(sc, MARKS(sc, VOTES_AGAIN) == 1 && acceptor_votes(sc->m->acc[0].core));
    EXPECT(sc, sc->m->chosen > version + 1 && sc->m->hold[0].id == 0);
}
