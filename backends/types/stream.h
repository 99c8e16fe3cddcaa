#ifndef BACKENDS_TYPES_STREAM_H
#define BACKENDS_TYPES_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/num.h"
#include "common/span.h"

/* Streams: entries of field-value pairs in the order of their ids. No consumer groups. Entries are
 * packed into nodes; appending and removing at either end is O(1), finding an id O(log nodes +
 * node). A stream may be empty. */
struct stream;

struct stream_id {
    uint64_t ms, seq;
};
#define STREAM_ID_MIN ((struct stream_id){0, 0})
#define STREAM_ID_MAX ((struct stream_id){UINT64_MAX, UINT64_MAX})
#define STREAM_ID_TEXT 44 /* room for "ms-seq" with the terminator */

int stream_id_compare(struct stream_id a, struct stream_id b); /* < 0, 0, > 0 */
bool stream_id_next(struct stream_id *id);                     /* false: it was the last one */
bool stream_id_previous(struct stream_id *id);                 /* false: it was the first one */
size_t stream_id_format(char *out, struct stream_id id);

/* What INFO shows and ids are made from. */
struct stream_facts {
    uint64_t length;
    uint64_t nodes;
    uint64_t entries_added;       /* ever */
    struct stream_id first;       /* 0-0 when empty */
    struct stream_id top;         /* the newest entry that is there; 0-0 when empty */
    struct stream_id last;        /* the last id ever given */
    struct stream_id max_deleted; /* by XDEL */
};

struct stream *stream_new(void);
void stream_free(struct stream *s);                       /* at once; NULL allowed */
struct stream_facts stream_facts(const struct stream *s); /* O(node) */
uint64_t stream_length(const struct stream *s);           /* facts.length, O(1) */
struct stream_id stream_last(const struct stream *s);     /* facts.last, O(1) */
void stream_set_last(struct stream *s, struct stream_id last);
void stream_set_added(struct stream *s, uint64_t entries_added);
void stream_set_max_deleted(struct stream *s, struct stream_id id);

/* When a new node is begun: stream-node-max-bytes and -entries (0: no limit). */
struct stream_limits {
    uint64_t node_bytes, node_entries;
};

/* False if so large an entry cannot be kept in a node: it must not be appended. */
bool stream_can_hold(const struct span *pairs, size_t n);
/* Appends an entry of n pairs, pairs[0..2n) being field, value, field, value ... n >= 1; id must be
 * larger than the last one. */
void stream_append(struct stream *s, struct stream_id id, const struct span *pairs, size_t n,
                   struct stream_limits limits);
bool stream_delete(struct stream *s, struct stream_id id); /* false: not there. Notes max_deleted */

/* Trimming from the oldest on: to at most length_max entries, or of all ids below min. */
struct stream_trim {
    bool by_id;
    bool approximate; /* only whole nodes */
    uint64_t length_max;
    struct stream_id min;
    uint64_t limit; /* at most so many entries; 0: no limit */
};
uint64_t stream_trim(struct stream *s, const struct stream_trim *t); /* how many went */
/* How many would go; if appended is not NULL, once an entry of that id and these pairs had been
 * appended. Changes nothing. */
uint64_t stream_trim_plan(const struct stream *s, const struct stream_trim *t,
                          const struct stream_id *appended, size_t pairs_bytes,
                          struct stream_limits limits);
/* Bytes the pairs take at most in a node, as stream_append and stream_trim_plan count them. */
size_t stream_pairs_bytes(const struct span *pairs, size_t n);

/* An entry met by stream_walk; its pairs are read one after the other, n times. Spans live until
 * the stream changes or the next read. */
struct stream_entry {
    struct stream_id id;
    size_t n;
    /* private */
    const void *pack;
    size_t field_pos, value_pos;
    bool same_fields;
    char field_tmp[NUM_I64_MAX], value_tmp[NUM_I64_MAX];
};
void stream_entry_read(struct stream_entry *e, struct span *field, struct span *value);

/* Calls fn for entries with start <= id <= end, from the end backwards if reverse, until count (0:
 * all) were seen. Returns how many. */
typedef void (*stream_fn)(void *arg, struct stream_entry *e);
struct stream_range {
    struct stream_id start, end;
    bool reverse;
    uint64_t count;
};
uint64_t stream_walk(const struct stream *s, const struct stream_range *r, stream_fn fn, void *arg);

#endif
