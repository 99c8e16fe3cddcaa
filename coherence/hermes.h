#ifndef COHERENCE_HERMES_H
#define COHERENCE_HERMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherence/msg.h"
#include "coherence/ts.h"
#include "coherence/view.h"
#include "common/err.h"

/* One Hermes replica as a pure state machine (DESIGN section 4, rules H1-H14, and the backend's
 * half of G3, G4, G6, G7).
 *
 * The driver fills a struct hermes_in, calls hermes_step, and carries out the outbox. No sockets,
 * clocks, threads or allocation here. Millions of keys that are Valid live only in the driver's
 * store; the core keeps a record (of a bounded table) for a key that is not Valid or has an
 * operation waiting, and tells the store with mark(): as long as an entry's state byte is 0 the
 * driver may serve reads from it without asking, if hermes_may_read says so with a clock read after
 * the request came in (H9).
 *
 * What the store's entry holds is always the *committed* value with its ts; the pending update is
 * in the core's record. So value and ts never disagree, and the ts a replica has seen may be larger
 * than the entry's.
 *
 * References. Keys, effects and values are opaque (struct coh_ref). References in an input are
 * valid during the step only; the core takes what it keeps with hold(), which gives a reference of
 * the core's own, and returns each of those exactly once with drop(). References in the outbox are
 * the core's: valid until the outbox has been carried out, even if dropped in the same step, so the
 * driver frees what was dropped only after that. The outbox must be carried out before the next
 * step.
 *
 * Order. Operations on one key take effect in the order in which they were given (H14), except that
 * one that gave up goes back to the head. A driver that answers reads itself does so only while the
 * key's state byte is 0. */

struct hermes;

enum hermes_state { /* of a record; see the drawing in hermes.c */
                    KEY_VALID,
                    KEY_INVALID,
                    KEY_WRITE,
                    KEY_TRANS,
                    KEY_REPLAY,
};

struct hermes_update {
    uint64_t ts, base;
    uint64_t generation; /* of the key after the update */
    uint64_t now_ms;     /* wall clock for the effects: the coordinator's, the same everywhere */
    uint32_t owner;      /* incarnation that started it */
    bool rmw, hot;
    struct coh_ref effects;
};

/* What the store knows of a key. Absent: all zero. */
struct hermes_meta {
    uint64_t ts; /* of the committed value or tombstone */
    uint64_t generation;
    uint64_t expire_ms; /* wall clock; 0: none */
    bool live;          /* false: tombstone, placeholder or absent */
    bool hot;
};

enum hermes_op_kind {
    HERMES_READ,  /* read() is called at the instant at which it takes effect */
    HERMES_WRITE, /* blind: effects fix the final state and the reply needs nothing from it */
    /* RMW: prepare() is called on the base, and again on the next one when it gave up */
    HERMES_UPDATE,
    /* RMW: conditional DEL; prepare() judges whether the key has expired at wall_ms (H12) */
    HERMES_EXPIRE,
    HERMES_PROMOTE, /* generation (G6). REFUSED unless larger than what the key has */
    HERMES_DEMOTE,  /* generation (G7). REFUSED unless hot in exactly this one */
    /* key.slot: drop tombstones up to `version` (say, the largest one the driver's store has
       there), under the slot's grant (H8, H11); the key itself is not used */
    HERMES_PURGE,
    /* several keys of one slot, at one instant when all are Valid (H11). prepare_multi() is called
       then; what it changes is one update under the slot's grant. NOTHING: it changed nothing */
    HERMES_MULTI,
};

struct hermes_op {
    uint64_t id; /* the driver's, not 0; comes back in the completion */
    enum hermes_op_kind kind;
    struct hermes_key key;
    struct coh_ref effects;
    bool hotwrite; /* WRITE, UPDATE: HOTWRITE(generation), G3 */
    uint64_t generation;
    uint64_t version; /* PURGE */
    /* MULTI: the keys, different ones, all of slot key.slot (the key itself is not used); borrowed
       during the step. */
    const struct hermes_key *keys;
    uint32_t key_count;
    /* MULTI: most likely it changes nothing, so it is tried without the grant first */
    bool reads;
};

