/* Finding RDMA devices: by the address they carry, through the GID table, whose IPv4 entries are
 * mapped addresses (::ffff:a.b.c.d). The connection manager picks device, port and GID of a
 * connection from the addresses in the same way, so binding to an address is choosing all three. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "rdma/verbs.h"

#define GIDS_MAX 256

/* ---- the worker's things on a device ---- */
static int numa_node_of(const char *device)
{
    char path[160];
    snprintf(path, sizeof path, "/sys/class/infiniband/%s/device/numa_node", device);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1; /* software devices have none */
    }
    char text[16] = "";
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? (int)strtol(text, NULL, 10) : -1;
}

static void clamp_credits(struct verbs *v, const struct verbs_device *d)
{
    uint32_t most = (uint32_t)d->attr.max_qp_wr / 2;
    uint32_t fixed = v->credits[SLAB_ACK] + v->credits[SLAB_CONTROL];
    if (most > fixed + 2 && v->credits[SLAB_DATA] + fixed > most) {
        v->credits[SLAB_DATA] = most - fixed;
        log_notice("rdma: %s allows queues of %d, data credits lowered to %u",
                   v->calls->device_name(d->ctx), d->attr.max_qp_wr, v->credits[SLAB_DATA]);
    }
}

struct verbs_device *device_get(struct verbs *v, struct ibv_context *ctx)
{
    for (struct verbs_device *d = v->devices; d != NULL; d = d->next) {
        if (d->ctx == ctx) {
            return d;
        }
    }
    struct verbs_device *d = mem_zalloc(sizeof *d);
    d->v = v;
    d->ctx = ctx;
    d->numa_node = numa_node_of(v->calls->device_name(ctx));
    if (v->calls->query_device(ctx, &d->attr) != 0 || (d->pd = v->calls->alloc_pd(ctx)) == NULL) {
        goto fail;
    }
    d->channel = v->calls->create_comp_channel(ctx);
    if (d->channel == NULL || fcntl(d->channel->fd, F_SETFL, O_NONBLOCK) != 0) {
        goto fail;
    }
    clamp_credits(v, d);
    d->io = loop_io_new(v->t->o.loop, d->channel->fd, poll_device_ready, d);
    loop_io_set(d->io, LOOP_READ);
    d->next = v->devices;
    v->devices = d;
    return d;
fail:
    log_warning("rdma: cannot use device %s: %s", v->calls->device_name(ctx),
                strerrordesc_np(errno));
    device_free(d);
    return NULL;
}

void device_free(struct verbs_device *d)
{
    const struct verbs_calls *c = d->v->calls;
    loop_io_free(d->io);
    if (d->channel != NULL) {
        (void)c->destroy_comp_channel(d->channel);
    }
    if (d->pd != NULL) {
        (void)c->dealloc_pd(d->pd);
    }
    mem_free(d);
}

/* ---- choosing ---- */
static bool gid_of(const char *host, union ibv_gid *out)
{
    struct sockaddr_storage a;
    unsigned len = 0;
    memset(out, 0, sizeof *out);
    if (host == NULL || host[0] == '\0' || strcmp(host, "*") == 0 ||
        address_resolve(host, 0, true, &a, &len) != OK) {
        return false;
    }
    if (a.ss_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, &a, sizeof in);
        memcpy(out->raw, &in.sin6_addr, sizeof out->raw);
        return !IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr);
    }
    struct sockaddr_in in;
    memcpy(&in, &a, sizeof in);
    out->raw[10] = out->raw[11] = 0xff;
    memcpy(out->raw + 12, &in.sin_addr, 4);
    return in.sin_addr.s_addr != 0;
}

/* The index of the GID, or -1. */
static int find_gid(const struct verbs_calls *calls, struct ibv_context *ctx, uint8_t port,
                    int count, const union ibv_gid *wanted)
{
    for (int i = 0; i < count && i < GIDS_MAX; i++) {
        union ibv_gid gid;
        if (calls->query_gid(ctx, port, i, &gid) == 0 &&
            memcmp(gid.raw, wanted->raw, sizeof gid.raw) == 0) {
            return i;
        }
    }
    return -1;
}

