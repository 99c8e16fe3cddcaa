#ifndef COHERENCE_MEMBER_H
#define COHERENCE_MEMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherence/map.h"
#include "coherence/member_msg.h"
#include "coherence/view.h"
#include "common/err.h"

/* Membership as pure state machines (DESIGN section 6; RELIABILITY 5.2-5.4, rules R1-R5, V1, V4,
 * L8).
 *
 *   acceptor   one of 1, 3 or 5; votes on maps, promises leases, and beside that proposes: it
 * leaves out who went silent, lets in who asks, promotes who caught up, does what operators say.
 * Several may propose at once. holder     in each node and proxy process (and in whoever only wants
 * to follow the map): asks to join, keeps the lease, learns maps.
 *
 * The driver fills an input, calls step, and carries out the outbox in order before the next step.
 * No sockets, clocks, threads or allocation here. Messages may be lost, repeated, delayed and
 * reordered; everything is asked for again.
 *
 * Leases. A promise of an acceptor is about an incarnation, not about a version: "nobody votes it
 * out with my help before until". So it outlives versions that keep the incarnation, and the holder
 * turns what it was granted into a lease of whatever epoch its group has in the newest map it
 * knows: a change elsewhere does not touch it, and one in its own group does not interrupt it.
 * Learners are granted too; that they serve nothing is the affair of the data cores.
 *
 * Who may be left out. A group of data keeps at least one member that is heard of. If none is, all
 * that are silent stay (any may be the one with the newest data), except those that are provably
 * gone: released, or another process has asked to join from the same address. If all are provably
 * gone the group starts anew, empty, with those that ask to join: its founders. */
struct member_params {
    uint64_t lease_ns; /* D: the same at all */
    uint64_t renew_ns;
    uint32_t rho_ppm; /* bound on the rate error of any clock, the same at all */
    uint64_t seed;    /* back-off */
};
#define MEMBER_LEASE_NS UINT64_C(400000000)
#define MEMBER_RENEW_NS UINT64_C(50000000)
#define MEMBER_RHO_PPM 10000u

/* Coverage marks and trace records of both cores. IMPOSSIBLE must never be hit. */
/* clang-format off */
#define MEMBER_MARKS(X)                                                                            \
    /* acceptor: leases */                                                                         \
    X(GRANTED) X(GRANT_REFUSED_VOTED) X(GRANT_REFUSED_OUT) X(GRANT_REFUSED_BARRED)                 \
    X(GRANT_REFUSED_RELEASED) X(RELEASED) X(WENT_SILENT) X(TOLD_NEWER_MAP)                         \
    /* acceptor: votes */                                                                          \
    X(PROMISED) X(ACCEPTED) X(REFUSED_BALLOT) X(REFUSED_LEASE) X(REFUSED_RESTARTED)                \
    X(VOTE_OLD_VERSION) X(VOTE_BEHIND) X(LEARNED) X(LEARNED_OTHER) X(ABSTAINED) X(NEW)             \
    X(VOTES_AGAIN) X(PERSIST_FAILED) X(PERSIST_RECOVERED)                                          \
    /* proposer */                                                                                 \
    X(BALLOT_STARTED) X(BALLOT_LOST) X(BALLOT_TIMEOUT) X(VALUE_RECOVERED) X(DECIDED) X(NO_NEED)    \
    X(LEFT_OUT_SILENT) X(LEFT_OUT_RELEASED) X(LEFT_OUT_SAME_ADDRESS) X(LEFT_OUT_ORDERED)           \
    X(LEFT_OUT_BLAMED) X(LAST_KEPT) X(FOUNDER) X(LEARNER_ADDED) X(PROXY_ADDED) X(PROMOTED)         \
    X(REFOUNDED) X(FORCED) X(REPLACED) X(JOIN_STALE) X(JOIN_WAITS)                                 \
    /* holder */                                                                                   \
    X(JOINED) X(LEASE_GAINED) X(LEASE_EXTENDED) X(LEASE_KEPT_OVER_VIEW) X(LEASE_ENDED)             \
    X(GRANT_LATE) X(GRANT_MINORITY) X(STALLED) X(VIEW_LEARNED) X(MAP_LEARNED) X(MAP_OLD)           \
    X(EXPELLED) X(LEFT) X(CHANGE_ANSWERED) X(IMPOSSIBLE)
/* clang-format on */

enum member_mark {
#define X(name) MEMBER_MARK_##name,
    MEMBER_MARKS(X)
#undef X
        MEMBER_MARK_COUNT
};

