/* The membership service of the proxies, by the same rules as hermes_members.c (RELIABILITY 5.2): a
 * promise lasts D(1+rho) on the service's clock from the grant, nobody is left out of a view before
 * every promise to it has run out, a proxy counts from the moment it sent the renewal. Proxies join
 * as members at once; a group of which nobody is left keeps its last view until somebody comes. */
#include <stdio.h>
#include <string.h>

#include "common/must.h"
#include "tests/sim/world_galene.h"

#define SUSPECT_NS (150 * SIM_MS)

enum { GG_RENEW = 0xD0, GG_GRANT, GG_VIEW, GG_RETIRED };

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

static unsigned service(struct sim *s)
{
    return hw_members_node(hw_of(s));
}

static void send_view(struct sim *s, unsigned proxy)
{
    const struct view *v = &gw_of(s)->group.view;
    uint8_t frame[16 + 4 * VIEW_NODES_MAX];
    uint8_t *p = put(frame, GG_VIEW, 1);
    p = put(p, v->epoch, 8);
    p = put(p, v->members, 1);
    for (unsigned i = 0; i < view_count(v); i++) {
        p = put(p, v->ids[i], 4);
    }
    sim_send(s, service(s), gw_node(proxy), frame, (size_t)(p - frame));
}

void gg_install(struct sim *s, const struct view *v)
{
    struct gw *w = gw_of(s);
    must(view_ok(v) && v->epoch > w->group.view.epoch);
    w->group.view = *v;
    sim_hash(s, v->epoch);
    if (s->verbose) {
        char text[96] = "";
        size_t at = 0;
        for (unsigned i = 0; i < view_count(v) && at + 16 < sizeof text; i++) {
            at += (size_t)snprintf(text + at, sizeof text - at, " %u", v->ids[i]);
        }
        sim_note(s, "proxies' view %llu:%s", (unsigned long long)v->epoch, text);
    }
    for (unsigned i = 0; i < w->config.proxies; i++) {
        send_view(s, i);
    }
}

void gg_init(struct sim *s)
{
    struct gw *w = gw_of(s);
    uint32_t ids[GW_PROXIES_MAX];
    for (unsigned i = 0; i < w->config.proxies; i++) {
        ids[i] = ++w->next_id;
        w->group.view_id[i] = ids[i];
        w->group.id_of[i] = ids[i];
    }
    struct view v;
    must(view_make(&v, 1, ids, w->config.proxies, NULL, 0));
    w->group.view = v;
    for (unsigned i = 0; i < w->config.proxies; i++) {
        gp_start(s, i, ids[i]);
        gp_view(s, i, &v);
        if (!w->scripted) {
            gg_renew(s, i);
        }
    }
}

#define RENEW_BYTES 21u
#define GRANT_BYTES 21u

/* R1: t_send is taken on the clock of the proxy, before sending. */
void gg_renew(struct sim *s, unsigned proxy)
{
    const struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    if (p->core == NULL) {
        return;
    }
    uint8_t frame[RENEW_BYTES];
    uint8_t *at = put(frame, GG_RENEW, 1);
    at = put(at, p->id, 4);
    at = put(at, sim_clock(s, gw_node(proxy)), 8);
    at = put(at, galene_view(p->core)->epoch, 8);
    sim_send(s, gw_node(proxy), service(s), frame, (size_t)(at - frame));
}

void gg_at_service(struct sim *s, unsigned from, const uint8_t *frame, size_t len)
{
    struct gw_group *g = &gw_of(s)->group;
    if (len != RENEW_BYTES || frame[0] != GG_RENEW) {
        return;
    }
    uint32_t id = (uint32_t)get(frame + 1, 4);
    if (id > g->id_of[from]) { /* a new incarnation; the old one has to run out first */
        g->id_of[from] = id;
    }
    if (id == g->id_of[from]) {
        g->heard[from] = s->now;
    }
    if (id <= g->used[from]) {
        uint8_t retired[5];
        put(put(retired, GG_RETIRED, 1), id, 4);
        sim_send(s, service(s), gw_node(from), retired, sizeof retired);
    }
    if (get(frame + 13, 8) < g->view.epoch) {
        send_view(s, from);
    }
    if (id == g->view_id[from] && !g->excluding[from]) { /* R2 */
        g->until[from] =
            sim_clock(s, service(s)) + HW_LEASE_NS + HW_LEASE_NS * s->rho_ppm / 1000000;
        uint8_t grant[GRANT_BYTES];
        uint8_t *at = put(grant, GG_GRANT, 1);
        at = put(at, g->view.epoch, 8);
        at = put(at, get(frame + 5, 8), 8);
        at = put(at, id, 4);
        sim_send(s, service(s), gw_node(from), grant, (size_t)(at - grant));
    }
}

