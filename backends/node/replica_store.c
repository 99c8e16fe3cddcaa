/* The worker's store behind the Hermes core's vtable, and the references that the core moves about.
 *
 * An entry of the store holds the committed value with its ts; the state byte says whether the core
 * has a record of the key. A deletion leaves a tombstone (DESIGN H8): the store does that by itself
 * for entries with a ts, and apply() makes one where nothing was. */
#include <string.h>

#include "backends/cmd/value.h"
#include "backends/node/replica_private.h"
#include "common/mem.h"
#include "common/must.h"

/* ---- references ---- */

#define SMALL_BYTES ((size_t)128)
#define SPARE_MAX 1024u

struct blob *blob_new(struct replica *r, const void *bytes, size_t len)
{
    must(len <= UINT32_MAX);
    bool small = len <= SMALL_BYTES;
    struct blob *b = r->spare;
    if (small && b != NULL) {
        r->spare = b->next;
        r->spare_count--;
    } else {
        b = mem_alloc(sizeof *b + (small ? SMALL_BYTES : len));
    }
    *b = (struct blob){.next = r->released, .len = (uint32_t)len, .listed = true, .small = small};
    if (len != 0) {
        memcpy(b->bytes, bytes, len);
    }
    r->released = b;
    return b;
}

struct blob *blob_hold(struct blob *b)
{
    b->refs++;
    return b;
}

void blob_drop(struct replica *r, struct blob *b)
{
    if (b == NULL) {
        return;
    }
    must(b->refs != 0);
    if (--b->refs == 0 && !b->listed) {
        b->listed = true;
        b->next = r->released;
        r->released = b;
    }
}

void blobs_release(struct replica *r)
{
    struct blob *b = r->released;
    r->released = NULL;
    while (b != NULL) {
        struct blob *next = b->next;
        b->listed = false;
        b->next = NULL;
        if (b->refs == 0 && b->small && r->spare_count < SPARE_MAX) {
            b->next = r->spare;
            r->spare = b;
            r->spare_count++;
        } else if (b->refs == 0) {
            mem_free(b);
        }
        b = next;
    }
}

void blobs_free_spare(struct replica *r)
{
    while (r->spare != NULL) {
        struct blob *b = r->spare;
        r->spare = b->next;
        mem_free(b);
    }
    r->spare_count = 0;
}

void replica_key(struct replica *r, struct hermes_key *key, struct blob *b)
{
    struct span bytes = blob_span(b);
    *key = (struct hermes_key){
        .hash = store_hash(r->nw->store, bytes), .ref = blob_ref(b), .slot = slot_of_inner(bytes)};
}

static struct replica *replica_of(void *ctx)
{
    return ctx;
}

static struct entry *entry_of(struct replica *r, const struct hermes_key *key)
{
    return store_find_any_hashed(r->nw->store, blob_span(ref_blob(key->ref)), key->hash);
}

static bool is_live(const struct entry *e)
{
    return e != NULL && entry_type(e) != VAL_TOMBSTONE;
}

/* ---- what the core asks ---- */

static void on_get(void *ctx, const struct hermes_key *key, struct hermes_meta *out)
{
    const struct entry *e = entry_of(replica_of(ctx), key);
    *out = (struct hermes_meta){0};
    if (e != NULL) {
        out->ts = entry_ts(e);
        out->generation = entry_generation(e);
        out->live = is_live(e);
        out->expire_ms = out->live ? entry_expire_ms(e) : 0;
        out->hot = entry_hot(e);
    }
}

static struct entry *tombstone(struct replica *r, const struct hermes_key *key)
{
    return store_put_object(r->nw->store, NULL, blob_span(ref_blob(key->ref)), VAL_TOMBSTONE, NULL);
}

static void on_mark(void *ctx, const struct hermes_key *key, uint8_t state)
{
    struct replica *r = replica_of(ctx);
    struct entry *e = entry_of(r, key);
    if (e == NULL && state != 0) {
        e = tombstone(r, key);
    }
    if (e == NULL) {
        return;
    }
    entry_set_state(e, state);
    if (state == 0 && !is_live(e) && entry_ts(e) == 0 && entry_generation(e) == 0) {
        store_delete(r->nw->store, e); /* a placeholder that nothing came of */
    }
}

