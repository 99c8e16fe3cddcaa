#ifndef COMMON_CLUSTERMAP_H
#define COMMON_CLUSTERMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/cfg.h"
#include "common/err.h"
#include "common/slot.h"
#include "common/span.h"

/* The cluster map: which shard serves a slot, which nodes are its replicas, which worker of a node.
 *
 * An immutable value with a version: whoever learns of a newer one takes that and drops the old.
 * Its source is the configuration, the same lines in the files of proxies and nodes:
 *
 *     node-workers 2
 *     shard NAME SLOTS [HOST:PORT ...]      SLOTS: auto, or 0-5460 or 0-99,200,300-399
 *
 * The shards that say `auto` share the slots nobody names evenly and in order. HOST:PORT is a
 * replica's worker 0 (with a membership service: the lines name none, or they are not looked at);
 * worker i listens on PORT+i and serves the slots with slot % node-workers ==
 * i. Every slot must belong to exactly one shard. */

#define CLUSTER_SHARDS_MAX 1024
#define CLUSTER_REPLICAS_MAX 16
#define CLUSTER_WORKERS_MAX 256
#define CLUSTER_HOST_MAX 64 /* with the terminator */

struct cluster_settings {
    struct cfg_strings shard;
    int64_t node_workers;
    /* the caller's: shards may name no nodes, who serves them is known otherwise */
    bool nodes_optional;
};

extern const struct cfg_option cluster_options[]; /* `shard`, `node-workers` */
extern const size_t cluster_option_count;

struct cluster_node {
    char host[CLUSTER_HOST_MAX]; /* as written; IPv6 without its brackets */
    uint16_t port;               /* of worker 0 */
    uint16_t shard;              /* index */
    uint16_t replica;            /* index in the shard */
    uint32_t id;                 /* incarnation, from the membership service; 0: not known */
};

struct cluster_shard {
    char name[CLUSTER_HOST_MAX];
    uint32_t first_node, node_count; /* in nodes[] */
    uint32_t slot_count;
};

struct cluster_map {
    uint64_t version;
    uint32_t workers; /* of every node */
    uint32_t shard_count, node_count;
    struct cluster_shard *shards;
    /* shard by shard: replica r of shard s is nodes[shards[s].first_node + r] */
    struct cluster_node *nodes;
    uint16_t slot_shard[SLOT_COUNT];
    _Atomic uint32_t holders; /* private */
};

/* Builds a map. Without `shard` lines *out is NULL: no cluster, one process serves all slots.
 * Errors (ERR_CONFIG) say which line is wrong. The caller holds the map and gives it up with
 * cluster_map_drop. */
enum err cluster_map_new(const struct cluster_settings *set, uint64_t version,
                         struct cluster_map **out, struct errmsg *why) must_use;
/* Shares: any thread may hold it; the last drop frees it. NULL allowed. */
struct cluster_map *cluster_map_hold(struct cluster_map *m);
void cluster_map_drop(struct cluster_map *m);

static inline unsigned cluster_slot_worker(const struct cluster_map *m, unsigned slot)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): every map has at least one */
    return slot % m->workers;
}

static inline const struct cluster_node *cluster_node(const struct cluster_map *m, unsigned shard,
                                                      unsigned replica)
{
    return &m->nodes[m->shards[shard].first_node + replica];
}

/* The port of the worker of this node that serves the slot. */
static inline uint16_t cluster_slot_port(const struct cluster_map *m,
                                         const struct cluster_node *node, unsigned slot)
{
    return (uint16_t)(node->port + cluster_slot_worker(m, slot));
}

/* Index in nodes[] of host:port (worker 0's), or -1. */
int cluster_find_node(const struct cluster_map *m, struct span host, uint16_t port);

/* Where a process is that listens on `port` of these `bind` addresses: announce if it is not empty,
 * else the first address that is not "any", else 127.0.0.1. Sets host and port. */
void cluster_own_address(const char *announce, const struct cfg_strings *bind, int64_t port,
                         struct cluster_node *out);

/* Splits "host:port" or "[v6]:port". */
enum err cluster_parse_endpoint(struct span text, char host[CLUSTER_HOST_MAX],
                                uint16_t *port) must_use;
/* Appends "host:port", with brackets around IPv6. */
void cluster_add_endpoint(struct buf *out, const char *host, uint16_t port);
/* Appends a shard's slots as "0-5460" or "0-99,200". */
void cluster_add_slots(struct buf *out, const struct cluster_map *m, unsigned shard);

#endif
