#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/server/server.h"
#include "backends/server/session.h"
#include "backends/shard/shard.h"
#include "proxy/route.h"
#include "proxy/settings.h"

/* Inside of halcyon-proxy: what its files know of each other.
 *
 * A *client* is a session with the list of its open *calls*, in the order of its requests. A call
 * is one request whose reply is not in the client's output yet; it is also the pooled object that
 * waits on a link (struct shard_req). A call that is answered out of turn holds its reply in a
 * *hold* until the older ones are answered. A call that needs several nodes owns a *gather*, whose
 * parts are calls of their own that no client sees.
 *
 * Everything here belongs to one worker. */

struct proxy_worker;
struct call;
struct gather;
struct resolver;
struct report;
struct finder;
struct profile;
struct lane;
struct lanes;
struct hot_worker;

/* How a command is carried out, found by its row. */
enum kind {
    KIND_KEY,  /* one key, at first_key */
    KIND_KEYS, /* several keys, which must be of one slot */
    KIND_MGET, /* split by node worker and gathered ... */
    KIND_MSET,
    KIND_SUM,             /* DEL UNLINK EXISTS TOUCH */
    KIND_SCAN,            /* over all node workers ... */
    KIND_KEYSPACE_SUM,    /* DBSIZE */
    KIND_KEYSPACE_CONCAT, /* KEYS */
    KIND_KEYSPACE_OK,     /* FLUSHDB */
    KIND_FLUSHALL,
    KIND_RANDOMKEY,
    KIND_SLOT, /* about the keys of one slot, at argv[2] (CLUSTER COUNTKEYSINSLOT) */
    KIND_COPY, /* as KIND_KEYS, with the DB option */
    KIND_ANY,  /* no key: any node can answer (OBJECT HELP) */
    KIND_EXEC, /* transaction.c */
    KIND_WATCH,
    KIND_REFUSED, /* not here: kind_refusal says why */
    KIND_COUNT
};

/* Built once, before workers exist; then read by all. */
void kinds_build(void);
enum kind kind_of(const struct cmd *cmd);
/* The error for a KIND_REFUSED command. */
void kind_refusal(const struct cmd *cmd, struct resp_out *out);

struct hold {
    struct buf b;
    struct hold *next;
};

enum call_state { CALL_OPEN, CALL_DONE };

struct call {
    struct shard_req sr; /* first: the pool's done function gets it */
    struct client *c;    /* NULL: it is gone, the reply is dropped; or this is a part */
    struct call *next;   /* of the client's list, or of the free list */
    struct proxy_worker *pw;
    struct gather *g; /* of a part: what it belongs to */
    struct cmd_counters *count;
    struct hold *hold; /* the reply, while older calls are open; NULL: none */
    uint8_t state;     /* enum call_state */
    uint8_t tries;     /* times it was sent elsewhere */
    uint8_t proto;
    bool silent;
    bool failed; /* the held reply is an error */
    bool write;
    bool watch;    /* of a WATCH: its client waits for it */
    bool later;    /* waits for the session layer (SESSION_LATER) */
    uint16_t argc; /* of the request, at most UINT16_MAX */
    uint32_t part; /* index in g */
    /* With replicated shards (lane.c): */
    struct lane *lane;    /* it is in; NULL: in none */
    struct call *waiting; /* the next in the lane that waits to be sent again */
    struct hold *request; /* what is sent again, while it waits */
    uint32_t seq;         /* order in the lane */
    uint16_t slot;        /* of its key; SLOT_MANY */
    uint8_t stalls;       /* times a link stood still because of it, perhaps */
    uint16_t replica;     /* that answered: its tag (route.h) */
    bool refused;         /* the last replica did not serve */
    bool pinned;          /* what it says makes sense to one replica only */
    /* Hot keys (hot.h): */
    bool own;                /* no client's: a core's request to a shard */
    bool with_core;          /* the core of its key's worker has it */
    uint16_t hot_waits;      /* demotions asked for, before it is sent again */
    uint64_t hot_hash;       /* of its key; 0: several, or not looked at */
    uint64_t hot_generation; /* a node refused it as hot in this one; 0: it did not */
};

