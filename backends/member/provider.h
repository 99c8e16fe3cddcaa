#ifndef BACKENDS_MEMBER_PROVIDER_H
#define BACKENDS_MEMBER_PROVIDER_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/member/settings.h"
#include "coherence/map.h"
#include "coherence/member.h"
#include "coherence/view.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/loop.h"

/* Where a process' place in the cluster comes from: one interface, several implementations
 * (builtin.c: acceptors of our own; etcd.c).
 *
 * A provider follows the cluster map, has its process let in, and keeps its lease by itself: it
 * renews from the loop that serves (RELIABILITY R1), counts from the sending of what was granted
 * (R3), and drops the lease when a turn of the loop took too long (L8). It belongs to one loop and
 * one thread: that of worker 0. Every function and event runs there. Events never come inside a
 * call of the provider; they may call everything except stop.
 *
 * What an implementation must promise:
 *   - maps come with growing versions, each follows from the one before (map_follows), though
 *     versions may be left out;
 *   - no incarnation id is ever given twice, and none but this process gets this one's;
 *   - `lease` says (epoch, until) only if until then nobody can have a view of the group without
 *     this process in force, nor a view of a later epoch of which it was not told first;
 *   - after `expelled` the process is in no map to come, unless it joins again. */
struct member_provider;

/* What an acceptor knows, for operators. */
struct acceptor_status {
    uint64_t version; /* of the newest map it knows */
    bool votes;       /* false: its disk is full or broken */
    uint16_t count;
    struct {
        uint32_t id;
        uint32_t silent_ms; /* since it was heard of; UINT32_MAX: never */
    } node[MAP_NODES_MAX];
};

struct member_events {
    /* A newer map, borrowed for the call. */
    void (*map)(void *arg, const struct member_map *map);
    /* This process' group has a new view (map_view of map), after `map` with the same map. id: its
     * incarnation; founder: it starts with nothing to catch up with; member: not a learner. */
    void (*view)(void *arg, const struct member_map *map, uint16_t group, uint32_t id, bool founder,
                 bool member);
    /* The pair of H9; until_ns 0: there is no lease. */
    void (*lease)(void *arg, struct lease lease);
    /* It is out of the map (V4), `lease` with nothing came before. The owner drops all state of
     * that incarnation and then calls join again; if it was ordered out by an operator it does not.
     */
    void (*expelled)(void *arg, bool ordered);
    void (*released)(void *arg); /* the map without it is decided, after release */
    void (*waits)(void *arg, enum member_reason reason); /* why it is not let in yet */
    /* Of change. PENDING: nobody could say in time; it may still happen. */
    void (*result)(void *arg, uint64_t nonce, enum member_reason reason);
    /* Of ask_status: for one acceptor. NULL: it cannot be reached, reason says why. */
    void (*status)(void *arg, unsigned acceptor, const struct acceptor_status *status,
                   const char *reason);
};

struct member_join {
    char group[MAP_TEXT_MAX]; /* empty: a spare, which waits for an operator's word */
    struct map_address at;
    uint16_t workers, peer_port;
};

struct member_provider_ops {
    const char *name; /* "builtin" */
    /* Wants to be in the map from now on; again after `expelled`. Draws its own boot number. */
    void (*join)(struct member_provider *p, const struct member_join *join);
    void (*caught_up)(struct member_provider *p); /* this learner has everything (H10) */
    /* Planned stop: no lease from here on. The caller has made sure that nobody serves any more.
     * `released` comes, or does not: give up after a while. */
    void (*release)(struct member_provider *p);
    /* An operator's wish; `result` comes with c->nonce. ERR_BUSY: another one is under way. */
    enum err (*change)(struct member_provider *p, const struct member_change *c);
    /* The member `id` of this group has not answered for 100 ms; 0: nobody any more (G10). */
    void (*blame)(struct member_provider *p, uint32_t id);
    /* `status` comes for every acceptor, within 100 ms. ERR_BUSY: already asked. */
    enum err (*ask_status)(struct member_provider *p);
    /* Something is due (due_ns): the owner's turns are long, so it calls this between two pieces of
     * work rather than let the timer wait. Nothing else is done. NULL: leases are long enough
     * for the timer. */
    void (*tick)(struct member_provider *p);
    /* The newest map; version 0: none is known. Borrowed until the next event. */
    const struct member_map *(*map)(const struct member_provider *p);
    /* Acceptors, and how many of them are reachable now. */
    void (*reach)(const struct member_provider *p, unsigned *all, unsigned *reachable);
    void (*stop)(struct member_provider *p); /* after the loop has ended; frees it */
};

struct member_provider { /* first member of each implementation */
    const struct member_provider_ops *ops;
    uint64_t due_ns; /* CLOCK_BOOTTIME: from then on tick would do something. UINT64_MAX: never */
};

/* The one that `membership` names (builtin or etcd); follows the map from then on. set, genesis:
 * read during the call only. events, arg: borrowed for its life. */
struct member_provider *provider_new(struct loop *l, const struct member_settings *set,
                                     const struct member_map *genesis,
                                     const struct member_events *events, void *arg);

/* Follows the map, without joining, until a shard has a member, and gives that map: for who cannot
 * do anything before. Says in the log what it waits for. Blocks; before any worker exists. */
void provider_first_map(const struct member_settings *set, const struct member_map *genesis,
                        struct member_map *out);

#endif
