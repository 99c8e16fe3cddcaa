/* Views and leases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coherence/ts.h"
#include "coherence/view.h"

static void timestamps_order_by_version_then_id(void **state)
{
    (void)state;
    assert_true(ts_make(2, 1) > ts_make(1, TS_ID_MAX));
    assert_true(ts_make(2, 2) > ts_make(2, 1));
    assert_int_equal(ts_version(ts_make(TS_VERSION_MAX, 7)), TS_VERSION_MAX);
    assert_int_equal(ts_id(ts_make(TS_VERSION_MAX, 7)), 7);
}

static void lists_are_sorted_and_kept_apart(void **state)
{
    (void)state;
    const uint32_t members[] = {9, 3, 5};
    const uint32_t learners[] = {8, 1};
    struct view v;
    assert_true(view_make(&v, 4, members, 3, learners, 2));
    assert_true(view_ok(&v));
    assert_int_equal(v.ids[0], 3);
    assert_int_equal(v.ids[2], 9);
    assert_int_equal(v.ids[3], 1);
    assert_int_equal(view_index(&v, 8), 4);
    assert_int_equal(view_index(&v, 2), -1);
    assert_true(view_is_member(&v, 9) && !view_is_member(&v, 8) && !view_is_member(&v, 2));
    assert_true(view_is_learner(&v, 8) && !view_is_learner(&v, 9) && !view_is_learner(&v, 2));
    assert_int_equal(view_mask(&v), 31);
}

static void nonsense_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    const uint32_t twice[] = {3, 3};
    const uint32_t zero[] = {0};
    const uint32_t big[] = {TS_ID_MAX + 1};
    const uint32_t one[] = {3};
    uint32_t many[VIEW_NODES_MAX + 1];
    for (uint32_t i = 0; i <= VIEW_NODES_MAX; i++) {
        many[i] = i + 1;
    }
    struct view v = {.epoch = 77};
    assert_false(view_make(&v, 1, twice, 2, NULL, 0));
    assert_false(view_make(&v, 1, zero, 1, NULL, 0));
    assert_false(view_make(&v, 1, big, 1, NULL, 0));
    assert_false(view_make(&v, 1, one, 1, one, 1));
    assert_false(view_make(&v, 0, one, 1, NULL, 0));
    assert_false(view_make(&v, 1, NULL, 0, one, 1));
    assert_false(view_make(&v, 1, many, VIEW_NODES_MAX + 1, NULL, 0));
    assert_false(view_make(&v, 1, one, 1, many + 3, VIEW_NODES_MAX));
    assert_int_equal(v.epoch, 77);
    assert_true(view_make(&v, 1, many, VIEW_NODES_MAX, NULL, 0));
}

static void a_lease_is_for_one_epoch_and_ends(void **state)
{
    (void)state;
    const uint32_t one[] = {3};
    struct view v;
    assert_true(view_make(&v, 4, one, 1, NULL, 0));
    struct lease l = {4, 1000};
    assert_true(lease_valid(&l, &v, 999));
    assert_false(lease_valid(&l, &v, 1000));
    l.epoch = 5;
    assert_false(lease_valid(&l, &v, 1));
    struct view none = {0};
    struct lease empty = {0, UINT64_MAX};
    assert_false(lease_valid(&empty, &none, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timestamps_order_by_version_then_id),
        cmocka_unit_test(lists_are_sorted_and_kept_apart),
        cmocka_unit_test(nonsense_is_refused_and_changes_nothing),
        cmocka_unit_test(a_lease_is_for_one_epoch_and_ends),
    };
    return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
