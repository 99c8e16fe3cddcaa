#ifndef BACKENDS_CMD_CMD_H
#define BACKENDS_CMD_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/store/store.h"
#include "common/buf.h"
#include "common/resp.h"
#include "common/span.h"

/* Commands: one table row each, one handler each. A handler sees a store, arguments, a time and a
 * reply: no socket, no clock, no randomness but ctx->rng. The same handler serves a client, an
 * effect that a replica runs, and a script. */

/* Flags, as COMMAND INFO names them (only those with a * are Halcyon's own and are not shown). */
#define CMD_WRITE (1u << 0)
#define CMD_READONLY (1u << 1)
#define CMD_DENYOOM (1u << 2)
#define CMD_ADMIN (1u << 3)
#define CMD_PUBSUB (1u << 4)
#define CMD_NOSCRIPT (1u << 5)
#define CMD_BLOCKING (1u << 6)
#define CMD_LOADING (1u << 7)
#define CMD_STALE (1u << 8)
#define CMD_FAST (1u << 9)
#define CMD_NO_AUTH (1u << 10)
#define CMD_MOVABLEKEYS (1u << 11)
#define CMD_NO_MULTI (1u << 12)
#define CMD_SKIP_MONITOR (1u << 13)
#define CMD_SKIP_SLOWLOG (1u << 14)
#define CMD_ASKING (1u << 15)
#define CMD_MAY_REPLICATE (1u << 16)
#define CMD_NO_ASYNC_LOADING (1u << 17)
#define CMD_ALLOW_BUSY (1u << 18)
#define CMD_NO_MANDATORY_KEYS (1u << 19)
/* * blind write (DESIGN 3): plain SET, SETEX, PSETEX, MSET's parts */
#define CMD_BLIND (1u << 24)
/* * handled by the session (connection and server commands); handler is NULL */
#define CMD_SESSION (1u << 25)
/* * writes several keys in one update (needs one slot; DESIGN H11) */
#define CMD_MULTIKEY (1u << 26)
/* * the proxy splits it per key: MGET MSET DEL UNLINK EXISTS TOUCH */
#define CMD_SPLIT (1u << 27)
/* * the proxy sends it to every shard: DBSIZE KEYS SCAN FLUSHALL ... */
#define CMD_FANOUT (1u << 28)
#define CMD_HOTREAD (1u << 29) /* * may be served from the symmetric cache */

enum cmd_group {
    GROUP_GENERIC,
    GROUP_STRING,
    GROUP_LIST,
    GROUP_SET,
    GROUP_ZSET,
    GROUP_HASH,
    GROUP_BITMAP,
    GROUP_HLL,
    GROUP_GEO,
    GROUP_STREAM,
    GROUP_TRANSACTIONS,
    GROUP_CONNECTION,
    GROUP_SERVER,
    GROUP_CLUSTER,
    GROUP_SCRIPTING,
    GROUP_PUBSUB
};

struct cmd_ctx;
struct cmd;
typedef void (*cmd_fn)(struct cmd_ctx *c);

/* Effects of an update: deterministic commands, as RESP multibulk one after the other. */
struct effects {
    struct buf bytes;
    uint32_t count;
};
void effects_add(struct effects *fx, size_t argc, const struct span *argv);

/* How a command that is not deterministic becomes so: looks at the store without changing it,
 * appends to fx the commands that every replica will run, and the client's reply to c->out. Returns
 * false when it answered with an error or nothing changes: then fx is unused. Commands without one
 * are deterministic given argv and now_ms (relative expiry uses now_ms). */
typedef bool (*cmd_rewrite_fn)(struct cmd_ctx *c, struct effects *fx);

/* Positions of keys in argv for movable-key commands: writes at most max indexes, returns how many
 * or -1 for a syntax error. */
typedef int (*cmd_keys_fn)(const struct span *argv, int argc, int *idx, int max);

