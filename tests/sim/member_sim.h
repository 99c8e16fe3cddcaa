#ifndef TESTS_SIM_MEMBER_SIM_H
#define TESTS_SIM_MEMBER_SIM_H

#include "coherence/member.h"
#include "tests/sim/sim.h"

/* Acceptors and holders in the simulator, for any world that wants a real membership service: their
 * drivers (member_nodes.c) and what must hold of them (member_check.c), judged with true time:
 *
 *   - one map per version, each following the one before; nobody learns one that was not chosen;
 *   - ids are never given twice;
 *   - from the moment a map is chosen nobody it leaves out takes its lease for valid (the claim of
 *     RELIABILITY 5.2);
 *   - a shard's data is given up only when every member is really gone, or by an operator's force;
 *     whoever is promoted has the data.
 *
 * The world says which simulated node each acceptor and holder is at, and what views, leases and
 * the rest mean to it (struct ms_ops). */
#define MS_HOLDERS_MAX 7
#define MS_MAP_BYTES 480
#define MS_IDS_MAX 1024
#define MS_BALLOTS_MAX 1024
#define MS_VERSIONS_MAX 1024
#define MS_HOLDER_RESTART_MS 900

struct ms_map {
    uint16_t len; /* 0: none */
    uint8_t bytes[MS_MAP_BYTES];
};

struct ms_acceptor {
    struct acceptor *core;
    void *memory;
    uint8_t disk[2 * MS_MAP_BYTES + 64];
    size_t disk_len; /* 0: nothing was ever kept */
    bool disk_full;
    uint64_t seen; /* version of its base, as last judged */
};

struct ms_holder {
    struct holder *core;
    void *memory;
    uint64_t boot;
    uint32_t id;
    uint16_t home; /* group it asks for */
    bool spare;    /* sent away by an operator: asks without a group */
    bool has_data; /* in truth */
    bool releasing;
    uint64_t map_version, epoch;
    struct lease lease; /* as last said */
    uint64_t nonce;     /* of the last renewal */
    bool change_open;
    enum member_reason change_result;
    struct member_change change; /* the last one */
};

struct ms_ballot { /* a value proposed, and who voted for it */
    uint64_t version, ballot;
    uint32_t voters;
    struct ms_map map;
};

struct ms_id {
    uint64_t boot;        /* 0: not given */
    uint64_t out_version; /* the version that left it out; 0: none */
    bool was_learner;     /* when it was left out */
    bool forced;          /* an operator asked for that */
    uint64_t granted;     /* how often */
};

struct ms_ops {
    void (*view)(struct sim *s, unsigned holder, const struct holder_out *o);
    void (*lease)(struct sim *s, unsigned holder, struct lease lease);
    void (*expelled)(struct sim *s, unsigned holder, bool ordered);
    void (*released)(struct sim *s, unsigned holder);
    /* something else at its node wants to be woken too: when, on its clock. Or NULL */
    uint64_t (*also_wake)(struct sim *s, unsigned holder);
};

struct ms {
    struct member_params params;
    struct member_map genesis;
    const struct ms_ops *ops;
    unsigned acceptors, holders;
    unsigned acceptor_node[MAP_ACCEPTORS_MAX], holder_node[MS_HOLDERS_MAX];
    struct ms_acceptor acc[MAP_ACCEPTORS_MAX];
    struct ms_holder hold[MS_HOLDERS_MAX];
    uint64_t next_boot;
    uint64_t chosen; /* newest version */
    struct ms_map maps[MS_VERSIONS_MAX];
    struct ms_ballot ballots[MS_BALLOTS_MAX];
    unsigned ballot_count;
    struct ms_id ids[MS_IDS_MAX];
    struct acceptor_outbox aout;
    struct holder_outbox hout;
    struct member_trace trace[256];
    unsigned mark_base; /* of the world's marks, where ours begin */
    bool persist_faults, crash_at_persist;
    bool leases_not_judged;                             /* histories are to tell */
    uint64_t sent[MAP_ACCEPTORS_MAX][MEMBER_MSG_COUNT]; /* between acceptors */
};

/* shards: 1 or 2 beside the proxies; shard names "a", "b". Acceptors and holders do not run yet. */
void ms_init(struct sim *s, struct ms *m, unsigned acceptors, unsigned holders, unsigned shards);
void ms_free(struct ms *m);

/* ---- member_nodes.c ---- */
void ms_acceptor_start(struct sim *s, struct ms *m, unsigned i); /* from its disk */
void ms_acceptor_stop(struct sim *s, struct ms *m, unsigned i);
/* As if it had been here before: its disk knows the map without nodes. */
void ms_acceptor_prepare(struct ms *m, unsigned i);
/* Its disk is lost, unless that of another is and it does not remember yet: a minority may forget.
 */
void ms_disk_lost(struct sim *s, struct ms *m, unsigned i);
void ms_holder_start(struct sim *s, struct ms *m,
                     unsigned i); /* a new process; does not join yet */
void ms_holder_stop(struct sim *s, struct ms *m, unsigned i);
void ms_join(struct sim *s, struct ms *m, unsigned i); /* with a new boot */
void ms_simple(struct sim *s, struct ms *m, unsigned i, enum holder_in_kind kind, uint64_t arg);
void ms_change(struct sim *s, struct ms *m, unsigned i, const struct member_change *c);
void ms_address(unsigned i, struct map_address *at);
/* A frame at a node; true if it is one of ours. */
bool ms_deliver(struct sim *s, struct ms *m, unsigned node, unsigned from, const uint8_t *frame,
                size_t len);
bool ms_wake(struct sim *s, struct ms *m, unsigned node);
/* When the holder wants to be woken, and to wake it: for worlds with more than that at the node. */
uint64_t ms_holder_deadline(const struct ms *m, unsigned i);
void ms_holder_timer(struct sim *s, struct ms *m, unsigned i);
/* Index, or -1. */
int ms_acceptor_at(const struct ms *m, unsigned node);
int ms_holder_at(const struct ms *m, unsigned node);

/* ---- member_check.c ---- */
void ms_saw_send(struct sim *s, struct ms *m, unsigned acceptor, const struct member_msg *msg);
void ms_saw_map(struct sim *s, struct ms *m, const struct member_map *map, const char *who,
                unsigned index);
void ms_saw_lease(struct sim *s, struct ms *m, unsigned holder);
/* Decodes the map of a version (0: the configuration's); false if it was not chosen. */
bool ms_chosen_map(const struct ms *m, uint64_t version, struct member_map *map);
/* The process with this boot is running. Index of the holder, or -1. */
int ms_runs(struct sim *s, const struct ms *m, uint64_t boot);
/* All that run (but those of `without`, bits by simulated node) follow the newest map, hold a
 * lease, and are members. */
bool ms_settled(struct sim *s, const struct ms *m, unsigned without);

#endif
