/* Numbers the command rows (subcommands included), so that statistics and ACL bits are arrays.
 *
 * The pointers of rows are hashed into an open-addressing table, written once at start. */
#include <pthread.h>
#include <stdlib.h>

#include "backends/server/internal.h"
#include "common/must.h"

#define TABLE_SIZE 4096u

static const struct cmd *rows[ACL_CMD_MAX];
static unsigned row_count;
static uint16_t table[TABLE_SIZE]; /* index + 1 */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static unsigned slot_of_row(const struct cmd *cmd)
{
    return (unsigned)(((uintptr_t)cmd >> 3) * 0x9E3779B97F4A7C15u >> 52);
}

static void add(const struct cmd *cmd)
{
    must(row_count < ACL_CMD_MAX);
    rows[row_count] = cmd;
    unsigned i = slot_of_row(cmd);
    while (table[i] != 0) {
        i = (i + 1) % TABLE_SIZE;
    }
    table[i] = (uint16_t)(++row_count);
}

static void collect(void)
{
    for (size_t i = 0; i < cmd_count(); i++) {
        const struct cmd *cmd = cmd_at(i);
        add(cmd);
        for (const struct cmd *sub = cmd->subs; sub != NULL && sub->name != NULL; sub++) {
            add(sub);
        }
    }
}

void cmdset_init(void)
{
    must(pthread_once(&once, collect) == 0);
}

unsigned cmdset_count(void)
{
    return row_count;
}

const struct cmd *cmdset_at(unsigned i)
{
    must(i < row_count);
    return rows[i];
}

unsigned cmdset_index(const struct cmd *cmd)
{
    for (unsigned i = slot_of_row(cmd);; i = (i + 1) % TABLE_SIZE) {
        must(table[i] != 0);
        if (rows[table[i] - 1] == cmd) {
            return table[i] - 1u;
        }
    }
}
