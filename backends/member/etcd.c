/* The etcd provider: two clients, so that a lease never waits behind anything else. One renews; the
 * other polls everything under the cluster's prefix ten times a second (from the endpoint's own
 * copy: a hint what to try) and proposes at most one next map at a time.
 *
 *                    +--> renew: map unmoved? then lease/<id> --> `lease` event
 *     timers --------+
 *                    +--> poll --> map, leases, wishes --> plan --> map and leases unmoved? put map
 */
#include "backends/member/etcd.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "backends/member/etcd_kv.h"
#include "backends/member/etcd_plan.h"
#include "backends/member/routes.h"
#include "coherence/ts.h"
#include "common/clock.h"
#include "common/clustermap.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

#define POLL_US 100000u
#define NS_PER_MS UINT64_C(1000000)
#define REQUEST_MS 1000u
#define CHANGE_NS (UINT64_C(15) * 1000 * NS_PER_MS) /* an operator is answered by then */
#define LEASES_MAX MAP_NODES_MAX

struct lease_seen { /* of one id */
    uint32_t id;
    uint64_t mod_revision; /* 0: it has none yet */
    uint64_t since_ns;     /* unmoved since, on this clock */
    bool leaves, forced;   /* an operator's wish */
};

enum proposal { PROPOSE_NOTHING, PROPOSE_MAP, PROPOSE_GOING };

struct etcd_provider {
    struct member_provider base; /* first */
    struct loop *loop;
    const struct member_events *events;
    void *arg;
    struct etcd *lease_kv, *kv;
    struct loop_timer *renew_timer, *poll_timer;
    uint64_t lease_ns;
    char prefix[80], map_key[96];
    struct member_map genesis, map; /* map.version 0: none is known */
    uint64_t map_revision;
    bool polled; /* the newest poll was answered, and it had this map or none */
    uint64_t polled_ns;
    /* this process */
    struct member_join join;
    bool wants_join, wants_caught_up, releasing, going;
    uint64_t boot;
    uint32_t id;
    uint16_t group;
    uint64_t epoch;
    uint64_t until_ns, counter, renew_sent_ns;
    bool member;
    enum member_reason waits;
    /* others */
    struct lease_seen seen[LEASES_MAX];
    unsigned seen_count;
    /* what was proposed */
    struct etcd_plan plan;
    enum proposal proposal;
    uint8_t bytes[MAP_WIRE_MAX];
    /* an operator's change */
    struct member_change change;
    bool changing, told;
    uint64_t change_since_ns;
    bool place_known; /* the spare's place was found in the last poll */
    char place[MAP_TEXT_MAX];
    bool asking, reached;
    struct loop_task status_task;
};

static struct etcd_provider *of(struct member_provider *p)
{
    return (struct etcd_provider *)p;
}

static uint64_t promise_ns(const struct etcd_provider *e) /* D(1+rho) */
{
    return e->lease_ns + e->lease_ns / 1000000u * MEMBER_RHO_PPM;
}

static void key_of(const struct etcd_provider *e, const char *kind, uint32_t id,
                   char out[ETCD_KEY_MAX])
{
    snprintf(out, ETCD_KEY_MAX, "%s%s/%" PRIu32, e->prefix, kind, id);
}

static void address_key(const struct etcd_provider *e, const char *kind,
                        const struct map_address *at, char out[ETCD_KEY_MAX])
{
    snprintf(out, ETCD_KEY_MAX, "%s%s/%s:%u", e->prefix, kind, at->host, at->port);
}

/* ---- what is known ---- */

static void say_lease(struct etcd_provider *e, uint64_t until_ns)
{
    e->until_ns = until_ns;
    e->events->lease(e->arg, (struct lease){.epoch = e->epoch, .until_ns = until_ns});
}

static void waits(struct etcd_provider *e, enum member_reason why)
{
    if (e->waits != why) {
        e->waits = why;
        e->events->waits(e->arg, why);
    }
}

static void is_out(struct etcd_provider *e)
{
    uint32_t id = e->id;
    bool released = e->releasing;
    e->id = 0;
    e->boot = 0;
    e->epoch = 0;
    e->wants_caught_up = e->going = false;
    say_lease(e, 0);
    if (released) {
        e->events->released(e->arg);
    } else {
        e->events->expelled(e->arg, map_was_ordered_out(&e->map, id));
    }
}

