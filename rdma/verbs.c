/* Peer transport over RDMA: connections by librdmacm, one reliable queue pair per link (see verbs.h
 * for the parts).
 *
 *   caller                                        listener
 *   address, route, queue pair
 *   connect (private data: hello)     ------->    judge; queue pair, receives posted
 *                                     <-------    accept (private data: hello) or reject (reason)
 *   established: up
 *   empty slab                        ------->    first slab: up
 *
 * The listener counts a connection as up with the caller's first slab: it proves the way, and iWARP
 * wants the caller to speak first. Hellos carry the slab size and the credits of each side. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "rdma/verbs.h"

#define RESOLVE_MS 1000
#define KEEPALIVE_US 1000000u
#define ACK_TIMEOUT                                                                                \
    15 /* 4.096 us << 15 = 134 ms, times RETRIES + 1: about a second to notice a dead device */
#define RETRIES 6     /* 7 is for ever on Soft-RoCE */
#define RNR_RETRIES 6 /* credits make it unneeded; 7 would mean for ever and hide a fault */
#define REJECT_BYTES 4u

static struct verbs *verbs_state(const struct transport *t)
{
    return t->impl;
}

/* ---- links ---- */
static struct verbs_link *new_link(struct transport *t, struct peer *p)
{
    struct verbs_link *l = mem_zalloc(sizeof *l);
    l->v = verbs_state(t);
    link_init(&l->base, t, p);
    l->drain = loop_timer_new(t->o.loop, poll_drain_late, l);
    return l;
}

static void add_terms(const struct verbs *v, struct hello *h)
{
    h->slab_bytes = v->slab_bytes;
    h->data_credits = (uint16_t)v->credits[SLAB_DATA];
    h->ack_credits = (uint16_t)v->credits[SLAB_ACK];
}

static enum err verbs_dial(struct peer *p, const struct hello *h, struct link **out)
{
    struct verbs *v = verbs_state(p->t);
    struct sockaddr_storage to;
    unsigned len = 0;
    enum err e = address_resolve(p->host, p->port, false, &to, &len);
    if (e != OK) {
        return e;
    }
    struct rdma_cm_id *id = NULL;
    if (v->calls->create_id(v->channel, &id, NULL) != 0) {
        return ERR_IO;
    }
    struct sockaddr_storage from = v->from;
    bool same = !v->from_any && from.ss_family == to.ss_family;
    if (v->calls->resolve_addr(id, same ? (struct sockaddr *)&from : NULL, (struct sockaddr *)&to,
                               RESOLVE_MS) != 0) {
        (void)v->calls->destroy_id(id);
        return ERR_IO;
    }
    struct verbs_link *l = new_link(p->t, p);
    l->id = id;
    id->context = l;
    l->hello = *h;
    *out = &l->base;
    return OK;
}

static void fill_param(struct rdma_conn_param *param, const unsigned char *bytes)
{
    *param = (struct rdma_conn_param){.private_data = bytes,
                                      .private_data_len = HELLO_BYTES,
                                      .retry_count = RETRIES,
                                      .rnr_retry_count = RNR_RETRIES};
}

static void on_addr_resolved(struct verbs_link *l)
{
    uint8_t timeout = ACK_TIMEOUT;
    /* iWARP has no such thing: TCP notices */
    (void)l->v->calls->set_option(l->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout,
                                  sizeof timeout);
    if (l->v->calls->resolve_route(l->id, RESOLVE_MS) != 0) {
        link_lost(&l->base, "no route");
    }
}

static void on_route_resolved(struct verbs_link *l)
{
    if (qp_setup(l) != OK) {
        link_lost(&l->base, "cannot set up a queue pair");
        return;
    }
    unsigned char bytes[HELLO_BYTES];
    add_terms(l->v, &l->hello);
    hello_encode(&l->hello, bytes);
    struct rdma_conn_param param;
    fill_param(&param, bytes);
    link_said_hello(&l->base);
    l->calling = true;
    if (l->v->calls->connect(l->id, &param) != 0) {
        l->calling = false;
        link_lost(&l->base, "cannot connect");
    }
}

static enum err verbs_accept(struct link *base, const struct hello *reply)
{
    struct verbs_link *l = verbs_of(base);
    enum err e = qp_setup(l);
    if (e != OK) {
        return e;
    }
    struct hello h = *reply;
    add_terms(l->v, &h);
    unsigned char bytes[HELLO_BYTES];
    hello_encode(&h, bytes);
    struct rdma_conn_param param;
    fill_param(&param, bytes);
    return l->v->calls->accept(l->id, &param) == 0 ? OK : ERR_IO;
}

