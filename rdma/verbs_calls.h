#ifndef RDMA_VERBS_CALLS_H
#define RDMA_VERBS_CALLS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdint.h>

/* Every call of libibverbs and librdmacm that the transport makes, so that tests can put a fake
 * network in their place. Arguments and results are those of the library function of that name. */
struct verbs_calls {
    /* devices */
    struct ibv_context **(*get_devices)(int *count);
    void (*free_devices)(struct ibv_context **list);
    const char *(*device_name)(struct ibv_context *ctx);
    int (*query_device)(struct ibv_context *ctx, struct ibv_device_attr *out);
    int (*query_port)(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *out);
    int (*query_gid)(struct ibv_context *ctx, uint8_t port, int index, union ibv_gid *out);
    /* connection manager; the channel's descriptor is non-blocking */
    struct rdma_event_channel *(*create_event_channel)(void);
    void (*destroy_event_channel)(struct rdma_event_channel *channel);
    int (*get_cm_event)(struct rdma_event_channel *channel, struct rdma_cm_event **out);
    int (*ack_cm_event)(struct rdma_cm_event *event);
    int (*create_id)(struct rdma_event_channel *channel, struct rdma_cm_id **out, void *context);
    int (*destroy_id)(struct rdma_cm_id *id);
    int (*bind_addr)(struct rdma_cm_id *id, struct sockaddr *addr);
    uint16_t (*get_src_port)(struct rdma_cm_id *id); /* network order */
    int (*listen)(struct rdma_cm_id *id, int backlog);
    int (*resolve_addr)(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to,
                        int timeout_ms);
    int (*resolve_route)(struct rdma_cm_id *id, int timeout_ms);
    int (*set_option)(struct rdma_cm_id *id, int level, int name, void *value, size_t len);
    int (*connect)(struct rdma_cm_id *id, struct rdma_conn_param *param);
    int (*accept)(struct rdma_cm_id *id, struct rdma_conn_param *param);
    int (*reject)(struct rdma_cm_id *id, const void *data, uint8_t len);
    int (*disconnect)(struct rdma_cm_id *id); /* the queue pair goes to the error state */
    int (*create_qp)(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
    void (*destroy_qp)(struct rdma_cm_id *id);
    /* memory, completions, work */
    struct ibv_pd *(*alloc_pd)(struct ibv_context *ctx);
    int (*dealloc_pd)(struct ibv_pd *pd);
    struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *p, size_t len);
    int (*dereg_mr)(struct ibv_mr *mr);
    struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *ctx);
    int (*destroy_comp_channel)(struct ibv_comp_channel *channel);
    struct ibv_cq *(*create_cq)(struct ibv_context *ctx, int entries, void *context,
                                struct ibv_comp_channel *channel);
    int (*destroy_cq)(struct ibv_cq *cq);
    int (*req_notify_cq)(struct ibv_cq *cq);
    int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **context);
    void (*ack_cq_events)(struct ibv_cq *cq, unsigned count);
    int (*poll_cq)(struct ibv_cq *cq, int room, struct ibv_wc *out);
    int (*post_send)(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad);
    int (*post_recv)(struct ibv_qp *qp, struct ibv_recv_wr *chain, struct ibv_recv_wr **bad);
};

extern const struct verbs_calls verbs_library; /* the real ones */

#endif
