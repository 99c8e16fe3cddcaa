/* What the differential lists cannot see of the sorted set, bitmap, geo and SORT commands: effects,
 * keys, dirty, rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backends/types/zset.h"
#include "tests/lib/cmdrun.h"

static int setup(void **state)
{
    static struct cmdrun r;
    cmdrun_init(&r);
    *state = &r;
    return 0;
}

static int teardown(void **state)
{
    cmdrun_deinit(*state);
    return 0;
}

static const struct cmd *row(const char *name)
{
    const struct cmd *cmd = cmd_find(span_str(name));
    assert_non_null(cmd);
    return cmd;
}

/* Checks the positions of the keys of a line: as many digits as keys, "-" for none to be found. */
static void keys_are(const char *line, const char *want)
{
    struct span argv[32];
    struct buf mem = {0};
    int argc = cmdrun_split(line, argv, 32, &mem);
    int idx[32];
    int n = cmd_get_keys(cmd_find(argv[0]), argv, argc, idx, 32);
    char got[33] = "-";
    for (int i = 0; i < n; i++) {
        got[i] = (char)('0' + idx[i]);
        got[i + 1] = '\0';
    }
    assert_string_equal(got, want);
    buf_free(&mem);
}

static void keys_of_movable_commands_are_found(void **state)
{
    (void)state;
    keys_are("zadd a 1 b", "1");
    keys_are("zunion 2 a b", "23");
    keys_are("zunion 2 a b weights 1 2", "23");
    keys_are("zinter 1 a", "2");
    keys_are("zdiff 3 a b", "-");
    keys_are("zdiff 0 a b", "-");
    keys_are("zdiff x a b", "-");
    keys_are("zintercard 2 a b limit 3", "23");
    keys_are("zmpop 2 a b min", "23");
    keys_are("bzmpop 0 2 a b min", "34");
    keys_are("bzpopmin a b 0", "12");
    keys_are("zunionstore d 2 a b", "134");
    keys_are("zinterstore d 3 a b", "-");
    keys_are("zdiffstore d 1 a", "13");
    keys_are("zrangestore d s 0 1", "12");
    keys_are("georadius k 1 2 3 m", "1");
    keys_are("georadius k 1 2 3 m store d", "17");
    keys_are("georadius k 1 2 3 m store d storedist e", "179");
    keys_are("georadius k 1 2 3 m withdist store", "1");
    keys_are("georadiusbymember k m 3 km storedist d", "16");
    keys_are("geosearchstore d s frommember a byradius 1 m", "12");
    keys_are("sort k", "1");
    keys_are("sort k by w_* get store store d", "17");
    keys_are("sort k limit 0 store store d store e", "18");
    keys_are("bitop and d a b", "234");
    keys_are("pfmerge d a b", "123");
}

