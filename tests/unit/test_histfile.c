/* Recorded histories: what is read, how texts become values, and seeded violations that must be
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/histfile.h"

struct fixture {
    struct histfile *f;
    uint64_t now, seq;
};

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    if (x == NULL) {
        return -1;
    }
    x->f = histfile_new();
    x->now = 1000;
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    histfile_free(x->f);
    free(x);
    return 0;
}

/* arg, ret: JSON, or NULL */
struct step {
    unsigned client;
    const char *op, *arg, *ret;
    const char *status; /* NULL: ok */
    uint64_t call, end; /* both 0: after everything before */
};

static void add(struct fixture *x, const char *key, const struct step *s)
{
    char line[512];
    uint64_t call = s->call;
    uint64_t end = s->end;
    if (call == 0 && end == 0) {
        call = x->now + 10;
        end = x->now + 20;
        x->now = end;
    }
    snprintf(
        line, sizeof line,
        "{\"client\":%u,\"seq\":%llu,\"op\":\"%s\",\"key\":\"%s\"%s%s,\"ret\":%s,\"status\":\"%s\","
        "\"call\":%llu,\"return\":%llu}",
        s->client, (unsigned long long)x->seq++, s->op, key, s->arg != NULL ? ",\"arg\":" : "",
        s->arg != NULL ? s->arg : "", s->ret != NULL ? s->ret : "null",
        s->status != NULL ? s->status : "ok", (unsigned long long)call, (unsigned long long)end);
    struct errmsg why = {{0}};
    enum err e = histfile_line(x->f, "test", x->seq, line, &why);
    assert_string_equal(why.text, "");
    assert_int_equal(e, OK);
}

static const struct histfile_key *judge(struct fixture *x, const struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        add(x, "k", &steps[i]);
    }
    const struct histfile_key *keys;
    size_t count = 0;
    histfile_judge(x->f, 1000000, &keys, &count);
    assert_int_equal(count, 1);
    return &keys[0];
}
#define JUDGE(steps) judge(*state, steps, sizeof(steps) / sizeof *(steps))

static void a_good_register_is_accepted_by_both_checks(void **state)
{
    const struct step steps[] = {{0, "GET", NULL, "null", NULL, 0, 0},
                                 {0, "SET", "\"a\"", "\"OK\"", NULL, 0, 0},
                                 {1, "GET", NULL, "\"a\"", NULL, 0, 0},
                                 {1, "SET", "\"b\"", "\"OK\"", NULL, 0, 0},
                                 {0, "GET", NULL, "\"b\"", NULL, 0, 0}};
    const struct histfile_key *k = JUDGE(steps);
    assert_int_equal(k->verdict, HISTFILE_GOOD);
    assert_string_equal(k->method, "zones and search");
    assert_int_equal(k->ok, 5);
    assert_int_equal(k->open_most, 1);
}

static void a_stale_read_is_refused_and_shown(void **state)
{
    const struct step steps[] = {{0, "SET", "\"a\"", "\"OK\"", NULL, 0, 0},
                                 {0, "SET", "\"b\"", "\"OK\"", NULL, 0, 0},
                                 {1, "GET", NULL, "\"a\"", NULL, 0, 0}};
    const struct histfile_key *k = JUDGE(steps);
    assert_int_equal(k->verdict, HISTFILE_BAD);
    assert_true(k->has_fault);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    histfile_around(((struct fixture *)*state)->f, k, out);
    fclose(out);
    assert_non_null(strstr(text, "GET"));
    assert_non_null(strstr(text, "> client"));
    free(text);
}

static void a_stale_read_among_rmws_is_refused(void **state)
{
    const struct step steps[] = {{0, "SET", "\"a\"", "\"OK\"", NULL, 0, 0},
                                 {0, "GETSET", "\"b\"", "\"a\"", NULL, 0, 0},
                                 {1, "SETNX", "\"c\"", "0", NULL, 0, 0},
                                 {1, "GET", NULL, "\"a\"", NULL, 0, 0}};
    assert_int_equal(JUDGE(steps)->verdict, HISTFILE_BAD);
}

