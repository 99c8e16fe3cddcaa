/* Recursive descent over a row's syntax text. The text is ours, so depth and length are bounded by
 * the table, and by SYNTAX_MAX. */
#include "backends/server/syntax.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 8

struct parser {
    const char *p;
    struct syntax *s;
    enum err err;
    int depth;
};

/* A list of siblings under construction. */
struct seq {
    int16_t first, last;
    int n;
};

static struct syntax_arg *arg_at(struct parser *ps, int16_t i)
{
    return &ps->s->args[i];
}

static int16_t new_arg(struct parser *ps, enum syntax_type type)
{
    if (ps->s->count == SYNTAX_MAX) {
        ps->err = ERR_TOOBIG;
        return SYNTAX_MAX - 1;
    }
    int16_t i = ps->s->count++;
    *arg_at(ps, i) = (struct syntax_arg){.type = type, .first = -1, .next = -1, .key_spec = -1};
    return i;
}

static void append(struct parser *ps, struct seq *q, int16_t i)
{
    if (q->n == 0) {
        q->first = i;
    } else {
        arg_at(ps, q->last)->next = i;
    }
    q->last = i;
    q->n++;
}

/* ---- names and types ---- */

static void lower_name(char out[SYNTAX_NAME], const char *from, size_t len)
{
    size_t n = len < SYNTAX_NAME - 1 ? len : SYNTAX_NAME - 1;
    for (size_t i = 0; i < n; i++) {
        out[i] = (char)tolower((unsigned char)from[i]);
    }
    out[n] = '\0';
}

static bool listed(const char *const *list, const char *name)
{
    for (; *list != NULL; list++) {
        if (strcmp(*list, name) == 0) {
            return true;
        }
    }
    return false;
}

static enum syntax_type type_of(const char *name)
{
    static const char *const keys[] = {"key",  "newkey", "source",    "destination", "destkey",
                                       "key1", "key2",   "sourcekey", NULL};
    static const char *const integers[] = {
        "seconds", "milliseconds",   "count",      "offset",    "cursor",    "index",
        "start",   "stop",           "end",        "increment", "decrement", "numkeys",
        "db",      "destination-db", "client-id",  "timeout",   "ttl",       "port",
        "slot",    "bits",           "protover",   "version",   "len",       "rank",
        "maxlen",  "limit",          "min-len",    "threshold", "id",        "index1",
        "index2",  "numreplicas",    "start-slot", "end-slot",  "frequency", NULL};
    static const char *const doubles[] = {"score", "longitude", "latitude", "radius",
                                          "width", "height",    "weight",   NULL};
    if (listed(keys, name)) {
        return SYNTAX_KEY;
    }
    if (strcmp(name, "pattern") == 0) {
        return SYNTAX_PATTERN;
    }
    if (strncmp(name, "unix-time", 9) == 0) {
        return SYNTAX_UNIX_TIME;
    }
    if (listed(doubles, name)) {
        return SYNTAX_DOUBLE;
    }
    return listed(integers, name) ? SYNTAX_INTEGER : SYNTAX_STRING;
}

static bool is_token(const char *word, size_t len)
{
    bool upper = false;
    for (size_t i = 0; i < len; i++) {
        if (islower((unsigned char)word[i])) {
            return false;
        }
        upper = upper || isupper((unsigned char)word[i]);
    }
    return upper || (len != 0 && strchr("~=*#$", word[0]) != NULL);
}

/* Letters of TOKEN or TOKEN:name that are the token's; 0: it is none. */
static size_t token_length(const char *word, size_t len)
{
    const char *colon = len > 1 ? memchr(word + 1, ':', len - 1) : NULL;
    size_t n = colon == NULL ? len : (size_t)(colon - word);
    return is_token(word, n) ? n : 0;
}

