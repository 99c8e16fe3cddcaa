#ifndef BACKENDS_MEMBER_ETCD_PLAN_H
#define BACKENDS_MEMBER_ETCD_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/member/provider.h"
#include "coherence/map.h"

/* What a process wants the next cluster map to be, with etcd as the register: pure functions from
 * the map there is, and what is known of its nodes, to the next one. The rules are those of
 * coherence/member.h ("Who may be left out"); here each process acts for itself. */

/* What is known of nodes[i] of a map. */
struct etcd_fact {
    bool silent; /* its lease has stood still for as long as it may hold (RELIABILITY 5.2) */
    bool leaves; /* an operator wants it out */
    bool forced; /* even if it is the last one with the data */
};

/* At most so many are left out at once: each is a comparison in the transaction. */
#define ETCD_OUT_MAX 3u
struct etcd_plan {
    struct member_map next;
    uint32_t out[ETCD_OUT_MAX]; /* ids left out, which must not have renewed meanwhile */
    unsigned out_count;
};

/* This process into the map. An earlier process of its address is left out, and must be silent.
 * MEMBER_DONE: p is what to propose; anything else is why not (now). base version 0: the genesis.
 */
enum member_reason etcd_plan_join(const struct member_map *base, const struct etcd_fact *facts,
                                  const struct member_join *join, uint64_t boot,
                                  struct etcd_plan *p);
/* Without the silent ones, as far as they may be left out; nobody speaks for `self` but itself.
 * False: nobody is to go. */
bool etcd_plan_leave_out(const struct member_map *base, const struct etcd_fact *facts,
                         uint32_t self, struct etcd_plan *p);
/* The learner `id` a member. False: it is none. */
bool etcd_plan_promote(const struct member_map *base, uint32_t id, struct etcd_plan *p);
/* Without `id`, by its own wish (its lease is given back). ordered: it does not come back by
 * itself. False: it is not in the map. */
bool etcd_plan_go(const struct member_map *base, uint32_t id, bool ordered, struct etcd_plan *p);
/* May an operator's LEAVE be carried out, that is, is there another member with the data? */
bool etcd_plan_is_last(const struct member_map *base, const struct etcd_fact *facts, uint32_t id);

#endif
