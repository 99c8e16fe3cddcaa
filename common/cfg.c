/* Configuration: the table of options, the one true copy of the settings, CONFIG GET and SET. */
#include "common/cfg.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cfg_internal.h"
#include "common/glob.h"
#include "common/mem.h"
#include "common/must.h"

static int by_name(const void *a, const void *b)
{
    const struct cfg_entry *const *x = a;
    const struct cfg_entry *const *y = b;
    return strcmp((*x)->o->name, (*y)->o->name);
}

static void set_default(struct cfg *c, const struct cfg_entry *x)
{
    union cfg_value v = {0};
    struct errmsg why = {""};
    if (cfg_value_from_text(x->o, span_str(x->o->def), &v, &why) != OK) {
        fprintf(stderr, "option %s: default \"%s\": %s\n", x->o->name, x->o->def, why.text);
        must_fail(__FILE__, __LINE__, "a default parses");
    }
    cfg_value_swap(x, c->settings, &v); /* what was there is all zero bytes */
}

struct cfg *cfg_new(const struct cfg_table *tables, size_t count, size_t settings_size)
{
    struct cfg *c = mem_zalloc(sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    c->settings = mem_zalloc(settings_size);
    c->settings_size = settings_size;
    c->path = mem_strdup("");
    for (size_t t = 0; t < count; t++) {
        c->n += tables[t].count;
    }
    c->entries = mem_zalloc(c->n * sizeof *c->entries);
    c->by_name = mem_zalloc(c->n * sizeof(void *));
    size_t i = 0;
    for (size_t t = 0; t < count; t++) {
        for (size_t k = 0; k < tables[t].count; k++, i++) {
            const struct cfg_option *o = &tables[t].options[k];
            c->entries[i] = (struct cfg_entry){.o = o, .offset = tables[t].base + o->offset};
            c->by_name[i] = &c->entries[i];
            must(c->entries[i].offset < settings_size);
            set_default(c, &c->entries[i]);
        }
    }
    qsort(c->by_name, c->n, sizeof(void *), by_name);
    for (i = 1; i < c->n; i++) {
        must(strcmp(c->by_name[i - 1]->o->name, c->by_name[i]->o->name) != 0);
    }
    return c;
}

void cfg_free(struct cfg *c)
{
    if (c == NULL) {
        return;
    }
    cfg_snapshot_free(c, c->settings);
    mem_free(c->settings);
    mem_free(c->entries);
    mem_free(c->by_name);
    mem_free(c->path);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

struct cfg_entry *cfg_entry_find(const struct cfg *c, struct span name)
{
    size_t low = 0;
    size_t high = c->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const char *have = c->by_name[mid]->o->name;
        size_t have_len = strlen(have);
        size_t n = have_len < name.len ? have_len : name.len;
        int d = n != 0 ? strncasecmp(name.p, have, n) : 0;
        d = d != 0 ? d : (name.len > have_len) - (name.len < have_len);
        if (d == 0) {
            return c->by_name[mid];
        }
        if (d < 0) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

const struct cfg_option *cfg_find(const struct cfg *c, struct span name)
{
    const struct cfg_entry *x = cfg_entry_find(c, name);
    return x != NULL ? x->o : NULL;
}

size_t cfg_count(const struct cfg *c)
{
    return c->n;
}

const struct cfg_option *cfg_at(const struct cfg *c, size_t i)
{
    must(i < c->n);
    return c->entries[i].o;
}

const char *cfg_path(const struct cfg *c)
{
    return c->path;
}

void cfg_set_hook(struct cfg *c, void (*changed)(void *arg), void *arg)
{
    c->hook = changed;
    c->hook_arg = arg;
}

/* ---- the settings ---- */

const void *cfg_settings(struct cfg *c)
{
    return c->settings;
}

static struct cfg_strings list_copy(const struct cfg_strings *from)
{
    struct cfg_strings to = {.v = mem_alloc((from->n == 0 ? 1 : from->n) * sizeof(char *)),
                             .n = from->n};
    for (size_t i = 0; i < from->n; i++) {
        to.v[i] = mem_strdup(from->v[i]);
    }
    return to;
}

void cfg_snapshot_free(struct cfg *c, void *settings)
{
    for (size_t i = 0; i < c->n; i++) {
        union cfg_value v = {0};
        cfg_value_swap(&c->entries[i], settings, &v);
        cfg_value_free(c->entries[i].o, &v);
    }
}

void cfg_snapshot(struct cfg *c, void *settings)
{
    cfg_snapshot_free(c, settings);
    pthread_mutex_lock(&c->lock);
    memcpy(settings, c->settings, c->settings_size);
    for (size_t i = 0; i < c->n; i++) {
        const struct cfg_entry *x = &c->entries[i];
        union cfg_value v = {0};
        if (x->o->type == CFG_STRING) {
            memcpy(&v.s, c->settings + x->offset, sizeof v.s);
            v.s = mem_strdup(v.s);
        } else if (x->o->type == CFG_WORDS || x->o->type == CFG_LINES) {
            struct cfg_strings have;
            memcpy(&have, c->settings + x->offset, sizeof have);
            v.l = list_copy(&have);
        } else {
            continue;
        }
        cfg_value_swap(x, settings, &v); /* out comes the borrowed pointer */
    }
    pthread_mutex_unlock(&c->lock);
}

enum err cfg_assign(struct cfg *c, struct cfg_entry *x, const struct cfg_strings *words,
                    struct errmsg *why)
{
    union cfg_value v = {0};
    enum err e = cfg_value_from_words(x->o, words, false, &v, why);
    if (e != OK) {
        return e;
    }
    if (x->o->type == CFG_LINES && x->loaded && v.l.n != 0) {
        /* a further line: put it behind those that are there */
        struct cfg_strings have;
        memcpy(&have, c->settings + x->offset, sizeof have);
        have.v = mem_realloc(have.v, (have.n + 1) * sizeof *have.v);
        have.v[have.n++] = v.l.v[0];
        mem_free(v.l.v);
        memcpy(c->settings + x->offset, &have, sizeof have);
    } else {
        cfg_value_swap(x, c->settings, &v);
        cfg_value_free(x->o, &v);
    }
    x->loaded = true;
    return OK;
}

/* ---- CONFIG GET ---- */

void cfg_value(struct cfg *c, const struct cfg_option *o, struct buf *out)
{
    const struct cfg_entry *x = cfg_entry_find(c, span_str(o->name));
    must(x != NULL);
    pthread_mutex_lock(&c->lock);
    cfg_value_text(x, c->settings, out);
    pthread_mutex_unlock(&c->lock);
}

void cfg_get(struct cfg *c, const struct span *patterns, size_t n, cfg_get_fn fn, void *arg)
{
    struct buf text = {0};
    for (size_t i = 0; i < c->n; i++) {
        struct span name = span_str(c->entries[i].o->name);
        bool told = (c->entries[i].o->flags & CFG_UNTOLD) == 0;
        bool hit = false;
        for (size_t k = 0; k < n && told && !hit; k++) {
            hit = glob_match(patterns[k], name, true);
        }
        if (hit) {
            buf_consume(&text, buf_used(&text));
            cfg_value(c, c->entries[i].o, &text);
            fn(arg, name, buf_span(&text));
        }
    }
    buf_free(&text);
}

/* ---- CONFIG SET ---- */

struct change {
    struct cfg_entry *x;
    union cfg_value v; /* the new value; after the swap, the old one */
};

static enum err related(struct errmsg *why, struct span name, enum err e, const char *text)
{
    return errmsg_set(why, e, "CONFIG SET failed (possibly related to argument '%.*s') - %s",
                      (int)name.len, name.p, text);
}

static enum err find_all(const struct cfg *c, const struct span *pairs, size_t n,
                         struct change *changes, struct errmsg *why)
{
    for (size_t i = 0; i < n; i++) {
        struct span name = pairs[2 * i];
        changes[i].x = cfg_entry_find(c, name);
        if (changes[i].x == NULL) {
            return errmsg_set(why, ERR_NOTFOUND,
                              "Unknown option or number of arguments for CONFIG SET - '%.*s'",
                              (int)name.len, name.p);
        }
        if ((changes[i].x->o->flags & CFG_RUNTIME) == 0) {
            return related(why, name, ERR_DENIED, "can't set immutable config");
        }
        for (size_t k = 0; k < i; k++) {
            if (changes[k].x == changes[i].x) {
                return related(why, name, ERR_EXISTS, "duplicate parameter");
            }
        }
    }
    return OK;
}

/* All values are in place: ask the options' hooks. On refusal *bad is the change that was refused.
 */
static enum err apply_all(struct cfg *c, const struct change *changes, size_t n, size_t *bad,
                          struct errmsg *why)
{
    for (size_t i = 0; i < n; i++) {
        const struct cfg_option *o = changes[i].x->o;
        enum err e = o->apply != NULL ? o->apply(c->hook_arg, c->settings, why) : OK;
        if (e != OK) {
            *bad = i;
            return e;
        }
    }
    return OK;
}

static void swap_all(struct cfg *c, struct change *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cfg_value_swap(changes[i].x, c->settings, &changes[i].v);
    }
}

enum err cfg_set(struct cfg *c, const struct span *pairs, size_t n_pairs, struct errmsg *why)
{
    struct change *changes = mem_zalloc(n_pairs * sizeof *changes);
    struct errmsg inner = {""};
    size_t parsed = 0;
    enum err e = find_all(c, pairs, n_pairs, changes, why);
    while (e == OK && parsed < n_pairs) {
        e = cfg_value_from_text(changes[parsed].x->o, pairs[2 * parsed + 1], &changes[parsed].v,
                                &inner);
        if (e != OK) {
            related(why, pairs[2 * parsed], e, inner.text);
            break;
        }
        parsed++;
    }
    if (e == OK) {
        size_t bad = 0;
        pthread_mutex_lock(&c->lock);
        swap_all(c, changes, n_pairs);
        e = apply_all(c, changes, n_pairs, &bad, &inner);
        if (e != OK) {
            swap_all(c, changes, n_pairs);
            apply_all(c, changes, bad, &bad,
                      NULL); /* what was told of the new values hears the old ones again */
            related(why, pairs[2 * bad], e, inner.text);
        }
        for (size_t i = 0; i < n_pairs; i++) {
            changes[i].x->changed = changes[i].x->changed || e == OK;
        }
        pthread_mutex_unlock(&c->lock);
    }
    for (size_t i = 0; i < parsed; i++) {
        cfg_value_free(changes[i].x->o, &changes[i].v);
    }
    mem_free(changes);
    if (e == OK && c->hook != NULL) {
        c->hook(c->hook_arg);
    }
    return e;
}
