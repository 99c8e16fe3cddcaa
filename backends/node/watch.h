#ifndef BACKENDS_NODE_WATCH_H
#define BACKENDS_NODE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"

/* Which watched keys have been written, at a node that is alone in its shard (replicas compare
 * timestamps). A bounded table from keys to numbers that are never given again: writing a key gives
 * it a new one. When it is full it is emptied: then transactions that rely on it are given up,
 * which is always allowed. */
struct watch_table;

struct watch_table *watch_new(void);
void watch_free(struct watch_table *t);
void watch_add(struct watch_table *t, struct span key);
/* 0: it is not in the table. */
uint64_t watch_version(const struct watch_table *t, struct span key);
void watch_changed(struct watch_table *t, struct span key);
void watch_changed_all(struct watch_table *t);
bool watch_any(const struct watch_table *t);

#endif
