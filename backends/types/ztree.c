/* Order-statistics B+tree: see ztree.h.
 *
 * Invariants (ztree_check):
 *   1. pairs are strictly ascending over all leaves from first to last;
 *   2. an inner node's count[i] is the number of pairs below child[i], low[i] the smallest of them,
 * exactly;
 *   3. all leaves are at the same depth, `height` inner nodes below the root;
 *   4. no node but the root is empty; a node that falls below a quarter is merged with a neighbour
 * or filled from it.
 *
 * low[] is kept exact, not merely a separator, because it points to members: a separator left
 * behind by a removed member would dangle. Every change therefore ends with refreshing low[] along
 * its path, 2 or 3 nodes in practice.
 *
 * Splitting at either end of the whole order leaves the old leaf full: scores that only grow (time
 * stamps) are the most common pattern, and half-empty leaves would double the memory. */
#include "backends/types/ztree_node.h"
#include "common/must.h"

/* The way from the root to a leaf: at each level the inner node and which child was taken. */
struct path {
    struct ztree_inner *node[ZTREE_HEIGHT_MAX];
    uint32_t idx[ZTREE_HEIGHT_MAX];
};

/* First index whose pair is not below p. */
static uint32_t lower_bound(const struct zpair *e, uint32_t n, struct zpair p)
{
    uint32_t lo = 0;
    while (n > 0) {
        uint32_t half = n / 2;
        if (ztree_pair_cmp(e[lo + half], p) < 0) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return lo;
}

/* The child whose part of the order holds p: the last one that does not begin after p, or the
 * first. */
static uint32_t child_for(const struct ztree_inner *in, struct zpair p)
{
    uint32_t i = lower_bound(in->low, in->n, p);
    if (i < in->n && ztree_pair_cmp(in->low[i], p) == 0) {
        return i;
    }
    return i == 0 ? 0 : i - 1;
}

static struct ztree_leaf *descend(const struct ztree *t, struct zpair p, struct path *path)
{
    void *node = t->root;
    for (uint32_t level = 0; level < t->height; level++) {
        struct ztree_inner *in = node;
        uint32_t i = child_for(in, p);
        path->node[level] = in;
        path->idx[level] = i;
        node = in->child[i];
    }
    return node;
}

static struct ztree_leaf *leaf_new(struct ztree *t)
{
    struct ztree_leaf *l = mem_alloc(sizeof *l);
    l->n = 0;
    l->prev = l->next = NULL;
    t->leaf_count++;
    return l;
}

static struct ztree_inner *inner_new(struct ztree *t)
{
    struct ztree_inner *in = mem_alloc(sizeof *in);
    in->n = 0;
    t->inner_count++;
    return in;
}

static void inner_free(struct ztree *t, struct ztree_inner *in)
{
    mem_free(in);
    t->inner_count--;
}

static uint64_t inner_sum(const struct ztree_inner *in)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        sum += in->count[i];
    }
    return sum;
}

/* Makes room at idx, or closes the gap: n is the number of children moved. */
static void inner_shift(struct ztree_inner *in, uint32_t to, uint32_t from)
{
    uint32_t n = in->n - from;
    memmove(in->child + to, in->child + from, n * sizeof in->child[0]);
    memmove(in->count + to, in->count + from, n * sizeof in->count[0]);
    memmove(in->low + to, in->low + from, n * sizeof in->low[0]);
    in->n = in->n + to - from;
}

/* Copies n children of src from index s to dst at index d (different nodes). */
static void inner_copy(struct ztree_inner *dst, uint32_t d, const struct ztree_inner *src,
                       uint32_t s, uint32_t n)
{
    memcpy(dst->child + d, src->child + s, n * sizeof src->child[0]);
    memcpy(dst->count + d, src->count + s, n * sizeof src->count[0]);
    memcpy(dst->low + d, src->low + s, n * sizeof src->low[0]);
}

static void inner_set(struct ztree_inner *in, uint32_t i, void *child, uint64_t count,
                      struct zpair low)
{
    in->child[i] = child;
    in->count[i] = count;
    in->low[i] = low;
}

/* Sets the smallest pair of what hangs below the first `levels` nodes of the path, from the lowest
 * upwards. */
static void refresh_low(const struct path *path, uint32_t levels, struct zpair low)
{
    for (uint32_t level = levels; level-- > 0;) {
        path->node[level]->low[path->idx[level]] = low;
        if (path->idx[level] != 0) {
            return;
        }
    }
}

/* ---- insertion ---- */

/* Splits a full inner node before child `at`, so that one more fits at idx of it; gives the right
 * half. */
