/* Commands on keys of any type: deleting, renaming, copying, telling. Expiry: expire.c; the key
 * space: keyspace.c. */
#include "backends/cmd/config.h"
#include "backends/cmd/generic_cmds.h"
#include "backends/cmd/type_name.h"
#include "backends/types/object.h"
#include "common/num.h"

#define SHARED_INTEGERS                                                                            \
    10000 /* Redis keeps one object for each of these; OBJECT REFCOUNT shows it */

/* UNLINK too: what is big is freed in slices in either case. */
void del_command(struct cmd_ctx *c)
{
    int64_t n = 0;
    for (int i = 1; i < c->argc; i++) {
        struct entry *e = cmd_lookup_write(c, c->argv[i]);
        if (e != NULL) {
            store_delete(c->store, e);
            c->dirty++;
            n++;
        }
    }
    resp_int(c->out, n);
}

void exists_command(struct cmd_ctx *c)
{
    int64_t n = 0;
    for (int i = 1; i < c->argc; i++) {
        n += cmd_lookup_notouch(c, c->argv[i]) != NULL;
    }
    resp_int(c->out, n);
}

void touch_command(struct cmd_ctx *c)
{
    int64_t n = 0;
    for (int i = 1; i < c->argc; i++) {
        n += cmd_lookup(c, c->argv[i]) != NULL;
    }
    resp_int(c->out, n);
}

const char *cmd_type_name(const struct entry *e)
{
    const struct object_ops *ops = object_ops(entry_type(e));
    return ops == NULL ? "string" : ops->name;
}

void type_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_notouch(c, c->argv[1]);
    resp_simple(c->out, e == NULL ? "none" : cmd_type_name(e));
}

/* ---- RENAME, COPY ---- */

/* Gives `to` the value, expiry and access clock of e; object: a collection that becomes to's own,
 * or NULL for a string. */
static void give_value(struct cmd_ctx *c, const struct entry *e, struct span to, enum val_type type,
                       void *object)
{
    struct entry *old = cmd_lookup_write(c, to);
    uint64_t expire_ms = entry_expire_ms(e);
    struct entry *n = NULL;
    if (object == NULL) {
        struct string_value v = {
            .bytes = entry_string(e), .enc = entry_enc(e), .expire_ms = expire_ms};
        n = store_put_string_expire(c->store, old, to, v);
    } else {
        n = store_put_object(c->store, old, to, type, object);
        n = store_set_expire(c->store, n, expire_ms);
    }
    int64_t idle = (int64_t)entry_idle_seconds(c->store, e, c->now_ms);
    entry_set_access(c->store, n, idle, entry_freq(c->store, e, c->now_ms), c->now_ms);
}

static void rename_key(struct cmd_ctx *c, bool only_if_absent)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (e == NULL) {
        resp_error(c->out, "ERR no such key");
        return;
    }
    bool same = span_eq(c->argv[1], c->argv[2]);
    if (only_if_absent && (same || cmd_exists(c, c->argv[2]))) {
        resp_int(c->out, 0);
        return;
    }
    if (!same) {
        enum val_type type = entry_type(e);
        void *object = NULL;
        if (type != VAL_STRING) {
            object = store_take_object(c->store, e, &type);
        }
        give_value(c, e, c->argv[2], type, object);
        store_delete(c->store, e);
        c->dirty++;
    }
    if (only_if_absent) {
        resp_int(c->out, 1);
    } else {
        resp_ok(c->out);
    }
}

void rename_command(struct cmd_ctx *c)
{
    rename_key(c, false);
}

void renamenx_command(struct cmd_ctx *c)
{
    rename_key(c, true);
}

