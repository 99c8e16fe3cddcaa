/* From requests to handlers: a batch at a time.
 *
 * First the keys of the whole batch are hashed and their buckets fetched into the cache, then the
 * entries, then the requests run in order and append their replies to the connection's output,
 * which leaves in one write at the end of the turn. */
#include <string.h>

#include "backends/member/commands.h"
#include "backends/node/node.h"
#include "backends/node/replica.h"
#include "backends/node/tx.h"
#include "backends/node/watch.h"
#include "backends/server/acl.h"
#include "backends/server/transaction.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

/* ---- first stage ---- */

/* The key of nearly every command is its first argument; where it is not, a cache line was fetched
 * in vain. */
static void prefetch(struct node_worker *nw, const struct conn_req *reqs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (reqs[i].argc >= 2) {
            nw->hashes[i] = store_hash(nw->store, reqs[i].argv[1]);
            store_prefetch(nw->store, nw->hashes[i]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (reqs[i].argc >= 2) {
            store_prefetch_entry(nw->store, nw->hashes[i]);
        }
    }
}

/* ---- keys of other databases ---- */

static struct span *inner_room(struct node_worker *nw, int argc)
{
    if (nw->inner_cap < (uint32_t)argc) {
        nw->inner_cap = (uint32_t)argc * 2;
        nw->inner_argv = mem_realloc(nw->inner_argv, nw->inner_cap * sizeof *nw->inner_argv);
    }
    return nw->inner_argv;
}

#define KEYS_ON_STACK 64

/* The arguments with the client's keys replaced by inner keys (common/slot.h); argv itself if none
 * needs it. Valid until the next call. */
static const struct span *inner_argv(struct node_worker *nw, const struct cmd *cmd, unsigned db,
                                     const struct span *argv, int argc)
{
    if (db == 0 && (cmd->first_key == 0 || argc < 2)) {
        return argv;
    }
    if (db == 0 && cmd->first_key == 1 && cmd->last_key == 1 && !key_needs_prefix(0, argv[1])) {
        return argv;
    }
    int small[KEYS_ON_STACK];
    int *idx = argc <= KEYS_ON_STACK ? small : mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(cmd, argv, argc, idx, argc);
    bool any = false;
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        any = any || key_needs_prefix(db, argv[idx[i]]);
        bytes += argv[idx[i]].len + 2;
    }
    if (any) {
        struct span *copy = inner_room(nw, argc);
        memcpy(copy, argv, (size_t)argc * sizeof *argv);
        buf_consume(&nw->inner_keys, buf_used(&nw->inner_keys));
        buf_reserve(&nw->inner_keys, bytes); /* so that it does not move below */
        for (int i = 0; i < n; i++) {
            size_t at = buf_used(&nw->inner_keys);
            key_add_inner(&nw->inner_keys, db, argv[idx[i]]);
            copy[idx[i]] = span_of(buf_head(&nw->inner_keys) + at, buf_used(&nw->inner_keys) - at);
        }
        argv = copy;
    }
    if (idx != small) {
        mem_free(idx);
    }
    return argv;
}

/* ---- one request ---- */

struct request {
    struct node_session *ns;
    const struct span *argv;
    const struct span *inner; /* the same with inner keys; NULL: not looked at yet */
    uint64_t hash;            /* of argv[1] as a key of database 0; 0: not known */
    int argc;
    unsigned db;
    bool hot; /* HALCYON HOTWRITE, in this generation */
    uint64_t generation;
};

static const struct span *inner_of(struct node_worker *nw, const struct request *r,
                                   const struct cmd *cmd)
{
    if (r->inner != NULL) {
        return r->inner;
    }
    return r->ns->link_proto != 0 ? r->argv : inner_argv(nw, cmd, r->db, r->argv, r->argc);
}

/* For WATCH at a node alone. */
static void note_changes(struct node_worker *nw, const struct cmd *cmd, const struct span *argv,
                         int argc)
{
    if ((cmd->flags & CMD_FANOUT) != 0) {
        watch_changed_all(nw->watch);
        return;
    }
    int *idx = mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(cmd, argv, argc, idx, argc);
    for (int i = 0; i < n; i++) {
        watch_changed(nw->watch, argv[idx[i]]);
    }
    mem_free(idx);
}

/* Runs a command by its row. False: out holds the node's own words (MOVED), which a link does not
 * wrap. */
