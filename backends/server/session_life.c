/* Sessions: coming, going, the worker's list and table of them, and how they are described. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "backends/server/internal.h"
#include "backends/server/transaction.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

static const char denied_text[] =
    "DENIED Redis is running in protected mode because protected mode is enabled and no password "
    "is set for the default user. In this mode connections are only accepted from the loopback "
    "interface. If you want to connect from external computers to Redis you may adopt one of the "
    "following solutions: 1) Just disable protected mode sending the command 'CONFIG SET "
    "protected-mode no' from the loopback interface by connecting to Redis from the same host the "
    "server is running, however MAKE SURE Redis is not publicly accessible from internet if you do "
    "so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable "
    "the protected mode by editing the Redis configuration file, and setting the protected mode "
    "option to 'no', and then restarting the server. 3) If you started the server manually just "
    "for "
    "testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication "
    "password for the default user. NOTE: You only need to do one of the above things in order for "
    "the server to start accepting connections from the outside.";

/* ---- table by id ---- */

static uint32_t id_slot(const struct worker_private *p, uint64_t id)
{
    return (uint32_t)(id * 0x9E3779B97F4A7C15u >> 32) & (p->by_id_size - 1);
}

static void table_grow(struct worker_private *p)
{
    uint32_t size = p->by_id_size == 0 ? 64 : p->by_id_size * 2;
    mem_free(p->by_id);
    p->by_id = mem_zalloc(size * sizeof(struct session *));
    p->by_id_size = size;
    for (struct session *s = p->first; s != NULL; s = s->next) {
        uint32_t i = id_slot(p, s->id);
        s->hash_next = p->by_id[i];
        p->by_id[i] = s;
    }
}

static void link_session(struct worker_private *p, struct session *s)
{
    if (p->session_count >= p->by_id_size) {
        table_grow(p);
    }
    uint32_t i = id_slot(p, s->id);
    s->hash_next = p->by_id[i];
    p->by_id[i] = s;
    s->prev = p->last;
    *(p->last == NULL ? &p->first : &p->last->next) = s;
    p->last = s;
    p->session_count++;
}

static void unlink_session(struct worker_private *p, struct session *s)
{
    struct session **link = &p->by_id[id_slot(p, s->id)];
    while (*link != s) {
        link = &(*link)->hash_next;
    }
    *link = s->hash_next;
    *(s->prev == NULL ? &p->first : &s->prev->next) = s->next;
    *(s->next == NULL ? &p->last : &s->next->prev) = s->prev;
    p->session_count--;
}

struct session *session_by_id(struct worker *w, uint64_t id)
{
    struct worker_private *p = w->priv;
    if (p->by_id_size == 0) {
        return NULL;
    }
    struct session *s = p->by_id[id_slot(p, id)];
    while (s != NULL && s->id != id) {
        s = s->hash_next;
    }
    return s;
}

/* ---- coming and going ---- */

static void unpark(struct session *s)
{
    struct worker_private *p = s->w->priv;
    struct session **link = &p->parked;
    while (*link != s) {
        link = &(*link)->park_next;
    }
    *link = s->park_next;
    s->parked = false;
    p->blocked_count--;
}

void session_unpark_all(struct worker *w)
{
    struct worker_private *p = w->priv;
    while (p->parked != NULL) {
        struct session *s = p->parked;
        unpark(s);
        conn_resume(&s->c);
    }
}

static void on_close(struct conn *c)
{
    struct session *s = (struct session *)c;
    struct worker *w = s->w;
    struct worker_private *p = w->priv;
    if (s->parked) {
        unpark(s);
    }
    if (!s->refused && w->server->ops->on_close != NULL) {
        w->server->ops->on_close(s);
    }
    p->closed_bytes_in += c->bytes_in;
    p->closed_bytes_out += c->bytes_out;
    unlink_session(p, s);
    acl_user_put(s->user);
    session_tx_drop(s);
    mem_free(s->name);
    mem_free(s->lib_name);
    mem_free(s->lib_ver);
    s->name = s->lib_name = s->lib_ver = NULL;
    atomic_fetch_sub(&w->server->clients, 1);
}

static void release(struct conn *c)
{
    mem_free(c);
}

static bool has_pending(const struct conn *c)
{
    const struct session *s = (const struct session *)c;
    return s->open_later != 0 ||
           (s->w->server->ops->has_pending != NULL && s->w->server->ops->has_pending(s));
}

bool session_is_busy(const struct session *s)
{
    return has_pending(&s->c) || buf_used(&s->c.out) != 0;
}

static const struct conn_ops conn_ops = {.on_batch = session_on_batch,
                                         .on_close = on_close,
                                         .release = release,
                                         .has_pending = has_pending};

bool session_is_loopback(const struct session *s)
{
    return s->c.is_unix || strncmp(s->c.peer, "127.", 4) == 0 ||
           strncmp(s->c.peer, "::1:", 4) == 0 || strncmp(s->c.peer, "[::1]:", 6) == 0;
}

/* Why this connection is not welcome, as the error that says so; NULL: it is. */
static const char *unwelcome(const struct session *s)
{
    const struct server_settings *set = s->w->set;
    if (atomic_load(&s->w->server->clients) > (uint32_t)set->maxclients) {
        return "ERR max number of clients reached";
    }
    const struct acl_user *u = acl_user_find(s->w->priv->acl, SPAN_LIT("default"));
    if (set->protected_mode && u->nopass && !session_is_loopback(s)) {
        return denied_text;
    }
    return NULL;
}

