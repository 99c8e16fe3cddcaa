#ifndef BACKENDS_NODE_REPLIES_H
#define BACKENDS_NODE_REPLIES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/resp.h"

/* The order of replies when some come later: a queue of slots per session.
 *
 * While the queue is empty a reply goes straight into the connection's output. From the first
 * request that has to wait for other replicas on, every reply gets a slot, and slots leave in order
 * as their replies are there. */

struct node_session;
struct node_worker;
struct cmd_counters;

struct reply_slot {
    struct reply_slot *next;
    struct node_session *ns; /* NULL: the session has closed; whoever fills the slot frees it */
    struct buf bytes;        /* the reply, wrapped if the session is a link */
    bool done;
    bool watches; /* the reply is for the session (WATCH); the client gets OK */
    bool silent;  /* CLIENT REPLY OFF: nothing of it is sent */
    uint8_t proto;
    struct cmd_counters *count; /* statistics of the command; may be NULL */
    uint64_t start_ns;
};

/* A slot behind those that are open. Owned by the queue; the caller ends it with replies_done. */
struct reply_slot *replies_add(struct node_session *ns);
/* The slot's reply is complete: sends what can be sent, and lets the session go on when nothing is
 * open any more. */
void replies_done(struct node_worker *nw, struct reply_slot *slot);
/* The session closed: open slots become orphans, done ones are freed. */
void replies_close(struct node_session *ns);

#endif
