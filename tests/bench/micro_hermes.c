/* The Hermes core alone: local reads, and writes of a shard with three replicas, per second of one
 * core. No sockets: the three cores live in this process over a trivial store (an array of
 * numbers), messages go through queues, encoded and decoded as on the wire.
 *
 *   micro_hermes [operations]     default 1000000
 *
 * Writes start at all three replicas in turn, 16 under way at each. What is counted is everything
 * that all three cores do for a write. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coherence/hermes.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"

#define REPLICAS 3u
#define KEYS 65536u
#define OPEN 16u
#define QUEUE_BYTES (1u << 20)
#define FRAME_MAX 256u

struct entry {
    struct hermes_meta meta;
    uint64_t value;
    uint8_t state;
};

struct queue { /* frames: length (2 bytes) and bytes */
    uint8_t *bytes;
    size_t used;
};

struct bench;
struct node {
    struct bench *b;
    struct hermes *core;
    void *memory;
    struct entry *entries;
    struct hermes_outbox out;
    struct queue in, taken; /* what comes in; what is being taken in */
    uint64_t open, done;
    uint64_t reply;
};

struct bench {
    struct node nodes[REPLICAS];
    uint64_t now_ns, rng, frames, bytes;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static struct hermes_key key_of(uint64_t i)
{
    return (struct hermes_key){
        .hash = mix(i + 1), .ref = {i + 1, 8}, .slot = (uint16_t)(i % MSG_SLOTS)};
}

static struct entry *entry_of(struct node *n, const struct hermes_key *key)
{
    return &n->entries[key->ref.handle - 1];
}

/* ---- the store: a number per key; effects are the number to set, plus one ---- */

static void store_get(void *ctx, const struct hermes_key *key, struct hermes_meta *out)
{
    *out = entry_of(ctx, key)->meta;
}

static void store_mark(void *ctx, const struct hermes_key *key, uint8_t state)
{
    entry_of(ctx, key)->state = state;
}

static bool store_prepare(void *ctx, const struct hermes_key *key, const struct hermes_op *op,
                          uint64_t wall_ms, struct coh_ref *effects)
{
    (void)op;
    (void)wall_ms;
    *effects = (struct coh_ref){entry_of(ctx, key)->value + 2, 8};
    return true;
}

static void store_apply(void *ctx, const struct hermes_key *key, const struct hermes_update *u,
                        uint64_t op)
{
    struct entry *e = entry_of(ctx, key);
    (void)op;
    e->value = u->effects.handle - 1;
    e->meta = (struct hermes_meta){.ts = u->ts, .generation = u->generation, .live = true};
}

static void store_install(void *ctx, const struct hermes_key *key, const struct hermes_meta *meta,
                          struct coh_ref payload)
{
    struct entry *e = entry_of(ctx, key);
    e->meta = *meta;
    e->value = payload.handle - 1;
}

static void store_read(void *ctx, const struct hermes_key *key, uint64_t op)
{
    struct node *n = ctx;
    (void)op;
    n->reply += entry_of(n, key)->value;
}

static bool store_same_key(void *ctx, struct coh_ref a, struct coh_ref b)
{
    (void)ctx;
    return a.handle == b.handle;
}

static struct coh_ref store_hold(void *ctx, struct coh_ref ref)
{
    (void)ctx;
    return ref;
}

static void store_drop(void *ctx, struct coh_ref ref)
{
    (void)ctx;
    (void)ref;
}

static size_t store_scan(void *ctx, uint64_t *cursor, size_t max, struct hermes_key *out)
{
    (void)ctx;
    (void)max;
    (void)out;
    *cursor = 0;
    return 0;
}

static bool store_purge(void *ctx, uint16_t slot, uint64_t version, uint64_t *generation)
{
    (void)ctx;
    (void)slot;
    (void)version;
    (void)generation;
    return true;
}

/* ---- the driver ---- */

static void send_out(struct node *from, const struct hermes_out *o)
{
    struct bench *b = from->b;
    uint64_t key = o->u.msg.key.ref.handle;
    uint64_t payload = o->u.msg.payload.handle;
    struct msg_bytes bytes = {.key = (const uint8_t *)&key,
                              .key_len = 8,
                              .payload = payload != 0 ? (const uint8_t *)&payload : NULL,
                              .payload_len = payload != 0 ? 8 : 0};
    uint8_t frame[FRAME_MAX];
    uint16_t len = (uint16_t)msg_encode(&o->u.msg, &bytes, frame, sizeof frame);
    const struct view *v = hermes_view(from->core);
    for (unsigned i = 0; i < REPLICAS; i++) {
        struct queue *q = &b->nodes[i].in;
        if ((o->to_mask >> i & 1) != 0 && v->ids[i] == i + 1) {
            must(q->used + len + 2 <= QUEUE_BYTES);
            memcpy(q->bytes + q->used, &len, 2);
            memcpy(q->bytes + q->used + 2, frame, len);
            q->used += len + 2u;
            b->frames++;
            b->bytes += len;
        }
    }
}

static void step(struct node *n, struct hermes_in *in)
{
    in->now_ns = n->b->now_ns;
    in->wall_ms = 1800000000000u;
    n->out.count = 0;
    must(hermes_step(n->core, in, &n->out) == OK);
    for (uint32_t i = 0; i < n->out.count; i++) {
        const struct hermes_out *o = &n->out.out[i];
        if (o->kind == HERMES_OUT_SEND) {
            send_out(n, o);
        } else if (o->kind == HERMES_OUT_DONE) {
            must(o->u.done.result == HERMES_DONE);
            n->open--;
            n->done++;
        }
    }
    n->out.count = 0;
}

static void take_in(struct node *n)
{
    struct queue q = n->in;
    n->in = n->taken;
    n->in.used = 0;
    n->taken = q;
    for (size_t at = 0; at < q.used;) {
        uint16_t len = 0;
        memcpy(&len, q.bytes + at, 2);
        struct hermes_msg m;
        struct msg_bytes b;
        must(msg_decode(q.bytes + at + 2, len, &m, &b) == OK);
        uint64_t key = 0;
        memcpy(&key, b.key, 8);
        m.key = key_of(key - 1);
        if (b.payload_len == 8) {
            memcpy(&m.payload.handle, b.payload, 8);
        }
        struct hermes_in in = {.kind = HERMES_IN_MSG, .u.msg = &m};
        step(n, &in);
        at += len + 2u;
    }
}

static void open_node(struct bench *b, unsigned i)
{
    struct node *n = &b->nodes[i];
    const struct hermes_limits limits = {.records = 4096,
                                         .ops = 1024,
                                         .slots = MSG_SLOTS,
                                         .resend_ns = 1000000000u,
                                         .replay_ns = 2000000000u,
                                         .seed = i + 1};
    const struct hermes_store store = {
        n,    store_get,  store_mark,     store_prepare, store_apply, store_install, NULL,
        NULL, store_read, store_same_key, store_hold,    store_drop,  store_scan,    store_purge};
    n->b = b;
    n->entries = mem_zalloc(KEYS * sizeof *n->entries);
    n->in.bytes = mem_alloc(QUEUE_BYTES);
    n->taken.bytes = mem_alloc(QUEUE_BYTES);
    n->memory = mem_alloc(hermes_size(&limits));
    n->core = hermes_init(n->memory, &limits, &store, i + 1, true);
    struct view v = {.epoch = 1, .members = REPLICAS, .ids = {1, 2, 3}};
    struct hermes_in view = {.kind = HERMES_IN_VIEW, .u.view = &v};
    step(n, &view);
    struct hermes_in lease = {.kind = HERMES_IN_LEASE, .u.lease = {1, UINT64_MAX}};
    step(n, &lease);
}

static uint64_t roll(struct bench *b)
{
    b->rng = b->rng * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return b->rng >> 33;
}

static uint64_t all_done(const struct bench *b)
{
    uint64_t done = 0;
    for (unsigned i = 0; i < REPLICAS; i++) {
        done += b->nodes[i].done;
    }
    return done;
}

/* spread: distinct keys under way, so that writes do not meet. */
static void writes(struct bench *b, const char *name, enum hermes_op_kind kind, uint64_t n,
                   uint64_t keys)
{
    uint64_t before = all_done(b);
    uint64_t frames = b->frames;
    uint64_t bytes = b->bytes;
    uint64_t id = 0;
    uint64_t start = clk_mono_ns();
    while (all_done(b) - before < n) {
        b->now_ns += 10000;
        for (unsigned i = 0; i < REPLICAS; i++) {
            struct node *node = &b->nodes[i];
            for (; node->open < OPEN; node->open++) {
                struct hermes_op op = {.id = ++id,
                                       .kind = kind,
                                       .key = key_of(roll(b) % keys),
                                       .effects = {roll(b) + 1, 8}};
                struct hermes_in in = {.kind = HERMES_IN_OP, .u.op = &op};
                step(node, &in);
            }
        }
        for (unsigned i = 0; i < REPLICAS; i++) {
            take_in(&b->nodes[i]);
        }
    }
    double ns = (double)(clk_mono_ns() - start);
    double done = (double)(all_done(b) - before);
    printf("%-44s %8.3f M/s  %7.1f ns  %5.2f messages  %6.1f bytes each\n", name, done * 1e3 / ns,
           ns / done, (double)(b->frames - frames) / done, (double)(b->bytes - bytes) / done);
    for (bool busy = true; busy;) { /* finish what is under way */
        busy = false;
        for (unsigned i = 0; i < REPLICAS; i++) {
            busy = busy || b->nodes[i].in.used != 0;
            take_in(&b->nodes[i]);
        }
    }
}

/* What a worker does for a GET of a key at rest: the state byte, the lease with a clock read once
 * per batch of 16, the value. */
static void reads(struct bench *b, uint64_t n)
{
    struct node *node = &b->nodes[0];
    uint64_t sum = 0;
    uint64_t start = clk_mono_ns();
    for (uint64_t i = 0; i < n; i += 16) {
        bool may = hermes_may_read(node->core, clk_boot_ns());
        for (unsigned j = 0; j < 16; j++) {
            struct hermes_key key = key_of(roll(b) % KEYS);
            const struct entry *e = entry_of(node, &key);
            must(may && e->state == 0);
            sum += e->value;
        }
    }
    double ns = (double)(clk_mono_ns() - start);
    node->reply += sum;
    printf("%-44s %8.3f M/s  %7.1f ns\n", "local reads, keys at rest", (double)n * 1e3 / ns,
           ns / (double)n);
}

/* All replicas hold the same at the end, or the figures mean nothing. */
static void check_same(struct bench *b)
{
    for (uint64_t k = 0; k < KEYS; k++) {
        for (unsigned i = 0; i < REPLICAS; i++) {
            const struct entry *e = &b->nodes[i].entries[k];
            must(e->state == 0 && e->value == b->nodes[0].entries[k].value &&
                 e->meta.ts == b->nodes[0].entries[k].meta.ts);
        }
    }
}

int main(int argc, char **argv)
{
    static struct bench b = {.now_ns = 1000, .rng = 42};
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    for (unsigned i = 0; i < REPLICAS; i++) {
        open_node(&b, i);
    }
    writes(&b, "writes of 3 replicas, 65536 keys", HERMES_WRITE, n, KEYS);
    writes(&b, "read-modify-writes, 65536 keys", HERMES_UPDATE, n, KEYS);
    writes(&b, "writes, all on 8 keys", HERMES_WRITE, n / 4, 8);
    check_same(&b);
    reads(&b, 20 * n);
    for (unsigned i = 0; i < REPLICAS; i++) {
        mem_free(b.nodes[i].entries);
        mem_free(b.nodes[i].in.bytes);
        mem_free(b.nodes[i].taken.bytes);
        mem_free(b.nodes[i].memory);
    }
    return 0;
}
