#ifndef BACKENDS_SERVER_INTERNAL_H
#define BACKENDS_SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/server/acl.h"
#include "backends/server/server.h"
#include "backends/server/slowlog.h"
#include "common/metrics.h"

/* What the files of backends/server share among themselves. Nobody else includes this. */

#define SESSION_MAGIC 0x53455353u

/* ---- one call of a connection or server command ---- */
struct call {
    struct session *s;
    const struct admitted *a;
    const struct span *argv;
    int argc;
    struct resp_out *out;
    uint64_t token;
    bool silent; /* starts as a->silent; CLIENT REPLY ON clears it */
};
typedef enum session_result (*local_fn)(struct call *c);

struct local {
    const char *name; /* of the row */
    local_fn fn;
};
/* Tables of handlers, one per file of commands, ended by name NULL. */
extern const struct local locals_connection[], locals_client[], locals_command[], locals_config[],
    locals_acl[], locals_stats[], locals_server[], locals_transaction[];
local_fn local_find(const char *name); /* NULL: not ours */

/* "ERR syntax error", "ERR value is not an integer or out of range", and the HELP form of Redis:
 * lines ends with NULL; the two closing lines about HELP itself are added. */
void call_syntax(struct call *c);
void call_not_integer(struct call *c);
/* "ERR unknown subcommand or wrong number of arguments for ..." */
void call_wrong_number(struct call *c);
bool call_i64(struct call *c, struct span s, int64_t *out);
enum session_result call_help(struct call *c, const char *container, const char *const *lines);

/* ---- an operation over all workers that answers one request ---- */
struct op {
    struct later later;
    struct worker *from;
    int argc;
    struct span *argv; /* copies, in one block with the op */
    struct buf out;    /* of the final reply: reply.b == &out */
    struct resp_out reply;
    void (*each)(struct worker *w, struct op *op);   /* NULL: none */
    void (*finish)(struct worker *w, struct op *op); /* appends the reply to op->reply */
    /* scratch of the operation */
    struct buf text;
    int64_t n;
    uint64_t numbers[8];
    void *data;
};
/* Starts it; extra: bytes of zeroed memory at op->data (NULL if 0). */
struct op *op_new(struct call *c, size_t extra);
enum session_result op_start(struct op *op);

/* ---- worker ---- */
#define MEMO_SIZE 64u

struct memo {
    uint64_t name; /* letters, lower case, blank padded */
    uint32_t len;
    const struct cmd *cmd;
    struct cmd_slot *slot;
};

struct cmd_slot {
    struct cmd_counters pub; /* first */
    local_fn fn;             /* of CMD_SESSION rows of ours */
    unsigned index;          /* cmdset_index */
};

struct run { /* fast commands of the batch that share its clock */
    struct cmd_counters *count;
    uint32_t n;
};

struct error_stat {
    char word[ERRORSTAT_WORD];
    uint64_t count;
};

enum pause_mode { PAUSE_OFF, PAUSE_WRITE, PAUSE_ALL };

struct net_rate { /* instantaneous_*: mean over the last 16 samples of 100 ms */
    uint64_t last;
    double rate[16];
    unsigned at;
};

/* LATENCY's only event: by how much the worker's tick came too late. Newest LATE_MAX records. */
#define LATE_MAX 160
#define LATE_EVENT "event-loop"
struct late_log {
    unsigned count;
    uint64_t when_s[LATE_MAX];
    uint32_t ms[LATE_MAX];
    uint32_t max_ms;
};
void late_log_add(struct late_log *l, uint64_t when_s, uint32_t ms);

