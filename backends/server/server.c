/* Workers of a daemon: what each has, how they act together, replies that come later.
 *
 * Workers share nothing that is written while they run, except the user list (acl.c, its own lock),
 * the configuration (cfg, its own lock) and a few counters of struct server. All else goes round by
 * loop_post: server_round visits each worker in turn, so the operation's memory always belongs to
 * exactly one thread. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/server/internal.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

#define TICK_US 100000

unsigned server_workers(const struct server *sv)
{
    return sv->worker_count;
}

struct worker *server_worker(struct server *sv, unsigned i)
{
    must(i < sv->worker_count);
    return &sv->workers[i];
}

struct cfg *server_cfg(struct server *sv)
{
    return sv->cfg;
}

void *server_data(const struct server *sv)
{
    return sv->data;
}

void server_set_data(struct server *sv, void *data)
{
    sv->data = data;
}

struct metrics *server_metrics(struct server *sv)
{
    return sv->metrics;
}

const char *server_run_id(const struct server *sv)
{
    return sv->run_id;
}

/* ---- rounds ---- */

struct round {
    struct worker *from;
    unsigned next;
    void (*each)(struct worker *w, void *arg);
    void (*done)(struct worker *from, void *arg);
    void *arg;
};

static void round_done(void *arg)
{
    struct round *r = arg;
    r->done(r->from, r->arg);
    mem_free(r);
}

static void round_step(void *arg)
{
    struct round *r = arg;
    struct server *sv = r->from->server;
    r->each(&sv->workers[r->next], r->arg);
    r->next++;
    if (r->next < sv->worker_count) {
        loop_post(sv->workers[r->next].loop, round_step, r);
    } else {
        loop_post(r->from->loop, round_done, r);
    }
}

void server_round(struct worker *from, void (*each)(struct worker *w, void *arg),
                  void (*done)(struct worker *from, void *arg), void *arg)
{
    struct round *r = mem_alloc(sizeof *r);
    *r = (struct round){.from = from, .next = 0, .each = each, .done = done, .arg = arg};
    loop_post(from->server->workers[0].loop, round_step, r);
}

/* ---- later replies ---- */

struct later later_begin(struct session *s, const struct admitted *a, const struct resp_out *out,
                         uint64_t token)
{
    s->open_later++;
    if (s->w->server->ops->on_reply == NULL) {
        s->held = true;
    }
    return (struct later){
        .w = s->w, .session_id = s->id, .token = token, .proto = out->proto, .silent = a->silent};
}

void later_reply(const struct later *l, struct span bytes)
{
    struct session *s = session_by_id(l->w, l->session_id);
    if (s == NULL) {
        return;
    }
    must(s->open_later != 0);
    s->open_later--;
    if (bytes.len != 0 && bytes.p[0] == '-') {
        worker_count_error(l->w, bytes);
    }
    if (s->c.closing) {
        return;
    }
    if (l->w->server->ops->on_reply != NULL) {
        l->w->server->ops->on_reply(s, l->token, l->silent ? span_of("", 0) : bytes);
        return;
    }
    s->held = false;
    if (!l->silent) {
        buf_add(s->c.reply.b, bytes.p, bytes.len);
    }
    conn_touch(&s->c);
    session_flushed(s);
    if (!s->quit) {
        conn_resume(&s->c);
    }
}

/* ---- operations ---- */

struct op *op_new(struct call *c, size_t extra)
{
    size_t bytes = 0;
    for (int i = 0; i < c->argc; i++) {
        bytes += c->argv[i].len;
    }
    size_t head = sizeof(struct op) + (size_t)c->argc * sizeof(struct span);
    struct op *op = mem_zalloc(head + bytes);
    op->argv = (struct span *)(op + 1);
    op->argc = c->argc;
    char *p = (char *)op + head;
    for (int i = 0; i < c->argc; i++) {
        if (c->argv[i].len != 0) {
            memcpy(p, c->argv[i].p, c->argv[i].len);
        }
        op->argv[i] = span_of(p, c->argv[i].len);
        p += c->argv[i].len;
    }
    op->from = c->s->w;
    op->later = later_begin(c->s, c->a, c->out, c->token);
    op->reply = (struct resp_out){&op->out, c->out->proto};
    op->data = extra == 0 ? NULL : mem_zalloc(extra);
    return op;
}

static void op_each(struct worker *w, void *arg)
{
    struct op *op = arg;
    if (op->each != NULL) {
        op->each(w, op);
    }
}

