/* Drivers of acceptors and holders: fill an input, step, carry out the outputs.
 *
 * An acceptor's disk is a block of bytes that survives it. Keeping the state may fail, and the
 * acceptor may crash just before or just after it was kept; what stands behind it in the outbox is
 * then lost, as with a real driver. */
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "tests/sim/member_sim.h"

int ms_acceptor_at(const struct ms *m, unsigned node)
{
    for (unsigned i = 0; i < m->acceptors; i++) {
        if (m->acceptor_node[i] == node) {
            return (int)i;
        }
    }
    return -1;
}

int ms_holder_at(const struct ms *m, unsigned node)
{
    for (unsigned i = 0; i < m->holders; i++) {
        if (m->holder_node[i] == node) {
            return (int)i;
        }
    }
    return -1;
}

static void set_text(char field[MAP_TEXT_MAX], const char *prefix, unsigned i)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%s%u", prefix, i);
    must(map_text_set(field, text, (size_t)n));
}

void ms_address(unsigned i, struct map_address *at)
{
    set_text(at->host, "h", i);
    at->port = 1000;
}

void ms_init(struct sim *s, struct ms *m, unsigned acceptors, unsigned holders, unsigned shards)
{
    must(holders <= MS_HOLDERS_MAX && shards >= 1 && shards <= 2);
    m->params = (struct member_params){.lease_ns = MEMBER_LEASE_NS,
                                       .renew_ns = MEMBER_RENEW_NS,
                                       .rho_ppm = (uint32_t)s->rho_ppm,
                                       .seed = s->seed};
    m->acceptors = acceptors;
    m->holders = holders;
    struct member_map *g = &m->genesis;
    memset(g, 0, sizeof *g);
    g->next_id = 1;
    g->acceptor_count = (uint16_t)acceptors;
    for (unsigned i = 0; i < acceptors; i++) {
        set_text(g->acceptors[i].host, "a", i);
        g->acceptors[i].port = 7000;
    }
    g->group_count = (uint16_t)(1 + shards);
    must(map_text_set(g->groups[0].name, MAP_PROXIES_NAME, strlen(MAP_PROXIES_NAME)));
    for (uint16_t k = 1; k <= shards; k++) {
        must(map_text_set(g->groups[k].name, k == 1 ? "a" : "b", 1));
        g->ranges[g->range_count++] = (struct map_range){(uint16_t)((k - 1) * 8192), k};
    }
    must(map_genesis_ok(g));
}

void ms_free(struct ms *m)
{
    for (unsigned i = 0; i < MAP_ACCEPTORS_MAX; i++) {
        mem_free(m->acc[i].memory);
        m->acc[i].memory = NULL;
        m->acc[i].core = NULL;
    }
    for (unsigned i = 0; i < MS_HOLDERS_MAX; i++) {
        mem_free(m->hold[i].memory);
        m->hold[i].memory = NULL;
        m->hold[i].core = NULL;
    }
}

static void note_traces(struct sim *s, struct ms *m, const char *who, unsigned i, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        const struct member_trace *t = &m->trace[k];
        sim_mark(s, m->mark_base + (unsigned)t->mark);
        sim_hash(s, (uint64_t)t->mark << 32 ^ t->a);
        if (t->mark == MEMBER_MARK_GRANTED && t->a < MS_IDS_MAX) {
            m->ids[t->a].granted++;
        }
        if (t->mark == MEMBER_MARK_IMPOSSIBLE) {
            sim_fail(s, "%s %u: impossible (%llu, %llu)", who, i, (unsigned long long)t->a,
                     (unsigned long long)t->b);
        }
        if (s->verbose && t->mark != MEMBER_MARK_GRANTED && t->mark != MEMBER_MARK_LEASE_EXTENDED &&
            t->mark != MEMBER_MARK_GRANT_MINORITY) {
            sim_note(s, "  %s%u %s %llu %llu", who, i, member_mark_name(t->mark),
                     (unsigned long long)t->a, (unsigned long long)t->b);
        }
    }
}

/* ---- acceptors ---- */

static void emit(struct sim *s, const struct member_msg *msg, unsigned from, unsigned to)
{
    uint8_t frame[SIM_FRAME_MAX];
    size_t n = member_msg_encode(msg, frame, sizeof frame);
    if (from == to) {
        sim_post(s, from, to, frame, n);
    } else {
        sim_send(s, from, to, frame, n);
    }
}

