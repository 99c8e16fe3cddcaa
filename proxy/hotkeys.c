/* HOTKEYS: in Valkey's form, what the finders of all workers found in the epoch that ended last;
 * START and STOP as in Redis 8.6 (hotkeys_session.c), whose sessions GET and RESET then are about.
 */
#include "proxy/hotkeys.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/num.h"
#include "common/slot.h"
#include "proxy/finder.h"
#include "proxy/hotkeys_session.h"

#define COUNT_DEFAULT 16
#define COUNT_MAX 1024

struct found {
    struct sketch_item item;
    size_t at; /* of its key in list.keys */
};

/* An answer that needs every worker. */
struct list {
    struct later later;
    bool all_fields; /* HOTKEYS TOP */
    uint32_t want;
    struct found *found;
    uint32_t count;
    struct buf keys;
};

bool hotkeys_is(const struct cmd *cmd)
{
    return cmd != NULL && strncmp(cmd->name, "hotkeys", 7) == 0;
}

/* ---- the list ---- */

static void list_each(struct worker *w, void *arg)
{
    struct list *l = arg;
    struct finder *f = ((struct proxy_worker *)w->data)->finder;
    struct sketch_item *top = mem_alloc(l->want * sizeof *top);
    uint32_t n = sketch_top(f->frozen, top, l->want);
    l->found = mem_realloc(l->found, ((size_t)l->count + n + 1) * sizeof *l->found);
    for (uint32_t i = 0; i < n; i++) {
        l->found[l->count++] = (struct found){.item = top[i], .at = buf_used(&l->keys)};
        buf_add(&l->keys, top[i].key.p, top[i].key.len);
    }
    mem_free(top);
}

static int most_first(const void *a, const void *b)
{
    uint64_t x = sketch_item_sum(&((const struct found *)a)->item);
    uint64_t y = sketch_item_sum(&((const struct found *)b)->item);
    return x > y ? -1 : x < y;
}

static int64_t rate(uint64_t count)
{
    return (int64_t)((count + FINDER_EPOCHS - 1) / FINDER_EPOCHS);
}

static void entry(const struct list *l, const struct found *f, struct resp_out *out)
{
    struct span inner = span_of(buf_head(&l->keys) + f->at, f->item.key.len);
    resp_map(out, l->all_fields ? 6 : 3);
    resp_bulk_str(out, "key");
    resp_bulk_span(out, key_outer(inner));
    resp_bulk_str(out, "db");
    resp_int(out, key_db(inner));
    resp_bulk_str(out, "qps");
    resp_int(out, rate(sketch_item_sum(&f->item)));
    if (l->all_fields) {
        resp_bulk_str(out, "reads");
        resp_int(out, rate(f->item.uses[SKETCH_READ]));
        resp_bulk_str(out, "writes");
        resp_int(out, rate(f->item.uses[SKETCH_WRITE]));
        resp_bulk_str(out, "others");
        resp_int(out, rate(f->item.uses[SKETCH_OTHER]));
    }
}

static void list_done(struct worker *from, void *arg)
{
    (void)from;
    struct list *l = arg;
    struct buf b = {0};
    struct resp_out out = {&b, l->later.proto};
    uint32_t n = l->count < l->want ? l->count : l->want;
    if (l->count != 0) {
        qsort(l->found, l->count, sizeof *l->found, most_first);
    }
    resp_array(&out, n);
    for (uint32_t i = 0; i < n; i++) {
        entry(l, &l->found[i], &out);
    }
    later_reply(&l->later, buf_span(&b));
    buf_free(&b);
    buf_free(&l->keys);
    mem_free(l->found);
    mem_free(l);
}

/* ---- forgetting ---- */

static void reset_each(struct worker *w, void *arg)
{
    (void)arg;
    finder_reset(((struct proxy_worker *)w->data)->finder);
}

static void reset_done(struct worker *from, void *arg)
{
    (void)from;
    struct later *l = arg;
    later_reply(l, SPAN_LIT("+OK\r\n"));
    mem_free(l);
}

/* ---- the commands ---- */

static enum session_result done_error(const struct hotkeys_asked *q, const char *text)
{
    resp_error(q->out, text);
    return SESSION_DONE;
}

