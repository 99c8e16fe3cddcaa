/* The command table: finds rows by name, checks arity, finds keys.
 *
 * The rows live in constant arrays (groups.h). Before main, a constructor collects pointers to them
 * into an array sorted by name and into an open-addressing table four times as large as needed, so
 * that finding a row is one multiplication, nearly always one probe, and one comparison. Nothing is
 * written afterwards: any thread may look up. */
#include "backends/cmd/cmd.h"

#include <stdlib.h>

#include "backends/cmd/groups.h"
#include "common/must.h"

#define ROWS_MAX 512u
#define SLOTS 2048u /* power of two */
#define NAME_MAX_LEN 32u

/* A name as three words with bit 5 set in every byte. That folds the case of letters and confuses
 * nothing among names made of letters only; a name with other characters is compared once more. */
#define FOLD 0x2020202020202020u

struct name_words {
    uint64_t w[3];
};

struct slot {
    const struct cmd *cmd;
    struct name_words words;
    uint8_t len;
    bool letters; /* nothing but letters */
};

static struct slot slots[SLOTS];
static const struct cmd *rows[ROWS_MAX];
static size_t row_count;

static const struct cmd *const groups[] = {
#define X(group) cmds_##group,
    CMD_GROUPS(X)
#undef X
};

static inline uint64_t load64(const char *p)
{
    uint64_t v = 0;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t load32(const char *p)
{
    uint32_t v = 0;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Overlapping loads that together cover 1 to 24 bytes; longer names are compared once more (letters
 * is false for them). */
static inline struct name_words words_of(const char *p, size_t len)
{
    struct name_words n = {.w = {FOLD, FOLD, FOLD}};
    if (len >= 8) {
        n.w[0] |= load64(p);
        n.w[1] |= load64(p + len - 8);
        n.w[2] |= len > 16 ? load64(p + 8) : 0;
    } else if (len >= 4) {
        n.w[0] |= load32(p) | (uint64_t)load32(p + len - 4) << 32;
    } else if (len != 0) {
        n.w[0] |= (unsigned char)p[0] | (uint64_t)(unsigned char)p[len / 2] << 8 |
                  (uint64_t)(unsigned char)p[len - 1] << 16;
    }
    return n;
}

static inline uint32_t hash_words(const struct name_words *n, size_t len)
{
    uint64_t h = (n->w[0] ^ len) * 0x9E3779B97F4A7C15u ^ n->w[1] * 0xD6E8FEB86659FD93u;
    return (uint32_t)(h >> 40) & (SLOTS - 1);
}

static inline unsigned char lower(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? u | 0x20u : u;
}

/* name is lower case already */
static bool same_name(const char *name, struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (lower(s.p[i]) != (unsigned char)name[i]) {
            return false;
        }
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    const struct cmd *x = *(const struct cmd *const *)a;
    const struct cmd *y = *(const struct cmd *const *)b;
    return strcmp(x->name, y->name);
}

static void add_row(const struct cmd *cmd)
{
    size_t len = strlen(cmd->name);
    must(row_count < ROWS_MAX);
    must(len < NAME_MAX_LEN);
    rows[row_count++] = cmd;
    struct slot slot = {.cmd = cmd, .words = words_of(cmd->name, len), .len = (uint8_t)len};
    slot.letters = len <= 24 && strspn(cmd->name, "abcdefghijklmnopqrstuvwxyz") == len;
    uint32_t i = hash_words(&slot.words, len);
    while (slots[i].cmd != NULL) {
        must(strcmp(slots[i].cmd->name, cmd->name) != 0);
        i = (i + 1) & (SLOTS - 1);
    }
    slots[i] = slot;
}

__attribute__((constructor)) static void collect(void)
{
    for (size_t g = 0; g < sizeof groups / sizeof(const struct cmd *); g++) {
        for (const struct cmd *cmd = groups[g]; cmd->name != NULL; cmd++) {
            add_row(cmd);
        }
    }
    qsort(rows, row_count, sizeof(const struct cmd *), by_name);
}

static const struct cmd *find_sub(const struct cmd *cmd, struct span name)
{
    size_t prefix = strlen(cmd->name) + 1;
    for (const struct cmd *sub = cmd->subs; sub->name != NULL; sub++) {
        if (strlen(sub->name) == prefix + name.len && same_name(sub->name + prefix, name)) {
            return sub;
        }
    }
    return NULL;
}

static const struct cmd *find_plain(struct span name)
{
    struct name_words n = words_of(name.p, name.len);
    uint32_t i = hash_words(&n, name.len);
    for (; slots[i].cmd != NULL; i = (i + 1) & (SLOTS - 1)) {
        const struct slot *s = &slots[i];
        if (s->len == name.len && s->words.w[0] == n.w[0] && s->words.w[1] == n.w[1] &&
            s->words.w[2] == n.w[2] && (s->letters || same_name(s->cmd->name, name))) {
            return s->cmd;
        }
    }
    return NULL;
}

const struct cmd *cmd_find(struct span name)
{
    const struct cmd *cmd = find_plain(name);
    if (cmd != NULL || name.len == 0) {
        return cmd;
    }
    const char *bar = memchr(name.p, '|', name.len);
    if (bar == NULL) {
        return NULL;
    }
    size_t head = (size_t)(bar - name.p);
    cmd = find_plain(span_of(name.p, head));
    if (cmd == NULL || cmd->subs == NULL) {
        return NULL;
    }
    return find_sub(cmd, span_of(bar + 1, name.len - head - 1));
}

const struct cmd *cmd_find_request(const struct span *argv, int argc)
{
    const struct cmd *cmd = find_plain(argv[0]);
    if (cmd == NULL || cmd->subs == NULL || argc < 2) {
        return cmd;
    }
    const struct cmd *sub = find_sub(cmd, argv[1]);
    return sub != NULL ? sub : cmd;
}

size_t cmd_count(void)
{
    return row_count;
}

const struct cmd *cmd_at(size_t i)
{
    must(i < row_count);
    return rows[i];
}

bool cmd_check_arity(const struct cmd *cmd, int argc, struct resp_out *out)
{
    bool ok = cmd->arity >= 0 ? argc == cmd->arity : argc >= -cmd->arity;
    if (!ok) {
        resp_errorf(out, "ERR wrong number of arguments for '%s' command", cmd->name);
    }
    return ok;
}

/* How much of a client's text an error shows: up to max bytes, or up to the first NUL as in Redis.
 */
static int shown(struct span s, size_t max)
{
    size_t n = s.len < max ? s.len : max;
    return (int)(n == 0 ? 0 : strnlen(s.p, n));
}

static const char *text_of(struct span s)
{
    return s.p == NULL ? "" : s.p;
}

static void unknown_subcommand(const struct cmd *container, struct span sub, struct resp_out *out)
{
    char name[NAME_MAX_LEN];
    size_t len = strlen(container->name);
    for (size_t i = 0; i <= len; i++) {
        char c = container->name[i];
        name[i] = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    resp_errorf(out, "ERR unknown subcommand '%.*s'. Try %s HELP.", shown(sub, 128), text_of(sub),
                name);
}

void cmd_unknown(const struct span *argv, int argc, struct resp_out *out)
{
    const struct cmd *container = cmd_find(argv[0]);
    if (container != NULL && container->subs != NULL && argc >= 2) {
        unknown_subcommand(container, argv[1], out);
        return;
    }
    char args[160];
    size_t used = 0;
    for (int i = 1; i < argc && used < 128; i++) {
        int n = shown(argv[i], 128 - used);
        args[used++] = '\'';
        memcpy(args + used, text_of(argv[i]), (size_t)n);
        used += (size_t)n;
        args[used++] = '\'';
        args[used++] = ' ';
    }
    resp_errorf(out, "ERR unknown command '%.*s', with args beginning with: %.*s",
                shown(argv[0], 128), text_of(argv[0]), (int)used, args);
}

void cmd_container(struct cmd_ctx *c)
{
    cmd_unknown(c->argv, c->argc, c->out);
}

int cmd_get_keys(const struct cmd *cmd, const struct span *argv, int argc, int *idx, int max)
{
    if (cmd->keys != NULL) {
        return cmd->keys(argv, argc, idx, max);
    }
    if (cmd->first_key == 0) {
        return 0;
    }
    int last = cmd->last_key < 0 ? argc + cmd->last_key : cmd->last_key;
    if (last >= argc) {
        return -1;
    }
    int n = 0;
    for (int i = cmd->first_key; i <= last && n < max; i += cmd->key_step) {
        idx[n++] = i;
    }
    return n;
}
