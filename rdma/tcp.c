/* Peer transport over TCP: a stream of frames (wire.h) on a non-blocking socket.
 *
 * The caller sends HELLO and waits; the listener answers ACCEPT or REFUSE; after that only messages
 * flow. Messages are appended to the link's output buffer and written once per turn; what the
 * kernel does not take goes when the socket is writable. Received messages are delivered in place,
 * from the input buffer. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/must.h"
#include "rdma/link.h"

#define READ_BYTES ((size_t)64 << 10)
#define READS_PER_TURN 4
#define ACCEPTS_PER_TURN 16
#define KEEP_BYTES ((size_t)256 << 10) /* buffers larger than this are given back when empty */
#define ACCEPT_PAUSE_US 100000u        /* after running out of file descriptors */
#define REFUSE_BODY_MAX 64u

struct tcp {
    int fd;
    struct loop_io *io;
    struct loop_timer *resume;
    char where[80];
};

struct tcp_link {
    struct link base;
    int fd;
    struct loop_io *io;
    struct hello hello; /* to be said once connected */
    struct buf in, out;
};

static struct tcp_link *tcp_of(struct link *l)
{
    obj_check(l, LINK_MAGIC);
    return (struct tcp_link *)l;
}

static void set_option(int fd, int level, int name, int value)
{
    /* best effort: a missing option costs latency or detection time, not correctness */
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

static void tune(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 4000);
}

/* ---- writing ---- */
/* Writes what is queued. Returns NULL, or why the link is lost. */
static const char *write_out(struct tcp_link *l)
{
    while (buf_used(&l->out) != 0) {
        ssize_t n = send(l->fd, buf_head(&l->out), buf_used(&l->out), MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                return errno == ETIMEDOUT ? "timed out" : "connection reset";
            }
            break;
        }
        if (l->base.peer != NULL) {
            l->base.peer->stats.sends++;
        }
        buf_consume(&l->out, (size_t)n);
    }
    buf_trim(&l->out, KEEP_BYTES);
    loop_io_set(l->io, LOOP_READ | (buf_used(&l->out) != 0 ? LOOP_WRITE : 0u));
    return NULL;
}

static void tcp_flush(struct link *base)
{
    struct tcp_link *l = tcp_of(base);
    const char *lost = write_out(l);
    if (lost != NULL) {
        link_lost(base, lost);
        return;
    }
    link_drained(base);
}

static void add_frame(struct tcp_link *l, enum frame_kind kind, const void *body, size_t len)
{
    frame_put(buf_reserve(&l->out, FRAME_HEAD + len), kind, len);
    buf_commit(&l->out, FRAME_HEAD);
    buf_add(&l->out, body, len);
}

static void tcp_send(struct link *base, unsigned flags, const struct span *parts, size_t n,
                     size_t len)
{
    (void)flags; /* one stream: nothing can overtake */
    struct tcp_link *l = tcp_of(base);
    frame_put(buf_reserve(&l->out, FRAME_HEAD + len), FRAME_MESSAGE, len);
    buf_commit(&l->out, FRAME_HEAD);
    for (size_t i = 0; i < n; i++) {
        buf_add(&l->out, parts[i].p, parts[i].len);
    }
    if (base->t->o.no_coalescing && base->doomed == NULL) {
        base->doomed = write_out(l);
    }
}

static size_t tcp_queued(const struct link *base)
{
    return buf_used(&((const struct tcp_link *)base)->out);
}

static void add_hello(struct tcp_link *l, enum frame_kind kind, const struct hello *h)
{
    unsigned char bytes[HELLO_BYTES];
    hello_encode(h, bytes);
    add_frame(l, kind, bytes, sizeof bytes);
}

/* ---- reading ---- */
static const char *take_handshake(struct tcp_link *l, unsigned kind, const char *body, size_t len)
{
    struct hello h;
    if (l->base.state == LINK_INCOMING && kind == FRAME_HELLO &&
        hello_decode(body, len, &h) == OK) {
        link_incoming(&l->base, &h);
        return NULL;
    }
    if (l->base.state == LINK_SAID_HELLO && kind == FRAME_ACCEPT &&
        hello_decode(body, len, &h) == OK) {
        link_accepted(&l->base, &h);
        return NULL;
    }
    if (l->base.state == LINK_SAID_HELLO && kind == FRAME_REFUSE && len != 0) {
        link_refused(&l->base, (enum refusal)(unsigned char)body[0]);
        return NULL;
    }
    return "unexpected bytes in the handshake";
}

