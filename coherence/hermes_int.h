#ifndef COHERENCE_HERMES_INT_H
#define COHERENCE_HERMES_INT_H

/* Inside the Hermes core: its data, and what its files offer each other. Nobody outside
 * coherence/hermes*.c includes this. */

#include "coherence/hermes.h"
#include "coherence/mutant.h"
#include "common/must.h"

#define NIL UINT32_MAX
#define ASKED_SLOTS 64u

/* Who has ACKed an INV, in which epoch, and the largest ts they held (H3). */
struct round {
    uint64_t epoch; /* acks of another epoch count for nothing (H7) */
    uint32_t acks;  /* positions in the view */
    uint64_t held;
};

struct own_update {
    bool active;
    bool open;   /* given up, verdict not known yet (H5) */
    uint32_t op; /* index of the operation */
    struct hermes_update u;
    struct round round;
};

struct record {
    bool used;
    uint8_t state; /* enum hermes_state */
    bool has_pending;
    bool replaying; /* collecting ACKs for the pending update */
    uint8_t tries;
    uint32_t next;       /* in the hash bucket, or the free list */
    uint32_t heap_pos;   /* NIL: no deadline */
    uint32_t head, tail; /* waiting operations */
    uint64_t deadline;   /* the earlier of the two */
    uint64_t resend_at,
        replay_at; /* own INV again; what to do about somebody else's pending update */
    uint64_t seen; /* the largest ts seen: that of the pending update, or of what is committed */
    struct hermes_key key;
    struct hermes_update pending;
    struct round round; /* of the replay */
    struct own_update own;
};

struct op_slot {
    uint32_t next;
    struct hermes_op op; /* key.ref is not kept: the record has it */
};

struct slot_info {
    uint64_t floor;      /* version */
    uint64_t generation; /* the largest purged */
    uint32_t busy;       /* records of the slot with something pending or own */
    uint32_t own;        /* of those: with an own update */
    uint32_t locked_by;  /* incarnation id; 0: nobody */
    uint64_t lock_nonce;
    bool lock_acked;
};

enum grant_phase { GRANT_FREE, GRANT_WANTED, GRANT_HELD };

struct grant {
    enum grant_phase phase;
    uint16_t slot;
    uint64_t nonce;
    uint32_t acks; /* LOCKED, then PURGED */
    uint32_t op;   /* the purge */
    uint64_t version;
    bool purging, purged_here;
    uint64_t deadline;
};

struct transfer {
    bool wanted;    /* learner that has not caught up */
    uint32_t donor; /* id */
    uint64_t cursor, nonce;
    uint64_t got; /* bits: items of this slice */
    uint64_t deadline;
    uint32_t turn;   /* which donor next */
    uint32_t answer; /* which answer of the donor the items counted belong to */
};

struct hermes {
    struct hermes_limits limits;
    struct hermes_store store;
    uint32_t id;
    bool caught_up, expelled;
    struct view view;
    struct lease lease;
    uint64_t now, wall_ms;
    uint64_t loop_now; /* what an event loop's cached time would say; for a mutant */
    uint64_t rng;
    struct record *records;
    uint32_t *buckets;
    uint32_t bucket_mask, free_record, free_records;
    uint32_t *heap;
    uint32_t heap_count;
    struct op_slot *ops;
    uint32_t free_op, free_ops;
    struct slot_info *slots;
    uint32_t scan_at;   /* next record of the walk after a change; records: none under way */
    uint32_t scan_peer; /* the walk is for this peer only; 0: for all */
    uint32_t locked_slots;
    bool blocked;           /* an operation waits for some slot to be unlocked */
    uint64_t lock_deadline; /* members of a locked slot ask whether it still is */
    uint32_t lock_scan;
    struct grant grants[HERMES_GRANTS_MAX];
    uint64_t nonce;
    struct transfer pull;
    uint32_t answers; /* given as a donor; 24 bits */
    struct {
        uint64_t what, at;
    } asked[ASKED_SLOTS];      /* bases fetched lately */
    struct hermes_outbox *out; /* during a step */
    uint64_t marks[HERMES_MARK_COUNT];
};

/* ---- hermes_key.c: records, deadlines, waiting operations ---- */
struct record *key_find(const struct hermes *h, const struct hermes_key *key);
struct record *key_get(struct hermes *h,
                       const struct hermes_key *key); /* makes one; there must be room */
void key_release(struct hermes *h,
                 struct record *r); /* frees it if nothing is pending or waiting */
void key_set_deadline(struct hermes *h, struct record *r, uint64_t at); /* UINT64_MAX: none */
void key_set_state(struct hermes *h,
                   struct record *r); /* works the state out of the fields, and moves to it */
void key_push(struct hermes *h, struct record *r, uint32_t op);
void key_push_head(struct hermes *h, struct record *r, uint32_t op);
uint32_t key_pop(struct hermes *h, struct record *r);
uint32_t op_take(struct hermes *h, const struct hermes_op *op);
void op_give(struct hermes *h, uint32_t op);
void key_set_pending(struct hermes *h, struct record *r, const struct hermes_update *u);
void key_clear_pending(struct hermes *h, struct record *r);
void key_set_own(struct hermes *h, struct record *r, const struct hermes_update *u, uint32_t op);
void key_clear_own(struct hermes *h, struct record *r);
/* The committed state as the protocol sees it: an absent key or tombstone counts as (floor, 0) at
 * least (H8). */
