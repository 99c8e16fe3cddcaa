/* One request to one node: encoding, sending, what comes back, and going elsewhere when the node
 * says so. */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/must.h"
#include "common/num.h"
#include "common/slot.h"
#include "proxy/gather.h"
#include "proxy/hot.h"
#include "proxy/hotkeys.h"
#include "proxy/lane.h"
#include "proxy/profile.h"
#include "proxy/transaction.h"

#define TRIES_MAX 5
#define KEYS_INLINE 64

/* ---- answers without a node ---- */

enum taken stall_on(struct client *c, struct shard_link *l)
{
    c->stalled = true;
    c->pw->stats.stalls++;
    if (c->waiter.link == NULL) {
        shard_wait(l, &c->waiter);
    }
    return STALLED;
}

void lost_text(enum shard_result result, struct span why, struct buf *out)
{
    if (result == SHARD_UNKNOWN) {
        buf_add_str(out,
                    "UNKNOWN the outcome of this write is not known: its node went away before "
                    "answering");
        return;
    }
    buf_addf(out,
             "CLUSTERDOWN The node of this hash slot is not available (%.*s); nothing was done",
             (int)why.len, why.p);
}

enum taken answer_down(struct client *c, const struct admitted *a, int argc, const char *why)
{
    struct call *k;
    struct resp_out *out = reply_begin(c, a, argc, &k);
    size_t mark = buf_used(out->b);
    struct buf text = {0};
    lost_text(SHARD_FAILED, span_str(why), &text);
    resp_errorf(out, "%.*s", (int)buf_used(&text), buf_head(&text));
    buf_free(&text);
    c->pw->stats.node_errors++;
    reply_end(c, a, k, mark);
    return TAKEN;
}

enum taken answer_error(struct client *c, const struct admitted *a, int argc, const char *text)
{
    struct call *k;
    struct resp_out *out = reply_begin(c, a, argc, &k);
    size_t mark = buf_used(out->b);
    resp_error(out, text);
    c->pw->stats.refused++;
    reply_end(c, a, k, mark);
    return TAKEN;
}

/* ---- sending ---- */

static unsigned how_of(const struct cmd *cmd)
{
    return (cmd->flags & CMD_WRITE) != 0 ? TARGET_WRITE : TARGET_READ;
}

/* Where a request goes, and whether it can go now. */
static bool pick(struct client *c, const struct admitted *a, int argc, unsigned slot,
                 struct target *t, enum taken *taken)
{
    unsigned how = how_of(a->cmd);
    const char *name = a->cmd->name;
    if (name[0] != '\0' && name[1] == 's' && strcmp(name + 1, "scan") == 0) {
        how |= TARGET_PLACED; /* HSCAN SSCAN ZSCAN */
    }
    if (__builtin_expect(target_find(c, route_slot(c->pw->route, slot), slot, how, t), 1)) {
        return true;
    }
    *taken = target_refused(c, a, argc, t);
    return false;
}

static void send_call(struct client *c, const struct admitted *a, uint32_t argc,
                      const struct target *t)
{
    target_commit(t, call_open(c, a, (int)argc));
    c->pw->stats.forwarded++;
}

/* Commands with one key: the common case. */
static enum taken forward_key(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    int at = a->cmd->first_key;
    struct span key = q->argv[at];
    struct target t;
    enum taken taken;
    if (!pick(c, a, (int)q->argc, slot_of(key), &t, &taken)) {
        return taken;
    }
    struct buf *b = shard_begin(t.l);
    if (q->raw != NULL && !key_needs_prefix(c->s.db, key)) {
        buf_add(b, q->raw, q->bytes);
    } else {
        encode_request(b, c->s.db, q->argv, q->argc, &at, 1);
    }
    send_call(c, a, q->argc, &t);
    return TAKEN;
}

