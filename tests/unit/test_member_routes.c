/* Maps between configuration, what was agreed, and routes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/member/routes.h"
#include "common/buf.h"
#include "common/mem.h"

static struct member_map map;
static struct errmsg why;

/* acceptors: words; shards: lines, ended by NULL. */
static enum err make(const char *acceptors, const char *const *shards, struct member_map *out)
{
    struct cfg_strings words = {0};
    char *lines[MAP_GROUPS_MAX + 4];
    size_t n = 0;
    for (; shards[n] != NULL; n++) {
        lines[n] = mem_strdup(shards[n]);
    }
    assert_int_equal(cfg_split(span_str(acceptors), &words), OK);
    struct member_settings set = {.acceptors = words};
    struct cluster_settings s = {.shard = {.v = lines, .n = n}, .node_workers = 1};
    enum err e = genesis_make(&set, &s, out, &why);
    cfg_strings_free(&words);
    for (size_t i = 0; i < n; i++) {
        mem_free(lines[i]);
    }
    return e;
}

static void a_genesis_is_what_the_configuration_says(void **state)
{
    (void)state;
    assert_int_equal(make("h:1 h:2 h:3", (const char *[]){"a 0-99 n:1", "b auto", NULL}, &map), OK);
    assert_true(map_genesis_ok(&map));
    assert_int_equal(map.acceptor_count, 3);
    assert_int_equal(map.group_count, 3);
    assert_int_equal(map_slot_group(&map, 99), map_group_by_name(&map, "a"));
    assert_int_equal(map_slot_group(&map, 100), map_group_by_name(&map, "b"));
    assert_int_equal(map.node_count, 0);
}

static void a_proxy_knows_no_shards(void **state)
{
    (void)state;
    assert_int_equal(make("h:1", (const char *[]){NULL}, &map), OK);
    assert_true(map_genesis_ok(&map));
    assert_int_equal(map.group_count, 1);
    assert_null(routes_make(&map, 0));
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    assert_int_equal(make("", (const char *[]){"a auto", NULL}, &map), ERR_CONFIG);
    assert_non_null(strstr(why.text, "needs `acceptors`"));
    assert_int_equal(make("h:1", (const char *[]){"proxies auto", NULL}, &map), ERR_CONFIG);
    assert_non_null(strstr(why.text, "proxies cannot be the name of a shard"));
    assert_int_equal(make("h:1", (const char *[]){"a 0-5", NULL}, &map), ERR_CONFIG);
    assert_non_null(strstr(why.text, "belong to no shard"));

    char text[MAP_GROUPS_MAX][32];
    const char *many[MAP_GROUPS_MAX + 1] = {NULL};
    for (unsigned i = 0; i < MAP_GROUPS_MAX; i++) {
        (void)snprintf(text[i], sizeof text[i], "s%u auto", i);
        many[i] = text[i];
    }
    assert_int_equal(make("h:1", many, &map), ERR_CONFIG);
    assert_non_null(strstr(why.text, "has room for 64"));

    struct buf odd = {0};
    buf_add_str(&odd, "a 1");
    for (unsigned slot = 3; slot < 2 * MAP_RANGES_MAX; slot += 2) {
        buf_addf(&odd, ",%u", slot);
    }
    buf_add(&odd, "", 1);
    assert_int_equal(make("h:1", (const char *[]){buf_head(&odd), "b auto", NULL}, &map),
                     ERR_CONFIG);
    assert_non_null(strstr(why.text, "more than 256 ranges"));
    buf_free(&odd);
}

static void shards_are_compared_by_name_and_slots(void **state)
{
    (void)state;
    static struct member_map other;
    assert_int_equal(make("h:1", (const char *[]){"a auto", "b auto", NULL}, &map), OK);
    assert_int_equal(make("h:1", (const char *[]){"a 0-8191", "b auto", NULL}, &other), OK);
    assert_true(genesis_same_shards(&map, &other));
    assert_true(genesis_hash(&map) == genesis_hash(&other));
    assert_int_equal(make("h:1", (const char *[]){"a 0-8190", "b auto", NULL}, &other), OK);
    assert_false(genesis_same_shards(&map, &other));
    assert_false(genesis_hash(&map) == genesis_hash(&other));
    assert_int_equal(make("h:1", (const char *[]){"b auto", "a auto", NULL}, &other), OK);
    assert_false(genesis_same_shards(&map, &other));
}

static void add_node(uint16_t group, const char *host, uint16_t port, uint16_t workers,
                     uint8_t flags)
{
    struct map_node *n = map_add(&map, group);
    assert_non_null(n);
    n->boot = n->id;
    n->workers = workers;
    n->peer_port = 9;
    n->at.port = port;
    n->flags = flags;
    assert_true(map_text_set(n->at.host, host, strlen(host)));
}

static void routes_go_to_members_only(void **state)
{
    (void)state;
    assert_int_equal(make("h:1", (const char *[]){"a auto", "b auto", NULL}, &map), OK);
    map.version = 7;
    add_node(MAP_PROXIES, "p", 1, 4, MAP_MEMBER);
    add_node(2, "n", 1, 2, MAP_MEMBER);
    add_node(2, "n", 5, 2, 0);          /* a learner */
    add_node(2, "n", 9, 3, MAP_MEMBER); /* other workers */
    add_node(2, "m", 1, 2, MAP_MEMBER);

    struct cluster_map *r = routes_make(&map, 0);

    assert_non_null(r);
    assert_int_equal(r->version, 7);
    assert_int_equal(r->workers, 2);
    assert_int_equal(r->shard_count, 2);
    assert_int_equal(r->shards[0].node_count, 0);
    assert_int_equal(r->shards[0].slot_count, SLOT_COUNT / 2);
    assert_int_equal(r->shards[1].node_count, 2);
    assert_string_equal(cluster_node(r, 1, 0)->host, "n");
    assert_int_equal(cluster_node(r, 1, 0)->port, 1);
    assert_int_equal(cluster_node(r, 1, 0)->id, 2);
    assert_string_equal(cluster_node(r, 1, 1)->host, "m");
    assert_int_equal(r->slot_shard[SLOT_COUNT - 1], 1);
    cluster_map_drop(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_genesis_is_what_the_configuration_says),
        cmocka_unit_test(a_proxy_knows_no_shards),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(shards_are_compared_by_name_and_slots),
        cmocka_unit_test(routes_go_to_members_only),
    };
    return cmocka_run_group_tests_name("member_routes", tests, NULL, NULL);
}
