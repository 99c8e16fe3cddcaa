#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cfg.h"

struct net {
    struct cfg_strings bind;
    int64_t port;
    bool nodelay;
};

struct settings {
    struct net net;
    uint64_t maxmemory;
    char *dir;
    int policy;
    struct cfg_strings shard;
};

static bool refuse_memory;
static int applied;

static enum err apply_memory(void *arg, const void *settings, struct errmsg *why)
{
    (void)arg;
    (void)settings;
    applied++;
    return refuse_memory ? errmsg_set(why, ERR_DENIED, "not now") : OK;
}

static enum err check_shard(const char *value, struct errmsg *why)
{
    return value[0] == '!' ? errmsg_set(why, ERR_CONFIG, "bad name") : OK;
}

static const struct cfg_enum policies[] = {{"noeviction", 0}, {"allkeys-lru", 1}, {NULL, 0}};

#define NET(f) offsetof(struct net, f)
static const struct cfg_option net_rows[] = {
    {"bind", CFG_WORDS, 0, NET(bind), "127.0.0.1 ::1", 1, 4, NULL, "Network",
     "Addresses to listen on.", NULL, NULL},
    {"port", CFG_INT, 0, NET(port), "6379", 0, 65535, NULL, "Network", "Port.", NULL, NULL},
    {"tcp-nodelay", CFG_BOOL, CFG_RUNTIME, NET(nodelay), "yes", 0, 0, NULL, "Network", "No delay.",
     NULL, NULL},
};
#define SET(f) offsetof(struct settings, f)
static const struct cfg_option rows[] = {
    {"maxmemory", CFG_MEMORY, CFG_RUNTIME, SET(maxmemory), "0", 0, INT64_MAX, NULL, "Memory",
     "Budget.", NULL, apply_memory},
    {"dir", CFG_STRING, CFG_RUNTIME, SET(dir), ".", 1, 100, NULL, "General", "Folder.", NULL, NULL},
    {"maxmemory-policy", CFG_ENUM, CFG_RUNTIME, SET(policy), "noeviction", 0, 0, policies, "Memory",
     "Policy.", NULL, NULL},
    {"shard", CFG_LINES, CFG_RUNTIME, SET(shard), "", 3, 9, NULL, "Cluster", "A shard.",
     check_shard, NULL},
};

static struct cfg *c;
static const struct settings *now;
static struct errmsg why;
static int hooks;

static void count_hook(void *arg)
{
    (void)arg;
    hooks++;
}

static int setup(void **state)
{
    (void)state;
    const struct cfg_table tables[] = {{net_rows, 3, SET(net)}, {rows, 4, 0}};
    c = cfg_new(tables, 2, sizeof(struct settings));
    now = cfg_settings(c);
    cfg_set_hook(c, count_hook, NULL);
    refuse_memory = false;
    applied = hooks = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cfg_free(c);
    return 0;
}

static void load(const char *text)
{
    assert_int_equal(cfg_load_text(c, "x.conf", span_str(text), &why), OK);
}

static void load_fails(const char *text, const char *wanted)
{
    assert_int_not_equal(cfg_load_text(c, "x.conf", span_str(text), &why), OK);
    assert_string_equal(why.text, wanted);
}

static void defaults_come_from_the_table(void **state)
{
    (void)state;
    assert_int_equal(now->net.port, 6379);
    assert_true(now->net.nodelay);
    assert_int_equal(now->net.bind.n, 2);
    assert_string_equal(now->net.bind.v[1], "::1");
    assert_string_equal(now->dir, ".");
    assert_int_equal(now->shard.n, 0);
}

static void a_file_sets_what_it_names(void **state)
{
    (void)state;
    load("# comment\n\n  PORT 7000\r\nbind 10.0.0.1\nmaxmemory 2gb\ndir \"/tmp/a "
         "b\"\nmaxmemory-policy ALLKEYS-LRU\n"
         "shard a auto h:1\nshard b 0-5 \"h 2:1\"\ntcp-nodelay no");
    assert_int_equal(now->net.port, 7000);
    assert_int_equal(now->net.bind.n, 1);
    assert_true(now->maxmemory == UINT64_C(2) << 30);
    assert_string_equal(now->dir, "/tmp/a b");
    assert_int_equal(now->policy, 1);
    assert_int_equal(now->shard.n, 2);
    assert_string_equal(now->shard.v[1], "b 0-5 \"h 2:1\"");
    assert_false(now->net.nodelay);
}

static void errors_name_file_line_and_option(void **state)
{
    (void)state;
    load_fails("\n\nport 70000\n", "x.conf:3: port: 70000 is not between 0 and 65535");
    load_fails("port x", "x.conf:1: port: x is no whole number");
    load_fails("port 1 2", "x.conf:1: port: needs one value, but has 2");
    load_fails("port", "x.conf:1: port: needs one value, but has 0");
    load_fails("foo 1", "x.conf:1: foo: unknown option");
    load_fails("dir \"x", "x.conf:1: unbalanced quotes");
    load_fails("tcp-nodelay maybe", "x.conf:1: tcp-nodelay: maybe is neither yes nor no");
    load_fails("maxmemory 1x", "x.conf:1: maxmemory: 1x is no amount of memory (100, 64kb, 1gb)");
    load_fails("maxmemory-policy x",
               "x.conf:1: maxmemory-policy: x is none of: noeviction, allkeys-lru");
    load_fails("shard a", "x.conf:1: shard: 1 words, but it must be 3 to 9");
    load_fails("shard !a auto x", "x.conf:1: shard: bad name");
    load_fails("include /nonexistent/x.conf",
               "x.conf:1: cannot open /nonexistent/x.conf: No such file or directory");
    assert_int_equal(now->net.port, 6379);
}

