/* The users file: lines "user NAME rules...", empty lines and comments. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/server/acl_rules.h"
#include "common/mem.h"
#include "common/must.h"

#define FILE_MAX_BYTES ((size_t)64 * 1024 * 1024)

enum err acl_load_line(struct acl *a, const struct cfg_strings *words, struct errmsg *why)
{
    if (words->n == 0 || words->v[0][0] == '\0') {
        return errmsg_set(why, ERR_CONFIG, "a user needs a name");
    }
    if (strchr(words->v[0], ' ') != NULL) {
        return errmsg_set(why, ERR_CONFIG, "user '%s': names have no blanks", words->v[0]);
    }
    struct span *rules = mem_alloc((words->n) * sizeof *rules);
    for (size_t i = 1; i < words->n; i++) {
        rules[i - 1] = span_str(words->v[i]);
    }
    size_t bad = 0;
    enum err e = acl_set_user(a, span_str(words->v[0]), rules, words->n - 1, &bad, why);
    if (e != OK) {
        errmsg_wrap(why, "user %s: '%s'", words->v[0], words->v[bad + 1]);
    }
    mem_free(rules);
    return e;
}

static enum err read_whole(const char *path, struct buf *out, struct errmsg *why)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return errmsg_set(why, ERR_IO, "Error loading ACLs, opening file '%s': %s", path,
                          strerrordesc_np(errno));
    }
    size_t n;
    do {
        n = fread(buf_reserve(out, 16384), 1, 16384, f);
        buf_commit(out, n);
    } while (n != 0 && buf_used(out) < FILE_MAX_BYTES);
    bool bad = ferror(f) != 0 || n != 0;
    (void)fclose(f);
    return bad ? errmsg_set(why, ERR_IO, "Error loading ACLs, reading file '%s'", path) : OK;
}

static enum err load_text_line(struct acl *a, struct span line, struct errmsg *why)
{
    struct cfg_strings words = {0};
    if (cfg_split(line, &words) != OK) {
        return errmsg_set(why, ERR_SYNTAX, "unbalanced quotes");
    }
    enum err e = OK;
    if (words.n != 0 && words.v[0][0] != '#') {
        if (words.n < 2 || strcmp(words.v[0], "user") != 0) {
            e = errmsg_set(why, ERR_SYNTAX,
                           "should start with user keyword followed by the username");
        } else {
            struct cfg_strings rest = {words.v + 1, words.n - 1};
            struct span name = span_str(rest.v[0]);
            struct acl_set *now = acl_get(a);
            bool again = acl_user_find(now, name) != NULL && strcmp(rest.v[0], "default") != 0;
            acl_set_put(now);
            e = again ? errmsg_set(why, ERR_EXISTS, "user %s is named twice", rest.v[0])
                      : acl_load_line(a, &rest, why);
        }
    }
    cfg_strings_free(&words);
    return e;
}

enum err acl_load_file(struct acl *a, const char *path, struct errmsg *why)
{
    struct buf text = {0};
    enum err e = read_whole(path, &text, why);
    if (e != OK) {
        buf_free(&text);
        return e;
    }
    struct acl fresh;
    acl_init(&fresh);
    unsigned number = 0;
    struct span rest = buf_span(&text);
    while (rest.p != NULL && rest.len != 0 && e == OK) {
        const char *end = memchr(rest.p, '\n', rest.len);
        size_t n = end == NULL ? rest.len : (size_t)(end - rest.p);
        struct span line = span_of(rest.p, n != 0 && rest.p[n - 1] == '\r' ? n - 1 : n);
        number++;
        e = load_text_line(&fresh, line, why);
        size_t used = end == NULL ? n : n + 1;
        rest = span_of(rest.p + used, rest.len - used);
    }
    if (e == OK) {
        acl_replace(a, &fresh);
    } else {
        errmsg_wrap(why, "%s:%u", path, number);
    }
    acl_deinit(&fresh);
    buf_free(&text);
    return e;
}

static void write_users(struct acl *a, struct buf *out)
{
    struct acl_set *set = acl_get(a);
    for (size_t i = 0; i < set->count; i++) {
        buf_addf(out, "user %s ", set->users[i]->name);
        acl_describe(set->users[i], out);
        buf_add_str(out, "\n");
    }
    acl_set_put(set);
}

/* Written beside the old one, made durable, then renamed over it. */
enum err acl_save_file(struct acl *a, const char *path, struct errmsg *why)
{
    char temp[4096];
    int n = snprintf(temp, sizeof temp, "%s.tmp-%d", path, (int)getpid());
    if (n < 0 || (size_t)n >= sizeof temp) {
        return errmsg_set(why, ERR_RANGE, "path is too long");
    }
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errmsg_set(why, ERR_IO, "%s: %s", temp, strerrordesc_np(errno));
    }
    struct buf text = {0};
    write_users(a, &text);
    bool ok = true;
    while (ok && buf_used(&text) != 0) {
        ssize_t w = write(fd, buf_head(&text), buf_used(&text));
        ok = w > 0 || (w < 0 && errno == EINTR);
        buf_consume(&text, w > 0 ? (size_t)w : 0);
    }
    ok = ok && fsync(fd) == 0;
    ok = close(fd) == 0 && ok;
    ok = ok && rename(temp, path) == 0;
    buf_free(&text);
    if (!ok) {
        (void)errmsg_set(why, ERR_IO, "%s: %s", path, strerrordesc_np(errno));
        (void)unlink(temp);
        return ERR_IO;
    }
    return OK;
}
