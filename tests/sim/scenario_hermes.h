#ifndef TESTS_SIM_SCENARIO_HERMES_H
#define TESTS_SIM_SCENARIO_HERMES_H

/* Scripted runs of the Hermes world, named after the rules of DESIGN section 4 they show. Three
 * replicas (incarnations 1, 2, 3 at nodes 0, 1, 2), no faults but those in the script, 20 us per
 * message; so what has happened when is known, and the coverage marks tell which branch was taken.
 * The mutant build runs them against every mutant (docs/rules.md). */
#include <stdio.h>

#include "tests/sim/world_hermes.h"

#define US UINT64_C(1000)

struct script {
    struct sim *s;
    struct hw *w;
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

#define MARKS(sc, name) ((sc)->s->marks[HERMES_MARK_##name])

/* Gives a node, or all, a lease of its installed epoch. */
void sc_lease(struct script *sc, unsigned node, uint64_t ns);
void sc_leases(struct script *sc);
/* Members and learners by incarnation, 0 ends each list (learners may be NULL). Told to those nodes
 * whose bit is set. */
void sc_view(struct script *sc, uint64_t epoch, const uint32_t *members, const uint32_t *learners,
             unsigned nodes);
void sc_cut(struct script *sc, unsigned from, unsigned to, bool on);
uint32_t sc_issue(struct script *sc, unsigned node, struct hw_op o);
uint32_t sc_set(struct script *sc, unsigned node, int64_t value);
uint32_t sc_incr(struct script *sc, unsigned node);
uint32_t sc_del(struct script *sc, unsigned node);
uint32_t sc_get(struct script *sc, unsigned node);
uint32_t sc_control(struct script *sc, unsigned node, enum hermes_op_kind kind, uint64_t arg);
/* Has op been answered like this? */
bool sc_done(struct script *sc, uint32_t op, enum hermes_result result);
int64_t sc_ret(struct script *sc, uint32_t op);
uint64_t sc_version(struct script *sc, uint32_t op);
void sc_run(struct script *sc, uint64_t us);

extern const uint32_t one_two_three[];

/* clang-format off */
#define SCENARIOS(X)                                                                               \
    X(h1_write_plus_two_rmw_plus_one)                                                              \
    X(h2_smaller_write_is_acked_not_stored)                                                        \
    X(h2_smaller_rmw_is_rejected)                                                                  \
    X(h2_rmw_without_base_fetches_it)                                                              \
    X(h3_commit_needs_every_ack)                                                                   \
    X(h3_val_of_another_ts_does_nothing)                                                           \
    X(h4_base_proves_commit)                                                                       \
    X(h5_given_up_is_not_decided)                                                                  \
    X(h6_write_is_replayed_after_timeout)                                                          \
    X(h6_rmw_owner_is_asked_not_replayed)                                                          \
    X(h6_dead_owner_is_replayed)                                                                   \
    X(h7_acks_start_empty)                                                                         \
    X(h7_other_epochs_are_not_acted_on)                                                            \
    X(h8_purged_key_starts_above_the_floor)                                                        \
    X(h8_floor_is_answered)                                                                        \
    X(h8_nothing_has_many_names)                                                                   \
    X(h8_generation_survives_purge)                                                                \
    X(h8_hot_tombstone_is_kept)                                                                    \
    X(h9_clock_is_read_after_the_request)                                                          \
    X(h9_lease_of_another_epoch)                                                                   \
    X(h9_lease_end)                                                                                \
    X(h10_learner_takes_value_pending_and_floor)                                                   \
    X(h10_floor_says_nothing_at_a_learner) X(h11_grant_excludes_updates) X(h11_smaller_id_wins)    \
        X(h11_view_change_voids_grants) X(h12_nil_only_after_deletion) X(h13_expelled_is_unknown)  \
            X(h14_program_order) X(g3_g4_g7_generation_is_checked) X(g6_generations_grow)          \
    X(h11_multi_is_plus_three_everywhere_at_once)                                                  \
    X(h11_multi_needs_the_grant)                                                                   \
    X(h11_owner_dies_and_nobody_has_it)                                                            \
    X(h11_owner_dies_and_one_has_it)                                                               \
    X(h11_owner_dies_after_its_answer)                                                             \
    X(h11_nothing_overtakes_it_when_the_grant_is_void)                                             \
    X(h11_a_racing_update_is_decided_by_it)                                                        \
    X(h11_multi_starts_above_every_floor)                                                          \
    X(h11_read_of_several_keys_sees_all_or_none)                                                   \
    X(h11_grant_is_kept_and_given_up)                                                              \
    X(h11_two_owners_take_turns)                                                                   \
    X(h11_learner_stores_it_whole)                                                                 \
    X(h10_learner_takes_a_pending_multi)                                                           \
    X(h14_multi_keeps_its_place)                                                                   \
    X(h13_expelled_owner_of_a_multi_is_unknown)                                                    \
    X(g13_multi_refuses_hot_keys)
/* clang-format on */

#define X(name) void name(struct script *sc);
SCENARIOS(X)
#undef X

#endif
