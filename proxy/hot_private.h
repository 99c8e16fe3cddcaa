#ifndef PROXY_HOT_PRIVATE_H
#define PROXY_HOT_PRIVATE_H

#include "common/hotreply.h"
#include "proxy/hot.h"
#include "proxy/lane.h"
#include "rdma/transport.h"

/* Inside of the driver of the hot-key cores: what its files know of each other. */

/* Bytes that the cores refer to: keys, values, replies. handle is the pointer. Born with no
 * reference and on the list of what is freed when the outbox has been carried out, unless somebody
 * holds it by then. */
struct hot_blob {
    struct hot_blob *next;
    uint32_t refs, len;
    bool listed;
    char bytes[];
};

enum hot_outcome {
    HOT_OUT_REPLY, /* op->reply is the whole reply */
    HOT_OUT_ERROR, /* op->reply is an error line without '-' and CRLF */
    HOT_OUT_COLD,  /* not executed: it goes its way as a cold command */
};

/* A client's command while it is with the core of its key's worker. Made and freed by the worker of
 * the client (from); belongs to the owner (at) in between. Its address is the operation's id. */
struct hot_op {
    struct hot_op *next; /* of a mailbox, or of the free list */
    struct hot_op *all;  /* of all that its worker has made */
    struct hot_worker *from, *at;
    struct call *call; /* from's */
    const struct cmd *cmd;
    uint64_t client;
    uint64_t hash;
    uint64_t generation; /* of a -HOT; 0: none */
    uint64_t share;
    bool write, blind, local;
    bool demote;   /* G13 */
    bool answered; /* on its way back */
    uint8_t proto;
    uint8_t outcome; /* enum hot_outcome */
    uint32_t key_len;
    struct buf bytes; /* the inner key, then the request as a node is to get it */
    struct buf reply;
};
static inline struct hot_op *hot_op_of(uint64_t id)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): ids of operations are their addresses */
    return (struct hot_op *)(uintptr_t)id;
}
static inline struct span hot_op_key(const struct hot_op *op)
{
    return span_of(buf_head(&op->bytes), op->key_len);
}
static inline struct span hot_op_request(const struct hot_op *op)
{
    return span_of(buf_head(&op->bytes) + op->key_len, buf_used(&op->bytes) - op->key_len);
}

/* Things on their way to another worker of the process, posted together at the end of a turn. */
struct hot_mailbox {
    struct hot_op *first, **last;
};

struct hot_frame { /* to be handled later, in order */
    struct hot_frame *next;
    uint32_t from; /* incarnation */
    uint32_t len;
    char bytes[];
};
struct hot_frames {
    struct hot_frame *first, **last;
    uint32_t count;
};

#define HOT_PEERS_MAX VIEW_NODES_MAX
#define HOT_HOST_MAX 64

/* A view of the proxies' group with what is needed to talk to its members. */
struct hot_group {
    struct view view;
    uint32_t self;
    unsigned peer_count;
    struct {
        uint32_t id;
        char host[HOT_HOST_MAX];
        uint16_t port; /* of worker 0's peers; worker i: + i */
    } peers[HOT_PEERS_MAX];
};

struct hot_request; /* hot_backend.c */

struct hot_worker {
    struct proxy_worker *pw;
    unsigned index;
    bool stopping;
    uint32_t lease_mark; /* hot_member.c */
    /* what readers of this worker go by */
    bool clocks_read; /* in this batch */
    bool may_read;
    const struct conn_req *reqs;     /* the batch; NULL: no hashes of it */
    uint64_t hashes[CONN_BATCH_MAX]; /* of their first arguments */
    const struct cmd *last_cmd;      /* whose kind last_local is (hot_serve.c) */
    int last_local;
    uint64_t fresh_ms; /* what expires by then is not answered */
    /* the cores of this worker's partition */
    uint32_t id; /* incarnation; 0: none yet */
    struct galene *galene;
    struct hotset *hotset;
    void *galene_memory, *hotset_memory;
    struct galene_outbox galene_out;
    struct hotset_outbox hotset_out;
    uint64_t now_ns;
    bool stepping;
    struct hot_blob *released;
    struct hot_frames self; /* frames to ourselves */
    struct loop_timer *timer;
    struct loop_task retime, deliver;
    struct hot_mailbox *to; /* one per worker: operations to their owner, and back */
    struct hot_op *free_ops, *all_ops;
    /* backend */
    struct hot_request *open_requests, *free_requests, *paused;
    struct loop_timer *pause_timer;
    /* peers */
    struct transport *transport;
    struct transport_metrics *metrics; /* its counters; NULL: no transport yet */
    struct hot_frames held;            /* of an epoch that is not installed yet */
    struct hot_group group;
    /* when each of group.peers was sent what wants an answer and has said nothing since; 0: nothing
     * is awaited */
    uint64_t asked_ns[HOT_PEERS_MAX];
    struct loop_timer *tick;
    uint64_t tick_ns;        /* when it is due */
    _Atomic uint32_t blames; /* the member that has not answered for too long; 0: none */
    struct buf frame;
    struct hot_stats stats;
};

