/* Sessions: admission of requests and the accounting of their time and errors.
 *
 * The idea: what every request pays is one look into a small direct-mapped memo of command names
 * (name, row and counters of this worker), three well-predicted tests (waiting, arity, rights) and
 * two additions. Everything else is behind one of them.
 *
 * Time: a batch has one clock read at its start. Fast commands executed in it are counted in `runs`
 * and get equal shares of the time between two clock reads; slow commands close the run before and
 * after themselves. */
#include <string.h>
#include <unistd.h>

#include "backends/server/internal.h"
#include "backends/server/transaction.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

#define unlikely(x) __builtin_expect(!!(x), 0)

/* ---- finding the row ---- */

struct cmd_slot *worker_slot(struct worker *w, const struct cmd *cmd)
{
    return &w->priv->slots[cmdset_index(cmd)];
}

/* Letters only, at most 8, as one integer; 0: not memorable. */
static inline uint64_t memo_name(struct span s)
{
    uint64_t v = 0;
    if (s.len >= 4) {
        uint32_t a;
        uint32_t b;
        memcpy(&a, s.p, 4);
        memcpy(&b, s.p + s.len - 4, 4);
        v = (uint64_t)a | (uint64_t)b << 32;
    } else {
        for (size_t i = 0; i < s.len; i++) {
            v = v << 8 | (unsigned char)s.p[i];
        }
    }
    return v | 0x2020202020202020u;
}

static bool only_letters(const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name < 'a' || *name > 'z') {
            return false;
        }
    }
    return true;
}

/* Looks the row up and remembers it in m if its name allows. Returns its counters, NULL if unknown.
 */
static struct cmd_slot *find_slow(struct worker *w, const struct span *argv, int argc,
                                  struct memo *m, struct admitted *a)
{
    const struct cmd *cmd = cmd_find_request(argv, argc);
    if (cmd == NULL || (cmd->subs != NULL && argc >= 2)) {
        a->cmd = NULL; /* unknown command or subcommand */
        return NULL;
    }
    struct cmd_slot *slot = worker_slot(w, cmd);
    a->cmd = cmd;
    if (argv[0].len <= 8 && cmd->subs == NULL && only_letters(cmd->name)) {
        *m = (struct memo){memo_name(argv[0]), (uint32_t)argv[0].len, cmd, slot};
    }
    return slot;
}

/* ---- admission ---- */

bool session_auth_needed(const struct session *s)
{
    if (s->authenticated || s->internal) {
        return false;
    }
    const struct acl_user *u = acl_user_find(s->w->priv->acl, SPAN_LIT("default"));
    return !u->nopass || !u->on;
}

static void deny(struct session *s, struct admitted *a, const struct span *argv, int key)
{
    struct worker_private *p = s->w->priv;
    bool by_key = key > 0;
    a->refusal = by_key ? REFUSE_ACL_KEY : REFUSE_ACL_COMMAND;
    *(by_key ? &p->acl_denied_key : &p->acl_denied_cmd) += 1;
    struct buf info = {0};
    session_describe(s, clk_wall_ms(), &info);
    buf_add(&info, "", 1);
    const struct acl_denial d = {by_key ? ACL_REASON_KEY : ACL_REASON_COMMAND,
                                 by_key ? argv[key] : span_str(a->cmd->name),
                                 span_str(s->user->name), buf_head(&info), clk_wall_ms()};
    acl_log_add(&s->w->server->acl, &d, (uint32_t)s->w->set->acllog_max_len);
    buf_free(&info);
}

/* Rights of a user who may not do everything, or who has yet to say who he is. */
static void judge(struct session *s, struct admitted *a, const struct span *argv, int argc)
{
    if (session_auth_needed(s) && (a->cmd->flags & CMD_NO_AUTH) == 0) {
        a->refusal = REFUSE_NOAUTH;
        return;
    }
    if (s->user->unrestricted || s->internal || (a->cmd->flags & CMD_NO_AUTH) != 0) {
        return;
    }
    if (!acl_may_run(s->user, a->cmd)) {
        deny(s, a, argv, 0);
        return;
    }
    if (!s->user->all_keys) {
        int key = acl_check_keys(s->user, a->cmd, argv, argc);
        if (key < 0) {
            a->refusal = REFUSE_KEYS;
        } else if (key > 0) {
            deny(s, a, argv, key);
        }
    }
}

static bool pause_holds(struct session *s, const struct cmd *cmd)
{
    struct worker_private *p = s->w->priv;
    if (s->internal) {
        return false;
    }
    if (p->pause_mode == PAUSE_WRITE &&
        (cmd == NULL || (cmd->flags & (CMD_WRITE | CMD_MAY_REPLICATE)) == 0)) {
        return false;
    }
    if (!s->parked) {
        s->parked = true;
        s->park_next = p->parked;
        p->parked = s;
        p->blocked_count++;
    }
    return true;
}

