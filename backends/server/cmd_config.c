/* CONFIG: the options of this process. SET answers when every worker works with the new values. */
#include <string.h>

#include "backends/server/acl_rules.h"
#include "backends/server/internal.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

static void add_pair(void *arg, struct span name, struct span value)
{
    struct op *op = arg; /* only reply and n are used */
    resp_bulk_span(&op->reply, name);
    resp_bulk_span(&op->reply, value);
    op->n++;
}

static enum session_result config_get(struct call *c)
{
    struct op collect = {.reply = *c->out};
    size_t mark = resp_defer(c->out);
    cfg_get(c->s->w->server->cfg, c->argv + 2, (size_t)c->argc - 2, add_pair, &collect);
    resp_defer_end(c->out, mark, RESP_MAP, (size_t)collect.n);
    return SESSION_DONE;
}

static void set_each(struct worker *w, struct op *op)
{
    (void)op;
    worker_apply_settings(w);
    worker_take_acl(w);
    if (w->index == 0) {
        log_set_level((enum log_level)w->set->loglevel);
    }
}

static void ok_finish(struct worker *w, struct op *op)
{
    (void)w;
    resp_ok(&op->reply);
}

static enum session_result config_set(struct call *c)
{
    struct errmsg why = {""};
    struct server *sv = c->s->w->server;
    if (c->argc % 2 != 0) {
        resp_error(c->out, "ERR wrong number of arguments for 'config|set' command");
        return SESSION_DONE;
    }
    if (cfg_set(sv->cfg, c->argv + 2, (size_t)(c->argc - 2) / 2, &why) != OK) {
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
