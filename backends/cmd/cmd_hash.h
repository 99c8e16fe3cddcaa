#ifndef BACKENDS_CMD_CMD_HASH_H
#define BACKENDS_CMD_CMD_HASH_H

#include "backends/cmd/cmd.h"

/* Handlers of the hash commands; the rows are in cmd_hash_rows.c. */
void hset_command(struct cmd_ctx *c);
void hmset_command(struct cmd_ctx *c);
void hsetnx_command(struct cmd_ctx *c);
void hget_command(struct cmd_ctx *c);
void hmget_command(struct cmd_ctx *c);
void hgetall_command(struct cmd_ctx *c);
void hkeys_command(struct cmd_ctx *c);
void hvals_command(struct cmd_ctx *c);
void hdel_command(struct cmd_ctx *c);
void hlen_command(struct cmd_ctx *c);
void hstrlen_command(struct cmd_ctx *c);
void hexists_command(struct cmd_ctx *c);
void hincrby_command(struct cmd_ctx *c);
void hincrbyfloat_command(struct cmd_ctx *c);
bool hincrbyfloat_rewrite(struct cmd_ctx *c, struct effects *fx);
void hrandfield_command(struct cmd_ctx *c);
void hscan_command(struct cmd_ctx *c);

#endif
