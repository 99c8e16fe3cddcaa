#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/resp.h"

static const struct resp_limits limits = {.bulk_bytes_max = 512u << 20, .args_max = RESP_ARGS_MAX};

/* Feeds text `step` bytes at a time and writes each request as "[a|b]", the end as "more",
 * "bad:..." or nothing. */
static void run(struct span text, size_t step, const struct resp_limits *lim, struct buf *out)
{
    struct resp_parser p;
    struct errmsg error;
    resp_parser_init(&p);
    size_t start = 0;
    size_t have = 0;
    bool more = false;
    while (start < text.len) {
        size_t used = 0;
        /* a copy of exact size, at a new place each time: the parser must not keep pointers or read
         * behind */
        char *copy = malloc(have - start + 1);
        memcpy(copy, text.p + start, have - start);
        copy = realloc(copy, have - start == 0 ? 1 : have - start);
        enum resp_result r = resp_parse(&p, copy, have - start, lim, &used, &error);
        if (r == RESP_REQUEST) {
            buf_add(out, "[", 1);
            for (uint32_t i = 0; i < p.argc; i++) {
                buf_add(out, "|", i != 0);
                buf_add(out, p.argv[i].p, p.argv[i].len);
            }
            buf_add(out, "]", 1);
            start += used;
        } else if (r == RESP_BAD) {
            buf_addf(out, "bad:%s", error.text);
            free(copy);
            break;
        }
        free(copy);
        more = r == RESP_MORE;
        if (more && have == text.len) {
            buf_add_str(out, "more");
            break;
        }
        if (more) {
            have += have + step > text.len ? text.len - have : step;
        }
    }
    buf_add(out, "", 1);
    resp_parser_free(&p);
}

static void expect_limits(struct span text, const struct resp_limits *lim, const char *wanted)
{
    const size_t steps[] = {1, 2, 3, 7, 1 << 20};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct buf out = {0};
        run(text, steps[i], lim, &out);
        assert_string_equal(out.p, wanted);
        buf_free(&out);
    }
}

#define expect(text, wanted) expect_limits(SPAN_LIT(text), &limits, wanted)

static void multibulk_requests_are_split_wherever_they_are_cut(void **state)
{
    (void)state;
    expect("*1\r\n$4\r\nPING\r\n", "[PING]");
    expect("*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n", "[GET|][PING]");
    expect("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n\r\n\r\n", "[SET|k|\r\n\r\n]");
    expect("*0\r\n*-1\r\n*1\r\n$1\r\nx\r\n", "[][][x]");
    expect("*2\r\n$3\r\nGET\r\n$5\r\nab", "more");
}

static void redis_leniency_is_kept(void **state)
{
    (void)state;
    expect("*1\r\n$4\r\nPINGxx*1\r\n$1\r\nx\r\n", "[PING][x]");
    expect("*1\rx$4\r\rPING\r\n", "[PING]");
    expect("*1\r\n\0x\r\n", "more");
    expect("PING\0\r\nPING\r\n", "more");
}

static void inline_requests_know_quotes(void **state)
{
    (void)state;
    expect("PING\r\n", "[PING]");
    expect("  set  k\tv \n\r\nGET k\r\n", "[set|k|v][][GET|k]");
    expect("ECHO \"a\\x41\\n\\\"\"\r\n", "[ECHO|aA\n\"]");
    expect("ECHO 'it\\'s' \"\"\n", "[ECHO|it's|]");
    expect("\"\" x\r\n", "[|x]");
    expect("GET \"abc\r\n", "bad:Protocol error: unbalanced quotes in request");
    expect("GET \"a\"b\r\n", "bad:Protocol error: unbalanced quotes in request");
}

