#ifndef COHERENCE_ACCEPTOR_INT_H
#define COHERENCE_ACCEPTOR_INT_H

/* Inside of the acceptor: seen by acceptor*.c, proposer.c and plan.c only. */
#include "coherence/member.h"
#include "coherence/mutant.h"
#include "common/must.h"

#define JOINERS_MAX 64u
#define ORDERS_MAX 8u

/* What this acceptor knows of nodes[i] of its base map, in memory only. */
struct node_info {
    uint64_t until;  /* R2: the promise to it ends; own clock */
    uint64_t heard;  /* last renewal; when the node was learnt, if there was none yet */
    uint64_t alive;  /* it has answered something that left here then; late messages cannot lie */
    uint64_t barred; /* nothing is granted before this time */
    uint64_t caught_up; /* epoch of its group in which it said it has everything; 0: never */
    uint64_t blamed_at; /* when it last complained about */
    uint32_t blames;    /* this one; 0: nobody */
    bool was_heard;     /* since this acceptor started */
    bool released;      /* R4: it gave its lease back, for good */
    bool told_silent;   /* its silence has been marked */
};

/* Who asks to join. */
struct joiner {
    uint64_t boot; /* 0: free */
    uint64_t fresh_until;
    char group[MAP_TEXT_MAX];
    struct map_address at;
    uint16_t workers, peer_port;
};

struct order { /* an operator's, repeated by the holder until it is done */
    bool used;
    enum member_change_kind kind;
    uint32_t id, other;
    uint64_t fresh_until;
};

struct peer_status { /* of another acceptor */
    bool heard;
    bool forgot;
    uint64_t life; /* another one: it has restarted */
    uint64_t at, version;
    uint64_t waits_for; /* a version, before it votes again */
    uint64_t gone[MEMBER_GONE_WORDS];
};

enum ballot_phase { BALLOT_IDLE, BALLOT_PREPARING, BALLOT_PROPOSING };

struct proposer {
    enum ballot_phase phase;
    uint64_t ballot, version; /* of the instance */
    uint64_t best;            /* largest ballot of a value told with a promise; 0: none */
    uint32_t answered;        /* acceptors that promised, then that accepted */
    uint32_t holding;         /* of those that promised: who had accepted something */
    uint64_t patient_until;   /* for more promises than a majority */
    bool bar;                 /* who is left out is to be granted nothing more */
    uint64_t deadline, resend_at;
    uint64_t max_ballot; /* seen anywhere */
    uint64_t not_before; /* back-off, and the order among acceptors */
    uint64_t backoff_ns;
    bool wants; /* there is something to propose, since not_before was set */
    struct member_map value;
};

struct acceptor {
    struct member_params params;
    unsigned index, count;
    uint64_t cluster;
    uint64_t now;
    uint64_t votes_out_from; /* R5 */
    struct member_state st;
    bool dirty;      /* st is not on disk */
    bool persisting; /* PERSIST is in the outbox: how it went comes next */
    bool stopped;    /* R5: the last attempt to keep st failed */
    uint64_t retry_at;
    /* It may have voted before and does not know it (started without kept state): until that can
     * not matter any more it does not vote, propose or grant */
    bool forgot;
    bool remembering;       /* it will, when that is on disk */
    uint64_t life;          /* names this start; answers to it are no messages from before */
    uint32_t heard;         /* acceptors that know of this life */
    bool seen_votes;        /* somebody has promised a ballot */
    uint64_t seen_version;  /* the largest that anybody named, until `heard` are enough */
    uint64_t abstain_below; /* version of the base from which it votes again; 0: not known yet */
    struct node_info info[MAP_NODES_MAX];
    struct joiner joiners[JOINERS_MAX];
    struct order orders[ORDERS_MAX];
    struct peer_status peers[MAP_ACCEPTORS_MAX];
    uint64_t next_status;
    uint64_t others_ballot_at; /* somebody else is at it; 0: nobody was */
    uint64_t accepted_at;      /* a value waits for its outcome since */
    bool look;                 /* something changed that may be worth a proposal */
    struct proposer p;
    struct member_map plan;
    uint64_t rng;
    struct acceptor_outbox *out;
    uint64_t marks[MEMBER_MARK_COUNT];
};

/* ---- acceptor.c ---- */
void acceptor_mark(struct acceptor *a, enum member_mark m, uint64_t x, uint64_t y);
/* A message to acceptor `to`, or to who asked, to be filled in. */
struct member_msg *acceptor_send(struct acceptor *a, enum member_msg_kind kind, unsigned to);
struct member_msg *acceptor_answer(struct acceptor *a, enum member_msg_kind kind);
void acceptor_persist(struct acceptor *a);
uint64_t acceptor_promise_ns(const struct acceptor *a); /* D(1+rho) */
unsigned acceptor_majority(const struct acceptor *a);
/* Nothing heard of nodes[i] for so long that every promise has run out; or released. */
bool acceptor_gone(const struct acceptor *a, unsigned i);
void acceptor_send_status(struct acceptor *a);
void acceptor_send_status_to(struct acceptor *a, unsigned to);
void acceptor_saw_version(struct acceptor *a, uint64_t version);

/* ---- acceptor_lease.c: what holders ask for (R2) ---- */
void acceptor_on_renew(struct acceptor *a, const struct member_msg *m);
void acceptor_on_release(struct acceptor *a, const struct member_msg *m);
void acceptor_on_join(struct acceptor *a, const struct member_msg *m);
void acceptor_on_change(struct acceptor *a, const struct member_msg *m);
/* Is the data of learner nodes[i] complete, by its own word in the current epoch? */
bool acceptor_learner_ready(const struct acceptor *a, unsigned i);

/* ---- acceptor_vote.c: R4, R5 ---- */
void acceptor_on_prepare(struct acceptor *a, const struct member_msg *m);
void acceptor_on_accept(struct acceptor *a, const struct member_msg *m);
/* A newer decided map: base, from now on. */
void acceptor_learn(struct acceptor *a, const struct member_map *map);

/* ---- proposer.c ---- */
void acceptor_on_promise(struct acceptor *a, const struct member_msg *m);
void acceptor_on_accepted(struct acceptor *a, const struct member_msg *m);
void acceptor_on_refused(struct acceptor *a, const struct member_msg *m);
void proposer_timer(struct acceptor *a);
void proposer_consider(struct acceptor *a);
void proposer_stop(struct acceptor *a); /* its instance has been decided, or it failed */
uint64_t proposer_deadline(const struct acceptor *a);

/* ---- plan.c ---- */
/* What should follow base, by what is known here, to a->plan; false: nothing is to change. *bar:
 * somebody is left out who may still be alive (an operator's order, a release, a blame). mark:
 * count what is done. */
bool plan_next(struct acceptor *a, bool *bar, bool mark);
/* Why a joiner is not let in now; MEMBER_PENDING: it will be. */
enum member_reason plan_join_reason(const struct acceptor *a, const struct joiner *j);

#endif
