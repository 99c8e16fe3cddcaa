/* The builtin provider: drives a holder core (coherence/member.h) over connections to the
 * acceptors.
 *
 * A step never nests. What the outbox tells the owner (events) may call the provider; such wishes
 * wait in fields and become steps at the end of the turn. */
#include "backends/member/builtin.h"

#include <string.h>
#include <sys/random.h>

#include "coherence/wire.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

#define STATUS_WAIT_US 80000u
#define NS_PER_MS 1000000u

struct builtin {
    struct member_provider base; /* first */
    struct loop *loop;
    const struct member_events *events;
    void *arg;
    struct member_params params;
    struct greeting hello;
    struct member_map genesis;
    struct holder *core;
    void *memory;
    struct loop_timer *timer, *status_timer;
    struct loop_task wishes_task;
    bool stepping;
    uint64_t now_ns;
    struct uplink *up[MAP_ACCEPTORS_MAX];
    /* wishes: done in this order */
    bool wants_join, wants_caught_up, wants_release, wants_change, wants_blame;
    struct holder_join join;
    struct member_change change;
    uint64_t change_nonce; /* under way; 0: none */
    uint32_t blamed;
    bool asked[MAP_ACCEPTORS_MAX];
    bool asking;
    struct member_map decoded; /* of the message at hand */
    uint8_t frame[MEMBER_MSG_MAX];
};

struct member_params member_params_of(const struct member_settings *set)
{
    uint64_t seed = 0;
    (void)!getrandom(&seed, sizeof seed, 0);
    uint64_t lease = (uint64_t)set->lease_ms * NS_PER_MS;
    return (struct member_params){.lease_ns = lease,
                                  .renew_ns = lease * MEMBER_RENEW_NS / MEMBER_LEASE_NS,
                                  .rho_ppm = MEMBER_RHO_PPM,
                                  .seed = seed};
}

struct greeting greeting_of(const struct member_settings *set, const struct member_map *genesis)
{
    struct greeting h = {.cluster = map_cluster(genesis),
                         .lease_ms = (uint32_t)set->lease_ms,
                         .acceptor = MEMBER_NO_ACCEPTOR};
    strncpy(h.cluster_name, set->cluster_name, sizeof h.cluster_name - 1);
    return h;
}

/* ---- status ---- */

size_t status_encode(const struct acceptor_status *s, uint8_t bytes[STATUS_MAX])
{
    struct wire_writer w = {bytes, STATUS_MAX};
    wire_put(&w, s->version, 8);
    wire_put(&w, s->votes, 1);
    wire_put(&w, s->count, 2);
    for (unsigned i = 0; i < s->count; i++) {
        wire_put(&w, s->node[i].id, 4);
        wire_put(&w, s->node[i].silent_ms, 4);
    }
    return STATUS_MAX - w.left;
}

enum err status_decode(struct span bytes, struct acceptor_status *out)
{
    struct wire_reader r = {(const uint8_t *)bytes.p, bytes.len, false};
    out->version = wire_take(&r, 8);
    out->votes = wire_take(&r, 1) != 0;
    out->count = (uint16_t)wire_take(&r, 2);
    if (out->count > MAP_NODES_MAX) {
        return ERR_PROTO;
    }
    for (unsigned i = 0; i < out->count; i++) {
        out->node[i].id = (uint32_t)wire_take(&r, 4);
        out->node[i].silent_ms = (uint32_t)wire_take(&r, 4);
    }
    return r.bad || r.left != 0 ? ERR_PROTO : OK;
}

static void status_came(struct builtin *b, unsigned acceptor, const struct acceptor_status *s,
                        const char *reason)
{
    if (b->asked[acceptor]) {
        b->asked[acceptor] = false;
        b->events->status(b->arg, acceptor, s, reason);
    }
    bool open = false;
    for (unsigned i = 0; i < b->genesis.acceptor_count; i++) {
        open = open || b->asked[i];
    }
    if (!open) {
        b->asking = false;
        loop_timer_stop(b->status_timer);
    }
}

static void on_status_timer(void *arg)
{
    struct builtin *b = arg;
    for (unsigned i = 0; i < b->genesis.acceptor_count; i++) {
        if (b->asked[i]) {
            const char *reason = uplink_reason(b->up[i]);
            status_came(b, i, NULL, reason[0] != '\0' ? reason : "no answer in time");
        }
    }
}

static enum err ask_status(struct member_provider *p)
{
    struct builtin *b = (struct builtin *)p;
    if (b->asking) {
        return ERR_BUSY;
    }
    b->asking = true;
    for (unsigned i = 0; i < b->genesis.acceptor_count; i++) {
        b->asked[i] = true;
        (void)uplink_send(b->up[i], FRAME_ASK_STATUS,
                          span_of("", 0)); /* the timer says that it failed */
    }
    loop_timer_start(b->status_timer, STATUS_WAIT_US);
    return OK;
}

