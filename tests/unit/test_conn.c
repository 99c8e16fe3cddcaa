#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <fcntl.h>

#include "common/conn.h"
#include "common/num.h"

/* An echo server over a socket pair: answers each request with its last argument as a bulk string.
 * "hold" is not taken until resumed, "big N" answers N bytes, "bye" closes after the answer, "drop"
 * at once. */
struct echo {
    struct conn c; /* first */
    size_t batches, batch_max, closes;
    bool hold, pending;
};

static struct loop *l;
static struct echo *e;
static int peer;
static struct conn_limits limits;

static size_t echo_batch(struct conn *c, const struct conn_req *reqs, size_t n)
{
    struct echo *x = (struct echo *)(void *)c;
    x->batches++;
    x->batch_max = n > x->batch_max ? n : x->batch_max;
    for (size_t i = 0; i < n; i++) {
        struct span first = reqs[i].argv[0];
        struct span last = reqs[i].argv[reqs[i].argc - 1];
        if (conn_full(c) || (x->hold && span_is(first, "hold"))) {
            return i;
        }
        if (span_is(first, "big")) {
            uint64_t size = 0;
            assert_true(num_parse_u64(last, &size));
            char *bytes = calloc(1, size);
            resp_bulk(&c->reply, bytes, size);
            free(bytes);
        } else {
            resp_bulk_span(&c->reply, last);
        }
        if (span_is(first, "drop")) {
            conn_close(c);
            return n;
        }
        c->close_after_write = c->close_after_write || span_is(first, "bye");
    }
    return n;
}

static size_t closes;

static void echo_close(struct conn *c)
{
    (void)c;
    closes++;
}

static void echo_release(struct conn *c)
{
    free(c);
    e = NULL;
}

static bool echo_pending(const struct conn *c)
{
    return ((const struct echo *)(const void *)c)->pending;
}

static const struct conn_ops ops = {echo_batch, echo_close, echo_release, echo_pending};

static void stop_now(void *arg)
{
    (void)arg;
    loop_stop(l);
}

/* Runs the loop for about so many turns. */
static void turns(int n)
{
    for (int i = 0; i < n; i++) {
        loop_post(l, stop_now, NULL);
        loop_run(l);
    }
}

static void say(const char *text)
{
    assert_int_equal(write(peer, text, strlen(text)), strlen(text));
    turns(3);
}

static char heard[1 << 16];

/* What the client got so far; "<eof>" at the end of the stream. */
static const char *hear(void)
{
    size_t n = 0;
    for (;;) {
        ssize_t got = read(peer, heard + n, sizeof heard - n - 8);
        if (got == 0) {
            memcpy(heard + n, "<eof>", 6);
            return heard;
        }
        if (got < 0 || n + (size_t)got == sizeof heard - 8) {
            n += got > 0 ? (size_t)got : 0;
            heard[n] = '\0';
            return heard;
        }
        n += (size_t)got;
    }
}

static void a_read_is_one_batch_and_one_write(void **state)
{
    (void)state;
    say("*1\r\n$1\r\na\r\nping\r\n*2\r\n$1\r\nb\r\n$2\r\ncd\r\n");
    assert_string_equal(hear(), "$1\r\na\r\n$4\r\nping\r\n$2\r\ncd\r\n");
    assert_int_equal(e->batches, 1);
    assert_int_equal(e->batch_max, 3);
    assert_int_equal(e->c.requests, 3);
}

static void requests_in_pieces_are_put_together(void **state)
{
    (void)state;
    say("*1\r\n$3\r\na");
    say("b");
    assert_string_equal(hear(), "");
    say("c\r\n*1\r\n$1\r\nx\r\n*1");
    assert_string_equal(hear(), "$3\r\nabc\r\n$1\r\nx\r\n");
    say("\r\n$1\r\ny\r\n");
    assert_string_equal(hear(), "$1\r\ny\r\n");
    assert_int_equal(buf_used(&e->c.in), 0);
}

static void a_batch_has_at_most_64_requests(void **state)
{
    (void)state;
    char text[150 * 3 + 1];
    for (size_t i = 0; i < 150; i++) {
        memcpy(text + i * 3, "a\r\n", 4);
    }
    say(text);
    assert_int_equal(strlen(hear()), 150 * 7);
    assert_int_equal(e->batch_max, CONN_BATCH_MAX);
    assert_int_equal(e->batches, 3);
}

static void a_large_argument_arrives_whole(void **state)
{
    (void)state;
    size_t n = 300000;
    char *bytes = malloc(n);
    memset(bytes, 'v', n);
    say("*2\r\n$3\r\nset\r\n$300000\r\n");
    size_t sent = 0;
    while (sent < n) {
        ssize_t w = write(peer, bytes + sent, n - sent);
        sent += w > 0 ? (size_t)w : 0;
        turns(2);
    }
    limits.out_pause_bytes = 1 << 20;
    say("\r\n");
    size_t got = 0;
    for (int i = 0; i < 20; i++) {
        got += strlen(hear());
        turns(2);
    }
    assert_int_equal(got, n + 9 + 2);
    free(bytes);
}

