/* A proxy's driver: fill an input, step, carry out the outputs, loop messages to itself back.
 *
 * Checked at every step: what readers would be given from the cache of any proxy is at least as new
 * as everything anybody was told before, and the same at all proxies. */
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "tests/sim/world_galene.h"

/* ---- values and replies ---- */

void gw_blobs_init(struct gw *w)
{
    w->limbo = UINT32_MAX;
    w->free_blob = UINT32_MAX;
    for (uint32_t i = GW_BLOBS_MAX; i-- > 1;) {
        w->blobs[i].next = w->free_blob;
        w->free_blob = i;
    }
}

uint32_t gw_blob_new(struct gw *w, const struct gw_blob *b)
{
    uint32_t i = w->free_blob;
    must(i != UINT32_MAX);
    w->free_blob = w->blobs[i].next;
    w->blobs[i] = *b;
    w->blobs[i].refs = 1;
    return i;
}

/* Freed when the outbox has been carried out: it may name this one. */
void gw_blob_drop(struct gw *w, uint32_t i)
{
    must(i != 0 && i < GW_BLOBS_MAX && w->blobs[i].refs > 0);
    if (--w->blobs[i].refs == 0) {
        w->blobs[i].next = w->limbo;
        w->limbo = i;
    }
}

void gw_limbo_empty(struct gw *w)
{
    while (w->limbo != UINT32_MAX) {
        uint32_t i = w->limbo;
        w->limbo = w->blobs[i].next;
        w->blobs[i].next = w->free_blob;
        w->free_blob = i;
    }
}

/* ---- what the cores call ---- */

struct place { /* the ctx of an env */
    struct sim *s;
    unsigned proxy;
};
static struct place places[GW_PROXIES_MAX];

#define KEY_REF (UINT64_C(1) << 40) /* as in hermes_store.c: a key's reference is its number */

static bool env_same_key(void *ctx, struct coh_ref a, struct coh_ref b)
{
    (void)ctx;
    return a.handle == b.handle;
}

static struct coh_ref env_hold(void *ctx, struct coh_ref ref)
{
    const struct place *p = ctx;
    struct gw *w = gw_of(p->s);
    w->proxies[p->proxy].holds++;
    if ((ref.handle & KEY_REF) == 0) {
        must(w->blobs[ref.handle].refs > 0);
        w->blobs[ref.handle].refs++;
    }
    return ref;
}

static void env_drop(void *ctx, struct coh_ref ref)
{
    const struct place *p = ctx;
    struct gw *w = gw_of(p->s);
    w->proxies[p->proxy].holds--;
    if ((ref.handle & KEY_REF) == 0) {
        gw_blob_drop(w, (uint32_t)ref.handle);
    }
}

/* ---- frames ---- */

uint64_t gp_wall_ms(struct sim *s, unsigned proxy)
{
    return (uint64_t)((int64_t)(s->now / SIM_MS) + 1000000 +
                      gw_of(s)->proxies[proxy].wall_offset_ms);
}

static void put64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

static unsigned proxy_of_id(const struct gw *w, uint32_t id)
{
    for (unsigned i = 0; i < w->config.proxies; i++) {
        if (w->proxies[i].id == id && w->proxies[i].core != NULL) {
            return i;
        }
    }
    return GW_PROXIES_MAX;
}

#define VALUE_BYTES 16u

static void send_msg(struct sim *s, unsigned proxy, const struct view *v, uint32_t to_mask,
                     const struct gmsg *m)
{
    struct gw *w = gw_of(s);
    uint8_t key[8];
    uint8_t value[VALUE_BYTES];
    put64(key, hw_key_index(&m->key));
    struct msg_bytes b = {.key = key, .key_len = sizeof key};
    if (m->payload.handle != 0) {
        const struct gw_blob *blob = &w->blobs[m->payload.handle];
        put64(value, (uint64_t)blob->v.value);
        put64(value + 8, (uint64_t)blob->v.length);
        b.payload = value;
        b.payload_len = sizeof value;
    }
    struct gw_frame f;
    f.len = (uint16_t)gmsg_encode(m, &b, f.bytes, sizeof f.bytes);
    for (unsigned i = 0; i < view_count(v); i++) {
        if ((to_mask >> i & 1) == 0) {
            continue;
        }
        if (v->ids[i] == w->proxies[proxy].id) {
            must(w->loop_count < GW_LOOP_MAX);
            w->loop[w->loop_count++] = f;
            continue;
        }
        unsigned to = proxy_of_id(w, v->ids[i]);
        if (to < w->config.proxies) {
            sim_send(s, gw_node(proxy), gw_node(to), f.bytes, f.len);
        }
    }
}

