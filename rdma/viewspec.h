#ifndef RDMA_VIEWSPEC_H
#define RDMA_VIEWSPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "coherence/view.h"
#include "common/span.h"
#include "rdma/transport.h"

/* A view as it is said in a command (`membership injected`), with where its members are:
 *
 *   HALCYON VIEW epoch SELF id MEMBERS id@host:port ... [LEARNERS id@host:port ...] [FOUNDER]
 */
#define VIEW_SPEC_USAGE                                                                            \
    "ERR HALCYON VIEW takes: epoch SELF id MEMBERS id@host:port ... [LEARNERS id@host:port ...] "  \
    "[FOUNDER]"
#define VIEW_SPEC_HOST_MAX 64 /* with the terminator */

struct view_spec {
    struct view view;
    uint32_t self;
    bool founder;
    uint32_t members[VIEW_NODES_MAX], learners[VIEW_NODES_MAX];
    unsigned member_count, learner_count;
    struct transport_peer peers[2 * VIEW_NODES_MAX]; /* self too; hosts point into hosts */
    char hosts[2 * VIEW_NODES_MAX][VIEW_SPEC_HOST_MAX];
    unsigned peer_count;
};

/* argv: the whole command. False: it is not of that form (*p is unspecified). */
bool view_spec_parse(const struct span *argv, int argc, struct view_spec *p);

#endif
