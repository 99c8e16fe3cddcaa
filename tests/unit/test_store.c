/* The key space: changes against a model, scanning under change, expiry, eviction, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/store/store.h"
#include "backends/store/store_private.h"
#include "common/mem.h"

static uint64_t rng;

static uint64_t roll(void)
{
    return store_random_u64(&rng);
}

static struct store *fresh(bool lfu)
{
    struct store_options o = {
        .seed = {7, 11}, .lfu = lfu, .lfu_log_factor = 10, .lfu_decay_minutes = 1};
    rng = 42;
    return store_new(&o);
}

static struct span key_of(char *buf, unsigned i)
{
    int n = snprintf(buf, 32, "key:%012u", i);
    return span_of(buf, (size_t)n);
}

static struct entry *put(struct store *s, unsigned i, const char *value)
{
    char k[32];
    struct span key = key_of(k, i);
    return store_put_string(s, store_find(s, key), key, span_str(value), STR_EMBSTR);
}

static struct entry *get(struct store *s, unsigned i)
{
    char k[32];
    return store_find(s, key_of(k, i));
}

/* Sum of what the segments say, and every entry found where a look-up looks. */
static void check_table(struct store *s)
{
    uint64_t count = 0;
    uint64_t expiring = 0;
    struct gather g = {0};
    uint64_t pos = 0;
    do {
        pos = table_gather(&s->table, pos, &g);
        for (size_t i = 0; i < g.count; i++) {
            struct span key = ent_key(g.e[i]);
            assert_ptr_equal(table_find(&s->table, key, store_hash(s, key)), g.e[i]);
            count++;
            expiring += (g.e[i]->flags & ENT_EXPIRE) != 0;
        }
    } while (pos != 0);
    assert_int_equal(count, s->table.count);
    uint64_t by_seg = 0;
    uint64_t exp_by_seg = 0;
    do {
        const struct seg *seg = table_dirent(&s->table, pos)->seg;
        by_seg += seg->count;
        exp_by_seg += seg->expiring;
        pos = seg_end(seg);
    } while (pos != 0);
    assert_int_equal(by_seg, count);
    assert_int_equal(exp_by_seg, expiring);
    mem_free(g.e);
}

static void random_changes_match_a_model(void **state)
{
    (void)state;
    enum { KEYS = 20000, STEPS = 400000 };
    struct store *s = fresh(false);
    static uint32_t model[KEYS]; /* 0: absent; else number in the value */
    static uint64_t expiry[KEYS];
    memset(model, 0, sizeof model);
    memset(expiry, 0, sizeof expiry);
    uint64_t live = 0;
    uint64_t expires = 0;
    for (unsigned step = 1; step <= STEPS; step++) {
        /* waves: mostly insertions, then mostly deletions, so that segments split and merge */
        bool growing = step / 50000 % 2 == 0;
        unsigned i = (unsigned)(roll() % KEYS);
        unsigned what = (unsigned)(roll() % 10);
        struct entry *e = get(s, i);
        assert_int_equal(e != NULL, model[i] != 0);
        if (what < (growing ? 6u : 1u)) {
            char value[600];
            size_t len = roll() % 8 == 0 ? 260 + roll() % 300 : roll() % 90;
            memset(value, 'v', sizeof value);
            snprintf(value, sizeof value, "%08u", step);
            value[8] = 'v';
            char k[32];
            struct span key = key_of(k, i);
            e = store_put_string(s, e, key, span_of(value, 8 + len), STR_EMBSTR);
            live += model[i] == 0;
            model[i] = step;
            assert_int_equal(entry_expire_ms(e), expiry[i]);
        } else if (what == 9 && e != NULL) {
            uint64_t at = roll() % 3 == 0 ? 0 : 1 + roll() % 1000;
            e = store_set_expire(s, e, at);
            expires += (at != 0);
            expires -= (expiry[i] != 0);
            expiry[i] = at;
        } else if (what >= (growing ? 8u : 3u) && e != NULL) {
            store_delete(s, e);
            live--;
            expires -= expiry[i] != 0;
            model[i] = 0;
            expiry[i] = 0;
        } else if (e != NULL) {
            char expected[16];
            snprintf(expected, sizeof expected, "%08u", model[i]);
            assert_memory_equal(entry_string(e).p, expected, 8);
            assert_int_equal(entry_expire_ms(e), expiry[i]);
        }
        if (step % 40000 == 0) {
            check_table(s);
            assert_int_equal(store_count(s, 0), live);
            assert_int_equal(store_count_expires(s, 0), expires);
        }
    }
    store_free(s);
}

