/* MULTI, EXEC, DISCARD, WATCH, UNWATCH: what a session keeps of them.
 *
 * Queued commands are kept as RESP. Commands about the connection (PING, SELECT ...) run here when
 * EXEC comes and their replies are put in their places; the others are for a node. What Redis
 * refuses while queueing is refused here, and what cannot be part of an update of one slot too;
 * then EXEC answers EXECABORT. */
#include "backends/server/transaction.h"

#include <stdio.h>
#include <string.h>

#include "backends/server/internal.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"
#include "common/slot.h"

#define NO_SLOT SLOT_COUNT
#define CROSSSLOT "CROSSSLOT Keys in request don't hash to the same slot"

struct session_tx {
    bool open;   /* MULTI was said */
    bool failed; /* EXEC will answer EXECABORT */
    uint32_t count;
    struct buf queue;   /* requests, RESP */
    struct buf watched; /* key and token of each, RESP bulk strings */
    uint32_t watch_count;
    unsigned slot; /* of the keys so far; NO_SLOT: none */
};

static struct session_tx *tx_of(struct session *s)
{
    if (s->tx == NULL) {
        s->tx = mem_zalloc(sizeof *s->tx);
        s->tx->slot = NO_SLOT;
    }
    return s->tx;
}

bool session_in_multi(const struct session *s)
{
    return s->tx != NULL && s->tx->open;
}

int64_t session_multi_count(const struct session *s)
{
    return session_in_multi(s) ? (int64_t)s->tx->count : -1;
}

unsigned session_tx_slot(const struct session *s)
{
    return session_in_multi(s) && !s->tx->failed ? s->tx->slot : NO_SLOT;
}

void session_tx_drop(struct session *s)
{
    if (s->tx != NULL) {
        buf_free(&s->tx->queue);
        buf_free(&s->tx->watched);
        mem_free(s->tx);
        s->tx = NULL;
    }
    s->in_multi = false;
}

static void add_bulk(struct buf *b, struct span s)
{
    buf_addf(b, "$%zu\r\n", s.len);
    buf_add(b, s.p, s.len);
    buf_add(b, "\r\n", 2);
}

static void add_key(struct buf *b, unsigned db, struct span key)
{
    buf_addf(b, "$%zu\r\n", key.len + (key_needs_prefix(db, key) ? 2 : 0));
    key_add_inner(b, db, key);
    buf_add(b, "\r\n", 2);
}

/* ---- queueing ---- */

