/* From slots to node workers. */
#include "proxy/route.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "backends/shard/shard.h"
#include "common/log.h"
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

bool route_is_numeric(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* ---- replicas and their places ---- */

/* The endpoint of this node worker; a new one if it is not there yet, ROUTE_HOLE if there is no
 * room. */
static unsigned endpoint_of(struct shard_pool *pool, const struct cluster_node *n, uint16_t port,
                            bool look_up)
{
    unsigned found = shard_endpoint_find(pool, n->host, port);
    if (found != SHARD_NO_ENDPOINT) {
        shard_endpoint_open(pool, found);
        return found;
    }
    if (shard_endpoint_count(pool) >= ROUTE_ENDPOINTS_MAX) {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_warning("node %s:%u: more than %u addresses of nodes were seen; restart this proxy",
                        n->host, port, ROUTE_ENDPOINTS_MAX);
        }
        return ROUTE_HOLE;
    }
    char address[ROUTE_ADDRESS_MAX] = "";
    if ((look_up || route_is_numeric(n->host)) && !route_resolve(n->host, address)) {
        address[0] = '\0';
    }
    return shard_endpoint_add(pool, n->host, address, port);
}

static int place_of(const struct route_partition *p, unsigned endpoint)
{
    for (unsigned i = 0; i < p->places; i++) {
        if (p->endpoint[i] == endpoint) {
            return (int)i;
        }
    }
    return -1;
}

static unsigned free_place(const struct route_partition *p)
{
    unsigned i = 0;
    while (i < p->places && p->endpoint[i] != ROUTE_HOLE) {
        i++;
    }
    return i;
}

/* Puts the replicas of the map's shard into places; leaves those that are gone where they are.
 * Returns which places (bits) are in use. */
static uint32_t put_replicas(struct route *r, unsigned partition, struct shard_pool *pool,
                             bool look_up)
{
    struct route_partition *p = &r->partition[partition];
    const struct cluster_shard *shard = &r->map->shards[partition / r->workers];
    uint32_t used = 0;
    p->live = 0;
    for (uint32_t i = 0; i < shard->node_count; i++) {
        const struct cluster_node *n = &r->map->nodes[shard->first_node + i];
        uint16_t port = (uint16_t)(n->port + partition % r->workers);
        unsigned endpoint = endpoint_of(pool, n, port, look_up);
        if (endpoint == ROUTE_HOLE) {
            continue;
        }
        int place = place_of(p, endpoint);
        if (place < 0) {
            place = (int)free_place(p);
            if (place >= ROUTE_PLACES) { /* taken by one that leaves now: with the next map */
                continue;
            }
            p->endpoint[place] = (uint16_t)endpoint;
            p->refused_ns[place] = 0;
            p->places = place == p->places ? (uint8_t)(place + 1) : p->places;
        }
        p->id[place] = n->id;
        p->order[p->live++] = (uint8_t)place;
        used |= UINT32_C(1) << place;
    }
    return used;
}

enum err route_init(struct route *r, struct cluster_map *map, bool changes, struct shard_pool *pool,
                    struct errmsg *why)
{
    if (map->node_count * map->workers > ROUTE_ENDPOINTS_MAX) {
        return errmsg_set(why, ERR_CONFIG, "%u node workers; at most %u are supported",
                          map->node_count * map->workers, ROUTE_ENDPOINTS_MAX);
    }
    must(shard_endpoint_count(pool) == 0);
    r->map = cluster_map_hold(map);
    r->workers = map->workers;
    r->partitions = map->shard_count * map->workers;
    r->partition = mem_zalloc(r->partitions * sizeof *r->partition);
    r->many = changes;
    for (uint32_t p = 0; p < r->partitions; p++) {
        for (unsigned i = 0; i < ROUTE_PLACES; i++) {
            r->partition[p].endpoint[i] = ROUTE_HOLE;
        }
        (void)put_replicas(r, p, pool, true);
        r->many |= r->partition[p].live > 1;
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        r->slot_partition[slot] =
            (uint16_t)(map->slot_shard[slot] * map->workers + cluster_slot_worker(map, slot));
    }
    return OK;
}

/* The endpoints of replicas that are gone; a node may have moved to another shard. */
static bool is_used(const struct route *r, unsigned endpoint)
{
    for (uint32_t p = 0; p < r->partitions; p++) {
        if (place_of(&r->partition[p], endpoint) >= 0) {
            return true;
        }
    }
    return false;
}

void route_follow(struct route *r, struct cluster_map *map, struct shard_pool *pool,
                  void (*left)(void *arg, unsigned partition, unsigned place), void *arg)
{
    must(map->shard_count * map->workers == r->partitions && map->workers == r->workers);
    struct cluster_map *old = r->map;
    r->map = cluster_map_hold(map);
    for (uint32_t partition = 0; partition < r->partitions; partition++) {
        struct route_partition *p = &r->partition[partition];
        uint32_t used = put_replicas(r, partition, pool, false);
        for (unsigned i = 0; i < p->places; i++) {
            if (p->endpoint[i] != ROUTE_HOLE && (used >> i & 1u) == 0) {
                p->endpoint[i] = ROUTE_HOLE;
                p->id[i] = 0;
                left(arg, partition, i);
            }
        }
        while (p->places != 0 && p->endpoint[p->places - 1] == ROUTE_HOLE) {
            p->places--;
        }
    }
    cluster_map_drop(old);
    for (unsigned e = 0; e < shard_endpoint_count(pool); e++) {
        if (!is_used(r, e)) {
            shard_endpoint_close(pool, e);
        }
    }
}

void route_deinit(struct route *r)
{
    cluster_map_drop(r->map);
    mem_free(r->partition);
    r->map = NULL;
    r->partition = NULL;
}

#define TAG_COUNT (1u << ROUTE_TAG_BITS)

unsigned route_tag(const struct route *r, unsigned partition, unsigned place)
{
    uint32_t id = r->partition[partition].id[place];
    return id != 0 ? id % TAG_COUNT : place;
}

int route_tagged(const struct route *r, unsigned partition, unsigned tag)
{
    const struct route_partition *p = &r->partition[partition];
    for (unsigned i = 0; i < p->places; i++) {
        if (p->endpoint[i] != ROUTE_HOLE && route_tag(r, partition, i) == tag) {
            return (int)i;
        }
    }
    return -1;
}

bool route_moved(const struct route *r, struct span words, unsigned *slot, unsigned *partition,
                 unsigned *endpoint)
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
        if (strcmp(node->host, host) == 0 && port >= node->port && port < node->port + r->workers) {
            const struct route_partition *p = NULL;
            *slot = (unsigned)n;
            *partition = node->shard * r->workers + (unsigned)(port - node->port);
            p = &r->partition[*partition];
            unsigned at_shard = i - r->map->shards[node->shard].first_node;
            if (at_shard >= p->live) {
                return false;
            }
            *endpoint = p->endpoint[p->order[at_shard]];
            return true;
        }
    }
    return false;
}