struct cmd {
    const char *name;                      /* lower case; subcommands: "object|encoding" */
    int8_t arity;                          /* as Redis: negative means at least */
    int16_t first_key, last_key, key_step; /* 0 0 0: none */
    uint32_t flags;
    enum cmd_group group;
    cmd_fn handler;
    cmd_rewrite_fn rewrite; /* or NULL */
    cmd_keys_fn keys;       /* or NULL: from first_key.. */
    /* categories beyond those that follow from flags and group, as in Redis: "@dangerous
     * @keyspace"; or NULL (a row with subs gets none from its group) */
    const char *acl;
    /* Key specs as COMMAND INFO shows them: "RO access", "RW access delete index 1 range 0 1 0;OW
     * update index 2 range 0 1 0". What is left out comes from first_key, last_key, key_step; NULL:
     * RO access or RW access update. The grammar: backends/server/keyspec.h. */
    const char *key_specs;
    const char *tips; /* comma separated, e.g. "nondeterministic_output"; or NULL */
    const char *since, *summary, *complexity;
    const char *deprecated; /* since when and by what it is replaced: "6.2.0 `LMOVE`"; or NULL */
    /* arguments in the notation of the Redis manual: "key value [NX | XX] [GET] [EX seconds | PX
     * milliseconds]" */
    const char *syntax;
    const struct cmd *subs; /* subcommands, ended by a row with name NULL; or NULL */
};

/* counters that handlers raise: keyspace hits and misses, expired ... (backends/cmd/stats.h) */
struct cmd_stats;

struct cmd_ctx {
    struct store *store;
    const struct cmd *cmd;
    const struct span *argv; /* keys are inner keys (common/slot.h) */
    int argc;
    struct resp_out *out;
    /* wall clock, one value for the whole command (in an update: the coordinator's) */
    uint64_t now_ms;
    uint64_t *rng;                   /* xorshift state; effects must not use it */
    struct cmd_stats *stats;         /* never NULL */
    const struct cmd_config *config; /* thresholds and limits (backends/cmd/config.h), never NULL */
    unsigned db; /* database of the keys, for SCAN, KEYS, DBSIZE, RANDOMKEY, FLUSHDB */
    /* raised by handlers by the number of changes; 0 afterwards: nothing was changed */
    uint64_t dirty;
    bool is_effect; /* a replica runs an update's effect: no access clock, no statistics */
};

/* All commands, by name. name is matched without regard to case. NULL: unknown. */
const struct cmd *cmd_find(struct span name);
/* The row that rules this request: the subcommand's if the command has subcommands and argv[1]
 * names one, else the command's; NULL: unknown. Cost: one or two hash look-ups. */
const struct cmd *cmd_find_request(const struct span *argv, int argc);
size_t cmd_count(void);
const struct cmd *cmd_at(size_t i); /* sorted by name */

/* Checks arity; on failure writes Redis' error ("ERR wrong number of arguments for 'get' command")
 * and returns false. */
bool cmd_check_arity(const struct cmd *cmd, int argc, struct resp_out *out);
/* Writes "ERR unknown command 'x', with args beginning with: ..." or "ERR unknown subcommand ..."
 * as Redis 7.0 does. */
void cmd_unknown(const struct span *argv, int argc, struct resp_out *out);
/* Indexes of the keys of a request whose arity was checked; returns how many, or -1 if they cannot
 * be told. */
int cmd_get_keys(const struct cmd *cmd, const struct span *argv, int argc, int *idx, int max);
/* True if this request is a blind write (DESIGN 3): rows with CMD_BLIND, SET only without NX, XX,
 * GET, KEEPTTL. */
bool cmd_is_blind(const struct cmd *cmd, const struct span *argv, int argc);

/* ---- for handlers ---- */
/* The live entry, or NULL if absent or expired at now_ms. Reads count a hit or miss; both touch the
 * access clock (an effect does neither). An expired entry met by the write form is deleted at once,
 * so that the handler starts from nothing. */
struct entry *cmd_lookup(struct cmd_ctx *c, struct span key);
struct entry *cmd_lookup_write(struct cmd_ctx *c, struct span key);
/* as cmd_lookup without the access clock: TTL, TYPE, EXISTS */
struct entry *cmd_lookup_notouch(struct cmd_ctx *c, struct span key);
/* no statistics, no access clock, deletes nothing */
struct entry *cmd_peek(struct cmd_ctx *c, struct span key);
bool cmd_exists(struct cmd_ctx *c, struct span key); /* no statistics, no access clock */
/* True if e is NULL or of this type; otherwise answers WRONGTYPE and returns false. */
bool cmd_type_ok(struct cmd_ctx *c, const struct entry *e, enum val_type type);
/* Parses, or answers Redis' error and returns false. text NULL: "ERR value is not an integer or out
 * of range" ("... not a valid float"). */
bool cmd_i64(struct cmd_ctx *c, struct span s, int64_t *out, const char *text);
bool cmd_double(struct cmd_ctx *c, struct span s, double *out, const char *text);
void cmd_syntax_error(struct cmd_ctx *c);
uint64_t cmd_random(struct cmd_ctx *c); /* 64 bits from ctx->rng */

#endif
