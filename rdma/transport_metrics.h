#ifndef RDMA_TRANSPORT_METRICS_H
#define RDMA_TRANSPORT_METRICS_H

#include "common/metrics.h"
#include "rdma/transport.h"

/* The counters of a transport as metrics: halcyon_peer_<counter>_total, and what it holds now as
 * halcyon_peer_queued_bytes, halcyon_peer_registered_bytes, halcyon_peer_connected and
 * halcyon_peer_known. A transport is read by its own thread only, a metric by any: the owner
 * publishes now and then. */
struct transport_metrics;

/* Registers with m, which outlives the result. labels: as in metrics_counter, NULL or such as
 * "group=\"proxies\"". Owned by the caller, who frees it. */
struct transport_metrics *transport_metrics_new(struct metrics *m, const char *labels);
/* Copies what t has counted. t may be another transport than last time: counters never fall, but
 * what a successor has counted up to its predecessor's figures may be missed. */
void transport_metrics_publish(struct transport_metrics *tm, const struct transport *t);
void transport_metrics_free(struct transport_metrics *tm); /* NULL allowed */

#endif