static void verbs_refuse(struct link *base, enum refusal why)
{
    struct verbs_link *l = verbs_of(base);
    const unsigned char bytes[REJECT_BYTES] = {'N', 'O', TRANSPORT_VERSION, (unsigned char)why};
    (void)l->v->calls->reject(l->id, bytes,
                              sizeof bytes); /* if it is lost, the caller tries again */
}

static void destroy(struct verbs_link *l)
{
    qp_destroy(l);
    if (l->id != NULL) {
        (void)l->v->calls->destroy_id(l->id);
        l->id = NULL;
    }
}

/* A call that was not answered yet cannot be taken back on iWARP: destroying its queue pair would
 * block until the driver's own time limit (10 s). Such a link stays as a zombie, from which nothing
 * can be delivered, until the connection manager has an answer. Everything else is destroyed here.
 */
static void verbs_shut(struct link *base)
{
    struct verbs_link *l = (struct verbs_link *)base;
    loop_timer_free(l->drain);
    l->drain = NULL;
    if (l->calling) {
        l->zombie = true;
        l->next_zombie = l->v->zombies;
        l->v->zombies = l;
    } else {
        destroy(l);
    }
}

static void verbs_reap(struct link *base)
{
    struct verbs_link *l = (struct verbs_link *)base;
    if (!l->zombie) {
        qp_free(l);
        mem_free(l);
    }
}

static void bury(struct verbs_link *l)
{
    struct verbs_link **at = &l->v->zombies;
    while (*at != l) {
        at = &(*at)->next_zombie;
    }
    *at = l->next_zombie;
    destroy(l);
    if (l->base.magic == LINK_MAGIC) { /* it died in this turn: its memory goes with verbs_reap */
        l->zombie = false;
        return;
    }
    qp_free(l);
    mem_free(l);
}

/* ---- sending ---- */
static void verbs_send(struct link *base, unsigned flags, const struct span *parts, size_t n,
                       size_t len)
{
    send_queue(verbs_of(base), flags, parts, n, len);
}

static void verbs_flush(struct link *base)
{
    struct verbs_link *l = verbs_of(base);
    const char *lost = send_flush(l);
    if (lost != NULL) {
        poll_break(l, lost);
        return;
    }
    link_drained(base);
}

static size_t verbs_queued(const struct link *base)
{
    return send_queued((const struct verbs_link *)base);
}

static void keep_alive(void *arg)
{
    struct verbs *v = arg;
    struct link *next = NULL;
    for (struct link *base = v->t->links; base != NULL; base = next) {
        next = base->next;
        if (base->state != LINK_UP) {
            continue;
        }
        struct verbs_link *l = verbs_of(base);
        /* a device that no longer answers is noticed only by sending to it */
        const char *lost = l->used || l->broken ? NULL : send_control(l);
        l->used = false;
        if (lost != NULL) {
            poll_break(l, lost);
        }
    }
    loop_timer_start(v->keepalive, KEEPALIVE_US);
}

/* ---- connection events ---- */
struct cm_event { /* copied, so that the event can be given back before anything is done about it */
    enum rdma_cm_event_type type;
    int status;
    struct rdma_cm_id *id;
    size_t len;
    unsigned char data[HELLO_BYTES];
};

static void on_request(struct verbs *v, const struct cm_event *e)
{
    struct hello h;
    if (v->t->incoming >= LINK_INCOMING_MAX || hello_decode(e->data, e->len, &h) != OK) {
        const unsigned char no[REJECT_BYTES] = {'N', 'O', TRANSPORT_VERSION, REFUSE_MALFORMED};
        (void)v->calls->reject(e->id, no, sizeof no);
        (void)v->calls->destroy_id(e->id);
        return;
    }
    struct verbs_link *l = new_link(v->t, NULL);
    l->id = e->id;
    e->id->context = l;
    if (!qp_learn_peer(l, &h)) {
        verbs_refuse(&l->base, REFUSE_MALFORMED);
        link_shut(&l->base);
        return;
    }
    link_incoming(&l->base, &h);
}

static void on_established(struct verbs_link *l, const struct cm_event *e)
{
    if (l->base.state != LINK_SAID_HELLO) {
        return; /* listener's side: waits for the first slab */
    }
    struct hello h;
    if (hello_decode(e->data, e->len, &h) != OK || !qp_learn_peer(l, &h)) {
        link_lost(&l->base, "malformed answer");
        return;
    }
    link_accepted(&l->base, &h);
    if (link_is_dead(&l->base)) {
        return;
    }
    const char *lost = send_control(l);
    if (lost != NULL) {
        poll_break(l, lost);
    }
}

