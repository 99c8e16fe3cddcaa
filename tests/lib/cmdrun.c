/* Command lines against a store, without sockets. */
#include "tests/lib/cmdrun.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/must.h"
#include "common/slot.h"

#define ARGS_MAX 4096

void cmdrun_init(struct cmdrun *r)
{
    struct store_options o = {
        .seed = {0x1234, 0x5678}, .lfu_log_factor = 10, .lfu_decay_minutes = 1};
    *r = (struct cmdrun){.config = CMD_CONFIG_DEFAULTS,
                         .now_ms = 1800000000000u,
                         .rng = 88172645463325252u,
                         .proto = 2};
    r->store = store_new(&o);
}

void cmdrun_deinit(struct cmdrun *r)
{
    store_free(r->store);
    buf_free(&r->out);
    r->store = NULL;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One character of a double-quoted text at p; returns how many bytes of it were used. */
static size_t unescape(const char *p, char *out)
{
    if (p[0] != '\\' || p[1] == '\0') {
        *out = p[0];
        return 1;
    }
    if (p[1] == 'x' && hex(p[2]) >= 0 && hex(p[3]) >= 0) {
        *out = (char)(hex(p[2]) * 16 + hex(p[3]));
        return 4;
    }
    switch (p[1]) {
    case 'n':
        *out = '\n';
        break;
    case 'r':
        *out = '\r';
        break;
    case 't':
        *out = '\t';
        break;
    case 'a':
        *out = '\a';
        break;
    case 'b':
        *out = '\b';
        break;
    default:
        *out = p[1];
    }
    return 2;
}

/* One argument at p, appended to mem; returns the bytes used, 0 for broken quoting. */
static size_t split_one(const char *p, struct buf *mem)
{
    const char *start = p;
    char quote = '\0';
    for (;;) {
        char c = *p;
        if (quote == '\0') {
            if (c == '\0' || isspace((unsigned char)c)) {
                return (size_t)(p - start);
            }
            if (c == '"' || c == '\'') {
                quote = c;
            } else {
                buf_add(mem, &c, 1);
            }
            p++;
        } else if (c == '\0') {
            return 0;
        } else if (c == quote) {
            p++;
            if (*p != '\0' && !isspace((unsigned char)*p)) {
                return 0;
            }
            quote = '\0';
        } else if (quote == '"') {
            p += unescape(p, &c);
            buf_add(mem, &c, 1);
        } else {
            if (c == '\\' && p[1] == '\'') {
                p++;
            }
            buf_add(mem, p, 1);
            p++;
        }
    }
}

int cmdrun_split(const char *line, struct span *out, int max, struct buf *mem)
{
    int argc = 0;
    size_t ends[ARGS_MAX];
    buf_reserve(mem, strlen(line) + 1);
    for (;;) {
        while (isspace((unsigned char)*line)) {
            line++;
        }
        if (*line == '\0') {
            break;
        }
        size_t used = split_one(line, mem);
        if (used == 0 || argc == max || argc == ARGS_MAX) {
            return -1;
        }
        line += used;
        ends[argc++] = mem->len;
    }
    size_t at = mem->head;
    for (int i = 0; i < argc; i++) {
        out[i] = span_of(mem->p + at, ends[i] - at);
        at = ends[i];
    }
    return argc;
}

static void run(struct cmdrun *r, const struct cmd *cmd, const struct span *argv, int argc,
                bool is_effect, struct buf *b)
{
    struct resp_out out = {.b = b, .proto = r->proto};
    struct cmd_ctx c = {.store = r->store,
                        .cmd = cmd,
                        .argv = argv,
                        .argc = argc,
                        .out = &out,
                        .now_ms = r->now_ms,
                        .rng = &r->rng,
                        .stats = &r->stats,
                        .config = &r->config,
                        .db = r->db,
                        .is_effect = is_effect};
    if (is_effect || !r->via_effects || cmd->rewrite == NULL) {
        cmd->handler(&c);
        r->dirty += c.dirty;
        return;
    }
    struct effects fx = {0};
    if (cmd->rewrite(&c, &fx)) {
        struct resp_parser p;
        struct resp_limits limits = {.bulk_bytes_max = (uint64_t)1 << 32,
                                     .args_max = RESP_ARGS_MAX};
        struct buf ignored = {0};
        resp_parser_init(&p);
        while (buf_used(&fx.bytes) != 0) {
            size_t used = 0;
            struct errmsg why;
            must(resp_parse(&p, buf_head(&fx.bytes), buf_used(&fx.bytes), &limits, &used, &why) ==
                 RESP_REQUEST);
            run(r, cmd_find_request(p.argv, (int)p.argc), p.argv, (int)p.argc, true, &ignored);
            buf_consume(&fx.bytes, used);
        }
        must(ignored.p == NULL || ignored.p[0] != '-');
        buf_free(&ignored);
        resp_parser_free(&p);
    }
    buf_free(&fx.bytes);
}

static void run_request(struct cmdrun *r, const struct span *argv, int argc)
{
    struct resp_out out = {.b = &r->out, .proto = r->proto};
    const struct cmd *cmd = cmd_find_request(argv, argc);
    if (cmd == NULL) {
        cmd_unknown(argv, argc, &out);
        return;
    }
    if (!cmd_check_arity(cmd, argc, &out)) {
        return;
    }
    if (cmd->handler == NULL) {
        resp_error(&out, "ERR this command needs a session");
        return;
    }
    int idx[ARGS_MAX];
    struct span inner[ARGS_MAX];
    struct buf mem[ARGS_MAX];
    size_t made = 0;
    must(argc <= ARGS_MAX);
    memcpy(inner, argv, (size_t)argc * sizeof *inner);
    int keys = cmd_get_keys(cmd, argv, argc, idx, ARGS_MAX);
    for (int i = 0; i < keys; i++) {
        if (key_needs_prefix(r->db, argv[idx[i]])) {
            mem[made] = (struct buf){0};
            key_add_inner(&mem[made], r->db, argv[idx[i]]);
            inner[idx[i]] = buf_span(&mem[made++]);
        }
    }
    run(r, cmd, inner, argc, false, &r->out);
    while (made != 0) {
        buf_free(&mem[--made]);
    }
}

const char *cmdrun_argv(struct cmdrun *r, const struct span *argv, int argc)
{
    r->dirty = 0;
    buf_consume(&r->out, buf_used(&r->out));
    run_request(r, argv, argc);
    *buf_reserve(&r->out, 1) = '\0';
    return buf_head(&r->out);
}

const char *cmdrun_line(struct cmdrun *r, const char *line)
{
    struct span argv[ARGS_MAX];
    struct buf mem = {0};
    int argc = cmdrun_split(line, argv, ARGS_MAX, &mem);
    must(argc > 0);
    const char *reply = cmdrun_argv(r, argv, argc);
    buf_free(&mem);
    return reply;
}

const char *cmdrun_f(struct cmdrun *r, const char *fmt, ...)
{
    char line[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    must(n >= 0 && (size_t)n < sizeof line);
    return cmdrun_line(r, line);
}

void cmdrun_expect_at(struct cmdrun *r, const char *line, const char *reply, const char *file,
                      int at)
{
    const char *got = cmdrun_line(r, line);
    size_t len = strlen(reply);
    if (buf_used(&r->out) != len || memcmp(got, reply, len) != 0) {
        fprintf(stderr, "%s:%d: %s\n  expected: %s\n  got:      %s\n", file, at, line, reply, got);
        abort();
    }
}