void session_set_user(struct session *s, const struct acl_user *u, bool authenticated)
{
    const struct acl_user *old = s->user;
    acl_user_get(u);
    s->user = u;
    s->authenticated = authenticated;
    s->c.unauthenticated = session_auth_needed(s);
    acl_user_put(old);
}

static void set_default_user(struct session *s)
{
    const struct acl_user *u = acl_user_find(s->w->priv->acl, SPAN_LIT("default"));
    session_set_user(s, u, u->nopass && u->on);
}

void session_open(struct worker *w, int fd, bool is_unix)
{
    struct server *sv = w->server;
    struct session *s = mem_zalloc(sv->ops->session_size);
    s->w = w;
    s->id = atomic_fetch_add(&sv->next_session_id, 1);
    enum err e = conn_init(&s->c, w->loop, fd, &conn_ops, &w->limits);
    if (e != OK) {
        log_warning("A new connection could not be set up: %s", err_text(e));
        (void)close(fd);
        mem_free(s);
        return;
    }
    s->c.is_unix = is_unix;
    set_default_user(s);
    link_session(w->priv, s);
    atomic_fetch_add(&sv->clients, 1);
    const char *why = unwelcome(s);
    if (why != NULL) {
        s->refused = s->quit = true;
        w->priv->rejected_conn++;
        resp_error(&s->c.reply, why);
        s->c.close_after_write = true;
        conn_touch(&s->c);
        return;
    }
    w->priv->connections++;
    if (sv->ops->on_open != NULL) {
        sv->ops->on_open(s);
    }
}

/* RESET: as the connection was when it came, but for its id, and its name is gone. */
void session_reset(struct session *s)
{
    session_tx_drop(s);
    s->db = 0;
    s->reply_mode = REPLY_ON;
    s->no_evict = s->readonly = false;
    s->c.proto = s->c.reply.proto = 2;
    mem_free(s->name);
    s->name = NULL;
    set_default_user(s);
}

/* ---- users changed ---- */

void worker_take_acl(struct worker *w, uint64_t asking_id)
{
    struct worker_private *p = w->priv;
    struct acl_set *old = p->acl;
    p->acl = acl_get(&w->server->acl);
    if (old == p->acl) {
        acl_set_put(old);
        return;
    }
    for (struct session *s = p->first; s != NULL; s = s->next) {
        const struct acl_user *u = acl_user_find(p->acl, span_str(s->user->name));
        if (u == NULL) { /* deleted: Redis closes such clients too */
            set_default_user(s);
            s->authenticated = false;
            s->quit = true;
            if (s->id != asking_id) { /* who asked for it gets the reply first */
                conn_close(&s->c);
            }
        } else {
            session_set_user(s, u, s->authenticated);
        }
    }
    acl_set_put(old);
}

/* ---- description ---- */

uint64_t session_memory(const struct session *s)
{
    return conn_memory(&s->c) + s->w->server->ops->session_size +
           (s->name == NULL ? 0 : strlen(s->name) + 1);
}

static const char *flags_of(const struct session *s, char out[8])
{
    size_t n = 0;
    if (s->internal) {
        out[n++] = 'L';
    }
    if (s->quit) {
        out[n++] = 'c';
    }
    if (s->parked) {
        out[n++] = 'b';
    }
    if (s->c.is_unix) {
        out[n++] = 'U';
    }
    if (s->in_multi) {
        out[n++] = 'x';
    }
    if (s->readonly) {
        out[n++] = 'r';
    }
    if (s->no_evict) {
        out[n++] = 'e';
    }
    if (n == 0) {
        out[n++] = 'N';
    }
    out[n] = '\0';
    return out;
}

void session_describe(const struct session *s, uint64_t now_ms, struct buf *out)
{
    const struct conn *c = &s->c;
    char flags[8];
    uint64_t idle = now_ms > c->last_active_ms ? (now_ms - c->last_active_ms) / 1000 : 0;
    uint64_t age = now_ms > c->created_ms ? (now_ms - c->created_ms) / 1000 : 0;
    size_t in_used = buf_used(&c->in);
    buf_addf(out,
             "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=%s age=%" PRIu64 " idle=%" PRIu64
             " flags=%s db=%u sub=0 psub=0 ssub=0 multi=%" PRId64
             " qbuf=%zu qbuf-free=%zu argv-mem=0 "
             "multi-mem=0 rbs=%zu rbp=%zu obl=%zu oll=0 omem=%zu tot-mem=%" PRIu64
             " events=%s cmd=%s user=%s redir=-1 resp=%u lib-name=%s lib-ver=%s",
             s->id, c->peer, c->local, c->fd, s->name == NULL ? "" : s->name, age, idle,
             flags_of(s, flags), s->db, session_multi_count(s), in_used, c->in.cap - in_used,
             c->out.cap, c->out.len, buf_used(&c->out), buf_used(&c->out), session_memory(s),
             buf_used(&c->out) != 0 ? "rw" : "r", s->last_cmd == NULL ? "NULL" : s->last_cmd->name,
             s->user->name, c->proto, s->lib_name == NULL ? "" : s->lib_name,
             s->lib_ver == NULL ? "" : s->lib_ver);
}