static void on_rejected(struct verbs_link *l, const struct cm_event *e)
{
    if (l->base.state != LINK_SAID_HELLO) {
        link_lost(&l->base, "rejected");
        return;
    }
    if (e->len >= REJECT_BYTES && e->data[0] == 'N' && e->data[1] == 'O') {
        link_refused(&l->base, (enum refusal)e->data[3]);
        return;
    }
    link_lost(&l->base, "nobody listens there over RDMA (is the peer's transport tcp?)");
}

static void on_link_event(struct verbs_link *l, const struct cm_event *e)
{
    switch (e->type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
        on_addr_resolved(l);
        break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
        on_route_resolved(l);
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        on_established(l, e);
        break;
    case RDMA_CM_EVENT_REJECTED:
        on_rejected(l, e);
        break;
    case RDMA_CM_EVENT_DISCONNECTED:
        poll_break(l, "closed by the peer");
        break;
    case RDMA_CM_EVENT_ADDR_ERROR:
        link_lost(&l->base, "address not reachable by an RDMA device");
        break;
    case RDMA_CM_EVENT_ROUTE_ERROR:
        link_lost(&l->base, "no route");
        break;
    case RDMA_CM_EVENT_UNREACHABLE:
        link_lost(&l->base, "no answer");
        break;
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_CONNECT_RESPONSE: /* only sent to ids without a queue pair */
        link_lost(&l->base, "cannot connect");
        break;
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
        link_lost(&l->base, "the RDMA device was removed");
        break;
    case RDMA_CM_EVENT_ADDR_CHANGE:
        poll_break(l, "the address moved to another device");
        break;
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
    case RDMA_CM_EVENT_MULTICAST_JOIN:
    case RDMA_CM_EVENT_MULTICAST_ERROR:
    case RDMA_CM_EVENT_CONNECT_REQUEST:
        break;
    }
}

static void on_cm_ready(int fd, unsigned events, void *arg)
{
    (void)fd;
    (void)events;
    struct verbs *v = arg;
    struct rdma_cm_event *event = NULL;
    while (v->calls->get_cm_event(v->channel, &event) == 0) {
        struct cm_event e = {.type = event->event, .status = event->status, .id = event->id};
        const struct rdma_conn_param *param = &event->param.conn;
        bool has_data = e.type == RDMA_CM_EVENT_CONNECT_REQUEST ||
                        e.type == RDMA_CM_EVENT_ESTABLISHED || e.type == RDMA_CM_EVENT_REJECTED;
        if (has_data && param->private_data != NULL) {
            e.len =
                param->private_data_len < sizeof e.data ? param->private_data_len : sizeof e.data;
            memcpy(e.data, param->private_data, e.len);
        }
        (void)v->calls->ack_cm_event(event);
        if (e.type == RDMA_CM_EVENT_CONNECT_REQUEST) {
            on_request(v, &e);
        } else if (e.id == v->listener) {
            log_warning("rdma: listening socket: %s", rdma_event_str(e.type));
        } else if (e.id->context != NULL) {
            struct verbs_link *l = e.id->context;
            l->calling = false; /* whatever it is, the call is over (or had not begun) */
            if (l->zombie) {
                bury(l);
            } else {
                on_link_event(verbs_of(&l->base), &e);
            }
        }
    }
}

/* ---- life ---- */
static void verbs_close(struct transport *t)
{
    struct verbs *v = verbs_state(t);
    transport_free(v->sentry);
    while (v->zombies != NULL) {
        bury(v->zombies);
    }
    while (v->devices != NULL) {
        struct verbs_device *d = v->devices;
        v->devices = d->next;
        device_free(d);
    }
    loop_timer_free(v->keepalive);
    loop_timer_free(v->poll_timer);
    if (v->listener != NULL) {
        (void)v->calls->destroy_id(v->listener);
    }
    loop_io_free(v->io);
    if (v->channel != NULL) {
        v->calls->destroy_event_channel(v->channel);
    }
    mem_free(v);
    t->impl = NULL;
}

