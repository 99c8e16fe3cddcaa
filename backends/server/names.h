#ifndef BACKENDS_SERVER_NAMES_H
#define BACKENDS_SERVER_NAMES_H

#include <stdbool.h>

#include "common/span.h"

/* The Redis whose commands, replies and INFO we match: clients decide by it what they may send. It
 * is the version the differential tests compare with; ours is in INFO as halcyon_version, with
 * server_name:halcyon (CLIENTS 3.3). */
#define SERVER_REDIS_VERSION "7.0.15"

/* Names of clients and libraries: printable ASCII without blanks. */
bool name_is_valid(struct span s);
/* Frees the old value; an empty one becomes NULL. */
void name_set(char **field, struct span s);

#endif
