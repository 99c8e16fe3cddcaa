/* The wire form of peer messages: everything comes back, nothing malformed gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/msg.h"
#include "coherence/ts.h"

static const uint8_t key_bytes[] = "some key";
static const uint8_t payload_bytes[] = "SET some value";

static struct hermes_part parts[2];

static struct hermes_msg sample(enum msg_kind kind)
{
    for (unsigned i = 0; i < 2; i++) {
        parts[i] = (struct hermes_part){
            .base = ts_make(98 + i, 5), .ts = ts_make(100 + i, 31), .generation = 7 + i};
    }
    return (struct hermes_msg){
        .kind = kind,
        .epoch = 7,
        .sender = 12,
        .nonce = 0x1122334455667788,
        .seq = 9,
        .slot = 16383,
        .ts = ts_make(100, 31),
        .base = ts_make(98, 5),
        .held = ts_make(101, 2),
        .version = TS_VERSION_MAX,
        .cursor = UINT64_MAX - 1,
        .owner = 31,
        .flags = MSG_FLAG_RMW | MSG_FLAG_HOT,
        .generation = 1234567890123,
        .now_ms = 1700000000000,
        .parts = parts,
        .part_count = kind == MSG_HERMES_MULTI || kind == MSG_HERMES_PULL_MULTI ? 2 : 0};
}

static const struct msg_key part_keys[2] = {{key_bytes, 3}, {key_bytes, sizeof key_bytes - 1}};
static const struct msg_bytes bytes = {
    key_bytes, payload_bytes, sizeof key_bytes - 1, sizeof payload_bytes - 1, part_keys, NULL};

/* What was decoded, encoded again. */
static size_t encode_again(struct hermes_msg *m, struct msg_bytes *b, uint8_t *frame, size_t room)
{
    static struct hermes_part again[MSG_PARTS_MAX];
    static struct msg_key keys[MSG_PARTS_MAX];
    const uint8_t *at = b->parts;
    for (uint32_t i = 0; i < m->part_count; i++) {
        msg_part_next(&at, &again[i], &keys[i]);
        assert_int_equal(again[i].key.ref.len, keys[i].len);
    }
    m->parts = again;
    b->part_keys = keys;
    return msg_encode(m, b, frame, room);
}

static size_t encode(enum msg_kind kind, uint8_t *frame, size_t capacity)
{
    struct hermes_msg m = sample(kind);
    size_t n = msg_encode(&m, &bytes, frame, capacity);
    assert_int_equal(n, msg_size(&m, &bytes));
    return n;
}

static void every_kind_comes_back(void **state)
{
    (void)state;
    for (int kind = 0; kind < MSG_KIND_COUNT; kind++) {
        uint8_t frame[256];
        uint8_t again[256];
        size_t n = encode((enum msg_kind)kind, frame, sizeof frame);
        struct hermes_msg m;
        struct msg_bytes b;
        assert_int_equal(msg_decode(frame, n, &m, &b), OK);
        assert_int_equal(m.kind, kind);
        assert_int_equal(m.epoch, 7);
        assert_int_equal(m.sender, 12);
        assert_int_equal(encode_again(&m, &b, again, sizeof again), n);
        assert_memory_equal(frame, again, n);
    }
}

static void an_inv_carries_the_whole_update(void **state)
{
    (void)state;
    uint8_t frame[256];
    size_t n = encode(MSG_HERMES_INV, frame, sizeof frame);
    struct hermes_msg m;
    struct msg_bytes b;
    assert_int_equal(msg_decode(frame, n, &m, &b), OK);
    struct hermes_msg want = sample(MSG_HERMES_INV);
    assert_true(m.ts == want.ts && m.base == want.base && m.owner == want.owner &&
                m.flags == want.flags);
    assert_true(m.generation == want.generation && m.now_ms == want.now_ms);
    assert_int_equal(b.key_len, bytes.key_len);
    assert_memory_equal(b.key, key_bytes, b.key_len);
    assert_int_equal(b.payload_len, bytes.payload_len);
    assert_memory_equal(b.payload, payload_bytes, b.payload_len);
    assert_int_equal(m.key.ref.len, b.key_len);
    assert_int_equal(m.payload.len, b.payload_len);
}

static void every_truncation_and_extension_is_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < MSG_KIND_COUNT; kind++) {
        uint8_t frame[257];
        size_t n = encode((enum msg_kind)kind, frame, sizeof frame - 1);
        struct hermes_msg m;
        struct msg_bytes b;
        for (size_t len = 0; len < n; len++) {
            assert_int_equal(msg_decode(frame, len, &m, &b), ERR_PROTO);
        }
        frame[n] = 0;
        assert_int_equal(msg_decode(frame, n + 1, &m, &b), ERR_PROTO);
    }
}

