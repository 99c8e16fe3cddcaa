#ifndef BACKENDS_SHARD_SHARD_H
#define BACKENDS_SHARD_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/loop.h"
#include "common/span.h"

/* The proxy's client side of the shards: the links of one proxy worker to the node workers.
 *
 * A node worker is an *endpoint*; a *link* is one connection to it that speaks RESP 2 or 3, opened
 * at first use (docs/architecture.md, "The link between proxy and node"). A request is appended to
 * its link's log and leaves at the end of the loop's turn, with all others of that turn, in one
 * write; it stays in the log until its reply has come. So at any time the link knows which requests
 * provably never left and which may have been executed (DESIGN H13), and has the bytes of those it
 * may send again.
 *
 * Replies of a link come in the order of its requests; each is given to the pool's done function
 * exactly once, never inside shard_commit.
 *
 * Thread: a pool and all of its links belong to one worker. */
struct shard_pool;
struct shard_link;

/* What became of a request. */
enum shard_result {
    SHARD_REPLY,   /* bytes: the whole reply in the link's protocol version */
    SHARD_CONTROL, /* bytes: the node's own words, an error line without '-' and CRLF */
    SHARD_FAILED,  /* no effect: it never left whole, or only reads; bytes: the reason */
    SHARD_UNKNOWN  /* a write that left; its reply is lost; bytes: the reason */
};

#define SHARD_WRITE 1u /* may change something: never sent twice */
#define SHARD_TRIED 2u /* (private) a read that was sent again after its link broke */
/* It may be executed by another endpoint too: when the link breaks it ends at once as SHARD_FAILED
 * (or SHARD_UNKNOWN) instead of being sent again by the link itself. */
#define SHARD_MOVABLE 4u
/* Set by the link before done: it was the oldest request of a link that stood still. */
#define SHARD_STALLED 8u

/* One request under way: embed it. The pool owns the fields from shard_commit until done. */
struct shard_req {
    struct shard_req *next;
    size_t bytes;     /* in the log */
    uint64_t sent_ns; /* CLOCK_MONOTONIC when it was committed */
    uint8_t flags;    /* SHARD_ */
};

/* bytes: see enum shard_result. request: as it was committed. Both are borrowed: they live until
 * the function returns or appends to a link. May commit further requests, to any link. */
typedef void (*shard_done_fn)(struct shard_req *r, enum shard_result result, struct span bytes,
                              struct span request);

struct shard_options {
    uint64_t timeout_ms;         /* without any progress while requests are open; 0: none */
    uint64_t stall_ms;           /* the same for links of reads, and SHARD_SLOW; 0: none */
    uint64_t connect_timeout_ms; /* of connecting and of the first words */
    uint64_t retry_max_ms;       /* longest pause between attempts to connect */
    uint64_t link_bytes_max;     /* a link with more in its log is full (shard_full) */
    const char *user, *password; /* AUTH; password "" or NULL: none; user "" or NULL: the default */
};

/* Both strings of the options are copied. */
struct shard_pool *shard_pool_new(struct loop *l, const struct shard_options *o,
                                  shard_done_fn done);
/* Requests that are open are forgotten: done is not called. NULL is allowed. */
void shard_pool_free(struct shard_pool *p);
void shard_pool_options(struct shard_pool *p, const struct shard_options *o);

/* Adds an endpoint; gives its index, from 0. host: what it is called (a name, or an address), for
 * shard_endpoint_find and words for people; address: numeric IPv4 or IPv6, "": not known yet. */
unsigned shard_endpoint_add(struct shard_pool *p, const char *host, const char *address,
                            uint16_t port);
/* The endpoint called so, open or closed, or SHARD_NO_ENDPOINT. */
#define SHARD_NO_ENDPOINT UINT32_MAX
unsigned shard_endpoint_find(const struct shard_pool *p, const char *host, uint16_t port);
/* The node is not there any more: its links are freed, what was open ends (SHARD_MOVABLE or not) as
 * SHARD_FAILED, or as SHARD_UNKNOWN if it is a write that left; whoever waits for a link of it is
 * woken. done functions run inside the call; none of them may ask for a link of this endpoint, nor
 * may anybody until shard_endpoint_open. Not from inside a done function. Closed already: no
 * effect. */
