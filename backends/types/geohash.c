/* Geohashes and searching with them.
 *
 * A shape is covered by the cell of its centre and the eight around it, of the finest grid whose
 * cells are not smaller than the shape; cells that cannot reach into the shape's bounding box are
 * left out. Order and choice of cells are Redis', because replies without a requested order show
 * them. */
#include "backends/types/geohash.h"

#include <math.h>
#include <string.h>

#define EARTH_RADIUS 6372797.560856 /* metres */
#define MERCATOR_MAX 20037726.37
#define DEGREE (M_PI / 180.0)
#define LAT_BITS 0x5555555555555555u
#define LON_BITS 0xAAAAAAAAAAAAAAAAu

/* Spreads 32 bits over the even bits of 64. */
static uint64_t spread(uint32_t v)
{
    uint64_t x = v;
    x = (x | x << 16) & 0x0000FFFF0000FFFFu;
    x = (x | x << 8) & 0x00FF00FF00FF00FFu;
    x = (x | x << 4) & 0x0F0F0F0F0F0F0F0Fu;
    x = (x | x << 2) & 0x3333333333333333u;
    return (x | x << 1) & LAT_BITS;
}

static uint32_t gather(uint64_t x)
{
    x &= LAT_BITS;
    x = (x | x >> 1) & 0x3333333333333333u;
    x = (x | x >> 2) & 0x0F0F0F0F0F0F0F0Fu;
    x = (x | x >> 4) & 0x00FF00FF00FF00FFu;
    x = (x | x >> 8) & 0x0000FFFF0000FFFFu;
    return (uint32_t)(x | x >> 16);
}

struct geo_cell geo_encode(struct geo_point p, double lat_max, uint8_t step)
{
    double lat = (p.lat + lat_max) / (2 * lat_max);
    double lon = (p.lon + GEO_LON_MAX) / (2 * GEO_LON_MAX);
    double scale = (double)((uint64_t)1 << step);
    uint64_t bits = spread((uint32_t)(lat * scale)) | spread((uint32_t)(lon * scale)) << 1;
    return (struct geo_cell){bits, step};
}

static struct geo_range stretch(uint32_t i, double max, uint8_t step)
{
    double cells = (double)((uint64_t)1 << step);
    uint32_t next = i + 1;
    return (struct geo_range){-max + (i * 1.0 / cells) * (2 * max),
                              -max + (next * 1.0 / cells) * (2 * max)};
}

struct geo_area geo_decode(struct geo_cell c)
{
    return (struct geo_area){.lon = stretch(gather(c.bits >> 1), GEO_LON_MAX, c.step),
                             .lat = stretch(gather(c.bits), GEO_LAT_MAX, c.step)};
}

static double clamp(double v, double max)
{
    return v > max ? max : v < -max ? -max : v;
}

/* Any score may be in the set: outside of 64 bits there is no meaning, but it must be defined. */
static uint64_t score_bits(double score)
{
    if (score >= 0 && score < 18446744073709551616.0) {
        return (uint64_t)score;
    }
    if (score < 0 && score >= -9223372036854775808.0) {
        return (uint64_t)(int64_t)score;
    }
    return score < 0 ? (uint64_t)1 << 63 : 0;
}

struct geo_point geo_point_of_score(double score)
{
    struct geo_area a = geo_decode((struct geo_cell){score_bits(score), GEO_STEP_MAX});
    return (struct geo_point){clamp((a.lon.min + a.lon.max) / 2, GEO_LON_MAX),
                              clamp((a.lat.min + a.lat.max) / 2, GEO_LAT_MAX)};
}

uint64_t geo_score(struct geo_cell c)
{
    return c.bits << (52 - c.step * 2);
}

/* Haversine. */
double geo_distance(struct geo_point a, struct geo_point b)
{
    double lat_a = a.lat * DEGREE;
    double lat_b = b.lat * DEGREE;
    double u = sin((lat_b - lat_a) / 2);
    double v = sin((b.lon * DEGREE - a.lon * DEGREE) / 2);
    return 2.0 * EARTH_RADIUS * asin(sqrt(u * u + cos(lat_a) * cos(lat_b) * v * v));
}

bool geo_within(const struct geo_shape *s, struct geo_point p, double *distance)
{
    if (!s->box) {
        *distance = geo_distance(s->centre, p);
        return *distance <= s->radius;
    }
    /* measured along the point's own parallel and meridian */
    double east_west = geo_distance(p, (struct geo_point){s->centre.lon, p.lat});
    double north_south = geo_distance(p, (struct geo_point){p.lon, s->centre.lat});
    if (east_west > s->width / 2 || north_south > s->height / 2) {
        return false;
    }
    *distance = geo_distance(s->centre, p);
    return true;
}

