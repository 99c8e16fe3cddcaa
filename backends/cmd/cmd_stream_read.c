/* Stream commands that read. */
#include <stdlib.h>

#include "backends/cmd/cmd_stream.h"
#include "backends/cmd/collection.h"
#include "common/mem.h"
#include "common/num.h"
#include "common/slot.h"

static const struct stream *stream_of(const struct entry *e)
{
    return entry_object(e);
}

static void reply_entry(void *arg, struct stream_entry *e)
{
    struct cmd_ctx *c = arg;
    resp_array(c->out, 2);
    stream_reply_id(c, e->id);
    resp_array(c->out, 2 * e->n);
    for (size_t i = 0; i < e->n; i++) {
        struct span field;
        struct span value;
        stream_entry_read(e, &field, &value);
        resp_bulk_span(c->out, field);
        resp_bulk_span(c->out, value);
    }
}

static void reply_range(struct cmd_ctx *c, const struct stream *s, const struct stream_range *r)
{
    size_t mark = resp_defer(c->out);
    uint64_t n = stream_walk(s, r, reply_entry, c);
    resp_defer_end(c->out, mark, RESP_ARRAY, (size_t)n);
}

void xlen_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (cmd_type_ok(c, e, VAL_STREAM)) {
        resp_int(c->out, e == NULL ? 0 : (int64_t)stream_length(stream_of(e)));
    }
}

/* ---- XRANGE, XREVRANGE ---- */

/* One end of an interval: "(" in front leaves the id itself out. */
static bool parse_interval_end(struct cmd_ctx *c, struct span s, bool is_start,
                               struct stream_id *id)
{
    struct stream_id_options o = {.missing_seq = is_start ? 0 : UINT64_MAX};
    bool exclusive = s.len > 1 && s.p[0] == '(';
    if (exclusive) {
        o.strict = true;
        s = span_of(s.p + 1, s.len - 1);
    }
    if (!stream_parse_id(c, s, o, id)) {
        return false;
    }
    if (exclusive && !(is_start ? stream_id_next(id) : stream_id_previous(id))) {
        resp_error(c->out, is_start ? "ERR invalid start ID for the interval"
                                    : "ERR invalid end ID for the interval");
        return false;
    }
    return true;
}

static void range(struct cmd_ctx *c, bool reverse)
{
    struct stream_range r = {.reverse = reverse};
    int64_t count = -1;
    if (!parse_interval_end(c, c->argv[reverse ? 3 : 2], true, &r.start) ||
        !parse_interval_end(c, c->argv[reverse ? 2 : 3], false, &r.end)) {
        return;
    }
    for (int i = 4; i < c->argc; i += 2) {
        if (i + 1 == c->argc || !span_is(c->argv[i], "count")) {
            cmd_syntax_error(c);
            return;
        }
        if (!cmd_i64(c, c->argv[i + 1], &count, NULL)) {
            return;
        }
        count = count < 0 ? 0 : count;
    }
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_STREAM)) {
        return;
    }
    if (e == NULL) {
        resp_array(c->out, 0);
    } else if (count == 0) {
        resp_null_array(c->out);
    } else {
        r.count = count == -1 ? 0 : (uint64_t)count;
        reply_range(c, stream_of(e), &r);
    }
}

void xrange_command(struct cmd_ctx *c)
{
    range(c, false);
}

void xrevrange_command(struct cmd_ctx *c)
{
    range(c, true);
}

/* ---- XREAD ---- */

struct read_options {
    int64_t count;
    bool block;
    int first;   /* of the keys */
    int streams; /* how many */
};

static bool read_options(struct cmd_ctx *c, struct read_options *o)
{
    *o = (struct read_options){0};
    for (int i = 1; i < c->argc; i++) {
        bool more = i + 1 < c->argc;
        struct span s = c->argv[i];
        if (more && span_is(s, "block")) {
            o->block = true;
            i++;
        } else if (more && span_is(s, "count")) {
            if (!cmd_i64(c, c->argv[++i], &o->count, NULL)) {
                return false;
            }
            o->count = o->count < 0 ? 0 : o->count;
        } else if (more && span_is(s, "streams")) {
            o->first = i + 1;
            o->streams = c->argc - o->first;
            if (o->streams % 2 != 0) {
                resp_error(c->out,
                           "ERR Unbalanced XREAD list of streams: for each stream key an ID or "
                           "'$' must be specified.");
                return false;
            }
            o->streams /= 2;
            return true;
        } else if (i + 2 < c->argc && span_is(s, "group")) {
            resp_error(c->out, "ERR The GROUP option is only supported by XREADGROUP. You called "
                               "XREAD instead.");
            return false;
        } else if (span_is(s, "noack")) {
            resp_error(c->out, "ERR The NOACK option is only supported by XREADGROUP. You called "
                               "XREAD instead.");
            return false;
        } else {
            break;
        }
    }
    cmd_syntax_error(c);
    return false;
}

