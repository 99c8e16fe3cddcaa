/* String and generic commands where a comparison with redis-server does not reach: time, databases,
 * limits, effects, dumps that lie, digests, memory. Replies and errors as such are compared in
 * tests/wire/differential. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "tests/lib/cmdrun.h"

static int set_up(void **state)
{
    struct cmdrun *r = malloc(sizeof *r);
    cmdrun_init(r);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    cmdrun_deinit(*state);
    free(*state);
    return 0;
}

static void expiry_follows_the_time_that_is_passed_in(void **state)
{
    struct cmdrun *r = *state;
    cmdrun_expect(r, "SET k v PX 100", "+OK\r\n");
    cmdrun_expect(r, "PTTL k", ":100\r\n");
    r->now_ms += 100;
    cmdrun_expect(r, "GET k", "$1\r\nv\r\n"); /* expired strictly after */
    cmdrun_expect(r, "TTL k", ":0\r\n");
    r->now_ms += 1;
    cmdrun_expect(r, "GET k", "$-1\r\n");
    cmdrun_expect(r, "EXISTS k", ":0\r\n");
    cmdrun_expect(r, "DBSIZE",
                  ":1\r\n"); /* reading deletes nothing: expiry is a write (DESIGN H12) */
    cmdrun_expect(r, "KEYS *", "*0\r\n");
    cmdrun_expect(r, "RANDOMKEY", "$-1\r\n");
    cmdrun_expect(r, "TYPE k", "+none\r\n");
    cmdrun_expect(r, "OBJECT ENCODING k", "$-1\r\n");
    cmdrun_expect(r, "DUMP k", "$-1\r\n");
    cmdrun_expect(r, "RENAME k j", "-ERR no such key\r\n");
    cmdrun_expect(r, "DBSIZE", ":0\r\n"); /* the write form removed it */
    assert_int_equal(r->stats.expired_keys, 1);
}

static void writes_to_an_expired_key_start_from_nothing(void **state)
{
    struct cmdrun *r = *state;
    static const char *const lines[][2] = {{"APPEND k x", ":1\r\n"},
                                           {"INCR k", ":1\r\n"},
                                           {"SETRANGE k 2 x", ":3\r\n"},
                                           {"SETNX k x", ":1\r\n"},
                                           {"GETSET k x", "$-1\r\n"},
                                           {"SET k x XX", "$-1\r\n"},
                                           {"DEL k", ":0\r\n"},
                                           {"PERSIST k", ":0\r\n"},
                                           {"EXPIRE k 10", ":0\r\n"},
                                           {"MSETNX k x", ":1\r\n"},
                                           {"GETDEL k", "$-1\r\n"},
                                           {"GETEX k PERSIST", "$-1\r\n"},
                                           {"COPY k j", ":0\r\n"},
                                           {"SET k x KEEPTTL", "+OK\r\n"},
                                           {"INCRBYFLOAT k 1.5", "$3\r\n1.5\r\n"}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        cmdrun_expect(r, "SET k 41 PX 5", "+OK\r\n");
        r->now_ms += 6;
        cmdrun_expect(r, lines[i][0], lines[i][1]);
        if (strcmp(lines[i][0], "EXPIRE k 10") != 0) {
            assert_int_equal(strncmp(cmdrun_line(r, "PTTL k"), ":-", 2),
                             0); /* -1 or -2: the old expiry is gone */
        }
        cmdrun_line(r, "FLUSHALL");
    }
}