/* ---- steps ---- */

static void send_message(struct builtin *b, unsigned to, const struct member_msg *m)
{
    must(to < b->genesis.acceptor_count);
    if (uplink_is_up(b->up[to])) {
        size_t n = member_msg_encode(m, b->frame, sizeof b->frame);
        /* full: as if lost, it is asked again */
        (void)uplink_send(b->up[to], FRAME_MESSAGE, span_of((const char *)b->frame, n));
    }
}

static void carry_out(struct builtin *b, const struct holder_out *o)
{
    const struct member_events *ev = b->events;
    switch (o->kind) {
    case HOLDER_OUT_SEND:
        send_message(b, o->to, &o->u.msg);
        return;
    case HOLDER_OUT_MAP:
        ev->map(b->arg, o->u.map);
        return;
    case HOLDER_OUT_VIEW:
        ev->view(b->arg, o->u.view.map, o->u.view.group, o->u.view.id, o->u.view.founder,
                 o->u.view.member);
        return;
    case HOLDER_OUT_LEASE:
        ev->lease(b->arg, o->u.lease);
        return;
    case HOLDER_OUT_EXPELLED:
        b->wants_caught_up = false;
        ev->expelled(b->arg, o->u.expelled.ordered);
        return;
    case HOLDER_OUT_RELEASED:
        ev->released(b->arg);
        return;
    case HOLDER_OUT_WAITS:
        ev->waits(b->arg, o->u.waits);
        return;
    case HOLDER_OUT_RESULT:
        if (o->u.result.nonce == b->change_nonce) {
            b->change_nonce = 0;
        }
        ev->result(b->arg, o->u.result.nonce, o->u.result.reason);
        return;
    }
    unreachable();
}

static void set_timer(struct builtin *b)
{
    uint64_t at = holder_next_deadline(b->core);
    uint64_t now = clk_boot_ns();
    b->base.due_ns = at;
    if (at == UINT64_MAX) {
        loop_timer_stop(b->timer);
    } else {
        loop_timer_start(b->timer, at > now ? (at - now) / 1000u + 1u : 1u);
    }
}

static void step(struct builtin *b, struct holder_in *in)
{
    must(!b->stepping);
    b->stepping = true;
    struct holder_outbox out = {.count = 0};
    uint64_t now = clk_boot_ns();
    b->now_ns = now > b->now_ns ? now : b->now_ns;
    in->now_ns = b->now_ns;
    holder_step(b->core, in, &out);
    for (uint32_t i = 0; i < out.count; i++) {
        carry_out(b, &out.out[i]);
    }
    b->stepping = false;
    set_timer(b);
}

/* L8: was there a turn that took too long since the last look? */
static void look_at_turns(struct builtin *b)
{
    uint64_t longest = loop_longest_turn_ns(b->loop);
    if (longest > b->params.lease_ns / 4) {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_notice("A turn of the event loop took %llu ms: the lease is asked for anew",
                       (unsigned long long)(longest / NS_PER_MS));
        }
        uint64_t now = clk_boot_ns();
        struct holder_in in = {.kind = HOLDER_IN_TURN,
                               .u.began_ns = now > longest ? now - longest : 0};
        step(b, &in);
    }
}

static void on_timer(void *arg)
{
    struct builtin *b = arg;
    look_at_turns(b);
    struct holder_in in = {.kind = HOLDER_IN_TIMER};
    step(b, &in);
}

/* A long turn is not a wedged one: who comes between two batches of it does serve (R1). What the
 * turn costs (L8) is judged at its end. */
static void tick(struct member_provider *p)
{
    struct builtin *b = (struct builtin *)p;
    if (!b->stepping) {
        struct holder_in in = {.kind = HOLDER_IN_TIMER};
        step(b, &in);
    }
}

static bool on_frame(void *arg, unsigned acceptor, uint8_t kind, struct span payload)
{
    struct builtin *b = arg;
    if (kind == FRAME_STATUS) {
        struct acceptor_status s;
        if (status_decode(payload, &s) != OK) {
            return false;
        }
        status_came(b, acceptor, &s, NULL);
        return true;
    }
    struct member_msg m;
    if (member_msg_decode((const uint8_t *)payload.p, payload.len, &m, &b->decoded) != OK ||
        m.sender != acceptor) {
        return false;
    }
    look_at_turns(b);
    struct holder_in in = {.kind = HOLDER_IN_MSG, .u.msg = &m};
    step(b, &in);
    return true;
}

static void on_up(void *arg, unsigned acceptor)
{
    struct builtin *b = arg;
    (void)acceptor;
    loop_timer_start(b->timer, 1); /* the core may have waited for somebody to ask */
}

/* ---- wishes ---- */

