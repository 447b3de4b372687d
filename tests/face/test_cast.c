// Who is animated where: a film of four views and four faces, made of numbers.
#include "tests/test.h"

#include "face/cast.h"
#include "face/track_internal.h"

#include <math.h>

#define N 100

// A face of a shape of its own about (x, y), turned on its head or not.
static void make_mesh(struct mesh *m, float x, float y, float height, float shape, bool turned)
{
    for (int i = 0; i < MESH_POINTS; i++) {
        float a = (float)i * 0.31f, r = height / 2 * (float)(i + 1) / MESH_POINTS;
        m->points[i][0] = x + shape * r * cosf(a);
        m->points[i][1] = y + r * sinf(a);
        m->points[i][2] = 0;
    }
    m->points[33][0] = x + (turned ? 0.2f : -0.2f) * height; // eyes
    m->points[263][0] = x + (turned ? -0.2f : 0.2f) * height;
    m->points[33][1] = m->points[263][1] = y;
    m->score = 0.97f;
}

static void show(struct track *t, int face, int first, int end, const struct mesh *m)
{
    struct track_identity *id = &t->faces[face];
    for (int i = first; i < end; i++) {
        id->at[i] = id->n_records;
        record_pack(&id->records[id->n_records++], m);
    }
}

// 0 - 29: face 0, large, left, and 1, on the right. 30 - 59: face 2 alone. 60 - 79: face 1 alone,
// with a jump. 80 - 99: face 3, small.
static struct track *make_track(bool turned, float shape, float small, int small_end)
{
    static const struct track_cut cuts[] = {{30, 0}, {60, 0}, {70, 1}, {80, 0}};
    struct track *t = kb_alloc(sizeof(*t));
    struct mesh m;
    t->info = (struct track_info){
        .width = 1000, .height = 500, .n_frames = N, .n_faces = 4, .n_cuts = ARRAY_LEN(cuts)};
    t->pts = kb_alloc(N * sizeof(*t->pts));
    for (int i = 0; i < N; i++)
        t->pts[i] = i * 40000;
    t->cuts = kb_alloc(sizeof(cuts));
    memcpy(t->cuts, cuts, sizeof(cuts));
    t->faces = kb_alloc(TRACK_MAX_FACES * sizeof(*t->faces));
    for (int f = 0; f < 4; f++) {
        t->faces[f].at = kb_alloc(N * sizeof(int32_t));
        memset(t->faces[f].at, 0xff, N * sizeof(int32_t));
        t->faces[f].records = kb_alloc(N * sizeof(struct track_record));
        t->faces[f].skin[1] = t->faces[f].skin[2] = 128;
    }
    make_mesh(&m, 250, 200, 200, 0.7f, false);
    show(t, 0, 0, 30, &m);
    make_mesh(&m, 700, 200, 120, 0.7f, false);
    show(t, 1, 0, 30, &m);
    show(t, 1, 60, 80, &m);
    make_mesh(&m, 500, 250, 150, shape, turned);
    show(t, 2, 30, 60, &m);
    make_mesh(&m, 500, 250, small, 0.7f, false);
    show(t, 3, 80, small_end, &m);
    return t;
}

// The face in each view, -1: nobody.
static void check(const struct track *t, const struct cast_params *p, const int wanted[4])
{
    static const int frames[4][2] = {{0, 29}, {30, 59}, {60, 79}, {80, 120}};
    struct kb_error err = {0};
    CLEANUP(cast_free) struct cast *c = NULL;
    assert_ok(err, cast_make(&c, t, p, &err));
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++) {
            int member = cast_at(c, frames[i][k]), face = member < 0 ? -1 : cast_face(c, member);
            if (face != wanted[i])
                fail_msg("frame %d: face %d instead of %d", frames[i][k], face, wanted[i]);
        }
}

