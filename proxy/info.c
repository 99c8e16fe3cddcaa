/* What INFO says of a proxy beyond what every server says. */
#include <stdio.h>

#include "proxy/proxy.h"

/* Slots of info_sum.own. */
enum own {
    OWN_FORWARDED,
    OWN_SPLIT,
    OWN_FANNED,
    OWN_LOCAL,
    OWN_REFUSED,
    OWN_NODE_ERRORS,
    OWN_MOVED,
    OWN_UNKNOWN,
    OWN_STALLS,
    OWN_OPEN,
    OWN_HOLDS,
    OWN_LINKS_UP,
    OWN_REQUESTS,
    OWN_REPLIES,
    OWN_WRITES,
    OWN_LATENCY_NS,
    OWN_LOG_BYTES,
    OWN_TIMEOUTS,
    OWN_LOSSES,
    OWN_COUNT
};

_Static_assert(OWN_COUNT <= INFO_OWN_MAX, "info_sum.own is too small");

void proxy_info_add(struct worker *w, struct info_sum *sum)
{
    const struct proxy_worker *pw = w->data;
    const struct proxy_stats *s = &pw->stats;
    uint64_t *own = sum->own;
    own[OWN_FORWARDED] += s->forwarded;
    own[OWN_SPLIT] += s->split;
    own[OWN_FANNED] += s->fanned;
    own[OWN_LOCAL] += s->local;
    own[OWN_REFUSED] += s->refused;
    own[OWN_NODE_ERRORS] += s->node_errors;
    own[OWN_MOVED] += s->moved;
    own[OWN_UNKNOWN] += s->unknown;
    own[OWN_STALLS] += s->stalls;
    own[OWN_OPEN] += s->open_calls;
    own[OWN_HOLDS] += s->open_holds;
    for (unsigned i = 0; i < shard_endpoint_count(pw->pool); i++) {
        struct shard_stats e;
        shard_endpoint_stats(pw->pool, i, &e);
        own[OWN_LINKS_UP] += e.up;
        own[OWN_REQUESTS] += e.requests;
        own[OWN_REPLIES] += e.replies;
        own[OWN_WRITES] += e.writes;
        own[OWN_LATENCY_NS] += e.latency_ns_sum;
        own[OWN_LOG_BYTES] += e.log_bytes;
        own[OWN_TIMEOUTS] += e.timeouts;
        own[OWN_LOSSES] += e.losses;
    }
}

void proxy_info_own(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    const struct proxy_worker *pw = w->data;
    const uint64_t *own = sum->own;
    if (info_section(o, "Proxy")) {
        static const struct {
            const char *name;
            enum own at;
        } fields[] = {
            {"proxy_forwarded", OWN_FORWARDED},
            {"proxy_split", OWN_SPLIT},
            {"proxy_fanned_out", OWN_FANNED},
            {"proxy_answered_here", OWN_LOCAL},
            {"proxy_refused", OWN_REFUSED},
            {"proxy_node_errors", OWN_NODE_ERRORS},
            {"proxy_moved", OWN_MOVED},
            {"proxy_unknown_outcomes", OWN_UNKNOWN},
            {"proxy_stalls", OWN_STALLS},
            {"proxy_open_calls", OWN_OPEN},
            {"proxy_held_replies", OWN_HOLDS},
            {"proxy_node_requests", OWN_REQUESTS},
            {"proxy_node_replies", OWN_REPLIES},
            {"proxy_node_write_calls", OWN_WRITES},
            {"proxy_node_timeouts", OWN_TIMEOUTS},
            {"proxy_node_losses", OWN_LOSSES},
            {"proxy_node_open_bytes", OWN_LOG_BYTES},
        };
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            info_field(o, fields[i].name, "%llu", (unsigned long long)own[fields[i].at]);
        }
        uint64_t replies = own[OWN_REPLIES];
        info_field(o, "proxy_node_latency_usec_avg", "%.1f",
                   replies == 0 ? 0.0 : (double)own[OWN_LATENCY_NS] / 1000.0 / (double)replies);
        info_field(o, "proxy_partitions", "%u", pw->route->partitions);
    }
    if (info_section(o, "Nodes")) { /* of the worker that was asked */
        for (unsigned i = 0; i < shard_endpoint_count(pw->pool); i++) {
            struct shard_stats e;
            uint16_t port = 0;
            const char *address = shard_endpoint_address(pw->pool, i, &port);
            shard_endpoint_stats(pw->pool, i, &e);
            char name[32];
            snprintf(name, sizeof name, "node%u", i);
            info_field(o, name,
                       "addr=%s:%u,up=%d,requests=%llu,replies=%llu,open=%llu,failed=%llu,"
                       "unknown=%llu,losses=%llu,timeouts=%llu,usec_avg=%.1f",
                       address, port, e.up, (unsigned long long)e.requests,
                       (unsigned long long)e.replies, (unsigned long long)e.open,
                       (unsigned long long)e.failed, (unsigned long long)e.unknown,
                       (unsigned long long)e.losses, (unsigned long long)e.timeouts,
                       e.replies == 0 ? 0.0
                                      : (double)e.latency_ns_sum / 1000.0 / (double)e.replies);
        }
    }
}
