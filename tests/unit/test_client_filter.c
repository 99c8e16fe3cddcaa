#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backends/server/client_filter.h"

static struct client_filter f;
static struct errmsg why;

static enum err parse(int n, const char *const *words)
{
    struct span argv[16];
    for (int i = 0; i < n; i++) {
        argv[i] = span_str(words[i]);
    }
    return client_filter_parse(argv, n, &f, &why);
}
#define PARSE(...)                                                                                 \
    parse((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                           \
          (const char *[]){__VA_ARGS__})

static const struct client_facts me = {
    7, {"1.2.3.4:5", 9}, {"127.0.0.1:6379", 14}, {"alice", 5}, true};
static const struct client_facts other = {
    8, {"1.2.3.4:6", 9}, {"127.0.0.1:6379", 14}, {"bob", 3}, false};

static void every_condition_must_hold(void **state)
{
    (void)state;
    assert_int_equal(PARSE("ID", "8", "USER", "bob"), OK);
    assert_true(client_filter_match(&f, &other));
    assert_int_equal(PARSE("ID", "8", "USER", "alice"), OK);
    assert_false(client_filter_match(&f, &other));
    assert_int_equal(PARSE("LADDR", "127.0.0.1:6379", "ADDR", "1.2.3.4:6"), OK);
    assert_true(client_filter_match(&f, &other));
    assert_int_equal(PARSE("LADDR", "127.0.0.1:6380"), OK);
    assert_false(client_filter_match(&f, &other));
}

static void oneself_is_spared_unless_asked_for(void **state)
{
    (void)state;
    assert_int_equal(PARSE("ID", "7"), OK);
    assert_false(client_filter_match(&f, &me));
    assert_int_equal(PARSE("ID", "7", "SKIPME", "no"), OK);
    assert_true(client_filter_match(&f, &me));
}

static void types_other_than_normal_match_nobody(void **state)
{
    (void)state;
    assert_int_equal(PARSE("TYPE", "Normal"), OK);
    assert_true(client_filter_match(&f, &other));
    assert_int_equal(PARSE("TYPE", "pubsub"), OK);
    assert_false(client_filter_match(&f, &other));
}

static void bad_filters_have_redis_words(void **state)
{
    (void)state;
    assert_int_not_equal(PARSE("ID", "0"), OK);
    assert_string_equal(why.text, "ERR client-id should be greater than 0");
    assert_int_not_equal(PARSE("ID", "x"), OK);
    assert_string_equal(why.text, "ERR client-id should be greater than 0");
    assert_int_not_equal(PARSE("TYPE", "foo"), OK);
    assert_string_equal(why.text, "ERR Unknown client type 'foo'");
    assert_int_not_equal(PARSE("SKIPME", "maybe"), OK);
    assert_string_equal(why.text, "ERR syntax error");
    assert_int_not_equal(PARSE("ID", "1", "SKIPME"), OK);
    assert_int_not_equal(PARSE("FOO", "1"), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_condition_must_hold),
        cmocka_unit_test(oneself_is_spared_unless_asked_for),
        cmocka_unit_test(types_other_than_normal_match_nobody),
        cmocka_unit_test(bad_filters_have_redis_words),
    };
    return cmocka_run_group_tests_name("client_filter", tests, NULL, NULL);
}
