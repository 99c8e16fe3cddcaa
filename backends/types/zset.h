#ifndef BACKENDS_TYPES_ZSET_H
#define BACKENDS_TYPES_ZSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/types/object.h"
#include "backends/types/ztree.h"
#include "common/num.h"
#include "common/span.h"

/* A sorted set: members with scores, ordered by score, then by bytes.
 *
 * While small it is one pack (member, score, member, score ...; "listpack"); above the limits it
 * becomes a tree and an index of members ("skiplist", the name clients know). It never goes back.
 * Scores are never NaN. Not thread-safe. */
struct zset;

struct zset_limits {
    size_t entries_max; /* zset-max-listpack-entries */
    size_t value_max;   /* zset-max-listpack-value, bytes */
};

/* A member found; valid until the set changes. */
struct zset_ref {
    double score;
    union {
        size_t pos;
        struct zmember *m;
    };
};

struct zset_item {
    struct span member; /* valid until the iterator moves or the set changes */
    double score;
};

struct zset_iter {
    const struct zset *z;
    size_t pos;
    struct ztree_pos at;
    bool reverse;
    char tmp[NUM_I64_MAX];
};

struct zset *zset_new(void);
void zset_free(struct zset *z); /* at once; big ones: zset_ops.free_step. NULL is allowed */

size_t zset_count(const struct zset *z);
bool zset_is_packed(const struct zset *z); /* one pack: "listpack" */
bool zset_find(const struct zset *z, struct span member, struct zset_ref *ref);
/* Adds a member that is not there. member may be up to 512 MiB and must not point into z. */
void zset_insert(struct zset *z, const struct zset_limits *l, struct span member, double score);
void zset_update(struct zset *z, struct zset_ref ref, double score);
void zset_remove(struct zset *z, struct zset_ref ref);
/* Removes n members from this rank on; start + n <= count. Cost: O(n log count). */
void zset_remove_ranks(struct zset *z, uint64_t start, uint64_t n);

/* Makes a large set one pack if the limits allow. Only for results under construction: a set in use
 * never goes back. */
void zset_pack(struct zset *z, const struct zset_limits *l);

uint64_t zset_rank(const struct zset *z, struct zset_ref ref);
/* Number of members for which before is true (a first part of the order). Cost: O(log n) if large.
 */
uint64_t zset_count_before(const struct zset *z, zbefore_fn before, const void *arg);

/* Walks from the member of this rank upwards, or downwards if reverse. */
struct zset_iter zset_iter_at(const struct zset *z, uint64_t rank, bool reverse);
/* Gives the next one; false at the end. */
bool zset_iter_next(struct zset_iter *it, struct zset_item *item);

/* As Redis' ZSCAN: about count members from the cursor on (a small set: all of them); 0 begins and
 * ends. */
typedef void (*zset_scan_fn)(void *arg, struct span member, double score);
uint64_t zset_scan(const struct zset *z, uint64_t cursor, zset_scan_fn fn, void *arg);

/* Tests: checks the invariants of both encodings. */
bool zset_check(const struct zset *z);

extern const struct object_ops zset_ops; /* objects are struct zset * */

#endif
