/* Values of options: from words and text, into the settings, and back to text. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/cfg_internal.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"
#include "common/words.h"

/* ---- words ---- */

static void list_push(struct cfg_strings *l, const char *p, size_t len)
{
    if ((l->n & (l->n - 1)) == 0) { /* full at powers of two */
        l->v = mem_realloc(l->v, (l->n == 0 ? 1 : l->n * 2) * sizeof *l->v);
    }
    char *copy = mem_alloc(len + 1);
    if (len != 0) {
        memcpy(copy, p, len);
    }
    copy[len] = '\0';
    l->v[l->n++] = copy;
}

void cfg_strings_free(struct cfg_strings *s)
{
    for (size_t i = 0; i < s->n; i++) {
        mem_free(s->v[i]);
    }
    mem_free(s->v);
    *s = (struct cfg_strings){0};
}

enum err cfg_split(struct span line, struct cfg_strings *words)
{
    struct cfg_strings list = {0};
    char *word = mem_alloc(line.len + 1);
    enum err e = OK;
    for (;;) {
        size_t n = 0;
        int r = word_next(&line, word, &n);
        if (r == 0) {
            break;
        }
        if (r < 0 || memchr(word, 0, n) != NULL) {
            e = ERR_SYNTAX;
            break;
        }
        list_push(&list, word, n);
    }
    mem_free(word);
    if (e != OK) {
        cfg_strings_free(&list);
        return e;
    }
    *words = list;
    return OK;
}

void cfg_quote(struct buf *out, struct span word)
{
    bool plain = word.len != 0;
    for (size_t i = 0; i < word.len; i++) {
        char c = word.p[i];
        plain = plain && isgraph((unsigned char)c) && c != '"' && c != '\'' && c != '\\' &&
                !(i == 0 && c == '#');
    }
    if (plain) {
        buf_add(out, word.p, word.len);
        return;
    }
    buf_add(out, "\"", 1);
    for (size_t i = 0; i < word.len; i++) {
        char c = word.p[i];
        if (c == '"' || c == '\\') {
            buf_addf(out, "\\%c", c);
        } else if (isprint((unsigned char)c)) {
            buf_add(out, &c, 1);
        } else {
            buf_addf(out, "\\x%02x", (unsigned char)c);
        }
    }
    buf_add(out, "\"", 1);
}

/* ---- parsing ---- */

static enum err parse_int(const struct cfg_option *o, const char *text, bool as_redis, int64_t *out,
                          struct errmsg *why)
{
    int64_t v = 0;
    if (!num_parse_i64(span_str(text), &v)) {
        return as_redis ? errmsg_set(why, ERR_CONFIG, "argument couldn't be parsed into an integer")
                        : errmsg_set(why, ERR_CONFIG, "%s is no whole number", text);
    }
    if ((o->min != 0 || o->max != 0) && (v < o->min || v > o->max)) {
        return as_redis
                   ? errmsg_set(why, ERR_RANGE,
                                "argument must be between %" PRId64 " and %" PRId64 " inclusive",
                                o->min, o->max)
                   : errmsg_set(why, ERR_RANGE, "%s is not between %" PRId64 " and %" PRId64, text,
                                o->min, o->max);
    }
    *out = v;
    return OK;
}

static enum err parse_memory(const struct cfg_option *o, const char *text, bool as_redis,
                             uint64_t *out, struct errmsg *why)
{
    uint64_t v = 0;
    if (!num_parse_memory(span_str(text), &v)) {
        return as_redis ? errmsg_set(why, ERR_CONFIG, "argument must be a memory value")
                        : errmsg_set(why, ERR_CONFIG, "%s is no amount of memory (100, 64kb, 1gb)",
                                     text);
    }
    bool no_top = o->max == 0 || o->max == INT64_MAX;
    if (v < (uint64_t)o->min || (!no_top && v > (uint64_t)o->max)) {
        uint64_t top = no_top ? UINT64_MAX : (uint64_t)o->max;
        return as_redis
                   ? errmsg_set(why, ERR_RANGE,
                                "argument must be between %" PRId64 " and %" PRIu64 " inclusive",
                                o->min, top)
                   : errmsg_set(why, ERR_RANGE, "%s is not between %" PRId64 " and %" PRIu64, text,
                                o->min, top);
    }
    *out = v;
    return OK;
}

static enum err parse_enum(const struct cfg_option *o, const char *text, bool as_redis, int *out,
                           struct errmsg *why)
{
    for (const struct cfg_enum *v = o->values; v->name != NULL; v++) {
        if (strcasecmp(v->name, text) == 0) {
            *out = v->value;
            return OK;
        }
    }
    struct buf names = {0};
    for (const struct cfg_enum *v = o->values; v->name != NULL; v++) {
        buf_addf(&names, "%s%s", v == o->values ? "" : ", ", v->name);
    }
    buf_add(&names, "", 1);
    if (as_redis) {
        errmsg_set(why, ERR_CONFIG, "argument(s) must be one of the following: %s", names.p);
    } else {
        errmsg_set(why, ERR_CONFIG, "%s is none of: %s", text, names.p);
    }
    buf_free(&names);
    return ERR_CONFIG;
}

