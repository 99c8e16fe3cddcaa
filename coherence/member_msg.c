/* The wire form of the membership service's messages: one table of which fields each kind has. */
#include "coherence/member_msg.h"

#include <string.h>

#include "coherence/ts.h"
#include "coherence/wire.h"
#include "common/must.h"

#define ID MEMBER_F_ID
#define NONCE MEMBER_F_NONCE
#define TOKEN MEMBER_F_TOKEN
#define VERSION MEMBER_F_VERSION
#define EPOCH MEMBER_F_EPOCH
#define BALLOT MEMBER_F_BALLOT
#define ACCEPTED MEMBER_F_ACCEPTED
#define WAIT_NS MEMBER_F_WAIT_NS
#define FLAGS MEMBER_F_FLAGS
#define OTHER MEMBER_F_OTHER
#define REASON MEMBER_F_REASON
#define CHANGE_KIND MEMBER_F_CHANGE_KIND
#define GONE MEMBER_F_GONE
#define GROUP MEMBER_F_GROUP
#define ADDRESS MEMBER_F_ADDRESS
#define PORTS MEMBER_F_PORTS
#define MAP MEMBER_F_MAP

static const unsigned fields_of[MEMBER_MSG_COUNT] = {
#define X(name, fields) [MEMBER_MSG_##name] = (unsigned)(fields),
    MEMBER_MSG_KINDS(X)
#undef X
};

static const char *const names[MEMBER_MSG_COUNT] = {
#define X(name, fields) [MEMBER_MSG_##name] = #name,
    MEMBER_MSG_KINDS(X)
#undef X
};

static const char *const reasons[MEMBER_REASON_COUNT] = {
#define X(name, text) [MEMBER_##name] = text,
    MEMBER_REASONS(X)
#undef X
};

const char *member_msg_name(enum member_msg_kind kind)
{
    return (unsigned)kind < MEMBER_MSG_COUNT ? names[kind] : "?";
}

const char *member_reason_text(enum member_reason r)
{
    return (unsigned)r < MEMBER_REASON_COUNT ? reasons[r] : "?";
}

/* A PROMISE has a map only if something was accepted. */
static bool has_map(enum member_msg_kind kind, uint64_t accepted)
{
    return (fields_of[kind] & MAP) != 0 && (kind != MEMBER_MSG_PROMISE || accepted != 0);
}

/* The integers, in wire order; texts, bits and the map come after them. */
static const struct {
    unsigned field;
    unsigned bytes;
} integers[] = {{ID, 4},    {NONCE, 8},  {TOKEN, 8},    {VERSION, 8},
                {EPOCH, 8}, {BALLOT, 8}, {ACCEPTED, 8}, {WAIT_NS, 8},
                {FLAGS, 1}, {OTHER, 4},  {REASON, 1},   {CHANGE_KIND, 1}};
#define INTEGER_COUNT (sizeof integers / sizeof integers[0])

static uint64_t field_get(const struct member_msg *m, unsigned field)
{
    switch (field) {
    case ID:
        return m->id;
    case NONCE:
        return m->nonce;
    case TOKEN:
        return m->token;
    case VERSION:
        return m->version;
    case EPOCH:
        return m->epoch;
    case BALLOT:
        return m->ballot;
    case ACCEPTED:
        return m->accepted;
    case WAIT_NS:
        return m->wait_ns;
    case FLAGS:
        return m->flags;
    case OTHER:
        return m->other;
    case REASON:
        return m->reason;
    case CHANGE_KIND:
        return m->change;
    default:
        unreachable();
    }
}

/* Stores the field; false if it is out of range. */
static bool field_set(struct member_msg *m, unsigned field, uint64_t v)
{
    switch (field) {
    case ID:
        m->id = (uint32_t)v;
        return v <= TS_ID_MAX;
    case NONCE:
        m->nonce = v;
        return v != 0;
    case TOKEN:
        m->token = v;
        return true;
    case VERSION:
        m->version = v;
        return true;
    case EPOCH:
        m->epoch = v;
        return true;
    case BALLOT:
        m->ballot = v;
        return v != 0;
    case ACCEPTED:
        m->accepted = v;
        return true;
    case WAIT_NS:
        m->wait_ns = v;
        return true;
    case FLAGS:
        m->flags = (uint8_t)v;
        return v <= (MEMBER_FLAG_CAUGHT_UP | MEMBER_FLAG_BAR | MEMBER_FLAG_FORGOT);
    case OTHER:
        m->other = (uint32_t)v;
        return v <= TS_ID_MAX;
    case REASON:
        m->reason = (enum member_reason)v;
        return v < MEMBER_REASON_COUNT;
    case CHANGE_KIND:
        m->change = (enum member_change_kind)v;
        return v < MEMBER_CHANGE_COUNT;
    default:
        unreachable();
    }
}

