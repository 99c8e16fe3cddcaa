/* Clients of the Hermes world, what they saw, and whether it could have been.
 *
 * Each client keeps to one replica while it has something under way, sends several commands without
 * waiting, and moves when it is told to try elsewhere. Values are unique. Which commands, how many
 * keys, how much at once is drawn per run. */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "tests/sim/world_hermes.h"

#define REPLY_NS 30000

static uint32_t work(struct sim *s, uint32_t n)
{
    return sim_choose(s, SITE_WORK, n);
}

void hw_load_init(struct sim *s)
{
    struct hw *w = hw_of(s);
    for (unsigned c = 0; c < w->config.clients; c++) {
        w->clients[c].node = c % w->config.replicas;
        sim_at(s, SIM_MS * (20 + c), HW_EV_CLIENT, c, 0);
    }
}

static uint64_t pick_key(struct sim *s)
{
    struct hw *w = hw_of(s);
    uint64_t k = work(s, w->config.keys);
    for (unsigned i = 0; w->config.zipf && i < 2; i++) { /* the smallest of three: skewed enough */
        uint64_t other = work(s, w->config.keys);
        k = other < k ? other : k;
    }
    return k;
}

/* HOTWRITE with the generation of the day, more or less. */
static void maybe_hot(struct sim *s, struct hw_op *o)
{
    struct hw *w = hw_of(s);
    if (!w->config.hot) {
        return;
    }
    uint32_t r = work(s, 10);
    uint64_t back = work(s, 3);
    if (r == 9 || r == 8) {
        o->kind = r == 9 ? HERMES_PROMOTE : HERMES_DEMOTE;
        o->generation = r == 9 ? ++w->generation : w->generation;
        o->generation -= o->generation > back ? back : 0;
        o->h.kind = HIST_GET;
    } else if (r >= 4) {
        o->hotwrite = true;
        o->generation = w->generation > back ? w->generation - back : w->generation;
    }
}

static void draw_op(struct sim *s, struct hw_op *o, unsigned client)
{
    struct hw *w = hw_of(s);
    const struct hw_config *c = &w->config;
    *o = (struct hw_op){.kind = HERMES_READ};
    o->h.key = pick_key(s);
    o->h.kind = HIST_GET;
    if (c->multi && work(s, 100) < 40 && hw_draw_multi(s, o)) {
        return;
    }
    if (work(s, 100) < 45 || hw_is_account(w, o->h.key)) {
        return;
    }
    o->kind = HERMES_WRITE;
    o->h.kind = HIST_SET;
    o->h.arg = (int64_t)(w->op_count + 1) * 1000 + (int64_t)client;
    uint32_t r = work(s, 10);
    if (c->purge && work(s, 12) == 11) {
        o->kind = HERMES_PURGE;
        o->version = work(s, 3) == 0 ? 1 : 0; /* filled in when it arrives */
        o->h.kind = HIST_GET;
        return;
    }
    if (c->mix && r < (c->rmw_heavy ? 8u : 5u)) {
        static const enum hist_kind kinds[] = {HIST_INCR, HIST_INCR, HIST_APPEND, HIST_CAS};
        o->kind = HERMES_UPDATE;
        o->h.kind = kinds[work(s, 4)];
        if (o->h.kind == HIST_CAS) {
            o->h.arg2 = o->h.arg;
            o->h.arg = w->nodes[w->clients[client].node].entries[o->h.key].v.value;
        }
    } else if (c->del && r >= 8) {
        o->kind = HERMES_UPDATE;
        o->h.kind = HIST_DEL;
    } else if (c->expire && r >= 6) {
        o->expire_ms = 1 + work(s, 60); /* from the arrival */
    }
    if (o->h.kind == HIST_SET || o->h.kind == HIST_INCR) {
        maybe_hot(s, o);
    }
}

