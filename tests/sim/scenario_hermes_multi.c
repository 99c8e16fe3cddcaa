/* Scenarios of updates and reads of several keys: rule H11 (and its share of H8, H10, H14, G13).
 * The two keys are 0 and HW_SLOTS, of slot 0. LOCK and LOCKED take 40 us, MULTI 20, ACK 20, VAL 20.
 */
#include "tests/sim/scenario_hermes.h"

#define A 0
#define B HW_SLOTS

static uint32_t multi(struct script *sc, unsigned node, uint8_t kind_a, int64_t a, uint8_t kind_b,
                      int64_t b)
{
    return sc_issue(sc, node,
                    (struct hw_op){.kind = HERMES_MULTI,
                                   .step_count = 2,
                                   .steps = {{kind_a, A, a}, {kind_b, B, b}},
                                   .h = {.kind = HIST_GET, .key = A}});
}

static uint32_t transfer(struct script *sc, unsigned node)
{
    return multi(sc, node, HW_ADD, 5, HW_ADD, -5);
}

static uint32_t read_both(struct script *sc, unsigned node)
{
    return multi(sc, node, HIST_GET, 0, HIST_GET, 0);
}

static int64_t part_ret(const struct script *sc, uint32_t op, unsigned part)
{
    return sc->w->ops[op].parts[part].ret;
}

/* Does the node serve both keys with these values? */
static bool has(const struct script *sc, unsigned node, int64_t a, int64_t b)
{
    const struct hw_entry *e = sc->w->nodes[node].entries;
    return e[A].state == 0 && e[B].state == 0 && e[A].v.value == a && e[B].v.value == b;
}

static void crash_owner(struct script *sc)
{
    const uint32_t left[] = {2, 3, 0};
    sim_crash(sc->s, 0);
    sc_view(sc, 2, left, NULL, 6);
    sc_leases(sc);
}

void h11_multi_is_plus_three_everywhere_at_once(struct script *sc)
{
    uint32_t a = transfer(sc, 0);
    sc_run(sc, 102); /* at the owner it has committed, VAL is under way */
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && has(sc, 0, 5, -5));
    EXPECT(sc, sc->w->nodes[1].entries[A].state != 0 && sc->w->nodes[1].entries[B].state != 0);
    sc_run(sc, 20);
    EXPECT(sc, has(sc, 1, 5, -5) && has(sc, 2, 5, -5));
    EXPECT(sc, ts_version(sc->w->nodes[1].entries[A].ts) == 3 &&
                   ts_version(sc->w->nodes[1].entries[B].ts) == 3);
}

void h11_multi_needs_the_grant(struct script *sc)
{
    sc_cut(sc, 2, 1, true); /* node 1's own update of key B stays open */
    uint32_t w =
        sc_issue(sc, 1, (struct hw_op){.kind = HERMES_UPDATE, .h = {.kind = HIST_INCR, .key = B}});
    uint32_t a = transfer(sc, 0);
    sc_run(sc, 2000);
    EXPECT(sc, !sc->w->ops[a].replied && MARKS(sc, MULTI_STARTED) == 0);
    sc_cut(sc, 2, 1, false);
    sc_run(sc, 400000);
    EXPECT(sc, sc_done(sc, w, HERMES_DONE) && sc_done(sc, a, HERMES_DONE) && has(sc, 2, 5, -4));
}

void h11_owner_dies_and_nobody_has_it(struct script *sc)
{
    transfer(sc, 0);
    sc_run(sc, 41); /* LOCKED is there */
    sc_cut(sc, 0, 1, true);
    sc_cut(sc, 0, 2, true);
    sc_run(sc, 1000);
    crash_owner(sc);
    sc_run(sc, 200000);
    uint32_t r = read_both(sc, 1);
    uint32_t w = sc_set(sc, 2, 9);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, r, HERMES_NOTHING) && part_ret(sc, r, 0) == HIST_ABSENT);
    EXPECT(sc, sc_done(sc, w, HERMES_DONE) && MARKS(sc, MULTI_STORED) <= 2);
}

void h11_owner_dies_and_one_has_it(struct script *sc)
{
    transfer(sc, 0);
    sc_run(sc, 41);
    sc_cut(sc, 0, 2, true);
    sc_run(sc, 1000);
    EXPECT(sc, MARKS(sc, MULTI_STORED) == 1);
    crash_owner(sc);
    sc_run(sc, 400000);
    EXPECT(sc, has(sc, 1, 5, -5) && has(sc, 2, 5, -5) && MARKS(sc, MULTI_REPLAYED) == 1);
}

void h11_owner_dies_after_its_answer(struct script *sc)
{
    uint32_t a = transfer(sc, 0);
    sc_run(sc, 65); /* MULTI is stored, the ACKs are under way */
    sc_cut(sc, 0, 1, true);
    sc_cut(sc, 0, 2, true);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && !has(sc, 1, 5, -5));
    crash_owner(sc);
    sc_run(sc, 400000);
    EXPECT(sc, has(sc, 1, 5, -5) && has(sc, 2, 5, -5));
}

/* The grant is void with the view; one node has not heard of the update and writes one of its keys.
 */
