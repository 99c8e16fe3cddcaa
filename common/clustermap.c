/* The cluster map from the configuration's `shard` lines. */
#include "common/clustermap.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

#define SLOT_FREE UINT16_MAX

/* ---- options ---- */

static enum err parse_slots(const char *text, uint16_t shard, uint16_t *slots, struct errmsg *why);

static enum err check_shard(const char *value, struct errmsg *why)
{
    struct cfg_strings w = {0};
    if (cfg_split(span_str(value), &w) != OK) {
        return errmsg_set(why, ERR_SYNTAX, "unbalanced quotes");
    }
    enum err e = OK;
    if (w.n < 2) {
        e = errmsg_set(why, ERR_CONFIG, "needs a name and slots");
    } else if (w.n - 2 > CLUSTER_REPLICAS_MAX) {
        e = errmsg_set(why, ERR_CONFIG, "%s: more than %d replicas", w.v[0], CLUSTER_REPLICAS_MAX);
    } else if (strlen(w.v[0]) >= CLUSTER_HOST_MAX) {
        e = errmsg_set(why, ERR_CONFIG, "%s: name too long", w.v[0]);
    } else {
        e = parse_slots(w.v[1], 0, NULL, why);
    }
    for (size_t i = 2; e == OK && i < w.n; i++) {
        char host[CLUSTER_HOST_MAX];
        uint16_t port = 0;
        if (cluster_parse_endpoint(span_str(w.v[i]), host, &port) != OK) {
            e = errmsg_set(why, ERR_CONFIG, "%s: %s is no host:port", w.v[0], w.v[i]);
        }
    }
    cfg_strings_free(&w);
    return e;
}

#define OFF(field) offsetof(struct cluster_settings, field)

const struct cfg_option cluster_options[] = {
    {"shard", CFG_LINES, 0, OFF(shard), "", 0, 0, NULL, "Cluster",
     "A shard: name, slots (auto, or ranges as 0-99,200), then host:port of each replica's first "
     "worker. Worker i listens on "
     "port + i. Proxies and nodes must have the same lines. Without any, a node serves all slots "
     "by itself. With `membership builtin` only the processes with an acceptor need these lines, "
     "and "
     "they name no replicas: nodes say themselves where they are.",
     check_shard, NULL},
    {"node-workers", CFG_INT, 0, OFF(node_workers), "1", 1, CLUSTER_WORKERS_MAX, NULL, "Cluster",
     "Worker threads of every node; slots are spread over them by slot modulo this number.", NULL,
     NULL},
};
const size_t cluster_option_count = sizeof cluster_options / sizeof cluster_options[0];

/* ---- endpoints ---- */

enum err cluster_parse_endpoint(struct span text, char host[CLUSTER_HOST_MAX], uint16_t *port)
{
    const char *colon = text.len != 0 ? memrchr(text.p, ':', text.len) : NULL;
    if (colon == NULL) {
        return ERR_SYNTAX;
    }
    struct span name = span_of(text.p, (size_t)(colon - text.p));
    int64_t number = 0;
    if (!num_parse_i64(span_of(colon + 1, text.len - name.len - 1), &number) || number < 1 ||
        number > 65535) {
        return ERR_RANGE;
    }
    if (name.len >= 2 && name.p[0] == '[' && name.p[name.len - 1] == ']') {
        name = span_of(name.p + 1, name.len - 2);
    }
    if (name.len == 0 || name.len >= CLUSTER_HOST_MAX) {
        return ERR_RANGE;
    }
    memcpy(host, name.p, name.len);
    host[name.len] = '\0';
    *port = (uint16_t)number;
    return OK;
}

void cluster_own_address(const char *announce, const struct cfg_strings *bind, int64_t port,
                         struct cluster_node *out)
{
    const char *host = announce[0] != '\0' ? announce : "127.0.0.1";
    if (announce[0] == '\0' && bind->n != 0) {
        const char *first = bind->v[0] + (bind->v[0][0] == '-');
        bool any = span_is(span_str(first), "*") || span_is(span_str(first), "::*") ||
                   span_is(span_str(first), "0.0.0.0");
        host = any ? host : first;
    }
    *out = (struct cluster_node){.port = (uint16_t)port};
    snprintf(out->host, sizeof out->host, "%s", host);
}

