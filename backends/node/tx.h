#ifndef BACKENDS_NODE_TX_H
#define BACKENDS_NODE_TX_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/cmd/cmd.h"
#include "backends/node/node.h"
#include "common/buf.h"

/* Commands that run as one: a transaction, or a command that writes several keys.
 *
 * The list is RESP multibulks, one after the other, each with a word in front:
 *
 *   c db command...   run; its reply is part of the reply
 *   m db command...   run without a reply (what a command was rewritten to)
 *   r bytes           nothing to run; the bytes are its reply
 *
 * A replicated shard runs it as one update (replica_multi.c), a node alone at once. */

/* What WATCH said of a key: opaque to all but the node. */
struct tx_token {
    uint64_t version; /* replicated: its ts; else a number of the watch table (watch.h) */
    bool live;
};

struct tx_watch {
    uint32_t key; /* in keys */
    struct tx_token token;
};

struct tx {
    struct buf list;
    struct span *keys; /* inner keys, each once; borrowed from the request */
    bool *written;     /* of each: a command that may write names it */
    uint32_t key_count, key_room;
    struct tx_watch *watches;
    uint32_t watch_count;
    uint32_t replies;
    bool exec;    /* the reply is an array; else it is the only command's */
    bool asks;    /* WATCH: the reply is the keys' tokens */
    bool writes;  /* a command may change something */
    bool denyoom; /* one of them needs memory */
    bool rewrites;
};

void tx_free(struct tx *t);
/* Appends a command and its keys. The command's arity was checked. */
void tx_add(struct tx *t, const struct cmd *cmd, unsigned db, const struct span *argv, int argc);
uint32_t tx_add_key(struct tx *t, struct span key); /* its place in keys */
/* HALCYON EXEC: number of watched keys, of each the key and its token; then the commands: database,
 * number of arguments, arguments; number 0: the bytes of a reply. Keys are inner keys. False: it is
 * malformed, or a command may not be in a transaction; *why says so. */
bool tx_parse_exec(struct tx *t, const struct span *argv, int argc, const char **why);
/* HALCYON WATCH key...; the reply is a bulk string with a token for each, between blanks. */
void tx_parse_watch(struct tx *t, const struct span *argv, int argc);
void tx_token_print(struct tx_token token, struct buf *out);
/* May this command be part of a transaction of the data? (Others are answered by the session.) */
bool tx_may_hold(const struct cmd *cmd);
/* Does the request change nothing whatever its keys hold? */
bool tx_only_reads(const struct cmd *cmd, const struct span *argv, int argc);

/* Runs the list on a store; out NULL: nobody waits for a reply, it is an effect. */
struct tx_run {
    struct cmd_ctx like;
    struct resp_parser *parser;
    struct resp_out *out;
    struct buf *sink;
};
void tx_run(const struct tx_run *how, struct span list);
/* Appends an entry to a list. */
void tx_list_command(struct buf *list, char word, unsigned db, const struct span *argv, int argc);
void tx_list_reply(struct buf *list, struct span bytes);
/* The next entry at `at`: its length, 0 at the end; parser->argv has it. */
size_t tx_next(struct resp_parser *parser, struct span list, size_t at);

/* A node alone: runs it now, appending the reply. */
void tx_run_alone(struct node_worker *nw, struct tx *t, struct resp_out *out);

#endif