static void databases_do_not_see_each_other(void **state)
{
    struct cmdrun *r = *state;
    cmdrun_line(r, "SET k zero");
    cmdrun_line(r, "SET \"\\xffodd\" zero");
    r->db = 3;
    cmdrun_expect(r, "GET k", "$-1\r\n");
    cmdrun_line(r, "SET k three EX 100");
    cmdrun_line(r, "SET \"\\xff\\x03k\" prefixed");
    cmdrun_expect(r, "DBSIZE", ":2\r\n");
    cmdrun_expect(r, "KEYS k", "*1\r\n$1\r\nk\r\n");
    cmdrun_expect(r, "GET k", "$5\r\nthree\r\n");
    r->db = 0;
    cmdrun_expect(r, "DBSIZE", ":2\r\n");
    cmdrun_expect(r, "KEYS \"\\xff*\"", "*1\r\n$4\r\n\xffodd\r\n");
    cmdrun_expect(r, "GET k", "$4\r\nzero\r\n");
    cmdrun_expect(r, "FLUSHDB", "+OK\r\n");
    cmdrun_expect(r, "GET k", "$-1\r\n");
    cmdrun_expect(r, "DBSIZE", ":0\r\n");
    r->db = 3;
    cmdrun_expect(r, "GET \"\\xff\\x03k\"", "$8\r\nprefixed\r\n");
    cmdrun_expect(r, "FLUSHALL", "+OK\r\n");
    cmdrun_expect(r, "DBSIZE", ":0\r\n");
}

static void strings_stop_at_proto_max_bulk_len(void **state)
{
    struct cmdrun *r = *state;
    r->config.proto_max_bulk_len = 100;
    static const char too_long[] =
        "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    cmdrun_expect(r, "SETRANGE k 99 x", ":100\r\n");
    cmdrun_expect(r, "SETRANGE k 99 xy", too_long);
    cmdrun_expect(r, "APPEND k x", too_long);
    cmdrun_expect(r, "APPEND k \"\"", ":100\r\n");
    cmdrun_line(r, "MSET {l}a 12345 {l}b 12345");
    cmdrun_expect(
        r, "LCS {l}a {l}b",
        "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n");
    r->config.proto_max_bulk_len = 36 * 4;
    mem_fail_after(1);
    cmdrun_expect(r, "LCS {l}a {l}b",
                  "-ERR Insufficient memory, failed allocating transient memory for LCS\r\n");
    cmdrun_expect(r, "LCS {l}a {l}b", "$5\r\n12345\r\n");
}

static void incrbyfloat_becomes_a_set_that_keeps_the_expiry(void **state)
{
    struct cmdrun *r = *state;
    r->via_effects = true;
    cmdrun_line(r, "SET k 10.5 PX 5000");
    cmdrun_expect(r, "INCRBYFLOAT k 0.1", "$4\r\n10.6\r\n");
    assert_int_equal(r->dirty, 1);
    cmdrun_expect(r, "GET k", "$4\r\n10.6\r\n");
    cmdrun_expect(r, "PTTL k", ":5000\r\n");
    cmdrun_expect(r, "INCRBYFLOAT new 3", "$1\r\n3\r\n");
    cmdrun_expect(r, "SET s abc", "+OK\r\n");
    cmdrun_expect(r, "INCRBYFLOAT s 1", "-ERR value is not a valid float\r\n");
    assert_int_equal(r->dirty, 0);
}

static void dirty_counts_changes_only(void **state)
{
    struct cmdrun *r = *state;
    static const struct {
        const char *line;
        uint64_t dirty;
    } lines[] = {
        {"SET k v", 1},         {"SET k v NX", 0}, {"GET k", 0},          {"DEL none", 0},
        {"MSET a 1 b 2", 2},    {"DEL a b c", 2},  {"EXPIRE none 1", 0},  {"EXPIRE k 100", 1},
        {"EXPIRE k 100 NX", 0}, {"PERSIST k", 1},  {"PERSIST k", 0},      {"RENAME k k", 0},
        {"RENAME k j", 1},      {"COPY j k", 1},   {"COPY j k", 0},       {"GETEX k", 0},
        {"GETEX k EX 10", 1},   {"GETDEL k", 1},   {"GETDEL k", 0},       {"SETRANGE j 0 \"\"", 0},
        {"INCR n", 1},          {"INCR j", 0},     {"MSETNX j 1 x 2", 0}, {"SETNX j 1", 0},
        {"TOUCH j", 0}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        cmdrun_line(r, lines[i].line);
        if (r->dirty != lines[i].dirty) {
            fail_msg("%s: dirty %llu", lines[i].line, (unsigned long long)r->dirty);
        }
    }
}

