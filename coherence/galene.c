/* The entries of one partition at one proxy: what comes in, what goes out, when to be called again.
 * The rules are in the files by what they are about:
 *
 *   galene_read.c     operations as they come; local and forwarded reads (G1)
 *   galene_write.c    writes: invalidation round, HOTWRITE, cold; combining (G2, G3, G4, G11)
 *   galene_entry.c    entries, INV, DONE, ASK (G5, G8, G12)
 *   galene_control.c  PREP, FILL, DRAIN, DROP, reports (G6, G7, G9, G13)
 *   galene_view.c     view changes in slices, timers (G8, G10)
 *   galene_key.c      records, queues, program order (H14)
 *
 * An entry (struct record, prepared):
 *
 *   PREP(g)            FILL(g) or DONE(g)           INV of anybody, own write
 *   --> FILLING ---------------------> VALID <-----------------------------> INVALIDATED
 *          |                             |        DONE with the same token         |
 *          |  DRAIN, -COLD, INV(g' > g), a result that cannot be cached            | its writer is
 * lost
 *          +-----------------------------+----------------------> DRAINING         v
 *                                                                   | DROP       STUCK
 *   PREP(g' > g) from every state: FILLING in g'                    v              | PREP(g' > g)
 *                                                                  gone            v
 *
 * A write of this proxy, one per key at a time: NONE -> INV -> HOT -> NONE, where HOT answered with
 * -COLD goes to COLD, and COLD answered with -HOT goes to INV.
 *
 * Invariant (the model's): an entry that is Valid holds a value at least as new as every write that
 * has completed anywhere, because each write stood as an invalidation in every entry of its
 * generation before its HOTWRITE left, and is taken back only together with its value.
 *
 * It does not: read clocks, know commands or values, decide what is hot, talk to the backend.
 *
 * Sources: DESIGN section 5 (and hotkey_model.cpp); Scale-Out ccNUMA, EuroSys 2018. */
#include "coherence/galene_int.h"

#include <string.h>

static const char *const mark_names[GALENE_MARK_COUNT] = {
#define X(name) [GALENE_MARK_##name] = #name,
    GALENE_MARKS(X)
#undef X
};

const char *galene_mark_name(enum galene_mark m)
{
    return (unsigned)m < GALENE_MARK_COUNT ? mark_names[m] : "?";
}

/* ---- memory ---- */

static size_t round_up(size_t n)
{
    return (n + 15u) & ~(size_t)15u;
}

static uint32_t latest_count(uint32_t ops)
{
    uint32_t n = 16;
    while (n < ops) {
        n *= 2;
    }
    return n;
}

size_t galene_size(const struct galene_limits *l)
{
    return round_up(sizeof(struct galene)) + round_up(l->records * sizeof(struct record)) +
           round_up(l->ops * sizeof(struct op_slot)) +
           round_up(latest_count(l->ops) * sizeof(uint32_t)) + keytab_size(l->records);
}

struct galene *galene_init(void *memory, const struct galene_limits *l,
                           const struct galene_env *env, uint32_t id)
{
    must(((uintptr_t)memory & 15u) == 0);
    must(l->records > 1 && l->records < 1u << 20 && l->ops > 0);
    must(l->resend_ns > 0 && l->ask_ns > 0 && l->report_ns > 0 && l->linger_ns > 0 &&
         l->give_up_ns > 0);
    must(id != 0);
    char *at = memory;
    memset(memory, 0, galene_size(l));
    struct galene *g = (void *)at;
    at += round_up(sizeof *g);
    g->limits = *l;
    g->env = *env;
    g->id = id;
    g->rng = (l->seed + id) ^ UINT64_C(0x9E3779B97F4A7C15);
    g->records = (void *)at;
    at += round_up(l->records * sizeof *g->records);
    g->ops = (void *)at;
    at += round_up(l->ops * sizeof *g->ops);
    g->latest = (void *)at;
    g->latest_mask = latest_count(l->ops) - 1;
    at += round_up((g->latest_mask + 1) * sizeof *g->latest);
    memset(g->latest, 0xFF, (g->latest_mask + 1) * sizeof *g->latest);
    keytab_init(&g->keys, at, l->records, env->same_key, env->ctx);
    for (uint32_t i = 0; i < l->ops; i++) {
        g->ops[i].next = i + 1 < l->ops ? i + 1 : NIL;
    }
    g->free_ops = l->ops;
    g->scan_at = l->records;
    return g;
}

