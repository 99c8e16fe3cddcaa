/* An acceptor's state file: what was saved is what is read; what is damaged, or belongs elsewhere,
 * is refused in words that say what it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/member/routes.h"
#include "backends/member/state.h"

static char folder[64];
static char path[96];
static struct member_map genesis;
static struct member_state state;
static struct errmsg why;

static void make_genesis(struct member_map *m, char *acceptors, char *shard)
{
    struct cfg_strings words = {0};
    assert_int_equal(cfg_split(span_str(acceptors), &words), OK);
    struct member_settings set = {.acceptors = words};
    struct cluster_settings shards = {.shard = {.v = &shard, .n = 1}, .node_workers = 1};
    assert_int_equal(genesis_make(&set, &shards, m, &why), OK);
    cfg_strings_free(&words);
}

static int setup(void **unused)
{
    (void)unused;
    char acceptors[] = "10.0.0.1:1 10.0.0.2:1 10.0.0.3:1";
    char shard[] = "main auto";
    (void)snprintf(folder, sizeof folder, "/tmp/halcyon-state-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/acceptor.state", folder);
    make_genesis(&genesis, acceptors, shard);
    state = (struct member_state){.base = genesis, .promised = 77};
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left there */
    return 0;
}

static const struct state_owner owner = {"mine", &genesis, 1};

static void no_file_is_a_first_start(void **unused)
{
    (void)unused;
    bool found = true;
    struct member_state got;
    assert_int_equal(state_load(path, &owner, &got, &found, &why), OK);
    assert_false(found);
}

static void what_was_saved_is_read(void **unused)
{
    (void)unused;
    struct member_state got;
    bool found = false;
    assert_int_equal(state_save(path, &owner, &state, &why), OK);
    state.promised = 78;
    assert_int_equal(state_save(path, &owner, &state, &why), OK);

    assert_int_equal(state_load(path, &owner, &got, &found, &why), OK);

    assert_true(found);
    assert_int_equal(got.promised, 78);
    assert_int_equal(got.accepted, 0);
    assert_true(genesis_same_shards(&got.base, &genesis));
}

static size_t read_file(char *bytes, size_t room)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, room, f);
    (void)fclose(f);
    return n;
}

static void write_file(const char *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void every_damage_is_seen(void **unused)
{
    (void)unused;
    static char bytes[MEMBER_STATE_MAX + 256];
    struct member_state got;
    bool found = false;
    assert_int_equal(state_save(path, &owner, &state, &why), OK);
    size_t n = read_file(bytes, sizeof bytes);
    assert_true(n > 64);
    for (size_t i = 0; i < n; i++) { /* one bit of each byte */
        bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
        write_file(bytes, n);
        assert_int_equal(state_load(path, &owner, &got, &found, &why), ERR_CORRUPT);
        bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
    }
    for (size_t i = 0; i < n; i += 7) { /* cut short */
        write_file(bytes, i);
        assert_int_equal(state_load(path, &owner, &got, &found, &why), ERR_CORRUPT);
    }
    assert_non_null(strstr(why.text, "is damaged"));
}

static void what_belongs_elsewhere_is_refused(void **unused)
{
    (void)unused;
    static struct member_map other;
    char swapped[] = "10.0.0.2:1 10.0.0.1:1 10.0.0.3:1";
    char same[] = "10.0.0.1:1 10.0.0.2:1 10.0.0.3:1";
    char shard[] = "main auto";
    char renamed[] = "other auto";
    struct member_state got;
    bool found = false;
    assert_int_equal(state_save(path, &owner, &state, &why), OK);

    struct state_owner o = {"yours", &genesis, 1};
    assert_int_equal(state_load(path, &o, &got, &found, &why), ERR_CONFIG);
    assert_non_null(strstr(why.text, "of cluster 'mine', not of 'yours'"));

    make_genesis(&other, swapped, shard);
    o = (struct state_owner){"mine", &other, 1};
    assert_int_equal(state_load(path, &o, &got, &found, &why), ERR_CONFIG);
    assert_non_null(strstr(why.text, "another set of acceptors"));

    o = (struct state_owner){"mine", &genesis, 2};
    assert_int_equal(state_load(path, &o, &got, &found, &why), ERR_CONFIG);
    assert_non_null(strstr(why.text, "of acceptor 2 of the `acceptors` line, this is number 3"));

    make_genesis(&other, same, renamed);
    o = (struct state_owner){"mine", &other, 1};
    assert_int_equal(state_load(path, &o, &got, &found, &why), ERR_CONFIG);
    assert_non_null(strstr(why.text, "not what the cluster was founded with"));
}

static void a_folder_that_is_not_there_is_an_error(void **unused)
{
    (void)unused;
    char nowhere[128];
    (void)snprintf(nowhere, sizeof nowhere, "%s/no/file", folder);
    assert_int_equal(state_save(nowhere, &owner, &state, &why), ERR_IO);
    assert_non_null(strstr(why.text, "No such file or directory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_file_is_a_first_start, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_saved_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(every_damage_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(what_belongs_elsewhere_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_there_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests_name("member_state", tests, NULL, NULL);
}
