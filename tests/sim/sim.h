#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/choose.h"

/* Deterministic simulator: one thread, simulated time, every choice through sim_choose. This part
 * knows time, clocks, nodes, links and faults; a *world* (struct sim_world) knows a protocol: what
 * nodes are, what clients do, what must hold.
 *
 * A node is a number 0..SIM_NODES_MAX-1 and stays it through restarts; incarnations are the world's
 * affair. A paused node takes no step; what arrives meanwhile waits, in order, and is delivered
 * when it goes on. A crashed node loses what arrives.
 *
 * To write a world: fill a struct sim_world, schedule the first events in setup(), send with
 * sim_send, ask for timers with sim_wake_at, and report violations with sim_fail. Add it to the
 * table in sim_main.c. */
#define SIM_NODES_MAX 12
#define SIM_FRAME_MAX 512
#define SIM_NEVER UINT64_MAX
#define SIM_MS UINT64_C(1000000)

struct sim;

struct sim_world {
    const char *name;
    size_t state_bytes;         /* sim->world points at so many zeroed bytes */
    const char *const *marks;   /* names of the coverage marks, NULL at the end */
    const char *const *mutants; /* names, indexed by number, [0] NULL; ends with NULL. Or NULL: this
                                   build has none */
    void (*mutant_set)(unsigned n);
    void (*setup)(struct sim *s);
    void (*deliver)(struct sim *s, unsigned node, unsigned from, const uint8_t *frame, size_t len);
    void (*wake)(struct sim *s, unsigned node); /* the time asked for with sim_wake_at came */
    void (*event)(struct sim *s, uint32_t kind, uint64_t a, uint64_t b); /* sim_at */
    bool (*may_crash)(struct sim *s, unsigned node);                     /* NULL: any */
    void (*crash)(struct sim *s, unsigned node);                         /* memory is lost now */
    void (*restart)(struct sim *s, unsigned node); /* a crashed node comes up, empty */
    /* Called after faults have been healed (or frozen) and clients stopped: true when everything
     * has settled. */
    bool (*settled)(struct sim *s);
    void (*heal)(struct sim *s); /* the safety phase is over: stop clients, restart who is needed */
    void (*judge)(struct sim *s); /* histories, final state; reports with sim_fail */
    void (*teardown)(struct sim *s);
    void (*bench)(void); /* prints what the core alone can do. Or NULL */
    /* Scripted runs, done before the seeds against each mutant; 0: all passed. Or NULL */
    int (*scenarios)(void);
};

/* How often a class of faults happens in this run, drawn at its start (0 absent, 1 rare, 2 heavy).
 */
struct sim_faults {
    uint8_t drop, duplicate, late_duplicate, delay, reorder, truncate; /* message */
    uint8_t cut, cut_one_way;                                          /* link */
    uint8_t crash, pause, slow;                                        /* node */
    uint8_t drift, suspend;                                            /* clock */
    uint8_t member; /* false suspicion, late views, ... */
};

struct sim_node {
    bool up, paused;
    uint64_t rate_ppm;            /* 1000000: true time */
    uint64_t base_true, base_own; /* own clock at true time t: base_own + (t - base_true) * rate */
    uint64_t wake_at;             /* own clock; SIM_NEVER: none */
    uint64_t wake_generation;
    uint64_t slow_ns;       /* extra delay of everything this node does */
    struct sim_event *held; /* arrived while paused */
    struct sim_event *held_tail;
};

struct sim {
    struct chooser choose;
    const struct sim_world *world_ops;
    void *world;
    uint64_t seed;
    uint64_t now; /* true time, ns */
    uint64_t steps, step_max;
    uint64_t end_at;     /* end of the safety phase */
    unsigned node_count; /* all, fault_nodes of which, the first ones, crash and pause */
    unsigned fault_nodes;
    /* clocks jump at these only, the first ones: a jump without time passing is no worse than a
     * slow holder of a lease, but breaks any bound where promises are kept. 0: fault_nodes */
    unsigned jump_nodes;
    struct sim_node nodes[SIM_NODES_MAX];
    bool cut[SIM_NODES_MAX][SIM_NODES_MAX];
    uint64_t last_arrival[SIM_NODES_MAX][SIM_NODES_MAX];
    struct sim_faults faults;
    uint64_t rho_ppm; /* bound on clock rate error */
    uint64_t
        drift_times; /* clocks are off by up to this many times rho: more than 1 must be noticed */
    bool healed;
    struct sim_event *heap[8192];
    size_t heap_count;
    struct sim_event *free_events;
    uint64_t sequence;
    uint64_t hash;       /* of everything that was delivered and decided */
    uint64_t marks[256]; /* counts, by the world's numbers */
    bool verbose;
    bool failed;
    char failure[512];
};

/* ---- for worlds ---- */
uint32_t sim_choose(struct sim *s, enum choose_site site, uint32_t n);
/* True with probability about num/den; false is the benign choice. */
bool sim_chance(struct sim *s, enum choose_site site, uint32_t num, uint32_t den);
/* True seldom or often, as the level of the fault class says (0: never, and no choice is made).
 * per: 1/per when rare, 8/per heavy. */
bool sim_fault(struct sim *s, enum choose_site site, uint8_t level, uint32_t per);
uint64_t sim_clock(const struct sim *s, unsigned node); /* its own monotonic clock, ns */
void sim_send(struct sim *s, unsigned from, unsigned to, const uint8_t *frame, size_t len);
/* A connection that loses nothing while both ends live: FIFO, waits while the receiver is paused.
 */
void sim_post(struct sim *s, unsigned from, unsigned to, const uint8_t *frame, size_t len);
void sim_wake_at(struct sim *s, unsigned node,
                 uint64_t own_ns); /* replaces the earlier one; SIM_NEVER: none */
void sim_at(struct sim *s, uint64_t delay_ns, uint32_t kind, uint64_t a, uint64_t b);
void sim_mark(struct sim *s, unsigned mark);
void sim_fail(struct sim *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* the first one counts */
void sim_note(struct sim *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* printed when verbose */
void sim_hash(struct sim *s, uint64_t v);
/* Faults by hand, for scripted scenarios. */
void sim_crash(struct sim *s, unsigned node);
void sim_restart(struct sim *s, unsigned node);
void sim_pause(struct sim *s, unsigned node);
void sim_resume(struct sim *s, unsigned node);

/* One whole run in pieces, by hand: sim_begin, then sim_advance as often as wanted, then sim_end.
 * No faults but those made with the calls above; the choices all come out 0, so a message takes 20
 * us. */
void sim_begin(struct sim *s);
void sim_advance(struct sim *s, uint64_t ns);
void sim_end(struct sim *s);

/* ---- for runners ---- */
struct sim *sim_new(const struct sim_world *w);
void sim_free(struct sim *s);
/* One whole run; the chooser has been initialised by the caller. Returns !s->failed. */
bool sim_run(struct sim *s);

#endif
