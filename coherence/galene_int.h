#ifndef COHERENCE_GALENE_INT_H
#define COHERENCE_GALENE_INT_H

/* The inside of the galene core, for the files coherence/galene*.c only. */
#include "coherence/galene.h"
#include "coherence/keytab.h"
#include "coherence/mutant.h"
#include "common/must.h"

#define NIL UINT32_MAX
#define FORWARDED_MAX 4 /* forwarded reads of one key under way at once */

enum stage { /* of the one write per key */
             STAGE_NONE,
             STAGE_INV,  /* ACKs are missing */
             STAGE_HOT,  /* HOTWRITE is at the backend */
             STAGE_COLD, /* a plain write is */
};

struct queue { /* of operations, linked by op_slot.next */
    uint32_t head, tail;
};

struct op_slot {
    struct galene_op op; /* op.key is not kept: the record's is */
    uint64_t since;
    uint32_t record, next;
    uint32_t after;       /* the next one of the same client on this key: waits for this one */
    uint32_t bucket_next; /* in the table of latest operations */
    bool used;
};

struct token { /* an invalidation of another proxy that stands */
    uint32_t id;
    uint64_t token, since;
};

struct forwarded {
    uint64_t request; /* 0: free */
    struct queue group;
};

struct record {
    /* the entry */
    bool prepared, draining;
    bool drained; /* by DRAIN: DROP is expected */
    bool stuck;   /* an invalidation that nobody will take back: only a new generation helps (G8) */
    uint8_t token_count;
    uint64_t generation;
    struct galene_value value; /* NO_VALUE: filling */
    struct token tokens[VIEW_NODES_MAX];
    uint64_t own_token; /* own outstanding invalidation, 0: none */
    uint64_t own_last;  /* the last own one that is over, in this generation */
    /* A HOTWRITE of this proxy in this generation may take effect at any time: no DONE may be sent
       in it any more, it would take back the invalidation that guards against that. 0: none */
    uint64_t lost_generation;
    /* what the readers see */
    uint8_t seen; /* enum galene_seen */
    uint64_t seen_ts, seen_generation;
    /* operations */
    struct queue reads, writes, demotes; /* that may run, in order */
    uint32_t open;                       /* operations of this key, all */
    struct forwarded forwarded[FORWARDED_MAX];
    uint64_t expire_generation; /* a read was told that the key has expired (H12): 0 no */
    /* the write under way */
    uint8_t stage;
    bool expiring; /* it is the core's own conditional deletion */
    uint8_t tries;
    uint64_t write_generation, write_token, round_epoch, round_since, request;
    uint32_t acks;
    struct queue group;
    uint32_t group_count;
    /* times, UINT64_MAX: none */
    uint64_t resend_at, give_up_at, ask_at, report_at, linger_at, drop_wait_until;
    uint8_t report_kind;        /* enum gmsg_report, with report_generation */
    uint64_t report_generation; /* 0: nothing but what the state says is to be reported */
};

struct galene {
    struct galene_limits limits;
    struct galene_env env;
    uint32_t id;
    bool expelled;
    struct view view;
    struct lease lease;
    uint64_t now, wall_ms;
    uint64_t rng;
    uint64_t last_token, last_request;
    uint64_t control_seq; /* of the coordinator's last control message in this epoch */
    struct keytab keys;
    struct record *records;
    uint32_t entries;
    struct op_slot *ops;
    uint32_t free_op, free_ops;
    uint32_t *latest; /* buckets: the latest operation of a client on a key */
    uint32_t latest_mask;
    uint32_t scan_at;   /* view change: the next record to look at; records: done */
    uint32_t scan_peer; /* 0: a new view */
    struct galene_outbox *out;
};

/* ---- galene.c: outputs, small things ---- */
void gal_mark(struct galene *g, enum galene_mark m, const struct record *r, uint64_t a, uint64_t b);
bool gal_room(const struct galene *g, uint32_t n);
uint32_t gal_self(const struct galene *g);
uint32_t gal_others(const struct galene *g);
uint32_t gal_mask_of(const struct galene *g, uint32_t id);
/* A message about the key of r to be filled in. Nobody in the mask: a spare one that goes nowhere.
 */
struct gmsg *gal_send(struct galene *g, enum gmsg_kind kind, uint32_t to_mask,
                      const struct hermes_key *key, uint64_t generation);
