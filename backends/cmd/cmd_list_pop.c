/* List commands that take elements off the ends: LPOP, RPOP, LMPOP, LMOVE, RPOPLPUSH. */
#include "backends/cmd/cmd_list.h"
#include "backends/cmd/collection.h"
#include "backends/cmd/config.h"
#include "backends/types/list.h"
#include "common/num.h"
#include "common/slot.h"

static struct list *list_of(const struct entry *e)
{
    return entry_object(e);
}

/* Replies an array of the first or last n elements, from the end inwards. */
static void reply_end(struct cmd_ctx *c, const struct list *l, enum list_end end, size_t n)
{
    char tmp[NUM_I64_MAX];
    resp_array(c->out, n);
    struct list_place p = list_at(l, end == LIST_HEAD ? 0 : -1);
    for (; n != 0; n--) {
        resp_bulk_span(c->out, list_get(p, tmp));
        p = end == LIST_HEAD ? list_next(p) : list_prev(p);
    }
}

static void erase_end(struct cmd_ctx *c, struct entry *e, struct span key, enum list_end end,
                      size_t n)
{
    struct list *l = list_of(e);
    list_erase_range(l, end == LIST_HEAD ? 0 : list_count(l) - n, n);
    c->dirty += n;
    collection_keep(c, e, key, VAL_LIST, l);
}

static size_t at_most(int64_t count, const struct list *l)
{
    return (uint64_t)count < list_count(l) ? (size_t)count : list_count(l);
}

static void pop(struct cmd_ctx *c, enum list_end end)
{
    int64_t count = 0;
    bool counted = c->argc == 3;
    if (c->argc > 3) {
        resp_errorf(c->out, "ERR wrong number of arguments for '%s' command", c->cmd->name);
        return;
    }
    if (counted && !cmd_positive(c, c->argv[2], &count)) {
        return;
    }
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (e == NULL) {
        if (counted) {
            resp_null_array(c->out);
        } else {
            resp_null(c->out);
        }
        return;
    }
    if (!cmd_type_ok(c, e, VAL_LIST)) {
        return;
    }
    struct list *l = list_of(e);
    if (!counted) {
        char tmp[NUM_I64_MAX];
        resp_bulk_span(c->out, list_peek(l, end, tmp));
        list_pop(l, end);
        c->dirty++;
        collection_keep(c, e, c->argv[1], VAL_LIST, l);
        return;
    }
    size_t n = at_most(count, l);
    reply_end(c, l, end, n);
    if (n != 0) {
        erase_end(c, e, c->argv[1], end, n);
    }
}

void lpop_command(struct cmd_ctx *c)
{
    pop(c, LIST_HEAD);
}

void rpop_command(struct cmd_ctx *c)
{
    pop(c, LIST_TAIL);
}

static bool parse_end(struct cmd_ctx *c, struct span s, enum list_end *end)
{
    if (span_is(s, "left")) {
        *end = LIST_HEAD;
    } else if (span_is(s, "right")) {
        *end = LIST_TAIL;
    } else {
        cmd_syntax_error(c);
        return false;
    }
    return true;
}

static void move(struct cmd_ctx *c, enum list_end from_end, enum list_end to_end)
{
    struct entry *from = cmd_lookup_write(c, c->argv[1]);
    if (from == NULL) {
        resp_null(c->out);
        return;
    }
    if (!cmd_type_ok(c, from, VAL_LIST)) {
        return;
    }
    struct entry *to = cmd_lookup_write(c, c->argv[2]);
    if (!cmd_type_ok(c, to, VAL_LIST)) {
        return;
    }
    char tmp[NUM_I64_MAX];
    struct list *source = list_of(from);
    struct span element = list_peek(source, from_end, tmp);
    struct buf copy = {0};
    buf_add(&copy, element.p, element.len);
    resp_bulk_span(c->out, element);
    list_pop(source, from_end);
    c->dirty += 2;

    struct list *target = to == NULL ? list_new(c->config->list_max_listpack_size) : list_of(to);
    list_push(target, to_end, buf_span(&copy));
    buf_free(&copy);
    /* the target first: creating its entry must not come between the source's look-up and its
     * deletion */
    collection_keep(c, to, c->argv[2], VAL_LIST, target);
    if (from != to) {
        from = store_find(c->store, c->argv[1]);
        collection_keep(c, from, c->argv[1], VAL_LIST, source);
    }
}

