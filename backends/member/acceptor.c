/* The acceptor's thread: drives an acceptor core (coherence/member.h) over its connections and its
 * state file.
 *
 * Callers are holders (nodes, proxies) and other acceptors; the thread itself calls the other
 * acceptors. An answer goes back on the connection on which the question came. */
#include "backends/member/acceptor.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "backends/member/builtin.h"
#include "backends/member/frames.h"
#include "backends/member/routes.h"
#include "backends/member/state.h"
#include "backends/member/uplink.h"
#include "coherence/member.h"
#include "common/clock.h"
#include "common/conn.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

#define CALLERS_MAX 1024u /* connections; more are turned away */
#define SELF_MAX 16u      /* messages to itself that wait */
#define NS_PER_MS 1000000u
#define BACKLOG 128

struct caller {
    struct caller *next, *prev;
    struct acceptor_thread *t;
    struct frames *frames;
    bool greeted;
    uint8_t acceptor; /* or MEMBER_NO_ACCEPTOR: a holder */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): one per process */
struct acceptor_thread {
    struct loop *loop;
    pthread_t thread;
    struct listener *listener;
    struct loop_timer *timer;
    struct acceptor *core;
    void *memory;
    struct member_params params;
    struct greeting hello;
    struct member_map genesis;
    unsigned index;
    char *cluster_name, *state_file;
    struct caller *callers;
    unsigned caller_count;
    struct uplink *up[MAP_ACCEPTORS_MAX]; /* NULL: itself */
    uint64_t now_ns;
    /* messages to itself, in order */
    struct {
        size_t len;
        uint8_t bytes[MEMBER_MSG_MAX];
    } self[SELF_MAX];
    unsigned self_first, self_count;
    struct loop_task self_task;
    struct caller *from_caller; /* of the message at hand; NULL: it came over an uplink, or none */
    struct uplink *from_uplink;
    struct member_map decoded;
    uint8_t frame[MEMBER_MSG_MAX];
    bool save_failed;
    /* written by the thread, read by INFO and metrics */
    struct metrics *metrics;
    struct counter messages, writes, write_failures, connections;
    struct gauge version, votes, caller_gauge;
};

/* ---- the core's outputs ---- */

static struct span encoded(struct acceptor_thread *t, const struct member_msg *m)
{
    return span_of((const char *)t->frame, member_msg_encode(m, t->frame, sizeof t->frame));
}

static void send_to_self(struct acceptor_thread *t, const struct member_msg *m)
{
    if (t->self_count == SELF_MAX) {
        return; /* as if lost */
    }
    unsigned at = (t->self_first + t->self_count++) % SELF_MAX;
    t->self[at].len = member_msg_encode(m, t->self[at].bytes, sizeof t->self[at].bytes);
    loop_defer(t->loop, &t->self_task);
}

/* Lost messages are asked for again, so what cannot be sent is dropped. */
static void send_out(struct acceptor_thread *t, const struct acceptor_out *o)
{
    const struct member_msg *m = &o->u.msg;
    if (o->kind == ACCEPTOR_OUT_SEND) {
        if (o->to == t->index) {
            send_to_self(t, m);
        } else {
            (void)uplink_send(t->up[o->to], FRAME_MESSAGE, encoded(t, m));
        }
    } else if (o->kind == ACCEPTOR_OUT_ANSWER) {
        if (t->from_caller != NULL) {
            (void)frames_send(t->from_caller->frames, FRAME_MESSAGE, encoded(t, m));
        } else if (t->from_uplink != NULL) {
            (void)uplink_send(t->from_uplink, FRAME_MESSAGE, encoded(t, m));
        } else {
            send_to_self(t, m);
        }
    } else {
        struct span bytes = encoded(t, m);
        for (const struct caller *c = t->callers; c != NULL; c = c->next) {
            if (c->greeted && c->acceptor == MEMBER_NO_ACCEPTOR) {
                (void)frames_send(c->frames, FRAME_MESSAGE, bytes);
            }
        }
    }
}

static bool persist(struct acceptor_thread *t, const struct member_state *st)
{
    struct errmsg why = {""};
    struct state_owner owner = {t->cluster_name, &t->genesis, t->index};
    bool ok = state_save(t->state_file, &owner, st, &why) == OK;
    counter_add(ok ? &t->writes : &t->write_failures, 1);
    if (!ok && !t->save_failed) {
        log_warning("%s: this acceptor does not vote until it can be written", why.text);
    } else if (ok && t->save_failed) {
        log_notice("The acceptor's state can be written again");
    }
    t->save_failed = !ok;
    return ok;
}

