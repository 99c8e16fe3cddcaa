/* HyperLogLog: registers, opcodes, estimate. See hll.h for the format.
 *
 * The sparse form is changed as Redis changes it (split one opcode into up to three, then merge
 * equal neighbours within five opcodes), so that the same additions give the same bytes. */
#include "backends/types/hll.h"

#include <math.h>

#include "common/mem.h"
#include "common/must.h"

#define HASH_SEED 0xADC83B19u
#define INDEX_BITS 14
#define VALUE_BITS 50 /* of the hash that are left for counting zeros */
#define ENC_AT 4
#define ENC_DENSE 0
#define ENC_SPARSE 1
#define COUNT_AT 8
#define REGISTER_MAX 63
#define VAL_MAX 32
#define VAL_LEN_MAX 4
#define ZERO_LEN_MAX 64
#define MERGE_SCAN 5
#define ALPHA_INF 0.721347520444481703680 /* 1 / (2 ln 2) */

/* MurmurHash2, 64 bits (Appleby), as every other client of this format has to compute it; little
 * endian. */
static uint64_t murmur64(struct span s, uint64_t seed)
{
    const uint64_t m = 0xC6A4A7935BD1E995u;
    uint64_t h = seed ^ (s.len * m);
    size_t i = 0;
    for (; i + 8 <= s.len; i += 8) {
        uint64_t k;
        memcpy(&k, s.p + i, sizeof k);
        k *= m;
        k ^= k >> 47;
        h = (h ^ k * m) * m;
    }
    if (i < s.len) {
        uint64_t k = 0;
        memcpy(&k, s.p + i, s.len - i);
        h = (h ^ k) * m;
    }
    h = (h ^ h >> 47) * m;
    return h ^ h >> 47;
}

struct hll_mark hll_mark_of(struct span element)
{
    uint64_t h = murmur64(element, HASH_SEED);
    uint64_t rest = h >> INDEX_BITS | (uint64_t)1 << VALUE_BITS; /* ends the row of zeros */
    return (struct hll_mark){(uint32_t)(h & (HLL_REGISTERS - 1)),
                             (uint8_t)(__builtin_ctzll(rest) + 1)};
}

bool hll_is_valid(struct span s)
{
    if (s.len < HLL_HEADER || memcmp(s.p, "HYLL", 4) != 0) {
        return false;
    }
    return s.p[ENC_AT] == ENC_SPARSE || (s.p[ENC_AT] == ENC_DENSE && s.len == HLL_DENSE_BYTES);
}

bool hll_is_dense(struct span s)
{
    return s.p != NULL && s.p[ENC_AT] == ENC_DENSE;
}

/* ---- dense registers ---- */

static uint8_t dense_get(const char *registers, uint32_t i)
{
    const unsigned char *p = (const unsigned char *)registers + i * 6 / 8;
    unsigned shift = i * 6 & 7;
    unsigned v = (unsigned)p[0] >> shift;
    if (shift > 2) {
        v |= (unsigned)p[1] << (8 - shift);
    }
    return v & REGISTER_MAX;
}

static void dense_put(char *registers, uint32_t i, uint8_t value)
{
    unsigned char *p = (unsigned char *)registers + i * 6 / 8;
    unsigned shift = i * 6 & 7;
    p[0] = (unsigned char)((p[0] & ~((unsigned)REGISTER_MAX << shift)) | (unsigned)value << shift);
    if (shift > 2) {
        p[1] = (unsigned char)((p[1] & ~((unsigned)REGISTER_MAX >> (8 - shift))) |
                               (unsigned)value >> (8 - shift));
    }
}

enum hll_result hll_dense_set(char *bytes, struct hll_mark m)
{
    if (dense_get(bytes + HLL_HEADER, m.index) >= m.value) {
        return HLL_SAME;
    }
    dense_put(bytes + HLL_HEADER, m.index, m.value);
    return HLL_CHANGED;
}

/* ---- opcodes ---- */

struct opcode {
    uint32_t len;   /* registers */
    uint8_t value;  /* 0: zeros */
    uint8_t bytes;  /* its own size, 1 or 2 */
    bool truncated; /* the second byte is missing */
};

static bool is_val(char c)
{
    return ((unsigned char)c & 0x80) != 0;
}

static struct opcode decode(const char *p, const char *end)
{
    unsigned c = (unsigned char)*p;
    if (c & 0x80) {
        return (struct opcode){(c & 3) + 1, (uint8_t)((c >> 2 & 31) + 1), 1, false};
    }
    if ((c & 0x40) == 0) {
        return (struct opcode){(c & 63) + 1, 0, 1, false};
    }
    if (end - p < 2) {
        return (struct opcode){.truncated = true};
    }
    return (struct opcode){((c & 63) << 8 | (unsigned char)p[1]) + 1, 0, 2, false};
}

