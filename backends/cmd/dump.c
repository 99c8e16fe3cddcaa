/* DUMP and RESTORE.
 *
 * A payload is Halcyon's own, not Redis': format version (1 byte), type (1), for strings the
 * encoding (1) and the bytes, for collections what their object_ops.dump writes; then the CRC-64 of
 * all that, little-endian. Loading never trusts the bytes: the checksum guards against accidents
 * only, so every loader checks what it reads. */
#include <endian.h>

#include "backends/cmd/config.h"
#include "backends/cmd/generic_cmds.h"
#include "backends/cmd/value.h"
#include "backends/types/object.h"
#include "common/num.h"

#define DUMP_VERSION 1
#define CRC_BYTES 8u
#define HEAD_BYTES 2u

static uint64_t crc_table[256]; /* CRC-64/XZ: polynomial 0x42F0E1EBA9EA3693, reflected */

__attribute__((constructor)) static void crc_init(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t c = i;
        for (int bit = 0; bit < 8; bit++) {
            c = (c & 1u) != 0 ? (c >> 1) ^ 0xC96C5795D7870F42u : c >> 1;
        }
        crc_table[i] = c;
    }
}

static uint64_t crc64(const char *p, size_t len)
{
    uint64_t c = UINT64_MAX;
    for (size_t i = 0; i < len; i++) {
        c = (c >> 8) ^ crc_table[(c ^ (unsigned char)p[i]) & 0xFFu];
    }
    return ~c;
}

void value_encode(const struct entry *e, struct buf *out)
{
    size_t start = buf_used(out);
    char head[HEAD_BYTES] = {DUMP_VERSION, (char)entry_type(e)};
    buf_add(out, head, sizeof head);
    if (entry_type(e) == VAL_STRING) {
        char enc = (char)entry_enc(e);
        struct span value = entry_string(e);
        buf_add(out, &enc, 1);
        buf_add(out, value.p, value.len);
    } else {
        object_ops(entry_type(e))->dump(entry_object(e), out);
    }
    uint64_t crc = htole64(crc64(buf_head(out) + start, buf_used(out) - start));
    buf_add(out, &crc, sizeof crc);
}

void dump_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (e == NULL) {
        resp_null(c->out);
        return;
    }
    struct buf b = {0};
    value_encode(e, &b);
    resp_bulk(c->out, b.p, b.len);
    buf_free(&b);
}

/* ---- RESTORE ---- */

struct restore_options {
    bool replace, absttl;
    int64_t ttl, idle, freq; /* idle, freq: -1 not given */
};

static bool parse_restore(struct cmd_ctx *c, struct restore_options *o)
{
    *o = (struct restore_options){.idle = -1, .freq = -1};
    for (int i = 4; i < c->argc; i++) {
        bool more = i + 1 < c->argc;
        if (span_is(c->argv[i], "replace")) {
            o->replace = true;
        } else if (span_is(c->argv[i], "absttl")) {
            o->absttl = true;
        } else if (span_is(c->argv[i], "idletime") && more && o->freq == -1) {
            if (!cmd_i64(c, c->argv[++i], &o->idle, NULL)) {
                return false;
            }
            if (o->idle < 0) {
                resp_error(c->out, "ERR Invalid IDLETIME value, must be >= 0");
                return false;
            }
        } else if (span_is(c->argv[i], "freq") && more && o->idle == -1) {
            if (!cmd_i64(c, c->argv[++i], &o->freq, NULL)) {
                return false;
            }
            if (o->freq < 0 || o->freq > 255) {
                resp_error(c->out, "ERR Invalid FREQ value, must be >= 0 and <= 255");
                return false;
            }
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    return true;
}

struct payload {
    enum val_type type;
    struct span bytes; /* string: without its encoding byte */
    enum str_enc enc;
    void *object;
};

/* Checks and, for collections, loads. NULL, or what is wrong with the bytes, in RESTORE's words. */
static const char *read_payload(struct store *store, struct span in, struct payload *out)
{
    uint64_t crc = 0;
    if (in.len >= HEAD_BYTES + CRC_BYTES) {
        memcpy(&crc, in.p + in.len - CRC_BYTES, CRC_BYTES);
    }
    if (in.len < HEAD_BYTES + CRC_BYTES || in.p[0] != DUMP_VERSION ||
        le64toh(crc) != crc64(in.p, in.len - CRC_BYTES)) {
        return "ERR DUMP payload version or checksum are wrong";
    }
    unsigned type = (unsigned char)in.p[1];
    struct span body = span_of(in.p + HEAD_BYTES, in.len - HEAD_BYTES - CRC_BYTES);
    *out = (struct payload){.type = (enum val_type)type, .bytes = body};
    if (type == VAL_STRING && body.len >= 1 && (unsigned char)body.p[0] <= STR_RAW) {
        out->enc = (enum str_enc)body.p[0];
        out->bytes = span_of(body.p + 1, body.len - 1);
        int64_t n = 0;
        if (out->enc != STR_INT || num_parse_i64(out->bytes, &n)) {
            return NULL;
        }
    } else if (type < VAL_TOMBSTONE && type != VAL_STRING) {
        const struct object_ops *ops = object_ops((enum val_type)type);
        size_t used = 0;
        out->object = ops == NULL ? NULL : ops->load(body.p, body.len, &used);
        if (out->object != NULL && used == body.len) {
            return NULL;
        }
        if (out->object != NULL) {
            store_lazy_add(store, (enum val_type)type, out->object);
        }
    }
    return "ERR Bad data format";
}

static struct entry *put(struct store *s, struct entry *e, struct span key, const struct payload *p,
                         uint64_t expire_ms)
{
    if (p->object == NULL) {
        struct string_value v = {.bytes = p->bytes, .enc = p->enc, .expire_ms = expire_ms};
        return store_put_string_expire(s, e, key, v);
    }
    e = store_put_object(s, e, key, p->type, p->object);
    return store_set_expire(s, e, expire_ms);
}

struct entry *value_install(struct store *s, struct entry *e, struct span key, struct span bytes)
{
    struct payload p;
    return read_payload(s, bytes, &p) == NULL ? put(s, e, key, &p, 0) : NULL;
}

void restore_command(struct cmd_ctx *c)
{
    struct restore_options o;
    if (!parse_restore(c, &o)) {
        return;
    }
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (e != NULL && !o.replace) {
        resp_error(c->out, "BUSYKEY Target key name already exists.");
        return;
    }
    if (!cmd_i64(c, c->argv[2], &o.ttl, NULL)) {
        return;
    }
    if (o.ttl < 0) {
        resp_error(c->out, "ERR Invalid TTL value, must be >= 0");
        return;
    }
    struct payload p;
    const char *wrong = read_payload(c->store, c->argv[3], &p);
    if (wrong != NULL) {
        resp_error(c->out, wrong);
        return;
    }
    uint64_t expire_ms = (uint64_t)o.ttl + (o.ttl != 0 && !o.absttl ? c->now_ms : 0);
    if (expire_ms > INT64_MAX) {
        expire_ms = INT64_MAX;
    }
    e = put(c->store, e, c->argv[1], &p, expire_ms);
    entry_set_access(c->store, e, o.idle, (int)o.freq, c->now_ms);
    if (expire_ms != 0 && expire_ms <= c->now_ms) {
        store_delete(c->store, e);
    }
    c->dirty++;
    resp_ok(c->out);
}
