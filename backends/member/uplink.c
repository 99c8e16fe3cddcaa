/* The caller's side of a connection to an acceptor. */
#include "backends/member/uplink.h"

#include <stdio.h>
#include <string.h>

#include "backends/member/frames.h"
#include "coherence/member_msg.h"
#include "coherence/wire.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

#define HELLO_MAGIC UINT64_C(0x48414c4d454d4201) /* the last byte is the protocol's version */
#define DIAL_US 500000u                          /* also until HELLO is answered */
#define RETRY_FIRST_US 20000u
#define RETRY_MAX_US 500000u

size_t greeting_encode(const struct greeting *h, uint8_t bytes[GREETING_MAX])
{
    struct wire_writer w = {bytes, GREETING_MAX};
    wire_put(&w, HELLO_MAGIC, 8);
    wire_put(&w, h->cluster, 8);
    wire_put(&w, h->genesis, 8);
    wire_put(&w, h->lease_ms, 4);
    wire_put(&w, h->acceptor, 1);
    wire_put_text(&w, h->cluster_name, sizeof h->cluster_name);
    return GREETING_MAX - w.left;
}

enum err greeting_decode(struct span bytes, struct greeting *out)
{
    struct wire_reader r = {(const uint8_t *)bytes.p, bytes.len, false};
    uint64_t magic = wire_take(&r, 8);
    out->cluster = wire_take(&r, 8);
    out->genesis = wire_take(&r, 8);
    out->lease_ms = (uint32_t)wire_take(&r, 4);
    out->acceptor = (uint8_t)wire_take(&r, 1);
    wire_take_text(&r, out->cluster_name, sizeof out->cluster_name);
    for (const char *p = out->cluster_name; *p != '\0'; p++) { /* it comes into the log */
        if (*p <= ' ' || *p > '~') {
            return ERR_PROTO;
        }
    }
    return r.bad || r.left != 0 || magic != HELLO_MAGIC ? ERR_PROTO : OK;
}

enum err greeting_check(const struct greeting *mine, const struct greeting *theirs,
                        struct errmsg *why)
{
    if (strcmp(mine->cluster_name, theirs->cluster_name) != 0) {
        return errmsg_set(why, ERR_CONFIG, "this acceptor is of cluster '%s', the caller of '%s'",
                          mine->cluster_name, theirs->cluster_name);
    }
    if (mine->cluster != theirs->cluster) {
        return errmsg_set(why, ERR_CONFIG,
                          "the caller has another `acceptors` line than this acceptor");
    }
    if (mine->lease_ms != theirs->lease_ms) {
        return errmsg_set(why, ERR_CONFIG,
                          "membership-lease is %u at this acceptor, %u at the caller",
                          mine->lease_ms, theirs->lease_ms);
    }
    if (theirs->acceptor != MEMBER_NO_ACCEPTOR && mine->genesis != theirs->genesis) {
        return errmsg_set(why, ERR_CONFIG,
                          "the `shard` lines of this acceptor are not those of acceptor %u",
                          theirs->acceptor + 1u);
    }
    return OK;
}

struct uplink {
    struct loop *loop;
    unsigned acceptor;
    const struct map_address *at;
    const struct greeting *mine;
    const struct uplink_ops *ops;
    void *arg;
    struct dialer *dialer;
    struct frames *frames;    /* NULL: none */
    struct loop_timer *timer; /* until HELLO is answered */
    uint64_t retry_us;
    bool up, told; /* told: the present reason is in the log */
    char reason[160];
};

static void dial_again(struct uplink *u, const char *reason)
{
    bool was_up = u->up;
    u->up = false;
    u->frames = NULL;
    loop_timer_stop(u->timer);
    if (was_up || strncmp(u->reason, reason, sizeof u->reason - 1) != 0) {
        u->told = false;
        (void)snprintf(u->reason, sizeof u->reason, "%s", reason);
    }
    if (!u->told) {
        u->told = true;
        log_notice("acceptor %s:%u: %s", u->at->host, u->at->port, u->reason);
    }
    u->retry_us = was_up || u->retry_us == 0 ? RETRY_FIRST_US : u->retry_us * 2;
    u->retry_us = u->retry_us < RETRY_MAX_US ? u->retry_us : RETRY_MAX_US;
    dialer_start(u->dialer, u->retry_us, DIAL_US);
}

