/* Memory and queue pair of one verbs link.
 *
 * One region per link, registered once: the receive slabs, then the send slabs; huge pages if there
 * are some, on the NUMA node of the device if that is known. All receives are posted before the
 * connection can be used. */
#include <errno.h>
#include <numa.h>
#include <string.h>
#include <sys/mman.h>

#include "common/mem.h"
#include "common/must.h"
#include "rdma/verbs.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define SEND_SPARE 8u /* ring places beyond the credits: retired late, and the drain marker */

static void *map_region(size_t *len)
{
    if (*len >= HUGE_PAGE / 2) {
        size_t rounded = (*len + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
        void *p = mmap(NULL, rounded, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
        if (p != MAP_FAILED) {
            *len = rounded;
            return p;
        }
    }
    void *p = mmap(NULL, *len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static enum err alloc_region(struct verbs_link *l)
{
    struct verbs *v = l->v;
    l->slab_bytes = v->slab_bytes;
    l->recv_slabs = v->credits[SLAB_DATA] + v->credits[SLAB_ACK] + v->credits[SLAB_CONTROL];
    l->send_slabs = l->recv_slabs + SEND_SPARE;
    l->region_len = (size_t)(l->recv_slabs + l->send_slabs) * l->slab_bytes;
    l->region = map_region(&l->region_len);
    if (l->region == NULL) {
        return ERR_NOMEM;
    }
    if (l->dev->numa_node >= 0 && numa_available() >= 0) {
        numa_tonode_memory(l->region, l->region_len, l->dev->numa_node);
    }
    /* a child must not get copies of pages the device writes to */
    (void)madvise(l->region, l->region_len, MADV_DONTFORK);
    l->mr = v->calls->reg_mr(l->dev->pd, l->region, l->region_len);
    if (l->mr == NULL) {
        if (log_limited(&l->base.t->refuse_limit)) {
            log_warning(
                "rdma: cannot register %zu KiB of memory: %s (see `ulimit -l`, docs/rdma.md)",
                l->region_len >> 10, strerrordesc_np(errno));
        }
        return ERR_NOMEM;
    }
    v->registered += l->region_len;
    return OK;
}

/* Devices differ in how much they take inline, and some refuse instead of giving less. */
static enum err create_qp(struct verbs_link *l)
{
    static const uint32_t inline_sizes[] = {512, 220, 124, 60, 0};
    for (size_t i = 0; i < sizeof inline_sizes / sizeof inline_sizes[0]; i++) {
        struct ibv_qp_init_attr attr = {
            .send_cq = l->cq,
            .recv_cq = l->cq,
            .qp_type = IBV_QPT_RC,
            .sq_sig_all = 0,
            .cap = {.max_send_wr = l->send_slabs,
                    .max_recv_wr = l->recv_slabs,
                    .max_send_sge = 1,
                    .max_recv_sge = 1,
                    .max_inline_data = inline_sizes[i]},
        };
        if (l->v->calls->create_qp(l->id, l->dev->pd, &attr) == 0) {
            l->inline_max = attr.cap.max_inline_data;
            l->has_qp = true;
            return OK;
        }
    }
    return ERR_IO;
}

void qp_repost(struct verbs_link *l, uint32_t slab)
{
    uint32_t i = l->repost_count++;
    l->repost_sge[i] =
        (struct ibv_sge){.addr = (uintptr_t)(l->region + (size_t)slab * l->slab_bytes),
                         .length = l->slab_bytes,
                         .lkey = l->mr->lkey};
    l->repost[i] =
        (struct ibv_recv_wr){.wr_id = WR_RECV | slab, .sg_list = &l->repost_sge[i], .num_sge = 1};
    if (i != 0) {
        l->repost[i - 1].next = &l->repost[i];
    }
}

const char *qp_post_recvs(struct verbs_link *l)
{
    if (l->repost_count == 0) {
        return NULL;
    }
    struct ibv_recv_wr *bad = NULL;
    int e = l->v->calls->post_recv(l->id->qp, l->repost, &bad);
    if (e != 0) {
        return "cannot post a receive";
    }
    l->recv_posted += l->repost_count;
    l->repost_count = 0;
    for (int class = 0; class < SLAB_CLASSES;
         class ++) { /* now, and not before, they are credits again */
        l->owed[class] += l->taken[class];
        l->taken[class] = 0;
    }
    return NULL;
}

enum err qp_setup(struct verbs_link *l)
{
    l->dev = device_get(l->v, l->id->verbs);
    if (l->dev == NULL) {
        return ERR_IO;
    }
    enum err e = alloc_region(l);
    if (e != OK) {
        return e;
    }
    l->cq = l->v->calls->create_cq(l->dev->ctx, (int)(l->recv_slabs + l->send_slabs), l,
                                   l->dev->channel);
    if (l->cq == NULL || l->v->calls->req_notify_cq(l->cq) != 0) {
        return ERR_IO;
    }
    e = create_qp(l);
    if (e != OK) {
        return e;
    }
    l->repost = mem_zalloc(l->recv_slabs * sizeof *l->repost);
    l->repost_sge = mem_zalloc(l->recv_slabs * sizeof *l->repost_sge);
    for (uint32_t i = 0; i < l->recv_slabs; i++) {
        qp_repost(l, i);
    }
    return qp_post_recvs(l) == NULL ? OK : ERR_IO;
}

bool qp_learn_peer(struct verbs_link *l, const struct hello *h)
{
    if (h->slab_bytes < SLAB_MIN || h->slab_bytes > SLAB_MAX || h->data_credits < 2 ||
        h->ack_credits < 1) {
        return false;
    }
    l->peer_slab = h->slab_bytes < l->v->slab_bytes ? h->slab_bytes : l->v->slab_bytes;
    l->credits[SLAB_DATA] = h->data_credits;
    l->credits[SLAB_ACK] = h->ack_credits;
    l->credits[SLAB_CONTROL] = CONTROL_CREDITS;
    return true;
}

void qp_destroy(struct verbs_link *l)
{
    const struct verbs_calls *c = l->v->calls;
    if (l->has_qp) {
        c->destroy_qp(l->id);
        l->has_qp = false;
    }
    if (l->cq != NULL) {
        if (l->unacked != 0) {
            c->ack_cq_events(l->cq, l->unacked);
            l->unacked = 0;
        }
        (void)c->destroy_cq(l->cq);
        l->cq = NULL;
    }
    if (l->mr != NULL) {
        (void)c->dereg_mr(l->mr);
        l->mr = NULL;
        l->v->registered -= l->region_len;
    }
}

void qp_free(struct verbs_link *l)
{
    if (l->region != NULL) {
        munmap(l->region, l->region_len);
    }
    mem_free(l->repost);
    mem_free(l->repost_sge);
    for (int i = 0; i < 2; i++) {
        buf_free(&l->backlog[i]);
        buf_free(&l->partial[i]);
    }
}
