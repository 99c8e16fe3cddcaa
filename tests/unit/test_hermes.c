/* The contract of the Hermes core's step: what it refuses, and that a refusal changes nothing. What
 * it does is the simulator's business. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coherence/hermes.h"

/* A store of 16 keys without values. */
struct toy {
    struct hermes_meta meta[16];
    uint8_t state[16];
    int holds, applied, reads;
};

static size_t at(const struct hermes_key *key)
{
    return (size_t)key->ref.handle - 1;
}

static void toy_get(void *ctx, const struct hermes_key *key, struct hermes_meta *out)
{
    *out = ((struct toy *)ctx)->meta[at(key)];
}

static void toy_mark(void *ctx, const struct hermes_key *key, uint8_t state)
{
    ((struct toy *)ctx)->state[at(key)] = state;
}

static bool toy_prepare(void *ctx, const struct hermes_key *key, const struct hermes_op *op,
                        uint64_t wall_ms, struct coh_ref *effects)
{
    (void)key;
    (void)wall_ms;
    ((struct toy *)ctx)->holds++;
    *effects = op->effects;
    return true;
}

static void toy_apply(void *ctx, const struct hermes_key *key, const struct hermes_update *u,
                      uint64_t op)
{
    (void)op;
    struct toy *t = ctx;
    t->meta[at(key)] =
        (struct hermes_meta){.ts = u->ts, .generation = u->generation, .live = true, .hot = u->hot};
    t->applied++;
}

static bool toy_prepare_multi(void *ctx, const struct hermes_op *op, uint64_t wall_ms,
                              struct coh_ref *effects)
{
    (void)wall_ms;
    if (op->id % 3 == 0) {
        return false;
    }
    ((struct toy *)ctx)->holds++;
    *effects = op->effects;
    return true;
}

static void toy_apply_multi(void *ctx, const struct hermes_part *parts, uint32_t count,
                            const struct hermes_update *u, uint64_t op)
{
    (void)u;
    (void)op;
    struct toy *t = ctx;
    for (uint32_t i = 0; i < count; i++) {
        t->meta[at(&parts[i].key)] = (struct hermes_meta){
            .ts = parts[i].ts, .generation = parts[i].generation, .live = true};
    }
    t->applied++;
}

static void toy_install(void *ctx, const struct hermes_key *key, const struct hermes_meta *meta,
                        struct coh_ref payload)
{
    (void)payload;
    ((struct toy *)ctx)->meta[at(key)] = *meta;
}

static void toy_read(void *ctx, const struct hermes_key *key, uint64_t op)
{
    (void)key;
    (void)op;
    ((struct toy *)ctx)->reads++;
}

static bool toy_same(void *ctx, struct coh_ref a, struct coh_ref b)
{
    (void)ctx;
    return a.handle == b.handle;
}

static struct coh_ref toy_hold(void *ctx, struct coh_ref ref)
{
    ((struct toy *)ctx)->holds++;
    return ref;
}

static void toy_drop(void *ctx, struct coh_ref ref)
{
    (void)ref;
    ((struct toy *)ctx)->holds--;
}

static size_t toy_scan(void *ctx, uint64_t *cursor, size_t max, struct hermes_key *out)
{
    (void)ctx;
    (void)max;
    (void)out;
    *cursor = 0;
    return 0;
}

static bool toy_purge(void *ctx, uint16_t slot, uint64_t version, uint64_t *generation)
{
    (void)ctx;
    (void)slot;
    (void)version;
    (void)generation;
    return true;
}

struct fixture {
    struct toy toy;
    void *memory;
    struct hermes *h;
    struct hermes_outbox out;
    uint64_t now;
};

static const struct hermes_limits limits = {
    .records = 12, .ops = 4, .slots = 16, .resend_ns = 1000, .replay_ns = 3000, .seed = 1};

static enum err step(struct fixture *f, struct hermes_in in)
{
    f->out.count = 0;
    in.now_ns = ++f->now;
    enum err e = hermes_step(f->h, &in, &f->out);
    hermes_check(f->h);
    return e;
}