uint32_t hw_issue(struct sim *s, unsigned client, unsigned node, const struct hw_op *op)
{
    struct hw *w = hw_of(s);
    must(w->op_count < HW_OPS_MAX);
    uint32_t i = w->op_count++;
    struct hw_op *o = &w->ops[i];
    *o = *op;
    o->h.client = client;
    o->h.sequence = i;
    o->h.call = s->now;
    o->h.status = HIST_UNKNOWN;
    o->node = node;
    o->open = true;
    o->writes = o->kind == HERMES_WRITE || o->kind == HERMES_UPDATE || o->step_count != 0;
    if (o->writes) {
        struct hw_effect e = {(uint8_t)o->h.kind, o->h.arg, o->h.arg2, 0, 0, {{0}}};
        if (o->step_count != 0) {
            e = (struct hw_effect){.kind = HW_MULTI, .arg = i, .step_count = o->step_count};
            memcpy(e.steps, o->steps, sizeof e.steps);
        }
        o->effects = hw_blob_new(w, &e);
    }
    if (client < HW_CLIENTS_MAX) {
        w->clients[client].open++;
    }
    sim_note(s, "client %u: op %u %s key %llu arg %lld at node %u", client, i + 1,
             o->kind == HERMES_READ     ? "read"
             : o->kind == HERMES_WRITE  ? "write"
             : o->kind == HERMES_UPDATE ? "rmw"
             : o->kind == HERMES_MULTI  ? "multi"
                                        : "control",
             (unsigned long long)o->h.key, (long long)o->h.arg, node);
    uint8_t frame[5] = {HW_REQUEST, (uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16),
                        (uint8_t)(i >> 24)};
    sim_post(s, hw_clients_node(w), node, frame, sizeof frame);
    return i;
}

void hw_client_turn(struct sim *s, unsigned client)
{
    struct hw *w = hw_of(s);
    struct hw_client *c = &w->clients[client];
    if (s->healed || w->op_count + 64 >= HW_OPS_MAX || w->op_count >= w->config.ops) {
        return;
    }
    if (c->open == 0 && !s->nodes[c->node].up) { /* connection refused */
        c->node = (c->node + 1) % w->config.replicas;
    }
    if (c->open < w->config.pipeline && s->nodes[c->node].up) {
        struct hw_op o;
        draw_op(s, &o, client);
        hw_issue(s, client, c->node, &o);
    }
    uint64_t think = 100000 * (uint64_t)(1 + work(s, 20));
    if (work(s, 12) == 11) {
        think += SIM_MS * work(s, 150);
    }
    sim_at(s, think, HW_EV_CLIENT, client, 0);
}

void hw_request(struct sim *s, unsigned node, uint32_t i)
{
    struct hw *w = hw_of(s);
    if (i >= w->op_count || !w->ops[i].open || w->ops[i].node != node || w->ops[i].replied) {
        return; /* its connection broke */
    }
    if (w->nodes[node].core == NULL) { /* not in a view yet */
        struct hermes_done not_here = {.op = i + 1, .result = HERMES_TRYAGAIN};
        hw_done(s, node, &not_here);
        return;
    }
    struct hw_op *o = &w->ops[i];
    if (o->expire_ms != 0) { /* a relative expiry becomes absolute here */
        w->blobs[o->effects].effect.expire_ms = hw_wall_ms(s, node) + o->expire_ms;
    }
    if (o->kind == HERMES_PURGE &&
        o->version == 0) { /* what the driver does: up to the largest tombstone it knows */
        for (uint64_t k = o->h.key % HW_SLOTS; k < w->config.keys; k += HW_SLOTS) {
            const struct hw_entry *e = &w->nodes[node].entries[k];
            uint64_t v = ts_version(e->ts);
            o->version = !e->v.live && v > o->version ? v : o->version;
        }
    }
    hw_node_op(s, node, i);
}

void hw_done(struct sim *s, unsigned node, const struct hermes_done *d)
{
    struct hw *w = hw_of(s);
    must(d->op >= 1 && d->op <= w->op_count);
    if (w->on_done != NULL) {
        w->on_done(s, node, d);
        return;
    }
    struct hw_op *o = &w->ops[d->op - 1];
    if (!o->open || o->replied) {
        sim_fail(s, "node %u answered op %llu twice", node, (unsigned long long)d->op);
        return;
    }
    o->replied = true;
    o->result = d->result;
    o->h.ts = d->ts;
    sim_hash(s, d->op << 8 | (uint64_t)d->result);
    switch (d->result) {
    case HERMES_DONE:
        o->h.status = HIST_OK;
        o->h.is_write = o->writes;
        break;
    case HERMES_NOTHING:
        o->h.status = HIST_OK;
        break;
    case HERMES_HOT:
    case HERMES_COLD:
    case HERMES_REFUSED:
    case HERMES_TRYAGAIN:
        o->h.status = HIST_FAIL;
        break;
    case HERMES_UNKNOWN:
        o->h.status = HIST_UNKNOWN;
        break;
    }
    sim_note(s, "node %u: op %llu result %d ret %lld ts %llu.%u", node, (unsigned long long)d->op,
             d->result, (long long)o->h.ret, (unsigned long long)ts_version(d->ts), ts_id(d->ts));
    if (d->result == HERMES_TRYAGAIN && o->h.client < HW_CLIENTS_MAX &&
        w->clients[o->h.client].node == node && w->clients[o->h.client].open <= 1) {
        w->clients[o->h.client].node = (node + 1) % w->config.replicas;
    }
    sim_at(s, REPLY_NS, HW_EV_REPLY, d->op - 1, 0);
}

