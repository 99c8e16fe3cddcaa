#ifndef RDMA_TRANSPORT_H
#define RDMA_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "common/span.h"

/* Peer transport: messages between worker i of one member of a group and worker i of every other
 * member (DESIGN section 7). One interface; TCP, RDMA verbs and an in-memory implementation behind
 * it.
 *
 * Promise. While a connection lives, messages to a peer arrive whole, once, and in the order in
 * which they were sent. A connection that ends may take messages with it; the next one has a larger
 * number and replays nothing: whoever needs an answer sends again (DESIGN H7, G10). Messages of one
 * loop turn leave together, in one write or one chain of sends; nothing ever waits for more to
 * come.
 *
 * A transport belongs to one loop and one thread; no function may be called from another one.
 * Callbacks run from the loop, never inside a call of this interface. They may call everything
 * except transport_free. */
struct transport;

enum transport_kind {
    TRANSPORT_AUTO, /* only as a setting: transport_choose turns it into one of the others */
    TRANSPORT_RDMA,
    TRANSPORT_TCP,
    TRANSPORT_MEM /* within one process, for tests: rdma/mem.h */
};

#define TRANSPORT_VERSION 1u
#define TRANSPORT_MEMBER_MAX ((1u << 20) - 1u) /* member ids: 20-bit incarnations, 0 is nobody */
#define TRANSPORT_MESSAGE_MAX                                                                      \
    ((size_t)64 << 20) /* bytes of one message, upper bound of the setting */
#define TRANSPORT_PEERS_MAX 256u

/* Said and checked when a connection starts. Another cluster, group, worker index, version or
 * transport kind, a member that was not added as a peer, and a call meant for another member are
 * refused, with the reason in the log of both sides. Epochs may differ (views are not installed
 * everywhere at once): the peer's is handed to connected(). */
struct transport_identity {
    const char *cluster; /* copied */
    const char *group;   /* "proxies", or the shard's name; copied */
    uint32_t member;     /* 1..TRANSPORT_MEMBER_MAX */
    uint16_t worker;
    uint64_t epoch;
};

struct transport_events {
    /* A connection is up. conn grows with every connection of this transport. */
    void (*connected)(void *arg, uint32_t peer, uint64_t conn, uint64_t peer_epoch);
    /* One whole message; bytes are borrowed for the call (may be NULL when len is 0). */
    void (*message)(void *arg, uint32_t peer, const void *bytes, size_t len);
    /* The connection is gone and nothing of it will be delivered any more; it is dialled again
     * without being asked. Called once for each connected(), except after transport_remove_peer. */
    void (*disconnected)(void *arg, uint32_t peer, uint64_t conn, const char *reason);
    /* After transport_send returned ERR_BUSY: the queue is below half its limit. May be NULL. */
    void (*writable)(void *arg, uint32_t peer);
};

struct mem_net;
struct verbs_calls;
struct transport_options {
    enum transport_kind kind; /* not AUTO */
    struct loop *loop;
    struct transport_identity self;
    const char *host; /* address to listen on and to dial from; "" or NULL: any */
    uint16_t port;    /* listening port; TCP: 0 takes a free one (transport_port) */
    const struct transport_events *events; /* borrowed for the transport's life */
    void *arg;

    /* 0 in any of these: the default */
    size_t message_max;        /* bytes; 64 MiB */
    size_t queue_max;          /* bytes waiting per peer before ERR_BUSY; 16 MiB */
    uint32_t reconnect_min_ms; /* first wait after a failed or lost connection; doubles; 20 */
    uint32_t reconnect_max_ms; /* 1000 */
    uint32_t handshake_ms;     /* from dialling, or from accepting, to connected; 2000 */
    bool no_coalescing;        /* one write or send per message, for comparison in the benchmark */

    struct mem_net *net; /* TRANSPORT_MEM */

    /* TRANSPORT_RDMA; 0 or NULL: the default */
    const char *device;    /* device name, must carry `host`; NULL: the one that carries host */
    uint32_t slab_bytes;   /* registered buffer of one send or receive; 16 KiB */
    uint16_t data_credits; /* receives posted for a peer's messages; 64 */
    uint16_t ack_credits;  /* and for TRANSPORT_ACK only; 16 */
    uint32_t busy_poll_us; /* poll this long before sleeping on the completion channel; 0: never */
    const struct verbs_calls *calls; /* tests: a fake of the verbs library */
};

/* Starts listening. On ERR_CONFIG, ERR_IO, ERR_UNSUPPORTED (no such device) why says what to
 * change. */
enum err transport_new(const struct transport_options *o, struct transport **out,
                       struct errmsg *why) must_use;
/* Drops every connection, without callbacks. Not from a callback of this transport. NULL allowed.
 */
