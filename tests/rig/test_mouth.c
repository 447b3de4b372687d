// The inside of the mouth: which pictures count, the cheapest choice among them against all there
// are, where their pixels go, and what is drawn where there are none.
#include "tests/test.h"

#include "rig/mouth_internal.h"
#include "tests/rig/film.h"

#include <math.h>

#define N_FRAMES 60
#define GRID     (MOUTH_COLUMNS * MOUTH_ROWS)

// A face that stands still and opens its mouth once a second; frames 12 + 25 n are widest.
static void film_speaking(struct shot *shots)
{
    for (int i = 0; i < N_FRAMES; i++)
        shots[i] = (struct shot){.scale = 300,
                                 .yaw = i < 30 ? 0 : 0.3f,
                                 .x = 400,
                                 .y = 100,
                                 .open = 0.045f * (1 - cosf(0.2513f * (float)i))};
}

static struct track *speaking_track(void)
{
    struct shot shots[N_FRAMES];
    film_speaking(shots);
    struct track *t = film_make(shots, N_FRAMES);
    film_keep_mouth(t, 0, 200, 30); // closed
    film_keep_mouth(t, 5, 200, 31);
    film_keep_mouth(t, 12, 200, 32);
    film_keep_mouth(t, 37, 200, 33); // turned
    return t;
}

static struct mouths *make_mouths(const struct track *t, struct person *p)
{
    struct kb_error err = {0};
    struct mouths *m = NULL;
    assert_ok(err, person_fit(p, t, 0, NULL, &err));
    assert_ok(err, mouths_create(&m, p, t, 0, NULL, 0, &err));
    return m;
}

static void test_library(void **state)
{
    CLEANUP(track_free) struct track *t = speaking_track();
    struct person p;
    CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
    // The closed one is none of them.
    assert_int_equal(mouths_count(m), 3);
    assert_false(mouths_drawn(m));
    assert_true(m->entries[1].jaw > m->entries[0].jaw && m->entries[0].jaw > 0.01f);
    assert_float_equal(m->entries[0].yaw, 0, 0.05);
    assert_float_equal(m->entries[2].yaw - m->entries[1].yaw, -0.3, 0.02);
    for (int k = 0; k < 3; k++) {
        assert_float_equal(m->entries[k].light.yuv[0], 100, 0.01);
        assert_float_equal(m->entries[k].light.yuv[2], 120, 0.01);
    }

    // Another film of this person gives its pictures instead; one without open mouths does not.
    struct kb_error err = {0};
    struct mouths *found = NULL;
    struct shot shots[N_FRAMES];
    film_speaking(shots);
    CLEANUP(track_free) struct track *other = film_make(shots, N_FRAMES);
    film_keep_mouth(other, 0, 100, 50);
    assert_ok(err, mouths_create(&found, &p, t, 0, other, 0, &err));
    assert_int_equal(mouths_count(found), 3);
    mouths_free(&found);
    film_keep_mouth(other, 13, 100, 50);
    assert_ok(err, mouths_create(&found, &p, t, 0, other, 0, &err));
    assert_int_equal(mouths_count(found), 1);
    assert_int_equal(found->entries[0].picture.width, 100);
    mouths_free(&found);

    // Damaged pictures are left out.
    t->faces[0].records[12].box[0] = NAN;
    memset(t->faces[0].records[37].points, 0, sizeof(t->faces[0].records[37].points));
    assert_ok(err, mouths_create(&found, &p, t, 0, NULL, 0, &err));
    assert_int_equal(mouths_count(found), 1);
    mouths_free(&found);
    mouths_free(&found);
}

