#ifndef BACKENDS_CMD_GENERIC_CMDS_H
#define BACKENDS_CMD_GENERIC_CMDS_H

#include "backends/cmd/groups.h"

/* Handlers of the commands on keys of any type and on the key space, for their rows. */
void del_command(struct cmd_ctx *c);
void exists_command(struct cmd_ctx *c);
void touch_command(struct cmd_ctx *c);
void type_command(struct cmd_ctx *c);
void expire_command(struct cmd_ctx *c);
void pexpire_command(struct cmd_ctx *c);
void expireat_command(struct cmd_ctx *c);
void pexpireat_command(struct cmd_ctx *c);
void ttl_command(struct cmd_ctx *c);
void pttl_command(struct cmd_ctx *c);
void expiretime_command(struct cmd_ctx *c);
void pexpiretime_command(struct cmd_ctx *c);
void persist_command(struct cmd_ctx *c);
void rename_command(struct cmd_ctx *c);
void renamenx_command(struct cmd_ctx *c);
void copy_command(struct cmd_ctx *c);
void keys_command(struct cmd_ctx *c);
void scan_command(struct cmd_ctx *c);
void randomkey_command(struct cmd_ctx *c);
void dbsize_command(struct cmd_ctx *c);
void flushall_command(struct cmd_ctx *c);
void flushdb_command(struct cmd_ctx *c);
void object_idletime_command(struct cmd_ctx *c);
void object_help_command(struct cmd_ctx *c);
void object_encoding_command(struct cmd_ctx *c);
void object_freq_command(struct cmd_ctx *c);
void object_refcount_command(struct cmd_ctx *c);
void memory_usage_command(struct cmd_ctx *c);
void dump_command(struct cmd_ctx *c);
void restore_command(struct cmd_ctx *c);
void move_command(struct cmd_ctx *c);
void swapdb_command(struct cmd_ctx *c);
void debug_command(struct cmd_ctx *c);
int debug_keys(const struct span *argv, int argc, int *idx, int max);

#endif
