/* Checks the invariants of ztree.c; for tests. */
#include "backends/types/ztree_node.h"

struct check {
    uint64_t seen;
    struct zpair last;
    const struct ztree_leaf *prev;
};

static bool check_leaf(const struct ztree_leaf *l, bool root, struct check *c)
{
    if (l->n > ZTREE_LEAF_MAX || (l->n == 0 && !root) || l->prev != c->prev) {
        return false;
    }
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->e[i].score != l->e[i].m->score ||
            (c->seen != 0 && ztree_pair_cmp(c->last, l->e[i]) >= 0)) {
            return false;
        }
        c->last = l->e[i];
        c->seen++;
    }
    c->prev = l;
    return true;
}

/* Depth is bounded by ZTREE_HEIGHT_MAX. */
static bool check_node(const void *node, uint32_t level, bool root, struct check *c)
{
    if (level == 0) {
        return check_leaf(node, root, c);
    }
    const struct ztree_inner *in = node;
    if (in->n == 0 || in->n > ZTREE_INNER_MAX || (root && in->n < 2)) {
        return false;
    }
    for (uint32_t i = 0; i < in->n; i++) {
        uint64_t before = c->seen;
        if (!check_node(in->child[i], level - 1, false, c) || c->seen - before != in->count[i]) {
            return false;
        }
        const void *low = in->child[i];
        for (uint32_t k = level - 1; k > 0; k--) {
            low = ((const struct ztree_inner *)low)->child[0];
        }
        if (((const struct ztree_leaf *)low)->e[0].m != in->low[i].m ||
            in->low[i].score != in->low[i].m->score) {
            return false;
        }
    }
    return true;
}

bool ztree_check(const struct ztree *t)
{
    if (t->root == NULL) {
        return t->count == 0 && t->height == 0 && t->leaf_count == 0 && t->inner_count == 0;
    }
    struct check c = {0};
    return check_node(t->root, t->height, true, &c) && c.seen == t->count && c.prev->next == NULL;
}
