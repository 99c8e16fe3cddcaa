/* A verbs library without devices (verbs_fake.h). */
#include "tests/lib/verbs_fake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/must.h"

struct verbs_fake_control fake;

#define LIST_MAX 512

struct fake_cq {
    struct ibv_cq cq; /* first */
    struct fake_channel *channel;
    struct ibv_wc *wc;
    size_t count, room;
    bool armed;
    unsigned events; /* given, not acknowledged */
};

struct fake_channel {                /* of completions */
    struct ibv_comp_channel channel; /* first */
    struct fake_cq *ready[LIST_MAX];
    size_t count;
};

struct flight { /* a send under way */
    struct flight *next;
    struct fake_qp *from;
    uint64_t wr_id;
    bool signalled;
    uint32_t len;
    const char *late; /* not inline: read when it arrives */
    char bytes[];     /* inline */
};

struct fake_qp {
    struct ibv_qp qp; /* first */
    struct fake_id *id;
    struct fake_cq *cq;
    struct ibv_sge *recv;
    uint64_t *recv_wr;
    uint32_t recv_max, recv_head, recv_count, send_max, inline_max;
    bool stopped;
    struct flight *flights, **flights_tail; /* towards this queue pair */
    struct fake_qp *peer;
};

struct fake_id {
    struct rdma_cm_id id; /* first */
    struct fake_id *next, *peer;
    struct fake_cm *cm;
    uint16_t port;
    bool listening, connected, dialled;
};

struct fake_event {
    struct rdma_cm_event event; /* first */
    struct fake_event *next;
    unsigned char data[256];
};

struct fake_cm {
    struct rdma_event_channel channel; /* first */
    struct fake_event *events, **tail;
};

static struct fake_id *ids;
static struct ibv_context context;
static uint16_t next_port = 1000;

void verbs_fake_reset(void)
{
    fake = (struct verbs_fake_control){0};
}

static bool counts_down(unsigned *n)
{
    return *n != 0 && --*n == 0;
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    must(write(fd, &one, sizeof one) == sizeof one);
}

static void clear_fd(int fd)
{
    uint64_t n = 0;
    ssize_t got = read(fd, &n, sizeof n);
    (void)got;
}

/* Addresses are integers in the verbs interface. */
static char *at(uint64_t addr)
{
    return (char *)(uintptr_t)addr; // NOLINT(performance-no-int-to-ptr): see above
}

/* ---- devices ---- */
static struct ibv_context **get_devices(int *count)
{
    struct ibv_context **list = mem_zalloc(2 * sizeof(void *));
    list[0] = &context;
    *count = fake.no_device ? 0 : 1;
    return list;
}

static void free_devices(struct ibv_context **list)
{
    mem_free(list);
}

static const char *device_name(struct ibv_context *ctx)
{
    must(ctx == &context);
    return "fake0";
}

static int query_device(struct ibv_context *ctx, struct ibv_device_attr *out)
{
    must(ctx == &context);
    *out = (struct ibv_device_attr){.phys_port_cnt = 1,
                                    .max_qp_wr = fake.max_qp_wr != 0 ? fake.max_qp_wr : 16384};
    return 0;
}

static int query_port(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *out)
{
    must(ctx == &context);
    *out = (struct ibv_port_attr){.state = IBV_PORT_ACTIVE,
                                  .gid_tbl_len = 2,
                                  .active_mtu = IBV_MTU_4096,
                                  .link_layer = IBV_LINK_LAYER_ETHERNET};
    return port == 1 ? 0 : EINVAL;
}

