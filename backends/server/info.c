/* INFO: the standard sections, with the keys monitoring tools read (CLIENTS 3.3), then the daemon's
 * own. */
#include "backends/server/info.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "backends/server/internal.h"
#include "backends/server/names.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"

enum section {
    SERVER,
    CLIENTS,
    MEMORY,
    PERSISTENCE,
    STATS,
    REPLICATION,
    CPU,
    MODULES,
    COMMANDSTATS,
    ERRORSTATS,
    LATENCYSTATS,
    CLUSTER,
    KEYSPACE,
    SECTION_COUNT
};

static const char *const section_names[SECTION_COUNT] = {
    "Server",  "Clients",      "Memory",     "Persistence",  "Stats",   "Replication", "CPU",
    "Modules", "Commandstats", "Errorstats", "Latencystats", "Cluster", "Keyspace"};

#define ALL_SECTIONS ((1u << SECTION_COUNT) - 1)
#define DEFAULT_SECTIONS (ALL_SECTIONS & ~(1u << COMMANDSTATS | 1u << LATENCYSTATS))

/* ---- selection ---- */

void info_select(struct info_out *o, const struct span *names, int n)
{
    o->names = names;
    o->name_count = n;
    if (n == 0) {
        o->standard = DEFAULT_SECTIONS;
        o->own = true;
    }
    for (int i = 0; i < n; i++) {
        if (span_is(names[i], "default")) {
            o->standard |= DEFAULT_SECTIONS;
            o->own = true;
        } else if (span_is(names[i], "all") || span_is(names[i], "everything")) {
            o->standard |= ALL_SECTIONS;
            o->own = true;
        }
        for (unsigned s = 0; s < SECTION_COUNT; s++) {
            if (span_is(names[i], section_names[s])) {
                o->standard |= 1u << s;
            }
        }
    }
}

static void heading(struct info_out *o, const char *name)
{
    if (buf_used(&o->text) != 0) {
        buf_add_str(&o->text, "\r\n");
    }
    buf_addf(&o->text, "# %s\r\n", name);
}

bool info_section(struct info_out *o, const char *name)
{
    bool wanted = o->own;
    for (int i = 0; i < o->name_count && !wanted; i++) {
        wanted = span_is(o->names[i], name);
    }
    if (wanted) {
        heading(o, name);
    }
    o->in_own = wanted;
    return wanted;
}

/* What redis-cli and others look for by first occurrence. */
bool info_key_is_safe(const char *key)
{
    static const char *const taken[] = {"used_memory",
                                        "connected_clients",
                                        "blocked_clients",
                                        "total_commands_processed",
                                        "total_connections_received",
                                        "bgsave_in_progress",
                                        "aof_rewrite_in_progress",
                                        "loading",
                                        "redis_version"};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        if (strstr(key, taken[i]) != NULL) {
            return false;
        }
    }
    return !(strncmp(key, "db", 2) == 0 && key[2] >= '0' && key[2] <= '9');
}

void info_field(struct info_out *o, const char *key, const char *fmt, ...)
{
    char value[1024];
    must(!o->in_own || info_key_is_safe(key));
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(value, sizeof value, fmt,
                    args); // NOLINT(clang-analyzer-valist*): started above
    va_end(args);
    buf_addf(&o->text, "%s:%s\r\n", key, value);
}

void info_human(uint64_t bytes, char out[32])
{
    static const char units[] = "BKMGTP";
    double v = (double)bytes;
    unsigned u = 0;
    while (v >= 1024 && u < 5) {
        v /= 1024;
        u++;
    }
    if (u == 0) {
        (void)snprintf(out, 32, "%" PRIu64 "B", bytes);
    } else {
        (void)snprintf(out, 32, "%.2f%c", v, units[u]);
    }
}

#define U64(key, v) info_field(o, key, "%" PRIu64, (uint64_t)(v))

/* key and key_human */
static void bytes_field(struct info_out *o, const char *key, uint64_t v)
{
    char human[32];
    char name[64];
    U64(key, v);
    info_human(v, human);
    (void)snprintf(name, sizeof name, "%s_human", key);
    info_field(o, name, "%s", human);
}

static void zeros(struct info_out *o, const char *const *keys)
{
    for (; *keys != NULL; keys++) {
        info_field(o, *keys, "0");
    }
}

/* A path is shown unless a reader could find a standard key in it. */
static void path_field(struct info_out *o, const char *key, const char *path)
{
    info_field(o, key, "%s", info_key_is_safe(path) ? path : "");
}

/* ---- sections ---- */

