// What the pipeline learns about a network from its file.
#include "tests/test.h"

#include <dirent.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "lipsync/calibrate.h"
#include "lipsync/lips.h"
#include "nn/import.h"

static void test_bundled_spec(void **state)
{
    struct kb_error err = {0};
    struct lips *l = NULL;
    assert_ok(err, lips_load(&l, &(struct lips_params){.batch = 2}, &err));
    const struct lips_spec *s = lips_spec(l);
    assert_string_equal(s->name, "koubo-lips");
    assert_int_equal(s->width, 128);
    assert_int_equal(s->height, 128);
    assert_int_equal(s->out_top, 64);
    assert_int_equal(s->out_height, 64);
    assert_int_equal(s->mask_top, 64);
    assert_int_equal(s->mel_columns, 36);
    assert_false(s->bgr);
    assert_false(s->reference_is_self);
    assert_true(fabs(s->mel_offset_s + 0.1983) < 1e-9 && s->mel_round);
    assert_int_equal(s->n_points, 10);
    for (int i = 0; i < s->n_points; i++)
        if (track_point_ids[s->points[i]] == 263)
            assert_true(fabsf(s->canonical[i][0] - 0.72f) < 1e-6f);
    assert_int_equal(lips_batch(l), 2);
    assert_int_not_equal(lips_precision(l), PRECISION_AUTO);

    // It runs, and two different mels give two different mouths.
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 128 * 128 * 6; k++)
            lips_face(l, i)[k] = 0.5f;
        for (int k = 0; k < 80 * 36; k++)
            lips_mel(l, i)[k] = i ? 2.0f : -4.0f;
    }
    assert_ok(err, lips_run(l, &err));
    double difference = 0;
    for (int k = 0; k < 64 * 128 * 3; k++) {
        assert_true(lips_output(l, 0)[k] >= 0 && lips_output(l, 0)[k] <= 1);
        difference += fabs(lips_output(l, 0)[k] - lips_output(l, 1)[k]);
    }
    assert_true(difference > 1);
    lips_free(&l);
}

static void with_file(struct tensor_set *set, const char *file, struct kb_error *err,
                      enum kb_code *ret, struct lips **ret_lips)
{
    assert_ok(*err, safetensors_write(file, set, err));
    *ret = lips_load(ret_lips, &(struct lips_params){.model = file, .batch = 1}, err);
    unlink(file);
}

// int8 is what auto means for the bundled weights where the processor has it, and stays within the
// stated distance of f32 on people its ranges do not come from only.
static void test_bundled_int8(void **state)
{
    struct kb_error err = {0};
    CLEANUP(lips_free) struct lips *l = NULL;
    assert_ok(err, lips_load(&l, &(struct lips_params){.batch = 1}, &err));
    assert_int_equal(lips_precision(l), precision_resolve(PRECISION_AUTO, true));

    // Without VNNI sums of products saturate at 16 bits: docs/engine.md.
    if (precision_resolve(PRECISION_AUTO, true) != PRECISION_INT8)
        SKIP_TEST("no VNNI, so no comparison of int8 with f32");
    const char *clip = clip_path("grid_lbax4n.mpg");
    CLEANUP(calibration_clear) struct calibration c = {0};
    struct calibrate_params p = {.videos = &clip, .n_videos = 1, .threads = 2};
    assert_ok(err, calibrate(&c, &p, &err));
    assert_true(c.frames >= 16 && c.checked >= 16);
    assert_true(c.psnr_db >= 40);
}

// Ranges beside a model count for exactly these weights.
static void test_ranges_beside_the_model(void **state)
{
    char file[] = "/tmp/koubo-lips-XXXXXX";
    close(mkstemp(file));
    CLEANUP(kb_freep) char *beside = lips_ranges_path(file);
    CLEANUP(observer_free) struct observer *observer = observer_create();
    CLEANUP(tensor_set_free) struct tensor_set *set = wav2lip_random(1);
    CLEANUP(lips_free) struct lips *l = NULL;
    struct kb_error err = {0};
    assert_ok(err, safetensors_write(file, set, &err));
    struct lips_params p = {
        .model = file, .batch = 1, .precision = PRECISION_F32, .observer = observer};
    assert_ok(err, lips_load(&l, &p, &err));
    for (int k = 0; k < 96 * 96 * 6; k++)
        lips_face(l, 0)[k] = (float)(k % 97) / 97;
    assert_ok(err, lips_run(l, &err));
    CLEANUP(kb_freep) float *f32 = kb_alloc(96 * 96 * 3 * sizeof(*f32));
    memcpy(f32, lips_output(l, 0), 96 * 96 * 3 * sizeof(*f32));
    lips_free(&l);

    p = (struct lips_params){.model = file, .batch = 1, .precision = PRECISION_INT8};
    assert_fails(err, KB_BAD_INPUT, "model quantize", lips_load(&l, &p, &err));
    CLEANUP(ranges_free) struct ranges *ranges = observer_ranges(observer);
    CLEANUP(kb_freep) char *json = ranges_to_json(ranges);
    char hash[33];
    assert_ok(err, file_hash(hash, file, &err));
    CLEANUP(kb_freep)
    char *text = kb_printf("{\"weights\": \"%s\", \"int8\": %s}\n", hash, json);
    assert_ok(err, file_write_atomic(beside, text, strlen(text), &err));
    assert_ok(err, lips_load(&l, &p, &err));
    assert_int_equal(lips_precision(l), PRECISION_INT8);
    for (int k = 0; k < 96 * 96 * 6; k++)
        lips_face(l, 0)[k] = (float)(k % 97) / 97;
    assert_ok(err, lips_run(l, &err));
    double squares = 0;
    for (int k = 0; k < 96 * 96 * 3; k++)
        squares += pow((double)(lips_output(l, 0)[k] - f32[k]), 2);
    assert_true(-10 * log10(squares / (96 * 96 * 3)) >=
                30); // random weights: far from trained ones
    lips_free(&l);

    text[14] = text[14] == '0' ? '1' : '0'; // a digit of the hash: other weights
    assert_ok(err, file_write_atomic(beside, text, strlen(text), &err));
    assert_fails(err, KB_BAD_INPUT, "model quantize", lips_load(&l, &p, &err));
    unlink(beside);
    unlink(file);
}

