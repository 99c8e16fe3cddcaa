#ifndef BACKENDS_CMD_VALUE_H
#define BACKENDS_CMD_VALUE_H

#include "backends/store/store.h"
#include "common/buf.h"

/* A value as bytes: what DUMP shows and what replicas send each other. */

/* Appends type, encoding, value and checksum of a live entry. */
void value_encode(const struct entry *e, struct buf *out);
/* Makes the key hold the value of an encoding, without expiry; e: the key's entry or NULL. NULL:
 * the bytes are no good and nothing has changed. The bytes are never trusted. */
struct entry *value_install(struct store *s, struct entry *e, struct span key, struct span bytes);

#endif