static void step(struct acceptor_thread *t, struct acceptor_in *in)
{
    bool persisted = false;
    struct acceptor_in after = {.kind = ACCEPTOR_IN_PERSISTED};
    do {
        if (persisted) {
            in = &after;
            t->from_caller = NULL;
            t->from_uplink = NULL;
            persisted = false;
        }
        struct acceptor_outbox out = {.count = 0};
        uint64_t now = clk_boot_ns();
        t->now_ns = now > t->now_ns ? now : t->now_ns;
        in->now_ns = t->now_ns;
        acceptor_step(t->core, in, &out);
        for (uint32_t i = 0; i < out.count; i++) {
            const struct acceptor_out *o = &out.out[i];
            if (o->kind != ACCEPTOR_OUT_PERSIST) {
                send_out(t, o);
                continue;
            }
            persisted = true;
            after.u.ok = persist(t, o->u.state);
            if (!after.u.ok) {
                break; /* what stands behind it is not said (R5) */
            }
        }
    } while (persisted);
    const struct member_map *m = acceptor_map(t->core);
    if (gauge_get(&t->version) != (int64_t)m->version) {
        log_verbose("The acceptor knows map version %llu", (unsigned long long)m->version);
    }
    gauge_set(&t->version, (int64_t)m->version);
    gauge_set(&t->votes, acceptor_votes(t->core));
    gauge_set(&t->caller_gauge, t->caller_count);
    uint64_t at = acceptor_next_deadline(t->core);
    if (at == UINT64_MAX) {
        loop_timer_stop(t->timer);
    } else {
        uint64_t now = clk_boot_ns();
        loop_timer_start(t->timer, at > now ? (at - now) / 1000u + 1u : 1u);
    }
}

static void on_timer(void *arg)
{
    struct acceptor_thread *t = arg;
    t->from_caller = NULL;
    t->from_uplink = NULL;
    struct acceptor_in in = {.kind = ACCEPTOR_IN_TIMER};
    step(t, &in);
}

/* sender: who must have sent it. */
static bool take_message(struct acceptor_thread *t, struct span payload, uint8_t sender)
{
    struct member_msg m;
    if (member_msg_decode((const uint8_t *)payload.p, payload.len, &m, &t->decoded) != OK ||
        m.sender != sender) {
        return false;
    }
    counter_add(&t->messages, 1);
    struct acceptor_in in = {.kind = ACCEPTOR_IN_MSG, .u.msg = &m};
    step(t, &in);
    return true;
}

static void on_self(struct loop_task *task)
{
    struct acceptor_thread *t =
        (struct acceptor_thread *)(void *)((char *)task -
                                           offsetof(struct acceptor_thread, self_task));
    if (t->self_count == 0) {
        return;
    }
    static uint8_t bytes[MEMBER_MSG_MAX]; /* one acceptor per process */
    size_t len = t->self[t->self_first].len;
    memcpy(bytes, t->self[t->self_first].bytes, len);
    t->self_first = (t->self_first + 1) % SELF_MAX;
    t->self_count--;
    t->from_caller = NULL;
    t->from_uplink = NULL;
    must(take_message(t, span_of((const char *)bytes, len), (uint8_t)t->index));
    if (t->self_count != 0) {
        loop_defer(t->loop, &t->self_task);
    }
}

/* ---- other acceptors, whom this one called ---- */

static bool on_uplink_frame(void *arg, unsigned acceptor, uint8_t kind, struct span payload)
{
    struct acceptor_thread *t = arg;
    t->from_caller = NULL;
    t->from_uplink = t->up[acceptor];
    return kind == FRAME_MESSAGE && take_message(t, payload, (uint8_t)acceptor);
}

static const struct uplink_ops uplink_ops = {.frame = on_uplink_frame};

/* ---- callers ---- */

static void caller_remove(struct caller *c)
{
    struct acceptor_thread *t = c->t;
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        t->callers = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    t->caller_count--;
    mem_free(c);
}

static void on_caller_closed(void *arg, const char *reason)
{
    struct caller *c = arg;
    log_verbose("A caller of the acceptor is gone: %s", reason);
    caller_remove(c);
}

static bool greet(struct caller *c, struct span payload)
{
    struct acceptor_thread *t = c->t;
    struct greeting theirs;
    struct errmsg why = {"it speaks another protocol, or another version of it"};
    if (c->greeted) {
        return false;
    }
    if (greeting_decode(payload, &theirs) == OK && greeting_check(&t->hello, &theirs, &why) == OK &&
        (theirs.acceptor == MEMBER_NO_ACCEPTOR || theirs.acceptor < t->genesis.acceptor_count)) {
        c->greeted = true;
        c->acceptor = theirs.acceptor;
        uint8_t bytes[GREETING_MAX];
        size_t n = greeting_encode(&t->hello, bytes);
        return frames_send(c->frames, FRAME_HELLO, span_of((const char *)bytes, n)) == OK;
    }
    static struct log_limit limit;
    if (log_limited(&limit)) {
        log_warning("The acceptor refused a caller: %s", why.text);
    }
    (void)frames_send(c->frames, FRAME_REFUSED, span_str(why.text)); /* nothing else is queued */
    frames_finish(c->frames);
    return true;
}