/* ---- what must hold ---- */

static bool fresh(struct sim *s, unsigned proxy, const struct gw_seen *c)
{
    return c->expire_ms == 0 || gp_wall_ms(s, proxy) + 50 < c->expire_ms;
}

bool gp_serves(struct sim *s, unsigned proxy, uint64_t key)
{
    const struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    return s->nodes[gw_node(proxy)].up && p->core != NULL &&
           p->cache[key].seen == GALENE_SEEN_VALID && fresh(s, proxy, &p->cache[key]) &&
           galene_may_read(p->core, sim_clock(s, gw_node(proxy)));
}

static void check_caches(struct sim *s)
{
    struct gw *w = gw_of(s);
    for (uint64_t k = 0; k < w->config.keys && !w->no_shadow; k++) {
        uint64_t ts = 0;
        for (unsigned i = 0; i < w->config.proxies; i++) {
            if (!gp_serves(s, i, k)) {
                continue;
            }
            const struct gw_seen *c = &w->proxies[i].cache[k];
            if (c->ts < w->exposed[k]) {
                sim_fail(s, "proxy %u serves key %llu at ts %llu.%u, but %llu.%u was told", i,
                         (unsigned long long)k, (unsigned long long)ts_version(c->ts), ts_id(c->ts),
                         (unsigned long long)ts_version(w->exposed[k]), ts_id(w->exposed[k]));
            }
            if (ts != 0 && ts != c->ts) {
                sim_fail(s, "two proxies serve key %llu at ts %llx and %llx", (unsigned long long)k,
                         (unsigned long long)ts, (unsigned long long)c->ts);
            }
            ts = c->ts;
        }
    }
}

void gp_expose(struct sim *s, uint64_t key, uint64_t ts)
{
    struct gw *w = gw_of(s);
    if (ts != HIST_NO_TS && ts > w->exposed[key]) {
        w->exposed[key] = ts;
    }
}

/* ---- carrying out ---- */

static void publish(struct sim *s, unsigned proxy, const struct galene_publish *p)
{
    struct gw *w = gw_of(s);
    struct gw_seen *c = &w->proxies[proxy].cache[hw_key_index(&p->key)];
    *c = (struct gw_seen){.seen = p->seen, .generation = p->generation};
    if (p->seen == GALENE_SEEN_VALID) {
        must(p->value.kind == GMSG_ABSENT || p->value.kind == GMSG_VALUE);
        c->ts = p->value.ts;
        c->expire_ms = p->value.expire_ms;
        c->absent = p->value.kind == GMSG_ABSENT;
        c->value = c->absent ? HIST_ABSENT : w->blobs[p->value.ref.handle].v.value;
    }
    sim_note(s, "  p%u publishes key %llu: %s ts %llu.%u gen %llx value %lld", proxy,
             (unsigned long long)hw_key_index(&p->key),
             p->seen == GALENE_SEEN_VALID  ? "Valid"
             : p->seen == GALENE_SEEN_GONE ? "gone"
                                           : "not Valid",
             (unsigned long long)ts_version(c->ts), ts_id(c->ts), (unsigned long long)c->generation,
             (long long)c->value);
}

static void done(struct sim *s, unsigned proxy, const struct galene_done *d)
{
    struct gw *w = gw_of(s);
    (void)proxy;
    must(d->op >= 1 && d->op <= w->op_count);
    struct gw_op *o = &w->ops[d->op - 1];
    int64_t ret = 0;
    uint64_t ts = d->ts;
    if (d->result == GALENE_DONE_LOCAL) {
        ret = d->value.kind == GMSG_ABSENT ? HIST_ABSENT : w->blobs[d->value.ref.handle].v.value;
    } else if (d->reply.handle != 0) {
        const struct gw_blob *b = &w->blobs[d->reply.handle];
        ret = b->v.length; /* of a reply: what the command returned */
        o->changed = b->changed;
        o->h.base = b->base;
        o->h.has_base = b->has_base;
        bool is_last = (uint64_t)b->v.value == d->op || o->kind == GALENE_READ;
        ts = is_last ? ts : HIST_NO_TS; /* combined: overwritten at once by the last one */
    }
    gl_done(s, (uint32_t)d->op - 1, d->result, ret, ts);
}