enum hermes_result {
    HERMES_DONE,
    /* prepare() found nothing to change: the driver has the reply (it is a read, and was admitted
       as one) */
    HERMES_NOTHING,
    /* plain write to a hot key, or expired hot key read: nothing done; generation: which (G4) */
    HERMES_HOT,
    HERMES_COLD,    /* HOTWRITE, but not hot in that generation: nothing done (G3) */
    HERMES_REFUSED, /* PROMOTE, DEMOTE: condition not met; PURGE: not now */
    /* provably not executed (no lease, not a member, expelled): another replica may take it */
    HERMES_TRYAGAIN,
    HERMES_UNKNOWN, /* may take effect later or never; must not be repeated (H13) */
};

struct hermes_done {
    uint64_t op;
    enum hermes_result result;
    uint64_t ts;         /* READ: of the value; writes: the one given (MULTI: of one of its keys) */
    uint64_t generation; /* of the key, with HOT, COLD and DONE */
    /* blind write that committed under a larger one: effects were not run here, the store does not
     * hold them */
    bool superseded;
};

/* The driver's store. Called during a step; must not call back. op: the driver's id of the client
 * operation, 0: none. */
struct hermes_store {
    void *ctx;
    void (*get)(void *ctx, const struct hermes_key *key, struct hermes_meta *out);
    /* State byte: 0 when the core holds no record, else 1 + enum hermes_state. A non-zero state on
     * an absent key makes a placeholder (tombstone with ts 0) that scan() shows; state 0 on a
     * placeholder removes it. */
    void (*mark)(void *ctx, const struct hermes_key *key, uint8_t state);
    /* Looks at the committed value: should op change it? true: *effects is what every replica will
     * run (rewritten if need be; a reference given to the core). false: nothing changes, the reply
     * is kept for op. UPDATE and EXPIRE only. */
    bool (*prepare)(void *ctx, const struct hermes_key *key, const struct hermes_op *op,
                    uint64_t wall_ms, struct coh_ref *effects);
    /* Commit: runs the effects and sets ts, hot, generation as the update says; a deletion leaves a
     * tombstone. The reply is kept for op. */
    /* PROMOTE and DEMOTE have no effects (handle 0): only ts, hot and generation change; the reply
     * to PROMOTE is the value (G6). */
    void (*apply)(void *ctx, const struct hermes_key *key, const struct hermes_update *u,
                  uint64_t op);
    /* Replaces the whole key by a value that came in a message (payload: what the driver at the
     * other side encoded). */
    void (*install)(void *ctx, const struct hermes_key *key, const struct hermes_meta *meta,
                    struct coh_ref payload);
    /* MULTI: looks at the committed values of op's keys, in op's order. true: it changes something;
     * *effects is what every replica will run, on all keys together. false: nothing changes, the
     * reply is kept for op. May be called more than once for an operation. */
    bool (*prepare_multi)(void *ctx, const struct hermes_op *op, uint64_t wall_ms,
                          struct coh_ref *effects);
    /* Commit of an update of several keys: runs the effects, which read and write these keys and no
     * others, and gives each part its ts and generation; a part that is absent then leaves a
     * tombstone. All parts stand on their bases. u: owner, now_ms and effects. The reply is kept
     * for op. */
    void (*apply_multi)(void *ctx, const struct hermes_part *parts, uint32_t count,
                        const struct hermes_update *u, uint64_t op);
    /* Answers a READ from the committed value, now: later operations of the same step may change
     * it. The reply is kept for op. */
    void (*read)(void *ctx, const struct hermes_key *key, uint64_t op);
    bool (*same_key)(void *ctx, struct coh_ref a, struct coh_ref b);
    struct coh_ref (*hold)(void *ctx, struct coh_ref ref);
    void (*drop)(void *ctx, struct coh_ref ref);
    /* Walks all entries, tombstones and placeholders too. Up to max keys (valid until the outbox
     * has been carried out) to out; *cursor 0 at first and at the end; an entry present all the
     * time is given at least once. */
    size_t (*scan)(void *ctx, uint64_t *cursor, size_t max, struct hermes_key *out);
    /* Drops tombstones of the slot that are not hot and have ts_version <= version, a bounded
     * number per call; raises *generation to the largest dropped. True when done. */
    bool (*purge)(void *ctx, uint16_t slot, uint64_t version, uint64_t *generation);
};

