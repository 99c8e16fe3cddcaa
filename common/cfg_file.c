/* Configuration from files and the command line, and CONFIG REWRITE. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cfg_internal.h"
#include "common/mem.h"
#include "common/must.h"

#define INCLUDE_DEPTH_MAX 16
#define FILE_BYTES_MAX (16u << 20)

static enum err load_path(struct cfg *c, const char *path, unsigned depth, struct errmsg *why);

/* ---- reading ---- */

static enum err read_fd(int fd, struct buf *out)
{
    for (;;) {
        ssize_t n = read(fd, buf_reserve(out, 4096), 4096);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n == 0 ? OK : ERR_IO;
        }
        buf_commit(out, (size_t)n);
        if (buf_used(out) > FILE_BYTES_MAX) {
            return ERR_TOOBIG;
        }
    }
}

static enum err read_file(const char *path, struct buf *out, struct errmsg *why)
{
    char text[128];
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errmsg_set(why, ERR_IO, "cannot open %s: %s", path,
                          strerror_r(errno, text, sizeof text));
    }
    enum err e = read_fd(fd, out);
    int error = errno;
    if (fd != STDIN_FILENO) {
        close(fd);
    }
    if (e == ERR_TOOBIG) {
        return errmsg_set(why, e, "%s: larger than a configuration file can be", path);
    }
    return e == OK ? OK
                   : errmsg_set(why, e, "cannot read %s: %s", path,
                                strerror_r(error, text, sizeof text));
}

static enum err include_all(struct cfg *c, const struct cfg_strings *words, unsigned depth,
                            struct errmsg *why)
{
    if (words->n != 1) {
        return errmsg_set(why, ERR_CONFIG, "include: needs one path");
    }
    if (depth >= INCLUDE_DEPTH_MAX) {
        return errmsg_set(why, ERR_CONFIG, "include: files include each other more than %d deep",
                          INCLUDE_DEPTH_MAX);
    }
    if (strpbrk(words->v[0], "*?[") == NULL) {
        return load_path(c, words->v[0], depth + 1, why);
    }
    glob_t found;
    enum err e = OK;
    /* A pattern without match includes nothing, as in Redis. */
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): only while a process starts */
    if (glob(words->v[0], 0, NULL, &found) == 0) {
        for (size_t i = 0; e == OK && i < found.gl_pathc; i++) {
            e = load_path(c, found.gl_pathv[i], depth + 1, why);
        }
        globfree(&found);
    }
    return e;
}

/* words->v[0] is the name. */
static enum err assign_line(struct cfg *c, struct cfg_strings *words, unsigned depth,
                            struct errmsg *why)
{
    struct cfg_strings rest = {words->v + 1, words->n - 1};
    struct span name = span_str(words->v[0]);
    if (span_is(name, "include")) {
        return include_all(c, &rest, depth, why);
    }
    struct cfg_entry *x = cfg_entry_find(c, name);
    if (x == NULL) {
        return errmsg_set(why, ERR_CONFIG, "%s: unknown option", words->v[0]);
    }
    enum err e = cfg_assign(c, x, &rest, why);
    if (e != OK) {
        errmsg_wrap(why, "%s", x->o->name);
        return e;
    }
    x->included = x->included || depth != 0;
    x->in_main = x->in_main || depth == 0;
    return OK;
}

static enum err load_line(struct cfg *c, struct span line, unsigned depth, struct errmsg *why)
{
    while (line.len != 0 && isspace((unsigned char)line.p[0])) {
        line = span_of(line.p + 1, line.len - 1);
    }
    if (line.len == 0 || line.p[0] == '#') {
        return OK;
    }
    if (memchr(line.p, 0, line.len) != NULL) {
        return errmsg_set(why, ERR_SYNTAX, "a byte of zero in the line");
    }
    struct cfg_strings words = {0};
    if (cfg_split(line, &words) != OK) {
        return errmsg_set(why, ERR_SYNTAX, "unbalanced quotes");
    }
    enum err e = words.n != 0 ? assign_line(c, &words, depth, why) : OK;
    cfg_strings_free(&words);
    return e;
}