static void errors_have_redis_words(void **state)
{
    (void)state;
    expect("*x\r\n", "bad:Protocol error: invalid multibulk length");
    expect("*\r\n", "bad:Protocol error: invalid multibulk length");
    expect("*01\r\n", "bad:Protocol error: invalid multibulk length");
    expect("*2147483648\r\n", "bad:Protocol error: invalid multibulk length");
    expect("*2147483647\r\n", "more");
    expect("*1\r\nx4\r\n", "bad:Protocol error: expected '$', got 'x'");
    expect("*1\r\n\r\n", "bad:Protocol error: expected '$', got ' '");
    expect("*1\r\n$-1\r\n", "bad:Protocol error: invalid bulk length");
    expect("*1\r\n$536870913\r\n", "bad:Protocol error: invalid bulk length");
    expect("*1\r\n$536870912\r\n", "more");
}

static void expect_long(const char *head, size_t total, const char *wanted)
{
    char *text = malloc(total);
    memset(text, '1', total);
    memcpy(text, head, strlen(head));
    struct buf out = {0};
    run(span_of(text, total), 4096, &limits, &out);
    assert_string_equal(out.p, wanted);
    buf_free(&out);
    free(text);
}

static void endless_lines_are_refused_behind_64k(void **state)
{
    (void)state;
    expect_long("", 65536, "more");
    expect_long("", 65537, "bad:Protocol error: too big inline request");
    expect_long("*", 65536, "more");
    expect_long("*", 65537, "bad:Protocol error: too big mbulk count string");
    expect_long("*1\r\n$", 4 + 65536, "more");
    expect_long("*1\r\n$", 4 + 65537, "bad:Protocol error: too big bulk count string");
}

static void unauthenticated_clients_have_small_limits(void **state)
{
    (void)state;
    struct resp_limits small = limits;
    small.unauthenticated = true;

    expect_limits(SPAN_LIT("*11\r\n"), &small,
                  "bad:Protocol error: unauthenticated multibulk length");
    expect_limits(SPAN_LIT("*10\r\n"), &small, "more");
    expect_limits(SPAN_LIT("*1\r\n$16385\r\n"), &small,
                  "bad:Protocol error: unauthenticated bulk length");
    expect_limits(SPAN_LIT("*1\r\n$16384\r\n"), &small, "more");
}

static void wanted_tells_the_size_of_a_large_argument(void **state)
{
    (void)state;
    struct resp_parser p;
    struct errmsg error;
    size_t used = 0;
    resp_parser_init(&p);
    const char text[] = "*2\r\n$3\r\nGET\r\n$1000000\r\nabc";

    assert_int_equal(resp_parse(&p, text, sizeof text - 1, &limits, &used, &error), RESP_MORE);

    assert_int_equal(resp_wanted(&p), sizeof text - 1 - 3 + 1000000 + 2);
    resp_parser_free(&p);
}

static size_t whole(struct span text, uint32_t room, uint32_t *argc, struct span *argv)
{
    return resp_parse_whole(text.p, text.len, &limits, argv, room, argc);
}

static void the_fast_way_takes_whole_requests_only(void **state)
{
    (void)state;
    struct span argv[4];
    uint32_t argc = 0;
    struct span get = SPAN_LIT("*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\n*1\r\n");

    assert_int_equal(whole(get, 4, &argc, argv), get.len - 4);
    assert_int_equal(argc, 2);
    assert_true(span_eq(argv[1], SPAN_LIT("0123456789")));
    for (size_t n = 0; n < get.len - 4; n++) {
        char *exact = malloc(n == 0 ? 1 : n);
        memcpy(exact, get.p, n);
        assert_int_equal(whole(span_of(exact, n), 4, &argc, argv), 0);
        free(exact);
    }
    assert_int_equal(whole(get, 1, &argc, argv), 0);
    assert_int_equal(whole(SPAN_LIT("PING  x\r\n"), 4, &argc, argv), 9);
    assert_int_equal(argc, 2);
    assert_int_equal(whole(SPAN_LIT("\r\n"), 4, &argc, argv), 0);
    assert_int_equal(whole(SPAN_LIT("PING \"x\"\r\n"), 4, &argc, argv), 0);
    assert_int_equal(whole(SPAN_LIT("*0\r\n"), 4, &argc, argv), 0);
    assert_int_equal(whole(SPAN_LIT("*1\r\n$01\r\nx\r\n"), 4, &argc, argv), 0);
    assert_int_equal(whole(SPAN_LIT("*1\r\n$4294967297\r\nx\r\n"), 4, &argc, argv), 0);
}

