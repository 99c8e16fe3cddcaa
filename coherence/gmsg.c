/* The wire form of messages between proxies: one table of which fields each kind has, one loop that
 * writes them, one that reads them, as in msg.c. */
#include "coherence/gmsg.h"

#include <string.h>

#include "coherence/ts.h"
#include "coherence/wire.h"
#include "common/must.h"

#define SEQ GMSG_F_SEQ
#define GENERATION GMSG_F_GENERATION
#define TOKEN GMSG_F_TOKEN
#define TS GMSG_F_TS
#define EXPIRE GMSG_F_EXPIRE
#define FLAGS GMSG_F_FLAGS
#define KEY GMSG_F_KEY
#define PAYLOAD GMSG_F_PAYLOAD
static const unsigned fields_of[GMSG_KIND_COUNT] = {
#define X(name, fields) [GMSG_##name] = (unsigned)(fields),
    GMSG_KINDS(X)
#undef X
};
static const char *const names[GMSG_KIND_COUNT] = {
#define X(name, fields) [GMSG_##name] = #name,
    GMSG_KINDS(X)
#undef X
};

#define HEADER_BYTES 13u

/* The integer fields, in wire order, with their widths. Key and payload come after them. */
static const struct {
    unsigned field, bytes;
    size_t offset;
} integers[] = {{SEQ, 8, offsetof(struct gmsg, seq)},
                {GENERATION, 8, offsetof(struct gmsg, generation)},
                {TOKEN, 8, offsetof(struct gmsg, token)},
                {TS, 8, offsetof(struct gmsg, ts)},
                {EXPIRE, 8, offsetof(struct gmsg, expire_ms)},
                {FLAGS, 1, offsetof(struct gmsg, flags)}};
#define INTEGER_COUNT (sizeof integers / sizeof integers[0])

const char *gmsg_name(enum gmsg_kind kind)
{
    return (unsigned)kind < GMSG_KIND_COUNT ? names[kind] : "?";
}

enum gmsg_core gmsg_for(enum gmsg_kind kind)
{
    switch (kind) {
    case GMSG_PREPARED:
    case GMSG_DRAINED:
    case GMSG_REPORT:
        return GMSG_TO_HOTSET;
    case GMSG_COUNTS:
    case GMSG_KIND_COUNT:
        return GMSG_TO_DRIVER;
    case GMSG_INV:
    case GMSG_ACK:
    case GMSG_DONE:
    case GMSG_ASK:
    case GMSG_LOST:
    case GMSG_PREP:
    case GMSG_FILL:
    case GMSG_DRAIN:
    case GMSG_DROP:
        return GMSG_TO_GALENE;
    }
    unreachable();
}

size_t gmsg_size(enum gmsg_kind kind, const struct msg_bytes *b)
{
    size_t size = HEADER_BYTES;
    for (size_t i = 0; i < INTEGER_COUNT; i++) {
        size += (fields_of[kind] & integers[i].field) != 0 ? integers[i].bytes : 0;
    }
    size += (fields_of[kind] & KEY) != 0 ? 2 + (size_t)b->key_len : 0;
    size += (fields_of[kind] & PAYLOAD) != 0 ? 4 + (size_t)b->payload_len : 0;
    return size;
}

static uint64_t field_get(const struct gmsg *m, size_t i)
{
    const char *at = (const char *)m + integers[i].offset;
    uint64_t v = 0;
    if (integers[i].bytes == 1) {
        v = *(const uint8_t *)at;
    } else {
        memcpy(&v, at, sizeof v);
    }
    return v;
}

static void field_set(struct gmsg *m, size_t i, uint64_t v)
{
    char *at = (char *)m + integers[i].offset;
    if (integers[i].bytes == 1) {
        *(uint8_t *)at = (uint8_t)v;
    } else {
        memcpy(at, &v, sizeof v);
    }
}

