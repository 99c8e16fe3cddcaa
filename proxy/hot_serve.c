/* A client's command about a key that may be hot: answered from the table, given to the core of the
 * key's worker, or left to the shards.
 *
 * From the table only if the lease holds by a clock read after the request's bytes came (H9), the
 * entry is Valid and not about to expire (G1), and nothing of this connection is under way for the
 * key (H14).
 *
 * Program order (H14; galene.h says what the driver owes). Every open call of a client carries the
 * hash of its key, 0 if it is about several or nobody looked. A command on a known hot key
 *   - follows earlier ones that are with the core there: operations of a connection on a key take
 *     effect in their order;
 *   - waits, unread, until earlier ones that went to the shards are answered.
 * A command about several keys waits until none of the connection's is with the core. */
#include <string.h>

#include "common/clock.h"
#include "common/must.h"
#include "common/num.h"
#include "proxy/gather.h"
#include "proxy/hot_private.h"

#define SKEW_MS 100u  /* as in hot_core.c: clocks of machines differ, and a turn takes time */
#define WALK_MAX 256u /* open calls that are looked at; beyond, the client waits */
#define MGET_KEYS_MAX 256u

/* ---- clocks ---- */

/* Nearly every command's key is its first argument: where it is not, the hash is of no use and is
 * computed again. */
void hot_batch(struct client *c, const struct conn_req *reqs, size_t n)
{
    struct hot_worker *hw = c->pw->hot;
    if (hw == NULL) {
        return;
    }
    hw->clocks_read = false;
    hw->reqs = NULL;
    if (!hot_concerns(c) || c->s.db != 0) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        hw->hashes[i] = cache_hash(reqs[i].argv[reqs[i].argc > 1]);
    }
    hw->reqs = reqs;
    if (n > 1) {
        cache_prefetch(hot_cache(), hw->hashes, n);
    }
}

static uint64_t hash_in_batch(const struct hot_worker *hw, const struct conn_req *q, int at,
                              struct span inner)
{
    if (hw->reqs != NULL && at == 1 && inner.p == q->argv[1].p) {
        return hw->hashes[q - hw->reqs];
    }
    return cache_hash(inner);
}

static bool may_read(struct hot_worker *hw)
{
    if (!hw->clocks_read) {
        hw->clocks_read = true;
        hw->may_read = hw->pw->set->hot_cache && hot_may_read(clk_boot_ns());
        hw->fresh_ms = clk_wall_ms() + SKEW_MS;
    }
    return hw->may_read;
}

/* ---- replies from a value ---- */

static void compose_range(const struct span *argv, struct span value, struct resp_out *out,
                          bool *ok)
{
    int64_t start = 0;
    int64_t end = 0;
    int64_t len = (int64_t)value.len;
    *ok = num_parse_i64(argv[2], &start) && num_parse_i64(argv[3], &end);
    if (!*ok) {
        return;
    }
    if (start < 0 && end < 0 && start > end) {
        resp_bulk(out, "", 0);
        return;
    }
    start = start < 0 ? (start < -len ? 0 : start + len) : start;
    end = end < 0 ? (end < -len ? 0 : end + len) : end;
    end = end >= len ? len - 1 : end;
    if (len == 0 || start > end) {
        resp_bulk(out, "", 0);
    } else {
        resp_bulk(out, value.p + start, (size_t)(end - start + 1));
    }
}

static void compose_ttl(const struct hot_value *value, bool seconds, bool absolute,
                        struct resp_out *out)
{
    if (value == NULL || value->expire_ms == 0) {
        resp_int(out, value == NULL ? -2 : -1);
        return;
    }
    uint64_t now = absolute ? 0 : clk_wall_ms();
    uint64_t left = value->expire_ms > now ? value->expire_ms - now : 0;
    resp_int(out, (int64_t)(seconds ? (left + 500) / 1000 : left));
}

enum local { LOCAL_NOT, GET, STRLEN, GETRANGE, EXISTS, TTL, PTTL, EXPIRETIME, PEXPIRETIME, TYPE };

static enum local local_of(const struct cmd *cmd)
{
    static const struct {
        const char *name;
        enum local what;
    } names[] = {{"get", GET},           {"strlen", STRLEN},
                 {"getrange", GETRANGE}, {"substr", GETRANGE},
                 {"exists", EXISTS},     {"ttl", TTL},
                 {"pttl", PTTL},         {"expiretime", EXPIRETIME},
                 {"type", TYPE},         {"pexpiretime", PEXPIRETIME}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(cmd->name, names[i].name) == 0) {
            return names[i].what;
        }
    }
    return LOCAL_NOT;
}