static bool run(struct node_worker *nw, const struct request *r, const struct admitted *a,
                struct resp_out *out)
{
    const struct cmd *cmd = a->cmd;
    const struct span *argv = inner_of(nw, r, cmd);
    if (!node_slots_check(nw, cmd, argv, r->argc, out)) {
        return false;
    }
    if (__builtin_expect(nw->memory_max != 0, 0) && !node_make_room(nw) &&
        (cmd->flags & CMD_DENYOOM) != 0) {
        nw->count[NODE_OOM]++;
        resp_error(out, "OOM command not allowed when used memory > 'maxmemory'.");
        return true;
    }
    struct cmd_ctx c = {.store = nw->store,
                        .cmd = cmd,
                        .argv = argv,
                        .argc = r->argc,
                        .out = out,
                        .now_ms = nw->now_ms,
                        .rng = &nw->rng,
                        .stats = &nw->stats,
                        .config = &nw->config,
                        .db = r->db};
    cmd->handler(&c);
    if (__builtin_expect(watch_any(nw->watch), 0) && (cmd->flags & CMD_WRITE) != 0) {
        note_changes(nw, cmd, argv, r->argc);
    }
    return true;
}

/* The node's own words: without the room for a wrapping. */
static void unwrap(struct resp_out *out, size_t start, size_t mark)
{
    size_t len = buf_used(out->b) - mark;
    char *head = buf_head(out->b) + start;
    memmove(head, head + (mark - start), len);
    out->b->len = out->b->head + start + len;
}

static void run_measured(struct node_worker *nw, const struct request *r, const struct admitted *a,
                         struct resp_out *out)
{
    struct session *s = &r->ns->s;
    bool is_link = r->ns->link_proto != 0;
    size_t start = is_link ? node_wrap_begin(nw, out) : buf_used(out->b);
    size_t mark = buf_used(out->b);
    session_run_begin(s, a, r->argv, r->argc);
    bool wrapped = run(nw, r, a, out);
    session_run_end(s, a, r->argv, r->argc, out, mark);
    if (__builtin_expect(a->silent, 0)) {
        node_wrap_cancel(out, start);
    } else if (is_link && wrapped) {
        node_wrap_end(nw, out, start);
    } else if (is_link) {
        unwrap(out, start, mark);
    }
    if (__builtin_expect((a->cmd->flags & CMD_FAST) == 0, 0)) {
        nw->now_ms = clk_wall_ms(); /* it may have taken long */
    }
}

enum taken { TAKEN, TAKEN_LAST, NOT_TAKEN };

/* ---- a replica: the reply may come later, and whatever is behind it then waits its turn ---- */

static enum taken full(struct node_worker *nw, const struct request *r)
{
    if (r->ns->first_slot == NULL) { /* else its own replies wake it */
        if (nw->waiting_count == nw->waiting_cap) {
            nw->waiting_cap = nw->waiting_cap == 0 ? 64 : nw->waiting_cap * 2;
            nw->waiting = mem_realloc(nw->waiting, nw->waiting_cap * sizeof *nw->waiting);
        }
        nw->waiting[nw->waiting_count++] = r->ns->s.id;
    }
    return NOT_TAKEN;
}

void node_resume_waiting(struct node_worker *nw)
{
    uint32_t n = nw->waiting_count;
    nw->waiting_count = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct session *s = session_by_id(nw->w, nw->waiting[i]);
        if (s != NULL && s->c.paused) {
            conn_resume(&s->c);
        }
    }
}

/* A reply that was made at once, behind those that are still open. */
static void queue_reply(struct node_worker *nw, const struct request *r, const struct admitted *a,
                        const struct resp_out *out)
{
    struct reply_slot *slot = replies_add(r->ns);
    slot->silent = a != NULL && a->silent;
    slot->count = a != NULL ? a->count : NULL;
    slot->start_ns = session_now(&r->ns->s);
    buf_add(&slot->bytes, buf_head(out->b), buf_used(out->b));
    replies_done(nw, slot);
}

