/* Encoding of the hello that opens every peer connection, and the words for refusing one. */
#include "rdma/wire.h"

#include <string.h>

#define HELLO_MAGIC 0x4c48u

static const char *const refusal_texts[REFUSE_COUNT] = {
    [REFUSE_NONE] = "not refused",
    [REFUSE_MALFORMED] = "does not speak the peer protocol",
    [REFUSE_VERSION] = "speaks another version of the peer protocol",
    [REFUSE_CLUSTER] = "belongs to another cluster (cluster names differ)",
    [REFUSE_GROUP] = "belongs to another group",
    [REFUSE_WORKER] = "is another worker index (worker counts or ports differ)",
    [REFUSE_KIND] = "uses another transport (set the same transport on all members)",
    [REFUSE_MEMBER] = "means another member (this address belongs to a different incarnation)",
    [REFUSE_STRANGER] = "is not a member of this view",
    [REFUSE_DUPLICATE] = "is connected already",
};

const char *refusal_text(enum refusal r)
{
    return (unsigned)r < REFUSE_COUNT ? refusal_texts[r] : "unknown reason";
}

uint32_t name_hash(const char *name)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *name != '\0'; name++) {
        h = (h ^ (unsigned char)*name) * 16777619u;
    }
    return h;
}

static void store_u16(unsigned char *p, uint16_t v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

static uint16_t load_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void store_u64(unsigned char *p, uint64_t v)
{
    store_u32(p, (uint32_t)v);
    store_u32(p + 4, (uint32_t)(v >> 32));
}

static uint64_t load_u64(const unsigned char *p)
{
    return load_u32(p) | (uint64_t)load_u32(p + 4) << 32;
}

void hello_encode(const struct hello *h, unsigned char out[HELLO_BYTES])
{
    memset(out, 0, HELLO_BYTES);
    store_u16(out, HELLO_MAGIC);
    store_u16(out + 2, h->version);
    store_u32(out + 4, h->from);
    store_u32(out + 8, h->to);
    store_u32(out + 12, h->cluster_hash);
    store_u32(out + 16, h->group_hash);
    store_u16(out + 20, h->worker);
    out[22] = h->kind;
    store_u64(out + 24, h->epoch);
    store_u64(out + 32, h->conn);
    store_u64(out + 40, h->seq);
    store_u32(out + 48, h->slab_bytes);
    store_u16(out + 52, h->data_credits);
    store_u16(out + 54, h->ack_credits);
}

enum err hello_decode(const void *bytes, size_t len, struct hello *out)
{
    const unsigned char *p = bytes;
    if (len < HELLO_BYTES || load_u16(p) != HELLO_MAGIC) {
        return ERR_PROTO;
    }
    *out = (struct hello){
        .version = load_u16(p + 2),
        .from = load_u32(p + 4),
        .to = load_u32(p + 8),
        .cluster_hash = load_u32(p + 12),
        .group_hash = load_u32(p + 16),
        .worker = load_u16(p + 20),
        .kind = p[22],
        .epoch = load_u64(p + 24),
        .conn = load_u64(p + 32),
        .seq = load_u64(p + 40),
        .slab_bytes = load_u32(p + 48),
        .data_credits = load_u16(p + 52),
        .ack_credits = load_u16(p + 54),
    };
    return OK;
}