/* Largest body that is acceptable now: nobody unknown makes us wait for, or store, more than a
 * hello. */
static size_t body_max(const struct tcp_link *l)
{
    return l->base.state == LINK_UP ? l->base.t->o.message_max : REFUSE_BODY_MAX;
}

/* Delivers the whole frames in the buffer. Returns NULL (look at the link's state) or why the link
 * is lost. */
static const char *take_frames(struct tcp_link *l)
{
    while (buf_used(&l->in) >= FRAME_HEAD) {
        unsigned kind = 0;
        size_t len = 0;
        const char *head = buf_head(&l->in);
        must(head != NULL);
        frame_get(head, &kind, &len);
        if (len > body_max(l)) {
            return l->base.state == LINK_UP ? "message above the limit of this member"
                                            : "not the peer protocol";
        }
        if (buf_used(&l->in) < FRAME_HEAD + len) {
            buf_reserve(&l->in, FRAME_HEAD + len - buf_used(&l->in));
            return NULL;
        }
        const char *body = buf_head(&l->in) + FRAME_HEAD;
        if (l->base.state == LINK_UP) {
            if (kind != FRAME_MESSAGE) {
                return "unknown frame";
            }
            link_message(&l->base, body, len);
        } else {
            const char *lost = take_handshake(l, kind, body, len);
            if (lost != NULL) {
                return lost;
            }
        }
        if (link_is_dead(&l->base)) {
            return NULL;
        }
        buf_consume(&l->in, FRAME_HEAD + len);
    }
    return NULL;
}

static void on_readable(struct tcp_link *l)
{
    for (int i = 0; i < READS_PER_TURN; i++) {
        size_t room = l->in.cap - l->in.len;
        if (room < READ_BYTES / 4) {
            buf_reserve(&l->in, READ_BYTES);
            room = l->in.cap - l->in.len;
        }
        ssize_t n = recv(l->fd, l->in.p + l->in.len, room, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        if (n <= 0) {
            link_lost(&l->base, n == 0               ? "closed by the peer"
                                : errno == ETIMEDOUT ? "timed out"
                                                     : "connection reset");
            return;
        }
        if (l->base.peer != NULL) {
            l->base.peer->stats.receives++;
        }
        buf_commit(&l->in, (size_t)n);
        const char *lost = take_frames(l);
        if (link_is_dead(&l->base)) {
            return;
        }
        if (lost != NULL) {
            link_lost(&l->base, lost);
            return;
        }
        buf_trim(&l->in, KEEP_BYTES);
        if ((size_t)n < room) {
            return; /* the socket is empty: spare the call that says so */
        }
    }
}

static void on_connected(struct tcp_link *l)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        link_lost(&l->base, error == ECONNREFUSED ? "connection refused" : "cannot connect");
        return;
    }
    add_hello(l, FRAME_HELLO, &l->hello);
    link_said_hello(&l->base);
    tcp_flush(&l->base);
}

static void on_ready(int fd, unsigned events, void *arg)
{
    (void)fd;
    struct tcp_link *l = tcp_of(arg);
    if (link_is_dead(&l->base)) {
        return;
    }
    if (l->base.state == LINK_DIALLING) {
        on_connected(l);
        return;
    }
    if ((events & LOOP_WRITE) != 0) {
        tcp_flush(&l->base);
    }
    if ((events & LOOP_READ) != 0 && !link_is_dead(&l->base)) {
        on_readable(l);
    }
}

/* ---- connections ---- */
static struct tcp_link *new_link(struct transport *t, struct peer *p, int fd, unsigned watch)
{
    struct tcp_link *l = mem_zalloc(sizeof *l);
    link_init(&l->base, t, p);
    l->fd = fd;
    l->io = loop_io_new(t->o.loop, fd, on_ready, l);
    loop_io_set(l->io, watch);
    return l;
}