/* Acknowledged, then gone. */
static void a_lost_update_is_refused(void **state)
{
    const struct step steps[] = {{0, "INCR", NULL, "1", NULL, 0, 0},
                                 {0, "INCR", NULL, "2", NULL, 0, 0},
                                 {1, "INCR", NULL, "2", NULL, 0, 0}};
    assert_int_equal(JUDGE(steps)->verdict, HISTFILE_BAD);
}

static void a_doubled_incr_is_refused(void **state)
{
    const struct step steps[] = {{0, "INCR", NULL, "1", NULL, 0, 0},
                                 {0, "INCR", NULL, "2", NULL, 0, 0},
                                 {1, "GET", NULL, "\"3\"", NULL, 0, 0}};
    assert_int_equal(JUDGE(steps)->verdict, HISTFILE_BAD);
}

/* One of unknown outcome may count once, not twice; a failed one may not count. */
static void unknown_increments_count_at_most_once(void **state)
{
    const struct step steps[] = {{0, "INCR", NULL, "1", NULL, 0, 0},
                                 {1, "INCR", NULL, NULL, "unknown", 0, 0},
                                 {0, "GET", NULL, "\"1\"", NULL, 0, 0},
                                 {0, "GET", NULL, "\"2\"", NULL, 0, 0}};
    assert_int_equal(JUDGE(steps)->verdict, HISTFILE_GOOD);
    const struct step more[] = {{0, "INCR", NULL, "4", NULL, 0, 0}};
    assert_int_equal(JUDGE(more)->verdict, HISTFILE_BAD);
}

static void failed_writes_must_not_be_seen(void **state)
{
    const struct step steps[] = {{0, "SET", "\"a\"", "\"OK\"", NULL, 0, 0},
                                 {0, "SET", "\"b\"", NULL, "fail", 0, 0},
                                 {1, "GET", NULL, "\"b\"", NULL, 0, 0}};
    assert_int_equal(JUDGE(steps)->verdict, HISTFILE_BAD);
}

static void appended_pieces_are_taken_apart(void **state)
{
    const struct step steps[] = {
        {0, "APPEND", "\"aa\"", "2", NULL, 0, 0},   {1, "APPEND", "\"bb\"", "4", NULL, 0, 0},
        {0, "GET", NULL, "\"aabb\"", NULL, 0, 0},   {0, "DEL", NULL, "1", NULL, 0, 0},
        {0, "SET", "\"cc\"", "\"OK\"", NULL, 0, 0}, {0, "APPEND", "\"dd\"", "4", NULL, 0, 0},
        {0, "GET", NULL, "\"ccdd\"", NULL, 0, 0}};
    assert_int_equal(JUDGE(steps)->verdict, HISTFILE_GOOD);
    const struct step swapped[] = {{0, "GET", NULL, "\"ddcc\"", NULL, 0, 0}};
    assert_int_equal(JUDGE(swapped)->verdict, HISTFILE_BAD);
}

static void half_a_piece_is_refused(void **state)
{
    const struct step steps[] = {{0, "APPEND", "\"aa\"", "2", NULL, 0, 0},
                                 {1, "GET", NULL, "\"a\"", NULL, 0, 0}};
    assert_int_equal(JUDGE(steps)->verdict, HISTFILE_BAD);
}

static void overlapping_operations_of_a_client_keep_their_order(void **state)
{
    const struct step steps[] = {{0, "SET", "\"a\"", "\"OK\"", NULL, 100, 900},
                                 {0, "GET", NULL, "null", NULL, 100, 901}};
    assert_int_equal(JUDGE(steps)->verdict, HISTFILE_BAD);
}

static void what_cannot_be_judged_is_undecided(void **state)
{
    const struct step steps[] = {{0, "INCR", NULL, "1", NULL, 0, 0},
                                 {0, "APPEND", "\"1\"", "2", NULL, 0, 0}};
    assert_int_equal(JUDGE(steps)->verdict, HISTFILE_UNDECIDED);
}