void lmove_command(struct cmd_ctx *c)
{
    enum list_end from;
    enum list_end to;
    if (parse_end(c, c->argv[3], &from) && parse_end(c, c->argv[4], &to)) {
        move(c, from, to);
    }
}

void rpoplpush_command(struct cmd_ctx *c)
{
    move(c, LIST_TAIL, LIST_HEAD);
}

/* ---- LMPOP ---- */

struct lmpop {
    int keys;
    int64_t count;
    enum list_end end;
};

static bool lmpop_options(struct cmd_ctx *c, struct lmpop *o)
{
    int64_t keys = 0;
    if (!cmd_range(c, c->argv[1], 1, INT64_MAX, &keys, "ERR numkeys should be greater than 0")) {
        return false;
    }
    if (keys >= c->argc - 2) {
        cmd_syntax_error(c);
        return false;
    }
    *o = (struct lmpop){.keys = (int)keys, .count = -1};
    int i = 2 + o->keys;
    if (!parse_end(c, c->argv[i], &o->end)) {
        return false;
    }
    for (i++; i < c->argc; i += 2) {
        if (o->count != -1 || i + 1 == c->argc || !span_is(c->argv[i], "count")) {
            cmd_syntax_error(c);
            return false;
        }
        if (!cmd_range(c, c->argv[i + 1], 1, INT64_MAX, &o->count,
                       "ERR count should be greater than 0")) {
            return false;
        }
    }
    o->count = o->count == -1 ? 1 : o->count;
    return true;
}

/* The first key that has a list, its entry in *e; -1 after answering. */
static int lmpop_choose(struct cmd_ctx *c, const struct lmpop *o,
                        struct entry *(*look)(struct cmd_ctx *, struct span), struct entry **e)
{
    for (int i = 2; i < 2 + o->keys; i++) {
        *e = look(c, c->argv[i]);
        if (*e != NULL) {
            return cmd_type_ok(c, *e, VAL_LIST) ? i : -1;
        }
    }
    resp_null_array(c->out);
    return -1;
}

static size_t lmpop_reply(struct cmd_ctx *c, const struct lmpop *o, const struct entry *e, int key)
{
    size_t n = at_most(o->count, list_of(e));
    resp_array(c->out, 2);
    resp_bulk_span(c->out, key_outer(c->argv[key]));
    reply_end(c, list_of(e), o->end, n);
    return n;
}

void lmpop_command(struct cmd_ctx *c)
{
    struct lmpop o;
    struct entry *e;
    if (!lmpop_options(c, &o)) {
        return;
    }
    int key = lmpop_choose(c, &o, cmd_lookup_write, &e);
    if (key != -1) {
        size_t n = lmpop_reply(c, &o, e, key);
        erase_end(c, e, c->argv[key], o.end, n);
    }
}

bool lmpop_rewrite(struct cmd_ctx *c, struct effects *fx)
{
    struct lmpop o;
    struct entry *e;
    if (!lmpop_options(c, &o)) {
        return false;
    }
    int key = lmpop_choose(c, &o, cmd_peek, &e);
    if (key == -1) {
        return false;
    }
    char text[NUM_I64_MAX];
    size_t n = lmpop_reply(c, &o, e, key);
    const struct span argv[] = {o.end == LIST_HEAD ? SPAN_LIT("LPOP") : SPAN_LIT("RPOP"),
                                c->argv[key], span_of(text, num_fmt_u64(text, n))};
    effects_add(fx, 3, argv);
    return true;
}

int lmpop_keys(const struct span *argv, int argc, int *idx, int max)
{
    return collection_numkeys(argv, argc, 1, idx, max);
}

int blmpop_keys(const struct span *argv, int argc, int *idx, int max)
{
    return collection_numkeys(argv, argc, 2, idx, max);
}
