/* Client commands as operations of the Hermes core, and their replies.
 *
 *   read    all its keys Valid (state byte 0), not expired, and the lease valid by the clock of the
 *           batch: run at once on the store. Otherwise an operation READ on the key that is in the
 *           way; its completion is the instant at which the command runs, or, if the command has
 *           several keys, the moment to look again. A key that has expired is deleted by a write
 *           first (H12).
 *   write   of one key: WRITE if it is blind, UPDATE otherwise. What the store makes of it, on
 *           every replica, is in replica_store.c.
 *
 * DEL UNLINK MSET with several keys: an operation each, one reply. FLUSHALL, FLUSHDB: an operation
 * for each key that is there now, a bounded number at a time. Other commands that write several
 * keys are one update of all of them (replica_multi.c). */
#include <string.h>

#include "backends/node/replica_private.h"
#include "backends/node/tx.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"

#define OPEN_MAX                                                                                   \
    2048u /* operations under way: fewer than the core takes, so that it is never the one to       \
             refuse */
#define FLUSH_OPEN_MAX 64u

static const char tryagain[] = REPLICA_TRYAGAIN;
static const char unknown[] = "UNKNOWN the outcome of this write is not known";

/* ---- operations ---- */

struct rop *rop_new(struct replica *r)
{
    struct rop *op = r->free_rops;
    if (op != NULL) {
        r->free_rops = op->next;
        struct buf reply = op->reply;
        struct buf value = op->value;
        *op = (struct rop){.r = r, .reply = reply, .value = value, .all = op->all};
    } else {
        op = mem_zalloc(sizeof *op);
        op->r = r;
        op->all = r->all_rops;
        r->all_rops = op;
    }
    op->open = true;
    r->open_rops++;
    return op;
}

void rop_free(struct rop *op)
{
    struct replica *r = op->r;
    blob_drop(r, op->command);
    blob_drop(r, op->key);
    op->command = op->key = NULL;
    replica_tx_free(r, op);
    buf_consume(&op->reply, buf_used(&op->reply));
    buf_trim(&op->reply, 4096);
    buf_consume(&op->value, buf_used(&op->value));
    buf_trim(&op->value, 4096);
    op->open = false;
    op->next = r->free_rops;
    r->free_rops = op;
    if (--r->open_rops == OPEN_MAX / 2) {
        node_resume_waiting(r->nw);
    }
}

static struct blob *encode(struct replica *r, const struct span *argv, int argc)
{
    struct effects fx = {.bytes = r->frame}; /* scratch */
    buf_consume(&fx.bytes, buf_used(&fx.bytes));
    effects_add(&fx, (size_t)argc, argv);
    struct blob *b = blob_hold(blob_new(r, buf_head(&fx.bytes), buf_used(&fx.bytes)));
    r->frame = fx.bytes;
    return b;
}

/* Hands the operation to the core; its completion may come before this returns. */
void rop_start(struct replica *r, struct rop *op)
{
    struct hermes_op hop = {.id = (uint64_t)(uintptr_t)op, .kind = op->kind};
    replica_key(r, &hop.key, op->key);
    if (op->kind == HERMES_WRITE || op->kind == HERMES_UPDATE) {
        hop.effects = blob_ref(op->command);
        r->counts.writes_started++;
    }
    replica_join_given(r, op, hop.key.hash);
    hop.hotwrite = op->hot;
    hop.generation = op->generation;
    struct hermes_in in = {
        .kind = HERMES_IN_OP, .now_ns = r->nw->boot_ns, .wall_ms = r->nw->now_ms, .u.op = &hop};
    enum err e = replica_step(r, &in);
    if (e != OK) {
        struct hermes_done refused = {.op = hop.id, .result = HERMES_TRYAGAIN};
        replica_op_done(r, &refused);
    }
}

