#ifndef BACKENDS_TYPES_GEOHASH_H
#define BACKENDS_TYPES_GEOHASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Geohashes as Redis keeps them in sorted sets: 26 bits of latitude and 26 of longitude,
 * interleaved (longitude higher), as an integer score. Degrees throughout; distances in metres on a
 * sphere. */
#define GEO_LON_MAX 180.0
#define GEO_LAT_MAX 85.05112878 /* where web Mercator's square ends */
#define GEO_STEP_MAX 26

struct geo_point {
    double lon, lat;
};

struct geo_range {
    double min, max;
};

struct geo_area {
    struct geo_range lon, lat;
};

/* 2 * step bits: a cell of the grid of that step. step 0: none. */
struct geo_cell {
    uint64_t bits;
    uint8_t step;
};

/* What is searched: a circle, or a box of that full width and height, around a centre. */
struct geo_shape {
    bool box;
    struct geo_point centre;
    double radius, width, height; /* metres */
};

/* The whole globe's ranges are -180..180 and -GEO_LAT_MAX..GEO_LAT_MAX, or -90..90 for the text
 * form. */
struct geo_cell geo_encode(struct geo_point p, double lat_max, uint8_t step);
struct geo_area geo_decode(struct geo_cell c);
/* The centre of a score's cell, kept within the limits. */
struct geo_point geo_point_of_score(double score);
uint64_t geo_score(struct geo_cell c); /* aligned to 52 bits */

double geo_distance(struct geo_point a, struct geo_point b);
/* True, and the distance from the centre, if p lies in the shape. */
bool geo_within(const struct geo_shape *s, struct geo_point p, double *distance);

/* The cells that together cover the shape, in the order Redis visits them (centre, N, S, E, W, NE,
 * NW, SE, SW); the same cell may occur twice in a row. Returns how many, at most 9. */
#define GEO_CELLS_MAX 9
size_t geo_cover(const struct geo_shape *s, struct geo_cell *out);

/* The usual 11 letters of text, the last one always 0; terminated. */
void geo_text(double score, char out[12]);

#endif
