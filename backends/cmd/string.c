/* String commands: reading, setting, ranges. Numbers: string_num.c; LCS: lcs.c; rows:
 * string_rows.c. */
#include "backends/cmd/string_cmds.h"
#include "backends/cmd/string_value.h"
#include "common/num.h"

void get_command(struct cmd_ctx *c)
{
    struct entry *e = NULL;
    string_reply(c, &e);
}

void strlen_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (cmd_type_ok(c, e, VAL_STRING)) {
        resp_int(c->out, e == NULL ? 0 : (int64_t)entry_string(e).len);
    }
}

/* ---- SET and GETEX options ---- */

struct set_options {
    bool nx, xx, get, keepttl, persist;
    bool has_expire;
    struct expire_arg expire;
};

static bool expire_option(struct span s, struct expire_arg *a)
{
    static const struct {
        const char *name;
        bool seconds, absolute;
    } names[] = {
        {"ex", true, false}, {"px", false, false}, {"exat", true, true}, {"pxat", false, true}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (span_is(s, names[i].name)) {
            a->seconds = names[i].seconds;
            a->absolute = names[i].absolute;
            return true;
        }
    }
    return false;
}

static bool same_unit(const struct expire_arg *a, const struct expire_arg *b)
{
    return a->seconds == b->seconds && a->absolute == b->absolute;
}

static bool parse_options(struct cmd_ctx *c, int first, bool is_set, struct set_options *o)
{
    *o = (struct set_options){0};
    for (int i = first; i < c->argc; i++) {
        struct span s = c->argv[i];
        struct expire_arg expire;
        if (is_set && span_is(s, "nx") && !o->xx) {
            o->nx = true;
        } else if (is_set && span_is(s, "xx") && !o->nx) {
            o->xx = true;
        } else if (is_set && span_is(s, "get")) {
            o->get = true;
        } else if (is_set && span_is(s, "keepttl") && !o->has_expire) {
            o->keepttl = true;
        } else if (!is_set && span_is(s, "persist") && !o->has_expire) {
            o->persist = true;
        } else if (!o->keepttl && !o->persist && i + 1 < c->argc && expire_option(s, &expire) &&
                   (!o->has_expire || same_unit(&expire, &o->expire))) {
            o->has_expire = true; /* the same option may come again: the last one counts */
            o->expire = expire;
            o->expire.text = c->argv[++i];
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    return true;
}

void set_command(struct cmd_ctx *c)
{
    struct set_options o;
    uint64_t expire_ms = 0;
    if (c->argc > 3) {
        if (!parse_options(c, 3, true, &o) ||
            (o.has_expire && !string_expire_ms(c, &o.expire, &expire_ms))) {
            return;
        }
    } else {
        o = (struct set_options){0};
    }
    struct entry *e = NULL;
    if (o.get && !string_reply(c, &e)) {
        return;
    }
    e = cmd_lookup_write(c, c->argv[1]);
    if ((o.nx && e != NULL) || (o.xx && e == NULL)) {
        if (!o.get) {
            resp_null(c->out);
        }
        return;
    }
    struct span value = c->argv[2];
    struct string_value v = {.bytes = value, .enc = string_enc(value), .expire_ms = expire_ms};
    if (o.keepttl && e != NULL) {
        v.expire_ms = entry_expire_ms(e);
    }
    store_put_string_expire(c->store, e, c->argv[1], v);
    c->dirty++;
    if (!o.get) {
        resp_ok(c->out);
    }
}

void setnx_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (e == NULL) {
        string_set(c, NULL, c->argv[1], c->argv[2]);
        c->dirty++;
    }
    resp_int(c->out, e == NULL);
}

static void set_with_expiry(struct cmd_ctx *c, bool seconds)
{
    struct expire_arg a = {.text = c->argv[2], .seconds = seconds};
    struct string_value v = {.bytes = c->argv[3], .enc = string_enc(c->argv[3])};
    if (!string_expire_ms(c, &a, &v.expire_ms)) {
        return;
    }
    store_put_string_expire(c->store, cmd_lookup_write(c, c->argv[1]), c->argv[1], v);
    c->dirty++;
    resp_ok(c->out);
}

void setex_command(struct cmd_ctx *c)
{
    set_with_expiry(c, true);
}

void psetex_command(struct cmd_ctx *c)
{
    set_with_expiry(c, false);
}

void getset_command(struct cmd_ctx *c)
{
    struct entry *e = NULL;
    if (!string_reply(c, &e)) {
        return;
    }
    string_set(c, cmd_lookup_write(c, c->argv[1]), c->argv[1], c->argv[2]);
    c->dirty++;
}

void getdel_command(struct cmd_ctx *c)
{
    struct entry *e = NULL;
    if (string_reply(c, &e) && e != NULL) {
        store_delete(c->store, e);
        c->dirty++;
    }
}

void getex_command(struct cmd_ctx *c)
{
    struct set_options o;
    if (!parse_options(c, 2, false, &o)) {
        return;
    }
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (e == NULL) {
        resp_null(c->out);
        return;
    }
    uint64_t expire_ms = 0;
    if (!cmd_type_ok(c, e, VAL_STRING) ||
        (o.has_expire && !string_expire_ms(c, &o.expire, &expire_ms))) {
        return;
    }
    resp_bulk_span(c->out, entry_string(e));
    if (o.has_expire && o.expire.absolute && expire_ms <= c->now_ms) {
        store_delete(c->store, e);
        c->dirty++;
    } else if (o.has_expire || (o.persist && entry_expire_ms(e) != 0)) {
        store_set_expire(c->store, e, expire_ms);
        c->dirty++;
    }
}

/* ---- several keys ---- */

#define PREFETCH_GROUP 16

void mget_command(struct cmd_ctx *c)
{
    resp_array(c->out, (size_t)c->argc - 1);
    for (int first = 1; first < c->argc; first += PREFETCH_GROUP) {
        int end = first + PREFETCH_GROUP < c->argc ? first + PREFETCH_GROUP : c->argc;
        uint64_t hashes[PREFETCH_GROUP];
        for (int i = first; i < end; i++) {
            hashes[i - first] = store_hash(c->store, c->argv[i]);
            store_prefetch(c->store, hashes[i - first]);
        }
        for (int i = first; i < end; i++) {
            store_prefetch_entry(c->store, hashes[i - first]);
        }
        for (int i = first; i < end; i++) {
            struct entry *e = cmd_lookup(c, c->argv[i]);
            if (e == NULL || entry_type(e) != VAL_STRING) {
                resp_null(c->out);
            } else {
                resp_bulk_span(c->out, entry_string(e));
            }
        }
    }
}

static bool pairs_ok(struct cmd_ctx *c)
{
    if (c->argc % 2 == 1) {
        return true;
    }
    resp_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->cmd->name);
    return false;
}