static float *output_of(struct lips *l)
{
    struct kb_error err = {0};
    const struct lips_spec *s = lips_spec(l);
    for (int k = 0; k < s->width * s->height * 6; k++)
        lips_face(l, 0)[k] = (float)(k % 97) / 97;
    assert_ok(err, lips_run(l, &err));
    size_t size = (size_t)s->out_width * (size_t)s->out_height * 3 * sizeof(float);
    float *copy = kb_alloc(size);
    memcpy(copy, lips_output(l, 0), size);
    return copy;
}

static int count_packs(const char *folder, char *ret_last, size_t size)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strstr(e->d_name, ".kbp")) {
            n++;
            snprintf(ret_last, size, "%s/%s", folder, e->d_name);
        }
    closedir(d);
    return n;
}

// Loaded plainly, packed at the first load, out of the pack, and made anew from a damaged one: all
// give the same picture and the same spec.
static void test_packed(void **state)
{
    char folder[] = "/tmp/koubo-packs-XXXXXX", pack[400] = "";
    assert_non_null(mkdtemp(folder));
    struct kb_error err = {0};
    CLEANUP(kb_freep) float *want = NULL;
    struct lips_spec spec;
    for (int i = 0; i < 5; i++) {
        CLEANUP(lips_free) struct lips *l = NULL;
        struct lips_params p = {.batch = 2, .cache_folder = i ? folder : NULL};
        if (i == 3)
            assert_int_equal(truncate(pack, 100000), 0);
        assert_ok(err, lips_load(&l, &p, &err));
        CLEANUP(kb_freep) float *got = output_of(l);
        if (i == 0) {
            want = TAKE(got);
            spec = *lips_spec(l);
            continue;
        }
        assert_memory_equal(&spec, lips_spec(l), sizeof(spec));
        assert_memory_equal(want, got,
                            (size_t)(spec.out_width * spec.out_height) * 3 * sizeof(float));
        assert_int_equal(count_packs(folder, pack, sizeof(pack)), 1);
        assert_int_equal(lips_batch(l), 2);
    }
    // Another precision or batch is another pack.
    CLEANUP(lips_free) struct lips *other = NULL;
    struct lips_params p = {.batch = 1, .cache_folder = folder};
    assert_ok(err, lips_load(&other, &p, &err));
    assert_int_equal(count_packs(folder, pack, sizeof(pack)), 2);
    while (count_packs(folder, pack, sizeof(pack)) > 0)
        unlink(pack);
    rmdir(folder);
    // A folder that cannot be written is no error.
    lips_free(&other);
    p.cache_folder = "/proc/nowhere";
    assert_ok(err, lips_load(&other, &p, &err));
}

static void test_published_wav2lip_spec(void **state)
{
    char file[] = "/tmp/koubo-lips-XXXXXX";
    close(mkstemp(file));
    struct kb_error err = {0};
    struct lips *l = NULL;
    enum kb_code code;
    struct tensor_set *set = wav2lip_random(1);
    with_file(set, file, &err, &code, &l);
    tensor_set_free(&set);
    if (code != KB_OK)
        fail_msg("%s", err.text);
    const struct lips_spec *s = lips_spec(l);
    assert_int_equal(s->width, 96);
    assert_int_equal(s->out_height, 96);
    assert_int_equal(s->out_top, 0);
    assert_int_equal(s->mask_top, 48);
    assert_true(s->bgr && s->reference_is_self && s->mel_inside && !s->mel_round);
    assert_int_equal(s->n_points, 0);
    assert_true(lips_params_count(l) > 36000000 && lips_params_count(l) < 36500000);
    lips_free(&l);
}

static void test_another_network_is_named(void **state)
{
    char file[] = "/tmp/koubo-lips-XXXXXX";
    close(mkstemp(file));
    struct kb_error err = {0};
    struct lips *l = NULL;
    enum kb_code code;
    struct tensor_set *set = tensor_set_create();
    int64_t dims[] = {8, 3, 3, 3};
    assert_ok(err,
              tensor_set_add(set, "backbone.conv.weight", DTYPE_F32, 4, dims, NULL, NULL, &err));
    with_file(set, file, &err, &code, &l);
    tensor_set_free(&set);
    assert_int_equal(code, KB_BAD_INPUT);
    assert_non_null(strstr(err.text, "face_encoder_blocks"));
    assert_non_null(strstr(err.text, file));
    assert_null(l);
}

static void test_missing_model(void **state)
{
    struct kb_error err = {0};
    struct lips *l = NULL;
    assert_fails(err, KB_NOT_FOUND, "no-such-model",
                 lips_load(&l, &(struct lips_params){.model = "no-such-model"}, &err));
    assert_fails(err, KB_NOT_FOUND, "./nothing.pth",
                 lips_load(&l, &(struct lips_params){.model = "./nothing.pth"}, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bundled_spec),
        cmocka_unit_test(test_bundled_int8),
        cmocka_unit_test(test_ranges_beside_the_model),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_published_wav2lip_spec),
        cmocka_unit_test(test_another_network_is_named),
        cmocka_unit_test(test_missing_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
