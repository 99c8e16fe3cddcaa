/* From slots to node workers. */
#include "proxy/route.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "backends/shard/shard.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

bool route_resolve(const char *host, char out[ROUTE_ADDRESS_MAX])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0) {
        return false;
    }
    bool ok = getnameinfo(found->ai_addr, found->ai_addrlen, out, ROUTE_ADDRESS_MAX, NULL, 0,
                          NI_NUMERICHOST) == 0;
    freeaddrinfo(found);
    return ok;
}

enum err route_init(struct route *r, struct cluster_map *map, struct shard_pool *pool,
                    struct errmsg *why)
{
    r->endpoints = map->node_count * map->workers;
    r->partitions = map->shard_count * map->workers;
    if (r->endpoints > ROUTE_ENDPOINTS_MAX) {
        return errmsg_set(why, ERR_CONFIG, "%u node workers; at most %u are supported",
                          r->endpoints, ROUTE_ENDPOINTS_MAX);
    }
    must(shard_endpoint_count(pool) == 0);
    r->map = cluster_map_hold(map);
    for (uint32_t n = 0; n < map->node_count; n++) {
        char address[ROUTE_ADDRESS_MAX];
        if (!route_resolve(map->nodes[n].host, address)) {
            address[0] = '\0';
        }
        for (uint32_t w = 0; w < map->workers; w++) {
            shard_endpoint_add(pool, address, (uint16_t)(map->nodes[n].port + w));
        }
    }
    r->replicas = CLUSTER_REPLICAS_MAX;
    r->partition_endpoint = mem_zalloc(r->partitions * sizeof *r->partition_endpoint);
    r->endpoint_partition = mem_zalloc(r->endpoints * sizeof *r->endpoint_partition);
    for (uint32_t s = 0; s < map->shard_count; s++) {
        const struct cluster_shard *shard = &map->shards[s];
        r->replicas = shard->node_count < r->replicas ? shard->node_count : r->replicas;
        r->many |= shard->node_count > 1;
        for (uint32_t w = 0; w < map->workers; w++) {
            uint32_t partition = s * map->workers + w;
            uint32_t first = shard->first_node * map->workers + w;
            r->partition_endpoint[partition] = (uint16_t)first;
            for (uint32_t n = 0; n < shard->node_count; n++) {
                r->endpoint_partition[first + n * map->workers] = (uint16_t)partition;
            }
        }
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        unsigned partition = map->slot_shard[slot] * map->workers + cluster_slot_worker(map, slot);
        r->endpoint[slot] = r->partition_endpoint[partition];
    }
    return OK;
}

void route_deinit(struct route *r)
{
    cluster_map_drop(r->map);
    mem_free(r->partition_endpoint);
    mem_free(r->endpoint_partition);
    r->map = NULL;
    r->partition_endpoint = NULL;
    r->endpoint_partition = NULL;
}

bool route_moved(const struct route *r, struct span words, unsigned *slot, unsigned *endpoint)
{
    static const size_t skip = sizeof "MOVED " - 1;
    const char *space = words.len > skip ? memchr(words.p + skip, ' ', words.len - skip) : NULL;
    if (space == NULL) {
        return false;
    }
    uint64_t n = 0;
    size_t at = (size_t)(space - words.p) + 1;
    if (!num_parse_u64(span_of(words.p + skip, at - 1 - skip), &n) || n >= SLOT_COUNT) {
        return false;
    }
    char host[CLUSTER_HOST_MAX];
    uint16_t port = 0;
    if (cluster_parse_endpoint(span_of(words.p + at, words.len - at), host, &port) != OK) {
        return false;
    }
    for (uint32_t i = 0; i < r->map->node_count; i++) {
        const struct cluster_node *node = &r->map->nodes[i];
        if (strcmp(node->host, host) == 0 && port >= node->port &&
            port < node->port + r->map->workers) {
            *slot = (unsigned)n;
            *endpoint = i * r->map->workers + (unsigned)(port - node->port);
            return true;
        }
    }
    return false;
}
