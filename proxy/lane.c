/* Lanes: which replica is asked, sticking to it, and going to the next one in order.
 *
 *     free --(send)--> under way --(all answered)--> free
 *                         |
 *                         +--(one was not executed)--> waits for the rest --> sent again
 *                                                        ^                        |
 *                                                        +--(pause)<--(no one left to ask)
 *
 * A write never enters a link of reads: such a link is broken when it stands still, which must not
 * cost a write its outcome (H13). A client that mixes both in one pipeline uses the other link for
 * everything, for a while. A replica that refused a request lately is asked only if no other is
 * better, and then with one request first (lane_again.c, invariant 3). */
#include "proxy/lane.h"

#include "common/mem.h"
#include "proxy/lane_private.h"

#define MIXED_READS 256 /* after a write behind reads, so many go where writes go */
#define REFUSES_NS 100000000u
#define RANK_COUNT ((unsigned)SHARD_AWAY + 1)

/* ---- the client's lanes ---- */

static struct lanes *lanes_new(struct client *c)
{
    struct proxy_worker *pw = c->pw;
    unsigned n = pw->route->partitions;
    struct lanes *all = mem_zalloc(sizeof *all + n * sizeof all->lane[0]);
    all->pw = pw;
    all->refs = 1;
    all->home = pw->next_home++;
    for (unsigned p = 0; p < n; p++) {
        all->lane[p].all = all;
        all->lane[p].partition = (uint16_t)p;
    }
    all->next = pw->lanes;
    if (all->next != NULL) {
        all->next->prev = all;
    }
    pw->lanes = all;
    c->lanes = all;
    return all;
}

static void lanes_free(struct lanes *all)
{
    struct proxy_worker *pw = all->pw;
    if (all->prev != NULL) {
        all->prev->next = all->next;
    } else {
        pw->lanes = all->next;
    }
    if (all->next != NULL) {
        all->next->prev = all->prev;
    }
    mem_free(all);
}

void lanes_drop(struct lanes *all)
{
    if (--all->refs == 0) {
        lanes_free(all);
    }
}

void lanes_close(struct client *c)
{
    if (c->lanes != NULL) {
        lanes_drop(c->lanes);
        c->lanes = NULL;
    }
}

/* ---- choosing ---- */

/* NULL: there is no replica at this place. */
static struct shard_link *link_on(const struct lane *lane, unsigned replica, unsigned channel)
{
    const struct proxy_worker *pw = lane->all->pw;
    unsigned endpoint = route_replica(pw->route, lane->partition, replica);
    return __builtin_expect(endpoint == ROUTE_HOLE, 0)
               ? NULL
               : shard_link_on(pw->pool, endpoint, lane->proto, (enum shard_channel)channel);
}

struct shard_link *lane_link(const struct lane *lane, unsigned replica)
{
    return link_on(lane, replica, lane->channel);
}

/* When the replica refused a request last; 0 if it has served one since. */
static uint64_t *refused_at(const struct lane *lane, unsigned replica)
{
    const struct proxy_worker *pw = lane->all->pw;
    return &pw->route->partition[lane->partition].refused_ns[replica];
}

void lane_refused(const struct lane *lane)
{
    *refused_at(lane, lane->replica) = shard_now_get(lane->all->pw->pool);
}

void lane_served(struct lane *lane)
{
    *refused_at(lane, lane->replica) = 0;
    lane->proven = true;
    lane->probe = false;
}

static bool refuses(const struct lane *lane, unsigned replica)
{
    uint64_t at = *refused_at(lane, replica);
    return at != 0 && shard_now_get(lane->all->pw->pool) < at + REFUSES_NS;
}

static enum shard_health health(const struct lane *lane, unsigned replica)
{
    const struct shard_link *l = lane_link(lane, replica);
    if (__builtin_expect(l == NULL, 0)) {
        return SHARD_AWAY;
    }
    enum shard_health h = shard_health(l);
    if (h != SHARD_GOOD) {
        return h;
    }
    /* a replica that does not answer reads any more will not answer writes either */
    bool still = lane->channel == SHARD_ANY &&
                 shard_health(link_on(lane, replica, SHARD_READS)) != SHARD_GOOD;
    return still || refuses(lane, replica) ? SHARD_SLOW : SHARD_GOOD;
}

