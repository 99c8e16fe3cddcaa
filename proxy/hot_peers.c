/* The other proxies: worker i of each talks to worker i of this one. Frames are those of
 * coherence/gmsg.h, and one of the driver's own: an operator's wish for a key, on its way to the
 * coordinator. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"
#include "proxy/hot_private.h"
#include "rdma/transport_metrics.h"

#define FRAME_WANT 0xB1u /* then enum hotset_want (1 byte) and the inner key */
#define HELD_MAX 4096u

/* ---- lists of frames ---- */

void hot_frames_add(struct hot_frames *list, uint32_t from, const void *bytes, size_t len)
{
    struct hot_frame *f = mem_alloc(sizeof *f + len);
    *f = (struct hot_frame){.from = from, .len = (uint32_t)len};
    memcpy(f->bytes, bytes, len);
    *list->last = f;
    list->last = &f->next;
    list->count++;
}

struct hot_frame *hot_frames_take(struct hot_frames *list)
{
    struct hot_frame *f = list->first;
    if (f != NULL) {
        list->first = f->next;
        list->last = f->next == NULL ? &list->first : list->last;
        list->count--;
    }
    return f;
}

void hot_frames_free(struct hot_frames *list)
{
    struct hot_frame *f;
    while ((f = hot_frames_take(list)) != NULL) {
        mem_free(f);
    }
}

/* ---- who does not answer (G10) ---- */

#define TICK_US 50000u
#define TICK_LATE_NS 50000000u /* then what the others sent lies unread: nobody is blamed */
#define BLAME_NS 100000000u

static unsigned place_of(const struct hot_worker *hw, uint32_t id)
{
    unsigned i = 0;
    while (i < hw->group.peer_count && hw->group.peers[i].id != id) {
        i++;
    }
    return i;
}

static void note_asked(struct hot_worker *hw, uint32_t id)
{
    unsigned i = place_of(hw, id);
    if (i < hw->group.peer_count && hw->asked_ns[i] == 0) {
        hw->asked_ns[i] = hw->now_ns;
    }
}

static void note_heard(struct hot_worker *hw, uint32_t id)
{
    unsigned i = place_of(hw, id);
    if (i < hw->group.peer_count) {
        hw->asked_ns[i] = 0;
    }
}

static void on_tick(void *arg)
{
    struct hot_worker *hw = arg;
    uint64_t now = clk_boot_ns();
    uint32_t blames = 0;
    uint64_t oldest = UINT64_MAX;
    for (unsigned i = 0; i < hw->group.peer_count; i++) {
        if (hw->asked_ns[i] != 0 && now > hw->tick_ns + TICK_LATE_NS) {
            hw->asked_ns[i] = now;
        }
        if (hw->asked_ns[i] != 0 && now - hw->asked_ns[i] > BLAME_NS && hw->asked_ns[i] < oldest) {
            oldest = hw->asked_ns[i];
            blames = hw->group.peers[i].id;
        }
    }
    /* relaxed: worker 0 is told by a post, which orders it */
    if (atomic_exchange_explicit(&hw->blames, blames, memory_order_relaxed) != 0 || blames != 0) {
        hot_member_blame(hw);
    }
    hw->tick_ns = now + TICK_US * 1000ull;
    loop_timer_start(hw->tick, TICK_US);
}

/* ---- sending ---- */

static void send_frame(struct hot_worker *hw, uint32_t to, unsigned flags, struct span frame)
{
    if (to == hw->id) {
        hot_frames_add(&hw->self, to, frame.p, frame.len);
        loop_defer(hw->pw->w->loop, &hw->retime); /* handled there at the latest */
    } else if (transport_send(hw->transport, to, flags, frame.p, frame.len) == OK) {
        hw->stats.messages_out++; /* else as if lost: the core sends again */
    }
}

void hot_peers_send(struct hot_worker *hw, const struct view *v, uint32_t to_mask,
                    const struct gmsg *m)
{
    struct span key = hot_ref_span(m->key.ref);
    struct span payload = hot_ref_span(m->payload);
    struct msg_bytes b = {.key = (const uint8_t *)key.p,
                          .key_len = (uint32_t)key.len,
                          .payload = (const uint8_t *)payload.p,
                          .payload_len = (uint32_t)payload.len};
    size_t size = gmsg_size(m->kind, &b);
    buf_consume(&hw->frame, buf_used(&hw->frame));
    uint8_t *at = (uint8_t *)buf_reserve(&hw->frame, size);
    size_t len = gmsg_encode(m, &b, at, size);
    unsigned flags = m->kind == GMSG_ACK ? TRANSPORT_ACK : 0;
    bool asks = m->kind == GMSG_INV || m->kind == GMSG_PREP || m->kind == GMSG_DRAIN;
    for (unsigned i = 0; i < view_count(v); i++) {
        if ((to_mask >> i & 1) != 0) {
            if (asks && v->ids[i] != hw->id) {
                note_asked(hw, v->ids[i]);
            }
            send_frame(hw, v->ids[i], flags, span_of((const char *)at, len));
        }
    }
}

