/* Peer transport within one process, for tests: packets travel between the loops by loop_post.
 *
 * Nothing crosses threads but packets: they name the receiving endpoint and the receiving link by
 * numbers, and are looked up in the receiver's own thread. Endpoints live as long as the net. A
 * link sends at most WINDOW_BYTES that the other side has not delivered yet, so that a slow
 * receiver is felt, as with a socket. */
#include "rdma/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/must.h"
#include "rdma/link.h"

#define WINDOW_BYTES ((size_t)1 << 20)
#define CUTS_MAX 64u

struct endpoint {
    struct endpoint *next;
    struct mem_net *net;
    uint16_t port;
    struct loop *loop;   /* NULL: closed. Guarded by the net's lock */
    struct transport *t; /* NULL: closed. Of the loop's thread only */
};

struct mem_net {
    pthread_mutex_t lock;
    struct endpoint *endpoints;
    struct {
        uint16_t a, b;
    } cuts[CUTS_MAX];
    unsigned cut_count;
    uint64_t last_uid;
};

enum packet_kind {
    PACKET_HELLO,
    PACKET_ACCEPT,
    PACKET_REFUSE,
    PACKET_FRAMES,
    PACKET_TAKEN,
    PACKET_CLOSE
};

struct packet {
    enum packet_kind kind;
    struct endpoint *from, *to;
    uint64_t from_uid, to_uid; /* links */
    struct hello hello;
    size_t value; /* REFUSE: why; TAKEN: bytes; CLOSE: 1 when the link was cut */
    size_t len;
    char bytes[];
};

struct mem_link {
    struct link base;
    uint64_t uid, other_uid;
    struct endpoint *other;
    struct buf out;
    size_t flying; /* bytes posted and not delivered */
};

static struct mem_link *mem_of(struct link *l)
{
    obj_check(l, LINK_MAGIC);
    return (struct mem_link *)l;
}

/* ---- packets ---- */
static void deliver(void *arg);

static bool is_cut(const struct mem_net *net, uint16_t a, uint16_t b)
{
    for (unsigned i = 0; i < net->cut_count; i++) {
        if ((net->cuts[i].a == a && net->cuts[i].b == b) ||
            (net->cuts[i].a == b && net->cuts[i].b == a)) {
            return true;
        }
    }
    return false;
}

/* Takes p. Returns false, and frees it, if the way is cut or the receiver is gone. */
static bool post(struct packet *p)
{
    struct mem_net *net = p->to->net;
    pthread_mutex_lock(&net->lock);
    bool ok = p->to->loop != NULL &&
              (p->kind == PACKET_CLOSE || !is_cut(net, p->from->port, p->to->port));
    if (ok) {
        loop_post(p->to->loop, deliver, p);
    }
    pthread_mutex_unlock(&net->lock);
    if (!ok) {
        mem_free(p);
    }
    return ok;
}

static struct packet *new_packet(enum packet_kind kind, struct endpoint *from, struct endpoint *to,
                                 size_t len)
{
    struct packet *p = mem_zalloc(sizeof *p + len);
    p->kind = kind;
    p->from = from;
    p->to = to;
    p->len = len;
    return p;
}

static struct packet *link_packet(struct mem_link *l, enum packet_kind kind, size_t len)
{
    struct packet *p = new_packet(kind, l->base.t->impl, l->other, len);
    p->from_uid = l->uid;
    p->to_uid = l->other_uid;
    return p;
}

static struct mem_link *find_link(const struct transport *t, uint64_t uid)
{
    for (struct link *l = t->links; l != NULL; l = l->next) {
        if (mem_of(l)->uid == uid) {
            return mem_of(l);
        }
    }
    return NULL;
}

static uint64_t next_uid(struct mem_net *net)
{
    pthread_mutex_lock(&net->lock);
    uint64_t uid = ++net->last_uid;
    pthread_mutex_unlock(&net->lock);
    return uid;
}

/* ---- receiving ---- */
static void on_hello(struct transport *t, const struct packet *p)
{
    if (t->incoming >= LINK_INCOMING_MAX) {
        return;
    }
    struct mem_link *l = mem_zalloc(sizeof *l);
    l->uid = next_uid(p->to->net);
    l->other = p->from;
    l->other_uid = p->from_uid;
    link_init(&l->base, t, NULL);
    link_incoming(&l->base, &p->hello);
}

