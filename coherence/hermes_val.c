/* VAL: an update has committed everywhere, whoever says so; state changes here and not before (H3).
 */
#include "coherence/hermes_int.h"

/* The pending update is committed: run it. If it is my own, that is its commit too. False if it is
 * an RMW whose base is not what is committed here (a learner's, or a lost race): then it stays
 * pending and the value is fetched. */
bool commit_pending(struct hermes *h, struct record *r)
{
    must(r->has_pending);
    if (r->group != NIL) {
        mark(h, HERMES_MARK_MULTI_PROVED, &r->key, r->pending.ts, 0);
        group_commit(h, r->group);
        return true;
    }
    struct hermes_meta c;
    key_meta(h, &r->key, &c);
    if (r->pending.rmw && !MUTANT(H3_APPLY_AT_INV) &&
        !key_base_held(h, &r->key, &c, r->pending.base)) {
        mark(h, HERMES_MARK_IMPOSSIBLE, &r->key, r->pending.ts, c.ts);
        ask(h, &r->key, r, others_mask(h));
        return false;
    }
    bool mine = r->own.active && r->own.u.ts == r->pending.ts;
    uint32_t op = mine ? r->own.op : NIL;
    uint64_t ts = r->pending.ts;
    uint64_t generation = r->pending.generation;
    h->store.apply(h->store.ctx, &r->key, &r->pending, op == NIL ? 0 : h->ops[op].op.id);
    key_clear_pending(h, r);
    if (mine) {
        mark(h, HERMES_MARK_VAL_OF_OWN, &r->key, ts, 0);
        key_clear_own(h, r);
        if (op != NIL) {
            complete(h, op, HERMES_DONE, ts, generation, false);
        }
    }
    return true;
}

/* Own update proved committed while something larger is pending. An RMW's reply comes from its
 * base, which is still what is committed here; if it should not be, nobody can tell the reply any
 * more (H5). */
void commit_own_early(struct hermes *h, struct record *r)
{
    struct hermes_meta c;
    key_meta(h, &r->key, &c);
    uint32_t op = r->own.op;
    uint64_t ts = r->own.u.ts;
    uint64_t generation = r->own.u.generation;
    bool rmw = r->own.u.rmw;
    bool at_base = key_base_held(h, &r->key, &c, r->own.u.base);
    mark(h, HERMES_MARK_ODD_OWN_PROVED, &r->key, ts, at_base);
    if (at_base) {
        h->store.apply(h->store.ctx, &r->key, &r->own.u, op == NIL ? 0 : h->ops[op].op.id);
    }
    key_clear_own(h, r);
    if (op != NIL) {
        complete(h, op, rmw && !at_base ? HERMES_UNKNOWN : HERMES_DONE, ts, generation, !at_base);
    }
}

void on_val(struct hermes *h, const struct hermes_msg *m)
{
    struct record *r = key_find(h, &m->key);
    bool any = MUTANT(H3_VAL_ANY_VERSION) && r != NULL && r->has_pending;
    if (r != NULL && r->has_pending && (r->pending.ts == m->ts || any)) {
        (void)commit_pending(h, r);
    } else if (r != NULL && r->own.active && r->own.u.ts == m->ts) {
        commit_own_early(h, r);
    } else {
        mark(h, HERMES_MARK_VAL_LATE, &m->key, m->ts, r == NULL ? 0 : r->seen);
    }
    if (r != NULL) {
        pump(h, r);
    }
}
