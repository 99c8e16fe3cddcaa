/* A packed sequence of elements in one block.
 *
 * Block:    bytes (u32, all of the block in use), count (u32), elements.
 * Element:  head, data, back. back is the length of head and data in groups of 7 bits, the lowest
 * group in the last byte, the high bit of a byte saying that another group stands before it: so a
 * reader coming from the right finds the start of the element. By the first byte of the head:
 *
 *   0..127      the integer itself
 *   128..191    a string of 0..63 bytes
 *   192..223    the integer 128 + 13 bits: 5 here, 8 in the next byte
 *   224..231    a string of 64 + 11 bits: 3 here, 8 in the next byte
 *   232         a string, its length in the next 4 bytes
 *   240..247    a signed integer in the next 1..8 bytes
 *
 * Numbers are little endian. A text that is a canonical int64 is always stored as one (invariant
 * 1), in the first form that holds it (invariant 2), so equality is equality of bytes. The
 * allocation is the smallest size class that holds the block, so whether it must move follows from
 * the two sizes alone and no capacity is stored. */
#include "backends/types/pack.h"

#include "common/mem.h"
#include "common/must.h"

struct pack {
    uint32_t bytes;
    uint32_t count;
    unsigned char data[];
};

#define HEADER sizeof(struct pack)
#define ENCODED_HEAD_MAX 9

enum { STR6 = 128, INT13 = 192, STR11 = 224, STR32 = 232, INT_BYTES = 240 };

/* An element to be written: head, then text (NULL for integers). */
struct encoded {
    unsigned char head[ENCODED_HEAD_MAX];
    uint8_t head_len;
    struct span text;
};

/* What an element in place is. */
struct decoded {
    size_t head_len;
    size_t text_len; /* 0 for integers */
    int64_t number;
    bool is_int;
};

static const unsigned char *at(const struct pack *p, size_t pos)
{
    return (const unsigned char *)p + pos;
}

static size_t back_len(size_t body)
{
    if (body < 1u << 7) {
        return 1;
    }
    if (body < 1u << 14) {
        return 2;
    }
    if (body < 1u << 21) {
        return 3;
    }
    return body < 1u << 28 ? 4 : 5;
}

static void put_back(unsigned char *end, size_t body)
{
    /* the last byte first, at lower addresses the higher groups */
    size_t groups = back_len(body);
    for (size_t i = 0; i < groups; i++) {
        bool more = i + 1 < groups;
        end[-1 - (ptrdiff_t)i] = (unsigned char)((body >> (7 * i) & 127u) | (more ? 128u : 0u));
    }
}

static size_t read_back(const unsigned char *end)
{
    size_t body = 0;
    for (unsigned shift = 0;; shift += 7) {
        unsigned char b = *--end;
        body |= (size_t)(b & 127u) << shift;
        if (b < 128) {
            return body;
        }
    }
}

static void encode_i64(struct encoded *e, int64_t v)
{
    e->text = span_of(NULL, 0);
    if (v >= 0 && v < 128) {
        e->head[0] = (unsigned char)v;
        e->head_len = 1;
        return;
    }
    if (v >= 128 && v < 128 + (1 << 13)) {
        unsigned x = (unsigned)(v - 128);
        e->head[0] = (unsigned char)(INT13 + (x >> 8));
        e->head[1] = (unsigned char)x;
        e->head_len = 2;
        return;
    }
    unsigned bytes = 1;
    while (bytes < 8) {
        int64_t half = (int64_t)1 << (8 * bytes - 1);
        if (v >= -half && v < half) {
            break;
        }
        bytes++;
    }
    e->head[0] = (unsigned char)(INT_BYTES + bytes - 1);
    for (unsigned i = 0; i < bytes; i++) {
        e->head[1 + i] = (unsigned char)((uint64_t)v >> (8 * i));
    }
    e->head_len = (uint8_t)(1 + bytes);
}

static void encode(struct encoded *e, struct span text)
{
    int64_t v = 0;
    if (text.len != 0 && text.len < NUM_I64_MAX && num_parse_i64(text, &v)) {
        encode_i64(e, v);
        return;
    }
    e->text = text;
    if (text.len < 64) {
        e->head[0] = (unsigned char)(STR6 + text.len);
        e->head_len = 1;
    } else if (text.len < 64 + (1 << 11)) {
        size_t x = text.len - 64;
        e->head[0] = (unsigned char)(STR11 + (x >> 8));
        e->head[1] = (unsigned char)x;
        e->head_len = 2;
    } else {
        e->head[0] = STR32;
        for (unsigned i = 0; i < 4; i++) {
            e->head[1 + i] = (unsigned char)(text.len >> (8 * i));
        }
        e->head_len = 5;
    }
}

