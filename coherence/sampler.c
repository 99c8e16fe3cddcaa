/* Which requests are looked at for hot keys. */
#include "coherence/sampler.h"

void sampler_init(struct sampler *p, uint32_t seed)
{
    *p = (struct sampler){.interval = 1, .random = seed | 1};
}

static uint32_t next_random(struct sampler *p)
{
    uint32_t x = p->random; /* xorshift32 */
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    p->random = x;
    return x;
}

uint32_t sampler_take(struct sampler *p)
{
    uint32_t weight = p->interval;
    if (++p->taken >= SAMPLER_PER_EPOCH && p->interval < SAMPLER_INTERVAL_MAX) {
        p->interval *= 2; /* more than was thought: do not wait for the end of the epoch */
        p->taken /= 2;
    }
    /* 0 .. 2 * interval - 2, interval - 1 in the mean */
    p->left = p->interval == 1 ? 0 : next_random(p) % (p->interval * 2 - 1);
    return weight;
}

void sampler_epoch(struct sampler *p)
{
    while (p->interval > 1 && p->taken < SAMPLER_PER_EPOCH / 2) {
        p->interval /= 2;
        p->taken = p->taken * 2 + 1;
    }
    p->taken = 0;
    if (p->left > p->interval * 2) {
        p->left = p->interval;
    }
}
