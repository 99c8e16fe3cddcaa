#ifndef BACKENDS_NODE_REPLICA_PRIVATE_H
#define BACKENDS_NODE_REPLICA_PRIVATE_H

#include "backends/cmd/value.h"
#include "backends/member/membership.h"
#include "backends/node/node.h"
#include "backends/node/replica.h"
#include "coherence/hermes.h"
#include "common/resp.h"
#include "rdma/transport.h"

/* Bytes that the core refers to: keys, effects, encoded values. handle is the pointer. Born with no
 * reference and put on the list of what is freed when the outbox has been carried out, unless
 * somebody holds it by then. Small ones are all of one size and used again: there are two in every
 * message. */
struct blob {
    struct blob *next; /* on that list, or of spare ones; NULL and !listed: not on it */
    uint32_t refs;
    uint32_t len;
    bool listed, small;
    char bytes[];
};

/* A client's command, or work of our own, while it is with the core. Its address is the operation's
 * id. */
struct rop {
    struct rop *next; /* free list */
    struct rop *all;  /* of all there are */
    bool open;        /* not on the free list */
    struct replica *r;
    struct reply_slot *slot; /* NULL: nobody waits for a reply */
    struct gather *gather;   /* NULL: the slot is this operation's alone */
    const struct cmd *cmd;   /* NULL: DEL of our own */
    struct blob *command;    /* the request as RESP; holds */
    struct blob *key;        /* holds */
    enum hermes_op_kind kind;
    unsigned db;
    bool replied;   /* the reply is in `reply` */
    bool again;     /* READ: serve the whole request anew */
    bool rewritten; /* the reply was made by the command's rewrite hook */
    /* HOTWRITE (WRITE, UPDATE; EXPIRE with a read for a command), PROMOTE, DEMOTE: */
    bool hot;
    uint64_t generation;
    /* replica_join.c: writes of one key in one update. joined: the next one, of the first and of
     * each further one; the rest is the first one's. */
    struct rop *joined, *last_joined;
    uint32_t joiners, joined_bytes;
    bool joinable;     /* not started yet, and nothing of the key was given to the core since */
    uint64_t hash;     /* of key, from rop_start on */
    struct rop_tx *tx; /* MULTI: `command` is the list; NULL otherwise */
    struct buf reply;
    struct buf value; /* hot: the key as the operation left it, as in a hot_reply */
};

/* An operation of several keys (tx.h). */
struct rop_tx {
    struct blob **keys; /* holds each */
    uint32_t key_count, watch_count, replies;
    struct tx_watch *watches;
    bool exec, asks, writes, rewrites;
};

/* Several operations that answer one request (DEL a b c, MSET). */
struct gather {
    struct reply_slot *slot;
    uint32_t open;
    int64_t sum;
    bool counts; /* reply with sum; else +OK */
    enum hermes_result worst;
    struct buf error; /* first error reply, if any */
};

/* FLUSHALL and FLUSHDB: every key there now is deleted by an operation of its own. */
struct flush {
    struct reply_slot *slot;
    uint64_t cursor;
    int db; /* -1: all */
    uint32_t open;
    bool walking, failed;
    uint64_t hot; /* a generation in which a key that was left alone is hot; 0: none was */
};

struct held_frame { /* of an epoch not installed yet */
    struct held_frame *next;
    uint32_t len;
    char bytes[];
};

#define REPLICA_PEERS_MAX VIEW_NODES_MAX
#define REPLICA_TOUCHES 1024u
#define REPLICA_LATEST 1024u

struct replica_peer {
    uint32_t id;
    uint64_t boot; /* static views: the process that id was when we first met; 0: not met */
    bool refused;  /* it is another process now: nothing of it is taken */
    bool agreed;   /* it knows of no other process with our id */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): one per worker, ordered by meaning */