struct worker_private {
    struct memo memo[MEMO_SIZE];
    struct cmd_slot *slots; /* cmdset_count of them */
    /* this batch */
    struct run runs[CONN_BATCH_MAX];
    unsigned run_count;
    uint64_t mark_ns;
    const struct conn_req *reqs;
    size_t req_count;
    int64_t slow_us; /* slowlog-log-slower-than */
    bool precise, track_latency;
    bool own_clock; /* of the command that runs now */
    /* sessions */
    struct session *first, *last;
    uint32_t session_count, internal_count, blocked_count;
    struct session **by_id;
    uint32_t by_id_size;
    struct session *parked;
    enum pause_mode pause_mode;
    uint64_t pause_end_ms;
    struct loop_timer *pause_timer, *tick;
    struct acl_set *acl; /* holds a reference */
    /* statistics */
    uint64_t commands, connections, rejected_conn, errors_total, closed_bytes_in, closed_bytes_out;
    uint64_t query_limit_closed, output_limit_closed, acl_denied_cmd, acl_denied_key,
        acl_denied_auth;
    struct net_rate ops, in, out;
    uint64_t last_tick_ns, ticks;
    struct error_stat error_stats[ERRORSTAT_MAX];
    unsigned error_stat_count;
    uint64_t max_in_buf, max_out_buf; /* client_recent_max_* */
    struct slowlog slow;
    struct late_log late;
    /* copies for the metrics thread, made every tick */
    struct counter seen_commands, seen_connections, seen_rejected, seen_errors, seen_in, seen_out;
    struct gauge seen_clients;
    struct listener **listeners;
    size_t listener_count;
};

struct server {
    const struct server_ops *ops;
    struct cfg *cfg;
    unsigned worker_count;
    struct worker *workers;
    void *data;
    char run_id[41], replid[41];
    char executable_path[4096];
    uint64_t start_ms, start_mono_ns, startup_memory;
    _Atomic uint64_t peak_memory;
    struct metrics *metrics;
    _Atomic uint64_t next_session_id;
    _Atomic uint64_t next_slow_id;
    _Atomic uint32_t clients; /* all connections, for maxclients */
    _Atomic bool draining, stopping;
    _Atomic int status;
    struct acl acl; /* the one true user list, behind a lock of its own */
    struct http *http;
    uint32_t next_unix_worker;
    pthread_barrier_t barrier;
    struct errmsg failure; /* of a worker's start; guarded by failure_lock */
    bool failed;
    pthread_mutex_t failure_lock;
};

/* ---- commands known to this process, numbered ---- */
/* Rows and subcommand rows get indexes in order of name. cmdset_init may be called more than once,
 * by one thread at start. */
void cmdset_init(void);
unsigned cmdset_count(void);
const struct cmd *cmdset_at(unsigned i);
unsigned cmdset_index(const struct cmd *cmd); /* the row must exist */

/* ---- session.c, session_life.c ---- */
void session_open(struct worker *w, int fd, bool is_unix); /* takes fd */
void session_set_user(struct session *s, const struct acl_user *u, bool authenticated);
bool session_auth_needed(const struct session *s);
void session_unpark_all(struct worker *w);
void session_reset(struct session *s); /* RESET */
void worker_count_error(struct worker *w, struct span reply);
bool session_is_busy(const struct session *s);   /* replies to come, or output to be written */
bool session_may_debug(const struct session *s); /* enable-debug-command */
bool session_is_loopback(const struct session *s);
struct cmd_slot *worker_slot(struct worker *w, const struct cmd *cmd);
size_t session_on_batch(struct conn *c, const struct conn_req *reqs, size_t n); /* conn_ops */

/* ---- server.c ---- */
enum err worker_init(struct worker *w, struct errmsg *why);
void worker_apply_settings(struct worker *w); /* takes a new snapshot */
void worker_deinit(struct worker *w);
enum err worker_listen(struct worker *w, struct errmsg *why);
void worker_close_all(struct worker *w);
/* ---- transaction.c ---- */
/* In MULTI: is this request to be queued? Else it runs at once; one that was refused spoils the
 * transaction. */
bool session_queues(struct session *s, const struct admitted *a);
void session_queue(struct call *c);
/* ---- shutdown.c ---- */
/* SIGTERM, SHUTDOWN; main thread. */
void server_begin_shutdown(struct server *sv);
/* Installs the server's present users: sessions point to them, those of deleted users close
 * (asking_id, if it is one of them, after its reply; 0: nobody asked). */
void worker_take_acl(struct worker *w, uint64_t asking_id);

#endif
