/* hot-pin, hot-deny, hot-prefix. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/mem.h"
#include "proxy/hot_rules.h"

#define LIST(...) list((const char *const[]){__VA_ARGS__, NULL})

static struct cfg_strings list(const char *const *texts)
{
    struct cfg_strings s = {0};
    for (; texts[s.n] != NULL; s.n++) {
        s.v = mem_realloc(s.v, (s.n + 1) * sizeof *s.v);
        s.v[s.n] = mem_strdup(texts[s.n]);
    }
    return s;
}

static void the_longest_prefix_rules(void **state)
{
    (void)state;
    const struct cfg_strings none = {0};
    struct cfg_strings prefix =
        LIST("user: observe", "user:1: cache", "\"\" cache", "log: OFF", "\"a b\" off");
    struct hot_rules r = {0};
    hot_rules_set(&r, &none, &none, &prefix);
    assert_int_equal(hot_rules_mode(&r, SPAN_LIT("user:2:x")), HOT_OBSERVE);
    assert_int_equal(hot_rules_mode(&r, SPAN_LIT("user:1:x")), HOT_CACHE);
    assert_int_equal(hot_rules_mode(&r, SPAN_LIT("log:1")), HOT_OFF);
    assert_int_equal(hot_rules_mode(&r, SPAN_LIT("log")), HOT_CACHE);
    assert_int_equal(hot_rules_mode(&r, SPAN_LIT("a bc")), HOT_OFF);
    assert_int_equal(hot_rules_mode(&r, span_of("", 0)), HOT_CACHE);
    assert_true(hot_rules_denied(&r, SPAN_LIT("user:2:x")));
    assert_false(hot_rules_denied(&r, SPAN_LIT("user:1:x")));
    hot_rules_set(&r, &none, &none, &none); /* CONFIG SET hot-prefix "" */
    assert_int_equal(hot_rules_mode(&r, SPAN_LIT("log:1")), HOT_CACHE);
    hot_rules_free(&r);
    cfg_strings_free(&prefix);
}

static void patterns_pin_and_deny(void **state)
{
    (void)state;
    const struct cfg_strings none = {0};
    struct cfg_strings pin = LIST("config:*", "motd");
    struct cfg_strings deny = LIST("*:secret", "tmp:*");
    struct hot_rules r = {0};
    hot_rules_set(&r, &pin, &deny, &none);
    assert_true(hot_rules_pinned(&r, SPAN_LIT("config:a")));
    assert_true(hot_rules_pinned(&r, SPAN_LIT("motd")));
    assert_false(hot_rules_pinned(&r, SPAN_LIT("motd2")));
    assert_true(hot_rules_denied(&r, SPAN_LIT("config:secret")));
    assert_false(hot_rules_denied(&r, SPAN_LIT("config:a")));
    hot_rules_free(&r);
    cfg_strings_free(&pin);
    cfg_strings_free(&deny);
}

static void lines_are_checked(void **state)
{
    (void)state;
    struct errmsg why;
    assert_int_equal(hot_rules_check("a cache", &why), OK);
    assert_int_equal(hot_rules_check("\"\" observe", &why), OK);
    assert_int_equal(hot_rules_check("a", &why), ERR_CONFIG);
    assert_int_equal(hot_rules_check("a b c", &why), ERR_CONFIG);
    assert_int_equal(hot_rules_check("a hot", &why), ERR_CONFIG);
    assert_string_equal(why.text, "'hot' is none of cache, observe, off");
    assert_int_equal(hot_rules_check("\"a cache", &why), ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_prefix_rules),
        cmocka_unit_test(patterns_pin_and_deny),
        cmocka_unit_test(lines_are_checked),
    };
    return cmocka_run_group_tests_name("hot_rules", tests, NULL, NULL);
}
