#ifndef BACKENDS_SERVER_STATS_H
#define BACKENDS_SERVER_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/cmd/cmd.h"
#include "common/span.h"

/* Statistics of one worker, written by its thread only; INFO, LATENCY and metrics read sums made by
 * server_round. */

/* Log-linear histogram of durations: 1 us .. 1 s and above; each power of two has 8 steps, so a
 * percentile is at most 12.5 % too high. */
#define HIST_SUB_BITS 3
#define HIST_BUCKETS (32 << HIST_SUB_BITS)

struct hist {
    uint64_t total;
    uint32_t n[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t us, uint32_t times);
void hist_merge(struct hist *into, const struct hist *from);
/* The largest duration of the bucket that holds the q-th (0..1) value, us; 0 if empty. */
uint64_t hist_percentile(const struct hist *h, double q);
/* How many values are at most us. */
uint64_t hist_count_upto(const struct hist *h, uint64_t us);

struct cmd_counters {
    const struct cmd *cmd;
    uint64_t calls, rejected, failed;
    uint64_t nanos;
    struct hist *hist; /* made at the first call, lives as long as the worker */
};

/* Error replies by their first word (INFO errorstats). At most this many different words are kept.
 */
#define ERRORSTAT_MAX 128
#define ERRORSTAT_WORD 32

#endif