static int query_gid(struct ibv_context *ctx, uint8_t port, int index, union ibv_gid *out)
{
    must(ctx == &context);
    must(port == 1);
    static const unsigned char loopback[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
    memset(out, 0, sizeof *out);
    if (index == 1) {
        memcpy(out->raw, loopback, sizeof loopback);
    }
    return 0;
}

/* ---- completions ---- */
static void push_wc(struct fake_cq *cq, const struct ibv_wc *wc)
{
    if (cq->count == cq->room) {
        cq->room = cq->room == 0 ? 64 : cq->room * 2;
        cq->wc = mem_realloc(cq->wc, cq->room * sizeof *cq->wc);
    }
    cq->wc[cq->count++] = *wc;
}

static void notify(struct fake_cq *cq)
{
    if (cq->armed) {
        cq->armed = false;
        must(cq->channel->count < LIST_MAX);
        cq->channel->ready[cq->channel->count++] = cq;
        signal_fd(cq->channel->channel.fd);
    }
}

static struct ibv_comp_channel *create_comp_channel(struct ibv_context *ctx)
{
    must(ctx == &context);
    struct fake_channel *c = mem_zalloc(sizeof *c);
    c->channel.fd = eventfd(0, EFD_CLOEXEC);
    fake.objects++;
    return &c->channel;
}

static int destroy_comp_channel(struct ibv_comp_channel *channel)
{
    close(channel->fd);
    mem_free(channel);
    fake.objects--;
    return 0;
}

static struct ibv_cq *create_cq(struct ibv_context *ctx, int entries, void *cq_context,
                                struct ibv_comp_channel *channel)
{
    must(ctx == &context);
    must(entries > 0);
    struct fake_cq *cq = mem_zalloc(sizeof *cq);
    cq->cq.cq_context = cq_context;
    cq->channel = (struct fake_channel *)channel;
    fake.objects++;
    return &cq->cq;
}

static int destroy_cq(struct ibv_cq *cq)
{
    struct fake_cq *c = (struct fake_cq *)cq;
    must(c->events == 0); /* the real one would wait for ever */
    struct fake_channel *channel = c->channel;
    size_t kept = 0;
    for (size_t i = 0; i < channel->count; i++) {
        if (channel->ready[i] != c) {
            channel->ready[kept++] = channel->ready[i];
        }
    }
    channel->count = kept;
    mem_free(c->wc);
    mem_free(c);
    fake.objects--;
    return 0;
}

static int req_notify_cq(struct ibv_cq *cq)
{
    struct fake_cq *c = (struct fake_cq *)cq;
    c->armed = true; /* completions that are there already do not count, as with the real one */
    return 0;
}

static int get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context)
{
    struct fake_channel *c = (struct fake_channel *)channel;
    if (c->count == 0) {
        clear_fd(c->channel.fd);
        errno = EAGAIN;
        return -1;
    }
    struct fake_cq *ready = c->ready[0];
    memmove(c->ready, c->ready + 1, --c->count * sizeof(void *));
    ready->events++;
    *cq = &ready->cq;
    *cq_context = ready->cq.cq_context;
    return 0;
}

static void ack_cq_events(struct ibv_cq *cq, unsigned count)
{
    struct fake_cq *c = (struct fake_cq *)cq;
    must(c->events >= count);
    c->events -= count;
}

/* ---- queue pairs ---- */
static void stop_qp(struct fake_qp *qp)
{
    if (qp->stopped) {
        return;
    }
    qp->stopped = true;
    if (fake.no_flush) {
        return;
    }
    while (qp->recv_count != 0) {
        struct ibv_wc wc = {.wr_id = qp->recv_wr[qp->recv_head % qp->recv_max],
                            .status = IBV_WC_WR_FLUSH_ERR};
        qp->recv_head++;
        qp->recv_count--;
        push_wc(qp->cq, &wc);
    }
    notify(qp->cq);
}

static void complete_send(struct fake_qp *qp, uint64_t wr_id, bool signalled,
                          enum ibv_wc_status status)
{
    if (signalled || status != IBV_WC_SUCCESS) {
        struct ibv_wc wc = {.wr_id = wr_id, .status = status};
        push_wc(qp->cq, &wc);
        notify(qp->cq);
    }
}

static void spoil(char *to, uint32_t *len)
{
    if (counts_down(&fake.corrupt_after) && fake.corrupt_at < *len) {
        to[fake.corrupt_at] = (char)fake.corrupt_with;
    }
    if (counts_down(&fake.cut_after)) {
        *len = fake.cut_len;
    }
}

