/* The conformance suite over the in-memory and the TCP transport, and the bytes on the wire. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "rdma/mem.h"
#include "rdma/wire.h"
#include "tests/lib/transport_node.h"
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

/* ---- bytes from strangers, and from a member gone mad ---- */
static const struct suite_env tcp_env = {.name = "raw", .kind = TRANSPORT_TCP, .host = "127.0.0.1"};

static int raw_connect(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    struct timeval tv = {.tv_sec = 2};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    return fd;
}

/* A frame with a good hello of member 2. */
static size_t raw_hello(unsigned char *out)
{
    struct hello h = {.version = TRANSPORT_VERSION,
                      .from = 2,
                      .to = 1,
                      .cluster_hash = name_hash("test"),
                      .group_hash = name_hash("g"),
                      .kind = TRANSPORT_TCP,
                      .epoch = 5,
                      .conn = 77,
                      .seq = 77};
    frame_put(out, FRAME_HELLO, HELLO_BYTES);
    hello_encode(&h, out + FRAME_HEAD);
    return FRAME_HEAD + HELLO_BYTES;
}

static bool is_up(void *arg)
{
    return transport_is_connected(((struct node *)arg)->t, 2);
}

static void open_one(struct node *n, struct node_spec *spec, uint32_t handshake_ms)
{
    *spec = (struct node_spec){.env = &tcp_env, .loop = loop_new(), .id = 1, .peer = 2};
    spec->with.message_max = 1000;
    spec->with.handshake_ms = handshake_ms;
    node_open(n, spec);
    node_meet(n, spec, 2, 1);
}

static void close_one(struct node *n, struct node_spec *spec)
{
    node_close(n);
    loop_free(spec->loop);
}

/* The other side has closed it (an end or a reset), not merely said nothing. */
static void assert_hung_up(int fd)
{
    char c = 0;
    ssize_t n = recv(fd, &c, 1, 0);
    while (n > 0) {
        n = recv(fd, &c, 1, 0);
    }
    assert_true(n == 0 || errno == ECONNRESET);
    close(fd);
}

static void strangers_are_hung_up_on(void **state)
{
    (void)state;
    unsigned char hello[FRAME_HEAD + HELLO_BYTES];
    size_t hello_len = raw_hello(hello);
    unsigned char big[8];
    frame_put(big, FRAME_HELLO, 1 << 20);
    unsigned char early[8];
    frame_put(early, FRAME_MESSAGE, 4);
    unsigned char accept[FRAME_HEAD + HELLO_BYTES];
    memcpy(accept, hello, sizeof accept);
    frame_put(accept, FRAME_ACCEPT, HELLO_BYTES);
    const struct {
        const void *p;
        size_t len;
    } openings[] = {{"GET / HTTP/1.1\r\n\r\n", 18},
                    {big, 8},
                    {early, 8},
                    {accept, sizeof accept},
                    {"*1\r\n$4\r\nPING\r\n", 14},
                    {"", 0},
                    {hello, hello_len - 1}};
    struct node n;
    struct node_spec spec;
    open_one(&n, &spec, 200);
    for (size_t i = 0; i < sizeof openings / sizeof openings[0]; i++) {
        int fd = raw_connect(transport_port(n.t));
        assert_int_equal(send(fd, openings[i].p, openings[i].len, MSG_NOSIGNAL), openings[i].len);
        run_for(spec.loop, 300); /* those that say too little run into the time limit */
        assert_hung_up(fd);
    }
    assert_int_equal(n.connected, 0);
    close_one(&n, &spec);
}

static void a_member_that_breaks_the_rules_is_disconnected(void **state)
{
    (void)state;
    unsigned char long_one[FRAME_HEAD];
    frame_put(long_one, FRAME_MESSAGE, 1001);
    unsigned char unknown[FRAME_HEAD];
    frame_put(unknown, (enum frame_kind)31, 0);
    unsigned char fragment[FRAME_HEAD];
    frame_put(fragment, FRAME_FRAGMENT, 0); /* TCP has none */
    unsigned char again[FRAME_HEAD + HELLO_BYTES];
    raw_hello(again);
    const struct {
        const void *p;
        size_t len;
    } wrongs[] = {{long_one, FRAME_HEAD},
                  {unknown, FRAME_HEAD},
                  {fragment, FRAME_HEAD},
                  {again, sizeof again}};
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        struct node n;
        struct node_spec spec;
        open_one(&n, &spec, 10000);
        int fd = raw_connect(transport_port(n.t));
        unsigned char hello[FRAME_HEAD + HELLO_BYTES];
        size_t len = raw_hello(hello);
        for (size_t at = 0; at < len;
             at++) { /* byte by byte: no frame may depend on how reads fall */
            assert_int_equal(send(fd, hello + at, 1, MSG_NOSIGNAL), 1);
            run_for(spec.loop, 1);
        }
        assert_true(run_until(spec.loop, is_up, &n, 2000));
        assert_int_equal(n.peer_epoch, 5);

        assert_int_equal(send(fd, wrongs[i].p, wrongs[i].len, MSG_NOSIGNAL), wrongs[i].len);
        run_for(spec.loop, 20);

        assert_int_equal(n.disconnected, 1);
        assert_int_equal(n.received, 0);
        assert_hung_up(fd);
        close_one(&n, &spec);
    }
}

