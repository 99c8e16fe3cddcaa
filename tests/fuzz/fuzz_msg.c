/* The decoder of Hermes messages under arbitrary bytes: what it accepts encodes to the same bytes
 * again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/msg.h"
#include "common/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hermes_msg m;
    struct msg_bytes b;
    if (msg_decode(data, size, &m, &b) != OK) {
        return 0;
    }
    static struct hermes_part parts[MSG_PARTS_MAX];
    static struct msg_key keys[MSG_PARTS_MAX];
    const uint8_t *at = b.parts;
    for (uint32_t i = 0; i < m.part_count; i++) {
        msg_part_next(&at, &parts[i], &keys[i]);
    }
    m.parts = parts;
    b.part_keys = keys;
    must(msg_size(&m, &b) == size);
    uint8_t *again = malloc(size);
    must(again != NULL && msg_encode(&m, &b, again, size) == size);
    must(memcmp(again, data, size) == 0);
    free(again);
    return 0;
}
