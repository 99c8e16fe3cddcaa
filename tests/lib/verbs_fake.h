#ifndef TESTS_LIB_VERBS_FAKE_H
#define TESTS_LIB_VERBS_FAKE_H

#include <stdbool.h>

#include "rdma/verbs_calls.h"

/* A verbs library without devices: one device "fake0" that carries 127.0.0.1, connections within
 * the process. Single-threaded. As with a real device, the bytes of a send that is not inline are
 * read late (when the receiver polls), so a buffer that is used again too early shows; work posted
 * to a stopped queue pair is flushed. */
extern const struct verbs_calls verbs_fake;

struct verbs_fake_control {
    /* faults; 0: none. after: the n-th from now */
    unsigned fail_send_after; /* this send completes with fail_status, which stops the queue pair */
    enum ibv_wc_status fail_status;
    unsigned refuse_post_send_after; /* ibv_post_send itself fails */
    unsigned refuse_post_recv_after;
    unsigned refuse_reg_mr_after;
    unsigned refuse_create_qp_after;
    unsigned
        corrupt_after; /* the n-th delivered send has byte corrupt_at replaced by corrupt_with */
    size_t corrupt_at;
    unsigned char corrupt_with;
    unsigned cut_after; /* the n-th delivered send has only cut_len bytes */
    unsigned cut_len;
    bool no_flush; /* a stopped queue pair completes nothing */
    bool no_device;
    int poll_most;        /* completions per poll; 0: as many as asked for */
    uint32_t inline_most; /* create_qp refuses more */
    int max_qp_wr;        /* 0: 16384 */
    /* counters */
    unsigned rnr; /* sends that found no receive */
    unsigned posted_after_stop;
    int objects; /* alive: must be 0 at the end */
    uint64_t sends, ack_slabs;
};
extern struct verbs_fake_control fake;
void verbs_fake_reset(void);
/* Puts a connection manager event on every connected id that this side dialled. */
void verbs_fake_event(enum rdma_cm_event_type type);

#endif
