/* Commands of hashes, sets, lists and streams: what the differential lists cannot show. Effects of
 * commands that are not deterministic leave equal replicas; names in replies are those of the
 * client; the forms that block say so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/types/object.h"
#include "common/must.h"
#include "tests/lib/cmdrun.h"
#include "tests/lib/object_check.h"

#define WORDS_MAX 64

/* Runs the effects of a command on a replica, whose clock is somewhere else. */
static void follow(struct cmdrun *replica, struct buf *bytes)
{
    struct resp_parser p;
    struct resp_limits limits = {.bulk_bytes_max = 1u << 20, .args_max = 10000};
    resp_parser_init(&p);
    while (buf_used(bytes) != 0) {
        size_t used = 0;
        struct errmsg why;
        enum resp_result got =
            resp_parse(&p, buf_head(bytes), buf_used(bytes), &limits, &used, &why);
        assert_int_equal(got, RESP_REQUEST);
        const char *reply = cmdrun_argv(replica, p.argv, (int)p.argc);
        assert_int_not_equal(reply[0], '-');
        buf_consume(bytes, used);
    }
    resp_parser_free(&p);
}

/* The coordinator's way: rewrite if the command has a hook, then the same effects on both. */
static void replicate(struct cmdrun *a, struct cmdrun *b, const char *line)
{
    struct span argv[WORDS_MAX];
    struct buf mem = {0};
    int argc = cmdrun_split(line, argv, WORDS_MAX, &mem);
    const struct cmd *cmd = cmd_find_request(argv, argc);
    struct effects fx = {0};
    if (cmd->rewrite == NULL) {
        effects_add(&fx, (size_t)argc, argv);
    } else {
        struct buf out = {0};
        struct resp_out reply = {.b = &out, .proto = 2};
        struct cmd_ctx c = {.store = a->store,
                            .cmd = cmd,
                            .argv = argv,
                            .argc = argc,
                            .out = &reply,
                            .now_ms = a->now_ms,
                            .rng = &a->rng,
                            .stats = &a->stats,
                            .config = &a->config};
        (void)cmd->rewrite(&c, &fx);
        assert_int_equal(c.dirty, 0);
        buf_free(&out);
    }
    struct buf copy = {0};
    buf_add(&copy, buf_head(&fx.bytes), buf_used(&fx.bytes));
    follow(a, &fx.bytes);
    follow(b, &copy);
    buf_free(&copy);
    buf_free(&fx.bytes);
    buf_free(&mem);
}

static uint64_t digest_of(struct cmdrun *r, const char *key)
{
    struct entry *e = store_find(r->store, span_str(key));
    return e == NULL ? 0 : object_ops(entry_type(e))->digest(entry_object(e));
}

static void effects_leave_equal_replicas(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "SADD s %u %u a%u b%u c%u",
        "SPOP s",
        "SPOP s 3",
        "SPOP s 1000",
        "HSET h f%u %u g%u 2.5",
        "HINCRBYFLOAT h n 0.1",
        "HINCRBYFLOAT h f%u 3.7",
        "RPUSH l %u %u %u %u",
        "RPUSH l2 %u x%u",
        "LMPOP 2 l l2 LEFT COUNT 2",
        "LMPOP 2 l2 l RIGHT",
        "XADD x * f %u",
        "XADD x * f %u g %u",
        "XADD x MAXLEN ~ 20 * f %u",
        "XADD x MINID ~ 1800000000900 * f %u",
        "XADD x NOMKSTREAM MAXLEN 15 * f %u",
        "XTRIM x MAXLEN ~ 10",
        "XTRIM x MAXLEN 12",
        "XADD new NOMKSTREAM * f 1",
        "SADD s m%u",
    };
    struct cmdrun a;
    struct cmdrun b;
    cmdrun_init(&a);
    cmdrun_init(&b);
    a.config.stream_node_max_entries = 5;
    /* a replica that got its stream by state transfer has other nodes: the effects must not depend
     * on them */
    b.config.stream_node_max_entries = 3;
    b.config.hash_max_listpack_entries = 4;
    b.now_ms += 77777;
    b.rng = 4711;
    for (unsigned step = 0; step < 4000; step++) {
        char line[200];
        const char *form = lines[test_random() % (sizeof lines / sizeof lines[0])];
        unsigned v[5];
        for (unsigned i = 0; i < 5; i++) {
            v[i] = (unsigned)(test_random() % 40);
        }
        /* every form takes at most five numbers */
        char *end = line;
        unsigned next = 0;
        for (const char *p = form; *p != '\0'; p++) {
            if (p[0] == '%' && p[1] == 'u') {
                end += snprintf(end, 12, "%u", v[next++]);
                p++;
            } else {
                *end++ = *p;
            }
        }
        *end = '\0';
        a.now_ms += test_random() % 3;
        replicate(&a, &b, line);
    }
    static const char *const keys[] = {"s", "h", "l", "l2", "x", "new"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_true(digest_of(&a, keys[i]) == digest_of(&b, keys[i]));
    }
    assert_true(digest_of(&a, "x") != 0);
    assert_true(digest_of(&a, "h") != 0);
    cmdrun_deinit(&a);
    cmdrun_deinit(&b);
}

