/* The membership cores through their interface alone: one acceptor and one holder, by hand. What
 * several of them do among faults is the simulator's affair (tests/sim). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/member.h"

#define MS UINT64_C(1000000)

static const struct member_params params = {MEMBER_LEASE_NS, MEMBER_RENEW_NS, MEMBER_RHO_PPM, 7};

struct rig {
    struct member_map genesis;
    struct acceptor *a;
    struct holder *h;
    uint64_t now;
    bool disk_full;
    struct member_state disk;
    unsigned kept, sent, answered;
    struct view view;
    uint32_t id;
    bool founder;
    struct lease lease;
    unsigned maps, views, expelled, released, results;
    enum member_reason result;
};

static void text(char field[MAP_TEXT_MAX], const char *s)
{
    assert_true(map_text_set(field, s, strlen(s)));
}

static void make_genesis(struct member_map *m, unsigned acceptors)
{
    memset(m, 0, sizeof *m);
    m->next_id = 1;
    m->acceptor_count = (uint16_t)acceptors;
    for (unsigned i = 0; i < acceptors; i++) {
        text(m->acceptors[i].host, "a");
        m->acceptors[i].port = (uint16_t)(7000 + i);
    }
    m->group_count = 2;
    text(m->groups[0].name, MAP_PROXIES_NAME);
    text(m->groups[1].name, "s");
    m->range_count = 1;
    m->ranges[0].group = 1;
}

static struct rig *rig_new(unsigned acceptors)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    make_genesis(&r->genesis, acceptors);
    r->now = 1000 * MS;
    r->a = acceptor_init(aligned_alloc(16, acceptor_size()), &params, &r->genesis, NULL, 0, r->now);
    r->h = holder_init(aligned_alloc(16, holder_size()), &params, &r->genesis, r->now);
    return r;
}

static void rig_free(struct rig *r)
{
    free(r->a);
    free(r->h);
    free(r);
}

static void to_acceptor(struct rig *r, const struct member_msg *m);

static void from_holder(struct rig *r, const struct holder_outbox *out)
{
    for (uint32_t i = 0; i < out->count; i++) {
        const struct holder_out *o = &out->out[i];
        switch (o->kind) {
        case HOLDER_OUT_SEND:
            if (o->to == 0) {
                to_acceptor(r, &o->u.msg);
            }
            break;
        case HOLDER_OUT_MAP:
            r->maps++;
            break;
        case HOLDER_OUT_VIEW:
            r->views++;
            assert_true(map_view(o->u.view.map, o->u.view.group, &r->view));
            r->id = o->u.view.id;
            r->founder = o->u.view.founder;
            break;
        case HOLDER_OUT_LEASE:
            r->lease = o->u.lease;
            break;
        case HOLDER_OUT_EXPELLED:
            r->expelled++;
            break;
        case HOLDER_OUT_RELEASED:
            r->released++;
            break;
        case HOLDER_OUT_WAITS:
            break;
        case HOLDER_OUT_RESULT:
            r->results++;
            r->result = o->u.result.reason;
            break;
        }
    }
}

static void holder_in(struct rig *r, struct holder_in in)
{
    struct holder_outbox *out = calloc(1, sizeof *out);
    assert_non_null(out);
    in.now_ns = r->now;
    holder_step(r->h, &in, out);
    holder_check(r->h);
    from_holder(r, out);
    free(out);
}

/* As over a wire. */
static void to_holder(struct rig *r, const struct member_msg *m)
{
    struct member_map *map = malloc(sizeof *map);
    uint8_t *frame = malloc(MEMBER_MSG_MAX);
    assert_true(map != NULL && frame != NULL);
    struct member_msg back;
    assert_int_equal(
        member_msg_decode(frame, member_msg_encode(m, frame, MEMBER_MSG_MAX), &back, map), OK);
    holder_in(r, (struct holder_in){.kind = HOLDER_IN_MSG, .u.msg = &back});
    free(map);
    free(frame);
}