static size_t put_val(char *p, uint8_t value, uint32_t len)
{
    *p = (char)(0x80u | (unsigned)(value - 1) << 2 | (len - 1));
    return 1;
}

static size_t put_zeros(char *p, uint32_t len)
{
    if (len <= ZERO_LEN_MAX) {
        *p = (char)(len - 1);
        return 1;
    }
    p[0] = (char)(0x40u | (len - 1) >> 8);
    p[1] = (char)((len - 1) & 0xFF);
    return 2;
}

static size_t put_run(char *p, uint8_t value, uint32_t len)
{
    return value == 0 ? put_zeros(p, len) : put_val(p, value, len);
}

void hll_init(struct buf *b)
{
    buf_add(b, "HYLL\1\0\0\0\0\0\0\0\0\0\0\0", HLL_HEADER);
    char op[2];
    buf_add(b, op, put_zeros(op, HLL_REGISTERS));
}

/* The opcode that covers a register, and the one before it. */
struct place {
    size_t at, prev;
    uint32_t first; /* register */
    struct opcode op;
};

static bool find_opcode(struct span s, uint32_t index, struct place *at)
{
    const char *end = s.p + s.len;
    *at = (struct place){.at = HLL_HEADER, .prev = HLL_HEADER};
    while (at->at < s.len) {
        at->op = decode(s.p + at->at, end);
        if (at->op.truncated) {
            return false;
        }
        if (index < at->first + at->op.len) {
            return true;
        }
        at->first += at->op.len;
        at->prev = at->at;
        at->at += at->op.bytes;
    }
    return false;
}

/* Merges VAL opcodes of the same value that follow each other, from `from` on. */
static void merge_vals(struct buf *b, size_t from)
{
    char *p = buf_head(b) + from;
    for (int i = 0; i < MERGE_SCAN; i++) {
        char *end = buf_head(b) + buf_used(b);
        if (p >= end) {
            return;
        }
        struct opcode a = decode(p, end);
        if (a.truncated) {
            return;
        }
        if (a.value != 0 && end - p >= 2 && is_val(p[1])) {
            struct opcode c = decode(p + 1, end);
            if (a.value == c.value && a.len + c.len <= VAL_LEN_MAX) {
                put_val(p + 1, a.value, a.len + c.len);
                memmove(p, p + 1, (size_t)(end - p - 1));
                b->len--;
                continue; /* the result may merge with what follows */
            }
        }
        p += a.bytes;
    }
}

bool hll_to_dense(struct buf *b)
{
    must(b->p != NULL); /* valid, so not empty */
    struct span s = buf_span(b);
    if (hll_is_dense(s)) {
        return true;
    }
    char *dense = mem_zalloc(HLL_DENSE_BYTES);
    memcpy(dense, s.p, HLL_HEADER);
    dense[ENC_AT] = ENC_DENSE;
    const char *end = s.p + s.len;
    uint32_t index = 0;
    for (const char *p = s.p + HLL_HEADER; p < end;) {
        struct opcode op = decode(p, end);
        if (op.truncated || op.len > HLL_REGISTERS - index) {
            break;
        }
        for (uint32_t i = 0; op.value != 0 && i < op.len; i++) {
            dense_put(dense + HLL_HEADER, index + i, op.value);
        }
        index += op.len;
        p += op.bytes;
    }
    bool ok = index == HLL_REGISTERS;
    if (ok) {
        b->len = b->head = 0;
        buf_add(b, dense, HLL_DENSE_BYTES);
    }
    mem_free(dense);
    return ok;
}

static enum hll_result promote(struct buf *b, struct hll_mark m)
{
    return hll_to_dense(b) ? hll_dense_set(buf_head(b), m) : HLL_CORRUPT;
}

static enum hll_result sparse_set(struct buf *b, size_t sparse_max, struct hll_mark m)
{
    if (m.value > VAL_MAX) {
        return promote(b, m);
    }
    struct place at;
    if (!find_opcode(buf_span(b), m.index, &at)) {
        return HLL_CORRUPT;
    }
    if (at.op.value >= m.value) {
        return HLL_SAME;
    }
    char seq[8];
    size_t n = 0;
    uint32_t last = at.first + at.op.len - 1;
    if (m.index != at.first) {
        n += put_run(seq + n, at.op.value, m.index - at.first);
    }
    n += put_val(seq + n, m.value, 1);
    if (m.index != last) {
        n += put_run(seq + n, at.op.value, last - m.index);
    }
    size_t old = at.op.bytes;
    size_t used = buf_used(b);
    if (n > old && used + (n - old) > sparse_max) {
        return promote(b, m);
    }
    if (n > old) {
        buf_reserve(b, n - old);
    }
    char *p = buf_head(b) + at.at;
    memmove(p + n, p + old, used - at.at - old);
    memcpy(p, seq, n);
    b->len = b->len + n - old;
    merge_vals(b, at.prev);
    return HLL_CHANGED;
}

