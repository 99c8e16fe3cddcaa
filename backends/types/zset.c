/* The sorted set in its two encodings: see zset.h.
 *
 * Compact: a pack of member, score pairs in order. A score that is an integer of at most 2^53 is
 * stored as its text (which the pack keeps as a binary integer, 1 to 9 bytes), any other as 'd' and
 * its eight bytes, so that nothing is ever rounded. Large: every member is a block (zmember.h) that
 * both the tree and the index point to.
 *
 * Invariants: compact has an even number of elements, strictly ascending; large has tree.count ==
 * dict_count(index). */
#include "backends/types/zset.h"

#include <math.h>

#include "backends/types/dict.h"
#include "backends/types/dump.h"
#include "backends/types/pack.h"
#include "common/must.h"

#define ZSET_MAGIC 0x7A736574u
#define SCORE_INT_MAX 9007199254740992.0 /* 2^53 */
#define SCORE_RAW 'd'
#define SCORE_TEXT_MAX NUM_I64_MAX

struct big {
    struct ztree tree;
    struct dict *index;
};

struct zset {
    uint32_t magic;
    bool is_big;
    union {
        struct pack *pack;
        struct big *big;
    };
};

struct zset *zset_new(void)
{
    struct zset *z = mem_alloc(sizeof *z);
    z->magic = ZSET_MAGIC;
    z->is_big = false;
    z->pack = pack_new();
    return z;
}

size_t zset_count(const struct zset *z)
{
    return z->is_big ? z->big->tree.count : pack_count(z->pack) / 2;
}

bool zset_is_packed(const struct zset *z)
{
    return !z->is_big;
}

/* ---- scores in a pack ---- */

static size_t score_encode(double score, char *out)
{
    if (fabs(score) <= SCORE_INT_MAX && (double)(int64_t)score == score) {
        return num_fmt_i64(out, (int64_t)score);
    }
    out[0] = SCORE_RAW;
    memcpy(out + 1, &score, sizeof score);
    return 1 + sizeof score;
}

static double score_at(const struct pack *p, size_t pos)
{
    int64_t v;
    if (pack_get_i64(p, pos, &v)) {
        return (double)v;
    }
    char tmp[NUM_I64_MAX];
    struct span s = pack_get(p, pos, tmp);
    must(s.len == 1 + sizeof(double));
    double score;
    memcpy(&score, s.p + 1, sizeof score);
    return score;
}

/* Where (score, member) belongs: the position of the first member after it, PACK_NONE at the end.
 */
static size_t compact_place(const struct pack *p, struct span member, double score)
{
    for (size_t pos = pack_first(p); pos != PACK_NONE;) {
        size_t spos = pack_next(p, pos);
        double s = score_at(p, spos);
        if (s > score) {
            return pos;
        }
        if (s == score) {
            char tmp[NUM_I64_MAX];
            if (zmember_cmp(pack_get(p, pos, tmp), member) > 0) {
                return pos;
            }
        }
        pos = pack_next(p, spos);
    }
    return PACK_NONE;
}

static void compact_insert(struct zset *z, struct span member, double score)
{
    size_t pos = compact_place(z->pack, member, score);
    char text[SCORE_TEXT_MAX];
    struct span s = span_of(text, score_encode(score, text));
    if (pos == PACK_NONE) {
        z->pack = pack_append(z->pack, member);
        z->pack = pack_append(z->pack, s);
    } else {
        z->pack = pack_insert(z->pack, pos, s);
        z->pack = pack_insert(z->pack, pos, member);
    }
}

/* ---- large ---- */

static struct span member_key(const void *item)
{
    return zmember_span(item);
}

static struct big *big_new(void)
{
    struct big *b = mem_zalloc(sizeof *b);
    b->index = dict_new(member_key);
    return b;
}

static void big_add(struct big *b, struct span member, double score)
{
    struct zmember *m = zmember_new(member, score);
    ztree_insert(&b->tree, m);
    dict_add(b->index, m, dict_hash(member));
}

static struct zmember *big_find(const struct big *b, struct span member)
{
    return dict_find(b->index, member, dict_hash(member));
}

static void make_big(struct zset *z)
{
    struct big *b = big_new();
    struct zset_iter it = zset_iter_at(z, 0, false);
    struct zset_item item;
    while (zset_iter_next(&it, &item)) {
        big_add(b, item.member, item.score);
    }
    pack_free(z->pack);
    z->big = b;
    z->is_big = true;
}

