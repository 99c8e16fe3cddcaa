/* The hot-key cores under arbitrary inputs: every operation is answered once, every reference comes
 * back, no step is longer than its outbox, no more keys fill at a time than allowed. And G14's
 * arithmetic. What the cores do is the simulator's business. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/galene.h"
#include "coherence/hotset.h"
#include "coherence/ts.h"

#define KEYS 300u
#define OPS 60000u
#define REQUESTS 8192u

struct bench {
    uint64_t random, now;
    int64_t holds;
    struct galene *g;
    struct hotset *h;
    uint64_t epoch;
    /* what is open */
    uint8_t state[OPS]; /* 0 not given, 1 open, 2 answered */
    uint32_t given, open;
    struct galene_request requests[REQUESTS];
    uint32_t request_count;
    struct gmsg invs[64], controls[64]; /* last ones sent, to be acknowledged */
    uint32_t inv_count, control_count;
    enum galene_seen seen[KEYS];
    struct galene_outbox out;
    struct hotset_outbox hot_out;
};

static uint32_t pick(struct bench *b, uint32_t n)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return (uint32_t)((b->random >> 20) % n);
}

static bool same_key(void *ctx, struct coh_ref a, struct coh_ref c)
{
    (void)ctx;
    return a.handle == c.handle;
}

static struct coh_ref hold(void *ctx, struct coh_ref ref)
{
    ((struct bench *)ctx)->holds++;
    return ref;
}

static void drop(void *ctx, struct coh_ref ref)
{
    (void)ref;
    ((struct bench *)ctx)->holds--;
}

static struct hermes_key key(uint32_t n)
{
    return (struct hermes_key){.hash = n / 2 * 7919, .ref = {n + 1, 8}, .slot = (uint16_t)(n % 9)};
}

/* A few keys get most of it. */
static uint32_t some_key(struct bench *b)
{
    return pick(b, 3) != 0 ? pick(b, 4) : pick(b, KEYS);
}

static uint64_t some_generation(struct bench *b)
{
    return generation_make(1 + pick(b, (uint32_t)b->epoch), 1 + pick(b, 50));
}

static struct bench *bench_open(uint64_t seed)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    b->now = 1000;
    b->epoch = 1;
    const struct galene_limits l = {.records = 256,
                                    .ops = 2000,
                                    .resend_ns = 10000,
                                    .ask_ns = 30000,
                                    .report_ns = 20000,
                                    .linger_ns = 300000,
                                    .drop_wait_ns = 20000,
                                    .give_up_ns = 15000,
                                    .skew_ms = 5,
                                    .seed = seed};
    const struct hotset_limits hl = {.keys = 150,
                                     .candidates = 100,
                                     .resend_ns = 10000,
                                     .give_up_ns = 100000,
                                     .retry_ns = 10000,
                                     .cool_ns = 20000,
                                     .reads_min = 20,
                                     .seed = seed};
    const struct galene_env env = {.ctx = b, .same_key = same_key, .hold = hold, .drop = drop};
    void *memory = aligned_alloc(16, (galene_size(&l) + 15) / 16 * 16);
    void *hot_memory = aligned_alloc(16, (hotset_size(&hl) + 15) / 16 * 16);
    assert_non_null(memory);
    assert_non_null(hot_memory);
    b->g = galene_init(memory, &l, &env, 2);
    b->h = hotset_init(hot_memory, &hl, &env, b->g, 2);
    return b;
}

static void bench_close(struct bench *b)
{
    galene_close(b->g);
    hotset_close(b->h);
    assert_int_equal(b->holds, 0);
    free(b->g);
    free(b->h);
    free(b);
}

static void asked(struct bench *b, const struct galene_request *r)
{
    assert_true(r->request != 0 && b->request_count < REQUESTS);
    if (r->kind != GALENE_ASK_EXPIRE && r->kind < GALENE_ASK_PROMOTE) {
        assert_true(r->op >= 1 && r->op <= b->given && b->state[r->op - 1] == 1);
    }
    b->requests[b->request_count++] = *r;
}

