#ifndef RDMA_VERBS_H
#define RDMA_VERBS_H

#include "common/buf.h"
#include "common/must.h"
#include "rdma/link.h"
#include "rdma/verbs_calls.h"

/* Inside of the verbs transport. verbs.c: connection manager, life of a link. verbs_qp.c: memory
 * and queue pair of a link. verbs_send.c: slabs, credits, sending. verbs_poll.c: completions,
 * receiving, draining, busy polling. verbs_device.c: finding and describing devices.
 *
 * Slab: one registered buffer, one SEND, one RECV. Its first SLAB_HEAD bytes are
 *
 *   0 u16 data credits given back | 2 u16 ack credits | 4 u8 control credits | 5 u8 class |
 *   6 u16 zero
 *
 * then whole frames (wire.h). Messages longer than a slab travel as FRAGMENT frames and a last
 * MESSAGE. */
#define SLAB_HEAD 8u
#define SLAB_MIN 256u
#define SLAB_MAX (1u << 20)

/* Every receive posted at the peer is a credit of one class; a sender without a credit does not
 * send.
 *
 *   DATA     messages; may carry acks as well
 *   ACK      only TRANSPORT_ACK messages, used when the data credits are out: answers always get
 *            through
 *   CONTROL  no messages: gives credits back, opens the connection, keeps it alive
 *
 * A receive is posted again before its credit is given back, so there is always one for what may
 * come. */
enum slab_class { SLAB_DATA, SLAB_ACK, SLAB_CONTROL, SLAB_CLASSES };
#define CONTROL_CREDITS 8u
#define CREDITS_MAX 4096u

struct verbs_device {
    struct verbs_device *next;
    struct verbs *v;
    struct ibv_context *ctx;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct loop_io *io;
    struct ibv_device_attr attr;
    int numa_node; /* -1: unknown */
};

struct verbs {
    const struct verbs_calls *calls;
    struct transport *t;
    struct rdma_event_channel *channel;
    struct loop_io *io;
    struct rdma_cm_id *listener;
    struct verbs_device *devices;
    struct verbs_link *zombies; /* see verbs_shut */
    struct transport *sentry;   /* TCP listener that tells TCP members to change their setting */
    struct sockaddr_storage from;
    unsigned from_len;
    bool from_any;
    uint32_t slab_bytes;
    uint32_t credits[SLAB_CLASSES]; /* receives posted per peer */
    uint64_t registered;
    struct loop_timer *keepalive;
    /* busy polling, verbs_poll.c */
    struct loop_timer *poll_timer;
    uint32_t poll_window_us; /* now; 0..o.busy_poll_us */
    uint64_t poll_until_ns, armed_ns;
    bool polling;
    char text[160]; /* describe */
};

struct verbs_link {
    struct link base;
    struct verbs *v;
    struct verbs_device *dev; /* NULL until the route is known */
    struct rdma_cm_id *id;
    struct ibv_cq *cq;
    struct ibv_mr *mr;
    bool has_qp, used; /* used: something was sent since the last keep-alive */
    unsigned unacked;  /* completion events */
    bool calling;      /* connect was called and no event has answered it */
    bool zombie;       /* dead, in v->zombies */
    struct verbs_link *next_zombie;
    struct hello hello; /* to be said */

    char *region; /* receive slabs, then send slabs */
    size_t region_len;
    uint32_t slab_bytes, recv_slabs, send_slabs;
    uint32_t inline_max;

    /* sending: a ring; positions only grow, slab = position % send_slabs.
     * done <= posted <= filled; when open, slab `filled` is being written. */
    uint64_t done, posted, filled;
    bool open;
    uint32_t open_used;
    uint32_t unsignalled;
    uint32_t peer_slab;             /* bytes we may send at once */
    uint32_t credits[SLAB_CLASSES]; /* to send with */
    uint32_t owed[SLAB_CLASSES];    /* to give back */
    struct buf backlog[2];          /* frames without credit: [SLAB_DATA], [SLAB_ACK] */

    /* receiving */
    uint32_t recv_posted;
    struct ibv_recv_wr *repost; /* chain being built, recv_slabs long */
    struct ibv_sge *repost_sge;
    uint32_t repost_count;
    uint32_t taken[SLAB_CLASSES]; /* of the chain, by the class that used them */
    struct buf partial[2];        /* a message of which fragments came, per class */

    /* end */
    bool broken, drain_marked;
    const char *reason;
    struct loop_timer *drain;
};

static inline struct verbs_link *verbs_of(struct link *l)
{
    obj_check(l, LINK_MAGIC);
    return (struct verbs_link *)l;
}

/* ---- verbs_device.c ---- */
/* The worker's protection domain and completion channel on a device, made at first use. NULL:
 * failed. */
struct verbs_device *device_get(struct verbs *v, struct ibv_context *ctx);
void device_free(struct verbs_device *d);
struct device_choice {
    char device[64];
    uint8_t port;
    int gid_index;    /* -1: not bound to one address */
    unsigned mtu;     /* bytes */
    const char *link; /* "InfiniBand", "Ethernet" */
};
/* Finds the device with an active port whose GID table carries the address, or any active one for a
 * wildcard. wanted: "" or a device name. ERR_NOTFOUND: none; why says what was seen. */
enum err device_choose(const struct verbs_calls *calls, const char *host, const char *wanted,
                       struct device_choice *out, struct errmsg *why) must_use;

/* ---- verbs_qp.c ---- */
/* Memory, completion queue, queue pair and posted receives for a link whose device is known. */
enum err qp_setup(struct verbs_link *l) must_use;
/* What the peer said in its hello. false: values that cannot work. */
bool qp_learn_peer(struct verbs_link *l, const struct hello *h);
void qp_destroy(struct verbs_link *l); /* at once; keeps the memory until qp_free */
void qp_free(struct verbs_link *l);

/* ---- verbs_send.c ---- */
void send_queue(struct verbs_link *l, unsigned flags, const struct span *parts, size_t n,
                size_t len);
/* Moves what is queued into slabs and posts them. NULL, or why the link is lost. */
const char *send_flush(struct verbs_link *l);
const char *send_control(struct verbs_link *l); /* an empty slab, if a credit allows */
size_t send_queued(const struct verbs_link *l);
void send_completed(struct verbs_link *l, uint64_t position);
bool send_owes_much(
    const struct verbs_link *l); /* credits should be given back even without messages */

/* ---- verbs_poll.c ---- */
void poll_device_ready(int fd, unsigned events,
                       void *arg); /* of a verbs_device: its completion channel */
void poll_busy(void *arg);         /* of a verbs: timer */
/* Takes everything out of a link's completion queue. */
void poll_link(struct verbs_link *l);
/* Takes the messages and credits out of receive slab number `slab`, of which len bytes arrived.
 * NULL, or why the connection is to end. Its input comes from the network: any bytes. */
const char *poll_take_slab(struct verbs_link *l, uint32_t slab, uint32_t len);
/* The connection is over: stop the queue pair, take what had arrived, then report (link_lost). */
void poll_break(struct verbs_link *l, const char *reason);
void poll_drain_late(void *arg);                 /* of a verbs_link: timer */
const char *qp_post_recvs(struct verbs_link *l); /* posts the repost chain */
void qp_repost(struct verbs_link *l, uint32_t slab);

#define WR_RECV                                                                                    \
    (1ull << 63) /* in wr_id: a receive, the rest is the slab; otherwise a ring position */
#define WR_DRAIN (1ull << 62)

#endif