size_t replica_parse(struct replica *r, struct span bytes, size_t at)
{
    static const struct resp_limits limits = {.bulk_bytes_max = UINT32_MAX,
                                              .args_max = RESP_ARGS_MAX};
    size_t used = 0;
    if (at >= bytes.len) {
        return 0;
    }
    if (r->parser.argv_cap != 0) { /* the parser has room from an earlier command: the short way */
        used = resp_parse_whole(bytes.p + at, bytes.len - at, &limits, r->parser.argv,
                                r->parser.argv_cap, &r->parser.argc);
        if (used != 0) {
            return used;
        }
    }
    enum resp_result result =
        resp_parse(&r->parser, bytes.p + at, bytes.len - at, &limits, &used, &(struct errmsg){{0}});
    if (result != RESP_REQUEST) { /* a peer's bytes: nothing of them is run */
        resp_parser_reset(&r->parser);
        return 0;
    }
    return used;
}

void replica_run(struct replica *r, const struct cmd *cmd, const struct span *argv, int argc,
                 const struct cmd_ctx *like, struct resp_out *out)
{
    (void)r;
    struct cmd_ctx c = *like;
    c.cmd = cmd;
    c.argv = argv;
    c.argc = argc;
    c.out = out;
    cmd->handler(&c);
}

/* ---- replies ---- */

/* Puts a reply into its slot: wrapped for a link, unless it is the node's own word. */
void rop_fill(struct replica *r, struct reply_slot *slot, struct span reply, bool control)
{
    struct resp_out out = {&slot->bytes, slot->proto};
    bool is_link = slot->ns != NULL && slot->ns->link_proto != 0;
    size_t begin = is_link && !control ? node_wrap_begin(r->nw, &out) : 0;
    buf_add(&slot->bytes, reply.p, reply.len);
    if (is_link && !control) {
        node_wrap_end(r->nw, &out, begin);
    }
    if (reply.len != 0 && reply.p[0] == '-') {
        session_failed(r->nw->w, slot->count, reply);
    }
    replies_done(r->nw, slot);
}

/* What the completion says to the client: the command's reply, or a word of our own. */
struct span rop_outcome(struct replica *r, struct rop *op, const struct hermes_done *d,
                        bool *control)
{
    struct buf *b = &op->reply;
    struct resp_out out = {b, 2};
    *control = true;
    switch (d->result) {
    case HERMES_DONE:
    case HERMES_NOTHING:
        *control = false;
        if (!op->replied && d->superseded) {
            buf_consume(b, buf_used(b));
            resp_ok(&out); /* only blind writes are superseded, and OK is all they say */
        }
        return buf_span(b);
    case HERMES_HOT:
        buf_consume(b, buf_used(b));
        resp_errorf(&out, "HOT %llu", (unsigned long long)d->generation);
        return buf_span(b);
    case HERMES_COLD:
    case HERMES_REFUSED:
        buf_consume(b, buf_used(b));
        resp_errorf(&out, "COLD %llu", (unsigned long long)d->generation);
        return buf_span(b);
    case HERMES_TRYAGAIN:
        buf_consume(b, buf_used(b));
        resp_error(&out, tryagain);
        r->counts.reads_refused++;
        return buf_span(b);
    case HERMES_UNKNOWN:
        buf_consume(b, buf_used(b));
        resp_error(&out, unknown);
        r->counts.writes_unknown++;
        return buf_span(b);
    }
    unreachable();
}

/* ---- several operations, one reply ---- */

static void gather_end(struct replica *r, struct gather *g)
{
    struct buf reply = {0};
    struct resp_out out = {&reply, 2};
    bool control = false;
    if (g->worst == HERMES_UNKNOWN) {
        resp_error(&out, unknown);
        control = true;
    } else if (g->worst != HERMES_DONE) {
        /* Some of the keys were written, some were not: not provably unexecuted as a whole. */
        resp_error(&out, g->counts && g->sum == 0 ? tryagain : unknown);
        control = true;
    } else if (buf_used(&g->error) != 0) {
        buf_add(&reply, buf_head(&g->error), buf_used(&g->error));
    } else if (g->counts) {
        resp_int(&out, g->sum);
    } else {
        resp_ok(&out);
    }
    rop_fill(r, g->slot, buf_span(&reply), control);
    buf_free(&reply);
    buf_free(&g->error);
    mem_free(g);
}

