/* Updates of several keys of one slot (H11): all of them or none, at every replica.
 *
 * The owner of the slot's grant starts one with all its keys Valid. MULTI names every key with the
 * base it stands on and the ts it becomes, and carries the effects of all. A replica stores it as a
 * whole, as the pending update of each of its keys, and only if it holds every base; then it ACKs.
 * With all ACKs it commits, everywhere in one step: what VAL, a base or a value proves of one key
 * it proves of all. So a replica has either all of it or nothing, pending or run, and whoever has
 * it can finish it; if nobody who is left has it, it never happened, and it was never answered.
 *
 * Nothing may overtake it. While the grant holds nobody else starts an update in the slot. When a
 * view change voids the grant, others may start updates of its keys before they have heard of it.
 * They start from the same bases, since none can commit without the ACK of who has the update; but
 *
 *   1 a part is +3 where writes are +2 and RMWs +1 (H1), so it is the larger one;
 *   2 who has it pending ACKs nothing else for its keys, not even a smaller write, and answers with
 *     the update itself;
 *   3 so what it overtakes was never committed and starts again above it, also a blind write.
 *
 * Floors (H8) could refuse one key of it only; LOCKED therefore tells each member's floor, and the
 * owner starts above all of them. A later purge needs the grant too, and no member says LOCKED
 * while it has something pending.
 *
 * Like any RMW it is replayed by others only when its owner has left (H6). Who has committed what a
 * part says, or more, knows that it has committed and says so; a learner may have pulled only some
 * of the keys then, and pulls the rest as it is after the update. */
#include "coherence/hermes_int.h"

#define FETCH_MAX 8u /* bases asked for at once */

static struct record *first_of(struct hermes *h, const struct group *g)
{
    return &h->records[g->first];
}

static uint32_t number_of(const struct hermes *h, const struct group *g)
{
    return (uint32_t)(g - h->groups);
}

/* ---- making and ending ---- */

static struct group *group_new(struct hermes *h, const struct hermes_update *u)
{
    must(h->free_groups > 0);
    struct group *g = &h->groups[h->free_group];
    h->free_group = g->next;
    h->free_groups--;
    *g = (struct group){.used = true, .op = NIL, .first = NIL, .answer = UINT32_MAX};
    g->u = *u;
    if (u->effects.handle != 0) {
        g->u.effects = h->store.hold(h->store.ctx, u->effects);
    }
    return g;
}

static void part_add(struct hermes *h, struct group *g, struct record *r,
                     const struct hermes_part *p)
{
    struct hermes_update u = {.ts = p->ts,
                              .base = p->base,
                              .generation = p->generation,
                              .now_ms = g->u.now_ms,
                              .owner = g->u.owner,
                              .rmw = true};
    key_set_pending(h, r, &u);
    r->replay_at = UINT64_MAX;
    r->resend_at = UINT64_MAX;
    r->group = number_of(h, g);
    r->part_next = g->first;
    g->first = (uint32_t)(r - h->records);
    g->count++;
    look_again(h, r);
}

static void parts_fill(const struct hermes *h, const struct group *g, struct hermes_part *parts)
{
    uint32_t n = 0;
    for (uint32_t i = g->first; i != NIL; i = h->records[i].part_next) {
        const struct record *r = &h->records[i];
        parts[n++] =
            (struct hermes_part){r->key, r->pending.base, r->pending.ts, r->pending.generation};
    }
    must(n == g->count);
}

void group_send(struct hermes *h, uint32_t to_mask, uint32_t group)
{
    const struct group *g = &h->groups[group];
    if ((to_mask & others_mask(h)) == 0) {
        return;
    }
    if (h->parts_used + g->count > h->parts_room) {
        return; /* the timer sends it again */
    }
    struct hermes_part *parts = &h->parts[h->parts_used];
    h->parts_used += g->count;
    parts_fill(h, g, parts);
    struct hermes_msg *m = send_to(h, MSG_HERMES_MULTI, to_mask);
    m->owner = g->u.owner;
    m->now_ms = g->u.now_ms;
    m->payload = g->u.effects;
    m->parts = parts;
    m->part_count = MUTANT(H11_SEND_HALF) && g->replaying ? 1 : g->count;
}

/* Takes the parts off their records, which become Valid, and gives the group back. */
static void group_end(struct hermes *h, struct group *g)
{
    uint32_t next = NIL;
    for (uint32_t i = g->first; i != NIL; i = next) {
        struct record *r = &h->records[i];
        next = r->part_next;
        r->group = NIL;
        r->part_next = NIL;
        key_clear_pending(h, r);
        look_again(h, r);
    }
    if (g->u.effects.handle != 0) {
        h->store.drop(h->store.ctx, g->u.effects);
    }
    g->used = false;
    g->next = h->free_group;
    h->free_group = number_of(h, g);
    h->free_groups++;
}