static void hits_misses_and_access_clock(void **state)
{
    struct cmdrun *r = *state;
    cmdrun_line(r, "SET k v");
    r->now_ms += 10000;
    cmdrun_line(r, "GET none");
    cmdrun_expect(r, "OBJECT IDLETIME k", ":10\r\n");
    cmdrun_line(r, "TTL k");
    cmdrun_line(r, "EXISTS k");
    cmdrun_expect(r, "OBJECT IDLETIME k", ":10\r\n");
    cmdrun_line(r, "GET k");
    cmdrun_expect(r, "OBJECT IDLETIME k", ":0\r\n");
    assert_int_equal(r->stats.keyspace_misses, 1);
    assert_true(r->stats.keyspace_hits >= 3);
    r->now_ms += 7000;
    cmdrun_line(r, "RENAME k j");
    cmdrun_line(r, "SET other v");
    cmdrun_expect(r, "OBJECT IDLETIME j", ":0\r\n");
    cmdrun_expect(r, "OBJECT FREQ j",
                  "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. "
                  "Please note that when switching between "
                  "policies at runtime LRU and LFU data will take some time to adjust.\r\n");
    r->config.maxmemory_policy = EVICT_ALLKEYS_LFU;
    struct store_options o = {.lfu = true, .lfu_log_factor = 10, .lfu_decay_minutes = 1};
    store_set_options(r->store, &o);
    cmdrun_line(r, "SET f v");
    cmdrun_expect(r, "OBJECT FREQ f", ":5\r\n");
    cmdrun_expect(r, "OBJECT IDLETIME f",
                  "-ERR An LFU maxmemory policy is selected, idle time not tracked. Please note "
                  "that when switching between policies at "
                  "runtime LRU and LFU data will take some time to adjust.\r\n");
}

static void scan_finds_every_key_once(void **state)
{
    struct cmdrun *r = *state;
    for (int i = 0; i < 3000; i++) {
        cmdrun_f(r, "SET key:%d v", i);
    }
    r->db = 1;
    cmdrun_line(r, "SET elsewhere v");
    r->db = 0;
    static unsigned char times[3000];
    char cursor[32] = "0";
    do {
        const char *p = cmdrun_f(r, "SCAN %s COUNT 50 MATCH key:*", cursor);
        assert_int_equal(strncmp(p, "*2\r\n$", 5), 0);
        p = strchr(p + 4, '\n') + 1;
        size_t n = strcspn(p, "\r");
        assert_true(n < sizeof cursor);
        memcpy(cursor, p, n);
        cursor[n] = '\0';
        for (p = strstr(p, "key:"); p != NULL; p = strstr(p + 1, "key:")) {
            times[strtoul(p + 4, NULL, 10)]++;
        }
    } while (strcmp(cursor, "0") != 0);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(times[i], 1);
    }
    cmdrun_line(r, "SCAN 0 COUNT 100000 TYPE list");
    assert_string_equal(buf_head(&r->out), "*2\r\n$1\r\n0\r\n*0\r\n");
}

/* ---- dumps ---- */

static const char *const makers[] = {
    "SET {d} 12345",
    "SET {d} short",
    "SET {d} \"\"",
    "APPEND {d} "
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "RPUSH {d} a b c 1 2 3 \"\" "
    "long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long",
    "SADD {d} 1 2 3 -5 100000 99999999999",
    "SADD {d} a b c 1",
    "HSET {d} f v g w h \"\"",
    "ZADD {d} 1 a 2.5 b -inf c 3 d",
    "XADD {d} 1-1 f v g w",
    "PFADD {d} a b c",
};

static size_t dump(struct cmdrun *r, char *to)
{
    const char *p = cmdrun_line(r, "DUMP {d}");
    size_t len = strtoul(p + 1, NULL, 10);
    memcpy(to, strchr(p, '\n') + 1, len);
    return len;
}

