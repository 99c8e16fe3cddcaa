#ifndef BACKENDS_STORE_STORE_PRIVATE_H
#define BACKENDS_STORE_STORE_PRIVATE_H

#include "backends/store/store.h"
#include "backends/store/table.h"
#include "common/slot.h"

/* Shared by the files of backends/store only. */

#define POOL_SIZE 16u
#define STRING_MARKS 64u
#define STRING_MARK_LEN 4096u /* strings from here on have a mark */

struct pool_item {
    uint64_t score; /* larger: evict earlier */
    uint64_t hash;
};

struct lazy_object {
    void *object;
    enum val_type type;
};

struct dead_table { /* the keys of a FLUSHALL, being freed from pos on */
    struct table table;
    size_t dir_index;
    struct dead_table *next;
};

struct store {
    struct table table;
    /* The entry that was looked up or made last, and the hash of its key: a command or an update
     * looks the same key up again and again. NULL: it is gone. */
    struct entry *last;
    uint64_t last_hash;
    struct store_options options;
    uint64_t seen_ms; /* latest time a caller named: access clock of new entries */
    uint64_t rng;     /* of the LFU counter */

    uint64_t count[DB_COUNT], expires[DB_COUNT];
    uint64_t tombstones;

    /* A flush of one database: entries of another epoch than their database's are dead. While a bit
     * is set, the walk at flush_pos has not yet removed all of them. */
    uint32_t flushing; /* bit per database */
    uint8_t epoch[DB_COUNT];
    uint8_t flushes_open[DB_COUNT]; /* epochs since the walk last finished: at most 3 */
    uint64_t flush_pos;

    uint64_t expire_pos; /* where the next expiry sample starts */

    struct pool_item pool[POOL_SIZE]; /* worst first is at the end: sorted by rising score */
    size_t pool_count;
    enum evict_policy pool_policy;

    struct lazy_object *lazy;
    size_t lazy_count, lazy_cap;
    struct dead_table *dead;
    uint64_t dead_keys;

    /* How often long strings were written, by where their bytes are (store_string_mark). */
    uint32_t string_marks[STRING_MARKS];

    struct gather scratch;
};

/* True for what a flush of its database left behind. */
bool entry_dead_slow(const struct store *s, const struct entry *e);
static inline bool entry_dead(const struct store *s, const struct entry *e)
{
    return s->flushing != 0 && entry_dead_slow(s, e);
}

/* A key that commands can see. */
static inline bool entry_live(const struct store *s, const struct entry *e)
{
    return ent_type(e) != VAL_TOMBSTONE && !entry_dead(s, e);
}

static inline bool entry_has_object(const struct entry *e)
{
    return ent_type(e) != VAL_STRING && ent_type(e) != VAL_TOMBSTONE;
}

uint32_t access_initial(const struct store *s);
void value_free(struct store *s,
                struct entry *e); /* what hangs off it; small objects at once, big ones lazily */
void store_drop_dead(struct store *s, struct entry *e); /* an entry for which entry_dead holds */
uint64_t store_random_u64(uint64_t *rng);

#endif
