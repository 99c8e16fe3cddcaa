/* CLIENT: about this connection, and about those of all workers. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/server/client_filter.h"
#include "backends/server/internal.h"
#include "backends/server/names.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/num.h"

/* ---- this connection ---- */

static enum session_result client_id(struct call *c)
{
    resp_int(c->out, (int64_t)c->s->id);
    return SESSION_DONE;
}

static enum session_result client_info(struct call *c)
{
    struct buf text = {0};
    session_describe(c->s, clk_wall_ms(), &text);
    buf_add_str(&text, "\n");
    resp_verbatim(c->out, "txt", buf_head(&text), buf_used(&text));
    buf_free(&text);
    return SESSION_DONE;
}

static enum session_result client_getname(struct call *c)
{
    if (c->s->name == NULL) {
        resp_null(c->out);
    } else {
        resp_bulk_str(c->out, c->s->name);
    }
    return SESSION_DONE;
}

static enum session_result client_setname(struct call *c)
{
    if (!name_is_valid(c->argv[2])) {
        resp_error(c->out,
                   "ERR Client names cannot contain spaces, newlines or special characters.");
        return SESSION_DONE;
    }
    name_set(&c->s->name, c->argv[2]);
    resp_ok(c->out);
    return SESSION_DONE;
}

static enum session_result client_setinfo(struct call *c)
{
    bool is_name = span_is(c->argv[2], "lib-name");
    if (!is_name && !span_is(c->argv[2], "lib-ver")) {
        resp_errorf(c->out, "ERR Unrecognized option '%.*s'",
                    (int)(c->argv[2].len < 128 ? c->argv[2].len : 128), c->argv[2].p);
    } else if (!name_is_valid(c->argv[3])) {
        resp_errorf(c->out, "ERR %s cannot contain spaces, newlines or special characters.",
                    is_name ? "lib-name" : "lib-ver");
    } else {
        name_set(is_name ? &c->s->lib_name : &c->s->lib_ver, c->argv[3]);
        resp_ok(c->out);
    }
    return SESSION_DONE;
}

static enum session_result client_no_evict(struct call *c)
{
    if (!span_is(c->argv[2], "on") && !span_is(c->argv[2], "off")) {
        call_syntax(c);
        return SESSION_DONE;
    }
    c->s->no_evict = span_is(c->argv[2], "on");
    resp_ok(c->out);
    return SESSION_DONE;
}

static enum session_result client_reply(struct call *c)
{
    if (span_is(c->argv[2], "on")) {
        c->s->reply_mode = REPLY_ON;
        c->silent = false;
        resp_ok(c->out);
    } else if (span_is(c->argv[2], "off")) {
        c->s->reply_mode = REPLY_OFF;
    } else if (span_is(c->argv[2], "skip")) {
        if (c->s->reply_mode != REPLY_OFF) {
            c->s->reply_mode = REPLY_SKIP_NEXT;
        }
    } else {
        call_syntax(c);
    }
    return SESSION_DONE;
}

/* Tracking needs invalidation messages to clients, which this server does not send. */
static enum session_result client_tracking(struct call *c)
{
    if (c->argc == 3 && span_is(c->argv[2], "off")) {
        resp_ok(c->out);
    } else {
        resp_error(c->out, "ERR CLIENT TRACKING is not supported by this server");
    }
    return SESSION_DONE;
}

static enum session_result client_caching(struct call *c)
{
    resp_error(c->out, "ERR CLIENT CACHING can be called only when the client is in tracking mode "
                       "with OPTIN or OPTOUT mode enabled");
    return SESSION_DONE;
}

static enum session_result client_getredir(struct call *c)
{
    resp_int(c->out, -1);
    return SESSION_DONE;
}

static enum session_result client_trackinginfo(struct call *c)
{
    resp_map(c->out, 3);
    resp_bulk_str(c->out, "flags");
    resp_set(c->out, 1);
    resp_bulk_str(c->out, "off");
    resp_bulk_str(c->out, "redirect");
    resp_int(c->out, -1);
    resp_bulk_str(c->out, "prefixes");
    resp_array(c->out, 0);
    return SESSION_DONE;
}

/* ---- all connections ---- */

static struct client_facts facts_of(const struct session *s, const struct op *op)
{
    return (struct client_facts){.id = s->id,
                                 .addr = span_str(s->c.peer),
                                 .laddr = span_str(s->c.local),
                                 .user = span_str(s->user->name),
                                 .me = s->id == op->later.session_id};
}

struct list_state {
    enum client_type type;
    uint64_t *ids;
    size_t id_count;
    struct listed {
        uint64_t id;
        size_t at, len;
    } * lines;
    size_t count, cap;
};

static bool list_wants(const struct list_state *st, uint64_t id)
{
    if (st->id_count == 0) {
        return true;
    }
    for (size_t i = 0; i < st->id_count; i++) {
        if (st->ids[i] == id) {
            return true;
        }
    }
    return false;
}