static enum err tcp_dial(struct peer *p, const struct hello *h, struct link **out)
{
    struct sockaddr_storage to;
    unsigned len = 0;
    enum err e = address_resolve(p->host, p->port, false, &to, &len);
    if (e != OK) {
        return e;
    }
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return ERR_IO;
    }
    tune(fd);
    if (connect(fd, (struct sockaddr *)&to, len) != 0 && errno != EINPROGRESS) {
        close(fd);
        return ERR_IO;
    }
    struct tcp_link *l = new_link(p->t, p, fd, LOOP_WRITE);
    l->hello = *h;
    *out = &l->base;
    return OK;
}

static enum err tcp_accept(struct link *base, const struct hello *reply)
{
    add_hello(tcp_of(base), FRAME_ACCEPT, reply);
    link_touch(base);
    return OK;
}

static void refuse_fd(int fd, enum refusal why)
{
    unsigned char frame[FRAME_HEAD + 1];
    frame_put(frame, FRAME_REFUSE, 1);
    frame[FRAME_HEAD] = (unsigned char)why;
    (void)send(fd, frame, sizeof frame, MSG_NOSIGNAL); /* if it is lost, the caller tries again */
}

static void tcp_refuse(struct link *base, enum refusal why)
{
    refuse_fd(tcp_of(base)->fd, why);
}

static void tcp_shut(struct link *base)
{
    struct tcp_link *l = (struct tcp_link *)base;
    loop_io_free(l->io);
    l->io = NULL;
    close(l->fd);
    l->fd = -1;
}

static void tcp_reap(struct link *base)
{
    struct tcp_link *l = (struct tcp_link *)base;
    buf_free(&l->in);
    buf_free(&l->out);
    mem_free(l);
}

/* ---- listening ---- */
static void on_call(int fd, unsigned events, void *arg)
{
    (void)events;
    struct transport *t = arg;
    struct tcp *s = t->impl;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (got < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                loop_io_set(s->io, 0);
                loop_timer_start(s->resume, ACCEPT_PAUSE_US);
            }
            return;
        }
        if (t->incoming >= LINK_INCOMING_MAX) {
            close(got);
            continue;
        }
        tune(got);
        new_link(t, NULL, got, LOOP_READ);
    }
}

static void resume_calls(void *arg)
{
    struct tcp *s = arg;
    loop_io_set(s->io, LOOP_READ);
}

static int listen_on(const struct sockaddr_storage *a, unsigned len)
{
    int fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd, (const struct sockaddr *)a, len) != 0 || listen(fd, 128) != 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static enum err tcp_open(struct transport *t, struct errmsg *why)
{
    struct sockaddr_storage a;
    unsigned len = 0;
    if (address_resolve(t->o.host, t->port, true, &a, &len) != OK) {
        return errmsg_set(why, ERR_CONFIG, "transport: cannot resolve '%s'", t->o.host);
    }
    int fd = listen_on(&a, len);
    if (fd < 0) {
        char where[80];
        address_format(&a, where, sizeof where);
        return errmsg_set(why, ERR_IO, "transport: cannot listen on %s: %s", where,
                          strerrordesc_np(errno));
    }
    socklen_t alen = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &alen) == 0) {
        t->port = a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&a)->sin6_port)
                                          : ntohs(((struct sockaddr_in *)&a)->sin_port);
    }
    struct tcp *s = mem_zalloc(sizeof *s);
    s->fd = fd;
    address_format(&a, s->where, sizeof s->where);
    s->resume = loop_timer_new(t->o.loop, resume_calls, s);
    s->io = loop_io_new(t->o.loop, fd, on_call, t);
    t->impl = s;
    loop_io_set(s->io, LOOP_READ);
    return OK;
}

static void tcp_close(struct transport *t)
{
    struct tcp *s = t->impl;
    loop_io_free(s->io);
    loop_timer_free(s->resume);
    close(s->fd);
    mem_free(s);
    t->impl = NULL;
}

static size_t tcp_describe(const struct transport *t, char *out, size_t room)
{
    const struct tcp *s = t->impl;
    int n = snprintf(out, room, "tcp %s", s->where);
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

const struct link_ops tcp_ops = {
    .up_on_accept = true,
    .open = tcp_open,
    .close = tcp_close,
    .dial = tcp_dial,
    .accept = tcp_accept,
    .refuse = tcp_refuse,
    .send = tcp_send,
    .flush = tcp_flush,
    .queued = tcp_queued,
    .shut = tcp_shut,
    .reap = tcp_reap,
    .describe = tcp_describe,
};