/* Commands that a session in MULTI runs at once. */
static bool is_immediate(const struct cmd *cmd)
{
    static const char *const names[] = {"exec", "discard", "multi", "watch", "quit", "reset"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(cmd->name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool session_queues(struct session *s, const struct admitted *a)
{
    if (a->refusal != REFUSE_NOT) {
        s->tx->failed = true;
        return false;
    }
    return !is_immediate(a->cmd);
}

/* Commands of the session layer that can have their place in a transaction: they answer at once. */
static bool runs_here(const struct cmd *cmd)
{
    static const char *const names[] = {"ping",           "echo",           "select",
                                        "unwatch",        "time",           "client|id",
                                        "client|getname", "client|setname", "client|setinfo",
                                        "client|info",    "command|count",  "lastsave"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(cmd->name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool runs_there(const struct cmd *cmd)
{
    return cmd->handler != NULL && (cmd->first_key != 0 || cmd->keys != NULL) &&
           (cmd->flags & (CMD_FANOUT | CMD_SESSION | CMD_BLOCKING)) == 0;
}

/* Every key of the request is of the transaction's slot. */
static bool same_slot(struct session_tx *t, const struct cmd *cmd, const struct span *argv,
                      int argc)
{
    int *idx = mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(cmd, argv, argc, idx, argc);
    bool same = true;
    for (int i = 0; i < n && same; i++) {
        unsigned slot = slot_of(argv[idx[i]]);
        same = t->slot == NO_SLOT || t->slot == slot;
        t->slot = slot;
    }
    mem_free(idx);
    return same;
}

/* NULL: it may be queued. */
static const char *why_not(struct session_tx *t, const struct cmd *cmd, const struct span *argv,
                           int argc)
{
    if ((cmd->flags & CMD_NO_MULTI) != 0) {
        return "ERR Command not allowed inside a transaction";
    }
    if (runs_here(cmd)) {
        return NULL;
    }
    if (!runs_there(cmd)) {
        return "ERR this command is not supported inside a transaction";
    }
    for (int i = 3; strcmp(cmd->name, "copy") == 0 && i < argc; i++) {
        if (span_is(argv[i], "db")) {
            return "ERR COPY with DB is not supported inside a transaction";
        }
    }
    return same_slot(t, cmd, argv, argc) ? NULL : CROSSSLOT;
}

void session_queue(struct call *c)
{
    struct session_tx *t = c->s->tx;
    const char *why = why_not(t, c->a->cmd, c->argv, c->argc);
    if (why != NULL) {
        t->failed = true;
        resp_error(c->out, why);
        return;
    }
    buf_addf(&t->queue, "*%d\r\n", c->argc);
    for (int i = 0; i < c->argc; i++) {
        add_bulk(&t->queue, c->argv[i]);
    }
    t->count++;
    resp_simple(c->out, "QUEUED");
}

/* ---- EXEC ---- */

/* What a command of the session layer answers, as the bytes of its place. */
static void run_here(struct session *s, const struct cmd *cmd, const struct span *argv, int argc,
                     struct buf *request, uint8_t proto)
{
    struct buf reply = {0};
    struct resp_out out = {&reply, proto};
    struct admitted a = {.cmd = cmd, .count = (struct cmd_counters *)worker_slot(s->w, cmd)};
    must(session_command(s, &a, argv, argc, &out, 0) == SESSION_DONE);
    buf_add_str(request, "$1\r\n0\r\n$1\r\n0\r\n");
    add_bulk(request, buf_span(&reply));
    buf_free(&reply);
}

static void run_there(const struct session *s, const struct cmd *cmd, const struct span *argv,
                      int argc, struct buf *request)
{
    char text[NUM_I64_MAX];
    add_bulk(request, span_of(text, num_fmt_u64(text, s->db)));
    add_bulk(request, span_of(text, num_fmt_u64(text, (uint64_t)argc)));
    int *idx = mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(cmd, argv, argc, idx, argc);
    bool *is_key = mem_zalloc((size_t)argc * sizeof *is_key);
    for (int i = 0; i < n; i++) {
        is_key[idx[i]] = true;
    }
    for (int i = 0; i < argc; i++) {
        if (is_key[i]) {
            add_key(request, s->db, argv[i]);
        } else {
            add_bulk(request, argv[i]);
        }
    }
    mem_free(is_key);
    mem_free(idx);
}

struct body {
    struct buf bytes;
    uint32_t args;
    bool writes, there;
};

static void build_body(struct session *s, struct session_tx *t, struct body *b, uint8_t proto)
{
    static const struct resp_limits limits = {.bulk_bytes_max = UINT32_MAX,
                                              .args_max = RESP_ARGS_MAX};
    struct resp_parser parser;
    resp_parser_init(&parser);
    struct span all = buf_span(&t->queue);
    size_t used = 0;
    for (size_t at = 0; at < all.len; at += used) {
        must(resp_parse(&parser, all.p + at, all.len - at, &limits, &used, &(struct errmsg){{0}}) ==
             RESP_REQUEST);
        int argc = (int)parser.argc;
        const struct cmd *cmd = cmd_find_request(parser.argv, argc);
        if (runs_here(cmd)) {
            run_here(s, cmd, parser.argv, argc, &b->bytes, proto);
            b->args += 3;
        } else {
            run_there(s, cmd, parser.argv, argc, &b->bytes);
            b->args += 2 + (uint32_t)argc;
            b->writes = b->writes || (cmd->flags & CMD_WRITE) != 0;
            b->there = true;
        }
    }
    resp_parser_free(&parser);
}

/* Nothing for a node: the replies are all here. */
static void answer_here(struct session_tx *t, const struct body *b, struct resp_out *out)
{
    static const struct resp_limits limits = {.bulk_bytes_max = UINT32_MAX,
                                              .args_max = RESP_ARGS_MAX};
    struct buf whole = {0};
    buf_addf(&whole, "*%u\r\n", b->args);
    buf_add(&whole, buf_head(&b->bytes), buf_used(&b->bytes));
    struct resp_parser parser;
    resp_parser_init(&parser);
    size_t used = 0;
    resp_array(out, t->count);
    if (b->args != 0) {
        must(resp_parse(&parser, buf_head(&whole), buf_used(&whole), &limits, &used,
                        &(struct errmsg){{0}}) == RESP_REQUEST);
        for (uint32_t i = 2; i < parser.argc; i += 3) {
            buf_add(out->b, parser.argv[i].p, parser.argv[i].len);
        }
    }
    resp_parser_free(&parser);
    buf_free(&whole);
}

bool session_exec(struct session *s, struct resp_out *out, struct buf *request, unsigned *slot,
                  bool *writes)
{
    struct session_tx *t = s->tx;
    if (t == NULL || !t->open) {
        resp_error(out, "ERR EXEC without MULTI");
        return false;
    }
    s->in_multi = false;
    if (t->failed) {
        resp_error(out, "EXECABORT Transaction discarded because of previous errors.");
        session_tx_drop(s);
        return false;
    }
    s->tx = NULL; /* the commands run as if there were none */
    struct body b = {0};
    build_body(s, t, &b, out->proto);
    bool ask = b.there || t->watch_count != 0;
    if (ask) {
        char text[NUM_I64_MAX];
        buf_addf(request, "*%u\r\n", 3 + 2 * t->watch_count + b.args);
        add_bulk(request, SPAN_LIT("HALCYON"));
        add_bulk(request, SPAN_LIT("EXEC"));
        add_bulk(request, span_of(text, num_fmt_u64(text, t->watch_count)));
        buf_add(request, buf_head(&t->watched), buf_used(&t->watched));
        buf_add(request, buf_head(&b.bytes), buf_used(&b.bytes));
        *slot = t->slot;
        *writes = b.writes;
    } else {
        answer_here(t, &b, out);
    }
    buf_free(&b.bytes);
    must(s->tx == NULL);
    s->tx = t;
    session_tx_drop(s);
    return ask;
}

/* ---- WATCH ---- */

bool session_watch_request(struct session *s, const struct span *argv, int argc,
                           struct resp_out *out, struct buf *request, unsigned *slot)
{
    struct session_tx *t = tx_of(s);
    if (t->open) {
        resp_error(out, "ERR WATCH inside MULTI is not allowed");
        return false;
    }
    unsigned before = t->slot;
    for (int i = 1; i < argc; i++) {
        unsigned at = slot_of(argv[i]);
        if (t->slot != NO_SLOT && t->slot != at) {
            t->slot = before;
            resp_error(out, CROSSSLOT);
            return false;
        }
        t->slot = at;
    }
    buf_addf(request, "*%d\r\n", argc + 1);
    add_bulk(request, SPAN_LIT("HALCYON"));
    add_bulk(request, SPAN_LIT("WATCH"));
    for (int i = 1; i < argc; i++) {
        add_key(request, s->db, argv[i]);
    }
    *slot = t->slot;
    return true;
}

bool session_watched(struct session *s, struct span request, struct span reply)
{
    static const struct resp_limits limits = {.bulk_bytes_max = UINT32_MAX,
                                              .args_max = RESP_ARGS_MAX};
    struct session_tx *t = tx_of(s);
    struct resp_parser parser;
    resp_parser_init(&parser);
    size_t used = 0;
    const char *nl = reply.len != 0 ? memchr(reply.p, '\n', reply.len) : NULL;
    bool ok = nl != NULL && reply.p[0] == '$' &&
              resp_parse(&parser, request.p, request.len, &limits, &used, &(struct errmsg){{0}}) ==
                  RESP_REQUEST;
    const char *p = ok ? nl + 1 : NULL;
    const char *end = reply.p + reply.len;
    for (uint32_t i = 2; ok && i < parser.argc; i++) {
        const char *from = p;
        while (p < end && *p != ' ' && *p != '\r') {
            p++;
        }
        ok = p != from && p < end;
        if (ok) {
            add_bulk(&t->watched, parser.argv[i]);
            add_bulk(&t->watched, span_of(from, (size_t)(p - from)));
            t->watch_count++;
            p++;
        }
    }
    resp_parser_free(&parser);
    return ok;
}

/* ---- commands ---- */

static enum session_result multi_cmd(struct call *c)
{
    struct session_tx *t = tx_of(c->s);
    if (t->open) {
        resp_error(c->out, "ERR MULTI calls can not be nested");
        return SESSION_DONE;
    }
    t->open = true;
    c->s->in_multi = true;
    resp_ok(c->out);
    return SESSION_DONE;
}

static enum session_result discard_cmd(struct call *c)
{
    if (!session_in_multi(c->s)) {
        resp_error(c->out, "ERR DISCARD without MULTI");
        return SESSION_DONE;
    }
    session_tx_drop(c->s);
    resp_ok(c->out);
    return SESSION_DONE;
}

static enum session_result unwatch_cmd(struct call *c)
{
    if (!session_in_multi(c->s)) {
        session_tx_drop(c->s);
    }
    resp_ok(c->out);
    return SESSION_DONE;
}

const struct local locals_transaction[] = {
    {"multi", multi_cmd}, {"discard", discard_cmd}, {"unwatch", unwatch_cmd}, {NULL, NULL}};
