/* The linearizability checks on small histories whose verdict is known, and against each other on
 * random ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/history.h"

static struct hist_op op(unsigned client, enum hist_kind kind, int64_t arg, int64_t ret,
                         uint64_t call, uint64_t end)
{
    return (struct hist_op){.client = client,
                            .sequence = call,
                            .kind = kind,
                            .arg = arg,
                            .ret = ret,
                            .call = call,
                            .ret_at = end,
                            .ts = HIST_NO_TS};
}

static struct hist_op unknown(struct hist_op o)
{
    o.status = HIST_UNKNOWN;
    return o;
}

static bool zones(const struct hist_op *ops, size_t n)
{
    struct hist_op copy[64];
    memcpy(copy, ops, n * sizeof *ops);
    struct hist_fault f;
    return check_zones(copy, n, &f);
}

static bool search(const struct hist_op *ops, size_t n)
{
    struct hist_op copy[64];
    memcpy(copy, ops, n * sizeof *ops);
    struct hist_fault f;
    bool gave_up = false;
    bool ok = check_search(copy, n, 1000000, &gave_up, &f);
    assert_false(gave_up);
    return ok;
}

static void stale_read_is_refused(void **state)
{
    (void)state;
    const struct hist_op ops[] = {op(0, HIST_SET, 1, 0, 0, 10), op(0, HIST_SET, 2, 0, 20, 30),
                                  op(1, HIST_GET, 0, 1, 40, 50)};
    assert_false(zones(ops, 3));
    assert_false(search(ops, 3));
    assert_true(zones(ops, 2));
}

static void overlapping_operations_may_go_either_way(void **state)
{
    (void)state;
    for (int64_t seen = 1; seen <= 2; seen++) {
        const struct hist_op ops[] = {op(0, HIST_SET, 1, 0, 0, 10), op(1, HIST_SET, 2, 0, 5, 30),
                                      op(2, HIST_GET, 0, seen, 12, 20)};
        assert_true(zones(ops, 3));
        assert_true(search(ops, 3));
    }
}

static void reads_may_not_go_back(void **state)
{
    (void)state;
    const struct hist_op ops[] = {op(0, HIST_SET, 1, 0, 0, 10), op(1, HIST_SET, 2, 0, 15, 90),
                                  op(2, HIST_GET, 0, 2, 20, 30), op(3, HIST_GET, 0, 1, 40, 50)};
    assert_false(zones(ops, 4));
    assert_false(search(ops, 4));
}

static void absent_is_the_first_value_only(void **state)
{
    (void)state;
    const struct hist_op early[] = {op(0, HIST_GET, 0, HIST_ABSENT, 0, 5),
                                    op(1, HIST_SET, 1, 0, 3, 10)};
    const struct hist_op late[] = {op(1, HIST_SET, 1, 0, 3, 10),
                                   op(0, HIST_GET, 0, HIST_ABSENT, 20, 25)};
    assert_true(zones(early, 2) && search(early, 2));
    assert_false(zones(late, 2));
    assert_false(search(late, 2));
}

static void values_from_nowhere_are_refused(void **state)
{
    (void)state;
    const struct hist_op ops[] = {op(0, HIST_SET, 1, 0, 0, 10), op(1, HIST_GET, 0, 7, 20, 25)};
    assert_false(zones(ops, 2));
    assert_false(search(ops, 2));
    const struct hist_op before[] = {op(1, HIST_GET, 0, 1, 0, 5), op(0, HIST_SET, 1, 0, 10, 20)};
    assert_false(zones(before, 2));
    assert_false(search(before, 2));
}

static void unknown_writes_may_happen_late_or_never(void **state)
{
    (void)state;
    struct hist_op ops[] = {op(0, HIST_SET, 1, 0, 0, 10), unknown(op(1, HIST_SET, 2, 0, 5, 6)),
                            op(2, HIST_GET, 0, 1, 100, 110), op(2, HIST_GET, 0, 2, 120, 130)};
    assert_true(zones(ops, 3) && search(ops, 3)); /* never */
    assert_true(zones(ops, 4) && search(ops, 4)); /* late */
    ops[3].ret = 1;
    ops[2].ret = 2; /* seen, and then gone */
    assert_false(zones(ops, 4));
    assert_false(search(ops, 4));
}

