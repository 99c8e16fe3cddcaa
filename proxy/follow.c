/* A proxy under the membership service: its routes follow the map, and it is a member of the
 * proxies' group itself. */
#include <string.h>

#include "backends/member/membership.h"
#include "backends/member/provider.h"
#include "backends/member/routes.h"
#include "common/clustermap.h"
#include "common/log.h"
#include "common/mem.h"
#include "proxy/lane.h"
#include "proxy/resolve.h"

#define LEAVE_MS 1500u
#define PEER_PORT_ABOVE 10000

struct follower {
    struct proxy_worker *pw;
    struct membership_listener listener;
    const struct membership_news *news; /* borrowed: the newest, while it is that */
};

static struct proxy *proxy_of(const struct proxy_worker *pw)
{
    return server_data(pw->w->server);
}

struct membership *proxy_membership(const struct proxy_worker *pw)
{
    return proxy_of(pw)->membership;
}

const struct membership_news *follow_news(const struct proxy_worker *pw)
{
    return pw->follower != NULL ? pw->follower->news : NULL;
}

/* ---- the start ---- */

static enum err make_join(const struct proxy_settings *set, struct member_join *join,
                          struct errmsg *why)
{
    struct cluster_node self;
    cluster_own_address(set->announce_ip, &set->server.bind, set->server.port, &self);
    int64_t port = set->announce_port != 0 ? set->announce_port : set->server.port;
    int64_t peer_port = set->peer_port != 0 ? set->peer_port : set->server.port + PEER_PORT_ABOVE;
    if (set->server.port == 0 || peer_port + set->server.workers > 65536) {
        return errmsg_set(why, ERR_CONFIG, "peer-port: %lld and %lld workers leave no ports",
                          (long long)peer_port, (long long)set->server.workers);
    }
    *join = (struct member_join){.at.port = (uint16_t)port,
                                 .workers = (uint16_t)set->server.workers,
                                 .peer_port = (uint16_t)peer_port};
    (void)map_text_set(join->group, MAP_PROXIES_NAME, strlen(MAP_PROXIES_NAME));
    if (!map_text_set(join->at.host, self.host, strlen(self.host))) {
        return errmsg_set(why, ERR_CONFIG, "cluster-announce-ip has bytes that cannot be");
    }
    return OK;
}

enum err follow_prepare(struct server *sv, struct proxy *proxy, struct errmsg *why)
{
    const struct proxy_settings *set = cfg_settings(server_cfg(sv));
    struct member_map *genesis = mem_alloc(sizeof *genesis);
    struct member_map *first = mem_alloc(sizeof *first);
    struct membership_start_options o = {.server = sv, .set = &set->member, .genesis = genesis};
    struct cluster_settings none = {.node_workers = 1}; /* the shards are agreed elsewhere */
    enum err e = genesis_make(&set->member, &none, genesis, why);
    if (e == OK) {
        e = make_join(set, &o.join, why);
    }
    if (e == OK) {
        provider_first_map(&set->member, genesis, first);
        proxy->map = routes_make(first, 0);
        proxy->membership = membership_new(&o, (unsigned)set->server.workers);
        log_notice("Cluster map version %llu: %u shards, nodes have %u workers",
                   (unsigned long long)first->version, proxy->map->shard_count,
                   proxy->map->workers);
    }
    mem_free(first);
    mem_free(genesis);
    return e;
}

/* ---- following ---- */

static void on_news(void *arg, const struct membership_news *n)
{
    struct follower *f = arg;
    struct proxy_worker *pw = f->pw;
    f->news = n;
    struct cluster_map *map = routes_make(&n->map, pw->route->workers);
    if (map == NULL || map->shard_count * map->workers != pw->route->partitions) {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_warning(
                "The cluster has other shards now than when this proxy started: restart it");
        }
        cluster_map_drop(map);
        return;
    }
    route_follow(pw->route, map, pw->pool, lanes_left, pw);
    lanes_connect(pw);
    if (pw->w->index == 0) {
        resolver_follow(pw->resolver, map);
    }
    cluster_map_drop(map);
}

void follow_start(struct proxy_worker *pw)
{
    struct membership *m = proxy_membership(pw);
    if (m == NULL) {
        return;
    }
    struct follower *f = mem_zalloc(sizeof *f);
    f->pw = pw;
    f->listener = (struct membership_listener){.arg = f, .news = on_news};
    pw->follower = f;
    membership_subscribe(m, pw->w, &f->listener);
    if (pw->w->index == 0) {
        membership_run(m, pw->w, &pw->set->member);
    }
}

void follow_stop(struct proxy_worker *pw)
{
    if (pw->follower != NULL && pw->w->index == 0) {
        membership_stop(proxy_membership(pw));
    }
    mem_free(pw->follower);
    pw->follower = NULL;
}

/* ---- planned stop: when the clients' last requests are answered, nobody needs to wait for the
 * lease ---- */

static void left(void *arg)
{
    server_stop(arg, 0);
}

static void drained(struct server *sv)
{
    membership_leave(((struct proxy *)server_data(sv))->membership, LEAVE_MS, left, sv);
}

void follow_drain(struct server *sv)
{
    const struct proxy *proxy = server_data(sv);
    server_drain(sv, proxy->membership != NULL ? drained : NULL);
}
