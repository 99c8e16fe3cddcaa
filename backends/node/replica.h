#ifndef BACKENDS_NODE_REPLICA_H
#define BACKENDS_NODE_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/cmd/cmd.h"
#include "backends/node/replies.h"
#include "backends/server/session.h"
#include "common/err.h"
#include "rdma/transport.h"

/* The driver of one worker's Hermes core: client commands become operations, the core's outputs
 * become peer messages, changes of the store and replies (DESIGN section 4; coherence/hermes.h is
 * the contract).
 *
 *   replica.c        life, steps, outbox, peers
 *   replica_store.c  the store behind the core's vtable, references
 *   replica_serve.c  commands to operations and replies
 *   replica_join.c   writes of one key in one update
 *   replica_multi.c  commands of several keys, transactions
 *   replica_hot.c    hot keys: what the proxies' caches ask for
 *   replica_view.c   where views and leases come from
 *   replica_member.c ... with `membership builtin`: incarnations that come and go
 *
 * A worker of a shard with one node has none: it runs commands on its store directly. */
struct replica;
struct node_worker;

/* nw->replica is set when this returns OK. ERR_CONFIG, ERR_IO: why says what to change. */
enum err replica_start(struct node_worker *nw, struct errmsg *why) must_use;
void replica_stop(struct node_worker *nw); /* no effect without a replica */

/* Planned stop: from now on this worker serves nothing and begins nothing; what is under way goes
 * on. Returns how many operations that is (may be called again). */
uint64_t replica_leave(struct node_worker *nw);

/* At the start of a batch, after its bytes were read: takes the clock that reads are judged by
 * (H9). */
void replica_batch(struct node_worker *nw);

struct replica_request {
    struct node_session *ns;
    const struct admitted *a;
    const struct span *argv; /* keys are inner keys, of slots served here */
    int argc;
    unsigned db;
    bool hot; /* HOTWRITE, in this generation */
    uint64_t generation;
    uint64_t hash; /* of argv[1] as a key; 0: not known */
};

/* May this read run on the store at once? Then the caller runs it. */
bool replica_reads_now(struct node_worker *nw, const struct replica_request *r);

enum replica_taken {
    REPLICA_DONE,    /* the reply is in out */
    REPLICA_CONTROL, /* out holds the node's own word (TRYAGAIN ...), which a link does not wrap */
    REPLICA_LATER,   /* a slot was added to the session's queue; nothing is in out */
    /* no room for another operation: offer the request again when replies have left */
    REPLICA_FULL
};

bool replica_has_room(const struct replica *r); /* for another operation of a client */
/* Runs or starts one data command. */
enum replica_taken replica_serve(struct node_worker *nw, const struct replica_request *q,
                                 struct resp_out *out);

/* Starts commands that run as one (tx.h); takes what it keeps out of t, which has a key. */
struct tx;
enum replica_taken replica_serve_tx(struct node_worker *nw, const struct replica_request *q,
                                    struct tx *t, struct resp_out *out);

/* HALCYON PROMOTE and DEMOTE of a link (replica_hot.c): an inner key of a slot served here. */
struct replica_hot_change {
    struct span key;
    uint64_t generation;
    bool promote;
};
enum replica_taken replica_hot_set(struct node_worker *nw, struct node_session *ns,
                                   const struct replica_hot_change *change, struct resp_out *out);

/* HALCYON VIEW, HALCYON LEASE: views and leases from outside (`membership injected`). Answers to
 * out. */
void replica_command(struct node_worker *nw, const struct span *argv, int argc,
                     struct resp_out *out);

/* Expired keys and victims of eviction are deleted by operations of their own. */
void replica_expire_all(struct node_worker *nw, struct entry *const *e, size_t n);
void replica_evict(struct node_worker *nw, struct entry *e);
/* A little background work: purging tombstones (H8). */
void replica_cron(struct node_worker *nw);

/* Numbers for INFO. X(name) */
/* clang-format off */
#define REPLICA_COUNTS(X)                                                                          \
    X(reads_local)                                                                                 \
    X(reads_waited)                                                                                \
    X(reads_refused)                                                                               \
    X(multis_started)                                                                               \
    X(writes_started) X(writes_joined) X(writes_done) X(writes_unknown) X(writes_nothing) X(inv_sent) X(ack_sent)   \
        X(val_sent) X(other_sent) X(messages_received) X(values_installed) X(expired_by_write)     \
            X(transfer_items) X(transfer_bytes)
/* clang-format on */
struct replica_counts {
#define X(name) uint64_t name;
    REPLICA_COUNTS(X)
#undef X
};
const struct replica_counts *replica_counts(const struct node_worker *nw);
/* One line each: "epoch 3, members 1 2 3, serving", transport. For INFO. */
void replica_describe(const struct node_worker *nw, char *out, size_t room);
void replica_describe_peers(const struct node_worker *nw, char *out, size_t room);
/* Counters of the worker's transport over all its peers, and which transport it is. The worker must
 * have a replica (nw->replica). */
enum transport_kind replica_peer_stats(const struct node_worker *nw, struct transport_stats *out);
/* The same condition. Borrowed: until the next turn of the loop. */
const struct transport *replica_transport(const struct node_worker *nw);

#endif