struct replica {
    struct node_worker *nw;
    struct hermes *core; /* NULL: no view yet */
    void *core_memory;
    struct hermes_outbox out;
    struct transport *transport;
    struct loop_timer *timer;
    struct loop_task retime; /* sets the timer at the end of the turn */
    uint64_t now_ns;         /* last time given to the core */
    bool stepping;
    struct blob *released; /* to free when the outbox has been carried out */
    struct blob *spare;    /* small ones */
    uint32_t spare_count;
    struct rop *free_rops, *all_rops;
    struct rop *latest[REPLICA_LATEST]; /* by hash of the key: the last plain write under way, or of
                                           another key of the same place; NULL: none */
    uint32_t open_rops;
    struct flush *flush;
    struct store *scratch; /* commands on absent keys are tried here first */
    struct resp_parser parser;
    struct buf frame, sink;
    struct held_frame *held, **held_end;
    uint32_t held_count;
    uint64_t scan_cursor_purge;
    uint64_t purge_cursor;
    bool purging;
    /* views */
    uint32_t id;
    bool injected;
    /* `membership builtin` (replica_member.c) */
    struct membership *membership; /* NULL: another kind */
    struct membership_listener listener;
    uint32_t lease_mark;          /* of the lease that the core was given */
    char group[CLUSTER_HOST_MAX]; /* of the transport */
    struct loop_timer *drop_timer;
    uint64_t drop_until_ns;
    bool dropping; /* this incarnation is over: what is open ends, then all goes */
    bool leaving;  /* planned stop: nothing new is begun */
    uint64_t boot;
    bool founder_agreed; /* static: all peers agreed, the lease is given */
    struct replica_peer peers[REPLICA_PEERS_MAX];
    unsigned peer_count;
    /* state transfer: the learner asks for the next slice when its budget allows */
    struct loop_timer *pull_timer;
    struct buf pull_frame; /* the PULL that waits; empty: none */
    uint32_t pull_donor;
    int64_t pull_budget; /* bytes that may be taken over now; below 0: wait */
    uint64_t pull_filled_ns, pull_started_ns, pull_said_ns;
    /* updates that gave a key a new timestamp and left it as it was, newest over oldest: a WATCH
       across them still holds */
    struct touch {
        uint64_t hash, from, to;
    } touches[REPLICA_TOUCHES];
    uint32_t touch_next;
    struct replica_counts counts;
};

/* replica.c */
enum err replica_step(struct replica *r, struct hermes_in *in);
void replica_core_start(struct replica *r, uint32_t id, bool founder);
/* Listens for the peers of this incarnation (r->id). group: borrowed for the transport's life. */
enum err replica_open_transport(struct replica *r, const char *group, struct errmsg *why) must_use;
/* The incarnation is over: transport, core and everything they hold. Operations that are still open
 * are answered as UNKNOWN if answer, else by nothing. */
void replica_core_stop(struct replica *r, bool answer);
void replica_release_held(struct replica *r); /* frames of the epoch installed now */

/* replica_transfer.c: rate and progress of a learner's state transfer (H10) */
void replica_transfer_start(struct replica *r);
void replica_transfer_stop(struct replica *r);
void replica_transfer_reset(struct replica *r); /* the core is gone, another may come */
/* A PULL is to be sent: now, or when the rate allows. */
void replica_transfer_pull(struct replica *r, uint32_t donor, struct span frame);
void replica_transfer_got(struct replica *r, size_t bytes); /* a slice's item came */
void replica_transfer_end(struct replica *r);

/* replica_store.c */
struct hermes_store replica_store(struct replica *r);
struct blob *blob_new(struct replica *r, const void *bytes, size_t len); /* no reference yet */
struct blob *blob_hold(struct blob *b);
void blob_drop(struct replica *r, struct blob *b);
void blobs_release(struct replica *r); /* frees what nobody holds */
void blobs_free_spare(struct replica *r);
static inline struct coh_ref blob_ref(const struct blob *b)
{
    return (struct coh_ref){(uint64_t)(uintptr_t)b, b->len};
}
static inline struct rop *rop_of(uint64_t id)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): ids of operations are their addresses */
    return (struct rop *)(uintptr_t)id;
}
static inline struct blob *ref_blob(struct coh_ref ref)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): handles are integers in the core */
    return (struct blob *)(uintptr_t)ref.handle;
}
static inline struct span blob_span(const struct blob *b)
{
    return span_of(b->bytes, b->len);
}
struct cmd_ctx replica_context(struct replica *r, const struct rop *op, uint64_t now_ms);
/* The operation's reply, emptied. */
struct resp_out rop_reply(struct rop *op);
/* Runs the read for whose sake a key's expiry was committed, at that instant, unless other keys of
 * it have to be waited for. No effect for an expiry of our own. */