void cluster_add_endpoint(struct buf *out, const char *host, uint16_t port)
{
    bool v6 = strchr(host, ':') != NULL;
    buf_addf(out, v6 ? "[%s]:%u" : "%s:%u", host, port);
}

/* ---- slots ---- */

/* Gives the slots of "0-99,200" to shard in slots[]; slots NULL: checks only. "auto" gives none. */
static enum err parse_slots(const char *text, uint16_t shard, uint16_t *slots, struct errmsg *why)
{
    if (strcmp(text, "auto") == 0) {
        return OK;
    }
    while (*text != '\0') {
        size_t n = strcspn(text, ",");
        const char *dash = memchr(text, '-', n);
        size_t head = dash != NULL ? (size_t)(dash - text) : n;
        int64_t low = 0;
        int64_t high = 0;
        bool ok = num_parse_i64(span_of(text, head), &low);
        ok = ok && (dash == NULL || num_parse_i64(span_of(dash + 1, n - head - 1), &high));
        high = dash == NULL ? low : high;
        if (!ok || low < 0 || low > high || high >= SLOT_COUNT) {
            return errmsg_set(why, ERR_CONFIG, "%.*s is no range of slots between 0 and %d", (int)n,
                              text, SLOT_COUNT - 1);
        }
        for (int64_t s = low; slots != NULL && s <= high; s++) {
            if (slots[s] != SLOT_FREE) {
                return errmsg_set(why, ERR_CONFIG, "slot %d belongs to two shards", (int)s);
            }
            slots[s] = shard;
        }
        text += n;
        text += *text == ',';
    }
    return OK;
}

/* The free slots, in order, in equal parts to the shards that said auto. */
static enum err spread_free(struct cluster_map *m, const bool *is_auto, uint32_t autos,
                            struct errmsg *why)
{
    uint32_t free_slots = 0;
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        free_slots += m->slot_shard[s] == SLOT_FREE;
    }
    if (autos == 0) {
        return free_slots == 0
                   ? OK
                   : errmsg_set(why, ERR_CONFIG, "shard: %u slots belong to no shard", free_slots);
    }
    if (free_slots < autos) {
        return errmsg_set(why, ERR_CONFIG, "shard: no slots are left for %u shards that say auto",
                          autos);
    }
    uint16_t order[CLUSTER_SHARDS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->shard_count; i++) {
        if (is_auto[i]) {
            order[n++] = (uint16_t)i;
        }
    }
    uint32_t seen = 0;
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        if (m->slot_shard[s] == SLOT_FREE) {
            m->slot_shard[s] = order[(uint64_t)seen * autos / free_slots];
            seen++;
        }
    }
    return OK;
}

/* ---- the map ---- */

static enum err check_new(const struct cluster_map *m, const char *name,
                          const struct cluster_node *node, struct errmsg *why)
{
    if (node == NULL) {
        for (uint32_t i = 0; i + 1 < m->shard_count; i++) {
            if (strcmp(m->shards[i].name, name) == 0) {
                return errmsg_set(why, ERR_CONFIG, "shard: %s is there twice", name);
            }
        }
        return OK;
    }
    for (uint32_t i = 0; i < m->node_count; i++) {
        uint32_t gap = m->nodes[i].port > node->port ? (uint32_t)(m->nodes[i].port - node->port)
                                                     : (uint32_t)(node->port - m->nodes[i].port);
        if (strcmp(m->nodes[i].host, node->host) == 0 && gap < m->workers) {
            return errmsg_set(why, ERR_CONFIG,
                              "shard: %s: the ports of %s:%u overlap those of another node", name,
                              node->host, node->port);
        }
    }
    if (node->port + m->workers - 1 > 65535) {
        return errmsg_set(why, ERR_CONFIG, "shard: %s: %s:%u leaves no ports for %u workers", name,
                          node->host, node->port, m->workers);
    }
    return OK;
}