static void set_pairs(struct cmd_ctx *c)
{
    for (int i = 1; i < c->argc; i += 2) {
        string_set(c, cmd_lookup_write(c, c->argv[i]), c->argv[i], c->argv[i + 1]);
        c->dirty++;
    }
}

void mset_command(struct cmd_ctx *c)
{
    if (pairs_ok(c)) {
        set_pairs(c);
        resp_ok(c->out);
    }
}

void msetnx_command(struct cmd_ctx *c)
{
    if (!pairs_ok(c)) {
        return;
    }
    for (int i = 1; i < c->argc; i += 2) {
        if (cmd_exists(c, c->argv[i])) {
            resp_int(c->out, 0);
            return;
        }
    }
    set_pairs(c);
    resp_int(c->out, 1);
}

/* ---- parts of a string ---- */

void append_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    struct span more = c->argv[2];
    if (e == NULL) {
        string_set(c, NULL, c->argv[1], more);
        c->dirty++;
        resp_int(c->out, (int64_t)more.len);
        return;
    }
    if (!cmd_type_ok(c, e, VAL_STRING)) {
        return;
    }
    size_t have = entry_string(e).len;
    if (!string_length_ok(c, have, more.len)) {
        return;
    }
    char *bytes = NULL;
    store_string_resize(c->store, e, have + more.len, &bytes);
    if (more.len != 0) {
        memcpy(bytes + have, more.p, more.len);
    }
    c->dirty++;
    resp_int(c->out, (int64_t)(have + more.len));
}

void setrange_command(struct cmd_ctx *c)
{
    int64_t offset = 0;
    if (!cmd_i64(c, c->argv[2], &offset, NULL)) {
        return;
    }
    if (offset < 0) {
        resp_error(c->out, "ERR offset is out of range");
        return;
    }
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    struct span part = c->argv[3];
    if (!cmd_type_ok(c, e, VAL_STRING)) {
        return;
    }
    size_t have = e == NULL ? 0 : entry_string(e).len;
    if (part.len == 0) {
        resp_int(c->out, (int64_t)have);
        return;
    }
    if (!string_length_ok(c, (uint64_t)offset, part.len)) {
        return;
    }
    size_t end = (size_t)offset + part.len;
    if (e == NULL) {
        e = string_set(c, NULL, c->argv[1], span_of("", 0));
    }
    char *bytes = NULL;
    store_string_resize(c->store, e, end > have ? end : have, &bytes);
    memcpy(bytes + offset, part.p, part.len);
    c->dirty++;
    resp_int(c->out, (int64_t)(end > have ? end : have));
}

void getrange_command(struct cmd_ctx *c)
{
    int64_t start = 0;
    int64_t end = 0;
    if (!cmd_i64(c, c->argv[2], &start, NULL) || !cmd_i64(c, c->argv[3], &end, NULL)) {
        return;
    }
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_STRING)) {
        return;
    }
    struct span value = e == NULL ? span_of("", 0) : entry_string(e);
    int64_t len = (int64_t)value.len;
    bool backwards = start < 0 && end < 0 && start > end;
    start = start < 0 ? start + len : start;
    end = end < 0 ? end + len : end;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end;
    end = end >= len ? len - 1 : end;
    if (backwards || start > end || len == 0) {
        resp_bulk(c->out, "", 0);
        return;
    }
    resp_bulk(c->out, value.p + start, (size_t)(end - start + 1));
}

bool cmd_is_blind(const struct cmd *cmd, const struct span *argv, int argc)
{
    if ((cmd->flags & CMD_BLIND) == 0) {
        return false;
    }
    for (int i = 3; cmd->handler == set_command && i < argc; i++) {
        if (span_is(argv[i], "nx") || span_is(argv[i], "xx") || span_is(argv[i], "get") ||
            span_is(argv[i], "keepttl")) {
            return false;
        }
    }
    return true;
}
