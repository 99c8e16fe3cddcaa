/* Lists: a chain of packs.
 *
 * A node holds a pack, or one large element as plain bytes (PLAIN_MIN and more), so that packs stay
 * small and a large element is never copied to make room for another. No node is empty. Insertions
 * in the middle of a full node split it; the pieces are joined with their neighbours where that
 * gives no node over the limit. */
#include "backends/types/list.h"

#include "backends/types/dump.h"
#include "backends/types/pack.h"
#include "backends/types/types.h"
#include "common/mem.h"
#include "common/must.h"

#define PLAIN_MIN ((size_t)64 * 1024)
/* With a limit in elements, a node is not larger than this either (as in Redis), unless by one
 * element. */
#define NODE_BYTES_MAX 8192u
#define FILL_DEFAULT (-2)
#define FILL_MAX 32767

struct list_node {
    struct list_node *prev, *next;
    union {
        struct pack *pack;
        char *plain;
    } u;
    size_t plain_len; /* PLAIN_MIN or more: plain; 0: a pack */
};

struct list {
    struct list_node *head, *tail;
    size_t count;
    size_t nodes;
    int64_t fill;
};

static const struct list_place nowhere = {NULL, PACK_NONE};

static bool is_plain(const struct list_node *n)
{
    return n->plain_len != 0;
}

static size_t node_count(const struct list_node *n)
{
    return is_plain(n) ? 1 : pack_count(n->u.pack);
}

static size_t bytes_max(int64_t fill)
{
    static const size_t sizes[] = {4096, 8192, 16384, 32768, 65536};
    if (fill >= 0) {
        return NODE_BYTES_MAX;
    }
    return sizes[fill < -5 ? 4 : -fill - 1];
}

static bool room_for(const struct list *l, size_t bytes, size_t count)
{
    if (l->fill >= 0 && count > (size_t)(l->fill == 0 ? 1 : l->fill)) {
        return false;
    }
    return bytes <= bytes_max(l->fill);
}

/* True if text may join the pack of n. */
static bool takes(const struct list *l, const struct list_node *n, size_t text_len)
{
    return n != NULL && !is_plain(n) && text_len < PLAIN_MIN &&
           room_for(l, pack_bytes(n->u.pack) + PACK_ELEMENT_MAX(text_len),
                    pack_count(n->u.pack) + 1);
}

/* ---- nodes ---- */

/* Links a new node behind `before` (NULL: at the head). */
static struct list_node *link_node(struct list *l, struct list_node *before)
{
    struct list_node *n = mem_alloc(sizeof *n);
    struct list_node *after = before == NULL ? l->head : before->next;
    *n = (struct list_node){.prev = before, .next = after};
    *(before == NULL ? &l->head : &before->next) = n;
    *(after == NULL ? &l->tail : &after->prev) = n;
    l->nodes++;
    return n;
}

static void free_content(struct list_node *n)
{
    if (is_plain(n)) {
        mem_free(n->u.plain);
    } else {
        pack_free(n->u.pack);
    }
}

static void unlink_node(struct list *l, struct list_node *n)
{
    *(n->prev == NULL ? &l->head : &n->prev->next) = n->next;
    *(n->next == NULL ? &l->tail : &n->next->prev) = n->prev;
    free_content(n);
    mem_free(n);
    l->nodes--;
}

static void fill_node(struct list_node *n, struct span text)
{
    if (text.len < PLAIN_MIN) {
        n->plain_len = 0;
        n->u.pack = pack_append(pack_new(), text);
        return;
    }
    n->plain_len = text.len;
    n->u.plain = mem_alloc(text.len);
    memcpy(n->u.plain, text.p, text.len);
}

