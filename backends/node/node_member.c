/* A node under the membership service: what its configuration says of it, the acceptor in its
 * process, and a planned stop.
 *
 * Planned stop: first nothing new is begun (requests are told to go elsewhere), what is under way
 * comes to its end, then the lease is given back, so that the others need not wait for it, and when
 * this node is out of the map the process ends as always. */
#include <string.h>

#include "backends/member/acceptor.h"
#include "backends/member/membership.h"
#include "backends/member/routes.h"
#include "backends/node/node.h"
#include "backends/node/replica.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define LEAVE_MS 1500u
#define POLL_US 2000u

/* ---- which shard ---- */

/* The shard whose line names this node, or the only one. */
static enum err shard_of_lines(const struct node_settings *set, const struct cluster_node *self,
                               char out[CLUSTER_HOST_MAX], struct errmsg *why)
{
    struct cluster_settings bare = set->cluster;
    bare.nodes_optional = true;
    struct cluster_map *map = NULL;
    enum err e = cluster_map_new(&bare, 0, &map, why);
    if (e != OK) {
        return e;
    }
    const struct cluster_shard *found = NULL;
    for (uint32_t i = 0; map != NULL && i < map->node_count; i++) {
        const struct cluster_node *n = &map->nodes[i];
        if (n->port == self->port && strcmp(n->host, self->host) == 0) {
            found = &map->shards[n->shard];
        }
    }
    if (found == NULL && map != NULL && map->shard_count == 1) {
        found = &map->shards[0];
    }
    if (found != NULL) {
        memcpy(out, found->name, CLUSTER_HOST_MAX);
    } else {
        e = errmsg_set(why, ERR_CONFIG,
                       "join-shard: of which shard is this node? (no `shard` line names %s:%u)",
                       self->host, self->port);
    }
    cluster_map_drop(map);
    return e;
}

static enum err find_shard(const struct node_settings *set, struct node *node, struct errmsg *why)
{
    if (set->spare || set->witness) {
        return OK;
    }
    if (set->join_shard[0] != '\0') {
        strncpy(node->shard, set->join_shard, sizeof node->shard - 1);
        return OK;
    }
    return shard_of_lines(set, &node->self, node->shard, why);
}

static enum err make_join(const struct node_settings *set, const struct node *node,
                          struct member_join *join, struct errmsg *why)
{
    int64_t peer_port = set->server.port + set->peer_port_offset;
    *join = (struct member_join){.workers = (uint16_t)set->server.workers,
                                 .peer_port = (uint16_t)peer_port,
                                 .at.port = node->self.port};
    if (set->server.port == 0 || peer_port + set->server.workers > 65536) {
        return errmsg_set(why, ERR_CONFIG, "port %lld and peer-port-offset %lld leave no ports",
                          (long long)set->server.port, (long long)set->peer_port_offset);
    }
    if (!map_text_set(join->at.host, node->self.host, strlen(node->self.host)) ||
        (node->shard[0] != '\0' && !map_text_set(join->group, node->shard, strlen(node->shard)))) {
        return errmsg_set(why, ERR_CONFIG,
                          "cluster-announce-ip or join-shard has bytes that cannot be");
    }
    return OK;
}

static enum err start_acceptor(struct server *sv, struct node *node,
                               const struct member_map *genesis, struct errmsg *why)
{
    const struct node_settings *set = cfg_settings(server_cfg(sv));
    if (set->member.membership == MEMBERSHIP_ETCD) {
        return set->acceptor[0] != '\0' || set->witness
                   ? errmsg_set(why, ERR_CONFIG, "acceptors are a part of membership builtin")
                   : OK;
    }
    if (set->acceptor[0] == '\0') {
        return set->witness ? errmsg_set(why, ERR_CONFIG,
                                         "a witness needs `acceptor`: which of "
                                         "`acceptors` it is")
                            : OK;
    }
    if (genesis->group_count < 2) {
        return errmsg_set(why, ERR_CONFIG,
                          "an acceptor needs the `shard` lines of the cluster: names and slots");
    }
    const char *bind = set->server.bind.n == 1 ? set->server.bind.v[0] : "*";
    struct acceptor_options o = {.set = &set->member,
                                 .genesis = genesis,
                                 .self = set->acceptor,
                                 .bind = bind + (bind[0] == '-'),
                                 .state_file = set->acceptor_state_file,
                                 .metrics = server_metrics(sv)};
    return acceptor_start(&o, &node->acceptor, why);
}

enum err node_member_prepare(struct server *sv, struct node *node, struct errmsg *why)
{
    const struct node_settings *set = cfg_settings(server_cfg(sv));
    struct member_map *genesis = mem_alloc(sizeof *genesis);
    struct membership_start_options o = {.server = sv, .set = &set->member, .genesis = genesis};
    cluster_own_address(set->announce_ip, &set->server.bind, set->server.port, &node->self);
    enum err e = genesis_make(&set->member, &set->cluster, genesis, why);
    if (e == OK) {
        e = find_shard(set, node, why);
    }
    if (e == OK) {
        e = make_join(set, node, &o.join, why);
    }
    if (e == OK) {
        e = start_acceptor(sv, node, genesis, why);
    }
    if (e == OK && !set->witness) {
        node->membership = membership_new(&o, (unsigned)set->server.workers);
        log_notice("This node is %s:%u%s%s", node->self.host, node->self.port,
                   node->shard[0] != '\0' ? " of shard " : ", a spare", node->shard);
    }
    mem_free(genesis);
    return e;
}

void node_member_end(struct node *node)
{
    acceptor_stop(node->acceptor);
    membership_free(node->membership);
    node->acceptor = NULL;
    node->membership = NULL;
}

/* ---- planned stop ---- */

struct leaving {
    struct server *sv;
    struct node *node;
    struct loop_timer *timer;
    uint64_t deadline_ns;
    uint64_t busy; /* operations under way */
};

static void leave_round(void *arg);

static void left(void *arg)
{
    struct leaving *l = arg;
    loop_timer_free(l->timer);
    server_drain(l->sv, NULL);
    mem_free(l);
}

static void leave_each(struct worker *w, void *arg)
{
    struct leaving *l = arg;
    l->busy += replica_leave(w->data);
}

static void leave_done(struct worker *w, void *arg)
{
    struct leaving *l = arg;
    if (l->timer == NULL) {
        l->timer = loop_timer_new(w->loop, leave_round, l);
    }
    if (l->busy != 0 && clk_mono_ns() < l->deadline_ns) {
        loop_timer_start(l->timer, POLL_US);
        return;
    }
    membership_leave(l->node->membership, LEAVE_MS, left, l);
}

static void leave_round(void *arg)
{
    struct leaving *l = arg;
    l->busy = 0;
    server_round(server_worker(l->sv, 0), leave_each, leave_done, l);
}

void node_member_drain(struct server *sv)
{
    struct node *node = server_data(sv);
    if (node->membership == NULL) {
        server_drain(sv, NULL);
        return;
    }
    const struct worker *w0 = server_worker(sv, 0);
    struct leaving *l = mem_zalloc(sizeof *l);
    l->sv = sv;
    l->node = node;
    l->deadline_ns = clk_mono_ns() + (uint64_t)w0->set->shutdown_timeout * 1000000000u;
    leave_round(l);
}
