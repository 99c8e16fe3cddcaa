/* The house rules, as tables and one walk over the lines of a file. C files are walked twice: as
 * they stand, and with comments and the insides of literals blanked, so that a banned name may be
 * talked about. The words the rules look for are written in two halves here, as this file is
 * checked too. */
#include "tests/tidy/rules.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COLUMNS_MAX = 120, /* of a C line; clang-format breaks code at 100, comments may be longer */
    NAME_MAX_CHARS = 128
};

struct check {
    const char *path;
    bool is_c;
    size_t line;
    tidy_report_fn report;
    void *arg;
};

__attribute__((format(printf, 2, 3))) static void complain(const struct check *c, const char *fmt,
                                                           ...)
{
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    c->report(c->arg, c->path, c->line, what);
}

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool ends(const char *s, const char *suffix)
{
    size_t n = strlen(s);
    size_t m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* One of the names of a list separated by spaces; one that ends in '/' covers all below it. */
static bool covered(const char *list, const char *path)
{
    while (*list != '\0') {
        size_t n = strcspn(list, " ");
        bool folder = list[n - 1] == '/';
        if (strncmp(list, path, n) == 0 && (folder || path[n] == '\0')) {
            return true;
        }
        list += n;
        list += strspn(list, " ");
    }
    return false;
}

static bool is_word(char ch)
{
    return isalnum((unsigned char)ch) || ch == '_';
}

/* ---- calls that have a better one, and the only files that may use them ---- */

static const struct {
    const char *names;
    const char *allowed;
    const char *instead;
} banned[] = {
    {"strcpy strcat sprintf vsprintf gets", "", "bounded calls: snprintf, memcpy, common/buf.h"},
    {"atoi atol atoll", "", "num_parse_* of common/num.h: they see errors"},
    {"rand srand random srandom", "", "a seeded generator of one's own"},
    {"time gettimeofday clock_gettime", "common/clock.c tests/fault/drift.c", "common/clock.h"},
    {"event_base_gettimeofday_cached", "", "common/clock.h: the loop's cached time is stale"},
    {"usleep", "", "a timer of the loop, or nanosleep in a test"},
};

static void check_calls(const struct check *c, const char *code)
{
    for (const char *p = code; *p != '\0';) {
        if (!is_word(*p)) {
            p++;
            continue;
        }
        size_t n = 0;
        while (is_word(p[n])) {
            n++;
        }
        const char *after = p + n + strspn(p + n, " ");
        bool member = p > code && (p[-1] == '.' || (p[-1] == '>' && p - code > 1 && p[-2] == '-'));
        char name[NAME_MAX_CHARS];
        if (*after == '(' && !member && n < sizeof name) {
            memcpy(name, p, n);
            name[n] = '\0';
            for (size_t i = 0; i < sizeof banned / sizeof *banned; i++) {
                if (covered(banned[i].names, name) && !covered(banned[i].allowed, c->path)) {
                    complain(c, "%s() is banned: use %s", name, banned[i].instead);
                }
            }
        }
        p += n;
    }
}

/* ---- includes: the edges of docs/architecture.md ---- */

#define KEYSPACE "backends/store/ backends/types/ backends/cmd/ "

static const struct {
    const char *folder;
    const char *may;
} edges[] = {
    {"common/", "common/"},
    {"coherence/", "coherence/ common/err.h common/must.h common/span.h"},
    {"rdma/", "common/ coherence/ rdma/"},
    {"backends/store/", "common/ " KEYSPACE},
    {"backends/types/", "common/ " KEYSPACE},
    {"backends/cmd/", "common/ " KEYSPACE},
    {"backends/server/", "common/ backends/server/ " KEYSPACE},
    {"backends/member/", "common/ coherence/ backends/server/ backends/member/ " KEYSPACE},
    {"backends/node/",
     "common/ coherence/ rdma/ backends/server/ backends/member/ backends/node/ " KEYSPACE},
    {"backends/shard/", "common/ backends/shard/"},
    {"proxy/",
     "common/ coherence/ rdma/ backends/server/ backends/member/ backends/shard/ proxy/ " KEYSPACE},
    {"tests/", "common/ coherence/ rdma/ backends/ proxy/ tests/"},
};

/* Headers of outside libraries, and the only files that may see them. */
static const struct {
    const char *header;
    const char *allowed;
} outside[] = {
    {"event2/", "common/loop.c backends/server/http.c backends/member/etcd_kv.c "
                "tests/bench/null_server.c"},             /* HTTP; a floor to measure against */
    {"hiredis/", "backends/shard/ tests/fault/record.c"}, /* an ordinary client */
    {"infiniband/", "rdma/"},
    {"rdma/", "rdma/"},
};

static void check_include(const struct check *c, const char *line)
{
    line += strspn(line, " ");
    if (*line != '#') {
        return;
    }
    line += 1 + strspn(line + 1, " ");
    if (!starts(line, "include")) {
        return;
    }
    line += strlen("include");
    line += strspn(line, " ");
    bool own = *line == '"';
    if (!own && *line != '<') {
        return;
    }
    char name[NAME_MAX_CHARS];
    size_t n = strcspn(line + 1, own ? "\"" : ">");
    if (n >= sizeof name) {
        complain(c, "the name of the header is too long");
        return;
    }
    memcpy(name, line + 1, n);
    name[n] = '\0';
    if (!own) {
        for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
            if (starts(name, outside[i].header) && !covered(outside[i].allowed, c->path)) {
                complain(c, "<%s> is for %s only", name, outside[i].allowed);
            }
        }
        return;
    }
    if (strchr(name, '/') == NULL) {
        complain(c, "\"%s\": headers are named by their path from the root", name);
        return;
    }
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        if (starts(c->path, edges[i].folder)) {
            if (!covered(edges[i].may, name)) {
                complain(c, "%s must not include \"%s\" (docs/architecture.md)", edges[i].folder,
                         name);
            }
            return;
        }
    }
    complain(c, "no row of docs/architecture.md says what this folder may include");
}

