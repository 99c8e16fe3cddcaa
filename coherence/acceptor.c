/* The acceptor: what comes in, what goes out, when to be called again.
 *
 *   acceptor_lease.c   renewals, releases, requests of holders (R2)
 *   acceptor_vote.c    votes and what was decided (R4, R5)
 *   proposer.c         ballots
 *   plan.c             what the next map should be
 *
 * Each version of the map is a Paxos instance of its own: promised ballot, accepted ballot and
 * value, for version base + 1 only. Who is behind is brought forward by whole decided maps (STATUS
 * says who is), so there is no log. Votes go to disk before they are heard of: PERSIST stands
 * before them in the outbox, and the driver throws away what stands behind it if it fails.
 *
 * What is known of nodes (promises, silence, releases, requests) is in memory only. After a restart
 * an acceptor does not know what it has promised, so it votes nobody out for as long as a promise
 * may last (R5). Among acceptors STATUS also says who went silent where: nobody is left out unless
 * a majority of acceptors would vote for it now, so that one bad link to one acceptor costs
 * nothing.
 *
 * An acceptor that starts without a kept state is either new or has lost its disk, and then may
 * have voted: it keeps out of everything until it knows better. It is new if no acceptor has
 * promised anything and nobody that speaks to it knows of a map; so the very first map needs all
 * acceptors (proposer.c waits for them). Otherwise the ballot it has forgotten was promised by a
 * majority before, and all of these knew the version before the one that was voted on. It hears one
 * of them among count - majority + 1 others, and waits until that vote is over: it is told of a
 * version after the largest that it has heard of. So the loss of a minority of disks costs nothing
 * but time.
 *
 * Sources: Lamport, Paxos made simple, 2001; RELIABILITY 5.2. */
#include "coherence/acceptor_int.h"

#include <string.h>

#define DISK_RETRY_TIMES 20u /* renewal periods */

static const char *const mark_names[MEMBER_MARK_COUNT] = {
#define X(name) [MEMBER_MARK_##name] = #name,
    MEMBER_MARKS(X)
#undef X
};

const char *member_mark_name(enum member_mark m)
{
    return (unsigned)m < MEMBER_MARK_COUNT ? mark_names[m] : "?";
}

size_t acceptor_size(void)
{
    return (sizeof(struct acceptor) + 15u) & ~(size_t)15u;
}

struct acceptor *acceptor_init(void *memory, const struct member_params *p,
                               const struct member_map *genesis, const struct member_state *kept,
                               unsigned index, uint64_t now_ns)
{
    must(((uintptr_t)memory & 15u) == 0);
    must(map_genesis_ok(genesis) && index < genesis->acceptor_count);
    must(p->lease_ns >= 8 * p->renew_ns && p->renew_ns > 0 && p->rho_ppm < 500000);
    struct acceptor *a = memory;
    memset(a, 0, sizeof *a);
    a->params = *p;
    a->index = index;
    a->count = genesis->acceptor_count;
    a->cluster = map_cluster(genesis);
    a->now = now_ns;
    a->rng = p->seed ^ UINT64_C(0x9E3779B97F4A7C15) ^ index;
    a->votes_out_from = MUTANT(R5_NO_WAIT_AFTER_RESTART) ? now_ns : now_ns + acceptor_promise_ns(a);
    if (kept != NULL) {
        must(map_cluster(&kept->base) == a->cluster);
        a->st = *kept;
        a->accepted_at = now_ns;
    } else {
        a->st.base = *genesis;
        a->forgot = !MUTANT(R5_VOTE_WITHOUT_MEMORY);
    }
    for (unsigned i = 0; i < a->st.base.node_count; i++) {
        a->info[i].heard = now_ns;
    }
    a->life = now_ns != 0 ? now_ns : 1;
    a->next_status = now_ns;
    return a;
}

/* ---- outputs ---- */

void acceptor_mark(struct acceptor *a, enum member_mark m, uint64_t x, uint64_t y)
{
    a->marks[m]++;
    struct acceptor_outbox *out = a->out;
    if (out->trace != NULL && out->trace_count < out->trace_capacity) {
        out->trace[out->trace_count++] = (struct member_trace){m, x, y};
    }
}

