/* The verbs transport against a fake of the verbs library: the whole conformance suite, then what a
 * healthy network never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rdma/verbs.h"
#include "tests/lib/transport_node.h"
#include "tests/lib/verbs_fake.h"

static const struct suite_env env = {
    .name = "verbs", .kind = TRANSPORT_RDMA, .host = "127.0.0.1", .calls = &verbs_fake};

struct pair {
    struct loop *loop, *loop_b;
    struct node a, b;
    struct node_spec sa, sb;
};

static void open_pair(struct pair *p, const struct transport_options *with)
{
    verbs_fake_reset();
    *p = (struct pair){.loop = loop_new()};
    p->loop_b = p->loop;
    p->sa = (struct node_spec){.env = &env, .loop = p->loop, .id = 1, .peer = 2};
    p->sb = (struct node_spec){.env = &env, .loop = p->loop, .id = 2, .peer = 1};
    if (with != NULL) {
        p->sa.with = p->sb.with = *with;
    }
}

static bool both_up(void *arg)
{
    struct pair *p = arg;
    return transport_is_connected(p->a.t, 2) && transport_is_connected(p->b.t, 1);
}

static bool met_again(void *arg)
{
    struct pair *p = arg;
    return p->a.connected == 2 && p->b.connected == 2 && both_up(arg);
}

static bool all_received(void *arg)
{
    struct pair *p = arg;
    return p->a.received == p->b.sent && p->b.received == p->a.sent;
}

static void meet(struct pair *p)
{
    node_open(&p->a, &p->sa);
    node_open(&p->b, &p->sb);
    node_meet(&p->a, &p->sa, 2, transport_port(p->b.t));
    node_meet(&p->b, &p->sb, 1, transport_port(p->a.t));
    for (int i = 0; i < 500 && !both_up(p); i++) {
        run_for(p->loop, 1);
        if (p->loop_b != p->loop) {
            run_for(p->loop_b, 1);
        }
    }
    assert_true(both_up(p));
}

/* Nothing of the library may be left, whatever happened. */
static void close_pair(struct pair *p)
{
    node_close(&p->a);
    node_close(&p->b);
    if (p->loop_b != p->loop) {
        loop_free(p->loop_b);
    }
    loop_free(p->loop);
    assert_int_equal(fake.objects, 0);
}

static void exchange(struct pair *p, int count)
{
    for (int i = 0; i < count; i++) {
        assert_int_equal(node_send(&p->a), OK);
        assert_int_equal(node_send(&p->b), OK);
    }
    assert_true(run_until(p->loop, all_received, p, 3000));
    assert_int_equal(p->a.bad + p->b.bad, 0);
}

static struct transport_stats stats_of(const struct node *n)
{
    struct transport_stats s;
    assert_int_equal(transport_stats(n->t, 0, &s), OK);
    return s;
}

/* ---- credits ---- */
static void with_few_credits_and_partial_polls_no_send_finds_no_receive(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p,
              &(struct transport_options){.data_credits = 2, .ack_credits = 2, .slab_bytes = 512});
    fake.poll_most = 1;
    meet(&p);

    exchange(&p, 300);

    assert_int_equal(fake.rnr, 0);
    assert_true(stats_of(&p.a).credit_stalls > 0);
    assert_true(stats_of(&p.a).fragments > 0);
    close_pair(&p);
}

static void a_one_way_stream_gets_its_credits_back(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, &(struct transport_options){.data_credits = 4, .slab_bytes = 1024});
    meet(&p);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(node_send(&p.a), OK);
    }
    assert_true(run_until(p.loop, all_received, &p, 3000));

    assert_int_equal(p.b.bad, 0);
    assert_int_equal(fake.rnr, 0);
    assert_true(stats_of(&p.b).credit_sends > 10); /* nothing else to ride on */
    assert_in_range(stats_of(&p.b).credit_sends, 1, stats_of(&p.a).sends);
    close_pair(&p);
}

static bool stalled(void *arg)
{
    struct pair *p = arg;
    (void)node_send(&p->a);
    return stats_of(&p->a).queued_bytes > 100000;
}

