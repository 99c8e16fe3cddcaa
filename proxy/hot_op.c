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
#include "proxy/hot_private.h"

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

static void finish(struct hot_op *op)
{
    struct call *k = op->call;
    struct proxy_worker *pw = op->from->pw;
    struct lane *lane = k->lane;
    k->with_core = false;
    k->lane = NULL;
    if (k->c != NULL) {
        k->c->hot_open--;
    }
    shard_now(pw->pool, clk_mono_ns());
    struct span reply = buf_span(&op->reply);
    if (op->outcome == HOT_OUT_COLD && k->c != NULL) {
        k->lane = lane;
        k->hot_generation = 0;
        lane_wait_again(k, slot_of_inner(hot_op_key(op)), hot_op_request(op));
        give_back(op);
        return;
    }
    if (op->outcome == HOT_OUT_ERROR) {
        pw->stats.node_errors++;
        pw->stats.unknown += reply.len >= 7 && memcmp(reply.p, "UNKNOWN", 7) == 0;
        call_fail(k, reply, hot_op_request(op));
    } else {
        call_answer(k, reply.len != 0 ? reply : SPAN_LIT("-ERR the node sent an empty reply\r\n"),
                    hot_op_request(op));
    }
    give_back(op);
    if (lane != NULL) {
        lane_leave(lane);
    }
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
    if (k->pw->hot == NULL || k->g != NULL || k->slot == SLOT_MANY || words.len < 5 ||
        memcmp(words.p, "HOT ", 4) != 0 ||
        !num_parse_i64(span_of(words.p + 4, words.len - 4), &n) || n <= 0) {
        return false;
    }
    *generation = (uint64_t)n;
    return true;
}

bool hot_convert(struct call *k, struct span request)
{
    struct span argv[ARGS_MAX];
    int argc = request_args(request, argv, ARGS_MAX);
    const struct cmd *cmd = argc > 0 ? cmd_find_request(argv, argc) : NULL;
    int at = cmd != NULL ? cmd->first_key : 0;
    bool one = at != 0 && at < argc && cmd->keys == NULL &&
               (cmd->first_key == cmd->last_key || (argc == 2 && cmd->key_step == 1));
    if (!one || k->c == NULL || k->pw->hot == NULL) {
        return false;
    }
    struct hot_worker *hw = k->pw->hot;
    struct hot_op *op = hot_op_take(hw);
    struct span key = argv[at]; /* an inner key */
    op->cmd = cmd;
    op->client = k->c->s.id;
    op->call = k;
    op->proto = k->proto;
    op->write = (cmd->flags & CMD_WRITE) != 0;
    op->generation = k->hot_generation;
    op->hash = cache_hash(key);
    op->key_len = (uint32_t)key.len;
    buf_add(&op->bytes, key.p, key.len);
    buf_add(&op->bytes, request.p, request.len);
    k->hot_hash = op->hash;
    k->c->busy |= UINT64_C(1) << (op->hash >> 58);
    k->with_core = true;
    k->c->hot_open++;
    hw->stats.converted++;
    hot_op_send(op);
    return true;
}
