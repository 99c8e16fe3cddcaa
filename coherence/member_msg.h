#ifndef COHERENCE_MEMBER_MSG_H
#define COHERENCE_MEMBER_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherence/map.h"
#include "common/err.h"

/* Messages of the membership service, decoded, and their form on the wire. Holders (nodes and
 * proxies) talk to acceptors only, acceptors to both.
 *
 * As in coherence/msg.h the decoder is the border: what it lets through may be stale, duplicated or
 * out of place, but every field is in range and a map in it is map_ok.
 *
 * Wire: kind (1 byte), cluster (8), sender (1), then the fields of the kind in the order of enum
 * member_field, little-endian; nothing may follow. */
#define MEMBER_MSG_KINDS(X)                                                                        \
    /* holder to acceptor */                                                                       \
    X(RENEW,                                                                                       \
      ID | NONCE | TOKEN | VERSION | EPOCH | FLAGS | OTHER)    /* R1. id 0: only asks for news */  \
    X(JOIN, NONCE | TOKEN | VERSION | GROUP | ADDRESS | PORTS) /* nonce: the attempt's boot */     \
    X(RELEASE, ID)                                             /* its lease is over, for good */   \
    X(CHANGE, ID | NONCE | OTHER | CHANGE_KIND | GROUP | ADDRESS) /* an operator's wish */         \
    /* acceptor to holder */                                                                       \
    X(GRANT, ID | NONCE | TOKEN)    /* R2 */                                                       \
    X(WAIT, NONCE | TOKEN | REASON) /* to JOIN: not in the map yet; come again with token */       \
    X(RESULT, NONCE | REASON)       /* to CHANGE */                                                \
    X(MAP, MAP)                     /* decided; also between acceptors */                          \
    /* acceptor to acceptor */                                                                     \
    /* nonce: of the sender's life; epoch: the receiver's, as last heard; accepted: the ballot     \
       promised here; token: the version it has to see decided before it votes */                  \
    X(STATUS, NONCE | TOKEN | VERSION | EPOCH | ACCEPTED | FLAGS | GONE)                           \
    X(PREPARE, VERSION | BALLOT)                                                                   \
    X(PROMISE, VERSION | BALLOT | ACCEPTED | MAP) /* map only if accepted is not 0 */              \
    X(ACCEPT, BALLOT | FLAGS | MAP)                                                                \
    X(ACCEPTED, VERSION | BALLOT)                                                                  \
    X(REFUSED, VERSION | BALLOT | ACCEPTED | WAIT_NS) /* ballot: the asker's; accepted: promised   \
                                                         here; wait: until the promises end */

enum member_field {
    MEMBER_F_ID = 1 << 0,
    MEMBER_F_NONCE = 1 << 1,
    MEMBER_F_TOKEN = 1 << 2,
    MEMBER_F_VERSION = 1 << 3,
    MEMBER_F_EPOCH = 1 << 4,
    MEMBER_F_BALLOT = 1 << 5,
    MEMBER_F_ACCEPTED = 1 << 6,
    MEMBER_F_WAIT_NS = 1 << 7,
    MEMBER_F_FLAGS = 1 << 8,
    MEMBER_F_OTHER = 1 << 9,
    MEMBER_F_REASON = 1 << 10,
    MEMBER_F_CHANGE_KIND = 1 << 11,
    MEMBER_F_GONE = 1 << 12,
    MEMBER_F_GROUP = 1 << 13,
    MEMBER_F_ADDRESS = 1 << 14,
    MEMBER_F_PORTS = 1 << 15,
    MEMBER_F_MAP = 1 << 16,
};

enum member_msg_kind {
#define X(name, fields) MEMBER_MSG_##name,
    MEMBER_MSG_KINDS(X)
#undef X
        MEMBER_MSG_COUNT
};

#define MEMBER_NO_ACCEPTOR UINT8_MAX /* sender: a holder */
#define MEMBER_FLAG_CAUGHT_UP 1u     /* RENEW: this learner has everything (H10) */
#define MEMBER_FLAG_FORGOT 4u        /* STATUS: it may have forgotten votes, and keeps out */
#define MEMBER_FLAG_BAR 2u           /* ACCEPT: grant nothing more to who is left out (R4) */

#define MEMBER_GONE_WORDS (MAP_NODES_MAX / 64)

/* What became of a request to join, or of an operator's change. */
#define MEMBER_REASONS(X)                                                                          \
    X(PENDING, "under way")                                                                        \
    X(DONE, "done")                                                                                \
    X(NO_GROUP, "there is no such group")                                                          \
    X(NO_NODE, "there is no such node")                                                            \
    X(FULL, "the group is full")                                                                   \
    X(SPARE, "waits for an operator to say which group")                                           \
    X(OCCUPIED,                                                                                    \
      "an earlier process of this address is still a member; waits until its lease ends")          \
    X(WORKERS, "has another number of workers than the group")                                     \
    X(LAST, "is the last member that has the data; only force removes it")                         \
    X(NOT_CAUGHT_UP, "the replacement has not caught up")

enum member_reason {
#define X(name, text) MEMBER_##name,
    MEMBER_REASONS(X)
#undef X
        MEMBER_REASON_COUNT
};

enum member_change_kind {
    MEMBER_CHANGE_JOIN,    /* the spare process at address: into group */
    MEMBER_CHANGE_LEAVE,   /* id out, and it does not come back by itself */
    MEMBER_CHANGE_REPLACE, /* id out as soon as `other`, of the same group, has the data */
    MEMBER_CHANGE_FORCE,   /* id out even if it is the last one that has the data */
    MEMBER_CHANGE_COUNT
};

struct member_msg {
    enum member_msg_kind kind;
    uint64_t cluster; /* map_cluster of the sender's acceptor set */
    uint8_t sender;   /* index of the acceptor, or MEMBER_NO_ACCEPTOR */
    uint32_t id;      /* <= TS_ID_MAX */
    uint64_t nonce, token, version, epoch;
    uint64_t ballot, accepted;
    uint64_t wait_ns;
    uint8_t flags;
    uint32_t other; /* CHANGE: the replacement; RENEW: whose answers are missing, 0: nobody's */
    enum member_reason reason;
    enum member_change_kind change;
    uint64_t gone[MEMBER_GONE_WORDS]; /* bit i: nodes[i] of that version's map */
    char group[MAP_TEXT_MAX];         /* name; empty: none */
    struct map_address at;            /* CHANGE: port 0 and no host: none */
    uint16_t workers, peer_port;
    /* MAP, ACCEPT, PROMISE with accepted != 0; else NULL. Borrowed */
    const struct member_map *map;
};

#define MEMBER_MSG_MAX (MAP_WIRE_MAX + 256u) /* bytes of any message on the wire */

/* Writes the message, asserting that its fields are in range; gives its bytes. capacity:
 * MEMBER_MSG_MAX always suffices. */
size_t member_msg_encode(const struct member_msg *m, uint8_t *frame, size_t capacity);
/* Decodes one whole frame. *map is where a map in it goes (m->map then points there). ERR_PROTO:
 * malformed, *m and *map unspecified: the caller closes the connection. */
enum err member_msg_decode(const uint8_t *frame, size_t len, struct member_msg *m,
                           struct member_map *map) must_use;
const char *member_msg_name(enum member_msg_kind kind);
/* A sentence for operators and logs. */
const char *member_reason_text(enum member_reason r);

#endif
