/* Sockets of clients: listening, accepting, options, names. */
#include "common/conn_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/conn.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

#define ACCEPTS_PER_TURN 256
#define RETRY_US 100000u /* when the process has no descriptors left */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
};

struct listener {
    struct loop *loop;
    int fd;
    struct loop_io *io;
    struct loop_timer *retry;
    listener_fn fn;
    void *arg;
    bool is_unix;
    uint32_t keepalive_seconds;
    char *unix_path;
};

static void name_of(const union address *a, char *out, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "?";
    switch (a->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &a->v4.sin_addr, text, sizeof text);
        snprintf(out, size, "%s:%u", text, ntohs(a->v4.sin_port));
        return;
    case AF_INET6:
        inet_ntop(AF_INET6, &a->v6.sin6_addr, text, sizeof text);
        snprintf(out, size, "[%s]:%u", text, ntohs(a->v6.sin6_port));
        return;
    default:
        snprintf(out, size, "?:0");
    }
}

bool net_socket_names(int fd, char *peer, size_t peer_size, char *local, size_t local_size)
{
    union address a;
    memset(&a, 0, sizeof a);
    socklen_t n = sizeof a;
    if (getsockname(fd, &a.any, &n) != 0) {
        a.any.sa_family = AF_UNSPEC;
    }
    if (a.any.sa_family == AF_UNIX) {
        snprintf(local, local_size, "%.*s:0", (int)(local_size > 3 ? local_size - 3 : 0),
                 a.un.sun_path);
        snprintf(peer, peer_size, "%s", local);
        return true;
    }
    name_of(&a, local, local_size);
    memset(&a, 0, sizeof a);
    n = sizeof a;
    if (getpeername(fd, &a.any, &n) != 0) {
        a.any.sa_family = AF_UNSPEC;
    }
    name_of(&a, peer, peer_size);
    return false;
}

static void set_int(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value,
               sizeof value); /* a refused tuning option is no reason to refuse a client */
}

static void set_client_options(const struct listener *s, int fd)
{
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (s->keepalive_seconds != 0) {
        int seconds = (int)s->keepalive_seconds;
        set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
        set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds >= 3 ? seconds / 3 : 1);
        set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    }
}

static void on_acceptable(int fd, unsigned events, void *arg)
{
    (void)events;
    struct listener *s = arg;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client >= 0) {
            if (!s->is_unix) {
                set_client_options(s, client);
            }
            s->fn(client, s->is_unix, s->arg);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            static struct log_limit limit;
            if (log_limited(&limit)) {
                log_warning("cannot accept clients: no file descriptors or memory left");
            }
            loop_io_set(s->io, 0);
            loop_timer_start(s->retry, RETRY_US);
            return;
        }
        if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
            return;
        }
    }
}

static void on_retry(void *arg)
{
    struct listener *s = arg;
    loop_io_set(s->io, LOOP_READ);
}

static enum err fail(struct errmsg *why, const char *what, const char *where, int error)
{
    char text[128];
    return errmsg_set(why, ERR_IO, "cannot %s %s: %s", what, where,
                      strerror_r(error, text, sizeof text));
}

static enum err resolve(const struct listen_options *o, union address *a, socklen_t *size,
                        struct errmsg *why)
{
    memset(a, 0, sizeof *a);
    if (o->unix_path != NULL) {
        if (strlen(o->unix_path) >= sizeof a->un.sun_path) {
            return errmsg_set(why, ERR_RANGE, "unixsocket: %s: the path is too long", o->unix_path);
        }
        a->un.sun_family = AF_UNIX;
        memcpy(a->un.sun_path, o->unix_path, strlen(o->unix_path) + 1);
        *size = sizeof a->un;
        return OK;
    }
    const char *address = strcmp(o->address, "*") == 0 ? "0.0.0.0" : o->address;
    if (inet_pton(AF_INET, address, &a->v4.sin_addr) == 1) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons(o->port);
        *size = sizeof a->v4;
        return OK;
    }
    if (inet_pton(AF_INET6, strcmp(address, "::*") == 0 ? "::" : address, &a->v6.sin6_addr) == 1) {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons(o->port);
        *size = sizeof a->v6;
        return OK;
    }
    return errmsg_set(why, ERR_CONFIG, "bind: %s is no numeric IPv4 or IPv6 address", o->address);
}

static enum err open_socket(const struct listen_options *o, int *out, struct errmsg *why)
{
    union address a;
    socklen_t size = 0;
    enum err e = resolve(o, &a, &size, why);
    if (e != OK) {
        return e;
    }
    char where[128];
    if (o->unix_path != NULL) {
        snprintf(where, sizeof where, "%s", o->unix_path);
        unlink(o->unix_path); /* left by an earlier process */
    } else {
        name_of(&a, where, sizeof where);
    }
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fail(why, "open a socket for", where, errno);
    }
    if (o->unix_path == NULL) {
        set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (o->reuse_port) {
            set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        }
        if (a.any.sa_family == AF_INET6) {
            set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        }
    }
    if (bind(fd, &a.any, size) != 0 || listen(fd, o->backlog) != 0) {
        e = fail(why, "listen on", where, errno);
        close(fd);
        return e;
    }
    if (o->unix_path != NULL && o->unix_mode != 0) {
        chmod(o->unix_path, o->unix_mode);
    }
    *out = fd;
    return OK;
}

enum err listener_open(struct loop *l, const struct listen_options *o, listener_fn fn, void *arg,
                       struct listener **out, struct errmsg *why)
{
    int fd = -1;
    enum err e = open_socket(o, &fd, why);
    if (e != OK) {
        return e;
    }
    struct listener *s = mem_zalloc(sizeof *s);
    s->loop = l;
    s->fd = fd;
    s->fn = fn;
    s->arg = arg;
    s->is_unix = o->unix_path != NULL;
    s->unix_path = o->unix_path != NULL ? mem_strdup(o->unix_path) : NULL;
    s->keepalive_seconds = o->keepalive_seconds;
    s->retry = loop_timer_new(l, on_retry, s);
    s->io = loop_io_new(l, fd, on_acceptable, s);
    loop_io_set(s->io, LOOP_READ);
    *out = s;
    return OK;
}

void listener_close(struct listener *s)
{
    if (s == NULL) {
        return;
    }
    loop_io_free(s->io);
    loop_timer_free(s->retry);
    close(s->fd);
    if (s->unix_path != NULL) {
        unlink(s->unix_path);
        mem_free(s->unix_path);
    }
    mem_free(s);
}
