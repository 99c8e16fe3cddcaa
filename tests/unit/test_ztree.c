/* The order-statistics tree against a sorted array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backends/types/ztree.h"

#define MODEL_MAX 6000

/* The model: members in order. */
struct fixture {
    struct ztree t;
    struct zmember *v[MODEL_MAX];
    size_t n;
    uint64_t rng;
};

static uint64_t next_random(struct fixture *f)
{
    f->rng ^= f->rng << 13;
    f->rng ^= f->rng >> 7;
    f->rng ^= f->rng << 17;
    return f->rng;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->rng = 88172645463325252u;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    while (f->t.count != 0) {
        ztree_remove(&f->t, f->v[--f->n]);
        mem_free(f->v[f->n]);
    }
    free(f);
    return 0;
}

/* Moves the model's members from `from` on to `to`. */
static void shift(struct fixture *f, size_t to, size_t from)
{
    size_t n = f->n - from;
    for (size_t i = 0; i < n; i++) {
        size_t k = to > from ? n - 1 - i : i;
        f->v[to + k] = f->v[from + k];
    }
}

static bool is_before(const struct zmember *a, const struct zmember *b)
{
    return a->score != b->score ? a->score < b->score
                                : zmember_cmp(zmember_span(a), zmember_span(b)) < 0;
}

static size_t model_rank(const struct fixture *f, const struct zmember *m)
{
    size_t lo = 0;
    size_t n = f->n;
    while (n > 0) {
        size_t half = n / 2;
        if (is_before(f->v[lo + half], m)) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return lo;
}

static struct zmember *add(struct fixture *f, double score, uint64_t id)
{
    char text[24];
    int len = snprintf(text, sizeof text, "m%llu", (unsigned long long)id);
    struct zmember *m = zmember_new(span_of(text, (size_t)len), score);
    size_t at = model_rank(f, m);
    shift(f, at + 1, at);
    f->v[at] = m;
    f->n++;
    ztree_insert(&f->t, m);
    return m;
}

static void take(struct fixture *f, size_t at)
{
    struct zmember *m = f->v[at];
    ztree_remove(&f->t, m);
    shift(f, at, at + 1);
    f->n--;
    mem_free(m);
}

static void rescore(struct fixture *f, size_t at, double score)
{
    struct zmember *m = f->v[at];
    ztree_rescore(&f->t, m, score);
    assert_true(m->score == score);
    shift(f, at, at + 1);
    f->n--;
    at = model_rank(f, m);
    shift(f, at + 1, at);
    f->v[at] = m;
    f->n++;
}

struct bound {
    double score;
};

static bool below(const void *arg, double score, struct span member)
{
    (void)member;
    return score < ((const struct bound *)arg)->score;
}

static void compare(struct fixture *f)
{
    assert_true(ztree_check(&f->t));
    assert_int_equal(f->t.count, f->n);
    struct ztree_pos p = ztree_at(&f->t, 0);
    for (size_t i = 0; i < f->n; i++) {
        assert_ptr_equal(ztree_pair(p).m, f->v[i]);
        assert_int_equal(ztree_rank(&f->t, f->v[i]), i);
        assert_ptr_equal(ztree_pair(ztree_at(&f->t, i)).m, f->v[i]);
        p = ztree_next(p);
    }
    assert_null(p.leaf);
    assert_null(ztree_at(&f->t, f->n).leaf);
    if (f->n > 0) {
        p = ztree_at(&f->t, f->n - 1);
        for (size_t i = f->n; i-- > 0; p = ztree_prev(p)) {
            assert_ptr_equal(ztree_pair(p).m, f->v[i]);
        }
        assert_null(p.leaf);
    }
    for (int quarter = -4; quarter < 240; quarter += 14) {
        double s = quarter / 4.0;
        struct bound b = {s};
        size_t want = 0;
        while (want < f->n && f->v[want]->score < s) {
            want++;
        }
        assert_int_equal(ztree_count_before(&f->t, below, &b), want);
    }
}

static void random_operations_match_a_sorted_array(void **state)
{
    struct fixture *f = *state;

    for (int round = 0; round < 60; round++) {
        /* grows for a while, then shrinks: splits and merges both happen */
        bool growing = round % 20 < 12;
        for (int i = 0; i < 500; i++) {
            uint64_t r = next_random(f);
            double score = (double)(next_random(f) % 200) / 4;
            unsigned kind = (unsigned)(r % 10);
            if (f->n == 0 || (kind < (growing ? 7 : 2) && f->n < MODEL_MAX)) {
                add(f, score, r);
            } else if (kind < 8) {
                take(f, next_random(f) % f->n);
            } else {
                rescore(f, next_random(f) % f->n, score);
            }
        }

        compare(f);
    }
}

static void ascending_inserts_fill_the_leaves(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < 5000; i++) {
        add(f, (double)i, i);
    }

    compare(f);
    assert_true(f->t.leaf_count <= 5000 / 62 + 2);
}

static void descending_inserts_fill_the_leaves(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 5000; i-- > 0;) {
        add(f, (double)i, i);
    }

    compare(f);
    assert_true(f->t.leaf_count <= 5000 / 62 + 2);
}

static void removing_from_either_end_and_the_middle_empties_the_tree(void **state)
{
    struct fixture *f = *state;
    for (int way = 0; way < 3; way++) {
        for (uint64_t i = 0; i < 5000; i++) {
            add(f, (double)(next_random(f) % 1000), i);
        }

        while (f->n > 0) {
            take(f, way == 0 ? 0 : way == 1 ? f->n - 1 : f->n / 2);
            if (f->n % 500 == 0) {
                compare(f);
            }
        }

        assert_null(f->t.root);
        assert_int_equal(ztree_memory(&f->t), 0);
    }
}

static void equal_scores_are_ordered_by_bytes(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 0; i < 3000; i++) {
        add(f, 7, (i * 7919) % 3000);
    }

    compare(f);
}

struct freed {
    size_t n;
};

static void count_freed(void *arg, struct zmember *m)
{
    ((struct freed *)arg)->n++;
    mem_free(m);
}

static void freeing_gives_every_member_once_in_small_steps(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 5000; i++) {
        add(f, (double)(next_random(f) % 1000), i);
    }

    struct freed freed = {0};
    size_t before = 0;
    while (ztree_free_leaf(&f->t, count_freed, &freed)) {
        assert_true(freed.n - before <= 62);
        before = freed.n;
    }

    assert_int_equal(freed.n, 5000);
    assert_null(f->t.root);
    assert_int_equal(f->t.count, 0);
    f->n = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_operations_match_a_sorted_array, setup, teardown),
        cmocka_unit_test_setup_teardown(ascending_inserts_fill_the_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(descending_inserts_fill_the_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(removing_from_either_end_and_the_middle_empties_the_tree,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(equal_scores_are_ordered_by_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(freeing_gives_every_member_once_in_small_steps, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("ztree", tests, NULL, NULL);
}
