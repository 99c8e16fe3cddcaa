/* Commands on their way to the core of their key's worker and back.
 *
 *     client's worker: hot_op_take, filled in --hot_op_send--> owner: hot_op_start, the core ...
 *     client's worker: finish <------------------------------- owner: hot_op_done
 *
 * Within a worker the way leads through its own mailbox too: an operation never starts, nor ends,
 * inside of what asked for it. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"
#include "proxy/gather.h"
#include "proxy/hot_private.h"
#include "proxy/transaction.h"

#define ARGS_MAX 16
#define KEEP_BYTES 4096u

struct hot_op *hot_op_take(struct hot_worker *hw)
{
    struct hot_op *op = hw->free_ops;
    if (op != NULL) {
        hw->free_ops = op->next;
        struct buf bytes = op->bytes;
        struct buf reply = op->reply;
        *op = (struct hot_op){.bytes = bytes, .reply = reply, .all = op->all};
    } else {
        op = mem_zalloc(sizeof *op);
        op->all = hw->all_ops;
        hw->all_ops = op;
    }
    op->from = hw;
    return op;
}

static void give_back(struct hot_op *op)
{
    struct hot_worker *hw = op->from;
    buf_consume(&op->bytes, buf_used(&op->bytes));
    buf_trim(&op->bytes, KEEP_BYTES);
    buf_consume(&op->reply, buf_used(&op->reply));
    buf_trim(&op->reply, KEEP_BYTES);
    op->next = hw->free_ops;
    hw->free_ops = op;
}

void hot_ops_free(struct hot_worker *hw)
{
    while (hw->all_ops != NULL) {
        struct hot_op *op = hw->all_ops;
        hw->all_ops = op->all;
        buf_free(&op->bytes);
        buf_free(&op->reply);
        mem_free(op);
    }
    hw->free_ops = NULL;
}

void hot_op_send(struct hot_op *op)
{
    op->at = hot_owner(slot_of_inner(hot_op_key(op)));
    hot_post(op->from, op->at->index, op);
}

/* ---- at the owner ---- */

static void answer(struct hot_op *op, enum hot_outcome outcome, struct span reply)
{
    op->outcome = (uint8_t)outcome;
    op->answered = true;
    buf_consume(&op->reply, buf_used(&op->reply));
    buf_add(&op->reply, reply.p, reply.len);
    hot_post(op->at, op->from->index, op);
}

static enum galene_op_kind kind_of_op(const struct hot_op *op)
{
    if (op->demote) {
        return GALENE_DEMOTE;
    }
    return op->write ? GALENE_WRITE : GALENE_READ;
}

static void start(struct hot_worker *hw, struct hot_op *op)
{
    if (hw->galene == NULL || hw->stopping) {
        answer(op, HOT_OUT_COLD, span_of("", 0));
        return;
    }
    struct galene_op g = {.id = (uint64_t)(uintptr_t)op,
                          .client = op->client,
                          .kind = kind_of_op(op),
                          .local = op->local,
                          .share = op->share,
                          .blind = op->blind,
                          .generation = op->generation};
    hot_key(hw, &g.key, hot_op_key(op));
    struct galene_in in = {.kind = GALENE_IN_OP, .u.op = &g};
    if (hot_galene(hw, &in) != OK) {
        answer(op, HOT_OUT_ERROR, SPAN_LIT("TRYAGAIN too many commands on hot keys are under way"));
    }
    hot_settle(hw);
}

static void answer_local(struct hot_op *op, const struct galene_value *v)
{
    struct span argv[ARGS_MAX];
    int argc = request_args(hot_op_request(op), argv, ARGS_MAX);
    struct hot_value value = {hot_ref_span(v->ref), v->expire_ms};
    struct buf reply = {0};
    struct resp_out out = {&reply, op->proto};
    if (!hot_compose(op->cmd, argv, argc, v->kind == GMSG_VALUE ? &value : NULL, &out)) {
        resp_error(&out, "ERR value is not an integer or out of range");
    }
    answer(op, HOT_OUT_REPLY, buf_span(&reply));
    buf_free(&reply);
}

