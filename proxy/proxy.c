/* halcyon-proxy as a server: workers, clients, and what becomes of each request. */
#include "proxy/proxy.h"

#include "backends/member/commands.h"
#include "backends/member/membership.h"
#include "backends/server/acl.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"
#include "proxy/finder.h"
#include "proxy/gather.h"
#include "proxy/hot.h"
#include "proxy/hotkeys.h"
#include "proxy/lane.h"
#include "proxy/profile.h"
#include "proxy/resolve.h"
#include "proxy/transaction.h"

static struct proxy process; /* one per process: written by prepare, before the workers start */

/* ---- requests ---- */

/* A connection or server command, or a refusal: answered here, or later by the session layer. */
static void run_local(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    struct call *k;
    struct resp_out *out = reply_begin(c, a, (int)q->argc, &k);
    if (k != NULL) {
        k->silent = false; /* the session layer leaves out what must not be seen */
    }
    uint32_t token = c->token++;
    enum session_result r = session_command(&c->s, a, q->argv, (int)q->argc, out, token);
    c->pw->stats.local++;
    if (r == SESSION_DONE) {
        if (k != NULL) {
            k->state = CALL_DONE;
        }
        return;
    }
    if (k == NULL) {
        k = call_open(c, a, (int)q->argc);
    }
    k->silent = false;
    k->later = true;
    k->part = token;
}

static void on_reply(struct session *s, uint64_t token, struct span bytes)
{
    struct client *c = client_of(s);
    struct call *k = c->head;
    while (k != NULL && !(k->later && k->part == (uint32_t)token)) {
        k = k->next;
    }
    if (k != NULL) {
        call_placed_later(k, bytes);
    }
}

static enum taken dispatch_cold(struct client *c, const struct admitted *a,
                                const struct conn_req *q, enum kind kind)
{
    switch (kind) {
    case KIND_MGET:
    case KIND_MSET:
    case KIND_SUM:
        return split(c, a, q, kind);
    case KIND_SCAN:
    case KIND_KEYSPACE_SUM:
    case KIND_KEYSPACE_CONCAT:
    case KIND_KEYSPACE_OK:
    case KIND_FLUSHALL:
    case KIND_RANDOMKEY:
        return fanout(c, a, q, kind);
    case KIND_EXEC:
        return transaction_exec(c, a, q);
    case KIND_WATCH:
        return transaction_watch(c, a, q);
    case KIND_KEY:
    case KIND_KEYS:
    case KIND_COPY:
    case KIND_SLOT:
    case KIND_ANY:
    case KIND_REFUSED:
        return forward(c, a, q, kind);
    case KIND_COUNT:
        break;
    }
    unreachable();
}

static enum taken dispatch(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    enum kind kind = kind_of(a->cmd);
    if (__builtin_expect(!hot_concerns(c), 1)) {
        return dispatch_cold(c, a, q, kind);
    }
    enum taken taken;
    uint64_t hash;
    if (hot_take(c, a, q, kind, &taken, &hash)) {
        return taken;
    }
    struct call **tail = c->tail;
    uint64_t busy = c->busy;
    taken = dispatch_cold(c, a, q, kind);
    if (c->tail != tail) {
        hot_note(c, busy, hash);
    }
    return taken;
}

/* HALCYON ...: the proxies' own words, and only from who may run everything. */
static bool is_halcyon(const struct client *c, const struct admitted *a, const struct conn_req *q)
{
    return a->refusal == REFUSE_UNKNOWN && span_is(q->argv[0], "halcyon") &&
           !c->s.c.unauthenticated && c->s.user != NULL && c->s.user->unrestricted;
}

static void run_halcyon(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    struct call *k;
    struct resp_out *out = reply_begin(c, a, (int)q->argc, &k);
    size_t mark = buf_used(out->b);
    if (!membership_is_command(q->argv, (int)q->argc)) {
        hot_command(c, q->argv, (int)q->argc, out);
    } else if (membership_command(proxy_membership(c->pw), &c->s, a, q->argv, (int)q->argc, out,
                                  c->token)) {
        k = k != NULL ? k : call_open(c, a, (int)q->argc);
        k->silent = false; /* on_reply gets nothing then */
        k->later = true;
        k->part = c->token++;
        return;
    }
    reply_end(c, a, k, mark);
}

