#ifndef TESTS_LIB_TRANSPORT_NODE_H
#define TESTS_LIB_TRANSPORT_NODE_H

#include "rdma/transport.h"
#include "tests/lib/transport_suite.h"

/* One end of a connection under test: a transport that sends and checks streams of numbered
 * messages whose size and bytes follow from the number, so that loss, duplication, reordering,
 * truncation and damage all show. */
struct node {
    struct transport *t;
    struct loop *loop;
    uint32_t id;
    uint32_t peer; /* the other end, for node_send */
    /* what the callbacks saw */
    unsigned connected, disconnected, writable;
    uint64_t conn, peer_epoch;
    uint64_t received, bad; /* messages; those that were not the next one expected */
    uint64_t received_bytes;
    uint64_t sent;
    unsigned sizes;        /* which sizes the streams have: SIZES_... */
    bool free_form;        /* messages are only counted */
    uint64_t remove_after; /* remove the peer from within the callback of this message; 0: never */
};

enum { SIZES_MIXED, SIZES_SMALL, SIZES_LARGE };

size_t stream_size(unsigned sizes, uint64_t number);

struct node_spec {
    const struct suite_env *env;
    struct loop *loop;
    uint32_t id, peer;
    uint16_t port; /* 0: any */
    struct mem_net *net;
    struct transport_options
        with; /* other options; identity fields that are set win over the defaults */
};
void node_open(struct node *n, const struct node_spec *spec);
void node_close(struct node *n);
void node_meet(struct node *n, const struct node_spec *spec, uint32_t member, uint16_t port);
/* Sends the next message of the stream. */
enum err node_send(struct node *n);

/* Runs the loop until cond holds; false: not within the time. */
bool run_until(struct loop *l, bool (*cond)(void *), void *arg, unsigned ms);
void run_for(struct loop *l, unsigned ms);

#endif
