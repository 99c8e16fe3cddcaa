/* Views of the proxies' group and leases, for all workers of the process as one.
 *
 * A view is installed as a whole (G10): first every worker leaves the old one, that is, has ended
 * the batch in which it may have answered from the cache; only then does any worker act in the new
 * one.
 *
 *     worker 0: serving = 0 -> round: old incarnation's cores end -> round: all have left
 *               -> round: each installs -> serving = epoch
 *
 * A lease is one pair (epoch, until). It lets readers in while its epoch is the one that all
 * workers have installed (H9). */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"
#include "proxy/hot_private.h"
#include "rdma/viewspec.h"

#define IDLE_POLL_US 20000u

static struct {
    _Atomic uint64_t serving; /* epoch that every worker has installed, with us in it; 0: none */
    _Atomic uint32_t lease_seq;
    _Atomic uint64_t lease_epoch, lease_until_ns;
    pthread_mutex_t lease_lock; /* among writers */
    /* worker 0's */
    struct hot_group *now, *next; /* being installed; to be installed then */
    bool all_idle;
    uint64_t epoch;
    uint32_t self;
    struct loop_timer *poll;
} state = {.lease_lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- what readers ask ---- */

bool hot_may_read(uint64_t now_ns)
{
    uint64_t serving = atomic_load_explicit(&state.serving, memory_order_acquire);
    struct lease lease;
    if (serving == 0) {
        return false;
    }
    if (hot_member_lease(&lease)) {
        return lease.epoch == serving && now_ns < lease.until_ns;
    }
    uint32_t seq = atomic_load_explicit(&state.lease_seq, memory_order_acquire);
    uint64_t epoch = atomic_load_explicit(&state.lease_epoch, memory_order_acquire);
    uint64_t until = atomic_load_explicit(&state.lease_until_ns, memory_order_acquire);
    bool whole =
        (seq & 1) == 0 && atomic_load_explicit(&state.lease_seq, memory_order_relaxed) == seq;
    return whole && epoch == serving && now_ns < until;
}

/* ---- leases ---- */

struct posted_lease {
    struct hot_worker *hw;
    struct lease lease;
};

static void take_lease(void *arg)
{
    struct posted_lease *p = arg;
    if (p->hw->galene != NULL && !p->hw->stopping) {
        struct galene_in in = {.kind = GALENE_IN_LEASE, .u.lease = p->lease};
        (void)hot_galene(p->hw, &in);
        hot_settle(p->hw);
    }
    mem_free(p);
}

void hot_lease(uint64_t epoch, uint64_t until_ns)
{
    pthread_mutex_lock(&state.lease_lock);
    uint32_t seq = atomic_load_explicit(&state.lease_seq, memory_order_relaxed);
    atomic_store_explicit(&state.lease_seq, seq + 1, memory_order_relaxed);
    atomic_store_explicit(&state.lease_epoch, epoch, memory_order_release);
    atomic_store_explicit(&state.lease_until_ns, until_ns, memory_order_release);
    atomic_store_explicit(&state.lease_seq, seq + 2, memory_order_release);
    pthread_mutex_unlock(&state.lease_lock);
    for (unsigned i = 0; i < hot_worker_count(); i++) {
        struct hot_worker *hw = hot_worker_of(i);
        if (hw != NULL) {
            struct posted_lease *p = mem_alloc(sizeof *p);
            *p = (struct posted_lease){.hw = hw, .lease = {epoch, until_ns}};
            loop_post(hw->pw->w->loop, take_lease, p);
        }
    }
}

/* ---- views ---- */

static struct hot_worker *hw_of(struct worker *w)
{
    struct proxy_worker *pw = w->data;
    return pw->hot;
}

static void begin(struct hot_group *g);

static void end(struct hot_group *g)
{
    state.now = NULL;
    mem_free(g);
    g = state.next;
    state.next = NULL;
    if (g != NULL) {
        begin(g);
    }
}

static void install_one(struct worker *w, void *arg)
{
    struct hot_worker *hw = hw_of(w);
    const struct hot_group *g = arg;
    if (hw == NULL || hw->stopping) {
        return;
    }
    if (hw->id != g->self) {
        hot_cores_stop(hw);
        hot_peers_close(hw);
        struct errmsg why = {{0}};
        if (g->self != 0 && hot_peers_open(hw, g->self, &why) != OK) {
            log_warning("%s: without its peers this proxy is in their way, so it ends", why.text);
            server_stop(w->server, 1);
        }
        if (hw->transport == NULL) {
            return;
        }
        hot_cores_start(hw, g->self);
    }
    hot_peers_set(hw, g);
    struct galene_in in = {.kind = GALENE_IN_VIEW, .u.view = &g->view};
    (void)hot_galene(hw, &in);
    struct hotset_in set = {.kind = HOTSET_IN_VIEW, .u.view = &g->view};
    (void)hot_hotset(hw, &set);
    transport_set_epoch(hw->transport, g->view.epoch);
    hot_settle(hw);
    hot_peers_release(hw);
}

static void all_installed(struct worker *from, void *arg)
{
    struct hot_group *g = arg;
    bool in = view_is_member(&g->view, g->self);
    for (unsigned i = 0; i < hot_worker_count(); i++) {
        struct hot_worker *hw = hot_worker_of(i);
        in = in && hw != NULL && hw_of(server_worker(from->server, i)) == hw;
    }
    state.epoch = g->view.epoch;
    state.self = g->self;
    atomic_store_explicit(&state.serving, in ? g->view.epoch : 0, memory_order_release);
    if (g->self != 0) {
        log_notice("View %llu of the proxies: %u members, this is %u%s",
                   (unsigned long long)g->view.epoch, g->view.members, g->self,
                   in ? "" : ", which is not in it");
    } else {
        hot_member_retired();
    }
    end(g);
}

static void leave_one(struct worker *w, void *arg)
{
    (void)w; /* it runs no batch now, and the next one will find `serving` 0 */
    (void)arg;
}

static void all_left(struct worker *from, void *arg)
{
    server_round(from, install_one, all_installed, arg);
}

/* The cores of the incarnation that this process was: told that they are out; their operations end.
 */
static void retire_one(struct worker *w, void *arg)
{
    struct hot_worker *hw = hw_of(w);
    const struct hot_group *g = arg;
    if (hw == NULL || hw->galene == NULL || hw->id == g->self) {
        return;
    }
    if (!galene_expelled(hw->galene)) {
        struct galene_in in = {.kind = GALENE_IN_VIEW, .u.view = &g->view};
        (void)hot_galene(hw, &in);
        hot_settle(hw);
    }
    state.all_idle = state.all_idle && galene_idle(hw->galene);
}

static void all_retired(struct worker *from, void *arg)
{
    if (!state.all_idle) {
        loop_timer_start(state.poll, IDLE_POLL_US);
        return;
    }
    server_round(from, leave_one, all_left, arg);
}

static void on_poll(void *arg)
{
    state.all_idle = true;
    server_round(arg, retire_one, all_retired, state.now);
}

static void begin(struct hot_group *g)
{
    struct hot_worker *hw = hot_worker_of(0);
    if (hw == NULL || hw->stopping || (g->self == state.self && g->view.epoch <= state.epoch)) {
        mem_free(g);
        return;
    }
    if (state.now != NULL) {
        mem_free(state.next); /* only the latest counts */
        state.next = g;
        return;
    }
    state.now = g;
    atomic_store_explicit(&state.serving, 0, memory_order_release);
    if (state.poll == NULL) {
        state.poll = loop_timer_new(hw->pw->w->loop, on_poll, hw->pw->w);
    }
    on_poll(hw->pw->w);
}

bool hot_retire(void)
{
    if (state.self == 0 && state.now == NULL) { /* there was none */
        return false;
    }
    struct hot_group *g = mem_zalloc(sizeof *g);
    /* a view that only the cores see: without themselves */
    uint64_t epoch = state.now != NULL ? state.now->view.epoch : state.epoch;
    uint32_t self = state.now != NULL ? state.now->self : state.self;
    g->view = (struct view){.epoch = epoch + 1, .members = 1};
    g->view.ids[0] = self == 1 ? 2 : 1;
    begin(g);
    return true;
}

void hot_install_here(const struct hot_group *g)
{
    struct hot_group *copy = mem_alloc(sizeof *copy);
    *copy = *g;
    begin(copy);
}

static void begin_posted(void *arg)
{
    begin(arg);
}

void hot_install(const struct hot_group *g)
{
    struct hot_worker *hw = hot_worker_of(0);
    if (hw != NULL) {
        struct hot_group *copy = mem_alloc(sizeof *copy);
        *copy = *g;
        loop_post(hw->pw->w->loop, begin_posted, copy);
    }
}

void hot_views_stop(void)
{
    loop_timer_free(state.poll);
    state.poll = NULL;
    atomic_store_explicit(&state.serving, 0, memory_order_release);
}

void hot_views_finish(void)
{
    mem_free(state.now);
    mem_free(state.next);
    state.now = state.next = NULL;
}

/* ---- commands ---- */

static void command_view(const struct span *argv, int argc, struct resp_out *out)
{
    struct view_spec p;
    struct hot_group g;
    if (!view_spec_parse(argv, argc, &p) || p.learner_count != 0) {
        resp_error(out, VIEW_SPEC_USAGE);
        return;
    }
    memset(&g, 0, sizeof g);
    g.view = p.view;
    g.self = p.self;
    for (unsigned i = 0; i < p.peer_count; i++) {
        g.peers[i].id = p.peers[i].member;
        g.peers[i].port = p.peers[i].port;
        snprintf(g.peers[i].host, sizeof g.peers[i].host, "%s", p.hosts[i]);
    }
    g.peer_count = p.peer_count;
    hot_install(&g);
    resp_ok(out);
}

static void command_lease(const struct span *argv, int argc, struct resp_out *out)
{
    int64_t epoch = 0;
    int64_t until_ns = 0;
    if (argc != 4 || !num_parse_i64(argv[2], &epoch) || !num_parse_i64(argv[3], &until_ns) ||
        epoch < 1 || until_ns < 0) {
        resp_error(out, "ERR HALCYON LEASE takes an epoch and a time");
        return;
    }
    hot_lease((uint64_t)epoch, (uint64_t)until_ns);
    resp_ok(out);
}

struct posted_want {
    struct hot_worker *hw;
    enum hotset_want want;
    struct buf key;
};

static void take_want(void *arg)
{
    struct posted_want *p = arg;
    if (!p->hw->stopping) {
        hot_want(p->hw, buf_span(&p->key), p->want);
        hot_settle(p->hw);
    }
    buf_free(&p->key);
    mem_free(p);
}

static void command_want(struct client *c, const struct span *argv, int argc, struct resp_out *out)
{
    if (argc != 3) {
        resp_error(out, "ERR HALCYON PROMOTE and DEMOTE take a key");
        return;
    }
    struct hot_worker *hw = hot_owner(slot_of(argv[2]));
    struct posted_want *p = mem_zalloc(sizeof *p);
    p->hw = hw;
    p->want = span_is(argv[1], "promote") ? HOTSET_WANT_HOT : HOTSET_WANT_COLD;
    if (key_needs_prefix(c->s.db, argv[2])) {
        key_add_inner(&p->key, c->s.db, argv[2]);
    } else {
        buf_add(&p->key, argv[2].p, argv[2].len);
    }
    loop_post(hw->pw->w->loop, take_want, p);
    resp_ok(out);
}

void hot_command(struct client *c, const struct span *argv, int argc, struct resp_out *out)
{
    bool injected = c->pw->set->member.membership == MEMBERSHIP_INJECTED;
    if (c->pw->hot == NULL) {
        resp_error(out, "ERR this proxy keeps no hot keys");
    } else if (argc >= 2 && (span_is(argv[1], "promote") || span_is(argv[1], "demote"))) {
        command_want(c, argv, argc, out);
    } else if (argc >= 2 && injected && span_is(argv[1], "view")) {
        command_view(argv, argc, out);
    } else if (argc >= 2 && injected && span_is(argv[1], "lease")) {
        command_lease(argv, argc, out);
    } else {
        resp_error(out, "ERR HALCYON takes PROMOTE key, DEMOTE key, and with `membership injected` "
                        "VIEW and LEASE");
    }
}

/* ---- INFO ---- */

void hot_describe(const struct proxy_worker *pw, char *out, size_t room)
{
    const struct hot_worker *hw = pw->hot;
    if (hw == NULL || hw->galene == NULL) {
        snprintf(out, room, "%s", hw == NULL ? "off" : "waiting for a view");
        return;
    }
    const struct view *v = galene_view(hw->galene);
    int n = snprintf(out, room, "epoch=%llu,id=%u,members=", (unsigned long long)v->epoch, hw->id);
    for (unsigned i = 0; i < view_count(v) && n > 0 && (size_t)n < room; i++) {
        n += snprintf(out + n, room - (size_t)n, "%s%u", i == 0 ? "" : "/", v->ids[i]);
    }
    if (n > 0 && (size_t)n < room) {
        const char *what = galene_expelled(hw->galene)   ? "expelled"
                           : hot_may_read(clk_boot_ns()) ? "serving"
                                                         : "no lease";
        snprintf(out + n, room - (size_t)n, ",state=%s,entries=%u,hot=%u%s", what,
                 galene_entries(hw->galene), hotset_hot(hw->hotset),
                 hotset_acts(hw->hotset) ? ",role=coordinator" : "");
    }
}
