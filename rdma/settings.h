#ifndef RDMA_SETTINGS_H
#define RDMA_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "common/cfg.h"
#include "rdma/transport.h"

/* Options of the peer transport, the same for nodes and proxies: a daemon puts this struct into its
 * own settings struct and these rows into its tables. */
struct peer_settings {
    int transport; /* enum transport_kind */
    /* of the RDMA transport; "" and 0: its own default (rdma/transport.h) */
    char *rdma_device;
    uint64_t rdma_slab_bytes;
    int64_t rdma_data_credits, rdma_ack_credits, rdma_busy_poll_us;
};

extern const struct cfg_option peer_options[];
extern const size_t peer_option_count;

/* Sets kind and the options of RDMA in o, which keeps pointing to strings of set until
 * transport_new has copied them. host: the address others reach this process by. Errors as
 * transport_choose's. */
enum err peer_settings_apply(const struct peer_settings *set, const char *host,
                             struct transport_options *o, struct errmsg *why) must_use;

#endif
