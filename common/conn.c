/* Client connections: one read per readiness event, whole batches parsed in place, one write per
 * turn.
 *
 * All connections of a loop share one read buffer and one array of argument spans: what a read
 * brings is parsed where it was read and handed over; only an incomplete request (or one that must
 * wait) is copied into the connection's own buffer. An idle connection therefore holds no buffers
 * at all.
 *
 * Reading stops while `paused` (the owner took less than offered), while `stalled` (more than
 * out_pause_bytes of output wait), at the end of the stream, and when the connection is about to
 * close. Nothing here calls on_batch from within the owner's calls: resuming and closing are
 * deferred to the end of the turn. */
#include "common/conn.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conn_net.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

#define CONN_MAGIC 0xc0c0aa01u
#define READ_BYTES ((size_t)32 * 1024)
#define ARENA_SPANS ((uint32_t)CONN_BATCH_MAX * 16)
#define TRIM_AT_ONCE_BYTES (1u << 20)
#define TICK_US 1000000u
#define TICKS_UNTIL_TRIM 2u

struct conn_private {
    struct conn *c;
    struct conn_private **prev_next, *next; /* list of the loop's connections */
    struct conn_pool *pool;
    struct loop_io *io;
    struct loop_task flush_task, close_task, resume_task;
    struct resp_parser parser;
    uint32_t idle_ticks, soft_ticks;
    bool eof;           /* the client sends no more */
    bool blocked_write; /* the socket took less than there was */
};

/* What the connections of one loop share. */
struct conn_pool {
    struct conn_private *first;
    struct conn_private
        *tick_next; /* next to be visited by the tick under way; moved on when that one goes */
    struct loop_timer *tick;
    struct span arena[ARENA_SPANS];
    struct conn_req reqs[CONN_BATCH_MAX];
    char bytes[READ_BYTES];
};

static void on_tick(void *arg);

static void pool_free(void *arg)
{
    struct conn_pool *pool = arg;
    if (pool != NULL) {
        must(pool->first == NULL); /* the owner closes connections before the loop */
        loop_timer_free(pool->tick);
        mem_free(pool);
    }
}

static struct conn_pool *pool_of(struct loop *l)
{
    void **slot = loop_local(l, pool_free);
    if (*slot == NULL) {
        struct conn_pool *pool = mem_zalloc(sizeof *pool);
        pool->tick = loop_timer_new(l, on_tick, pool);
        loop_timer_start(pool->tick, TICK_US);
        *slot = pool;
    }
    return *slot;
}

/* ---- input ---- */

static bool accepts_requests(const struct conn *c)
{
    return !c->closing && !c->close_after_write && !c->paused && !c->stalled;
}

static void update_watch(struct conn *c)
{
    unsigned events = c->priv->blocked_write ? LOOP_WRITE : 0;
    if (accepts_requests(c) && !c->priv->eof) {
        events |= LOOP_READ;
    }
    loop_io_set(c->priv->io, events);
}

/* As many whole requests as there are, into pool->reqs; at most a batch. */
static size_t collect(struct conn_pool *pool, const struct resp_limits *limits, const char *bytes,
                      size_t len)
{
    size_t n = 0;
    size_t at = 0;
    uint32_t spans = 0;
    while (n < CONN_BATCH_MAX) {
        uint32_t argc = 0;
        struct span *argv = pool->arena + spans;
        size_t used =
            resp_parse_whole(bytes + at, len - at, limits, argv, ARENA_SPANS - spans, &argc);
        if (used == 0) {
            break;
        }
        pool->reqs[n++] = (struct conn_req){.argv = argv,
                                            .argc = argc,
                                            .bytes = (uint32_t)used,
                                            .raw = bytes[at] == '*' ? bytes + at : NULL};
        spans += argc;
        at += used;
    }
    return n;
}

/* One request by the state machine. Returns 1 with pool->reqs[0] set, 0 when nothing is to be
 * handed over; *used bytes are done with in both cases, *more: the rest is incomplete. */
