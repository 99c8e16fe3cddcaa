#ifndef COMMON_CFG_H
#define COMMON_CFG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/span.h"

/* Configuration with the grammar of redis.conf, ruled by one table of options.
 *
 * A row says everything about an option: name, type, default, range, whether CONFIG SET may change
 * it, and its help. From the rows come the defaults, the checks, --help, CONFIG GET, SET and
 * REWRITE, and the commented files in conf/. Values live in a settings struct of the daemon, at the
 * row's offset. Several tables can be joined (each with the offset of its own struct inside the
 * daemon's settings), so that both daemons share the rows of what they share.
 *
 * Threads: struct cfg holds the one true copy behind a lock; every function below may be called
 * from any thread. A worker reads from a private copy it takes with cfg_snapshot, again each time
 * the `changed` hook told it to. */

/* What the field in the settings struct is. */
enum cfg_type {
    CFG_BOOL,   /* bool: yes | no */
    CFG_INT,    /* int64_t, min..max */
    CFG_MEMORY, /* uint64_t bytes, min..max: 100, 64kb, 1gb */
    /* char *: never NULL, owned by the settings; length min..max when max != 0 */
    CFG_STRING,
    CFG_ENUM, /* int: one of `values` */
    /* struct cfg_strings: the words of one line (bind a b c). min..max words */
    CFG_WORDS,
    /* struct cfg_strings: one element per line of this name, its words joined by one blank and
     * quoted where needed (cfg_split undoes it). min..max words per line. An empty value empties
     * the list. */
    CFG_LINES
};

#define CFG_RUNTIME (1u << 0) /* CONFIG SET may change it */
#define CFG_SECRET (1u << 1)  /* not shown by --print-config and in the log */
/* known to CONFIG GET for the sake of tools, but not in --help and conf/ */
#define CFG_HIDDEN (1u << 2)
/* not even told by CONFIG GET */
#define CFG_UNTOLD (1u << 3)

struct cfg_strings {
    char **v;
    size_t n;
};

struct cfg_enum {
    const char *name;
    int value;
}; /* arrays end with name NULL */

/* Called after the value was parsed and stored, with the settings as they will be; arg is that of
 * cfg_set_hook. At start-up it is not called. Returns other than OK (and why->text) to refuse: the
 * whole CONFIG SET is then undone. Runs with the lock of cfg held: must not call cfg functions;
 * must not keep the pointer. */
typedef enum err (*cfg_apply_fn)(void *arg, const void *settings, struct errmsg *why);
/* Checks one value's text before it is stored, start-up included: for what a range cannot say. For
 * CFG_LINES it gets each line. */
typedef enum err (*cfg_check_fn)(const char *value, struct errmsg *why);

struct cfg_option {
    const char *name; /* lower case, Redis' name where Redis has the idea */
    enum cfg_type type;
    uint32_t flags;
    size_t offset; /* in the table's struct: offsetof(struct x_settings, field) */
    /* default, as one would write it in a file (several CFG_LINES: separated by \n) */
    const char *def;
    int64_t min, max;
    const struct cfg_enum *values; /* CFG_ENUM */
    const char *section;           /* heading in --help and conf/: "Network" */
    const char *help;              /* sentences; wrapped when printed */
    cfg_check_fn check;            /* or NULL */
    cfg_apply_fn apply;            /* or NULL: workers see it with their next snapshot */
};

/* A part of the whole table. Order of tables and rows is the order of --help and of written files;
 * a section may be spread over tables, its rows are printed together. */
struct cfg_table {
    const struct cfg_option *options;
    size_t count;
    size_t base; /* offset of the part's struct inside the daemon's settings struct */
};

struct cfg;

/* settings_size: bytes of the daemon's settings struct, which must be plain data apart from the
 * fields the tables name. Copies the tables' array (not the rows, which must be static). Two rows
 * of one name are a bug, a default that does not parse is too. */
struct cfg *cfg_new(const struct cfg_table *tables, size_t count, size_t settings_size);
void cfg_free(struct cfg *c);

/* What a command line asks for besides options. */
struct cfg_cli {
    bool help, version, test_config, print_config;
};
/* `daemon [FILE] [--name value ...]... [--help] [--version] [--test-config] [--print-config]`: FILE
 * (or - for standard input) is read first, options override it. Words after --name up to the next
 * --word are its value. Errors name file and line: "conf/proxy.conf:12: port: 70000 is not between
 * 0 and 65535", or "--port: ...". */
enum err cfg_load_args(struct cfg *c, int argc, char **argv, struct cfg_cli *cli,
                       struct errmsg *why) must_use;
enum err cfg_load_file(struct cfg *c, const char *path, struct errmsg *why) must_use;
/* name appears in errors. For tests and fuzzing; `include` works here too. */
enum err cfg_load_text(struct cfg *c, const char *name, struct span text,
                       struct errmsg *why) must_use;

/* The settings themselves: before threads start (no lock is taken), valid until the next change. */
const void *cfg_settings(struct cfg *c);
/* Copies the settings, strings included, over *settings, which is either all zero bytes or an
 * earlier snapshot (then freed first). */
void cfg_snapshot(struct cfg *c, void *settings);
void cfg_snapshot_free(struct cfg *c, void *settings);
/* changed: runs in the thread of the CONFIG SET after it succeeded, without the lock: post to every
 * worker here. */
void cfg_set_hook(struct cfg *c, void (*changed)(void *arg), void *arg);

/* any case; NULL: unknown */
const struct cfg_option *cfg_find(const struct cfg *c, struct span name);
size_t cfg_count(const struct cfg *c);
const struct cfg_option *cfg_at(const struct cfg *c, size_t i);
/* Appends an option's present value, in CONFIG GET's form, to out. */
void cfg_value(struct cfg *c, const struct cfg_option *o, struct buf *out);

/* CONFIG GET: calls fn once for each option that matches one of the glob patterns, in the order of
 * the table. */
typedef void (*cfg_get_fn)(void *arg, struct span name, struct span value);
void cfg_get(struct cfg *c, const struct span *patterns, size_t n, cfg_get_fn fn, void *arg);
/* CONFIG SET name value [name value ...], all or nothing. On failure why->text is Redis' error
 * without its "ERR " code ("Unknown option or number of arguments for CONFIG SET - 'x'", "CONFIG
 * SET failed (possibly related to argument 'x') - ..."). */
enum err cfg_set(struct cfg *c, const struct span *pairs, size_t n_pairs,
                 struct errmsg *why) must_use;
/* CONFIG REWRITE: the file given at start, its comments and order kept, atomically renamed into
 * place. Options that are neither in the file nor at their default are appended. ERR_CONFIG ("The
 * server is running without a config file") without one. */
enum err cfg_rewrite(struct cfg *c, struct errmsg *why) must_use;
const char *cfg_path(const struct cfg *c); /* absolute path of the file, "" if none */

/* every option: name, default, range, help */
void cfg_print_help(const struct cfg *c, struct buf *out);
/* the commented file with the present values; defaults are commented out */
void cfg_print_file(struct cfg *c, struct buf *out);

/* Splits a line as Redis' sdssplitargs does (quotes, \xHH): words->v[i] are terminated copies
 * (bytes of 0 are kept out of C strings by refusing them). ERR_SYNTAX: unbalanced quotes. Free with
 * cfg_strings_free. */
enum err cfg_split(struct span line, struct cfg_strings *words) must_use;
void cfg_strings_free(struct cfg_strings *s);
/* Appends a word, quoted if it needs to be. */
void cfg_quote(struct buf *out, struct span word);

#endif
