#include "backends/server/keyspec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/server/acl.h"

/* In the order in which COMMAND INFO lists them. */
static const char *const flag_names[KEYSPEC_FLAGS] = {
    "RO",     "RW",     "OW",      "RM",         "access",         "update",
    "insert", "delete", "not_key", "incomplete", "variable_flags", NULL};

const char *keyspec_flag_name(unsigned i)
{
    return i < KEYSPEC_FLAGS ? flag_names[i] : NULL;
}

struct words {
    const char *p;
    char word[32];
};

/* The next word up to a blank; false at the end of this spec. */
static bool next_word(struct words *w)
{
    w->p += strspn(w->p, " ");
    size_t n = strcspn(w->p, " ;");
    if (n == 0) {
        return false;
    }
    size_t keep = n < sizeof w->word - 1 ? n : sizeof w->word - 1;
    memcpy(w->word, w->p, keep);
    w->word[keep] = '\0';
    w->p += n;
    return true;
}

static int next_int(struct words *w, int missing)
{
    return next_word(w) ? (int)strtol(w->word, NULL, 10) : missing;
}

static void take_word(struct words *w, struct keyspec *s, bool *begun)
{
    for (unsigned i = 0; flag_names[i] != NULL; i++) {
        if (strcmp(w->word, flag_names[i]) == 0) {
            s->flags |= 1u << i;
            return;
        }
    }
    if (strcmp(w->word, "index") == 0) {
        s->begin_at = next_int(w, 1);
        *begun = true;
    } else if (strcmp(w->word, "keyword") == 0) {
        s->begin = KEYSPEC_KEYWORD;
        if (next_word(w)) {
            (void)snprintf(s->keyword, sizeof s->keyword, "%.20s", w->word);
        }
        s->begin_at = next_int(w, 1);
        *begun = true;
    } else if (strcmp(w->word, "range") == 0 || strcmp(w->word, "keynum") == 0) {
        s->find = w->word[0] == 'r' ? KEYSPEC_RANGE : KEYSPEC_KEYNUM;
        s->find_by[0] = next_int(w, 0);
        s->find_by[1] = next_int(w, 1);
        s->find_by[2] = next_int(w, 0);
    } else if (strcmp(w->word, "unknown") == 0) {
        if (!*begun) {
            s->begin = KEYSPEC_BEGIN_UNKNOWN;
            *begun = true;
        }
        s->find = KEYSPEC_FIND_UNKNOWN;
    }
}

int keyspec_parse(const struct cmd *cmd, struct keyspec out[KEYSPEC_MAX])
{
    int last = cmd->last_key < 0 ? cmd->last_key : cmd->last_key - cmd->first_key;
    struct keyspec plain = {.begin_at = cmd->first_key, .find_by = {last, cmd->key_step, 0}};
    if (cmd->key_specs == NULL) {
        if (cmd->first_key == 0) {
            return 0;
        }
        plain.flags = (cmd->flags & CMD_WRITE) != 0 ? 1u << 1 | 1u << 4 | 1u << 5 : 1u | 1u << 4;
        out[0] = plain;
        return 1;
    }
    struct words w = {.p = cmd->key_specs};
    int n = 0;
    while (n < KEYSPEC_MAX) {
        bool begun = false;
        out[n] = plain;
        while (next_word(&w)) {
            take_word(&w, &out[n], &begun);
        }
        n++;
        if (*w.p != ';') {
            break;
        }
        w.p++;
    }
    return n;
}

/* A key behind a word is ruled by the spec of that word; one that can be anywhere is known by STORE
 * before it. */
static const struct keyspec *spec_of(const struct keyspec *specs, int n, const struct span *argv,
                                     int arg)
{
    const struct keyspec *best = &specs[0];
    for (int i = 1; i < n; i++) {
        const struct keyspec *s = &specs[i];
        switch (s->begin) {
        case KEYSPEC_INDEX:
            best = s->begin_at <= arg ? s : best;
            break;
        case KEYSPEC_KEYWORD:
            if (span_is(argv[arg - 1], s->keyword)) {
                return s;
            }
            break;
        case KEYSPEC_BEGIN_UNKNOWN:
            if (keyspec_has(s, "OW") && span_is(argv[arg - 1], "store")) {
                return s;
            }
            break;
        }
    }
    return best;
}

static bool set_returns_old(const struct span *argv, int argc)
{
    for (int i = 3; i < argc; i++) {
        if (span_is(argv[i], "get")) {
            return true;
        }
    }
    return false;
}