enum hll_result hll_set(struct buf *b, size_t sparse_max, struct hll_mark m)
{
    must(b->p != NULL); /* valid, so not empty */
    if (hll_is_dense(buf_span(b))) {
        return hll_dense_set(buf_head(b), m);
    }
    return sparse_set(b, sparse_max, m);
}

bool hll_has(struct span s, struct hll_mark m)
{
    if (hll_is_dense(s)) {
        return dense_get(s.p + HLL_HEADER, m.index) >= m.value;
    }
    struct place at;
    return find_opcode(s, m.index, &at) && at.op.value >= m.value;
}

/* ---- the stored count ---- */

bool hll_cached(struct span s, uint64_t *count)
{
    if (((unsigned char)s.p[COUNT_AT + 7] & 0x80) != 0) {
        return false;
    }
    memcpy(count, s.p + COUNT_AT, sizeof *count);
    return true;
}

void hll_invalidate(char *bytes)
{
    bytes[COUNT_AT + 7] = (char)((unsigned char)bytes[COUNT_AT + 7] | 0x80);
}

/* ---- estimate: O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017,
 * algorithm 6 ---- */

static double sigma(double x)
{
    if (x == 1.0) {
        return INFINITY;
    }
    double y = 1;
    double z = x;
    double before;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (before != z);
    return z;
}

static double tau(double x)
{
    if (x == 0.0 || x == 1.0) {
        return 0;
    }
    double y = 1;
    double z = 1 - x;
    double before;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= pow(1 - x, 2) * y;
    } while (before != z);
    return z / 3;
}

/* histogram[v]: number of registers with value v */
static uint64_t estimate(const uint32_t *histogram)
{
    double m = HLL_REGISTERS;
    double z = m * tau((m - histogram[VALUE_BITS + 1]) / m);
    for (int v = VALUE_BITS; v >= 1; v--) {
        z += histogram[v];
        z *= 0.5;
    }
    z += m * sigma(histogram[0] / m);
    return (uint64_t)llroundl(ALPHA_INF * m * m / z);
}

/* Four registers are three bytes. Four tables, because equal values in a row would wait for each
 * other in one. */
static void dense_histogram(const char *registers, uint32_t *histogram)
{
    uint32_t parts[4][REGISTER_MAX + 1] = {{0}};
    const unsigned char *p = (const unsigned char *)registers;
    for (uint32_t i = 0; i < HLL_REGISTERS / 4; i++, p += 3) {
        uint32_t w = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
        parts[0][w & REGISTER_MAX]++;
        parts[1][w >> 6 & REGISTER_MAX]++;
        parts[2][w >> 12 & REGISTER_MAX]++;
        parts[3][w >> 18]++;
    }
    for (uint32_t v = 0; v <= REGISTER_MAX; v++) {
        histogram[v] = parts[0][v] + parts[1][v] + parts[2][v] + parts[3][v];
    }
}

bool hll_count(struct span s, uint64_t *count)
{
    uint32_t histogram[REGISTER_MAX + 1] = {0};
    if (hll_is_dense(s)) {
        dense_histogram(s.p + HLL_HEADER, histogram);
        *count = estimate(histogram);
        return true;
    }
    const char *end = s.p + s.len;
    uint32_t index = 0;
    for (const char *p = s.p + HLL_HEADER; p < end;) {
        struct opcode op = decode(p, end);
        if (op.truncated || op.len > HLL_REGISTERS - index) {
            return false;
        }
        histogram[op.value] += op.len;
        index += op.len;
        p += op.bytes;
    }
    if (index != HLL_REGISTERS) {
        return false;
    }
    *count = estimate(histogram);
    return true;
}

bool hll_merge(uint8_t *registers, struct span s)
{
    if (hll_is_dense(s)) {
        for (uint32_t i = 0; i < HLL_REGISTERS; i++) {
            uint8_t v = dense_get(s.p + HLL_HEADER, i);
            registers[i] = v > registers[i] ? v : registers[i];
        }
        return true;
    }
    const char *end = s.p + s.len;
    uint32_t index = 0;
    for (const char *p = s.p + HLL_HEADER; p < end;) {
        struct opcode op = decode(p, end);
        if (op.truncated || op.len > HLL_REGISTERS - index) {
            return false;
        }
        for (uint32_t i = index; op.value != 0 && i < index + op.len; i++) {
            registers[i] = op.value > registers[i] ? op.value : registers[i];
        }
        index += op.len;
        p += op.bytes;
    }
    return index == HLL_REGISTERS;
}

uint64_t hll_count_registers(const uint8_t *registers)
{
    uint32_t histogram[REGISTER_MAX + 1] = {0};
    for (uint32_t i = 0; i < HLL_REGISTERS; i++) {
        histogram[registers[i] & REGISTER_MAX]++;
    }
    return estimate(histogram);
}
