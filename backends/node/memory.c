/* A worker's memory: the budget and eviction, the search for expired keys, and freeing in slices.
 *
 * All of it is done in slices of well under a millisecond, so that the worker is never away from
 * its clients for long; what is left is taken up again a millisecond or two later. */
#include "backends/node/node.h"
#include "backends/node/replica.h"

#include "common/clock.h"
#include "common/mem.h"

#define SLICE_NS 500000u /* one step of background work */
#define SOON_US                                                                                    \
    2000u /* pause between two such steps while there is more: at most a fifth of the time */
#define EVICT_NS 500000u   /* eviction in front of one command */
#define LAZY_ELEMENTS 512u /* between two looks at the clock */
#define EXPIRE_SAMPLES 20u /* per effort, as Redis' active cycle */
#define EXPIRE_MAX 64u
#define EVICTIONS_PER_LOOK 8u

static bool over_budget(const struct node_worker *nw)
{
    int64_t used = mem_thread_used();
    return nw->memory_max != 0 && used > 0 && (uint64_t)used > nw->memory_max;
}

/* ---- eviction ---- */

/* False: nothing can go. With replicas the entry goes later, when they know. */
static bool evict_one(struct node_worker *nw)
{
    struct entry *e = store_evict_candidate(nw->store, nw->policy, nw->now_ms, &nw->rng);
    if (e == NULL) {
        return false;
    }
    nw->stats.evicted_keys++;
    if (nw->replica != NULL) {
        replica_evict(nw, e);
    } else {
        store_delete(nw->store, e);
    }
    return true;
}

/* Evicts until there is room, nothing can go (false), or the time is over (true: a command may
 * pass, the rest is done soon). */
static bool evict(struct node_worker *nw, uint64_t budget_ns)
{
    uint64_t end_ns = clk_mono_ns() + budget_ns;
    for (unsigned i = 0; over_budget(nw); i++) {
        if (store_lazy_pending(nw->store) != 0) {
            store_lazy_step(nw->store, LAZY_ELEMENTS);
        } else if (!evict_one(nw)) {
            return false;
        } else if (nw->replica != NULL && i >= EVICTIONS_PER_LOOK) {
            node_cron_hurry(nw);
            return true;
        }
        if (i % EVICTIONS_PER_LOOK == EVICTIONS_PER_LOOK - 1 && clk_mono_ns() > end_ns) {
            node_cron_hurry(nw);
            return true;
        }
    }
    return true;
}

bool node_make_room(struct node_worker *nw)
{
    return !over_budget(nw) || evict(nw, EVICT_NS);
}

/* ---- expiry ---- */

/* True if it pays to go on at once. */
static bool expire_some(struct node_worker *nw, unsigned effort)
{
    struct entry *found[EXPIRE_MAX];
    size_t samples = EXPIRE_SAMPLES * effort < EXPIRE_MAX ? EXPIRE_SAMPLES * effort : EXPIRE_MAX;
    bool worth = false;
    size_t n = store_sample_expired(nw->store, nw->now_ms, samples, found, EXPIRE_MAX, &worth);
    if (nw->replica != NULL) {
        /* One operation may delete the entry of another in `found`: keys are looked up again. */
        replica_expire_all(nw, found, n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        store_delete(nw->store, found[i]);
    }
    nw->stats.expired_keys += n;
    return worth && n != 0;
}

/* ---- the timer ---- */

static const struct node_settings *settings_of(const struct node_worker *nw)
{
    return nw->w->settings;
}

static void cron_in(struct node_worker *nw, bool soon)
{
    nw->cron_soon = soon;
    loop_timer_start(nw->cron, soon ? SOON_US : 1000000u / (uint64_t)settings_of(nw)->hz);
}

static void on_cron(void *arg)
{
    struct node_worker *nw = arg;
    unsigned effort = (unsigned)settings_of(nw)->expire_effort;
    uint64_t end_ns = clk_mono_ns() + SLICE_NS * (uint64_t)effort;
    nw->now_ms = clk_wall_ms();
    bool more = false;
    if (nw->replica != NULL) {
        replica_cron(nw);
    }
    node_metrics_publish(nw);
    do {
        more = expire_some(nw, effort);
    } while (more && clk_mono_ns() < end_ns);
    end_ns = clk_mono_ns() + SLICE_NS;
    while (store_lazy_step(nw->store, LAZY_ELEMENTS)) {
        nw->count[NODE_LAZY_STEPS]++;
        if (clk_mono_ns() > end_ns) {
            more = true;
            break;
        }
    }
    if (over_budget(nw) && nw->policy != EVICT_NOEVICTION) {
        more = (evict(nw, SLICE_NS) && over_budget(nw)) || more;
    }
    cron_in(nw, more);
}

void node_cron_start(struct node_worker *nw)
{
    nw->cron = loop_timer_new(nw->w->loop, on_cron, nw);
    cron_in(nw, false);
}

void node_cron_stop(struct node_worker *nw)
{
    loop_timer_free(nw->cron);
    nw->cron = NULL;
}

void node_cron_hurry(struct node_worker *nw)
{
    if (!nw->cron_soon) {
        cron_in(nw, true);
    }
}
