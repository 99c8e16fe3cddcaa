/* Maps: from configuration to genesis, from what was agreed to routes. */
#include "backends/member/routes.h"

#include <stdatomic.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"

static enum err set_acceptors(const struct member_settings *set, struct member_map *out,
                              struct errmsg *why)
{
    if (set->membership == MEMBERSHIP_ETCD) { /* the set of acceptors is etcd's affair */
        if (set->etcd_endpoints.n == 0) {
            return errmsg_set(why, ERR_CONFIG, "membership etcd needs `etcd-endpoints`");
        }
        out->acceptor_count = 1;
        out->acceptors[0].port = 2379;
        (void)map_text_set(out->acceptors[0].host, "etcd", 4);
        return OK;
    }
    if (set->acceptors.n == 0) {
        return errmsg_set(why, ERR_CONFIG, "membership builtin needs `acceptors`");
    }
    for (size_t i = 0; i < set->acceptors.n; i++) {
        char host[CLUSTER_HOST_MAX] = "";
        struct map_address *a = &out->acceptors[out->acceptor_count++];
        if (cluster_parse_endpoint(span_str(set->acceptors.v[i]), host, &a->port) != OK ||
            !map_text_set(a->host, host, strlen(host))) {
            return errmsg_set(why, ERR_CONFIG, "acceptors: '%s' is not host:port",
                              set->acceptors.v[i]);
        }
    }
    return OK;
}

static enum err set_shards(const struct cluster_map *map, struct member_map *out,
                           struct errmsg *why)
{
    if (map->shard_count > MAP_GROUPS_MAX - 1) {
        return errmsg_set(why, ERR_CONFIG, "shard: %u shards; membership builtin has room for %u",
                          map->shard_count, MAP_GROUPS_MAX - 1);
    }
    for (uint32_t s = 0; s < map->shard_count; s++) {
        struct map_group *g = &out->groups[out->group_count++];
        const char *name = map->shards[s].name;
        if (!map_text_set(g->name, name, strlen(name)) || strcmp(name, MAP_PROXIES_NAME) == 0) {
            return errmsg_set(why, ERR_CONFIG, "shard: %s cannot be the name of a shard", name);
        }
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        uint16_t group = (uint16_t)(map->slot_shard[slot] + 1u);
        if (slot != 0 && out->ranges[out->range_count - 1].group == group) {
            continue;
        }
        if (out->range_count == MAP_RANGES_MAX) {
            return errmsg_set(why, ERR_CONFIG,
                              "shard: the slots make more than %u ranges, which is all that "
                              "membership builtin has room for",
                              MAP_RANGES_MAX);
        }
        out->ranges[out->range_count++] = (struct map_range){(uint16_t)slot, group};
    }
    return OK;
}

enum err genesis_make(const struct member_settings *set, const struct cluster_settings *shards,
                      struct member_map *out, struct errmsg *why)
{
    memset(out, 0, sizeof *out);
    out->next_id = 1;
    out->group_count = 1;
    (void)map_text_set(out->groups[MAP_PROXIES].name, MAP_PROXIES_NAME, strlen(MAP_PROXIES_NAME));
    enum err e = set_acceptors(set, out, why);
    struct cluster_settings bare = *shards;
    bare.nodes_optional = true;
    struct cluster_map *map = NULL;
    if (e == OK) {
        e = cluster_map_new(&bare, 0, &map, why);
    }
    if (e == OK && map != NULL) {
        e = set_shards(map, out, why);
    }
    cluster_map_drop(map);
    if (e == OK && !map_genesis_ok(out)) {
        e = errmsg_set(why, ERR_CONFIG,
                       "acceptors and shards make no cluster: is a name longer than "
                       "63 bytes, or an acceptor there twice?");
    }
    return e;
}

bool genesis_same_shards(const struct member_map *a, const struct member_map *b)
{
    if (a->group_count != b->group_count || a->range_count != b->range_count) {
        return false;
    }
    for (unsigned i = 0; i < a->group_count; i++) {
        if (strcmp(a->groups[i].name, b->groups[i].name) != 0) {
            return false;
        }
    }
    for (unsigned i = 0; i < a->range_count; i++) {
        if (a->ranges[i].first != b->ranges[i].first || a->ranges[i].group != b->ranges[i].group) {
            return false;
        }
    }
    return true;
}

static uint64_t add(uint64_t h, uint64_t x)
{
    h = (h ^ x) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 29;
}

uint64_t genesis_hash(const struct member_map *m)
{
    uint64_t h = map_cluster(m);
    for (unsigned i = 0; i < m->group_count; i++) {
        for (const char *p = m->groups[i].name; *p != '\0'; p++) {
            h = add(h, (unsigned char)*p);
        }
        h = add(h, 256);
    }
    for (unsigned i = 0; i < m->range_count; i++) {
        h = add(h, (uint64_t)m->ranges[i].first << 16 | m->ranges[i].group);
    }
    return h;
}

/* ---- routes ---- */

static uint32_t first_workers(const struct member_map *m)
{
    for (unsigned i = 0; i < m->node_count; i++) {
        if (m->nodes[i].group != MAP_PROXIES) {
            return m->nodes[i].workers;
        }
    }
    return 0;
}

static void add_members(struct cluster_map *to, const struct member_map *m, uint16_t group)
{
    uint16_t s = (uint16_t)(group - 1u);
    struct cluster_shard *shard = &to->shards[s];
    *shard = (struct cluster_shard){.first_node = to->node_count};
    memcpy(shard->name, m->groups[group].name, sizeof shard->name);
    for (unsigned i = 0; i < m->node_count && shard->node_count < CLUSTER_REPLICAS_MAX; i++) {
        const struct map_node *n = &m->nodes[i];
        if (n->group != group || (n->flags & MAP_MEMBER) == 0) {
            continue;
        }
        if (n->workers != to->workers) {
            static struct log_limit limit;
            if (log_limited(&limit)) {
                log_warning("node %s:%u has %u workers, others have %u: it is not asked",
                            n->at.host, n->at.port, n->workers, to->workers);
            }
            continue;
        }
        struct cluster_node *node = &to->nodes[to->node_count++];
        *node = (struct cluster_node){
            .port = n->at.port, .shard = s, .replica = (uint16_t)shard->node_count++, .id = n->id};
        memcpy(node->host, n->at.host, sizeof node->host);
    }
}

_Static_assert(CLUSTER_HOST_MAX == MAP_TEXT_MAX, "names and hosts are copied whole");

struct cluster_map *routes_make(const struct member_map *m, uint32_t workers)
{
    workers = workers != 0 ? workers : first_workers(m);
    if (m->group_count < 2 || workers == 0) {
        return NULL;
    }
    struct cluster_map *to = mem_zalloc(sizeof *to);
    to->version = m->version;
    to->workers = workers;
    atomic_store(&to->holders, 1);
    to->shard_count = m->group_count - 1u;
    to->shards = mem_zalloc(to->shard_count * sizeof *to->shards);
    to->nodes = mem_zalloc((m->node_count + 1u) * sizeof *to->nodes);
    for (uint16_t g = 1; g < m->group_count; g++) {
        add_members(to, m, g);
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        to->slot_shard[slot] = (uint16_t)(map_slot_group(m, slot) - 1u);
        to->shards[to->slot_shard[slot]].slot_count++;
    }
    return to;
}
