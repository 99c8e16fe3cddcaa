/* The sorted set in both encodings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backends/types/zset.h"
#include "common/mem.h"

static const struct zset_limits limits = {.entries_max = 128, .value_max = 64};

static struct span name(char *text, size_t cap, const char *prefix, unsigned i)
{
    int n = snprintf(text, cap, "%s%u", prefix, i);
    return span_of(text, (size_t)n);
}

/* n members; every third score is no integer, many are equal. prefix "" makes members that are
 * integers. */
static struct zset *filled(unsigned n, const char *prefix)
{
    struct zset *z = zset_new();
    for (unsigned i = 0; i < n; i++) {
        char text[32];
        double score = (i * 7919u) % 50 + (i % 3 == 0 ? 0.1 : 0);
        zset_insert(z, &limits, name(text, sizeof text, prefix, i), score);
    }
    return z;
}

static void members_are_found_and_ranked(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 1000; n = n * 3 + 1) {
        struct zset *z = filled(n, n % 2 == 0 ? "" : "member:");
        assert_true(zset_check(z));
        assert_int_equal(zset_count(z), n);
        assert_string_equal(zset_ops.encoding(z), n <= 128 ? "listpack" : "skiplist");

        struct zset_iter it = zset_iter_at(z, 0, false);
        struct zset_item item;
        for (unsigned i = 0; i < n; i++) {
            assert_true(zset_iter_next(&it, &item));
            struct zset_ref ref;
            assert_true(zset_find(z, item.member, &ref));
            assert_true(ref.score == item.score);
            assert_int_equal(zset_rank(z, ref), i);
            struct zset_iter back = zset_iter_at(z, i, true);
            struct zset_item same;
            assert_true(zset_iter_next(&back, &same));
            assert_true(span_eq(same.member, item.member));
        }
        assert_false(zset_iter_next(&it, &item));
        zset_free(z);
    }
}

static void random_changes_keep_both_encodings_equal(void **state)
{
    (void)state;
    struct zset *small = zset_new();
    struct zset *large = zset_new();
    struct zset_limits never = {.entries_max = 1000000, .value_max = 1000};
    struct zset_limits at_once = {.entries_max = 0, .value_max = 0};
    uint64_t rng = 12345;
    for (int step = 0; step < 20000; step++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        char text[32];
        struct span m =
            name(text, sizeof text, rng >> 40 & 1 ? "" : "k", (unsigned)(rng >> 33) % 90);
        double score = (double)((rng >> 20) % 64) / 4 - 8;
        struct zset_ref a;
        struct zset_ref b;
        bool there = zset_find(small, m, &a);
        assert_int_equal(there, zset_find(large, m, &b));
        if (!there) {
            zset_insert(small, &never, m, score);
            zset_insert(large, &at_once, m, score);
        } else if (rng % 3 == 0) {
            zset_remove(small, a);
            zset_remove(large, b);
        } else {
            zset_update(small, a, score);
            zset_update(large, b, score);
        }
        if (step % 97 == 0) {
            assert_true(zset_check(small));
            assert_true(zset_check(large));
            assert_true(zset_ops.digest(small) == zset_ops.digest(large));
        }
    }
    assert_true(zset_is_packed(small));
    assert_false(zset_is_packed(large));
    zset_free(small);
    zset_free(large);
}

static void a_long_member_or_one_too_many_makes_it_large(void **state)
{
    (void)state;
    char text[65];
    memset(text, 'x', sizeof text);
    struct zset *z = filled(128, "m");
    assert_true(zset_is_packed(z));

    zset_insert(z, &limits, SPAN_LIT("one more"), 1);
    assert_false(zset_is_packed(z));
    zset_free(z);

    z = zset_new();
    zset_insert(z, &limits, span_of(text, 64), 1);
    assert_true(zset_is_packed(z));
    zset_insert(z, &limits, span_of(text, 65), 1);
    assert_false(zset_is_packed(z));
    assert_int_equal(zset_count(z), 2);
    zset_free(z);
}

static void members_of_any_length_survive(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 254, 255, 256, 70000};
    struct zset *z = zset_new();
    char *text = calloc(1, 70000);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        zset_insert(z, &limits, span_of(text, lengths[i]), (double)i);
    }

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct zset_ref ref;
        assert_true(zset_find(z, span_of(text, lengths[i]), &ref));
        assert_true(ref.score == (double)i);
    }
    zset_free(z);
    free(text);
}

static void ranges_of_ranks_are_removed(void **state)
{
    (void)state;
    for (unsigned n = 100; n <= 1000; n += 900) {
        struct zset *z = filled(n, "m");

        zset_remove_ranks(z, 10, n / 2);
        assert_int_equal(zset_count(z), n - n / 2);
        assert_true(zset_check(z));
        zset_remove_ranks(z, 0, 5);
        zset_remove_ranks(z, zset_count(z) - 5, 5);
        zset_remove_ranks(z, 3, 0);
        assert_int_equal(zset_count(z), n - n / 2 - 10);
        assert_true(zset_check(z));
        zset_remove_ranks(z, 0, zset_count(z));
        assert_int_equal(zset_count(z), 0);
        zset_free(z);
    }
}

static void dumps_are_loaded_and_copies_equal(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 2000; n = n * 5 + 1) {
        struct zset *z = filled(n, "m");
        struct buf b = {0};
        zset_ops.dump(z, &b);
        size_t len = buf_used(&b);
        buf_add(&b, "rest", 4);

        size_t used = 0;
        struct zset *loaded = zset_ops.load(buf_head(&b), buf_used(&b), &used);
        struct zset *copy = zset_ops.copy(z);

        assert_non_null(loaded);
        assert_int_equal(used, len);
        assert_true(zset_check(loaded));
        assert_string_equal(zset_ops.encoding(loaded), zset_ops.encoding(z));
        assert_true(zset_ops.digest(loaded) == zset_ops.digest(z));
        assert_true(zset_ops.digest(copy) == zset_ops.digest(z));
        assert_true(zset_check(copy));
        zset_free(z);
        zset_free(loaded);
        zset_free(copy);
        buf_free(&b);
    }
}

