/* What is worth caching (G14), from counts merged over all proxies.
 *
 * A hot read saves the two messages of a forwarded one; a hot write costs an invalidation, its
 * acknowledgement and DONE for each other proxy, on top of the write itself. So the score of a key
 * in an epoch is 2 reads - 3 (P - 1) writes, and it breaks even at a write share of 2 / (2 + 3 (P -
 * 1)). Promoted below half of that; demoted above it for two epochs, at once above twice; a full
 * set takes a candidate only for a key of less than half its score. So what is near the edge stays
 * where it is. */
#include "coherence/hotset_int.h"

#define CANDIDATES_MAX 512u /* promoted in one epoch at most */
#define STRIKES 2u          /* epochs above the break-even before demotion */
/* Epochs with hardly a read before demotion. Counts are samples: a key of a few reads per second is
 * missing in most epochs, and to promote it again costs more than to keep it. */
#define COLD_STRIKES 8u

int64_t hotset_score(uint64_t reads, uint64_t writes, unsigned proxies)
{
    const uint64_t most = UINT64_C(1) << 48;
    uint64_t r = reads < most ? reads : most;
    uint64_t w = writes < most ? writes : most;
    return (int64_t)(2 * r) - (int64_t)(3 * (uint64_t)(proxies == 0 ? 0 : proxies - 1) * w);
}

uint32_t hotset_break_even_ppm(unsigned proxies)
{
    unsigned others = proxies == 0 ? 0 : proxies - 1;
    return 2000000u / (2 + 3 * others);
}

static uint64_t share_ppm(const struct hot_key *k)
{
    uint64_t all = k->reads + k->writes;
    if (all == 0) {
        return 0;
    }
    return k->writes < UINT64_MAX / 1000000 ? k->writes * 1000000 / all : 1000000;
}

static int64_t score(const struct hotset *h, const struct hot_key *k)
{
    return hotset_score(k->reads, k->writes, h->view.members);
}

enum err hot_on_count(struct hotset *h, const struct hotset_count *c)
{
    if (!h->acts) {
        return OK;
    }
    struct hot_key *k = hot_find(h, &c->key);
    if (k == NULL && c->denied) {
        return OK;
    }
    k = hot_get(h, &c->key);
    if (k == NULL) {
        return ERR_BUSY;
    }
    k->reads = c->reads;
    k->writes = c->writes;
    k->denied = c->denied;
    k->pinned = c->pinned;
    k->counted = true;
    return OK;
}

enum err hot_on_want(struct hotset *h, const struct hermes_key *key, enum hotset_want want)
{
    if (!h->acts) {
        return OK;
    }
    struct hot_key *k = hot_get(h, key);
    if (k == NULL) {
        return ERR_BUSY;
    }
    k->pinned = want == HOTSET_WANT_PIN || (k->pinned && want == HOTSET_WANT_HOT);
    if (want == HOTSET_WANT_COLD) {
        if (hot_in(k)) {
            hot_demote(h, k, 0, h->limits.cool_ns);
        } else if (k->state == HOT_COUNTED) {
            hot_forget(h, k);
        }
        return OK;
    }
    if (k->state == HOT_COOLING) {
        hot_mark(h, HOTSET_MARK_COOLING_REFUSED, k, 0, 0);
    } else if (k->state == HOT_COUNTED && h->on && hot_count(h) < h->limits.keys) {
        hot_promote(h, k);
    } else if (k->state == HOT_COUNTED) {
        hot_mark(h, HOTSET_MARK_FULL, k, 0, 0);
        hot_forget(h, k);
        return ERR_BUSY;
    }
    return OK;
}

/* ---- the end of an epoch of counting ---- */

static void judge_hot(struct hotset *h, struct hot_key *k)
{
    if (k->pinned || k->state != HOT_HOT) {
        return;
    }
    uint64_t share = share_ppm(k);
    uint64_t even = hotset_break_even_ppm(h->view.members);
    bool cold = k->reads < (h->limits.reads_min + 3) / 4;
    k->strikes = share > even ? (uint8_t)(k->strikes + 1) : 0;
    k->cold_strikes = cold ? (uint8_t)(k->cold_strikes + 1) : 0;
    bool at_once = k->denied || (share > 2 * even && k->reads + k->writes >= h->limits.reads_min);
    if (at_once) {
        hot_mark(h, HOTSET_MARK_COUNT_DEMOTES_AT_ONCE, k, k->reads, k->writes);
        hot_demote(h, k, 0, 0);
    } else if (k->strikes >= STRIKES || k->cold_strikes >= COLD_STRIKES) {
        hot_mark(h, HOTSET_MARK_COUNT_DEMOTES, k, k->reads, k->writes);
        hot_demote(h, k, 0, 0);
    }
}

static bool worth_it(const struct hotset *h, const struct hot_key *k)
{
    if (k->state != HOT_COUNTED || k->denied) {
        return false;
    }
    return k->pinned || (k->reads >= h->limits.reads_min &&
                         share_ppm(k) * 2 < hotset_break_even_ppm(h->view.members));
}

/* The best ones first. */
static void insert(const struct hotset *h, struct hot_key **best, unsigned *n, struct hot_key *k)
{
    unsigned at = *n < CANDIDATES_MAX ? (*n)++ : CANDIDATES_MAX;
    if (at == CANDIDATES_MAX) {
        if (score(h, k) <= score(h, best[at - 1])) {
            return;
        }
        at--;
    }
    int64_t own = score(h, k);
    for (; at > 0 && score(h, best[at - 1]) < own; at--) {
        best[at] = best[at - 1];
    }
    best[at] = k;
}

static struct hot_key *weakest(struct hotset *h)
{
    struct hot_key *weak = NULL;
    for (uint32_t i = 0; i < h->keys.capacity; i++) {
        struct hot_key *k = &h->records[i];
        if (h->keys.slots[i].used && k->state == HOT_HOT && !k->pinned &&
            (weak == NULL || score(h, k) < score(h, weak))) {
            weak = k;
        }
    }
    return weak;
}

void hot_on_epoch(struct hotset *h)
{
    if (!h->acts || !h->on) {
        return;
    }
    struct hot_key *best[CANDIDATES_MAX];
    unsigned n = 0;
    for (uint32_t i = 0; i < h->keys.capacity && hot_room(h, 32); i++) {
        struct hot_key *k = &h->records[i];
        if (!h->keys.slots[i].used) {
            continue;
        }
        if (!k->counted) {
            k->reads = 0;
            k->writes = 0;
        }
        k->counted = false;
        judge_hot(h, k);
        if (worth_it(h, k)) {
            insert(h, best, &n, k);
        } else if (k->state == HOT_COUNTED) {
            hot_forget(h, k);
        }
    }
    unsigned replaced = 0;
    for (unsigned i = 0; i < n; i++) {
        if (hot_count(h) < h->limits.keys) {
            hot_mark(h, HOTSET_MARK_COUNT_PROMOTES, best[i], best[i]->reads, best[i]->writes);
            hot_promote(h, best[i]);
            continue;
        }
        struct hot_key *weak = replaced < 8 && hot_room(h, 16) ? weakest(h) : NULL;
        if (weak != NULL && score(h, best[i]) > 2 * score(h, weak)) { /* its turn is next epoch */
            hot_mark(h, HOTSET_MARK_COUNT_REPLACES, weak, best[i]->reads, weak->reads);
            hot_demote(h, weak, 0, 0);
            replaced++;
        } else {
            hot_forget(h, best[i]);
        }
    }
}