static void a_protocol_error_is_answered_after_earlier_replies(void **state)
{
    (void)state;
    say("a\r\n*1\r\n$x\r\nmore garbage");
    assert_string_equal(hear(), "$1\r\na\r\n-ERR Protocol error: invalid bulk length\r\n<eof>");
    assert_int_equal(closes, 1);
    assert_null(e);
}

static void close_after_write_ignores_later_requests(void **state)
{
    (void)state;
    say("bye\r\nping\r\n");
    assert_string_equal(hear(), "$3\r\nbye\r\n$4\r\nping\r\n<eof>"); /* both were in the batch */
    assert_int_equal(closes, 1);
}

static void dropping_writes_nothing(void **state)
{
    (void)state;
    say("drop\r\n");
    assert_string_equal(hear(), "<eof>");
    assert_null(e);
}

static void what_was_not_taken_is_offered_again(void **state)
{
    (void)state;
    e->hold = true;
    say("a\r\nhold\r\nb\r\n");
    say("c\r\n");
    assert_string_equal(hear(), "$1\r\na\r\n");
    assert_true(e->c.paused);

    e->hold = false;
    conn_resume(&e->c);
    turns(3);

    assert_string_equal(hear(), "$4\r\nhold\r\n$1\r\nb\r\n$1\r\nc\r\n");
}

static void a_half_closed_client_gets_its_replies(void **state)
{
    (void)state;
    e->pending = true;
    assert_int_equal(write(peer, "a\r\n", 3), 3);
    shutdown(peer, SHUT_WR);
    turns(4);
    assert_string_equal(hear(), "$1\r\na\r\n");
    assert_int_equal(closes, 0);

    e->pending = false;
    resp_ok(&e->c.reply);
    conn_touch(&e->c);
    turns(2);

    assert_string_equal(hear(), "+OK\r\n<eof>");
    assert_int_equal(closes, 1);
}

static void a_client_that_does_not_read_stalls_and_goes_on(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        say("big 100000\r\n");
    }
    assert_true(e->c.stalled);
    assert_true(buf_used(&e->c.out) < 500000);
    size_t got = 0;
    for (int i = 0; i < 2000 && got < 30 * 100011; i++) {
        ssize_t n = read(peer, heard, sizeof heard);
        got += n > 0 ? (size_t)n : 0;
        turns(1);
    }
    assert_int_equal(got, 30 * 100011);
    assert_false(e->c.stalled);
}

static void the_hard_limit_closes(void **state)
{
    (void)state;
    limits.out_hard_bytes = 2000000;
    say("big 5000000\r\n");
    assert_int_equal(closes, 1);
}

static void the_query_buffer_limit_closes(void **state)
{
    (void)state;
    limits.query_bytes_max = 1000;
    say("*1\r\n$100000\r\n");
    char text[1200];
    memset(text, 'x', sizeof text);
    assert_int_equal(write(peer, text, sizeof text), sizeof text);
    turns(3);
    assert_int_equal(closes, 1);
}

static void unauthenticated_clients_have_small_limits(void **state)
{
    (void)state;
    e->c.unauthenticated = true;
    say("*11\r\n");
    assert_string_equal(hear(), "-ERR Protocol error: unauthenticated multibulk length\r\n<eof>");
}

static int setup(void **state)
{
    (void)state;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0) {
        return -1;
    }
    l = loop_new();
    limits = (struct conn_limits){.resp = {.bulk_bytes_max = 512u << 20, .args_max = RESP_ARGS_MAX},
                                  .query_bytes_max = 1u << 30,
                                  .out_pause_bytes = 100000};
    e = calloc(1, sizeof *e);
    closes = 0;
    peer = fds[1];
    return conn_init(&e->c, l, fds[0], &ops, &limits) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    close(peer);
    if (e != NULL) {
        e->pending = false;
        conn_close(&e->c);
        turns(1);
    }
    loop_free(l);
    return e == NULL ? 0 : -1;
}

#define with_conn(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_conn(a_read_is_one_batch_and_one_write),
        with_conn(requests_in_pieces_are_put_together),
        with_conn(a_batch_has_at_most_64_requests),
        with_conn(a_large_argument_arrives_whole),
        with_conn(a_protocol_error_is_answered_after_earlier_replies),
        with_conn(close_after_write_ignores_later_requests),
        with_conn(dropping_writes_nothing),
        with_conn(what_was_not_taken_is_offered_again),
        with_conn(a_half_closed_client_gets_its_replies),
        with_conn(a_client_that_does_not_read_stalls_and_goes_on),
        with_conn(the_hard_limit_closes),
        with_conn(the_query_buffer_limit_closes),
        with_conn(unauthenticated_clients_have_small_limits),
    };
    return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
