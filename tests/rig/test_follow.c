// How chin and cheeks follow lips: the shipped map, and files that are none.
#include "tests/test.h"

#include <math.h>
#include <unistd.h>

#include "nn/import/import.h"
#include "rig/follow.h"

typedef float lips_delta[FOLLOW_N_LIPS][2];
typedef float points_delta[TRACK_N_POINTS][3];

// The lower lip down by `by`, less towards the corners, as a jaw that opens does.
static void open_lips(lips_delta ret, float by)
{
    memset(ret, 0, sizeof(lips_delta));
    for (int ring = 0; ring < 2; ring++)
        for (int i = 11; i < 20; i++)
            ret[20 * ring + i][1] = by * sinf((float)M_PI * (float)(i - 10) / 10);
}

static float *of(points_delta points, int id)
{
    return points[track_point_of(id)];
}

static void test_jaw_opens(void **state)
{
    struct kb_error err = {0};
    CLEANUP(follow_free) struct follow *f = NULL;
    assert_ok(err, follow_load(&f, &err));
    lips_delta lips;
    points_delta got;
    open_lips(lips, 0.08f);
    follow_apply(f, (const float(*)[2])lips, got);
    for (int i = 0; i < FOLLOW_N_LIPS; i++)
        assert_true(got[TRACK_OUTER_FIRST + i][0] == lips[i][0] &&
                    got[TRACK_OUTER_FIRST + i][1] == lips[i][1]);
    // The chin goes half as far as the lip, and back; its sides less; both sides alike.
    float *chin = of(got, 152);
    print_message("# chin %.4f down, %.4f back\n", chin[1], chin[2]);
    assert_true(chin[1] > 0.3f * 0.08f && chin[1] < 0.75f * 0.08f && chin[2] > 0);
    assert_true(of(got, 58)[1] < 0.4f * chin[1]);
    static const int sides[][2] = {{58, 288}, {172, 397}, {176, 400}, {57, 287}, {90, 320}};
    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        float *right = of(got, sides[i][0]), *left = of(got, sides[i][1]);
        assert_true(fabsf(right[0] + left[0]) < 1e-3f && fabsf(right[1] - left[1]) < 1e-3f);
    }
    // The middle of the lip goes with its edges; eyes and nose stay.
    assert_true(fabsf(of(got, 16)[1] - 0.08f) < 0.01f);
    static const int still[] = {33, 263, 4, 1, 10, 70, 50, 101, 234};
    for (size_t i = 0; i < ARRAY_LEN(still); i++)
        for (int axis = 0; axis < 3; axis++)
            assert_true(of(got, still[i])[axis] == 0);
    // It is linear.
    points_delta half;
    open_lips(lips, 0.04f);
    follow_apply(f, (const float(*)[2])lips, half);
    for (int i = 0; i < TRACK_N_POINTS; i++)
        for (int axis = 0; axis < 3; axis++)
            assert_true(fabsf(2 * half[i][axis] - got[i][axis]) < 1e-5f);
}

#define LIPS                                                                                       \
    "61,185,40,39,37,0,267,269,270,409,291,375,321,405,314,17,84,181,91,146,78,191,80,81,82,13,"   \
    "312,311,310,415,308,324,318,402,317,14,87,178,88,"

struct file {
    const char *format, *version, *lips, *points;
    int64_t rows;
    float weight;
};

static char *write_file(const struct file *file)
{
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    struct kb_error err = {0};
    void *moved, *depth;
    assert_ok(err, tensor_set_add(set, "moved", DTYPE_F32, 3, (int64_t[]){file->rows, 3, 80}, NULL,
                                  &moved, &err));
    assert_ok(err, tensor_set_add(set, "lips_depth", DTYPE_F32, 2, (int64_t[]){40, 80}, NULL,
                                  &depth, &err));
    ((float *)moved)[80 + 1] =
        file->weight;                  // y of the first point, from y of the first of the lips
    ((float *)depth)[80 * 39 + 2] = 1; // depth of the last of the lips, from x of the second
    tensor_set_put_meta(set, "format", file->format);
    tensor_set_put_meta(set, "version", file->version);
    tensor_set_put_meta(set, "lips", file->lips);
    tensor_set_put_meta(set, "points", file->points);
    char *path = kb_strdup("/tmp/koubo-follow-XXXXXX");
    close(mkstemp(path));
    assert_ok(err, safetensors_write(path, set, &err));
    return path;
}

// A file whose lips stand in another order means the same.
static void test_order(void **state)
{
    static const char *lips[] = {"[" LIPS "95]",
                                 "[185,61,40,39,37,0,267,269,270,409,291,375,321,405,314,17,84,181,"
                                 "91,146,78,191,80,81,82,13,312,311,310,415,308,324,318,402,317,14,"
                                 "87,178,95,88]"};
    for (int i = 0; i < 2; i++) {
        struct kb_error err = {0};
        CLEANUP(follow_free) struct follow *f = NULL;
        struct file file = {"koubo-follow", "1", lips[i], "[152, 58]", 2, 0.5f};
        CLEANUP(kb_freep) char *path = write_file(&file);
        assert_ok(err, follow_read(&f, path, &err));
        unlink(path);
        lips_delta delta = {{0.01f, 0.02f}, {0.03f, 0.04f}};
        points_delta got;
        follow_apply(f, (const float(*)[2])delta, got);
        assert_true(fabsf(of(got, 152)[1] - (i ? 0.02f : 0.01f)) < 1e-7f);
        assert_true(fabsf(of(got, i ? 88 : 95)[2] - (i ? 0.01f : 0.03f)) < 1e-7f);
        assert_true(of(got, 58)[1] == 0 && of(got, i ? 95 : 88)[2] == 0);
    }
}

static void test_what_is_no_map(void **state)
{
    static const struct {
        struct file file;
        const char *part;
    } cases[] = {
        {{NULL, "1", "[" LIPS "95]", "[152]", 1, 1}, "'format'"},
        {{"koubo", "1", "[" LIPS "95]", "[152]", 1, 1}, "'format'"},
        {{"koubo-follow", "2", "[" LIPS "95]", "[152]", 1, 1}, "'version'"},
        {{"koubo-follow", "1", NULL, "[152]", 1, 1}, "'lips'"},
        {{"koubo-follow", "1", "[" LIPS "88]", "[152]", 1, 1}, "'lips'"},
        {{"koubo-follow", "1", "[" LIPS "152]", "[152]", 1, 1}, "'lips'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[", 1, 1}, "'points'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[]", 1, 1}, "'points'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[152, 152]", 2, 1}, "'points'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[-1]", 1, 1}, "'points'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[99999999999]", 1, 1}, "'points'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[\"152\"]", 1, 1}, "'points'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[61]", 1, 1}, "'points'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[152]", 2, 1}, "'moved'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[152]", 1, NAN}, "'moved'"},
        {{"koubo-follow", "1", "[" LIPS "95]", "[152]", 1, 1e9f}, "'moved'"},
    };
    struct kb_error err = {0};
    struct follow *f = NULL;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *path = write_file(&cases[i].file);
        assert_fails(err, KB_BAD_INPUT, cases[i].part, follow_read(&f, path, &err));
        unlink(path);
        assert_null(f);
    }
    assert_fails(err, KB_NOT_FOUND, "nowhere", follow_read(&f, "/nowhere", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jaw_opens),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_what_is_no_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
