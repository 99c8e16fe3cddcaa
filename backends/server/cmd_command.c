/* COMMAND: the table, described. */
#include <string.h>

#include "backends/server/internal.h"
#include "backends/server/keyspec.h"
#include "backends/server/syntax.h"
#include "common/glob.h"
#include "common/mem.h"

/* ---- INFO ---- */

static const struct {
    uint32_t flag;
    const char *name;
} flag_names[] = {
    {CMD_WRITE, "write"},
    {CMD_READONLY, "readonly"},
    {CMD_DENYOOM, "denyoom"},
    {CMD_ADMIN, "admin"},
    {CMD_PUBSUB, "pubsub"},
    {CMD_NOSCRIPT, "noscript"},
    {CMD_BLOCKING, "blocking"},
    {CMD_LOADING, "loading"},
    {CMD_STALE, "stale"},
    {CMD_SKIP_MONITOR, "skip_monitor"},
    {CMD_SKIP_SLOWLOG, "skip_slowlog"},
    {CMD_ASKING, "asking"},
    {CMD_FAST, "fast"},
    {CMD_NO_AUTH, "no_auth"},
    {CMD_MAY_REPLICATE, "may_replicate"},
    {CMD_NO_MANDATORY_KEYS, "no_mandatory_keys"},
    {CMD_NO_ASYNC_LOADING, "no_async_loading"},
    {CMD_NO_MULTI, "no_multi"},
    {CMD_MOVABLEKEYS, "movablekeys"},
    {CMD_ALLOW_BUSY, "allow_busy"},
};
#define FLAG_COUNT (sizeof flag_names / sizeof flag_names[0])

static void reply_flags(const struct cmd *cmd, struct resp_out *out)
{
    size_t n = 0;
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        n += (cmd->flags & flag_names[i].flag) != 0;
    }
    resp_set(out, n);
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if ((cmd->flags & flag_names[i].flag) != 0) {
            resp_simple(out, flag_names[i].name);
        }
    }
}

static void reply_categories(const struct cmd *cmd, struct resp_out *out)
{
    uint32_t set = acl_categories(cmd);
    resp_set(out, (size_t)__builtin_popcount(set));
    for (unsigned i = 0; i < ACL_CATEGORY_COUNT; i++) {
        if ((set >> i & 1) != 0) {
            char name[32] = "@";
            strncat(name, acl_category_name(i), sizeof name - 2);
            resp_simple(out, name);
        }
    }
}

static void reply_tips(const struct cmd *cmd, struct resp_out *out)
{
    size_t n = 0;
    const char *p = cmd->tips == NULL ? "" : cmd->tips;
    size_t mark = resp_defer(out);
    while (*p != '\0') {
        p += strspn(p, ", ");
        size_t len = strcspn(p, ",");
        if (len != 0) {
            resp_bulk(out, p, len);
            n++;
        }
        p += len;
    }
    resp_defer_end(out, mark, RESP_SET, n);
}

static size_t count_subs(const struct cmd *cmd)
{
    size_t n = 0;
    while (cmd->subs != NULL && cmd->subs[n].name != NULL) {
        n++;
    }
    return n;
}

static void reply_info(const struct cmd *cmd, struct resp_out *out)
{
    struct keyspec specs[KEYSPEC_MAX];
    int n = keyspec_parse(cmd, specs);
    int last = cmd->last_key;
    resp_array(out, 10);
    resp_bulk_str(out, cmd->name);
    resp_int(out, cmd->arity);
    reply_flags(cmd, out);
    resp_int(out, cmd->first_key);
    resp_int(out, last);
    resp_int(out, cmd->key_step);
    reply_categories(cmd, out);
    reply_tips(cmd, out);
    resp_set(out, (size_t)n);
    for (int i = 0; i < n; i++) {
        keyspec_reply(&specs[i], out);
    }
    size_t subs = count_subs(cmd);
    resp_set(out, subs);
    for (size_t i = 0; i < subs; i++) {
        reply_info(&cmd->subs[i], out);
    }
}

static enum session_result command_info(struct call *c)
{
    if (c->argc <= 2) {
        resp_array(c->out, cmd_count());
        for (size_t i = 0; i < cmd_count(); i++) {
            reply_info(cmd_at(i), c->out);
        }
        return SESSION_DONE;
    }
    resp_array(c->out, (size_t)c->argc - 2);
    for (int i = 2; i < c->argc; i++) {
        const struct cmd *cmd = cmd_find(c->argv[i]);
        if (cmd == NULL) {
            resp_null(c->out);
        } else {
            reply_info(cmd, c->out);
        }
    }
    return SESSION_DONE;
}