static void acceptor_in(struct rig *r, struct acceptor_in in)
{
    struct acceptor_outbox *out = calloc(1, sizeof *out);
    assert_non_null(out);
    in.now_ns = r->now;
    acceptor_step(r->a, &in, out);
    acceptor_check(r->a);
    bool asked = false;
    bool ok = true;
    for (uint32_t i = 0; i < out->count && ok; i++) {
        const struct acceptor_out *o = &out->out[i];
        if (o->kind == ACCEPTOR_OUT_PERSIST) {
            assert_false(asked);
            asked = true;
            ok = !r->disk_full;
            r->kept += ok;
            r->disk = ok ? *o->u.state : r->disk;
        }
    }
    if (asked) {
        acceptor_in(r, (struct acceptor_in){.kind = ACCEPTOR_IN_PERSISTED, .u.ok = ok});
    }
    for (uint32_t i = 0; i < out->count; i++) {
        const struct acceptor_out *o = &out->out[i];
        if (o->kind == ACCEPTOR_OUT_PERSIST && !ok) {
            break;
        }
        if (o->kind == ACCEPTOR_OUT_SEND) {
            r->sent++;
            if (o->to == 0) {
                to_acceptor(r, &o->u.msg);
            }
        } else if (o->kind != ACCEPTOR_OUT_PERSIST) {
            r->answered++;
            to_holder(r, &o->u.msg);
        }
    }
    free(out);
}

static void to_acceptor(struct rig *r, const struct member_msg *m)
{
    struct member_map *map = malloc(sizeof *map);
    uint8_t *frame = malloc(MEMBER_MSG_MAX);
    assert_true(map != NULL && frame != NULL);
    struct member_msg back;
    assert_int_equal(
        member_msg_decode(frame, member_msg_encode(m, frame, MEMBER_MSG_MAX), &back, map), OK);
    acceptor_in(r, (struct acceptor_in){.kind = ACCEPTOR_IN_MSG, .u.msg = &back});
    free(map);
    free(frame);
}

static void pass(struct rig *r, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        r->now += MS;
        if (acceptor_next_deadline(r->a) <= r->now) {
            acceptor_in(r, (struct acceptor_in){.kind = ACCEPTOR_IN_TIMER});
        }
        if (holder_next_deadline(r->h) <= r->now) {
            holder_in(r, (struct holder_in){.kind = HOLDER_IN_TIMER});
        }
    }
}

static void join(struct rig *r, uint64_t boot)
{
    struct holder_join j = {.boot = boot, .workers = 2, .peer_port = 9000, .at.port = 6000};
    text(j.at.host, "node");
    text(j.group, "s");
    holder_in(r, (struct holder_in){.kind = HOLDER_IN_JOIN, .u.join = &j});
}

static void one_acceptor_is_a_cluster(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    join(r, 77);
    pass(r, 300);
    assert_int_equal(r->views,
                     0); /* it may have lost its disk: for the length of a promise it waits */
    pass(r, 300);
    assert_int_equal(r->id, 1);
    assert_true(r->founder && view_is_member(&r->view, 1));
    assert_true(lease_valid(&r->lease, &r->view, r->now));
    assert_int_equal(r->disk.base.version, 1);
    pass(r, 5000);
    assert_true(lease_valid(&r->lease, &r->view, r->now));
    assert_int_equal(r->views, 1);
    rig_free(r);
}

static void a_kept_state_goes_on(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    join(r, 77);
    pass(r, 600);
    acceptor_init(r->a, &params, &r->genesis, &r->disk, 0, r->now);
    assert_true(acceptor_votes(r->a));
    assert_int_equal(acceptor_map(r->a)->version, 1);
    assert_true(acceptor_silence(r->a, 0) == UINT64_MAX);
    pass(r, 100);
    assert_true(lease_valid(&r->lease, &r->view, r->now));
    assert_true(acceptor_silence(r->a, 0) <= 50 * MS);
    rig_free(r);
}

