/* Views as sorted lists of incarnation ids. */
#include "coherence/view.h"

#include "coherence/ts.h"

static bool ascending(const uint32_t *ids, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (ids[i] == 0 || ids[i] > TS_ID_MAX || (i > 0 && ids[i - 1] >= ids[i])) {
            return false;
        }
    }
    return true;
}

bool view_ok(const struct view *v)
{
    if (v->epoch == 0 || view_count(v) > VIEW_NODES_MAX || v->members == 0 ||
        !ascending(v->ids, v->members) || !ascending(v->ids + v->members, v->learners)) {
        return false;
    }
    for (unsigned i = 0; i < v->members; i++) {
        for (unsigned j = v->members; j < view_count(v); j++) {
            if (v->ids[i] == v->ids[j]) {
                return false;
            }
        }
    }
    return true;
}

int view_index(const struct view *v, uint32_t id)
{
    for (unsigned i = 0; i < view_count(v); i++) {
        if (v->ids[i] == id) {
            return (int)i;
        }
    }
    return -1;
}

bool view_is_member(const struct view *v, uint32_t id)
{
    int i = view_index(v, id);
    return i >= 0 && i < v->members;
}

bool view_is_learner(const struct view *v, uint32_t id)
{
    return view_index(v, id) >= v->members;
}

static void insert_sorted(uint32_t *ids, const uint32_t *from, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned at = i;
        for (; at > 0 && ids[at - 1] > from[i]; at--) {
            ids[at] = ids[at - 1];
        }
        ids[at] = from[i];
    }
}

bool view_make(struct view *v, uint64_t epoch, const uint32_t *members, unsigned member_count,
               const uint32_t *learners, unsigned learner_count)
{
    if (member_count > VIEW_NODES_MAX || learner_count > VIEW_NODES_MAX - member_count) {
        return false;
    }
    struct view made = {
        .epoch = epoch, .members = (uint8_t)member_count, .learners = (uint8_t)learner_count};
    insert_sorted(made.ids, members, member_count);
    insert_sorted(made.ids + member_count, learners, learner_count);
    if (!view_ok(&made)) {
        return false;
    }
    *v = made;
    return true;
}
