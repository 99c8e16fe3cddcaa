#ifndef BACKENDS_MEMBER_ROUTES_H
#define BACKENDS_MEMBER_ROUTES_H

#include "backends/member/settings.h"
#include "coherence/map.h"
#include "common/clustermap.h"
#include "common/err.h"

/* Between what was agreed (struct member_map), what a process' configuration says, and what routing
 * looks at (struct cluster_map). */

/* The map without nodes that the configuration describes: `acceptors`, and the shards' names and
 * slots if there are `shard` lines (whose nodes are not looked at). ERR_CONFIG: why. */
enum err genesis_make(const struct member_settings *set, const struct cluster_settings *shards,
                      struct member_map *out, struct errmsg *why) must_use;
/* Do two maps agree on the shards' names and slots? */
bool genesis_same_shards(const struct member_map *a, const struct member_map *b);
/* A hash of acceptors and shards. */
uint64_t genesis_hash(const struct member_map *m);

/* The members of the shards as a map for routing; nodes with another number of workers are left
 * out. NULL: there are no shards, or nobody was ever in one (workers 0 is not known then). workers:
 * 0 takes that of the first node. The caller holds it. */
struct cluster_map *routes_make(const struct member_map *m, uint32_t workers);

#endif
