/* INFO's contract with its readers (CLIENTS 3.3), and admission of requests, on a worker without a
 * loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/server/info.h"
#include "backends/server/internal.h"
#include "common/mem.h"

struct test_settings {
    struct server_settings server;
};

static struct server sv;
static struct worker w;
static struct session s;
static int peer; /* the client's end of s's socket */

static void info_own(struct worker *worker, const struct info_sum *sum, struct info_out *o)
{
    (void)worker;
    (void)sum;
    if (info_section(o, "Halcyon")) {
        info_field(o, "hot_keys", "%d", 3);
    }
}

static void info_add(struct worker *worker, struct info_sum *sum)
{
    (void)worker;
    sum->keyspace_hits += 5;
    sum->db[0].keys = 10;
    sum->db[0].expires = 2;
    sum->db[0].ttl_ms_sum = 500;
    sum->db[9].keys = 1;
}

static const struct server_ops ops = {.name = "test",
                                      .mode = "standalone",
                                      .session_size = sizeof(struct session),
                                      .settings_size = sizeof(struct test_settings),
                                      .info_own = info_own,
                                      .info_add = info_add};

static void stop(void *arg)
{
    loop_stop(arg);
}

static void nothing(struct conn *c)
{
    (void)c;
}

static int setup(void **state)
{
    static const struct conn_ops conn_ops = {
        .on_batch = session_on_batch, .on_close = nothing, .release = nothing};
    int pair[2];
    (void)state;
    static struct worker_private p;
    const struct cfg_table table = {server_options, server_option_count, 0};
    memset(&sv, 0, sizeof sv);
    memset(&w, 0, sizeof w);
    memset(&s, 0, sizeof s);
    memset(&p, 0, sizeof p);
    cmdset_init();
    acl_init(&sv.acl);
    sv.ops = &ops;
    sv.cfg = cfg_new(&table, 1, sizeof(struct test_settings));
    w.server = &sv;
    w.priv = &p;
    worker_apply_settings(&w);
    p.acl = acl_get(&sv.acl);
    p.slots = mem_zalloc(cmdset_count() * sizeof *p.slots);
    for (unsigned i = 0; i < cmdset_count(); i++) {
        p.slots[i].pub.cmd = cmdset_at(i);
    }
    s.w = &w;
    s.id = 1;
    w.loop = loop_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(conn_init(&s.c, w.loop, pair[0], &conn_ops, &w.limits), OK);
    peer = pair[1];
    session_set_user(&s, acl_user_find(p.acl, SPAN_LIT("default")), true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    conn_close(&s.c);
    loop_post(w.loop, stop, w.loop);
    loop_run(w.loop);
    loop_free(w.loop);
    (void)close(peer);
    for (unsigned i = 0; i < cmdset_count(); i++) {
        mem_free(w.priv->slots[i].pub.hist);
    }
    mem_free(w.priv->slots);
    acl_user_put(s.user);
    acl_set_put(w.priv->acl);
    acl_deinit(&sv.acl);
    cfg_snapshot_free(sv.cfg, w.settings);
    mem_free(w.settings);
    cfg_free(sv.cfg);
    return 0;
}

static char *info_text(const char *section)
{
    static char text[65536];
    struct info_out o = {0};
    struct span name = span_str(section);
    info_select(&o, &name, section[0] == '\0' ? 0 : 1);
    struct info_sum *sum = info_sum_new();
    info_collect(&w, sum);
    info_write(&w, sum, &o);
    assert_true(buf_used(&o.text) < sizeof text);
    if (buf_used(&o.text) != 0) {
        memcpy(text, buf_head(&o.text), buf_used(&o.text));
    }
    text[buf_used(&o.text)] = '\0';
    buf_free(&o.text);
    info_sum_free(sum);
    return text;
}

static enum admit admit(const char *line, struct admitted *a)
{
    struct span argv[8];
    int argc = 0;
    for (const char *p = line; *p != '\0'; argc++) {
        size_t n = strcspn(p, " ");
        argv[argc] = span_of(p, n);
        p += n + (p[n] == ' ');
    }
    return session_admit(&s, argv, argc, a);
}

/* redis-cli --stat and others take the first place where the name stands and read up to the CR. */
static void first_substring_is_the_field(void **state)
{
    (void)state;
    static const char *const read_by_tools[] = {"used_memory",
                                                "connected_clients",
                                                "blocked_clients",
                                                "total_commands_processed",
                                                "total_connections_received",
                                                "bgsave_in_progress",
                                                "aof_rewrite_in_progress",
                                                "loading",
                                                "redis_version"};
    const char *text = info_text("everything");
    for (size_t i = 0; i < sizeof read_by_tools / sizeof read_by_tools[0]; i++) {
        const char *at = strstr(text, read_by_tools[i]);
        assert_non_null(at);
        assert_int_equal(at[strlen(read_by_tools[i])], ':');
        assert_non_null(strchr(at, '\r'));
    }
}

static void every_key_stands_once(void **state)
{
    (void)state;
    struct admitted a;
    assert_int_equal(admit("get k", &a), ADMIT_DISPATCH);
    (void)session_account(&w, a.count, 5000);
    session_failed(&w, a.count, SPAN_LIT("-WRONGTYPE no\r\n"));
    char *text = info_text("all");
    static char keys[512][64];
    size_t n = 0;
    for (char *line = strtok(text, "\r\n"); line != NULL; line = strtok(NULL, "\r\n")) {
        size_t len = strcspn(line, ":");
        if (line[0] == '#' || line[len] == '\0') {
            continue;
        }
        (void)snprintf(keys[n], sizeof keys[n], "%.*s", (int)len, line);
        for (size_t i = 0; i < n; i++) {
            assert_string_not_equal(keys[i], keys[n]);
        }
        n++;
    }
    assert_true(n > 90);
}

static void lines_end_with_crlf_and_sections_come_in_order(void **state)
{
    (void)state;
    static const char *const order[] = {
        "# Server\r\n",          "\r\n# Clients\r\n",      "\r\n# Memory\r\n",
        "\r\n# Persistence\r\n", "\r\n# Stats\r\n",        "\r\n# Replication\r\n",
        "\r\n# CPU\r\n",         "\r\n# Modules\r\n",      "\r\n# Commandstats\r\n",
        "\r\n# Errorstats\r\n",  "\r\n# Latencystats\r\n", "\r\n# Cluster\r\n",
        "\r\n# Keyspace\r\n",    "\r\n# Halcyon\r\n"};
    const char *text = info_text("everything");
    const char *at = text;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        const char *found = strstr(at, order[i]);
        assert_non_null(found);
        at = found;
    }
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++) {
        assert_true(p > text && p[-1] == '\r');
    }
}

