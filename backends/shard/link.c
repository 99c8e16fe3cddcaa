/* One link: connecting, greeting, writing once per turn, reading, breaking, coming back.
 *
 *     IDLE -> CONNECTING -> GREETING -> UP -> (lost) -> CONNECTING
 *                  \___________\____-> DOWN -(timer)-> CONNECTING
 *
 * hiredis makes the connection and understands replies (reply.c); its hooks are on common/loop.h
 * here. Its own output buffer and list of callbacks are not used for requests: it cannot tell which
 * of them have left (DESIGN H13), moves the rest of the buffer after every partial write (quadratic
 * for large values), and allocates a callback per command. The log and the list of open requests
 * take their place.
 *
 * Invariants:
 *  1. first..last are the open requests in the order of their bytes in the log.
 *  2. sent <= bytes in the log; sent is 0 unless UP.
 *  3. DOWN means no open requests: whoever asks gets the reason at once.
 *  4. A request marked SHARD_WRITE of which the last byte was given to the kernel is never sent
 *     again: it ends as SHARD_REPLY, SHARD_CONTROL or SHARD_UNKNOWN. A read is sent again once.
 *  5. A request marked SHARD_MOVABLE waits on an unbroken connection only: whoever committed it
 *     knows another node to ask. */
#include <errno.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "backends/shard/link.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

#define RETRY_FIRST_MS 20u

static void watch(struct shard_link *l, unsigned events)
{
    if (l->io != NULL && l->io_events != events) {
        l->io_events = events;
        loop_io_set(l->io, events);
    }
}

/* ---- hiredis' hooks ---- */
static void hook_add_read(void *arg)
{
    struct shard_link *l = arg;
    watch(l, l->io_events | LOOP_READ);
}

static void hook_del_read(void *arg)
{
    struct shard_link *l = arg;
    watch(l, l->io_events & ~LOOP_READ);
}

static void hook_add_write(void *arg)
{
    struct shard_link *l = arg;
    if (l->state == LINK_CONNECTING) {
        watch(l, l->io_events | LOOP_WRITE);
    } else {
        loop_defer(l->pool->loop, &l->flush);
    }
}

static void hook_del_write(void *arg)
{
    struct shard_link *l = arg;
    watch(l, l->io_events & ~LOOP_WRITE);
}

static void hook_cleanup(void *arg)
{
    struct shard_link *l = arg;
    loop_io_free(l->io);
    l->io = NULL;
    l->io_events = 0;
}

/* ---- writing ---- */

/* Gives the kernel as much of the log as it takes. False: the connection is broken. */
static bool push(struct shard_link *l)
{
    size_t used = buf_used(&l->log);
    bool progress = false;
    bool head_left = l->first == NULL || l->sent >= l->first->bytes;
    while (l->sent < used) {
        ssize_t n = send(l->ac->c.fd, buf_head(&l->log) + l->sent, used - l->sent, MSG_NOSIGNAL);
        l->ep->stats.writes++;
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                break;
            }
            return false;
        }
        progress = true;
        l->sent += (size_t)n;
        l->ep->stats.bytes_out += (uint64_t)n;
    }
    if (progress && l->state == LINK_UP) {
        l->progress_ns = clk_mono_ns();
        if (!head_left && l->sent >= l->first->bytes) {
            l->wait_ns = l->progress_ns;
        }
    }
    watch(l, l->sent < used ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    return true;
}

static void on_flush(struct loop_task *task)
{
    struct shard_link *l =
        (struct shard_link *)(void *)((char *)task - offsetof(struct shard_link, flush));
    obj_check(l, LINK_MAGIC);
    if (l->state == LINK_UP && !push(l)) {
        shard_link_lost(l, "the connection to the node broke", true);
    }
}

/* ---- connecting ---- */
static void on_timer(void *arg);

static void go_down(struct shard_link *l)
{
    l->state = LINK_DOWN;
    l->retry_ms = l->retry_ms == 0 ? RETRY_FIRST_MS : l->retry_ms * 2;
    if (l->retry_ms > l->pool->o.retry_max_ms) {
        l->retry_ms = l->pool->o.retry_max_ms;
    }
    loop_timer_start(l->timer, l->retry_ms * 1000u);
}