static void carry_out(struct bench *b)
{
    for (uint32_t i = 0; i < b->out.count; i++) {
        const struct galene_out *o = &b->out.out[i];
        switch (o->kind) {
        case GALENE_OUT_SEND:
            assert_true(o->to_mask != 0);
            if (o->u.msg.kind == GMSG_INV) {
                b->invs[b->inv_count++ % 64] = o->u.msg;
            }
            break;
        case GALENE_OUT_PUBLISH: {
            enum galene_seen *seen = &b->seen[o->u.publish.key.ref.handle - 1];
            assert_true(*seen != o->u.publish.seen || *seen == GALENE_SEEN_VALID);
            *seen = o->u.publish.seen;
            break;
        }
        case GALENE_OUT_BACKEND:
            asked(b, &o->u.request);
            break;
        case GALENE_OUT_DONE:
            assert_int_equal(b->state[o->u.done.op - 1], 1);
            b->state[o->u.done.op - 1] = 2;
            b->open--;
            break;
        }
    }
    b->out.count = 0;
    galene_check(b->g);
}

static enum err step(struct bench *b, struct galene_in *in)
{
    in->now_ns = b->now;
    in->wall_ms = b->now / 1000;
    enum err e = galene_step(b->g, in, &b->out);
    carry_out(b);
    return e;
}

static void hot_step(struct bench *b, struct hotset_in *in)
{
    in->now_ns = b->now;
    enum err e = hotset_step(b->h, in, &b->hot_out);
    assert_true(e == OK || e == ERR_BUSY || e == ERR_AGAIN);
    for (uint32_t i = 0; i < b->hot_out.count; i++) {
        if (b->hot_out.out[i].kind == HOTSET_OUT_BACKEND) {
            asked(b, &b->hot_out.out[i].u.request);
        } else if (b->hot_out.out[i].u.msg.kind == GMSG_PREP ||
                   b->hot_out.out[i].u.msg.kind == GMSG_DRAIN) {
            b->controls[b->control_count++ % 64] = b->hot_out.out[i].u.msg;
        }
    }
    b->hot_out.count = 0;
    hotset_check(b->h);
}

static void give_op(struct bench *b)
{
    if (b->given == OPS) {
        return;
    }
    struct galene_op op = {.id = b->given + 1,
                           .client = pick(b, 200),
                           .kind = (enum galene_op_kind)(pick(b, 40) == 0 ? 2 : pick(b, 2)),
                           .key = key(some_key(b)),
                           .local = pick(b, 4) != 0,
                           .share = pick(b, 3),
                           .blind = pick(b, 2) != 0,
                           .generation = pick(b, 6) == 0 ? some_generation(b) : 0};
    struct galene_in in = {.kind = GALENE_IN_OP, .u.op = &op};
    b->state[b->given++] = 1;
    b->open++;
    if (step(b, &in) == ERR_BUSY) {
        b->given--;
        b->state[b->given] = 0;
        b->open--;
    }
}

static void answer(struct bench *b, uint32_t i)
{
    struct galene_request r = b->requests[i];
    b->requests[i] = b->requests[--b->request_count];
    struct galene_answer a = {.request = r.request,
                              .kind = (enum galene_answer_kind)(pick(b, 2) != 0 ? 0 : pick(b, 6)),
                              .generation = some_generation(b),
                              .reply = {5000, 3}};
    a.value.kind = (enum gmsg_value)pick(b, GMSG_VALUE_KINDS);
    a.value.ts = ts_make(1 + pick(b, 1000), 7);
    a.value.ref.handle = 6000;
    a.value.expire_ms = pick(b, 3) == 0 ? b->now / 1000 + pick(b, 20) : 0;
    if (r.kind >= GALENE_ASK_PROMOTE) {
        struct hotset_in in = {.kind = HOTSET_IN_ANSWER, .u.answer = &a};
        hot_step(b, &in);
    } else {
        struct galene_in in = {.kind = GALENE_IN_ANSWER, .u.answer = &a};
        (void)step(b, &in);
    }
}

static struct gmsg acknowledged(struct bench *b, struct gmsg m, enum gmsg_kind kind)
{
    m.kind = kind;
    m.sender = 1 + pick(b, 4);
    return m;
}

