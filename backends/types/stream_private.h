#ifndef BACKENDS_TYPES_STREAM_PRIVATE_H
#define BACKENDS_TYPES_STREAM_PRIVATE_H

#include "backends/types/pack.h"
#include "backends/types/stream.h"

/* What the files of the stream share: nodes and how to move among them and inside. See stream.c. */

struct node {
    struct stream_id base;
    struct pack *pack;
    uint32_t live;
    uint32_t added;
};

struct chunk {
    uint32_t first, end, cap; /* node[first..end) are in use */
    struct node node[];
};

static inline size_t stream_chunk_bytes(uint32_t nodes)
{
    return sizeof(struct chunk) + nodes * sizeof(struct node);
}

struct stream {
    uint64_t length;
    uint64_t nodes;
    uint64_t entries_added;
    struct stream_id last;
    struct stream_id max_deleted;
    struct chunk **chunk;
    size_t chunk_count, chunk_cap;
};

/* Where a node is. */
struct spot {
    size_t chunk;
    uint32_t node;
};

/* An entry being looked at: where it is and what it is. */
struct cursor {
    const struct node *n;
    size_t master_count;
    size_t master_pos;
    size_t pos; /* of the flag; PACK_NONE: no entry */
    size_t data_pos;
    size_t fields;
    size_t elements; /* of the pack, all of the entry's */
    bool same_fields;
    struct stream_id id;
};

struct node *stream_node_at(const struct stream *s, struct spot at);
struct node *stream_first_node(const struct stream *s); /* NULL: there are none */
struct node *stream_last_node(const struct stream *s);
/* Behind the last one; the pack is the caller's to make. */
struct node *stream_add_node(struct stream *s, struct stream_id base);
void stream_remove_node(struct stream *s, struct spot at);

struct spot stream_first_spot(const struct stream *s);
bool stream_spot_next(const struct stream *s, struct spot *at); /* false: that was the last one */
bool stream_spot_previous(const struct stream *s, struct spot *at);
/* The last node whose base is not above id, or the first node. The stream has nodes. */
struct spot stream_find_spot(const struct stream *s, struct stream_id id);

struct cursor stream_cursor_first(const struct node *n);
void stream_cursor_next(struct cursor *c);
struct cursor stream_cursor_last(const struct node *n); /* O(node) */
/* True if an entry with so many bytes begins a new node. */
bool stream_needs_node(const struct stream *s, size_t pairs_bytes, struct stream_limits limits);

#endif
