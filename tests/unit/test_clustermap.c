#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clustermap.h"

static struct cfg *c;
static struct errmsg why;

static enum err build(const char *text, struct cluster_map **out)
{
    const struct cfg_table table = {cluster_options, cluster_option_count, 0};
    cfg_free(c);
    c = cfg_new(&table, 1, sizeof(struct cluster_settings));
    enum err e = cfg_load_text(c, "x", span_str(text), &why);
    return e != OK ? e : cluster_map_new(cfg_settings(c), 7, out, &why);
}

static void expect_slots(const struct cluster_map *m, unsigned shard, const char *wanted)
{
    struct buf b = {0};
    cluster_add_slots(&b, m, shard);
    assert_true(span_eq(buf_span(&b), span_str(wanted)));
    buf_free(&b);
}

static void auto_shards_share_evenly(void **state)
{
    (void)state;
    struct cluster_map *m = NULL;
    assert_int_equal(build("node-workers 2\nshard a auto h1:7000 h2:7000\nshard b auto h1:7010 "
                           "[::1]:7010\nshard c auto h3:1\n",
                           &m),
                     OK);
    assert_int_equal(m->version, 7);
    assert_int_equal(m->shard_count, 3);
    assert_int_equal(m->node_count, 5);
    expect_slots(m, 0, "0-5461");
    expect_slots(m, 1, "5462-10922");
    expect_slots(m, 2, "10923-16383");
    assert_int_equal(m->shards[0].slot_count + m->shards[1].slot_count + m->shards[2].slot_count,
                     SLOT_COUNT);
    assert_string_equal(cluster_node(m, 1, 1)->host, "::1");
    assert_int_equal(cluster_slot_port(m, cluster_node(m, 1, 1), 7), 7011);
    assert_int_equal(cluster_find_node(m, SPAN_LIT("h1"), 7010), 2);
    assert_int_equal(cluster_find_node(m, SPAN_LIT("h1"), 7011), -1);
    struct cluster_map *again = cluster_map_hold(m);
    cluster_map_drop(m);
    assert_int_equal(again->workers, 2);
    cluster_map_drop(again);
}

static void explicit_slots_and_auto_mix(void **state)
{
    (void)state;
    struct cluster_map *m = NULL;
    assert_int_equal(build("shard a 0-99,200 h:1\nshard b auto h:2\n", &m), OK);
    expect_slots(m, 0, "0-99,200");
    expect_slots(m, 1, "100-199,201-16383");
    assert_int_equal(m->shards[0].slot_count, 101);
    cluster_map_drop(m);
}

static void no_shard_is_no_cluster(void **state)
{
    (void)state;
    struct cluster_map *m = (struct cluster_map *)(void *)&why;
    assert_int_equal(build("", &m), OK);
    assert_null(m);
}

static void wrong_maps_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"shard a 0-99 h:1\n", "shard: 16284 slots belong to no shard"},
        {"shard a 0-16383 h:1\nshard b 5 h:2\n", "shard: b: slot 5 belongs to two shards"},
        {"shard a auto h:1\nshard a auto h:2\n", "shard: a is there twice"},
        {"shard a 0-16383 h:1\nshard b auto h:2\n",
         "shard: no slots are left for 1 shards that say auto"},
        {"shard a 9-3 h:1\n", "x:1: shard: 9-3 is no range of slots between 0 and 16383"},
        {"shard a 0-16384 h:1\n", "x:1: shard: 0-16384 is no range of slots between 0 and 16383"},
        {"shard a auto h:0\n", "x:1: shard: a: h:0 is no host:port"},
        {"shard a auto h\n", "x:1: shard: a: h is no host:port"},
        {"shard a auto\n", "shard: needs a name, slots, and 1 to 16 host:port"},
        {"node-workers 4\nshard a auto h:10\nshard b auto h:13\n",
         "shard: b: the ports of h:13 overlap those of another node"},
        {"node-workers 4\nshard a auto h:65533\n",
         "shard: a: h:65533 leaves no ports for 4 workers"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cluster_map *m = NULL;
        assert_int_not_equal(build(cases[i].text, &m), OK);
        assert_string_equal(why.text, cases[i].wanted);
    }
}

static void nodes_are_optional_if_the_caller_says_so(void **state)
{
    (void)state;
    struct cluster_settings set = {.node_workers = 2, .nodes_optional = true};
    char first[] = "a 0-99";
    char second[] = "b auto h:1";
    char *lines[] = {first, second};
    set.shard = (struct cfg_strings){.v = lines, .n = 2};
    struct cluster_map *m = NULL;
    assert_int_equal(cluster_map_new(&set, 3, &m, &why), OK);
    assert_int_equal(m->shards[0].node_count, 0);
    assert_int_equal(m->shards[1].node_count, 1);
    assert_int_equal(m->shards[1].slot_count, SLOT_COUNT - 100);
    cluster_map_drop(m);
}

static int free_cfg(void **state)
{
    (void)state;
    cfg_free(c);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_shards_share_evenly),
        cmocka_unit_test(explicit_slots_and_auto_mix),
        cmocka_unit_test(no_shard_is_no_cluster),
        cmocka_unit_test(wrong_maps_are_refused_with_a_reason),
        cmocka_unit_test(nodes_are_optional_if_the_caller_says_so),
    };
    return cmocka_run_group_tests_name("clustermap", tests, NULL, free_cfg);
}