void hw_reply(struct sim *s, uint32_t i)
{
    struct hw *w = hw_of(s);
    struct hw_op *o = &w->ops[i];
    must(o->open);
    o->open = false;
    o->h.ret_at = s->now;
    if (o->effects != 0) {
        hw_blob_drop(w, o->effects);
        o->effects = 0;
    }
    if (o->h.client < HW_CLIENTS_MAX) {
        w->clients[o->h.client].open--;
    }
    if (o->h.client >= HW_CLIENTS_MAX && o->h.status != HIST_OK && o->result != HERMES_HOT &&
        s->healed) {
        sim_fail(s, "after healing, a probe at node %u was not served", o->node);
    }
}

void hw_node_lost(struct sim *s, unsigned node)
{
    struct hw *w = hw_of(s);
    if (w->on_lost != NULL) {
        w->on_lost(s, node);
        return;
    }
    for (uint32_t i = 0; i < w->op_count; i++) {
        struct hw_op *o = &w->ops[i];
        if (o->open && !o->replied && o->node == node) { /* writes: nobody can know */
            o->replied = true;
            o->h.status = o->writes ? HIST_UNKNOWN : HIST_FAIL;
            sim_at(s, REPLY_NS, HW_EV_REPLY, i, 0);
        }
    }
}

/* ---- the end ---- */

bool hw_nodes_settled(struct sim *s)
{
    struct hw *w = hw_of(s);
    uint64_t epoch = w->members.view.epoch;
    if (w->members.view.members != w->config.replicas - (w->gone != 0 ? 1 : 0)) {
        return false;
    }
    for (unsigned i = 0; i < w->config.replicas; i++) {
        const struct hermes *h = w->nodes[i].core;
        if (w->members.excluding[i]) {
            return false; /* a change of view is under way */
        }
        if (hw_gone(w, i)) {
            continue;
        }
        if (!s->nodes[i].up || h == NULL || hermes_view(h)->epoch != epoch || !hermes_idle(h) ||
            !hermes_may_read(h, sim_clock(s, i)) || hermes_next_deadline(h) != UINT64_MAX) {
            return false;
        }
    }
    return true;
}

bool hw_settled(struct sim *s)
{
    struct hw *w = hw_of(s);
    for (uint32_t i = 0; i < w->op_count; i++) {
        if (w->ops[i].open) {
            return false;
        }
    }
    if (!hw_nodes_settled(s)) {
        return false;
    }
    if (w->probes < 2 * w->config.replicas &&
        !w->scripted) { /* a write at each replica, then a read at each */
        for (unsigned i = 0; i < w->config.replicas; i++, w->probes++) {
            if (hw_gone(w, i)) {
                continue;
            }
            struct hw_op o = {.kind = HERMES_READ, .h = {.kind = HIST_GET, .key = 0}};
            if (w->probes < w->config.replicas && !w->nodes[i].entries[0].hot) {
                o.kind = HERMES_WRITE;
                o.h.kind = HIST_SET;
                o.h.arg = -1000 - (int64_t)w->probes;
            }
            hw_issue(s, HW_CLIENTS_MAX + i, i, &o);
        }
        return false;
    }
    return true;
}

static int by_key_ts(const void *a, const void *b)
{
    const struct hw_applied *x = a;
    const struct hw_applied *y = b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->ts < y->ts ? -1 : x->ts > y->ts;
}

