/* One end of a transport connection under test. */
#include "tests/lib/transport_node.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"

#define BIG (200u * 1024u)

size_t stream_size(unsigned sizes, uint64_t number)
{
    uint64_t r = number * 0x9e3779b97f4a7c15u;
    r ^= r >> 29;
    switch (sizes) {
    case SIZES_SMALL:
        return 16 + r % 48;
    case SIZES_LARGE:
        return 30000 + r % 40000;
    default:
        break;
    }
    /* most are small, some are empty, some around a slab, some 64 KiB */
    switch (r % 64) {
    case 0:
        return 0;
    case 1:
        return 65536;
    case 2:
    case 3:
        return 16384 - 40 + (r >> 8) % 80;
    case 4:
        return (r >> 8) % 65536;
    default:
        return (r >> 8) % 300;
    }
}

/* Bytes of a message, by words: cheap enough for an emulated processor. */
static uint64_t stream_word(uint64_t number, size_t index)
{
    return (number + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)index * 0xc2b2ae3d27d4eb4fu;
}

static void stream_fill(uint64_t number, unsigned char *p, size_t len)
{
    for (size_t i = 0; i * 8 < len; i++) {
        uint64_t word = stream_word(number, i);
        memcpy(p + i * 8, &word, len - i * 8 < 8 ? len - i * 8 : 8);
    }
}

static bool stream_matches(uint64_t number, const unsigned char *p, size_t len)
{
    uint64_t wrong = 0;
    size_t i = 0;
    for (; (i + 1) * 8 <= len; i++) {
        uint64_t word = 0;
        memcpy(&word, p + i * 8, 8);
        wrong |= word ^ stream_word(number, i);
    }
    uint64_t word = stream_word(number, i);
    return wrong == 0 && (len == i * 8 || memcmp(p + i * 8, &word, len - i * 8) == 0);
}

static void on_connected(void *arg, uint32_t peer, uint64_t conn, uint64_t epoch)
{
    struct node *n = arg;
    if (peer == n->peer) {
        n->connected++;
        n->bad += conn <= n->conn;
        n->conn = conn;
        n->peer_epoch = epoch;
        n->received = 0; /* streams start again with every connection */
        n->sent = 0;
    }
}

static bool is_expected(const struct node *n, const unsigned char *p, size_t len)
{
    return len == stream_size(n->sizes, n->received) && stream_matches(n->received, p, len);
}

static void on_message(void *arg, uint32_t peer, const void *bytes, size_t len)
{
    struct node *n = arg;
    if (!n->free_form && (peer != n->peer || !is_expected(n, bytes, len))) {
        n->bad++;
    }
    n->received++;
    n->received_bytes += len;
    if (n->remove_after != 0 && n->received == n->remove_after) {
        transport_remove_peer(n->t, n->peer);
    }
}

static void on_disconnected(void *arg, uint32_t peer, uint64_t conn, const char *reason)
{
    struct node *n = arg;
    (void)reason;
    if (peer == n->peer) {
        n->disconnected++;
        n->bad += conn != n->conn;
    }
}

static void on_writable(void *arg, uint32_t peer)
{
    struct node *n = arg;
    n->writable += peer == n->peer;
}

static const struct transport_events events = {on_connected, on_message, on_disconnected,
                                               on_writable};

void node_open(struct node *n, const struct node_spec *spec)
{
    static uint16_t mem_port = 1;
    *n = (struct node){.loop = spec->loop, .id = spec->id, .peer = spec->peer};
    struct transport_options o = spec->with;
    o.kind = spec->env->kind;
    o.loop = spec->loop;
    o.host = spec->env->host;
    o.calls = spec->env->calls;
    o.slab_bytes = o.slab_bytes != 0 ? o.slab_bytes : (uint32_t)spec->env->slab_bytes;
    o.busy_poll_us = o.busy_poll_us != 0 ? o.busy_poll_us : spec->env->busy_poll_us;
    o.net = spec->net;
    o.port = spec->port != 0 || o.kind != TRANSPORT_MEM ? spec->port : mem_port++;
    o.self.cluster = o.self.cluster != NULL ? o.self.cluster : "test";
    o.self.group = o.self.group != NULL ? o.self.group : "g";
    o.self.member = spec->id;
    o.self.epoch = o.self.epoch != 0 ? o.self.epoch : 100 + spec->id;
    o.events = &events;
    o.arg = n;
    struct errmsg why = {""};
    enum err e = transport_new(&o, &n->t, &why);
    if (e != OK) {
        fprintf(stderr, "transport_new: %s: %s\n", err_name(e), why.text);
    }
    must(e == OK);
}

void node_close(struct node *n)
{
    transport_free(n->t);
    n->t = NULL;
}

void node_meet(struct node *n, const struct node_spec *spec, uint32_t member, uint16_t port)
{
    struct transport_peer p = {.member = member, .host = spec->env->host, .port = port};
    must(transport_add_peer(n->t, &p) == OK);
}

enum err node_send(struct node *n)
{
    static _Thread_local unsigned char bytes[BIG];
    size_t len = stream_size(n->sizes, n->sent);
    stream_fill(n->sent, bytes, len);
    /* in two parts, so that gathering is exercised too */
    struct span parts[2] = {span_of((const char *)bytes, len / 3),
                            span_of((const char *)bytes + len / 3, len - len / 3)};
    enum err e = transport_sendv(n->t, n->peer, 0, parts, 2);
    n->sent += e == OK;
    return e;
}

/* ---- running a loop for a while ---- */
struct wait {
    struct loop *loop;
    struct loop_timer *timer;
    bool (*cond)(void *);
    void *arg;
    uint64_t until_ns;
    bool met;
};

static void look(void *arg)
{
    struct wait *w = arg;
    w->met = w->cond != NULL && w->cond(w->arg);
    if (w->met || clk_mono_ns() >= w->until_ns) {
        loop_stop(w->loop);
    } else {
        loop_timer_start(w->timer, 200);
    }
}

bool run_until(struct loop *l, bool (*cond)(void *), void *arg, unsigned ms)
{
    struct wait w = {
        .loop = l, .cond = cond, .arg = arg, .until_ns = clk_mono_ns() + (uint64_t)ms * 1000000u};
    w.timer = loop_timer_new(l, look, &w);
    loop_timer_start(w.timer, 0);
    loop_run(l);
    loop_timer_free(w.timer);
    return w.met;
}

void run_for(struct loop *l, unsigned ms)
{
    (void)run_until(l, NULL, NULL, ms);
}
