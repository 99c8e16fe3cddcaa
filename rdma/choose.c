/* The setting `transport auto|rdma|tcp`. */
#include "common/log.h"
#include "rdma/transport.h"
#include "rdma/verbs.h"

static const char *const kind_names[] = {
    [TRANSPORT_AUTO] = "auto",
    [TRANSPORT_RDMA] = "rdma",
    [TRANSPORT_TCP] = "tcp",
    [TRANSPORT_MEM] = "mem",
};

const char *transport_kind_name(enum transport_kind kind)
{
    return (unsigned)kind < sizeof kind_names / sizeof kind_names[0] ? kind_names[kind] : "?";
}

bool transport_kind_parse(struct span name, enum transport_kind *out)
{
    for (enum transport_kind kind = TRANSPORT_AUTO; kind <= TRANSPORT_TCP; kind++) {
        if (span_is(name, kind_names[kind])) {
            *out = kind;
            return true;
        }
    }
    return false;
}

enum err transport_choose(enum transport_kind setting, const char *host, const char *device,
                          enum transport_kind *out, struct errmsg *why)
{
    if (setting == TRANSPORT_TCP) {
        log_notice("transport tcp: as configured");
        *out = TRANSPORT_TCP;
        return OK;
    }
    struct device_choice found;
    struct errmsg reason = {""};
    if (device_choose(&verbs_library, host, device, &found, &reason) == OK) {
        log_notice("transport rdma: device %s port %u (%s, mtu %u)", found.device, found.port,
                   found.link, found.mtu);
        *out = TRANSPORT_RDMA;
        return OK;
    }
    if (setting == TRANSPORT_RDMA) {
        return errmsg_set(why, ERR_UNSUPPORTED, "transport rdma: %s", reason.text);
    }
    log_notice("transport tcp: %s", reason.text);
    *out = TRANSPORT_TCP;
    return OK;
}
