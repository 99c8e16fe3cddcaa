/* Operations as they come, answers as they come, and reads (G1).
 *
 * A read is answered from the entry at once or as soon as the entry becomes Valid; else it is
 * forwarded. Reads that ask the same share one forwarded read, but never one that has left already:
 * its answer may be older than what was acknowledged before they came. A forwarded read changes
 * nothing in the entry: its answer may be older than an invalidation that has come meanwhile. */
#include "coherence/galene_int.h"

/* Not within the margin of its expiry: clocks of proxies and nodes differ by at most that. */
static bool fresh(const struct galene *g, const struct record *r)
{
    uint64_t at = r->value.expire_ms;
    return at == 0 || g->wall_ms + g->limits.skew_ms < at || MUTANT(G1_IGNORE_EXPIRY);
}

static bool answerable(struct galene *g, const struct record *r)
{
    if (!entry_valid(r)) {
        return false;
    }
    if (!gal_has_lease(g)) {
        gal_mark(g, GALENE_MARK_READ_NO_LEASE, r, 0, 0);
        return false;
    }
    if (!fresh(g, r)) {
        gal_mark(g, GALENE_MARK_READ_NEAR_EXPIRY, r, r->value.expire_ms, g->wall_ms);
        return false;
    }
    return true;
}

static void answer_locally(struct galene *g, struct record *r, uint32_t op, enum galene_mark m)
{
    struct coh_ref none = {0};
    gal_mark(g, m, r, r->value.ts, g->ops[op].op.id);
    gal_complete(g, op, GALENE_DONE_LOCAL, &r->value, none, r->value.ts);
}

static void answer_waiting(struct galene *g, struct record *r)
{
    struct queue others;
    queue_init(&others);
    for (unsigned n = 0; n < GALENE_BATCH && r->reads.head != NIL && gal_room(g, 24); n++) {
        uint32_t op = queue_pop(g, &r->reads);
        if (g->ops[op].op.local) {
            answer_locally(g, r, op, GALENE_MARK_READ_BECAME_LOCAL);
        } else {
            queue_push(g, &others, op);
        }
    }
    queue_put_back(g, &r->reads, &others);
}

/* The head of the queue, and what asks the same. */
static void gather(struct galene *g, struct record *r, struct queue *group)
{
    uint32_t first = queue_pop(g, &r->reads);
    uint64_t share = g->ops[first].op.share;
    queue_push(g, group, first);
    struct queue rest;
    queue_init(&rest);
    for (unsigned n = 1; share != 0 && n < GALENE_BATCH && r->reads.head != NIL; n++) {
        uint32_t op = queue_pop(g, &r->reads);
        bool same = g->ops[op].op.share == share;
        if (same) {
            gal_mark(g, GALENE_MARK_READ_SHARED, r, g->ops[op].op.id, g->ops[first].op.id);
        }
        queue_push(g, same ? group : &rest, op);
    }
    queue_put_back(g, &r->reads, &rest);
}

void read_pump(struct galene *g, struct record *r)
{
    if (r->reads.head == NIL) {
        return;
    }
    if (answerable(g, r)) {
        answer_waiting(g, r);
    }
    if (r->expire_generation != 0 || r->expiring) {
        return; /* the deletion comes first */
    }
    for (unsigned i = 0; i < FORWARDED_MAX && r->reads.head != NIL && gal_room(g, 8); i++) {
        struct forwarded *f = &r->forwarded[i];
        if (f->request == 0) {
            gather(g, r, &f->group);
            gal_mark(g, GALENE_MARK_READ_FORWARDED, r, g->ops[f->group.head].op.id, 0);
            f->request = gal_request(g, r, GALENE_ASK_READ, 1 + i, 0, f->group.head);
        }
    }
}