static void drop_connection(struct shard_link *l)
{
    loop_timer_stop(l->timer);
    loop_defer_cancel(l->pool->loop, &l->flush);
    if (l->ac != NULL) {
        redisAsyncContext *ac = l->ac;
        l->ac = NULL;
        redisAsyncFree(ac); /* runs hook_cleanup, closes */
    }
    l->sent = 0;
    l->broken = false;
    l->greetings = 0;
}

/* Ends the requests of a list; the bytes are at the head of `bytes`, in order. */
static void end_all(struct shard_link *l, struct shard_req *list, struct buf *bytes,
                    const char *reason, size_t sent)
{
    size_t end = 0;
    while (list != NULL) {
        struct shard_req *r = list;
        list = r->next;
        end += r->bytes;
        bool unknown = (r->flags & SHARD_WRITE) != 0 && end <= sent;
        *(unknown ? &l->ep->stats.unknown : &l->ep->stats.failed) += 1;
        l->pool->open--;
        struct span request = span_of(buf_head(bytes), r->bytes);
        size_t n = r->bytes;
        l->pool->done(r, unknown ? SHARD_UNKNOWN : SHARD_FAILED, span_str(reason), request);
        buf_consume(bytes, n);
    }
}

/* Splits the open requests into those that may be sent (again), which stay, and those that end now.
 * Returns the latter; their bytes go to *bytes, and *sent says how many of those had left. */
static struct shard_req *settle(struct shard_link *l, bool retry, struct buf *bytes, size_t *sent)
{
    struct buf old = l->log;
    size_t old_sent = l->sent;
    struct shard_req *r = l->first;
    struct shard_req *ended = NULL;
    struct shard_req **ended_last = &ended;
    l->log = (struct buf){0};
    l->first = NULL;
    l->last = &l->first;
    *sent = 0;
    size_t end = 0;
    while (r != NULL) {
        struct shard_req *next = r->next;
        const char *p = buf_head(&old) + end;
        end += r->bytes;
        bool left = end <= old_sent;
        r->next = NULL;
        bool stays = !left || (retry && (r->flags & (SHARD_WRITE | SHARD_TRIED)) == 0);
        if (stays && (r->flags & SHARD_MOVABLE) == 0) {
            r->flags |= left ? SHARD_TRIED : 0;
            buf_add(&l->log, p, r->bytes);
            *l->last = r;
            l->last = &r->next;
        } else {
            buf_add(bytes, p, r->bytes);
            *sent += left ? r->bytes : 0; /* what has left is before what has not */
            *ended_last = r;
            ended_last = &r->next;
        }
        r = next;
    }
    buf_free(&old);
    return ended;
}

/* No connection can be made: nothing that waits for it has left. */
static void fail_all(struct shard_link *l, const char *reason)
{
    struct shard_req *list = l->first;
    struct buf bytes = l->log;
    l->log = (struct buf){0};
    l->first = NULL;
    l->last = &l->first;
    end_all(l, list, &bytes, reason, 0);
    buf_free(&bytes);
    link_wake(l);
}

static void attempt_failed(struct shard_link *l, const char *reason)
{
    static struct log_limit limit;
    if (reason != l->reason) {
        snprintf(l->reason, sizeof l->reason, "%s", reason);
    }
    if (log_limited(&limit)) {
        log_warning("node %s:%u: %s", l->ep->address, l->ep->port, l->reason);
    }
    drop_connection(l);
    go_down(l);
    fail_all(l, l->reason);
}

void shard_link_lost(struct shard_link *l, const char *reason, bool retry)
{
    static struct log_limit limit;
    must(!l->delivering);
    if (l->state == LINK_CONNECTING || l->state == LINK_GREETING) {
        attempt_failed(l, l->broken && l->reason[0] != '\0' ? l->reason : reason);
        return;
    }
    if (log_limited(&limit)) {
        log_notice("node %s:%u: %s", l->ep->address, l->ep->port, reason);
    }
    l->ep->stats.losses++;
    struct buf bytes = {0};
    size_t sent = 0;
    struct shard_req *ended = settle(l, retry, &bytes, &sent);
    drop_connection(l);
    link_connect(l);
    end_all(l, ended, &bytes, reason, sent);
    buf_free(&bytes);
    link_wake(l);
}