int lane_choose(const struct lane *lane, uint64_t prefer, unsigned not, bool *reachable)
{
    const struct route_partition *p = &lane->all->pw->route->partition[lane->partition];
    unsigned n = p->live;
    *reachable = n != 0;
    if (__builtin_expect(n == 0, 0)) {
        return -1;
    }
    unsigned first = p->order[prefer % n];
    if ((not >> first & 1u) == 0 && __builtin_expect(health(lane, first) == SHARD_GOOD, 1)) {
        return (int)first;
    }
    unsigned at[RANK_COUNT] = {0}; /* bits by state */
    for (unsigned i = 0; i < n; i++) {
        at[health(lane, p->order[i])] |= 1u << p->order[i];
    }
    *reachable = (at[SHARD_GOOD] | at[SHARD_SLOW] | at[SHARD_COMING]) != 0;
    bool connected = (at[SHARD_GOOD] | at[SHARD_SLOW]) != 0;
    for (unsigned rank = SHARD_GOOD; rank <= (connected ? SHARD_SLOW : SHARD_COMING); rank++) {
        unsigned set = at[rank] & ~not ;
        if ((set >> first & 1u) != 0) {
            return (int)first;
        }
        if (set == 0) {
            continue;
        }
        unsigned skip = (unsigned)(prefer / n % (unsigned)__builtin_popcount(set));
        while (skip-- != 0) {
            set &= set - 1;
        }
        return __builtin_ctz(set);
    }
    return -1;
}

uint64_t lane_preference(const struct lane *lane, bool by_slot, unsigned slot)
{
    return by_slot ? slot / lane->all->pw->route->map->workers : lane->all->home + lane->partition;
}

static bool set_target(struct target *t, struct lane *lane, unsigned replica)
{
    lane->replica = (uint8_t)replica;
    t->l = lane_link(lane, replica);
    t->why = t->l != NULL ? shard_down(t->l) : LANE_NOBODY;
    return t->why == NULL && !shard_full(t->l);
}

/* True: the lane is under way, or may not be used now; *ok is the answer to the caller. */
static bool bound(struct client *c, struct lane *lane, unsigned how, struct target *t, bool *ok)
{
    *ok = false;
    if (lane->first == NULL && lane->open == 0) {
        return false;
    }
    bool write = (how & TARGET_WRITE) != 0;
    if (write) {
        c->lanes->mixed = MIXED_READS;
    }
    if (lane->first == NULL && !lane->probe && lane->proto == c->s.c.proto &&
        !(write && lane->channel == SHARD_READS)) {
        *ok = set_target(t, lane, lane->replica);
    }
    return true;
}

struct lane *lane_for(struct client *c, unsigned partition)
{
    struct lanes *all = c->lanes != NULL ? c->lanes : lanes_new(c);
    return &all->lane[partition];
}

static struct lane *lane_of(struct client *c, unsigned partition, unsigned slot, unsigned how,
                            struct target *t)
{
    struct lanes *all = c->lanes != NULL ? c->lanes : lanes_new(c);
    t->l = NULL;
    t->why = NULL;
    t->lane = &all->lane[partition];
    t->slot = (uint16_t)((how & TARGET_MANY) != 0 ? SLOT_MANY : slot);
    return t->lane;
}

bool lane_target(struct client *c, unsigned partition, unsigned slot, unsigned how,
                 struct target *t)
{
    struct lane *lane = lane_of(c, partition, slot, how, t);
    bool ok;
    if (bound(c, lane, how, t, &ok)) {
        return ok;
    }
    bool waits = (how & (TARGET_WRITE | TARGET_LONG)) != 0;
    lane->proto = c->s.c.proto;
    lane->channel = waits || c->lanes->mixed != 0 ? SHARD_ANY : SHARD_READS;
    if (!waits && c->lanes->mixed != 0) {
        c->lanes->mixed--;
    }
    bool reachable;
    uint64_t prefer = lane_preference(lane, (how & (TARGET_WRITE | TARGET_PLACED)) != 0, slot);
    int r = lane_choose(lane, prefer, 0, &reachable);
    lane->proven = false;
    lane->probe = r >= 0 && refuses(lane, (unsigned)r);
    return set_target(t, lane, r < 0 ? 0 : (unsigned)r);
}

