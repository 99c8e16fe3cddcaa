/* The hot-set coordinator: what comes in, what goes out, when to be called again. What happens to a
 * key is in hotset_run.c (drawn in hotset_int.h), new views and reports in hotset_view.c, what is
 * worth it in hotset_score.c.
 *
 * It does not: keep values, know who reads what, do anything at a proxy that is not the coordinator
 * of the view it has installed. An expelled coordinator that does not know it yet may go on: its
 * messages carry the old epoch and are refused, and its requests carry generations of the old
 * epoch, which the backend refuses once it has seen one of the new (G9).
 *
 * Sources: DESIGN section 5, rules G6-G9, G13, G14. */
#include "coherence/hotset_int.h"

#include <string.h>

static const char *const mark_names[HOTSET_MARK_COUNT] = {
#define X(name) [HOTSET_MARK_##name] = #name,
    HOTSET_MARKS(X)
#undef X
};

const char *hotset_mark_name(enum hotset_mark m)
{
    return (unsigned)m < HOTSET_MARK_COUNT ? mark_names[m] : "?";
}

/* ---- memory ---- */

static size_t round_up(size_t n)
{
    return (n + 15u) & ~(size_t)15u;
}

static uint32_t capacity_of(const struct hotset_limits *l)
{
    return l->keys + l->candidates;
}

size_t hotset_size(const struct hotset_limits *l)
{
    return round_up(sizeof(struct hotset)) + round_up(capacity_of(l) * sizeof(struct hot_key)) +
           keytab_size(capacity_of(l));
}

struct hotset *hotset_init(void *memory, const struct hotset_limits *l,
                           const struct galene_env *env, const struct galene *entries, uint32_t id)
{
    must(((uintptr_t)memory & 15u) == 0);
    must(l->keys > 0 && capacity_of(l) < 1u << 20);
    must(l->resend_ns > 0 && l->give_up_ns > 0 && l->retry_ns > 0 && l->cool_ns > 0);
    char *at = memory;
    memset(memory, 0, hotset_size(l));
    struct hotset *h = (void *)at;
    at += round_up(sizeof *h);
    h->limits = *l;
    if (h->limits.filling == 0 || h->limits.filling > HOTSET_FILLING) {
        h->limits.filling = HOTSET_FILLING;
    }
    h->env = *env;
    h->entries = entries;
    h->id = id;
    h->on = true;
    h->rng = (l->seed + id) ^ UINT64_C(0x9E3779B97F4A7C15);
    h->records = (void *)at;
    at += round_up(capacity_of(l) * sizeof *h->records);
    keytab_init(&h->keys, at, capacity_of(l), env->same_key, env->ctx);
    h->queue_head = NIL;
    h->queue_tail = NIL;
    h->scan_at = capacity_of(l);
    return h;
}

void hotset_close(struct hotset *h)
{
    for (uint32_t i = 0; i < h->keys.capacity; i++) {
        if (h->keys.slots[i].used) {
            h->env.drop(h->env.ctx, h->keys.slots[i].key.ref);
        }
    }
}

/* ---- outputs ---- */

void hot_mark(struct hotset *h, enum hotset_mark m, const struct hot_key *k, uint64_t a, uint64_t b)
{
    struct hotset_outbox *out = h->out;
    if (out->trace != NULL && out->trace_count < out->trace_capacity) {
        out->trace[out->trace_count++] =
            (struct hotset_trace){m, k == NULL ? 0 : hot_key_of(h, k)->hash, a, b};
    }
}

bool hot_room(const struct hotset *h, uint32_t n)
{
    return h->out->count + n <= HOTSET_OUT_MAX;
}

struct gmsg *hot_send(struct hotset *h, enum gmsg_kind kind, uint32_t to_mask,
                      const struct hermes_key *key, uint64_t generation)
{
    must(h->out->count < HOTSET_OUT_MAX);
    struct hotset_out *o = &h->out->out[h->out->count++];
    *o = (struct hotset_out){.kind = HOTSET_OUT_SEND, .to_mask = to_mask};
    o->u.msg = (struct gmsg){.kind = kind,
                             .epoch = h->view.epoch,
                             .sender = h->id,
                             .seq = ++h->seq,
                             .generation = generation,
                             .key = *key};
    return &o->u.msg;
}

