/* The end of a daemon: SIGTERM, SIGINT and SHUTDOWN.
 *
 * Draining: every worker closes its listeners and takes no more requests; what was taken is
 * answered. When nothing is open and all output is written, or after shutdown-timeout, all loops
 * end. A second signal, and SHUTDOWN NOW, end at once. */
#include "backends/server/internal.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define DRAIN_POLL_US 10000
#define A_DAY_MS 86400000u

struct drain {
    struct server *sv;
    void (*drained)(struct server *sv);
    struct loop_timer *timer;
    uint64_t deadline_ns;
    uint64_t busy; /* sessions that still wait for something */
};

static void drain_round(void *arg);

static void drain_each(struct worker *w, void *arg)
{
    struct drain *d = arg;
    struct worker_private *p = w->priv;
    for (size_t i = 0; i < p->listener_count; i++) {
        listener_close(p->listeners[i]);
    }
    p->listener_count = 0;
    p->pause_mode = PAUSE_ALL;
    p->pause_end_ms = clk_wall_ms() + A_DAY_MS;
    for (const struct session *s = p->first; s != NULL; s = s->next) {
        d->busy += session_is_busy(s);
    }
}

static void drain_done(struct worker *w, void *arg)
{
    struct drain *d = arg;
    if (d->busy != 0 && clk_mono_ns() < d->deadline_ns && !atomic_load(&d->sv->stopping)) {
        if (d->timer == NULL) {
            d->timer = loop_timer_new(w->loop, drain_round, d);
        }
        loop_timer_start(d->timer, DRAIN_POLL_US);
        return;
    }
    if (d->busy != 0) {
        log_warning("%llu client%s had replies to come", (unsigned long long)d->busy,
                    d->busy == 1 ? "" : "s");
    }
    loop_timer_free(d->timer);
    if (d->drained != NULL && !atomic_load(&d->sv->stopping)) {
        d->drained(d->sv);
    } else {
        server_stop(d->sv, 0);
    }
    mem_free(d);
}

static void drain_round(void *arg)
{
    struct drain *d = arg;
    d->busy = 0;
    server_round(&d->sv->workers[0], drain_each, drain_done, d);
}

void server_begin_shutdown(struct server *sv)
{
    if (atomic_exchange(&sv->draining, true)) {
        server_stop(sv, 0); /* asked twice */
        return;
    }
    if (sv->ops->drain != NULL) {
        sv->ops->drain(sv);
        return;
    }
    server_drain(sv, NULL);
}

void server_drain(struct server *sv, void (*drained)(struct server *sv))
{
    struct drain *d = mem_zalloc(sizeof *d);
    d->sv = sv;
    d->drained = drained;
    d->deadline_ns = clk_mono_ns() + (uint64_t)sv->workers[0].set->shutdown_timeout * 1000000000u;
    drain_round(d);
}
