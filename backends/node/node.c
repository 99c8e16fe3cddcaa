/* halcyon-node as a server: what server_main (backends/server) asks of a daemon. */
#include "backends/node/node.h"
#include "backends/node/replica.h"
#include "backends/node/watch.h"

#include "backends/member/acceptor.h"
#include "backends/member/membership.h"

#include <sys/random.h>

#include "backends/types/dict.h"
#include "backends/types/dump.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

static struct node *node_of(const struct server *sv)
{
    return server_data(sv);
}

/* ---- start-up ---- */

static struct node process; /* one per process: written by prepare, before the workers start */

/* Without `shard` lines a node with several workers is a cluster of its own: one shard, one
 * replica. */
static enum err own_map(const struct node_settings *set, struct node *node, struct errmsg *why)
{
    struct cluster_node self;
    cluster_own_address(set->announce_ip, &set->server.bind, set->server.port, &self);
    struct buf line = {0};
    buf_add_str(&line, "all auto ");
    cluster_add_endpoint(&line, self.host, self.port);
    buf_add(&line, "", 1);
    struct cluster_settings one = {.shard = {.v = &line.p, .n = 1},
                                   .node_workers = set->server.workers};
    enum err e = cluster_map_new(&one, 1, &node->map, why);
    buf_free(&line);
    return e;
}

static enum err prepare(struct server *sv, struct errmsg *why)
{
    const struct node_settings *set = cfg_settings(server_cfg(sv));
    struct node *node = &process;
    uint64_t seed = 0;
    server_set_data(sv, node);
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
        return errmsg_set(why, ERR_IO, "the system gives no random numbers");
    }
    if (set->hash_seed[0] != '\0') {
        seed = digest_span(span_str(set->hash_seed), 0);
    }
    dict_set_seed(seed); /* of big collections, for all workers: before they start */
    if (membership_is_service(&set->member)) {
        return node_member_prepare(sv, node, why);
    }
    if (set->witness || set->acceptor[0] != '\0') {
        return errmsg_set(why, ERR_CONFIG, "acceptors are a part of membership builtin");
    }
    enum err e = cluster_map_new(&set->cluster, 1, &node->map, why);
    if (e == OK && node->map != NULL && set->cluster.node_workers != set->server.workers) {
        e = errmsg_set(why, ERR_CONFIG, "workers is %lld, but node-workers says %lld",
                       (long long)set->server.workers, (long long)set->cluster.node_workers);
    }
    if (e == OK && node->map == NULL && set->server.workers > 1) {
        e = own_map(set, node, why);
    }
    if (e == OK && node->map != NULL) {
        e = node_find_self(node, set, why);
    }
    if (e == OK && node->map != NULL) {
        const struct cluster_shard *shard = &node->map->shards[node->self.shard];
        log_notice("Replica %u of %u of shard %s, %u slots", node->self.replica + 1u,
                   shard->node_count, shard->name, shard->slot_count);
    }
    return e;
}

static void configure(struct worker *w)
{
    struct node_worker *nw = w->data;
    const struct node_settings *set = w->settings;
    nw->policy = (enum evict_policy)set->maxmemory_policy;
    nw->memory_max = set->server.maxmemory / server_workers(w->server);
    if (set->server.maxmemory != 0 && nw->memory_max == 0) {
        nw->memory_max = 1;
    }
    nw->config = (struct cmd_config){
        .proto_max_bulk_len = set->server.proto_max_bulk_len,
        .maxmemory_policy = nw->policy,
        .list_max_listpack_size = set->list_max_listpack_size,
        .list_compress_depth = (uint32_t)set->list_compress_depth,
        .hash_max_listpack_entries = (uint64_t)set->hash_max_listpack_entries,
        .hash_max_listpack_value = (uint64_t)set->hash_max_listpack_value,
        .set_max_intset_entries = (uint64_t)set->set_max_intset_entries,
        .zset_max_listpack_entries = (uint64_t)set->zset_max_listpack_entries,
        .zset_max_listpack_value = (uint64_t)set->zset_max_listpack_value,
        .hll_sparse_max_bytes = set->hll_sparse_max_bytes,
        .stream_node_max_bytes = set->stream_node_max_bytes,
        .stream_node_max_entries = (uint64_t)set->stream_node_max_entries,
    };
}

static struct store_options store_options(const struct node_worker *nw)
{
    const struct node_settings *set = nw->w->settings;
    return (struct store_options){
        .lfu = set->maxmemory_policy == EVICT_ALLKEYS_LFU ||
               set->maxmemory_policy == EVICT_VOLATILE_LFU,
        .lfu_log_factor = (uint8_t)set->lfu_log_factor,
        .lfu_decay_minutes = (uint8_t)set->lfu_decay_time,
    };
}

