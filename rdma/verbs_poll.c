/* Completions of the verbs transport: receiving, retiring sends, the end of a connection, busy
 * polling.
 *
 * Sleeping: the completion queues are armed, the device's channel wakes the loop. An event re-arms
 * first and polls until the queue is empty afterwards, so nothing is missed. Busy polling
 * (busy_poll_us): after a wake-up the queues are polled once per turn, by a timer of 0, and armed
 * again when nothing came for the window. The window adapts: halved each time it ends without a
 * completion, grown when a wake-up follows soon after arming.
 *
 * The end: the queue pair is stopped (error state), which completes all posted work; what had
 * arrived before is delivered; when every receive and a marker behind the sends are back, or after
 * DRAIN_US, the link is lost. */
#include <string.h>

#include "common/clock.h"
#include "common/must.h"
#include "rdma/verbs.h"

#define BATCH 16
#define DRAIN_US 200000u

/* ---- what is in a slab ---- */
static const char *take_frame(struct verbs_link *l, unsigned class, unsigned kind, const char *body,
                              size_t len)
{
    struct buf *partial = &l->partial[class];
    if (kind != FRAME_MESSAGE && kind != FRAME_FRAGMENT) {
        return "unknown frame";
    }
    if (buf_used(partial) + len > l->base.t->o.message_max) {
        return "message above the limit of this member";
    }
    if (kind == FRAME_FRAGMENT) {
        buf_add(partial, body, len);
        return NULL;
    }
    if (buf_used(partial) == 0) {
        link_message(&l->base, body, len);
        return NULL;
    }
    buf_add(partial, body, len);
    link_message(&l->base, buf_head(partial), buf_used(partial));
    buf_consume(partial, buf_used(partial));
    buf_trim(partial, (size_t)256 << 10);
    return NULL;
}

static const char *take_frames(struct verbs_link *l, unsigned class, const char *p, size_t len)
{
    for (size_t at = 0; at < len && !link_is_dead(&l->base);) {
        unsigned kind = 0;
        size_t body = 0;
        if (len - at < FRAME_HEAD) {
            return "malformed slab";
        }
        frame_get(p + at, &kind, &body);
        at += FRAME_HEAD;
        if (body > len - at || class == SLAB_CONTROL) {
            return "malformed slab";
        }
        const char *lost = take_frame(l, class, kind, p + at, body);
        if (lost != NULL) {
            return lost;
        }
        at += body;
    }
    return NULL;
}

static const char *take_credits(struct verbs_link *l, const unsigned char *head)
{
    l->credits[SLAB_DATA] += (uint32_t)(head[0] | head[1] << 8);
    l->credits[SLAB_ACK] += (uint32_t)(head[2] | head[3] << 8);
    l->credits[SLAB_CONTROL] += head[4];
    for (int class = 0; class < SLAB_CLASSES; class ++) {
        if (l->credits[class] > CREDITS_MAX) {
            return "more credits than there can be";
        }
    }
    return NULL;
}

const char *poll_take_slab(struct verbs_link *l, uint32_t slab, uint32_t len)
{
    const char *p = l->region + (size_t)slab * l->slab_bytes;
    if (len < SLAB_HEAD || len > l->slab_bytes || (unsigned char)p[5] >= SLAB_CLASSES) {
        return "malformed slab";
    }
    unsigned class = (unsigned char)p[5];
    const char *lost = take_credits(l, (const unsigned char *)p);
    if (lost != NULL) {
        return lost;
    }
    if (l->base.state == LINK_ACCEPTED) {
        link_established(&l->base); /* the caller's first slab proves the way */
    }
    if (link_is_dead(&l->base)) {
        return NULL;
    }
    if (l->base.state != LINK_UP) {
        return "a message before the connection was up";
    }
    l->base.peer->stats.receives++;
    lost = take_frames(l, class, p + SLAB_HEAD, len - SLAB_HEAD);
    if (lost == NULL && !link_is_dead(&l->base) && !l->broken) {
        l->taken[class]++;
        qp_repost(l, slab);
    }
    return lost;
}

/* ---- completions ---- */
static const char *status_text(enum ibv_wc_status status)
{
    if (status == IBV_WC_RETRY_EXC_ERR) {
        return "the peer's device does not answer";
    }
    if (status == IBV_WC_WR_FLUSH_ERR) { /* stopped, and not by us */
        return "closed by the peer";
    }
    if (status == IBV_WC_RNR_RETRY_EXC_ERR) {
        return "the peer has no receive posted";
    }
    return ibv_wc_status_str(status);
}

static const char *take_completion(struct verbs_link *l, const struct ibv_wc *wc)
{
    if (l->base.peer != NULL) {
        l->base.peer->stats.completions++;
    }
    if ((wc->wr_id & WR_RECV) != 0) {
        l->recv_posted--;
        return wc->status != IBV_WC_SUCCESS ? status_text(wc->status)
                                            : poll_take_slab(l, (uint32_t)wc->wr_id, wc->byte_len);
    }
    if ((wc->wr_id & WR_DRAIN) != 0) {
        l->drain_marked = false;
        return NULL;
    }
    send_completed(l, wc->wr_id);
    return wc->status != IBV_WC_SUCCESS ? status_text(wc->status) : NULL;
}

