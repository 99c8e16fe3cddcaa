/* CLUSTER. Proxies answer its subcommands themselves (proxy/cluster.c), except those that look at
 * the keys of a slot: these are ordinary commands of the node worker that serves it. Arity, flags,
 * categories and tips are those Redis 7.0 reports. */
#include "backends/cmd/groups.h"
#include "common/num.h"
#include "common/slot.h"

struct slot_walk {
    const struct cmd_ctx *c;
    unsigned slot;
    uint64_t found, max;
    bool list; /* the keys are wanted, not only their number */
};

static void on_entry(void *arg, struct entry *e)
{
    struct slot_walk *w = arg;
    struct span key = entry_key(e);
    if (w->found >= w->max || key_db(key) != w->c->db || entry_type(e) == VAL_TOMBSTONE ||
        entry_expired_at(entry_expire_ms(e), w->c->now_ms) || slot_of_inner(key) != w->slot) {
        return;
    }
    w->found++;
    if (w->list) {
        resp_bulk_span(w->c->out, key_outer(key));
    }
}

/* The node keeps no list of the keys of each slot: this visits every key of the worker. */
static void walk(struct slot_walk *w)
{
    uint64_t cursor = 0;
    do {
        cursor = store_scan(w->c->store, cursor, 1024, on_entry, w);
    } while (cursor != 0 && w->found < w->max);
}

static void count_keys(struct cmd_ctx *c)
{
    int64_t slot;
    if (!cmd_i64(c, c->argv[2], &slot, NULL)) {
        return;
    }
    if (slot < 0 || slot >= SLOT_COUNT) {
        resp_error(c->out, "ERR Invalid slot");
        return;
    }
    struct slot_walk w = {.c = c, .slot = (unsigned)slot, .max = UINT64_MAX};
    walk(&w);
    resp_int(c->out, (int64_t)w.found);
}

static void get_keys(struct cmd_ctx *c)
{
    int64_t slot;
    int64_t max;
    if (!cmd_i64(c, c->argv[2], &slot, NULL) || !cmd_i64(c, c->argv[3], &max, NULL)) {
        return;
    }
    if (slot < 0 || slot >= SLOT_COUNT || max < 0) {
        resp_error(c->out, "ERR Invalid slot or number of keys");
        return;
    }
    struct slot_walk w = {.c = c, .slot = (unsigned)slot, .max = (uint64_t)max, .list = true};
    size_t mark = resp_defer(c->out);
    if (max != 0) {
        walk(&w);
    }
    resp_defer_end(c->out, mark, RESP_ARRAY, w.found);
}

#define REFUSED (CMD_ADMIN | CMD_STALE | CMD_NO_ASYNC_LOADING | CMD_SESSION)

