/* What INFO says of a proxy beyond what every server says. */
#include <pthread.h>
#include <stdio.h>

#include "backends/member/membership.h"
#include "common/num.h"
#include "proxy/finder.h"
#include "proxy/gather.h"
#include "proxy/hot.h"
#include "proxy/lane.h"

/* Slots of info_sum.own. */
enum own {
    OWN_FORWARDED,
    OWN_SPLIT,
    OWN_FANNED,
    OWN_LOCAL,
    OWN_REFUSED,
    OWN_NODE_ERRORS,
    OWN_MOVED,
    OWN_UNKNOWN,
    OWN_STALLS,
    OWN_OPEN,
    OWN_HOLDS,
    OWN_LINKS_UP,
    OWN_REQUESTS,
    OWN_REPLIES,
    OWN_WRITES,
    OWN_LATENCY_NS,
    OWN_LOG_BYTES,
    OWN_TIMEOUTS,
    OWN_LOSSES,
    OWN_RETRIES,
    OWN_AWAY,
    OWN_HOT_SAMPLES,
    OWN_HOT_FOLLOWED,
    OWN_HOT_TOO_LONG,
    OWN_HOT_EPOCHS,
    OWN_HOT_LOST,
    OWN_HOT_INTERVAL,
    OWN_HOT_REPORTS,
    OWN_HOT_MALFORMED,
    OWN_COUNT
};

_Static_assert(OWN_COUNT <= INFO_OWN_MAX, "info_sum.own is too small");

/* ---- what the nodes know ---- */

static pthread_mutex_t counts_lock = PTHREAD_MUTEX_INITIALIZER; /* guards counts */
static struct node_counts counts;

#define INFO_ARGS_MAX 32

bool info_ask_nodes(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    static const struct span ask[] = {{"INFO", 4}, {"stats", 5}, {"keyspace", 8}};
    struct proxy_worker *pw = c->pw;
    if (a->cmd == NULL || a->refusal != REFUSE_NOT || strcmp(a->cmd->name, "info") != 0 ||
        q->argc > INFO_ARGS_MAX) {
        return false;
    }
    const struct cluster_map *map = pw->route->map;
    for (unsigned s = 0; s < map->shard_count; s++) {
        struct shard_link *l = lane_any(pw, s * map->workers, 2);
        if (l == NULL || shard_down(l) != NULL || shard_full(l)) {
            return false;
        }
    }
    struct gather *g = gather_open(c, a, q, COMPOSE_INFO, map->shard_count, 0);
    g->owner->count = NULL; /* the session layer accounts for it */
    g->admitted = *a;
    encode_request(&g->request, 0, q->argv, q->argc, NULL, 0);
    for (unsigned s = 0; s < map->shard_count; s++) {
        struct target t = {.l = lane_any(pw, s * map->workers, 2)};
        encode_request(shard_begin(t.l), 0, ask, 3, NULL, 0);
        gather_send(g, &t);
    }
    gather_opened(g);
    return true;
}

/* The number after `name` at the start of a line; 0 if there is none. */
static uint64_t number_after(struct span text, const char *name)
{
    size_t n = strlen(name);
    const char *p = text.p;
    const char *end = text.p + text.len;
    while ((p = memmem(p, (size_t)(end - p), name, n)) != NULL) {
        if (p == text.p || p[-1] == '\n' || p[-1] == ',') {
            uint64_t v = 0;
            for (p += n; p < end && *p >= '0' && *p <= '9'; p++) {
                v = v * 10 + (uint64_t)(*p - '0');
            }
            return v;
        }
        p += n;
    }
    return 0;
}

static void add_counts(struct node_counts *sum, struct span text)
{
    if (text.p == NULL) {
        return;
    }
    sum->hits += number_after(text, "keyspace_hits:");
    sum->misses += number_after(text, "keyspace_misses:");
    sum->expired += number_after(text, "expired_keys:");
    sum->evicted += number_after(text, "evicted_keys:");
    for (unsigned i = 0; i < DB_COUNT; i++) {
        char name[16];
        int n = snprintf(name, sizeof name, "\ndb%u:", i);
        const char *line = memmem(text.p, text.len, name, (size_t)n);
        const char *end =
            line == NULL ? NULL : memchr(line + n, '\r', (size_t)(text.p + text.len - line - n));
        if (end != NULL) {
            struct span fields = span_of(line + n, (size_t)(end - line - n));
            uint64_t expires = number_after(fields, "expires=");
            sum->db[i].keys += number_after(fields, "keys=");
            sum->db[i].expires += expires;
            sum->db[i].ttl_ms_sum += expires * number_after(fields, "avg_ttl=");
        }
    }
}

