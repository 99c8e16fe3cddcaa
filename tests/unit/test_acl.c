#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/server/acl.h"
#include "backends/server/acl_rules.h"
#include "backends/server/keyspec.h"

static struct acl acl;

static int setup(void **state)
{
    (void)state;
    acl_init(&acl);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    acl_deinit(&acl);
    return 0;
}

/* SETUSER alice with blank-separated rules; returns the error's text, NULL if fine. */
static const char *set_user(const char *rules)
{
    static struct errmsg why;
    struct span list[16];
    size_t n = 0;
    size_t bad;
    while (*rules != '\0') {
        size_t len = strcspn(rules, " ");
        list[n++] = span_of(rules, len);
        rules += len + (rules[len] == ' ');
    }
    return acl_set_user(&acl, SPAN_LIT("alice"), list, n, &bad, &why) == OK ? NULL : why.text;
}

static const struct acl_user *alice(void)
{
    return acl_user_find(acl.set, SPAN_LIT("alice"));
}

static void assert_described(const char *want)
{
    struct buf text = {0};
    acl_describe(alice(), &text);
    buf_add(&text, "", 1);
    assert_string_equal(buf_head(&text), want);
    buf_free(&text);
}

static bool may(const char *command)
{
    const struct cmd *cmd = cmd_find(span_str(command));
    assert_non_null(cmd);
    return acl_may_run(alice(), cmd);
}

static void default_user_may_do_everything(void **state)
{
    (void)state;
    const struct acl_user *u = acl_user_find(acl.set, SPAN_LIT("default"));
    assert_true(u->on && u->nopass && u->unrestricted);
    assert_true(acl_password_ok(u, SPAN_LIT("anything")));
}

static void new_user_may_do_nothing(void **state)
{
    (void)state;
    assert_null(set_user(""));
    assert_described("off resetchannels -@all");
    assert_false(may("get"));
    assert_false(acl_password_ok(alice(), SPAN_LIT("")));
}

static void password_is_hashed_and_checked(void **state)
{
    (void)state;
    assert_null(set_user("on >secret"));
    assert_true(acl_password_ok(alice(), SPAN_LIT("secret")));
    assert_false(acl_password_ok(alice(), SPAN_LIT("Secret")));
    assert_described("on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b "
                     "resetchannels -@all");
    assert_null(set_user("<secret"));
    assert_false(acl_password_ok(alice(), SPAN_LIT("secret")));
    assert_string_equal(set_user("<secret"),
                        "The password you are trying to remove from the user does not exist");
}

static void disabled_user_is_not_let_in(void **state)
{
    (void)state;
    assert_null(set_user("off >secret"));
    assert_false(acl_password_ok(alice(), SPAN_LIT("secret")));
    assert_null(set_user("nopass"));
    assert_false(acl_password_ok(alice(), SPAN_LIT("secret")));
}

static void categories_and_commands_add_up_in_order(void **state)
{
    (void)state;
    assert_null(set_user("+@read -get +config|get"));
    assert_true(may("strlen"));
    assert_false(may("get"));
    assert_false(may("set"));
    assert_true(may("config|get"));
    assert_false(may("config|set"));
    assert_described("off resetchannels -@all +@read -get +config|get");
}

static void all_minus_dangerous(void **state)
{
    (void)state;
    assert_null(set_user("+@all -@dangerous"));
    assert_true(may("get"));
    assert_false(may("keys"));
    assert_false(may("flushall"));
    assert_false(may("config|set"));
    assert_false(alice()->unrestricted);
}

static void later_rule_replaces_the_one_it_takes_back(void **state)
{
    (void)state;
    assert_null(set_user("+get +set -get +get"));
    assert_described("off resetchannels -@all +set +get");
    assert_null(set_user("+config|get +config|set -config"));
    assert_false(may("config|get"));
    assert_described("off resetchannels -@all +set +get -config");
}