/* A send arrives: takes a receive, or fails at its sender. */
static void arrive(struct fake_qp *qp, struct flight *f)
{
    struct fake_qp *from = f->from;
    if (qp->stopped) {
        if (from != NULL) {
            complete_send(from, f->wr_id, true, IBV_WC_RETRY_EXC_ERR);
            stop_qp(from);
        }
        return;
    }
    if (qp->recv_count == 0) {
        fake.rnr++;
        if (from != NULL) {
            complete_send(from, f->wr_id, true, IBV_WC_RNR_RETRY_EXC_ERR);
            stop_qp(from);
        }
        return;
    }
    uint32_t i = qp->recv_head++ % qp->recv_max;
    qp->recv_count--;
    must(f->len <= qp->recv[i].length);
    char *to = at(qp->recv[i].addr);
    uint32_t len = f->len;
    if (len != 0) {
        memcpy(to, f->late != NULL ? f->late : f->bytes, len);
        fake.ack_slabs += to[5] == 1;
        spoil(to, &len);
    }
    struct ibv_wc wc = {.wr_id = qp->recv_wr[i], .status = IBV_WC_SUCCESS, .byte_len = len};
    push_wc(qp->cq, &wc);
    if (from != NULL) {
        complete_send(from, f->wr_id, f->signalled, IBV_WC_SUCCESS);
    }
}

static void land_flights(struct fake_qp *qp)
{
    while (qp->flights != NULL) {
        struct flight *f = qp->flights;
        qp->flights = f->next;
        if (qp->flights == NULL) {
            qp->flights_tail = &qp->flights;
        }
        arrive(qp, f);
        mem_free(f);
    }
}

static struct fake_qp *qp_of_cq(const struct fake_cq *cq)
{
    for (struct fake_id *id = ids; id != NULL; id = id->next) {
        struct fake_qp *qp = (struct fake_qp *)id->id.qp;
        if (qp != NULL && qp->cq == cq) {
            return qp;
        }
    }
    return NULL;
}

static int poll_cq(struct ibv_cq *cq, int room, struct ibv_wc *out)
{
    struct fake_cq *c = (struct fake_cq *)cq;
    struct fake_qp *qp = qp_of_cq(c);
    if (qp != NULL) {
        land_flights(qp);
    }
    size_t n = c->count < (size_t)room ? c->count : (size_t)room;
    if (fake.poll_most != 0 && n > (size_t)fake.poll_most) {
        n = (size_t)fake.poll_most;
    }
    if (n != 0) {
        memcpy(out, c->wc, n * sizeof *out);
        c->count -= n;
        memmove(c->wc, c->wc + n, c->count * sizeof *out);
    }
    return (int)n;
}

static int create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    must(pd != NULL);
    if (attr->cap.max_inline_data > (fake.inline_most != 0 ? fake.inline_most : 256) ||
        counts_down(&fake.refuse_create_qp_after)) {
        errno = EINVAL;
        return -1;
    }
    struct fake_qp *qp = mem_zalloc(sizeof *qp);
    qp->id = (struct fake_id *)id;
    qp->cq = (struct fake_cq *)attr->send_cq;
    must(attr->recv_cq == attr->send_cq);
    qp->recv_max = attr->cap.max_recv_wr;
    qp->send_max = attr->cap.max_send_wr;
    qp->inline_max = attr->cap.max_inline_data;
    qp->recv = mem_zalloc(qp->recv_max * sizeof *qp->recv);
    qp->recv_wr = mem_zalloc(qp->recv_max * sizeof *qp->recv_wr);
    qp->flights_tail = &qp->flights;
    id->qp = &qp->qp;
    fake.objects++;
    return 0;
}

static void destroy_qp(struct rdma_cm_id *id)
{
    struct fake_qp *qp = (struct fake_qp *)id->qp;
    while (qp->flights != NULL) {
        struct flight *f = qp->flights;
        qp->flights = f->next;
        mem_free(f);
    }
    if (qp->peer != NULL) {
        /* what it sent is lost unless it was received: its memory goes away */
        struct fake_qp *peer = qp->peer;
        for (struct flight **place = &peer->flights; *place != NULL;) {
            struct flight *f = *place;
            if (f->late != NULL) {
                *place = f->next;
                mem_free(f);
            } else {
                f->from = NULL;
                place = &f->next;
            }
        }
        peer->flights_tail = &peer->flights;
        while (*peer->flights_tail != NULL) {
            peer->flights_tail = &(*peer->flights_tail)->next;
        }
        peer->peer = NULL;
    }
    mem_free(qp->recv);
    mem_free(qp->recv_wr);
    mem_free(qp);
    id->qp = NULL;
    fake.objects--;
}

