// The sheet of skin around the mouth, on the resting face of a GRID speaker
// (tests/golden/person.f32: the points of the track in canonical units).
#include "tests/test.h"

#include "rig/field.h"

#include <math.h>

static struct person person;
static struct field *field;

static int setup(void **state)
{
    FILE *f = fopen(source_path("tests/golden/person.f32"), "rb");
    bool ok = f && fread(person.neutral, sizeof(person.neutral), 1, f) == 1;
    if (f)
        fclose(f);
    return ok && field_create(&field, &person, NULL) == KB_OK ? 0 : -1;
}

static int teardown(void **state)
{
    field_free(&field);
    return 0;
}

// How much of a lip's motion a point takes part in: all in its middle, nothing at the corners.
static float share_of(int point, bool lower)
{
    static const int rings[] = {TRACK_OUTER_FIRST, TRACK_INNER_FIRST, TRACK_MIDDLE_FIRST};
    for (size_t i = 0; i < ARRAY_LEN(rings); i++) {
        int k = point - rings[i];
        if (k >= 0 && k < TRACK_N_LIPS && (k > 10) == lower)
            return fabsf(sinf((float)k * (float)M_PI / 10));
    }
    return 0;
}

// Move the landmarks as `move` says; ret: how the sheet's points move.
static void move_sheet(void (*move)(int point, float ret[2]), float (*ret)[4])
{
    const uint8_t *controls;
    int n = field_controls(field, &controls);
    float v[TRACK_N_POINTS][4] = {{0}};
    for (int i = 0; i < n; i++)
        move(controls[i], v[i]);
    field_move(field, v[0], 4, ret[0]);
}

static void stand_still(int point, float ret[2])
{
}

// The chin comes along, as it does in a face.
static float chin_share(int point)
{
    const float *at = person.neutral[point], *lip = person.neutral[TRACK_OUTER_FIRST + 15];
    bool skin = point < TRACK_N_OVAL ||
                (point >= TRACK_LOWER_FIRST && point < TRACK_LOWER_FIRST + TRACK_N_LOWER);
    float x = (at[0] - lip[0]) / 0.12f;
    return skin && at[1] > lip[1] ? 0.8f * expf(-x * x) : 0;
}

static void lower_lip_down(int point, float ret[2])
{
    ret[1] = 0.05f * (share_of(point, true) + chin_share(point));
}

static void both_apart(int point, float ret[2])
{
    lower_lip_down(point, ret);
    ret[1] -= 0.02f * share_of(point, false);
}

static void test_nothing_moves_nothing(void **state)
{
    static float moved[FIELD_POINTS][4];
    move_sheet(stand_still, moved);
    for (int i = 0; i < FIELD_POINTS; i++)
        for (int k = 0; k < 4; k++)
            assert_float_equal(moved[i][k], 0, 0);
}

static void test_edge_is_held(void **state)
{
    static float moved[FIELD_POINTS][4];
    move_sheet(both_apart, moved);
    for (int side = 0; side < 2; side++)
        for (int c = 0; c < FIELD_COLUMNS; c++)
            assert_float_equal(
                moved[field_point(side, (side ? FIELD_LOWER : FIELD_UPPER) - 1, c)][1], 0, 0);
    for (int side = 0; side < 2; side++)
        for (int r = 0; r < (side ? FIELD_LOWER : FIELD_UPPER); r++) {
            assert_float_equal(moved[field_point(side, r, 0)][1], 0, 0);
            assert_float_equal(moved[field_point(side, r, FIELD_COLUMNS - 1)][1], 0, 0);
        }
}

static void test_lips_go_their_own_way(void **state)
{
    static float moved[FIELD_POINTS][4];
    int middle = (FIELD_LEFT + FIELD_RIGHT) / 2;
    move_sheet(lower_lip_down, moved);
    float lower = moved[field_point(1, 0, middle)][1], upper = moved[field_point(0, 0, middle)][1];
    assert_true(fabsf(lower - 0.05f) < 0.003f);
    assert_true(fabsf(upper) < 0.003f);
    move_sheet(both_apart, moved);
    lower = moved[field_point(1, 0, middle)][1];
    upper = moved[field_point(0, 0, middle)][1];
    assert_true(fabsf(lower - 0.05f) < 0.003f && fabsf(upper + 0.02f) < 0.003f);
}

// Beyond the corners both sides are one skin, and neighbours hold together everywhere.
static void test_skin_is_whole(void **state)
{
    static float moved[FIELD_POINTS][4];
    const float(*rest)[3] = field_rest(field);
    move_sheet(both_apart, moved);
    for (int c = 0; c < FIELD_COLUMNS; c++)
        if (c <= FIELD_LEFT || c >= FIELD_RIGHT)
            assert_float_equal(moved[field_point(0, 0, c)][1], moved[field_point(1, 0, c)][1], 0);
    for (int side = 0; side < 2; side++)
        for (int r = 0; r + 1 < (side ? FIELD_LOWER : FIELD_UPPER); r++)
            for (int c = 0; c < FIELD_COLUMNS; c++) {
                int a = field_point(side, r, c), b = field_point(side, r + 1, c);
                float before = rest[b][1] - rest[a][1];
                float after = before + moved[b][1] - moved[a][1];
                if (!(after * before > 0))
                    fail_msg("the skin folds at side %d, row %d, column %d", side, r, c);
            }
}

static void test_motion_is_linear(void **state)
{
    static float one[FIELD_POINTS][4], both[FIELD_POINTS][4];
    move_sheet(lower_lip_down, one);
    move_sheet(both_apart, both);
    const uint8_t *controls;
    int n = field_controls(field, &controls);
    float v[TRACK_N_POINTS][4] = {{0}};
    static float sum[FIELD_POINTS][4];
    for (int i = 0; i < n; i++) {
        float a[2] = {0}, b[2] = {0};
        lower_lip_down(controls[i], a);
        both_apart(controls[i], b);
        v[i][1] = 2 * a[1] - b[1];
    }
    field_move(field, v[0], 4, sum[0]);
    for (int i = 0; i < FIELD_POINTS; i++)
        assert_float_equal(sum[i][1], 2 * one[i][1] - both[i][1], 1e-5);
}

static void test_faces_that_make_no_mouth(void **state)
{
    struct kb_error err = {0};
    struct field *none = NULL;
    struct person p = {.n_frames = 1};
    assert_fails(err, KB_BAD_INPUT, "make no mouth", field_create(&none, &p, &err));
    p = person;
    for (int i = 0; i < TRACK_N_POINTS; i++)
        p.neutral[i][1] = NAN;
    assert_fails(err, KB_BAD_INPUT, "make no mouth", field_create(&none, &p, &err));
    p = person;
    for (int i = 0; i < TRACK_N_LIPS; i++) // a mouth in one point
        memcpy(p.neutral[TRACK_INNER_FIRST + i], p.neutral[TRACK_INNER_FIRST], 3 * sizeof(float));
    assert_fails(err, KB_BAD_INPUT, "make no mouth", field_create(&none, &p, &err));
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_moves_nothing),
        cmocka_unit_test(test_edge_is_held),
        cmocka_unit_test(test_lips_go_their_own_way),
        cmocka_unit_test(test_skin_is_whole),
        cmocka_unit_test(test_motion_is_linear),
        cmocka_unit_test(test_faces_that_make_no_mouth),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
