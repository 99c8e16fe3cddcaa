/* Streams against an array of entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/types/stream.h"
#include "tests/lib/object_check.h"

#define MODEL_MAX 6000u

struct model_entry {
    struct stream_id id;
    uint32_t content;
};

struct model {
    struct model_entry e[MODEL_MAX];
    size_t count;
};

/* Contents of different numbers of pairs, most with the same fields. */
struct content {
    struct span pairs[12];
    size_t n;
    char text[12][300];
};

static void make_content(struct content *c, uint32_t v)
{
    c->n = v % 5 == 0 ? 1 + v % 6 : 2;
    for (size_t i = 0; i < c->n; i++) {
        char *field = c->text[2 * i];
        char *value = c->text[2 * i + 1];
        size_t n = (size_t)snprintf(field, 300, "%s%zu", v % 7 == 0 ? "other" : "field", i);
        c->pairs[2 * i] = span_of(field, n);
        n = (size_t)snprintf(value, 300, i == 0 ? "%u" : "value %u", v);
        if (v % 41 == 0) {
            memset(value + n, 'z', 200);
            n += 200;
        }
        c->pairs[2 * i + 1] = span_of(value, n);
    }
}

static struct stream_limits limits_of(unsigned round)
{
    static const struct stream_limits all[] = {{4096, 100}, {0, 10}, {300, 0}, {0, 0}, {4096, 1}};
    return all[round % 5];
}

static struct stream_id random_next(struct stream_id id)
{
    if (test_random() % 3 == 0) {
        return (struct stream_id){id.ms + 1 + test_random() % 1000, test_random() % 3};
    }
    id.seq += 1 + test_random() % 5;
    return id;
}

static void model_erase(struct model *m, size_t at, size_t n)
{
    memmove(m->e + at, m->e + at + n, (m->count - at - n) * sizeof *m->e);
    m->count -= n;
}

struct check {
    const struct model *m;
    size_t at;
    bool reverse;
};

static void check_entry(void *arg, struct stream_entry *e)
{
    struct check *c = arg;
    assert_in_range(c->at, 0, c->m->count - 1);
    const struct model_entry *want = &c->m->e[c->at];
    assert_int_equal(stream_id_compare(e->id, want->id), 0);
    struct content content;
    make_content(&content, want->content);
    assert_int_equal(e->n, content.n);
    for (size_t i = 0; i < e->n; i++) {
        struct span field;
        struct span value;
        stream_entry_read(e, &field, &value);
        assert_true(span_eq(field, content.pairs[2 * i]));
        assert_true(span_eq(value, content.pairs[2 * i + 1]));
    }
    c->at += c->reverse ? SIZE_MAX : 1;
}

/* The range as the model has it: entries first .. first + n - 1. */
static size_t model_range(const struct model *m, const struct stream_range *r, size_t *first)
{
    size_t n = 0;
    *first = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (stream_id_compare(m->e[i].id, r->start) >= 0 &&
            stream_id_compare(m->e[i].id, r->end) <= 0) {
            *first = n == 0 ? i : *first;
            n++;
        }
    }
    return n;
}

static void check_range(const struct stream *s, const struct model *m, struct stream_range r)
{
    size_t first;
    size_t n = model_range(m, &r, &first);
    struct check c = {.m = m, .at = r.reverse ? first + n - 1 : first, .reverse = r.reverse};
    size_t want = r.count != 0 && r.count < n ? (size_t)r.count : n;
    assert_int_equal(stream_walk(s, &r, check_entry, &c), want);
}

static void check_all(const struct stream *s, const struct model *m)
{
    struct stream_facts f = stream_facts(s);
    assert_int_equal(f.length, m->count);
    if (m->count != 0) {
        assert_int_equal(stream_id_compare(f.first, m->e[0].id), 0);
        assert_int_equal(stream_id_compare(f.top, m->e[m->count - 1].id), 0);
    }
    struct stream_range r = {.end = STREAM_ID_MAX};
    check_range(s, m, r);
    r.reverse = true;
    check_range(s, m, r);
    for (unsigned i = 0; i < 12 && m->count != 0; i++) {
        r.start = m->e[test_random() % m->count].id;
        r.end = m->e[test_random() % m->count].id;
        r.start.seq += test_random() % 2;
        r.count = test_random() % 4 == 0 ? 1 + test_random() % 20 : 0;
        r.reverse = test_random() % 2 == 0;
        check_range(s, m, r);
    }
}

/* What a trim takes by the rules: exact ones from the model; approximate ones at most that, and as
 * planned. */