static size_t collect_odd(struct conn *c, const struct resp_limits *limits, struct span rest,
                          size_t *used, bool *more)
{
    struct resp_parser *parser = &c->priv->parser;
    struct errmsg error;
    *used = 0;
    *more = false;
    switch (resp_parse(parser, rest.p, rest.len, limits, used, &error)) {
    case RESP_MORE:
        *more = true;
        return 0;
    case RESP_BAD:
        if (c->ops->has_pending != NULL && c->ops->has_pending(c)) {
            /* the replies to what came before go first: look at it again after conn_resume */
            resp_parser_reset(parser);
            c->paused = true;
            *more = true;
            return 0;
        }
        resp_errorf(&c->reply, "ERR %s", error.text);
        c->close_after_write = true;
        return 0;
    case RESP_REQUEST:
        break;
    }
    if (parser->argc == 0) {
        return 0;
    }
    c->priv->pool->reqs[0] = (struct conn_req){.argv = parser->argv,
                                               .argc = parser->argc,
                                               .bytes = (uint32_t)*used,
                                               .raw = rest.p[0] == '*' ? rest.p : NULL};
    return 1;
}

/* Hands over what bytes hold. Returns how many of them are done with. */
static size_t run_requests(struct conn *c, const char *bytes, size_t len)
{
    struct conn_pool *pool = c->priv->pool;
    struct resp_parser *parser = &c->priv->parser;
    size_t at = 0;
    while (at < len && accepts_requests(c)) {
        struct resp_limits limits = c->limits->resp;
        limits.unauthenticated |= c->unauthenticated;
        bool more = false;
        size_t odd_bytes = 0;
        size_t n = resp_parser_idle(parser) ? collect(pool, &limits, bytes + at, len - at) : 0;
        if (n == 0) {
            n = collect_odd(c, &limits, span_of(bytes + at, len - at), &odd_bytes, &more);
            if (more) {
                break;
            }
            if (n == 0) {
                at += odd_bytes;
                continue;
            }
        }
        size_t taken = c->ops->on_batch(c, pool->reqs, n);
        must(taken <= n);
        c->requests += taken;
        for (size_t i = 0; i < taken; i++) {
            at += pool->reqs[i].bytes;
        }
        if (odd_bytes != 0) {
            resp_parser_reset(parser);
        }
        if (conn_full(c)) {
            c->stalled = true;
        } else if (taken < n) {
            c->paused = true;
        }
    }
    return c->close_after_write || c->closing ? len : at;
}

static void after_input(struct conn *c)
{
    if (buf_used(&c->out) != 0 || c->close_after_write || c->priv->eof) {
        conn_touch(c);
    }
    size_t held = buf_used(&c->in) + c->priv->parser.argv_cap * sizeof(struct span);
    if (held > c->limits->query_bytes_max && !c->closing) {
        log_warning("Closing client that reached max query buffer length: %s", c->peer);
        conn_close(c);
    }
    if (!c->closing) {
        update_watch(c);
    }
}

static void run_buffered(struct conn *c)
{
    size_t done = run_requests(c, buf_head(&c->in), buf_used(&c->in));
    buf_consume(&c->in, done);
    buf_trim(&c->in, TRIM_AT_ONCE_BYTES);
}

/* Where the next read goes: the shared buffer, or behind what the connection already holds. */
static ssize_t read_some(struct conn *c, struct conn_pool *pool)
{
    size_t held = buf_used(&c->in);
    if (held == 0) {
        return recv(c->fd, pool->bytes, sizeof pool->bytes, 0);
    }
    size_t wanted = resp_wanted(&c->priv->parser);
    size_t room =
        wanted > held ? wanted - held : READ_BYTES; /* no further than a large argument's end */
    if (room < READ_BYTES && wanted < READ_BYTES) {
        room = READ_BYTES;
    }
    return recv(c->fd, buf_reserve(&c->in, room), room, 0);
}

