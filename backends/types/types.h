#ifndef BACKENDS_TYPES_TYPES_H
#define BACKENDS_TYPES_TYPES_H

#include "backends/types/object.h"

/* The collection types, each defined in the file of its name; object.c finds them by val_type. */
extern const struct object_ops hash_ops;
extern const struct object_ops set_ops;
extern const struct object_ops list_ops;
extern const struct object_ops zset_ops;
extern const struct object_ops stream_ops;

#endif
