/* Geo commands on single members. A geo set is a sorted set whose scores are geohashes. */
#include "backends/cmd/cmd_geo.h"

#include <math.h>
#include <stdio.h>

#include "backends/cmd/cmd_zset.h"
#include "common/mem.h"

bool geo_parse_point(struct cmd_ctx *c, int i, struct geo_point *p)
{
    if (!cmd_double(c, c->argv[i], &p->lon, NULL) ||
        !cmd_double(c, c->argv[i + 1], &p->lat, NULL)) {
        return false;
    }
    if (fabs(p->lon) > GEO_LON_MAX || fabs(p->lat) > GEO_LAT_MAX) {
        resp_errorf(c->out, "ERR invalid longitude,latitude pair %f,%f", p->lon, p->lat);
        return false;
    }
    return true;
}

bool geo_parse_unit(struct cmd_ctx *c, struct span s, double *metres)
{
    if (span_is(s, "m")) {
        *metres = 1;
    } else if (span_is(s, "km")) {
        *metres = 1000;
    } else if (span_is(s, "ft")) {
        *metres = 0.3048;
    } else if (span_is(s, "mi")) {
        *metres = 1609.34;
    } else {
        resp_error(c->out, "ERR unsupported unit provided. please use M, KM, FT, MI");
        return false;
    }
    return true;
}

static void reply_coordinate(struct cmd_ctx *c, double v)
{
    if (c->out->proto == 2) {
        resp_ldouble(c->out, v);
        return;
    }
    char text[NUM_LDOUBLE_MAX];
    size_t len = num_fmt_ldouble(text, v);
    buf_add(c->out->b, ",", 1);
    buf_add(c->out->b, text, len);
    buf_add(c->out->b, "\r\n", 2);
}

void geo_reply_point(struct cmd_ctx *c, struct geo_point p)
{
    resp_array(c->out, 2);
    reply_coordinate(c, p.lon);
    reply_coordinate(c, p.lat);
}

void geo_reply_distance(struct cmd_ctx *c, double distance)
{
    char text[400];
    int n = snprintf(text, sizeof text, "%.4f", distance);
    resp_bulk(c->out, text, (size_t)n);
}

/* ---- GEOADD ---- */

/* GEOADD as the ZADD it stands for: its arguments, in argv and text (both freed by the caller). */
struct geoadd {
    struct span *argv;
    int argc;
    int first; /* argument of the first score */
    bool nx, xx, ch;
    char (*scores)[NUM_I64_MAX];
};

static void geoadd_free(struct geoadd *g)
{
    mem_free(g->argv);
    mem_free(g->scores);
}

/* False: answered, and g is to be freed all the same. */
static bool geoadd_parse(struct cmd_ctx *c, struct geoadd *g)
{
    *g = (struct geoadd){0};
    int first = 2;
    for (; first < c->argc; first++) {
        struct span s = c->argv[first];
        bool nx = span_is(s, "nx");
        bool xx = span_is(s, "xx");
        bool ch = span_is(s, "ch");
        if (!nx && !xx && !ch) {
            break;
        }
        g->nx |= nx;
        g->xx |= xx;
        g->ch |= ch;
    }
    g->first = first;
    int n = (c->argc - first) / 3;
    if ((c->argc - first) % 3 != 0 || (g->nx && g->xx) || n == 0) {
        cmd_syntax_error(c);
        return false;
    }
    g->argv = mem_alloc((size_t)(first + 2 * n) * sizeof g->argv[0]);
    g->scores = mem_alloc((size_t)n * sizeof g->scores[0]);
    g->argv[0] = SPAN_LIT("zadd");
    for (int i = 1; i < first; i++) {
        g->argv[i] = c->argv[i];
    }
    g->argc = first;
    for (int i = 0; i < n; i++) {
        struct geo_point p;
        if (!geo_parse_point(c, first + 3 * i, &p)) {
            return false;
        }
        uint64_t score = geo_score(geo_encode(p, GEO_LAT_MAX, GEO_STEP_MAX));
        size_t len = num_fmt_u64(g->scores[i], score);
        g->argv[g->argc++] = span_of(g->scores[i], len);
        g->argv[g->argc++] = c->argv[first + 3 * i + 2];
    }
    return true;
}