static void shapes_keep_what_they_should(void **state)
{
    (void)state;
    struct store *s = fresh(false);
    char *long_key = malloc(70000);
    memset(long_key, 'k', 70000);
    size_t klens[] = {0, 1, 16, 255, 256, 70000};
    for (size_t k = 0; k < sizeof klens / sizeof *klens; k++) {
        struct span key = span_of(long_key, klens[k]);
        struct entry *e = store_put_string(s, NULL, key, SPAN_LIT("hello"), STR_EMBSTR);
        e = store_set_expire(s, e, 12345);
        e = store_set_hot(s, e, true, 99);
        entry_set_ts(e, 77);
        entry_set_state(e, 3);

        char *bytes = NULL;
        size_t lens[] = {3, 255, 256, 5000, 100, 0, 40};
        size_t before = 5;
        for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
            e = store_string_resize(s, e, lens[i], &bytes);
            struct span v = entry_string(e);
            assert_int_equal(v.len, lens[i]);
            assert_ptr_equal(v.p, bytes);
            for (size_t b = before; b < lens[i]; b++) {
                assert_int_equal(bytes[b], 0);
            }
            before = lens[i];
        }
        assert_true(span_eq(entry_key(e), key));
        assert_int_equal(entry_expire_ms(e), 12345);
        assert_int_equal(entry_generation(e), 99);
        assert_int_equal(entry_ts(e), 77);
        assert_int_equal(entry_state(e), 3);
        assert_true(entry_hot(e));
        assert_ptr_equal(store_find(s, key), e);

        e = store_set_expire(s, e, 0);
        e = store_set_hot(s, e, false, 0);
        assert_int_equal(entry_expire_ms(e), 0);
        assert_int_equal(entry_generation(e), 0);
        assert_int_equal(entry_string(e).len, 40);
    }
    check_table(s);
    free(long_key);
    store_free(s);
}

static void deletion_keeps_protocol_fields_as_a_tombstone(void **state)
{
    (void)state;
    struct store *s = fresh(false);
    struct entry *e = put(s, 1, "x");
    e = store_set_expire(s, e, 10);
    entry_set_ts(e, 500);
    char k[32];
    struct span key = key_of(k, 1);

    store_delete(s, e);

    assert_null(store_find(s, key));
    e = store_find_any(s, key);
    assert_non_null(e);
    assert_int_equal(entry_type(e), VAL_TOMBSTONE);
    assert_int_equal(entry_ts(e), 500);
    assert_int_equal(entry_expire_ms(e), 0);
    assert_int_equal(store_tombstones(s), 1);
    assert_int_equal(store_count(s, 0), 0);

    e = store_put_string(s, NULL, key, SPAN_LIT("back"), STR_EMBSTR);
    assert_int_equal(entry_ts(e), 500);
    assert_int_equal(store_tombstones(s), 0);
    assert_int_equal(store_count(s, 0), 1);

    store_delete(s, e);
    store_delete(s, store_find_any(s, key));
    assert_null(store_find_any(s, key));
    assert_int_equal(store_tombstones(s), 0);
    store_free(s);
}

struct seen {
    uint8_t *times;
    unsigned foreign;
};

static void see(void *arg, struct entry *e)
{
    struct seen *x = arg;
    unsigned i = (unsigned)strtoul(entry_key(e).p + 4, NULL, 10);
    x->times[i]++;
}

