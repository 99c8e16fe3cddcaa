/* The holder: asks the acceptors to be let in, keeps the lease, learns maps.
 *
 *   watching --JOIN--> joining --a map has its boot--> in --a map without it--> watching (EXPELLED)
 *                                                      |
 *                                                      +--RELEASE--> releasing --> watching
 * (RELEASED)
 *
 * R1, R3: every renewal has a nonce of its own and counts from the moment before it was sent. The
 * lease ends D(1-rho) after that moment of the newest renewal which a majority of acceptors
 * granted. What acceptors promise is not to vote this incarnation out, so the lease is of whatever
 * epoch the own group has in the newest map known here (member.h).
 *
 * L8: a loop turn longer than D/4, or a timer as late as that, ends the lease at once, and only
 * renewals sent afterwards bring it back. */
#include "coherence/member.h"

#include <string.h>

#include "coherence/mutant.h"
#include "common/must.h"

#define ROUNDS 16u /* renewals that may still be answered in time */
#define WATCH_TIMES 4u
#define CHANGE_TIMES 100u /* renewal periods until an operator's change is given up */

struct round {
    uint64_t nonce, sent_ns;
    uint32_t granted;
};

struct holder {
    struct member_params params;
    uint64_t cluster, now;
    unsigned count;
    uint32_t id; /* 0: not in the map */
    uint32_t blames;
    bool joining, releasing, released, caught_up;
    struct holder_join join;
    struct member_map map;
    uint64_t next_renew;
    uint64_t nonce;
    struct round rounds[ROUNDS];
    uint64_t floor_ns; /* renewals sent before say nothing (L8) */
    struct lease lease;
    uint64_t tokens[MAP_ACCEPTORS_MAX];
    enum member_reason waits;
    bool changing;
    struct member_change change;
    enum member_reason said[MAP_ACCEPTORS_MAX]; /* about the change */
    uint64_t change_until;
    struct holder_outbox *out;
    uint64_t marks[MEMBER_MARK_COUNT];
};

size_t holder_size(void)
{
    return (sizeof(struct holder) + 15u) & ~(size_t)15u;
}

struct holder *holder_init(void *memory, const struct member_params *p,
                           const struct member_map *genesis, uint64_t now_ns)
{
    must(((uintptr_t)memory & 15u) == 0);
    must(map_genesis_ok(genesis));
    must(p->lease_ns >= 8 * p->renew_ns && p->renew_ns > 0 && p->rho_ppm < 500000);
    struct holder *h = memory;
    memset(h, 0, sizeof *h);
    h->params = *p;
    h->cluster = map_cluster(genesis);
    h->count = genesis->acceptor_count;
    h->map = *genesis;
    h->now = now_ns;
    h->next_renew = now_ns;
    return h;
}

static void mark(struct holder *h, enum member_mark m, uint64_t x, uint64_t y)
{
    h->marks[m]++;
    struct holder_outbox *out = h->out;
    if (out->trace != NULL && out->trace_count < out->trace_capacity) {
        out->trace[out->trace_count++] = (struct member_trace){m, x, y};
    }
}

static struct holder_out *out_next(struct holder *h, enum holder_out_kind kind)
{
    must(h->out->count < HOLDER_OUT_MAX);
    struct holder_out *o = &h->out->out[h->out->count++];
    memset(o, 0, sizeof *o);
    o->kind = kind;
    return o;
}

static struct member_msg *send_to(struct holder *h, enum member_msg_kind kind, unsigned to)
{
    struct holder_out *o = out_next(h, HOLDER_OUT_SEND);
    o->to = to;
    o->u.msg.kind = kind;
    o->u.msg.cluster = h->cluster;
    o->u.msg.sender = MEMBER_NO_ACCEPTOR;
    o->u.msg.version = h->map.version;
    return &o->u.msg;
}

static uint64_t own_epoch(const struct holder *h)
{
    const struct map_node *n = h->id != 0 ? map_by_id(&h->map, h->id) : NULL;
    return n == NULL ? 0 : h->map.groups[n->group].epoch;
}

/* ---- the lease ---- */

static void say_lease(struct holder *h, uint64_t until_ns)
{
    h->lease = (struct lease){until_ns != 0 ? own_epoch(h) : 0, until_ns};
    out_next(h, HOLDER_OUT_LEASE)->u.lease = h->lease;
}

static void drop_lease(struct holder *h)
{
    if (h->lease.until_ns != 0) {
        say_lease(h, 0);
    }
}

static void stalled(struct holder *h, uint64_t began_ns)
{
    if (MUTANT(L8_NO_STALL_GUARD) || h->id == 0) {
        return;
    }
    mark(h, MEMBER_MARK_STALLED, began_ns, h->now);
    h->floor_ns = h->now;
    drop_lease(h);
    h->next_renew = h->now;
}