static void big_remove(struct big *b, struct zmember *m)
{
    struct span key = zmember_span(m);
    dict_remove(b->index, key, dict_hash(key));
    ztree_remove(&b->tree, m);
    mem_free(m);
}

/* ---- both ---- */

bool zset_find(const struct zset *z, struct span member, struct zset_ref *ref)
{
    if (z->is_big) {
        struct zmember *m = big_find(z->big, member);
        if (m == NULL) {
            return false;
        }
        ref->m = m;
        ref->score = m->score;
        return true;
    }
    size_t pos = pack_find(z->pack, pack_first(z->pack), member, 1);
    if (pos == PACK_NONE) {
        return false;
    }
    ref->pos = pos;
    ref->score = score_at(z->pack, pack_next(z->pack, pos));
    return true;
}

void zset_insert(struct zset *z, const struct zset_limits *l, struct span member, double score)
{
    if (!z->is_big && (zset_count(z) + 1 > l->entries_max || member.len > l->value_max ||
                       !pack_fits(z->pack, member.len + SCORE_TEXT_MAX))) {
        make_big(z);
    }
    if (z->is_big) {
        big_add(z->big, member, score);
    } else {
        compact_insert(z, member, score);
    }
}

/* True if a member at pos keeps its place when its score becomes this one. */
static bool compact_stays(const struct pack *p, size_t pos, double score)
{
    size_t prev = pack_prev(p, pos);
    size_t next = pack_next(p, pack_next(p, pos));
    return (prev == PACK_NONE || score_at(p, prev) < score) &&
           (next == PACK_NONE || score < score_at(p, pack_next(p, next)));
}

void zset_update(struct zset *z, struct zset_ref ref, double score)
{
    if (z->is_big) {
        ztree_rescore(&z->big->tree, ref.m, score);
        return;
    }
    if (compact_stays(z->pack, ref.pos, score)) {
        char text[SCORE_TEXT_MAX];
        size_t len = score_encode(score, text);
        z->pack = pack_replace(z->pack, pack_next(z->pack, ref.pos), span_of(text, len));
        return;
    }
    char tmp[NUM_I64_MAX];
    struct span s = pack_get(z->pack, ref.pos, tmp);
    char *member = mem_alloc(s.len);
    memcpy(member, s.p, s.len);
    z->pack = pack_erase(z->pack, ref.pos, 2);
    compact_insert(z, span_of(member, s.len), score);
    mem_free(member);
}

void zset_remove(struct zset *z, struct zset_ref ref)
{
    if (z->is_big) {
        big_remove(z->big, ref.m);
    } else {
        z->pack = pack_erase(z->pack, ref.pos, 2);
    }
}

void zset_remove_ranks(struct zset *z, uint64_t start, uint64_t n)
{
    if (n == 0) {
        return;
    }
    must(start + n <= zset_count(z));
    if (!z->is_big) {
        z->pack = pack_erase(z->pack, pack_at(z->pack, (int64_t)(2 * start)), (size_t)(2 * n));
        return;
    }
    for (; n > 0; n--) {
        big_remove(z->big, ztree_pair(ztree_at(&z->big->tree, start)).m);
    }
}

uint64_t zset_rank(const struct zset *z, struct zset_ref ref)
{
    if (z->is_big) {
        return ztree_rank(&z->big->tree, ref.m);
    }
    uint64_t rank = 0;
    for (size_t pos = pack_first(z->pack); pos != ref.pos; rank++) {
        must(pos != PACK_NONE);
        pos = pack_next(z->pack, pack_next(z->pack, pos));
    }
    return rank;
}

uint64_t zset_count_before(const struct zset *z, zbefore_fn before, const void *arg)
{
    if (z->is_big) {
        return ztree_count_before(&z->big->tree, before, arg);
    }
    struct zset_iter it = zset_iter_at(z, 0, false);
    struct zset_item item;
    uint64_t n = 0;
    while (zset_iter_next(&it, &item) && before(arg, item.score, item.member)) {
        n++;
    }
    return n;
}

struct zset_iter zset_iter_at(const struct zset *z, uint64_t rank, bool reverse)
{
    struct zset_iter it = {.z = z, .reverse = reverse, .pos = PACK_NONE};
    if (z->is_big) {
        it.at = ztree_at(&z->big->tree, rank);
    } else if (rank < zset_count(z)) {
        /* from the nearer end */
        int64_t n = (int64_t)pack_count(z->pack);
        int64_t i = (int64_t)(2 * rank);
        it.pos = pack_at(z->pack, i < n / 2 ? i : i - n);
    }
    return it;
}

