#ifndef BACKENDS_SERVER_KEYSPEC_H
#define BACKENDS_SERVER_KEYSPEC_H

#include <stdbool.h>

#include "backends/cmd/cmd.h"
#include "common/resp.h"

/* Key specs of a row, from its key_specs text: where a command's keys are and what happens to them.
 *
 * The text is a list of specs separated by ';'. Each is words: flags (RO RW OW RM access update
 * insert delete not_key incomplete variable_flags), then optionally where it begins ("index N",
 * "keyword WORD FROM", "unknown") and how keys follow ("range LAST STEP LIMIT", "keynum IDX FIRST
 * STEP", "unknown"). What is left out comes from first_key, last_key and key_step of the row. A row
 * without text has one spec, RO access or RW access update by its flags, if it has keys. */
#define KEYSPEC_MAX 4
#define KEYSPEC_FLAGS 12

enum keyspec_begin { KEYSPEC_INDEX, KEYSPEC_KEYWORD, KEYSPEC_BEGIN_UNKNOWN };
enum keyspec_find { KEYSPEC_RANGE, KEYSPEC_KEYNUM, KEYSPEC_FIND_UNKNOWN };

struct keyspec {
    uint32_t flags; /* bit i: keyspec_flag_name(i) */
    enum keyspec_begin begin;
    int begin_at; /* index, or startfrom */
    char keyword[24];
    enum keyspec_find find;
    int find_by[3]; /* lastkey keystep limit | keynumidx firstkey keystep */
};

const char *keyspec_flag_name(unsigned i); /* NULL from KEYSPEC_FLAGS on */
/* Returns how many specs the row has (0: no keys). */
int keyspec_parse(const struct cmd *cmd, struct keyspec out[KEYSPEC_MAX]);
/* What this request does to its key argv[arg], 0 < arg < argc: the spec of n > 0 that rules it,
 * with flags that depend on other arguments (SET without GET, BITFIELD that only reads) made exact.
 */
struct keyspec keyspec_for(const struct cmd *cmd, const struct keyspec *specs, int n,
                           const struct span *argv, int argc, int arg);
/* ACL_KEY_READ and ACL_KEY_WRITE as the flags demand. */
unsigned keyspec_access(const struct keyspec *spec);
/* True for a flag of this name. */
bool keyspec_has(const struct keyspec *spec, const char *flag);
void keyspec_reply(const struct keyspec *spec, struct resp_out *out); /* as in COMMAND INFO */

#endif