/* ---- outputs ---- */

void gal_mark(struct galene *g, enum galene_mark m, const struct record *r, uint64_t a, uint64_t b)
{
    struct galene_outbox *out = g->out;
    if (out->trace != NULL && out->trace_count < out->trace_capacity) {
        out->trace[out->trace_count++] =
            (struct galene_trace){m, r == NULL ? 0 : gal_key(g, r)->hash, a, b};
    }
}

bool gal_room(const struct galene *g, uint32_t n)
{
    return g->out->count + n <= GALENE_OUT_MAX;
}

static struct galene_out *out_next(struct galene *g, enum galene_out_kind kind)
{
    must(g->out->count < GALENE_OUT_MAX);
    struct galene_out *o = &g->out->out[g->out->count++];
    memset(o, 0, sizeof *o);
    o->kind = kind;
    return o;
}

struct gmsg *gal_send(struct galene *g, enum gmsg_kind kind, uint32_t to_mask,
                      const struct hermes_key *key, uint64_t generation)
{
    struct galene_out *o = out_next(g, GALENE_OUT_SEND);
    o->to_mask = to_mask;
    o->u.msg = (struct gmsg){.kind = kind,
                             .epoch = g->view.epoch,
                             .sender = g->id,
                             .generation = generation,
                             .key = *key};
    if (to_mask == 0) {
        g->out->count--;
    }
    return &o->u.msg;
}

void gal_set_value(struct gmsg *m, const struct galene_value *v)
{
    m->flags = (uint8_t)v->kind;
    if (v->kind == GMSG_VALUE || v->kind == GMSG_ABSENT) {
        m->ts = v->ts;
    }
    if (v->kind == GMSG_VALUE) {
        m->expire_ms = v->expire_ms;
        m->payload = v->ref;
    }
}

/* A request's number says where its answer belongs: which 0: the record's write, else 1 + number of
 * the forwarded read. */
uint64_t gal_request(struct galene *g, struct record *r, enum galene_request_kind kind,
                     unsigned which, uint64_t generation, uint32_t op)
{
    struct galene_out *o = out_next(g, GALENE_OUT_BACKEND);
    o->u.request = (struct galene_request){.request = ++g->last_request << 23 |
                                                      (uint64_t)gal_index(g, r) << 3 | which,
                                           .kind = kind,
                                           .key = *gal_key(g, r),
                                           .generation = generation,
                                           .op = op == NIL ? 0 : g->ops[op].op.id};
    return o->u.request.request;
}

void gal_complete(struct galene *g, uint32_t op, enum galene_result result,
                  const struct galene_value *value, struct coh_ref reply, uint64_t ts)
{
    struct galene_out *o = out_next(g, GALENE_OUT_DONE);
    o->u.done =
        (struct galene_done){.op = g->ops[op].op.id, .result = result, .reply = reply, .ts = ts};
    if (value != NULL) {
        o->u.done.value = *value;
    }
    gal_op_give(g, op);
}

void gal_complete_all(struct galene *g, struct queue *q, enum galene_result result,
                      struct coh_ref reply, uint64_t ts)
{
    while (q->head != NIL) {
        gal_complete(g, queue_pop(g, q), result, NULL, reply, ts);
    }
}

/* ---- small things everybody needs ---- */

uint32_t gal_mask_of(const struct galene *g, uint32_t id)
{
    int i = view_index(&g->view, id);
    return i < 0 ? 0 : UINT32_C(1) << i;
}

uint32_t gal_self(const struct galene *g)
{
    return gal_mask_of(g, g->id);
}

uint32_t gal_others(const struct galene *g)
{
    return g->expelled ? 0 : view_mask(&g->view) & ~gal_self(g);
}

uint64_t gal_jitter(struct galene *g, uint64_t ns)
{
    g->rng ^= g->rng << 13;
    g->rng ^= g->rng >> 7;
    g->rng ^= g->rng << 17;
    return ns + g->rng % (ns / 4 + 1);
}

