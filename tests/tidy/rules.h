#ifndef TESTS_TIDY_RULES_H
#define TESTS_TIDY_RULES_H

#include <stddef.h>

/* The house rules a program can check, one file at a time.
 *
 *   path    relative to the source root, with '/'; decides which rules hold; borrows
 *   text    text[0..len), and text[len] is 0; borrows
 *   report  called once per complaint: line counts from 1, what says it in words; both borrowed
 *
 * Looks at no file but this one. Bytes with a zero among them are taken for binary: nothing to say.
 */
typedef void (*tidy_report_fn)(void *arg, const char *path, size_t line, const char *what);
void tidy_check(const char *path, const char *text, size_t len, tidy_report_fn report, void *arg);

/* The words some rules look for, in halves, as these files are checked too. */
/* clang-format off */
#define TIDY_LINT_OFF "NO" "LINT"
#define TIDY_TODO "TO" "DO"
#define TIDY_FIXME "FIX" "ME"
#define TIDY_XXX "XX" "X"
#define TIDY_MACHINE "/wo" "rk/"
/* clang-format on */

#endif
