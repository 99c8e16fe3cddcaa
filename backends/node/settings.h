#ifndef BACKENDS_NODE_SETTINGS_H
#define BACKENDS_NODE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/member/settings.h"
#include "backends/server/settings.h"
#include "common/clustermap.h"
#include "rdma/settings.h"

/* All options of halcyon-node: what it shares with the proxy, the cluster's lines, and its own
 * (names as in redis.conf). */
struct node_settings {
    struct server_settings server;
    struct cluster_settings cluster;
    struct member_settings member;
    char *join_shard;
    bool spare;
    char *acceptor, *acceptor_state_file; /* of an acceptor in this process; "": none */
    bool witness;                         /* it does nothing else */
    char *announce_ip;
    /* replicas of a shard */
    char *hash_seed;
    int64_t peer_port_offset, incarnation_id;
    uint64_t transfer_rate; /* bytes per second */
    int maxmemory_policy;   /* enum evict_policy */
    struct peer_settings peer;
    int64_t lfu_log_factor, lfu_decay_time;
    int64_t hz, expire_effort;
    /* forms of collections (backends/cmd/config.h) */
    int64_t list_max_listpack_size, list_compress_depth;
    int64_t hash_max_listpack_entries, hash_max_listpack_value;
    int64_t set_max_intset_entries;
    int64_t zset_max_listpack_entries, zset_max_listpack_value;
    uint64_t hll_sparse_max_bytes, stream_node_max_bytes;
    int64_t stream_node_max_entries;
    /* what tools ask for and what is always so here */
    char *save;
    bool appendonly;
};

extern const struct cfg_option node_options[];
extern const size_t node_option_count;

#endif