/* ---- lines of any text ---- */

static bool has_word(const char *line, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = strstr(line, word); p != NULL; p = strstr(p + 1, word)) {
        if ((p == line || !is_word(p[-1])) && !is_word(p[n])) {
            return true;
        }
    }
    return false;
}

/* The mark of an exception, then perhaps more letters and a list in brackets, then a colon and a
 * reason. */
static void check_nolint(const struct check *c, const char *line)
{
    const char *p = strstr(line, TIDY_LINT_OFF);
    if (p == NULL) {
        return;
    }
    p += strlen(TIDY_LINT_OFF);
    if (starts(p, "END")) {
        return;
    }
    while (is_word(*p)) {
        p++;
    }
    if (*p != '(') {
        complain(c, TIDY_LINT_OFF " names no check");
        return;
    }
    p += strcspn(p, ")");
    p += *p == ')';
    const char *reason = p + 1;
    if (*p == ':') {
        reason += strspn(reason, " ");
    }
    if (*p != ':' || !isalnum((unsigned char)*reason)) {
        complain(c, TIDY_LINT_OFF " without a reason after a colon");
    }
}

static void check_line(const struct check *c, const char *line, size_t len)
{
    if (memchr(line, '\t', len) != NULL) {
        complain(c, "tab");
    }
    if (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t' || line[len - 1] == '\r')) {
        complain(c, "trailing blank");
    }
    if (has_word(line, TIDY_TODO) || has_word(line, TIDY_FIXME) || has_word(line, TIDY_XXX)) {
        complain(c, "a mark of unfinished work");
    }
    if (strstr(line, TIDY_MACHINE) != NULL) {
        complain(c, "the absolute path of some machine");
    }
    if (!c->is_c) {
        return;
    }
    size_t columns = 0;
    for (size_t i = 0; i < len; i++) {
        columns += ((unsigned char)line[i] & 0xc0) != 0x80; /* UTF-8: not its later bytes */
    }
    if (columns > COLUMNS_MAX) {
        complain(c, "%zu columns, at most %d", columns, COLUMNS_MAX);
    }
    check_nolint(c, line);
}

