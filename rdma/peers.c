/* Who may connect, which of two simultaneous calls survives, and calling again.
 *
 * Every call carries a sequence number that grows with each call of the caller (seeded with the
 * wall clock, so that it also grows when a process starts again). Rules for a call that comes in
 * from a known peer:
 *
 *   1. A connection with it is up. When the connection was made the peer's last call had number s
 *      (its own number if the peer dialled it, otherwise told in its acceptance). A call above s
 *      was made later: the peer has lost that connection, so it is dropped here and the call taken.
 *      Up to s it is the other half of a simultaneous dial: refused as duplicate.
 *   2. An own call is under way and its hello may have been seen: the call of the lower member id
 *      survives.
 *   3. An own call whose hello was not sent cannot have been accepted: it gives way.
 *   4. A call of the peer was accepted but is not up: the peer makes one call at a time, the newer
 *      counts.
 *
 * Both ends apply 2 to the same pair of numbers, so exactly one of two simultaneous calls
 * survives. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"
#include "rdma/link.h"

/* ---- addresses ---- */
enum err address_resolve(const char *host, uint16_t port, bool passive,
                         struct sockaddr_storage *out, unsigned *len)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    bool any = host == NULL || host[0] == '\0' || strcmp(host, "*") == 0;
    if (any) {
        hints.ai_family = AF_INET;
    }
    struct addrinfo *found = NULL;
    if (getaddrinfo(any ? NULL : host, service, &hints, &found) != 0 || found == NULL) {
        return ERR_NOTFOUND;
    }
    memset(out, 0, sizeof *out);
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *len = found->ai_addrlen;
    freeaddrinfo(found);
    return OK;
}

size_t address_format(const struct sockaddr_storage *a, char *out, size_t room)
{
    char host[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    int n = 0;
    if (a->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
        port = ntohs(in.sin_port);
        n = snprintf(out, room, "%s:%u", host, port);
    } else if (a->ss_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, a, sizeof in);
        inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof host);
        port = ntohs(in.sin6_port);
        n = snprintf(out, room, "[%s]:%u", host, port);
    } else {
        n = snprintf(out, room, "?");
    }
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* ---- links ---- */
static void handshake_late(void *arg)
{
    struct link *l = arg;
    obj_check(l, LINK_MAGIC);
    link_lost(l, "no answer in time");
}

void link_init(struct link *l, struct transport *t, struct peer *peer)
{
    l->magic = LINK_MAGIC;
    l->t = t;
    l->peer = peer;
    l->state = peer != NULL ? LINK_DIALLING : LINK_INCOMING;
    l->timer = loop_timer_new(t->o.loop, handshake_late, l);
    loop_timer_start(l->timer, (uint64_t)t->o.handshake_ms * 1000u);
    if (peer == NULL) {
        t->incoming++;
    }
    l->next = t->links;
    if (l->next != NULL) {
        l->next->prev = l;
    }
    t->links = l;
}

void link_shut(struct link *l)
{
    if (link_is_dead(l)) {
        return;
    }
    struct transport *t = l->t;
    if (l->state == LINK_INCOMING) {
        t->incoming--;
    }
    l->state = LINK_DEAD;
    *(l->prev != NULL ? &l->prev->next : &t->links) = l->next;
    if (l->next != NULL) {
        l->next->prev = l->prev;
    }
    if (l->peer != NULL) {
        if (l->peer->up == l) {
            l->peer->up = NULL;
        }
        if (l->peer->making == l) {
            l->peer->making = NULL;
        }
        l->peer = NULL;
    }
    loop_timer_free(l->timer);
    l->timer = NULL;
    t->ops->shut(l);
    l->next_dead = t->dead;
    t->dead = l;
    loop_defer(t->o.loop, &t->reap_task);
}

/* ---- calling ---- */
static struct hello own_hello(const struct transport *t, uint32_t to)
{
    const struct transport_identity *self = &t->o.self;
    return (struct hello){.version = TRANSPORT_VERSION,
                          .from = self->member,
                          .to = to,
                          .cluster_hash = name_hash(self->cluster),
                          .group_hash = name_hash(self->group),
                          .worker = self->worker,
                          .kind = (uint8_t)t->o.kind,
                          .epoch = self->epoch,
                          .conn = t->dial_seq,
                          .seq = t->dial_seq};
}

