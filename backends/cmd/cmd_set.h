#ifndef BACKENDS_CMD_CMD_SET_H
#define BACKENDS_CMD_CMD_SET_H

#include "backends/cmd/cmd.h"

/* Handlers of the set commands; the rows are in cmd_set_rows.c. */
void sadd_command(struct cmd_ctx *c);
void srem_command(struct cmd_ctx *c);
void sismember_command(struct cmd_ctx *c);
void smismember_command(struct cmd_ctx *c);
void smembers_command(struct cmd_ctx *c);
void scard_command(struct cmd_ctx *c);
void spop_command(struct cmd_ctx *c);
bool spop_rewrite(struct cmd_ctx *c, struct effects *fx);
void srandmember_command(struct cmd_ctx *c);
void smove_command(struct cmd_ctx *c);
void sscan_command(struct cmd_ctx *c);

/* cmd_set_ops.c */
void sunion_command(struct cmd_ctx *c);
void sunionstore_command(struct cmd_ctx *c);
void sinter_command(struct cmd_ctx *c);
void sinterstore_command(struct cmd_ctx *c);
void sintercard_command(struct cmd_ctx *c);
int sintercard_keys(const struct span *argv, int argc, int *idx, int max);
void sdiff_command(struct cmd_ctx *c);
void sdiffstore_command(struct cmd_ctx *c);

#endif
