/* Membership for the workers of a process.
 *
 * Worker 0 runs the provider and hands news to the other workers through mailboxes: one per worker,
 * holding the newest news only, so that a worker that is late gets one map instead of ten, and
 * nothing is allocated that a loop which has ended would leave lying about.
 *
 *     provider --map, view--> news --mailbox--> listeners of each worker
 *     provider --lease--> pair (sequence lock) <-- read by every worker
 *     expelled: all workers drop -> all have dropped -> join again */
#include "backends/member/membership.h"

#include <pthread.h>
#include <string.h>

#include "backends/member/provider.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "common/must.h"

#define REPORT_US 100000u
#define NS_PER_MS 1000000

struct mailbox {
    struct membership *m;
    struct loop *loop;    /* of the worker */
    pthread_mutex_t lock; /* guards the next three */
    struct membership_news *next;
    bool expelled, posted;
    /* the worker's */
    struct membership_news *now;
    struct membership_listener *listeners;
    unsigned dropping; /* listeners that will call membership_dropped */
    /* told to worker 0 */
    _Atomic uint32_t caught_up; /* the id that has; 0: none */
    atomic_bool dropped;
};

struct membership {
    struct server *server;
    struct member_map genesis;
    struct member_join join;
    struct member_provider *provider; /* worker 0's */
    const char *provider_name;
    struct membership_pair pair;
    unsigned workers;
    /* worker 0's */
    struct loop *loop;
    struct loop_task publish_task;
    struct loop_timer *report_timer, *leave_timer;
    struct membership_news *news; /* the newest; NULL: none */
    uint16_t group;
    uint32_t id, caught_up_said;
    bool founder, member, changed;
    bool ordered_out, leaving;
    enum member_reason waits;
    void (*left)(void *arg);
    void *left_arg;
    const struct membership_operator *operator_now;
    /* for INFO and metrics */
    _Atomic uint64_t version, view_changes, joins, expulsions;
    _Atomic uint32_t seen_id, acceptors, reachable;
    _Atomic int seen_state, seen_waits;
    struct gauge g_version, g_epoch, g_lease_ms, g_acceptors, g_reachable;
    struct counter c_views;
    struct mailbox box[];
};

enum state { STATE_JOINING, STATE_LEARNER, STATE_MEMBER, STATE_OUT };
static const char *const state_names[] = {[STATE_JOINING] = "joining",
                                          [STATE_LEARNER] = "learner",
                                          [STATE_MEMBER] = "member",
                                          [STATE_OUT] = "out"};

/* ---- the lease ---- */

const struct membership_pair *membership_pair(const struct membership *m)
{
    return &m->pair;
}

static void publish_lease(struct membership *m, struct lease l)
{
    struct membership_pair *p = &m->pair;
    uint32_t mark = atomic_load_explicit(&p->mark, memory_order_relaxed); /* one writer */
    atomic_store_explicit(&p->mark, mark + 1, memory_order_relaxed);
    /* the mark is odd before either half changes; partner: membership_lease */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&p->epoch, l.epoch, memory_order_relaxed);
    atomic_store_explicit(&p->until_ns, l.until_ns, memory_order_relaxed);
    atomic_store_explicit(&p->mark, mark + 2, memory_order_release);
}

struct lease membership_lease(const struct membership *m)
{
    const struct membership_pair *p = &m->pair;
    for (unsigned i = 0; i < 1000; i++) {
        uint32_t before = atomic_load_explicit(&p->mark, memory_order_acquire);
        struct lease l = {.epoch = atomic_load_explicit(&p->epoch, memory_order_relaxed),
                          .until_ns = atomic_load_explicit(&p->until_ns, memory_order_relaxed)};
        atomic_thread_fence(memory_order_acquire); /* partner: publish_lease */
        if ((before & 1u) == 0 && atomic_load_explicit(&p->mark, memory_order_relaxed) == before) {
            return l;
        }
    }
    return (struct lease){0}; /* worker 0 stands in the middle of it: none for now */
}

/* ---- news ---- */

static struct membership_news *hold(struct membership_news *n)
{
    atomic_fetch_add_explicit(&n->holders, 1, memory_order_relaxed); /* held by the caller */
    return n;
}