void link_close(struct shard_link *l, const char *reason)
{
    must(!l->delivering);
    struct shard_req *list = l->first;
    struct buf bytes = l->log;
    size_t sent = l->sent;
    struct shard_waiter *w = l->waiters;
    l->log = (struct buf){0};
    l->first = NULL;
    l->last = &l->first;
    l->waiters = NULL;
    drop_connection(l);
    end_all(l, list, &bytes, reason, sent);
    buf_free(&bytes);
    for (struct shard_waiter *x = w; x != NULL; x = x->next) {
        x->link = NULL;
    }
    while (w != NULL) {
        struct shard_waiter *next = w->next;
        w->fn(w);
        w = next;
    }
    link_free(l);
}

static void greet(struct shard_link *l)
{
    struct shard_pool *p = l->pool;
    struct buf b = {0};
    if (p->password != NULL) {
        bool named = p->user != NULL;
        buf_addf(&b, "*%d\r\n$4\r\nAUTH\r\n", named ? 3 : 2);
        if (named) {
            buf_addf(&b, "$%zu\r\n%s\r\n", strlen(p->user), p->user);
        }
        buf_addf(&b, "$%zu\r\n%s\r\n", strlen(p->password), p->password);
        l->greetings++;
    }
    buf_addf(&b, "*3\r\n$7\r\nHALCYON\r\n$4\r\nLINK\r\n$1\r\n%u\r\n", l->proto);
    l->greetings++;
    ssize_t n = send(l->ac->c.fd, buf_head(&b), buf_used(&b), MSG_NOSIGNAL);
    bool whole = n == (ssize_t)buf_used(&b); /* a new socket takes some hundred bytes */
    buf_free(&b);
    if (!whole) {
        attempt_failed(l, "the node closed the connection");
        return;
    }
    watch(l, LOOP_READ);
}

static void on_connect(const redisAsyncContext *ac, int status)
{
    struct shard_link *l = ac->data;
    obj_check(l, LINK_MAGIC);
    if (status != REDIS_OK) {
        l->ac = NULL; /* hiredis frees it itself */
        return;
    }
    l->state = LINK_GREETING;
    l->ep->stats.connects++;
}

static void greeting_done(struct shard_link *l)
{
    l->state = LINK_UP;
    l->retry_ms = 0;
    l->reason[0] = '\0';
    l->progress_ns = l->wait_ns = clk_mono_ns();
    loop_timer_stop(l->timer);
    loop_defer(l->pool->loop, &l->flush);
}

static void read_ready(struct shard_link *l)
{
    struct shard_pool *p = l->pool;
    int fd = l->ac->c.fd;
    p->now_ns = clk_mono_ns();
    l->progress_ns = l->wait_ns = p->now_ns;
    for (unsigned i = 0; i < LINK_READ_MAX; i++) {
        ptrdiff_t n = link_recv_big(l, fd);
        bool fed = n != -2;
        if (!fed) {
            n = recv(fd, p->scratch, LINK_READ_BYTES, 0);
        }
        l->ep->stats.reads++;
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            break;
        }
        if (n > 0) {
            l->ep->stats.bytes_in += (uint64_t)n;
        }
        if (n == 0) {
            shard_link_lost(l, "the node closed the connection", true);
            return;
        }
        if (n < 0 || (!fed && !link_feed(l, p->scratch, (size_t)n))) {
            bool protocol = n > 0 || errno == EPROTO;
            shard_link_lost(
                l, protocol ? "the node broke the protocol" : "the connection to the node broke",
                !protocol);
            return;
        }
        if (l->state == LINK_GREETING && l->greetings == 0) {
            greeting_done(l);
        }
        if (!fed && (size_t)n < LINK_READ_BYTES) {
            break;
        }
    }
    if (!buf_used(&l->log)) {
        buf_trim(&l->log, LINK_LOG_KEEP);
    }
    if (l->waiters != NULL && buf_used(&l->log) <= p->o.link_bytes_max / 2) {
        loop_defer(p->loop, &p->wake);
    }
}

