#ifndef TESTS_LIB_HISTFILE_H
#define TESTS_LIB_HISTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"
#include "tests/lib/history.h"

/* Recorded histories as JSON lines (docs/histories.md), and their judgement key by key. */

/* One line as it was recorded. Strings are shared: equal ones are the same pointer. */
struct histfile_op {
    const char *key, *arg, *ret; /* arg, ret NULL: none; ret NULL of a GET: absent */
    struct hist_op op; /* what the checkers see; arg and ret only while its key is judged */
    size_t line;       /* number in its file, from 1 */
};

struct histfile;
struct histfile *histfile_new(void);
void histfile_free(struct histfile *f);

/* Adds a file's lines; several files make one history (clients must differ). ERR_IO; ERR_PROTO: a
 * line that is no operation of this format. why: file, line and reason. */
enum err histfile_read(struct histfile *f, const char *path, struct errmsg *why) must_use;
/* Adds one line; name is what messages call its source. */
enum err histfile_line(struct histfile *f, const char *name, size_t number, const char *text,
                       struct errmsg *why) must_use;

enum histfile_verdict {
    HISTFILE_GOOD,
    HISTFILE_BAD,       /* not linearizable, or a reply that no order could give */
    HISTFILE_UNDECIDED, /* the budget of the search was not enough, or a mix nobody can judge */
};

struct histfile_key {
    const char *key;
    enum histfile_verdict verdict;
    const char *method;                         /* "zones and search", "search" */
    char reason[256];                           /* BAD, UNDECIDED */
    size_t ops, ok, failed, unknown, open_most; /* open_most: under way at one instant */
    bool has_fault;
    struct histfile_op first, second; /* has_fault: where it shows */
};

/* Judges every key. budget: search nodes per key. *keys: count results sorted by key, borrowed
 * until the next call. */
void histfile_judge(struct histfile *f, uint64_t budget, const struct histfile_key **keys,
                    size_t *count);

/* Prints the operations of k's key that were under way near where the fault shows, by call. */
void histfile_around(const struct histfile *f, const struct histfile_key *k, FILE *out);

/* Totals: operations, and the first call and last return. */
size_t histfile_count(const struct histfile *f, uint64_t *first_ns, uint64_t *last_ns);

const char *histfile_kind_name(enum hist_kind kind);
const char *histfile_status_name(enum hist_status status);

#endif
