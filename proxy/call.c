/* The open calls of a client: opening, answering in order, going away.
 *
 * Replies come in any order across nodes and leave in the order of the requests. The reply of the
 * oldest call goes straight into the client's output buffer; one that comes early waits in a hold,
 * a pooled buffer, and is moved behind its predecessors when they are placed.
 *
 * How many calls a client may have open follows the size of its replies: as many as would fill the
 * output up to the mark at which the connection stops reading (output-pause), so that a pipeline of
 * requests for large values cannot make the proxy hold them all at once. */
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "proxy/gather.h"
#include "proxy/lane.h"
#include "proxy/profile.h"

#define CALLS_PER_CHUNK 64u
#define HOLD_KEEP_BYTES 4096u
#define HOLDS_KEPT 4096u
#define SLOW_ARGS_MAX 32

/* Calls are taken from chunks that live as long as the worker. */
struct call_chunk {
    struct call_chunk *next;
    struct call calls[CALLS_PER_CHUNK];
};

static struct call *call_take(struct proxy_worker *pw)
{
    if (__builtin_expect(pw->free_calls == NULL, 0)) {
        struct call_chunk *chunk = mem_zalloc(sizeof *chunk);
        chunk->next = pw->chunks;
        pw->chunks = chunk;
        for (unsigned i = CALLS_PER_CHUNK; i-- > 0;) {
            chunk->calls[i].pw = pw;
            chunk->calls[i].next = pw->free_calls;
            pw->free_calls = &chunk->calls[i];
        }
    }
    struct call *k = pw->free_calls;
    pw->free_calls = k->next;
    pw->stats.open_calls++;
    return k;
}

static void call_give(struct call *k)
{
    struct proxy_worker *pw = k->pw;
    if (k->watch && k->c != NULL) {
        k->c->watching = false;
    }
    k->watch = false;
    if (k->hold != NULL) {
        hold_give(pw, k->hold);
    }
    k->next = pw->free_calls;
    pw->free_calls = k;
    pw->stats.open_calls--;
}

struct hold *hold_take(struct proxy_worker *pw)
{
    struct hold *h = pw->free_holds;
    pw->stats.open_holds++;
    if (h == NULL) {
        return mem_zalloc(sizeof *h);
    }
    pw->free_holds = h->next;
    pw->free_hold_count--;
    return h;
}

void hold_give(struct proxy_worker *pw, struct hold *h)
{
    pw->stats.open_holds--;
    h->b.head = h->b.len = 0;
    buf_trim(&h->b, HOLD_KEEP_BYTES);
    if (pw->free_hold_count >= HOLDS_KEPT) {
        buf_free(&h->b);
        mem_free(h);
        return;
    }
    pw->free_hold_count++;
    h->next = pw->free_holds;
    pw->free_holds = h;
}

void calls_free_pools(struct proxy_worker *pw)
{
    while (pw->chunks != NULL) {
        struct call_chunk *chunk = pw->chunks;
        pw->chunks = chunk->next;
        mem_free(chunk);
    }
    pw->free_calls = NULL;
    while (pw->free_holds != NULL) {
        struct hold *h = pw->free_holds;
        pw->free_holds = h->next;
        buf_free(&h->b);
        mem_free(h);
    }
}

struct call *call_open(struct client *c, const struct admitted *a, int argc)
{
    struct call *k = call_take(c->pw);
    k->c = c;
    k->next = NULL;
    k->g = NULL;
    k->count = a->count;
    k->hold = NULL;
    k->lane = NULL;
    k->state = CALL_OPEN;
    k->tries = 0;
    k->proto = c->s.c.proto;
    k->silent = a->silent;
    k->failed = false;
    k->later = false;
    k->watch = false;
    k->with_core = false;
    k->hot_hash = 0;
    k->hot_generation = 0;
    c->busy = UINT64_MAX;
    k->write = a->cmd != NULL && (a->cmd->flags & CMD_WRITE) != 0;
    k->argc = (uint16_t)(argc < UINT16_MAX ? argc : UINT16_MAX);
    k->sr.sent_ns = session_now(&c->s);
    *c->tail = k;
    c->tail = &k->next;
    c->open++;
    return k;
}