static void bad_rules_change_nothing(void **state)
{
    (void)state;
    assert_null(set_user("on +get"));
    assert_string_equal(set_user("+set +nosuch"), "Unknown command or category name in ACL");
    assert_string_equal(set_user("+@nosuch"), "Unknown command or category name in ACL");
    assert_string_equal(set_user("+config|get|x"),
                        "Allowing first-arg of a subcommand is not supported");
    assert_string_equal(set_user("%X~x"), "Syntax error");
    assert_string_equal(set_user("%~x"), "Syntax error");
    assert_string_equal(set_user("foo"), "Syntax error");
    assert_non_null(set_user("#abc"));
    assert_described("on resetchannels -@all +get");
}

static bool keys_ok(const char *name, const char *a, const char *b, const char *c)
{
    struct span argv[4] = {span_str(name), span_str(a), span_str(b == NULL ? "" : b),
                           span_str(c == NULL ? "" : c)};
    int argc = b == NULL ? 2 : c == NULL ? 3 : 4;
    return acl_check_keys(alice(), cmd_find(argv[0]), argv, argc) == 0;
}

static void key_patterns_rule_reads_and_writes_apart(void **state)
{
    (void)state;
    assert_null(set_user("+@all ~own:* %R~r:* %W~w:*"));
    assert_true(keys_ok("get", "own:1", NULL, NULL));
    assert_true(keys_ok("set", "own:1", "v", NULL));
    assert_true(keys_ok("get", "r:1", NULL, NULL));
    assert_false(keys_ok("set", "r:1", "v", NULL));
    assert_true(keys_ok("set", "w:1", "v", NULL));
    assert_false(keys_ok("set", "w:1", "v", "get"));
    assert_false(keys_ok("get", "w:1", NULL, NULL));
    assert_false(keys_ok("get", "else", NULL, NULL));
    assert_true(keys_ok("copy", "r:1", "w:1", NULL));
    assert_false(keys_ok("copy", "w:1", "r:1", NULL));
    assert_false(keys_ok("mget", "own:1", "else", NULL));
    assert_true(keys_ok("sort", "r:1", "store", "w:1"));
    assert_false(keys_ok("sort", "r:1", "store", "r:2"));
    assert_false(keys_ok("sort", "r:1", "get", "r:*"));
    assert_true(keys_ok("sort", "r:1", "get", "#"));
    assert_true(keys_ok("bitfield", "r:1", "overflow", "sat"));
    assert_false(keys_ok("bitfield", "r:1", "set", "u8"));
}

static void keys_made_of_elements_need_all_keys(void **state)
{
    (void)state;
    assert_null(set_user("+@all %R~* ~own:*"));
    assert_true(keys_ok("sort_ro", "own:1", "by", "w_*"));
    assert_null(set_user("resetkeys ~own:*"));
    assert_false(keys_ok("sort_ro", "own:1", "by", "w_*"));
    assert_true(keys_ok("sort_ro", "own:1", "by", "nosort"));
}

static void all_keys_forbids_further_patterns(void **state)
{
    (void)state;
    assert_null(set_user("~a ~*"));
    assert_true(alice()->all_keys);
    assert_non_null(set_user("~b"));
    assert_null(set_user("resetkeys ~b"));
    assert_true(acl_may_key(alice(), SPAN_LIT("b"), ACL_KEY_READ));
    assert_false(acl_may_key(alice(), SPAN_LIT("a"), ACL_KEY_READ));
}

static void published_set_does_not_change(void **state)
{
    (void)state;
    assert_null(set_user("on +get"));
    struct acl_set *before = acl_get(&acl);
    assert_null(set_user("-get"));
    assert_true(acl_may_run(acl_user_find(before, SPAN_LIT("alice")), cmd_find(SPAN_LIT("get"))));
    assert_false(may("get"));
    assert_true(acl_del_user(&acl, SPAN_LIT("alice")));
    assert_null(alice());
    assert_non_null(acl_user_find(before, SPAN_LIT("alice")));
    acl_set_put(before);
}

static void file_is_written_and_read_back(void **state)
{
    (void)state;
    char path[] = "/tmp/test_acl_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct errmsg why;
    assert_null(set_user("on >pw ~a:* &c +@all -@admin +config|get"));
    assert_int_equal(acl_save_file(&acl, path, &why), OK);
    assert_true(acl_del_user(&acl, SPAN_LIT("alice")));

    assert_int_equal(acl_load_file(&acl, path, &why), OK);
    assert_described("on #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~a:* "
                     "resetchannels &c +@all -@admin +config|get");
    (void)close(fd);
    (void)unlink(path);
}

