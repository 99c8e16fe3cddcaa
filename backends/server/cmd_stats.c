/* INFO, SLOWLOG, LATENCY and MEMORY: what workers counted, gathered by a round. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/server/info.h"
#include "backends/server/internal.h"
#include "common/mem.h"
#include "common/num.h"

static void ok_finish(struct worker *w, struct op *op)
{
    (void)w;
    resp_ok(&op->reply);
}

/* ---- INFO ---- */

struct info_state {
    struct info_sum *sum;
    struct info_out out;
};

static void info_each(struct worker *w, struct op *op)
{
    info_collect(w, ((struct info_state *)op->data)->sum);
}

static void info_finish(struct worker *w, struct op *op)
{
    struct info_state *st = op->data;
    info_write(w, st->sum, &st->out);
    resp_verbatim(&op->reply, "txt", buf_used(&st->out.text) == 0 ? "" : buf_head(&st->out.text),
                  buf_used(&st->out.text));
    buf_free(&st->out.text);
    info_sum_free(st->sum);
}

static enum session_result info_cmd(struct call *c)
{
    struct op *op = op_new(c, sizeof(struct info_state));
    struct info_state *st = op->data;
    st->sum = info_sum_new();
    info_select(&st->out, op->argv + 1, op->argc - 1);
    op->each = info_each;
    op->finish = info_finish;
    return op_start(op);
}

/* ---- SLOWLOG ---- */

struct slow_state {
    struct slow_entry **all;
    size_t count, cap;
    int64_t want; /* -1: all */
};

static void slow_each(struct worker *w, struct op *op)
{
    struct slow_state *st = op->data;
    int64_t left = st->want;
    for (const struct slow_entry *e = w->priv->slow.newest; e != NULL && left != 0; e = e->next) {
        if (st->count == st->cap) {
            st->cap = st->cap == 0 ? 32 : st->cap * 2;
            st->all = mem_realloc(st->all, st->cap * sizeof(struct slow_entry *));
        }
        st->all[st->count++] = slow_entry_copy(e);
        left -= left > 0;
    }
}

static int newest_first(const void *a, const void *b)
{
    const struct slow_entry *x = *(struct slow_entry *const *)a;
    const struct slow_entry *y = *(struct slow_entry *const *)b;
    return x->id > y->id ? -1 : x->id < y->id;
}

static void slow_finish(struct worker *w, struct op *op)
{
    struct slow_state *st = op->data;
    size_t max =
        (size_t)w->set->slowlog_max_len; /* of the whole process, as one Redis would have */
    size_t n = st->count < max ? st->count : max;
    n = st->want >= 0 && (size_t)st->want < n ? (size_t)st->want : n;
    if (st->count != 0) {
        qsort(st->all, st->count, sizeof(struct slow_entry *), newest_first);
    }
    resp_array(&op->reply, n);
    for (size_t i = 0; i < st->count; i++) {
        if (i < n) {
            slow_entry_reply(st->all[i], &op->reply);
        }
        slow_entry_free(st->all[i]);
    }
    mem_free(st->all);
}

static enum session_result slowlog_get(struct call *c)
{
    int64_t want = 10;
    if (c->argc > 3) {
        call_wrong_number(c);
        return SESSION_DONE;
    }
    if (c->argc == 3 && (!num_parse_i64(c->argv[2], &want) || want < -1)) {
        resp_error(c->out, "ERR count should be greater than or equal to -1");
        return SESSION_DONE;
    }
    struct op *op = op_new(c, sizeof(struct slow_state));
    ((struct slow_state *)op->data)->want = want;
    op->each = slow_each;
    op->finish = slow_finish;
    return op_start(op);
}

static void slow_len_each(struct worker *w, struct op *op)
{
    op->n += w->priv->slow.count;
}

static void slow_len_finish(struct worker *w, struct op *op)
{
    resp_int(&op->reply, op->n < w->set->slowlog_max_len ? op->n : w->set->slowlog_max_len);
}