/* Joins n with the node behind it if one node may hold both. */
static void try_join(struct list *l, struct list_node *n)
{
    struct list_node *next = n == NULL ? NULL : n->next;
    if (next == NULL || is_plain(n) || is_plain(next)) {
        return;
    }
    if (room_for(l, pack_bytes(n->u.pack) + pack_bytes(next->u.pack),
                 node_count(n) + node_count(next))) {
        n->u.pack = pack_concat(n->u.pack, next->u.pack);
        unlink_node(l, next);
    }
}

struct list *list_new(int64_t fill)
{
    struct list *l = mem_alloc(sizeof *l);
    *l = (struct list){.fill = fill < -5 ? -5 : fill > FILL_MAX ? FILL_MAX : fill};
    return l;
}

size_t list_count(const struct list *l)
{
    return l->count;
}

/* ---- ends ---- */

void list_push(struct list *l, enum list_end end, struct span text)
{
    struct list_node *n = end == LIST_HEAD ? l->head : l->tail;
    if (takes(l, n, text.len)) {
        size_t pos = end == LIST_HEAD ? pack_first(n->u.pack) : PACK_NONE;
        n->u.pack = pack_insert(n->u.pack, pos, text);
    } else {
        fill_node(link_node(l, end == LIST_HEAD ? NULL : l->tail), text);
    }
    l->count++;
}

static struct list_place first_of(struct list_node *n)
{
    return (struct list_place){n, is_plain(n) ? PACK_NONE : pack_first(n->u.pack)};
}

static struct list_place last_of(struct list_node *n)
{
    return (struct list_place){n, is_plain(n) ? PACK_NONE : pack_last(n->u.pack)};
}

struct span list_peek(const struct list *l, enum list_end end, char *tmp)
{
    must(l->count != 0);
    return list_get(end == LIST_HEAD ? first_of(l->head) : last_of(l->tail), tmp);
}

void list_pop(struct list *l, enum list_end end)
{
    must(l->count != 0);
    (void)list_erase(l, end == LIST_HEAD ? first_of(l->head) : last_of(l->tail), true);
}

/* ---- places ---- */

struct list_place list_at(const struct list *l, int64_t index)
{
    int64_t total = (int64_t)l->count;
    if (index < -total || index >= total) {
        return nowhere;
    }
    int64_t i = index < 0 ? index + total : index;
    struct list_node *n;
    if (i < total / 2) {
        n = l->head;
        for (; i >= (int64_t)node_count(n); n = n->next) {
            i -= (int64_t)node_count(n);
        }
    } else {
        n = l->tail;
        i -= total - (int64_t)node_count(n);
        while (i < 0) {
            n = n->prev;
            i += (int64_t)node_count(n);
        }
    }
    return (struct list_place){n, is_plain(n) ? PACK_NONE : pack_at(n->u.pack, i)};
}

struct list_place list_next(struct list_place p)
{
    size_t pos = is_plain(p.node) ? PACK_NONE : pack_next(p.node->u.pack, p.pos);
    if (pos != PACK_NONE) {
        return (struct list_place){p.node, pos};
    }
    return p.node->next == NULL ? nowhere : first_of(p.node->next);
}

struct list_place list_prev(struct list_place p)
{
    size_t pos = is_plain(p.node) ? PACK_NONE : pack_prev(p.node->u.pack, p.pos);
    if (pos != PACK_NONE) {
        return (struct list_place){p.node, pos};
    }
    return p.node->prev == NULL ? nowhere : last_of(p.node->prev);
}

struct span list_get(struct list_place p, char *tmp)
{
    if (is_plain(p.node)) {
        return span_of(p.node->u.plain, p.node->plain_len);
    }
    return pack_get(p.node->u.pack, p.pos, tmp);
}

bool list_is(struct list_place p, struct span text)
{
    if (is_plain(p.node)) {
        return span_eq(span_of(p.node->u.plain, p.node->plain_len), text);
    }
    return pack_is(p.node->u.pack, p.pos, text);
}

/* ---- changes at a place ---- */

/* Makes pos the first element of its node, so that a node can be linked before it. Returns the node
 * before it. */
