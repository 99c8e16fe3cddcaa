/* The conformance suite over the in-memory and the TCP transport, and the bytes on the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rdma/wire.h"
#include "tests/lib/transport_suite.h"

static void a_hello_survives_its_encoding(void **state)
{
    (void)state;
    struct hello h = {.version = 1,
                      .from = 0xfffff,
                      .to = 7,
                      .cluster_hash = name_hash("c"),
                      .group_hash = name_hash("g"),
                      .worker = 513,
                      .kind = 2,
                      .epoch = 1ull << 60,
                      .conn = 99,
                      .seq = 98,
                      .slab_bytes = 16384,
                      .data_credits = 64,
                      .ack_credits = 16};
    unsigned char bytes[HELLO_BYTES];

    hello_encode(&h, bytes);

    struct hello back;
    assert_int_equal(hello_decode(bytes, sizeof bytes, &back), OK);
    assert_int_equal(back.from, h.from);
    assert_int_equal(back.to, h.to);
    assert_int_equal(back.cluster_hash, h.cluster_hash);
    assert_int_equal(back.group_hash, h.group_hash);
    assert_int_equal(back.worker, h.worker);
    assert_int_equal(back.kind, h.kind);
    assert_true(back.epoch == h.epoch);
    assert_true(back.conn == h.conn);
    assert_true(back.seq == h.seq);
    assert_int_equal(back.slab_bytes, h.slab_bytes);
    assert_int_equal(back.data_credits, h.data_credits);
    assert_int_equal(back.ack_credits, h.ack_credits);
}

static void other_bytes_are_no_hello(void **state)
{
    (void)state;
    unsigned char bytes[HELLO_BYTES] = "GET / HTTP/1.1";
    struct hello h;
    assert_int_equal(hello_decode(bytes, sizeof bytes, &h), ERR_PROTO);
    struct hello fine = {.version = 1};
    hello_encode(&fine, bytes);
    assert_int_equal(hello_decode(bytes, sizeof bytes - 1, &h), ERR_PROTO);
    assert_int_equal(hello_decode(bytes, sizeof bytes, &h), OK);
}

static void names_are_told_apart(void **state)
{
    (void)state;
    assert_int_not_equal(name_hash("shard0"), name_hash("shard1"));
    assert_int_not_equal(name_hash(""), name_hash("x"));
    assert_string_equal(refusal_text((enum refusal)200), "unknown reason");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--stream") == 0) {
        return transport_suite_child(argc, argv);
    }
    const struct CMUnitTest wire[] = {
        cmocka_unit_test(a_hello_survives_its_encoding),
        cmocka_unit_test(other_bytes_are_no_hello),
        cmocka_unit_test(names_are_told_apart),
    };
    int failed = cmocka_run_group_tests_name("wire", wire, NULL, NULL);
    failed += transport_suite_run(
        &(struct suite_env){.name = "transport mem", .kind = TRANSPORT_MEM, .host = ""});
    failed += transport_suite_run(&(struct suite_env){
        .name = "transport tcp", .kind = TRANSPORT_TCP, .host = "127.0.0.1", .self = argv[0]});
    return failed;
}