static void on_input(struct conn *c)
{
    struct conn_pool *pool = c->priv->pool;
    ssize_t n = read_some(c, pool);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            conn_close(c);
        }
        return;
    }
    if (n == 0) {
        c->priv->eof = true;
        conn_touch(c); /* flush decides whether something is still to come */
        update_watch(c);
        return;
    }
    c->bytes_in += (uint64_t)n;
    c->priv->idle_ticks = 0;
    c->last_active_ms = clk_wall_ms();
    if (buf_used(&c->in) == 0) {
        size_t done = run_requests(c, pool->bytes, (size_t)n);
        size_t left = (size_t)n - done;
        if (left != 0) {
            size_t wanted = resp_wanted(&c->priv->parser);
            buf_reserve(&c->in, wanted > left ? wanted : left);
            buf_add(&c->in, pool->bytes + done, left);
        }
    } else {
        buf_commit(&c->in, (size_t)n);
        run_buffered(c);
    }
    after_input(c);
}

static void on_resume(struct loop_task *task)
{
    struct conn_private *p =
        (struct conn_private *)(void *)((char *)task - offsetof(struct conn_private, resume_task));
    struct conn *c = p->c;
    if (!c->closing) {
        run_buffered(c);
        after_input(c);
    }
}

void conn_resume(struct conn *c)
{
    obj_check(c, CONN_MAGIC);
    if (!c->closing) {
        c->paused = false;
        loop_defer(c->loop, &c->priv->resume_task);
    }
}

/* ---- output ---- */

static bool over_limit(struct conn *c)
{
    const struct conn_limits *lim = c->limits;
    uint64_t waiting = buf_used(&c->out);
    bool soft = lim->out_soft_bytes != 0 && waiting > lim->out_soft_bytes;
    c->priv->soft_ticks = soft ? c->priv->soft_ticks : 0;
    return (lim->out_hard_bytes != 0 && waiting > lim->out_hard_bytes) ||
           (soft && c->priv->soft_ticks > lim->out_soft_seconds);
}

static void close_over_limit(struct conn *c)
{
    log_warning("Client %s closed for overcoming of output buffer limits: %zu bytes waiting",
                c->peer, buf_used(&c->out));
    conn_close(c);
}

/* Everything was written: is this the end? */
static bool is_finished(const struct conn *c)
{
    if (c->close_after_write) {
        return true;
    }
    bool waits = c->paused || (c->ops->has_pending != NULL && c->ops->has_pending(c));
    return c->priv->eof && !waits;
}

static void flush(struct conn *c)
{
    size_t waiting = buf_used(&c->out);
    if (waiting != 0) {
        ssize_t n = send(c->fd, buf_head(&c->out), waiting, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            conn_close(c);
            return;
        }
        if (n > 0) {
            c->bytes_out += (uint64_t)n;
            buf_consume(&c->out, (size_t)n);
            waiting -= (size_t)n;
        }
    }
    if (waiting == 0) {
        buf_trim(&c->out, TRIM_AT_ONCE_BYTES);
    } else if (over_limit(c)) {
        close_over_limit(c);
        return;
    }
    if (c->stalled && waiting <= c->limits->out_pause_bytes / 2) {
        c->stalled = false;
        loop_defer(c->loop, &c->priv->resume_task);
    } else if (waiting == 0 && is_finished(c)) {
        conn_close(c);
        return;
    }
    c->priv->blocked_write = waiting != 0;
    update_watch(c);
}

static void on_flush(struct loop_task *task)
{
    struct conn_private *p =
        (struct conn_private *)(void *)((char *)task - offsetof(struct conn_private, flush_task));
    if (!p->c->closing) {
        flush(p->c);
    }
}

void conn_touch(struct conn *c)
{
    obj_check(c, CONN_MAGIC);
    if (!c->closing) {
        loop_defer(c->loop, &c->priv->flush_task);
    }
}

static void on_ready(int fd, unsigned events, void *arg)
{
    (void)fd;
    struct conn *c = arg;
    obj_check(c, CONN_MAGIC);
    if (c->closing) {
        return;
    }
    if ((events & LOOP_WRITE) != 0) {
        conn_touch(c);
    } else {
        on_input(c);
    }
}

/* ---- life ---- */

