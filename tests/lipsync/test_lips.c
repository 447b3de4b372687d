// Wav2Lip out of its file: which files are one, in which precision it runs, and its packed form.
#include "tests/test.h"

#include <dirent.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "lipsync/lips.h"
#include "nn/import/import.h"
#include "nn/tuning.h"

static char *write_wav2lip(void)
{
    char *file = kb_strdup("/tmp/koubo-lips-XXXXXX");
    close(mkstemp(file));
    CLEANUP(tensor_set_free) struct tensor_set *set = wav2lip_random(1);
    struct kb_error err = {0};
    assert_ok(err, safetensors_write(file, set, &err));
    return file;
}

static void test_published_wav2lip(void **state)
{
    struct kb_error err = {0};
    CLEANUP(lips_free) struct lips *l = NULL;
    CLEANUP(kb_freep) char *file = write_wav2lip();
    assert_ok(err, lips_load(&l, &(struct lips_params){.model = file, .batch = 2}, &err));
    unlink(file);
    assert_int_equal(lips_batch(l), 2);
    assert_int_equal(lips_precision(l), precision_resolve(PRECISION_AUTO, false));
    assert_false(lips_wants_lanes(l));

    // It runs, and two different mels give two different mouths.
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2 * LIPS_FLOATS; k++)
            lips_face(l, i)[k] = 0.5f;
        for (int k = 0; k < MEL_BANDS * LIPS_MEL_COLUMNS; k++)
            lips_mel(l, i)[k] = i ? 2.0f : -4.0f;
    }
    assert_ok(err, lips_run(l, &err));
    double difference = 0;
    for (int k = 0; k < LIPS_FLOATS; k++) {
        assert_true(lips_output(l, 0)[k] >= 0 && lips_output(l, 0)[k] <= 1);
        difference += fabs((double)(lips_output(l, 0)[k] - lips_output(l, 1)[k]));
    }
    assert_true(difference > 1);
}

// As published: rounded down, and inside the mel.
static void test_mel_start(void **state)
{
    struct kb_error err = {0};
    CLEANUP(mel_free) struct mel *mel = mel_create();
    CLEANUP(kb_freep) float *silence = kb_alloc(MEL_RATE_HZ * sizeof(*silence));
    assert_ok(err, mel_feed(mel, silence, MEL_RATE_HZ, &err));
    assert_ok(err, mel_finish(mel, &err));
    assert_int_equal(lips_mel_start(mel, 0), 0);
    assert_int_equal(lips_mel_start(mel, 12499), 0);
    assert_int_equal(lips_mel_start(mel, 12500), 1);
    assert_int_equal(lips_mel_start(mel, 40000), 3);
    assert_int_equal(lips_mel_start(mel, 5000000), mel_columns(mel) - LIPS_MEL_COLUMNS);
}