/* Is there a port of this device that will do? Devices whose address is kept by the network
 * interface only (iWARP: the GID is the interface's MAC) cannot be told by GID; the connection
 * manager's bind decides there. */
static bool port_fits(const struct verbs_calls *calls, struct ibv_context *ctx,
                      const union ibv_gid *wanted, struct device_choice *out)
{
    struct ibv_device_attr attr;
    if (calls->query_device(ctx, &attr) != 0) {
        return false;
    }
    for (uint8_t port = 1; port <= attr.phys_port_cnt; port++) {
        struct ibv_port_attr p;
        if (calls->query_port(ctx, port, &p) != 0 || p.state != IBV_PORT_ACTIVE) {
            continue;
        }
        int gid = wanted != NULL ? find_gid(calls, ctx, port, p.gid_tbl_len, wanted) : -1;
        if (wanted == NULL || gid >= 0) {
            snprintf(out->device, sizeof out->device, "%s", calls->device_name(ctx));
            out->port = port;
            out->gid_index = gid;
            out->mtu = p.active_mtu >= IBV_MTU_256 ? 128u << p.active_mtu : 0;
            out->link = p.link_layer == IBV_LINK_LAYER_INFINIBAND ? "InfiniBand" : "Ethernet";
            return true;
        }
    }
    return false;
}

/* Which device the connection manager would take for the address: asks it. NULL: none. */
static struct ibv_context *bind_probe(const struct verbs_calls *calls, const char *host)
{
    struct sockaddr_storage a;
    unsigned len = 0;
    struct rdma_event_channel *channel = calls->create_event_channel();
    if (channel == NULL) {
        return NULL;
    }
    struct ibv_context *found = NULL;
    struct rdma_cm_id *id = NULL;
    if (address_resolve(host, 0, true, &a, &len) == OK &&
        calls->create_id(channel, &id, NULL) == 0) {
        if (calls->bind_addr(id, (struct sockaddr *)&a) == 0) {
            found = id->verbs;
        }
        (void)calls->destroy_id(id);
    }
    calls->destroy_event_channel(channel);
    return found;
}

enum err device_choose(const struct verbs_calls *calls, const char *host, const char *wanted,
                       struct device_choice *out, struct errmsg *why)
{
    int count = 0;
    struct ibv_context **list = calls->get_devices(&count);
    if (list == NULL || count == 0) {
        if (list != NULL) {
            calls->free_devices(list);
        }
        return errmsg_set(why, ERR_NOTFOUND, "there is no RDMA device");
    }
    union ibv_gid gid;
    bool bound = gid_of(host, &gid);
    struct ibv_context *probed = bound ? bind_probe(calls, host) : NULL;
    char seen[128] = "";
    enum err e = ERR_NOTFOUND;
    for (int i = 0; i < count && e != OK; i++) {
        const char *name = calls->device_name(list[i]);
        size_t at = strlen(seen);
        snprintf(seen + at, sizeof seen - at, "%s%s", at != 0 ? ", " : "", name);
        if (wanted != NULL && wanted[0] != '\0' && strcmp(wanted, name) != 0) {
            continue;
        }
        if (port_fits(calls, list[i], bound ? &gid : NULL, out) ||
            (probed == list[i] && port_fits(calls, list[i], NULL, out))) {
            e = OK;
        }
    }
    calls->free_devices(list);
    if (e != OK) {
        if (wanted != NULL && wanted[0] != '\0') {
            return errmsg_set(why, e,
                              "device %s does not carry address %s on an active port (seen: %s)",
                              wanted, bound ? host : "(any)", seen);
        }
        return errmsg_set(why, e, "no RDMA device carries address %s on an active port (seen: %s)",
                          bound ? host : "(any)", seen);
    }
    return OK;
}
