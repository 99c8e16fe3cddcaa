/* Clients of the Galene world, what they saw, and whether it could have been; and who makes keys
 * hot and cold.
 *
 * Each client keeps to one proxy while it has something under way and sends several commands
 * without waiting. The proxy's half of program order is here too: what a client has under way on a
 * key at the shard, unknown to the core, is waited for; while the core has one of its commands,
 * later ones on the key go to the core. */
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "tests/sim/world_galene.h"

#define REPLY_NS 30000

static uint32_t work(struct sim *s, uint32_t n)
{
    return sim_choose(s, SITE_WORK, n);
}

void gl_init(struct sim *s)
{
    struct gw *w = gw_of(s);
    if (w->config.tight && w->config.keys > 4) {
        w->config.keys = 4;
        w->hw.config.keys = 4;
    }
    w->hw.config.mix = w->config.mix;
    w->hw.config.del = w->config.del;
    w->hw.config.expire = w->config.expire;
    for (unsigned c = 0; c < w->config.clients; c++) {
        w->client_proxy[c] = c % w->config.proxies;
        sim_at(s, SIM_MS * (20 + c), GW_EV_CLIENT, c, 0);
    }
}

/* ---- what clients send ---- */

static void draw_write(struct sim *s, struct gw_op *o, unsigned client)
{
    const struct gw_config *c = &gw_of(s)->config;
    o->kind = GALENE_WRITE;
    o->h.kind = HIST_SET;
    o->h.arg = (int64_t)(gw_of(s)->op_count + 1) * 1000 + (int64_t)client;
    o->blind = true;
    uint32_t r = work(s, 10);
    if (c->mix && r < (c->rmw_heavy ? 7u : 4u)) {
        static const enum hist_kind kinds[] = {HIST_INCR, HIST_APPEND, HIST_CAS, HIST_SETNX,
                                               HIST_GETSET};
        o->h.kind = kinds[work(s, 5)];
        if (o->h.kind == HIST_CAS) {
            o->h.arg2 = o->h.arg;
            o->h.arg = gw_of(s)->hw.nodes[0].entries[o->h.key].v.value;
        }
        o->blind = false;
    } else if (c->del && r >= 8) {
        o->h.kind = HIST_DEL;
        o->blind = false;
    } else if (c->expire && r >= 5) {
        o->expire_ms = 1 + work(s, 160); /* from the arrival */
    }
}

static void draw_op(struct sim *s, struct gw_op *o, unsigned client)
{
    const struct gw_config *c = &gw_of(s)->config;
    *o = (struct gw_op){.kind = GALENE_READ, .local = true, .share = 1 + client % 2};
    o->h.key = work(s, c->keys);
    o->h.kind = HIST_GET;
    uint32_t r = work(s, 100);
    if (r >= 98) {
        o->kind = GALENE_DEMOTE;
    } else if (r >= 62) {
        draw_write(s, o, client);
    } else if (r >= 55) {
        o->local = r >= 58;
        o->share = 0;
    }
}

uint32_t gl_issue(struct sim *s, unsigned client, unsigned proxy, const struct gw_op *op)
{
    struct gw *w = gw_of(s);
    must(w->op_count < GW_OPS_MAX);
    uint32_t i = w->op_count++;
    struct gw_op *o = &w->ops[i];
    *o = *op;
    o->h.client = client;
    o->h.sequence = i;
    o->h.call = s->now;
    o->h.status = HIST_UNKNOWN;
    o->proxy = proxy;
    o->open = true;
    if (client < GW_CLIENTS_MAX) {
        w->client_open[client]++;
    }
    sim_note(s, "client %u: op %u %s (%d) key %llu arg %lld at proxy %u", client, i + 1,
             o->kind == GALENE_READ    ? "read"
             : o->kind == GALENE_WRITE ? "write"
                                       : "demote",
             o->h.kind, (unsigned long long)o->h.key, (long long)o->h.arg, proxy);
    uint8_t frame[4] = {GW_OP, (uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16)};
    sim_post(s, hw_clients_node(&w->hw), gw_node(proxy), frame, sizeof frame);
    return i;
}

