/* The wire form of the membership service's messages and of an acceptor's state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/member.h"
#include "coherence/ts.h"

static struct member_map map;
static struct member_map back_map;
static uint8_t frame[MEMBER_MSG_MAX];
static uint8_t again[MEMBER_MSG_MAX];

static int setup(void **state)
{
    (void)state;
    memset(&map, 0, sizeof map);
    map.next_id = 1;
    map.acceptor_count = 1;
    map.group_count = 1;
    map.acceptors[0].port = 1;
    return !map_text_set(map.acceptors[0].host, "h", 1) ||
           !map_text_set(map.groups[0].name, MAP_PROXIES_NAME, 7);
}

static struct member_msg sample(enum member_msg_kind kind)
{
    struct member_msg m = {.kind = kind,
                           .cluster = 0x1122334455667788,
                           .sender = 2,
                           .id = TS_ID_MAX,
                           .nonce = 3,
                           .token = 4,
                           .version = 5,
                           .epoch = 6,
                           .ballot = 7,
                           .accepted = 8,
                           .wait_ns = 9,
                           .flags = MEMBER_FLAG_BAR,
                           .other = 10,
                           .reason = MEMBER_LAST,
                           .change = MEMBER_CHANGE_FORCE,
                           .gone = {1, 2, 3, UINT64_MAX},
                           .group = "shard",
                           .at = {.host = "host", .port = 6379},
                           .workers = 4,
                           .peer_port = 16379,
                           .map = &map};
    return m;
}

static void every_kind_comes_back(void **state)
{
    (void)state;
    for (int kind = 0; kind < MEMBER_MSG_COUNT; kind++) {
        struct member_msg m = sample((enum member_msg_kind)kind);
        size_t n = member_msg_encode(&m, frame, sizeof frame);
        struct member_msg back;
        assert_int_equal(member_msg_decode(frame, n, &back, &back_map), OK);
        assert_int_equal(back.kind, kind);
        assert_true(back.cluster == m.cluster);
        assert_int_equal(back.sender, 2);
        assert_int_equal(member_msg_encode(&back, again, sizeof again), n);
        assert_memory_equal(frame, again, n);
        for (size_t len = 0; len < n; len++) {
            assert_int_equal(member_msg_decode(frame, len, &back, &back_map), ERR_PROTO);
        }
        frame[n] = 0;
        assert_int_equal(member_msg_decode(frame, n + 1, &back, &back_map), ERR_PROTO);
    }
}

static void a_join_says_all_of_it(void **state)
{
    (void)state;
    struct member_msg m = sample(MEMBER_MSG_JOIN);
    struct member_msg back;
    size_t n = member_msg_encode(&m, frame, sizeof frame);
    assert_int_equal(member_msg_decode(frame, n, &back, &back_map), OK);
    assert_true(map_text_is(back.group, "shard") && map_same_address(&back.at, &m.at));
    assert_true(back.workers == 4 && back.peer_port == 16379 && back.nonce == 3 && back.token == 4);
    assert_null(back.map);
}

static void a_promise_has_a_map_only_with_a_ballot(void **state)
{
    (void)state;
    struct member_msg m = sample(MEMBER_MSG_PROMISE);
    struct member_msg back;
    size_t with = member_msg_encode(&m, frame, sizeof frame);
    assert_int_equal(member_msg_decode(frame, with, &back, &back_map), OK);
    assert_ptr_equal(back.map, &back_map);
    m.accepted = 0;
    m.map = NULL;
    size_t without = member_msg_encode(&m, frame, sizeof frame);
    assert_int_equal(with - without, map_size(&map));
    assert_int_equal(member_msg_decode(frame, without, &back, &back_map), OK);
    assert_null(back.map);
}

static void refused(const struct member_msg *m)
{
    struct member_msg back;
    size_t n = member_msg_encode(m, frame, sizeof frame);
    assert_int_equal(member_msg_decode(frame, n, &back, &back_map), ERR_PROTO);
}

static void out_of_range_fields_are_refused(void **state)
{
    (void)state;
    struct member_msg m = sample(MEMBER_MSG_RENEW);
    m.id = TS_ID_MAX + 1;
    refused(&m);
    m = sample(MEMBER_MSG_RENEW);
    m.nonce = 0;
    refused(&m);
    m = sample(MEMBER_MSG_RENEW);
    m.flags = 8;
    refused(&m);
    m = sample(MEMBER_MSG_GRANT);
    m.sender = MAP_ACCEPTORS_MAX;
    refused(&m);
    m = sample(MEMBER_MSG_PREPARE);
    m.ballot = 0;
    refused(&m);
    m = sample(MEMBER_MSG_RESULT);
    m.reason = MEMBER_REASON_COUNT;
    refused(&m);
    m = sample(MEMBER_MSG_CHANGE);
    m.change = MEMBER_CHANGE_COUNT;
    refused(&m);
    m = sample(MEMBER_MSG_JOIN);
    m.at.port = 0;
    refused(&m);
    m = sample(MEMBER_MSG_JOIN);
    m.at.host[1] = ' ';
    refused(&m);
    m = sample(MEMBER_MSG_JOIN);
    m.workers = 0;
    refused(&m);
    m = sample(MEMBER_MSG_JOIN);
    m.peer_port = UINT16_MAX;
    refused(&m);
    m = sample(MEMBER_MSG_CHANGE);
    m.at.port = 0; /* half an address */
    refused(&m);
    m = sample(MEMBER_MSG_CHANGE);
    m.group[0] = 7;
    refused(&m);
}

