/* The cluster map: what is one, what may follow it, how it looks on the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/map.h"
#include "coherence/ts.h"

static void text(char field[MAP_TEXT_MAX], const char *s)
{
    assert_true(map_text_set(field, s, strlen(s)));
}

static void genesis(struct member_map *m)
{
    memset(m, 0, sizeof *m);
    m->next_id = 1;
    m->acceptor_count = 3;
    for (unsigned i = 0; i < 3; i++) {
        text(m->acceptors[i].host, "10.0.0.1");
        m->acceptors[i].port = (uint16_t)(7000 + i);
    }
    m->group_count = 3;
    text(m->groups[0].name, MAP_PROXIES_NAME);
    text(m->groups[1].name, "a");
    text(m->groups[2].name, "b");
    m->range_count = 2;
    m->ranges[0] = (struct map_range){0, 1};
    m->ranges[1] = (struct map_range){100, 2};
}

static struct map_node *add(struct member_map *m, uint16_t group, uint8_t flags)
{
    struct map_node *n = map_add(m, group);
    if (n == NULL) {
        return NULL;
    }
    n->boot = 1000 + n->id;
    n->workers = 2;
    n->peer_port = 9000;
    text(n->at.host, "host");
    n->at.port = (uint16_t)(1000 + 2 * n->id);
    n->flags = flags;
    return n;
}

/* Version 1: proxies 1; shard a: 2, 3 and learner 4; shard b: 5. */
static void sample(struct member_map *m)
{
    genesis(m);
    m->version = 1;
    add(m, 0, MAP_MEMBER);
    add(m, 1, MAP_MEMBER | MAP_FOUNDER);
    add(m, 1, MAP_MEMBER);
    add(m, 1, 0);
    add(m, 2, MAP_MEMBER | MAP_FOUNDER);
    for (unsigned g = 0; g < 3; g++) {
        m->groups[g].epoch = 1;
        m->groups[g].founded = g != 0;
    }
    assert_true(map_ok(m));
}

static void a_map_without_nodes_is_a_beginning(void **state)
{
    (void)state;
    static struct member_map m;
    genesis(&m);
    assert_true(map_genesis_ok(&m));
    struct view v = {.epoch = 77};
    assert_false(map_view(&m, 1, &v));
    assert_int_equal(v.epoch, 77);
    sample(&m);
    assert_false(map_genesis_ok(&m));
}

static void groups_are_views(void **state)
{
    (void)state;
    static struct member_map m;
    sample(&m);
    struct view v;
    assert_true(map_view(&m, 1, &v));
    assert_int_equal(v.members, 2);
    assert_int_equal(v.learners, 1);
    assert_true(view_is_member(&v, 2) && view_is_member(&v, 3) && view_is_learner(&v, 4));
    assert_true(map_view(&m, 0, &v));
    assert_true(v.members == 1 && v.ids[0] == 1);
}

static void things_are_found(void **state)
{
    (void)state;
    static struct member_map m;
    sample(&m);
    assert_int_equal(map_by_id(&m, 3)->id, 3);
    assert_null(map_by_id(&m, 9));
    assert_int_equal(map_by_boot(&m, 1004)->id, 4);
    struct map_address at = m.nodes[4].at;
    assert_int_equal(map_by_address(&m, &at)->id, 5);
    at.port++;
    assert_null(map_by_address(&m, &at));
    assert_int_equal(map_group_by_name(&m, "b"), 2);
    assert_int_equal(map_group_by_name(&m, "bb"), MAP_NO_GROUP);
    assert_int_equal(map_slot_group(&m, 99), 1);
    assert_int_equal(map_slot_group(&m, 100), 2);
    assert_int_equal(map_slot_group(&m, MAP_SLOTS - 1), 2);
    assert_int_equal(map_members(&m, 1), 2);
}

typedef void (*break_fn)(struct member_map *m);
#define BREAK(name, statement)                                                                     \
    static void name(struct member_map *m)                                                         \
    {                                                                                              \
        statement;                                                                                 \
    }