void transport_free(struct transport *t);

uint16_t transport_port(const struct transport *t); /* where it listens */
/* One line for INFO and the log, such as "tcp 127.0.0.1:7001". Returns the length, cut to fit. */
size_t transport_describe(const struct transport *t, char *out, size_t room);
enum transport_kind transport_kind_of(const struct transport *t);
/* The epoch told to peers from now on (existing connections are not touched). */
void transport_set_epoch(struct transport *t, uint64_t epoch);

struct transport_peer {
    uint32_t member;
    /* Numeric address, or a name, which is looked up at each call and may block the loop for that
     * long. Copied. Ignored by TRANSPORT_MEM. */
    const char *host;
    uint16_t port; /* of the peer's worker with this transport's index */
};
/* Both sides dial; one connection survives. ERR_EXISTS: already a peer (nothing changed).
 * ERR_RANGE: bad member id or own id. ERR_BUSY: TRANSPORT_PEERS_MAX reached. */
enum err transport_add_peer(struct transport *t, const struct transport_peer *spec) must_use;
/* The member left the view: its connection (socket, queue pair) is destroyed before this returns
 * and nothing from it is delivered afterwards, neither messages nor disconnected() (RELIABILITY
 * F4). Unknown: no effect. */
void transport_remove_peer(struct transport *t, uint32_t member);
bool transport_is_connected(const struct transport *t, uint32_t member);

/* An answer that its peer needs to make room (ACK and the like). It may overtake messages sent
 * before it without this flag, it has a share of the queue and credits of its own, and it is never
 * refused with ERR_BUSY: a peer so slow that even these pile up to twice queue_max is disconnected
 * instead. */
#define TRANSPORT_ACK 1u

/* Queues one message made of n parts (copied before the return). It leaves at the end of the loop's
 * turn. ERR_CLOSED: not connected, the message is dropped (send again after connected()). ERR_BUSY:
 * the queue is full, wait for writable(). ERR_TOOBIG: longer than message_max, nothing is cut
 * short. ERR_NOTFOUND: no such peer. OK is no promise of arrival. */
enum err transport_sendv(struct transport *t, uint32_t member, unsigned flags,
                         const struct span *parts, size_t n) must_use;
static inline enum err must_use transport_send(struct transport *t, uint32_t member, unsigned flags,
                                               const void *bytes, size_t len)
{
    struct span part = span_of((const char *)bytes, len);
    return transport_sendv(t, member, flags, &part, 1);
}

/* Counters since the start. X(name, what it counts) */
#define TRANSPORT_COUNTERS(X)                                                                      \
    X(messages_out, "messages queued for sending")                                                 \
    X(messages_in, "messages delivered")                                                           \
    X(bytes_out, "their bytes, without framing")                                                   \
    X(bytes_in, "bytes delivered")                                                                 \
    X(sends, "writes (TCP) or posted sends (RDMA)")                                                \
    X(receives, "reads (TCP) or receive completions (RDMA)")                                       \
    X(inline_sends, "sends whose bytes went with the request")                                     \
    X(signalled, "sends that asked for a completion")                                              \
    X(doorbells, "chains of sends posted")                                                         \
    X(credit_sends, "sends that carried only credits")                                             \
    X(credit_stalls, "times a message had to wait for a credit")                                   \
    X(fragments, "pieces of messages larger than a slab")                                          \
    X(completions, "completions polled")                                                           \
    X(wakeups, "times the completion channel woke the loop")                                       \
    X(busy, "messages refused because the queue was full")                                         \
    X(connects, "connections established")                                                         \
    X(disconnects, "connections lost")                                                             \
    X(refused_in, "calls from others refused")                                                     \
    X(refused_out, "own calls refused by others")                                                  \
    X(dial_failures, "own calls that failed")

struct transport_stats {
#define X(name, what) uint64_t name;
    TRANSPORT_COUNTERS(X)
#undef X
    uint64_t queued_bytes;     /* now waiting to be sent */
    uint64_t registered_bytes; /* memory registered with the device now */
    uint32_t peers, connected; /* now */
};
/* member 0: the whole transport, peers removed since included. ERR_NOTFOUND: no such peer. */
enum err transport_stats(const struct transport *t, uint32_t member,
                         struct transport_stats *out) must_use;

/* Turns the setting auto|rdma|tcp into a kind, and says in one log line which and why. auto takes
 * RDMA when a device with an active port carries host. ERR_UNSUPPORTED: rdma was asked for and
 * there is none. */
enum err transport_choose(enum transport_kind setting, const char *host, const char *device,
                          enum transport_kind *out, struct errmsg *why) must_use;
bool transport_kind_parse(struct span name, enum transport_kind *out);
const char *transport_kind_name(enum transport_kind kind);

#endif
