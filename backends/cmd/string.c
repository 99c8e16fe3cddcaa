/* String commands that read. */
#include "backends/cmd/groups.h"

static void get_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (e == NULL) {
        resp_null(c->out);
    } else if (cmd_type_ok(c, e, VAL_STRING)) {
        resp_bulk_span(c->out, entry_string(e));
    }
}

static void strlen_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (cmd_type_ok(c, e, VAL_STRING)) {
        resp_int(c->out, e == NULL ? 0 : (int64_t)entry_string(e).len);
    }
}

const struct cmd cmds_string[] = {
    {.name = "get",
     .arity = 2,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_READONLY | CMD_FAST | CMD_HOTREAD,
     .handler = get_command,
     .group = GROUP_STRING,
     .key_specs = "RO access",
     .since = "1.0.0",
     .summary = "Returns the value of a string key",
     .complexity = "O(1)",
     .syntax = "key"},
    {.name = "strlen",
     .arity = 2,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_READONLY | CMD_FAST | CMD_HOTREAD,
     .handler = strlen_command,
     .group = GROUP_STRING,
     .key_specs = "RO",
     .since = "2.2.0",
     .summary = "Returns the length of a string value",
     .complexity = "O(1)",
     .syntax = "key"},
    {.name = NULL},
};