static void on_io(int fd, unsigned events, void *arg)
{
    struct shard_link *l = arg;
    obj_check(l, LINK_MAGIC);
    (void)fd;
    if (l->state == LINK_CONNECTING) {
        redisAsyncHandleWrite(l->ac);
        if (l->ac == NULL) {
            attempt_failed(l, "cannot connect to the node");
        } else if (l->state == LINK_GREETING) {
            greet(l);
        }
        return;
    }
    if ((events & LOOP_WRITE) != 0 && l->state == LINK_UP && !push(l)) {
        shard_link_lost(l, "the connection to the node broke", true);
        return;
    }
    if ((events & LOOP_READ) != 0 && l->ac != NULL) {
        read_ready(l);
    }
}

void link_connect(struct shard_link *l)
{
    must(l->ac == NULL);
    l->state = LINK_CONNECTING;
    /* an address that is not known yet would be looked up, which takes time */
    redisAsyncContext *ac =
        l->ep->address[0] == '\0' ? NULL : redisAsyncConnect(l->ep->address, l->ep->port);
    if (ac == NULL || ac->err != 0) {
        if (ac != NULL) {
            redisAsyncFree(ac);
        }
        /* ends requests: not from inside whoever asked for the link, but soon */
        loop_timer_start(l->timer, 0);
        return;
    }
    l->ac = ac;
    ac->data = l;
    redisReader *r = ac->c.reader;
    r->fn = link_reply_functions();
    r->privdata = l;
    r->maxbuf = (size_t)4 * LINK_READ_BYTES;
    l->io = loop_io_new(l->pool->loop, ac->c.fd, on_io, l);
    l->io_events = 0;
    ac->ev.data = l;
    ac->ev.addRead = hook_add_read;
    ac->ev.delRead = hook_del_read;
    ac->ev.addWrite = hook_add_write;
    ac->ev.delWrite = hook_del_write;
    ac->ev.cleanup = hook_cleanup;
    redisAsyncSetConnectCallback(ac, on_connect); /* asks for addWrite: CONNECTING watches it */
    loop_timer_start(l->timer, l->pool->o.connect_timeout_ms * 1000u);
}

static void on_timer(void *arg)
{
    struct shard_link *l = arg;
    obj_check(l, LINK_MAGIC);
    if (l->state == LINK_DOWN) {
        link_connect(l);
    } else if (l->state == LINK_CONNECTING || l->state == LINK_GREETING) {
        attempt_failed(l, "cannot connect to the node");
    }
}

uint64_t link_waits_since(const struct shard_link *l)
{
    /* while it leaves piece by piece, leaving is progress too; what follows it is not: a node that
     * stands still takes bytes as long as there is room */
    bool leaving = l->sent < l->first->bytes;
    return leaving && l->progress_ns > l->wait_ns ? l->progress_ns : l->wait_ns;
}

void link_tick(struct shard_link *l, uint64_t now_ns)
{
    const struct shard_options *o = &l->pool->o;
    bool stall = l->channel == SHARD_READS && o->stall_ms != 0;
    uint64_t limit = (stall ? o->stall_ms : o->timeout_ms) * 1000000u;
    if (l->state != LINK_UP || l->first == NULL || limit == 0) {
        return;
    }
    uint64_t since = link_waits_since(l);
    if (now_ns > since && now_ns - since > limit) {
        l->ep->stats.timeouts++;
        l->first->flags |= SHARD_STALLED;
        shard_link_lost(l, "the node did not answer in time", false);
    }
}

void link_wake(struct shard_link *l)
{
    if (l->waiters != NULL) {
        loop_defer(l->pool->loop, &l->pool->wake);
    }
}

struct shard_link *link_new(struct shard_pool *p, struct endpoint *ep, uint8_t proto,
                            enum shard_channel channel)
{
    struct shard_link *l = mem_zalloc(sizeof *l);
    l->magic = LINK_MAGIC;
    l->pool = p;
    l->ep = ep;
    l->proto = proto;
    l->channel = (uint8_t)channel;
    l->last = &l->first;
    l->flush.fn = on_flush;
    l->timer = loop_timer_new(p->loop, on_timer, l);
    return l;
}

void link_free(struct shard_link *l)
{
    if (l == NULL) {
        return;
    }
    drop_connection(l);
    loop_timer_free(l->timer);
    buf_free(&l->log);
    l->magic = 0;
    mem_free(l);
}
