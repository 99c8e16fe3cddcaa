#ifndef COHERENCE_TS_H
#define COHERENCE_TS_H

#include <stdint.h>

/* Per-key logical timestamps (DESIGN section 3): one u64, version in the upper 44 bits, the id of
 * the incarnation that made it in the lower 20. Compared as one integer. Id 0 is no incarnation:
 * (version, 0) is what an absent key counts as in a slot whose tombstones were purged up to that
 * version (rule H8), and 0 is a key that never was. */
#define TS_ID_BITS 20
#define TS_ID_MAX ((UINT32_C(1) << TS_ID_BITS) - 1)
#define TS_VERSION_MAX ((UINT64_C(1) << (64 - TS_ID_BITS)) - 1)

static inline uint64_t ts_make(uint64_t version, uint32_t id)
{
    return version << TS_ID_BITS | id;
}

static inline uint64_t ts_version(uint64_t ts)
{
    return ts >> TS_ID_BITS;
}

static inline uint32_t ts_id(uint64_t ts)
{
    return (uint32_t)(ts & TS_ID_MAX);
}

#endif
