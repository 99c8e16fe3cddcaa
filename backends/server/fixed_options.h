#ifndef BACKENDS_SERVER_FIXED_OPTIONS_H
#define BACKENDS_SERVER_FIXED_OPTIONS_H

#include <stddef.h>

#include "common/span.h"

/* Options of Redis that tools and client libraries read, and for which this server has one fixed
 * answer. They are in CONFIG GET unless the daemon has an option of that name; CONFIG SET takes
 * only the value they have. */
struct fixed_option {
    const char *name, *value;
};

extern const struct fixed_option fixed_options[];
extern const size_t fixed_option_count;

const struct fixed_option *fixed_option_find(struct span name); /* any case; NULL: none */

#endif