const char *member_mark_name(enum member_mark m);

struct member_trace {
    enum member_mark mark;
    uint64_t a, b; /* mostly a version and an id */
};

/* ---- acceptor ---- */

/* What must be on disk before a vote is heard of: the driver keeps it atomically, with a checksum,
 * fsynced. */
struct member_state {
    struct member_map base;  /* the newest decided map this acceptor knew */
    uint64_t promised;       /* ballot, for version base.version + 1; 0: none */
    uint64_t accepted;       /* ballot of value; 0: none */
    struct member_map value; /* map_follows(base, value), if accepted is not 0 */
};

#define MEMBER_STATE_MAX (2u * MAP_WIRE_MAX + 32u)
size_t member_state_encode(const struct member_state *st, uint8_t *bytes, size_t capacity);
/* ERR_CORRUPT: not what member_state_encode writes. */
enum err member_state_decode(const uint8_t *bytes, size_t len, struct member_state *st) must_use;

struct acceptor;

enum acceptor_in_kind {
    ACCEPTOR_IN_MSG,
    ACCEPTOR_IN_TIMER,
    /* How the PERSIST of the last step went: the next step after it, before anything else. If it
     * failed, what stood behind it in the outbox was thrown away (R5). */
    ACCEPTOR_IN_PERSISTED,
};

struct acceptor_in {
    enum acceptor_in_kind kind;
    uint64_t now_ns; /* CLOCK_BOOTTIME, read after the input came in; never goes back */
    union {
        const struct member_msg *msg;
        bool ok;
    } u;
};

enum acceptor_out_kind {
    /* u.msg to acceptor `to`. It may be the acceptor itself: given back as an input after the
     * outbox has been carried out */
    ACCEPTOR_OUT_SEND,
    ACCEPTOR_OUT_ANSWER, /* u.msg to where the message of this step came from */
    ACCEPTOR_OUT_PUSH,   /* u.msg to every holder that is connected */
    /* u.state to disk, before anything behind it. Then ACCEPTOR_IN_PERSISTED. At most one per step
     */
    ACCEPTOR_OUT_PERSIST,
};

struct acceptor_out {
    enum acceptor_out_kind kind;
    unsigned to;
    union {
        struct member_msg msg;            /* a map in it is the core's, until the next step */
        const struct member_state *state; /* the core's, until the next step */
    } u;
};

#define ACCEPTOR_OUT_MAX 32
struct acceptor_outbox {
    uint32_t count;
    struct acceptor_out out[ACCEPTOR_OUT_MAX];
    struct member_trace *trace; /* NULL: not wanted */
    uint32_t trace_count, trace_capacity;
};

/* Bytes of the block that acceptor_init wants, aligned to 16. */
size_t acceptor_size(void);
/* memory: borrowed for the life of the core. index: this one's in genesis->acceptors. genesis: made
 * of the configuration (map_genesis_ok). kept: what was on disk; the caller has refused to start
 * unless map_cluster(&kept->base) is that of genesis. NULL: there was nothing; it then takes part
 * only once it is sure to be new, or that what it may have voted before its disk was lost does not
 * matter any more (acceptor.c). A cluster's very first map needs all of its acceptors, later ones a
 * majority. Both are copied. now_ns: from here on nobody is voted out for D(1+rho) (R5). */
struct acceptor *acceptor_init(void *memory, const struct member_params *p,
                               const struct member_map *genesis, const struct member_state *kept,
                               unsigned index, uint64_t now_ns);
/* One step. out must be empty (count 0). Messages of another cluster or that make no sense are
 * ignored. Cost: O(nodes^2) when something is proposed, else O(nodes). */
void acceptor_step(struct acceptor *a, const struct acceptor_in *in, struct acceptor_outbox *out);
/* When to call with ACCEPTOR_IN_TIMER, on the clock of now_ns. */
uint64_t acceptor_next_deadline(const struct acceptor *a);
/* The newest decided map it knows (version 0: the configuration's). */
const struct member_map *acceptor_map(const struct acceptor *a);
/* False while its state cannot be kept (disk full: it grants, but does not vote, R5), and while it
 * may have forgotten votes (no state was kept: it does neither). */
bool acceptor_votes(const struct acceptor *a);
/* How long ago nodes[position] of acceptor_map was heard of, ns; for operators. UINT64_MAX: never
 * since this acceptor started. */