bool lane_target_replica(struct client *c, unsigned partition, unsigned tag, struct target *t,
                         bool *away)
{
    int replica = route_tagged(c->pw->route, partition, tag);
    struct lane *lane = lane_of(c, partition, 0, TARGET_MANY, t);
    *away = false;
    bool ok;
    if (bound(c, lane, TARGET_READ, t, &ok)) {
        if (lane->replica == replica && replica >= 0) {
            return ok;
        }
        t->l = NULL; /* when the lane is free it may go there */
        return false;
    }
    lane->proto = c->s.c.proto;
    lane->channel = SHARD_ANY;
    *away = replica < 0 || health(lane, (unsigned)replica) > SHARD_SLOW;
    if (*away) {
        return false;
    }
    lane->proven = lane->probe = false;
    return set_target(t, lane, (unsigned)replica);
}

enum taken target_refused(struct client *c, const struct admitted *a, int argc,
                          const struct target *t)
{
    if (t->why != NULL) {
        return answer_down(c, a, argc, t->why);
    }
    if (t->l != NULL) {
        return stall_on(c, t->l);
    }
    /* the lane's calls are the client's, so its reading goes on when they are answered */
    c->stalled = true;
    c->pw->stats.stalls++;
    return STALLED;
}

unsigned lane_enter(struct lane *lane, struct call *k, unsigned slot)
{
    k->slot = (uint16_t)slot;
    k->seq = lane->seq++;
    k->stalls = 0;
    k->refused = false;
    k->pinned = false;
    lane->open++;
    lane->all->refs++;
    return SHARD_MOVABLE;
}

/* ---- the worker's ---- */

struct shard_link *lane_any(struct proxy_worker *pw, unsigned partition, uint8_t proto)
{
    const struct route_partition *p = &pw->route->partition[partition];
    struct shard_link *best = NULL;
    for (unsigned i = 0; i < p->live; i++) {
        struct shard_link *l = shard_link(pw->pool, p->endpoint[p->order[i]], proto);
        if (best == NULL || shard_health(l) < shard_health(best)) {
            best = l;
        }
    }
    return best;
}

unsigned lanes_away(const struct proxy_worker *pw)
{
    unsigned n = 0;
    for (unsigned i = 0; i < pw->route->partitions; i++) {
        const struct route_partition *p = &pw->route->partition[i];
        for (unsigned k = 0; k < p->live; k++) {
            n += shard_health(shard_link(pw->pool, p->endpoint[p->order[k]], 2)) >= SHARD_COMING;
        }
    }
    return n;
}

void lanes_start(struct proxy_worker *pw)
{
    if (pw->route->many) {
        pw->next_home = pw->w->index;
        pw->lane_timer = loop_timer_new(pw->w->loop, lanes_resume, pw);
    }
    lanes_connect(pw);
}

void lanes_connect(struct proxy_worker *pw)
{
    for (unsigned i = 0; i < pw->route->partitions; i++) {
        const struct route_partition *p = &pw->route->partition[i];
        for (unsigned k = 0; k < p->live; k++) {
            shard_link(pw->pool, p->endpoint[p->order[k]], 2);
            if (pw->route->many) {
                shard_link_on(pw->pool, p->endpoint[p->order[k]], 2, SHARD_READS);
            }
        }
    }
}

void lanes_left(void *arg, unsigned partition, unsigned place)
{
    const struct proxy_worker *pw = arg;
    for (struct lanes *all = pw->lanes; all != NULL; all = all->next) {
        struct lane *lane = &all->lane[partition];
        lane->tried &= (uint16_t) ~(1u << place);
        lane->proven = lane->proven && lane->replica != place;
    }
}

void lanes_stop(struct proxy_worker *pw)
{
    while (pw->lanes != NULL) {
        struct lanes *all = pw->lanes;
        for (unsigned p = 0; p < pw->route->partitions; p++) {
            for (struct call *k = all->lane[p].first; k != NULL; k = k->waiting) {
                hold_give(pw, k->request);
            }
        }
        lanes_free(all);
    }
    pw->paused_lanes = NULL;
    loop_timer_free(pw->lane_timer);
    pw->lane_timer = NULL;
}
