/* Commands that run as one: parsing, the list, running it. */
#include "backends/node/tx.h"

#include <stdio.h>
#include <string.h>

#include "backends/node/watch.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

void tx_free(struct tx *t)
{
    buf_free(&t->list);
    mem_free(t->keys);
    mem_free(t->written);
    mem_free(t->watches);
    *t = (struct tx){0};
}

/* ---- the list ---- */

static void add_header(struct buf *list, size_t n)
{
    buf_addf(list, "*%zu\r\n", n);
}

static void add_arg(struct buf *list, struct span arg)
{
    buf_addf(list, "$%zu\r\n", arg.len);
    buf_add(list, arg.p, arg.len);
    buf_add(list, "\r\n", 2);
}

void tx_list_command(struct buf *list, char word, unsigned db, const struct span *argv, int argc)
{
    char number[NUM_I64_MAX];
    size_t len = num_fmt_u64(number, db);
    add_header(list, (size_t)argc + 2);
    add_arg(list, span_of(&word, 1));
    add_arg(list, span_of(number, len));
    for (int i = 0; i < argc; i++) {
        add_arg(list, argv[i]);
    }
}

void tx_list_reply(struct buf *list, struct span bytes)
{
    add_header(list, 2);
    add_arg(list, SPAN_LIT("r"));
    add_arg(list, bytes);
}

size_t tx_next(struct resp_parser *parser, struct span list, size_t at)
{
    static const struct resp_limits limits = {.bulk_bytes_max = UINT32_MAX,
                                              .args_max = RESP_ARGS_MAX};
    size_t used = 0;
    if (at >= list.len) {
        return 0;
    }
    if (resp_parse(parser, list.p + at, list.len - at, &limits, &used, &(struct errmsg){{0}}) !=
            RESP_REQUEST ||
        parser->argc < 2 || parser->argv[0].len != 1) { /* a peer's bytes: not run */
        resp_parser_reset(parser);
        return 0;
    }
    return used;
}

void tx_run(const struct tx_run *how, struct span list)
{
    for (size_t at = 0, n; (n = tx_next(how->parser, list, at)) != 0; at += n) {
        const struct span *argv = how->parser->argv;
        int argc = (int)how->parser->argc;
        char word = argv[0].p[0];
        if (word == 'r') {
            if (how->out != NULL) {
                buf_add(how->out->b, argv[1].p, argv[1].len);
            }
            continue;
        }
        const struct cmd *cmd = argc < 3 ? NULL : cmd_find_request(argv + 2, argc - 2);
        int64_t db = 0;
        if (cmd == NULL || cmd->handler == NULL || !num_parse_i64(argv[1], &db)) {
            continue;
        }
        bool replies = how->out != NULL && word == 'c';
        struct resp_out mute = {how->sink, 2};
        buf_consume(how->sink, buf_used(how->sink));
        struct cmd_ctx c = how->like;
        c.cmd = cmd;
        c.argv = argv + 2;
        c.argc = argc - 2;
        c.db = (unsigned)db;
        c.is_effect = !replies;
        c.out = replies ? how->out : &mute;
        cmd->handler(&c);
    }
}

/* ---- what is in it ---- */

bool tx_only_reads(const struct cmd *cmd, const struct span *argv, int argc)
{
    if ((cmd->flags & CMD_WRITE) == 0) {
        return true;
    }
    bool may_store = strcmp(cmd->name, "sort") == 0 || strcmp(cmd->name, "georadius") == 0 ||
                     strcmp(cmd->name, "georadiusbymember") == 0;
    for (int i = 1; may_store && i < argc; i++) {
        may_store = !span_is(argv[i], "store") && !span_is(argv[i], "storedist");
    }
    return may_store;
}

bool tx_may_hold(const struct cmd *cmd)
{
    bool keyed = cmd->first_key != 0 || cmd->keys != NULL;
    return cmd->handler != NULL && keyed &&
           (cmd->flags & (CMD_FANOUT | CMD_SESSION | CMD_BLOCKING)) == 0;
}

uint32_t tx_add_key(struct tx *t, struct span key)
{
    for (uint32_t i = 0; i < t->key_count; i++) {
        if (span_eq(t->keys[i], key)) {
            return i;
        }
    }
    if (t->key_count == t->key_room) {
        t->key_room = t->key_room == 0 ? 8 : 2 * t->key_room;
        t->keys = mem_realloc(t->keys, t->key_room * sizeof *t->keys);
        t->written = mem_realloc(t->written, t->key_room * sizeof *t->written);
    }
    t->written[t->key_count] = false;
    t->keys[t->key_count] = key;
    return t->key_count++;
}

