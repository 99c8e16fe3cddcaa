/* Counts of keys as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/counts.h"

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    char longest[SKETCH_KEY_MAX];
    memset(longest, 'k', sizeof longest);
    const struct sketch_item items[] = {
        {.key = SPAN_LIT("a"), .uses = {1, 2, 3}, .over = 4},
        {.key = span_of("", 0), .uses = {UINT32_MAX, 0, 1}, .over = 0},
        {.key = span_of(longest, sizeof longest), .uses = {0, 0, UINT64_C(1) << 48}},
    };
    uint8_t bytes[3 * COUNTS_ITEM_MAX];
    size_t len = 0;
    for (unsigned i = 0; i < 3; i++) {
        len += counts_put(bytes + len, &items[i]);
    }
    size_t at = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct sketch_item got;
        size_t used = 0;
        assert_int_equal(counts_get(bytes + at, len - at, &got, &used), OK);
        assert_true(span_eq(got.key, items[i].key));
        assert_memory_equal(got.uses, items[i].uses, sizeof got.uses);
        assert_int_equal(got.over, items[i].over);
        at += used;
    }
    assert_int_equal(at, len);
}

static void cut_off_bytes_are_refused(void **state)
{
    (void)state;
    const struct sketch_item item = {.key = SPAN_LIT("key"), .uses = {1, 2, 3}, .over = 4};
    uint8_t bytes[COUNTS_ITEM_MAX];
    size_t len = counts_put(bytes, &item);
    struct sketch_item got;
    size_t used;
    for (size_t n = 1; n < len; n++) {
        assert_int_equal(counts_get(bytes, n, &got, &used), ERR_PROTO);
    }
}

static void the_head_tells_the_interval(void **state)
{
    (void)state;
    uint8_t bytes[COUNTS_HEAD];
    uint32_t interval = 0;
    assert_int_equal(counts_begin(bytes, 0x01020304), COUNTS_HEAD);
    assert_int_equal(counts_start(bytes, COUNTS_HEAD, &interval), OK);
    assert_int_equal(interval, 0x01020304);
    assert_int_equal(counts_start(bytes, COUNTS_HEAD - 1, &interval), ERR_PROTO);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(counts_start(bytes, COUNTS_HEAD, &interval), ERR_PROTO);
}

static void counts_that_could_wrap_are_cut_and_refused(void **state)
{
    (void)state;
    const struct sketch_item item = {
        .key = SPAN_LIT("k"), .uses = {UINT64_MAX}, .over = UINT64_MAX};
    uint8_t bytes[COUNTS_ITEM_MAX];
    size_t len = counts_put(bytes, &item);
    struct sketch_item got;
    size_t used;
    assert_int_equal(counts_get(bytes, len, &got, &used), OK);
    assert_int_equal(got.uses[SKETCH_READ], UINT64_C(1) << 48);
    bytes[2] = 1; /* one more */
    assert_int_equal(counts_get(bytes, len, &got, &used), ERR_PROTO);
    bytes[2] = 0;
    bytes[len - 1] = 0xFF;
    assert_int_equal(counts_get(bytes, len, &got, &used), ERR_PROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(cut_off_bytes_are_refused),
        cmocka_unit_test(the_head_tells_the_interval),
        cmocka_unit_test(counts_that_could_wrap_are_cut_and_refused),
    };
    return cmocka_run_group_tests_name("counts", tests, NULL, NULL);
}
