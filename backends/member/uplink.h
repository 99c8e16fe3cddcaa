#ifndef BACKENDS_MEMBER_UPLINK_H
#define BACKENDS_MEMBER_UPLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "coherence/map.h"
#include "common/err.h"
#include "common/loop.h"
#include "common/span.h"

/* What is said on a connection to an acceptor, and the caller's side of one.
 *
 * The caller says HELLO, the acceptor answers with HELLO or with REFUSED (words for people) and
 * closes. Then both send the others. */
enum frame_kind {
    FRAME_HELLO = 1,
    FRAME_REFUSED,    /* text */
    FRAME_MESSAGE,    /* coherence/member_msg.h */
    FRAME_ASK_STATUS, /* nothing */
    FRAME_STATUS      /* acceptor_status, as status_encode writes it */
};

struct greeting {
    char cluster_name[MAP_TEXT_MAX];
    uint64_t cluster; /* map_cluster: the acceptor set */
    uint64_t genesis; /* genesis_hash; of an acceptor, else 0 */
    uint32_t lease_ms;
    uint8_t acceptor; /* index of the speaker, or MEMBER_NO_ACCEPTOR */
};

#define GREETING_MAX 128u
size_t greeting_encode(const struct greeting *h, uint8_t bytes[GREETING_MAX]);
/* ERR_PROTO: it is none, or of another version of the protocol. */
enum err greeting_decode(struct span bytes, struct greeting *out) must_use;
/* Do they fit? The reason in words if not. theirs: of who called. */
enum err greeting_check(const struct greeting *mine, const struct greeting *theirs,
                        struct errmsg *why) must_use;

/* A connection to one acceptor, made again whenever it is lost. */
struct uplink;
struct uplink_ops {
    /* MESSAGE or STATUS. False: malformed. */
    bool (*frame)(void *arg, unsigned acceptor, uint8_t kind, struct span payload);
    void (*up)(void *arg, unsigned acceptor); /* may be NULL */
};
/* Dials at once. All pointers are borrowed for its life. mine: may change; read at each attempt. */
struct uplink *uplink_new(struct loop *l, unsigned acceptor, const struct map_address *at,
                          const struct greeting *mine, const struct uplink_ops *ops, void *arg);
bool uplink_is_up(const struct uplink *u);
/* Why it is not; "" if it is. */
const char *uplink_reason(const struct uplink *u);
/* ERR_CLOSED, ERR_BUSY: not sent. */
enum err uplink_send(struct uplink *u, uint8_t kind, struct span payload);
void uplink_free(struct uplink *u); /* after the loop has ended; NULL allowed */

#endif
