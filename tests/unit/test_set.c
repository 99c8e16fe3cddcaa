/* Sets against flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/types/set.h"
#include "tests/lib/object_check.h"

#define MEMBERS 1500u

static struct span text_of(uint32_t i, bool words, char room[200])
{
    if (!words || i % 5 == 0) {
        return span_of(room, num_fmt_i64(room, (int64_t)i * (i % 7 == 0 ? -70000 : 1)));
    }
    size_t n = (size_t)snprintf(room, 200, "m%u", i);
    if (i % 11 == 0) {
        memset(room + n, '.', 150);
        n += 150;
    }
    return span_of(room, n);
}

static void random_changes_match_flags(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        static bool there[MEMBERS];
        memset(there, 0, sizeof there);
        bool words = round >= 3;
        uint32_t range = round == 0 ? 100 : MEMBERS;
        size_t count = 0;
        struct set *s = set_new();
        for (unsigned step = 0; step < 12000; step++) {
            char room[200];
            uint32_t i = (uint32_t)(test_random() % range);
            struct span m = text_of(i, words, room);
            assert_int_equal(set_has(s, m), there[i]);
            if (test_random() % 3 != 0) {
                assert_int_equal(set_add(&s, m, 512), !there[i]);
                count += !there[i];
                there[i] = true;
            } else {
                assert_int_equal(set_remove(&s, m), there[i]);
                count -= there[i];
                there[i] = false;
            }
        }
        assert_int_equal(set_count(s), count);
        struct set_iter it = set_iter(s);
        struct span m;
        size_t seen = 0;
        while (set_next(&it, &m)) {
            assert_true(set_has(s, m));
            seen++;
        }
        assert_int_equal(seen, count);
        object_check(VAL_SET, s);
        set_free(s);
    }
}

static void a_text_or_too_many_end_the_intset(void **state)
{
    (void)state;
    char room[32];
    struct set *s = set_new();
    const struct object_ops *ops = object_ops(VAL_SET);
    for (int64_t i = 0; i < 512; i++) {
        set_add(&s, span_of(room, num_fmt_i64(room, i)), 512);
    }
    assert_string_equal(ops->encoding(s), "intset");
    set_add(&s, SPAN_LIT("7"), 512);
    assert_string_equal(ops->encoding(s), "intset");
    set_add(&s, SPAN_LIT("900"), 512);
    assert_string_equal(ops->encoding(s), "hashtable");
    set_free(s);

    s = set_new();
    set_add(&s, SPAN_LIT("1"), 512);
    set_add(&s, SPAN_LIT("01"), 512);
    assert_string_equal(ops->encoding(s), "hashtable");
    assert_true(set_has(s, SPAN_LIT("1")));
    set_free(s);
}

static void count_member(void *arg, struct span member)
{
    unsigned *seen = arg;
    int64_t i = 0;
    assert_true(num_parse_i64(member, &i));
    seen[i]++;
}

static void samples_are_different(void **state)
{
    (void)state;
    uint64_t rng = 99;
    char room[32];
    for (unsigned big = 0; big < 2; big++) {
        struct set *s = set_new();
        for (int64_t i = 0; i < 100; i++) {
            set_add(&s, span_of(room, num_fmt_i64(room, i)), big ? 0 : 512);
        }
        for (size_t n = 0; n <= 100; n++) {
            unsigned seen[100] = {0};
            set_sample(s, n, &rng, count_member, seen);
            size_t sum = 0;
            for (unsigned i = 0; i < 100; i++) {
                assert_in_range(seen[i], 0, 1);
                sum += seen[i];
            }
            assert_int_equal(sum, n);
        }
        unsigned seen[100] = {0};
        uint64_t cursor = 0;
        do {
            cursor = set_scan(s, cursor, count_member, seen);
        } while (cursor != 0);
        for (unsigned i = 0; i < 100; i++) {
            assert_int_equal(seen[i], 1);
        }
        set_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_match_flags),
        cmocka_unit_test(a_text_or_too_many_end_the_intset),
        cmocka_unit_test(samples_are_different),
    };
    return cmocka_run_group_tests_name("set", tests, NULL, NULL);
}
