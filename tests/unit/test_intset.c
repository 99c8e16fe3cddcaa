/* Sorted integers against flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backends/types/intset.h"
#include "tests/lib/object_check.h"

static const int64_t scales[] = {1, -1, 300, -70000, 3000000000, INT64_MAX / 70};

static void random_changes_match_flags(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        bool there[6][64] = {{false}};
        struct intset *s = intset_new();
        size_t count = 0;
        unsigned wide = 1 + round % 6;
        for (unsigned step = 0; step < 1500; step++) {
            unsigned k = (unsigned)(test_random() % wide);
            unsigned i = 1 + (unsigned)(test_random() % 63);
            int64_t v = scales[k] * (int64_t)i;
            bool changed = false;
            if (test_random() % 3 != 0) {
                s = intset_add(s, v, &changed);
                assert_int_equal(changed, !there[k][i]);
                there[k][i] = true;
                count += changed;
            } else {
                s = intset_remove(s, v, &changed);
                assert_int_equal(changed, there[k][i]);
                there[k][i] = false;
                count -= changed;
            }
            assert_int_equal(intset_has(s, v), there[k][i]);
        }
        assert_int_equal(intset_count(s), count);
        for (size_t i = 1; i < count; i++) {
            assert_true(intset_at(s, i - 1) < intset_at(s, i));
        }
        for (unsigned k = 0; k < wide; k++) {
            for (unsigned i = 1; i < 64; i++) {
                assert_int_equal(intset_has(s, scales[k] * (int64_t)i), there[k][i]);
            }
        }
        struct intset *twin = intset_copy(s);
        assert_int_equal(intset_count(twin), count);
        intset_free(twin);
        intset_free(s);
    }
}

static void ends_of_the_range_fit(void **state)
{
    (void)state;
    bool added;
    struct intset *s = intset_new();
    s = intset_add(s, 5, &added);
    s = intset_add(s, INT64_MIN, &added);
    s = intset_add(s, INT64_MAX, &added);
    assert_true(intset_at(s, 0) == INT64_MIN);
    assert_true(intset_at(s, 1) == 5);
    assert_true(intset_at(s, 2) == INT64_MAX);
    intset_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_match_flags),
        cmocka_unit_test(ends_of_the_range_fit),
    };
    return cmocka_run_group_tests_name("intset", tests, NULL, NULL);
}
