/* The links of one proxy worker: endpoints, appending requests, waiting for room, timeouts. */
#include <stdio.h>
#include <string.h>

#include "backends/shard/link.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"

#define TICK_US 50000u

static void on_tick(void *arg)
{
    struct shard_pool *p = arg;
    p->ticking = false;
    uint64_t now = clk_mono_ns();
    for (unsigned i = 0; i < p->count; i++) {
        for (int k = 0; k < LINKS; k++) {
            if (p->ep[i]->link[k] != NULL) {
                link_tick(p->ep[i]->link[k], now);
            }
        }
    }
    if (p->open != 0) {
        p->ticking = true;
        loop_timer_start(p->ticker, TICK_US);
    }
}

/* Wakes those who wait for links that have room again. */
static void on_wake(struct loop_task *task)
{
    struct shard_pool *p =
        (struct shard_pool *)(void *)((char *)task - offsetof(struct shard_pool, wake));
    for (unsigned i = 0; i < p->count; i++) {
        for (int k = 0; k < LINKS; k++) {
            struct shard_link *l = p->ep[i]->link[k];
            if (l == NULL || buf_used(&l->log) > p->o.link_bytes_max / 2) {
                continue;
            }
            struct shard_waiter *w = l->waiters;
            l->waiters = NULL;
            for (struct shard_waiter *x = w; x != NULL; x = x->next) {
                x->link = NULL;
            }
            while (w != NULL) {
                struct shard_waiter *next = w->next;
                w->fn(w);
                w = next;
            }
        }
    }
}

static char *copy_or_null(const char *s)
{
    return s == NULL || s[0] == '\0' ? NULL : mem_strdup(s);
}

void shard_pool_options(struct shard_pool *p, const struct shard_options *o)
{
    char *user = copy_or_null(o->user);
    char *password = copy_or_null(o->password);
    mem_free(p->user);
    mem_free(p->password);
    p->o = *o;
    p->o.user = p->user = user;
    p->o.password = p->password = password;
}

struct shard_pool *shard_pool_new(struct loop *l, const struct shard_options *o, shard_done_fn done)
{
    struct shard_pool *p = mem_zalloc(sizeof *p);
    p->loop = l;
    p->done = done;
    p->wake.fn = on_wake;
    p->ticker = loop_timer_new(l, on_tick, p);
    p->scratch = mem_alloc(LINK_READ_BYTES);
    p->now_ns = clk_mono_ns();
    shard_pool_options(p, o);
    return p;
}

void shard_pool_free(struct shard_pool *p)
{
    if (p == NULL) {
        return;
    }
    for (unsigned i = 0; i < p->count; i++) {
        for (int k = 0; k < LINKS; k++) {
            link_free(p->ep[i]->link[k]);
        }
        mem_free(p->ep[i]);
    }
    loop_defer_cancel(p->loop, &p->wake);
    loop_timer_free(p->ticker);
    mem_free(p->ep);
    mem_free(p->user);
    mem_free(p->password);
    mem_free(p->scratch);
    mem_free(p);
}

unsigned shard_endpoint_add(struct shard_pool *p, const char *host, const char *address,
                            uint16_t port)
{
    struct endpoint *ep = mem_zalloc(sizeof *ep);
    ep->index = p->count;
    ep->port = port;
    snprintf(ep->host, sizeof ep->host, "%s", host);
    snprintf(ep->address, sizeof ep->address, "%s", address);
    p->ep = mem_realloc(p->ep, (p->count + 1) * sizeof(struct endpoint *));
    p->ep[p->count] = ep;
    return p->count++;
}

unsigned shard_endpoint_count(const struct shard_pool *p)
{
    return p->count;
}

unsigned shard_endpoint_find(const struct shard_pool *p, const char *host, uint16_t port)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (p->ep[i]->port == port && strcmp(p->ep[i]->host, host) == 0) {
            return i;
        }
    }
    return SHARD_NO_ENDPOINT;
}

void shard_endpoint_close(struct shard_pool *p, unsigned endpoint)
{
    must(endpoint < p->count);
    struct endpoint *ep = p->ep[endpoint];
    ep->closed = true;
    for (int k = 0; k < LINKS; k++) {
        struct shard_link *l = ep->link[k];
        if (l != NULL) {
            ep->link[k] = NULL;
            link_close(l, "the node has left the cluster");
        }
    }
}

void shard_endpoint_open(struct shard_pool *p, unsigned endpoint)
{
    must(endpoint < p->count);
    p->ep[endpoint]->closed = false;
}

bool shard_endpoint_is_open(const struct shard_pool *p, unsigned endpoint)
{
    must(endpoint < p->count);
    return !p->ep[endpoint]->closed;
}

const char *shard_endpoint_host(const struct shard_pool *p, unsigned endpoint)
{
    must(endpoint < p->count);
    return p->ep[endpoint]->host;
}

void shard_endpoint_move(struct shard_pool *p, unsigned endpoint, const char *address,
                         uint16_t port)
{
    must(endpoint < p->count);
    struct endpoint *ep = p->ep[endpoint];
    if (ep->port == port && strcmp(ep->address, address) == 0) {
        return;
    }
    ep->port = port;
    snprintf(ep->address, sizeof ep->address, "%s", address);
    for (int k = 0; k < LINKS; k++) {
        struct shard_link *l = ep->link[k];
        if (l != NULL && l->state == LINK_UP) {
            shard_link_lost(l, "the node moved", true);
        }
    }
}

