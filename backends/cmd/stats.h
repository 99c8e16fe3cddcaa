#ifndef BACKENDS_CMD_STATS_H
#define BACKENDS_CMD_STATS_H

#include <stdint.h>

/* Counters of one worker that handlers raise; INFO stats shows the sum over the workers. Only grow,
 * except by CONFIG RESETSTAT. Effects (cmd_ctx.is_effect) count nothing. */
struct cmd_stats {
    uint64_t keyspace_hits;
    uint64_t keyspace_misses;
    uint64_t
        expired_keys; /* removed because their time had come: on access or by the active cycle */
    uint64_t evicted_keys; /* removed because of maxmemory; raised by the caller of
                              store_evict_candidate */
    uint64_t lazyfreed_objects;
};

#endif