void gl_turn(struct sim *s, unsigned client)
{
    struct gw *w = gw_of(s);
    if (s->healed || w->op_count + 128 >= GW_OPS_MAX || w->op_count >= w->config.ops) {
        return;
    }
    unsigned at = w->client_proxy[client];
    if (w->client_open[client] == 0 && (!s->nodes[gw_node(at)].up || work(s, 40) == 39)) {
        at = (at + 1) % w->config.proxies;
        w->client_proxy[client] = at;
    }
    if (w->client_open[client] < w->config.pipeline && s->nodes[gw_node(at)].up) {
        struct gw_op o;
        draw_op(s, &o, client);
        gl_issue(s, client, at, &o);
    }
    uint64_t think = 100000 * (uint64_t)(1 + work(s, 20));
    if (work(s, 12) == 11) {
        think += SIM_MS * work(s, 120);
    }
    sim_at(s, think, GW_EV_CLIENT, client, 0);
}

/* ---- the proxy's way with them ---- */

static bool before(const struct gw *w, uint32_t i, enum gw_where at)
{
    const struct gw_op *o = &w->ops[i];
    for (uint32_t j = 0; j < i; j++) {
        const struct gw_op *e = &w->ops[j];
        if (e->at == at && e->h.client == o->h.client && e->h.key == o->h.key &&
            e->proxy == o->proxy) {
            return true;
        }
    }
    return false;
}

static void to_core(struct sim *s, uint32_t i)
{
    struct gw_op *o = &gw_of(s)->ops[i];
    o->at = GW_AT_CORE;
    gp_op(s, o->proxy, i);
}

static void dispatch(struct sim *s, uint32_t i)
{
    struct gw *w = gw_of(s);
    struct gw_op *o = &w->ops[i];
    const struct gw_seen *c = &w->proxies[o->proxy].cache[o->h.key];
    if (before(w, i, GW_AT_COLD) || before(w, i, GW_AT_PARKED)) {
        o->at = GW_AT_PARKED;
        return;
    }
    bool in_core = before(w, i, GW_AT_CORE);
    if (o->kind == GALENE_READ && o->local && !in_core && gp_serves(s, o->proxy, o->h.key) &&
        !sim_chance(s, SITE_WORK, 1, 6)) {
        gl_done(s, i, GALENE_DONE_LOCAL, c->value, c->ts);
    } else if (in_core || o->kind == GALENE_DEMOTE || c->seen != GALENE_SEEN_GONE ||
               work(s, 5) == 4) {
        to_core(s, i);
    } else {
        struct galene_request q = {
            .kind = o->kind == GALENE_READ ? GALENE_ASK_READ : GALENE_ASK_WRITE, .op = i + 1};
        hw_key(&q.key, o->h.key);
        o->at = GW_AT_COLD;
        gb_request(s, o->proxy, GW_OF_DRIVER, &q);
        gp_set_wake(s, o->proxy);
    }
}

void gl_arrived(struct sim *s, unsigned proxy, uint32_t i)
{
    struct gw *w = gw_of(s);
    if (i >= w->op_count || !w->ops[i].open || w->ops[i].proxy != proxy ||
        w->ops[i].at != GW_AT_NOWHERE || w->proxies[proxy].core == NULL) {
        return; /* its connection broke */
    }
    dispatch(s, i);
}

void gl_done(struct sim *s, uint32_t i, enum galene_result result, int64_t ret, uint64_t ts)
{
    struct gw *w = gw_of(s);
    struct gw_op *o = &w->ops[i];
    if (!o->open || o->at == GW_AT_REPLIED) {
        sim_fail(s, "op %u was answered twice", i + 1);
        return;
    }
    o->at = GW_AT_REPLIED;
    o->result = result;
    o->h.ret = ret;
    o->h.ts = ts;
    switch (result) {
    case GALENE_DONE_REPLY:
    case GALENE_DONE_LOCAL:
        o->h.status = HIST_OK;
        o->h.is_write = o->kind == GALENE_WRITE && o->changed && ts != HIST_NO_TS;
        gp_expose(s, o->h.key, ts);
        break;
    case GALENE_DONE_DEMOTED:
        o->h.status = HIST_OK;
        break;
    case GALENE_DONE_UNKNOWN:
        o->h.status = HIST_UNKNOWN;
        break;
    case GALENE_DONE_TRYAGAIN:
    case GALENE_DONE_RETRY:
        o->h.status = HIST_FAIL;
        break;
    }
    sim_hash(s, (uint64_t)i << 8 | (uint64_t)result);
    sim_note(s, "p%u: op %u result %d ret %lld ts %llu.%u", o->proxy, i + 1, result, (long long)ret,
             (unsigned long long)ts_version(ts), ts_id(ts));
    sim_at(s, REPLY_NS, GW_EV_REPLY, i, 0);
}

