#ifndef TESTS_SIM_WORLD_GALENE_H
#define TESTS_SIM_WORLD_GALENE_H

#include "coherence/galene.h"
#include "coherence/hotset.h"
#include "tests/sim/world_hermes.h"

/* The Galene world: 2 to 4 proxies with the cores of one partition (entries and hot-set
 * coordinator) in front of a real shard: the three replicas of the Hermes world, its store and its
 * membership. A second membership service, by the same rules, is the proxies'.
 *
 * Nodes 0..2 are replicas, then the proxies, then the node of both membership services, then one
 * for all clients. Messages between proxies may be lost, doubled, late and out of order: more than
 * the transport may do to them. Requests to the shard or their answers get lost with their
 * connection, and what was sent before that may arrive long after.
 *
 *   galene_proxy.c    driver of a proxy: both cores, the shared cache, what must hold at every step
 *   galene_backend.c  requests to the shard, at both ends
 *   galene_group.c    views and leases of the proxies
 *   galene_load.c     clients, histories, the end
 *   world_galene.c    putting it together */
#define GW_REPLICAS 3
#define GW_PROXIES_MAX 4
#define GW_KEYS_MAX 8
#define GW_CLIENTS_MAX 8
#define GW_OPS_MAX 1500
#define GW_REQUESTS_MAX 240
#define GW_BLOBS_MAX 4096
#define GW_HELD_MAX 64
#define GW_LOOP_MAX 512
#define GW_FRAME_MAX 128
#define GW_UNCACHEABLE_LENGTH                                                                      \
    4 /* values appended to more often are too long to be cached (G12)                             \
       */

enum gw_where { /* of a client's operation, at its proxy */
                GW_AT_NOWHERE,
                GW_AT_PARKED, /* behind an earlier one of its client that went cold */
                GW_AT_COLD,   /* at the shard, the core does not know of it */
                GW_AT_CORE,
                GW_AT_REPLIED,
};

struct gw_op {
    struct hist_op h;
    enum galene_op_kind kind;
    bool blind, local, changed;
    uint64_t share;
    uint64_t expire_ms;  /* from its arrival at the shard; 0: none */
    uint64_t generation; /* it was refused with */
    unsigned proxy;
    enum gw_where at;
    enum galene_result result;
    bool open; /* the client waits */
};

struct gw_request {
    bool used;
    uint8_t whose; /* enum gw_whose */
    enum galene_request_kind kind;
    uint64_t core_request, key, generation;
    uint32_t op; /* whose command: number + 1 */
    uint32_t serial;
    unsigned replica;
    uint64_t deadline, give_up; /* proxy's clock */
    bool waiting; /* refused with TRYAGAIN: goes to the next replica at the deadline */
};
enum gw_whose { GW_OF_DRIVER, GW_OF_GALENE, GW_OF_HOTSET };

struct gw_seen { /* the shared cache: what readers see */
    enum galene_seen seen;
    uint64_t ts, expire_ms, generation;
    bool absent;
    int64_t value;
};

struct gw_frame {
    uint16_t len;
    uint8_t bytes[GW_FRAME_MAX];
};

struct gw_proxy {
    struct galene *core;
    struct hotset *hot;
    void *core_memory, *hot_memory;
    uint32_t id;
    struct gw_seen cache[GW_KEYS_MAX];
    struct gw_frame held[GW_HELD_MAX];
    unsigned held_count;
    struct gw_request requests[GW_REQUESTS_MAX];
    int64_t holds;
    int64_t wall_offset_ms;
    bool joining;
    uint64_t lease_sent;
};

struct gw_blob { /* a value or a reply */
    uint32_t refs, next;
    struct hist_value v;
    bool changed;
    uint64_t base;
    bool has_base;
};

struct gw_backend_op { /* beside struct hw_op of the same number: whom to answer */
    unsigned proxy;
    uint32_t id, serial;
    bool lose_answer;
};

struct gw_late { /* a request that was sent and comes much later */
    bool used;
    unsigned proxy, replica;
    struct gw_frame frame;
};

struct gw_group { /* the proxies' membership service */
    struct view view;
    uint32_t id_of[GW_PROXIES_MAX], view_id[GW_PROXIES_MAX], used[GW_PROXIES_MAX];
    uint64_t until[GW_PROXIES_MAX], heard[GW_PROXIES_MAX];
    bool excluding[GW_PROXIES_MAX];
};

struct gw_config {
    unsigned proxies, clients, keys, pipeline;
    bool mix, del, expire, tight, rmw_heavy, switched;
    uint32_t ops;
};

