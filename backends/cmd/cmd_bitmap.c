/* Bitmaps: strings seen as bits. */
#include "backends/cmd/cmd_bitmap.h"

#include "backends/cmd/config.h"
#include "common/mem.h"
#include "common/num.h"

bool bitmap_offset(struct cmd_ctx *c, struct span s, bool hash, unsigned bits, uint64_t *out)
{
    bool times = hash && s.len > 0 && s.p[0] == '#';
    int64_t v;
    if (!num_parse_i64(times ? span_of(s.p + 1, s.len - 1) : s, &v) ||
        (times && __builtin_mul_overflow(v, (int64_t)bits, &v)) || v < 0 ||
        (uint64_t)v >> 3 >= c->config->proto_max_bulk_len) {
        resp_error(c->out, "ERR bit offset is not an integer or out of range");
        return false;
    }
    *out = (uint64_t)v;
    return true;
}

char *bitmap_open(struct cmd_ctx *c, struct span key, uint64_t last, bool *grown)
{
    struct entry *e = cmd_lookup_write(c, key);
    if (!cmd_type_ok(c, e, VAL_STRING)) {
        return NULL;
    }
    size_t len = (size_t)(last >> 3) + 1;
    *grown = e == NULL;
    if (e == NULL) {
        e = store_put_string(c->store, NULL, key, span_of(NULL, 0), STR_RAW);
    }
    size_t now = entry_string(e).len;
    if (now >= len) {
        len = now;
    } else {
        *grown = true;
    }
    char *bytes;
    store_string_resize(c->store, e, len, &bytes);
    return bytes;
}

/* The string at key, empty if absent (*found false). False: answered. */
static bool read_string(struct cmd_ctx *c, struct span key, struct span *s, bool *found)
{
    struct entry *e = cmd_lookup(c, key);
    if (!cmd_type_ok(c, e, VAL_STRING)) {
        return false;
    }
    *found = e != NULL;
    *s = e != NULL ? entry_string(e) : span_of(NULL, 0);
    return true;
}

void setbit_command(struct cmd_ctx *c)
{
    uint64_t at;
    int64_t on;
    const char *error = "ERR bit is not an integer or out of range";
    if (!bitmap_offset(c, c->argv[2], false, 0, &at) || !cmd_i64(c, c->argv[3], &on, error)) {
        return;
    }
    if (on != 0 && on != 1) {
        resp_error(c->out, error);
        return;
    }
    bool grown;
    char *bytes = bitmap_open(c, c->argv[1], at, &grown);
    if (bytes == NULL) {
        return;
    }
    unsigned shift = 7 - (unsigned)(at & 7);
    unsigned byte = (unsigned char)bytes[at >> 3];
    unsigned old = byte >> shift & 1;
    bytes[at >> 3] = (char)((byte & ~(1u << shift)) | (unsigned)on << shift);
    if (grown || old != (unsigned)on) {
        c->dirty++;
    }
    resp_int(c->out, (int64_t)old);
}

void getbit_command(struct cmd_ctx *c)
{
    uint64_t at;
    struct span s;
    bool found;
    if (!bitmap_offset(c, c->argv[2], false, 0, &at) || !read_string(c, c->argv[1], &s, &found)) {
        return;
    }
    bool set = at >> 3 < s.len && ((unsigned char)s.p[at >> 3] >> (7 - (at & 7)) & 1) != 0;
    resp_int(c->out, set);
}

/* ---- ranges ---- */

/* start and end as Redis reads them: negative from the end, end included, in units of which there
 * are `total`. */
static void clamp_range(int64_t total, int64_t *start, int64_t *end)
{
    if (*start < 0) {
        *start += total;
    }
    if (*end < 0) {
        *end += total;
    }
    *start = *start < 0 ? 0 : *start;
    *end = *end < 0 ? 0 : *end;
    *end = *end >= total ? total - 1 : *end;
}

/* BIT or BYTE. False: answered. */
static bool parse_unit(struct cmd_ctx *c, struct span s, bool *bits)
{
    *bits = span_is(s, "bit");
    if (!*bits && !span_is(s, "byte")) {
        cmd_syntax_error(c);
        return false;
    }
    return true;
}