static void test_light(void **state)
{
    enum { SIDE = 64 };
    uint8_t luma[SIDE * SIDE], u[SIDE * SIDE / 4], v[SIDE * SIDE / 4];
    struct mouth_picture picture = {{luma, u, v}, {SIDE, SIDE / 2, SIDE / 2}, SIDE, SIDE};
    float points[TRACK_N_POINTS][3];
    memset(luma, 90, sizeof(luma));
    memset(u, 110, sizeof(u));
    memset(v, 150, sizeof(v));
    film_face(0, points);
    for (int i = 0; i < TRACK_N_POINTS; i++)
        for (int k = 0; k < 2; k++)
            points[i][k] *= SIDE;
    const float(*at)[3] = (const float(*)[3])points;
    // A black spot and a white one at two of the places do not count.
    static const int spoilt[] = {164, 18};
    for (int i = 0; i < 2; i++) {
        const float *p = points[track_point_of(spoilt[i])];
        for (int y = -2; y <= 2; y++)
            for (int x = -2; x <= 2; x++)
                luma[((int)p[1] + y) * SIDE + (int)p[0] + x] = i ? 255 : 0;
    }
    struct mouth_light light = mouth_light_of(&picture, at);
    assert_float_equal(light.yuv[0], 90, 1);
    assert_float_equal(light.yuv[1], 110, 0.01);
    assert_float_equal(light.yuv[2], 150, 0.01);
    for (int i = 0; i < TRACK_N_POINTS; i++)
        points[i][0] = i % 2 ? NAN : -3;
    light = mouth_light_of(&picture, at);
    for (int k = 0; k < 3; k++)
        assert_float_equal(light.yuv[k], 128, 0);
}

// --- the choice ---

static uint32_t random_state = 1;

static float random_unit(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return (float)(random_state >> 8) / (1 << 24);
}

static void random_ring(float gap, float (*ret)[2])
{
    float points[TRACK_N_POINTS][3];
    film_face(gap, points);
    for (int i = 0; i < TRACK_N_LIPS; i++)
        memcpy(ret[i], points[TRACK_INNER_FIRST + i], sizeof(ret[i]));
}

// A library of n pictures that are only shapes, and needs that wander.
static void random_library(struct mouths *m, int n)
{
    memset(m, 0, sizeof(*m));
    m->n = n;
    for (int k = 0; k < n; k++) {
        float ring[TRACK_N_LIPS][2];
        random_ring(0.02f + 0.08f * random_unit(), ring);
        for (int i = 0; i < TRACK_N_LIPS; i++)
            memcpy(m->entries[k].inner[i], ring[i], sizeof(ring[i]));
        m->entries[k].yaw = 0.3f * random_unit();
        m->entries[k].light.yuv[0] = 100 + 30 * random_unit();
    }
}

static void random_needs(struct mouth_need *needs, int n)
{
    for (int i = 0; i < n; i++) {
        random_ring(0.10f * random_unit(), needs[i].inner);
        needs[i].yaw = 0.3f * random_unit();
        needs[i].pitch = 0;
        needs[i].light = i % 3 ? 110 : -1;
        needs[i].open = true;
    }
}

static float path_cost(const struct mouths *m, const struct mouth_need *needs, int n,
                       const int *path)
{
    float sum = 0;
    for (int i = 0; i < n; i++) {
        sum += mouth_cost(&m->entries[path[i]], &needs[i]);
        if (i > 0 && path[i] != path[i - 1])
            sum += mouth_switch_cost(&needs[i]);
    }
    return sum;
}

static void test_plan(void **state)
{
    enum { N = 7, K = 4, PATHS = 16384 };
    CLEANUP(kb_freep) struct mouths *m = kb_alloc(sizeof(*m));
    struct mouth_need needs[N];
    struct mouth_choice choices[N];
    struct kb_error err = {0};
    int n_switches = 0;
    for (int trial = 0; trial < 60; trial++) {
        random_library(m, K);
        random_needs(needs, N);
        assert_ok(err, mouths_plan(m, needs, N, choices, &err));
        float least = INFINITY;
        int path[N];
        for (int number = 0; number < PATHS; number++) {
            for (int i = 0, rest = number; i < N; i++, rest /= K)
                path[i] = rest % K;
            least = fminf(least, path_cost(m, needs, N, path));
        }
        for (int i = 0; i < N; i++) {
            path[i] = choices[i].mix < 0.5f ? choices[i].a : choices[i].b;
            n_switches += i > 0 && path[i] != path[i - 1];
        }
        assert_float_equal(path_cost(m, needs, N, path), least, 1e-6);
    }
    assert_true(n_switches > 20); // it was not all one picture
}