static void gather_add(struct replica *r, struct gather *g, const struct hermes_done *d,
                       struct span reply, bool control)
{
    if (control) {
        g->worst = g->worst == HERMES_UNKNOWN ? g->worst : d->result;
    } else if (reply.len > 1 && reply.p[0] == ':') {
        g->sum += reply.p[1] == '1';
    } else if (reply.len > 0 && reply.p[0] == '-' && buf_used(&g->error) == 0) {
        buf_add(&g->error, reply.p, reply.len);
    }
    if (--g->open == 0) {
        gather_end(r, g);
    }
}

/* ---- flushing ---- */

static void flush_next(struct loop_task *task);

static void flush_end(struct replica *r)
{
    struct flush *f = r->flush;
    r->flush = NULL;
    struct buf reply = {0};
    struct resp_out out = {&reply, 2};
    if (f->failed) {
        resp_error(&out, unknown);
    } else if (f->hot != 0) { /* all but hot keys are gone: again, when those are cold (G13) */
        resp_errorf(&out, "HOT %llu", (unsigned long long)f->hot);
    } else {
        resp_ok(&out);
    }
    rop_fill(r, f->slot, buf_span(&reply), f->failed || f->hot != 0);
    buf_free(&reply);
    mem_free(f);
}

struct flush_batch {
    struct replica *r;
    struct blob *keys[256];
    unsigned count;
    int db;
};

static void flush_collect(void *arg, struct entry *e)
{
    struct flush_batch *b = arg;
    struct span key = entry_key(e);
    if (entry_type(e) != VAL_TOMBSTONE && b->count < 256 &&
        (b->db < 0 || key_db(key) == (unsigned)b->db)) {
        b->keys[b->count++] = blob_hold(blob_new(b->r, key.p, key.len));
    }
}

static void start_delete(struct replica *r, struct blob *key, struct flush *f)
{
    struct span argv[2] = {SPAN_LIT("DEL"), blob_span(key)};
    struct rop *op = rop_new(r);
    op->kind = HERMES_UPDATE;
    op->key = key; /* takes the caller's reference */
    op->command = encode(r, argv, 2);
    op->slot = NULL;
    if (f != NULL) {
        f->open++;
        op->again = true; /* marks it as the flush's */
    }
    rop_start(r, op);
}

static void flush_step(struct replica *r)
{
    struct flush *f = r->flush;
    while (f->walking && f->open < FLUSH_OPEN_MAX) {
        struct flush_batch b = {.r = r, .db = f->db};
        f->cursor = store_scan(r->nw->store, f->cursor, 1, flush_collect, &b);
        f->walking = f->cursor != 0;
        for (unsigned i = 0; i < b.count; i++) {
            start_delete(r, b.keys[i], f);
        }
    }
    if (!f->walking && f->open == 0) {
        flush_end(r);
    }
}

static void flush_next(struct loop_task *task)
{
    struct node_worker *nw =
        (struct node_worker *)(void *)((char *)task - offsetof(struct node_worker, flush_task));
    if (nw->replica != NULL && nw->replica->flush != NULL) {
        flush_step(nw->replica);
    }
}

static void flush_op_done(struct replica *r, const struct hermes_done *d)
{
    struct flush *f = r->flush;
    must(f != NULL && f->open != 0);
    f->open--;
    bool hot = d->result == HERMES_HOT;
    f->hot = hot && d->generation > f->hot ? d->generation : f->hot;
    f->failed = f->failed || (!hot && d->result != HERMES_DONE && d->result != HERMES_NOTHING);
    r->nw->flush_task.fn = flush_next;
    loop_defer(r->nw->w->loop, &r->nw->flush_task);
}