static const char *restore(struct cmdrun *r, const char *p, size_t len)
{
    struct span argv[] = {SPAN_LIT("RESTORE"), SPAN_LIT("{d}copy"), SPAN_LIT("0"), span_of(p, len),
                          SPAN_LIT("REPLACE")};
    return cmdrun_argv(r, argv, 5);
}

static bool known(const char *line)
{
    return cmd_find(span_of(line, strcspn(line, " "))) != NULL;
}

static void a_dump_restores_the_same_value(void **state)
{
    struct cmdrun *r = *state;
    char bytes[8192];
    unsigned done = 0;
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        if (!known(makers[i])) {
            continue;
        }
        cmdrun_line(r, "DEL {d}");
        assert_true(cmdrun_line(r, makers[i])[0] != '-');
        size_t len = dump(r, bytes);
        assert_string_equal(restore(r, bytes, len), "+OK\r\n");
        char digest[64];
        snprintf(digest, sizeof digest, "%s", cmdrun_line(r, "DEBUG DIGEST-VALUE {d}"));
        assert_string_equal(cmdrun_line(r, "DEBUG DIGEST-VALUE {d}copy"), digest);
        char encoding[64];
        snprintf(encoding, sizeof encoding, "%s", cmdrun_line(r, "OBJECT ENCODING {d}"));
        assert_string_equal(cmdrun_line(r, "OBJECT ENCODING {d}copy"), encoding);
        done++;
    }
    assert_true(done >= 4);
}

static uint64_t crc64(const char *p, size_t len)
{
    uint64_t c = UINT64_MAX;
    for (size_t i = 0; i < len; i++) {
        c ^= (unsigned char)p[i];
        for (int bit = 0; bit < 8; bit++) {
            c = (c & 1u) != 0 ? (c >> 1) ^ 0xC96C5795D7870F42u : c >> 1;
        }
    }
    return ~c;
}

static void damaged_dumps_are_refused_and_forged_ones_do_no_harm(void **state)
{
    struct cmdrun *r = *state;
    char bytes[8192];
    uint64_t rng = 12345;
    assert_int_equal(crc64("123456789", 9), 0x995DC9BBDF1939FAu);
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        if (!known(makers[i])) {
            continue;
        }
        cmdrun_line(r, "DEL {d}");
        cmdrun_line(r, makers[i]);
        size_t len = dump(r, bytes);
        for (size_t cut = 0; cut < len; cut++) {
            assert_string_equal(restore(r, bytes, cut),
                                "-ERR DUMP payload version or checksum are wrong\r\n");
        }
        for (unsigned n = 0; n < 2000; n++) {
            char forged[8192];
            memcpy(forged, bytes, len);
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            size_t body = len - 8;
            for (unsigned k = 0; k < 1 + (rng >> 60) % 3; k++) {
                forged[1 + (rng >> (8 + 8 * k)) % (body - 1)] = (char)(rng >> (32 + 8 * k));
            }
            body -= n % 4 == 3 ? (rng >> 40) % (body - 1) : 0;
            uint64_t crc = crc64(forged, body);
            memcpy(forged + body, &crc, 8);
            const char *reply = restore(r, forged, body + 8);
            if (reply[0] == '+') { /* it is a value like any other: it must stand being used */
                cmdrun_line(r, "DEBUG DIGEST-VALUE {d}copy");
                cmdrun_line(r, "OBJECT ENCODING {d}copy");
                cmdrun_line(r, "COPY {d}copy {d}again REPLACE");
                cmdrun_line(r, "MEMORY USAGE {d}copy SAMPLES 0");
            } else {
                assert_string_equal(reply, "-ERR Bad data format\r\n");
            }
        }
    }
}

