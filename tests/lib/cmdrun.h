#ifndef TESTS_LIB_CMDRUN_H
#define TESTS_LIB_CMDRUN_H

#include <stdint.h>

#include "backends/cmd/cmd.h"
#include "backends/cmd/config.h"
#include "backends/cmd/stats.h"

/* Runs command lines against a store without sockets, as a node's worker would: finds the row,
 * checks arity, turns keys into inner keys, runs the handler. Time stands still unless the test
 * moves now_ms. Fields may be changed between commands. */
struct cmdrun {
    struct store *store;
    struct cmd_config config;
    struct cmd_stats stats;
    uint64_t now_ms;
    uint64_t rng;
    unsigned db;
    uint8_t proto;    /* 2 or 3 */
    bool via_effects; /* writes with a rewrite hook go the coordinator's way: rewrite, then the
                         effects run as effects */
    uint64_t dirty;   /* of the last command (via_effects: of its effects) */
    struct buf out;   /* reply of the last command */
};

void cmdrun_init(struct cmdrun *r); /* empty store, RESP2, database 0, a fixed time and seed */
void cmdrun_deinit(struct cmdrun *r);

/* Splits a line in redis-cli's quoting ("a\x00b" 'it\'s'), runs it, returns the reply's bytes
 * (terminated; valid until the next command; r->out has the length). A line with broken quoting
 * fails the process: it is a bug of the test. */
const char *cmdrun_line(struct cmdrun *r, const char *line);
const char *cmdrun_argv(struct cmdrun *r, const struct span *argv, int argc);
const char *cmdrun_f(struct cmdrun *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The splitting alone: argument i is out[i]; they live in *mem, which the caller frees with
 * buf_free. Returns argc, -1: bad quoting. */
int cmdrun_split(const char *line, struct span *out, int max, struct buf *mem);

/* Runs line and compares with the expected reply bytes; on a difference prints both and aborts. */
#define cmdrun_expect(r, line, reply) cmdrun_expect_at((r), (line), (reply), __FILE__, __LINE__)
void cmdrun_expect_at(struct cmdrun *r, const char *line, const char *reply, const char *file,
                      int at);

#endif
