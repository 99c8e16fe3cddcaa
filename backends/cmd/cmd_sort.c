/* SORT and SORT_RO.
 *
 * Patterns of BY and GET name other keys. They are allowed where they cannot leave the slot of the
 * key that is sorted: their hash tag ends before the first '*' and has that slot. Others get the
 * error of Redis Cluster. Texts are compared by their bytes, not by the locale, so that replicas
 * agree. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "backends/cmd/cmd_zset.h"
#include "backends/cmd/config.h"
#include "backends/cmd/groups.h"
#include "backends/types/hash.h"
#include "backends/types/list.h"
#include "backends/types/set.h"
#include "common/mem.h"
#include "common/slot.h"

struct sort {
    bool readonly, desc, alpha;
    struct effects *fx; /* STORE: what is stored goes here, as commands; NULL: into the store */
    bool unsorted;      /* BY without '*': the order as it is */
    bool by;
    struct span by_pattern;
    const struct span *get; /* patterns */
    int get_count;
    struct span *get_mem;
    int64_t offset, count;
    int store; /* argument of the target key, 0: none */
};

struct item {
    struct span text;
    double score;
    struct span cmp; /* p NULL: the BY key does not exist */
    size_t order;
};

/* The elements, and the bytes of them and of what they are compared by. While spans are collected
 * their p is an offset. */
struct items {
    struct item *v;
    size_t n;
    struct buf bytes;
};

/* ---- arguments ---- */

static bool stays_in_slot(struct cmd_ctx *c, struct span pattern)
{
    const char *star = pattern.len == 0 ? NULL : memchr(pattern.p, '*', pattern.len);
    if (star == NULL) {
        return true; /* names no key */
    }
    struct span head = span_of(pattern.p, (size_t)(star - pattern.p));
    const char *open = head.len == 0 ? NULL : memchr(head.p, '{', head.len);
    if (open == NULL) {
        return false;
    }
    const char *close = memchr(open, '}', (size_t)(star - open));
    return close != NULL && close != open + 1 && slot_of(head) == slot_of_inner(c->argv[1]);
}

static bool parse_limit(struct cmd_ctx *c, int j, struct sort *s)
{
    return cmd_i64(c, c->argv[j + 1], &s->offset, NULL) &&
           cmd_i64(c, c->argv[j + 2], &s->count, NULL);
}

static bool parse_by(struct cmd_ctx *c, struct span pattern, struct sort *s)
{
    if (!stays_in_slot(c, pattern)) {
        resp_error(c->out, "ERR BY option of SORT denied in cluster mode.");
        return false;
    }
    s->by = true;
    s->by_pattern = pattern;
    s->unsorted |= pattern.len == 0 || memchr(pattern.p, '*', pattern.len) == NULL;
    return true;
}

static bool parse_get(struct cmd_ctx *c, struct span pattern, struct sort *s)
{
    if (!stays_in_slot(c, pattern)) {
        resp_error(c->out, "ERR GET option of SORT denied in cluster mode.");
        return false;
    }
    s->get_mem[s->get_count++] = pattern;
    return true;
}

