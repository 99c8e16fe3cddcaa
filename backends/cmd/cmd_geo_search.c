/* GEOSEARCH, GEOSEARCHSTORE and the older GEORADIUS commands: one search, five ways to ask for it.
 */
#include <stdlib.h>

#include "backends/cmd/cmd_geo.h"
#include "backends/cmd/cmd_zset.h"
#include "common/mem.h"

enum form { FORM_RADIUS, FORM_BYMEMBER, FORM_SEARCH, FORM_SEARCHSTORE };
enum order { ORDER_NONE, ORDER_ASC, ORDER_DESC };

struct search {
    enum form form;
    bool readonly;        /* the _RO commands: no STORE */
    const struct zset *z; /* NULL: no such key */
    struct geo_shape shape;
    double metres; /* of the unit */
    bool withdist, withhash, withcoord, any, storedist;
    bool from_member, from_point, by_radius, by_box;
    enum order order;
    int64_t count; /* 0: all */
    int store;     /* argument of the target key, 0: none */
};

struct hit {
    struct span member; /* in the arena while the set may move it, see struct hits */
    size_t at;          /* offset of the member's bytes */
    double score, distance;
    struct geo_point point;
    size_t order; /* as found */
};

struct hits {
    struct hit *v;
    size_t n, cap;
    struct buf members; /* bytes of all members: an iterator's item lives too short */
};

static bool parse_distance(struct cmd_ctx *c, int i, double *out, const char *what)
{
    return cmd_double(c, c->argv[i], out, what);
}

/* "radius unit" at argument i. */
static bool parse_radius(struct cmd_ctx *c, int i, struct search *s)
{
    double r;
    if (!parse_distance(c, i, &r, "ERR need numeric radius")) {
        return false;
    }
    if (r < 0) {
        resp_error(c->out, "ERR radius cannot be negative");
        return false;
    }
    if (!geo_parse_unit(c, c->argv[i + 1], &s->metres)) {
        return false;
    }
    s->shape.box = false;
    s->shape.radius = r;
    return true;
}

/* "width height unit" at argument i. */
static bool parse_box(struct cmd_ctx *c, int i, struct search *s)
{
    double w;
    double h;
    if (!parse_distance(c, i, &w, "ERR need numeric width") ||
        !parse_distance(c, i + 1, &h, "ERR need numeric height")) {
        return false;
    }
    if (h < 0 || w < 0) {
        resp_error(c->out, "ERR height or width cannot be negative");
        return false;
    }
    if (!geo_parse_unit(c, c->argv[i + 2], &s->metres)) {
        return false;
    }
    s->shape.box = true;
    s->shape.width = w;
    s->shape.height = h;
    return true;
}

static bool parse_member(struct cmd_ctx *c, struct span member, struct search *s)
{
    if (s->z == NULL) {
        return true; /* an empty result anyway */
    }
    struct zset_ref ref;
    if (!zset_find(s->z, member, &ref)) {
        resp_error(c->out, "ERR could not decode requested zset member");
        return false;
    }
    s->shape.centre = geo_point_of_score(ref.score);
    return true;
}

/* Options that are one word. */
static bool parse_flag(struct search *s, struct span a)
{
    if (span_is(a, "withdist")) {
        s->withdist = true;
    } else if (span_is(a, "withhash")) {
        s->withhash = true;
    } else if (span_is(a, "withcoord")) {
        s->withcoord = true;
    } else if (span_is(a, "any")) {
        s->any = true;
    } else if (span_is(a, "asc")) {
        s->order = ORDER_ASC;
    } else if (span_is(a, "desc")) {
        s->order = ORDER_DESC;
    } else if (s->form == FORM_SEARCHSTORE && span_is(a, "storedist")) {
        s->storedist = true;
    } else {
        return false;
    }
    return true;
}

static bool parse_count(struct cmd_ctx *c, int i, struct search *s)
{
    if (!cmd_i64(c, c->argv[i], &s->count, NULL)) {
        return false;
    }
    if (s->count <= 0) {
        resp_error(c->out, "ERR COUNT must be > 0");
        return false;
    }
    return true;
}

/* Where and how far GEOSEARCH looks; *used arguments were taken (0: not such an option). False:
 * answered. */
static bool parse_where(struct cmd_ctx *c, int i, struct search *s, int *used)
{
    struct span a = c->argv[i];
    int left = c->argc - i - 1;
    *used = 0;
    if (span_is(a, "frommember") && left >= 1 && !s->from_point) {
        *used = 2;
        s->from_member = true;
        return parse_member(c, c->argv[i + 1], s);
    }
    if (span_is(a, "fromlonlat") && left >= 2 && !s->from_member) {
        *used = 3;
        s->from_point = true;
        return geo_parse_point(c, i + 1, &s->shape.centre);
    }
    if (span_is(a, "byradius") && left >= 2 && !s->by_box) {
        *used = 3;
        s->by_radius = true;
        return parse_radius(c, i + 1, s);
    }
    if (span_is(a, "bybox") && left >= 3 && !s->by_radius) {
        *used = 4;
        s->by_box = true;
        return parse_box(c, i + 1, s);
    }
    return true;
}

