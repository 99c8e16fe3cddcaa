#ifndef BACKENDS_MEMBER_MEMBERSHIP_H
#define BACKENDS_MEMBER_MEMBERSHIP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backends/member/provider.h"
#include "backends/member/settings.h"
#include "backends/server/server.h"
#include "coherence/map.h"
#include "coherence/view.h"

/* A process' membership as its workers see it. The provider runs on worker 0's loop; every worker
 * learns maps in its own thread, and reads the lease, one pair for the whole process, whenever it
 * needs it (DESIGN H9).
 *
 * Who wants to know subscribes a listener in its worker:
 *
 *     static struct membership_listener me = {.news = on_news, .expelled = on_expelled};
 *     me.arg = ...; membership_subscribe(m, w, &me);
 *
 * and gets the newest news at once if there is some. */
struct membership;

/* What is known now; immutable, shared by all workers. */
struct membership_news {
    struct member_map map;
    uint16_t group;           /* this process' (MAP_PROXIES, a shard), if id is not 0 */
    uint32_t id;              /* its incarnation; 0: it is not in the map */
    bool founder;             /* it starts with nothing to catch up with */
    bool member;              /* not a learner */
    _Atomic uint32_t holders; /* private */
};

struct membership_listener {
    struct membership_listener *next; /* private */
    void *arg;
    /* A newer map, in this worker's thread; borrowed. Versions may be left out. Between `expelled`
     * and the news with the next incarnation the id is 0. */
    void (*news)(void *arg, const struct membership_news *n);
    /* This incarnation is over (V4): all protocol state goes. True: it is gone. False: it goes
     * soon, then membership_dropped is called. May be NULL. */
    bool (*expelled)(void *arg);
};

struct membership_start_options {
    struct server *server;
    const struct member_settings *set; /* read during the call only */
    const struct member_map *genesis;  /* copied */
    struct member_join join;           /* what this process wants to be */
};

/* Memory only; nothing runs yet. In the main thread, before workers exist. */
struct membership *membership_new(const struct membership_start_options *o, unsigned workers);
/* In worker 0's thread, from worker_start on: starts the provider and asks to be let in. Once every
 * worker has subscribed (after the second gate) its events come, never before the loops run. */
void membership_run(struct membership *m, struct worker *w0, const struct member_settings *set);
/* In worker 0's thread, after its loop has ended. */
void membership_stop(struct membership *m);
void membership_free(struct membership *m); /* when no worker exists any more. NULL allowed */

/* In the worker's own thread. l is borrowed until membership_free. */
void membership_subscribe(struct membership *m, const struct worker *w,
                          struct membership_listener *l);
/* This worker's learner has everything that incarnation id needs. When all workers have said so the
 * process asks to be promoted. */
void membership_caught_up(struct membership *m, const struct worker *w, uint32_t id);
/* After an `expelled` that answered false. */
void membership_dropped(struct membership *m, const struct worker *w);

/* The lease now: worth something only to a worker that has installed exactly this epoch, with a
 * clock read after the request came. Any thread. Cost: a few loads. */
struct lease membership_lease(const struct membership *m);
/* Changes whenever the lease does: to see cheaply whether to look. */
static inline uint32_t membership_lease_mark(const struct membership *m);

/* Worker 0, in the middle of a turn, with the time just read: renews if that is due, so that a long
 * turn does not cost the process its place. Other workers: no effect. May not be called from an
 * event of the provider. */
void membership_tick(struct membership *m, const struct worker *w, uint64_t now_ns);

/* Planned stop: the lease goes, and the process asks to be left out; done(arg) when it is, or after
 * limit_ms. Worker 0's thread; every worker has stopped serving by then. */
void membership_leave(struct membership *m, uint64_t limit_ms, void (*done)(void *arg), void *arg);

/* Numbers for INFO, any thread; worth a glance, not a decision. */
struct membership_facts {
    uint64_t version, epoch, view_changes, joins, expulsions;
    uint32_t id;
    int64_t lease_ms; /* left; below 0: none */
    unsigned acceptors, reachable;
    const char *state; /* "member", "learner", "joining", "out" */
    const char *waits; /* why it is not let in; "" */
};
void membership_facts(const struct membership *m, struct membership_facts *out);
/* The section "membership" of INFO. */
void membership_info(const struct membership *m, struct info_out *o);

/* ---- for commands.c: worker 0's thread ---- */
struct member_provider *membership_provider(const struct membership *m);
/* Who waits for an event of the provider that answers an operator; NULL: nobody. */
struct membership_operator {
    void *arg;
    void (*result)(void *arg, uint64_t nonce, enum member_reason reason);
    void (*status)(void *arg, unsigned acceptor, const struct acceptor_status *status,
                   const char *reason);
};
void membership_set_operator(struct membership *m, const struct membership_operator *op);

/* ---- inline ---- */
struct membership_pair {   /* the lease: written by worker 0 */
    _Atomic uint32_t mark; /* odd while it changes */
    _Atomic uint64_t epoch, until_ns;
};
const struct membership_pair *membership_pair(const struct membership *m);
static inline uint32_t membership_lease_mark(const struct membership *m)
{
    /* acquire: partner is publish() in membership.c */
    return atomic_load_explicit(&membership_pair(m)->mark, memory_order_acquire);
}

#endif
