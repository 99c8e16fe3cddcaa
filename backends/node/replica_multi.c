/* Commands of several keys and transactions in a replicated shard: one update of the Hermes core
 * (DESIGN H11), or one read at an instant when all keys are Valid.
 *
 * The effects are the list of commands (tx.h). Every replica runs it at commit, on the same bases
 * and with the coordinator's wall clock, so all end the same; the coordinator's replies are made
 * then too. What is not deterministic is rewritten before it is sent: the command's hook looks at
 * what the commands before it leave, which is the store itself as long as none of them has written,
 * else a scratch store with copies of the keys. */
#include <string.h>

#include "backends/cmd/value.h"
#include "backends/node/replica_private.h"
#include "backends/node/tx.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

void replica_tx_free(struct replica *r, struct rop *op)
{
    struct rop_tx *t = op->tx;
    if (t != NULL) {
        for (uint32_t i = 0; i < t->key_count; i++) {
            blob_drop(r, t->keys[i]);
        }
        mem_free(t->keys);
        mem_free(t->watches);
        mem_free(t);
        op->tx = NULL;
    }
}

/* ---- looking at the store ---- */

static struct entry *find_key(struct replica *r, const struct blob *key)
{
    return store_find_any(r->nw->store, blob_span(key));
}

static bool is_live(const struct entry *e)
{
    return e != NULL && entry_type(e) != VAL_TOMBSTONE;
}

static bool is_expired(const struct entry *e, uint64_t now_ms)
{
    return is_live(e) && entry_expired_at(entry_expire_ms(e), now_ms);
}

static struct tx_token token_of(struct replica *r, const struct blob *key, uint64_t now_ms)
{
    const struct entry *e = find_key(r, key);
    return (struct tx_token){e == NULL ? 0 : entry_ts(e), is_live(e) && !is_expired(e, now_ms)};
}

void replica_touched(struct replica *r, uint64_t hash, uint64_t from, uint64_t to)
{
    r->touches[r->touch_next++ % REPLICA_TOUCHES] = (struct touch){hash, from, to};
}

/* Did nothing but touches lead from one timestamp to the other? Looks from the newest back. */
static bool only_touched(const struct replica *r, const struct blob *key, uint64_t then,
                         uint64_t now)
{
    uint64_t hash = store_hash(r->nw->store, blob_span(key));
    for (uint32_t i = 1; i <= REPLICA_TOUCHES && now > then; i++) {
        const struct touch *t = &r->touches[(r->touch_next - i) % REPLICA_TOUCHES];
        now = t->hash == hash && t->to == now ? t->from : now;
    }
    return now == then;
}

/* WATCH: a key that was written since has another timestamp, even if it was written back; one that
 * has expired since is no longer what it was. */
static bool watches_hold(struct replica *r, const struct rop_tx *t, uint64_t now_ms)
{
    for (uint32_t i = 0; i < t->watch_count; i++) {
        struct tx_token now = token_of(r, t->keys[t->watches[i].key], now_ms);
        struct tx_token then = t->watches[i].token;
        if (now.live != then.live ||
            !only_touched(r, t->keys[t->watches[i].key], then.version, now.version)) {
            return false;
        }
    }
    return true;
}

static struct tx_run run_on(struct replica *r, struct store *s, struct rop *op, uint64_t now_ms,
                            struct resp_out *out)
{
    struct tx_run how = {
        .like = replica_context(r, op, now_ms), .parser = &r->parser, .out = out, .sink = &r->sink};
    how.like.store = s;
    return how;
}

static void run_here(struct replica *r, struct rop *op, uint64_t now_ms, struct span list)
{
    struct resp_out out = {NULL, 2};
    if (op != NULL) {
        out = rop_reply(op);
        if (op->tx->exec) {
            resp_array(&out, op->tx->replies);
        }
        op->replied = true;
    }
    struct tx_run how = run_on(r, r->nw->store, op, now_ms, op != NULL ? &out : NULL);
    tx_run(&how, list);
}

/* ---- rewriting ---- */

static void scratch_fill(struct replica *r, const struct rop_tx *t, uint64_t now_ms)
{
    struct buf value = {0};
    for (uint32_t i = 0; i < t->key_count; i++) {
        const struct entry *e = find_key(r, t->keys[i]);
        if (is_live(e) && !is_expired(e, now_ms)) {
            buf_consume(&value, buf_used(&value));
            value_encode(e, &value);
            struct entry *copy =
                value_install(r->scratch, NULL, blob_span(t->keys[i]), buf_span(&value));
            must(copy != NULL);
            store_set_expire(r->scratch, copy, entry_expire_ms(e));
        }
    }
    buf_free(&value);
}

static void scratch_clear(struct replica *r, const struct rop_tx *t)
{
    for (uint32_t i = 0; i < t->key_count; i++) {
        struct entry *e = store_find_any(r->scratch, blob_span(t->keys[i]));
        if (e != NULL) {
            store_delete(r->scratch, e);
        }
    }
    while (store_lazy_step(r->scratch, 4096)) {
    }
}