void hot_op_done(struct hot_worker *hw, const struct galene_done *d)
{
    (void)hw;
    struct hot_op *op = hot_op_of(d->op);
    switch (d->result) {
    case GALENE_DONE_REPLY:
        answer(op, HOT_OUT_REPLY, hot_ref_span(d->reply));
        return;
    case GALENE_DONE_LOCAL:
        answer_local(op, &d->value);
        return;
    case GALENE_DONE_UNKNOWN:
        answer(op, HOT_OUT_ERROR, SPAN_LIT("UNKNOWN the outcome of this write is not known"));
        return;
    case GALENE_DONE_TRYAGAIN:
        answer(op, HOT_OUT_ERROR,
               SPAN_LIT("TRYAGAIN no replica of this hot key served in time; nothing was done"));
        return;
    case GALENE_DONE_RETRY:
    case GALENE_DONE_DEMOTED:
        answer(op, HOT_OUT_COLD, span_of("", 0));
        return;
    }
    unreachable();
}

/* ---- back at the client's worker ---- */

/* The client that waits for a call, or for what it is a part of; NULL: nobody does. */
static struct client *client_behind(const struct call *k)
{
    return k->g != NULL ? k->g->owner->c : k->c;
}

static void finish_call(struct hot_op *op, struct call *k)
{
    struct proxy_worker *pw = op->from->pw;
    struct span reply = buf_span(&op->reply);
    struct span request = hot_op_request(op);
    if (op->outcome == HOT_OUT_REPLY && k->g != NULL) {
        gather_part(k, reply);
    } else if (op->outcome == HOT_OUT_REPLY) {
        call_answer(k, reply.len != 0 ? reply : SPAN_LIT("-ERR the node sent an empty reply\r\n"),
                    request);
    } else {
        reply = op->outcome == HOT_OUT_ERROR ? reply : SPAN_LIT("TRYAGAIN nothing was done");
        pw->stats.node_errors++;
        pw->stats.unknown += reply.len >= 7 && memcmp(reply.p, "UNKNOWN", 7) == 0;
        if (k->g != NULL) {
            gather_part_failed(k, reply);
        } else {
            call_fail(k, reply, request);
        }
    }
}

static void finish(struct hot_op *op)
{
    struct call *k = op->call;
    struct lane *lane = k->lane;
    shard_now(op->from->pw->pool, clk_mono_ns());
    if (op->demote && --k->hot_waits != 0) {
        give_back(op);
        return;
    }
    k->with_core = false;
    if (k->c != NULL) {
        k->c->hot_open--;
    }
    struct client *c = client_behind(k);
    if ((op->outcome == HOT_OUT_COLD || op->demote) && c != NULL) {
        k->hot_generation = 0;
        lane_wait_again(k, c, slot_of_inner(hot_op_key(op)), hot_op_request(op));
    } else {
        k->lane = NULL;
        finish_call(op, k);
        if (lane != NULL) {
            lane_leave(lane);
        }
    }
    give_back(op);
}

void hot_op_arrived(struct hot_op *op)
{
    if (op->answered) {
        if (!op->from->stopping) {
            finish(op);
        }
    } else {
        start(op->at, op);
    }
}

/* ---- refused by a node: -HOT ---- */

bool hot_refusal(const struct call *k, struct span words, uint64_t *generation)
{
    int64_t n = 0;
    if (k->pw->hot == NULL || client_behind(k) == NULL || words.len < 5 ||
        memcmp(words.p, "HOT ", 4) != 0 ||
        !num_parse_i64(span_of(words.p + 4, words.len - 4), &n) || n <= 0) {
        return false;
    }
    *generation = (uint64_t)n;
    return true;
}

static struct hot_op *op_for(struct call *k, const struct cmd *cmd, struct span key,
                             struct span request)
{
    struct hot_op *op = hot_op_take(k->pw->hot);
    op->cmd = cmd;
    op->call = k;
    op->client = k->c != NULL ? k->c->s.id : 0;
    op->proto = k->proto;
    op->hash = cache_hash(key);
    op->key_len = (uint32_t)key.len;
    buf_add(&op->bytes, key.p, key.len);
    buf_add(&op->bytes, request.p, request.len);
    return op;
}