static void configured(struct worker *w)
{
    struct node_worker *nw = w->data;
    configure(w);
    struct store_options o = store_options(nw);
    store_set_options(nw->store, &o);
    if (nw->memory_max != 0) {
        node_cron_hurry(nw); /* a smaller budget takes effect at once */
    }
}

static enum err worker_start(struct worker *w, struct errmsg *why)
{
    struct node *node = node_of(w->server);
    struct node_worker *nw = mem_zalloc(sizeof *nw);
    w->data = nw;
    nw->w = w;
    nw->node = node;
    nw->map = cluster_map_hold(node->map);
    nw->shard = nw->map != NULL ? node->self.shard : -1;
    nw->wrap_digits = 2;
    struct store_options o = store_options(nw);
    if (getrandom(o.seed, sizeof o.seed, 0) != (ssize_t)sizeof o.seed ||
        getrandom(&nw->rng, sizeof nw->rng, 0) != (ssize_t)sizeof nw->rng) {
        return errmsg_set(why, ERR_IO, "the system gives no random numbers");
    }
    nw->store = store_new(&o);
    nw->watch = watch_new();
    configure(w);
    node_slots_build(nw);
    node_cron_start(nw);
    bool replicated = nw->map != NULL && nw->map->shards[nw->shard].node_count > 1;
    const struct node_settings *set = w->settings;
    if (replicated || membership_is_service(&set->member) ||
        (nw->map != NULL && set->member.membership == MEMBERSHIP_INJECTED)) {
        enum err e = replica_start(nw, why);
        if (e != OK) {
            return e;
        }
    }
    node_metrics_start(nw);
    if (node->membership != NULL && w->index == 0) {
        membership_run(node->membership, w, &set->member);
    }
    return OK;
}

static void worker_stop(struct worker *w)
{
    struct node_worker *nw = w->data;
    if (w->index == 0) {
        membership_stop(nw->node->membership);
        acceptor_stop_metrics(nw->node->acceptor);
    }
    node_cron_stop(nw);
    node_metrics_stop(nw);
    loop_defer_cancel(w->loop, &nw->again_task);
    loop_defer_cancel(w->loop, &nw->flush_task);
    replica_stop(nw);
    mem_free(nw->waiting);
    buf_free(&nw->reply_scratch);
    store_free(nw->store);
    watch_free(nw->watch);
    cluster_map_drop(nw->map);
    buf_free(&nw->inner_keys);
    mem_free(nw->inner_argv);
    mem_free(nw);
    w->data = NULL;
}

/* ---- sessions ---- */

static void on_close(struct session *s)
{
    buf_free(&((struct node_session *)(void *)s)->watch_request);
    struct node_session *ns = (struct node_session *)(void *)s;
    replies_close(ns);
    if (ns->link_proto != 0) {
        node_worker_of(s)->count[NODE_LINKS]--;
    }
}

/* ---- INFO ---- */

static void info_add(struct worker *w, struct info_sum *sum)
{
    struct node_worker *nw = w->data;
    uint64_t now_ms = clk_wall_ms();
    sum->keyspace_hits += nw->stats.keyspace_hits;
    sum->keyspace_misses += nw->stats.keyspace_misses;
    sum->expired_keys += nw->stats.expired_keys;
    sum->evicted_keys += nw->stats.evicted_keys;
    sum->lazyfree_pending += store_lazy_pending(nw->store);
    sum->lazyfreed += nw->stats.lazyfreed_objects;
    for (unsigned db = 0; db < DB_COUNT; db++) {
        uint64_t expires = store_count_expires(nw->store, db);
        sum->db[db].keys += store_count(nw->store, db);
        sum->db[db].expires += expires;
        sum->db[db].ttl_ms_sum +=
            expires != 0 ? store_avg_ttl_ms(nw->store, db, now_ms) * expires : 0;
    }
    nw->count[NODE_TOMBSTONES] = store_tombstones(nw->store);
    for (unsigned i = 0; i < NODE_COUNTS; i++) {
        sum->own[i] += nw->count[i];
    }
    if (nw->replica != NULL) {
        const struct replica_counts *c = replica_counts(nw);
        unsigned i = NODE_COUNTS;
#define X(name) sum->own[i++] += c->name;
        REPLICA_COUNTS(X)
#undef X
    }
}

/* Of the worker that was asked: workers have transports of their own. */
static void info_peers(const struct node_worker *nw, struct info_out *o)
{
    struct transport_stats s;
    info_field(o, "peer_transport", "%s", transport_kind_name(replica_peer_stats(nw, &s)));
    info_field(o, "peer_connected", "%u", s.connected);
#define X(name, what) info_field(o, "peer_" #name, "%llu", (unsigned long long)s.name);
    TRANSPORT_COUNTERS(X)
#undef X
    info_field(o, "peer_queued_bytes", "%llu", (unsigned long long)s.queued_bytes);
    info_field(o, "peer_registered_bytes", "%llu", (unsigned long long)s.registered_bytes);
}

