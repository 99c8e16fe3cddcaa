/* The command table: look-up, arity, unknown commands, keys. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cmd/cmd.h"

static struct buf b;
static struct resp_out out = {.b = &b, .proto = 2};

static const char *reply(void)
{
    *buf_reserve(&b, 1) = '\0';
    const char *text = buf_head(&b);
    b.head = b.len = 0;
    return text;
}

static void upper(char *to, const char *from)
{
    for (; *from != '\0'; from++, to++) {
        *to = (char)toupper((unsigned char)*from);
    }
    *to = '\0';
}

static void every_row_is_found_by_its_name_in_any_case(void **state)
{
    (void)state;
    assert_true(cmd_count() > 50);
    for (size_t i = 0; i < cmd_count(); i++) {
        const struct cmd *cmd = cmd_at(i);
        char name[64];
        upper(name, cmd->name);
        assert_ptr_equal(cmd_find(span_str(cmd->name)), cmd);
        assert_ptr_equal(cmd_find(span_str(name)), cmd);
        name[0] = cmd->name[0];
        assert_ptr_equal(cmd_find(span_str(name)), cmd);
        assert_true(i == 0 || strcmp(cmd_at(i - 1)->name, cmd->name) < 0);
        for (const struct cmd *sub = cmd->subs; sub != NULL && sub->name != NULL; sub++) {
            upper(name, sub->name);
            assert_ptr_equal(cmd_find(span_str(name)), sub);
            assert_int_equal(strncmp(sub->name, cmd->name, strlen(cmd->name)), 0);
        }
    }
}

static void rows_are_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < cmd_count(); i++) {
        const struct cmd *cmd = cmd_at(i);
        assert_true(cmd->arity != 0);
        assert_non_null(cmd->summary);
        assert_non_null(cmd->since);
        assert_true((cmd->handler != NULL) != ((cmd->flags & CMD_SESSION) != 0) ||
                    cmd->subs != NULL);
        assert_true(cmd->rewrite == NULL || (cmd->flags & CMD_WRITE) != 0);
        assert_false((cmd->flags & CMD_WRITE) != 0 && (cmd->flags & CMD_READONLY) != 0);
        assert_true(cmd->first_key == 0 || cmd->key_step > 0);
    }
}

static void near_misses_are_not_found(void **state)
{
    (void)state;
    static const char *const names[] = {"",
                                        "g",
                                        "ge",
                                        "gett",
                                        "g\x05t",
                                        "GET ",
                                        " GET",
                                        "get\r",
                                        "\x07\x05\x14",
                                        "object|",
                                        "object|what",
                                        "|",
                                        "get|set",
                                        "incrbyfloatx",
                                        "incrbyfloa",
                                        "incrbyfloatincrbyfloatincrbyfloat"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_null(cmd_find(span_str(names[i])));
    }
    assert_null(cmd_find(span_of("ge\0", 3)));
}

static void subcommand_rules_the_request(void **state)
{
    (void)state;
    struct span argv[] = {SPAN_LIT("OBJECT"), SPAN_LIT("Encoding"), SPAN_LIT("k")};
    assert_string_equal(cmd_find_request(argv, 3)->name, "object|encoding");
    argv[1] = SPAN_LIT("nothing");
    assert_string_equal(cmd_find_request(argv, 3)->name, "object");
    assert_string_equal(cmd_find_request(argv, 1)->name, "object");
}

static void wrong_arity_is_refused_with_the_full_name(void **state)
{
    (void)state;
    assert_true(cmd_check_arity(cmd_find(SPAN_LIT("get")), 2, &out));
    assert_true(cmd_check_arity(cmd_find(SPAN_LIT("mget")), 20, &out));
    assert_int_equal(buf_used(&b), 0);
    assert_false(cmd_check_arity(cmd_find(SPAN_LIT("GET")), 3, &out));
    assert_string_equal(reply(), "-ERR wrong number of arguments for 'get' command\r\n");
    assert_false(cmd_check_arity(cmd_find(SPAN_LIT("object|freq")), 2, &out));
    assert_string_equal(reply(), "-ERR wrong number of arguments for 'object|freq' command\r\n");
}

static void unknown_commands_are_answered_as_redis_does(void **state)
{
    (void)state;
    struct span argv[40] = {SPAN_LIT("foo"), SPAN_LIT("a b"), SPAN_LIT("c\r\nd")};
    cmd_unknown(argv, 1, &out);
    assert_string_equal(reply(), "-ERR unknown command 'foo', with args beginning with: \r\n");
    cmd_unknown(argv, 3, &out);
    assert_string_equal(reply(),
                        "-ERR unknown command 'foo', with args beginning with: 'a b' 'c  d' \r\n");
    char lots[300];
    memset(lots, 'x', sizeof lots);
    for (int i = 0; i < 40; i++) {
        argv[i] = span_of(lots, i % 7 == 0 ? 300 : 50);
    }
    cmd_unknown(argv, 40, &out);
    assert_true(strlen(reply()) < 400);
    struct span sub[] = {SPAN_LIT("object"), SPAN_LIT("foo\0bar")};
    cmd_unknown(sub, 2, &out);
    assert_string_equal(reply(), "-ERR unknown subcommand 'foo'. Try OBJECT HELP.\r\n");
}

static void keys_are_found(void **state)
{
    (void)state;
    struct span argv[6] = {SPAN_LIT("x"), SPAN_LIT("a"), SPAN_LIT("b"),
                           SPAN_LIT("c"), SPAN_LIT("d"), SPAN_LIT("e")};
    int idx[6];
    assert_int_equal(cmd_get_keys(cmd_find(SPAN_LIT("mset")), argv, 5, idx, 6), 2);
    assert_int_equal(idx[0], 1);
    assert_int_equal(idx[1], 3);
    assert_int_equal(cmd_get_keys(cmd_find(SPAN_LIT("del")), argv, 6, idx, 6), 5);
    assert_int_equal(cmd_get_keys(cmd_find(SPAN_LIT("del")), argv, 6, idx, 2), 2);
    assert_int_equal(cmd_get_keys(cmd_find(SPAN_LIT("dbsize")), argv, 1, idx, 6), 0);
    assert_int_equal(cmd_get_keys(cmd_find(SPAN_LIT("object|freq")), argv, 3, idx, 6), 1);
    assert_int_equal(idx[0], 2);
    assert_int_equal(cmd_get_keys(cmd_find(SPAN_LIT("lcs")), argv, 2, idx, 6), -1);
}

static void only_plain_sets_are_blind(void **state)
{
    (void)state;
    const struct cmd *set = cmd_find(SPAN_LIT("set"));
    struct span argv[5] = {SPAN_LIT("SET"), SPAN_LIT("nx"), SPAN_LIT("xx"), SPAN_LIT("ex"),
                           SPAN_LIT("10")};
    assert_true(cmd_is_blind(set, argv, 3));
    assert_true(cmd_is_blind(set, argv, 5));
    static const char *const options[] = {"NX", "xx", "Get", "KEEPTTL"};
    for (size_t i = 0; i < 4; i++) {
        argv[3] = span_str(options[i]);
        assert_false(cmd_is_blind(set, argv, 4));
    }
    assert_true(cmd_is_blind(cmd_find(SPAN_LIT("setex")), argv, 4));
    assert_false(cmd_is_blind(cmd_find(SPAN_LIT("append")), argv, 3));
    assert_false(cmd_is_blind(cmd_find(SPAN_LIT("del")), argv, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found_by_its_name_in_any_case),
        cmocka_unit_test(rows_are_complete),
        cmocka_unit_test(near_misses_are_not_found),
        cmocka_unit_test(subcommand_rules_the_request),
        cmocka_unit_test(wrong_arity_is_refused_with_the_full_name),
        cmocka_unit_test(unknown_commands_are_answered_as_redis_does),
        cmocka_unit_test(keys_are_found),
        cmocka_unit_test(only_plain_sets_are_blind),
    };
    int failed = cmocka_run_group_tests_name("cmd_table", tests, NULL, NULL);
    buf_free(&b);
    return failed;
}
