#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/num.h"

static void i64_accepts_what_redis_accepts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},
                {"1", 1},
                {"-1", -1},
                {"10", 10},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t v = 77;
        assert_true(num_parse_i64(span_str(good[i].text), &v));
        assert_int_equal(v, good[i].value);
        char text[NUM_I64_MAX];
        assert_int_equal(num_fmt_i64(text, v), strlen(good[i].text));
        assert_string_equal(text, good[i].text);
    }
    static const char *const bad[] = {"",
                                      "-",
                                      "-0",
                                      "01",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "0x1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999",
                                      "18446744073709551617",
                                      "00"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t v = 77;
        assert_false(num_parse_i64(span_str(bad[i]), &v));
        assert_int_equal(v, 77);
    }
}

static void u64_follows_strtoul(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_true(num_parse_u64(SPAN_LIT("18446744073709551615"), &v));
    assert_true(v == UINT64_MAX);
    assert_true(num_parse_u64(SPAN_LIT(""), &v));
    assert_true(v == 0);
    assert_true(num_parse_u64(SPAN_LIT("-5"), &v));
    assert_true(v == UINT64_MAX - 4);
    assert_true(num_parse_u64(SPAN_LIT("+0012"), &v));
    assert_true(v == 12);
    assert_true(num_parse_u64(SPAN_LIT("3\0x"), &v));
    assert_true(v == 3);
    assert_false(num_parse_u64(SPAN_LIT("18446744073709551616"), &v));
    assert_false(num_parse_u64(SPAN_LIT(" 1"), &v));
    assert_false(num_parse_u64(SPAN_LIT("1x"), &v));
    assert_false(num_parse_u64(SPAN_LIT("-"), &v));
}

static void doubles_are_parsed_whole_or_not(void **state)
{
    (void)state;
    double v = 0;
    assert_true(num_parse_double(SPAN_LIT("3"), &v) && v == 3.0);
    assert_true(num_parse_double(SPAN_LIT("-1.5e3"), &v) && v == -1500.0);
    assert_true(num_parse_double(SPAN_LIT("+inf"), &v) && isinf(v) && v > 0);
    assert_true(num_parse_double(SPAN_LIT("-INFINITY"), &v) && isinf(v) && v < 0);
    assert_true(num_parse_double(SPAN_LIT("0x10"), &v) && v == 16.0);
    v = 5;
    static const char *const bad[] = {"",      " 1",  "1 ",    "nan",   "-nan",
                                      "1e400", "abc", "1.2.3", "1e-400"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(num_parse_double(span_str(bad[i]), &v));
        assert_true(v == 5);
    }
    assert_false(num_parse_double(SPAN_LIT("1\0"), &v));
}

static void expect_double(double v, const char *text)
{
    char out[NUM_DOUBLE_MAX];
    assert_int_equal(num_fmt_double(out, v), strlen(text));
    assert_string_equal(out, text);
}

static void doubles_are_shown_with_17_digits(void **state)
{
    (void)state;
    expect_double(0.1, "0.10000000000000001");
    expect_double(3, "3");
    expect_double(-1e15, "-1000000000000000");
    expect_double(1e17, "1e+17");
    expect_double(-0.0, "-0");
    expect_double(1.0 / 0.0, "inf");
    expect_double(4503599627370497.0, "4503599627370497");
    expect_double(5e-324, "4.9406564584124654e-324");
}

static void long_doubles_lose_trailing_zeros(void **state)
{
    (void)state;
    char out[NUM_LDOUBLE_MAX];
    long double v = 0;
    assert_true(num_parse_ldouble(SPAN_LIT("10.50"), &v));
    num_fmt_ldouble(out, v);
    assert_string_equal(out, "10.5");
    num_fmt_ldouble(out, 5000.0L);
    assert_string_equal(out, "5000");
    num_fmt_ldouble(out, -0.0L);
    assert_string_equal(out, "0");
    num_fmt_ldouble(out, 1.0L / 0.0L);
    assert_string_equal(out, "inf");
    assert_false(num_parse_ldouble(SPAN_LIT("1e5000"), &v));
    assert_false(num_parse_ldouble(SPAN_LIT(" 1"), &v));
}

static void memory_sizes_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},         {"100", 100},       {"1b", 1},
                {"2k", 2000},     {"2KB", 2048},      {"3m", 3000000},
                {"1Mb", 1048576}, {"1g", 1000000000}, {"2gb", UINT64_C(2147483648)}};
    uint64_t v = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(num_parse_memory(span_str(good[i].text), &v));
        assert_true(v == good[i].value);
    }
    static const char *const bad[] = {
        "", "-1", "kb", "1x", "1 kb", "99999999999gb", "18446744073709551616", "1kbb"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(num_parse_memory(span_str(bad[i]), &v));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(i64_accepts_what_redis_accepts),
        cmocka_unit_test(u64_follows_strtoul),
        cmocka_unit_test(doubles_are_parsed_whole_or_not),
        cmocka_unit_test(doubles_are_shown_with_17_digits),
        cmocka_unit_test(long_doubles_lose_trailing_zeros),
        cmocka_unit_test(memory_sizes_have_units),
    };
    return cmocka_run_group_tests_name("num", tests, NULL, NULL);
}
