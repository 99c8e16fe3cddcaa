/* An acceptor's state file. */
#include "backends/member/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "backends/member/routes.h"
#include "coherence/wire.h"
#include "common/mem.h"

static const char magic[] = "HALCYON-ACCEPTOR 1\n";
#define MAGIC_LEN (sizeof magic - 1)
#define HEAD_MAX (MAGIC_LEN + 1 + MAP_TEXT_MAX + 8 + 1 + 4)
#define FILE_MAX (HEAD_MAX + MEMBER_STATE_MAX + 8)
#define PATH_BYTES 4096

static enum err io_error(struct errmsg *why, const char *path, const char *what)
{
    return errmsg_set(why, ERR_IO, "acceptor-state-file %s: %s: %s", path, what,
                      strerrordesc_np(errno));
}

/* ---- writing ---- */

static enum err write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len != 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return ERR_IO;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return OK;
}

static enum err sync_folder(const char *path)
{
    char folder[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    if (n >= sizeof folder) {
        return ERR_TOOBIG;
    }
    memcpy(folder, path, n);
    folder[n] = '\0';
    int fd = open(slash == NULL ? "." : n == 0 ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return ERR_IO;
    }
    int r = fsync(fd);
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return r == 0 ? OK : ERR_IO;
}

static size_t encode(const struct state_owner *owner, const struct member_state *st, uint8_t *bytes)
{
    struct wire_writer w = {bytes, FILE_MAX};
    memcpy(w.p, magic, MAGIC_LEN);
    w.p += MAGIC_LEN;
    w.left -= MAGIC_LEN;
    wire_put_text(&w, owner->cluster_name, MAP_TEXT_MAX);
    wire_put(&w, map_cluster(owner->genesis), 8);
    wire_put(&w, owner->index, 1);
    uint8_t *length = w.p;
    wire_put(&w, 0, 4);
    size_t n = member_state_encode(st, w.p, w.left - 8);
    struct wire_writer l = {length, 4};
    wire_put(&l, n, 4);
    w.p += n;
    w.left -= n;
    wire_put(&w, XXH3_64bits(bytes, (size_t)(w.p - bytes)), 8);
    return (size_t)(w.p - bytes);
}

enum err state_save(const char *path, const struct state_owner *owner,
                    const struct member_state *st, struct errmsg *why)
{
    char temporary[PATH_BYTES];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary) {
        return errmsg_set(why, ERR_IO, "acceptor-state-file: the path is too long");
    }
    uint8_t *bytes = mem_alloc(FILE_MAX);
    size_t n = encode(owner, st, bytes);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    enum err e = fd >= 0 ? OK : io_error(why, temporary, "cannot be opened");
    if (e == OK && (write_all(fd, bytes, n) != OK || fsync(fd) != 0)) {
        e = io_error(why, temporary, "cannot be written");
    }
    if (fd >= 0 && close(fd) != 0 && e == OK) {
        e = io_error(why, temporary, "cannot be closed");
    }
    if (e == OK && rename(temporary, path) != 0) {
        e = io_error(why, path, "cannot be replaced");
    }
    if (e == OK && sync_folder(path) != OK) {
        e = io_error(why, path, "its folder cannot be synchronized");
    }
    mem_free(bytes);
    return e;
}

/* ---- reading ---- */

static enum err read_all(const char *path, uint8_t *bytes, size_t *len, bool *found,
                         struct errmsg *why)
{
    *found = false;
    *len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? OK : io_error(why, path, "cannot be opened");
    }
    *found = true;
    enum err e = OK;
    while (*len <= FILE_MAX) {
        ssize_t n = read(fd, bytes + *len, FILE_MAX + 1 - *len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            e = io_error(why, path, "cannot be read");
        }
        if (n <= 0) {
            break;
        }
        *len += (size_t)n;
    }
    (void)close(fd);
    return e;
}

static enum err corrupt(struct errmsg *why, const char *path)
{
    return errmsg_set(
        why, ERR_CORRUPT,
        "acceptor-state-file %s is damaged. Do not delete it while other acceptors run: an "
        "acceptor that forgets its votes can split the cluster. See docs/membership.md",
        path);
}

static enum err decode(const char *path, const struct state_owner *owner, const uint8_t *bytes,
                       size_t len, struct member_state *out, struct errmsg *why)
{
    if (len < MAGIC_LEN + 8 || len > FILE_MAX || memcmp(bytes, magic, MAGIC_LEN) != 0) {
        return corrupt(why, path);
    }
    struct wire_reader sum = {bytes + len - 8, 8, false};
    if (wire_take(&sum, 8) != XXH3_64bits(bytes, len - 8)) {
        return corrupt(why, path);
    }
    struct wire_reader r = {bytes + MAGIC_LEN, len - 8 - MAGIC_LEN, false};
    char name[MAP_TEXT_MAX];
    wire_take_text(&r, name, sizeof name);
    uint64_t cluster = wire_take(&r, 8);
    unsigned index = (unsigned)wire_take(&r, 1);
    size_t n = (size_t)wire_take(&r, 4);
    if (r.bad || r.left != n || member_state_decode(r.p, n, out) != OK) {
        return corrupt(why, path);
    }
    if (strcmp(name, owner->cluster_name) != 0) {
        return errmsg_set(why, ERR_CONFIG, "acceptor-state-file %s is of cluster '%s', not of '%s'",
                          path, name, owner->cluster_name);
    }
    if (cluster != map_cluster(owner->genesis) ||
        map_cluster(&out->base) != map_cluster(owner->genesis)) {
        return errmsg_set(
            why, ERR_CONFIG,
            "acceptor-state-file %s is of another set of acceptors than the `acceptors` "
            "line names",
            path);
    }
    if (index != owner->index) {
        return errmsg_set(
            why, ERR_CONFIG,
            "acceptor-state-file %s is of acceptor %u of the `acceptors` line, this is "
            "number %u",
            path, index + 1, owner->index + 1);
    }
    if (!genesis_same_shards(&out->base, owner->genesis)) {
        return errmsg_set(
            why, ERR_CONFIG,
            "the `shard` lines are not what the cluster was founded with (acceptor-state-file "
            "%s)",
            path);
    }
    return OK;
}

enum err state_load(const char *path, const struct state_owner *owner, struct member_state *out,
                    bool *found, struct errmsg *why)
{
    uint8_t *bytes = mem_alloc(FILE_MAX + 1);
    size_t len = 0;
    enum err e = read_all(path, bytes, &len, found, why);
    if (e == OK && *found) {
        e = decode(path, owner, bytes, len, out, why);
    }
    mem_free(bytes);
    return e;
}
