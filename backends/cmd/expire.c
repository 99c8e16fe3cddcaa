/* Times to live. */
#include "backends/cmd/generic_cmds.h"

#define EXPIRE_NX 1u
#define EXPIRE_XX 2u
#define EXPIRE_GT 4u
#define EXPIRE_LT 8u

static bool parse_conditions(struct cmd_ctx *c, unsigned *conditions)
{
    static const char *const names[] = {"nx", "xx", "gt", "lt"};
    *conditions = 0;
    for (int i = 3; i < c->argc; i++) {
        unsigned found = 0;
        for (unsigned n = 0; n < 4; n++) {
            found |= span_is(c->argv[i], names[n]) ? 1u << n : 0;
        }
        if (found == 0) {
            resp_errorf(c->out, "ERR Unsupported option %.*s", (int)c->argv[i].len, c->argv[i].p);
            return false;
        }
        *conditions |= found;
    }
    if ((*conditions & EXPIRE_NX) != 0 && *conditions != EXPIRE_NX) {
        resp_error(c->out, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if ((*conditions & EXPIRE_GT) != 0 && (*conditions & EXPIRE_LT) != 0) {
        resp_error(c->out, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* Without an expiry a key lives for ever: never less than a new time (GT), always more (LT). */
static bool conditions_hold(unsigned conditions, uint64_t current, int64_t when)
{
    if ((conditions & EXPIRE_NX) != 0 && current != 0) {
        return false;
    }
    if ((conditions & EXPIRE_XX) != 0 && current == 0) {
        return false;
    }
    if ((conditions & EXPIRE_GT) != 0 && (current == 0 || when <= (int64_t)current)) {
        return false;
    }
    return (conditions & EXPIRE_LT) == 0 || current == 0 || when < (int64_t)current;
}

static void expire_generic(struct cmd_ctx *c, bool seconds, bool absolute)
{
    unsigned conditions = 0;
    int64_t when = 0;
    if (!parse_conditions(c, &conditions) || !cmd_i64(c, c->argv[2], &when, NULL)) {
        return;
    }
    int64_t base = absolute ? 0 : (int64_t)c->now_ms;
    bool fits = !seconds || (when <= INT64_MAX / 1000 && when >= INT64_MIN / 1000);
    when = fits && seconds ? when * 1000 : when;
    if (!fits || when > INT64_MAX - base) {
        resp_errorf(c->out, "ERR invalid expire time in '%s' command", c->cmd->name);
        return;
    }
    when += base;
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (e == NULL || !conditions_hold(conditions, entry_expire_ms(e), when)) {
        resp_int(c->out, 0);
        return;
    }
    if (when <= (int64_t)c->now_ms) {
        store_delete(c->store, e);
    } else {
        store_set_expire(c->store, e, (uint64_t)when);
    }
    c->dirty++;
    resp_int(c->out, 1);
}

void expire_command(struct cmd_ctx *c)
{
    expire_generic(c, true, false);
}

void pexpire_command(struct cmd_ctx *c)
{
    expire_generic(c, false, false);
}

void expireat_command(struct cmd_ctx *c)
{
    expire_generic(c, true, true);
}

void pexpireat_command(struct cmd_ctx *c)
{
    expire_generic(c, false, true);
}

static void ttl_generic(struct cmd_ctx *c, bool seconds, bool absolute)
{
    struct entry *e = cmd_lookup_notouch(c, c->argv[1]);
    uint64_t expire_ms = e == NULL ? 0 : entry_expire_ms(e);
    if (expire_ms == 0) {
        resp_int(c->out, e == NULL ? -2 : -1);
        return;
    }
    uint64_t ttl = absolute ? expire_ms : expire_ms - c->now_ms;
    resp_int(c->out, (int64_t)(seconds ? (ttl + 500) / 1000 : ttl));
}

void ttl_command(struct cmd_ctx *c)
{
    ttl_generic(c, true, false);
}

void pttl_command(struct cmd_ctx *c)
{
    ttl_generic(c, false, false);
}

void expiretime_command(struct cmd_ctx *c)
{
    ttl_generic(c, true, true);
}

void pexpiretime_command(struct cmd_ctx *c)
{
    ttl_generic(c, false, true);
}

void persist_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    bool had = e != NULL && entry_expire_ms(e) != 0;
    if (had) {
        store_set_expire(c->store, e, 0);
        c->dirty++;
    }
    resp_int(c->out, had);
}