static bool copy_options(struct cmd_ctx *c, bool *replace)
{
    *replace = false;
    for (int i = 3; i < c->argc; i++) {
        if (span_is(c->argv[i], "replace")) {
            *replace = true;
        } else if (span_is(c->argv[i], "db") && i + 1 < c->argc) {
            int64_t db = 0;
            if (!cmd_i64(c, c->argv[++i], &db, NULL)) {
                return false;
            }
            if (db < 0 || db >= 16) {
                resp_error(c->out, "ERR DB index is out of range");
                return false;
            }
            if (db != (int64_t)c->db) {
                resp_error(c->out, "ERR COPY to another database is not supported by Halcyon");
                return false;
            }
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    return true;
}

void copy_command(struct cmd_ctx *c)
{
    bool replace = false;
    if (!copy_options(c, &replace)) {
        return;
    }
    if (span_eq(c->argv[1], c->argv[2])) {
        resp_error(c->out, "ERR source and destination objects are the same");
        return;
    }
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (e == NULL || (!replace && cmd_exists(c, c->argv[2]))) {
        resp_int(c->out, 0);
        return;
    }
    enum val_type type = entry_type(e);
    void *object = type == VAL_STRING ? NULL : object_ops(type)->copy(entry_object(e));
    give_value(c, e, c->argv[2], type, object);
    c->dirty++;
    resp_int(c->out, 1);
}

/* ---- telling ---- */

/* For OBJECT: answers null and returns NULL if there is no such key. */
static struct entry *object_lookup(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_notouch(c, c->argv[2]);
    if (e == NULL) {
        resp_null(c->out);
    }
    return e;
}

static bool policy_is_lfu(const struct cmd_ctx *c)
{
    return c->config->maxmemory_policy == EVICT_ALLKEYS_LFU ||
           c->config->maxmemory_policy == EVICT_VOLATILE_LFU;
}

void object_encoding_command(struct cmd_ctx *c)
{
    static const char *const strings[] = {
        [STR_INT] = "int", [STR_EMBSTR] = "embstr", [STR_RAW] = "raw"};
    struct entry *e = object_lookup(c);
    if (e != NULL) {
        const struct object_ops *ops = object_ops(entry_type(e));
        resp_bulk_str(c->out, ops == NULL ? strings[entry_enc(e)] : ops->encoding(entry_object(e)));
    }
}

#define ADJUST_NOTE                                                                                \
    "Please note that when switching between policies at runtime LRU and LFU data will take some " \
    "time to adjust."

void object_freq_command(struct cmd_ctx *c)
{
    struct entry *e = object_lookup(c);
    if (e == NULL) {
        return;
    }
    if (!policy_is_lfu(c)) {
        resp_error(c->out, "ERR An LFU maxmemory policy is not selected, access frequency not "
                           "tracked. " ADJUST_NOTE);
        return;
    }
    resp_int(c->out, entry_freq(c->store, e, c->now_ms));
}

void object_idletime_command(struct cmd_ctx *c)
{
    struct entry *e = object_lookup(c);
    if (e == NULL) {
        return;
    }
    if (policy_is_lfu(c)) {
        resp_error(c->out,
                   "ERR An LFU maxmemory policy is selected, idle time not tracked. " ADJUST_NOTE);
        return;
    }
    resp_int(c->out, (int64_t)entry_idle_seconds(c->store, e, c->now_ms));
}

void object_refcount_command(struct cmd_ctx *c)
{
    struct entry *e = object_lookup(c);
    if (e == NULL) {
        return;
    }
    int64_t v = -1;
    bool shared = entry_type(e) == VAL_STRING && entry_enc(e) == STR_INT &&
                  num_parse_i64(entry_string(e), &v) && v >= 0 && v < SHARED_INTEGERS;
    resp_int(c->out, shared ? INT32_MAX : 1);
}

void object_help_command(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "OBJECT <subcommand> [<arg> ...]. Subcommands are:",
        "ENCODING <key>",
        "    How the value is encoded.",
        "FREQ <key>",
        "    The logarithmic counter of recent accesses (LFU policies).",
        "IDLETIME <key>",
        "    Seconds since the last access (all other policies).",
        "REFCOUNT <key>",
        "    References to the value: 1, or the largest number for small integers.",
        "HELP",
        "    This text.",
    };
    resp_array(c->out, sizeof lines / sizeof lines[0]);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        resp_simple(c->out, lines[i]);
    }
}

void memory_usage_command(struct cmd_ctx *c)
{
    int64_t samples = 5;
    for (int i = 3; i < c->argc; i++) {
        if (!span_is(c->argv[i], "samples") || i + 1 >= c->argc) {
            cmd_syntax_error(c);
            return;
        }
        if (!cmd_i64(c, c->argv[++i], &samples, NULL)) {
            return;
        }
        if (samples < 0) {
            cmd_syntax_error(c);
            return;
        }
    }
    struct entry *e = cmd_peek(c, c->argv[2]);
    if (e == NULL) {
        resp_null(c->out);
        return;
    }
    resp_int(c->out, (int64_t)entry_memory(c->store, e, (size_t)samples));
}

void move_command(struct cmd_ctx *c)
{
    resp_error(c->out, "ERR MOVE is not supported by Halcyon: use COPY and DEL from a client");
}

void swapdb_command(struct cmd_ctx *c)
{
    resp_error(c->out, "ERR SWAPDB is not supported by Halcyon");
}
