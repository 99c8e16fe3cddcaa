/* Every rule of the checker on the smallest text that breaks it, and on one that only looks like
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tidy/rules.h"

struct seen {
    size_t count;
    size_t line;
    char what[512];
};

static void keep(void *arg, const char *path, size_t line, const char *what)
{
    struct seen *s = arg;
    (void)path;
    s->count++;
    s->line = line;
    (void)snprintf(s->what, sizeof s->what, "%s", what);
}

static struct seen look(const char *path, const char *text)
{
    struct seen s = {0};
    tidy_check(path, text, strlen(text), keep, &s);
    return s;
}

/* Exactly one complaint, in this line, with these words in it. */
static void refuses(const char *path, const char *text, size_t line, const char *words)
{
    struct seen s = look(path, text);
    if (s.count != 1 || s.line != line || strstr(s.what, words) == NULL) {
        fail_msg("%s: %zu complaints, line %zu: %s; wanted: %s", path, s.count, s.line, s.what,
                 words);
    }
}

static void accepts(const char *path, const char *text)
{
    struct seen s = look(path, text);
    if (s.count != 0) {
        fail_msg("%s: line %zu: %s", path, s.line, s.what);
    }
}

static void blanks_and_length(void **state)
{
    (void)state;
    refuses("docs/x.md", "a\n\tb\n", 2, "tab");
    refuses("docs/x.md", "a \n", 1, "trailing");
    refuses("docs/x.md", "a\r\n", 1, "trailing");
    refuses("docs/x.md", "a\nb", 2, "newline");
    char line[256];
    memset(line, 'x', sizeof line);
    memcpy(line + 121, "\n", 2);
    refuses("common/x.c", line, 1, "121 columns");
    accepts("docs/x.md", line);
    memcpy(line + 120, "\n", 2);
    accepts("common/x.c", line);
    memcpy(line + 119, "\xc3\xa9\n", 4); /* one column of two bytes */
    accepts("common/x.c", line);
    tidy_check("x.bin", "a\t\0", 3, keep, &(struct seen){0});
}

static void marks_of_unfinished_work(void **state)
{
    (void)state;
    refuses("docs/x.md", TIDY_TODO ": more\n", 1, "unfinished");
    refuses("dev", "# " TIDY_FIXME "\n", 1, "unfinished");
    refuses("common/x.c", "/* " TIDY_XXX " */\n", 1, "unfinished");
    accepts("common/x.c", "char t[] = \"/tmp/XXXXXX\";\n");
    refuses("dev", "cd " TIDY_MACHINE "tree\n", 1, "machine");
}

static void lint_exceptions_have_reasons(void **state)
{
    (void)state;
    refuses("common/x.c", "f(); // " TIDY_LINT_OFF "\n", 1, "names no check");
    refuses("common/x.c", "f(); // " TIDY_LINT_OFF "(a-b)\n", 1, "reason");
    refuses("common/x.c", "f(); // " TIDY_LINT_OFF "(a-b):\n", 1, "reason");
    refuses("common/x.c", "/* " TIDY_LINT_OFF "NEXTLINE(a-b): */\n", 1, "reason");
    accepts("common/x.c", "f(); // " TIDY_LINT_OFF "(a-b): it cannot be otherwise\n");
    accepts("common/x.c", "// " TIDY_LINT_OFF "NEXTLINE(a-b,c-d*): why not\nf();\n");
}

static void banned_calls(void **state)
{
    (void)state;
    refuses("common/x.c", "void f(void)\n{\n    strcpy (a, b);\n}\n", 3, "strcpy");
    refuses("tests/unit/test_x.c", "int n = atoi(s);\n", 1, "atoi");
    refuses("proxy/x.c", "t = time(NULL);\n", 1, "time()");
    refuses("proxy/x.c", "clock_gettime(id, &t);\n", 1, "clock_gettime");
    refuses("common/x.c", "char q = '\"'; usleep(1);\n", 1, "usleep");
    refuses("common/x.c", "f(\"a\\\\\"); rand();\n", 1, "rand");
    accepts("common/clock.c", "clock_gettime(id, &t);\n");
    accepts("common/x.c", "/* a new time (GT); sprintf(x)\n * rand() */ // usleep(1)\n");
    accepts("common/x.c", "f(\"atoi(\\\"1\\\") rand()\");\n");
    accepts("common/x.c", "my_rand(); p->time(1); uptime(); int time = 3;\n");
}