void h11_nothing_overtakes_it_when_the_grant_is_void(struct script *sc)
{
    uint32_t a = transfer(sc, 0);
    sc_run(sc, 41);
    sc_cut(sc, 0, 2, true);
    sc_run(sc, 100);
    sc_view(sc, 2, one_two_three, NULL, 7);
    sc_leases(sc);
    uint32_t w = sc_set(sc, 2, 40);
    sc_run(sc, 2000);
    EXPECT(sc, MARKS(sc, MULTI_REFUSED) >= 1 && MARKS(sc, MULTI_OVERTOOK) == 1);
    sc_cut(sc, 0, 2, false);
    sc_run(sc, 400000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && part_ret(sc, a, 0) == 5);
    EXPECT(sc, sc_done(sc, w, HERMES_DONE) && sc_version(sc, w) == 5);
    EXPECT(sc, has(sc, 0, 40, -5) && has(sc, 1, 40, -5) && has(sc, 2, 40, -5));
}

/* Its own update is open at a node that stores another's of several keys. */
void h11_a_racing_update_is_decided_by_it(struct script *sc)
{
    uint32_t a = transfer(sc, 0);
    sc_run(sc, 41);
    sc_cut(sc, 0, 2, true);
    sc_run(sc, 100);
    sc_view(sc, 2, one_two_three, NULL, 7);
    sc_leases(sc);
    uint32_t w = sc_incr(sc, 2);
    sc_run(sc, 400000);
    EXPECT(sc, !sc->w->ops[w].replied || sc_ret(sc, w) == 6);
    sc_cut(sc, 0, 2, false);
    sc_run(sc, 400000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_done(sc, w, HERMES_DONE) && sc_ret(sc, w) == 6);
    EXPECT(sc, sc_version(sc, w) == 4 && has(sc, 1, 6, -5));
}

/* One member has a floor that the owner has not heard of. */
void h11_multi_starts_above_every_floor(struct script *sc)
{
    sc_set(sc, 0, 10);
    sc_run(sc, 500);
    sc_del(sc, 1);
    sc_run(sc, 500);
    sc_control(sc, 2, HERMES_PURGE, 9);
    sc_run(sc, 41);
    sc_cut(sc, 2, 0, true);
    sc_run(sc, 2000); /* node 1 has purged, node 0 has not heard of it */
    sc_view(sc, 2, one_two_three, NULL, 7);
    sc_leases(sc);
    sc_cut(sc, 2, 0, false);
    sc_run(sc, 500);
    uint32_t a = transfer(sc, 0);
    sc_run(sc, 2000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_version(sc, a) == 12);
    EXPECT(sc, has(sc, 0, 5, -5) && has(sc, 1, 5, -5) && has(sc, 2, 5, -5));
}

void h11_read_of_several_keys_sees_all_or_none(struct script *sc)
{
    uint32_t a = transfer(sc, 0);
    sc_run(sc, 65);
    sc_cut(sc, 0, 1, true); /* no VAL for node 1 */
    sc_run(sc, 500);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE));
    uint32_t r = read_both(sc, 1);
    sc_run(sc, 1000);
    EXPECT(sc, !sc->w->ops[r].replied);
    sc_cut(sc, 0, 1, false);
    sc_run(sc, 400000); /* it asks */
    EXPECT(sc,
           sc_done(sc, r, HERMES_NOTHING) && part_ret(sc, r, 0) == 5 && part_ret(sc, r, 1) == -5);
    EXPECT(sc, MARKS(sc, MULTI_OWNER_ASKED) >= 1);
    sc_set(sc, 0, 40);
    sc_run(sc, 25);
    sc_cut(sc, 0, 1, true); /* one of the two keys has a newer value, not yet known here */
    sc_run(sc, 500);
    r = read_both(sc, 1);
    sc_run(sc, 1000);
    EXPECT(sc, !sc->w->ops[r].replied);
    sc_cut(sc, 0, 1, false);
    sc_run(sc, 400000);
    EXPECT(sc, part_ret(sc, r, 0) == 40);
}

void h11_grant_is_kept_and_given_up(struct script *sc)
{
    uint32_t a = transfer(sc, 0);
    sc_run(sc, 500);
    uint32_t b = transfer(sc, 0);
    uint32_t c = sc_incr(sc, 0);
    sc_run(sc, 200);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && sc_done(sc, b, HERMES_DONE) && sc_ret(sc, c) == 11);
    EXPECT(sc, MARKS(sc, GRANT_TAKEN) == 1 && hermes_holds_grant(sc->w->nodes[0].core, 0));
    uint32_t w = sc_incr(sc, 1);
    uint32_t d = transfer(sc, 2);
    sc_run(sc, 10000);
    EXPECT(sc, sc_done(sc, w, HERMES_DONE) && MARKS(sc, GRANT_WANTED_BY_OTHER) >= 1);
    sc_run(sc, 100000);
    EXPECT(sc, sc_done(sc, d, HERMES_DONE) && MARKS(sc, GRANT_TAKEN) == 2);
    sc_run(sc, 400000); /* nobody uses it any more */
    EXPECT(sc, !hermes_holds_grant(sc->w->nodes[2].core, 0) && has(sc, 1, 17, -15));
}