static struct ztree_inner *inner_split(struct ztree *t, struct ztree_inner *in, uint32_t idx)
{
    struct ztree_inner *right = inner_new(t);
    uint32_t at = idx == in->n ? in->n - 1 : in->n / 2;
    right->n = in->n - at;
    inner_copy(right, 0, in, at, right->n);
    in->n = at;
    return right;
}

static void grow_root(struct ztree *t, void *left, uint64_t left_count, struct zpair low)
{
    must(t->height < ZTREE_HEIGHT_MAX);
    struct ztree_inner *root = inner_new(t);
    root->n = 1;
    inner_set(root, 0, left, left_count, low);
    t->root = root;
    t->height++;
}

/* Puts `right`, split off the child on the path at `level`, behind it; splits upwards as needed.
 * Counts above `level` already include everything. */
static void add_child(struct ztree *t, struct path *path, uint32_t level, void *right,
                      uint64_t right_count, struct zpair right_low)
{
    for (;;) {
        struct ztree_inner *in = path->node[level];
        uint32_t i = path->idx[level];
        in->count[i] -= right_count;
        struct ztree_inner *split = NULL;
        struct ztree_inner *into = in;
        uint32_t at = i + 1;
        if (in->n == ZTREE_INNER_MAX) {
            split = inner_split(t, in, at);
            if (at > in->n) {
                into = split;
                at -= in->n;
            }
        }
        inner_shift(into, at + 1, at);
        inner_set(into, at, right, right_count, right_low);
        if (split == NULL) {
            return;
        }
        right = split;
        right_count = inner_sum(split);
        right_low = split->low[0];
        if (level == 0) {
            grow_root(t, in, inner_sum(in) + right_count, in->low[0]);
            path->node[0] = t->root;
            path->idx[0] = 0;
        } else {
            level--;
        }
    }
}

/* Splits a full leaf so that a pair fits at pos; gives the new right leaf. Either may be empty
 * until then. */
static struct ztree_leaf *leaf_split(struct ztree *t, struct ztree_leaf *l, uint32_t pos)
{
    uint32_t at = ZTREE_LEAF_MAX / 2;
    if (pos == ZTREE_LEAF_MAX && l->next == NULL) {
        at = ZTREE_LEAF_MAX;
    } else if (pos == 0 && l->prev == NULL) {
        at = 0;
    }
    struct ztree_leaf *right = leaf_new(t);
    right->n = l->n - at;
    memcpy(right->e, l->e + at, right->n * sizeof right->e[0]);
    l->n = at;
    right->prev = l;
    right->next = l->next;
    if (l->next != NULL) {
        l->next->prev = right;
    }
    l->next = right;
    return right;
}

static void leaf_put(struct ztree_leaf *l, uint32_t pos, struct zpair p)
{
    memmove(l->e + pos + 1, l->e + pos, (l->n - pos) * sizeof l->e[0]);
    l->e[pos] = p;
    l->n++;
}

void ztree_insert(struct ztree *t, struct zmember *m)
{
    struct zpair p = {m->score, m};
    if (t->root == NULL) {
        t->root = leaf_new(t);
    }
    struct path path;
    struct ztree_leaf *l = descend(t, p, &path);
    uint32_t pos = lower_bound(l->e, l->n, p);
    for (uint32_t level = 0; level < t->height; level++) {
        path.node[level]->count[path.idx[level]]++;
    }
    t->count++;
    if (l->n < ZTREE_LEAF_MAX) {
        leaf_put(l, pos, p);
        if (pos == 0) {
            refresh_low(&path, t->height, p);
        }
        return;
    }
    struct ztree_leaf *right = leaf_split(t, l, pos);
    if (pos < l->n || l->n == 0 || (pos == l->n && right->n != 0)) {
        leaf_put(l, pos, p);
    } else {
        leaf_put(right, pos - l->n, p);
    }
    if (pos == 0) {
        refresh_low(&path, t->height, p);
    }
    if (t->height == 0) {
        grow_root(t, l, t->count, l->e[0]);
        path.node[0] = t->root;
        path.idx[0] = 0;
    }
    add_child(t, &path, t->height - 1, right, right->n, right->e[0]);
}

/* ---- removal ---- */

static void leaf_merge(struct ztree *t, struct ztree_leaf *l, struct ztree_leaf *r)
{
    memcpy(l->e + l->n, r->e, r->n * sizeof r->e[0]);
    l->n += r->n;
    l->next = r->next;
    if (r->next != NULL) {
        r->next->prev = l;
    }
    mem_free(r);
    t->leaf_count--;
}