/* ---- whole C files ---- */

/* Blanks comments and the insides of literals; lines and columns stay. */
static void blank(char *text)
{
    enum { CODE, BLOCK, LINE, STRING, CHAR } state = CODE;
    for (char *p = text; *p != '\0'; p++) {
        if (*p == '\n') {
            state = state == BLOCK ? BLOCK : CODE;
        } else if (state == CODE) {
            if (*p == '/' && (p[1] == '*' || p[1] == '/')) {
                state = p[1] == '*' ? BLOCK : LINE;
                p[0] = p[1] = ' ';
                p++;
            } else if (*p == '"' || *p == '\'') {
                state = *p == '"' ? STRING : CHAR;
            }
        } else if (state == BLOCK && *p == '*' && p[1] == '/') {
            p[0] = p[1] = ' ';
            p++;
            state = CODE;
        } else if ((state == STRING && *p == '"') || (state == CHAR && *p == '\'')) {
            state = CODE;
        } else {
            if ((state == STRING || state == CHAR) && *p == '\\' && p[1] != '\0' && p[1] != '\n') {
                *p++ = ' ';
            }
            *p = ' ';
        }
    }
}

/* The guard of a/b_c.h is A_B_C_H, and the file is inside it. */
static void check_guard(struct check *c, const char *code)
{
    char want[NAME_MAX_CHARS];
    char expect[3 * NAME_MAX_CHARS];
    size_t n = 0;
    for (; c->path[n] != '\0' && n + 1 < sizeof want; n++) {
        want[n] = is_word(c->path[n]) ? (char)toupper((unsigned char)c->path[n]) : '_';
    }
    want[n] = '\0';
    (void)snprintf(expect, sizeof expect, "#ifndef %s\n#define %s\n", want, want);
    c->line = 1;
    if (!starts(code + strspn(code, " \n"), expect)) {
        complain(c, "the header does not start with the guard %s", want);
    }
    size_t len = strlen(code);
    while (len > 0 && isspace((unsigned char)code[len - 1])) {
        len--;
    }
    const char *end = "#endif";
    if (len < strlen(end) || memcmp(code + len - strlen(end), end, strlen(end)) != 0) {
        complain(c, "the header does not end with its guard");
    }
}

static void each_line(struct check *c, char *text, bool blanked)
{
    c->line = 1;
    for (char *p = text; *p != '\0'; c->line++) {
        size_t n = strcspn(p, "\n");
        bool last = p[n] == '\0';
        p[n] = '\0';
        if (blanked) {
            check_calls(c, p);
        } else {
            check_line(c, p, n);
        }
        if (last) {
            if (!blanked) {
                complain(c, "no newline at the end of the file");
            }
            return;
        }
        p[n] = '\n';
        p += n + 1;
    }
}

/* Includes: the directive must be code, but the name is read from the text as it stands. */
static void each_include(struct check *c, const char *text, const char *code)
{
    c->line = 1;
    for (size_t at = 0; text[at] != '\0'; c->line++) {
        size_t n = strcspn(text + at, "\n");
        if (code[at + strspn(code + at, " ")] == '#') {
            check_include(c, text + at);
        }
        at += n + (text[at + n] == '\n');
    }
}

void tidy_check(const char *path, const char *text, size_t len, tidy_report_fn report, void *arg)
{
    bool header = ends(path, ".h");
    struct check c = {
        .path = path, .is_c = header || ends(path, ".c"), .line = 1, .report = report, .arg = arg};
    if (memchr(text, '\0', len) != NULL) {
        return;
    }
    char *lines = strdup(text);
    if (lines == NULL) {
        abort();
    }
    each_line(&c, lines, false);
    if (c.is_c) {
        blank(lines);
        each_include(&c, text, lines);
        if (header) {
            check_guard(&c, lines);
        }
        each_line(&c, lines, true);
        c.line = 1;
        if (starts(path, "tests/unit/") && ends(path, ".c") && !starts(path, "tests/unit/test_")) {
            complain(&c, "unit tests are named test_<module>.c");
        }
    }
    free(lines);
}