static void test_every_view_has_its_face(void **state)
{
    CLEANUP(track_free) struct track *t = make_track(false, 0.7f, 80, N);
    // Face 1 was beside face 0 once, and so is somebody else.
    check(t, &(struct cast_params){.choice = FACE_LARGEST}, (int[]){0, 2, -1, 3});
    check(t, &(struct cast_params){.choice = FACE_RIGHT}, (int[]){1, 2, 1, 3});
    check(t, &(struct cast_params){.choice = FACE_AT, .at = {0.7, 0.4, -1}}, (int[]){1, 2, 1, 3});
    check(t, &(struct cast_params){.choice = FACE_AT, .at = {0.25, 0.4, -1}}, (int[]){0, 2, -1, 3});
    check(t, &(struct cast_params){.choice = FACE_AT, .at = {0, 1, -1}}, (int[]){0, 2, -1, 3});
    check(t, &(struct cast_params){.choice = FACE_NUMBER, .number = 2}, (int[]){1, 2, 1, 3});
    // Left and right is told where two are seen, though others stand further left elsewhere.
    for (int i = 0; i < t->faces[2].n_records; i++)
        for (int k = 0; k < 4; k += 2)
            t->faces[2].records[i].box[k] -= 400;
    check(t, &(struct cast_params){.choice = FACE_LEFT}, (int[]){0, 2, -1, 3});
    check(t, &(struct cast_params){.choice = FACE_CENTER}, (int[]){1, 2, 1, 3});
    struct kb_error err = {0};
    struct cast *c = NULL;
    assert_int_equal(
        cast_make(&c, t, &(struct cast_params){.choice = FACE_NUMBER, .number = 5}, &err),
        KB_NOT_FOUND);
}

// Who was named is not exchanged for somebody who looks otherwise; nobody is for somebody who looks
// like one who stood beside them.
static void test_another_is_not_the_chosen_one(void **state)
{
    CLEANUP(track_free) struct track *t = make_track(false, 0.5f, 80, N);
    check(t, &(struct cast_params){.choice = FACE_NUMBER, .number = 1}, (int[]){0, -1, -1, 3});
    check(t, &(struct cast_params){.choice = FACE_LEFT}, (int[]){0, -1, -1, 3});
    check(t, &(struct cast_params){.choice = FACE_LARGEST}, (int[]){0, 2, -1, 3});
    check(t, &(struct cast_params){.choice = FACE_AT, .at = {0.25, 0.4, -1}},
          (int[]){0, -1, -1, 3});
    t->faces[3].skin[1] = 150;
    check(t, &(struct cast_params){.choice = FACE_NUMBER, .number = 1}, (int[]){0, -1, -1, -1});
    check(t, &(struct cast_params){.choice = FACE_AT, .at = {0.25, 0.4, -1}},
          (int[]){0, -1, -1, -1});
    t->faces[1].skin[1] = 149;
    check(t, &(struct cast_params){.choice = FACE_LARGEST}, (int[]){0, 2, -1, -1});
}

// Faces 2 and 3 are in the same place, one after the other: with a time, whoever is there then.
static void test_a_point_and_a_time(void **state)
{
    static const struct {
        double at[3];
        int n_cuts, n_frames, face;
    } cases[] = {
        {{0.5, 0.5, -1}, 4, N, 2},    // the first one there
        {{0.5, 0.5, 0}, 4, N, 2},     // nobody is yet
        {{0.5, 0.5, 1.2}, 4, N, 2},   // frame 30
        {{0.5, 0.5, 2.35}, 4, N, 2},  // 58
        {{0.5, 0.5, 2.7}, 4, N, 2},   // 67: 8 frames after face 2, 13 before face 3
        {{0.5, 0.5, 2.9}, 4, N, 3},   // 72
        {{0.5, 0.5, 3.2}, 4, N, 3},   // 80
        {{0.5, 0.5, 3.4}, 0, N, 3},   // not only with cuts
        {{0.5, 0.5, 1e300}, 4, N, 3}, // beyond the end
        {{0.5, 0.5, 3.4}, 2, 60, 2},  // the track ends before
        {{0.7, 0.4, 1.2}, 4, N, 1},   {{0.25, 0.4, 3.4}, 4, N, 0}, // long before
        {{0.99, 0.99, 1.2}, 4, N, 1},                              // nobody ever: who comes nearest
    };
    struct kb_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(track_free) struct track *t = make_track(false, 0.7f, 80, N);
        t->info.n_cuts = cases[i].n_cuts;
        t->info.n_frames = cases[i].n_frames;
        int face = track_choose_at(t, cases[i].at, &err);
        if (face != cases[i].face)
            fail_msg("case %zu: face %d instead of %d", i, face, cases[i].face);
    }
    // Who is in the view is meant, not who is nearer in time on the other side of a cut.
    CLEANUP(track_free) struct track *t = make_track(false, 0.7f, 80, N);
    struct mesh m;
    make_mesh(&m, 500, 250, 150, 0.7f, false);
    show(t, 2, 60, 80, &m);
    memset(t->faces[3].at + 80, 0xff, 5 * sizeof(int32_t));
    assert_int_equal(track_choose_at(t, (const double[3]){0.5, 0.5, 3.2}, &err), 3);
    t->info.n_cuts = 0;
    assert_int_equal(track_choose_at(t, (const double[3]){0.5, 0.5, 3.2}, &err), 2);
    t->info.n_faces = 0;
    assert_int_equal(track_choose_at(t, (const double[3]){0.5, 0.5, 3.2}, &err), -1);
    t->info.n_faces = 4; // for track_free()
    assert_int_equal(err.code, KB_NOT_FOUND);
}