static void drop(struct membership_news *n)
{
    /* acq_rel: the last holder's free comes after everybody's last read */
    if (n != NULL && atomic_fetch_sub_explicit(&n->holders, 1, memory_order_acq_rel) == 1) {
        mem_free(n);
    }
}

static void check_workers(void *arg);

static void dropped(struct mailbox *b)
{
    atomic_store(&b->dropped, true);
    loop_post(b->m->loop, check_workers, b->m);
}

/* In the worker's thread. */
static void on_mail(void *arg)
{
    struct mailbox *b = arg;
    pthread_mutex_lock(&b->lock);
    struct membership_news *next = b->next;
    bool expelled = b->expelled;
    b->next = NULL;
    b->expelled = b->posted = false;
    pthread_mutex_unlock(&b->lock);
    if (expelled) {
        b->dropping = 1;
        for (struct membership_listener *l = b->listeners; l != NULL; l = l->next) {
            b->dropping += l->expelled != NULL && !l->expelled(l->arg);
        }
        if (--b->dropping == 0) {
            dropped(b);
        }
    }
    if (next != NULL) {
        drop(b->now);
        b->now = next;
        for (struct membership_listener *l = b->listeners; l != NULL; l = l->next) {
            l->news(l->arg, next);
        }
    }
}

static void mail(struct membership *m, bool expelled)
{
    for (unsigned i = 0; i < m->workers; i++) {
        struct mailbox *b = &m->box[i];
        struct membership_news *old = NULL;
        pthread_mutex_lock(&b->lock);
        if (m->news != NULL) {
            old = b->next;
            b->next = hold(m->news);
        }
        b->expelled = b->expelled || expelled;
        bool post = !b->posted;
        b->posted = true;
        pthread_mutex_unlock(&b->lock);
        drop(old);
        if (post) {
            loop_post(b->loop, on_mail, b);
        }
    }
}

void membership_subscribe(struct membership *m, const struct worker *w,
                          struct membership_listener *l)
{
    struct mailbox *b = &m->box[w->index];
    l->next = b->listeners;
    b->listeners = l;
    if (b->now != NULL) {
        l->news(l->arg, b->now);
    }
}

static void set_state(struct membership *m)
{
    enum state s = m->id == 0  ? (m->ordered_out || m->leaving ? STATE_OUT : STATE_JOINING)
                   : m->member ? STATE_MEMBER
                               : STATE_LEARNER;
    atomic_store_explicit(&m->seen_state, (int)s, memory_order_relaxed);
    atomic_store_explicit(&m->seen_id, m->id, memory_order_relaxed);
}

/* At the end of the turn: what the provider told in it, as one. */
static void on_publish(struct loop_task *task)
{
    struct membership *m =
        (struct membership *)(void *)((char *)task - offsetof(struct membership, publish_task));
    const struct member_map *map = m->provider->ops->map(m->provider);
    struct membership_news *n = mem_zalloc(sizeof *n);
    n->map = *map;
    n->group = m->group;
    n->id = m->id;
    n->founder = m->founder;
    n->member = m->member;
    atomic_store(&n->holders, 1);
    drop(m->news);
    m->news = n;
    atomic_store_explicit(&m->version, map->version, memory_order_relaxed);
    set_state(m);
    mail(m, false);
    if (m->leaving && m->id != 0 && m->group != MAP_PROXIES && map_members(map, m->group) <= 1) {
        loop_timer_start(m->leave_timer,
                         1); /* the last one is not left out: nobody is in its way */
    }
}

/* ---- what the provider says ---- */

static void on_map(void *arg, const struct member_map *map)
{
    struct membership *m = arg;
    log_verbose("Cluster map version %llu: %u nodes", (unsigned long long)map->version,
                map->node_count);
    loop_defer(m->loop, &m->publish_task);
}

