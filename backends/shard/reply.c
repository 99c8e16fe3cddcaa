/* Replies of a link: hiredis' reader with reply-object functions of our own.
 *
 * On a link a reply is one bulk string whose bytes are the reply for the client (HALCYON LINK), so
 * the reader finds it whole in its buffer and createString hands it over right there: no reply
 * objects, no tree, one copy from the reader's buffer to where the client's replies are gathered.
 * Anything else at the top level is the node speaking to the proxy; an integer, nil or array would
 * mean that the node does not follow the protocol: the link is broken.
 *
 * The reader moves what is left of its buffer to the front after each kilobyte it understood, so it
 * is fed in pieces of FEED_BYTES: that bounds the moving. Of a long value the rest is received
 * straight into the reader's buffer, made large enough at once. */
#include <errno.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>
#include <sys/socket.h>

#include "backends/shard/link.h"
#include "common/must.h"

#define FEED_BYTES 8192u
#define BIG_BYTES 32768u
#define BIG_RECV_MAX (4u << 20)

static char token; /* what the functions return in place of an object: not NULL, never looked at */

static struct shard_link *link_of(const redisReadTask *t)
{
    struct shard_link *l = t->privdata;
    obj_check(l, LINK_MAGIC);
    return l;
}

static void deliver(struct shard_link *l, enum shard_result result, struct span bytes)
{
    struct shard_req *r = l->first;
    if (r == NULL || l->sent < r->bytes) { /* nobody asked */
        l->broken = true;
        return;
    }
    l->first = r->next;
    if (l->first == NULL) {
        l->last = &l->first;
    }
    struct shard_stats *s = &l->ep->stats;
    if (result == SHARD_REPLY) {
        s->replies++;
        uint64_t ns = l->pool->now_ns > r->sent_ns ? l->pool->now_ns - r->sent_ns : 0;
        s->latency_ns_sum += ns;
        unsigned bucket = ns == 0 ? 0 : 64u - (unsigned)__builtin_clzll(ns);
        s->latency_hist[bucket < SHARD_HIST ? bucket : SHARD_HIST - 1]++;
    } else {
        s->controls++;
    }
    l->pool->open--;
    size_t n = r->bytes;
    l->pool->done(r, result, bytes, span_of(buf_head(&l->log), n));
    buf_consume(&l->log, n);
    l->sent -= n;
}

static void *on_string(const redisReadTask *t, char *p, size_t len)
{
    struct shard_link *l = link_of(t);
    if (t->parent != NULL || l->broken) {
        return &token;
    }
    if (l->greetings != 0) {
        if (t->type != REDIS_REPLY_STATUS) {
            l->broken = true;
            snprintf(l->reason, sizeof l->reason, "refused: %.*s", (int)(len < 100 ? len : 100), p);
        } else {
            l->greetings--;
        }
        return &token;
    }
    if (t->type == REDIS_REPLY_STRING) {
        deliver(l, SHARD_REPLY, span_of(p, len));
    } else if (t->type == REDIS_REPLY_ERROR) {
        deliver(l, SHARD_CONTROL, span_of(p, len));
    } else {
        l->broken = true;
    }
    return &token;
}

static void *on_array(const redisReadTask *t, int n)
{
    (void)n;
    link_of(t)->broken = true;
    return &token;
}

static void *on_integer(const redisReadTask *t, long long v)
{
    (void)v;
    link_of(t)->broken = true;
    return &token;
}

static void *on_nil(const redisReadTask *t)
{
    link_of(t)->broken = true;
    return &token;
}

static void on_free(void *object)
{
    (void)object;
}

struct redisReplyObjectFunctions *link_reply_functions(void)
{
    static redisReplyObjectFunctions functions = {
        .createString = on_string,
        .createArray = on_array,
        .createInteger = on_integer,
        .createNil = on_nil,
        .freeObject = on_free,
    };
    return &functions;
}

/* Lets the reader work through its buffer. */
static bool drain(struct shard_link *l)
{
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(l->ac->c.reader, &reply) != REDIS_OK) {
            return false;
        }
        if (l->broken) {
            return false;
        }
        if (reply == NULL) {
            return true;
        }
    }
}

bool link_feed(struct shard_link *l, const char *bytes, size_t len)
{
    l->delivering = true;
    bool ok = true;
    while (ok && len != 0) {
        size_t n = len < FEED_BYTES ? len : FEED_BYTES;
        ok = redisReaderFeed(l->ac->c.reader, bytes, n) == REDIS_OK && drain(l);
        bytes += n;
        len -= n;
    }
    l->delivering = false;
    return ok;
}

/* Bytes still missing of the bulk string the reader is in; 0: none, or its header is not whole. */
static size_t big_missing(const redisReader *r)
{
    if (r->ridx != 0 || r->rstack[0].type != REDIS_REPLY_STRING) {
        return 0;
    }
    /* the reader stands behind the '$' until the string is whole */
    uint64_t want = 0;
    size_t i = r->pos;
    for (; i < r->len && r->buf[i] >= '0' && r->buf[i] <= '9' && want < (UINT64_MAX >> 8); i++) {
        want = want * 10 + (uint64_t)(r->buf[i] - '0');
    }
    if (i >= r->len || r->buf[i] != '\r' || want > ((uint64_t)1 << 40)) {
        return 0;
    }
    size_t need = i + 2 + (size_t)want + 2;
    return need > r->len ? need - r->len : 0;
}

ptrdiff_t link_recv_big(struct shard_link *l, int fd)
{
    redisReader *r = l->ac->c.reader;
    size_t missing = big_missing(r);
    if (missing < BIG_BYTES) {
        return -2;
    }
    sds grown = sdsMakeRoomFor(r->buf, missing);
    if (grown == NULL) {
        errno = ENOMEM;
        return -1;
    }
    r->buf = grown;
    size_t want = missing < BIG_RECV_MAX ? missing : BIG_RECV_MAX;
    ssize_t n = recv(fd, r->buf + r->len, want, 0);
    if (n > 0) {
        sdsIncrLen(r->buf, (int)n);
        r->len = sdslen(r->buf);
        if ((size_t)n == missing) {
            l->delivering = true;
            bool ok = drain(l);
            l->delivering = false;
            if (!ok) {
                errno = EPROTO;
                return -1;
            }
        }
    }
    return n;
}
