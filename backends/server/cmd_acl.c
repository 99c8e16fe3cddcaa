/* ACL: users and rights. Changes go to the one user list under its lock, then round all workers;
 * the reply comes when each has installed it, so that a command sent after the OK, on whatever
 * connection, is judged by the new rules. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "backends/server/acl_rules.h"
#include "backends/server/internal.h"
#include "common/clock.h"
#include "common/must.h"
#include "common/num.h"

static struct acl *acl_of(const struct call *c)
{
    return &c->s->w->server->acl;
}

static int shown(struct span s)
{
    return (int)(s.len < 128 ? s.len : 128);
}

/* ---- changes ---- */

static void take_each(struct worker *w, struct op *op)
{
    worker_take_acl(w, op->later.session_id);
}

static void ok_finish(struct worker *w, struct op *op)
{
    (void)w;
    if (op->n >= 0) {
        resp_int(&op->reply, op->n);
    } else {
        resp_ok(&op->reply);
    }
}

/* n < 0: +OK, else :n */
static enum session_result publish(struct call *c, int64_t n)
{
    struct op *op = op_new(c, 0);
    op->n = n;
    op->each = take_each;
    op->finish = ok_finish;
    return op_start(op);
}

static enum session_result acl_setuser(struct call *c)
{
    struct span name = c->argv[2];
    if (name.len != 0 &&
        (memchr(name.p, ' ', name.len) != NULL || memchr(name.p, '\0', name.len) != NULL)) {
        resp_error(c->out, "ERR Usernames can't contain spaces or null characters");
        return SESSION_DONE;
    }
    size_t bad = 0;
    struct errmsg why;
    if (acl_set_user(acl_of(c), name, c->argv + 3, (size_t)c->argc - 3, &bad, &why) != OK) {
        struct span rule = c->argv[3 + bad];
        resp_errorf(c->out, "ERR Error in ACL SETUSER modifier '%.*s': %s", shown(rule), rule.p,
                    why.text);
        return SESSION_DONE;
    }
    return publish(c, -1);
}

static enum session_result acl_deluser(struct call *c)
{
    int64_t n = 0;
    for (int i = 2; i < c->argc; i++) {
        if (span_eq(c->argv[i], SPAN_LIT("default"))) {
            resp_error(c->out, "ERR The 'default' user cannot be removed");
            return SESSION_DONE;
        }
    }
    for (int i = 2; i < c->argc; i++) {
        n += acl_del_user(acl_of(c), c->argv[i]) ? 1 : 0;
    }
    return publish(c, n);
}

/* True if there is no users file: then the error is written. */
static bool no_file(struct call *c)
{
    if (c->s->w->set->aclfile[0] != '\0') {
        return false;
    }
    resp_error(c->out, "ERR This Redis instance is not configured to use an ACL file. You may want "
                       "to specify users via the ACL SETUSER command and then issue a CONFIG "
                       "REWRITE (assuming you have a Redis configuration file set) in order to "
                       "store users in the Redis configuration.");
    return true;
}

static enum session_result acl_load(struct call *c)
{
    struct errmsg why;
    if (no_file(c)) {
        return SESSION_DONE;
    }
    if (acl_load_file(acl_of(c), c->s->w->set->aclfile, &why) != OK) {
        resp_errorf(c->out, "ERR %s", why.text);
        return SESSION_DONE;
    }
    return publish(c, -1);
}

static enum session_result acl_save(struct call *c)
{
    struct errmsg why;
    if (no_file(c)) {
        return SESSION_DONE;
    }
    if (acl_save_file(acl_of(c), c->s->w->set->aclfile, &why) != OK) {
        resp_errorf(c->out, "ERR There was an error trying to save the ACLs: %s", why.text);
        return SESSION_DONE;
    }
    resp_ok(c->out);
    return SESSION_DONE;
}

/* ---- questions ---- */

static enum session_result acl_whoami(struct call *c)
{
    resp_bulk_str(c->out, c->s->user->name);
    return SESSION_DONE;
}

static enum session_result acl_list(struct call *c)
{
    bool names_only = span_is(c->argv[1], "users");
    struct acl_set *set = acl_get(acl_of(c));
    resp_array(c->out, set->count);
    for (size_t i = 0; i < set->count; i++) {
        struct buf line = {0};
        if (!names_only) {
            buf_add_str(&line, "user ");
        }
        buf_add_str(&line, set->users[i]->name);
        if (!names_only) {
            buf_add_str(&line, " ");
            acl_describe(set->users[i], &line);
        }
        resp_bulk_span(c->out, buf_span(&line));
        buf_free(&line);
    }
    acl_set_put(set);
    return SESSION_DONE;
}

