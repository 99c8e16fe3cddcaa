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
 * An *endpoint* is a node worker: worker w of node n (an index of the cluster map) has the number
 * n * workers + w. A *partition* is what one worker of every replica of a shard serves: partition
 * s * workers + w. Both are numbered alike by every proxy of a cluster, so a SCAN cursor may name a
 * partition. Slots are assigned to partitions by the endpoint of the partition's first replica; who
 * is asked of several replicas is decided per request (lane.h). */
struct route {
    struct cluster_map *map; /* shares */
    uint32_t endpoints, partitions;
    uint32_t replicas;            /* of the shard that has fewest */
    bool many;                    /* a shard has several replicas */
    uint16_t *partition_endpoint; /* of its first replica */
    uint16_t *endpoint_partition;
    uint16_t endpoint[SLOT_COUNT];
};

#define ROUTE_ENDPOINTS_MAX 4096u

/* Adds the endpoints of the map to the pool, which has none yet. Takes a hold of the map.
 * ERR_CONFIG: more than ROUTE_ENDPOINTS_MAX node workers. Host names are looked up, which may take
 * a while; one that is not known stays without address until resolve_start's thread finds it. */
enum err route_init(struct route *r, struct cluster_map *map, struct shard_pool *pool,
                    struct errmsg *why) must_use;
void route_deinit(struct route *r);

static inline unsigned route_slot(const struct route *r, unsigned slot)
{
    return r->endpoint[slot];
}

static inline unsigned route_partition(const struct route *r, unsigned partition)
{
    return r->partition_endpoint[partition];
}

static inline unsigned route_partition_of(const struct route *r, unsigned endpoint)
{
    return r->endpoint_partition[endpoint];
}

static inline unsigned route_replicas(const struct route *r, unsigned partition)
{
    return r->map->shards[partition / r->map->workers].node_count;
}

/* The endpoint of one replica (0 ..) of a partition. */
static inline unsigned route_replica(const struct route *r, unsigned partition, unsigned replica)
{
    return r->partition_endpoint[partition] + replica * r->map->workers;
}

/* Understands "MOVED slot host:port" if it names a node worker of the map. */
bool route_moved(const struct route *r, struct span words, unsigned *slot, unsigned *endpoint);

/* Writes the numeric address of a host name (or of a numeric address) to out. May take seconds. */
#define ROUTE_ADDRESS_MAX 64
bool route_resolve(const char *host, char out[ROUTE_ADDRESS_MAX]);

#endif