static bool cluster_on(const struct server *sv)
{
    return sv->ops->cluster_enabled != NULL && sv->ops->cluster_enabled(sv);
}

static void section_server(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)sum;
    const struct server *sv = w->server;
    struct utsname uts;
    uint64_t now_us = clk_wall_us();
    uint64_t up = (clk_mono_ns() - sv->start_mono_ns) / 1000000000u;
    static const char *const supervised[] = {"no", "systemd", "no"};
    info_field(o, "redis_version", "%s", SERVER_REDIS_VERSION);
    info_field(o, "redis_git_sha1", "00000000");
    info_field(o, "redis_git_dirty", "0");
    info_field(o, "redis_build_id", "0");
    info_field(o, "redis_mode", "%s", cluster_on(sv) ? "cluster" : sv->ops->mode);
    if (uname(&uts) == 0) {
        info_field(o, "os", "%s %s %s", uts.sysname, uts.release, uts.machine);
    }
    info_field(o, "arch_bits", "%zu", sizeof(void *) * 8);
    info_field(o, "monotonic_clock", "POSIX clock_gettime");
    info_field(o, "multiplexing_api", "epoll");
    info_field(o, "atomicvar_api", "c11-builtin");
    info_field(o, "gcc_version", "%d.%d.%d", __GNUC__, __GNUC_MINOR__, 0);
    info_field(o, "process_id", "%d", (int)getpid());
    info_field(o, "process_supervised", "%s", supervised[w->set->supervised]);
    info_field(o, "run_id", "%s", sv->run_id);
    info_field(o, "tcp_port", "%d", (int)w->set->port);
    U64("server_time_usec", now_us);
    U64("uptime_in_seconds", up);
    U64("uptime_in_days", up / 86400);
    info_field(o, "hz", "10");
    info_field(o, "configured_hz", "10");
    U64("lru_clock", now_us / 1000000 & 0xFFFFFF);
    path_field(o, "executable", sv->executable_path);
    path_field(o, "config_file", cfg_path(sv->cfg));
    info_field(o, "io_threads_active", "%d", sv->worker_count > 1);
    info_field(o, "server_name", "halcyon");
    info_field(o, "halcyon_version", "%s", HALCYON_VERSION);
}

static void section_clients(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    U64("connected_clients", sum->srv->connected - sum->srv->internal);
    info_field(o, "cluster_connections", "0");
    info_field(o, "maxclients", "%lld", (long long)w->set->maxclients);
    U64("client_recent_max_input_buffer", sum->srv->max_in);
    U64("client_recent_max_output_buffer", sum->srv->max_out);
    U64("blocked_clients", sum->blocked_clients);
    info_field(o, "tracking_clients", "0");
    info_field(o, "clients_in_timeout_table", "0");
}

static double ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

static void policy_field(struct worker *w, struct info_out *o)
{
    const struct cfg_option *opt = cfg_find(w->server->cfg, SPAN_LIT("maxmemory-policy"));
    struct buf value = {0};
    if (opt != NULL) {
        cfg_value(w->server->cfg, opt, &value);
    } else {
        buf_add_str(&value, "noeviction");
    }
    info_field(o, "maxmemory_policy", "%.*s", (int)buf_used(&value), buf_head(&value));
    buf_free(&value);
}

