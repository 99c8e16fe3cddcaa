#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/mem.h"

static void bytes_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct buf b = {0};
    unsigned char next_in = 0;
    unsigned char next_out = 0;
    unsigned seed = 1;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1103515245u + 12345u;
        size_t n = (seed >> 16) % 97;
        if ((seed & 0x8000u) != 0) {
            unsigned char *p = (unsigned char *)buf_reserve(&b, n);
            for (size_t k = 0; k < n; k++) {
                p[k] = next_in++;
            }
            buf_commit(&b, n);
        } else {
            n = n > buf_used(&b) ? buf_used(&b) : n;
            for (size_t k = 0; k < n; k++) {
                assert_int_equal((unsigned char)buf_head(&b)[k], next_out);
                next_out++;
            }
            buf_consume(&b, n);
        }
        assert_true(b.len <= b.cap);
    }
    buf_free(&b);
    assert_null(b.p);
}

static void a_queue_that_stays_full_is_not_copied_each_time(void **state)
{
    (void)state;
    struct buf b = {0};
    char piece[64] = "";
    while (buf_used(&b) < 1 << 20) {
        buf_add(&b, piece, sizeof piece);
    }
    unsigned moves = 0;
    const char *p = b.p;
    size_t head = b.head;
    for (int i = 0; i < 100000; i++) {
        buf_consume(&b, sizeof piece);
        head += sizeof piece;
        buf_add(&b, piece, sizeof piece);
        moves += b.p != p || b.head != head;
        p = b.p;
        head = b.head;
    }
    assert_true(moves <
                40); /* 6.4 MB went through 1 MB: each move is paid for by half a MB at least */
    assert_true(b.cap < 8u << 20);
    buf_free(&b);
}

static void formatted_text_grows_the_buffer(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_addf(&b, "%s-%d", "abc", 7);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("abc-7")));
    for (int i = 0; i < 1000; i++) {
        buf_addf(&b, "%04d", i);
    }
    assert_int_equal(buf_used(&b), 4005);
    assert_memory_equal(buf_head(&b) + 4001, "0999", 4);
    buf_free(&b);
}

static void trimming_spares_bytes_in_use(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_add_str(&b, "abc");
    buf_trim(&b, 0);
    assert_int_equal(buf_used(&b), 3);
    buf_consume(&b, 3);
    buf_trim(&b, 4096);
    assert_non_null(b.p);
    buf_trim(&b, 0);
    assert_null(b.p);
}

static void thread_memory_is_accounted(void **state)
{
    (void)state;
    int64_t before = mem_thread_used();
    char *p = mem_alloc(100000);
    assert_true(mem_thread_used() - before >= 100000);
    assert_true(mem_usable(p) >= 100000);
    p = mem_realloc(p, 300000);
    assert_true(mem_thread_used() - before >= 300000);
    mem_free(p);
    assert_true(mem_thread_used() - before < 4096);
    mem_free(NULL);
}

static void the_nth_try_fails_when_told_to(void **state)
{
    (void)state;
    mem_fail_after(2);
    void *first = mem_try_alloc(8);
    void *second = mem_try_alloc(8);
    void *third = mem_try_alloc(8);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    mem_free(first);
    mem_free(third);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(a_queue_that_stays_full_is_not_copied_each_time),
        cmocka_unit_test(formatted_text_grows_the_buffer),
        cmocka_unit_test(trimming_spares_bytes_in_use),
        cmocka_unit_test(thread_memory_is_accounted),
        cmocka_unit_test(the_nth_try_fails_when_told_to),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