static enum err load_args(const char *line, struct cfg_cli *cli)
{
    struct cfg_strings words = {0};
    assert_int_equal(cfg_split(span_str(line), &words), OK);
    enum err e = cfg_load_args(c, (int)words.n, words.v, cli, &why);
    cfg_strings_free(&words);
    return e;
}

static void the_command_line_overrides(void **state)
{
    (void)state;
    struct cfg_cli cli = {0};
    assert_int_equal(load_args("d --port 7001 --bind 1.1.1.1 2.2.2.2 --test-config --dir /x", &cli),
                     OK);
    assert_int_equal(now->net.port, 7001);
    assert_int_equal(now->net.bind.n, 2);
    assert_true(cli.test_config);
    assert_false(cli.help);

    assert_int_not_equal(load_args("d --port 70000", &cli), OK);
    assert_string_equal(why.text, "--port: 70000 is not between 0 and 65535");
    assert_int_not_equal(load_args("d --foo", &cli), OK);
    assert_string_equal(why.text, "--foo: unknown option");
    assert_int_not_equal(load_args("d --port 1 -h x", &cli), OK);
}

static void collect(void *arg, struct span name, struct span value)
{
    buf_addf(arg, "%.*s=%.*s;", (int)name.len, name.p, (int)value.len, value.p);
}

static void expect_get(const char *a, const char *b, const char *wanted)
{
    struct span patterns[] = {span_str(a), span_str(b)};
    struct buf out = {0};
    cfg_get(c, patterns, 2, collect, &out);
    buf_add(&out, "", 1);
    assert_string_equal(out.p, wanted);
    buf_free(&out);
}

static void get_takes_patterns_and_names_each_option_once(void **state)
{
    (void)state;
    load("maxmemory 1kb\nshard a auto h:1\nshard b auto h:2\n");
    expect_get("MAXMEM*", "maxmemory", "maxmemory=1024;maxmemory-policy=noeviction;");
    expect_get("bind", "shard", "bind=127.0.0.1 ::1;shard=a auto h:1\nb auto h:2;");
    expect_get("nothing", "x", "");
}

static enum err set(size_t n, ...)
{
    struct span pairs[8];
    va_list ap;
    va_start(ap, n);
    for (size_t i = 0; i < 2 * n; i++) {
        pairs[i] = span_str(va_arg(ap, const char *));
    }
    va_end(ap);
    return cfg_set(c, pairs, n, &why);
}

static void set_is_all_or_nothing(void **state)
{
    (void)state;
    assert_int_equal(set(2, "maxmemory", "5", "DIR", "/y"), OK);
    assert_int_equal(now->maxmemory, 5);
    assert_string_equal(now->dir, "/y");
    assert_int_equal(hooks, 1);
    assert_int_equal(applied, 1);

    assert_int_not_equal(set(2, "dir", "/z", "maxmemory", "x"), OK);
    assert_string_equal(why.text, "CONFIG SET failed (possibly related to argument 'maxmemory') - "
                                  "argument must be a memory value");
    assert_string_equal(now->dir, "/y");

    refuse_memory = true;
    assert_int_not_equal(set(2, "dir", "/z", "maxmemory", "6"), OK);
    assert_string_equal(why.text,
                        "CONFIG SET failed (possibly related to argument 'maxmemory') - not now");
    assert_string_equal(now->dir, "/y");
    assert_int_equal(now->maxmemory, 5);
    assert_int_equal(hooks, 1);
}

static void set_errors_have_redis_words(void **state)
{
    (void)state;
    set(1, "foo", "1");
    assert_string_equal(why.text, "Unknown option or number of arguments for CONFIG SET - 'foo'");
    set(1, "port", "1");
    assert_string_equal(
        why.text,
        "CONFIG SET failed (possibly related to argument 'port') - can't set immutable config");
    set(2, "dir", "a", "dir", "b");
    assert_string_equal(
        why.text, "CONFIG SET failed (possibly related to argument 'dir') - duplicate parameter");
    set(1, "tcp-nodelay", "x");
    assert_string_equal(why.text, "CONFIG SET failed (possibly related to argument 'tcp-nodelay') "
                                  "- argument must be 'yes' or 'no'");
    set(1, "maxmemory-policy", "x");
    assert_string_equal(why.text,
                        "CONFIG SET failed (possibly related to argument 'maxmemory-policy') - "
                        "argument(s) must be one of the following: noeviction, allkeys-lru");
}

