#ifndef BACKENDS_TYPES_SET_H
#define BACKENDS_TYPES_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/types/dict.h"
#include "common/num.h"
#include "common/span.h"

/* Sets of texts: an intset while all members are canonical integers and few, else a dict. Never
 * goes back. What is changed is passed as the address of the object: put the result back into the
 * entry. Spans given back live until the set changes, or until tmp (NUM_I64_MAX bytes) is used
 * again. */
struct set;

struct set *set_new(void);
void set_free(struct set *s); /* at once; NULL allowed */
size_t set_count(const struct set *s);
bool set_has(const struct set *s, struct span member);
/* intset_max: set-max-intset-entries. True: the member is new. */
bool set_add(struct set **s, struct span member, uint64_t intset_max);
bool set_remove(struct set **s,
                struct span member); /* may leave an empty set: delete the key then */

struct set_iter {
    const struct set *s;
    size_t i;
    struct dict_iter it;
    char tmp[NUM_I64_MAX];
};
struct set_iter set_iter(const struct set *s);
bool set_next(struct set_iter *it, struct span *member);

typedef void (*set_fn)(void *arg, struct span member);
/* As dict_scan; an intset is visited as a whole. */
uint64_t set_scan(const struct set *s, uint64_t cursor, set_fn fn, void *arg);
/* One member, each with the same probability; and n different ones (n <= count). The set must not
 * be empty. */
void set_random(const struct set *s, uint64_t *rng, set_fn fn, void *arg);
void set_sample(const struct set *s, size_t n, uint64_t *rng, set_fn fn, void *arg);

#endif