uint64_t acceptor_silence(const struct acceptor *a, unsigned position);
uint64_t acceptor_digest(const struct acceptor *a);
void acceptor_check(const struct acceptor *a);            /* invariants (must() inside) */
const uint64_t *acceptor_marks(const struct acceptor *a); /* MEMBER_MARK_COUNT counters */

/* ---- holder ---- */

struct holder;

enum holder_in_kind {
    HOLDER_IN_MSG,
    HOLDER_IN_TIMER,
    HOLDER_IN_JOIN,      /* once, and again after EXPELLED, with another boot */
    HOLDER_IN_CAUGHT_UP, /* this learner has everything; said again with every renewal */
    /* planned stop: from this step on no lease, for good. RELEASED comes when it is out of the map
       (or does not: give up after a while and stop all the same) */
    HOLDER_IN_RELEASE,
    HOLDER_IN_CHANGE, /* an operator's; one at a time. RESULT comes */
    HOLDER_IN_TURN,   /* end of a loop turn that began at u.began_ns (L8) */
    /* u.id has not answered this member's messages for 100 ms (0: nobody any more): peers of it
     * that say so too may have it left out (G10) */
    HOLDER_IN_BLAME,
};

struct holder_join {
    uint64_t boot;            /* random, not 0, never used before */
    char group[MAP_TEXT_MAX]; /* name; empty: a spare that waits for an operator's JOIN */
    struct map_address at;
    uint16_t workers, peer_port;
};

struct member_change {
    enum member_change_kind kind;
    uint64_t nonce; /* random, not 0 */
    uint32_t id, other;
    char group[MAP_TEXT_MAX];
    struct map_address at;
};

struct holder_in {
    enum holder_in_kind kind;
    uint64_t
        now_ns; /* CLOCK_BOOTTIME, read after the input came in, before anything is sent (R1) */
    union {
        const struct member_msg *msg;
        const struct holder_join *join;
        const struct member_change *change;
        uint64_t began_ns;
        uint32_t id;
    } u;
};

enum holder_out_kind {
    HOLDER_OUT_SEND, /* u.msg to acceptor `to` */
    /* A newer map. Versions may be missing in between. What follows in the same step is of it */
    HOLDER_OUT_MAP,
    /* The own group's view changed (map_view of u.map): install it. First one: u.view.id is this
     * process' incarnation, u.view.founder whether it starts with nothing to catch up with */
    HOLDER_OUT_VIEW,
    HOLDER_OUT_LEASE, /* the pair that workers look at (H9); until_ns 0: none */
    /* It is out of the map (V4): drop all protocol state, then, unless `ordered` by an operator,
     * HOLDER_IN_JOIN with a new boot. A LEASE with nothing precedes it */
    HOLDER_OUT_EXPELLED,
    HOLDER_OUT_RELEASED, /* after HOLDER_IN_RELEASE: the map without it is decided */
    HOLDER_OUT_WAITS,    /* why it is not let in yet; when that changes */
    HOLDER_OUT_RESULT,   /* of the operator's change: u.result */
};

struct holder_out {
    enum holder_out_kind kind;
    unsigned to;
    union {
        struct member_msg msg;
        const struct member_map *map; /* the core's, until the next step */
        struct {
            const struct member_map *map;
            uint16_t group;
            uint32_t id;
            bool founder, member; /* member: not a learner */
        } view;
        struct lease lease;
        struct {
            bool ordered;
        } expelled;
        enum member_reason waits;
        struct {
            uint64_t nonce;
            enum member_reason reason; /* PENDING: nobody could say in time; it may still happen */
        } result;
    } u;
};

#define HOLDER_OUT_MAX 32
struct holder_outbox {
    uint32_t count;
    struct holder_out out[HOLDER_OUT_MAX];
    struct member_trace *trace;
    uint32_t trace_count, trace_capacity;
};

size_t holder_size(void);
/* genesis: made of the configuration, for its acceptor set. Before HOLDER_IN_JOIN it only follows
 * the map. */
struct holder *holder_init(void *memory, const struct member_params *p,
                           const struct member_map *genesis, uint64_t now_ns);
void holder_step(struct holder *h, const struct holder_in *in, struct holder_outbox *out);
uint64_t holder_next_deadline(const struct holder *h);
const struct member_map *holder_map(const struct holder *h);
/* 0: not in the map. */
uint32_t holder_id(const struct holder *h);
/* What was last said with HOLDER_OUT_LEASE. */
struct lease holder_lease(const struct holder *h);
uint64_t holder_digest(const struct holder *h);
void holder_check(const struct holder *h);
const uint64_t *holder_marks(const struct holder *h);

#endif