/* ---- covering a shape ---- */

/* The box around the shape, in degrees. */
static struct geo_area bounds(const struct geo_shape *s)
{
    double height = s->box ? s->height / 2 : s->radius;
    double width = s->box ? s->width / 2 : s->radius;
    double lat = height / EARTH_RADIUS / DEGREE;
    double top = width / EARTH_RADIUS / cos((s->centre.lat + lat) * DEGREE) / DEGREE;
    double bottom = width / EARTH_RADIUS / cos((s->centre.lat - lat) * DEGREE) / DEGREE;
    double lon =
        s->centre.lat < 0 ? bottom : top; /* the edge nearer to the pole is the wider one */
    return (struct geo_area){.lon = {s->centre.lon - lon, s->centre.lon + lon},
                             .lat = {s->centre.lat - lat, s->centre.lat + lat}};
}

/* The finest grid whose nine cells around a point cover this radius. */
static uint8_t step_for(double radius, double lat)
{
    if (radius == 0) {
        return GEO_STEP_MAX;
    }
    int step = 1;
    while (radius < MERCATOR_MAX) {
        radius *= 2;
        step++;
    }
    step -= 2;
    /* cells are narrower towards the poles */
    step -= (lat > 66 || lat < -66) + (lat > 80 || lat < -80);
    return (uint8_t)(step < 1 ? 1 : step > GEO_STEP_MAX ? GEO_STEP_MAX : step);
}

static uint64_t moved(uint64_t bits, uint64_t axis, int by, uint8_t step)
{
    if (by == 0) {
        return bits & axis;
    }
    uint64_t mask = axis >> (64 - step * 2);
    uint32_t i = gather(axis == LON_BITS ? bits >> 1 : bits);
    uint64_t to = spread(i + (uint32_t)by);
    return (axis == LON_BITS ? to << 1 : to) & mask;
}

static struct geo_cell neighbour(struct geo_cell c, int east, int north)
{
    return (struct geo_cell){
        moved(c.bits, LON_BITS, east, c.step) | moved(c.bits, LAT_BITS, north, c.step), c.step};
}

/* True if the shape's box reaches beyond the nine cells around c. */
static bool too_fine(struct geo_cell c, const struct geo_area *box)
{
    return geo_decode(neighbour(c, 0, 1)).lat.max < box->lat.max ||
           geo_decode(neighbour(c, 0, -1)).lat.min > box->lat.min ||
           geo_decode(neighbour(c, 1, 0)).lon.max < box->lon.max ||
           geo_decode(neighbour(c, -1, 0)).lon.min > box->lon.min;
}

size_t geo_cover(const struct geo_shape *s, struct geo_cell *out)
{
    static const struct {
        int east, north;
    } around[GEO_CELLS_MAX] = {{0, 0}, {0, 1},  {0, -1}, {1, 0},  {-1, 0},
                               {1, 1}, {-1, 1}, {1, -1}, {-1, -1}};
    struct geo_area box = bounds(s);
    double radius = s->radius;
    if (s->box) {
        radius = sqrt((s->width / 2) * (s->width / 2) + (s->height / 2) * (s->height / 2));
    }
    uint8_t step = step_for(radius, s->centre.lat);
    struct geo_cell c = geo_encode(s->centre, GEO_LAT_MAX, step);
    if (step > 1 && too_fine(c, &box)) {
        step--;
        c = geo_encode(s->centre, GEO_LAT_MAX, step);
    }
    struct geo_area a = geo_decode(c);
    size_t n = 0;
    for (size_t i = 0; i < GEO_CELLS_MAX; i++) {
        int east = around[i].east;
        int north = around[i].north;
        bool useless =
            (north < 0 && a.lat.min < box.lat.min) || (north > 0 && a.lat.max > box.lat.max) ||
            (east < 0 && a.lon.min < box.lon.min) || (east > 0 && a.lon.max > box.lon.max);
        if (step < 2 || !useless) {
            out[n++] = neighbour(c, east, north);
        }
    }
    return n;
}

void geo_text(double score, char out[12])
{
    static const char letters[] = "0123456789bcdefghjkmnpqrstuvwxyz";
    /* the text form divides -90..90, the score less than that */
    struct geo_cell c = geo_encode(geo_point_of_score(score), 90, GEO_STEP_MAX);
    for (int i = 0; i < 10; i++) {
        out[i] = letters[c.bits >> (52 - (i + 1) * 5) & 31];
    }
    out[10] = '0'; /* only 2 of its 5 bits would be there */
    out[11] = '\0';
}