static void on_wishes(struct loop_task *task)
{
    struct builtin *b =
        (struct builtin *)(void *)((char *)task - offsetof(struct builtin, wishes_task));
    if (b->wants_join) {
        b->wants_join = false;
        struct holder_in in = {.kind = HOLDER_IN_JOIN, .u.join = &b->join};
        step(b, &in);
    }
    if (b->wants_caught_up) {
        b->wants_caught_up = false;
        struct holder_in in = {.kind = HOLDER_IN_CAUGHT_UP};
        step(b, &in);
    }
    if (b->wants_change) {
        b->wants_change = false;
        struct holder_in in = {.kind = HOLDER_IN_CHANGE, .u.change = &b->change};
        step(b, &in);
    }
    if (b->wants_blame) {
        b->wants_blame = false;
        struct holder_in in = {.kind = HOLDER_IN_BLAME, .u.id = b->blamed};
        step(b, &in);
    }
    if (b->wants_release) {
        b->wants_release = false;
        struct holder_in in = {.kind = HOLDER_IN_RELEASE};
        step(b, &in);
    }
}

static void wish(struct builtin *b, bool *what)
{
    *what = true;
    loop_defer(b->loop, &b->wishes_task);
}

static void join(struct member_provider *p, const struct member_join *j)
{
    struct builtin *b = (struct builtin *)p;
    b->join = (struct holder_join){.at = j->at, .workers = j->workers, .peer_port = j->peer_port};
    memcpy(b->join.group, j->group, sizeof b->join.group);
    while (b->join.boot == 0) {
        must(getrandom(&b->join.boot, sizeof b->join.boot, 0) == (ssize_t)sizeof b->join.boot);
    }
    wish(b, &b->wants_join);
}

static void caught_up(struct member_provider *p)
{
    struct builtin *b = (struct builtin *)p;
    wish(b, &b->wants_caught_up);
}

static void release(struct member_provider *p)
{
    struct builtin *b = (struct builtin *)p;
    wish(b, &b->wants_release);
}

static enum err change(struct member_provider *p, const struct member_change *c)
{
    struct builtin *b = (struct builtin *)p;
    if (b->change_nonce != 0) {
        return ERR_BUSY;
    }
    b->change = *c;
    b->change_nonce = c->nonce;
    wish(b, &b->wants_change);
    return OK;
}

static void blame(struct member_provider *p, uint32_t id)
{
    struct builtin *b = (struct builtin *)p;
    b->blamed = id;
    wish(b, &b->wants_blame);
}

static const struct member_map *map(const struct member_provider *p)
{
    return holder_map(((const struct builtin *)p)->core);
}

static void reach(const struct member_provider *p, unsigned *all, unsigned *reachable)
{
    const struct builtin *b = (const struct builtin *)p;
    *all = b->genesis.acceptor_count;
    *reachable = 0;
    for (unsigned i = 0; i < *all; i++) {
        *reachable += uplink_is_up(b->up[i]);
    }
}

/* ---- life ---- */

static void stop(struct member_provider *p)
{
    struct builtin *b = (struct builtin *)p;
    for (unsigned i = 0; i < MAP_ACCEPTORS_MAX; i++) {
        uplink_free(b->up[i]);
    }
    loop_defer_cancel(b->loop, &b->wishes_task);
    loop_timer_free(b->timer);
    loop_timer_free(b->status_timer);
    mem_free(b->memory);
    mem_free(b);
}

static const struct member_provider_ops builtin_ops = {.name = "builtin",
                                                       .join = join,
                                                       .caught_up = caught_up,
                                                       .release = release,
                                                       .change = change,
                                                       .blame = blame,
                                                       .ask_status = ask_status,
                                                       .tick = tick,
                                                       .map = map,
                                                       .reach = reach,
                                                       .stop = stop};

static const struct uplink_ops uplink_ops = {.frame = on_frame, .up = on_up};

struct member_provider *builtin_new(struct loop *l, const struct member_settings *set,
                                    const struct member_map *genesis,
                                    const struct member_events *events, void *arg)
{
    struct builtin *b = mem_zalloc(sizeof *b);
    b->base.ops = &builtin_ops;
    b->loop = l;
    b->events = events;
    b->arg = arg;
    b->params = member_params_of(set);
    b->hello = greeting_of(set, genesis);
    b->genesis = *genesis;
    b->wishes_task.fn = on_wishes;
    b->timer = loop_timer_new(l, on_timer, b);
    b->status_timer = loop_timer_new(l, on_status_timer, b);
    b->memory = mem_zalloc(holder_size());
    b->now_ns = clk_boot_ns();
    b->core = holder_init(b->memory, &b->params, &b->genesis, b->now_ns);
    for (unsigned i = 0; i < b->genesis.acceptor_count; i++) {
        b->up[i] = uplink_new(l, i, &b->genesis.acceptors[i], &b->hello, &uplink_ops, b);
    }
    set_timer(b);
    return &b->base;
}
