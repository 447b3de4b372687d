// Where the lips are moved and where not, on tracks of a face made of numbers.
#include "tests/test.h"

#include "lipsync/strength.h"
#include "tests/rig/film.h"

#include <math.h>

#define N       100
#define FRAME   40000
#define MIDDLE  50
#define FADE    (160000 / FRAME)
#define FOREVER INT64_MAX

static void face_forward(struct shot shots[N])
{
    for (int i = 0; i < N; i++)
        shots[i] = (struct shot){.scale = 400, .x = 400, .y = 150};
}

// Strengths of a film shown as it is; each step is a part of the fade.
static void plan(const struct track *t, int64_t speech_us, float ret[N])
{
    struct planned_frame frames[N];
    for (int i = 0; i < N; i++)
        frames[i] = (struct planned_frame){i, (int64_t)i * FRAME, 0};
    strength_plan(t, 0, frames, N, speech_us, ret);
    for (int i = 0; i < N; i++) {
        assert_true(ret[i] >= 0 && ret[i] <= 1);
        assert_true(i == 0 || fabsf(ret[i] - ret[i - 1]) <= 1.0f / FADE + 1e-4f);
    }
}

// Nothing from `first` to `last`, all of it once the fade is over.
static void check_gap(const float s[N], int first, int last)
{
    for (int i = 0; i < N; i++) {
        if (i >= first && i <= last)
            assert_true(s[i] == 0);
        else if (i < first - FADE || i > last + FADE)
            assert_true(s[i] == 1);
    }
}

static void test_poses(void **state)
{
    static const struct {
        float yaw, pitch, score;
        bool acts;
    } cases[] = {{0, 0, 0.95f, true},      {0.6f, 0, 0.95f, true},    {-0.6f, 0, 0.95f, true},
                 {0.95f, 0, 0.95f, false}, {-0.95f, 0, 0.95f, false}, {0, 0.3f, 0.95f, true},
                 {0, 1.1f, 0.95f, false},  {0, 0, 0.55f, false},      {0, 0, 0.86f, true}};
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct shot shots[N];
        float s[N];
        face_forward(shots);
        for (int i = MIDDLE; i < MIDDLE + 5; i++) {
            shots[i].yaw = cases[k].yaw;
            shots[i].pitch = cases[k].pitch;
            shots[i].score = cases[k].score;
        }
        CLEANUP(track_free) struct track *t = film_make(shots, N);
        plan(t, FOREVER, s);
        if (cases[k].acts)
            check_gap(s, N, N);
        else
            check_gap(s, MIDDLE, MIDDLE + 4);
    }
}

static void set_cover(struct track *t, int frame, float cover)
{
    t->faces[0].records[t->faces[0].at[frame]].cover = (uint16_t)(cover * 65535);
}

// A little cover is none, unless it leads to or comes from a real one; one frame is none either.
static void test_covers(void **state)
{
    struct shot shots[N];
    float s[N];
    face_forward(shots);
    CLEANUP(track_free) struct track *t = film_make(shots, N);
    for (int i = MIDDLE - 3; i <= MIDDLE + 4; i++)
        set_cover(t, i, 0.2f);
    plan(t, FOREVER, s);
    check_gap(s, N, N);
    set_cover(t, MIDDLE, 0.6f);
    plan(t, FOREVER, s);
    check_gap(s, N, N);
    set_cover(t, MIDDLE + 1, 0.6f);
    plan(t, FOREVER, s);
    check_gap(s, MIDDLE - 3, MIDDLE + 4);
    for (int i = MIDDLE; i < N; i++) // to the end
        set_cover(t, i, 0.9f);
    plan(t, FOREVER, s);
    check_gap(s, MIDDLE - 3, N - 1);
}

// Away for six frames it is still there; for twenty it was another one.
static void test_cover_comes_back(void **state)
{
    for (int gap = 6; gap <= 20; gap += 14) {
        struct shot shots[N];
        float s[N];
        face_forward(shots);
        CLEANUP(track_free) struct track *t = film_make(shots, N);
        int again = MIDDLE + 2 + gap;
        for (int i = 0; i < 2; i++) {
            set_cover(t, MIDDLE + i, 0.9f);
            set_cover(t, again + i, 0.9f);
        }
        plan(t, FOREVER, s);
        if (gap == 6)
            check_gap(s, MIDDLE, again + 1);
        else
            assert_true(s[MIDDLE] == 0 && s[MIDDLE + 2 + gap / 2] == 1 && s[again] == 0);
    }
}

// What hides the lip in all frames makes the motion smaller.
static void test_hidden(void **state)
{
    struct shot shots[N];
    float s[N];
    face_forward(shots);
    CLEANUP(track_free) struct track *t = film_make(shots, N);
    t->faces[0].hidden = 0.5f;
    plan(t, FOREVER, s);
    for (int i = 0; i < N; i++)
        assert_true(s[i] > 0.2f && s[i] < 0.6f);
}

// Out of the picture on each side and back: the film shows through before the lips are cut.
static void test_edges(void **state)
{
    static const float ways[][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}};
    for (size_t k = 0; k < ARRAY_LEN(ways); k++) {
        struct shot shots[N];
        float s[N];
        face_forward(shots);
        for (int i = 0; i < N; i++) {
            float way = 20 * fmaxf(0, 40 - fabsf((float)i - MIDDLE));
            shots[i].x += ways[k][0] * way;
            shots[i].y += ways[k][1] * way;
        }
        CLEANUP(track_free) struct track *t = film_make(shots, N);
        plan(t, FOREVER, s);
        assert_true(s[0] == 1 && s[N - 1] == 1 && s[MIDDLE] == 0);
        for (int i = 0; i < N; i++) {
            struct track_face face;
            track_face(t, 0, i, &face);
            for (int p = TRACK_OUTER_FIRST; p < TRACK_OUTER_FIRST + TRACK_N_LIPS; p++)
                if (face.points[p][0] < 0 || face.points[p][0] > 1280 || face.points[p][1] < 0 ||
                    face.points[p][1] > 720)
                    assert_true(s[i] == 0);
        }
    }
}

static void test_absent(void **state)
{
    struct shot shots[N];
    float s[N];
    face_forward(shots);
    for (int i = MIDDLE; i < MIDDLE + 10; i++)
        shots[i].scale = 0;
    CLEANUP(track_free) struct track *t = film_make(shots, N);
    plan(t, FOREVER, s);
    check_gap(s, MIDDLE, MIDDLE + 9);
    plan(t, 20 * FRAME, s); // the speech is over sooner
    check_gap(s, 20, N - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_poses),  cmocka_unit_test(test_covers),
        cmocka_unit_test(test_hidden), cmocka_unit_test(test_cover_comes_back),
        cmocka_unit_test(test_edges),  cmocka_unit_test(test_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