struct rewriting {
    struct replica *r;
    struct rop *op;
    struct store *store; /* as the commands so far leave it */
    uint64_t now_ms;
    struct resp_parser parser; /* of what hooks make */
    struct buf list;
};

/* What a hook made: its commands without replies, then the reply. */
static void take_rewritten(struct rewriting *w, struct span commands, unsigned db)
{
    static const struct resp_limits limits = {.bulk_bytes_max = UINT32_MAX,
                                              .args_max = RESP_ARGS_MAX};
    size_t at = 0;
    size_t used = 0;
    while (at < commands.len && resp_parse(&w->parser, commands.p + at, commands.len - at, &limits,
                                           &used, &(struct errmsg){{0}}) == RESP_REQUEST) {
        tx_list_command(&w->list, 'm', db, w->parser.argv, (int)w->parser.argc);
        at += used;
    }
}

/* Rewrites the command in r->parser, whose hook is not NULL. */
static void rewrite_one(struct rewriting *w, const struct cmd *cmd, unsigned db)
{
    struct replica *r = w->r;
    struct buf reply = {0};
    struct resp_out out = {&reply, w->op->slot != NULL ? w->op->slot->proto : 2};
    struct cmd_ctx c = replica_context(r, w->op, w->now_ms);
    c.store = w->store;
    c.db = db;
    c.cmd = cmd;
    c.argv = r->parser.argv + 2;
    c.argc = (int)r->parser.argc - 2;
    c.out = &out;
    struct effects fx = {0};
    if (cmd->rewrite(&c, &fx)) {
        take_rewritten(w, buf_span(&fx.bytes), db);
    }
    tx_list_reply(&w->list, buf_span(&reply));
    buf_free(&fx.bytes);
    buf_free(&reply);
}

/* The list with what is not deterministic rewritten. */
static struct buf rewrite_list(struct replica *r, struct rop *op, uint64_t now_ms)
{
    struct rewriting w = {.r = r, .op = op, .store = r->nw->store, .now_ms = now_ms};
    resp_parser_init(&w.parser);
    struct span list = blob_span(op->command);
    bool first = true;
    for (size_t at = 0, n; (n = tx_next(&r->parser, list, at)) != 0; at += n) {
        const struct span *argv = r->parser.argv;
        int argc = (int)r->parser.argc;
        const struct cmd *cmd =
            argv[0].p[0] == 'c' && argc > 2 ? cmd_find_request(argv + 2, argc - 2) : NULL;
        size_t from = buf_used(&w.list);
        if (!first && w.store == r->nw->store && cmd != NULL && cmd->rewrite != NULL) {
            scratch_fill(r, op->tx, now_ms);
            w.store = r->scratch;
            struct tx_run how = run_on(r, r->scratch, NULL, now_ms, NULL);
            how.parser = &w.parser;
            tx_run(&how, buf_span(&w.list));
        }
        if (cmd != NULL && cmd->rewrite != NULL) {
            int64_t db = 0;
            (void)num_parse_i64(argv[1], &db);
            rewrite_one(&w, cmd, (unsigned)db);
        } else {
            buf_add(&w.list, list.p + at, n);
        }
        first = false;
        if (w.store == r->scratch) {
            struct tx_run how = run_on(r, r->scratch, NULL, now_ms, NULL);
            how.parser = &w.parser;
            tx_run(&how, span_of(buf_head(&w.list) + from, buf_used(&w.list) - from));
        }
    }
    if (w.store == r->scratch) {
        scratch_clear(r, op->tx);
    }
    resp_parser_free(&w.parser);
    return w.list;
}

/* ---- what the core asks ---- */

bool replica_prepare_multi(struct replica *r, struct rop *op, uint64_t now_ms,
                           struct coh_ref *effects)
{
    struct rop_tx *t = op->tx;
    bool expired = false;
    for (uint32_t i = 0; i < t->key_count; i++) {
        expired = expired || is_expired(find_key(r, t->keys[i]), now_ms);
    }
    if (t->asks) {
        struct buf tokens = {0};
        for (uint32_t i = 0; i < t->key_count; i++) {
            tx_token_print(token_of(r, t->keys[i], now_ms), &tokens);
        }
        struct resp_out out = rop_reply(op);
        resp_bulk_span(&out, buf_span(&tokens));
        buf_free(&tokens);
        op->replied = true;
        return false;
    }
    if (!watches_hold(r, t, now_ms)) {
        struct resp_out out = rop_reply(op);
        resp_null_array(&out);
        op->replied = true;
        return false;
    }
    if (!t->writes && !expired) {
        run_here(r, op, now_ms, blob_span(op->command));
        return false;
    }
    if (!t->rewrites) {
        *effects = blob_ref(blob_hold(op->command));
        return true;
    }
    struct buf list = rewrite_list(r, op, now_ms);
    *effects = blob_ref(blob_hold(blob_new(r, buf_head(&list), buf_used(&list))));
    buf_free(&list);
    return true;
}

#define TOUCHED_MAX 64u /* of larger updates every key counts as written */

