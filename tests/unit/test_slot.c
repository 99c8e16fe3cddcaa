#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/slot.h"

static void crc16_has_the_published_check_value(void **state)
{
    (void)state;
    assert_int_equal(crc16("123456789", 9),
                     0x31C3); /* XMODEM's check value, Redis Cluster specification, appendix A */
    assert_int_equal(crc16("", 0), 0);
}

static uint16_t crc16_by_bits(const unsigned char *p, size_t n)
{
    unsigned c = 0;
    for (size_t i = 0; i < n * 8; i++) {
        unsigned bit = (p[i / 8] >> (7 - i % 8)) & 1u;
        c = (((c >> 15) ^ bit) & 1u) != 0 ? (c << 1) ^ 0x1021u : c << 1;
        c &= 0xFFFF;
    }
    return (uint16_t)c;
}

static void crc16_agrees_with_its_definition_at_every_length(void **state)
{
    (void)state;
    unsigned char bytes[100];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(i * 151 + 7);
    }
    for (size_t n = 0; n <= sizeof bytes; n++) {
        assert_int_equal(crc16((const char *)bytes, n), crc16_by_bits(bytes, n));
    }
}

static void slots_match_redis_cluster(void **state)
{
    (void)state;
    assert_int_equal(slot_of(SPAN_LIT("foo")), 12182);
    assert_int_equal(slot_of(SPAN_LIT("bar")), 5061);
    assert_int_equal(slot_of(SPAN_LIT("somekey")), 11058);
    assert_int_equal(slot_of(SPAN_LIT("")), 0);
}

static void only_a_non_empty_first_tag_counts(void **state)
{
    (void)state;
    assert_int_equal(slot_of(SPAN_LIT("foo{hash_tag}")), slot_of(SPAN_LIT("bar{hash_tag}")));
    assert_int_equal(slot_of(SPAN_LIT("foo{hash_tag}")), 2515);
    assert_int_equal(slot_of(SPAN_LIT("{user1000}.a")), slot_of(SPAN_LIT("user1000")));
    assert_int_equal(slot_of(SPAN_LIT("foo{}{bar}")), crc16("foo{}{bar}", 10) % SLOT_COUNT);
    assert_int_equal(slot_of(SPAN_LIT("foo{{bar}}zap")), crc16("{bar", 4) % SLOT_COUNT);
    assert_int_equal(slot_of(SPAN_LIT("foo{bar}{zap}")), slot_of(SPAN_LIT("bar")));
    assert_int_equal(slot_of(SPAN_LIT("a{b")), crc16("a{b", 3) % SLOT_COUNT);
    assert_int_equal(slot_of(SPAN_LIT("a}b{")), crc16("a}b{", 4) % SLOT_COUNT);
}

static void inner_keys_keep_slot_and_do_not_collide(void **state)
{
    (void)state;
    struct buf b = {0};
    key_add_inner(&b, 0, SPAN_LIT("foo"));
    assert_true(span_eq(buf_span(&b), SPAN_LIT("foo")));
    assert_int_equal(key_db(buf_span(&b)), 0);

    buf_consume(&b, buf_used(&b));
    key_add_inner(&b, 5, SPAN_LIT("foo"));
    assert_true(span_eq(buf_span(&b), SPAN_LIT("\xff\x05"
                                               "foo")));
    assert_int_equal(key_db(buf_span(&b)), 5);
    assert_true(span_eq(key_outer(buf_span(&b)), SPAN_LIT("foo")));
    assert_int_equal(slot_of_inner(buf_span(&b)), 12182);

    buf_consume(&b, buf_used(&b));
    key_add_inner(&b, 0,
                  SPAN_LIT("\xff\x05"
                           "foo"));
    assert_true(span_eq(buf_span(&b), SPAN_LIT("\xff\x00\xff\x05"
                                               "foo")));
    assert_int_equal(key_db(buf_span(&b)), 0);
    buf_free(&b);
}

static void an_empty_key_has_an_inner_form_in_each_database(void **state)
{
    (void)state;
    struct buf b = {0};
    key_add_inner(&b, 0, SPAN_LIT(""));
    assert_int_equal(buf_used(&b), 0);
    key_add_inner(&b, 3, SPAN_LIT(""));
    assert_int_equal(buf_used(&b), 2);
    assert_int_equal(key_db(buf_span(&b)), 3);
    assert_int_equal(key_outer(buf_span(&b)).len, 0);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc16_has_the_published_check_value),
        cmocka_unit_test(crc16_agrees_with_its_definition_at_every_length),
        cmocka_unit_test(slots_match_redis_cluster),
        cmocka_unit_test(only_a_non_empty_first_tag_counts),
        cmocka_unit_test(inner_keys_keep_slot_and_do_not_collide),
        cmocka_unit_test(an_empty_key_has_an_inner_form_in_each_database),
    };
    return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}
