#ifndef PROXY_PROFILE_H
#define PROXY_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "coherence/sketch.h"
#include "common/slot.h"
#include "proxy/proxy.h"

/* A session of HOTKEYS START .. STOP, as Redis 8.6 has it: time and bytes per key, while it runs.
 * One per worker, made and thrown away by all of them together. Without one a request pays a
 * branch.
 *
 * Time is what INFO commandstats counts: from a request's arrival to its reply, nodes included; for
 * a read answered from the cache, what it took here. Bytes: of request and reply. What a command
 * did is counted for each of its keys. */

enum profile_metric { PROFILE_CPU = 1, PROFILE_NET = 2 };
#define PROFILE_COUNT_MAX 64u /* HOTKEYS START COUNT */

struct profile_options {
    unsigned metrics;               /* enum profile_metric, ored */
    uint32_t count;                 /* keys told */
    uint32_t ratio;                 /* one request in so many is looked at */
    uint64_t start_ms, duration_ms; /* duration 0: until stopped */
    bool has_slots;
    uint8_t slots[SLOT_COUNT / 8]; /* bits; all of them if !has_slots */
};

struct profile_sums {
    uint64_t all, selected, sampled; /* all commands; those on selected slots; and looked at */
};

struct profile {
    struct profile_options with;
    bool active;
    uint64_t end_ms;  /* when it was stopped */
    uint64_t mark_ns; /* end of what was last counted in this batch */
    uint32_t random;
    struct profile_sums us, bytes;
    struct sketch *cpu, *net;
};

struct profile *profile_new(const struct profile_options *with, uint32_t seed);
void profile_free(struct profile *p); /* NULL allowed */
/* Still running at this time? Stops it when its duration is over. */
bool profile_runs(struct profile *p, uint64_t now_ms);
void profile_stop(struct profile *p, uint64_t now_ms);

static inline bool profile_has_slot(const struct profile_options *o, unsigned slot)
{
    return !o->has_slots || (o->slots[slot / 8] >> (slot % 8) & 1) != 0;
}

/* A request that a node answered; request: as it was sent to the node, keys in their inner form.
 * Only if pw->profile is set. */
void profile_forwarded(struct proxy_worker *pw, struct span request, size_t reply_bytes,
                       uint64_t ns);
/* A request answered here. */
void profile_local(struct proxy_worker *pw, const struct cmd *cmd, const struct conn_req *q,
                   unsigned db, size_t reply_bytes);

#endif