static void test_plan_runs(void **state)
{
    enum { N = 40 };
    CLEANUP(kb_freep) struct mouths *m = kb_alloc(sizeof(*m));
    struct mouth_need needs[N];
    struct mouth_choice c[N];
    struct kb_error err = {0};
    random_library(m, 2);
    for (int k = 0; k < 2; k++) {
        float ring[TRACK_N_LIPS][2];
        random_ring(k ? 0.10f : 0.03f, ring);
        for (int i = 0; i < TRACK_N_LIPS; i++)
            memcpy(m->entries[k].inner[i], ring[i], sizeof(ring[i]));
        m->entries[k].yaw = k ? 0.5f : 0;
        m->entries[k].jaw = 0;
    }
    // Straight ahead, then turned: one change, faded over four frames.
    random_needs(needs, N);
    for (int i = 0; i < N; i++) {
        random_ring(0.05f, needs[i].inner);
        needs[i].yaw = i < 20 ? 0 : 0.5f;
        needs[i].light = -1;
    }
    assert_ok(err, mouths_plan(m, needs, N, c, &err));
    for (int i = 0; i < N; i++) {
        float mix = i < 18 || i > 21 ? 0 : 0.2f * (float)(i - 17);
        assert_float_equal(c[i].mix, mix, 1e-5);
        assert_int_equal(c[i].a, i > 21);
        assert_int_equal(c[i].b, i >= 18);
    }
    // Closed for a frame in between: no fade, whatever was before.
    needs[20].open = false;
    assert_ok(err, mouths_plan(m, needs, N, c, &err));
    for (int i = 0; i < N; i++) {
        assert_float_equal(c[i].mix, 0, 0);
        assert_int_equal(c[i].a, i > 20);
    }
    // No number counts as closed.
    needs[20].open = true;
    needs[20].inner[4][1] = NAN;
    needs[30].yaw = INFINITY;
    assert_ok(err, mouths_plan(m, needs, N, c, &err));
    for (int i = 0; i < N; i++)
        assert_true(c[i].a >= 0 && c[i].a < 2 && c[i].b >= 0 && c[i].b < 2 && c[i].mix == 0);
    assert_int_equal(c[30].a, 1);
    assert_ok(err, mouths_plan(m, NULL, 0, NULL, &err));
    // Too closed is worse than too open.
    random_ring(0.065f, needs[0].inner);
    m->entries[1].yaw = 0;
    assert_true(mouth_cost(&m->entries[0], &needs[0]) > 2 * mouth_cost(&m->entries[1], &needs[0]));
}

static void test_plan_time(void **state)
{
    static const int lengths[] = {7500, 100000};
    CLEANUP(kb_freep) struct mouths *m = kb_alloc(sizeof(*m));
    CLEANUP(kb_freep) struct mouth_need *needs = kb_alloc((size_t)lengths[1] * sizeof(*needs));
    CLEANUP(kb_freep) struct mouth_choice *c = kb_alloc((size_t)lengths[1] * sizeof(*c));
    struct kb_error err = {0};
    random_library(m, TRACK_MAX_MOUTHS);
    random_needs(needs, lengths[1]);
    for (size_t l = 0; l < ARRAY_LEN(lengths); l++) {
        int64_t start = kb_now_us();
        assert_ok(err, mouths_plan(m, needs, lengths[l], c, &err));
        int64_t took = kb_now_us() - start;
        print_message("# %d frames, 64 pictures: %.1f ms\n", lengths[l], (double)took / 1000);
        assert_true(took < 10000000); // a second at most anywhere but under a sanitizer
    }
    for (int i = 0; i < lengths[1]; i++)
        assert_true(c[i].a >= 0 && c[i].a < m->n && c[i].b >= 0 && c[i].b < m->n && c[i].mix >= 0 &&
                    c[i].mix < 1);
}

// --- the place ---

static float sample(const struct mouth_picture *p, const float at[2])
{
    int x = KB_MIN((int)at[0], p->width - 1), y = KB_MIN((int)at[1], p->height - 1);
    return p->planes[0][y * p->strides[0] + x];
}

static void assert_grid_good(const struct mouth_grid *g, float inside)
{
    for (int row = 0; row < MOUTH_ROWS; row++) {
        for (int i = 0; i < MOUTH_COLUMNS; i++) {
            int v = row * MOUTH_COLUMNS + i;
            assert_true(isfinite(g->source[v][0]) && isfinite(g->source[v][1]));
            assert_true(g->shade[v] >= 0.3f && g->shade[v] <= 1.05f);
            assert_true(g->dark[v] >= 0 && g->dark[v] <= 1);
            // Away from the picture's corners, where the hole is thinner than a pixel, nothing but
            // the inside is seen.
            if (i > 0 && i < MOUTH_COLUMNS - 1 && inside > 0)
                assert_float_equal(sample(&g->from, g->source[v]), inside, 0);
            if (i > 0)
                assert_true(g->source[v][0] >= g->source[v - 1][0] - 1e-3f);
            if (row > 0)
                assert_true(g->source[v][1] >= g->source[v - MOUTH_COLUMNS][1] - 1e-3f);
        }
    }
}

