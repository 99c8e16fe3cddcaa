#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/glob.h"

static void patterns_mean_what_they_mean_in_redis(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool hit;
    } cases[] = {
        {"*", "a", true},
        {"*", "", false},
        {"", "", true},
        {"", "a", false},
        {"a*", "a", true},
        {"a**", "abc", true},
        {"*c", "abc", true},
        {"*b", "abc", false},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"h[ae]llo", "hallo", true},
        {"h[ae]llo", "hillo", false},
        {"h[^e]llo", "hallo", true},
        {"h[^e]llo", "hello", false},
        {"[a-c]", "b", true},
        {"[c-a]", "b", true},
        {"[a-c]", "d", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"a\\", "a\\", true},
        {"[\\]]", "]", true},
        {"[]", "a", false},
        {"[", "[", false},
        {"[^", "x", true},
        {"[ab", "a", true},
        {"*a*b*c*", "xaybzc", true},
        {"*a*b*c", "xaybzcd", false},
        {"a*b", "ab", true},
        {"*.[ch]", "glob.c", true},
        {"foo", "FOO", false},
        {"**a", "ba", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool hit = glob_match(span_str(cases[i].pattern), span_str(cases[i].text), false);
        if (hit != cases[i].hit) {
            fail_msg("%s against %s", cases[i].pattern, cases[i].text);
        }
    }
}

static void case_is_ignored_on_request(void **state)
{
    (void)state;
    assert_true(glob_match(SPAN_LIT("F[O-P]*"), SPAN_LIT("foobar"), true));
    assert_false(glob_match(SPAN_LIT("F[O-P]*"), SPAN_LIT("foobar"), false));
}

static void bytes_of_zero_are_bytes(void **state)
{
    (void)state;
    assert_true(glob_match(SPAN_LIT("a\0*"), SPAN_LIT("a\0b"), false));
    assert_false(glob_match(SPAN_LIT("a\0c"), SPAN_LIT("a\0b"), false));
}

static void many_stars_stay_cheap(void **state)
{
    (void)state;
    char text[4001];
    memset(text, 'a', sizeof text);
    char pattern[402];
    for (size_t i = 0; i < 400; i += 2) {
        pattern[i] = 'a';
        pattern[i + 1] = '*';
    }
    pattern[400] = 'b';

    assert_false(glob_match(span_of(pattern, 401), span_of(text, 4000),
                            false)); /* would not end if exponential */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_mean_what_they_mean_in_redis),
        cmocka_unit_test(case_is_ignored_on_request),
        cmocka_unit_test(bytes_of_zero_are_bytes),
        cmocka_unit_test(many_stars_stay_cheap),
    };
    return cmocka_run_group_tests_name("glob", tests, NULL, NULL);
}
