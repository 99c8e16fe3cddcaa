/* The membership service's connections: whole frames in order, bounded, and what makes no sense
 * ends them; greetings that fit and that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/member/builtin.h"
#include "backends/member/frames.h"
#include "backends/member/uplink.h"
#include "coherence/member_msg.h"
#include "common/buf.h"
#include "common/mem.h"

struct fixture {
    struct loop *loop;
    struct loop_timer *guard;
    struct frames *frames;
    int other;       /* the other end, a bare socket */
    struct buf seen; /* kind and payload of each frame */
    unsigned count, stop_at;
    bool refuse; /* frames make no sense */
    const char *closed;
};

static bool on_frame(void *arg, uint8_t kind, struct span payload)
{
    struct fixture *f = arg;
    buf_add(&f->seen, &kind, 1);
    buf_add(&f->seen, payload.p, payload.len);
    if (++f->count == f->stop_at) {
        loop_stop(f->loop);
    }
    return !f->refuse;
}

static void on_closed(void *arg, const char *reason)
{
    struct fixture *f = arg;
    f->closed = reason;
    f->frames = NULL;
    loop_stop(f->loop);
}

static const struct frames_ops ops = {.frame = on_frame, .closed = on_closed};

static void on_guard(void *arg)
{
    (void)arg;
    fail_msg("%s", "nothing happened in time");
}

static int setup(void **state)
{
    static struct fixture f;
    int pair[2];
    f = (struct fixture){.loop = loop_new()};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    f.other = pair[1];
    f.guard = loop_timer_new(f.loop, on_guard, &f);
    loop_timer_start(f.guard, 5000000);
    f.frames = frames_new(f.loop, pair[0], &ops, &f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    frames_free(f->frames);
    loop_timer_free(f->guard);
    loop_free(f->loop);
    buf_free(&f->seen);
    (void)close(f->other);
    return 0;
}

static void put(const struct fixture *f, const char *bytes, size_t n)
{
    assert_int_equal(write(f->other, bytes, n), n);
}

static void frames_come_whole_and_in_order(void **state)
{
    struct fixture *f = *state;
    f->stop_at = 3;
    put(f, "\x03\0\0\0\x07xy\x01\0\0\0\x08\x02\0", 14); /* two and a half */
    f->stop_at = 2;
    loop_run(f->loop);
    assert_int_equal(f->count, 2);
    put(f, "\0\0\x09z", 4);
    f->stop_at = 3;
    loop_run(f->loop);
    assert_int_equal(buf_used(&f->seen), 6);
    assert_memory_equal(buf_head(&f->seen), "\x07xy\x08\x09z", 6);
}

static void a_length_that_cannot_be_ends_it(void **state)
{
    struct fixture *f = *state;
    put(f, "\xff\xff\xff\x7f\x01", 5);
    loop_run(f->loop);
    assert_string_equal(f->closed, "a frame of no possible length");
    assert_int_equal(f->count, 0);
}

static void no_length_at_all_ends_it(void **state)
{
    struct fixture *f = *state;
    put(f, "\0\0\0\0\x01", 5);
    loop_run(f->loop);
    assert_non_null(f->closed);
}

static void what_makes_no_sense_ends_it(void **state)
{
    struct fixture *f = *state;
    f->refuse = true;
    put(f, "\x01\0\0\0\x07\x01\0\0\0\x08", 10);
    loop_run(f->loop);
    assert_string_equal(f->closed, "a message that makes no sense");
    assert_int_equal(f->count, 1);
}

static void what_is_queued_is_bounded(void **state)
{
    struct fixture *f = *state;
    char *big = mem_zalloc(FRAMES_PAYLOAD_MAX);
    unsigned taken = 0;
    enum err e = OK;
    for (unsigned i = 0; i < 1000 && e == OK; i++) { /* nobody reads */
        e = frames_send(f->frames, 1, span_of(big, FRAMES_PAYLOAD_MAX));
        taken += e == OK;
    }
    assert_int_equal(e, ERR_BUSY);
    assert_in_range(taken, FRAMES_QUEUE_MAX / FRAMES_PAYLOAD_MAX,
                    FRAMES_QUEUE_MAX / FRAMES_PAYLOAD_MAX + 2);
    mem_free(big);
}

static void finishing_writes_what_is_queued(void **state)
{
    struct fixture *f = *state;
    char got[32];
    assert_int_equal(frames_send(f->frames, 5, SPAN_LIT("bye")), OK);
    frames_finish(f->frames);
    assert_int_equal(frames_send(f->frames, 5, SPAN_LIT("more")), ERR_CLOSED);
    loop_run(f->loop);
    assert_non_null(f->closed);
    assert_int_equal(read(f->other, got, sizeof got), 8);
    assert_memory_equal(got,
                        "\x04\0\0\0\x05"
                        "bye",
                        8);
    assert_int_equal(read(f->other, got, sizeof got), 0);
}

/* ---- greetings and status ---- */

static struct greeting greeting(void)
{
    struct greeting g = {.cluster_name = "mine",
                         .cluster = 11,
                         .genesis = 22,
                         .lease_ms = 400,
                         .acceptor = MEMBER_NO_ACCEPTOR};
    return g;
}

static void a_greeting_comes_apart_as_it_was_made(void **state)
{
    (void)state;
    struct greeting g = greeting();
    struct greeting got;
    uint8_t bytes[GREETING_MAX];
    size_t n = greeting_encode(&g, bytes);
    assert_int_equal(greeting_decode(span_of((const char *)bytes, n), &got), OK);
    assert_string_equal(got.cluster_name, "mine");
    assert_int_equal(got.lease_ms, 400);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(greeting_decode(span_of((const char *)bytes, i), &got), ERR_PROTO);
    }
    bytes[n - 1] = '\n'; /* a name that would make a mess of the log */
    assert_int_equal(greeting_decode(span_of((const char *)bytes, n), &got), ERR_PROTO);
}