static void info_hermes(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    const struct node_worker *nw = w->data;
    if (nw->replica == NULL || !info_section(o, "Hermes")) {
        return;
    }
    char line[256];
    replica_describe(nw, line, sizeof line);
    info_field(o, "hermes_replica", "%s", line); /* of the worker that was asked */
    replica_describe_peers(nw, line, sizeof line);
    info_field(o, "hermes_transport", "%s", line);
    unsigned i = NODE_COUNTS;
#define X(name) info_field(o, "hermes_" #name, "%llu", (unsigned long long)sum->own[i++]);
    REPLICA_COUNTS(X)
#undef X
    info_peers(nw, o);
}

/* The acceptor of this process. */
static void info_acceptor(const struct node *node, struct info_out *o)
{
    if (node->acceptor == NULL || !info_section(o, "Acceptor")) {
        return;
    }
    struct acceptor_counts c;
    acceptor_counts(node->acceptor, &c);
    info_field(o, "acceptor_map_version", "%llu", (unsigned long long)c.version);
    info_field(o, "acceptor_votes", "%u", c.votes);
    info_field(o, "acceptor_messages", "%llu", (unsigned long long)c.messages);
    info_field(o, "acceptor_connections", "%llu", (unsigned long long)c.connections);
    info_field(o, "acceptor_state_writes", "%llu", (unsigned long long)c.writes);
    info_field(o, "acceptor_state_write_failures", "%llu", (unsigned long long)c.write_failures);
}

static void info_own(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    info_hermes(w, sum, o);
    const struct node *node = node_of(w->server);
    if (node->membership != NULL) {
        membership_info(node->membership, o);
    }
    info_acceptor(node, o);
    if (!info_section(o, "Node")) {
        return;
    }
    const struct node_worker *nw = w->data;
    const struct cluster_map *map = nw->map;
    info_field(o, "node_workers", "%u", server_workers(w->server));
    info_field(o, "node_map_version", "%llu",
               map != NULL ? (unsigned long long)map->version : 0ULL);
    if (map != NULL && nw->shard >= 0) {
        const struct cluster_shard *shard = &map->shards[nw->shard];
        info_field(o, "node_shard", "%s", shard->name);
        if (nw->node->membership == NULL) {
            info_field(o, "node_replica", "%u", nw->node->self.replica);
        }
        info_field(o, "node_slots", "%u", shard->slot_count);
    }
    info_field(o, "node_links", "%llu", (unsigned long long)sum->own[NODE_LINKS]);
    info_field(o, "node_moved", "%llu", (unsigned long long)sum->own[NODE_MOVED]);
    info_field(o, "node_oom_errors", "%llu", (unsigned long long)sum->own[NODE_OOM]);
    info_field(o, "node_tombstones", "%llu", (unsigned long long)sum->own[NODE_TOMBSTONES]);
}

static bool has_pending(const struct session *s)
{
    return ((const struct node_session *)(const void *)s)->first_slot != NULL;
}

static void reset_stats(struct worker *w)
{
    struct node_worker *nw = w->data;
    nw->stats = (struct cmd_stats){0};
    nw->count[NODE_MOVED] = nw->count[NODE_OOM] = nw->count[NODE_LAZY_STEPS] = 0;
}

static bool cluster_enabled(const struct server *sv)
{
    const struct node *node = node_of(sv);
    return node != NULL && (node->map != NULL || node->membership != NULL);
}

int node_main(int argc, char **argv)
{
    /* The counts are known to the linker only, so the tables are put together here. */
    const struct cfg_table tables[] = {
        {cluster_options, cluster_option_count, offsetof(struct node_settings, cluster)},
        {peer_options, peer_option_count, offsetof(struct node_settings, peer)},
        {member_options, member_option_count, offsetof(struct node_settings, member)},
        {node_options, node_option_count, 0},
    };
    const struct server_ops ops = {
        .name = "halcyon-node",
        .about = "a node of a Halcyon cluster: keeps keys of one shard in memory",
        .log_role = 'N',
        .mode = "standalone",
        .port_per_worker = true,
        .session_size = sizeof(struct node_session),
        .tables = tables,
        .table_count = sizeof tables / sizeof tables[0],
        .settings_size = sizeof(struct node_settings),
        .server_offset = offsetof(struct node_settings, server),
        .prepare = prepare,
        .worker_start = worker_start,
        .worker_stop = worker_stop,
        .configured = configured,
        .on_batch = node_batch,
        .on_close = on_close,
        .has_pending = has_pending,
        .info_add = info_add,
        .info_own = info_own,
        .reset_stats = reset_stats,
        .cluster_enabled = cluster_enabled,
        .drain = node_member_drain,
    };
    int status = server_main(&ops, argc, argv);
    node_member_end(&process);
    cluster_map_drop(process.map);
    process.map = NULL;
    return status;
}