// Who was pointed at in one picture is animated where they are, and nobody else who stands there
// at another time and looks otherwise.
static void test_a_time_names_one(void **state)
{
    CLEANUP(track_free) struct track *t = make_track(false, 0.5f, 80, N);
    check(t, &(struct cast_params){.choice = FACE_AT, .at = {0.5, 0.5, 3.4}}, (int[]){1, -1, 1, 3});
    check(t, &(struct cast_params){.choice = FACE_AT, .at = {0.5, 0.5, 1.4}},
          (int[]){-1, 2, -1, -1});
    check(t, &(struct cast_params){.choice = FACE_AT, .at = {0.5, 0.5, -1}}, (int[]){1, 2, 1, 3});
}

static void test_gaps(void **state)
{
    static const struct {
        bool turned, upright;
        float small;
        int end, wanted[4], n_small, n_turned;
    } cases[] = {
        {false, false, 50, N, {0, 2, -1, 3}, 0, 0}, // small, but always there
        {false, false, 50, 95, {0, 2, -1, -1}, 1, 0}, {false, false, 30, N, {0, 2, -1, -1}, 1, 0},
        {true, false, 80, N, {0, 2, -1, 3}, 0, 0},    {true, true, 80, N, {0, -1, -1, 3}, 0, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        CLEANUP(track_free)
        struct track *t = make_track(cases[i].turned, 0.7f, cases[i].small, cases[i].end);
        CLEANUP(cast_free) struct cast *c = NULL;
        const struct cast_params p = {.upright = cases[i].upright};
        check(t, &p, cases[i].wanted);
        assert_ok(err, cast_make(&c, t, &p, &err));
        assert_int_equal(cast_gaps(c)->n_small, cases[i].n_small);
        assert_int_equal(cast_gaps(c)->n_turned, cases[i].n_turned);
        assert_int_equal(cast_face(c, cast_lead(c)), 0);
    }
}

static void test_points_in_words(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        double x, y, s;
    } cases[] = {
        {"0.25,0.5", true, 0.25, 0.5, -1},
        {"0,1", true, 0, 1, -1},
        {".5,.75", true, 0.5, 0.75, -1},
        {"0.25,0.5,0", true, 0.25, 0.5, 0},
        {"1,0,7200.04", true, 1, 0, 7200.04},
        {"0.5,0.5,-1", false, 0, 0, 0},
        {"0.5,0.5,1e999", false, 0, 0, 0},
        {"0.5,0.5,1:00", false, 0, 0, 0},
        {"0.5,0.5,1,", false, 0, 0, 0},
        {"0.5,0.5,1,2", false, 0, 0, 0},
        {"", false, 0, 0, 0},
        {"0.5", false, 0, 0, 0},
        {"0.5,", false, 0, 0, 0},
        {"0.5,1.1", false, 0, 0, 0},
        {"-0.1,0", false, 0, 0, 0},
        {"0.5,0.5,", false, 0, 0, 0},
        {"nan,0", false, 0, 0, 0},
        {"0.5, 0.5", false, 0, 0, 0},
        {"50%,0.2", false, 0, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double at[3] = {-2, -2, -2};
        assert_int_equal(face_at_parse(cases[i].text, at), cases[i].ok);
        assert_true(at[0] == (cases[i].ok ? cases[i].x : -2) &&
                    at[1] == (cases[i].ok ? cases[i].y : -2) &&
                    at[2] == (cases[i].ok ? cases[i].s : -2));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_view_has_its_face),
        cmocka_unit_test(test_another_is_not_the_chosen_one),
        cmocka_unit_test(test_a_point_and_a_time),
        cmocka_unit_test(test_a_time_names_one),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_points_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
