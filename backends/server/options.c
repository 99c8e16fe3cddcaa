/* The options both daemons have. Names, defaults and ranges are redis.conf's where Redis has the
 * idea. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/server/acl.h"
#include "backends/server/settings.h"
#include "common/log.h"
#include "common/num.h"
#include "common/slot.h"

static const struct cfg_enum supervised_values[] = {
    {"no", SUPERVISED_NO}, {"systemd", SUPERVISED_SYSTEMD}, {"auto", SUPERVISED_AUTO}, {NULL, 0}};
static const struct cfg_enum debug_values[] = {
    {"no", DEBUG_NO}, {"local", DEBUG_LOCAL}, {"yes", DEBUG_YES}, {NULL, 0}};
static const struct cfg_enum loglevel_values[] = {{"debug", LOG_DEBUG},
                                                  {"verbose", LOG_VERBOSE},
                                                  {"notice", LOG_NOTICE},
                                                  {"warning", LOG_WARNING},
                                                  {NULL, 0}};

static enum err check_output_limit(const char *value, struct errmsg *why)
{
    struct cfg_strings w;
    enum err e = cfg_split(span_str(value), &w);
    if (e != OK) {
        return errmsg_set(why, e, "unbalanced quotes");
    }
    if (w.n % 4 != 0) {
        e = errmsg_set(why, ERR_CONFIG, "Wrong number of arguments in buffer limit configuration.");
    }
    for (size_t i = 0; e == OK && i + 3 < w.n; i += 4) {
        uint64_t bytes;
        int64_t seconds;
        if (strcasecmp(w.v[i], "normal") != 0 && strcasecmp(w.v[i], "replica") != 0 &&
            strcasecmp(w.v[i], "slave") != 0 && strcasecmp(w.v[i], "pubsub") != 0) {
            e = errmsg_set(why, ERR_CONFIG,
                           "Invalid client class specified in buffer limit "
                           "configuration.");
        } else if (!num_parse_memory(span_str(w.v[i + 1]), &bytes) ||
                   !num_parse_memory(span_str(w.v[i + 2]), &bytes) ||
                   !num_parse_i64(span_str(w.v[i + 3]), &seconds) || seconds < 0) {
            e = errmsg_set(why, ERR_CONFIG,
                           "Error in hard, soft or soft_seconds setting in buffer "
                           "limit configuration.");
        }
    }
    cfg_strings_free(&w);
    return e;
}

static enum err check_percentiles(const char *value, struct errmsg *why)
{
    struct cfg_strings w;
    enum err e = cfg_split(span_str(value), &w);
    if (e != OK) {
        return errmsg_set(why, e, "unbalanced quotes");
    }
    for (size_t i = 0; e == OK && i < w.n; i++) {
        double p;
        if (!num_parse_double(span_str(w.v[i]), &p) || p < 0 || p > 100) {
            e = errmsg_set(why, ERR_CONFIG,
                           "latency-tracking-info-percentiles contains an invalid percentile");
        }
    }
    cfg_strings_free(&w);
    return e;
}

/* A `user` line must make a user, whatever the others say. */
static enum err check_user(const char *value, struct errmsg *why)
{
    struct cfg_strings w;
    enum err e = cfg_split(span_str(value), &w);
    if (e != OK) {
        return errmsg_set(why, e, "unbalanced quotes");
    }
    struct acl scratch;
    acl_init(&scratch);
    e = acl_load_line(&scratch, &w, why);
    acl_deinit(&scratch);
    cfg_strings_free(&w);
    return e;
}

#define OFF(field) offsetof(struct server_settings, field)
#define MB ((int64_t)1024 * 1024)

