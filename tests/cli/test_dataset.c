// koubo dataset: what training/ reads, from the program that a user runs.
#include "tests/cli/program.h"

#include "base/file.h"
#include "nn/import/import.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

// A person who says a sentence of a second and a half, at 25 frames a second.
static const char *make_person(const char *name)
{
    struct outcome r = {0};
    const char *path = in_folder(name);
    RUN(&r, "generate", "-a", make_speech("speech.wav"), "-i", person(), "-o", path, "--height",
        "256", "-q", "-y");
    assert_status(&r, 0);
    free(r.out);
    free(r.err);
    return path;
}

static const struct tensor *read_array(struct tensor_set **ret, const char *name)
{
    struct kb_error err = {0};
    assert_ok(err, npy_read(ret, in_folder(name), &err));
    return tensor_set_find(*ret, "array");
}

// The motion of all n frames: of people's size, from a mouth that is nearly closed in the most
// closed of them to one that is open, with the chin along.
static void check_motion(int n)
{
    struct tensor_set *set = NULL;
    const struct tensor *t = read_array(&set, "data/motion.npy");
    assert_int_equal(t->n_dims, 3);
    assert_int_equal(t->dims[0], n);
    assert_int_equal(t->dims[1], 41);
    const float(*p)[41][2] = t->data;
    float least = INFINITY, most = -INFINITY, chin_least = 0, chin_most = 0;
    for (int i = 0; i < n; i++) {
        float opening = 0;
        for (int k = 1; k < 10; k++)
            opening += (p[i][40 - k][1] - p[i][20 + k][1]) / 9;
        for (int k = 0; k < 41; k++)
            assert_true(fabsf(p[i][k][0]) < 0.15f && fabsf(p[i][k][1]) < 0.15f);
        if (opening < least) {
            least = opening;
            chin_least = p[i][40][1];
        }
        if (opening > most) {
            most = opening;
            chin_most = p[i][40][1];
        }
    }
    assert_true(fabsf(least) < 0.02f);
    assert_true(most > 0.02f);
    assert_true(chin_most > chin_least);
    tensor_set_free(&set);
}

static void check_index(int n_frames, int64_t mel_rows)
{
    json_error_t wrong;
    json_t *index = json_load_file(in_folder("data/index.json"), 0, &wrong);
    if (!index)
        fail_msg("index.json: %s", wrong.text);
    json_t *clips = json_object_get(index, "clips");
    assert_int_equal(json_array_size(clips), 2);
    for (size_t i = 0; i < 2; i++) {
        const char *name, *split;
        int frame, n, mel, mel_n;
        double lead, fps;
        assert_int_equal(0, json_unpack_ex(json_array_get(clips, i), &wrong, 0,
                                           "{s:s, s:s, s:i, s:i, s:i, s:i, s:F, s:F}", "name",
                                           &name, "split", &split, "frame", &frame, "n", &n, "mel",
                                           &mel, "mel_n", &mel_n, "mel_lead", &lead, "fps", &fps));
        assert_string_equal(name, i == 0 ? "1 one.mp4#0" : "2 two.mp4#0");
        assert_string_equal(split, i == 0 ? "train" : "val"); // the last video is for checking
        assert_int_equal(frame, (int)i * n_frames);
        assert_int_equal(n, n_frames);
        assert_int_equal(mel, (int)((int64_t)i * mel_rows / 2));
        assert_int_equal(mel_n, (int)(mel_rows / 2));
        assert_true(fabs(lead) < 1e-9);
        assert_true(fabs(fps - 25) < 0.01);
    }
    json_decref(index);
}

static void two_videos_become_training_data(void **state)
{
    struct outcome r = {0};
    const char *one = make_person("one.mp4"), *two = make_person("two.mp4");
    RUN(&r, "dataset", one, two, "-o", in_folder("data"), "--face", "largest", "--threads", "2",
        "--lang", "en");
    assert_status(&r, 0);
    int n = 0;
    assert_non_null(strstr(r.out, "one.mp4  "));
    assert_int_equal(sscanf(strstr(r.out, "one.mp4  "), "one.mp4  %d frames", &n), 1);
    assert_in_range(n, 30, 50);
    struct tensor_set *set = NULL;
    const struct tensor *mel = read_array(&set, "data/mel.npy");
    assert_int_equal(mel->n_dims, 2);
    assert_int_equal(mel->dims[1], 80);
    float loudest = 0;
    for (int64_t i = 0; i < tensor_count(mel); i++) {
        float x = ((const float *)mel->data)[i];
        assert_true(x >= 0 && x <= 63);
        loudest = fmaxf(loudest, x);
    }
    assert_true(loudest > 30);
    check_index(n, mel->dims[0]);
    tensor_set_free(&set);
    check_motion(2 * n);
    RUN(&r, "dataset", one, two, "-o", in_folder("data"), "-q", "--lang", "en");
    assert_status(&r, 3);
    assert_says(r.err, "holds training data already");
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

static void what_cannot_be_learnt_from(void **state)
{
    const char *faceless = make_faceless_video("faceless.mp4", 25), *folder = in_folder("none");
    struct outcome r = {0};
    RUN(&r, "dataset", faceless, "-o", folder, "-q", "--lang", "en");
    assert_status(&r, 3);
    assert_says(r.err, "faceless.mp4");
    RUN(&r, "dataset", in_folder("missing.mp4"), faceless, "-o", folder, "-q", "--lang", "en");
    assert_status(&r, 3);
    assert_says(r.err, "no video gave anything to learn from");
    RUN(&r, "dataset", make_person("short.mp4"), "-o", folder, "-q", "--lang", "en");
    assert_status(&r, 3);
    assert_says(r.err, "250 frames or more");
    // One that works is too little where two were named.
    RUN(&r, "dataset", in_folder("short.mp4"), faceless, "-o", folder, "-q", "--lang", "en");
    assert_status(&r, 3);
    assert_says(r.err, "nothing left to check with");
    assert_false(file_exists(in_folder("none/motion.npy")));
    assert_false(file_exists(in_folder("none/index.json")));
    assert_nothing_half_done();
    free(r.out);
    free(r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_videos_become_training_data),
        cmocka_unit_test(what_cannot_be_learnt_from),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