void geoadd_command(struct cmd_ctx *c)
{
    struct geoadd g;
    if (geoadd_parse(c, &g)) {
        const struct span *argv = c->argv;
        int argc = c->argc;
        c->argv = g.argv;
        c->argc = g.argc;
        zadd_command(c);
        c->argv = argv;
        c->argc = argc;
    }
    geoadd_free(&g);
}

/* Counts what the pairs of g would add and change in z (may be NULL). */
static void geoadd_count(const struct geoadd *g, const struct zset *z, int64_t *added,
                         int64_t *updated)
{
    struct zset *seen = zset_new(); /* members named before */
    struct zset_limits l = {.entries_max = 16, .value_max = 64};
    *added = *updated = 0;
    for (int i = g->first; i < g->argc; i += 2) {
        struct span member = g->argv[i + 1];
        double score = 0;
        num_parse_double(g->argv[i], &score);
        struct zset_ref ref;
        bool again = zset_find(seen, member, &ref);
        bool there = again || (z != NULL && zset_find(z, member, &ref));
        if (there ? g->nx : g->xx) {
            continue;
        }
        *added += !there;
        *updated += there && ref.score != score;
        if (again) {
            zset_update(seen, ref, score);
        } else {
            zset_insert(seen, &l, member, score);
        }
    }
    zset_free(seen);
}

/* Replicas store the coordinator's scores: their own arithmetic might round differently. */
bool geoadd_rewrite(struct cmd_ctx *c, struct effects *fx)
{
    struct geoadd g;
    struct zset *z;
    bool changes = false;
    if (geoadd_parse(c, &g) && zset_read(c, c->argv[1], &z)) {
        int64_t added;
        int64_t updated;
        geoadd_count(&g, z, &added, &updated);
        resp_int(c->out, g.ch ? added + updated : added);
        changes = added + updated != 0;
        if (changes) {
            effects_add(fx, (size_t)g.argc, g.argv);
        }
    }
    geoadd_free(&g);
    return changes;
}

/* ---- looking ---- */

void geohash_command(struct cmd_ctx *c)
{
    struct zset *z;
    if (!zset_read(c, c->argv[1], &z)) {
        return;
    }
    resp_array(c->out, (size_t)c->argc - 2);
    for (int i = 2; i < c->argc; i++) {
        struct zset_ref ref;
        if (z == NULL || !zset_find(z, c->argv[i], &ref)) {
            resp_null(c->out);
            continue;
        }
        char text[12];
        geo_text(ref.score, text);
        resp_bulk_str(c->out, text);
    }
}

void geopos_command(struct cmd_ctx *c)
{
    struct zset *z;
    if (!zset_read(c, c->argv[1], &z)) {
        return;
    }
    resp_array(c->out, (size_t)c->argc - 2);
    for (int i = 2; i < c->argc; i++) {
        struct zset_ref ref;
        if (z != NULL && zset_find(z, c->argv[i], &ref)) {
            geo_reply_point(c, geo_point_of_score(ref.score));
        } else {
            resp_null_array(c->out);
        }
    }
}

void geodist_command(struct cmd_ctx *c)
{
    double metres = 1;
    if (c->argc == 5 && !geo_parse_unit(c, c->argv[4], &metres)) {
        return;
    }
    if (c->argc > 5) {
        cmd_syntax_error(c);
        return;
    }
    struct zset *z;
    if (!zset_read(c, c->argv[1], &z)) {
        return;
    }
    struct zset_ref a;
    struct zset_ref b;
    if (z == NULL || !zset_find(z, c->argv[2], &a) || !zset_find(z, c->argv[3], &b)) {
        resp_null(c->out);
        return;
    }
    double d = geo_distance(geo_point_of_score(a.score), geo_point_of_score(b.score));
    geo_reply_distance(c, d / metres);
}
