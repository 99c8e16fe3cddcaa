/* The wire form of peer messages: one table of which fields each kind has, one list of fields that
 * makes the writer and the reader.
 *
 * Fields are written one by one, never as a struct, so there is no padding to leak and no layout to
 * agree on. The reader checks the range of each field as it reads it and the end of the frame last.
 */
#include "coherence/msg.h"

#include <endian.h>
#include <string.h>

#include "coherence/ts.h"
#include "common/must.h"

#define KEY MSG_F_KEY
#define TS MSG_F_TS
#define BASE MSG_F_BASE
#define HELD MSG_F_HELD
#define OWNER MSG_F_OWNER
#define FLAGS MSG_F_FLAGS
#define GENERATION MSG_F_GENERATION
#define NOW MSG_F_NOW
#define PAYLOAD MSG_F_PAYLOAD
#define VERSION MSG_F_VERSION
#define SLOT MSG_F_SLOT
#define NONCE MSG_F_NONCE
#define CURSOR MSG_F_CURSOR
#define SEQ MSG_F_SEQ
#define PARTS MSG_F_PARTS
static const unsigned fields_of[MSG_KIND_COUNT] = {
#define X(name, fields) [MSG_HERMES_##name] = (unsigned)(fields),
    MSG_KINDS(X)
#undef X
};
static const char *const names[MSG_KIND_COUNT] = {
#define X(name, fields) [MSG_HERMES_##name] = #name,
    MSG_KINDS(X)
#undef X
};

#define HEADER_BYTES 13u

/* The integer fields, in wire order: bit, member, width in bits. Key, parts and payload come
 * after them. */
#define INTEGERS(X)                                                                                \
    X(NONCE, nonce, 64)                                                                            \
    X(SEQ, seq, 32)                                                                                \
    X(SLOT, slot, 16)                                                                              \
    X(TS, ts, 64)                                                                                  \
    X(BASE, base, 64)                                                                              \
    X(HELD, held, 64)                                                                              \
    X(VERSION, version, 64)                                                                        \
    X(CURSOR, cursor, 64)                                                                          \
    X(OWNER, owner, 32)                                                                            \
    X(FLAGS, flags, 8)                                                                             \
    X(GENERATION, generation, 64)                                                                  \
    X(NOW, now_ms, 64)

#define PART_BYTES 26u /* base, ts, generation, length of the key */

/* Bytes of a frame without those of key, parts and payload. */
#define X(bit, member, bits) +(((fields) & (bit)) != 0 ? (bits) / 8 : 0)
static unsigned fixed_bytes(unsigned fields)
{
    return HEADER_BYTES INTEGERS(X) + ((fields & KEY) != 0 ? 2 : 0) +
           ((fields & PARTS) != 0 ? 2 : 0) + ((fields & PAYLOAD) != 0 ? 4 : 0);
}
#undef X

const char *msg_name(enum msg_kind kind)
{
    return (unsigned)kind < MSG_KIND_COUNT ? names[kind] : "?";
}

size_t msg_size(const struct hermes_msg *m, const struct msg_bytes *b)
{
    unsigned fields = fields_of[m->kind];
    size_t parts = 0;
    for (uint32_t i = 0; (fields & PARTS) != 0 && i < m->part_count; i++) {
        parts += PART_BYTES + b->part_keys[i].len;
    }
    return fixed_bytes(fields) + ((fields & KEY) != 0 ? (size_t)b->key_len : 0) + parts +
           ((fields & PAYLOAD) != 0 ? (size_t)b->payload_len : 0);
}

static uint8_t *put8(uint8_t *p, uint8_t v)
{
    *p = v;
    return p + 1;
}
#define PUT(bits)                                                                                  \
    static uint8_t *put##bits(uint8_t *p, uint##bits##_t v)                                        \
    {                                                                                              \
        v = htole##bits(v);                                                                        \
        memcpy(p, &v, sizeof v);                                                                   \
        return p + sizeof v;                                                                       \
    }
PUT(16)
PUT(32)
PUT(64)

static uint8_t *put_parts(uint8_t *p, const struct hermes_msg *m, const struct msg_key *keys)
{
    must(m->part_count >= 1 && m->part_count <= MSG_PARTS_MAX);
    p = put16(p, (uint16_t)m->part_count);
    for (uint32_t i = 0; i < m->part_count; i++) {
        must(keys[i].len <= MSG_KEY_MAX);
        p = put64(p, m->parts[i].base);
        p = put64(p, m->parts[i].ts);
        p = put64(p, m->parts[i].generation);
        p = put16(p, (uint16_t)keys[i].len);
        memcpy(p, keys[i].p, keys[i].len);
        p += keys[i].len;
    }
    return p;
}

