/* A learner gets everything from a donor (H10), pulling slice by slice.
 *
 * PULL(cursor, nonce) asks for the slice at cursor; the donor answers with up to HERMES_PULL_SLICE
 * keys, each as its committed value with its ts and, if something is pending there, that update too
 * (an Invalid key taken for Valid would be a stale read), and with PULL_END(next cursor, number of
 * items). Items are numbered; only a slice that arrived whole is counted, else it is asked for
 * again. First come the floors of the slots, then the keys: bit 63 of the cursor says which.
 * Cursors are the donor's own, so with another donor everything starts again, which is harmless:
 * the largest ts wins.
 *
 * The donor is a member that has installed the learner's epoch, since messages of other epochs are
 * not acted on: so every update that commits after the slice was sent needed the learner's ACK.
 *
 * A PULL that arrives twice is answered twice, and the donor may have changed in between, so that
 * the numbers mean other keys: seq is the number of the answer (24 bits) and of the item in it (8
 * bits), and items of different answers are never counted together. */
#include "coherence/hermes_int.h"

#define CURSOR_KEYS (UINT64_C(1) << 63)
#define SLOTS_PER_SLICE 32u
#define PULL_CUT (UINT32_C(1) << 31)

static void pull(struct hermes *h)
{
    struct transfer *t = &h->pull;
    t->nonce = ++h->nonce;
    t->got = 0;
    t->deadline = h->now + jitter(h, h->limits.replay_ns);
    struct hermes_msg *m = send_to(h, MSG_HERMES_PULL, mask_of(h, t->donor));
    m->nonce = t->nonce;
    m->cursor = t->cursor;
}

static uint32_t next_donor(struct hermes *h)
{
    for (unsigned i = 0; i < h->view.members; i++) {
        uint32_t id = h->view.ids[h->pull.turn++ % h->view.members];
        if (id != h->id) {
            return id;
        }
    }
    return 0;
}

void transfer_start(struct hermes *h)
{
    struct transfer *t = &h->pull;
    if (t->wanted && view_is_member(&h->view, t->donor)) {
        mark(h, HERMES_MARK_PULL_RESUMED, NULL, t->cursor, t->donor);
        pull(h);
        return;
    }
    t->wanted = true;
    t->donor = next_donor(h);
    t->cursor = 0;
    pull(h);
}

void transfer_timer(struct hermes *h)
{
    if (h->pull.wanted && h->pull.deadline <= h->now && !h->expelled) {
        mark(h, HERMES_MARK_PULL_RESUMED, NULL, h->pull.cursor, h->pull.donor);
        pull(h);
    } else if (h->expelled) {
        h->pull.wanted = false;
    }
}

/* ---- donor ---- */

static uint32_t numbered(const struct hermes *h, uint32_t item)
{
    return h->answers << 8 | item;
}

static void send_end(struct hermes *h, const struct hermes_msg *m, uint32_t count, uint64_t cursor)
{
    struct hermes_msg *end = send_to(h, MSG_HERMES_PULL_END, mask_of(h, m->sender));
    end->nonce = m->nonce;
    end->seq = numbered(h, count);
    end->cursor = cursor;
}

static void send_slots(struct hermes *h, const struct hermes_msg *m)
{
    uint32_t count = 0;
    uint64_t slot = m->cursor;
    uint64_t looked = 0;
    for (; slot < h->limits.slots && count < SLOTS_PER_SLICE && looked < 4096; slot++, looked++) {
        if (h->slots[slot].floor == 0 && h->slots[slot].generation == 0) {
            continue;
        }
        struct hermes_msg *s = send_to(h, MSG_HERMES_PULL_SLOT, mask_of(h, m->sender));
        s->nonce = m->nonce;
        s->seq = numbered(h, count++);
        s->slot = (uint16_t)slot;
        s->version = h->slots[slot].floor;
        s->generation = h->slots[slot].generation;
    }
    send_end(h, m, count, slot < h->limits.slots ? slot : CURSOR_KEYS);
}

/* Once in each slice that has a key of it. */
static void send_group(struct hermes *h, const struct hermes_msg *m, uint32_t group,
                       uint32_t *count)
{
    uint32_t before = h->out->count;
    if (h->groups[group].answer == h->answers) {
        return;
    }
    group_send(h, mask_of(h, m->sender), group);
    if (h->out->count == before) {
        *count |= PULL_CUT; /* no room for its parts */
        return;
    }
    h->groups[group].answer = h->answers;
    struct hermes_msg *p = &h->out->out[before].u.msg;
    p->kind = MSG_HERMES_PULL_MULTI;
    p->nonce = m->nonce;
    p->seq = numbered(h, (*count)++);
}

