#ifndef BACKENDS_CMD_CMD_ZSET_H
#define BACKENDS_CMD_CMD_ZSET_H

#include "backends/cmd/collection.h"
#include "backends/types/zset.h"

/* What the files of the sorted set commands share (cmd_zset*.c, cmd_geo*.c, cmd_sort.c), and their
 * handlers. */

struct zset_limits zset_limits_of(const struct cmd_ctx *c);

/* The sorted set at key, NULL if absent (*z). False if it was of another type and that was
 * answered. */
bool zset_read(struct cmd_ctx *c, struct span key, struct zset **z);
bool zset_write(struct cmd_ctx *c, struct span key, struct entry **e, struct zset **z);
/* Score bounds: "1.5", "(1.5", "-inf". False: not valid (nothing was answered). */
struct zset_score_range {
    double min, max;
    bool min_open, max_open;
};
bool zset_parse_score_range(struct span min, struct span max, struct zset_score_range *r);

/* Bounds by member: "[a", "(a", "-", "+". kind: -1 and 1 are "-" and "+", 0 is a member. */
struct zset_lex_bound {
    struct span member;
    int kind;
    bool open;
};
struct zset_lex_range {
    struct zset_lex_bound min, max;
};
bool zset_parse_lex_range(struct span min, struct span max, struct zset_lex_range *r);

/* Ranks [start, end) of what is within; start == end if nothing is. */
struct zset_ranks {
    uint64_t start, end;
};
struct zset_ranks zset_ranks_by_score(const struct zset *z, const struct zset_score_range *r);
struct zset_ranks zset_ranks_by_lex(const struct zset *z, const struct zset_lex_range *r);
/* Redis' inclusive indexes, negative from the end. */
struct zset_ranks zset_ranks_by_index(const struct zset *z, int64_t start, int64_t stop);

#define ZSET_BAD_SCORE_RANGE "ERR min or max is not a float"
#define ZSET_BAD_LEX_RANGE "ERR min or max not valid string range item"

/* Keys of commands of the form `name numkeys key ...` and `name destination numkeys key ...`. */
int zset_keys_numkeys(const struct span *argv, int argc, int *idx, int max);
int zset_keys_numkeys_blocking(const struct span *argv, int argc, int *idx, int max);
int zset_keys_store(const struct span *argv, int argc, int *idx, int max);

/* Handlers; the rows are in cmd_zset_rows.c. */
void zadd_command(struct cmd_ctx *c);
void zincrby_command(struct cmd_ctx *c);
void zrem_command(struct cmd_ctx *c);
void zcard_command(struct cmd_ctx *c);
void zscore_command(struct cmd_ctx *c);
void zmscore_command(struct cmd_ctx *c);
void zrank_command(struct cmd_ctx *c);
void zrevrank_command(struct cmd_ctx *c);
void zcount_command(struct cmd_ctx *c);
void zlexcount_command(struct cmd_ctx *c);
void zremrangebyrank_command(struct cmd_ctx *c);
void zremrangebyscore_command(struct cmd_ctx *c);
void zremrangebylex_command(struct cmd_ctx *c);
void zrange_command(struct cmd_ctx *c);
void zrangestore_command(struct cmd_ctx *c);
void zrangebyscore_command(struct cmd_ctx *c);
void zrangebylex_command(struct cmd_ctx *c);
void zrevrange_command(struct cmd_ctx *c);
void zrevrangebyscore_command(struct cmd_ctx *c);
void zrevrangebylex_command(struct cmd_ctx *c);
void zrandmember_command(struct cmd_ctx *c);
void zpopmin_command(struct cmd_ctx *c);
void zpopmax_command(struct cmd_ctx *c);
void zmpop_command(struct cmd_ctx *c);
void zscan_command(struct cmd_ctx *c);
void zunion_command(struct cmd_ctx *c);
void zinter_command(struct cmd_ctx *c);
void zdiff_command(struct cmd_ctx *c);
void zunionstore_command(struct cmd_ctx *c);
void zinterstore_command(struct cmd_ctx *c);
void zdiffstore_command(struct cmd_ctx *c);
void zintercard_command(struct cmd_ctx *c);

#endif