struct call *part_open(struct proxy_worker *pw, struct gather *g, uint32_t index, uint8_t proto)
{
    struct call *k = call_take(pw);
    k->c = NULL;
    k->next = NULL;
    k->g = g;
    k->count = NULL;
    k->hold = NULL;
    k->lane = NULL;
    k->write = g->owner->write;
    k->state = CALL_OPEN;
    k->tries = 0;
    k->proto = proto;
    k->silent = false;
    k->failed = false;
    k->later = false;
    k->watch = false;
    k->with_core = false;
    k->hot_generation = 0;
    k->sr.sent_ns = shard_now_get(pw->pool);
    k->part = index;
    return k;
}

void part_close(struct proxy_worker *pw, struct call *k)
{
    must_slow(k->pw == pw && k->g != NULL);
    (void)pw;
    call_give(k);
}

/* ---- placing ---- */

int request_args(struct span request, struct span *argv, int max)
{
    if (request.len == 0) {
        return 0;
    }
    const char *end = request.p + request.len;
    const char *p = memchr(request.p, '\n', request.len);
    int n = 0;
    while (p != NULL && n < max && end - p > 2 && p[1] == '$') {
        size_t len = 0;
        for (p += 2; p < end && *p >= '0' && *p <= '9'; p++) {
            len = len * 10 + (size_t)(*p - '0');
        }
        if ((size_t)(end - p) < len + 4) {
            break;
        }
        argv[n++] = span_of(p + 2, len);
        p += 2 + len + 1;
    }
    return n;
}

static void slow_entry(struct client *c, const struct call *k, uint64_t ns, struct span request)
{
    struct span argv[SLOW_ARGS_MAX];
    int n = request_args(request, argv, SLOW_ARGS_MAX);
    if (n == 0) {
        argv[n++] = span_str(k->count->cmd->name);
    }
    session_slow(&c->s, ns, argv, n, k->argc);
}

/* Time, errors, and the window, once the reply of k is known. */
static inline void account(struct client *c, struct call *k, size_t reply_bytes,
                           struct span request)
{
    uint64_t now = shard_now_get(c->pw->pool);
    uint64_t ns = now > k->sr.sent_ns ? now - k->sr.sent_ns : 0;
    if (__builtin_expect(c->pw->profile != NULL, 0) && request.len != 0) { /* else by its parts */
        profile_forwarded(c->pw, request, reply_bytes, ns);
    }
    if (k->count != NULL && __builtin_expect(session_account(c->s.w, k->count, ns), 0)) {
        slow_entry(c, k, ns, request);
    }
    uint64_t room = c->s.c.limits->out_pause_bytes;
    if (__builtin_expect(room != 0 && reply_bytes * c->window > room, 0)) {
        uint64_t fit = room / reply_bytes;
        c->window = fit < 4 ? 4 : (uint32_t)fit;
    } else if (c->window < WINDOW_MAX) {
        c->window++;
    }
}

static inline struct call *pop(struct client *c)
{
    struct call *k = c->head;
    c->head = k->next;
    if (c->head == NULL) {
        c->tail = &c->head;
        c->busy = 0;
    }
    c->open--;
    return k;
}

/* The oldest call was answered: those behind it that are answered too follow it. */
static void place_more(struct client *c)
{
    while (c->head != NULL && c->head->state == CALL_DONE) {
        struct call *k = pop(c);
        if (k->hold != NULL && !k->silent) {
            buf_add(&c->s.c.out, buf_head(&k->hold->b), buf_used(&k->hold->b));
        }
        call_give(k);
    }
}

static inline void placed(struct client *c)
{
    conn_touch(&c->s.c);
    if (c->head == NULL) {
        session_flushed(&c->s);
        if (c->s.c.paused && c->waiter.link == NULL) {
            conn_resume(
                &c->s.c); /* what had to wait for the last reply, such as a protocol error */
        }
    }
    if (c->stalled && c->waiter.link == NULL && c->open <= c->window / 2) {
        c->stalled = false;
        conn_resume(&c->s.c);
    }
}

struct resp_out *call_answer_begin(struct call *k, size_t *mark)
{
    struct client *c = k->c;
    if (c != NULL && c->head == k) {
        *mark = buf_used(&c->s.c.out);
        c->pw->out = (struct resp_out){&c->s.c.out, k->proto};
    } else {
        k->hold = hold_take(k->pw);
        *mark = 0;
        k->pw->out = (struct resp_out){&k->hold->b, k->proto};
    }
    return &k->pw->out;
}