static void test_place_itself(void **state)
{
    // The picture's own frame: everything stays where it is, less the margin at the rim.
    CLEANUP(track_free) struct track *t = speaking_track();
    struct person p;
    CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
    const struct mouth_entry *e = &m->entries[1];
    struct posed posed;
    struct track_mouth kept;
    track_mouth(t, 0, 2, &kept);
    for (int i = 0; i < TRACK_N_POINTS; i++)
        pose_invert(&e->pose, kept.points[i], posed.canonical[i]);
    struct mouth_grid g;
    mouths_place(m, 1, (const float(*)[3])posed.canonical, &g);
    assert_grid_good(&g, 32);
    assert_ptr_equal(g.from.planes[0], e->picture.planes[0]);
    float worst = 0, off = 0.008f * e->pose.scale * e->scale;
    for (int v = 0; v < GRID; v++) {
        int column = v % MOUTH_COLUMNS;
        if (column < 4 || column > 16)
            continue;
        const float at[3] = {g.target[v][0], g.target[v][1], e->inner[5][2]};
        float picture[2];
        pose_apply(&e->pose, at, picture);
        for (int k = 0; k < 2; k++) {
            float there = (picture[k] - (k ? e->y0 : e->x0)) * e->scale;
            worst = fmaxf(worst, fabsf(g.source[v][k] - there));
        }
        if (v / MOUTH_COLUMNS > 1 && v / MOUTH_COLUMNS < MOUTH_ROWS - 2)
            assert_float_equal(g.shade[v], 1, 0.1);
    }
    print_message("# its own frame is off by %.2f pixels at most, margin %.2f\n", (double)worst,
                  (double)(0.005f * e->pose.scale * e->scale));
    assert_true(worst < off);
}

static void test_place_any(void **state)
{
    CLEANUP(track_free) struct track *t = speaking_track();
    struct person p;
    CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
    for (int trial = 0; trial < 400; trial++) {
        float target[TRACK_N_POINTS][3];
        film_face(0.15f * random_unit(), target);
        float wide = 0.6f + 0.8f * random_unit(), raise = 0.02f * (random_unit() - 0.5f);
        for (int i = 0; i < TRACK_N_LIPS; i++) {
            float *q = target[TRACK_INNER_FIRST + i];
            q[0] = 0.5f + (q[0] - 0.5f) * wide;
            q[1] += raise + 0.002f * random_unit();
        }
        struct mouth_grid g;
        int k = trial % 3;
        mouths_place(m, k, (const float(*)[3])target, &g);
        assert_grid_good(&g, 31 + (float)k);
    }
    // Lips that cross have nothing between them, and numbers all the same.
    float crossed[TRACK_N_POINTS][3];
    struct mouth_grid g;
    film_face(-0.01f, crossed);
    mouths_place(m, 0, (const float(*)[3])crossed, &g);
    assert_grid_good(&g, 0);
    for (int i = 0; i < MOUTH_COLUMNS; i++)
        assert_true(g.target[i + (MOUTH_ROWS - 1) * MOUTH_COLUMNS][1] >= g.target[i][1]);
}

// Where in the picture the middle column takes its pixels from, canonical, above and below.
static void teeth_rows(const struct mouths *m, float open, float upper[2], float lower[2])
{
    float target[TRACK_N_POINTS][3];
    struct mouth_grid g;
    film_face(open, target);
    mouths_place(m, 1, (const float(*)[3])target, &g);
    const struct mouth_entry *e = &m->entries[1];
    for (int end = 0; end < 2; end++) {
        int v = (end ? MOUTH_ROWS - 2 : 1) * MOUTH_COLUMNS + MOUTH_COLUMNS / 2;
        float *ret = end ? lower : upper;
        ret[0] = g.target[v][1];
        // The pose of this film is upright: y alone takes it back.
        ret[1] = (g.source[v][1] / e->scale + e->y0 - e->pose.shift[1]) / e->pose.scale;
    }
}

