/* Where a replica's view and lease come from.
 *
 * static: The shard line is the view: epoch 1, replica i has id i + 1, and the lease never ends.
 * That is only safe while no id is ever used by two processes (DESIGN section 3, incarnations), and
 * a process that restarts has lost its store. So each process draws a boot number and tells it to
 * its peers, who remember the first they hear for each id: a replica serves only when all its peers
 * have agreed that they know no other process of its id, and what comes from a process that took
 * over an id is not heard. A replica that restarts alone therefore stays out, with a line in its
 * log that says so. All of a shard may restart together: then there is nothing left to be
 * consistent with.
 *
 * injected: Views and leases come by command, from a test or an operator's tool that plays the
 * membership service:
 *
 *   HALCYON VIEW epoch SELF id MEMBERS id@host:port ... [LEARNERS id@host:port ...] [FOUNDER]
 *   HALCYON LEASE epoch until      (until: CLOCK_BOOTTIME of this machine, ns)
 *
 * ports are those of the peers' transport of this worker.
 *
 * builtin: replica_member.c. */
#include <string.h>

#include "backends/node/replica_private.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"
#include "rdma/viewspec.h"

#define BOOT_BYTES 17u

static struct replica_peer *peer_of(struct replica *r, uint32_t id)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].id == id) {
            return &r->peers[i];
        }
    }
    return NULL;
}

bool replica_hears(const struct replica *r, uint32_t peer)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (r->peers[i].id == peer) {
            return r->injected || r->membership != NULL ||
                   (r->peers[i].boot != 0 && !r->peers[i].refused);
        }
    }
    return false;
}

void replica_install(struct replica *r, const struct view *v)
{
    struct hermes_in in = {
        .kind = HERMES_IN_VIEW, .now_ns = clk_boot_ns(), .wall_ms = clk_wall_ms(), .u.view = v};
    (void)replica_step(r, &in);
    transport_set_epoch(r->transport, v->epoch);
    replica_release_held(r);
}

static void give_lease(struct replica *r, uint64_t epoch, uint64_t until_ns)
{
    struct hermes_in in = {
        .kind = HERMES_IN_LEASE, .now_ns = clk_boot_ns(), .wall_ms = clk_wall_ms()};
    in.u.lease = (struct lease){.epoch = epoch, .until_ns = until_ns};
    (void)replica_step(r, &in);
}

/* ---- static ---- */

static void send_boot(struct replica *r, const struct replica_peer *p)
{
    char m[BOOT_BYTES] = {(char)REPLICA_FRAME_BOOT};
    memcpy(m + 1, &r->boot, 8);
    memcpy(m + 9, &p->boot, 8);
    (void)!transport_send(r->transport, p->id, 0, m,
                          sizeof m); /* lost with the connection: said again with the next */
}

static void agree(struct replica *r)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (!r->peers[i].agreed) {
            return;
        }
    }
    if (!r->founder_agreed) {
        r->founder_agreed = true;
        give_lease(r, 1, UINT64_MAX);
        log_notice("Replica %u serves: all replicas of the shard agree on its members", r->id);
    }
}

void replica_on_connected(struct replica *r, uint32_t peer)
{
    const struct replica_peer *p = peer_of(r, peer);
    if (!r->injected && r->membership == NULL && p != NULL) {
        send_boot(r, p);
    }
}

bool replica_on_boot(struct replica *r, uint32_t peer, struct span bytes)
{
    struct replica_peer *p = peer_of(r, peer);
    if (bytes.len != BOOT_BYTES || p == NULL || r->injected || r->membership != NULL) {
        return false;
    }
    uint64_t theirs = 0;
    uint64_t mine = 0;
    memcpy(&theirs, bytes.p + 1, 8);
    memcpy(&mine, bytes.p + 9, 8);
    if (theirs == 0) {
        return false;
    }
    bool first = p->boot == 0;
    if (first) {
        p->boot = theirs;
    }
    if (theirs != p->boot && !p->refused) {
        p->refused = true;
        log_warning("Replica %u is another process now: it restarted without its data and is not "
                    "let in again. "
                    "Restart all nodes of the shard, or use a membership service.",
                    peer);
    }
    if (mine != 0 && mine != r->boot) {
        log_warning("This replica restarted while replica %u went on: with `membership static` it "
                    "cannot come back and "
                    "serves nothing. Restart all nodes of the shard, or use a membership service.",
                    peer);
        return true;
    }
    if (mine == r->boot && !p->refused && !p->agreed) {
        p->agreed = true;
        agree(r);
    }
    if (first || mine != r->boot) {
        send_boot(r, p); /* now it knows that we know */
    }
    return true;
}