static struct acceptor_out *out_next(struct acceptor *a, enum acceptor_out_kind kind)
{
    must(a->out->count < ACCEPTOR_OUT_MAX);
    struct acceptor_out *o = &a->out->out[a->out->count++];
    memset(o, 0, sizeof *o);
    o->kind = kind;
    return o;
}

static struct member_msg *message(struct acceptor *a, struct acceptor_out *o,
                                  enum member_msg_kind kind)
{
    o->u.msg.kind = kind;
    o->u.msg.cluster = a->cluster;
    o->u.msg.sender = (uint8_t)a->index;
    if (kind == MEMBER_MSG_MAP) {
        o->u.msg.map = &a->st.base;
    }
    return &o->u.msg;
}

struct member_msg *acceptor_send(struct acceptor *a, enum member_msg_kind kind, unsigned to)
{
    struct acceptor_out *o = out_next(a, ACCEPTOR_OUT_SEND);
    o->to = to;
    return message(a, o, kind);
}

struct member_msg *acceptor_answer(struct acceptor *a, enum member_msg_kind kind)
{
    return message(a, out_next(a, ACCEPTOR_OUT_ANSWER), kind);
}

void acceptor_persist(struct acceptor *a)
{
    bool keep = !a->forgot || a->remembering;
    if (!a->dirty || a->persisting || !keep || MUTANT(R4_NOT_ON_DISK)) {
        return;
    }
    out_next(a, ACCEPTOR_OUT_PERSIST)->u.state = &a->st;
    a->persisting = true;
}

/* ---- small things everybody needs ---- */

uint64_t acceptor_promise_ns(const struct acceptor *a)
{
    return a->params.lease_ns + a->params.lease_ns * a->params.rho_ppm / 1000000;
}

unsigned acceptor_majority(const struct acceptor *a)
{
    return a->count / 2 + 1;
}

bool acceptor_gone(const struct acceptor *a, unsigned i)
{
    const struct node_info *n = &a->info[i];
    return n->released || (a->now >= n->until && a->now >= a->votes_out_from &&
                           a->now - n->heard >= acceptor_promise_ns(a));
}

/* ---- memory ---- */

void acceptor_saw_version(struct acceptor *a, uint64_t version)
{
    if (a->forgot && a->abstain_below == 0 && version > a->seen_version) {
        a->seen_version = version;
    }
}

static unsigned heard_count(const struct acceptor *a)
{
    unsigned count = 0;
    for (unsigned i = 0; i < a->count; i++) {
        count += a->heard >> i & 1;
    }
    return count;
}

/* Is it certain now that no forgotten vote can matter? That has to be on disk, too, before it takes
 * part: else it might have to ask again when others have begun. */
static void try_to_remember(struct acceptor *a)
{
    if (!a->forgot || a->now < a->votes_out_from || (a->stopped && a->now < a->retry_at)) {
        return;
    }
    bool is_new = a->seen_version == 0 && !a->seen_votes && heard_count(a) + 1 == a->count;
    if (!is_new && a->abstain_below == 0 && heard_count(a) >= a->count - acceptor_majority(a) + 1) {
        a->abstain_below = a->seen_version + 1;
    }
    if (is_new || (a->abstain_below != 0 && a->st.base.version >= a->abstain_below)) {
        a->remembering = true;
        a->dirty = true;
        acceptor_persist(a);
    }
}

/* ---- between acceptors ---- */

void acceptor_send_status_to(struct acceptor *a, unsigned to)
{
    struct member_msg *m = acceptor_send(a, MEMBER_MSG_STATUS, to);
    m->nonce = a->life;
    m->epoch = a->peers[to].life;
    m->version = a->st.base.version;
    m->accepted = a->st.promised;
    m->token = a->forgot ? a->abstain_below : 0;
    m->flags = a->forgot ? MEMBER_FLAG_FORGOT : 0;
    for (unsigned i = 0; i < a->st.base.node_count; i++) {
        if (acceptor_gone(a, i)) {
            m->gone[i / 64] |= UINT64_C(1) << (i % 64);
        }
    }
}

