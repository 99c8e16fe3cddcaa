/* A replica under the membership service: incarnations that come and go within one process.
 *
 *     none --(news with an id)--> incarnation: transport, core, views as they come
 *      ^                                  |
 *      +--(all gone, store empty)-- dropping <--(expelled)--+
 *
 * While it is dropping the core knows that it is out of its view and ends what is open: writes
 * whose end it cannot know as UNKNOWN, what only waited as TRYAGAIN (H13). Then transport, core and
 * all keys go, and the process may join again, with another id (V4). Requests meanwhile are told to
 * go elsewhere. */
#include <string.h>

#include "backends/member/routes.h"
#include "backends/node/replica_private.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

#define DROP_POLL_US 500u
#define DROP_NS 2000000000u /* then what is still open is UNKNOWN */

/* ---- leases ---- */

void replica_take_lease(struct replica *r)
{
    uint32_t mark = membership_lease_mark(r->membership);
    if (mark == r->lease_mark || r->core == NULL) {
        return;
    }
    r->lease_mark = mark;
    uint64_t now = clk_boot_ns();
    r->now_ns = now > r->now_ns ? now : r->now_ns;
    struct hermes_in in = {.kind = HERMES_IN_LEASE, .now_ns = r->now_ns, .wall_ms = clk_wall_ms()};
    in.u.lease = membership_lease(r->membership);
    r->out.count = 0;
    (void)!hermes_step(r->core, &in, &r->out); /* only notes it */
    must(r->out.count == 0);
}

/* ---- views ---- */

static bool incarnate(struct replica *r, const struct membership_news *n)
{
    struct errmsg why = {""};
    memcpy(r->group, n->map.groups[n->group].name, sizeof r->group);
    r->id = n->id;
    if (replica_open_transport(r, r->group, &why) != OK) {
        log_warning("%s: without its peers this node is in the way of its shard, so it ends",
                    why.text);
        server_stop(r->nw->w->server, 1);
        return false;
    }
    replica_core_start(r, n->id, n->founder);
    return true;
}

static void install_view(struct replica *r, const struct membership_news *n)
{
    struct view v;
    struct transport_peer peers[VIEW_NODES_MAX];
    unsigned count = 0;
    if (!map_view(&n->map, n->group, &v) || v.epoch <= hermes_view(r->core)->epoch) {
        return;
    }
    for (unsigned i = 0; i < n->map.node_count && count < VIEW_NODES_MAX; i++) {
        const struct map_node *m = &n->map.nodes[i];
        if (m->group == n->group) {
            peers[count++] = (struct transport_peer){m->id, m->at.host,
                                                     (uint16_t)(m->peer_port + r->nw->w->index)};
        }
    }
    replica_set_peers(r, &v, peers, count);
    replica_install(r, &v);
}

static void on_news(void *arg, const struct membership_news *n)
{
    struct replica *r = arg;
    struct node_worker *nw = r->nw;
    uint16_t group = n->id != 0 ? n->group : map_group_by_name(&n->map, nw->node->shard);
    struct cluster_map *map = routes_make(&n->map, server_workers(nw->w->server));
    node_slots_follow(nw, map, group != MAP_NO_GROUP && group > MAP_PROXIES ? group - 1 : -1);
    cluster_map_drop(map);
    if (n->id == 0 || r->dropping) {
        return;
    }
    if (r->core != NULL && r->id != n->id) { /* `expelled` comes first */
        log_warning("news of incarnation %u came to incarnation %u", n->id, r->id);
        return;
    }
    if (r->core != NULL || incarnate(r, n)) {
        install_view(r, n);
    }
}

/* ---- the end of an incarnation ---- */

static bool nothing_open(const struct replica *r)
{
    return r->open_rops == 0 && r->flush == NULL && r->nw->again == NULL;
}

static void on_drop(void *arg)
{
    struct replica *r = arg;
    if (!nothing_open(r) && clk_boot_ns() < r->drop_until_ns) {
        loop_timer_start(r->drop_timer, DROP_POLL_US);
        return;
    }
    uint32_t id = r->id;
    replica_core_stop(r, true);
    store_flush(r->nw->store, -1);
    node_cron_hurry(r->nw);
    r->dropping = false;
    log_notice("All data of incarnation %u is gone", id);
    node_resume_waiting(r->nw);
    membership_dropped(r->membership, r->nw->w);
}

static bool on_expelled(void *arg)
{
    struct replica *r = arg;
    if (r->core == NULL) {
        return true;
    }
    r->dropping = true;
    /* a view that only the core sees: without itself */
    struct view out = {.epoch = hermes_view(r->core)->epoch + 1, .members = 1};
    out.ids[0] = r->id == 1 ? 2 : 1;
    replica_set_peers(r, &out, NULL, 0);
    replica_install(r, &out);
    r->drop_until_ns = clk_boot_ns() + DROP_NS;
    loop_timer_start(r->drop_timer, DROP_POLL_US);
    return false;
}

uint64_t replica_leave(struct node_worker *nw)
{
    struct replica *r = nw->replica;
    r->leaving = true;
    nw->may_read = false;
    return r->open_rops + (r->flush != NULL) + (nw->again != NULL);
}

void replica_member_start(struct replica *r)
{
    r->drop_timer = loop_timer_new(r->nw->w->loop, on_drop, r);
    r->listener = (struct membership_listener){.arg = r, .news = on_news, .expelled = on_expelled};
    membership_subscribe(r->membership, r->nw->w, &r->listener);
}

void replica_member_stop(struct replica *r)
{
    loop_timer_free(r->drop_timer);
    r->drop_timer = NULL;
}