static uint64_t stall_ns(const struct holder *h)
{
    return h->params.lease_ns / 4;
}

static bool majority(const struct holder *h, uint32_t mask)
{
    unsigned count = 0;
    for (unsigned i = 0; i < h->count; i++) {
        count += mask >> i & 1;
    }
    return count >= (MUTANT(R3_MINORITY) ? 1 : h->count / 2 + 1);
}

static void on_grant(struct holder *h, const struct member_msg *m)
{
    if (m->id != h->id || h->releasing) {
        return;
    }
    h->tokens[m->sender] = m->token; /* echoed: that acceptor's clock, of its own life */
    struct round *r = &h->rounds[m->nonce % ROUNDS];
    if (MUTANT(R1_ANY_NONCE) && h->nonce != 0) {
        r = &h->rounds[h->nonce % ROUNDS];
    } else if (r->nonce != m->nonce) {
        mark(h, MEMBER_MARK_GRANT_LATE, m->nonce, h->nonce);
        return;
    }
    r->granted |= UINT32_C(1) << m->sender;
    if (!majority(h, r->granted) || r->sent_ns < h->floor_ns) {
        mark(h, MEMBER_MARK_GRANT_MINORITY, m->nonce, r->granted);
        return;
    }
    uint64_t margin = h->params.lease_ns * h->params.rho_ppm / 1000000;
    uint64_t from = MUTANT(R3_FROM_ARRIVAL) ? h->now : r->sent_ns;
    uint64_t until = from + h->params.lease_ns - (MUTANT(R3_NO_MARGIN) ? 0 : margin); /* R3 */
    if (until <= h->now) {
        mark(h, MEMBER_MARK_GRANT_LATE, m->nonce, h->nonce);
    } else if (until > h->lease.until_ns) {
        mark(h, h->lease.until_ns == 0 ? MEMBER_MARK_LEASE_GAINED : MEMBER_MARK_LEASE_EXTENDED,
             own_epoch(h), until);
        say_lease(h, until);
    }
}

/* ---- asking ---- */

static void send_join(struct holder *h, unsigned to)
{
    struct member_msg *m = send_to(h, MEMBER_MSG_JOIN, to);
    m->nonce = h->join.boot;
    m->token = h->tokens[to];
    memcpy(m->group, h->join.group, sizeof m->group);
    m->at = h->join.at;
    m->workers = h->join.workers;
    m->peer_port = h->join.peer_port;
}

static void send_change(struct holder *h, unsigned to)
{
    struct member_msg *m = send_to(h, MEMBER_MSG_CHANGE, to);
    m->nonce = h->change.nonce;
    m->change = h->change.kind;
    m->id = h->change.id;
    m->other = h->change.other;
    memcpy(m->group, h->change.group, sizeof m->group);
    m->at = h->change.at;
}

static void send_renewal(struct holder *h, unsigned to)
{
    struct member_msg *m = send_to(h, MEMBER_MSG_RENEW, to);
    m->id = h->releasing ? 0 : h->id;
    m->nonce = h->nonce;
    m->token = h->tokens[to];
    m->epoch = own_epoch(h);
    m->flags = h->caught_up ? MEMBER_FLAG_CAUGHT_UP : 0;
    m->other = h->blames;
}

/* R1: now_ns was read before any of these is sent. */
static void ask(struct holder *h)
{
    h->nonce++;
    h->rounds[h->nonce % ROUNDS] = (struct round){h->nonce, h->now, 0};
    for (unsigned i = 0; i < h->count; i++) {
        if (h->joining) {
            send_join(h, i);
        } else {
            send_renewal(h, i);
        }
        if (h->releasing && h->id != 0) {
            send_to(h, MEMBER_MSG_RELEASE, i)->id = h->id;
        }
        if (h->changing) {
            send_change(h, i);
        }
    }
    bool idle = !h->joining && h->id == 0 && !h->changing;
    h->next_renew = h->now + h->params.renew_ns * (idle ? WATCH_TIMES : 1);
}

static void on_wait(struct holder *h, const struct member_msg *m)
{
    if (!h->joining || m->nonce != h->join.boot) {
        return;
    }
    bool first = h->tokens[m->sender] == 0;
    h->tokens[m->sender] = m->token;
    if (m->reason != h->waits) {
        h->waits = m->reason;
        out_next(h, HOLDER_OUT_WAITS)->u.waits = m->reason;
    }
    if (first) {
        send_join(h, m->sender);
    }
}

static void finish_change(struct holder *h, enum member_reason reason)
{
    mark(h, MEMBER_MARK_CHANGE_ANSWERED, h->change.nonce, reason);
    h->changing = false;
    struct holder_out *o = out_next(h, HOLDER_OUT_RESULT);
    o->u.result.nonce = h->change.nonce;
    o->u.result.reason = reason;
}