struct cmd_ctx replica_context(struct replica *r, const struct rop *op, uint64_t now_ms)
{
    struct node_worker *nw = r->nw;
    return (struct cmd_ctx){.store = nw->store,
                            .now_ms = now_ms,
                            .rng = &nw->rng,
                            .stats = &nw->stats,
                            .config = &nw->config,
                            .db = op != NULL ? op->db : 0};
}

struct resp_out rop_reply(struct rop *op)
{
    buf_consume(&op->reply, buf_used(&op->reply));
    return (struct resp_out){&op->reply, op->slot != NULL ? op->slot->proto : 2};
}

/* A command on an absent key is tried on an empty store first: what creates nothing needs no write.
 * True: it changes something. */
static bool changes_absent(struct replica *r, struct rop *op, uint64_t wall_ms)
{
    struct cmd_ctx c = replica_context(r, op, wall_ms);
    c.store = r->scratch;
    struct resp_out out = rop_reply(op);
    replica_run(r, op->cmd, r->parser.argv, (int)r->parser.argc, &c, &out);
    struct entry *made = store_find_any(r->scratch, blob_span(op->key));
    if (made != NULL) {
        store_delete(r->scratch, made);
        while (store_lazy_step(r->scratch, 4096)) {
        }
        return true;
    }
    return false;
}

bool replica_creates(struct replica *r, struct rop *op)
{
    must(replica_parse(r, blob_span(op->command), 0) != 0);
    bool creates = changes_absent(r, op, r->nw->now_ms);
    buf_consume(&op->reply, buf_used(&op->reply));
    return creates;
}

static bool rewrite(struct replica *r, struct rop *op, uint64_t wall_ms, struct coh_ref *effects)
{
    struct cmd_ctx c = replica_context(r, op, wall_ms);
    struct resp_out out = rop_reply(op);
    c.cmd = op->cmd;
    c.argv = r->parser.argv;
    c.argc = (int)r->parser.argc;
    c.out = &out;
    struct effects fx = {0};
    bool yes = op->cmd->rewrite(&c, &fx);
    if (yes) {
        struct blob *b = blob_hold(blob_new(r, buf_head(&fx.bytes), buf_used(&fx.bytes)));
        *effects = blob_ref(b);
        op->rewritten = true;
    }
    buf_free(&fx.bytes);
    return yes;
}

static bool prepare_expiry(struct replica *r, const struct entry *e, struct span key,
                           uint64_t wall_ms, struct coh_ref *effects)
{
    if (!is_live(e) || !entry_expired_at(entry_expire_ms(e), wall_ms)) {
        return false;
    }
    struct effects fx = {0};
    struct span argv[2] = {SPAN_LIT("DEL"), key};
    effects_add(&fx, 2, argv);
    *effects = blob_ref(blob_hold(blob_new(r, buf_head(&fx.bytes), buf_used(&fx.bytes))));
    buf_free(&fx.bytes);
    return true;
}

static bool prepare(struct replica *r, const struct hermes_key *key, const struct hermes_op *hop,
                    uint64_t wall_ms, struct coh_ref *effects)
{
    struct rop *op = rop_of(hop->id);
    const struct entry *e = entry_of(r, key);
    if (hop->kind == HERMES_EXPIRE) {
        return prepare_expiry(r, e, blob_span(ref_blob(key->ref)), wall_ms, effects);
    }
    op->rewritten = false;
    op->joinable = false; /* its effects are told to others now */
    if (op->joined != NULL) {
        *effects = replica_join_effects(r, op);
        return true;
    }
    bool absent = !is_live(e);
    must(replica_parse(r, blob_span(op->command), 0) != 0);
    if (op->cmd == NULL) {
        if (absent) {
            return false; /* DEL of our own */
        }
    } else if (op->cmd->rewrite != NULL) {
        return rewrite(r, op, wall_ms, effects);
    } else if ((absent && !changes_absent(r, op, wall_ms)) ||
               (!absent && strcmp(op->cmd->name, "setnx") == 0 &&
                !entry_expired_at(entry_expire_ms(e), wall_ms))) {
        if (!absent) {
            struct resp_out out = rop_reply(op);
            resp_int(&out, 0);
        }
        return false;
    }
    *effects = blob_ref(blob_hold(op->command));
    return true;
}