bool read_answer(struct galene *g, struct record *r, const struct galene_answer *a)
{
    struct forwarded *f = &r->forwarded[(a->request & 7) - 1];
    if (f->request != a->request) {
        return false;
    }
    f->request = 0;
    switch (a->kind) {
    case GALENE_REPLY:
        if (MUTANT(G1_READ_FILLS) && r->prepared && !r->draining &&
            (a->value.kind == GMSG_VALUE || a->value.kind == GMSG_ABSENT)) {
            entry_keep(g, r, &a->value);
            r->token_count = 0;
            r->own_token = 0;
        }
        gal_complete_all(g, &f->group, GALENE_DONE_REPLY, a->reply, a->value.ts);
        break;
    case GALENE_HOT: /* expired: deleted by a hot write, then asked again (H12) */
        gal_mark(g, GALENE_MARK_READ_EXPIRED, r, a->generation, 0);
        r->expire_generation = a->generation;
        queue_put_back(g, &r->reads, &f->group);
        break;
    case GALENE_COLD:
    case GALENE_FAILED:
    case GALENE_UNKNOWN:
    case GALENE_REFUSED:
        gal_mark(g, GALENE_MARK_BACKEND_FAILED, r, 0, 0);
        gal_complete_all(g, &f->group, GALENE_DONE_TRYAGAIN, a->reply, 0);
        break;
    }
    return true;
}

void gal_on_answer(struct galene *g, const struct galene_answer *a)
{
    uint64_t i = a->request >> 3 & ((1u << 20) - 1);
    unsigned which = (unsigned)(a->request & 7);
    struct record *r = &g->records[i];
    bool taken = false;
    if (i < g->limits.records && which <= FORWARDED_MAX && g->keys.slots[i].used) {
        taken = which == 0 ? write_answer(g, r, a) : read_answer(g, r, a);
    }
    if (taken) {
        gal_settle(g, r);
    } else {
        gal_mark(g, GALENE_MARK_ODD_ANSWER_STALE, NULL, a->request, 0);
    }
}

static enum err refuse_expelled(struct galene *g, const struct galene_op *op)
{
    /* Through a slot and a record, as any other: completions name what is in the table. */
    if (g->free_ops == 0 || (gal_find(g, &op->key) == NULL && g->keys.used == g->limits.records)) {
        return ERR_BUSY;
    }
    struct coh_ref none = {0};
    struct record *r = gal_get(g, &op->key);
    gal_mark(g, GALENE_MARK_RETRIED, r, op->id, 0);
    gal_complete(g, gal_op_take(g, op, gal_index(g, r)), GALENE_DONE_RETRY, NULL, none, 0);
    gal_settle(g, r);
    return OK;
}

enum err gal_on_op(struct galene *g, const struct galene_op *op)
{
    must(op->id != 0);
    struct record *r = gal_find(g, &op->key);
    if (g->free_ops == 0 || (r == NULL && g->keys.used == g->limits.records)) {
        return ERR_BUSY;
    }
    if (g->expelled) {
        return refuse_expelled(g, op);
    }
    r = gal_get(g, &op->key);
    uint32_t i = gal_op_take(g, op, gal_index(g, r));
    if (gal_order(g, i)) {
        gal_mark(g, GALENE_MARK_ORDER_WAITED, r, op->id, 0);
        keytab_deadline(&g->keys, gal_index(g, r), record_deadline(g, r));
        return OK;
    }
    if (op->kind == GALENE_READ && op->local && r->reads.head == NIL && answerable(g, r)) {
        answer_locally(g, r, i, GALENE_MARK_READ_LOCAL);
    } else if (op->kind == GALENE_READ && op->generation != 0) {
        gal_mark(g, GALENE_MARK_READ_EXPIRED, r, op->generation, 0);
        r->expire_generation = op->generation;
        gal_runnable(g, r, i);
    } else if (MUTANT(G1_JOIN_SENT) && op->kind == GALENE_READ && r->forwarded[0].request != 0) {
        queue_push(g, &r->forwarded[0].group, i);
    } else {
        if (op->kind == GALENE_READ && r->forwarded[0].request != 0) {
            gal_mark(g, GALENE_MARK_READ_WAITED, r, op->id, 0);
        }
        if (op->kind == GALENE_WRITE && r->stage != STAGE_NONE) {
            gal_mark(g, GALENE_MARK_WRITE_QUEUED, r, op->id, r->stage);
        }
        gal_runnable(g, r, i);
    }
    gal_settle(g, r);
    return OK;
}
