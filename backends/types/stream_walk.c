/* Streams: trimming, and walking over ranges of entries. */
#include "backends/types/stream_private.h"
#include "common/mem.h"

/* ---- trimming ---- */

/* Takes entries off the front of a node that stays. */
static uint64_t trim_node(struct stream *s, struct node *n, const struct stream_trim *t)
{
    struct cursor c = stream_cursor_first(n);
    size_t start = c.pos;
    size_t elements = 0;
    uint64_t gone = 0;
    while (c.pos != PACK_NONE) {
        if (t->by_id ? stream_id_compare(c.id, t->min) >= 0 : s->length - gone <= t->length_max) {
            break;
        }
        elements += c.elements;
        gone++;
        stream_cursor_next(&c);
    }
    if (gone != 0) {
        n->pack = pack_erase(n->pack, start, elements);
        n->live -= (uint32_t)gone;
        s->length -= gone;
    }
    return gone;
}

/* What to do with the node at the front: it has `live` entries, `last` is its newest, `length` that
 * of the whole stream. */
enum trim_step { TRIM_STOP, TRIM_NODE, TRIM_INSIDE };

static enum trim_step trim_step(const struct stream_trim *t, uint64_t length, uint64_t live,
                                struct stream_id last, uint64_t gone)
{
    if (!t->by_id && length <= t->length_max) {
        return TRIM_STOP;
    }
    if (t->limit != 0 && gone + live > t->limit) {
        return TRIM_STOP;
    }
    bool whole = t->by_id ? stream_id_compare(last, t->min) < 0 : length - live >= t->length_max;
    if (whole) {
        return TRIM_NODE;
    }
    return t->approximate ? TRIM_STOP : TRIM_INSIDE;
}

static struct stream_id newest(const struct node *n, const struct stream_trim *t)
{
    return t->by_id ? stream_cursor_last(n).id : STREAM_ID_MIN;
}

uint64_t stream_trim(struct stream *s, const struct stream_trim *t)
{
    uint64_t gone = 0;
    while (s->length != 0) {
        struct node *n = stream_first_node(s);
        uint64_t live = n->live;
        enum trim_step step = trim_step(t, s->length, live, newest(n, t), gone);
        if (step == TRIM_INSIDE) {
            gone += trim_node(s, n, t);
        }
        if (step != TRIM_NODE) {
            break;
        }
        stream_remove_node(s, stream_first_spot(s));
        s->length -= live;
        gone += live;
    }
    return gone;
}

/* How many entries of a node that is cut inside go. */
static uint64_t plan_inside(const struct node *n, const struct stream_trim *t, uint64_t length)
{
    if (!t->by_id) {
        return length - t->length_max;
    }
    uint64_t gone = 0;
    struct cursor c = stream_cursor_first(n);
    for (; c.pos != PACK_NONE && stream_id_compare(c.id, t->min) < 0; gone++) {
        stream_cursor_next(&c);
    }
    return gone;
}

uint64_t stream_trim_plan(const struct stream *s, const struct stream_trim *t,
                          const struct stream_id *appended, size_t pairs_bytes,
                          struct stream_limits limits)
{
    uint64_t extra = appended != NULL;
    bool own_node = appended != NULL && stream_needs_node(s, pairs_bytes, limits);
    uint64_t length = s->length + extra;
    uint64_t gone = 0;
    struct spot at = stream_first_spot(s);
    for (bool more = s->chunk_count != 0; more;) {
        const struct node *n = stream_node_at(s, at);
        more = stream_spot_next(s, &at);
        bool grown = !more && appended != NULL && !own_node;
        uint64_t live = n->live + grown;
        struct stream_id last = grown ? *appended : newest(n, t);
        enum trim_step step = trim_step(t, length, live, last, gone);
        if (step == TRIM_INSIDE) {
            return gone + plan_inside(n, t, length);
        }
        if (step == TRIM_STOP) {
            return gone;
        }
        gone += live;
        length -= live;
    }
    if (own_node && trim_step(t, length, 1, *appended, gone) == TRIM_NODE) {
        gone++;
    }
    return gone;
}

/* ---- walking ---- */

static struct stream_entry entry_of(const struct cursor *c)
{
    return (struct stream_entry){.id = c->id,
                                 .n = c->fields,
                                 .pack = c->n->pack,
                                 .field_pos = c->same_fields ? c->master_pos : c->data_pos,
                                 .value_pos = c->data_pos,
                                 .same_fields = c->same_fields};
}

static bool in_range(const struct stream_range *r, struct stream_id id)
{
    return stream_id_compare(id, r->start) >= 0 && stream_id_compare(id, r->end) <= 0;
}

/* The entries of one node in the range, forwards; returns how many fn saw. */
static uint64_t walk_node(const struct node *n, const struct stream_range *r, uint64_t most,
                          stream_fn fn, void *arg)
{
    uint64_t seen = 0;
    for (struct cursor c = stream_cursor_first(n); c.pos != PACK_NONE && seen != most;
         stream_cursor_next(&c)) {
        if (stream_id_compare(c.id, r->end) > 0) {
            break;
        }
        if (stream_id_compare(c.id, r->start) >= 0) {
            struct stream_entry e = entry_of(&c);
            fn(arg, &e);
            seen++;
        }
    }
    return seen;
}

/* The same backwards: entries can only be read forwards, so their places are noted first. */
static uint64_t walk_node_back(const struct node *n, const struct stream_range *r, uint64_t most,
                               stream_fn fn, void *arg)
{
    struct cursor *all = mem_alloc(n->live * sizeof *all);
    size_t count = 0;
    for (struct cursor c = stream_cursor_first(n); c.pos != PACK_NONE; stream_cursor_next(&c)) {
        if (in_range(r, c.id)) {
            all[count++] = c;
        }
    }
    uint64_t seen = 0;
    while (count != 0 && seen != most) {
        struct stream_entry e = entry_of(&all[--count]);
        fn(arg, &e);
        seen++;
    }
    mem_free(all);
    return seen;
}

uint64_t stream_walk(const struct stream *s, const struct stream_range *r, stream_fn fn, void *arg)
{
    if (s->length == 0 || stream_id_compare(r->start, r->end) > 0) {
        return 0;
    }
    uint64_t seen = 0;
    struct spot at = stream_find_spot(s, r->reverse ? r->end : r->start);
    bool more = true;
    while (more && (r->count == 0 || seen < r->count)) {
        const struct node *n = stream_node_at(s, at);
        uint64_t most = r->count == 0 ? UINT64_MAX : r->count - seen;
        if (r->reverse) {
            seen += walk_node_back(n, r, most, fn, arg);
            more = stream_id_compare(n->base, r->start) > 0 && stream_spot_previous(s, &at);
        } else {
            if (stream_id_compare(n->base, r->end) > 0) {
                break;
            }
            seen += walk_node(n, r, most, fn, arg);
            more = stream_spot_next(s, &at);
        }
    }
    return seen;
}
