#ifndef BACKENDS_SERVER_HTTP_H
#define BACKENDS_SERVER_HTTP_H

#include <stdint.h>

#include "common/err.h"

/* The metrics port: GET /metrics (Prometheus text), /healthz (the process lives: 200 ok), /readyz
 * (200 ok, or 503 and the reason of ops->ready). Served by a thread of its own. */
struct server;

enum err http_open(struct server *sv, const char *address, uint16_t port,
                   struct errmsg *why) must_use;
void http_close(struct server *sv); /* nothing if not open */

#endif
