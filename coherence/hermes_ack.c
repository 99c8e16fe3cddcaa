/* ACKs and commit (H3), for own updates and for replays. */
#include "coherence/hermes_int.h"

/* H7: ACKs count in the epoch they were collected in. */
void round_enter(struct hermes *h, const struct record *r, struct round *round)
{
    if (round->epoch != h->view.epoch) {
        if (round->acks != 0) {
            mark(h, HERMES_MARK_ACKS_RESET, &r->key, r->seen, round->acks);
        }
        round->epoch = h->view.epoch;
        round->held = 0;
        if (!MUTANT(H7_KEEP_ACKS)) {
            round->acks = 0;
        }
    }
}

static unsigned count_bits(uint32_t v)
{
    unsigned n = 0;
    for (; v != 0; v &= v - 1) {
        n++;
    }
    return n;
}

bool round_complete(const struct hermes *h, const struct round *round)
{
    if (MUTANT(H3_COMMIT_ON_MAJORITY)) {
        return 2 * (count_bits(round->acks & others_mask(h)) + 1) > view_count(&h->view);
    }
    return (round->acks & others_mask(h)) == others_mask(h);
}

static void commit_own(struct hermes *h, struct record *r)
{
    struct own_update *own = &r->own;
    uint64_t largest = r->seen > own->round.held ? r->seen : own->round.held;
    bool superseded = largest > own->u.ts && !MUTANT(H3_IGNORE_HELD);
    uint64_t id = own->op == NIL ? 0 : h->ops[own->op].op.id;
    mark(h, own->u.rmw ? HERMES_MARK_RMW_COMMITTED : HERMES_MARK_WRITE_COMMITTED, &r->key,
         own->u.ts, superseded);
    if (superseded) { /* no VAL, nothing run; it stays pending until the larger one is here */
        mark(h, HERMES_MARK_WRITE_SUPERSEDED, &r->key, own->u.ts, largest);
        if (r->pending.ts == own->u.ts) {
            r->replay_at = h->now + jitter(h, h->limits.replay_ns);
        }
    } else {
        h->store.apply(h->store.ctx, &r->key, &own->u, id);
        send_key(h, MSG_HERMES_VAL, others_mask(h), &r->key, own->u.ts, 0);
        if (r->has_pending && r->pending.ts == own->u.ts) {
            key_clear_pending(h, r);
        }
    }
    uint32_t op = own->op;
    uint64_t ts = own->u.ts;
    uint64_t generation = own->u.generation;
    key_clear_own(h, r);
    if (op != NIL) {
        if (h->ops[op].op.kind == HERMES_PROMOTE || h->ops[op].op.kind == HERMES_DEMOTE) {
            mark(h,
                 h->ops[op].op.kind == HERMES_PROMOTE ? HERMES_MARK_PROMOTED : HERMES_MARK_DEMOTED,
                 &r->key, ts, generation);
        }
        complete(h, op, HERMES_DONE, ts, generation, superseded);
    }
}

void own_round(struct hermes *h, struct record *r)
{
    must(r->own.active && !r->own.open);
    round_enter(h, r, &r->own.round);
    if (round_complete(h, &r->own.round)) {
        commit_own(h, r);
        return;
    }
    send_update(h, others_mask(h) & ~r->own.round.acks, &r->key, &r->own.u);
    r->resend_at = h->now + jitter(h, h->limits.resend_ns << (r->tries < 4 ? r->tries : 4));
    r->tries++;
}

static void commit_replay(struct hermes *h, struct record *r)
{
    r->replaying = false;
    r->replay_at = h->now + jitter(h, h->limits.replay_ns);
    if (r->round.held > r->pending.ts && !MUTANT(H3_IGNORE_HELD)) {
        mark(h, HERMES_MARK_REPLAY_SUPERSEDED, &r->key, r->pending.ts, r->round.held);
        return;
    }
    uint64_t ts = r->pending.ts;
    if (commit_pending(h, r)) {
        mark(h, HERMES_MARK_REPLAY_COMMITTED, &r->key, ts, 0);
        send_key(h, MSG_HERMES_VAL, others_mask(h), &r->key, ts, 0);
    }
}

void replay_round(struct hermes *h, struct record *r)
{
    must(r->replaying && r->has_pending);
    round_enter(h, r, &r->round);
    if (round_complete(h, &r->round)) {
        commit_replay(h, r);
        return;
    }
    send_update(h, others_mask(h) & ~r->round.acks, &r->key, &r->pending);
    r->replay_at = h->now + jitter(h, h->limits.resend_ns << (r->tries < 4 ? r->tries : 4));
    r->tries++;
}

static bool collect(struct hermes *h, const struct record *r, struct round *round,
                    const struct hermes_msg *m)
{
    round_enter(h, r, round);
    round->acks |= mask_of(h, m->sender);
    round->held = m->held > round->held ? m->held : round->held;
    return round_complete(h, round);
}

void on_ack(struct hermes *h, const struct hermes_msg *m)
{
    struct record *r = key_find(h, &m->key);
    if (r == NULL) {
        mark(h, HERMES_MARK_ACK_LATE, &m->key, m->ts, 0);
        return;
    }
    if (group_on_ack(h, r, m)) {
        return;
    }
    if (r->own.active && !r->own.open && r->own.u.ts == m->ts) {
        if (r->own.u.rmw && m->held > m->ts) {
            return; /* nobody who holds more may ACK an RMW */
        }
        if (collect(h, r, &r->own.round, m)) {
            commit_own(h, r);
        }
    } else if (r->replaying && r->pending.ts == m->ts) {
        if (collect(h, r, &r->round, m)) {
            commit_replay(h, r);
        }
    } else {
        mark(h, HERMES_MARK_ACK_LATE, &m->key, m->ts, r->seen);
    }
    pump(h, r);
}

/* My RMW (or my replay of one) met a replica that is Valid above it. What that replica has is
 * committed: get it; the key becomes Valid with it, and that gives the verdict. */
void on_nack(struct hermes *h, const struct hermes_msg *m)
{
    struct record *r = key_find(h, &m->key);
    if (r == NULL || !r->has_pending || r->group != NIL || r->seen >= m->held ||
        r->pending.ts != m->ts) {
        return;
    }
    ask(h, &r->key, r, mask_of(h, m->sender));
}