/* The id after which stream number i is to be read. */
static bool read_after(struct cmd_ctx *c, const struct read_options *o, int i, struct stream_id *id)
{
    struct entry *e = cmd_peek(c, c->argv[o->first + i]);
    if (!cmd_type_ok(c, e, VAL_STREAM)) {
        return false;
    }
    struct span s = c->argv[o->first + o->streams + i];
    if (s.len == 1 && s.p[0] == '$') {
        *id = e == NULL ? STREAM_ID_MIN : stream_last(stream_of(e));
        return true;
    }
    if (s.len == 1 && s.p[0] == '>') {
        resp_error(c->out, "ERR The > ID can be specified only when calling XREADGROUP using the "
                           "GROUP <group> <consumer> option.");
        return false;
    }
    return stream_parse_id(c, s, (struct stream_id_options){.strict = true}, id);
}

static void read_streams(struct cmd_ctx *c, const struct read_options *o,
                         const struct stream_id *after)
{
    size_t mark = resp_defer(c->out);
    size_t with_news = 0;
    for (int i = 0; i < o->streams; i++) {
        struct entry *e = cmd_lookup(c, c->argv[o->first + i]);
        if (e == NULL) {
            continue;
        }
        struct stream_range r = {
            .start = after[i], .end = STREAM_ID_MAX, .count = (uint64_t)o->count};
        struct stream_facts f = stream_facts(stream_of(e));
        if (f.length == 0 || stream_id_compare(f.top, after[i]) <= 0 || !stream_id_next(&r.start)) {
            continue;
        }
        with_news++;
        if (c->out->proto == 2) {
            resp_array(c->out, 2);
        }
        resp_bulk_span(c->out, key_outer(c->argv[o->first + i]));
        reply_range(c, stream_of(e), &r);
    }
    if (with_news != 0) {
        resp_defer_end(c->out, mark, c->out->proto == 2 ? RESP_ARRAY : RESP_MAP, with_news);
        return;
    }
    c->out->b->len = mark;
    resp_null_array(c->out);
}

void xread_command(struct cmd_ctx *c)
{
    struct read_options o;
    if (!read_options(c, &o)) {
        return;
    }
    if (o.block) {
        resp_error(c->out,
                   "ERR blocking commands are not supported by Halcyon yet: 'xread' with BLOCK");
        return;
    }
    struct stream_id *after = mem_alloc((size_t)o.streams * sizeof *after);
    bool ok = true;
    for (int i = 0; ok && i < o.streams; i++) {
        ok = read_after(c, &o, i, &after[i]);
    }
    if (ok) {
        read_streams(c, &o, after);
    }
    mem_free(after);
}

/* Keys follow STREAMS, which is looked for from argv[from] on. */
static int stream_keys(const struct span *argv, int argc, int from, int *idx, int max)
{
    for (int i = from; i < argc; i++) {
        if (!span_is(argv[i], "streams")) {
            continue;
        }
        int n = argc - i - 1;
        if (n < 2 || n % 2 != 0) {
            return -1;
        }
        for (int k = 0; k < n / 2 && k < max; k++) {
            idx[k] = i + 1 + k;
        }
        return n / 2;
    }
    return -1;
}

int xread_keys(const struct span *argv, int argc, int *idx, int max)
{
    return stream_keys(argv, argc, 1, idx, max);
}

int xreadgroup_keys(const struct span *argv, int argc, int *idx, int max)
{
    return stream_keys(argv, argc, 4, idx, max);
}

/* ---- XINFO ---- */

static const struct stream *info_stream(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup(c, c->argv[2]);
    if (e == NULL) {
        resp_error(c->out, "ERR no such key");
        return NULL;
    }
    return cmd_type_ok(c, e, VAL_STREAM) ? stream_of(e) : NULL;
}

static void info_int(struct cmd_ctx *c, const char *name, uint64_t v)
{
    resp_bulk_str(c->out, name);
    resp_int(c->out, (int64_t)v);
}