static void test_place_teeth(void **state)
{
    CLEANUP(track_free) struct track *t = speaking_track();
    struct person p;
    CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
    float upper[2], lower[2], target[TRACK_N_POINTS][3];
    // The picture is open by 0.09. Targets less open: upper teeth do not move, lower ones go up
    // with the jaw.
    static const float opens[] = {0.085f, 0.07f, 0.05f};
    for (size_t i = 0; i < ARRAY_LEN(opens); i++) {
        teeth_rows(m, opens[i], upper, lower);
        assert_float_equal(upper[1], upper[0], 0.006);
        film_face(opens[i], target);
        float jaw = person_jaw(&p, (const float(*)[3])target) - m->entries[1].jaw;
        assert_float_equal(lower[1], lower[0] - jaw, 0.006);
    }
}

// --- teeth ---

#define TOOTH  200
#define CAVITY 40

// Paints what a kept picture shows between the lips: upper teeth down to a place below the seam,
// lower teeth from another one, which goes down with the jaw, and between them the dark. The film
// is upright, one canonical unit has so many pixels in it from y on.
static void paint_teeth(struct kept_mouth *kept, float scale, float y, float upper_end,
                        float lower_end, float jaw)
{
    const float seam = 0.69f; // tests/rig/film.c
    for (int row = 0; row < kept->height; row++) {
        float at = (((float)row + 0.5f) / kept->scale + kept->y0 - y) / scale - seam;
        uint8_t value = at < upper_end || at > lower_end + jaw ? TOOTH : CAVITY;
        for (int x = 0; x < kept->width; x++) {
            uint8_t *px = &kept->pixels[row * kept->width + x];
            if (*px != 100)
                *px = value;
        }
    }
}

// A film of one person with these teeth, opening the mouth from hardly to wide in eight pictures.
// In every second one the lower teeth stand so much lower than the chin tells.
static struct track *film_with_uneven_teeth(float upper_end, float lower_end, float off)
{
    struct shot shots[N_FRAMES];
    for (int i = 0; i < N_FRAMES; i++)
        shots[i] = (struct shot){.scale = 300, .x = 400, .y = 100, .open = 0.002f * (float)i};
    struct track *t = film_make(shots, N_FRAMES);
    struct person p;
    struct kb_error err = {0};
    assert_ok(err, person_fit(&p, t, 0, NULL, &err));
    for (int i = 0; i < 8; i++) {
        int frame = 16 + 6 * i;
        film_keep_mouth(t, frame, 240, 150);
        float face[TRACK_N_POINTS][3];
        film_face(shots[frame].open, face);
        paint_teeth(&t->faces->mouths[i], 300, 100, upper_end, lower_end + (i % 2 ? off : 0),
                    person_jaw(&p, (const float(*)[3])face));
    }
    return t;
}

static struct track *film_with_teeth(float upper_end, float lower_end)
{
    return film_with_uneven_teeth(upper_end, lower_end, 0);
}

static const float rows_of_teeth[][2] = {{0.004f, 0.001f}, {0.012f, -0.004f}, {-0.003f, 0.006f}};

static void test_teeth_are_found(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows_of_teeth); i++) {
        CLEANUP(track_free)
        struct track *t = film_with_teeth(rows_of_teeth[i][0], rows_of_teeth[i][1]);
        struct person p;
        CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
        assert_true(m->n >= 6);
        assert_float_equal(m->upper_end, rows_of_teeth[i][0], 0.0025);
        assert_float_equal(m->lower_end, rows_of_teeth[i][1], 0.0025);
        assert_float_equal(m->cavity.yuv[0], CAVITY, 6);
        assert_float_equal(m->cavity.yuv[1], 120, 1); // the chroma of film_keep_mouth
    }
    // Where nothing differs nothing is found, and the usual holds.
    CLEANUP(track_free) struct track *t = speaking_track();
    struct person p;
    CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
    assert_float_equal(m->upper_end, 0.020f, 1e-6);
    assert_float_equal(m->lower_end, -0.004f, 1e-6);
}

