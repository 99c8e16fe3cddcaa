/* Streams as objects of the store. */
#include "backends/types/dump.h"
#include "backends/types/stream_private.h"
#include "backends/types/types.h"
#include "common/mem.h"

/* Of nodes made by load, which knows no configuration. */
#define LOAD_NODE_BYTES 4096
#define LOAD_NODE_ENTRIES 100

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
    struct spot at = stream_first_spot(s);
    for (bool more = s->chunk_count != 0; more && (samples == 0 || seen < samples);
         more = stream_spot_next(s, &at)) {
        sum += mem_usable(stream_node_at(s, at)->pack);
        seen++;
    }
    double mean = seen == 0 ? 0 : (double)sum / (double)seen;
    size_t packs = seen == s->nodes ? sum : (size_t)(mean * (double)s->nodes);
    for (size_t i = 0; i < s->chunk_count; i++) {
        packs += mem_good_size(stream_chunk_bytes(s->chunk[i]->cap));
    }
    return mem_usable(s) + mem_good_size(s->chunk_cap * sizeof(struct chunk *)) + packs;
}

static bool free_step(void *o, size_t budget)
{
    struct stream *s = o;
    for (size_t done = 0; s->chunk_count != 0 && done < budget; done += 2) {
        struct spot at = {s->chunk_count - 1, s->chunk[s->chunk_count - 1]->end - 1};
        stream_remove_node(s, at);
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
    struct spot at = stream_first_spot(s);
    for (bool more = s->chunk_count != 0; more; more = stream_spot_next(s, &at)) {
        const struct node *n = stream_node_at(s, at);
        struct node *m = stream_add_node(twin, n->base);
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
