/* Lanes: which replica is asked, sticking to it, and going to the next one in order.
 *
 *     free --(send)--> under way --(all answered)--> free
 *                         |
 *                         +--(one was not executed)--> waits for the rest --> sent again
 *                                                        ^                        |
 *                                                        +--(pause)<--(no one left to ask)
 *
 * Invariants:
 *  1. Waiting calls (first ..) are in the order in which the client sent them (seq).
 *  2. While calls wait, nothing new enters the lane; they are sent when open is 0, all together.
 *  3. A write enters a link of reads never: such a link is broken when it stands still, which must
 *     not cost a write its outcome (H13). A client that mixes both in one pipeline uses the other
 *     link for everything, for a while.
 *  4. Of two requests for one slot the later one's reply is not given while the earlier one waits:
 *     a read is asked again. If the later one is a write, the earlier one has lost its place and is
 *     answered -TRYAGAIN: it was not executed. A write whose outcome is not known counts as
 *     concurrent with everything, which is what its answer says. */
#include "proxy/lane.h"

#include <string.h>

#include "common/clock.h"
#include "common/mem.h"

#define TRIES_MAX 5       /* of MOVED */
#define STALLS_MAX 2      /* then a read is waited for as long as a write */
#define MIXED_READS 256   /* after a write behind reads, so many go where writes go */
#define PAUSE_FIRST_MS 2u /* after all replicas were asked */
#define PAUSE_MAX_MS 50u
#define RANK_COUNT ((unsigned)SHARD_AWAY + 1)

struct lane {
    struct lanes *all;
    struct call *first; /* wait to be sent again */
    struct call *put;   /* the one that was put there last; NULL: look from the first */
    struct lane *paused_next;
    uint64_t resume_ns; /* when paused */
    uint32_t open;      /* at the node */
    uint32_t seq;       /* of the next call */
    uint16_t partition;
    uint16_t tried; /* bits: replicas that did not serve since the last pause */
    uint8_t replica, channel, proto;
    uint8_t pause_ms;
    bool paused;
};

struct lanes {
    struct lanes *next, *prev; /* of the worker */
    struct proxy_worker *pw;
    uint32_t refs; /* the client, calls, and functions at work */
    uint32_t home;
    uint32_t mixed;     /* reads that go where writes go */
    struct lane lane[]; /* one per partition */
};

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

static void drop(struct lanes *all)
{
    if (--all->refs == 0) {
        lanes_free(all);
    }
}

void lanes_close(struct client *c)
{
    if (c->lanes != NULL) {
        drop(c->lanes);
        c->lanes = NULL;
    }
}

/* ---- choosing ---- */

static struct shard_link *link_of(const struct lanes *all, unsigned partition, unsigned replica,
                                  uint8_t proto, unsigned channel)
{
    const struct proxy_worker *pw = all->pw;
    return shard_link_on(pw->pool, route_replica(pw->route, partition, replica), proto,
                         (enum shard_channel)channel);
}

/* A replica that does not answer reads any more will not answer writes either. */
static enum shard_health health(const struct lanes *all, const struct lane *lane, unsigned replica,
                                uint8_t proto, unsigned channel)
{
    enum shard_health h = shard_health(link_of(all, lane->partition, replica, proto, channel));
    if (h == SHARD_GOOD && channel == SHARD_ANY &&
        shard_health(link_of(all, lane->partition, replica, proto, SHARD_READS)) != SHARD_GOOD) {
        h = SHARD_SLOW;
    }
    return h;
}

/* The replica to ask, among those whose bit is not in `not`: the one that `prefer` names if no
 * other is in a better state, one of the best otherwise, such that the requests of a replica that
 * is away are spread over all others. Who is being connected is asked only if nobody is connected.
 * -1: none; *reachable tells whether one of those left out is connected, or will be. */