static void on_frames(struct mem_link *l, const struct packet *p)
{
    l->base.peer->stats.receives++;
    struct endpoint *self = p->to;
    for (size_t at = 0; at < p->len && !link_is_dead(&l->base);) {
        unsigned kind = 0;
        size_t len = 0;
        frame_get(p->bytes + at, &kind, &len);
        if (len > l->base.t->o.message_max) {
            link_lost(&l->base, "message above the limit of this member");
            return;
        }
        link_message(&l->base, p->bytes + at + FRAME_HEAD, len);
        at += FRAME_HEAD + len;
    }
    if (!link_is_dead(&l->base)) {
        struct packet *taken = new_packet(PACKET_TAKEN, self, p->from, 0);
        taken->from_uid = l->uid;
        taken->to_uid = p->from_uid;
        taken->value = p->len;
        (void)post(taken);
    }
}

static void on_link_packet(struct mem_link *l, const struct packet *p)
{
    switch (p->kind) {
    case PACKET_ACCEPT:
        l->other_uid = p->from_uid;
        link_accepted(&l->base, &p->hello);
        break;
    case PACKET_REFUSE:
        link_refused(&l->base, (enum refusal)p->value);
        break;
    case PACKET_FRAMES:
        if (l->base.state == LINK_UP) {
            on_frames(l, p);
        }
        break;
    case PACKET_TAKEN:
        l->flying -= p->value;
        link_touch(&l->base);
        break;
    case PACKET_CLOSE:
        link_lost(&l->base, p->value != 0 ? "the network was cut" : "closed by the peer");
        break;
    case PACKET_HELLO:
        unreachable();
    }
}

static void deliver(void *arg)
{
    struct packet *p = arg;
    struct transport *t = p->to->t;
    if (t != NULL) {
        if (p->kind == PACKET_HELLO) {
            on_hello(t, p);
        } else {
            struct mem_link *l = find_link(t, p->to_uid);
            if (l != NULL) {
                on_link_packet(l, p);
            }
        }
    }
    mem_free(p);
}

/* ---- sending ---- */
static void mem_flush(struct link *base)
{
    struct mem_link *l = mem_of(base);
    while (buf_used(&l->out) != 0 && l->flying < WINDOW_BYTES) {
        /* whole frames, up to the window; a single one may be larger */
        size_t len = 0;
        while (len < buf_used(&l->out) && (len == 0 || l->flying + len < WINDOW_BYTES)) {
            unsigned kind = 0;
            size_t body = 0;
            frame_get(buf_head(&l->out) + len, &kind, &body);
            len += FRAME_HEAD + body;
            if (base->t->o.no_coalescing) {
                break;
            }
        }
        struct packet *p = link_packet(l, PACKET_FRAMES, len);
        memcpy(p->bytes, buf_head(&l->out), len);
        buf_consume(&l->out, len);
        l->flying += len;
        base->peer->stats.sends++;
        if (!post(p)) {
            link_lost(base, "closed by the peer");
            return;
        }
    }
    link_drained(base);
}

static void mem_send(struct link *base, unsigned flags, const struct span *parts, size_t n,
                     size_t len)
{
    (void)flags;
    struct mem_link *l = mem_of(base);
    frame_put(buf_reserve(&l->out, FRAME_HEAD + len), FRAME_MESSAGE, len);
    buf_commit(&l->out, FRAME_HEAD);
    for (size_t i = 0; i < n; i++) {
        buf_add(&l->out, parts[i].p, parts[i].len);
    }
}

static size_t mem_queued(const struct link *base)
{
    return buf_used(&((const struct mem_link *)base)->out);
}

/* ---- connections ---- */
static struct endpoint *find_endpoint(struct mem_net *net, uint16_t port)
{
    struct endpoint *e = net->endpoints;
    while (e != NULL && e->port != port) {
        e = e->next;
    }
    return e;
}

static enum err mem_dial(struct peer *peer, const struct hello *h, struct link **out)
{
    struct endpoint *self = peer->t->impl;
    struct mem_net *net = self->net;
    pthread_mutex_lock(&net->lock);
    struct endpoint *other = find_endpoint(net, peer->port);
    pthread_mutex_unlock(&net->lock);
    if (other == NULL) {
        return ERR_NOTFOUND;
    }
    struct packet *p = new_packet(PACKET_HELLO, self, other, 0);
    uint64_t uid = next_uid(net);
    p->from_uid = uid;
    p->hello = *h;
    if (!post(p)) {
        return ERR_IO;
    }
    struct mem_link *l = mem_zalloc(sizeof *l);
    l->uid = uid;
    l->other = other;
    link_init(&l->base, peer->t, peer);
    link_said_hello(&l->base);
    *out = &l->base;
    return OK;
}

