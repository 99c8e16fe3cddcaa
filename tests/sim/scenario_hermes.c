/* Scripted runs of the Hermes world, named after the rules of DESIGN section 4 they show. Three
 * replicas (incarnations 1, 2, 3 at nodes 0, 1, 2), no faults but those in the script, 20 us per
 * message; so what has happened when is known, and the coverage marks tell which branch was taken.
 * The mutant build runs them against every mutant (docs/rules.md). */
#include <stdio.h>
#include <string.h>

#include "coherence/mutant.h"
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

static void lease(struct script *sc, unsigned node, uint64_t ns)
{
    struct hw_node *n = &sc->w->nodes[node];
    if (n->core == NULL) {
        return;
    }
    hw_node_lease(sc->s, node,
                  (struct lease){hermes_view(n->core)->epoch, sim_clock(sc->s, node) + ns});
}

static void leases(struct script *sc)
{
    for (unsigned i = 0; i < sc->w->config.replicas; i++) {
        lease(sc, i, 100000 * SIM_MS);
    }
}

/* Members and learners by incarnation, 0 ends each list. Told to those nodes whose bit is set. */
static void view(struct script *sc, uint64_t epoch, const uint32_t *members,
                 const uint32_t *learners, unsigned nodes)
{
    unsigned m = 0;
    unsigned l = 0;
    while (members[m] != 0) {
        m++;
    }
    while (learners != NULL && learners[l] != 0) {
        l++;
    }
    struct view v;
    EXPECT(sc, view_make(&v, epoch, members, m, learners, l));
    sc->w->members.view = v;
    for (unsigned i = 0; i < sc->w->config.replicas; i++) {
        if ((nodes >> i & 1) != 0) {
            hw_node_view(sc->s, i, &v);
        }
    }
}

static void cut(struct script *sc, unsigned from, unsigned to, bool on)
{
    sc->s->cut[from][to] = on;
}

static uint32_t issue(struct script *sc, unsigned node, struct hw_op o)
{
    return hw_issue(sc->s, node, node, &o);
}

static uint32_t set(struct script *sc, unsigned node, int64_t value)
{
    return issue(sc, node,
                 (struct hw_op){.kind = HERMES_WRITE, .h = {.kind = HIST_SET, .arg = value}});
}

static uint32_t incr(struct script *sc, unsigned node)
{
    return issue(sc, node, (struct hw_op){.kind = HERMES_UPDATE, .h = {.kind = HIST_INCR}});
}

static uint32_t del(struct script *sc, unsigned node)
{
    return issue(sc, node, (struct hw_op){.kind = HERMES_UPDATE, .h = {.kind = HIST_DEL}});
}

static uint32_t get(struct script *sc, unsigned node)
{
    return issue(sc, node, (struct hw_op){.kind = HERMES_READ, .h = {.kind = HIST_GET}});
}

static uint32_t control(struct script *sc, unsigned node, enum hermes_op_kind kind, uint64_t arg)
{
    return issue(
        sc, node,
        (struct hw_op){.kind = kind, .generation = arg, .version = arg, .h = {.kind = HIST_GET}});
}

static bool done(struct script *sc, uint32_t op, enum hermes_result result)
{
    return sc->w->ops[op].replied && sc->w->ops[op].result == result;
}

static int64_t ret(struct script *sc, uint32_t op)
{
    return sc->w->ops[op].h.ret;
}

static uint64_t version(struct script *sc, uint32_t op)
{
    return ts_version(sc->w->ops[op].h.ts);
}

static void run(struct script *sc, uint64_t us)
{
    sim_advance(sc->s, us * US);
}

static const uint32_t one_two_three[] = {1, 2, 3, 0};

/* ---- the rules ---- */

static void h1_write_plus_two_rmw_plus_one(struct script *sc)
{
    uint32_t a = set(sc, 0, 10);
    run(sc, 500);
    uint32_t b = incr(sc, 1);
    run(sc, 500);
    EXPECT(sc, done(sc, a, HERMES_DONE) && version(sc, a) == 2);
    EXPECT(sc, done(sc, b, HERMES_DONE) && version(sc, b) == 3 && ret(sc, b) == 11);
}

