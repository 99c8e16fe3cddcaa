/* What a proxy worker tells other threads: metrics, and whether it can serve.
 *
 * The numbers of links and calls are plain fields of the worker. Once a second it copies them to
 * counters and gauges that any thread may read (common/metrics.h); a request costs nothing for it.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "common/mem.h"
#include "common/metrics.h"
#include "proxy/hot.h"
#include "proxy/proxy.h"

#define REPORT_US 1000000u
#define REPORT_FIRST_US 20000u /* until every node was reached once */

/* Of one endpoint. */
enum node_count {
    NODE_REQUESTS,
    NODE_REPLIES,
    NODE_FAILED,
    NODE_UNKNOWN,
    NODE_CONTROLS,
    NODE_LOSSES,
    NODE_TIMEOUTS,
    NODE_LATENCY_US,
    NODE_BYTES_OUT,
    NODE_BYTES_IN,
    NODE_COUNTS
};
enum node_gauge { NODE_UP, NODE_OPEN, NODE_OPEN_BYTES, NODE_GAUGES };
/* Of the worker. */
enum own_count {
    OWN_FORWARDED,
    OWN_SPLIT,
    OWN_FANNED,
    OWN_LOCAL,
    OWN_REFUSED,
    OWN_MOVED,
    OWN_STALLS,
    OWN_RETRIES,
    OWN_COUNTS
};

struct node_report {
    struct counter count[NODE_COUNTS];
    struct gauge gauge[NODE_GAUGES];
};

struct report {
    struct proxy_worker *pw;
    struct loop_timer *timer;
    bool ready;
    struct counter own[OWN_COUNTS];
    struct gauge calls;
    struct node_report **node; /* one per endpoint that was there already; they do not move */
    unsigned nodes;
};

static const struct {
    const char *name, *help;
} node_counts[NODE_COUNTS] = {
    [NODE_REQUESTS] = {"halcyon_node_requests_total", "Requests sent to a node worker."},
    [NODE_REPLIES] = {"halcyon_node_replies_total", "Replies a node worker gave."},
    [NODE_FAILED] = {"halcyon_node_failed_total",
                     "Requests that had no effect because the node was not reached."},
    [NODE_UNKNOWN] = {"halcyon_node_unknown_total",
                      "Writes whose outcome is not known because the node went away."},
    [NODE_CONTROLS] = {"halcyon_node_control_replies_total",
                       "Answers of a node to the proxy itself, such as MOVED."},
    [NODE_LOSSES] = {"halcyon_node_connection_losses_total", "Connections to a node that broke."},
    [NODE_TIMEOUTS] = {"halcyon_node_timeouts_total",
                       "Connections given up because the node did not answer in time."},
    [NODE_LATENCY_US] = {"halcyon_node_latency_microseconds_total",
                         "Time from request to reply, summed over the replies."},
    [NODE_BYTES_OUT] = {"halcyon_node_sent_bytes_total", "Bytes sent to a node worker."},
    [NODE_BYTES_IN] = {"halcyon_node_received_bytes_total", "Bytes received from a node worker."},
};

static const struct {
    const char *name, *help;
} node_gauges[NODE_GAUGES] = {
    [NODE_UP] = {"halcyon_node_up", "Proxy workers that can reach the node worker."},
    [NODE_OPEN] = {"halcyon_node_open_requests", "Requests not answered yet."},
    [NODE_OPEN_BYTES] = {"halcyon_node_open_bytes", "Bytes of the requests not answered yet."},
};

static const struct {
    const char *name, *help;
} own_counts[OWN_COUNTS] = {
    [OWN_FORWARDED] = {"halcyon_proxy_forwarded_total", "Requests sent to one node worker."},
    [OWN_SPLIT] = {"halcyon_proxy_split_total", "Requests split over several node workers."},
    [OWN_FANNED] = {"halcyon_proxy_fanned_out_total", "Requests over the whole key space."},
    [OWN_LOCAL] = {"halcyon_proxy_local_total", "Requests the proxy answered itself."},
    [OWN_REFUSED] = {"halcyon_proxy_refused_total", "Requests a proxy cannot carry out."},
    [OWN_MOVED] = {"halcyon_proxy_moved_total", "Requests sent again because of MOVED."},
    [OWN_RETRIES] = {"halcyon_proxy_retries_total",
                     "Requests sent again, to another replica, after one did not execute them."},
    [OWN_STALLS] = {"halcyon_proxy_stalls_total", "Times a client had to wait for room."},
};

/* Workers that can reach every node now. */
static atomic_uint ready_workers;

static void set_ready(struct report *r, bool ready)
{
    if (ready != r->ready) {
        r->ready = ready;
        /* relaxed: a number on its own, read by /readyz */
        atomic_fetch_add_explicit(&ready_workers, ready ? 1u : (unsigned)-1, memory_order_relaxed);
    }
}

bool report_ready(struct server *sv, struct errmsg *why)
{
    unsigned n = atomic_load_explicit(&ready_workers, memory_order_relaxed);
    if (n == server_workers(sv)) {
        return true;
    }
    errmsg_set(why, ERR_AGAIN, "%u of %u workers reach every node", n, server_workers(sv));
    return false;
}

