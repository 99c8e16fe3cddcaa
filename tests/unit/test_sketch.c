/* The Space-Saving summary and the sampler. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "coherence/sampler.h"
#include "coherence/sketch.h"

static struct sketch *make(uint32_t capacity)
{
    return sketch_init(malloc(sketch_size(capacity)), capacity);
}

static uint64_t hash_of(struct span key)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < key.len; i++) {
        h = (h ^ (unsigned char)key.p[i]) * 0x100000001b3u;
    }
    return h ^ h >> 29;
}

struct name {
    char text[24];
    struct span key;
};

static struct span name_of(struct name *n, unsigned number)
{
    int len = snprintf(n->text, sizeof n->text, "key:%u", number);
    n->key = span_of(n->text, (size_t)len);
    return n->key;
}

static unsigned number_of(const struct sketch_item *item)
{
    unsigned n = 0;
    for (size_t i = 4; i < item->key.len; i++) {
        n = n * 10 + (unsigned)(item->key.p[i] - '0');
    }
    return n;
}

static void use(struct sketch *s, unsigned number, enum sketch_use kind, uint64_t weight)
{
    struct name n;
    struct span key = name_of(&n, number);
    assert_true(sketch_add(s, hash_of(key), key, kind, weight));
}

static bool look(const struct sketch *s, unsigned number, struct sketch_item *item)
{
    struct name n;
    struct span key = name_of(&n, number);
    return sketch_find(s, hash_of(key), key, item);
}

/* xorshift64*, and a Zipf sample by inverting the cumulated weights. */
static uint64_t random_next(uint64_t *x)
{
    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return *x * 0x2545F4914F6CDD1Du;
}

#define ZIPF_KEYS 20000u
static double cumulated[ZIPF_KEYS];

static void zipf_build(double exponent)
{
    double sum = 0;
    for (unsigned i = 0; i < ZIPF_KEYS; i++) {
        sum += 1 / pow(i + 1, exponent);
        cumulated[i] = sum;
    }
}