/* Evens out two neighbouring leaves. */
static void leaf_share(struct ztree_leaf *l, struct ztree_leaf *r)
{
    uint32_t half = (l->n + r->n) / 2;
    if (l->n < half) {
        uint32_t n = half - l->n;
        memcpy(l->e + l->n, r->e, n * sizeof l->e[0]);
        memmove(r->e, r->e + n, (r->n - n) * sizeof r->e[0]);
        r->n -= n;
    } else {
        uint32_t n = l->n - half;
        memmove(r->e + n, r->e, r->n * sizeof r->e[0]);
        memcpy(r->e, l->e + half, n * sizeof r->e[0]);
        r->n += n;
    }
    l->n = half;
}

static void inner_merge(struct ztree *t, struct ztree_inner *l, struct ztree_inner *r)
{
    inner_copy(l, l->n, r, 0, r->n);
    l->n += r->n;
    inner_free(t, r);
}

static void inner_share(struct ztree_inner *l, struct ztree_inner *r)
{
    uint32_t half = (l->n + r->n) / 2;
    if (l->n < half) {
        uint32_t n = half - l->n;
        inner_copy(l, l->n, r, 0, n);
        inner_shift(r, 0, n);
        l->n = half;
    } else {
        uint32_t n = l->n - half;
        inner_shift(r, n, 0);
        inner_copy(r, 0, l, half, n);
        l->n = half;
    }
}

/* Child i of in has become too small: merges it with a neighbour, or fills it from there. `leaves`:
 * in's children are leaves. An only child is left alone (its parent is merged next, or is the root
 * and goes). */
static void rebalance(struct ztree *t, struct ztree_inner *in, uint32_t i, bool leaves)
{
    if (in->n == 1) {
        return;
    }
    uint32_t a = i == 0 ? 0 : i - 1;
    uint32_t b = a + 1;
    uint64_t both = in->count[a] + in->count[b];
    if (leaves) {
        struct ztree_leaf *l = in->child[a];
        struct ztree_leaf *r = in->child[b];
        if (l->n + r->n <= ZTREE_LEAF_MAX - ZTREE_LEAF_MIN) {
            leaf_merge(t, l, r);
            in->count[a] = both;
            in->low[a] = l->e[0];
            inner_shift(in, b, b + 1);
            return;
        }
        leaf_share(l, r);
        in->count[a] = l->n;
        in->count[b] = r->n;
        in->low[a] = l->e[0];
        in->low[b] = r->e[0];
        return;
    }
    struct ztree_inner *l = in->child[a];
    struct ztree_inner *r = in->child[b];
    if (l->n + r->n <= ZTREE_INNER_MAX - ZTREE_INNER_MIN) {
        inner_merge(t, l, r);
        in->count[a] = both;
        in->low[a] = l->low[0];
        inner_shift(in, b, b + 1);
        return;
    }
    inner_share(l, r);
    in->count[a] = inner_sum(l);
    in->count[b] = both - in->count[a];
    in->low[a] = l->low[0];
    in->low[b] = r->low[0];
}

static void shrink_root(struct ztree *t)
{
    while (t->height > 0) {
        struct ztree_inner *root = t->root;
        if (root->n > 1) {
            return;
        }
        t->root = root->child[0];
        t->height--;
        inner_free(t, root);
    }
}

static uint32_t leaf_find(const struct ztree_leaf *l, struct zpair p)
{
    uint32_t pos = lower_bound(l->e, l->n, p);
    must(pos < l->n && l->e[pos].m == p.m);
    return pos;
}

void ztree_remove(struct ztree *t, const struct zmember *m)
{
    struct zpair p = {m->score, (struct zmember *)m};
    must(t->root != NULL);
    struct path path;
    struct ztree_leaf *l = descend(t, p, &path);
    uint32_t pos = leaf_find(l, p);
    memmove(l->e + pos, l->e + pos + 1, (l->n - pos - 1) * sizeof l->e[0]);
    l->n--;
    t->count--;
    for (uint32_t level = 0; level < t->height; level++) {
        path.node[level]->count[path.idx[level]]--;
    }
    if (pos == 0 && l->n != 0) {
        refresh_low(&path, t->height, l->e[0]);
    }
    bool small = l->n < ZTREE_LEAF_MIN;
    for (uint32_t level = t->height; small && level-- > 0;) {
        struct ztree_inner *in = path.node[level];
        uint32_t i = path.idx[level];
        rebalance(t, in, i, level == t->height - 1);
        refresh_low(&path, level, in->low[0]); /* may be another one now */
        small = in->n < ZTREE_INNER_MIN;
    }
    shrink_root(t);
    if (t->count == 0) {
        mem_free(t->root);
        *t = (struct ztree){0};
    }
}

