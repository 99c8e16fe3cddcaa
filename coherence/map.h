#ifndef COHERENCE_MAP_H
#define COHERENCE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherence/view.h"
#include "common/err.h"

/* The cluster map: what the acceptors decide (DESIGN section 6). Who the acceptors are, which
 * groups there are (the proxies, and one per shard), who is in them under which incarnation id, and
 * which shard serves which slot. A plain value of fixed size: copy it. One version is decided at a
 * time, each by a Paxos instance of its own; a group's epoch grows by one with each version that
 * changes who is in it, and only then, so that a change elsewhere does not disturb it.
 *
 * (common/clustermap.h holds what a process makes of its configuration; this is what was agreed.)
 *
 * Version 0 is nobody's decision: the map without nodes that each acceptor makes of its
 * configuration and that version 1 builds on (map_genesis_ok). */
#define MAP_ACCEPTORS_MAX 5u
#define MAP_GROUPS_MAX 65u
#define MAP_NODES_MAX 256u
#define MAP_RANGES_MAX 256u
#define MAP_TEXT_MAX 64u    /* hosts and names, with the terminator */
#define MAP_ORDERED_MAX 16u /* ids last sent away by operators */
#define MAP_WORKERS_MAX 256u
#define MAP_SLOTS 16384u

#define MAP_PROXIES 0u /* index of the proxies' group; its name is "proxies" */
#define MAP_PROXIES_NAME "proxies"
#define MAP_NO_GROUP UINT16_MAX

#define MAP_WIRE_MAX 32768u /* bytes of any map on the wire */

/* Text: printable, no blanks, zeroes up to the end of the array. */
struct map_address {
    char host[MAP_TEXT_MAX];
    uint16_t port; /* not 0 */
};

#define MAP_MEMBER 1u  /* else a learner */
#define MAP_FOUNDER 2u /* came into a group that had nothing: starts empty and has caught up */

struct map_node {
    uint64_t boot; /* drawn by the process for each attempt to join: how it finds itself. Not 0 */
    uint32_t id;   /* incarnation */
    uint16_t group;
    uint16_t workers;      /* worker i listens on address.port + i, its peers' on peer_port + i */
    uint16_t peer_port;    /* not 0 */
    struct map_address at; /* no two nodes of a map have the same one */
    uint8_t flags;         /* MAP_MEMBER, MAP_FOUNDER */
};

struct map_group {
    uint64_t epoch; /* 0: never had anybody */
    char name[MAP_TEXT_MAX];
    bool founded; /* has (had) members whose data count; who joins now is a learner */
};

struct map_range { /* slots first.. up to the next range's first */
    uint16_t first, group;
};

struct member_map {
    uint64_t version;
    uint32_t next_id; /* the id that the next joiner gets: never one twice */
    uint16_t acceptor_count, group_count, node_count, range_count, ordered_count;
    struct map_address acceptors[MAP_ACCEPTORS_MAX];
    struct map_group groups[MAP_GROUPS_MAX];
    struct map_range ranges[MAP_RANGES_MAX];
    struct map_node nodes[MAP_NODES_MAX];  /* ascending ids */
    uint32_t ordered_out[MAP_ORDERED_MAX]; /* oldest first: these do not join again by themselves */
};

/* Sets text[0..len) into a fixed field; false (untouched) if it is empty, too long, or has blanks
 * or unprintable bytes. */
bool map_text_set(char field[MAP_TEXT_MAX], const char *text, size_t len);
bool map_text_is(const char field[MAP_TEXT_MAX], const char *text);
bool map_same_address(const struct map_address *a, const struct map_address *b);

/* Every field in range, every list within its bounds and in order, ids below next_id, addresses and
 * boots unique, no group with learners only, no view beyond VIEW_NODES_MAX, all slots given out
 * once (if there are shards). What map_decode lets through is map_ok. */
bool map_ok(const struct member_map *m);
/* map_ok, version 0, nobody in it. */
bool map_genesis_ok(const struct member_map *m);
/* May next be decided on top of base? Version + 1; same acceptors; ids only new ones; epochs + 1
 * exactly where a group changed; nobody moved, renamed or made a learner again. Both map_ok. */
bool map_follows(const struct member_map *base, const struct member_map *next);

const struct map_node *map_by_id(const struct member_map *m, uint32_t id);     /* NULL: none */
const struct map_node *map_by_boot(const struct member_map *m, uint64_t boot); /* NULL: none */
const struct map_node *map_by_address(const struct member_map *m,
                                      const struct map_address *at); /* NULL: none */
/* Index, or MAP_NO_GROUP. name: zero-terminated. */
uint16_t map_group_by_name(const struct member_map *m, const char *name);
/* The shard (group index) that serves a slot < MAP_SLOTS; MAP_NO_GROUP if there are no shards. */
uint16_t map_slot_group(const struct member_map *m, unsigned slot);
/* The view of a group for the cores; false (v untouched) if it has no members. */
bool map_view(const struct member_map *m, uint16_t group, struct view *v);
unsigned map_members(const struct member_map *m, uint16_t group);
/* Was this id sent away by an operator (and not only lost)? */
bool map_was_ordered_out(const struct member_map *m, uint32_t id);
/* Hash of the acceptor set, in every message: acceptors of another set do not listen. Not 0. */
uint64_t map_cluster(const struct member_map *m);

/* Writers: the caller keeps to map_ok, which is asserted at the end of map_encode only. */
void map_remove(struct member_map *m, unsigned position);
/* Fails (false) if the map or the group is full, or the ids have run out. Gives the new node, with
 * its id, to be filled in. */
struct map_node *map_add(struct member_map *m, uint16_t group);

/* Bytes that map_encode will write, at most MAP_WIRE_MAX. */
size_t map_size(const struct member_map *m);
/* Writes map_size bytes. m must be map_ok. */
size_t map_encode(const struct member_map *m, uint8_t *bytes, size_t capacity);
/* Reads one whole map: ERR_PROTO (m unspecified) for anything that is not map_ok. */
enum err map_decode(const uint8_t *bytes, size_t len, struct member_map *m) must_use;

#endif
