/* Records, queues of operations, and program order.
 *
 * Program order (H14): of each client with an operation on a key the latest one is found by hash;
 * a new operation of that client is chained behind it and enters its queue only when the earlier
 * one is complete. So a chain has one member in the queues or under way, and queues may run in any
 * order. */
#include "coherence/galene_int.h"

#include <string.h>

uint32_t gal_index(const struct galene *g, const struct record *r)
{
    return (uint32_t)(r - g->records);
}

const struct hermes_key *gal_key(const struct galene *g, const struct record *r)
{
    return &g->keys.slots[gal_index(g, r)].key;
}

struct record *gal_find(const struct galene *g, const struct hermes_key *key)
{
    uint32_t i = keytab_find(&g->keys, key);
    return i == KEYTAB_NONE ? NULL : &g->records[i];
}

struct record *gal_get(struct galene *g, const struct hermes_key *key)
{
    struct record *r = gal_find(g, key);
    if (r != NULL) {
        return r;
    }
    struct hermes_key kept = *key;
    kept.ref = g->env.hold(g->env.ctx, key->ref);
    r = &g->records[keytab_take(&g->keys, &kept)];
    must(r != NULL);
    memset(r, 0, sizeof *r);
    queue_init(&r->reads);
    queue_init(&r->writes);
    queue_init(&r->demotes);
    queue_init(&r->group);
    for (unsigned i = 0; i < FORWARDED_MAX; i++) {
        queue_init(&r->forwarded[i].group);
    }
    r->resend_at = r->give_up_at = r->ask_at = r->report_at = r->linger_at = UINT64_MAX;
    r->drop_wait_until = UINT64_MAX;
    return r;
}

/* ---- queues ---- */

void queue_init(struct queue *q)
{
    q->head = NIL;
    q->tail = NIL;
}

void queue_push(struct galene *g, struct queue *q, uint32_t op)
{
    g->ops[op].next = NIL;
    if (q->tail == NIL) {
        q->head = op;
    } else {
        g->ops[q->tail].next = op;
    }
    q->tail = op;
}

uint32_t queue_pop(struct galene *g, struct queue *q)
{
    uint32_t op = q->head;
    must(op != NIL);
    q->head = g->ops[op].next;
    if (q->head == NIL) {
        q->tail = NIL;
    }
    return op;
}

void queue_put_back(struct galene *g, struct queue *to, struct queue *from)
{
    if (from->head == NIL) {
        return;
    }
    g->ops[from->tail].next = to->head;
    to->head = from->head;
    if (to->tail == NIL) {
        to->tail = from->tail;
    }
    queue_init(from);
}

/* ---- operations ---- */

static uint32_t *latest_bucket(const struct galene *g, uint64_t client, uint32_t record)
{
    uint64_t h = (client ^ (uint64_t)record << 44) * UINT64_C(0x9E3779B97F4A7C15);
    return &g->latest[(uint32_t)(h >> 32) & g->latest_mask];
}

uint32_t gal_op_take(struct galene *g, const struct galene_op *op, uint32_t record)
{
    must(g->free_ops > 0);
    uint32_t i = g->free_op;
    struct op_slot *o = &g->ops[i];
    g->free_op = o->next;
    g->free_ops--;
    *o = (struct op_slot){.op = *op,
                          .since = g->now,
                          .record = record,
                          .next = NIL,
                          .after = NIL,
                          .bucket_next = NIL,
                          .used = true};
    g->records[record].open++;
    return i;
}

bool gal_order(struct galene *g, uint32_t i)
{
    struct op_slot *o = &g->ops[i];
    if (o->op.client == 0 || MUTANT(H14_GALENE_OVERTAKE)) {
        return false;
    }
    uint32_t *at = latest_bucket(g, o->op.client, o->record);
    for (; *at != NIL; at = &g->ops[*at].bucket_next) {
        struct op_slot *before = &g->ops[*at];
        if (before->op.client == o->op.client && before->record == o->record) {
            before->after = i; /* takes its place in the table */
            o->bucket_next = before->bucket_next;
            before->bucket_next = NIL;
            *at = i;
            return true;
        }
    }
    *at = i;
    return false;
}

