/* Streams: entries packed into nodes, nodes in chunks, chunks in an array.
 *
 * A node is a pack: the number of master fields and the fields of its first entry, then entries:
 *
 *   flag   1: the entry has the master fields, only values follow; 0: a count, then field, value
 * ... ms, seq  of the id, less those of the node's base, modulo 2^64
 *
 * An entry removed is cut out of its pack; a node without entries goes. The base of a node (the id
 * of the first entry it ever had) stays. `added` counts the entries a node ever had: it decides
 * when a node is full, so that nodes have the same borders as in Redis whatever was deleted.
 *
 * A chunk is an array of up to CHUNK nodes; nodes are added to the last chunk only and taken out
 * anywhere. So nothing proportional to the stream is ever moved, but for the array of chunks (a
 * pointer per 12,800 entries). */
#include "backends/types/stream.h"

#include "backends/types/dump.h"
#include "backends/types/pack.h"
#include "backends/types/types.h"
#include "common/mem.h"
#include "common/must.h"

#define CHUNK 128u
/* Of nodes made by load, which knows no configuration. */
#define LOAD_NODE_BYTES 4096
#define LOAD_NODE_ENTRIES 100

struct node {
    struct stream_id base;
    struct pack *pack;
    uint32_t live;
    uint32_t added;
};

struct chunk {
    uint32_t first, end, cap; /* node[first..end) are in use */
    struct node node[];
};

struct stream {
    uint64_t length;
    uint64_t nodes;
    uint64_t entries_added;
    struct stream_id last;
    struct stream_id max_deleted;
    struct chunk **chunk;
    size_t chunk_count, chunk_cap;
};

/* ---- ids ---- */

int stream_id_compare(struct stream_id a, struct stream_id b)
{
    if (a.ms != b.ms) {
        return a.ms < b.ms ? -1 : 1;
    }
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}

bool stream_id_next(struct stream_id *id)
{
    if (id->seq != UINT64_MAX) {
        id->seq++;
        return true;
    }
    if (id->ms == UINT64_MAX) {
        return false;
    }
    *id = (struct stream_id){id->ms + 1, 0};
    return true;
}

bool stream_id_previous(struct stream_id *id)
{
    if (id->seq != 0) {
        id->seq--;
        return true;
    }
    if (id->ms == 0) {
        return false;
    }
    *id = (struct stream_id){id->ms - 1, UINT64_MAX};
    return true;
}

size_t stream_id_format(char *out, struct stream_id id)
{
    size_t n = num_fmt_u64(out, id.ms);
    out[n++] = '-';
    return n + num_fmt_u64(out + n, id.seq);
}

/* ---- nodes ---- */

static struct node *last_node(const struct stream *s)
{
    if (s->chunk_count == 0) {
        return NULL;
    }
    struct chunk *c = s->chunk[s->chunk_count - 1];
    return &c->node[c->end - 1];
}

static struct node *first_node(const struct stream *s)
{
    return s->chunk_count == 0 ? NULL : &s->chunk[0]->node[s->chunk[0]->first];
}

static size_t chunk_bytes(uint32_t nodes)
{
    return sizeof(struct chunk) + nodes * sizeof(struct node);
}

static struct chunk *chunk_with_room(struct stream *s)
{
    struct chunk **last = s->chunk_count == 0 ? NULL : &s->chunk[s->chunk_count - 1];
    if (last != NULL && (*last)->end < (*last)->cap) {
        return *last;
    }
    if (last != NULL && (*last)->cap < CHUNK) {
        uint32_t cap = (*last)->cap * 2;
        *last = mem_realloc(*last, chunk_bytes(cap));
        (*last)->cap = cap;
        return *last;
    }
    if (s->chunk_count == s->chunk_cap) {
        s->chunk_cap = s->chunk_cap == 0 ? 1 : s->chunk_cap * 2;
        s->chunk = mem_realloc(s->chunk, s->chunk_cap * sizeof(struct chunk *));
    }
    uint32_t cap = last == NULL ? 1 : CHUNK;
    struct chunk *c = mem_alloc(chunk_bytes(cap));
    *c = (struct chunk){.cap = cap};
    s->chunk[s->chunk_count++] = c;
    return c;
}

