#ifndef PROXY_TRANSACTION_H
#define PROXY_TRANSACTION_H

#include "proxy/proxy.h"

/* EXEC and WATCH of a client (docs/architecture.md, "Transactions"). */
enum taken transaction_exec(struct client *c, const struct admitted *a, const struct conn_req *q);
enum taken transaction_watch(struct client *c, const struct admitted *a, const struct conn_req *q);
/* Keys of a request of EXEC, as it was sent: inner keys, room for argc of them; gives how many. */
int transaction_keys(const struct span *argv, int argc, struct span *keys);
/* The node's reply to the call of a WATCH; gives the client's. */
struct span transaction_watched(struct call *k, struct span bytes, struct span request);

#endif
