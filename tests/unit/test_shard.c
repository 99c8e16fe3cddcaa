/* Links to node workers: order, one write per turn, and what becomes of requests when a node goes
 * away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backends/shard/shard.h"
#include "common/clock.h"
#include "common/mem.h"
#include "tests/lib/fakenode.h"

#define REQUESTS_MAX 20000

struct fixture {
    struct loop *loop;
    struct fakenode *node;
    struct shard_pool *pool;
    struct shard_options o;
    struct loop_timer *guard, *poll;
    struct shard_req req[REQUESTS_MAX];
    uint32_t order[REQUESTS_MAX]; /* indexes in the order they ended */
    uint8_t result[REQUESTS_MAX];
    struct buf text[64]; /* of the first requests */
    uint32_t ended;
    /* until when the loop runs */
    uint32_t want_ended;
    bool (*until)(struct fixture *f);
    /* what the node does */
    uint64_t close_at, hold_from;
    struct loop_timer *feeder;
    uint32_t sent;
    const char *raw;
    uint64_t raw_until; /* only the requests before this one get it */
    unsigned resend_to; /* endpoint + 1 to which refused requests go; 0: none */
    uint32_t woken;
    struct shard_waiter waiter;
};

static struct fixture *the;

static void check_end(void)
{
    if ((the->until != NULL && the->until(the)) ||
        (the->until == NULL && the->ended >= the->want_ended)) {
        loop_stop(the->loop);
    }
}

static void on_done(struct shard_req *r, enum shard_result result, struct span bytes,
                    struct span request)
{
    size_t i = (size_t)(r - the->req);
    assert_true(i < REQUESTS_MAX);
    assert_true(request.len > 4 && request.p[0] == '*');
    if (result == SHARD_CONTROL && the->resend_to != 0) {
        shard_send_again(shard_link(the->pool, the->resend_to - 1, 2), r, request);
        return;
    }
    the->order[the->ended++] = (uint32_t)i;
    the->result[i] = (uint8_t)result;
    if (i < 64) {
        buf_add(&the->text[i], bytes.p, bytes.len);
        buf_add(&the->text[i], "", 1);
    }
    check_end();
}

static void on_guard(void *arg)
{
    (void)arg;
    fail_msg("%s", "the loop did not come to an end in time");
}

static void on_poll(void *arg)
{
    struct fixture *f = arg;
    check_end();
    loop_timer_start(f->poll, 2000);
}

static enum fake_answer scripted(void *arg, uint64_t index, const struct span *argv, uint32_t argc,
                                 struct buf *reply)
{
    struct fixture *f = arg;
    if (f->raw != NULL && index < f->raw_until) {
        buf_add_str(reply, f->raw);
        return FAKE_RAW;
    }
    if (index >= f->close_at) {
        return FAKE_CLOSE;
    }
    if (index >= f->hold_from) {
        return FAKE_HOLD;
    }
    buf_add_str(reply, "+");
    buf_add(reply, argv[argc - 1].p, argv[argc - 1].len);
    buf_add_str(reply, "\r\n");
    return FAKE_REPLY;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    the = f;
    f->loop = loop_new();
    f->close_at = f->hold_from = f->raw_until = UINT64_MAX;
    f->node = fakenode_new(f->loop, scripted, f);
    f->o = (struct shard_options){.timeout_ms = 5000,
                                  .connect_timeout_ms = 1000,
                                  .retry_max_ms = 40,
                                  .link_bytes_max = 1u << 20};
    f->pool = shard_pool_new(f->loop, &f->o, on_done);
    shard_endpoint_add(f->pool, "127.0.0.1", "127.0.0.1", fakenode_port(f->node));
    f->guard = loop_timer_new(f->loop, on_guard, f);
    f->poll = loop_timer_new(f->loop, on_poll, f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    shard_pool_free(f->pool);
    fakenode_free(f->node);
    loop_timer_free(f->guard);
    loop_timer_free(f->poll);
    loop_free(f->loop);
    for (int i = 0; i < 64; i++) {
        buf_free(&f->text[i]);
    }
    free(f);
    return 0;
}

static void run_until(struct fixture *f, bool (*until)(struct fixture *f))
{
    f->until = until;
    loop_timer_start(f->guard, 5000000);
    loop_timer_start(f->poll, 1000);
    loop_run(f->loop);
    loop_timer_stop(f->guard);
    loop_timer_stop(f->poll);
}

static void run(struct fixture *f, uint32_t ended)
{
    f->want_ended = ended;
    if (f->ended < ended) {
        run_until(f, NULL);
    }
    assert_int_equal(f->ended, ended);
}

static void send_one(struct fixture *f, uint32_t i, unsigned flags)
{
    struct shard_link *l = shard_link(f->pool, 0, 2);
    char arg[32];
    int n = snprintf(arg, sizeof arg, "%u", i);
    shard_now(f->pool, clk_mono_ns());
    buf_addf(shard_begin(l), "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", n, arg);
    shard_commit(l, &f->req[i], flags);
}

static const char *text(const struct fixture *f, unsigned i)
{
    return f->text[i].p;
}

static void replies_come_in_order(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
        send_one(f, i, i % 2 != 0 ? SHARD_WRITE : 0);
    }

