/* The interface of the peer transport: options, peers, sending, counters. Who may connect, and
 * dialling, is in peers.c; bytes are moved by tcp.c, mem.c and verbs*.c behind struct link_ops.
 *
 * Order of a turn: readiness callbacks deliver messages; the user sends; at the end of the turn the
 * flush task writes every link that was touched, once; then the reap task frees what died. A link
 * that dies keeps its memory until then, so no caller up the stack meets a freed one. */
#include "rdma/transport.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"
#include "rdma/link.h"

#define QUEUE_MAX_DEFAULT ((size_t)16 << 20)

static void flush_dirty(struct loop_task *task)
{
    struct transport *t =
        (struct transport *)(void *)((char *)task - offsetof(struct transport, flush_task));
    struct link *l = t->dirty;
    t->dirty = NULL;
    while (l != NULL) {
        struct link *next = l->next_dirty;
        l->dirty = false;
        if (!link_is_dead(l)) {
            if (l->doomed != NULL) {
                link_lost(l, l->doomed);
            } else {
                t->ops->flush(l);
            }
        }
        l = next;
    }
}

static void reap_dead(struct loop_task *task)
{
    struct transport *t =
        (struct transport *)(void *)((char *)task - offsetof(struct transport, reap_task));
    for (struct link **at = &t->dirty; *at != NULL;) {
        if (link_is_dead(*at)) {
            (*at)->dirty = false;
            *at = (*at)->next_dirty;
        } else {
            at = &(*at)->next_dirty;
        }
    }
    while (t->dead != NULL) {
        struct link *l = t->dead;
        t->dead = l->next_dead;
        l->magic = 0;
        t->ops->reap(l);
    }
}

/* One peer per call, as the user may add and remove peers from the callback. */
static void call_writable(void *arg)
{
    struct transport *t = arg;
    for (uint32_t i = 0; i < t->peer_count; i++) {
        struct peer *p = t->peers[i];
        if (p->starved && p->up != NULL && t->ops->queued(p->up) <= t->o.queue_max / 2) {
            p->starved = false;
            loop_timer_start(t->writable_timer, 0);
            if (t->o.events->writable != NULL) {
                t->o.events->writable(t->o.arg, p->member);
            }
            return;
        }
    }
}

void link_drained(struct link *l)
{
    struct transport *t = l->t;
    if (l->peer != NULL && l->peer->starved && t->ops->queued(l) <= t->o.queue_max / 2) {
        loop_timer_start(t->writable_timer, 0);
    }
}

void link_touch(struct link *l)
{
    if (!l->dirty) {
        l->dirty = true;
        l->next_dirty = l->t->dirty;
        l->t->dirty = l;
        loop_defer(l->t->o.loop, &l->t->flush_task);
    }
}

/* ---- life ---- */
static const struct link_ops *ops_of(enum transport_kind kind)
{
    switch (kind) {
    case TRANSPORT_TCP:
        return &tcp_ops;
    case TRANSPORT_MEM:
        return &mem_ops;
    case TRANSPORT_RDMA:
        return &verbs_ops;
    case TRANSPORT_AUTO:
        break;
    }
    return NULL;
}

static enum err check_options(const struct transport_options *o, struct errmsg *why)
{
    must(o->loop != NULL);
    must(o->events != NULL);
    if (ops_of(o->kind) == NULL) {
        return errmsg_set(why, ERR_CONFIG, "transport: no kind chosen");
    }
    if (o->self.member == 0 || o->self.member > TRANSPORT_MEMBER_MAX) {
        return errmsg_set(why, ERR_CONFIG, "transport: member id %u is not between 1 and %u",
                          o->self.member, TRANSPORT_MEMBER_MAX);
    }
    if (o->message_max > TRANSPORT_MESSAGE_MAX) {
        return errmsg_set(why, ERR_CONFIG, "transport: message limit %zu is above %zu",
                          o->message_max, TRANSPORT_MESSAGE_MAX);
    }
    if (o->host != NULL && strlen(o->host) >= sizeof((struct transport *)0)->host) {
        return errmsg_set(why, ERR_CONFIG, "transport: host name too long");
    }
    if (o->device != NULL && strlen(o->device) >= sizeof((struct transport *)0)->device) {
        return errmsg_set(why, ERR_CONFIG, "transport: device name too long");
    }
    return OK;
}

