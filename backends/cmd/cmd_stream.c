/* Stream commands that write. */
#include "backends/cmd/cmd_stream.h"

#include <errno.h>
#include <stdlib.h>

#include "backends/cmd/collection.h"
#include "backends/cmd/config.h"
#include "common/mem.h"
#include "common/num.h"

#define ID_TEXT_MAX 127u

static struct stream *stream_of(const struct entry *e)
{
    return entry_object(e);
}

static struct stream_limits limits_of(const struct cmd_ctx *c)
{
    return (struct stream_limits){c->config->stream_node_max_bytes,
                                  c->config->stream_node_max_entries};
}

/* ---- ids ---- */

/* Redis' string2ull: a canonical number, or whatever strtoull takes as a whole (blanks before, a
 * plus sign, zeros). */
static bool parse_part(const char *s, uint64_t *out)
{
    int64_t v = 0;
    if (num_parse_i64(span_str(s), &v)) {
        if (v >= 0) {
            *out = (uint64_t)v;
        }
        return v >= 0;
    }
    errno = 0;
    char *end = NULL;
    unsigned long long u = strtoull(s, &end, 10);
    if (errno != 0 || *s == '\0' || *end != '\0') {
        return false;
    }
    *out = u;
    return true;
}

static bool parse_id_text(char *text, struct stream_id_options o, struct stream_id *id)
{
    if ((text[0] == '-' || text[0] == '+') && text[1] == '\0') {
        *id = text[0] == '-' ? STREAM_ID_MIN : STREAM_ID_MAX;
        return !o.strict;
    }
    char *dash = strchr(text, '-');
    if (dash != NULL) {
        *dash = '\0';
    }
    struct stream_id v = {.seq = o.missing_seq};
    if (!parse_part(text, &v.ms)) {
        return false;
    }
    if (dash != NULL) {
        if (o.any_seq != NULL && dash[1] == '*' && dash[2] == '\0') {
            *o.any_seq = true;
            v.seq = 0;
        } else if (!parse_part(dash + 1, &v.seq)) {
            return false;
        }
    }
    *id = v;
    return true;
}

bool stream_parse_id(struct cmd_ctx *c, struct span s, struct stream_id_options o,
                     struct stream_id *id)
{
    char text[ID_TEXT_MAX + 1];
    if (s.len <= ID_TEXT_MAX) {
        if (s.len != 0) {
            memcpy(text, s.p, s.len);
        }
        text[s.len] = '\0';
        if (parse_id_text(text, o, id)) {
            return true;
        }
    }
    resp_error(c->out, "ERR Invalid stream ID specified as stream command argument");
    return false;
}

static bool parse_strict(struct cmd_ctx *c, struct span s, struct stream_id *id)
{
    return stream_parse_id(c, s, (struct stream_id_options){.strict = true}, id);
}

void stream_reply_id(struct cmd_ctx *c, struct stream_id id)
{
    char text[STREAM_ID_TEXT];
    resp_bulk(c->out, text, stream_id_format(text, id));
}

/* ---- arguments of XADD and XTRIM ---- */

struct add_or_trim {
    bool is_add;
    bool no_create;
    bool has_trim;
    bool limit_given;
    bool id_given; /* not "*" */
    bool any_seq;  /* "ms-*" */
    int id_at;     /* position of the id */
    struct stream_id id;
    struct stream_trim trim;
};

static bool parse_count(struct cmd_ctx *c, struct span s, const char *negative, uint64_t *out)
{
    int64_t v = 0;
    if (!cmd_i64(c, s, &v, NULL)) {
        return false;
    }
    if (v < 0) {
        resp_error(c->out, negative);
        return false;
    }
    *out = (uint64_t)v;
    return true;
}

