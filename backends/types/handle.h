#ifndef BACKENDS_TYPES_HANDLE_H
#define BACKENDS_TYPES_HANDLE_H

#include <stdint.h>

/* The object of a set or hash is a block in one of several forms; which one is told by the low two
 * bits of the pointer that the entry keeps, so that a small collection is one allocation. Only the
 * type's own file looks inside. */
enum form { FORM_TABLE, FORM_PACK, FORM_INTSET };

static inline enum form form_of(const void *handle)
{
    return (enum form)((uintptr_t)handle & 3u);
}

static inline void *block_of(const void *handle)
{
    return (void *)((uintptr_t)handle & ~(uintptr_t)3u);
}

static inline void *handle_of(void *block, enum form form)
{
    return (void *)((uintptr_t)block | (uintptr_t)form);
}

#endif
