/* The configuration parser under arbitrary text: whatever it accepts must print to a file that is
 * accepted again and means the same; CONFIG SET with the bytes of a value must be all or nothing.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cfg.h"
#include "common/clustermap.h"
#include "common/must.h"

struct settings {
    struct cluster_settings cluster;
    struct cfg_strings bind;
    int64_t port;
    uint64_t memory;
    char *dir;
    int level;
    bool yes;
};

static const struct cfg_enum levels[] = {{"low", 1}, {"high", 2}, {NULL, 0}};

#define AT(f) offsetof(struct settings, f)
static const struct cfg_option rows[] = {
    {"bind", CFG_WORDS, CFG_RUNTIME, AT(bind), "a b", 0, 4, NULL, "S", "Help.", NULL, NULL},
    {"port", CFG_INT, CFG_RUNTIME, AT(port), "5", -10, 65535, NULL, "S", "Help.", NULL, NULL},
    {"maxmemory", CFG_MEMORY, CFG_RUNTIME, AT(memory), "1kb", 0, INT64_MAX, NULL, "S", "Help.",
     NULL, NULL},
    {"dir", CFG_STRING, CFG_RUNTIME, AT(dir), ".", 0, 0, NULL, "S", "Help.", NULL, NULL},
    {"level", CFG_ENUM, CFG_RUNTIME, AT(level), "low", 0, 0, levels, "S", "Help.", NULL, NULL},
    {"yes", CFG_BOOL, CFG_RUNTIME, AT(yes), "no", 0, 0, NULL, "S", "Help.", NULL, NULL},
};

static struct cfg *fresh(void)
{
    const struct cfg_table tables[] = {{cluster_options, cluster_option_count, AT(cluster)},
                                       {rows, 6, 0}};
    return cfg_new(tables, 2, sizeof(struct settings));
}

static struct buf printed(struct cfg *c)
{
    struct buf b = {0};
    cfg_print_file(c, &b);
    return b;
}

static void check_reprint(struct cfg *c)
{
    struct errmsg why;
    struct buf first = printed(c);
    struct cfg *again = fresh();
    must(cfg_load_text(again, "printed", buf_span(&first), &why) == OK);
    struct buf second = printed(again);
    must(span_eq(buf_span(&first), buf_span(&second)));
    struct cluster_map *map = NULL;
    const struct settings *set = cfg_settings(c);
    if (cluster_map_new(&set->cluster, 1, &map, &why) == OK) {
        cluster_map_drop(map);
    }
    buf_free(&first);
    buf_free(&second);
    cfg_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char *copy = malloc(size);
    must(copy != NULL);
    memcpy(copy, data, size);
    for (size_t i = 0; i + 7 <= size; i++) { /* would read files of the machine */
        if (strncasecmp(copy + i, "include", 7) == 0) {
            free(copy);
            return 0;
        }
    }
    struct errmsg why;
    struct cfg *c = fresh();
    if (cfg_load_text(c, "x", span_of(copy, size), &why) == OK) {
        check_reprint(c);
    }
    cfg_free(c);

    c = fresh();
    struct buf before = printed(c);
    const struct cfg_option *o = cfg_at(c, (unsigned char)copy[0] % cfg_count(c));
    struct span pairs[] = {SPAN_LIT("port"), SPAN_LIT("7"), span_str(o->name),
                           span_of(copy + 1, size - 1)};
    enum err e = cfg_set(c, pairs, 2, &why);
    struct buf after = printed(c);
    must(e == OK || span_eq(buf_span(&before), buf_span(&after)));
    if (e == OK) {
        check_reprint(c);
    }
    buf_free(&before);
    buf_free(&after);
    cfg_free(c);
    free(copy);
    return 0;
}