static void h2_smaller_write_is_acked_not_stored(struct script *sc)
{
    cut(sc, 2, 1, true);         /* node 2's can not commit */
    uint32_t a = set(sc, 0, 10); /* 2.1 */
    uint32_t c = set(sc, 2, 30); /* 2.3, larger, at the same time */
    run(sc, 500);
    EXPECT(sc, MARKS(sc, INV_SMALLER_WRITE) == 1);
    EXPECT(sc, done(sc, a, HERMES_DONE) && MARKS(sc, WRITE_SUPERSEDED) == 1);
    EXPECT(sc, !sc->w->ops[c].replied);
    cut(sc, 2, 1, false);
    run(sc, 300000);
    EXPECT(sc, done(sc, c, HERMES_DONE) && sc->w->nodes[1].entries[0].v.value == 30);
}

static void h2_smaller_rmw_is_rejected(struct script *sc)
{
    uint32_t a = incr(sc, 0);    /* 1.1 */
    uint32_t c = set(sc, 2, 30); /* 2.3 */
    run(sc, 2000);
    EXPECT(sc, MARKS(sc, RMW_REJECTED) >= 1 && MARKS(sc, RMW_RETRIED) == 1);
    EXPECT(sc, done(sc, c, HERMES_DONE) && done(sc, a, HERMES_DONE) && ret(sc, a) == 31);
}

static void h2_rmw_without_base_fetches_it(struct script *sc)
{
    uint32_t learners[] = {4, 0};
    uint32_t members[] = {1, 2, 0};
    set(sc, 0, 10);
    run(sc, 500);
    sim_crash(sc->s, 2);
    sim_restart(sc->s, 2); /* incarnation 4, empty; its transfer is cut off */
    EXPECT(sc, sc->w->nodes[2].id == 4);
    cut(sc, 2, 0, true);
    cut(sc, 2, 1, true);
    view(sc, 2, members, learners, 7);
    run(sc, 500);
    leases(sc);
    uint32_t a = incr(sc, 0);
    run(sc, 30);
    cut(sc, 2, 0, false);
    run(sc, 2000);
    EXPECT(sc, MARKS(sc, BASE_FETCHED) >= 1);
    EXPECT(sc, done(sc, a, HERMES_DONE) && ret(sc, a) == 11);
}

static void h3_commit_needs_every_ack(struct script *sc)
{
    cut(sc, 2, 0, true);
    uint32_t a = set(sc, 0, 10);
    run(sc, 10000);
    EXPECT(sc, !sc->w->ops[a].replied && !sc->w->nodes[1].entries[0].v.live);
    cut(sc, 2, 0, false);
    run(sc, 100000);
    EXPECT(sc, done(sc, a, HERMES_DONE) && sc->w->nodes[1].entries[0].v.value == 10);
}

static void h3_val_of_another_ts_does_nothing(struct script *sc)
{
    set(sc, 0, 10);
    run(sc, 55); /* request 20, INV 20, ACK 20: not yet */
    cut(sc, 0, 1, true);
    run(sc, 500); /* committed; the VAL to node 1 is lost */
    cut(sc, 0, 1, false);
    cut(sc, 1, 2, true);
    uint32_t c = set(sc, 2, 30);
    run(sc, 500);
    EXPECT(sc, !sc->w->ops[c].replied);
    EXPECT(sc, sc->w->nodes[1].entries[0].v.value == 10); /* proved by the base of 2's (H4) */
}

static void h4_base_proves_commit(struct script *sc)
{
    incr(sc, 0);
    run(sc, 55);
    cut(sc, 0, 1, true);
    run(sc, 100); /* committed at 0 and 2; node 1 has no VAL */
    uint32_t b = incr(sc, 2);
    run(sc, 200);
    EXPECT(sc, MARKS(sc, BASE_PROVED) == 1 && MARKS(sc, BASE_FETCHED) == 0);
    EXPECT(sc, sc->w->nodes[1].entries[0].v.live);
    cut(sc, 0, 1, false);
    run(sc, 100000);
    EXPECT(sc, done(sc, b, HERMES_DONE) && ret(sc, b) == 2);
}

/* An RMW that gave up may still be completed by survivors when its owner and the one that made it
 * give up are removed. */
