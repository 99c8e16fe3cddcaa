#ifndef COHERENCE_WIRE_H
#define COHERENCE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/must.h"

/* Fixed-size little-endian integers and byte strings, written and read one by one. A reader that
 * ran out of bytes is `bad` and gives zeroes from then on: check once, at the end. */
struct wire_writer {
    uint8_t *p;
    size_t left; /* asserted: the caller knows how much it writes */
};

struct wire_reader {
    const uint8_t *p;
    size_t left;
    bool bad;
};

static inline void wire_put(struct wire_writer *w, uint64_t v, unsigned bytes)
{
    must(w->left >= bytes);
    for (unsigned i = 0; i < bytes; i++) {
        w->p[i] = (uint8_t)(v >> (8 * i));
    }
    w->p += bytes;
    w->left -= bytes;
}

static inline uint64_t wire_take(struct wire_reader *r, unsigned bytes)
{
    if (r->left < bytes) {
        r->bad = true;
        r->left = 0;
        return 0;
    }
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)r->p[i] << (8 * i);
    }
    r->p += bytes;
    r->left -= bytes;
    return v;
}

static inline void wire_put_bytes(struct wire_writer *w, const uint8_t *bytes, size_t len)
{
    must(w->left >= len);
    if (len != 0) {
        memcpy(w->p, bytes, len);
    }
    w->p += len;
    w->left -= len;
}

/* Borrowed from the frame; NULL and bad if there are fewer. */
static inline const uint8_t *wire_take_bytes(struct wire_reader *r, size_t len)
{
    if (r->bad || r->left < len) {
        r->bad = true;
        r->left = 0;
        return NULL;
    }
    const uint8_t *at = r->p;
    r->p += len;
    r->left -= len;
    return at;
}

/* A zero-terminated text of at most 255 bytes: length (1), bytes. */
static inline size_t wire_text_len(const char *text, size_t capacity)
{
    size_t n = 0;
    while (n < capacity && text[n] != '\0') {
        n++;
    }
    return n;
}

static inline void wire_put_text(struct wire_writer *w, const char *text, size_t capacity)
{
    size_t n = wire_text_len(text, capacity);
    wire_put(w, n, 1);
    must(w->left >= n);
    memcpy(w->p, text, n);
    w->p += n;
    w->left -= n;
}

/* Into a field of that capacity, zeroes up to its end; bad if it does not fit with a terminator, or
 * has zeroes. */
static inline void wire_take_text(struct wire_reader *r, char *field, size_t capacity)
{
    memset(field, 0, capacity);
    size_t n = (size_t)wire_take(r, 1);
    if (n >= capacity || r->left < n) {
        r->bad = true;
        r->left = 0;
        return;
    }
    memcpy(field, r->p, n);
    r->p += n;
    r->left -= n;
    if (wire_text_len(field, capacity) != n) { /* a zero among them */
        r->bad = true;
        r->left = 0;
    }
}

#endif