BREAK(two_acceptors, m->acceptor_count = 2)
BREAK(no_acceptors, m->acceptor_count = 0)
BREAK(same_acceptor, m->acceptors[1] = m->acceptors[0])
BREAK(blank_in_host, m->acceptors[0].host[2] = ' ')
BREAK(bytes_after_host, m->nodes[0].at.host[40] = 'x')
BREAK(unterminated, memset(m->groups[1].name, 'x', MAP_TEXT_MAX))
BREAK(no_groups, m->group_count = 0)
BREAK(too_many_groups, m->group_count = MAP_GROUPS_MAX + 1)
BREAK(same_name, text(m->groups[2].name, "a"))
BREAK(proxies_named_else, text(m->groups[0].name, "p"))
BREAK(shard_named_proxies, text(m->groups[2].name, MAP_PROXIES_NAME))
BREAK(slots_to_proxies, m->ranges[0].group = 0)
BREAK(slots_to_nobody, m->ranges[1].group = 3)
BREAK(slots_begin_late, m->ranges[0].first = 1)
BREAK(slots_out_of_order, m->ranges[1].first = 0)
BREAK(slots_beyond, m->ranges[1].first = MAP_SLOTS)
BREAK(no_slots, m->range_count = 0)
BREAK(ids_fall, m->nodes[1].id = 1)
BREAK(id_not_given_yet, m->nodes[4].id = m->next_id)
BREAK(id_zero, m->nodes[0].id = 0)
BREAK(next_id_beyond, m->next_id = TS_ID_MAX + 2)
BREAK(no_boot, m->nodes[0].boot = 0)
BREAK(same_boot, m->nodes[0].boot = m->nodes[3].boot)
BREAK(same_address, m->nodes[2].at = m->nodes[3].at)
BREAK(group_unknown, m->nodes[2].group = 3)
BREAK(no_workers, m->nodes[2].workers = 0)
BREAK(ports_beyond, m->nodes[2].at.port = UINT16_MAX)
BREAK(peer_ports_beyond, m->nodes[2].peer_port = UINT16_MAX)
BREAK(no_port, m->nodes[2].at.port = 0)
BREAK(unknown_flag, m->nodes[2].flags = 4)
BREAK(founding_learner, m->nodes[3].flags = MAP_FOUNDER)
BREAK(learning_proxy, m->nodes[0].flags = 0)
BREAK(learners_only, m->nodes[4].flags = 0)
BREAK(members_without_epoch, m->groups[2].epoch = 0)
BREAK(members_not_founded, m->groups[2].founded = false)
BREAK(founded_without_members, m->node_count = 4)
BREAK(founded_proxies, m->groups[0].founded = true)
BREAK(too_many_ordered, m->ordered_count = MAP_ORDERED_MAX + 1)
BREAK(ordered_unknown, m->ordered_count = 1; m->ordered_out[0] = m->next_id)

static void nonsense_is_no_map(void **state)
{
    (void)state;
    static const break_fn breaks[] = {two_acceptors,
                                      no_acceptors,
                                      same_acceptor,
                                      blank_in_host,
                                      bytes_after_host,
                                      unterminated,
                                      no_groups,
                                      too_many_groups,
                                      same_name,
                                      proxies_named_else,
                                      shard_named_proxies,
                                      slots_to_proxies,
                                      slots_to_nobody,
                                      slots_begin_late,
                                      slots_out_of_order,
                                      slots_beyond,
                                      no_slots,
                                      ids_fall,
                                      id_not_given_yet,
                                      id_zero,
                                      next_id_beyond,
                                      no_boot,
                                      same_boot,
                                      same_address,
                                      group_unknown,
                                      no_workers,
                                      ports_beyond,
                                      peer_ports_beyond,
                                      no_port,
                                      unknown_flag,
                                      founding_learner,
                                      learning_proxy,
                                      learners_only,
                                      members_without_epoch,
                                      members_not_founded,
                                      founded_without_members,
                                      founded_proxies,
                                      too_many_ordered,
                                      ordered_unknown};
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        static struct member_map m;
        sample(&m);
        breaks[i](&m);
        if (map_ok(&m)) {
            fail_msg("break %zu is taken for a map", i);
        }
    }
}

