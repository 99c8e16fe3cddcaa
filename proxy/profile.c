/* Time and bytes per key, while HOTKEYS START's session runs. */
#include "proxy/profile.h"

#include <xxhash.h>

#include "common/clock.h"
#include "common/mem.h"

/* Counters per key that is told: enough that the order among the first is right. */
#define CAPACITY_FACTOR 64u
#define ARGS_MAX 256

struct profile *profile_new(const struct profile_options *with, uint32_t seed)
{
    struct profile *p = mem_zalloc(sizeof *p);
    p->with = *with;
    p->active = true;
    p->random = seed | 1;
    uint32_t capacity = with->count * CAPACITY_FACTOR;
    if ((with->metrics & PROFILE_CPU) != 0) {
        p->cpu = sketch_init(mem_alloc(sketch_size(capacity)), capacity);
    }
    if ((with->metrics & PROFILE_NET) != 0) {
        p->net = sketch_init(mem_alloc(sketch_size(capacity)), capacity);
    }
    return p;
}

void profile_free(struct profile *p)
{
    if (p != NULL) {
        mem_free(p->cpu);
        mem_free(p->net);
        mem_free(p);
    }
}

void profile_stop(struct profile *p, uint64_t now_ms)
{
    if (p->active) {
        p->active = false;
        p->end_ms = now_ms;
    }
}

bool profile_runs(struct profile *p, uint64_t now_ms)
{
    uint64_t end = p->with.start_ms + p->with.duration_ms;
    if (p->with.duration_ms != 0 && now_ms >= end) {
        profile_stop(p, end);
    }
    return p->active;
}

static bool is_sampled(struct profile *p)
{
    if (p->with.ratio == 1) {
        return true;
    }
    p->random ^= p->random << 13;
    p->random ^= p->random >> 17;
    p->random ^= p->random << 5;
    return p->random % p->with.ratio == 0;
}

static void add(struct sketch *s, struct span inner, uint64_t weight)
{
    if (s != NULL && weight != 0) {
        (void)sketch_add(s, XXH3_64bits(inner.p, inner.len), inner, SKETCH_OTHER, weight);
    }
}

struct cost {
    uint64_t us, bytes;
};

static void count(struct profile *p, const struct span *inner, int n, const struct cost *cost)
{
    bool sampled = is_sampled(p);
    bool selected = false;
    for (int i = 0; i < n; i++) {
        if (profile_has_slot(&p->with, slot_of_inner(inner[i]))) {
            selected = true;
            if (sampled) {
                add(p->cpu, inner[i], cost->us);
                add(p->net, inner[i], cost->bytes);
            }
        }
    }
    p->us.all += cost->us;
    p->bytes.all += cost->bytes;
    p->us.selected += selected ? cost->us : 0;
    p->bytes.selected += selected ? cost->bytes : 0;
    p->us.sampled += selected && sampled ? cost->us : 0;
    p->bytes.sampled += selected && sampled ? cost->bytes : 0;
}

void profile_forwarded(struct proxy_worker *pw, struct span request, size_t reply_bytes,
                       uint64_t ns)
{
    struct profile *p = pw->profile;
    if (!profile_runs(p, clk_wall_ms())) {
        return;
    }
    struct span argv[ARGS_MAX];
    int idx[ARGS_MAX];
    int argc = request_args(request, argv, ARGS_MAX);
    const struct cmd *cmd = argc == 0 ? NULL : cmd_find_request(argv, argc);
    int n = cmd == NULL ? 0 : cmd_get_keys(cmd, argv, argc, idx, ARGS_MAX);
    struct span keys[ARGS_MAX];
    for (int i = 0; i < n; i++) {
        keys[i] = argv[idx[i]];
    }
    const struct cost cost = {(ns + 999) / 1000, request.len + reply_bytes};
    count(p, keys, n > 0 ? n : 0, &cost);
}

void profile_local(struct proxy_worker *pw, const struct cmd *cmd, const struct conn_req *q,
                   unsigned db, size_t reply_bytes)
{
    struct profile *p = pw->profile;
    if (!profile_runs(p, clk_wall_ms())) {
        return;
    }
    uint64_t now = clk_mono_ns();
    uint64_t since = p->mark_ns > pw->w->batch_ns ? p->mark_ns : pw->w->batch_ns;
    p->mark_ns = now;
    int idx[ARGS_MAX];
    struct span keys[ARGS_MAX];
    struct buf inner = {0};
    int n = cmd_get_keys(cmd, q->argv, (int)q->argc, idx, ARGS_MAX);
    size_t room = 0;
    for (int i = 0; i < n; i++) {
        room += q->argv[idx[i]].len + 2;
    }
    buf_reserve(&inner, room); /* so that it does not move */
    for (int i = 0; i < n; i++) {
        size_t at = buf_used(&inner);
        key_add_inner(&inner, db, q->argv[idx[i]]);
        keys[i] = span_of(buf_head(&inner) + at, buf_used(&inner) - at);
    }
    const struct cost cost = {(now - since + 999) / 1000, q->bytes + reply_bytes};
    count(p, keys, n > 0 ? n : 0, &cost);
    buf_free(&inner);
}
