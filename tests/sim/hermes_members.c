/* The membership service of the Hermes world: one node that never fails, reached over faulty links,
 * with a clock of its own.
 *
 * It keeps to R1-R4 of RELIABILITY 5.2 as if it were a majority of acceptors: a promise lasts
 * D(1+rho) on its clock from the grant; a member is left out of a view only after every promise to
 * it has run out, and gets no new one from the moment this is wanted; a replica counts its lease
 * from the moment it sent the renewal, D(1-rho) on its own clock. Restarted or expelled replicas
 * come back under new ids, as learners, and are promoted when they say they have everything. It
 * never removes the last live member that has everything: that would be losing the data, not a
 * fault to survive. */
#include <stdio.h>
#include <string.h>

#include "common/must.h"
#include "tests/sim/world_hermes.h"

#define SUSPECT_NS (150 * SIM_MS)

static uint8_t *put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
    return p + bytes;
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

#define RENEW_BYTES 22u
#define GRANT_BYTES 21u

static void send_view(struct sim *s, unsigned to)
{
    struct hw *w = hw_of(s);
    const struct view *v = &w->members.view;
    uint8_t frame[16 + 4 * VIEW_NODES_MAX];
    uint8_t *p = put(frame, HW_VIEW, 1);
    p = put(p, v->epoch, 8);
    p = put(p, v->members, 1);
    p = put(p, v->learners, 1);
    for (unsigned i = 0; i < view_count(v); i++) {
        p = put(p, v->ids[i], 4);
    }
    sim_send(s, hw_members_node(w), to, frame, (size_t)(p - frame));
}

void hw_members_install(struct sim *s, const struct view *v)
{
    struct hw *w = hw_of(s);
    must(view_ok(v) && v->epoch > w->members.view.epoch);
    w->members.view = *v;
    sim_hash(s, v->epoch);
    if (s->verbose) {
        char text[128] = "";
        size_t at = 0;
        for (unsigned i = 0; i < view_count(v) && at + 16 < sizeof text; i++) {
            at += (size_t)snprintf(text + at, sizeof text - at, i < v->members ? " %u" : " (%u)",
                                   v->ids[i]);
        }
        sim_note(s, "view %llu:%s", (unsigned long long)v->epoch, text);
    }
    for (unsigned i = 0; i < w->config.replicas; i++) {
        send_view(s, i);
    }
}

void hw_members_init(struct sim *s)
{
    struct hw *w = hw_of(s);
    uint32_t ids[HW_REPLICAS_MAX];
    for (unsigned i = 0; i < w->config.replicas; i++) {
        ids[i] = ++w->next_id;
        w->members.view_id[i] = ids[i];
        w->members.id_of[i] = ids[i];
        w->members.caught_up[i] = true;
    }
    struct view v;
    must(view_make(&v, 1, ids, w->config.replicas, NULL, 0));
    w->members.view = v;
    for (unsigned i = 0; i < w->config.replicas; i++) {
        hw_node_start(s, i, ids[i], true);
        hw_node_view(s, i, &v);
        if (!w->scripted) {
            hw_renew(s, i);
        }
    }
}

static bool has_everything(struct sim *s, unsigned node)
{
    const struct hw *w = hw_of(s);
    return s->nodes[node].up && w->nodes[node].core != NULL &&
           w->members.view_id[node] == w->nodes[node].id &&
           view_is_member(&w->members.view, w->nodes[node].id) &&
           hermes_caught_up(w->nodes[node].core);
}

bool hw_is_last(struct sim *s, unsigned node)
{
    for (unsigned i = 0; i < hw_of(s)->config.replicas; i++) {
        if (i != node && has_everything(s, i) && !hw_of(s)->members.excluding[i]) {
            return false;
        }
    }
    return has_everything(s, node);
}

/* R1: t_send is taken on the clock of the replica, before sending. */
void hw_renew(struct sim *s, unsigned node)
{
    struct hw *w = hw_of(s);
    struct hw_node *n = &w->nodes[node];
    if (n->core == NULL) {
        return;
    }
    uint8_t frame[RENEW_BYTES];
    uint8_t *p = put(frame, HW_RENEW, 1);
    p = put(p, n->id, 4);
    p = put(p, sim_clock(s, node), 8);
    p = put(p, hermes_view(n->core)->epoch, 8);
    p = put(p, hermes_caught_up(n->core), 1);
    sim_send(s, node, hw_members_node(w), frame, (size_t)(p - frame));
}

void hw_members_frame(struct sim *s, unsigned from, const uint8_t *frame, size_t len)
{
    struct hw *w = hw_of(s);
    struct hw_members *m = &w->members;
    if (len != RENEW_BYTES || frame[0] != HW_RENEW || from >= w->config.replicas) {
        return;
    }
    uint32_t id = (uint32_t)get(frame + 1, 4);
    uint64_t t_send = get(frame + 5, 8);
    uint64_t epoch = get(frame + 13, 8);
    if (id > m->id_of[from]) { /* a new incarnation; the old one has to run out first */
        m->id_of[from] = id;
        m->caught_up[from] = false;
    }
    if (id == m->id_of[from]) {
        m->heard[from] = s->now;
        m->caught_up[from] = frame[21] != 0;
    }
    if (id <= m->used[from]) { /* out already, perhaps before it knew that it was in */
        uint8_t retired[5];
        put(put(retired, HW_RETIRED, 1), id, 4);
        sim_send(s, hw_members_node(w), from, retired, sizeof retired);
    }
    if (epoch < m->view.epoch) {
        send_view(s, from);
    }
    if (id == m->view_id[from] && !m->excluding[from]) { /* R2 */
        m->until[from] =
            sim_clock(s, hw_members_node(w)) + HW_LEASE_NS + HW_LEASE_NS * s->rho_ppm / 1000000;
        uint8_t grant[GRANT_BYTES];
        uint8_t *p = put(grant, HW_GRANT, 1);
        p = put(p, m->view.epoch, 8);
        p = put(p, t_send, 8);
        p = put(p, id, 4);
        sim_send(s, hw_members_node(w), from, grant, (size_t)(p - grant));
    }
}