/* Done is what a decided map shows, so one acceptor's word is enough; a refusal needs a majority,
 * as single acceptors may be behind. */
static void on_result(struct holder *h, const struct member_msg *m)
{
    if (!h->changing || m->nonce != h->change.nonce) {
        return;
    }
    h->said[m->sender] = m->reason;
    uint32_t same = 0;
    for (unsigned i = 0; i < h->count; i++) {
        same |= h->said[i] == m->reason ? UINT32_C(1) << i : 0;
    }
    if (m->reason == MEMBER_DONE || (m->reason != MEMBER_PENDING && majority(h, same))) {
        finish_change(h, m->reason);
    }
}

/* ---- maps ---- */

static void say_view(struct holder *h, const struct map_node *n)
{
    struct holder_out *o = out_next(h, HOLDER_OUT_VIEW);
    o->u.view.map = &h->map;
    o->u.view.group = n->group;
    o->u.view.id = n->id;
    o->u.view.founder = (n->flags & MAP_FOUNDER) != 0;
    o->u.view.member = (n->flags & MAP_MEMBER) != 0;
    mark(h, MEMBER_MARK_VIEW_LEARNED, h->map.groups[n->group].epoch, n->id);
}

static void is_out(struct holder *h)
{
    uint32_t id = h->id;
    drop_lease(h);
    h->id = 0;
    h->caught_up = false;
    h->blames = 0;
    h->floor_ns = h->now + 1;
    if (h->releasing) {
        h->releasing = false;
        h->released = true;
        mark(h, MEMBER_MARK_LEFT, h->map.version, id);
        out_next(h, HOLDER_OUT_RELEASED);
        return;
    }
    mark(h, MEMBER_MARK_EXPELLED, h->map.version, id);
    out_next(h, HOLDER_OUT_EXPELLED)->u.expelled.ordered = map_was_ordered_out(&h->map, id);
}

static void on_map(struct holder *h, const struct member_map *map)
{
    bool older = map->version <= h->map.version && !MUTANT(V1_OLDER_MAP);
    if (older || map->version == h->map.version || map_cluster(map) != h->cluster) { /* V1 */
        mark(h, MEMBER_MARK_MAP_OLD, map->version, h->map.version);
        return;
    }
    uint64_t epoch = own_epoch(h);
    h->map = *map;
    mark(h, MEMBER_MARK_MAP_LEARNED, map->version, 0);
    out_next(h, HOLDER_OUT_MAP)->u.map = &h->map;
    if (h->id != 0) {
        const struct map_node *n = map_by_id(&h->map, h->id);
        if (n == NULL) {
            if (!MUTANT(V4_STAYS_WHEN_OUT)) { /* V4 */
                is_out(h);
            }
        } else if (own_epoch(h) != epoch) {
            say_view(h, n);
            if (h->lease.until_ns > h->now) { /* the promises are about the incarnation */
                mark(h, MEMBER_MARK_LEASE_KEPT_OVER_VIEW, own_epoch(h), h->lease.until_ns);
                say_lease(h, h->lease.until_ns);
            } else {
                drop_lease(h);
            }
        }
        return;
    }
    const struct map_node *n = h->joining ? map_by_boot(&h->map, h->join.boot) : NULL;
    if (n != NULL) {
        h->joining = false;
        h->id = n->id;
        mark(h, MEMBER_MARK_JOINED, h->map.version, n->id);
        say_view(h, n);
        ask(h);
    }
}

/* ---- the step ---- */

static void on_message(struct holder *h, const struct member_msg *m)
{
    if (m->cluster != h->cluster || m->sender >= h->count) {
        return;
    }
    switch (m->kind) {
    case MEMBER_MSG_GRANT:
        on_grant(h, m);
        return;
    case MEMBER_MSG_MAP:
        on_map(h, m->map);
        return;
    case MEMBER_MSG_WAIT:
        on_wait(h, m);
        return;
    case MEMBER_MSG_RESULT:
        on_result(h, m);
        return;
    case MEMBER_MSG_RENEW:
    case MEMBER_MSG_JOIN:
    case MEMBER_MSG_RELEASE:
    case MEMBER_MSG_CHANGE:
    case MEMBER_MSG_STATUS:
    case MEMBER_MSG_PREPARE:
    case MEMBER_MSG_PROMISE:
    case MEMBER_MSG_ACCEPT:
    case MEMBER_MSG_ACCEPTED:
    case MEMBER_MSG_REFUSED:
    case MEMBER_MSG_COUNT:
        return; /* not for holders */
    }
    unreachable();
}