void shard_now(struct shard_pool *p, uint64_t now_ns)
{
    p->now_ns = now_ns;
}

uint64_t shard_now_get(const struct shard_pool *p)
{
    return p->now_ns;
}

struct shard_link *shard_link_on(struct shard_pool *p, unsigned endpoint, uint8_t proto,
                                 enum shard_channel channel)
{
    must_slow(endpoint < p->count && (proto == 2 || proto == 3));
    struct endpoint *ep = p->ep[endpoint];
    must_slow(!ep->closed);
    struct shard_link **at = &ep->link[(unsigned)channel * 2 + proto - 2];
    if (__builtin_expect(*at == NULL, 0)) {
        *at = link_new(p, ep, proto, channel);
        link_connect(*at);
    }
    return *at;
}

struct shard_link *shard_link(struct shard_pool *p, unsigned endpoint, uint8_t proto)
{
    return shard_link_on(p, endpoint, proto, SHARD_ANY);
}

enum shard_health shard_health(const struct shard_link *l)
{
    if (l->state != LINK_UP) {
        return l->state == LINK_DOWN ? SHARD_AWAY : SHARD_COMING;
    }
    uint64_t stall_ns = l->pool->o.stall_ms * 1000000u;
    if (l->first == NULL || stall_ns == 0) {
        return SHARD_GOOD;
    }
    uint64_t since = link_waits_since(l);
    uint64_t now = l->pool->now_ns;
    return now > since && now - since > stall_ns ? SHARD_SLOW : SHARD_GOOD;
}

const char *shard_down(const struct shard_link *l)
{
    return l->state == LINK_DOWN ? l->reason : NULL;
}

bool shard_full(const struct shard_link *l)
{
    return buf_used(&l->log) > l->pool->o.link_bytes_max;
}

struct buf *shard_begin(struct shard_link *l)
{
    l->mark = buf_used(&l->log);
    return &l->log;
}

void shard_abort(struct shard_link *l)
{
    l->log.len -= buf_used(&l->log) - l->mark;
}

void shard_commit(struct shard_link *l, struct shard_req *r, unsigned flags)
{
    struct shard_pool *p = l->pool;
    must_slow(l->state != LINK_DOWN);
    r->next = NULL;
    r->bytes = buf_used(&l->log) - l->mark;
    r->sent_ns = p->now_ns;
    r->flags = (uint8_t)flags;
    if (l->first == NULL) {
        l->wait_ns = p->now_ns;
    }
    *l->last = r;
    l->last = &r->next;
    l->ep->stats.requests++;
    if (!l->flush.queued && l->state == LINK_UP) {
        loop_defer(p->loop, &l->flush);
    }
    if (p->open++ == 0 && !p->ticking) {
        p->ticking = true;
        loop_timer_start(p->ticker, TICK_US);
    }
}

void shard_send_again(struct shard_link *l, struct shard_req *r, struct span request)
{
    uint64_t since = r->sent_ns;
    struct buf *b = shard_begin(l);
    if (b->p != NULL && request.p >= b->p && request.p < b->p + b->cap) { /* of this very link */
        size_t at = (size_t)(request.p - buf_head(b));
        char *room = buf_reserve(b, request.len);
        memcpy(room, buf_head(b) + at, request.len);
        buf_commit(b, request.len);
    } else {
        buf_add(b, request.p, request.len);
    }
    shard_commit(l, r, r->flags & SHARD_WRITE);
    r->sent_ns = since;
}

void shard_wait(struct shard_link *l, struct shard_waiter *w)
{
    must(w->link == NULL);
    w->link = l;
    w->next = l->waiters;
    l->waiters = w;
}

void shard_wait_cancel(struct shard_waiter *w)
{
    if (w->link == NULL) {
        return;
    }
    for (struct shard_waiter **at = &w->link->waiters; *at != NULL; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            break;
        }
    }
    w->link = NULL;
}

void shard_endpoint_stats(const struct shard_pool *p, unsigned endpoint, struct shard_stats *out)
{
    must(endpoint < p->count);
    const struct endpoint *ep = p->ep[endpoint];
    *out = ep->stats;
    out->open = out->log_bytes = 0;
    bool used = false;
    bool up = false;
    for (int k = 0; k < LINKS; k++) {
        const struct shard_link *l = ep->link[k];
        if (l == NULL) {
            continue;
        }
        used = true;
        up |= l->state == LINK_UP;
        out->log_bytes += buf_used(&l->log);
        for (const struct shard_req *r = l->first; r != NULL; r = r->next) {
            out->open++;
        }
    }
    out->up = !ep->closed && (up || !used);
}

const char *shard_endpoint_address(const struct shard_pool *p, unsigned endpoint, uint16_t *port)
{
    must(endpoint < p->count);
    *port = p->ep[endpoint]->port;
    return p->ep[endpoint]->address;
}

void shard_stats_reset(struct shard_pool *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        p->ep[i]->stats = (struct shard_stats){0};
    }
}
