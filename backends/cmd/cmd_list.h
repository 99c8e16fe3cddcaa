#ifndef BACKENDS_CMD_CMD_LIST_H
#define BACKENDS_CMD_CMD_LIST_H

#include "backends/cmd/cmd.h"

/* Handlers of the list commands; the rows are in cmd_list_rows.c. */
void lpush_command(struct cmd_ctx *c);
void rpush_command(struct cmd_ctx *c);
void lpushx_command(struct cmd_ctx *c);
void rpushx_command(struct cmd_ctx *c);
void llen_command(struct cmd_ctx *c);
void lrange_command(struct cmd_ctx *c);
void lindex_command(struct cmd_ctx *c);
void lset_command(struct cmd_ctx *c);
void linsert_command(struct cmd_ctx *c);
void lrem_command(struct cmd_ctx *c);
void ltrim_command(struct cmd_ctx *c);
void lpos_command(struct cmd_ctx *c);

/* cmd_list_pop.c: taking elements off and moving them */
void lpop_command(struct cmd_ctx *c);
void rpop_command(struct cmd_ctx *c);
void lmove_command(struct cmd_ctx *c);
void rpoplpush_command(struct cmd_ctx *c);
void lmpop_command(struct cmd_ctx *c);
bool lmpop_rewrite(struct cmd_ctx *c, struct effects *fx);
int lmpop_keys(const struct span *argv, int argc, int *idx, int max);
int blmpop_keys(const struct span *argv, int argc, int *idx, int max);

#endif