static void failed_operations_do_not_count(void **state)
{
    (void)state;
    struct hist_op ops[] = {op(0, HIST_SET, 1, 0, 0, 10), op(1, HIST_SET, 2, 0, 20, 30),
                            op(2, HIST_GET, 0, 1, 40, 50)};
    ops[1].status = HIST_FAIL;
    assert_true(zones(ops, 3) && search(ops, 3));
    ops[2].ret = 2;
    assert_false(zones(ops, 3));
    assert_false(search(ops, 3));
}

static void increments_count_once(void **state)
{
    (void)state;
    struct hist_op ops[] = {op(0, HIST_INCR, 0, 1, 0, 10), op(1, HIST_INCR, 0, 2, 5, 15),
                            op(2, HIST_GET, 0, 2, 20, 30)};
    assert_true(search(ops, 3));
    ops[1].ret = 1;
    assert_false(search(ops, 3));
    ops[1].ret = 2;
    ops[2].ret = 3;
    assert_false(search(ops, 3));
}

static void mixes_follow_the_specification(void **state)
{
    (void)state;
    const struct hist_op ops[] = {op(0, HIST_SET, 5, 0, 0, 1),   op(0, HIST_APPEND, 7, 2, 2, 3),
                                  op(0, HIST_GET, 0, 162, 4, 5), op(0, HIST_DEL, 0, 1, 6, 7),
                                  op(0, HIST_DEL, 0, 0, 8, 9),   op(0, HIST_INCR, 0, 1, 10, 11),
                                  op(0, HIST_GET, 0, 1, 12, 13)};
    assert_true(search(ops, 7));
    struct hist_op cas[] = {op(0, HIST_SET, 5, 0, 0, 1), op(0, HIST_CAS, 5, 1, 2, 3),
                            op(1, HIST_CAS, 5, 0, 4, 5)};
    cas[1].arg2 = 6;
    cas[2].arg2 = 7;
    assert_true(search(cas, 3));
    cas[2].ret = 1;
    assert_false(search(cas, 3));
}

static void conditional_and_exchanging_sets(void **state)
{
    (void)state;
    struct hist_op ops[] = {
        op(0, HIST_SETNX, 5, 1, 0, 1),  op(0, HIST_SETNX, 6, 0, 2, 3),
        op(0, HIST_GETSET, 7, 5, 4, 5), op(0, HIST_GET, 0, 7, 6, 7),
        op(0, HIST_DEL, 0, 1, 8, 9),    op(0, HIST_GETSET, 8, HIST_ABSENT, 10, 11)};
    assert_true(search(ops, 6));
    ops[1].ret = 1;
    assert_false(search(ops, 6));
    ops[1].ret = 0;
    ops[2].ret = 6;
    assert_false(search(ops, 6));
}

/* One SET hangs while others go on, for longer than any window, and takes effect at the end. */
static void an_operation_may_take_very_long(void **state)
{
    (void)state;
    enum { N = 5000 };
    static struct hist_op ops[N + 2];
    for (int end = 0; end < 2; end++) {
        ops[0] = op(0, HIST_SET, 1000000, 0, 1, 10 * N + 100);
        for (unsigned i = 1; i <= N; i++) {
            ops[i] = op(1, HIST_INCR, 0, (int64_t)i, 10 * i, 10 * i + 5);
        }
        ops[N + 1] = op(2, HIST_GET, 0, end == 0 ? 1000000 : 77, 10 * N + 50, 10 * N + 60);
        struct hist_fault f;
        bool gave_up = false;
        assert_int_equal(check_search(ops, N + 2, 10000000, &gave_up, &f), end == 0);
        assert_false(gave_up);
    }
}

/* Many unknown operations: good histories are accepted, bad ones are refused, neither by giving up.
 */
static void many_unknown_operations_are_told_apart(void **state)
{
    (void)state;
    enum { N = 2000, LOST = 40 };
    static struct hist_op ops[N + LOST];
    for (int lost_one = 0; lost_one < 2; lost_one++) {
        int64_t value = 0;
        for (unsigned i = 0; i < N; i++) {
            value += i % 100 == 99 ? 2 : 1; /* an unknown INCR took effect too */
            ops[i] = op(1, HIST_INCR, 0, value, 100 * i, 100 * i + 50);
        }
        if (lost_one == 1) {
            ops[N - 1].ret -= 1;
            ops[N / 2].ret -= 1; /* twice the same answer */
        }
        for (unsigned i = 0; i < LOST; i++) {
            ops[N + i] = unknown(op(10 + i, HIST_INCR, 0, 0, 100 + 4900 * (uint64_t)i, 0));
        }
        struct hist_fault f;
        bool gave_up = false;
        assert_int_equal(check_search(ops, N + LOST, 10000000, &gave_up, &f), lost_one == 0);
        assert_false(gave_up);
    }
}