static void op_done(struct worker *from, void *arg)
{
    struct op *op = arg;
    op->finish(from, op);
    later_reply(&op->later, buf_span(&op->out));
    buf_free(&op->out);
    buf_free(&op->text);
    mem_free(op->data);
    mem_free(op);
}

enum session_result op_start(struct op *op)
{
    server_round(op->from, op_each, op_done, op);
    return SESSION_LATER;
}

/* ---- settings ---- */

/* client-output-buffer-limit is a line per class: "normal 0 0 0". */
static void take_output_limit(struct conn_limits *l, const struct cfg_strings *lines)
{
    l->out_hard_bytes = l->out_soft_bytes = 0;
    l->out_soft_seconds = 0;
    for (size_t i = 0; i < lines->n; i++) {
        struct cfg_strings w;
        if (cfg_split(span_str(lines->v[i]), &w) != OK) {
            continue;
        }
        int64_t seconds = 0;
        for (size_t k = 0; k + 3 < w.n; k += 4) {
            if (strcasecmp(w.v[k], "normal") == 0) {
                (void)num_parse_memory(span_str(w.v[k + 1]), &l->out_hard_bytes);
                (void)num_parse_memory(span_str(w.v[k + 2]), &l->out_soft_bytes);
                (void)num_parse_i64(span_str(w.v[k + 3]), &seconds);
                l->out_soft_seconds = (uint32_t)seconds;
            }
        }
        cfg_strings_free(&w);
    }
}

void worker_apply_settings(struct worker *w)
{
    const struct server_ops *ops = w->server->ops;
    struct worker_private *p = w->priv;
    bool first = w->settings == NULL;
    if (first) {
        w->settings = mem_zalloc(ops->settings_size);
    }
    cfg_snapshot(w->server->cfg, w->settings);
    const struct server_settings *set =
        (const void *)((const char *)w->settings + ops->server_offset);
    w->set = set;
    p->slow_us = set->slowlog_log_slower_than;
    p->precise = p->slow_us >= 0 && p->slow_us < SESSION_PRECISE_US;
    p->track_latency = set->latency_tracking;
    slowlog_trim(&p->slow, (uint32_t)set->slowlog_max_len);

    struct conn_limits *l = &w->limits;
    l->resp.bulk_bytes_max = set->proto_max_bulk_len;
    l->resp.args_max = RESP_ARGS_MAX;
    l->query_bytes_max = set->client_query_buffer_limit;
    l->out_pause_bytes = set->output_pause;
    l->idle_seconds = (uint32_t)set->timeout;
    take_output_limit(l, &set->output_limit);
    if (!first && ops->configured != NULL) {
        ops->configured(w);
    }
}

/* ---- sampling ---- */

static void sample(struct net_rate *r, uint64_t now, uint64_t elapsed_ns)
{
    r->rate[r->at] = (double)(now - r->last) * 1e9 / (double)elapsed_ns;
    r->at = (r->at + 1) % 16;
    r->last = now;
}

void late_log_add(struct late_log *l, uint64_t when_s, uint32_t ms)
{
    if (l->count == LATE_MAX) {
        memmove(l->when_s, l->when_s + 1, (LATE_MAX - 1) * sizeof l->when_s[0]);
        memmove(l->ms, l->ms + 1, (LATE_MAX - 1) * sizeof l->ms[0]);
        l->count--;
    }
    l->when_s[l->count] = when_s;
    l->ms[l->count++] = ms;
    l->max_ms = ms > l->max_ms ? ms : l->max_ms;
}

static void note_late(struct worker *w, uint64_t elapsed_ns)
{
    int64_t threshold = w->set->latency_monitor_threshold;
    uint64_t late_ms =
        elapsed_ns / 1000000 > TICK_US / 1000 ? elapsed_ns / 1000000 - TICK_US / 1000 : 0;
    if (threshold > 0 && late_ms >= (uint64_t)threshold) {
        late_log_add(&w->priv->late, clk_wall_ms() / 1000, (uint32_t)late_ms);
    }
}

static void note_peak(struct server *sv)
{
    struct mem_stats m;
    mem_stats(&m);
    if (m.allocated > atomic_load(&sv->peak_memory)) {
        atomic_store(&sv->peak_memory, m.allocated);
    }
}

