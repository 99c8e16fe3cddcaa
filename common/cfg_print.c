/* The option table as text: --help and commented files. */
#include <inttypes.h>
#include <string.h>

#include "common/cfg_internal.h"

#define TEXT_COLUMNS 96u

/* Words of text, wrapped, each line behind prefix. */
static void wrapped(struct buf *out, const char *prefix, const char *text)
{
    size_t indent = strlen(prefix);
    size_t column = 0;
    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        if (column != 0 && indent + column + 1 + n > TEXT_COLUMNS) {
            buf_add(out, "\n", 1);
            column = 0;
        }
        buf_add_str(out, column == 0 ? prefix : " ");
        buf_add(out, text, n);
        column += n + 1;
        text += n;
        text += strspn(text, " ");
    }
    buf_add(out, "\n", 1);
}

static void memory_text(struct buf *out, int64_t v)
{
    static const char *const units[] = {"", "kb", "mb", "gb"};
    int unit = 0;
    while (v != 0 && v % 1024 == 0 && unit < 3) {
        v /= 1024;
        unit++;
    }
    buf_addf(out, "%" PRId64 "%s", v, units[unit]);
}

static void limits(struct buf *out, const struct cfg_option *o)
{
    switch (o->type) {
    case CFG_BOOL:
        buf_add_str(out, "yes or no");
        return;
    case CFG_INT:
        if (o->max == INT64_MAX) {
            buf_addf(out, "%" PRId64 " or more", o->min);
        } else if (o->min != 0 || o->max != 0) {
            buf_addf(out, "%" PRId64 " to %" PRId64, o->min, o->max);
        } else {
            buf_add_str(out, "a number");
        }
        return;
    case CFG_MEMORY:
        memory_text(out, o->min);
        if (o->max != 0 && o->max != INT64_MAX) {
            buf_add_str(out, " to ");
            memory_text(out, o->max);
        } else {
            buf_add_str(out, " or more bytes");
        }
        return;
    case CFG_ENUM:
        for (const struct cfg_enum *v = o->values; v->name != NULL; v++) {
            buf_addf(out, "%s%s", v == o->values ? "" : ", ", v->name);
        }
        return;
    case CFG_STRING:
        buf_add_str(out, "text");
        return;
    case CFG_WORDS:
        buf_add_str(out, "words");
        return;
    case CFG_LINES:
        buf_add_str(out, "may be given several times");
        return;
    }
}

/* The first entry of each section opens it; all entries of the section follow. */
static bool opens_section(const struct cfg *c, size_t i)
{
    if ((c->entries[i].o->flags & CFG_HIDDEN) != 0) {
        return false;
    }
    for (size_t k = 0; k < i; k++) {
        if ((c->entries[k].o->flags & CFG_HIDDEN) == 0 &&
            strcmp(c->entries[k].o->section, c->entries[i].o->section) == 0) {
            return false;
        }
    }
    return true;
}

typedef void (*entry_fn)(const struct cfg *c, const struct cfg_entry *x, struct buf *out);

static void each_section(const struct cfg *c, struct buf *out, const char *mark, entry_fn fn)
{
    for (size_t i = 0; i < c->n; i++) {
        if (!opens_section(c, i)) {
            continue;
        }
        buf_addf(out, "%s%s%s\n", i == 0 ? "" : "\n", mark, c->entries[i].o->section);
        for (size_t k = i; k < c->n; k++) {
            const struct cfg_option *o = c->entries[k].o;
            if ((o->flags & CFG_HIDDEN) == 0 && strcmp(o->section, c->entries[i].o->section) == 0) {
                fn(c, &c->entries[k], out);
            }
        }
    }
}

static void default_lines(const struct cfg_option *o, const char *before, struct buf *out)
{
    const char *text = o->def;
    do {
        size_t n = strcspn(text, "\n");
        bool quote = n == 0 || (o->type == CFG_STRING && memchr(text, ' ', n) != NULL);
        buf_addf(out, "%s%s ", before, o->name);
        if (quote) {
            cfg_quote(out, span_of(text, n));
        } else {
            buf_add(out, text, n);
        }
        buf_add(out, "\n", 1);
        text += n;
        text += *text == '\n';
    } while (*text != '\0');
}

static void help_entry(const struct cfg *c, const struct cfg_entry *x, struct buf *out)
{
    (void)c;
    struct buf range = {0};
    limits(&range, x->o);
    default_lines(x->o, "  --", out);
    wrapped(out, "        ", x->o->help);
    buf_addf(out, "        [%.*s%s]\n", (int)buf_used(&range), buf_head(&range),
             (x->o->flags & CFG_RUNTIME) != 0 ? "; CONFIG SET" : "");
    buf_free(&range);
}

static void file_entry(const struct cfg *c, const struct cfg_entry *x, struct buf *out)
{
    struct buf range = {0};
    limits(&range, x->o);
    buf_add(out, "\n", 1);
    wrapped(out, "# ", x->o->help);
    buf_addf(out, "# [%.*s%s]\n", (int)buf_used(&range), buf_head(&range),
             (x->o->flags & CFG_RUNTIME) != 0 ? "; can be changed while running" : "");
    buf_free(&range);
    if (cfg_value_is_default(x, c->settings)) {
        default_lines(x->o, "# ", out);
    } else if ((x->o->flags & CFG_SECRET) != 0) {
        buf_addf(out, "# %s (not shown)\n", x->o->name);
    } else {
        cfg_value_lines(x, c->settings, out);
    }
}

void cfg_print_help(const struct cfg *c, struct buf *out)
{
    each_section(c, out, "", help_entry);
}

void cfg_print_file(struct cfg *c, struct buf *out)
{
    pthread_mutex_lock(&c->lock);
    each_section(c, out, "## ", file_entry);
    pthread_mutex_unlock(&c->lock);
}