static void place_in(struct etcd_provider *e, const struct map_node *n)
{
    bool first = e->id == 0;
    uint64_t epoch = e->map.groups[n->group].epoch;
    bool changed = first || epoch != e->epoch;
    e->id = n->id;
    e->group = n->group;
    e->epoch = epoch;
    e->member = (n->flags & MAP_MEMBER) != 0;
    if (first) {
        e->wants_join = false;
        e->waits = MEMBER_DONE;
    }
    if (changed) {
        e->events->view(e->arg, &e->map, n->group, n->id, (n->flags & MAP_FOUNDER) != 0, e->member);
        if (e->until_ns != 0) { /* what was granted is about the incarnation, not the epoch */
            say_lease(e, e->until_ns);
        }
    }
}

static void take_map(struct etcd_provider *e, const struct etcd_kv *kv)
{
    static struct member_map m; /* one loop runs providers; it is copied at once */
    if (kv->mod_revision <= e->map_revision) {
        return;
    }
    if (map_decode((const uint8_t *)kv->value.p, kv->value.len, &m) != OK ||
        m.version <= e->map.version) {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_warning("etcd: what stands at %s is not a cluster map, or an older one: it is not "
                        "followed",
                        e->map_key);
        }
        return;
    }
    e->map = m;
    e->map_revision = kv->mod_revision;
    e->events->map(e->arg, &e->map);
    const struct map_node *n = e->boot != 0 ? map_by_boot(&e->map, e->boot) : NULL;
    if (n != NULL) {
        place_in(e, n);
    } else if (e->id != 0) {
        is_out(e);
    }
}

static struct lease_seen *seen_of(struct etcd_provider *e, uint32_t id)
{
    for (unsigned i = 0; i < e->seen_count; i++) {
        if (e->seen[i].id == id) {
            return &e->seen[i];
        }
    }
    return NULL;
}

/* The list follows the map: who is new is known from now on. */
static void follow_map(struct etcd_provider *e, uint64_t now)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < e->seen_count; i++) {
        if (map_by_id(&e->map, e->seen[i].id) != NULL) {
            e->seen[kept] = e->seen[i];
            e->seen[kept].leaves = e->seen[kept].forced = false;
            kept++;
        }
    }
    e->seen_count = kept;
    for (unsigned i = 0; i < e->map.node_count; i++) {
        if (seen_of(e, e->map.nodes[i].id) == NULL) {
            e->seen[e->seen_count++] =
                (struct lease_seen){.id = e->map.nodes[i].id, .since_ns = now};
        }
    }
}

static const char *key_rest(const struct etcd_provider *e, const struct etcd_kv *kv,
                            const char *kind)
{
    size_t prefix = strlen(e->prefix);
    size_t len = strlen(kind);
    bool is = strncmp(kv->key, e->prefix, prefix) == 0 &&
              strncmp(kv->key + prefix, kind, len) == 0 && kv->key[prefix + len] == '/';
    return is ? kv->key + prefix + len + 1 : NULL;
}

static struct lease_seen *seen_of_key(struct etcd_provider *e, const char *rest)
{
    int64_t id = 0;
    return rest != NULL && num_parse_i64(span_str(rest), &id) && id > 0 && id <= TS_ID_MAX
               ? seen_of(e, (uint32_t)id)
               : NULL;
}

/* Who could not look for a while, because etcd did not answer, has not seen that a lease stood
 * still: nobody could renew. */
static void look_anew(struct etcd_provider *e, uint64_t now)
{
    if (now - e->polled_ns > e->lease_ns / 4) {
        for (unsigned i = 0; i < e->seen_count; i++) {
            e->seen[i].since_ns = now;
        }
    }
    e->polled_ns = now;
}

static void take_poll(struct etcd_provider *e, const struct etcd_answer *a, uint64_t now)
{
    bool has_map = false;
    look_anew(e, now);
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->kvs[i].key, e->map_key) == 0) {
            take_map(e, &a->kvs[i]);
            has_map = a->kvs[i].mod_revision == e->map_revision;
        }
    }
    e->polled = has_map || e->map_revision == 0; /* else the copy is behind: the next one */
    follow_map(e, now);
    char own[ETCD_KEY_MAX];
    address_key(e, "place", &e->join.at, own);
    e->place_known = false;
    for (size_t i = 0; i < a->count; i++) {
        const struct etcd_kv *kv = &a->kvs[i];
        struct lease_seen *s = seen_of_key(e, key_rest(e, kv, "lease"));
        if (s != NULL && kv->mod_revision > s->mod_revision) {
            s->mod_revision = kv->mod_revision;
            s->since_ns = now;
        }
        s = seen_of_key(e, key_rest(e, kv, "leave"));
        if (s != NULL) {
            s->leaves = true;
            s->forced = span_is(kv->value, "force");
        }
        if (strcmp(kv->key, own) == 0 && kv->value.len < sizeof e->place) {
            e->place_known = map_text_set(e->place, kv->value.p, kv->value.len);
        }
    }
}