static void on_view(void *arg, const struct member_map *map, uint16_t group, uint32_t id,
                    bool founder, bool member)
{
    struct membership *m = arg;
    const struct map_group *g = &map->groups[group];
    if (m->id != id && founder && g->epoch > 1) {
        log_warning(
            "%s STARTS ANEW, EMPTY: all its earlier members are gone, and their data with them",
            g->name);
    }
    if (m->id != id) {
        atomic_fetch_add_explicit(&m->joins, 1, memory_order_relaxed);
        m->caught_up_said = 0;
    }
    log_notice("%s: epoch %llu, %u members; this is incarnation %u, a %s", g->name,
               (unsigned long long)g->epoch, map_members(map, group), id,
               member ? (founder && m->id != id ? "founding member" : "member") : "learner");
    m->group = group;
    m->id = id;
    m->founder = founder;
    m->member = member;
    m->waits = MEMBER_DONE;
    atomic_store_explicit(&m->seen_waits, MEMBER_DONE, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->view_changes, 1, memory_order_relaxed);
    counter_add(&m->c_views, 1);
    loop_defer(m->loop, &m->publish_task);
}

static void on_lease(void *arg, struct lease l)
{
    struct membership *m = arg;
    publish_lease(m, l);
    if (l.until_ns == 0) {
        log_verbose("There is no lease");
    }
}

static void on_expelled(void *arg, bool ordered)
{
    struct membership *m = arg;
    atomic_fetch_add_explicit(&m->expulsions, 1, memory_order_relaxed);
    log_warning(ordered
                    ? "Incarnation %u was sent away by an operator: this process serves nothing "
                      "until it is restarted"
                    : "Incarnation %u is not in the cluster map any more: its data is dropped, "
                      "then it joins anew",
                m->id);
    m->ordered_out = ordered;
    m->id = 0;
    m->member = m->founder = false;
    m->caught_up_said = 0;
    for (unsigned i = 0; i < m->workers; i++) {
        atomic_store(&m->box[i].dropped, false);
        atomic_store(&m->box[i].caught_up, 0);
    }
    mail(m, true);
    loop_defer(m->loop, &m->publish_task);
}

/* What the other workers have told. Worker 0's thread. */
static void check_workers(void *arg)
{
    struct membership *m = arg;
    bool all_dropped = true;
    bool all_caught_up = m->id != 0;
    for (unsigned i = 0; i < m->workers; i++) {
        all_dropped = all_dropped && atomic_load(&m->box[i].dropped);
        all_caught_up = all_caught_up && atomic_load(&m->box[i].caught_up) == m->id;
    }
    if (all_caught_up && m->caught_up_said != m->id) {
        m->caught_up_said = m->id;
        m->provider->ops->caught_up(m->provider);
    }
    if (all_dropped && m->id == 0 && !m->ordered_out && !m->leaving) {
        for (unsigned i = 0; i < m->workers; i++) {
            atomic_store(&m->box[i].dropped, false);
        }
        m->provider->ops->join(m->provider, &m->join);
    }
}

void membership_caught_up(struct membership *m, const struct worker *w, uint32_t id)
{
    atomic_store(&m->box[w->index].caught_up, id);
    loop_post(m->loop, check_workers, m);
}

void membership_dropped(struct membership *m, const struct worker *w)
{
    struct mailbox *b = &m->box[w->index];
    must(b->dropping != 0);
    if (--b->dropping == 0) {
        dropped(b);
    }
}

void membership_tick(struct membership *m, const struct worker *w, uint64_t now_ns)
{
    if (w->index == 0 && m->provider != NULL && m->provider->ops->tick != NULL &&
        now_ns >= m->provider->due_ns) {
        m->provider->ops->tick(m->provider);
    }
}

static void end_leave(struct membership *m)
{
    void (*left)(void *arg) = m->left;
    m->left = NULL;
    if (left != NULL) {
        left(m->left_arg);
    }
}

static void on_released(void *arg)
{
    struct membership *m = arg;
    log_notice("Incarnation %u has left the cluster map", m->id);
    m->id = 0;
    m->member = false;
    loop_timer_start(m->leave_timer, 1); /* not from inside the provider */
    loop_defer(m->loop, &m->publish_task);
}

static void on_leave_timer(void *arg)
{
    end_leave(arg);
}

void membership_leave(struct membership *m, uint64_t limit_ms, void (*done)(void *arg), void *arg)
{
    m->left = done;
    m->left_arg = arg;
    if (m->id == 0) {
        m->leaving = true;
        loop_timer_start(m->leave_timer, 1);
        return;
    }
    m->leaving = true;
    publish_lease(m, (struct lease){0}); /* before others need not wait for it any more */
    m->provider->ops->release(m->provider);
    bool last = map_members(m->provider->ops->map(m->provider), m->group) <= 1;
    loop_timer_start(m->leave_timer, last && m->group != MAP_PROXIES ? 1 : limit_ms * 1000u);
}

