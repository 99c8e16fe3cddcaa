/* The options of the membership service that nodes and proxies share. */
#include "backends/member/settings.h"

#include <string.h>

#include "coherence/map.h"
#include "common/clustermap.h"

static const struct cfg_enum kinds[] = {{"static", MEMBERSHIP_STATIC},
                                        {"injected", MEMBERSHIP_INJECTED},
                                        {"builtin", MEMBERSHIP_BUILTIN},
                                        {"etcd", MEMBERSHIP_ETCD},
                                        {NULL, 0}};

static enum err check_list(const char *value, bool odd, struct errmsg *why)
{
    struct cfg_strings w;
    enum err e = cfg_split(span_str(value), &w);
    if (e != OK) {
        return errmsg_set(why, e, "unbalanced quotes");
    }
    if (odd && w.n != 0 && w.n % 2 == 0) {
        e = errmsg_set(why, ERR_CONFIG, "%zu are named, but it must be 1, 3 or 5", w.n);
    } else if (w.n > MAP_ACCEPTORS_MAX) {
        e = errmsg_set(why, ERR_CONFIG, "%zu are named; at most %u are possible", w.n,
                       MAP_ACCEPTORS_MAX);
    }
    for (size_t i = 0; e == OK && i < w.n; i++) {
        char host[CLUSTER_HOST_MAX];
        uint16_t port;
        e = cluster_parse_endpoint(span_str(w.v[i]), host, &port);
        if (e != OK) {
            errmsg_set(why, e, "'%s' is not host:port", w.v[i]);
        }
        for (size_t k = 0; e == OK && k < i; k++) {
            if (strcmp(w.v[i], w.v[k]) == 0) {
                e = errmsg_set(why, ERR_CONFIG, "%s is named twice", w.v[i]);
            }
        }
    }
    cfg_strings_free(&w);
    return e;
}

static enum err check_acceptors(const char *value, struct errmsg *why)
{
    return check_list(value, true, why);
}

static enum err check_endpoints(const char *value, struct errmsg *why)
{
    return check_list(value, false, why);
}

#define AT(field) offsetof(struct member_settings, field)

const struct cfg_option member_options[] = {
    {.name = "cluster-name",
     .type = CFG_STRING,
     .offset = AT(cluster_name),
     .def = "halcyon",
     .min = 1,
     .max = 63,
     .section = "Cluster",
     .help = "Processes of another cluster name are refused."},
    {.name = "membership",
     .type = CFG_ENUM,
     .offset = AT(membership),
     .def = "static",
     .values = kinds,
     .section = "Cluster",
     .help = "Who is in the cluster and who may answer. builtin: the `acceptors` agree on it; "
             "processes that die are left out, and join again when they come back. etcd: the same "
             "with `etcd-endpoints` in place of acceptors. static: what "
             "the `shard` lines say, for good; a node that restarts alone stays out. injected: for "
             "tests, by the commands HALCYON VIEW and HALCYON LEASE."},
    {.name = "acceptors",
     .type = CFG_WORDS,
     .offset = AT(acceptors),
     .def = "",
     .min = 0,
     .max = 1000,
     .section = "Cluster",
     .help =
         "With `membership builtin`: host:port of the 1, 3 or 5 acceptors, the same words in the "
         "same order at every process. A majority of them must be reachable.",
     .check = check_acceptors},
    {.name = "membership-lease",
     .type = CFG_INT,
     .offset = AT(lease_ms),
     .def = "400",
     .min = 50,
     .max = 60000,
     .section = "Cluster",
     .help =
         "With `membership builtin`: milliseconds that a process may answer without hearing of a "
         "majority of the acceptors, and about what it takes until one that died is left out. The "
         "same everywhere."},
    {.name = "etcd-endpoints",
     .type = CFG_WORDS,
     .offset = AT(etcd_endpoints),
     .def = "",
     .min = 0,
     .max = 1000,
     .section = "Cluster",
     .help = "With `membership etcd`: host:port of up to 5 members of an etcd cluster (3.4 or "
             "newer), spoken to over plain HTTP (/v3/kv). One that does not answer is replaced by "
             "the next.",
     .check = check_endpoints},
    {.name = "etcd-lease",
     .type = CFG_INT,
     .offset = AT(etcd_lease_ms),
     .def = "3000",
     .min = 200,
     .max = 600000,
     .section = "Cluster",
     .help = "With `membership etcd`: as membership-lease. Each process renews it four times in "
             "that time, which is a small write of etcd."},
};
const size_t member_option_count = sizeof member_options / sizeof member_options[0];
