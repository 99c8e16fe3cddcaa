/* Views of the proxies' group and leases from the membership service (`membership builtin`). Worker
 * 0 listens for the process; hot_view.c installs. */
#include <stdio.h>

#include "backends/member/membership.h"
#include "proxy/hot_private.h"

static struct {
    struct membership *m; /* NULL: views are injected, or there are none */
    struct membership_listener listener;
    struct worker *w0;
} state;

bool hot_member_lease(struct lease *lease)
{
    if (state.m == NULL) {
        return false;
    }
    *lease = membership_lease(state.m);
    return true;
}

bool hot_member_news(struct hot_worker *hw, struct lease *lease)
{
    if (state.m == NULL || membership_lease_mark(state.m) == hw->lease_mark) {
        return false;
    }
    hw->lease_mark = membership_lease_mark(state.m);
    *lease = membership_lease(state.m);
    return true;
}

static void on_news(void *arg, const struct membership_news *n)
{
    (void)arg;
    struct hot_group g = {.self = n->id};
    if (n->id == 0 || n->group != MAP_PROXIES || !map_view(&n->map, MAP_PROXIES, &g.view)) {
        return;
    }
    for (unsigned i = 0; i < n->map.node_count && g.peer_count < HOT_PEERS_MAX; i++) {
        const struct map_node *node = &n->map.nodes[i];
        if (node->group == MAP_PROXIES) {
            g.peers[g.peer_count].id = node->id;
            g.peers[g.peer_count].port = node->peer_port;
            snprintf(g.peers[g.peer_count].host, HOT_HOST_MAX, "%s", node->at.host);
            g.peer_count++;
        }
    }
    hot_install_here(&g);
}

/* This incarnation is over: its cores learn it and end what is open, then go. */
static bool on_expelled(void *arg)
{
    (void)arg;
    return !hot_retire();
}

void hot_member_retired(void)
{
    if (state.m != NULL) {
        membership_dropped(state.m, state.w0);
    }
}

void hot_member_start(struct proxy_worker *pw)
{
    state.m = proxy_membership(pw);
    state.w0 = pw->w;
    if (state.m != NULL) {
        state.listener = (struct membership_listener){.news = on_news, .expelled = on_expelled};
        membership_subscribe(state.m, pw->w, &state.listener);
    }
}
