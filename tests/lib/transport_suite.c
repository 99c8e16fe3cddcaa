/* Conformance tests of the peer transport (transport_suite.h). Each test opens two members, 1 and
 * 2, on one loop, unless it wants one of them to stand still: then member 2 has a loop of its own
 * that is not run. */
#include "tests/lib/transport_suite.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/mem.h"
#include "rdma/mem.h"
#include "tests/lib/transport_node.h"

static const struct suite_env *env;

struct pair {
    struct loop *loop;
    struct mem_net *net;
    struct node a, b;
    struct node_spec sa, sb;
};

static unsigned wait_ms(unsigned ms)
{
    return ms * (env->patience != 0 ? env->patience : 1);
}

static void pair_open(struct pair *p)
{
    *p = (struct pair){.loop = loop_new()};
    p->net = mem_net_new();
    p->sa = (struct node_spec){.env = env, .loop = p->loop, .id = 1, .peer = 2, .net = p->net};
    p->sb = (struct node_spec){.env = env, .loop = p->loop, .id = 2, .peer = 1, .net = p->net};
}

static bool both_up(void *arg)
{
    struct pair *p = arg;
    return transport_is_connected(p->a.t, 2) && transport_is_connected(p->b.t, 1);
}

static void pair_meet(struct pair *p)
{
    node_open(&p->a, &p->sa);
    node_open(&p->b, &p->sb);
    node_meet(&p->a, &p->sa, 2, transport_port(p->b.t));
    node_meet(&p->b, &p->sb, 1, transport_port(p->a.t));
    assert_true(run_until(p->loop, both_up, p, wait_ms(3000)));
}

static void pair_close(struct pair *p)
{
    node_close(&p->a);
    node_close(&p->b);
    run_for(p->loop, 1); /* packets under way in memory */
    loop_free(p->loop);
    mem_net_free(p->net);
}

static uint64_t counter_of(struct node *n, size_t offset)
{
    struct transport_stats s;
    assert_int_equal(transport_stats(n->t, 0, &s), OK);
    uint64_t v = 0;
    memcpy(&v, (char *)&s + offset, sizeof v);
    return v;
}
#define COUNTER(node, name) counter_of(node, offsetof(struct transport_stats, name))

static bool all_received(void *arg)
{
    struct pair *p = arg;
    return p->a.received == p->b.sent && p->b.received == p->a.sent;
}

/* ---- streams ---- */
static void members_connect_and_learn_epochs(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);

    pair_meet(&p);

    assert_int_equal(p.a.peer_epoch, 102);
    assert_int_equal(p.b.peer_epoch, 101);
    assert_true(p.a.conn > 0);
    assert_int_equal(p.a.bad + p.b.bad, 0);
    pair_close(&p);
}

static bool stream_more(void *arg)
{
    struct pair *p = arg;
    uint64_t total = env->messages != 0 ? env->messages : 20000;
    for (int i = 0; i < 64 && p->a.sent < total && node_send(&p->a) == OK; i++) {
    }
    for (int i = 0; i < 64 && p->b.sent < total && node_send(&p->b) == OK; i++) {
    }
    return p->a.bad + p->b.bad != 0 ||
           (p->a.sent == total && p->b.sent == total && all_received(p));
}

static void long_streams_arrive_whole_once_and_in_order(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.sa.with.queue_max = p.sb.with.queue_max = 1u << 20;
    pair_meet(&p);
    uint64_t start = clk_mono_ns();

    assert_true(run_until(p.loop, stream_more, &p, wait_ms(60000)));

    uint64_t total = env->messages != 0 ? env->messages : 20000;
    printf("%s: %llu messages, %llu bytes each way in %llu ms; %llu sends, %llu fragments\n",
           env->name, (unsigned long long)total, (unsigned long long)p.a.received_bytes,
           (unsigned long long)((clk_mono_ns() - start) / 1000000u),
           (unsigned long long)COUNTER(&p.a, sends), (unsigned long long)COUNTER(&p.a, fragments));
    assert_int_equal(p.a.bad + p.b.bad, 0);
    assert_int_equal(p.a.received, total);
    assert_int_equal(p.b.received, total);
    assert_int_equal(p.a.disconnected + p.b.disconnected, 0);
    assert_int_equal(COUNTER(&p.a, messages_out), total);
    assert_int_equal(COUNTER(&p.b, messages_in), total);
    assert_int_equal(COUNTER(&p.a, bytes_out), p.b.received_bytes);
    pair_close(&p);
}

