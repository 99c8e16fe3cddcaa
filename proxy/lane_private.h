#ifndef PROXY_LANE_PRIVATE_H
#define PROXY_LANE_PRIVATE_H

#include "proxy/lane.h"

/* Inside of the lanes: what lane.c (choosing) and lane_again.c (asking again) know of each other.
 */

#define LANE_NOBODY "no replica of this hash slot is known"

struct lane {
    struct lanes *all;
    struct call *first; /* wait to be sent again */
    struct call *put;   /* the one that was put there last; NULL: look from the first */
    struct lane *paused_next;
    uint64_t resume_ns; /* when paused */
    uint32_t open;      /* at the node */
    uint32_t seq;       /* of the next call */
    uint16_t partition;
    uint16_t tried; /* bits: replicas that did not serve since the last pause */
    uint8_t replica, channel, proto;
    uint8_t pause_ms;
    bool paused;
    bool proven; /* the replica has served since the lane came to it */
    bool probe;  /* it refused others lately: one request first, then the rest */
};

struct lanes {
    struct lanes *next, *prev; /* of the worker */
    struct proxy_worker *pw;
    uint32_t refs; /* the client, calls, and functions at work */
    uint32_t home;
    uint32_t mixed;     /* reads that go where writes go */
    struct lane lane[]; /* one per partition */
};

/* Gives back a hold on the lanes; the last one frees them. */
void lanes_drop(struct lanes *all);
/* NULL: no replica is at this place. */
struct shard_link *lane_link(const struct lane *lane, unsigned replica);
/* What the choice of a replica depends on: of the slot, or of the client. */
uint64_t lane_preference(const struct lane *lane, bool by_slot, unsigned slot);
/* The replica to ask on the lane's protocol and channel, among those whose bit is not in `not`: the
 * one that `prefer` names if no other is in a better state, one of the best otherwise, such that
 * the requests of a replica that is away are spread over all others. Who is being connected is
 * asked only if nobody is connected. -1: none; *reachable tells whether one of those left out is
 * connected, or will be. */
int lane_choose(const struct lane *lane, uint64_t prefer, unsigned not, bool *reachable);
/* The replica refused, or served, a request. */
void lane_refused(const struct lane *lane);
void lane_served(struct lane *lane);
/* Timer of pauses. */
void lanes_resume(void *arg);

#endif