void acceptor_send_status(struct acceptor *a)
{
    for (unsigned i = 0; i < a->count; i++) {
        if (i != a->index) {
            acceptor_send_status_to(a, i);
        }
    }
}

static void on_status(struct acceptor *a, const struct member_msg *m)
{
    struct peer_status *p = &a->peers[m->sender];
    p->heard = true;
    p->at = a->now;
    p->version = m->version;
    p->waits_for = m->token;
    memcpy(p->gone, m->gone, sizeof p->gone);
    p->life = m->nonce;
    p->forgot = (m->flags & MEMBER_FLAG_FORGOT) != 0;
    acceptor_saw_version(a, m->version);
    if (m->epoch == a->life) {
        a->heard |= UINT32_C(1) << m->sender;
        a->seen_votes = a->seen_votes || m->accepted != 0;
    }
    if (m->version < a->st.base.version) {
        acceptor_send(a, MEMBER_MSG_MAP, m->sender);
        acceptor_mark(a, MEMBER_MARK_TOLD_NEWER_MAP, m->version, m->sender);
    } else if (m->version > a->st.base.version) { /* it will send the map when it hears this */
        acceptor_send_status_to(a, m->sender);
    }
    a->look = true;
}

/* ---- the step ---- */

static void on_message(struct acceptor *a, const struct member_msg *m)
{
    bool from_acceptor = m->sender < a->count;
    if (m->cluster != a->cluster) {
        return;
    }
    switch (m->kind) {
    case MEMBER_MSG_RENEW:
        acceptor_on_renew(a, m);
        return;
    case MEMBER_MSG_JOIN:
        acceptor_on_join(a, m);
        return;
    case MEMBER_MSG_RELEASE:
        acceptor_on_release(a, m);
        return;
    case MEMBER_MSG_CHANGE:
        acceptor_on_change(a, m);
        return;
    case MEMBER_MSG_MAP:
        if (from_acceptor) {
            acceptor_learn(a, m->map);
        }
        return;
    case MEMBER_MSG_STATUS:
        if (from_acceptor && m->sender != a->index) {
            on_status(a, m);
        }
        return;
    case MEMBER_MSG_PREPARE:
        if (from_acceptor) {
            acceptor_on_prepare(a, m);
        }
        return;
    case MEMBER_MSG_ACCEPT:
        if (from_acceptor) {
            acceptor_on_accept(a, m);
        }
        return;
    case MEMBER_MSG_PROMISE:
        if (from_acceptor) {
            acceptor_on_promise(a, m);
        }
        return;
    case MEMBER_MSG_ACCEPTED:
        if (from_acceptor) {
            acceptor_on_accepted(a, m);
        }
        return;
    case MEMBER_MSG_REFUSED:
        if (from_acceptor) {
            acceptor_on_refused(a, m);
        }
        return;
    case MEMBER_MSG_GRANT:
    case MEMBER_MSG_WAIT:
    case MEMBER_MSG_RESULT:
    case MEMBER_MSG_COUNT:
        return; /* not for acceptors */
    }
    unreachable();
}

/* The others are to know at once who went silent. */
static void watch_silence(struct acceptor *a)
{
    bool news = false;
    for (unsigned i = 0; i < a->st.base.node_count; i++) {
        bool gone = acceptor_gone(a, i);
        if (gone && !a->info[i].told_silent) {
            acceptor_mark(a, MEMBER_MARK_WENT_SILENT, a->st.base.version, a->st.base.nodes[i].id);
            news = true;
        }
        a->info[i].told_silent = gone;
    }
    if (news || a->now >= a->next_status) {
        a->next_status = a->now + a->params.renew_ns;
        acceptor_send_status(a);
        a->look = true;
    }
}