static void reply_text(struct call *c, const struct acl_user *u,
                       void (*describe)(const struct acl_user *u, struct buf *out))
{
    struct buf text = {0};
    buf_reserve(&text, 1);
    describe(u, &text);
    resp_bulk_span(c->out, buf_span(&text));
    buf_free(&text);
}

static void reply_flags(struct call *c, const struct acl_user *u)
{
    size_t n = 1u + u->nopass + u->skip_sanitize + u->sanitize;
    resp_set(c->out, n);
    resp_bulk_str(c->out, u->on ? "on" : "off");
    if (u->nopass) {
        resp_bulk_str(c->out, "nopass");
    }
    if (u->skip_sanitize) {
        resp_bulk_str(c->out, "skip-sanitize-payload");
    }
    if (u->sanitize) {
        resp_bulk_str(c->out, "sanitize-payload");
    }
}

static enum session_result acl_getuser(struct call *c)
{
    struct acl_set *set = acl_get(acl_of(c));
    const struct acl_user *u = acl_user_find(set, c->argv[2]);
    if (u == NULL) {
        resp_null(c->out);
    } else {
        resp_map(c->out, 6);
        resp_bulk_str(c->out, "flags");
        reply_flags(c, u);
        resp_bulk_str(c->out, "passwords");
        resp_array(c->out, u->hashes.n);
        for (size_t i = 0; i < u->hashes.n; i++) {
            resp_bulk_str(c->out, u->hashes.v[i]);
        }
        resp_bulk_str(c->out, "commands");
        reply_text(c, u, acl_describe_commands);
        resp_bulk_str(c->out, "keys");
        reply_text(c, u, acl_describe_keys);
        resp_bulk_str(c->out, "channels");
        reply_text(c, u, acl_describe_channels);
        resp_bulk_str(c->out, "selectors");
        resp_array(c->out, 0);
    }
    acl_set_put(set);
    return SESSION_DONE;
}

static enum session_result acl_cat(struct call *c)
{
    if (c->argc > 3) {
        call_wrong_number(c);
        return SESSION_DONE;
    }
    if (c->argc == 2) {
        resp_array(c->out, ACL_CATEGORY_COUNT);
        for (unsigned i = 0; i < ACL_CATEGORY_COUNT; i++) {
            resp_bulk_str(c->out, acl_category_name(i));
        }
        return SESSION_DONE;
    }
    int category = acl_category_find(c->argv[2]);
    if (category < 0) {
        resp_errorf(c->out, "ERR Unknown category '%.*s'", shown(c->argv[2]), c->argv[2].p);
        return SESSION_DONE;
    }
    size_t n = 0;
    size_t mark = resp_defer(c->out);
    for (unsigned i = 0; i < cmdset_count(); i++) {
        if ((acl_categories(cmdset_at(i)) >> category & 1) != 0) {
            resp_bulk_str(c->out, cmdset_at(i)->name);
            n++;
        }
    }
    resp_defer_end(c->out, mark, RESP_ARRAY, n);
    return SESSION_DONE;
}

static enum session_result acl_genpass(struct call *c)
{
    int64_t bits = 256;
    if (c->argc > 3) {
        call_wrong_number(c);
        return SESSION_DONE;
    }
    if (c->argc == 3 && !call_i64(c, c->argv[2], &bits)) {
        return SESSION_DONE;
    }
    if (bits < 1 || bits > 4096) {
        resp_error(c->out, "ERR ACL GENPASS argument must be the number of bits for the output "
                           "password, a positive number up to 4096");
        return SESSION_DONE;
    }
    static const char digits[] = "0123456789abcdef";
    size_t n = (size_t)(bits + 3) / 4;
    char text[1024];
    must(n <= sizeof text);
    for (size_t have = 0; have < n;) {
        ssize_t got = getrandom(text + have, n - have, 0);
        have += got > 0 ? (size_t)got : 0;
    }
    for (size_t i = 0; i < n; i++) {
        text[i] = digits[(unsigned char)text[i] & 15];
    }
    resp_bulk(c->out, text, n);
    return SESSION_DONE;
}