enum taken forward_together(struct client *c, const struct admitted *a, const struct conn_req *q,
                            unsigned partition, uint32_t step)
{
    struct target t;
    unsigned how = how_of(a->cmd) | TARGET_MANY;
    if (!target_find(c, partition, slot_of(q->argv[1]), how, &t)) {
        return target_refused(c, a, (int)q->argc, &t);
    }
    bool prefix = c->s.db != 0;
    for (uint32_t i = 1; i < q->argc && !prefix; i += step) {
        prefix = key_needs_prefix(0, q->argv[i]);
    }
    struct buf *b = shard_begin(t.l);
    if (q->raw != NULL && !prefix) {
        buf_add(b, q->raw, q->bytes);
    } else {
        encode_header(b, q->argc);
        encode_arg(b, q->argv[0]);
        for (uint32_t i = 1; i < q->argc; i++) {
            if ((i - 1) % step == 0) {
                encode_key(b, c->s.db, q->argv[i]);
            } else {
                encode_arg(b, q->argv[i]);
            }
        }
    }
    send_call(c, a, q->argc, &t);
    return TAKEN;
}

/* XREAD and XREADGROUP with BLOCK would hold up the link. */
static bool asks_to_wait(const struct cmd *cmd, const struct conn_req *q)
{
    if ((cmd->flags & CMD_BLOCKING) == 0) {
        return false;
    }
    for (uint32_t i = 1; i < q->argc && !span_is(q->argv[i], "streams"); i++) {
        if (span_is(q->argv[i], "block")) {
            return true;
        }
    }
    return false;
}

/* COPY source destination [DB n] [REPLACE]: the destination's database becomes part of its key. */
static enum taken forward_copy(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    int64_t db = c->s.db;
    uint32_t db_at = 0;
    for (uint32_t i = 3; i + 1 < q->argc; i++) {
        if (span_is(q->argv[i], "db")) {
            if (!num_parse_i64(q->argv[i + 1], &db)) {
                return answer_error(c, a, (int)q->argc,
                                    "ERR value is not an integer or out of range");
            }
            if (db < 0 || db >= DB_COUNT) {
                return answer_error(c, a, (int)q->argc, "ERR DB index is out of range");
            }
            db_at = i;
            i++;
        }
    }
    unsigned slot = slot_of(q->argv[1]);
    if (slot != slot_of(q->argv[2])) {
        return answer_error(c, a, (int)q->argc,
                            "CROSSSLOT Keys in request don't hash to the same slot");
    }
    struct target t;
    enum taken taken;
    if (!pick(c, a, (int)q->argc, slot, &t, &taken)) {
        return taken;
    }
    struct buf *b = shard_begin(t.l);
    encode_header(b, q->argc - (db_at != 0 ? 2 : 0));
    encode_arg(b, q->argv[0]);
    encode_key(b, c->s.db, q->argv[1]);
    encode_key(b, (unsigned)db, q->argv[2]);
    for (uint32_t i = 3; i < q->argc; i++) {
        if (db_at == 0 || (i != db_at && i != db_at + 1)) {
            encode_arg(b, q->argv[i]);
        }
    }
    send_call(c, a, q->argc, &t);
    return TAKEN;
}

