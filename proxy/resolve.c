/* The thread that looks up node names. */
#include "proxy/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"
#include "proxy/proxy.h"

#define PAUSE_S 2
#define NS_PER_S 1000000000u

struct resolver {
    struct server *sv;
    struct cluster_map *map;
    pthread_t thread;
    pthread_mutex_t lock; /* guards stop */
    pthread_cond_t wake;
    bool stop;
    char (*address)[ROUTE_ADDRESS_MAX]; /* of each node, as last found */
};

/* What a worker is told. */
struct moved {
    struct worker *w;
    uint32_t node;
    char address[ROUTE_ADDRESS_MAX];
};

static void on_moved(void *arg)
{
    struct moved *m = arg;
    const struct proxy_worker *pw = m->w->data;
    if (pw != NULL) {
        const struct cluster_map *map = pw->route->map;
        for (uint32_t w = 0; w < map->workers; w++) {
            shard_endpoint_move(pw->pool, m->node * map->workers + w, m->address,
                                (uint16_t)(map->nodes[m->node].port + w));
        }
    }
    mem_free(m);
}

static bool is_numeric(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static void look_up(struct resolver *r, uint32_t node)
{
    char address[ROUTE_ADDRESS_MAX];
    const char *host = r->map->nodes[node].host;
    if (is_numeric(host) || !route_resolve(host, address) ||
        strcmp(address, r->address[node]) == 0) {
        return;
    }
    if (r->address[node][0] != '\0') {
        log_notice("node %s has moved from %s to %s", host, r->address[node], address);
    }
    memcpy(r->address[node], address, sizeof address);
    for (unsigned i = 0; i < server_workers(r->sv); i++) {
        struct moved *m = mem_zalloc(sizeof *m);
        m->w = server_worker(r->sv, i);
        m->node = node;
        memcpy(m->address, address, sizeof address);
        loop_post(m->w->loop, on_moved, m);
    }
}

static void *run(void *arg)
{
    struct resolver *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        uint64_t now_ns = clk_mono_ns();
        struct timespec until = {.tv_sec = (time_t)(now_ns / NS_PER_S) + PAUSE_S,
                                 .tv_nsec = (long)(now_ns % NS_PER_S)};
        if (pthread_cond_timedwait(&r->wake, &r->lock, &until) != ETIMEDOUT) {
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        for (uint32_t i = 0; i < r->map->node_count; i++) {
            look_up(r, i);
        }
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

struct resolver *resolver_start(struct server *sv, struct cluster_map *map)
{
    bool names = false;
    for (uint32_t i = 0; i < map->node_count; i++) {
        names |= !is_numeric(map->nodes[i].host);
    }
    if (!names) {
        return NULL;
    }
    struct resolver *r = mem_zalloc(sizeof *r);
    r->sv = sv;
    r->map = cluster_map_hold(map);
    r->address = mem_zalloc(map->node_count * sizeof *r->address);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    must(pthread_create(&r->thread, NULL, run, r) == 0);
    return r;
}

void resolver_stop(struct resolver *r)
{
    if (r == NULL) {
        return;
    }
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    cluster_map_drop(r->map);
    mem_free(r->address);
    mem_free(r);
}