const struct cfg_option server_options[] = {
    {"bind", CFG_WORDS, 0, OFF(bind), "127.0.0.1 -::1", 0, 16, NULL, "Network",
     "Addresses to listen on. * stands for all of IPv4; a leading - means: no error if the address "
     "is not there.",
     NULL, NULL},
    {"port", CFG_INT, 0, OFF(port), "6379", 0, 65535, NULL, "Network",
     "TCP port for Redis clients; 0: none.", NULL, NULL},
    {"unixsocket", CFG_STRING, 0, OFF(unixsocket), "", 0, 0, NULL, "Network",
     "Path of a Unix socket to listen on as well; empty: none.", NULL, NULL},
    {"unixsocketperm", CFG_INT, 0, OFF(unixsocketperm), "0", 0, 777, NULL, "Network",
     "Permissions of the Unix socket, octal; 0: as the umask says.", NULL, NULL},
    {"tcp-backlog", CFG_INT, 0, OFF(tcp_backlog), "511", 0, 1 << 20, NULL, "Network",
     "Length of the queue of connections that wait to be accepted.", NULL, NULL},
    {"tcp-keepalive", CFG_INT, CFG_RUNTIME, OFF(tcp_keepalive), "300", 0, INT32_MAX, NULL,
     "Network", "Seconds of silence after which the kernel probes a client; 0: never.", NULL, NULL},
    {"timeout", CFG_INT, CFG_RUNTIME, OFF(timeout), "0", 0, INT32_MAX, NULL, "Network",
     "Seconds after which an idle client is disconnected; 0: never.", NULL, NULL},
    {"protected-mode", CFG_BOOL, CFG_RUNTIME, OFF(protected_mode), "yes", 0, 0, NULL, "Network",
     "Refuse clients from other machines while the default user has no password.", NULL, NULL},
    {"workers", CFG_INT, 0, OFF(workers), "1", 1, 256, NULL, "General", "Worker threads.", NULL,
     NULL},
    {"daemonize", CFG_BOOL, 0, OFF(daemonize), "no", 0, 0, NULL, "General",
     "Detach from the terminal and run in the background.", NULL, NULL},
    {"supervised", CFG_ENUM, 0, OFF(supervised), "auto", 0, 0, supervised_values, "General",
     "Tell systemd when ready: yes with `systemd`, if it asks for it with `auto`.", NULL, NULL},
    {"pidfile", CFG_STRING, 0, OFF(pidfile), "", 0, 0, NULL, "General",
     "File to write the process id to; empty: none.", NULL, NULL},
    {"logfile", CFG_STRING, 0, OFF(logfile), "", 0, 0, NULL, "General",
     "Log file; empty: standard output.", NULL, NULL},
    {"loglevel", CFG_ENUM, CFG_RUNTIME, OFF(loglevel), "notice", 0, 0, loglevel_values, "General",
     "How much is logged.", NULL, NULL},
    {"dir", CFG_STRING, 0, OFF(dir), ".", 1, 4096, NULL, "General",
     "Working directory; relative paths start here.", NULL, NULL},
    {"databases", CFG_INT, 0, OFF(databases), "16", 1, DB_COUNT, NULL, "General",
     "Numbers SELECT takes.", NULL, NULL},
    {"shutdown-timeout", CFG_INT, CFG_RUNTIME, OFF(shutdown_timeout), "10", 0, INT32_MAX, NULL,
     "General", "Seconds SHUTDOWN and SIGTERM wait at most for what is under way.", NULL, NULL},
    {"requirepass", CFG_STRING, CFG_RUNTIME | CFG_SECRET, OFF(requirepass), "", 0, 512, NULL,
     "Security", "Password of the default user; empty: none is needed.", NULL, NULL},
    {"aclfile", CFG_STRING, 0, OFF(aclfile), "", 0, 0, NULL, "Security",
     "File with `user` lines; ACL LOAD reads and ACL SAVE writes it. Not together with `user` "
     "here.",
     NULL, NULL},
    {"user", CFG_LINES, CFG_SECRET | CFG_HIDDEN, OFF(user), "", 1, 4096, NULL, "Security",
     "A user: name and rules, as in ACL SETUSER.", check_user, NULL},
    {"acllog-max-len", CFG_INT, CFG_RUNTIME, OFF(acllog_max_len), "128", 0, 1 << 20, NULL,
     "Security", "Entries of ACL LOG.", NULL, NULL},
    {"enable-debug-command", CFG_ENUM, 0, OFF(enable_debug_command), "no", 0, 0, debug_values,
     "Security", "Who may use DEBUG: nobody, clients of this machine, or everybody.", NULL, NULL},
    {"maxclients", CFG_INT, CFG_RUNTIME, OFF(maxclients), "10000", 1, INT32_MAX, NULL, "Limits",
     "Connections at the same time.", NULL, NULL},
    {"maxmemory", CFG_MEMORY, CFG_RUNTIME, OFF(maxmemory), "0", 0, INT64_MAX, NULL, "Limits",
     "Budget for data, bytes; 0: none.", NULL, NULL},
    {"proto-max-bulk-len", CFG_MEMORY, CFG_RUNTIME, OFF(proto_max_bulk_len), "512mb", MB, INT64_MAX,
     NULL, "Limits", "Longest single argument of a request.", NULL, NULL},
    {"client-query-buffer-limit", CFG_MEMORY, CFG_RUNTIME, OFF(client_query_buffer_limit), "1gb",
     MB, INT64_MAX, NULL, "Limits", "Unread bytes of one client before it is disconnected.", NULL,
     NULL},
    {"client-output-buffer-limit", CFG_LINES, CFG_RUNTIME, OFF(output_limit),
     "normal 0 0 0\nreplica 256mb 64mb 60\npubsub 32mb 8mb 60", 0, 64, NULL, "Limits",
     "Class, hard limit, soft limit, seconds: a client whose unsent replies exceed the hard limit, "
     "or the soft limit for so many seconds, is disconnected; 0: no limit.",
     check_output_limit, NULL},
    {"client-output-pause", CFG_MEMORY, CFG_RUNTIME, OFF(output_pause), "1mb", 1024, INT64_MAX,
     NULL, "Limits",
     "Stop reading requests of a client while more than this of its replies is unsent.", NULL,
     NULL},
    {"slowlog-log-slower-than", CFG_INT, CFG_RUNTIME, OFF(slowlog_log_slower_than), "10000", -1,
     INT64_MAX, NULL, "Observability",
     "Microseconds from which on a command enters the slow log; 0: all, -1: none. Below 1000 each "
     "command is timed by itself, which costs throughput.",
     NULL, NULL},
    {"slowlog-max-len", CFG_INT, CFG_RUNTIME, OFF(slowlog_max_len), "128", 0, 1 << 20, NULL,
     "Observability", "Entries of the slow log.", NULL, NULL},
    {"latency-tracking", CFG_BOOL, CFG_RUNTIME, OFF(latency_tracking), "yes", 0, 0, NULL,
     "Observability", "Keep a latency histogram per command.", NULL, NULL},
    {"latency-tracking-info-percentiles", CFG_WORDS, CFG_RUNTIME, OFF(latency_percentiles),
     "50 99 99.9", 0, 16, NULL, "Observability", "Percentiles INFO latencystats shows.",
     check_percentiles, NULL},
    {"latency-monitor-threshold", CFG_INT, CFG_RUNTIME, OFF(latency_monitor_threshold), "0", 0,
     INT64_MAX, NULL, "Observability",
     "Milliseconds from which on an event-loop turn is recorded for LATENCY LATEST; 0: none.", NULL,
     NULL},
    {"metrics-port", CFG_INT, 0, OFF(metrics_port), "0", 0, 65535, NULL, "Observability",
     "HTTP port for /metrics (Prometheus), /healthz and /readyz; 0: none.", NULL, NULL},
    {"metrics-bind", CFG_STRING, 0, OFF(metrics_bind), "127.0.0.1", 1, 64, NULL, "Observability",
     "Address of the metrics port.", NULL, NULL},
};
const size_t server_option_count = sizeof server_options / sizeof server_options[0];
