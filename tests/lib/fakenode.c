/* A fake node worker on the test's loop: sockets, wrapping of replies, holding. */
#include "tests/lib/fakenode.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/resp.h"

struct fakeconn {
    struct fakenode *f;
    struct fakeconn *next;
    int fd;
    struct loop_io *io;
    struct resp_parser parser;
    struct buf in, out;
};

struct fakenode {
    struct loop *loop;
    fake_fn fn;
    void *arg;
    int fd;
    uint16_t port;
    struct loop_io *io;
    struct fakeconn *conns;
    struct fakeconn *held[1024]; /* connections of the held requests, oldest first */
    uint32_t held_count;
    uint64_t requests, accepted;
};

static void conn_drop(struct fakeconn *c)
{
    struct fakenode *f = c->f;
    for (struct fakeconn **at = &f->conns; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->held_count; i++) {
        if (f->held[i] != c) {
            f->held[kept++] = f->held[i];
        }
    }
    f->held_count = kept;
    loop_io_free(c->io);
    close(c->fd);
    resp_parser_free(&c->parser);
    buf_free(&c->in);
    buf_free(&c->out);
    mem_free(c);
}

static void conn_write(struct fakeconn *c)
{
    while (buf_used(&c->out) != 0) {
        ssize_t n = send(c->fd, buf_head(&c->out), buf_used(&c->out), MSG_NOSIGNAL);
        if (n <= 0) {
            break;
        }
        buf_consume(&c->out, (size_t)n);
    }
    loop_io_set(c->io, buf_used(&c->out) != 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void add_wrapped(struct buf *out, struct span bytes)
{
    buf_addf(out, "$%zu\r\n", bytes.len);
    buf_add(out, bytes.p, bytes.len);
    buf_add(out, "\r\n", 2);
}

static bool answer(struct fakeconn *c, const struct span *argv, uint32_t argc)
{
    struct fakenode *f = c->f;
    if (span_is(argv[0], "halcyon") && argc == 3 && span_is(argv[1], "link")) {
        buf_add_str(&c->out, "+OK\r\n");
        return true;
    }
    struct buf reply = {0};
    enum fake_answer what = FAKE_REPLY;
    if (f->fn != NULL) {
        what = f->fn(f->arg, f->requests, argv, argc, &reply);
    } else {
        buf_add(&reply, "+", 1);
        for (uint32_t i = 0; i < argc; i++) {
            buf_add(&reply, i == 0 ? "" : " ", i == 0 ? 0 : 1);
            buf_add(&reply, argv[i].p, argv[i].len);
        }
        buf_add(&reply, "\r\n", 2);
    }
    f->requests++;
    if (what == FAKE_REPLY) {
        add_wrapped(&c->out, buf_span(&reply));
    } else if (what == FAKE_RAW) {
        buf_add(&c->out, buf_head(&reply), buf_used(&reply));
    } else if (what == FAKE_HOLD) {
        must(f->held_count < sizeof f->held / sizeof f->held[0]);
        f->held[f->held_count++] = c;
    }
    buf_free(&reply);
    return what != FAKE_CLOSE;
}

static void on_conn(int fd, unsigned events, void *arg)
{
    struct fakeconn *c = arg;
    if ((events & LOOP_READ) != 0) {
        ssize_t n = recv(fd, buf_reserve(&c->in, 65536), 65536, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            conn_drop(c);
            return;
        }
        buf_commit(&c->in, n > 0 ? (size_t)n : 0);
    }
    struct resp_limits limits = {.bulk_bytes_max = 1u << 30, .args_max = RESP_ARGS_MAX};
    for (;;) {
        size_t used = 0;
        struct errmsg why;
        enum resp_result r =
            resp_parse(&c->parser, buf_head(&c->in), buf_used(&c->in), &limits, &used, &why);
        if (r != RESP_REQUEST) {
            must(r == RESP_MORE);
            break;
        }
        bool open = c->parser.argc == 0 || answer(c, c->parser.argv, c->parser.argc);
        buf_consume(&c->in, used);
        if (!open) {
            conn_write(c);
            conn_drop(c);
            return;
        }
    }
    conn_write(c);
}

static void on_listen(int fd, unsigned events, void *arg)
{
    (void)events;
    struct fakenode *f = arg;
    int s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (s < 0) {
        return;
    }
    struct fakeconn *c = mem_zalloc(sizeof *c);
    c->f = f;
    c->fd = s;
    resp_parser_init(&c->parser);
    c->io = loop_io_new(f->loop, s, on_conn, c);
    loop_io_set(c->io, LOOP_READ);
    c->next = f->conns;
    f->conns = c;
    f->accepted++;
}

void fakenode_start(struct fakenode *f)
{
    must(f->fd < 0);
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(f->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    must(bind(f->fd, (struct sockaddr *)&a, sizeof a) == 0);
    must(listen(f->fd, 64) == 0);
    socklen_t len = sizeof a;
    must(getsockname(f->fd, (struct sockaddr *)&a, &len) == 0);
    f->port = ntohs(a.sin_port);
    f->io = loop_io_new(f->loop, f->fd, on_listen, f);
    loop_io_set(f->io, LOOP_READ);
}

void fakenode_stop(struct fakenode *f)
{
    while (f->conns != NULL) {
        conn_drop(f->conns);
    }
    if (f->fd >= 0) {
        loop_io_free(f->io);
        close(f->fd);
        f->fd = -1;
    }
}

struct fakenode *fakenode_new(struct loop *l, fake_fn fn, void *arg)
{
    struct fakenode *f = mem_zalloc(sizeof *f);
    f->loop = l;
    f->fn = fn;
    f->arg = arg;
    f->fd = -1;
    fakenode_start(f);
    return f;
}

void fakenode_free(struct fakenode *f)
{
    fakenode_stop(f);
    mem_free(f);
}

uint16_t fakenode_port(const struct fakenode *f)
{
    return f->port;
}

uint64_t fakenode_requests(const struct fakenode *f)
{
    return f->requests;
}

uint64_t fakenode_accepted(const struct fakenode *f)
{
    return f->accepted;
}

uint32_t fakenode_connections(const struct fakenode *f)
{
    uint32_t n = 0;
    for (const struct fakeconn *c = f->conns; c != NULL; c = c->next) {
        n++;
    }
    return n;
}

void fakenode_release(struct fakenode *f, struct span wrapped)
{
    must(f->held_count != 0);
    struct fakeconn *c = f->held[0];
    f->held_count--;
    memmove(f->held, f->held + 1, f->held_count * sizeof f->held[0]);
    add_wrapped(&c->out, wrapped);
    conn_write(c);
}