static void a_full_disk_stops_votes_not_grants(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    join(r, 77);
    pass(r, 600);
    r->disk_full = true;
    struct member_change c = {.kind = MEMBER_CHANGE_FORCE, .nonce = 5, .id = 1};
    holder_in(r, (struct holder_in){.kind = HOLDER_IN_CHANGE, .u.change = &c});
    pass(r, 3000);
    assert_false(acceptor_votes(r->a));
    assert_int_equal(acceptor_map(r->a)->version, 1);
    assert_true(lease_valid(&r->lease, &r->view, r->now));
    r->disk_full = false;
    pass(r, 1900);
    assert_true(acceptor_votes(r->a));
    assert_int_equal(acceptor_map(r->a)->node_count, 0);
    assert_int_equal(r->expelled, 1);
    rig_free(r);
}

static void the_last_one_stays_in_the_map_when_it_stops(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    join(r, 77);
    pass(r, 600);
    holder_in(r, (struct holder_in){.kind = HOLDER_IN_RELEASE});
    assert_true(r->lease.until_ns == 0);
    pass(r, 2000);
    assert_int_equal(r->released, 0);
    assert_int_equal(acceptor_map(r->a)->node_count, 1);

    holder_init(r->h, &params, &r->genesis, r->now); /* the process again, at its address */
    join(r, 78);
    pass(r, 200);
    assert_int_equal(r->id, 2);
    assert_true(r->founder);
    assert_true(lease_valid(&r->lease, &r->view, r->now));
    rig_free(r);
}

static void persist_stands_before_what_depends_on_it(void **state)
{
    (void)state;
    struct rig *r = rig_new(3);
    r->disk.base = r->genesis;
    acceptor_init(r->a, &params, &r->genesis, &r->disk, 0, r->now);
    struct member_msg m = {.kind = MEMBER_MSG_PREPARE,
                           .cluster = map_cluster(&r->genesis),
                           .sender = 1,
                           .version = 1,
                           .ballot = 9};
    struct acceptor_in in = {.kind = ACCEPTOR_IN_MSG, .now_ns = r->now, .u.msg = &m};
    struct acceptor_outbox *out = calloc(1, sizeof *out);
    assert_non_null(out);
    acceptor_step(r->a, &in, out);
    assert_int_equal(out->count, 2);
    assert_int_equal(out->out[0].kind, ACCEPTOR_OUT_PERSIST);
    assert_int_equal(out->out[0].u.state->promised, 9);
    assert_int_equal(out->out[1].kind, ACCEPTOR_OUT_SEND);
    assert_int_equal(out->out[1].to, 1);
    assert_int_equal(out->out[1].u.msg.kind, MEMBER_MSG_PROMISE);

    out->count = 0; /* it failed: the promise was thrown away, and is asked for again */
    in = (struct acceptor_in){.kind = ACCEPTOR_IN_PERSISTED, .now_ns = r->now, .u.ok = false};
    acceptor_step(r->a, &in, out);
    assert_false(acceptor_votes(r->a));
    out->count = 0;
    in = (struct acceptor_in){.kind = ACCEPTOR_IN_MSG, .now_ns = r->now, .u.msg = &m};
    acceptor_step(r->a, &in, out);
    assert_int_equal(out->count, 2);
    assert_int_equal(out->out[0].kind, ACCEPTOR_OUT_PERSIST);
    free(out);
    rig_free(r);
}

static void strangers_are_not_heard(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    join(r, 77);
    pass(r, 600);
    struct member_msg m = {.kind = MEMBER_MSG_RENEW,
                           .cluster = map_cluster(&r->genesis) + 1,
                           .sender = MEMBER_NO_ACCEPTOR,
                           .id = 1,
                           .nonce = 1};
    unsigned answered = r->answered;
    to_acceptor(r, &m);
    assert_int_equal(r->answered, answered);
    m.cluster--;
    to_acceptor(r, &m);
    assert_true(r->answered > answered);
    rig_free(r);
}

