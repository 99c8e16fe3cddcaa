/* Event loop over libevent. A turn is: wait, run the callbacks of everything that became ready,
 * then the deferred tasks.
 *
 * libevent runs one round of callbacks per call (EVLOOP_ONCE); what a turn must do at its end runs
 * between two calls. Its cached time is switched off: timers count from the moment they are
 * started, however long the turn already took. */
#include "common/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"

#define IO_MAGIC 0x10f0aa01u
#define TIMER_MAGIC 0x10f0aa02u
#define DEFER_ROUNDS_MAX 16
#define SIGNALS_MAX 8

struct post {
    void (*fn)(void *arg);
    void *arg;
};

struct loop_signal_watch {
    struct loop *loop;
    struct event ev;
    void (*fn)(int signo, void *arg);
    void *arg;
};

struct loop {
    struct event_base *base;
    struct loop_task *defer_head, **defer_tail;
    struct loop_task marker;
    uint64_t turn_start_ns, longest_turn_ns, peak_turn_ns; /* 0: no callback has run in this turn */
    atomic_bool stop;
    /* posts from other threads */
    pthread_mutex_t lock; /* guards the three below */
    struct post *posts;
    size_t post_count, post_cap;
    struct post *running; /* the array being run; swapped with posts */
    size_t running_cap;
    int wake_fd;
    struct event wake_ev;
    struct loop_signal_watch signals[SIGNALS_MAX];
    unsigned signal_count;
    void *local;
    void (*local_free)(void *);
};

struct loop_io {
    uint32_t magic;
    unsigned events;
    struct loop *loop;
    loop_io_fn fn;
    void *arg;
    struct event read_ev, write_ev;
};

struct loop_timer {
    uint32_t magic;
    struct loop *loop;
    loop_timer_fn fn;
    void *arg;
    struct event ev;
};

static inline void turn_begins(struct loop *l)
{
    if (l->turn_start_ns == 0) {
        l->turn_start_ns = clk_mono_ns();
    }
}

/* ---- posts ---- */

static void wake(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one,
                      sizeof one); /* fails only when the counter is full: then it is readable */
    (void)n;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct loop *l = arg;
    turn_begins(l);
    uint64_t count = 0;
    ssize_t got = read(fd, &count, sizeof count);
    (void)got;
    pthread_mutex_lock(&l->lock);
    struct post *batch = l->posts;
    size_t n = l->post_count;
    size_t cap = l->post_cap;
    l->posts = l->running;
    l->post_cap = l->running_cap;
    l->post_count = 0;
    pthread_mutex_unlock(&l->lock);
    l->running = batch;
    l->running_cap = cap;
    for (size_t i = 0; i < n; i++) {
        batch[i].fn(batch[i].arg);
    }
}

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&l->lock);
    if (l->post_count == l->post_cap) {
        l->post_cap = l->post_cap == 0 ? 16 : l->post_cap * 2;
        l->posts = mem_realloc(l->posts, l->post_cap * sizeof *l->posts);
    }
    bool was_empty = l->post_count == 0;
    l->posts[l->post_count++] = (struct post){fn, arg};
    pthread_mutex_unlock(&l->lock);
    if (was_empty) {
        wake(l);
    }
}

/* ---- the loop ---- */

struct loop *loop_new(void)
{
    struct loop *l = mem_zalloc(sizeof *l);
    l->defer_tail = &l->defer_head;
    pthread_mutex_init(&l->lock, NULL);
    struct event_config *cfg = event_config_new();
    must(cfg != NULL);
    event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(cfg, EVENT_BASE_FLAG_NO_CACHE_TIME);
    l->base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    must(l->base != NULL);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    must(l->wake_fd >= 0);
    event_assign(&l->wake_ev, l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
    event_add(&l->wake_ev, NULL);
    return l;
}

void loop_free(struct loop *l)
{
    if (l == NULL) {
        return;
    }
    if (l->local_free != NULL) {
        l->local_free(l->local);
    }
    for (unsigned i = 0; i < l->signal_count; i++) {
        event_del(&l->signals[i].ev);
    }
    event_del(&l->wake_ev);
    close(l->wake_fd);
    event_base_free(l->base);
    pthread_mutex_destroy(&l->lock);
    mem_free(l->posts);
    mem_free(l->running);
    mem_free(l);
}

/* Tasks that tasks add run in the same turn, up to a bound: then the loop looks at its sockets
 * first. A marker in the queue ends each round, so tasks may be added and cancelled meanwhile. */
static void run_deferred(struct loop *l)
{
    for (int round = 0; round < DEFER_ROUNDS_MAX && l->defer_head != NULL; round++) {
        loop_defer(l, &l->marker);
        for (;;) {
            struct loop_task *task = l->defer_head;
            loop_defer_cancel(l, task); /* the head: one step */
            if (task == &l->marker) {
                break;
            }
            task->fn(task);
        }
    }
}

void loop_run(struct loop *l)
{
    while (!atomic_load_explicit(&l->stop, memory_order_acquire)) {
        int flags = l->defer_head != NULL ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE;
        event_base_loop(l->base, flags);
        run_deferred(l);
        if (l->turn_start_ns != 0) {
            uint64_t ns = clk_mono_ns() - l->turn_start_ns;
            l->longest_turn_ns = ns > l->longest_turn_ns ? ns : l->longest_turn_ns;
            l->peak_turn_ns = ns > l->peak_turn_ns ? ns : l->peak_turn_ns;
            l->turn_start_ns = 0;
        }
    }
    atomic_store_explicit(&l->stop, false,
                          memory_order_relaxed); /* it may be run again, to drain */
}

void loop_stop(struct loop *l)
{
    atomic_store_explicit(&l->stop, true, memory_order_release); /* partner: loop_run */
    wake(l);
}

struct event_base *loop_event_base(struct loop *l)
{
    return l->base;
}

uint64_t loop_longest_turn_ns(struct loop *l)
{
    uint64_t ns = l->longest_turn_ns;
    l->longest_turn_ns = 0;
    return ns;
}

uint64_t loop_peak_turn_ns(const struct loop *l)
{
    return l->peak_turn_ns;
}

void loop_reset_peak(struct loop *l)
{
    l->peak_turn_ns = 0;
}

void **loop_local(struct loop *l, void (*destroy)(void *))
{
    l->local_free = destroy;
    return &l->local;
}

/* ---- readiness ---- */

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct loop_io *io = arg;
    obj_check(io, IO_MAGIC);
    turn_begins(io->loop);
    io->fn(fd, (what & EV_READ) != 0 ? LOOP_READ : LOOP_WRITE, io->arg);
}

