#include "backends/server/client_filter.h"

#include "common/num.h"

bool client_type_parse(struct span s, enum client_type *out)
{
    if (span_is(s, "normal")) {
        *out = CLIENT_TYPE_NORMAL;
        return true;
    }
    if (span_is(s, "master") || span_is(s, "replica") || span_is(s, "slave") ||
        span_is(s, "pubsub")) {
        *out = CLIENT_TYPE_OTHER;
        return true;
    }
    return false;
}

static enum err parse_one(struct span name, struct span value, struct client_filter *f,
                          struct errmsg *why)
{
    if (span_is(name, "id")) {
        int64_t id;
        if (!num_parse_i64(value, &id) || id < 1) {
            return errmsg_set(why, ERR_RANGE, "ERR client-id should be greater than 0");
        }
        f->id = (uint64_t)id;
    } else if (span_is(name, "type")) {
        if (!client_type_parse(value, &f->type)) {
            return errmsg_set(why, ERR_SYNTAX, "ERR Unknown client type '%.*s'",
                              (int)(value.len < 100 ? value.len : 100), value.p);
        }
    } else if (span_is(name, "addr")) {
        f->addr = value;
    } else if (span_is(name, "laddr")) {
        f->laddr = value;
    } else if (span_is(name, "user")) {
        f->user = value;
    } else if (span_is(name, "skipme") && (span_is(value, "yes") || span_is(value, "no"))) {
        f->skip_me = span_is(value, "yes");
    } else {
        return errmsg_set(why, ERR_SYNTAX, "ERR syntax error");
    }
    return OK;
}

enum err client_filter_parse(const struct span *argv, int argc, struct client_filter *out,
                             struct errmsg *why)
{
    struct client_filter f = {.skip_me = true};
    for (int i = 0; i < argc; i += 2) {
        if (i + 1 == argc) {
            return errmsg_set(why, ERR_SYNTAX, "ERR syntax error");
        }
        enum err e = parse_one(argv[i], argv[i + 1], &f, why);
        if (e != OK) {
            return e;
        }
    }
    *out = f;
    return OK;
}

bool client_filter_match(const struct client_filter *f, const struct client_facts *c)
{
    return (f->id == 0 || f->id == c->id) && (f->addr.p == NULL || span_eq(f->addr, c->addr)) &&
           (f->laddr.p == NULL || span_eq(f->laddr, c->laddr)) &&
           (f->user.p == NULL || span_eq(f->user, c->user)) && f->type != CLIENT_TYPE_OTHER &&
           !(f->skip_me && c->me);
}
