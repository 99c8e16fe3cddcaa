/* Hashes against an array of values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/types/hash.h"
#include "tests/lib/object_check.h"

#define FIELDS 900u

static const struct hash_limits limits = {512, 64};

/* Fields are numbers and texts; values too, some long. A value of 0 in the model is an absent
 * field. */
static struct span field_text(uint32_t i, char room[32])
{
    return span_of(room, (size_t)snprintf(room, 32, i % 3 == 0 ? "%u" : "field:%u", i));
}

static struct span value_text(uint32_t v, char room[400])
{
    size_t n = (size_t)snprintf(room, 400, v % 2 == 0 ? "%u" : "value %u", v);
    if (v % 97 == 0) {
        memset(room + n, 'x', 200);
        n += 200;
    }
    return span_of(room, n);
}

static void assert_same(const struct hash *h, const uint32_t *model)
{
    char room[400];
    char name[32];
    char tmp[NUM_I64_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < FIELDS; i++) {
        struct span value;
        bool there = hash_get(h, field_text(i, name), tmp, &value);
        assert_int_equal(there, model[i] != 0);
        if (there) {
            assert_true(span_eq(value, value_text(model[i], room)));
            count++;
        }
    }
    assert_int_equal(hash_count(h), count);
    struct hash_iter it = hash_iter(h);
    struct span field;
    struct span value;
    while (hash_next(&it, &field, &value)) {
        count--;
    }
    assert_int_equal(count, 0);
}

static void random_changes_match_an_array(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        static uint32_t model[FIELDS];
        memset(model, 0, sizeof model);
        uint32_t range = round < 3 ? 60 : FIELDS;
        struct hash *h = hash_new();
        for (unsigned step = 0; step < 9000; step++) {
            char name[32];
            char room[400];
            uint32_t i = (uint32_t)(test_random() % range);
            if (test_random() % 3 != 0) {
                uint32_t v = 1 + (uint32_t)(test_random() % 100000);
                if (round == 0 && v % 97 == 0) {
                    v++; /* stays packed */
                }
                bool is_new = hash_put(&h, field_text(i, name), value_text(v, room), limits);
                assert_int_equal(is_new, model[i] == 0);
                model[i] = v;
            } else {
                assert_int_equal(hash_remove(&h, field_text(i, name)), model[i] != 0);
                model[i] = 0;
            }
        }
        assert_int_equal(hash_is_packed(h), round == 0);
        assert_same(h, model);
        object_check(VAL_HASH, h);
        hash_free(h);
    }
}

static void limits_decide_the_form(void **state)
{
    (void)state;
    char name[32];
    struct hash *h = hash_new();
    for (uint32_t i = 0; i < 512; i++) {
        hash_put(&h, field_text(i, name), SPAN_LIT("v"), limits);
    }
    assert_true(hash_is_packed(h));
    hash_put(&h, field_text(0, name), SPAN_LIT("other"), limits);
    assert_true(hash_is_packed(h));
    hash_put(&h, field_text(512, name), SPAN_LIT("v"), limits);
    assert_false(hash_is_packed(h));
    hash_free(h);

    static const char long_text[65] = "";
    h = hash_new();
    hash_put(&h, SPAN_LIT("f"), span_of(long_text, 64), limits);
    assert_true(hash_is_packed(h));
    hash_put(&h, SPAN_LIT("f"), span_of(long_text, 65), limits);
    assert_false(hash_is_packed(h));
    hash_free(h);
}

static void count_field(void *arg, struct span field, struct span value)
{
    (void)value;
    unsigned *seen = arg;
    unsigned i = 0;
    assert_int_equal(sscanf(field.p, "f%u", &i), 1);
    seen[i]++;
}

static void samples_are_different_and_fair(void **state)
{
    (void)state;
    static uint64_t rng = 17;
    for (unsigned big = 0; big < 2; big++) {
        struct hash *h = hash_new();
        struct hash_limits l = {big ? 0 : 512, 64};
        for (unsigned i = 0; i < 40; i++) {
            char name[32];
            size_t n = (size_t)snprintf(name, sizeof name, "f%u ", i);
            hash_put(&h, span_of(name, n), SPAN_LIT("v "), l);
        }
        for (size_t n = 5; n <= 40; n += 35) {
            unsigned total[40] = {0};
            for (unsigned round = 0; round < 4000; round++) {
                unsigned seen[40] = {0};
                hash_sample(h, n, &rng, count_field, seen);
                size_t sum = 0;
                for (unsigned i = 0; i < 40; i++) {
                    assert_in_range(seen[i], 0, 1);
                    sum += seen[i];
                    total[i] += seen[i];
                }
                assert_int_equal(sum, n);
            }
            for (unsigned i = 0; i < 40; i++) {
                assert_in_range(total[i], 100 * n - 130, 100 * n + 130);
            }
        }
        unsigned drawn[40] = {0};
        for (unsigned i = 0; i < 40000; i++) {
            hash_random(h, &rng, count_field, drawn);
        }
        for (unsigned i = 0; i < 40; i++) {
            assert_in_range(drawn[i], 830, 1170);
        }
        hash_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_match_an_array),
        cmocka_unit_test(limits_decide_the_form),
        cmocka_unit_test(samples_are_different_and_fair),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
