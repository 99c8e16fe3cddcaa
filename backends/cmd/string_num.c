/* Strings as numbers: INCR and its relatives. */
#include <math.h>

#include "backends/cmd/string_cmds.h"
#include "backends/cmd/string_value.h"
#include "common/num.h"

static void increment(struct cmd_ctx *c, int64_t by)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    int64_t value = 0;
    if (!cmd_type_ok(c, e, VAL_STRING) ||
        (e != NULL && !cmd_i64(c, entry_string(e), &value, NULL))) {
        return;
    }
    if (__builtin_add_overflow(value, by, &value)) {
        resp_error(c->out, "ERR increment or decrement would overflow");
        return;
    }
    char text[NUM_I64_MAX];
    size_t len = num_fmt_i64(text, value);
    store_put_string(c->store, e, c->argv[1], span_of(text, len), STR_INT);
    c->dirty++;
    resp_int(c->out, value);
}

void incr_command(struct cmd_ctx *c)
{
    increment(c, 1);
}

void decr_command(struct cmd_ctx *c)
{
    increment(c, -1);
}

void incrby_command(struct cmd_ctx *c)
{
    int64_t by = 0;
    if (cmd_i64(c, c->argv[2], &by, NULL)) {
        increment(c, by);
    }
}

void decrby_command(struct cmd_ctx *c)
{
    int64_t by = 0;
    if (!cmd_i64(c, c->argv[2], &by, NULL)) {
        return;
    }
    if (by == INT64_MIN) {
        resp_error(c->out, "ERR decrement would overflow");
        return;
    }
    increment(c, -by);
}

/* The sum as text, which is also the reply; false: an error was written. */
static bool add_float(struct cmd_ctx *c, struct entry *e, char *text, size_t *len)
{
    static const char not_float[] = "ERR value is not a valid float";
    long double value = 0;
    long double by = 0;
    if (!cmd_type_ok(c, e, VAL_STRING)) {
        return false;
    }
    if ((e != NULL && !num_parse_ldouble(entry_string(e), &value)) ||
        !num_parse_ldouble(c->argv[2], &by)) {
        resp_error(c->out, not_float);
        return false;
    }
    value += by;
    if (isnan(value) || isinf(value)) {
        resp_error(c->out, "ERR increment would produce NaN or Infinity");
        return false;
    }
    *len = num_fmt_ldouble(text, value);
    return true;
}

void incrbyfloat_command(struct cmd_ctx *c)
{
    char text[NUM_LDOUBLE_MAX];
    size_t len = 0;
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!add_float(c, e, text, &len)) {
        return;
    }
    struct span value = span_of(text, len);
    store_put_string(c->store, e, c->argv[1], value, string_enc_text(value));
    c->dirty++;
    resp_bulk_span(c->out, value);
}

/* Other machines may add long doubles differently: the replicas are sent the result. */
bool incrbyfloat_rewrite(struct cmd_ctx *c, struct effects *fx)
{
    char text[NUM_LDOUBLE_MAX];
    size_t len = 0;
    if (!add_float(c, cmd_peek(c, c->argv[1]), text, &len)) {
        return false;
    }
    struct span effect[] = {SPAN_LIT("SET"), c->argv[1], span_of(text, len), SPAN_LIT("KEEPTTL")};
    effects_add(fx, 4, effect);
    resp_bulk(c->out, text, len);
    return true;
}
