#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backends/server/slowlog.h"
#include "backends/server/stats.h"

static struct slow_entry *entry(uint64_t id)
{
    struct span argv[] = {SPAN_LIT("get"), SPAN_LIT("k")};
    struct slow_entry *e = slow_entry_new(argv, 2, 2, SPAN_LIT("1.2.3.4:5"), SPAN_LIT("name"));
    e->id = id;
    return e;
}

static void newest_entries_are_kept(void **state)
{
    (void)state;
    struct slowlog l = {0};
    for (uint64_t i = 0; i < 5; i++) {
        slowlog_add(&l, entry(i), 3);
    }
    assert_int_equal(l.count, 3);
    assert_int_equal(l.newest->id, 4);
    assert_int_equal(l.newest->next->next->id, 2);
    assert_null(l.newest->next->next->next);
    slowlog_trim(&l, 0);
    assert_null(l.newest);
    slowlog_add(&l, entry(9), 0);
    assert_int_equal(l.count, 0);
}

static void long_arguments_are_shortened(void **state)
{
    (void)state;
    char big[200];
    memset(big, 'x', sizeof big);
    struct span argv[] = {SPAN_LIT("set"), SPAN_LIT("k"), {big, sizeof big}};
    struct slow_entry *e = slow_entry_new(argv, 3, 3, SPAN_LIT("p"), SPAN_LIT(""));
    assert_int_equal(e->argc, 3);
    static const char tail[] = "... (72 more bytes)";
    assert_int_equal(e->args[2].len, 128 + sizeof tail - 1);
    assert_memory_equal(e->args[2].p + 128, tail, sizeof tail - 1);
    slow_entry_free(e);
}

static void many_arguments_are_shortened(void **state)
{
    (void)state;
    struct span argv[40];
    for (int i = 0; i < 40; i++) {
        argv[i] = SPAN_LIT("a");
    }
    struct slow_entry *e = slow_entry_new(argv, 40, 40, SPAN_LIT("p"), SPAN_LIT(""));
    assert_int_equal(e->argc, 32);
    assert_true(span_eq(e->args[31], SPAN_LIT("... (9 more arguments)")));
    slow_entry_free(e);

    e = slow_entry_new(argv, 2, 5, SPAN_LIT("p"), SPAN_LIT(""));
    assert_int_equal(e->argc, 3);
    assert_true(span_eq(e->args[2], SPAN_LIT("... (3 more arguments)")));
    slow_entry_free(e);
}

static void copy_and_reply_are_whole(void **state)
{
    (void)state;
    struct slow_entry *a = entry(3);
    struct slow_entry *b = slow_entry_copy(a);
    slow_entry_free(a);
    struct buf bytes = {0};
    struct resp_out out = {&bytes, 2};
    slow_entry_reply(b, &out);
    buf_add(&bytes, "", 1);
    assert_string_equal(buf_head(&bytes), "*6\r\n:3\r\n:0\r\n:0\r\n*2\r\n$3\r\nget\r\n$1\r\nk\r\n"
                                          "$9\r\n1.2.3.4:5\r\n$4\r\nname\r\n");
    slow_entry_free(b);
    buf_free(&bytes);
}

static void histogram_is_exact_below_eight_and_within_an_eighth_above(void **state)
{
    (void)state;
    struct hist h = {0};
    for (uint64_t us = 0; us < 8; us++) {
        hist_add(&h, us, 1);
    }
    assert_int_equal(hist_percentile(&h, 0.5), 3);
    assert_int_equal(hist_count_upto(&h, 4), 5);
    for (uint64_t us = 8; us < (uint64_t)1 << 31; us = us * 5 / 4 + 1) {
        struct hist one = {0};
        hist_add(&one, us, 1);
        uint64_t p = hist_percentile(&one, 0.99);
        assert_true(p >= us && p <= us + us / 8);
        assert_int_equal(hist_count_upto(&one, p), 1);
    }
    hist_add(&h, UINT64_MAX, 1); /* out of range: the last bucket */
    assert_int_equal(h.total, 9);
}

static void merged_histograms_add_up(void **state)
{
    (void)state;
    struct hist a = {0};
    struct hist b = {0};
    hist_add(&a, 10, 90);
    hist_add(&b, 1000, 10);
    hist_merge(&a, &b);
    assert_int_equal(a.total, 100);
    assert_in_range(hist_percentile(&a, 0.5), 10, 11);
    assert_in_range(hist_percentile(&a, 0.99), 1000, 1125);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_entries_are_kept),
        cmocka_unit_test(long_arguments_are_shortened),
        cmocka_unit_test(many_arguments_are_shortened),
        cmocka_unit_test(copy_and_reply_are_whole),
        cmocka_unit_test(histogram_is_exact_below_eight_and_within_an_eighth_above),
        cmocka_unit_test(merged_histograms_add_up),
    };
    return cmocka_run_group_tests_name("slowlog", tests, NULL, NULL);
}
