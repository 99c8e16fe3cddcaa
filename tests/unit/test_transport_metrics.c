/* What a transport counts reaches the registry, also when another transport takes its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rdma/mem.h"
#include "rdma/transport_metrics.h"
#include "tests/lib/transport_node.h"

static const struct suite_env env = {.name = "mem", .kind = TRANSPORT_MEM, .host = ""};

static bool has_three(void *arg)
{
    return ((struct node *)arg)->received == 3;
}

static bool is_up(void *arg)
{
    struct node *n = arg;
    return transport_is_connected(n->t, n->peer);
}

/* Two ends that exchange three messages, and publish. */
static void exchange(struct transport_metrics *tm)
{
    struct loop *loop = loop_new();
    struct mem_net *net = mem_net_new();
    struct node_spec specs[2] = {{.env = &env, .loop = loop, .id = 1, .peer = 2, .net = net},
                                 {.env = &env, .loop = loop, .id = 2, .peer = 1, .net = net}};
    struct node a = {0};
    struct node b = {0};
    node_open(&a, &specs[0]);
    node_open(&b, &specs[1]);
    node_meet(&a, &specs[0], 2, transport_port(b.t));
    node_meet(&b, &specs[1], 1, transport_port(a.t));
    assert_true(run_until(loop, is_up, &a, 5000) && run_until(loop, is_up, &b, 5000));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(node_send(&a), OK);
    }
    assert_true(run_until(loop, has_three, &b, 5000));
    transport_metrics_publish(tm, a.t);
    transport_metrics_publish(tm, a.t); /* nothing new: nothing added */
    node_close(&a);
    node_close(&b);
    run_for(loop, 1); /* packets under way in memory */
    loop_free(loop);
    mem_net_free(net);
}

static void counters_follow_and_never_fall(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct transport_metrics *tm = transport_metrics_new(m, "group=\"g\"");
    exchange(tm);
    assert_int_equal(metrics_sum(m, "halcyon_peer_messages_out_total", "group=\"g\""), 3);
    assert_int_equal(metrics_sum(m, "halcyon_peer_connected", NULL), 1);
    assert_int_equal(metrics_sum(m, "halcyon_peer_known", NULL), 1);
    exchange(tm); /* a new transport, whose counters start at 0 */
    assert_true(metrics_sum(m, "halcyon_peer_messages_out_total", NULL) >= 3);
    assert_true(metrics_sum(m, "halcyon_peer_connects_total", NULL) >= 1);
    transport_metrics_free(tm);
    assert_int_equal(metrics_sum(m, "halcyon_peer_messages_out_total", NULL), 0);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counters_follow_and_never_fall)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