/* MAXLEN or MINID at *i with its threshold; *i moves to the threshold. */
static bool parse_strategy(struct cmd_ctx *c, struct add_or_trim *a, int *i)
{
    if (a->has_trim) {
        resp_error(c->out, "ERR syntax error, MAXLEN and MINID options at the same time are not "
                           "compatible");
        return false;
    }
    a->has_trim = true;
    a->trim.by_id = span_is(c->argv[*i], "minid");
    struct span mark = c->argv[*i + 1];
    if (*i + 2 < c->argc && mark.len == 1 && (mark.p[0] == '~' || mark.p[0] == '=')) {
        a->trim.approximate = mark.p[0] == '~';
        ++*i;
    }
    struct span threshold = c->argv[++*i];
    if (a->trim.by_id) {
        return parse_strict(c, threshold, &a->trim.min);
    }
    return parse_count(c, threshold, "ERR The MAXLEN argument must be >= 0.", &a->trim.length_max);
}

/* What must hold of the options together. */
static bool check_options(struct cmd_ctx *c, struct add_or_trim *a)
{
    const char *wrong = NULL;
    if (a->trim.limit != 0 && !a->has_trim) {
        wrong = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
    } else if (!a->is_add && !a->has_trim) {
        wrong = "ERR syntax error, XTRIM must be called with a trimming strategy";
    } else if (a->limit_given && !a->trim.approximate) {
        wrong = "ERR syntax error, LIMIT cannot be used without the special ~ option";
    }
    if (wrong != NULL) {
        resp_error(c->out, wrong);
        return false;
    }
    if (a->trim.approximate && !a->limit_given) {
        uint64_t most = 100 * c->config->stream_node_max_entries;
        a->trim.limit = most == 0 ? 10000 : most > 1000000 ? 1000000 : most;
    }
    return true;
}