static enum session_result command_count(struct call *c)
{
    resp_int(c->out, (int64_t)cmd_count());
    return SESSION_DONE;
}

/* ---- DOCS ---- */

static const char *group_name(enum cmd_group group)
{
    static const char *const names[] = {"generic",    "string",  "list",         "set",
                                        "sorted-set", "hash",    "bitmap",       "hyperloglog",
                                        "geo",        "stream",  "transactions", "connection",
                                        "server",     "cluster", "scripting",    "pubsub"};
    return names[group];
}

static void reply_docs(const struct cmd *cmd, struct syntax *scratch, struct resp_out *out)
{
    struct keyspec specs[KEYSPEC_MAX];
    size_t subs = count_subs(cmd);
    bool has_args = syntax_parse(cmd->syntax, scratch) == OK && scratch->first >= 0;
    resp_bulk_str(out, cmd->name);
    const char *instead = cmd->deprecated == NULL ? NULL : strchr(cmd->deprecated, ' ');
    resp_map(out, 3u + (cmd->complexity != NULL) + 3u * (instead != NULL) + has_args + (subs != 0));
    resp_bulk_str(out, "summary");
    resp_bulk_str(out, cmd->summary == NULL ? "" : cmd->summary);
    resp_bulk_str(out, "since");
    resp_bulk_str(out, cmd->since == NULL ? "" : cmd->since);
    resp_bulk_str(out, "group");
    resp_bulk_str(out, group_name(cmd->group));
    if (cmd->complexity != NULL) {
        resp_bulk_str(out, "complexity");
        resp_bulk_str(out, cmd->complexity);
    }
    if (instead != NULL) {
        resp_bulk_str(out, "doc_flags");
        resp_set(out, 1);
        resp_simple(out, "deprecated");
        resp_bulk_str(out, "deprecated_since");
        resp_bulk(out, cmd->deprecated, (size_t)(instead - cmd->deprecated));
        resp_bulk_str(out, "replaced_by");
        resp_bulk_str(out, instead + 1);
    }
    if (has_args) {
        resp_bulk_str(out, "arguments");
        syntax_reply(scratch, keyspec_parse(cmd, specs), out);
    }
    if (subs != 0) {
        resp_bulk_str(out, "subcommands");
        resp_map(out, subs);
        for (size_t i = 0; i < subs; i++) {
            reply_docs(&cmd->subs[i], scratch, out);
        }
    }
}

static enum session_result command_docs(struct call *c)
{
    struct syntax *scratch = mem_alloc(sizeof *scratch);
    if (c->argc == 2) {
        resp_map(c->out, cmd_count());
        for (size_t i = 0; i < cmd_count(); i++) {
            reply_docs(cmd_at(i), scratch, c->out);
        }
    } else {
        size_t n = 0;
        size_t mark = resp_defer(c->out);
        for (int i = 2; i < c->argc; i++) {
            const struct cmd *cmd = cmd_find(c->argv[i]);
            if (cmd != NULL) {
                reply_docs(cmd, scratch, c->out);
                n++;
            }
        }
        resp_defer_end(c->out, mark, RESP_MAP, n);
    }
    mem_free(scratch);
    return SESSION_DONE;
}

/* ---- GETKEYS ---- */

static void reply_key_flags(const struct keyspec *spec, struct resp_out *out)
{
    size_t n = 0;
    size_t mark = resp_defer(out);
    for (unsigned i = 0; keyspec_flag_name(i) != NULL; i++) {
        if ((spec->flags & 1u << i) != 0 && strcmp(keyspec_flag_name(i), "variable_flags") != 0) {
            resp_simple(out, keyspec_flag_name(i));
            n++;
        }
    }
    resp_defer_end(out, mark, RESP_SET, n);
}

