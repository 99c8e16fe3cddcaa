/* Operations of several keys in the Hermes world: what they do to a model store, which ones clients
 * send, and what must hold of them.
 *
 * Checked without regard to how the protocol does it: an update is either in the ledger for all its
 * keys or for none, once; whoever looked at several keys at once (a read, or an update at its
 * bases) saw all of another update's keys after it, or all before it; transfers keep the sum of
 * accounts. */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "tests/sim/world_hermes.h"

/* ---- the store ---- */

static struct hw_entry *entry_at(struct sim *s, unsigned node, uint64_t key)
{
    return &hw_of(s)->nodes[node].entries[key];
}

/* Runs the steps on entries given one by one. */
static void run_steps(struct hw_entry **e, const struct hw_step *steps, unsigned count,
                      uint64_t now_ms, struct hw_part *parts)
{
    for (unsigned i = 0; i < count; i++) {
        const struct hw_step *t = &steps[i];
        if (t->kind == HW_ADD) {
            (void)hw_run_effect(e[i], HIST_INCR, 0, 0, 0, now_ms);
            e[i]->v.value += t->arg - 1;
            parts[i].ret = e[i]->v.value;
        } else if (t->kind == HW_MOVE) {
            bool there = e[i - 1]->v.live && !hw_expired(e[i - 1], now_ms);
            parts[i].ret = there;
            if (there) {
                e[i]->v = (struct hist_value){true, e[i - 1]->v.value, 1}; /* as SET would */
                e[i]->expire_ms = e[i - 1]->expire_ms;
            } else {
                (void)hw_run_effect(e[i], HIST_GET, 0, 0, 0, now_ms);
            }
            (void)hw_run_effect(e[i - 1], HIST_DEL, 0, 0, 0, now_ms);
            parts[i - 1].after = e[i - 1]->v;
        } else {
            parts[i].ret = hw_run_effect(e[i], t->kind, t->arg, 0, 0, now_ms);
        }
        parts[i].after = e[i]->v;
    }
}

bool hw_prepare_multi(struct sim *s, unsigned node, const struct hermes_op *op, uint64_t wall_ms)
{
    struct hw_op *o = &hw_of(s)->ops[op->id - 1];
    struct hw_entry copies[HW_PARTS_MAX];
    struct hw_entry *e[HW_PARTS_MAX];
    must(op->key_count == o->step_count);
    for (unsigned i = 0; i < o->step_count; i++) {
        must(hw_key_index(&op->keys[i]) == o->steps[i].key);
        copies[i] = *entry_at(s, node, o->steps[i].key);
        e[i] = &copies[i];
        o->parts[i] = (struct hw_part){.base = copies[i].ts, .absent = !copies[i].v.live};
    }
    run_steps(e, o->steps, o->step_count, wall_ms, o->parts);
    bool changes = false;
    for (unsigned i = 0; i < o->step_count; i++) {
        const struct hw_entry *was = entry_at(s, node, o->steps[i].key);
        changes = changes || was->v.live != copies[i].v.live || was->v.value != copies[i].v.value;
    }
    o->prepared = true;
    return changes;
}

void hw_apply_multi(struct sim *s, unsigned node, const struct hermes_part *parts, uint32_t count,
                    const struct hermes_update *u, uint64_t op)
{
    struct hw *w = hw_of(s);
    const struct hw_effect *f = &w->blobs[u->effects.handle].effect;
    struct hw_entry *e[HW_PARTS_MAX];
    struct hw_part seen[HW_PARTS_MAX] = {{0}};
    struct hw_entry spare[HW_PARTS_MAX];
    must(f->kind == HW_MULTI && f->step_count <= HW_PARTS_MAX);
    const struct hermes_part *part[HW_PARTS_MAX] = {0};
    for (unsigned i = 0; i < f->step_count; i++) {
        for (uint32_t p = 0; p < count; p++) {
            part[i] = hw_key_index(&parts[p].key) == f->steps[i].key ? &parts[p] : part[i];
        }
        spare[i] = *entry_at(s, node, f->steps[i].key); /* what is not named is not changed */
        e[i] = part[i] != NULL ? entry_at(s, node, f->steps[i].key) : &spare[i];
        if (part[i] != NULL && e[i]->v.live && e[i]->ts != part[i]->base) {
            sim_fail(s, "node %u ran an update of several keys on another base of key %u", node,
                     f->steps[i].key);
        }
    }
    run_steps(e, f->steps, f->step_count, u->now_ms, seen);
    for (unsigned i = 0; i < f->step_count; i++) {
        if (part[i] == NULL) {
            continue;
        }
        struct hermes_update one = {.ts = part[i]->ts,
                                    .base = part[i]->base,
                                    .generation = part[i]->generation,
                                    .rmw = true};
        e[i]->ts = one.ts;
        e[i]->hot = false;
        e[i]->generation = one.generation;
        e[i]->present = true;
        hw_ledger(s, node, f->steps[i].key, e[i], &one, f);
        if (op != 0) {
            seen[i].base = one.base;
            seen[i].ts = one.ts;
            seen[i].absent = w->ops[op - 1].parts[i].absent;
        }
    }
    if (op != 0) {
        memcpy(w->ops[op - 1].parts, seen, sizeof seen);
    }
}