    run(f, REQUESTS_MAX);

    for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
        assert_int_equal(f->order[i], i);
        assert_int_equal(f->result[i], SHARD_REPLY);
    }
    assert_string_equal(text(f, 7), "+7\r\n");
    struct shard_stats s;
    shard_endpoint_stats(f->pool, 0, &s);
    assert_int_equal(s.requests, REQUESTS_MAX);
    assert_int_equal(s.replies, REQUESTS_MAX);
    assert_int_equal(s.open, 0);
    assert_int_equal(s.log_bytes, 0);
}

static void requests_of_a_turn_leave_in_one_write(void **state)
{
    struct fixture *f = *state;
    send_one(f, 0, 0);
    run(f, 1);
    struct shard_stats before;
    shard_endpoint_stats(f->pool, 0, &before);

    for (uint32_t i = 1; i < 200; i++) {
        send_one(f, i, 0);
    }
    run(f, 200);

    struct shard_stats after;
    shard_endpoint_stats(f->pool, 0, &after);
    assert_int_equal(after.writes - before.writes, 1);
}

static bool node_has_six(struct fixture *f)
{
    return fakenode_requests(f->node) == 6;
}

static void sent_writes_are_unknown_and_reads_are_sent_again(void **state)
{
    struct fixture *f = *state;
    f->hold_from = 0;
    for (uint32_t i = 0; i < 6; i++) {
        send_one(f, i, i % 2 != 0 ? SHARD_WRITE : 0);
    }
    run_until(f, node_has_six);

    /* the connection breaks, the node lives on */
    f->hold_from = UINT64_MAX;
    fakenode_stop(f->node);
    fakenode_start(f->node);
    run(f, 6);

    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(f->result[i], i % 2 != 0 ? SHARD_UNKNOWN : SHARD_REPLY);
    }
    assert_string_equal(text(f, 4), "+4\r\n");
    assert_int_equal(fakenode_requests(f->node), 6 + 3); /* only the reads came again */
}

static void a_read_that_kills_the_node_is_sent_twice_at_most(void **state)
{
    struct fixture *f = *state;
    f->close_at = 0;
    send_one(f, 0, 0);

    run(f, 1);

    assert_int_equal(f->result[0], SHARD_FAILED);
    assert_int_equal(fakenode_requests(f->node), 2);
}

static void nothing_is_unknown_when_the_node_was_never_there(void **state)
{
    struct fixture *f = *state;
    fakenode_stop(f->node);
    for (uint32_t i = 0; i < 4; i++) {
        send_one(f, i, SHARD_WRITE);
    }

    run(f, 4);

    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(f->result[i], SHARD_FAILED);
    }
    assert_non_null(shard_down(shard_link(f->pool, 0, 2)));
}

static bool link_is_up(struct fixture *f)
{
    return shard_down(shard_link(f->pool, 0, 2)) == NULL && fakenode_connections(f->node) == 1;
}