static void every_size_around_a_slab_arrives(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_meet(&p);
    p.b.free_form = true;
    size_t slab = env->slab_bytes != 0 ? env->slab_bytes : 16384;
    static char bytes[70000];
    uint64_t sum = 0;
    uint64_t count = 0;

    for (size_t around = 0; around <= 4 * slab && around < 65536; around += slab) {
        for (size_t d = 0; d < 48; d++) {
            size_t len = around + d < 24 ? 0 : around + d - 24;
            assert_int_equal(transport_send(p.a.t, 2, 0, bytes, len), OK);
            p.a.sent++;
            sum += len;
            count++;
        }
        assert_true(run_until(p.loop, all_received, &p, wait_ms(5000)));
    }

    assert_int_equal(p.b.received, count);
    assert_int_equal(p.b.received_bytes, sum);
    pair_close(&p);
}

static void a_very_large_message_arrives_whole(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_meet(&p);
    p.b.free_form = true;
    size_t len = (size_t)20 << 20;
    char *bytes = mem_alloc(len);
    memset(bytes, 'x', len);

    assert_int_equal(transport_send(p.a.t, 2, 0, bytes, len), OK);
    p.a.sent = 1;
    assert_true(run_until(p.loop, all_received, &p, wait_ms(20000)));

    assert_int_equal(p.b.received_bytes, len);
    mem_free(bytes);
    pair_close(&p);
}

static void a_message_above_the_limit_is_refused_and_nothing_else_suffers(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.sa.with.message_max = 1000;
    pair_meet(&p);
    p.b.free_form = true;
    char bytes[1001] = {0};

    assert_int_equal(transport_send(p.a.t, 2, 0, bytes, 1001), ERR_TOOBIG);
    assert_int_equal(transport_send(p.a.t, 2, 0, bytes, 1000), OK);
    p.a.sent = 1;

    assert_true(run_until(p.loop, all_received, &p, wait_ms(2000)));
    assert_int_equal(p.b.received_bytes, 1000);
    assert_int_equal(p.a.disconnected, 0);
    pair_close(&p);
}

static void the_receiver_enforces_its_own_limit(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.sb.with.message_max = 1000;
    pair_meet(&p);
    char bytes[40000] = {0};

    assert_int_equal(transport_send(p.a.t, 2, 0, bytes, sizeof bytes), OK);
    run_for(p.loop, wait_ms(100));

    assert_int_equal(p.b.received, 0);
    assert_true(p.b.disconnected >= 1);
    pair_close(&p);
}

static bool say_too_much(void *arg)
{
    struct pair *p = arg;
    static const char bytes[40000];
    if (transport_is_connected(p->a.t, 2)) {
        enum err e = transport_send(p->a.t, 2, 0, bytes, sizeof bytes);
        assert_true(e == OK || e == ERR_CLOSED);
    }
    return false;
}

static void a_connection_that_cannot_live_does_not_flap(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.sb.with.message_max = 1000;
    pair_meet(&p);

    (void)run_until(p.loop, say_too_much, &p, 600);

    assert_in_range(p.b.disconnected, 1, 12); /* 20 ms apart it would be 30 */
    pair_close(&p);
}

static void messages_of_one_turn_leave_together(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_meet(&p);
    p.a.sizes = p.b.sizes = SIZES_SMALL;
    uint64_t before = COUNTER(&p.a, sends);

    for (int i = 0; i < 1000; i++) {
        assert_int_equal(node_send(&p.a), OK);
    }
    assert_true(run_until(p.loop, all_received, &p, wait_ms(2000)));

    assert_int_equal(p.b.bad, 0);
    size_t slab = env->slab_bytes != 0 ? env->slab_bytes : 16384;
    assert_in_range(COUNTER(&p.a, sends) - before, 1, 12 + 60000 / slab);
    pair_close(&p);
}

