/* Sending over verbs: messages into slabs, slabs into the ring, chains of sends, credits.
 *
 * A message is copied straight into the slab being filled. Only what finds no credit or no free
 * slab, or is longer than a slab, goes through a backlog; from there it is cut into fragments. A
 * flush closes the open slab and posts everything filled as one chain. Invariants:
 *
 *   I1  one credit of its class is spent per slab, when it is opened
 *   I2  data messages never enter an ACK slab; an ACK may enter any
 *   I3  no data message passes another one: while the data backlog is not empty, new ones go behind
 *       it
 *   I4  at most a quarter of the ring is posted without a signalled send among it, so the ring
 *       always drains */
#include <string.h>

#include "common/must.h"
#include "rdma/verbs.h"

#define CHAIN_MAX 32u

static char *slab_at(const struct verbs_link *l, uint64_t position)
{
    return l->region +
           (size_t)(l->recv_slabs + (uint32_t)(position % l->send_slabs)) * l->slab_bytes;
}

static enum slab_class open_class(const struct verbs_link *l)
{
    return (enum slab_class)(unsigned char)slab_at(l, l->filled)[5];
}

static void close_slab(struct verbs_link *l)
{
    if (l->open) {
        /* the length is kept where the credits go, until the slab is posted */
        char *slab = slab_at(l, l->filled);
        uint32_t used = l->open_used;
        memcpy(slab, &used, sizeof used);
        l->filled++;
        l->open = false;
    }
}

/* I1. false: no credit of that class, or every slab is under way. */
static bool open_slab(struct verbs_link *l, enum slab_class class)
{
    must(!l->open);
    if (l->credits[class] == 0 || l->filled - l->done >= l->send_slabs - 1) {
        return false;
    }
    l->credits[class]--;
    char *slab = slab_at(l, l->filled);
    memset(slab, 0, SLAB_HEAD);
    slab[5] = (char)class;
    l->open = true;
    l->open_used = SLAB_HEAD;
    return true;
}

static size_t room_left(const struct verbs_link *l)
{
    return l->peer_slab - l->open_used;
}

/* Makes an open slab that takes `need` bytes of frames of this class. I2. */
static bool make_room(struct verbs_link *l, enum slab_class class, size_t need)
{
    if (l->open && (room_left(l) < need || (class == SLAB_DATA && open_class(l) != SLAB_DATA))) {
        close_slab(l);
    }
    if (l->open) {
        return true;
    }
    if (class == SLAB_ACK && buf_used(&l->backlog[SLAB_DATA]) != 0) {
        return open_slab(l, SLAB_ACK); /* the data credits are spoken for */
    }
    return open_slab(l, SLAB_DATA) || (class == SLAB_ACK && open_slab(l, SLAB_ACK));
}

static void to_backlog(struct verbs_link *l, enum slab_class class, const struct span *parts,
                       size_t n, size_t len)
{
    struct buf *b = &l->backlog[class];
    frame_put(buf_reserve(b, FRAME_HEAD + len), FRAME_MESSAGE, len);
    buf_commit(b, FRAME_HEAD);
    for (size_t i = 0; i < n; i++) {
        buf_add(b, parts[i].p, parts[i].len);
    }
}

/* Moves frames from a backlog into slabs while credits last; frames longer than a slab are cut:
 * what is left of one is again a frame, its header written over bytes that are gone. */
static void pump(struct verbs_link *l, enum slab_class class)
{
    struct buf *b = &l->backlog[class];
    size_t slab_room = l->peer_slab - SLAB_HEAD;
    while (buf_used(b) != 0) {
        unsigned kind = 0;
        size_t len = 0;
        char *head = buf_head(b);
        must(head != NULL);
        frame_get(head, &kind, &len);
        bool whole = FRAME_HEAD + len <= slab_room;
        /* a long one starts in what is left of the slab, if that is worth a fragment */
        if (!make_room(l, class, whole ? FRAME_HEAD + len : SLAB_MIN / 2)) {
            l->base.peer->stats.credit_stalls++;
            return;
        }
        size_t take = room_left(l) - FRAME_HEAD;
        char *to = slab_at(l, l->filled) + l->open_used;
        if (len <= take) {
            memcpy(to, head, FRAME_HEAD + len);
            l->open_used += (uint32_t)(FRAME_HEAD + len);
            buf_consume(b, FRAME_HEAD + len);
            continue;
        }
        frame_put(to, FRAME_FRAGMENT, take);
        memcpy(to + FRAME_HEAD, head + FRAME_HEAD, take);
        l->open_used += (uint32_t)(FRAME_HEAD + take);
        buf_consume(b, take);
        frame_put(head + take, FRAME_MESSAGE, len - take);
        l->base.peer->stats.fragments++;
    }
    buf_trim(b, (size_t)256 << 10);
}