static void list_each(struct worker *w, struct op *op)
{
    struct list_state *st = op->data;
    uint64_t now = clk_wall_ms();
    for (const struct session *s = w->priv->first; s != NULL; s = s->next) {
        if (st->type == CLIENT_TYPE_OTHER || !list_wants(st, s->id)) {
            continue;
        }
        if (st->count == st->cap) {
            st->cap = st->cap == 0 ? 64 : st->cap * 2;
            st->lines = mem_realloc(st->lines, st->cap * sizeof *st->lines);
        }
        size_t at = buf_used(&op->text);
        session_describe(s, now, &op->text);
        st->lines[st->count++] = (struct listed){s->id, at, buf_used(&op->text) - at};
    }
}

static int by_id(const void *a, const void *b)
{
    const struct listed *x = a;
    const struct listed *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void list_finish(struct worker *w, struct op *op)
{
    (void)w;
    struct list_state *st = op->data;
    struct buf all = {0};
    if (st->count != 0) {
        qsort(st->lines, st->count, sizeof *st->lines, by_id);
    }
    for (size_t i = 0; i < st->count; i++) {
        buf_add(&all, buf_head(&op->text) + st->lines[i].at, st->lines[i].len);
        buf_add_str(&all, "\n");
    }
    resp_verbatim(&op->reply, "txt", buf_used(&all) == 0 ? "" : buf_head(&all), buf_used(&all));
    buf_free(&all);
    mem_free(st->lines);
    mem_free(st->ids);
}

static enum session_result client_list(struct call *c)
{
    struct list_state st = {0};
    if (c->argc == 4 && span_is(c->argv[2], "type")) {
        if (!client_type_parse(c->argv[3], &st.type)) {
            resp_errorf(c->out, "ERR Unknown client type '%.*s'",
                        (int)(c->argv[3].len < 128 ? c->argv[3].len : 128), c->argv[3].p);
            return SESSION_DONE;
        }
    } else if (c->argc > 3 && span_is(c->argv[2], "id")) {
        st.id_count = (size_t)c->argc - 3;
        st.ids = mem_alloc(st.id_count * sizeof *st.ids);
        for (int i = 3; i < c->argc; i++) {
            int64_t id;
            if (!num_parse_i64(c->argv[i], &id)) {
                resp_error(c->out, "ERR Invalid client ID");
                mem_free(st.ids);
                return SESSION_DONE;
            }
            st.ids[i - 3] = (uint64_t)id;
        }
    } else if (c->argc != 2) {
        call_syntax(c);
        return SESSION_DONE;
    }
    struct op *op = op_new(c, sizeof st);
    memcpy(op->data, &st, sizeof st);
    op->each = list_each;
    op->finish = list_finish;
    return op_start(op);
}

static void kill_session(struct session *s, bool me)
{
    if (me) { /* after the reply */
        s->quit = true;
    } else {
        conn_close(&s->c);
    }
}

static void kill_each(struct worker *w, struct op *op)
{
    const struct client_filter *f = op->data;
    for (struct session *s = w->priv->first; s != NULL; s = s->next) {
        struct client_facts facts = facts_of(s, op);
        if (!s->c.closing && client_filter_match(f, &facts)) {
            op->n++;
            kill_session(s, facts.me);
        }
    }
}

static void kill_finish(struct worker *w, struct op *op)
{
    (void)w;
    if (op->argc > 3) {
        resp_int(&op->reply, op->n);
    } else if (op->n != 0) {
        resp_ok(&op->reply);
    } else {
        resp_error(&op->reply, "ERR No such client");
    }
}

static enum session_result client_kill(struct call *c)
{
    struct client_filter f = {0};
    struct errmsg why;
    if (c->argc > 3) {
        if (client_filter_parse(c->argv + 2, c->argc - 2, &f, &why) != OK) {
            resp_errorf(c->out, "%s", why.text);
            return SESSION_DONE;
        }
        if (f.user.p != NULL && acl_user_find(c->s->w->priv->acl, f.user) == NULL) {
            resp_errorf(c->out, "ERR No such user '%.*s'",
                        (int)(f.user.len < 128 ? f.user.len : 128), f.user.p);
            return SESSION_DONE;
        }
    }
    struct op *op = op_new(c, sizeof f);
    if (op->argc == 3) {
        f.addr = op->argv[2];
    } else { /* the filter must borrow from the operation's copies */
        (void)!client_filter_parse(op->argv + 2, op->argc - 2, &f, &why);
    }
    memcpy(op->data, &f, sizeof f);
    op->each = kill_each;
    op->finish = kill_finish;
    return op_start(op);
}

/* ---- pause ---- */

static void unpause(struct worker *w)
{
    w->priv->pause_mode = PAUSE_OFF;
    session_unpark_all(w);
}

static void pause_over(void *arg)
{
    struct worker *w = arg;
    uint64_t now = clk_wall_ms();
    if (w->priv->pause_mode == PAUSE_OFF) {
        return;
    }
    if (now < w->priv->pause_end_ms) {
        loop_timer_start(w->priv->pause_timer, (w->priv->pause_end_ms - now) * 1000);
        return;
    }
    unpause(w);
}

/* The later end and the stricter mode win, as in Redis. */
static void pause_each(struct worker *w, struct op *op)
{
    struct worker_private *p = w->priv;
    uint64_t end = op->numbers[0];
    enum pause_mode mode = (enum pause_mode)op->numbers[1];
    if (p->pause_timer == NULL) {
        p->pause_timer = loop_timer_new(w->loop, pause_over, w);
    }
    if (p->pause_mode == PAUSE_OFF || p->pause_end_ms < end) {
        p->pause_end_ms = end;
    }
    if (p->pause_mode < mode) {
        p->pause_mode = mode;
    }
    loop_timer_start(p->pause_timer, 1000);
}

static void ok_finish(struct worker *w, struct op *op)
{
    (void)w;
    resp_ok(&op->reply);
}

static enum session_result client_pause(struct call *c)
{
    int64_t ms;
    enum pause_mode mode = PAUSE_ALL;
    if (c->argc > 4) {
        call_wrong_number(c);
        return SESSION_DONE;
    }
    if (c->argc == 4) {
        if (span_is(c->argv[3], "write")) {
            mode = PAUSE_WRITE;
        } else if (!span_is(c->argv[3], "all")) {
            resp_error(c->out, "ERR CLIENT PAUSE mode must be WRITE or ALL");
            return SESSION_DONE;
        }
    }
    uint64_t now = clk_wall_ms();
    if (!num_parse_i64(c->argv[2], &ms) || ms > INT64_MAX - (int64_t)now) {
        resp_error(c->out, "ERR timeout is not an integer or out of range");
        return SESSION_DONE;
    }
    if (ms < 0) {
        resp_error(c->out, "ERR timeout is negative");
        return SESSION_DONE;
    }
    struct op *op = op_new(c, 0);
    op->numbers[0] = now + (uint64_t)ms;
    op->numbers[1] = mode;
    op->each = pause_each;
    op->finish = ok_finish;
    return op_start(op);
}

static void unpause_each(struct worker *w, struct op *op)
{
    (void)op;
    unpause(w);
}

static enum session_result client_unpause(struct call *c)
{
    struct op *op = op_new(c, 0);
    op->each = unpause_each;
    op->finish = ok_finish;
    return op_start(op);
}

/* Nobody waits in a blocking command here: there are none yet. */
static enum session_result client_unblock(struct call *c)
{
    int64_t id;
    if (c->argc > 4) {
        call_wrong_number(c);
    } else if (c->argc == 4 && !span_is(c->argv[3], "timeout") && !span_is(c->argv[3], "error")) {
        resp_error(c->out, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    } else if (call_i64(c, c->argv[2], &id)) {
        resp_int(c->out, 0);
    }
    return SESSION_DONE;
}

static enum session_result client_help(struct call *c)
{
    static const char *const lines[] = {
        "CACHING <YES|NO>",
        "    Tracking of the next command's keys (needs CLIENT TRACKING, which is refused).",
        "GETNAME",
        "    Name of this connection.",
        "GETREDIR",
        "    Where tracking messages go: always -1.",
        "ID",
        "    Number of this connection.",
        "INFO",
        "    This connection as one line.",
        "KILL <ip:port>",
        "    Closes the connection from this address.",
        "KILL <ID n | TYPE t | USER u | ADDR ip:port | LADDR ip:port | SKIPME yes|no> ...",
        "    Closes the connections for which all of it holds.",
        "LIST [TYPE <NORMAL|MASTER|REPLICA|PUBSUB> | ID <n> ...]",
        "    All connections, one line each.",
        "NO-EVICT <ON|OFF>",
        "    Keeps this connection out of client eviction.",
        "PAUSE <milliseconds> [WRITE|ALL]",
        "    Holds back commands, or only those that write.",
        "REPLY <ON|OFF|SKIP>",
        "    Turns the replies of this connection on or off, or skips one.",
        "SETINFO <LIB-NAME|LIB-VER> <value>",
        "    Notes which client library this is.",
        "SETNAME <name>",
        "    Names this connection.",
        "TRACKINGINFO",
        "    State of tracking: always off.",
        "UNBLOCK <id> [TIMEOUT|ERROR]",
        "    Wakes a connection that waits in a blocking command.",
        "UNPAUSE",
        "    Ends PAUSE.",
        NULL};
    return call_help(c, "CLIENT", lines);
}

const struct local locals_client[] = {
    {"client|id", client_id},
    {"client|info", client_info},
    {"client|getname", client_getname},
    {"client|setname", client_setname},
    {"client|setinfo", client_setinfo},
    {"client|no-evict", client_no_evict},
    {"client|reply", client_reply},
    {"client|tracking", client_tracking},
    {"client|caching", client_caching},
    {"client|getredir", client_getredir},
    {"client|trackinginfo", client_trackinginfo},
    {"client|list", client_list},
    {"client|kill", client_kill},
    {"client|pause", client_pause},
    {"client|unpause", client_unpause},
    {"client|unblock", client_unblock},
    {"client|help", client_help},
    {NULL, NULL},
};