void peer_schedule_dial(struct peer *p)
{
    struct transport *t = p->t;
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    /* between half and the whole of the wait, so that two sides do not stay in step */
    uint64_t us = (uint64_t)p->wait_ms * 500u;
    us += t->random % (us + 1);
    p->wait_ms = p->wait_ms * 2 < t->o.reconnect_max_ms ? p->wait_ms * 2 : t->o.reconnect_max_ms;
    loop_timer_start(p->redial, us);
}

static void dial_failed(struct peer *p, const char *reason)
{
    p->stats.dial_failures++;
    if (log_limited(&p->log_limit)) {
        log_verbose("peer %u at %s port %u: cannot connect: %s", p->member, p->host, p->port,
                    reason);
    }
    peer_schedule_dial(p);
}

void peer_dial(struct peer *p)
{
    if (p->up != NULL || p->making != NULL) {
        return;
    }
    p->t->dial_seq++;
    struct hello h = own_hello(p->t, p->member);
    struct link *l = NULL;
    enum err e = p->t->ops->dial(p, &h, &l);
    if (e != OK) {
        dial_failed(p, e == ERR_NOTFOUND ? "address not found" : err_text(e));
        return;
    }
    l->conn = h.conn;
    p->making = l;
}

void link_said_hello(struct link *l)
{
    must(l->state == LINK_DIALLING);
    l->state = LINK_SAID_HELLO;
}

/* ---- up and down ---- */
static void link_up(struct link *l, uint64_t peer_epoch)
{
    struct peer *p = l->peer;
    struct transport *t = l->t;
    p->making = NULL;
    p->up = l;
    l->state = LINK_UP;
    loop_timer_stop(l->timer);
    loop_timer_stop(p->redial);
    p->up_since_ns = clk_mono_ns();
    p->conn_number = ++t->conn_counter;
    p->starved = false;
    p->stats.connects++;
    log_verbose("peer %u: connected over %s, connection %llu", p->member,
                transport_kind_name(t->o.kind), (unsigned long long)p->conn_number);
    t->o.events->connected(t->o.arg, p->member, p->conn_number, peer_epoch);
}

void link_lost(struct link *l, const char *reason)
{
    if (link_is_dead(l)) {
        return;
    }
    struct transport *t = l->t;
    struct peer *p = l->peer;
    enum link_state was = l->state;
    link_shut(l);
    if (p == NULL) {
        log_debug("incoming peer connection dropped: %s", reason);
        return;
    }
    if (was != LINK_UP) {
        dial_failed(p, reason);
        return;
    }
    p->stats.disconnects++;
    /* a connection that did not last keeps its wait growing, so that one that cannot live does not
     * flap */
    if (clk_mono_ns() - p->up_since_ns >= (uint64_t)t->o.reconnect_max_ms * 1000000u) {
        p->wait_ms = t->o.reconnect_min_ms;
    }
    log_notice("peer %u: connection %llu lost: %s", p->member, (unsigned long long)p->conn_number,
               reason);
    peer_schedule_dial(p);
    t->o.events->disconnected(t->o.arg, p->member, p->conn_number, reason);
}

void link_message(struct link *l, const void *bytes, size_t len)
{
    struct peer *p = l->peer;
    p->stats.messages_in++;
    p->stats.bytes_in += len;
    l->t->o.events->message(l->t->o.arg, p->member, bytes, len);
}

/* ---- judging ---- */
static enum refusal judge_identity(const struct transport *t, const struct hello *h)
{
    const struct transport_identity *self = &t->o.self;
    if (h->version != TRANSPORT_VERSION) {
        return REFUSE_VERSION;
    }
    if (h->cluster_hash != name_hash(self->cluster)) {
        return REFUSE_CLUSTER;
    }
    if (h->group_hash != name_hash(self->group)) {
        return REFUSE_GROUP;
    }
    if (t->sentry || h->kind != (uint8_t)t->o.kind) {
        return REFUSE_KIND;
    }
    if (h->worker != self->worker) {
        return REFUSE_WORKER;
    }
    if (h->to != self->member) {
        return REFUSE_MEMBER;
    }
    return peer_find(t, h->from) != NULL ? REFUSE_NONE : REFUSE_STRANGER;
}