static void an_operator_gets_an_answer(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    join(r, 77);
    pass(r, 600);
    struct member_change c = {.kind = MEMBER_CHANGE_LEAVE, .nonce = 5, .id = 1};
    holder_in(r, (struct holder_in){.kind = HOLDER_IN_CHANGE, .u.change = &c});
    assert_int_equal(r->results, 1);
    assert_int_equal(r->result, MEMBER_LAST);
    c.kind = MEMBER_CHANGE_FORCE;
    c.nonce = 6;
    holder_in(r, (struct holder_in){.kind = HOLDER_IN_CHANGE, .u.change = &c});
    pass(r, 700);
    assert_int_equal(r->results, 2);
    assert_int_equal(r->result, MEMBER_DONE);
    assert_int_equal(r->expelled, 1);
    assert_true(r->lease.until_ns == 0);
    rig_free(r);
}

static void nobody_answers_an_operator(void **state)
{
    (void)state;
    struct rig *r = rig_new(3); /* only one of three is there */
    struct member_change c = {.kind = MEMBER_CHANGE_LEAVE, .nonce = 5, .id = 1};
    holder_in(r, (struct holder_in){.kind = HOLDER_IN_CHANGE, .u.change = &c});
    pass(r, 4000);
    assert_int_equal(r->results, 0);
    pass(r, 1100);
    assert_int_equal(r->results, 1);
    assert_int_equal(r->result, MEMBER_PENDING);
    rig_free(r);
}

static void who_only_watches_follows_the_map(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    join(r, 77);
    pass(r, 600);
    holder_init(r->h, &params, &r->genesis, r->now);
    r->maps = 0;
    pass(r, 250);
    assert_int_equal(r->maps, 1);
    assert_int_equal(holder_map(r->h)->version, 1);
    assert_int_equal(holder_id(r->h), 0);
    rig_free(r);
}

/* The largest map there is, every node of it silent: a step still fits its outbox, and the plan
 * keeps every shard. */
static void the_largest_cluster_goes_silent(void **state)
{
    (void)state;
    struct rig *r = rig_new(1);
    static struct member_state big;
    struct member_map *m = &big.base;
    memset(&big, 0, sizeof big);
    make_genesis(m, 1);
    m->version = 9;
    m->group_count = MAP_GROUPS_MAX;
    for (unsigned g = 1; g < MAP_GROUPS_MAX; g++) {
        char name[16];
        snprintf(name, sizeof name, "s%u", g);
        text(m->groups[g].name, name);
    }
    for (unsigned i = 0; i < MAP_NODES_MAX; i++) {
        struct map_node *n = map_add(m, (uint16_t)(i % MAP_GROUPS_MAX));
        assert_non_null(n);
        text(n->at.host, "node");
        n->at.port = (uint16_t)(1000 + i);
        n->peer_port = 1;
        n->workers = 1;
        n->boot = i + 1;
        n->flags = MAP_MEMBER;
        m->groups[n->group].epoch = 1;
        m->groups[n->group].founded = n->group != MAP_PROXIES;
    }
    assert_true(map_ok(m));
    acceptor_init(r->a, &params, &r->genesis, &big, 0, r->now);
    pass(r, 2000);
    const struct member_map *now = acceptor_map(r->a);
    assert_int_equal(now->version, 10);
    assert_int_equal(map_members(now, MAP_PROXIES), 0);
    for (uint16_t g = 1; g < MAP_GROUPS_MAX; g++) {
        assert_int_equal(map_members(now, g), map_members(m, g));
    }
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_acceptor_is_a_cluster),
        cmocka_unit_test(a_kept_state_goes_on),
        cmocka_unit_test(a_full_disk_stops_votes_not_grants),
        cmocka_unit_test(the_last_one_stays_in_the_map_when_it_stops),
        cmocka_unit_test(persist_stands_before_what_depends_on_it),
        cmocka_unit_test(strangers_are_not_heard),
        cmocka_unit_test(an_operator_gets_an_answer),
        cmocka_unit_test(nobody_answers_an_operator),
        cmocka_unit_test(who_only_watches_follows_the_map),
        cmocka_unit_test(the_largest_cluster_goes_silent),
    };
    return cmocka_run_group_tests_name("member", tests, NULL, NULL);
}