static unsigned zipf(uint64_t *x)
{
    double u = (double)(random_next(x) >> 11) / 9007199254740992.0 * cumulated[ZIPF_KEYS - 1];
    unsigned low = 0;
    unsigned high = ZIPF_KEYS - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (cumulated[middle] < u) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void few_keys_are_counted_exactly(void **state)
{
    (void)state;
    struct sketch *s = make(8);
    for (unsigned i = 0; i < 8; i++) {
        use(s, i, SKETCH_READ, i + 1);
        use(s, i, SKETCH_WRITE, 1);
    }
    struct sketch_item item;
    assert_true(look(s, 3, &item));
    assert_int_equal(item.uses[SKETCH_READ], 4);
    assert_int_equal(item.uses[SKETCH_WRITE], 1);
    assert_int_equal(item.over, 0);
    assert_int_equal(sketch_missed(s), 2);
    assert_int_equal(sketch_total(s), 36 + 8);
    struct sketch_item top[3];
    assert_int_equal(sketch_top(s, top, 3), 3);
    assert_int_equal(sketch_item_sum(&top[0]), 9);
    assert_int_equal(sketch_item_sum(&top[2]), 7);
    assert_true(span_eq(top[0].key, SPAN_LIT("key:7")));
    free(s);
}

static void a_newcomer_takes_the_smallest_counter_with_its_error(void **state)
{
    (void)state;
    struct sketch *s = make(2);
    use(s, 1, SKETCH_READ, 10);
    use(s, 2, SKETCH_READ, 4);

    use(s, 3, SKETCH_WRITE, 1);

    struct sketch_item item;
    assert_false(look(s, 2, &item));
    assert_true(look(s, 3, &item));
    assert_int_equal(item.uses[SKETCH_READ], 0);
    assert_int_equal(item.uses[SKETCH_WRITE], 1);
    assert_int_equal(item.over, 4);
    assert_int_equal(sketch_missed(s), 5);
    free(s);
}

static void long_keys_are_not_followed(void **state)
{
    (void)state;
    struct sketch *s = make(2);
    char text[SKETCH_KEY_MAX + 1] = {0};
    assert_false(sketch_add(s, 1, span_of(text, sizeof text), SKETCH_READ, 1));
    assert_true(sketch_add(s, 1, span_of(text, SKETCH_KEY_MAX), SKETCH_READ, 1));
    assert_int_equal(sketch_count(s), 1);
    free(s);
}

/* Keys of one hash share nothing but the way through the table. */
static void equal_hashes_are_different_keys(void **state)
{
    (void)state;
    struct sketch *s = make(4);
    struct name n;
    for (unsigned i = 0; i < 9; i++) {
        struct span key = name_of(&n, i % 3);
        assert_true(sketch_add(s, 77, key, SKETCH_READ, 1));
    }
    struct sketch_item item;
    assert_int_equal(sketch_count(s), 3);
    sketch_forget(s, 77, name_of(&n, 0));
    assert_false(sketch_find(s, 77, name_of(&n, 0), &item));
    assert_true(sketch_find(s, 77, name_of(&n, 2), &item));
    assert_int_equal(item.uses[SKETCH_READ], 3);
    free(s);
}

/* What is known must bound what was, whatever is added, merged and halved. */
static void check_bounds(const struct sketch *s, const double *truth, unsigned keys)
{
    for (unsigned i = 0; i < keys; i++) {
        struct sketch_item item;
        if (look(s, i, &item)) {
            assert_true((double)sketch_item_sum(&item) <= truth[i] + 1e-6);
            assert_true((double)(sketch_item_sum(&item) + item.over) >= truth[i] - 1e-6);
        } else {
            assert_true(truth[i] <= (double)sketch_missed(s) + 1e-6);
        }
    }
}

static void bounds_hold_on_zipf_input(void **state)
{
    (void)state;
    enum { CAPACITY = 1000, USES = 400000 };
    zipf_build(0.99);
    double *truth = calloc(ZIPF_KEYS, sizeof *truth);
    struct sketch *s = make(CAPACITY);
    uint64_t x = 4711;
    for (unsigned i = 0; i < USES; i++) {
        unsigned key = zipf(&x);
        uint64_t weight = 1 + random_next(&x) % 3;
        use(s, key, i % 10 == 0 ? SKETCH_WRITE : SKETCH_READ, weight);
        truth[key] += (double)weight;
    }
    check_bounds(s, truth, ZIPF_KEYS);
    /* the theorem: nothing is off by more than total / capacity */
    assert_true(sketch_missed(s) <= sketch_total(s) / CAPACITY);
    /* the hottest hundred are all there, in about the right order */
    struct sketch_item top[100];
    assert_int_equal(sketch_top(s, top, 100), 100);
    unsigned hits = 0;
    for (unsigned i = 0; i < 100; i++) {
        unsigned number = number_of(&top[i]);
        hits += number < 110;
        assert_true(i == 0 || sketch_item_sum(&top[i - 1]) >= sketch_item_sum(&top[i]));
    }
    assert_true(hits >= 97);
    free(truth);
    free(s);
}

static void bounds_hold_through_epochs(void **state)
{
    (void)state;
    zipf_build(0.8);
    double *truth = calloc(ZIPF_KEYS, sizeof *truth);
    struct sketch *s = make(500);
    uint64_t x = 99;
    for (unsigned epoch = 0; epoch < 12; epoch++) {
        for (unsigned i = 0; i < 20000; i++) {
            /* the hot keys move */
            unsigned key = (zipf(&x) + epoch / 4 * 1000) % ZIPF_KEYS;
            use(s, key, SKETCH_READ, 1);
            truth[key] += 1;
        }
        check_bounds(s, truth, ZIPF_KEYS);
        sketch_halve(s);
        for (unsigned i = 0; i < ZIPF_KEYS; i++) {
            truth[i] /= 2;
        }
        check_bounds(s, truth, ZIPF_KEYS);
    }
    struct sketch_item top[5]; /* of the last four epochs, not of the first */
    sketch_top(s, top, 5);
    for (unsigned i = 0; i < 5; i++) {
        unsigned number = number_of(&top[i]);
        assert_in_range(number, 2000, 2010);
    }
    free(truth);
    free(s);
}

static void everything_is_forgotten_in_the_end(void **state)
{
    (void)state;
    struct sketch *s = make(16);
    for (unsigned i = 0; i < 40; i++) {
        use(s, i, SKETCH_READ, i);
    }
    for (unsigned i = 0; i < 10; i++) {
        sketch_halve(s);
    }
    assert_int_equal(sketch_count(s), 0);
    assert_int_equal(sketch_total(s), 0);
    use(s, 1, SKETCH_READ, 1);
    assert_int_equal(sketch_count(s), 1);
    free(s);
}

static void merged_summaries_bound_the_sum(void **state)
{
    (void)state;
    enum { PARTS = 3, CAPACITY = 2000, TOP = 500 };
    zipf_build(0.99);
    double *truth = calloc(ZIPF_KEYS, sizeof *truth);
    struct sketch *all = make(CAPACITY * PARTS);
    uint64_t x = 5;
    for (unsigned p = 0; p < PARTS; p++) {
        struct sketch *s = make(CAPACITY);
        for (unsigned i = 0; i < 60000; i++) {
            unsigned key = zipf(&x);
            use(s, key, SKETCH_READ, 1);
            truth[key] += 1;
        }
        struct sketch_item top[TOP];
        uint32_t n = sketch_top(s, top, TOP);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(sketch_add_item(all, &top[i]));
        }
        free(s);
    }
    for (unsigned i = 0; i < 60; i++) { /* in every part's export: both bounds hold */
        struct sketch_item item;
        assert_true(look(all, i, &item));
        assert_true((double)sketch_item_sum(&item) <= truth[i]);
        assert_true((double)(sketch_item_sum(&item) + item.over) >= truth[i]);
    }
    free(truth);
    free(all);
}