static void facts_of(struct etcd_provider *e, struct etcd_fact facts[MAP_NODES_MAX], uint64_t now)
{
    for (unsigned i = 0; i < e->map.node_count; i++) {
        const struct lease_seen *s = seen_of(e, e->map.nodes[i].id);
        facts[i] = (struct etcd_fact){0};
        if (s != NULL) {
            facts[i].silent = now - s->since_ns > promise_ns(e) && s->id != e->id;
            facts[i].leaves = s->leaves;
            facts[i].forced = s->forced;
        }
    }
}

/* ---- the lease ---- */

static void renew_in(struct etcd_provider *e, uint64_t ns)
{
    loop_timer_start(e->renew_timer, ns / 1000u);
}

static void on_renewed(void *arg, const struct etcd_answer *a)
{
    struct etcd_provider *e = arg;
    e->reached = a->e == OK;
    renew_in(e, a->e == OK ? e->lease_ns / 4 : e->lease_ns / 16);
    if (a->e != OK || e->id == 0 || e->releasing || e->going) {
        return;
    }
    if (!a->succeeded) {
        if (a->count != 0) {
            take_map(e, &a->kvs[0]);
        }
        renew_in(e, 0); /* with the map that was missed */
        return;
    }
    uint64_t until = e->renew_sent_ns + e->lease_ns - e->lease_ns / 1000000u * MEMBER_RHO_PPM;
    say_lease(e, until > e->until_ns ? until : e->until_ns);
}

/* L8: was there a turn that took too long since the last look? */
static void look_at_turns(struct etcd_provider *e)
{
    uint64_t longest = loop_longest_turn_ns(e->loop);
    if (longest > e->lease_ns / 4 && e->until_ns != 0) {
        log_notice("A turn of the event loop took %llu ms: the lease is asked for anew",
                   (unsigned long long)(longest / NS_PER_MS));
        say_lease(e, 0);
    }
}

static void on_renew_timer(void *arg)
{
    struct etcd_provider *e = arg;
    look_at_turns(e);
    if (e->id == 0 || e->releasing || e->going || etcd_busy(e->lease_kv)) {
        renew_in(e, e->lease_ns / 16);
        return;
    }
    char key[ETCD_KEY_MAX];
    char value[48];
    key_of(e, "lease", e->id, key);
    int n = snprintf(value, sizeof value, "%016" PRIx64 " %" PRIu64, e->boot, ++e->counter);
    struct etcd_txn t = {.compares = 1, .writes = 1, .otherwise = e->map_key};
    t.compare[0].key = e->map_key;
    t.compare[0].mod_revision = e->map_revision;
    t.write[0].key = key;
    t.write[0].value = span_of(value, (size_t)n);
    e->renew_sent_ns = clk_boot_ns(); /* R3: the lease counts from here */
    if (etcd_txn(e->lease_kv, &t, on_renewed, e) != OK) {
        renew_in(e, e->lease_ns / 16);
    }
}

/* ---- proposing ---- */

static void poll_in(struct etcd_provider *e, uint64_t us)
{
    loop_timer_start(e->poll_timer, us);
}

static void on_proposed(void *arg, const struct etcd_answer *a)
{
    struct etcd_provider *e = arg;
    if (a->e == OK && a->succeeded && e->proposal == PROPOSE_MAP) {
        for (unsigned i = 0; i < e->plan.out_count; i++) {
            log_notice("etcd: %u is left out of the cluster", e->plan.out[i]);
        }
    }
    if (a->e == OK && !a->succeeded && a->count != 0) {
        take_map(e, &a->kvs[0]);
    }
    e->proposal = PROPOSE_NOTHING;
    e->polled = false; /* whatever it was, look first */
    poll_in(e, a->e == OK ? 0 : POLL_US);
}