/* How keeping the state went; crashed: the acceptor is no more. */
static bool keep(struct sim *s, struct ms *m, unsigned i, const struct member_state *st,
                 bool *crashed)
{
    struct ms_acceptor *a = &m->acc[i];
    uint32_t crash = m->crash_at_persist && sim_fault(s, SITE_NODE, s->faults.crash, 120)
                         ? 1 + sim_choose(s, SITE_NODE, 2)
                         : 0;
    bool full =
        a->disk_full || (m->persist_faults && sim_fault(s, SITE_MEMBER, s->faults.member, 40));
    if (crash != 1 && !full) {
        a->disk_len = member_state_encode(st, a->disk, sizeof a->disk);
    }
    *crashed = crash != 0;
    if (crash != 0) {
        sim_note(s, "acceptor %u crashes %s its state was kept", i,
                 crash == 1 ? "before" : "after");
        sim_crash(s, m->acceptor_node[i]);
    }
    return !full;
}

static void acceptor_input(struct sim *s, struct ms *m, unsigned i, struct acceptor_in *in,
                           unsigned from)
{
    struct ms_acceptor *a = &m->acc[i];
    unsigned node = m->acceptor_node[i];
    in->now_ns = sim_clock(s, node);
    m->aout.count = 0;
    m->aout.trace = m->trace;
    m->aout.trace_capacity = sizeof m->trace / sizeof m->trace[0];
    m->aout.trace_count = 0;
    acceptor_step(a->core, in, &m->aout);
    acceptor_check(a->core);
    note_traces(s, m, "acceptor ", i, m->aout.trace_count);
    if (acceptor_map(a->core)->version != a->seen) {
        a->seen = acceptor_map(a->core)->version;
        ms_saw_map(s, m, acceptor_map(a->core), "acceptor", i);
    }
    bool asked = false;
    bool kept = true;
    for (uint32_t k = 0; k < m->aout.count && kept; k++) {
        const struct acceptor_out *o = &m->aout.out[k];
        bool crashed = false;
        switch (o->kind) {
        case ACCEPTOR_OUT_SEND:
            ms_saw_send(s, m, i, &o->u.msg);
            emit(s, &o->u.msg, node, m->acceptor_node[o->to]);
            break;
        case ACCEPTOR_OUT_ANSWER:
            emit(s, &o->u.msg, node, from);
            break;
        case ACCEPTOR_OUT_PUSH:
            for (unsigned h = 0; h < m->holders; h++) {
                emit(s, &o->u.msg, node, m->holder_node[h]);
            }
            break;
        case ACCEPTOR_OUT_PERSIST:
            asked = true;
            kept = keep(s, m, i, o->u.state, &crashed);
            if (crashed) {
                return;
            }
            break;
        }
    }
    if (asked) {
        struct acceptor_in done = {.kind = ACCEPTOR_IN_PERSISTED, .u.ok = kept};
        acceptor_input(s, m, i, &done, from);
        return;
    }
    sim_wake_at(s, node, acceptor_next_deadline(a->core));
}

void ms_acceptor_start(struct sim *s, struct ms *m, unsigned i)
{
    struct ms_acceptor *a = &m->acc[i];
    static struct member_state kept;
    if (a->memory == NULL) {
        a->memory = mem_alloc(acceptor_size());
    }
    if (a->disk_len != 0) {
        must(member_state_decode(a->disk, a->disk_len, &kept) == OK);
    }
    a->core = acceptor_init(a->memory, &m->params, &m->genesis, a->disk_len != 0 ? &kept : NULL, i,
                            sim_clock(s, m->acceptor_node[i]));
    a->seen = acceptor_map(a->core)->version;
    sim_wake_at(s, m->acceptor_node[i], acceptor_next_deadline(a->core));
}

void ms_acceptor_prepare(struct ms *m, unsigned i)
{
    static struct member_state st;
    memset(&st, 0, sizeof st);
    st.base = m->genesis;
    m->acc[i].disk_len = member_state_encode(&st, m->acc[i].disk, sizeof m->acc[i].disk);
}

void ms_disk_lost(struct sim *s, struct ms *m, unsigned i)
{
    unsigned lost = 1;
    for (unsigned k = 0; k < m->acceptors; k++) {
        lost += k != i && m->acc[k].disk_len == 0;
    }
    if (lost <= (m->acceptors - 1) / 2) {
        sim_note(s, "acceptor %u loses its disk", i);
        m->acc[i].disk_len = 0;
    }
}

