#ifndef TESTS_SIM_CHOOSE_H
#define TESTS_SIM_CHOOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The only source of nondeterminism of the simulator (RELIABILITY 2.2). chooser_pick(site, n) gives
 * 0..n-1, and 0 is always the benign choice: deliver next in order, no fault, no delay. So a run
 * can be cut down by turning choices into 0. */
enum choose_site { /* one PRNG stream each: turning off one class does not reshuffle the others */
                   SITE_CONFIG,
                   SITE_NET,
                   SITE_LINK,
                   SITE_NODE,
                   SITE_CLOCK,
                   SITE_MEMBER,
                   SITE_WORK,
                   SITE_COUNT
};

enum choose_mode { CHOOSE_PRNG, CHOOSE_TAPE, CHOOSE_ODOMETER, CHOOSE_BYTES };

struct chooser {
    enum choose_mode mode;
    uint64_t streams[SITE_COUNT];
    bool off[SITE_COUNT]; /* this class answers 0 (shrinking) */
    uint32_t *tape;       /* what was chosen, always recorded */
    uint32_t *bounds;     /* n of each choice */
    uint8_t *sites;       /* enum choose_site of each */
    size_t count, capacity;
    /* What to choose; past the end: 0. With sites, each site takes its own choices in order, so
     * that leaving one out does not shift those of the others; without (odometer) the order of all
     * choices counts. Borrowed. */
    const uint32_t *replay;
    const uint8_t *replay_sites;
    size_t replay_count;
    size_t replay_at[SITE_COUNT];
    const uint8_t *bytes; /* CHOOSE_BYTES. Borrowed */
    size_t byte_count, byte_at;
};

void chooser_init_seed(struct chooser *c, uint64_t seed);
void chooser_init_tape(struct chooser *c, const uint32_t *tape, const uint8_t *sites, size_t count);
void chooser_init_bytes(struct chooser *c, const uint8_t *bytes, size_t count);
void chooser_deinit(struct chooser *c);
uint32_t chooser_pick(struct chooser *c, enum choose_site site, uint32_t n);

/* Odometer: turns the tape of the run just done into that of the next one, over all choices among
 * the first `depth`. Gives the new tape's length in *count; false when all were seen. tape has room
 * for depth. */
bool odometer_next(const struct chooser *done, size_t depth, uint32_t *tape, size_t *count);

#endif