static size_t on_batch(struct session *s, const struct conn_req *reqs, size_t n)
{
    struct client *c = client_of(s);
    shard_now(c->pw->pool, session_now(s));
    if (c->pw->follower != NULL) {
        membership_tick(process.membership, s->w, clk_boot_ns());
    }
    hot_batch(c, reqs, n);
    size_t i = 0;
    for (; i < n; i++) {
        const struct conn_req *q = &reqs[i];
        if (__builtin_expect(c->open >= c->window || c->watching, 0)) {
            c->stalled = true;
            c->pw->stats.stalls++;
            break;
        }
        struct admitted a;
        if (__builtin_expect(c->admitted, 0)) {
            a = c->a;
        } else {
            enum admit admit = session_admit(s, q->argv, (int)q->argc, &a);
            if (admit == ADMIT_WAIT) {
                break;
            }
            if (admit == ADMIT_LOCAL && is_halcyon(c, &a, q)) {
                run_halcyon(c, &a, q);
            } else if (admit == ADMIT_LOCAL && !info_ask_nodes(c, &a, q)) {
                run_local(c, &a, q);
            }
            if (admit == ADMIT_LOCAL) {
                continue;
            }
        }
        if (dispatch(c, &a, q) == STALLED) {
            c->admitted = true;
            c->a = a;
            break;
        }
        c->admitted = false;
        finder_see(c->pw->finder, a.cmd, q->argv, (int)q->argc, s->db);
    }
    if (c->head == NULL) {
        session_flushed(s);
    }
    return i;
}

static bool has_pending(const struct session *s)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): only takes const away */
    return client_of((struct session *)(uintptr_t)s)->head != NULL;
}

static void on_room(struct shard_waiter *w)
{
    struct client *c = (struct client *)(void *)((char *)w - offsetof(struct client, waiter));
    c->stalled = false;
    conn_resume(&c->s.c);
}

static void on_open(struct session *s)
{
    struct client *c = client_of(s);
    c->pw = s->w->data;
    c->tail = &c->head;
    c->window = WINDOW_FIRST;
    c->waiter.fn = on_room;
}

static void on_close(struct session *s)
{
    calls_close(client_of(s));
}

static enum session_result local(struct session *s, const struct admitted *a,
                                 const struct span *argv, int argc, struct resp_out *out,
                                 uint64_t token)
{
    if (hotkeys_is(a->cmd)) {
        return hotkeys_command(client_of(s), a, argv, argc, out, token);
    }
    return cluster_command(client_of(s), a, argv, argc, out, token);
}

/* ---- workers ---- */

#define STALL_PART 100
#define STALL_MS_MIN 50
#define STALL_MS_MAX 1000

/* How long reads wait for a replica that says nothing at all before another is asked: long enough
 * for a slow command, short enough for who waits. */
static uint64_t stall_ms(const struct proxy_settings *set)
{
    uint64_t ms = (uint64_t)set->backend_timeout_ms / STALL_PART;
    if (ms < STALL_MS_MIN) {
        return STALL_MS_MIN;
    }
    return ms < STALL_MS_MAX ? ms : STALL_MS_MAX;
}

static struct shard_options shard_options_of(const struct proxy_settings *set)
{
    return (struct shard_options){
        .timeout_ms = (uint64_t)set->backend_timeout_ms,
        .stall_ms = stall_ms(set),
        .connect_timeout_ms = (uint64_t)set->connect_timeout_ms,
        .retry_max_ms = (uint64_t)set->retry_max_ms,
        .link_bytes_max = set->link_bytes_max,
        .user = set->node_user,
        .password = set->node_password,
    };
}

static enum err prepare(struct server *sv, struct errmsg *why)
{
    kinds_build();
    finder_prepare();
    const struct proxy_settings *set = cfg_settings(server_cfg(sv));
    server_set_data(sv, &process);
    if (membership_is_service(&set->member)) {
        enum err e = follow_prepare(sv, &process, why);
        return e == OK ? hot_prepare(sv, why) : e;
    }
    enum err e = cluster_map_new(&set->map, 1, &process.map, why);
    if (e == OK && process.map == NULL) {
        e = errmsg_set(why, ERR_CONFIG, "no `shard` line: a proxy must know its nodes");
    }
    return e == OK ? hot_prepare(sv, why) : e;
}

