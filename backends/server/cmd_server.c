/* Server commands: TIME SHUTDOWN DEBUG WAIT ROLE LASTSAVE LOLWUT MODULE and what is refused in
 * clear words. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backends/server/internal.h"
#include "backends/server/names.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/num.h"

static enum session_result time_cmd(struct call *c)
{
    uint64_t us = clk_wall_us();
    resp_array(c->out, 2);
    resp_bulk_i64(c->out, (int64_t)(us / 1000000));
    resp_bulk_i64(c->out, (int64_t)(us % 1000000));
    return SESSION_DONE;
}

/* ---- SHUTDOWN ---- */

static void begin_shutdown(void *arg)
{
    server_begin_shutdown(arg);
}

/* Nothing is saved on exit whatever the options say: data lives in replicas, not in files. The
 * connection simply ends. */
static enum session_result shutdown_cmd(struct call *c)
{
    bool abort = false;
    bool now = false;
    int save = 0;
    for (int i = 1; i < c->argc; i++) {
        if (span_is(c->argv[i], "nosave") && save != 1) {
            save = 2;
        } else if (span_is(c->argv[i], "save") && save != 2) {
            save = 1;
        } else if (span_is(c->argv[i], "abort") && c->argc == 2) {
            abort = true;
        } else if (span_is(c->argv[i], "now")) {
            now = true;
        } else if (!span_is(c->argv[i], "force")) {
            call_syntax(c);
            return SESSION_DONE;
        }
    }
    if (abort) {
        resp_error(c->out, "ERR No shutdown in progress.");
        return SESSION_DONE;
    }
    if (save == 1) {
        resp_error(c->out, "ERR Errors trying to SHUTDOWN. Check logs.");
        log_warning("SHUTDOWN SAVE was refused: there is nothing this server could save to");
        return SESSION_DONE;
    }
    log_warning("User requested shutdown...");
    struct server *sv = c->s->w->server;
    if (now) {
        server_stop(sv, 0);
    } else {
        loop_post(sv->workers[0].loop, begin_shutdown, sv);
    }
    c->s->held = true; /* nothing more is taken from this client, and nothing said */
    return SESSION_DONE;
}

/* ---- DEBUG ---- */

struct nap {
    struct op *op;
    struct loop_timer *timer;
};

static void nap_over(void *arg)
{
    struct nap *nap = arg;
    loop_timer_free(nap->timer);
    resp_ok(&nap->op->reply);
    later_reply(&nap->op->later, buf_span(&nap->op->out));
    buf_free(&nap->op->out);
    mem_free(nap->op);
    mem_free(nap);
}

/* Delays this connection only: other clients of the worker are served meanwhile (Redis blocks
 * everybody). */
static enum session_result debug_sleep(struct call *c)
{
    double seconds;
    if (!num_parse_double(c->argv[2], &seconds) || !(seconds >= 0) || seconds > 86400) {
        resp_error(c->out, "ERR value is not a valid float");
        return SESSION_DONE;
    }
    struct nap *nap = mem_zalloc(sizeof *nap);
    nap->op = op_new(c, 0);
    nap->timer = loop_timer_new(c->s->w->loop, nap_over, nap);
    loop_timer_start(nap->timer, (uint64_t)(seconds * 1e6));
    return SESSION_LATER;
}

static enum session_result debug_cmd(struct call *c)
{
    if (!session_may_debug(c->s)) {
        resp_error(c->out,
                   "ERR DEBUG command not allowed. If the enable-debug-command option is "
                   "set to \"local\", you can run it from a local connection, otherwise you "
                   "need to set this option in the configuration file, and then restart the "
                   "server.");
        return SESSION_DONE;
    }
    if (span_is(c->argv[1], "sleep") && c->argc == 3) {
        return debug_sleep(c);
    }
    call_syntax(c); /* SLEEP with another number of arguments; the rest is the daemon's */
    return SESSION_DONE;
}

/* ---- replication and persistence of another kind ---- */

