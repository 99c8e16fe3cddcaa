#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "common/buf.h"
#include "common/loop.h"

static struct loop *l;
static struct buf trace;

static void expect_trace(const char *wanted)
{
    assert_true(span_eq(buf_span(&trace), span_str(wanted)));
}

struct letter {
    struct loop_task task; /* first */
    char name;
    struct loop_task *adds, *cancels;
};

static void run_letter(struct loop_task *task)
{
    struct letter *x = (struct letter *)(void *)task;
    buf_add(&trace, &x->name, 1);
    if (x->adds != NULL) {
        loop_defer(l, x->adds);
        x->adds = NULL;
    }
    if (x->cancels != NULL) {
        loop_defer_cancel(l, x->cancels);
    }
}

static void stop_now(void *arg)
{
    (void)arg;
    loop_stop(l);
}

static void deferred_tasks_run_once_in_order_and_can_be_cancelled(void **state)
{
    (void)state;
    struct letter c = {.task.fn = run_letter, .name = 'c'};
    struct letter b = {.task.fn = run_letter, .name = 'b'};
    struct letter d = {.task.fn = run_letter, .name = 'd'};
    struct letter a = {.task.fn = run_letter, .name = 'a', .adds = &d.task, .cancels = &c.task};
    loop_defer(l, &a.task);
    loop_defer(l, &b.task);
    loop_defer(l, &c.task);
    loop_defer(l, &b.task);
    loop_post(l, stop_now, NULL);

    loop_run(l);

    expect_trace("abd");
    assert_false(a.task.queued);
    assert_false(c.task.queued);
}

static void a_task_that_adds_itself_does_not_starve_the_loop(void **state)
{
    (void)state;
    struct letter a = {.task.fn = run_letter, .name = 'a'};
    struct letter b = {.task.fn = run_letter, .name = 'b'};
    a.adds = &b.task;
    loop_defer(l, &a.task);
    loop_post(l, stop_now, NULL);

    loop_run(l);

    expect_trace("ab");
}

static void note(void *arg)
{
    buf_add(&trace, arg, 1);
}

static char letter = 'p';

static void *poster(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++) {
        loop_post(l, note, &letter);
    }
    loop_post(l, stop_now, NULL);
    return NULL;
}

static void posts_from_another_thread_all_arrive(void **state)
{
    (void)state;
    pthread_t t;
    pthread_create(&t, NULL, poster, NULL);

    loop_run(l);

    pthread_join(t, NULL);
    assert_int_equal(buf_used(&trace), 1000);
    assert_true(loop_longest_turn_ns(l) > 0);
    assert_int_equal(loop_longest_turn_ns(l), 0);
}

static void on_pipe(int fd, unsigned events, void *arg)
{
    (void)arg;
    char byte = 0;
    if ((events & LOOP_READ) != 0 && read(fd, &byte, 1) == 1) {
        buf_add(&trace, &byte, 1);
    }
    if (byte == 'z') {
        loop_stop(l);
    }
}

static void readiness_is_level_triggered(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct loop_io *io = loop_io_new(l, fds[0], on_pipe, NULL);
    loop_io_set(io, LOOP_READ);
    assert_int_equal(write(fds[1], "xyz", 3), 3);

    loop_run(l);

    expect_trace("xyz");
    loop_io_free(io);
    close(fds[0]);
    close(fds[1]);
}

static struct loop_timer *timers[3];

static void on_timer(void *arg)
{
    buf_add(&trace, arg, 1);
    if (*(const char *)arg == '3') {
        loop_stop(l);
    }
}

static void timers_fire_in_order_and_not_when_stopped(void **state)
{
    (void)state;
    static const char *const names[] = {"2", "x", "3"};
    const uint64_t after[] = {2000, 1000, 30000};
    for (int i = 0; i < 3; i++) {
        timers[i] = loop_timer_new(l, on_timer, (void *)(uintptr_t)names[i]);
        loop_timer_start(timers[i], after[i]);
    }
    loop_timer_stop(timers[1]);

    loop_run(l);

    expect_trace("23");
    for (int i = 0; i < 3; i++) {
        loop_timer_free(timers[i]);
    }
}

static int setup(void **state)
{
    (void)state;
    l = loop_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(l);
    buf_free(&trace);
    return 0;
}

#define with_loop(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_loop(deferred_tasks_run_once_in_order_and_can_be_cancelled),
        with_loop(a_task_that_adds_itself_does_not_starve_the_loop),
        with_loop(posts_from_another_thread_all_arrive),
        with_loop(readiness_is_level_triggered),
        with_loop(timers_fire_in_order_and_not_when_stopped),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