static enum err load_text(struct cfg *c, const char *name, struct span text, unsigned depth,
                          struct errmsg *why)
{
    for (unsigned line_no = 1; text.len != 0; line_no++) {
        const char *nl = memchr(text.p, '\n', text.len);
        size_t n = nl != NULL ? (size_t)(nl - text.p) : text.len;
        enum err e = load_line(c, span_of(text.p, n), depth, why);
        if (e != OK) {
            if (!c->located) { /* by the innermost file only: the text has little room */
                errmsg_wrap(why, "%s:%u", name, line_no);
                c->located = true;
            }
            return e;
        }
        n += nl != NULL;
        text = span_of(text.p + n, text.len - n);
    }
    return OK;
}

static enum err load_path(struct cfg *c, const char *path, unsigned depth, struct errmsg *why)
{
    struct buf text = {0};
    enum err e = read_file(path, &text, why);
    if (e == OK) {
        e = load_text(c, strcmp(path, "-") == 0 ? "standard input" : path, buf_span(&text), depth,
                      why);
    }
    buf_free(&text);
    return e;
}

enum err cfg_load_text(struct cfg *c, const char *name, struct span text, struct errmsg *why)
{
    c->located = false;
    return load_text(c, name, text, 0, why);
}

enum err cfg_load_file(struct cfg *c, const char *path, struct errmsg *why)
{
    c->located = false;
    enum err e = load_path(c, path, 0, why);
    if (e == OK && strcmp(path, "-") != 0) {
        char full[PATH_MAX];
        mem_free(c->path);
        c->path = mem_strdup(realpath(path, full) != NULL ? full : path);
    }
    return e;
}

/* ---- command line ---- */

static bool take_switch(const char *word, struct cfg_cli *cli)
{
    static const struct {
        const char *name;
        size_t offset;
    } switches[] = {
        {"--help", offsetof(struct cfg_cli, help)},
        {"-h", offsetof(struct cfg_cli, help)},
        {"--version", offsetof(struct cfg_cli, version)},
        {"-v", offsetof(struct cfg_cli, version)},
        {"--test-config", offsetof(struct cfg_cli, test_config)},
        {"-t", offsetof(struct cfg_cli, test_config)},
        {"--print-config", offsetof(struct cfg_cli, print_config)},
    };
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        if (strcmp(word, switches[i].name) == 0) {
            *(bool *)((char *)cli + switches[i].offset) = true;
            return true;
        }
    }
    return false;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] == '-' && word[2] != '\0';
}

/* `--name value...` at argv[*i]; leaves *i behind it. */
static enum err take_option(struct cfg *c, int argc, char **argv, int *i, struct errmsg *why)
{
    char *flag = argv[(*i)++];
    struct cfg_strings words = {argv + *i, 0};
    while (*i < argc && !is_option(argv[*i])) {
        words.n++;
        (*i)++;
    }
    struct cfg_entry *x = cfg_entry_find(c, span_str(flag + 2));
    if (x == NULL) {
        return errmsg_set(why, ERR_CONFIG, "%s: unknown option", flag);
    }
    enum err e = cfg_assign(c, x, &words, why);
    if (e != OK) {
        errmsg_wrap(why, "%s", flag);
        return e;
    }
    x->changed = true;
    return OK;
}

enum err cfg_load_args(struct cfg *c, int argc, char **argv, struct cfg_cli *cli,
                       struct errmsg *why)
{
    int i = 1;
    if (i < argc && !is_option(argv[i]) && !take_switch(argv[i], cli)) {
        enum err e = cfg_load_file(c, argv[i], why);
        if (e != OK) {
            return e;
        }
        i++;
    }
    while (i < argc) {
        if (take_switch(argv[i], cli)) {
            i++;
            continue;
        }
        if (!is_option(argv[i])) {
            return errmsg_set(why, ERR_CONFIG, "%s: an option begins with --; the file comes first",
                              argv[i]);
        }
        enum err e = take_option(c, argc, argv, &i, why);
        if (e != OK) {
            return e;
        }
    }
    return OK;
}

/* ---- CONFIG REWRITE ----
 * A line stays as it is unless its option was changed since it was read. A changed option is
 * written where it was first named; at the end if it was not named, or if an included file names it
 * too (which would win otherwise). */