static struct node *add_node(struct stream *s, struct stream_id base)
{
    struct chunk *c = chunk_with_room(s);
    struct node *n = &c->node[c->end++];
    *n = (struct node){.base = base};
    s->nodes++;
    return n;
}

/* Where a node is. */
struct spot {
    size_t chunk;
    uint32_t node;
};

static struct node *node_at(const struct stream *s, struct spot at)
{
    return &s->chunk[at.chunk]->node[at.node];
}

static struct spot first_spot(const struct stream *s)
{
    return (struct spot){0, s->chunk_count == 0 ? 0 : s->chunk[0]->first};
}

static bool spot_next(const struct stream *s, struct spot *at)
{
    if (++at->node < s->chunk[at->chunk]->end) {
        return true;
    }
    if (++at->chunk == s->chunk_count) {
        return false;
    }
    at->node = s->chunk[at->chunk]->first;
    return true;
}

static bool spot_previous(const struct stream *s, struct spot *at)
{
    if (at->node != s->chunk[at->chunk]->first) {
        at->node--;
        return true;
    }
    if (at->chunk == 0) {
        return false;
    }
    at->chunk--;
    at->node = s->chunk[at->chunk]->end - 1;
    return true;
}

static void remove_node(struct stream *s, struct spot at)
{
    struct chunk *c = s->chunk[at.chunk];
    pack_free(c->node[at.node].pack);
    s->nodes--;
    if (at.node == c->first) {
        c->first++;
    } else {
        memmove(&c->node[at.node], &c->node[at.node + 1],
                (c->end - at.node - 1) * sizeof(struct node));
        c->end--;
    }
    if (c->first == c->end) {
        mem_free(c);
        s->chunk_count--;
        memmove(&s->chunk[at.chunk], &s->chunk[at.chunk + 1],
                (s->chunk_count - at.chunk) * sizeof(struct chunk *));
    }
}

/* The last node whose base is not above id, or the first node. The stream has nodes. */
static struct spot find_spot(const struct stream *s, struct stream_id id)
{
    size_t low = 0;
    size_t high = s->chunk_count;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        const struct chunk *c = s->chunk[mid];
        if (stream_id_compare(c->node[c->first].base, id) <= 0) {
            low = mid;
        } else {
            high = mid;
        }
    }
    const struct chunk *c = s->chunk[low];
    uint32_t a = c->first;
    uint32_t b = c->end;
    while (b - a > 1) {
        uint32_t mid = a + (b - a) / 2;
        if (stream_id_compare(c->node[mid].base, id) <= 0) {
            a = mid;
        } else {
            b = mid;
        }
    }
    return (struct spot){low, a};
}

/* ---- entries in a node ---- */

/* An entry being looked at: where it is, and in `next` where the one behind it is. */
struct cursor {
    const struct node *n;
    size_t master_count;
    size_t master_pos;
    size_t pos; /* of the flag; PACK_NONE: no entry */
    size_t data_pos;
    size_t fields;
    size_t elements; /* of the pack, all of the entry's */
    bool same_fields;
    struct stream_id id;
};

static int64_t number_at(const struct pack *p, size_t pos)
{
    int64_t v = 0;
    must(pack_get_i64(p, pos, &v));
    return v;
}

static size_t skip(const struct pack *p, size_t pos, size_t n)
{
    for (; n != 0; n--) {
        pos = pack_next(p, pos);
    }
    return pos;
}

