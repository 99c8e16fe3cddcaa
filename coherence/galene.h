#ifndef COHERENCE_GALENE_H
#define COHERENCE_GALENE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherence/gmsg.h"
#include "coherence/view.h"
#include "common/err.h"

/* The entries of one partition of the symmetric cache at one proxy, as a pure state machine (DESIGN
 * section 5, rules G1-G5, G8, G10-G13 and the members' half of G6, G7).
 *
 * A partition is what worker i of every proxy owns: keys with slot % W == i. The driver fills a
 * struct galene_in, calls galene_step, and carries out the outbox in order, before the next step.
 * The hot-set coordinator of the partition is a core of its own (coherence/hotset.h).
 *
 * References (keys, values, replies) are opaque. Those in an input must stay valid until the
 * outbox of that step has been carried out; the core takes what it keeps with hold() and returns
 * each of those exactly once with drop(). Those in the outbox are valid until the outbox has been
 * carried out, even if dropped in the same step.
 *
 * The shared cache. GALENE_OUT_PUBLISH says what the readers of all workers may see of a key. The
 * driver writes it (under the entry's sequence lock) before it carries out anything that follows in
 * the outbox: an ACK may leave only when no reader of any worker can still see the entry Valid. A
 * reader of any worker answers from the cache if, by clocks read after the request's bytes were
 * received (H9),
 *   - the entry is published GALENE_SEEN_VALID, and stays so while it is copied;
 *   - the lease of the proxies' group is valid: the process' one pair (epoch, until) has exactly
 * the epoch that this worker has installed, and now < until;
 *   - the value's expiry is 0 or more than limits.skew_ms away (G1);
 *   - the connection has no command on the same key under way (H14), see below.
 * Otherwise: GALENE_SEEN_GONE or no entry: the command goes to the shard as for any cold key;
 * else it becomes an operation of the core of its partition.
 *
 * Program order (H14). Operations with the same client number on the same key take effect in the
 * order in which they were given to the core; others in any order. The driver's part: while a
 * connection has a command on a key with the core, its later commands on that key go to the core
 * too, in order, even if the cache could answer; and a command is given to the core only when the
 * connection's earlier commands on that key that went cold are complete. A write that was refused
 * with -HOT is given to the core with the generation told; what the connection sent on that key
 * behind it is then given after it: reads already answered by the node are thrown away and asked
 * again through the core (they ran before the write).
 *
 * Commands. The core never sees a command: GALENE_OUT_BACKEND names the operation whose command is
 * to be sent. The driver sends it to a replica of the key's shard and hands in the answer
 * (struct galene_answer). Reads, and requests that provably did nothing, it may repeat elsewhere by
 * itself, until its time is over (GALENE_FAILED); others never (GALENE_UNKNOWN).
 *
 * Views and the lease. The driver installs a view at all workers of the process as one (G10): no
 * worker sends in the new epoch before all have left the old one. */

struct galene;

enum galene_op_kind {
    GALENE_READ,
    GALENE_WRITE,
    /* G13: completed when the key is no longer hot as far as this proxy and the coordinator know;
       then the command that needs it is tried, and if refused with -HOT, this is asked again with
       that generation. */
    GALENE_DEMOTE,
};

struct galene_op {
    uint64_t id;     /* the driver's, not 0; comes back in the completion */
    uint64_t client; /* connection, for program order; 0: none */
    enum galene_op_kind kind;
    struct hermes_key key;
    /* READ: can be answered from the entry's value (GALENE_LOCAL). Else always forwarded. */
    bool local;
    /* READ: reads of a key with the same number ask the same thing in the same protocol version, so
       one answer does for all of them (G1). 0: alone. */
    uint64_t share;
    /* WRITE: blind, and its reply is the same as that of any other blind write: it may be combined
       with others (G11). */
    bool blind;
    /* It went to the backend as a cold one and came back with -HOT generation (WRITE: G4; READ: the
       key has expired, H12); DEMOTE: the generation told, if any. 0: not tried. */
    uint64_t generation;
};

