#ifndef TESTS_SIM_WORLD_CLUSTER_H
#define TESTS_SIM_WORLD_CLUSTER_H

#include "tests/sim/member_sim.h"
#include "tests/sim/world_hermes.h"

/* The membership service and a replicated shard together: the Hermes world, with real acceptors and
 * a holder in each replica in the place of its perfect service. Whether views and leases are worth
 * something is not judged by looking at them (world_member does), but by what clients see: the
 * histories have to be linearizable.
 *
 * Simulated nodes: replicas, the first acceptor, all clients, the other acceptors; where the Hermes
 * world looks for its service it finds an acceptor. */
struct cw {
    struct hw hw; /* first: hw_of() */
    struct ms ms;
    bool stops;
};

static inline struct cw *cw_of(struct sim *s)
{
    return s->world;
}

extern const struct sim_world world_cluster;

#endif
