/* Asking again: what was not executed waits, and is sent to the next replica in order.
 *
 * Invariants:
 *  1. Waiting calls (first ..) are in the order in which the client sent them (seq).
 *  2. While calls wait, nothing new enters the lane; they are sent when open is 0.
 *  3. After a refusal the first goes alone: a replica that begins to serve in the middle of a
 *     pipeline would execute its end and not its beginning. The rest follows when it is answered.
 *  4. Of two requests for one slot the later one's reply is not given while the earlier one waits:
 *     a read is asked again. If the later one is a write, the earlier one has lost its place and is
 *     answered -TRYAGAIN: it was not executed. So also if the outcome of the write is not known: a
 *     read asked again could see what its own connection wrote after it (H14). */
#include <string.h>

#include "common/clock.h"
#include "proxy/gather.h"
#include "proxy/hot.h"
#include "proxy/lane_private.h"

#define TRIES_MAX 5       /* of MOVED */
#define STALLS_MAX 2      /* then a read is waited for as long as a write */
#define PAUSE_FIRST_MS 2u /* after all replicas were asked */
#define PAUSE_MAX_MS 50u

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
    lanes_drop(lane->all);
}

/* A part-th of the time a request may take is over. */
static bool too_late(const struct call *k, unsigned part)
{
    uint64_t limit = (uint64_t)k->pw->set->backend_timeout_ms * 1000000u / part;
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
        loop_timer_start(pw->lane_timer, (uint64_t)PAUSE_FIRST_MS * 1000u);
    }
    pw->paused_lanes = lane;
}

/* Sends those that wait, or the first of them, to this replica. */
static void send_waiting(struct lane *lane, unsigned replica)
{
    struct lanes *all = lane->all;
    if (lane->replica != replica) {
        lane->replica = (uint8_t)replica;
        lane->proven = false;
    }
    bool alone = lane->first->refused && !lane->proven;
    struct shard_link *l = lane_link(lane, replica);
    while (lane->first != NULL && lane->first->hot_generation == 0 && !(alone && lane->open != 0)) {
        struct call *k = take_first(lane);
        struct hold *h = k->request;
        k->request = NULL;
        lane->open++;
        all->pw->stats.retries++;
        uint64_t since = k->sr.sent_ns;
        buf_add(shard_begin(l), buf_head(&h->b), buf_used(&h->b));
        shard_commit(l, &k->sr, SHARD_MOVABLE | (k->write ? SHARD_WRITE : 0));
        k->sr.sent_ns = since;
        hold_give(all->pw, h);
    }
}

static void go_on(struct lane *lane);

/* The first that waits was refused as hot: it becomes an operation of the core of its key, with
 * nothing before it under way (H14), and the rest of the lane behind it. */
static void give_to_core(struct lane *lane)
{
    struct call *k = take_first(lane);
    struct hold *h = k->request;
    k->request = NULL;
    lane->open++;
    if (hot_convert(k, buf_span(&h->b))) {
        hold_give(lane->all->pw, h);
        return;
    }
    lane->open--;
    k->request = h;
    give_up(lane, k, SPAN_LIT("TRYAGAIN a key of this command is hot; nothing was done"));
}

void lane_leave(struct lane *lane)
{
    lane->open--;
    if (lane->open == 0 && lane->first != NULL) {
        go_on(lane);
    }
    lanes_drop(lane->all);
}

void lane_wait_again(struct call *k, struct client *c, unsigned slot, struct span request)
{
    struct proxy_worker *pw = k->pw;
    if (k->lane == NULL) {
        k->lane = lane_for(c, route_slot(pw->route, slot));
        lane_enter(k->lane, k, slot);
    }
    struct lane *lane = k->lane;
    lane->open--;
    k->refused = true;
    lane->proven = false;
    lane->tried = UINT16_MAX; /* after a pause */
    put(lane, k, request);
    if (lane->open == 0) {
        go_on(lane);
    }
}