void gl_cold_answer(struct sim *s, unsigned proxy, uint32_t i, const struct galene_answer *a)
{
    struct gw *w = gw_of(s);
    struct gw_op *o = &w->ops[i];
    must(o->at == GW_AT_COLD && o->proxy == proxy);
    switch (a->kind) {
    case GALENE_REPLY: {
        const struct gw_blob *b = &w->blobs[a->reply.handle];
        o->changed = b->changed;
        o->h.base = b->base;
        o->h.has_base = b->has_base;
        gl_done(s, i, GALENE_DONE_REPLY, b->v.length, a->value.ts);
        break;
    }
    case GALENE_HOT:
        o->generation = a->generation;
        to_core(s, i);
        break;
    case GALENE_COLD:
    case GALENE_FAILED:
    case GALENE_REFUSED:
        gl_done(s, i, GALENE_DONE_TRYAGAIN, 0, 0);
        break;
    case GALENE_UNKNOWN:
        gl_done(s, i, GALENE_DONE_UNKNOWN, 0, 0);
        break;
    }
    for (uint32_t j = i + 1; j < w->op_count; j++) {
        const struct gw_op *e = &w->ops[j];
        if (e->at == GW_AT_PARKED && e->h.client == o->h.client && e->h.key == o->h.key &&
            e->proxy == proxy) {
            w->ops[j].at = GW_AT_NOWHERE;
            dispatch(s, j);
        }
    }
}

void gl_reply(struct sim *s, uint32_t i)
{
    struct gw *w = gw_of(s);
    struct gw_op *o = &w->ops[i];
    must(o->open);
    o->open = false;
    o->h.ret_at = s->now;
    if (o->h.client < GW_CLIENTS_MAX) {
        w->client_open[o->h.client]--;
    } else if (o->h.status != HIST_OK && s->healed && !w->config.tight) {
        sim_fail(s, "after healing, probe %u at proxy %u was not served: result %d", i + 1,
                 o->proxy, o->result);
    }
}

void gl_proxy_lost(struct sim *s, unsigned proxy)
{
    struct gw *w = gw_of(s);
    for (uint32_t i = 0; i < w->op_count; i++) {
        struct gw_op *o = &w->ops[i];
        if (o->open && o->at != GW_AT_REPLIED && o->proxy == proxy) {
            o->at = GW_AT_REPLIED;
            o->h.status = o->kind == GALENE_WRITE ? HIST_UNKNOWN : HIST_FAIL;
            sim_at(s, REPLY_NS, GW_EV_REPLY, i, 0);
        }
    }
}

/* ---- hot and cold ---- */

static void some_counts(struct sim *s, unsigned proxy)
{
    struct gw *w = gw_of(s);
    for (uint64_t k = 0; k < w->config.keys; k++) {
        if (work(s, 3) == 0) {
            continue;
        }
        struct hotset_count c = {.reads = work(s, 4) * 50, .writes = work(s, 4) * 20};
        hw_key(&c.key, k);
        c.denied = work(s, 20) == 19;
        c.pinned = work(s, 20) == 19;
        gp_count(s, proxy, &c);
    }
    gp_count(s, proxy, NULL);
}

void gl_chaos(struct sim *s)
{
    struct gw *w = gw_of(s);
    for (unsigned i = 0; i < w->config.proxies; i++) {
        const struct gw_proxy *p = &w->proxies[i];
        const struct sim_node *n = &s->nodes[gw_node(i)];
        if (!n->up || n->paused || p->core == NULL || !hotset_acts(p->hot)) {
            continue;
        }
        uint32_t r = work(s, 20);
        uint64_t key = work(s, w->config.keys);
        if (r < 12) {
            gp_want(s, i, key, r == 11 ? HOTSET_WANT_PIN : HOTSET_WANT_HOT);
        } else if (r < 16) {
            gp_want(s, i, key, HOTSET_WANT_COLD);
        } else if (r < 19) {
            some_counts(s, i);
        } else if (w->config.switched) {
            gp_switch(s, i, work(s, 3) != 0);
        }
    }
}