static void message(struct bench *b)
{
    struct gmsg m = {.kind = (enum gmsg_kind)pick(b, GMSG_KIND_COUNT),
                     .epoch = b->epoch - (pick(b, 8) == 0 && b->epoch > 1),
                     .sender = 1 + pick(b, 4),
                     .seq = 1 + b->now / 8 + pick(b, 100),
                     .generation = some_generation(b),
                     .token = 1 + pick(b, 5),
                     .ts = ts_make(1 + pick(b, 1000), 7),
                     .flags = (uint8_t)(1 + pick(b, 2)),
                     .key = key(some_key(b)),
                     .payload = {7000, 3}};
    uint32_t what = pick(b, 4); /* what was asked for, more often than not */
    if (what < 2 && b->inv_count > 0) {
        m = acknowledged(b, b->invs[pick(b, b->inv_count < 64 ? b->inv_count : 64)], GMSG_ACK);
    } else if (what == 2 && b->control_count > 0) {
        m = b->controls[pick(b, b->control_count < 64 ? b->control_count : 64)];
        m = acknowledged(b, m, m.kind == GMSG_PREP ? GMSG_PREPARED : GMSG_DRAINED);
    }
    if (gmsg_for(m.kind) == GMSG_TO_HOTSET) {
        struct hotset_in in = {.kind = HOTSET_IN_MSG, .u.msg = &m};
        hot_step(b, &in);
    } else {
        struct galene_in in = {.kind = GALENE_IN_MSG, .u.msg = &m};
        (void)step(b, &in);
    }
}

static void new_view(struct bench *b, bool with_me)
{
    uint32_t ids[4];
    unsigned n = 0;
    for (uint32_t id = 1; id <= 4; id++) {
        if (id == 2 ? with_me : pick(b, 3) != 0) {
            ids[n++] = id;
        }
    }
    if (n == 0) {
        ids[n++] = 9;
    }
    struct view v;
    assert_true(view_make(&v, ++b->epoch, ids, n, NULL, 0));
    struct galene_in in = {.kind = GALENE_IN_VIEW, .u.view = &v};
    (void)step(b, &in);
    struct hotset_in hot = {.kind = HOTSET_IN_VIEW, .u.view = &v};
    hot_step(b, &hot);
    struct galene_in lease = {.kind = GALENE_IN_LEASE, .u.lease = {b->epoch, UINT64_MAX}};
    (void)step(b, &lease);
}

static void timers(struct bench *b)
{
    struct galene_in in = {.kind = GALENE_IN_TIMER};
    (void)step(b, &in);
    struct hotset_in hot = {.kind = HOTSET_IN_TIMER};
    hot_step(b, &hot);
}

static void hot_input(struct bench *b)
{
    struct hermes_key k = key(pick(b, KEYS));
    struct hotset_count c = {.key = k, .reads = pick(b, 200), .writes = pick(b, 60)};
    struct hotset_in in = {.kind = HOTSET_IN_COUNT, .u.count = &c};
    uint32_t r = pick(b, 60);
    if (r < 20) {
        in = (struct hotset_in){.kind = HOTSET_IN_WANT,
                                .u.want = {&k, (enum hotset_want)pick(b, 3)}};
    } else if (r == 20) {
        in = (struct hotset_in){.kind = HOTSET_IN_EPOCH};
    } else if (r == 21) {
        in = (struct hotset_in){.kind = HOTSET_IN_SWITCH, .u.on = pick(b, 4) != 0};
    }
    hot_step(b, &in);
}

static void something(struct bench *b)
{
    uint32_t r = pick(b, 100);
    b->now += pick(b, 40);
    if (r < 25) {
        give_op(b);
    } else if (r < 55) {
        if (b->request_count > 0) {
            answer(b, pick(b, b->request_count));
        }
    } else if (r < 80) {
        message(b);
    } else if (r < 85) {
        hot_input(b);
    } else if (r < 99) {
        timers(b);
    } else if (pick(b, 2) == 0) {
        new_view(b, true);
    } else {
        struct galene_in in = {.kind = GALENE_IN_PEER, .u.peer = 1 + pick(b, 4)};
        (void)step(b, &in);
    }
}