static enum err parse_bool(const char *text, bool as_redis, bool *out, struct errmsg *why)
{
    bool yes = strcasecmp(text, "yes") == 0;
    if (!yes && strcasecmp(text, "no") != 0) {
        return as_redis ? errmsg_set(why, ERR_CONFIG, "argument must be 'yes' or 'no'")
                        : errmsg_set(why, ERR_CONFIG, "%s is neither yes nor no", text);
    }
    *out = yes;
    return OK;
}

/* min..max bounds a length or a number of words; max 0 is no bound */
static enum err check_count(const struct cfg_option *o, size_t n, const char *what,
                            struct errmsg *why)
{
    if (o->max != 0 && (n < (size_t)o->min || n > (size_t)o->max)) {
        return errmsg_set(why, ERR_RANGE, "%zu %s, but it must be %" PRId64 " to %" PRId64, n, what,
                          o->min, o->max);
    }
    return OK;
}

static enum err parse_scalar(const struct cfg_option *o, const char *text, bool as_redis,
                             union cfg_value *out, struct errmsg *why)
{
    enum err e = OK;
    switch (o->type) {
    case CFG_BOOL:
        e = parse_bool(text, as_redis, &out->b, why);
        break;
    case CFG_INT:
        e = parse_int(o, text, as_redis, &out->i, why);
        break;
    case CFG_MEMORY:
        e = parse_memory(o, text, as_redis, &out->m, why);
        break;
    case CFG_ENUM:
        e = parse_enum(o, text, as_redis, &out->e, why);
        break;
    case CFG_STRING:
        e = check_count(o, strlen(text), "bytes", why);
        break;
    case CFG_WORDS:
    case CFG_LINES:
        unreachable();
    }
    if (e == OK && o->check != NULL) {
        e = o->check(text, why);
    }
    if (e == OK && o->type == CFG_STRING) {
        out->s = mem_strdup(text);
    }
    return e;
}

static char *joined(const struct cfg_strings *words)
{
    struct buf b = {0};
    for (size_t i = 0; i < words->n; i++) {
        if (i != 0) {
            buf_add(&b, " ", 1);
        }
        cfg_quote(&b, span_str(words->v[i]));
    }
    buf_add(&b, "", 1);
    return b.p;
}

static enum err parse_list(const struct cfg_option *o, const struct cfg_strings *words,
                           union cfg_value *out, struct errmsg *why)
{
    struct cfg_strings list = {0};
    bool empty = words->n == 0 || (words->n == 1 && words->v[0][0] == '\0');
    if (empty) {
        out->l = list;
        return o->type == CFG_LINES ? OK : check_count(o, 0, "words", why);
    }
    enum err e = check_count(o, words->n, "words", why);
    char *text = joined(words);
    if (e == OK && o->check != NULL) {
        e = o->check(text, why);
    }
    if (e == OK && o->type == CFG_LINES) {
        list_push(&list, text, strlen(text));
    } else if (e == OK) {
        for (size_t i = 0; i < words->n; i++) {
            list_push(&list, words->v[i], strlen(words->v[i]));
        }
    }
    mem_free(text);
    if (e == OK) {
        out->l = list;
    }
    return e;
}

static bool is_list(const struct cfg_option *o)
{
    return o->type == CFG_WORDS || o->type == CFG_LINES;
}

enum err cfg_value_from_words(const struct cfg_option *o, const struct cfg_strings *words,
                              bool as_redis, union cfg_value *out, struct errmsg *why)
{
    if (is_list(o)) {
        return parse_list(o, words, out, why);
    }
    if (words->n != 1) {
        return errmsg_set(why, ERR_CONFIG, "needs one value, but has %zu", words->n);
    }
    return parse_scalar(o, words->v[0], as_redis, out, why);
}

/* Adds what one line of a CFG_LINES text says. */
static enum err add_line(const struct cfg_option *o, struct span line, struct cfg_strings *all,
                         struct errmsg *why)
{
    struct cfg_strings words = {0};
    if (cfg_split(line, &words) != OK) {
        return errmsg_set(why, ERR_SYNTAX, "unbalanced quotes");
    }
    union cfg_value one = {0};
    enum err e = parse_list(o, &words, &one, why);
    cfg_strings_free(&words);
    if (e == OK && one.l.n != 0) {
        list_push(all, one.l.v[0], strlen(one.l.v[0]));
    }
    if (e == OK) {
        cfg_strings_free(&one.l);
    }
    return e;
}

static enum err lines_from_text(const struct cfg_option *o, struct span text, union cfg_value *out,
                                struct errmsg *why)
{
    struct cfg_strings all = {0};
    enum err e = OK;
    while (e == OK && text.len != 0) {
        const char *nl = memchr(text.p, '\n', text.len);
        size_t n = nl != NULL ? (size_t)(nl - text.p) : text.len;
        e = add_line(o, span_of(text.p, n), &all, why);
        n += nl != NULL;
        text = span_of(text.p + n, text.len - n);
    }
    if (e != OK) {
        cfg_strings_free(&all);
        return e;
    }
    out->l = all;
    return OK;
}

