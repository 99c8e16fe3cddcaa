#ifndef TESTS_LIB_FAKENODE_H
#define TESTS_LIB_FAKENODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"
#include "common/span.h"

/* A node worker's side of a link, for tests of what talks to one: runs on the test's own loop, on a
 * port the system picks. It answers "HALCYON LINK n" with +OK and every other request with the
 * bytes a callback gives, wrapped as on a link, or holds requests until told. */
struct fakenode;

enum fake_answer {
    FAKE_REPLY, /* reply holds the wrapped bytes */
    FAKE_RAW,   /* reply holds the bytes as they go out */
    FAKE_HOLD,  /* answer later: fakenode_release */
    FAKE_CLOSE  /* close the connection without answering */
};

struct buf;
/* argv is borrowed. index: number of this request since the start, from 0. */
typedef enum fake_answer (*fake_fn)(void *arg, uint64_t index, const struct span *argv,
                                    uint32_t argc, struct buf *reply);

/* fn NULL: replies "+<arguments joined by blanks>". */
struct fakenode *fakenode_new(struct loop *l, fake_fn fn, void *arg);
uint16_t fakenode_port(const struct fakenode *f);
uint64_t fakenode_requests(const struct fakenode *f);
uint32_t fakenode_connections(const struct fakenode *f); /* now */
uint64_t fakenode_accepted(const struct fakenode *f);    /* since the start */
void fakenode_release(struct fakenode *f,
                      struct span wrapped); /* answers the oldest held request */
void fakenode_stop(struct fakenode *f);     /* closes everything and stops listening */
void fakenode_start(struct fakenode *f);    /* listens again, on the same port */
void fakenode_free(struct fakenode *f);

#endif
