#ifndef BACKENDS_SERVER_SLOWLOG_H
#define BACKENDS_SERVER_SLOWLOG_H

#include <stdint.h>

#include "common/resp.h"
#include "common/span.h"

/* The slow log of one worker: the newest entries, at most `max`. SLOWLOG merges those of all
 * workers by id. */
#define SLOWLOG_ARGS_MAX 32
#define SLOWLOG_ARG_BYTES 128

struct slow_entry {
    struct slow_entry *next; /* older */
    uint64_t id, when_s, us;
    struct span *args; /* in one block with the entry */
    int argc;
    struct span peer, name;
};

struct slowlog {
    struct slow_entry *newest;
    uint32_t count;
};

/* argc: how many arguments the request had; argv holds the first `kept` of them. Arguments beyond
 * SLOWLOG_ARGS_MAX and bytes beyond SLOWLOG_ARG_BYTES are replaced by "... (n more arguments)" and
 * "... (n more bytes)" as in Redis. */
struct slow_entry *slow_entry_new(const struct span *argv, int kept, int argc, struct span peer,
                                  struct span name);
struct slow_entry *slow_entry_copy(const struct slow_entry *from);
void slow_entry_free(struct slow_entry *e);
void slow_entry_reply(const struct slow_entry *e, struct resp_out *out);

void slowlog_add(struct slowlog *l, struct slow_entry *e, uint32_t max); /* takes e */
void slowlog_trim(struct slowlog *l, uint32_t max);

#endif