static void pipelined_operations_of_a_client_keep_their_order(void **state)
{
    (void)state;
    const struct hist_op ops[] = {op(0, HIST_SET, 1, 0, 0, 50),
                                  op(0, HIST_GET, 0, HIST_ABSENT, 1, 50)};
    assert_false(search(ops, 2));
    struct hist_op two[] = {ops[0], ops[1]};
    two[1].client = 1;
    assert_true(search(two, 2));
}

static struct hist_op stamped(struct hist_op o, uint64_t ts, bool write)
{
    o.ts = ts;
    o.is_write = write;
    return o;
}

static bool witness(const struct hist_op *ops, size_t n)
{
    struct hist_op copy[64];
    memcpy(copy, ops, n * sizeof *ops);
    struct hist_fault f;
    return check_witness(copy, n, &f);
}

static void witness_follows_the_timestamps(void **state)
{
    (void)state;
    struct hist_op ops[] = {stamped(op(0, HIST_SET, 1, 0, 0, 10), 20, true),
                            stamped(op(1, HIST_SET, 2, 0, 15, 25), 40, true),
                            stamped(op(2, HIST_GET, 0, 2, 30, 40), 40, false)};
    assert_true(witness(ops, 3));
    ops[2] = stamped(op(2, HIST_GET, 0, 1, 30, 40), 20, false);
    assert_false(witness(ops, 3)); /* stale */
    ops[2] = stamped(op(2, HIST_GET, 0, 1, 30, 40), 40, false);
    assert_false(witness(ops, 3)); /* one ts, two values */
    ops[2] = stamped(op(2, HIST_SET, 3, 0, 30, 40), 40, true);
    assert_false(witness(ops, 3)); /* two writes */
    ops[2] = stamped(op(2, HIST_INCR, 0, 2, 20, 40), 60, true);
    ops[2].has_base = true;
    ops[2].base = 20;
    assert_false(witness(ops, 3)); /* 40 lies between 60 and its base */
    ops[2].base = 40;
    assert_true(witness(ops, 3));
    const struct hist_op piped[] = {stamped(op(0, HIST_SET, 1, 0, 0, 50), 40, true),
                                    stamped(op(0, HIST_GET, 0, HIST_ABSENT, 1, 50), 0, false)};
    assert_false(witness(piped, 2));
}

/* Zones and search must agree on random histories of GET and SET. */
static void zones_and_search_agree(void **state)
{
    (void)state;
    uint64_t rng = 12345;
    unsigned refused = 0;
    for (unsigned round = 0; round < 20000; round++) {
        struct hist_op ops[8];
        for (unsigned i = 0; i < 8; i++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            uint64_t r = rng >> 33;
            uint64_t call = r % 40 * 2 + 1;
            bool write = (r >> 8) % 2 != 0;
            int64_t seen = (int64_t)((r >> 10) % 9);
            ops[i] = op(i, write ? HIST_SET : HIST_GET, (int64_t)i,
                        write       ? 0
                        : seen == 8 ? HIST_ABSENT
                                    : seen,
                        call, call + 1 + (r >> 16) % 60);
            ops[i].sequence = i;
            if (write && (r >> 25) % 5 == 0) {
                ops[i].status = HIST_UNKNOWN;
            }
        }
        bool z = zones(ops, 8);
        assert_int_equal(z, search(ops, 8));
        refused += !z;
    }
    assert_in_range(refused, 100, 19900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stale_read_is_refused),
        cmocka_unit_test(overlapping_operations_may_go_either_way),
        cmocka_unit_test(reads_may_not_go_back),
        cmocka_unit_test(absent_is_the_first_value_only),
        cmocka_unit_test(values_from_nowhere_are_refused),
        cmocka_unit_test(unknown_writes_may_happen_late_or_never),
        cmocka_unit_test(failed_operations_do_not_count),
        cmocka_unit_test(increments_count_once),
        cmocka_unit_test(mixes_follow_the_specification),
        cmocka_unit_test(conditional_and_exchanging_sets),
        cmocka_unit_test(an_operation_may_take_very_long),
        cmocka_unit_test(many_unknown_operations_are_told_apart),
        cmocka_unit_test(pipelined_operations_of_a_client_keep_their_order),
        cmocka_unit_test(witness_follows_the_timestamps),
        cmocka_unit_test(zones_and_search_agree),
    };
    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