static enum session_result slowlog_len(struct call *c)
{
    struct op *op = op_new(c, 0);
    op->each = slow_len_each;
    op->finish = slow_len_finish;
    return op_start(op);
}

static void slow_reset_each(struct worker *w, struct op *op)
{
    (void)op;
    slowlog_trim(&w->priv->slow, 0);
}

static enum session_result slowlog_reset(struct call *c)
{
    struct op *op = op_new(c, 0);
    op->each = slow_reset_each;
    op->finish = ok_finish;
    return op_start(op);
}

static enum session_result slowlog_help(struct call *c)
{
    static const char *const lines[] = {
        "GET [<count>]",
        "    The newest entries, 10 unless told otherwise, -1 for all. Each is: number, time,",
        "    microseconds, arguments, client address, client name.",
        "LEN",
        "    Number of entries.",
        "RESET",
        "    Forgets them.",
        NULL};
    return call_help(c, "SLOWLOG", lines);
}

/* ---- LATENCY HISTOGRAM ---- */

static void histogram_each(struct worker *w, struct op *op)
{
    info_collect(w, op->data);
}

/* Powers of two, in microseconds, up to the one that holds all; those that add nothing are left
 * out. */
static void reply_histogram(struct resp_out *out, const struct cmd_counters *k)
{
    resp_bulk_str(out, k->cmd->name);
    resp_map(out, 2);
    resp_bulk_str(out, "calls");
    resp_int(out, (int64_t)k->hist->total);
    resp_bulk_str(out, "histogram_usec");
    size_t n = 0;
    size_t mark = resp_defer(out);
    uint64_t before = 0;
    for (uint64_t us = 1; before < k->hist->total && us < (uint64_t)1 << 40; us *= 2) {
        uint64_t upto = hist_count_upto(k->hist, us);
        if (upto != before) {
            resp_int(out, (int64_t)us);
            resp_int(out, (int64_t)upto);
            n++;
        }
        before = upto;
    }
    resp_defer_end(out, mark, RESP_MAP, n);
}

static bool named(const struct op *op, const struct cmd *cmd)
{
    if (op->argc == 2) {
        return true;
    }
    for (int i = 2; i < op->argc; i++) {
        size_t n = op->argv[i].len;
        if (span_is(op->argv[i], cmd->name) ||
            (strncasecmp(cmd->name, op->argv[i].p, n) == 0 && cmd->name[n] == '|')) {
            return true;
        }
    }
    return false;
}

static void histogram_finish(struct worker *w, struct op *op)
{
    (void)w;
    struct info_sum *sum = op->data;
    size_t n = 0;
    size_t mark = resp_defer(&op->reply);
    for (unsigned i = 0; i < cmdset_count(); i++) {
        const struct cmd_counters *k = &sum->srv->commands_by_row[i];
        if (k->hist != NULL && k->hist->total != 0 && named(op, k->cmd)) {
            reply_histogram(&op->reply, k);
            n++;
        }
    }
    resp_defer_end(&op->reply, mark, RESP_MAP, n);
    op->data = NULL;
    info_sum_free(sum);
}

static enum session_result latency_histogram(struct call *c)
{
    struct op *op = op_new(c, 0);
    op->data = info_sum_new();
    op->each = histogram_each;
    op->finish = histogram_finish;
    return op_start(op);
}

/* ---- LATENCY events: one, "event-loop" ---- */

static void late_each(struct worker *w, struct op *op)
{
    struct late_log *all = op->data;
    const struct late_log *own = &w->priv->late;
    for (unsigned i = 0; i < own->count; i++) {
        late_log_add(all, own->when_s[i], own->ms[i]);
    }
    all->max_ms = own->max_ms > all->max_ms ? own->max_ms : all->max_ms;
}

