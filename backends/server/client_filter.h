#ifndef BACKENDS_SERVER_CLIENT_FILTER_H
#define BACKENDS_SERVER_CLIENT_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

/* Which clients CLIENT KILL and CLIENT LIST mean. */
enum client_type {
    CLIENT_TYPE_ANY,
    CLIENT_TYPE_NORMAL,
    CLIENT_TYPE_OTHER
}; /* other: master, replica, pubsub: we have none */

struct client_filter {
    uint64_t id;                   /* 0: any */
    struct span addr, laddr, user; /* p NULL: any; borrow from the arguments */
    enum client_type type;
    bool skip_me;
};

/* What is looked at of a client. */
struct client_facts {
    uint64_t id;
    struct span addr, laddr, user;
    bool me;
};

/* Parses [ID n] [TYPE t] [USER u] [ADDR a] [LADDR a] [SKIPME yes|no] ...; why->text is Redis' error
 * with its code. The caller checks that the user exists. */
enum err client_filter_parse(const struct span *argv, int argc, struct client_filter *out,
                             struct errmsg *why) must_use;
bool client_filter_match(const struct client_filter *f, const struct client_facts *c);
/* "normal", "master", "replica", "slave", "pubsub"; false: unknown. */
bool client_type_parse(struct span s, enum client_type *out);

#endif
