#ifndef BACKENDS_TYPES_PACK_H
#define BACKENDS_TYPES_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/num.h"
#include "common/span.h"

/* A packed sequence: one block of length-prefixed elements, readable from both ends. Small hashes,
 * sets and sorted sets are one pack; a list is a chain of them. Texts that are canonical integers
 * are stored as integers (see pack.c for the format), which is invisible here: an element always
 * reads back as the text that was written.
 *
 * A position is the offset of an element in its pack; PACK_NONE is none. Changing a pack kills the
 * positions behind the change, and may move the block: every changing function takes the block and
 * gives the one to use from now on. Sizes: a pack holds at most PACK_BYTES_MAX bytes; callers look
 * at pack_fits before they add. Not thread-safe. */
struct pack;

#define PACK_NONE ((size_t)0)
#define PACK_BYTES_MAX ((size_t)1 << 30)
/* Bytes an element of this length takes at most in a pack, all included. */
#define PACK_ELEMENT_MAX(len) ((len) + 10)

struct pack *pack_new(void);
void pack_free(struct pack *p); /* takes; NULL is allowed */
struct pack *pack_copy(const struct pack *p);

size_t pack_count(const struct pack *p); /* elements */
size_t pack_bytes(const struct pack *p); /* bytes in use, header included */
bool pack_fits(
    const struct pack *p,
    size_t more_bytes); /* texts of so many bytes (sum over up to 64 elements) can be added */

/* Moving: PACK_NONE when there is no such element. index counts from 0, negative from the end (-1:
 * last); O(distance). */
size_t pack_first(const struct pack *p);
size_t pack_last(const struct pack *p);
size_t pack_next(const struct pack *p, size_t pos);
size_t pack_prev(const struct pack *p, size_t pos);
size_t pack_at(const struct pack *p, int64_t index);

/* The element's text; tmp (NUM_I64_MAX bytes) is used when it is an integer. Valid until the pack
 * changes (or tmp is used again). */
struct span pack_get(const struct pack *p, size_t pos, char *tmp);
/* True, and the number in *v, if the element is stored as an integer: exactly when its text is a
 * canonical int64. */
bool pack_get_i64(const struct pack *p, size_t pos, int64_t *v);
bool pack_is(const struct pack *p, size_t pos, struct span text);
/* The first element equal to text at from, from + (skip + 1), from + 2 * (skip + 1) ... ;
 * PACK_NONE: not there. skip 1 looks at the fields of field-value pairs. */
size_t pack_find(const struct pack *p, size_t from, struct span text, unsigned skip);

/* Changing. insert puts text before pos (PACK_NONE: at the end); the new element is then at pos.
 * text must not point into p. */
struct pack *pack_append(struct pack *p, struct span text);
struct pack *pack_append_i64(struct pack *p, int64_t v);
struct pack *pack_insert(struct pack *p, size_t pos, struct span text);
struct pack *pack_replace(struct pack *p, size_t pos, struct span text);
/* Erases n elements from pos on (fewer if the pack ends before); what followed them is at pos then
 * (or nothing). */
struct pack *pack_erase(struct pack *p, size_t pos, size_t n);
/* Appends all elements of tail (borrows); the sum of both must not exceed PACK_BYTES_MAX. */
struct pack *pack_concat(struct pack *p, const struct pack *tail);
/* Moves pos and all that follows into a new pack, *tail (given). pos may be PACK_NONE: tail is
 * empty. */
struct pack *pack_split(struct pack *p, size_t pos, struct pack **tail);

#endif