static void latest_finish(struct worker *w, struct op *op)
{
    (void)w;
    const struct late_log *l = op->data;
    unsigned last = 0;
    for (unsigned i = 0; i < l->count; i++) {
        last = l->when_s[i] >= l->when_s[last] ? i : last;
    }
    resp_array(&op->reply, l->count != 0);
    if (l->count != 0) {
        resp_array(&op->reply, 4);
        resp_bulk_str(&op->reply, LATE_EVENT);
        resp_int(&op->reply, (int64_t)l->when_s[last]);
        resp_int(&op->reply, l->ms[last]);
        resp_int(&op->reply, l->max_ms);
    }
}

static void history_finish(struct worker *w, struct op *op)
{
    (void)w;
    const struct late_log *l = op->data;
    bool graph = span_is(op->argv[1], "graph");
    if (graph && l->count == 0) {
        resp_errorf(&op->reply, "ERR No samples available for event '%.*s'",
                    (int)(op->argv[2].len < 128 ? op->argv[2].len : 128), op->argv[2].p);
    } else if (graph) {
        for (unsigned i = 0; i < l->count; i++) {
            buf_addf(&op->text, "%" PRIu64 " %u ms ", l->when_s[i], l->ms[i]);
            unsigned bar = l->max_ms == 0 ? 1 : 1 + 40 * l->ms[i] / l->max_ms;
            for (unsigned k = 0; k < bar; k++) {
                buf_add_str(&op->text, "#");
            }
            buf_add_str(&op->text, "\n");
        }
        resp_verbatim(&op->reply, "txt", buf_head(&op->text), buf_used(&op->text));
    } else {
        resp_array(&op->reply, l->count);
        for (unsigned i = 0; i < l->count; i++) {
            resp_array(&op->reply, 2);
            resp_int(&op->reply, (int64_t)l->when_s[i]);
            resp_int(&op->reply, l->ms[i]);
        }
    }
}

static enum session_result latency_events(struct call *c)
{
    struct op *op = op_new(c, sizeof(struct late_log));
    bool latest = span_is(c->argv[1], "latest");
    op->each = latest || span_is(c->argv[2], LATE_EVENT) ? late_each : NULL;
    op->finish = latest ? latest_finish : history_finish;
    return op_start(op);
}

static void late_reset_each(struct worker *w, struct op *op)
{
    op->n = op->n != 0 || w->priv->late.count != 0;
    memset(&w->priv->late, 0, sizeof w->priv->late);
}

static void count_finish(struct worker *w, struct op *op)
{
    (void)w;
    resp_int(&op->reply, op->n);
}

static enum session_result latency_reset(struct call *c)
{
    bool ours = c->argc == 2;
    for (int i = 2; i < c->argc; i++) {
        ours = ours || span_is(c->argv[i], LATE_EVENT);
    }
    struct op *op = op_new(c, 0);
    op->each = ours ? late_reset_each : NULL;
    op->finish = count_finish;
    return op_start(op);
}

static enum session_result latency_doctor(struct call *c)
{
    const char *text =
        c->s->w->set->latency_monitor_threshold == 0
            ? "Nothing is recorded: latency-monitor-threshold is 0. Set it to a number of "
              "milliseconds with CONFIG SET and ask again after a while.\n"
            : "LATENCY HISTORY event-loop shows when a worker was late by more than the threshold; "
              "SLOWLOG GET around the same seconds usually names the command. LATENCY HISTOGRAM "
              "has every command's distribution.\n";
    resp_verbatim(c->out, "txt", text, strlen(text));
    return SESSION_DONE;
}

static enum session_result latency_help(struct call *c)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    What the records say, for a human.",
        "GRAPH <event>",
        "    The record of one event, drawn.",
        "HISTOGRAM [<command> ...]",
        "    How long commands took: cumulative counts by power of two of microseconds.",
        "HISTORY <event>",
        "    The record of one event.",
        "LATEST",
        "    Newest record and maximum of each event.",
        "RESET [<event> ...]",
        "    Forgets records.",
        NULL};
    return call_help(c, "LATENCY", lines);
}

/* ---- MEMORY ---- */

