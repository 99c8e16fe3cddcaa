/* Loading of objects (RESTORE, state transfer) from arbitrary bytes. The first byte picks the type.
 * What is accepted must be sound: it can be counted, copied, dumped and loaded again without
 * change, and freed in slices. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backends/types/object.h"
#include "common/must.h"

static void free_all(const struct object_ops *ops, void *o)
{
    while (ops->free_step(o, 3)) {
    }
}

static void check_sound(const struct object_ops *ops, void *o)
{
    struct buf dump = {0};
    size_t used = 0;
    must(ops->memory(o, 0) != 0);
    must(ops->encoding(o) != NULL);
    ops->dump(o, &dump);
    void *again = ops->load(buf_head(&dump), buf_used(&dump), &used);
    must(again != NULL);
    must(used == buf_used(&dump));
    must(ops->count(again) == ops->count(o));
    must(ops->digest(again) == ops->digest(o));
    void *copy = ops->copy(o);
    must(ops->digest(copy) == ops->digest(o));
    free_all(ops, copy);
    free_all(ops, again);
    buf_free(&dump);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const enum val_type types[] = {VAL_HASH, VAL_SET, VAL_LIST, VAL_STREAM, VAL_ZSET};
    if (len == 0) {
        return 0;
    }
    const struct object_ops *ops = object_ops(types[bytes[0] % 5]);
    if (ops == NULL) {
        return 0;
    }
    /* a block of exactly the size, so that reading beyond it is seen */
    size_t n = len - 1;
    char *exact = malloc(n == 0 ? 1 : n);
    must(exact != NULL);
    memcpy(exact, bytes + 1, n);
    size_t used = 0;
    void *o = ops->load(exact, n, &used);
    free(exact);
    if (o != NULL) {
        must(used <= n);
        check_sound(ops, o);
        free_all(ops, o);
    }
    return 0;
}
