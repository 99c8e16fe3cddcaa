/* Which slots a worker serves, and what it says about the others. */
#include <string.h>

#include "backends/node/node.h"
#include "common/mem.h"

static inline bool owns(const struct node_worker *nw, unsigned slot)
{
    return (nw->owned[slot / 64] >> (slot % 64) & 1) != 0;
}

/* Every replica of a shard serves all of its slots; others are told of the first. NULL: it has none
 * now. */
static const struct cluster_node *server_of(const struct cluster_map *map, unsigned slot)
{
    unsigned shard = map->slot_shard[slot];
    return map->shards[shard].node_count != 0 ? cluster_node(map, shard, 0) : NULL;
}

void node_slots_build(struct node_worker *nw)
{
    const struct cluster_map *map = nw->map;
    memset(nw->owned, 0, sizeof nw->owned);
    nw->all_slots = map == NULL;
    for (unsigned slot = 0; map != NULL && slot < SLOT_COUNT; slot++) {
        if (map->slot_shard[slot] == nw->shard && cluster_slot_worker(map, slot) == nw->w->index) {
            nw->owned[slot / 64] |= UINT64_C(1) << (slot % 64);
        }
    }
}

void node_slots_follow(struct node_worker *nw, struct cluster_map *map, int shard)
{
    cluster_map_drop(nw->map);
    nw->map = cluster_map_hold(map);
    nw->shard = shard;
    node_slots_build(nw);
}

static bool moved(struct node_worker *nw, unsigned slot, struct resp_out *out)
{
    const struct cluster_node *to = server_of(nw->map, slot);
    if (to == NULL) {
        resp_error(out, "CLUSTERDOWN Hash slot not served");
        return false;
    }
    bool v6 = strchr(to->host, ':') != NULL;
    nw->count[NODE_MOVED]++;
    resp_errorf(out, v6 ? "MOVED %u [%s]:%u" : "MOVED %u %s:%u", slot, to->host,
                cluster_slot_port(nw->map, to, slot));
    return false;
}

#define KEYS_ON_STACK 64

static bool check_many(struct node_worker *nw, const struct cmd *cmd, const struct span *argv,
                       int argc, struct resp_out *out)
{
    int small[KEYS_ON_STACK];
    int *idx = argc <= KEYS_ON_STACK ? small : mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(cmd, argv, argc, idx, argc);
    bool ok = true;
    unsigned first = n > 0 ? slot_of_inner(argv[idx[0]]) : 0;
    bool split = (cmd->flags & CMD_SPLIT) != 0; /* each key on its own: any of ours will do */
    for (int i = 1; ok && i < n; i++) {
        unsigned slot = slot_of_inner(argv[idx[i]]);
        if (split && !owns(nw, slot)) {
            first = slot;
            break;
        }
        ok = split || slot == first;
    }
    if (idx != small) {
        mem_free(idx);
    }
    if (!ok) {
        resp_error(out, "CROSSSLOT Keys in request don't hash to the same slot");
        return false;
    }
    return n <= 0 || owns(nw, first) || moved(nw, first, out);
}

bool node_slots_check(struct node_worker *nw, const struct cmd *cmd, const struct span *argv,
                      int argc, struct resp_out *out)
{
    if (nw->all_slots) {
        return true;
    }
    if (cmd->first_key == 1 && cmd->last_key == 1 && cmd->keys == NULL) {
        unsigned slot = slot_of_inner(argv[1]);
        return owns(nw, slot) || moved(nw, slot, out);
    }
    if (cmd->first_key == 0 && cmd->keys == NULL) {
        return true;
    }
    return check_many(nw, cmd, argv, argc, out);
}

/* ---- who am I ---- */

static bool is_bound(const struct node_settings *set, const char *host)
{
    for (size_t i = 0; i < set->server.bind.n; i++) {
        const char *b = set->server.bind.v[i];
        b += b[0] == '-';
        if (strcmp(b, host) == 0) {
            return true;
        }
    }
    return false;
}

enum err node_find_self(struct node *node, const struct node_settings *set, struct errmsg *why)
{
    const struct cluster_map *map = node->map;
    const struct cluster_node *same_port = NULL;
    const struct cluster_node *found = NULL;
    unsigned port_count = 0;
    for (uint32_t i = 0; i < map->node_count; i++) {
        const struct cluster_node *n = &map->nodes[i];
        if (n->port != set->server.port) {
            continue;
        }
        port_count++;
        same_port = n;
        bool named = set->announce_ip[0] != '\0' ? strcmp(n->host, set->announce_ip) == 0
                                                 : is_bound(set, n->host);
        found = named ? n : found;
    }
    if (found == NULL && port_count == 1 && set->announce_ip[0] == '\0') {
        found = same_port;
    }
    if (found == NULL) {
        return errmsg_set(
            why, ERR_CONFIG,
            port_count == 0
                ? "shard: no line names this node's port %lld"
                : "shard: several lines name port %lld: say which with cluster-announce-ip",
            (long long)set->server.port);
    }
    node->self = *found;
    memcpy(node->shard, map->shards[found->shard].name, sizeof node->shard);
    return OK;
}
