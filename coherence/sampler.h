#ifndef COHERENCE_SAMPLER_H
#define COHERENCE_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

/* Looks at one request in `interval`, at random distances, so that no pattern in a pipeline hides a
 * key. The interval follows the load: about SAMPLER_PER_EPOCH samples are taken per epoch, all
 * requests while there are few. */
#define SAMPLER_PER_EPOCH 16384u
#define SAMPLER_INTERVAL_MAX 4096u

struct sampler {
    uint32_t left; /* requests until the next sample */
    uint32_t interval;
    uint32_t taken; /* samples in this epoch, at the present interval */
    uint32_t random;
};

void sampler_init(struct sampler *p, uint32_t seed);
/* After sampler_hit said yes: the weight of this sample. */
uint32_t sampler_take(struct sampler *p);
/* The epoch is over: the interval for the next one. */
void sampler_epoch(struct sampler *p);

/* Is this request looked at? Then sampler_take must follow. */
static inline bool sampler_hit(struct sampler *p)
{
    return __builtin_expect(p->left-- == 0, 0);
}

#endif