/* ---- replies ---- */

static struct buf reply;

static void expect_reply(const char *two, const char *three, void (*write)(struct resp_out *o))
{
    for (uint8_t proto = 2; proto <= 3; proto++) {
        struct resp_out o = {&reply, proto};
        buf_consume(&reply, buf_used(&reply));
        write(&o);
        buf_add(&reply, "", 1);
        assert_string_equal(buf_head(&reply), proto == 2 ? two : three);
    }
}

static void write_scalars(struct resp_out *o)
{
    resp_ok(o);
    resp_simple(o, "PONG");
    resp_error(o, "ERR bad\r\nthing\r\n");
    resp_errorf(o, "ERR %s %d", "x\ny", 5);
    resp_int(o, 0);
    resp_int(o, -12);
    resp_int(o, INT64_MIN);
    resp_int(o, INT64_MAX);
}

static void write_bulks(struct resp_out *o)
{
    resp_bulk(o, "a\0b", 3);
    resp_bulk_str(o, "");
    resp_bulk_i64(o, -7);
    resp_null(o);
    resp_null_array(o);
    resp_bool(o, true);
    resp_bool(o, false);
    resp_double(o, 0.1);
    resp_double(o, 3);
    resp_double(o, -1.0 / 0.0);
    resp_verbatim(o, "txt", "hi", 2);
    resp_big_number(o, SPAN_LIT("123"));
    resp_ldouble(o, 10.5L);
}

static void write_aggregates(struct resp_out *o)
{
    resp_array(o, 12);
    resp_map(o, 2);
    resp_set(o, 123);
    resp_push(o, 1);
}

static void write_deferred(struct resp_out *o)
{
    resp_ok(o);
    buf_consume(o->b, 5); /* what was sent meanwhile does not matter before the mark */
    size_t outer = resp_defer(o);
    resp_bulk_str(o, "k");
    size_t inner = resp_defer(o);
    for (int i = 0; i < 100; i++) {
        resp_int(o, 1);
    }
    resp_defer_end(o, inner, RESP_SET, 100);
    resp_defer_end(o, outer, RESP_MAP, 1);
}

static void replies_are_as_redis_writes_them(void **state)
{
    (void)state;
    const char *scalars =
        "+OK\r\n+PONG\r\n-ERR bad  thing\r\n-ERR x y 5\r\n:0\r\n:-12\r\n:-9223372036854775808\r\n"
        ":9223372036854775807\r\n";
    expect_reply(scalars, scalars, write_scalars);
    expect_reply("*12\r\n*4\r\n*123\r\n*1\r\n", "*12\r\n%2\r\n~123\r\n>1\r\n", write_aggregates);

    struct resp_out o = {&reply, 2};
    buf_consume(&reply, buf_used(&reply));
    write_bulks(&o);
    assert_true(
        span_eq(buf_span(&reply),
                SPAN_LIT("$3\r\na\0b\r\n$0\r\n\r\n$2\r\n-7\r\n$-1\r\n*-1\r\n:1\r\n:0\r\n$19\r\n0."
                         "10000000000000001\r\n"
                         "$1\r\n3\r\n$4\r\n-inf\r\n$2\r\nhi\r\n$3\r\n123\r\n$4\r\n10.5\r\n")));
    o.proto = 3;
    buf_consume(&reply, buf_used(&reply));
    write_bulks(&o);
    assert_true(
        span_eq(buf_span(&reply), SPAN_LIT("$3\r\na\0b\r\n$0\r\n\r\n$2\r\n-7\r\n_\r\n_\r\n#t\r\n#"
                                           "f\r\n,0.10000000000000001\r\n,3\r\n,-inf\r\n"
                                           "=6\r\ntxt:hi\r\n(123\r\n$4\r\n10.5\r\n")));
}

