/* Start-up and end of a daemon: options, log, pid file, limits, signals, workers, readiness.
 *
 * Order of a start: settings; directory, log, background, pid file; users; ops->prepare; then every
 * worker in its own thread (worker 0 in this one) passes three gates together: loops exist, the
 * daemon's part of each worker has started, all listen. A failure anywhere makes all of them leave
 * at the next gate. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/server/http.h"
#include "backends/server/internal.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "common/must.h"

#define RESERVED_FDS 64 /* files that are not clients: links, logs, loops */

/* ---- small parts ---- */

static void random_hex(char out[41])
{
    unsigned char bytes[20];
    size_t have = 0;
    while (have < sizeof bytes) {
        ssize_t n = getrandom(bytes + have, sizeof bytes - have, 0);
        must(n >= 0 || errno == EINTR);
        have += n > 0 ? (size_t)n : 0;
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

/* The datagram of sd_notify(3); no library needed. */
static void notify_supervisor(const struct server_settings *set, const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET"); // NOLINT(concurrency-mt-unsafe): nobody sets it
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (set->supervised == SUPERVISED_NO || path == NULL || strlen(path) >= sizeof to.sun_path) {
        return;
    }
    size_t len = strlen(path);
    memcpy(to.sun_path, path, len);
    if (path[0] == '@') {
        to.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to, size) < 0) {
        log_warning("cannot tell the supervisor: %s", strerrordesc_np(errno));
    }
    (void)close(fd);
}

static enum err into_background(struct errmsg *why)
{
    pid_t pid = fork();
    if (pid < 0) {
        return errmsg_set(why, ERR_IO, "daemonize: %s", strerrordesc_np(errno));
    }
    if (pid != 0) {
        _exit(0);
    }
    (void)setsid();
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        for (int i = 0; i < 3; i++) {
            (void)dup2(fd, i);
        }
        if (fd > 2) {
            (void)close(fd);
        }
    }
    return OK;
}

static enum err write_pidfile(const char *path, struct errmsg *why)
{
    FILE *f = fopen(path, "we");
    if (f == NULL) {
        return errmsg_set(why, ERR_IO, "pidfile %s: %s", path, strerrordesc_np(errno));
    }
    (void)fprintf(f, "%d\n", (int)getpid());
    return fclose(f) == 0 ? OK : errmsg_set(why, ERR_IO, "pidfile %s: cannot write", path);
}

/* Asks for as many descriptors as maxclients needs; lowers maxclients if it cannot have them, as
 * Redis does. */
static void adjust_limits(struct server_settings *set)
{
    struct rlimit r;
    rlim_t want = (rlim_t)set->maxclients + RESERVED_FDS;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want) {
        return;
    }
    rlim_t had = r.rlim_cur;
    r.rlim_cur = r.rlim_max == RLIM_INFINITY || r.rlim_max >= want ? want : r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0) {
        r.rlim_cur = had;
    }
    if (r.rlim_cur < want) {
        int64_t fit = (int64_t)r.rlim_cur - RESERVED_FDS;
        log_warning("maxclients %lld needs %llu open files, only %llu can be had",
                    (long long)set->maxclients, (unsigned long long)want,
                    (unsigned long long)r.rlim_cur);
        set->maxclients = fit < 1 ? 1 : fit;
    }
}

/* ---- workers' threads ---- */

static void fail(struct server *sv, const struct errmsg *why)
{
    (void)pthread_mutex_lock(&sv->failure_lock);
    if (!sv->failed) {
        sv->failed = true;
        sv->failure = *why;
    }
    (void)pthread_mutex_unlock(&sv->failure_lock);
}

/* All workers wait for each other; false: one of them failed. */
static bool gate(struct server *sv)
{
    (void)pthread_barrier_wait(&sv->barrier);
    (void)pthread_mutex_lock(&sv->failure_lock);
    bool ok = !sv->failed;
    (void)pthread_mutex_unlock(&sv->failure_lock);
    (void)pthread_barrier_wait(&sv->barrier);
    return ok;
}

static void on_term(int signo, void *arg)
{
    struct server *sv = arg;
    log_warning("Received %s, shutting down", signo == SIGINT ? "SIGINT" : "SIGTERM");
    server_begin_shutdown(sv);
}

static void on_hup(int signo, void *arg)
{
    (void)signo;
    (void)arg;
    log_reopen();
    log_notice("Log file opened again after SIGHUP");
}

