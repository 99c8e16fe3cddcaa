#ifndef BACKENDS_SERVER_TRANSACTION_H
#define BACKENDS_SERVER_TRANSACTION_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/server/session.h"
#include "common/buf.h"

/* MULTI and WATCH of one session. The session layer queues commands (session_admit refuses them
 * with REFUSE_QUEUE, and session_command answers QUEUED); the daemon runs EXEC and WATCH, which are
 * dispatched to it:
 *
 *   WATCH   ask a node for the keys' tokens with the request of session_watch_request; give the
 *           node's answer to session_watched. No further request of the session may be taken until
 *           then.
 *   EXEC    session_exec answers at once, or gives the request that runs the whole list on one
 *           node; its reply is the client's. The session's transaction and watches are over then.
 *
 * Keys of a transaction and of its watches are all of one slot. Requests carry inner keys. */

/* In session->tx while there is something of it. */
struct session_tx;

bool session_in_multi(const struct session *s);
/* Commands queued; -1: no MULTI. For CLIENT LIST. */
int64_t session_multi_count(const struct session *s);
/* Slot of the keys of a MULTI that EXEC would run, or of the watched ones; SLOT_COUNT: none, or
 * EXEC will answer at once. */
unsigned session_tx_slot(const struct session *s);

/* False: answered with an error to out. Else "HALCYON WATCH key..." is appended to request, and
 * *slot is the keys'. */
bool session_watch_request(struct session *s, const struct span *argv, int argc,
                           struct resp_out *out, struct buf *request, unsigned *slot);
/* The node's answer, a bulk string as RESP; argv: as above. False: it is not what was asked for. */
bool session_watched(struct session *s, struct span request, struct span reply);

/* Ends the transaction. False: the reply is in out. Else the request is appended, for a node of
 * *slot; *writes: it may change something. */
bool session_exec(struct session *s, struct resp_out *out, struct buf *request, unsigned *slot,
                  bool *writes);
/* DISCARD, RESET, the end of the session. */
void session_tx_drop(struct session *s);

#endif
