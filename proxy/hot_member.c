/* Views of the proxies' group and leases from the membership service (`membership builtin`). Worker
 * 0 listens for the process; hot_view.c installs. */
#include <stdio.h>

#include "backends/member/membership.h"
#include "common/clock.h"
#include "proxy/hot_private.h"

static struct {
    struct membership *m; /* NULL: views are injected, or there are none */
    struct membership_listener listener;
    struct worker *w0;
    /* When an incarnation was left out soon after it came, the next one comes later: who does not
     * hear the others would stop their writes again and again. */
    uint32_t id;
    uint64_t since_ns, pause_us;
    struct loop_timer *timer;
} state;

#define SHORT_LIFE_NS 3000000000u
#define PAUSE_FIRST_US 2000000u
#define PAUSE_MAX_US 16000000u

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
    if (n->id != state.id) {
        state.id = n->id;
        state.since_ns = clk_boot_ns();
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

static void on_pause_over(void *arg)
{
    (void)arg;
    membership_dropped(state.m, state.w0); /* it joins again */
}

void hot_member_retired(void)
{
    if (state.m == NULL) {
        return;
    }
    if (clk_boot_ns() - state.since_ns > SHORT_LIFE_NS) {
        state.pause_us = 0;
        on_pause_over(NULL);
        return;
    }
    state.pause_us = state.pause_us == 0 ? PAUSE_FIRST_US : state.pause_us * 2;
    state.pause_us = state.pause_us < PAUSE_MAX_US ? state.pause_us : PAUSE_MAX_US;
    loop_timer_start(state.timer, state.pause_us);
}

void hot_member_stop(void)
{
    loop_timer_free(state.timer);
    state.timer = NULL;
}

/* Worker 0: tells the service whom a worker blames, again and again while it does. */
static void tell_blame(void *arg)
{
    (void)arg;
    uint32_t id = 0;
    for (unsigned i = 0; i < hot_worker_count() && id == 0; i++) {
        struct hot_worker *hw = hot_worker_of(i);
        id = hw != NULL ? atomic_load_explicit(&hw->blames, memory_order_relaxed) : 0;
    }
    struct hot_worker *first = hot_worker_of(0);
    if (first != NULL && !first->stopping) {
        struct member_provider *p = membership_provider(state.m);
        p->ops->blame(p, id);
    }
}

void hot_member_blame(struct hot_worker *hw)
{
    (void)hw;
    if (state.m != NULL) {
        loop_post(state.w0->loop, tell_blame, NULL);
    }
}

void hot_member_start(struct proxy_worker *pw)
{
    state.m = proxy_membership(pw);
    state.w0 = pw->w;
    if (state.m != NULL) {
        state.timer = loop_timer_new(pw->w->loop, on_pause_over, NULL);
        state.listener = (struct membership_listener){.news = on_news, .expelled = on_expelled};
        membership_subscribe(state.m, pw->w, &state.listener);
    }
}