/* Which parts are named by no command that may write them. */
static uint64_t only_read(struct replica *r, struct span list, const struct hermes_part *parts,
                          uint32_t count)
{
    size_t n = tx_next(&r->parser, list, 0);
    if (n == 0 || n == list.len || count > TOUCHED_MAX) {
        return 0; /* one command: it writes */
    }
    uint64_t read = count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
    for (size_t at = 0; (n = tx_next(&r->parser, list, at)) != 0; at += n) {
        const struct span *argv = r->parser.argv + 2;
        int argc = (int)r->parser.argc - 2;
        const struct cmd *cmd = argc > 0 ? cmd_find_request(argv, argc) : NULL;
        if (cmd == NULL || tx_only_reads(cmd, argv, argc)) {
            continue;
        }
        int *idx = mem_alloc((size_t)argc * sizeof *idx);
        int keys = cmd_get_keys(cmd, argv, argc, idx, argc);
        for (int k = 0; k < keys; k++) {
            for (uint32_t i = 0; i < count; i++) {
                bool same = span_eq(blob_span(ref_blob(parts[i].key.ref)), argv[idx[k]]);
                read &= same ? ~(UINT64_C(1) << i) : UINT64_MAX;
            }
        }
        mem_free(idx);
    }
    return read;
}

void replica_apply_multi(struct replica *r, const struct hermes_part *parts, uint32_t count,
                         const struct hermes_update *u, struct rop *op)
{
    struct store *s = r->nw->store;
    uint64_t read = only_read(r, blob_span(ref_blob(u->effects)), parts, count);
    for (uint32_t i = 0; i < count; i++) { /* H12: what has expired is gone, at every replica */
        struct entry *e = find_key(r, ref_blob(parts[i].key.ref));
        if (is_expired(e, u->now_ms)) {
            store_delete(s, e);
        } else if (i < TOUCHED_MAX && (read >> i & 1) != 0) {
            replica_touched(r, parts[i].key.hash, parts[i].base, parts[i].ts);
        }
    }
    run_here(r, op, u->now_ms, blob_span(ref_blob(u->effects)));
    for (uint32_t i = 0; i < count; i++) {
        const struct blob *key = ref_blob(parts[i].key.ref);
        struct entry *e = find_key(r, key);
        if (e == NULL) {
            e = store_put_object(s, NULL, blob_span(key), VAL_TOMBSTONE, NULL);
        }
        entry_set_ts(e, parts[i].ts);
        if (entry_hot(e) || entry_generation(e) != parts[i].generation) {
            store_set_hot(s, e, false, parts[i].generation);
        }
    }
}

/* ---- requests ---- */

enum replica_taken replica_serve_tx(struct node_worker *nw, const struct replica_request *q,
                                    struct tx *t, struct resp_out *out)
{
    struct replica *r = nw->replica;
    if (r->core == NULL) {
        resp_error(out, REPLICA_TRYAGAIN);
        return REPLICA_CONTROL;
    }
    if (!replica_has_room(r)) {
        return REPLICA_FULL;
    }
    struct rop *op = rop_new(r);
    struct rop_tx *x = op->tx = mem_zalloc(sizeof *x);
    op->kind = HERMES_MULTI;
    op->cmd = q->a->cmd;
    op->db = q->db;
    op->command = blob_hold(blob_new(r, buf_head(&t->list), buf_used(&t->list)));
    x->keys = mem_alloc((t->key_count + 1) * sizeof(void *));
    x->key_count = t->key_count;
    for (uint32_t i = 0; i < t->key_count; i++) {
        x->keys[i] = blob_hold(blob_new(r, t->keys[i].p, t->keys[i].len));
    }
    x->watches = t->watches;
    x->watch_count = t->watch_count;
    t->watches = NULL;
    x->exec = t->exec;
    x->asks = t->asks;
    x->writes = t->writes;
    x->rewrites = t->rewrites;
    x->replies = t->replies;
    op->slot = rop_slot(q);
    r->counts.multis_started++;
    struct hermes_key *keys = mem_alloc((t->key_count + 1) * sizeof *keys);
    for (uint32_t i = 0; i < t->key_count; i++) {
        replica_key(r, &keys[i], x->keys[i]);
        replica_join_close(r, &keys[i]);
    }
    struct hermes_op hop = {.id = (uint64_t)(uintptr_t)op,
                            .kind = HERMES_MULTI,
                            .effects = blob_ref(op->command),
                            .key = keys[0],
                            .keys = keys,
                            .key_count = t->key_count,
                            .reads = !t->writes};
    struct hermes_in in = {
        .kind = HERMES_IN_OP, .now_ns = nw->boot_ns, .wall_ms = nw->now_ms, .u.op = &hop};
    enum err e = replica_step(r, &in);
    mem_free(keys);
    if (e == ERR_UNSUPPORTED) {
        struct resp_out reply = rop_reply(op);
        resp_error(&reply, "ERR too many keys for one update");
        op->replied = true;
    }
    if (e != OK) {
        struct hermes_done refused = {
            .op = hop.id, .result = e == ERR_UNSUPPORTED ? HERMES_NOTHING : HERMES_TRYAGAIN};
        replica_op_done(r, &refused);
    }
    return REPLICA_LATER;
}