static void send_item(struct hermes *h, const struct hermes_msg *m, const struct hermes_key *key,
                      uint32_t *count)
{
    struct hermes_meta c;
    key_meta(h, key, &c);
    uint32_t to = mask_of(h, m->sender);
    struct hermes_msg *v = send_to(h, MSG_HERMES_PULL_VALUE, to);
    v->nonce = m->nonce;
    v->seq = numbered(h, (*count)++);
    v->key = *key;
    v->ts = c.ts;
    v->flags = (uint8_t)((c.live ? MSG_FLAG_LIVE : 0u) | (c.hot ? MSG_FLAG_HOT : 0u));
    v->generation = c.generation;
    const struct record *r = key_find(h, key);
    if (r != NULL && r->group != NIL && !MUTANT(H10_NO_PENDING)) {
        send_group(h, m, r->group, count);
    } else if (r != NULL && r->has_pending && !MUTANT(H10_NO_PENDING)) {
        send_update(h, to, key, &r->pending);
        struct hermes_msg *p = &h->out->out[h->out->count - 1].u.msg;
        p->kind = MSG_HERMES_PULL_INV;
        p->nonce = m->nonce;
        p->seq = numbered(h, (*count)++);
    }
}

void on_pull(struct hermes *h, const struct hermes_msg *m)
{
    if (!view_is_member(&h->view, h->id) || !h->caught_up) {
        return;
    }
    h->answers = (h->answers + 1) & 0xFFFFFF;
    if ((m->cursor & CURSOR_KEYS) == 0) {
        send_slots(h, m);
        return;
    }
    struct hermes_key keys[HERMES_PULL_SLICE];
    uint64_t cursor = m->cursor & ~CURSOR_KEYS;
    size_t n = h->store.scan(h->store.ctx, &cursor, HERMES_PULL_SLICE, keys);
    must(n <= HERMES_PULL_SLICE);
    uint32_t count = 0;
    for (size_t i = 0; i < n && (count & PULL_CUT) == 0; i++) {
        send_item(h, m, &keys[i], &count);
    }
    if ((count & PULL_CUT) == 0) { /* else it is asked for again */
        send_end(h, m, count, cursor == 0 ? 0 : cursor | CURSOR_KEYS);
    }
}

/* ---- learner ---- */

/* Is it part of the slice I am waiting for? Counts it. */
static bool expected(struct hermes *h, const struct hermes_msg *m)
{
    struct transfer *t = &h->pull;
    if (!t->wanted || m->nonce != t->nonce || (m->seq & 0xFF) > 64) {
        return false;
    }
    if (t->answer != m->seq >> 8) { /* another answer: from the beginning */
        t->answer = m->seq >> 8;
        t->got = 0;
    }
    return true;
}

static void got(struct hermes *h, const struct hermes_msg *m)
{
    if ((m->seq & 0xFF) < 64) {
        h->pull.got |= UINT64_C(1) << (m->seq & 0xFF);
    }
}

void on_pull_slot(struct hermes *h, const struct hermes_msg *m)
{
    if (!expected(h, m)) {
        return;
    }
    if (!MUTANT(H10_NO_FLOOR)) {
        floor_raise(h, m->slot, m->version);
        struct slot_info *s = &h->slots[m->slot];
        s->generation = m->generation > s->generation ? m->generation : s->generation;
    }
    got(h, m);
}

enum err on_pull_value(struct hermes *h, const struct hermes_msg *m)
{
    if (!expected(h, m)) {
        return OK;
    }
    enum err e = on_value(h, m);
    if (e == OK) {
        got(h, m);
    }
    return e;
}

enum err on_pull_inv(struct hermes *h, const struct hermes_msg *m)
{
    if (!expected(h, m)) {
        return OK;
    }
    enum err e = on_inv(h, m, true);
    if (e != OK) {
        return e;
    }
    struct hermes_meta c;
    key_meta(h, &m->key, &c);
    const struct record *r = key_find(h, &m->key);
    if ((r != NULL && r->seen >= m->ts) ||
        c.ts >= m->ts) { /* else its base is missing: the slice is asked for again */
        mark(h, HERMES_MARK_PULL_MERGED, &m->key, m->ts, 0);
        got(h, m);
    }
    return OK;
}

enum err on_pull_multi(struct hermes *h, const struct hermes_msg *m)
{
    if (!expected(h, m)) {
        return OK;
    }
    enum err e = on_multi(h, m, true);
    if (e == OK && group_all_here(h, m)) {
        mark(h, HERMES_MARK_PULL_MERGED, &m->parts[0].key, m->parts[0].ts, m->part_count);
        got(h, m);
    }
    return e;
}

void on_pull_end(struct hermes *h, const struct hermes_msg *m)
{
    struct transfer *t = &h->pull;
    if (!expected(h, m)) {
        return;
    }
    uint32_t count = m->seq & 0xFF;
    uint64_t all = count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
    if ((t->got & all) != all) {
        t->deadline = h->now + jitter(h, h->limits.resend_ns); /* something of it was lost */
        return;
    }
    mark(h, HERMES_MARK_PULL_SLICE_DONE, NULL, t->cursor, count);
    t->cursor = m->cursor;
    if (t->cursor != 0) {
        pull(h);
        return;
    }
    t->wanted = false;
    h->caught_up = true;
    mark(h, HERMES_MARK_CAUGHT_UP, NULL, 0, t->donor);
    must(h->out->count < HERMES_OUT_MAX);
    h->out->out[h->out->count++] = (struct hermes_out){.kind = HERMES_OUT_CAUGHT_UP};
}
