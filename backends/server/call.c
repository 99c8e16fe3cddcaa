/* Small helpers of the command handlers. */
#include <ctype.h>
#include <string.h>

#include "backends/server/internal.h"
#include "common/num.h"

void call_syntax(struct call *c)
{
    resp_error(c->out, "ERR syntax error");
}

void call_not_integer(struct call *c)
{
    resp_error(c->out, "ERR value is not an integer or out of range");
}

void call_wrong_number(struct call *c)
{
    char container[32] = "";
    for (size_t i = 0; i < c->argv[0].len && i < sizeof container - 1; i++) {
        container[i] = (char)toupper((unsigned char)c->argv[0].p[i]);
    }
    resp_errorf(c->out,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
                (int)(c->argv[1].len < 128 ? c->argv[1].len : 128), c->argv[1].p, container);
}

bool call_i64(struct call *c, struct span s, int64_t *out)
{
    if (num_parse_i64(s, out)) {
        return true;
    }
    call_not_integer(c);
    return false;
}

enum session_result call_help(struct call *c, const char *container, const char *const *lines)
{
    size_t n = 0;
    while (lines[n] != NULL) {
        n++;
    }
    resp_array(c->out, n + 3);
    struct buf head = {0};
    buf_addf(&head, "%s <subcommand> [<argument> ...]. Subcommands:", container);
    buf_add(&head, "", 1);
    resp_simple(c->out, buf_head(&head));
    buf_free(&head);
    for (size_t i = 0; i < n; i++) {
        resp_simple(c->out, lines[i]);
    }
    resp_simple(c->out, "HELP");
    resp_simple(c->out, "    Shows this text.");
    return SESSION_DONE;
}