static void a_caller_that_calls_again_has_lost_its_connection(void **state)
{
    (void)state;
    struct node n;
    struct node_spec spec;
    open_one(&n, &spec, 10000);
    unsigned char hello[FRAME_HEAD + HELLO_BYTES];
    size_t len = raw_hello(hello);
    int first = raw_connect(transport_port(n.t));
    assert_int_equal(send(first, hello, len, MSG_NOSIGNAL), len);
    assert_true(run_until(spec.loop, is_up, &n, 2000));

    /* the same call twice is a duplicate */
    int second = raw_connect(transport_port(n.t));
    assert_int_equal(send(second, hello, len, MSG_NOSIGNAL), len);
    run_for(spec.loop, 20);
    assert_int_equal(n.disconnected, 0);
    unsigned char answer[FRAME_HEAD + 1];
    assert_int_equal(recv(second, answer, sizeof answer, MSG_WAITALL), sizeof answer);
    assert_int_equal(answer[FRAME_HEAD], REFUSE_DUPLICATE);
    assert_hung_up(second);

    /* a later call takes the place of the first, which this side has not seen end */
    hello[FRAME_HEAD + 32]++; /* conn */
    hello[FRAME_HEAD + 40]++; /* seq */
    int third = raw_connect(transport_port(n.t));
    assert_int_equal(send(third, hello, len, MSG_NOSIGNAL), len);
    run_for(spec.loop, 20);
    assert_int_equal(n.disconnected, 1);
    assert_int_equal(n.connected, 2);
    assert_true(is_up(&n));
    assert_hung_up(first);
    close(third);
    close_one(&n, &spec);
}

/* ---- two threads ---- */
#define THREAD_MESSAGES 5000u

static bool stream_until_done(void *arg)
{
    struct node *n = arg;
    for (int i = 0; i < 64 && n->sent < THREAD_MESSAGES && transport_is_connected(n->t, n->peer) &&
                    node_send(n) == OK;
         i++) {
    }
    return n->bad != 0 || (n->received == THREAD_MESSAGES && n->sent == THREAD_MESSAGES);
}

static void *run_node(void *arg)
{
    struct node *n = arg;
    (void)run_until(n->loop, stream_until_done, n, 20000);
    run_for(n->loop, 50); /* the last ones may still wait for the other's window */
    return NULL;
}

static void members_may_live_in_different_threads(void **state)
{
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        struct suite_env env = tcp_env;
        env.kind = tcp == 1 ? TRANSPORT_TCP : TRANSPORT_MEM;
        struct mem_net *net = mem_net_new();
        struct node a;
        struct node b;
        struct node_spec sa = {.env = &env, .loop = loop_new(), .id = 1, .peer = 2, .net = net};
        struct node_spec sb = {.env = &env, .loop = loop_new(), .id = 2, .peer = 1, .net = net};
        node_open(&a, &sa);
        node_open(&b, &sb);
        node_meet(&a, &sa, 2, transport_port(b.t));
        node_meet(&b, &sb, 1, transport_port(a.t));

        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_node, &b), 0);
        run_node(&a);
        pthread_join(thread, NULL);

        assert_int_equal(a.bad + b.bad, 0);
        assert_int_equal(a.received, THREAD_MESSAGES);
        assert_int_equal(b.received, THREAD_MESSAGES);
        node_close(&a);
        node_close(&b);
        run_for(sa.loop, 1);
        run_for(sb.loop, 1);
        loop_free(sa.loop);
        loop_free(sb.loop);
        mem_net_free(net);
    }
}

static bool cut_seen(void *arg)
{
    struct node *n = arg;
    return n->disconnected != 0;
}

static bool came_back(void *arg)
{
    struct node *n = arg;
    return n->connected == 2;
}

static void a_cut_in_memory_ends_connections_until_it_is_healed(void **state)
{
    (void)state;
    struct suite_env env = {.name = "cut", .kind = TRANSPORT_MEM, .host = ""};
    struct mem_net *net = mem_net_new();
    struct node a;
    struct node b;
    struct loop *l = loop_new();
    struct node_spec sa = {.env = &env, .loop = l, .id = 1, .peer = 2, .net = net};
    struct node_spec sb = {.env = &env, .loop = l, .id = 2, .peer = 1, .net = net};
    node_open(&a, &sa);
    node_open(&b, &sb);
    node_meet(&a, &sa, 2, transport_port(b.t));
    node_meet(&b, &sb, 1, transport_port(a.t));
    assert_true(run_until(l, is_up, &a, 2000));

    mem_net_cut(net, transport_port(a.t), transport_port(b.t), true);
    assert_true(run_until(l, cut_seen, &a, 1000));
    assert_true(run_until(l, cut_seen, &b, 1000));
    run_for(l, 100);
    assert_int_equal(a.connected, 1);

    mem_net_cut(net, transport_port(b.t), transport_port(a.t), false);
    assert_true(run_until(l, came_back, &a, 3000));
    node_close(&a);
    node_close(&b);
    run_for(l, 1);
    loop_free(l);
    mem_net_free(net);
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
        cmocka_unit_test(strangers_are_hung_up_on),
        cmocka_unit_test(a_member_that_breaks_the_rules_is_disconnected),
        cmocka_unit_test(a_caller_that_calls_again_has_lost_its_connection),
        cmocka_unit_test(members_may_live_in_different_threads),
        cmocka_unit_test(a_cut_in_memory_ends_connections_until_it_is_healed),
    };
    int failed = cmocka_run_group_tests_name("wire", wire, NULL, NULL);
    failed += transport_suite_run(
        &(struct suite_env){.name = "transport mem", .kind = TRANSPORT_MEM, .host = ""});
    failed += transport_suite_run(&(struct suite_env){
        .name = "transport tcp", .kind = TRANSPORT_TCP, .host = "127.0.0.1", .self = argv[0]});
    return failed;
}