static void scan_sees_what_stays_once_while_everything_changes(void **state)
{
    (void)state;
    enum { STAY = 3000, OTHERS = 30000 };
    struct store *s = fresh(false);
    for (unsigned round = 0; round < 12; round++) {
        static uint8_t times[STAY + OTHERS];
        memset(times, 0, sizeof times);
        struct seen x = {.times = times};
        for (unsigned i = 0; i < STAY; i++) {
            put(s, i, "stays");
        }
        bool growing = round % 2 == 0;
        uint64_t cursor = 0;
        do {
            cursor = store_scan(s, cursor, 1 + roll() % 30, see, &x);
            assert_true(cursor < (uint64_t)1 << 40);
            for (unsigned n = 0; n < 250; n++) {
                unsigned i = STAY + (unsigned)(roll() % OTHERS);
                struct entry *e = get(s, i);
                if (growing && e == NULL) {
                    put(s, i, "comes");
                } else if (!growing && e != NULL) {
                    store_delete(s, e);
                }
            }
        } while (cursor != 0);
        for (unsigned i = 0; i < STAY; i++) {
            assert_int_equal(times[i], 1);
        }
        for (unsigned i = STAY; i < STAY + OTHERS; i++) {
            assert_true(growing ? times[i] <= 1 : true);
        }
        check_table(s);
    }
    store_free(s);
}

static void ignore_entry(void *arg, struct entry *e)
{
    (void)arg;
    (void)e;
}

static void any_cursor_is_safe(void **state)
{
    (void)state;
    struct store *s = fresh(false);
    for (unsigned i = 0; i < 5000; i++) {
        put(s, i, "v");
    }
    for (unsigned i = 0; i < 2000; i++) {
        store_scan(s, roll() << (roll() % 2 * 32), 10, ignore_entry, NULL);
    }
    store_scan(s, UINT64_MAX, SIZE_MAX, ignore_entry, NULL);
    store_free(s);
}

static void table_shrinks_after_mass_deletion(void **state)
{
    (void)state;
    struct store *s = fresh(false);
    int64_t empty = mem_thread_used();
    for (unsigned i = 0; i < 100000; i++) {
        put(s, i, "v");
    }
    size_t large = table_dir_size(&s->table);
    for (unsigned i = 0; i < 100000; i++) {
        if (i % 1000 != 0) {
            store_delete(s, get(s, i));
        }
    }
    assert_true(table_dir_size(&s->table) * 16 < large);
    assert_true(mem_thread_used() - empty < 64 * 1024);
    check_table(s);
    store_free(s);
}

static void keys_of_one_bucket_spill_and_come_back(void **state)
{
    (void)state;
    struct store *s = fresh(false);
    /* keys of one 1/256 of the hash space: far more than four buckets hold */
    unsigned want = 0;
    static unsigned in[100000];
    for (unsigned i = 0; want < 600; i++) {
        char k[32];
        if (store_hash(s, key_of(k, i)) >> 52 == 0x123) {
            in[want++] = i;
        }
    }
    for (unsigned n = 0; n < want; n++) {
        put(s, in[n], "flood");
    }
    check_table(s);
    assert_true(table_dir_size(&s->table) < 65536);
    for (unsigned n = 0; n < want; n++) {
        assert_non_null(get(s, in[n]));
    }
    for (unsigned n = 0; n < want; n++) {
        store_delete(s, get(s, in[n]));
        if (n % 50 == 0) {
            check_table(s);
        }
    }
    assert_int_equal(s->table.count, 0);
    store_free(s);
}

static void flush_of_one_database_hides_at_once_and_frees_in_slices(void **state)
{
    (void)state;
    struct store *s = fresh(false);
    char k[64];
    for (unsigned db = 0; db < 3; db++) {
        for (unsigned i = 0; i < 5000; i++) {
            int n = snprintf(k + 2, sizeof k - 2, "k%u", i) + 2;
            k[0] = DB_ESCAPE;
            k[1] = (char)db;
            struct span key = db == 0 ? span_of(k + 2, (size_t)n - 2) : span_of(k, (size_t)n);
            store_put_string(s, NULL, key, SPAN_LIT("v"), STR_EMBSTR);
        }
    }
    for (unsigned round = 0; round < 6; round++) {
        store_flush(s, 1);
        assert_int_equal(store_count(s, 1), 0);
        assert_int_equal(store_count(s, 0), 5000);
        assert_null(store_find(s, SPAN_LIT("\xFF\x01k77")));
        store_put_string(s, NULL, SPAN_LIT("\xFF\x01k78"), SPAN_LIT("new"), STR_EMBSTR);
        store_lazy_step(s, 500);
        assert_non_null(store_find(s, SPAN_LIT("\xFF\x01k78")));
        assert_int_equal(store_count(s, 1), 1);
    }
    unsigned steps = 0;
    while (store_lazy_step(s, 200)) {
        steps++;
    }
    assert_true(steps > 10);
    assert_int_equal(s->table.count, 10001);
    assert_int_equal(store_lazy_pending(s), 0);
    check_table(s);

    store_flush(s, -1);
    assert_int_equal(store_count(s, 0) + store_count(s, 1) + store_count(s, 2), 0);
    assert_int_equal(store_lazy_pending(s), 10001);
    put(s, 5, "after");
    while (store_lazy_step(s, 200)) {
    }
    assert_int_equal(store_lazy_pending(s), 0);
    assert_non_null(get(s, 5));
    store_free(s);
}