static size_t encoded_body(const struct encoded *e)
{
    return e->head_len + e->text.len;
}

static size_t encoded_size(const struct encoded *e)
{
    size_t body = encoded_body(e);
    return body + back_len(body);
}

static void write_element(unsigned char *q, const struct encoded *e)
{
    memcpy(q, e->head, e->head_len);
    if (e->text.len != 0) {
        memcpy(q + e->head_len, e->text.p, e->text.len);
    }
    put_back(q + encoded_size(e), encoded_body(e));
}

static void decode_int_bytes(const unsigned char *q, struct decoded *d)
{
    unsigned bytes = *q - INT_BYTES + 1u;
    must(bytes >= 1 && bytes <= 8);
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)q[1 + i] << (8 * i);
    }
    unsigned shift = 64 - 8 * bytes;
    d->is_int = true;
    d->number = (int64_t)(v << shift) >> shift;
    d->head_len = 1 + bytes;
    d->text_len = 0;
}

static inline void decode(const unsigned char *q, struct decoded *d)
{
    unsigned h = *q;
    if (h < STR6) {
        *d = (struct decoded){.head_len = 1, .is_int = true, .number = (int64_t)h};
    } else if (h < INT13) {
        *d = (struct decoded){.head_len = 1, .text_len = h - STR6};
    } else if (h < STR11) {
        *d = (struct decoded){
            .head_len = 2, .is_int = true, .number = 128 + (int64_t)((h - INT13) << 8 | q[1])};
    } else if (h < STR32) {
        *d = (struct decoded){.head_len = 2, .text_len = 64 + ((h - STR11) << 8 | q[1])};
    } else if (h == STR32) {
        size_t n = q[1] | (size_t)q[2] << 8 | (size_t)q[3] << 16 | (size_t)q[4] << 24;
        *d = (struct decoded){.head_len = 5, .text_len = n};
    } else {
        must(h >= INT_BYTES);
        decode_int_bytes(q, d);
    }
}

/* Bytes of the whole element at q. */
static inline size_t element_size(const unsigned char *q)
{
    struct decoded d;
    decode(q, &d);
    size_t body = d.head_len + d.text_len;
    return body + back_len(body);
}

/* The block with room for `bytes` bytes; contents up to the smaller size are kept. */
static struct pack *resize(struct pack *p, size_t bytes)
{
    must(bytes <= UINT32_MAX);
    size_t now = mem_good_size(p->bytes);
    size_t want = mem_good_size(bytes);
    return now == want ? p : mem_realloc(p, want);
}

struct pack *pack_new(void)
{
    struct pack *p = mem_alloc(mem_good_size(HEADER));
    p->bytes = HEADER;
    p->count = 0;
    return p;
}

void pack_free(struct pack *p)
{
    mem_free(p);
}

struct pack *pack_copy(const struct pack *p)
{
    struct pack *copy = mem_alloc(mem_good_size(p->bytes));
    memcpy(copy, p, p->bytes);
    return copy;
}

size_t pack_count(const struct pack *p)
{
    return p->count;
}

size_t pack_bytes(const struct pack *p)
{
    return p->bytes;
}

bool pack_fits(const struct pack *p, size_t more_bytes)
{
    return more_bytes < PACK_BYTES_MAX && p->bytes + more_bytes + 640 <= PACK_BYTES_MAX;
}

size_t pack_first(const struct pack *p)
{
    return p->count == 0 ? PACK_NONE : HEADER;
}

size_t pack_last(const struct pack *p)
{
    return p->count == 0 ? PACK_NONE : pack_prev(p, p->bytes);
}

size_t pack_next(const struct pack *p, size_t pos)
{
    size_t next = pos + element_size(at(p, pos));
    return next >= p->bytes ? PACK_NONE : next;
}

size_t pack_prev(const struct pack *p, size_t pos)
{
    if (pos <= HEADER) {
        return PACK_NONE;
    }
    size_t body = read_back(at(p, pos));
    return pos - body - back_len(body);
}

size_t pack_at(const struct pack *p, int64_t index)
{
    int64_t count = p->count;
    if (index < -count || index >= count) {
        return PACK_NONE;
    }
    int64_t i = index < 0 ? index + count : index;
    if (i <= count / 2) {
        size_t pos = HEADER;
        while (i-- > 0) {
            pos += element_size(at(p, pos));
        }
        return pos;
    }
    size_t pos = p->bytes;
    for (; i < count; i++) {
        pos = pack_prev(p, pos);
    }
    return pos;
}

struct span pack_get(const struct pack *p, size_t pos, char *tmp)
{
    struct decoded d;
    const unsigned char *q = at(p, pos);
    decode(q, &d);
    if (d.is_int) {
        return span_of(tmp, num_fmt_i64(tmp, d.number));
    }
    return span_of((const char *)q + d.head_len, d.text_len);
}

