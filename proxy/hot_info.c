/* What INFO says of the symmetric cache. */
#include "proxy/hot_private.h"

/* In info_sum.own: the last places, below them are those of info.c. */
#define COUNTS (sizeof(struct hot_stats) / sizeof(uint64_t))
#define FIRST (INFO_OWN_MAX - COUNTS)

void hot_info_add(const struct proxy_worker *pw, struct info_sum *sum)
{
    const struct hot_stats *s = hot_stats(pw);
    size_t i = FIRST;
#define X(name, what) sum->own[i++] += s->name;
    HOT_COUNTS(X)
#undef X
}

void hot_info_own(const struct proxy_worker *pw, const struct info_sum *sum, struct info_out *o)
{
    if (!info_section(o, "Hotcache")) {
        return;
    }
    char line[256];
    hot_describe(pw, line, sizeof line);
    info_field(o, "hotcache_worker", "%s", line); /* of the worker that was asked */
    info_field(o, "hotcache_entries", "%u",
               atomic_load_explicit(&hot_counts->entries, memory_order_relaxed));
    info_field(o, "hotcache_bytes", "%llu",
               (unsigned long long)atomic_load_explicit(&hot_counts->bytes, memory_order_relaxed));
    info_field(
        o, "hotcache_no_room", "%llu",
        (unsigned long long)atomic_load_explicit(&hot_counts->no_room, memory_order_relaxed));
    size_t i = FIRST;
#define X(name, what) info_field(o, "hotcache_" #name, "%llu", (unsigned long long)sum->own[i++]);
    HOT_COUNTS(X)
#undef X
    hot_peers_info(pw, o);
}