static struct list_node *cut_before(struct list *l, struct list_place p)
{
    struct list_node *n = p.node;
    if (is_plain(n) || p.pos == pack_first(n->u.pack)) {
        return n->prev;
    }
    struct pack *tail;
    n->u.pack = pack_split(n->u.pack, p.pos, &tail);
    struct list_node *right = link_node(l, n);
    right->u.pack = tail;
    return n;
}

void list_insert(struct list *l, struct list_place p, bool after, struct span text)
{
    struct list_node *n = p.node;
    struct list_place at = p;
    if (after) {
        at = list_next(p);
    }
    l->count++;
    if (takes(l, n, text.len)) {
        size_t pos = at.node == n ? at.pos : PACK_NONE;
        n->u.pack = pack_insert(n->u.pack, pos, text);
        return;
    }
    struct list_node *left = at.node == NULL ? l->tail : cut_before(l, at);
    struct list_node *right = left == NULL ? l->head : left->next;
    if (takes(l, left, text.len)) {
        left->u.pack = pack_append(left->u.pack, text);
    } else if (takes(l, right, text.len)) {
        right->u.pack = pack_insert(right->u.pack, pack_first(right->u.pack), text);
    } else {
        fill_node(link_node(l, left), text);
    }
    if (right != NULL) {
        try_join(l, right);
    }
    if (left != NULL) {
        try_join(l, left->prev);
    }
}

void list_replace(struct list *l, struct list_place p, struct span text)
{
    struct list_node *n = p.node;
    if (!is_plain(n) && text.len < PLAIN_MIN) {
        struct pack *pack = n->u.pack;
        size_t bytes = pack_bytes(pack) + PACK_ELEMENT_MAX(text.len);
        if (pack_count(pack) == 1 || bytes <= bytes_max(l->fill) + PACK_ELEMENT_MAX(64)) {
            n->u.pack = pack_replace(pack, p.pos, text);
            return;
        }
    }
    if (node_count(n) == 1) {
        free_content(n);
        fill_node(n, text);
        return;
    }
    struct list_node *left = cut_before(l, p);
    struct list_node *right = left == NULL ? l->head : left->next;
    if (node_count(right) == 1) {
        free_content(right);
        fill_node(right, text);
    } else {
        right->u.pack = pack_erase(right->u.pack, pack_first(right->u.pack), 1);
        fill_node(link_node(l, left), text);
    }
    try_join(l, right);
}

struct list_place list_erase(struct list *l, struct list_place p, bool forward)
{
    struct list_node *n = p.node;
    l->count--;
    if (node_count(n) == 1) {
        struct list_node *other = forward ? n->next : n->prev;
        unlink_node(l, n);
        if (other == NULL) {
            return nowhere;
        }
        return forward ? first_of(other) : last_of(other);
    }
    size_t prev = forward ? PACK_NONE : pack_prev(n->u.pack, p.pos);
    bool was_last = pack_next(n->u.pack, p.pos) == PACK_NONE;
    n->u.pack = pack_erase(n->u.pack, p.pos, 1);
    if (forward) {
        if (!was_last) {
            return p;
        }
        return n->next == NULL ? nowhere : first_of(n->next);
    }
    if (prev != PACK_NONE) {
        return (struct list_place){n, prev};
    }
    return n->prev == NULL ? nowhere : last_of(n->prev);
}

void list_erase_range(struct list *l, size_t start, size_t n)
{
    must(start + n <= l->count);
    if (n == 0) {
        return;
    }
    struct list_place p = list_at(l, (int64_t)start);
    l->count -= n;
    struct list_node *node = p.node;
    if (!is_plain(node) && p.pos != pack_first(node->u.pack)) {
        size_t before = pack_count(node->u.pack);
        node->u.pack = pack_erase(node->u.pack, p.pos, n);
        n -= before - pack_count(node->u.pack);
        node = node->next;
    }
    while (n != 0) {
        struct list_node *next = node->next;
        size_t have = node_count(node);
        if (have <= n) {
            n -= have;
            unlink_node(l, node);
        } else {
            node->u.pack = pack_erase(node->u.pack, pack_first(node->u.pack), n);
            n = 0;
        }
        node = next;
    }
}