static void on_waits(void *arg, enum member_reason reason)
{
    struct membership *m = arg;
    m->waits = reason;
    atomic_store_explicit(&m->seen_waits, (int)reason, memory_order_relaxed);
    log_notice("Not in the cluster map yet: %s", member_reason_text(reason));
}

static void on_result(void *arg, uint64_t nonce, enum member_reason reason)
{
    const struct membership *m = arg;
    if (m->operator_now != NULL) {
        m->operator_now->result(m->operator_now->arg, nonce, reason);
    }
}

static void on_status(void *arg, unsigned acceptor, const struct acceptor_status *status,
                      const char *reason)
{
    const struct membership *m = arg;
    if (m->operator_now != NULL) {
        m->operator_now->status(m->operator_now->arg, acceptor, status, reason);
    }
}

static const struct member_events events = {.map = on_map,
                                            .view = on_view,
                                            .lease = on_lease,
                                            .expelled = on_expelled,
                                            .released = on_released,
                                            .waits = on_waits,
                                            .result = on_result,
                                            .status = on_status};

struct member_provider *membership_provider(const struct membership *m)
{
    return m->provider;
}

void membership_set_operator(struct membership *m, const struct membership_operator *op)
{
    m->operator_now = op;
}

/* ---- numbers ---- */

void membership_facts(const struct membership *m, struct membership_facts *out)
{
    struct lease l = membership_lease(m);
    uint64_t now = clk_boot_ns();
    *out = (struct membership_facts){
        .version = atomic_load_explicit(&m->version, memory_order_relaxed),
        .epoch = l.epoch,
        .view_changes = atomic_load_explicit(&m->view_changes, memory_order_relaxed),
        .joins = atomic_load_explicit(&m->joins, memory_order_relaxed),
        .expulsions = atomic_load_explicit(&m->expulsions, memory_order_relaxed),
        .id = atomic_load_explicit(&m->seen_id, memory_order_relaxed),
        .lease_ms = l.until_ns > now ? (int64_t)((l.until_ns - now) / NS_PER_MS) : -1,
        .acceptors = atomic_load_explicit(&m->acceptors, memory_order_relaxed),
        .reachable = atomic_load_explicit(&m->reachable, memory_order_relaxed),
        .state = state_names[atomic_load_explicit(&m->seen_state, memory_order_relaxed)],
        .waits = ""};
    int waits = atomic_load_explicit(&m->seen_waits, memory_order_relaxed);
    if (out->id == 0 && waits != MEMBER_DONE && waits != MEMBER_PENDING) {
        out->waits = member_reason_text((enum member_reason)waits);
    }
}

void membership_info(const struct membership *m, struct info_out *o)
{
    if (!info_section(o, "Membership")) {
        return;
    }
    struct membership_facts f;
    membership_facts(m, &f);
    info_field(o, "membership_provider", "%s", m->provider_name);
    info_field(o, "membership_state", "%s", f.state);
    info_field(o, "membership_waits_because", "%s", f.waits);
    info_field(o, "membership_incarnation", "%u", f.id);
    info_field(o, "membership_map_version", "%llu", (unsigned long long)f.version);
    info_field(o, "membership_epoch", "%llu", (unsigned long long)f.epoch);
    info_field(o, "membership_lease_ms", "%lld", (long long)f.lease_ms);
    info_field(o, "membership_view_changes", "%llu", (unsigned long long)f.view_changes);
    info_field(o, "membership_joins", "%llu", (unsigned long long)f.joins);
    info_field(o, "membership_expulsions", "%llu", (unsigned long long)f.expulsions);
    info_field(o, "membership_acceptors", "%u", f.acceptors);
    info_field(o, "membership_acceptors_reachable", "%u", f.reachable);
}

