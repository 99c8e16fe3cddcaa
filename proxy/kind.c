/* How each command is carried out by the proxy: one table from rows to kinds, built at start. */
#include "common/must.h"
#include "proxy/proxy.h"

#define KIND_SLOTS 4096u /* power of two, far more than there are rows */

static struct {
    const struct cmd *cmd;
    uint8_t kind;
} kinds[KIND_SLOTS];

/* Commands whose kind does not follow from their flags. */
static const struct {
    const char *name;
    enum kind kind;
} by_name[] = {
    {"mget", KIND_MGET},
    {"mset", KIND_MSET},
    {"del", KIND_SUM},
    {"unlink", KIND_SUM},
    {"exists", KIND_SUM},
    {"touch", KIND_SUM},
    {"scan", KIND_SCAN},
    {"dbsize", KIND_KEYSPACE_SUM},
    {"keys", KIND_KEYSPACE_CONCAT},
    {"flushdb", KIND_KEYSPACE_OK},
    {"flushall", KIND_FLUSHALL},
    {"randomkey", KIND_RANDOMKEY},
    {"copy", KIND_COPY},
    {"cluster|countkeysinslot", KIND_SLOT},
    {"cluster|getkeysinslot", KIND_SLOT},
    {"exec", KIND_EXEC},
    {"watch", KIND_WATCH},
    {"move", KIND_REFUSED},
    {"swapdb", KIND_REFUSED},
};

static enum kind classify(const struct cmd *cmd)
{
    for (size_t i = 0; i < sizeof by_name / sizeof by_name[0]; i++) {
        if (strcmp(cmd->name, by_name[i].name) == 0) {
            return by_name[i].kind;
        }
    }
    if (cmd->group == GROUP_TRANSACTIONS || cmd->group == GROUP_SCRIPTING ||
        cmd->group == GROUP_PUBSUB || (cmd->flags & CMD_FANOUT) != 0) {
        return KIND_REFUSED;
    }
    /* A command that waits would hold up everybody's requests on the link. XREAD and XREADGROUP
     * only wait when asked to; that is looked at when they come. */
    if ((cmd->flags & CMD_BLOCKING) != 0 && strncmp(cmd->name, "xread", 5) != 0) {
        return KIND_REFUSED;
    }
    if (cmd->keys != NULL || (cmd->first_key != 0 && cmd->first_key != cmd->last_key)) {
        return KIND_KEYS;
    }
    return cmd->first_key != 0 ? KIND_KEY : KIND_ANY;
}

static uint32_t slot_at(const struct cmd *cmd)
{
    return (uint32_t)(((uint64_t)(uintptr_t)cmd * 0x9E3779B97F4A7C15u) >> 40) & (KIND_SLOTS - 1);
}

static void add(const struct cmd *cmd)
{
    uint32_t i = slot_at(cmd);
    while (kinds[i].cmd != NULL && kinds[i].cmd != cmd) {
        i = (i + 1) & (KIND_SLOTS - 1);
    }
    kinds[i].cmd = cmd;
    kinds[i].kind = (uint8_t)classify(cmd);
}

void kinds_build(void)
{
    must(cmd_count() < KIND_SLOTS / 4);
    for (size_t i = 0; i < cmd_count(); i++) {
        const struct cmd *cmd = cmd_at(i);
        add(cmd);
        for (const struct cmd *sub = cmd->subs; sub != NULL && sub->name != NULL; sub++) {
            add(sub);
        }
    }
}

enum kind kind_of(const struct cmd *cmd)
{
    uint32_t i = slot_at(cmd);
    while (kinds[i].cmd != cmd) {
        if (kinds[i].cmd == NULL) {
            return KIND_REFUSED;
        }
        i = (i + 1) & (KIND_SLOTS - 1);
    }
    return (enum kind)kinds[i].kind;
}

void kind_refusal(const struct cmd *cmd, struct resp_out *out)
{
    if (strcmp(cmd->name, "move") == 0 || strcmp(cmd->name, "swapdb") == 0) {
        resp_errorf(out,
                    "ERR %s is not supported: databases are prefixes of keys here, which may "
                    "be on different nodes",
                    cmd->name);
    } else if ((cmd->flags & CMD_BLOCKING) != 0) {
        resp_errorf(out, "ERR %s is not supported yet: the proxy does not carry commands that wait",
                    cmd->name);
    } else {
        resp_errorf(out, "ERR %s is not supported yet", cmd->name);
    }
}