static void a_link_comes_back_by_itself(void **state)
{
    struct fixture *f = *state;
    fakenode_stop(f->node);
    send_one(f, 0, 0);
    run(f, 1);

    fakenode_start(f->node);
    run_until(f, link_is_up);
    f->until = NULL;
    send_one(f, 1, SHARD_WRITE);
    run(f, 2);

    assert_int_equal(f->result[1], SHARD_REPLY);
}

static void a_node_that_stands_still_is_given_up(void **state)
{
    struct fixture *f = *state;
    f->o.timeout_ms = 60;
    shard_pool_options(f->pool, &f->o);
    f->hold_from = 0;
    send_one(f, 0, 0);
    send_one(f, 1, SHARD_WRITE);

    run(f, 2);

    assert_int_equal(f->result[0], SHARD_FAILED);
    assert_int_equal(f->result[1], SHARD_UNKNOWN);
    assert_string_equal(text(f, 0), "the node did not answer in time");
}

static void control_words_are_told_apart(void **state)
{
    struct fixture *f = *state;
    f->raw = "-MOVED 7 127.0.0.1:1\r\n";
    send_one(f, 0, SHARD_WRITE);

    run(f, 1);

    assert_int_equal(f->result[0], SHARD_CONTROL);
    assert_string_equal(text(f, 0), "MOVED 7 127.0.0.1:1");
}

static void refused_requests_go_to_another_node_in_order(void **state)
{
    struct fixture *f = *state;
    struct fakenode *other = fakenode_new(f->loop, NULL, NULL);
    f->raw = "-MOVED 7 127.0.0.1:1\r\n";
    f->resend_to = 1 + shard_endpoint_add(f->pool, "127.0.0.1", "127.0.0.1", fakenode_port(other));
    for (uint32_t i = 0; i < 100; i++) {
        send_one(f, i, SHARD_WRITE);
    }

    run(f, 100);

    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(f->order[i], i);
        assert_int_equal(f->result[i], SHARD_REPLY);
    }
    assert_string_equal(text(f, 42), "+GET 42\r\n");
    fakenode_free(other);
}

static void a_request_may_be_sent_again_on_its_own_link(void **state)
{
    struct fixture *f = *state;
    f->raw = "-TRYAGAIN\r\n";
    f->raw_until = 50; /* each is refused once */
    f->resend_to = 1;
    for (uint32_t i = 0; i < 50; i++) {
        send_one(f, i, SHARD_WRITE);
    }

    run(f, 50);

    for (uint32_t i = 0; i < 50; i++) {
        char want[16];
        snprintf(want, sizeof want, "+%u\r\n", i);
        assert_string_equal(text(f, i), want);
    }
    assert_int_equal(fakenode_requests(f->node), 100);
}

static void a_reply_of_another_shape_breaks_the_link(void **state)
{
    static const char *const shapes[] = {"*1\r\n$1\r\nx\r\n", ":1\r\n", "$-1\r\n", "hello\r\n",
                                         "+OK\r\n"};
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 5; i++) {
        f->raw = shapes[i];
        send_one(f, i, SHARD_WRITE);
        run(f, i + 1);
        assert_int_equal(f->result[i], SHARD_UNKNOWN);
    }
}

static enum fake_answer big(void *arg, uint64_t index, const struct span *argv, uint32_t argc,
                            struct buf *reply)
{
    (void)arg, (void)argv, (void)argc;
    size_t len = index % 2 == 0 ? (3u << 20) + 17u : 5;
    buf_addf(reply, "$%zu\r\n", len);
    memset(buf_reserve(reply, len), 'x', len);
    buf_commit(reply, len);
    buf_add_str(reply, "\r\n");
    return FAKE_REPLY;
}

static void long_values_pass_whole(void **state)
{
    struct fixture *f = *state;
    struct fakenode *node = fakenode_new(f->loop, big, f);
    shard_endpoint_move(f->pool, 0, "127.0.0.1", fakenode_port(node));
    for (uint32_t i = 0; i < 6; i++) {
        send_one(f, i, 0);
    }

    run(f, 6);

    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(f->result[i], SHARD_REPLY);
        size_t want = i % 2 == 0 ? strlen("$3145745\r\n") + 3145745 + 2 : strlen("$5\r\nxxxxx\r\n");
        assert_int_equal(buf_used(&f->text[i]), want + 1);
    }
    fakenode_free(node);
}