static enum replica_taken serve_flush(struct replica *r, const struct replica_request *q)
{
    if (r->flush != NULL) {
        return REPLICA_FULL; /* one at a time; offered again when replies have left */
    }
    struct flush *f = mem_zalloc(sizeof *f);
    f->slot = replies_add(q->ns);
    f->slot->silent = q->a->silent;
    f->slot->count = q->a->count;
    f->slot->start_ns = session_now(&q->ns->s);
    f->walking = true;
    f->db = q->a->cmd->name[5] == 'd' ? (int)q->db : -1;
    r->flush = f;
    r->nw->flush_task.fn = flush_next;
    loop_defer(r->nw->w->loop, &r->nw->flush_task);
    return REPLICA_LATER;
}

/* ---- completions ---- */

static void serve_again(struct loop_task *task);

/* A read whose keys were not all Valid: it is served anew at the end of the turn, as if it had come
 * now. */
static void queue_again(struct replica *r, struct rop *op)
{
    op->next = r->nw->again;
    r->nw->again = op;
    r->nw->again_task.fn = serve_again;
    loop_defer(r->nw->w->loop, &r->nw->again_task);
}

static void answer(struct replica *r, struct rop *op, const struct hermes_done *d)
{
    bool control = false;
    struct span reply = rop_outcome(r, op, d, &control);
    if (op->gather != NULL) {
        gather_add(r, op->gather, d, reply, control);
    } else {
        rop_fill(r, op->slot, reply, control);
    }
    rop_free(op);
}

void replica_op_done(struct replica *r, const struct hermes_done *d)
{
    struct rop *op = rop_of(d->op);
    bool is_write = op->kind == HERMES_WRITE || op->kind == HERMES_UPDATE;
    replica_join_ended(r, op);
    r->counts.writes_done += is_write && d->result == HERMES_DONE;
    r->counts.writes_nothing += is_write && d->result == HERMES_NOTHING;
    r->counts.expired_by_write += op->kind == HERMES_EXPIRE && d->result == HERMES_DONE;
    if (op->slot == NULL && op->gather == NULL) { /* work of our own */
        if (op->again) {
            flush_op_done(r, d);
        }
        rop_free(op);
        return;
    }
    if (op->hot) {
        replica_hot_done(r, op, d);
        return;
    }
    bool fine = d->result == HERMES_DONE || d->result == HERMES_NOTHING;
    if (!is_write && fine && !op->replied && op->tx == NULL) {
        queue_again(r, op);
        return;
    }
    struct rop *joined = op->joined;
    answer(r, op, d);
    while (joined != NULL) {
        struct rop *next = joined->joined;
        r->counts.writes_done += d->result == HERMES_DONE;
        answer(r, joined, d);
        joined = next;
    }
}

/* ---- reads ---- */

#define KEYS_ON_STACK 64

enum in_the_way { NOTHING, NOT_VALID, EXPIRED };

static enum in_the_way look(struct node_worker *nw, struct span key, uint64_t hash)
{
    const struct entry *e =
        hash != 0 ? store_find_any_hashed(nw->store, key, hash) : store_find_any(nw->store, key);
    if (e == NULL) {
        return NOTHING;
    }
    if (entry_state(e) != 0) {
        return NOT_VALID;
    }
    bool live = entry_type(e) != VAL_TOMBSTONE;
    return live && entry_expired_at(entry_expire_ms(e), nw->now_ms) ? EXPIRED : NOTHING;
}

/* The first key that keeps the command from running now. */
static enum in_the_way look_all(struct node_worker *nw, const struct cmd *cmd,
                                const struct span *argv, int argc, uint64_t hash, struct span *key)
{
    if (cmd->first_key == 1 && cmd->last_key == 1 && cmd->keys == NULL) {
        *key = argv[1];
        return look(nw, argv[1], hash);
    }
    int small[KEYS_ON_STACK];
    int *idx = argc <= KEYS_ON_STACK ? small : mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(cmd, argv, argc, idx, argc);
    enum in_the_way what = NOTHING;
    for (int i = 0; i < n && what == NOTHING; i++) {
        *key = argv[idx[i]];
        what = look(nw, *key, 0);
    }
    if (idx != small) {
        mem_free(idx);
    }
    return what;
}

