/* The proxy's routes when the nodes of the shards change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backends/shard/shard.h"
#include "common/cfg.h"
#include "common/mem.h"
#include "proxy/route.h"

#define WORKERS 2

struct fixture {
    struct loop *loop;
    struct shard_pool *pool;
    struct route route;
    unsigned left_partition[16], left_place[16];
    unsigned left;
};

static void on_done(struct shard_req *r, enum shard_result result, struct span bytes,
                    struct span request)
{
    (void)r;
    (void)result;
    (void)bytes;
    (void)request;
    fail();
}

static struct cluster_map *map_of(uint64_t version, const char *first, const char *second)
{
    char *lines[] = {mem_strdup(first), mem_strdup(second)};
    struct cluster_settings set = {.shard = {.v = lines, .n = 2}, .node_workers = WORKERS};
    struct cluster_map *m = NULL;
    struct errmsg why;
    assert_int_equal(cluster_map_new(&set, version, &m, &why), OK);
    mem_free(lines[0]);
    mem_free(lines[1]);
    for (uint32_t i = 0; i < m->node_count; i++) {
        m->nodes[i].id = m->nodes[i].port; /* what a membership service would have given */
    }
    return m;
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.loop = loop_new()};
    struct shard_options o = {.connect_timeout_ms = 1000, .retry_max_ms = 100};
    f.pool = shard_pool_new(f.loop, &o, on_done);
    struct cluster_map *m =
        map_of(1, "one auto 127.0.0.1:100 127.0.0.1:200 127.0.0.1:300", "two auto 127.0.0.1:400");
    struct errmsg why;
    assert_int_equal(route_init(&f.route, m, true, f.pool, &why), OK);
    cluster_map_drop(m);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    route_deinit(&f->route);
    shard_pool_free(f->pool);
    loop_free(f->loop);
    return 0;
}

static void on_left(void *arg, unsigned partition, unsigned place)
{
    struct fixture *f = arg;
    f->left_partition[f->left] = partition;
    f->left_place[f->left++] = place;
}

static void follow(struct fixture *f, uint64_t version, const char *first, const char *second)
{
    struct cluster_map *m = map_of(version, first, second);
    f->left = 0;
    route_follow(&f->route, m, f->pool, on_left, f);
    cluster_map_drop(m);
}

static uint16_t port_at(const struct fixture *f, unsigned partition, unsigned place)
{
    uint16_t port = 0;
    unsigned e = route_replica(&f->route, partition, place);
    assert_int_not_equal(e, ROUTE_HOLE);
    shard_endpoint_address(f->pool, e, &port);
    return port;
}

static void who_stays_keeps_his_place(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->route.partition[1].live, 3);
    assert_int_equal(port_at(f, 1, 2), 301);

    follow(f, 2, "one auto 127.0.0.1:100 127.0.0.1:300", "two auto 127.0.0.1:400");

    assert_int_equal(f->left, WORKERS);
    assert_int_equal(f->left_place[0], 1);
    assert_int_equal(f->left_partition[1], 1);
    assert_int_equal(f->route.partition[1].live, 2);
    assert_int_equal(port_at(f, 1, 0), 101);
    assert_int_equal(route_replica(&f->route, 1, 1), ROUTE_HOLE);
    assert_int_equal(port_at(f, 1, 2), 301);
    assert_int_equal(f->route.partition[1].order[1], 2);
}

static void a_place_and_an_address_are_used_again(void **state)
{
    struct fixture *f = *state;
    unsigned endpoint = route_replica(&f->route, 0, 1);
    unsigned endpoints = shard_endpoint_count(f->pool);
    follow(f, 2, "one auto 127.0.0.1:100 127.0.0.1:300", "two auto 127.0.0.1:400");
    assert_false(shard_endpoint_is_open(f->pool, endpoint));

    follow(f, 3, "one auto 127.0.0.1:100 127.0.0.1:300 127.0.0.1:200", "two auto 127.0.0.1:400");

    assert_int_equal(f->left, 0);
    assert_int_equal(route_replica(&f->route, 0, 1), endpoint);
    assert_int_equal(shard_endpoint_count(f->pool), endpoints);
    assert_true(shard_endpoint_is_open(f->pool, endpoint));
    /* the order is the map's, not that of the places */
    assert_int_equal(f->route.partition[0].order[1], 2);
    assert_int_equal(f->route.partition[0].order[2], 1);
}

static void a_shard_may_have_nobody_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct cluster_map *m = map_of(2, "one auto 127.0.0.1:100", "two auto 127.0.0.1:400");
    m->shards[1].node_count = 0;
    m->node_count = 1;

    route_follow(&f->route, m, f->pool, on_left, f);
    cluster_map_drop(m);

    assert_int_equal(f->route.partition[WORKERS].live, 0);
    assert_int_equal(f->route.partition[WORKERS].places, 0);
    assert_int_equal(route_replica(&f->route, WORKERS, 0), ROUTE_HOLE);
}

static void replicas_are_found_by_their_incarnation(void **state)
{
    struct fixture *f = *state;
    unsigned tag = route_tag(&f->route, 0, 1);
    assert_int_equal(tag, 200);
    assert_int_equal(route_tagged(&f->route, 0, tag), 1);

    follow(f, 2, "one auto 127.0.0.1:100 127.0.0.1:300 127.0.0.1:500", "two auto 127.0.0.1:400");
    assert_int_equal(route_tagged(&f->route, 0, tag), -1);

    /* its place is free now, and somebody else takes it */
    follow(f, 3, "one auto 127.0.0.1:100 127.0.0.1:300 127.0.0.1:500 127.0.0.1:600",
           "two auto 127.0.0.1:400");
    assert_int_equal(port_at(f, 0, 1), 600);
    assert_int_equal(route_tagged(&f->route, 0, tag), -1);
    assert_int_equal(route_tagged(&f->route, 0, 600), 1);
}

static void moved_names_a_partition(void **state)
{
    struct fixture *f = *state;
    unsigned slot = 0;
    unsigned partition = 0;
    unsigned endpoint = 0;
    assert_true(
        route_moved(&f->route, SPAN_LIT("MOVED 7 127.0.0.1:401"), &slot, &partition, &endpoint));
    assert_int_equal(slot, 7);
    assert_int_equal(partition, WORKERS + 1);
    assert_int_equal(endpoint, route_replica(&f->route, WORKERS + 1, 0));
    assert_false(
        route_moved(&f->route, SPAN_LIT("MOVED 7 127.0.0.1:402"), &slot, &partition, &endpoint));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_stays_keeps_his_place, setup, teardown),
        cmocka_unit_test_setup_teardown(a_place_and_an_address_are_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shard_may_have_nobody_for_a_while, setup, teardown),
        cmocka_unit_test_setup_teardown(replicas_are_found_by_their_incarnation, setup, teardown),
        cmocka_unit_test_setup_teardown(moved_names_a_partition, setup, teardown),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
