#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/err.h"
#include "common/log.h"

static char path[] = "log-test-XXXXXX";

static const char *text(const char *file)
{
    static char bytes[8192];
    FILE *f = fopen(file, "re");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes - 1, f);
    bytes[n] = '\0';
    fclose(f);
    return bytes;
}

static void lines_look_as_those_of_redis(void **state)
{
    (void)state;
    struct errmsg why;
    assert_int_equal(log_open(path, LOG_NOTICE, 'N', &why), OK);
    log_verbose("not this");
    log_notice("hello %d", 5);
    log_warning("careful");

    int pid = 0;
    char role = 0;
    char month[8];
    char rest[64];
    int got =
        sscanf(text(path), "%d:%c %*d %7s %*d %*d:%*d:%*d.%*d %63[^\n]", &pid, &role, month, rest);
    assert_int_equal(got, 4);
    assert_int_equal(pid, getpid());
    assert_int_equal(role, 'N');
    assert_string_equal(rest, "* hello 5");
    assert_non_null(strstr(text(path), " # careful\n"));
    assert_null(strstr(text(path), "not this"));
}

static void long_lines_are_cut_and_ended(void **state)
{
    (void)state;
    char big[5000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    log_warning("%s", big);
    log_warning("after");
    assert_non_null(strstr(text(path), "x\n"));
    assert_non_null(strstr(text(path), "# after\n"));
}

static void reopening_follows_a_renamed_file(void **state)
{
    (void)state;
    char old[64];
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(rename(path, old), 0);
    log_warning("still the old file");
    log_reopen();
    log_warning("the new file");

    assert_non_null(strstr(text(old), "still the old file"));
    assert_null(strstr(text(old), "the new file"));
    assert_non_null(strstr(text(path), "the new file"));
    unlink(old);
}

static void a_folder_that_is_not_there_is_an_error_with_a_reason(void **state)
{
    (void)state;
    struct errmsg why;
    assert_int_equal(log_open("/nonexistent/folder/log", LOG_NOTICE, 'N', &why), ERR_IO);
    assert_string_equal(why.text,
                        "cannot open log file /nonexistent/folder/log: No such file or directory");
}

static void a_site_speaks_once_a_second(void **state)
{
    (void)state;
    struct log_limit limit = {0};
    int said = 0;
    for (int i = 0; i < 1000; i++) {
        said += log_limited(&limit);
    }
    assert_in_range(said, 1, 2); /* a second may end meanwhile */
    assert_int_equal(limit.suppressed, 1000 - said);
}

static void messages_gather_context(void **state)
{
    (void)state;
    struct errmsg m;
    assert_int_equal(errmsg_set(&m, ERR_RANGE, "port %d", 5), ERR_RANGE);
    errmsg_wrap(&m, "%s:%d", "a.conf", 3);
    assert_string_equal(m.text, "a.conf:3: port 5");
    for (int i = 0; i < 100; i++) {
        errmsg_wrap(&m, "outer");
    }
    assert_true(strlen(m.text) < sizeof m.text);
    assert_string_equal(err_name(ERR_PROTO), "ERR_PROTO");
    assert_string_equal(err_text(OK), "success");
    assert_string_equal(err_name((enum err)999), "ERR_?");
    assert_int_equal(errmsg_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

static int setup(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_look_as_those_of_redis),
        cmocka_unit_test(long_lines_are_cut_and_ended),
        cmocka_unit_test(reopening_follows_a_renamed_file),
        cmocka_unit_test(a_folder_that_is_not_there_is_an_error_with_a_reason),
        cmocka_unit_test(a_site_speaks_once_a_second),
        cmocka_unit_test(messages_gather_context),
    };
    return cmocka_run_group_tests_name("log", tests, setup, teardown);
}