static void check_trim(struct stream *s, struct model *m, struct stream_limits limits)
{
    struct stream_trim t = {.by_id = test_random() % 2 == 0, .approximate = test_random() % 2 == 0};
    size_t at = test_random() % (m->count / 4 + 1);
    t.length_max = m->count - at;
    t.min = m->count == 0 ? STREAM_ID_MIN : m->e[at < m->count ? at : m->count - 1].id;
    size_t exact = t.by_id && at == m->count && at != 0 ? at - 1 : at;
    if (t.approximate && test_random() % 2 == 0) {
        t.limit = 1 + test_random() % 200;
    }
    uint64_t plan = stream_trim_plan(s, &t, NULL, 0, limits);
    uint64_t gone = stream_trim(s, &t);
    assert_int_equal(gone, plan);
    if (t.approximate) {
        assert_in_range(gone, 0, exact);
    } else {
        assert_int_equal(gone, exact);
    }
    if (t.limit != 0) {
        assert_in_range(gone, 0, t.limit);
    }
    model_erase(m, 0, gone);
}

/* Appends with a trim: the plan made before must tell what the trim after the append takes. */
static void append(struct stream *s, struct model *m, struct stream_limits limits)
{
    struct content c;
    uint32_t v = (uint32_t)(test_random() % 100000);
    make_content(&c, v);
    struct stream_id id = random_next(stream_last(s));
    bool trims = test_random() % 50 == 0;
    struct stream_trim t = {.by_id = test_random() % 2 == 0, .approximate = test_random() % 2 == 0};
    t.length_max = m->count - test_random() % (m->count / 8 + 1);
    t.min = m->count == 0 || test_random() % 4 == 0 ? id : m->e[m->count / 8].id;
    if (t.by_id && stream_id_compare(t.min, id) == 0 && test_random() % 2 == 0) {
        (void)stream_id_next(&t.min);
    }
    uint64_t plan = stream_trim_plan(s, &t, &id, stream_pairs_bytes(c.pairs, c.n), limits);
    stream_append(s, id, c.pairs, c.n, limits);
    m->e[m->count++] = (struct model_entry){id, v};
    if (trims) {
        uint64_t gone = stream_trim(s, &t);
        assert_int_equal(gone, plan);
        model_erase(m, 0, gone);
    }
}

static void random_changes_match_an_array(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 10; round++) {
        static struct model m;
        m.count = 0;
        struct stream *s = stream_new();
        struct stream_limits limits = limits_of(round);
        uint64_t added = 0;
        for (unsigned step = 0; step < 2500; step++) {
            uint64_t what = test_random() % 100;
            if (what < 70 && m.count < MODEL_MAX) {
                append(s, &m, limits);
                added++;
            } else if (what < 98 && m.count != 0) {
                size_t at = test_random() % m.count;
                struct stream_id id = m.e[at].id;
                assert_true(stream_delete(s, id));
                assert_false(stream_delete(s, id));
                model_erase(&m, at, 1);
            } else if (what == 98) {
                check_trim(s, &m, limits);
            }
            if (step % 500 == 0) {
                check_all(s, &m);
            }
        }
        assert_int_equal(stream_facts(s).entries_added, added);
        check_all(s, &m);
        object_check(VAL_STREAM, s);
        stream_free(s);
    }
}

static void ids_have_ends(void **state)
{
    (void)state;
    struct stream_id id = {5, UINT64_MAX};
    assert_true(stream_id_next(&id));
    assert_true(id.ms == 6 && id.seq == 0);
    assert_true(stream_id_previous(&id));
    assert_true(id.ms == 5 && id.seq == UINT64_MAX);
    id = STREAM_ID_MAX;
    assert_false(stream_id_next(&id));
    id = STREAM_ID_MIN;
    assert_false(stream_id_previous(&id));
    char text[STREAM_ID_TEXT];
    assert_int_equal(stream_id_format(text, STREAM_ID_MAX), 41);
    assert_string_equal(text, "18446744073709551615-18446744073709551615");
}

static void empty_streams_keep_their_ids(void **state)
{
    (void)state;
    const struct object_ops *ops = object_ops(VAL_STREAM);
    struct stream *s = stream_new();
    const struct span pair[] = {SPAN_LIT("f"), SPAN_LIT("v")};
    stream_append(s, (struct stream_id){7, 1}, pair, 1, limits_of(0));
    assert_true(stream_delete(s, (struct stream_id){7, 1}));
    struct buf dump = {0};
    ops->dump(s, &dump);
    size_t used = 0;
    struct stream *twin = ops->load(buf_head(&dump), buf_used(&dump), &used);
    assert_non_null(twin);
    assert_int_equal(stream_last(twin).ms, 7);
    assert_int_equal(stream_facts(twin).max_deleted.ms, 7);
    assert_int_equal(ops->digest(s), ops->digest(twin));
    buf_free(&dump);
    stream_free(s);
    stream_free(twin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_match_an_array),
        cmocka_unit_test(ids_have_ends),
        cmocka_unit_test(empty_streams_keep_their_ids),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