static struct hermes_key key(uint64_t i)
{
    return (struct hermes_key){.hash = i, .ref = {i + 1, 4}, .slot = (uint16_t)(i / 2)};
}

static enum err operate(struct fixture *f, enum hermes_op_kind kind, uint64_t k, uint64_t id)
{
    struct hermes_op op = {.id = id, .kind = kind, .key = key(k), .effects = {99, 1}};
    return step(f, (struct hermes_in){.kind = HERMES_IN_OP, .u.op = &op});
}

static enum err operate_on_two(struct fixture *f, uint64_t k, uint64_t id, bool reads)
{
    struct hermes_key keys[2] = {key(k & ~UINT64_C(1)), key(k | 1)};
    struct hermes_op op = {.id = id,
                           .kind = HERMES_MULTI,
                           .key = keys[0],
                           .effects = {99, 1},
                           .keys = keys,
                           .key_count = 2,
                           .reads = reads};
    return step(f, (struct hermes_in){.kind = HERMES_IN_OP, .u.op = &op});
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct hermes_store store = {.ctx = &f->toy,
                                 .get = toy_get,
                                 .mark = toy_mark,
                                 .prepare = toy_prepare,
                                 .apply = toy_apply,
                                 .prepare_multi = toy_prepare_multi,
                                 .apply_multi = toy_apply_multi,
                                 .install = toy_install,
                                 .read = toy_read,
                                 .same_key = toy_same,
                                 .hold = toy_hold,
                                 .drop = toy_drop,
                                 .scan = toy_scan,
                                 .purge = toy_purge};
    f->memory = aligned_alloc(16, (hermes_size(&limits) + 15u) & ~(size_t)15u);
    f->h = hermes_init(f->memory, &limits, &store, 1, true);
    const uint32_t members[] = {1, 2, 3};
    struct view v;
    assert_true(view_make(&v, 1, members, 3, NULL, 0));
    assert_int_equal(step(f, (struct hermes_in){.kind = HERMES_IN_VIEW, .u.view = &v}), OK);
    assert_int_equal(step(f, (struct hermes_in){.kind = HERMES_IN_LEASE, .u.lease = {1, 1000000}}),
                     OK);
    while (hermes_next_deadline(f->h) <= f->now) {
        assert_int_equal(step(f, (struct hermes_in){.kind = HERMES_IN_TIMER}), OK);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    free(f->memory);
    free(f);
    return 0;
}

static struct hermes_msg message(enum msg_kind kind, uint32_t sender, uint64_t k, uint64_t ts)
{
    return (struct hermes_msg){.kind = kind,
                               .epoch = 1,
                               .sender = sender,
                               .key = key(k),
                               .ts = ts,
                               .held = ts,
                               .owner = ts_id(ts)};
}

static enum err receive(struct fixture *f, struct hermes_msg m)
{
    return step(f, (struct hermes_in){.kind = HERMES_IN_MSG, .u.msg = &m});
}

static void a_write_takes_one_round(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(operate(f, HERMES_WRITE, 3, 7), OK);
    assert_int_equal(f->out.count, 1); /* one INV, for both */
    assert_int_equal(f->out.out[0].u.msg.kind, MSG_HERMES_INV);
    assert_int_equal(f->out.out[0].to_mask, 6);
    uint64_t ts = f->out.out[0].u.msg.ts;
    assert_int_equal(receive(f, message(MSG_HERMES_ACK, 2, 3, ts)), OK);
    assert_int_equal(f->out.count, 0);
    assert_int_equal(receive(f, message(MSG_HERMES_ACK, 2, 3, ts)),
                     OK); /* again: a set, not a count */
    assert_int_equal(f->out.count, 0);
    assert_int_equal(receive(f, message(MSG_HERMES_ACK, 3, 3, ts)), OK);
    assert_int_equal(f->out.count, 2);
    assert_int_equal(f->out.out[0].u.msg.kind, MSG_HERMES_VAL);
    assert_int_equal(f->out.out[1].kind, HERMES_OUT_DONE);
    assert_int_equal(f->out.out[1].u.done.op, 7);
    assert_true(hermes_idle(f->h));
    assert_int_equal(f->toy.holds, 0);
    assert_int_equal(f->toy.applied, 1);
}

/* LOCK and LOCKED, then one round; the grant is kept, so the next one is a round only. */
static void two_keys_take_a_lock_and_a_round(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(operate_on_two(f, 2, 7, false), OK);
    assert_int_equal(f->out.count, 1);
    assert_int_equal(f->out.out[0].u.msg.kind, MSG_HERMES_LOCK);
    struct hermes_msg locked = message(MSG_HERMES_LOCKED, 2, 0, 0);
    locked.slot = f->out.out[0].u.msg.slot;
    locked.nonce = f->out.out[0].u.msg.nonce;
    locked.version = 4; /* a floor */
    assert_int_equal(receive(f, locked), OK);
    locked.sender = 3;
    locked.version = 0;
    for (uint64_t round = 0; round < 2; round++) {
        assert_int_equal(round == 0 ? receive(f, locked) : operate_on_two(f, 2, 8, false), OK);
        assert_int_equal(f->out.count, 1);
        struct hermes_msg m = f->out.out[0].u.msg;
        assert_int_equal(m.kind, MSG_HERMES_MULTI);
        assert_int_equal(m.part_count, 2);
        struct hermes_key first = m.parts[0].key;
        uint64_t ts = m.parts[0].ts;
        assert_int_equal(ts_version(ts), 7 + 3 * round);
        struct hermes_msg ack = message(MSG_HERMES_ACK, 2, first.hash, ts);
        assert_int_equal(receive(f, ack), OK);
        assert_int_equal(f->out.count, 0);
        ack.sender = 3;
        assert_int_equal(receive(f, ack), OK);
        assert_int_equal(f->out.count, 2);
        assert_int_equal(f->out.out[0].u.msg.kind, MSG_HERMES_VAL);
        assert_int_equal(f->out.out[1].u.done.op, 7 + round);
        assert_int_equal(f->out.out[1].u.done.result, HERMES_DONE);
    }
    assert_int_equal(f->toy.applied, 2);
    assert_int_equal(f->toy.holds, 0);
}

static void a_full_table_refuses_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t k = 0;
    enum err e = OK;
    for (; k < 12 && e == OK; k++) {
        e = operate(f, HERMES_WRITE, k, k + 1);
    }
    assert_int_equal(e, ERR_BUSY);
    assert_int_equal(k, 3); /* 12 records / (2 * 3 nodes) are for own operations */
    uint64_t before = hermes_digest(f->h);
    int holds = f->toy.holds;
    assert_int_equal(operate(f, HERMES_WRITE, 11, 50), ERR_BUSY);
    assert_int_equal(f->out.count, 0);
    assert_int_equal(hermes_digest(f->h), before);
    assert_int_equal(operate(f, HERMES_READ, 11, 51), OK); /* a Valid key needs no record */
    assert_int_equal(f->toy.reads, 1);
    for (k = 4; k < 14; k++) { /* the rest is for others */
        assert_int_equal(receive(f, message(MSG_HERMES_INV, 2, k, ts_make(2, 2))), OK);
    }
    before = hermes_digest(f->h);
    holds = f->toy.holds;
    assert_int_equal(receive(f, message(MSG_HERMES_INV, 2, 14, ts_make(2, 2))), ERR_BUSY);
    assert_int_equal(f->out.count, 0);
    assert_int_equal(hermes_digest(f->h), before);
    assert_int_equal(f->toy.holds, holds);
}

