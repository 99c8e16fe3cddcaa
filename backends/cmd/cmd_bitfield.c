/* BITFIELD and BITFIELD_RO: integers of any width inside a string. */
#include <string.h>

#include "backends/cmd/cmd_bitmap.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

enum overflow { OVERFLOW_WRAP, OVERFLOW_SAT, OVERFLOW_FAIL };
enum field_op { FIELD_GET, FIELD_SET, FIELD_INCRBY };

struct field {
    enum field_op op;
    enum overflow overflow;
    bool is_signed;
    unsigned bits;
    uint64_t at; /* first bit */
    int64_t arg;
};

static bool parse_type(struct cmd_ctx *c, struct span s, struct field *f)
{
    int64_t bits;
    f->is_signed = s.len > 0 && s.p[0] == 'i';
    if (s.len == 0 || (s.p[0] != 'i' && s.p[0] != 'u') ||
        !num_parse_i64(span_of(s.p + 1, s.len - 1), &bits) || bits < 1 ||
        bits > (f->is_signed ? 64 : 63)) {
        resp_error(c->out, "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is "
                           "not supported but i64 is.");
        return false;
    }
    f->bits = (unsigned)bits;
    return true;
}

static bool parse_overflow(struct cmd_ctx *c, struct span s, enum overflow *o)
{
    if (span_is(s, "wrap")) {
        *o = OVERFLOW_WRAP;
    } else if (span_is(s, "sat")) {
        *o = OVERFLOW_SAT;
    } else if (span_is(s, "fail")) {
        *o = OVERFLOW_FAIL;
    } else {
        resp_error(c->out, "ERR Invalid OVERFLOW type specified");
        return false;
    }
    return true;
}

/* Reads the operation at argument j; *used arguments belong to it (0: none, answered). */
static int parse_field(struct cmd_ctx *c, int j, struct field *f)
{
    struct span s = c->argv[j];
    int left = c->argc - j - 1;
    if (span_is(s, "get") && left >= 2) {
        f->op = FIELD_GET;
    } else if (span_is(s, "set") && left >= 3) {
        f->op = FIELD_SET;
    } else if (span_is(s, "incrby") && left >= 3) {
        f->op = FIELD_INCRBY;
    } else {
        cmd_syntax_error(c);
        return 0;
    }
    if (!parse_type(c, c->argv[j + 1], f) ||
        !bitmap_offset(c, c->argv[j + 2], true, f->bits, &f->at) ||
        (f->op != FIELD_GET && !cmd_i64(c, c->argv[j + 3], &f->arg, NULL))) {
        return 0;
    }
    return f->op == FIELD_GET ? 3 : 4;
}

/* All operations of the request: a new array, *n long. NULL: answered. */
static struct field *parse_fields(struct cmd_ctx *c, size_t *n)
{
    struct field *all = mem_alloc((size_t)c->argc * sizeof *all);
    enum overflow overflow = OVERFLOW_WRAP;
    *n = 0;
    for (int j = 2; j < c->argc;) {
        if (span_is(c->argv[j], "overflow") && j + 1 < c->argc) {
            if (!parse_overflow(c, c->argv[j + 1], &overflow)) {
                goto fail;
            }
            j += 2;
            continue;
        }
        struct field *f = &all[*n];
        int used = parse_field(c, j, f);
        if (used == 0) {
            goto fail;
        }
        f->overflow = overflow;
        j += used;
        (*n)++;
    }
    return all;
fail:
    mem_free(all);
    return NULL;
}

/* ---- the integers ---- */

/* Bits beyond the string are 0. */
static uint64_t get_bits(const char *p, size_t len, uint64_t at, unsigned bits)
{
    unsigned __int128 window = 0; /* the up to 9 bytes the field touches */
    uint64_t first = at >> 3;
    for (uint64_t i = 0; i < 9; i++) {
        window = window << 8 | (first + i < len ? (unsigned char)p[first + i] : 0u);
    }
    window >>= 72 - (at & 7) - bits;
    return bits == 64 ? (uint64_t)window : (uint64_t)window & (((uint64_t)1 << bits) - 1);
}

static void set_bits(char *p, uint64_t at, unsigned bits, uint64_t value)
{
    must(bits >= 1 && bits <= 64);
    for (unsigned done = 0; done < bits;) {
        uint64_t i = at >> 3;
        unsigned room = 8 - (unsigned)(at & 7); /* bits of this byte from `at` on */
        unsigned n = bits - done < room ? bits - done : room;
        unsigned mask = (0xFFu >> (8 - n)) << (room - n);
        unsigned part = (unsigned)(value >> (bits - done - n)) << (room - n);
        p[i] = (char)(((unsigned char)p[i] & ~mask) | (part & mask));
        done += n;
        at += n;
    }
}

