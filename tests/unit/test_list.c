/* Lists against an array of numbers, each number standing for a text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/types/list.h"
#include "tests/lib/object_check.h"

#define MODEL_MAX 3000u

struct model {
    uint32_t v[MODEL_MAX];
    size_t count;
};

static char room[80000];

/* Texts of all kinds: integers, short, longer than a node, and so large that they are kept apart.
 */
static struct span text_of(uint32_t v)
{
    size_t n = (size_t)snprintf(room, sizeof room, v % 2 == 0 ? "%u" : "text %u", v);
    size_t more = v % 61 == 0 ? 3000 : v % 233 == 0 ? 70000 : v % 7 == 0 ? 90 : 0;
    memset(room + n, 'y', more);
    return span_of(room, n + more);
}

static void model_insert(struct model *m, size_t i, uint32_t v)
{
    memmove(m->v + i + 1, m->v + i, (m->count - i) * sizeof *m->v);
    m->v[i] = v;
    m->count++;
}

static void model_erase(struct model *m, size_t i, size_t n)
{
    memmove(m->v + i, m->v + i + n, (m->count - i - n) * sizeof *m->v);
    m->count -= n;
}

static void assert_same(const struct list *l, const struct model *m)
{
    char tmp[NUM_I64_MAX];
    assert_int_equal(list_count(l), m->count);
    struct list_place p = list_at(l, 0);
    for (size_t i = 0; i < m->count; i++, p = list_next(p)) {
        assert_non_null(p.node);
        assert_true(span_eq(list_get(p, tmp), text_of(m->v[i])));
        assert_true(list_is(p, text_of(m->v[i])));
    }
    assert_null(p.node);
    p = list_at(l, -1);
    for (size_t i = m->count; i-- > 0; p = list_prev(p)) {
        assert_true(span_eq(list_get(p, tmp), text_of(m->v[i])));
    }
    assert_null(p.node);
    for (size_t i = 0; i < m->count; i += 1 + m->count / 16) {
        assert_true(list_is(list_at(l, (int64_t)i), text_of(m->v[i])));
        assert_true(list_is(list_at(l, (int64_t)i - (int64_t)m->count), text_of(m->v[i])));
    }
    assert_null(list_at(l, (int64_t)m->count).node);
}

static void change(struct list *l, struct model *m)
{
    char tmp[NUM_I64_MAX];
    uint32_t v = (uint32_t)(test_random() % 100000);
    uint64_t what = test_random() % 12;
    size_t i = m->count == 0 ? 0 : test_random() % m->count;
    struct list_place p = list_at(l, (int64_t)i);
    if (m->count == 0 || (what < 4 && m->count < MODEL_MAX)) {
        enum list_end end = what % 2 == 0 ? LIST_HEAD : LIST_TAIL;
        list_push(l, end, text_of(v));
        model_insert(m, end == LIST_HEAD ? 0 : m->count, v);
        assert_true(span_eq(list_peek(l, end, tmp), text_of(v)));
    } else if (what < 7 && m->count < MODEL_MAX) {
        list_insert(l, p, what == 4, text_of(v));
        model_insert(m, i + (what == 4), v);
    } else if (what < 9) {
        list_replace(l, p, text_of(v));
        m->v[i] = v;
    } else if (what == 9) {
        bool forward = v % 2 == 0;
        p = list_erase(l, p, forward);
        model_erase(m, i, 1);
        bool more = forward ? i < m->count : i > 0;
        assert_int_equal(p.node != NULL, more);
        if (more) {
            assert_true(list_is(p, text_of(m->v[forward ? i : i - 1])));
        }
    } else if (what == 10) {
        list_pop(l, v % 2 == 0 ? LIST_HEAD : LIST_TAIL);
        model_erase(m, v % 2 == 0 ? 0 : m->count - 1, 1);
    } else {
        size_t n = test_random() % 6;
        n = n > m->count - i ? m->count - i : n;
        list_erase_range(l, i, n);
        model_erase(m, i, n);
    }
}

static void random_changes_match_an_array(void **state)
{
    (void)state;
    static const int64_t fills[] = {-2, -1, -5, 1, 3, 128, 0, -9};
    for (unsigned round = 0; round < 8; round++) {
        static struct model m;
        m.count = 0;
        struct list *l = list_new(fills[round]);
        for (unsigned step = 0; step < 4000; step++) {
            change(l, &m);
            if (step % 400 == 0) {
                assert_same(l, &m);
            }
        }
        assert_same(l, &m);
        object_check(VAL_LIST, l);
        size_t cut = m.count / 3;
        list_erase_range(l, cut, m.count - cut);
        model_erase(&m, cut, m.count - cut);
        assert_same(l, &m);
        list_free(l);
    }
}

static void freeing_is_done_in_slices(void **state)
{
    (void)state;
    const struct object_ops *ops = object_ops(VAL_LIST);
    struct list *l = list_new(1);
    for (uint32_t i = 0; i < 1000; i++) {
        list_push(l, LIST_TAIL, SPAN_LIT("x"));
    }
    unsigned steps = 1;
    while (ops->free_step(l, 10)) {
        steps++;
    }
    assert_in_range(steps, 50, 101);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_match_an_array),
        cmocka_unit_test(freeing_is_done_in_slices),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