static void asking_for_more_than_there_is(void **state)
{
    (void)state;
    struct sketch *s = make(16);
    struct sketch_item top[20];
    assert_int_equal(sketch_top(s, top, 20), 0);
    for (unsigned i = 0; i < 5; i++) {
        use(s, i, SKETCH_OTHER, 7); /* all the same: the selection must end */
    }
    assert_int_equal(sketch_top(s, top, 20), 5);
    assert_int_equal(sketch_top(s, top, 2), 2);
    free(s);
}

static uint64_t sampled(struct sampler *p, uint32_t requests, uint32_t *samples)
{
    uint64_t weight = 0;
    *samples = 0;
    for (uint32_t i = 0; i < requests; i++) {
        if (sampler_hit(p)) {
            weight += sampler_take(p);
            ++*samples;
        }
    }
    return weight;
}

static void few_requests_are_all_looked_at(void **state)
{
    (void)state;
    struct sampler p;
    uint32_t samples;
    sampler_init(&p, 3);
    assert_int_equal(sampled(&p, 5000, &samples), 5000);
    assert_int_equal(samples, 5000);
}

static void the_interval_follows_the_load(void **state)
{
    (void)state;
    struct sampler p;
    uint32_t samples;
    sampler_init(&p, 3);
    /* a sudden load: bounded in the very epoch it comes */
    uint64_t weight = sampled(&p, 2000000, &samples);
    assert_true(samples < SAMPLER_PER_EPOCH * 5);
    assert_true(weight > 1900000 && weight < 2100000);
    for (unsigned i = 0; i < 3; i++) {
        sampler_epoch(&p);
        weight = sampled(&p, 2000000, &samples);
    }
    assert_in_range(samples, SAMPLER_PER_EPOCH / 3, SAMPLER_PER_EPOCH * 3 / 2);
    assert_true(weight > 1900000 && weight < 2100000);
    /* and down again when it goes */
    for (unsigned i = 0; i < 3; i++) {
        sampler_epoch(&p);
        sampled(&p, 100, &samples);
    }
    assert_int_equal(samples, 100);
}

/* A pipeline that repeats with any period must not hide one of its requests. */
static void no_period_hides_a_request(void **state)
{
    (void)state;
    struct sampler p;
    sampler_init(&p, 12345);
    p.interval = 32;
    enum { PERIOD = 32 };
    uint32_t hits[PERIOD] = {0};
    uint32_t all = 0;
    for (uint32_t i = 0; i < 32u * 15000u; i++) {
        if (sampler_hit(&p)) {
            p.taken = 0; /* keep the interval */
            (void)sampler_take(&p);
            hits[i % PERIOD]++;
            all++;
        }
    }
    for (unsigned i = 0; i < PERIOD; i++) {
        assert_true(hits[i] > all / PERIOD / 2 && hits[i] < all / PERIOD * 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_keys_are_counted_exactly),
        cmocka_unit_test(a_newcomer_takes_the_smallest_counter_with_its_error),
        cmocka_unit_test(long_keys_are_not_followed),
        cmocka_unit_test(equal_hashes_are_different_keys),
        cmocka_unit_test(bounds_hold_on_zipf_input),
        cmocka_unit_test(bounds_hold_through_epochs),
        cmocka_unit_test(everything_is_forgotten_in_the_end),
        cmocka_unit_test(merged_summaries_bound_the_sum),
        cmocka_unit_test(asking_for_more_than_there_is),
        cmocka_unit_test(few_requests_are_all_looked_at),
        cmocka_unit_test(the_interval_follows_the_load),
        cmocka_unit_test(no_period_hides_a_request),
    };
    return cmocka_run_group_tests_name("sketch", tests, NULL, NULL);
}