static void on_report(void *arg)
{
    struct membership *m = arg;
    unsigned all = 0;
    unsigned reachable = 0;
    m->provider->ops->reach(m->provider, &all, &reachable);
    atomic_store_explicit(&m->acceptors, all, memory_order_relaxed);
    atomic_store_explicit(&m->reachable, reachable, memory_order_relaxed);
    struct membership_facts f;
    membership_facts(m, &f);
    gauge_set(&m->g_version, (int64_t)f.version);
    gauge_set(&m->g_epoch, (int64_t)f.epoch);
    gauge_set(&m->g_lease_ms, f.lease_ms);
    gauge_set(&m->g_acceptors, all);
    gauge_set(&m->g_reachable, reachable);
    if (m->leaving && 2 * reachable <= all) {
        loop_timer_start(m->leave_timer, 1); /* nobody is there who could decide it */
    }
    loop_timer_start(m->report_timer, REPORT_US);
}

static void start_metrics(struct membership *m)
{
    struct metrics *r = server_metrics(m->server);
    metrics_gauge(r, "halcyon_membership_map_version", NULL, "Version of the cluster map known.",
                  &m->g_version);
    metrics_gauge(r, "halcyon_membership_epoch", NULL, "Epoch of the lease.", &m->g_epoch);
    metrics_gauge(r, "halcyon_membership_lease_milliseconds", NULL,
                  "What is left of the lease; -1: none.", &m->g_lease_ms);
    metrics_gauge(r, "halcyon_membership_acceptors", NULL, "Acceptors there are.", &m->g_acceptors);
    metrics_gauge(r, "halcyon_membership_acceptors_reachable", NULL, "Acceptors reached now.",
                  &m->g_reachable);
    metrics_counter(r, "halcyon_membership_view_changes_total", NULL,
                    "Views of this process' group that it learnt.", &m->c_views);
}

/* ---- life ---- */

struct membership *membership_new(const struct membership_start_options *o, unsigned workers)
{
    struct membership *m = mem_zalloc(sizeof *m + workers * sizeof m->box[0]);
    m->server = o->server;
    m->genesis = *o->genesis;
    m->join = o->join;
    m->workers = workers;
    m->provider_name = o->set->membership == MEMBERSHIP_ETCD ? "etcd" : "builtin";
    m->group = MAP_NO_GROUP;
    m->waits = MEMBER_PENDING;
    m->publish_task.fn = on_publish;
    for (unsigned i = 0; i < workers; i++) {
        m->box[i].m = m;
        must(pthread_mutex_init(&m->box[i].lock, NULL) == 0);
    }
    return m;
}

void membership_run(struct membership *m, struct worker *w0, const struct member_settings *set)
{
    must(w0->index == 0);
    m->loop = w0->loop;
    for (unsigned i = 0; i < m->workers; i++) { /* all loops exist since the first gate */
        m->box[i].loop = server_worker(m->server, i)->loop;
    }
    m->report_timer = loop_timer_new(m->loop, on_report, m);
    m->leave_timer = loop_timer_new(m->loop, on_leave_timer, m);
    m->provider = provider_new(m->loop, set, &m->genesis, &events, m);
    m->provider->ops->join(m->provider, &m->join);
    start_metrics(m);
    loop_timer_start(m->report_timer, 1);
}

void membership_stop(struct membership *m)
{
    if (m == NULL || m->provider == NULL) {
        return;
    }
    struct metrics *r = server_metrics(m->server);
    metrics_drop(r, &m->g_version);
    metrics_drop(r, &m->g_epoch);
    metrics_drop(r, &m->g_lease_ms);
    metrics_drop(r, &m->g_acceptors);
    metrics_drop(r, &m->g_reachable);
    metrics_drop(r, &m->c_views);
    publish_lease(m, (struct lease){0});
    loop_defer_cancel(m->loop, &m->publish_task);
    loop_timer_free(m->report_timer);
    loop_timer_free(m->leave_timer);
    m->provider->ops->stop(m->provider);
    m->provider = NULL;
}

void membership_free(struct membership *m)
{
    if (m == NULL) {
        return;
    }
    for (unsigned i = 0; i < m->workers; i++) {
        drop(m->box[i].next);
        drop(m->box[i].now);
        (void)pthread_mutex_destroy(&m->box[i].lock);
    }
    drop(m->news);
    mem_free(m);
}
