/* Operations on several keys of one slot (H11): a transaction, a command that moves content, or a
 * read of several keys at one instant.
 *
 * The operation stands as a ticket in the queue of each of its keys. It runs at the instant at
 * which every ticket is at the head of a Valid key's queue: so it takes effect after everything
 * older that came to this replica for one of its keys, and before everything younger (H14); and
 * what it reads is one state, since a value that is Valid here is the committed one everywhere.
 * Tickets are put in place in one step, so two operations never wait for each other.
 *
 * One that changes nothing ends there, without any message. One that does needs the slot's grant,
 * and its tickets stay until its update has committed. */
#include "coherence/hermes_int.h"

static struct record *record_of(struct hermes *h, uint32_t ticket)
{
    return &h->records[h->ops[ticket].record];
}

/* ---- the list of parents ---- */

static void parent_link(struct hermes *h, uint32_t parent)
{
    h->ops[parent].next = h->parents;
    h->ops[parent].prev = NIL;
    if (h->parents != NIL) {
        h->ops[h->parents].prev = parent;
    }
    h->parents = parent;
}

static void parent_unlink(struct hermes *h, uint32_t parent)
{
    const struct op_slot *p = &h->ops[parent];
    if (p->prev == NIL) {
        h->parents = p->next;
    } else {
        h->ops[p->prev].next = p->next;
    }
    if (p->next != NIL) {
        h->ops[p->next].prev = p->prev;
    }
}

void multi_ready(struct hermes *h, uint32_t parent)
{
    struct op_slot *p = &h->ops[parent];
    if (!p->ready && !p->running) {
        p->ready = true;
        p->ready_next = h->ready;
        h->ready = parent;
    }
}

static void not_ready(struct hermes *h, uint32_t parent)
{
    uint32_t *at = &h->ready;
    while (h->ops[parent].ready && *at != parent) {
        at = &h->ops[*at].ready_next;
    }
    if (h->ops[parent].ready) {
        *at = h->ops[parent].ready_next;
        h->ops[parent].ready = false;
    }
}

void multis_ready(struct hermes *h, uint16_t slot)
{
    for (uint32_t p = h->parents; p != NIL; p = h->ops[p].next) {
        if (h->ops[p].op.key.slot == slot && h->ops[p].writes) {
            multi_ready(h, p);
        }
    }
}

/* ---- tickets ---- */

static void queue_remove(struct hermes *h, struct record *r, uint32_t ticket)
{
    uint32_t before = NIL;
    uint32_t at = r->head;
    while (at != ticket) {
        must(at != NIL);
        before = at;
        at = h->ops[at].next;
    }
    if (before == NIL) {
        r->head = h->ops[ticket].next;
    } else {
        h->ops[before].next = h->ops[ticket].next;
    }
    if (r->tail == ticket) {
        r->tail = before;
    }
}

void ticket_turn(struct hermes *h, uint32_t ticket)
{
    multi_ready(h, h->ops[ticket].parent);
}

bool ticket_stays(const struct hermes *h, uint32_t op)
{
    return h->ops[op].parent != NIL && h->ops[h->ops[op].parent].running;
}

void multi_end(struct hermes *h, uint32_t parent, enum hermes_result result, uint64_t ts,
               uint64_t generation)
{
    struct op_slot *p = &h->ops[parent];
    for (uint32_t t = p->sibling; t != NIL;) {
        uint32_t next = h->ops[t].sibling;
        struct record *r = record_of(h, t);
        queue_remove(h, r, t);
        look_again(h, r);
        op_give(h, t);
        t = next;
    }
    if (p->writes) {
        h->slots[p->op.key.slot].multis--;
    }
    not_ready(h, parent);
    parent_unlink(h, parent);
    complete(h, parent, result, ts, generation, false);
}

/* ---- its turn ---- */

static bool all_at_head(const struct hermes *h, uint32_t parent)
{
    for (uint32_t t = h->ops[parent].sibling; t != NIL; t = h->ops[t].sibling) {
        const struct record *r = &h->records[h->ops[t].record];
        bool mine = r->head == t || MUTANT(H14_MULTI_OVERTAKES);
        bool valid = !r->has_pending || (MUTANT(H11_READ_HALF) && h->ops[parent].op.reads);
        if (!mine || !valid || r->own.active) {
            return false;
        }
    }
    return true;
}

/* G13; and timestamps have an end. */
static bool may_change(struct hermes *h, uint32_t parent, struct hermes_done *why)
{
    for (uint32_t t = h->ops[parent].sibling; t != NIL; t = h->ops[t].sibling) {
        struct hermes_meta m;
        key_meta(h, &record_of(h, t)->key, &m);
        if (m.hot && !MUTANT(G13_MULTI_TOUCHES_HOT)) {
            mark(h, HERMES_MARK_MULTI_HOT, &record_of(h, t)->key, m.ts, m.generation);
            *why = (struct hermes_done){.result = HERMES_HOT, .generation = m.generation};
            return false;
        }
        if (ts_version(m.ts) + 3 > TS_VERSION_MAX) {
            *why = (struct hermes_done){.result = HERMES_TRYAGAIN};
            return false;
        }
    }
    return true;
}

