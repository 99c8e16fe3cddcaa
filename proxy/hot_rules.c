/* hot-pin, hot-deny, hot-prefix. */
#include "proxy/hot_rules.h"

#include <stdlib.h>
#include <string.h>

#include "common/glob.h"
#include "common/mem.h"
#include "common/must.h"

struct hot_prefix {
    char *text;
    size_t len;
    enum hot_mode mode;
};

static const char *const mode_names[] = {
    [HOT_CACHE] = "cache", [HOT_OBSERVE] = "observe", [HOT_OFF] = "off"};

static bool mode_of(const char *name, enum hot_mode *mode)
{
    for (int m = HOT_CACHE; m <= HOT_OFF; m++) {
        if (strcasecmp(name, mode_names[m]) == 0) {
            *mode = (enum hot_mode)m;
            return true;
        }
    }
    return false;
}

enum err hot_rules_check(const char *line, struct errmsg *why)
{
    struct cfg_strings w = {0};
    if (cfg_split(span_str(line), &w) != OK) {
        return errmsg_set(why, ERR_SYNTAX, "unbalanced quotes");
    }
    enum err e = OK;
    enum hot_mode mode;
    if (w.n != 2) {
        e = errmsg_set(why, ERR_CONFIG, "needs a prefix and one of cache, observe, off");
    } else if (!mode_of(w.v[1], &mode)) {
        e = errmsg_set(why, ERR_CONFIG, "'%s' is none of cache, observe, off", w.v[1]);
    }
    cfg_strings_free(&w);
    return e;
}

static int longest_first(const void *a, const void *b)
{
    const struct hot_prefix *x = a;
    const struct hot_prefix *y = b;
    return x->len > y->len ? -1 : x->len < y->len;
}

static void drop_prefixes(struct hot_rules *r)
{
    for (size_t i = 0; i < r->prefix_count; i++) {
        mem_free(r->prefixes[i].text);
    }
    mem_free(r->prefixes);
    r->prefixes = NULL;
    r->prefix_count = 0;
}

void hot_rules_set(struct hot_rules *r, const struct cfg_strings *pin,
                   const struct cfg_strings *deny, const struct cfg_strings *prefix)
{
    drop_prefixes(r);
    r->pin = *pin;
    r->deny = *deny;
    if (prefix->n == 0) {
        return;
    }
    r->prefixes = mem_zalloc(prefix->n * sizeof *r->prefixes);
    for (size_t i = 0; i < prefix->n; i++) {
        struct cfg_strings w = {0};
        struct hot_prefix *p = &r->prefixes[r->prefix_count];
        enum err e = cfg_split(span_str(prefix->v[i]), &w);
        must(e == OK && w.n == 2 && mode_of(w.v[1], &p->mode)); /* hot_rules_check let it pass */
        p->text = mem_strdup(w.v[0]);
        p->len = strlen(p->text);
        r->prefix_count++;
        cfg_strings_free(&w);
    }
    qsort(r->prefixes, r->prefix_count, sizeof *r->prefixes, longest_first);
}

void hot_rules_free(struct hot_rules *r)
{
    drop_prefixes(r);
    *r = (struct hot_rules){0};
}

enum hot_mode hot_rules_mode(const struct hot_rules *r, struct span key)
{
    for (size_t i = 0; i < r->prefix_count; i++) {
        const struct hot_prefix *p = &r->prefixes[i];
        if (key.len >= p->len && memcmp(key.p, p->text, p->len) == 0) {
            return p->mode;
        }
    }
    return HOT_CACHE;
}

static bool any_matches(const struct cfg_strings *patterns, struct span key)
{
    for (size_t i = 0; i < patterns->n; i++) {
        if (glob_match(span_str(patterns->v[i]), key, false)) {
            return true;
        }
    }
    return false;
}

bool hot_rules_pinned(const struct hot_rules *r, struct span key)
{
    return any_matches(&r->pin, key);
}

bool hot_rules_denied(const struct hot_rules *r, struct span key)
{
    return hot_rules_mode(r, key) != HOT_CACHE || any_matches(&r->deny, key);
}
