/* The core alone, without sockets, messages handed over decoded: local reads, and writes committed
 * by three replicas, per second on one core. Not a test: prints. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/must.h"
#include "tests/sim/world_hermes.h"

#define KEYS 4096u

struct place {
    struct hermes *h;
    void *memory;
    struct hermes_meta meta[KEYS];
    struct hermes_outbox out;
};

static struct place *place_of(void *ctx)
{
    return ctx;
}

static void get(void *ctx, const struct hermes_key *key, struct hermes_meta *out)
{
    *out = place_of(ctx)->meta[key->hash];
}

static void mark_state(void *ctx, const struct hermes_key *key, uint8_t state)
{
    (void)ctx;
    (void)key;
    (void)state;
}

static void apply(void *ctx, const struct hermes_key *key, const struct hermes_update *u,
                  uint64_t op)
{
    (void)op;
    place_of(ctx)->meta[key->hash] = (struct hermes_meta){.ts = u->ts, .live = true};
}

static void read_key(void *ctx, const struct hermes_key *key, uint64_t op)
{
    (void)ctx;
    (void)key;
    (void)op;
}

static bool same_key(void *ctx, struct coh_ref a, struct coh_ref b)
{
    (void)ctx;
    return a.handle == b.handle;
}

static struct coh_ref hold(void *ctx, struct coh_ref ref)
{
    (void)ctx;
    return ref;
}

static void drop(void *ctx, struct coh_ref ref)
{
    (void)ctx;
    (void)ref;
}

static const struct hermes_limits limits = {.records = 4096,
                                            .ops = 4096,
                                            .slots = 16384,
                                            .resend_ns = SIM_MS * 1000,
                                            .replay_ns = SIM_MS * 1000,
                                            .seed = 1};

static void step(struct place *p, struct hermes_in in)
{
    in.now_ns = 1;
    p->out.count = 0;
    must(hermes_step(p->h, &in, &p->out) == OK);
}

static void open_place(struct place *p, uint32_t id)
{
    struct hermes_store store = {.ctx = p,
                                 .get = get,
                                 .mark = mark_state,
                                 .apply = apply,
                                 .read = read_key,
                                 .same_key = same_key,
                                 .hold = hold,
                                 .drop = drop};
    const uint32_t members[] = {1, 2, 3};
    struct view v;
    must(view_make(&v, 1, members, 3, NULL, 0));
    p->memory = mem_alloc(hermes_size(&limits));
    p->h = hermes_init(p->memory, &limits, &store, id, true);
    step(p, (struct hermes_in){.kind = HERMES_IN_VIEW, .u.view = &v});
    step(p, (struct hermes_in){.kind = HERMES_IN_LEASE, .u.lease = {1, UINT64_MAX}});
    while (hermes_next_deadline(p->h) <= 1) {
        step(p, (struct hermes_in){.kind = HERMES_IN_TIMER});
    }
}

static void operate(struct place *p, enum hermes_op_kind kind, uint64_t k)
{
    struct hermes_op op = {.id = 1, .kind = kind, .effects = {1, 1}};
    op.key = (struct hermes_key){.hash = k, .ref = {k + 1, 8}, .slot = (uint16_t)k};
    step(p, (struct hermes_in){.kind = HERMES_IN_OP, .u.op = &op});
}

/* One write from beginning to end: INV to two, two ACKs, VAL to two. */
static void write_once(struct place *p, unsigned from, uint64_t k)
{
    operate(&p[from], HERMES_WRITE, k);
    struct hermes_msg inv = p[from].out.out[0].u.msg;
    for (unsigned i = 0; i < 3; i++) {
        if (i != from) {
            step(&p[i], (struct hermes_in){.kind = HERMES_IN_MSG, .u.msg = &inv});
            struct hermes_msg ack = p[i].out.out[0].u.msg;
            step(&p[from], (struct hermes_in){.kind = HERMES_IN_MSG, .u.msg = &ack});
        }
    }
    must(p[from].out.count == 2 && p[from].out.out[1].kind == HERMES_OUT_DONE);
    struct hermes_msg val = p[from].out.out[0].u.msg;
    for (unsigned i = 0; i < 3; i++) {
        if (i != from) {
            step(&p[i], (struct hermes_in){.kind = HERMES_IN_MSG, .u.msg = &val});
        }
    }
}

void hermes_bench(void)
{
    struct place *p = mem_zalloc(3 * sizeof *p);
    for (uint32_t i = 0; i < 3; i++) {
        open_place(&p[i], i + 1);
    }
    const unsigned writes = 300000;
    const unsigned reads = 3000000;
    uint64_t start = clk_mono_ns();
    for (unsigned i = 0; i < writes; i++) {
        write_once(p, i % 3, (i * 2654435761u) % KEYS);
    }
    uint64_t mid = clk_mono_ns();
    for (unsigned i = 0; i < reads; i++) {
        operate(&p[i % 3], HERMES_READ, (i * 2654435761u) % KEYS);
    }
    uint64_t end = clk_mono_ns();
    printf("core alone, one CPU core: %.2f M writes/s committed at three replicas, %.2f M local "
           "reads/s\n",
           writes * 1e3 / (double)(mid - start), reads * 1e3 / (double)(end - mid));
    for (unsigned i = 0; i < 3; i++) {
        must(hermes_idle(p[i].h));
        mem_free(p[i].memory);
    }
    mem_free(p);
}