/* name, name(type), name(type#key-spec) */
static int16_t new_value(struct parser *ps, const char *word, size_t len)
{
    int16_t i = new_arg(ps, SYNTAX_STRING);
    struct syntax_arg *a = arg_at(ps, i);
    const char *open = memchr(word, '(', len);
    lower_name(a->name, word, open == NULL ? len : (size_t)(open - word));
    a->type = type_of(a->name);
    if (open == NULL) {
        return i;
    }
    size_t n = strcspn(open + 1, "#)");
    int type = SYNTAX_STRING;
    while (type < SYNTAX_TOKEN &&
           (strlen(syntax_type_name((enum syntax_type)type)) != n ||
            strncmp(syntax_type_name((enum syntax_type)type), open + 1, n) != 0)) {
        type++;
    }
    if (type == SYNTAX_TOKEN || word[len - 1] != ')') {
        ps->err = ERR_SYNTAX;
        return i;
    }
    a->type = (enum syntax_type)type;
    if (open[1 + n] == '#') {
        a->key_spec = (int8_t)(open[2 + n] - '0');
    }
    return i;
}

/* A name for a group: those of its members, joined. */
static void join_names(struct parser *ps, int16_t group, const char *with)
{
    char name[SYNTAX_NAME] = "";
    size_t used = 0;
    for (int16_t i = arg_at(ps, group)->first; i >= 0; i = arg_at(ps, i)->next) {
        int n = snprintf(name + used, sizeof name - used, "%s%s", used == 0 ? "" : with,
                         arg_at(ps, i)->name);
        used += n > 0 ? (size_t)n : 0;
        if (used >= sizeof name - 1) {
            break;
        }
    }
    memcpy(arg_at(ps, group)->name, name, sizeof name);
}

/* ---- grammar ---- */

static void skip_blanks(struct parser *ps)
{
    ps->p += strspn(ps->p, " ");
}

static struct seq parse_seq(struct parser *ps, bool *dots);

static size_t word_length(const char *p)
{
    return strcspn(p, " []<>|");
}

/* One argument made of a sequence: itself if it is one, else a block. */
static int16_t as_one(struct parser *ps, struct seq q)
{
    if (q.n == 1) {
        return q.first;
    }
    int16_t block = new_arg(ps, SYNTAX_BLOCK);
    arg_at(ps, block)->first = q.first;
    join_names(ps, block, "_");
    return block;
}

/* name: at the beginning of a group. Returns false if there is none. */
static bool parse_label(struct parser *ps, char out[SYNTAX_NAME])
{
    skip_blanks(ps);
    size_t n = word_length(ps->p);
    if (n < 2 || ps->p[n - 1] != ':') {
        return false;
    }
    lower_name(out, ps->p, n - 1);
    ps->p += n;
    return true;
}

/* [name:] a | b | c, up to the closing bracket; a single alternative without a name is the sequence
 * itself, with one it is a block. */
static struct seq parse_alternatives(struct parser *ps, char close, bool *dots)
{
    char label[SYNTAX_NAME];
    bool has_label = parse_label(ps, label);
    struct seq q = parse_seq(ps, dots);
    skip_blanks(ps);
    if (*ps->p == '|') {
        struct seq all = {0};
        append(ps, &all, as_one(ps, q));
        while (*ps->p == '|' && ps->err == OK) {
            ps->p++;
            append(ps, &all, as_one(ps, parse_seq(ps, dots)));
            skip_blanks(ps);
        }
        int16_t oneof = new_arg(ps, SYNTAX_ONEOF);
        arg_at(ps, oneof)->first = all.first;
        join_names(ps, oneof, "_or_");
        q = (struct seq){oneof, oneof, 1};
    } else if (has_label) {
        int16_t block = new_arg(ps, SYNTAX_BLOCK);
        arg_at(ps, block)->first = q.first;
        q = (struct seq){block, block, 1};
    }
    if (has_label) {
        memcpy(arg_at(ps, q.first)->name, label, sizeof label);
    }
    if (*ps->p != close) {
        ps->err = ps->err == OK ? ERR_SYNTAX : ps->err;
    } else {
        ps->p++;
    }
    return q;
}