static void answer_status(struct caller *c)
{
    const struct acceptor_thread *t = c->t;
    const struct member_map *m = acceptor_map(t->core);
    struct acceptor_status s = {
        .version = m->version, .votes = acceptor_votes(t->core), .count = m->node_count};
    for (unsigned i = 0; i < m->node_count; i++) {
        uint64_t ms = acceptor_silence(t->core, i) / NS_PER_MS;
        s.node[i].id = m->nodes[i].id;
        s.node[i].silent_ms = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
    }
    uint8_t bytes[STATUS_MAX];
    size_t n = status_encode(&s, bytes);
    (void)frames_send(c->frames, FRAME_STATUS,
                      span_of((const char *)bytes, n)); /* or they give up */
}

static bool on_caller_frame(void *arg, uint8_t kind, struct span payload)
{
    struct caller *c = arg;
    if (kind == FRAME_HELLO) {
        return greet(c, payload);
    }
    if (!c->greeted) {
        return false;
    }
    if (kind == FRAME_ASK_STATUS) {
        answer_status(c);
        return true;
    }
    c->t->from_caller = c;
    c->t->from_uplink = NULL;
    return kind == FRAME_MESSAGE && take_message(c->t, payload, c->acceptor);
}

static const struct frames_ops caller_ops = {.frame = on_caller_frame, .closed = on_caller_closed};

/* Makes room: of those who called and have not said who they are, the one that came first. */
static void drop_silent(struct acceptor_thread *t)
{
    struct caller *oldest = NULL;
    for (struct caller *c = t->callers; c != NULL; c = c->next) {
        oldest = c->greeted ? oldest : c;
    }
    if (oldest != NULL) {
        frames_free(oldest->frames);
        caller_remove(oldest);
    }
}

static void on_accept(int fd, bool is_unix, void *arg)
{
    struct acceptor_thread *t = arg;
    (void)is_unix;
    struct caller *c = mem_zalloc(sizeof *c);
    c->t = t;
    c->frames = frames_new(t->loop, fd, &caller_ops, c);
    if (t->caller_count >= CALLERS_MAX) {
        drop_silent(t);
    }
    if (t->caller_count >= CALLERS_MAX) {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_warning("The acceptor has %u callers and turns another one away", CALLERS_MAX);
        }
        frames_free(c->frames);
        mem_free(c);
        return;
    }
    counter_add(&t->connections, 1);
    t->caller_count++;
    c->next = t->callers;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    t->callers = c;
}

/* ---- life ---- */

static void *run(void *arg)
{
    struct acceptor_thread *t = arg;
    loop_run(t->loop);
    return NULL;
}

static enum err find_self(const struct acceptor_options *o, unsigned *index, struct errmsg *why)
{
    for (unsigned i = 0; i < o->set->acceptors.n; i++) {
        if (strcmp(o->set->acceptors.v[i], o->self) == 0) {
            *index = i;
            return OK;
        }
    }
    return errmsg_set(why, ERR_CONFIG, "acceptor: %s is not one of `acceptors`", o->self);
}

static void start_metrics(struct acceptor_thread *t, struct metrics *m)
{
    t->metrics = m;
    metrics_counter(m, "halcyon_acceptor_messages_total", NULL,
                    "Messages of nodes, proxies, acceptors.", &t->messages);
    metrics_counter(m, "halcyon_acceptor_connections_total", NULL, "Calls the acceptor took.",
                    &t->connections);
    metrics_counter(m, "halcyon_acceptor_state_writes_total", NULL, "Times its state was written.",
                    &t->writes);
    metrics_counter(m, "halcyon_acceptor_state_write_failures_total", NULL,
                    "Times its state could not be written.", &t->write_failures);
    metrics_gauge(m, "halcyon_acceptor_map_version", NULL, "Version of the newest map it knows.",
                  &t->version);
    metrics_gauge(m, "halcyon_acceptor_votes", NULL, "0: its state cannot be written.", &t->votes);
    metrics_gauge(m, "halcyon_acceptor_callers", NULL, "Connections it has now.", &t->caller_gauge);
}