static void expired_entries_are_found_by_sampling(void **state)
{
    (void)state;
    struct store *s = fresh(false);
    for (unsigned i = 0; i < 50000; i++) {
        struct entry *e = put(s, i, "v");
        if (i % 10 == 0) {
            store_set_expire(s, e, i % 20 == 0 ? 1000 : 100000);
        }
    }
    struct entry *hot = store_set_hot(s, get(s, 0), true, 1);
    entry_set_state(hot, 0);
    unsigned removed = 0;
    unsigned calls = 0;
    for (; calls < 2000 && removed < 2499; calls++) {
        struct entry *found[20];
        bool worth = false;
        size_t n = store_sample_expired(s, 5000, 20, found, 20, &worth);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(entry_expire_ms(found[i]), 1000);
            store_delete(s, found[i]);
        }
        removed += (unsigned)n;
    }
    assert_int_equal(removed, 2499); /* all but the hot one */
    assert_true(calls < 400);
    assert_non_null(get(s, 0));
    assert_int_equal(store_count_expires(s, 0), 2501);
    uint64_t ttl = store_avg_ttl_ms(s, 0, 5000);
    assert_true(ttl == 95000);
    store_free(s);
}

/* Share of the evicted that belong to the oldest half. */
static unsigned evict_half(struct store *s, enum evict_policy policy, unsigned keys, uint64_t now)
{
    unsigned good = 0;
    for (unsigned n = 0; n < keys / 4; n++) {
        struct entry *e = store_evict_candidate(s, policy, now, &rng);
        assert_non_null(e);
        unsigned i = (unsigned)strtoul(entry_key(e).p + 4, NULL, 10);
        good += i < keys / 2;
        store_delete(s, e);
    }
    return good * 100 / (keys / 4);
}

static void eviction_prefers_the_old_the_rare_and_the_soon(void **state)
{
    (void)state;
    enum { KEYS = 20000 };
    for (int kind = 0; kind < 3; kind++) {
        struct store *s = fresh(kind == 1);
        for (unsigned i = 0; i < KEYS; i++) {
            struct entry *e = put(s, i, "v");
            if (kind == 2) {
                store_set_expire(s, e, 1000000 + i);
            } else {
                entry_set_access(s, e, KEYS - i, (int)(i * 200 / KEYS), 60000000000u);
            }
        }
        enum evict_policy policies[] = {EVICT_ALLKEYS_LRU, EVICT_ALLKEYS_LFU, EVICT_VOLATILE_TTL};
        unsigned share = evict_half(s, policies[kind], KEYS, 60000000000u);
        assert_true(share >= 99);
        store_free(s);
    }
}

static void eviction_spares_hot_busy_and_lasting_keys(void **state)
{
    (void)state;
    struct store *s = fresh(false);
    for (unsigned i = 0; i < 3000; i++) {
        struct entry *e = put(s, i, "v");
        if (i % 3 == 0) {
            e = store_set_hot(s, e, true, 1);
        } else if (i % 3 == 1) {
            entry_set_state(e, 1);
        } else if (i % 30 == 2) {
            store_set_expire(s, e, 5000);
        }
    }
    static const enum evict_policy policies[] = {EVICT_VOLATILE_LRU, EVICT_VOLATILE_RANDOM,
                                                 EVICT_ALLKEYS_RANDOM, EVICT_ALLKEYS_LRU};
    static const unsigned rounds[] = {50, 50, 450, 450};
    for (unsigned p = 0; p < 4; p++) {
        for (unsigned n = 0; n < rounds[p]; n++) {
            struct entry *e = store_evict_candidate(s, policies[p], 1000, &rng);
            assert_non_null(e);
            unsigned i = (unsigned)strtoul(entry_key(e).p + 4, NULL, 10);
            assert_int_equal(i % 3, 2);
            if (p < 2) {
                assert_int_equal(i % 30, 2);
            }
            store_delete(s, e);
        }
        if (p == 1) {
            assert_null(store_evict_candidate(s, EVICT_VOLATILE_LRU, 1000, &rng));
            assert_null(store_evict_candidate(s, EVICT_VOLATILE_RANDOM, 1000, &rng));
        }
    }
    assert_null(store_evict_candidate(s, EVICT_ALLKEYS_LRU, 1000, &rng));
    assert_null(store_evict_candidate(s, EVICT_ALLKEYS_RANDOM, 1000, &rng));
    assert_null(store_evict_candidate(s, EVICT_NOEVICTION, 1000, &rng));
    store_free(s);
}