static int post_recv(struct ibv_qp *base, struct ibv_recv_wr *chain, struct ibv_recv_wr **bad)
{
    struct fake_qp *qp = (struct fake_qp *)base;
    for (; chain != NULL; chain = chain->next) {
        if (counts_down(&fake.refuse_post_recv_after) || qp->recv_count == qp->recv_max) {
            *bad = chain;
            return ENOMEM;
        }
        if (qp->stopped) {
            struct ibv_wc wc = {.wr_id = chain->wr_id, .status = IBV_WC_WR_FLUSH_ERR};
            push_wc(qp->cq, &wc);
            continue;
        }
        uint32_t i = (qp->recv_head + qp->recv_count++) % qp->recv_max;
        qp->recv[i] = chain->sg_list[0];
        qp->recv_wr[i] = chain->wr_id;
    }
    return 0;
}

static void fly(struct fake_qp *qp, const struct ibv_send_wr *wr)
{
    static const struct ibv_sge nothing;
    const struct ibv_sge *sge = wr->num_sge != 0 ? &wr->sg_list[0] : &nothing;
    uint32_t len = sge->length;
    bool is_inline = (wr->send_flags & IBV_SEND_INLINE) != 0;
    must(!is_inline || len <= qp->inline_max);
    struct flight *f = mem_zalloc(sizeof *f + (is_inline ? len : 0));
    f->from = qp;
    f->wr_id = wr->wr_id;
    f->signalled = (wr->send_flags & IBV_SEND_SIGNALED) != 0;
    f->len = len;
    if (is_inline) {
        memcpy(f->bytes, at(sge->addr), len);
    } else if (len != 0) {
        f->late = at(sge->addr);
    }
    *qp->peer->flights_tail = f;
    qp->peer->flights_tail = &f->next;
    notify(qp->peer->cq);
}

static int post_send(struct ibv_qp *base, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    struct fake_qp *qp = (struct fake_qp *)base;
    for (; chain != NULL; chain = chain->next) {
        if (counts_down(&fake.refuse_post_send_after)) {
            *bad = chain;
            return ENOMEM;
        }
        fake.sends++;
        if (qp->stopped || qp->peer == NULL) {
            fake.posted_after_stop++;
            if (!fake.no_flush) {
                complete_send(qp, chain->wr_id, true, IBV_WC_WR_FLUSH_ERR);
            }
            continue;
        }
        if (counts_down(&fake.fail_send_after)) {
            complete_send(qp, chain->wr_id, true, fake.fail_status);
            stop_qp(qp);
            continue;
        }
        fly(qp, chain);
    }
    return 0;
}

/* ---- memory ---- */
static struct ibv_pd *alloc_pd(struct ibv_context *ctx)
{
    must(ctx == &context);
    fake.objects++;
    return mem_zalloc(sizeof(struct ibv_pd));
}

static int dealloc_pd(struct ibv_pd *pd)
{
    mem_free(pd);
    fake.objects--;
    return 0;
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *p, size_t len)
{
    must(pd != NULL);
    if (counts_down(&fake.refuse_reg_mr_after)) {
        errno = ENOMEM;
        return NULL;
    }
    struct ibv_mr *mr = mem_zalloc(sizeof *mr);
    mr->addr = p;
    mr->length = len;
    fake.objects++;
    return mr;
}

static int dereg_mr(struct ibv_mr *mr)
{
    mem_free(mr);
    fake.objects--;
    return 0;
}

/* ---- connection manager ---- */
static struct rdma_event_channel *create_event_channel(void)
{
    struct fake_cm *cm = mem_zalloc(sizeof *cm);
    cm->channel.fd = eventfd(0, EFD_CLOEXEC);
    cm->tail = &cm->events;
    fake.objects++;
    return &cm->channel;
}

static void destroy_event_channel(struct rdma_event_channel *channel)
{
    struct fake_cm *cm = (struct fake_cm *)(void *)channel;
    while (cm->events != NULL) {
        struct fake_event *e = cm->events;
        cm->events = e->next;
        mem_free(e);
    }
    close(channel->fd);
    mem_free(cm);
    fake.objects--;
}

static void push_event(struct fake_id *id, enum rdma_cm_event_type type, const void *data,
                       size_t len)
{
    struct fake_event *e = mem_zalloc(sizeof *e);
    e->event.event = type;
    e->event.id = &id->id;
    must(len <= sizeof e->data);
    if (len != 0) {
        memcpy(e->data, data, len);
        e->event.param.conn.private_data = e->data;
        e->event.param.conn.private_data_len = (uint8_t)len;
    }
    *id->cm->tail = e;
    id->cm->tail = &e->next;
    signal_fd(id->cm->channel.fd);
}

