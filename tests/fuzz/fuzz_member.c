/* The decoders of the membership service's messages and of its state on disk under arbitrary bytes:
 * what they accept encodes to the same bytes again. */
#include <stdint.h>
#include <string.h>

#include "coherence/member.h"
#include "common/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct member_map map;
    static struct member_state state;
    static uint8_t again[MEMBER_STATE_MAX];
    struct member_msg m;
    if (member_msg_decode(data, size, &m, &map) == OK) {
        must(member_msg_encode(&m, again, sizeof again) == size);
        must(memcmp(again, data, size) == 0);
    }
    if (member_state_decode(data, size, &state) == OK) {
        must(member_state_encode(&state, again, sizeof again) == size);
        must(memcmp(again, data, size) == 0);
    }
    return 0;
}