// The chin is found to a few pixels only; the teeth of a picture are where they are seen in it.
static void test_teeth_of_each_picture(void **state)
{
    const float upper_end = 0.004f, off[] = {0.007f, -0.007f};
    for (size_t i = 0; i < ARRAY_LEN(off); i++) {
        CLEANUP(track_free) struct track *t = film_with_uneven_teeth(upper_end, 0.008f, off[i]);
        struct person p;
        CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
        int skipped = 8 - m->n; // the first ones are hardly open
        assert_true(skipped <= 2);
        for (int k = 2; k < m->n; k++) {
            const struct mouth_entry *e = &m->entries[k];
            float lower = 0.008f + ((k + skipped) % 2 ? off[i] : 0) + e->jaw;
            assert_float_equal(e->upper_end, upper_end, 0.004);
            assert_float_equal(e->lower_end, lower, 0.004);
        }
    }
}

// An upper lip that comes down hides teeth; those still seen are as large as in the picture.
static void test_teeth_keep_their_size(void **state)
{
    CLEANUP(track_free) struct track *t = film_with_teeth(0.012f, 0.006f);
    struct person p;
    CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
    const struct mouth_entry *e = &m->entries[m->n / 2];
    for (int step = 0; step < 4; step++) {
        float target[TRACK_N_POINTS][3], down = 0.004f * (float)step;
        struct mouth_grid g;
        film_face(0.08f, target);
        for (int i = 1; i < LIPS_RIGHT; i++)
            target[TRACK_INNER_FIRST + i][1] += down;
        mouths_place(m, m->n / 2, (const float(*)[3])target, &g);
        const int v = MOUTH_COLUMNS / 2, last = v + 4 * MOUTH_COLUMNS; // from the lip to the edge
        float shown = g.target[last][1] - g.target[v][1];
        float had = (g.source[last][1] - g.source[v][1]) / (e->scale * e->pose.scale);
        assert_true(shown > 0.004f);
        // At the rim of the picture's hole a margin is not seen; a lip that is lower hides it.
        assert_float_equal(shown, had, down < 0.006f ? 0.007 : 0.0005);
    }
}

// Where a picture ends no row of teeth does.
static void test_teeth_beyond_the_picture(void **state)
{
    CLEANUP(track_free) struct track *t = film_with_teeth(-1, 1); // dark all over
    for (int i = 0; i < t->faces->n_mouths; i++) {
        struct kept_mouth *kept = &t->faces->mouths[i];
        float end = 100 + 300 * (0.69f + 0.012f); // tests/rig/film.c
        kept->height = (int)((end - kept->y0) * kept->scale) & ~1;
    }
    struct person p;
    CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
    assert_true(m->n >= 6);
    assert_float_equal(m->upper_end, 0.020f, 1e-6);
    assert_float_equal(m->lower_end, -0.004f, 1e-6);
}

// How much of a column shows a row of the picture drawn out to stripes: what is longer than half
// as long again as in the picture and not dark; canonical.
static float stripes_in(const struct mouth_grid *g, const struct mouth_entry *e, int column)
{
    float sum = 0;
    for (int row = 1; row < MOUTH_ROWS; row++) {
        int v = row * MOUTH_COLUMNS + column, above = v - MOUTH_COLUMNS;
        float to = g->target[v][1] - g->target[above][1];
        float from = (g->source[v][1] - g->source[above][1]) / (e->scale * e->pose.scale);
        sum += fmaxf(to - 1.5f * from, 0) * (1 - (g->dark[v] + g->dark[above]) / 2);
    }
    return sum;
}

static void test_nothing_is_drawn_out(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows_of_teeth); i++) {
        CLEANUP(track_free)
        struct track *t = film_with_teeth(rows_of_teeth[i][0], rows_of_teeth[i][1]);
        struct person p;
        CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
        float worst = 0;
        for (int k = 0; k < m->n; k++) {
            for (float open = 0.01f; open < 0.13f; open += 0.005f) {
                float target[TRACK_N_POINTS][3];
                struct mouth_grid g;
                film_face(open, target);
                mouths_place(m, k, (const float(*)[3])target, &g);
                assert_grid_good(&g, 0);
                for (int column = 3; column < MOUTH_COLUMNS - 3; column++)
                    worst = fmaxf(worst, stripes_in(&g, &m->entries[k], column));
            }
        }
        print_message("# drawn out: %.4f\n", (double)worst);
        // The edges of the dark, and what the margins at the lips take away.
        assert_true(worst < 0.018f);
    }
}

// --- the drawn one ---