/* The number says where the answer belongs, as in galene.c. */
void hot_request(struct hotset *h, struct hot_key *k, enum galene_request_kind kind,
                 uint64_t generation)
{
    must(h->out->count < HOTSET_OUT_MAX);
    struct hotset_out *o = &h->out->out[h->out->count++];
    k->request = ++h->last_request << 20 | hot_index(h, k);
    *o = (struct hotset_out){.kind = HOTSET_OUT_BACKEND};
    o->u.request = (struct galene_request){
        .request = k->request, .kind = kind, .key = *hot_key_of(h, k), .generation = generation};
}

/* ---- records ---- */

const struct hermes_key *hot_key_of(const struct hotset *h, const struct hot_key *k)
{
    return &h->keys.slots[hot_index(h, k)].key;
}

struct hot_key *hot_find(const struct hotset *h, const struct hermes_key *key)
{
    uint32_t i = keytab_find(&h->keys, key);
    return i == KEYTAB_NONE ? NULL : &h->records[i];
}

struct hot_key *hot_get(struct hotset *h, const struct hermes_key *key)
{
    struct hot_key *k = hot_find(h, key);
    if (k != NULL) {
        return k;
    }
    if (h->keys.used == h->keys.capacity) {
        hot_mark(h, HOTSET_MARK_FULL, NULL, key->hash, 0);
        return NULL;
    }
    struct hermes_key kept = *key;
    kept.ref = h->env.hold(h->env.ctx, key->ref);
    k = &h->records[keytab_take(&h->keys, &kept)];
    must(k != NULL);
    *k = (struct hot_key){
        .state = HOT_COUNTED, .queue_next = NIL, .at = UINT64_MAX, .give_up_at = UINT64_MAX};
    h->in_state[HOT_COUNTED]++;
    return k;
}

static void queue_remove(struct hotset *h, const struct hot_key *k)
{
    uint32_t i = hot_index(h, k);
    uint32_t before = NIL;
    for (uint32_t at = h->queue_head; at != NIL; before = at, at = h->records[at].queue_next) {
        if (at != i) {
            continue;
        }
        if (before == NIL) {
            h->queue_head = k->queue_next;
        } else {
            h->records[before].queue_next = k->queue_next;
        }
        h->queue_tail = h->queue_tail == i ? before : h->queue_tail;
        return;
    }
}

void hot_set_state(struct hotset *h, struct hot_key *k, enum hot_state state)
{
    if (k->state == state) {
        return;
    }
    if (k->state == HOT_QUEUED) {
        queue_remove(h, k);
    }
    h->in_state[k->state]--;
    h->in_state[state]++;
    k->state = (uint8_t)state;
    if (state == HOT_QUEUED) {
        k->queue_next = NIL;
        if (h->queue_tail == NIL) {
            h->queue_head = hot_index(h, k);
        } else {
            h->records[h->queue_tail].queue_next = hot_index(h, k);
        }
        h->queue_tail = hot_index(h, k);
    }
}

void hot_forget(struct hotset *h, struct hot_key *k)
{
    hot_set_state(h, k, HOT_COUNTED);
    h->in_state[HOT_COUNTED]--;
    struct coh_ref ref = hot_key_of(h, k)->ref;
    keytab_give(&h->keys, hot_index(h, k));
    h->env.drop(h->env.ctx, ref);
}

bool hot_in(const struct hot_key *k)
{
    return k->state >= HOT_QUEUED && k->state <= HOT_HOT;
}

uint32_t hot_count(const struct hotset *h)
{
    uint32_t n = 0;
    for (unsigned i = HOT_QUEUED; i <= HOT_HOT; i++) {
        n += h->in_state[i];
    }
    return n;
}

uint64_t hot_jitter(struct hotset *h, uint64_t ns)
{
    h->rng ^= h->rng << 13;
    h->rng ^= h->rng >> 7;
    h->rng ^= h->rng << 17;
    return ns + h->rng % (ns / 4 + 1);
}

/* ---- the step ---- */

static enum err on_message(struct hotset *h, const struct gmsg *m)
{
    if (m->epoch > h->view.epoch) {
        hot_mark(h, HOTSET_MARK_NEW_EPOCH_HELD, NULL, m->epoch, 0);
        return ERR_AGAIN;
    }
    if (m->epoch < h->view.epoch || !h->acts || view_index(&h->view, m->sender) < 0) {
        hot_mark(h, HOTSET_MARK_OLD_EPOCH_DROPPED, NULL, m->epoch, 0);
        return OK;
    }
    if (m->kind == GMSG_PREPARED) {
        hot_on_prepared(h, m);
    } else if (m->kind == GMSG_DRAINED) {
        hot_on_drained(h, m);
    } else if (m->kind == GMSG_REPORT) {
        hot_on_report(h, m);
    }
    return OK;
}