static enum err become_main(struct server *sv, struct errmsg *why)
{
    struct worker *w = &sv->workers[0];
    loop_signal(w->loop, SIGTERM, on_term, sv);
    loop_signal(w->loop, SIGINT, on_term, sv);
    loop_signal(w->loop, SIGHUP, on_hup, sv);
    if (w->set->metrics_port == 0) {
        return OK;
    }
    return http_open(sv, w->set->metrics_bind, (uint16_t)w->set->metrics_port, why);
}

static void announce(struct server *sv)
{
    const struct server_settings *set = sv->workers[0].set;
    if (set->port != 0) {
        log_notice("%s %s: %u worker%s, port %lld%s", sv->ops->name, HALCYON_VERSION,
                   sv->worker_count, sv->worker_count == 1 ? "" : "s", (long long)set->port,
                   sv->ops->port_per_worker && sv->worker_count > 1 ? " and following" : "");
    }
    log_notice("Ready to accept connections");
    notify_supervisor(set, "STATUS=Ready to accept connections\nREADY=1\n");
}

static void *worker_thread(void *arg)
{
    struct worker *w = arg;
    struct server *sv = w->server;
    struct errmsg why = {""};
    bool started = false;
    if (worker_init(w, &why) != OK) {
        fail(sv, &why);
    }
    if (!gate(sv)) {
        goto out;
    }
    if (sv->ops->worker_start != NULL && sv->ops->worker_start(w, &why) != OK) {
        fail(sv, &why);
    } else {
        started = true;
    }
    if (!gate(sv)) {
        goto out;
    }
    if (worker_listen(w, &why) != OK || (w->index == 0 && become_main(sv, &why) != OK)) {
        fail(sv, &why);
    }
    if (!gate(sv)) {
        worker_close_all(w);
        goto out;
    }
    if (w->index == 0) {
        announce(sv);
    }
    loop_run(w->loop);
out:
    if (w->index == 0) {
        http_close(sv);
    }
    if (started && sv->ops->worker_stop != NULL) {
        sv->ops->worker_stop(w);
    }
    return NULL;
}

static enum err run_workers(struct server *sv, struct errmsg *why)
{
    unsigned n = sv->worker_count;
    must(pthread_barrier_init(&sv->barrier, NULL, n) == 0);
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are worker 0's */
    for (unsigned i = 1; i < n; i++) {
        int e = pthread_create(&sv->workers[i].priv_thread, NULL, worker_thread, &sv->workers[i]);
        must(e == 0);
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)worker_thread(&sv->workers[0]);
    for (unsigned i = 1; i < n; i++) {
        (void)pthread_join(sv->workers[i].priv_thread, NULL);
    }
    for (unsigned i = 0; i < n; i++) { /* all threads are gone: posts can be dropped safely */
        worker_deinit(&sv->workers[i]);
    }
    (void)pthread_barrier_destroy(&sv->barrier);
    if (sv->failed) {
        *why = sv->failure;
        return ERR_CONFIG;
    }
    return OK;
}

/* ---- start ---- */

static struct cfg *make_cfg(const struct server_ops *ops)
{
    struct cfg_table *tables = mem_zalloc((ops->table_count + 1) * sizeof *tables);
    tables[0] = (struct cfg_table){server_options, server_option_count, ops->server_offset};
    for (size_t i = 0; i < ops->table_count; i++) {
        tables[i + 1] = ops->tables[i];
    }
    struct cfg *cfg = cfg_new(tables, ops->table_count + 1, ops->settings_size);
    mem_free(tables);
    return cfg;
}

static enum err load_users(struct server *sv, const struct server_settings *set, struct errmsg *why)
{
    acl_init(&sv->acl);
    if (set->requirepass[0] != '\0') {
        acl_set_default_password(&sv->acl, set->requirepass);
    }
    if (set->aclfile[0] != '\0') {
        if (set->user.n != 0) {
            return errmsg_set(why, ERR_CONFIG, "aclfile and user lines exclude each other");
        }
        return acl_load_file(&sv->acl, set->aclfile, why);
    }
    for (size_t i = 0; i < set->user.n; i++) {
        struct cfg_strings words;
        enum err e = cfg_split(span_str(set->user.v[i]), &words);
        if (e == OK) {
            e = acl_load_line(&sv->acl, &words, why);
            cfg_strings_free(&words);
        }
        if (e != OK) {
            errmsg_wrap(why, "user");
            return e;
        }
    }
    return OK;
}

