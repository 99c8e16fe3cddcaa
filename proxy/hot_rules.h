#ifndef PROXY_HOT_RULES_H
#define PROXY_HOT_RULES_H

#include <stdbool.h>

#include "common/cfg.h"
#include "common/span.h"

/* What the operator says of keys and the cache: hot-pin, hot-deny, hot-prefix. Keys are those that
 * clients name, of whatever database. */

enum hot_mode {
    HOT_CACHE,   /* cached when it is worth it */
    HOT_OBSERVE, /* counted and shown, never cached */
    HOT_OFF      /* not even counted */
};

struct hot_rules {
    struct cfg_strings pin, deny; /* patterns; shares the settings' */
    struct hot_prefix *prefixes;  /* longest first */
    size_t prefix_count;
};

/* Checks one line of hot-prefix: "PREFIX cache|observe|off". */
enum err hot_rules_check(const char *line, struct errmsg *why);
/* Takes the settings' values, which must live as long as the rules, or until the next set. */
void hot_rules_set(struct hot_rules *r, const struct cfg_strings *pin,
                   const struct cfg_strings *deny, const struct cfg_strings *prefix);
void hot_rules_free(struct hot_rules *r);

/* Of the longest prefix that fits; HOT_CACHE if none does. */
enum hot_mode hot_rules_mode(const struct hot_rules *r, struct span key);
bool hot_rules_pinned(const struct hot_rules *r, struct span key);
/* Denied by pattern, or observed only: must not be cached. Stronger than a pin. */
bool hot_rules_denied(const struct hot_rules *r, struct span key);

#endif