static void a_full_group_and_a_full_map_take_nobody(void **state)
{
    (void)state;
    static struct member_map m;
    sample(&m);
    for (unsigned i = 3; i < VIEW_NODES_MAX; i++) {
        assert_non_null(add(&m, 1, 0));
    }
    assert_null(add(&m, 1, 0));
    assert_true(map_ok(&m));
    m.next_id = TS_ID_MAX;
    assert_non_null(add(&m, 2, 0));
    assert_true(map_ok(&m));
    assert_null(add(&m, 2, 0)); /* the ids have run out */
}

static void next_of(const struct member_map *base, struct member_map *next)
{
    *next = *base;
    next->version++;
}

static void only_what_changed_gets_an_epoch(void **state)
{
    (void)state;
    static struct member_map base;
    static struct member_map next;
    sample(&base);
    next_of(&base, &next);
    assert_true(map_follows(&base, &next)); /* nothing but the version */
    next.groups[1].epoch++;
    assert_false(map_follows(&base, &next));
    next.nodes[3].flags = MAP_MEMBER; /* promoted */
    assert_true(map_follows(&base, &next));
    next.groups[2].epoch++;
    assert_false(map_follows(&base, &next));
    next_of(&base, &next);
    map_remove(&next, 3);
    assert_false(map_follows(&base, &next));
    next.groups[1].epoch++;
    assert_true(map_follows(&base, &next));
    next_of(&base, &next);
    next.groups[2].epoch++;
    add(&next, 2, 0);
    assert_true(map_follows(&base, &next));
}

static void what_was_agreed_on_stays(void **state)
{
    (void)state;
    static struct member_map base;
    static struct member_map next;
    sample(&base);
    for (unsigned i = 0; i < 9; i++) {
        next_of(&base, &next);
        next.groups[1].epoch++; /* as if something had changed there */
        switch (i) {
        case 0:
            next.version++;
            break;
        case 1:
            next.nodes[2].flags = 0; /* a member becomes a learner again */
            break;
        case 2:
            next.nodes[2].at.port += 500;
            break;
        case 3:
            next.nodes[2].boot++;
            break;
        case 4:
            text(next.acceptors[0].host, "elsewhere");
            break;
        case 5:
            next.ranges[1].first = 200;
            break;
        case 6: /* an id given again */
            base.next_id = 20;
            next.next_id = 20;
            map_remove(&next, 3);
            map_add(&next, 1);
            next.nodes[4] = base.nodes[3];
            next.nodes[4].id = 19;
            break;
        case 7:
            text(next.groups[2].name, "c");
            break;
        default:
            base.next_id = 30; /* the counter goes back */
            break;
        }
        assert_false(map_follows(&base, &next));
        sample(&base);
    }
}

static void operators_orders_are_remembered(void **state)
{
    (void)state;
    static struct member_map m;
    sample(&m);
    m.ordered_count = 2;
    m.ordered_out[0] = 3;
    m.ordered_out[1] = 5;
    assert_true(map_ok(&m));
    assert_true(map_was_ordered_out(&m, 5));
    assert_false(map_was_ordered_out(&m, 4));
}

static void the_cluster_is_its_acceptors(void **state)
{
    (void)state;
    static struct member_map a;
    static struct member_map b;
    sample(&a);
    genesis(&b);
    assert_true(map_cluster(&a) == map_cluster(&b));
    b.acceptors[2].port++;
    assert_true(map_cluster(&a) != map_cluster(&b));
}

