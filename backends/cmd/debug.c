/* DEBUG: digests of values and of the whole store, for tests that compare replicas. They depend on
 * keys, types, values and expiry times, not on encodings, order of insertion, or the seed of the
 * store. */
#include <stdio.h>

#include "backends/cmd/generic_cmds.h"
#include "backends/types/dump.h"
#include "backends/types/object.h"

static uint64_t value_digest(const struct entry *e)
{
    const struct object_ops *ops = object_ops(entry_type(e));
    uint64_t v = ops == NULL ? digest_span(entry_string(e), 1) : ops->digest(entry_object(e));
    uint64_t about[3] = {v, (uint64_t)entry_type(e), entry_expire_ms(e)};
    return digest_span(span_of((const char *)about, sizeof about), 2);
}

static void reply_digest(struct cmd_ctx *c, uint64_t digest)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)digest);
    resp_simple(c->out, text);
}

struct sum {
    struct cmd_ctx *c;
    uint64_t digest;
};

static void add_entry(void *arg, struct entry *e)
{
    struct sum *s = arg;
    if (entry_type(e) != VAL_TOMBSTONE && !entry_expired_at(entry_expire_ms(e), s->c->now_ms)) {
        s->digest += digest_span(entry_key(e), value_digest(e));
    }
}

static void digest_store(struct cmd_ctx *c)
{
    struct sum s = {.c = c};
    store_scan(c->store, 0, SIZE_MAX, add_entry, &s);
    reply_digest(c, s.digest);
}

static void digest_values(struct cmd_ctx *c)
{
    resp_array(c->out, (size_t)c->argc - 2);
    for (int i = 2; i < c->argc; i++) {
        struct entry *e = cmd_peek(c, c->argv[i]);
        reply_digest(c, e == NULL ? 0 : value_digest(e));
    }
}

void debug_command(struct cmd_ctx *c)
{
    if (span_is(c->argv[1], "digest") && c->argc == 2) {
        digest_store(c);
    } else if (span_is(c->argv[1], "digest-value") && c->argc >= 2) {
        digest_values(c);
    } else if (span_is(c->argv[1], "help")) {
        static const char *const lines[] = {
            "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "DIGEST",
            "    A digest of all keys, values and expiry times of this worker's store.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    A digest of each key's value and expiry time; zeros if it does not exist.",
            "HELP",
            "    This text.",
        };
        resp_array(c->out, sizeof lines / sizeof lines[0]);
        for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
            resp_simple(c->out, lines[i]);
        }
    } else {
        resp_errorf(
            c->out,
            "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try DEBUG HELP.",
            c->argv[1].len < 128 ? (int)c->argv[1].len : 128, c->argv[1].p);
    }
}

int debug_keys(const struct span *argv, int argc, int *idx, int max)
{
    int n = 0;
    for (int i = 2; span_is(argv[1], "digest-value") && i < argc && n < max; i++) {
        idx[n++] = i;
    }
    return n;
}