static enum session_result command_getkeys(struct call *c)
{
    bool with_flags = span_is(c->argv[1], "getkeysandflags");
    const struct span *argv = c->argv + 2;
    int argc = c->argc - 2;
    const struct cmd *cmd = cmd_find_request(argv, argc);
    if (cmd == NULL || (cmd->subs != NULL && argc >= 2)) {
        resp_error(c->out, "ERR Invalid command specified");
        return SESSION_DONE;
    }
    if (cmd->first_key == 0 && cmd->keys == NULL) {
        resp_error(c->out, "ERR The command has no key arguments");
        return SESSION_DONE;
    }
    if (cmd->arity >= 0 ? argc != cmd->arity : argc < -cmd->arity) {
        resp_error(c->out, "ERR Invalid number of arguments specified for command");
        return SESSION_DONE;
    }
    int *idx = mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(cmd, argv, argc, idx, argc);
    if (n < 0 || (n == 0 && (cmd->flags & CMD_NO_MANDATORY_KEYS) == 0)) {
        resp_error(c->out, "ERR Invalid arguments specified for command");
        mem_free(idx);
        return SESSION_DONE;
    }
    struct keyspec specs[KEYSPEC_MAX];
    int spec_count = with_flags ? keyspec_parse(cmd, specs) : 0;
    resp_array(c->out, (size_t)n);
    for (int i = 0; i < n; i++) {
        if (with_flags && spec_count > 0) {
            struct keyspec spec = keyspec_for(cmd, specs, spec_count, argv, argc, idx[i]);
            resp_array(c->out, 2);
            resp_bulk_span(c->out, argv[idx[i]]);
            reply_key_flags(&spec, c->out);
        } else {
            resp_bulk_span(c->out, argv[idx[i]]);
        }
    }
    mem_free(idx);
    return SESSION_DONE;
}

/* ---- LIST ---- */

enum list_filter { LIST_ALL, LIST_MODULE, LIST_CATEGORY, LIST_PATTERN };

static bool list_wants(enum list_filter filter, int category, struct span pattern,
                       const struct cmd *cmd)
{
    switch (filter) {
    case LIST_ALL:
        return true;
    case LIST_MODULE:
        return false;
    case LIST_CATEGORY:
        return category >= 0 && (acl_categories(cmd) >> category & 1) != 0;
    case LIST_PATTERN:
        return glob_match(pattern, span_str(cmd->name), true);
    }
    return false;
}

static enum session_result command_list(struct call *c)
{
    enum list_filter filter = LIST_ALL;
    int category = -1;
    if (c->argc == 5 && span_is(c->argv[2], "filterby")) {
        if (span_is(c->argv[3], "module")) {
            filter = LIST_MODULE;
        } else if (span_is(c->argv[3], "aclcat")) {
            filter = LIST_CATEGORY;
            category = acl_category_find(c->argv[4]);
        } else if (span_is(c->argv[3], "pattern")) {
            filter = LIST_PATTERN;
        } else {
            call_syntax(c);
            return SESSION_DONE;
        }
    } else if (c->argc != 2) {
        call_syntax(c);
        return SESSION_DONE;
    }
    /* Without a filter Redis lists commands only, with one subcommands too. */
    size_t n = 0;
    size_t mark = resp_defer(c->out);
    for (unsigned i = 0; i < cmdset_count(); i++) {
        const struct cmd *cmd = cmdset_at(i);
        bool is_sub = strchr(cmd->name, '|') != NULL;
        if ((filter != LIST_ALL || !is_sub) &&
            list_wants(filter, category, c->argc == 5 ? c->argv[4] : span_of("", 0), cmd)) {
            resp_bulk_str(c->out, cmd->name);
            n++;
        }
    }
    resp_defer_end(c->out, mark, filter == LIST_ALL ? RESP_SET : RESP_ARRAY, n);
    return SESSION_DONE;
}

static enum session_result command_help(struct call *c)
{
    static const char *const lines[] = {
        "(no subcommand)",
        "    Details of all commands.",
        "COUNT",
        "    Number of commands.",
        "DOCS [<name> ...]",
        "    Documentation of commands.",
        "GETKEYS <command> [<argument> ...]",
        "    Keys of a whole command.",
        "GETKEYSANDFLAGS <command> [<argument> ...]",
        "    Keys of a whole command, and what it does to them.",
        "INFO [<name> ...]",
        "    Details of commands.",
        "LIST [FILTERBY <MODULE name | ACLCAT category | PATTERN pattern>]",
        "    Names of commands.",
        NULL};
    return call_help(c, "COMMAND", lines);
}

const struct local locals_command[] = {
    {"command", command_info},
    {"command|info", command_info},
    {"command|count", command_count},
    {"command|docs", command_docs},
    {"command|getkeys", command_getkeys},
    {"command|getkeysandflags", command_getkeys},
    {"command|list", command_list},
    {"command|help", command_help},
    {NULL, NULL},
};
