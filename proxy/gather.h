#ifndef PROXY_GATHER_H
#define PROXY_GATHER_H

#include "proxy/proxy.h"

/* A request that is carried out by several nodes: its parts' replies are collected, and composed
 * when the last has come. An error of a part is the answer to the whole, as in Redis; the other
 * parts may have taken effect. */

enum compose {
    COMPOSE_SUM,       /* integers are added */
    COMPOSE_OK,        /* +OK */
    COMPOSE_CONCAT,    /* arrays are joined */
    COMPOSE_ELEMENTS,  /* the parts' arrays are dealt out again in the order of the keys (MGET) */
    COMPOSE_SCAN,      /* one part: its cursor is rewritten */
    COMPOSE_RANDOMKEY, /* one part per partition answered its DBSIZE: one of them is asked for a key
                        */
    COMPOSE_INFO,      /* the shards' counts are noted, then the session layer answers (info.c) */
    COMPOSE_AS_IS      /* one part: its reply */
};

struct gather {
    struct gather *next; /* of the free list */
    struct proxy_worker *pw;
    struct call *owner; /* in the client's list, or orphaned */
    uint8_t compose;    /* enum compose */
    uint8_t db;
    uint32_t parts, left;
    struct call **part;
    uint64_t *value; /* integer replies of the parts */
    uint32_t part_cap;
    uint16_t *who; /* COMPOSE_ELEMENTS: partition of each key, then its part */
    uint32_t keys, keys_cap;
    unsigned partition;       /* COMPOSE_SCAN */
    struct buf request;       /* COMPOSE_INFO: the request of the client ... */
    struct admitted admitted; /* ... and its judgement */
    struct buf error;         /* of the first part that failed, without '-' and CRLF */
};

/* Opens the client's call and a gather with room for this many parts and keys. Then add each part
 * with gather_send; gather_opened ends it (there may be no part at all). */
struct gather *gather_open(struct client *c, const struct admitted *a, const struct conn_req *q,
                           enum compose compose, uint32_t parts, uint32_t keys);
/* Commits what was appended to t->l since shard_begin as the next part, and gives it. */
struct target;
struct call *gather_send(struct gather *g, const struct target *t);
/* The next part, which the caller sees to otherwise; it ends with gather_part or
 * gather_part_failed. */
struct call *gather_add(struct gather *g);
void gather_opened(struct gather *g);

/* Cursors of the proxy: the replica that counts (route_tag), the node's own cursor, and the
 * partition in one number. 0 is the start, and the end. */
#define CURSOR_PARTITION_BITS 12
#define CURSOR_NODE_BITS 40
_Static_assert(CURSOR_PARTITION_BITS + CURSOR_NODE_BITS + ROUTE_TAG_BITS == 64, "a cursor");
#define CURSOR_NODE_MAX (((uint64_t)1 << CURSOR_NODE_BITS) - 1)
static inline uint64_t cursor_join(unsigned partition, uint64_t node, unsigned replica)
{
    return (uint64_t)replica << (CURSOR_NODE_BITS + CURSOR_PARTITION_BITS) |
           node << CURSOR_PARTITION_BITS | partition;
}
static inline unsigned cursor_partition(uint64_t cursor)
{
    return (unsigned)(cursor & ((1u << CURSOR_PARTITION_BITS) - 1));
}
static inline uint64_t cursor_node(uint64_t cursor)
{
    return cursor >> CURSOR_PARTITION_BITS & CURSOR_NODE_MAX;
}
static inline unsigned cursor_replica(uint64_t cursor)
{
    return (unsigned)(cursor >> (CURSOR_NODE_BITS + CURSOR_PARTITION_BITS));
}

/* info.c: the parts of a COMPOSE_INFO gather have answered. */
void info_collected(struct gather *g);

void gather_free_pool(struct proxy_worker *pw);

/* Composers, on whole replies; exposed for tests. Each returns false if a part's reply does not
 * have the shape it must have (then *out is as before). */
bool compose_elements(struct buf *out, const struct span *parts, uint32_t n_parts,
                      const uint16_t *who, uint32_t keys);
bool compose_concat(struct buf *out, const struct span *parts, uint32_t n_parts);
struct scan_at {
    unsigned partition, partitions;
    unsigned replica; /* that answered: its tag */
};
bool compose_scan(struct buf *out, struct span part, const struct scan_at *at);

#endif