static void cursor_read(struct cursor *c)
{
    if (c->pos == PACK_NONE) {
        return;
    }
    const struct pack *p = c->n->pack;
    c->same_fields = number_at(p, c->pos) == 1;
    size_t pos = pack_next(p, c->pos);
    c->id.ms = c->n->base.ms + (uint64_t)number_at(p, pos);
    pos = pack_next(p, pos);
    c->id.seq = c->n->base.seq + (uint64_t)number_at(p, pos);
    pos = pack_next(p, pos);
    c->fields = c->master_count;
    c->elements = 3 + c->master_count;
    if (!c->same_fields) {
        c->fields = (size_t)number_at(p, pos);
        pos = pack_next(p, pos);
        c->elements = 4 + 2 * c->fields;
    }
    c->data_pos = pos;
}

static struct cursor cursor_first(const struct node *n)
{
    struct cursor c = {.n = n};
    size_t pos = pack_first(n->pack);
    c.master_count = (size_t)number_at(n->pack, pos);
    c.master_pos = pack_next(n->pack, pos);
    c.pos = skip(n->pack, pos, c.master_count + 1);
    cursor_read(&c);
    return c;
}

static void cursor_next(struct cursor *c)
{
    size_t values = c->same_fields ? c->fields : 2 * c->fields;
    c->pos = skip(c->n->pack, c->data_pos, values);
    cursor_read(c);
}

static struct cursor cursor_last(const struct node *n)
{
    struct cursor c = cursor_first(n);
    struct cursor last = c;
    while (c.pos != PACK_NONE) {
        last = c;
        cursor_next(&c);
    }
    return last;
}

static struct stream_entry entry_of(const struct cursor *c)
{
    return (struct stream_entry){.id = c->id,
                                 .n = c->fields,
                                 .pack = c->n->pack,
                                 .field_pos = c->same_fields ? c->master_pos : c->data_pos,
                                 .value_pos = c->data_pos,
                                 .same_fields = c->same_fields};
}

void stream_entry_read(struct stream_entry *e, struct span *field, struct span *value)
{
    const struct pack *p = e->pack;
    *field = pack_get(p, e->field_pos, e->field_tmp);
    if (e->same_fields) {
        e->field_pos = pack_next(p, e->field_pos);
    } else {
        e->value_pos = pack_next(p, e->field_pos);
    }
    *value = pack_get(p, e->value_pos, e->value_tmp);
    e->value_pos = pack_next(p, e->value_pos);
    if (!e->same_fields) {
        e->field_pos = e->value_pos;
    }
}

/* ---- the stream ---- */

struct stream *stream_new(void)
{
    return mem_zalloc(sizeof(struct stream));
}

struct stream_facts stream_facts(const struct stream *s)
{
    struct stream_facts f = {.length = s->length,
                             .nodes = s->nodes,
                             .entries_added = s->entries_added,
                             .last = s->last,
                             .max_deleted = s->max_deleted};
    if (s->length != 0) {
        f.first = cursor_first(first_node(s)).id;
        f.top = cursor_last(last_node(s)).id;
    }
    return f;
}

struct stream_id stream_last(const struct stream *s)
{
    return s->last;
}

void stream_set_last(struct stream *s, struct stream_id last)
{
    s->last = last;
}

void stream_set_added(struct stream *s, uint64_t entries_added)
{
    s->entries_added = entries_added;
}

void stream_set_max_deleted(struct stream *s, struct stream_id id)
{
    s->max_deleted = id;
}

size_t stream_pairs_bytes(const struct span *pairs, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < 2 * n; i++) {
        bytes += pairs[i].len;
    }
    return bytes;
}

static bool needs_node(const struct stream *s, size_t pairs_bytes, struct stream_limits limits)
{
    const struct node *n = last_node(s);
    if (n == NULL) {
        return true;
    }
    uint64_t most = limits.node_bytes;
    if (most == 0 || most > PACK_BYTES_MAX / 2) {
        most = PACK_BYTES_MAX / 2;
    }
    return pack_bytes(n->pack) + pairs_bytes >= most ||
           (limits.node_entries != 0 && n->added >= limits.node_entries) || n->added == UINT32_MAX;
}