/* ---- receiving ---- */

static void on_want(struct hot_worker *hw, struct span bytes)
{
    struct hermes_key key;
    hot_key(hw, &key, span_of(bytes.p + 2, bytes.len - 2));
    struct hotset_in in = {.kind = HOTSET_IN_WANT};
    in.u.want.key = &key;
    in.u.want.want = (enum hotset_want)(uint8_t)bytes.p[1];
    (void)hot_hotset(hw, &in);
}

bool hot_take_frame(struct hot_worker *hw, uint32_t from, struct span bytes)
{
    struct gmsg m;
    struct msg_bytes b;
    if (hw->galene == NULL) {
        return true;
    }
    if (bytes.len > 2 && (uint8_t)bytes.p[0] == FRAME_WANT) {
        if ((uint8_t)bytes.p[1] > HOTSET_WANT_PIN) {
            return false;
        }
        on_want(hw, bytes);
        return true;
    }
    if (gmsg_decode((const uint8_t *)bytes.p, bytes.len, &m, &b) != OK || m.sender != from) {
        return false;
    }
    if (b.key_len != 0) {
        hot_key(hw, &m.key, span_of((const char *)b.key, b.key_len));
    }
    if (m.kind == GMSG_DONE || m.kind == GMSG_FILL) { /* a value may be empty */
        m.payload = hot_ref(hot_blob_new(hw, b.payload, b.payload_len));
    }
    enum err e = OK;
    switch (gmsg_for(m.kind)) {
    case GMSG_TO_GALENE: {
        struct galene_in in = {.kind = GALENE_IN_MSG, .u.msg = &m};
        e = hot_galene(hw, &in);
        break;
    }
    case GMSG_TO_HOTSET: {
        struct hotset_in in = {.kind = HOTSET_IN_MSG, .u.msg = &m};
        e = hot_hotset(hw, &in);
        break;
    }
    case GMSG_TO_DRIVER:
        hot_take_counts(hw, from, span_of((const char *)b.payload, b.payload_len));
        break;
    }
    if (e == ERR_AGAIN && hw->held.count < HELD_MAX) {
        hot_frames_add(&hw->held, from, bytes.p, bytes.len);
    }
    return true;
}

void hot_peers_release(struct hot_worker *hw)
{
    struct hot_frames held = hw->held;
    if (held.first == NULL) {
        return;
    }
    hw->held = (struct hot_frames){.last = &hw->held.first};
    struct hot_frame *f;
    while ((f = hot_frames_take(&held)) != NULL) {
        (void)hot_take_frame(hw, f->from, span_of(f->bytes, f->len));
        mem_free(f);
    }
    hot_settle(hw);
}

static void on_connected(void *arg, uint32_t peer, uint64_t conn, uint64_t peer_epoch)
{
    struct hot_worker *hw = arg;
    log_notice("Connected to proxy %u (worker %u, connection %llu, epoch %llu)", peer, hw->index,
               (unsigned long long)conn, (unsigned long long)peer_epoch);
    if (hw->galene != NULL) {
        struct galene_in in = {.kind = GALENE_IN_PEER, .u.peer = peer};
        (void)hot_galene(hw, &in);
        hot_settle(hw);
    }
}

static void on_message(void *arg, uint32_t peer, const void *bytes, size_t len)
{
    struct hot_worker *hw = arg;
    hw->stats.messages_in++;
    note_heard(hw, peer);
    if (!hot_take_frame(hw, peer, span_of(bytes, len))) {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_warning("A malformed message of proxy %u was dropped", peer);
        }
    }
    hot_settle(hw);
}

static void on_disconnected(void *arg, uint32_t peer, uint64_t conn, const char *reason)
{
    struct hot_worker *hw = arg;
    log_notice("Lost proxy %u (worker %u, connection %llu): %s", peer, hw->index,
               (unsigned long long)conn, reason);
}

static const struct transport_events events = {
    .connected = on_connected, .message = on_message, .disconnected = on_disconnected};

/* ---- life ---- */

static uint16_t peer_port(const struct hot_worker *hw)
{
    const struct proxy_settings *set = hw->pw->set;
    int64_t base = set->peer_port != 0 ? set->peer_port : set->server.port + 10000;
    return (uint16_t)(base + (int64_t)hw->index);
}

enum err hot_peers_open(struct hot_worker *hw, uint32_t id, struct errmsg *why)
{
    const struct proxy_settings *set = hw->pw->set;
    const char *host = set->announce_ip[0] != '\0' ? set->announce_ip
                       : set->server.bind.n != 0   ? set->server.bind.v[0]
                                                   : "";
    host += host[0] == '-';
    if (strcmp(host, "*") == 0 || strcmp(host, "::*") == 0) {
        host = "";
    }
    struct transport_options o = {.loop = hw->pw->w->loop,
                                  .self = {.cluster = set->member.cluster_name,
                                           .group = "proxies",
                                           .member = id,
                                           .worker = (uint16_t)hw->index,
                                           .epoch = 1},
                                  .host = host,
                                  .port = peer_port(hw),
                                  .events = &events,
                                  .arg = hw};
    enum err e = peer_settings_apply(&set->peer, host, &o, why);
    e = e == OK ? transport_new(&o, &hw->transport, why) : e;
    if (e == OK && hw->metrics == NULL) {
        hw->metrics = transport_metrics_new(server_metrics(hw->pw->w->server), "group=\"proxies\"");
    }
    return e;
}