static void too_many_operations_are_refused(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(operate(f, HERMES_WRITE, 3, i + 1), OK);
    }
    uint64_t before = hermes_digest(f->h);
    assert_int_equal(operate(f, HERMES_READ, 3, 9), ERR_BUSY);
    assert_int_equal(hermes_digest(f->h), before);
}

static void messages_of_other_epochs_change_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t before = hermes_digest(f->h);
    struct hermes_msg m = message(MSG_HERMES_INV, 2, 3, ts_make(2, 2));
    m.epoch = 2;
    assert_int_equal(receive(f, m), ERR_AGAIN);
    m.epoch = 1;
    m.sender = 9; /* nobody */
    assert_int_equal(receive(f, m), OK);
    assert_int_equal(hermes_digest(f->h), before);
    const uint32_t members[] = {1, 2, 3};
    struct view v;
    assert_true(view_make(&v, 5, members, 3, NULL, 0));
    assert_int_equal(step(f, (struct hermes_in){.kind = HERMES_IN_VIEW, .u.view = &v}), OK);
    before = hermes_digest(f->h);
    m.sender = 2;
    assert_int_equal(receive(f, m), OK); /* dropped */
    assert_int_equal(f->out.count, 0);
    assert_int_equal(hermes_digest(f->h), before);
    assert_int_equal(
        step(f, (struct hermes_in){.kind = HERMES_IN_VIEW, .u.view = &(struct view){.epoch = 4}}),
        OK);
    assert_int_equal(hermes_view(f->h)->epoch, 5);
}

