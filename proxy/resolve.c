/* The thread that looks up node names. */
#include "proxy/resolve.h"

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

struct name {
    char host[CLUSTER_HOST_MAX];
    char address[ROUTE_ADDRESS_MAX]; /* as last found; "": not yet */
};

struct resolver {
    struct server *sv;
    pthread_t thread;
    pthread_mutex_t lock; /* guards stop, map */
    pthread_cond_t wake;
    bool stop;
    struct cluster_map *map; /* the newest */
    /* the thread's own: */
    struct name *names;
    size_t count;
    uint64_t version; /* of the map looked up last */
};

/* What a worker is told. */
struct moved {
    struct worker *w;
    struct name name;
};

static void on_moved(void *arg)
{
    struct moved *m = arg;
    const struct proxy_worker *pw = m->w->data;
    for (unsigned e = 0; pw != NULL && e < shard_endpoint_count(pw->pool); e++) {
        uint16_t port = 0;
        shard_endpoint_address(pw->pool, e, &port);
        if (strcmp(shard_endpoint_host(pw->pool, e), m->name.host) == 0) {
            shard_endpoint_move(pw->pool, e, m->name.address, port);
        }
    }
    mem_free(m);
}

/* fresh: endpoints may have come that were never told. */
static void look_up(struct resolver *r, struct name *n, bool fresh)
{
    char address[ROUTE_ADDRESS_MAX];
    if (!route_resolve(n->host, address) || (strcmp(address, n->address) == 0 && !fresh)) {
        return;
    }
    if (n->address[0] != '\0' && strcmp(address, n->address) != 0) {
        log_notice("node %s has moved from %s to %s", n->host, n->address, address);
    }
    memcpy(n->address, address, sizeof address);
    for (unsigned i = 0; i < server_workers(r->sv); i++) {
        struct moved *m = mem_zalloc(sizeof *m);
        m->w = server_worker(r->sv, i);
        m->name = *n;
        loop_post(m->w->loop, on_moved, m);
    }
}

/* Looks up each name of the map once. */
static void look_up_all(struct resolver *r, const struct cluster_map *map)
{
    size_t count = 0;
    bool fresh = map->version != r->version;
    r->version = map->version;
    struct name *names = mem_zalloc((map->node_count + 1u) * sizeof *names);
    for (uint32_t i = 0; i < map->node_count; i++) {
        const char *host = map->nodes[i].host;
        bool known = route_is_numeric(host);
        for (size_t k = 0; k < count && !known; k++) {
            known = strcmp(names[k].host, host) == 0;
        }
        if (known) {
            continue;
        }
        struct name *n = &names[count++];
        snprintf(n->host, sizeof n->host, "%s", host);
        for (size_t k = 0; k < r->count; k++) {
            if (strcmp(r->names[k].host, host) == 0) {
                *n = r->names[k];
            }
        }
        look_up(r, n, fresh);
    }
    mem_free(r->names);
    r->names = names;
    r->count = count;
}

static void *run(void *arg)
{
    struct resolver *r = arg;
    bool changed = false;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        uint64_t now_ns = clk_mono_ns();
        struct timespec until = {.tv_sec = (time_t)(now_ns / NS_PER_S) + PAUSE_S,
                                 .tv_nsec = (long)(now_ns % NS_PER_S)};
        const struct cluster_map *seen = r->map;
        if (!changed && pthread_cond_timedwait(&r->wake, &r->lock, &until) != ETIMEDOUT &&
            r->map == seen) {
            continue;
        }
        struct cluster_map *map = cluster_map_hold(r->map);
        pthread_mutex_unlock(&r->lock);
        look_up_all(r, map);
        pthread_mutex_lock(&r->lock);
        changed = map != r->map;
        cluster_map_drop(map);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

struct resolver *resolver_start(struct server *sv, struct cluster_map *map, bool changes)
{
    bool names = changes;
    for (uint32_t i = 0; i < map->node_count; i++) {
        names |= !route_is_numeric(map->nodes[i].host);
    }
    if (!names) {
        return NULL;
    }
    struct resolver *r = mem_zalloc(sizeof *r);
    r->sv = sv;
    r->map = cluster_map_hold(map);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    must(pthread_create(&r->thread, NULL, run, r) == 0);
    return r;
}

void resolver_follow(struct resolver *r, struct cluster_map *map)
{
    if (r == NULL) {
        return;
    }
    pthread_mutex_lock(&r->lock);
    struct cluster_map *old = r->map;
    r->map = cluster_map_hold(map);
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    cluster_map_drop(old);
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
    mem_free(r->names);
    mem_free(r);
}
