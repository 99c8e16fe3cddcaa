/* Records of keys that are not Valid or have somebody waiting: hash table, free lists, deadlines,
 * queues.
 *
 * A record is found by hash and the store's comparison of key bytes, so collisions cost a
 * comparison and nothing else. Deadlines are a binary heap of record numbers; every record knows
 * its place in it. Everything is an index into arrays made at init.
 *
 * The counters of a slot (busy, own) follow from has_pending and own.active and are kept here,
 * where those change. */
#include "coherence/hermes_int.h"

#include <string.h>

static uint32_t index_of(const struct hermes *h, const struct record *r)
{
    return (uint32_t)(r - h->records);
}

static uint32_t *bucket_of(const struct hermes *h, uint64_t hash)
{
    return &h->buckets[(uint32_t)(hash ^ hash >> 32) & h->bucket_mask];
}

struct record *key_find(const struct hermes *h, const struct hermes_key *key)
{
    for (uint32_t i = *bucket_of(h, key->hash); i != NIL; i = h->records[i].next) {
        struct record *r = &h->records[i];
        if (r->key.hash == key->hash && r->key.slot == key->slot &&
            h->store.same_key(h->store.ctx, r->key.ref, key->ref)) {
            return r;
        }
    }
    return NULL;
}

struct record *key_get(struct hermes *h, const struct hermes_key *key)
{
    struct record *r = key_find(h, key);
    if (r != NULL) {
        return r;
    }
    must(h->free_record != NIL && h->free_records > 0);
    uint32_t i = h->free_record;
    r = &h->records[i];
    h->free_record = r->next;
    h->free_records--;
    struct hermes_meta m;
    key_meta(h, key, &m);
    memset(r, 0, sizeof *r);
    *r = (struct record){.used = true,
                         .heap_pos = NIL,
                         .head = NIL,
                         .tail = NIL,
                         .group = NIL,
                         .part_next = NIL,
                         .deadline = UINT64_MAX,
                         .key = *key,
                         .seen = m.ts,
                         .resend_at = UINT64_MAX,
                         .replay_at = UINT64_MAX};
    r->key.ref = h->store.hold(h->store.ctx, key->ref);
    uint32_t *bucket = bucket_of(h, key->hash);
    r->next = *bucket;
    *bucket = i;
    h->store.mark(h->store.ctx, &r->key, 1 + KEY_VALID);
    return r;
}

void key_release(struct hermes *h, struct record *r)
{
    if (r->has_pending || r->own.active || r->head != NIL || r->dirty) {
        return;
    }
    slot_forget(h, r);
    key_set_deadline(h, r, UINT64_MAX);
    h->store.mark(h->store.ctx, &r->key, 0);
    h->store.drop(h->store.ctx, r->key.ref);
    uint32_t i = index_of(h, r);
    uint32_t *at = bucket_of(h, r->key.hash);
    while (*at != i) {
        at = &h->records[*at].next;
    }
    *at = r->next;
    r->used = false;
    r->next = h->free_record;
    h->free_record = i;
    h->free_records++;
}

/* ---- deadlines ---- */

static bool earlier(const struct hermes *h, uint32_t a, uint32_t b)
{
    uint64_t x = h->records[a].deadline;
    uint64_t y = h->records[b].deadline;
    return x != y ? x < y : a < b;
}

static void heap_place(struct hermes *h, uint32_t pos, uint32_t i)
{
    h->heap[pos] = i;
    h->records[i].heap_pos = pos;
}

