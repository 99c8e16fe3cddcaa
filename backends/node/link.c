/* The link between proxy and node (docs/architecture.md): opening it, wrapping replies. */
#include <string.h>

#include "backends/node/node.h"
#include "backends/server/acl.h"
#include "common/num.h"

void node_link_open(struct node_session *ns, const struct span *argv, int argc,
                    struct resp_out *out)
{
    struct session *s = &ns->s;
    if (argc != 3 || !span_is(argv[1], "link") || argv[2].len != 1 ||
        (argv[2].p[0] != '2' && argv[2].p[0] != '3')) {
        resp_error(out, "ERR HALCYON LINK takes 2 or 3");
        return;
    }
    if (s->c.unauthenticated) {
        resp_error(out, "NOAUTH Authentication required.");
        return;
    }
    if (s->user == NULL ||
        !s->user
             ->unrestricted) { /* a link acts for every client: nobody else's rights are enough */
        resp_error(out, "NOPERM a link needs a user who may run every command on every key");
        return;
    }
    resp_ok(out);
    if (ns->link_proto == 0) {
        node_worker_of(s)->count[NODE_LINKS]++;
    }
    ns->link_proto = (uint8_t)(argv[2].p[0] - '0');
    s->internal = true;
    s->c.proto = ns->link_proto;
    s->c.reply.proto = ns->link_proto;
}

static unsigned digits_of(size_t n)
{
    unsigned d = 1;
    while (n >= 10) {
        n /= 10;
        d++;
    }
    return d;
}

size_t node_wrap_begin(struct node_worker *nw, struct resp_out *out)
{
    size_t start = buf_used(out->b);
    size_t room = node_wrap_room(nw);
    memset(buf_reserve(out->b, room + 64), '$', room);
    buf_commit(out->b, room);
    return start;
}

void node_wrap_end(struct node_worker *nw, struct resp_out *out, size_t start)
{
    size_t room = node_wrap_room(nw);
    size_t len = buf_used(out->b) - start - room;
    unsigned digits = digits_of(len);
    if (digits != nw->wrap_digits) {
        buf_reserve(out->b, digits);
        char *reply = buf_head(out->b) + start + room;
        memmove(reply + digits - nw->wrap_digits, reply, len);
        out->b->len = out->b->len + digits - nw->wrap_digits;
        nw->wrap_digits = digits;
    }
    char *at = buf_head(out->b) + start;
    char text[NUM_I64_MAX];
    num_fmt_u64(text, len);
    at[0] = '$';
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, no string */
    memcpy(at + 1, text, digits);
    at[1 + digits] = '\r';
    at[2 + digits] = '\n';
    buf_add(out->b, "\r\n", 2);
}

void node_wrap_cancel(struct resp_out *out, size_t start)
{
    out->b->len = out->b->head + start;
}
