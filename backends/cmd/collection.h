#ifndef BACKENDS_CMD_COLLECTION_H
#define BACKENDS_CMD_COLLECTION_H

#include "backends/cmd/cmd.h"

/* What the handlers of collection types share. */

/* Puts a changed object back under its key: creates the entry if e is NULL, deletes it if the
 * object has become empty, otherwise notes where the object is now. Takes object. */
void collection_keep(struct cmd_ctx *c, struct entry *e, struct span key, enum val_type type,
                     void *object);
/* Replaces whatever is under key by this object (STORE forms: any type, no expiry), or deletes the
 * key if it is empty. Takes object; raises dirty if anything changed. */
void collection_store(struct cmd_ctx *c, struct span key, enum val_type type, void *object);

/* An integer of argv within limits; otherwise answers text ("ERR ..."; NULL: Redis' own words for
 * ranges) and returns false. */
bool cmd_range(struct cmd_ctx *c, struct span s, int64_t min, int64_t max, int64_t *out,
               const char *text);
/* Not negative; "ERR value is out of range, must be positive". */
bool cmd_positive(struct cmd_ctx *c, struct span s, int64_t *out);

/* HSCAN, SSCAN, ZSCAN: a walk under way. */
struct collection_scan {
    uint64_t cursor;
    int64_t count;
    struct span pattern; /* p NULL: everything */
    /* Elements, apart from the client's reply because the new cursor stands before them. */
    struct buf bytes;
    struct resp_out out;
    size_t visited; /* elements seen, matching or not */
    size_t values;  /* values appended */
};
/* Visits a few elements of e's collection from cursor on, with _wants and _add for each; returns
 * the next cursor. */
typedef uint64_t (*collection_step_fn)(const struct entry *e, uint64_t cursor,
                                       struct collection_scan *s);
/* The whole command: key at argv[1], cursor, options. */
void collection_scan(struct cmd_ctx *c, enum val_type type, collection_step_fn step);
/* Counts an element; true if it is to be shown. */
bool collection_scan_wants(struct collection_scan *s, struct span element);
void collection_scan_add(struct collection_scan *s, struct span value);

/* Random elements: HRANDFIELD and SRANDMEMBER with a count. The functions append elements of
 * `from` to a reply: one of them, or n different ones (n at most size). */
struct collection_draw {
    const void *from;
    size_t size; /* elements, not 0 */
    size_t each; /* values that an element is in the reply */
    void (*one)(const void *from, uint64_t *rng, struct resp_out *out);
    void (*some)(const void *from, size_t n, uint64_t *rng, struct resp_out *out);
};
/* count different ones, or -count that may repeat, as an array. */
void collection_draw(struct cmd_ctx *c, const struct collection_draw *d, int64_t count);

/* Repetitions of a random element that one reply may hold (negative counts). */
#define COLLECTION_REPEATS_MAX ((int64_t)1 << 27)

/* Handler of commands that would block. */
void blocking_command(struct cmd_ctx *c);

/* Positions of keys for "numkeys key [key ...]" with numkeys at argv[at]. */
int collection_numkeys(const struct span *argv, int argc, int at, int *idx, int max);

#endif