static void restore_sets_expiry_and_access(void **state)
{
    struct cmdrun *r = *state;
    char bytes[256];
    cmdrun_line(r, "SET {d} v");
    size_t len = dump(r, bytes);
    struct span argv[] = {SPAN_LIT("RESTORE"), SPAN_LIT("k"),        SPAN_LIT("5000"),
                          span_of(bytes, len), SPAN_LIT("IDLETIME"), SPAN_LIT("77")};
    assert_string_equal(cmdrun_argv(r, argv, 6), "+OK\r\n");
    cmdrun_expect(r, "OBJECT IDLETIME k", ":77\r\n");
    cmdrun_expect(r, "PTTL k", ":5000\r\n");
    assert_string_equal(cmdrun_argv(r, argv, 6), "-BUSYKEY Target key name already exists.\r\n");
    char when[32];
    snprintf(when, sizeof when, "%llu", (unsigned long long)r->now_ms - 1);
    argv[2] = span_str(when);
    argv[4] = SPAN_LIT("ABSTTL");
    argv[5] = SPAN_LIT("REPLACE");
    assert_string_equal(cmdrun_argv(r, argv, 6),
                        "+OK\r\n"); /* already over: only the old value goes */
    cmdrun_expect(r, "EXISTS k", ":0\r\n");
}

static void digest_depends_on_content_only(void **state)
{
    struct cmdrun *r = *state;
    char first[64];
    cmdrun_line(r, "MSET a 1 b 2 c 3");
    cmdrun_line(r, "PEXPIREAT a 1900000000000");
    cmdrun_line(r, "APPEND d 55");
    snprintf(first, sizeof first, "%s", cmdrun_line(r, "DEBUG DIGEST"));
    assert_int_equal(strlen(first), 19);

    struct cmdrun other;
    cmdrun_init(&other);
    store_free(other.store);
    struct store_options o = {.seed = {99, 98}};
    other.store = store_new(&o);
    cmdrun_line(&other, "SET d 5");
    cmdrun_line(&other, "APPEND d 5");
    cmdrun_line(&other, "MSET c 3 b 2");
    assert_string_not_equal(cmdrun_line(&other, "DEBUG DIGEST"), first);
    cmdrun_line(&other, "SET a 1 PXAT 1900000000000");
    assert_string_equal(cmdrun_line(&other, "DEBUG DIGEST"), first);
    cmdrun_line(&other, "PEXPIREAT a 1900000000001");
    assert_string_not_equal(cmdrun_line(&other, "DEBUG DIGEST"), first);
    cmdrun_deinit(&other);
}

static void a_tombstone_is_no_key(void **state)
{
    struct cmdrun *r = *state;
    cmdrun_line(r, "SET k v");
    entry_set_ts(store_find(r->store, SPAN_LIT("k")), 9);
    cmdrun_expect(r, "DEL k", ":1\r\n");
    cmdrun_expect(r, "DEL k", ":0\r\n");
    cmdrun_expect(r, "EXISTS k", ":0\r\n");
    cmdrun_expect(r, "DBSIZE", ":0\r\n");
    cmdrun_expect(r, "KEYS *", "*0\r\n");
    cmdrun_expect(r, "SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n");
    cmdrun_expect(r, "RANDOMKEY", "$-1\r\n");
    cmdrun_expect(r, "INCR k", ":1\r\n");
    assert_int_equal(entry_ts(store_find(r->store, SPAN_LIT("k"))), 9);
    cmdrun_expect(r, "RENAME k j", "+OK\r\n");
    assert_int_equal(entry_ts(store_find_any(r->store, SPAN_LIT("k"))), 9);
    assert_int_equal(entry_ts(store_find(r->store, SPAN_LIT("j"))), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(expiry_follows_the_time_that_is_passed_in),
        TEST(writes_to_an_expired_key_start_from_nothing),
        TEST(databases_do_not_see_each_other),
        TEST(strings_stop_at_proto_max_bulk_len),
        TEST(incrbyfloat_becomes_a_set_that_keeps_the_expiry),
        TEST(dirty_counts_changes_only),
        TEST(hits_misses_and_access_clock),
        TEST(scan_finds_every_key_once),
        TEST(a_dump_restores_the_same_value),
        TEST(damaged_dumps_are_refused_and_forged_ones_do_no_harm),
        TEST(restore_sets_expiry_and_access),
        TEST(digest_depends_on_content_only),
        TEST(a_tombstone_is_no_key),
    };
    return cmocka_run_group_tests_name("cmd_generic", tests, NULL, NULL);
}