static void section_memory(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    struct mem_stats m;
    mem_stats(&m);
    uint64_t peak = atomic_load(&w->server->peak_memory);
    if (m.allocated > peak) {
        peak = m.allocated;
        atomic_store(&w->server->peak_memory, peak);
    }
    uint64_t data = sum->used_memory_dataset;
    uint64_t overhead = m.allocated > data ? m.allocated - data : 0;
    bytes_field(o, "used_memory", m.allocated);
    bytes_field(o, "used_memory_rss", m.rss);
    bytes_field(o, "used_memory_peak", peak);
    info_field(o, "used_memory_peak_perc", "%.2f%%", 100 * ratio(m.allocated, peak));
    U64("used_memory_overhead", overhead);
    U64("used_memory_startup", w->server->startup_memory);
    U64("used_memory_dataset", data);
    info_field(o, "used_memory_dataset_perc", "%.2f%%", 100 * ratio(data, m.allocated));
    U64("allocator_allocated", m.allocated);
    U64("allocator_active", m.active);
    U64("allocator_resident", m.resident);
    bytes_field(o, "total_system_memory",
                (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    info_field(o, "used_memory_lua", "0");
    info_field(o, "used_memory_lua_human", "0B");
    info_field(o, "used_memory_scripts", "0");
    info_field(o, "used_memory_scripts_human", "0B");
    info_field(o, "number_of_cached_scripts", "0");
    bytes_field(o, "maxmemory", w->set->maxmemory);
    policy_field(w, o);
    info_field(o, "allocator_frag_ratio", "%.2f", ratio(m.active, m.allocated));
    U64("allocator_frag_bytes", m.active > m.allocated ? m.active - m.allocated : 0);
    info_field(o, "allocator_rss_ratio", "%.2f", ratio(m.resident, m.active));
    U64("allocator_rss_bytes", m.resident > m.active ? m.resident - m.active : 0);
    info_field(o, "rss_overhead_ratio", "%.2f", ratio(m.rss, m.resident));
    info_field(o, "rss_overhead_bytes", "%" PRId64, (int64_t)m.rss - (int64_t)m.resident);
    info_field(o, "mem_fragmentation_ratio", "%.2f", ratio(m.rss, m.allocated));
    info_field(o, "mem_fragmentation_bytes", "%" PRId64, (int64_t)m.rss - (int64_t)m.allocated);
    static const char *const none[] = {"mem_not_counted_for_evict", "mem_replication_backlog",
                                       "mem_clients_slaves", NULL};
    zeros(o, none);
    U64("mem_clients_normal", sum->srv->clients_memory);
    info_field(o, "mem_cluster_links", "0");
    info_field(o, "mem_aof_buffer", "0");
    info_field(o, "mem_allocator", "%s", mem_allocator_name());
    info_field(o, "active_defrag_running", "0");
    U64("lazyfree_pending_objects", sum->lazyfree_pending);
    U64("lazyfreed_objects", sum->lazyfreed);
}

static void section_persistence(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)sum;
    static const char *const before[] = {"loading",
                                         "async_loading",
                                         "current_cow_peak",
                                         "current_cow_size",
                                         "rdb_changes_since_last_save",
                                         "rdb_bgsave_in_progress",
                                         NULL};
    static const char *const after[] = {"rdb_saves",
                                        "rdb_last_cow_size",
                                        "aof_enabled",
                                        "aof_rewrite_in_progress",
                                        "aof_rewrite_scheduled",
                                        NULL};
    zeros(o, before);
    U64("rdb_last_save_time", w->server->start_ms / 1000);
    info_field(o, "rdb_last_bgsave_status", "ok");
    info_field(o, "rdb_last_bgsave_time_sec", "-1");
    info_field(o, "rdb_current_bgsave_time_sec", "-1");
    zeros(o, after);
    info_field(o, "aof_last_rewrite_time_sec", "-1");
    info_field(o, "aof_current_rewrite_time_sec", "-1");
    info_field(o, "aof_last_bgrewrite_status", "ok");
    info_field(o, "aof_last_write_status", "ok");
    info_field(o, "aof_last_cow_size", "0");
}

static void section_stats(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)w;
    const struct info_server *v = sum->srv;
    U64("total_connections_received", v->connections);
    U64("total_commands_processed", v->commands);
    U64("instantaneous_ops_per_sec", v->ops);
    U64("total_net_input_bytes", v->bytes_in);
    U64("total_net_output_bytes", v->bytes_out);
    info_field(o, "instantaneous_input_kbps", "%.2f", v->in_rate / 1024);
    info_field(o, "instantaneous_output_kbps", "%.2f", v->out_rate / 1024);
    U64("rejected_connections", v->rejected);
    static const char *const sync[] = {"sync_full", "sync_partial_ok", "sync_partial_err", NULL};
    zeros(o, sync);
    U64("expired_keys", sum->expired_keys);
    info_field(o, "expired_stale_perc", "0.00");
    U64("expired_time_cap_reached_count", sum->expired_time_cap_reached);
    U64("evicted_keys", sum->evicted_keys);
    info_field(o, "evicted_clients", "0");
    U64("keyspace_hits", sum->keyspace_hits);
    U64("keyspace_misses", sum->keyspace_misses);
    static const char *const none[] = {"pubsub_channels",
                                       "pubsub_patterns",
                                       "latest_fork_usec",
                                       "total_forks",
                                       "migrate_cached_sockets",
                                       "slave_expires_tracked_keys",
                                       "active_defrag_hits",
                                       "active_defrag_misses",
                                       "tracking_total_keys",
                                       "tracking_total_items",
                                       "tracking_total_prefixes",
                                       "unexpected_error_replies",
                                       NULL};
    zeros(o, none);
    U64("total_error_replies", v->errors);
    U64("acl_access_denied_auth", v->denied_auth);
    U64("acl_access_denied_cmd", v->denied_cmd);
    U64("acl_access_denied_key", v->denied_key);
    U64("loop_longest_turn_us", v->longest_turn_ns / 1000);
}