static void an_ack_gets_through_when_the_data_credits_are_out(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, &(struct transport_options){.data_credits = 4, .ack_credits = 4});
    p.loop_b = loop_new();
    p.sb.loop = p.loop_b;
    meet(&p);
    p.a.sizes = p.b.sizes = SIZES_LARGE;
    assert_true(run_until(p.loop, stalled, &p, 2000)); /* member 2 stands still */
    p.b.free_form = true;
    uint64_t before = fake.sends;

    assert_int_equal(transport_send(p.a.t, 2, TRANSPORT_ACK, "ack", 3), OK);
    run_for(p.loop, 2);

    assert_int_equal(fake.sends, before + 1); /* on its own credit, past the queue */
    assert_true(stats_of(&p.a).queued_bytes > 100000);
    p.a.sent++;
    for (int i = 0; i < 2000 && !all_received(&p); i++) {
        run_for(p.loop_b, 1);
        run_for(p.loop, 1);
    }
    assert_true(all_received(&p));
    assert_int_equal(fake.ack_slabs, 1);
    assert_int_equal(fake.rnr, 0);
    close_pair(&p);
}

static void completions_are_asked_for_rarely_and_small_slabs_go_inline(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, NULL);
    meet(&p);
    p.a.sizes = p.b.sizes = SIZES_SMALL;
    for (int i = 0; i < 400; i++) {
        exchange(&p, 1);
    }

    struct transport_stats s = stats_of(&p.a);
    assert_true(s.inline_sends >= 390);
    assert_in_range(s.signalled, 1, s.sends / 10);
    assert_in_range(s.doorbells, 400, s.sends);
    close_pair(&p);
}

/* ---- failures ---- */
struct failure {
    const char *what;
    unsigned *counter;
    enum ibv_wc_status status;
};

static void a_failed_send_ends_the_connection_and_the_next_one_works(void **state)
{
    (void)state;
    static const enum ibv_wc_status failures[] = {IBV_WC_RETRY_EXC_ERR, IBV_WC_RNR_RETRY_EXC_ERR,
                                                  IBV_WC_LOC_PROT_ERR,  IBV_WC_REM_OP_ERR,
                                                  IBV_WC_FATAL_ERR,     IBV_WC_WR_FLUSH_ERR};
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        struct pair p;
        open_pair(&p, NULL);
        meet(&p);
        uint64_t registered = stats_of(&p.a).registered_bytes;
        fake.fail_send_after = 1;
        fake.fail_status = failures[i];

        assert_int_equal(node_send(&p.a), OK);
        assert_true(run_until(p.loop, met_again, &p, 2000));

        assert_int_equal(p.a.disconnected, 1);
        assert_int_equal(p.b.disconnected, 1);
        assert_int_equal(p.b.received, 0);
        exchange(&p, 100);
        assert_int_equal(stats_of(&p.a).registered_bytes, registered);
        close_pair(&p);
    }
}

static void a_refused_post_ends_the_connection_and_the_next_one_works(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        struct pair p;
        open_pair(&p, NULL);
        meet(&p);
        *(which == 0 ? &fake.refuse_post_send_after : &fake.refuse_post_recv_after) = 1;

        assert_int_equal(node_send(&p.a), OK);
        assert_true(run_until(p.loop, met_again, &p, 2000));

        exchange(&p, 50);
        close_pair(&p);
    }
}

static void what_arrived_before_the_end_is_delivered_before_it_is_reported(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, NULL);
    p.loop_b = loop_new();
    p.sb.loop = p.loop_b;
    meet(&p);
    p.a.sizes = p.b.sizes = SIZES_SMALL;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(node_send(&p.a), OK);
        run_for(p.loop, 1); /* one slab each */
    }
    uint64_t sent = p.a.sent;
    fake.fail_send_after = 1;
    fake.fail_status = IBV_WC_FATAL_ERR;
    assert_int_equal(node_send(&p.a), OK);
    run_for(p.loop, 5);
    assert_int_equal(p.a.disconnected, 1);
    assert_int_equal(p.b.received, 0);

    run_for(p.loop_b, 1);

    assert_int_equal(p.b.received, sent);
    assert_int_equal(p.b.bad, 0);
    close_pair(&p);
}

static bool a_lost(void *arg)
{
    return ((struct pair *)arg)->a.disconnected != 0;
}

static void a_device_that_does_not_flush_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, NULL);
    meet(&p);
    fake.no_flush = true;
    fake.refuse_post_send_after = 1;

    assert_int_equal(node_send(&p.a), OK);
    assert_true(run_until(p.loop, a_lost, &p, 1000));

    fake.no_flush = false;
    assert_true(run_until(p.loop, met_again, &p, 3000));
    exchange(&p, 10);
    close_pair(&p);
}

