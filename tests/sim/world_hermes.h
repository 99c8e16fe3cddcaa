#ifndef TESTS_SIM_WORLD_HERMES_H
#define TESTS_SIM_WORLD_HERMES_H

#include "coherence/hermes.h"
#include "tests/lib/history.h"
#include "tests/sim/sim.h"

/* The Hermes world: 3 to 5 replicas of one shard with model stores, a membership service that
 * decides views and promises leases by the rules of RELIABILITY 5.2 (one node of the simulation,
 * never down, reached over faulty links), and clients.
 *
 * Nodes 0..replicas-1 are replicas, then the membership node, then one node for all clients (its
 * links lose nothing).
 *
 *   hermes_node.c     driver of a replica, hermes_store.c its store
 *   hermes_members.c  views and leases
 *   hermes_load.c     clients, histories, final checks
 *   hermes_multi.c    operations of several keys: store, load, checks
 *   world_hermes.c    putting it together */
#define HW_REPLICAS_MAX 5
#define HW_KEYS_MAX 64
#define HW_SLOTS 4
#define HW_OPS_MAX 1500
#define HW_CLIENTS_MAX 8
#define HW_BLOBS_MAX 4096
#define HW_HELD_MAX 64
#define HW_LEDGER_SIZE 8192

#define HW_LEASE_NS (400 * SIM_MS)
#define HW_RENEW_NS (50 * SIM_MS)

struct hw_entry { /* of a model store */
    bool present;
    uint8_t state;
    struct hist_value v;
    uint64_t ts, generation, expire_ms;
    bool hot;
};

#define HW_PARTS_MAX 3

struct hw_step {  /* what an operation of several keys does to one of them */
    uint8_t kind; /* enum hist_kind, HW_ADD, HW_MOVE */
    uint8_t key;
    int64_t arg;
};

struct hw_effect { /* what a blob of effects says */
    uint8_t kind;  /* enum hist_kind; HW_NO_CHANGE, HW_EXPIRE, HW_MULTI */
    int64_t arg, arg2;
    uint64_t expire_ms;
    uint8_t step_count; /* HW_MULTI; arg: number of the operation */
    struct hw_step steps[HW_PARTS_MAX];
};
#define HW_NO_CHANGE 100
#define HW_EXPIRE 101
#define HW_MULTI 102
#define HW_ADD 103  /* absent counts as 0 */
#define HW_MOVE 104 /* from the key of the step before, which is absent then; nothing if it is */

struct hw_blob {
    uint32_t refs, next;
    struct hw_effect effect;
};

struct hw_part { /* what an operation of several keys saw and did */
    int64_t ret;
    struct hist_value after;
    uint64_t base, ts; /* ts: after it, if it changed something */
    bool absent;       /* was, before it */
};

struct hw_op {
    struct hist_op h;
    uint8_t step_count; /* several keys; h.key is the first */
    struct hw_step steps[HW_PARTS_MAX];
    struct hw_part parts[HW_PARTS_MAX];
    bool prepared; /* parts are filled in */
    enum hermes_op_kind kind;
    bool hotwrite;
    uint64_t generation, version;
    uint64_t expire_ms;
    unsigned node;
    bool open;    /* the client waits */
    bool replied; /* the replica has answered; the reply is on its way */
    bool writes;
    enum hermes_result result;
    uint32_t effects;      /* blob */
    bool has_after;        /* after: the key as the command left it */
    struct hw_entry after; /* state is not filled in */
};

struct hw_held {
    uint16_t len;
    uint8_t bytes[300];
};

struct hw_node {
    struct hermes *core;
    void *memory;
    uint32_t id;
    struct hw_entry entries[HW_KEYS_MAX];
    int64_t wall_offset_ms;
    struct hw_held held[HW_HELD_MAX];
    unsigned held_count;
    bool joining;
    int64_t holds;       /* references the core has: none when it is idle */
    uint64_t lease_sent; /* renewal the lease came from: late answers to older ones say nothing */
};

struct hw_applied { /* what the update with this ts made of the key: the same everywhere */
    uint64_t key, ts, base;
    struct hist_value v;
    bool hot, rmw;
    uint64_t generation;
    struct hw_effect effect;
};