static enum local local_here(struct hot_worker *hw, const struct cmd *cmd)
{
    if (hw->last_cmd != cmd) {
        hw->last_cmd = cmd;
        hw->last_local = (int)local_of(cmd);
    }
    return (enum local)hw->last_local;
}

bool hot_compose(const struct cmd *cmd, const struct span *argv, int argc,
                 const struct hot_value *value, struct resp_out *out)
{
    (void)argc;
    bool ok = true;
    switch (local_of(cmd)) {
    case GET:
        if (value != NULL) {
            resp_bulk_span(out, value->bytes);
        } else {
            resp_null(out);
        }
        break;
    case STRLEN:
        resp_int(out, value != NULL ? (int64_t)value->bytes.len : 0);
        break;
    case GETRANGE:
        compose_range(argv, value != NULL ? value->bytes : span_of("", 0), out, &ok);
        break;
    case EXISTS:
        resp_int(out, value != NULL);
        break;
    case TTL:
    case PTTL:
        compose_ttl(value, local_of(cmd) == TTL, false, out);
        break;
    case EXPIRETIME:
    case PEXPIRETIME:
        compose_ttl(value, local_of(cmd) == EXPIRETIME, true, out);
        break;
    case TYPE:
        resp_simple(out, value != NULL ? "string" : "none");
        break;
    case LOCAL_NOT:
        ok = false;
        break;
    }
    return ok;
}

/* ---- what is under way ---- */

struct under_way {
    bool core;  /* something on this key is with the core */
    bool shard; /* something that may be on this key is with a node */
};

static struct under_way look_at_calls(const struct client *c, uint64_t hash)
{
    struct under_way u = {false, false};
    if (c->head == NULL || (c->busy >> (hash >> 58) & 1) == 0) {
        return u;
    }
    unsigned n = 0;
    for (const struct call *k = c->head; k != NULL; k = k->next) {
        if (++n > WALK_MAX) {
            u.shard = true;
            break;
        }
        if (k->state == CALL_DONE) {
            continue;
        }
        u.core = u.core || (k->with_core && k->hot_hash == hash);
        u.shard = u.shard || k->hot_hash == 0 || (!k->with_core && k->hot_hash == hash);
    }
    return u;
}

void hot_note(struct client *c, uint64_t busy, uint64_t hash)
{
    struct call *k = (struct call *)(void *)((char *)c->tail - offsetof(struct call, next));
    k->hot_hash = hash;
    c->busy = busy | (hash != 0 ? UINT64_C(1) << (hash >> 58) : UINT64_MAX);
}

static enum taken wait_for_calls(struct client *c)
{
    c->stalled = true; /* reading goes on when calls are answered */
    c->pw->stats.stalls++;
    return STALLED;
}

/* ---- one key ---- */

/* Position of the only key of the request; 0: it has several, or none. */
static int only_key(const struct admitted *a, const struct conn_req *q, enum kind kind)
{
    if (kind == KIND_KEY) {
        return a->cmd->first_key;
    }
    return kind == KIND_SUM && q->argc == 2 ? 1 : 0;
}

static bool is_blind(const struct admitted *a, const struct conn_req *q)
{
    return q->argc == 3 && strcmp(a->cmd->name, "set") == 0; /* nothing can be wrong with it */
}

/* Opens a call and gives the command to the core. */
static void give(struct client *c, const struct admitted *a, const struct conn_req *q, int at,
                 struct span key, uint64_t hash)
{
    struct hot_worker *hw = c->pw->hot;
    struct hot_op *op = hot_op_take(hw);
    op->cmd = a->cmd;
    op->client = c->s.id;
    op->proto = c->s.c.proto;
    op->write = (a->cmd->flags & CMD_WRITE) != 0;
    op->blind = op->write && is_blind(a, q);
    op->local = !op->write && local_of(a->cmd) != LOCAL_NOT;
    op->hash = hash;
    op->key_len = (uint32_t)key.len;
    buf_add(&op->bytes, key.p, key.len);
    if (q->raw != NULL && !key_needs_prefix(c->s.db, q->argv[at])) {
        buf_add(&op->bytes, q->raw, q->bytes);
    } else {
        encode_request(&op->bytes, c->s.db, q->argv, q->argc, &at, 1);
    }
    op->share = op->write ? 0 : cache_hash(hot_op_request(op)) ^ op->proto;
    uint64_t busy = c->busy;
    op->call = call_open(c, a, (int)q->argc);
    hot_note(c, busy, hash);
    op->call->with_core = true;
    c->hot_open++;
    hw->stats.writes += op->write;
    hw->stats.reads += !op->write;
    hot_op_send(op);
}

