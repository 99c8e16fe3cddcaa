/* INFO: the sums over the workers, each added in its own thread. */
#include <string.h>

#include "backends/server/info.h"
#include "backends/server/internal.h"
#include "common/mem.h"

struct info_sum *info_sum_new(void)
{
    struct info_sum *sum = mem_zalloc(sizeof *sum);
    sum->srv = mem_zalloc(sizeof *sum->srv);
    sum->srv->commands_by_row = mem_zalloc(cmdset_count() * sizeof(struct cmd_counters));
    return sum;
}

void info_sum_free(struct info_sum *sum)
{
    for (unsigned i = 0; i < cmdset_count(); i++) {
        mem_free(sum->srv->commands_by_row[i].hist);
    }
    mem_free(sum->srv->commands_by_row);
    mem_free(sum->srv);
    mem_free(sum);
}

static void collect_commands(const struct worker_private *p, struct info_server *v)
{
    for (unsigned i = 0; i < cmdset_count(); i++) {
        const struct cmd_counters *from = &p->slots[i].pub;
        struct cmd_counters *to = &v->commands_by_row[i];
        to->cmd = from->cmd;
        to->calls += from->calls;
        to->rejected += from->rejected;
        to->failed += from->failed;
        to->nanos += from->nanos;
        if (from->hist != NULL) {
            if (to->hist == NULL) {
                to->hist = mem_zalloc(sizeof *to->hist);
            }
            hist_merge(to->hist, from->hist);
        }
    }
}

static void collect_error(struct info_server *v, const struct error_stat *e)
{
    for (unsigned i = 0; i < v->error_words; i++) {
        if (strcmp(v->errors_by_word[i].word, e->word) == 0) {
            v->errors_by_word[i].count += e->count;
            return;
        }
    }
    if (v->error_words < ERRORSTAT_MAX) {
        memcpy(v->errors_by_word[v->error_words].word, e->word, sizeof e->word);
        v->errors_by_word[v->error_words++].count = e->count;
    }
}

static double mean(const struct net_rate *r)
{
    double sum = 0;
    for (unsigned i = 0; i < 16; i++) {
        sum += r->rate[i];
    }
    return sum / 16;
}

void info_collect(struct worker *w, struct info_sum *sum)
{
    const struct worker_private *p = w->priv;
    struct info_server *v = sum->srv;
    for (const struct session *s = p->first; s != NULL; s = s->next) {
        v->bytes_in += s->c.bytes_in;
        v->bytes_out += s->c.bytes_out;
        v->clients_memory += session_memory(s);
        v->internal += s->internal;
    }
    v->connected += p->session_count;
    sum->blocked_clients += p->blocked_count;
    v->bytes_in += p->closed_bytes_in;
    v->bytes_out += p->closed_bytes_out;
    v->commands += p->commands;
    v->connections += p->connections;
    v->rejected += p->rejected_conn;
    v->errors += p->errors_total;
    v->denied_auth += p->acl_denied_auth;
    v->denied_cmd += p->acl_denied_cmd;
    v->denied_key += p->acl_denied_key;
    v->max_in = p->max_in_buf > v->max_in ? p->max_in_buf : v->max_in;
    v->max_out = p->max_out_buf > v->max_out ? p->max_out_buf : v->max_out;
    v->ops += mean(&p->ops);
    v->in_rate += mean(&p->in);
    v->out_rate += mean(&p->out);
    uint64_t turn_ns = loop_peak_turn_ns(w->loop);
    v->longest_turn_ns = turn_ns > v->longest_turn_ns ? turn_ns : v->longest_turn_ns;
    collect_commands(p, v);
    for (unsigned i = 0; i < p->error_stat_count; i++) {
        collect_error(v, &p->error_stats[i]);
    }
    if (w->server->ops->info_add != NULL) {
        w->server->ops->info_add(w, sum);
    }
}