bool pack_get_i64(const struct pack *p, size_t pos, int64_t *v)
{
    struct decoded d;
    decode(at(p, pos), &d);
    if (d.is_int) {
        *v = d.number;
    }
    return d.is_int;
}

static inline bool element_is(const unsigned char *q, const struct encoded *e)
{
    return memcmp(q, e->head, e->head_len) == 0 &&
           (e->text.len == 0 || memcmp(q + e->head_len, e->text.p, e->text.len) == 0);
}

/* A short element near the end of the block: comparing a longer head would read past it. */
static inline bool head_is_inside(const struct pack *p, size_t pos, const struct encoded *e)
{
    return pos + encoded_body(e) < p->bytes;
}

bool pack_is(const struct pack *p, size_t pos, struct span text)
{
    struct encoded e;
    encode(&e, text);
    return head_is_inside(p, pos, &e) && element_is(at(p, pos), &e);
}

size_t pack_find(const struct pack *p, size_t from, struct span text, unsigned skip)
{
    if (from == PACK_NONE) {
        return PACK_NONE;
    }
    struct encoded e;
    encode(&e, text);
    size_t body = encoded_body(&e);
    size_t pos = from;
    unsigned wait = 0;
    while (pos < p->bytes) {
        const unsigned char *q = at(p, pos);
        if (wait == 0) {
            if (*q == e.head[0] && pos + body < p->bytes && element_is(q, &e)) {
                return pos;
            }
            wait = skip;
        } else {
            wait--;
        }
        pos += element_size(q);
    }
    return PACK_NONE;
}

struct pack *pack_append(struct pack *p, struct span text)
{
    return pack_insert(p, PACK_NONE, text);
}

static struct pack *insert_encoded(struct pack *p, size_t where, const struct encoded *e)
{
    size_t size = encoded_size(e);
    p = resize(p, p->bytes + size);
    unsigned char *q = (unsigned char *)p + where;
    memmove(q + size, q, p->bytes - where);
    write_element(q, e);
    p->bytes += (uint32_t)size;
    p->count++;
    return p;
}

struct pack *pack_append_i64(struct pack *p, int64_t v)
{
    struct encoded e;
    encode_i64(&e, v);
    return insert_encoded(p, p->bytes, &e);
}

struct pack *pack_insert(struct pack *p, size_t pos, struct span text)
{
    struct encoded e;
    encode(&e, text);
    return insert_encoded(p, pos == PACK_NONE ? p->bytes : pos, &e);
}

struct pack *pack_replace(struct pack *p, size_t pos, struct span text)
{
    struct encoded e;
    encode(&e, text);
    size_t size = encoded_size(&e);
    size_t old = element_size(at(p, pos));
    size_t bytes = p->bytes - old + size;
    size_t after = p->bytes - pos - old;
    if (size > old) {
        p = resize(p, bytes);
    }
    unsigned char *q = (unsigned char *)p + pos;
    if (size != old) {
        memmove(q + size, q + old, after);
    }
    write_element(q, &e);
    if (size < old) {
        p = resize(p, bytes);
    }
    p->bytes = (uint32_t)bytes;
    return p;
}

struct pack *pack_erase(struct pack *p, size_t pos, size_t n)
{
    size_t end = pos;
    size_t gone = 0;
    while (gone < n && end < p->bytes) {
        end += element_size(at(p, end));
        gone++;
    }
    unsigned char *q = (unsigned char *)p + pos;
    memmove(q, q + (end - pos), p->bytes - end);
    size_t bytes = p->bytes - (end - pos);
    p->count -= (uint32_t)gone;
    p = resize(p, bytes);
    p->bytes = (uint32_t)bytes;
    return p;
}

struct pack *pack_concat(struct pack *p, const struct pack *tail)
{
    size_t more = tail->bytes - HEADER;
    p = resize(p, p->bytes + more);
    memcpy((unsigned char *)p + p->bytes, tail->data, more);
    p->bytes += (uint32_t)more;
    p->count += tail->count;
    return p;
}

struct pack *pack_split(struct pack *p, size_t pos, struct pack **tail)
{
    if (pos == PACK_NONE) {
        *tail = pack_new();
        return p;
    }
    size_t moved = p->bytes - pos;
    uint32_t count = 0;
    for (size_t q = pos; q < p->bytes; q += element_size(at(p, q))) {
        count++;
    }
    struct pack *t = mem_alloc(mem_good_size(HEADER + moved));
    t->bytes = (uint32_t)(HEADER + moved);
    t->count = count;
    memcpy(t->data, at(p, pos), moved);
    *tail = t;
    p->count -= count;
    p = resize(p, pos);
    p->bytes = (uint32_t)pos;
    return p;
}
