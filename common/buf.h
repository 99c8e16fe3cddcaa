#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/span.h"

/* A growable byte buffer: bytes [head, len) of p are in use. Writers append, readers consume from
 * the head; space in front is reclaimed when the buffer is empty or must grow. Zero-initialise
 * before first use. One owner, one thread. */
struct buf {
    char *p;
    size_t head, len, cap;
};

static inline size_t buf_used(const struct buf *b)
{
    return b->len - b->head;
}

static inline char *buf_head(const struct buf *b)
{
    return b->p != NULL ? b->p + b->head : NULL;
}

/* Grows so that n more bytes fit after len (may move the bytes: pointers into the buffer die). */
void buf_grow(struct buf *b, size_t n);

/* Room for n bytes at the end; follow with buf_commit(b, m), m <= n. The pointer lives until the
 * next call. */
static inline char *buf_reserve(struct buf *b, size_t n)
{
    if (b->cap - b->len < n || b->p == NULL) {
        buf_grow(b, n);
    }
    return b->p + b->len;
}

static inline void buf_commit(struct buf *b, size_t n)
{
    b->len += n;
}

static inline void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n != 0) {
        memcpy(buf_reserve(b, n), p, n);
        b->len += n;
    }
}

static inline void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Drops n used bytes at the head; resets the offsets when nothing is left. */
static inline void buf_consume(struct buf *b, size_t n)
{
    b->head += n;
    if (b->head == b->len) {
        b->head = b->len = 0;
    }
}

static inline struct span buf_span(const struct buf *b)
{
    return b->p != NULL ? span_of(b->p + b->head, buf_used(b)) : span_of(NULL, 0);
}

/* Gives memory back if the capacity exceeds keep and nothing is in use. */
void buf_trim(struct buf *b, size_t keep);
void buf_free(struct buf *b); /* leaves a zero-initialised buffer */

#endif