bool galene_may_read(const struct galene *g, uint64_t now_ns)
{
    if (MUTANT(G1_NO_LEASE)) {
        return g->view.epoch != 0;
    }
    return !g->expelled && view_is_member(&g->view, g->id) &&
           lease_valid(&g->lease, &g->view, now_ns);
}

bool gal_has_lease(const struct galene *g)
{
    return galene_may_read(g, g->now);
}

/* ---- the step ---- */

static enum err on_message(struct galene *g, const struct gmsg *m)
{
    if (g->expelled) {
        return OK;
    }
    /* DONE, ASK and LOST say what has become of a token: true in every epoch. */
    bool any_epoch = m->kind == GMSG_DONE || m->kind == GMSG_ASK || m->kind == GMSG_LOST;
    if (m->epoch > g->view.epoch && !any_epoch) {
        gal_mark(g, GALENE_MARK_NEW_EPOCH_HELD, NULL, m->epoch, 0);
        return ERR_AGAIN;
    }
    any_epoch = any_epoch || (m->kind == GMSG_INV && MUTANT(G5_ANY_EPOCH)) ||
                (m->kind == GMSG_FILL && MUTANT(G6_FILL_ANY_EPOCH)) ||
                ((m->kind == GMSG_PREP || m->kind == GMSG_DRAIN) && MUTANT(G9_OLD_CONTROL));
    if (m->epoch < g->view.epoch && !any_epoch) {
        bool control = m->kind >= GMSG_PREP;
        gal_mark(g, control ? GALENE_MARK_CONTROL_OLD_EPOCH : GALENE_MARK_OLD_EPOCH_DROPPED, NULL,
                 m->epoch, 0);
        return OK;
    }
    switch (m->kind) {
    case GMSG_INV:
        gal_on_inv(g, m);
        return OK;
    case GMSG_ACK:
        gal_on_ack(g, m);
        return OK;
    case GMSG_DONE:
        gal_on_done(g, m);
        return OK;
    case GMSG_ASK:
        gal_on_ask(g, m);
        return OK;
    case GMSG_LOST:
        gal_on_lost(g, m);
        return OK;
    case GMSG_PREP:
    case GMSG_FILL:
    case GMSG_DRAIN:
    case GMSG_DROP:
        return gal_on_control(g, m);
    case GMSG_PREPARED:
    case GMSG_DRAINED:
    case GMSG_REPORT:
    case GMSG_COUNTS:
    case GMSG_KIND_COUNT:
        break; /* for another core */
    }
    return OK;
}

enum err galene_step(struct galene *g, const struct galene_in *in, struct galene_outbox *out)
{
    must(out->count == 0);
    must(in->now_ns >= g->now);
    g->out = out;
    g->now = in->now_ns;
    g->wall_ms = in->wall_ms;
    enum err e = OK;
    switch (in->kind) {
    case GALENE_IN_MSG:
        e = on_message(g, in->u.msg);
        break;
    case GALENE_IN_OP:
        e = gal_on_op(g, in->u.op);
        break;
    case GALENE_IN_ANSWER:
        gal_on_answer(g, in->u.answer);
        break;
    case GALENE_IN_VIEW:
        gal_on_view(g, in->u.view);
        break;
    case GALENE_IN_LEASE:
        g->lease = in->u.lease;
        break;
    case GALENE_IN_PEER:
        gal_on_peer(g, in->u.peer);
        break;
    case GALENE_IN_TIMER:
        gal_on_timer(g);
        break;
    }
    if (e == ERR_BUSY) {
        gal_mark(g, GALENE_MARK_BUSY, NULL, 0, 0);
    }
    g->out = NULL;
    return e;
}

uint64_t galene_next_deadline(const struct galene *g)
{
    return g->scan_at < g->limits.records ? g->now : keytab_next_deadline(&g->keys);
}

/* ---- for drivers and checkers ---- */

const struct view *galene_view(const struct galene *g)
{
    return &g->view;
}

bool galene_expelled(const struct galene *g)
{
    return g->expelled;
}

bool galene_idle(const struct galene *g)
{
    return g->free_ops == g->limits.ops;
}

uint32_t galene_entries(const struct galene *g)
{
    return g->entries;
}