static void geoadd_becomes_zadd_with_the_same_reply(void **state)
{
    struct cmdrun *r = *state;
    static const char *const lines[] = {
        "geoadd g 13.361389 38.115556 a 15.087269 37.502669 b",
        "geoadd g 13.361389 38.115556 a",
        "geoadd g ch 13.361389 38.2 a 1 1 c",
        "geoadd g nx ch 1 2 a 1 1 d 2 2 d",
        "geoadd g xx ch 3 3 a 4 4 nobody 5 5 a",
        "geoadd g ch 6 6 e 7 7 e 6 6 e",
        "geoadd g xx 1 1 nobody",
        "geoadd g 1 1",
        "geoadd g 1 95 x",
    };
    struct cmdrun plain;
    cmdrun_init(&plain);
    r->via_effects = true;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char want[256];
        snprintf(want, sizeof want, "%s", cmdrun_line(&plain, lines[i]));
        assert_string_equal(cmdrun_line(r, lines[i]), want);
        struct entry *a = store_find(r->store, SPAN_LIT("g"));
        struct entry *b = store_find(plain.store, SPAN_LIT("g"));
        assert_true(zset_ops.digest(entry_object(a)) == zset_ops.digest(entry_object(b)));
    }
    cmdrun_deinit(&plain);

    struct effects fx = {0};
    struct buf out = {0};
    struct resp_out o = {.b = &out, .proto = 2};
    struct span argv[] = {SPAN_LIT("geoadd"), SPAN_LIT("new"), SPAN_LIT("13.361389"),
                          SPAN_LIT("38.115556"), SPAN_LIT("x")};
    struct cmd_ctx c = {.store = r->store,
                        .cmd = row("geoadd"),
                        .argv = argv,
                        .argc = 5,
                        .out = &o,
                        .now_ms = r->now_ms,
                        .rng = &r->rng,
                        .stats = &r->stats,
                        .config = &r->config};
    assert_true(c.cmd->rewrite(&c, &fx));
    assert_int_equal(fx.count, 1);
    static const char want[] =
        "*4\r\n$4\r\nzadd\r\n$3\r\nnew\r\n$16\r\n3479099956230698\r\n$1\r\nx\r\n";
    assert_int_equal(buf_used(&fx.bytes), sizeof want - 1);
    assert_memory_equal(buf_head(&fx.bytes), want, sizeof want - 1);
    assert_null(store_find(r->store, SPAN_LIT("new"))); /* the rewrite itself changes nothing */
    buf_free(&fx.bytes);
    buf_free(&out);
}