static void trace_out(struct sim *s, unsigned proxy)
{
    struct gw *w = gw_of(s);
    for (uint32_t i = 0; i < w->out.trace_count; i++) {
        const struct galene_trace *t = &w->trace[i];
        sim_mark(s, (unsigned)t->mark);
        sim_hash(s, (uint64_t)t->mark << 40 ^ t->a ^ t->b << 20);
        if (s->verbose) {
            sim_note(s, "  p%u(%u) %s key %llu %llx %llx", proxy, w->proxies[proxy].id,
                     galene_mark_name(t->mark), (unsigned long long)t->key_hash / 77,
                     (unsigned long long)t->a, (unsigned long long)t->b);
        }
    }
    w->out.trace_count = 0;
}

static enum err step(struct sim *s, unsigned proxy, struct galene_in *in)
{
    struct gw *w = gw_of(s);
    struct gw_proxy *p = &w->proxies[proxy];
    in->now_ns = sim_clock(s, gw_node(proxy));
    in->wall_ms = gp_wall_ms(s, proxy);
    w->out.count = 0;
    w->out.trace = w->trace;
    w->out.trace_capacity = sizeof w->trace / sizeof w->trace[0];
    w->out.trace_count = 0;
    enum err e = galene_step(p->core, in, &w->out);
    galene_check(p->core);
    trace_out(s, proxy);
    for (uint32_t i = 0; i < w->out.count; i++) {
        const struct galene_out *o = &w->out.out[i];
        switch (o->kind) {
        case GALENE_OUT_SEND:
            send_msg(s, proxy, galene_view(p->core), o->to_mask, &o->u.msg);
            break;
        case GALENE_OUT_PUBLISH:
            publish(s, proxy, &o->u.publish);
            break;
        case GALENE_OUT_BACKEND:
            gb_request(s, proxy, GW_OF_GALENE, &o->u.request);
            break;
        case GALENE_OUT_DONE:
            done(s, proxy, &o->u.done);
            break;
        }
    }
    w->out.count = 0;
    gw_limbo_empty(w);
    check_caches(s);
    return e;
}

static enum err hot_step(struct sim *s, unsigned proxy, struct hotset_in *in)
{
    struct gw *w = gw_of(s);
    struct gw_proxy *p = &w->proxies[proxy];
    in->now_ns = sim_clock(s, gw_node(proxy));
    w->hot_out.count = 0;
    w->hot_out.trace = w->hot_trace;
    w->hot_out.trace_capacity = sizeof w->hot_trace / sizeof w->hot_trace[0];
    w->hot_out.trace_count = 0;
    enum err e = hotset_step(p->hot, in, &w->hot_out);
    hotset_check(p->hot);
    for (uint32_t i = 0; i < w->hot_out.trace_count; i++) {
        const struct hotset_trace *t = &w->hot_trace[i];
        sim_mark(s, (unsigned)GALENE_MARK_COUNT + (unsigned)t->mark);
        sim_hash(s, (uint64_t)t->mark << 40 ^ t->a);
        if (s->verbose) {
            sim_note(s, "  h%u(%u) %s key %llu %llx %llx", proxy, p->id, hotset_mark_name(t->mark),
                     (unsigned long long)t->key_hash / 77, (unsigned long long)t->a,
                     (unsigned long long)t->b);
        }
    }
    for (uint32_t i = 0; i < w->hot_out.count; i++) {
        const struct hotset_out *o = &w->hot_out.out[i];
        if (o->kind == HOTSET_OUT_SEND) {
            send_msg(s, proxy, galene_view(p->core), o->to_mask, &o->u.msg);
        } else {
            gb_request(s, proxy, GW_OF_HOTSET, &o->u.request);
        }
    }
    w->hot_out.count = 0;
    gw_limbo_empty(w);
    return e;
}