void tx_add(struct tx *t, const struct cmd *cmd, unsigned db, const struct span *argv, int argc)
{
    int *idx = mem_alloc((size_t)argc * sizeof *idx);
    int n = cmd_get_keys(cmd, argv, argc, idx, argc);
    bool writes = !tx_only_reads(cmd, argv, argc);
    for (int i = 0; i < n; i++) {
        uint32_t at = tx_add_key(t, argv[idx[i]]);
        t->written[at] = t->written[at] || writes;
    }
    mem_free(idx);
    tx_list_command(&t->list, 'c', db, argv, argc);
    t->replies++;
    t->writes = t->writes || writes;
    t->denyoom = t->denyoom || (cmd->flags & CMD_DENYOOM) != 0;
    t->rewrites = t->rewrites || cmd->rewrite != NULL;
}

void tx_token_print(struct tx_token token, struct buf *out)
{
    buf_addf(out, "%s%llu%s", buf_used(out) == 0 ? "" : " ", (unsigned long long)token.version,
             token.live ? "+" : "-");
}

static bool token_parse(struct span s, struct tx_token *token)
{
    token->live = s.len > 1 && s.p[s.len - 1] == '+';
    return s.len > 1 && num_parse_u64(span_of(s.p, s.len - 1), &token->version);
}

static bool parse_watches(struct tx *t, const struct span *argv, int argc, int *at)
{
    int64_t n = 0;
    if (argc < 3 || !num_parse_i64(argv[2], &n) || n < 0 || n > (argc - 3) / 2) {
        return false;
    }
    t->watches = mem_alloc((size_t)(n + 1) * sizeof *t->watches);
    for (*at = 3; t->watch_count < n; *at += 2) {
        struct tx_watch *w = &t->watches[t->watch_count++];
        w->key = tx_add_key(t, argv[*at]);
        if (!token_parse(argv[*at + 1], &w->token)) {
            return false;
        }
    }
    return true;
}

bool tx_parse_exec(struct tx *t, const struct span *argv, int argc, const char **why)
{
    int at = 0;
    t->exec = true;
    *why = "ERR HALCYON EXEC is malformed";
    if (!parse_watches(t, argv, argc, &at)) {
        return false;
    }
    while (at < argc) {
        int64_t db = 0;
        int64_t n = 0;
        if (argc - at < 3 || !num_parse_i64(argv[at], &db) || db < 0 || db >= DB_COUNT ||
            !num_parse_i64(argv[at + 1], &n) || n < 0 || n > argc - at - 2) {
            return false;
        }
        at += 2;
        if (n == 0) {
            tx_list_reply(&t->list, argv[at++]);
            t->replies++;
            continue;
        }
        const struct cmd *cmd = cmd_find_request(argv + at, (int)n);
        bool known = cmd != NULL && (cmd->arity >= 0 ? n == cmd->arity : n >= -cmd->arity);
        if (!known || !tx_may_hold(cmd)) {
            *why = "ERR a command that may not be part of a transaction";
            return false;
        }
        tx_add(t, cmd, (unsigned)db, argv + at, (int)n);
        at += (int)n;
    }
    return true;
}

void tx_parse_watch(struct tx *t, const struct span *argv, int argc)
{
    t->asks = true;
    for (int i = 2; i < argc; i++) {
        (void)tx_add_key(t, argv[i]);
    }
}

/* ---- alone ---- */

static struct tx_token token_alone(struct node_worker *nw, struct span key)
{
    const struct entry *e = store_find(nw->store, key);
    bool live = e != NULL && !entry_expired_at(entry_expire_ms(e), nw->now_ms);
    return (struct tx_token){watch_version(nw->watch, key), live};
}

void tx_run_alone(struct node_worker *nw, struct tx *t, struct resp_out *out)
{
    struct buf tokens = {0};
    for (uint32_t i = 0; t->asks && i < t->key_count; i++) {
        watch_add(nw->watch, t->keys[i]);
    }
    for (uint32_t i = 0; t->asks && i < t->key_count; i++) {
        tx_token_print(token_alone(nw, t->keys[i]), &tokens);
    }
    bool holds = true;
    for (uint32_t i = 0; i < t->watch_count; i++) {
        struct tx_token now = token_alone(nw, t->keys[t->watches[i].key]);
        struct tx_token then = t->watches[i].token;
        holds = holds && now.version != 0 && now.version == then.version && now.live == then.live;
    }
    if (t->asks) {
        resp_bulk_span(out, buf_span(&tokens));
    } else if (!holds) {
        resp_null_array(out);
    } else {
        struct buf sink = {0};
        struct resp_parser parser;
        resp_parser_init(&parser);
        struct tx_run how = {.like = {.store = nw->store,
                                      .now_ms = nw->now_ms,
                                      .rng = &nw->rng,
                                      .stats = &nw->stats,
                                      .config = &nw->config},
                             .parser = &parser,
                             .out = out,
                             .sink = &sink};
        if (t->exec) {
            resp_array(out, t->replies);
        }
        tx_run(&how, buf_span(&t->list));
        for (uint32_t i = 0; i < t->key_count; i++) {
            if (t->written[i]) {
                watch_changed(nw->watch, t->keys[i]);
            }
        }
        resp_parser_free(&parser);
        buf_free(&sink);
    }
    buf_free(&tokens);
}
