/* EXEC and WATCH: one request to one node each (backends/server/transaction.h says what is in it).
 *
 * A transaction goes where the writes of its slot go, in its client's lane, so it keeps its place
 * among the client's other requests and is asked again elsewhere only if it was certainly not
 * executed. While a WATCH is under way nothing else of its client is read: what comes next may be
 * the EXEC that depends on its answer. A key that is hot makes the node refuse: then nothing was
 * done, and the client is told to try again (lane_again.c). */
#include "proxy/transaction.h"

#include "backends/server/transaction.h"
#include "common/mem.h"
#include "common/num.h"
#include "proxy/lane.h"

static enum taken answer(struct client *c, const struct admitted *a, int argc, struct buf *reply)
{
    struct call *k;
    struct resp_out *out = reply_begin(c, a, argc, &k);
    size_t mark = buf_used(out->b);
    buf_add(out->b, buf_head(reply), buf_used(reply));
    c->pw->stats.local++;
    reply_end(c, a, k, mark);
    return TAKEN;
}

static struct call *send(struct client *c, const struct admitted *a, int argc,
                         const struct target *t, const struct buf *request, bool writes)
{
    buf_add(shard_begin(t->l), buf_head(request), buf_used(request));
    struct call *k = call_open(c, a, argc);
    k->write = writes;
    target_commit(t, k);
    c->pw->stats.forwarded++;
    return k;
}

static bool find(struct client *c, unsigned slot, unsigned how, struct target *t)
{
    return target_find(c, route_slot(c->pw->route, slot), slot, how, t);
}

enum taken transaction_exec(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    struct target t = {0};
    unsigned slot = session_tx_slot(&c->s);
    if (slot < SLOT_COUNT && !find(c, slot, TARGET_WRITE, &t)) {
        enum taken taken = target_refused(c, a, (int)q->argc, &t);
        if (taken == TAKEN) {
            session_tx_drop(&c->s);
        }
        return taken;
    }
    struct buf reply = {0};
    struct buf request = {0};
    struct resp_out out = {&reply, c->s.c.proto};
    bool writes = false;
    if (session_exec(&c->s, &out, &request, &slot, &writes)) {
        (void)send(c, a, (int)q->argc, &t, &request, writes);
    } else {
        (void)answer(c, a, (int)q->argc, &reply);
    }
    buf_free(&reply);
    buf_free(&request);
    return TAKEN;
}

enum taken transaction_watch(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    struct target t = {0};
    struct buf reply = {0};
    struct buf request = {0};
    struct resp_out out = {&reply, c->s.c.proto};
    unsigned slot = 0;
    enum taken taken = TAKEN;
    if (!session_watch_request(&c->s, q->argv, (int)q->argc, &out, &request, &slot)) {
        taken = answer(c, a, (int)q->argc, &reply);
    } else if (!find(c, slot, TARGET_READ | TARGET_PLACED, &t)) {
        taken = target_refused(c, a, (int)q->argc, &t);
    } else {
        send(c, a, (int)q->argc, &t, &request, false)->watch = true;
        c->watching = true;
    }
    buf_free(&reply);
    buf_free(&request);
    return taken;
}

static int add_key(struct span *keys, int count, struct span key)
{
    for (int i = 0; i < count; i++) {
        if (span_eq(keys[i], key)) {
            return count;
        }
    }
    keys[count] = key;
    return count + 1;
}

/* Each once: a transaction may write a key many times. */
int transaction_keys(const struct span *argv, int argc, struct span *keys)
{
    int64_t n = 0;
    int count = 0;
    int at = 3;
    if (argc < 3 || !num_parse_i64(argv[2], &n)) {
        return 0;
    }
    for (; n > 0 && at + 1 < argc; n--, at += 2) {
        count = add_key(keys, count, argv[at]);
    }
    int *idx = mem_alloc((size_t)argc * sizeof *idx);
    while (at + 2 < argc && num_parse_i64(argv[at + 1], &n) && n >= 0 && n <= argc - at - 2) {
        at += 2;
        const struct cmd *cmd = n == 0 ? NULL : cmd_find_request(argv + at, (int)n);
        int found = cmd == NULL ? 0 : cmd_get_keys(cmd, argv + at, (int)n, idx, argc);
        for (int i = 0; i < found; i++) {
            count = add_key(keys, count, argv[at + idx[i]]);
        }
        at += n == 0 ? 1 : (int)n;
    }
    mem_free(idx);
    return count;
}

struct span transaction_watched(struct call *k, struct span bytes, struct span request)
{
    if (k->c == NULL || (bytes.len != 0 && bytes.p[0] == '-')) {
        return bytes;
    }
    return session_watched(&k->c->s, request, bytes)
               ? SPAN_LIT("+OK\r\n")
               : SPAN_LIT("-ERR the node did not say what state the keys are in\r\n");
}
