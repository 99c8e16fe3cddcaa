#ifndef BACKENDS_MEMBER_SETTINGS_H
#define BACKENDS_MEMBER_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cfg.h"

/* Options of the membership service, the same for nodes and proxies; a daemon puts this struct into
 * its own settings struct and these rows into its tables. */
enum membership_kind {
    MEMBERSHIP_STATIC,   /* what the `shard` lines say, for good */
    MEMBERSHIP_INJECTED, /* by command: HALCYON VIEW, HALCYON LEASE */
    MEMBERSHIP_BUILTIN,  /* acceptors of our own */
    MEMBERSHIP_ETCD      /* etcd */
};

struct member_settings {
    int membership; /* enum membership_kind */
    char *cluster_name;
    struct cfg_strings acceptors;
    int64_t lease_ms;
    struct cfg_strings etcd_endpoints;
    int64_t etcd_lease_ms;
};

/* Is there a service that decides on maps? */
static inline bool membership_is_service(const struct member_settings *set)
{
    return set->membership == MEMBERSHIP_BUILTIN || set->membership == MEMBERSHIP_ETCD;
}

extern const struct cfg_option member_options[];
extern const size_t member_option_count;

#endif