static void greetings_that_do_not_fit_say_why(void **state)
{
    (void)state;
    struct greeting mine = greeting();
    struct greeting theirs = greeting();
    struct errmsg why;
    mine.acceptor = 0;
    theirs.genesis = 0; /* a holder knows of no shards */
    assert_int_equal(greeting_check(&mine, &theirs, &why), OK);
    theirs.acceptor = 1;
    assert_int_equal(greeting_check(&mine, &theirs, &why), ERR_CONFIG);
    assert_non_null(strstr(why.text, "`shard` lines"));
    theirs = greeting();
    theirs.lease_ms = 500;
    assert_int_equal(greeting_check(&mine, &theirs, &why), ERR_CONFIG);
    assert_non_null(
        strstr(why.text, "membership-lease is 400 at this acceptor, 500 at the caller"));
    theirs = greeting();
    theirs.cluster = 12;
    assert_int_equal(greeting_check(&mine, &theirs, &why), ERR_CONFIG);
    assert_non_null(strstr(why.text, "another `acceptors` line"));
    theirs = greeting();
    theirs.cluster_name[0] = 'M';
    assert_int_equal(greeting_check(&mine, &theirs, &why), ERR_CONFIG);
    assert_non_null(strstr(why.text, "of cluster 'mine', the caller of 'Mine'"));
}

static void a_status_comes_apart_as_it_was_made(void **state)
{
    (void)state;
    struct acceptor_status s = {.version = 9, .votes = true, .count = 2};
    s.node[0].id = 4;
    s.node[0].silent_ms = 17;
    s.node[1].id = 5;
    s.node[1].silent_ms = UINT32_MAX;
    struct acceptor_status got;
    uint8_t bytes[STATUS_MAX];
    size_t n = status_encode(&s, bytes);
    assert_int_equal(status_decode(span_of((const char *)bytes, n), &got), OK);
    assert_int_equal(got.count, 2);
    assert_int_equal(got.node[1].id, 5);
    assert_true(got.votes);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(status_decode(span_of((const char *)bytes, i), &got), ERR_PROTO);
    }
    bytes[9] = bytes[10] = 0xff; /* a count beyond all bounds */
    assert_int_equal(status_decode(span_of((const char *)bytes, n), &got), ERR_PROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_come_whole_and_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_length_that_cannot_be_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(no_length_at_all_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_makes_no_sense_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_queued_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(finishing_writes_what_is_queued, setup, teardown),
        cmocka_unit_test(a_greeting_comes_apart_as_it_was_made),
        cmocka_unit_test(greetings_that_do_not_fit_say_why),
        cmocka_unit_test(a_status_comes_apart_as_it_was_made),
    };
    return cmocka_run_group_tests_name("member_frames", tests, NULL, NULL);
}