bool zset_iter_next(struct zset_iter *it, struct zset_item *item)
{
    if (it->z->is_big) {
        if (it->at.leaf == NULL) {
            return false;
        }
        struct zpair p = ztree_pair(it->at);
        *item = (struct zset_item){zmember_span(p.m), p.score};
        it->at = it->reverse ? ztree_prev(it->at) : ztree_next(it->at);
        return true;
    }
    if (it->pos == PACK_NONE) {
        return false;
    }
    const struct pack *p = it->z->pack;
    size_t spos = pack_next(p, it->pos);
    *item = (struct zset_item){pack_get(p, it->pos, it->tmp), score_at(p, spos)};
    if (!it->reverse) {
        it->pos = pack_next(p, spos);
    } else {
        size_t prev = pack_prev(p, it->pos);
        it->pos = prev == PACK_NONE ? PACK_NONE : pack_prev(p, prev);
    }
    return true;
}

struct scan {
    zset_scan_fn fn;
    void *arg;
};

static void scan_member(void *arg, void *item)
{
    const struct scan *s = arg;
    const struct zmember *m = item;
    s->fn(s->arg, zmember_span(m), m->score);
}

uint64_t zset_scan(const struct zset *z, uint64_t cursor, zset_scan_fn fn, void *arg)
{
    if (z->is_big) {
        struct scan s = {fn, arg};
        return dict_scan(z->big->index, cursor, scan_member, &s);
    }
    struct zset_iter it = zset_iter_at(z, 0, false);
    struct zset_item item;
    while (zset_iter_next(&it, &item)) {
        fn(arg, item.member, item.score);
    }
    return 0;
}

void zset_pack(struct zset *z, const struct zset_limits *l)
{
    if (!z->is_big || z->big->tree.count > l->entries_max) {
        return;
    }
    struct pack *p = pack_new();
    struct zset_iter it = zset_iter_at(z, 0, false);
    struct zset_item item;
    while (zset_iter_next(&it, &item)) {
        char text[SCORE_TEXT_MAX];
        size_t len = score_encode(item.score, text);
        if (item.member.len > l->value_max || !pack_fits(p, item.member.len + len)) {
            pack_free(p);
            return;
        }
        p = pack_append(p, item.member);
        p = pack_append(p, span_of(text, len));
    }
    struct zset *gone = mem_alloc(sizeof *gone);
    *gone = *z;
    z->pack = p;
    z->is_big = false;
    zset_free(gone);
}

/* ---- as an object ---- */

static const char *ops_encoding(const void *o)
{
    return ((const struct zset *)o)->is_big ? "skiplist" : "listpack";
}

static size_t ops_count(const void *o)
{
    return zset_count(o);
}

static size_t ops_memory(const void *o, size_t samples)
{
    const struct zset *z = o;
    size_t bytes = mem_good_size(sizeof *z);
    if (!z->is_big) {
        return bytes + mem_usable(z->pack);
    }
    const struct big *b = z->big;
    bytes += mem_good_size(sizeof *b) + ztree_memory(&b->tree) + dict_memory(b->index);
    size_t seen = 0;
    size_t sum = 0;
    for (struct ztree_pos p = ztree_at(&b->tree, 0); p.leaf != NULL; p = ztree_next(p)) {
        if (samples != 0 && seen == samples) {
            break;
        }
        sum += zmember_memory(ztree_pair(p).m);
        seen++;
    }
    if (seen == 0) {
        return bytes;
    }
    return bytes + (seen == b->tree.count
                        ? sum
                        : (size_t)((double)sum / (double)seen * (double)b->tree.count));
}

static void free_member(void *arg, struct zmember *m)
{
    size_t *n = arg;
    (*n)++;
    mem_free(m);
}

static bool ops_free_step(void *o, size_t budget)
{
    struct zset *z = o;
    obj_check(z, ZSET_MAGIC);
    if (!z->is_big) {
        pack_free(z->pack);
    } else {
        size_t n = 0;
        while (ztree_free_leaf(&z->big->tree, free_member, &n)) {
            if (n >= budget) {
                return true;
            }
        }
        if (dict_free_step(z->big->index, budget, NULL)) {
            return true;
        }
        mem_free(z->big);
    }
    z->magic = 0;
    mem_free(z);
    return false;
}

void zset_free(struct zset *z)
{
    while (z != NULL && ops_free_step(z, SIZE_MAX)) {
    }
}