static void malformed_slabs_end_the_connection(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned char with;
    } wounds[] = {{5, 3}, {5, 2}, {1, 0xff}, {11, 0xff}, {8, 0xff}, {11, 0x18}};
    for (size_t i = 0; i < sizeof wounds / sizeof wounds[0]; i++) {
        struct pair p;
        open_pair(&p, NULL);
        meet(&p);
        p.a.sizes = p.b.sizes = SIZES_SMALL;
        fake.corrupt_after = 1;
        fake.corrupt_at = wounds[i].at;
        fake.corrupt_with = wounds[i].with;

        assert_int_equal(node_send(&p.a), OK);
        assert_true(run_until(p.loop, met_again, &p, 2000));

        assert_int_equal(p.b.disconnected, 1);
        assert_int_equal(p.b.bad, 0);
        exchange(&p, 20);
        close_pair(&p);
    }
    for (unsigned len = 0; len < 14; len++) { /* cut short */
        if (len == 8) {
            continue; /* a slab without messages */
        }
        struct pair p;
        open_pair(&p, NULL);
        meet(&p);
        p.a.sizes = p.b.sizes = SIZES_SMALL;
        fake.cut_after = 1;
        fake.cut_len = len;
        assert_int_equal(node_send(&p.a), OK);
        assert_true(run_until(p.loop, met_again, &p, 2000));
        close_pair(&p);
    }
}

static void connection_events_in_mid_life_end_it_or_are_ignored(void **state)
{
    (void)state;
    static const struct {
        enum rdma_cm_event_type type;
        bool ends;
    } events[] = {
        {RDMA_CM_EVENT_DISCONNECTED, true},     {RDMA_CM_EVENT_DEVICE_REMOVAL, true},
        {RDMA_CM_EVENT_ADDR_CHANGE, true},      {RDMA_CM_EVENT_REJECTED, true},
        {RDMA_CM_EVENT_TIMEWAIT_EXIT, false},   {RDMA_CM_EVENT_MULTICAST_JOIN, false},
        {RDMA_CM_EVENT_MULTICAST_ERROR, false}, {RDMA_CM_EVENT_ESTABLISHED, false},
    };
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        struct pair p;
        open_pair(&p, NULL);
        meet(&p);
        exchange(&p, 5);

        verbs_fake_event(events[i].type);
        run_for(p.loop, 2);

        assert_int_equal(p.a.disconnected != 0 || p.b.disconnected != 0, events[i].ends);
        if (events[i].ends) {
            assert_true(run_until(p.loop, met_again, &p, 2000));
        }
        exchange(&p, 5);
        close_pair(&p);
    }
}

static void set_up_failures_are_dial_failures_and_leak_nothing(void **state)
{
    (void)state;
    unsigned *const counters[] = {&fake.refuse_reg_mr_after, &fake.refuse_post_recv_after};
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        for (unsigned n = 1; n <= 3; n++) {
            struct pair p;
            open_pair(&p, NULL);
            *counters[i] = n;
            meet(&p); /* in spite of it */
            exchange(&p, 20);
            close_pair(&p);
        }
    }
}

static void devices_without_inline_sends_and_with_short_queues_do(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, NULL);
    fake.inline_most = 60;
    fake.max_qp_wr = 100;
    meet(&p);

    exchange(&p, 500);

    assert_int_equal(fake.rnr, 0);
    close_pair(&p);
}

static void busy_polling_delivers_without_wake_ups(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, &(struct transport_options){.busy_poll_us = 50000});
    meet(&p);
    uint64_t before = stats_of(&p.a).wakeups + stats_of(&p.b).wakeups;

    for (int i = 0; i < 200; i++) {
        exchange(&p, 1);
    }

    assert_in_range(stats_of(&p.a).wakeups + stats_of(&p.b).wakeups - before, 0, 100);
    run_for(p.loop, 200); /* falls asleep, and wakes up */
    exchange(&p, 20);
    close_pair(&p);
}

static void a_tcp_member_is_told_that_this_one_uses_rdma(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, NULL);
    struct suite_env tcp = env;
    tcp.kind = TRANSPORT_TCP;
    p.sa.env = &tcp;
    node_open(&p.a, &p.sa);
    p.sb.port = (uint16_t)(transport_port(p.a.t) + 1 != 0 ? 21699 : 0);
    node_open(&p.b, &p.sb);
    node_meet(&p.a, &p.sa, 2, transport_port(p.b.t));

    run_for(p.loop, 100);

    assert_int_equal(p.a.connected + p.b.connected, 0);
    assert_true(stats_of(&p.a).refused_out >= 1);
    close_pair(&p);
}

