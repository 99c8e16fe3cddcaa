/* check-history FILE...: judges recorded histories (docs/histories.md). All files are one history.
 *
 *   --budget N   search nodes per key (20000000)
 *   --quiet      only what is wrong, and the last line
 *
 * Exit status: 0 every key is linearizable; 1 a violation; 2 a key could not be judged, or a file
 * could not be read. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/histfile.h"

static const char *const verdicts[] = {[HISTFILE_GOOD] = "linearizable",
                                       [HISTFILE_BAD] = "VIOLATION",
                                       [HISTFILE_UNDECIDED] = "UNDECIDED"};

static void print_key(const struct histfile *f, const struct histfile_key *k)
{
    printf("%-16s %-12s by %-16s %8zu operations: %zu ok, %zu failed, %zu unknown; at most %zu at "
           "once\n",
           k->key, verdicts[k->verdict], k->method, k->ops, k->ok, k->failed, k->unknown,
           k->open_most);
    if (k->verdict != HISTFILE_GOOD) {
        printf("  %s\n", k->reason);
    }
    if (k->has_fault) {
        printf("  operations around it, times from the first one's call:\n");
        histfile_around(f, k, stdout);
    }
}

static int judge(struct histfile *f, uint64_t budget, bool quiet)
{
    const struct histfile_key *keys;
    size_t n = 0;
    size_t bad = 0;
    size_t undecided = 0;
    histfile_judge(f, budget, &keys, &n);
    for (size_t i = 0; i < n; i++) {
        bad += keys[i].verdict == HISTFILE_BAD;
        undecided += keys[i].verdict == HISTFILE_UNDECIDED;
        if (!quiet || keys[i].verdict != HISTFILE_GOOD) {
            print_key(f, &keys[i]);
        }
    }
    uint64_t first = 0;
    uint64_t last = 0;
    size_t ops = histfile_count(f, &first, &last);
    printf("%zu operations on %zu keys in %.1f s: %s (%zu violations, %zu undecided)\n", ops, n,
           ops > 0 ? (double)(last - first) / 1e9 : 0.0,
           ops == 0        ? "nothing to judge"
           : bad > 0       ? "NOT linearizable"
           : undecided > 0 ? "undecided"
                           : "linearizable",
           bad, undecided);
    return bad > 0 ? 1 : undecided > 0 || ops == 0 ? 2 : 0;
}

int main(int argc, char **argv)
{
    uint64_t budget = 20000000;
    bool quiet = false;
    struct histfile *f = histfile_new();
    int files = 0;
    for (int i = 1; i < argc; i++) {
        struct errmsg why;
        if (strcmp(argv[i], "--quiet") == 0) {
            quiet = true;
        } else if (strcmp(argv[i], "--budget") == 0 && i + 1 < argc) {
            budget = strtoull(argv[++i], NULL, 10);
        } else if (argv[i][0] == '-') {
            fprintf(stderr, "usage: check-history [--budget N] [--quiet] FILE...\n");
            histfile_free(f);
            return 2;
        } else if (histfile_read(f, argv[i], &why) != OK) {
            fprintf(stderr, "check-history: %s\n", why.text);
            histfile_free(f);
            return 2;
        } else {
            files++;
        }
    }
    if (files == 0) {
        fprintf(stderr, "usage: check-history [--budget N] [--quiet] FILE...\n");
    }
    int status = files == 0 ? 2 : judge(f, budget, quiet);
    histfile_free(f);
    return status;
}
