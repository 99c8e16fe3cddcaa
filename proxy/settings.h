#ifndef PROXY_SETTINGS_H
#define PROXY_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/member/settings.h"
#include "backends/server/settings.h"
#include "common/cfg.h"
#include "common/clustermap.h"
#include "rdma/settings.h"

/* Everything halcyon-proxy can be told. */
struct proxy_settings {
    struct server_settings server;
    struct cluster_settings map; /* shard, node-workers */
    struct member_settings member;
    int64_t peer_port;          /* 0: port + 10000 */
    struct cfg_strings proxies; /* host:port of every proxy */
    char *announce_ip;
    int64_t announce_port;
    char *node_user, *node_password;
    bool hot_tracking;
    int64_t hot_reads_min;
    struct cfg_strings hot_pin, hot_deny, hot_prefix;
    int64_t backend_timeout_ms, connect_timeout_ms, retry_max_ms;
    uint64_t link_bytes_max;
    /* hot keys */
    struct peer_settings peer;
    bool hot_cache;
    int64_t hot_keys_max, hot_cool_ms;
    uint64_t hot_memory_max, hot_value_max;
};

extern const struct cfg_option proxy_options[];
extern const size_t proxy_option_count;

#endif