static enum session_result top(const struct hotkeys_asked *q, bool all_fields)
{
    int64_t want = COUNT_DEFAULT;
    if (q->argc == 4 && span_is(q->argv[2], "count")) {
        if (!num_parse_i64(q->argv[3], &want) || want < 1 || want > COUNT_MAX) {
            return done_error(q, "ERR COUNT must be between 1 and 1024");
        }
    } else if (q->argc != 2) {
        return done_error(q, "ERR syntax error");
    }
    if (!q->c->pw->set->hot_tracking) {
        return done_error(q, "ERR Hotkey detection is disabled");
    }
    struct list *l = mem_zalloc(sizeof *l);
    l->later = later_begin(&q->c->s, q->a, q->out, q->token);
    l->all_fields = all_fields;
    l->want = (uint32_t)want;
    server_round(q->c->s.w, list_each, list_done, l);
    return SESSION_LATER;
}

static enum session_result reset(const struct hotkeys_asked *q)
{
    struct later *l = mem_alloc(sizeof *l);
    *l = later_begin(&q->c->s, q->a, q->out, q->token);
    server_round(q->c->s.w, reset_each, reset_done, l);
    return SESSION_LATER;
}

static void help(struct resp_out *out)
{
    static const char *const lines[] = {
        "HOTKEYS <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET [COUNT <n>]",
        "    After START: the session's result. Else, or with COUNT: the keys used most in the "
        "last",
        "    second, as this proxy sees them: key, db, qps.",
        "TOP [COUNT <n>]",
        "    The same with reads, writes and other uses per second.",
        "START METRICS <n> [CPU] [NET] [COUNT <k>] [DURATION <seconds>] [SAMPLE <ratio>] [SLOTS "
        "<n> "
        "<slot> ...]",
        "    Begin a session that counts time and bytes per key.",
        "STOP",
        "    End it; its result stays.",
        "RESET",
        "    Forget the session's result or, if there is none, what was counted.",
        "HELP",
        "    Print this help.",
    };
    size_t n = sizeof lines / sizeof lines[0];
    resp_array(out, n);
    for (size_t i = 0; i < n; i++) {
        resp_simple(out, lines[i]);
    }
}

enum session_result hotkeys_command(struct client *c, const struct admitted *a,
                                    const struct span *argv, int argc, struct resp_out *out,
                                    uint64_t token)
{
    const struct hotkeys_asked q = {c, a, argv, argc, out, token};
    const char *bar = strchr(a->cmd->name, '|');
    const char *sub = bar == NULL ? "" : bar + 1;
    bool session = hotkeys_session_is(c->pw);
    if (strcmp(sub, "get") == 0) {
        return session && argc == 2 ? hotkeys_session_get(&q) : top(&q, false);
    }
    if (strcmp(sub, "start") == 0) {
        return hotkeys_start(&q);
    }
    if (strcmp(sub, "stop") == 0) {
        return hotkeys_stop(&q);
    }
    if (strcmp(sub, "top") == 0) {
        return top(&q, true);
    }
    if (strcmp(sub, "reset") == 0) {
        return session ? hotkeys_session_reset(&q) : reset(&q);
    }
    if (strcmp(sub, "help") == 0) {
        help(out);
    } else {
        cmd_unknown(argv, argc, out);
    }
    return SESSION_DONE;
}

/* ---- OBJECT FREQ ---- */

struct span hotkeys_freq(struct proxy_worker *pw, struct span reply, struct span request,
                         struct buf *scratch)
{
    struct span argv[3];
    int64_t known = 0;
    bool number = reply.len > 3 && reply.p[0] == ':' &&
                  num_parse_i64(span_of(reply.p + 1, reply.len - 3), &known);
    bool no_policy = reply.len > 8 && memcmp(reply.p, "-ERR An ", 8) == 0; /* ... LFU maxmemory */
    if ((!number && !no_policy) || request_args(request, argv, 3) != 3) {
        return reply; /* no such key, or an error of another kind */
    }
    unsigned here = finder_frequency(pw->finder, key_db(argv[2]), key_outer(argv[2]));
    if (number && known >= here) {
        return reply;
    }
    struct resp_out out = {scratch, 2};
    resp_int(&out, here);
    return buf_span(scratch);
}