static void replies_name_keys_as_the_client_does(void **state)
{
    (void)state;
    struct cmdrun r;
    cmdrun_init(&r);
    r.db = 5;
    cmdrun_expect(&r, "RPUSH l a b", ":2\r\n");
    cmdrun_expect(&r, "LMPOP 1 l LEFT", "*2\r\n$1\r\nl\r\n*1\r\n$1\r\na\r\n");
    cmdrun_expect(&r, "XADD x 1-1 f v", "$3\r\n1-1\r\n");
    cmdrun_expect(&r, "XREAD STREAMS x 0",
                  "*1\r\n*2\r\n$1\r\nx\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    cmdrun_expect(&r, "XINFO CONSUMERS x g",
                  "-NOGROUP No such consumer group 'g' for key name 'x'\r\n");
    r.db = 0;
    cmdrun_expect(&r, "LLEN l", ":0\r\n");
    cmdrun_deinit(&r);
}

static void what_is_missing_says_so(void **state)
{
    (void)state;
    struct cmdrun r;
    cmdrun_init(&r);
    cmdrun_expect(&r, "RPUSH l a", ":1\r\n");
    cmdrun_expect(&r, "BLPOP l 1",
                  "-ERR blocking commands are not supported by Halcyon yet: 'blpop'\r\n");
    cmdrun_expect(&r, "BLMPOP 1 1 l LEFT",
                  "-ERR blocking commands are not supported by Halcyon yet: 'blmpop'\r\n");
    cmdrun_expect(&r, "XREADGROUP GROUP g c STREAMS l >",
                  "-ERR consumer groups are not supported by Halcyon yet: 'xreadgroup'\r\n");
    cmdrun_expect(&r, "XGROUP CREATE l g 0",
                  "-ERR consumer groups are not supported by Halcyon yet: 'xgroup|create'\r\n");
    cmdrun_expect(&r, "LLEN l", ":1\r\n");
    cmdrun_deinit(&r);
}

static void absurd_repetitions_are_refused(void **state)
{
    (void)state;
    struct cmdrun r;
    cmdrun_init(&r);
    cmdrun_expect(&r, "SADD s a", ":1\r\n");
    cmdrun_expect(&r, "HSET h f v", ":1\r\n");
    cmdrun_expect(&r, "SRANDMEMBER s -9223372036854775807", "-ERR value is out of range\r\n");
    cmdrun_expect(&r, "HRANDFIELD h -9223372036854775807", "-ERR value is out of range\r\n");
    cmdrun_deinit(&r);
}

static void many_popped_members_are_removed_in_batches(void **state)
{
    (void)state;
    struct cmdrun r;
    cmdrun_init(&r);
    r.via_effects = true;
    for (unsigned i = 0; i < 5000; i++) {
        cmdrun_f(&r, "SADD s m%u", i);
    }
    const char *reply = cmdrun_line(&r, "SPOP s 3456");
    assert_memory_equal(reply, "*3456\r\n", 7);
    assert_int_equal(r.dirty, 3456);
    cmdrun_expect(&r, "SCARD s", ":1544\r\n");
    cmdrun_deinit(&r);
}

static void expired_collections_are_absent(void **state)
{
    (void)state;
    struct cmdrun r;
    cmdrun_init(&r);
    cmdrun_expect(&r, "SADD s a b", ":2\r\n");
    cmdrun_expect(&r, "PEXPIRE s 10", ":1\r\n");
    r.now_ms += 11;
    r.via_effects = true;
    cmdrun_expect(&r, "SPOP s", "$-1\r\n");
    cmdrun_expect(&r, "SMEMBERS s", "*0\r\n");
    cmdrun_expect(&r, "SADD s c", ":1\r\n");
    cmdrun_expect(&r, "SMEMBERS s", "*1\r\n$1\r\nc\r\n");
    cmdrun_expect(&r, "TTL s", ":-1\r\n");
    cmdrun_deinit(&r);
}

static void keys_of_movable_commands_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int count;
        int first;
    } cases[] = {
        {"LMPOP 2 a b LEFT", 2, 2},
        {"BLMPOP 0 1 a LEFT", 1, 3},
        {"SINTERCARD 3 a b c LIMIT 1", 3, 2},
        {"SINTERCARD 9 a b c", -1, 0},
        {"XREAD COUNT 1 STREAMS a b 0 0", 2, 4},
        {"XREAD COUNT 1 STREAMS a", -1, 0},
        {"XREADGROUP GROUP streams c STREAMS k 0", 1, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct span argv[WORDS_MAX];
        struct buf mem = {0};
        int idx[WORDS_MAX] = {0};
        int argc = cmdrun_split(cases[i].line, argv, WORDS_MAX, &mem);
        const struct cmd *cmd = cmd_find_request(argv, argc);
        int n = cmd_get_keys(cmd, argv, argc, idx, WORDS_MAX);
        assert_int_equal(n, cases[i].count);
        if (n > 0) {
            assert_int_equal(idx[0], cases[i].first);
            assert_int_equal(idx[n - 1], cases[i].first + n - 1);
        }
        buf_free(&mem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(effects_leave_equal_replicas),
        cmocka_unit_test(replies_name_keys_as_the_client_does),
        cmocka_unit_test(what_is_missing_says_so),
        cmocka_unit_test(absurd_repetitions_are_refused),
        cmocka_unit_test(many_popped_members_are_removed_in_batches),
        cmocka_unit_test(expired_collections_are_absent),
        cmocka_unit_test(keys_of_movable_commands_are_found),
    };
    return cmocka_run_group_tests_name("cmd_collections", tests, NULL, NULL);
}