bool replica_rest_ready(struct replica *r, const struct rop *op)
{
    const struct span *argv = r->parser.argv;
    int argc = (int)r->parser.argc;
    struct span own = blob_span(op->key);
    int small[KEYS_ON_STACK];
    int *idx = argc <= KEYS_ON_STACK ? small : mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(op->cmd, argv, argc, idx, argc);
    bool ready = true;
    for (int i = 0; i < n && ready; i++) {
        ready = span_eq(argv[idx[i]], own) || look(r->nw, argv[idx[i]], 0) == NOTHING;
    }
    if (idx != small) {
        mem_free(idx);
    }
    return ready;
}

void replica_read_expired(struct replica *r, struct rop *op, uint64_t now_ms)
{
    if (op->slot == NULL || op->cmd == NULL) {
        return;
    }
    must(replica_parse(r, blob_span(op->command), 0) != 0);
    if (!op->hot && !replica_rest_ready(r, op)) {
        return;
    }
    struct cmd_ctx c = replica_context(r, op, now_ms);
    struct resp_out out = rop_reply(op);
    replica_run(r, op->cmd, r->parser.argv, (int)r->parser.argc, &c, &out);
    op->replied = true;
}

static void run_now(struct replica *r, const struct cmd *cmd, const struct span *argv, int argc,
                    unsigned db, struct resp_out *out)
{
    struct node_worker *nw = r->nw;
    struct cmd_ctx c = {.store = nw->store,
                        .cmd = cmd,
                        .argv = argv,
                        .argc = argc,
                        .out = out,
                        .now_ms = nw->now_ms,
                        .rng = &nw->rng,
                        .stats = &nw->stats,
                        .config = &nw->config,
                        .db = db};
    cmd->handler(&c);
}

struct rop *rop_for(struct replica *r, const struct replica_request *q, struct span key,
                    enum hermes_op_kind kind)
{
    struct rop *op = rop_new(r);
    op->kind = kind;
    op->cmd = q->a->cmd;
    op->db = q->db;
    op->command = encode(r, q->argv, q->argc);
    op->key = blob_hold(blob_new(r, key.p, key.len));
    return op;
}

struct reply_slot *rop_slot(const struct replica_request *q)
{
    struct reply_slot *slot = replies_add(q->ns);
    slot->silent = q->a->silent;
    slot->count = q->a->count;
    slot->start_ns = session_now(&q->ns->s);
    return slot;
}

static enum replica_taken serve_read(struct replica *r, const struct replica_request *q,
                                     struct resp_out *out)
{
    struct span key = {0};
    if (!r->nw->may_read) {
        r->counts.reads_refused++;
        resp_error(out, tryagain);
        return REPLICA_CONTROL;
    }
    enum in_the_way what = look_all(r->nw, q->a->cmd, q->argv, q->argc, q->hash, &key);
    if (__builtin_expect(what == NOTHING, 1)) {
        r->counts.reads_local++;
        run_now(r, q->a->cmd, q->argv, q->argc, q->db, out);
        return REPLICA_DONE;
    }
    r->counts.reads_waited++;
    struct rop *op = rop_for(r, q, key, what == EXPIRED ? HERMES_EXPIRE : HERMES_READ);
    op->slot = rop_slot(q);
    rop_start(r, op);
    return REPLICA_LATER;
}

/* op has its slot and command; its key may be another one now. */
static void serve_op_again(struct replica *r, struct rop *op)
{
    struct node_worker *nw = r->nw;
    struct span key = {0};
    if (!nw->may_read) {
        struct hermes_done refused = {.op = (uint64_t)(uintptr_t)op, .result = HERMES_TRYAGAIN};
        op->again = false;
        op->kind = HERMES_READ;
        replica_op_done(r, &refused);
        return;
    }
    must(replica_parse(r, blob_span(op->command), 0) != 0);
    const struct span *argv = r->parser.argv;
    int argc = (int)r->parser.argc;
    enum in_the_way what = look_all(nw, op->cmd, argv, argc, 0, &key);
    if (what == NOTHING) {
        buf_consume(&op->reply, buf_used(&op->reply));
        struct resp_out out = {&op->reply, op->slot->proto};
        run_now(r, op->cmd, argv, argc, op->db, &out);
        rop_fill(r, op->slot, buf_span(&op->reply), false);
        rop_free(op);
        return;
    }
    blob_drop(r, op->key);
    op->key = blob_hold(blob_new(r, key.p, key.len));
    op->kind = what == EXPIRED ? HERMES_EXPIRE : HERMES_READ;
    op->again = false;
    rop_start(r, op);
}

