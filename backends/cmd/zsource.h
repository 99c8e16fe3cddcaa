#ifndef BACKENDS_CMD_ZSOURCE_H
#define BACKENDS_CMD_ZSOURCE_H

#include "backends/types/set.h"
#include "backends/types/zset.h"

/* An input of a union, intersection or difference: a sorted set, a set (every score is 1) or
 * nothing. Borrows the objects; valid until they change. */
struct zsource {
    const struct zset *z; /* at most one of the two */
    const struct set *s;
    double weight;
    int order; /* as named in the request */
};

/* e may be NULL. False: of another type. The weight becomes 1. */
static inline bool zsource_init(struct zsource *x, struct entry *e)
{
    *x = (struct zsource){.weight = 1};
    if (e != NULL && entry_type(e) == VAL_ZSET) {
        x->z = entry_object(e);
    } else if (e != NULL && entry_type(e) == VAL_SET) {
        x->s = entry_object(e);
    } else {
        return e == NULL;
    }
    return true;
}

static inline size_t zsource_count(const struct zsource *x)
{
    return x->z != NULL ? zset_count(x->z) : x->s != NULL ? set_count(x->s) : 0;
}

static inline bool zsource_find(const struct zsource *x, struct span member, double *score)
{
    struct zset_ref ref;
    if (x->z != NULL && zset_find(x->z, member, &ref)) {
        *score = ref.score;
        return true;
    }
    *score = 1;
    return x->s != NULL && set_has(x->s, member);
}

/* Both are the same object. */
static inline bool zsource_same(const struct zsource *a, const struct zsource *b)
{
    return a->z == b->z && a->s == b->s && (a->z != NULL || a->s != NULL);
}

struct zsource_iter {
    const struct zsource *x;
    union {
        struct zset_iter z;
        struct set_iter s;
    };
};

static inline struct zsource_iter zsource_iter(const struct zsource *x)
{
    struct zsource_iter it = {.x = x};
    if (x->z != NULL) {
        it.z = zset_iter_at(x->z, 0, false);
    } else if (x->s != NULL) {
        it.s = set_iter(x->s);
    }
    return it;
}

/* Gives the next member; false at the end. The item is valid until the next call. */
static inline bool zsource_next(struct zsource_iter *it, struct zset_item *item)
{
    if (it->x->z != NULL) {
        return zset_iter_next(&it->z, item);
    }
    item->score = 1;
    return it->x->s != NULL && set_next(&it->s, &item->member);
}

#endif
