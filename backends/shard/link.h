#ifndef BACKENDS_SHARD_LINK_H
#define BACKENDS_SHARD_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/shard/shard.h"

/* Inside of backends/shard: what pool.c, link.c and reply.c know of each other. */

struct redisAsyncContext;
struct redisReplyObjectFunctions;

#define LINK_MAGIC 0x4c494e4bu
#define LINK_READ_BYTES 65536u /* of one recv */
#define LINK_READ_MAX 8u       /* recv calls per readiness event, then others have their turn */
#define LINK_LOG_KEEP (1u << 20)

enum link_state {
    LINK_IDLE,       /* never used */
    LINK_CONNECTING, /* the socket is not connected yet */
    LINK_GREETING,   /* AUTH and HALCYON LINK are not answered yet */
    LINK_UP,
    LINK_DOWN /* the last attempt failed; the timer starts the next */
};

struct endpoint;
#define LINKS 4 /* of an endpoint */

struct shard_link {
    uint32_t magic;
    uint8_t proto;
    uint8_t channel; /* enum shard_channel */
    uint8_t state;
    uint8_t greetings;  /* replies of the greeting not yet received */
    bool broken;        /* found while replies are delivered: to be torn down afterwards */
    bool delivering;    /* inside the reader: no tearing down */
    unsigned io_events; /* what is watched */
    struct endpoint *ep;
    struct shard_pool *pool;
    struct redisAsyncContext *ac;
    struct loop_io *io;
    struct loop_task flush;
    struct loop_timer *timer;
    /* The log: every byte of the open requests, in order. The first `sent` of them are with the
     * kernel. The sum of bytes over the open requests is what the log holds, except between
     * shard_begin and shard_commit. */
    struct buf log;
    size_t sent, mark;
    struct shard_req *first, **last;
    uint64_t progress_ns; /* bytes went or came */
    /* Since when the oldest request waits for bytes of the node: the last came, or it was committed
     * to an empty log, or had left whole. */
    uint64_t wait_ns;
    uint64_t retry_ms;
    struct shard_waiter *waiters;
    char reason[160]; /* of being down */
};

struct endpoint {
    unsigned index;
    uint16_t port;
    bool closed;
    char host[64], address[64];
    struct shard_link *link[LINKS]; /* [channel * 2 + protocol - 2]; NULL: never needed */
    struct shard_stats stats;
};

struct shard_pool {
    struct loop *loop;
    shard_done_fn done;
    struct shard_options o;
    char *user, *password;
    struct endpoint **ep;
    unsigned count;
    uint64_t now_ns;
    uint64_t open;             /* requests on all links */
    struct loop_timer *ticker; /* runs while requests are open */
    bool ticking;
    struct loop_task wake; /* full links have drained */
    char *scratch;         /* LINK_READ_BYTES */
};

struct shard_link *link_new(struct shard_pool *p, struct endpoint *ep, uint8_t proto,
                            enum shard_channel channel);
void link_free(struct shard_link *l);
void link_connect(struct shard_link *l);
/* The connection is of no use any more: closes it, tells the outcome of what cannot be sent again,
 * connects again. retry: reads that were sent may be sent once more. */
void shard_link_lost(struct shard_link *l, const char *reason, bool retry);
/* For good: what is open ends, waiters are woken, l is freed. */
void link_close(struct shard_link *l, const char *reason);
void link_tick(struct shard_link *l, uint64_t now_ns);
/* Since when nothing has happened to the oldest open request, of which there must be one. */
uint64_t link_waits_since(const struct shard_link *l);
void link_wake(struct shard_link *l);

/* reply.c: what hiredis' reader calls; its privdata is the link. */
struct redisReplyObjectFunctions *link_reply_functions(void);
/* Feeds bytes to the reader and delivers the replies that are whole. False: the link is broken. */
bool link_feed(struct shard_link *l, const char *bytes, size_t len);
/* If the reply under way is much longer than what has come of it: receives straight into the
 * reader's buffer. Returns what recv returned, or -2: not the case. */
ptrdiff_t link_recv_big(struct shard_link *l, int fd);

#endif
