/* CLUSTER: the proxies presented to cluster clients as masters of a Redis Cluster.
 *
 * `proxies` names them, in the same order everywhere; with a membership service they are those that
 * are in the cluster map now, in the order of their addresses. The slots are dealt out evenly in
 * that order, so that every proxy gives the same answer and a cluster client spreads its load.
 * Nothing depends on a client following it: any proxy serves any slot, and -MOVED is never sent. A
 * proxy's id is computed from its host and port. */
#include <stdio.h>

#include "backends/member/membership.h"
#include "common/must.h"
#include "common/num.h"
#include "common/slot.h"
#include "proxy/proxy.h"

#define ID_LEN 40

struct member {
    char host[CLUSTER_HOST_MAX];
    uint16_t port;
    char id[ID_LEN + 1];
    unsigned first_slot, last_slot;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static void make_id(const char *name, char *id)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (const char *p = name; *p != '\0'; p++) {
        h = (h ^ (unsigned char)*p) * 0x100000001B3u;
    }
    for (unsigned i = 0; i < ID_LEN; i += 8) {
        snprintf(id + i, 9, "%08x", (unsigned)(mix(h + i) & 0xFFFFFFFFu));
    }
}

struct presented {
    unsigned count;
    unsigned me;
    struct map_address at[MAP_NODES_MAX];
};

static bool is_me(const struct proxy_settings *set, const struct map_address *a)
{
    int64_t port = set->announce_port != 0 ? set->announce_port : set->server.port;
    if (a->port != port) {
        return false;
    }
    for (size_t k = 0; set->announce_ip[0] == '\0' && k < set->server.bind.n; k++) {
        if (strcmp(a->host, set->server.bind.v[k]) == 0) {
            return true;
        }
    }
    return strcmp(a->host, set->announce_ip) == 0;
}

/* Of the configuration. This one: by port, and by the announced host if several have it. */
static void present_configured(const struct proxy_settings *set, struct presented *p)
{
    int64_t port = set->announce_port != 0 ? set->announce_port : set->server.port;
    bool found = false;
    for (size_t i = 0; i < set->proxies.n && p->count < MAP_NODES_MAX; i++) {
        struct map_address *a = &p->at[p->count];
        if (cluster_parse_endpoint(span_str(set->proxies.v[i]), a->host, &a->port) != OK) {
            unreachable(); /* checked when it was read */
        }
        if (is_me(set, a) || (!found && a->port == port)) {
            found = found || is_me(set, a);
            p->me = p->count;
        }
        p->count++;
    }
}

static bool before(const struct map_address *a, const struct map_address *b)
{
    int by_host = strcmp(a->host, b->host);
    return by_host < 0 || (by_host == 0 && a->port < b->port);
}

/* Of the map: in the order of addresses, so that one that comes back gets its slots again. */
static void present_members(const struct membership_news *n, struct presented *p)
{
    const struct map_address *mine = NULL;
    for (unsigned i = 0; i < n->map.node_count; i++) {
        const struct map_node *node = &n->map.nodes[i];
        if (node->group != MAP_PROXIES || (node->flags & MAP_MEMBER) == 0) {
            continue;
        }
        mine = node->id == n->id ? &node->at : mine;
        unsigned at = p->count++;
        for (; at > 0 && before(&node->at, &p->at[at - 1]); at--) {
            p->at[at] = p->at[at - 1];
        }
        p->at[at] = node->at;
    }
    for (unsigned i = 0; mine != NULL && i < p->count; i++) {
        p->me = map_same_address(&p->at[i], mine) ? i : p->me;
    }
}

static void present(const struct proxy_worker *pw, struct presented *p)
{
    p->count = p->me = 0;
    const struct membership_news *n = follow_news(pw);
    if (n != NULL) {
        present_members(n, p);
    }
    if (p->count == 0) {
        present_configured(pw->set, p);
    }
}

static void member_get(const struct presented *p, unsigned i, struct member *m)
{
    unsigned n = p->count;
    must(i < n);
    memcpy(m->host, p->at[i].host, sizeof m->host);
    m->port = p->at[i].port;
    struct buf name = {0};
    cluster_add_endpoint(&name, m->host, m->port);
    buf_add(&name, "", 1);
    make_id(buf_head(&name), m->id);
    buf_free(&name);
    m->first_slot = (i * SLOT_COUNT + n - 1) / n;
    m->last_slot = ((i + 1) * SLOT_COUNT + n - 1) / n - 1;
}

/* With a membership service one word in `proxies` says that they are to be presented. */
static bool is_presented(const struct proxy_settings *set)
{
    return set->proxies.n >= (set->member.membership == MEMBERSHIP_BUILTIN ? 1 : 2);
}

bool cluster_presented(const struct server *sv)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): only takes const away */
    const struct proxy_settings *set = server_worker((struct server *)(uintptr_t)sv, 0)->settings;
    return set != NULL && is_presented(set);
}

/* ---- answers ---- */

static void slots(const struct presented *p, struct resp_out *out)
{
    resp_array(out, p->count);
    for (unsigned i = 0; i < p->count; i++) {
        struct member m;
        member_get(p, i, &m);
        resp_array(out, 3);
        resp_int(out, m.first_slot);
        resp_int(out, m.last_slot);
        resp_array(out, 4);
        resp_bulk_str(out, m.host);
        resp_int(out, m.port);
        resp_bulk(out, m.id, ID_LEN);
        resp_array(out, 0);
    }
}