static bool has_master_fields(const struct node *n, const struct span *pairs, size_t count)
{
    size_t pos = pack_first(n->pack);
    if (number_at(n->pack, pos) != (int64_t)count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        pos = pack_next(n->pack, pos);
        if (!pack_is(n->pack, pos, pairs[2 * i])) {
            return false;
        }
    }
    return true;
}

bool stream_can_hold(const struct span *pairs, size_t n)
{
    return stream_pairs_bytes(pairs, n) / 2 + 20 * n < PACK_BYTES_MAX / 4;
}

void stream_append(struct stream *s, struct stream_id id, const struct span *pairs, size_t n,
                   struct stream_limits limits)
{
    size_t bytes = stream_pairs_bytes(pairs, n);
    must(stream_id_compare(id, s->last) > 0);
    struct node *node = last_node(s);
    if (needs_node(s, bytes, limits)) {
        node = add_node(s, id);
        node->pack = pack_append_i64(pack_new(), (int64_t)n);
        for (size_t i = 0; i < n; i++) {
            node->pack = pack_append(node->pack, pairs[2 * i]);
        }
    }
    bool same = node->added == 0 || has_master_fields(node, pairs, n);
    struct pack *p = node->pack;
    p = pack_append_i64(p, same);
    p = pack_append_i64(p, (int64_t)(id.ms - node->base.ms));
    p = pack_append_i64(p, (int64_t)(id.seq - node->base.seq));
    if (!same) {
        p = pack_append_i64(p, (int64_t)n);
    }
    for (size_t i = 0; i < n; i++) {
        if (!same) {
            p = pack_append(p, pairs[2 * i]);
        }
        p = pack_append(p, pairs[2 * i + 1]);
    }
    node->pack = p;
    node->live++;
    node->added++;
    s->length++;
    s->entries_added++;
    s->last = id;
}

bool stream_delete(struct stream *s, struct stream_id id)
{
    if (s->length == 0) {
        return false;
    }
    struct spot at = find_spot(s, id);
    struct node *n = node_at(s, at);
    struct cursor c = cursor_first(n);
    while (c.pos != PACK_NONE && stream_id_compare(c.id, id) < 0) {
        cursor_next(&c);
    }
    if (c.pos == PACK_NONE || stream_id_compare(c.id, id) != 0) {
        return false;
    }
    s->length--;
    if (--n->live == 0) {
        remove_node(s, at);
    } else {
        n->pack = pack_erase(n->pack, c.pos, c.elements);
    }
    if (stream_id_compare(id, s->max_deleted) > 0) {
        s->max_deleted = id;
    }
    return true;
}

/* ---- trimming ---- */

