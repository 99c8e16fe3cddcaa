#ifndef BACKENDS_CMD_GROUPS_H
#define BACKENDS_CMD_GROUPS_H

#include "backends/cmd/cmd.h"

/* The arrays of rows that make up the command table: one per file of commands, each ended by a row
 * whose name is NULL. To add a file: define `const struct cmd cmds_x[] = {..., {0}};` and add X(x)
 * here. */
#define CMD_GROUPS(X)                                                                              \
    X(string)                                                                                      \
    X(generic)                                                                                     \
    X(hash)                                                                                        \
    X(set)                                                                                         \
    X(list)                                                                                        \
    X(stream)                                                                                      \
    X(zset)                                                                                        \
    X(bitmap)                                                                                      \
    X(hll)                                                                                         \
    X(geo)                                                                                         \
    X(sort)                                                                                        \
    X(connection)                                                                                  \
    X(transaction)                                                                                 \
    X(cluster)                                                                                     \
    X(server)

#define X(group) extern const struct cmd cmds_##group[];
CMD_GROUPS(X)
#undef X

/* Handler of rows that only have subcommands: answers "unknown subcommand". */
void cmd_container(struct cmd_ctx *c);

#endif
