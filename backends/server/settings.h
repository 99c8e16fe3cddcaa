#ifndef BACKENDS_SERVER_SETTINGS_H
#define BACKENDS_SERVER_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cfg.h"

/* The options both daemons have (names as in redis.conf). A daemon puts this struct into its own
 * settings struct (server_ops.server_offset) and need not name the rows: server_main adds
 * server_options. */
struct server_settings {
    /* network */
    struct cfg_strings bind;
    int64_t port, workers, tcp_backlog, tcp_keepalive, timeout, maxclients;
    char *unixsocket;
    int64_t unixsocketperm; /* octal digits read as decimal, as in redis.conf: 700 */
    bool protected_mode;
    int64_t metrics_port; /* 0: off */
    char *metrics_bind;
    /* general */
    bool daemonize;
    int supervised; /* enum server_debug { DEBUG_NO, DEBUG_LOCAL, DEBUG_YES };
enum server_supervised */
    char *pidfile, *logfile, *dir;
    int loglevel; /* enum log_level */
    int64_t databases;
    /* security */
    char *requirepass, *aclfile;
    struct cfg_strings user; /* `user` lines */
    int64_t acllog_max_len;
    /* limits */
    uint64_t maxmemory, proto_max_bulk_len, client_query_buffer_limit, output_pause;
    struct cfg_strings output_limit; /* client-output-buffer-limit: normal 0 0 0 ... */
    /* observability */
    int64_t slowlog_log_slower_than, slowlog_max_len, latency_monitor_threshold;
    bool latency_tracking;
    struct cfg_strings latency_percentiles;
    int enable_debug_command; /* enum server_debug */
    int64_t shutdown_timeout;
};

enum server_debug { DEBUG_NO, DEBUG_LOCAL, DEBUG_YES };
enum server_supervised { SUPERVISED_NO, SUPERVISED_SYSTEMD, SUPERVISED_AUTO };

extern const struct cfg_option server_options[];
extern const size_t server_option_count;

#endif
