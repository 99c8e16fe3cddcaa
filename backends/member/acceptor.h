#ifndef BACKENDS_MEMBER_ACCEPTOR_H
#define BACKENDS_MEMBER_ACCEPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/member/settings.h"
#include "coherence/map.h"
#include "common/err.h"
#include "common/metrics.h"

/* One acceptor of the builtin membership service: a thread of its own with its own loop and
 * listening socket, so that it goes on promising and voting whatever the workers of its process
 * do. */
struct acceptor_thread;

struct acceptor_options {
    const struct member_settings *set; /* read during the call only */
    const struct member_map *genesis;  /* copied */
    const char *self;                  /* which of `acceptors`: its very words */
    const char *bind;                  /* numeric address to listen on, "*" */
    const char *state_file;            /* copied */
    struct metrics *metrics;           /* until acceptor_stop_metrics; NULL: none */
};

/* Reads the state file, listens, starts the thread. ERR_CONFIG, ERR_CORRUPT, ERR_IO: why says what
 * to change; nothing runs then. */
enum err acceptor_start(const struct acceptor_options *o, struct acceptor_thread **out,
                        struct errmsg *why) must_use;
/* Before the registry of metrics goes. Any one thread. NULL allowed. */
void acceptor_stop_metrics(struct acceptor_thread *t);
void acceptor_stop(struct acceptor_thread *t); /* waits for it. NULL allowed */

/* Copies that any thread may read. */
struct acceptor_counts {
    uint64_t version; /* of the newest map it knows */
    uint64_t messages, writes, write_failures, connections;
    bool votes;
};
void acceptor_counts(const struct acceptor_thread *t, struct acceptor_counts *out);

#endif