static const struct cmd cluster_subs[] = {
    {.name = "cluster|addslots",
     .arity = -3,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: the configuration assigns slots",
     .complexity = "O(N) with the slots named",
     .syntax = "slot [slot ...]"},
    {.name = "cluster|addslotsrange",
     .arity = -4,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "7.0.0",
     .summary = "Not for proxies: the configuration assigns slots",
     .complexity = "O(N) with the slots of the ranges",
     .syntax = "start-slot end-slot [start-slot end-slot ...]"},
    {.name = "cluster|bumpepoch",
     .arity = 2,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .tips = "nondeterministic_output",
     .since = "3.0.0",
     .summary = "Not for proxies: there is no configuration epoch",
     .complexity = "O(1)"},
    {.name = "cluster|count-failure-reports",
     .arity = 3,
     .flags = CMD_ADMIN | CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .tips = "nondeterministic_output",
     .since = "3.0.0",
     .summary = "Not for proxies: there are no failure reports",
     .complexity = "O(1)",
     .syntax = "node-id"},
    {.name = "cluster|countkeysinslot",
     .arity = 3,
     .flags = CMD_STALE,
     .group = GROUP_CLUSTER,
     .handler = count_keys,
     .since = "3.0.0",
     .summary = "Counts the keys of a slot",
     .complexity = "O(N) with the keys of the node worker that serves the slot",
     .syntax = "slot"},
    {.name = "cluster|delslots",
     .arity = -3,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: the configuration assigns slots",
     .complexity = "O(N) with the slots named",
     .syntax = "slot [slot ...]"},
    {.name = "cluster|delslotsrange",
     .arity = -4,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "7.0.0",
     .summary = "Not for proxies: the configuration assigns slots",
     .complexity = "O(N) with the slots of the ranges",
     .syntax = "start-slot end-slot [start-slot end-slot ...]"},
    {.name = "cluster|failover",
     .arity = -2,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: they have no replicas",
     .complexity = "O(1)",
     .syntax = "[options: FORCE | TAKEOVER]"},
    {.name = "cluster|flushslots",
     .arity = 2,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: the configuration assigns slots",
     .complexity = "O(1)"},
    {.name = "cluster|forget",
     .arity = 3,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: the configuration names them",
     .complexity = "O(1)",
     .syntax = "node-id"},
    {.name = "cluster|getkeysinslot",
     .arity = 4,
     .flags = CMD_STALE,
     .group = GROUP_CLUSTER,
     .handler = get_keys,
     .tips = "nondeterministic_output",
     .since = "3.0.0",
     .summary = "Names keys of a slot",
     .complexity = "O(N) with the keys of the node worker that serves the slot",
     .syntax = "slot count"},
    {.name = "cluster|help",
     .arity = 2,
     .flags = CMD_LOADING | CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .since = "5.0.0",
     .summary = "Describes the subcommands",
     .complexity = "O(1)"},
    {.name = "cluster|info",
     .arity = 2,
     .flags = CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .tips = "nondeterministic_output",
     .since = "3.0.0",
     .summary = "State of the cluster as clients see it",
     .complexity = "O(1)"},
    {.name = "cluster|keyslot",
     .arity = 3,
     .flags = CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "The slot of a key",
     .complexity = "O(N) with the bytes of the key",
     .syntax = "key(string)"},
    {.name = "cluster|links",
     .arity = 2,
     .flags = CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .tips = "nondeterministic_output",
     .since = "7.0.0",
     .summary = "Links between the members: none are kept",
     .complexity = "O(1)"},
    {.name = "cluster|meet",
     .arity = -4,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: the configuration names them",
     .complexity = "O(1)",
     .syntax = "ip port [cluster_bus_port(integer)]"},
    {.name = "cluster|myid",
     .arity = 2,
     .flags = CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Id of this proxy",
     .complexity = "O(1)"},
    {.name = "cluster|nodes",
     .arity = 2,
     .flags = CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .tips = "nondeterministic_output",
     .since = "3.0.0",
     .summary = "The members, in Redis Cluster's text form",
     .complexity = "O(N) with the proxies"},
    {.name = "cluster|replicas",
     .arity = 3,
     .flags = CMD_ADMIN | CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .tips = "nondeterministic_output",
     .since = "5.0.0",
     .summary = "Replicas of a member: proxies have none",
     .complexity = "O(1)",
     .syntax = "node-id"},
    {.name = "cluster|replicate",
     .arity = 3,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: they have no replicas",
     .complexity = "O(1)",
     .syntax = "node-id"},
    {.name = "cluster|reset",
     .arity = -2,
     .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: the configuration names them",
     .complexity = "O(1)",
     .syntax = "[hard_soft: HARD | SOFT]"},
    {.name = "cluster|saveconfig",
     .arity = 2,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: nothing is kept in a file of its own",
     .complexity = "O(1)"},
    {.name = "cluster|set-config-epoch",
     .arity = 3,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: there is no configuration epoch",
     .complexity = "O(1)",
     .syntax = "config-epoch(integer)"},
    {.name = "cluster|setslot",
     .arity = -4,
     .flags = REFUSED,
     .group = GROUP_CLUSTER,
     .since = "3.0.0",
     .summary = "Not for proxies: the configuration assigns slots",
     .complexity = "O(1)",
     .syntax = "slot <subcommand: IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>"},
    {.name = "cluster|shards",
     .arity = 2,
     .flags = CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .tips = "nondeterministic_output",
     .since = "7.0.0",
     .summary = "The slots of each member, with its addresses",
     .complexity = "O(N) with the proxies"},
    {.name = "cluster|slaves",
     .arity = 3,
     .flags = CMD_ADMIN | CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .tips = "nondeterministic_output",
     .since = "3.0.0",
     .deprecated = "5.0.0 `CLUSTER REPLICAS`",
     .summary = "Former name of CLUSTER REPLICAS",
     .complexity = "O(1)",
     .syntax = "node-id"},
    {.name = "cluster|slots",
     .arity = 2,
     .flags = CMD_STALE | CMD_SESSION,
     .group = GROUP_CLUSTER,
     .tips = "nondeterministic_output",
     .since = "3.0.0",
     .deprecated = "7.0.0 `CLUSTER SHARDS`",
     .summary = "The ranges of slots and who serves them",
     .complexity = "O(N) with the proxies"},
    {.name = NULL},
};

const struct cmd cmds_cluster[] = {
    {.name = "cluster",
     .arity = -2,
     .group = GROUP_CLUSTER,
     .handler = cmd_container,
     .since = "3.0.0",
     .summary = "The proxies as a Redis Cluster; its subcommands",
     .complexity = "Depends on subcommand.",
     .subs = cluster_subs},
    {.name = NULL},
};
