/* The node's answer about a hot key: what is written is read, what is malformed is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/hotreply.h"

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct hot_reply in = {.what = HOT_STRING,
                           .ts = UINT64_MAX - 1,
                           .generation = (uint64_t)7 << 32 | 3,
                           .expire_ms = 1234567890123,
                           .value = SPAN_LIT("a\0b"),
                           .reply = SPAN_LIT("$3\r\na\0b\r\n")};
    struct buf b = {0};
    hot_reply_add(&b, &in);
    struct hot_reply out;

    assert_true(hot_reply_parse(buf_span(&b), &out));

    assert_int_equal(out.what, HOT_STRING);
    assert_int_equal(out.ts, in.ts);
    assert_int_equal(out.generation, in.generation);
    assert_int_equal(out.expire_ms, in.expire_ms);
    assert_true(span_eq(out.value, in.value));
    assert_true(span_eq(out.reply, in.reply));
    buf_free(&b);
}

static void malformed_bytes_are_refused(void **state)
{
    (void)state;
    struct hot_reply in = {.what = HOT_STRING, .value = SPAN_LIT("value")};
    struct buf b = {0};
    hot_reply_add(&b, &in);
    struct hot_reply out;

    for (size_t n = 0; n < buf_used(&b); n++) { /* cut anywhere */
        assert_false(hot_reply_parse(span_of(buf_head(&b), n), &out));
    }
    buf_head(&b)[0] = HOT_ABSENT; /* with a value */
    assert_false(hot_reply_parse(buf_span(&b), &out));
    buf_head(&b)[0] = HOT_UNCACHEABLE + 1;
    assert_false(hot_reply_parse(buf_span(&b), &out));
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(malformed_bytes_are_refused),
    };
    return cmocka_run_group_tests_name("hotreply", tests, NULL, NULL);
}