static void out_of_range_fields_are_refused(void **state)
{
    (void)state;
    struct hermes_msg good = sample(MSG_HERMES_INV);
    struct hermes_msg bad[8];
    for (size_t i = 0; i < 8; i++) {
        bad[i] = good;
    }
    bad[0].epoch = 0;
    bad[1].sender = 0;
    bad[2].sender = TS_ID_MAX + 1;
    bad[3].owner = 32;             /* not who the ts says */
    bad[4].base = good.ts;         /* not above its base */
    bad[5].base = ts_make(100, 1); /* nor by a version */
    bad[6].flags = 8;
    bad[7].owner = 0;
    for (size_t i = 0; i < 8; i++) {
        uint8_t frame[256];
        size_t n = msg_encode(&bad[i], &bytes, frame, sizeof frame);
        struct hermes_msg m;
        struct msg_bytes b;
        assert_int_equal(msg_decode(frame, n, &m, &b), ERR_PROTO);
    }
    struct hermes_msg lock = sample(MSG_HERMES_LOCK);
    lock.slot = MSG_SLOTS;
    uint8_t frame[64];
    struct hermes_msg m;
    struct msg_bytes b;
    assert_int_equal(msg_decode(frame, msg_encode(&lock, &bytes, frame, sizeof frame), &m, &b),
                     ERR_PROTO);
    lock = sample(MSG_HERMES_FLOOR);
    lock.version = TS_VERSION_MAX + 1;
    assert_int_equal(msg_decode(frame, msg_encode(&lock, &bytes, frame, sizeof frame), &m, &b),
                     ERR_PROTO);
}

static void bad_parts_are_refused(void **state)
{
    (void)state;
    struct hermes_msg good = sample(MSG_HERMES_MULTI);
    uint8_t frame[256];
    struct hermes_msg m;
    struct msg_bytes b;
    size_t n = msg_encode(&good, &bytes, frame, sizeof frame);
    assert_int_equal(msg_decode(frame, n, &m, &b), OK);
    assert_int_equal(m.part_count, 2);
    for (unsigned i = 0; i < 3; i++) {
        good = sample(MSG_HERMES_MULTI);
        parts[1].ts = i == 0 ? ts_make(101, 30) : parts[1].ts; /* not its owner's */
        parts[1].base = i == 1 ? parts[1].ts : i == 2 ? ts_make(101, 1) : parts[1].base;
        n = msg_encode(&good, &bytes, frame, sizeof frame);
        assert_int_equal(msg_decode(frame, n, &m, &b), ERR_PROTO);
    }
    good = sample(MSG_HERMES_MULTI);
    n = msg_encode(&good, &bytes, frame, sizeof frame);
    size_t count_at = 13 + 4 + 8;
    frame[count_at] = 0; /* no part at all */
    assert_int_equal(msg_decode(frame, n, &m, &b), ERR_PROTO);
    frame[count_at] = 0xFF;
    frame[count_at + 1] = 0xFF;
    assert_int_equal(msg_decode(frame, n, &m, &b), ERR_PROTO);
}

/* Any bytes: refused, or decoded to something that encodes to the same bytes. */
static void garbage_is_harmless(void **state)
{
    (void)state;
    uint64_t rng = 88172645463325252u;
    for (int i = 0; i < 200000; i++) {
        uint8_t frame[160];
        uint8_t again[256];
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        size_t n = encode((enum msg_kind)(rng % MSG_KIND_COUNT), again, sizeof again);
        n = n < sizeof frame ? n : sizeof frame;
        memcpy(frame, again, n);
        for (unsigned flips = 0; flips < 1 + rng % 3; flips++) {
            frame[(rng >> (8 + 8 * flips)) % n] ^= (uint8_t)(1u << (rng >> (40 + flips)) % 8);
        }
        struct hermes_msg m;
        struct msg_bytes b;
        if (msg_decode(frame, n, &m, &b) == OK) {
            assert_int_equal(encode_again(&m, &b, again, sizeof again), n);
            assert_memory_equal(frame, again, n);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(an_inv_carries_the_whole_update),
        cmocka_unit_test(every_truncation_and_extension_is_refused),
        cmocka_unit_test(out_of_range_fields_are_refused),
        cmocka_unit_test(bad_parts_are_refused),
        cmocka_unit_test(garbage_is_harmless),
    };
    return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
