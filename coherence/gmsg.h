#ifndef COHERENCE_GMSG_H
#define COHERENCE_GMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherence/msg.h"
#include "common/err.h"

/* Messages between proxies (DESIGN section 5), decoded, and their form on the wire.
 *
 * As in coherence/msg.h: the decoder is the border, what it lets through has every field in range;
 * bytes of keys and payloads are not looked at, the driver makes references of them.
 *
 * Wire: kind (1 byte, GMSG_KIND_FIRST + enum), epoch (8), sender (4), then the fields of the kind
 * in the order of enum gmsg_field, fixed-size little-endian integers; key: length (2) and bytes;
 * payload: length (4) and bytes. Nothing may follow. The kind's first byte differs from those of
 * coherence/msg.h, so that a frame sent to the wrong port is refused.
 *
 * Who handles what: gmsg_for(kind). The driver gives a message to that core of the partition;
 * COUNTS is the driver's own (merging of hot-key counts), no core knows it. Messages to the sender
 * itself (to_mask has its bit) are looped back by the driver, in order, after the outbox has been
 * carried out. */
#define GMSG_KIND_FIRST 0x40u
#define GMSG_PAYLOAD_MAX (1u << 20)

/* clang-format off */
#define GMSG_KINDS(X)                                                                              \
    X(INV, GENERATION | TOKEN | KEY)      /* a write is coming (G2, G5) */                         \
    X(ACK, GENERATION | TOKEN | KEY)      /* not Valid here until DONE */                          \
    X(DONE, GENERATION | TOKEN | TS | EXPIRE | FLAGS | KEY | PAYLOAD) /* what came of it */        \
    X(ASK, GENERATION | TOKEN | KEY)      /* your invalidation stands here for long: what of it? */\
    X(LOST, GENERATION | TOKEN | KEY)     /* I do not know: only a new generation helps (G8) */    \
    X(PREP, SEQ | GENERATION | KEY)       /* G6 */                                                 \
    X(PREPARED, GENERATION | KEY)                                                                  \
    X(FILL, SEQ | GENERATION | TS | EXPIRE | FLAGS | KEY | PAYLOAD)                                \
    X(DRAIN, SEQ | GENERATION | KEY)      /* G7 */                                                 \
    X(DRAINED, GENERATION | KEY)                                                                   \
    X(DROP, SEQ | GENERATION | KEY)                                                                \
    X(REPORT, GENERATION | FLAGS | KEY)   /* to the hot-set coordinator: enum gmsg_report */       \
    X(COUNTS, SEQ | PAYLOAD)              /* the driver's: a proxy's hottest keys of an epoch */

enum gmsg_field {
    GMSG_F_SEQ = 1 << 0, /* control messages of one coordinator: growing, never 0 (G9) */
    GMSG_F_GENERATION = 1 << 1,
    GMSG_F_TOKEN = 1 << 2,
    GMSG_F_TS = 1 << 3,
    GMSG_F_EXPIRE = 1 << 4,
    GMSG_F_FLAGS = 1 << 5,
    GMSG_F_KEY = 1 << 6,
    GMSG_F_PAYLOAD = 1 << 7,
};
/* clang-format on */

enum gmsg_kind {
#define X(name, fields) GMSG_##name,
    GMSG_KINDS(X)
#undef X
        GMSG_KIND_COUNT
};

/* What is known of a value: FLAGS of DONE and FILL, and struct galene_value. */
enum gmsg_value {
    GMSG_NO_VALUE,    /* not told; ts 0 */
    GMSG_VALUE,       /* payload */
    GMSG_ABSENT,      /* the key does not exist at ts */
    GMSG_UNCACHEABLE, /* no string, or too long (G12); ts 0 */
    GMSG_VALUE_KINDS,
};

/* FLAGS of REPORT. */
enum gmsg_report {
    GMSG_REPORT_STUCK,       /* my entry of this generation cannot become Valid by itself (G8) */
    GMSG_REPORT_UNKNOWN_HOT, /* the backend says hot in this generation, I have no entry (G9) */
    GMSG_REPORT_UNCACHEABLE, /* G12 */
    GMSG_REPORT_DEMOTE,      /* somebody wants it cold (G13); generation 0: whatever it is */
    GMSG_REPORT_KINDS,
};

struct gmsg {
    enum gmsg_kind kind;
    uint64_t epoch;
    uint32_t sender; /* incarnation id */
    uint64_t seq;
    uint64_t generation;
    uint64_t token; /* not 0 */
    uint64_t ts;
    uint64_t expire_ms; /* wall clock; 0: none */
    uint8_t flags;      /* enum gmsg_value or enum gmsg_report */
    struct hermes_key key;
    struct coh_ref payload; /* DONE, FILL: the driver's encoding of a value */
};

enum gmsg_core { GMSG_TO_GALENE, GMSG_TO_HOTSET, GMSG_TO_DRIVER };
enum gmsg_core gmsg_for(enum gmsg_kind kind);

/* Bytes that gmsg_encode will write. */
size_t gmsg_size(enum gmsg_kind kind, const struct msg_bytes *b);
/* Writes exactly gmsg_size bytes to frame. Our own message: fields out of range are asserted. */
size_t gmsg_encode(const struct gmsg *m, const struct msg_bytes *b, uint8_t *frame,
                   size_t capacity);
/* Decodes one whole frame; as msg_decode: key.hash, key.slot, key.ref.handle and payload.handle are
 * left 0 for the driver, lengths are set, *b borrows the frame. ERR_PROTO: malformed, *m and *b
 * unspecified: the caller closes the peer. */
enum err gmsg_decode(const uint8_t *frame, size_t len, struct gmsg *m,
                     struct msg_bytes *b) must_use;
/* "INV", for traces. */
const char *gmsg_name(enum gmsg_kind kind);

/* Generations (G9): the epoch of the coordinator's view, then a counter; compared as one integer.
 * Epochs beyond 2^28 would wrap: views change a few times a day. */
#define GENERATION_COUNTER_BITS 36
static inline uint64_t generation_make(uint64_t epoch, uint64_t counter)
{
    return epoch << GENERATION_COUNTER_BITS | counter;
}
static inline uint64_t generation_epoch(uint64_t generation)
{
    return generation >> GENERATION_COUNTER_BITS;
}

#endif