/* Committed updates of a key in the order of their ts: hot flag and generation change only as they
 * may (G3, G4, G6, G7), and an RMW stands on what was there before it. */
static void check_chain(struct sim *s, const struct hw_applied *before, const struct hw_applied *a)
{
    bool first = before == NULL || before->key != a->key;
    bool hot = !first && before->hot;
    uint64_t generation = first ? 0 : before->generation;
    const char *wrong = NULL;
    if (a->hot && !hot && a->generation <= generation) {
        wrong = "promoted with a generation that is not new";
    } else if (a->hot && hot && a->generation != generation && a->effect.kind != HW_NO_CHANGE) {
        wrong = "written in another generation than the key is hot in";
    } else if (a->hot != hot && a->effect.kind != HW_NO_CHANGE) {
        wrong = "written by somebody who took it for hot and it was not, or the other way round";
    } else if (a->rmw && !first && a->base < before->ts &&
               !(ts_id(a->base) == 0 && ts_version(a->base) >= ts_version(before->ts))) {
        wrong = "a read-modify-write passed over an update";
    }
    if (wrong != NULL) {
        sim_fail(s, "key %llu: update %llu.%u on %llu.%u after %llu.%u: %s",
                 (unsigned long long)a->key, (unsigned long long)ts_version(a->ts), ts_id(a->ts),
                 (unsigned long long)ts_version(a->base), ts_id(a->base),
                 first ? 0 : (unsigned long long)ts_version(before->ts),
                 first ? 0 : ts_id(before->ts), wrong);
    }
}

/* Writes that committed hot or cold as they were asked to (G3, G4). */
static void check_hot_op(struct sim *s, const struct hw_applied *a, const struct hw_op *o)
{
    if (o->hotwrite ? !a->hot || a->generation != o->generation : a->hot) {
        sim_fail(s, "op at ts %llx: hotwrite %d in %llu, but the key was hot %d in %llu",
                 (unsigned long long)a->ts, o->hotwrite, (unsigned long long)o->generation, a->hot,
                 (unsigned long long)a->generation);
    }
}

/* PROMOTE and DEMOTE did what they were asked to, in the generation they named (G6, G7). */
static void check_control(struct sim *s, const struct hw_applied *sorted, size_t n,
                          const struct hw_op *o)
{
    if ((o->kind != HERMES_PROMOTE && o->kind != HERMES_DEMOTE) || o->h.status != HIST_OK) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct hw_applied *a = &sorted[i];
        if (a->key == o->h.key && a->ts == o->h.ts &&
            (a->generation != o->generation || a->hot != (o->kind == HERMES_PROMOTE))) {
            sim_fail(s, "op at ts %llx was to set hot %d in generation %llu, but did %d in %llu",
                     (unsigned long long)a->ts, o->kind == HERMES_PROMOTE,
                     (unsigned long long)o->generation, a->hot, (unsigned long long)a->generation);
        }
    }
}

static void report(struct sim *s, const char *check, const struct hist_fault *f)
{
    sim_fail(s,
             "%s: key %llu: %s: op %llu (client %u, %llu..%llu, kind %d arg %lld ret %lld ts "
             "%llu.%u), op %llu (client %u, "
             "%llu..%llu, kind %d arg %lld ret %lld ts %llu.%u base %llu.%u)",
             check, (unsigned long long)f->first.key, f->what,
             (unsigned long long)f->first.sequence + 1, f->first.client,
             (unsigned long long)f->first.call / 1000, (unsigned long long)f->first.ret_at / 1000,
             f->first.kind, (long long)f->first.arg, (long long)f->first.ret,
             (unsigned long long)ts_version(f->first.ts), ts_id(f->first.ts),
             (unsigned long long)f->second.sequence + 1, f->second.client,
             (unsigned long long)f->second.call / 1000, (unsigned long long)f->second.ret_at / 1000,
             f->second.kind, (long long)f->second.arg, (long long)f->second.ret,
             (unsigned long long)ts_version(f->second.ts), ts_id(f->second.ts),
             (unsigned long long)ts_version(f->second.base), ts_id(f->second.base));
}