static bool on_prepare(void *ctx, const struct hermes_key *key, const struct hermes_op *hop,
                       uint64_t wall_ms, struct coh_ref *effects)
{
    struct replica *r = replica_of(ctx);
    bool changes = prepare(r, key, hop, wall_ms, effects);
    struct rop *op = rop_of(hop->id);
    if (!changes && op != NULL && hop->kind == HERMES_EXPIRE) {
        replica_read_expired(r, op, wall_ms);
    }
    if (!changes && op != NULL && op->hot) {
        replica_hot_capture(r, op, entry_of(r, key));
    }
    return changes;
}

static void on_apply(void *ctx, const struct hermes_key *key, const struct hermes_update *u,
                     uint64_t id)
{
    struct replica *r = replica_of(ctx);
    struct rop *op = rop_of(id);
    if (u->effects.handle != 0) {
        struct cmd_ctx c = replica_context(r, op, u->now_ms);
        bool mute = op == NULL || op->rewritten || op->cmd == NULL || op->kind == HERMES_EXPIRE;
        c.is_effect = mute;
        buf_consume(&r->sink, buf_used(&r->sink));
        struct resp_out out = mute ? (struct resp_out){&r->sink, 2} : rop_reply(op);
        struct span bytes = blob_span(ref_blob(u->effects));
        struct rop *next = mute ? NULL : op->joined;
        for (size_t at = 0, n; (n = replica_parse(r, bytes, at)) != 0; at += n) {
            const struct cmd *cmd = cmd_find_request(r->parser.argv, (int)r->parser.argc);
            if (cmd != NULL && cmd->handler != NULL) {
                replica_run(r, cmd, r->parser.argv, (int)r->parser.argc, &c, &out);
            }
            if (next != NULL) { /* the command behind this one is somebody else's */
                c.db = next->db;
                out = rop_reply(next);
                next->replied = true;
                next = next->joined;
            }
        }
    }
    if (op != NULL) {
        op->replied = true;
    }
    if (u->effects.handle == 0) { /* PROMOTE, DEMOTE */
        replica_touched(r, key->hash, u->base, u->ts);
    }
    struct entry *e = entry_of(r, key);
    if (e == NULL) {
        e = tombstone(r, key);
    }
    entry_set_ts(e, u->ts);
    if (entry_hot(e) != u->hot || entry_generation(e) != u->generation) {
        e = store_set_hot(r->nw->store, e, u->hot, u->generation);
    }
    if (op != NULL && op->kind == HERMES_EXPIRE) {
        op->replied = false;
        replica_read_expired(r, op, u->now_ms);
    }
    if (op != NULL && op->hot) {
        replica_hot_capture(r, op, e);
    }
}

static void on_install(void *ctx, const struct hermes_key *key, const struct hermes_meta *meta,
                       struct coh_ref payload)
{
    struct replica *r = replica_of(ctx);
    struct store *s = r->nw->store;
    struct span bytes = payload.handle != 0 ? blob_span(ref_blob(payload)) : span_of(NULL, 0);
    struct entry *e = entry_of(r, key);
    uint8_t state = e != NULL ? entry_state(e) : 0;
    struct entry *installed = NULL;
    if (meta->live && bytes.len > 8) {
        uint64_t expire_ms = 0;
        memcpy(&expire_ms, bytes.p, sizeof expire_ms);
        installed =
            value_install(s, e, blob_span(ref_blob(key->ref)), span_of(bytes.p + 8, bytes.len - 8));
        if (installed != NULL) {
            installed = store_set_expire(s, installed, expire_ms);
        }
    }
    if (installed == NULL) {
        if (is_live(e)) {
            store_delete(s, e);
            e = entry_of(r, key);
        }
        installed = e != NULL ? e : tombstone(r, key);
    }
    entry_set_ts(installed, meta->ts);
    installed = store_set_hot(s, installed, meta->hot, meta->generation);
    entry_set_state(installed, state);
    r->counts.values_installed++;
}

static void on_read(void *ctx, const struct hermes_key *key, uint64_t id)
{
    struct replica *r = replica_of(ctx);
    struct rop *op = rop_of(id);
    const struct entry *e = entry_of(r, key);
    must(replica_parse(r, blob_span(op->command), 0) != 0);
    /* It has to be expired by a write first (H12), or another key of the command is not Valid. */
    bool expired = is_live(e) && entry_expired_at(entry_expire_ms(e), r->nw->now_ms);
    if (expired || !replica_rest_ready(r, op)) {
        op->again = true;
        return;
    }
    struct cmd_ctx c = replica_context(r, op, r->nw->now_ms);
    struct resp_out out = rop_reply(op);
    replica_run(r, op->cmd, r->parser.argv, (int)r->parser.argc, &c, &out);
    op->replied = true;
}