void call_answered(struct call *k, size_t mark, struct span request)
{
    struct client *c = k->c;
    if (c == NULL) { /* gone meanwhile */
        call_give(k);
        return;
    }
    bool first = c->head == k;
    struct buf *b = first ? &c->s.c.out : &k->hold->b;
    size_t n = buf_used(b) - mark;
    const char *reply = buf_head(b) + mark;
    if (n != 0 && reply[0] == '-') {
        session_failed(c->s.w, k->count, span_of(reply, n));
    }
    if (k->silent) {
        b->len -= n;
    }
    account(c, k, n, request);
    if (!first) {
        k->state = CALL_DONE;
        return;
    }
    call_give(pop(c));
    place_more(c);
    placed(c);
}

void call_answer(struct call *k, struct span reply, struct span request)
{
    struct client *c = k->c;
    if (__builtin_expect(c == NULL, 0)) {
        call_give(k);
        return;
    }
    if (reply.p[0] == '-') {
        session_failed(c->s.w, k->count, reply);
    }
    account(c, k, reply.len, request);
    if (c->head == k) {
        if (!k->silent) {
            buf_add(&c->s.c.out, reply.p, reply.len);
        }
        call_give(pop(c));
        place_more(c);
        placed(c);
        return;
    }
    if (!k->silent) {
        k->hold = hold_take(k->pw);
        buf_add(&k->hold->b, reply.p, reply.len);
    }
    k->state = CALL_DONE;
}

void call_fail(struct call *k, struct span text, struct span request)
{
    size_t mark = 0;
    struct resp_out *out = call_answer_begin(k, &mark);
    resp_errorf(out, "%.*s", (int)text.len, text.p);
    call_answered(k, mark, request);
}

void call_placed_later(struct call *k, struct span reply)
{
    struct client *c = k->c;
    if (c->head == k) {
        if (k->hold != NULL) {
            buf_add(&c->s.c.out, buf_head(&k->hold->b), buf_used(&k->hold->b));
        }
        buf_add(&c->s.c.out, reply.p, reply.len);
        call_give(pop(c));
        place_more(c);
        placed(c);
        return;
    }
    if (k->hold == NULL) {
        k->hold = hold_take(k->pw);
    }
    buf_add(&k->hold->b, reply.p, reply.len);
    k->state = CALL_DONE;
}

void call_run_later(struct call *k, const struct admitted *a, const struct span *argv, int argc)
{
    struct client *c = k->c;
    k->silent = false;
    k->later = true;
    k->part = c->token++;
    k->hold = hold_take(k->pw);
    k->pw->out = (struct resp_out){&k->hold->b, c->s.c.proto};
    if (session_command(&c->s, a, argv, argc, &k->pw->out, k->part) == SESSION_DONE) {
        call_placed_later(k, span_of("", 0));
    }
}

/* ---- replies that are known at once ---- */

struct resp_out *reply_begin(struct client *c, const struct admitted *a, int argc, struct call **k)
{
    *k = NULL;
    if (c->head == NULL) {
        return &c->s.c.reply;
    }
    *k = call_open(c, a, argc);
    (*k)->hold = hold_take(c->pw);
    c->pw->out = (struct resp_out){&(*k)->hold->b, c->s.c.proto};
    return &c->pw->out;
}

void reply_end(struct client *c, const struct admitted *a, struct call *k, size_t mark)
{
    struct buf *b = k == NULL ? &c->s.c.out : &k->hold->b;
    size_t n = buf_used(b) - mark;
    const char *reply = buf_head(b) + mark;
    if (n != 0 && reply[0] == '-') {
        session_failed(c->s.w, a->count, span_of(reply, n));
    }
    if (a->silent) {
        b->len -= n;
    }
    if (k != NULL) {
        k->state = CALL_DONE;
    } else {
        placed(c);
    }
}

void calls_close(struct client *c)
{
    lanes_close(c);
    shard_wait_cancel(&c->waiter);
    while (c->head != NULL) {
        struct call *k = pop(c);
        k->c = NULL;
        if (k->state == CALL_DONE || k->later) {
            call_give(k);
        }
    }
}