static void on_closed(void *arg, const char *reason)
{
    struct uplink *u = arg;
    dial_again(u, reason);
}

static void drop(struct uplink *u, const char *reason)
{
    frames_free(u->frames);
    dial_again(u, reason);
}

static void on_timer(void *arg)
{
    drop(arg, "no answer in time");
}

static bool on_frame(void *arg, uint8_t kind, struct span payload)
{
    struct uplink *u = arg;
    if (kind == FRAME_HELLO) {
        struct greeting theirs;
        if (u->up || greeting_decode(payload, &theirs) != OK) {
            return false;
        }
        if (theirs.acceptor != u->acceptor || theirs.cluster != u->mine->cluster) {
            drop(u, "it is not the acceptor that `acceptors` says");
            return true;
        }
        loop_timer_stop(u->timer);
        u->up = true;
        u->retry_us = 0;
        u->reason[0] = '\0';
        log_notice("Connected to acceptor %s:%u", u->at->host, u->at->port);
        if (u->ops->up != NULL) {
            u->ops->up(u->arg, u->acceptor);
        }
        return true;
    }
    if (kind == FRAME_REFUSED) {
        char text[128];
        size_t n = payload.len < sizeof text - 1 ? payload.len : sizeof text - 1;
        for (size_t i = 0; i < n; i++) {
            text[i] = payload.p[i] >= ' ' && payload.p[i] <= '~' ? payload.p[i] : '?';
        }
        text[n] = '\0';
        char reason[sizeof u->reason];
        (void)snprintf(reason, sizeof reason, "refused: %s", text);
        u->retry_us = RETRY_MAX_US;
        drop(u, reason);
        return true;
    }
    return u->up && (kind == FRAME_MESSAGE || kind == FRAME_STATUS) &&
           u->ops->frame(u->arg, u->acceptor, kind, payload);
}

static const struct frames_ops frames_ops = {.frame = on_frame, .closed = on_closed};

static void on_dialled(void *arg, int fd, const char *reason)
{
    struct uplink *u = arg;
    if (fd < 0) {
        dial_again(u, reason);
        return;
    }
    uint8_t bytes[GREETING_MAX];
    size_t n = greeting_encode(u->mine, bytes);
    u->frames = frames_new(u->loop, fd, &frames_ops, u);
    (void)frames_send(u->frames, FRAME_HELLO, span_of((const char *)bytes, n)); /* it is empty */
    loop_timer_start(u->timer, DIAL_US);
}

struct uplink *uplink_new(struct loop *l, unsigned acceptor, const struct map_address *at,
                          const struct greeting *mine, const struct uplink_ops *ops, void *arg)
{
    struct uplink *u = mem_zalloc(sizeof *u);
    *u = (struct uplink){
        .loop = l, .acceptor = acceptor, .at = at, .mine = mine, .ops = ops, .arg = arg};
    (void)snprintf(u->reason, sizeof u->reason, "not connected yet");
    u->timer = loop_timer_new(l, on_timer, u);
    u->dialer = dialer_new(l, at->host, at->port, on_dialled, u);
    dialer_start(u->dialer, 0, DIAL_US);
    return u;
}

bool uplink_is_up(const struct uplink *u)
{
    return u->up;
}

const char *uplink_reason(const struct uplink *u)
{
    return u->up ? "" : u->reason;
}

enum err uplink_send(struct uplink *u, uint8_t kind, struct span payload)
{
    return u->up ? frames_send(u->frames, kind, payload) : ERR_CLOSED;
}

void uplink_free(struct uplink *u)
{
    if (u == NULL) {
        return;
    }
    dialer_free(u->dialer);
    frames_free(u->frames);
    loop_timer_free(u->timer);
    mem_free(u);
}
