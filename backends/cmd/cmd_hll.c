/* HyperLogLog commands.
 *
 * PFCOUNT is a read here: unlike Redis it does not write the count into the value, which would be a
 * change of the key by a reader. A count that is there and up to date is used. */
#include "backends/cmd/config.h"
#include "backends/cmd/groups.h"
#include "backends/types/hll.h"
#include "common/mem.h"

#define CORRUPT "INVALIDOBJ Corrupted HLL object detected"

/* The value of e (not NULL). False: answered. */
static bool hll_value(struct cmd_ctx *c, struct entry *e, struct span *s)
{
    if (!cmd_type_ok(c, e, VAL_STRING)) {
        return false;
    }
    *s = entry_string(e);
    if (!hll_is_valid(*s)) {
        resp_error(c->out, "WRONGTYPE Key is not a valid HyperLogLog string value.");
        return false;
    }
    return true;
}

/* First element from argument i on that would change the value; argc if there is none. */
static int first_new(struct cmd_ctx *c, struct span s, int i)
{
    while (i < c->argc && hll_has(s, hll_mark_of(c->argv[i]))) {
        i++;
    }
    return i;
}

/* Adds the elements from argument i on; gives how many changed something, -1: corrupt. */
static int64_t add_all(struct cmd_ctx *c, struct buf *b, int i)
{
    int64_t changed = 0;
    for (; i < c->argc; i++) {
        enum hll_result r = hll_set(b, c->config->hll_sparse_max_bytes, hll_mark_of(c->argv[i]));
        if (r == HLL_CORRUPT) {
            return -1;
        }
        changed += r == HLL_CHANGED;
    }
    return changed;
}

static int64_t add_dense(struct cmd_ctx *c, struct entry *e, int i)
{
    char *bytes;
    store_string_resize(c->store, e, HLL_DENSE_BYTES, &bytes);
    int64_t changed = 0;
    for (; i < c->argc; i++) {
        changed += hll_dense_set(bytes, hll_mark_of(c->argv[i])) == HLL_CHANGED;
    }
    hll_invalidate(bytes);
    return changed;
}

static void pfadd_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    struct buf b = {0};
    int64_t changed = 0;
    int first = 2;
    if (e == NULL) {
        hll_init(&b);
        changed = 1;
    } else {
        struct span s;
        if (!hll_value(c, e, &s)) {
            return;
        }
        first = first_new(c, s, 2);
        if (first == c->argc) {
            resp_int(c->out, 0);
            return;
        }
        if (hll_is_dense(s)) {
            c->dirty += (uint64_t)add_dense(c, e, first);
            resp_int(c->out, 1);
            return;
        }
        buf_add(&b, s.p, s.len);
    }
    int64_t added = add_all(c, &b, first);
    if (added < 0) {
        resp_error(c->out, CORRUPT);
        goto out;
    }
    changed += added;
    if (changed != 0) {
        hll_invalidate(buf_head(&b));
        store_put_string(c->store, e, c->argv[1], buf_span(&b), STR_RAW);
        c->dirty += (uint64_t)changed;
    }
    resp_int(c->out, changed != 0);
out:
    buf_free(&b);
}

/* Merges the keys from argument i on. False: answered. */
static bool merge_keys(struct cmd_ctx *c, int i, uint8_t *registers, bool *dense)
{
    for (; i < c->argc; i++) {
        struct entry *e = cmd_lookup(c, c->argv[i]);
        struct span s;
        if (e == NULL) {
            continue;
        }
        if (!hll_value(c, e, &s)) {
            return false;
        }
        *dense |= hll_is_dense(s);
        if (!hll_merge(registers, s)) {
            resp_error(c->out, CORRUPT);
            return false;
        }
    }
    return true;
}

/* Counting a dense string takes 8 us. A counter that is polled is mostly unchanged: each thread
 * remembers the counts of the last few strings, by where they are and the store's word that nobody
 * wrote there since. */
#define MEMO_SIZE 16u

