#ifndef COHERENCE_HOTSET_H
#define COHERENCE_HOTSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherence/galene.h"
#include "coherence/gmsg.h"
#include "coherence/view.h"
#include "common/err.h"

/* The hot-set coordinator of one partition, as a pure state machine (DESIGN section 5, rules G6-G9,
 * G13, and G14's decisions given merged counts).
 *
 * Every proxy has one per worker; the one at the proxy with the lowest id of its view acts, the
 * others do nothing until a view makes them coordinator (hotset_acts). It lives beside the galene
 * core of the same partition and borrows it for reading: a new coordinator adopts that core's
 * entries. Driven like it: fill an input, step, carry out the outbox in order. A SEND whose to_mask
 * has this proxy's own bit is looped back to the own galene core in the same order (gmsg.h).
 *
 * What happens to a key: PREP to all, PROMOTE at the backend, FILL to all; DRAIN to all, DEMOTE at
 * the backend, DROP to all. At most limits.filling keys are between PREP and FILL at a time (G8).
 *
 * Counts (G14). Once an epoch of counting (1 s) the driver of the coordinator merges the proxies'
 * top lists and hands in HOTSET_IN_COUNT for each key of the result, then HOTSET_IN_EPOCH. A hot
 * key without a count had none. Decisions follow from those alone; HOTSET_IN_WANT overrules them
 * (operator, pin, tests). */

struct hotset;

struct hotset_limits {
    uint32_t keys;       /* hot at once, at most */
    uint32_t candidates; /* further keys with a count, or on their way in or out */
    uint64_t resend_ns;  /* PREP, DRAIN without all answers: again after this long, doubling */
    uint64_t give_up_ns; /* promotion that some member does not answer: given up after this long */
    uint64_t retry_ns;   /* PROMOTE, DEMOTE that failed: again after this long */
    uint64_t cool_ns;    /* demoted on request or as uncacheable: not promoted for so long */
    uint32_t filling;    /* keys between PREP and FILL at a time (G8); 0: HOTSET_FILLING */
    uint32_t reads_min;  /* reads per epoch below which no key is promoted */
    uint64_t seed;       /* jitter */
};

#define HOTSET_FILLING 64 /* the largest limits.filling */
#define HOTSET_SLICE 64   /* keys looked at per timer step */
#define HOTSET_OUT_MAX 160

enum hotset_in_kind {
    HOTSET_IN_MSG, /* gmsg_for: GMSG_TO_HOTSET */
    HOTSET_IN_ANSWER,
    HOTSET_IN_VIEW,   /* after the galene core has installed it */
    HOTSET_IN_WANT,   /* promote or demote this key now, or pin it */
    HOTSET_IN_SWITCH, /* hot-cache on or off: off demotes all and promotes nothing */
    HOTSET_IN_COUNT,
    HOTSET_IN_EPOCH,
    HOTSET_IN_TIMER,
};

enum hotset_want {
    HOTSET_WANT_HOT,
    HOTSET_WANT_COLD, /* and not again for cool_ns */
    HOTSET_WANT_PIN,  /* promoted, and kept whatever the counts say, until COLD is wanted */
};

struct hotset_count {
    struct hermes_key key;
    uint64_t reads, writes; /* of all proxies in the epoch just ended, scaled up from samples */
    bool denied;            /* never promoted, demoted if hot */
    bool pinned;            /* promoted whatever its counts, as long as there is room */
};

struct hotset_in {
    enum hotset_in_kind kind;
    uint64_t now_ns; /* as in struct galene_in */
    union {
        const struct gmsg *msg;
        const struct galene_answer *answer;
        const struct view *view;
        struct {
            const struct hermes_key *key;
            enum hotset_want want;
        } want;
        const struct hotset_count *count;
        bool on;
    } u;
};

enum hotset_out_kind { HOTSET_OUT_SEND, HOTSET_OUT_BACKEND };

struct hotset_out {
    enum hotset_out_kind kind;
    uint32_t to_mask; /* positions in the installed view */
    union {
        struct gmsg msg;
        struct galene_request request; /* PROMOTE, DEMOTE; op 0 */
    } u;
};

/* clang-format off */
#define HOTSET_MARKS(X)                                                                            \
    X(PROMOTING) X(PROMOTED) X(REPROMOTING) X(PROMOTE_REFUSED) X(PROMOTE_UNKNOWN)                  \
    X(PROMOTE_FAILED) X(PROMOTE_GIVEN_UP) X(PREP_RESENT) X(PREP_WAITS_FOR_SLICE) X(UNCACHEABLE)    \
    X(DEMOTING) X(DEMOTED) X(DEMOTE_REFUSED) X(DEMOTE_UNKNOWN) X(DEMOTE_FAILED) X(DRAIN_RESENT)    \
    X(ADOPTED) X(NO_LONGER_COORDINATOR) X(VIEW_RESTARTED) X(REPORT_STUCK) X(REPORT_UNKNOWN_HOT)    \
    X(REPORT_UNCACHEABLE) X(REPORT_DEMOTE) X(REPORT_OUTDATED) X(REPORT_COLD_ALREADY) X(ANSWER_LATE)\
    X(OLD_EPOCH_DROPPED) X(NEW_EPOCH_HELD) X(FULL) X(COUNT_PROMOTES) X(COUNT_DEMOTES)              \
    X(COUNT_DEMOTES_AT_ONCE) X(COUNT_REPLACES) X(COOLING_REFUSED) X(OUTLIVED)
/* clang-format on */

enum hotset_mark {
#define X(name) HOTSET_MARK_##name,
    HOTSET_MARKS(X)
#undef X
        HOTSET_MARK_COUNT
};

struct hotset_trace {
    enum hotset_mark mark;
    uint64_t key_hash, a, b;
};

struct hotset_outbox {
    uint32_t count;
    struct hotset_out out[HOTSET_OUT_MAX];
    struct hotset_trace *trace; /* NULL: not wanted */
    uint32_t trace_count, trace_capacity;
};

/* Bytes of the block that hotset_init wants, aligned to 16. */
size_t hotset_size(const struct hotset_limits *l);
/* memory and entries (the galene core of the same partition and incarnation) are borrowed for the
 * life of the core; env: as galene's. Starts switched on. */
struct hotset *hotset_init(void *memory, const struct hotset_limits *l,
                           const struct galene_env *env, const struct galene *entries, uint32_t id);
/* One step; results as galene_step's. ERR_BUSY: no room for this key, nothing has changed. */
enum err hotset_step(struct hotset *h, const struct hotset_in *in,
                     struct hotset_outbox *out) must_use;
void hotset_close(struct hotset *h); /* as galene_close */
uint64_t hotset_next_deadline(const struct hotset *h);
/* Is this the coordinator of the view it has installed? */
bool hotset_acts(const struct hotset *h);
/* Who is: an incarnation, 0: no view yet. */
uint32_t hotset_coordinator(const struct hotset *h);
/* Nothing under way: every key it knows is hot, or cooling down. */
bool hotset_idle(const struct hotset *h);
/* Hot keys it knows (at the coordinator). */
uint32_t hotset_hot(const struct hotset *h);
/* Score of G14 for so many reads and writes in a group of `proxies`, in messages saved; the write
 * share above which a hot key costs more than it saves, in millionths. */
int64_t hotset_score(uint64_t reads, uint64_t writes, unsigned proxies);
uint32_t hotset_break_even_ppm(unsigned proxies);
uint64_t hotset_digest(const struct hotset *h);
void hotset_check(const struct hotset *h);
const char *hotset_mark_name(enum hotset_mark m);

#endif