static void without_coalescing_every_message_is_a_send(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.sa.with.no_coalescing = true;
    pair_meet(&p);
    p.a.sizes = p.b.sizes = SIZES_SMALL;
    uint64_t before = COUNTER(&p.a, sends);

    for (int i = 0; i < 50; i++) {
        assert_int_equal(node_send(&p.a), OK);
    }
    assert_true(run_until(p.loop, all_received, &p, wait_ms(2000)));

    assert_int_equal(p.b.bad, 0);
    assert_true(COUNTER(&p.a, sends) - before >= 50);
    pair_close(&p);
}

/* ---- back-pressure ---- */
static bool is_writable(void *arg)
{
    return ((struct node *)arg)->writable != 0;
}

static void a_full_queue_is_busy_until_writable(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.sa.with.queue_max = 100000;
    pair_meet(&p);
    p.a.sizes = p.b.sizes = SIZES_SMALL;

    enum err e = OK;
    while (e == OK) {
        e = node_send(&p.a); /* the loop does not turn: everything stays queued */
        assert_true(p.a.sent < 1000000);
    }
    assert_int_equal(e, ERR_BUSY);
    assert_true(COUNTER(&p.a, busy) == 1);
    assert_in_range(COUNTER(&p.a, queued_bytes), 1, 101000);

    assert_true(run_until(p.loop, is_writable, &p.a, wait_ms(2000)));
    assert_int_equal(node_send(&p.a), OK);
    assert_true(run_until(p.loop, all_received, &p, wait_ms(2000)));
    assert_int_equal(p.b.bad, 0);
    assert_int_equal(p.a.writable, 1);
    pair_close(&p);
}

static void acks_are_taken_when_the_queue_is_full_up_to_twice_its_size(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    p.sa.with.queue_max = 100000;
    pair_meet(&p);
    p.b.free_form = true;
    char bytes[100] = {0};

    while (transport_send(p.a.t, 2, 0, bytes, sizeof bytes) == OK) {
        p.a.sent++;
    }
    assert_int_equal(transport_send(p.a.t, 2, TRANSPORT_ACK, bytes, 20), OK);
    enum err e = OK;
    while (e == OK) {
        e = transport_send(p.a.t, 2, TRANSPORT_ACK, bytes, sizeof bytes);
        assert_true(e == OK || e == ERR_CLOSED);
    }
    assert_int_equal(p.a.disconnected, 0); /* never from inside a call */
    run_for(p.loop, wait_ms(20));

    assert_int_equal(p.a.disconnected, 1);
    pair_close(&p);
}

static bool is_busy(void *arg)
{
    struct pair *p = arg;
    for (int i = 0; i < 64; i++) {
        if (node_send(&p->a) == ERR_BUSY) {
            return true;
        }
    }
    return false;
}

static void a_peer_that_stands_still_is_felt_and_loses_nothing(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    struct loop *other = loop_new();
    p.sa.with.queue_max = 200000;
    p.sb.loop = other;
    p.sa.peer = 2;
    node_open(&p.a, &p.sa);
    node_open(&p.b, &p.sb);
    node_meet(&p.a, &p.sa, 2, transport_port(p.b.t));
    node_meet(&p.b, &p.sb, 1, transport_port(p.a.t));
    for (unsigned i = 0; i < wait_ms(3000) && !both_up(&p); i++) {
        run_for(p.loop, 1);
        run_for(other, 1);
    }
    assert_true(both_up(&p));
    p.a.sizes = p.b.sizes = SIZES_LARGE;

    assert_true(run_until(p.loop, is_busy, &p, wait_ms(5000))); /* member 2 does not run */
    assert_int_equal(p.b.received, 0);
    for (unsigned i = 0; i < wait_ms(5000) && !all_received(&p); i++) {
        run_for(other, 1);
        run_for(p.loop, 1);
    }

    assert_true(all_received(&p));
    assert_true(p.a.writable >= 1);
    assert_int_equal(p.b.bad, 0);
    assert_int_equal(p.a.disconnected, 0);
    node_close(&p.a);
    node_close(&p.b);
    run_for(p.loop, 1);
    run_for(other, 1);
    loop_free(other);
    loop_free(p.loop);
    mem_net_free(p.net);
}

/* ---- connecting ---- */
static bool both_have_one(void *arg)
{
    const struct pair *p = arg;
    return p->a.connected - p->a.disconnected == 1 && p->b.connected - p->b.disconnected == 1;
}