/* ---- the end ---- */

static bool proxies_settled(struct sim *s)
{
    struct gw *w = gw_of(s);
    const struct gw_group *g = &w->group;
    if (g->view.members != w->config.proxies) {
        return false;
    }
    for (unsigned i = 0; i < w->config.proxies; i++) {
        const struct gw_proxy *p = &w->proxies[i];
        if (g->excluding[i] || p->core == NULL || galene_expelled(p->core) ||
            galene_view(p->core)->epoch != g->view.epoch || !galene_idle(p->core) ||
            !hotset_idle(p->hot) || !galene_may_read(p->core, sim_clock(s, gw_node(i)))) {
            return false;
        }
    }
    return true;
}

/* Valid everywhere, in the backend's generation and with its value; or not hot, and known nowhere.
 */
static bool keys_settled(struct sim *s)
{
    struct gw *w = gw_of(s);
    for (uint64_t k = 0; k < w->config.keys; k++) {
        const struct hw_entry *e = &w->hw.nodes[0].entries[k];
        struct hermes_key key;
        hw_key(&key, k);
        for (unsigned i = 0; i < w->config.proxies; i++) {
            struct galene_entry en = {0};
            (void)galene_look(w->proxies[i].core, &key, &en);
            if (e->hot ? !en.valid || en.generation != e->generation : en.prepared) {
                return false;
            }
            if (galene_next_deadline(w->proxies[i].core) != UINT64_MAX) {
                return false; /* somebody still asks, reports or waits */
            }
            if (e->hot && en.ts != e->ts) {
                sim_fail(s, "in the end proxy %u has key %llu at ts %llx, the shard at %llx", i,
                         (unsigned long long)k, (unsigned long long)en.ts,
                         (unsigned long long)e->ts);
            }
        }
    }
    return true;
}

static void probe(struct sim *s)
{
    struct gw *w = gw_of(s);
    for (unsigned i = 0; i < w->config.proxies; i++) {
        for (uint64_t k = 0; k < w->config.keys; k++) {
            struct gw_op o = {.kind = w->probes == 0 ? GALENE_WRITE : GALENE_READ,
                              .blind = true,
                              .local = true,
                              .share = 1};
            o.h.key = k;
            o.h.kind = w->probes == 0 ? HIST_SET : HIST_GET;
            o.h.arg = -1000 - (int64_t)(w->op_count);
            gl_issue(s, GW_CLIENTS_MAX + i, i, &o);
        }
    }
    w->probes++;
}

bool gl_settled(struct sim *s)
{
    struct gw *w = gw_of(s);
    for (uint32_t i = 0; i < w->op_count; i++) {
        if (w->ops[i].open) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof w->late / sizeof w->late[0]; i++) {
        if (w->late[i].used) { /* a PROMOTE of long ago would make a key hot that nobody knows */
            return false;
        }
    }
    if (!proxies_settled(s) || !hw_nodes_settled(s)) {
        return false;
    }
    if (w->probes < 2 && !w->scripted) {
        probe(s);
        return false;
    }
    return keys_settled(s);
}

static void check_references(struct sim *s)
{
    struct gw *w = gw_of(s);
    for (unsigned i = 0; i < w->config.proxies; i++) {
        struct gw_proxy *p = &w->proxies[i];
        if (p->core == NULL) {
            continue;
        }
        galene_close(p->core);
        hotset_close(p->hot);
        p->core = NULL;
        if (p->holds != 0) {
            sim_fail(s, "proxy %u is closed and holds %lld references", i, (long long)p->holds);
        }
    }
}

void gl_judge(struct sim *s)
{
    struct gw *w = gw_of(s);
    hw_check_updates(s);
    struct hist_op *ops = mem_alloc((w->op_count + 1) * sizeof *ops);
    size_t count = 0;
    for (uint32_t i = 0; i < w->op_count; i++) {
        const struct gw_op *o = &w->ops[i];
        if (o->kind == GALENE_DEMOTE) {
            continue;
        }
        struct hist_op *h = &ops[count++];
        *h = o->h;
        h->base = ts_id(h->base) == 0 ? h->base | TS_ID_MAX : h->base; /* of nothing */
    }
    hw_check_histories(s, ops, count);
    mem_free(ops);
    if (!s->failed && !w->scripted) {
        hw_check_final_state(s);
        check_references(s);
    }
}