size_t msg_encode(const struct hermes_msg *m, const struct msg_bytes *b, uint8_t *frame,
                  size_t capacity)
{
    must((unsigned)m->kind < MSG_KIND_COUNT);
    size_t size = msg_size(m, b);
    must(size <= capacity);
    must(b->key_len <= MSG_KEY_MAX && b->payload_len <= MSG_PAYLOAD_MAX);
    unsigned fields = fields_of[m->kind];
    uint8_t *p = put8(frame, (uint8_t)(m->kind + 1));
    p = put64(p, m->epoch);
    p = put32(p, m->sender);
#define X(bit, member, bits)                                                                       \
    if ((fields & (bit)) != 0) {                                                                   \
        p = put##bits(p, m->member);                                                               \
    }
    INTEGERS(X)
#undef X
    if ((fields & KEY) != 0) {
        p = put16(p, (uint16_t)b->key_len);
        memcpy(p, b->key, b->key_len);
        p += b->key_len;
    }
    if ((fields & PARTS) != 0) {
        p = put_parts(p, m, b->part_keys);
    }
    if ((fields & PAYLOAD) != 0) {
        p = put32(p, b->payload_len);
        if (b->payload_len != 0) {
            memcpy(p, b->payload, b->payload_len);
        }
        p += b->payload_len;
    }
    must((size_t)(p - frame) == size);
    return size;
}

struct reader {
    const uint8_t *p;
    size_t left;
    bool bad;
};

static uint8_t take8(struct reader *r)
{
    if (r->left == 0) {
        r->bad = true;
        return 0;
    }
    r->left--;
    return *r->p++;
}
#define TAKE(bits)                                                                                 \
    static uint##bits##_t take##bits(struct reader *r)                                             \
    {                                                                                              \
        uint##bits##_t v = 0;                                                                      \
        if (r->left < sizeof v) {                                                                  \
            r->bad = true;                                                                         \
            return 0;                                                                              \
        }                                                                                          \
        memcpy(&v, r->p, sizeof v);                                                                \
        r->p += sizeof v;                                                                          \
        r->left -= sizeof v;                                                                       \
        return le##bits##toh(v);                                                                   \
    }
TAKE(16)
TAKE(32)
TAKE(64)

static const uint8_t *take_bytes(struct reader *r, size_t len)
{
    if (r->left < len) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *at = r->p;
    r->p += len;
    r->left -= len;
    return at;
}

static bool id_ok(uint64_t id)
{
    return id != 0 && id <= TS_ID_MAX;
}

/* Fields that are not there are 0, and owner 0 means none. */
static bool in_range(const struct hermes_msg *m, unsigned fields)
{
    return m->epoch != 0 && id_ok(m->sender) && m->slot < MSG_SLOTS &&
           m->version <= TS_VERSION_MAX && ((fields & OWNER) == 0 || id_ok(m->owner)) &&
           m->flags <= (MSG_FLAG_RMW | MSG_FLAG_HOT | MSG_FLAG_LIVE) &&
           m->payload.len <= MSG_PAYLOAD_MAX;
}

/* What no correct sender writes, beyond single fields. */
static bool sense(const struct hermes_msg *m, unsigned fields)
{
    if ((fields & BASE) != 0) { /* an update: made by its owner, above its base */
        return m->ts > m->base && ts_id(m->ts) == m->owner &&
               ts_version(m->ts) > ts_version(m->base);
    }
    return true;
}

void msg_part_next(const uint8_t **at, struct hermes_part *part, struct msg_key *key)
{
    struct reader r = {.p = *at, .left = SIZE_MAX}; /* msg_decode has been here */
    *part = (struct hermes_part){0};
    part->base = take64(&r);
    part->ts = take64(&r);
    part->generation = take64(&r);
    key->len = take16(&r);
    key->p = take_bytes(&r, key->len);
    part->key.ref.len = key->len;
    *at = r.p;
}

/* Each part made by the owner, above its base. */
static bool parts_ok(struct reader *r, const struct hermes_msg *m)
{
    bool ok = m->part_count >= 1 && m->part_count <= MSG_PARTS_MAX;
    for (uint32_t i = 0; i < m->part_count && ok && !r->bad; i++) {
        uint64_t base = take64(r);
        uint64_t ts = take64(r);
        (void)take64(r);
        (void)take_bytes(r, take16(r));
        ok = ts > base && ts_id(ts) == m->owner && ts_version(ts) > ts_version(base);
    }
    return ok;
}

enum err msg_decode(const uint8_t *frame, size_t len, struct hermes_msg *m, struct msg_bytes *b)
{
    struct reader r = {.p = frame, .left = len};
    memset(m, 0, sizeof *m);
    memset(b, 0, sizeof *b);
    unsigned kind = take8(&r);
    if (kind < 1 || kind > MSG_KIND_COUNT) {
        return ERR_PROTO;
    }
    m->kind = (enum msg_kind)(kind - 1);
    m->epoch = take64(&r);
    m->sender = take32(&r);
    unsigned fields = fields_of[m->kind];
#define X(bit, member, bits)                                                                       \
    if ((fields & (bit)) != 0) {                                                                   \
        m->member = take##bits(&r);                                                                \
    }
    INTEGERS(X)
#undef X
    if ((fields & KEY) != 0) {
        b->key_len = take16(&r);
        b->key = take_bytes(&r, b->key_len);
        m->key.ref.len = b->key_len;
    }
    bool ok = true;
    if ((fields & PARTS) != 0) {
        m->part_count = take16(&r);
        b->parts = r.p;
        ok = parts_ok(&r, m);
    }
    if ((fields & PAYLOAD) != 0) {
        b->payload_len = take32(&r);
        b->payload = take_bytes(&r, b->payload_len);
        m->payload.len = b->payload_len;
    }
    return ok && !r.bad && r.left == 0 && in_range(m, fields) && sense(m, fields) ? OK : ERR_PROTO;
}