static enum err start_static(struct replica *r, struct errmsg *why)
{
    const struct cluster_map *map = r->nw->map;
    const struct node_settings *set = r->nw->w->settings;
    const struct cluster_shard *shard = &map->shards[r->nw->node->self.shard];
    struct view v = {.epoch = 1, .members = (uint8_t)shard->node_count};
    for (unsigned i = 0; i < shard->node_count; i++) {
        const struct cluster_node *n = &map->nodes[shard->first_node + i];
        v.ids[i] = i + 1;
        if (i == r->nw->node->self.replica) {
            continue;
        }
        r->peers[r->peer_count++] = (struct replica_peer){.id = i + 1};
        struct transport_peer p = {
            .member = i + 1,
            .host = n->host,
            .port = (uint16_t)(n->port + set->peer_port_offset + (int64_t)r->nw->w->index)};
        enum err e = transport_add_peer(r->transport, &p);
        if (e != OK) {
            return errmsg_set(why, e, "replica %u: %s", i + 1, err_text(e));
        }
    }
    replica_core_start(r, r->id, true);
    replica_install(r, &v);
    return OK;
}

enum err replica_view_start(struct replica *r, struct errmsg *why)
{
    if (r->membership != NULL) {
        replica_member_start(r);
        return OK;
    }
    return r->injected ? OK : start_static(r, why);
}

/* ---- injected ---- */

void replica_set_peers(struct replica *r, const struct view *v, const struct transport_peer *peers,
                       unsigned count)
{
    for (unsigned i = 0; i < r->peer_count; i++) {
        if (view_index(v, r->peers[i].id) < 0) {
            transport_remove_peer(r->transport, r->peers[i].id);
        }
    }
    r->peer_count = 0;
    for (unsigned i = 0; i < count; i++) {
        if (peers[i].member == r->id) {
            continue;
        }
        enum err e = transport_add_peer(r->transport, &peers[i]);
        if (e != OK && e != ERR_EXISTS) {
            log_warning("replica %u: %s", peers[i].member, err_text(e));
        }
        r->peers[r->peer_count++] = (struct replica_peer){.id = peers[i].member};
    }
}

static void command_view(struct replica *r, const struct span *argv, int argc, struct resp_out *out)
{
    struct view_spec p;
    if (!view_spec_parse(argv, argc, &p)) {
        resp_error(out, VIEW_SPEC_USAGE);
        return;
    }
    if (r->core != NULL && p.self != r->id) {
        resp_errorf(out, "ERR this process is incarnation %u and cannot become another", r->id);
        return;
    }
    if (r->core == NULL && p.self != r->id) {
        resp_errorf(out, "ERR this process was started as replica %u: set incarnation-id", r->id);
        return;
    }
    if (r->core == NULL) {
        replica_core_start(r, p.self, p.founder);
    }
    replica_set_peers(r, &p.view, p.peers, p.peer_count);
    replica_install(r, &p.view);
    resp_ok(out);
}

static void command_lease(struct replica *r, const struct span *argv, int argc,
                          struct resp_out *out)
{
    int64_t epoch = 0;
    int64_t until_ns = 0;
    if (argc != 4 || !num_parse_i64(argv[2], &epoch) || !num_parse_i64(argv[3], &until_ns) ||
        epoch < 1 || until_ns < 0 || r->core == NULL) {
        resp_error(out, "ERR HALCYON LEASE takes an epoch and a time, after a view");
        return;
    }
    give_lease(r, (uint64_t)epoch, (uint64_t)until_ns);
    resp_ok(out);
}

void replica_command(struct node_worker *nw, const struct span *argv, int argc,
                     struct resp_out *out)
{
    struct replica *r = nw->replica;
    if (r == NULL || !r->injected) {
        resp_error(out,
                   "ERR views and leases are taken from outside only with `membership injected`");
        return;
    }
    if (span_is(argv[1], "view")) {
        command_view(r, argv, argc, out);
    } else {
        command_lease(r, argv, argc, out);
    }
}
