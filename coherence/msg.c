/* The wire form of peer messages: one table of which fields each kind has, one loop that writes
 * them, one that reads them.
 *
 * Fields are written one by one, never as a struct, so there is no padding to leak and no layout to
 * agree on. The reader checks the range of each field as it reads it and the end of the frame last.
 */
#include "coherence/msg.h"

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

/* The integer fields, in wire order, with their widths. Key and payload come after them. */
static const struct {
    unsigned field;
    unsigned bytes;
} integers[] = {{NONCE, 8},   {SEQ, 4},    {SLOT, 2},  {TS, 8},    {BASE, 8},       {HELD, 8},
                {VERSION, 8}, {CURSOR, 8}, {OWNER, 4}, {FLAGS, 1}, {GENERATION, 8}, {NOW, 8}};
#define INTEGER_COUNT (sizeof integers / sizeof integers[0])

const char *msg_name(enum msg_kind kind)
{
    return (unsigned)kind < MSG_KIND_COUNT ? names[kind] : "?";
}

size_t msg_size(enum msg_kind kind, const struct msg_bytes *b)
{
    size_t size = HEADER_BYTES;
    for (size_t i = 0; i < INTEGER_COUNT; i++) {
        size += (fields_of[kind] & integers[i].field) != 0 ? integers[i].bytes : 0;
    }
    size += (fields_of[kind] & KEY) != 0 ? 2 + (size_t)b->key_len : 0;
    size += (fields_of[kind] & PAYLOAD) != 0 ? 4 + (size_t)b->payload_len : 0;
    return size;
}

static uint8_t *put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
    return p + bytes;
}

static uint64_t field_get(const struct hermes_msg *m, unsigned field)
{
    switch (field) {
    case NONCE:
        return m->nonce;
    case SEQ:
        return m->seq;
    case SLOT:
        return m->slot;
    case TS:
        return m->ts;
    case BASE:
        return m->base;
    case HELD:
        return m->held;
    case VERSION:
        return m->version;
    case CURSOR:
        return m->cursor;
    case OWNER:
        return m->owner;
    case FLAGS:
        return m->flags;
    case GENERATION:
        return m->generation;
    case NOW:
        return m->now_ms;
    default:
        unreachable();
    }
}

size_t msg_encode(const struct hermes_msg *m, const struct msg_bytes *b, uint8_t *frame,
                  size_t capacity)
{
    must((unsigned)m->kind < MSG_KIND_COUNT);
    size_t size = msg_size(m->kind, b);
    must(size <= capacity);
    must(b->key_len <= MSG_KEY_MAX && b->payload_len <= MSG_PAYLOAD_MAX);
    unsigned fields = fields_of[m->kind];
    uint8_t *p = put(frame, (uint64_t)m->kind + 1, 1);
    p = put(p, m->epoch, 8);
    p = put(p, m->sender, 4);
    for (size_t i = 0; i < INTEGER_COUNT; i++) {
        if ((fields & integers[i].field) != 0) {
            p = put(p, field_get(m, integers[i].field), integers[i].bytes);
        }
    }
    if ((fields & KEY) != 0) {
        p = put(p, b->key_len, 2);
        memcpy(p, b->key, b->key_len);
        p += b->key_len;
    }
    if ((fields & PAYLOAD) != 0) {
        p = put(p, b->payload_len, 4);
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

static uint64_t take(struct reader *r, unsigned bytes)
{
    if (r->left < bytes) {
        r->bad = true;
        return 0;
    }
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)r->p[i] << (8 * i);
    }
    r->p += bytes;
    r->left -= bytes;
    return v;
}

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

/* Stores the field; false if it is out of range. */
static bool field_set(struct hermes_msg *m, unsigned field, uint64_t v)
{
    switch (field) {
    case NONCE:
        m->nonce = v;
        return true;
    case SEQ:
        m->seq = (uint32_t)v;
        return true;
    case SLOT:
        m->slot = (uint16_t)v;
        return v < MSG_SLOTS;
    case TS:
        m->ts = v;
        return true;
    case BASE:
        m->base = v;
        return true;
    case HELD:
        m->held = v;
        return true;
    case VERSION:
        m->version = v;
        return v <= TS_VERSION_MAX;
    case CURSOR:
        m->cursor = v;
        return true;
    case OWNER:
        m->owner = (uint32_t)v;
        return id_ok(v);
    case FLAGS:
        m->flags = (uint8_t)v;
        return v <= (MSG_FLAG_RMW | MSG_FLAG_HOT | MSG_FLAG_LIVE);
    case GENERATION:
        m->generation = v;
        return true;
    case NOW:
        m->now_ms = v;
        return true;
    default:
        unreachable();
    }
}

/* What no correct sender writes, beyond single fields. */
static bool sense(const struct hermes_msg *m)
{
    unsigned fields = fields_of[m->kind];
    if ((fields & BASE) != 0) { /* an update: made by its owner, above its base */
        return m->ts > m->base && ts_id(m->ts) == m->owner &&
               ts_version(m->ts) > ts_version(m->base);
    }
    return true;
}

enum err msg_decode(const uint8_t *frame, size_t len, struct hermes_msg *m, struct msg_bytes *b)
{
    struct reader r = {.p = frame, .left = len};
    memset(m, 0, sizeof *m);
    memset(b, 0, sizeof *b);
    uint64_t kind = take(&r, 1);
    if (kind < 1 || kind > MSG_KIND_COUNT) {
        return ERR_PROTO;
    }
    m->kind = (enum msg_kind)(kind - 1);
    m->epoch = take(&r, 8);
    uint64_t sender = take(&r, 4);
    m->sender = (uint32_t)sender;
    unsigned fields = fields_of[m->kind];
    bool ok = m->epoch != 0 && id_ok(sender);
    for (size_t i = 0; i < INTEGER_COUNT && ok && !r.bad; i++) {
        if ((fields & integers[i].field) != 0) {
            ok = field_set(m, integers[i].field, take(&r, integers[i].bytes));
        }
    }
    if ((fields & KEY) != 0) {
        b->key_len = (uint32_t)take(&r, 2);
        b->key = take_bytes(&r, b->key_len);
        m->key.ref.len = b->key_len;
    }
    if ((fields & PAYLOAD) != 0) {
        b->payload_len = (uint32_t)take(&r, 4);
        b->payload = take_bytes(&r, b->payload_len);
        m->payload.len = b->payload_len;
        ok = ok && b->payload_len <= MSG_PAYLOAD_MAX;
    }
    return ok && !r.bad && r.left == 0 && sense(m) ? OK : ERR_PROTO;
}
