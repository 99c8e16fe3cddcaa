#include "backends/server/stats.h"

#define SUB (1u << HIST_SUB_BITS)

/* Values below SUB have a bucket each; above, the top HIST_SUB_BITS + 1 bits choose it. */
static unsigned bucket_of(uint64_t us)
{
    if (us < SUB) {
        return (unsigned)us;
    }
    unsigned top = 63u - (unsigned)__builtin_clzll(us);
    unsigned shift = top - HIST_SUB_BITS;
    unsigned b = (shift + 1) * SUB + (unsigned)((us >> shift) & (SUB - 1));
    return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

static uint64_t bucket_last(unsigned b)
{
    if (b < SUB) {
        return b;
    }
    unsigned shift = b / SUB - 1;
    return ((uint64_t)(SUB + b % SUB + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t us, uint32_t times)
{
    h->total += times;
    h->n[bucket_of(us)] += times;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    into->total += from->total;
    for (unsigned b = 0; b < HIST_BUCKETS; b++) {
        into->n[b] += from->n[b];
    }
}

uint64_t hist_percentile(const struct hist *h, double q)
{
    if (h->total == 0) {
        return 0;
    }
    uint64_t want = (uint64_t)(q * (double)h->total + 0.5);
    want = want == 0 ? 1 : want;
    uint64_t seen = 0;
    unsigned last = 0;
    for (unsigned b = 0; b < HIST_BUCKETS; b++) {
        if (h->n[b] != 0) {
            seen += h->n[b];
            last = b;
            if (seen >= want) {
                break;
            }
        }
    }
    return bucket_last(last);
}

uint64_t hist_count_upto(const struct hist *h, uint64_t us)
{
    uint64_t seen = 0;
    for (unsigned b = 0; b < HIST_BUCKETS && bucket_last(b) <= us; b++) {
        seen += h->n[b];
    }
    return seen;
}
