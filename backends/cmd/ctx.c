/* What handlers share: look-ups with expiry, access clock and statistics, parsing of arguments,
 * effects. */
#include "backends/cmd/cmd.h"

#include <stdio.h>

#include "backends/cmd/stats.h"
#include "backends/store/entry.h" /* every command comes through here: accessors inline */
#include "common/num.h"

struct entry *cmd_peek(struct cmd_ctx *c, struct span key)
{
    struct entry *e = store_find(c->store, key);
    if (e == NULL || entry_expired_at(ent_expire(e), c->now_ms)) {
        return NULL;
    }
    return e;
}

static inline void count_lookup(struct cmd_ctx *c, bool hit)
{
    if (c->is_effect) {
        return;
    }
    if (hit) {
        c->stats->keyspace_hits++;
    } else {
        c->stats->keyspace_misses++;
    }
}

struct entry *cmd_lookup(struct cmd_ctx *c, struct span key)
{
    struct entry *e = cmd_peek(c, key);
    count_lookup(c, e != NULL);
    if (e != NULL && !c->is_effect) {
        entry_touch(c->store, e, c->now_ms);
    }
    return e;
}

struct entry *cmd_lookup_notouch(struct cmd_ctx *c, struct span key)
{
    struct entry *e = cmd_peek(c, key);
    count_lookup(c, e != NULL);
    return e;
}

struct entry *cmd_lookup_write(struct cmd_ctx *c, struct span key)
{
    struct entry *e = store_find(c->store, key);
    store_saw_time(c->store, c->now_ms);
    if (e == NULL) {
        return NULL;
    }
    if (entry_expired_at(entry_expire_ms(e), c->now_ms)) {
        store_delete(c->store, e);
        if (!c->is_effect) {
            c->stats->expired_keys++;
        }
        return NULL;
    }
    if (!c->is_effect) {
        entry_touch(c->store, e, c->now_ms);
    }
    return e;
}

bool cmd_exists(struct cmd_ctx *c, struct span key)
{
    return cmd_peek(c, key) != NULL;
}

bool cmd_type_ok(struct cmd_ctx *c, const struct entry *e, enum val_type type)
{
    if (e == NULL || ent_type(e) == type) {
        return true;
    }
    resp_error(c->out, "WRONGTYPE Operation against a key holding the wrong kind of value");
    return false;
}

bool cmd_i64(struct cmd_ctx *c, struct span s, int64_t *out, const char *text)
{
    if (num_parse_i64(s, out)) {
        return true;
    }
    resp_error(c->out, text != NULL ? text : "ERR value is not an integer or out of range");
    return false;
}

bool cmd_double(struct cmd_ctx *c, struct span s, double *out, const char *text)
{
    if (num_parse_double(s, out)) {
        return true;
    }
    resp_error(c->out, text != NULL ? text : "ERR value is not a valid float");
    return false;
}

void cmd_syntax_error(struct cmd_ctx *c)
{
    resp_error(c->out, "ERR syntax error");
}

uint64_t cmd_random(struct cmd_ctx *c)
{
    uint64_t x = *c->rng != 0 ? *c->rng : 0x9E3779B97F4A7C15u;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *c->rng = x;
    return x * 0x2545F4914F6CDD1Du;
}

/* '*' or '$', a number, CRLF. */
static void add_header(struct buf *b, char mark, size_t n)
{
    char *p = buf_reserve(b, NUM_I64_MAX + 3);
    size_t len = 1;
    p[0] = mark;
    len += num_fmt_u64(p + len, n);
    p[len++] = '\r';
    p[len++] = '\n';
    buf_commit(b, len);
}

void effects_add(struct effects *fx, size_t argc, const struct span *argv)
{
    add_header(&fx->bytes, '*', argc);
    for (size_t i = 0; i < argc; i++) {
        add_header(&fx->bytes, '$', argv[i].len);
        buf_add(&fx->bytes, argv[i].p, argv[i].len);
        buf_add(&fx->bytes, "\r\n", 2);
    }
    fx->count++;
}