static void snapshots_are_independent_copies(void **state)
{
    (void)state;
    struct settings s;
    memset(&s, 0, sizeof s);
    load("shard a auto h:1\n");
    cfg_snapshot(c, &s);
    assert_int_equal(set(2, "dir", "/new", "shard", "b auto h:1\nc auto h:2"), OK);

    assert_string_equal(s.dir, ".");
    assert_int_equal(s.shard.n, 1);
    cfg_snapshot(c, &s);
    assert_string_equal(s.dir, "/new");
    assert_int_equal(s.shard.n, 2);
    assert_string_equal(s.shard.v[1], "c auto h:2");
    cfg_snapshot_free(c, &s);
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect_file(const char *path, const char *wanted)
{
    char text[4096];
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    assert_string_equal(text, wanted);
}

static void rewrite_keeps_comments_order_and_includes(void **state)
{
    (void)state;
    char folder[] = "cfg-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char main_path[64];
    char included[64];
    char text[512];
    snprintf(main_path, sizeof main_path, "%s/a.conf", folder);
    snprintf(included, sizeof included, "%s/b.conf", folder);
    put_file(included, "shard a auto h:1\ndir /from-b\n");
    snprintf(text, sizeof text,
             "# first\ninclude %s\n\nmaxmemory 1gb\n# last\nport 7000\nmaxmemory 3gb\n", included);
    put_file(main_path, text);

    assert_int_equal(cfg_rewrite(c, &why), ERR_CONFIG);
    assert_string_equal(why.text, "The server is running without a config file");
    assert_int_equal(cfg_load_file(c, main_path, &why), OK);
    assert_int_equal(cfg_rewrite(c, &why), OK);
    expect_file(main_path, text); /* nothing changed */

    assert_int_equal(
        set(4, "maxmemory", "5", "dir", "/a b", "shard", "z auto h:9", "tcp-nodelay", "no"), OK);
    assert_int_equal(cfg_rewrite(c, &why), OK);
    snprintf(
        text, sizeof text,
        "# first\ninclude %s\n\nmaxmemory 5\n# last\nport 7000\n# Generated by CONFIG REWRITE\n"
        "tcp-nodelay no\ndir \"/a b\"\nshard \"\"\nshard z auto h:9\n",
        included);
    expect_file(main_path, text);

    /* and it means the same when read again */
    struct cfg *first = c;
    setup(NULL);
    assert_int_equal(cfg_load_file(c, main_path, &why), OK);
    assert_int_equal(now->maxmemory, 5);
    assert_string_equal(now->dir, "/a b");
    assert_int_equal(now->shard.n, 1);
    assert_string_equal(now->shard.v[0], "z auto h:9");
    cfg_free(first);
    unlink(main_path);
    unlink(included);
    rmdir(folder);
}

static void endless_includes_end(void **state)
{
    (void)state;
    char path[] = "cfg-loop-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char text[64];
    int n = snprintf(text, sizeof text, "include %s\n", path);
    assert_int_equal(write(fd, text, (size_t)n), n);
    close(fd);

    assert_int_equal(cfg_load_file(c, path, &why), ERR_CONFIG);

    assert_non_null(strstr(why.text, "include"));
    unlink(path);
}

static void the_printed_file_reads_back_to_the_same_settings(void **state)
{
    (void)state;
    load("port 7000\nmaxmemory 2gb\nshard a auto h:1\ndir \"a \\\"b\"\n");
    struct buf text = {0};
    struct buf again = {0};
    cfg_print_file(c, &text);
    struct cfg *first = c;
    setup(NULL);
    assert_int_equal(cfg_load_text(c, "printed", buf_span(&text), &why), OK);
    assert_int_equal(now->net.port, 7000);
    assert_string_equal(now->dir, "a \"b");
    cfg_print_file(c, &again);
    assert_true(span_eq(buf_span(&text), buf_span(&again)));
    buf_add(&text, "", 1);
    assert_non_null(strstr(
        text.p, "## Network\n\n# Addresses to listen on.\n# [words]\n# bind 127.0.0.1 ::1\n"));
    assert_non_null(strstr(text.p, "\nport 7000\n"));
    buf_free(&text);
    cfg_print_help(c, &text);
    buf_add(&text, "", 1);
    assert_non_null(strstr(text.p, "  --maxmemory-policy noeviction\n        Policy.\n        "
                                   "[noeviction, allkeys-lru; CONFIG SET]\n"));
    buf_free(&text);
    buf_free(&again);
    cfg_free(first);
}

#define with_cfg(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_cfg(defaults_come_from_the_table),
        with_cfg(a_file_sets_what_it_names),
        with_cfg(errors_name_file_line_and_option),
        with_cfg(the_command_line_overrides),
        with_cfg(get_takes_patterns_and_names_each_option_once),
        with_cfg(set_is_all_or_nothing),
        with_cfg(set_errors_have_redis_words),
        with_cfg(snapshots_are_independent_copies),
        with_cfg(rewrite_keeps_comments_order_and_includes),
        with_cfg(endless_includes_end),
        with_cfg(the_printed_file_reads_back_to_the_same_settings),
    };
    return cmocka_run_group_tests_name("cfg", tests, NULL, NULL);
}
