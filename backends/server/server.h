#ifndef BACKENDS_SERVER_SERVER_H
#define BACKENDS_SERVER_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/server/session.h"
#include "backends/server/settings.h"
#include "common/cfg.h"
#include "common/conn.h"
#include "common/err.h"
#include "common/loop.h"

/* What halcyon-node and halcyon-proxy share as servers: W workers (thread, loop, listeners,
 * sessions, statistics), start-up, and the actions that concern all workers. A daemon describes
 * itself in struct server_ops and calls server_main.
 *
 * Threads: worker 0 runs in the main thread and owns signals, the metrics port and cron-like work.
 * Workers share nothing that is written: they talk by loop_post, mostly through server_round. */

struct server;
struct info_sum;
struct info_out;

struct worker {
    struct server *server;
    struct loop *loop;
    unsigned index; /* 0 .. server_workers() - 1 */
    uint16_t port;  /* it listens on; 0: none */
    void *data;     /* the daemon's, set in worker_start */
    /* Private copy of the daemon's settings struct; replaced before ops->configured runs. */
    void *settings;
    const struct server_settings *set; /* the part of it that is ours */
    struct conn_limits limits;
    uint64_t batch_ns; /* CLOCK_MONOTONIC at the start of the present batch */
    struct worker_private *priv;
    pthread_t priv_thread;
};

struct server_ops {
    const char *name;  /* "halcyon-proxy": --help, log, server_name is always halcyon */
    const char *about; /* one sentence for --help */
    char log_role;     /* 'P' or 'N' in log lines */
    const char *mode;  /* redis_mode in INFO and HELLO when no cluster is presented: "standalone" */
    /* Node: worker i listens on port + i. Proxy: all on one port with SO_REUSEPORT. */
    bool port_per_worker;
    size_t session_size; /* of the daemon's session struct; its first member is a struct session */
    /* The daemon's own option rows; base is relative to its settings struct. */
    const struct cfg_table *tables;
    size_t table_count;
    size_t settings_size; /* bytes of the daemon's settings struct */
    size_t server_offset; /* offset of struct server_settings in it */

    /* Start-up, in the main thread, before any worker exists; settings are final. May be NULL. */
    enum err (*prepare)(struct server *sv, struct errmsg *why);
    /* In the worker's thread, before it listens and after its loop ended. All workers have started
     * before any listens. */
    enum err (*worker_start)(struct worker *w, struct errmsg *why);
    void (*worker_stop)(struct worker *w);
    /* w->settings was replaced (CONFIG SET, SIGHUP). May be NULL. */
    void (*configured)(struct worker *w);

    /* As conn_ops.on_batch; see session.h. */
    size_t (*on_batch)(struct session *s, const struct conn_req *reqs, size_t n);
    /* A client came (memory is zeroed beyond struct session); went. Either may be NULL. */
    void (*on_open)(struct session *s);
    void (*on_close)(struct session *s);
    /* A LATER reply (session.h), whole, in the session's protocol version; borrows bytes. NULL: see
     * session_command. */
    void (*on_reply)(struct session *s, uint64_t token, struct span bytes);

    /* True while replies are open that will come without further input: then the end of the
     * client's stream or a protocol error waits for them. LATER replies are known without it. NULL:
     * never. */
    bool (*has_pending)(const struct session *s);

    /* Rows with CMD_SESSION that the session layer does not know (CLUSTER, HOTKEYS ...): as
     * session_command. May be NULL: then they are answered as unknown commands. For a LATER reply
     * use later_begin. */
    enum session_result (*local)(struct session *s, const struct admitted *a,
                                 const struct span *argv, int argc, struct resp_out *out,
                                 uint64_t token);

    /* INFO. Every worker adds its numbers to sum (one at a time, in its own thread). May be NULL.
     */
    void (*info_add)(struct worker *w, struct info_sum *sum);
    /* Then, in the asking worker: the daemon's own sections, after the standard ones. Uses
     * info_section and info_field. */
    void (*info_own)(struct worker *w, const struct info_sum *sum, struct info_out *o);
    /* GET /readyz: false and a reason while the daemon cannot serve. In the metrics thread: read
     * atomics only. May be NULL. */
    bool (*ready)(struct server *sv, struct errmsg *why);
    /* SHUTDOWN and SIGTERM, main thread: what has to come before server_drain, which it calls in
     * the end. NULL: server_drain at once. */
    void (*drain)(struct server *sv);
    /* CONFIG RESETSTAT, in each worker. May be NULL. */
    void (*reset_stats)(struct worker *w);
    /* True if this daemon presents a cluster (INFO cluster_enabled, HELLO mode, READONLY, ASKING).
     * May be NULL: false. */
    bool (*cluster_enabled)(const struct server *sv);
};

/* A daemon's main(): options, log, pid file, daemonize, limits, signals, workers, readiness;
 * returns the exit status. */
int server_main(const struct server_ops *ops, int argc, char **argv);

/* ---- workers ---- */
unsigned server_workers(const struct server *sv);
struct worker *server_worker(struct server *sv, unsigned i);
struct cfg *server_cfg(struct server *sv);
void *server_data(const struct server *sv); /* the daemon's, e.g. from prepare */
void server_set_data(struct server *sv, void *data);
struct metrics *server_metrics(struct server *sv);  /* registry behind /metrics */
const char *server_run_id(const struct server *sv); /* 40 hexadecimal digits */
/* Ends all loops and lets server_main return status. Any thread. */
void server_stop(struct server *sv, int status);
/* Listeners close, no more requests are taken, open ones are waited for up to shutdown-timeout;
 * then drained(sv) is called (NULL: server_stop(sv, 0)). Main thread, once. */
void server_drain(struct server *sv, void (*drained)(struct server *sv));

/* Runs each(w, arg) in every worker's thread, one after the other, then done(from, arg) in from's.
 * arg is handed along, never touched by two threads at once. Must be called in from's thread; done
 * never runs before this returned. */
void server_round(struct worker *from, void (*each)(struct worker *w, void *arg),
                  void (*done)(struct worker *from, void *arg), void *arg);

/* ---- LATER replies for the daemon's own commands and for ours ---- */
struct later {
    struct worker *w;
    uint64_t session_id, token;
    uint8_t proto;
    bool silent;
};
/* Notes that this request will be answered later. Give it back with later_reply, exactly once, in
 * the session's worker. */
struct later later_begin(struct session *s, const struct admitted *a, const struct resp_out *out,
                         uint64_t token);
void later_reply(const struct later *l, struct span bytes);

/* ---- INFO ---- */
#define INFO_OWN_MAX 64
struct info_sum { /* zeroed, then raised by every worker */
    uint64_t keyspace_hits, keyspace_misses, expired_keys, evicted_keys, expired_time_cap_reached;
    uint64_t blocked_clients;
    uint64_t used_memory_dataset, lazyfree_pending, lazyfreed;
    struct {
        uint64_t keys, expires, ttl_ms_sum; /* avg_ttl is ttl_ms_sum / expires */
    } db[SESSION_DB_MAX];
    uint64_t own[INFO_OWN_MAX]; /* the daemon's */
    struct info_server *srv;    /* private: clients, commands, network */
};
/* Starts "# Name" if the client asked for it; false: skip its fields. Names must not be those of
 * standard sections. */
bool info_section(struct info_out *o, const char *name);
/* key:value. Keys must not contain what readers search for (CLIENTS 3.3); checked by an assertion.
 */
void info_field(struct info_out *o, const char *key, const char *fmt, ...) printf_like(3, 4);

/* ---- metrics: the daemon registers its own with common/metrics.h; the server's come by
 * themselves. ---- */

#endif