static void order_leave(struct galene *g, uint32_t i)
{
    struct op_slot *o = &g->ops[i];
    if (o->after != NIL) {
        gal_runnable(g, &g->records[o->record], o->after);
        return;
    }
    uint32_t *at = latest_bucket(g, o->op.client, o->record);
    for (; *at != NIL; at = &g->ops[*at].bucket_next) {
        if (*at == i) {
            *at = o->bucket_next;
            return;
        }
    }
}

void gal_op_give(struct galene *g, uint32_t i)
{
    struct op_slot *o = &g->ops[i];
    must(o->used);
    if (o->op.client != 0) {
        order_leave(g, i);
    }
    g->records[o->record].open--;
    o->used = false;
    o->next = g->free_op;
    g->free_op = i;
    g->free_ops++;
}

void gal_runnable(struct galene *g, struct record *r, uint32_t i)
{
    switch (g->ops[i].op.kind) {
    case GALENE_READ:
        queue_push(g, &r->reads, i);
        return;
    case GALENE_WRITE:
        queue_push(g, &r->writes, i);
        return;
    case GALENE_DEMOTE:
        if (MUTANT(G13_EARLY)) {
            const struct coh_ref none = {0};
            gal_complete(g, i, GALENE_DONE_DEMOTED, NULL, none, 0);
            return;
        }
        queue_push(g, &r->demotes, i);
        report_soon(g, r, GMSG_REPORT_DEMOTE, 0);
        return;
    }
    unreachable();
}

/* ---- the end of handling a record ---- */

static void give_up_waiting(struct galene *g, struct queue *q, enum galene_result result,
                            uint64_t older_than)
{
    struct coh_ref none = {0};
    while (q->head != NIL && gal_room(g, 8) && g->ops[q->head].since <= older_than) {
        gal_mark(g, result == GALENE_DONE_RETRY ? GALENE_MARK_RETRIED : GALENE_MARK_GAVE_UP, NULL,
                 g->ops[q->head].op.id, 0);
        gal_complete(g, queue_pop(g, q), result, NULL, none, 0);
    }
}

static void expel(struct galene *g, struct record *r)
{
    if (r->prepared) {
        entry_drop(g, r);
    }
    r->lost_generation = 0;
    if (r->stage == STAGE_INV) {
        write_give_up(g, r, GALENE_DONE_RETRY);
    }
    r->expire_generation = 0;
    struct queue *all[] = {&r->reads, &r->writes, &r->demotes};
    for (unsigned i = 0; i < 3; i++) {
        give_up_waiting(g, all[i], GALENE_DONE_RETRY, UINT64_MAX);
    }
}

static void give_up_old(struct galene *g, struct record *r)
{
    if (g->now < g->limits.give_up_ns) {
        return;
    }
    uint64_t limit = g->now - g->limits.give_up_ns;
    give_up_waiting(g, &r->reads, GALENE_DONE_TRYAGAIN, limit);
    give_up_waiting(g, &r->writes, GALENE_DONE_TRYAGAIN, limit);
    give_up_waiting(g, &r->demotes, GALENE_DONE_TRYAGAIN, limit);
}

static bool empty(const struct record *r)
{
    return !r->prepared && r->open == 0 && r->lost_generation == 0 && r->stage == STAGE_NONE &&
           r->expire_generation == 0;
}

/* Since when an entry is hopeless, and when that is told next. */
static void set_times(struct galene *g, struct record *r)
{
    if (!entry_hopeless(r)) {
        r->linger_at = UINT64_MAX;
    } else if (r->linger_at == UINT64_MAX) {
        r->linger_at = g->now + g->limits.linger_ns;
    }
    if (!report_wanted(r)) {
        r->report_at = UINT64_MAX;
    } else if (r->report_at == UINT64_MAX) {
        r->report_at = g->now + gal_jitter(g, g->limits.report_ns);
    }
}

void gal_settle(struct galene *g, struct record *r)
{
    if (g->expelled) {
        expel(g, r);
    } else {
        give_up_old(g, r);
        entry_publish(g, r);
        write_pump(g, r);
        read_pump(g, r);
    }
    entry_publish(g, r);
    set_times(g, r);
    uint32_t i = gal_index(g, r);
    if (empty(r)) {
        struct coh_ref ref = gal_key(g, r)->ref;
        keytab_give(&g->keys, i);
        g->env.drop(g->env.ctx, ref);
        return;
    }
    keytab_deadline(&g->keys, i, record_deadline(g, r));
}