static bool count_one(struct cmd_ctx *c, struct span s, uint64_t *count)
{
    static _Thread_local struct {
        const struct store *store;
        const char *bytes;
        uint64_t count;
        uint32_t mark;
    } memo[MEMO_SIZE];
    uint32_t mark;
    if (hll_cached(s, count)) {
        return true;
    }
    if (!hll_is_dense(s) || !store_string_mark(c->store, s, &mark)) {
        return hll_count(s, count);
    }
    unsigned i = (unsigned)((uintptr_t)s.p >> 4) % MEMO_SIZE;
    if (memo[i].store != c->store || memo[i].bytes != s.p || memo[i].mark != mark) {
        if (!hll_count(s, &memo[i].count)) {
            return false;
        }
        memo[i].store = c->store;
        memo[i].bytes = s.p;
        memo[i].mark = mark;
    }
    *count = memo[i].count;
    return true;
}

static void pfcount_one(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    struct span s;
    if (e == NULL) {
        resp_int(c->out, 0);
        return;
    }
    if (!hll_value(c, e, &s)) {
        return;
    }
    uint64_t count;
    if (count_one(c, s, &count)) {
        resp_int(c->out, (int64_t)count);
    } else {
        resp_error(c->out, CORRUPT);
    }
}

static void pfcount_command(struct cmd_ctx *c)
{
    if (c->argc == 2) {
        pfcount_one(c);
        return;
    }
    uint8_t registers[HLL_REGISTERS] = {0};
    bool dense = false;
    if (merge_keys(c, 1, registers, &dense)) {
        resp_int(c->out, (int64_t)hll_count_registers(registers));
    }
}

static void pfmerge_command(struct cmd_ctx *c)
{
    uint8_t registers[HLL_REGISTERS] = {0};
    bool dense = false;
    if (!merge_keys(c, 1, registers, &dense)) {
        return;
    }
    struct buf b = {0};
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (e == NULL) {
        hll_init(&b);
    } else {
        struct span s = entry_string(e);
        buf_add(&b, s.p, s.len);
    }
    bool ok = !dense || hll_to_dense(&b);
    for (uint32_t i = 0; ok && i < HLL_REGISTERS; i++) {
        struct hll_mark m = {i, registers[i]};
        ok = m.value == 0 || hll_set(&b, c->config->hll_sparse_max_bytes, m) != HLL_CORRUPT;
    }
    if (ok) {
        hll_invalidate(buf_head(&b));
        store_put_string(c->store, e, c->argv[1], buf_span(&b), STR_RAW);
        c->dirty++;
        resp_ok(c->out);
    } else {
        resp_error(c->out, CORRUPT);
    }
    buf_free(&b);
}

const struct cmd cmds_hll[] = {
    {.name = "pfadd",
     .arity = -2,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
     .handler = pfadd_command,
     .group = GROUP_HLL,
     .key_specs = "RW insert",
     .since = "2.8.9",
     .summary = "Adds elements to a HyperLogLog",
     .complexity = "O(1) to add every element.",
     .syntax = "key [element [element ...]]"},
    {.name = "pfcount",
     .arity = -2,
     .first_key = 1,
     .last_key = -1,
     .key_step = 1,
     .flags = CMD_READONLY,
     .handler = pfcount_command,
     .group = GROUP_HLL,
     .key_specs = "RW access",
     .since = "2.8.9",
     .summary = "Estimates how many different elements were added to HyperLogLogs",
     .complexity = "O(1) with a very small average constant time when called with a single key. "
                   "O(N) with N being the number of keys, and much bigger constant times, when "
                   "called with multiple keys.",
     .syntax = "key [key ...]"},
    {.name = "pfmerge",
     .arity = -2,
     .first_key = 1,
     .last_key = -1,
     .key_step = 1,
     .flags = CMD_WRITE | CMD_DENYOOM | CMD_MULTIKEY,
     .handler = pfmerge_command,
     .group = GROUP_HLL,
     .key_specs = "RW access insert index 1 range 0 1 0;RO access index 2 range -1 1 0",
     .since = "2.8.9",
     .summary = "Merges HyperLogLogs into one",
     .complexity = "O(N) to merge N HyperLogLogs, but with high constant times.",
     .syntax = "destkey sourcekey [sourcekey ...]"},
    {.name = NULL},
};