static void broken_dumps_are_refused_or_sound(void **state)
{
    (void)state;
    struct zset *z = filled(40, "m");
    struct buf b = {0};
    zset_ops.dump(z, &b);
    size_t used;
    for (size_t cut = 0; cut < buf_used(&b); cut++) {
        /* a copy of exactly that length, so that a sanitizer sees any read behind it */
        char *p = malloc(cut == 0 ? 1 : cut);
        memcpy(p, buf_head(&b), cut);
        assert_null(zset_ops.load(p, cut, &used));
        free(p);
    }
    for (size_t at = 0; at < buf_used(&b); at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            b.p[b.head + at] = (char)(b.p[b.head + at] ^ (1 << bit));
            struct zset *got = zset_ops.load(buf_head(&b), buf_used(&b), &used);
            assert_true(got == NULL || zset_check(got));
            zset_free(got);
            b.p[b.head + at] = (char)(b.p[b.head + at] ^ (1 << bit));
        }
    }
    zset_free(z);
    buf_free(&b);
}

static void load_refuses_disorder_doubles_and_nan(void **state)
{
    (void)state;
    struct {
        double a, b;
        char x, y;
        bool ok;
    } cases[] = {{1, 2, 'a', 'b', true},         {2, 1, 'a', 'b', false}, {1, 2, 'a', 'a', false},
                 {1, 1, 'b', 'a', false},        {1, 1, 'a', 'b', true},  {1, 1, 'a', 'a', false},
                 {1, 0.0 / 0.0, 'a', 'b', false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b = {0};
        uint64_t n = 2;
        uint32_t len = 1;
        buf_add(&b, "\0", 1);
        buf_add(&b, &n, sizeof n);
        buf_add(&b, &cases[i].a, 8);
        buf_add(&b, &len, 4);
        buf_add(&b, &cases[i].x, 1);
        buf_add(&b, &cases[i].b, 8);
        buf_add(&b, &len, 4);
        buf_add(&b, &cases[i].y, 1);
        size_t used;
        struct zset *z = zset_ops.load(buf_head(&b), buf_used(&b), &used);
        assert_int_equal(z != NULL, cases[i].ok);
        zset_free(z);
        buf_free(&b);
    }
}

static void freeing_is_done_in_slices(void **state)
{
    (void)state;
    struct zset *z = filled(10000, "member:");
    int64_t before = mem_thread_used();
    int steps = 0;

    while (zset_ops.free_step(z, 100)) {
        steps++;
    }

    assert_true(steps >= 10000 / 200);
    assert_true(mem_thread_used() < before);
}

struct seen {
    unsigned char count[3000];
};

static void mark(void *arg, struct span member, double score)
{
    (void)score;
    char text[32];
    memcpy(text, member.p, member.len);
    text[member.len] = '\0';
    unsigned i = (unsigned)strtoul(text + 1, NULL, 10);
    ((struct seen *)arg)->count[i] = 1;
}

static void scanning_sees_what_stays_whatever_comes_and_goes(void **state)
{
    (void)state;
    struct zset *z = filled(1000, "m");
    struct seen seen = {{0}};
    uint64_t cursor = 0;
    unsigned next = 1000;
    unsigned gone = 500;
    int calls = 0;
    do {
        cursor = zset_scan(z, cursor, mark, &seen);
        char text[32];
        for (int i = 0; i < 20 && next < 3000; i++, next++) {
            zset_insert(z, &limits, name(text, sizeof text, "m", next), next);
        }
        for (int i = 0; i < 5 && gone < 1000; i++, gone++) {
            struct zset_ref ref;
            assert_true(zset_find(z, name(text, sizeof text, "m", gone), &ref));
            zset_remove(z, ref);
        }
        calls++;
    } while (cursor != 0);

    assert_true(calls > 20);
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(seen.count[i], 1);
    }
    zset_free(z);
}

static void memory_is_what_the_allocator_gave(void **state)
{
    (void)state;
    static const unsigned sizes[] = {10, 100, 10000};
    for (size_t i = 0; i < 3; i++) {
        int64_t before = mem_thread_used();
        struct zset *z = filled(sizes[i], "member:");
        int64_t used = mem_thread_used() - before;
        size_t told = zset_ops.memory(z, 0);
        size_t sampled = zset_ops.memory(z, 5);

        if (used > 0) { /* the sanitizers' allocator may not count */
            assert_in_range(told, (uint64_t)(used * 9 / 10), (uint64_t)(used * 11 / 10));
        }
        assert_in_range(sampled, told * 8 / 10, told * 12 / 10);
        zset_free(z);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found_and_ranked),
        cmocka_unit_test(random_changes_keep_both_encodings_equal),
        cmocka_unit_test(a_long_member_or_one_too_many_makes_it_large),
        cmocka_unit_test(members_of_any_length_survive),
        cmocka_unit_test(ranges_of_ranks_are_removed),
        cmocka_unit_test(dumps_are_loaded_and_copies_equal),
        cmocka_unit_test(broken_dumps_are_refused_or_sound),
        cmocka_unit_test(load_refuses_disorder_doubles_and_nan),
        cmocka_unit_test(freeing_is_done_in_slices),
        cmocka_unit_test(scanning_sees_what_stays_whatever_comes_and_goes),
        cmocka_unit_test(memory_is_what_the_allocator_gave),
    };
    return cmocka_run_group_tests_name("zset", tests, NULL, NULL);
}