void ms_acceptor_stop(struct sim *s, struct ms *m, unsigned i)
{
    m->acc[i].core = NULL;
    sim_wake_at(s, m->acceptor_node[i], SIM_NEVER);
}

/* ---- holders ---- */

static void holder_output(struct sim *s, struct ms *m, unsigned i, const struct holder_out *o)
{
    struct ms_holder *h = &m->hold[i];
    switch (o->kind) {
    case HOLDER_OUT_SEND:
        h->nonce = o->u.msg.kind == MEMBER_MSG_RENEW ? o->u.msg.nonce : h->nonce;
        emit(s, &o->u.msg, m->holder_node[i], m->acceptor_node[o->to]);
        break;
    case HOLDER_OUT_MAP:
        if (o->u.map->version <= h->map_version) { /* V1 */
            sim_fail(s, "holder %u went back from map %llu to %llu", i,
                     (unsigned long long)h->map_version, (unsigned long long)o->u.map->version);
        }
        h->map_version = o->u.map->version;
        ms_saw_map(s, m, o->u.map, "holder", i);
        break;
    case HOLDER_OUT_VIEW: {
        uint64_t epoch = o->u.view.map->groups[o->u.view.group].epoch;
        if (h->id != 0 && h->id == o->u.view.id && epoch <= h->epoch) {
            sim_fail(s, "holder %u got view %llu after %llu", i, (unsigned long long)epoch,
                     (unsigned long long)h->epoch);
        }
        sim_note(s, "holder %u is %u: view %llu of group %u%s%s", i, o->u.view.id,
                 (unsigned long long)epoch, o->u.view.group, o->u.view.member ? "" : ", learner",
                 o->u.view.founder ? ", founder" : "");
        h->id = o->u.view.id;
        h->epoch = epoch;
        m->ops->view(s, i, o);
        break;
    }
    case HOLDER_OUT_LEASE:
        h->lease = o->u.lease;
        ms_saw_lease(s, m, i);
        m->ops->lease(s, i, o->u.lease);
        break;
    case HOLDER_OUT_EXPELLED:
        sim_note(s, "holder %u (%u) finds itself out%s", i, h->id,
                 o->u.expelled.ordered ? " by order" : "");
        h->id = 0;
        h->epoch = 0;
        h->has_data = false;
        h->boot = 0; /* that incarnation is over */
        m->ops->expelled(s, i, o->u.expelled.ordered);
        break;
    case HOLDER_OUT_RELEASED:
        h->id = 0;
        h->boot = 0;
        m->ops->released(s, i);
        break;
    case HOLDER_OUT_WAITS:
        sim_note(s, "holder %u: %s", i, member_reason_text(o->u.waits));
        break;
    case HOLDER_OUT_RESULT:
        h->change_open = false;
        h->change_result = o->u.result.reason;
        sim_note(s, "holder %u: change: %s", i, member_reason_text(o->u.result.reason));
        break;
    }
}

static void arm(struct sim *s, struct ms *m, unsigned i)
{
    uint64_t at = ms_holder_deadline(m, i);
    uint64_t also = m->ops->also_wake != NULL ? m->ops->also_wake(s, i) : SIM_NEVER;
    sim_wake_at(s, m->holder_node[i], also < at ? also : at);
}

static void holder_input(struct sim *s, struct ms *m, unsigned i, struct holder_in *in)
{
    struct ms_holder *h = &m->hold[i];
    in->now_ns = sim_clock(s, m->holder_node[i]);
    m->hout.count = 0;
    m->hout.trace = m->trace;
    m->hout.trace_capacity = sizeof m->trace / sizeof m->trace[0];
    m->hout.trace_count = 0;
    holder_step(h->core, in, &m->hout);
    holder_check(h->core);
    note_traces(s, m, "holder ", i, m->hout.trace_count);
    /* The world may step another holder or this one again while it carries things out. */
    struct holder_out outs[HOLDER_OUT_MAX];
    uint32_t count = m->hout.count;
    memcpy(outs, m->hout.out, count * sizeof outs[0]);
    for (uint32_t k = 0; k < count && h->core != NULL; k++) {
        holder_output(s, m, i, &outs[k]);
    }
    arm(s, m, i);
}

uint64_t ms_holder_deadline(const struct ms *m, unsigned i)
{
    return m->hold[i].core == NULL ? SIM_NEVER : holder_next_deadline(m->hold[i].core);
}