static void frequency_counts_and_decays(void **state)
{
    (void)state;
    struct store *s = fresh(true);
    struct entry *e = put(s, 1, "v");
    uint64_t now = 3600000;
    entry_touch(s, e, now);
    for (unsigned i = 0; i < 1000; i++) {
        entry_touch(s, e, now);
    }
    uint8_t after = entry_freq(s, e, now);
    assert_in_range(after, 10, 30);
    assert_int_equal(entry_freq(s, e, now + 3 * 60000), after - 3);
    assert_int_equal(entry_freq(s, e, now + 300 * 60000), 0);
    store_free(s);
}

static void random_entry_is_fair_enough(void **state)
{
    (void)state;
    struct store *s = fresh(false);
    for (unsigned i = 0; i < 1000; i++) {
        struct entry *e = put(s, i, "v");
        if (i == 500) {
            store_set_expire(s, e, 1);
        }
    }
    store_put_string(s, NULL, SPAN_LIT("\xFF\x05one"), SPAN_LIT("v"), STR_EMBSTR);
    static unsigned hits[1000];
    memset(hits, 0, sizeof hits);
    for (unsigned n = 0; n < 100000; n++) {
        hits[strtoul(entry_key(store_random(s, 0, &rng, false)).p + 4, NULL, 10)]++;
    }
    for (unsigned i = 0; i < 1000; i++) {
        assert_in_range(hits[i], 30, 250);
    }
    assert_ptr_equal(store_random(s, -1, &rng, true), get(s, 500));
    assert_ptr_equal(store_random(s, 5, &rng, false), store_find(s, SPAN_LIT("\xFF\x05one")));
    assert_null(store_random(s, 6, &rng, false));
    assert_null(store_random(s, 5, &rng, true));
    store_free(s);
}

static void a_million_keys_fit_the_budget(void **state)
{
    (void)state;
#ifdef HALCYON_JEMALLOC
    struct store *s = fresh(false);
    int64_t before = mem_thread_used();
    unsigned next = 0;
    for (unsigned target = 125000; target <= 1000000; target += 125000) {
        for (; next < target; next++) {
            char k[32];
            struct span key = key_of(k, next);
            store_put_string(s, NULL, key, SPAN_LIT("0123456789abcdef0123456789abcdef"),
                             STR_EMBSTR);
        }
        double each = (double)(mem_thread_used() - before) / next;
        print_message("%u keys: %.1f bytes each\n", next, each);
        assert_true(each <= 81.0);
    }
    store_free(s);
    assert_true(mem_thread_used() - before < 1000);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_match_a_model),
        cmocka_unit_test(shapes_keep_what_they_should),
        cmocka_unit_test(deletion_keeps_protocol_fields_as_a_tombstone),
        cmocka_unit_test(scan_sees_what_stays_once_while_everything_changes),
        cmocka_unit_test(any_cursor_is_safe),
        cmocka_unit_test(table_shrinks_after_mass_deletion),
        cmocka_unit_test(keys_of_one_bucket_spill_and_come_back),
        cmocka_unit_test(flush_of_one_database_hides_at_once_and_frees_in_slices),
        cmocka_unit_test(expired_entries_are_found_by_sampling),
        cmocka_unit_test(eviction_prefers_the_old_the_rare_and_the_soon),
        cmocka_unit_test(eviction_spares_hot_busy_and_lasting_keys),
        cmocka_unit_test(frequency_counts_and_decays),
        cmocka_unit_test(random_entry_is_fair_enough),
        cmocka_unit_test(a_million_keys_fit_the_budget),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
