/* The wire form of messages between proxies: everything comes back, nothing malformed gets through.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/gmsg.h"
#include "coherence/ts.h"

static const uint8_t key_bytes[] = "some key";
static const uint8_t payload_bytes[] = "a value";
static const struct msg_bytes bytes = {.key = key_bytes,
                                       .payload = payload_bytes,
                                       .key_len = sizeof key_bytes - 1,
                                       .payload_len = sizeof payload_bytes - 1};

static struct gmsg sample(enum gmsg_kind kind)
{
    struct gmsg m = {.kind = kind,
                     .epoch = 7,
                     .sender = 12,
                     .seq = 0x1122334455667788,
                     .generation = generation_make(7, 3),
                     .token = 99,
                     .ts = ts_make(100, 31),
                     .expire_ms = 1700000000000,
                     .flags = GMSG_VALUE};
    if (kind == GMSG_REPORT) {
        m.flags = GMSG_REPORT_DEMOTE;
    }
    return m;
}

static size_t encode(const struct gmsg *m, const struct msg_bytes *b, uint8_t *frame)
{
    size_t n = gmsg_encode(m, b, frame, 256);
    assert_int_equal(n, gmsg_size(m->kind, b));
    return n;
}

static void every_kind_comes_back(void **state)
{
    (void)state;
    for (int kind = 0; kind < GMSG_KIND_COUNT; kind++) {
        uint8_t frame[256];
        uint8_t again[256];
        struct gmsg m = sample((enum gmsg_kind)kind);
        size_t n = encode(&m, &bytes, frame);
        struct msg_bytes b;
        assert_int_equal(gmsg_decode(frame, n, &m, &b), OK);
        assert_int_equal(m.kind, kind);
        assert_int_equal(m.epoch, 7);
        assert_int_equal(m.sender, 12);
        assert_int_equal(encode(&m, &b, again), n);
        assert_memory_equal(frame, again, n);
    }
}

static void values_come_back(void **state)
{
    (void)state;
    uint8_t frame[256];
    struct gmsg sent = sample(GMSG_DONE);
    size_t n = encode(&sent, &bytes, frame);
    struct gmsg m;
    struct msg_bytes b;
    assert_int_equal(gmsg_decode(frame, n, &m, &b), OK);
    assert_int_equal(m.ts, sent.ts);
    assert_int_equal(m.token, sent.token);
    assert_int_equal(m.generation, sent.generation);
    assert_int_equal(m.expire_ms, sent.expire_ms);
    assert_int_equal(b.payload_len, sizeof payload_bytes - 1);
    assert_memory_equal(b.payload, payload_bytes, b.payload_len);
    assert_int_equal(m.key.ref.len, sizeof key_bytes - 1);
}

static void a_shorter_or_longer_frame_is_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < GMSG_KIND_COUNT; kind++) {
        uint8_t frame[260];
        struct gmsg m = sample((enum gmsg_kind)kind);
        struct msg_bytes b;
        size_t n = encode(&m, &bytes, frame);
        for (size_t len = 0; len < n; len++) {
            assert_int_equal(gmsg_decode(frame, len, &m, &b), ERR_PROTO);
        }
        frame[n] = 0;
        assert_int_equal(gmsg_decode(frame, n + 1, &m, &b), ERR_PROTO);
    }
}

/* One field of an encoded frame is overwritten. */
static enum err with_byte(enum gmsg_kind kind, size_t at, size_t len, uint8_t v)
{
    uint8_t frame[256];
    struct gmsg m = sample(kind);
    size_t n = encode(&m, &bytes, frame);
    struct msg_bytes b;
    memset(frame + at, v, len);
    return gmsg_decode(frame, n, &m, &b);
}

static void fields_out_of_range_are_refused(void **state)
{
    (void)state;
    assert_int_equal(with_byte(GMSG_INV, 0, 1, 1), ERR_PROTO); /* a Hermes kind */
    assert_int_equal(with_byte(GMSG_INV, 0, 1, 0x40 + GMSG_KIND_COUNT), ERR_PROTO);
    assert_int_equal(with_byte(GMSG_INV, 1, 8, 0), ERR_PROTO); /* epoch */
    assert_int_equal(with_byte(GMSG_INV, 9, 4, 0), ERR_PROTO); /* sender */
    assert_int_equal(with_byte(GMSG_INV, 9, 4, 0xFF), ERR_PROTO);
    assert_int_equal(with_byte(GMSG_INV, 13, 8, 0), ERR_PROTO);  /* generation */
    assert_int_equal(with_byte(GMSG_INV, 21, 8, 0), ERR_PROTO);  /* token */
    assert_int_equal(with_byte(GMSG_PREP, 13, 8, 0), ERR_PROTO); /* seq */
    assert_int_equal(with_byte(GMSG_DONE, 29, 8, 0), ERR_PROTO); /* ts of a value */
    assert_int_equal(with_byte(GMSG_DONE, 45, 1, GMSG_VALUE_KINDS), ERR_PROTO);
    assert_int_equal(with_byte(GMSG_DONE, 45, 1, GMSG_ABSENT), ERR_PROTO); /* with a payload */
    assert_int_equal(with_byte(GMSG_FILL, 45, 1, GMSG_NO_VALUE), ERR_PROTO);
    assert_int_equal(with_byte(GMSG_REPORT, 21, 1, GMSG_REPORT_KINDS), ERR_PROTO);
    assert_int_equal(with_byte(GMSG_REPORT, 21, 1, GMSG_REPORT_STUCK), OK);
}

static void any_generation_may_be_dropped_and_wished_cold(void **state)
{
    (void)state;
    assert_int_equal(with_byte(GMSG_DROP, 21, 8, 0), OK);
    assert_int_equal(with_byte(GMSG_REPORT, 13, 8, 0), OK);
    assert_int_equal(with_byte(GMSG_DRAIN, 21, 8, 0), ERR_PROTO);
}

static void values_without_bytes_have_none(void **state)
{
    (void)state;
    const struct msg_bytes no_payload = {.key = key_bytes, .key_len = sizeof key_bytes - 1};
    uint8_t frame[256];
    struct msg_bytes b;
    struct gmsg m = sample(GMSG_DONE);
    m.flags = GMSG_ABSENT;
    m.expire_ms = 0;
    size_t n = encode(&m, &no_payload, frame);
    assert_int_equal(gmsg_decode(frame, n, &m, &b), OK);
    assert_int_equal(m.flags, GMSG_ABSENT);
    m.flags = GMSG_NO_VALUE;
    m.ts = 0;
    n = encode(&m, &no_payload, frame);
    assert_int_equal(gmsg_decode(frame, n, &m, &b), OK);
    assert_int_equal(m.flags, GMSG_NO_VALUE);
}

static void generations_of_a_later_epoch_are_larger(void **state)
{
    (void)state;
    assert_true(generation_make(3, 0) > generation_make(2, (UINT64_C(1) << 36) - 1));
    assert_true(generation_make(3, 2) > generation_make(3, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(values_come_back),
        cmocka_unit_test(a_shorter_or_longer_frame_is_refused),
        cmocka_unit_test(fields_out_of_range_are_refused),
        cmocka_unit_test(any_generation_may_be_dropped_and_wished_cold),
        cmocka_unit_test(values_without_bytes_have_none),
        cmocka_unit_test(generations_of_a_later_epoch_are_larger),
    };
    return cmocka_run_group_tests_name("gmsg", tests, NULL, NULL);
}
