#ifndef BACKENDS_TYPES_HASH_H
#define BACKENDS_TYPES_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/types/dict.h"
#include "common/num.h"
#include "common/span.h"

/* Hashes: field -> value. Small ones are a pack of field, value, field, value ...; large ones a
 * dict. What is changed is passed as the address of the object, since the block may move or take
 * another form: put the result back into the entry. Spans given back live until the hash changes,
 * or until tmp (NUM_I64_MAX bytes of the caller's) is used again. */
struct hash;

/* When a hash leaves the packed form: hash-max-listpack-entries and -value. */
struct hash_limits {
    uint64_t entries, value_bytes;
};

struct hash *hash_new(void);
void hash_free(struct hash *h); /* at once; NULL allowed */
size_t hash_count(const struct hash *h);
bool hash_is_packed(const struct hash *h);

bool hash_get(const struct hash *h, struct span field, char *tmp,
              struct span *value); /* false: no such field */
bool hash_put(struct hash **h, struct span field, struct span value,
              struct hash_limits limits); /* true: the field is new */
bool hash_remove(
    struct hash **h,
    struct span field); /* true: it was there. May leave an empty hash: delete the key then */

struct hash_iter {
    const struct hash *h;
    size_t pos;
    struct dict_iter it;
    char field_tmp[NUM_I64_MAX], value_tmp[NUM_I64_MAX];
};
struct hash_iter hash_iter(const struct hash *h);
bool hash_next(struct hash_iter *it, struct span *field, struct span *value);

typedef void (*hash_fn)(void *arg, struct span field, struct span value);
/* As dict_scan; a packed hash is visited as a whole. */
uint64_t hash_scan(const struct hash *h, uint64_t cursor, hash_fn fn, void *arg);
/* One field, each with the same probability; and n different ones (n <= count). The hash must not
 * be empty. */
void hash_random(const struct hash *h, uint64_t *rng, hash_fn fn, void *arg);
void hash_sample(const struct hash *h, size_t n, uint64_t *rng, hash_fn fn, void *arg);

#endif
