/* A sorted array of integers. */
#include "backends/types/intset.h"

#include <string.h>

#include "common/mem.h"

struct intset {
    uint32_t count;
    uint32_t width; /* 2, 4, 8 */
    unsigned char data[];
};

static uint32_t width_of(int64_t v)
{
    if (v >= INT16_MIN && v <= INT16_MAX) {
        return 2;
    }
    return v >= INT32_MIN && v <= INT32_MAX ? 4 : 8;
}

static int64_t read_at(const unsigned char *data, uint32_t width, size_t i)
{
    int64_t v = 0;
    if (width == 2) {
        int16_t x;
        memcpy(&x, data + 2 * i, 2);
        v = x;
    } else if (width == 4) {
        int32_t x;
        memcpy(&x, data + 4 * i, 4);
        v = x;
    } else {
        memcpy(&v, data + 8 * i, 8);
    }
    return v;
}

static void write_at(unsigned char *data, uint32_t width, size_t i, int64_t v)
{
    if (width == 2) {
        int16_t x = (int16_t)v;
        memcpy(data + 2 * i, &x, 2);
    } else if (width == 4) {
        int32_t x = (int32_t)v;
        memcpy(data + 4 * i, &x, 4);
    } else {
        memcpy(data + 8 * i, &v, 8);
    }
}

static size_t bytes_of(size_t count, uint32_t width)
{
    return mem_good_size(sizeof(struct intset) + count * width);
}

static struct intset *resize(struct intset *s, size_t count, uint32_t width)
{
    size_t want = bytes_of(count, width);
    return want == bytes_of(s->count, s->width) ? s : mem_realloc(s, want);
}

struct intset *intset_new(void)
{
    struct intset *s = mem_alloc(bytes_of(0, 2));
    s->count = 0;
    s->width = 2;
    return s;
}

void intset_free(struct intset *s)
{
    mem_free(s);
}

struct intset *intset_copy(const struct intset *s)
{
    struct intset *copy = mem_alloc(bytes_of(s->count, s->width));
    memcpy(copy, s, sizeof *s + (size_t)s->count * s->width);
    return copy;
}

size_t intset_count(const struct intset *s)
{
    return s->count;
}

int64_t intset_at(const struct intset *s, size_t i)
{
    return read_at(s->data, s->width, i);
}

/* The index of v, or where it belongs. */
static bool find(const struct intset *s, int64_t v, size_t *where)
{
    size_t low = 0;
    size_t high = s->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int64_t x = read_at(s->data, s->width, mid);
        if (x == v) {
            *where = mid;
            return true;
        }
        if (x < v) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *where = low;
    return false;
}

bool intset_has(const struct intset *s, int64_t v)
{
    size_t i;
    return width_of(v) <= s->width && find(s, v, &i);
}

struct intset *intset_add(struct intset *s, int64_t v, bool *added)
{
    size_t where;
    *added = !find(s, v, &where);
    if (!*added) {
        return s;
    }
    uint32_t old = s->width;
    uint32_t width = width_of(v) > old ? width_of(v) : old;
    s = resize(s, (size_t)s->count + 1, width);
    if (width == old) {
        memmove(s->data + (where + 1) * width, s->data + where * width, (s->count - where) * width);
    } else {
        /* a wider number is smaller or larger than all others; from the right, so that nothing is
         * overwritten */
        size_t shift = where == 0 ? 1 : 0;
        for (size_t i = s->count; i-- > 0;) {
            write_at(s->data, width, i + shift, read_at(s->data, old, i));
        }
    }
    write_at(s->data, width, where, v);
    s->width = width;
    s->count++;
    return s;
}

struct intset *intset_remove(struct intset *s, int64_t v, bool *removed)
{
    size_t where;
    *removed = find(s, v, &where);
    if (!*removed) {
        return s;
    }
    size_t after = s->count - where - 1;
    memmove(s->data + where * s->width, s->data + (where + 1) * s->width, after * s->width);
    s = resize(s, (size_t)s->count - 1, s->width);
    s->count--;
    return s;
}
