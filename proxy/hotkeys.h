#ifndef PROXY_HOTKEYS_H
#define PROXY_HOTKEYS_H

#include "proxy/proxy.h"

/* HOTKEYS, and what OBJECT FREQ answers here. */

/* True if the row is HOTKEYS or one of its subcommands. */
bool hotkeys_is(const struct cmd *cmd);
enum session_result hotkeys_command(struct client *c, const struct admitted *a,
                                    const struct span *argv, int argc, struct resp_out *out,
                                    uint64_t token);

/* What a client is told for the node's reply to its OBJECT FREQ (request: as it was sent): the
 * frequency that this proxy knows of, for nodes do not see the reads that proxies answer. Nothing
 * is changed when the key does not exist. Returns reply, or what was written to scratch. */
struct span hotkeys_freq(struct proxy_worker *pw, struct span reply, struct span request,
                         struct buf *scratch);

#endif
