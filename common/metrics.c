/* The registry of metrics, and their text form. */
#include "common/metrics.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"

/* ---- histogram ---- */

/* Values below 16 have a bucket each; then 16 buckets per octave. */
static size_t bucket_of(uint64_t ns)
{
    if (ns < METRIC_HIST_SUB) {
        return (size_t)ns;
    }
    unsigned octave = 63u - (unsigned)__builtin_clzll(ns) - METRIC_HIST_SUB_BITS;
    size_t i =
        (size_t)(octave + 1) * METRIC_HIST_SUB + (size_t)((ns >> octave) & (METRIC_HIST_SUB - 1));
    return i < METRIC_HIST_BUCKETS ? i : METRIC_HIST_BUCKETS - 1;
}

static uint64_t bucket_low(size_t i)
{
    if (i < METRIC_HIST_SUB) {
        return i;
    }
    unsigned octave = (unsigned)(i / METRIC_HIST_SUB) - 1;
    return (uint64_t)(METRIC_HIST_SUB + i % METRIC_HIST_SUB) << octave;
}

static uint64_t bucket_high(size_t i) /* the largest value in it */
{
    return bucket_low(i + 1) - 1;
}

static inline void raise(_Atomic uint64_t *v, uint64_t n)
{
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint64_t look(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

void metric_hist_record(struct metric_hist *h, uint64_t ns)
{
    raise(&h->buckets[bucket_of(ns)], 1);
    raise(&h->sum_ns, ns);
    raise(&h->count, 1);
    if (ns > look(&h->max_ns)) {
        atomic_store_explicit(&h->max_ns, ns, memory_order_relaxed);
    }
}

void metric_hist_reset(struct metric_hist *h)
{
    atomic_store_explicit(&h->count, 0, memory_order_relaxed);
    atomic_store_explicit(&h->sum_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&h->max_ns, 0, memory_order_relaxed);
    for (size_t i = 0; i < METRIC_HIST_BUCKETS; i++) {
        atomic_store_explicit(&h->buckets[i], 0, memory_order_relaxed);
    }
}

void metric_hist_merge(struct metric_hist *dst, const struct metric_hist *src)
{
    raise(&dst->count, look(&src->count));
    raise(&dst->sum_ns, look(&src->sum_ns));
    if (look(&src->max_ns) > look(&dst->max_ns)) {
        atomic_store_explicit(&dst->max_ns, look(&src->max_ns), memory_order_relaxed);
    }
    for (size_t i = 0; i < METRIC_HIST_BUCKETS; i++) {
        raise(&dst->buckets[i], look(&src->buckets[i]));
    }
}

uint64_t metric_hist_percentile(const struct metric_hist *h, double percent)
{
    uint64_t total = 0;
    for (size_t i = 0; i < METRIC_HIST_BUCKETS; i++) {
        total += look(&h->buckets[i]);
    }
    if (total == 0) {
        return 0;
    }
    uint64_t rank = (uint64_t)(percent / 100.0 * (double)total + 0.5);
    rank = rank == 0 ? 1 : rank > total ? total : rank;
    uint64_t seen = 0;
    size_t i = 0;
    for (; i < METRIC_HIST_BUCKETS - 1; i++) {
        seen += look(&h->buckets[i]);
        if (seen >= rank) {
            break;
        }
    }
    uint64_t middle = bucket_low(i) + (bucket_high(i) - bucket_low(i)) / 2;
    uint64_t max = look(&h->max_ns);
    return middle > max && max != 0 ? max : middle;
}

uint64_t metric_hist_count_upto(const struct metric_hist *h, uint64_t ns)
{
    uint64_t n = 0;
    for (size_t i = 0; i < METRIC_HIST_BUCKETS && bucket_high(i) <= ns; i++) {
        n += look(&h->buckets[i]);
    }
    return n;
}

/* ---- registry ---- */

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_GAUGE_FN, KIND_HIST };

struct metric {
    char *name, *labels; /* labels: "" if none */
    const char *help;
    enum kind kind;
    const void *instance;
    double (*fn)(void *arg);
    void *arg;
};

struct metrics {
    pthread_mutex_t lock; /* guards the list; the instances are atomic */
    struct metric *list;
    size_t n, cap;
    bool sorted;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = mem_zalloc(sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

static void forget(struct metric *x)
{
    mem_free(x->name);
    mem_free(x->labels);
}

void metrics_free(struct metrics *m)
{
    if (m == NULL) {
        return;
    }
    for (size_t i = 0; i < m->n; i++) {
        forget(&m->list[i]);
    }
    mem_free(m->list);
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
}

static void add(struct metrics *m, struct metric x, const char *name, const char *labels)
{
    x.name = mem_strdup(name);
    x.labels = mem_strdup(labels != NULL ? labels : "");
    pthread_mutex_lock(&m->lock);
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 64 : m->cap * 2;
        m->list = mem_realloc(m->list, m->cap * sizeof *m->list);
    }
    m->list[m->n++] = x;
    m->sorted = false;
    pthread_mutex_unlock(&m->lock);
}

void metrics_counter(struct metrics *m, const char *name, const char *labels, const char *help,
                     struct counter *c)
{
    add(m, (struct metric){.kind = KIND_COUNTER, .help = help, .instance = c}, name, labels);
}

void metrics_gauge(struct metrics *m, const char *name, const char *labels, const char *help,
                   struct gauge *g)
{
    add(m, (struct metric){.kind = KIND_GAUGE, .help = help, .instance = g}, name, labels);
}

void metrics_hist(struct metrics *m, const char *name, const char *labels, const char *help,
                  struct metric_hist *h)
{
    add(m, (struct metric){.kind = KIND_HIST, .help = help, .instance = h}, name, labels);
}

void metrics_gauge_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                      double (*fn)(void *arg), void *arg)
{
    add(m,
        (struct metric){.kind = KIND_GAUGE_FN, .help = help, .instance = arg, .fn = fn, .arg = arg},
        name, labels);
}

void metrics_drop(struct metrics *m, const void *instance)
{
    pthread_mutex_lock(&m->lock);
    size_t kept = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (m->list[i].instance == instance) {
            forget(&m->list[i]);
        } else {
            m->list[kept++] = m->list[i];
        }
    }
    m->n = kept;
    pthread_mutex_unlock(&m->lock);
}

