#ifndef PROXY_ROUTE_H
#define PROXY_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/clustermap.h"
#include "common/err.h"
#include "common/slot.h"
#include "common/span.h"

struct shard_pool;

/* One worker's idea of where requests go.
 *
 * A *partition* is what one worker of every replica of a shard serves: partition s * workers + w,
 * numbered alike by every proxy of a cluster, so a SCAN cursor may name one. Slots are assigned to
 * partitions once and for all; who serves a partition may change while requests are under way.
 *
 * An *endpoint* is a node worker's address, a number of the pool. It stays when its node leaves the
 * map, without connections, and is used again when a node comes back there.
 *
 * A replica has a *place* in its partition, 0 .. ROUTE_PLACES - 1, which it keeps as long as it is
 * there; a place without replica is a hole. Places are this worker's own; what must be the same at
 * every proxy goes by the order of the replicas in the map (`order`) or by the incarnation
 * (route_tag). */
#define ROUTE_PLACES CLUSTER_REPLICAS_MAX
#define ROUTE_HOLE UINT16_MAX

struct route_partition {
    uint8_t places;                    /* those above are holes */
    uint8_t live;                      /* replicas */
    uint8_t order[ROUTE_PLACES];       /* their places, as the map has them */
    uint16_t endpoint[ROUTE_PLACES];   /* by place; ROUTE_HOLE */
    uint32_t id[ROUTE_PLACES];         /* of the incarnation; 0: not known */
    uint64_t refused_ns[ROUTE_PLACES]; /* lane.c */
};

struct route {
    struct cluster_map *map; /* shares */
    uint32_t workers;        /* of every node */
    uint32_t partitions;
    bool many; /* a shard has several replicas, or they may change: requests go by lanes */
    struct route_partition *partition;
    uint16_t slot_partition[SLOT_COUNT];
};

#define ROUTE_ENDPOINTS_MAX 4096u

/* Adds the endpoints of the map to the pool, which has none yet. Takes a hold of the map. changes:
 * route_follow will be called. ERR_CONFIG: more than ROUTE_ENDPOINTS_MAX node workers. Host names
 * are looked up, which may take a while; one that is not known stays without address until
 * resolve_start's thread finds it. */
enum err route_init(struct route *r, struct cluster_map *map, bool changes, struct shard_pool *pool,
                    struct errmsg *why) must_use;
void route_deinit(struct route *r);

/* The nodes of the shards have changed: takes a hold of the new map instead of the old one. Shards,
 * slots and workers must be those of the first map. What left is cut off: its requests end as the
 * pool says (shard_endpoint_close), so done functions run inside this call, when the new replicas
 * are in place. Nothing is looked up: a host name's endpoint waits for the resolver. left(arg,
 * partition, place) is told of each replica that is gone, before its requests end. */
void route_follow(struct route *r, struct cluster_map *map, struct shard_pool *pool,
                  void (*left)(void *arg, unsigned partition, unsigned place), void *arg);

static inline unsigned route_slot(const struct route *r, unsigned slot)
{
    return r->slot_partition[slot];
}

/* The endpoint at a place of a partition, or ROUTE_HOLE. */
static inline unsigned route_replica(const struct route *r, unsigned partition, unsigned place)
{
    return r->partition[partition].endpoint[place];
}

/* What names a replica to other proxies, and later: CURSOR_REPLICA_BITS of its incarnation. */
#define ROUTE_TAG_BITS 12
unsigned route_tag(const struct route *r, unsigned partition, unsigned place);
/* The place of the replica with this tag, or -1. */
int route_tagged(const struct route *r, unsigned partition, unsigned tag);

/* Understands "MOVED slot host:port" if it names a node worker of the map. */
bool route_moved(const struct route *r, struct span words, unsigned *slot, unsigned *partition,
                 unsigned *endpoint);

/* Writes the numeric address of a host name (or of a numeric address) to out. May take seconds. */
#define ROUTE_ADDRESS_MAX 64
bool route_resolve(const char *host, char out[ROUTE_ADDRESS_MAX]);
bool route_is_numeric(const char *host);

#endif