struct rewrite {
    struct cfg *c;
    struct buf out;
    bool *written; /* per entry */
};

static void write_option(struct rewrite *r, const struct cfg_entry *x)
{
    if (x->o->type == CFG_LINES && x->included) {
        buf_addf(&r->out, "%s \"\"\n", x->o->name); /* forget what the included file said */
    }
    cfg_value_lines(x, r->c->settings, &r->out);
    r->written[x - r->c->entries] = true;
}

static void rewrite_line(struct rewrite *r, struct span line)
{
    struct cfg_strings words = {0};
    const struct cfg_entry *x = NULL;
    size_t i = 0;
    while (i < line.len && isspace((unsigned char)line.p[i])) {
        i++;
    }
    if (i < line.len && line.p[i] != '#' && cfg_split(line, &words) == OK && words.n != 0) {
        x = cfg_entry_find(r->c, span_str(words.v[0]));
    }
    cfg_strings_free(&words);
    if (x == NULL || !x->changed) {
        buf_add(&r->out, line.p, line.len);
        buf_add(&r->out, "\n", 1);
        return;
    }
    if (!x->included && !r->written[x - r->c->entries]) {
        write_option(r, x);
    }
}

static void rewrite_text(struct rewrite *r, struct span text)
{
    static const char note[] = "# Generated by CONFIG REWRITE";
    bool noted = false;
    while (text.len != 0) {
        const char *nl = memchr(text.p, '\n', text.len);
        size_t n = nl != NULL ? (size_t)(nl - text.p) : text.len;
        noted = noted || span_eq(span_of(text.p, n), SPAN_LIT(note));
        rewrite_line(r, span_of(text.p, n));
        n += nl != NULL;
        text = span_of(text.p + n, text.len - n);
    }
    for (size_t i = 0; i < r->c->n; i++) {
        const struct cfg_entry *x = &r->c->entries[i];
        bool needed = x->changed && !r->written[i] &&
                      (x->included || !cfg_value_is_default(x, r->c->settings));
        if (!needed) {
            continue;
        }
        if (!noted) {
            buf_addf(&r->out, "%s\n", note);
            noted = true;
        }
        write_option(r, x);
    }
}

static enum err replace_file(const char *path, struct span text, struct errmsg *why)
{
    struct buf name = {0};
    buf_addf(&name, "%s.XXXXXX", path);
    buf_add(&name, "", 1);
    struct stat st;
    int fd = mkostemp(name.p, O_CLOEXEC);
    bool ok = fd >= 0;
    size_t done = 0;
    while (ok && done < text.len) {
        ssize_t n = write(fd, text.p + done, text.len - done);
        ok = n > 0 || (n < 0 && errno == EINTR);
        done += n > 0 ? (size_t)n : 0;
    }
    ok = ok && (stat(path, &st) != 0 || fchmod(fd, st.st_mode & 0777) == 0);
    ok = ok && fsync(fd) == 0 && rename(name.p, path) == 0;
    char text_of[128];
    enum err e = ok ? OK
                    : errmsg_set(why, ERR_IO, "Rewriting config file: %s",
                                 strerror_r(errno, text_of, sizeof text_of));
    if (fd >= 0) {
        close(fd);
        if (!ok) {
            unlink(name.p);
        }
    }
    buf_free(&name);
    return e;
}

enum err cfg_rewrite(struct cfg *c, struct errmsg *why)
{
    if (c->path[0] == '\0') {
        return errmsg_set(why, ERR_CONFIG, "The server is running without a config file");
    }
    struct buf old = {0};
    if (access(c->path, F_OK) == 0) {
        enum err e = read_file(c->path, &old, why);
        if (e != OK) {
            buf_free(&old);
            return e;
        }
    }
    pthread_mutex_lock(&c->lock);
    struct rewrite r = {.c = c, .written = mem_zalloc(c->n * sizeof(bool))};
    rewrite_text(&r, buf_span(&old));
    pthread_mutex_unlock(&c->lock);
    enum err e = replace_file(c->path, buf_span(&r.out), why);
    mem_free(r.written);
    buf_free(&r.out);
    buf_free(&old);
    return e;
}