static void a_movable_request_ends_when_its_link_breaks(void **state)
{
    struct fixture *f = *state;
    f->hold_from = 0;
    for (uint32_t i = 0; i < 6; i++) {
        send_one(f, i, SHARD_MOVABLE | (i % 2 != 0 ? SHARD_WRITE : 0));
    }
    run_until(f, node_has_six);

    send_one(f, 6, SHARD_MOVABLE | SHARD_WRITE); /* does not leave any more */
    fakenode_stop(f->node);
    fakenode_start(f->node);
    run(f, 7);

    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(f->order[i], i);
        assert_int_equal(f->result[i], i % 2 != 0 ? SHARD_UNKNOWN : SHARD_FAILED);
        assert_int_equal(f->req[i].flags & SHARD_STALLED, 0);
    }
    assert_int_equal(f->order[6], 6);
    assert_int_equal(fakenode_requests(f->node), 6);
}

static bool reads_are_connected_again(struct fixture *f)
{
    return fakenode_accepted(f->node) == 3 && fakenode_connections(f->node) == 2;
}

static void a_link_of_reads_is_given_up_early(void **state)
{
    struct fixture *f = *state;
    f->o.stall_ms = 60;
    shard_pool_options(f->pool, &f->o);
    f->hold_from = 0;
    struct shard_link *reads = shard_link_on(f->pool, 0, 2, SHARD_READS);
    assert_ptr_not_equal(reads, shard_link(f->pool, 0, 2));
    for (uint32_t i = 0; i < 2; i++) {
        shard_now(f->pool, clk_mono_ns());
        buf_add_str(shard_begin(reads), "*2\r\n$3\r\nGET\r\n$1\r\nr\r\n");
        shard_commit(reads, &f->req[i], SHARD_MOVABLE);
    }
    send_one(f, 2, SHARD_WRITE | SHARD_MOVABLE);

    run(f, 2);

    assert_int_equal(f->result[0], SHARD_FAILED);
    assert_int_equal(f->result[1], SHARD_FAILED);
    assert_int_equal(f->req[0].flags & SHARD_STALLED, SHARD_STALLED);
    assert_int_equal(f->req[1].flags & SHARD_STALLED, 0);

    /* the write is still waited for, but no other should be sent there if there is a choice */
    shard_now(f->pool, clk_mono_ns());
    assert_int_equal(shard_health(shard_link(f->pool, 0, 2)), SHARD_SLOW);
    run_until(f, reads_are_connected_again);
    f->until = NULL;
    fakenode_release(f->node, SPAN_LIT("+late\r\n"));
    run(f, 3);
    assert_int_equal(f->result[2], SHARD_REPLY);
    assert_int_equal(shard_health(shard_link(f->pool, 0, 2)), SHARD_GOOD);
}

static void keep_sending(void *arg)
{
    struct fixture *f = arg;
    if (f->ended == 0) {
        send_one(f, f->sent++, 0);
        loop_timer_start(f->feeder, 10000);
    }
}

static void requests_that_leave_do_not_hide_that_nothing_comes(void **state)
{
    struct fixture *f = *state;
    f->o.timeout_ms = 100;
    shard_pool_options(f->pool, &f->o);
    f->hold_from = 0;
    f->feeder = loop_timer_new(f->loop, keep_sending, f);
    keep_sending(f);

    f->want_ended = 1;
    run_until(f, NULL);

    assert_int_equal(f->result[0], SHARD_FAILED);
    assert_true(f->sent < 60);
    loop_timer_free(f->feeder);
}

static void health_tells_what_can_be_hoped_for(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(shard_health(shard_link(f->pool, 0, 2)), SHARD_COMING);
    send_one(f, 0, 0);
    run(f, 1);
    assert_int_equal(shard_health(shard_link(f->pool, 0, 2)), SHARD_GOOD);

    fakenode_stop(f->node);
    send_one(f, 1, 0);
    run(f, 2);
    assert_int_equal(shard_health(shard_link(f->pool, 0, 2)), SHARD_AWAY);
}