void key_meta(const struct hermes *h, const struct hermes_key *key, struct hermes_meta *m);
bool key_base_held(const struct hermes *h, const struct hermes_key *key,
                   const struct hermes_meta *m, uint64_t base);
void hermes_check_record(const struct hermes *h, const struct record *r);

/* ---- hermes.c: outputs ---- */
void mark(struct hermes *h, enum hermes_mark m, const struct hermes_key *key, uint64_t ts,
          uint64_t arg);
struct hermes_msg *send_to(struct hermes *h, enum msg_kind kind, uint32_t to_mask);
void send_key(struct hermes *h, enum msg_kind kind, uint32_t to_mask, const struct hermes_key *key,
              uint64_t ts, uint64_t held);
void send_update(struct hermes *h, uint32_t to_mask, const struct hermes_key *key,
                 const struct hermes_update *u);
void complete(struct hermes *h, uint32_t op, enum hermes_result result, uint64_t ts,
              uint64_t generation, bool superseded);
uint32_t self_mask(const struct hermes *h);
uint32_t others_mask(const struct hermes *h);
uint32_t mask_of(const struct hermes *h, uint32_t id);
bool out_has_room(const struct hermes *h, uint32_t n);
uint64_t jitter(struct hermes *h, uint64_t ns);
uint64_t clock_now(const struct hermes *h);
bool has_lease(const struct hermes *h);

/* ---- hermes_op.c: operations start, wait, complete ---- */
enum err on_op(struct hermes *h, const struct hermes_op *op);
void pump(struct hermes *h,
          struct record *r); /* after the key became Valid: verdicts, then the queue */
void fail_waiting(struct hermes *h, struct record *r);

/* ---- hermes_inv.c, hermes_ack.c, hermes_val.c, hermes_replay.c ---- */
enum err on_inv(struct hermes *h, const struct hermes_msg *m, bool transferred);
void update_of_msg(const struct hermes_msg *m, struct hermes_update *u);
void on_ack(struct hermes *h, const struct hermes_msg *m);
void on_nack(struct hermes *h, const struct hermes_msg *m);
void own_round(struct hermes *h,
               struct record *r); /* sends INV to who is missing; commits if nobody is */
void replay_round(struct hermes *h, struct record *r);
void on_val(struct hermes *h, const struct hermes_msg *m);
bool commit_pending(struct hermes *h,
                    struct record *r); /* runs it; false if its base is not here */
void commit_own_early(struct hermes *h,
                      struct record *r); /* proved committed, but not the pending one */
void on_get(struct hermes *h, const struct hermes_msg *m);
enum err on_value(struct hermes *h, const struct hermes_msg *m);
void on_floor(struct hermes *h, const struct hermes_msg *m);
void record_timer(struct hermes *h, struct record *r);
void ask(struct hermes *h, const struct hermes_key *key, const struct record *r, uint32_t to_mask);

/* ---- hermes_view.c ---- */
void on_view(struct hermes *h, const struct view *v);
void scan_start(struct hermes *h, uint32_t peer);
void scan_slice(struct hermes *h);

/* ---- hermes_grant.c ---- */
enum err on_purge_op(struct hermes *h, const struct hermes_op *op);
void on_lock(struct hermes *h, const struct hermes_msg *m);
void on_locked(struct hermes *h, const struct hermes_msg *m);
void on_unlock(struct hermes *h, const struct hermes_msg *m);
void on_purge(struct hermes *h, const struct hermes_msg *m);
void on_purged(struct hermes *h, const struct hermes_msg *m);
void slot_settled(struct hermes *h,
                  uint16_t slot); /* nothing of the slot is pending here any more */
bool slot_blocked(const struct hermes *h, uint16_t slot);
void grants_void(struct hermes *h);
void grants_timer(struct hermes *h);
uint64_t grants_deadline(const struct hermes *h);
void floor_raise(struct hermes *h, uint16_t slot, uint64_t version);

/* ---- hermes_transfer.c ---- */
void transfer_start(struct hermes *h);
void transfer_timer(struct hermes *h);
void on_pull(struct hermes *h, const struct hermes_msg *m);
void on_pull_slot(struct hermes *h, const struct hermes_msg *m);
enum err on_pull_value(struct hermes *h, const struct hermes_msg *m);
enum err on_pull_inv(struct hermes *h, const struct hermes_msg *m);
void on_pull_end(struct hermes *h, const struct hermes_msg *m);

/* ---- hermes_hot.c: judged on a Valid key, under a lease ---- */
/* May op change a key in this state? If so *u has hot and generation as they will be. Otherwise the
 * result to answer with. */
bool hot_judge(struct hermes *h, const struct hermes_op *op, const struct hermes_meta *m,
               struct hermes_update *u, enum hermes_result *refusal);

#endif
