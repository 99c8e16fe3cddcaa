/* Hot keys at the backend: HOTWRITE, PROMOTE, DEMOTE (DESIGN section 5, G3, G6, G7; the core judges
 * them), and what the proxies' caches get to know.
 *
 * The answer carries the key as the operation left it: value, timestamp, expiry and generation,
 * taken inside the core's step at the instant at which the operation took effect. Taken any later
 * the value could be a larger one than its timestamp says, and a cache would keep it too long.
 *
 * A blind write that was superseded is in no store: what it wrote is made again on an empty one. A
 * read as a HOTWRITE is how a hot key's expiry is committed (H12): the key is deleted if it has
 * expired, and the read answered, at one instant. */
#include "common/hotreply.h"

#include "backends/node/replica_private.h"
#include "common/must.h"

static void capture(struct rop *op, const struct entry *e, uint64_t ts)
{
    struct hot_reply h = {.what = HOT_ABSENT, .ts = ts, .generation = op->generation};
    if (e != NULL && entry_type(e) == VAL_STRING) {
        struct span value = entry_string(e);
        h.what = value.len <= HOT_VALUE_LIMIT ? HOT_STRING : HOT_UNCACHEABLE;
        h.value = h.what == HOT_STRING ? value : span_of(NULL, 0);
        h.expire_ms = entry_expire_ms(e);
    } else if (e != NULL && entry_type(e) != VAL_TOMBSTONE) {
        h.what = HOT_UNCACHEABLE;
    }
    buf_consume(&op->value, buf_used(&op->value));
    hot_reply_add(&op->value, &h);
}

void replica_hot_capture(struct replica *r, struct rop *op, const struct entry *e)
{
    (void)r;
    capture(op, e, e != NULL ? entry_ts(e) : 0);
}

/* What a blind write that was overtaken would have left, and its reply. */
static void capture_superseded(struct replica *r, struct rop *op, uint64_t ts)
{
    must(replica_parse(r, blob_span(op->command), 0) != 0);
    struct cmd_ctx c = replica_context(r, op, r->nw->now_ms);
    c.store = r->scratch;
    struct resp_out out = rop_reply(op);
    replica_run(r, op->cmd, r->parser.argv, (int)r->parser.argc, &c, &out);
    struct entry *made = store_find_any(r->scratch, blob_span(op->key));
    capture(op, made, ts);
    if (made != NULL) {
        store_delete(r->scratch, made);
    }
}

void replica_hot_done(struct replica *r, struct rop *op, const struct hermes_done *d)
{
    bool fine = d->result == HERMES_DONE || d->result == HERMES_NOTHING;
    if (fine && d->superseded && op->kind == HERMES_WRITE) {
        capture_superseded(r, op, d->ts);
    }
    bool control = false;
    if (!fine) {
        struct span words = rop_outcome(r, op, d, &control);
        rop_fill(r, op->slot, words, control);
    } else {
        must(buf_used(&op->value) != 0);
        buf_add(&op->value, buf_head(&op->reply), buf_used(&op->reply));
        rop_fill(r, op->slot, buf_span(&op->value), false);
    }
    rop_free(op);
}

static enum hermes_op_kind kind_of(const struct replica_request *q)
{
    const struct cmd *cmd = q->a->cmd;
    if ((cmd->flags & CMD_WRITE) == 0) {
        return HERMES_EXPIRE;
    }
    return cmd_is_blind(cmd, q->argv, q->argc) ? HERMES_WRITE : HERMES_UPDATE;
}

enum replica_taken replica_hot_serve(struct replica *r, const struct replica_request *q,
                                     struct resp_out *out)
{
    const struct cmd *cmd = q->a->cmd;
    int at[2];
    int keys = cmd_get_keys(cmd, q->argv, q->argc, at, 2);
    bool plain = cmd->first_key != 0 && (cmd->flags & (CMD_MULTIKEY | CMD_FANOUT)) == 0;
    if (!plain || keys != 1 || ((cmd->flags & CMD_SPLIT) != 0 && cmd->key_step != 1)) {
        resp_errorf(out, "ERR '%s' is no command for one hot key", cmd->name);
        return REPLICA_CONTROL;
    }
    struct rop *op = rop_for(r, q, q->argv[at[0]], kind_of(q));
    op->hot = true;
    op->generation = q->generation;
    if (op->kind == HERMES_WRITE && q->argc > 3 && !replica_creates(r, op)) {
        op->kind = HERMES_UPDATE; /* as for any write: only what surely leaves its value is blind */
    }
    op->slot = rop_slot(q);
    rop_start(r, op);
    return REPLICA_LATER;
}

enum replica_taken replica_hot_set(struct node_worker *nw, struct node_session *ns,
                                   const struct replica_hot_change *change, struct resp_out *out)
{
    struct replica *r = nw->replica;
    if (r == NULL || r->core == NULL) {
        resp_error(out, r == NULL
                            ? "ERR this node has no replica: it keeps no hot keys"
                            : "TRYAGAIN this replica does not serve now: it waits for a view");
        return REPLICA_CONTROL;
    }
    if (!replica_has_room(r)) {
        return REPLICA_FULL;
    }
    struct rop *op = rop_new(r);
    op->kind = change->promote ? HERMES_PROMOTE : HERMES_DEMOTE;
    op->hot = true;
    op->generation = change->generation;
    op->key = blob_hold(blob_new(r, change->key.p, change->key.len));
    op->slot = replies_add(ns);
    op->slot->start_ns = session_now(&ns->s);
    rop_start(r, op);
    return REPLICA_LATER;
}
