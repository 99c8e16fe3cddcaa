/* Entries: when they are Valid, what readers see of them, and the messages by which proxies
 * invalidate each other's (G5), ask what has become of an invalidation, and learn that nobody knows
 * (G8).
 *
 * The order of outputs matters here: what makes an entry not Valid is published before the answer
 * that tells somebody so. */
#include "coherence/galene_int.h"

static bool has_value(const struct record *r)
{
    return r->value.kind == GMSG_VALUE || r->value.kind == GMSG_ABSENT;
}

bool entry_valid(const struct record *r)
{
    return r->prepared && !r->draining && !r->stuck && has_value(r) && r->token_count == 0 &&
           r->own_token == 0;
}

bool entry_hopeless(const struct record *r)
{
    return r->prepared && (r->draining || r->stuck || !has_value(r));
}

void entry_publish(struct galene *g, struct record *r)
{
    uint8_t seen = !r->prepared     ? GALENE_SEEN_GONE
                   : entry_valid(r) ? GALENE_SEEN_VALID
                                    : GALENE_SEEN_NOT_VALID;
    if (seen == r->seen && (seen != GALENE_SEEN_VALID ||
                            (r->seen_ts == r->value.ts && r->seen_generation == r->generation))) {
        return;
    }
    must(g->out->count < GALENE_OUT_MAX);
    if (seen == GALENE_SEEN_VALID && r->seen != GALENE_SEEN_VALID) {
        gal_mark(g, GALENE_MARK_BECAME_VALID, r, r->value.ts, r->generation);
    }
    r->seen = seen;
    r->seen_ts = r->value.ts;
    r->seen_generation = r->generation;
    struct galene_out *o = &g->out->out[g->out->count++];
    *o = (struct galene_out){.kind = GALENE_OUT_PUBLISH};
    o->u.publish = (struct galene_publish){.key = *gal_key(g, r),
                                           .slot = gal_index(g, r),
                                           .seen = (enum galene_seen)seen,
                                           .generation = r->generation};
    if (seen == GALENE_SEEN_VALID) {
        o->u.publish.value = r->value;
    }
}

static void forget_value(struct galene *g, struct record *r)
{
    if (r->value.kind == GMSG_VALUE) {
        g->env.drop(g->env.ctx, r->value.ref);
    }
    r->value = (struct galene_value){.kind = GMSG_NO_VALUE};
}

/* The largest ts wins. */
void entry_keep(struct galene *g, struct record *r, const struct galene_value *v)
{
    if (has_value(r) && v->ts <= r->value.ts && !MUTANT(G5_KEEP_OLDER)) {
        gal_mark(g, GALENE_MARK_DONE_OLDER, r, v->ts, r->value.ts);
        return;
    }
    struct galene_value kept = *v;
    if (v->kind == GMSG_VALUE) {
        kept.ref = g->env.hold(g->env.ctx, v->ref);
    } else {
        kept.ref = (struct coh_ref){0};
        kept.expire_ms = 0;
    }
    forget_value(g, r);
    r->value = kept;
}

/* Nothing of an entry is left; also how a new generation begins. */
void entry_drop(struct galene *g, struct record *r)
{
    must(r->prepared);
    forget_value(g, r);
    r->prepared = false;
    r->draining = false;
    r->drained = false;
    r->stuck = false;
    r->token_count = 0;
    r->own_token = 0;
    r->own_last = 0;
    r->generation = 0;
    r->ask_at = UINT64_MAX;
    r->linger_at = UINT64_MAX;
    r->drop_wait_until = UINT64_MAX;
    g->entries--;
}

/* Never Valid in this generation again. */
void entry_drain(struct record *r)
{
    r->draining = true;
}

/* An invalidation that nobody will take back. */
void entry_stick(struct galene *g, struct record *r)
{
    gal_mark(g, GALENE_MARK_STUCK, r, r->generation, r->token_count);
    r->stuck = true;
    report_soon(g, r, GMSG_REPORT_STUCK, r->generation);
}

void entry_fenced(struct record *r, uint64_t generation)
{
    if (r->lost_generation == 0 || r->lost_generation >= generation) {
        return;
    }
    r->lost_generation = 0;
    if (r->prepared && r->generation < generation && r->own_token != 0) {
        r->own_token = 0;
        entry_drain(r);
    }
}

/* ---- tokens ---- */

static struct token *token_of(struct record *r, uint32_t id)
{
    for (unsigned i = 0; i < r->token_count; i++) {
        if (r->tokens[i].id == id) {
            return &r->tokens[i];
        }
    }
    return NULL;
}

static void token_remove(struct record *r, struct token *t)
{
    *t = r->tokens[--r->token_count];
}

uint64_t entry_ask_at(const struct galene *g, const struct record *r)
{
    uint64_t at = UINT64_MAX;
    for (unsigned i = 0; i < r->token_count; i++) {
        uint64_t due = r->tokens[i].since + g->limits.ask_ns;
        at = due < at ? due : at;
    }
    return at;
}

void entry_departed(struct galene *g, struct record *r)
{
    for (unsigned i = 0; i < r->token_count;) {
        if (gal_mask_of(g, r->tokens[i].id) != 0) {
            i++;
            continue;
        }
        token_remove(r, &r->tokens[i]);
        if (!MUTANT(G8_FORGET_DEPARTED)) {
            entry_stick(g, r);
        }
    }
}

