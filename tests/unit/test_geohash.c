/* Geohashes: positions, distances, and that the cells of a search cover it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "backends/types/geohash.h"

static uint64_t rng = 7;

static double uniform(double lo, double hi)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return lo + (hi - lo) * (double)(rng >> 11) / 9007199254740992.0;
}

static struct geo_point anywhere(void)
{
    return (struct geo_point){uniform(-180, 180), uniform(-85, 85)};
}

static void scores_and_texts_are_those_of_redis(void **state)
{
    (void)state;
    struct geo_point palermo = {13.361389, 38.115556};
    uint64_t score = geo_score(geo_encode(palermo, GEO_LAT_MAX, GEO_STEP_MAX));
    char text[12];
    geo_text((double)score, text);

    assert_int_equal(score, 3479099956230698u);
    assert_string_equal(text, "sqc8b49rny0");
}

static void decoding_gives_the_place_back(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++) {
        struct geo_point p = anywhere();
        uint64_t score = geo_score(geo_encode(p, GEO_LAT_MAX, GEO_STEP_MAX));
        struct geo_point q = geo_point_of_score((double)score);
        assert_true(fabs(p.lon - q.lon) < 360.0 / (1 << 26));
        assert_true(fabs(p.lat - q.lat) < 180.0 / (1 << 26));
        assert_true(geo_distance(p, q) < 1);
    }
}

static void any_score_has_a_place_on_the_globe(void **state)
{
    (void)state;
    static const double scores[] = {0,      -1,   1e300,   -1e300, INFINITY,          -INFINITY,
                                    1.8e19, 9e18, -9.3e18, 0.5,    4503599627370496.0};
    for (size_t i = 0; i < sizeof scores / sizeof scores[0]; i++) {
        struct geo_point p = geo_point_of_score(scores[i]);
        assert_true(fabs(p.lon) <= GEO_LON_MAX && fabs(p.lat) <= GEO_LAT_MAX);
    }
}

static void distance_is_a_metric_on_the_sphere(void **state)
{
    (void)state;
    struct geo_point a = {0, 0};
    struct geo_point b = {180, 0};
    assert_true(fabs(geo_distance(a, b) - M_PI * 6372797.560856) < 1);
    for (int i = 0; i < 1000; i++) {
        struct geo_point p = anywhere();
        struct geo_point q = anywhere();
        struct geo_point r = anywhere();
        assert_true(geo_distance(p, p) == 0);
        assert_true(fabs(geo_distance(p, q) - geo_distance(q, p)) < 1e-6);
        assert_true(geo_distance(p, r) <= geo_distance(p, q) + geo_distance(q, r) + 1e-6);
    }
}

static bool covered(const struct geo_cell *cells, size_t n, struct geo_point p)
{
    uint64_t score = geo_score(geo_encode(p, GEO_LAT_MAX, GEO_STEP_MAX));
    for (size_t i = 0; i < n; i++) {
        struct geo_cell next = cells[i];
        next.bits++;
        if (score >= geo_score(cells[i]) && score < geo_score(next)) {
            return true;
        }
    }
    return false;
}

/* Away from the poles and the date line, where Redis' choice of cells is known to miss some. */
static void cells_cover_the_shape(void **state)
{
    (void)state;
    for (int i = 0; i < 2000; i++) {
        struct geo_shape s = {.centre = {uniform(-120, 120), uniform(-60, 60)}};
        s.box = i % 2 == 0;
        s.radius = s.width = s.height = pow(10, uniform(0, 6));
        struct geo_cell cells[GEO_CELLS_MAX];
        size_t n = geo_cover(&s, cells);
        assert_in_range(n, 1, GEO_CELLS_MAX);
        for (int k = 0; k < 50; k++) {
            double reach = s.radius / 111000;
            struct geo_point p = {s.centre.lon + uniform(-2 * reach, 2 * reach),
                                  s.centre.lat + uniform(-reach, reach)};
            double d;
            if (fabs(p.lon) < 180 && fabs(p.lat) < 85 && geo_within(&s, p, &d)) {
                assert_true(covered(cells, n, p));
            }
        }
    }
}

static void within_is_judged_by_distance_or_by_sides(void **state)
{
    (void)state;
    struct geo_shape circle = {.centre = {10, 50}, .radius = 1000};
    struct geo_shape box = {.centre = {10, 50}, .box = true, .width = 2000, .height = 1000};
    double d = -1;

    assert_true(geo_within(&circle, (struct geo_point){10, 50.008}, &d));
    assert_true(fabs(d - 889.7) < 1);
    assert_false(geo_within(&circle, (struct geo_point){10, 50.01}, &d));
    assert_false(geo_within(&box, (struct geo_point){10, 50.008}, &d));
    assert_true(geo_within(&box, (struct geo_point){10.012, 50}, &d));
    assert_false(geo_within(&box, (struct geo_point){10.015, 50}, &d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_and_texts_are_those_of_redis),
        cmocka_unit_test(decoding_gives_the_place_back),
        cmocka_unit_test(any_score_has_a_place_on_the_globe),
        cmocka_unit_test(distance_is_a_metric_on_the_sphere),
        cmocka_unit_test(cells_cover_the_shape),
        cmocka_unit_test(within_is_judged_by_distance_or_by_sides),
    };
    return cmocka_run_group_tests_name("geohash", tests, NULL, NULL);
}