/* Limits and times, fixed at init. */
struct hermes_limits {
    /* keys not Valid or with waiting operations: this replica's own operations get ERR_BUSY when
     * records / (2 * nodes of the view) are in use, the rest is for other replicas' updates */
    uint32_t records;
    uint32_t ops;   /* operations under way or waiting */
    uint32_t slots; /* <= 16384 */
    uint64_t
        resend_ns; /* INV without all ACKs: sent again after this long, doubling up to 16 times */
    /* message-loss timeout: a pending blind write is replayed, the owner of an RMW asked (H6) */
    uint64_t replay_ns;
    uint64_t seed; /* jitter of the two */
};

#define HERMES_OUT_MAX 128 /* outputs of one step at most */
#define HERMES_SLICE 64    /* keys looked at per timer step after a view change */
/* keys per slice of a state transfer: two items each at most, 64 in all */
#define HERMES_PULL_SLICE 32
#define HERMES_GRANTS_MAX 64 /* slots locked or wanted at once, per owner */

enum hermes_in_kind {
    HERMES_IN_MSG,
    HERMES_IN_TIMER,
    HERMES_IN_OP,
    HERMES_IN_VIEW,
    HERMES_IN_LEASE,
    HERMES_IN_PEER
};

struct hermes_in {
    enum hermes_in_kind kind;
    uint64_t now_ns;  /* CLOCK_BOOTTIME, read after the input came in; never goes back */
    uint64_t wall_ms; /* for expiry and effects */
    union {
        const struct hermes_msg *msg; /* from msg_decode, references filled in */
        const struct hermes_op *op;
        const struct view *view; /* installed if its epoch is larger */
        struct lease lease;
        uint32_t peer; /* connected anew: both sides send again what is open */
    } u;
};

enum hermes_out_kind {
    /* msg to every node of to_mask (positions in hermes_view); VALUE, PULL_VALUE: encode the
       store's value of msg.key now */
    HERMES_OUT_SEND,
    HERMES_OUT_DONE,      /* completion */
    HERMES_OUT_CAUGHT_UP, /* this learner has everything: membership may promote it (H10) */
};

struct hermes_out {
    enum hermes_out_kind kind;
    uint32_t to_mask;
    union {
        struct hermes_msg msg;
        struct hermes_done done;
    } u;
};

/* Coverage marks and trace records. ODD_*: cases that the rules make unreachable or nearly so,
 * handled all the same; IMPOSSIBLE must never be hit. */
/* clang-format off */
#define HERMES_MARKS(X)                                                                            \
    X(WRITE_COMMITTED)                                                                             \
    X(RMW_COMMITTED)                                                                               \
    X(WRITE_SUPERSEDED)                                                                            \
    X(INV_STORED)                                                                                  \
    X(INV_SMALLER_WRITE)                                                                           \
    X(RMW_REJECTED)                                                                                \
    X(RMW_NACKED)                                                                                  \
    X(BASE_FETCHED)                                                                                \
    X(BASE_PROVED)                                                                                 \
    X(ODD_OWN_PROVED)                                                                              \
    X(RMW_GAVE_UP)                                                                                 \
    X(RMW_RETRIED)                                                                                 \
    X(VAL_LATE)                                                                                    \
    X(VAL_OF_OWN)                                                                                  \
    X(REPLAY_DEAD_OWNER) X(REPLAY_TIMEOUT) X(REPLAY_COMMITTED) X(REPLAY_SUPERSEDED) X(OWNER_ASKED) \
        X(RESENT) X(RESENT_NEW_EPOCH) X(ACKS_RESET) X(ACK_LATE) X(OLD_EPOCH_DROPPED)               \
            X(NEW_EPOCH_HELD) X(VIEW_INSTALLED) X(EXPELLED) X(UNKNOWN_REPORTED) X(READ_WAITED)     \
                X(READ_NO_LEASE) X(VALUE_INSTALLED) X(ODD_VALUE_REFUSED) X(FLOOR_ANSWERED)         \
                    X(FLOOR_RAISED) X(GRANT_TAKEN) X(GRANT_YIELDED) X(GRANT_VOIDED)                \
                        X(LOCK_DEFERRED) X(PURGE_DONE) X(UNLOCK_ASKED) X(OP_WAITED_FOR_GRANT)      \
                            X(PULL_SLICE_DONE) X(PULL_RESUMED) X(PULL_MERGED) X(CAUGHT_UP)         \
                                X(EXPIRED_DELETED) X(HOT_REFUSED) X(COLD_REFUSED) X(PROMOTED)      \
                                    X(DEMOTED) X(PROMOTE_REFUSED) X(BUSY_REFUSED) X(IMPOSSIBLE)    \
    X(MULTI_STARTED)                                                                               \
    X(MULTI_COMMITTED)                                                                             \
    X(MULTI_STORED)                                                                                \
    X(MULTI_OVERTOOK)                                                                              \
    X(MULTI_REFUSED)                                                                               \
    X(MULTI_PROVED)                                                                                \
    X(MULTI_KNOWN)                                                                                 \
    X(MULTI_BASE_FETCHED)                                                                          \
    X(MULTI_REPLAYED)                                                                              \
    X(MULTI_RESENT)                                                                                \
    X(MULTI_OWNER_ASKED)                                                                           \
    X(MULTI_NOTHING)                                                                               \
    X(MULTI_HOT)                                                                                   \
    X(MULTI_ESCALATED)                                                                             \
    X(ODD_MULTI)                                                                                   \
    X(GRANT_KEPT)                                                                                  \
    X(GRANT_RELEASED)                                                                              \
    X(GRANT_WANTED_BY_OTHER)
