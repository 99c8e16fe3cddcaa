/* List commands on one list. */
#include "backends/cmd/cmd_list.h"

#include "backends/cmd/collection.h"
#include "backends/cmd/config.h"
#include "backends/types/list.h"

static struct list *list_of(const struct entry *e)
{
    return entry_object(e);
}

/* The list to read, or NULL after answering the error or what stands for an absent key. */
static const struct list *read_list(struct cmd_ctx *c, void (*absent)(struct resp_out *))
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (e == NULL) {
        absent(c->out);
        return NULL;
    }
    return cmd_type_ok(c, e, VAL_LIST) ? list_of(e) : NULL;
}

/* The same for writing; *e is the entry. */
static struct list *write_list(struct cmd_ctx *c, struct entry **e,
                               void (*absent)(struct resp_out *))
{
    *e = cmd_lookup_write(c, c->argv[1]);
    if (*e == NULL) {
        absent(c->out);
        return NULL;
    }
    return cmd_type_ok(c, *e, VAL_LIST) ? list_of(*e) : NULL;
}

static void reply_zero(struct resp_out *o)
{
    resp_int(o, 0);
}

static void reply_empty_array(struct resp_out *o)
{
    resp_array(o, 0);
}

static void reply_no_key(struct resp_out *o)
{
    resp_error(o, "ERR no such key");
}

/* ---- growing ---- */

static void push(struct cmd_ctx *c, enum list_end end, bool only_existing)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_LIST)) {
        return;
    }
    if (e == NULL && only_existing) {
        resp_int(c->out, 0);
        return;
    }
    struct list *l = e == NULL ? list_new(c->config->list_max_listpack_size) : list_of(e);
    for (int i = 2; i < c->argc; i++) {
        list_push(l, end, c->argv[i]);
    }
    c->dirty += (uint64_t)(c->argc - 2);
    resp_int(c->out, (int64_t)list_count(l));
    collection_keep(c, e, c->argv[1], VAL_LIST, l);
}

void lpush_command(struct cmd_ctx *c)
{
    push(c, LIST_HEAD, false);
}

void rpush_command(struct cmd_ctx *c)
{
    push(c, LIST_TAIL, false);
}

void lpushx_command(struct cmd_ctx *c)
{
    push(c, LIST_HEAD, true);
}

void rpushx_command(struct cmd_ctx *c)
{
    push(c, LIST_TAIL, true);
}

void linsert_command(struct cmd_ctx *c)
{
    bool after = span_is(c->argv[2], "after");
    if (!after && !span_is(c->argv[2], "before")) {
        cmd_syntax_error(c);
        return;
    }
    struct entry *e;
    struct list *l = write_list(c, &e, reply_zero);
    if (l == NULL) {
        return;
    }
    for (struct list_place p = list_at(l, 0); p.node != NULL; p = list_next(p)) {
        if (list_is(p, c->argv[3])) {
            list_insert(l, p, after, c->argv[4]);
            c->dirty++;
            resp_int(c->out, (int64_t)list_count(l));
            return;
        }
    }
    resp_int(c->out, -1);
}

void lset_command(struct cmd_ctx *c)
{
    struct entry *e;
    struct list *l = write_list(c, &e, reply_no_key);
    int64_t index = 0;
    if (l == NULL || !cmd_i64(c, c->argv[2], &index, NULL)) {
        return;
    }
    struct list_place p = list_at(l, index);
    if (p.node == NULL) {
        resp_error(c->out, "ERR index out of range");
        return;
    }
    list_replace(l, p, c->argv[3]);
    c->dirty++;
    resp_ok(c->out);
}

/* ---- shrinking ---- */

void lrem_command(struct cmd_ctx *c)
{
    int64_t count = 0;
    struct entry *e;
    if (!cmd_i64(c, c->argv[2], &count, NULL)) {
        return;
    }
    struct list *l = write_list(c, &e, reply_zero);
    if (l == NULL) {
        return;
    }
    bool forward = count >= 0;
    int64_t most = forward              ? count
                   : count == INT64_MIN ? 0
                                        : -count; /* as Redis: the least is all */
    int64_t removed = 0;
    struct list_place p = list_at(l, forward ? 0 : -1);
    while (p.node != NULL && (most == 0 || removed < most)) {
        if (list_is(p, c->argv[3])) {
            p = list_erase(l, p, forward);
            removed++;
        } else {
            p = forward ? list_next(p) : list_prev(p);
        }
    }
    c->dirty += (uint64_t)removed;
    collection_keep(c, e, c->argv[1], VAL_LIST, l);
    resp_int(c->out, removed);
}

/* Redis' rules for start and stop; false: nothing is in between. */
static bool clamp_range(int64_t count, int64_t *start, int64_t *stop)
{
    *start = *start < 0 ? *start + count : *start;
    *stop = *stop < 0 ? *stop + count : *stop;
    *start = *start < 0 ? 0 : *start;
    if (*start > *stop || *start >= count) {
        return false;
    }
    *stop = *stop >= count ? count - 1 : *stop;
    return true;
}