static void default_leaves_out_commandstats(void **state)
{
    (void)state;
    assert_null(strstr(info_text(""), "# Commandstats"));
    assert_non_null(strstr(info_text(""), "# Errorstats"));
    assert_non_null(strstr(info_text("default"), "# Halcyon"));
    assert_null(strstr(info_text("server"), "# Halcyon"));
    assert_non_null(strstr(info_text("halcyon"), "hot_keys:3\r\n"));
    assert_string_equal(info_text("nosuch"), "");
}

static void keyspace_and_command_lines_have_redis_form(void **state)
{
    (void)state;
    struct admitted a;
    assert_int_equal(admit("get k", &a), ADMIT_DISPATCH);
    (void)session_account(&w, a.count, 5000);
    session_failed(&w, a.count, SPAN_LIT("-WRONGTYPE no\r\n"));
    const char *text = info_text("all");
    assert_non_null(strstr(text, "\r\ndb0:keys=10,expires=2,avg_ttl=250\r\n"));
    assert_non_null(strstr(text, "\r\ndb9:keys=1,expires=0,avg_ttl=0\r\n"));
    assert_non_null(strstr(text, "\r\nkeyspace_hits:5\r\n"));
    assert_non_null(strstr(text, "\r\ncmdstat_get:calls=1,usec=5,usec_per_call=5.00,"
                                 "rejected_calls=0,failed_calls=1\r\n"));
    assert_non_null(strstr(text, "\r\nerrorstat_WRONGTYPE:count=1\r\n"));
    assert_non_null(
        strstr(text, "\r\nlatency_percentiles_usec_get:p50=5.000,p99=5.000,p99.9=5.000\r\n"));
}

static void own_keys_that_would_mislead_are_recognised(void **state)
{
    (void)state;
    assert_false(info_key_is_safe("cache_used_memory"));
    assert_false(info_key_is_safe("proxy_connected_clients"));
    assert_false(info_key_is_safe("db3"));
    assert_false(info_key_is_safe("/var/loading/x.conf"));
    assert_true(info_key_is_safe("hot_keys"));
    assert_true(info_key_is_safe("dbsize"));
}

/* ---- admission ---- */