static void h5_given_up_is_not_decided(struct script *sc)
{
    const uint32_t last[] = {3, 0};
    cut(sc, 1, 2, true);
    uint32_t a = incr(sc, 0);    /* 1.1 reaches node 2 */
    uint32_t b = set(sc, 1, 20); /* 2.2 reaches node 0 only */
    run(sc, 100);
    EXPECT(sc, MARKS(sc, RMW_GAVE_UP) == 1 && !sc->w->ops[a].replied);
    view(sc, 2, last, NULL, 7);
    run(sc, 1000);
    EXPECT(sc, done(sc, a, HERMES_UNKNOWN) && done(sc, b, HERMES_UNKNOWN));
    EXPECT(sc, sc->w->nodes[2].entries[0].v.value == 1); /* it did take effect */
}

static void h6_write_is_replayed_after_timeout(struct script *sc)
{
    set(sc, 0, 10);
    run(sc, 55);
    cut(sc, 0, 1, true);
    run(sc, 100000);
    EXPECT(sc, MARKS(sc, REPLAY_TIMEOUT) >= 1);
    EXPECT(sc, sc->w->nodes[1].entries[0].state != 0); /* needs node 0's ACK */
    cut(sc, 0, 1, false);
    run(sc, 100000);
    EXPECT(sc,
           sc->w->nodes[1].entries[0].state == 0 && sc->w->nodes[1].entries[0].ts == ts_make(2, 1));
}

static void h6_rmw_owner_is_asked_not_replayed(struct script *sc)
{
    cut(sc, 0, 2, true);
    uint32_t a = incr(sc, 0);
    run(sc, 150000);
    EXPECT(sc, MARKS(sc, OWNER_ASKED) >= 1);
    EXPECT(sc, MARKS(sc, REPLAY_TIMEOUT) == 0 && MARKS(sc, REPLAY_DEAD_OWNER) == 0);
    EXPECT(sc, !sc->w->ops[a].replied);
}

static void h6_dead_owner_is_replayed(struct script *sc)
{
    const uint32_t left[] = {2, 3, 0};
    uint32_t a = incr(sc, 0);
    run(sc, 45);
    sim_crash(sc->s, 0); /* before its ACKs */
    view(sc, 2, left, NULL, 6);
    leases(sc);
    run(sc, 1000);
    EXPECT(sc, MARKS(sc, REPLAY_DEAD_OWNER) >= 1 && MARKS(sc, REPLAY_COMMITTED) >= 1);
    EXPECT(sc, sc->w->nodes[1].entries[0].ts == ts_make(1, 1)); /* the same update */
    EXPECT(sc, sc->w->ops[a].h.status == HIST_UNKNOWN);
    uint32_t b = get(sc, 2);
    run(sc, 100);
    EXPECT(sc, done(sc, b, HERMES_DONE) && ret(sc, b) == 1);
}

/* PROTOCOLS section 2.11: an ACK of the old epoch must not complete an RMW in the new one. */
static void h7_acks_start_empty(struct script *sc)
{
    const uint32_t left[] = {1, 2, 0};
    cut(sc, 2, 0, true);
    uint32_t a = incr(sc, 0);
    run(sc, 100); /* node 1 has ACKed, node 2 not */
    cut(sc, 1, 0, true);
    view(sc, 2, left, NULL, 3);
    run(sc, 5000);
    EXPECT(sc, !sc->w->ops[a].replied && MARKS(sc, ACKS_RESET) == 1 &&
                   MARKS(sc, RESENT_NEW_EPOCH) == 1);
    cut(sc, 1, 0, false);
    run(sc, 100000);
    EXPECT(sc, done(sc, a, HERMES_DONE));
}

static void h7_other_epochs_are_not_acted_on(struct script *sc)
{
    view(sc, 2, one_two_three, NULL, 1); /* node 0 alone knows epoch 2 */
    leases(sc);
    uint32_t a = set(sc, 0, 10);
    uint32_t b = set(sc, 1, 20);
    run(sc, 200);
    EXPECT(sc, MARKS(sc, NEW_EPOCH_HELD) >= 2 && MARKS(sc, OLD_EPOCH_DROPPED) >= 1);
    EXPECT(sc, !sc->w->ops[a].replied && !sc->w->ops[b].replied);
    view(sc, 3, one_two_three, NULL, 7);
    leases(sc);
    run(sc, 200000);
    EXPECT(sc, done(sc, a, HERMES_DONE) && done(sc, b, HERMES_DONE));
}