static float luma_at(const struct mouths *m, float x, float below_seam)
{
    const struct mouth_entry *e = &m->entries[0];
    const float *corner = m->person.neutral[TRACK_INNER_FIRST];
    float middle = (corner[0] + m->person.neutral[TRACK_INNER_FIRST + LIPS_RIGHT][0]) / 2;
    const float at[2] = {(middle + x - e->x0) * e->scale,
                         (corner[1] + below_seam - e->y0) * e->scale};
    return sample(&e->picture, at);
}

static void test_drawn(void **state)
{
    struct shot shots[N_FRAMES];
    for (int i = 0; i < N_FRAMES; i++)
        shots[i] = (struct shot){.scale = 600, .x = 300, .y = 40, .open = 0.004f};
    CLEANUP(track_free) struct track *t = film_make(shots, N_FRAMES);
    struct person p;
    float teeth[3];
    static const float skins[3][3] = {{162, 114, 152}, {91, 114, 142}, {119, 128, 128}};
    for (int kind = 0; kind < 3; kind++) {
        memcpy(t->faces[0].skin, skins[kind], sizeof(skins[kind]));
        CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
        assert_true(mouths_drawn(m));
        assert_int_equal(mouths_count(m), 1);
        const struct mouth_entry *e = &m->entries[0];
        assert_true(e->picture.width >= 180 && e->picture.width <= 384);
        assert_true(lip_edge_at((const float(*)[3])e->inner, true, 0.5f).y -
                        lip_edge_at((const float(*)[3])e->inner, false, 0.5f).y >
                    0.1f);
        // Teeth bright, the throat dark, the tongue between, corners in the shadow.
        float throat = luma_at(m, 0, 0.03f), tongue = luma_at(m, 0.02f, 0.062f);
        float light = e->light.yuv[0] - 16;
        teeth[kind] = luma_at(m, 0.02f, 0);
        assert_true(teeth[kind] - 16 > 0.75f * light && teeth[kind] < 235);
        assert_true(throat - 16 < 0.3f * light);
        assert_true(tongue > throat + 0.15f * light && tongue < teeth[kind]);
        assert_true(luma_at(m, 0.095f, 0) < 0.8f * teeth[kind]);
        // In a grey film it is grey.
        int n = e->picture.strides[1] * e->picture.height / 2, coloured = 0;
        for (int i = 0; i < n; i++)
            coloured +=
                abs(e->picture.planes[1][i] - 128) > 1 || abs(e->picture.planes[2][i] - 128) > 1;
        assert_true(kind == 2 ? coloured == 0 : coloured > n / 2);

        struct mouth_grid g;
        float target[TRACK_N_POINTS][3];
        film_face(0.05f, target);
        mouths_place(m, 0, (const float(*)[3])target, &g);
        assert_grid_good(&g, 0);
    }
    assert_true(teeth[1] < 0.8f * teeth[0]);
}

static void test_drawn_small(void **state)
{
    // A photo of a small face: still a drawing, of few pixels.
    struct shot shot = {.scale = 60, .x = 300, .y = 40, .open = 0.001f};
    CLEANUP(track_free) struct track *t = film_make(&shot, 1);
    film_keep_mouth(t, 0, 64, 20); // closed
    t->faces[0].skin[0] = 100;
    struct person p;
    CLEANUP(mouths_free) struct mouths *m = make_mouths(t, &p);
    assert_true(mouths_drawn(m));
    assert_float_equal(m->entries[0].light.yuv[0], 100, 0.01);
    assert_int_equal(m->entries[0].picture.width, 32);
    assert_true(luma_at(m, 0.02f, 0) > luma_at(m, 0, 0.03f) + 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_library),
        cmocka_unit_test(test_light),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_plan_runs),
        cmocka_unit_test(test_plan_time),
        cmocka_unit_test(test_place_itself),
        cmocka_unit_test(test_place_any),
        cmocka_unit_test(test_place_teeth),
        cmocka_unit_test(test_teeth_are_found),
        cmocka_unit_test(test_teeth_of_each_picture),
        cmocka_unit_test(test_teeth_keep_their_size),
        cmocka_unit_test(test_teeth_beyond_the_picture),
        cmocka_unit_test(test_nothing_is_drawn_out),
        cmocka_unit_test(test_drawn),
        cmocka_unit_test(test_drawn_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
