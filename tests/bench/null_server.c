/* null_server PORT: the floor under any RESP server on this machine (bench.py hot).
 *
 * It finds where requests end and answers each with fixed bytes: a value of 32 bytes for whatever
 * begins with G, an empty `save` for CONFIG GET (redis-benchmark asks), OK for the rest. One event
 * per connection, one read and one write per event, no time, no limits, no memory of anything: what
 * is left is the kernel, libevent, and looking for the ends of requests. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/num.h"

#define IN_BYTES (64u * 1024)
#define OUT_BYTES (256u * 1024)

static const char value_reply[] = "$32\r\n0123456789abcdef0123456789abcdef\r\n";
static const char config_reply[] = "*2\r\n$4\r\nsave\r\n$0\r\n\r\n";
static const char ok_reply[] = "+OK\r\n";

struct client {
    struct event *ev;
    size_t held; /* bytes of an unfinished request, in `in` */
    char in[IN_BYTES];
};

static char out[OUT_BYTES];

static void die(const char *what)
{
    fprintf(stderr, "null_server: %s: %s\n", what, strerror(errno));
    _exit(1);
}

/* The number behind the mark at p; moves *p behind its line. False: the line is not all there. */
static bool number(const char **p, const char *end, size_t *n)
{
    const char *at = *p + 1;
    size_t v = 0;
    while (at < end && *at >= '0' && *at <= '9') {
        v = v * 10 + (size_t)(*at++ - '0');
    }
    if (end - at < 2) {
        return false;
    }
    *p = at + 2;
    *n = v;
    return true;
}

/* Bytes of the request at p, 0: not all there. *kind: the first letter of its name. */
static size_t request(const char *p, const char *end, char *kind)
{
    const char *at = p;
    if (*at != '*') { /* inline */
        const char *line = memchr(at, '\n', (size_t)(end - at));
        *kind = *at;
        return line == NULL ? 0 : (size_t)(line + 1 - p);
    }
    size_t args;
    size_t len;
    if (!number(&at, end, &args)) {
        return 0;
    }
    *kind = 0;
    for (; args > 0; args--) {
        if (at >= end || !number(&at, end, &len) || (size_t)(end - at) < len + 2) {
            return 0;
        }
        *kind = *kind == 0 ? *at : *kind;
        at += len + 2;
    }
    return (size_t)(at - p);
}

static void send_all(int fd, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t w = send(fd, out + done, n - done, MSG_NOSIGNAL);
        if (w > 0) {
            done += (size_t)w;
        } else if (errno != EAGAIN && errno != EINTR) {
            return; /* the next read sees the end */
        }
    }
}

static size_t answer(size_t at, char kind)
{
    const char *reply = ok_reply;
    size_t n = sizeof ok_reply - 1;
    if (kind == 'G' || kind == 'g') {
        reply = value_reply;
        n = sizeof value_reply - 1;
    } else if (kind == 'C' || kind == 'c') {
        reply = config_reply;
        n = sizeof config_reply - 1;
    }
    memcpy(out + at, reply, n);
    return at + n;
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct client *c = arg;
    ssize_t got = recv(fd, c->in + c->held, sizeof c->in - c->held, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        event_free(c->ev);
        close(fd);
        free(c);
        return;
    }
    const char *p = c->in;
    const char *end = c->in + c->held + (size_t)got;
    size_t written = 0;
    char kind = 0;
    for (size_t n; p < end && (n = request(p, end, &kind)) != 0; p += n) {
        if (written + sizeof value_reply + sizeof config_reply > sizeof out) {
            send_all(fd, written);
            written = 0;
        }
        written = answer(written, kind);
    }
    c->held = (size_t)(end - p);
    if (c->held == sizeof c->in) {
        c->held = 0; /* longer than all it can hold: let it be */
    }
    memmove(c->in, p, c->held);
    send_all(fd, written);
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
    (void)what;
    struct event_base *base = arg;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct client *c = fd < 0 ? NULL : calloc(1, sizeof *c);
    if (c == NULL) {
        return;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->ev = event_new(base, fd, EV_READ | EV_PERSIST, on_input, c);
    if (c->ev == NULL || event_add(c->ev, NULL) != 0) {
        die("event_new");
    }
}

int main(int argc, char **argv)
{
    int64_t port = 0;
    if (argc != 2 || !num_parse_i64(span_str(argv[1]), &port) || port < 1 || port > 65535) {
        fprintf(stderr, "usage: null_server PORT (on 127.0.0.1)\n");
        return 2;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 512) != 0) {
        die("listen");
    }
    struct event_base *base = event_base_new();
    struct event *ev =
        base == NULL ? NULL : event_new(base, fd, EV_READ | EV_PERSIST, on_accept, base);
    if (ev == NULL || event_add(ev, NULL) != 0) {
        die("event_new");
    }
    return event_base_dispatch(base) == 0 ? 0 : 1;
}
