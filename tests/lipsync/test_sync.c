#include "tests/test.h"

#include "lab/eval.h"
#include "nn/import/import.h"

#include <math.h>
#include <unistd.h>

#define FRAME_MS 40

static struct face_models *models;

static int load_models(void **state)
{
    struct kb_error err = {0};
    assert_ok(err, face_models_load(&models, &err));
    return 0;
}

static int free_models(void **state)
{
    face_models_free(&models);
    return 0;
}

static struct eval_sync judge(const char *clip)
{
    struct kb_error err = {0};
    struct eval_sync e;
    assert_ok(err,
              eval_sync_run(&e, clip_path(clip), NULL, models, &(struct eval_params){0}, &err));
    return e;
}

// Nobody was trained on these two. GRID's own sound may be off by a part of a frame.
static void test_offsets(void **state)
{
    static const struct {
        const char *clip;
        double offset_ms;
    } cases[] = {
        {"grid_brbk7n.mpg", 0},    {"grid_lbax4n.mpg", 0},  {"sound_late.mkv", 200},
        {"sound_early.mkv", -200}, {"picture_late.mkv", 0}, {"uneven_700.mp4", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct eval_sync e = judge(cases[i].clip);
        const struct sync_fit *fit = &e.sync.film;
        if (fabs(fit->offset_ms - cases[i].offset_ms) > FRAME_MS || fit->sureness < 0.7)
            fail_msg("%s: %.0f ms, sureness %.2f, agreement %.2f", cases[i].clip, fit->offset_ms,
                     fit->sureness, fit->agreement);
        assert_true(fit->sureness <= 1 && fit->agreement > 0 && fit->agreement <= 1);
        assert_true(e.sync.judged_us >= 2000000 && e.sync.n_windows >= 1);
        assert_float_equal(e.frame_ms, i == 5 ? 44.4 : 40, 1);
        sync_result_clear(&e.sync);
    }
}

static void test_windows(void **state)
{
    struct eval_sync e = judge("uneven_700.mp4"); // 6 s: blocks of 2 s, windows of two
    assert_int_equal(e.sync.n_windows, 2);
    for (int i = 0; i < 2; i++) {
        const struct sync_window *w = &e.sync.windows[i];
        assert_int_equal(w->begin_us, i * 2000000);
        assert_in_range(w->end_us, w->begin_us + 3900000, w->begin_us + 4000000);
        assert_true(fabs(w->fit.offset_ms) <= FRAME_MS && w->fit.sureness > 0.5);
    }
    sync_result_clear(&e.sync);
    sync_result_clear(&e.sync); // twice is fine
}

// A speech that fits nowhere. The other sentence has the same six words' rhythm, so it fits, but
// less.
static void test_sound_of_another(void **state)
{
    struct eval_sync own = judge("grid_brbk7n.mpg"), other = judge("sound_of_another.mkv");
    struct eval_sync back = judge("sound_backwards.mkv");
    const struct sync_fit *a = &own.sync.film, *b = &other.sync.film, *c = &back.sync.film;
    if (b->agreement > a->agreement - 0.1 || c->agreement > a->agreement - 0.1 || c->sureness > 0.5)
        fail_msg("agreement %.2f, of the other %.2f, backwards %.2f with sureness %.2f",
                 a->agreement, b->agreement, c->agreement, c->sureness);
    sync_result_clear(&own.sync);
    sync_result_clear(&other.sync);
    sync_result_clear(&back.sync);
}

// One of two people speaks: the judge finds out who.
static void test_who_speaks(void **state)
{
    struct eval_sync e = judge("two_people_720p.mp4"); // the woman, on the left
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = NULL;
    struct track_face face;
    assert_ok(err, track_make(&t, clip_path("two_people_720p.mp4"), models,
                              &(struct track_params){.limit_us = 100000}, &err));
    track_face(t, e.face, 0, &face);
    assert_true(face.present && face.box[2] < 640);
    sync_result_clear(&e.sync);
}

static void test_nothing_to_judge(void **state)
{
    static const struct {
        const char *clip, *says;
    } cases[] = {
        {"still_speaks.mp4", "mouth does not move"},
        {"sound_of_nobody.mkv", "no voice"},
        {"silent.mp4", "audio"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kb_error err = {0};
        struct eval_sync e = {.face = 7};
        assert_fails(err, KB_BAD_INPUT, cases[i].says,
                     eval_sync_run(&e, clip_path(cases[i].clip), NULL, models,
                                   &(struct eval_params){0}, &err));
        assert_int_equal(e.face, 7); // untouched
    }
}

static void test_cancel(void **state)
{
    struct kb_error err = {0};
    struct cancel cancel = {0};
    struct eval_sync e;
    cancel_request(&cancel);
    assert_fails(err, KB_CANCELLED, "",
                 eval_sync_run(&e, clip_path("grid_brbk7n.mpg"), NULL, models,
                               &(struct eval_params){.watch.cancel = &cancel}, &err));
}

// --- its file

static void load_bad(const struct tensor_set *set, const char *says)
{
    struct kb_error err = {0};
    CLEANUP(sync_judge_free) struct sync_judge *j = NULL;
    assert_ok(err, safetensors_write("test_sync_bad.safetensors", set, &err));
    assert_fails(err, KB_BAD_INPUT, says,
                 sync_judge_load(&j, "./test_sync_bad.safetensors", 1, &err));
    assert_null(j);
    unlink("test_sync_bad.safetensors");
}

static void test_files(void **state)
{
    struct kb_error err = {0};
    CLEANUP(sync_judge_free) struct sync_judge *j = NULL;
    CLEANUP(tensor_set_free) struct tensor_set *set = NULL, *lips = NULL;
    const char *path = source_path("models/koubo-sync.safetensors");
    assert_ok(err, weights_load(&set, path, &err));
    assert_true(sync_recognize(set));
    assert_ok(err, sync_judge_load(&j, path, 1, &err));
    sync_judge_free(&j);
    assert_ok(err, weights_load(&lips, source_path("models/koubo-lips.safetensors"), &err));
    assert_false(sync_recognize(lips));
    load_bad(lips, "'format'");
    static const struct {
        const char *key, *value;
    } cases[] = {
        {"version", "2"},        {"rate", "25"},
        {"lips_lead", "4"},      {"mel_lead", "x"},
        {"sureness_weight", ""}, {"sureness_none", "nan"},
        {"sureness_most", "-1"}, {"points", "[1, 2]"},
        {"graph", "[]"},         {"inputs", "{\"a\": [-1, 1, 80, 16]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(kb_freep) char *was = kb_strdup(tensor_set_meta(set, cases[i].key));
        tensor_set_put_meta(set, cases[i].key, cases[i].value);
        load_bad(set, i < 8 ? cases[i].key : "");
        tensor_set_put_meta(set, cases[i].key, was);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_sound_of_another),
        cmocka_unit_test(test_who_speaks),
        cmocka_unit_test(test_nothing_to_judge),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, load_models, free_models);
}
