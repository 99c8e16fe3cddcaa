/* Connecting to an acceptor, by address or by name. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/member/frames.h"
#include "common/mem.h"
#include "common/must.h"

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
};

struct dialer {
    struct loop *loop;
    char *host;
    uint16_t port;
    dialer_fn done;
    void *arg;
    struct loop_timer *timer;
    struct loop_io *io;
    int fd;
    uint64_t timeout_us;
    bool waiting; /* for the time of the attempt, not for its end */
    /* a look-up: the thread's until it has posted */
    bool looking;
    pthread_t thread;
    union address found;
    socklen_t found_len; /* 0: nothing was found */
};

static void give(struct dialer *d, int fd, const char *reason)
{
    loop_timer_stop(d->timer);
    loop_io_free(d->io);
    d->io = NULL;
    d->fd = -1;
    d->done(d->arg, fd, reason);
}

static void give_up(struct dialer *d, const char *reason)
{
    if (d->fd >= 0) {
        loop_io_free(d->io);
        d->io = NULL;
        (void)close(d->fd);
    }
    give(d, -1, reason);
}

static void on_writable(int fd, unsigned events, void *arg)
{
    struct dialer *d = arg;
    (void)events;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        give_up(d, error != 0 ? strerrordesc_np(error) : "the connection broke");
        return;
    }
    give(d, fd, NULL);
}

static void connect_to(struct dialer *d, const union address *a, socklen_t size)
{
    d->fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0) {
        give_up(d, "no socket is to be had");
        return;
    }
    if (connect(d->fd, &a->any, size) != 0 && errno != EINPROGRESS) {
        give_up(d, strerrordesc_np(errno));
        return;
    }
    d->io = loop_io_new(d->loop, d->fd, on_writable, d);
    loop_io_set(d->io, LOOP_WRITE);
    loop_timer_start(d->timer, d->timeout_us);
}

static bool numeric(const struct dialer *d, union address *a, socklen_t *size)
{
    memset(a, 0, sizeof *a);
    if (inet_pton(AF_INET, d->host, &a->v4.sin_addr) == 1) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons(d->port);
        *size = sizeof a->v4;
        return true;
    }
    if (inet_pton(AF_INET6, d->host, &a->v6.sin6_addr) == 1) {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons(d->port);
        *size = sizeof a->v6;
        return true;
    }
    return false;
}

static void on_found(void *arg)
{
    struct dialer *d = arg;
    (void)pthread_join(d->thread, NULL);
    d->looking = false;
    if (d->found_len == 0) {
        give_up(d, "the name is not known");
    } else {
        connect_to(d, &d->found, d->found_len);
    }
}

static void *look_up(void *arg)
{
    struct dialer *d = arg;
    char port[8];
    (void)snprintf(port, sizeof port, "%u", d->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    d->found_len = 0;
    if (getaddrinfo(d->host, port, &hints, &found) == 0) {
        if (found->ai_addrlen <= sizeof d->found) {
            memcpy(&d->found, found->ai_addr, found->ai_addrlen);
            d->found_len = found->ai_addrlen;
        }
        freeaddrinfo(found);
    }
    loop_post(d->loop, on_found, d);
    return NULL;
}

static void attempt(struct dialer *d)
{
    union address a;
    socklen_t size = 0;
    if (numeric(d, &a, &size)) {
        connect_to(d, &a, size);
        return;
    }
    d->looking = true;
    if (pthread_create(&d->thread, NULL, look_up, d) != 0) {
        d->looking = false;
        give_up(d, "no thread is to be had to look up the name");
    }
}

static void on_timer(void *arg)
{
    struct dialer *d = arg;
    if (d->waiting) {
        d->waiting = false;
        attempt(d);
    } else {
        give_up(d, "no answer in time");
    }
}

struct dialer *dialer_new(struct loop *l, const char *host, uint16_t port, dialer_fn done,
                          void *arg)
{
    struct dialer *d = mem_zalloc(sizeof *d);
    d->loop = l;
    d->host = mem_strdup(host);
    d->port = port;
    d->done = done;
    d->arg = arg;
    d->fd = -1;
    d->timer = loop_timer_new(l, on_timer, d);
    return d;
}

void dialer_start(struct dialer *d, uint64_t after_us, uint64_t timeout_us)
{
    must(!d->looking && d->fd < 0);
    d->timeout_us = timeout_us;
    d->waiting = true;
    loop_timer_start(d->timer, after_us);
}

void dialer_free(struct dialer *d)
{
    if (d == NULL) {
        return;
    }
    if (d->looking) {
        (void)pthread_join(d->thread, NULL);
    }
    if (d->fd >= 0) {
        loop_io_free(d->io);
        (void)close(d->fd);
    }
    loop_timer_free(d->timer);
    mem_free(d->host);
    mem_free(d);
}