static enum taken take_replicated(struct node_worker *nw, struct request *r,
                                  const struct admitted *a, struct resp_out *conn_out)
{
    bool is_link = r->ns->link_proto != 0;
    const struct span *argv = inner_of(nw, r, a->cmd);
    r->inner = argv;
    struct replica_request q = {r->ns, a,      argv,          r->argc,
                                r->db, r->hot, r->generation, argv == r->argv ? r->hash : 0};
    if (r->ns->first_slot == NULL && replica_reads_now(nw, &q)) {
        run_measured(nw, r, a, conn_out);
        return TAKEN;
    }
    /* Not into the connection's output: a reply that comes later may come before this returns. */
    struct resp_out out = {&nw->reply_scratch, conn_out->proto};
    buf_consume(out.b, buf_used(out.b));
    size_t start = is_link ? node_wrap_begin(nw, &out) : 0;
    size_t mark = buf_used(out.b);
    enum replica_taken taken = REPLICA_CONTROL;
    if (node_slots_check(nw, a->cmd, argv, r->argc, &out)) {
        if (nw->memory_max != 0 && !node_make_room(nw) && (a->cmd->flags & CMD_DENYOOM) != 0) {
            nw->count[NODE_OOM]++;
            resp_error(&out, "OOM command not allowed when used memory > 'maxmemory'.");
            taken = REPLICA_DONE;
        } else {
            taken = replica_serve(nw, &q, &out);
        }
    }
    if (taken == REPLICA_FULL) {
        return full(nw, r);
    }
    if (taken == REPLICA_LATER) {
        return TAKEN;
    }
    if (buf_used(out.b) > mark && buf_head(out.b)[mark] == '-') {
        session_failed(nw->w, a->count, span_of(buf_head(out.b) + mark, buf_used(out.b) - mark));
    }
    if (is_link && taken == REPLICA_DONE) {
        node_wrap_end(nw, &out, start);
    } else if (is_link) {
        unwrap(&out, start, mark);
    }
    queue_reply(nw, r, a, &out);
    return TAKEN;
}

static enum taken take_local(struct node_worker *nw, const struct request *r,
                             const struct admitted *a, struct resp_out *out)
{
    bool is_link = r->ns->link_proto != 0;
    size_t start = is_link ? node_wrap_begin(nw, out) : buf_used(out->b);
    enum session_result result = session_command(&r->ns->s, a, r->argv, r->argc, out, 0);
    if (is_link && (result == SESSION_LATER || a->silent)) {
        node_wrap_cancel(out, start);
    } else if (is_link) {
        node_wrap_end(nw, out, start);
    }
    return result == SESSION_LATER || r->ns->s.quit ? TAKEN_LAST : TAKEN;
}

/* ---- what only links say ---- */

/* HALCYON DB n command..., HALCYON HOTWRITE generation command...: what is left is the command, in
 * database n, or for a hot key. False: *why says what is wrong. */
static bool unwrap_link(struct request *r, const char **why)
{
    int64_t n = 0;
    bool is_db = span_is(r->argv[1], "db");
    bool ok = r->argc >= 4 && num_parse_i64(r->argv[2], &n) && n >= 0;
    if (!ok || (is_db && n >= DB_COUNT)) {
        *why = is_db ? "ERR HALCYON DB takes a number and a command"
                     : "ERR HALCYON HOTWRITE takes a generation and a command";
        return false;
    }
    if (is_db) {
        r->db = (unsigned)n;
    } else {
        r->hot = true;
        r->generation = (uint64_t)n;
    }
    r->argv += 3;
    r->argc -= 3;
    r->hash = 0;
    return true;
}

/* HALCYON PROMOTE key generation, HALCYON DEMOTE key generation */
static enum taken take_hot_set(struct node_worker *nw, struct request *r)
{
    struct resp_out out = {&nw->reply_scratch, r->ns->link_proto};
    buf_consume(out.b, buf_used(out.b));
    int64_t generation = 0;
    struct span get[2] = {SPAN_LIT("get"), r->argc == 4 ? r->argv[2] : span_of(NULL, 0)};
    enum replica_taken taken = REPLICA_CONTROL;
    if (r->argc != 4 || !num_parse_i64(r->argv[3], &generation) || generation < 1) {
        resp_error(&out, "ERR HALCYON PROMOTE and DEMOTE take a key and a generation");
    } else if (node_slots_check(nw, cmd_find(get[0]), get, 2, &out)) {
        struct replica_hot_change change = {get[1], (uint64_t)generation,
                                            span_is(r->argv[1], "promote")};
        taken = replica_hot_set(nw, r->ns, &change, &out);
    }
    if (taken == REPLICA_FULL) {
        return full(nw, r);
    }
    if (taken == REPLICA_CONTROL) {
        queue_reply(nw, r, NULL, &out);
    }
    return TAKEN;
}