static void include_edges(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        const char *to;
        int allowed;
    } cases[] = {
        {"common/a.c", "common/b.h", 1},
        {"common/a.c", "coherence/b.h", 0},
        {"coherence/a.c", "common/err.h", 1},
        {"coherence/a.c", "common/clock.h", 0},
        {"rdma/a.c", "coherence/b.h", 1},
        {"rdma/a.c", "backends/store/b.h", 0},
        {"backends/store/a.c", "backends/types/b.h", 1},
        {"backends/cmd/a.c", "backends/server/b.h", 0},
        {"backends/server/a.c", "backends/cmd/b.h", 1},
        {"backends/server/a.c", "coherence/b.h", 0},
        {"backends/node/a.c", "rdma/b.h", 1},
        {"backends/node/a.c", "proxy/b.h", 0},
        {"backends/shard/a.c", "common/b.h", 1},
        {"backends/shard/a.c", "backends/cmd/b.h", 0},
        {"proxy/a.c", "backends/shard/b.h", 1},
        {"proxy/a.c", "backends/node/b.h", 0},
        {"proxy/a.c", "tests/lib/b.h", 0},
        {"tests/unit/test_a.c", "tests/lib/b.h", 1},
        {"other/a.c", "common/b.h", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "# include \"%s\"\n", cases[i].to);
        if (cases[i].allowed) {
            accepts(cases[i].from, text);
        } else {
            refuses(cases[i].from, text, 1, "include");
        }
    }
    refuses("proxy/a.c", "#include \"b.h\"\n", 1, "path from the root");
}

static void outside_libraries_have_one_place(void **state)
{
    (void)state;
    refuses("common/conn.c", "#include <event2/event.h>\n", 1, "event2");
    refuses("proxy/x.c", "#include <hiredis/hiredis.h>\n", 1, "hiredis");
    refuses("tests/fault/x.c", "#include <hiredis/hiredis.h>\n", 1, "hiredis");
    accepts("tests/fault/record.c", "#include <hiredis/hiredis.h>\n");
    refuses("tests/unit/test_x.c", "#include <infiniband/verbs.h>\n", 1, "infiniband");
    refuses("proxy/x.c", "#include <rdma/rdma_cma.h>\n", 1, "rdma");
    accepts("common/loop.c", "#include <event2/event.h>\n");
    accepts("rdma/x.c", "#include <rdma/rdma_cma.h>\n");
    accepts("proxy/x.c", "#include \"rdma/transport.h\"\n");
    accepts("proxy/x.c", "/*\n#include <hiredis/hiredis.h>\n*/\n#include <string.h>\n");
}

static void guards_are_paths(void **state)
{
    (void)state;
    accepts("common/a_b.h", "#ifndef COMMON_A_B_H\n#define COMMON_A_B_H\nint a;\n\n#endif\n");
    accepts("common/a.h",
            "/* What it is. */\n#ifndef COMMON_A_H\n#define COMMON_A_H\n#endif /* end */\n");
    refuses("common/a.h", "#ifndef A_H\n#define A_H\n#endif\n", 1, "COMMON_A_H");
    refuses("common/a.h", "#ifndef COMMON_A_H\n#define COMMON_B_H\n#endif\n", 1, "start");
    refuses("common/a.h", "#ifndef COMMON_A_H\n#define COMMON_A_H\n#endif\nint a;\n", 1, "end");
}

static void unit_tests_have_their_name(void **state)
{
    (void)state;
    refuses("tests/unit/a.c", "int a;\n", 1, "test_<module>.c");
    accepts("tests/unit/test_a.c", "int a;\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blanks_and_length),
        cmocka_unit_test(marks_of_unfinished_work),
        cmocka_unit_test(lint_exceptions_have_reasons),
        cmocka_unit_test(banned_calls),
        cmocka_unit_test(include_edges),
        cmocka_unit_test(outside_libraries_have_one_place),
        cmocka_unit_test(guards_are_paths),
        cmocka_unit_test(unit_tests_have_their_name),
    };
    return cmocka_run_group_tests_name("tidy", tests, NULL, NULL);
}
