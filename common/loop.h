#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

/* A worker's event loop: the only file that includes libevent's headers is loop.c (HTTP: http.c).
 * One thread runs a loop; everything below is that thread's, except loop_post and loop_stop. */
struct loop;

struct loop *loop_new(void);
void loop_free(struct loop *l); /* after loop_run returned; the caller has closed its watches */
void loop_run(struct loop *l);  /* until loop_stop */
void loop_stop(struct loop *l); /* any thread */

/* ---- readiness: level-triggered ---- */
#define LOOP_READ 1u
#define LOOP_WRITE 2u
struct loop_io;
typedef void (*loop_io_fn)(int fd, unsigned events, void *arg);
/* watches nothing yet */
struct loop_io *loop_io_new(struct loop *l, int fd, loop_io_fn fn, void *arg);
/* no system call if unchanged */
void loop_io_set(struct loop_io *io, unsigned events);
/* does not close fd; NULL allowed */
void loop_io_free(struct loop_io *io);

/* ---- timers: one-shot; restart from the callback to repeat ---- */
struct loop_timer;
typedef void (*loop_timer_fn)(void *arg);
struct loop_timer *loop_timer_new(struct loop *l, loop_timer_fn fn, void *arg);
void loop_timer_start(struct loop_timer *t, uint64_t after_us); /* replaces an earlier start */
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t); /* NULL allowed */

/* ---- end of turn: runs once after all readiness callbacks of the current turn, before the loop
 * sleeps; tasks added by tasks run in the same turn. Writing replies and sending peer messages
 * happens here, so that each is one system call per turn. The struct is the caller's (embed it);
 * adding one that is queued already does nothing. ---- */
struct loop_task {
    void (*fn)(struct loop_task *task);
    struct loop_task *next;
    bool queued;
};
void loop_defer(struct loop *l, struct loop_task *task);
void loop_defer_cancel(struct loop *l, struct loop_task *task);

/* ---- from other threads: fn(arg) runs in the loop's thread, in order per poster. Never fails;
 * wakes the loop. ---- */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

/* ---- signals: main loop only ---- */
void loop_signal(struct loop *l, int signo, void (*fn)(int signo, void *arg), void *arg);

/* A place for what one module keeps per loop (conn.c: connections and buffers shared by them);
 * starts as NULL. destroy(value) runs in loop_free. */
void **loop_local(struct loop *l, void (*destroy)(void *));

/* For libevent's HTTP client on this loop. Its callbacks are no part of what loop_longest_turn_ns
 * measures. */
struct event_base;
struct event_base *loop_event_base(struct loop *l);

/* Length of the longest turn since the last call, ns (stall guard L8). */
uint64_t loop_longest_turn_ns(struct loop *l);
/* Likewise since the last loop_reset_peak (INFO, CONFIG RESETSTAT). */
uint64_t loop_peak_turn_ns(const struct loop *l);
void loop_reset_peak(struct loop *l);

#endif