static void come_back(struct sim *s, unsigned proxy)
{
    struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    if (!p->joining) {
        p->joining = true;
        sim_at(s, SIM_MS * (5 + sim_choose(s, SITE_MEMBER, 60)), GW_EV_REJOIN, proxy, p->id);
    }
}

void gg_at_proxy(struct sim *s, unsigned proxy, const uint8_t *frame, size_t len)
{
    struct gw_proxy *p = &gw_of(s)->proxies[proxy];
    if (p->core == NULL) {
        return;
    }
    if (frame[0] == GG_GRANT && len == GRANT_BYTES) { /* R3 */
        struct lease lease = {get(frame + 1, 8),
                              get(frame + 9, 8) + HW_LEASE_NS - HW_LEASE_NS * s->rho_ppm / 1000000};
        if ((uint32_t)get(frame + 17, 4) == p->id && lease.epoch >= galene_view(p->core)->epoch &&
            get(frame + 9, 8) > p->lease_sent) {
            p->lease_sent = get(frame + 9, 8);
            gp_lease(s, proxy, lease);
        }
    } else if (frame[0] == GG_RETIRED && len == 5 && (uint32_t)get(frame + 1, 4) == p->id) {
        come_back(s, proxy);
    } else if (frame[0] == GG_VIEW && len >= 10) {
        struct view v = {.epoch = get(frame + 1, 8), .members = frame[9]};
        if (view_count(&v) > VIEW_NODES_MAX || len != 10 + 4 * (size_t)view_count(&v)) {
            return;
        }
        for (unsigned i = 0; i < view_count(&v); i++) {
            v.ids[i] = (uint32_t)get(frame + 10 + 4 * i, 4);
        }
        bool joined = galene_view(p->core)->epoch != 0;
        if (joined || view_index(&v, p->id) >= 0) {
            gp_view(s, proxy, &v);
        }
        if (galene_expelled(p->core)) {
            come_back(s, proxy);
        }
    }
}

/* Whom to leave out. True if somebody waits for it still. */
static bool suspect(struct sim *s)
{
    struct gw *w = gw_of(s);
    struct gw_group *g = &w->group;
    bool waiting = false;
    for (unsigned i = 0; i < w->config.proxies; i++) {
        if (g->view_id[i] == 0) {
            continue;
        }
        bool gone = g->id_of[i] != g->view_id[i] || s->now > g->heard[i] + SUSPECT_NS;
        bool falsely = sim_fault(s, SITE_MEMBER, s->faults.member, 400);
        if ((gone || falsely) && !g->excluding[i]) {
            sim_note(s, "membership wants proxy %u (%u) out%s", i, g->view_id[i],
                     gone ? "" : " (wrongly)");
            g->excluding[i] = true;
        }
        waiting = waiting || (g->excluding[i] && sim_clock(s, service(s)) < g->until[i]);
    }
    return waiting;
}

void gg_tick(struct sim *s)
{
    struct gw *w = gw_of(s);
    struct gw_group *g = &w->group;
    bool waiting = suspect(s);
    uint32_t ids[GW_PROXIES_MAX];
    unsigned count = 0;
    bool change = false;
    for (unsigned i = 0; i < w->config.proxies; i++) {
        if (g->excluding[i] && !waiting) {
            g->excluding[i] = false;
            g->used[i] = g->view_id[i];
            g->view_id[i] = 0;
            change = true;
        }
        bool fresh = g->view_id[i] == 0 && g->id_of[i] > g->used[i] &&
                     s->now <= g->heard[i] + SUSPECT_NS && g->id_of[i] == w->proxies[i].id;
        if (fresh) {
            g->view_id[i] = g->id_of[i];
            change = true;
        }
        if (g->view_id[i] != 0) {
            ids[count++] = g->view_id[i];
        }
    }
    struct view v;
    if (change && count > 0 && view_make(&v, g->view.epoch + 1, ids, count, NULL, 0)) {
        gg_install(s, &v);
    }
}