static bool propose(struct etcd_provider *e, enum proposal what)
{
    const struct member_map *base = e->map.version != 0 ? &e->map : &e->genesis;
    if (!map_ok(&e->plan.next) || !map_follows(base, &e->plan.next)) {
        log_warning("etcd: a change of the cluster map that is not allowed was dropped");
        return false;
    }
    char keys[ETCD_OUT_MAX][ETCD_KEY_MAX];
    size_t n = map_encode(&e->plan.next, e->bytes, sizeof e->bytes);
    struct etcd_txn t = {.compares = 1, .writes = 1, .otherwise = e->map_key};
    t.compare[0].key = e->map_key;
    t.compare[0].mod_revision = e->map_revision;
    for (unsigned i = 0; i < e->plan.out_count; i++) {
        const struct lease_seen *s = seen_of(e, e->plan.out[i]);
        must(s != NULL);
        key_of(e, "lease", s->id, keys[i]);
        t.compare[t.compares].key = keys[i];
        t.compare[t.compares++].mod_revision = s->mod_revision;
    }
    t.write[0].key = e->map_key;
    t.write[0].value = span_of((const char *)e->bytes, n);
    e->proposal = what;
    return etcd_txn(e->kv, &t, on_proposed, e) == OK;
}

/* A key of its own is written or deleted; nothing depends on whether that worked: it is looked at
 * again. */
static void on_written(void *arg, const struct etcd_answer *a)
{
    struct etcd_provider *e = arg;
    (void)a;
    e->polled = false;
    poll_in(e, POLL_US / 2);
}

static bool write_key(struct etcd_provider *e, const char *key, const char *text)
{
    struct etcd_txn t = {.writes = 1};
    t.write[0].key = key;
    t.write[0].value = text != NULL ? span_str(text) : span_of(NULL, 0);
    return etcd_txn(e->kv, &t, on_written, e) == OK;
}

/* ---- joining ---- */

static bool try_join(struct etcd_provider *e, const struct etcd_fact *facts)
{
    const struct member_map *base = e->map.version != 0 ? &e->map : &e->genesis;
    struct member_join j = e->join;
    char key[ETCD_KEY_MAX];
    if (base->version == 0 && base->group_count < 2) {
        return false; /* without shards of its own it cannot begin a cluster */
    }
    if (e->genesis.group_count > 1 && !genesis_same_shards(base, &e->genesis)) {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_warning("The `shard` lines name other shards or slots than the cluster has: this "
                        "process is not let in");
        }
        return false;
    }
    if (j.group[0] == '\0') { /* a spare */
        if (!e->place_known) {
            address_key(e, "spare", &j.at, key);
            bool said = e->waits == MEMBER_SPARE;
            waits(e, MEMBER_SPARE);
            return !said && write_key(e, key, "waits");
        }
        memcpy(j.group, e->place, sizeof j.group);
    }
    enum member_reason r = etcd_plan_join(base, facts, &j, e->boot, &e->plan);
    if (r != MEMBER_DONE) {
        waits(e, r);
        return false;
    }
    waits(e, MEMBER_PENDING);
    if (map_members(&e->plan.next, map_group_by_name(base, j.group)) == 1 && base->version != 0 &&
        e->plan.out_count != 0) {
        log_warning("Every process that had data of %s is gone: it starts anew, empty", j.group);
    }
    return propose(e, PROPOSE_MAP);
}

/* ---- an operator's change ---- */

static bool result(struct etcd_provider *e, enum member_reason r)
{
    e->changing = false;
    e->events->result(e->arg, e->change.nonce, r);
    return false;
}

static bool order_out(struct etcd_provider *e, bool force)
{
    char key[ETCD_KEY_MAX];
    e->told = true;
    key_of(e, "leave", e->change.id, key);
    return write_key(e, key, force ? "force" : "leave");
}