void hw_check_histories(struct sim *s, struct hist_op *ops, size_t n)
{
    const struct hw_config *c = &hw_of(s)->config;
    struct hist_fault fault;
    history_sort(ops, n);
    for (size_t i = 0; i < n && !s->failed;) {
        size_t end = i;
        while (end < n && ops[end].key == ops[i].key) {
            end++;
        }
        if (!check_witness(ops + i, end - i, &fault)) {
            report(s, "witness", &fault);
        }
        if (!c->mix && !c->del && !c->expire && !s->failed &&
            !check_zones(ops + i, end - i, &fault)) {
            report(s, "zones", &fault);
        }
        bool gave_up = false;
        if ((c->mix || c->del || s->seed % 16 == 0) && !c->expire && !s->failed &&
            !check_search(ops + i, end - i, 20000, &gave_up, &fault)) {
            report(s, "search", &fault);
        }
        i = end;
    }
}

void hw_check_final_state(struct sim *s)
{
    struct hw *w = hw_of(s);
    for (unsigned i = 0; i < w->config.replicas; i++) {
        if (w->nodes[i].holds != 0 && !hw_gone(w, i)) {
            sim_fail(s, "node %u is idle and holds %lld references", i,
                     (long long)w->nodes[i].holds);
        }
    }
    for (uint64_t k = 0; k < w->config.keys; k++) {
        unsigned first = hw_gone(w, 0) ? 1 : 0;
        const struct hw_entry *a = &w->nodes[first].entries[k];
        for (unsigned i = first + 1; i < w->config.replicas; i++) {
            const struct hw_entry *b = &w->nodes[i].entries[k];
            if (hw_gone(w, i)) {
                continue;
            }
            if (a->v.live != b->v.live ||
                (a->v.live && (a->ts != b->ts || a->v.value != b->v.value)) || a->hot != b->hot) {
                sim_fail(s, "in the end key %llu differs at nodes %u and %u", (unsigned long long)k,
                         first, i);
            }
        }
    }
}

/* What was committed, by key and ts, checked; the caller frees it. */
static struct hw_applied *committed(struct sim *s, size_t *count)
{
    const struct hw *w = hw_of(s);
    struct hw_applied *sorted = mem_alloc((w->ledger_count + 1) * sizeof *sorted);
    size_t n = 0;
    for (size_t i = 0; i < HW_LEDGER_SIZE; i++) {
        if (w->ledger[i].ts != 0) {
            sorted[n++] = w->ledger[i];
        }
    }
    qsort(sorted, n, sizeof *sorted, by_key_ts);
    for (size_t i = 0; i < n; i++) {
        check_chain(s, i == 0 ? NULL : &sorted[i - 1], &sorted[i]);
    }
    *count = n;
    return sorted;
}

void hw_check_updates(struct sim *s)
{
    size_t n = 0;
    mem_free(committed(s, &n));
}

void hw_judge(struct sim *s)
{
    struct hw *w = hw_of(s);
    size_t n = 0;
    struct hw_applied *sorted = committed(s, &n);
    struct hist_op *ops = mem_alloc((w->op_count + 1) * HW_PARTS_MAX * sizeof *ops);
    size_t count = 0;
    for (uint32_t i = 0; i < w->op_count; i++) {
        const struct hw_op *o = &w->ops[i];
        check_control(s, sorted, n, o);
        if (o->step_count != 0) {
            count += hw_multi_history(o, ops + count);
            continue;
        }
        if (o->kind != HERMES_READ && !o->writes) {
            continue;
        }
        struct hist_op *h = &ops[count++];
        *h = o->h;
        h->base = ts_id(h->base) == 0 ? h->base | TS_ID_MAX : h->base; /* a floor */
        bool absent =
            (h->kind == HIST_GET && h->ret == HIST_ABSENT) || (!h->is_write && h->kind != HIST_GET);
        if (h->status == HIST_OK && absent && ts_id(h->ts) == 0 && h->ts != 0) {
            h->ts = HIST_NO_TS; /* a floor: other replicas have other names for absent */
        }
        for (size_t j = 0; w->config.hot && h->status == HIST_OK && h->is_write && j < n; j++) {
            if (sorted[j].key == h->key && sorted[j].ts == h->ts) {
                check_hot_op(s, &sorted[j], o);
            }
        }
    }
    hw_judge_multis(s);
    hw_check_histories(s, ops, count);
    if (!s->failed && !w->scripted) {
        hw_check_final_state(s);
    }
    mem_free(ops);
    mem_free(sorted);
}