void hot_peers_close(struct hot_worker *hw)
{
    transport_metrics_free(hw->metrics);
    hw->metrics = NULL;
    transport_free(hw->transport);
    hw->transport = NULL;
    hw->group.peer_count = 0;
    loop_timer_free(hw->tick);
    hw->tick = NULL;
    hot_frames_free(&hw->held);
    hot_frames_free(&hw->self);
}

static bool has(const struct hot_group *g, uint32_t id)
{
    for (unsigned i = 0; i < g->peer_count; i++) {
        if (g->peers[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Connections of those who left are destroyed before the view is installed, so before the first ACK
 * of its epoch (RELIABILITY F4). */
void hot_peers_set(struct hot_worker *hw, const struct hot_group *g)
{
    for (unsigned i = 0; i < hw->group.peer_count; i++) {
        if (!has(g, hw->group.peers[i].id)) {
            transport_remove_peer(hw->transport, hw->group.peers[i].id);
        }
    }
    hw->group = *g;
    memset(hw->asked_ns, 0, sizeof hw->asked_ns);
    if (hw->tick == NULL) {
        hw->tick = loop_timer_new(hw->pw->w->loop, on_tick, hw);
        on_tick(hw);
    }
    for (unsigned i = 0; i < g->peer_count; i++) {
        if (g->peers[i].id == hw->id) {
            continue;
        }
        struct transport_peer p = {.member = g->peers[i].id,
                                   .host = hw->group.peers[i].host,
                                   .port = (uint16_t)(g->peers[i].port + hw->index)};
        enum err e = transport_add_peer(hw->transport, &p);
        if (e != OK && e != ERR_EXISTS) {
            log_warning("proxy %u: %s", p.member, err_text(e));
        }
    }
}

void hot_want(struct hot_worker *hw, struct span key, enum hotset_want want)
{
    uint32_t to = hw->hotset != NULL ? hotset_coordinator(hw->hotset) : 0;
    if (to == 0) {
        return;
    }
    struct buf b = {0};
    char head[2] = {(char)FRAME_WANT, (char)want};
    buf_add(&b, head, sizeof head);
    buf_add(&b, key.p, key.len);
    send_frame(hw, to, 0, buf_span(&b));
    buf_free(&b);
}

#define SCAN_KEYS 64u

static void demote_all(void *arg)
{
    struct hot_worker *hw = arg;
    uint32_t cursor = 0;
    if (hw->galene == NULL || hw->stopping) {
        return;
    }
    do {
        struct hermes_key keys[SCAN_KEYS];
        uint64_t generations[SCAN_KEYS];
        size_t n = galene_scan(hw->galene, &cursor, SCAN_KEYS, keys, generations);
        for (size_t i = 0; i < n; i++) {
            hot_want(hw, hot_ref_span(keys[i].ref), HOTSET_WANT_COLD);
        }
    } while (cursor != 0);
    hot_settle(hw);
}

void hot_demote_all(void)
{
    for (unsigned i = 0; i < hot_worker_count(); i++) {
        struct hot_worker *hw = hot_worker_of(i);
        if (hw != NULL) {
            loop_post(hw->pw->w->loop, demote_all, hw);
        }
    }
}

/* ---- numbers ---- */

void hot_publish(struct proxy_worker *pw)
{
    struct hot_worker *hw = pw->hot;
    if (hw != NULL && hw->metrics != NULL && hw->transport != NULL) {
        transport_metrics_publish(hw->metrics, hw->transport);
    }
}

void hot_peers_info(const struct proxy_worker *pw, struct info_out *o)
{
    const struct hot_worker *hw = pw->hot;
    struct transport_stats s;
    if (hw == NULL || hw->transport == NULL || transport_stats(hw->transport, 0, &s) != OK) {
        return;
    }
    char line[128];
    transport_describe(hw->transport, line, sizeof line);
    info_field(o, "peer_transport", "%s", transport_kind_name(transport_kind_of(hw->transport)));
    info_field(o, "peer_address", "%s", line);
    info_field(o, "peer_connected", "%u", s.connected);
#define X(name, what) info_field(o, "peer_" #name, "%llu", (unsigned long long)s.name);
    TRANSPORT_COUNTERS(X)
#undef X
    info_field(o, "peer_queued_bytes", "%llu", (unsigned long long)s.queued_bytes);
    info_field(o, "peer_registered_bytes", "%llu", (unsigned long long)s.registered_bytes);
}