/* True: a request was sent. */
static bool work_on_change(struct etcd_provider *e, const struct etcd_fact *facts, uint64_t now)
{
    const struct member_change *c = &e->change;
    char key[ETCD_KEY_MAX];
    if (now - e->change_since_ns > CHANGE_NS) {
        return result(e, MEMBER_PENDING);
    }
    if (c->kind == MEMBER_CHANGE_JOIN) {
        if (map_group_by_name(&e->map, c->group) == MAP_NO_GROUP) {
            return result(e, MEMBER_NO_GROUP);
        }
        address_key(e, "place", &c->at, key);
        if (!e->told) {
            e->told = true;
            return write_key(e, key, c->group);
        }
        return map_by_address(&e->map, &c->at) != NULL ? result(e, MEMBER_DONE) : false;
    }
    if (map_by_id(&e->map, c->id) == NULL) {
        return result(e, e->told ? MEMBER_DONE : MEMBER_NO_NODE);
    }
    if (e->told) {
        return false;
    }
    if (c->kind == MEMBER_CHANGE_REPLACE) {
        const struct map_node *other = map_by_id(&e->map, c->other);
        if (other == NULL) {
            return result(e, MEMBER_NO_NODE);
        }
        if ((other->flags & MAP_MEMBER) == 0) {
            return false; /* when it has caught up */
        }
    } else if (c->kind == MEMBER_CHANGE_LEAVE && etcd_plan_is_last(&e->map, facts, c->id)) {
        return result(e, MEMBER_LAST);
    }
    return order_out(e, c->kind == MEMBER_CHANGE_FORCE);
}

/* ---- one thing at a time ---- */

static bool own_leave(const struct etcd_provider *e, const struct etcd_fact *facts)
{
    for (unsigned i = 0; i < e->map.node_count; i++) {
        if (e->map.nodes[i].id == e->id) {
            return facts[i].leaves &&
                   (facts[i].forced || !etcd_plan_is_last(&e->map, facts, e->id));
        }
    }
    return false;
}

/* The lower its place in the map, the sooner a process leaves others out: they seldom compete. */
static bool its_turn(struct etcd_provider *e, const struct etcd_fact *facts, uint64_t now)
{
    unsigned before = 0;
    for (unsigned i = 0; i < e->map.node_count && e->map.nodes[i].id != e->id; i++) {
        before += !facts[i].silent;
    }
    uint64_t last = 0;
    for (unsigned i = 0; i < e->map.node_count; i++) {
        const struct lease_seen *s = seen_of(e, e->map.nodes[i].id);
        last = facts[i].silent && s->since_ns > last ? s->since_ns : last;
    }
    return now - last > promise_ns(e) + before * e->lease_ns / 16;
}

static bool act(struct etcd_provider *e)
{
    static struct etcd_fact facts[MAP_NODES_MAX];
    uint64_t now = clk_boot_ns();
    facts_of(e, facts, now);
    if (e->wants_join && e->id == 0) {
        return try_join(e, facts);
    }
    if (e->id != 0 && (e->releasing || e->going || own_leave(e, facts))) {
        bool ordered = !e->releasing;
        if (!e->going && !e->releasing) {
            e->going = true; /* no lease from here on */
            say_lease(e, 0);
        }
        return etcd_plan_go(&e->map, e->id, ordered, &e->plan) && propose(e, PROPOSE_GOING);
    }
    if (e->id != 0 && e->wants_caught_up && !e->member) {
        return etcd_plan_promote(&e->map, e->id, &e->plan) && propose(e, PROPOSE_MAP);
    }
    if (e->changing && work_on_change(e, facts, now)) {
        return true;
    }
    return e->id != 0 && its_turn(e, facts, now) &&
           etcd_plan_leave_out(&e->map, facts, e->id, &e->plan) && propose(e, PROPOSE_MAP);
}

static void on_polled(void *arg, const struct etcd_answer *a)
{
    struct etcd_provider *e = arg;
    poll_in(e, POLL_US);
    if (a->e != OK) {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_warning("etcd does not answer: %s; now %s is tried", a->why, etcd_where(e->kv));
        }
        return;
    }
    take_poll(e, a, clk_boot_ns());
}

static void on_poll_timer(void *arg)
{
    struct etcd_provider *e = arg;
    if (etcd_busy(e->kv)) {
        poll_in(e, POLL_US);
        return;
    }
    bool acting = e->polled && act(e);
    e->polled = false;
    if (!acting &&
        (etcd_busy(e->kv) || etcd_range(e->kv, e->prefix, true, true, on_polled, e) != OK)) {
        poll_in(e, POLL_US);
    }
}

/* ---- provider_ops ---- */

static void join(struct member_provider *p, const struct member_join *j)
{
    struct etcd_provider *e = of(p);
    e->join = *j;
    e->wants_join = true;
    e->wants_caught_up = false;
    e->waits = MEMBER_REASON_COUNT; /* said anew */
    do {
        must(getrandom(&e->boot, sizeof e->boot, 0) == (ssize_t)sizeof e->boot);
    } while (e->boot == 0);
}

static void caught_up(struct member_provider *p)
{
    of(p)->wants_caught_up = true;
}