static enum err take_frame(struct sim *s, unsigned proxy, const uint8_t *frame, size_t len)
{
    struct gw *w = gw_of(s);
    struct gmsg m;
    struct msg_bytes b;
    if (gmsg_decode(frame, len, &m, &b) != OK || b.key_len != 8 || get64(b.key) >= w->config.keys) {
        return OK; /* truncated: the connection would be closed */
    }
    hw_key(&m.key, get64(b.key));
    uint32_t blob = 0;
    if (b.payload_len == VALUE_BYTES) {
        struct gw_blob v = {.v = {true, (int64_t)get64(b.payload), (int64_t)get64(b.payload + 8)}};
        blob = gw_blob_new(w, &v);
        m.payload.handle = blob;
    }
    if (s->verbose) {
        sim_note(s, "p%u <- %s from %u epoch %llu key %llu gen %llx token %llu ts %llu.%u seq %llu",
                 proxy, gmsg_name(m.kind), m.sender, (unsigned long long)m.epoch,
                 (unsigned long long)get64(b.key), (unsigned long long)m.generation,
                 (unsigned long long)m.token, (unsigned long long)ts_version(m.ts), ts_id(m.ts),
                 (unsigned long long)m.seq);
    }
    enum err e = OK;
    if (gmsg_for(m.kind) == GMSG_TO_GALENE) {
        struct galene_in in = {.kind = GALENE_IN_MSG, .u.msg = &m};
        e = step(s, proxy, &in);
    } else if (gmsg_for(m.kind) == GMSG_TO_HOTSET) {
        struct hotset_in in = {.kind = HOTSET_IN_MSG, .u.msg = &m};
        e = hot_step(s, proxy, &in);
    }
    if (blob != 0) {
        gw_blob_drop(w, blob);
        gw_limbo_empty(w);
    }
    return e;
}

/* The end of every input from outside: what the proxy said to itself, and when to be called again.
 */
static void finish(struct sim *s, unsigned proxy)
{
    struct gw *w = gw_of(s);
    unsigned rounds = 0;
    for (unsigned i = 0; i < w->loop_count; i++) {
        struct gw_frame f = w->loop[i];
        must(++rounds < 4 * GW_LOOP_MAX);
        (void)take_frame(s, proxy, f.bytes, f.len);
    }
    w->loop_count = 0;
    gp_set_wake(s, proxy);
}

void gp_set_wake(struct sim *s, unsigned proxy)
{
    const struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    if (p->core == NULL) {
        return;
    }
    uint64_t at = galene_next_deadline(p->core);
    uint64_t other = hotset_next_deadline(p->hot);
    at = other < at ? other : at;
    other = gb_next_deadline(s, proxy);
    sim_wake_at(s, gw_node(proxy), other < at ? other : at);
}

void gp_frame(struct sim *s, unsigned proxy, const uint8_t *frame, size_t len)
{
    struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    if (p->core == NULL || len > GW_FRAME_MAX) {
        return;
    }
    if (take_frame(s, proxy, frame, len) == ERR_AGAIN && p->held_count < GW_HELD_MAX) {
        struct gw_frame *h = &p->held[p->held_count++];
        h->len = (uint16_t)len;
        memcpy(h->bytes, frame, len);
    }
    finish(s, proxy);
}

void gp_view(struct sim *s, unsigned proxy, const struct view *v)
{
    struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    struct galene_in in = {.kind = GALENE_IN_VIEW, .u.view = v};
    (void)step(s, proxy, &in);
    struct hotset_in hot = {.kind = HOTSET_IN_VIEW, .u.view = v};
    (void)hot_step(s, proxy, &hot);
    unsigned count = p->held_count;
    p->held_count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct gw_frame h = p->held[i];
        gp_frame(s, proxy, h.bytes, h.len);
    }
    finish(s, proxy);
}

void gp_lease(struct sim *s, unsigned proxy, struct lease lease)
{
    struct galene_in in = {.kind = GALENE_IN_LEASE, .u.lease = lease};
    (void)step(s, proxy, &in);
    finish(s, proxy);
}

void gp_peer(struct sim *s, unsigned proxy, uint32_t peer)
{
    if (gw_of(s)->proxies[proxy].core != NULL) {
        struct galene_in in = {.kind = GALENE_IN_PEER, .u.peer = peer};
        (void)step(s, proxy, &in);
        finish(s, proxy);
    }
}

void gp_timer(struct sim *s, unsigned proxy)
{
    const struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    if (p->core == NULL) {
        return;
    }
    gb_timer(s, proxy);
    struct galene_in in = {.kind = GALENE_IN_TIMER};
    (void)step(s, proxy, &in);
    struct hotset_in hot = {.kind = HOTSET_IN_TIMER};
    (void)hot_step(s, proxy, &hot);
    finish(s, proxy);
}

