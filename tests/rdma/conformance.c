/* The conformance suite of the peer transport over one real transport:
 *   transport-conformance auto|rdma|tcp HOST [MESSAGES [PATIENCE [SLAB_BYTES [BUSY_POLL_US]]]]
 * Run inside the virtual machine over Soft-RoCE and soft-iWARP; runs on real devices as well. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "tests/lib/transport_suite.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--stream") == 0) {
        return transport_suite_child(argc, argv);
    }
    enum transport_kind kind = TRANSPORT_AUTO;
    if (argc < 3 || !transport_kind_parse(span_str(argv[1]), &kind)) {
        fprintf(stderr,
                "usage: %s auto|rdma|tcp HOST [MESSAGES [PATIENCE [SLAB_BYTES [BUSY_POLL_US]]]]\n",
                argv[0]);
        return 2;
    }
    struct errmsg why = {""};
    if (transport_choose(kind, argv[2], "", &kind, &why) != OK) {
        fprintf(stderr, "%s\n", why.text);
        return 2;
    }
    struct suite_env env = {
        .name = transport_kind_name(kind),
        .kind = kind,
        .host = argv[2],
        .self = argv[0],
        .messages = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0,
        .patience = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 1,
        .slab_bytes = argc > 5 ? strtoul(argv[5], NULL, 10) : 0,
        .busy_poll_us = argc > 6 ? (unsigned)strtoul(argv[6], NULL, 10) : 0,
    };
    return transport_suite_run(&env) == 0 ? 0 : 1;
}
