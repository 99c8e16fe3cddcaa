/* CONFIG: the options of this process. SET answers when every worker works with the new values. */
#include <inttypes.h>
#include <string.h>

#include "backends/server/acl_rules.h"
#include "backends/server/fixed_options.h"
#include "backends/server/internal.h"
#include "common/glob.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/num.h"

struct pairs {
    const struct call *c;
    struct resp_out *out;
    size_t n;
};

/* A name asked for without a pattern is shown as the client wrote it, as Redis does. */
static struct span as_asked(const struct call *c, struct span name)
{
    for (int i = 2; i < c->argc; i++) {
        if (c->argv[i].len == name.len && strncasecmp(c->argv[i].p, name.p, name.len) == 0) {
            return c->argv[i];
        }
    }
    return name;
}

struct output_class {
    const char *name, *other_name; /* as shown; as configured */
    uint64_t hard, soft, seconds;
};

static void read_output_class(const struct cfg_strings *words, size_t at, struct output_class *k)
{
    if (strcasecmp(words->v[at], k->name) == 0 || strcasecmp(words->v[at], k->other_name) == 0) {
        (void)num_parse_memory(span_str(words->v[at + 1]), &k->hard);
        (void)num_parse_memory(span_str(words->v[at + 2]), &k->soft);
        (void)num_parse_u64(span_str(words->v[at + 3]), &k->seconds);
    }
}

/* All classes in one line and in bytes, as Redis shows them, though they are lines in the file. */
static void output_limits(const struct cfg_strings *lines, struct buf *out)
{
    struct output_class classes[] = {{"normal", "normal", 0, 0, 0},
                                     {"slave", "replica", 268435456, 67108864, 60},
                                     {"pubsub", "pubsub", 33554432, 8388608, 60}};
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < lines->n; i++) {
            struct cfg_strings words;
            if (cfg_split(span_str(lines->v[i]), &words) != OK) {
                continue;
            }
            for (size_t at = 0; at + 3 < words.n; at += 4) {
                read_output_class(&words, at, &classes[k]);
            }
            cfg_strings_free(&words);
        }
        buf_addf(out, "%s%s %" PRIu64 " %" PRIu64 " %" PRIu64, k == 0 ? "" : " ", classes[k].name,
                 classes[k].hard, classes[k].soft, classes[k].seconds);
    }
}

static void add_pair(void *arg, struct span name, struct span value)
{
    struct pairs *op = arg;
    if (span_is(name, "client-output-buffer-limit")) {
        struct buf text = {0};
        output_limits(&op->c->s->w->set->output_limit, &text);
        resp_bulk_span(op->out, as_asked(op->c, name));
        resp_bulk_span(op->out, buf_span(&text));
        buf_free(&text);
        op->n++;
        return;
    }
    resp_bulk_span(op->out, as_asked(op->c, name));
    resp_bulk_span(op->out, value);
    op->n++;
}

/* The value CONFIG GET has for a fixed option here: cluster-enabled is what the daemon says. */
static const char *fixed_value(const struct call *c, const struct fixed_option *o)
{
    const struct server *sv = c->s->w->server;
    bool cluster = strcmp(o->name, "cluster-enabled") == 0 && sv->ops->cluster_enabled != NULL &&
                   sv->ops->cluster_enabled(sv);
    return cluster ? "yes" : o->value;
}

static void add_fixed(struct call *c, struct pairs *collect)
{
    for (size_t i = 0; i < fixed_option_count; i++) {
        struct span name = span_str(fixed_options[i].name);
        bool wanted = false;
        for (int k = 2; k < c->argc && !wanted; k++) {
            wanted = glob_match(c->argv[k], name, true);
        }
        if (wanted && cfg_find(c->s->w->server->cfg, name) == NULL) {
            add_pair(collect, name, span_str(fixed_value(c, &fixed_options[i])));
        }
    }
}

static enum session_result config_get(struct call *c)
{
    struct pairs collect = {.c = c, .out = c->out};
    size_t mark = resp_defer(c->out);
    cfg_get(c->s->w->server->cfg, c->argv + 2, (size_t)c->argc - 2, add_pair, &collect);
    add_fixed(c, &collect);
    resp_defer_end(c->out, mark, RESP_MAP, collect.n);
    return SESSION_DONE;
}

static void set_each(struct worker *w, struct op *op)
{
    worker_apply_settings(w);
    worker_take_acl(w, op->later.session_id);
    if (w->index == 0) {
        log_set_level((enum log_level)w->set->loglevel);
    }
}

static void ok_finish(struct worker *w, struct op *op)
{
    (void)w;
    resp_ok(&op->reply);
}