static void on_timer(struct hotset *h)
{
    if (hot_scanning(h)) {
        hot_scan_slice(h);
    }
    for (unsigned n = 0; n < HOTSET_SLICE && hot_room(h, 16); n++) {
        uint32_t i = keytab_first(&h->keys);
        if (i == KEYTAB_NONE || h->keys.slots[i].deadline > h->now) {
            break;
        }
        hot_on_timer(h, &h->records[i]);
    }
}

static void on_switch(struct hotset *h, bool on)
{
    if (h->on && !on) {
        h->scan_off = true;
        hot_scan_start(h);
    }
    h->on = on;
}

enum err hotset_step(struct hotset *h, const struct hotset_in *in, struct hotset_outbox *out)
{
    must(out->count == 0);
    must(in->now_ns >= h->now);
    h->out = out;
    h->now = in->now_ns;
    enum err e = OK;
    switch (in->kind) {
    case HOTSET_IN_MSG:
        e = on_message(h, in->u.msg);
        break;
    case HOTSET_IN_ANSWER:
        hot_on_answer(h, in->u.answer);
        break;
    case HOTSET_IN_VIEW:
        hot_on_view(h, in->u.view);
        break;
    case HOTSET_IN_WANT:
        e = hot_on_want(h, in->u.want.key, in->u.want.want);
        break;
    case HOTSET_IN_SWITCH:
        on_switch(h, in->u.on);
        break;
    case HOTSET_IN_COUNT:
        e = hot_on_count(h, in->u.count);
        break;
    case HOTSET_IN_EPOCH:
        hot_on_epoch(h);
        break;
    case HOTSET_IN_TIMER:
        on_timer(h);
        break;
    }
    hot_queue_pump(h);
    h->out = NULL;
    return e;
}

static bool queue_ready(const struct hotset *h)
{
    return h->queue_head != NIL &&
           h->in_state[HOT_PREPARING] + h->in_state[HOT_PROMOTING] < h->limits.filling;
}

uint64_t hotset_next_deadline(const struct hotset *h)
{
    return h->acts && (hot_scanning(h) || queue_ready(h)) ? h->now : keytab_next_deadline(&h->keys);
}

/* ---- for drivers and checkers ---- */

bool hotset_acts(const struct hotset *h)
{
    return h->acts;
}

uint32_t hotset_coordinator(const struct hotset *h)
{
    return h->view.epoch == 0 ? 0 : h->view.ids[0];
}

bool hotset_idle(const struct hotset *h)
{
    return !hot_scanning(h) && h->keys.used == h->in_state[HOT_COUNTED] + h->in_state[HOT_HOT] +
                                                   h->in_state[HOT_COOLING];
}

uint32_t hotset_hot(const struct hotset *h)
{
    return h->in_state[HOT_HOT];
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * UINT64_C(0x9FB21C651E98DF25);
    return a ^ a >> 31;
}

uint64_t hotset_digest(const struct hotset *h)
{
    uint64_t d = mix(mix(h->view.epoch, h->id), h->counter);
    for (uint32_t i = 0; i < h->keys.capacity; i++) {
        const struct hot_key *k = &h->records[i];
        if (h->keys.slots[i].used) {
            uint64_t v = mix(mix(h->keys.slots[i].key.hash, k->generation), k->state);
            d += mix(mix(v, k->acks), h->keys.slots[i].deadline);
        }
    }
    return d;
}

/* 1 Counts per state. 2 Nobody but the coordinator knows keys. 3 No more keys fill at a time than
 * G8 allows. 4 A request is under way only where one can be. */
void hotset_check(const struct hotset *h)
{
    uint32_t in_state[HOT_COOLING + 1] = {0};
    for (uint32_t i = 0; i < h->keys.capacity; i++) {
        if (!h->keys.slots[i].used) {
            continue;
        }
        const struct hot_key *k = &h->records[i];
        in_state[k->state]++;
        must(k->request == 0 || k->state == HOT_PROMOTING || k->state == HOT_DEMOTING);
        must(k->state != HOT_PROMOTING || k->request != 0);
    }
    must(memcmp(in_state, h->in_state, sizeof in_state) == 0);
    must(h->acts || h->keys.used == 0);
    must(in_state[HOT_PREPARING] + in_state[HOT_PROMOTING] <= h->limits.filling);
}