static void own_end(struct hermes *h, const struct group *g)
{
    if (g->mine) {
        uint16_t slot = h->records[g->first].key.slot;
        h->slots[slot].own--;
    }
}

void group_commit(struct hermes *h, uint32_t group)
{
    struct group *g = &h->groups[group];
    uint32_t op = g->op;
    uint64_t id = op == NIL ? 0 : h->ops[op].op.id;
    uint64_t ts = first_of(h, g)->pending.ts;
    struct hermes_part *parts = &h->parts[h->parts_room]; /* not what the outbox names */
    parts_fill(h, g, parts);
    uint32_t count = MUTANT(H11_COMMIT_HALF) && !g->mine ? 1 : g->count;
    mark(h, HERMES_MARK_MULTI_COMMITTED, &parts[0].key, ts, g->count);
    h->store.apply_multi(h->store.ctx, parts, count, &g->u, id);
    own_end(h, g);
    group_end(h, g);
    if (op != NIL) {
        h->ops[op].running = false;
        multi_end(h, op, HERMES_DONE, ts, 0);
    }
}

void group_drop(struct hermes *h, uint32_t group)
{
    struct group *g = &h->groups[group];
    uint32_t op = g->op;
    uint64_t ts = first_of(h, g)->pending.ts;
    own_end(h, g);
    group_end(h, g);
    if (op != NIL) {
        h->ops[op].running = false;
        multi_end(h, op, HERMES_UNKNOWN, ts, 0);
    }
}

/* ---- the round ---- */

static void group_round(struct hermes *h, struct group *g)
{
    struct record *r = first_of(h, g);
    round_enter(h, r, &g->round);
    if (round_complete(h, &g->round)) {
        struct hermes_key key = r->key;
        uint64_t ts = r->pending.ts;
        if (g->replaying) {
            mark(h, HERMES_MARK_REPLAY_COMMITTED, &key, ts, g->count);
        }
        send_key(h, MSG_HERMES_VAL, others_mask(h), &key, ts, 0);
        group_commit(h, number_of(h, g));
        return;
    }
    group_send(h, others_mask(h) & ~g->round.acks, number_of(h, g));
    r->replay_at = h->now + jitter(h, h->limits.resend_ns << (g->tries < 4 ? g->tries : 4));
    g->tries++;
    look_again(h, r);
}

void group_start(struct hermes *h, uint32_t parent, struct coh_ref effects)
{
    struct hermes_update u = {.owner = h->id, .now_ms = h->wall_ms, .effects = effects};
    struct group *g = group_new(h, &u);
    g->op = parent;
    g->mine = true;
    uint64_t add = MUTANT(H11_MULTI_PLUS_ONE) ? 1 : 3;
    for (uint32_t t = h->ops[parent].sibling; t != NIL; t = h->ops[t].sibling) {
        struct record *r = &h->records[h->ops[t].record];
        struct hermes_meta m;
        key_meta(h, &r->key, &m);
        struct hermes_part p = {r->key, m.ts, ts_make(ts_version(m.ts) + add, h->id), m.generation};
        part_add(h, g, r, &p);
    }
    const struct record *first = first_of(h, g);
    h->slots[first->key.slot].own++;
    mark(h, HERMES_MARK_MULTI_STARTED, &first->key, first->pending.ts, g->count);
    group_round(h, g);
}

bool group_on_ack(struct hermes *h, const struct record *r, const struct hermes_msg *m)
{
    if (r->group == NIL || r->pending.ts != m->ts) {
        return false;
    }
    struct group *g = &h->groups[r->group];
    if (!g->mine && !g->replaying) {
        mark(h, HERMES_MARK_ACK_LATE, &m->key, m->ts, r->seen);
        return true;
    }
    round_enter(h, r, &g->round);
    g->round.acks |= mask_of(h, m->sender);
    if (round_complete(h, &g->round)) {
        group_round(h, g);
    }
    return true;
}

/* ---- somebody else's ---- */

enum part_state {
    PART_NEW,     /* can be stored */
    PART_HERE,    /* pending here as a part of this update */
    PART_DONE,    /* what is committed here is the update's, or later */
    PART_NO_BASE, /* what it stands on has to be fetched */
    PART_ODD,     /* something else is pending that it cannot overtake */
};

