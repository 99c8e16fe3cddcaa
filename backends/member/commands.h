#ifndef BACKENDS_MEMBER_COMMANDS_H
#define BACKENDS_MEMBER_COMMANDS_H

#include "backends/member/membership.h"
#include "backends/server/server.h"

/* What operators say to any node or proxy of the cluster:
 *
 *   HALCYON MEMBERS                                   who is there, as text
 *   HALCYON JOIN host:port shard                      a spare becomes a node of the shard
 *   HALCYON LEAVE id|host:port [FORCE]                it is left out and does not come back by
 * itself HALCYON REPLACE id|host:port WITH id|host:port    left out as soon as the other has the
 * data
 *
 * FORCE: even if it is the last one that has the shard's data. */

/* Is it one of them? argv[0] is HALCYON. */
bool membership_is_command(const struct span *argv, int argc);
/* The caller has judged that the session may do this. m NULL: there is no membership service. True:
 * the reply comes later (later_reply with this token). False: it is in out. */
bool membership_command(struct membership *m, struct session *s, const struct admitted *a,
                        const struct span *argv, int argc, struct resp_out *out, uint64_t token);

#endif