bool session_may_debug(const struct session *s)
{
    int who = s->w->set->enable_debug_command;
    return who == DEBUG_YES || (who == DEBUG_LOCAL && session_is_loopback(s));
}

/* DEBUG belongs to the data commands, but whether it is allowed at all, and SLEEP, are ours. */
static bool debug_is_local(const struct session *s, const struct cmd_slot *slot,
                           const struct span *argv, int argc)
{
    return slot->fn != NULL && (!session_may_debug(s) || (argc > 1 && span_is(argv[1], "sleep")));
}

enum admit session_admit(struct session *s, const struct span *argv, int argc, struct admitted *a)
{
    struct worker *w = s->w;
    struct worker_private *p = w->priv;
    if (unlikely(s->quit | s->held | s->parked)) {
        return ADMIT_WAIT;
    }

    struct cmd_slot *slot;
    uint64_t name = memo_name(argv[0]);
    struct memo *m = &p->memo[(name ^ argv[0].len) * 0x9E3779B97F4A7C15u >> 58];
    if (m->name == name && m->len == argv[0].len && argv[0].len <= 8) {
        a->cmd = m->cmd;
        slot = m->slot;
    } else {
        slot = find_slow(w, argv, argc, m, a);
    }
    if (unlikely(p->pause_mode != PAUSE_OFF) && pause_holds(s, a->cmd)) {
        return ADMIT_WAIT;
    }

    s->commands++;
    p->commands++;
    a->refusal = REFUSE_NOT;
    a->count = (struct cmd_counters *)slot; /* its first member */
    a->silent = false;
    if (unlikely(s->reply_mode != REPLY_ON)) {
        a->silent = true;
        s->reply_mode = s->reply_mode == REPLY_SKIP_NEXT ? REPLY_ON : s->reply_mode;
    }
    const struct cmd *cmd = a->cmd;
    if (unlikely(cmd == NULL)) {
        a->refusal = REFUSE_UNKNOWN;
        a->count = NULL;
        if (s->in_multi) {
            (void)session_queues(s, a); /* the transaction has failed */
        }
        return ADMIT_LOCAL;
    }
    s->last_cmd = cmd;
    if (unlikely(cmd->arity >= 0 ? argc != cmd->arity : argc < -cmd->arity)) {
        a->refusal = REFUSE_ARITY;
    } else if (unlikely(!(s->authenticated & s->user->unrestricted))) {
        judge(s, a, argv, argc);
    }
    if (unlikely(s->in_multi) && session_queues(s, a)) {
        a->refusal = REFUSE_QUEUE;
        return ADMIT_LOCAL;
    }
    if (unlikely(a->refusal != REFUSE_NOT)) {
        slot->pub.rejected++;
        return ADMIT_LOCAL;
    }
    if (__builtin_expect((cmd->flags & (CMD_SESSION | CMD_ADMIN)) == 0, 1)) {
        return ADMIT_DISPATCH;
    }
    return (cmd->flags & CMD_SESSION) != 0 || debug_is_local(s, slot, argv, argc) ? ADMIT_LOCAL
                                                                                  : ADMIT_DISPATCH;
}

/* ---- time ---- */

uint64_t session_now(const struct session *s)
{
    return s->w->batch_ns;
}

static void account(struct worker_private *p, struct cmd_counters *count, uint64_t ns_each,
                    uint32_t times)
{
    count->calls += times;
    count->nanos += ns_each * times;
    if (p->track_latency) {
        if (unlikely(count->hist == NULL)) {
            count->hist = mem_zalloc(sizeof *count->hist);
        }
        hist_add(count->hist, ns_each / 1000, times);
    }
}

static bool is_slow(const struct worker_private *p, const struct cmd_counters *count, uint64_t ns)
{
    return p->slow_us >= 0 && ns / 1000 >= (uint64_t)p->slow_us &&
           (count == NULL || (count->cmd->flags & CMD_SKIP_SLOWLOG) == 0);
}

/* A run of fast commands that took long in sum: its largest request is the best guess at the cause.
 */
static void slow_run(struct session *s, uint64_t ns)
{
    struct worker_private *p = s->w->priv;
    if (p->req_count == 0) {
        return; /* outside on_batch: the arguments are gone */
    }
    const struct conn_req *big = &p->reqs[0];
    for (size_t i = 1; i < p->req_count; i++) {
        if (p->reqs[i].bytes > big->bytes) {
            big = &p->reqs[i];
        }
    }
    session_slow(s, ns, big->argv, (int)big->argc, (int)big->argc);
}