/* ---- load ---- */

bool hw_is_account(const struct hw *w, uint64_t key)
{
    return w->config.accounts && key % HW_SLOTS == HW_SLOTS - 1;
}

static uint32_t work(struct sim *s, uint32_t n)
{
    return sim_choose(s, SITE_WORK, n);
}

static void draw_steps(struct sim *s, struct hw_op *o, bool account)
{
    struct hw *w = hw_of(s);
    uint32_t what = work(s, account ? 2 : 4);
    static const enum hist_kind kinds[] = {HIST_INCR, HIST_SET, HIST_GET, HIST_DEL};
    for (unsigned i = 0; i < o->step_count; i++) {
        struct hw_step *t = &o->steps[i];
        if (what == 0) {
            t->kind = HIST_GET;
        } else if (account) {
            t->kind = HW_ADD;
            t->arg = i == 0 ? 1 + (int64_t)work(s, 50) : i == 1 ? -o->steps[0].arg : 0;
        } else if (what == 1 && i < 2) {
            t->kind = i == 0 ? HIST_GET : HW_MOVE;
        } else {
            t->kind = (uint8_t)kinds[work(s, w->config.del ? 4 : 3)];
            t->arg = (int64_t)(w->op_count + 1) * 1000 + 500 + i;
        }
    }
}

bool hw_draw_multi(struct sim *s, struct hw_op *o)
{
    struct hw *w = hw_of(s);
    uint64_t slot = o->h.key % HW_SLOTS;
    uint64_t of_slot = (w->config.keys - slot + HW_SLOTS - 1) / HW_SLOTS;
    if (of_slot < 2) {
        return false;
    }
    bool account = hw_is_account(w, o->h.key);
    o->kind = HERMES_MULTI;
    o->h.kind = HIST_GET;
    o->step_count = (uint8_t)(of_slot > 2 && !account && work(s, 3) == 2 ? 3 : 2);
    uint64_t place = o->h.key / HW_SLOTS;
    uint64_t back = account ? 0 : work(s, 2); /* in either order; accounts go in pairs */
    for (unsigned i = 0; i < o->step_count; i++) {
        uint64_t j = account ? place ^ i : place + (back != 0 ? of_slot - i % of_slot : i);
        o->steps[i].key = (uint8_t)(slot + j % of_slot * HW_SLOTS);
    }
    draw_steps(s, o, account);
    return true;
}

/* ---- histories ---- */

size_t hw_multi_history(const struct hw_op *o, struct hist_op *out)
{
    if (o->h.status == HIST_FAIL || !o->prepared) {
        return 0; /* it never ran */
    }
    for (unsigned i = 0; i < o->step_count; i++) {
        const struct hw_part *p = &o->parts[i];
        struct hist_op *h = &out[i];
        *h = o->h;
        h->key = o->steps[i].key;
        h->kind = o->steps[i].kind < HW_NO_CHANGE ? (enum hist_kind)o->steps[i].kind : HIST_SET;
        h->arg = o->steps[i].arg;
        h->ret = p->ret;
        bool moved_from = i + 1u < o->step_count && o->steps[i + 1].kind == HW_MOVE;
        if (h->kind == HIST_SET || moved_from) { /* of those made from others: what they became */
            h->kind = p->after.live ? HIST_SET : HIST_DEL;
            h->arg = p->after.value;
            h->ret = p->after.live ? 0 : !p->absent;
        }
        if (o->steps[i].kind == HW_MOVE && p->ret == 0) { /* there was nothing to move */
            h->kind = HIST_GET;
            h->ret = p->after.live ? p->after.value : HIST_ABSENT;
        }
        h->is_write = o->h.status == HIST_OK && o->result == HERMES_DONE;
        h->has_base = h->is_write;
        h->base = ts_id(p->base) == 0 ? p->base | TS_ID_MAX : p->base; /* a floor */
        h->ts = h->is_write ? p->ts : p->base;
        if (!h->is_write && p->absent && ts_id(p->base) == 0) {
            h->ts = HIST_NO_TS;
        }
    }
    return o->step_count;
}

/* ---- what must hold ---- */