/* From argv[2] on. False after an error. */
static bool parse_add_or_trim(struct cmd_ctx *c, struct add_or_trim *a, bool is_add)
{
    *a = (struct add_or_trim){.is_add = is_add};
    int i = 2;
    for (; i < c->argc; i++) {
        struct span s = c->argv[i];
        bool more = i + 1 < c->argc;
        if (is_add && s.len == 1 && s.p[0] == '*') {
            break;
        }
        if (more && (span_is(s, "maxlen") || span_is(s, "minid"))) {
            if (!parse_strategy(c, a, &i)) {
                return false;
            }
        } else if (more && span_is(s, "limit")) {
            if (!parse_count(c, c->argv[++i], "ERR The LIMIT argument must be >= 0.",
                             &a->trim.limit)) {
                return false;
            }
            a->limit_given = true;
        } else if (is_add && span_is(s, "nomkstream")) {
            a->no_create = true;
        } else if (is_add) {
            struct stream_id_options o = {.strict = true, .any_seq = &a->any_seq};
            if (!stream_parse_id(c, s, o, &a->id)) {
                return false;
            }
            a->id_given = true;
            break;
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    a->id_at = i;
    return check_options(c, a);
}

/* ---- XADD ---- */

/* The id the entry gets; false after an error. */
static bool choose_id(struct cmd_ctx *c, const struct add_or_trim *a, struct stream_id last,
                      struct stream_id *id)
{
    if (stream_id_compare(last, STREAM_ID_MAX) == 0) {
        resp_error(c->out, "ERR The stream has exhausted the last possible ID, unable to add more "
                           "items");
        return false;
    }
    *id = a->id;
    if (!a->id_given) {
        *id = (struct stream_id){c->now_ms, 0};
        if (c->now_ms <= last.ms) {
            *id = last;
            (void)stream_id_next(id);
        }
    } else if (a->any_seq && a->id.ms == last.ms) {
        id->seq = last.seq == UINT64_MAX ? 0 : last.seq + 1;
    }
    if (stream_id_compare(*id, last) <= 0) {
        resp_error(c->out, "ERR The ID specified in XADD is equal or smaller than the target "
                           "stream top item");
        return false;
    }
    return true;
}

/* An XADD whose arguments are checked. */
struct add {
    struct add_or_trim a;
    const struct span *pairs;
    size_t n;
    struct stream_id id;
};

/* Everything up to the change itself. e: the stream or NULL. False after an answer. */
static bool add_plan(struct cmd_ctx *c, struct entry *(*look)(struct cmd_ctx *, struct span),
                     struct entry **e, struct add *p)
{
    if (!parse_add_or_trim(c, &p->a, true)) {
        return false;
    }
    int fields = c->argc - p->a.id_at - 1;
    if (fields < 2 || fields % 2 == 1) {
        resp_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->cmd->name);
        return false;
    }
    p->pairs = c->argv + p->a.id_at + 1;
    p->n = (size_t)fields / 2;
    if (p->a.id_given && !p->a.any_seq && stream_id_compare(p->a.id, STREAM_ID_MIN) == 0) {
        resp_error(c->out, "ERR The ID specified in XADD must be greater than 0-0");
        return false;
    }
    *e = look(c, c->argv[1]);
    if (!cmd_type_ok(c, *e, VAL_STREAM)) {
        return false;
    }
    if (*e == NULL && p->a.no_create) {
        resp_null(c->out);
        return false;
    }
    struct stream_id last = *e == NULL ? STREAM_ID_MIN : stream_last(stream_of(*e));
    if (!choose_id(c, &p->a, last, &p->id)) {
        return false;
    }
    if (!stream_can_hold(p->pairs, p->n)) {
        resp_error(c->out, "ERR Elements are too large to be stored");
        return false;
    }
    return true;
}

void xadd_command(struct cmd_ctx *c)
{
    struct add p;
    struct entry *e;
    if (!add_plan(c, cmd_lookup_write, &e, &p)) {
        return;
    }
    struct stream *s = e == NULL ? stream_new() : stream_of(e);
    stream_append(s, p.id, p.pairs, p.n, limits_of(c));
    c->dirty++;
    stream_reply_id(c, p.id);
    if (p.a.has_trim) {
        c->dirty += stream_trim(s, &p.a.trim);
    }
    collection_keep(c, e, c->argv[1], VAL_STREAM, s);
}

bool xadd_rewrite(struct cmd_ctx *c, struct effects *fx)
{
    struct add p;
    struct entry *e;
    if (!add_plan(c, cmd_peek, &e, &p)) {
        return false;
    }
    stream_reply_id(c, p.id);
    /* the id is spelt out, and the trimming becomes an exact length: nodes may have other borders
     * elsewhere */
    char id[STREAM_ID_TEXT];
    char length[NUM_I64_MAX];
    struct span *argv = mem_alloc((6 + 2 * p.n) * sizeof *argv);
    size_t n = 0;
    argv[n++] = SPAN_LIT("XADD");
    argv[n++] = c->argv[1];
    if (p.a.has_trim) {
        struct stream *none = e == NULL ? stream_new() : NULL;
        const struct stream *s = e == NULL ? none : stream_of(e);
        uint64_t gone =
            stream_trim_plan(s, &p.a.trim, &p.id, stream_pairs_bytes(p.pairs, p.n), limits_of(c));
        uint64_t left = stream_facts(s).length + 1 - gone;
        stream_free(none);
        argv[n++] = SPAN_LIT("MAXLEN");
        argv[n++] = SPAN_LIT("=");
        argv[n++] = span_of(length, num_fmt_u64(length, left));
    }
    argv[n++] = span_of(id, stream_id_format(id, p.id));
    memcpy(argv + n, p.pairs, 2 * p.n * sizeof *argv);
    effects_add(fx, n + 2 * p.n, argv);
    mem_free(argv);
    return true;
}

/* ---- XTRIM ---- */

void xtrim_command(struct cmd_ctx *c)
{
    struct add_or_trim a;
    if (!parse_add_or_trim(c, &a, false)) {
        return;
    }
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_STREAM)) {
        return;
    }
    uint64_t gone = e == NULL ? 0 : stream_trim(stream_of(e), &a.trim);
    c->dirty += gone;
    resp_int(c->out, (int64_t)gone);
}

