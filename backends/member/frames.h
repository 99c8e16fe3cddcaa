#ifndef BACKENDS_MEMBER_FRAMES_H
#define BACKENDS_MEMBER_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "common/span.h"

/* A connection of the membership service: whole frames over a non-blocking TCP socket, written once
 * per loop turn. Who connects is not known before it has said so, which is why this is not the peer
 * transport (rdma/transport.h).
 *
 * Wire: length of what follows (4 bytes, little-endian), kind (1 byte), payload. */
#define FRAMES_PAYLOAD_MAX 40000u /* bytes; longer: the connection is closed */
#define FRAMES_QUEUE_MAX                                                                           \
    ((size_t)1 << 20) /* bytes not yet written, beyond which nothing more is taken */

struct frames;
struct frames_ops {
    /* One frame; payload is borrowed for the call. False: it makes no sense, the connection is
     * closed. May call everything here, frames_free too. */
    bool (*frame)(void *arg, uint8_t kind, struct span payload);
    /* It has ended by itself (reason: why), and is freed after this returns. Not called after
     * frames_free. */
    void (*closed)(void *arg, const char *reason);
};

/* Takes a connected socket. ops and arg are borrowed for the connection's life. */
struct frames *frames_new(struct loop *l, int fd, const struct frames_ops *ops, void *arg);
/* Queues a frame (copied). ERR_BUSY: too much waits to be written; ERR_CLOSED: it has ended. */
enum err frames_send(struct frames *f, uint8_t kind, struct span payload);
/* Ends when what is queued has been written, or at once if that cannot be. closed() comes. */
void frames_finish(struct frames *f);
/* Closes and frees at once, unwritten bytes are lost. NULL allowed. */
void frames_free(struct frames *f);

/* Connects to host:port. One attempt at a time; the caller asks for the next one. */
struct dialer;
/* done(arg, fd, NULL) gives a connected socket; done(arg, -1, reason) says why there is none. Never
 * inside a call of dialer_start. host is copied. */
typedef void (*dialer_fn)(void *arg, int fd, const char *reason);
struct dialer *dialer_new(struct loop *l, const char *host, uint16_t port, dialer_fn done,
                          void *arg);
/* Starts an attempt after this long, which may take timeout_us. A name is looked up by a thread of
 * its own. */
void dialer_start(struct dialer *d, uint64_t after_us, uint64_t timeout_us);
/* After its loop has ended (a look-up may still be under way, and is waited for). NULL allowed. */
void dialer_free(struct dialer *d);

#endif