static void unknown_kinds_of_operation_are_refused(void **state)
{
    struct fixture *f = *state;
    uint64_t before = hermes_digest(f->h);
    assert_int_equal(operate(f, (enum hermes_op_kind)(HERMES_MULTI + 1), 3, 1), ERR_UNSUPPORTED);
    assert_int_equal(hermes_digest(f->h), before);
}

/* Any message with fields in range, in any state: never an assertion, never an output too many. */
static void well_formed_nonsense_is_survived(void **state)
{
    struct fixture *f = *state;
    uint64_t rng = 42;
    for (unsigned i = 0; i < 300000; i++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        uint64_t r = rng >> 20;
        struct hermes_msg m =
            message((enum msg_kind)(r % MSG_KIND_COUNT), 2 + (uint32_t)(r >> 8) % 2, (r >> 9) % 12,
                    ts_make(1 + (r >> 13) % 6, 1 + (uint32_t)(r >> 16) % 4));
        m.base = ts_make((r >> 18) % ts_version(m.ts), (uint32_t)(r >> 21) % 4);
        m.held = ts_make((r >> 23) % 8, (uint32_t)(r >> 26) % 4);
        m.flags = (uint8_t)((r >> 28) % 8);
        m.generation = (r >> 31) % 4;
        m.version = (r >> 33) % 8;
        m.slot = (uint16_t)((r >> 36) % 16);
        m.nonce = (r >> 40) % 3;
        struct hermes_part parts[3];
        m.parts = parts;
        m.part_count = 1 + (uint32_t)(r >> 42) % 3;
        for (uint32_t p = 0; p < m.part_count; p++) {
            parts[p] = (struct hermes_part){key(m.key.hash ^ (r >> (p + 1)) % 3), m.base, m.ts, 0};
        }
        assert_true(receive(f, m) != ERR_PROTO);
        if (i % 7 == 0) {
            (void)operate(f, (enum hermes_op_kind)((r >> 5) % 7), (r >> 9) % 12, i + 1);
        } else if (i % 7 == 1) {
            (void)operate_on_two(f, (r >> 9) % 12, i + 1, (r & 4) != 0);
        }
        if (i % 11 == 0) {
            f->now += 500;
            assert_int_equal(step(f, (struct hermes_in){.kind = HERMES_IN_TIMER}), OK);
            assert_int_equal(step(f, (struct hermes_in){.kind = HERMES_IN_LEASE,
                                                        .u.lease = {1, f->now + 1000000}}),
                             OK);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_write_takes_one_round, setup, teardown),
        cmocka_unit_test_setup_teardown(two_keys_take_a_lock_and_a_round, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_table_refuses_and_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_operations_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(messages_of_other_epochs_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_kinds_of_operation_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(well_formed_nonsense_is_survived, setup, teardown),
    };
    return cmocka_run_group_tests_name("hermes", tests, NULL, NULL);
}