static void serve_again(struct loop_task *task)
{
    struct node_worker *nw =
        (struct node_worker *)(void *)((char *)task - offsetof(struct node_worker, again_task));
    struct rop *op = nw->again;
    nw->again = NULL;
    if (op != NULL) {
        nw->now_ms = clk_wall_ms();
        replica_batch(nw);
    }
    struct rop *in_order = NULL; /* the list is last in, first out */
    while (op != NULL) {
        struct rop *next = op->next;
        op->next = in_order;
        in_order = op;
        op = next;
    }
    while (in_order != NULL) {
        struct rop *next = in_order->next;
        serve_op_again(nw->replica, in_order);
        in_order = next;
    }
}

/* ---- writes ---- */

static enum replica_taken serve_write(struct replica *r, const struct replica_request *q,
                                      struct span key)
{
    bool blind = cmd_is_blind(q->a->cmd, q->argv, q->argc);
    struct rop *op = rop_for(r, q, key, blind ? HERMES_WRITE : HERMES_UPDATE);
    uint64_t hash = store_hash(r->nw->store, key);
    if (q->a->cmd->rewrite == NULL) {
        if (replica_join_waits(r, hash, key)) {
            op->kind = HERMES_UPDATE;
            if (replica_join(r, op, hash)) {
                op->slot = rop_slot(q);
                return REPLICA_LATER;
            }
            op->joinable = true;
            op->slot = rop_slot(q);
            rop_start(r, op);
            return REPLICA_LATER;
        }
        op->joinable = !blind;
    }
    /* Only what surely leaves its value is blind: not a syntax error, nor an expiry in the past. */
    if (blind && q->argc > 3 && !replica_creates(r, op)) {
        op->kind = HERMES_UPDATE;
    }
    op->slot = rop_slot(q);
    rop_start(r, op);
    return REPLICA_LATER;
}

/* Is one of the keys hot, as far as can be told now? Then nothing is done: a part of them must not
 * be refused when others have been written. */
static bool any_hot(struct replica *r, const struct replica_request *q, uint64_t *generation)
{
    for (int i = 1; i < q->argc; i += q->a->cmd->key_step) {
        const struct entry *e = store_find_any(r->nw->store, q->argv[i]);
        if (e != NULL && entry_hot(e)) {
            *generation = entry_generation(e);
            return true;
        }
    }
    return false;
}

/* DEL, UNLINK, MSET: one command of one key for each. */
static enum replica_taken serve_split(struct replica *r, const struct replica_request *q)
{
    bool is_mset = (q->a->cmd->flags & CMD_BLIND) != 0;
    int step = q->a->cmd->key_step;
    if (is_mset && q->argc % 2 == 0) {
        return REPLICA_DONE; /* not reached: see replica_serve */
    }
    struct gather *g = mem_zalloc(sizeof *g);
    g->slot = rop_slot(q);
    g->counts = !is_mset;
    g->worst = HERMES_DONE;
    g->open = 1;
    const struct cmd *one = is_mset ? cmd_find(SPAN_LIT("set")) : q->a->cmd;
    for (int i = 1; i < q->argc; i += step) {
        struct span argv[3] = {span_str(one->name), q->argv[i],
                               is_mset ? q->argv[i + 1] : span_of(NULL, 0)};
        struct rop *op = rop_new(r);
        op->kind = is_mset ? HERMES_WRITE : HERMES_UPDATE;
        op->cmd = one;
        op->db = q->db;
        op->command = encode(r, argv, is_mset ? 3 : 2);
        op->key = blob_hold(blob_new(r, q->argv[i].p, q->argv[i].len));
        op->gather = g;
        g->open++;
        rop_start(r, op);
    }
    if (--g->open == 0) {
        gather_end(r, g);
    }
    return REPLICA_LATER;
}