static void of_two_simultaneous_calls_one_survives(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 10; round++) {
        struct pair p;
        pair_open(&p);
        if (round % 2 == 1) { /* the lower id on the other side */
            p.sa.id = p.sb.peer = 9;
            node_open(&p.a, &p.sa);
            node_open(&p.b, &p.sb);
            node_meet(&p.a, &p.sa, 2, transport_port(p.b.t));
            node_meet(&p.b, &p.sb, 9, transport_port(p.a.t));
            run_for(p.loop, wait_ms(60));
        } else {
            pair_meet(&p);
            run_for(p.loop, wait_ms(30));
        }
        /* the losing call may end a little later: on a busy machine later than any fixed time */
        assert_true(run_until(p.loop, both_have_one, &p, wait_ms(3000)));

        assert_int_equal(p.a.connected - p.a.disconnected, 1);
        assert_int_equal(p.b.connected - p.b.disconnected, 1);
        assert_int_equal(node_send(&p.a), OK);
        assert_int_equal(node_send(&p.b), OK);
        assert_true(run_until(p.loop, all_received, &p, wait_ms(1000)));
        assert_int_equal(p.a.bad + p.b.bad, 0);
        pair_close(&p);
    }
}

static void a_call_from_one_side_is_enough(void **state)
{
    (void)state;
    for (int who = 0; who < 2; who++) {
        struct pair p;
        pair_open(&p);
        node_open(&p.a, &p.sa);
        node_open(&p.b, &p.sb);
        uint16_t nowhere = 1; /* nobody listens there */

        node_meet(&p.a, &p.sa, 2, who == 0 ? transport_port(p.b.t) : nowhere);
        node_meet(&p.b, &p.sb, 1, who == 1 ? transport_port(p.a.t) : nowhere);

        assert_true(run_until(p.loop, both_up, &p, wait_ms(6000)));
        pair_close(&p);
    }
}

struct wrong {
    const char *what;
    struct transport_options with;
    uint32_t meant; /* member id that a believes to call */
    bool stranger;
};

static void a_wrong_identity_is_refused(void **state)
{
    (void)state;
    const struct wrong cases[] = {
        {.what = "cluster", .with = {.self = {.cluster = "other"}}, .meant = 2},
        {.what = "group", .with = {.self = {.group = "other"}}, .meant = 2},
        {.what = "worker", .with = {.self = {.worker = 1}}, .meant = 2},
        {.what = "member", .meant = 3},
        {.what = "stranger", .meant = 2, .stranger = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair p;
        pair_open(&p);
        p.sa.with = cases[i].with;
        node_open(&p.a, &p.sa);
        node_open(&p.b, &p.sb);

        node_meet(&p.a, &p.sa, cases[i].meant, transport_port(p.b.t));
        if (!cases[i].stranger) {
            node_meet(&p.b, &p.sb, 1, 1);
        }
        run_for(p.loop, wait_ms(150));

        assert_int_equal(p.a.connected + p.b.connected, 0);
        assert_true(COUNTER(&p.b, refused_in) >= 1);
        assert_true(COUNTER(&p.a, refused_out) >= 1);
        assert_in_range(COUNTER(&p.b, refused_in), 1, 20); /* backing off */
        if (cases[i].stranger) {                           /* and once it is known, it is let in */
            node_meet(&p.b, &p.sb, 1, 1);
            assert_true(run_until(p.loop, both_up, &p, wait_ms(3000)));
        }
        pair_close(&p);
    }
}

static bool b_lost(void *arg)
{
    return ((struct pair *)arg)->a.disconnected == 1;
}

static bool a_up_again(void *arg)
{
    return ((struct pair *)arg)->a.connected == 2 && both_up(arg);
}

static void a_new_connection_replays_nothing(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_meet(&p);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(node_send(&p.a), OK);
    }
    p.sb.port = transport_port(p.b.t);
    uint64_t conn = p.a.conn;

    node_close(&p.b); /* before the messages left */
    assert_true(run_until(p.loop, b_lost, &p, wait_ms(1000)));
    assert_int_equal(node_send(&p.a), ERR_CLOSED);
    node_open(&p.b, &p.sb);
    node_meet(&p.b, &p.sb, 1, transport_port(p.a.t));
    assert_true(run_until(p.loop, a_up_again, &p, wait_ms(3000)));

    assert_true(p.a.conn > conn);
    run_for(p.loop, wait_ms(30));
    assert_int_equal(p.b.received, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(node_send(&p.a), OK);
        assert_int_equal(node_send(&p.b), OK);
    }
    assert_true(run_until(p.loop, all_received, &p, wait_ms(2000)));
    assert_int_equal(p.a.bad + p.b.bad, 0);
    pair_close(&p);
}