/* The last n arguments of q as one (a block if several); q then ends with it. */
static int16_t fold_last(struct parser *ps, struct seq *q, int n)
{
    if (n <= 1 || n > q->n) {
        return q->last;
    }
    int16_t before = -1;
    int16_t i = q->first;
    for (int k = 0; k < q->n - n; k++) {
        before = i;
        i = arg_at(ps, i)->next;
    }
    int16_t block = new_arg(ps, SYNTAX_BLOCK);
    arg_at(ps, block)->first = i;
    join_names(ps, block, "_");
    if (before < 0) {
        q->first = block;
    } else {
        arg_at(ps, before)->next = block;
    }
    q->last = block;
    q->n -= n - 1;
    return block;
}

static void parse_optional(struct parser *ps, struct seq *q)
{
    int16_t mark = ps->s->count;
    bool dots = false;
    struct seq in = parse_alternatives(ps, ']', &dots);
    if (ps->err != OK || in.n == 0) {
        ps->err = ps->err == OK && !dots ? ERR_SYNTAX : ps->err;
        return;
    }
    const struct syntax_arg *head = arg_at(ps, in.first);
    const struct syntax_arg *tail = q->n == 0 ? NULL : arg_at(ps, q->last);
    bool repeats = dots && tail != NULL && (in.n > 1 || strcmp(tail->name, head->name) == 0);
    if (repeats) { /* x [x ...]: what came before may come again */
        bool again = head->token[0] != '\0' && strcmp(head->token, tail->token) == 0;
        int n = in.n;
        ps->s->count = mark;
        int16_t i = fold_last(ps, q, n);
        arg_at(ps, i)->multiple = true;
        arg_at(ps, i)->multiple_token = again;
        return;
    }
    int16_t i = as_one(ps, in);
    arg_at(ps, i)->optional = true;
    arg_at(ps, i)->multiple = arg_at(ps, i)->multiple || dots;
    append(ps, q, i);
}

/* TOKEN value... : the values up to the next token or group belong to it, or the group behind it.
 */
static void parse_token(struct parser *ps, struct seq *q, size_t len, bool *dots)
{
    const char *word = ps->p;
    size_t token = token_length(word, len);
    ps->p += len;
    skip_blanks(ps);
    struct seq values = {0};
    if (*ps->p == '<') {
        ps->p++;
        append(ps, &values, as_one(ps, parse_alternatives(ps, '>', dots)));
    }
    while (ps->err == OK) {
        size_t n = word_length(ps->p);
        if (*ps->p == '[' && values.n != 0) {
            const char *inner = ps->p + 1 + strspn(ps->p + 1, " ");
            size_t inner_len = word_length(inner);
            if (token_length(inner, inner_len) != 0 ||
                (inner_len != 0 && inner[inner_len - 1] == ':')) {
                break; /* [TOKEN ...] or [name: ...]: not a value of this one */
            }
            ps->p++;
            parse_optional(ps, &values);
        } else if (n != 0 && token_length(ps->p, n) == 0 && strncmp(ps->p, "...", 3) != 0) {
            bool last = ps->p[n - 1] == ',';
            append(ps, &values, new_value(ps, ps->p, n - last));
            ps->p += n;
            if (last) {
                break;
            }
        } else {
            break;
        }
        skip_blanks(ps);
    }
    int16_t i = values.n == 0 ? new_arg(ps, SYNTAX_TOKEN) : as_one(ps, values);
    (void)snprintf(arg_at(ps, i)->token, SYNTAX_NAME, "%.*s", (int)(token < 60 ? token : 60), word);
    if (values.n == 0) { /* CH or CH:change */
        bool named = token < len;
        lower_name(arg_at(ps, i)->name, named ? word + token + 1 : word,
                   named ? len - token - 1 : len);
    }
    append(ps, q, i);
}