static void deferred_headers_go_in_front(void **state)
{
    (void)state;
    char ones[100 * 4 + 1] = "";
    for (int i = 0; i < 100; i++) {
        memcpy(ones + i * 4, ":1\r\n", 5);
    }
    struct buf two = {0};
    struct buf three = {0};
    buf_addf(&two, "*2\r\n$1\r\nk\r\n*100\r\n%s", ones);
    buf_addf(&three, "%%1\r\n$1\r\nk\r\n~100\r\n%s", ones);
    buf_add(&two, "", 1);
    buf_add(&three, "", 1);

    expect_reply(two.p, three.p, write_deferred);

    buf_free(&two);
    buf_free(&three);
}

static void reply_size_finds_the_end_of_any_reply(void **state)
{
    (void)state;
    static const char *const whole_replies[] = {"+OK\r\n",
                                                "$3\r\nabc\r\n",
                                                "$-1\r\n",
                                                "*-1\r\n",
                                                "_\r\n",
                                                "*0\r\n",
                                                "%1\r\n+a\r\n:1\r\n",
                                                "*2\r\n*1\r\n:1\r\n$0\r\n\r\n",
                                                ",1.5\r\n",
                                                "#t\r\n",
                                                "=7\r\ntxt:abc\r\n",
                                                "~2\r\n+a\r\n+b\r\n",
                                                "|1\r\n+k\r\n+v\r\n:5\r\n",
                                                ">1\r\n+x\r\n",
                                                "(99\r\n",
                                                "!3\r\nERR\r\n"};
    for (size_t i = 0; i < sizeof whole_replies / sizeof whole_replies[0]; i++) {
        const char *text = whole_replies[i];
        size_t n = strlen(text);
        struct buf b = {0};
        buf_addf(&b, "%s+tail", text);
        assert_int_equal(resp_reply_size(b.p, n + 5), n);
        for (size_t cut = 0; cut < n; cut++) {
            assert_int_equal(resp_reply_size(text, cut), 0);
        }
        buf_free(&b);
    }
}

static void malformed_replies_are_told(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "x\r\n",
        "$x\r\n",
        "$-2\r\n",
        "$1\r\nabcd",
        "+a\rb",
        "%-1\r\n",
        "*99999999999\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(resp_reply_size(wrong[i], strlen(wrong[i])), -1);
    }
    const char *deep = "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n";
    assert_int_equal(resp_reply_size(deep, strlen(deep)), strlen(deep));
}

static int free_reply(void **state)
{
    (void)state;
    buf_free(&reply);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multibulk_requests_are_split_wherever_they_are_cut),
        cmocka_unit_test(redis_leniency_is_kept),
        cmocka_unit_test(inline_requests_know_quotes),
        cmocka_unit_test(errors_have_redis_words),
        cmocka_unit_test(endless_lines_are_refused_behind_64k),
        cmocka_unit_test(unauthenticated_clients_have_small_limits),
        cmocka_unit_test(wanted_tells_the_size_of_a_large_argument),
        cmocka_unit_test(the_fast_way_takes_whole_requests_only),
        cmocka_unit_test(replies_are_as_redis_writes_them),
        cmocka_unit_test(deferred_headers_go_in_front),
        cmocka_unit_test(reply_size_finds_the_end_of_any_reply),
        cmocka_unit_test(malformed_replies_are_told),
    };
    return cmocka_run_group_tests_name("resp", tests, NULL, free_reply);
}