static bool is_search(const struct search *s)
{
    return s->form == FORM_SEARCH || s->form == FORM_SEARCHSTORE;
}

static bool parse_options(struct cmd_ctx *c, int i, struct search *s)
{
    while (i < c->argc) {
        struct span a = c->argv[i];
        bool more = i + 1 < c->argc;
        bool storedist = span_is(a, "storedist");
        if (parse_flag(s, a)) {
            i++;
            continue;
        }
        if (span_is(a, "count") && more) {
            if (!parse_count(c, i + 1, s)) {
                return false;
            }
            i += 2;
            continue;
        }
        if (!is_search(s) && !s->readonly && more && (storedist || span_is(a, "store"))) {
            s->store = i + 1;
            s->storedist = storedist;
            i += 2;
            continue;
        }
        int used = 0;
        if (is_search(s) && !parse_where(c, i, s, &used)) {
            return false;
        }
        if (used == 0) {
            cmd_syntax_error(c);
            return false;
        }
        i += used;
    }
    return true;
}

/* What only the whole request can tell. */
static bool check_options(struct cmd_ctx *c, const struct search *s)
{
    int name_len = (int)(c->argv[0].len < 64 ? c->argv[0].len : 64);
    if (s->store != 0 && (s->withdist || s->withhash || s->withcoord)) {
        resp_errorf(c->out,
                    "ERR %s is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                    is_search(s) ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS");
        return false;
    }
    if (is_search(s) && !s->from_member && !s->from_point) {
        resp_errorf(c->out, "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for %.*s",
                    name_len, c->argv[0].p);
        return false;
    }
    if (is_search(s) && !s->by_radius && !s->by_box) {
        resp_errorf(c->out, "ERR exactly one of BYRADIUS and BYBOX can be specified for %.*s",
                    name_len, c->argv[0].p);
        return false;
    }
    if (s->any && s->count == 0) {
        resp_error(c->out, "ERR the ANY argument requires COUNT argument");
        return false;
    }
    return true;
}

/* ---- searching ---- */

static void add_hit(struct hits *h, const struct hit *hit)
{
    if (h->n == h->cap) {
        h->cap = h->cap == 0 ? 16 : h->cap * 2;
        h->v = mem_realloc(h->v, h->cap * sizeof h->v[0]);
    }
    h->v[h->n] = *hit;
    h->v[h->n].at = buf_used(&h->members);
    h->v[h->n].order = h->n;
    h->n++;
    buf_add(&h->members, hit->member.p, hit->member.len);
}

/* max: stop at so many (0: never). */
static void search_cell(const struct search *s, struct geo_cell cell, size_t max, struct hits *h)
{
    struct zset_score_range r = {.min = (double)geo_score(cell), .max_open = true};
    cell.bits++;
    r.max = (double)geo_score(cell);
    struct zset_ranks in = zset_ranks_by_score(s->z, &r);
    struct zset_iter it = zset_iter_at(s->z, in.start, false);
    struct zset_item item;
    for (uint64_t n = in.end - in.start; n > 0 && zset_iter_next(&it, &item); n--) {
        struct hit hit = {.member = item.member, .score = item.score};
        hit.point = geo_point_of_score(item.score);
        if (!geo_within(&s->shape, hit.point, &hit.distance)) {
            continue;
        }
        add_hit(h, &hit);
        if (max != 0 && h->n >= max) {
            return;
        }
    }
}

static void search_all(const struct search *s, struct hits *h)
{
    struct geo_cell cells[GEO_CELLS_MAX];
    size_t n = geo_cover(&s->shape, cells);
    size_t max = s->any ? (size_t)s->count : 0;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        /* on very large grids neighbours meet behind the globe */
        if (last != 0 && cells[i].bits == cells[last].bits) {
            continue;
        }
        if (max != 0 && h->n >= max) {
            break;
        }
        search_cell(s, cells[i], max, h);
        last = i;
    }
    for (size_t i = 0; i < h->n; i++) {
        h->v[i].member.p = h->members.p == NULL ? "" : h->members.p + h->v[i].at;
    }
}

static int nearer(const void *a, const void *b)
{
    const struct hit *x = a;
    const struct hit *y = b;
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return x->order < y->order ? -1 : 1;
}

static int farther(const void *a, const void *b)
{
    const struct hit *x = a;
    const struct hit *y = b;
    if (x->distance != y->distance) {
        return x->distance > y->distance ? -1 : 1;
    }
    return x->order < y->order ? -1 : 1;
}