static void show(struct worker_private *p, uint64_t in, uint64_t out)
{
    /* relaxed: numbers for a human, in no order with anything else */
    atomic_store_explicit(&p->seen_commands.v, p->commands, memory_order_relaxed);
    atomic_store_explicit(&p->seen_connections.v, p->connections, memory_order_relaxed);
    atomic_store_explicit(&p->seen_rejected.v, p->rejected_conn, memory_order_relaxed);
    atomic_store_explicit(&p->seen_errors.v, p->errors_total, memory_order_relaxed);
    atomic_store_explicit(&p->seen_in.v, in, memory_order_relaxed);
    atomic_store_explicit(&p->seen_out.v, out, memory_order_relaxed);
    gauge_set(&p->seen_clients, p->session_count);
}

static void register_metrics(struct worker *w)
{
    struct metrics *m = w->server->metrics;
    struct worker_private *p = w->priv;
    char label[32];
    (void)snprintf(label, sizeof label, "worker=\"%u\"", w->index);
    metrics_counter(m, "halcyon_commands_total", label, "Requests taken from clients.",
                    &p->seen_commands);
    metrics_counter(m, "halcyon_connections_total", label, "Connections accepted.",
                    &p->seen_connections);
    metrics_counter(m, "halcyon_connections_rejected_total", label,
                    "Connections refused: maxclients, protected mode.", &p->seen_rejected);
    metrics_counter(m, "halcyon_error_replies_total", label, "Error replies.", &p->seen_errors);
    metrics_counter(m, "halcyon_net_input_bytes_total", label, "Bytes read from clients.",
                    &p->seen_in);
    metrics_counter(m, "halcyon_net_output_bytes_total", label, "Bytes written to clients.",
                    &p->seen_out);
    metrics_gauge(m, "halcyon_connected_clients", label, "Connections open.", &p->seen_clients);
}

static void drop_metrics(struct worker *w)
{
    struct worker_private *p = w->priv;
    const void *const all[] = {&p->seen_commands, &p->seen_connections, &p->seen_rejected,
                               &p->seen_errors,   &p->seen_in,          &p->seen_out,
                               &p->seen_clients};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        metrics_drop(w->server->metrics, all[i]);
    }
}

static void tick(void *arg)
{
    struct worker *w = arg;
    struct worker_private *p = w->priv;
    uint64_t now = clk_mono_ns();
    uint64_t elapsed = now - p->last_tick_ns;
    uint64_t in = p->closed_bytes_in;
    uint64_t out = p->closed_bytes_out;
    for (const struct session *s = p->first; s != NULL; s = s->next) {
        in += s->c.bytes_in;
        out += s->c.bytes_out;
    }
    if (elapsed != 0) {
        sample(&p->ops, p->commands, elapsed);
        sample(&p->in, in, elapsed);
        sample(&p->out, out, elapsed);
    }
    show(p, in, out);
    note_late(w, elapsed);
    if (w->index == 0 && p->ticks++ % 10 == 0) {
        note_peak(w->server);
    }
    p->last_tick_ns = now;
    loop_timer_start(p->tick, TICK_US);
}

/* ---- a worker's life ---- */

enum err worker_init(struct worker *w, struct errmsg *why)
{
    struct worker_private *p = mem_zalloc(sizeof *p);
    w->priv = p;
    w->loop = loop_new();
    if (w->loop == NULL) {
        return errmsg_set(why, ERR_IO, "cannot make an event loop");
    }
    p->slots = mem_zalloc(cmdset_count() * sizeof *p->slots);
    for (unsigned i = 0; i < cmdset_count(); i++) {
        const struct cmd *cmd = cmdset_at(i);
        p->slots[i].pub.cmd = cmd;
        p->slots[i].index = i;
        p->slots[i].fn = local_find(cmd->name);
    }
    p->acl = acl_get(&w->server->acl);
    worker_apply_settings(w);
    register_metrics(w);
    p->tick = loop_timer_new(w->loop, tick, w);
    p->last_tick_ns = clk_mono_ns();
    loop_timer_start(p->tick, TICK_US);
    return OK;
}

void worker_deinit(struct worker *w)
{
    struct worker_private *p = w->priv;
    if (p == NULL) {
        return;
    }
    drop_metrics(w);
    loop_timer_free(p->tick);
    loop_timer_free(p->pause_timer);
    if (w->loop != NULL) {
        loop_free(w->loop);
    }
    slowlog_trim(&p->slow, 0);
    acl_set_put(p->acl);
    for (unsigned i = 0; p->slots != NULL && i < cmdset_count(); i++) {
        mem_free(p->slots[i].pub.hist);
    }
    mem_free(p->slots);
    mem_free(p->by_id);
    mem_free(p->listeners);
    if (w->settings != NULL) {
        cfg_snapshot_free(w->server->cfg, w->settings);
        mem_free(w->settings);
    }
    mem_free(p);
    w->priv = NULL;
}