static bool value_ok(const struct gmsg *m, uint32_t payload_len)
{
    switch (m->flags) {
    case GMSG_VALUE:
        return m->ts != 0;
    case GMSG_ABSENT:
        return m->ts != 0 && m->expire_ms == 0 && payload_len == 0;
    case GMSG_NO_VALUE:
    case GMSG_UNCACHEABLE:
        return m->kind == GMSG_DONE && m->ts == 0 && m->expire_ms == 0 && payload_len == 0;
    default:
        return false;
    }
}

/* What no correct sender writes. */
static bool sense(const struct gmsg *m, const struct msg_bytes *b)
{
    unsigned fields = fields_of[m->kind];
    bool any_generation =
        m->kind == GMSG_DROP || (m->kind == GMSG_REPORT && m->flags == GMSG_REPORT_DEMOTE);
    if (((fields & GENERATION) != 0 && m->generation == 0 && !any_generation) ||
        ((fields & TOKEN) != 0 && m->token == 0) || ((fields & SEQ) != 0 && m->seq == 0)) {
        return false;
    }
    if ((fields & TS) != 0) {
        return value_ok(m, b->payload_len);
    }
    return (fields & FLAGS) == 0 || m->flags < GMSG_REPORT_KINDS;
}

size_t gmsg_encode(const struct gmsg *m, const struct msg_bytes *b, uint8_t *frame, size_t capacity)
{
    must((unsigned)m->kind < GMSG_KIND_COUNT);
    size_t size = gmsg_size(m->kind, b);
    must(size <= capacity);
    must(b->key_len <= MSG_KEY_MAX && b->payload_len <= GMSG_PAYLOAD_MAX);
    must(sense(m, b));
    unsigned fields = fields_of[m->kind];
    struct wire_writer w = {frame, size};
    wire_put(&w, GMSG_KIND_FIRST + (uint64_t)m->kind, 1);
    wire_put(&w, m->epoch, 8);
    wire_put(&w, m->sender, 4);
    for (size_t i = 0; i < INTEGER_COUNT; i++) {
        if ((fields & integers[i].field) != 0) {
            wire_put(&w, field_get(m, i), integers[i].bytes);
        }
    }
    if ((fields & KEY) != 0) {
        wire_put(&w, b->key_len, 2);
        wire_put_bytes(&w, b->key, b->key_len);
    }
    if ((fields & PAYLOAD) != 0) {
        wire_put(&w, b->payload_len, 4);
        wire_put_bytes(&w, b->payload, b->payload_len);
    }
    must(w.left == 0);
    return size;
}

enum err gmsg_decode(const uint8_t *frame, size_t len, struct gmsg *m, struct msg_bytes *b)
{
    struct wire_reader r = {.p = frame, .left = len};
    memset(m, 0, sizeof *m);
    memset(b, 0, sizeof *b);
    uint64_t kind = wire_take(&r, 1);
    if (kind < GMSG_KIND_FIRST || kind >= GMSG_KIND_FIRST + GMSG_KIND_COUNT) {
        return ERR_PROTO;
    }
    m->kind = (enum gmsg_kind)(kind - GMSG_KIND_FIRST);
    m->epoch = wire_take(&r, 8);
    m->sender = (uint32_t)wire_take(&r, 4);
    if (m->epoch == 0 || m->sender == 0 || m->sender > TS_ID_MAX) {
        return ERR_PROTO;
    }
    unsigned fields = fields_of[m->kind];
    for (size_t i = 0; i < INTEGER_COUNT; i++) {
        if ((fields & integers[i].field) != 0) {
            field_set(m, i, wire_take(&r, integers[i].bytes));
        }
    }
    if ((fields & KEY) != 0) {
        b->key_len = (uint32_t)wire_take(&r, 2);
        b->key = wire_take_bytes(&r, b->key_len);
        m->key.ref.len = b->key_len;
    }
    if ((fields & PAYLOAD) != 0) {
        b->payload_len = (uint32_t)wire_take(&r, 4);
        if (b->payload_len > GMSG_PAYLOAD_MAX) {
            return ERR_PROTO;
        }
        b->payload = wire_take_bytes(&r, b->payload_len);
        m->payload.len = b->payload_len;
    }
    return !r.bad && r.left == 0 && sense(m, b) ? OK : ERR_PROTO;
}