static void commands_are_sorted_to_their_places(void **state)
{
    (void)state;
    struct admitted a;
    for (int again = 0; again < 2; again++) { /* the second time from the memo */
        assert_int_equal(admit("GET k", &a), ADMIT_DISPATCH);
        assert_string_equal(a.cmd->name, "get");
        assert_int_equal(admit("PiNg", &a), ADMIT_LOCAL);
        assert_int_equal(a.refusal, REFUSE_NOT);
        assert_int_equal(admit("CLIENT KILL x", &a), ADMIT_LOCAL);
        assert_string_equal(a.cmd->name, "client|kill");
        assert_int_equal(admit("CLIENT NOSUCH", &a), ADMIT_LOCAL);
        assert_int_equal(a.refusal, REFUSE_UNKNOWN);
        assert_int_equal(admit("CLIENT", &a), ADMIT_LOCAL);
        assert_int_equal(a.refusal, REFUSE_ARITY);
        assert_int_equal(admit("GET", &a), ADMIT_LOCAL);
        assert_int_equal(a.refusal, REFUSE_ARITY);
        assert_int_equal(admit("SORT\x7fRO k", &a), ADMIT_LOCAL);
        assert_int_equal(a.refusal, REFUSE_UNKNOWN);
        assert_int_equal(admit("SORT_RO k", &a), ADMIT_DISPATCH);
    }
}

static void unauthenticated_client_may_only_say_who_it_is(void **state)
{
    (void)state;
    struct admitted a;
    acl_set_default_password(&sv.acl, "pw");
    worker_take_acl(&w, 0);
    session_set_user(&s, acl_user_find(w.priv->acl, SPAN_LIT("default")), false);
    assert_true(s.c.unauthenticated);
    assert_int_equal(admit("GET k", &a), ADMIT_LOCAL);
    assert_int_equal(a.refusal, REFUSE_NOAUTH);
    assert_int_equal(admit("AUTH pw", &a), ADMIT_LOCAL);
    assert_int_equal(a.refusal, REFUSE_NOT);
    assert_int_equal(admit("NOSUCH", &a), ADMIT_LOCAL);
    assert_int_equal(a.refusal, REFUSE_UNKNOWN);
}

static void restricted_user_is_held_to_commands_and_keys(void **state)
{
    (void)state;
    struct admitted a;
    const struct span rules[] = {SPAN_LIT("on"), SPAN_LIT("nopass"), SPAN_LIT("+get"),
                                 SPAN_LIT("~a*")};
    size_t bad;
    assert_int_equal(acl_set_user(&sv.acl, SPAN_LIT("bob"), rules, 4, &bad, NULL), OK);
    worker_take_acl(&w, 0);
    session_set_user(&s, acl_user_find(w.priv->acl, SPAN_LIT("bob")), true);
    assert_int_equal(admit("GET a1", &a), ADMIT_DISPATCH);
    assert_int_equal(admit("GET b1", &a), ADMIT_LOCAL);
    assert_int_equal(a.refusal, REFUSE_ACL_KEY);
    assert_int_equal(admit("SET a1 v", &a), ADMIT_LOCAL);
    assert_int_equal(a.refusal, REFUSE_ACL_COMMAND);
    assert_int_equal(sv.acl.log_count, 2);
    session_set_user(&s, acl_user_find(w.priv->acl, SPAN_LIT("default")), true);
}

static void skipped_replies_are_silent_once(void **state)
{
    (void)state;
    struct admitted a;
    s.reply_mode = REPLY_SKIP_NEXT;
    assert_int_equal(admit("GET k", &a), ADMIT_DISPATCH);
    assert_true(a.silent);
    assert_int_equal(admit("GET k", &a), ADMIT_DISPATCH);
    assert_false(a.silent);
    s.reply_mode = REPLY_OFF;
    assert_int_equal(admit("GET k", &a), ADMIT_DISPATCH);
    assert_true(a.silent);
    assert_int_equal(admit("GET k", &a), ADMIT_DISPATCH);
    assert_true(a.silent);
}

static void pause_of_writes_lets_reads_through(void **state)
{
    (void)state;
    struct admitted a;
    w.priv->pause_mode = PAUSE_WRITE;
    assert_int_equal(admit("GET k", &a), ADMIT_DISPATCH);
    assert_int_equal(admit("SET k v", &a), ADMIT_WAIT);
    assert_true(s.parked);
    assert_int_equal(admit("GET k", &a), ADMIT_WAIT); /* order within a connection holds */
    assert_int_equal(w.priv->blocked_count, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(first_substring_is_the_field),
        T(every_key_stands_once),
        T(lines_end_with_crlf_and_sections_come_in_order),
        T(default_leaves_out_commandstats),
        T(keyspace_and_command_lines_have_redis_form),
        T(own_keys_that_would_mislead_are_recognised),
        T(commands_are_sorted_to_their_places),
        T(unauthenticated_client_may_only_say_who_it_is),
        T(restricted_user_is_held_to_commands_and_keys),
        T(skipped_replies_are_silent_once),
        T(pause_of_writes_lets_reads_through),
    };
    return cmocka_run_group_tests_name("info", tests, NULL, NULL);
}
