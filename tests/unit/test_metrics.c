#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/metrics.h"

static void histogram_values_are_known_to_six_percent(void **state)
{
    (void)state;
    for (uint64_t ns = 1; ns < UINT64_C(1) << 39; ns = ns * 5 / 4 + 1) {
        struct metric_hist *h = calloc(1, sizeof *h);
        metric_hist_record(h, ns);
        metric_hist_record(h, ns);
        uint64_t got = metric_hist_percentile(h, 50);
        uint64_t off = got > ns ? got - ns : ns - got;
        assert_true(off * 16 <= ns);
        assert_int_equal(metric_hist_count_upto(h, ns + ns / 8 + 1), 2);
        assert_int_equal(metric_hist_count_upto(h, ns - ns / 8 - 1), 0);
        free(h);
    }
}

static void percentiles_split_the_records(void **state)
{
    (void)state;
    struct metric_hist *h = calloc(1, sizeof *h);
    assert_int_equal(metric_hist_percentile(h, 99), 0);
    for (uint64_t i = 0; i < 1000; i++) {
        metric_hist_record(h, i < 990 ? 1000 : 1000000);
    }
    assert_in_range(metric_hist_percentile(h, 50), 940, 1060);
    assert_in_range(metric_hist_percentile(h, 99), 940, 1060);
    assert_in_range(metric_hist_percentile(h, 99.9), 940000, 1060000);
    assert_in_range(metric_hist_percentile(h, 100), 940000, 1060000);
    metric_hist_record(h, UINT64_MAX);
    assert_int_equal(atomic_load(&h->max_ns), UINT64_MAX);
    metric_hist_reset(h);
    assert_int_equal(metric_hist_percentile(h, 50), 0);
    free(h);
}

static double half(void *arg)
{
    return *(double *)arg / 2;
}

static void instances_of_one_name_are_summed(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct counter a = {0};
    struct counter b = {0};
    struct counter c = {0};
    struct gauge g = {0};
    double x = 3;
    metrics_counter(m, "h_gets_total", "db=\"0\"", "Gets.", &a);
    metrics_gauge(m, "h_clients", NULL, "Clients.", &g);
    metrics_counter(m, "h_gets_total", "db=\"0\"", "Gets.", &b);
    metrics_counter(m, "h_gets_total", "db=\"1\"", "Gets.", &c);
    metrics_gauge_fn(m, "h_half", NULL, "Half.", half, &x);
    counter_add(&a, 2);
    counter_add(&b, 3);
    counter_add(&c, 10);
    gauge_set(&g, 7);

    assert_int_equal(metrics_sum(m, "h_gets_total", NULL), 15);
    assert_int_equal(metrics_sum(m, "h_gets_total", "db=\"0\""), 5);
    assert_int_equal(metrics_sum(m, "h_nothing", NULL), 0);

    struct buf out = {0};
    metrics_prometheus(m, &out);
    buf_add(&out, "", 1);
    assert_string_equal(
        out.p, "# HELP h_clients Clients.\n# TYPE h_clients gauge\nh_clients 7\n"
               "# HELP h_gets_total Gets.\n# TYPE h_gets_total counter\nh_gets_total{db=\"0\"} 5\n"
               "h_gets_total{db=\"1\"} 10\n"
               "# HELP h_half Half.\n# TYPE h_half gauge\nh_half 1.5\n");

    metrics_drop(m, &b);
    assert_int_equal(metrics_sum(m, "h_gets_total", "db=\"0\""), 2);
    buf_free(&out);
    metrics_free(m);
}

static void histograms_are_summed_and_printed_in_seconds(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct metric_hist *h = calloc(2, sizeof *h);
    metrics_hist(m, "h_wait_seconds", "cmd=\"get\"", "Wait.", &h[0]);
    metrics_hist(m, "h_wait_seconds", "cmd=\"get\"", "Wait.", &h[1]);
    metric_hist_record(&h[0], 500);
    metric_hist_record(&h[1], 3000);

    struct metric_hist *sum = calloc(1, sizeof *sum);
    metrics_hist_sum(m, "h_wait_seconds", NULL, sum);
    assert_int_equal(atomic_load(&sum->count), 2);
    struct buf out = {0};
    metrics_prometheus(m, &out);
    buf_add(&out, "", 1);
    assert_non_null(strstr(out.p, "h_wait_seconds_bucket{cmd=\"get\",le=\"1e-06\"} 1\n"));
    assert_non_null(strstr(out.p, "h_wait_seconds_bucket{cmd=\"get\",le=\"4e-06\"} 2\n"));
    assert_non_null(strstr(out.p, "h_wait_seconds_bucket{cmd=\"get\",le=\"+Inf\"} 2\n"));
    assert_non_null(strstr(out.p, "h_wait_seconds_sum{cmd=\"get\"} 0.000003500\n"));
    assert_non_null(strstr(out.p, "h_wait_seconds_count{cmd=\"get\"} 2\n"));
    buf_free(&out);
    free(sum);
    free(h);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histogram_values_are_known_to_six_percent),
        cmocka_unit_test(percentiles_split_the_records),
        cmocka_unit_test(instances_of_one_name_are_summed),
        cmocka_unit_test(histograms_are_summed_and_printed_in_seconds),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
