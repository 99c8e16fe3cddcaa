/* The collection types by val_type. */
#include "backends/types/object.h"

#include "backends/types/types.h"

const struct object_ops *object_ops(enum val_type type)
{
    static const struct object_ops *const by_type[] = {
        [VAL_LIST] = &list_ops, [VAL_SET] = &set_ops,       [VAL_ZSET] = &zset_ops,
        [VAL_HASH] = &hash_ops, [VAL_STREAM] = &stream_ops, [VAL_TOMBSTONE] = NULL,
    };
    return by_type[type];
}