/* Takes entries off the front of a node that stays. */
static uint64_t trim_node(struct stream *s, struct node *n, const struct stream_trim *t)
{
    struct cursor c = cursor_first(n);
    size_t start = c.pos;
    size_t elements = 0;
    uint64_t gone = 0;
    while (c.pos != PACK_NONE) {
        if (t->by_id ? stream_id_compare(c.id, t->min) >= 0 : s->length - gone <= t->length_max) {
            break;
        }
        elements += c.elements;
        gone++;
        cursor_next(&c);
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
    return t->by_id ? cursor_last(n).id : STREAM_ID_MIN;
}

uint64_t stream_trim(struct stream *s, const struct stream_trim *t)
{
    uint64_t gone = 0;
    while (s->length != 0) {
        struct node *n = first_node(s);
        uint64_t live = n->live;
        enum trim_step step = trim_step(t, s->length, live, newest(n, t), gone);
        if (step == TRIM_INSIDE) {
            gone += trim_node(s, n, t);
        }
        if (step != TRIM_NODE) {
            break;
        }
        remove_node(s, first_spot(s));
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
    struct cursor c = cursor_first(n);
    for (; c.pos != PACK_NONE && stream_id_compare(c.id, t->min) < 0; gone++) {
        cursor_next(&c);
    }
    return gone;
}

uint64_t stream_trim_plan(const struct stream *s, const struct stream_trim *t,
                          const struct stream_id *appended, size_t pairs_bytes,
                          struct stream_limits limits)
{
    uint64_t extra = appended != NULL;
    bool own_node = appended != NULL && needs_node(s, pairs_bytes, limits);
    uint64_t length = s->length + extra;
    uint64_t gone = 0;
    struct spot at = first_spot(s);
    for (bool more = s->chunk_count != 0; more;) {
        const struct node *n = node_at(s, at);
        more = spot_next(s, &at);
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

static bool in_range(const struct stream_range *r, struct stream_id id)
{
    return stream_id_compare(id, r->start) >= 0 && stream_id_compare(id, r->end) <= 0;
}

/* The entries of one node in the range, forwards; returns how many fn saw. */
static uint64_t walk_node(const struct node *n, const struct stream_range *r, uint64_t most,
                          stream_fn fn, void *arg)
{
    uint64_t seen = 0;
    for (struct cursor c = cursor_first(n); c.pos != PACK_NONE && seen != most; cursor_next(&c)) {
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
    for (struct cursor c = cursor_first(n); c.pos != PACK_NONE; cursor_next(&c)) {
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
    struct spot at = find_spot(s, r->reverse ? r->end : r->start);
    bool more = true;
    while (more && (r->count == 0 || seen < r->count)) {
        const struct node *n = node_at(s, at);
        uint64_t most = r->count == 0 ? UINT64_MAX : r->count - seen;
        if (r->reverse) {
            seen += walk_node_back(n, r, most, fn, arg);
            more = stream_id_compare(n->base, r->start) > 0 && spot_previous(s, &at);
        } else {
            if (stream_id_compare(n->base, r->end) > 0) {
                break;
            }
            seen += walk_node(n, r, most, fn, arg);
            more = spot_next(s, &at);
        }
    }
    return seen;
}

/* ---- as an object of the store ---- */

static const char *encoding(const void *o)
{
    (void)o;
    return "stream";
}

static size_t count(const void *o)
{
    return ((const struct stream *)o)->length;
}

static size_t memory(const void *o, size_t samples)
{
    const struct stream *s = o;
    size_t sum = 0;
    size_t seen = 0;
    struct spot at = first_spot(s);
    for (bool more = s->chunk_count != 0; more && (samples == 0 || seen < samples);
         more = spot_next(s, &at)) {
        sum += mem_usable(node_at(s, at)->pack);
        seen++;
    }
    double mean = seen == 0 ? 0 : (double)sum / (double)seen;
    size_t packs = seen == s->nodes ? sum : (size_t)(mean * (double)s->nodes);
    for (size_t i = 0; i < s->chunk_count; i++) {
        packs += mem_good_size(chunk_bytes(s->chunk[i]->cap));
    }
    return mem_usable(s) + mem_good_size(s->chunk_cap * sizeof(struct chunk *)) + packs;
}

static bool free_step(void *o, size_t budget)
{
    struct stream *s = o;
    for (size_t done = 0; s->chunk_count != 0 && done < budget; done += 2) {
        struct spot at = {s->chunk_count - 1, s->chunk[s->chunk_count - 1]->end - 1};
        remove_node(s, at);
    }
    if (s->chunk_count != 0) {
        return true;
    }
    mem_free(s->chunk);
    mem_free(s);
    return false;
}

void stream_free(struct stream *s)
{
    if (s != NULL) {
        (void)free_step(s, SIZE_MAX);
    }
}

static void *copy(const void *o)
{
    const struct stream *s = o;
    struct stream *twin = stream_new();
    struct spot at = first_spot(s);
    for (bool more = s->chunk_count != 0; more; more = spot_next(s, &at)) {
        const struct node *n = node_at(s, at);
        struct node *m = add_node(twin, n->base);
        *m = *n;
        m->pack = pack_copy(n->pack);
    }
    twin->length = s->length;
    twin->entries_added = s->entries_added;
    twin->last = s->last;
    twin->max_deleted = s->max_deleted;
    return twin;
}

static void put_id(struct buf *out, struct stream_id id)
{
    dump_put_u64(out, id.ms);
    dump_put_u64(out, id.seq);
}

static struct stream_id get_id(struct dump_reader *r)
{
    struct stream_id id;
    id.ms = dump_get_u64(r);
    id.seq = dump_get_u64(r);
    return id;
}

static void dump_entry(void *arg, struct stream_entry *e)
{
    struct buf *out = arg;
    put_id(out, e->id);
    dump_put_u64(out, e->n);
    for (size_t i = 0; i < e->n; i++) {
        struct span field;
        struct span value;
        stream_entry_read(e, &field, &value);
        dump_put_span(out, field);
        dump_put_span(out, value);
    }
}

static const struct stream_range everything = {.end = {UINT64_MAX, UINT64_MAX}};

/* Dump: last id, largest deleted id, entries ever added, length, then id, count and pairs of each
 * entry. */
static void dump(const void *o, struct buf *out)
{
    const struct stream *s = o;
    put_id(out, s->last);
    put_id(out, s->max_deleted);
    dump_put_u64(out, s->entries_added);
    dump_put_u64(out, s->length);
    (void)stream_walk(s, &everything, dump_entry, out);
}

/* One entry; false if it is malformed. */
static bool load_entry(struct stream *s, struct dump_reader *r)
{
    struct stream_limits limits = {LOAD_NODE_BYTES, LOAD_NODE_ENTRIES};
    struct stream_id id = get_id(r);
    uint64_t n = dump_get_count(r, 2);
    if (r->bad || stream_id_compare(id, s->last) <= 0) {
        return false;
    }
    struct span *pairs = mem_alloc(2 * n * sizeof *pairs);
    for (size_t i = 0; i < 2 * n; i++) {
        pairs[i] = dump_get_span(r);
    }
    bool ok = !r->bad && stream_can_hold(pairs, n);
    if (ok) {
        stream_append(s, id, pairs, n, limits);
    }
    mem_free(pairs);
    return ok;
}

static void *load(const char *p, size_t len, size_t *used)
{
    struct dump_reader r = dump_reader(p, len);
    struct stream *s = stream_new();
    struct stream_id last = get_id(&r);
    struct stream_id max_deleted = get_id(&r);
    uint64_t added = dump_get_u64(&r);
    uint64_t n = dump_get_u64(&r);
    bool ok = !r.bad && n <= (uint64_t)(r.end - r.p);
    for (; ok && n != 0; n--) {
        ok = load_entry(s, &r);
    }
    if (!ok || stream_id_compare(s->last, last) > 0 || stream_id_compare(max_deleted, last) > 0) {
        stream_free(s);
        return NULL;
    }
    s->last = last;
    s->max_deleted = max_deleted;
    s->entries_added = added;
    *used = (size_t)((const char *)r.p - p);
    return s;
}

static void digest_entry(void *arg, struct stream_entry *e)
{
    uint64_t *sum = arg;
    *sum = (*sum ^ e->id.ms) * 0x9e3779b97f4a7c15u;
    *sum = (*sum ^ e->id.seq) * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < e->n; i++) {
        struct span field;
        struct span value;
        stream_entry_read(e, &field, &value);
        *sum = digest_span(value, digest_span(field, *sum));
    }
}

static uint64_t digest(const void *o)
{
    const struct stream *s = o;
    uint64_t sum = digest_span(span_of((const char *)&s->last, sizeof s->last), 4);
    sum = digest_span(span_of((const char *)&s->max_deleted, sizeof s->max_deleted), sum);
    sum ^= s->entries_added;
    (void)stream_walk(s, &everything, digest_entry, &sum);
    return sum;
}

const struct object_ops stream_ops = {.name = "stream",
                                      .encoding = encoding,
                                      .count = count,
                                      .memory = memory,
                                      .free_step = free_step,
                                      .copy = copy,
                                      .dump = dump,
                                      .load = load,
                                      .digest = digest};
