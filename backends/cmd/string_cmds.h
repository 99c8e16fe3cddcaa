#ifndef BACKENDS_CMD_STRING_CMDS_H
#define BACKENDS_CMD_STRING_CMDS_H

#include "backends/cmd/groups.h"

/* Handlers of the string commands, for their rows. */
void get_command(struct cmd_ctx *c);
void set_command(struct cmd_ctx *c);
void setnx_command(struct cmd_ctx *c);
void setex_command(struct cmd_ctx *c);
void psetex_command(struct cmd_ctx *c);
void getset_command(struct cmd_ctx *c);
void getdel_command(struct cmd_ctx *c);
void getex_command(struct cmd_ctx *c);
void mget_command(struct cmd_ctx *c);
void mset_command(struct cmd_ctx *c);
void msetnx_command(struct cmd_ctx *c);
void append_command(struct cmd_ctx *c);
void strlen_command(struct cmd_ctx *c);
void setrange_command(struct cmd_ctx *c);
void getrange_command(struct cmd_ctx *c);
void incr_command(struct cmd_ctx *c);
void decr_command(struct cmd_ctx *c);
void incrby_command(struct cmd_ctx *c);
void decrby_command(struct cmd_ctx *c);
void incrbyfloat_command(struct cmd_ctx *c);
void lcs_command(struct cmd_ctx *c);
bool incrbyfloat_rewrite(struct cmd_ctx *c, struct effects *fx);

#endif