/* clang-format on */

enum hermes_mark {
#define X(name) HERMES_MARK_##name,
    HERMES_MARKS(X)
#undef X
        HERMES_MARK_COUNT
};

struct hermes_trace {
    enum hermes_mark mark;
    uint64_t key_hash, ts, arg;
};

struct hermes_outbox {
    uint32_t count;
    struct hermes_out out[HERMES_OUT_MAX];
    struct hermes_trace *trace; /* NULL: not wanted */
    uint32_t trace_count, trace_capacity;
};

/* Bytes of the block that hermes_init wants, aligned to 16. */
size_t hermes_size(const struct hermes_limits *l);
/* memory: hermes_size(l) bytes, borrowed for the life of the core. id: this incarnation's. founder:
 * the group starts with this node and an empty store, so it has nothing to catch up with (H10). */
struct hermes *hermes_init(void *memory, const struct hermes_limits *l,
                           const struct hermes_store *store, uint32_t id, bool founder);

/* One step. out must be empty (count 0); outputs are to be carried out in order.
 *
 *   OK               taken
 *   ERR_BUSY         a table is full; nothing has changed: operation: answer or queue; message:
 *                    drop it, as if lost, or offer it again
 *   ERR_AGAIN        a message of a newer epoch; nothing has changed: hold it (bounded) until that
 *                    view is installed
 *   ERR_UNSUPPORTED  this kind of operation does not exist; nothing has changed
 *
 * Cost: O(members), and at most HERMES_SLICE records after a view change. */
enum err hermes_step(struct hermes *h, const struct hermes_in *in,
                     struct hermes_outbox *out) must_use;

/* The end: gives every reference back with drop(). Operations still with the core are not
 * completed; no other call may follow. Cost: all records. */
void hermes_close(struct hermes *h);
/* When to call with HERMES_IN_TIMER, on the clock of now_ns. UINT64_MAX: never. */
uint64_t hermes_next_deadline(const struct hermes *h);
/* May a key whose state byte is 0 be read from the store now (H9, H10)? now_ns: as in struct
 * hermes_in. */
bool hermes_may_read(const struct hermes *h, uint64_t now_ns);
const struct view *hermes_view(const struct hermes *h);
bool hermes_caught_up(const struct hermes *h);
bool hermes_expelled(const struct hermes *h);
/* Does this replica hold the slot's exclusive grant? */
bool hermes_holds_grant(const struct hermes *h, uint16_t slot);
/* Nothing pending, nothing waiting, no grant. */
bool hermes_idle(const struct hermes *h);
/* Own updates under way in a slot (for checks). */
uint32_t hermes_own_in_slot(const struct hermes *h, uint16_t slot);
/* Hash of the protocol state; does not depend on addresses. Cost: all records. */
uint64_t hermes_digest(const struct hermes *h);
/* Invariants of every record (must() inside). Cost: all records. */
void hermes_check(const struct hermes *h);
const uint64_t *hermes_marks(const struct hermes *h); /* HERMES_MARK_COUNT counters */
const char *hermes_mark_name(enum hermes_mark m);

#endif