struct sight { /* of one key by one operation that looked at several */
    uint32_t op;
    uint64_t key, before, after; /* after 0: it changed nothing */
    bool told;                   /* before is the ts of something, not of nothing */
};

static int by_op(const void *a, const void *b)
{
    const struct sight *x = a;
    const struct sight *y = b;
    return x->op != y->op ? (x->op < y->op ? -1 : 1) : x->key < y->key ? -1 : x->key > y->key;
}

/* What was committed, as the ledger has it, and what reads saw. */
static size_t collect(struct sim *s, struct sight *out)
{
    struct hw *w = hw_of(s);
    size_t n = 0;
    for (size_t i = 0; i < HW_LEDGER_SIZE; i++) {
        const struct hw_applied *a = &w->ledger[i];
        if (a->ts != 0 && a->effect.kind == HW_MULTI) {
            out[n++] = (struct sight){(uint32_t)a->effect.arg, a->key, a->base, a->ts,
                                      ts_id(a->base) != 0};
        }
    }
    for (uint32_t i = 0; i < w->op_count; i++) {
        const struct hw_op *o = &w->ops[i];
        if (o->step_count == 0 || o->h.status != HIST_OK || o->result != HERMES_NOTHING) {
            continue;
        }
        for (unsigned k = 0; k < o->step_count; k++) {
            out[n++] = (struct sight){i, o->steps[k].key, o->parts[k].base, 0,
                                      ts_id(o->parts[k].base) != 0};
        }
    }
    qsort(out, n, sizeof *out, by_op);
    return n;
}

/* a and b: all sights of two operations; b changed its keys. */
static void check_pair(struct sim *s, const struct sight *a, size_t na, const struct sight *b,
                       size_t nb)
{
    int saw = -1;
    for (size_t i = 0; i < na; i++) {
        for (size_t j = 0; j < nb; j++) {
            if (a[i].key != b[j].key || !a[i].told) {
                continue;
            }
            int here = a[i].before >= b[j].after;
            if (saw >= 0 && saw != here) {
                sim_fail(s, "op %u saw half of op %u", a->op + 1, b->op + 1);
            }
            saw = here;
        }
    }
}

static size_t group_end(const struct sight *v, size_t n, size_t at)
{
    size_t end = at;
    while (end < n && v[end].op == v[at].op) {
        end++;
    }
    return end;
}

static void check_whole(struct sim *s, const struct sight *v, size_t n)
{
    const struct hw_op *o = &hw_of(s)->ops[v->op];
    bool twice = false;
    for (size_t i = 1; i < n; i++) {
        twice = twice || v[i].key == v[i - 1].key;
    }
    if (n != o->step_count || twice) {
        sim_fail(s, "op %u took effect on %zu of its %u keys%s", v->op + 1, n, o->step_count,
                 twice ? ", on one of them twice" : "");
    }
}

static void check_sums(struct sim *s)
{
    struct hw *w = hw_of(s);
    for (uint32_t i = 0; i < w->op_count && w->config.accounts; i++) {
        const struct hw_op *o = &w->ops[i];
        if (o->step_count == 0 || !hw_is_account(w, o->h.key) || o->h.status != HIST_OK) {
            continue;
        }
        int64_t sum = 0;
        for (unsigned k = 0; k < 2; k++) {
            sum += o->parts[k].after.live ? o->parts[k].after.value : 0;
        }
        if (sum != 0) {
            sim_fail(s, "op %u saw accounts whose sum is %lld", i + 1, (long long)sum);
        }
    }
    for (unsigned node = 0; node < w->config.replicas && w->config.accounts; node++) {
        int64_t sum = 0;
        for (uint64_t k = HW_SLOTS - 1; k < w->config.keys; k += HW_SLOTS) {
            sum += entry_at(s, node, k)->v.live ? entry_at(s, node, k)->v.value : 0;
        }
        if (sum != 0 && !hw_gone(w, node)) {
            sim_fail(s, "in the end the accounts at node %u have the sum %lld", node,
                     (long long)sum);
        }
    }
}

void hw_judge_multis(struct sim *s)
{
    struct hw *w = hw_of(s);
    struct sight *v =
        mem_alloc((w->ledger_count + (size_t)w->op_count * HW_PARTS_MAX + 1) * sizeof *v);
    size_t n = collect(s, v);
    for (size_t i = 0; i < n; i = group_end(v, n, i)) {
        size_t i_end = group_end(v, n, i);
        if (v[i].after == 0) {
            continue;
        }
        check_whole(s, v + i, i_end - i);
        for (size_t j = 0; j < n; j = group_end(v, n, j)) {
            if (j != i) {
                check_pair(s, v + j, group_end(v, n, j) - j, v + i, i_end - i);
            }
        }
    }
    mem_free(v);
    check_sums(s);
}
