/* The setting `transport auto|rdma|tcp`. */
#include "rdma/transport.h"

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
