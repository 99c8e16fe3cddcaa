/* Fuzz: what a peer may send over verbs. The input is cut into slabs (two bytes of length, then the
 * bytes); each is handed to the receiving side of a link as if it had arrived. Held to: no read
 * beyond the slab, no message above the limit, no more bytes delivered than came in, receives
 * posted again only for slabs that were taken. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "rdma/verbs.h"

#define SLAB_BYTES 512u
#define SLABS 2u
#define MESSAGE_MAX_BYTES 700u

static size_t delivered;

static void on_message(void *arg, uint32_t peer, const void *bytes, size_t len)
{
    (void)arg;
    must(peer == 2);
    must(len <= MESSAGE_MAX_BYTES);
    unsigned char sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum = (unsigned char)(sum + ((const unsigned char *)
                                         bytes)[i]); /* the sanitizer watches the reads */
    }
    delivered += len + (size_t)(sum & 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello h;
    if (hello_decode(data, size, &h) == OK) {
        unsigned char again[HELLO_BYTES];
        hello_encode(&h, again);
        struct hello back;
        must(hello_decode(again, sizeof again, &back) == OK);
        must(back.from == h.from && back.conn == h.conn && back.ack_credits == h.ack_credits);
    }
    static const struct transport_events events = {.message = on_message};
    struct transport t = {.o = {.events = &events, .message_max = MESSAGE_MAX_BYTES}};
    struct verbs v = {.t = &t};
    struct peer peer = {.t = &t, .member = 2};
    struct ibv_recv_wr repost[SLABS];
    struct ibv_sge sge[SLABS];
    struct ibv_mr mr = {0};
    struct verbs_link l = {.base = {.magic = LINK_MAGIC, .state = LINK_UP, .t = &t, .peer = &peer},
                           .v = &v,
                           .mr = &mr,
                           .slab_bytes = SLAB_BYTES,
                           .recv_slabs = SLABS,
                           .repost = repost,
                           .repost_sge = sge};
    delivered = 0;
    size_t arrived = 0;
    const char *lost = NULL;
    while (size >= 2 && lost == NULL) {
        size_t len = (size_t)(data[0] | data[1] << 8) % (SLAB_BYTES + 1);
        data += 2;
        size -= 2;
        len = len < size ? len : size;
        /* what arrived ends where the allocation ends, so that reading beyond it is seen */
        l.region = mem_alloc((size_t)SLAB_BYTES * (SLABS - 1) + len);
        memcpy(l.region + (size_t)SLAB_BYTES * (SLABS - 1), data, len);
        data += len;
        size -= len;
        arrived += len;
        uint32_t before = l.repost_count = 0;
        lost = poll_take_slab(&l, SLABS - 1, (uint32_t)len);
        must((lost == NULL) == (l.repost_count == before + 1));
        mem_free(l.region);
    }
    must(delivered <= arrived);
    for (int i = 0; i < 2; i++) {
        buf_free(&l.partial[i]);
    }
    return 0;
}
