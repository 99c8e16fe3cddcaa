/* What a process proposes as the next cluster map, with etcd as the register. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/member/etcd_plan.h"

static struct member_map map;
static struct etcd_fact facts[MAP_NODES_MAX];
static struct etcd_plan plan;

static void set_text(char field[MAP_TEXT_MAX], const char *text)
{
    assert_true(map_text_set(field, text, strlen(text)));
}

static int start(void **state)
{
    (void)state;
    memset(&map, 0, sizeof map);
    memset(facts, 0, sizeof facts);
    map.next_id = 1;
    map.acceptor_count = 1;
    set_text(map.acceptors[0].host, "etcd");
    map.acceptors[0].port = 1;
    map.group_count = 3;
    set_text(map.groups[0].name, MAP_PROXIES_NAME);
    set_text(map.groups[1].name, "a");
    set_text(map.groups[2].name, "b");
    map.range_count = 2;
    map.ranges[0] = (struct map_range){0, 1};
    map.ranges[1] = (struct map_range){8000, 2};
    assert_true(map_genesis_ok(&map));
    return 0;
}

static struct member_join joiner(const char *group, unsigned port)
{
    struct member_join j = {
        .at.port = (uint16_t)port, .workers = 1, .peer_port = (uint16_t)(port + 10000)};
    set_text(j.group, group);
    set_text(j.at.host, "h");
    return j;
}

static void take(void)
{
    assert_true(map_ok(&plan.next));
    assert_true(map_follows(&map, &plan.next));
    map = plan.next;
    memset(facts, 0, sizeof facts);
}

static enum member_reason try_join(const char *group, unsigned port)
{
    struct member_join j = joiner(group, port);
    return etcd_plan_join(&map, facts, &j, 1000 + map.next_id, &plan);
}

/* Its id. */
static uint32_t joins(const char *group, unsigned port)
{
    uint32_t id = map.next_id;
    assert_int_equal(try_join(group, port), MEMBER_DONE);
    take();
    return id;
}

static unsigned at(uint32_t id)
{
    return (unsigned)(map_by_id(&map, id) - map.nodes);
}

static void first_is_founder_others_learn(void **state)
{
    (void)state;
    uint32_t a = joins("a", 1);
    uint32_t b = joins("a", 2);
    uint32_t p = joins(MAP_PROXIES_NAME, 3);
    assert_int_equal(map_by_id(&map, a)->flags, MAP_MEMBER | MAP_FOUNDER);
    assert_int_equal(map_by_id(&map, b)->flags, 0);
    assert_int_equal(map_by_id(&map, p)->flags, MAP_MEMBER);
    assert_int_equal(map.groups[1].epoch, 2);
    assert_int_equal(map.groups[2].epoch, 0);
    assert_true(etcd_plan_promote(&map, b, &plan));
    take();
    assert_int_equal(map_members(&map, 1), 2);
    assert_false(etcd_plan_promote(&map, b, &plan));
    assert_false(etcd_plan_promote(&map, 99, &plan));
}

static void refusals(void **state)
{
    (void)state;
    assert_int_equal(try_join("c", 1), MEMBER_NO_GROUP);
    (void)joins("a", 1);
    assert_int_equal(try_join("a", 1), MEMBER_OCCUPIED);
    struct member_join j = joiner("a", 2);
    j.workers = 2;
    assert_int_equal(etcd_plan_join(&map, facts, &j, 7, &plan), MEMBER_WORKERS);
    for (unsigned i = 1; i < VIEW_NODES_MAX; i++) {
        (void)joins("a", 1 + i);
    }
    assert_int_equal(try_join("a", 100), MEMBER_FULL);
}