void gal_set_value(struct gmsg *m, const struct galene_value *v);
uint64_t gal_request(struct galene *g, struct record *r, enum galene_request_kind kind,
                     unsigned which, uint64_t generation, uint32_t op);
void gal_complete(struct galene *g, uint32_t op, enum galene_result result,
                  const struct galene_value *value, struct coh_ref reply, uint64_t ts);
void gal_complete_all(struct galene *g, struct queue *q, enum galene_result result,
                      struct coh_ref reply, uint64_t ts);
bool gal_has_lease(const struct galene *g);
uint64_t gal_jitter(struct galene *g, uint64_t ns);

/* ---- galene_key.c: records, queues ---- */
struct record *gal_find(const struct galene *g, const struct hermes_key *key);
struct record *gal_get(struct galene *g, const struct hermes_key *key); /* there must be room */
const struct hermes_key *gal_key(const struct galene *g, const struct record *r);
uint32_t gal_index(const struct galene *g, const struct record *r);
void queue_init(struct queue *q);
void queue_push(struct galene *g, struct queue *q, uint32_t op);
uint32_t queue_pop(struct galene *g, struct queue *q);
/* All of *from to the head of *to; *from is empty then. */
void queue_put_back(struct galene *g, struct queue *to, struct queue *from);
uint32_t gal_op_take(struct galene *g, const struct galene_op *op, uint32_t record);
void gal_op_give(struct galene *g, uint32_t i);
/* Program order: true if an earlier operation of the same client on the same key is open; then this
 * one waits for it. */
bool gal_order(struct galene *g, uint32_t i);
void gal_runnable(struct galene *g, struct record *r, uint32_t i); /* into its queue */
/* The end of handling a record: runs what can run, publishes, sets the deadline, gives the record
 * back if nothing is left in it. */
void gal_settle(struct galene *g, struct record *r);

/* ---- galene_entry.c: the entry and the messages about it ---- */
bool entry_valid(const struct record *r);
bool entry_hopeless(const struct record *r); /* prepared, and cannot become Valid by itself */
void entry_publish(struct galene *g, struct record *r);
void entry_keep(struct galene *g, struct record *r, const struct galene_value *v);
void entry_drop(struct galene *g, struct record *r);
void entry_drain(struct record *r);
void entry_stick(struct galene *g, struct record *r);
void entry_departed(struct galene *g, struct record *r); /* tokens of those who left the view */
void entry_ask(struct galene *g, struct record *r, uint32_t peer); /* 0: the old ones, of all */
/* Generations below this one are over at the backend: nothing sent in them can take effect. */
void entry_fenced(struct record *r, uint64_t generation);
uint64_t entry_ask_at(const struct galene *g, const struct record *r);
void gal_on_inv(struct galene *g, const struct gmsg *m);
void gal_on_done(struct galene *g, const struct gmsg *m);
void gal_on_ask(struct galene *g, const struct gmsg *m);
void gal_on_lost(struct galene *g, const struct gmsg *m);

/* ---- galene_control.c: PREP, FILL, DRAIN, DROP, reports ---- */
enum err gal_on_control(struct galene *g, const struct gmsg *m);
/* Sends the report that is due, or sets when the next is. */
void report_soon(struct galene *g, struct record *r, enum gmsg_report kind, uint64_t generation);
void report_timer(struct galene *g, struct record *r);
bool report_wanted(const struct record *r);

/* ---- galene_read.c, galene_write.c ---- */
enum err gal_on_op(struct galene *g, const struct galene_op *op);
void gal_on_answer(struct galene *g, const struct galene_answer *a);
void read_pump(struct galene *g, struct record *r);
bool read_answer(struct galene *g, struct record *r, const struct galene_answer *a);
void write_pump(struct galene *g, struct record *r);
bool write_answer(struct galene *g, struct record *r, const struct galene_answer *a);
void gal_on_ack(struct galene *g, const struct gmsg *m);
void write_round(struct galene *g, struct record *r); /* INV to all, ACKs from nobody */
void write_resend(struct galene *g, struct record *r, uint32_t to_mask);
void write_give_up(struct galene *g, struct record *r, enum galene_result result);

/* ---- galene_view.c ---- */
void gal_on_view(struct galene *g, const struct view *v);
void gal_on_peer(struct galene *g, uint32_t peer);
void gal_on_timer(struct galene *g);
uint64_t record_deadline(const struct galene *g, const struct record *r);

#endif
