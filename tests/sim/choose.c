/* The four back-ends of sim_choose: seeded PRNG, tape, odometer (a tape that counts), fuzzer bytes.
 */
#include "tests/sim/choose.h"

#include <string.h>

#include "common/mem.h"
#include "common/must.h"

static uint64_t splitmix(uint64_t *s)
{
    uint64_t z = (*s += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

void chooser_init_seed(struct chooser *c, uint64_t seed)
{
    memset(c, 0, sizeof *c);
    c->mode = CHOOSE_PRNG;
    for (unsigned i = 0; i < SITE_COUNT; i++) {
        uint64_t s = seed * SITE_COUNT + i;
        c->streams[i] = splitmix(&s);
    }
}

void chooser_init_tape(struct chooser *c, const uint32_t *tape, const uint8_t *sites, size_t count)
{
    memset(c, 0, sizeof *c);
    c->mode = CHOOSE_TAPE;
    c->replay = tape;
    c->replay_sites = sites;
    c->replay_count = count;
}

void chooser_init_bytes(struct chooser *c, const uint8_t *bytes, size_t count)
{
    memset(c, 0, sizeof *c);
    c->mode = CHOOSE_BYTES;
    c->bytes = bytes;
    c->byte_count = count;
}

void chooser_deinit(struct chooser *c)
{
    mem_free(c->tape);
    mem_free(c->bounds);
    mem_free(c->sites);
    c->tape = NULL;
    c->bounds = NULL;
    c->sites = NULL;
}

static uint32_t from_bytes(struct chooser *c, uint32_t n)
{
    uint32_t v = 0;
    for (uint32_t left = n - 1; left != 0 && c->byte_at < c->byte_count; left >>= 8) {
        v = v << 8 | c->bytes[c->byte_at++];
    }
    return v % n;
}

static uint32_t from_tape(struct chooser *c, enum choose_site site)
{
    if (c->replay_sites == NULL) {
        return c->count < c->replay_count ? c->replay[c->count] : 0;
    }
    size_t i = c->replay_at[site];
    while (i < c->replay_count && c->replay_sites[i] != site) {
        i++;
    }
    c->replay_at[site] = i + 1;
    return i < c->replay_count ? c->replay[i] : 0;
}

uint32_t chooser_pick(struct chooser *c, enum choose_site site, uint32_t n)
{
    must(n > 0);
    uint32_t v = 0;
    switch (c->mode) {
    case CHOOSE_PRNG:
        v = (uint32_t)(((splitmix(&c->streams[site]) >> 32) * n) >> 32);
        break;
    case CHOOSE_TAPE:
    case CHOOSE_ODOMETER:
        v = from_tape(c, site) % n;
        break;
    case CHOOSE_BYTES:
        v = from_bytes(c, n);
        break;
    }
    if (c->off[site]) {
        v = 0;
    }
    if (c->count == c->capacity) {
        c->capacity = c->capacity == 0 ? 4096 : c->capacity * 2;
        c->tape = mem_realloc(c->tape, c->capacity * sizeof *c->tape);
        c->bounds = mem_realloc(c->bounds, c->capacity * sizeof *c->bounds);
        c->sites = mem_realloc(c->sites, c->capacity);
    }
    c->tape[c->count] = v;
    c->bounds[c->count] = n;
    c->sites[c->count] = (uint8_t)site;
    c->count++;
    return v;
}

bool odometer_next(const struct chooser *done, size_t depth, uint32_t *tape, size_t *count)
{
    size_t len = done->count < depth ? done->count : depth;
    while (len > 0 && done->tape[len - 1] + 1 >= done->bounds[len - 1]) {
        len--;
    }
    if (len == 0) {
        return false;
    }
    memcpy(tape, done->tape, len * sizeof *tape);
    tape[len - 1]++;
    *count = len;
    return true;
}
