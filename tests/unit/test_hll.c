/* HyperLogLog strings: the two forms against each other, the estimate, and bytes from anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backends/types/hll.h"

#define SPARSE_MAX 3000

static struct hll_mark mark_of(unsigned i)
{
    char text[32];
    int n = snprintf(text, sizeof text, "element:%u", i);
    return hll_mark_of(span_of(text, (size_t)n));
}

static void registers_of(const struct buf *b, uint8_t *registers)
{
    memset(registers, 0, HLL_REGISTERS);
    assert_true(hll_merge(registers, buf_span(b)));
}

static void an_empty_one_is_valid_and_counts_nothing(void **state)
{
    (void)state;
    struct buf b = {0};
    hll_init(&b);

    uint64_t count = 1;
    assert_int_equal(buf_used(&b), 18);
    assert_true(hll_is_valid(buf_span(&b)));
    assert_false(hll_is_dense(buf_span(&b)));
    assert_true(hll_cached(buf_span(&b), &count));
    assert_int_equal(count, 0);
    hll_invalidate(buf_head(&b));
    assert_false(hll_cached(buf_span(&b), &count));
    assert_true(hll_count(buf_span(&b), &count));
    assert_int_equal(count, 0);
    buf_free(&b);
}

static void bytes_are_those_of_redis(void **state)
{
    (void)state;
    /* PFADD of a, b, c on redis-server 7.0.15 */
    static const char want[] = "HYLL\1\0\0\0\0\0\0\0\0\0\0\x80"
                               "\140\363\200\120\261\204\113\373\200\102\132";
    struct buf b = {0};
    hll_init(&b);
    hll_set(&b, SPARSE_MAX, hll_mark_of(SPAN_LIT("a")));
    hll_set(&b, SPARSE_MAX, hll_mark_of(SPAN_LIT("b")));
    hll_set(&b, SPARSE_MAX, hll_mark_of(SPAN_LIT("c")));
    hll_invalidate(buf_head(&b));

    assert_int_equal(buf_used(&b), sizeof want - 1);
    assert_memory_equal(buf_head(&b), want, sizeof want - 1);
    buf_free(&b);
}

static void sparse_and_dense_hold_the_same_registers(void **state)
{
    (void)state;
    struct buf sparse = {0};
    struct buf dense = {0};
    hll_init(&sparse);
    hll_init(&dense);
    assert_true(hll_to_dense(&dense));
    static uint8_t a[HLL_REGISTERS];
    static uint8_t d[HLL_REGISTERS];
    static uint8_t model[HLL_REGISTERS];

    for (unsigned i = 0; i < 3000; i++) {
        struct hll_mark m = mark_of(i);
        bool grows = model[m.index] < m.value;
        assert_int_equal(hll_has(buf_span(&sparse), m), !grows);
        assert_int_equal(hll_set(&sparse, 1u << 20, m), grows ? HLL_CHANGED : HLL_SAME);
        assert_int_equal(hll_set(&dense, SPARSE_MAX, m), grows ? HLL_CHANGED : HLL_SAME);
        model[m.index] = grows ? m.value : model[m.index];
        assert_true(hll_has(buf_span(&dense), m));
        if (i % 100 == 0) {
            registers_of(&sparse, a);
            registers_of(&dense, d);
            assert_memory_equal(a, model, sizeof a);
            assert_memory_equal(d, model, sizeof d);
        }
    }

    assert_false(hll_is_dense(buf_span(&sparse)));
    uint64_t x;
    uint64_t y;
    assert_true(hll_count(buf_span(&sparse), &x));
    assert_true(hll_count(buf_span(&dense), &y));
    assert_int_equal(x, y);
    assert_int_equal(hll_count_registers(model), x);
    assert_true(hll_to_dense(&sparse));
    assert_memory_equal(buf_head(&sparse), buf_head(&dense), HLL_DENSE_BYTES);
    buf_free(&sparse);
    buf_free(&dense);
}

static void values_out_of_reach_and_size_make_it_dense(void **state)
{
    (void)state;
    struct buf b = {0};
    hll_init(&b);
    assert_int_equal(hll_set(&b, SPARSE_MAX, (struct hll_mark){5, 32}), HLL_CHANGED);
    assert_false(hll_is_dense(buf_span(&b)));
    assert_int_equal(hll_set(&b, SPARSE_MAX, (struct hll_mark){5, 33}), HLL_CHANGED);
    assert_true(hll_is_dense(buf_span(&b)));
    buf_free(&b);

    hll_init(&b);
    unsigned i = 0;
    while (!hll_is_dense(buf_span(&b))) {
        assert_true(buf_used(&b) <= SPARSE_MAX);
        hll_set(&b, SPARSE_MAX, mark_of(i++));
    }
    assert_int_equal(buf_used(&b), HLL_DENSE_BYTES);
    static uint8_t registers[HLL_REGISTERS];
    registers_of(&b, registers);
    for (unsigned k = 0; k < i; k++) {
        assert_true(registers[mark_of(k).index] >= mark_of(k).value);
    }
    buf_free(&b);
}

