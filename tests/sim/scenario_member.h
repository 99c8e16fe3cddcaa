#ifndef TESTS_SIM_SCENARIO_MEMBER_H
#define TESTS_SIM_SCENARIO_MEMBER_H

/* Scripted runs of the membership world, named after the rules of RELIABILITY 5.2-5.4 they show.
 * Three acceptors (simulated nodes 4, 5, 6), three nodes of shard "a" (0, 1, 2) and a proxy (3); no
 * faults but those in the script, 20 us per message. */
#include <stdio.h>

#include "tests/sim/world_member.h"

struct mscript {
    struct sim *s;
    struct ms *m;
    const char *name;
    int failures;
};

#define EXPECT(sc, cond)                                                                           \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            printf("scenario %s: line %d: %s\n", (sc)->name, __LINE__, #cond);                     \
            (sc)->failures++;                                                                      \
        }                                                                                          \
    } while (0)

#define MARKS(sc, name) ((sc)->s->marks[MEMBER_MARK_##name])
#define ACCEPTOR(i) (4u + (i))
#define PROMISE_NS (404 * SIM_MS) /* D(1+rho) */

void msc_run(struct mscript *sc, uint64_t ms);
/* Holders 0, 1, 2 founders or promoted members of the shard, 3 a proxy; all with leases. */
void msc_all_in(struct mscript *sc);
/* Lets a learner say that it has everything. */
void msc_caught_up(struct mscript *sc, unsigned holder);
void msc_cut(struct mscript *sc, unsigned a, unsigned b, bool on); /* both ways */
/* A message made by hand, as if `from` (simulated node) had sent it. */
void msc_message(struct mscript *sc, unsigned from, unsigned to, struct member_msg msg);
/* The newest chosen map, and one that could follow it: without this holder (-1: as it is). */
const struct member_map *msc_map(struct mscript *sc);
const struct member_map *msc_map_without(struct mscript *sc, int holder);
/* ACCEPT(ballot, that map) from acceptor `from` to acceptor `to`. */
void msc_accept(struct mscript *sc, unsigned from, unsigned to, uint64_t ballot, int without);
void msc_prepare(struct mscript *sc, unsigned from, unsigned to, uint64_t ballot);
bool msc_leased(struct mscript *sc, unsigned holder);
bool msc_in_map(struct mscript *sc, uint32_t id);
bool msc_is_member(struct mscript *sc, unsigned holder);
/* An operator's change through the proxy; its result after half a second. */
enum member_reason msc_change(struct mscript *sc, enum member_change_kind kind, uint32_t id,
                              uint32_t other);
enum member_reason msc_order_join(struct mscript *sc, unsigned holder, const char *group);

/* clang-format off */
#define MEMBER_SCENARIOS(X)                                                                        \
    X(r1_grants_of_one_nonce_count)                                                                \
    X(r2_no_grant_after_the_vote)                                                                  \
    X(r2_who_is_out_is_granted_nothing)                                                            \
    X(r3_counts_from_the_sending)                                                                  \
    X(r3_needs_a_majority)                                                                         \
    X(r3_leaves_the_margin)                                                                        \
    X(r4_waits_for_the_promises)                                                                   \
    X(r4_votes_are_on_disk)                                                                        \
    X(r4_lower_ballots_are_refused)                                                                \
    X(r4_what_may_be_chosen_is_proposed_again)                                                     \
    X(r4_ballots_are_not_used_twice)                                                               \
    X(r4_a_minority_decides_nothing)                                                               \
    X(r4_release_needs_no_waiting)                                                                 \
    X(r5_restarted_votes_nobody_out)                                                               \
    X(r5_disk_full_grants_and_does_not_vote)                                                       \
    X(r5_a_lost_disk_is_not_a_new_acceptor)                                                        \
    X(v1_older_maps_are_ignored)                                                                   \
    X(v4_who_was_out_begins_anew)                                                                  \
    X(v4_ids_are_never_given_twice)                                                                \
    X(v4_late_join_counts_nothing)                                                                 \
    X(v5_learners_are_promoted_when_they_have_it_all)                                              \
    X(l4_the_end_of_a_lease_is_said)                                                               \
    X(l4_views_do_not_interrupt_leases)                                                            \
    X(l5_minority_side_stops_majority_goes_on)                                                     \
    X(l5_without_acceptors_leases_end)                                                             \
    X(l5_silent_members_stay_while_none_is_heard)                                                  \
    X(l5_a_late_renewal_says_nothing)                                                              \
    X(l5_an_empty_shard_is_founded_again)                                                          \
    X(l8_a_stall_ends_the_lease)                                                                   \
    X(operators_leave_and_join)                                                                    \
    X(operators_replace)                                                                           \
    X(operators_force)                                                                             \
    X(peers_blame)                                                                                 \
    X(l5_of_a_pair_that_blame_each_other_the_younger_goes)
/* clang-format on */

#define X(name) void name(struct mscript *sc);
MEMBER_SCENARIOS(X)
#undef X

#endif
