/* What looking for hot keys costs a request: one that is passed over, one that is looked at, and
 * the sum of both at a given load. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "coherence/sampler.h"
#include "coherence/sketch.h"
#include "common/clock.h"
#include "common/must.h"

#define KEYS 100000u
#define CAPACITY 4096u
#define ROUNDS 4000000u

static char names[KEYS][16];

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* Skewed: half of all uses fall on about one key in a thousand. */
static unsigned pick(uint64_t *x, bool skewed)
{
    uint64_t r = next(x);
    return (unsigned)(skewed && (r & 1) != 0 ? (r >> 8) % (KEYS / 1000) : (r >> 8) % KEYS);
}

static void look(struct sketch *s, unsigned n, uint64_t weight)
{
    struct span key = span_of(names[n], sizeof names[n]);
    must(sketch_add(s, XXH3_64bits(key.p, key.len), key, SKETCH_READ, weight));
}

static double sampled(struct sketch *s, bool skewed)
{
    uint64_t x = 88172645463325252u;
    uint64_t start = clk_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        look(s, pick(&x, skewed), 1);
    }
    return (double)(clk_mono_ns() - start) / ROUNDS;
}

static double picking(bool skewed)
{
    uint64_t x = 88172645463325252u;
    uint64_t sum = 0;
    uint64_t start = clk_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        sum += pick(&x, skewed);
    }
    uint64_t end = clk_mono_ns();
    return sum == 1 ? 0 : (double)(end - start) / ROUNDS;
}

int main(void)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char text[32];
        snprintf(text, sizeof text, "key:%012u", i);
        memcpy(names[i], text, sizeof names[i]);
    }
    struct sketch *s = sketch_init(malloc(sketch_size(CAPACITY)), CAPACITY);
    for (int skewed = 0; skewed < 2; skewed++) {
        sketch_reset(s);
        printf("a sampled request, %s keys     %6.1f ns\n", skewed ? "skewed " : "uniform",
               sampled(s, skewed) - picking(skewed));
    }

    struct sampler p;
    uint32_t hits = 0;
    sampler_init(&p, 7);
    p.interval = SAMPLER_INTERVAL_MAX;
    p.left = UINT32_MAX; /* none is looked at */
    uint64_t start = clk_mono_ns();
    for (unsigned i = 0; i < ROUNDS * 10; i++) {
        hits += sampler_hit(&p);
        __asm__ volatile("" : "+m"(p));
    }
    printf("a request that is passed over      %6.2f ns\n",
           (double)(clk_mono_ns() - start) / (ROUNDS * 10.0));

    /* epochs of 1 M requests on uniform keys, as a busy worker has them */
    uint64_t x = 1;
    uint64_t spent = 0;
    for (unsigned epoch = 0; epoch < 20; epoch++) {
        start = clk_mono_ns();
        for (unsigned i = 0; i < 1000000; i++) {
            if (sampler_hit(&p)) {
                look(s, (unsigned)(next(&x) % KEYS), sampler_take(&p));
                hits++;
            }
            __asm__ volatile("" : "+m"(p));
        }
        sampler_epoch(&p);
        spent += clk_mono_ns() - start;
    }
    printf("1 M requests/s: all in all         %6.2f ns per request\n", (double)spent / 20e6);
    struct sketch_item *top = malloc(CAPACITY * sizeof *top);
    start = clk_mono_ns();
    uint32_t n = sketch_top(s, top, CAPACITY / 4);
    uint64_t took = clk_mono_ns() - start;
    start = clk_mono_ns();
    sketch_halve(s);
    printf("end of an epoch: the top %u of %u in %.0f us, halving %.0f us\n", n, CAPACITY,
           (double)took / 1000, (double)(clk_mono_ns() - start) / 1000);
    free(top);
    free(s);
    return hits == 0;
}
