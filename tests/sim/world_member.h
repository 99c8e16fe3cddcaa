#ifndef TESTS_SIM_WORLD_MEMBER_H
#define TESTS_SIM_WORLD_MEMBER_H

#include "tests/sim/member_sim.h"

/* The membership world: 1, 3 or 5 acceptors and a few nodes and proxies that join, catch up, stop
 * as planned, crash and come back under their old address, while operators send some of them away
 * and peers blame each other. All nodes crash and pause; acceptors keep their disks.
 *
 * Simulated nodes: the holders first, then the acceptors. */
struct mw {
    struct ms ms;
    bool scripted; /* a scenario does everything */
    bool operators, blame, stops, partitions, single;
    unsigned gone; /* nodes that stay down after healing */
    uint64_t healed_at;
};

static inline struct mw *mw_of(struct sim *s)
{
    return s->world;
}

enum mw_event {
    MW_EV_JOIN,
    MW_EV_CAUGHT_UP,
    MW_EV_STOP,
    MW_EV_STOPPED,
    MW_EV_START,
    MW_EV_OPERATOR,
    MW_EV_BLAME,
    MW_EV_PARTITION,
    MW_EV_UNITE,
    MW_EV_DISK,
    MW_EV_HELP,
    MW_EV_RESTART,
};

extern const struct sim_world world_member;
/* scenario_member.c: prints what failed, gives how many did. */
int scenarios_member(void);

#endif
