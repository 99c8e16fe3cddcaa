#ifndef BACKENDS_TYPES_OBJECT_H
#define BACKENDS_TYPES_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/store/store.h"
#include "common/buf.h"

/* What the store and the generic commands need to know of a collection type. One constant per type,
 * found by val_type. */
struct object_ops {
    const char *name;                                /* "hash", as TYPE says */
    const char *(*encoding)(const void *o);          /* OBJECT ENCODING */
    size_t (*count)(const void *o);                  /* elements */
    size_t (*memory)(const void *o, size_t samples); /* bytes, all included; samples 0: exact */
    bool (*free_step)(
        void *o,
        size_t budget); /* frees about budget elements; true: more to do; false: o is gone */
    void *(*copy)(const void *o);
    void (*dump)(const void *o, struct buf *out); /* self-delimiting */
    void *(*load)(const char *p, size_t len,
                  size_t *used); /* NULL: malformed (never trusts the bytes) */
    uint64_t (*digest)(
        const void *o); /* independent of encoding and of order where order has no meaning */
};

const struct object_ops *object_ops(enum val_type type); /* NULL for strings and tombstones */

#endif
