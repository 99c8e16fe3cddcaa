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

/* HSCAN, SSCAN, ZSCAN. begin parses the cursor (before the key is looked up, as Redis does);
 * options parses argv[3..]. Elements are appended to `out`, which is apart from the client's
 * because the new cursor stands before them; end writes the whole reply. */
struct collection_scan {
    uint64_t cursor;
    int64_t count;
    struct span pattern; /* p NULL: everything */
    struct buf bytes;
    struct resp_out out;
    size_t visited; /* elements seen, matching or not */
    size_t values;  /* values appended */
};
bool collection_scan_begin(struct cmd_ctx *c, struct collection_scan *s);
bool collection_scan_options(struct cmd_ctx *c, struct collection_scan *s);
/* Counts an element; true if it is to be shown. */
bool collection_scan_wants(struct collection_scan *s, struct span element);
void collection_scan_add(struct collection_scan *s, struct span value);
/* True while another step of the table's scan is due: Redis' rule, count elements or ten times as
 * many buckets. */
bool collection_scan_more(const struct collection_scan *s, uint64_t cursor, uint64_t *steps);
void collection_scan_end(struct cmd_ctx *c, struct collection_scan *s,
                         uint64_t cursor);     /* frees what begin made */
void collection_scan_empty(struct cmd_ctx *c); /* the reply for an absent key */

/* Repetitions of a random element that one reply may hold (negative counts of HRANDFIELD and
 * SRANDMEMBER). */
#define COLLECTION_REPEATS_MAX ((int64_t)1 << 27)

/* Handler of commands that would block. */
void blocking_command(struct cmd_ctx *c);

/* Positions of keys for "numkeys key [key ...]" with numkeys at argv[at]. */
int collection_numkeys(const struct span *argv, int argc, int at, int *idx, int max);

#endif