static void memory_stats_finish(struct worker *w, struct op *op)
{
    struct info_sum *sum = op->data;
    struct mem_stats m;
    mem_stats(&m);
    uint64_t keys = 0;
    for (unsigned i = 0; i < SESSION_DB_MAX; i++) {
        keys += sum->db[i].keys;
    }
    uint64_t data = sum->used_memory_dataset;
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {{"peak.allocated", atomic_load(&w->server->peak_memory)},
                {"total.allocated", m.allocated},
                {"startup.allocated", w->server->startup_memory},
                {"replication.backlog", 0},
                {"clients.slaves", 0},
                {"clients.normal", sum->srv->clients_memory},
                {"cluster.links", 0},
                {"aof.buffer", 0},
                {"lua.caches", 0},
                {"functions.caches", 0},
                {"overhead.total", m.allocated > data ? m.allocated - data : 0},
                {"keys.count", keys},
                {"keys.bytes-per-key", keys == 0 ? 0 : data / keys},
                {"dataset.bytes", data},
                {"allocator.allocated", m.allocated},
                {"allocator.active", m.active},
                {"allocator.resident", m.resident}};
    size_t n = sizeof rows / sizeof rows[0];
    resp_map(&op->reply, n + 1);
    for (size_t i = 0; i < n; i++) {
        resp_bulk_str(&op->reply, rows[i].name);
        resp_int(&op->reply, (int64_t)rows[i].v);
    }
    resp_bulk_str(&op->reply, "fragmentation");
    resp_double(&op->reply, m.allocated == 0 ? 0 : (double)m.rss / (double)m.allocated);
    op->data = NULL;
    info_sum_free(sum);
}

static enum session_result memory_stats(struct call *c)
{
    struct op *op = op_new(c, 0);
    op->data = info_sum_new();
    op->each = histogram_each;
    op->finish = memory_stats_finish;
    return op_start(op);
}

static enum session_result memory_purge(struct call *c)
{
    mem_purge();
    resp_ok(c->out);
    return SESSION_DONE;
}

static enum session_result memory_doctor(struct call *c)
{
    struct mem_stats m;
    mem_stats(&m);
    const char *text = m.allocated > 64u << 20 && m.rss > m.allocated * 3 / 2
                           ? "The process holds half as much memory again as it uses: it had more "
                             "data before, or values of very different sizes came and went. MEMORY "
                             "PURGE gives free pages back.\n"
                           : "Nothing unusual.\n";
    resp_verbatim(c->out, "txt", text, strlen(text));
    return SESSION_DONE;
}

static enum session_result memory_malloc_stats(struct call *c)
{
    struct buf text = {0};
    mem_report(&text);
    resp_verbatim(c->out, "txt", buf_used(&text) == 0 ? "" : buf_head(&text), buf_used(&text));
    buf_free(&text);
    return SESSION_DONE;
}

static enum session_result memory_help(struct call *c)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    Looks for memory problems.",
        "MALLOC-STATS",
        "    Statistics of the allocator.",
        "PURGE",
        "    Gives unused memory back to the system.",
        "STATS",
        "    Where memory goes.",
        "USAGE <key> [SAMPLES <count>]",
        "    Memory one key takes, estimated from this many elements (5; 0: all).",
        NULL};
    return call_help(c, "MEMORY", lines);
}

const struct local locals_stats[] = {
    {"info", info_cmd},
    {"slowlog|get", slowlog_get},
    {"slowlog|len", slowlog_len},
    {"slowlog|reset", slowlog_reset},
    {"slowlog|help", slowlog_help},
    {"latency|histogram", latency_histogram},
    {"latency|latest", latency_events},
    {"latency|history", latency_events},
    {"latency|graph", latency_events},
    {"latency|reset", latency_reset},
    {"latency|doctor", latency_doctor},
    {"latency|help", latency_help},
    {"memory|stats", memory_stats},
    {"memory|purge", memory_purge},
    {"memory|doctor", memory_doctor},
    {"memory|malloc-stats", memory_malloc_stats},
    {"memory|help", memory_help},
    {NULL, NULL},
};
