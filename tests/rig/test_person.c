// The rig's person: similarities found again, the canonical mesh of a film made of numbers, the
// closed mouth, and what must end in a sentence.
#include "tests/test.h"

#include "tests/rig/film.h"

#include <math.h>

#define N_FRAMES 100

// A speaker who turns and nods: the mouth opens to 0.07 five times a second.
static void talk(struct shot *shots, int n)
{
    for (int i = 0; i < n; i++) {
        float a = (float)i * 0.1f;
        shots[i] = (struct shot){.scale = 300 + 30 * sinf(a),
                                 .yaw = 0.3f * sinf(0.7f * a),
                                 .pitch = 0.15f * cosf(a),
                                 .roll = 0.2f * sinf(1.3f * a),
                                 .x = 400 + 3 * a,
                                 .y = 100,
                                 .open = 0.004f + 0.033f * (1 - cosf(1.26f * (float)i))};
    }
}

static void test_pose(void **state)
{
    const struct shot shot = {
        .scale = 321, .yaw = 0.6f, .pitch = -0.3f, .roll = 2.8f, .x = 77, .y = -12};
    struct pose truth = film_pose(&shot), found;
    float a[TRACK_N_POINTS][3], b[TRACK_N_POINTS][3], weights[TRACK_N_POINTS];
    film_face(0, a);
    for (int i = 0; i < TRACK_N_POINTS; i++) {
        weights[i] = 1;
        for (int k = 0; k < 3; k++)
            b[i][k] =
                truth.shift[k] + truth.scale * (truth.r[k][0] * a[i][0] + truth.r[k][1] * a[i][1] +
                                                truth.r[k][2] * a[i][2]);
    }
    const float(*from)[3] = (const float(*)[3])a, (*to)[3] = (const float(*)[3])b;
    // A point that is wrong counts for nothing without weight.
    b[5][0] += 1000;
    weights[5] = 0;
    assert_true(pose_fit(&found, from, to, weights, TRACK_N_POINTS));
    assert_float_equal(found.scale, truth.scale, 0.01);
    for (int i = 0; i < 3; i++) {
        assert_float_equal(found.shift[i], truth.shift[i], 0.02);
        for (int k = 0; k < 3; k++)
            assert_float_equal(found.r[i][k], truth.r[i][k], 1e-4);
    }
    float at[2], back[3];
    pose_apply(&found, a[40], at);
    assert_float_equal(at[0], b[40][0], 0.02);
    assert_float_equal(at[1], b[40][1], 0.02);
    pose_invert(&found, b[40], back);
    for (int k = 0; k < 3; k++)
        assert_float_equal(back[k], a[40][k], 1e-4);

    // Flat points determine one too; a mirrored face is turned, never mirrored.
    for (int i = 0; i < TRACK_N_POINTS; i++)
        a[i][2] = b[i][2] = 0, b[i][0] = -a[i][0], b[i][1] = a[i][1];
    assert_true(pose_fit(&found, from, to, NULL, TRACK_N_POINTS));
    float det = 0;
    for (int k = 0; k < 3; k++)
        det += found.r[0][k] * (found.r[1][(k + 1) % 3] * found.r[2][(k + 2) % 3] -
                                found.r[1][(k + 2) % 3] * found.r[2][(k + 1) % 3]);
    assert_float_equal(det, 1, 1e-4);
}

static void test_no_pose(void **state)
{
    float a[8][3] = {{0}}, b[8][3] = {{0}};
    const float(*from)[3] = (const float(*)[3])a, (*to)[3] = (const float(*)[3])b;
    struct pose p;
    assert_false(pose_fit(&p, from, to, NULL, 8)); // all in one place
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 3; k++)
            a[i][k] = b[i][k] = (float)(i * (k + 1));
    assert_false(pose_fit(&p, from, to, NULL, 8)); // all on a line
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 3; k++)
            a[i][k] = b[i][k] = sinf((float)(i * 3 + k * k));
    assert_true(pose_fit(&p, from, to, NULL, 8));
    assert_false(pose_fit(&p, from, to, NULL, 2));
    const float none[8] = {0};
    assert_false(pose_fit(&p, from, to, none, 8));
    b[3][1] = NAN;
    assert_false(pose_fit(&p, from, to, NULL, 8));
    b[3][1] = INFINITY;
    assert_false(pose_fit(&p, from, to, NULL, 8));
}