static void dirty_tells_whether_anything_changed(void **state)
{
    struct cmdrun *r = *state;
    static const struct {
        const char *line;
        bool dirty;
    } cases[] = {
        {"zadd z 1 a 2 b", true},
        {"zadd z 1 a", false},
        {"zadd z xx 3 c", false},
        {"zadd z gt 0 a", false},
        {"zincrby z 0 a", false},
        {"zincrby z 1 a", true},
        {"zrem z nobody", false},
        {"zrem z a", true},
        {"zpopmin nothing", false},
        {"zremrangebyscore z 50 60", false},
        {"zrangestore d z 0 -1", true},
        {"zrangestore e no 0 -1", false},
        {"zrangestore d no 0 -1", true},
        {"zpopmax z", true},
        {"setbit b 5 1", true},
        {"setbit b 5 1", false},
        {"setbit b 5 0", true},
        {"setbit b 90 0", true},
        {"bitfield b get u8 0", false},
        {"bitfield b set u8 0 7", true},
        {"bitfield b set u8 0 7", false},
        {"bitop or d b", true},
        {"bitop or nothing no", false},
        {"bitfield b overflow fail incrby u2 0 9", false},
        {"pfadd h a", true},
        {"pfadd h a", false},
        {"pfadd e", true},
        {"pfadd e", false},
        {"pfcount h", false},
        {"pfmerge m h", true},
        {"sort no store none", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cmdrun_line(r, cases[i].line);
        if ((r->dirty != 0) != cases[i].dirty) {
            fail_msg("%s: dirty is %u", cases[i].line, (unsigned)r->dirty);
        }
    }
}

static void pfcount_does_not_change_the_value(void **state)
{
    struct cmdrun *r = *state;
    cmdrun_expect(r, "pfadd h a b c", ":1\r\n");
    struct span s = entry_string(store_find(r->store, SPAN_LIT("h")));
    char before[64];
    assert_true(s.len < sizeof before);
    memcpy(before, s.p, s.len);

    cmdrun_expect(r, "pfcount h", ":3\r\n");

    s = entry_string(store_find(r->store, SPAN_LIT("h")));
    assert_memory_equal(before, s.p, s.len);
}

/* Adds elements e<from> .. e<to - 1> to a HyperLogLog. */
static void pfadd_many(struct cmdrun *r, const char *key, int from, int to)
{
    for (int i = from; i < to; i++) {
        (void)cmdrun_f(r, "pfadd %s e%d", key, i);
    }
}

static long pfcount(struct cmdrun *r, const char *key)
{
    return strtol(cmdrun_f(r, "pfcount %s", key) + 1, NULL, 10);
}

static void a_remembered_count_follows_the_value(void **state)
{
    struct cmdrun *r = *state;
    pfadd_many(r, "h", 0, 3000); /* dense */
    long first = pfcount(r, "h");
    assert_int_equal(pfcount(r, "h"), first);
    assert_true(first > 2900 && first < 3100);

    pfadd_many(r, "h", 3000, 6000);
    long second = pfcount(r, "h");
    assert_true(second > 5800);

    (void)cmdrun_line(r, "setrange h 7000 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    long third = pfcount(r, "h");
    assert_int_not_equal(third, second);

    for (int i = 0; i < 20; i++) { /* the memory is given out again, with other counts */
        (void)cmdrun_line(r, "del h");
        pfadd_many(r, "h", 0, 2500 + 100 * i);
        long n = pfcount(r, "h");
        assert_true(n > 2400 + 98 * i && n < 2600 + 102 * i);
    }
}

static void store_forms_replace_any_type_and_its_expiry(void **state)
{
    struct cmdrun *r = *state;
    static const char *const stores[] = {"zunionstore d 1 z",
                                         "zinterstore d 1 z",
                                         "zdiffstore d 1 z",
                                         "zrangestore d z 0 -1",
                                         "geosearchstore d z frommember a byradius 1 m",
                                         "georadiusbymember z a 1 m store d",
                                         "sort z by nosort store d",
                                         "bitop or d s",
                                         "pfmerge h2 h"};
    cmdrun_line(r, "zadd z 5 a");
    cmdrun_line(r, "set s text");
    cmdrun_line(r, "pfadd h a");
    for (size_t i = 0; i + 1 < sizeof stores / sizeof stores[0]; i++) {
        cmdrun_line(r, "set d old px 100000");
        cmdrun_line(r, stores[i]);
        struct entry *e = store_find(r->store, SPAN_LIT("d"));
        assert_non_null(e);
        assert_int_equal(entry_expire_ms(e), 0);
        cmdrun_line(r, "del d");
        cmdrun_line(r, "rpush d x");
        cmdrun_line(r, stores[i]);
        e = store_find(r->store, SPAN_LIT("d"));
        assert_int_not_equal(r->dirty, 0);
        assert_true(i == 6 || entry_type(e) != VAL_LIST);
    }
}

static void an_expired_set_is_absent(void **state)
{
    struct cmdrun *r = *state;
    cmdrun_line(r, "zadd z 5 a");
    cmdrun_line(r, "pexpire z 100");
    r->now_ms += 1000;
    cmdrun_expect(r, "zcard z", ":0\r\n");
    cmdrun_expect(r, "zincrby z 1 a", "$1\r\n1\r\n");
    cmdrun_expect(r, "ttl z", ":-1\r\n");
}

static void random_members_are_fair(void **state)
{
    struct cmdrun *r = *state;
    unsigned seen[200] = {0};
    for (int i = 0; i < 200; i++) {
        cmdrun_f(r, "zadd z %d %d", i, i);
    }
    for (int round = 0; round < 4000; round++) {
        /* both ways to pick: few of many, and a walk */
        const char *p = cmdrun_line(r, round % 2 == 0 ? "zrandmember z 10" : "zrandmember z 100");
        unsigned n = (unsigned)strtoul(p + 1, NULL, 10);
        assert_int_equal(n, round % 2 == 0 ? 10 : 100);
        bool here[200] = {false};
        for (unsigned i = 0; i < n; i++) {
            p = strchr(strchr(p, '$'), '\n') + 1;
            unsigned m = (unsigned)strtoul(p, NULL, 10);
            assert_in_range(m, 0, 199);
            assert_false(here[m]);
            here[m] = true;
            seen[m]++;
        }
    }
    /* 1100 expected of each; far beyond chance would be 25 % off */
    for (int i = 0; i < 200; i++) {
        assert_in_range(seen[i], 825, 1375);
    }
}

static void too_many_repetitions_are_refused(void **state)
{
    struct cmdrun *r = *state;
    cmdrun_line(r, "zadd z 1 a");
    cmdrun_expect(r, "zrandmember z -1000000000000", "-ERR value is out of range\r\n");
}

static void patterns_of_sort_stay_in_the_slot(void **state)
{
    struct cmdrun *r = *state;
    cmdrun_line(r, "rpush {a}l 2 1");
    cmdrun_line(r, "mset {a}w1 5 {a}w2 3");
    cmdrun_expect(r, "sort {a}l by {a}w*", "*2\r\n$1\r\n2\r\n$1\r\n1\r\n");
    cmdrun_expect(r, "sort {a}l by x{a}w*", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    static const char by[] = "-ERR BY option of SORT denied in cluster mode.\r\n";
    static const char get[] = "-ERR GET option of SORT denied in cluster mode.\r\n";
    cmdrun_expect(r, "sort {a}l by {b}w*", by);
    cmdrun_expect(r, "sort {a}l by w*", by);
    cmdrun_expect(r, "sort {a}l by *{a}", by);
    cmdrun_expect(r, "sort {a}l by {*}{a}", by);
    cmdrun_expect(r, "sort {a}l by {}{a}*", by);
    cmdrun_expect(r, "sort {a}l get w*", get);
    cmdrun_expect(r, "sort {a}l get # get {a}w*",
                  "*4\r\n$1\r\n1\r\n$1\r\n5\r\n$1\r\n2\r\n$1\r\n3\r\n");

    /* in another database the looked-up keys are of that database */
    r->db = 3;
    cmdrun_line(r, "rpush {a}l 2 1");
    cmdrun_line(r, "mset {a}w1 1 {a}w2 9");
    cmdrun_expect(r, "sort {a}l get {a}w*", "*2\r\n$1\r\n1\r\n$1\r\n9\r\n");
}

static void blocking_forms_say_that_they_are_missing(void **state)
{
    struct cmdrun *r = *state;
    cmdrun_expect(r, "bzpopmin a 0",
                  "-ERR blocking commands are not supported by Halcyon yet: 'bzpopmin'\r\n");
    cmdrun_expect(r, "bzmpop 0 1 a min",
                  "-ERR blocking commands are not supported by Halcyon yet: 'bzmpop'\r\n");
}

static void several_keys_are_flagged(void **state)
{
    (void)state;
    static const char *const multi[] = {
        "zunionstore", "zinterstore",    "zdiffstore", "zrangestore",       "bitop", "pfmerge",
        "sort",        "geosearchstore", "georadius",  "georadiusbymember", "zmpop"};
    for (size_t i = 0; i < sizeof multi / sizeof multi[0]; i++) {
        assert_true((row(multi[i])->flags & CMD_MULTIKEY) != 0);
    }
    assert_true((row("zadd")->flags & CMD_MULTIKEY) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_movable_commands_are_found),
        cmocka_unit_test_setup_teardown(geoadd_becomes_zadd_with_the_same_reply, setup, teardown),
        cmocka_unit_test_setup_teardown(dirty_tells_whether_anything_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(pfcount_does_not_change_the_value, setup, teardown),
        cmocka_unit_test_setup_teardown(a_remembered_count_follows_the_value, setup, teardown),
        cmocka_unit_test_setup_teardown(store_forms_replace_any_type_and_its_expiry, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_expired_set_is_absent, setup, teardown),
        cmocka_unit_test_setup_teardown(random_members_are_fair, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_repetitions_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(patterns_of_sort_stay_in_the_slot, setup, teardown),
        cmocka_unit_test_setup_teardown(blocking_forms_say_that_they_are_missing, setup, teardown),
        cmocka_unit_test(several_keys_are_flagged),
    };
    return cmocka_run_group_tests_name("cmd_zset", tests, NULL, NULL);
}