static enum err add_shard(struct cluster_map *m, const struct cfg_strings *words,
                          bool nodes_optional, bool *is_auto, struct errmsg *why)
{
    if (words->n < (nodes_optional ? 2u : 3u) || words->n - 2 > CLUSTER_REPLICAS_MAX ||
        strlen(words->v[0]) >= CLUSTER_HOST_MAX) {
        return errmsg_set(why, ERR_CONFIG, "shard: needs a name, slots, and 1 to %d host:port",
                          CLUSTER_REPLICAS_MAX);
    }
    uint16_t index = (uint16_t)m->shard_count++;
    struct cluster_shard *shard = &m->shards[index];
    *shard = (struct cluster_shard){.first_node = m->node_count};
    memcpy(shard->name, words->v[0], strlen(words->v[0]) + 1);
    *is_auto = strcmp(words->v[1], "auto") == 0;
    enum err e = check_new(m, shard->name, NULL, why);
    if (e == OK) {
        e = parse_slots(words->v[1], index, m->slot_shard, why);
        if (e != OK) {
            errmsg_wrap(why, "shard: %s", shard->name);
        }
    }
    for (size_t i = 2; e == OK && i < words->n; i++) {
        struct cluster_node node = {.shard = index, .replica = (uint16_t)(i - 2)};
        e = cluster_parse_endpoint(span_str(words->v[i]), node.host, &node.port);
        if (e != OK) {
            return errmsg_set(why, ERR_CONFIG, "shard: %s: %s is no host:port", shard->name,
                              words->v[i]);
        }
        e = check_new(m, shard->name, &node, why);
        m->nodes[m->node_count++] = node;
        shard->node_count++;
    }
    return e;
}

enum err cluster_map_new(const struct cluster_settings *set, uint64_t version,
                         struct cluster_map **out, struct errmsg *why)
{
    if (set->shard.n == 0) {
        *out = NULL;
        return OK;
    }
    if (set->shard.n > CLUSTER_SHARDS_MAX) {
        return errmsg_set(why, ERR_CONFIG, "shard: more than %d shards", CLUSTER_SHARDS_MAX);
    }
    struct cluster_map *m = mem_zalloc(sizeof *m);
    m->version = version;
    m->workers = (uint32_t)set->node_workers;
    atomic_store(&m->holders, 1);
    m->shards = mem_zalloc(set->shard.n * sizeof *m->shards);
    m->nodes = mem_zalloc(set->shard.n * CLUSTER_REPLICAS_MAX * sizeof *m->nodes);
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        m->slot_shard[s] = SLOT_FREE;
    }
    bool is_auto[CLUSTER_SHARDS_MAX] = {false};
    uint32_t autos = 0;
    enum err e = OK;
    for (size_t i = 0; e == OK && i < set->shard.n; i++) {
        struct cfg_strings words = {0};
        e = cfg_split(span_str(set->shard.v[i]), &words);
        if (e == OK) {
            e = add_shard(m, &words, set->nodes_optional, &is_auto[i], why);
            autos += is_auto[i];
            cfg_strings_free(&words);
        }
    }
    if (e == OK) {
        e = spread_free(m, is_auto, autos, why);
    }
    if (e != OK) {
        cluster_map_drop(m);
        return e;
    }
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        m->shards[m->slot_shard[s]].slot_count++;
    }
    *out = m;
    return OK;
}

struct cluster_map *cluster_map_hold(struct cluster_map *m)
{
    if (m != NULL) {
        atomic_fetch_add_explicit(&m->holders, 1,
                                  memory_order_relaxed); /* the caller holds it already */
    }
    return m;
}

void cluster_map_drop(struct cluster_map *m)
{
    /* acq_rel: the last holder's free comes after everybody's last read */
    if (m != NULL && atomic_fetch_sub_explicit(&m->holders, 1, memory_order_acq_rel) == 1) {
        mem_free(m->shards);
        mem_free(m->nodes);
        mem_free(m);
    }
}

int cluster_find_node(const struct cluster_map *m, struct span host, uint16_t port)
{
    for (uint32_t i = 0; i < m->node_count; i++) {
        if (m->nodes[i].port == port && span_eq(span_str(m->nodes[i].host), host)) {
            return (int)i;
        }
    }
    return -1;
}

void cluster_add_slots(struct buf *out, const struct cluster_map *m, unsigned shard)
{
    bool first = true;
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        if (m->slot_shard[s] != shard) {
            continue;
        }
        unsigned end = s;
        while (end + 1 < SLOT_COUNT && m->slot_shard[end + 1] == shard) {
            end++;
        }
        buf_addf(out, end > s ? "%s%u-%u" : "%s%u", first ? "" : ",", s, end);
        first = false;
        s = end;
    }
}