/* Empties the queue. Returns why the link is to end, or NULL. *any: something was there. */
static const char *take_completions(struct verbs_link *l, bool *any)
{
    const char *lost = NULL;
    for (;;) {
        struct ibv_wc wc[BATCH];
        int n = l->v->calls->poll_cq(l->cq, BATCH, wc);
        if (n <= 0) {
            return n < 0 ? "cannot poll completions" : lost;
        }
        *any = true;
        for (int i = 0; i < n; i++) {
            /* after the first failure the rest is counted; messages that came in before it are
             * delivered */
            const char *why = take_completion(l, &wc[i]);
            lost = lost != NULL ? lost : why;
            if (link_is_dead(&l->base)) {
                return NULL;
            }
        }
        if (!l->broken && lost == NULL) {
            lost = qp_post_recvs(l);
        }
    }
}

static bool is_drained(const struct verbs_link *l)
{
    return l->recv_posted == 0 && !l->drain_marked;
}

/* Stops the queue pair and puts a marker behind its sends. */
static void stop(struct verbs_link *l, const char *reason)
{
    l->broken = true;
    l->reason = reason;
    (void)l->v->calls->disconnect(l->id); /* fails if the peer was first: the state is the same */
    struct ibv_send_wr wr = {
        .wr_id = WR_DRAIN, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED};
    struct ibv_send_wr *bad = NULL;
    /* some devices refuse work in the error state: then there is nothing left to wait for */
    l->drain_marked = l->v->calls->post_send(l->id->qp, &wr, &bad) == 0;
    loop_timer_start(l->drain, DRAIN_US);
}

static bool poll_and_see(struct verbs_link *l)
{
    bool any = false;
    const char *lost = take_completions(l, &any);
    if (link_is_dead(&l->base)) {
        return any;
    }
    if (lost != NULL && !l->broken) {
        stop(l, lost);
        (void)take_completions(l, &any);
    }
    if (link_is_dead(&l->base)) {
        return any;
    }
    if (l->broken) {
        if (is_drained(l)) {
            link_lost(&l->base, l->reason);
        }
        return any;
    }
    if (any && (send_queued(l) != 0 || send_owes_much(l))) {
        link_touch(&l->base);
    }
    return any;
}

void poll_link(struct verbs_link *l)
{
    (void)poll_and_see(l);
}

void poll_break(struct verbs_link *l, const char *reason)
{
    if (l->broken || link_is_dead(&l->base)) {
        return;
    }
    if (!l->has_qp || l->base.state != LINK_UP) {
        link_lost(&l->base, reason);
        return;
    }
    stop(l, reason);
    poll_link(l);
}

void poll_drain_late(void *arg)
{
    struct verbs_link *l = arg;
    if (!link_is_dead(&l->base)) {
        link_lost(&l->base, l->reason);
    }
}

/* ---- waking up, and busy polling ---- */
/* Dead links leave the list but keep their memory until the end of the turn, so the walk stays on
 * its feet. */
static bool poll_all(struct verbs *v)
{
    bool any = false;
    struct link *next = NULL;
    for (struct link *l = v->t->links; l != NULL; l = next) {
        next = l->next;
        if (!link_is_dead(l) && verbs_of(l)->cq != NULL) {
            any = poll_and_see(verbs_of(l)) || any;
        }
    }
    return any;
}

static void arm_all(struct verbs *v)
{
    for (struct link *l = v->t->links; l != NULL; l = l->next) {
        if (verbs_of(l)->cq != NULL) {
            (void)v->calls->req_notify_cq(
                verbs_of(l)->cq); /* a dead device says so by a CM event */
        }
    }
}

void poll_busy(void *arg)
{
    struct verbs *v = arg;
    bool any = poll_all(v);
    uint64_t now = clk_mono_ns();
    if (any) {
        v->poll_until_ns = now + (uint64_t)v->poll_window_us * 1000u;
    }
    if (now < v->poll_until_ns) {
        loop_timer_start(v->poll_timer, 0);
        return;
    }
    v->polling = false;
    v->poll_window_us /= 2;
    v->armed_ns = now;
    arm_all(v);
    (void)poll_all(v);
}

static void start_polling(struct verbs *v)
{
    uint32_t most = v->t->o.busy_poll_us;
    uint64_t now = clk_mono_ns();
    if (now - v->armed_ns < (uint64_t)most * 1000u) { /* a longer window would have caught it */
        uint32_t grown = v->poll_window_us * 2 + most / 8 + 1;
        v->poll_window_us = grown < most ? grown : most;
    }
    v->armed_ns = now;
    if (v->poll_window_us != 0) {
        v->polling = true;
        v->poll_until_ns = now + (uint64_t)v->poll_window_us * 1000u;
        loop_timer_start(v->poll_timer, 0);
    }
}

void poll_device_ready(int fd, unsigned events, void *arg)
{
    (void)fd;
    (void)events;
    struct verbs_device *d = arg;
    struct verbs *v = d->v;
    struct ibv_cq *cq = NULL;
    void *context = NULL;
    if (v->t->o.busy_poll_us != 0 && !v->polling) {
        start_polling(v);
    }
    while (v->calls->get_cq_event(d->channel, &cq, &context) == 0) {
        struct verbs_link *l = context;
        l->unacked++;
        if (l->zombie) {
            continue;
        }
        if (l->base.peer != NULL) {
            l->base.peer->stats.wakeups++;
        }
        if (!v->polling && v->calls->req_notify_cq(cq) != 0) {
            poll_break(l, "cannot arm the completion queue");
            continue;
        }
        poll_link(l);
    }
}
