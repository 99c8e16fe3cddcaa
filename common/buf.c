/* Growable byte buffer. */
#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/mem.h"
#include "common/must.h"

#define BUF_CAP_MIN 512u

void buf_grow(struct buf *b, size_t n)
{
    size_t used = buf_used(b);
    must(b->head == 0 || b->p != NULL);
    must(n <= SIZE_MAX / 2 - used);
    if (b->head != 0 && used + n <= b->cap && b->head >= used) {
        memcpy(b->p, b->p + b->head, used);
        b->head = 0;
        b->len = used;
        return;
    }
    /* With most of the buffer in use, reclaiming what little was consumed would copy everything
     * again and again: leave room in proportion to what is copied. */
    size_t want = used + n + (b->head != 0 ? used / 2 : 0);
    size_t cap = b->cap < BUF_CAP_MIN ? BUF_CAP_MIN : b->cap;
    while (cap < want) {
        /* double while small, then by half: large values must not waste as much again */
        cap += cap < ((size_t)1 << 20) ? cap : cap / 2;
    }
    if (b->head == 0) {
        b->p = mem_realloc(b->p, cap);
    } else {
        char *p = mem_alloc(cap);
        memcpy(p, b->p + b->head, used);
        mem_free(b->p);
        b->p = p;
        b->head = 0;
        b->len = used;
    }
    b->cap = cap;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    size_t room = b->cap - b->len;
    int n = vsnprintf(b->p == NULL ? NULL : b->p + b->len, room, fmt, ap);
    va_end(ap);
    must(n >= 0);
    if ((size_t)n >= room) {
        buf_grow(b, (size_t)n + 1);
        vsnprintf(b->p + b->len, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    b->len += (size_t)n;
}

void buf_trim(struct buf *b, size_t keep)
{
    if (b->cap > keep && buf_used(b) == 0) {
        buf_free(b);
    }
}

void buf_free(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){0};
}
