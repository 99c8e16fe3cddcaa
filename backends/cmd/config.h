#ifndef BACKENDS_CMD_CONFIG_H
#define BACKENDS_CMD_CONFIG_H

#include <stdint.h>

#include "backends/store/store.h"

/* Thresholds and limits that change what handlers do, named as in redis.conf. A plain struct: the
 * worker owns one and rewrites it when CONFIG SET changes an option, between commands. */
struct cmd_config {
    uint64_t proto_max_bulk_len; /* bytes: the longest string a command may build */
    enum evict_policy maxmemory_policy;
    int64_t list_max_listpack_size; /* > 0: elements; -1..-5: 4, 8, 16, 32, 64 KiB */
    uint32_t list_compress_depth;   /* accepted and shown, nothing is compressed */
    uint64_t hash_max_listpack_entries, hash_max_listpack_value;
    uint64_t set_max_intset_entries;
    uint64_t set_max_listpack_entries,
        set_max_listpack_value; /* 0 in Redis 7.0's world: sets have no listpack form */
    uint64_t zset_max_listpack_entries, zset_max_listpack_value;
    uint64_t hll_sparse_max_bytes;
    uint64_t stream_node_max_bytes, stream_node_max_entries;
};

/* The defaults of Redis 7.0. */
#define CMD_CONFIG_DEFAULTS                                                                        \
    ((struct cmd_config){.proto_max_bulk_len = 512u * 1024 * 1024,                                 \
                         .maxmemory_policy = EVICT_NOEVICTION,                                     \
                         .list_max_listpack_size = -2,                                             \
                         .hash_max_listpack_entries = 512,                                         \
                         .hash_max_listpack_value = 64,                                            \
                         .set_max_intset_entries = 512,                                            \
                         .zset_max_listpack_entries = 128,                                         \
                         .zset_max_listpack_value = 64,                                            \
                         .hll_sparse_max_bytes = 3000,                                             \
                         .stream_node_max_bytes = 4096,                                            \
                         .stream_node_max_entries = 100})

#endif