/* An acknowledged write already is at every live replica of its shard (DESIGN H3), so there is
 * nothing to wait for; the replicas Redis counts, followers of this process, do not exist: 0, at
 * once. */
static enum session_result wait_cmd(struct call *c)
{
    int64_t n;
    int64_t ms;
    if (!call_i64(c, c->argv[1], &n)) {
        return SESSION_DONE;
    }
    if (!num_parse_i64(c->argv[2], &ms)) {
        resp_error(c->out, "ERR timeout is not an integer or out of range");
    } else if (ms < 0) {
        resp_error(c->out, "ERR timeout is negative");
    } else {
        resp_int(c->out, 0);
    }
    return SESSION_DONE;
}

static enum session_result role_cmd(struct call *c)
{
    resp_array(c->out, 3);
    resp_bulk_str(c->out, "master");
    resp_int(c->out, 0);
    resp_array(c->out, 0);
    return SESSION_DONE;
}

static enum session_result lastsave_cmd(struct call *c)
{
    resp_int(c->out, (int64_t)(c->s->w->server->start_ms / 1000));
    return SESSION_DONE;
}

static enum session_result no_files(struct call *c)
{
    if (span_is(c->argv[0], "bgsave") &&
        (c->argc > 2 || (c->argc == 2 && !span_is(c->argv[1], "schedule")))) {
        call_syntax(c);
        return SESSION_DONE;
    }
    resp_error(c->out, "ERR this server keeps data in replicas, not in files: there is nothing to "
                       "save or rewrite");
    return SESSION_DONE;
}

static enum session_result no_followers(struct call *c)
{
    resp_error(c->out, "ERR this server does not speak Redis' replication: shards replicate their "
                       "keys among themselves");
    return SESSION_DONE;
}

static enum session_result failover_cmd(struct call *c)
{
    resp_error(c->out, "ERR FAILOVER requires connected replicas.");
    return SESSION_DONE;
}

static enum session_result replicaof_cmd(struct call *c)
{
    if (span_is(c->argv[1], "no") && span_is(c->argv[2], "one")) {
        resp_ok(c->out); /* it never is a replica */
        return SESSION_DONE;
    }
    return no_followers(c);
}

static enum session_result module_list(struct call *c)
{
    resp_array(c->out, 0);
    return SESSION_DONE;
}

static enum session_result module_help(struct call *c)
{
    static const char *const lines[] = {"LIST", "    Modules that are loaded: none, ever.", NULL};
    return call_help(c, "MODULE", lines);
}

/* A kingfisher's dive: the wave it leaves, drawn anew each time. */
static enum session_result lolwut_cmd(struct call *c)
{
    struct buf art = {0};
    double phase = (double)(clk_wall_ms() % 6283) / 1000;
    for (int row = 0; row < 12; row++) {
        for (int col = 0; col < 64; col++) {
            double r = hypot((col - 32) / 2.6, (row - 6) * 1.6);
            double v = cos(r - phase) / (1 + r / 6);
            buf_add(&art, &" .:-=+*#"[(int)((v + 1) * 3.99)], 1);
        }
        buf_add_str(&art, "\n");
    }
    buf_addf(&art, "Redis ver. %s, halcyon %s\n", SERVER_REDIS_VERSION, HALCYON_VERSION);
    resp_verbatim(c->out, "txt", buf_head(&art), buf_used(&art));
    buf_free(&art);
    return SESSION_DONE;
}

const struct local locals_server[] = {
    {"time", time_cmd},
    {"shutdown", shutdown_cmd},
    {"debug", debug_cmd},
    {"wait", wait_cmd},
    {"role", role_cmd},
    {"lastsave", lastsave_cmd},
    {"save", no_files},
    {"bgsave", no_files},
    {"bgrewriteaof", no_files},
    {"sync", no_followers},
    {"psync", no_followers},
    {"replconf", no_followers},
    {"replicaof", replicaof_cmd},
    {"slaveof", replicaof_cmd},
    {"failover", failover_cmd},
    {"module|list", module_list},
    {"module|help", module_help},
    {"lolwut", lolwut_cmd},
    {NULL, NULL},
};
