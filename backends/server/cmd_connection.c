/* Commands about one connection: HELLO AUTH PING ECHO QUIT RESET SELECT READONLY READWRITE ASKING.
 */
#include <string.h>

#include "backends/server/internal.h"
#include "backends/server/names.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/num.h"

static enum session_result ping(struct call *c)
{
    if (c->argc > 2) {
        resp_error(c->out, "ERR wrong number of arguments for 'ping' command");
    } else if (c->argc == 2) {
        resp_bulk_span(c->out, c->argv[1]);
    } else {
        resp_simple(c->out, "PONG");
    }
    return SESSION_DONE;
}

static enum session_result echo(struct call *c)
{
    resp_bulk_span(c->out, c->argv[1]);
    return SESSION_DONE;
}

static enum session_result quit(struct call *c)
{
    resp_ok(c->out);
    c->s->quit = true;
    return SESSION_DONE;
}

static enum session_result reset(struct call *c)
{
    session_reset(c->s);
    c->out->proto = 2;
    c->silent = false;
    resp_simple(c->out, "RESET");
    return SESSION_DONE;
}

static enum session_result select_db(struct call *c)
{
    int64_t n;
    if (!call_i64(c, c->argv[1], &n)) {
        return SESSION_DONE;
    }
    if (n < 0 || n >= c->s->w->set->databases) {
        resp_error(c->out, "ERR DB index is out of range");
        return SESSION_DONE;
    }
    c->s->db = (uint8_t)n;
    resp_ok(c->out);
    return SESSION_DONE;
}

/* ---- who is there ---- */

/* True: the session is now this user's. Otherwise the error is written and the failure logged. */
static bool authenticate(struct call *c, struct span name, struct span password)
{
    struct session *s = c->s;
    struct worker_private *p = s->w->priv;
    const struct acl_user *u = acl_user_find(p->acl, name);
    if (u != NULL && acl_password_ok(u, password)) {
        session_set_user(s, u, true);
        return true;
    }
    p->acl_denied_auth++;
    struct buf info = {0};
    session_describe(s, clk_wall_ms(), &info);
    buf_add(&info, "", 1);
    const struct acl_denial d = {ACL_REASON_AUTH, span_str(c->a->cmd->name), name, buf_head(&info),
                                 clk_wall_ms()};
    acl_log_add(&s->w->server->acl, &d, (uint32_t)s->w->set->acllog_max_len);
    buf_free(&info);
    resp_error(c->out, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

static enum session_result auth(struct call *c)
{
    struct span name = SPAN_LIT("default");
    if (c->argc > 3) {
        call_syntax(c);
        return SESSION_DONE;
    }
    if (c->argc == 3) {
        name = c->argv[1];
    } else if (acl_user_find(c->s->w->priv->acl, name)->nopass) {
        resp_error(c->out, "ERR AUTH <password> called without any password configured for the "
                           "default user. Are you sure your configuration is correct?");
        return SESSION_DONE;
    }
    if (authenticate(c, name, c->argv[c->argc - 1])) {
        resp_ok(c->out);
    }
    return SESSION_DONE;
}

bool name_is_valid(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '!' || s.p[i] > '~') {
            return false;
        }
    }
    return true;
}

void name_set(char **field, struct span s)
{
    mem_free(*field);
    *field = NULL;
    if (s.len != 0) {
        *field = mem_alloc(s.len + 1);
        memcpy(*field, s.p, s.len);
        (*field)[s.len] = '\0';
    }
}

static void hello_reply(struct call *c)
{
    const struct server *sv = c->s->w->server;
    bool cluster = sv->ops->cluster_enabled != NULL && sv->ops->cluster_enabled(sv);
    resp_map(c->out, 7);
    resp_bulk_str(c->out, "server");
    resp_bulk_str(c->out, "redis");
    resp_bulk_str(c->out, "version");
    resp_bulk_str(c->out, SERVER_REDIS_VERSION);
    resp_bulk_str(c->out, "proto");
    resp_int(c->out, c->s->c.proto);
    resp_bulk_str(c->out, "id");
    resp_int(c->out, (int64_t)c->s->id);
    resp_bulk_str(c->out, "mode");
    resp_bulk_str(c->out, cluster ? "cluster" : sv->ops->mode);
    resp_bulk_str(c->out, "role");
    resp_bulk_str(c->out, "master");
    resp_bulk_str(c->out, "modules");
    resp_array(c->out, 0);
}

struct hello {
    int64_t version; /* 0: not given */
    struct span user, password, name;
    bool has_auth, has_name;
};

static bool parse_hello(struct call *c, struct hello *h)
{
    if (c->argc >= 2) {
        if (!num_parse_i64(c->argv[1], &h->version)) {
            resp_error(c->out, "ERR Protocol version is not an integer or out of range");
            return false;
        }
        if (h->version < 2 || h->version > 3) {
            resp_error(c->out, "NOPROTO unsupported protocol version");
            return false;
        }
    }
    for (int i = 2; i < c->argc; i++) {
        int more = c->argc - i - 1;
        if (span_is(c->argv[i], "AUTH") && more >= 2) {
            h->has_auth = true;
            h->user = c->argv[i + 1];
            h->password = c->argv[i + 2];
            i += 2;
        } else if (span_is(c->argv[i], "SETNAME") && more >= 1) {
            h->has_name = true;
            h->name = c->argv[++i];
            if (!name_is_valid(h->name)) {
                resp_error(c->out, "ERR Client names cannot contain spaces, newlines or special "
                                   "characters.");
                return false;
            }
        } else {
            resp_errorf(c->out, "ERR Syntax error in HELLO option '%.*s'",
                        (int)(c->argv[i].len < 128 ? c->argv[i].len : 128), c->argv[i].p);
            return false;
        }
    }
    return true;
}

static enum session_result hello(struct call *c)
{
    struct session *s = c->s;
    struct hello h = {0};
    if (!parse_hello(c, &h) || (h.has_auth && !authenticate(c, h.user, h.password))) {
        return SESSION_DONE;
    }
    if (session_auth_needed(s)) {
        resp_error(c->out,
                   "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                   "the HELLO AUTH <user> <pass> option can be used to authenticate the "
                   "client and select the RESP protocol version at the same time");
        return SESSION_DONE;
    }
    if (h.has_name) {
        name_set(&s->name, h.name);
    }
    if (h.version != 0) {
        s->c.proto = s->c.reply.proto = c->out->proto = (uint8_t)h.version;
    }
    hello_reply(c);
    return SESSION_DONE;
}

/* ---- cluster ---- */

static bool cluster_on(const struct call *c)
{
    const struct server *sv = c->s->w->server;
    return sv->ops->cluster_enabled != NULL && sv->ops->cluster_enabled(sv);
}

/* Every replica of ours may be read and no slot is ever "being imported" to a client: these change
 * nothing. */
static enum session_result cluster_mode(struct call *c)
{
    if (!cluster_on(c)) {
        resp_error(c->out, "ERR This instance has cluster support disabled");
        return SESSION_DONE;
    }
    if (span_is(c->argv[0], "readonly")) {
        c->s->readonly = true;
    } else if (span_is(c->argv[0], "readwrite")) {
        c->s->readonly = false;
    }
    resp_ok(c->out);
    return SESSION_DONE;
}

const struct local locals_connection[] = {
    {"ping", ping},
    {"echo", echo},
    {"quit", quit},
    {"reset", reset},
    {"select", select_db},
    {"auth", auth},
    {"hello", hello},
    {"asking", cluster_mode},
    {"readonly", cluster_mode},
    {"readwrite", cluster_mode},
    {NULL, NULL},
};