static struct seq parse_seq(struct parser *ps, bool *dots)
{
    struct seq q = {-1, -1, 0};
    if (++ps->depth > DEPTH_MAX) {
        ps->err = ERR_TOOBIG;
    }
    while (ps->err == OK) {
        skip_blanks(ps);
        size_t n = word_length(ps->p);
        if (*ps->p == '[') {
            ps->p++;
            parse_optional(ps, &q);
        } else if (*ps->p == '<') {
            ps->p++;
            append(ps, &q, as_one(ps, parse_alternatives(ps, '>', dots)));
        } else if (n == 0) {
            break; /* closing bracket, bar or end */
        } else if (n == 3 && strncmp(ps->p, "...", 3) == 0) {
            *dots = true;
            ps->p += 3;
        } else if (token_length(ps->p, n) != 0) {
            parse_token(ps, &q, n, dots);
        } else {
            append(ps, &q, new_value(ps, ps->p, n));
            ps->p += n;
        }
    }
    ps->depth--;
    return q;
}

enum err syntax_parse(const char *text, struct syntax *out)
{
    bool dots = false;
    out->count = 0;
    out->first = -1;
    if (text == NULL) {
        return OK;
    }
    struct parser ps = {.p = text, .s = out};
    struct seq q = parse_seq(&ps, &dots);
    if (ps.err == OK && *ps.p != '\0') {
        return ERR_SYNTAX; /* a bracket or bar too many */
    }
    out->first = q.first;
    return ps.err;
}

/* ---- reply ---- */

const char *syntax_type_name(enum syntax_type type)
{
    static const char *const names[] = {"string",    "integer",    "double", "key",  "pattern",
                                        "unix-time", "pure-token", "oneof",  "block"};
    return names[type];
}

static void reply_list(const struct syntax *s, int16_t first, int key_specs, int *key,
                       struct resp_out *out);

static void reply_arg(const struct syntax *s, const struct syntax_arg *a, int key_specs, int *key,
                      struct resp_out *out)
{
    size_t flags = (size_t)a->optional + a->multiple + a->multiple_token;
    bool is_key = key_specs > 0 && (a->type == SYNTAX_KEY || a->key_spec >= 0);
    size_t fields = 2u + is_key + (a->token[0] != '\0') + (flags != 0) + (a->first >= 0);
    resp_map(out, fields);
    resp_bulk_str(out, "name");
    resp_bulk_str(out, a->name);
    resp_bulk_str(out, "type");
    resp_bulk_str(out, syntax_type_name(a->type));
    if (is_key) {
        resp_bulk_str(out, "key_spec_index");
        int spec = a->key_spec >= 0 ? a->key_spec : *key;
        resp_int(out, spec < key_specs ? spec : key_specs - 1);
        *key = spec + 1;
    }
    if (a->token[0] != '\0') {
        resp_bulk_str(out, "token");
        resp_bulk_str(out, a->token);
    }
    if (flags != 0) {
        resp_bulk_str(out, "flags");
        resp_set(out, flags);
        if (a->optional) {
            resp_simple(out, "optional");
        }
        if (a->multiple) {
            resp_simple(out, "multiple");
        }
        if (a->multiple_token) {
            resp_simple(out, "multiple_token");
        }
    }
    if (a->first >= 0) {
        resp_bulk_str(out, "arguments");
        reply_list(s, a->first, key_specs, key, out);
    }
}

static void reply_list(const struct syntax *s, int16_t first, int key_specs, int *key,
                       struct resp_out *out)
{
    size_t n = 0;
    for (int16_t i = first; i >= 0; i = s->args[i].next) {
        n++;
    }
    resp_array(out, n);
    for (int16_t i = first; i >= 0; i = s->args[i].next) {
        reply_arg(s, &s->args[i], key_specs, key, out);
    }
}

void syntax_reply(const struct syntax *s, int key_specs, struct resp_out *out)
{
    int key = 0;
    reply_list(s, s->first, key_specs, &key, out);
}
