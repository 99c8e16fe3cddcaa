#ifndef BACKENDS_SERVER_SYNTAX_H
#define BACKENDS_SERVER_SYNTAX_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/resp.h"

/* The `syntax` text of a command row as a tree of arguments, as COMMAND DOCS shows it and redis-cli
 * makes hints from.
 *
 * Words in capitals are tokens, others are names of values. [x] is optional, <a | b> a choice (so
 * is [a | b]), x [x ...] means once or more often, [x ...] not at all or more often. A token takes
 * the values that follow it, up to the next token, group or comma, or the group that follows it.
 *
 * Clients see the names: <unit: M | KM> names a choice, <data: key value> makes a block and names
 * it ([data ...] repeats it), CH:change names a token, timeout(double) and pattern(pattern#1) say
 * the type, and the key spec, where the name does not. */
#define SYNTAX_MAX 96
#define SYNTAX_NAME 64

enum syntax_type {
    SYNTAX_STRING,
    SYNTAX_INTEGER,
    SYNTAX_DOUBLE,
    SYNTAX_KEY,
    SYNTAX_PATTERN,
    SYNTAX_UNIX_TIME,
    SYNTAX_TOKEN,
    SYNTAX_ONEOF,
    SYNTAX_BLOCK
};

struct syntax_arg {
    char name[SYNTAX_NAME];  /* lower case */
    char token[SYNTAX_NAME]; /* "" if none */
    enum syntax_type type;
    bool optional, multiple, multiple_token;
    int8_t key_spec;     /* -1: the next one, if a key */
    int16_t first, next; /* children, siblings: indexes; -1: none */
};

struct syntax {
    struct syntax_arg args[SYNTAX_MAX];
    int16_t count;
    int16_t first; /* -1: no arguments */
};

/* ERR_SYNTAX: unbalanced brackets; ERR_TOOBIG: more than SYNTAX_MAX arguments. text may be NULL:
 * none. */
enum err syntax_parse(const char *text, struct syntax *out) must_use;
const char *syntax_type_name(enum syntax_type type);
/* The value of "arguments" in COMMAND DOCS: an array of maps. key_specs: how many the command has.
 */
void syntax_reply(const struct syntax *s, int key_specs, struct resp_out *out);

#endif
