#ifndef COMMON_HOTREPLY_H
#define COMMON_HOTREPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/span.h"

/* What a node answers to HALCYON HOTWRITE, PROMOTE and DEMOTE (docs/architecture.md, "Hot keys on
 * the link"): the key as the command left it, for the caches, and the client's reply. All of it is
 * of one instant: that at which the command took effect. */
enum hot_what {
    HOT_ABSENT,     /* there is no value; that is cached too */
    HOT_STRING,     /* a string: `value` */
    HOT_UNCACHEABLE /* a collection, or a string larger than HOT_VALUE_LIMIT (DESIGN G12) */
};

/* The largest value that is worth sending along; option hot-value-max cannot be more. */
#define HOT_VALUE_LIMIT 65536u

struct hot_reply {
    enum hot_what what;
    uint64_t ts, generation; /* of the key */
    uint64_t expire_ms;      /* wall clock; 0: none */
    struct span value;       /* HOT_STRING; else empty */
    struct span reply;       /* RESP, in the link's protocol version; empty for PROMOTE, DEMOTE */
};

/* On the wire: what (1 byte), ts (8), generation (8), expire_ms (8), length of the value (4), all
 * little-endian, the value, the reply. */
void hot_reply_add(struct buf *b, const struct hot_reply *r);
/* False: malformed, *out is unspecified. Borrows bytes. */
bool hot_reply_parse(struct span bytes, struct hot_reply *out);

#endif