/* The common case: GET, and nothing older is open. Straight into the client's output. */
static enum cache_state answer_get(struct client *c, const struct admitted *a,
                                   const struct conn_req *q, struct span key, uint64_t hash)
{
    struct call *k;
    struct resp_out *out = reply_begin(c, a, (int)q->argc, &k);
    size_t mark = buf_used(out->b);
    struct cache_got got;
    enum cache_state seen =
        cache_read(hot_cache(), hash, key, c->pw->hot->fresh_ms, CACHE_BULK, out->b, &got);
    if (seen == CACHE_ABSENT) {
        resp_null(out);
    }
    if (seen == CACHE_VALUE || seen == CACHE_ABSENT) {
        reply_end(c, a, k, mark);
    }
    return seen;
}

/* Answers from the table if it can be (VALUE, ABSENT). */
static enum cache_state answer(struct client *c, const struct admitted *a, const struct conn_req *q,
                               struct span key, uint64_t hash)
{
    struct hot_worker *hw = c->pw->hot;
    enum local what = local_here(hw, a->cmd);
    if (what == GET && c->head == NULL) {
        return answer_get(c, a, q, key, hash);
    }
    struct cache_got got = {0, 0};
    bool bytes = what == GET || what == GETRANGE;
    struct hold *h = bytes ? hold_take(c->pw) : NULL;
    enum cache_state seen = cache_read(hot_cache(), hash, key, hw->fresh_ms,
                                       bytes ? CACHE_RAW : CACHE_META, bytes ? &h->b : NULL, &got);
    if (seen == CACHE_VALUE || seen == CACHE_ABSENT) {
        struct hot_value value = {.expire_ms = got.expire_ms};
        value.bytes = bytes ? buf_span(&h->b) : span_of("", got.len);
        uint64_t busy = c->busy;
        struct call *k;
        struct resp_out *out = reply_begin(c, a, (int)q->argc, &k);
        size_t mark = buf_used(out->b);
        c->busy = busy; /* it is not under way */
        if (!hot_compose(a->cmd, q->argv, (int)q->argc, seen == CACHE_VALUE ? &value : NULL, out)) {
            resp_error(out, "ERR value is not an integer or out of range");
        }
        reply_end(c, a, k, mark);
    }
    if (h != NULL) {
        hold_give(c->pw, h);
    }
    return seen;
}

static bool take_one(struct client *c, const struct admitted *a, const struct conn_req *q, int at,
                     enum taken *taken, uint64_t *hash_out)
{
    struct hot_worker *hw = c->pw->hot;
    struct span key = q->argv[at];
    struct hold *h = NULL;
    if (key_needs_prefix(c->s.db, key)) {
        h = hold_take(c->pw);
        key_add_inner(&h->b, c->s.db, key);
        key = buf_span(&h->b);
    }
    uint64_t hash = hash_in_batch(hw, q, at, key);
    *hash_out = hash;
    *taken = TAKEN;
    bool done = false;
    struct under_way u = look_at_calls(c, hash);
    bool write = (a->cmd->flags & CMD_WRITE) != 0;
    enum cache_state seen = CACHE_NONE;
    bool local = !write && !u.core && !u.shard && local_here(hw, a->cmd) != LOCAL_NOT;
    if (local && may_read(hw)) {
        seen = answer(c, a, q, key, hash);
        done = seen == CACHE_VALUE || seen == CACHE_ABSENT;
    } else {
        struct cache_got got;
        seen = cache_read(hot_cache(), hash, key, 0, CACHE_META, NULL, &got);
    }
    if (done) {
        hw->stats.hits++;
        (void)session_account(c->s.w, a->count, 0);
        goto out;
    }
    if (seen == CACHE_NONE && !u.core) {
        goto out; /* a cold key */
    }
    done = true;
    if (u.shard) {
        *taken = wait_for_calls(c);
    } else {
        give(c, a, q, at, key, hash);
    }
out:
    if (h != NULL) {
        hold_give(c->pw, h);
    }
    return done;
}

