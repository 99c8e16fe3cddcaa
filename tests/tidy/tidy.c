/* Checks the house rules (tests/tidy/rules.c) over a source tree: the files git knows, or, where
 * there is no git, all that are not built or hidden. tidy ROOT Prints file:line: complaint; ends
 * with 1 if there was any, with 2 if it could not look. */
#include "tests/tidy/rules.h"

#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_FOLDERS_MAX = 16, FILES_MIN = 100 /* fewer: that was not the tree */ };

static size_t file_count;
static size_t complaint_count;

static void print(void *arg, const char *path, size_t line, const char *what)
{
    (void)arg;
    complaint_count++;
    printf("%s:%zu: %s\n", path, line, what);
}

/* Bytes that are input, not ours: seeds of the fuzzers; the text of the licence. */
static bool is_foreign(const char *path)
{
    return strncmp(path, "tests/fuzz/corpus/", 18) == 0 || strcmp(path, "LICENSE") == 0;
}

static void die(const char *path)
{
    fprintf(stderr, "tidy: %s: %s\n", path, strerror(errno));
    exit(2);
}

static void check_file(const char *path)
{
    struct stat st;
    if (is_foreign(path) || lstat(path, &st) != 0 || !S_ISREG(st.st_mode)) {
        return; /* also: removed, but not yet in git */
    }
    FILE *f = fopen(path, "rb");
    char *text = malloc((size_t)st.st_size + 1);
    if (f == NULL || text == NULL) {
        die(path);
    }
    size_t n = fread(text, 1, (size_t)st.st_size, f);
    if (ferror(f)) {
        die(path);
    }
    text[n] = '\0';
    fclose(f);
    tidy_check(path, text, n, print, NULL);
    free(text);
    file_count++;
}

static bool check_tracked(void)
{
    FILE *list = popen("git ls-files -z 2>/dev/null", "r");
    if (list == NULL) {
        return false;
    }
    char *path = NULL;
    size_t room = 0;
    while (getdelim(&path, &room, '\0', list) > 0) {
        check_file(path);
    }
    free(path);
    return pclose(list) == 0;
}

static int visit(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    const char *name = path + at->base;
    bool hidden = at->level > 0 && name[0] == '.';
    bool built = strncmp(name, "build", 5) == 0 && (name[5] == '\0' || name[5] == '-');
    if (kind == FTW_D) {
        bool skip = hidden || built || strcmp(name, "__pycache__") == 0 ||
                    strcmp(name, "node_modules") == 0;
        return skip ? FTW_SKIP_SUBTREE : FTW_CONTINUE;
    }
    if (kind == FTW_F) {
        check_file(path + 2); /* without "./" */
    }
    return FTW_CONTINUE;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: tidy ROOT\n");
        return 2;
    }
    if (chdir(argv[1]) != 0) {
        die(argv[1]);
    }
    if (!check_tracked() && file_count == 0 &&
        nftw(".", visit, OPEN_FOLDERS_MAX, FTW_PHYS | FTW_ACTIONRETVAL) != 0) {
        die(argv[1]);
    }
    printf("tidy: %zu files, %zu complaints\n", file_count, complaint_count);
    if (file_count < FILES_MIN) {
        fprintf(stderr, "tidy: %s is not the source tree\n", argv[1]);
        return 2;
    }
    return complaint_count == 0 ? 0 : 1;
}