static void on_close(struct loop_task *task)
{
    struct conn_private *p =
        (struct conn_private *)(void *)((char *)task - offsetof(struct conn_private, close_task));
    struct conn *c = p->c;
    c->ops->on_close(c);
    loop_defer_cancel(c->loop, &p->flush_task);
    loop_defer_cancel(c->loop, &p->resume_task);
    loop_io_free(p->io);
    if (c->close_after_write) {
        /* Bytes that were never read would turn the close into a reset, which can overtake the last
         * reply. */
        shutdown(c->fd, SHUT_WR);
        ssize_t rest = recv(c->fd, p->pool->bytes, sizeof p->pool->bytes, MSG_DONTWAIT);
        (void)rest;
    }
    close(c->fd);
    c->fd = -1;
    if (p->pool->tick_next == p) {
        p->pool->tick_next = p->next;
    }
    *p->prev_next = p->next;
    if (p->next != NULL) {
        p->next->prev_next = p->prev_next;
    }
    resp_parser_free(&p->parser);
    buf_free(&c->in);
    buf_free(&c->out);
    c->priv = NULL;
    c->magic = 0;
    mem_free(p);
    c->ops->release(c);
}

void conn_close(struct conn *c)
{
    obj_check(c, CONN_MAGIC);
    if (!c->closing) {
        c->closing = true;
        loop_io_set(c->priv->io, 0);
        loop_defer(c->loop, &c->priv->close_task);
    }
}

enum err conn_init(struct conn *c, struct loop *l, int fd, const struct conn_ops *ops,
                   const struct conn_limits *limits)
{
    must(ops->on_batch != NULL && ops->on_close != NULL && ops->release != NULL);
    struct conn_private *p = mem_zalloc(sizeof *p);
    c->magic = CONN_MAGIC;
    c->proto = 2;
    c->fd = fd;
    c->loop = l;
    c->ops = ops;
    c->limits = limits;
    c->reply = (struct resp_out){.b = &c->out, .proto = 2};
    c->created_ms = c->last_active_ms = clk_wall_ms();
    c->is_unix = net_socket_names(fd, c->peer, sizeof c->peer, c->local, sizeof c->local);
    c->priv = p;
    p->c = c;
    p->pool = pool_of(l);
    p->flush_task.fn = on_flush;
    p->close_task.fn = on_close;
    p->resume_task.fn = on_resume;
    resp_parser_init(&p->parser);
    p->io = loop_io_new(l, fd, on_ready, c);
    loop_io_set(p->io, LOOP_READ);
    p->next = p->pool->first;
    p->prev_next = &p->pool->first;
    if (p->next != NULL) {
        p->next->prev_next = &p->next;
    }
    p->pool->first = p;
    return OK;
}

uint64_t conn_memory(const struct conn *c)
{
    const struct conn_private *p = c->priv;
    return sizeof *c + sizeof *p + c->in.cap + c->out.cap +
           p->parser.argv_cap * sizeof(struct span) + p->parser.inline_cap;
}

/* ---- once a second: idle clients, soft limits, memory of idle buffers ---- */

static void tick_one(struct conn *c)
{
    struct conn_private *p = c->priv;
    p->idle_ticks++;
    if (p->idle_ticks >= TICKS_UNTIL_TRIM) {
        buf_trim(&c->in, 0);
        buf_trim(&c->out, 0);
        if (resp_parser_idle(&p->parser)) {
            resp_parser_reset(&p->parser);
        }
    }
    if (buf_used(&c->out) != 0) {
        p->soft_ticks++;
        if (over_limit(c)) {
            close_over_limit(c);
            return;
        }
    }
    bool waits = c->paused || (c->ops->has_pending != NULL && c->ops->has_pending(c));
    if (c->limits->idle_seconds != 0 && p->idle_ticks > c->limits->idle_seconds && !waits) {
        log_verbose("Closing idle client %s", c->peer);
        conn_close(c);
    }
}

static void on_tick(void *arg)
{
    struct conn_pool *pool = arg;
    for (struct conn_private *p = pool->first; p != NULL; p = pool->tick_next) {
        pool->tick_next = p->next;
        if (!p->c->closing) {
            tick_one(p->c);
        }
    }
    loop_timer_start(pool->tick, TICK_US);
}