/* One update of all keys (H11). */
static enum replica_taken serve_several(struct replica *r, const struct replica_request *q,
                                        struct resp_out *out)
{
    struct tx t = {0};
    tx_add(&t, q->a->cmd, q->db, q->argv, q->argc);
    enum replica_taken taken = replica_serve_tx(r->nw, q, &t, out);
    tx_free(&t);
    return taken;
}

/* How many different keys; at least 2 if there are several. */
static int count_keys(const struct replica_request *q, struct span *first)
{
    int small[KEYS_ON_STACK];
    if (q->a->cmd->keys == NULL && q->a->cmd->first_key == q->a->cmd->last_key) {
        *first = q->argv[q->a->cmd->first_key];
        return q->a->cmd->first_key != 0;
    }
    int *all = q->argc <= KEYS_ON_STACK ? small : mem_alloc((size_t)q->argc * sizeof *all);
    int n = cmd_get_keys(q->a->cmd, q->argv, q->argc, all, q->argc);
    if (n > 0) {
        *first = q->argv[all[0]];
        bool same = true;
        for (int i = 1; i < n; i++) {
            same = same && span_eq(*first, q->argv[all[i]]);
        }
        n = same ? 1 : n;
    }
    if (all != small) {
        mem_free(all);
    }
    return n;
}

bool replica_has_room(const struct replica *r)
{
    return r->open_rops < OPEN_MAX;
}

void replica_batch(struct node_worker *nw)
{
    struct replica *r = nw->replica;
    if (r->membership != NULL) {
        membership_tick(r->membership, nw->w, clk_boot_ns());
        replica_take_lease(r);
    }
    nw->boot_ns = clk_boot_ns();
    nw->may_read = r->core != NULL && !r->leaving && hermes_may_read(r->core, nw->boot_ns);
}

bool replica_reads_now(struct node_worker *nw, const struct replica_request *q)
{
    struct span key = {0};
    if ((q->a->cmd->flags & CMD_WRITE) != 0 || q->hot || !nw->may_read ||
        look_all(nw, q->a->cmd, q->argv, q->argc, q->hash, &key) != NOTHING) {
        return false;
    }
    nw->replica->counts.reads_local++;
    return true;
}

enum replica_taken replica_serve(struct node_worker *nw, const struct replica_request *q,
                                 struct resp_out *out)
{
    struct replica *r = nw->replica;
    const struct cmd *cmd = q->a->cmd;
    if (r->core == NULL || r->leaving) {
        resp_error(out, tryagain);
        return REPLICA_CONTROL;
    }
    if (!replica_has_room(r)) {
        return REPLICA_FULL;
    }
    if (!q->hot && tx_only_reads(cmd, q->argv, q->argc)) {
        return serve_read(r, q, out);
    }
    if (q->hot) {
        return replica_hot_serve(r, q, out);
    }
    if (strcmp(cmd->name, "flushall") == 0 || strcmp(cmd->name, "flushdb") == 0) {
        if (q->argc > 2 ||
            (q->argc == 2 && !span_is(q->argv[1], "sync") && !span_is(q->argv[1], "async"))) {
            resp_error(out, "ERR syntax error");
            return REPLICA_DONE;
        }
        return serve_flush(r, q);
    }
    struct span key = {0};
    int keys = count_keys(q, &key);
    if (keys <= 0) { /* a syntax error: the handler says which, and changes nothing */
        run_now(r, cmd, q->argv, q->argc, q->db, out);
        return REPLICA_DONE;
    }
    if ((cmd->flags & CMD_SPLIT) != 0 && !(keys == 1 && (cmd->flags & CMD_BLIND) == 0)) {
        if ((cmd->flags & CMD_BLIND) != 0 && q->argc % 2 == 0) {
            resp_error(out, "ERR wrong number of arguments for 'mset' command");
            return REPLICA_DONE;
        }
        uint64_t generation = 0;
        if (any_hot(r, q, &generation)) {
            resp_errorf(out, "HOT %llu", (unsigned long long)generation);
            return REPLICA_CONTROL;
        }
        return serve_split(r, q);
    }
    if (keys > 1) {
        return serve_several(r, q, out);
    }
    return serve_write(r, q, key);
}