/* ---- several keys ---- */

/* MGET of which all keys can be answered from the table. */
static bool take_mget(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    struct hot_worker *hw = c->pw->hot;
    if (c->head != NULL || c->s.db != 0 || q->argc - 1 > MGET_KEYS_MAX || !may_read(hw)) {
        return false;
    }
    struct call *k;
    struct resp_out *out = reply_begin(c, a, (int)q->argc, &k);
    size_t mark = buf_used(out->b);
    resp_array(out, q->argc - 1);
    for (uint32_t i = 1; i < q->argc; i++) {
        struct span key = q->argv[i];
        struct cache_got got;
        enum cache_state seen = CACHE_NONE;
        if (!key_needs_prefix(0, key)) {
            seen = cache_read(hot_cache(), cache_hash(key), key, hw->fresh_ms, CACHE_BULK, out->b,
                              &got);
        }
        if (seen == CACHE_ABSENT) {
            resp_null(out);
        } else if (seen != CACHE_VALUE) {
            out->b->len = out->b->head + mark; /* takes it back: nothing else was written */
            return false;
        }
    }
    hw->stats.hits++;
    (void)session_account(c->s.w, a->count, 0);
    reply_end(c, a, k, mark);
    return true;
}

static bool knows(struct proxy_worker *pw, unsigned db, struct span key)
{
    struct cache_got got;
    struct hold *h = NULL;
    if (key_needs_prefix(db, key)) {
        h = hold_take(pw);
        key_add_inner(&h->b, db, key);
        key = buf_span(&h->b);
    }
    bool known =
        cache_read(hot_cache(), cache_hash(key), key, 0, CACHE_META, NULL, &got) != CACHE_NONE;
    if (h != NULL) {
        hold_give(pw, h);
    }
    return known;
}

bool hot_element(struct client *c, struct span key, struct buf *out)
{
    struct hot_worker *hw = c->pw->hot;
    struct cache_got got;
    struct hold *h = NULL;
    if (!may_read(hw)) {
        return false;
    }
    if (key_needs_prefix(c->s.db, key)) {
        h = hold_take(c->pw);
        key_add_inner(&h->b, c->s.db, key);
        key = buf_span(&h->b);
    }
    enum cache_state seen =
        cache_read(hot_cache(), cache_hash(key), key, hw->fresh_ms, CACHE_BULK, out, &got);
    if (seen == CACHE_ABSENT) {
        resp_null(&(struct resp_out){out, c->s.c.proto});
    }
    if (h != NULL) {
        hold_give(c->pw, h);
    }
    bool found = seen == CACHE_VALUE || seen == CACHE_ABSENT;
    hw->stats.hits += found;
    return found;
}

bool hot_knows_any(const struct client *c, const struct conn_req *q, uint32_t step)
{
    for (uint32_t i = 1; i < q->argc; i += step) {
        if (knows(c->pw, c->s.db, q->argv[i])) {
            return true;
        }
    }
    return false;
}

bool hot_give_part(struct gather *g, const struct cmd *cmd, const struct span *argv, uint32_t argc)
{
    struct hot_worker *hw = g->pw->hot;
    if (!knows(g->pw, g->db, argv[1])) {
        return false;
    }
    struct hot_op *op = hot_op_take(hw);
    op->cmd = cmd;
    op->proto = g->owner->proto;
    op->write = true;
    op->call = gather_add(g);
    op->call->with_core = true;
    if (key_needs_prefix(g->db, argv[1])) {
        key_add_inner(&op->bytes, g->db, argv[1]);
    } else {
        buf_add(&op->bytes, argv[1].p, argv[1].len);
    }
    op->key_len = (uint32_t)buf_used(&op->bytes);
    op->hash = cache_hash(hot_op_key(op));
    int at = 1;
    encode_request(&op->bytes, g->db, argv, argc, &at, 1);
    hw->stats.writes++;
    hot_op_send(op);
    return true;
}

bool hot_take(struct client *c, const struct admitted *a, const struct conn_req *q, enum kind kind,
              enum taken *taken, uint64_t *hash)
{
    int at = only_key(a, q, kind);
    *hash = 0;
    *taken = TAKEN;
    if (at != 0) {
        return take_one(c, a, q, at, taken, hash);
    }
    if (c->hot_open != 0) {
        *taken = wait_for_calls(c);
        return true;
    }
    return kind == KIND_MGET && take_mget(c, a, q);
}