static enum err mem_accept(struct link *base, const struct hello *reply)
{
    struct packet *p = link_packet(mem_of(base), PACKET_ACCEPT, 0);
    p->hello = *reply;
    return post(p) ? OK : ERR_IO;
}

static void mem_refuse(struct link *base, enum refusal why)
{
    struct packet *p = link_packet(mem_of(base), PACKET_REFUSE, 0);
    p->value = why;
    (void)post(p);
}

static void mem_shut(struct link *base)
{
    struct mem_link *l = (struct mem_link *)base;
    if (l->other_uid != 0) {
        (void)post(link_packet(l, PACKET_CLOSE, 0));
    }
}

static void mem_reap(struct link *base)
{
    struct mem_link *l = (struct mem_link *)base;
    buf_free(&l->out);
    mem_free(l);
}

static enum err mem_open(struct transport *t, struct errmsg *why)
{
    struct mem_net *net = t->o.net;
    must(net != NULL);
    pthread_mutex_lock(&net->lock);
    struct endpoint *e = find_endpoint(net, t->port);
    if (e == NULL) {
        e = mem_zalloc(sizeof *e);
        e->net = net;
        e->port = t->port;
        e->next = net->endpoints;
        net->endpoints = e;
    }
    bool taken = e->loop != NULL;
    if (!taken) {
        e->loop = t->o.loop;
        e->t = t;
        t->impl = e;
    }
    pthread_mutex_unlock(&net->lock);
    return taken ? errmsg_set(why, ERR_IO, "transport: memory port %u is in use", t->port) : OK;
}

static void mem_close(struct transport *t)
{
    struct endpoint *e = t->impl;
    pthread_mutex_lock(&e->net->lock);
    e->loop = NULL;
    e->t = NULL;
    pthread_mutex_unlock(&e->net->lock);
}

static size_t mem_describe(const struct transport *t, char *out, size_t room)
{
    int n = snprintf(out, room, "mem %u", t->port);
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* ---- the net ---- */
struct mem_net *mem_net_new(void)
{
    struct mem_net *net = mem_zalloc(sizeof *net);
    pthread_mutex_init(&net->lock, NULL);
    return net;
}

void mem_net_free(struct mem_net *net)
{
    while (net->endpoints != NULL) {
        struct endpoint *e = net->endpoints;
        must(e->loop == NULL);
        net->endpoints = e->next;
        mem_free(e);
    }
    pthread_mutex_destroy(&net->lock);
    mem_free(net);
}

struct cut_order {
    struct endpoint *self, *other;
};

static void lose_links(void *arg)
{
    struct cut_order *order = arg;
    struct transport *t = order->self->t;
    struct link *next = NULL;
    for (struct link *l = t != NULL ? t->links : NULL; l != NULL; l = next) {
        next = l->next;
        if (mem_of(l)->other == order->other) {
            link_lost(l, "the network was cut");
            next = t->links; /* the callback may have ended others */
        }
    }
    mem_free(order);
}

static void order_cut(struct endpoint *self, struct endpoint *other)
{
    if (self != NULL && other != NULL && self->loop != NULL) {
        struct cut_order *order = mem_zalloc(sizeof *order);
        *order = (struct cut_order){self, other};
        loop_post(self->loop, lose_links, order);
    }
}

void mem_net_cut(struct mem_net *net, uint16_t a, uint16_t b, bool cut)
{
    pthread_mutex_lock(&net->lock);
    unsigned kept = 0;
    for (unsigned i = 0; i < net->cut_count; i++) {
        bool same = (net->cuts[i].a == a && net->cuts[i].b == b) ||
                    (net->cuts[i].a == b && net->cuts[i].b == a);
        if (!same) {
            net->cuts[kept++] = net->cuts[i];
        }
    }
    net->cut_count = kept;
    if (cut) {
        must(net->cut_count < CUTS_MAX);
        net->cuts[net->cut_count].a = a;
        net->cuts[net->cut_count++].b = b;
        order_cut(find_endpoint(net, a), find_endpoint(net, b));
        order_cut(find_endpoint(net, b), find_endpoint(net, a));
    }
    pthread_mutex_unlock(&net->lock);
}

const struct link_ops mem_ops = {
    .up_on_accept = true,
    .open = mem_open,
    .close = mem_close,
    .dial = mem_dial,
    .accept = mem_accept,
    .refuse = mem_refuse,
    .send = mem_send,
    .flush = mem_flush,
    .queued = mem_queued,
    .shut = mem_shut,
    .reap = mem_reap,
    .describe = mem_describe,
};