static int choose(const struct lane *lane, uint8_t proto, unsigned channel, uint64_t prefer,
                  unsigned not, bool *reachable)
{
    const struct lanes *all = lane->all;
    unsigned n = route_replicas(all->pw->route, lane->partition);
    unsigned first = (unsigned)(prefer % n);
    *reachable = true;
    if ((not >> first & 1u) == 0 &&
        __builtin_expect(health(all, lane, first, proto, channel) == SHARD_GOOD, 1)) {
        return (int)first;
    }
    unsigned at[RANK_COUNT] = {0}; /* bits by state */
    for (unsigned i = 0; i < n; i++) {
        at[health(all, lane, i, proto, channel)] |= 1u << i;
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

static uint64_t preference(const struct lane *lane, bool by_slot, unsigned slot)
{
    return by_slot ? slot / lane->all->pw->route->map->workers : lane->all->home + lane->partition;
}

static bool set_target(struct target *t, struct lane *lane, unsigned replica)
{
    lane->replica = (uint8_t)replica;
    t->l = link_of(lane->all, lane->partition, replica, lane->proto, lane->channel);
    t->why = shard_down(t->l);
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
    if (lane->first == NULL && lane->proto == c->s.c.proto &&
        !(write && lane->channel == SHARD_READS)) {
        *ok = set_target(t, lane, lane->replica);
    }
    return true;
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
    uint64_t prefer = preference(lane, (how & (TARGET_WRITE | TARGET_PLACED)) != 0, slot);
    int r = choose(lane, lane->proto, lane->channel, prefer, 0, &reachable);
    return set_target(t, lane, r < 0 ? 0 : (unsigned)r);
}

bool lane_target_replica(struct client *c, unsigned partition, unsigned replica, struct target *t,
                         bool *away)
{
    struct lane *lane = lane_of(c, partition, 0, TARGET_MANY, t);
    *away = false;
    bool ok;
    if (bound(c, lane, TARGET_READ, t, &ok)) {
        if (lane->replica == replica) {
            return ok;
        }
        t->l = NULL; /* when the lane is free it may go there */
        return false;
    }
    *away = replica >= route_replicas(c->pw->route, partition) ||
            health(lane->all, lane, replica, c->s.c.proto, SHARD_ANY) > SHARD_SLOW;
    if (*away) {
        return false;
    }
    lane->proto = c->s.c.proto;
    lane->channel = SHARD_ANY;
    return set_target(t, lane, replica);
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

/* ---- waiting ---- */

static bool earlier(const struct call *x, const struct call *y)
{
    return (int32_t)(x->seq - y->seq) < 0;
}

/* A SCAN in the middle of one replica's keys ("HALCYON DB n SCAN cursor ..."), whose order is its
 * own: elsewhere it starts again. */
#define SCAN_CURSOR_AT 4
static void unpin(struct call *k, struct span request)
{
    struct span argv[SCAN_CURSOR_AT + 1];
    int n = request_args(request, argv, SCAN_CURSOR_AT + 1);
    must(n == SCAN_CURSOR_AT + 1);
    struct span cursor = argv[SCAN_CURSOR_AT];
    struct buf *b = &k->request->b;
    const char *head = cursor.p - 3; /* of "$n\r\n": digits, then the line's end */
    while (*head != '$') {
        head--;
    }
    const char *rest = cursor.p + cursor.len + 2;
    buf_add(b, request.p, (size_t)(head - request.p));
    encode_arg(b, SPAN_LIT("0"));
    buf_add(b, rest, (size_t)(request.p + request.len - rest));
    k->pinned = false;
}

/* Puts a call where its turn is. Calls come back in their order, so each has its place behind the
 * one before. */
static void put(struct lane *lane, struct call *k, struct span request)
{
    k->request = hold_take(k->pw);
    if (k->pinned) {
        unpin(k, request);
    } else {
        buf_add(&k->request->b, request.p, request.len);
    }
    struct call **at = &lane->first;
    if (lane->put != NULL && earlier(lane->put, k)) {
        at = &lane->put->waiting;
    }
    while (*at != NULL && earlier(*at, k)) {
        at = &(*at)->waiting;
    }
    k->waiting = *at;
    *at = k;
    lane->put = k;
}

static struct call *take_first(struct lane *lane)
{
    struct call *k = lane->first;
    lane->first = k->waiting;
    lane->put = NULL;
    return k;
}

static void answer(struct call *k, struct span text, struct span request)
{
    if (k->g != NULL) {
        gather_part_failed(k, text);
    } else {
        call_fail(k, text, request);
    }
}

/* Ends a call that was taken out of the queue, with an error. */
static void give_up(struct lane *lane, struct call *k, struct span text)
{
    struct hold *h = k->request;
    k->request = NULL;
    k->lane = NULL;
    k->pw->stats.node_errors++;
    answer(k, text, buf_span(&h->b));
    hold_give(lane->all->pw, h);
    drop(lane->all);
}

static bool too_late(const struct call *k)
{
    uint64_t limit = (uint64_t)k->pw->set->backend_timeout_ms * 1000000u;
    uint64_t now = shard_now_get(k->pw->pool);
    return limit != 0 && now > k->sr.sent_ns && now - k->sr.sent_ns >= limit;
}

/* The first that waits has waited too long, or nobody can be asked. why: the reason, or NULL. */
static void give_up_first(struct lane *lane, const char *why)
{
    struct call *k = take_first(lane);
    struct buf text = {0};
    if (k->refused && why == NULL) {
        buf_add_str(&text, "TRYAGAIN no replica of this hash slot serves now; nothing was done");
    } else {
        lost_text(SHARD_FAILED, span_str(why != NULL ? why : "no replica answered in time"), &text);
    }
    give_up(lane, k, buf_span(&text));
    buf_free(&text);
}

static void pause_lane(struct lane *lane)
{
    struct proxy_worker *pw = lane->all->pw;
    unsigned ms = lane->pause_ms == 0 ? PAUSE_FIRST_MS : lane->pause_ms * 2u;
    lane->pause_ms = (uint8_t)(ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS);
    lane->resume_ns = shard_now_get(pw->pool) + lane->pause_ms * 1000000ull;
    lane->paused = true;
    lane->all->refs++;
    lane->paused_next = pw->paused_lanes;
    if (pw->paused_lanes == NULL) {
        loop_timer_start(pw->lane_timer, PAUSE_FIRST_MS * 1000u);
    }
    pw->paused_lanes = lane;
}

/* Sends all that wait to this replica. */
static void send_all(struct lane *lane, unsigned replica)
{
    struct lanes *all = lane->all;
    lane->replica = (uint8_t)replica;
    struct shard_link *l = link_of(all, lane->partition, replica, lane->proto, lane->channel);
    while (lane->first != NULL) {
        struct call *k = take_first(lane);
        struct hold *h = k->request;
        k->request = NULL;
        k->refused = false;
        lane->open++;
        all->pw->stats.retries++;
        uint64_t since = k->sr.sent_ns;
        buf_add(shard_begin(l), buf_head(&h->b), buf_used(&h->b));
        shard_commit(l, &k->sr, SHARD_MOVABLE | (k->write ? SHARD_WRITE : 0));
        k->sr.sent_ns = since;
        hold_give(all->pw, h);
    }
}

/* Goes on with those that wait, if the lane has nothing else under way. */
static void go_on(struct lane *lane)
{
    struct lanes *all = lane->all;
    all->refs++;
    while (lane->first != NULL && too_late(lane->first)) {
        give_up_first(lane, NULL);
    }
    if (lane->first != NULL && lane->open == 0 && !lane->paused) {
        const struct call *head = lane->first;
        lane->proto = head->proto;
        lane->channel = SHARD_READS;
        for (const struct call *k = head; k != NULL; k = k->waiting) {
            if (k->write || k->stalls >= STALLS_MAX) {
                lane->channel = SHARD_ANY;
            }
        }
        bool reachable;
        int r = choose(lane, lane->proto, lane->channel, preference(lane, head->write, head->slot),
                       lane->tried, &reachable);
        if (r >= 0) {
            send_all(lane, (unsigned)r);
        } else if (reachable) {
            pause_lane(lane);
        } else {
            const char *why =
                shard_down(link_of(all, lane->partition, 0, lane->proto, lane->channel));
            while (lane->first != NULL) {
                give_up_first(lane, why);
            }
        }
    }
    drop(all);
}

static void on_timer(void *arg)
{
    struct proxy_worker *pw = arg;
    uint64_t now = clk_mono_ns();
    shard_now(pw->pool, now);
    struct lane *list = pw->paused_lanes;
    pw->paused_lanes = NULL;
    struct lane *due = NULL;
    while (list != NULL) {
        struct lane *lane = list;
        list = lane->paused_next;
        struct lane **to = lane->resume_ns <= now ? &due : &pw->paused_lanes;
        lane->paused_next = *to;
        *to = lane;
    }
    if (pw->paused_lanes != NULL) {
        loop_timer_start(pw->lane_timer, PAUSE_FIRST_MS * 1000u);
    }
    while (due != NULL) {
        struct lane *lane = due;
        due = lane->paused_next;
        lane->paused = false;
        lane->tried = 0;
        go_on(lane);
        drop(lane->all);
    }
}

/* ---- what comes back ---- */

static bool same_slot(const struct call *x, const struct call *y)
{
    return x->slot == y->slot || x->slot == SLOT_MANY || y->slot == SLOT_MANY;
}

/* k was executed although earlier requests for the same slot wait (invariant 4). True: it has to be
 * asked again. */
static bool overtook(struct lane *lane, const struct call *k)
{
    static const struct span lost = {
        "TRYAGAIN a later command of this connection was executed first; nothing was done", 80};
    for (struct call **at = &lane->first; *at != NULL && earlier(*at, k);) {
        struct call *x = *at;
        if (!same_slot(x, k)) {
            at = &x->waiting;
            continue;
        }
        if (!k->write) {
            return true;
        }
        *at = x->waiting;
        lane->put = NULL;
        give_up(lane, x, lost);
    }
    return false;
}

static bool starts(struct span s, const char *word)
{
    size_t n = strlen(word);
    return s.len >= n && memcmp(s.p, word, n) == 0;
}

/* "MOVED slot host:port". NULL: it cannot be followed. */
static struct lane *moved_to(struct lane *lane, struct call *k, struct span words)
{
    struct proxy_worker *pw = k->pw;
    unsigned slot;
    unsigned endpoint;
    if (k->tries >= TRIES_MAX || !route_moved(pw->route, words, &slot, &endpoint)) {
        return NULL;
    }
    k->tries++;
    pw->stats.moved++;
    return &lane->all->lane[route_partition_of(pw->route, endpoint)];
}

/* Where k is to be asked again; NULL: what came is its answer. */
static struct lane *again(struct lane *lane, struct call *k, enum shard_result result,
                          struct span bytes)
{
    if (result == SHARD_REPLY) {
        return lane->first != NULL && overtook(lane, k) ? lane : NULL;
    }
    struct lane *to = NULL;
    if (result == SHARD_FAILED) {
        if ((k->sr.flags & SHARD_STALLED) != 0) {
            k->stalls++;
        }
        to = lane;
    } else if (result == SHARD_CONTROL && starts(bytes, "MOVED ")) {
        to = moved_to(lane, k, bytes);
    } else if (result == SHARD_CONTROL && (starts(bytes, "TRYAGAIN") || starts(bytes, "LOADING"))) {
        k->refused = true;
        to = lane;
    }
    if (to == lane) {
        lane->tried |= (uint16_t)(1u << lane->replica);
    }
    return to != NULL && too_late(k) ? NULL : to;
}

void lane_done(struct call *k, enum shard_result result, struct span bytes, struct span request)
{
    struct lane *lane = k->lane;
    struct lanes *all = lane->all;
    all->refs++;
    lane->open--;
    k->replica = lane->replica;
    struct lane *to = again(lane, k, result, bytes);
    if (to != NULL) {
        if (to != lane) {
            k->lane = to;
            k->seq = to->seq++;
        }
        put(to, k, request);
    } else {
        if (lane->tried != 0 && result == SHARD_REPLY) {
            lane->tried = 0;
            lane->pause_ms = 0;
        }
        k->lane = NULL;
        drop(all);
        forward_answer(k, result, bytes, request);
    }
    if (to != NULL && to != lane && to->open == 0) {
        go_on(to);
    }
    if (lane->open == 0 && lane->first != NULL) {
        go_on(lane);
    }
    drop(all);
}

/* ---- the worker's ---- */

struct shard_link *lane_any(struct proxy_worker *pw, unsigned partition, uint8_t proto)
{
    unsigned n = route_replicas(pw->route, partition);
    struct shard_link *best = NULL;
    for (unsigned i = 0; i < n; i++) {
        struct shard_link *l = shard_link(pw->pool, route_replica(pw->route, partition, i), proto);
        if (best == NULL || shard_health(l) < shard_health(best)) {
            best = l;
        }
    }
    return best;
}

unsigned lanes_away(const struct proxy_worker *pw)
{
    unsigned n = 0;
    for (unsigned i = 0; i < pw->route->endpoints; i++) {
        n += shard_health(shard_link(pw->pool, i, 2)) >= SHARD_COMING;
    }
    return n;
}

void lanes_start(struct proxy_worker *pw)
{
    if (pw->route->many) {
        pw->next_home = pw->w->index;
        pw->lane_timer = loop_timer_new(pw->w->loop, on_timer, pw);
        for (unsigned i = 0; i < pw->route->endpoints; i++) {
            shard_link(pw->pool, i, 2);
            shard_link_on(pw->pool, i, 2, SHARD_READS);
        }
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
