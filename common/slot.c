/* CRC16 slots and the database prefix of inner keys. */
#include "common/slot.h"

#include "common/must.h"

/* CRC16 as used by Redis Cluster: XMODEM, polynomial 0x1021, not reflected, start 0. Eight bytes
 * are taken per step: crc16_table[k][x] is what byte x contributes when k bytes follow it in the
 * step. The tables are computed once, before threads start (constructor), so that look-ups need no
 * synchronisation. */
static uint16_t crc16_table[8][256];

__attribute__((constructor)) static void crc16_init(void)
{
    for (unsigned i = 0; i < 256; i++) {
        unsigned c = i << 8;
        for (int bit = 0; bit < 8; bit++) {
            c = (c & 0x8000u) != 0 ? (c << 1) ^ 0x1021u : c << 1;
        }
        crc16_table[0][i] = (uint16_t)c;
    }
    for (unsigned k = 1; k < 8; k++) {
        for (unsigned i = 0; i < 256; i++) {
            unsigned c = crc16_table[k - 1][i];
            crc16_table[k][i] = (uint16_t)((c << 8) ^ crc16_table[0][c >> 8]);
        }
    }
}

uint16_t crc16(const char *p, size_t len)
{
    const unsigned char *b = (const unsigned char *)p;
    unsigned crc = 0;
    for (; len >= 8; len -= 8, b += 8) {
        crc = (unsigned)crc16_table[7][b[0] ^ (crc >> 8)] ^ crc16_table[6][b[1] ^ (crc & 0xFF)] ^
              crc16_table[5][b[2]] ^ crc16_table[4][b[3]] ^ crc16_table[3][b[4]] ^
              crc16_table[2][b[5]] ^ crc16_table[1][b[6]] ^ crc16_table[0][b[7]];
    }
    for (size_t i = 0; i < len; i++) {
        crc = ((crc << 8) ^ crc16_table[0][((crc >> 8) ^ b[i]) & 0xFF]) & 0xFFFF;
    }
    return (uint16_t)crc;
}

uint16_t slot_of(struct span key)
{
    const char *open = key.len != 0 ? memchr(key.p, '{', key.len) : NULL;
    if (open != NULL) {
        size_t rest = key.len - (size_t)(open + 1 - key.p);
        const char *close = rest != 0 ? memchr(open + 1, '}', rest) : NULL;
        if (close != NULL && close != open + 1) {
            return crc16(open + 1, (size_t)(close - open - 1)) % SLOT_COUNT;
        }
    }
    return crc16(key.p, key.len) % SLOT_COUNT;
}

static inline bool has_prefix(struct span inner)
{
    return inner.len >= 2 && inner.p[0] == DB_ESCAPE;
}

uint16_t slot_of_inner(struct span inner)
{
    return slot_of(key_outer(inner));
}

unsigned key_db(struct span inner)
{
    return has_prefix(inner) ? (unsigned char)inner.p[1] : 0;
}

struct span key_outer(struct span inner)
{
    return has_prefix(inner) ? span_of(inner.p + 2, inner.len - 2) : inner;
}

void key_add_inner(struct buf *b, unsigned db, struct span key)
{
    must(db < DB_COUNT);
    if (key_needs_prefix(db, key)) {
        char prefix[2] = {DB_ESCAPE, (char)db};
        buf_add(b, prefix, sizeof prefix);
    }
    buf_add(b, key.p, key.len);
}