void gp_op(struct sim *s, unsigned proxy, uint32_t i)
{
    struct gw *w = gw_of(s);
    const struct gw_op *o = &w->ops[i];
    struct galene_op op = {.id = i + 1,
                           .client = o->h.client + 1,
                           .kind = o->kind,
                           .local = o->local,
                           .share = o->share,
                           .blind = o->blind,
                           .generation = o->generation};
    hw_key(&op.key, o->h.key);
    struct galene_in in = {.kind = GALENE_IN_OP, .u.op = &op};
    if (step(s, proxy, &in) == ERR_BUSY) {
        gl_done(s, i, GALENE_DONE_TRYAGAIN, 0, 0);
    }
    finish(s, proxy);
}

void gp_answer(struct sim *s, unsigned proxy, enum gw_whose whose, const struct galene_answer *a)
{
    if (whose == GW_OF_GALENE) {
        struct galene_in in = {.kind = GALENE_IN_ANSWER, .u.answer = a};
        (void)step(s, proxy, &in);
    } else {
        struct hotset_in in = {.kind = HOTSET_IN_ANSWER, .u.answer = a};
        (void)hot_step(s, proxy, &in);
    }
    finish(s, proxy);
}

void gp_want(struct sim *s, unsigned proxy, uint64_t key, enum hotset_want want)
{
    struct hermes_key k;
    hw_key(&k, key);
    struct hotset_in in = {.kind = HOTSET_IN_WANT, .u.want = {&k, want}};
    (void)hot_step(s, proxy, &in);
    finish(s, proxy);
}

void gp_switch(struct sim *s, unsigned proxy, bool on)
{
    struct hotset_in in = {.kind = HOTSET_IN_SWITCH, .u.on = on};
    (void)hot_step(s, proxy, &in);
    finish(s, proxy);
}

void gp_count(struct sim *s, unsigned proxy, const struct hotset_count *c)
{
    struct hotset_in in = {.kind = c == NULL ? HOTSET_IN_EPOCH : HOTSET_IN_COUNT, .u.count = c};
    (void)hot_step(s, proxy, &in);
    finish(s, proxy);
}

/* ---- coming and going ---- */

void gp_start(struct sim *s, unsigned proxy, uint32_t id)
{
    struct gw *w = gw_of(s);
    struct gw_proxy *p = &w->proxies[proxy];
    struct galene_limits l = {.records = 32,
                              .ops = 128,
                              .resend_ns = 15 * SIM_MS,
                              .ask_ns = 60 * SIM_MS,
                              .report_ns = 40 * SIM_MS,
                              .linger_ns = 900 * SIM_MS,
                              .drop_wait_ns = 30 * SIM_MS,
                              .give_up_ns = 700 * SIM_MS,
                              .skew_ms = 50,
                              .seed = id};
    struct hotset_limits hl = {.keys = 6,
                               .candidates = 10,
                               .resend_ns = 15 * SIM_MS,
                               .give_up_ns = 300 * SIM_MS,
                               .retry_ns = 10 * SIM_MS,
                               .cool_ns = 40 * SIM_MS,
                               .filling = 3,
                               .reads_min = 20,
                               .seed = id};
    if (p->core_memory == NULL) {
        p->core_memory = mem_alloc(galene_size(&l));
        p->hot_memory = mem_alloc(hotset_size(&hl));
    }
    if (w->config.tight) {
        l.records = 4;
        l.ops = 6;
        hl.keys = 4;
        hl.candidates = 1;
    }
    places[proxy] = (struct place){s, proxy};
    const struct galene_env env = {
        .ctx = &places[proxy], .same_key = env_same_key, .hold = env_hold, .drop = env_drop};
    memset(p->cache, 0, sizeof p->cache);
    memset(p->requests, 0, sizeof p->requests);
    p->held_count = 0;
    p->holds = 0;
    p->lease_sent = 0;
    p->id = id;
    p->core = galene_init(p->core_memory, &l, &env, id);
    p->hot = hotset_init(p->hot_memory, &hl, &env, p->core, id);
    sim_note(s, "proxy %u is incarnation %u", proxy, id);
}

/* What a crashed proxy held is lost with it: the pool is large enough for a run. */
void gp_stop(struct sim *s, unsigned proxy)
{
    struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    p->core = NULL;
    p->hot = NULL;
    sim_wake_at(s, gw_node(proxy), SIM_NEVER);
}
