#ifndef BACKENDS_TYPES_ZTREE_NODE_H
#define BACKENDS_TYPES_ZTREE_NODE_H

#include "backends/types/ztree.h"

/* Nodes of the tree: for ztree.c and its checker only. */
#define ZTREE_LEAF_MAX 62
#define ZTREE_LEAF_MIN (ZTREE_LEAF_MAX / 4)
#define ZTREE_INNER_MAX 63
#define ZTREE_INNER_MIN (ZTREE_INNER_MAX / 4)
#define ZTREE_HEIGHT_MAX 15 /* ZTREE_INNER_MIN to this power exceeds any count */

struct ztree_leaf {
    uint32_t n;
    struct ztree_leaf *prev, *next;
    struct zpair e[ZTREE_LEAF_MAX];
};

struct ztree_inner {
    uint32_t n;
    void *child[ZTREE_INNER_MAX];
    uint64_t count[ZTREE_INNER_MAX];
    struct zpair low[ZTREE_INNER_MAX];
};

static inline int ztree_pair_cmp(struct zpair a, struct zpair b)
{
    if (a.score != b.score) {
        return a.score < b.score ? -1 : 1;
    }
    return a.m == b.m ? 0 : zmember_cmp(zmember_span(a.m), zmember_span(b.m));
}

#endif