void acceptor_stop_metrics(struct acceptor_thread *t)
{
    if (t == NULL || t->metrics == NULL) {
        return;
    }
    metrics_drop(t->metrics, &t->messages);
    metrics_drop(t->metrics, &t->connections);
    metrics_drop(t->metrics, &t->writes);
    metrics_drop(t->metrics, &t->write_failures);
    metrics_drop(t->metrics, &t->version);
    metrics_drop(t->metrics, &t->votes);
    metrics_drop(t->metrics, &t->caller_gauge);
    t->metrics = NULL;
}

static void release(struct acceptor_thread *t)
{
    while (t->callers != NULL) {
        struct caller *c = t->callers;
        frames_free(c->frames);
        caller_remove(c);
    }
    for (unsigned i = 0; i < MAP_ACCEPTORS_MAX; i++) {
        uplink_free(t->up[i]);
    }
    listener_close(t->listener);
    loop_defer_cancel(t->loop, &t->self_task);
    loop_timer_free(t->timer);
    loop_free(t->loop);
    mem_free(t->memory);
    mem_free(t->cluster_name);
    mem_free(t->state_file);
    mem_free(t);
}

static enum err start_core(struct acceptor_thread *t, struct errmsg *why)
{
    struct member_state *kept = mem_alloc(sizeof *kept);
    struct state_owner owner = {t->cluster_name, &t->genesis, t->index};
    bool found = false;
    enum err e = state_load(t->state_file, &owner, kept, &found, why);
    if (e == OK) {
        t->memory = mem_zalloc(acceptor_size());
        t->now_ns = clk_boot_ns();
        t->core = acceptor_init(t->memory, &t->params, &t->genesis, found ? kept : NULL, t->index,
                                t->now_ns);
        const struct member_map *m = acceptor_map(t->core);
        gauge_set(&t->version, (int64_t)m->version);
        gauge_set(&t->votes, acceptor_votes(t->core));
        log_notice(found ? "Acceptor %u of %u goes on from map version %llu"
                         : "Acceptor %u of %u starts without a state file (map version %llu)",
                   t->index + 1, t->genesis.acceptor_count, (unsigned long long)m->version);
    }
    mem_free(kept);
    return e;
}

enum err acceptor_start(const struct acceptor_options *o, struct acceptor_thread **out,
                        struct errmsg *why)
{
    unsigned index = 0;
    enum err e = find_self(o, &index, why);
    if (e != OK) {
        return e;
    }
    struct acceptor_thread *t = mem_zalloc(sizeof *t);
    t->loop = loop_new();
    t->index = index;
    t->genesis = *o->genesis;
    t->params = member_params_of(o->set);
    t->hello = greeting_of(o->set, o->genesis);
    t->hello.acceptor = (uint8_t)index;
    t->hello.genesis = genesis_hash(o->genesis);
    t->cluster_name = mem_strdup(o->set->cluster_name);
    t->state_file = mem_strdup(o->state_file);
    t->self_task.fn = on_self;
    t->timer = loop_timer_new(t->loop, on_timer, t);
    e = start_core(t, why);
    struct listen_options l = {
        .address = o->bind, .port = t->genesis.acceptors[index].port, .backlog = BACKLOG};
    if (e == OK) {
        e = listener_open(t->loop, &l, on_accept, t, &t->listener, why);
        if (e != OK) {
            errmsg_wrap(why, "acceptor");
        }
    }
    if (e != OK) {
        release(t);
        return e;
    }
    for (unsigned i = 0; i < t->genesis.acceptor_count; i++) {
        if (i != index) {
            t->up[i] = uplink_new(t->loop, i, &t->genesis.acceptors[i], &t->hello, &uplink_ops, t);
        }
    }
    loop_timer_start(t->timer, 1);
    if (o->metrics != NULL) {
        start_metrics(t, o->metrics);
    }
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are worker 0's */
    int failed = pthread_create(&t->thread, NULL, run, t);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed != 0) {
        release(t);
        return errmsg_set(why, ERR_IO, "acceptor: no thread is to be had");
    }
    *out = t;
    return OK;
}

void acceptor_stop(struct acceptor_thread *t)
{
    if (t == NULL) {
        return;
    }
    loop_stop(t->loop);
    (void)pthread_join(t->thread, NULL);
    release(t);
}

void acceptor_counts(const struct acceptor_thread *t, struct acceptor_counts *out)
{
    *out = (struct acceptor_counts){.version = (uint64_t)gauge_get(&t->version),
                                    .messages = counter_get(&t->messages),
                                    .writes = counter_get(&t->writes),
                                    .write_failures = counter_get(&t->write_failures),
                                    .connections = counter_get(&t->connections),
                                    .votes = gauge_get(&t->votes) != 0};
}