static void given(struct call *k, uint64_t hash)
{
    k->hot_hash = hash;
    k->with_core = true;
    if (k->c != NULL) {
        k->c->busy |= hash != 0 ? UINT64_C(1) << (hash >> 58) : UINT64_MAX;
        k->c->hot_open++;
    }
    k->pw->hot->stats.converted++;
}

static bool is_known(struct span key)
{
    struct cache_got got;
    return cache_read(hot_cache(), cache_hash(key), key, 0, CACHE_META, NULL, &got) != CACHE_NONE;
}

/* A command about several keys, of which one is hot: those that are known to be hot are demoted,
 * all if none is; then it is sent again (G13). */
static bool demote_keys(struct call *k, const struct cmd *cmd, const struct span *keys, int n,
                        struct span request)
{
    int known = 0;
    for (int i = 0; i < n; i++) {
        known += is_known(keys[i]);
    }
    k->hot_waits = 0;
    for (int i = 0; i < n; i++) {
        if (known == 0 || is_known(keys[i])) {
            struct hot_op *op = op_for(k, cmd, keys[i], request);
            op->demote = true;
            op->generation = known == 0 ? k->hot_generation : 0;
            k->hot_waits++;
            hot_op_send(op);
        }
    }
    if (k->hot_waits == 0) {
        return false;
    }
    given(k, 0);
    return true;
}

static bool demote_named(struct call *k, const struct cmd *cmd, struct span request)
{
    uint64_t all = 0;
    (void)hot_split_header(request, &all);
    struct span *argv = mem_alloc((size_t)all * sizeof *argv);
    struct span *keys = mem_alloc((size_t)all * sizeof *keys);
    int argc = request_args(request, argv, (int)all);
    int n = 0;
    if (cmd->group == GROUP_TRANSACTIONS) {
        n = transaction_keys(argv, argc, keys);
    } else {
        int *idx = mem_alloc((size_t)argc * sizeof *idx);
        n = cmd_get_keys(cmd, argv, argc, idx, argc);
        for (int i = 0; i < n; i++) {
            keys[i] = argv[idx[i]];
        }
        mem_free(idx);
    }
    bool ok = demote_keys(k, cmd, keys, n, request);
    mem_free(keys);
    mem_free(argv);
    return ok;
}

bool hot_convert(struct call *k, struct span request)
{
    struct span argv[ARGS_MAX];
    int argc = request_args(request, argv, ARGS_MAX);
    const struct cmd *cmd = argc > 0 ? cmd_find_request(argv, argc) : NULL;
    bool is_tx = argc > 2 && span_is(argv[0], "halcyon") && span_is(argv[1], "exec");
    cmd = is_tx ? cmd_find(argv[1]) : cmd;
    struct client *c = client_behind(k);
    if (c == NULL || k->pw->hot == NULL) {
        return false;
    }
    if (is_tx) {
        return demote_named(k, cmd, request);
    }
    if (cmd == NULL || (cmd->flags & CMD_FANOUT) != 0 ||
        (cmd->first_key == 0 && cmd->keys == NULL)) {
        /* FLUSHALL, HALCYON DB n FLUSHDB: all keys */
        hot_demote_all();
        k->hot_generation = 0;
        lane_wait_again(k, c, 0, request);
        return true;
    }
    int at = cmd->first_key;
    bool one = at != 0 && at < argc && cmd->keys == NULL &&
               (cmd->first_key == cmd->last_key || (argc == 2 && cmd->key_step == 1));
    if (one) {
        struct hot_op *op = op_for(k, cmd, argv[at], request);
        op->write = (cmd->flags & CMD_WRITE) != 0;
        op->generation = k->hot_generation;
        given(k, op->hash);
        hot_op_send(op);
        return true;
    }
    return demote_named(k, cmd, request);
}