/* What the backend says of a key, at the instant at which the command took effect. */
struct galene_value {
    enum gmsg_value kind;
    uint64_t ts;
    uint64_t expire_ms; /* wall clock; 0: none */
    struct coh_ref ref; /* VALUE */
};

enum galene_answer_kind {
    GALENE_REPLY,  /* done; reply, and for HOT, EXPIRE, PROMOTE: value */
    GALENE_COLD,   /* -COLD: not hot in the generation named, nothing done (G3) */
    GALENE_HOT,    /* -HOT generation: nothing done (G4; a READ: expired) */
    GALENE_FAILED, /* provably not executed, and will not be: -TRYAGAIN, no replica for too long */
    /* may take effect later or never (H13). Also when the connection broke after the request left,
       unless it was a read */
    GALENE_UNKNOWN,
    GALENE_REFUSED, /* PROMOTE, DEMOTE: condition not met; generation: what the key has */
};

struct galene_answer {
    uint64_t request; /* of the BACKEND output */
    enum galene_answer_kind kind;
    uint64_t generation;
    struct galene_value value; /* NO_VALUE: not told (a blind write that was superseded at once) */
    struct coh_ref reply;      /* passed on in the completions, not looked at */
};

struct galene_env { /* called during a step; must not call back */
    void *ctx;
    bool (*same_key)(void *ctx, struct coh_ref a, struct coh_ref b);
    struct coh_ref (*hold)(void *ctx, struct coh_ref ref);
    void (*drop)(void *ctx, struct coh_ref ref);
};

/* Limits and times, fixed at init. */
struct galene_limits {
    uint32_t records;   /* keys with an entry or operations; entries at most 3/4 of it */
    uint32_t ops;       /* operations under way or waiting */
    uint64_t resend_ns; /* INV without all ACKs: again after this long, doubling up to 16 times */
    uint64_t ask_ns;    /* others' invalidation that stands for so long is asked about */
    uint64_t report_ns; /* entry that cannot become Valid: reported, again after each of these */
    uint64_t linger_ns; /* drained entry of which nothing is heard any more: given up */
    uint64_t drop_wait_ns; /* G7: new writes wait for DROP at most so long, then go cold */
    uint64_t give_up_ns;   /* operation not yet sent to the backend: TRYAGAIN after this long */
    uint64_t skew_ms;      /* margin before an expiry in which nothing is answered locally (G1) */
    uint64_t seed;         /* jitter */
};

#define GALENE_BATCH 64    /* operations answered together at most: shared reads, combined writes */
#define GALENE_OUT_MAX 224 /* outputs of one step at most */
#define GALENE_SLICE 64    /* records looked at per timer step after a view change */

enum galene_in_kind {
    GALENE_IN_MSG,
    GALENE_IN_OP,
    GALENE_IN_ANSWER,
    GALENE_IN_VIEW, /* installed if its epoch is larger */
    GALENE_IN_LEASE,
    GALENE_IN_PEER, /* connected anew: what may have been lost is sent and asked again */
    GALENE_IN_TIMER,
};

struct galene_in {
    enum galene_in_kind kind;
    uint64_t now_ns;  /* CLOCK_BOOTTIME, read after the input came in; never goes back */
    uint64_t wall_ms; /* for expiry */
    union {
        const struct gmsg *msg; /* gmsg_for: GMSG_TO_GALENE; references filled in */
        const struct galene_op *op;
        const struct galene_answer *answer;
        const struct view *view;
        struct lease lease;
        uint32_t peer;
    } u;
};

enum galene_seen {
    GALENE_SEEN_GONE,      /* nothing is known: as any cold key. Forget the slot */
    GALENE_SEEN_NOT_VALID, /* commands go to the core */
    GALENE_SEEN_VALID,
};

