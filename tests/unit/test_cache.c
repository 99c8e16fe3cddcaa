/* The symmetric cache's table: what is set is read, and readers of other threads never see a
 * mixture.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/mem.h"
#include "proxy/cache.h"

static const struct cache_limits limits = {
    .entries = 256, .value_max = 4096, .memory_max = 1 << 20};

static void set(struct cache *c, uint32_t place, const char *key, enum cache_state state,
                const char *value)
{
    struct span k = span_str(key);
    struct cache_value v = {.state = state, .bytes = span_str(value)};
    cache_set(c, place, cache_hash(k), k, &v);
}

static enum cache_state get(struct cache *c, const char *key, enum cache_form form, struct buf *out)
{
    struct span k = span_str(key);
    struct cache_got got;
    buf_consume(out, buf_used(out));
    return cache_read(c, cache_hash(k), k, 0, form, out, &got);
}

static void what_is_set_is_read(void **state)
{
    (void)state;
    struct cache *c = cache_new(&limits);
    struct buf b = {0};
    assert_false(cache_any(cache_counts(c)));
    assert_int_equal(get(c, "a", CACHE_BULK, &b), CACHE_NONE);

    set(c, 3, "a", CACHE_BUSY, "");
    assert_int_equal(get(c, "a", CACHE_BULK, &b), CACHE_BUSY);
    set(c, 3, "a", CACHE_VALUE, "hello");
    assert_int_equal(get(c, "a", CACHE_BULK, &b), CACHE_VALUE);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("$5\r\nhello\r\n")));
    assert_int_equal(get(c, "a", CACHE_RAW, &b), CACHE_VALUE);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("hello")));
    set(c, 3, "a", CACHE_VALUE, "");
    assert_int_equal(get(c, "a", CACHE_BULK, &b), CACHE_VALUE);
    assert_true(span_eq(buf_span(&b), SPAN_LIT("$0\r\n\r\n")));
    set(c, 3, "a", CACHE_ABSENT, "");
    assert_int_equal(get(c, "a", CACHE_BULK, &b), CACHE_ABSENT);
    assert_true(cache_any(cache_counts(c)));
    set(c, 3, "a", CACHE_NONE, "");
    assert_int_equal(get(c, "a", CACHE_BULK, &b), CACHE_NONE);
    assert_false(cache_any(cache_counts(c)));
    assert_int_equal(cache_counts(c)->bytes, 0);
    buf_free(&b);
    cache_free(c);
}

static void cleared_places_are_free_for_other_keys(void **state)
{
    (void)state;
    struct cache *c = cache_new(&limits);
    struct buf b = {0};
    set(c, 3, "a", CACHE_VALUE, "hello");
    set(c, 4, "b", CACHE_BUSY, "");
    set(c, 9, "c", CACHE_VALUE, "stays");

    cache_clear(c, 0, 8);

    assert_int_equal(get(c, "a", CACHE_BULK, &b), CACHE_NONE);
    assert_int_equal(get(c, "b", CACHE_BULK, &b), CACHE_NONE);
    assert_int_equal(get(c, "c", CACHE_RAW, &b), CACHE_VALUE);
    assert_int_equal(cache_counts(c)->entries, 1);
    set(c, 3, "d", CACHE_VALUE, "other");
    assert_int_equal(get(c, "d", CACHE_RAW, &b), CACHE_VALUE);
    assert_int_equal(get(c, "a", CACHE_BULK, &b), CACHE_NONE);
    set(c, 3, "d", CACHE_NONE, "");
    set(c, 9, "c", CACHE_NONE, "");
    assert_int_equal(cache_counts(c)->bytes, 0);
    buf_free(&b);
    cache_free(c);
}

static void a_value_about_to_expire_is_busy(void **state)
{
    (void)state;
    struct cache *c = cache_new(&limits);
    struct span k = SPAN_LIT("key");
    struct cache_value v = {.state = CACHE_VALUE, .bytes = SPAN_LIT("v"), .expire_ms = 1000};
    cache_set(c, 0, cache_hash(k), k, &v);
    struct cache_got got;

    assert_int_equal(cache_read(c, cache_hash(k), k, 999, CACHE_META, NULL, &got), CACHE_VALUE);
    assert_int_equal(got.expire_ms, 1000);
    assert_int_equal(got.len, 1);
    assert_int_equal(cache_read(c, cache_hash(k), k, 1000, CACHE_META, NULL, &got), CACHE_BUSY);
    cache_free(c);
}

static void sizes_grow_and_shrink_within_the_budget(void **state)
{
    (void)state;
    struct cache *c = cache_new(&limits);
    char *value = mem_zalloc(8193);
    struct buf b = {0};
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned len = 0; len <= 4096; len += 37) {
            memset(value, 'a' + (int)(len % 26), len);
            value[len] = '\0';
            set(c, 1, "grows", CACHE_VALUE, value);
            assert_int_equal(get(c, "grows", CACHE_RAW, &b), CACHE_VALUE);
            assert_true(span_eq(buf_span(&b), span_str(value)));
        }
    }
    memset(value, 'x', 4097);
    value[4097] = '\0';
    set(c, 1, "grows", CACHE_VALUE, value); /* above value_max */
    assert_int_equal(get(c, "grows", CACHE_RAW, &b), CACHE_BUSY);
    set(c, 1, "grows", CACHE_NONE, "");
    assert_int_equal(cache_counts(c)->bytes, 0);
    mem_free(value);
    buf_free(&b);
    cache_free(c);
}