static void bad_file_changes_nothing_and_names_the_line(void **state)
{
    (void)state;
    char path[] = "/tmp/test_acl_XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "# users\nuser bob on nopass\nuser carol +nosuch\n";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    struct errmsg why;
    assert_int_not_equal(acl_load_file(&acl, path, &why), OK);
    assert_non_null(strstr(why.text, ":3: "));
    assert_non_null(strstr(why.text, "+nosuch"));
    assert_null(acl_user_find(acl.set, SPAN_LIT("bob")));
    (void)close(fd);
    (void)unlink(path);
}

static void deny(enum acl_reason reason, const char *object, const char *username, uint64_t now_ms)
{
    const struct acl_denial d = {reason, span_str(object), span_str(username), "info", now_ms};
    acl_log_add(&acl, &d, 2);
}

static void same_denials_are_counted_in_one_entry(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        deny(ACL_REASON_COMMAND, "get", "alice", 1000 + i);
    }
    assert_int_equal(acl.log_count, 1);
    assert_int_equal(acl.log->count, 3);
    deny(ACL_REASON_KEY, "k", "alice", 1003);
    deny(ACL_REASON_AUTH, "auth", "bob", 1004);
    assert_int_equal(acl.log_count, 2);
    assert_string_equal(acl.log->username, "bob");
    acl_log_reset(&acl);
    assert_int_equal(acl.log_count, 0);
}

static void key_specs_are_read_from_their_text(void **state)
{
    (void)state;
    const struct cmd cmd = {.name = "x",
                            .first_key = 1,
                            .last_key = 2,
                            .key_step = 1,
                            .key_specs = "OW update range 0 1 0; RO access index 2 keynum 0 1 1; "
                                         "RO keyword STREAMS 4 range -1 1 2; RW unknown"};
    struct keyspec s[KEYSPEC_MAX];
    assert_int_equal(keyspec_parse(&cmd, s), 4);
    assert_true(keyspec_has(&s[0], "OW") && keyspec_has(&s[0], "update"));
    assert_int_equal(s[0].begin_at, 1);
    assert_int_equal(s[0].find_by[0], 0);
    assert_int_equal(s[1].begin_at, 2);
    assert_int_equal(s[1].find, KEYSPEC_KEYNUM);
    assert_int_equal(s[2].begin, KEYSPEC_KEYWORD);
    assert_string_equal(s[2].keyword, "STREAMS");
    assert_int_equal(s[2].begin_at, 4);
    assert_int_equal(s[3].begin, KEYSPEC_BEGIN_UNKNOWN);
    assert_int_equal(keyspec_access(&s[0]), ACL_KEY_WRITE);
    assert_int_equal(keyspec_access(&s[1]), ACL_KEY_READ);
    const struct span argv[] = {span_str("x"), span_str("a"),       span_str("b"),
                                span_str("c"), span_str("streams"), span_str("d")};
    struct keyspec first = keyspec_for(&cmd, s, 4, argv, 6, 1);
    struct keyspec third = keyspec_for(&cmd, s, 4, argv, 6, 3);
    struct keyspec after = keyspec_for(&cmd, s, 4, argv, 6, 5);
    assert_true(keyspec_has(&first, "OW") && keyspec_has(&third, "access"));
    assert_int_equal(after.begin, KEYSPEC_KEYWORD);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(default_user_may_do_everything),
        T(new_user_may_do_nothing),
        T(password_is_hashed_and_checked),
        T(disabled_user_is_not_let_in),
        T(categories_and_commands_add_up_in_order),
        T(all_minus_dangerous),
        T(later_rule_replaces_the_one_it_takes_back),
        T(bad_rules_change_nothing),
        T(key_patterns_rule_reads_and_writes_apart),
        T(keys_made_of_elements_need_all_keys),
        T(all_keys_forbids_further_patterns),
        T(published_set_does_not_change),
        T(file_is_written_and_read_back),
        T(bad_file_changes_nothing_and_names_the_line),
        T(same_denials_are_counted_in_one_entry),
        T(key_specs_are_read_from_their_text),
    };
    return cmocka_run_group_tests_name("acl", tests, NULL, NULL);
}