/* ---- hot_core.c ---- */
#define HOT_RECORDS(keys) ((keys)*2u)
struct hot_worker *hot_worker_of(unsigned index); /* of the process; NULL: not started */
unsigned hot_worker_count(void);
struct cache *hot_cache(void);
uint32_t hot_keys_per_worker(void);
static inline struct hot_worker *hot_owner(uint16_t slot)
{
    return hot_worker_of(slot % hot_worker_count());
}
void hot_cores_start(struct hot_worker *hw, uint32_t id);
void hot_cores_stop(struct hot_worker *hw);
enum err hot_galene(struct hot_worker *hw, struct galene_in *in);
enum err hot_hotset(struct hot_worker *hw, struct hotset_in *in);
/* Frames to ourselves and timers, after steps. */
void hot_settle(struct hot_worker *hw);
struct hot_blob *hot_blob_new(struct hot_worker *hw, const void *bytes, size_t len);
static inline struct coh_ref hot_ref(const struct hot_blob *b)
{
    return (struct coh_ref){(uint64_t)(uintptr_t)b, b->len};
}
static inline struct hot_blob *hot_ref_blob(struct coh_ref ref)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): handles are integers in the core */
    return (struct hot_blob *)(uintptr_t)ref.handle;
}
static inline struct span hot_ref_span(struct coh_ref ref)
{
    return ref.handle == 0 ? span_of(NULL, 0)
                           : span_of(hot_ref_blob(ref)->bytes, hot_ref_blob(ref)->len);
}
void hot_key(struct hot_worker *hw, struct hermes_key *key, struct span bytes);

void hot_post(struct hot_worker *from, unsigned to, struct hot_op *op);
void hot_take_counts(struct hot_worker *hw, uint32_t sender, struct span payload);

/* ---- hot_op.c ---- */
void hot_op_arrived(struct hot_op *op); /* from a mailbox, in the right thread */
struct hot_op *hot_op_take(struct hot_worker *hw);
/* To its owner at the end of the turn; op->call is open and counted (hot_open). */
void hot_op_send(struct hot_op *op);
/* At the owner: the core has completed it. */
void hot_op_done(struct hot_worker *hw, const struct galene_done *d);
void hot_ops_free(struct hot_worker *hw);

/* ---- hot_serve.c ---- */
/* Composes the reply of a read that may be answered from a value. value NULL: the key is absent.
 * False: this request cannot be (its arguments are wrong). */
struct hot_value {
    struct span bytes;
    uint64_t expire_ms;
};
bool hot_compose(const struct cmd *cmd, const struct span *argv, int argc,
                 const struct hot_value *value, struct resp_out *out);

/* ---- hot_backend.c ---- */
/* Number of arguments of an encoded request, and what follows the header. */
struct span hot_split_header(struct span request, uint64_t *argc);
void hot_backend_send(struct hot_worker *hw, const struct galene_request *rq, bool of_hotset);
void hot_backend_start(struct hot_worker *hw);
void hot_backend_stop(struct hot_worker *hw);
/* Requests of cores that are no more: their answers are dropped. */
void hot_backend_forget(struct hot_worker *hw);

/* ---- hot_peers.c ---- */
enum err hot_peers_open(struct hot_worker *hw, uint32_t id, struct errmsg *why) must_use;
void hot_peers_close(struct hot_worker *hw);
void hot_peers_set(struct hot_worker *hw, const struct hot_group *g);
/* to_mask: positions in v. */
void hot_peers_send(struct hot_worker *hw, const struct view *v, uint32_t to_mask,
                    const struct gmsg *m);
void hot_peers_release(struct hot_worker *hw); /* held frames of the epoch installed now */
void hot_frames_add(struct hot_frames *list, uint32_t from, const void *bytes, size_t len);
struct hot_frame *hot_frames_take(struct hot_frames *list);
void hot_frames_free(struct hot_frames *list);
/* One frame of a member. False: malformed. */
bool hot_take_frame(struct hot_worker *hw, uint32_t from, struct span bytes);
/* The operator's wish for a key, to whoever coordinates it. */
void hot_want(struct hot_worker *hw, struct span key, enum hotset_want want);
/* Asks for the demotion of every key that this process knows (G13). Any worker. */
void hot_demote_all(void);

/* ---- hot_view.c ---- */
/* May entries be read at this time? Any worker. */
bool hot_may_read(uint64_t now_ns);
/* A new view (worker 0's thread; others hand it there), and a lease (any). */
void hot_install(const struct hot_group *g);
void hot_lease(uint64_t epoch, uint64_t until_ns);
void hot_install_here(const struct hot_group *g); /* in worker 0 */
/* The incarnation is over: the cores end what is open and go; then hot_member_retired. False: there
 * was none. Worker 0. */
bool hot_retire(void);
void hot_views_stop(void);   /* worker 0, when its loop has ended */
void hot_views_finish(void); /* after all workers */

/* ---- hot_member.c: `membership builtin` ---- */
void hot_member_start(struct proxy_worker *pw); /* worker 0, before the loops run */
/* The lease of the service. False: there is none, leases are injected. */
bool hot_member_lease(struct lease *lease);
/* The same, if it has changed since this worker asked last. */
bool hot_member_news(struct hot_worker *hw, struct lease *lease);
void hot_member_stop(void);
void hot_member_retired(void);
/* This worker's `blames` is not 0, or no longer. */
void hot_member_blame(struct hot_worker *hw);

#endif