static void need_grant(struct hermes *h, uint32_t parent)
{
    h->ops[parent].writes = true;
    h->slots[h->ops[parent].op.key.slot].multis++;
}

void multi_try(struct hermes *h, uint32_t parent)
{
    struct op_slot *p = &h->ops[parent];
    if (p->running) {
        return;
    }
    if (!has_lease(h)) { /* H9 */
        mark(h, HERMES_MARK_READ_NO_LEASE, NULL, 0, 0);
        multi_end(h, parent, HERMES_TRYAGAIN, 0, 0);
        return;
    }
    if (p->writes && !grant_for_multi(h, p->op.key.slot)) {
        return; /* again when it is there */
    }
    if (!all_at_head(h, parent)) {
        return; /* again when the last of its tickets is */
    }
    struct hermes_op op = p->op;
    uint32_t n = 0;
    for (uint32_t t = p->sibling; t != NIL; t = h->ops[t].sibling) {
        h->keys[n++] = record_of(h, t)->key;
    }
    op.keys = h->keys;
    op.key_count = n;
    struct coh_ref effects = {0};
    struct hermes_done why = {0};
    if (!h->store.prepare_multi(h->store.ctx, &op, h->wall_ms, &effects)) {
        mark(h, HERMES_MARK_MULTI_NOTHING, NULL, 0, n);
        multi_end(h, parent, HERMES_NOTHING, 0, 0);
    } else if (!p->writes) { /* something has to be changed after all */
        mark(h, HERMES_MARK_MULTI_ESCALATED, NULL, 0, n);
        need_grant(h, parent);
        multi_ready(h, parent);
    } else if (!may_change(h, parent, &why)) {
        multi_end(h, parent, why.result, 0, why.generation);
    } else {
        p->running = true;
        grant_used(h, p->op.key.slot);
        group_start(h, parent, effects);
    }
    if (effects.handle != 0) {
        h->store.drop(h->store.ctx, effects);
    }
}

/* ---- arrival ---- */

/* OK: *fresh of its keys have no record yet. */
static enum err look_over(const struct hermes *h, const struct hermes_op *op, uint32_t *fresh)
{
    *fresh = 0;
    if (op->key_count == 0 || op->key_count > MSG_PARTS_MAX ||
        op->key_count > h->limits.records / (2 * VIEW_NODES_MAX) + 2) {
        return ERR_UNSUPPORTED;
    }
    for (uint32_t i = 0; i < op->key_count; i++) {
        must(op->keys[i].slot == op->key.slot);
        *fresh += key_find(h, &op->keys[i]) == NULL;
    }
    return OK;
}

enum err on_multi_op(struct hermes *h, const struct hermes_op *op)
{
    uint32_t fresh = 0;
    enum err e = look_over(h, op, &fresh);
    if (e != OK) {
        return e;
    }
    if (h->free_ops < op->key_count + 1 || h->free_records < fresh ||
        (fresh != 0 && !room_for_own(h, fresh))) {
        return ERR_BUSY;
    }
    uint32_t parent = op_take(h, op);
    struct op_slot *p = &h->ops[parent];
    if (!has_lease(h)) {
        mark(h, HERMES_MARK_READ_NO_LEASE, NULL, 0, 0);
        complete(h, parent, HERMES_TRYAGAIN, 0, 0, false);
        return OK;
    }
    parent_link(h, parent);
    for (uint32_t i = op->key_count; i-- > 0;) { /* so that they are chained in their order */
        struct record *r = key_get(h, &op->keys[i]);
        struct hermes_op none = {.id = op->id, .kind = HERMES_MULTI, .key = op->key};
        uint32_t t = op_take(h, &none);
        h->ops[t].parent = parent;
        h->ops[t].record = (uint32_t)(r - h->records);
        h->ops[t].sibling = p->sibling;
        p->sibling = t;
        key_push(h, r, t);
        look_again(h, r);
    }
    p->op.keys = NULL;
    if (!op->reads) {
        need_grant(h, parent);
        (void)grant_for_multi(h, op->key.slot); /* while the tickets wait */
    }
    return OK;
}

void multis_close(struct hermes *h)
{
    for (uint32_t p = h->parents; p != NIL; p = h->ops[p].next) {
        if (h->ops[p].op.effects.handle != 0) {
            h->store.drop(h->store.ctx, h->ops[p].op.effects);
        }
    }
}
