/* The metrics port: a few GETs over HTTP by libevent's evhttp, on a base of its own in a thread of
 * its own, so that a scrape never delays a worker. What it shows comes from the registry (any
 * thread may read) and from counters that are atomic. */
#include "backends/server/http.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/thread.h>
#include <pthread.h>
#include <string.h>

#include "backends/server/internal.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "common/must.h"

struct http {
    struct server *sv;
    struct event_base *base;
    struct evhttp *server;
    pthread_t thread;
};

static void answer(struct evhttp_request *req, int code, const char *type, const char *text,
                   size_t len)
{
    struct evbuffer *body = evbuffer_new();
    must(body != NULL);
    (void)evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", type);
    (void)evbuffer_add(body, text, len);
    evhttp_send_reply(req, code, NULL, body);
    evbuffer_free(body);
}

static void on_metrics(struct evhttp_request *req, void *arg)
{
    struct http *h = arg;
    struct mem_stats m;
    struct buf out = {0};
    mem_stats(&m);
    metrics_prometheus(h->sv->metrics, &out);
    buf_addf(&out,
             "# HELP halcyon_up 1 while the process runs.\n# TYPE halcyon_up gauge\nhalcyon_up 1\n"
             "# HELP halcyon_memory_bytes Memory of the process.\n"
             "# TYPE halcyon_memory_bytes gauge\n"
             "halcyon_memory_bytes{kind=\"allocated\"} %llu\n"
             "halcyon_memory_bytes{kind=\"resident\"} %llu\n"
             "# HELP halcyon_uptime_seconds Age of the process.\n"
             "# TYPE halcyon_uptime_seconds gauge\nhalcyon_uptime_seconds %llu\n",
             (unsigned long long)m.allocated, (unsigned long long)m.rss,
             (unsigned long long)((clk_mono_ns() - h->sv->start_mono_ns) / 1000000000u));
    answer(req, HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", buf_head(&out),
           buf_used(&out));
    buf_free(&out);
}

static void on_healthz(struct evhttp_request *req, void *arg)
{
    (void)arg;
    answer(req, HTTP_OK, "text/plain", "ok\n", 3);
}

static void on_readyz(struct evhttp_request *req, void *arg)
{
    struct http *h = arg;
    struct errmsg why = {"not ready"};
    const struct server_ops *ops = h->sv->ops;
    if (atomic_load(&h->sv->draining) || atomic_load(&h->sv->stopping)) {
        answer(req, HTTP_SERVUNAVAIL, "text/plain", "stopping\n", 9);
    } else if (ops->ready != NULL && !ops->ready(h->sv, &why)) {
        struct buf out = {0};
        buf_addf(&out, "%s\n", why.text);
        answer(req, HTTP_SERVUNAVAIL, "text/plain", buf_head(&out), buf_used(&out));
        buf_free(&out);
    } else {
        answer(req, HTTP_OK, "text/plain", "ok\n", 3);
    }
}

static void *run(void *arg)
{
    struct http *h = arg;
    (void)event_base_loop(h->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

enum err http_open(struct server *sv, const char *address, uint16_t port, struct errmsg *why)
{
    (void)evthread_use_pthreads();
    struct http *h = mem_zalloc(sizeof *h);
    h->sv = sv;
    h->base = event_base_new();
    h->server = h->base == NULL ? NULL : evhttp_new(h->base);
    if (h->server == NULL || evhttp_bind_socket(h->server, address, port) != 0) {
        if (h->server != NULL) {
            evhttp_free(h->server);
        }
        if (h->base != NULL) {
            event_base_free(h->base);
        }
        mem_free(h);
        return errmsg_set(why, ERR_IO, "metrics-port: cannot listen on %s:%u", address, port);
    }
    evhttp_set_allowed_methods(h->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(h->server, 16384);
    evhttp_set_max_body_size(h->server, 0);
    evhttp_set_timeout(h->server, 10);
    must(evhttp_set_cb(h->server, "/metrics", on_metrics, h) == 0);
    must(evhttp_set_cb(h->server, "/healthz", on_healthz, h) == 0);
    must(evhttp_set_cb(h->server, "/readyz", on_readyz, h) == 0);
    must(pthread_create(&h->thread, NULL, run, h) == 0);
    sv->http = h;
    return OK;
}

void http_close(struct server *sv)
{
    struct http *h = sv->http;
    if (h == NULL) {
        return;
    }
    (void)event_base_loopbreak(h->base);
    (void)pthread_join(h->thread, NULL);
    evhttp_free(h->server);
    event_base_free(h->base);
    mem_free(h);
    sv->http = NULL;
}