static enum part_state part_state(struct hermes *h, const struct hermes_part *p,
                                  const struct record *r)
{
    struct hermes_meta c;
    key_meta(h, &p->key, &c);
    bool pending = r != NULL && r->has_pending;
    bool below_floor = h->caught_up && !c.live && !pending && !MUTANT(H8_NO_FLOOR) &&
                       ts_version(p->ts) <= h->slots[p->key.slot].floor;
    if (c.ts >= p->ts || below_floor) {
        return PART_DONE;
    }
    if (pending && r->group != NIL) {
        return r->pending.ts == p->ts ? PART_HERE : PART_ODD;
    }
    if (pending && r->pending.ts > p->ts) {
        return PART_ODD;
    }
    return key_base_held(h, &p->key, &c, p->base) ? PART_NEW : PART_NO_BASE;
}

struct survey {
    uint32_t count[PART_ODD + 1];
    uint32_t fresh; /* of the new ones: without a record */
    uint32_t here;  /* group of which parts are here; or NIL */
    uint32_t done;  /* a part that is */
};

static struct survey survey(struct hermes *h, const struct hermes_msg *m)
{
    struct survey s = {.here = NIL};
    for (uint32_t i = 0; i < m->part_count; i++) {
        const struct record *r = key_find(h, &m->parts[i].key);
        enum part_state state = part_state(h, &m->parts[i], r);
        s.count[state]++;
        s.fresh += state == PART_NEW && r == NULL;
        s.here = state == PART_HERE ? r->group : s.here;
        s.done = state == PART_DONE ? i : s.done;
    }
    return s;
}

bool group_all_here(struct hermes *h, const struct hermes_msg *m)
{
    struct survey s = survey(h, m);
    return s.count[PART_HERE] + s.count[PART_DONE] == m->part_count;
}

/* The answers bring the update again. Paced as in hermes_inv.c. */
static void fetch_bases(struct hermes *h, const struct hermes_msg *m)
{
    unsigned asked = 0;
    uint32_t from = mask_of(h, m->sender);
    uint64_t what = m->parts[0].key.hash ^ m->parts[0].ts;
    uint32_t place = (uint32_t)((what ^ what >> 20 ^ what >> 40) % ASKED_SLOTS);
    if (h->asked[place].what == what && h->now < h->asked[place].at + h->limits.resend_ns / 2) {
        return;
    }
    h->asked[place].what = what;
    h->asked[place].at = h->now;
    for (uint32_t i = 0; i < m->part_count && asked < FETCH_MAX && out_has_room(h, 8); i++) {
        const struct record *r = key_find(h, &m->parts[i].key);
        if (part_state(h, &m->parts[i], r) == PART_NO_BASE) {
            mark(h, HERMES_MARK_MULTI_BASE_FETCHED, &m->parts[i].key, m->parts[i].ts,
                 m->parts[i].base);
            ask(h, &m->parts[i].key, r, from);
            asked++;
        }
    }
}

/* An own update that a part overtakes has not been committed (3), of either kind: it is decided
 * when the key is Valid again, and starts anew. */
static void overtake(struct hermes *h, struct record *r, uint64_t ts)
{
    if (r->own.active && !r->own.open) {
        mark(h, HERMES_MARK_MULTI_OVERTOOK, &r->key, r->own.u.ts, ts);
        r->own.open = r->own.u.rmw || !MUTANT(H11_OVERTAKEN_WRITE_DONE);
        r->resend_at = UINT64_MAX;
    }
}

static bool store(struct hermes *h, const struct hermes_msg *m, const struct survey *s)
{
    if (h->free_records < s->fresh || h->free_groups == 0) {
        return false;
    }
    struct hermes_update u = {.owner = m->owner, .now_ms = m->now_ms, .effects = m->payload};
    struct group *g = group_new(h, &u);
    for (uint32_t i = 0; i < m->part_count; i++) {
        const struct hermes_part *p = &m->parts[i];
        struct record *r = key_find(h, &p->key);
        if (part_state(h, p, r) != PART_NEW) {
            continue; /* done, or named twice */
        }
        r = key_get(h, &p->key);
        overtake(h, r, p->ts);
        part_add(h, g, r, p);
    }
    struct record *first = first_of(h, g);
    first->replay_at = h->now + jitter(h, h->limits.replay_ns);
    mark(h, HERMES_MARK_MULTI_STORED, &first->key, first->pending.ts, g->count);
    return true;
}