static void connections_come_and_go_without_leak(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    node_open(&p.a, &p.sa);
    uint64_t base = COUNTER(&p.a, registered_bytes);
    for (unsigned i = 0; i < 8; i++) {
        node_open(&p.b, &p.sb);
        node_meet(&p.a, &p.sa, 2, transport_port(p.b.t));
        node_meet(&p.b, &p.sb, 1, transport_port(p.a.t));
        assert_true(run_until(p.loop, both_up, &p, wait_ms(3000)));
        assert_int_equal(node_send(&p.b), OK);
        run_for(p.loop, 2);
        transport_remove_peer(p.a.t, 2);
        node_close(&p.b);
    }
    run_for(p.loop, wait_ms(10));
    assert_int_equal(COUNTER(&p.a, registered_bytes), base);
    assert_int_equal(p.a.connected, 8);
    node_open(&p.b, &p.sb);
    pair_close(&p);
}

/* ---- removal ---- */
static bool removed(void *arg)
{
    struct pair *p = arg;
    return p->a.received >= p->a.remove_after;
}

static void nothing_of_a_removed_member_is_delivered(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    pair_meet(&p);
    p.a.sizes = p.b.sizes = SIZES_SMALL;
    p.a.remove_after = 10;

    for (int i = 0; i < 500; i++) {
        assert_int_equal(node_send(&p.b), OK); /* one batch: the removal happens in its middle */
    }
    assert_true(run_until(p.loop, removed, &p, wait_ms(2000)));
    run_for(p.loop, wait_ms(100));

    assert_int_equal(p.a.received, 10);
    assert_int_equal(p.a.bad, 0);
    assert_int_equal(p.a.disconnected, 0); /* whoever removes knows */
    assert_int_equal(node_send(&p.a), ERR_NOTFOUND);
    assert_int_equal(p.b.disconnected, 1);
    assert_int_equal(p.b.connected, 1); /* its calls are refused */
    assert_true(COUNTER(&p.a, refused_in) >= 1);

    p.a.remove_after = 0;
    node_meet(&p.a, &p.sa, 2, transport_port(p.b.t));
    assert_true(run_until(p.loop, both_up, &p, wait_ms(3000)));
    assert_int_equal(p.a.connected, 2);
    pair_close(&p);
}

static void wrong_calls_are_told_so(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p);
    node_open(&p.a, &p.sa);
    node_open(&p.b, &p.sb);

    struct transport_peer self = {.member = 1, .host = env->host, .port = 1};
    struct transport_peer big = {.member = TRANSPORT_MEMBER_MAX + 1, .host = env->host, .port = 1};
    struct transport_peer two = {.member = 2, .host = env->host, .port = 1};
    assert_int_equal(transport_add_peer(p.a.t, &self), ERR_RANGE);
    assert_int_equal(transport_add_peer(p.a.t, &big), ERR_RANGE);
    assert_int_equal(transport_add_peer(p.a.t, &two), OK);
    assert_int_equal(transport_add_peer(p.a.t, &two), ERR_EXISTS);
    assert_int_equal(transport_send(p.a.t, 2, 0, "x", 1), ERR_CLOSED);
    assert_int_equal(transport_send(p.a.t, 3, 0, "x", 1), ERR_NOTFOUND);
    struct transport_stats s;
    assert_int_equal(transport_stats(p.a.t, 3, &s), ERR_NOTFOUND);
    transport_remove_peer(p.a.t, 3);
    pair_close(&p);
}

/* ---- a process dies ---- */
static bool some_received(void *arg)
{
    return ((struct pair *)arg)->a.received > 200;
}