static void a_small_budget_is_undecided_not_good(void **state)
{
    struct fixture *x = *state;
    for (unsigned i = 0; i < 20; i++) {
        add(x, "k", &(struct step){i, "INCR", NULL, "1", NULL, 100, 1000});
    }
    const struct histfile_key *keys;
    size_t n = 0;
    histfile_judge(x->f, 0, &keys, &n);
    assert_int_equal(keys[0].verdict, HISTFILE_UNDECIDED);
    histfile_judge(x->f, 1000000, &keys, &n);
    assert_int_equal(keys[0].verdict, HISTFILE_BAD);
}

static void keys_are_judged_on_their_own(void **state)
{
    struct fixture *x = *state;
    add(x, "b", &(struct step){0, "SET", "\"a\"", "\"OK\"", NULL, 0, 0});
    add(x, "a", &(struct step){0, "GET", NULL, "\"a\"", NULL, 0, 0});
    const struct histfile_key *keys;
    size_t n = 0;
    histfile_judge(x->f, 1000, &keys, &n);
    assert_int_equal(n, 2);
    assert_string_equal(keys[0].key, "a");
    assert_int_equal(keys[0].verdict, HISTFILE_BAD);
    assert_int_equal(keys[1].verdict, HISTFILE_GOOD);
}

static void malformed_lines_are_refused_with_a_place(void **state)
{
    struct fixture *x = *state;
    static const char *const lines[] = {
        "nothing",
        "[]",
        "{\"client\":0,\"seq\":0,\"op\":\"ZADD\",\"key\":\"k\",\"status\":\"ok\",\"call\":1,"
        "\"return\":2}",
        "{\"client\":0,\"seq\":0,\"op\":\"GET\",\"key\":\"k\",\"status\":\"fine\",\"call\":1,"
        "\"return\":2}",
        "{\"client\":0,\"seq\":0,\"op\":\"SET\",\"key\":\"k\",\"status\":\"ok\",\"ret\":\"OK\","
        "\"call\":1,"
        "\"return\":2}",
        "{\"client\":0,\"seq\":0,\"op\":\"INCR\",\"key\":\"k\",\"status\":\"ok\",\"call\":1,"
        "\"return\":2}",
        "{\"client\":0,\"seq\":0,\"op\":\"GET\",\"key\":\"k\",\"ret\":\"a\\u0000b\",\"status\":"
        "\"ok\","
        "\"call\":1,\"return\":2}",
        "{\"client\":0,\"seq\":0,\"op\":\"GET\",\"key\":\"k\",\"status\":\"ok\",\"call\":3,"
        "\"return\":2}",
        "{\"client\":0,\"seq\":0,\"op\":\"GET\",\"key\":\"k\",\"status\":\"ok\",\"call\":3}",
        "{\"client\":-1,\"seq\":0,\"op\":\"GET\",\"key\":\"k\",\"status\":\"ok\",\"call\":1,"
        "\"return\":2}"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct errmsg why = {{0}};
        assert_int_equal(histfile_line(x->f, "file", 7, lines[i], &why), ERR_PROTO);
        assert_non_null(strstr(why.text, "file:7: "));
    }
    struct errmsg why = {{0}};
    assert_int_equal(histfile_read(x->f, "/nonexistent/h.json", &why), ERR_IO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_good_register_is_accepted_by_both_checks),
        TEST(a_stale_read_is_refused_and_shown),
        TEST(a_stale_read_among_rmws_is_refused),
        TEST(a_lost_update_is_refused),
        TEST(a_doubled_incr_is_refused),
        TEST(unknown_increments_count_at_most_once),
        TEST(failed_writes_must_not_be_seen),
        TEST(appended_pieces_are_taken_apart),
        TEST(half_a_piece_is_refused),
        TEST(overlapping_operations_of_a_client_keep_their_order),
        TEST(what_cannot_be_judged_is_undecided),
        TEST(a_small_budget_is_undecided_not_good),
        TEST(keys_are_judged_on_their_own),
        TEST(malformed_lines_are_refused_with_a_place),
    };
    return cmocka_run_group_tests_name("histfile", tests, NULL, NULL);
}