void info_collected(struct gather *g)
{
    struct node_counts sum = {0};
    for (uint32_t i = 0; i < g->parts; i++) {
        if (g->part[i]->hold != NULL) {
            add_counts(&sum, buf_span(&g->part[i]->hold->b));
        }
    }
    if (buf_used(&g->error) == 0) {
        pthread_mutex_lock(&counts_lock);
        counts = sum;
        pthread_mutex_unlock(&counts_lock);
    }
    struct span argv[INFO_ARGS_MAX];
    int argc = request_args(buf_span(&g->request), argv, INFO_ARGS_MAX);
    call_run_later(g->owner, &g->admitted, argv, argc);
}

static void add_node_counts(struct info_sum *sum)
{
    pthread_mutex_lock(&counts_lock);
    sum->keyspace_hits += counts.hits;
    sum->keyspace_misses += counts.misses;
    sum->expired_keys += counts.expired;
    sum->evicted_keys += counts.evicted;
    for (unsigned i = 0; i < DB_COUNT; i++) {
        sum->db[i].keys += counts.db[i].keys;
        sum->db[i].expires += counts.db[i].expires;
        sum->db[i].ttl_ms_sum += counts.db[i].ttl_ms_sum;
    }
    pthread_mutex_unlock(&counts_lock);
}

/* ---- what this proxy knows ---- */

static void finder_info(const struct finder *f, uint64_t *own)
{
    own[OWN_HOT_SAMPLES] += f->counts.samples;
    own[OWN_HOT_FOLLOWED] += sketch_count(f->seen);
    own[OWN_HOT_TOO_LONG] += f->counts.too_long;
    own[OWN_HOT_EPOCHS] += f->counts.epochs;
    own[OWN_HOT_LOST] += f->counts.lost;
    own[OWN_HOT_REPORTS] += f->counts.reports;
    own[OWN_HOT_MALFORMED] += f->counts.malformed;
    uint64_t interval = f->sampler.interval;
    own[OWN_HOT_INTERVAL] = interval > own[OWN_HOT_INTERVAL] ? interval : own[OWN_HOT_INTERVAL];
}

void proxy_info_add(struct worker *w, struct info_sum *sum)
{
    const struct proxy_worker *pw = w->data;
    const struct proxy_stats *s = &pw->stats;
    if (w->index == 0) {
        add_node_counts(sum);
    }
    uint64_t *own = sum->own;
    hot_info_add(pw, sum);
    own[OWN_FORWARDED] += s->forwarded;
    own[OWN_SPLIT] += s->split;
    own[OWN_FANNED] += s->fanned;
    own[OWN_LOCAL] += s->local;
    own[OWN_REFUSED] += s->refused;
    own[OWN_NODE_ERRORS] += s->node_errors;
    own[OWN_MOVED] += s->moved;
    own[OWN_UNKNOWN] += s->unknown;
    own[OWN_STALLS] += s->stalls;
    own[OWN_RETRIES] += s->retries;
    uint64_t away = lanes_away(pw); /* of the worker that misses most */
    own[OWN_AWAY] = away > own[OWN_AWAY] ? away : own[OWN_AWAY];
    finder_info(pw->finder, own);
    own[OWN_OPEN] += s->open_calls;
    own[OWN_HOLDS] += s->open_holds;
    for (unsigned i = 0; i < shard_endpoint_count(pw->pool); i++) {
        struct shard_stats e;
        shard_endpoint_stats(pw->pool, i, &e);
        own[OWN_LINKS_UP] += e.up;
        own[OWN_REQUESTS] += e.requests;
        own[OWN_REPLIES] += e.replies;
        own[OWN_WRITES] += e.writes;
        own[OWN_LATENCY_NS] += e.latency_ns_sum;
        own[OWN_LOG_BYTES] += e.log_bytes;
        own[OWN_TIMEOUTS] += e.timeouts;
        own[OWN_LOSSES] += e.losses;
    }
}