// Ranges beside a model count for exactly these weights.
static void test_ranges_beside_the_model(void **state)
{
    CLEANUP(kb_freep) char *file = write_wav2lip();
    CLEANUP(kb_freep) char *beside = lips_ranges_path(file);
    CLEANUP(observer_free) struct observer *observer = observer_create();
    CLEANUP(lips_free) struct lips *l = NULL;
    struct kb_error err = {0};
    struct lips_params p = {
        .model = file, .batch = 1, .precision = PRECISION_F32, .observer = observer};
    assert_ok(err, lips_load(&l, &p, &err));
    for (int k = 0; k < 2 * LIPS_FLOATS; k++)
        lips_face(l, 0)[k] = (float)(k % 97) / 97;
    assert_ok(err, lips_run(l, &err));
    CLEANUP(kb_freep) float *f32 = kb_alloc(LIPS_FLOATS * sizeof(*f32));
    memcpy(f32, lips_output(l, 0), LIPS_FLOATS * sizeof(*f32));
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
    for (int k = 0; k < 2 * LIPS_FLOATS; k++)
        lips_face(l, 0)[k] = (float)(k % 97) / 97;
    assert_ok(err, lips_run(l, &err));
    double squares = 0;
    for (int k = 0; k < LIPS_FLOATS; k++)
        squares += pow((double)(lips_output(l, 0)[k] - f32[k]), 2);
    assert_true(-10 * log10(squares / (LIPS_FLOATS)) >=
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
    for (int k = 0; k < 2 * LIPS_FLOATS; k++)
        lips_face(l, 0)[k] = (float)(k % 97) / 97;
    assert_ok(err, lips_run(l, &err));
    float *copy = kb_alloc(LIPS_FLOATS * sizeof(*copy));
    memcpy(copy, lips_output(l, 0), LIPS_FLOATS * sizeof(*copy));
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
// give the same picture.
static void test_packed(void **state)
{
    char folder[] = "/tmp/koubo-packs-XXXXXX", pack[400] = "";
    assert_non_null(mkdtemp(folder));
    struct kb_error err = {0};
    CLEANUP(kb_freep) float *want = NULL;
    CLEANUP(kb_freep) char *model = write_wav2lip();
    for (int i = 0; i < 5; i++) {
        CLEANUP(lips_free) struct lips *l = NULL;
        struct lips_params p = {.model = model, .batch = 2, .cache_folder = i ? folder : NULL};
        if (i == 3)
            assert_int_equal(truncate(pack, 100000), 0);
        assert_ok(err, lips_load(&l, &p, &err));
        CLEANUP(kb_freep) float *got = output_of(l);
        if (i == 0) {
            want = TAKE(got);
            continue;
        }
        assert_memory_equal(want, got, LIPS_FLOATS * sizeof(float));
        assert_true(lips_wants_lanes(l));
        assert_int_equal(count_packs(folder, pack, sizeof(pack)), 1);
        assert_int_equal(lips_batch(l), 2);
    }
    // Another precision or batch is another pack.
    CLEANUP(lips_free) struct lips *other = NULL;
    struct lips_params p = {.model = model, .batch = 1, .cache_folder = folder};
    assert_ok(err, lips_load(&other, &p, &err));
    assert_int_equal(count_packs(folder, pack, sizeof(pack)), 2);
    while (count_packs(folder, pack, sizeof(pack)) > 0)
        unlink(pack);
    rmdir(folder);
    // A folder that cannot be written is no error.
    lips_free(&other);
    p.cache_folder = "/proc/nowhere";
    assert_ok(err, lips_load(&other, &p, &err));
    unlink(model);
}

static int packs_after_loading(const char *model, const char *folder, enum precision precision)
{
    struct kb_error err = {0};
    char pack[400];
    CLEANUP(lips_free) struct lips *l = NULL;
    struct lips_params p = {
        .model = model, .precision = precision, .batch = 1, .cache_folder = folder};
    assert_ok(err, lips_load(&l, &p, &err));
    return count_packs(folder, pack, sizeof(pack));
}

// What is measured counts where it lies under the name of this instruction set, in every precision.
static void test_measured(void **state)
{
    char folder[] = "/tmp/koubo-packs-XXXXXX", pack[400];
    assert_non_null(mkdtemp(folder));
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *model = write_wav2lip(), *path = lips_tuning_path(folder);
    CLEANUP(kb_freep) char *shared = kb_printf("%s/tuning.json", folder);
    struct tuned layer = {.layer = {32, 32, 48, 48, 1, false, 32}, .tile = 2};
    struct tuning t = {.n = 1, .layers = &layer, .forced = -1};
    session_backend(t.backend);
    assert_int_equal(packs_after_loading(model, folder, PRECISION_F32), 1);
    assert_ok(err, tuning_save(&t, shared, &err)); // of whatever machine
    assert_int_equal(packs_after_loading(model, folder, PRECISION_F32), 1);
    assert_ok(err, tuning_save(&t, path, &err));
    assert_int_equal(packs_after_loading(model, folder, PRECISION_F32), 2);
    if (precision_can_run(PRECISION_BF16)) {
        assert_int_equal(packs_after_loading(model, folder, PRECISION_BF16), 3);
        layer.tile = 3;
        assert_ok(err, tuning_save(&t, path, &err));
        assert_int_equal(packs_after_loading(model, folder, PRECISION_BF16), 4);
    }
    // The whole, too: auto is what was fastest, and what is asked for stays.
    bool measured;
    assert_int_equal(lips_auto(folder, false, &measured), precision_resolve(PRECISION_AUTO, false));
    assert_false(measured);
    t.whole[PRECISION_F32] = (struct tuned_precision){50, 300};
    t.whole[PRECISION_BF16] = t.whole[PRECISION_INT8] = (struct tuned_precision){100, 60};
    assert_ok(err, tuning_save(&t, path, &err));
    assert_int_equal(lips_auto(folder, true, &measured), PRECISION_F32);
    assert_true(measured);
    CLEANUP(lips_free) struct lips *l = NULL;
    const struct lips_params p = {.model = model, .batch = 1, .cache_folder = folder};
    assert_ok(err, lips_load(&l, &p, &err));
    assert_int_equal(lips_precision(l), PRECISION_F32);
    assert_true(lips_was_measured(l));
    unlink(path);
    unlink(shared);
    while (count_packs(folder, pack, sizeof(pack)) > 0)
        unlink(pack);
    rmdir(folder);
    unlink(model);
}

static void test_another_network_is_named(void **state)
{
    char file[] = "/tmp/koubo-lips-XXXXXX";
    close(mkstemp(file));
    struct kb_error err = {0};
    struct lips *l = NULL;
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    int64_t dims[] = {8, 3, 3, 3};
    assert_ok(err,
              tensor_set_add(set, "backbone.conv.weight", DTYPE_F32, 4, dims, NULL, NULL, &err));
    assert_ok(err, safetensors_write(file, set, &err));
    assert_fails(err, KB_BAD_INPUT, "backbone.conv.weight",
                 lips_load(&l, &(struct lips_params){.model = file}, &err));
    unlink(file);
    assert_non_null(strstr(err.text, file));
    assert_null(l);
}

// Out of an .onnx file: a face as large as its graph says, also from the pack.
static void test_onnx(void **state)
{
    char folder[] = "/tmp/koubo-packs-XXXXXX", pack[400] = "";
    assert_non_null(mkdtemp(folder));
    struct kb_error err = {0};
    CLEANUP(kb_freep) float *want = NULL;
    for (int i = 0; i < 2; i++) {
        CLEANUP(lips_free) struct lips *l = NULL;
        struct lips_params p = {.model = source_path("tests/golden/onnx_192.onnx"),
                                .precision = PRECISION_F32,
                                .batch = 2,
                                .cache_folder = i ? folder : NULL};
        assert_ok(err, lips_load(&l, &p, &err));
        assert_int_equal(lips_side(l), 192);
        for (int k = 0; k < 2; k++) {
            memset(lips_mel(l, k), 0, MEL_BANDS * LIPS_MEL_COLUMNS * sizeof(float));
            for (size_t x = 0; x < 2 * LIPS_FLOATS_OF(192); x++)
                lips_face(l, k)[x] = (float)(x % 97) / 97;
        }
        assert_ok(err, lips_run(l, &err));
        size_t bytes = LIPS_FLOATS_OF(192) * sizeof(float);
        assert_memory_equal(lips_output(l, 0), lips_output(l, 1), bytes);
        if (i) {
            assert_memory_equal(want, lips_output(l, 1), bytes);
        } else {
            want = kb_alloc(bytes);
            memcpy(want, lips_output(l, 1), bytes);
        }
    }
    assert_int_equal(count_packs(folder, pack, sizeof(pack)), 1);
    unlink(pack);
    rmdir(folder);
    struct lips *l = NULL;
    struct lips_params p = {.model = source_path("tests/fuzz/corpus/onnx/norms.onnx")};
    assert_fails(err, KB_BAD_INPUT, "(ONNX) is no Wav2Lip", lips_load(&l, &p, &err));
}

static void test_missing_model(void **state)
{
    struct kb_error err = {0};
    struct lips *l = NULL;
    assert_fails(err, KB_NOT_FOUND, "./nothing.pth",
                 lips_load(&l, &(struct lips_params){.model = "./nothing.pth"}, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_wav2lip),
        cmocka_unit_test(test_mel_start),
        cmocka_unit_test(test_ranges_beside_the_model),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_measured),
        cmocka_unit_test(test_another_network_is_named),
        cmocka_unit_test(test_onnx),
        cmocka_unit_test(test_missing_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
