/* The packed sequence against an array of strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/types/pack.h"
#include "common/mem.h"

#define MODEL_MAX 400

struct model {
    char *text[MODEL_MAX];
    size_t len[MODEL_MAX];
    size_t count;
};

static uint64_t rng = 88172645463325252u;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

/* Integers of all widths, texts of all length forms, binary and nearly-integer texts. */
static struct span random_text(char *room)
{
    uint64_t kind = next_random() % 8;
    if (kind < 3) {
        int64_t v = (int64_t)(next_random() >> (next_random() % 64));
        return span_of(room, num_fmt_i64(room, kind == 0 ? -v : v));
    }
    if (kind == 3) {
        static const char *const odd[] = {"",
                                          "-0",
                                          "01",
                                          " 1",
                                          "1 ",
                                          "+5",
                                          "9223372036854775808",
                                          "-9223372036854775808",
                                          "9223372036854775807",
                                          "-"};
        return span_str(odd[next_random() % 10]);
    }
    size_t len = kind == 4 ? next_random() % 3000 : next_random() % 140;
    for (size_t i = 0; i < len; i++) {
        room[i] = (char)next_random();
    }
    return span_of(room, len);
}

static void model_insert(struct model *m, size_t i, struct span s)
{
    memmove(m->text + i + 1, m->text + i, (m->count - i) * sizeof *m->text);
    memmove(m->len + i + 1, m->len + i, (m->count - i) * sizeof *m->len);
    m->text[i] = malloc(s.len + 1);
    memcpy(m->text[i], s.len == 0 ? "" : s.p, s.len);
    m->len[i] = s.len;
    m->count++;
}

static void model_erase(struct model *m, size_t i)
{
    free(m->text[i]);
    m->count--;
    memmove(m->text + i, m->text + i + 1, (m->count - i) * sizeof *m->text);
    memmove(m->len + i, m->len + i + 1, (m->count - i) * sizeof *m->len);
}

static void model_free(struct model *m)
{
    while (m->count != 0) {
        model_erase(m, m->count - 1);
    }
}

static struct span model_at(const struct model *m, size_t i)
{
    return span_of(m->text[i], m->len[i]);
}

static void assert_same(const struct pack *p, const struct model *m)
{
    char tmp[NUM_I64_MAX];
    assert_int_equal(pack_count(p), m->count);
    size_t pos = pack_first(p);
    for (size_t i = 0; i < m->count; i++, pos = pack_next(p, pos)) {
        assert_int_not_equal(pos, PACK_NONE);
        assert_true(span_eq(pack_get(p, pos, tmp), model_at(m, i)));
        assert_true(pack_is(p, pos, model_at(m, i)));
        assert_int_equal(pack_at(p, (int64_t)i), pos);
        assert_int_equal(pack_at(p, (int64_t)i - (int64_t)m->count), pos);
    }
    assert_int_equal(pos, PACK_NONE);
    pos = pack_last(p);
    for (size_t i = m->count; i-- > 0; pos = pack_prev(p, pos)) {
        assert_true(span_eq(pack_get(p, pos, tmp), model_at(m, i)));
    }
    assert_int_equal(pos, PACK_NONE);
    assert_int_equal(pack_at(p, (int64_t)m->count), PACK_NONE);
    assert_int_equal(pack_at(p, -(int64_t)m->count - 1), PACK_NONE);
}

static void random_changes_match_an_array(void **state)
{
    (void)state;
    static char room[4096];
    struct model m = {0};
    struct pack *p = pack_new();
    for (int step = 0; step < 6000; step++) {
        struct span s = random_text(room);
        uint64_t what = next_random() % 10;
        size_t i = m.count == 0 ? 0 : next_random() % m.count;
        if (m.count == 0 || (what < 5 && m.count < MODEL_MAX - 1)) {
            p = what == 0 ? pack_append(p, s)
                          : pack_insert(p, m.count == 0 ? PACK_NONE : pack_at(p, (int64_t)i), s);
            model_insert(&m, what == 0 ? m.count : i, s);
        } else if (what < 8) {
            p = pack_replace(p, pack_at(p, (int64_t)i), s);
            model_erase(&m, i);
            model_insert(&m, i, s);
        } else {
            size_t n = next_random() % 5;
            p = pack_erase(p, pack_at(p, (int64_t)i), n);
            for (; n != 0 && i < m.count; n--) {
                model_erase(&m, i);
            }
        }
        if (step % 40 == 0) {
            assert_same(p, &m);
        }
    }
    assert_same(p, &m);
    model_free(&m);
    pack_free(p);
}

static void find_looks_at_every_second_element(void **state)
{
    (void)state;
    struct pack *p = pack_new();
    p = pack_append(p, SPAN_LIT("a"));
    p = pack_append(p, SPAN_LIT("b"));
    p = pack_append(p, SPAN_LIT("b"));
    p = pack_append(p, SPAN_LIT("300"));
    p = pack_append(p, SPAN_LIT("300"));

    assert_int_equal(pack_find(p, pack_first(p), SPAN_LIT("b"), 1), pack_at(p, 2));
    assert_int_equal(pack_find(p, pack_first(p), SPAN_LIT("b"), 0), pack_at(p, 1));
    assert_int_equal(pack_find(p, pack_first(p), SPAN_LIT("300"), 1), pack_at(p, 4));
    assert_int_equal(pack_find(p, pack_first(p), SPAN_LIT("0300"), 0), PACK_NONE);
    assert_int_equal(pack_find(p, PACK_NONE, SPAN_LIT("b"), 0), PACK_NONE);
    pack_free(p);
}

static void only_canonical_integers_are_integers(void **state)
{
    (void)state;
    int64_t v = 0;
    struct pack *p = pack_new();
    p = pack_append(p, SPAN_LIT("-9223372036854775808"));
    p = pack_append(p, SPAN_LIT("007"));
    p = pack_append(p, SPAN_LIT("8319"));
    p = pack_append(p, SPAN_LIT("8320"));
    assert_true(pack_get_i64(p, pack_at(p, 0), &v));
    assert_true(v == INT64_MIN);
    assert_false(pack_get_i64(p, pack_at(p, 1), &v));
    assert_true(pack_get_i64(p, pack_at(p, 2), &v));
    assert_int_equal(v, 8319);
    assert_true(pack_get_i64(p, pack_at(p, 3), &v));
    assert_int_equal(v, 8320);
    pack_free(p);
}

static void split_and_concat_are_inverse(void **state)
{
    (void)state;
    static char room[4096];
    struct model m = {0};
    struct pack *p = pack_new();
    for (int i = 0; i < 50; i++) {
        struct span s = random_text(room);
        p = pack_append(p, s);
        model_insert(&m, m.count, s);
    }
    for (int64_t at = 0; at <= 50; at++) {
        struct pack *tail = NULL;
        p = pack_split(p, pack_at(p, at), &tail);
        assert_int_equal(pack_count(p), at);
        assert_int_equal(pack_count(tail), 50 - at);
        struct pack *twin = pack_copy(tail);
        pack_free(tail);
        p = pack_concat(p, twin);
        pack_free(twin);
        assert_same(p, &m);
    }
    assert_true(pack_fits(p, 1000));
    assert_false(pack_fits(p, PACK_BYTES_MAX));
    model_free(&m);
    pack_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_match_an_array),
        cmocka_unit_test(find_looks_at_every_second_element),
        cmocka_unit_test(only_canonical_integers_are_integers),
        cmocka_unit_test(split_and_concat_are_inverse),
    };
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