/* ---- as an object of the store ---- */

static const char *encoding(const void *o)
{
    (void)o;
    return "quicklist";
}

static size_t count(const void *o)
{
    return ((const struct list *)o)->count;
}

static size_t memory(const void *o, size_t samples)
{
    const struct list *l = o;
    size_t sum = 0;
    size_t seen = 0;
    for (const struct list_node *n = l->head; n != NULL && (samples == 0 || seen < samples);
         n = n->next) {
        sum += mem_usable(is_plain(n) ? (const void *)n->u.plain : (const void *)n->u.pack);
        seen++;
    }
    double mean = seen == 0 ? 0 : (double)sum / (double)seen;
    size_t packs = seen == l->nodes ? sum : (size_t)(mean * (double)l->nodes);
    return mem_usable(l) + l->nodes * mem_good_size(sizeof(struct list_node)) + packs;
}

static bool free_step(void *o, size_t budget)
{
    struct list *l = o;
    size_t done = 0;
    while (l->head != NULL && done < budget) {
        done +=
            1 + node_count(l->head) / 64; /* a pack is one block, however many elements it has */
        unlink_node(l, l->head);
    }
    if (l->head != NULL) {
        return true;
    }
    mem_free(l);
    return false;
}

void list_free(struct list *l)
{
    if (l != NULL) {
        (void)free_step(l, SIZE_MAX);
    }
}

static void *copy(const void *o)
{
    const struct list *l = o;
    struct list *twin = list_new(l->fill);
    for (const struct list_node *n = l->head; n != NULL; n = n->next) {
        struct list_node *m = link_node(twin, twin->tail);
        if (is_plain(n)) {
            fill_node(m, span_of(n->u.plain, n->plain_len));
        } else {
            m->u.pack = pack_copy(n->u.pack);
        }
    }
    twin->count = l->count;
    return twin;
}

/* Dump: fill, shifted to be positive, count, elements. */
static void dump(const void *o, struct buf *out)
{
    const struct list *l = o;
    char tmp[NUM_I64_MAX];
    dump_put_u64(out, (uint64_t)l->fill + 5);
    dump_put_u64(out, l->count);
    for (struct list_place p = list_at(l, 0); p.node != NULL; p = list_next(p)) {
        dump_put_span(out, list_get(p, tmp));
    }
}

static void *load(const char *p, size_t len, size_t *used)
{
    struct dump_reader r = dump_reader(p, len);
    uint64_t fill = dump_get_u64(&r);
    uint64_t n = dump_get_count(&r, 1);
    struct list *l = list_new(fill <= FILL_MAX + 5 ? (int64_t)fill - 5 : FILL_DEFAULT);
    for (; n != 0 && !r.bad; n--) {
        struct span text = dump_get_span(&r);
        if (!r.bad) {
            list_push(l, LIST_TAIL, text);
        }
    }
    if (r.bad) {
        list_free(l);
        return NULL;
    }
    *used = (size_t)((const char *)r.p - p);
    return l;
}

static uint64_t digest(const void *o)
{
    uint64_t sum = 3;
    char tmp[NUM_I64_MAX];
    for (struct list_place p = list_at(o, 0); p.node != NULL; p = list_next(p)) {
        sum = digest_span(list_get(p, tmp), sum);
    }
    return sum;
}

const struct object_ops list_ops = {.name = "list",
                                    .encoding = encoding,
                                    .count = count,
                                    .memory = memory,
                                    .free_step = free_step,
                                    .copy = copy,
                                    .dump = dump,
                                    .load = load,
                                    .digest = digest};