static void shards(const struct presented *p, struct resp_out *out)
{
    resp_array(out, p->count);
    for (unsigned i = 0; i < p->count; i++) {
        struct member m;
        member_get(p, i, &m);
        resp_map(out, 2);
        resp_bulk_str(out, "slots");
        resp_array(out, 2);
        resp_int(out, m.first_slot);
        resp_int(out, m.last_slot);
        resp_bulk_str(out, "nodes");
        resp_array(out, 1);
        resp_map(out, 7);
        resp_bulk_str(out, "id");
        resp_bulk(out, m.id, ID_LEN);
        resp_bulk_str(out, "port");
        resp_int(out, m.port);
        resp_bulk_str(out, "ip");
        resp_bulk_str(out, m.host);
        resp_bulk_str(out, "endpoint");
        resp_bulk_str(out, m.host);
        resp_bulk_str(out, "role");
        resp_bulk_str(out, "master");
        resp_bulk_str(out, "replication-offset");
        resp_int(out, 0);
        resp_bulk_str(out, "health");
        resp_bulk_str(out, "online");
    }
}

static void verbatim(struct resp_out *out, struct buf *text)
{
    resp_verbatim(out, "txt", buf_head(text), buf_used(text));
    buf_free(text);
}

static void nodes(const struct presented *p, struct resp_out *out)
{
    struct buf b = {0};
    unsigned me = p->me;
    for (unsigned i = 0; i < p->count; i++) {
        struct member m;
        member_get(p, i, &m);
        unsigned bus = m.port + 10000u;
        buf_addf(&b, "%s %s:%u@%u %smaster - 0 0 %u connected %u-%u\n", m.id, m.host, m.port,
                 bus <= 65535 ? bus : m.port, i == me ? "myself," : "", i + 1, m.first_slot,
                 m.last_slot);
    }
    verbatim(out, &b);
}

static void info(const struct presented *p, struct resp_out *out)
{
    struct buf b = {0};
    unsigned n = p->count;
    buf_addf(&b,
             "cluster_state:ok\r\ncluster_slots_assigned:%u\r\ncluster_slots_ok:%u\r\n"
             "cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:%u\r\n"
             "cluster_size:%u\r\ncluster_current_epoch:%u\r\ncluster_my_epoch:%u\r\n"
             "cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n"
             "total_cluster_links_buffer_limit_exceeded:0\r\n",
             SLOT_COUNT, SLOT_COUNT, n, n, n, p->me + 1);
    verbatim(out, &b);
}

static void help(struct resp_out *out)
{
    static const char *const lines[] = {
        "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "COUNTKEYSINSLOT <slot>",
        "    Return the number of keys in <slot>.",
        "GETKEYSINSLOT <slot> <count>",
        "    Return key names stored by the cluster in a slot.",
        "INFO",
        "    Return information about the cluster.",
        "KEYSLOT <key>",
        "    Return the hash slot for <key>.",
        "MYID",
        "    Return the node id.",
        "NODES",
        "    Return cluster configuration seen by node. Output format:",
        "    <id> <ip:port@bus-port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
        "REPLICAS <node-id>",
        "    Return <node-id> replicas: proxies have none.",
        "SLOTS",
        "    Return information about slots range mappings. Each range is made of:",
        "    start, end, master and replicas IP addresses, ports and ids",
        "SHARDS",
        "    Return information about slot range mappings and the nodes associated with them.",
        "LINKS",
        "    Return information about all network links between this node and its peers: none.",
        "HELP",
        "    Print this help.",
    };
    size_t n = sizeof lines / sizeof lines[0];
    resp_array(out, n);
    for (size_t i = 0; i < n; i++) {
        resp_simple(out, lines[i]);
    }
}

static void replicas(const struct presented *p, struct span id, struct resp_out *out)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct member m;
        member_get(p, i, &m);
        if (span_eq(id, span_str(m.id))) {
            resp_array(out, 0);
            return;
        }
    }
    resp_errorf(out, "ERR Unknown node %.*s", (int)(id.len < 128 ? id.len : 128), id.p);
}

enum session_result cluster_command(struct client *c, const struct admitted *a,
                                    const struct span *argv, int argc, struct resp_out *out,
                                    uint64_t token)
{
    (void)token;
    struct presented p;
    if (a->cmd == NULL || strncmp(a->cmd->name, "cluster", 7) != 0) {
        cmd_unknown(argv, argc, out);
        return SESSION_DONE;
    }
    const char *bar = strchr(a->cmd->name, '|');
    struct span sub = span_str(bar == NULL ? "" : bar + 1);
    if (span_is(sub, "help")) {
        help(out);
        return SESSION_DONE;
    }
    if (!is_presented(c->pw->set)) {
        resp_error(out, CLUSTER_DISABLED);
        return SESSION_DONE;
    }
    present(c->pw, &p);
    if (span_is(sub, "slots")) {
        slots(&p, out);
    } else if (span_is(sub, "shards")) {
        shards(&p, out);
    } else if (span_is(sub, "nodes")) {
        nodes(&p, out);
    } else if (span_is(sub, "info")) {
        info(&p, out);
    } else if (span_is(sub, "keyslot") && argc == 3) {
        resp_int(out, slot_of(argv[2]));
    } else if (span_is(sub, "myid")) {
        struct member m;
        member_get(&p, p.me, &m);
        resp_bulk(out, m.id, ID_LEN);
    } else if (span_is(sub, "links")) {
        resp_array(out, 0);
    } else if ((span_is(sub, "replicas") || span_is(sub, "slaves")) && argc == 3) {
        replicas(&p, argv[2], out);
    } else if (bar == NULL) {
        cmd_unknown(argv, argc, out);
    } else {
        resp_errorf(out,
                    "ERR CLUSTER %.*s is not supported: the proxies of a cluster are named by "
                    "the option proxies",
                    (int)sub.len, sub.p);
    }
    return SESSION_DONE;
}