/* All keys of one slot, and it is served here. */
static bool tx_slot_check(struct node_worker *nw, const struct tx *t, struct resp_out *out)
{
    struct span get[2] = {SPAN_LIT("get"), t->keys[0]};
    for (uint32_t i = 1; i < t->key_count; i++) {
        if (slot_of_inner(t->keys[i]) != slot_of_inner(t->keys[0])) {
            resp_error(out, "CROSSSLOT Keys in request don't hash to the same slot");
            return false;
        }
    }
    return node_slots_check(nw, cmd_find(get[0]), get, 2, out);
}

/* HALCYON EXEC, HALCYON WATCH: from a link, or made from what a client's session has queued. The
 * reply is always queued. */
static enum taken take_tx(struct node_worker *nw, const struct request *r, const struct admitted *a)
{
    struct tx t = {0};
    struct resp_out out = {&nw->reply_scratch, r->ns->s.c.proto};
    buf_consume(out.b, buf_used(out.b));
    bool is_link = r->ns->link_proto != 0;
    const char *why = "ERR HALCYON WATCH takes keys";
    bool ok = true;
    bool wraps = false;
    enum replica_taken taken = REPLICA_CONTROL;
    if (span_is(r->argv[1], "watch")) {
        tx_parse_watch(&t, r->argv, r->argc);
    } else {
        ok = tx_parse_exec(&t, r->argv, r->argc, &why);
    }
    if (!ok || t.key_count == 0) {
        resp_error(&out, why);
    } else if (tx_slot_check(nw, &t, &out)) {
        size_t start = is_link ? node_wrap_begin(nw, &out) : 0;
        struct replica_request q = {
            .ns = r->ns, .a = a, .argv = r->argv, .argc = r->argc, .db = r->db};
        wraps = true;
        if (nw->memory_max != 0 && t.denyoom && !node_make_room(nw)) {
            nw->count[NODE_OOM]++;
            resp_error(&out, "OOM command not allowed when used memory > 'maxmemory'.");
        } else if (nw->replica == NULL) {
            tx_run_alone(nw, &t, &out);
        } else {
            node_wrap_cancel(&out, start);
            wraps = false;
            taken = replica_serve_tx(nw, &q, &t, &out);
        }
        if (wraps && is_link) {
            node_wrap_end(nw, &out, start);
        }
    }
    tx_free(&t);
    if (taken == REPLICA_FULL) {
        return full(nw, r);
    }
    if (taken == REPLICA_CONTROL) {
        queue_reply(nw, r, a, &out);
    }
    return TAKEN;
}

/* EXEC and WATCH of a client of our own. */
static enum taken take_session_tx(struct node_worker *nw, const struct request *r,
                                  const struct admitted *a)
{
    struct session *s = &r->ns->s;
    struct resp_out out = {&nw->reply_scratch, s->c.proto};
    struct buf request = {0};
    unsigned slot = 0;
    bool writes = false;
    bool is_watch = a->cmd->name[0] == 'w';
    if (nw->replica != NULL && !replica_has_room(nw->replica)) {
        return full(nw, r);
    }
    buf_consume(out.b, buf_used(out.b));
    bool ask = is_watch ? session_watch_request(s, r->argv, r->argc, &out, &request, &slot)
                        : session_exec(s, &out, &request, &slot, &writes);
    if (!ask) {
        queue_reply(nw, r, a, &out);
        return TAKEN;
    }
    static const struct resp_limits limits = {.bulk_bytes_max = UINT32_MAX,
                                              .args_max = RESP_ARGS_MAX};
    struct resp_parser parser;
    size_t used = 0;
    resp_parser_init(&parser);
    must(resp_parse(&parser, buf_head(&request), buf_used(&request), &limits, &used,
                    &(struct errmsg){{0}}) == RESP_REQUEST);
    struct request made = {.ns = r->ns, .argv = parser.argv, .argc = (int)parser.argc};
    if (is_watch) {
        buf_add(&r->ns->watch_request, buf_head(&request), buf_used(&request));
    }
    enum taken taken = take_tx(nw, &made, a);
    must(taken == TAKEN);
    resp_parser_free(&parser);
    buf_free(&request);
    return taken;
}

static bool is_session_tx(const struct cmd *cmd)
{
    return __builtin_expect(cmd->group == GROUP_TRANSACTIONS, 0);
}

/* HALCYON ... of a link that takes its turn among the link's requests. *rest: what is left is a
 * command to take. */