void send_queue(struct verbs_link *l, unsigned flags, const struct span *parts, size_t n,
                size_t len)
{
    enum slab_class class = (flags & TRANSPORT_ACK) != 0 ? SLAB_ACK : SLAB_DATA;
    if (l->broken) {
        return; /* about to be reported lost */
    }
    bool whole = FRAME_HEAD + len <= l->peer_slab - SLAB_HEAD;
    if (!whole || buf_used(&l->backlog[class]) != 0 ||
        !make_room(l, class, FRAME_HEAD + len)) { /* I3 */
        to_backlog(l, class, parts, n, len);
    } else {
        char *to = slab_at(l, l->filled) + l->open_used;
        frame_put(to, FRAME_MESSAGE, len);
        to += FRAME_HEAD;
        for (size_t i = 0; i < n; i++) {
            if (parts[i].len != 0) {
                memcpy(to, parts[i].p, parts[i].len);
                to += parts[i].len;
            }
        }
        l->open_used += (uint32_t)(FRAME_HEAD + len);
    }
    if (l->base.t->o.no_coalescing && l->base.doomed == NULL) {
        l->base.doomed = send_flush(l);
    }
}

/* Writes the slab's header for good and describes its send. I4. */
static void prepare(struct verbs_link *l, struct ibv_send_wr *wr, struct ibv_sge *sge)
{
    char *slab = slab_at(l, l->posted);
    struct transport_stats *stats = &l->base.peer->stats;
    uint32_t len = 0;
    memcpy(&len, slab, sizeof len);
    unsigned char *head = (unsigned char *)slab;
    head[0] = (unsigned char)l->owed[SLAB_DATA];
    head[1] = (unsigned char)(l->owed[SLAB_DATA] >> 8);
    head[2] = (unsigned char)l->owed[SLAB_ACK];
    head[3] = (unsigned char)(l->owed[SLAB_ACK] >> 8);
    head[4] = (unsigned char)l->owed[SLAB_CONTROL];
    memset(l->owed, 0, sizeof l->owed);
    *sge = (struct ibv_sge){.addr = (uintptr_t)slab, .length = len, .lkey = l->mr->lkey};
    *wr = (struct ibv_send_wr){
        .wr_id = l->posted, .sg_list = sge, .num_sge = 1, .opcode = IBV_WR_SEND};
    if (len <= l->inline_max) {
        wr->send_flags |= IBV_SEND_INLINE;
        stats->inline_sends++;
    }
    if (++l->unsignalled >= l->send_slabs / 4) {
        wr->send_flags |= IBV_SEND_SIGNALED;
        l->unsignalled = 0;
        stats->signalled++;
    }
    stats->sends++;
    l->posted++;
}

static const char *post_filled(struct verbs_link *l)
{
    while (l->posted < l->filled) {
        struct ibv_send_wr wr[CHAIN_MAX];
        struct ibv_sge sge[CHAIN_MAX];
        unsigned n = 0;
        while (n < CHAIN_MAX && l->posted < l->filled) {
            prepare(l, &wr[n], &sge[n]);
            if (n != 0) {
                wr[n - 1].next = &wr[n];
            }
            n++;
        }
        struct ibv_send_wr *bad = NULL;
        l->base.peer->stats.doorbells++;
        l->used = true;
        if (l->v->calls->post_send(l->id->qp, wr, &bad) != 0) {
            return "cannot post a send";
        }
    }
    return NULL;
}

bool send_owes_much(const struct verbs_link *l)
{
    const struct verbs *v = l->v;
    return l->owed[SLAB_DATA] * 2 >= v->credits[SLAB_DATA] ||
           l->owed[SLAB_ACK] * 2 >= v->credits[SLAB_ACK];
}

const char *send_control(struct verbs_link *l)
{
    close_slab(l);
    if (open_slab(l, SLAB_CONTROL)) {
        l->base.peer->stats.credit_sends++;
        close_slab(l);
    }
    return post_filled(l);
}

const char *send_flush(struct verbs_link *l)
{
    if (l->broken || !l->has_qp) {
        return NULL;
    }
    pump(l, SLAB_ACK);
    pump(l, SLAB_DATA);
    close_slab(l);
    if (l->posted == l->filled && send_owes_much(l)) {
        return send_control(l);
    }
    return post_filled(l);
}

void send_completed(struct verbs_link *l, uint64_t position)
{
    if (position >= l->done && position < l->posted) {
        l->done = position + 1;
    }
}

size_t send_queued(const struct verbs_link *l)
{
    return buf_used(&l->backlog[SLAB_DATA]) + buf_used(&l->backlog[SLAB_ACK]);
}