static bool publish_node(struct report *r, unsigned i)
{
    struct shard_stats s;
    shard_endpoint_stats(r->pw->pool, i, &s);
    const uint64_t now[NODE_COUNTS] = {
        [NODE_REQUESTS] = s.requests,   [NODE_REPLIES] = s.replies,
        [NODE_FAILED] = s.failed,       [NODE_UNKNOWN] = s.unknown,
        [NODE_CONTROLS] = s.controls,   [NODE_LOSSES] = s.losses,
        [NODE_TIMEOUTS] = s.timeouts,   [NODE_LATENCY_US] = s.latency_ns_sum / 1000,
        [NODE_BYTES_OUT] = s.bytes_out, [NODE_BYTES_IN] = s.bytes_in,
    };
    struct node_report *n = r->node[i];
    for (int k = 0; k < NODE_COUNTS; k++) {
        uint64_t told = counter_get(&n->count[k]);
        /* after CONFIG RESETSTAT they start again, as Prometheus expects of a counter */
        counter_add(&n->count[k], now[k] - told);
    }
    gauge_set(&n->gauge[NODE_UP], s.up);
    gauge_set(&n->gauge[NODE_OPEN], (int64_t)s.open);
    gauge_set(&n->gauge[NODE_OPEN_BYTES], (int64_t)s.log_bytes);
    return s.up;
}

static void add_node(struct report *r)
{
    const struct shard_pool *pool = r->pw->pool;
    struct metrics *m = server_metrics(r->pw->w->server);
    unsigned i = r->nodes++;
    r->node = mem_realloc(r->node, r->nodes * sizeof(struct node_report *));
    struct node_report *n = mem_zalloc(sizeof *n);
    r->node[i] = n;
    char labels[128];
    uint16_t port = 0;
    shard_endpoint_address(pool, i, &port);
    snprintf(labels, sizeof labels, "node=\"%s:%u\"", shard_endpoint_host(pool, i), port);
    for (int k = 0; k < NODE_COUNTS; k++) {
        metrics_counter(m, node_counts[k].name, labels, node_counts[k].help, &n->count[k]);
    }
    for (int k = 0; k < NODE_GAUGES; k++) {
        metrics_gauge(m, node_gauges[k].name, labels, node_gauges[k].help, &n->gauge[k]);
    }
}

static void publish(void *arg)
{
    struct report *r = arg;
    const struct proxy_worker *pw = r->pw;
    const uint64_t now[OWN_COUNTS] = {
        [OWN_FORWARDED] = pw->stats.forwarded, [OWN_SPLIT] = pw->stats.split,
        [OWN_FANNED] = pw->stats.fanned,       [OWN_LOCAL] = pw->stats.local,
        [OWN_REFUSED] = pw->stats.refused,     [OWN_MOVED] = pw->stats.moved,
        [OWN_STALLS] = pw->stats.stalls,       [OWN_RETRIES] = pw->stats.retries,
    };
    for (int k = 0; k < OWN_COUNTS; k++) {
        counter_add(&r->own[k], now[k] - counter_get(&r->own[k]));
    }
    gauge_set(&r->calls, (int64_t)pw->stats.open_calls);
    hot_publish(r->pw);
    while (r->nodes < shard_endpoint_count(pw->pool)) {
        add_node(r);
    }
    uint8_t up[ROUTE_ENDPOINTS_MAX / 8] = {0};
    for (unsigned i = 0; i < r->nodes; i++) {
        up[i / 8] |= (uint8_t)((publish_node(r, i) ? 1u : 0u) << i % 8);
    }
    bool all = true;
    for (unsigned i = 0; i < pw->route->partitions; i++) { /* one replica of each is enough */
        const struct route_partition *p = &pw->route->partition[i];
        bool any = false;
        for (unsigned k = 0; k < p->live; k++) {
            unsigned e = p->endpoint[p->order[k]];
            any |= (up[e / 8] >> e % 8 & 1u) != 0;
        }
        all &= any;
    }
    set_ready(r, all);
    loop_timer_start(r->timer, all ? REPORT_US : REPORT_FIRST_US);
}

struct report *report_start(struct proxy_worker *pw)
{
    struct report *r = mem_zalloc(sizeof *r);
    struct metrics *m = server_metrics(pw->w->server);
    r->pw = pw;
    while (r->nodes < shard_endpoint_count(pw->pool)) {
        add_node(r);
    }
    for (int k = 0; k < OWN_COUNTS; k++) {
        metrics_counter(m, own_counts[k].name, NULL, own_counts[k].help, &r->own[k]);
    }
    metrics_gauge(m, "halcyon_proxy_open_calls", NULL, "Requests of clients not answered yet.",
                  &r->calls);
    r->timer = loop_timer_new(pw->w->loop, publish, r);
    loop_timer_start(r->timer, REPORT_FIRST_US);
    return r;
}

void report_stop(struct report *r)
{
    if (r == NULL) {
        return;
    }
    set_ready(r, false);
    struct metrics *m = server_metrics(r->pw->w->server);
    for (unsigned i = 0; i < r->nodes; i++) {
        for (int k = 0; k < NODE_COUNTS; k++) {
            metrics_drop(m, &r->node[i]->count[k]);
        }
        for (int k = 0; k < NODE_GAUGES; k++) {
            metrics_drop(m, &r->node[i]->gauge[k]);
        }
        mem_free(r->node[i]);
    }
    mem_free(r->node);
    for (int k = 0; k < OWN_COUNTS; k++) {
        metrics_drop(m, &r->own[k]);
    }
    metrics_drop(m, &r->calls);
    loop_timer_free(r->timer);
    mem_free(r);
}