static void h8_purged_key_starts_above_the_floor(struct script *sc)
{
    set(sc, 0, 10);
    run(sc, 500);
    del(sc, 1);
    run(sc, 500);
    uint32_t p = control(sc, 2, HERMES_PURGE, 3);
    run(sc, 2000);
    EXPECT(sc, done(sc, p, HERMES_DONE) && !sc->w->nodes[0].entries[0].present);
    uint32_t a = incr(sc, 0);
    run(sc, 500);
    EXPECT(sc, done(sc, a, HERMES_DONE) && version(sc, a) == 4 && ret(sc, a) == 1);
}

static void h8_floor_is_answered(struct script *sc)
{
    set(sc, 0, 10);
    run(sc, 500);
    del(sc, 1);
    run(sc, 500);
    uint32_t p = control(sc, 2, HERMES_PURGE, 9);
    run(sc, 41); /* LOCK and LOCKED have gone their ways */
    cut(sc, 2, 0, true);
    run(sc, 2000); /* node 1 has purged, node 0 has not heard of it */
    view(sc, 2, one_two_three, NULL, 7);
    leases(sc);
    cut(sc, 2, 0, false);
    run(sc, 500);
    EXPECT(sc, done(sc, p, HERMES_REFUSED) && MARKS(sc, GRANT_VOIDED) == 1);
    uint32_t a = set(sc, 0, 40);
    run(sc, 2000);
    EXPECT(sc, MARKS(sc, FLOOR_ANSWERED) >= 1 && done(sc, a, HERMES_DONE) && version(sc, a) == 11);
}

static void h8_generation_survives_purge(struct script *sc)
{
    uint32_t p = control(sc, 0, HERMES_PROMOTE, 5);
    run(sc, 500);
    uint32_t d = control(sc, 0, HERMES_DEMOTE, 5);
    run(sc, 500);
    EXPECT(sc, done(sc, p, HERMES_DONE) && done(sc, d, HERMES_DONE));
    p = control(sc, 2, HERMES_PURGE, 9);
    run(sc, 2000);
    EXPECT(sc, done(sc, p, HERMES_DONE) && !sc->w->nodes[1].entries[0].present);
    p = control(sc, 1, HERMES_PROMOTE, 5);
    run(sc, 500);
    EXPECT(sc, done(sc, p, HERMES_REFUSED));
}

static void h8_hot_tombstone_is_kept(struct script *sc)
{
    control(sc, 0, HERMES_PROMOTE, 5); /* of an absent key: a hot tombstone */
    run(sc, 500);
    uint32_t p = control(sc, 2, HERMES_PURGE, 9);
    run(sc, 2000);
    EXPECT(sc, done(sc, p, HERMES_DONE) && sc->w->nodes[1].entries[0].present &&
                   sc->w->nodes[1].entries[0].hot);
}

/* A replica is stopped past its lease; a read waits in its socket; meanwhile a view without it
 * commits. */
static void h9_clock_is_read_after_the_request(struct script *sc)
{
    const uint32_t left[] = {2, 3, 0};
    set(sc, 0, 10);
    run(sc, 500);
    lease(sc, 0, 5 * SIM_MS);
    run(sc, 100);
    sim_pause(sc->s, 0);
    uint32_t a = get(sc, 0);
    run(sc, 20000);
    view(sc, 2, left, NULL, 6);
    lease(sc, 1, 100 * SIM_MS);
    lease(sc, 2, 100 * SIM_MS);
    uint32_t b = set(sc, 1, 20);
    run(sc, 1000);
    EXPECT(sc, done(sc, b, HERMES_DONE));
    sim_resume(sc->s, 0);
    run(sc, 100);
    EXPECT(sc, done(sc, a, HERMES_TRYAGAIN));
}

static void h9_lease_of_another_epoch(struct script *sc)
{
    view(sc, 2, one_two_three, NULL, 7);
    uint32_t a = get(sc, 0);
    run(sc, 100);
    EXPECT(sc, done(sc, a, HERMES_TRYAGAIN));
    lease(sc, 0, 100 * SIM_MS);
    a = get(sc, 0);
    run(sc, 100);
    EXPECT(sc, done(sc, a, HERMES_DONE));
}

static void h9_lease_end(struct script *sc)
{
    lease(sc, 0, SIM_MS);
    uint32_t a = get(sc, 0);
    run(sc, 1000);
    uint32_t b = get(sc, 0);
    run(sc, 100);
    EXPECT(sc, done(sc, a, HERMES_DONE) && done(sc, b, HERMES_TRYAGAIN));
}

