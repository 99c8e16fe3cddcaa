#ifndef BACKENDS_TYPES_ZTREE_H
#define BACKENDS_TYPES_ZTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/types/zmember.h"

/* Order-statistics B+tree of (score, member), ordered by score, then by the member's bytes.
 *
 * Leaves hold up to 62 pairs and are linked both ways; inner nodes hold for each of up to 63
 * children its number of pairs and its smallest pair. Rank, position and change cost O(log n).
 * Members are borrowed: the tree never allocates nor frees one. Zero-initialise before first use.
 */
struct zpair {
    double score;
    struct zmember *m;
};

struct ztree {
    void *root; /* NULL: empty; a leaf if height is 0, else an inner node */
    uint64_t count;
    uint32_t height;
    uint32_t leaf_count; /* for ztree_memory */
    uint32_t inner_count;
};

/* A place in the tree; valid until the tree changes. leaf NULL: past either end. */
struct ztree_pos {
    struct ztree_leaf *leaf;
    uint32_t idx;
};

/* True for pairs before a bound. Must be monotone: true for a first part of the order, false for
 * the rest. */
typedef bool (*zbefore_fn)(const void *arg, double score, struct span member);

/* Adds (m->score, m), which must not be there. */
void ztree_insert(struct ztree *t, struct zmember *m);
/* Removes (m->score, m), which must be there. */
void ztree_remove(struct ztree *t, const struct zmember *m);
/* Gives m, which must be there, another score (m->score is set too). */
void ztree_rescore(struct ztree *t, struct zmember *m, double score);

/* Number of pairs before (m->score, m). */
uint64_t ztree_rank(const struct ztree *t, const struct zmember *m);
/* Number of pairs for which before is true. */
uint64_t ztree_count_before(const struct ztree *t, zbefore_fn before, const void *arg);

/* The pair of this rank (0: the smallest); past the end if rank >= count. */
struct ztree_pos ztree_at(const struct ztree *t, uint64_t rank);
struct zpair ztree_pair(struct ztree_pos p);
struct ztree_pos ztree_next(struct ztree_pos p);
struct ztree_pos ztree_prev(struct ztree_pos p);

size_t ztree_memory(const struct ztree *t); /* nodes only, without members */

/* Destroys a part: frees the last leaf, after giving its members to fn. Cost: O(one leaf). The tree
 * is only good for more of these afterwards. Returns false when nothing is left. */
bool ztree_free_leaf(struct ztree *t, void (*fn)(void *arg, struct zmember *m), void *arg);

/* Tests: checks order, counts, smallest pairs, links and fill; returns false if something is wrong.
 */
bool ztree_check(const struct ztree *t);

#endif
