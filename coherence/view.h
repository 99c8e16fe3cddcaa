#ifndef COHERENCE_VIEW_H
#define COHERENCE_VIEW_H

#include <stdbool.h>
#include <stdint.h>

/* A view: epoch, members and learners of one group (a shard, or all proxies), each named by its
 * incarnation id, which is never given again. And the lease: the right to answer from local state.
 * Plain values: copy them.
 *
 * Sets of nodes are bit masks over positions in ids[]; a mask means nothing outside the view it was
 * made in. */
#define VIEW_NODES_MAX 16

struct view {
    uint64_t epoch;               /* 0: no view yet */
    uint8_t members, learners;    /* members + learners <= VIEW_NODES_MAX */
    uint32_t ids[VIEW_NODES_MAX]; /* members in ascending order, then learners in ascending order */
};

/* One atomic pair (rule H9): worth something only to a worker that has installed exactly this
 * epoch. */
struct lease {
    uint64_t epoch;
    uint64_t until_ns; /* CLOCK_BOOTTIME of this machine */
};

/* True if the counts fit, epoch and ids are not 0, ids are at most TS_ID_MAX, each list ascends,
 * and no id is in both. */
bool view_ok(const struct view *v);
/* Position of id, or -1. */
int view_index(const struct view *v, uint32_t id);
bool view_is_member(const struct view *v, uint32_t id);
bool view_is_learner(const struct view *v, uint32_t id);
/* Builds a view from two unordered lists; false (v untouched) if the result would not be view_ok.
 */
bool view_make(struct view *v, uint64_t epoch, const uint32_t *members, unsigned member_count,
               const uint32_t *learners, unsigned learner_count);

static inline unsigned view_count(const struct view *v)
{
    return (unsigned)v->members + v->learners;
}

/* Everybody in the view. */
static inline uint32_t view_mask(const struct view *v)
{
    return (UINT32_C(1) << view_count(v)) - 1;
}

/* now_ns: read after the request's bytes were received, never a time kept from earlier (H9,
 * RELIABILITY L1-L3). */
static inline bool lease_valid(const struct lease *l, const struct view *v, uint64_t now_ns)
{
    return v->epoch != 0 && l->epoch == v->epoch && now_ns < l->until_ns;
}

#endif