void replica_read_expired(struct replica *r, struct rop *op, uint64_t now_ms);
/* Is every key of the read (parsed) besides op->key Valid and not expired? */
bool replica_rest_ready(struct replica *r, const struct rop *op);
/* Does the operation's command make a value of an absent key? Tried on an empty store. */
bool replica_creates(struct replica *r, struct rop *op);
void replica_key(struct replica *r, struct hermes_key *key, struct blob *b);
/* Parses the next command of bytes (RESP multibulk, our own). Returns its length, 0 at the end. */
size_t replica_parse(struct replica *r, struct span bytes, size_t at);

/* replica_serve.c */
struct rop *rop_new(struct replica *r);
void rop_free(struct rop *op);
struct rop *rop_for(struct replica *r, const struct replica_request *q, struct span key,
                    enum hermes_op_kind kind);
struct reply_slot *rop_slot(const struct replica_request *q);
/* Hands the operation to the core; its completion may come before this returns. */
void rop_start(struct replica *r, struct rop *op);
/* Puts a reply into its slot: wrapped for a link, unless it is the node's own word. */
void rop_fill(struct replica *r, struct reply_slot *slot, struct span reply, bool control);
/* What the completion says to the client: the command's reply, or a word of our own. */
struct span rop_outcome(struct replica *r, struct rop *op, const struct hermes_done *d,
                        bool *control);
void replica_op_done(struct replica *r, const struct hermes_done *d);
/* Runs a command on a store at now_ms, appending its reply. */
void replica_run(struct replica *r, const struct cmd *cmd, const struct span *argv, int argc,
                 const struct cmd_ctx *like, struct resp_out *out);

#define REPLICA_TRYAGAIN                                                                           \
    "TRYAGAIN this replica does not serve now: no lease, or not a member of its shard"

/* replica_multi.c */
void replica_touched(struct replica *r, uint64_t hash, uint64_t from, uint64_t to);
void replica_tx_free(struct replica *r, struct rop *op);
bool replica_prepare_multi(struct replica *r, struct rop *op, uint64_t now_ms,
                           struct coh_ref *effects);
/* op NULL: somebody else's. */
void replica_apply_multi(struct replica *r, const struct hermes_part *parts, uint32_t count,
                         const struct hermes_update *u, struct rop *op);

/* replica_hot.c: HOTWRITE, PROMOTE, DEMOTE (DESIGN section 5) */
enum replica_taken replica_hot_serve(struct replica *r, const struct replica_request *q,
                                     struct resp_out *out);
/* Takes the key as it is now for the answer; e: its entry, NULL: absent. */
void replica_hot_capture(struct replica *r, struct rop *op, const struct entry *e);
void replica_hot_done(struct replica *r, struct rop *op, const struct hermes_done *d);

/* replica_member.c */
void replica_member_start(struct replica *r);
void replica_member_stop(struct replica *r);
void replica_take_lease(struct replica *r); /* gives the core the process' lease if it changed */

/* replica_join.c */
/* An operation is about to be given to the core. */
void replica_join_given(struct replica *r, struct rop *op, uint64_t hash);
/* The same of an operation of several keys, for each of them. */
void replica_join_close(struct replica *r, const struct hermes_key *key);
/* An operation that was given is over. */
void replica_join_ended(struct replica *r, const struct rop *op);
/* Is an own write of this key under way? */
bool replica_join_waits(struct replica *r, uint64_t hash, struct span key);
/* After replica_join_waits: op, a plain write of that key, goes with the last one. False: it must
 * go by itself. */
bool replica_join(struct replica *r, struct rop *op, uint64_t hash);
/* What `first` and those with it do, in order; a reference of the caller's. */
struct coh_ref replica_join_effects(struct replica *r, struct rop *first);

/* replica_view.c */
void replica_install(struct replica *r, const struct view *v);
/* Others of the new view: connections to those who left are destroyed before the view is installed,
 * so before the first ACK of its epoch (RELIABILITY F4). */
void replica_set_peers(struct replica *r, const struct view *v, const struct transport_peer *peers,
                       unsigned count);
enum err replica_view_start(struct replica *r, struct errmsg *why) must_use;
void replica_on_connected(struct replica *r, uint32_t peer);
/* A message of the driver's own. False: malformed. */
bool replica_on_boot(struct replica *r, uint32_t peer, struct span bytes);
bool replica_hears(const struct replica *r, uint32_t peer); /* is its message to be taken? */
#define REPLICA_FRAME_BOOT 0xB0 /* first byte; the core's kinds are small numbers */

#endif