static enum err prepare(struct server *sv, struct server_settings *set, struct errmsg *why)
{
    const struct server_ops *ops = sv->ops;
    if (chdir(set->dir) != 0) {
        return errmsg_set(why, ERR_IO, "dir %s: %s", set->dir, strerrordesc_np(errno));
    }
    enum err e = OK;
    if (set->daemonize) {
        e = into_background(why);
    }
    if (e == OK) {
        e = log_open(set->logfile, (enum log_level)set->loglevel, ops->log_role, why);
    }
    if (e == OK && set->pidfile[0] != '\0') {
        e = write_pidfile(set->pidfile, why);
    }
    if (e != OK) {
        return e;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    adjust_limits(set);
    cmdset_init();
    struct mem_stats m;
    mem_stats(&m);
    sv->startup_memory = m.allocated;
    sv->start_ms = clk_wall_ms();
    sv->start_mono_ns = clk_mono_ns();
    random_hex(sv->run_id);
    random_hex(sv->replid);
    e = load_users(sv, set, why);
    if (e == OK && ops->prepare != NULL) {
        e = ops->prepare(sv, why);
    }
    return e;
}

static void print_out(struct buf *b)
{
    (void)fwrite(buf_head(b), 1, buf_used(b), stdout);
    buf_free(b);
}

/* True if the command line only asked for something to be said. */
static bool answer_cli(struct server *sv, const struct cfg_cli *cli)
{
    struct buf text = {0};
    if (cli->help) {
        buf_addf(&text, "%s %s: %s\n\nUsage: %s [FILE] [--name value ...]...\n\n", sv->ops->name,
                 HALCYON_VERSION, sv->ops->about, sv->ops->name);
        cfg_print_help(sv->cfg, &text);
    } else if (cli->version) {
        buf_addf(&text, "%s %s\n", sv->ops->name, HALCYON_VERSION);
    } else if (cli->print_config) {
        cfg_print_file(sv->cfg, &text);
    } else if (cli->test_config) {
        buf_addf(&text, "%s: configuration is valid\n", sv->ops->name);
    } else {
        return false;
    }
    print_out(&text);
    return true;
}

int server_main(const struct server_ops *ops, int argc, char **argv)
{
    struct server sv = {.ops = ops, .next_session_id = 1};
    struct errmsg why = {""};
    struct cfg_cli cli = {0};
    int status = 1;
    must(pthread_mutex_init(&sv.failure_lock, NULL) == 0);
    if (argc > 0 && realpath("/proc/self/exe", sv.executable_path) == NULL) {
        sv.executable_path[0] = '\0';
    }
    sv.metrics = metrics_new();
    sv.cfg = make_cfg(ops);
    if (cfg_load_args(sv.cfg, argc, argv, &cli, &why) != OK) {
        (void)fprintf(stderr, "%s: %s\n", ops->name, why.text);
        goto out_cfg;
    }
    if (answer_cli(&sv, &cli)) {
        status = 0;
        goto out_cfg;
    }
    struct server_settings *set = (void *)((char *)cfg_settings(sv.cfg) + ops->server_offset);
    if (prepare(&sv, set, &why) != OK) {
        (void)fprintf(stderr, "%s: %s\n", ops->name, why.text);
        log_warning("%s", why.text);
        goto out_acl;
    }
    sv.worker_count = (unsigned)set->workers;
    sv.workers = mem_zalloc(sv.worker_count * sizeof *sv.workers);
    for (unsigned i = 0; i < sv.worker_count; i++) {
        sv.workers[i] = (struct worker){.server = &sv, .index = i};
    }
    if (run_workers(&sv, &why) != OK) {
        (void)fprintf(stderr, "%s: %s\n", ops->name, why.text);
        log_warning("%s", why.text);
    } else {
        status = atomic_load(&sv.status);
        log_warning("%s is now ready to exit, bye bye...", ops->name);
    }
    if (set->pidfile[0] != '\0') {
        (void)unlink(set->pidfile);
    }
    mem_free(sv.workers);
out_acl:
    acl_deinit(&sv.acl);
out_cfg:
    cfg_free(sv.cfg);
    metrics_free(sv.metrics);
    (void)pthread_mutex_destroy(&sv.failure_lock);
    return status;
}