/* ---- work of our own ---- */

/* One replica is enough, and the others would only get in its way: the one that the slot falls to.
 */
static bool is_mine(const struct replica *r, struct span key)
{
    const struct view *v = hermes_view(r->core);
    return v->members != 0 && v->ids[slot_of_inner(key) % v->members] == r->id;
}

void replica_expire_all(struct node_worker *nw, struct entry *const *e, size_t n)
{
    struct replica *r = nw->replica;
    struct blob *keys[64];
    size_t count = 0;
    if (r->core == NULL || !nw->may_read || r->open_rops >= OPEN_MAX / 2) {
        return;
    }
    /* Starting an operation may move entries, so their keys are copied first. */
    for (size_t i = 0; i < n && count < sizeof keys / sizeof keys[0]; i++) {
        struct span key = entry_key(e[i]);
        if (entry_state(e[i]) == 0 && !entry_hot(e[i]) && is_mine(r, key)) { /* G13 */
            keys[count++] = blob_hold(blob_new(r, key.p, key.len));
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct rop *op = rop_new(r);
        op->kind = HERMES_EXPIRE;
        op->key = keys[i]; /* takes the reference */
        op->command = encode(r, (struct span[]){SPAN_LIT("DEL"), blob_span(keys[i])}, 2);
        rop_start(r, op);
    }
}

void replica_evict(struct node_worker *nw, struct entry *e)
{
    struct replica *r = nw->replica;
    struct span key = entry_key(e);
    if (r->core != NULL && r->open_rops < OPEN_MAX / 2 && nw->may_read) {
        start_delete(r, blob_hold(blob_new(r, key.p, key.len)), NULL);
    }
}

#define PURGE_ABOVE 1024u /* tombstones that are not worth a grant */

static void find_tombstone(void *arg, struct entry *e)
{
    struct entry **found = arg;
    if (entry_type(e) == VAL_TOMBSTONE && entry_state(e) == 0 && !entry_hot(e) &&
        entry_ts(e) != 0) {
        *found = e;
    }
}

void replica_cron(struct node_worker *nw)
{
    struct replica *r = nw->replica;
    replica_batch(nw);
    uint64_t tombstones = store_tombstones(nw->store);
    if (r->core == NULL || !nw->may_read || tombstones < PURGE_ABOVE || r->open_rops != 0) {
        return;
    }
    const struct view *v = hermes_view(r->core);
    if (v->ids[0] != r->id) {
        return; /* the member with the lowest id sees to it */
    }
    struct entry *found = NULL;
    for (unsigned i = 0; i < 64 && found == NULL; i++) {
        r->scan_cursor_purge =
            store_scan(nw->store, r->scan_cursor_purge, 1, find_tombstone, &found);
    }
    if (found == NULL) {
        return;
    }
    struct span key = entry_key(found);
    struct rop *op = rop_new(r);
    op->kind = HERMES_PURGE;
    op->key = blob_hold(blob_new(r, key.p, key.len));
    struct hermes_op hop = {.id = (uint64_t)(uintptr_t)op,
                            .kind = HERMES_PURGE,
                            .version = ts_version(entry_ts(found))};
    replica_key(r, &hop.key, op->key);
    struct hermes_in in = {
        .kind = HERMES_IN_OP, .now_ns = nw->boot_ns, .wall_ms = nw->now_ms, .u.op = &hop};
    if (replica_step(r, &in) != OK) {
        rop_free(op);
    }
}