static void release(struct member_provider *p)
{
    struct etcd_provider *e = of(p);
    e->releasing = true;
    e->wants_join = false;
    e->until_ns = 0;
    poll_in(e, 0);
}

static enum err change(struct member_provider *p, const struct member_change *c)
{
    struct etcd_provider *e = of(p);
    if (e->changing) {
        return ERR_BUSY;
    }
    e->change = *c;
    e->changing = true;
    e->told = false;
    e->change_since_ns = clk_boot_ns();
    return OK;
}

static void blame(struct member_provider *p, uint32_t id)
{
    (void)p; /* only its own silence towards etcd leaves a process out (docs/membership.md) */
    (void)id;
}

static void say_status(struct loop_task *task)
{
    struct etcd_provider *e =
        (struct etcd_provider *)(void *)((char *)task -
                                         offsetof(struct etcd_provider, status_task));
    static struct acceptor_status s;
    uint64_t now = clk_boot_ns();
    s = (struct acceptor_status){.version = e->map.version, .votes = e->reached};
    for (unsigned i = 0; i < e->seen_count; i++) {
        s.node[i].id = e->seen[i].id;
        s.node[i].silent_ms = (uint32_t)((now - e->seen[i].since_ns) / NS_PER_MS);
    }
    s.count = (uint16_t)e->seen_count;
    e->asking = false;
    e->events->status(e->arg, 0, e->reached ? &s : NULL, "etcd does not answer");
}

static enum err ask_status(struct member_provider *p)
{
    struct etcd_provider *e = of(p);
    if (e->asking) {
        return ERR_BUSY;
    }
    e->asking = true;
    loop_defer(e->loop, &e->status_task);
    return OK;
}

static const struct member_map *map(const struct member_provider *p)
{
    return &((const struct etcd_provider *)p)->map;
}

static void reach(const struct member_provider *p, unsigned *all, unsigned *reachable)
{
    *all = 1; /* etcd as a whole */
    *reachable = ((const struct etcd_provider *)p)->reached;
}

static void stop(struct member_provider *p)
{
    struct etcd_provider *e = of(p);
    etcd_free(e->lease_kv);
    etcd_free(e->kv);
    loop_timer_free(e->renew_timer);
    loop_timer_free(e->poll_timer);
    loop_defer_cancel(e->loop, &e->status_task);
    mem_free(e);
}

static const struct member_provider_ops etcd_ops = {.name = "etcd",
                                                    .join = join,
                                                    .caught_up = caught_up,
                                                    .release = release,
                                                    .change = change,
                                                    .blame = blame,
                                                    .ask_status = ask_status,
                                                    .map = map,
                                                    .reach = reach,
                                                    .stop = stop};

struct member_provider *etcd_provider_new(struct loop *l, const struct member_settings *set,
                                          const struct member_map *genesis,
                                          const struct member_events *events, void *arg)
{
    struct etcd_provider *e = mem_zalloc(sizeof *e);
    struct etcd_endpoint ep[MAP_ACCEPTORS_MAX];
    char hosts[MAP_ACCEPTORS_MAX][CLUSTER_HOST_MAX];
    unsigned count = 0;
    for (; count < set->etcd_endpoints.n && count < MAP_ACCEPTORS_MAX; count++) {
        must(cluster_parse_endpoint(span_str(set->etcd_endpoints.v[count]), hosts[count],
                                    &ep[count].port) == OK); /* checked by the option */
        ep[count].host = hosts[count];
    }
    e->base.ops = &etcd_ops;
    e->loop = l;
    e->events = events;
    e->arg = arg;
    e->genesis = *genesis;
    e->lease_ns = (uint64_t)set->etcd_lease_ms * NS_PER_MS;
    e->waits = MEMBER_REASON_COUNT;
    snprintf(e->prefix, sizeof e->prefix, "/halcyon/%s/", set->cluster_name);
    snprintf(e->map_key, sizeof e->map_key, "%smap", e->prefix);
    e->lease_kv = etcd_new(l, ep, count, REQUEST_MS);
    e->kv = etcd_new(l, ep, count, REQUEST_MS);
    e->renew_timer = loop_timer_new(l, on_renew_timer, e);
    e->poll_timer = loop_timer_new(l, on_poll_timer, e);
    e->status_task.fn = say_status;
    renew_in(e, 0);
    poll_in(e, 0);
    return &e->base;
}
