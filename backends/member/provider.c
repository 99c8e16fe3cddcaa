/* Which provider there is, and waiting for a cluster to begin. */
#include "backends/member/provider.h"

#include "backends/member/builtin.h"
#include "backends/member/etcd.h"
#include "common/log.h"

struct member_provider *provider_new(struct loop *l, const struct member_settings *set,
                                     const struct member_map *genesis,
                                     const struct member_events *events, void *arg)
{
    return set->membership == MEMBERSHIP_ETCD ? etcd_provider_new(l, set, genesis, events, arg)
                                              : builtin_new(l, set, genesis, events, arg);
}

#define WAIT_SAY_US 3000000u

struct waiting {
    struct loop *loop;
    struct member_provider *p;
    struct loop_timer *timer;
    struct member_map *out;
};

static bool has_nodes(const struct member_map *m)
{
    for (uint16_t g = 1; g < m->group_count; g++) {
        if (map_members(m, g) != 0) {
            return true;
        }
    }
    return false;
}

static void on_first_map(void *arg, const struct member_map *m)
{
    struct waiting *w = arg;
    if (has_nodes(m)) {
        *w->out = *m;
        loop_stop(w->loop);
    }
}

static void on_waiting(void *arg)
{
    struct waiting *w = arg;
    unsigned all = 0;
    unsigned reachable = 0;
    w->p->ops->reach(w->p, &all, &reachable);
    log_notice("Waiting for the first node of the cluster; %u of %u acceptors answer", reachable,
               all);
    loop_timer_start(w->timer, WAIT_SAY_US);
}

static void ignore_lease(void *arg, struct lease lease)
{
    (void)arg;
    (void)lease;
}

void provider_first_map(const struct member_settings *set, const struct member_map *genesis,
                        struct member_map *out)
{
    /* who did not join hears of maps only */
    static const struct member_events first_events = {.map = on_first_map, .lease = ignore_lease};
    struct waiting w = {.loop = loop_new(), .out = out};
    w.timer = loop_timer_new(w.loop, on_waiting, &w);
    w.p = provider_new(w.loop, set, genesis, &first_events, &w);
    loop_timer_start(w.timer, WAIT_SAY_US);
    loop_run(w.loop);
    w.p->ops->stop(w.p);
    loop_timer_free(w.timer);
    loop_free(w.loop);
}