static enum err start_listening(struct verbs *v, struct errmsg *why)
{
    struct transport *t = v->t;
    v->channel = v->calls->create_event_channel();
    if (v->channel == NULL || fcntl(v->channel->fd, F_SETFL, O_NONBLOCK) != 0) {
        return errmsg_set(why, ERR_IO,
                          "rdma: no connection manager: %s (is the module rdma_ucm loaded?)",
                          strerrordesc_np(errno));
    }
    v->io = loop_io_new(t->o.loop, v->channel->fd, on_cm_ready, v);
    if (address_resolve(t->o.host, t->port, true, &v->from, &v->from_len) != OK) {
        return errmsg_set(why, ERR_CONFIG, "rdma: cannot resolve '%s'", t->o.host);
    }
    if (v->calls->create_id(v->channel, &v->listener, NULL) != 0 ||
        v->calls->bind_addr(v->listener, (struct sockaddr *)&v->from) != 0 ||
        v->calls->listen(v->listener, 64) != 0) {
        return errmsg_set(why, ERR_IO, "rdma: cannot listen on '%s' port %u: %s", t->o.host,
                          t->port, strerrordesc_np(errno));
    }
    t->port = ntohs(v->calls->get_src_port(v->listener));
    /* calls start from this address, but not from this port */
    if (v->from.ss_family == AF_INET6) {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)&v->from;
        in->sin6_port = 0;
        v->from_any = IN6_IS_ADDR_UNSPECIFIED(&in->sin6_addr);
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&v->from;
        in->sin_port = 0;
        v->from_any = in->sin_addr.s_addr == 0;
    }
    loop_io_set(v->io, LOOP_READ);
    return OK;
}

/* A TCP listener on the same port that refuses everybody, so that a member set to tcp learns why.
 * Where the device itself needs the port (iWARP) there is none, and the stranger sees its handshake
 * fail. */
static void open_sentry(struct verbs *v)
{
    struct transport_options o = v->t->o;
    o.kind = TRANSPORT_TCP;
    o.port = v->t->port;
    struct errmsg why;
    if (transport_new(&o, &v->sentry, &why) == OK) {
        v->sentry->sentry = true;
    } else {
        v->sentry = NULL;
        log_verbose("rdma: no TCP listener to warn members with another transport: %s", why.text);
    }
}

static uint16_t credits_or(uint16_t set, uint16_t otherwise)
{
    uint16_t n = set != 0 ? set : otherwise;
    return n < 2 ? 2 : n > CREDITS_MAX / 2 ? CREDITS_MAX / 2 : n;
}

static enum err verbs_open(struct transport *t, struct errmsg *why)
{
    struct verbs *v = mem_zalloc(sizeof *v);
    v->t = t;
    t->impl = v;
    v->calls = t->o.calls != NULL ? t->o.calls : &verbs_library;
    v->slab_bytes = t->o.slab_bytes != 0 ? t->o.slab_bytes : 16384;
    v->credits[SLAB_DATA] = credits_or(t->o.data_credits, 64);
    v->credits[SLAB_ACK] = credits_or(t->o.ack_credits, 16);
    v->credits[SLAB_CONTROL] = CONTROL_CREDITS;
    v->poll_window_us = t->o.busy_poll_us;
    v->poll_timer = loop_timer_new(t->o.loop, poll_busy, v);
    v->keepalive = loop_timer_new(t->o.loop, keep_alive, v);
    struct device_choice choice = {.gid_index = -1};
    enum err e = OK;
    if (v->slab_bytes < SLAB_MIN || v->slab_bytes > SLAB_MAX) {
        e = errmsg_set(why, ERR_CONFIG, "rdma: slab size %u is not between %u and %u",
                       v->slab_bytes, SLAB_MIN, SLAB_MAX);
    }
    if (e == OK && device_choose(v->calls, t->o.host, t->o.device, &choice, why) != OK) {
        errmsg_wrap(why, "rdma");
        e = ERR_UNSUPPORTED;
    }
    if (e == OK) {
        e = start_listening(v, why);
    }
    if (e != OK) {
        verbs_close(t);
        return e;
    }
    int n = snprintf(v->text, sizeof v->text, "rdma %s port %u (%s, mtu %u", choice.device,
                     choice.port, choice.link, choice.mtu);
    if (choice.gid_index >= 0 && n > 0 && (size_t)n < sizeof v->text) {
        n += snprintf(v->text + n, sizeof v->text - (size_t)n, ", gid %d", choice.gid_index);
    }
    if (n > 0 && (size_t)n < sizeof v->text) {
        snprintf(v->text + n, sizeof v->text - (size_t)n, ") %s:%u", t->o.host, t->port);
    }
    loop_timer_start(v->keepalive, KEEPALIVE_US);
    open_sentry(v);
    return OK;
}

static size_t verbs_describe(const struct transport *t, char *out, size_t room)
{
    int n = snprintf(out, room, "%s", verbs_state(t)->text);
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

static uint64_t verbs_registered(const struct transport *t)
{
    return verbs_state(t)->registered;
}

const struct link_ops verbs_ops = {
    .up_on_accept = false,
    .open = verbs_open,
    .close = verbs_close,
    .dial = verbs_dial,
    .accept = verbs_accept,
    .refuse = verbs_refuse,
    .send = verbs_send,
    .flush = verbs_flush,
    .queued = verbs_queued,
    .shut = verbs_shut,
    .reap = verbs_reap,
    .describe = verbs_describe,
    .registered = verbs_registered,
};