/* Goes on with those that wait, if the lane has nothing else under way. */
static void go_on(struct lane *lane)
{
    struct lanes *all = lane->all;
    all->refs++;
    while (lane->first != NULL && too_late(lane->first, 1)) {
        give_up_first(lane, NULL);
    }
    while (lane->first != NULL && lane->open == 0 && lane->first->hot_generation != 0) {
        give_to_core(lane);
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
        bool reachable = true;
        uint64_t prefer =
            lane->proven ? lane->replica : lane_preference(lane, head->write, head->slot);
        int r = lane_choose(lane, prefer, lane->tried, &reachable);
        if (r >= 0) {
            send_waiting(lane, (unsigned)r);
        } else if (reachable) {
            pause_lane(lane);
        } else {
            const struct shard_link *l = lane_link(lane, lane->replica);
            const char *why = l != NULL ? shard_down(l) : LANE_NOBODY;
            while (lane->first != NULL) {
                give_up_first(lane, why);
            }
        }
    }
    lanes_drop(all);
}

void lanes_resume(void *arg)
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
        loop_timer_start(pw->lane_timer, (uint64_t)PAUSE_FIRST_MS * 1000u);
    }
    while (due != NULL) {
        struct lane *lane = due;
        due = lane->paused_next;
        lane->paused = false;
        lane->tried = 0;
        go_on(lane);
        lanes_drop(lane->all);
    }
}

/* ---- what comes back ---- */

static bool same_slot(const struct call *x, const struct call *y)
{
    return x->slot == y->slot || x->slot == SLOT_MANY || y->slot == SLOT_MANY;
}

static bool starts(struct span s, const char *word)
{
    size_t n = strlen(word);
    return s.len >= n && memcmp(s.p, word, n) == 0;
}

/* Perhaps. */
static bool was_executed(const struct call *k, enum shard_result result, struct span bytes)
{
    bool unknown = result == SHARD_UNKNOWN || (result == SHARD_CONTROL && starts(bytes, "UNKNOWN"));
    return result == SHARD_REPLY || (k->write && unknown);
}

/* k was executed although earlier requests for the same slot wait (invariant 4). True: it has to be
 * asked again. */
static bool overtook(struct lane *lane, const struct call *k)
{
    static const char text[] = "TRYAGAIN a later command of this connection may have been executed "
                               "first; this one was not";
    static const struct span lost = {text, sizeof text - 1};
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

/* "MOVED slot host:port". NULL: it cannot be followed. */
static struct lane *moved_to(struct lane *lane, struct call *k, struct span words)
{
    struct proxy_worker *pw = k->pw;
    unsigned slot;
    unsigned partition;
    unsigned endpoint;
    if (k->tries >= TRIES_MAX || !route_moved(pw->route, words, &slot, &partition, &endpoint)) {
        return NULL;
    }
    k->tries++;
    pw->stats.moved++;
    return &lane->all->lane[partition];
}

/* Where k is to be asked again; NULL: what came is its answer. */
static struct lane *again(struct lane *lane, struct call *k, enum shard_result result,
                          struct span bytes)
{
    if (was_executed(k, result, bytes)) {
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
    } else if (result == SHARD_CONTROL && hot_refusal(k, bytes, &k->hot_generation)) {
        return too_late(k, 1) ? NULL : lane;
    } else if (result == SHARD_CONTROL && (starts(bytes, "TRYAGAIN") || starts(bytes, "LOADING"))) {
        k->refused = true;
        lane_refused(lane);
        to = lane;
    }
    if (to == lane) {
        lane->proven = false;
        lane->tried |= (uint16_t)(1u << lane->replica);
    }
    /* what may have waited for all of backend-timeout does not do so again */
    bool slow = result == SHARD_FAILED && lane->channel == SHARD_ANY;
    return to != NULL && too_late(k, slow ? 2 : 1) ? NULL : to;
}

void lane_done(struct call *k, enum shard_result result, struct span bytes, struct span request)
{
    struct lane *lane = k->lane;
    struct lanes *all = lane->all;
    all->refs++;
    lane->open--;
    k->replica = (uint16_t)route_tag(all->pw->route, lane->partition, lane->replica);
    if (result == SHARD_REPLY) {
        lane_served(lane);
    }
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
        lanes_drop(all);
        forward_answer(k, result, bytes, request);
    }
    if (to != NULL && to != lane && to->open == 0) {
        go_on(to);
    }
    if (lane->open == 0 && lane->first != NULL) {
        go_on(lane);
    }
    lanes_drop(all);
}