struct hw_members { /* the membership service */
    struct view view;
    uint32_t id_of[HW_REPLICAS_MAX]; /* incarnation last heard of at this place */
    uint64_t until[HW_REPLICAS_MAX]; /* promises, own clock, for ids of the view */
    uint64_t heard[HW_REPLICAS_MAX];
    bool excluding[HW_REPLICAS_MAX];
    bool caught_up[HW_REPLICAS_MAX];
    uint32_t view_id[HW_REPLICAS_MAX]; /* id in the view, 0: none */
    uint32_t used[HW_REPLICAS_MAX]; /* largest id that was ever in a view from here: never again */
};

struct hw_client {
    unsigned node;
    unsigned open;
    uint64_t sequence;
};

struct hw_config {
    unsigned replicas, clients, keys, pipeline;
    bool tight; /* tables so small that they overflow */
    bool zipf, mix, del, purge, hot, expire, rmw_heavy;
    bool multi;
    bool accounts; /* keys of the last slot are written by transfers only, which keep their sum */
    uint32_t ops;
};

struct hw {
    struct hw_config config;
    /* For a world around this one (world_galene.h), which has a struct hw as its first member:
       nodes between the replicas and the membership service, wall clocks that are nearly right, and
       who is told of completions instead of the clients here. */
    unsigned extra;
    bool true_wall;
    void (*on_done)(struct sim *s, unsigned node, const struct hermes_done *d);
    void (*on_lost)(struct sim *s, unsigned node);
    struct hw_node nodes[HW_REPLICAS_MAX];
    struct hw_members members;
    struct hw_client clients[HW_CLIENTS_MAX];
    struct hw_op ops[HW_OPS_MAX];
    uint32_t op_count;
    uint32_t next_id;
    struct hw_blob blobs[HW_BLOBS_MAX];
    uint32_t free_blob, limbo, blobs_used;
    struct hw_applied ledger[HW_LEDGER_SIZE];
    uint32_t ledger_count;
    uint64_t generation;
    struct hermes_outbox out;
    struct hermes_trace trace[256];
    bool scripted; /* no clients and no automatic membership: a scenario does everything */
    unsigned probes;
    unsigned
        gone; /* nodes that stay down after healing: the others must get along without (liveness) */
    unsigned stepping; /* node whose step it is */
    /* something else at that node wants to be woken too (world_cluster): when, on its clock. Or
     * NULL */
    uint64_t (*also_wake)(struct sim *s, unsigned node);
};

static inline struct hw *hw_of(struct sim *s)
{
    return s->world;
}
static inline bool hw_gone(const struct hw *w, unsigned node)
{
    return (w->gone >> node & 1) != 0;
}
static inline unsigned hw_members_node(const struct hw *w)
{
    return w->config.replicas + w->extra;
}
static inline unsigned hw_clients_node(const struct hw *w)
{
    return w->config.replicas + w->extra + 1;
}

/* ---- hermes_store.c ---- */
void hw_store(struct sim *s, unsigned node, struct hermes_store *out);
uint64_t hw_key_index(const struct hermes_key *key);
void hw_limbo_empty(struct hw *w); /* frees what was dropped: the outbox has been carried out */
void hw_blobs_init(struct hw *w);
uint32_t hw_blob_new(struct hw *w, const struct hw_effect *e);
void hw_blob_drop(struct hw *w, uint32_t blob);

int64_t hw_run_effect(struct hw_entry *e, uint8_t kind, int64_t arg, int64_t arg2,
                      uint64_t expire_ms, uint64_t now_ms);
bool hw_expired(const struct hw_entry *e, uint64_t now_ms);
void hw_ledger(struct sim *s, unsigned node, uint64_t key, const struct hw_entry *e,
               const struct hermes_update *u, const struct hw_effect *f);

/* ---- hermes_multi.c ---- */
bool hw_prepare_multi(struct sim *s, unsigned node, const struct hermes_op *op, uint64_t wall_ms);
void hw_apply_multi(struct sim *s, unsigned node, const struct hermes_part *parts, uint32_t count,
                    const struct hermes_update *u, uint64_t op);