static int64_t sign_extend(uint64_t v, unsigned bits)
{
    must(bits >= 1 && bits <= 64);
    return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

/* A signed SET so far below the range that max - want exceeds 63 bits: Redis' subtraction
 * overflows, and it saturates upwards. */
static bool far_below(const struct field *f, __int128 want, __int128 max)
{
    return f->op == FIELD_SET && f->is_signed && max - want > INT64_MAX;
}

/* The value that is wanted, brought into the field's range. Returns false if it must not be written
 * (FAIL). */
static bool fit(const struct field *f, __int128 want, uint64_t *out)
{
    __int128 max = ((__int128)1 << (f->is_signed ? f->bits - 1 : f->bits)) - 1;
    __int128 min = f->is_signed ? -max - 1 : 0;
    if (want >= min && want <= max) {
        *out = (uint64_t)want;
        return true;
    }
    switch (f->overflow) {
    case OVERFLOW_WRAP:
        *out = (uint64_t)want; /* the lowest bits are written */
        return true;
    case OVERFLOW_SAT:
        *out = (uint64_t)(want > max || far_below(f, want, max) ? max : min);
        return true;
    case OVERFLOW_FAIL:
        return false;
    }
    return false;
}

static int64_t shown(const struct field *f, uint64_t v)
{
    uint64_t low = f->bits == 64 ? v : v & (((uint64_t)1 << f->bits) - 1);
    return f->is_signed ? sign_extend(low, f->bits) : (int64_t)low;
}

/* Runs SET or INCRBY and answers; true if the field changed. */
static bool write_field(struct cmd_ctx *c, const struct field *f, char *p, size_t len)
{
    uint64_t raw = get_bits(p, len, f->at, f->bits);
    int64_t old = shown(f, raw);
    /* a negative value SET into an unsigned field counts as larger than any, not as smaller */
    __int128 want = f->op == FIELD_INCRBY ? (__int128)old + f->arg
                    : f->is_signed        ? (__int128)f->arg
                                          : (__int128)(uint64_t)f->arg;
    uint64_t value;
    if (!fit(f, want, &value)) {
        resp_null(c->out);
        return false;
    }
    resp_int(c->out, f->op == FIELD_INCRBY ? shown(f, value) : old);
    set_bits(p, f->at, f->bits, value);
    return shown(f, value) != old;
}

static void run_fields(struct cmd_ctx *c, const struct field *all, size_t n, bool readonly)
{
    uint64_t last = 0;
    bool writes = false;
    for (size_t i = 0; i < n; i++) {
        if (all[i].op != FIELD_GET) {
            uint64_t end = all[i].at + all[i].bits - 1;
            last = end > last ? end : last;
            writes = true;
        }
    }
    if (writes && readonly) {
        resp_error(c->out, "ERR BITFIELD_RO only supports the GET subcommand");
        return;
    }
    struct span s = {0};
    char *p = NULL;
    bool grown = false;
    if (writes) {
        p = bitmap_open(c, c->argv[1], last, &grown);
        if (p == NULL) {
            return;
        }
        s = entry_string(store_find(c->store, c->argv[1]));
    } else {
        struct entry *e = cmd_lookup(c, c->argv[1]);
        if (!cmd_type_ok(c, e, VAL_STRING)) {
            return;
        }
        s = e != NULL ? entry_string(e) : s;
    }
    resp_array(c->out, n);
    for (size_t i = 0; i < n; i++) {
        const struct field *f = &all[i];
        if (f->op == FIELD_GET) {
            resp_int(c->out, shown(f, get_bits(s.p, s.len, f->at, f->bits)));
        } else if (write_field(c, f, p, s.len) || grown) {
            c->dirty++;
        }
    }
}

static void bitfield_generic(struct cmd_ctx *c, bool readonly)
{
    size_t n;
    struct field *all = parse_fields(c, &n);
    if (all != NULL) {
        run_fields(c, all, n, readonly);
        mem_free(all);
    }
}

void bitfield_command(struct cmd_ctx *c)
{
    bitfield_generic(c, false);
}

void bitfield_ro_command(struct cmd_ctx *c)
{
    bitfield_generic(c, true);
}
