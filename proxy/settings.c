/* The options of halcyon-proxy beyond those that both daemons have. */
#include "proxy/settings.h"

#include "proxy/hot_rules.h"

static enum err check_proxies(const char *value, struct errmsg *why)
{
    struct cfg_strings w;
    enum err e = cfg_split(span_str(value), &w);
    if (e != OK) {
        return errmsg_set(why, e, "unbalanced quotes");
    }
    for (size_t i = 0; e == OK && i < w.n; i++) {
        char host[CLUSTER_HOST_MAX];
        uint16_t port;
        e = cluster_parse_endpoint(span_str(w.v[i]), host, &port);
        if (e != OK) {
            errmsg_set(why, e, "'%s' is not host:port", w.v[i]);
        }
    }
    cfg_strings_free(&w);
    return e;
}

#define AT(field) offsetof(struct proxy_settings, field)

const struct cfg_option proxy_options[] = {
    {.name = "proxies",
     .type = CFG_WORDS,
     .offset = AT(proxies),
     .def = "",
     .min = 0,
     .max = 1000,
     .section = "Cluster",
     .help =
         "host:port of every proxy, this one included, the same words in the same order at each. "
         "With two or more, CLUSTER SLOTS, SHARDS and NODES present them to clients as the "
         "masters of a Redis Cluster with the slots spread evenly; any proxy serves any slot. With "
         "`membership builtin` those that are there now are presented, and one word, this proxy's "
         "own, is enough.",
     .check = check_proxies},
    {.name = "cluster-announce-ip",
     .type = CFG_STRING,
     .offset = AT(announce_ip),
     .def = "",
     .max = CLUSTER_HOST_MAX - 1,
     .section = "Cluster",
     .help = "Which of the hosts in `proxies` is this one, when its port alone does not tell."},
    {.name = "cluster-announce-port",
     .type = CFG_INT,
     .offset = AT(announce_port),
     .def = "0",
     .min = 0,
     .max = 65535,
     .section = "Cluster",
     .help = "The port under which `proxies` names this one, when it is not `port`. 0: it is."},
    {.name = "peer-port",
     .type = CFG_INT,
     .offset = AT(peer_port),
     .def = "0",
     .min = 0,
     .max = 65535,
     .section = "Cluster",
     .help = "Where other proxies reach this one's worker 0; worker i listens i above. 0: `port` "
             "plus 10000."},
    {.name = "masteruser",
     .type = CFG_STRING,
     .offset = AT(node_user),
     .def = "",
     .section = "Nodes",
     .help = "User name for AUTH at the nodes. Empty: the default user."},
    {.name = "masterauth",
     .type = CFG_STRING,
     .flags = CFG_RUNTIME | CFG_SECRET,
     .offset = AT(node_password),
     .def = "",
     .section = "Nodes",
     .help = "Password for AUTH at the nodes. Empty: no AUTH is sent."},
    {.name = "backend-timeout",
     .type = CFG_INT,
     .flags = CFG_RUNTIME,
     .offset = AT(backend_timeout_ms),
     .def = "5000",
     .min = 0,
     .max = 3600000,
     .section = "Nodes",
     .help = "Milliseconds without any progress on a connection to a node, while requests are open "
             "on it, after which the node is given up. 0: never."},
    {.name = "backend-connect-timeout",
     .type = CFG_INT,
     .flags = CFG_RUNTIME,
     .offset = AT(connect_timeout_ms),
     .def = "1000",
     .min = 1,
     .max = 3600000,
     .section = "Nodes",
     .help = "Milliseconds a connection to a node may take to be made; requests wait for it."},
    {.name = "backend-retry-max",
     .type = CFG_INT,
     .flags = CFG_RUNTIME,
     .offset = AT(retry_max_ms),
     .def = "500",
     .min = 1,
     .max = 3600000,
     .section = "Nodes",
     .help =
         "Longest pause in milliseconds between attempts to reach a node that is away; the first "
         "pauses are shorter."},
    {.name = "backend-buffer-limit",
     .type = CFG_MEMORY,
     .flags = CFG_RUNTIME,
     .offset = AT(link_bytes_max),
     .def = "64mb",
     .min = 65536,
     .max = INT64_MAX,
     .section = "Nodes",
     .help = "Bytes of open requests on one connection to a node, beyond which no further requests "
             "are read from the clients that want to reach it."},
    {.name = "hot-tracking",
     .type = CFG_BOOL,
     .flags = CFG_RUNTIME,
     .offset = AT(hot_tracking),
     .def = "yes",
     .section = "Hot keys",
     .help =
         "Whether the proxy looks for the keys used most, by sampling requests. HOTKEYS, OBJECT "
         "FREQ and the choice of what is cached need it. no: what is hot stays hot; set it at all "
         "proxies."},
    {.name = "hot-reads-min",
     .type = CFG_INT,
     .offset = AT(hot_reads_min),
     .def = "5",
     .min = 1,
     .max = 1000000000,
     .section = "Hot keys",
     .help = "Reads per second, at all proxies together, from which a key may become hot; below a "
             "quarter of it for eight seconds it is no longer. The same at all proxies."},
    {.name = "hot-pin",
     .type = CFG_WORDS,
     .flags = CFG_RUNTIME,
     .offset = AT(hot_pin),
     .def = "",
     .min = 0,
     .max = 1000,
     .section = "Hot keys",
     .help = "Patterns (as in KEYS) of keys that are cached as soon as they are used, and kept, "
             "whatever their reads and writes."},
    {.name = "hot-deny",
     .type = CFG_WORDS,
     .flags = CFG_RUNTIME,
     .offset = AT(hot_deny),
     .def = "",
     .min = 0,
     .max = 1000,
     .section = "Hot keys",
     .help = "Patterns of keys that are never cached; stronger than hot-pin."},
    {.name = "hot-prefix",
     .type = CFG_LINES,
     .flags = CFG_RUNTIME,
     .offset = AT(hot_prefix),
     .def = "",
     .section = "Hot keys",
     .help = "A prefix of keys and what becomes of them: cache (the default), observe (counted and "
             "shown, never cached), off (not even counted). The longest prefix that fits counts.",
     .check = hot_rules_check},
    {.name = "hot-cache",
     .type = CFG_BOOL,
     .flags = CFG_RUNTIME,
     .offset = AT(hot_cache),
     .def = "yes",
     .section = "Hot keys",
     .help = "Keep the hottest keys in every proxy's memory and answer their reads from there. The "
             "proxies must be a group (`membership`) and the shards have replicas. no: this proxy "
             "answers nothing from its memory, and demotes all hot keys if it coordinates them; "
             "set it at all proxies."},
    {.name = "hot-keys-max",
     .type = CFG_INT,
     .offset = AT(hot_keys_max),
     .def = "4096",
     .min = 1,
     .max = 1000000,
     .section = "Hot keys",
     .help = "How many keys may be hot at once; the same at all proxies."},
    {.name = "hot-memory-max",
     .type = CFG_MEMORY,
     .offset = AT(hot_memory_max),
     .def = "64mb",
     .min = 1 << 20,
     .max = INT64_MAX,
     .section = "Hot keys",
     .help =
         "Bytes for the hot keys and their values in one proxy; what does not fit is asked from "
         "the nodes."},
    {.name = "hot-value-max",
     .type = CFG_MEMORY,
     .offset = AT(hot_value_max),
     .def = "4kb",
     .min = 1,
     .max = 65536,
     .section = "Hot keys",
     .help = "Longer values are not kept by the proxies; the same at all of them."},
    {.name = "hot-cool",
     .type = CFG_INT,
     .offset = AT(hot_cool_ms),
     .def = "10000",
     .min = 1,
     .max = 3600000,
     .section = "Hot keys",
     .help =
         "Milliseconds for which a key that was demoted by command, or because its value cannot "
         "be kept, does not become hot again."},
};
const size_t proxy_option_count = sizeof proxy_options / sizeof proxy_options[0];
