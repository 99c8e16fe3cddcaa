#ifndef TESTS_LIB_TRANSPORT_SUITE_H
#define TESTS_LIB_TRANSPORT_SUITE_H

#include "rdma/transport.h"

/* Conformance tests of the peer transport, the same for every implementation (issue "RDMA": the
 * program also runs inside the virtual machine). A cmocka program calls transport_suite_run once
 * per implementation. */
struct suite_env {
    const char *name; /* of the cmocka group */
    enum transport_kind kind;
    const char *host;  /* where both ends listen */
    const char *self;  /* path of a program that hands `--stream` to transport_suite_child; NULL: no
                          kill test */
    unsigned messages; /* of mixed sizes in the long run; 0: 20000 */
    unsigned patience; /* factor on every time limit; 0: 1 */
    size_t slab_bytes; /* verbs only; 0: the default */
    unsigned busy_poll_us; /* verbs only */
    const struct verbs_calls *calls;
};

/* Returns the number of failed tests. */
int transport_suite_run(const struct suite_env *env);

/* The process that is killed in mid-stream: argv = program --stream kind host own-port peer-port.
 * Streams messages to member 1 until killed. Returns only on errors. */
int transport_suite_child(int argc, char **argv);

#endif
