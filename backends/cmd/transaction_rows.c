/* Rows of the transaction commands. Flags are those that Redis 7.0 reports. EXEC and WATCH are run
 * by the daemons (backends/server/transaction.h). */
#include "backends/cmd/groups.h"

static void of_the_daemon(struct cmd_ctx *c)
{
    resp_errorf(c->out, "ERR %s is not a command of the data", c->cmd->name);
}

const struct cmd cmds_transaction[] = {
    {.name = "multi",
     .arity = 1,
     .flags = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY | CMD_SESSION,
     .group = GROUP_TRANSACTIONS,
     .since = "1.2.0",
     .summary = "Begins a transaction: the commands that follow are queued",
     .complexity = "O(1)"},
    {.name = "exec",
     .arity = 1,
     .flags = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_SKIP_SLOWLOG,
     .group = GROUP_TRANSACTIONS,
     .handler = of_the_daemon,
     .since = "1.2.0",
     .summary = "Runs the queued commands as one",
     .complexity = "Depends on commands in the transaction"},
    {.name = "discard",
     .arity = 1,
     .flags = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY | CMD_SESSION,
     .group = GROUP_TRANSACTIONS,
     .since = "2.0.0",
     .summary = "Drops the queued commands",
     .complexity = "O(N), when N is the number of queued commands"},
    {.name = "watch",
     .arity = -2,
     .first_key = 1,
     .last_key = -1,
     .key_step = 1,
     .flags = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY,
     .group = GROUP_TRANSACTIONS,
     .handler = of_the_daemon,
     .key_specs = "RO index 1 range -1 1 0",
     .since = "2.2.0",
     .summary = "Lets the next EXEC run only if these keys have not been changed",
     .complexity = "O(1) for every key.",
     .syntax = "key [key ...]"},
    {.name = "unwatch",
     .arity = 1,
     .flags = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_ALLOW_BUSY | CMD_SESSION,
     .group = GROUP_TRANSACTIONS,
     .since = "2.2.0",
     .summary = "Forgets all watched keys",
     .complexity = "O(1)"},
    {0}};