enum err cfg_value_from_text(const struct cfg_option *o, struct span text, union cfg_value *out,
                             struct errmsg *why)
{
    if (text.len != 0 && memchr(text.p, 0, text.len) != NULL) {
        return errmsg_set(why, ERR_CONFIG, "argument must not hold a byte of zero");
    }
    if (o->type == CFG_LINES) {
        return lines_from_text(o, text, out, why);
    }
    struct cfg_strings words = {0};
    if (o->type != CFG_WORDS) {
        list_push(&words, text.p, text.len);
    } else if (cfg_split(text, &words) != OK) {
        return errmsg_set(why, ERR_SYNTAX, "unbalanced quotes");
    }
    enum err e = cfg_value_from_words(o, &words, true, out, why);
    cfg_strings_free(&words);
    return e;
}

void cfg_value_free(const struct cfg_option *o, union cfg_value *v)
{
    if (o->type == CFG_STRING) {
        mem_free(v->s);
        v->s = NULL;
    } else if (is_list(o)) {
        cfg_strings_free(&v->l);
    }
}

/* ---- in the settings ---- */

static size_t field_size(enum cfg_type type)
{
    switch (type) {
    case CFG_BOOL:
        return sizeof(bool);
    case CFG_INT:
        return sizeof(int64_t);
    case CFG_MEMORY:
        return sizeof(uint64_t);
    case CFG_STRING:
        return sizeof(char *);
    case CFG_ENUM:
        return sizeof(int);
    case CFG_WORDS:
    case CFG_LINES:
        return sizeof(struct cfg_strings);
    }
    unreachable();
}

void cfg_value_swap(const struct cfg_entry *x, char *settings, union cfg_value *v)
{
    union cfg_value old = {0};
    size_t n = field_size(x->o->type);
    memcpy(&old, settings + x->offset, n);
    memcpy(settings + x->offset, v, n);
    *v = old;
}

static union cfg_value get(const struct cfg_entry *x, const char *settings)
{
    union cfg_value v = {0};
    memcpy(&v, settings + x->offset, field_size(x->o->type));
    return v;
}

static void scalar_text(const struct cfg_option *o, const union cfg_value *v, struct buf *out)
{
    switch (o->type) {
    case CFG_BOOL:
        buf_add_str(out, v->b ? "yes" : "no");
        return;
    case CFG_INT:
        buf_addf(out, "%" PRId64, v->i);
        return;
    case CFG_MEMORY:
        buf_addf(out, "%" PRIu64, v->m);
        return;
    case CFG_STRING:
        buf_add_str(out, v->s);
        return;
    case CFG_ENUM:
        for (const struct cfg_enum *e = o->values; e->name != NULL; e++) {
            if (e->value == v->e) {
                buf_add_str(out, e->name);
                return;
            }
        }
        unreachable();
    case CFG_WORDS:
    case CFG_LINES:
        break;
    }
    unreachable();
}

void cfg_value_text(const struct cfg_entry *x, const char *settings, struct buf *out)
{
    union cfg_value v = get(x, settings);
    if (x->o->type == CFG_WORDS) {
        char *text = joined(&v.l);
        buf_add_str(out, text);
        mem_free(text);
    } else if (x->o->type == CFG_LINES) {
        for (size_t i = 0; i < v.l.n; i++) {
            buf_addf(out, "%s%s", i == 0 ? "" : "\n", v.l.v[i]);
        }
    } else {
        scalar_text(x->o, &v, out);
    }
}

void cfg_value_lines(const struct cfg_entry *x, const char *settings, struct buf *out)
{
    union cfg_value v = get(x, settings);
    if (x->o->type == CFG_LINES) {
        if (v.l.n == 0) {
            buf_addf(out, "%s \"\"\n", x->o->name);
        }
        for (size_t i = 0; i < v.l.n; i++) {
            buf_addf(out, "%s %s\n", x->o->name, v.l.v[i]);
        }
        return;
    }
    struct buf text = {0};
    cfg_value_text(x, settings, &text);
    buf_addf(out, "%s ", x->o->name);
    if (x->o->type == CFG_STRING || buf_used(&text) == 0) {
        cfg_quote(out, buf_span(&text));
    } else {
        buf_add(out, buf_head(&text), buf_used(&text));
    }
    buf_add(out, "\n", 1);
    buf_free(&text);
}

bool cfg_value_is_default(const struct cfg_entry *x, const char *settings)
{
    char *scratch = mem_zalloc(field_size(x->o->type));
    struct cfg_entry at_zero = {.o = x->o, .offset = 0};
    union cfg_value def = {0};
    must(cfg_value_from_text(x->o, span_str(x->o->def), &def, NULL) == OK);
    union cfg_value copy = def;
    cfg_value_swap(&at_zero, scratch, &copy);
    struct buf a = {0};
    struct buf b = {0};
    cfg_value_text(&at_zero, scratch, &a);
    cfg_value_text(x, settings, &b);
    bool same = span_eq(buf_span(&a), buf_span(&b));
    buf_free(&a);
    buf_free(&b);
    mem_free(scratch);
    cfg_value_free(x->o, &def);
    return same;
}
