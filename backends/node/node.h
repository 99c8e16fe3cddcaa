#ifndef BACKENDS_NODE_NODE_H
#define BACKENDS_NODE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/cmd/cmd.h"
#include "backends/cmd/config.h"
#include "backends/cmd/stats.h"
#include "backends/node/replies.h"
#include "backends/node/settings.h"
#include "backends/server/server.h"
#include "backends/store/store.h"
#include "common/clustermap.h"

/* halcyon-node: W shared-nothing workers. A worker owns the slots with slot % W == its index, as
 * far as its shard has them, with its own store; no locks, nothing shared but the immutable cluster
 * map. */

struct acceptor_thread;
struct membership;

/* What the process knows; written before the workers start. */
struct node {
    /* held; NULL: no cluster and one worker, which serves every slot; or `membership builtin`,
     * which knows better */
    struct cluster_map *map;
    struct cluster_node self;     /* where it is; shard and replica only with a map */
    char shard[CLUSTER_HOST_MAX]; /* its shard; "": none, or a spare */
    struct acceptor_thread *acceptor;
    struct membership *membership; /* `membership builtin`; else NULL */
};

/* Counts of one worker for INFO, in info_sum.own[]. */
enum node_count {
    NODE_LINKS, /* connections of proxies */
    NODE_MOVED, /* requests for slots of others */
    NODE_OOM,   /* writes refused for lack of memory */
    NODE_TOMBSTONES,
    NODE_LAZY_STEPS,
    NODE_COUNTS
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): one per worker, ordered by meaning */
struct node_worker {
    struct worker *w;
    struct node *node;
    struct cluster_map
        *map;  /* held; with `membership builtin` the newest, NULL until there is one */
    int shard; /* its own, an index of the map; -1: in none */
    struct replica *replica; /* NULL: the only node of its shard, for good */
    struct store *store;
    struct watch_table *watch; /* of a node alone */
    struct cmd_stats stats;
    struct node_metrics *metrics;
    struct cmd_config config;
    uint64_t rng;
    uint64_t count[NODE_COUNTS];
    /* slots: bit set = served here. Not looked at when all_slots. */
    uint64_t owned[SLOT_COUNT / 64];
    bool all_slots;
    /* memory */
    uint64_t memory_max; /* this worker's part of maxmemory; 0: no limit */
    enum evict_policy policy;
    struct loop_timer *cron;
    bool cron_soon; /* cron was called earlier than hz says, because there is work left */
    /* scratch of the batch */
    uint64_t now_ms;
    uint64_t hashes[CONN_BATCH_MAX];
    struct buf inner_keys;   /* keys with a database prefix */
    struct span *inner_argv; /* and the arguments they are part of */
    uint32_t inner_cap;
    /* a replica's: see replica_serve.c */
    uint64_t boot_ns; /* clk_boot_ns after the present batch was read */
    bool may_read;
    struct rop *again;
    struct loop_task again_task, flush_task;
    uint64_t *waiting; /* ids of sessions whose request found no room */
    uint32_t waiting_count, waiting_cap;
    struct buf reply_scratch;
    /* of the length of the last wrapped reply: the best guess for the next */
    unsigned wrap_digits;
};

struct node_session {
    struct session s; /* first */
    /* replies that come later, and what is behind them */
    struct reply_slot *first_slot, *last_slot;
    struct buf watch_request; /* of a WATCH whose reply is not there yet: nothing else is taken */
    uint8_t link_proto;       /* 2 or 3: a proxy's link (docs/architecture.md); 0: anybody else */
};

/* dispatch.c */
/* as server_ops.on_batch */
size_t node_batch(struct session *s, const struct conn_req *reqs, size_t n);
void node_resume_waiting(struct node_worker *nw); /* there is room for operations again */

/* slots.c: which worker serves a request */
void node_slots_build(struct node_worker *nw);
/* Checks that all keys of the request (inner keys) are of one slot and served here. Otherwise
 * answers -MOVED or -CROSSSLOT to out and returns false. */
bool node_slots_check(struct node_worker *nw, const struct cmd *cmd, const struct span *argv,
                      int argc, struct resp_out *out);
/* `membership builtin`: the map has changed, and shard is its own (-1: none). Takes a hold. */
void node_slots_follow(struct node_worker *nw, struct cluster_map *map, int shard);
enum err node_find_self(struct node *node, const struct node_settings *set,
                        struct errmsg *why) must_use;

/* memory.c: budget, eviction, expiry, lazy freeing */
/* Before a command runs while memory_max is set: evicts if necessary. False: there is no room and
 * nothing more can go. */
bool node_make_room(struct node_worker *nw);
void node_cron_start(struct node_worker *nw);
void node_cron_stop(struct node_worker *nw);
/* After a batch: if something waits to be freed, see to it soon. */
void node_cron_hurry(struct node_worker *nw);

/* link.c: what proxies say to a node */
/* HALCYON LINK 2|3, answered to out. */
void node_link_open(struct node_session *ns, const struct span *argv, int argc,
                    struct resp_out *out);
/* Each reply of a link is wrapped in one bulk string. begin leaves room for its header and returns
 * where it starts; end puts the header before what was appended since, moving it by a byte or two
 * if the room was guessed wrong. */
size_t node_wrap_begin(struct node_worker *nw, struct resp_out *out);
void node_wrap_end(struct node_worker *nw, struct resp_out *out, size_t start);
/* Takes everything since start back: the reply will be the node's own words, not wrapped. */
void node_wrap_cancel(struct resp_out *out, size_t start);
/* Bytes of the room that begin leaves: the reply proper starts there. */
static inline size_t node_wrap_room(const struct node_worker *nw)
{
    return nw->wrap_digits + 3u;
}

/* node_metrics.c: for the metrics port, which is another thread's */
void node_metrics_start(struct node_worker *nw); /* after the replica */
void node_metrics_publish(struct node_worker *nw);
void node_metrics_stop(struct node_worker *nw); /* no effect if not started */

/* node_member.c: `membership builtin` */
enum err node_member_prepare(struct server *sv, struct node *node, struct errmsg *why) must_use;
void node_member_end(struct node *node);   /* after all workers have ended */
void node_member_drain(struct server *sv); /* as server_ops.drain */

/* node.c */
int node_main(int argc, char **argv); /* the daemon; returns its exit status */

static inline struct node_worker *node_worker_of(const struct session *s)
{
    return s->w->data;
}

#endif
