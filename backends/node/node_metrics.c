/* What /metrics says of a node beyond any server's: its key space, its replica, its peer transport.
 * The worker publishes; the thread of the metrics port reads. */
#include "backends/node/node.h"
#include "backends/node/replica.h"
#include "common/clock.h"
#include "common/mem.h"
#include "rdma/transport_metrics.h"

#define PUBLISH_NS 100000000u

enum replica_metric {
#define X(name) REPLICA_METRIC_##name,
    REPLICA_COUNTS(X)
#undef X
        REPLICA_METRICS
};

static const char *const replica_names[REPLICA_METRICS] = {
#define X(name) "halcyon_hermes_" #name "_total",
    REPLICA_COUNTS(X)
#undef X
};

enum node_metric { METRIC_HITS, METRIC_MISSES, METRIC_EXPIRED, METRIC_EVICTED, NODE_METRICS };

static const struct {
    const char *name, *help;
} node_names[NODE_METRICS] = {
    [METRIC_HITS] = {"halcyon_node_keyspace_hits_total", "Keys looked up and found."},
    [METRIC_MISSES] = {"halcyon_node_keyspace_misses_total", "Keys looked up and not found."},
    [METRIC_EXPIRED] = {"halcyon_node_expired_keys_total", "Keys that expired."},
    [METRIC_EVICTED] = {"halcyon_node_evicted_keys_total", "Keys evicted for lack of memory."},
};

/* A counter that follows a number kept elsewhere, which starts anew now and then (CONFIG RESETSTAT,
 * a new replica). */
struct follower {
    struct counter c;
    uint64_t last;
};

struct node_metrics {
    struct metrics *m;
    uint64_t next_ns;
    struct follower node[NODE_METRICS];
    struct gauge keys, tombstones;
    struct follower replica[REPLICA_METRICS]; /* registered if there is a replica */
    struct transport_metrics *peers;          /* NULL: no replica */
};

static void follow(struct follower *f, uint64_t now)
{
    counter_add(&f->c, now >= f->last ? now - f->last : now);
    f->last = now;
}

void node_metrics_start(struct node_worker *nw)
{
    struct node_metrics *nm = mem_zalloc(sizeof *nm);
    struct metrics *m = server_metrics(nw->w->server);
    nm->m = m;
    for (int i = 0; i < NODE_METRICS; i++) {
        metrics_counter(m, node_names[i].name, NULL, node_names[i].help, &nm->node[i].c);
    }
    metrics_gauge(m, "halcyon_node_keys", NULL, "Keys, all databases.", &nm->keys);
    metrics_gauge(m, "halcyon_node_tombstones", NULL, "Deleted keys that are remembered.",
                  &nm->tombstones);
    if (nw->replica != NULL) {
        for (int i = 0; i < REPLICA_METRICS; i++) {
            metrics_counter(m, replica_names[i], NULL, "As in INFO's section Hermes.",
                            &nm->replica[i].c);
        }
        nm->peers = transport_metrics_new(m, NULL);
    }
    nw->metrics = nm;
}

void node_metrics_publish(struct node_worker *nw)
{
    struct node_metrics *nm = nw->metrics;
    uint64_t now_ns = clk_mono_ns();
    if (now_ns < nm->next_ns) {
        return;
    }
    nm->next_ns = now_ns + PUBLISH_NS;
    follow(&nm->node[METRIC_HITS], nw->stats.keyspace_hits);
    follow(&nm->node[METRIC_MISSES], nw->stats.keyspace_misses);
    follow(&nm->node[METRIC_EXPIRED], nw->stats.expired_keys);
    follow(&nm->node[METRIC_EVICTED], nw->stats.evicted_keys);
    uint64_t keys = 0;
    for (unsigned db = 0; db < DB_COUNT; db++) {
        keys += store_count(nw->store, db);
    }
    gauge_set(&nm->keys, (int64_t)keys);
    gauge_set(&nm->tombstones, (int64_t)store_tombstones(nw->store));
    if (nm->peers != NULL) {
        const struct replica_counts *c = replica_counts(nw);
        const uint64_t now[REPLICA_METRICS] = {
#define X(name) c->name,
            REPLICA_COUNTS(X)
#undef X
        };
        for (int i = 0; i < REPLICA_METRICS; i++) {
            follow(&nm->replica[i], now[i]);
        }
        if (replica_transport(nw) != NULL) {
            transport_metrics_publish(nm->peers, replica_transport(nw));
        }
    }
}

void node_metrics_stop(struct node_worker *nw)
{
    struct node_metrics *nm = nw->metrics;
    if (nm == NULL) {
        return;
    }
    for (int i = 0; i < NODE_METRICS; i++) {
        metrics_drop(nm->m, &nm->node[i].c);
    }
    metrics_drop(nm->m, &nm->keys);
    metrics_drop(nm->m, &nm->tombstones);
    if (nm->peers != NULL) {
        for (int i = 0; i < REPLICA_METRICS; i++) {
            metrics_drop(nm->m, &nm->replica[i].c);
        }
        transport_metrics_free(nm->peers);
    }
    nw->metrics = NULL;
    mem_free(nm);
}