static void a_full_budget_leaves_keys_busy(void **state)
{
    (void)state;
    struct cache_limits small = {.entries = 2000, .value_max = 4096, .memory_max = 512 * 1024};
    struct cache *c = cache_new(&small);
    char value[4001] = "";
    memset(value, 'v', 4000);
    struct buf b = {0};
    unsigned readable = 0;
    char key[16];
    for (uint32_t i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "key:%u", i);
        set(c, i, key, CACHE_VALUE, value);
        enum cache_state s = get(c, key, CACHE_RAW, &b);
        assert_true(s == CACHE_VALUE || s == CACHE_BUSY || s == CACHE_NONE);
        readable += s == CACHE_VALUE;
    }
    assert_in_range(readable, 32, 128);
    assert_true(cache_counts(c)->no_room > 0);
    for (uint32_t i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "key:%u", i);
        set(c, i, key, CACHE_NONE, "");
    }
    assert_int_equal(cache_counts(c)->bytes, 0);
    set(c, 0, "again", CACHE_VALUE, value);
    assert_int_equal(get(c, "again", CACHE_RAW, &b), CACHE_VALUE);
    buf_free(&b);
    cache_free(c);
}

static void keys_that_collide_come_and_go(void **state)
{
    (void)state;
    struct cache *c = cache_new(&limits);
    struct buf b = {0};
    bool in[256] = {false};
    uint32_t random = 7;
    char key[16];
    for (unsigned step = 0; step < 20000; step++) {
        random = random * 1664525 + 1013904223;
        uint32_t i = random >> 16 & 255;
        snprintf(key, sizeof key, "k%u", i);
        in[i] = !in[i];
        set(c, i, key, in[i] ? CACHE_VALUE : CACHE_NONE, key);
        uint32_t j = random >> 8 & 255;
        snprintf(key, sizeof key, "k%u", j);
        assert_int_equal(get(c, key, CACHE_RAW, &b), in[j] ? CACHE_VALUE : CACHE_NONE);
        assert_true(!in[j] || span_eq(buf_span(&b), span_str(key)));
    }
    buf_free(&b);
    cache_free(c);
}

/* ---- threads ---- */

#define KEYS 8u
#define ROUNDS 20000u
static struct {
    struct cache *c;
    _Atomic bool end;
    _Atomic unsigned wrong, seen;
} shared;

/* A value is its key's number, repeated; its length changes. */
static void *reader(void *arg)
{
    (void)arg;
    struct buf b = {0};
    char key[16];
    for (unsigned i = 0; !atomic_load(&shared.end); i = (i + 1) % KEYS) {
        snprintf(key, sizeof key, "key%u", i);
        if (get(shared.c, key, CACHE_RAW, &b) != CACHE_VALUE) {
            continue;
        }
        atomic_fetch_add(&shared.seen, 1);
        struct span v = buf_span(&b);
        char first = v.len != 0 ? v.p[0] : '?';
        for (size_t n = 0; n < v.len; n++) {
            if (v.p[n] != first || (unsigned char)v.p[n] % KEYS != i) {
                atomic_fetch_add(&shared.wrong, 1);
                break;
            }
        }
    }
    buf_free(&b);
    return NULL;
}

/* Writes its keys' places; keys come and go, and move to other places. */
static void *writer(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    char key[16];
    char value[600];
    uint32_t random = me + 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        random = random * 1664525 + 1013904223;
        unsigned i = (random >> 16 & 3) + me * 4;
        snprintf(key, sizeof key, "key%u", i);
        size_t len = 1 + (random >> 8) % 590;
        memset(value, (int)(64 + (random >> 20 & 7) * KEYS + i), len);
        value[len] = '\0';
        set(shared.c, i, key, CACHE_VALUE, value);
        if (round % 7 == 0) {
            set(shared.c, i, key, CACHE_BUSY, "");
        }
        if (round % 31 == 0) {
            set(shared.c, i, key, CACHE_NONE, "");
        }
    }
    return NULL;
}

static void readers_never_see_a_mixture(void **state)
{
    (void)state;
    shared.c = cache_new(&limits);
    pthread_t r[2];
    pthread_t w[2];
    for (uintptr_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&r[i], NULL, reader, NULL), 0);
        assert_int_equal(pthread_create(&w[i], NULL, writer, (void *)i), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(w[i], NULL);
    }
    atomic_store(&shared.end, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(r[i], NULL);
    }

    assert_int_equal(shared.wrong, 0);
    assert_true(shared.seen > 0);
    cache_free(shared.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_set_is_read),
        cmocka_unit_test(cleared_places_are_free_for_other_keys),
        cmocka_unit_test(a_value_about_to_expire_is_busy),
        cmocka_unit_test(sizes_grow_and_shrink_within_the_budget),
        cmocka_unit_test(a_full_budget_leaves_keys_busy),
        cmocka_unit_test(keys_that_collide_come_and_go),
        cmocka_unit_test(readers_never_see_a_mixture),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
