/* The incremental hash table against an array of flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/types/dict.h"
#include "common/mem.h"

struct item {
    uint32_t number;
    char key[12];
};

static uint64_t rng = 88172645463325252u;
static size_t freed;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static struct span item_key(const void *p)
{
    return span_str(((const struct item *)p)->key);
}

static struct item *item_new(uint32_t number)
{
    struct item *it = mem_alloc(sizeof *it);
    it->number = number;
    snprintf(it->key, sizeof it->key, "k%u", number);
    return it;
}

static void item_free(void *p)
{
    freed++;
    mem_free(p);
}

static struct span key_of(uint32_t number, char room[12])
{
    return span_of(room, (size_t)snprintf(room, 12, "k%u", number));
}

static void add(struct dict *d, uint32_t number)
{
    struct item *it = item_new(number);
    dict_add(d, it, dict_hash(item_key(it)));
}

static bool take(struct dict *d, uint32_t number)
{
    char room[12];
    struct span key = key_of(number, room);
    struct item *it = dict_remove(d, key, dict_hash(key));
    if (it == NULL) {
        return false;
    }
    assert_int_equal(it->number, number);
    mem_free(it);
    return true;
}

static bool has(struct dict *d, uint32_t number)
{
    char room[12];
    struct span key = key_of(number, room);
    void **slot = dict_find_slot(d, key, dict_hash(key));
    assert_ptr_equal(slot == NULL ? NULL : *slot, dict_find(d, key, dict_hash(key)));
    return slot != NULL;
}

#define NUMBERS 3000u

static void random_changes_match_flags(void **state)
{
    (void)state;
    static bool there[NUMBERS];
    memset(there, 0, sizeof there);
    struct dict *d = dict_new(item_key);
    size_t count = 0;
    for (uint32_t step = 0; step < 90000; step++) {
        /* phases of growing and of shrinking to nothing */
        bool shrinking = step / 11000 % 2 == 1;
        uint32_t n = (uint32_t)(next_random() % NUMBERS);
        bool adds = next_random() % 10 < (shrinking ? 1u : 8u);
        if (adds && !there[n]) {
            add(d, n);
            there[n] = true;
            count++;
        } else if (!adds) {
            assert_int_equal(take(d, n), there[n]);
            count -= there[n];
            there[n] = false;
        }
        assert_int_equal(has(d, n), there[n]);
        assert_int_equal(dict_count(d), count);
        if (step % 5000 == 0) {
            static bool seen[NUMBERS];
            memset(seen, 0, sizeof seen);
            struct dict_iter it = dict_iter(d);
            for (struct item *i = dict_next(&it); i != NULL; i = dict_next(&it)) {
                assert_false(seen[i->number]);
                seen[i->number] = true;
            }
            assert_memory_equal(seen, there, sizeof seen);
        }
    }
    freed = 0;
    dict_free(d, item_free);
    assert_int_equal(freed, count);
}

struct visits {
    unsigned char times[NUMBERS];
};

static void visit(void *arg, void *item)
{
    struct visits *v = arg;
    v->times[((struct item *)item)->number]++;
}

/* Items 0..99 stay; the others come and go in waves between the scan's steps, through many sizes.
 */
static void scan_visits_what_stays(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 12; round++) {
        struct visits seen = {{0}};
        struct dict *d = dict_new(item_key);
        for (uint32_t i = 0; i < 100; i++) {
            add(d, i);
        }
        uint64_t cursor = 0;
        uint32_t top = 100;
        do {
            cursor = dict_scan(d, cursor, visit, &seen);
            uint32_t target =
                100 + (uint32_t)(next_random() % (round % 3 == 0 ? 1 : NUMBERS - 100));
            for (; top < target; top++) {
                add(d, top);
            }
            while (top > target) {
                assert_true(take(d, --top));
            }
        } while (cursor != 0);
        for (uint32_t i = 0; i < 100; i++) {
            assert_true(seen.times[i] != 0);
            if (round % 3 == 0) {
                assert_int_equal(seen.times[i], 1);
            }
        }
        dict_free(d, item_free);
    }
}

static void random_items_are_fair(void **state)
{
    (void)state;
    static unsigned drawn[50];
    memset(drawn, 0, sizeof drawn);
    struct dict *d = dict_new(item_key);
    for (uint32_t i = 0; i < 50; i++) {
        add(d, i);
    }
    for (unsigned i = 0; i < 50000; i++) {
        drawn[((struct item *)dict_random(d, &rng))->number]++;
    }
    for (unsigned i = 0; i < 50; i++) {
        /* 1000 expected, sigma 31 */
        assert_in_range(drawn[i], 820, 1180);
    }
    dict_free(d, item_free);
}

static void freeing_is_done_in_slices(void **state)
{
    (void)state;
    struct dict *d = dict_new(item_key);
    for (uint32_t i = 0; i < 20000; i++) {
        add(d, i);
    }
    unsigned steps = 1;
    freed = 0;
    while (dict_free_step(d, 100, item_free)) {
        assert_in_range(freed, 0, steps * 130);
        steps++;
    }
    assert_int_equal(freed, 20000);
    assert_in_range(steps, 150, 260);
}

static void memory_follows_the_count(void **state)
{
    (void)state;
    struct dict *d = dict_new(item_key);
    assert_in_range(dict_memory(d), 64, 256);
    for (uint32_t i = 0; i < 20000; i++) {
        add(d, i);
    }
    assert_in_range(dict_memory(d), 20000 * 10, 20000 * 18);
    for (uint32_t i = 0; i < 20000; i++) {
        assert_true(take(d, i));
    }
    assert_in_range(dict_memory(d), 64, 8192);
    dict_free(d, item_free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_match_flags), cmocka_unit_test(scan_visits_what_stays),
        cmocka_unit_test(random_items_are_fair),      cmocka_unit_test(freeing_is_done_in_slices),
        cmocka_unit_test(memory_follows_the_count),
    };
    return cmocka_run_group_tests_name("dict", tests, NULL, NULL);
}