struct gw {
    struct hw hw; /* first: hw_of works on this world too */
    struct gw_config config;
    struct gw_proxy proxies[GW_PROXIES_MAX];
    struct gw_group group;
    struct gw_op ops[GW_OPS_MAX];
    uint32_t op_count;
    unsigned client_proxy[GW_CLIENTS_MAX], client_open[GW_CLIENTS_MAX];
    struct gw_backend_op backend[HW_OPS_MAX];
    struct gw_blob blobs[GW_BLOBS_MAX];
    uint32_t free_blob, limbo;
    struct gw_late late[32];
    struct gw_frame loop[GW_LOOP_MAX]; /* messages of a proxy to itself, in order */
    unsigned loop_count;
    uint32_t next_id, next_serial;
    uint64_t exposed[GW_KEYS_MAX]; /* the largest ts anybody was told of */
    struct galene_outbox out;
    struct galene_trace trace[512];
    struct hotset_outbox hot_out;
    struct hotset_trace hot_trace[256];
    bool scripted;
    bool hold_requests; /* scenarios: requests to the shard stay in held_requests */
    bool no_shadow;     /* scenarios that show what a mutant breaks by the history alone */
    unsigned probes;
};

static inline struct gw *gw_of(struct sim *s)
{
    return s->world;
}
static inline unsigned gw_node(unsigned proxy)
{
    return GW_REPLICAS + proxy;
}

/* ---- galene_proxy.c ---- */
void gp_start(struct sim *s, unsigned proxy, uint32_t id);
void gp_stop(struct sim *s, unsigned proxy);
void gp_frame(struct sim *s, unsigned proxy, const uint8_t *frame, size_t len);
void gp_view(struct sim *s, unsigned proxy, const struct view *v);
void gp_lease(struct sim *s, unsigned proxy, struct lease lease);
void gp_peer(struct sim *s, unsigned proxy, uint32_t peer);
void gp_timer(struct sim *s, unsigned proxy);
void gp_op(struct sim *s, unsigned proxy, uint32_t op); /* to the core */
void gp_answer(struct sim *s, unsigned proxy, enum gw_whose whose, const struct galene_answer *a);
void gp_want(struct sim *s, unsigned proxy, uint64_t key, enum hotset_want want);
void gp_switch(struct sim *s, unsigned proxy, bool on);
void gp_count(struct sim *s, unsigned proxy,
              const struct hotset_count *c); /* NULL: the epoch ends */
uint64_t gp_wall_ms(struct sim *s, unsigned proxy);
bool gp_serves(struct sim *s, unsigned proxy,
               uint64_t key); /* readers would answer from the cache */
void gp_set_wake(struct sim *s, unsigned proxy);
void gp_expose(struct sim *s, uint64_t key, uint64_t ts);
uint32_t gw_blob_new(struct gw *w, const struct gw_blob *b);
void gw_blob_drop(struct gw *w, uint32_t blob);
void gw_limbo_empty(struct gw *w);
void gw_blobs_init(struct gw *w);

/* ---- galene_backend.c ---- */
enum gw_byte { GW_REQUEST = 0xE0, GW_ANSWER, GW_OP };
void gb_request(struct sim *s, unsigned proxy, enum gw_whose whose, const struct galene_request *r);
void gb_at_replica(struct sim *s, unsigned replica, unsigned proxy, const uint8_t *frame,
                   size_t len);
void gb_done(struct sim *s, unsigned replica, const struct hermes_done *d);
void gb_replica_lost(struct sim *s, unsigned replica);
void gb_at_proxy(struct sim *s, unsigned proxy, const uint8_t *frame, size_t len);
void gb_timer(struct sim *s, unsigned proxy);
uint64_t gb_next_deadline(struct sim *s, unsigned proxy);
void gb_late(struct sim *s, unsigned slot);
/* Resolves what a proxy waits for, as when its connections broke (scenarios). */
void gb_break(struct sim *s, unsigned proxy);

/* ---- galene_group.c ---- */
void gg_init(struct sim *s);
void gg_install(struct sim *s, const struct view *v);
void gg_renew(struct sim *s, unsigned proxy);
void gg_at_service(struct sim *s, unsigned proxy, const uint8_t *frame, size_t len);
void gg_at_proxy(struct sim *s, unsigned proxy, const uint8_t *frame, size_t len);
void gg_tick(struct sim *s);

/* ---- galene_load.c ---- */
void gl_init(struct sim *s);
void gl_turn(struct sim *s, unsigned client);
uint32_t gl_issue(struct sim *s, unsigned client, unsigned proxy, const struct gw_op *op);
void gl_arrived(struct sim *s, unsigned proxy, uint32_t op);
void gl_done(struct sim *s, uint32_t op, enum galene_result result, int64_t ret, uint64_t ts);
void gl_cold_answer(struct sim *s, unsigned proxy, uint32_t op, const struct galene_answer *a);
void gl_proxy_lost(struct sim *s, unsigned proxy);
void gl_reply(struct sim *s, uint32_t op);
void gl_chaos(struct sim *s);
bool gl_settled(struct sim *s);
void gl_judge(struct sim *s);

enum gw_event {
    GW_EV_CLIENT = 100,
    GW_EV_RENEW,
    GW_EV_GROUP,
    GW_EV_REPLY,
    GW_EV_REJOIN,
    GW_EV_PEER,
    GW_EV_CHAOS,
    GW_EV_LATE
};
extern const struct sim_world world_galene;

/* scenario_galene.c: scripted runs named after the rules; gives how many failed. */
int scenarios_galene(void);

#endif