struct client {
    struct session s; /* first */
    struct proxy_worker *pw;
    struct call *head, **tail;
    uint32_t open;   /* calls in the list */
    uint32_t window; /* at most so many are opened; adapts to the size of replies */
    bool watching;   /* a WATCH is under way: nothing is read until it is answered */
    bool stalled;    /* a request was refused for lack of room: resume when calls end */
    uint32_t token;  /* of the next command of the session layer */
    bool admitted;   /* `a` is the judgement of the first request not taken */
    struct admitted a;
    struct shard_waiter waiter;
    struct lanes *lanes; /* lane.c; NULL: never needed */
    uint64_t busy;       /* bits: upper bits of the hashes of keys that open calls are about */
    uint32_t hot_open;   /* calls with a core */
};

#define WINDOW_FIRST 128u
#define WINDOW_MAX 4096u

/* What the shards said last time they were asked for INFO; one per process. */
struct node_counts {
    uint64_t hits, misses, expired, evicted;
    struct {
        uint64_t keys, expires, ttl_ms_sum;
    } db[DB_COUNT];
};

struct membership;
struct membership_news;
struct follower;

/* What the process knows; written before the workers start. */
struct proxy {
    struct cluster_map *map;       /* held; at the start */
    struct membership *membership; /* `membership builtin`; else NULL */
};

struct proxy_worker {
    struct worker *w;
    struct follower *follower; /* follow.c; NULL: the map does not change */
    const struct proxy_settings *set;
    struct route *route;
    struct shard_pool *pool;
    struct report *report;
    struct finder *finder;      /* of hot keys */
    struct profile *profile;    /* HOTKEYS START's; NULL: none */
    const struct cmd *freq_row; /* OBJECT FREQ, whose replies are looked at */
    struct resolver *resolver;  /* worker 0 only, and only if nodes have names */
    struct call_chunk *chunks;  /* of calls */
    struct hot_worker *hot;     /* NULL: no hot keys are kept */
    struct call *free_calls;
    struct hold *free_holds;
    struct gather *free_gathers;
    uint32_t free_hold_count;
    uint32_t *partition_keys; /* scratch: one per partition */
    uint16_t *partition_part, *partition_slot;
    struct lanes *lanes; /* of all clients */
    struct lane *paused_lanes;
    struct loop_timer *lane_timer;
    uint32_t next_home;
    uint64_t random;
    struct resp_out out; /* of the hold being written */
    struct proxy_stats {
        uint64_t forwarded, split, fanned, local, refused;
        uint64_t node_errors; /* replies the node could not give */
        uint64_t moved, unknown, stalls;
        uint64_t retries;                /* requests sent to another replica */
        uint64_t open_calls, open_holds; /* now */
    } stats;
};

static inline struct client *client_of(struct session *s)
{
    return (struct client *)(void *)s;
}

/* ---- call.c: the list of a client, and placing replies in order ---- */

/* A call at the end of the client's list. */
struct call *call_open(struct client *c, const struct admitted *a, int argc);
/* A part of a gather: in no list. */
struct call *part_open(struct proxy_worker *pw, struct gather *g, uint32_t index, uint8_t proto);
void part_close(struct proxy_worker *pw, struct call *k);

/* Where the reply to a request that is answered at once is written: the client's output if nothing
 * older is open, the hold of a call (*k) otherwise. reply_end places it. */
struct resp_out *reply_begin(struct client *c, const struct admitted *a, int argc, struct call **k);
void reply_end(struct client *c, const struct admitted *a, struct call *k, size_t mark);

/* The reply to an open call, whole. request: the bytes sent, for the slow log (may be empty). The
 * call is closed, and with it those behind it that are answered already. */
void call_answer(struct call *k, struct span reply, struct span request);
/* The same in two steps, for replies that are composed: write to the result, then call_answered. */
struct resp_out *call_answer_begin(struct call *k, size_t *mark);
void call_answered(struct call *k, size_t mark, struct span request);
/* An error reply without '-' and CRLF. */
void call_fail(struct call *k, struct span text, struct span request);

struct hold *hold_take(struct proxy_worker *pw);
void hold_give(struct proxy_worker *pw, struct hold *h);

/* Hands a request whose call is open to the session layer. */
void call_run_later(struct call *k, const struct admitted *a, const struct span *argv, int argc);
/* Splits a request's bytes into at most max arguments (borrowed from it); returns how many. */
int request_args(struct span request, struct span *argv, int max);
/* The session layer's reply to a call that is marked later. */
void call_placed_later(struct call *k, struct span reply);