/* ---- results ---- */

static void reply_hits(struct cmd_ctx *c, const struct search *s, const struct hits *h, size_t n)
{
    size_t extras = (size_t)s->withdist + (size_t)s->withhash + (size_t)s->withcoord;
    resp_array(c->out, n);
    for (size_t i = 0; i < n; i++) {
        const struct hit *hit = &h->v[i];
        if (extras != 0) {
            resp_array(c->out, extras + 1);
        }
        resp_bulk_span(c->out, hit->member);
        if (s->withdist) {
            geo_reply_distance(c, hit->distance / s->metres);
        }
        if (s->withhash) {
            resp_int(c->out, (int64_t)hit->score);
        }
        if (s->withcoord) {
            geo_reply_point(c, hit->point);
        }
    }
}

static void store_hits(struct cmd_ctx *c, const struct search *s, const struct hits *h, size_t n)
{
    struct zset *to = zset_new();
    struct zset_limits l = zset_limits_of(c);
    for (size_t i = 0; i < n; i++) {
        const struct hit *hit = &h->v[i];
        zset_insert(to, &l, hit->member, s->storedist ? hit->distance / s->metres : hit->score);
    }
    collection_store(c, c->argv[s->store], VAL_ZSET, to);
    resp_int(c->out, (int64_t)n);
}

static void run(struct cmd_ctx *c, struct search *s)
{
    if (s->z == NULL) {
        if (s->store != 0) {
            collection_store(c, c->argv[s->store], VAL_ZSET, zset_new());
            resp_int(c->out, 0);
        } else {
            resp_array(c->out, 0);
        }
        return;
    }
    s->shape.radius *= s->metres;
    s->shape.width *= s->metres;
    s->shape.height *= s->metres;
    struct hits h = {0};
    search_all(s, &h);
    if (s->count != 0 && s->order == ORDER_NONE && !s->any) {
        s->order = ORDER_ASC; /* a count alone means the nearest */
    }
    if (s->order != ORDER_NONE && h.n > 1) {
        qsort(h.v, h.n, sizeof h.v[0], s->order == ORDER_ASC ? nearer : farther);
    }
    size_t n = s->count == 0 || h.n < (uint64_t)s->count ? h.n : (size_t)s->count;
    if (s->store != 0) {
        store_hits(c, s, &h, n);
    } else {
        reply_hits(c, s, &h, n);
    }
    mem_free(h.v);
    buf_free(&h.members);
}

static void search_generic(struct cmd_ctx *c, enum form form, bool readonly)
{
    struct search s = {.form = form, .readonly = readonly};
    struct zset *z;
    if (!zset_read(c, c->argv[form == FORM_SEARCHSTORE ? 2 : 1], &z)) {
        return;
    }
    s.z = z;
    int options = 0;
    bool ok = true;
    switch (form) {
    case FORM_RADIUS:
        options = 6;
        ok = geo_parse_point(c, 2, &s.shape.centre) && parse_radius(c, 4, &s);
        break;
    case FORM_BYMEMBER:
        options = 5;
        ok = z == NULL || (parse_member(c, c->argv[2], &s) && parse_radius(c, 3, &s));
        break;
    case FORM_SEARCH:
        options = 2;
        break;
    case FORM_SEARCHSTORE:
        options = 3;
        s.store = 1;
        break;
    }
    if (ok && parse_options(c, options, &s) && check_options(c, &s)) {
        run(c, &s);
    }
}

void georadius_command(struct cmd_ctx *c)
{
    search_generic(c, FORM_RADIUS, false);
}

void georadius_ro_command(struct cmd_ctx *c)
{
    search_generic(c, FORM_RADIUS, true);
}

void georadiusbymember_command(struct cmd_ctx *c)
{
    search_generic(c, FORM_BYMEMBER, false);
}

void georadiusbymember_ro_command(struct cmd_ctx *c)
{
    search_generic(c, FORM_BYMEMBER, true);
}

void geosearch_command(struct cmd_ctx *c)
{
    search_generic(c, FORM_SEARCH, false);
}

void geosearchstore_command(struct cmd_ctx *c)
{
    search_generic(c, FORM_SEARCHSTORE, false);
}

/* Only the last of STORE and STOREDIST is written, but as in Redis both name keys: STORE's first.
 */
int georadius_keys(const struct span *argv, int argc, int *idx, int max)
{
    int found[3] = {1, 0, 0};
    for (int i = 5; i + 1 < argc; i++) {
        if (span_is(argv[i], "store")) {
            found[1] = ++i;
        } else if (span_is(argv[i], "storedist")) {
            found[2] = ++i;
        }
    }
    int n = 0;
    for (int i = 0; i < 3; i++) {
        if (found[i] != 0 && n < max) {
            idx[n++] = found[i];
        }
    }
    return n;
}