void ms_holder_timer(struct sim *s, struct ms *m, unsigned i)
{
    struct holder_in in = {.kind = HOLDER_IN_TIMER};
    holder_input(s, m, i, &in);
}

void ms_holder_start(struct sim *s, struct ms *m, unsigned i)
{
    struct ms_holder *h = &m->hold[i];
    if (h->memory == NULL) {
        h->memory = mem_alloc(holder_size());
    }
    h->core = holder_init(h->memory, &m->params, &m->genesis, sim_clock(s, m->holder_node[i]));
    h->boot = 0;
    h->id = 0;
    h->epoch = 0;
    h->map_version = 0;
    h->has_data = false;
    h->releasing = false;
    h->change_open = false;
    h->lease = (struct lease){0};
}

void ms_holder_stop(struct sim *s, struct ms *m, unsigned i)
{
    struct ms_holder *h = &m->hold[i];
    h->core = NULL;
    h->boot = 0;
    h->id = 0;
    h->has_data = false;
    h->change_open = false;
    h->lease = (struct lease){0};
    arm(s, m, i);
}

void ms_join(struct sim *s, struct ms *m, unsigned i)
{
    struct ms_holder *h = &m->hold[i];
    struct holder_join join = {.boot = ++m->next_boot, .workers = 1, .peer_port = 2000};
    if (!h->spare) {
        memcpy(join.group, m->genesis.groups[h->home].name, MAP_TEXT_MAX);
    }
    ms_address(i, &join.at);
    h->boot = join.boot;
    struct holder_in in = {.kind = HOLDER_IN_JOIN, .u.join = &join};
    holder_input(s, m, i, &in);
}

void ms_simple(struct sim *s, struct ms *m, unsigned i, enum holder_in_kind kind, uint64_t arg)
{
    struct ms_holder *h = &m->hold[i];
    struct holder_in in = {.kind = kind};
    if (kind == HOLDER_IN_TURN) {
        in.u.began_ns = arg;
    } else if (kind == HOLDER_IN_BLAME) {
        in.u.id = (uint32_t)arg;
    } else if (kind == HOLDER_IN_RELEASE) {
        h->releasing = true;
    }
    holder_input(s, m, i, &in);
}

void ms_change(struct sim *s, struct ms *m, unsigned i, const struct member_change *c)
{
    struct ms_holder *h = &m->hold[i];
    h->change = *c;
    h->change.nonce = ++m->next_boot;
    h->change_open = true;
    h->change_result = MEMBER_PENDING;
    if (c->kind == MEMBER_CHANGE_FORCE && c->id < MS_IDS_MAX) {
        m->ids[c->id].forced = true;
    }
    sim_note(s, "holder %u: an operator wants change %d of %u", i, c->kind, c->id);
    struct holder_in in = {.kind = HOLDER_IN_CHANGE, .u.change = &h->change};
    holder_input(s, m, i, &in);
}

/* ---- from the simulator ---- */

bool ms_deliver(struct sim *s, struct ms *m, unsigned node, unsigned from, const uint8_t *frame,
                size_t len)
{
    int acceptor = ms_acceptor_at(m, node);
    int holder = ms_holder_at(m, node);
    bool ours = acceptor >= 0 || (holder >= 0 && ms_acceptor_at(m, from) >= 0);
    static struct member_map map;
    struct member_msg msg;
    if (!ours || member_msg_decode(frame, len, &msg, &map) != OK) {
        return ours; /* truncated: the connection would be closed */
    }
    if (acceptor >= 0 && m->acc[acceptor].core != NULL) {
        struct acceptor_in in = {.kind = ACCEPTOR_IN_MSG, .u.msg = &msg};
        acceptor_input(s, m, (unsigned)acceptor, &in, from);
    } else if (acceptor < 0 && m->hold[holder].core != NULL) {
        struct holder_in in = {.kind = HOLDER_IN_MSG, .u.msg = &msg};
        holder_input(s, m, (unsigned)holder, &in);
    }
    return true;
}

bool ms_wake(struct sim *s, struct ms *m, unsigned node)
{
    int acceptor = ms_acceptor_at(m, node);
    if (acceptor >= 0 && m->acc[acceptor].core != NULL) {
        struct acceptor_in in = {.kind = ACCEPTOR_IN_TIMER};
        acceptor_input(s, m, (unsigned)acceptor, &in, node);
    }
    return acceptor >= 0;
}