static bool parts_in_range(const struct hermes *h, const struct hermes_msg *m)
{
    for (uint32_t i = 0; i < m->part_count; i++) {
        if (m->parts[i].key.slot >= h->limits.slots ||
            m->parts[i].key.slot != m->parts[0].key.slot) {
            return false;
        }
    }
    return m->part_count != 0 && m->part_count <= MSG_PARTS_MAX;
}

enum err on_multi(struct hermes *h, const struct hermes_msg *m, bool transferred)
{
    if (!parts_in_range(h, m)) {
        return OK;
    }
    for (uint32_t i = 0; i < m->part_count; i++) { /* H4 */
        struct record *r = key_find(h, &m->parts[i].key);
        if (!out_has_room(h, 8)) {
            return OK; /* the rest when it is sent again */
        }
        if (r != NULL && r->has_pending && m->parts[i].base != 0) {
            prove(h, r, m->parts[i].base);
            look_again(h, r);
        }
    }
    struct survey s = survey(h, m);
    uint32_t from = mask_of(h, m->sender);
    const struct hermes_part *lead = &m->parts[0];
    if (s.count[PART_DONE] != 0) { /* it has committed: whoever sends it may know */
        mark(h, HERMES_MARK_MULTI_KNOWN, &lead->key, lead->ts, m->part_count);
        send_key(h, MSG_HERMES_VAL, from, &m->parts[s.done].key, m->parts[s.done].ts, 0);
        if (s.here != NIL) {
            group_commit(h, s.here);
        }
        return OK;
    }
    if (s.count[PART_ODD] != 0) {
        mark(h, HERMES_MARK_ODD_MULTI, &lead->key, lead->ts, s.count[PART_ODD]);
        return OK;
    }
    if (s.count[PART_NO_BASE] != 0 && !MUTANT(H11_STORE_HALF)) {
        fetch_bases(h, m);
        return OK;
    }
    if (s.count[PART_NEW] != 0 && s.here == NIL && !store(h, m, &s)) {
        return ERR_BUSY;
    }
    if (!transferred) {
        send_key(h, MSG_HERMES_ACK, from, &lead->key, lead->ts, lead->ts);
    }
    return OK;
}

/* ---- time and views ---- */

void group_timer(struct hermes *h, const struct record *r)
{
    struct group *g = &h->groups[r->group];
    struct record *first = first_of(h, g);
    bool owner_here = view_is_member(&h->view, g->u.owner);
    if (first != r) {
        h->records[(uint32_t)(r - h->records)].replay_at = UINT64_MAX;
        return;
    }
    if (g->mine || g->replaying) {
        mark(h, HERMES_MARK_MULTI_RESENT, &r->key, r->pending.ts, g->round.acks);
        group_round(h, g);
        return;
    }
    first->replay_at = h->now + jitter(h, h->limits.replay_ns);
    if (!view_is_member(&h->view, h->id) || owner_here) { /* H10, H6 */
        mark(h, HERMES_MARK_MULTI_OWNER_ASKED, &r->key, r->pending.ts, g->u.owner);
        ask(h, &r->key, r, owner_here ? mask_of(h, g->u.owner) : others_mask(h));
    } else if (!MUTANT(H11_NO_REPLAY)) {
        mark(h, HERMES_MARK_MULTI_REPLAYED, &r->key, r->pending.ts, g->u.owner);
        g->replaying = true;
        g->tries = 0;
        g->round = (struct round){.epoch = h->view.epoch};
        group_round(h, g);
    }
}

void group_revisit(struct hermes *h, const struct record *r)
{
    struct group *g = &h->groups[r->group];
    struct record *first = first_of(h, g);
    if (first != r) {
        return;
    }
    if ((g->mine || g->replaying) && g->round.epoch != h->view.epoch && !MUTANT(H7_NO_RESEND)) {
        mark(h, HERMES_MARK_RESENT_NEW_EPOCH, &r->key, r->pending.ts, h->view.epoch);
        g->tries = 0;
        group_round(h, g);
    } else if (!g->mine && !g->replaying && !view_is_member(&h->view, g->u.owner)) {
        first->replay_at = h->now;
    }
}

void group_revisit_peer(struct hermes *h, const struct record *r, uint32_t peer_mask)
{
    const struct group *g = &h->groups[r->group];
    if (first_of(h, g) != r) {
        return;
    }
    if ((g->mine || g->replaying) && (g->round.acks & peer_mask) == 0) {
        group_send(h, peer_mask, r->group);
    } else if (!g->mine && !g->replaying && g->u.owner == h->scan_peer) {
        ask(h, &r->key, r, peer_mask);
    }
}