static int get_cm_event(struct rdma_event_channel *channel, struct rdma_cm_event **out)
{
    struct fake_cm *cm = (struct fake_cm *)(void *)channel;
    struct fake_event *e = cm->events;
    if (e == NULL) {
        clear_fd(channel->fd);
        errno = EAGAIN;
        return -1;
    }
    cm->events = e->next;
    if (cm->events == NULL) {
        cm->tail = &cm->events;
    }
    *out = &e->event;
    fake.objects++;
    return 0;
}

static int ack_cm_event(struct rdma_cm_event *event)
{
    mem_free(event);
    fake.objects--;
    return 0;
}

static struct fake_id *new_id(struct fake_cm *cm, void *id_context)
{
    struct fake_id *id = mem_zalloc(sizeof *id);
    id->cm = cm;
    id->id.channel = &cm->channel;
    id->id.context = id_context;
    id->next = ids;
    ids = id;
    fake.objects++;
    return id;
}

static int create_id(struct rdma_event_channel *channel, struct rdma_cm_id **out, void *id_context)
{
    *out = &new_id((struct fake_cm *)(void *)channel, id_context)->id;
    return 0;
}

static void drop_events(struct fake_id *id)
{
    struct fake_cm *cm = id->cm;
    for (struct fake_event **place = &cm->events; *place != NULL;) {
        struct fake_event *e = *place;
        if (e->event.id == &id->id) {
            *place = e->next;
            mem_free(e);
        } else {
            place = &e->next;
        }
    }
    cm->tail = &cm->events;
    while (*cm->tail != NULL) {
        cm->tail = &(*cm->tail)->next;
    }
}

static void part(struct fake_id *id)
{
    struct fake_id *peer = id->peer;
    id->peer = NULL;
    id->connected = false;
    if (peer == NULL) {
        return;
    }
    peer->peer = NULL;
    if (peer->connected) {
        peer->connected = false;
        struct fake_qp *qp = (struct fake_qp *)peer->id.qp;
        if (qp != NULL) {
            land_flights(qp); /* what had arrived comes before the end */
            stop_qp(qp);
        }
        push_event(peer, RDMA_CM_EVENT_DISCONNECTED, NULL, 0);
    }
}

static int destroy_id(struct rdma_cm_id *base)
{
    struct fake_id *id = (struct fake_id *)base;
    must(base->qp == NULL);
    struct fake_id *caller = id->peer;
    bool unanswered = caller != NULL && !id->connected && caller->dialled && !caller->connected;
    part(id);
    if (unanswered) {
        push_event(caller, RDMA_CM_EVENT_REJECTED, NULL, 0);
    }
    drop_events(id);
    for (struct fake_id **place = &ids; *place != NULL; place = &(*place)->next) {
        if (*place == id) {
            *place = id->next;
            break;
        }
    }
    mem_free(id);
    fake.objects--;
    return 0;
}

static uint16_t port_of(const struct sockaddr *addr)
{
    struct sockaddr_in in;
    memcpy(&in, addr, sizeof in);
    return ntohs(in.sin_port);
}

static int bind_addr(struct rdma_cm_id *base, struct sockaddr *addr)
{
    struct fake_id *id = (struct fake_id *)base;
    struct sockaddr_in in;
    memcpy(&in, addr, sizeof in);
    if (in.sin_addr.s_addr != htonl(INADDR_LOOPBACK) && in.sin_addr.s_addr != 0) {
        errno = ENODEV;
        return -1;
    }
    id->port = ntohs(in.sin_port) != 0 ? ntohs(in.sin_port) : next_port++;
    base->verbs = &context;
    return 0;
}

static uint16_t get_src_port(struct rdma_cm_id *base)
{
    return htons(((struct fake_id *)base)->port);
}

static int listen_id(struct rdma_cm_id *base, int backlog)
{
    must(backlog > 0);
    ((struct fake_id *)base)->listening = true;
    return 0;
}

static int resolve_addr(struct rdma_cm_id *base, struct sockaddr *from, struct sockaddr *to,
                        int timeout_ms)
{
    struct fake_id *id = (struct fake_id *)base;
    (void)from;
    must(timeout_ms > 0);
    id->port = port_of(to);
    base->verbs = &context;
    push_event(id, RDMA_CM_EVENT_ADDR_RESOLVED, NULL, 0);
    return 0;
}