static void *ops_copy(const void *o)
{
    const struct zset *z = o;
    struct zset *c = mem_alloc(sizeof *c);
    *c = *z;
    if (!z->is_big) {
        c->pack = pack_copy(z->pack);
        return c;
    }
    c->big = big_new();
    struct zset_iter it = zset_iter_at(z, 0, false);
    struct zset_item item;
    while (zset_iter_next(&it, &item)) {
        big_add(c->big, item.member, item.score);
    }
    return c;
}

/* Dump: a byte (1: large), u64 count, then for each member in order the score's 8 bytes, u32
 * length, bytes; all little endian. */
#define DUMP_HEAD (1 + sizeof(uint64_t))
#define DUMP_ITEM (sizeof(double) + sizeof(uint32_t))

static void ops_dump(const void *o, struct buf *out)
{
    const struct zset *z = o;
    uint64_t n = zset_count(z);
    buf_add(out, z->is_big ? "\1" : "\0", 1);
    buf_add(out, &n, sizeof n);
    struct zset_iter it = zset_iter_at(z, 0, false);
    struct zset_item item;
    while (zset_iter_next(&it, &item)) {
        uint32_t len = (uint32_t)item.member.len;
        buf_add(out, &item.score, sizeof item.score);
        buf_add(out, &len, sizeof len);
        buf_add(out, item.member.p, len);
    }
}

/* Reads one member; false if the bytes end or the score is no number. */
static bool load_item(const char *p, size_t len, size_t *at, struct zset_item *item)
{
    if (len - *at < DUMP_ITEM) {
        return false;
    }
    uint32_t n;
    memcpy(&item->score, p + *at, sizeof item->score);
    memcpy(&n, p + *at + sizeof item->score, sizeof n);
    *at += DUMP_ITEM;
    if (isnan(item->score) || len - *at < n) {
        return false;
    }
    item->member = span_of(p + *at, n);
    *at += n;
    return true;
}

static void *ops_load(const char *p, size_t len, size_t *used)
{
    if (len < DUMP_HEAD || (uint8_t)p[0] > 1) {
        return NULL;
    }
    uint64_t n;
    memcpy(&n, p + 1, sizeof n);
    if (n == 0 || n > (len - DUMP_HEAD) / DUMP_ITEM) {
        return NULL;
    }
    struct zset *z = zset_new();
    make_big(z);
    size_t at = DUMP_HEAD;
    struct zset_item last = {0};
    for (uint64_t i = 0; i < n; i++) {
        struct zset_item item;
        bool ok = load_item(p, len, &at, &item);
        if (ok && i != 0) {
            ok = last.score < item.score ||
                 (last.score == item.score && zmember_cmp(last.member, item.member) < 0);
        }
        if (!ok || big_find(z->big, item.member) != NULL) {
            zset_free(z);
            return NULL;
        }
        big_add(z->big, item.member, item.score);
        last = item;
    }
    if (p[0] == 0) {
        zset_pack(z, &(struct zset_limits){SIZE_MAX, SIZE_MAX});
    }
    *used = at;
    return z;
}

static uint64_t ops_digest(const void *o)
{
    uint64_t sum = 0;
    struct zset_iter it = zset_iter_at(o, 0, false);
    struct zset_item item;
    while (zset_iter_next(&it, &item)) {
        uint64_t bits;
        memcpy(&bits, &item.score, sizeof bits);
        sum += digest_span(item.member, bits);
    }
    return sum;
}

const struct object_ops zset_ops = {
    .name = "zset",
    .encoding = ops_encoding,
    .count = ops_count,
    .memory = ops_memory,
    .free_step = ops_free_step,
    .copy = ops_copy,
    .dump = ops_dump,
    .load = ops_load,
    .digest = ops_digest,
};

bool zset_check(const struct zset *z)
{
    if (z->magic != ZSET_MAGIC) {
        return false;
    }
    if (z->is_big) {
        return ztree_check(&z->big->tree) && z->big->tree.count == dict_count(z->big->index);
    }
    struct zset_iter it = zset_iter_at(z, 0, false);
    struct zset_item item;
    char last_tmp[NUM_I64_MAX];
    struct zset_item last = {0};
    size_t n = 0;
    while (zset_iter_next(&it, &item)) {
        if (n++ != 0 && (last.score > item.score || (last.score == item.score &&
                                                     zmember_cmp(last.member, item.member) >= 0))) {
            return false;
        }
        last = item;
        if (item.member.p == it.tmp) {
            memcpy(last_tmp, it.tmp, sizeof last_tmp);
            last.member.p = last_tmp;
        }
    }
    return pack_count(z->pack) == 2 * n;
}