struct galene_publish {
    struct hermes_key key;
    uint32_t slot; /* < limits.records: the key's until GONE is published */
    enum galene_seen seen;
    uint64_t generation;       /* of the entry; 0: none, only operations are under way */
    struct galene_value value; /* VALID: VALUE or ABSENT */
};

enum galene_request_kind {
    GALENE_ASK_READ,     /* op's command, as it is */
    GALENE_ASK_WRITE,    /* op's command, as it is: a plain write (G4) */
    GALENE_ASK_HOTWRITE, /* HOTWRITE(generation, op's command) */
    /* HOTWRITE(generation, delete if expired): no operation's command (H12) */
    GALENE_ASK_EXPIRE,
    GALENE_ASK_PROMOTE, /* from coherence/hotset.h */
    GALENE_ASK_DEMOTE,
};

struct galene_request {
    uint64_t request; /* not 0, never given again by this core */
    enum galene_request_kind kind;
    struct hermes_key key;
    uint64_t generation;
    uint64_t op; /* the driver's id; still open when this is carried out */
};

enum galene_result {
    GALENE_DONE_REPLY,    /* reply */
    GALENE_DONE_LOCAL,    /* answer from value: VALUE or ABSENT */
    GALENE_DONE_UNKNOWN,  /* -UNKNOWN to the client; never repeated */
    GALENE_DONE_TRYAGAIN, /* provably not executed, in time limits.give_up_ns: -TRYAGAIN */
    GALENE_DONE_RETRY,    /* this incarnation was expelled before anything left: give it to the next
                             one, or send it cold */
    GALENE_DONE_DEMOTED,  /* DEMOTE */
};

struct galene_done {
    uint64_t op;
    enum galene_result result;
    struct galene_value value;
    struct coh_ref reply;
    uint64_t ts; /* of the value written or read, if known (witness of the tests); else 0 */
};

enum galene_out_kind { GALENE_OUT_SEND, GALENE_OUT_PUBLISH, GALENE_OUT_BACKEND, GALENE_OUT_DONE };

struct galene_out {
    enum galene_out_kind kind;
    uint32_t to_mask; /* SEND: positions in galene_view; may name this proxy (gmsg.h) */
    union {
        struct gmsg msg;
        struct galene_publish publish;
        struct galene_request request;
        struct galene_done done;
    } u;
};

/* clang-format off */
#define GALENE_MARKS(X)                                                                            \
    X(READ_LOCAL) X(READ_FORWARDED) X(READ_SHARED) X(READ_WAITED) X(READ_BECAME_LOCAL)             \
    X(READ_NO_LEASE) X(READ_NEAR_EXPIRY) X(READ_EXPIRED)                                           \
    X(WRITE_HOT) X(WRITE_COLD) X(WRITE_QUEUED) X(WRITE_WAITED_FOR_DROP) X(COMBINED)                \
    X(COMBINED_LATE) X(ORDER_WAITED)                                                               \
    X(INV_SET) X(INV_NO_ENTRY) X(ODD_INV_LARGER) X(INV_SMALLER) X(ROUND_DONE) X(ACK_LATE)              \
    X(INV_RESENT) X(ROUND_RESTARTED) X(WAITS_FOR_VIEW)                                                               \
    X(DONE_KEPT) X(DONE_OLDER) X(DONE_OTHER_TOKEN) X(DONE_NO_VALUE) X(BECAME_VALID)                \
    X(REFUSED_COLD) X(REFUSED_HOT) X(HOT_UNKNOWN_HERE) X(BACKEND_FAILED) X(OUTCOME_UNKNOWN)        \
    X(SUPERSEDED) X(UNCACHEABLE)                                                                   \
    X(ASKED) X(ASK_ANSWERED) X(ASK_LOST) X(ASK_OPEN) X(STUCK) X(REPORTED) X(LINGERED)              \
    X(PREPARED) X(PREPARED_AGAIN) X(PREP_NO_ROOM) X(FILLED) X(FILL_OLDER) X(FILL_LATE)             \
    X(DRAINED) X(DROPPED) X(CONTROL_OLD_EPOCH) X(CONTROL_OUT_OF_ORDER) X(DEMOTE_ASKED)             \
    X(DEMOTE_DONE)                                                                                 \
    X(EXPIRE_WRITTEN) X(VIEW_INSTALLED) X(EXPELLED) X(RETRIED) X(GAVE_UP) X(OLD_EPOCH_DROPPED)     \
    X(NEW_EPOCH_HELD) X(BUSY) X(ODD_ANSWER_STALE)