/* Byte i of the string with all bits outside [first, last] made equal to fill. */
static unsigned masked_byte(struct span s, uint64_t i, uint64_t first, uint64_t last, bool fill)
{
    unsigned mask = 0xFF;
    if (i == first >> 3) {
        mask &= 0xFFu >> (first & 7);
    }
    if (i == last >> 3) {
        mask &= 0xFFu << (7 - (last & 7));
    }
    unsigned byte = (unsigned char)s.p[i];
    return fill ? byte | (0xFF & ~mask) : byte & mask;
}

static uint64_t word_at(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* Set bits in [first, last]; last lies within the string. */
static uint64_t count_bits(struct span s, uint64_t first, uint64_t last)
{
    uint64_t i = first >> 3;
    uint64_t end = last >> 3;
    uint64_t n = (uint64_t)__builtin_popcount(masked_byte(s, i, first, last, false));
    if (i == end) {
        return n;
    }
    for (i++; i + 32 <= end; i += 32) {
        n += (uint64_t)__builtin_popcountll(word_at(s.p + i)) +
             (uint64_t)__builtin_popcountll(word_at(s.p + i + 8)) +
             (uint64_t)__builtin_popcountll(word_at(s.p + i + 16)) +
             (uint64_t)__builtin_popcountll(word_at(s.p + i + 24));
    }
    for (; i <= end; i++) {
        n += (uint64_t)__builtin_popcount(masked_byte(s, i, first, last, false));
    }
    return n;
}

/* First bit of that value in [first, last], -1 if there is none. */
static int64_t find_bit(struct span s, uint64_t first, uint64_t last, bool bit)
{
    uint64_t skip = bit ? 0 : UINT64_MAX;
    uint64_t end = last >> 3;
    for (uint64_t i = first >> 3; i <= end; i++) {
        while (i != first >> 3 && i + 8 <= end && word_at(s.p + i) == skip) {
            i += 8;
        }
        unsigned byte = masked_byte(s, i, first, last, !bit);
        byte = bit ? byte : ~byte & 0xFF;
        if (byte != 0) {
            return (int64_t)(i * 8) + __builtin_clz(byte) - 24;
        }
    }
    return -1;
}

void bitcount_command(struct cmd_ctx *c)
{
    struct span s;
    bool found;
    if (!read_string(c, c->argv[1], &s, &found)) {
        return;
    }
    if (!found) {
        resp_int(c->out, 0);
        return;
    }
    int64_t start = 0;
    int64_t end = -1;
    bool bits = false;
    if (c->argc == 3 || c->argc > 5) {
        cmd_syntax_error(c);
        return;
    }
    if (c->argc >= 4) {
        if (!cmd_i64(c, c->argv[2], &start, NULL) || !cmd_i64(c, c->argv[3], &end, NULL)) {
            return;
        }
        if (start < 0 && end < 0 && start > end) {
            resp_int(c->out, 0);
            return;
        }
        if (c->argc == 5 && !parse_unit(c, c->argv[4], &bits)) {
            return;
        }
    }
    clamp_range((int64_t)s.len * (bits ? 8 : 1), &start, &end);
    if (start > end) {
        resp_int(c->out, 0);
    } else if (bits) {
        resp_int(c->out, (int64_t)count_bits(s, (uint64_t)start, (uint64_t)end));
    } else {
        resp_int(c->out, (int64_t)count_bits(s, (uint64_t)start * 8, (uint64_t)end * 8 + 7));
    }
}

/* The optional range of BITPOS. False: answered. */
static bool bitpos_range(struct cmd_ctx *c, size_t len, int64_t *start, int64_t *end, bool *bits)
{
    *start = 0;
    *end = -1;
    *bits = false;
    if (c->argc > 6) {
        cmd_syntax_error(c);
        return false;
    }
    if (c->argc >= 4 && !cmd_i64(c, c->argv[3], start, NULL)) {
        return false;
    }
    if (c->argc == 6 && !parse_unit(c, c->argv[5], bits)) {
        return false;
    }
    if (c->argc >= 5 && !cmd_i64(c, c->argv[4], end, NULL)) {
        return false;
    }
    clamp_range((int64_t)len * (*bits ? 8 : 1), start, end);
    return true;
}

void bitpos_command(struct cmd_ctx *c)
{
    int64_t bit;
    if (!cmd_i64(c, c->argv[2], &bit, NULL)) {
        return;
    }
    if (bit != 0 && bit != 1) {
        resp_error(c->out, "ERR The bit argument must be 1 or 0.");
        return;
    }
    struct span s;
    bool found;
    if (!read_string(c, c->argv[1], &s, &found)) {
        return;
    }
    if (!found) {
        resp_int(c->out, bit == 1 ? -1 : 0); /* an endless row of zeros */
        return;
    }
    int64_t start;
    int64_t end;
    bool bits;
    if (!bitpos_range(c, s.len, &start, &end, &bits)) {
        return;
    }
    if (start > end) {
        resp_int(c->out, -1);
        return;
    }
    uint64_t first = (uint64_t)start * (bits ? 1 : 8);
    uint64_t last = bits ? (uint64_t)end : (uint64_t)end * 8 + 7;
    int64_t at = find_bit(s, first, last, bit == 1);
    if (at == -1 && bit == 0 && c->argc < 5) {
        at = (int64_t)s.len * 8; /* without an end the string goes on with zeros */
    }
    resp_int(c->out, at);
}

/* ---- BITOP ---- */

enum bitop { BITOP_AND, BITOP_OR, BITOP_XOR, BITOP_NOT };

static bool bitop_parse(struct cmd_ctx *c, enum bitop *op)
{
    struct span s = c->argv[1];
    if (span_is(s, "and")) {
        *op = BITOP_AND;
    } else if (span_is(s, "or")) {
        *op = BITOP_OR;
    } else if (span_is(s, "xor")) {
        *op = BITOP_XOR;
    } else if (span_is(s, "not")) {
        *op = BITOP_NOT;
    } else {
        cmd_syntax_error(c);
        return false;
    }
    if (*op == BITOP_NOT && c->argc != 4) {
        resp_error(c->out, "ERR BITOP NOT must be called with a single source key.");
        return false;
    }
    return true;
}

/* to = to op s, where s goes on with zeros up to len. The loops are simple enough for the compiler
 * to make them wide. */
static void bitop_apply(enum bitop op, char *restrict to, size_t len, struct span s)
{
    size_t n = s.len;
    const char *restrict p = s.p;
    switch (op) {
    case BITOP_AND:
        for (size_t i = 0; i < n; i++) {
            to[i] = (char)(to[i] & p[i]);
        }
        memset(to + n, 0, len - n);
        return;
    case BITOP_OR:
        for (size_t i = 0; i < n; i++) {
            to[i] = (char)(to[i] | p[i]);
        }
        return;
    case BITOP_XOR:
        for (size_t i = 0; i < n; i++) {
            to[i] = (char)(to[i] ^ p[i]);
        }
        return;
    case BITOP_NOT:
        for (size_t i = 0; i < len; i++) {
            to[i] = (char)~to[i];
        }
        return;
    }
}

void bitop_command(struct cmd_ctx *c)
{
    enum bitop op;
    if (!bitop_parse(c, &op)) {
        return;
    }
    size_t len = 0;
    int sources = c->argc - 3;
    struct span *in = mem_alloc((size_t)sources * sizeof *in);
    for (int i = 0; i < sources; i++) {
        bool found;
        if (!read_string(c, c->argv[3 + i], &in[i], &found)) {
            goto out;
        }
        len = in[i].len > len ? in[i].len : len;
    }
    if (len != 0) {
        char *to = mem_zalloc(len);
        if (in[0].len != 0) {
            memcpy(to, in[0].p, in[0].len);
        }
        for (int i = op == BITOP_NOT ? 0 : 1; i < sources; i++) {
            bitop_apply(op, to, len, in[i]);
        }
        struct entry *e = cmd_lookup_write(c, c->argv[2]);
        e = store_put_string(c->store, e, c->argv[2], span_of(to, len), STR_RAW);
        store_set_expire(c->store, e, 0);
        mem_free(to);
        c->dirty++;
    } else {
        struct entry *e = cmd_lookup_write(c, c->argv[2]);
        if (e != NULL) {
            store_delete(c->store, e);
            c->dirty++;
        }
    }
    resp_int(c->out, (int64_t)len);
out:
    mem_free(in);
}