static void the_estimate_is_within_three_standard_errors(void **state)
{
    (void)state;
    struct buf b = {0};
    hll_init(&b);
    unsigned added = 0;
    for (unsigned n = 10; n <= 200000; n *= 10) {
        for (; added < n; added++) {
            hll_set(&b, SPARSE_MAX, mark_of(added));
        }
        uint64_t count;
        assert_true(hll_count(buf_span(&b), &count));
        double error = ((double)count - n) / n;
        assert_true(error < 0.025 && error > -0.025); /* 1.04 / sqrt(16384) = 0.8 % */
    }
    buf_free(&b);
}

/* Everything must be refused or work, and never read or write outside (a sanitizer looks on). */
static void any_bytes_are_survived(void **state)
{
    (void)state;
    uint64_t rng = 42;
    static uint8_t registers[HLL_REGISTERS];
    for (int round = 0; round < 3000; round++) {
        size_t len = HLL_HEADER + (size_t)(rng >> 33) % 40;
        struct buf b = {0};
        buf_add(&b, "HYLL\1\0\0\0\0\0\0\0\0\0\0\0", HLL_HEADER);
        for (size_t i = HLL_HEADER; i < len; i++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            /* long runs of zeros, so that some of it is a whole set of registers */
            unsigned char c = rng >> 60 < 4 ? 0x7F : (unsigned char)(rng >> 40);
            buf_add(&b, &c, 1);
        }
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        char *exact = malloc(len);
        memcpy(exact, buf_head(&b), len);
        struct span s = span_of(exact, len);
        struct hll_mark m = {(uint32_t)(rng >> 20) % HLL_REGISTERS, (uint8_t)(rng >> 50) % 51 + 1};

        uint64_t count;
        bool sound = hll_count(s, &count);
        memset(registers, 0, sizeof registers);
        assert_int_equal(hll_merge(registers, s), sound);
        (void)hll_has(s, m);
        enum hll_result r = hll_set(&b, SPARSE_MAX, m);
        if (sound) {
            assert_int_not_equal(r, HLL_CORRUPT);
            assert_true(hll_count(buf_span(&b), &count));
            assert_true(hll_has(buf_span(&b), m));
        }
        (void)hll_to_dense(&b);
        free(exact);
        buf_free(&b);
    }
}

static void counting_again_sees_every_change(void **state)
{
    (void)state;
    struct buf b = {0};
    hll_init(&b);
    assert_true(hll_to_dense(&b));
    static uint8_t registers[HLL_REGISTERS];
    for (unsigned i = 0; i < 2000; i++) {
        hll_set(&b, SPARSE_MAX, mark_of(i));
        registers_of(&b, registers);
        uint64_t count;
        assert_true(hll_count(buf_span(&b), &count));
        assert_int_equal(count, hll_count_registers(registers));
        assert_true(hll_count(buf_span(&b), &count));
        assert_int_equal(count, hll_count_registers(registers));
    }
    buf_free(&b);
}

static void headers_are_checked(void **state)
{
    (void)state;
    struct buf b = {0};
    hll_init(&b);
    assert_true(hll_to_dense(&b));
    assert_true(hll_is_valid(buf_span(&b)));
    assert_false(hll_is_valid(span_of(buf_head(&b), HLL_DENSE_BYTES - 1)));
    assert_false(hll_is_valid(span_of(buf_head(&b), 15)));
    assert_false(hll_is_valid(span_of("", 0)));
    b.p[4] = 2;
    assert_false(hll_is_valid(buf_span(&b)));
    b.p[4] = 0;
    b.p[0] = 'h';
    assert_false(hll_is_valid(buf_span(&b)));
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_is_valid_and_counts_nothing),
        cmocka_unit_test(bytes_are_those_of_redis),
        cmocka_unit_test(sparse_and_dense_hold_the_same_registers),
        cmocka_unit_test(values_out_of_reach_and_size_make_it_dense),
        cmocka_unit_test(the_estimate_is_within_three_standard_errors),
        cmocka_unit_test(any_bytes_are_survived),
        cmocka_unit_test(counting_again_sees_every_change),
        cmocka_unit_test(headers_are_checked),
    };
    return cmocka_run_group_tests_name("hll", tests, NULL, NULL);
}