/* Gives the fast commands since the last clock read their equal shares. */
static void close_run(struct session *s)
{
    struct worker_private *p = s->w->priv;
    if (p->run_count == 0) {
        return;
    }
    uint64_t now = clk_mono_ns();
    if (unlikely(is_slow(p, NULL, now - p->mark_ns))) {
        slow_run(s, now - p->mark_ns);
    }
    uint32_t total = p->runs[0].n; /* at least 1 */
    for (unsigned i = 1; i < p->run_count; i++) {
        total += p->runs[i].n;
    }
    must(total != 0);
    uint64_t each = (now - p->mark_ns) / total;
    for (unsigned i = 0; i < p->run_count; i++) {
        account(p, p->runs[i].count, each, p->runs[i].n);
    }
    p->run_count = 0;
    p->mark_ns = now;
}

static inline void add_to_run(struct worker_private *p, struct cmd_counters *count)
{
    unsigned n = p->run_count;
    if (n != 0 && p->runs[n - 1].count == count) {
        p->runs[n - 1].n++;
        return;
    }
    p->runs[n] =
        (struct run){count, 1}; /* one entry per request at most: CONN_BATCH_MAX is enough */
    p->run_count = n + 1;
}

static inline bool own_clock(const struct worker_private *p, const struct admitted *a,
                             const struct span *argv, int argc)
{
    size_t bytes = (size_t)(argv[argc - 1].p - argv[0].p) + argv[argc - 1].len;
    return (a->cmd->flags & CMD_FAST) == 0 || bytes >= SESSION_BIG_ARGS || p->precise;
}

void session_run_begin(struct session *s, const struct admitted *a, const struct span *argv,
                       int argc)
{
    struct worker_private *p = s->w->priv;
    p->own_clock = own_clock(p, a, argv, argc);
    if (unlikely(p->own_clock) || unlikely(p->run_count == CONN_BATCH_MAX)) {
        close_run(s);
        p->mark_ns = clk_mono_ns();
    }
}

void session_run_end(struct session *s, const struct admitted *a, const struct span *argv, int argc,
                     const struct resp_out *out, size_t mark)
{
    struct worker_private *p = s->w->priv;
    if (unlikely(buf_used(out->b) > mark && buf_head(out->b)[mark] == '-')) {
        session_failed(s->w, a->count, span_of(buf_head(out->b) + mark, buf_used(out->b) - mark));
    }
    if (!p->own_clock) {
        add_to_run(p, a->count);
        return;
    }
    uint64_t now = clk_mono_ns();
    uint64_t ns = now - p->mark_ns;
    p->mark_ns = now;
    account(p, a->count, ns, 1);
    if (unlikely(is_slow(p, a->count, ns))) {
        session_slow(s, ns, argv, argc, argc);
    }
}

bool session_account(struct worker *w, struct cmd_counters *count, uint64_t ns)
{
    account(w->priv, count, ns, 1);
    return unlikely(is_slow(w->priv, count, ns));
}

void session_slow(struct session *s, uint64_t ns, const struct span *argv, int kept, int argc)
{
    struct worker *w = s->w;
    struct span name = s->name == NULL ? span_of("", 0) : span_str(s->name);
    struct slow_entry *e = slow_entry_new(argv, kept, argc, span_str(s->c.peer), name);
    e->id = atomic_fetch_add(&w->server->next_slow_id, 1);
    e->when_s = clk_wall_ms() / 1000;
    e->us = ns / 1000;
    slowlog_add(&w->priv->slow, e, (uint32_t)w->set->slowlog_max_len);
}

/* ---- errors ---- */

void worker_count_error(struct worker *w, struct span reply)
{
    struct worker_private *p = w->priv;
    p->errors_total++;
    char word[ERRORSTAT_WORD];
    size_t n = 0;
    for (size_t i = 1; reply.p != NULL && i < reply.len && n < sizeof word - 1; i++) {
        char ch = reply.p[i];
        if (ch == ' ' || ch == '\r' || ch == '\n') {
            break;
        }
        bool bad = ch == ':' || ch == ',' || ch == '='; /* would break the line's form */
        word[n++] = ch;
        if (bad) {
            word[n - 1] = '_';
        }
    }
    word[n] = '\0';
    for (unsigned i = 0; i < p->error_stat_count; i++) {
        if (strcmp(p->error_stats[i].word, word) == 0) {
            p->error_stats[i].count++;
            return;
        }
    }
    if (p->error_stat_count < ERRORSTAT_MAX) {
        struct error_stat *e = &p->error_stats[p->error_stat_count++];
        memcpy(e->word, word, n + 1);
        e->count = 1;
    }
}