static void refuse(struct link *l, const struct hello *h, enum refusal why)
{
    struct transport *t = l->t;
    t->gone.refused_in++;
    if (why != REFUSE_DUPLICATE && log_limited(&t->refuse_limit)) {
        log_warning("peer connection refused: the caller (member %u, worker %u, epoch %llu) %s",
                    h->from, h->worker, (unsigned long long)h->epoch, refusal_text(why));
    }
    t->ops->refuse(l, why);
    link_shut(l);
}

/* Rules 1 to 4 of the file header; clears the way for the call if it is to be taken. */
static enum refusal judge_collision(struct transport *t, const struct hello *h)
{
    struct peer *p = peer_find(t, h->from);
    if (p->up != NULL) {
        if (h->seq <= p->up->peer_seq) {
            return REFUSE_DUPLICATE;
        }
        link_lost(p->up, "the peer has lost it and calls again");
        p = peer_find(t, h->from); /* the user may have removed it */
        if (p == NULL) {
            return REFUSE_STRANGER;
        }
    }
    if (p->making != NULL) {
        if (p->making->state == LINK_SAID_HELLO && t->o.self.member < h->from) {
            return REFUSE_DUPLICATE;
        }
        link_shut(p->making);
    }
    return REFUSE_NONE;
}

void link_incoming(struct link *l, const struct hello *h)
{
    struct transport *t = l->t;
    must(l->state == LINK_INCOMING);
    enum refusal why = judge_identity(t, h);
    if (why == REFUSE_NONE) {
        why = judge_collision(t, h);
    }
    if (why != REFUSE_NONE) {
        refuse(l, h, why);
        return;
    }
    struct peer *p = peer_find(t, h->from);
    t->incoming--;
    l->state = LINK_ACCEPTED;
    l->peer = p;
    l->conn = h->conn;
    l->peer_seq = h->seq;
    p->making = l;
    loop_timer_stop(p->redial);
    struct hello reply = own_hello(t, h->from);
    reply.conn = h->conn;
    if (t->ops->accept(l, &reply) != OK) {
        link_lost(l, "cannot accept");
        return;
    }
    l->peer_epoch = h->epoch;
    if (t->ops->up_on_accept) {
        link_up(l, h->epoch);
    }
}

void link_established(struct link *l)
{
    must(l->state == LINK_ACCEPTED);
    link_up(l, l->peer_epoch);
}

static enum refusal judge_answer(const struct link *l, const struct hello *h)
{
    const struct transport_identity *self = &l->t->o.self;
    if (h->version != TRANSPORT_VERSION) {
        return REFUSE_VERSION;
    }
    if (h->cluster_hash != name_hash(self->cluster)) {
        return REFUSE_CLUSTER;
    }
    if (h->group_hash != name_hash(self->group)) {
        return REFUSE_GROUP;
    }
    if (h->worker != self->worker) {
        return REFUSE_WORKER;
    }
    return h->from == l->peer->member && h->to == self->member && h->conn == l->conn
               ? REFUSE_NONE
               : REFUSE_MEMBER;
}

void link_accepted(struct link *l, const struct hello *reply)
{
    must(l->state == LINK_SAID_HELLO);
    enum refusal why = judge_answer(l, reply);
    if (why != REFUSE_NONE) {
        link_lost(l, refusal_text(why));
        return;
    }
    l->peer_seq = reply->seq;
    link_up(l, reply->epoch);
}

void link_refused(struct link *l, enum refusal why)
{
    struct peer *p = l->peer;
    must(p != NULL);
    p->stats.refused_out++;
    if (why != REFUSE_DUPLICATE && log_limited(&p->log_limit)) {
        log_warning("peer %u at %s port %u refused the connection: this process %s", p->member,
                    p->host, p->port, refusal_text(why));
    }
    link_shut(l);
    peer_schedule_dial(p);
}