static void test_film(void **state)
{
    struct shot shots[N_FRAMES];
    talk(shots, N_FRAMES);
    CLEANUP(track_free) struct track *t = film_make(shots, N_FRAMES);
    struct kb_error err = {0};
    struct person p;
    assert_ok(err, person_fit(&p, t, 0, NULL, &err));
    assert_int_equal(p.n_frames, N_FRAMES);
    assert_true(p.speaks);

    // The canonical face is the one that was filmed, and every frame unposes to it.
    float truth[TRACK_N_POINTS][3];
    struct posed posed;
    float worst = 0;
    for (int i = 5; i < N_FRAMES - 5; i++) {
        assert_true(person_at(&p, t, 0, i, &posed));
        assert_float_equal(posed.pose.scale, shots[i].scale, 1.5);
        assert_float_equal(posed.score, 0.95, 1e-3);
        film_face(shots[i].open, truth);
        for (int j = 0; j < TRACK_N_POINTS; j++)
            for (int k = 0; k < 2; k++)
                if (j < TRACK_OUTER_FIRST || j >= TRACK_STILL_FIRST) // smoothing slows the lips
                    worst = fmaxf(worst, fabsf(posed.canonical[j][k] - truth[j][k]));
        float at[2];
        pose_apply(&posed.pose, posed.canonical[60], at);
        assert_float_equal(at[0], posed.picture[60][0], 0.02);
    }
    print_message("# worst point of an unposed frame: %.4f canonical units\n", (double)worst);
    assert_true(worst < 0.02f);
    film_face(0, truth);
    for (int j = TRACK_STILL_FIRST; j < TRACK_N_POINTS; j++)
        for (int k = 0; k < 3; k++)
            assert_float_equal(p.mean[j][k], truth[j][k], 3e-3);

    // Closed: as the film's closed frames, at a quarter of their gap. The nine gaps of a parabola
    // are 0.733 of the middle one in the mean.
    const float(*inner)[3] = (const float(*)[3])p.neutral + TRACK_INNER_FIRST;
    assert_in_range((int)(lips_aperture((const float(*)[3])p.neutral) * 1e5f), 50, 300);
    assert_float_equal(inner[0][0], 0.39, 0.003);
    assert_float_equal(inner[10][0], 0.61, 0.003);
    assert_float_equal(inner[5][1], 0.69, 0.008);
    assert_float_equal(p.aperture_high, 0.7 * 0.07, 0.008);
    assert_true(p.aperture_low < 0.02f && p.aperture_low > 0);
}

static void test_still(void **state)
{
    // A photo with its mouth open: one frame, and the same a hundred times.
    struct shot shots[N_FRAMES];
    for (int i = 0; i < N_FRAMES; i++)
        shots[i] = (struct shot){
            .scale = 200, .yaw = 0.2f, .roll = 0.1f, .x = 300, .y = 80, .open = 0.06f};
    static const int lengths[] = {1, 2, N_FRAMES};
    for (size_t l = 0; l < ARRAY_LEN(lengths); l++) {
        CLEANUP(track_free) struct track *t = film_make(shots, lengths[l]);
        struct kb_error err = {0};
        struct person p;
        assert_ok(err, person_fit(&p, t, 0, NULL, &err));
        assert_int_equal(p.n_frames, lengths[l]);
        assert_false(p.speaks);
        float open = lips_aperture((const float(*)[3])p.mean);
        assert_float_equal(open, 0.06 * 0.733, 2e-3);
        assert_float_equal(lips_aperture((const float(*)[3])p.neutral), open / 4, 1e-4);
        assert_float_equal(p.aperture_low, p.aperture_high, 1e-4);
        // The lower lip stays as thick as it was, near enough.
        float thick = p.mean[TRACK_OUTER_FIRST + 15][1] - p.mean[TRACK_INNER_FIRST + 15][1];
        float now = p.neutral[TRACK_OUTER_FIRST + 15][1] - p.neutral[TRACK_INNER_FIRST + 15][1];
        assert_float_equal(now, thick, 0.15 * thick);
    }
}

static void test_speaks(void **state)
{
    struct shot shots[N_FRAMES];
    struct kb_error err = {0};
    struct person p;
    // One slow yawn is no speech, nor is a mouth that trembles.
    for (int kind = 0; kind < 2; kind++) {
        talk(shots, N_FRAMES);
        for (int i = 0; i < N_FRAMES; i++)
            shots[i].open = kind ? 0.003f + 0.003f * sinf((float)(i * i))
                                 : 0.05f * sinf(3.14f * (float)i / N_FRAMES);
        CLEANUP(track_free) struct track *t = film_make(shots, N_FRAMES);
        assert_ok(err, person_fit(&p, t, 0, NULL, &err));
        assert_false(p.speaks);
    }
}