/* Takes pairs of fixed options out of the request, which sit well with their value. Writes what is
 * left to `rest`; returns how many pairs, or -1: one of them wants another value, and the error is
 * written. */
static int without_fixed(struct call *c, struct span *rest)
{
    size_t n = 0;
    for (int i = 2; i < c->argc; i += 2) {
        const struct fixed_option *o = fixed_option_find(c->argv[i]);
        if (o == NULL || cfg_find(c->s->w->server->cfg, c->argv[i]) != NULL) {
            rest[2 * n] = c->argv[i];
            rest[2 * n + 1] = c->argv[i + 1];
            n++;
        } else if (!span_is(c->argv[i + 1], fixed_value(c, o))) {
            resp_errorf(c->out,
                        "ERR CONFIG SET failed (possibly related to argument '%s') - can't set "
                        "immutable config",
                        o->name);
            return -1;
        }
    }
    return (int)n;
}

static enum session_result config_set(struct call *c)
{
    struct errmsg why = {""};
    struct server *sv = c->s->w->server;
    if (c->argc % 2 != 0) {
        resp_error(c->out, "ERR wrong number of arguments for 'config|set' command");
        return SESSION_DONE;
    }
    struct span *rest = mem_alloc((size_t)c->argc * sizeof *rest);
    int n = without_fixed(c, rest);
    enum err e = n > 0 ? cfg_set(sv->cfg, rest, (size_t)n, &why) : OK;
    mem_free(rest);
    if (n < 0) {
        return SESSION_DONE;
    }
    if (e != OK) {
        resp_errorf(c->out, "ERR %s", why.text);
        return SESSION_DONE;
    }
    for (int i = 2; i < c->argc; i += 2) {
        if (span_is(c->argv[i], "requirepass")) { /* cfg has refused bytes of zero */
            char *password = mem_alloc(c->argv[i + 1].len + 1);
            memcpy(password, c->argv[i + 1].p, c->argv[i + 1].len);
            password[c->argv[i + 1].len] = '\0';
            acl_set_default_password(&sv->acl, password);
            mem_free(password);
        }
    }
    struct op *op = op_new(c, 0);
    op->each = set_each;
    op->finish = ok_finish;
    return op_start(op);
}

static enum session_result config_rewrite(struct call *c)
{
    struct errmsg why = {""};
    if (cfg_rewrite(c->s->w->server->cfg, &why) == OK) {
        log_notice("CONFIG REWRITE executed with success.");
        resp_ok(c->out);
    } else {
        resp_errorf(c->out, "ERR %s", why.text);
    }
    return SESSION_DONE;
}

/* ---- RESETSTAT ---- */

static void reset_each(struct worker *w, struct op *op)
{
    (void)op;
    struct worker_private *p = w->priv;
    p->commands = p->connections = p->rejected_conn = p->errors_total = 0;
    p->closed_bytes_in = p->closed_bytes_out = 0;
    p->acl_denied_auth = p->acl_denied_cmd = p->acl_denied_key = 0;
    p->error_stat_count = 0;
    loop_reset_peak(w->loop);
    memset(&p->ops, 0, sizeof p->ops);
    memset(&p->in, 0, sizeof p->in);
    memset(&p->out, 0, sizeof p->out);
    for (struct session *s = p->first; s != NULL; s = s->next) {
        s->c.bytes_in = s->c.bytes_out = 0;
    }
    for (unsigned i = 0; i < cmdset_count(); i++) {
        struct cmd_counters *k = &p->slots[i].pub;
        k->calls = k->rejected = k->failed = k->nanos = 0;
        if (k->hist != NULL) {
            memset(k->hist, 0, sizeof *k->hist);
        }
    }
    if (w->server->ops->reset_stats != NULL) {
        w->server->ops->reset_stats(w);
    }
}

static enum session_result config_resetstat(struct call *c)
{
    struct op *op = op_new(c, 0);
    op->each = reset_each;
    op->finish = ok_finish;
    return op_start(op);
}

static enum session_result config_help(struct call *c)
{
    static const char *const lines[] = {"GET <pattern> ...",
                                        "    Options whose names match, with their values.",
                                        "SET <name> <value> ...",
                                        "    Changes options; all of them or none.",
                                        "RESETSTAT",
                                        "    Sets the statistics of INFO back to zero.",
                                        "REWRITE",
                                        "    Writes the present values to the configuration file.",
                                        NULL};
    return call_help(c, "CONFIG", lines);
}

const struct local locals_config[] = {
    {"config|get", config_get},         {"config|set", config_set},
    {"config|rewrite", config_rewrite}, {"config|resetstat", config_resetstat},
    {"config|help", config_help},       {NULL, NULL},
};
