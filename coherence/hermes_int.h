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
    bool dirty;    /* on the list of those to look at before the step ends */
    bool blocked;  /* on the list of those whose slot is locked */
    uint8_t state; /* enum hermes_state */
    bool has_pending;
    bool replaying; /* collecting ACKs for the pending update */
    uint8_t tries;
    uint32_t next;       /* in the hash bucket, or the free list */
    uint32_t heap_pos;   /* NIL: no deadline */
    uint32_t head, tail; /* waiting operations */
    uint32_t group;      /* the pending update is a part of this update of several keys; or NIL */
    uint32_t part_next;  /* the next of its parts */
    uint32_t dirty_next, blocked_next;
    uint64_t deadline; /* the earlier of the two */
    uint64_t resend_at,
        replay_at; /* own INV again; what to do about somebody else's pending update */
    uint64_t seen; /* the largest ts seen: that of the pending update, or of what is committed */
    struct hermes_key key;
    struct hermes_update pending;
    struct round round; /* of the replay */
    struct own_update own;
};

/* An update of several keys that is pending here: its parts are the pending updates of records. */
struct group {
    bool used;
    bool mine; /* this replica started it */
    bool replaying;
    uint8_t tries;
    uint32_t next;          /* free list */
    uint32_t op;            /* mine: the operation; else NIL */
    uint32_t first, count;  /* records, chained by part_next; the first has the timer */
    uint32_t answer;        /* the last slice of a transfer it was sent with */
    struct hermes_update u; /* owner, now_ms, effects */
    struct round round;
};

/* A client operation. One of several keys is a *parent*, in no queue, and a *ticket* in the queue
 * of each of its keys: when all are at the head of their queues nothing older is in its way, and
 * nothing younger passes while they stay (H14). */
struct op_slot {
    uint32_t next;    /* in a queue, in the list of parents, or the free list */
    uint32_t prev;    /* parent: in the list of parents */
    uint32_t parent;  /* ticket: of which; else NIL */
    uint32_t sibling; /* ticket: the next of the same parent; parent: the first */
    uint32_t record;  /* ticket: whose queue */
    uint32_t ready_next;
    bool ready;          /* parent: on the list of those to try before the step ends */
    bool running;        /* parent: its update is under way */
    bool writes;         /* parent: it needs the grant */
    struct hermes_op op; /* key.ref is not kept: the record has it */
};

struct slot_info {
    uint64_t floor;      /* version */
    uint64_t generation; /* the largest purged */
    uint32_t busy;       /* records of the slot with something pending or own */
    uint32_t own;        /* of those: with an own update; own ones of several keys count once */
    uint32_t multis;     /* own operations of several keys that need the grant */
    uint32_t grant;      /* number + 1 in grants; 0: none */
    bool want_said;      /* the owner of the lock has been told that something waits here */
    uint32_t locked_by;  /* incarnation id; 0: nobody */
    uint64_t lock_nonce;
    bool lock_acked;
};

enum grant_phase { GRANT_FREE, GRANT_WANTED, GRANT_HELD };

struct grant {
    enum grant_phase phase;
    bool yield;       /* somebody else wants the slot */
    uint32_t starts;  /* updates of several keys since it is held */
    uint64_t used_at; /* kept for a while after the last of them */
    uint16_t slot;
    uint64_t nonce;
    uint32_t acks; /* LOCKED, then PURGED */
    uint32_t op;   /* the purge; NIL: taken for updates of several keys */
    uint64_t version;
    bool purged_here;
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
    uint64_t lock_deadline; /* members of a locked slot ask whether it still is */
    uint32_t lock_scan;
    uint32_t dirty, blocked, ready, parents; /* lists */
    bool grants_short;                       /* an operation waits for room in grants */
    struct group *groups;
    uint32_t free_group, free_groups;
    struct hermes_part *parts; /* parts_room for what the outbox names; then those of a commit */
    uint32_t parts_used, parts_room;
    struct hermes_key *keys; /* scratch, MSG_PARTS_MAX */
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
bool room_for_own(const struct hermes *h, uint32_t records);
/* Looks at the record again before the step ends, or in the next one; it stays until then. */
void look_again(struct hermes *h, struct record *r);
void settle(struct hermes *h);

/* ---- hermes_multi_op.c: operations of several keys ---- */
enum err on_multi_op(struct hermes *h, const struct hermes_op *op);
void ticket_turn(struct hermes *h, uint32_t ticket); /* it is at the head of a Valid key's queue */
bool ticket_stays(const struct hermes *h, uint32_t op); /* it belongs to an update under way */
void multi_ready(struct hermes *h, uint32_t parent);
void multi_try(struct hermes *h, uint32_t parent);
void multi_end(struct hermes *h, uint32_t parent, enum hermes_result result, uint64_t ts,
               uint64_t generation);
void multis_ready(struct hermes *h, uint16_t slot); /* all that wait for the slot's grant */
void multis_close(struct hermes *h);

/* ---- hermes_multi.c: updates of several keys ---- */
void group_start(struct hermes *h, uint32_t parent, struct coh_ref effects);
enum err on_multi(struct hermes *h, const struct hermes_msg *m, bool transferred);
bool group_on_ack(struct hermes *h, const struct record *r, const struct hermes_msg *m);
void group_commit(struct hermes *h, uint32_t group);
void group_drop(struct hermes *h, uint32_t group); /* expelled: its outcome is unknown */
void group_send(struct hermes *h, uint32_t to_mask, uint32_t group);
void group_timer(struct hermes *h, const struct record *r);
void group_revisit(struct hermes *h, const struct record *r);
void group_revisit_peer(struct hermes *h, const struct record *r, uint32_t peer_mask);
bool group_all_here(struct hermes *h, const struct hermes_msg *m);
/* ---- hermes_ack.c ---- */
void round_enter(struct hermes *h, const struct record *r, struct round *round);
bool round_complete(const struct hermes *h, const struct round *round);

/* ---- hermes_inv.c, hermes_ack.c, hermes_val.c, hermes_replay.c ---- */
enum err on_inv(struct hermes *h, const struct hermes_msg *m, bool transferred);
void update_of_msg(const struct hermes_msg *m, struct hermes_update *u);
void prove(struct hermes *h, struct record *r, uint64_t base); /* an update on base exists */
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
/* May no update of one key start in the slot? */
bool slot_blocked(const struct hermes *h, uint16_t slot);
void slot_wait(struct hermes *h, struct record *r); /* it is looked at when the slot is free */
void slot_forget(struct hermes *h, struct record *r);
/* May an update of several keys start? If not the grant has been asked for. */
bool grant_for_multi(struct hermes *h, uint16_t slot);
void grant_used(struct hermes *h, uint16_t slot); /* an update of several keys has started */
void on_want(struct hermes *h, const struct hermes_msg *m);
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
enum err on_pull_multi(struct hermes *h, const struct hermes_msg *m);
void on_pull_end(struct hermes *h, const struct hermes_msg *m);

/* ---- hermes_hot.c: judged on a Valid key, under a lease ---- */
/* May op change a key in this state? If so *u has hot and generation as they will be. Otherwise the
 * result to answer with. */
bool hot_judge(struct hermes *h, const struct hermes_op *op, const struct hermes_meta *m,
               struct hermes_update *u, enum hermes_result *refusal);

#endif