void entry_ask(struct galene *g, struct record *r, uint32_t peer)
{
    for (unsigned i = 0; i < r->token_count; i++) {
        struct token *t = &r->tokens[i];
        bool old = peer == 0 && g->now >= t->since + g->limits.ask_ns;
        if (!old && t->id != peer) {
            continue;
        }
        gal_mark(g, GALENE_MARK_ASKED, r, t->token, t->id);
        t->since = g->now;
        struct gmsg *m = gal_send(g, GMSG_ASK, gal_mask_of(g, t->id), gal_key(g, r), r->generation);
        m->token = t->token;
    }
}

static void token_set(struct galene *g, struct record *r, const struct gmsg *m)
{
    struct token *t = token_of(r, m->sender);
    if (t == NULL && r->token_count == VIEW_NODES_MAX) {
        entry_stick(g, r); /* of many that have left meanwhile */
        return;
    }
    if (t == NULL) {
        t = &r->tokens[r->token_count++];
        *t = (struct token){.id = m->sender};
    }
    if (m->token >= t->token) {
        t->token = m->token;
        t->since = g->now;
    }
}

/* ---- messages ---- */

static void answer(struct galene *g, const struct gmsg *m, enum gmsg_kind kind)
{
    struct gmsg *a = gal_send(g, kind, gal_mask_of(g, m->sender), &m->key, m->generation);
    a->token = m->token;
}

/* G5. */
void gal_on_inv(struct galene *g, const struct gmsg *m)
{
    struct record *r = gal_find(g, &m->key);
    if (gal_mask_of(g, m->sender) == 0) {
        return; /* nobody in this view */
    }
    if (r == NULL || !r->prepared) {
        gal_mark(g, GALENE_MARK_INV_NO_ENTRY, r, m->token, m->generation);
    } else if (r->generation == m->generation) {
        gal_mark(g, GALENE_MARK_INV_SET, r, m->token, m->sender);
        if (!MUTANT(G5_NO_TOKEN)) {
            token_set(g, r, m);
        }
    } else if (r->generation < m->generation) {
        gal_mark(g, GALENE_MARK_ODD_INV_LARGER, r, r->generation, m->generation);
        if (!MUTANT(G5_LARGER_IGNORED)) {
            entry_drain(r);
        }
    } else {
        gal_mark(g, GALENE_MARK_INV_SMALLER, r, r->generation, m->generation);
    }
    if (r != NULL) {
        entry_publish(g, r);
    }
    answer(g, m, GMSG_ACK);
    if (r != NULL) {
        gal_settle(g, r);
    }
}

static void keep_told(struct galene *g, struct record *r, const struct gmsg *m)
{
    struct galene_value v = {.kind = (enum gmsg_value)m->flags,
                             .ts = m->ts,
                             .expire_ms = m->expire_ms,
                             .ref = m->payload};
    switch (v.kind) {
    case GMSG_VALUE:
    case GMSG_ABSENT:
        gal_mark(g, GALENE_MARK_DONE_KEPT, r, m->ts, r->value.ts);
        entry_keep(g, r, &v);
        return;
    case GMSG_UNCACHEABLE: /* G12 */
        gal_mark(g, GALENE_MARK_UNCACHEABLE, r, 0, m->sender);
        if (!MUTANT(G12_KEEP_OLD)) {
            entry_drain(r);
        }
        return;
    case GMSG_NO_VALUE:
    case GMSG_VALUE_KINDS:
        gal_mark(g, GALENE_MARK_DONE_NO_VALUE, r, m->token, m->sender);
        return;
    }
}

void gal_on_done(struct galene *g, const struct gmsg *m)
{
    struct record *r = gal_find(g, &m->key);
    if (r == NULL) {
        return;
    }
    if (m->flags != GMSG_NO_VALUE) {
        entry_fenced(r, m->generation);
    }
    if (r->prepared && r->generation == m->generation) {
        keep_told(g, r, m);
        struct token *t = token_of(r, m->sender);
        if (t != NULL && (t->token == m->token || MUTANT(G5_DONE_ANY_TOKEN))) {
            token_remove(r, t);
        } else {
            gal_mark(g, GALENE_MARK_DONE_OTHER_TOKEN, r, m->token, t == NULL ? 0 : t->token);
        }
    }
    gal_settle(g, r);
}

/* An own invalidation stands elsewhere for long. If its write is over and this entry was in that
 * generation meanwhile, it holds a value at least as new; otherwise nothing is known. */
void gal_on_ask(struct galene *g, const struct gmsg *m)
{
    struct record *r = gal_find(g, &m->key);
    bool open =
        r != NULL && (r->stage == STAGE_INV || r->stage == STAGE_HOT) && r->write_token == m->token;
    if (open) {
        gal_mark(g, GALENE_MARK_ASK_OPEN, r, m->token, m->sender);
        return;
    }
    bool known = r != NULL && r->prepared && r->generation == m->generation && !r->draining &&
                 r->lost_generation != m->generation && m->token <= r->own_last;
    if (!known) {
        gal_mark(g, GALENE_MARK_ASK_LOST, r, m->token, m->sender);
        answer(g, m, GMSG_LOST);
        return;
    }
    gal_mark(g, GALENE_MARK_ASK_ANSWERED, r, m->token, r->value.ts);
    struct gmsg *a = gal_send(g, GMSG_DONE, gal_mask_of(g, m->sender), &m->key, m->generation);
    a->token = m->token;
    gal_set_value(a, &r->value);
}

void gal_on_lost(struct galene *g, const struct gmsg *m)
{
    struct record *r = gal_find(g, &m->key);
    if (r == NULL || !r->prepared || r->generation != m->generation) {
        return;
    }
    struct token *t = token_of(r, m->sender);
    if (t != NULL && t->token == m->token) {
        token_remove(r, t);
        entry_stick(g, r);
    }
    gal_settle(g, r);
}
