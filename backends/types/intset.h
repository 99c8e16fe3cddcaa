#ifndef BACKENDS_TYPES_INTSET_H
#define BACKENDS_TYPES_INTSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A sorted array of different integers in one block, each 2, 4 or 8 bytes wide: as wide as the
 * widest needs. Changing functions take the block and give the one to use from now on. */
struct intset;

struct intset *intset_new(void);
void intset_free(struct intset *s);
struct intset *intset_copy(const struct intset *s);
size_t intset_count(const struct intset *s);
int64_t intset_at(const struct intset *s, size_t i); /* i < count; ascending */
bool intset_has(const struct intset *s, int64_t v);
struct intset *intset_add(struct intset *s, int64_t v, bool *added);
struct intset *intset_remove(struct intset *s, int64_t v, bool *removed);

#endif