void shard_endpoint_close(struct shard_pool *p, unsigned endpoint);
void shard_endpoint_open(struct shard_pool *p, unsigned endpoint); /* open already: no effect */
bool shard_endpoint_is_open(const struct shard_pool *p, unsigned endpoint);
const char *shard_endpoint_host(const struct shard_pool *p, unsigned endpoint);
unsigned shard_endpoint_count(const struct shard_pool *p);
/* The endpoint moved: its links are broken and opened at the new address. Nothing happens if it is
 * the same. */
void shard_endpoint_move(struct shard_pool *p, unsigned endpoint, const char *address,
                         uint16_t port);

/* The time shard_commit notes and latencies are counted from; set it once per batch of requests
 * (CLOCK_MONOTONIC, ns). The pool sets it itself before it calls done for replies that were read.
 */
void shard_now(struct shard_pool *p, uint64_t now_ns);
uint64_t shard_now_get(const struct shard_pool *p);

/* The link to an endpoint that speaks proto (2 or 3); connecting starts if it was never used. */
struct shard_link *shard_link(struct shard_pool *p, unsigned endpoint, uint8_t proto);

/* Two links to an endpoint, so that reads need not wait behind writes: */
enum shard_channel {
    SHARD_ANY,  /* for all requests: that of shard_link */
    SHARD_READS /* only for reads: breaking it harms nobody, so it is given up after stall_ms */
};
struct shard_link *shard_link_on(struct shard_pool *p, unsigned endpoint, uint8_t proto,
                                 enum shard_channel channel);

/* How soon an answer can be hoped for; better ones first. */
enum shard_health {
    SHARD_GOOD,
    SHARD_SLOW,   /* connected, but nothing has come for stall_ms although requests are open */
    SHARD_COMING, /* being connected: requests wait for it */
    SHARD_AWAY    /* shard_down says why */
};
enum shard_health shard_health(const struct shard_link *l);

/* Why a request cannot be sent now: NULL if it can; otherwise the node cannot be reached and this
 * is the reason, in words for the client. */
const char *shard_down(const struct shard_link *l);
/* True if the log holds more than link_bytes_max: commit nothing, wait (shard_wait). */
bool shard_full(const struct shard_link *l);

/* Appending a request: write it, whole, to the buffer that shard_begin returns, then commit.
 * Between the two no other function of the pool may be called. flags: SHARD_WRITE, SHARD_MOVABLE.
 */
struct buf *shard_begin(struct shard_link *l);
void shard_commit(struct shard_link *l, struct shard_req *r, unsigned flags);
/* From inside done: sends a request that was not executed to another link. request: what done got.
 */
void shard_send_again(struct shard_link *l, struct shard_req *r, struct span request);
/* Takes back what was appended since shard_begin. */
void shard_abort(struct shard_link *l);

/* Somebody who waits for a full link to drain (to half): fn runs once, in a later turn. Embed it.
 */
struct shard_waiter {
    struct shard_waiter *next;
    void (*fn)(struct shard_waiter *w);
    struct shard_link *link; /* NULL: not waiting */
};
void shard_wait(struct shard_link *l, struct shard_waiter *w); /* w must not be waiting */
void shard_wait_cancel(struct shard_waiter *w);                /* allowed when not waiting */

/* ---- statistics: of both links of an endpoint together ---- */
#define SHARD_HIST 40 /* power-of-two buckets of nanoseconds */
struct shard_stats {
    uint64_t requests, replies, controls, failed, unknown; /* by result */
    uint64_t bytes_out, bytes_in, writes, reads;           /* reads, writes: system calls */
    uint64_t connects, losses, timeouts;
    uint64_t latency_ns_sum;           /* of replies, from commit to reply */
    uint64_t latency_hist[SHARD_HIST]; /* [i]: below 2^i ns, not below 2^(i-1) */
    uint64_t open, log_bytes;          /* now */
    bool up;                           /* now: a link is connected, or none was needed yet */
};
void shard_endpoint_stats(const struct shard_pool *p, unsigned endpoint, struct shard_stats *out);
const char *shard_endpoint_address(const struct shard_pool *p, unsigned endpoint, uint16_t *port);
void shard_stats_reset(struct shard_pool *p);

#endif