/* The client goes: its calls that wait for a node are orphaned, the others freed. */
void calls_close(struct client *c);
void calls_free_pools(struct proxy_worker *pw);

/* ---- encode.c ---- */
/* Appends a request of which the arguments at the n positions idx are keys. */
void encode_request(struct buf *b, unsigned db, const struct span *argv, uint32_t argc,
                    const int *idx, uint32_t n);
void encode_header(struct buf *b, size_t argc);
void encode_arg(struct buf *b, struct span arg);
void encode_key(struct buf *b, unsigned db, struct span key);
/* "HALCYON DB n" and the command. */
void encode_keyspace(struct buf *b, unsigned db, const struct span *argv, uint32_t argc);

/* ---- forward.c: one request to one node ---- */

enum taken {
    TAKEN,  /* answered, or a call is open */
    STALLED /* nothing was done: the client waits for room */
};

enum taken forward(struct client *c, const struct admitted *a, const struct conn_req *q,
                   enum kind kind);
/* The client waits until this link has room. */
enum taken stall_on(struct client *c, struct shard_link *l);
/* Answers with an error that is known at once; text starts with its code. */
enum taken answer_error(struct client *c, const struct admitted *a, int argc, const char *text);
/* Answers that a node cannot be reached. */
enum taken answer_down(struct client *c, const struct admitted *a, int argc, const char *why);
/* A splittable command whose keys are all of one partition: every step-th argument is a key. */
enum taken forward_together(struct client *c, const struct admitted *a, const struct conn_req *q,
                            unsigned partition, uint32_t step);
/* The pool's done function. */
void forward_done(struct shard_req *r, enum shard_result result, struct span bytes,
                  struct span request);
/* The outcome of a call that is in no lane. */
void forward_answer(struct call *k, enum shard_result result, struct span bytes,
                    struct span request);
/* The client's words for a request that has no reply. */
void lost_text(enum shard_result result, struct span why, struct buf *out);

/* ---- split.c, fanout.c, gather.c: several nodes ---- */
void gather_part(struct call *k, struct span reply);
void gather_part_failed(struct call *k, struct span text);
enum taken split(struct client *c, const struct admitted *a, const struct conn_req *q,
                 enum kind kind);
enum taken fanout(struct client *c, const struct admitted *a, const struct conn_req *q,
                  enum kind kind);

/* ---- cluster.c: CLUSTER, and what presents the proxies as one ---- */
#define CLUSTER_DISABLED "ERR This instance has cluster support disabled"
bool cluster_presented(const struct server *sv);
enum session_result cluster_command(struct client *c, const struct admitted *a,
                                    const struct span *argv, int argc, struct resp_out *out,
                                    uint64_t token);

/* ---- info.c ---- */
/* INFO: asks the nodes for what only they know (keys, hits, evictions) before the session layer
 * answers. False: there is no need to, or a node cannot be asked: it answers at once, with what was
 * known last. */
bool info_ask_nodes(struct client *c, const struct admitted *a, const struct conn_req *q);
void proxy_info_add(struct worker *w, struct info_sum *sum);
void proxy_info_own(struct worker *w, const struct info_sum *sum, struct info_out *o);

/* ---- report.c: for other threads ---- */
/* Registers the worker's metrics; the pool has its endpoints. */
struct report *report_start(struct proxy_worker *pw);
void report_stop(struct report *r); /* before the pool goes; NULL allowed */
/* server_ops.ready: every worker reaches every node. Any thread. */
bool report_ready(struct server *sv, struct errmsg *why);

/* ---- follow.c: `membership builtin` ---- */
/* The first map, as far as it has one shard member; waits for it. */
enum err follow_prepare(struct server *sv, struct proxy *proxy, struct errmsg *why) must_use;
/* The worker's routes follow the map from here on. */
void follow_start(struct proxy_worker *pw);
void follow_stop(struct proxy_worker *pw);
/* As server_ops.drain. */
void follow_drain(struct server *sv);
/* What is known of the cluster now; NULL: nothing, or there is no membership service. Borrowed
 * until the next turn of the loop. */
const struct membership_news *follow_news(const struct proxy_worker *pw);
/* The membership of this process; NULL unless `membership builtin`. */
struct membership *proxy_membership(const struct proxy_worker *pw);

/* The daemon's main. */
int proxy_run(int argc, char **argv);

#endif