static void everything_is_answered_once_and_given_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct bench *b = bench_open(seed);
        new_view(b, true);
        for (unsigned n = 0; n < 12000; n++) {
            something(b);
        }
        new_view(b, false);
        for (unsigned n = 0; n < 4000 && !galene_idle(b->g); n++) {
            b->now += 100;
            timers(b);
            if (b->request_count > 0) {
                answer(b, 0);
            }
        }
        assert_true(galene_idle(b->g));
        assert_int_equal(b->open, 0);
        for (unsigned n = 0; n < 100; n++) {
            timers(b);
        }
        for (unsigned i = 0; i < KEYS; i++) {
            assert_int_equal(b->seen[i], GALENE_SEEN_GONE);
        }
        assert_int_equal(galene_entries(b->g), 0);
        assert_int_equal(galene_next_deadline(b->g), UINT64_MAX);
        bench_close(b);
    }
}

/* Hundreds of readers of a key that is not hot: no step is too long, each is answered. */
static void many_readers_wait_for_few_reads(void **state)
{
    (void)state;
    struct bench *b = bench_open(1);
    new_view(b, true);
    for (uint32_t i = 0; i < 1500; i++) {
        struct galene_op op = {
            .id = ++b->given, .kind = GALENE_READ, .key = key(1), .local = true, .share = 1};
        struct galene_in in = {.kind = GALENE_IN_OP, .u.op = &op};
        b->state[b->given - 1] = 1;
        b->open++;
        assert_int_equal(step(b, &in), OK);
    }
    assert_int_equal(b->request_count, 4);
    unsigned answers = 0;
    for (; b->request_count > 0; answers++) {
        struct galene_answer a = {.request = b->requests[0].request, .kind = GALENE_REPLY};
        b->requests[0] = b->requests[--b->request_count];
        struct galene_in in = {.kind = GALENE_IN_ANSWER, .u.answer = &a};
        assert_int_equal(step(b, &in), OK);
    }
    assert_int_equal(b->open, 0);
    assert_int_equal(answers, 4 + (1500 - 4 + GALENE_BATCH - 1) / GALENE_BATCH);
    bench_close(b);
}

static void a_full_table_refuses_and_changes_nothing(void **state)
{
    (void)state;
    struct bench *b = bench_open(1);
    new_view(b, true);
    for (uint32_t i = 0; i < 256; i++) {
        struct galene_op op = {.id = ++b->given, .kind = GALENE_WRITE, .key = key(i)};
        struct galene_in in = {.kind = GALENE_IN_OP, .u.op = &op};
        b->state[b->given - 1] = 1;
        b->open++;
        assert_int_equal(step(b, &in), OK);
    }
    uint64_t before = galene_digest(b->g);
    struct galene_op op = {.id = b->given + 1, .kind = GALENE_WRITE, .key = key(256)};
    struct galene_in in = {.kind = GALENE_IN_OP, .u.op = &op};
    assert_int_equal(step(b, &in), ERR_BUSY);
    struct gmsg prep = {.kind = GMSG_PREP,
                        .epoch = b->epoch,
                        .sender = galene_view(b->g)->ids[0],
                        .seq = 1,
                        .generation = generation_make(1, 1),
                        .key = key(256)};
    struct galene_in msg = {.kind = GALENE_IN_MSG, .u.msg = &prep};
    assert_int_equal(step(b, &msg), ERR_BUSY);
    assert_int_equal(galene_digest(b->g), before);
    bench_close(b);
}

static void a_write_share_of_the_break_even_scores_nothing(void **state)
{
    (void)state;
    for (unsigned proxies = 1; proxies <= 8; proxies++) {
        uint64_t even = hotset_break_even_ppm(proxies);
        int64_t score = hotset_score(1000000 - even, even, proxies);
        assert_true(score >= -20 && (score <= 20 || proxies == 1));
    }
    assert_int_equal(hotset_score(10, 1, 3), 14);
    assert_int_equal(hotset_break_even_ppm(3), 250000);
    assert_int_equal(hotset_break_even_ppm(1), 1000000);
}

static void count(struct bench *b, uint32_t k, uint64_t reads, uint64_t writes)
{
    struct hotset_count c = {.key = key(k), .reads = reads, .writes = writes};
    struct hotset_in in = {.kind = HOTSET_IN_COUNT, .u.count = &c};
    hot_step(b, &in);
}

static void epoch_ends(struct bench *b)
{
    struct hotset_in in = {.kind = HOTSET_IN_EPOCH};
    hot_step(b, &in);
}