bool galene_look(const struct galene *g, const struct hermes_key *key, struct galene_entry *e)
{
    const struct record *r = gal_find(g, key);
    if (r == NULL) {
        return false;
    }
    *e = (struct galene_entry){.prepared = r->prepared,
                               .draining = r->draining,
                               .valid = entry_valid(r),
                               .filling = r->prepared && r->value.kind == GMSG_NO_VALUE,
                               .stuck = r->stuck,
                               .generation = r->generation,
                               .ts = r->value.ts};
    return true;
}

size_t galene_scan(const struct galene *g, uint32_t *cursor, size_t max, struct hermes_key *keys,
                   uint64_t *generations)
{
    size_t n = 0;
    uint32_t i = *cursor;
    for (; i < g->limits.records && n < max; i++) {
        if (g->keys.slots[i].used && g->records[i].prepared) {
            keys[n] = g->keys.slots[i].key;
            generations[n++] = g->records[i].generation;
        }
    }
    *cursor = i < g->limits.records ? i : 0;
    return n;
}

uint32_t galene_owing(const struct galene *g, uint64_t since_ns)
{
    uint32_t owing = 0;
    for (uint32_t i = 0; i < g->limits.records; i++) {
        const struct record *r = &g->records[i];
        if (g->keys.slots[i].used && r->stage == STAGE_INV && r->round_epoch == g->view.epoch &&
            r->round_since < since_ns) {
            owing |= gal_others(g) & ~r->acks;
        }
    }
    return owing;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9FB21C651E98DF25);
    return a ^ a >> 31;
}

uint64_t galene_digest(const struct galene *g)
{
    uint64_t d = mix(mix(g->view.epoch, g->id), g->expelled);
    for (uint32_t i = 0; i < g->limits.records; i++) {
        const struct record *r = &g->records[i];
        if (!g->keys.slots[i].used) {
            continue;
        }
        uint64_t k = mix(mix(g->keys.slots[i].key.hash, r->generation), r->value.ts);
        k = mix(k, (uint64_t)r->prepared << 3 | (uint64_t)r->draining << 2 |
                       (uint64_t)r->stuck << 1 | r->drained);
        k = mix(mix(k, r->own_token), r->token_count);
        k = mix(mix(mix(k, r->stage), r->acks), r->open);
        d += mix(k, g->keys.slots[i].deadline); /* a sum: the order of records says nothing */
    }
    return d;
}

void galene_close(struct galene *g)
{
    for (uint32_t i = 0; i < g->limits.records; i++) {
        if (!g->keys.slots[i].used) {
            continue;
        }
        if (g->records[i].value.kind == GMSG_VALUE) {
            g->env.drop(g->env.ctx, g->records[i].value.ref);
        }
        g->env.drop(g->env.ctx, g->keys.slots[i].key.ref);
    }
}

/* 1 What is not prepared has nothing of an entry. 2 Published Valid only what is Valid, in the
 * value it has. 3 A write under way has operations or is the core's own deletion. 4 An own token is
 * that of the write under way, or stands for ever in a generation that is lost. 5 A count of
 * operations. */
static void check_record(const struct galene *g, const struct record *r)
{
    if (!r->prepared) {
        must(!r->draining && !r->stuck && r->token_count == 0 && r->own_token == 0);
        must(r->value.kind == GMSG_NO_VALUE && r->seen == GALENE_SEEN_GONE);
    } else {
        must(r->generation != 0);
        must(r->seen != GALENE_SEEN_GONE);
        must((r->seen == GALENE_SEEN_VALID) == entry_valid(r));
        must(!entry_valid(r) || (r->seen_ts == r->value.ts && r->seen_generation == r->generation));
    }
    must((r->stage == STAGE_NONE) == (r->group.head == NIL && !r->expiring));
    must(r->own_token == 0 || r->lost_generation == r->generation ||
         (r->stage != STAGE_NONE && r->own_token == r->write_token));
    must(r->open > 0 || r->prepared || r->lost_generation != 0 || r->expiring || g->expelled);
}

void galene_check(const struct galene *g)
{
    uint32_t entries = 0;
    uint32_t open = 0;
    for (uint32_t i = 0; i < g->limits.records; i++) {
        if (g->keys.slots[i].used) {
            entries += g->records[i].prepared;
            open += g->records[i].open;
            check_record(g, &g->records[i]);
        }
    }
    must(entries == g->entries);
    must(open + g->free_ops == g->limits.ops);
}