static pid_t start_child(const struct pair *p)
{
    char kind[8];
    char own[8];
    char port[8];
    snprintf(kind, sizeof kind, "%d", (int)env->kind);
    snprintf(own, sizeof own, "%u", 0u);
    snprintf(port, sizeof port, "%u", transport_port(p->a.t));
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", env->self, "--stream", kind, env->host, own, port, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void a_killed_peer_is_reported_within_a_second_and_may_come_back(void **state)
{
    (void)state;
    if (env->self == NULL) {
        skip();
    }
    struct pair p;
    pair_open(&p);
    node_open(&p.a, &p.sa);
    node_meet(&p.a, &p.sa, 2, 1);
    uint64_t registered = COUNTER(&p.a, registered_bytes);

    for (unsigned round = 1; round <= 2; round++) {
        pid_t pid = start_child(&p);
        assert_true(pid > 0);
        assert_true(run_until(p.loop, some_received, &p, wait_ms(6000)));
        uint64_t start = clk_mono_ns();
        kill(pid, SIGKILL);
        assert_true(run_until(p.loop, b_lost, &p, wait_ms(3000)));
        uint64_t ms = (clk_mono_ns() - start) / 1000000u;
        waitpid(pid, NULL, 0);

        printf("%s: death of the peer reported after %llu ms\n", env->name, (unsigned long long)ms);
        assert_in_range(ms, 0, 1000);
        assert_int_equal(p.a.bad, 0);
        assert_int_equal(p.a.connected, round);
        p.a.disconnected = 0;
        p.a.received = 0;
    }
    run_for(p.loop, 5);
    assert_int_equal(COUNTER(&p.a, registered_bytes), registered);
    node_open(&p.b, &p.sb);
    pair_close(&p);
}

static bool stream_for_ever(void *arg)
{
    struct node *n = arg;
    for (int i = 0; i < 200 && transport_is_connected(n->t, 1) && node_send(n) == OK; i++) {
    }
    return false;
}

int transport_suite_child(int argc, char **argv)
{
    if (argc != 6) {
        return 2;
    }
    struct suite_env child = {
        .name = "child", .kind = (enum transport_kind)strtol(argv[2], NULL, 10), .host = argv[3]};
    struct loop *l = loop_new();
    struct node_spec spec = {
        .env = &child, .loop = l, .id = 2, .peer = 1, .port = (uint16_t)strtol(argv[4], NULL, 10)};
    struct node n;
    node_open(&n, &spec);
    node_meet(&n, &spec, 1, (uint16_t)strtol(argv[5], NULL, 10));
    (void)run_until(l, stream_for_ever, &n, 60000);
    return 1;
}

int transport_suite_run(const struct suite_env *e)
{
    env = e;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_connect_and_learn_epochs),
        cmocka_unit_test(long_streams_arrive_whole_once_and_in_order),
        cmocka_unit_test(every_size_around_a_slab_arrives),
        cmocka_unit_test(a_very_large_message_arrives_whole),
        cmocka_unit_test(a_message_above_the_limit_is_refused_and_nothing_else_suffers),
        cmocka_unit_test(the_receiver_enforces_its_own_limit),
        cmocka_unit_test(a_connection_that_cannot_live_does_not_flap),
        cmocka_unit_test(messages_of_one_turn_leave_together),
        cmocka_unit_test(without_coalescing_every_message_is_a_send),
        cmocka_unit_test(a_full_queue_is_busy_until_writable),
        cmocka_unit_test(acks_are_taken_when_the_queue_is_full_up_to_twice_its_size),
        cmocka_unit_test(a_peer_that_stands_still_is_felt_and_loses_nothing),
        cmocka_unit_test(of_two_simultaneous_calls_one_survives),
        cmocka_unit_test(a_call_from_one_side_is_enough),
        cmocka_unit_test(a_wrong_identity_is_refused),
        cmocka_unit_test(a_new_connection_replays_nothing),
        cmocka_unit_test(connections_come_and_go_without_leak),
        cmocka_unit_test(nothing_of_a_removed_member_is_delivered),
        cmocka_unit_test(wrong_calls_are_told_so),
        cmocka_unit_test(a_killed_peer_is_reported_within_a_second_and_may_come_back),
    };
    return cmocka_run_group_tests_name(e->name, tests, NULL, NULL);
}
