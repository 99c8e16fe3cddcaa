#ifndef PROXY_FINDER_H
#define PROXY_FINDER_H

#include <stdbool.h>
#include <stdint.h>

#include "coherence/sampler.h"
#include "coherence/sketch.h"
#include "common/loop.h"
#include "proxy/hot_rules.h"
#include "proxy/proxy.h"

/* Finding hot keys (DESIGN section 5, "Which keys"). One finder per worker, in two parts:
 *
 *   - what its clients ask for is sampled into a summary (`seen`), whatever the key;
 *   - of the keys that it owns (slot % workers) it gathers, once an epoch, what all workers of this
 *     process have seen (`frozen`: the epoch just ended), and sends that to the coordinator of its
 *     partition's hot set, whose finder sums it up for the hot set's core (`group`).
 *
 * An epoch is a second of wall-clock time, so that all proxies end theirs together. Counts are
 * halved from one epoch to the next: what is handed on is about twice a steady rate per second
 * (FINDER_EPOCHS), and half of that for a key that is new.
 *
 * Thread: each finder belongs to its worker; exports go from worker to worker by loop_post. */
#define FINDER_EPOCHS 2u /* epochs that the counts stand for */

struct finder_counts { /* for INFO and metrics */
    uint64_t samples;  /* requests looked at */
    uint64_t too_long; /* keys that were too long to follow */
    uint64_t epochs;
    uint64_t lost;    /* exports that a busy worker did not take in time */
    uint64_t reports; /* taken from proxies, this one included */
    uint64_t malformed;
};

struct finder {
    struct sampler sampler; /* all that most requests touch */
    bool on;
    struct proxy_worker *pw;
    struct hot_rules rules;
    struct sketch *seen;
    struct sketch *mine;     /* of my keys: this epoch's exports, as they come */
    struct sketch *frozen;   /* those of the epoch that ended last */
    struct sketch *group;    /* at the coordinator: what the proxies sent in this epoch */
    uint32_t top_max;        /* keys handed on per epoch */
    struct sketch_item *top; /* scratch, of so many */
    struct buf payload;      /* scratch */
    /* one request in so many was looked at, for `mine` and for `group`; the largest */
    uint32_t interval, group_interval;
    struct loop_timer *timer;
    uint8_t phase;
    struct finder_counts counts;
};

struct finder *finder_start(struct proxy_worker *pw);
void finder_stop(struct finder *f); /* NULL allowed */
/* pw->set was replaced. */
void finder_configured(struct finder *f);

/* The request is looked at: after sampler_hit said so. */
void finder_take(struct finder *f, const struct cmd *cmd, const struct span *argv, int argc,
                 unsigned db);

/* Each request that is let through to its command. */
static inline void finder_see(struct finder *f, const struct cmd *cmd, const struct span *argv,
                              int argc, unsigned db)
{
    if (sampler_hit(&f->sampler)) {
        finder_take(f, cmd, argv, argc, db);
    }
}

/* How often a key is used, as OBJECT FREQ tells it: 0 (not followed) to 255, 12.75 for each
 * doubling of its uses per second at this proxy. */
unsigned finder_frequency(const struct finder *f, unsigned db, struct span key);
/* Before workers start: reports come to the finders. */
void finder_prepare(void);
/* Forgets all that was counted. */
void finder_reset(struct finder *f);

#endif