static int resolve_route(struct rdma_cm_id *base, int timeout_ms)
{
    must(timeout_ms > 0);
    push_event((struct fake_id *)base, RDMA_CM_EVENT_ROUTE_RESOLVED, NULL, 0);
    return 0;
}

static int set_option(struct rdma_cm_id *id, int level, int name, void *value, size_t len)
{
    (void)id;
    (void)level;
    (void)name;
    (void)value;
    (void)len;
    errno = ENOSYS;
    return -1;
}

static int connect_id(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
    struct fake_id *id = (struct fake_id *)base;
    must(base->qp != NULL);
    must(param->private_data_len <= 56); /* all there is with InfiniBand */
    id->dialled = true;
    for (struct fake_id *l = ids; l != NULL; l = l->next) {
        if (l->listening && l->port == id->port) {
            struct fake_id *in = new_id(l->cm, l->id.context);
            in->id.verbs = &context;
            in->peer = id;
            id->peer = in;
            push_event(in, RDMA_CM_EVENT_CONNECT_REQUEST, param->private_data,
                       param->private_data_len);
            return 0;
        }
    }
    push_event(id, RDMA_CM_EVENT_REJECTED, NULL, 0);
    return 0;
}

static int accept_id(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
    struct fake_id *id = (struct fake_id *)base;
    struct fake_id *caller = id->peer;
    if (caller == NULL) {
        push_event(id, RDMA_CM_EVENT_UNREACHABLE, NULL, 0);
        return 0;
    }
    id->connected = caller->connected = true;
    struct fake_qp *a = (struct fake_qp *)base->qp;
    struct fake_qp *b = (struct fake_qp *)caller->id.qp;
    a->peer = b;
    b->peer = a;
    push_event(caller, RDMA_CM_EVENT_ESTABLISHED, param->private_data, param->private_data_len);
    push_event(id, RDMA_CM_EVENT_ESTABLISHED, NULL, 0);
    return 0;
}

static int reject_id(struct rdma_cm_id *base, const void *data, uint8_t len)
{
    struct fake_id *id = (struct fake_id *)base;
    struct fake_id *caller = id->peer;
    if (caller != NULL) {
        id->peer = caller->peer = NULL;
        push_event(caller, RDMA_CM_EVENT_REJECTED, data, len);
    }
    return 0;
}

static int disconnect_id(struct rdma_cm_id *base)
{
    struct fake_id *id = (struct fake_id *)base;
    struct fake_qp *qp = (struct fake_qp *)base->qp;
    if (qp != NULL) {
        stop_qp(qp);
    }
    part(id);
    return 0;
}

void verbs_fake_event(enum rdma_cm_event_type type)
{
    for (struct fake_id *id = ids; id != NULL; id = id->next) {
        if (id->dialled && id->connected) {
            push_event(id, type, NULL, 0);
        }
    }
}

const struct verbs_calls verbs_fake = {
    .get_devices = get_devices,
    .free_devices = free_devices,
    .device_name = device_name,
    .query_device = query_device,
    .query_port = query_port,
    .query_gid = query_gid,
    .create_event_channel = create_event_channel,
    .destroy_event_channel = destroy_event_channel,
    .get_cm_event = get_cm_event,
    .ack_cm_event = ack_cm_event,
    .create_id = create_id,
    .destroy_id = destroy_id,
    .bind_addr = bind_addr,
    .get_src_port = get_src_port,
    .listen = listen_id,
    .resolve_addr = resolve_addr,
    .resolve_route = resolve_route,
    .set_option = set_option,
    .connect = connect_id,
    .accept = accept_id,
    .reject = reject_id,
    .disconnect = disconnect_id,
    .create_qp = create_qp,
    .destroy_qp = destroy_qp,
    .alloc_pd = alloc_pd,
    .dealloc_pd = dealloc_pd,
    .reg_mr = reg_mr,
    .dereg_mr = dereg_mr,
    .create_comp_channel = create_comp_channel,
    .destroy_comp_channel = destroy_comp_channel,
    .create_cq = create_cq,
    .destroy_cq = destroy_cq,
    .req_notify_cq = req_notify_cq,
    .get_cq_event = get_cq_event,
    .ack_cq_events = ack_cq_events,
    .poll_cq = poll_cq,
    .post_send = post_send,
    .post_recv = post_recv,
};