static void info_id(struct cmd_ctx *c, const char *name, struct stream_id id)
{
    resp_bulk_str(c->out, name);
    stream_reply_id(c, id);
}

static void info_head(struct cmd_ctx *c, const struct stream_facts *f)
{
    info_int(c, "length", f->length);
    info_int(c, "radix-tree-keys", f->nodes);
    info_int(c, "radix-tree-nodes", f->nodes + 1);
    info_id(c, "last-generated-id", f->last);
    info_id(c, "max-deleted-entry-id", f->max_deleted);
    info_int(c, "entries-added", f->entries_added);
    info_id(c, "recorded-first-entry-id", f->first);
}

static void info_edge(struct cmd_ctx *c, const char *name, const struct stream *s, bool last)
{
    struct stream_range r = {.end = STREAM_ID_MAX, .reverse = last, .count = 1};
    resp_bulk_str(c->out, name);
    if (stream_walk(s, &r, reply_entry, c) == 0) {
        resp_null(c->out);
    }
}

static void subcommand_syntax_error(struct cmd_ctx *c)
{
    resp_errorf(c->out,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try XINFO HELP.",
                (int)(c->argv[1].len < 128 ? c->argv[1].len : 128), c->argv[1].p);
}

/* [FULL [COUNT count]] */
static bool info_options(struct cmd_ctx *c, bool *full, int64_t *count)
{
    *full = c->argc > 3;
    if (c->argc == 3) {
        return true;
    }
    bool counted = c->argc == 6;
    if ((c->argc != 4 && !counted) || !span_is(c->argv[3], "full") ||
        (counted && !span_is(c->argv[4], "count"))) {
        subcommand_syntax_error(c);
        return false;
    }
    if (counted && !cmd_i64(c, c->argv[5], count, NULL)) {
        return false;
    }
    *count = *count < 0 ? 10 : *count;
    return true;
}

void xinfo_stream_command(struct cmd_ctx *c)
{
    int64_t count = 10;
    bool full = false;
    const struct stream *s = info_stream(c);
    if (s == NULL || !info_options(c, &full, &count)) {
        return;
    }
    struct stream_facts f = stream_facts(s);
    resp_map(c->out, full ? 9 : 10);
    info_head(c, &f);
    if (full) {
        struct stream_range r = {.end = STREAM_ID_MAX, .count = (uint64_t)count};
        resp_bulk_str(c->out, "entries");
        reply_range(c, s, &r);
        resp_bulk_str(c->out, "groups");
        resp_array(c->out, 0);
        return;
    }
    info_int(c, "groups", 0);
    info_edge(c, "first-entry", s, false);
    info_edge(c, "last-entry", s, true);
}

void xinfo_groups_command(struct cmd_ctx *c)
{
    if (info_stream(c) != NULL) {
        resp_array(c->out, 0); /* there are no groups yet */
    }
}

void xinfo_consumers_command(struct cmd_ctx *c)
{
    if (info_stream(c) != NULL) {
        struct span key = key_outer(c->argv[2]);
        resp_errorf(c->out, "NOGROUP No such consumer group '%.*s' for key name '%.*s'",
                    (int)c->argv[3].len, c->argv[3].p, (int)key.len, key.p);
    }
}

static void reply_help(struct cmd_ctx *c, const char *const *lines, size_t n)
{
    resp_array(c->out, n);
    for (size_t i = 0; i < n; i++) {
        resp_simple(c->out, lines[i]);
    }
}

void xinfo_help_command(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "XINFO <subcommand> [<arg> ...]. The subcommands are:",
        "CONSUMERS <key> <groupname>",
        "    The consumers of a group.",
        "GROUPS <key>",
        "    The consumer groups of a stream.",
        "STREAM <key> [FULL [COUNT <count>]]",
        "    Length, ids and first and last entry of a stream; FULL: its entries.",
        "HELP",
        "    This text.",
    };
    reply_help(c, lines, sizeof lines / sizeof lines[0]);
}

void xgroup_help_command(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "XGROUP <subcommand> [<arg> ...].",
        "    Consumer groups are not supported by Halcyon yet.",
    };
    reply_help(c, lines, sizeof lines / sizeof lines[0]);
}

void stream_groups_command(struct cmd_ctx *c)
{
    resp_errorf(c->out, "ERR consumer groups are not supported by Halcyon yet: '%s'", c->cmd->name);
}