static void on_woken(struct shard_waiter *w)
{
    assert_ptr_equal(w, &the->waiter);
    the->woken++;
}

static void a_full_link_wakes_who_waits(void **state)
{
    struct fixture *f = *state;
    f->o.link_bytes_max = 300;
    shard_pool_options(f->pool, &f->o);
    uint32_t n = 0;
    while (!shard_full(shard_link(f->pool, 0, 2))) {
        send_one(f, n++, 0);
    }
    f->waiter.fn = on_woken;
    shard_wait(shard_link(f->pool, 0, 2), &f->waiter);

    run(f, n);
    assert_true(n >= 10);
    send_one(f, n, 0);
    run(f, n + 1);

    assert_int_equal(f->woken, 1);
    assert_null(f->waiter.link);
}

static void resp3_has_a_link_of_its_own(void **state)
{
    struct fixture *f = *state;
    send_one(f, 0, 0);
    run(f, 1);
    struct shard_link *l = shard_link(f->pool, 0, 3);
    buf_add_str(shard_begin(l), "*1\r\n$4\r\nPING\r\n");
    shard_commit(l, &f->req[1], 0);
    run(f, 2);

    assert_int_equal(fakenode_connections(f->node), 2);
    assert_string_equal(text(f, 1), "+PING\r\n");
}

static bool answered_once(struct fixture *f)
{
    return f->ended >= 1;
}

static void on_closed_room(struct shard_waiter *w)
{
    (void)w;
    the->woken++;
}

static void a_closed_endpoint_ends_what_is_open(void **state)
{
    struct fixture *f = *state;
    f->hold_from = 1;
    send_one(f, 0, 0);
    run_until(f, answered_once);
    send_one(f, 1, SHARD_WRITE | SHARD_MOVABLE);
    send_one(f, 2, SHARD_MOVABLE);
    f->want_ended = 100; /* nobody stops the loop but the timer */
    f->until = NULL;
    loop_timer_start(f->feeder = loop_timer_new(f->loop, (loop_timer_fn)loop_stop, f->loop), 50000);
    loop_run(f->loop); /* both have left now */
    loop_timer_free(f->feeder);
    send_one(f, 3, SHARD_WRITE | SHARD_MOVABLE); /* this one has not */
    f->waiter.fn = on_closed_room;
    shard_wait(shard_link(f->pool, 0, 2), &f->waiter);

    shard_endpoint_close(f->pool, 0);

    assert_int_equal(f->ended, 4);
    assert_int_equal(f->result[1], SHARD_UNKNOWN);
    assert_int_equal(f->result[2], SHARD_FAILED);
    assert_int_equal(f->result[3], SHARD_FAILED);
    assert_int_equal(f->woken, 1);
    assert_false(shard_endpoint_is_open(f->pool, 0));

    f->hold_from = UINT64_MAX;
    assert_int_equal(shard_endpoint_find(f->pool, "127.0.0.1", fakenode_port(f->node)), 0);
    shard_endpoint_open(f->pool, 0);
    send_one(f, 4, SHARD_WRITE);
    run(f, 5);
    assert_int_equal(f->result[4], SHARD_REPLY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_closed_endpoint_ends_what_is_open, setup, teardown),
        cmocka_unit_test_setup_teardown(replies_come_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_of_a_turn_leave_in_one_write, setup, teardown),
        cmocka_unit_test_setup_teardown(sent_writes_are_unknown_and_reads_are_sent_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_read_that_kills_the_node_is_sent_twice_at_most, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nothing_is_unknown_when_the_node_was_never_there, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_link_comes_back_by_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_stands_still_is_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(control_words_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_requests_go_to_another_node_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_request_may_be_sent_again_on_its_own_link, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_reply_of_another_shape_breaks_the_link, setup, teardown),
        cmocka_unit_test_setup_teardown(a_movable_request_ends_when_its_link_breaks, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_link_of_reads_is_given_up_early, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_that_leave_do_not_hide_that_nothing_comes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(health_tells_what_can_be_hoped_for, setup, teardown),
        cmocka_unit_test_setup_teardown(long_values_pass_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_link_wakes_who_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(resp3_has_a_link_of_its_own, setup, teardown),
    };
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
