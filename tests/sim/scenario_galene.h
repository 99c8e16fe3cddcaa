#ifndef TESTS_SIM_SCENARIO_GALENE_H
#define TESTS_SIM_SCENARIO_GALENE_H

/* Scripted runs of the Galene world, named after the rules of DESIGN section 5 they show. Three
 * proxies (incarnations 1, 2, 3; the first is coordinator), three replicas, leases that do not end,
 * no faults but those in the script, 20 us per message. Key 0 unless said otherwise. */
#include <stdio.h>

#include "tests/sim/world_galene.h"

struct gscript {
    struct sim *s;
    struct gw *w;
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

#define GMARKS(sc, name) ((sc)->s->marks[GALENE_MARK_##name])
#define HMARKS(sc, name) ((sc)->s->marks[GALENE_MARK_COUNT + HOTSET_MARK_##name])

void gs_run(struct gscript *sc, uint64_t us);
/* Members by incarnation, 0 ends the list; told to those proxies whose bit is set, with a lease. */
void gs_view(struct gscript *sc, uint64_t epoch, const uint32_t *members, unsigned proxies);
void gs_lease(struct gscript *sc, unsigned proxy, uint64_t ns);
void gs_hot(struct gscript *sc);  /* wanted hot by proxy 0, and given the time for it */
void gs_cold(struct gscript *sc); /* wanted cold */
uint32_t gs_op(struct gscript *sc, unsigned client, unsigned proxy, struct gw_op op);
uint32_t gs_set(struct gscript *sc, unsigned proxy, int64_t value); /* client: the proxy's number */
uint32_t gs_set_by(struct gscript *sc, unsigned client, unsigned proxy, int64_t value);
uint32_t gs_incr_by(struct gscript *sc, unsigned client, unsigned proxy);
uint32_t gs_append(struct gscript *sc, unsigned proxy);
uint32_t gs_get(struct gscript *sc, unsigned proxy);
uint32_t gs_get_by(struct gscript *sc, unsigned client, unsigned proxy);
uint32_t gs_demote(struct gscript *sc, unsigned proxy);
bool gs_done(struct gscript *sc, uint32_t op); /* with a reply */
bool gs_replied(struct gscript *sc, uint32_t op);
int64_t gs_ret(struct gscript *sc, uint32_t op);
bool gs_valid(struct gscript *sc, unsigned proxy); /* readers are answered from the cache */
bool gs_all_valid(struct gscript *sc);
bool gs_prepared(struct gscript *sc, unsigned proxy);
uint64_t gs_generation(struct gscript *sc, unsigned proxy); /* of the entry */
bool gs_hot_at_shard(struct gscript *sc);
void gs_cut(struct gscript *sc, unsigned from, unsigned to, bool on); /* proxies */
/* A message about key 0 arrives at the proxy. */
void gs_inject(struct gscript *sc, unsigned proxy, struct gmsg m);
/* PROMOTE or DEMOTE that no coordinator knows of. */
void gs_ask_shard(struct gscript *sc, enum galene_request_kind kind, uint64_t generation);

extern const uint32_t gs_all[];

/* clang-format off */
#define GALENE_SCENARIOS(X)                                                                        \
    X(g1_forwarded_read_changes_nothing)                                                           \
    X(g1_reads_share_the_next_one)                                                                 \
    X(g1_lease_end)                                                                                \
    X(g1_near_expiry_is_forwarded)                                                                 \
    X(g2_hotwrite_waits_for_every_ack)                                                             \
    X(g3_cold_drains_the_entry)                                                                    \
    X(g4_write_without_an_entry)                                                                   \
    X(g4_old_view_waits)                                                                           \
    X(g5_only_its_own_done_takes_it_back)                                                          \
    X(g5_other_epochs_are_not_acted_on)                                                            \
    X(g5_larger_generation_drains)                                                                 \
    X(g5_done_tells_of_earlier_writes_too)                                                         \
    X(g5_lost_done_is_asked_for)                                                                   \
    X(g6_promote_waits_for_every_prepared)                                                         \
    X(g6_fill_of_another_epoch_is_refused)                                                         \
    X(g7_demote_waits_for_every_drained)                                                           \
    X(g7_new_writes_wait_for_drop)                                                                 \
    X(g8_unknown_outcome_needs_a_new_generation)                                                   \
    X(g8_lost_is_not_forgotten)                                                                    \
    X(g8_departed_writer)                                                                          \
    X(g8_joiner_gets_entries)                                                                      \
    X(g9_control_of_older_views_is_refused)                                                        \
    X(g9_control_keeps_its_order)                                                                  \
    X(g9_unknown_hot_key_is_retired)                                                               \
    X(g9_late_promote_is_retired)                                                                  \
    X(g9_newer_generation_is_left_alone)                                                           \
    X(g10_new_view_restarts_the_round)                                                             \
    X(g10_acks_start_empty)                                                                        \
    X(g11_blind_writes_are_combined)                                                               \
    X(g11_combined_are_unknown_together)                                                           \
    X(g12_uncacheable_is_demoted)                                                                  \
    X(g13_demotion_is_waited_for)                                                                  \
    X(h12_expired_hot_key_is_deleted_by_a_proxy)                                                   \
    X(h14_program_order_at_a_proxy)
/* clang-format on */
#define X(name) void name(struct gscript *sc);
GALENE_SCENARIOS(X)
#undef X

#endif