/* What is not understood may write. */
static bool bitfield_writes(const struct span *argv, int argc)
{
    for (int i = 2; i < argc; i++) {
        if (span_is(argv[i], "get") && i + 2 < argc) {
            i += 2;
        } else if (span_is(argv[i], "overflow") && i + 1 < argc) {
            i++;
        } else {
            return true;
        }
    }
    return false;
}

static void set_flags(struct keyspec *s, const char *a, const char *b)
{
    s->flags = 0;
    for (unsigned i = 0; flag_names[i] != NULL; i++) {
        if (strcmp(flag_names[i], a) == 0 || strcmp(flag_names[i], b) == 0) {
            s->flags |= 1u << i;
        }
    }
}

struct keyspec keyspec_for(const struct cmd *cmd, const struct keyspec *specs, int n,
                           const struct span *argv, int argc, int arg)
{
    struct keyspec s = *spec_of(specs, n, argv, arg);
    if (!keyspec_has(&s, "variable_flags")) {
        return s;
    }
    if (strcmp(cmd->name, "set") == 0 && !set_returns_old(argv, argc)) {
        set_flags(&s, "OW", "update");
    } else if (strcmp(cmd->name, "bitfield") == 0 && !bitfield_writes(argv, argc)) {
        set_flags(&s, "RO", "access");
    }
    return s;
}

bool keyspec_has(const struct keyspec *spec, const char *flag)
{
    for (unsigned i = 0; flag_names[i] != NULL; i++) {
        if (strcmp(flag, flag_names[i]) == 0) {
            return (spec->flags & 1u << i) != 0;
        }
    }
    return false;
}

unsigned keyspec_access(const struct keyspec *spec)
{
    unsigned access = 0;
    if (keyspec_has(spec, "access")) {
        access |= ACL_KEY_READ;
    }
    if (keyspec_has(spec, "update") || keyspec_has(spec, "insert") || keyspec_has(spec, "delete")) {
        access |= ACL_KEY_WRITE;
    }
    return access;
}

static void reply_part(struct resp_out *out, const char *type, const char *const *names,
                       const int *values, unsigned n)
{
    resp_map(out, 2);
    resp_bulk_str(out, "type");
    resp_bulk_str(out, type);
    resp_bulk_str(out, "spec");
    resp_map(out, n);
    for (unsigned i = 0; i < n; i++) {
        resp_bulk_str(out, names[i]);
        resp_int(out, values[i]);
    }
}

static void reply_begin(const struct keyspec *s, struct resp_out *out)
{
    static const char *const index[] = {"index"};
    switch (s->begin) {
    case KEYSPEC_INDEX:
        reply_part(out, "index", index, &s->begin_at, 1);
        break;
    case KEYSPEC_KEYWORD:
        resp_map(out, 2);
        resp_bulk_str(out, "type");
        resp_bulk_str(out, "keyword");
        resp_bulk_str(out, "spec");
        resp_map(out, 2);
        resp_bulk_str(out, "keyword");
        resp_bulk_str(out, s->keyword);
        resp_bulk_str(out, "startfrom");
        resp_int(out, s->begin_at);
        break;
    case KEYSPEC_BEGIN_UNKNOWN:
        reply_part(out, "unknown", NULL, NULL, 0);
        break;
    }
}

void keyspec_reply(const struct keyspec *s, struct resp_out *out)
{
    static const char *const range[] = {"lastkey", "keystep", "limit"};
    static const char *const keynum[] = {"keynumidx", "firstkey", "keystep"};
    resp_map(out, 3);
    resp_bulk_str(out, "flags");
    resp_set(out, (size_t)__builtin_popcount(s->flags));
    for (unsigned i = 0; flag_names[i] != NULL; i++) {
        if ((s->flags & 1u << i) != 0) {
            resp_simple(out, flag_names[i]);
        }
    }
    resp_bulk_str(out, "begin_search");
    reply_begin(s, out);
    resp_bulk_str(out, "find_keys");
    switch (s->find) {
    case KEYSPEC_RANGE:
        reply_part(out, "range", range, s->find_by, 3);
        break;
    case KEYSPEC_KEYNUM:
        reply_part(out, "keynum", keynum, s->find_by, 3);
        break;
    case KEYSPEC_FIND_UNKNOWN:
        reply_part(out, "unknown", NULL, NULL, 0);
        break;
    }
}