static void fill_defaults(struct transport_options *o)
{
    o->message_max = o->message_max != 0 ? o->message_max : TRANSPORT_MESSAGE_MAX;
    o->queue_max = o->queue_max != 0 ? o->queue_max : QUEUE_MAX_DEFAULT;
    o->reconnect_min_ms = o->reconnect_min_ms != 0 ? o->reconnect_min_ms : 20;
    o->reconnect_max_ms = o->reconnect_max_ms != 0 ? o->reconnect_max_ms : 1000;
    if (o->reconnect_max_ms < o->reconnect_min_ms) {
        o->reconnect_max_ms = o->reconnect_min_ms;
    }
    o->handshake_ms = o->handshake_ms != 0 ? o->handshake_ms : 2000;
}

enum err transport_new(const struct transport_options *o, struct transport **out,
                       struct errmsg *why)
{
    enum err e = check_options(o, why);
    if (e != OK) {
        return e;
    }
    struct transport *t = mem_zalloc(sizeof *t);
    t->o = *o;
    fill_defaults(&t->o);
    snprintf(t->host, sizeof t->host, "%s", o->host != NULL ? o->host : "");
    snprintf(t->device, sizeof t->device, "%s", o->device != NULL ? o->device : "");
    t->o.self.cluster = t->cluster = mem_strdup(o->self.cluster);
    t->o.self.group = t->group = mem_strdup(o->self.group);
    t->o.host = t->host;
    t->o.device = t->device;
    t->port = o->port;
    t->ops = ops_of(o->kind);
    t->flush_task.fn = flush_dirty;
    t->reap_task.fn = reap_dead;
    /* call numbers grow across restarts of a process too, see peers.c */
    t->dial_seq = clk_wall_us();
    t->random = (clk_mono_ns() ^ (uint64_t)o->self.member << 32) | 1u;
    t->writable_timer = loop_timer_new(o->loop, call_writable, t);
    e = t->ops->open(t, why);
    if (e != OK) {
        loop_timer_free(t->writable_timer);
        mem_free(t->cluster);
        mem_free(t->group);
        mem_free(t);
        return e;
    }
    *out = t;
    return OK;
}

void transport_free(struct transport *t)
{
    if (t == NULL) {
        return;
    }
    while (t->peer_count != 0) {
        transport_remove_peer(t, t->peers[t->peer_count - 1]->member);
    }
    while (t->links != NULL) {
        link_shut(t->links);
    }
    loop_defer_cancel(t->o.loop, &t->flush_task);
    loop_defer_cancel(t->o.loop, &t->reap_task);
    reap_dead(&t->reap_task);
    t->ops->close(t);
    loop_timer_free(t->writable_timer);
    mem_free(t->cluster);
    mem_free(t->group);
    mem_free(t);
}

uint16_t transport_port(const struct transport *t)
{
    return t->port;
}

size_t transport_describe(const struct transport *t, char *out, size_t room)
{
    return t->ops->describe(t, out, room);
}

enum transport_kind transport_kind_of(const struct transport *t)
{
    return t->o.kind;
}

void transport_set_epoch(struct transport *t, uint64_t epoch)
{
    t->o.self.epoch = epoch;
}

/* ---- peers ---- */
struct peer *peer_find(const struct transport *t, uint32_t member)
{
    for (uint32_t i = 0; i < t->peer_count; i++) {
        if (t->peers[i]->member == member) {
            return t->peers[i];
        }
    }
    return NULL;
}

static void dial_due(void *arg)
{
    peer_dial(arg);
}

