#ifndef RDMA_WIRE_H
#define RDMA_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "rdma/transport.h"

/* Bytes on the wire, shared by all implementations; integers are little-endian.
 *
 * Frame: a 4-byte word (kind << 27 | length of the body), then the body. Over TCP a stream of
 * frames, over verbs a slab holds a slab header and whole frames. Hello: HELLO_BYTES, so small
 * because an InfiniBand connection request has room for 56 bytes of private data. */
#define FRAME_HEAD 4u
#define FRAME_LEN_MAX ((1u << 27) - 1u)

enum frame_kind {
    FRAME_MESSAGE,  /* a message, or the last piece of one */
    FRAME_FRAGMENT, /* a piece; more follow */
    FRAME_HELLO,
    FRAME_ACCEPT, /* body: the acceptor's hello */
    FRAME_REFUSE  /* body: one byte, enum refusal */
};

enum refusal {
    REFUSE_NONE,
    REFUSE_MALFORMED,
    REFUSE_VERSION,
    REFUSE_CLUSTER,
    REFUSE_GROUP,
    REFUSE_WORKER,
    REFUSE_KIND,
    REFUSE_MEMBER,
    REFUSE_STRANGER,
    REFUSE_DUPLICATE,
    REFUSE_COUNT
};
const char *refusal_text(enum refusal r); /* static, never NULL */

#define HELLO_BYTES 56u
struct hello {
    uint16_t version;
    uint32_t from, to; /* member ids: who calls, who is meant */
    uint32_t cluster_hash, group_hash;
    uint16_t worker;
    uint8_t kind; /* enum transport_kind */
    uint64_t epoch;
    uint64_t conn; /* name of the connection: the dialler's sequence number of this call */
    uint64_t
        seq; /* sequence number of the sender's last call to anybody (hello: the same as conn) */
    uint32_t slab_bytes;
    uint16_t data_credits, ack_credits;
};

static inline uint32_t load_u32(const void *p)
{
    const unsigned char *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline void store_u32(void *p, uint32_t v)
{
    unsigned char *b = p;
    b[0] = (unsigned char)v;
    b[1] = (unsigned char)(v >> 8);
    b[2] = (unsigned char)(v >> 16);
    b[3] = (unsigned char)(v >> 24);
}

static inline void frame_put(void *p, enum frame_kind kind, size_t len)
{
    store_u32(p, (uint32_t)kind << 27 | (uint32_t)len);
}

static inline void frame_get(const void *p, unsigned *kind, size_t *len)
{
    uint32_t word = load_u32(p);
    *kind = word >> 27;
    *len = word & FRAME_LEN_MAX;
}

/* 32-bit hash of a cluster or group name, as it goes into a hello. */
uint32_t name_hash(const char *name);
void hello_encode(const struct hello *h, unsigned char out[HELLO_BYTES]);
/* ERR_PROTO: not a hello (magic or length). Other versions are decoded as far as the version field.
 */
enum err hello_decode(const void *bytes, size_t len, struct hello *out) must_use;

#endif