size_t member_msg_encode(const struct member_msg *m, uint8_t *frame, size_t capacity)
{
    must((unsigned)m->kind < MEMBER_MSG_COUNT);
    unsigned fields = fields_of[m->kind];
    struct wire_writer w = {frame, capacity};
    wire_put(&w, (uint64_t)m->kind + 1, 1);
    wire_put(&w, m->cluster, 8);
    wire_put(&w, m->sender, 1);
    for (size_t i = 0; i < INTEGER_COUNT; i++) {
        if ((fields & integers[i].field) != 0) {
            wire_put(&w, field_get(m, integers[i].field), integers[i].bytes);
        }
    }
    for (unsigned i = 0; (fields & GONE) != 0 && i < MEMBER_GONE_WORDS; i++) {
        wire_put(&w, m->gone[i], 8);
    }
    if ((fields & GROUP) != 0) {
        wire_put_text(&w, m->group, MAP_TEXT_MAX);
    }
    if ((fields & ADDRESS) != 0) {
        wire_put_text(&w, m->at.host, MAP_TEXT_MAX);
        wire_put(&w, m->at.port, 2);
    }
    if ((fields & PORTS) != 0) {
        wire_put(&w, m->workers, 2);
        wire_put(&w, m->peer_port, 2);
    }
    if (has_map(m->kind, m->accepted)) {
        size_t n = map_encode(m->map, w.p, w.left);
        w.left -= n;
    }
    return capacity - w.left;
}

/* Group and address of a JOIN or CHANGE: all there and well-formed, or not there where that may be.
 */
static bool place_ok(const struct member_msg *m)
{
    char text[MAP_TEXT_MAX];
    size_t group_len = wire_text_len(m->group, MAP_TEXT_MAX);
    size_t host_len = wire_text_len(m->at.host, MAP_TEXT_MAX);
    bool no_address = host_len == 0 && m->at.port == 0;
    bool address = m->at.port != 0 && map_text_set(text, m->at.host, host_len);
    bool join = m->kind == MEMBER_MSG_JOIN;
    return (group_len == 0 || map_text_set(text, m->group, group_len)) &&
           (address || (no_address && !join)) &&
           (!join || (m->workers >= 1 && m->workers <= MAP_WORKERS_MAX && m->peer_port != 0 &&
                      m->at.port + m->workers - 1u <= UINT16_MAX &&
                      m->peer_port + m->workers - 1u <= UINT16_MAX));
}

enum err member_msg_decode(const uint8_t *frame, size_t len, struct member_msg *m,
                           struct member_map *map)
{
    struct wire_reader r = {.p = frame, .left = len};
    memset(m, 0, sizeof *m);
    uint64_t kind = wire_take(&r, 1);
    if (kind < 1 || kind > MEMBER_MSG_COUNT) {
        return ERR_PROTO;
    }
    m->kind = (enum member_msg_kind)(kind - 1);
    m->cluster = wire_take(&r, 8);
    m->sender = (uint8_t)wire_take(&r, 1);
    unsigned fields = fields_of[m->kind];
    bool ok = m->sender < MAP_ACCEPTORS_MAX || m->sender == MEMBER_NO_ACCEPTOR;
    for (size_t i = 0; i < INTEGER_COUNT && ok && !r.bad; i++) {
        if ((fields & integers[i].field) != 0) {
            ok = field_set(m, integers[i].field, wire_take(&r, integers[i].bytes));
        }
    }
    for (unsigned i = 0; (fields & GONE) != 0 && i < MEMBER_GONE_WORDS; i++) {
        m->gone[i] = wire_take(&r, 8);
    }
    if ((fields & GROUP) != 0) {
        wire_take_text(&r, m->group, MAP_TEXT_MAX);
    }
    if ((fields & ADDRESS) != 0) {
        wire_take_text(&r, m->at.host, MAP_TEXT_MAX);
        m->at.port = (uint16_t)wire_take(&r, 2);
    }
    if ((fields & PORTS) != 0) {
        m->workers = (uint16_t)wire_take(&r, 2);
        m->peer_port = (uint16_t)wire_take(&r, 2);
    }
    if (!ok || r.bad || ((fields & ADDRESS) != 0 && !place_ok(m))) {
        return ERR_PROTO;
    }
    if (has_map(m->kind, m->accepted)) {
        m->map = map;
        return map_decode(r.p, r.left, map);
    }
    return r.left == 0 ? OK : ERR_PROTO;
}