void ztree_rescore(struct ztree *t, struct zmember *m, double score)
{
    struct path path;
    struct zpair old = {m->score, m};
    struct ztree_leaf *l = descend(t, old, &path);
    uint32_t pos = leaf_find(l, old);
    struct zpair now = {score, m};
    if (pos > 0 && pos + 1 < l->n && ztree_pair_cmp(l->e[pos - 1], now) < 0 &&
        ztree_pair_cmp(now, l->e[pos + 1]) < 0) {
        l->e[pos].score = score;
        m->score = score;
        return;
    }
    ztree_remove(t, m);
    m->score = score;
    ztree_insert(t, m);
}

/* ---- reading ---- */

uint64_t ztree_rank(const struct ztree *t, const struct zmember *m)
{
    struct zpair p = {m->score, (struct zmember *)m};
    if (t->root == NULL) {
        return 0;
    }
    uint64_t rank = 0;
    struct path path;
    struct ztree_leaf *l = descend(t, p, &path);
    for (uint32_t level = 0; level < t->height; level++) {
        for (uint32_t i = 0; i < path.idx[level]; i++) {
            rank += path.node[level]->count[i];
        }
    }
    return rank + lower_bound(l->e, l->n, p);
}

static uint32_t count_before(const struct zpair *e, uint32_t n, zbefore_fn before, const void *arg)
{
    uint32_t lo = 0;
    while (n > 0) {
        uint32_t half = n / 2;
        if (before(arg, e[lo + half].score, zmember_span(e[lo + half].m))) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return lo;
}

uint64_t ztree_count_before(const struct ztree *t, zbefore_fn before, const void *arg)
{
    if (t->root == NULL) {
        return 0;
    }
    uint64_t rank = 0;
    void *node = t->root;
    for (uint32_t level = 0; level < t->height; level++) {
        struct ztree_inner *in = node;
        uint32_t i = count_before(in->low, in->n, before, arg);
        if (i == 0) {
            return rank; /* not even the smallest of this part is before the bound */
        }
        for (uint32_t k = 0; k + 1 < i; k++) {
            rank += in->count[k];
        }
        node = in->child[i - 1];
    }
    struct ztree_leaf *l = node;
    return rank + count_before(l->e, l->n, before, arg);
}

struct ztree_pos ztree_at(const struct ztree *t, uint64_t rank)
{
    if (rank >= t->count) {
        return (struct ztree_pos){NULL, 0};
    }
    void *node = t->root;
    for (uint32_t level = 0; level < t->height; level++) {
        struct ztree_inner *in = node;
        uint32_t i = 0;
        while (rank >= in->count[i]) {
            rank -= in->count[i++];
        }
        node = in->child[i];
    }
    return (struct ztree_pos){node, (uint32_t)rank};
}

struct zpair ztree_pair(struct ztree_pos p)
{
    return p.leaf->e[p.idx];
}

struct ztree_pos ztree_next(struct ztree_pos p)
{
    if (p.idx + 1 < p.leaf->n) {
        return (struct ztree_pos){p.leaf, p.idx + 1};
    }
    return (struct ztree_pos){p.leaf->next, 0};
}

struct ztree_pos ztree_prev(struct ztree_pos p)
{
    if (p.idx > 0) {
        return (struct ztree_pos){p.leaf, p.idx - 1};
    }
    struct ztree_leaf *l = p.leaf->prev;
    return (struct ztree_pos){l, l == NULL ? 0 : l->n - 1};
}

size_t ztree_memory(const struct ztree *t)
{
    return t->leaf_count * mem_good_size(sizeof(struct ztree_leaf)) +
           t->inner_count * mem_good_size(sizeof(struct ztree_inner));
}

bool ztree_free_leaf(struct ztree *t, void (*fn)(void *arg, struct zmember *m), void *arg)
{
    if (t->root == NULL) {
        return false;
    }
    struct ztree_inner *parent = NULL;
    void *node = t->root;
    uint32_t level = 0;
    for (; level < t->height; level++) {
        struct ztree_inner *in = node;
        if (in->n == 0) {
            break; /* all its children are gone already */
        }
        parent = in;
        node = in->child[in->n - 1];
    }
    if (level == t->height) {
        struct ztree_leaf *l = node;
        for (uint32_t i = 0; i < l->n; i++) {
            fn(arg, l->e[i].m);
        }
    }
    mem_free(node);
    if (parent != NULL) {
        parent->n--;
        return true;
    }
    *t = (struct ztree){0};
    return false;
}
