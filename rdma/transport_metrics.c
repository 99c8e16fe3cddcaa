#include "rdma/transport_metrics.h"

#include "common/mem.h"
#include "common/must.h"

enum transport_counter {
#define X(name, what) COUNTER_##name,
    TRANSPORT_COUNTERS(X)
#undef X
        COUNTER_COUNT
};

static const struct {
    const char *name, *help;
} counters[COUNTER_COUNT] = {
#define X(name, what) {"halcyon_peer_" #name "_total", "Peer transport: " what "."},
    TRANSPORT_COUNTERS(X)
#undef X
};

enum transport_gauge { GAUGE_QUEUED, GAUGE_REGISTERED, GAUGE_CONNECTED, GAUGE_KNOWN, GAUGE_COUNT };

static const struct {
    const char *name, *help;
} gauges[GAUGE_COUNT] = {
    [GAUGE_QUEUED] = {"halcyon_peer_queued_bytes", "Peer transport: bytes waiting to be sent."},
    [GAUGE_REGISTERED] = {"halcyon_peer_registered_bytes",
                          "Peer transport: memory registered with RDMA devices."},
    [GAUGE_CONNECTED] = {"halcyon_peer_connected", "Peer transport: peers connected."},
    [GAUGE_KNOWN] = {"halcyon_peer_known", "Peer transport: peers to be connected to."},
};

struct transport_metrics {
    struct metrics *m;
    struct counter count[COUNTER_COUNT];
    uint64_t last[COUNTER_COUNT]; /* what the transport said */
    struct gauge gauge[GAUGE_COUNT];
};

struct transport_metrics *transport_metrics_new(struct metrics *m, const char *labels)
{
    struct transport_metrics *tm = mem_zalloc(sizeof *tm);
    tm->m = m;
    for (int i = 0; i < COUNTER_COUNT; i++) {
        metrics_counter(m, counters[i].name, labels, counters[i].help, &tm->count[i]);
    }
    for (int i = 0; i < GAUGE_COUNT; i++) {
        metrics_gauge(m, gauges[i].name, labels, gauges[i].help, &tm->gauge[i]);
    }
    return tm;
}

void transport_metrics_publish(struct transport_metrics *tm, const struct transport *t)
{
    struct transport_stats s;
    must(transport_stats(t, 0, &s) == OK); /* the whole transport is always known */
    const uint64_t now[COUNTER_COUNT] = {
#define X(name, what) s.name,
        TRANSPORT_COUNTERS(X)
#undef X
    };
    for (int i = 0; i < COUNTER_COUNT; i++) {
        counter_add(&tm->count[i], now[i] >= tm->last[i] ? now[i] - tm->last[i] : now[i]);
        tm->last[i] = now[i];
    }
    gauge_set(&tm->gauge[GAUGE_QUEUED], (int64_t)s.queued_bytes);
    gauge_set(&tm->gauge[GAUGE_REGISTERED], (int64_t)s.registered_bytes);
    gauge_set(&tm->gauge[GAUGE_CONNECTED], s.connected);
    gauge_set(&tm->gauge[GAUGE_KNOWN], s.peers);
}

void transport_metrics_free(struct transport_metrics *tm)
{
    if (tm == NULL) {
        return;
    }
    for (int i = 0; i < COUNTER_COUNT; i++) {
        metrics_drop(tm->m, &tm->count[i]);
    }
    for (int i = 0; i < GAUGE_COUNT; i++) {
        metrics_drop(tm->m, &tm->gauge[i]);
    }
    mem_free(tm);
}