static void texts_have_no_zeroes(void **state)
{
    (void)state;
    struct member_msg m = sample(MEMBER_MSG_JOIN);
    struct member_msg back;
    size_t n = member_msg_encode(&m, frame, sizeof frame);
    bool found = false;
    for (size_t i = 0; i + 5 <= n && !found; i++) {
        if (memcmp(frame + i, "shard", 5) == 0) {
            frame[i + 4] = '\0';
            found = true;
        }
    }
    assert_true(found);
    assert_int_equal(member_msg_decode(frame, n, &back, &back_map), ERR_PROTO);
}

static void garbage_is_harmless(void **state)
{
    (void)state;
    uint64_t rng = 88172645463325252u;
    for (unsigned i = 0; i < 100000; i++) {
        struct member_msg m = sample((enum member_msg_kind)(i % MEMBER_MSG_COUNT));
        struct member_msg back;
        size_t n = member_msg_encode(&m, frame, sizeof frame);
        for (unsigned flips = 0; flips < 1 + i % 3; flips++) {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            frame[(rng >> 8) % n] ^= (uint8_t)(1u << (rng >> 40) % 8);
        }
        if (member_msg_decode(frame, n, &back, &back_map) == OK) {
            assert_int_equal(member_msg_encode(&back, again, sizeof again), n);
            assert_memory_equal(frame, again, n);
        }
    }
}

static void a_state_comes_back(void **state)
{
    (void)state;
    static struct member_state st;
    static struct member_state back;
    static uint8_t bytes[MEMBER_STATE_MAX];
    memset(&st, 0, sizeof st);
    st.base = map;
    st.promised = 12;
    size_t n = member_state_encode(&st, bytes, sizeof bytes);
    assert_int_equal(member_state_decode(bytes, n, &back), OK);
    assert_memory_equal(&back, &st, sizeof st);
    st.accepted = 11;
    st.value = map;
    st.value.version = 1;
    n = member_state_encode(&st, bytes, sizeof bytes);
    assert_int_equal(member_state_decode(bytes, n, &back), OK);
    assert_memory_equal(&back, &st, sizeof st);
    for (size_t len = 0; len < n; len++) {
        assert_int_equal(member_state_decode(bytes, len, &back), ERR_CORRUPT);
    }
    bytes[8] = 13; /* accepted beyond what was promised */
    assert_int_equal(member_state_decode(bytes, n, &back), ERR_CORRUPT);
}

static void names_and_reasons_have_texts(void **state)
{
    (void)state;
    assert_string_equal(member_msg_name(MEMBER_MSG_RENEW), "RENEW");
    for (int r = 0; r < MEMBER_REASON_COUNT; r++) {
        assert_true(strlen(member_reason_text((enum member_reason)r)) > 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(a_join_says_all_of_it),
        cmocka_unit_test(a_promise_has_a_map_only_with_a_ballot),
        cmocka_unit_test(out_of_range_fields_are_refused),
        cmocka_unit_test(texts_have_no_zeroes),
        cmocka_unit_test(garbage_is_harmless),
        cmocka_unit_test(a_state_comes_back),
        cmocka_unit_test(names_and_reasons_have_texts),
    };
    return cmocka_run_group_tests_name("member_msg", tests, setup, NULL);
}
