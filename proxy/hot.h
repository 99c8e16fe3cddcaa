#ifndef PROXY_HOT_H
#define PROXY_HOT_H

#include <stdbool.h>
#include <stdint.h>

#include "coherence/hotset.h"
#include "proxy/cache.h"
#include "proxy/proxy.h"

/* Hot keys at a proxy (DESIGN section 5): the symmetric cache in front of the shards, and the
 * driver of the cores that keep it coherent.
 *
 *   cache.c        the table that the readers of all workers look at
 *   hot_serve.c    a client's command: answered from the table, given to the core, or left alone
 *   hot_op.c       commands that are with the core of their key's worker, there and back
 *   hot_core.c     the cores of one worker: steps, outboxes, references
 *   hot_backend.c  what the cores ask of the shards
 *   hot_peers.c    the other proxies: transport, frames
 *   hot_view.c     views and leases, for all workers of the process as one (G10)
 *
 * Keys are divided over the workers by slot % workers, the same at all proxies; worker i of one
 * proxy talks to worker i of the others. Without a view of the proxies' group nothing is hot, and
 * all of this costs a branch per request. */
struct hot_worker;
struct hot_op;

/* Process-wide; the settings are final. */
enum err hot_prepare(struct server *sv, struct errmsg *why) must_use;
void hot_finish(void); /* after all workers */
/* pw->hot is set; it stays NULL where shards have no replicas (a log line says so). */
enum err hot_worker_start(struct proxy_worker *pw, struct errmsg *why) must_use;
void hot_worker_stop(struct proxy_worker *pw); /* after its pool of links is gone */
void hot_configured(struct proxy_worker *pw);  /* the settings changed */

/* ---- clients (hot_serve.c) ---- */

/* The table, for cache_any. */
extern const struct cache_counts *hot_counts;

/* Must this request be looked at? */
static inline bool hot_concerns(const struct client *c)
{
    return c->pw->hot != NULL && (cache_any(hot_counts) || c->hot_open != 0);
}
/* At the start of a batch, after its bytes were read: clocks are read afresh when they are needed
 * (H9). */
void hot_batch(struct client *c, const struct conn_req *reqs, size_t n);
/* True: the request was answered, given to the core, or has to wait (*taken). False: it goes to the
 * shards; *hash is for hot_note then. */
bool hot_take(struct client *c, const struct admitted *a, const struct conn_req *q, enum kind kind,
              enum taken *taken, uint64_t *hash);
/* The call that the request opened at the end of the client's list, if any, is about this key (0:
 * perhaps any). busy: the client's before. */
void hot_note(struct client *c, uint64_t busy, uint64_t hash);

/* Does the table know one of the keys at 1, 1 + step ...? */
bool hot_knows_any(const struct client *c, const struct conn_req *q, uint32_t step);
/* The value of one of MGET's keys, as an element of the reply, if the table has it: true, and it
 * was appended. Nothing of the client may be under way. */
bool hot_element(struct client *c, struct span key, struct buf *out);
/* A part of a gather (in database g->db, argv[1]: a client's key): given to the core if the table
 * knows the key, with nothing of the client under way. */
struct gather;
bool hot_give_part(struct gather *g, const struct cmd *cmd, const struct span *argv, uint32_t argc);

/* ---- "-HOT generation" for a cold command (lane_again.c) ---- */

/* Is this the node's word for a hot key, and can the call be given to the core? Then *generation.
 */
bool hot_refusal(const struct call *k, struct span words, uint64_t *generation);
/* Gives it to the core: k was taken out of its lane's queue, and stays counted in the lane until
 * the core has answered. request: as it was sent. False: it cannot be; nothing was done. */
bool hot_convert(struct call *k, struct span request);

/* The answer to a request of ours to a shard (struct call.own). */
void hot_backend_done(struct call *k, enum shard_result result, struct span bytes,
                      struct span request);

/* ---- finding hot keys ---- */

/* The coordinator of the worker's partition: counts of an epoch, merged over all proxies (in slices
 * as you like), then the end of the epoch. No effect elsewhere (hot_coordinates). */
struct hot_counted {
    struct span key; /* inner; of a slot of this worker */
    uint64_t reads, writes;
    bool denied, pinned;
};
bool hot_coordinates(const struct proxy_worker *pw);
void hot_count_key(struct proxy_worker *pw, const struct hot_counted *counted);
void hot_count_end(struct proxy_worker *pw);
/* Sends a payload (GMSG_COUNTS) to the coordinator of this worker's partition; it comes out there,
 * and at ourselves if that is us, as on_counts(pw, sender, payload). No effect without a view. */
void hot_send_counts(struct proxy_worker *pw, struct span payload);
typedef void (*hot_counts_fn)(struct proxy_worker *pw, uint32_t sender, struct span payload);
void hot_on_counts(hot_counts_fn fn); /* before the workers start */

/* ---- commands ---- */
/* HALCYON VIEW | LEASE | PROMOTE | DEMOTE ... from a client who may run everything. */
void hot_command(struct client *c, const struct span *argv, int argc, struct resp_out *out);

/* ---- numbers ---- */
#define HOT_COUNTS(X)                                                                              \
    X(hits, "commands answered from the cache")                                                    \
    X(reads, "reads of known hot keys given to the core")                                          \
    X(writes, "writes given to the core")                                                          \
    X(converted, "commands refused as hot by a node, then given to the core")                      \
    X(invalidations, "invalidations sent")                                                         \
    X(hotwrites, "hot writes sent to nodes")                                                       \
    X(promotions, "PROMOTE sent to nodes")                                                         \
    X(demotions, "DEMOTE sent to nodes")                                                           \
    X(messages_in, "messages of other proxies")                                                    \
    X(messages_out, "messages to other proxies")
struct hot_stats {
#define X(name, what) uint64_t name;
    HOT_COUNTS(X)
#undef X
};
/* Of this worker. */
const struct hot_stats *hot_stats(const struct proxy_worker *pw);
/* INFO's section; of all workers. */
void hot_info_add(const struct proxy_worker *pw, struct info_sum *sum);
void hot_info_own(const struct proxy_worker *pw, const struct info_sum *sum, struct info_out *o);
/* The peer transport's counters, of this worker: to /metrics (now and then), and to INFO. */
void hot_publish(struct proxy_worker *pw);
void hot_peers_info(const struct proxy_worker *pw, struct info_out *o);
/* One line: "epoch=3,id=5,members=1/3/5,state=serving"; of this worker's partition. */
void hot_describe(const struct proxy_worker *pw, char *out, size_t room);

#endif