/* Several keys, which must share a slot. */
static enum taken forward_keys(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    if (asks_to_wait(a->cmd, q)) {
        return answer_error(c, a, (int)q->argc,
                            "ERR BLOCK is not supported yet: the proxy does not carry commands "
                            "that wait");
    }
    int few[KEYS_INLINE];
    int *idx = few;
    struct hold *h = NULL;
    int max = KEYS_INLINE;
    int n = cmd_get_keys(a->cmd, q->argv, (int)q->argc, idx, max);
    if (n == max) { /* perhaps more: room for as many as there are arguments */
        h = hold_take(c->pw);
        idx = (int *)(void *)buf_reserve(&h->b, q->argc * sizeof *idx);
        n = cmd_get_keys(a->cmd, q->argv, (int)q->argc, idx, (int)q->argc);
    }
    enum taken taken = TAKEN;
    bool prefix = false;
    unsigned slot = 0;
    struct target t;
    for (int i = 0; i < n; i++) {
        struct span key = q->argv[idx[i]];
        unsigned s = slot_of(key);
        if (i > 0 && s != slot) {
            taken = answer_error(c, a, (int)q->argc,
                                 "CROSSSLOT Keys in request don't hash to the same slot");
            goto out;
        }
        slot = s;
        prefix |= key_needs_prefix(c->s.db, key);
    }
    /* without keys it is for the node to say what is wrong with it */
    if (pick(c, a, (int)q->argc, slot, &t, &taken)) {
        struct buf *b = shard_begin(t.l);
        if (q->raw != NULL && !prefix) {
            buf_add(b, q->raw, q->bytes);
        } else {
            encode_request(b, c->s.db, q->argv, q->argc, idx, n > 0 ? (uint32_t)n : 0);
        }
        send_call(c, a, q->argc, &t);
        taken = TAKEN;
    }
out:
    if (h != NULL) {
        hold_give(c->pw, h);
    }
    return taken;
}

/* No key: any node can answer. */
static enum taken forward_any(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    struct target t;
    enum taken taken;
    if (!pick(c, a, (int)q->argc, 0, &t, &taken)) {
        return taken;
    }
    struct buf *b = shard_begin(t.l);
    encode_request(b, 0, q->argv, q->argc, NULL, 0);
    send_call(c, a, q->argc, &t);
    return TAKEN;
}

/* CLUSTER COUNTKEYSINSLOT slot, GETKEYSINSLOT slot count: the node worker of the slot knows. */
static enum taken forward_slot(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    if (!cluster_presented(c->s.w->server)) {
        return answer_error(c, a, (int)q->argc, CLUSTER_DISABLED);
    }
    int64_t slot = 0;
    if (!num_parse_i64(q->argv[2], &slot) || slot < 0 || slot >= SLOT_COUNT) {
        slot = 0; /* any node says what is wrong */
    }
    struct target t;
    enum taken taken;
    if (!pick(c, a, (int)q->argc, (unsigned)slot, &t, &taken)) {
        return taken;
    }
    encode_keyspace(shard_begin(t.l), c->s.db, q->argv, q->argc);
    send_call(c, a, q->argc, &t);
    return TAKEN;
}

static enum taken refuse(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    struct call *k;
    struct resp_out *out = reply_begin(c, a, (int)q->argc, &k);
    size_t mark = buf_used(out->b);
    kind_refusal(a->cmd, out);
    c->pw->stats.refused++;
    reply_end(c, a, k, mark);
    return TAKEN;
}

enum taken forward(struct client *c, const struct admitted *a, const struct conn_req *q,
                   enum kind kind)
{
    if (kind == KIND_KEY) {
        return forward_key(c, a, q);
    }
    if (kind == KIND_KEYS) {
        return forward_keys(c, a, q);
    }
    if (kind == KIND_COPY) {
        return forward_copy(c, a, q);
    }
    if (kind == KIND_SLOT) {
        return forward_slot(c, a, q);
    }
    return kind == KIND_ANY ? forward_any(c, a, q) : refuse(c, a, q);
}

/* ---- what comes back ---- */

/* "MOVED slot host:port": the node does not own the slot. Sends the request to the one that does,
 * if we know it. The table of slots stays as it is: requests of the same client that are still
 * under way to the old node will take the same two steps, so that their order holds (DESIGN H14).
 * It is for the cluster map to change. */
