#ifndef BACKENDS_TYPES_LIST_H
#define BACKENDS_TYPES_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/num.h"
#include "common/span.h"

/* Lists: a doubly linked chain of packs, each as large as list-max-listpack-size says (fill > 0:
 * elements; -1 .. -5: 4, 8, 16, 32, 64 KiB). An element too large to share is a node of its own.
 * Ends: O(1); by index: O(nodes). Spans given back live until the list changes, or until tmp
 * (NUM_I64_MAX bytes) is used again. */
struct list;
struct list_node;

struct list *list_new(int64_t fill);
void list_free(struct list *l); /* at once; NULL allowed */
size_t list_count(const struct list *l);

enum list_end { LIST_HEAD, LIST_TAIL };
void list_push(struct list *l, enum list_end end,
               struct span text); /* text must not point into l */
struct span list_peek(const struct list *l, enum list_end end,
                      char *tmp);                 /* not of an empty list */
void list_pop(struct list *l, enum list_end end); /* not of an empty list */

/* A place in the list: an element, or none (node NULL). Changes through another place, or without
 * one, kill it. */
struct list_place {
    struct list_node *node;
    size_t pos;
};
struct list_place
list_at(const struct list *l,
        int64_t index); /* negative: from the end; none if there is no such element */
struct list_place list_next(struct list_place p);
struct list_place list_prev(struct list_place p);
struct span list_get(struct list_place p, char *tmp);
bool list_is(struct list_place p, struct span text);
void list_replace(struct list *l, struct list_place p, struct span text);
void list_insert(struct list *l, struct list_place p, bool after, struct span text);
/* Removes the element; gives the place of the one behind it (forward) or before it, or none. */
struct list_place list_erase(struct list *l, struct list_place p, bool forward);
/* Removes n elements from start on; start + n <= count. */
void list_erase_range(struct list *l, size_t start, size_t n);

#endif