struct loop_io *loop_io_new(struct loop *l, int fd, loop_io_fn fn, void *arg)
{
    struct loop_io *io = mem_zalloc(sizeof *io);
    io->magic = IO_MAGIC;
    io->loop = l;
    io->fn = fn;
    io->arg = arg;
    event_assign(&io->read_ev, l->base, fd, EV_READ | EV_PERSIST, on_ready, io);
    event_assign(&io->write_ev, l->base, fd, EV_WRITE | EV_PERSIST, on_ready, io);
    return io;
}

static void set_one(struct event *ev, bool was, bool wanted)
{
    if (wanted && !was) {
        must(event_add(ev, NULL) == 0);
    } else if (was && !wanted) {
        event_del(ev);
    }
}

void loop_io_set(struct loop_io *io, unsigned events)
{
    obj_check(io, IO_MAGIC);
    if (events == io->events) {
        return;
    }
    set_one(&io->read_ev, (io->events & LOOP_READ) != 0, (events & LOOP_READ) != 0);
    set_one(&io->write_ev, (io->events & LOOP_WRITE) != 0, (events & LOOP_WRITE) != 0);
    io->events = events;
}

void loop_io_free(struct loop_io *io)
{
    if (io != NULL) {
        loop_io_set(io, 0);
        io->magic = 0;
        mem_free(io);
    }
}

/* ---- timers ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct loop_timer *t = arg;
    obj_check(t, TIMER_MAGIC);
    turn_begins(t->loop);
    t->fn(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_timer_fn fn, void *arg)
{
    struct loop_timer *t = mem_zalloc(sizeof *t);
    *t = (struct loop_timer){.magic = TIMER_MAGIC, .loop = l, .fn = fn, .arg = arg};
    event_assign(&t->ev, l->base, -1, 0, on_timer, t);
    return t;
}

void loop_timer_start(struct loop_timer *t, uint64_t after_us)
{
    obj_check(t, TIMER_MAGIC);
    struct timeval tv = {.tv_sec = (time_t)(after_us / 1000000u),
                         .tv_usec = (suseconds_t)(after_us % 1000000u)};
    must(event_add(&t->ev, &tv) == 0);
}

void loop_timer_stop(struct loop_timer *t)
{
    obj_check(t, TIMER_MAGIC);
    event_del(&t->ev);
}

void loop_timer_free(struct loop_timer *t)
{
    if (t != NULL) {
        loop_timer_stop(t);
        t->magic = 0;
        mem_free(t);
    }
}

/* ---- end of turn ---- */

void loop_defer(struct loop *l, struct loop_task *task)
{
    if (!task->queued) {
        task->queued = true;
        task->next = NULL;
        *l->defer_tail = task;
        l->defer_tail = &task->next;
    }
}

void loop_defer_cancel(struct loop *l, struct loop_task *task)
{
    if (!task->queued) {
        return;
    }
    struct loop_task **at = &l->defer_head;
    while (*at != task) {
        must(*at != NULL);
        at = &(*at)->next;
    }
    *at = task->next;
    if (l->defer_tail == &task->next) {
        l->defer_tail = at;
    }
    task->queued = false;
    task->next = NULL;
}

/* ---- signals ---- */

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
    (void)what;
    struct loop_signal_watch *w = arg;
    turn_begins(w->loop);
    w->fn((int)signo, w->arg);
}

void loop_signal(struct loop *l, int signo, void (*fn)(int signo, void *arg), void *arg)
{
    must(l->signal_count < SIGNALS_MAX);
    struct loop_signal_watch *w = &l->signals[l->signal_count++];
    w->loop = l;
    w->fn = fn;
    w->arg = arg;
    event_assign(&w->ev, l->base, signo, EV_SIGNAL | EV_PERSIST, on_signal, w);
    must(event_add(&w->ev, NULL) == 0);
}