void ltrim_command(struct cmd_ctx *c)
{
    int64_t start = 0;
    int64_t stop = 0;
    struct entry *e;
    if (!cmd_i64(c, c->argv[2], &start, NULL) || !cmd_i64(c, c->argv[3], &stop, NULL)) {
        return;
    }
    struct list *l = write_list(c, &e, resp_ok);
    if (l == NULL) {
        return;
    }
    size_t count = list_count(l);
    if (clamp_range((int64_t)count, &start, &stop)) {
        size_t tail = count - (size_t)stop - 1;
        list_erase_range(l, (size_t)stop + 1, tail);
        list_erase_range(l, 0, (size_t)start);
        c->dirty += tail + (size_t)start;
        collection_keep(c, e, c->argv[1], VAL_LIST, l);
    } else {
        c->dirty += count;
        store_delete(c->store, e);
    }
    resp_ok(c->out);
}

/* ---- reading ---- */

void llen_command(struct cmd_ctx *c)
{
    const struct list *l = read_list(c, reply_zero);
    if (l != NULL) {
        resp_int(c->out, (int64_t)list_count(l));
    }
}

void lindex_command(struct cmd_ctx *c)
{
    const struct list *l = read_list(c, resp_null);
    int64_t index = 0;
    if (l == NULL || !cmd_i64(c, c->argv[2], &index, NULL)) {
        return;
    }
    struct list_place p = list_at(l, index);
    char tmp[NUM_I64_MAX];
    if (p.node == NULL) {
        resp_null(c->out);
    } else {
        resp_bulk_span(c->out, list_get(p, tmp));
    }
}

void lrange_command(struct cmd_ctx *c)
{
    int64_t start = 0;
    int64_t stop = 0;
    if (!cmd_i64(c, c->argv[2], &start, NULL) || !cmd_i64(c, c->argv[3], &stop, NULL)) {
        return;
    }
    const struct list *l = read_list(c, reply_empty_array);
    if (l == NULL) {
        return;
    }
    if (!clamp_range((int64_t)list_count(l), &start, &stop)) {
        resp_array(c->out, 0);
        return;
    }
    size_t n = (size_t)(stop - start) + 1;
    resp_array(c->out, n);
    char tmp[NUM_I64_MAX];
    struct list_place p = list_at(l, start);
    for (; n != 0; n--, p = list_next(p)) {
        resp_bulk_span(c->out, list_get(p, tmp));
    }
}

/* ---- LPOS ---- */

struct lpos {
    int64_t rank, count, length_max; /* count -1: not given */
};

static bool lpos_options(struct cmd_ctx *c, struct lpos *o)
{
    *o = (struct lpos){.rank = 1, .count = -1};
    for (int i = 3; i < c->argc; i += 2) {
        bool has_value = i + 1 < c->argc;
        if (has_value && span_is(c->argv[i], "rank")) {
            if (!cmd_i64(c, c->argv[i + 1], &o->rank, NULL)) {
                return false;
            }
            if (o->rank == 0) {
                resp_error(c->out,
                           "ERR RANK can't be zero: use 1 to start from the first match, 2 from "
                           "the second ... or use negative to start from the end of the list");
                return false;
            }
        } else if (has_value && span_is(c->argv[i], "count")) {
            if (!cmd_range(c, c->argv[i + 1], 0, INT64_MAX, &o->count,
                           "ERR COUNT can't be negative")) {
                return false;
            }
        } else if (has_value && span_is(c->argv[i], "maxlen")) {
            if (!cmd_range(c, c->argv[i + 1], 0, INT64_MAX, &o->length_max,
                           "ERR MAXLEN can't be negative")) {
                return false;
            }
        } else {
            cmd_syntax_error(c);
            return false;
        }
    }
    return true;
}

static void lpos_search(struct cmd_ctx *c, const struct list *l, const struct lpos *o)
{
    bool forward = o->rank > 0;
    /* Redis negates the rank without looking: the least one finds the first match from the end */
    int64_t skip = o->rank == INT64_MIN ? 0 : (forward ? o->rank : -o->rank) - 1;
    int64_t total = (int64_t)list_count(l);
    size_t mark = o->count != -1 ? resp_defer(c->out) : 0;
    size_t found = 0;
    struct list_place p = list_at(l, forward ? 0 : -1);
    for (int64_t i = 0; p.node != NULL && (o->length_max == 0 || i < o->length_max); i++) {
        if (list_is(p, c->argv[2]) && skip-- <= 0) {
            resp_int(c->out, forward ? i : total - 1 - i);
            found++;
            if (o->count == -1 || (o->count != 0 && found == (size_t)o->count)) {
                break;
            }
        }
        p = forward ? list_next(p) : list_prev(p);
    }
    if (o->count != -1) {
        resp_defer_end(c->out, mark, RESP_ARRAY, found);
    } else if (found == 0) {
        resp_null(c->out);
    }
}

void lpos_command(struct cmd_ctx *c)
{
    struct lpos o;
    if (!lpos_options(c, &o)) {
        return;
    }
    const struct list *l = read_list(c, o.count != -1 ? reply_empty_array : resp_null);
    if (l != NULL) {
        lpos_search(c, l, &o);
    }
}
