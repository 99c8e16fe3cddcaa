/* Streams: entries packed into nodes, nodes in chunks, chunks in an array.
 *
 * A node is a pack: the number of master fields and the fields of its first entry, then entries:
 *
 *   flag     1: the entry has the master fields, only values follow;
 *            0: the number of pairs follows, then field, value, field ...
 *   ms, seq  of the id, less those of the node's base, modulo 2^64
 *
 * An entry removed is cut out of its pack; a node without entries goes. The base of a node (the id
 * of the first entry it ever had) stays. `added` counts the entries a node ever had: it decides
 * when a node is full, so that nodes have the same borders as in Redis whatever was deleted.
 *
 * A chunk is an array of up to CHUNK nodes; nodes are added to the last chunk only and taken out
 * anywhere. So nothing proportional to the stream is ever moved, but for the array of chunks (a
 * pointer per 12,800 entries). */
#include "backends/types/stream_private.h"

#include "common/mem.h"
#include "common/must.h"

#define CHUNK 128u

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

struct node *stream_last_node(const struct stream *s)
{
    if (s->chunk_count == 0) {
        return NULL;
    }
    struct chunk *c = s->chunk[s->chunk_count - 1];
    return &c->node[c->end - 1];
}

struct node *stream_first_node(const struct stream *s)
{
    return s->chunk_count == 0 ? NULL : &s->chunk[0]->node[s->chunk[0]->first];
}

static struct chunk *chunk_with_room(struct stream *s)
{
    struct chunk **last = s->chunk_count == 0 ? NULL : &s->chunk[s->chunk_count - 1];
    if (last != NULL && (*last)->end < (*last)->cap) {
        return *last;
    }
    if (last != NULL && (*last)->cap < CHUNK) {
        uint32_t cap = (*last)->cap * 2;
        *last = mem_realloc(*last, stream_chunk_bytes(cap));
        (*last)->cap = cap;
        return *last;
    }
    if (s->chunk_count == s->chunk_cap) {
        s->chunk_cap = s->chunk_cap == 0 ? 1 : s->chunk_cap * 2;
        s->chunk = mem_realloc(s->chunk, s->chunk_cap * sizeof(struct chunk *));
    }
    uint32_t cap = last == NULL ? 1 : CHUNK;
    struct chunk *c = mem_alloc(stream_chunk_bytes(cap));
    *c = (struct chunk){.cap = cap};
    s->chunk[s->chunk_count++] = c;
    return c;
}

struct node *stream_add_node(struct stream *s, struct stream_id base)
{
    struct chunk *c = chunk_with_room(s);
    struct node *n = &c->node[c->end++];
    *n = (struct node){.base = base};
    s->nodes++;
    return n;
}

struct node *stream_node_at(const struct stream *s, struct spot at)
{
    return &s->chunk[at.chunk]->node[at.node];
}

struct spot stream_first_spot(const struct stream *s)
{
    return (struct spot){0, s->chunk_count == 0 ? 0 : s->chunk[0]->first};
}

bool stream_spot_next(const struct stream *s, struct spot *at)
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

bool stream_spot_previous(const struct stream *s, struct spot *at)
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

void stream_remove_node(struct stream *s, struct spot at)
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

struct spot stream_find_spot(const struct stream *s, struct stream_id id)
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

struct cursor stream_cursor_first(const struct node *n)
{
    struct cursor c = {.n = n};
    size_t pos = pack_first(n->pack);
    c.master_count = (size_t)number_at(n->pack, pos);
    c.master_pos = pack_next(n->pack, pos);
    c.pos = skip(n->pack, pos, c.master_count + 1);
    cursor_read(&c);
    return c;
}

void stream_cursor_next(struct cursor *c)
{
    size_t values = c->same_fields ? c->fields : 2 * c->fields;
    c->pos = skip(c->n->pack, c->data_pos, values);
    cursor_read(c);
}

struct cursor stream_cursor_last(const struct node *n)
{
    struct cursor c = stream_cursor_first(n);
    struct cursor last = c;
    while (c.pos != PACK_NONE) {
        last = c;
        stream_cursor_next(&c);
    }
    return last;
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
        f.first = stream_cursor_first(stream_first_node(s)).id;
        f.top = stream_cursor_last(stream_last_node(s)).id;
    }
    return f;
}

uint64_t stream_length(const struct stream *s)
{
    return s->length;
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

bool stream_needs_node(const struct stream *s, size_t pairs_bytes, struct stream_limits limits)
{
    const struct node *n = stream_last_node(s);
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
    struct node *node = stream_last_node(s);
    if (stream_needs_node(s, bytes, limits)) {
        node = stream_add_node(s, id);
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
    struct spot at = stream_find_spot(s, id);
    struct node *n = stream_node_at(s, at);
    struct cursor c = stream_cursor_first(n);
    while (c.pos != PACK_NONE && stream_id_compare(c.id, id) < 0) {
        stream_cursor_next(&c);
    }
    if (c.pos == PACK_NONE || stream_id_compare(c.id, id) != 0) {
        return false;
    }
    s->length--;
    if (--n->live == 0) {
        stream_remove_node(s, at);
    } else {
        n->pack = pack_erase(n->pack, c.pos, c.elements);
    }
    if (stream_id_compare(id, s->max_deleted) > 0) {
        s->max_deleted = id;
    }
    return true;
}
