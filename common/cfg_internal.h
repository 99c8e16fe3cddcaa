#ifndef COMMON_CFG_INTERNAL_H
#define COMMON_CFG_INTERNAL_H

#include <pthread.h>

#include "common/cfg.h"

/* What cfg.c, cfg_value.c, cfg_file.c and cfg_print.c share. Nobody else includes this. */

struct cfg_entry {
    const struct cfg_option *o;
    size_t offset; /* in the daemon's settings */
    /* some file or command line named it: later lines add to CFG_LINES instead of replacing the
     * default */
    bool loaded;
    bool included; /* by an included file */
    bool in_main;  /* by the main file */
    bool changed;  /* by the command line or CONFIG SET: the file no longer says what holds */
};

struct cfg {
    pthread_mutex_t lock; /* guards settings and the entries' flags */
    struct cfg_entry *entries;
    size_t n;
    struct cfg_entry **by_name; /* sorted */
    char *settings;
    size_t settings_size;
    char *path;
    bool located; /* while loading: the error text names its file and line already */
    void (*hook)(void *arg);
    void *hook_arg;
};

/* A parsed value that is not in the settings yet. */
union cfg_value {
    bool b;
    int64_t i;
    uint64_t m;
    int e;
    char *s;
    struct cfg_strings l;
};

struct cfg_entry *cfg_entry_find(const struct cfg *c, struct span name);

/* Parses the words of one line of a file. as_redis: errors in CONFIG SET's words, else in ours. For
 * CFG_LINES the value is a list of one (or none, for an empty word). */
enum err cfg_value_from_words(const struct cfg_option *o, const struct cfg_strings *words,
                              bool as_redis, union cfg_value *out, struct errmsg *why) must_use;
/* Parses a whole value given as one text: CONFIG SET's argument, or a default. */
enum err cfg_value_from_text(const struct cfg_option *o, struct span text, union cfg_value *out,
                             struct errmsg *why) must_use;
void cfg_value_free(const struct cfg_option *o, union cfg_value *v);
/* Exchanges *v with what the settings hold. */
void cfg_value_swap(const struct cfg_entry *x, char *settings, union cfg_value *v);
/* Text of what the settings hold, in CONFIG GET's form; or as the lines of a file, each ended by a
 * line feed. */
void cfg_value_text(const struct cfg_entry *x, const char *settings, struct buf *out);
void cfg_value_lines(const struct cfg_entry *x, const char *settings, struct buf *out);
bool cfg_value_is_default(const struct cfg_entry *x, const char *settings);

/* One assignment from a file or command line. Takes nothing; lock held. */
enum err cfg_assign(struct cfg *c, struct cfg_entry *x, const struct cfg_strings *words,
                    struct errmsg *why) must_use;

#endif
