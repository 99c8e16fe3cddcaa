#ifndef COMMON_SLOT_H
#define COMMON_SLOT_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/span.h"

/* Key -> hash slot as in Redis Cluster (CRC16/XMODEM, hash tags), and the inner form of keys.
 *
 * Databases are a prefix inside: the inner key of a key in database 0 is the key itself unless its
 * first byte is 0xFF; every other key becomes 0xFF, the database number as one byte, then the key.
 * So the common case costs nothing and no two (database, key) pairs collide. The slot is always
 * that of the key the client named. */
#define SLOT_COUNT 16384
#define DB_COUNT 16
#define DB_ESCAPE ((char)0xFF)

uint16_t crc16(const char *p, size_t len);

/* Slot of a client's key: of the part between the first { and the next } when that is not empty. */
uint16_t slot_of(struct span key);
/* Slot of an inner key (prefix skipped). */
uint16_t slot_of_inner(struct span inner);

/* Database of an inner key, and the client's key in it (borrows). */
unsigned key_db(struct span inner);
struct span key_outer(struct span inner);

/* True if the client's key in this database needs a prefix; then key_add_prefix writes the two
 * bytes. */
static inline bool key_needs_prefix(unsigned db, struct span key)
{
    return db != 0 || (key.len != 0 && key.p[0] == DB_ESCAPE);
}
void key_add_inner(struct buf *b, unsigned db, struct span key);

#endif