static void heap_fix(struct hermes *h, uint32_t pos)
{
    uint32_t i = h->heap[pos];
    while (pos > 0 && earlier(h, i, h->heap[(pos - 1) / 2])) {
        heap_place(h, pos, h->heap[(pos - 1) / 2]);
        pos = (pos - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * pos + 1;
        if (child >= h->heap_count) {
            break;
        }
        if (child + 1 < h->heap_count && earlier(h, h->heap[child + 1], h->heap[child])) {
            child++;
        }
        if (!earlier(h, h->heap[child], i)) {
            break;
        }
        heap_place(h, pos, h->heap[child]);
        pos = child;
    }
    heap_place(h, pos, i);
}

void key_set_deadline(struct hermes *h, struct record *r, uint64_t at)
{
    r->deadline = at;
    if (at == UINT64_MAX) {
        if (r->heap_pos == NIL) {
            return;
        }
        uint32_t pos = r->heap_pos;
        uint32_t last = h->heap[--h->heap_count];
        r->heap_pos = NIL;
        if (pos < h->heap_count) {
            heap_place(h, pos, last);
            heap_fix(h, pos);
        }
        return;
    }
    if (r->heap_pos == NIL) {
        heap_place(h, h->heap_count, index_of(h, r));
        h->heap_count++;
    }
    heap_fix(h, r->heap_pos);
}

/* ---- operations waiting on a key ---- */

uint32_t op_take(struct hermes *h, const struct hermes_op *op)
{
    must(h->free_op != NIL);
    uint32_t i = h->free_op;
    h->free_op = h->ops[i].next;
    h->free_ops--;
    h->ops[i] = (struct op_slot){.next = NIL, .prev = NIL, .parent = NIL, .sibling = NIL};
    h->ops[i].op = *op;
    if (op->effects.handle != 0) {
        h->ops[i].op.effects = h->store.hold(h->store.ctx, op->effects);
    }
    return i;
}

void op_give(struct hermes *h, uint32_t op)
{
    if (h->ops[op].op.effects.handle != 0) {
        h->store.drop(h->store.ctx, h->ops[op].op.effects);
    }
    h->ops[op].next = h->free_op;
    h->free_op = op;
    h->free_ops++;
}

void key_push(struct hermes *h, struct record *r, uint32_t op)
{
    h->ops[op].next = NIL;
    if (r->tail == NIL) {
        r->head = op;
    } else {
        h->ops[r->tail].next = op;
    }
    r->tail = op;
}

void key_push_head(struct hermes *h, struct record *r, uint32_t op)
{
    h->ops[op].next = r->head;
    r->head = op;
    if (r->tail == NIL) {
        r->tail = op;
    }
}

uint32_t key_pop(struct hermes *h, struct record *r)
{
    uint32_t op = r->head;
    must(op != NIL);
    r->head = h->ops[op].next;
    if (r->head == NIL) {
        r->tail = NIL;
    }
    return op;
}

/* ---- updates of a key ---- */

static void count_slot(struct hermes *h, struct record *r, bool was_busy)
{
    bool busy = r->has_pending || r->own.active;
    struct slot_info *s = &h->slots[r->key.slot];
    if (busy && !was_busy) {
        s->busy++;
    } else if (!busy && was_busy) {
        must(s->busy > 0);
        s->busy--;
        if (s->busy == 0 && s->locked_by != 0) {
            slot_settled(h, r->key.slot);
        }
    }
}

static struct coh_ref hold_effects(struct hermes *h, struct coh_ref effects)
{
    return effects.handle == 0 ? effects : h->store.hold(h->store.ctx, effects);
}

static void drop_effects(struct hermes *h, struct coh_ref effects)
{
    if (effects.handle != 0) {
        h->store.drop(h->store.ctx, effects);
    }
}

void key_set_pending(struct hermes *h, struct record *r, const struct hermes_update *u)
{
    bool was_busy = r->has_pending || r->own.active;
    struct coh_ref effects =
        hold_effects(h, u->effects); /* before the drop: they may be the same */
    must(r->group == NIL);
    if (r->has_pending) {
        drop_effects(h, r->pending.effects);
    }
    r->pending = *u;
    r->pending.effects = effects;
    r->has_pending = true;
    r->replaying = false;
    r->seen = u->ts;
    r->tries = 0;
    count_slot(h, r, was_busy);
}

void key_clear_pending(struct hermes *h, struct record *r)
{
    must(r->has_pending && r->group == NIL);
    drop_effects(h, r->pending.effects);
    r->has_pending = false;
    r->replaying = false;
    r->replay_at = UINT64_MAX;
    count_slot(h, r, true);
}

void key_set_own(struct hermes *h, struct record *r, const struct hermes_update *u, uint32_t op)
{
    must(!r->own.active && r->group == NIL);
    bool was_busy = r->has_pending;
    r->own =
        (struct own_update){.active = true, .op = op, .u = *u, .round = {.epoch = h->view.epoch}};
    r->own.u.effects = hold_effects(h, u->effects);
    h->slots[r->key.slot].own++;
    count_slot(h, r, was_busy);
}

void key_clear_own(struct hermes *h, struct record *r)
{
    must(r->own.active);
    drop_effects(h, r->own.u.effects);
    r->own.active = false;
    r->resend_at = UINT64_MAX;
    h->slots[r->key.slot].own--;
    count_slot(h, r, true);
}

/* ---- what is committed ---- */

void key_meta(const struct hermes *h, const struct hermes_key *key, struct hermes_meta *m)
{
    h->store.get(h->store.ctx, key, m);
    const struct slot_info *s = &h->slots[key->slot];
    /* H8. Not for a learner: what is missing there may be live elsewhere, below the slot's floor.
     */
    if (!m->live && h->caught_up) {
        uint64_t floor = ts_make(s->floor, 0);
        m->ts = m->ts > floor || MUTANT(H8_NO_FLOOR) ? m->ts : floor;
        if (!m->hot && s->generation > m->generation && !MUTANT(H8_GENERATION_LOST)) {
            m->generation = s->generation;
        }
    }
}

bool key_base_held(const struct hermes *h, const struct hermes_key *key,
                   const struct hermes_meta *m, uint64_t base)
{
    if (m->ts == base || MUTANT(H2_STORE_WITHOUT_BASE)) {
        return true;
    }
    if (m->live || m->hot) {
        return false;
    }
    /* Names of nothing: a base with id 0 is the coordinator's floor, for which any tombstone up to
     * that version stands; and what was purged here stands for any tombstone up to the floor here.
     */
    if (ts_id(base) == 0 && ts_version(m->ts) <= ts_version(base)) {
        return true;
    }
    uint64_t floor = h->caught_up ? h->slots[key->slot].floor : 0;
    if (ts_id(m->ts) == 0 &&
        ts_version(m->ts) > floor) { /* a learner that was told a floor's name for this key */
        floor = ts_version(m->ts);
    }
    return ts_version(base) <= floor && ts_version(m->ts) <= floor;
}

/* ---- states ---- */

static const bool move_allowed[5][5] = {
    /* to:            VALID  INVALID WRITE  TRANS  REPLAY */
    [KEY_VALID] = {true, true, true, false, false}, [KEY_INVALID] = {true, true, true, false, true},
    [KEY_WRITE] = {true, true, true, true, false},  [KEY_TRANS] = {true, true, true, true, true},
    [KEY_REPLAY] = {true, true, true, true, true},
};

void key_set_state(struct hermes *h, struct record *r)
{
    enum hermes_state to = KEY_VALID;
    const struct group *g = r->group == NIL ? NULL : &h->groups[r->group];
    if (r->replaying || (g != NULL && g->replaying)) {
        to = KEY_REPLAY;
    } else if (g != NULL && g->mine) {
        to = KEY_WRITE;
    } else if (r->own.active) {
        to = r->own.u.ts == r->pending.ts && !r->own.open ? KEY_WRITE : KEY_TRANS;
    } else if (r->has_pending) {
        to = KEY_INVALID;
    }
    must(move_allowed[r->state][to]);
    if (r->state != to) {
        r->state = (uint8_t)to;
        h->store.mark(h->store.ctx, &r->key, (uint8_t)(1 + to));
    }
    uint64_t at = r->resend_at < r->replay_at ? r->resend_at : r->replay_at;
    if (r->deadline != at) {
        key_set_deadline(h, r, at);
    }
}

/* 1 seen is the ts of the pending update, or of what is committed. 2 An own update is never above
 * the pending one. 3 An own update needs a pending one: what is Valid has given its verdict. 4 A
 * replay is of a pending update. 5 Valid: no deadline but for the queue. 6 A pending RMW stands on
 * what is committed. 7 A part of an update of several keys is pending, and an own update beside it
 * has given up. */
void hermes_check_record(const struct hermes *h, const struct record *r)
{
    struct hermes_meta m;
    key_meta(h, &r->key, &m);
    if (r->has_pending) {
        must(r->seen == r->pending.ts);
        must(r->pending.ts > r->pending.base);
        must(!r->pending.rmw || key_base_held(h, &r->key, &m, r->pending.base) ||
             m.ts > r->pending.base);
    }
    must(!r->own.active || r->has_pending);
    must(!r->own.active || r->own.u.ts <= r->pending.ts);
    must(!r->replaying || r->has_pending);
    must(r->has_pending == (r->state != KEY_VALID));
    must((r->head == NIL) == (r->tail == NIL));
    must(r->has_pending || r->head != NIL || r->dirty);
    if (r->group != NIL) {
        must(r->has_pending && h->groups[r->group].used && !r->replaying);
        must(!r->own.active || r->own.open);
    }
}
