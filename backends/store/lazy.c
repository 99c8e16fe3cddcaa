/* Emptying and lazy freeing: everything that is dead is removed in slices by store_lazy_step.
 *
 * FLUSHALL puts the whole table aside and starts with a new one. FLUSHDB n advances the database's
 * epoch, which makes its entries invisible at once (entry_dead), and walks the table to remove
 * them; the walk starts anew when another database is flushed meanwhile. An epoch has two bits: a
 * database flushed a fourth time before the walk ended is walked at once. */
#include "backends/store/store_private.h"

#include "backends/types/object.h"
#include "common/mem.h"
#include "common/must.h"

void store_lazy_add(struct store *s, enum val_type type, void *object)
{
    if (s->lazy_count == s->lazy_cap) {
        s->lazy_cap = s->lazy_cap == 0 ? 16 : s->lazy_cap * 2;
        s->lazy = mem_realloc(s->lazy, s->lazy_cap * sizeof *s->lazy);
    }
    s->lazy[s->lazy_count++] = (struct lazy_object){.object = object, .type = type};
}

uint64_t store_lazy_pending(const struct store *s)
{
    return s->dead_keys + s->lazy_count;
}

static void flush_all(struct store *s)
{
    if (s->table.count != 0) {
        struct dead_table *d = mem_zalloc(sizeof *d);
        d->table = s->table;
        d->next = s->dead;
        s->dead = d;
        s->dead_keys =
            0; /* what a flush of one database still had to remove is in these tables too */
        for (const struct dead_table *i = s->dead; i != NULL; i = i->next) {
            s->dead_keys += i->table.count;
        }
        table_init(&s->table, d->table.seed);
    }
    memset(s->count, 0, sizeof s->count);
    memset(s->expires, 0, sizeof s->expires);
    memset(s->flushes_open, 0, sizeof s->flushes_open);
    s->tombstones = 0;
    s->flushing = 0;
    s->pool_count = 0;
    s->last = NULL;
}

static bool only_database(const struct store *s, unsigned db)
{
    if (s->tombstones != 0 || s->flushing != 0) {
        return false;
    }
    for (unsigned i = 0; i < DB_COUNT; i++) {
        if (i != db && s->count[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Removes dead entries from flush_pos on; returns the budget that is left, with flushing == 0 when
 * the end was reached. */
static size_t flush_walk(struct store *s, size_t budget)
{
    while (budget != 0) {
        uint64_t next = table_gather(&s->table, s->flush_pos, &s->scratch);
        size_t visited = s->scratch.count;
        for (size_t i = 0; i < visited; i++) {
            if (entry_dead(s, s->scratch.e[i])) {
                store_drop_dead(s, s->scratch.e[i]);
            }
        }
        budget = budget > visited + 1 ? budget - visited - 1 : 0;
        s->flush_pos = next;
        if (next == 0) {
            s->flushing = 0;
            memset(s->flushes_open, 0, sizeof s->flushes_open);
            break;
        }
    }
    return budget;
}

void store_flush(struct store *s, int db)
{
    if (db < 0 || only_database(s, (unsigned)db)) {
        flush_all(s);
        return;
    }
    if (s->flushes_open[db] == 3) {
        flush_walk(s, SIZE_MAX);
    }
    s->dead_keys += s->count[db];
    s->count[db] = 0;
    s->expires[db] = 0;
    s->epoch[db]++;
    s->flushes_open[db]++;
    s->flushing |= 1u << db;
    s->flush_pos = 0;
}

/* Frees one segment's entries of a table that was put aside. */
static size_t free_segment(struct store *s, struct dead_table *d, size_t budget)
{
    struct table *t = &d->table;
    struct seg *seg = t->dir[d->dir_index].seg;
    size_t freed = 1;
    for (unsigned at = 0; at < seg->buckets; at++) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            char *slot = seg->b[at].slot[i];
            if (slot != NULL) {
                value_free(s, slot_entry(slot));
                mem_free(slot_entry(slot));
                freed++;
            }
        }
    }
    for (uint32_t i = 0; i < seg->spill_count; i++) {
        value_free(s, slot_entry(seg->spill[i]));
        mem_free(slot_entry(seg->spill[i]));
    }
    t->count -= seg->count;
    s->dead_keys -= seg->count;
    d->dir_index += (size_t)1 << (64 - t->shift - seg->depth);
    mem_free(seg->spill);
    mem_free(seg);
    return budget > freed ? budget - freed : 0;
}

static size_t free_dead_tables(struct store *s, size_t budget)
{
    while (budget != 0 && s->dead != NULL) {
        struct dead_table *d = s->dead;
        budget = free_segment(s, d, budget);
        if (d->dir_index == table_dir_size(&d->table)) {
            mem_free(d->table.dir);
            s->dead = d->next;
            mem_free(d);
        }
    }
    return budget;
}

bool store_lazy_step(struct store *s, size_t budget)
{
    if (s->flushing != 0) {
        budget = flush_walk(s, budget);
    }
    budget = free_dead_tables(s, budget);
    while (budget != 0 && s->lazy_count != 0) {
        struct lazy_object *o = &s->lazy[s->lazy_count - 1];
        const struct object_ops *ops = object_ops(o->type);
        size_t count = ops->count(o->object);
        size_t slice = count < budget ? count + 1 : budget;
        if (!ops->free_step(o->object, slice)) {
            s->lazy_count--;
        }
        budget = budget > slice ? budget - slice : 0;
    }
    if (s->lazy_count == 0 && s->lazy_cap > 1024) {
        mem_free(s->lazy);
        s->lazy = NULL;
        s->lazy_cap = 0;
    }
    return s->flushing != 0 || s->dead != NULL || s->lazy_count != 0;
}