/* Everybody answers, the backend does what it is asked to. */
static void play_along(struct bench *b)
{
    for (unsigned n = 0; n < 4 * KEYS && !hotset_idle(b->h); n++) {
        timers(b);
        uint32_t controls = b->control_count;
        assert_true(controls <= 64);
        b->control_count = 0;
        for (uint32_t i = 0; i < controls; i++) {
            struct gmsg m = b->controls[i];
            m.kind = m.kind == GMSG_PREP ? GMSG_PREPARED : GMSG_DRAINED;
            struct hotset_in in = {.kind = HOTSET_IN_MSG, .u.msg = &m};
            hot_step(b, &in);
        }
        while (b->request_count > 0) {
            struct galene_answer a = {.request = b->requests[--b->request_count].request,
                                      .kind = GALENE_REPLY,
                                      .value = {.kind = GMSG_ABSENT, .ts = ts_make(1, 1)}};
            struct hotset_in in = {.kind = HOTSET_IN_ANSWER, .u.answer = &a};
            hot_step(b, &in);
        }
    }
    assert_true(hotset_idle(b->h));
}

static void alone(struct bench *b)
{
    struct view v;
    const uint32_t me = 2;
    assert_true(view_make(&v, ++b->epoch, &me, 1, NULL, 0));
    struct hotset_in hot = {.kind = HOTSET_IN_VIEW, .u.view = &v};
    hot_step(b, &hot);
    timers(b);
    assert_true(hotset_acts(b->h));
}

/* One proxy: breaks even at a share of 1, so only half of that keeps a key out. */
static void counts_promote_and_demote_with_hysteresis(void **state)
{
    (void)state;
    struct bench *b = bench_open(1);
    alone(b);
    count(b, 0, 1000, 100);
    count(b, 1, 1000, 1200); /* written more than read */
    count(b, 2, 10, 0);      /* hardly read at all */
    epoch_ends(b);
    play_along(b);
    assert_int_equal(hotset_hot(b->h), 1);
    count(b, 0, 6, 0); /* a quarter of the least is enough to stay */
    epoch_ends(b);
    for (unsigned i = 0; i < 7; i++) { /* no count at all: samples may have missed it */
        epoch_ends(b);
    }
    play_along(b);
    assert_int_equal(hotset_hot(b->h), 1);
    epoch_ends(b); /* the eighth time */
    play_along(b);
    assert_int_equal(hotset_hot(b->h), 0);
    bench_close(b);
}

static void no_more_keys_fill_at_a_time_than_allowed(void **state)
{
    (void)state;
    struct bench *b = bench_open(1);
    alone(b);
    for (uint32_t i = 0; i < 150; i++) {
        struct hermes_key k = key(i);
        struct hotset_in in = {.kind = HOTSET_IN_WANT, .u.want = {&k, HOTSET_WANT_HOT}};
        hot_step(b, &in);
    }
    for (unsigned i = 0; i < 10; i++) {
        timers(b);
    }
    assert_int_equal(b->control_count, HOTSET_FILLING);
    play_along(b);
    assert_int_equal(hotset_hot(b->h), 150);
    struct hermes_key one_more = key(150);
    struct hotset_in in = {
        .kind = HOTSET_IN_WANT, .now_ns = b->now, .u.want = {&one_more, HOTSET_WANT_HOT}};
    assert_int_equal(hotset_step(b->h, &in, &b->hot_out), ERR_BUSY);
    in = (struct hotset_in){.kind = HOTSET_IN_SWITCH, .u.on = false};
    hot_step(b, &in);
    play_along(b);
    assert_int_equal(hotset_hot(b->h), 0);
    bench_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_answered_once_and_given_back),
        cmocka_unit_test(many_readers_wait_for_few_reads),
        cmocka_unit_test(a_full_table_refuses_and_changes_nothing),
        cmocka_unit_test(a_write_share_of_the_break_even_scores_nothing),
        cmocka_unit_test(no_more_keys_fill_at_a_time_than_allowed),
        cmocka_unit_test(counts_promote_and_demote_with_hysteresis),
    };
    return cmocka_run_group_tests_name("galene", tests, NULL, NULL);
}