/* A learner joins while something is pending at the donor and below a floor there are live keys. */
static void h10_learner_takes_value_pending_and_floor(struct script *sc)
{
    const uint32_t members[] = {1, 2, 0};
    const uint32_t learners[] = {4, 0};
    const uint32_t all[] = {1, 2, 4, 0};
    uint32_t p = control(sc, 2, HERMES_PURGE, 50);
    run(sc, 2000);
    EXPECT(sc, done(sc, p, HERMES_DONE));
    incr(sc, 0); /* 51.1 */
    run(sc, 500);
    sim_crash(sc->s, 2);
    sim_restart(sc->s, 2);
    cut(sc, 1, 0, true);
    cut(sc, 0, 2,
        true); /* what node 0 resends does not reach the learner; node 1 becomes its donor later */
    uint32_t a = incr(sc, 0);
    run(sc, 100);
    view(sc, 2, members, learners, 7);
    leases(sc);
    run(sc, 400000);
    EXPECT(sc, !hermes_caught_up(sc->w->nodes[2].core) && !sc->w->ops[a].replied);
    uint32_t b = get(sc, 2);
    run(sc, 100);
    EXPECT(sc, done(sc, b, HERMES_TRYAGAIN));
    cut(sc, 0, 2, false);
    run(sc, 200);
    cut(sc, 1, 0, false);
    run(sc, 400000);
    EXPECT(sc, hermes_caught_up(sc->w->nodes[2].core) && done(sc, a, HERMES_DONE));
    view(sc, 3, all, NULL, 7);
    leases(sc);
    uint32_t c = issue(
        sc, 2,
        (struct hw_op){.kind = HERMES_WRITE, .h = {.kind = HIST_SET, .arg = 9, .key = HW_SLOTS}});
    run(sc, 500);
    EXPECT(sc, done(sc, c, HERMES_DONE) && version(sc, c) == 52 && MARKS(sc, FLOOR_ANSWERED) == 0);
}

static void h11_grant_excludes_updates(struct script *sc)
{
    cut(sc, 1, 2, true); /* node 1 does not answer LOCK */
    uint32_t p = control(sc, 2, HERMES_PURGE, 9);
    run(sc, 1000);
    uint32_t a = set(sc, 0, 10);
    run(sc, 1000);
    EXPECT(sc, !sc->w->ops[a].replied && MARKS(sc, OP_WAITED_FOR_GRANT) == 1);
    cut(sc, 1, 2, false);
    run(sc, 100000);
    EXPECT(sc, done(sc, p, HERMES_DONE) && done(sc, a, HERMES_DONE));
}

static void h11_smaller_id_wins(struct script *sc)
{
    uint32_t p = control(sc, 2, HERMES_PURGE, 5);
    uint32_t q = control(sc, 0, HERMES_PURGE, 6);
    run(sc, 300000);
    EXPECT(sc,
           MARKS(sc, GRANT_YIELDED) == 1 && done(sc, p, HERMES_DONE) && done(sc, q, HERMES_DONE));
}

static void h11_view_change_voids_grants(struct script *sc)
{
    cut(sc, 1, 2, true);
    uint32_t p = control(sc, 2, HERMES_PURGE, 9);
    run(sc, 1000);
    view(sc, 2, one_two_three, NULL, 7);
    leases(sc);
    run(sc, 100);
    EXPECT(sc, done(sc, p, HERMES_REFUSED));
    uint32_t a = set(sc, 0, 10);
    run(sc, 1000);
    EXPECT(sc, done(sc, a, HERMES_DONE));
}

static void h12_nil_only_after_deletion(struct script *sc)
{
    issue(sc, 0,
          (struct hw_op){.kind = HERMES_WRITE, .expire_ms = 5, .h = {.kind = HIST_SET, .arg = 10}});
    run(sc, 20000);
    cut(sc, 0, 2, true);
    uint32_t a = get(sc, 0);
    run(sc, 1000);
    EXPECT(sc, !sc->w->ops[a].replied && MARKS(sc, EXPIRED_DELETED) == 1);
    cut(sc, 0, 2, false);
    run(sc, 100000);
    EXPECT(sc, done(sc, a, HERMES_DONE) && ret(sc, a) == HIST_ABSENT &&
                   !sc->w->nodes[2].entries[0].v.live);
}