enum err transport_add_peer(struct transport *t, const struct transport_peer *spec)
{
    if (spec->member == 0 || spec->member > TRANSPORT_MEMBER_MAX ||
        spec->member == t->o.self.member ||
        (spec->host != NULL && strlen(spec->host) >= sizeof((struct peer *)0)->host)) {
        return ERR_RANGE;
    }
    if (peer_find(t, spec->member) != NULL) {
        return ERR_EXISTS;
    }
    if (t->peer_count == TRANSPORT_PEERS_MAX) {
        return ERR_BUSY;
    }
    struct peer *p = mem_zalloc(sizeof *p);
    p->t = t;
    p->member = spec->member;
    p->port = spec->port;
    snprintf(p->host, sizeof p->host, "%s", spec->host != NULL ? spec->host : "");
    p->wait_ms = t->o.reconnect_min_ms;
    p->redial = loop_timer_new(t->o.loop, dial_due, p);
    t->peers[t->peer_count++] = p;
    loop_timer_start(p->redial, 0);
    return OK;
}

static void stats_add(struct transport_stats *sum, const struct transport_stats *s)
{
#define X(name, what) sum->name += s->name;
    TRANSPORT_COUNTERS(X)
#undef X
}

void transport_remove_peer(struct transport *t, uint32_t member)
{
    struct peer *p = peer_find(t, member);
    if (p == NULL) {
        return;
    }
    for (uint32_t i = 0; i < t->peer_count; i++) {
        if (t->peers[i] == p) {
            t->peers[i] = t->peers[--t->peer_count];
            break;
        }
    }
    if (p->up != NULL) {
        link_shut(p->up);
    }
    if (p->making != NULL) {
        link_shut(p->making);
    }
    stats_add(&t->gone, &p->stats);
    loop_timer_free(p->redial);
    mem_free(p);
}

bool transport_is_connected(const struct transport *t, uint32_t member)
{
    const struct peer *p = peer_find(t, member);
    return p != NULL && p->up != NULL;
}

/* ---- sending ---- */
enum err transport_sendv(struct transport *t, uint32_t member, unsigned flags,
                         const struct span *parts, size_t n)
{
    struct peer *p = peer_find(t, member);
    if (p == NULL) {
        return ERR_NOTFOUND;
    }
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        len += parts[i].len;
    }
    if (len > t->o.message_max) {
        return ERR_TOOBIG;
    }
    struct link *l = p->up;
    if (l == NULL || l->doomed != NULL) {
        return ERR_CLOSED;
    }
    /* an empty queue takes any message, so a limit below the largest message cannot stop it for
     * ever */
    size_t queued = t->ops->queued(l);
    if (queued != 0 && queued + len > t->o.queue_max) {
        if ((flags & TRANSPORT_ACK) == 0) {
            p->starved = true;
            p->stats.busy++;
            return ERR_BUSY;
        }
        if (queued + len > 2 * t->o.queue_max) {
            l->doomed = "does not read what it is sent";
            link_touch(l);
            return ERR_CLOSED;
        }
    }
    t->ops->send(l, flags, parts, n, len);
    p->stats.messages_out++;
    p->stats.bytes_out += len;
    link_touch(l);
    return OK;
}

/* ---- counters ---- */
static void peer_now(const struct peer *p, struct transport_stats *out)
{
    out->peers++;
    if (p->up != NULL) {
        out->connected++;
        out->queued_bytes += p->t->ops->queued(p->up);
    }
}

enum err transport_stats(const struct transport *t, uint32_t member, struct transport_stats *out)
{
    struct transport_stats sum = {0};
    if (member != 0) {
        const struct peer *p = peer_find(t, member);
        if (p == NULL) {
            return ERR_NOTFOUND;
        }
        sum = p->stats;
        peer_now(p, &sum);
    } else {
        sum = t->gone;
        for (uint32_t i = 0; i < t->peer_count; i++) {
            stats_add(&sum, &t->peers[i]->stats);
            peer_now(t->peers[i], &sum);
        }
    }
    sum.registered_bytes = t->ops->registered != NULL ? t->ops->registered(t) : 0;
    *out = sum;
    return OK;
}