static void silent_ones_go_but_not_the_last(void **state)
{
    (void)state;
    uint32_t a = joins("a", 1);
    uint32_t b = joins("a", 2);
    uint32_t p = joins(MAP_PROXIES_NAME, 3);
    assert_true(etcd_plan_promote(&map, b, &plan));
    take();
    assert_false(etcd_plan_leave_out(&map, facts, p, &plan)); /* nobody is silent */
    facts[at(a)].silent = true;
    assert_true(etcd_plan_leave_out(&map, facts, p, &plan));
    assert_int_equal(plan.out_count, 1);
    assert_int_equal(plan.out[0], a);
    facts[at(b)].silent = true; /* both: either may have the newest data */
    assert_false(etcd_plan_leave_out(&map, facts, p, &plan));
    facts[at(b)].forced = true;
    assert_true(etcd_plan_leave_out(&map, facts, p, &plan));
    assert_int_equal(plan.out[0], b);
    facts[at(b)].silent = false; /* forced, but alive: it goes by itself */
    facts[at(a)].silent = false;
    assert_false(etcd_plan_leave_out(&map, facts, p, &plan));
    facts[at(p)].silent = true; /* the one who asks */
    assert_false(etcd_plan_leave_out(&map, facts, p, &plan));
}

static void a_restarted_process_takes_its_place(void **state)
{
    (void)state;
    uint32_t a = joins("a", 1);
    uint32_t b = joins("a", 2);
    assert_true(etcd_plan_promote(&map, b, &plan));
    take();
    facts[at(a)].silent = true;
    uint32_t again = joins("a", 1);
    assert_null(map_by_id(&map, a));
    assert_int_equal(map_by_id(&map, again)->flags, 0);
    /* the last one with data, too: its process is gone, and its learners have nobody to learn from
     */
    facts[at(b)].silent = true;
    uint32_t anew = joins("a", 2);
    assert_int_equal(map_by_id(&map, anew)->flags, MAP_MEMBER | MAP_FOUNDER);
    assert_null(map_by_id(&map, again));
    assert_int_equal(map_members(&map, 1), 1);
}

static void who_goes_by_itself(void **state)
{
    (void)state;
    uint32_t a = joins("a", 1);
    uint32_t b = joins("a", 2);
    assert_true(etcd_plan_is_last(&map, facts, a));
    assert_false(etcd_plan_is_last(&map, facts, b));
    assert_true(etcd_plan_promote(&map, b, &plan));
    take();
    assert_false(etcd_plan_is_last(&map, facts, a));
    facts[at(b)].silent = true;
    assert_true(etcd_plan_is_last(&map, facts, a));
    assert_true(etcd_plan_go(&map, a, true, &plan));
    take();
    assert_true(map_was_ordered_out(&map, a));
    assert_true(etcd_plan_go(&map, b, false, &plan));
    take();
    assert_false(map_was_ordered_out(&map, b));
    assert_int_equal(map.node_count, 0);
    assert_false(etcd_plan_go(&map, b, false, &plan));
    uint32_t c = joins("a", 2);
    assert_true((map_by_id(&map, c)->flags & MAP_FOUNDER) != 0);
    for (unsigned i = 0; i < MAP_ORDERED_MAX + 3;
         i++) { /* the list of those sent away is bounded */
        uint32_t x = joins("b", 50);
        assert_true(etcd_plan_go(&map, x, true, &plan));
        take();
        assert_true(map_was_ordered_out(&map, x));
    }
}

static void at_most_three_go_at_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        (void)joins(MAP_PROXIES_NAME, 1 + i);
    }
    for (unsigned i = 0; i < 5; i++) {
        facts[i].silent = true;
    }
    assert_true(etcd_plan_leave_out(&map, facts, map.nodes[5].id, &plan));
    assert_int_equal(plan.out_count, ETCD_OUT_MAX);
    take();
    assert_int_equal(map.node_count, 3);
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
    const struct CMUnitTest tests[] = {T(first_is_founder_others_learn),
                                       T(refusals),
                                       T(silent_ones_go_but_not_the_last),
                                       T(a_restarted_process_takes_its_place),
                                       T(who_goes_by_itself),
                                       T(at_most_three_go_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
