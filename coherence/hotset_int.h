#ifndef COHERENCE_HOTSET_INT_H
#define COHERENCE_HOTSET_INT_H

/* The inside of the hot-set coordinator, for the files coherence/hotset*.c only. */
#include "coherence/hotset.h"
#include "coherence/keytab.h"
#include "coherence/mutant.h"
#include "common/must.h"

#define NIL UINT32_MAX

/*             wanted hot            room in the slice        all PREPARED
 *   COUNTED ------------> QUEUED ------------> PREPARING ------------> PROMOTING
 *      ^                    ^  ^                                    |  | FILL
 *      | cool_ns are over   |  +------------ RETRY <----------------+  v
 *   COOLING                 +--- new generation wanted (G8) --------- HOT
 *      ^                                                               |
 *      | DROP                 all DRAINED                wanted cold   v
 *      +------- DEMOTING <------------------------------------- DRAINING */
enum hot_state {
    HOT_COUNTED, /* not hot: a candidate */
    HOT_QUEUED,
    HOT_PREPARING,
    HOT_PROMOTING, /* PROMOTE is at the backend */
    HOT_RETRY,     /* it failed; QUEUED again at `at` */
    HOT_HOT,
    HOT_DRAINING,
    HOT_DEMOTING, /* DEMOTE is at the backend, or (request 0) will be again at `at` */
    HOT_COOLING,
};

struct hot_key {
    uint8_t state;
    bool want_cold; /* demote as soon as PROMOTE's answer is there */
    bool pinned, denied, counted;
    uint8_t tries, strikes, cold_strikes;
    uint32_t queue_next;
    uint32_t acks;
    uint64_t epoch;      /* in which PREP or DRAIN was sent */
    uint64_t generation; /* the key's last: being prepared, hot, drained */
    uint64_t demote_generation;
    uint64_t floor; /* what the backend was told to have: the next one must be larger */
    uint64_t request;
    uint64_t reads, writes; /* of the last epoch of counting */
    uint64_t at, give_up_at;
    uint64_t cool_ns; /* when it is cold */
};

struct hotset {
    struct hotset_limits limits;
    struct galene_env env;
    const struct galene *entries;
    uint32_t id;
    bool acts, on;
    struct view view;
    uint64_t now, rng;
    uint64_t seq, counter, last_request;
    struct keytab keys;
    struct hot_key *records;
    uint32_t queue_head, queue_tail;
    uint32_t in_state[HOT_COOLING + 1];
    /* walks, in slices: over the own records after a view or a switch, over galene's entries when
     * this has become coordinator */
    uint32_t scan_at; /* capacity: none */
    bool scan_view, scan_joined, scan_off;
    bool adopting;
    uint32_t adopt_at;
    struct hotset_outbox *out;
};

static inline uint32_t hot_index(const struct hotset *h, const struct hot_key *k)
{
    return (uint32_t)(k - h->records);
}

/* ---- hotset.c ---- */
void hot_mark(struct hotset *h, enum hotset_mark m, const struct hot_key *k, uint64_t a,
              uint64_t b);
bool hot_room(const struct hotset *h, uint32_t n);
const struct hermes_key *hot_key_of(const struct hotset *h, const struct hot_key *k);
struct gmsg *hot_send(struct hotset *h, enum gmsg_kind kind, uint32_t to_mask,
                      const struct hermes_key *key, uint64_t generation);
void hot_request(struct hotset *h, struct hot_key *k, enum galene_request_kind kind,
                 uint64_t generation);
struct hot_key *hot_find(const struct hotset *h, const struct hermes_key *key);
struct hot_key *hot_get(struct hotset *h, const struct hermes_key *key); /* NULL: no room */
void hot_forget(struct hotset *h, struct hot_key *k);
void hot_set_state(struct hotset *h, struct hot_key *k, enum hot_state state);
uint64_t hot_jitter(struct hotset *h, uint64_t ns);
/* Hot, or on its way there. */
bool hot_in(const struct hot_key *k);
uint32_t hot_count(const struct hotset *h);

/* ---- hotset_run.c: PREP .. FILL, DRAIN .. DROP ---- */
void hot_promote(struct hotset *h, struct hot_key *k); /* QUEUED, with a new generation */
void hot_demote(struct hotset *h, struct hot_key *k, uint64_t generation, uint64_t cool_ns);
void hot_queue_pump(struct hotset *h);
void hot_on_prepared(struct hotset *h, const struct gmsg *m);
void hot_on_drained(struct hotset *h, const struct gmsg *m);
void hot_on_answer(struct hotset *h, const struct galene_answer *a);
void hot_on_timer(struct hotset *h, struct hot_key *k);
void hot_set_deadline(struct hotset *h, struct hot_key *k);

/* ---- hotset_view.c ---- */
void hot_on_view(struct hotset *h, const struct view *v);
void hot_scan_start(struct hotset *h);
bool hot_scanning(const struct hotset *h);
void hot_scan_slice(struct hotset *h);
void hot_on_report(struct hotset *h, const struct gmsg *m);

/* ---- hotset_score.c ---- */
enum err hot_on_count(struct hotset *h, const struct hotset_count *c);
void hot_on_epoch(struct hotset *h);
enum err hot_on_want(struct hotset *h, const struct hermes_key *key, enum hotset_want want);

#endif
