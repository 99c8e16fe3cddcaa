#ifndef RDMA_LINK_H
#define RDMA_LINK_H

#include "common/log.h"
#include "rdma/transport.h"
#include "rdma/wire.h"

/* Inside of the transport: what the common part (transport.c, peers.c) and the implementations
 * (tcp.c, mem.c, verbs*.c) ask of each other. A link is one connection, being made or up; an
 * implementation embeds it as the first member of its own struct.
 *
 *   own call:       DIALLING -> SAID_HELLO -> UP -> DEAD
 *   other's call:   INCOMING -> (ACCEPTED ->) UP -> DEAD
 *
 * The common part decides who may connect and which of two simultaneous calls survives, dials
 * again, counts, and talks to the user. An implementation moves bytes. Whatever an upcall does, the
 * link's memory stays until the end of the turn; after every upcall the implementation checks for
 * LINK_DEAD and then touches nothing. */
enum link_state {
    LINK_DIALLING,   /* own call, hello not sent: the peer cannot have accepted it */
    LINK_SAID_HELLO, /* own call, hello may have been seen */
    LINK_INCOMING,   /* other's call, hello not seen */
    LINK_ACCEPTED,   /* other's call, answered, not known to be up */
    LINK_UP,
    LINK_DEAD
};

#define LINK_MAGIC 0x4c494e4bu
#define LINK_INCOMING_MAX 256u /* calls whose hello is awaited, per transport */

struct peer;
struct link {
    uint32_t magic;
    enum link_state state;
    bool dirty; /* in the transport's list of links to flush */
    struct transport *t;
    struct peer *peer;        /* NULL: incoming and not judged yet, or dead */
    uint64_t conn;            /* name on the wire */
    uint64_t peer_seq;        /* the peer's last call when this link was made */
    uint64_t peer_epoch;      /* ACCEPTED: as its hello said */
    struct loop_timer *timer; /* handshake */
    struct link *prev, *next; /* all living links of the transport */
    struct link *next_dirty, *next_dead;
    const char *doomed; /* to be reported lost at the end of the turn, for this reason */
};

struct peer {
    struct transport *t;
    uint32_t member;
    uint16_t port;
    char host[256];
    struct link *up;     /* state UP */
    struct link *making; /* own call under way, or ACCEPTED */
    uint64_t up_since_ns;
    uint64_t conn_number;
    uint32_t wait_ms; /* before the next call */
    bool starved;     /* owes a writable() */
    struct loop_timer *redial;
    struct log_limit log_limit;
    struct transport_stats stats;
};

struct link_ops {
    bool up_on_accept; /* accept() makes the link UP; otherwise link_established follows */
    enum err (*open)(struct transport *t, struct errmsg *why);
    void (*close)(struct transport *t); /* stops listening; every link is shut already */
    /* Starts a call; h is the hello to say. Calls link_said_hello when it goes out, then
     * link_accepted, link_refused or link_lost. An error: nothing was started. */
    enum err (*dial)(struct peer *p, const struct hello *h, struct link **out);
    enum err (*accept)(struct link *l, const struct hello *reply);
    void (*refuse)(struct link *l, enum refusal why); /* tells the caller; shut follows */
    /* Queues; the caller marks the link dirty. Cannot fail: errors are found by flush. */
    void (*send)(struct link *l, unsigned flags, const struct span *parts, size_t n, size_t len);
    void (*flush)(struct link *l);
    size_t (*queued)(const struct link *l);
    void (*shut)(struct link *l); /* destroys the connection now, no upcall; keeps the memory */
    void (*reap)(struct link *l); /* frees the memory */
    size_t (*describe)(const struct transport *t, char *out, size_t room);
    uint64_t (*registered)(const struct transport *t); /* bytes; may be NULL */
};

extern const struct link_ops tcp_ops, mem_ops, verbs_ops;

struct transport {
    struct transport_options o; /* defaults filled in; strings copied */
    char *cluster, *group;      /* of o.self */
    char host[256];
    char device[64];
    uint16_t port;
    const struct link_ops *ops;
    void *impl; /* the implementation's */
    struct peer *peers[TRANSPORT_PEERS_MAX];
    uint32_t peer_count;
    uint32_t incoming; /* links in LINK_INCOMING */
    bool sentry;       /* refuses everybody: this member uses another transport */
    uint64_t conn_counter, dial_seq;
    uint64_t random;
    struct transport_stats gone; /* of removed peers, and of calls by nobody */
    struct link *links, *dirty, *dead;
    struct loop_task flush_task, reap_task;
    struct loop_timer *writable_timer;
    struct log_limit refuse_limit;
};

/* ---- upcalls, for implementations ---- */
/* Fills in the common part of a zeroed link. peer NULL: an incoming one. */
void link_init(struct link *l, struct transport *t, struct peer *peer);
void link_said_hello(struct link *l);
void link_incoming(struct link *l,
                   const struct hello *h); /* judged: accepted, or refused and shut */
void link_established(struct link *l);     /* ACCEPTED -> UP */
void link_accepted(struct link *l, const struct hello *reply); /* own call -> UP */
void link_refused(struct link *l, enum refusal why);
void link_message(struct link *l, const void *bytes, size_t len);
/* The connection failed or ended; reason is one phrase for the log. The link is shut. */
void link_lost(struct link *l, const char *reason);
/* Something left the queue: writable() may be due. */
void link_drained(struct link *l);
/* Flush at the end of this turn. */
void link_touch(struct link *l);
static inline bool link_is_dead(const struct link *l)
{
    return l->state == LINK_DEAD;
}

/* ---- between transport.c and peers.c ---- */
struct peer *peer_find(const struct transport *t, uint32_t member);
void peer_dial(struct peer *p);
void peer_schedule_dial(struct peer *p);
void link_shut(struct link *l);

/* Resolves host (numeric at once; names through the resolver, which may block). passive: to listen
 * on. Gives an address of sockaddr_storage size. */
struct sockaddr_storage;
enum err address_resolve(const char *host, uint16_t port, bool passive,
                         struct sockaddr_storage *out, unsigned *len) must_use;
size_t address_format(const struct sockaddr_storage *a, char *out, size_t room);

#endif