static void maps_come_back_from_the_wire(void **state)
{
    (void)state;
    static struct member_map m;
    static struct member_map back;
    static uint8_t bytes[MAP_WIRE_MAX + 1];
    static uint8_t again[MAP_WIRE_MAX];
    sample(&m);
    m.ordered_count = 1;
    m.ordered_out[0] = 2;
    size_t n = map_encode(&m, bytes, MAP_WIRE_MAX);
    assert_int_equal(n, map_size(&m));
    assert_int_equal(map_decode(bytes, n, &back), OK);
    assert_memory_equal(&back, &m, sizeof m);
    for (size_t len = 0; len < n; len++) {
        assert_int_equal(map_decode(bytes, len, &back), ERR_PROTO);
    }
    bytes[n] = 0;
    assert_int_equal(map_decode(bytes, n + 1, &back), ERR_PROTO);
    uint64_t rng = 88172645463325252u;
    for (unsigned i = 0; i < 100000; i++) {
        map_encode(&m, bytes, MAP_WIRE_MAX);
        for (unsigned flips = 0; flips < 1 + i % 3; flips++) {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            bytes[(rng >> 8) % n] ^= (uint8_t)(1u << (rng >> 40) % 8);
        }
        if (map_decode(bytes, n, &back) == OK) {
            assert_int_equal(map_encode(&back, again, sizeof again), n);
            assert_memory_equal(again, bytes, n);
        }
    }
}

static void the_largest_map_fits(void **state)
{
    (void)state;
    static struct member_map m;
    static struct member_map back;
    static uint8_t bytes[MAP_WIRE_MAX];
    memset(&m, 0, sizeof m);
    m.next_id = 100000;
    m.version = 9;
    m.acceptor_count = 5;
    char longest[MAP_TEXT_MAX];
    for (unsigned i = 0; i < 5; i++) {
        snprintf(longest, sizeof longest, "%063u", i);
        text(m.acceptors[i].host, longest);
        m.acceptors[i].port = 1;
    }
    m.group_count = MAP_GROUPS_MAX;
    for (unsigned g = 0; g < MAP_GROUPS_MAX; g++) {
        snprintf(longest, sizeof longest, "%063u", g);
        text(m.groups[g].name, g == 0 ? MAP_PROXIES_NAME : longest);
    }
    m.range_count = MAP_RANGES_MAX;
    for (unsigned r = 0; r < MAP_RANGES_MAX; r++) {
        m.ranges[r] = (struct map_range){(uint16_t)(r * 60), (uint16_t)(1 + r % 64)};
    }
    for (unsigned i = 0; i < MAP_NODES_MAX; i++) {
        struct map_node *n = map_add(&m, (uint16_t)(1 + i % 64));
        assert_non_null(n);
        snprintf(longest, sizeof longest, "%063u", i);
        text(n->at.host, longest);
        n->at.port = 1;
        n->peer_port = 1;
        n->workers = MAP_WORKERS_MAX;
        n->boot = i + 1;
        n->flags = MAP_MEMBER;
        m.groups[n->group].epoch = 1;
        m.groups[n->group].founded = true;
    }
    m.ordered_count = MAP_ORDERED_MAX;
    for (unsigned i = 0; i < MAP_ORDERED_MAX; i++) {
        m.ordered_out[i] = i + 1;
    }
    assert_true(map_ok(&m));
    assert_null(map_add(&m, 0));
    size_t n = map_encode(&m, bytes, sizeof bytes);
    assert_int_equal(map_decode(bytes, n, &back), OK);
    assert_memory_equal(&back, &m, sizeof m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_map_without_nodes_is_a_beginning),
        cmocka_unit_test(groups_are_views),
        cmocka_unit_test(things_are_found),
        cmocka_unit_test(nonsense_is_no_map),
        cmocka_unit_test(a_full_group_and_a_full_map_take_nobody),
        cmocka_unit_test(only_what_changed_gets_an_epoch),
        cmocka_unit_test(what_was_agreed_on_stays),
        cmocka_unit_test(operators_orders_are_remembered),
        cmocka_unit_test(the_cluster_is_its_acceptors),
        cmocka_unit_test(maps_come_back_from_the_wire),
        cmocka_unit_test(the_largest_map_fits),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