static enum session_result acl_dryrun(struct call *c)
{
    struct acl_set *set = acl_get(acl_of(c));
    const struct acl_user *u = acl_user_find(set, c->argv[2]);
    const struct span *argv = c->argv + 3;
    int argc = c->argc - 3;
    const struct cmd *cmd = cmd_find_request(argv, argc);
    if (u == NULL) {
        resp_errorf(c->out, "ERR User '%.*s' not found", shown(c->argv[2]), c->argv[2].p);
    } else if (cmd == NULL || (cmd->subs != NULL && argc >= 2)) {
        resp_errorf(c->out, "ERR Command '%.*s' not found", shown(argv[0]), argv[0].p);
    } else if (cmd_check_arity(cmd, argc, c->out)) {
        struct buf text = {0};
        int key = acl_may_run(u, cmd) ? acl_check_keys(u, cmd, argv, argc) : 0;
        if (!acl_may_run(u, cmd)) {
            buf_addf(&text, "This user has no permissions to run the '%s' command", cmd->name);
            resp_bulk_span(c->out, buf_span(&text));
        } else if (key > 0) {
            buf_addf(&text, "This user has no permissions to access the '%.*s' key",
                     shown(argv[key]), argv[key].p);
            resp_bulk_span(c->out, buf_span(&text));
        } else {
            resp_ok(c->out);
        }
        buf_free(&text);
    }
    acl_set_put(set);
    return SESSION_DONE;
}

static void reply_log_entry(struct call *c, const struct acl_log_entry *e, uint64_t now)
{
    static const char *const reasons[] = {"command", "key", "channel", "auth"};
    resp_map(c->out, 7);
    resp_bulk_str(c->out, "count");
    resp_int(c->out, (int64_t)e->count);
    resp_bulk_str(c->out, "reason");
    resp_bulk_str(c->out, reasons[e->reason]);
    resp_bulk_str(c->out, "context");
    resp_bulk_str(c->out, "toplevel");
    resp_bulk_str(c->out, "object");
    resp_bulk_str(c->out, e->object);
    resp_bulk_str(c->out, "username");
    resp_bulk_str(c->out, e->username);
    resp_bulk_str(c->out, "age-seconds");
    resp_double(c->out, (double)(now - e->created_ms) / 1000);
    resp_bulk_str(c->out, "client-info");
    resp_bulk_str(c->out, e->client_info);
}

static enum session_result acl_log(struct call *c)
{
    int64_t count = 10;
    struct acl *a = acl_of(c);
    if (c->argc > 3) {
        call_wrong_number(c);
        return SESSION_DONE;
    }
    if (c->argc == 3 && span_is(c->argv[2], "reset")) {
        acl_log_reset(a);
        resp_ok(c->out);
        return SESSION_DONE;
    }
    if (c->argc == 3 && !call_i64(c, c->argv[2], &count)) {
        return SESSION_DONE;
    }
    uint64_t now = clk_wall_ms();
    (void)pthread_mutex_lock(&a->lock);
    int64_t n = count < 0 ? 0 : count;
    n = n > (int64_t)a->log_count ? (int64_t)a->log_count : n;
    resp_array(c->out, (size_t)n);
    for (const struct acl_log_entry *e = a->log; n-- > 0; e = e->next) {
        reply_log_entry(c, e, now);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return SESSION_DONE;
}

static enum session_result acl_help(struct call *c)
{
    static const char *const lines[] = {
        "CAT [<category>]",
        "    Categories, or the commands of one.",
        "DELUSER <name> ...",
        "    Removes users and closes their connections.",
        "DRYRUN <name> <command> [<argument> ...]",
        "    Whether this user may run that, without running it.",
        "GENPASS [<bits>]",
        "    A random password, 256 bits long unless told otherwise.",
        "GETUSER <name>",
        "    Rules of one user.",
        "LIST",
        "    Rules of all users, as in the users file.",
        "LOAD",
        "    Reads the users file again.",
        "LOG [<count>|RESET]",
        "    What was denied lately.",
        "SAVE",
        "    Writes the users file.",
        "SETUSER <name> <rule> ...",
        "    Makes or changes a user.",
        "USERS",
        "    Names of all users.",
        "WHOAMI",
        "    Name of the user of this connection.",
        NULL};
    return call_help(c, "ACL", lines);
}

const struct local locals_acl[] = {
    {"acl|setuser", acl_setuser}, {"acl|deluser", acl_deluser},
    {"acl|load", acl_load},       {"acl|save", acl_save},
    {"acl|whoami", acl_whoami},   {"acl|list", acl_list},
    {"acl|users", acl_list},      {"acl|getuser", acl_getuser},
    {"acl|cat", acl_cat},         {"acl|genpass", acl_genpass},
    {"acl|dryrun", acl_dryrun},   {"acl|log", acl_log},
    {"acl|help", acl_help},       {NULL, NULL},
};
