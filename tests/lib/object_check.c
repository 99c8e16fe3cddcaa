/* Checks that every collection type must pass. */
#include "tests/lib/object_check.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"

uint64_t test_random(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void free_all(const struct object_ops *ops, void *o)
{
    while (ops->free_step(o, 7)) {
    }
}

static void check_same(const struct object_ops *ops, const void *a, const void *b)
{
    must(ops->count(a) == ops->count(b));
    must(ops->digest(a) == ops->digest(b));
}

/* Loads bytes that may be broken from a block of exactly their size, so that the sanitizers see any
 * read beyond it. */
static void check_broken(const struct object_ops *ops, const char *p, size_t len)
{
    char *exact = malloc(len == 0 ? 1 : len);
    must(exact != NULL);
    memcpy(exact, p, len);
    size_t used = 0;
    void *o = ops->load(exact, len, &used);
    free(exact);
    if (o != NULL) {
        must(used <= len);
        must(ops->memory(o, 0) != 0);
        (void)ops->digest(o);
        free_all(ops, o);
    }
}

void object_check(enum val_type type, const void *object)
{
    const struct object_ops *ops = object_ops(type);
    must(ops != NULL);
    must(strlen(ops->encoding(object)) != 0);
    must(ops->memory(object, 0) > ops->count(object));
    must(ops->memory(object, 5) > ops->count(object) / 4);

    void *twin = ops->copy(object);
    check_same(ops, object, twin);
    must(strcmp(ops->encoding(object), ops->encoding(twin)) == 0);
    free_all(ops, twin);

    if (ops->count(object) == 0) {
        return;
    }
    struct buf dump = {0};
    ops->dump(object, &dump);
    size_t len = buf_used(&dump);
    buf_add(&dump, "tail", 4);
    size_t used = 0;
    twin = ops->load(buf_head(&dump), buf_used(&dump), &used);
    must(twin != NULL);
    must(used == len);
    check_same(ops, object, twin);
    free_all(ops, twin);

    for (unsigned i = 0; i < 64; i++) {
        size_t cut = test_random() % len;
        must(ops->load(buf_head(&dump), cut, &used) == NULL);
        check_broken(ops, buf_head(&dump), cut);
        char *spot = buf_head(&dump) + test_random() % (i < 32 && len > 16 ? 16 : len);
        char was = *spot;
        *spot = (char)test_random();
        check_broken(ops, buf_head(&dump), len);
        *spot = was;
    }
    buf_free(&dump);
}