bool xtrim_rewrite(struct cmd_ctx *c, struct effects *fx)
{
    struct add_or_trim a;
    if (!parse_add_or_trim(c, &a, false)) {
        return false;
    }
    struct entry *e = cmd_peek(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_STREAM)) {
        return false;
    }
    uint64_t gone = e == NULL ? 0 : stream_trim_plan(stream_of(e), &a.trim, NULL, 0, limits_of(c));
    resp_int(c->out, (int64_t)gone);
    if (gone == 0) {
        return false;
    }
    char length[NUM_I64_MAX];
    uint64_t left = stream_facts(stream_of(e)).length - gone;
    const struct span argv[] = {SPAN_LIT("XTRIM"), c->argv[1], SPAN_LIT("MAXLEN"), SPAN_LIT("="),
                                span_of(length, num_fmt_u64(length, left))};
    effects_add(fx, 5, argv);
    return true;
}

/* ---- XDEL, XSETID ---- */

void xdel_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_STREAM)) {
        return;
    }
    if (e == NULL) {
        resp_int(c->out, 0);
        return;
    }
    struct stream_id id;
    for (int i = 2; i < c->argc; i++) {
        if (!parse_strict(c, c->argv[i], &id)) {
            return;
        }
    }
    int64_t deleted = 0;
    for (int i = 2; i < c->argc; i++) {
        (void)parse_strict(c, c->argv[i], &id);
        deleted += stream_delete(stream_of(e), id);
    }
    c->dirty += (uint64_t)deleted;
    resp_int(c->out, deleted);
}

struct setid {
    struct stream_id id, max_deleted;
    int64_t added; /* -1: not given */
};

static bool setid_options(struct cmd_ctx *c, struct setid *o)
{
    *o = (struct setid){.added = -1};
    if (!parse_strict(c, c->argv[2], &o->id)) {
        return false;
    }
    for (int i = 3; i < c->argc; i += 2) {
        bool more = i + 1 < c->argc;
        if (more && span_is(c->argv[i], "entriesadded")) {
            if (!cmd_i64(c, c->argv[i + 1], &o->added, NULL)) {
                return false;
            }
            if (o->added < 0) {
                resp_error(c->out, "ERR entries_added must be positive");
                return false;
            }
        } else if (more && span_is(c->argv[i], "maxdeletedid")) {
            if (!parse_strict(c, c->argv[i + 1], &o->max_deleted)) {
                return false;
            }
            if (stream_id_compare(o->id, o->max_deleted) < 0) {
                resp_error(c->out, "ERR The ID specified in XSETID is smaller than the provided "
                                   "max_deleted_entry_id");
                return false;
            }
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    return true;
}

static const char *setid_conflict(const struct setid *o, const struct stream_facts *f)
{
    if (f->length != 0 && stream_id_compare(o->id, f->top) < 0) {
        return "ERR The ID specified in XSETID is smaller than the target stream top item";
    }
    if (f->length != 0 && o->added != -1 && f->length > (uint64_t)o->added) {
        return "ERR The entries_added specified in XSETID is smaller than the target stream length";
    }
    return NULL;
}

void xsetid_command(struct cmd_ctx *c)
{
    struct setid o;
    if (!setid_options(c, &o)) {
        return;
    }
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (e == NULL) {
        resp_error(c->out, "ERR no such key");
        return;
    }
    if (!cmd_type_ok(c, e, VAL_STREAM)) {
        return;
    }
    struct stream *s = stream_of(e);
    struct stream_facts f = stream_facts(s);
    const char *conflict = setid_conflict(&o, &f);
    if (conflict != NULL) {
        resp_error(c->out, conflict);
        return;
    }
    stream_set_last(s, o.id);
    if (o.added != -1) {
        stream_set_added(s, (uint64_t)o.added);
    }
    if (stream_id_compare(o.max_deleted, STREAM_ID_MIN) != 0) {
        stream_set_max_deleted(s, o.max_deleted);
    }
    c->dirty++;
    resp_ok(c->out);
}
