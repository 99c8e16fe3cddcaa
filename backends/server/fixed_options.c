#include "backends/server/fixed_options.h"

const struct fixed_option fixed_options[] = {
    {"activedefrag", "no"},
    {"activerehashing", "yes"},
    {"appendfilename", "appendonly.aof"},
    {"appendfsync", "everysec"},
    {"appendonly", "no"},
    {"cluster-enabled", "no"},
    {"cluster-require-full-coverage", "yes"},
    {"dbfilename", "dump.rdb"},
    {"hz", "10"},
    {"io-threads", "1"},
    {"lazyfree-lazy-eviction", "no"},
    {"lazyfree-lazy-expire", "no"},
    {"lazyfree-lazy-server-del", "no"},
    {"lazyfree-lazy-user-del", "no"},
    {"lazyfree-lazy-user-flush", "no"},
    {"lfu-decay-time", "1"},
    {"lfu-log-factor", "10"},
    {"maxmemory-clients", "0"},
    {"maxmemory-policy", "noeviction"},
    {"maxmemory-samples", "5"},
    {"min-replicas-max-lag", "10"},
    {"min-replicas-to-write", "0"},
    {"notify-keyspace-events", ""},
    {"rdbcompression", "yes"},
    {"replica-read-only", "yes"},
    {"replica-serve-stale-data", "yes"},
    {"replicaof", ""},
    {"save", ""},
    {"slave-read-only", "yes"},
    {"slaveof", ""},
    {"tls-port", "0"},
    {"tracking-table-max-keys", "1000000"},
};
const size_t fixed_option_count = sizeof fixed_options / sizeof fixed_options[0];

const struct fixed_option *fixed_option_find(struct span name)
{
    for (size_t i = 0; i < fixed_option_count; i++) {
        if (span_is(name, fixed_options[i].name)) {
            return &fixed_options[i];
        }
    }
    return NULL;
}