static bool go_elsewhere(struct call *k, struct span words, struct span request)
{
    struct proxy_worker *pw = k->pw;
    unsigned slot;
    unsigned partition;
    unsigned endpoint;
    if (k->tries >= TRIES_MAX || !route_moved(pw->route, words, &slot, &partition, &endpoint)) {
        return false;
    }
    struct shard_link *l = shard_link(pw->pool, endpoint, k->proto);
    if (shard_down(l) != NULL) {
        return false;
    }
    static struct log_limit limit;
    if (log_limited(&limit)) {
        log_warning(
            "the cluster map here differs from that of the nodes: slot %u is served elsewhere",
            slot);
    }
    k->tries++;
    pw->stats.moved++;
    shard_send_again(l, &k->sr, request);
    return true;
}

void forward_done(struct shard_req *r, enum shard_result result, struct span bytes,
                  struct span request)
{
    struct call *k = (struct call *)(void *)r;
    if (__builtin_expect(k->own, 0)) {
        hot_backend_done(k, result, bytes, request);
        return;
    }
    if (__builtin_expect(k->lane != NULL, 0)) {
        lane_done(k, result, bytes, request);
    } else {
        forward_answer(k, result, bytes, request);
    }
}

/* What a part did for its keys; the whole has no request of its own. */
static void profile_part(const struct call *k, struct span bytes, struct span request)
{
    uint64_t now = shard_now_get(k->pw->pool);
    uint64_t sent = k->g->owner->sr.sent_ns;
    profile_forwarded(k->pw, request, bytes.len, now > sent ? now - sent : 0);
}

/* OBJECT FREQ: the node's reply, and what this proxy knows of the key. */
static void answer_freq(struct call *k, struct span bytes, struct span request)
{
    struct buf scratch = {0};
    call_answer(k, hotkeys_freq(k->pw, bytes, request, &scratch), request);
    buf_free(&scratch);
}

void forward_answer(struct call *k, enum shard_result result, struct span bytes,
                    struct span request)
{
    if (__builtin_expect(result == SHARD_REPLY, 1)) {
        if (__builtin_expect(k->g != NULL, 0)) {
            if (__builtin_expect(k->pw->profile != NULL, 0)) {
                profile_part(k, bytes, request);
            }
            gather_part(k, bytes);
        } else if (__builtin_expect(bytes.len != 0, 1)) {
            if (__builtin_expect(k->count != NULL && k->count->cmd == k->pw->freq_row, 0)) {
                answer_freq(k, bytes, request);
                return;
            }
            if (__builtin_expect(k->watch, 0)) {
                bytes = transaction_watched(k, bytes, request);
            }
            call_answer(k, bytes, request);
        } else {
            call_fail(k, SPAN_LIT("ERR the node sent an empty reply"), request);
        }
        return;
    }
    struct proxy_worker *pw = k->pw;
    if (result == SHARD_CONTROL) {
        if (bytes.len > 6 && memcmp(bytes.p, "MOVED ", 6) == 0) {
            if (go_elsewhere(k, bytes, request)) {
                return;
            }
            /* a client must not follow it: nodes are none of its business */
            bytes = k->g != NULL ? SPAN_LIT("TRYAGAIN Multiple keys request while slots move")
                                 : SPAN_LIT("CLUSTERDOWN Hash slot not served: its nodes disagree");
        }
        if (bytes.len > 4 &&
            memcmp(bytes.p, "HOT ", 4) == 0) { /* the proxies' word, not a client's */
            bytes = SPAN_LIT("TRYAGAIN a key of this command is hot; nothing was done");
        }
        pw->stats.node_errors++;
        pw->stats.unknown += bytes.len >= 7 && memcmp(bytes.p, "UNKNOWN", 7) == 0;
        if (k->g != NULL) {
            gather_part_failed(k, bytes);
        } else {
            call_fail(k, bytes, request);
        }
        return;
    }
    pw->stats.node_errors++;
    pw->stats.unknown += result == SHARD_UNKNOWN;
    struct buf text = {0};
    lost_text(result, bytes, &text);
    if (k->g != NULL) {
        gather_part_failed(k, buf_span(&text));
    } else {
        call_fail(k, buf_span(&text), request);
    }
    buf_free(&text);
}
