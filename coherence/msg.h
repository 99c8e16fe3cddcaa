#ifndef COHERENCE_MSG_H
#define COHERENCE_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Messages between Hermes replicas, decoded, and their form on the wire.
 *
 * The decoder is the border: what it lets through may be stale, duplicated or out of place, but
 * every field is in range, so no core asserts on anything else. Bytes of keys and payloads are not
 * looked at here: a decoded message carries spans into the frame, and the driver makes the
 * references of struct coh_ref that the core works with out of them.
 *
 * Wire: kind (1 byte), epoch (8), sender (4), then the fields of the kind in the order of the enum
 * below, fixed-size little-endian integers; key: length (2) and bytes; payload: length (4) and
 * bytes. Nothing may follow. */

/* An opaque reference to bytes kept by the driver: the core moves it about and never looks inside.
 * handle 0: none. Who holds it: coherence/hermes.h, "References". */
struct coh_ref {
    uint64_t handle;
    uint32_t len; /* bytes */
};

/* A key as the core sees it. hash: any 64-bit hash of the bytes, the same within one process;
 * collisions are harmless. */
struct hermes_key {
    uint64_t hash;
    struct coh_ref ref;
    uint16_t slot; /* < SLOT_COUNT, derived from the bytes by the driver */
};

#define MSG_KEY_MAX 65535u
#define MSG_PAYLOAD_MAX (512u * 1024 * 1024 + 4096)
#define MSG_SLOTS 16384u

/* fields: what is on the wire after the header */
#define MSG_KINDS(X)                                                                               \
    X(INV, KEY | TS | BASE | OWNER | FLAGS | GENERATION | NOW |                                    \
               PAYLOAD)      /* an update, pending until VAL (H2) */                               \
    X(ACK, KEY | TS | HELD)  /* ts: of the INV; held: the sender's own */                          \
    X(NACK, KEY | TS | HELD) /* an RMW's INV refused by a replica that is Valid at held */         \
    X(VAL, KEY | TS)         /* committed (H3) */                                                  \
    X(GET,                                                                                         \
      KEY | TS | HELD) /* send what you have; ts: what I have committed, held: what I have seen */ \
    X(VALUE, KEY | TS | FLAGS | GENERATION | PAYLOAD) /* committed value, ts and flags */          \
    X(FLOOR, KEY | TS | VERSION) /* the INV is at or below the slot's floor (H8) */                \
    X(LOCK, SLOT | NONCE)        /* exclusive grant wanted (H11) */                                \
    X(LOCKED, SLOT | NONCE |                                                                       \
                  VERSION) /* nothing of mine is under way in the slot; version: its floor here */ \
    X(UNLOCK, SLOT | NONCE)                                                                        \
    X(WANT, SLOT | NONCE)                   /* something waits here for the grant to end */        \
    X(MULTI, OWNER | NOW | PARTS | PAYLOAD) /* an update of several keys of a slot (H11) */        \
    X(PURGE, SLOT | NONCE | VERSION)        /* drop tombstones up to version */                    \
    X(PURGED, SLOT | NONCE)                                                                        \
    X(PULL, NONCE | CURSOR) /* learner: the next slice, please (H10) */                            \
    X(PULL_SLOT,                                                                                   \
      NONCE | SEQ | SLOT | VERSION | GENERATION) /* floor and largest purged generation */         \
    X(PULL_VALUE, NONCE | SEQ | KEY | TS | FLAGS | GENERATION |                                    \
                      PAYLOAD) /* as VALUE, number seq of the slice */                             \
    X(PULL_INV, NONCE | SEQ | KEY | TS | BASE | OWNER | FLAGS | GENERATION | NOW |                 \
                    PAYLOAD)                                   /* pending at the donor */          \
    X(PULL_MULTI, NONCE | SEQ | OWNER | NOW | PARTS | PAYLOAD) /* the same for several keys */     \
    X(PULL_END,                                                                                    \
      NONCE | SEQ | CURSOR) /* seq: how many there were (lower 8 bits); cursor 0: the last */

