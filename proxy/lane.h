#ifndef PROXY_LANE_H
#define PROXY_LANE_H

#include "common/must.h"
#include "proxy/proxy.h"

/* Where a request goes, and the order of a client's requests when a shard has several replicas
 * (DESIGN H9, H11, H13, H14).
 *
 * A *lane* is what one client has under way in one partition. A key belongs to one partition, so
 * order within a lane is all the order there is to keep. With nothing under way a lane is free to
 * choose: a read goes to the client's home replica, a write to the replica that its slot prefers,
 * others stand in for those that are not well. While something is under way the lane sticks to the
 * replica and the link it is on.
 *
 * A request that was certainly not executed (refused by a replica without lease, or lost before it
 * left, or a read) waits in its lane until everything else of the lane is answered, and is then
 * sent to the next replica, with all others that wait, in their first order. Meanwhile the client's
 * further requests for this lane are not read. Limits: backend-timeout since it was first sent.
 *
 * Without replicated shards there are no lanes, and a target is a link. Everything here belongs to
 * one worker. */

struct lane;

struct target {
    struct shard_link *l; /* NULL: none can be named */
    struct lane *lane;    /* NULL: the shards are not replicated */
    uint16_t slot;
    const char *why; /* the node cannot be reached: the reason */
};

enum target_how {
    TARGET_READ = 0,
    TARGET_WRITE = 1,
    TARGET_LONG = 2,   /* a read that may take its time: it is waited for as for a write */
    TARGET_MANY = 4,   /* touches other slots of the partition too */
    TARGET_PLACED = 8, /* a read that goes where the slot's writes go: its cursor means something to
                          one replica only */
};

#define SLOT_MANY SLOT_COUNT /* struct call.slot of such a request */

/* As target_find, when there are replicas. */
bool lane_target(struct client *c, unsigned partition, unsigned slot, unsigned how,
                 struct target *t);
/* The call is about to be committed to the lane's link; gives the flags for it. */
unsigned lane_enter(struct lane *lane, struct call *k, unsigned slot);
/* The outcome of a call that is in a lane (lane_again.c). */
void lane_done(struct call *k, enum shard_result result, struct span bytes, struct span request);
/* The client's lane of a partition. */
struct lane *lane_for(struct client *c, unsigned partition);
/* A call that the core of its key had (hot.h) is answered, and in no lane any more: the rest of
 * this one, where it was counted, goes on. */
void lane_leave(struct lane *lane);
/* The core gives a call back unexecuted: it waits in its lane (or gets one), as if a replica had
 * refused it. c: its client, or that of the gather it is part of. */
void lane_wait_again(struct call *k, struct client *c, unsigned slot, struct span request);
/* The same for a particular replica (route_tag). *away: that replica cannot be asked, another may.
 */
bool lane_target_replica(struct client *c, unsigned partition, unsigned tag, struct target *t,
                         bool *away);
/* The client goes; what is under way goes on without it. */
void lanes_close(struct client *c);
void lanes_start(struct proxy_worker *pw);
/* Connects to every replica there is, so that nobody has to wait for it (also after route_follow).
 */
void lanes_connect(struct proxy_worker *pw);
/* The replica at this place is gone (route_follow; arg is the worker). */
void lanes_left(void *arg, unsigned partition, unsigned place);
void lanes_stop(struct proxy_worker *pw); /* after all clients are gone */
/* Replicas this worker cannot reach now. */
unsigned lanes_away(const struct proxy_worker *pw);
/* A link for a question to any replica of a partition, by nobody in particular. NULL: there is no
 * replica. */
struct shard_link *lane_any(struct proxy_worker *pw, unsigned partition, uint8_t proto);

/* Finds where a request for this slot, of this partition, goes. how: TARGET_. True: it can be sent
 * now. False: target_refused says so. */
static inline bool target_find(struct client *c, unsigned partition, unsigned slot, unsigned how,
                               struct target *t)
{
    struct proxy_worker *pw = c->pw;
    if (__builtin_expect(pw->route->many, 0)) {
        return lane_target(c, partition, slot, how, t);
    }
    t->lane = NULL;
    t->l = shard_link(pw->pool, route_replica(pw->route, partition, 0), c->s.c.proto);
    t->why = shard_down(t->l);
    return t->why == NULL && !shard_full(t->l);
}

/* Refuses, or lets the client wait. */
enum taken target_refused(struct client *c, const struct admitted *a, int argc,
                          const struct target *t);

/* Commits what was appended to t->l since shard_begin as the request of k. */
static inline void target_commit(const struct target *t, struct call *k)
{
    unsigned flags = k->write ? SHARD_WRITE : 0;
    k->lane = t->lane;
    if (__builtin_expect(t->lane != NULL, 0)) {
        flags |= lane_enter(t->lane, k, t->slot);
    }
    shard_commit(t->l, &k->sr, flags);
}

#endif