static bool is_named(const struct metric *x, const char *name, const char *labels)
{
    return strcmp(x->name, name) == 0 && (labels == NULL || strcmp(x->labels, labels) == 0);
}

static double value_of(const struct metric *x)
{
    switch (x->kind) {
    case KIND_COUNTER:
        return (double)counter_get(x->instance);
    case KIND_GAUGE:
        return (double)gauge_get(x->instance);
    case KIND_GAUGE_FN:
        return x->fn(x->arg);
    case KIND_HIST:
        return (double)look(&((const struct metric_hist *)x->instance)->count);
    }
    unreachable();
}

uint64_t metrics_sum(struct metrics *m, const char *name, const char *labels)
{
    uint64_t whole = 0;
    double rest = 0;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++) {
        const struct metric *x = &m->list[i];
        if (!is_named(x, name, labels)) {
            continue;
        }
        if (x->kind == KIND_COUNTER) {
            whole += counter_get(x->instance);
        } else {
            rest += value_of(x);
        }
    }
    pthread_mutex_unlock(&m->lock);
    return whole + (rest > 0 ? (uint64_t)rest : 0);
}

void metrics_hist_sum(struct metrics *m, const char *name, const char *labels,
                      struct metric_hist *out)
{
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++) {
        if (m->list[i].kind == KIND_HIST && is_named(&m->list[i], name, labels)) {
            metric_hist_merge(out, m->list[i].instance);
        }
    }
    pthread_mutex_unlock(&m->lock);
}

/* ---- text ---- */

static int by_name(const void *a, const void *b)
{
    const struct metric *x = a;
    const struct metric *y = b;
    int c = strcmp(x->name, y->name);
    return c != 0 ? c : strcmp(x->labels, y->labels);
}

static void print_hist(struct buf *out, const struct metric *x, const struct metric_hist *sum)
{
    const char *comma = x->labels[0] != '\0' ? "," : "";
    for (uint64_t us = 1; us <= 4194304; us *= 4) {
        buf_addf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", x->name, x->labels, comma,
                 (double)us / 1e6, (unsigned long long)metric_hist_count_upto(sum, us * 1000));
    }
    unsigned long long count = (unsigned long long)look(&sum->count);
    buf_addf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", x->name, x->labels, comma, count);
    const char *open = x->labels[0] != '\0' ? "{" : "";
    const char *close = x->labels[0] != '\0' ? "}" : "";
    buf_addf(out, "%s_sum%s%s%s %.9f\n", x->name, open, x->labels, close,
             (double)look(&sum->sum_ns) / 1e9);
    buf_addf(out, "%s_count%s%s%s %llu\n", x->name, open, x->labels, close, count);
}

/* One name and label set: the instances list[0..n). */
static void print_group(struct buf *out, const struct metric *list, size_t n)
{
    if (list[0].kind == KIND_HIST) {
        struct metric_hist *sum = mem_zalloc(sizeof *sum);
        for (size_t i = 0; i < n; i++) {
            metric_hist_merge(sum, list[i].instance);
        }
        print_hist(out, &list[0], sum);
        mem_free(sum);
        return;
    }
    double v = 0;
    for (size_t i = 0; i < n; i++) {
        v += value_of(&list[i]);
    }
    const char *open = list[0].labels[0] != '\0' ? "{" : "";
    const char *close = list[0].labels[0] != '\0' ? "}" : "";
    buf_addf(out, "%s%s%s%s %.17g\n", list[0].name, open, list[0].labels, close, v);
}

void metrics_prometheus(struct metrics *m, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "gauge", "histogram"};
    pthread_mutex_lock(&m->lock);
    if (!m->sorted) {
        if (m->n != 0) {
            qsort(m->list, m->n, sizeof *m->list, by_name);
        }
        m->sorted = true;
    }
    for (size_t i = 0; i < m->n;) {
        const struct metric *x = &m->list[i];
        if (i == 0 || strcmp(x->name, m->list[i - 1].name) != 0) {
            buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", x->name, x->help, x->name,
                     types[x->kind]);
        }
        size_t n = 1;
        while (i + n < m->n && by_name(x, &m->list[i + n]) == 0) {
            n++;
        }
        print_group(out, x, n);
        i += n;
    }
    pthread_mutex_unlock(&m->lock);
}
