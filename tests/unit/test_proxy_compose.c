/* Composing replies from parts, cursors, and how commands are classified. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/gather.h"

static void assert_bytes(struct buf *b, const char *want)
{
    assert_int_equal(buf_used(b), strlen(want));
    assert_memory_equal(buf_head(b), want, strlen(want));
    buf_free(b);
}

static void elements_are_dealt_out_in_the_order_of_keys(void **state)
{
    (void)state;
    const struct span parts[] = {SPAN_LIT("*2\r\n$1\r\na\r\n$-1\r\n"),
                                 SPAN_LIT("*3\r\n$0\r\n\r\n$3\r\nb\r\n\r\n$1\r\nc\r\n")};
    const uint16_t who[] = {1, 0, 1, 1, 0};
    struct buf out = {0};

    assert_true(compose_elements(&out, parts, 2, who, 5));

    assert_bytes(&out, "*5\r\n$0\r\n\r\n$1\r\na\r\n$3\r\nb\r\n\r\n$1\r\nc\r\n$-1\r\n");
}

static void elements_that_do_not_add_up_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"*1\r\n$1\r\na\r\n",
                                        "*2\r\n$1\r\na\r\n",
                                        "*2\r\n$1\r\na",
                                        ":2\r\n",
                                        "*2\r\n",
                                        "*",
                                        "*-1\r\n"};
    const uint16_t who[] = {0, 1, 0};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct span parts[] = {span_str(wrong[i]), SPAN_LIT("*1\r\n$1\r\nb\r\n")};
        struct buf out = {0};
        buf_add_str(&out, "before");

        assert_false(compose_elements(&out, parts, 2, who, 3));

        assert_bytes(&out, "before");
    }
}

static void resp3_nulls_pass(void **state)
{
    (void)state;
    const struct span parts[] = {SPAN_LIT("*1\r\n_\r\n"), SPAN_LIT("*1\r\n$1\r\nb\r\n")};
    const uint16_t who[] = {1, 0};
    struct buf out = {0};

    assert_true(compose_elements(&out, parts, 2, who, 2));

    assert_bytes(&out, "*2\r\n$1\r\nb\r\n_\r\n");
}

static void arrays_are_joined(void **state)
{
    (void)state;
    const struct span parts[] = {SPAN_LIT("*1\r\n$1\r\na\r\n"), SPAN_LIT("*0\r\n"),
                                 SPAN_LIT("*2\r\n$1\r\nb\r\n$1\r\nc\r\n")};
    struct buf out = {0};

    assert_true(compose_concat(&out, parts, 3));

    assert_bytes(&out, "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
}

static void a_cursor_walks_through_all_endpoints(void **state)
{
    (void)state;
    struct buf out = {0};

    /* in the middle of endpoint 2 of 4 */
    assert_true(compose_scan(&out, SPAN_LIT("*2\r\n$2\r\n17\r\n*1\r\n$1\r\nk\r\n"),
                             &(struct scan_at){2, 4, 0}));
    char want[64];
    char n[24];
    snprintf(n, sizeof n, "%llu", (17ull << 12) + 2);
    snprintf(want, sizeof want, "*2\r\n$%zu\r\n%s\r\n*1\r\n$1\r\nk\r\n", strlen(n), n);
    assert_bytes(&out, want);

    /* endpoint 2 is done */
    assert_true(
        compose_scan(&out, SPAN_LIT("*2\r\n$1\r\n0\r\n*0\r\n"), &(struct scan_at){2, 4, 0}));
    assert_bytes(&out, "*2\r\n$1\r\n3\r\n*0\r\n");

    /* the last is done */
    assert_true(
        compose_scan(&out, SPAN_LIT("*2\r\n$1\r\n0\r\n*0\r\n"), &(struct scan_at){3, 4, 0}));
    assert_bytes(&out, "*2\r\n$1\r\n0\r\n*0\r\n");

    /* one that does not exist */
    assert_true(
        compose_scan(&out, SPAN_LIT("*2\r\n$2\r\n17\r\n*0\r\n"), &(struct scan_at){4, 4, 0}));
    assert_bytes(&out, "*2\r\n$1\r\n0\r\n*0\r\n");
}

