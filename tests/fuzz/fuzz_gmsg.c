/* The decoder of messages between proxies under arbitrary bytes: what it accepts encodes to the
 * same bytes again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/gmsg.h"
#include "common/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gmsg m;
    struct msg_bytes b;
    if (gmsg_decode(data, size, &m, &b) != OK) {
        return 0;
    }
    must(gmsg_size(m.kind, &b) == size);
    uint8_t *again = malloc(size);
    must(again != NULL && gmsg_encode(&m, &b, again, size) == size);
    must(memcmp(again, data, size) == 0);
    free(again);
    return 0;
}
