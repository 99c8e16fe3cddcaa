/* The options of the peer transport. */
#include "rdma/settings.h"

static const struct cfg_enum transports[] = {
    {"auto", TRANSPORT_AUTO}, {"rdma", TRANSPORT_RDMA}, {"tcp", TRANSPORT_TCP}, {NULL, 0}};

#define AT(field) offsetof(struct peer_settings, field)

const struct cfg_option peer_options[] = {
    {.name = "transport",
     .type = CFG_ENUM,
     .offset = AT(transport),
     .def = "tcp",
     .values = transports,
     .section = "Cluster",
     .help = "How replicas of a shard, and proxies, talk to each other; auto: RDMA where a device "
             "carries the process' address. All of a shard, and all proxies, must use the same."},
    {.name = "rdma-device",
     .type = CFG_STRING,
     .offset = AT(rdma_device),
     .def = "",
     .min = 0,
     .max = 63,
     .section = "Cluster",
     .help = "The RDMA device that must carry the process' address; empty: whichever carries it."},
    {.name = "rdma-slab-bytes",
     .type = CFG_MEMORY,
     .offset = AT(rdma_slab_bytes),
     .def = "0",
     .max = 1 << 20,
     .section = "Cluster",
     .help = "Bytes of one send or receive over RDMA, 256 or more; longer messages are cut. "
             "0: 16 KiB."},
    {.name = "rdma-data-credits",
     .type = CFG_INT,
     .offset = AT(rdma_data_credits),
     .def = "0",
     .min = 0,
     .max = 2048,
     .section = "Cluster",
     .help = "Sends that each peer may have under way over RDMA, at least 2; 0: 64."},
    {.name = "rdma-ack-credits",
     .type = CFG_INT,
     .offset = AT(rdma_ack_credits),
     .def = "0",
     .min = 0,
     .max = 2048,
     .section = "Cluster",
     .help = "Sends kept for acknowledgements when those are used up, at least 2; 0: 16."},
    {.name = "rdma-busy-poll-us",
     .type = CFG_INT,
     .offset = AT(rdma_busy_poll_us),
     .def = "0",
     .min = 0,
     .max = 1000000,
     .section = "Cluster",
     .help = "Microseconds for which a worker polls for completions over RDMA before it sleeps; "
             "0: it does not."},
};
const size_t peer_option_count = sizeof peer_options / sizeof peer_options[0];

enum err peer_settings_apply(const struct peer_settings *set, const char *host,
                             struct transport_options *o, struct errmsg *why)
{
    o->device = set->rdma_device;
    o->slab_bytes = (uint32_t)set->rdma_slab_bytes;
    o->data_credits = (uint16_t)set->rdma_data_credits;
    o->ack_credits = (uint16_t)set->rdma_ack_credits;
    o->busy_poll_us = (uint32_t)set->rdma_busy_poll_us;
    return transport_choose((enum transport_kind)set->transport, host, set->rdma_device, &o->kind,
                            why);
}