static void test_sparse(void **state)
{
    // A face in two frames of two thousand, and one in all of them, of which 600 are looked at.
    enum { N = 2000 };
    CLEANUP(kb_freep) struct shot *shots = kb_alloc(N * sizeof(*shots));
    struct kb_error err = {0};
    struct person p;
    struct posed posed;
    talk(shots, N);
    CLEANUP(track_free) struct track *all = film_make(shots, N);
    assert_ok(err, person_fit(&p, all, 0, NULL, &err));
    assert_int_equal(p.n_frames, 600);
    assert_true(p.speaks);
    for (int i = 0; i < N; i++)
        if (i != 700 && i != 1999)
            shots[i].scale = 0;
    CLEANUP(track_free) struct track *t = film_make(shots, N);
    assert_ok(err, person_fit(&p, t, 0, NULL, &err));
    assert_int_equal(p.n_frames, 2);
    assert_true(person_at(&p, t, 0, 700, &posed));
    assert_false(person_at(&p, t, 0, 701, &posed));
    assert_false(person_at(&p, t, 0, -1, &posed));
    assert_false(person_at(&p, t, 0, N, &posed));
    assert_false(person_at(&p, t, 1, 700, &posed));
}

static void test_damaged(void **state)
{
    struct shot shots[N_FRAMES];
    struct kb_error err = {0};
    struct person p;
    struct posed posed;
    talk(shots, N_FRAMES);
    CLEANUP(track_free) struct track *t = film_make(shots, N_FRAMES);
    // Frames that are no numbers, and one whose points have run together.
    for (int i = 3; i < 50; i += 10)
        t->faces[0].records[i].box[1] = NAN;
    memset(t->faces[0].records[60].points, 0, sizeof(t->faces[0].records[60].points));
    assert_ok(err, person_fit(&p, t, 0, NULL, &err));
    assert_true(p.n_frames >= 90 && p.n_frames <= 95);
    assert_false(person_at(&p, t, 0, 13, &posed));
    assert_true(person_at(&p, t, 0, 14, &posed)); // its neighbour does not take it along
    for (int j = 0; j < TRACK_N_POINTS; j++)
        for (int k = 0; k < 3; k++)
            assert_true(isfinite(p.mean[j][k]) && isfinite(p.neutral[j][k]) &&
                        isfinite(posed.canonical[j][k]));
    // The first frame tried is bad: the others still make a person.
    memset(t->faces[0].records[50].points, 0, sizeof(t->faces[0].records[50].points));
    t->faces[0].records[47].depth[track_point_of(4)] = 20000;
    assert_ok(err, person_fit(&p, t, 0, NULL, &err));
    assert_true(p.n_frames > 80);
}

static void test_no_face(void **state)
{
    struct shot shots[20];
    struct kb_error err = {0};
    struct person p = {.n_frames = 77};
    struct cancel cancel = {0};
    talk(shots, 20);
    CLEANUP(track_free) struct track *t = film_make(shots, 20);
    cancel_request(&cancel);
    assert_fails(err, KB_CANCELLED, "cancelled", person_fit(&p, t, 0, &cancel, &err));
    // A mouth without size, all points in one place, no number at all, no frame, no such face.
    for (int kind = 0; kind < 5; kind++) {
        for (int i = 0; i < 20; i++) {
            struct track_record *r = &t->faces[0].records[i];
            if (kind == 0)
                for (int k = 0; k < TRACK_N_LIPS; k++)
                    memcpy(r->points[TRACK_INNER_FIRST + k], r->points[TRACK_INNER_FIRST],
                           sizeof(r->points[0]));
            if (kind == 1)
                memset(r->points, 0, sizeof(r->points));
            if (kind == 2)
                r->box[0] = NAN;
            if (kind == 3)
                t->faces[0].at[i] = -1;
        }
        assert_fails(err, KB_BAD_INPUT, "landmarks make a face",
                     person_fit(&p, t, kind == 4, NULL, &err));
    }
    assert_int_equal(p.n_frames, 77); // untouched
    // A face of a few pixels.
    for (int i = 0; i < 20; i++)
        shots[i].scale = 8;
    CLEANUP(track_free) struct track *tiny = film_make(shots, 20);
    assert_fails(err, KB_BAD_INPUT, "face 1", person_fit(&p, tiny, 0, NULL, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pose),    cmocka_unit_test(test_no_pose),
        cmocka_unit_test(test_film),    cmocka_unit_test(test_still),
        cmocka_unit_test(test_speaks),  cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_no_face),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