enum msg_field {
    MSG_F_NONCE = 1 << 0,
    MSG_F_SEQ = 1 << 1,
    MSG_F_SLOT = 1 << 2,
    MSG_F_TS = 1 << 3,
    MSG_F_BASE = 1 << 4,
    MSG_F_HELD = 1 << 5,
    MSG_F_VERSION = 1 << 6,
    MSG_F_CURSOR = 1 << 7,
    MSG_F_OWNER = 1 << 8,
    MSG_F_FLAGS = 1 << 9,
    MSG_F_GENERATION = 1 << 10,
    MSG_F_NOW = 1 << 11,
    MSG_F_KEY = 1 << 12,
    MSG_F_PAYLOAD = 1 << 13,
    MSG_F_PARTS = 1 << 14,
};

enum msg_kind {
#define X(name, fields) MSG_HERMES_##name,
    MSG_KINDS(X)
#undef X
        MSG_KIND_COUNT
};

/* One key of an update of several: it stands on base and becomes ts. */
struct hermes_part {
    struct hermes_key key;
    uint64_t base, ts;
    uint64_t generation; /* of the key, unchanged; it is not hot */
};

#define MSG_PARTS_MAX 4096u

#define MSG_FLAG_RMW 1u  /* INV: read-modify-write, else blind */
#define MSG_FLAG_HOT 2u  /* the key is hot after this update, in `generation` */
#define MSG_FLAG_LIVE 4u /* VALUE: there is a value; else a tombstone */

struct hermes_msg {
    enum msg_kind kind;
    uint64_t epoch;
    uint32_t sender; /* incarnation id */
    uint64_t nonce;
    uint32_t seq;
    uint16_t slot;
    uint64_t ts, base, held;
    uint64_t version; /* <= TS_VERSION_MAX */
    uint64_t cursor;
    uint32_t owner; /* incarnation id of who started the update */
    uint8_t flags;  /* MSG_FLAG_* */
    uint64_t generation;
    uint64_t now_ms; /* the update's wall clock, for its effects */
    struct hermes_key key;
    struct coh_ref payload; /* INV, MULTI: effects; VALUE: the driver's encoding of a value */
    /* MULTI, PULL_MULTI: 1..MSG_PARTS_MAX; of the core when it sends, of the driver when it is
       offered */
    const struct hermes_part *parts;
    uint32_t part_count;
};

/* Bytes of key and payload: of the frame when decoding (borrowed from it), the driver's own when
 * encoding. */
struct msg_bytes {
    const uint8_t *key, *payload;
    uint32_t key_len, payload_len;
    /* Encoding: bytes of each part's key. Decoding: NULL, and `parts` for msg_part_next. */
    const struct msg_key *part_keys;
    const uint8_t *parts;
};
struct msg_key {
    const uint8_t *p;
    uint32_t len;
};

/* Bytes that msg_encode will write. */
size_t msg_size(const struct hermes_msg *m, const struct msg_bytes *b);
/* Writes exactly msg_size bytes to frame. The fields must be in range (this is our own message:
 * asserted). */
size_t msg_encode(const struct hermes_msg *m, const struct msg_bytes *b, uint8_t *frame,
                  size_t capacity);
/* Decodes one whole frame. key.hash, key.slot and key.ref.handle and payload.handle are left 0 for
 * the driver to fill in, parts NULL; the lengths and part_count are set. ERR_PROTO: malformed, *m
 * and *b unspecified: the caller closes the peer. Borrows frame. */
enum err msg_decode(const uint8_t *frame, size_t len, struct hermes_msg *m,
                    struct msg_bytes *b) must_use;
/* Reads the part at *at, of b->parts of a decoded frame, and moves *at behind it; to be called
 * part_count times. The key's hash, slot and handle are left 0; its bytes are borrowed from the
 * frame. */
void msg_part_next(const uint8_t **at, struct hermes_part *part, struct msg_key *key);
/* "INV", for traces. */
const char *msg_name(enum msg_kind kind);

#endif
