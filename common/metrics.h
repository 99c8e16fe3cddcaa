#ifndef COMMON_METRICS_H
#define COMMON_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

/* Counters, gauges and latency histograms. Each worker has instances of its own and is their only
 * writer: raising one is a plain load and store. A registry knows all instances by name and sums
 * those of one name and label set when somebody reads, from any thread. */

struct counter {
    _Atomic uint64_t v;
};

struct gauge {
    _Atomic int64_t v;
};

/* relaxed: one writer; readers want a recent value, in no order with anything else */
static inline void counter_add(struct counter *c, uint64_t n)
{
    atomic_store_explicit(&c->v, atomic_load_explicit(&c->v, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint64_t counter_get(const struct counter *c)
{
    return atomic_load_explicit(&c->v, memory_order_relaxed);
}

static inline void gauge_set(struct gauge *g, int64_t v)
{
    atomic_store_explicit(&g->v, v, memory_order_relaxed);
}

static inline int64_t gauge_get(const struct gauge *g)
{
    return atomic_load_explicit(&g->v, memory_order_relaxed);
}

/* ---- latency histogram: log-linear, 16 steps per factor of two (a value is known to 6 %), 0 ns to
 * 18 minutes ---- */

#define METRIC_HIST_SUB_BITS 4
#define METRIC_HIST_SUB (1u << METRIC_HIST_SUB_BITS)
#define METRIC_HIST_OCTAVES 37
#define METRIC_HIST_BUCKETS ((size_t)METRIC_HIST_OCTAVES * METRIC_HIST_SUB)

struct metric_hist { /* one writer; zero bytes are an empty one */
    _Atomic uint64_t count, sum_ns, max_ns;
    _Atomic uint64_t buckets[METRIC_HIST_BUCKETS];
};

void metric_hist_record(struct metric_hist *h, uint64_t ns);
void metric_hist_reset(struct metric_hist *h);
/* Adds what src holds now; dst belongs to the caller. */
void metric_hist_merge(struct metric_hist *dst, const struct metric_hist *src);
/* The value below or at which so many percent (0..100) of the records lie, in ns: the middle of its
 * bucket; 0 when empty. */
uint64_t metric_hist_percentile(const struct metric_hist *h, double percent);
/* How many records are at most this many ns (a bucket counts when its largest value is). */
uint64_t metric_hist_count_upto(const struct metric_hist *h, uint64_t ns);

/* ---- registry ---- */
struct metrics;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m); /* the instances are their owners' */

/* Registers an instance. name: Prometheus style, "halcyon_commands_total"; labels: NULL or
 * "cmd=\"get\",worker=\"0\"" as they appear between the braces; help: one sentence; all three are
 * copied, except help, which must be static. The instance must live until metrics_drop. All
 * instances of a name must be of one kind. Any thread. */
void metrics_counter(struct metrics *m, const char *name, const char *labels, const char *help,
                     struct counter *c);
void metrics_gauge(struct metrics *m, const char *name, const char *labels, const char *help,
                   struct gauge *g);
void metrics_hist(struct metrics *m, const char *name, const char *labels, const char *help,
                  struct metric_hist *h);
/* A gauge that is computed when read; fn runs in the reader's thread with the registry locked. */
void metrics_gauge_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                      double (*fn)(void *arg), void *arg);
/* Forgets an instance (or the gauge function with this arg). */
void metrics_drop(struct metrics *m, const void *instance);

/* Sum over the instances of a name; labels NULL: whatever their labels. 0 when there is none. */
uint64_t metrics_sum(struct metrics *m, const char *name, const char *labels);
/* adds to out */
void metrics_hist_sum(struct metrics *m, const char *name, const char *labels,
                      struct metric_hist *out);

/* Everything in the Prometheus text format, sorted by name; histograms in seconds with one bucket
 * per factor of four from 1 us. */
void metrics_prometheus(struct metrics *m, struct buf *out);

#endif
