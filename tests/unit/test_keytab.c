/* The bounded table of keys with deadlines, against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "coherence/keytab.h"

#define KEYS 40u

static bool same_key(void *ctx, struct coh_ref a, struct coh_ref b)
{
    (void)ctx;
    return a.handle == b.handle;
}

/* Three keys to a hash. */
static struct hermes_key key(uint32_t n)
{
    return (struct hermes_key){.hash = n / 3 * 1000, .ref = {n + 1, 8}, .slot = (uint16_t)(n % 2)};
}

static void open_table(struct keytab *t, uint32_t capacity)
{
    void *memory = malloc(keytab_size(capacity));
    assert_non_null(memory);
    keytab_init(t, memory, capacity, same_key, NULL);
}

static void keys_are_found_until_given_back(void **state)
{
    (void)state;
    struct keytab t;
    open_table(&t, KEYS);
    uint32_t at[KEYS];
    for (uint32_t i = 0; i < KEYS; i++) {
        struct hermes_key k = key(i);
        assert_int_equal(keytab_find(&t, &k), KEYTAB_NONE);
        at[i] = keytab_take(&t, &k);
        assert_true(at[i] < KEYS);
    }
    assert_int_equal(t.used, KEYS);
    for (uint32_t i = 0; i < KEYS; i += 2) {
        keytab_give(&t, at[i]);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        struct hermes_key k = key(i);
        assert_int_equal(keytab_find(&t, &k), i % 2 == 0 ? KEYTAB_NONE : at[i]);
    }
    struct hermes_key again = key(0);
    assert_true(keytab_take(&t, &again) < KEYS);
    free(t.slots);
}

/* Random deadlines, set, changed and taken away; the first one is always a smallest. */
static void the_first_deadline_is_the_smallest(void **state)
{
    (void)state;
    struct keytab t;
    open_table(&t, KEYS);
    uint64_t at[KEYS];
    uint64_t random = 88172645463325252;
    for (uint32_t i = 0; i < KEYS; i++) {
        struct hermes_key k = key(i);
        at[keytab_take(&t, &k)] = UINT64_MAX;
    }
    for (unsigned n = 0; n < 20000; n++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        uint32_t i = (uint32_t)(random % KEYS);
        at[i] = random >> 40 & 3 ? random >> 20 & 255 : UINT64_MAX;
        keytab_deadline(&t, i, at[i]);
        uint64_t least = UINT64_MAX;
        for (uint32_t j = 0; j < KEYS; j++) {
            least = at[j] < least ? at[j] : least;
        }
        assert_int_equal(keytab_next_deadline(&t), least);
        uint32_t first = keytab_first(&t);
        assert_true(least == UINT64_MAX ? first == KEYTAB_NONE : at[first] == least);
    }
    free(t.slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_until_given_back),
        cmocka_unit_test(the_first_deadline_is_the_smallest),
    };
    return cmocka_run_group_tests_name("keytab", tests, NULL, NULL);
}