void h11_two_owners_take_turns(struct script *sc)
{
    uint32_t ops[6];
    for (unsigned i = 0; i < 6; i++) {
        ops[i] = transfer(sc, i % 3);
    }
    sc_run(sc, 800000);
    for (unsigned i = 0; i < 6; i++) {
        EXPECT(sc, sc_done(sc, ops[i], HERMES_DONE));
    }
    EXPECT(sc, has(sc, 0, 30, -30) && has(sc, 1, 30, -30));
}

void h11_learner_stores_it_whole(struct script *sc)
{
    const uint32_t members[] = {1, 2, 0};
    const uint32_t learners[] = {4, 0};
    sc_set(sc, 0, 10);
    sc_issue(sc, 0,
             (struct hw_op){.kind = HERMES_WRITE, .h = {.kind = HIST_SET, .arg = 20, .key = B}});
    sc_run(sc, 500);
    sim_crash(sc->s, 2);
    sim_restart(sc->s, 2);
    sc_cut(sc, 1, 2, true); /* its first donor says nothing */
    sc_view(sc, 2, members, learners, 7);
    sc_leases(sc);
    sc_cut(sc, 0, 2, true);
    sc_run(sc, 500);
    uint32_t a = multi(sc, 0, HIST_GET, 0, HW_MOVE, 0);
    sc_run(sc, 500);
    sc_cut(sc, 0, 2, false);
    sc_run(sc, 600000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && MARKS(sc, MULTI_BASE_FETCHED) >= 1);
    sc_cut(sc, 1, 2, false);
    sc_run(sc, 400000);
    const struct hw_entry *e = sc->w->nodes[2].entries;
    EXPECT(sc, hermes_caught_up(sc->w->nodes[2].core) && !e[A].v.live && e[B].v.value == 10);
}

/* A learner that comes while it is pending gets it with the keys. */
void h10_learner_takes_a_pending_multi(struct script *sc)
{
    const uint32_t members[] = {1, 2, 0};
    const uint32_t learners[] = {4, 0};
    sc_set(sc, 0, 10);
    sc_run(sc, 500);
    sim_crash(sc->s, 2);
    sim_restart(sc->s, 2);
    sc_view(sc, 2, members, NULL, 3);
    sc_leases(sc);
    uint32_t a = transfer(sc, 1);
    sc_run(sc, 41);
    sc_cut(sc, 0, 1, true); /* stored at node 0, whose ACK is lost */
    sc_run(sc, 1000);
    sc_view(sc, 3, members, learners, 7);
    sc_leases(sc);
    sc_run(sc, 400000);
    EXPECT(sc, MARKS(sc, PULL_MERGED) >= 1 && !sc->w->ops[a].replied);
    sc_cut(sc, 0, 1, false);
    sc_run(sc, 400000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE) && hermes_caught_up(sc->w->nodes[2].core));
    EXPECT(sc, sc->w->nodes[2].entries[A].v.value == sc->w->nodes[0].entries[A].v.value);
}

void h14_multi_keeps_its_place(struct script *sc)
{
    sc_cut(sc, 2, 0, true);
    uint32_t x = sc_incr(sc, 0);
    uint32_t a = transfer(sc, 0);
    uint32_t r = sc_get(sc, 0);
    sc_run(sc, 2000);
    EXPECT(sc, !sc->w->ops[a].replied && !sc->w->ops[r].replied);
    sc_cut(sc, 2, 0, false);
    sc_run(sc, 400000);
    EXPECT(sc, sc_ret(sc, x) == 1 && part_ret(sc, a, 0) == 6 && sc_ret(sc, r) == 6);
}

void h13_expelled_owner_of_a_multi_is_unknown(struct script *sc)
{
    const uint32_t left[] = {2, 3, 0};
    sc_cut(sc, 1, 0, true);
    sc_run(sc, 100);
    sc_cut(sc, 1, 0, false);
    uint32_t a = transfer(sc, 0);
    sc_run(sc, 65);
    sc_cut(sc, 1, 0, true);
    sc_run(sc, 2000);
    sc_view(sc, 2, left, NULL, 7);
    sc_leases(sc);
    sc_run(sc, 400000);
    EXPECT(sc, sc_done(sc, a, HERMES_UNKNOWN) && has(sc, 1, 5, -5) && has(sc, 2, 5, -5));
}

void g13_multi_refuses_hot_keys(struct script *sc)
{
    uint32_t p = sc_control(sc, 0, HERMES_PROMOTE, 5); /* of key A */
    sc_run(sc, 500);
    uint32_t a = transfer(sc, 1);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, p, HERMES_DONE) && sc_done(sc, a, HERMES_HOT));
    uint32_t r = read_both(sc, 1);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, r, HERMES_NOTHING));
    sc_control(sc, 0, HERMES_DEMOTE, 5);
    sc_run(sc, 500);
    a = transfer(sc, 1);
    sc_run(sc, 1000);
    EXPECT(sc, sc_done(sc, a, HERMES_DONE));
}