static void h13_expelled_is_unknown(struct script *sc)
{
    const uint32_t left[] = {2, 3, 0};
    cut(sc, 0, 1, true);
    cut(sc, 0, 2, true);
    uint32_t a = set(sc, 0, 10);
    uint32_t b = get(sc, 0);
    run(sc, 1000);
    view(sc, 2, left, NULL, 7);
    run(sc, 1000);
    EXPECT(sc, done(sc, a, HERMES_UNKNOWN) && done(sc, b, HERMES_TRYAGAIN));
}

static void h14_program_order(struct script *sc)
{
    uint32_t a = set(sc, 0, 10);
    uint32_t b = get(sc, 0);
    uint32_t c = incr(sc, 0);
    uint32_t d = get(sc, 0);
    run(sc, 2000);
    EXPECT(sc,
           done(sc, a, HERMES_DONE) && ret(sc, b) == 10 && ret(sc, c) == 11 && ret(sc, d) == 11);
}

static void g3_g4_g7_generation_is_checked(struct script *sc)
{
    control(sc, 0, HERMES_PROMOTE, 5);
    run(sc, 500);
    uint32_t plain = set(sc, 1, 10);
    uint32_t other = issue(sc, 1,
                           (struct hw_op){.kind = HERMES_WRITE,
                                          .hotwrite = true,
                                          .generation = 4,
                                          .h = {.kind = HIST_SET, .arg = 11}});
    uint32_t right = issue(sc, 2,
                           (struct hw_op){.kind = HERMES_WRITE,
                                          .hotwrite = true,
                                          .generation = 5,
                                          .h = {.kind = HIST_SET, .arg = 12}});
    run(sc, 500);
    EXPECT(sc, done(sc, plain, HERMES_HOT) && done(sc, other, HERMES_COLD) &&
                   done(sc, right, HERMES_DONE));
    uint32_t demote = control(sc, 1, HERMES_DEMOTE, 4);
    run(sc, 500);
    EXPECT(sc, done(sc, demote, HERMES_REFUSED));
    demote = control(sc, 1, HERMES_DEMOTE, 5);
    run(sc, 500);
    plain = set(sc, 0, 13);
    run(sc, 500);
    EXPECT(sc, done(sc, demote, HERMES_DONE) && done(sc, plain, HERMES_DONE));
}

static void g6_generations_grow(struct script *sc)
{
    uint32_t a = control(sc, 0, HERMES_PROMOTE, 5);
    run(sc, 500);
    uint32_t b = control(sc, 1, HERMES_PROMOTE, 5);
    uint32_t c = control(sc, 2, HERMES_PROMOTE, 6);
    run(sc, 1000);
    EXPECT(sc, done(sc, a, HERMES_DONE) && done(sc, b, HERMES_REFUSED) && done(sc, c, HERMES_DONE));
    EXPECT(sc, sc->w->nodes[0].entries[0].generation == 6);
}

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
    X(h8_generation_survives_purge)                                                                \
    X(h8_hot_tombstone_is_kept)                                                                    \
    X(h9_clock_is_read_after_the_request)                                                          \
    X(h9_lease_of_another_epoch)                                                                   \
    X(h9_lease_end)                                                                                \
    X(h10_learner_takes_value_pending_and_floor)                                                   \
    X(h11_grant_excludes_updates)                                                                  \
    X(h11_smaller_id_wins)                                                                         \
    X(h11_view_change_voids_grants)                                                                \
    X(h12_nil_only_after_deletion)                                                                 \
    X(h13_expelled_is_unknown)                                                                     \
    X(h14_program_order)                                                                           \
    X(g3_g4_g7_generation_is_checked)                                                              \
    X(g6_generations_grow)

static const struct {
    const char *name;
    void (*fn)(struct script *sc);
} table[] = {
#define X(name) {#name, name},
    SCENARIOS(X)
#undef X
};

int scenarios_hermes(void)
{
    int failures = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct sim *s = sim_new(&world_hermes);
        struct script sc = {.s = s, .w = hw_of(s), .name = table[i].name};
        chooser_init_tape(&s->choose, NULL, 0);
        sc.w->scripted = true;
        sc.w->config = (struct hw_config){
            .replicas = 3, .keys = 8, .purge = true, .mix = true, .expire = true};
        sim_begin(s);
        leases(&sc);
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