static enum taken take_link(struct node_worker *nw, struct request *r, bool *rest)
{
    if (span_is(r->argv[1], "promote") || span_is(r->argv[1], "demote")) {
        return take_hot_set(nw, r);
    }
    if (span_is(r->argv[1], "exec") || span_is(r->argv[1], "watch")) {
        struct admitted a = {.cmd = cmd_find(r->argv[1])};
        return take_tx(nw, r, &a);
    }
    const char *why = NULL;
    *rest = unwrap_link(r, &why);
    if (*rest && r->hot && nw->replica == NULL) {
        *rest = false;
        why = "ERR this node has no replica: it keeps no hot keys";
    }
    if (!*rest) {
        struct resp_out out = {&nw->reply_scratch, r->ns->link_proto};
        buf_consume(out.b, buf_used(out.b));
        resp_error(&out, why);
        queue_reply(nw, r, NULL, &out);
    }
    return TAKEN;
}

static bool is_link_word(const struct request *r)
{
    static const char *const words[] = {"db", "hotwrite", "promote", "demote", "exec", "watch"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (r->ns->link_proto != 0 && r->argc >= 2 && span_is(r->argv[1], words[i])) {
            return true;
        }
    }
    return false;
}

/* Operators' words, from who may run everything. */
static enum taken take_membership(struct node_worker *nw, const struct request *r,
                                  struct resp_out *out)
{
    struct session *s = &r->ns->s;
    if (s->c.unauthenticated || s->user == NULL || !s->user->unrestricted) {
        resp_error(out, s->c.unauthenticated ? "NOAUTH Authentication required."
                                             : "NOPERM only for a user who may run every command");
        return TAKEN;
    }
    static const struct admitted nobody = {.silent = false};
    bool later = membership_command(nw->node->membership, s, &nobody, r->argv, r->argc, out, 0);
    return later ? TAKEN_LAST : TAKEN;
}

static enum taken take(struct node_worker *nw, struct request *r, struct resp_out *out)
{
    if (__builtin_expect(buf_used(&r->ns->watch_request) != 0, 0)) {
        return NOT_TAKEN; /* when WATCH has been answered */
    }
    if (__builtin_expect(r->argv[0].len == 7 && (r->argv[0].p[0] | 0x20) == 'h' &&
                             span_is(r->argv[0], "halcyon"),
                         0)) {
        bool rest = false;
        if (is_link_word(r)) {
            enum taken t = take_link(nw, r, &rest);
            if (!rest) {
                return t;
            }
        } else if (r->ns->first_slot != NULL) {
            return NOT_TAKEN; /* when what is open has been answered */
        } else if (r->argc >= 2 && (span_is(r->argv[1], "view") || span_is(r->argv[1], "lease"))) {
            replica_command(nw, r->argv, r->argc, out);
            return TAKEN;
        } else if (membership_is_command(r->argv, r->argc)) {
            return take_membership(nw, r, out);
        } else {
            node_link_open(r->ns, r->argv, r->argc, out);
            return TAKEN;
        }
    }
    struct admitted a;
    switch (session_admit(&r->ns->s, r->argv, r->argc, &a)) {
    case ADMIT_DISPATCH:
        if (is_session_tx(a.cmd)) {
            return take_session_tx(nw, r, &a);
        }
        if (nw->replica != NULL) {
            return take_replicated(nw, r, &a, out);
        }
        run_measured(nw, r, &a, out);
        return TAKEN;
    case ADMIT_LOCAL:
        if (r->ns->first_slot != NULL) {
            return NOT_TAKEN;
        }
        return take_local(nw, r, &a, out);
    case ADMIT_WAIT:
        return NOT_TAKEN;
    }
    unreachable();
}

size_t node_batch(struct session *s, const struct conn_req *reqs, size_t n)
{
    struct node_worker *nw = node_worker_of(s);
    nw->now_ms = clk_wall_ms();
    if (nw->replica != NULL) {
        replica_batch(nw);
    }
    if (n > 1) {
        prefetch(nw, reqs, n);
    }
    size_t done = 0;
    while (done < n && !conn_full(&s->c)) {
        struct request r = {.ns = (struct node_session *)(void *)s,
                            .argv = reqs[done].argv,
                            .argc = (int)reqs[done].argc,
                            .hash = n > 1 && reqs[done].argc >= 2 ? nw->hashes[done] : 0,
                            .db = s->db};
        enum taken t = take(nw, &r, &s->c.reply);
        done += t != NOT_TAKEN;
        if (t != TAKEN) {
            break;
        }
    }
    if (store_lazy_pending(nw->store) != 0) {
        node_cron_hurry(nw);
    }
    if (((struct node_session *)(void *)s)->first_slot == NULL) {
        session_flushed(s);
    }
    return done;
}