void session_failed(struct worker *w, struct cmd_counters *count, struct span reply)
{
    if (count != NULL) {
        count->failed++;
    }
    worker_count_error(w, reply);
}

/* ---- connection and server commands ---- */

static enum session_result refusal_reply(struct call *c)
{
    switch ((enum refusal)c->a->refusal) {
    case REFUSE_UNKNOWN:
        cmd_unknown(c->argv, c->argc, c->out);
        break;
    case REFUSE_ARITY:
        (void)cmd_check_arity(c->a->cmd, c->argc, c->out);
        break;
    case REFUSE_NOAUTH:
        resp_error(c->out, "NOAUTH Authentication required.");
        break;
    case REFUSE_ACL_COMMAND:
        resp_errorf(c->out, "NOPERM this user has no permissions to run the '%s' command",
                    c->a->cmd->name);
        break;
    case REFUSE_ACL_KEY:
        resp_error(c->out, "NOPERM this user has no permissions to access one of the keys used as "
                           "arguments");
        break;
    case REFUSE_KEYS:
        resp_error(c->out, "ERR Invalid arguments specified for command");
        break;
    case REFUSE_QUEUE:
        session_queue(c);
        break;
    case REFUSE_NOT:
        unreachable();
    }
    return SESSION_DONE;
}

static void drop_since(struct resp_out *out, size_t used)
{
    out->b->len = out->b->head + used;
}

/* An EXEC that may not run ends the transaction, whatever is wrong with it. */
static void abort_exec(struct call *c, size_t mark)
{
    const char *text = buf_head(c->out->b) + mark + 1;
    size_t len = buf_used(c->out->b) - mark - 3;
    size_t skip = len > 4 && memcmp(text, "ERR ", 4) == 0 ? 4 : 0;
    struct buf why = {0};
    buf_add(&why, text + skip, len - skip);
    drop_since(c->out, mark);
    resp_errorf(c->out, "EXECABORT Transaction discarded because of: %.*s", (int)buf_used(&why),
                buf_head(&why));
    buf_free(&why);
    session_tx_drop(c->s);
}

enum session_result session_command(struct session *s, const struct admitted *a,
                                    const struct span *argv, int argc, struct resp_out *out,
                                    uint64_t token)
{
    struct call c = {s, a, argv, argc, out, token, a->silent};
    size_t mark = buf_used(out->b);
    enum session_result result;
    if (a->refusal != REFUSE_NOT) {
        result = refusal_reply(&c);
        if (a->cmd != NULL && strcmp(a->cmd->name, "exec") == 0) {
            abort_exec(&c, mark);
        }
        if (buf_head(out->b)[mark] == '-') {
            worker_count_error(s->w, span_of(buf_head(out->b) + mark, buf_used(out->b) - mark));
        }
    } else {
        local_fn fn = ((const struct cmd_slot *)a->count)->fn;
        session_run_begin(s, a, argv, argc);
        if (fn != NULL) {
            result = fn(&c);
        } else if (s->w->server->ops->local != NULL) {
            result = s->w->server->ops->local(s, a, argv, argc, out, token);
        } else {
            cmd_unknown(argv, argc, out);
            result = SESSION_DONE;
        }
        session_run_end(s, a, argv, argc, out, mark);
    }
    if (c.silent && result == SESSION_DONE) {
        drop_since(out, mark);
    }
    return result;
}

local_fn local_find(const char *name)
{
    static const struct local *const tables[] = {
        locals_connection, locals_client, locals_command, locals_config,
        locals_acl,        locals_stats,  locals_server,  locals_transaction};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        for (const struct local *l = tables[t]; l->name != NULL; l++) {
            if (strcmp(l->name, name) == 0) {
                return l->fn;
            }
        }
    }
    return NULL;
}

/* ---- batches ---- */

size_t session_on_batch(struct conn *c, const struct conn_req *reqs, size_t n)
{
    struct session *s = (struct session *)c;
    struct worker *w = s->w;
    struct worker_private *p = w->priv;
    w->batch_ns = clk_mono_ns();
    p->mark_ns = w->batch_ns;
    p->run_count = 0;
    p->reqs = reqs;
    p->req_count = n;
    size_t taken = w->server->ops->on_batch(s, reqs, n);
    close_run(s);
    p->req_count = 0;
    if (buf_used(&c->in) > p->max_in_buf) {
        p->max_in_buf = buf_used(&c->in);
    }
    if (buf_used(&c->out) > p->max_out_buf) {
        p->max_out_buf = buf_used(&c->out);
    }
    return taken;
}