static enum err worker_start(struct worker *w, struct errmsg *why)
{
    struct proxy_worker *pw = mem_zalloc(sizeof *pw);
    w->data = pw;
    pw->w = w;
    pw->set = w->settings;
    struct shard_options o = shard_options_of(pw->set);
    pw->pool = shard_pool_new(w->loop, &o, forward_done);
    pw->route = mem_zalloc(sizeof *pw->route);
    pw->random = clk_mono_ns() ^ ((uint64_t)w->index << 56);
    bool changes = process.membership != NULL;
    enum err e = route_init(pw->route, process.map, changes, pw->pool, why);
    if (e != OK) {
        return e;
    }
    unsigned n = pw->route->partitions;
    pw->partition_keys = mem_zalloc(n * sizeof *pw->partition_keys);
    pw->partition_part = mem_zalloc(n * sizeof *pw->partition_part);
    pw->partition_slot = mem_zalloc(n * sizeof *pw->partition_slot);
    lanes_start(pw); /* connects: be ready before the first client is */
    pw->finder = finder_start(pw);
    pw->freq_row = cmd_find(SPAN_LIT("object|freq"));
    e = hot_worker_start(pw, why);
    if (e != OK) {
        return e;
    }
    pw->report = report_start(pw);
    if (w->index == 0) {
        pw->resolver = resolver_start(w->server, process.map, changes);
    }
    follow_start(pw);
    return OK;
}

static void worker_stop(struct worker *w)
{
    struct proxy_worker *pw = w->data;
    if (pw == NULL) {
        return;
    }
    follow_stop(pw);
    report_stop(pw->report);
    finder_stop(pw->finder);
    profile_free(pw->profile);
    resolver_stop(pw->resolver);
    shard_pool_free(pw->pool);
    hot_worker_stop(pw);
    if (pw->route->map != NULL) {
        lanes_stop(pw);
    }
    gather_free_pool(pw);
    calls_free_pools(pw);
    route_deinit(pw->route);
    mem_free(pw->route);
    mem_free(pw->partition_keys);
    mem_free(pw->partition_part);
    mem_free(pw->partition_slot);
    mem_free(pw);
    w->data = NULL;
}

static void configured(struct worker *w)
{
    struct proxy_worker *pw = w->data;
    pw->set = w->settings;
    struct shard_options o = shard_options_of(pw->set);
    shard_pool_options(pw->pool, &o);
    finder_configured(pw->finder);
    hot_configured(pw);
}

static void reset_stats(struct worker *w)
{
    struct proxy_worker *pw = w->data;
    uint64_t calls = pw->stats.open_calls;
    uint64_t holds = pw->stats.open_holds;
    pw->stats = (struct proxy_stats){.open_calls = calls, .open_holds = holds};
    shard_stats_reset(pw->pool);
}

int proxy_run(int argc, char **argv)
{
    const struct cfg_table tables[] = {
        {proxy_options, proxy_option_count, 0},
        {cluster_options, cluster_option_count, offsetof(struct proxy_settings, map)},
        {peer_options, peer_option_count, offsetof(struct proxy_settings, peer)},
        {member_options, member_option_count, offsetof(struct proxy_settings, member)},
    };
    const struct server_ops ops = {
        .name = "halcyon-proxy",
        .about = "Redis-compatible caching proxy: clients connect here.",
        .log_role = 'P',
        .mode = "standalone",
        .port_per_worker = false,
        .session_size = sizeof(struct client),
        .tables = tables,
        .table_count = sizeof tables / sizeof tables[0],
        .settings_size = sizeof(struct proxy_settings),
        .server_offset = offsetof(struct proxy_settings, server),
        .prepare = prepare,
        .worker_start = worker_start,
        .worker_stop = worker_stop,
        .configured = configured,
        .on_batch = on_batch,
        .on_open = on_open,
        .on_close = on_close,
        .on_reply = on_reply,
        .has_pending = has_pending,
        .local = local,
        .info_add = proxy_info_add,
        .info_own = proxy_info_own,
        .ready = report_ready,
        .reset_stats = reset_stats,
        .cluster_enabled = cluster_presented,
        .drain = follow_drain,
    };
    int status = server_main(&ops, argc, argv);
    hot_finish();
    membership_free(process.membership);
    cluster_map_drop(process.map);
    process = (struct proxy){0};
    return status;
}
