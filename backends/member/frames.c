/* Framed connections of the membership service. */
#include "backends/member/frames.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/must.h"

#define FRAMES_MAGIC 0x4d46524du
#define HEADER 5u
#define READ_BYTES 16384u
#define READS_MAX 8u      /* per readiness event */
#define PATIENCE_MS 1000u /* for what was sent and is not acknowledged by the other's kernel */

struct frames {
    uint32_t magic;
    struct loop *loop;
    int fd;
    struct loop_io *io;
    const struct frames_ops *ops;
    void *arg;
    struct buf in, out;
    struct loop_task flush;
    bool finishing; /* no more is read; ends when out is empty */
    bool busy;      /* inside a callback */
    bool freed;     /* frames_free was called from inside it */
};

static void destroy(struct frames *f)
{
    loop_defer_cancel(f->loop, &f->flush);
    loop_io_free(f->io);
    if (f->fd >= 0) {
        (void)close(f->fd);
    }
    buf_free(&f->in);
    buf_free(&f->out);
    f->magic = 0;
    mem_free(f);
}

void frames_free(struct frames *f)
{
    if (f == NULL) {
        return;
    }
    obj_check(f, FRAMES_MAGIC);
    if (f->busy) {
        f->freed = true;
        return;
    }
    destroy(f);
}

static void end(struct frames *f, const char *reason)
{
    f->busy = true;
    if (!f->freed) {
        f->ops->closed(f->arg, reason);
    }
    destroy(f);
}

/* Writes what the socket takes. NULL, or why the connection is over. */
static const char *push(struct frames *f)
{
    while (buf_used(&f->out) != 0) {
        ssize_t n = send(f->fd, buf_head(&f->out), buf_used(&f->out), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            break;
        }
        if (n < 0) {
            return "the connection broke";
        }
        buf_consume(&f->out, (size_t)n);
    }
    if (f->finishing && buf_used(&f->out) == 0) {
        return "closed";
    }
    loop_io_set(f->io,
                (f->finishing ? 0u : LOOP_READ) | (buf_used(&f->out) != 0 ? LOOP_WRITE : 0u));
    return NULL;
}

static void on_flush(struct loop_task *task)
{
    struct frames *f = (struct frames *)(void *)((char *)task - offsetof(struct frames, flush));
    obj_check(f, FRAMES_MAGIC);
    const char *why = push(f);
    if (why != NULL) {
        end(f, why);
    }
}

/* Hands over whole frames. NULL, or why the connection is over; may leave f freed (f->freed). */
static const char *deliver(struct frames *f)
{
    while (buf_used(&f->in) >= HEADER && !f->finishing) {
        const unsigned char *p = (const unsigned char *)buf_head(&f->in);
        size_t len = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
        if (len < 1 || len > FRAMES_PAYLOAD_MAX + 1) {
            return "a frame of no possible length";
        }
        if (buf_used(&f->in) < len + HEADER - 1) {
            break;
        }
        f->busy = true;
        bool ok = f->ops->frame(f->arg, p[HEADER - 1], span_of((const char *)p + HEADER, len - 1));
        f->busy = false;
        if (f->freed) {
            return "freed";
        }
        if (!ok) {
            return "a message that makes no sense";
        }
        buf_consume(&f->in, len + HEADER - 1);
    }
    return NULL;
}

static const char *pull(struct frames *f)
{
    for (unsigned i = 0; i < READS_MAX && !f->finishing; i++) {
        ssize_t n = recv(f->fd, buf_reserve(&f->in, READ_BYTES), READ_BYTES, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return NULL;
        }
        if (n <= 0) {
            return n == 0 ? "the other side closed the connection" : "the connection broke";
        }
        buf_commit(&f->in, (size_t)n);
        const char *why = deliver(f);
        if (why != NULL) {
            return why;
        }
        if ((size_t)n < READ_BYTES) {
            return NULL;
        }
    }
    return NULL;
}

static void on_io(int fd, unsigned events, void *arg)
{
    struct frames *f = arg;
    obj_check(f, FRAMES_MAGIC);
    (void)fd;
    const char *why = (events & LOOP_WRITE) != 0 ? push(f) : NULL;
    if (why == NULL && (events & LOOP_READ) != 0) {
        why = pull(f);
    }
    if (why != NULL) {
        end(f, why);
    }
}

struct frames *frames_new(struct loop *l, int fd, const struct frames_ops *ops, void *arg)
{
    struct frames *f = mem_zalloc(sizeof *f);
    f->magic = FRAMES_MAGIC;
    f->loop = l;
    f->fd = fd;
    f->ops = ops;
    f->arg = arg;
    f->flush.fn = on_flush;
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* after a cut the kernel would wait longer and longer before it tries again; a new call is
     * answered as soon as there is a way */
    unsigned patience_ms = PATIENCE_MS;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof patience_ms);
    f->io = loop_io_new(l, fd, on_io, f);
    loop_io_set(f->io, LOOP_READ);
    return f;
}

enum err frames_send(struct frames *f, uint8_t kind, struct span payload)
{
    obj_check(f, FRAMES_MAGIC);
    must(payload.len <= FRAMES_PAYLOAD_MAX);
    if (f->finishing || f->freed) {
        return ERR_CLOSED;
    }
    if (buf_used(&f->out) > FRAMES_QUEUE_MAX) {
        return ERR_BUSY;
    }
    size_t len = payload.len + 1;
    char head[HEADER] = {(char)len, (char)(len >> 8), (char)(len >> 16), (char)(len >> 24),
                         (char)kind};
    buf_add(&f->out, head, sizeof head);
    buf_add(&f->out, payload.p, payload.len);
    loop_defer(f->loop, &f->flush);
    return OK;
}

void frames_finish(struct frames *f)
{
    obj_check(f, FRAMES_MAGIC);
    f->finishing = true;
    loop_io_set(f->io, LOOP_WRITE);
    loop_defer(f->loop, &f->flush);
}