static void section_replication(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)sum;
    info_field(o, "role", "master");
    info_field(o, "connected_slaves", "0");
    info_field(o, "master_failover_state", "no-failover");
    info_field(o, "master_replid", "%s", w->server->replid);
    info_field(o, "master_replid2", "%040d", 0);
    info_field(o, "master_repl_offset", "0");
    info_field(o, "second_repl_offset", "-1");
    static const char *const none[] = {"repl_backlog_active", "repl_backlog_size",
                                       "repl_backlog_first_byte_offset", "repl_backlog_histlen",
                                       NULL};
    zeros(o, none);
}

static void section_cpu(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)w;
    (void)sum;
    struct rusage r;
    (void)getrusage(RUSAGE_SELF, &r);
    info_field(o, "used_cpu_sys", "%ld.%06ld", r.ru_stime.tv_sec, r.ru_stime.tv_usec);
    info_field(o, "used_cpu_user", "%ld.%06ld", r.ru_utime.tv_sec, r.ru_utime.tv_usec);
    info_field(o, "used_cpu_sys_children", "0.000000");
    info_field(o, "used_cpu_user_children", "0.000000");
}

static void section_modules(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)w;
    (void)sum;
    (void)o;
}

static void section_commandstats(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)w;
    for (unsigned i = 0; i < cmdset_count(); i++) {
        const struct cmd_counters *c = &sum->srv->commands_by_row[i];
        if (c->calls == 0 && c->rejected == 0 && c->failed == 0) {
            continue;
        }
        uint64_t us = c->nanos / 1000;
        buf_addf(&o->text,
                 "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64
                 ",usec_per_call=%.2f,rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64 "\r\n",
                 c->cmd->name, c->calls, us,
                 c->calls == 0 ? 0.0 : (double)c->nanos / 1000 / (double)c->calls, c->rejected,
                 c->failed);
    }
}

static void section_errorstats(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)w;
    for (unsigned i = 0; i < sum->srv->error_words; i++) {
        buf_addf(&o->text, "errorstat_%s:count=%" PRIu64 "\r\n", sum->srv->errors_by_word[i].word,
                 sum->srv->errors_by_word[i].count);
    }
}

static void percentiles(const struct server_settings *set, const struct hist *h, struct buf *out)
{
    for (size_t i = 0; i < set->latency_percentiles.n; i++) {
        double p = 0;
        const char *text = set->latency_percentiles.v[i];
        (void)sscanf(text, "%lf", &p); // NOLINT(cert-err34-c): the option's check has parsed it
        buf_addf(out, "%sp%s=%.3f", i == 0 ? "" : ",", text, (double)hist_percentile(h, p / 100));
    }
}

static void section_latencystats(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    for (unsigned i = 0; i < cmdset_count(); i++) {
        const struct cmd_counters *c = &sum->srv->commands_by_row[i];
        if (c->hist != NULL && c->hist->total != 0) {
            buf_addf(&o->text, "latency_percentiles_usec_%s:", c->cmd->name);
            percentiles(w->set, c->hist, &o->text);
            buf_add_str(&o->text, "\r\n");
        }
    }
}

static void section_cluster(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)sum;
    info_field(o, "cluster_enabled", "%d", cluster_on(w->server));
}

static void section_keyspace(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    (void)w;
    for (unsigned i = 0; i < SESSION_DB_MAX; i++) {
        uint64_t expires = sum->db[i].expires;
        if (sum->db[i].keys != 0) {
            buf_addf(&o->text, "db%u:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=%" PRIu64 "\r\n",
                     i, sum->db[i].keys, expires,
                     expires == 0 ? 0 : sum->db[i].ttl_ms_sum / expires);
        }
    }
}

void info_write(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    static void (*const writers[SECTION_COUNT])(struct worker * w, const struct info_sum *sum,
                                                struct info_out *o) = {
        section_server,       section_clients,     section_memory,       section_persistence,
        section_stats,        section_replication, section_cpu,          section_modules,
        section_commandstats, section_errorstats,  section_latencystats, section_cluster,
        section_keyspace};
    for (unsigned s = 0; s < SECTION_COUNT; s++) {
        if ((o->standard & 1u << s) != 0) {
            heading(o, section_names[s]);
            writers[s](w, sum, o);
        }
    }
    if (w->server->ops->info_own != NULL) {
        w->server->ops->info_own(w, sum, o);
    }
    o->in_own = false;
}