static void on_persisted(struct acceptor *a, bool ok)
{
    if (!a->persisting) {
        return;
    }
    a->persisting = false;
    if (ok) {
        a->dirty = false;
        if (a->stopped) {
            acceptor_mark(a, MEMBER_MARK_PERSIST_RECOVERED, a->st.base.version, 0);
        }
        a->stopped = false;
        if (a->forgot) {
            a->forgot = false;
            acceptor_mark(a, a->abstain_below == 0 ? MEMBER_MARK_NEW : MEMBER_MARK_VOTES_AGAIN,
                          a->st.base.version, a->index);
        }
        return;
    }
    a->remembering = false;
    acceptor_mark(a, MEMBER_MARK_PERSIST_FAILED, a->st.base.version, 0);
    a->stopped = true;
    a->retry_at = a->now + DISK_RETRY_TIMES * a->params.renew_ns;
    if (MUTANT(R5_VOTE_WITHOUT_DISK)) {
        a->dirty = false;
    }
}

void acceptor_step(struct acceptor *a, const struct acceptor_in *in, struct acceptor_outbox *out)
{
    must(out->count == 0);
    must(in->now_ns >= a->now);
    must(!a->persisting || in->kind == ACCEPTOR_IN_PERSISTED);
    a->out = out;
    a->now = in->now_ns;
    switch (in->kind) {
    case ACCEPTOR_IN_MSG:
        on_message(a, in->u.msg);
        break;
    case ACCEPTOR_IN_TIMER:
        watch_silence(a);
        proposer_timer(a);
        try_to_remember(a);
        if (a->stopped && a->now >= a->retry_at) { /* R5: is there room again? Behind the sends */
            acceptor_persist(a);
        }
        break;
    case ACCEPTOR_IN_PERSISTED:
        on_persisted(a, in->u.ok);
        break;
    }
    if (!a->forgot) {
        proposer_consider(a);
    }
    a->out = NULL;
}

uint64_t acceptor_next_deadline(const struct acceptor *a)
{
    uint64_t at = a->next_status;
    uint64_t ballot = a->forgot ? UINT64_MAX : proposer_deadline(a);
    at = ballot < at ? ballot : at;
    for (unsigned i = 0; i < a->st.base.node_count; i++) { /* goes silent */
        const struct node_info *n = &a->info[i];
        if (n->told_silent) {
            continue;
        }
        uint64_t silent = n->heard + acceptor_promise_ns(a);
        silent = n->until > silent ? n->until : silent;
        silent = a->votes_out_from > silent ? a->votes_out_from : silent;
        at = silent < at ? silent : at;
    }
    return at;
}

/* ---- for drivers and checkers ---- */

const struct member_map *acceptor_map(const struct acceptor *a)
{
    return &a->st.base;
}

bool acceptor_votes(const struct acceptor *a)
{
    return !a->stopped && !a->forgot;
}

uint64_t acceptor_silence(const struct acceptor *a, unsigned position)
{
    must(position < a->st.base.node_count);
    return a->info[position].was_heard ? a->now - a->info[position].heard : UINT64_MAX;
}

const uint64_t *acceptor_marks(const struct acceptor *a)
{
    return a->marks;
}

static uint64_t mix(uint64_t x, uint64_t y)
{
    x = (x ^ y) * UINT64_C(0x9FB21C651E98DF25);
    return x ^ x >> 31;
}

uint64_t acceptor_digest(const struct acceptor *a)
{
    uint64_t d = mix(mix(a->st.base.version, a->st.promised), a->st.accepted);
    d = mix(mix(d, a->p.ballot), (uint64_t)a->p.phase << 32 | a->p.answered);
    for (unsigned i = 0; i < a->st.base.node_count; i++) {
        d = mix(mix(d, a->st.base.nodes[i].id), a->info[i].until);
    }
    return d;
}

void acceptor_check(const struct acceptor *a)
{
    must(map_ok(&a->st.base));
    must(a->st.accepted <= a->st.promised);
    must(a->st.accepted == 0 || map_follows(&a->st.base, &a->st.value));
    must(a->p.phase == BALLOT_IDLE || a->p.version == a->st.base.version + 1);
    must(a->p.phase != BALLOT_PROPOSING || map_follows(&a->st.base, &a->p.value));
}