static void the_device_is_chosen_by_its_address(void **state)
{
    (void)state;
    verbs_fake_reset();
    struct device_choice c;
    struct errmsg why = {""};

    assert_int_equal(device_choose(&verbs_fake, "127.0.0.1", "", &c, &why), OK);
    assert_string_equal(c.device, "fake0");
    assert_int_equal(c.port, 1);
    assert_int_equal(c.gid_index, 1);
    assert_int_equal(c.mtu, 4096);
    assert_int_equal(device_choose(&verbs_fake, "", "", &c, &why), OK);
    assert_int_equal(device_choose(&verbs_fake, "127.0.0.1", "fake0", &c, &why), OK);

    assert_int_equal(device_choose(&verbs_fake, "127.0.0.1", "mlx5_0", &c, &why), ERR_NOTFOUND);
    assert_non_null(strstr(why.text, "mlx5_0"));
    assert_int_equal(device_choose(&verbs_fake, "192.0.2.1", "", &c, &why), ERR_NOTFOUND);
    assert_non_null(strstr(why.text, "192.0.2.1"));
    fake.no_device = true;
    assert_int_equal(device_choose(&verbs_fake, "127.0.0.1", "", &c, &why), ERR_NOTFOUND);
    assert_int_equal(fake.objects, 0);

    struct loop *l = loop_new();
    struct transport_options o = {.kind = TRANSPORT_RDMA,
                                  .loop = l,
                                  .self = {.cluster = "c", .group = "g", .member = 1},
                                  .host = "127.0.0.1",
                                  .events = &(struct transport_events){0},
                                  .calls = &verbs_fake};
    struct transport *t = NULL;
    assert_int_equal(transport_new(&o, &t, &why), ERR_UNSUPPORTED);
    fake.no_device = false;
    o.slab_bytes = 17;
    assert_int_equal(transport_new(&o, &t, &why), ERR_CONFIG);
    loop_free(l);
    assert_int_equal(fake.objects, 0);
}

static void settings_have_names(void **state)
{
    (void)state;
    enum transport_kind kind = TRANSPORT_MEM;
    assert_true(transport_kind_parse(span_str("RDMA"), &kind));
    assert_int_equal(kind, TRANSPORT_RDMA);
    assert_true(transport_kind_parse(span_str("auto"), &kind));
    assert_int_equal(kind, TRANSPORT_AUTO);
    assert_false(transport_kind_parse(span_str("mem"), &kind));
    assert_false(transport_kind_parse(span_str("udp"), &kind));
    assert_string_equal(transport_kind_name(TRANSPORT_TCP), "tcp");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_few_credits_and_partial_polls_no_send_finds_no_receive),
        cmocka_unit_test(a_one_way_stream_gets_its_credits_back),
        cmocka_unit_test(an_ack_gets_through_when_the_data_credits_are_out),
        cmocka_unit_test(completions_are_asked_for_rarely_and_small_slabs_go_inline),
        cmocka_unit_test(a_failed_send_ends_the_connection_and_the_next_one_works),
        cmocka_unit_test(a_refused_post_ends_the_connection_and_the_next_one_works),
        cmocka_unit_test(what_arrived_before_the_end_is_delivered_before_it_is_reported),
        cmocka_unit_test(a_device_that_does_not_flush_is_not_waited_for_for_ever),
        cmocka_unit_test(malformed_slabs_end_the_connection),
        cmocka_unit_test(connection_events_in_mid_life_end_it_or_are_ignored),
        cmocka_unit_test(set_up_failures_are_dial_failures_and_leak_nothing),
        cmocka_unit_test(devices_without_inline_sends_and_with_short_queues_do),
        cmocka_unit_test(busy_polling_delivers_without_wake_ups),
        cmocka_unit_test(a_tcp_member_is_told_that_this_one_uses_rdma),
        cmocka_unit_test(the_device_is_chosen_by_its_address),
        cmocka_unit_test(settings_have_names),
    };
    int failed = cmocka_run_group_tests_name("verbs", tests, NULL, NULL);
    verbs_fake_reset();
    failed += transport_suite_run(&(struct suite_env){.name = "transport over fake verbs",
                                                      .kind = TRANSPORT_RDMA,
                                                      .host = "127.0.0.1",
                                                      .calls = &verbs_fake});
    verbs_fake_reset();
    fake.poll_most = 1;
    failed +=
        transport_suite_run(&(struct suite_env){.name = "transport over fake verbs, small slabs",
                                                .kind = TRANSPORT_RDMA,
                                                .host = "127.0.0.1",
                                                .messages = 3000,
                                                .slab_bytes = 1024,
                                                .calls = &verbs_fake});
    return failed;
}
