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
    return (char *)handle - form_of(handle);
}

static inline void *handle_of(void *block, enum form form)
{
    return (char *)block + form;
}

#endif