/* As a new incarnation, a little later. */
static void come_back(struct sim *s, unsigned node)
{
    struct hw_node *n = &hw_of(s)->nodes[node];
    if (!n->joining) {
        n->joining = true;
        sim_at(s, SIM_MS * (5 + sim_choose(s, SITE_MEMBER, 100)), HW_EV_REJOIN, node, n->id);
    }
}

void hw_members_answer(struct sim *s, unsigned node, const uint8_t *frame, size_t len)
{
    struct hw_node *n = &hw_of(s)->nodes[node];
    if (n->core == NULL) {
        return;
    }
    if (frame[0] == HW_GRANT && len == GRANT_BYTES) { /* R3 */
        struct lease lease = {get(frame + 1, 8),
                              get(frame + 9, 8) + HW_LEASE_NS - HW_LEASE_NS * s->rho_ppm / 1000000};
        if ((uint32_t)get(frame + 17, 4) == n->id && lease.epoch >= hermes_view(n->core)->epoch &&
            get(frame + 9, 8) > n->lease_sent) {
            n->lease_sent = get(frame + 9, 8);
            hw_node_lease(s, node, lease);
        }
    } else if (frame[0] == HW_RETIRED && len == 5 && (uint32_t)get(frame + 1, 4) == n->id) {
        come_back(s, node);
    } else if (frame[0] == HW_VIEW && len >= 11) {
        struct view v = {.epoch = get(frame + 1, 8), .members = frame[9], .learners = frame[10]};
        if (view_count(&v) > VIEW_NODES_MAX || len != 11 + 4 * (size_t)view_count(&v)) {
            return;
        }
        for (unsigned i = 0; i < view_count(&v); i++) {
            v.ids[i] = (uint32_t)get(frame + 11 + 4 * i, 4);
        }
        bool joined = hermes_view(n->core)->epoch != 0;
        if (joined || view_index(&v, n->id) >= 0) { /* not the view from before it asked to join */
            hw_node_view(s, node, &v);
        }
        if (hermes_expelled(n->core)) {
            come_back(s, node);
        }
    }
}

/* Whom to leave out. True if somebody waits for it still. */
static bool suspect(struct sim *s)
{
    struct hw *w = hw_of(s);
    struct hw_members *m = &w->members;
    bool waiting = false;
    for (unsigned i = 0; i < w->config.replicas; i++) {
        if (m->view_id[i] == 0) {
            continue;
        }
        bool gone = m->id_of[i] != m->view_id[i] || s->now > m->heard[i] + SUSPECT_NS;
        bool falsely = sim_fault(s, SITE_MEMBER, s->faults.member, 600);
        if ((gone || falsely) && !m->excluding[i] && !hw_is_last(s, i)) {
            sim_note(s, "membership wants node %u (%u) out%s", i, m->view_id[i],
                     gone ? "" : " (wrongly)");
            m->excluding[i] = true;
        }
        waiting = waiting || (m->excluding[i] && sim_clock(s, hw_members_node(w)) < m->until[i]);
    }
    return waiting;
}

void hw_members_tick(struct sim *s)
{
    struct hw *w = hw_of(s);
    struct hw_members *m = &w->members;
    bool waiting = suspect(s);
    uint32_t members[HW_REPLICAS_MAX];
    uint32_t learners[HW_REPLICAS_MAX];
    unsigned member_count = 0;
    unsigned learner_count = 0;
    bool change = false;
    for (unsigned i = 0; i < w->config.replicas; i++) {
        if (m->excluding[i] &&
            waiting) { /* all that are to go, go together, when the last promise has run out */
            if (view_is_member(&m->view, m->view_id[i])) {
                members[member_count++] = m->view_id[i];
            } else {
                learners[learner_count++] = m->view_id[i];
            }
            continue;
        }
        if (m->excluding[i]) {
            m->excluding[i] = false;
            m->used[i] = m->view_id[i];
            m->view_id[i] = 0;
            change = true;
        }
        bool fresh = m->view_id[i] == 0 && m->id_of[i] > m->used[i] &&
                     !view_is_member(&m->view, m->id_of[i]) &&
                     !view_is_learner(&m->view, m->id_of[i]) &&
                     s->now <= m->heard[i] + SUSPECT_NS && !m->caught_up[i];
        if (fresh && m->id_of[i] == w->nodes[i].id) {
            m->view_id[i] = m->id_of[i];
            learners[learner_count++] = m->view_id[i];
            change = true;
        } else if (m->view_id[i] != 0 && view_is_member(&m->view, m->view_id[i])) {
            members[member_count++] = m->view_id[i];
        } else if (m->view_id[i] != 0) {
            bool promote = m->caught_up[i] && m->id_of[i] == m->view_id[i] &&
                           !sim_chance(s, SITE_MEMBER, 1, 4);
            if (promote) {
                members[member_count++] = m->view_id[i];
            } else {
                learners[learner_count++] = m->view_id[i];
            }
            change = change || promote;
        }
    }
    struct view v;
    if (change && member_count > 0 &&
        view_make(&v, m->view.epoch + 1, members, member_count, learners, learner_count)) {
        hw_members_install(s, &v);
    }
}
