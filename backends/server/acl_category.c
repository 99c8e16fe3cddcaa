/* Command categories: what follows from a row's flags and group, and what the row adds or takes
 * away. */
#include <string.h>

#include "backends/server/acl.h"

static const char *const names[ACL_CATEGORY_COUNT] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting"};

enum {
    KEYSPACE,
    READ,
    WRITE,
    SET,
    SORTEDSET,
    LIST,
    HASH,
    STRING,
    BITMAP,
    HYPERLOGLOG,
    GEO,
    STREAM,
    PUBSUB,
    ADMIN,
    FAST,
    SLOW,
    BLOCKING,
    DANGEROUS,
    CONNECTION,
    TRANSACTION,
    SCRIPTING
};

const char *acl_category_name(unsigned i)
{
    return names[i];
}

int acl_category_find(struct span name)
{
    for (int i = 0; i < ACL_CATEGORY_COUNT; i++) {
        if (span_is(name, names[i])) {
            return i;
        }
    }
    return -1;
}

static uint32_t of_group(enum cmd_group group)
{
    switch (group) {
    case GROUP_STRING:
        return 1u << STRING;
    case GROUP_LIST:
        return 1u << LIST;
    case GROUP_SET:
        return 1u << SET;
    case GROUP_ZSET:
        return 1u << SORTEDSET;
    case GROUP_HASH:
        return 1u << HASH;
    case GROUP_BITMAP:
        return 1u << BITMAP;
    case GROUP_HLL:
        return 1u << HYPERLOGLOG;
    case GROUP_GEO:
        return 1u << GEO;
    case GROUP_STREAM:
        return 1u << STREAM;
    case GROUP_TRANSACTIONS:
        return 1u << TRANSACTION;
    case GROUP_CONNECTION:
        return 1u << CONNECTION;
    case GROUP_SCRIPTING:
        return 1u << SCRIPTING;
    case GROUP_PUBSUB:
        return 1u << PUBSUB;
    case GROUP_GENERIC:
        return 1u << KEYSPACE;
    case GROUP_SERVER:
    case GROUP_CLUSTER:
        break;
    }
    return 0;
}

/* "@dangerous @keyspace", "-@connection" */
static uint32_t adjust(uint32_t set, const char *text)
{
    while (*text != '\0') {
        text += strspn(text, " ,");
        size_t n = strcspn(text, " ,");
        bool minus = n != 0 && text[0] == '-';
        size_t skip = minus ? 2 : 1;
        if (n > skip) {
            int i = acl_category_find(span_of(text + skip, n - skip));
            if (i >= 0) {
                set = minus ? set & ~(1u << i) : set | 1u << i;
            }
        }
        text += n;
    }
    return set;
}

uint32_t acl_categories(const struct cmd *cmd)
{
    uint32_t set = cmd->subs == NULL ? of_group(cmd->group) : 0; /* containers are only @slow */
    uint32_t f = cmd->flags;
    if ((f & CMD_WRITE) != 0) {
        set |= 1u << WRITE;
    }
    if ((f & CMD_READONLY) != 0 && cmd->group != GROUP_SCRIPTING) {
        set |= 1u << READ;
    }
    if ((f & CMD_ADMIN) != 0) {
        set |= 1u << ADMIN | 1u << DANGEROUS;
    }
    if ((f & CMD_PUBSUB) != 0) {
        set |= 1u << PUBSUB;
    }
    if ((f & CMD_BLOCKING) != 0) {
        set |= 1u << BLOCKING;
    }
    set |= (f & CMD_FAST) != 0 ? 1u << FAST : 1u << SLOW;
    return cmd->acl == NULL ? set : adjust(set, cmd->acl);
}