static bool parse(struct cmd_ctx *c, struct sort *s)
{
    s->count = -1;
    s->get_mem = mem_alloc((size_t)c->argc * sizeof s->get_mem[0]);
    s->get = s->get_mem;
    for (int j = 2; j < c->argc; j++) {
        struct span a = c->argv[j];
        int left = c->argc - j - 1;
        bool ok = true;
        if (span_is(a, "asc") || span_is(a, "desc")) {
            s->desc = span_is(a, "desc");
        } else if (span_is(a, "alpha")) {
            s->alpha = true;
        } else if (span_is(a, "limit") && left >= 2) {
            ok = parse_limit(c, j, s);
            j += 2;
        } else if (!s->readonly && span_is(a, "store") && left >= 1) {
            s->store = ++j;
        } else if (span_is(a, "by") && left >= 1) {
            ok = parse_by(c, c->argv[++j], s);
        } else if (span_is(a, "get") && left >= 1) {
            ok = parse_get(c, c->argv[++j], s);
        } else {
            cmd_syntax_error(c);
            ok = false;
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* ---- elements ---- */

static size_t element_count(const struct entry *e)
{
    if (e == NULL) {
        return 0;
    }
    const struct zset *z = entry_object(e);
    enum val_type t = entry_type(e);
    return t == VAL_ZSET  ? zset_count(z)
           : t == VAL_SET ? set_count(entry_object(e))
                          : list_count(entry_object(e));
}

static void add_item(struct items *to, struct span text)
{
    struct item *it = &to->v[to->n];
    *it = (struct item){.text = {NULL, text.len}, .order = to->n};
    to->n++;
    buf_add(&to->bytes, text.p, text.len);
}

/* Elements from the place `from` on in the order of the value (reversed if desc), n of them. A set
 * has no order. */
static void load_items(const struct entry *e, size_t from, size_t n, bool desc, struct items *to)
{
    if (n == 0) {
        return;
    }
    to->v = mem_alloc(n * sizeof to->v[0]);
    size_t count = element_count(e);
    size_t start = desc ? count - 1 - from : from;
    if (entry_type(e) == VAL_ZSET) {
        struct zset_iter it = zset_iter_at(entry_object(e), start, desc);
        struct zset_item item;
        while (to->n < n && zset_iter_next(&it, &item)) {
            add_item(to, item.member);
        }
    } else if (entry_type(e) == VAL_SET) {
        struct set_iter it = set_iter(entry_object(e));
        struct span member;
        while (to->n < n && set_next(&it, &member)) {
            add_item(to, member);
        }
    } else {
        struct list_place p = list_at(entry_object(e), (int64_t)start);
        for (; to->n < n && p.node != NULL; p = desc ? list_prev(p) : list_next(p)) {
            char tmp[NUM_I64_MAX];
            add_item(to, list_get(p, tmp));
        }
    }
    const char *at = to->bytes.p == NULL ? "" : to->bytes.p;
    for (size_t i = 0; i < to->n; i++) {
        to->v[i].text.p = at;
        at += to->v[i].text.len;
    }
}

/* What a pattern means for an element: "#" the element, "x*y" a string key, "x*y->f" a field of a
 * hash. False: nothing there. tmp holds a number's text; the result is valid until the next call.
 */
static bool look_up(struct cmd_ctx *c, struct span pattern, struct span text, char *tmp,
                    struct span *value)
{
    if (pattern.len == 1 && pattern.p[0] == '#') {
        *value = text;
        return true;
    }
    const char *star = pattern.len == 0 ? NULL : memchr(pattern.p, '*', pattern.len);
    if (star == NULL) {
        return false;
    }
    struct span tail = span_of(star + 1, pattern.len - (size_t)(star + 1 - pattern.p));
    struct span field = {0};
    const char *arrow = tail.len < 3 ? NULL : memmem(tail.p, tail.len, "->", 2);
    if (arrow != NULL && arrow + 2 < tail.p + tail.len) {
        field = span_of(arrow + 2, tail.len - (size_t)(arrow + 2 - tail.p));
        tail.len = (size_t)(arrow - tail.p);
    }
    struct buf name = {0};
    struct buf inner = {0};
    buf_add(&name, pattern.p, (size_t)(star - pattern.p));
    buf_add(&name, text.p, text.len);
    buf_add(&name, tail.p, tail.len);
    key_add_inner(&inner, key_db(c->argv[1]), buf_span(&name));
    struct entry *e = cmd_lookup(c, buf_span(&inner));
    bool found = false;
    if (e != NULL && field.len != 0) {
        found = entry_type(e) == VAL_HASH && hash_get(entry_object(e), field, tmp, value);
    } else if (e != NULL && entry_type(e) == VAL_STRING) {
        *value = entry_string(e);
        found = true;
    }
    buf_free(&name);
    buf_free(&inner);
    return found;
}

/* Redis hands the text to strtod: leading blanks and even nothing are numbers. */
static bool number_of(struct span s, double *out)
{
    char small[64];
    char *text = s.len < sizeof small ? small : mem_alloc(s.len + 1);
    if (s.len != 0) {
        memcpy(text, s.p, s.len);
    }
    text[s.len] = '\0';
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    bool ok = *end == '\0' && errno != ERANGE && !isnan(*out);
    if (text != small) {
        mem_free(text);
    }
    return ok;
}

/* Finds what each element is compared by. False: some of it is no number. */
static bool load_weights(struct cmd_ctx *c, const struct sort *s, struct items *items,
                         struct buf *bytes)
{
    bool ok = true;
    for (size_t i = 0; i < items->n; i++) {
        struct item *it = &items->v[i];
        struct span v = it->text;
        char tmp[NUM_I64_MAX];
        it->cmp.len = SIZE_MAX;
        if (s->by && !look_up(c, s->by_pattern, it->text, tmp, &v)) {
            continue;
        }
        if (!s->alpha) {
            ok &= number_of(v, &it->score);
        } else if (s->by) {
            it->cmp.len = v.len;
            buf_add(bytes, v.p, v.len);
        }
    }
    const char *at = bytes->p == NULL ? "" : bytes->p;
    for (size_t i = 0; s->alpha && i < items->n; i++) {
        struct item *it = &items->v[i];
        if (!s->by) {
            it->cmp = it->text;
        } else if (it->cmp.len == SIZE_MAX) {
            it->cmp = span_of(NULL, 0);
        } else {
            it->cmp.p = at;
            at += it->cmp.len;
        }
    }
    return ok;
}

static int by_number(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? -1 : 1;
    }
    return zmember_cmp(x->text, y->text);
}

static int by_text(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;
    if (x->cmp.p == NULL || y->cmp.p == NULL) {
        return (x->cmp.p != NULL) - (y->cmp.p != NULL);
    }
    return zmember_cmp(x->cmp, y->cmp);
}

static int up_number(const void *a, const void *b)
{
    int r = by_number(a, b);
    return r != 0 ? r : ((const struct item *)a)->order < ((const struct item *)b)->order ? -1 : 1;
}

static int down_number(const void *a, const void *b)
{
    int r = by_number(b, a);
    return r != 0 ? r : ((const struct item *)a)->order < ((const struct item *)b)->order ? -1 : 1;
}

static int up_text(const void *a, const void *b)
{
    int r = by_text(a, b);
    return r != 0 ? r : ((const struct item *)a)->order < ((const struct item *)b)->order ? -1 : 1;
}

static int down_text(const void *a, const void *b)
{
    int r = by_text(b, a);
    return r != 0 ? r : ((const struct item *)a)->order < ((const struct item *)b)->order ? -1 : 1;
}

static bool sort_items(struct cmd_ctx *c, const struct sort *s, struct items *items)
{
    struct buf bytes = {0};
    bool ok = load_weights(c, s, items, &bytes);
    if (ok && items->n > 1) {
        qsort(items->v, items->n, sizeof items->v[0],
              s->alpha ? (s->desc ? down_text : up_text) : (s->desc ? down_number : up_number));
    }
    buf_free(&bytes);
    return ok;
}

/* ---- results ---- */

static void reply_items(struct cmd_ctx *c, const struct sort *s, const struct item *v, size_t n)
{
    resp_array(c->out, s->get_count != 0 ? n * (size_t)s->get_count : n);
    for (size_t i = 0; i < n; i++) {
        if (s->get_count == 0) {
            resp_bulk_span(c->out, v[i].text);
        }
        for (int g = 0; g < s->get_count; g++) {
            char tmp[NUM_I64_MAX];
            struct span value;
            if (look_up(c, s->get[g], v[i].text, tmp, &value)) {
                resp_bulk_span(c->out, value);
            } else {
                resp_null(c->out);
            }
        }
    }
}

static void store_items(struct cmd_ctx *c, const struct sort *s, const struct item *v, size_t n)
{
    struct list *l = list_new(c->config->list_max_listpack_size);
    for (size_t i = 0; i < n; i++) {
        if (s->get_count == 0) {
            list_push(l, LIST_TAIL, v[i].text);
        }
        for (int g = 0; g < s->get_count; g++) {
            char tmp[NUM_I64_MAX];
            struct span value = span_of("", 0);
            if (!look_up(c, s->get[g], v[i].text, tmp, &value)) {
                value = span_of("", 0);
            }
            list_push(l, LIST_TAIL, value);
        }
    }
    int64_t count = (int64_t)list_count(l);
    collection_store(c, c->argv[s->store], VAL_LIST, l);
    resp_int(c->out, count);
}

#define SHIP_CHUNK 512u /* elements of one RPUSH */

/* What store_items would make, as commands: patterns read keys that the command does not name, so
 * replicas are not to look them up themselves. */
static void ship_items(struct cmd_ctx *c, const struct sort *s, const struct item *v, size_t n)
{
    struct span del[2] = {SPAN_LIT("DEL"), c->argv[s->store]};
    size_t each = s->get_count != 0 ? (size_t)s->get_count : 1;
    struct span *push = mem_alloc((SHIP_CHUNK + 2) * sizeof *push);
    char(*tmp)[NUM_I64_MAX] = mem_alloc(SHIP_CHUNK * sizeof *tmp);
    size_t used = 0;
    push[0] = SPAN_LIT("RPUSH");
    push[1] = c->argv[s->store];
    effects_add(s->fx, 2, del);
    for (size_t i = 0; i < n * each; i++) {
        struct span text = v[i / each].text;
        struct span *value = &push[2 + used];
        *value = text;
        if (s->get_count != 0 && !look_up(c, s->get[i % each], text, tmp[used], value)) {
            *value = span_of("", 0);
        }
        if (++used == SHIP_CHUNK || i + 1 == n * each) {
            effects_add(s->fx, used + 2, push);
            used = 0;
        }
    }
    mem_free(tmp);
    mem_free(push);
    resp_int(c->out, (int64_t)(n * each));
}

/* [*first, *first + *n) of count elements, as LIMIT asks. */
static void select_range(const struct sort *s, size_t count, size_t *first, size_t *n)
{
    *first = s->offset < 0 ? 0 : (uint64_t)s->offset < count ? (size_t)s->offset : count;
    *n = count - *first;
    if (s->count >= 0 && (uint64_t)s->count < *n) {
        *n = (size_t)s->count;
    }
}

static void run(struct cmd_ctx *c, struct sort *s)
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (e != NULL && entry_type(e) != VAL_LIST && entry_type(e) != VAL_SET) {
        if (!cmd_type_ok(c, e, VAL_ZSET)) {
            return;
        }
    }
    bool is_set = e != NULL && entry_type(e) == VAL_SET;
    if (s->unsorted && is_set && s->store != 0) {
        /* a set has no order of its own, and what is stored must not depend on the replica */
        s->unsorted = false;
        s->alpha = true;
        s->by = false;
    }
    size_t first;
    size_t n;
    size_t count = element_count(e);
    select_range(s, count, &first, &n);
    struct items items = {0};
    if (s->unsorted && !is_set) {
        load_items(e, first, n, s->desc, &items);
        first = 0;
    } else {
        load_items(e, 0, count, false, &items);
    }
    if (!s->unsorted && !sort_items(c, s, &items)) {
        resp_error(c->out, "ERR One or more scores can't be converted into double");
    } else if (s->store != 0 && s->fx != NULL) {
        ship_items(c, s, n == 0 ? NULL : items.v + first, n);
    } else if (s->store != 0) {
        store_items(c, s, n == 0 ? NULL : items.v + first, n);
    } else {
        reply_items(c, s, n == 0 ? NULL : items.v + first, n);
    }
    mem_free(items.v);
    buf_free(&items.bytes);
}

static void sort_generic(struct cmd_ctx *c, bool readonly)
{
    struct sort s = {.readonly = readonly};
    if (parse(c, &s)) {
        run(c, &s);
    }
    mem_free(s.get_mem);
}

static void sort_command(struct cmd_ctx *c)
{
    sort_generic(c, false);
}

static bool sort_rewrite(struct cmd_ctx *c, struct effects *fx)
{
    struct sort s = {.fx = fx};
    if (parse(c, &s)) {
        run(c, &s);
    }
    mem_free(s.get_mem);
    return fx->count != 0;
}

static void sort_ro_command(struct cmd_ctx *c)
{
    sort_generic(c, true);
}

/* The key, and the target of the last STORE. */
static int sort_keys(const struct span *argv, int argc, int *idx, int max)
{
    int store = 0;
    for (int i = 2; i < argc; i++) {
        if (span_is(argv[i], "limit")) {
            i += 2;
        } else if (span_is(argv[i], "get") || span_is(argv[i], "by")) {
            i++;
        } else if (span_is(argv[i], "store") && i + 1 < argc) {
            store = i + 1;
        }
    }
    int n = 0;
    if (n < max) {
        idx[n++] = 1;
    }
    if (store != 0 && n < max) {
        idx[n++] = store;
    }
    return n;
}

const struct cmd cmds_sort[] = {
    {.name = "sort",
     .arity = -2,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_WRITE | CMD_DENYOOM | CMD_MOVABLEKEYS | CMD_MULTIKEY,
     .handler = sort_command,
     .rewrite = sort_rewrite,
     .keys = sort_keys,
     .group = GROUP_GENERIC,
     .acl = "@set @sortedset @list @dangerous -@keyspace",
     .key_specs =
         "RO access index 1 range 0 1 0;RO access unknown unknown;OW update unknown unknown",
     .since = "1.0.0",
     .summary = "Sorts a list, set or sorted set, and returns or stores the result",
     .complexity =
         "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the "
         "number of returned elements. When the elements are not sorted, complexity is O(N).",
     .syntax = "key [BY pattern(pattern#1)] [LIMIT offset count] [GET pattern(pattern#1) [GET "
               "pattern ...]] [order: ASC | DESC] [ALPHA:sorting] [STORE destination]"},
    {.name = "sort_ro",
     .arity = -2,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_READONLY | CMD_MOVABLEKEYS,
     .handler = sort_ro_command,
     .group = GROUP_GENERIC,
     .acl = "@set @sortedset @list @dangerous -@keyspace",
     .key_specs = "RO access index 1 range 0 1 0;RO access unknown unknown",
     .since = "7.0.0",
     .summary = "Sorts a list, set or sorted set",
     .complexity =
         "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the "
         "number of returned elements. When the elements are not sorted, complexity is O(N).",
     .syntax = "key [BY pattern(pattern#1)] [LIMIT offset count] [GET pattern(pattern#1) [GET "
               "pattern ...]] [order: ASC | DESC] [ALPHA:sorting]"},
    {.name = NULL},
};