static void cursors_come_apart_as_they_were_joined(void **state)
{
    (void)state;
    const unsigned endpoints[] = {0, 1, 77, 4095};
    const uint64_t nodes[] = {0, 1, 4096, (uint64_t)1 << 39, CURSOR_NODE_MAX};
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 5; k++) {
            uint64_t c = cursor_join(endpoints[i], nodes[k], endpoints[i] % 4096);
            assert_int_equal(cursor_replica(c), endpoints[i] % 4096);
            assert_int_equal(cursor_partition(c), endpoints[i]);
            assert_true(cursor_node(c) == nodes[k]);
        }
    }
}

static void a_cursor_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct buf out = {0};

    assert_false(compose_scan(&out, SPAN_LIT("*2\r\n$19\r\n9223372036854775807\r\n*0\r\n"),
                              &(struct scan_at){0, 4, 0}));
    assert_false(
        compose_scan(&out, SPAN_LIT("*2\r\n$1\r\nx\r\n*0\r\n"), &(struct scan_at){0, 4, 0}));
    assert_false(
        compose_scan(&out, SPAN_LIT("*3\r\n$1\r\n0\r\n*0\r\n"), &(struct scan_at){0, 4, 0}));
    assert_false(compose_scan(&out, SPAN_LIT("*2\r\n:0\r\n*0\r\n"), &(struct scan_at){0, 4, 0}));
    assert_false(compose_scan(&out, SPAN_LIT(""), &(struct scan_at){0, 4, 0}));

    assert_int_equal(buf_used(&out), 0);
}

static void keys_of_other_databases_get_their_prefix(void **state)
{
    (void)state;
    const struct span argv[] = {SPAN_LIT("SET"), SPAN_LIT("k"), SPAN_LIT("v")};
    const int at = 1;
    struct buf out = {0};

    encode_request(&out, 9, argv, 3, &at, 1);
    assert_bytes(&out, "*3\r\n$3\r\nSET\r\n$3\r\n\xff\tk\r\n$1\r\nv\r\n");

    encode_request(&out, 0, argv, 3, &at, 1);
    assert_bytes(&out, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n");
}

static void commands_have_their_kind(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum kind kind;
    } want[] = {
        {"get", KIND_KEY},
        {"set", KIND_KEY},
        {"incr", KIND_KEY},
        {"mget", KIND_MGET},
        {"mset", KIND_MSET},
        {"msetnx", KIND_KEYS},
        {"del", KIND_SUM},
        {"exists", KIND_SUM},
        {"unlink", KIND_SUM},
        {"touch", KIND_SUM},
        {"scan", KIND_SCAN},
        {"copy", KIND_COPY},
        {"dbsize", KIND_KEYSPACE_SUM},
        {"keys", KIND_KEYSPACE_CONCAT},
        {"flushall", KIND_FLUSHALL},
        {"flushdb", KIND_KEYSPACE_OK},
        {"randomkey", KIND_RANDOMKEY},
        {"rename", KIND_KEYS},
        {"move", KIND_REFUSED},
        {"swapdb", KIND_REFUSED},
        {"object|encoding", KIND_KEY},
        {"blpop", KIND_REFUSED},
        {"xread", KIND_KEYS},
    };
    kinds_build();
    unsigned seen = 0;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const struct cmd *cmd = cmd_find(span_str(want[i].name));
        if (cmd != NULL) { /* the table grows with the data types */
            assert_int_equal(kind_of(cmd), want[i].kind);
            seen++;
        }
    }
    assert_true(seen >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_are_dealt_out_in_the_order_of_keys),
        cmocka_unit_test(elements_that_do_not_add_up_are_refused),
        cmocka_unit_test(resp3_nulls_pass),
        cmocka_unit_test(arrays_are_joined),
        cmocka_unit_test(a_cursor_walks_through_all_endpoints),
        cmocka_unit_test(cursors_come_apart_as_they_were_joined),
        cmocka_unit_test(a_cursor_that_does_not_fit_is_refused),
        cmocka_unit_test(keys_of_other_databases_get_their_prefix),
        cmocka_unit_test(commands_have_their_kind),
    };
    return cmocka_run_group_tests_name("proxy_compose", tests, NULL, NULL);
}