/* Makes *o an operation of several keys, one of them its key; false: there is no other of the slot.
 */
bool hw_draw_multi(struct sim *s, struct hw_op *o);
bool hw_is_account(const struct hw *w, uint64_t key);
/* Appends the operation's part of each key's history; gives how many. */
size_t hw_multi_history(const struct hw_op *o, struct hist_op *out);
void hw_judge_multis(struct sim *s);

/* ---- hermes_node.c ---- */
void hw_node_start(struct sim *s, unsigned node, uint32_t id, bool founder); /* empty */
void hw_node_stop(struct sim *s, unsigned node);
void hw_node_frame(struct sim *s, unsigned node, const uint8_t *frame,
                   size_t len); /* a Hermes message */
void hw_node_view(struct sim *s, unsigned node, const struct view *v);
void hw_node_lease(struct sim *s, unsigned node, struct lease lease);
void hw_node_timer(struct sim *s, unsigned node);
void hw_node_op(struct sim *s, unsigned node, uint32_t op);
void hw_node_peer(struct sim *s, unsigned node, uint32_t peer_id);
void hw_key(struct hermes_key *key, uint64_t index);
uint64_t hw_wall_ms(struct sim *s, unsigned node);

/* ---- hermes_members.c ---- */
enum hw_frame { HW_RENEW = 0xF0, HW_GRANT, HW_VIEW, HW_RETIRED, HW_REQUEST };
void hw_members_init(struct sim *s);
void hw_members_frame(struct sim *s, unsigned from, const uint8_t *frame,
                      size_t len); /* at the service */
void hw_members_answer(struct sim *s, unsigned node, const uint8_t *frame,
                       size_t len); /* at a replica */
void hw_members_tick(struct sim *s);
void hw_renew(struct sim *s, unsigned node);
bool hw_is_last(struct sim *s, unsigned node); /* the last live member that has everything */
void hw_members_install(struct sim *s, const struct view *v); /* decides, and tells everybody */

/* ---- hermes_load.c ---- */
void hw_load_init(struct sim *s);
void hw_client_turn(struct sim *s, unsigned client);
void hw_request(struct sim *s, unsigned node, uint32_t op); /* arrived at the replica */
void hw_done(struct sim *s, unsigned node, const struct hermes_done *d);
void hw_reply(struct sim *s, uint32_t op);       /* arrived at the client */
void hw_node_lost(struct sim *s, unsigned node); /* crashed: connections break */
void hw_judge(struct sim *s);
bool hw_settled(struct sim *s);
/* Starts an operation at once (scenarios, probes); gives its number. */
uint32_t hw_issue(struct sim *s, unsigned client, unsigned node, const struct hw_op *op);

enum hw_event {
    HW_EV_CLIENT,
    HW_EV_RENEW,
    HW_EV_MEMBERS,
    HW_EV_REPLY,
    HW_EV_REJOIN,
    HW_EV_PEER,
    HW_EV_CHAOS
};
void hw_draw_config(struct sim *s);
void hw_teardown(struct sim *s);
extern const struct sim_world world_hermes;

/* ---- world_hermes.c, hermes_load.c: for a world around this one ---- */
void hw_deliver(struct sim *s, unsigned node, unsigned from, const uint8_t *frame, size_t len);
void hw_event(struct sim *s, uint32_t kind, uint64_t a, uint64_t b);
void hw_crash(struct sim *s, unsigned node);
void hw_restart(struct sim *s, unsigned node);
void hw_teardown(struct sim *s);
void hw_start(struct sim *s); /* replicas, their views and timers; no clients */
bool hw_nodes_settled(struct sim *s);
void hw_check_updates(struct sim *s); /* what was committed, in the order of ts */
void hw_check_final_state(struct sim *s);
/* The three checks, key by key, as the configuration says which can be made. Reorders ops. */
void hw_check_histories(struct sim *s, struct hist_op *ops, size_t n);

/* scenario_hermes.c: scripted runs named after the rules; prints what failed, gives how many did.
 */
int scenarios_hermes(void);
/* hermes_bench.c: the core alone, printed. */
void hermes_bench(void);

#endif