/* ---- listening ---- */

static void accepted(int fd, bool is_unix, void *arg)
{
    session_open(arg, fd, is_unix);
}

struct handover {
    struct worker *w;
    int fd;
};

static void take_handover(void *arg)
{
    struct handover *h = arg;
    session_open(h->w, h->fd, true);
    mem_free(h);
}

/* One listening Unix socket serves all workers: they take turns. */
static void accepted_shared(int fd, bool is_unix, void *arg)
{
    struct worker *w = arg;
    struct server *sv = w->server;
    unsigned to = sv->next_unix_worker++ % sv->worker_count;
    if (to == w->index) {
        session_open(w, fd, is_unix);
        return;
    }
    struct handover *h = mem_alloc(sizeof *h);
    *h = (struct handover){&sv->workers[to], fd};
    loop_post(h->w->loop, take_handover, h);
}

static unsigned octal(int64_t digits)
{
    unsigned mode = 0;
    for (unsigned shift = 0; digits > 0; digits /= 10, shift += 3) {
        mode |= (unsigned)(digits % 10) << shift;
    }
    return mode;
}

static enum err listen_one(struct worker *w, const struct listen_options *o, listener_fn fn,
                           struct errmsg *why)
{
    struct worker_private *p = w->priv;
    struct listener *l;
    enum err e = listener_open(w->loop, o, fn, w, &l, why);
    if (e != OK) {
        return e;
    }
    p->listeners = mem_realloc(p->listeners, (p->listener_count + 1) * sizeof(struct listener *));
    p->listeners[p->listener_count++] = l;
    return OK;
}

static enum err listen_unix(struct worker *w, struct listen_options o, struct errmsg *why)
{
    const struct server_ops *ops = w->server->ops;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    if (!ops->port_per_worker && w->index != 0) {
        return OK;
    }
    int n = w->index == 0 ? snprintf(path, sizeof path, "%s", w->set->unixsocket)
                          : snprintf(path, sizeof path, "%s.%u", w->set->unixsocket, w->index);
    if (n < 0 || (size_t)n >= sizeof path) {
        return errmsg_set(why, ERR_CONFIG, "unixsocket: path is too long");
    }
    o.unix_path = path;
    o.unix_mode = octal(w->set->unixsocketperm);
    o.reuse_port = false;
    return listen_one(w, &o, ops->port_per_worker ? accepted : accepted_shared, why);
}

enum err worker_listen(struct worker *w, struct errmsg *why)
{
    const struct server_settings *set = w->set;
    const struct server_ops *ops = w->server->ops;
    struct listen_options o = {.backlog = (int)set->tcp_backlog,
                               .reuse_port = !ops->port_per_worker,
                               .keepalive_seconds = (uint32_t)set->tcp_keepalive};
    if (set->port != 0) {
        int64_t port = set->port + (ops->port_per_worker ? w->index : 0);
        if (port > 65535) {
            return errmsg_set(why, ERR_CONFIG, "port %lld of worker %u is above 65535",
                              (long long)port, w->index);
        }
        w->port = o.port = (uint16_t)port;
        unsigned open = 0;
        for (size_t i = 0; i < set->bind.n; i++) {
            bool optional = set->bind.v[i][0] == '-';
            o.address = set->bind.v[i] + (optional ? 1 : 0);
            enum err e = listen_one(w, &o, accepted, why);
            if (e != OK && !optional) {
                return e;
            }
            open += e == OK;
        }
        if (open == 0) {
            return errmsg_set(why, ERR_IO, "none of the addresses of `bind` can be listened on");
        }
    }
    return set->unixsocket[0] == '\0' ? OK : listen_unix(w, o, why);
}

/* Last act of a worker's loop. */
void worker_close_all(struct worker *w)
{
    struct worker_private *p = w->priv;
    for (size_t i = 0; i < p->listener_count; i++) {
        listener_close(p->listeners[i]);
    }
    p->listener_count = 0;
    for (struct session *s = p->first; s != NULL; s = s->next) {
        conn_close(&s->c);
    }
}

static void stop_worker(void *arg)
{
    struct worker *w = arg;
    worker_close_all(w);
    loop_stop(w->loop);
}

void server_stop(struct server *sv, int status)
{
    if (atomic_exchange(&sv->stopping, true)) {
        return;
    }
    atomic_store(&sv->status, status);
    for (unsigned i = 0; i < sv->worker_count; i++) {
        loop_post(sv->workers[i].loop, stop_worker, &sv->workers[i]);
    }
}