void proxy_info_own(struct worker *w, const struct info_sum *sum, struct info_out *o)
{
    const struct proxy_worker *pw = w->data;
    if (proxy_membership(pw) != NULL) {
        membership_info(proxy_membership(pw), o);
    }
    const uint64_t *own = sum->own;
    if (info_section(o, "Proxy")) {
        static const struct {
            const char *name;
            enum own at;
        } fields[] = {
            {"proxy_forwarded", OWN_FORWARDED},
            {"proxy_split", OWN_SPLIT},
            {"proxy_fanned_out", OWN_FANNED},
            {"proxy_answered_here", OWN_LOCAL},
            {"proxy_refused", OWN_REFUSED},
            {"proxy_node_errors", OWN_NODE_ERRORS},
            {"proxy_moved", OWN_MOVED},
            {"proxy_unknown_outcomes", OWN_UNKNOWN},
            {"proxy_retries", OWN_RETRIES},
            {"proxy_node_workers_away", OWN_AWAY},
            {"proxy_stalls", OWN_STALLS},
            {"proxy_open_calls", OWN_OPEN},
            {"proxy_held_replies", OWN_HOLDS},
            {"proxy_node_requests", OWN_REQUESTS},
            {"proxy_node_replies", OWN_REPLIES},
            {"proxy_node_write_calls", OWN_WRITES},
            {"proxy_node_timeouts", OWN_TIMEOUTS},
            {"proxy_node_losses", OWN_LOSSES},
            {"proxy_node_open_bytes", OWN_LOG_BYTES},
        };
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            info_field(o, fields[i].name, "%llu", (unsigned long long)own[fields[i].at]);
        }
        uint64_t replies = own[OWN_REPLIES];
        info_field(o, "proxy_node_latency_usec_avg", "%.1f",
                   replies == 0 ? 0.0 : (double)own[OWN_LATENCY_NS] / 1000.0 / (double)replies);
        info_field(o, "proxy_partitions", "%u", pw->route->partitions);
    }
    if (info_section(o, "Hotkeys")) {
        static const struct {
            const char *name;
            enum own at;
        } fields[] = {
            {"hotkeys_samples", OWN_HOT_SAMPLES},
            {"hotkeys_sample_interval", OWN_HOT_INTERVAL},
            {"hotkeys_followed", OWN_HOT_FOLLOWED},
            {"hotkeys_too_long", OWN_HOT_TOO_LONG},
            {"hotkeys_epochs", OWN_HOT_EPOCHS},
            {"hotkeys_exports_lost", OWN_HOT_LOST},
            {"hotkeys_reports", OWN_HOT_REPORTS},
            {"hotkeys_reports_malformed", OWN_HOT_MALFORMED},
        };
        info_field(o, "hotkeys_tracking", "%d", pw->set->hot_tracking);
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            info_field(o, fields[i].name, "%llu", (unsigned long long)own[fields[i].at]);
        }
    }
    hot_info_own(pw, sum, o);
    if (info_section(o, "Nodes")) { /* of the worker that was asked */
        for (unsigned i = 0; i < shard_endpoint_count(pw->pool); i++) {
            struct shard_stats e;
            uint16_t port = 0;
            if (!shard_endpoint_is_open(pw->pool, i)) {
                continue;
            }
            const char *address = shard_endpoint_address(pw->pool, i, &port);
            shard_endpoint_stats(pw->pool, i, &e);
            char name[32];
            snprintf(name, sizeof name, "node%u", i);
            info_field(
                o, name,
                "addr=%s:%u,up=%d,requests=%llu,replies=%llu,open=%llu,refused=%llu,"
                "failed=%llu,unknown=%llu,losses=%llu,timeouts=%llu,usec_avg=%.1f",
                address, port, e.up, (unsigned long long)e.requests, (unsigned long long)e.replies,
                (unsigned long long)e.open, (unsigned long long)e.controls,
                (unsigned long long)e.failed, (unsigned long long)e.unknown,
                (unsigned long long)e.losses, (unsigned long long)e.timeouts,
                e.replies == 0 ? 0.0 : (double)e.latency_ns_sum / 1000.0 / (double)e.replies);
        }
    }
}
