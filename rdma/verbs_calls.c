/* The real verbs library behind struct verbs_calls. Inline functions and macros of its headers get
 * a wrapper. */
#include "rdma/verbs_calls.h"

static const char *device_name(struct ibv_context *ctx)
{
    return ibv_get_device_name(ctx->device);
}

static int query_port(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *out)
{
    return ibv_query_port(ctx, port, out);
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *p, size_t len)
{
    return ibv_reg_mr(pd, p, len, IBV_ACCESS_LOCAL_WRITE);
}

static struct ibv_cq *create_cq(struct ibv_context *ctx, int entries, void *context,
                                struct ibv_comp_channel *channel)
{
    return ibv_create_cq(ctx, entries, context, channel, 0);
}

static int req_notify_cq(struct ibv_cq *cq)
{
    return ibv_req_notify_cq(cq, 0);
}

static int poll_cq(struct ibv_cq *cq, int room, struct ibv_wc *out)
{
    return ibv_poll_cq(cq, room, out);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *chain, struct ibv_send_wr **bad)
{
    return ibv_post_send(qp, chain, bad);
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *chain, struct ibv_recv_wr **bad)
{
    return ibv_post_recv(qp, chain, bad);
}

static int create_id(struct rdma_event_channel *channel, struct rdma_cm_id **out, void *context)
{
    return rdma_create_id(channel, out, context, RDMA_PS_TCP);
}

static uint16_t get_src_port(struct rdma_cm_id *id)
{
    return rdma_get_src_port(id);
}

const struct verbs_calls verbs_library = {
    .get_devices = rdma_get_devices,
    .free_devices = rdma_free_devices,
    .device_name = device_name,
    .query_device = ibv_query_device,
    .query_port = query_port,
    .query_gid = ibv_query_gid,
    .create_event_channel = rdma_create_event_channel,
    .destroy_event_channel = rdma_destroy_event_channel,
    .get_cm_event = rdma_get_cm_event,
    .ack_cm_event = rdma_ack_cm_event,
    .create_id = create_id,
    .destroy_id = rdma_destroy_id,
    .bind_addr = rdma_bind_addr,
    .get_src_port = get_src_port,
    .listen = rdma_listen,
    .resolve_addr = rdma_resolve_addr,
    .resolve_route = rdma_resolve_route,
    .set_option = rdma_set_option,
    .connect = rdma_connect,
    .accept = rdma_accept,
    .reject = rdma_reject,
    .disconnect = rdma_disconnect,
    .create_qp = rdma_create_qp,
    .destroy_qp = rdma_destroy_qp,
    .alloc_pd = ibv_alloc_pd,
    .dealloc_pd = ibv_dealloc_pd,
    .reg_mr = reg_mr,
    .dereg_mr = ibv_dereg_mr,
    .create_comp_channel = ibv_create_comp_channel,
    .destroy_comp_channel = ibv_destroy_comp_channel,
    .create_cq = create_cq,
    .destroy_cq = ibv_destroy_cq,
    .req_notify_cq = req_notify_cq,
    .get_cq_event = ibv_get_cq_event,
    .ack_cq_events = ibv_ack_cq_events,
    .poll_cq = poll_cq,
    .post_send = post_send,
    .post_recv = post_recv,
};
