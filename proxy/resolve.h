#ifndef PROXY_RESOLVE_H
#define PROXY_RESOLVE_H

#include "backends/server/server.h"
#include "common/clustermap.h"

/* Keeps the addresses of nodes that are configured by name up to date: a thread of its own looks
 * them up every few seconds and tells every worker of a change, so that a node that comes back
 * under another address is found. No thread is started if all hosts are numeric and stay so. */
struct resolver;

/* The first look-up is some seconds away: by then every worker must run. Shares map. changes:
 * resolver_follow will be called. NULL: nothing to do. */
struct resolver *resolver_start(struct server *sv, struct cluster_map *map, bool changes);
/* The nodes are now those of this map, which is shared; new names are looked up at once. */
void resolver_follow(struct resolver *r, struct cluster_map *map);
/* Ends the thread (may wait for a look-up). NULL allowed. */
void resolver_stop(struct resolver *r);

#endif
