/* Commands on the key space of one database: KEYS, SCAN, RANDOMKEY, DBSIZE, FLUSHDB, FLUSHALL. */
#include "backends/cmd/generic_cmds.h"
#include "backends/cmd/type_name.h"
#include "common/glob.h"
#include "common/num.h"
#include "common/slot.h"

/* Which entries a walk shows, and where to. */
struct listing {
    struct cmd_ctx *c;
    struct span pattern; /* p NULL: all */
    struct span type;    /* p NULL: any */
    size_t shown;
};

static bool visible(const struct cmd_ctx *c, const struct entry *e)
{
    return entry_type(e) != VAL_TOMBSTONE && key_db(entry_key(e)) == c->db &&
           !entry_expired_at(entry_expire_ms(e), c->now_ms);
}

static void list_entry(void *arg, struct entry *e)
{
    struct listing *l = arg;
    if (!visible(l->c, e)) {
        return;
    }
    struct span key = key_outer(entry_key(e));
    if ((l->pattern.p != NULL && !glob_match(l->pattern, key, false)) ||
        (l->type.p != NULL && !span_is(l->type, cmd_type_name(e)))) {
        return;
    }
    resp_bulk_span(l->c->out, key);
    l->shown++;
}

static struct span pattern_or_all(struct span pattern)
{
    return span_eq(pattern, SPAN_LIT("*")) ? span_of(NULL, 0) : pattern;
}

void keys_command(struct cmd_ctx *c)
{
    struct listing l = {.c = c, .pattern = pattern_or_all(c->argv[1])};
    size_t mark = resp_defer(c->out);
    store_scan(c->store, 0, SIZE_MAX, list_entry, &l);
    resp_defer_end(c->out, mark, RESP_ARRAY, l.shown);
}

void scan_command(struct cmd_ctx *c)
{
    uint64_t cursor = 0;
    int64_t count = 10;
    struct listing l = {.c = c};
    if (!num_parse_u64(c->argv[1], &cursor)) {
        resp_error(c->out, "ERR invalid cursor");
        return;
    }
    for (int i = 2; i < c->argc; i += 2) {
        if (i + 1 == c->argc) {
            cmd_syntax_error(c);
            return;
        }
        struct span value = c->argv[i + 1];
        if (span_is(c->argv[i], "count")) {
            if (!cmd_i64(c, value, &count, NULL)) {
                return;
            }
            if (count < 1) {
                cmd_syntax_error(c);
                return;
            }
        } else if (span_is(c->argv[i], "match")) {
            l.pattern = pattern_or_all(value);
        } else if (span_is(c->argv[i], "type")) {
            l.type = value;
        } else {
            cmd_syntax_error(c);
            return;
        }
    }
    struct buf keys = {0};
    struct resp_out out = {.b = &keys, .proto = c->out->proto};
    struct cmd_ctx inner = *c;
    inner.out = &out;
    l.c = &inner;
    cursor = store_scan(c->store, cursor, (size_t)count, list_entry, &l);
    char text[NUM_I64_MAX];
    resp_array(c->out, 2);
    resp_bulk(c->out, text, num_fmt_u64(text, cursor));
    resp_array(c->out, l.shown);
    buf_add(c->out->b, keys.p, keys.len);
    buf_free(&keys);
}

struct first_visible {
    struct cmd_ctx *c;
    struct entry *e;
};

static void keep_first(void *arg, struct entry *e)
{
    struct first_visible *f = arg;
    if (f->e == NULL && visible(f->c, e)) {
        f->e = e;
    }
}

#define RANDOMKEY_TRIES 100

void randomkey_command(struct cmd_ctx *c)
{
    struct first_visible f = {.c = c};
    for (int i = 0; i < RANDOMKEY_TRIES; i++) {
        struct entry *e = store_random(c->store, (int)c->db, c->rng, false);
        if (e == NULL || visible(c, e)) {
            f.e = e;
            break;
        }
    }
    /* nearly everything has expired and waits for its deletion: look through all */
    uint64_t cursor = 0;
    while (f.e == NULL && store_count(c->store, c->db) != 0) {
        cursor = store_scan(c->store, cursor, 100, keep_first, &f);
        if (cursor == 0) {
            break;
        }
    }
    if (f.e == NULL) {
        resp_null(c->out);
    } else {
        resp_bulk_span(c->out, key_outer(entry_key(f.e)));
    }
}

void dbsize_command(struct cmd_ctx *c)
{
    resp_int(c->out, (int64_t)store_count(c->store, c->db));
}

/* ASYNC and SYNC are the same here: keys go at once, their memory in slices. */
static void flush(struct cmd_ctx *c, int db)
{
    if (c->argc > 2 ||
        (c->argc == 2 && !span_is(c->argv[1], "async") && !span_is(c->argv[1], "sync"))) {
        cmd_syntax_error(c);
        return;
    }
    store_flush(c->store, db);
    c->dirty++;
    resp_ok(c->out);
}

void flushall_command(struct cmd_ctx *c)
{
    flush(c, -1);
}

void flushdb_command(struct cmd_ctx *c)
{
    flush(c, (int)c->db);
}