static bool on_prepare_multi(void *ctx, const struct hermes_op *hop, uint64_t wall_ms,
                             struct coh_ref *effects)
{
    return replica_prepare_multi(replica_of(ctx), rop_of(hop->id), wall_ms, effects);
}

static void on_apply_multi(void *ctx, const struct hermes_part *parts, uint32_t count,
                           const struct hermes_update *u, uint64_t id)
{
    replica_apply_multi(replica_of(ctx), parts, count, u, rop_of(id));
}

static bool on_same_key(void *ctx, struct coh_ref a, struct coh_ref b)
{
    (void)ctx;
    return span_eq(blob_span(ref_blob(a)), blob_span(ref_blob(b)));
}

static struct coh_ref on_hold(void *ctx, struct coh_ref ref)
{
    (void)ctx;
    blob_hold(ref_blob(ref));
    return ref;
}

static void on_drop(void *ctx, struct coh_ref ref)
{
    blob_drop(replica_of(ctx), ref_blob(ref));
}

/* ---- walking ---- */

#define GATHER_MAX 64u /* a bucket and its neighbour hold fewer */

struct gathered {
    struct entry *e[GATHER_MAX];
    size_t count;
};

static void gather_one(void *arg, struct entry *e)
{
    struct gathered *g = arg;
    must(g->count < GATHER_MAX);
    g->e[g->count++] = e;
}

static size_t on_scan(void *ctx, uint64_t *cursor, size_t max, struct hermes_key *out)
{
    struct replica *r = replica_of(ctx);
    size_t count = 0;
    do {
        struct gathered g = {.count = 0};
        uint64_t next = store_scan(r->nw->store, *cursor, 1, gather_one, &g);
        if (count + g.count > max && count != 0) {
            break; /* these with the next call */
        }
        must(g.count <= max);
        for (size_t i = 0; i < g.count; i++) {
            struct span key = entry_key(g.e[i]);
            replica_key(r, &out[count++], blob_new(r, key.p, key.len));
        }
        *cursor = next;
    } while (*cursor != 0 && count < max);
    return count;
}

#define PURGE_SLICE 4096u

struct purge {
    struct replica *r;
    uint16_t slot;
    uint64_t version;
    uint64_t *generation;
    struct gathered found;
};

static void purge_one(void *arg, struct entry *e)
{
    struct purge *p = arg;
    if (entry_type(e) == VAL_TOMBSTONE && !entry_hot(e) && entry_state(e) == 0 &&
        ts_version(entry_ts(e)) <= p->version && slot_of_inner(entry_key(e)) == p->slot &&
        p->found.count < GATHER_MAX) {
        p->found.e[p->found.count++] = e;
    }
}

static bool on_purge(void *ctx, uint16_t slot, uint64_t version, uint64_t *generation)
{
    struct replica *r = replica_of(ctx);
    struct purge p = {.r = r, .slot = slot, .version = version, .generation = generation};
    for (size_t walked = 0; walked < PURGE_SLICE; walked += 16) {
        p.found.count = 0;
        r->purge_cursor = store_scan(r->nw->store, r->purge_cursor, 1, purge_one, &p);
        for (size_t i = 0; i < p.found.count; i++) {
            struct entry *e = p.found.e[i];
            *generation = entry_generation(e) > *generation ? entry_generation(e) : *generation;
            store_delete(r->nw->store, e);
        }
        if (r->purge_cursor == 0) {
            return true;
        }
    }
    return false;
}

struct hermes_store replica_store(struct replica *r)
{
    return (struct hermes_store){.ctx = r,
                                 .get = on_get,
                                 .mark = on_mark,
                                 .prepare = on_prepare,
                                 .apply = on_apply,
                                 .prepare_multi = on_prepare_multi,
                                 .apply_multi = on_apply_multi,
                                 .install = on_install,
                                 .read = on_read,
                                 .same_key = on_same_key,
                                 .hold = on_hold,
                                 .drop = on_drop,
                                 .scan = on_scan,
                                 .purge = on_purge};
}