static void on_timer(struct holder *h)
{
    if (h->now >= h->next_renew) {
        if (h->now - h->next_renew > stall_ns(h)) {
            stalled(h, h->next_renew);
        }
        ask(h);
    }
    if (h->lease.until_ns != 0 && h->now >= h->lease.until_ns && !MUTANT(L4_LEASE_NEVER_ENDS)) {
        mark(h, MEMBER_MARK_LEASE_ENDED, h->lease.epoch, h->lease.until_ns); /* L4 */
        drop_lease(h);
    }
    if (h->changing && h->now >= h->change_until) {
        finish_change(h, MEMBER_PENDING);
    }
}

static void on_join(struct holder *h, const struct holder_join *join)
{
    must(h->id == 0 && join->boot != 0);
    h->join = *join;
    h->joining = true;
    h->releasing = false;
    h->released = false;
    h->waits = MEMBER_PENDING;
    memset(h->tokens, 0, sizeof h->tokens);
    ask(h);
}

static void on_release(struct holder *h)
{
    if (!MUTANT(R4_RELEASE_KEEPS_LEASE)) {
        drop_lease(h);
    }
    h->joining = false;
    h->releasing = h->id != 0;
    if (h->id == 0) {
        if (!h->released) {
            out_next(h, HOLDER_OUT_RELEASED);
        }
        h->released = true;
        return;
    }
    ask(h);
}

static void on_change(struct holder *h, const struct member_change *c)
{
    must(c->nonce != 0);
    if (h->changing) {
        finish_change(h, MEMBER_PENDING);
    }
    h->change = *c;
    h->changing = true;
    h->change_until = h->now + CHANGE_TIMES * h->params.renew_ns;
    memset(h->said, 0, sizeof h->said);
    for (unsigned i = 0; i < h->count; i++) {
        send_change(h, i);
    }
    uint64_t soon = h->now + h->params.renew_ns;
    h->next_renew = soon < h->next_renew ? soon : h->next_renew;
}

void holder_step(struct holder *h, const struct holder_in *in, struct holder_outbox *out)
{
    must(out->count == 0);
    must(in->now_ns >= h->now);
    h->out = out;
    h->now = in->now_ns;
    switch (in->kind) {
    case HOLDER_IN_MSG:
        on_message(h, in->u.msg);
        break;
    case HOLDER_IN_TIMER:
        on_timer(h);
        break;
    case HOLDER_IN_JOIN:
        on_join(h, in->u.join);
        break;
    case HOLDER_IN_CAUGHT_UP:
        if (h->id != 0 && !h->caught_up) {
            h->caught_up = true;
            ask(h);
        }
        break;
    case HOLDER_IN_RELEASE:
        on_release(h);
        break;
    case HOLDER_IN_CHANGE:
        on_change(h, in->u.change);
        break;
    case HOLDER_IN_TURN:
        if (h->now - in->u.began_ns > stall_ns(h)) { /* L8 */
            stalled(h, in->u.began_ns);
        }
        break;
    case HOLDER_IN_BLAME:
        h->blames = in->u.id;
        break;
    }
    h->out = NULL;
}

uint64_t holder_next_deadline(const struct holder *h)
{
    uint64_t at = h->next_renew;
    if (h->lease.until_ns != 0 && h->lease.until_ns < at && !MUTANT(L4_LEASE_NEVER_ENDS)) {
        at = h->lease.until_ns;
    }
    return h->changing && h->change_until < at ? h->change_until : at;
}

/* ---- for drivers and checkers ---- */

const struct member_map *holder_map(const struct holder *h)
{
    return &h->map;
}

uint32_t holder_id(const struct holder *h)
{
    return h->id;
}

struct lease holder_lease(const struct holder *h)
{
    return h->lease;
}

const uint64_t *holder_marks(const struct holder *h)
{
    return h->marks;
}

static uint64_t mix(uint64_t x, uint64_t y)
{
    x = (x ^ y) * UINT64_C(0x9FB21C651E98DF25);
    return x ^ x >> 31;
}

uint64_t holder_digest(const struct holder *h)
{
    uint64_t d = mix(mix(h->map.version, h->id), h->nonce);
    d = mix(mix(d, h->lease.epoch), h->lease.until_ns);
    return mix(d, (uint64_t)h->joining << 2 | (uint64_t)h->releasing << 1 | h->caught_up);
}

void holder_check(const struct holder *h)
{
    must(map_ok(&h->map));
    must(h->lease.until_ns == 0 || (h->id != 0 && h->lease.epoch == own_epoch(h)) ||
         MUTANT(V4_STAYS_WHEN_OUT) || MUTANT(V1_OLDER_MAP));
    must(!h->joining || h->id == 0);
    must(!h->releasing || h->lease.until_ns == 0 || MUTANT(R4_RELEASE_KEEPS_LEASE));
}
