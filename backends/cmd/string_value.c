/* What commands on strings share: encodings, limits, expiry arguments. */
#include "backends/cmd/string_value.h"

#include "backends/cmd/config.h"
#include "common/num.h"

#define EMBSTR_MAX 44u
#define INT_TEXT_MAX 20u

enum str_enc string_enc_text(struct span value)
{
    return value.len <= EMBSTR_MAX ? STR_EMBSTR : STR_RAW;
}

enum str_enc string_enc(struct span value)
{
    int64_t n = 0;
    if (value.len <= INT_TEXT_MAX && num_parse_i64(value, &n)) {
        return STR_INT;
    }
    return string_enc_text(value);
}

bool string_length_ok(struct cmd_ctx *c, uint64_t have, uint64_t more)
{
    if (have + more <= c->config->proto_max_bulk_len && have + more >= have) {
        return true;
    }
    resp_error(c->out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return false;
}

struct entry *string_set(struct cmd_ctx *c, struct entry *e, struct span key, struct span value)
{
    struct string_value v = {.bytes = value, .enc = string_enc(value)};
    return store_put_string_expire(c->store, e, key, v);
}

bool string_expire_ms(struct cmd_ctx *c, const struct expire_arg *a, uint64_t *out)
{
    int64_t v = 0;
    if (!cmd_i64(c, a->text, &v, NULL)) {
        return false;
    }
    int64_t base = a->absolute ? 0 : (int64_t)c->now_ms;
    bool good = v > 0 && !(a->seconds && v > INT64_MAX / 1000);
    if (good) {
        v = a->seconds ? v * 1000 : v;
        good = v <= INT64_MAX - base;
    }
    if (!good) {
        resp_errorf(c->out, "ERR invalid expire time in '%s' command", c->cmd->name);
        return false;
    }
    *out = (uint64_t)(v + base);
    return true;
}

bool string_reply(struct cmd_ctx *c, struct entry **e)
{
    *e = cmd_lookup(c, c->argv[1]);
    if (*e == NULL) {
        resp_null(c->out);
        return true;
    }
    if (!cmd_type_ok(c, *e, VAL_STRING)) {
        return false;
    }
    resp_bulk_span(c->out, entry_string(*e));
    return true;
}
