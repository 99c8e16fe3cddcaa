#ifndef BACKENDS_MEMBER_STATE_H
#define BACKENDS_MEMBER_STATE_H

#include <stdbool.h>

#include "coherence/member.h"
#include "common/err.h"

/* The file in which an acceptor keeps what it must not forget (struct member_state), and whose it
 * is: the cluster's name, the acceptor set, which of them it is.
 *
 * Form: "HALCYON-ACCEPTOR 1\n", cluster name (text), map_cluster (8), index (1), length (4) and
 * bytes of the state, checksum of all before (8). */
struct state_owner {
    const char *cluster_name;         /* borrowed */
    const struct member_map *genesis; /* borrowed */
    unsigned index;
};

/* *found false: there is no file. ERR_CORRUPT, ERR_CONFIG (of another cluster, set, index, or other
 * shards), ERR_IO: why says which, and what to do. */
enum err state_load(const char *path, const struct state_owner *owner, struct member_state *out,
                    bool *found, struct errmsg *why) must_use;
/* Replaces the file: a new one beside it, fsync, rename, fsync of the directory. ERR_IO: why; the
 * file is the old or the new one, whole. */
enum err state_save(const char *path, const struct state_owner *owner,
                    const struct member_state *st, struct errmsg *why) must_use;

#endif
