#ifndef COMMON_CONN_H
#define COMMON_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/loop.h"
#include "common/resp.h"

/* A client connection that speaks RESP, as server: reads, parses batches, writes once per loop
 * turn, keeps limits. Used by the node's and by the proxy's sessions, which embed struct conn as
 * their first member. */

struct conn_req {
    const struct span *argv; /* into the read buffer: valid during on_batch only */
    uint32_t argc;           /* >= 1 */
    uint32_t bytes;          /* of the request on the wire (multibulk: starts at raw) */
    /* the request as it came, when it came as multibulk; NULL when inline */
    const char *raw;
};

#define CONN_BATCH_MAX 64

struct conn;
struct conn_ops {
    /* Up to CONN_BATCH_MAX requests, in order. Returns how many were taken. Fewer than n means "no
     * more now": the rest stays in the buffer and is offered again after conn_resume
     * (back-pressure, CLIENT PAUSE), or, if conn_full(c), when the output was written. Output is
     * flushed by itself. */
    size_t (*on_batch)(struct conn *c, const struct conn_req *reqs, size_t n);
    /* The connection is gone (peer closed, error, limit, conn_close): free what is yours; c is
     * freed by the caller of this function after it returns, by calling ops->release. Called
     * exactly once. */
    void (*on_close)(struct conn *c);
    void (*release)(struct conn *c); /* free the memory that holds c */
    /* Are replies still to come from elsewhere (proxy)? Then a client that closed its sending side
     * is kept until they were written, and is not idle; a protocol error waits for them too. Call
     * conn_resume after the last one if `paused`. NULL: never. */
    bool (*has_pending)(const struct conn *c);
};

struct conn_limits { /* shared by the connections of a worker; may be changed between batches */
    struct resp_limits resp;
    uint64_t query_bytes_max; /* client-query-buffer-limit */
    /* client-output-buffer-limit normal: close at once above hard ... */
    uint64_t out_hard_bytes;
    uint64_t out_soft_bytes; /* ... or when above soft for soft_seconds; 0: none */
    uint32_t out_soft_seconds;
    /* stop reading requests while more output than this waits (back-pressure) */
    uint64_t out_pause_bytes;
    uint32_t idle_seconds; /* timeout; 0: never */
};

struct conn {
    uint32_t magic;
    uint8_t proto; /* 2 or 3: of replies */
    /* set by the owner: no more requests are read, output is written, then closed */
    bool close_after_write;
    bool closing;
    bool paused;  /* on_batch took fewer than it was offered; until conn_resume */
    bool stalled; /* too much output waits; ends by itself when it was written */
    /* set by the owner: requests have the small limits of clients before AUTH */
    bool unauthenticated;
    bool is_unix;
    int fd;
    struct loop *loop;
    const struct conn_ops *ops;
    const struct conn_limits *limits;
    struct buf in, out;    /* in: only what could not be handled in the turn it was read */
    struct resp_out reply; /* reply.b == &out; whoever changes proto changes reply.proto too */
    uint64_t bytes_in, bytes_out, requests;
    uint64_t created_ms, last_active_ms; /* clk_wall_ms */
    char peer[64], local[64];            /* "127.0.0.1:51234", "/run/x.sock:0" */
    struct conn_private *priv;
};

/* Takes an accepted socket. c is zeroed memory of the caller (first member of a session). */
enum err conn_init(struct conn *c, struct loop *l, int fd, const struct conn_ops *ops,
                   const struct conn_limits *limits);

/* True when so much output waits that no more requests should be run: on_batch then stops early,
 * and the rest is offered again by itself once the output was written. */
static inline bool conn_full(const struct conn *c)
{
    return buf_used(&c->out) > c->limits->out_pause_bytes;
}

void conn_touch(struct conn *c);  /* output was appended: write it at the end of this turn */
void conn_resume(struct conn *c); /* offer what is buffered again (next turn), read on */
/* at once; on_close and release run before this turn ends, never inside the call */
void conn_close(struct conn *c);
uint64_t conn_memory(const struct conn *c);

/* Listening sockets of one worker. */
struct listener;
typedef void (*listener_fn)(int fd, bool is_unix, void *arg); /* takes fd */
struct listen_options {
    const char *address; /* numeric IPv4 or IPv6, or "*" */
    uint16_t port;
    const char *unix_path; /* or NULL; then address and port are ignored */
    unsigned unix_mode;
    int backlog;
    bool reuse_port;
    uint32_t keepalive_seconds; /* tcp-keepalive of accepted sockets */
};
enum err listener_open(struct loop *l, const struct listen_options *o, listener_fn fn, void *arg,
                       struct listener **out, struct errmsg *why);
void listener_close(struct listener *s); /* NULL allowed */

#endif