/* clang-format on */

enum galene_mark {
#define X(name) GALENE_MARK_##name,
    GALENE_MARKS(X)
#undef X
        GALENE_MARK_COUNT
};

struct galene_trace {
    enum galene_mark mark;
    uint64_t key_hash, a, b;
};

struct galene_outbox {
    uint32_t count;
    struct galene_out out[GALENE_OUT_MAX];
    struct galene_trace *trace; /* NULL: not wanted */
    uint32_t trace_count, trace_capacity;
};

/* Bytes of the block that galene_init wants, aligned to 16. */
size_t galene_size(const struct galene_limits *l);
/* memory: galene_size(l) bytes, borrowed for the life of the core. id: this incarnation's. */
struct galene *galene_init(void *memory, const struct galene_limits *l,
                           const struct galene_env *env, uint32_t id);

/* One step. out must be empty (count 0); outputs are carried out in order.
 *
 *   OK          taken
 *   ERR_BUSY    a table is full; nothing has changed. Operation: answer -TRYAGAIN or queue it;
 *               message: drop it, as if lost
 *   ERR_AGAIN   a message of a newer epoch; nothing has changed: hold it (bounded) until that view
 *               is installed
 *
 * Cost: O(members), at most GALENE_BATCH operations, at most GALENE_SLICE records per timer step.
 */
enum err galene_step(struct galene *g, const struct galene_in *in,
                     struct galene_outbox *out) must_use;

/* The end: every reference is given back with drop(). Operations with the core are not completed;
 * no other call may follow. */
void galene_close(struct galene *g);
/* When to call with GALENE_IN_TIMER, on the clock of now_ns. UINT64_MAX: never. */
uint64_t galene_next_deadline(const struct galene *g);
/* Lease and membership: may published entries be read now? For one-worker drivers and tests; the
 * workers of a proxy check the process' pair themselves (above). */
bool galene_may_read(const struct galene *g, uint64_t now_ns);
const struct view *galene_view(const struct galene *g);
/* This incarnation is out for good: close it when galene_idle, and start another one. Entries are
 * published GONE in slices; no lease of the old epoch is valid any more in any case. */
bool galene_expelled(const struct galene *g);
/* No operation is under way or waiting. */
bool galene_idle(const struct galene *g);

/* What is known of a key. False: there is no record. */
struct galene_entry {
    bool prepared, draining, valid, filling, stuck;
    uint64_t generation, ts;
};
bool galene_look(const struct galene *g, const struct hermes_key *key, struct galene_entry *e);
/* Walks the prepared entries: up to max keys (valid until the next step) with their generations.
 * *cursor 0 at first and at the end. */
size_t galene_scan(const struct galene *g, uint32_t *cursor, size_t max, struct hermes_key *keys,
                   uint64_t *generations);
/* Prepared entries. */
uint32_t galene_entries(const struct galene *g);

/* Members (positions in galene_view) whose ACK some round has been waiting for since before
 * since_ns: peers may propose to leave them out (G10). Cost: all records. */
uint32_t galene_owing(const struct galene *g, uint64_t since_ns);
/* Hash of the protocol state; does not depend on addresses. Cost: all records. */
uint64_t galene_digest(const struct galene *g);
/* Invariants of every record (must() inside). Cost: all records. */
void galene_check(const struct galene *g);
const char *galene_mark_name(enum galene_mark m);

#endif
