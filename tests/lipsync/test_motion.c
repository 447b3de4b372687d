// From a mel to lips that move: a small made-up listener, the bundled one against PyTorch
// (tools/golden/koubo_motion.py), voices, and files that are no listener.
#include "tests/test.h"

#include <math.h>
#include <unistd.h>

#include "base/file.h"
#include "lipsync/motion.h"
#include "lipsync/vad.h"
#include "media/voice.h"
#include "nn/import/import.h"

#define RATE    MEL_RATE_HZ
#define STRETCH 16
#define COLUMNS (2 * STRETCH + 2) // a window of 4 columns
#define POINTS                                                                                     \
    "[61,185,40,39,37,0,267,269,270,409,291,375,321,405,314,17,84,181,91,146,78,191,80,81,82,"     \
    "13,312,311,310,415,308,324,318,402,317,14,87,178,88,95]"

static float opening_of(const float (*p)[2])
{
    float sum = 0;
    for (int k = 1; k < 10; k++)
        sum += p[40 - k][1] - p[20 + k][1];
    return sum / 9;
}

// --- a made-up listener ---

struct meta {
    const char *key, *value; // NULL: left out
};

static const struct meta contract[] = {
    {"format", "koubo-motion"},
    {"version", "2"},
    {"name", "made-up"},
    {"rate", "40"},
    {"mel_offset_s", "-0.025"},
    {"gain", "0.5"},
    {"margin", NULL},
    {"points", POINTS},
    {"curve", "[[0, 0], [0.01, 0], [0.1, 0.09]]"},
    {"inputs", "{\"mel\": [-1, 80, 1, 34]}"},
    {"output", "{\"motion\": [-1, 80, 1, 16]}"},
    {"graph",
     "[{\"op\": \"conv2d\", \"input\": \"mel\", \"output\": \"motion\", \"weight\": \"w\", "
     "\"bias\": \"b\", \"stride\": [1, 2], \"padding\": [0, 0]}]"},
};

// The lower lip goes down by 0.05 of what the mean over its window is above -4, so a mouth is open
// by up to 0.4; `spoilt` goes into a weight and a bias, `opens` is how far `opening` opens, `outer`
// how far it takes a corner of the outer lips aside.
#define MAX_CHANGED 2

static bool is_key(const struct meta *m, const char *key)
{
    return m->key && strcmp(m->key, key) == 0;
}

// changed: of MAX_CHANGED keys, or NULL
static char *write_model(const struct meta *changed, float spoilt, float opens, float outer)
{
    CLEANUP(tensor_set_free) struct tensor_set *set = tensor_set_create();
    struct kb_error err = {0};
    void *data;
    assert_ok(err,
              tensor_set_add(set, "w", DTYPE_F32, 4, (int64_t[]){80, 80, 1, 4}, NULL, &data, &err));
    float *w = data;
    assert_ok(err, tensor_set_add(set, "b", DTYPE_F32, 1, (int64_t[]){80}, NULL, &data, &err));
    float *b = data;
    assert_ok(err,
              tensor_set_add(set, "opening", DTYPE_F32, 2, (int64_t[]){40, 2}, NULL, &data, &err));
    float *opening = data;
    for (int point = 31; point < 40; point++) {
        for (int k = 0; k < 80 * 4; k++)
            w[(2 * point + 1) * 320 + k] = 0.05f / 320;
        b[2 * point + 1] = 0.2f;
        opening[2 * point + 1] = opens;
    }
    opening[0] = outer;
    w[0] *= spoilt;
    b[0] = spoilt;
    for (size_t i = 0; i < ARRAY_LEN(contract); i++) {
        const char *value = contract[i].value;
        for (int k = 0; changed && k < MAX_CHANGED; k++)
            if (is_key(&changed[k], contract[i].key))
                value = changed[k].value;
        if (value)
            tensor_set_put_meta(set, contract[i].key, value);
    }
    char *path = kb_strdup("/tmp/koubo-motion-XXXXXX");
    close(mkstemp(path));
    assert_ok(err, safetensors_write(path, set, &err));
    return path;
}

static struct motion_model *make_model(const struct meta *changed)
{
    struct kb_error err = {0};
    struct motion_model *m = NULL;
    CLEANUP(kb_freep) char *path = write_model(changed, 0, 1, 0);
    assert_ok(err, motion_model_load(&m, path, 1, &err));
    unlink(path);
    return m;
}

// --- sounds ---

static uint32_t random_state = 1;

static float noise(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return (float)(random_state >> 8) / (1 << 23) - 1;
}

static struct mel *mel_of(const float *samples, int n)
{
    struct kb_error err = {0};
    struct mel *m = mel_create();
    assert_ok(err, mel_feed(m, samples, n, &err));
    assert_ok(err, mel_finish(m, &err));
    return m;
}

static struct mel *silence(float seconds)
{
    int n = (int)(seconds * RATE);
    CLEANUP(kb_freep) float *samples = kb_alloc((size_t)n * sizeof(float));
    return mel_of(samples, n);
}

// --- tests ---

static void check_made_up(const struct meta *changed)
{
    struct kb_error err = {0};
    CLEANUP(motion_model_free) struct motion_model *model = make_model(changed);
    assert_string_equal(motion_model_name(model), "made-up");
    // Louder and louder, over several stretches.
    int n = 3 * RATE;
    CLEANUP(kb_freep) float *samples = kb_alloc((size_t)n * sizeof(float));
    for (int i = 0; i < n; i++)
        samples[i] = noise() * (float)i / (float)n;
    CLEANUP(mel_free) struct mel *mel = mel_of(samples, n);
    CLEANUP(motion_free) struct motion *m = NULL;
    assert_ok(err, motion_run(&m, model, mel, NULL, &err));
    assert_int_equal(m->n, 3 * MOTION_RATE_HZ + 1);
    for (int i = 0; i < m->n; i++) {
        float sum = 0;
        for (int c = 2 * i - 2; c < 2 * i + 2; c++)
            for (int b = 0; b < MEL_BANDS; b++)
                sum += mel_column(mel, c)[b];
        float told = 0.2f + 0.05f * sum / 320;
        float wanted = 0.5f * fmaxf(0, told - 0.01f); // curve and gain
        if (!(fabsf(opening_of(m->delta[i]) - wanted) < 1e-4f))
            fail_msg("sample %d: %g, wanted %g", i, opening_of(m->delta[i]), wanted);
        assert_true(m->delta[i][5][1] == 0);
    }
}

static void test_made_up(void **state)
{
    check_made_up(NULL);
}

// Ten of the sixteen samples of a run are told, and the window begins three samples earlier.
static void test_margin_is_left_out(void **state)
{
    static const struct meta changed[MAX_CHANGED] = {{"margin", "3"}, {"mel_offset_s", "-0.1"}};
    check_made_up(changed);
}

static void test_silence_is_closed(void **state)
{
    struct kb_error err = {0};
    const char *names[] = {NULL, "koubo-lips"};
    CLEANUP(mel_free) struct mel *mel = silence(2);
    for (size_t t = 0; t < ARRAY_LEN(names) + 1; t++) {
        CLEANUP(motion_model_free) struct motion_model *model = NULL;
        if (t < ARRAY_LEN(names))
            assert_ok(err, motion_model_load(&model, names[t], 2, &err));
        else
            model = make_model(NULL);
        CLEANUP(motion_free) struct motion *m = NULL;
        assert_ok(err, motion_run(&m, model, mel, NULL, &err));
        for (int i = 0; i < m->n; i++) {
            assert_true(m->voice[i] == 0);
            for (int j = 0; j < MOTION_POINTS; j++)
                assert_true(fabsf(m->delta[i][j][0]) < 2e-4f && fabsf(m->delta[i][j][1]) < 2e-4f);
        }
        float low, high;
        motion_range(m, &low, &high);
        assert_true(low == 0 && high == 0);
    }
}

static void test_as_pytorch(void **state)
{
    struct kb_error err = {0};
    CLEANUP(file_unmap) struct file_map map = {0}, golden = {0};
    assert_ok(err, file_map(&map, source_path("tests/golden/mel_signal.bin"), &err));
    assert_ok(err, file_map(&golden, source_path("tests/golden/koubo_motion.bin"), &err));
    const int16_t *from = (const int16_t *)(const void *)map.data;
    int n = (int)(map.size / 2);
    CLEANUP(kb_freep) float *samples = kb_alloc((size_t)n * sizeof(float));
    for (int i = 0; i < n; i++)
        samples[i] = from[i] / 32768.0f;
    CLEANUP(mel_free) struct mel *mel = mel_of(samples, n);
    CLEANUP(motion_model_free) struct motion_model *model = NULL;
    assert_ok(err, motion_model_load(&model, NULL, 2, &err));
    assert_string_equal(motion_model_name(model), "koubo-lips-research");
    CLEANUP(motion_free) struct motion *m = NULL;
    assert_ok(err, motion_run(&m, model, mel, NULL, &err));
    assert_int_equal(golden.size, (size_t)m->n * sizeof(*m->delta));
    const float *wanted = (const float *)(const void *)golden.data;
    float worst = 0, largest = 0;
    for (int i = 0; i < m->n * 2 * MOTION_POINTS; i++) {
        worst = fmaxf(worst, fabsf((&m->delta[0][0][0])[i] - wanted[i]));
        largest = fmaxf(largest, fabsf(wanted[i]));
    }
    print_message("# largest difference %g of %g\n", worst, largest);
    assert_true(worst < 1e-4f && largest > 0.01f);
}

static void test_interpolates(void **state)
{
    struct motion m = {.n = 9};
    float delta[9][MOTION_POINTS][2], voice[9], got[MOTION_POINTS][2];
    for (int i = 0; i < 9; i++) {
        voice[i] = i == 8 ? 0.5f : 1;
        for (int j = 0; j < MOTION_POINTS; j++) {
            delta[i][j][0] = noise();
            delta[i][j][1] = (float)(j * i); // a straight line stays one
        }
    }
    m.delta = delta;
    m.voice = voice;
    for (int i = 0; i < 9; i++) {
        motion_at(&m, (int64_t)i * 1000000 / MOTION_RATE_HZ, 2, got);
        for (int j = 0; j < MOTION_POINTS; j++)
            assert_true(fabsf(got[j][0] - 2 * voice[i] * delta[i][j][0]) < 1e-5f);
    }
    motion_at(&m, 87500, 1, got); // 3.5 samples
    for (int j = 0; j < MOTION_POINTS; j++)
        assert_true(fabsf(got[j][1] - 3.5f * (float)j) < 1e-4f);
    motion_at(&m, -5000000, 1, got);
    assert_true(got[3][0] == delta[0][3][0]);
    motion_at(&m, 5000000, 1, got);
    assert_true(fabsf(got[3][0] - 0.5f * delta[8][3][0]) < 1e-6f);
    motion_at(&m, 50000, 0, got);
    assert_true(got[7][0] == 0 && got[7][1] == 0);

    m.n = 1; // 50 ms of sound are a few samples, but one is no accident either
    motion_at(&m, 1000, 1, got);
    assert_true(got[3][0] == delta[0][3][0]);
}

// Samples of a voice in a sound of six seconds in which somebody speaks from 2 s to 4 s, over a bed
// of noise and hum.
static void hear(float bed, float hum, float loud, float *ret)
{
    struct kb_error err = {0};
    int n = 6 * RATE;
    CLEANUP(kb_freep) float *samples = kb_alloc((size_t)n * sizeof(float));
    for (int i = 0; i < n; i++) {
        float t = (float)i / RATE, tone = 0;
        bool speaks = t >= 2 && t < 4;
        for (int k = 1; k < 20; k++) // a voice: harmonics, four syllables a second
            tone += sinf(2 * (float)M_PI * 140 * t * (float)k) / (float)k;
        tone *= 0.6f + 0.4f * sinf(2 * (float)M_PI * 4 * t);
        samples[i] = bed * noise() + hum * sinf(2 * (float)M_PI * 50 * t) +
                     0.5f * hum * sinf(2 * (float)M_PI * 150 * t) + (speaks ? loud * tone : 0);
    }
    CLEANUP(mel_free) struct mel *mel = mel_of(samples, n);
    assert_ok(err, vad_find(ret, 6 * MOTION_RATE_HZ + 1, 2, mel, &err));
}

static void test_voice(void **state)
{
    static const struct {
        const char *name;
        float bed, hum, loud;
    } cases[] = {
        {"clean", 0, 0, 0.2f},
        {"in a quiet room", 0.001f, 0.001f, 0.2f},
        {"over hum", 0.001f, 0.1f, 0.2f},
        {"in noise", 0.03f, 0, 0.2f},
        {"faint", 0.0001f, 0, 0.003f},
    };
    float voice[6 * MOTION_RATE_HZ + 1];
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        hear(cases[t].bed, cases[t].hum, cases[t].loud, voice);
        for (int i = 0; i < 6 * MOTION_RATE_HZ + 1; i++) {
            float s = (float)i / MOTION_RATE_HZ;
            bool inside = s >= 2 && s < 3.85f, outside = s < 1.7f || s > 4.2f;
            if ((inside && voice[i] < 0.99f) || (outside && voice[i] != 0))
                fail_msg("%s: voice %g at %g s", cases[t].name, voice[i], s);
            assert_true(i == 0 || fabsf(voice[i] - voice[i - 1]) < 0.4f); // no jump
        }
        hear(cases[t].bed, cases[t].hum, 0, voice);
        for (int i = 0; i < 6 * MOTION_RATE_HZ + 1; i++)
            if (voice[i] != 0)
                fail_msg("%s, nobody speaks: voice %g at sample %d", cases[t].name, voice[i], i);
    }
}

static struct motion *speak(const char *text)
{
    struct kb_error err = {0};
    char path[] = "/tmp/koubo-speech-XXXXXX";
    close(mkstemp(path));
    CLEANUP(motion_model_free) struct motion_model *model = NULL;
    CLEANUP(mel_free) struct mel *mel = NULL;
    struct motion *m = NULL;
    assert_ok(err, voice_speak(path, text, &(struct voice_params){.voice = "en"}, NULL, &err));
    assert_ok(err, mel_from_file(&mel, path, false, NULL, &err));
    assert_ok(err, motion_model_load(&model, NULL, 2, &err));
    assert_ok(err, motion_run(&m, model, mel, NULL, &err));
    unlink(path);
    return m;
}

// A spoken sentence opens and closes the mouth as far as people do.
static void test_speech(void **state)
{
    CLEANUP(motion_free)
    struct motion *m =
        speak("Good morning. Papa made a marmalade, and mama has opened a bottle for Bob.");
    float low, high;
    motion_range(m, &low, &high);
    print_message("# opening %.4f to %.4f\n", low, high);
    assert_true(low >= -0.005f && low < 0.008f);
    assert_true(high > 0.025f && high < 0.12f);
}

struct count {
    int calls;
    int64_t last;
    struct cancel *cancel;
};

static void note(void *opaque, const struct progress *p)
{
    struct count *c = opaque;
    assert_int_equal(p->stage, STAGE_AUDIO);
    assert_int_equal(p->total, 81);
    assert_true(p->done >= c->last);
    c->last = p->done;
    if (++c->calls == 3 && c->cancel)
        cancel_request(c->cancel);
}

static void test_progress_and_cancel(void **state)
{
    struct kb_error err = {0};
    CLEANUP(motion_model_free) struct motion_model *model = make_model(NULL);
    CLEANUP(mel_free) struct mel *mel = silence(2);
    CLEANUP(motion_free) struct motion *m = NULL;
    struct count count = {0};
    struct watch watch = {NULL, note, &count};
    assert_ok(err, motion_run(&m, model, mel, &watch, &err));
    assert_int_equal(count.last, 81);
    assert_int_equal(count.calls, 81 / STRETCH + 2);

    struct cancel cancel = {0};
    struct motion *none = NULL;
    count = (struct count){.cancel = &cancel};
    watch.cancel = &cancel;
    assert_fails(err, KB_CANCELLED, "cancelled", motion_run(&none, model, mel, &watch, &err));
    assert_null(none);
    assert_int_equal(count.calls, 3);
}

static void test_what_is_no_listener(void **state)
{
    static const struct {
        struct meta meta;
        const char *part;
    } cases[] = {
        {{"format", NULL}, "'format'"},
        {{"format", "koubo"}, "'format'"},
        {{"version", "1"}, "'version'"},
        {{"rate", "25"}, "'rate'"},
        {{"rate", NULL}, "'rate'"},
        {{"mel_offset_s", "nan"}, "'mel_offset_s'"},
        {{"mel_offset_s", "1e9"}, "'mel_offset_s'"},
        {{"mel_offset_s", "-0.2 s"}, "'mel_offset_s'"},
        {{"gain", "inf"}, "'gain'"},
        {{"gain", "-1"}, "'gain'"},
        {{"margin", "-1"}, "'margin'"},
        {{"margin", "8"}, "not a listener"}, // nothing is left of sixteen
        {{"points", NULL}, "'points'"},
        {{"points", "[61]"}, "'points'"},
        {{"points", "{"}, "'points'"},
        {{"points", "[1,185,40,39,37,0,267,269,270,409,291,375,321,405,314,17,84,181,91,146,78,191,"
                    "80,81,82,13,312,311,310,415,308,324,318,402,317,14,87,178,88,95]"},
         "'points'"},
        {{"curve", NULL}, "'curve'"},
        {{"curve", "[[0, 0]]"}, "'curve'"},
        {{"curve", "[[0, 0], [0, 1]]"}, "'curve'"},
        {{"curve", "[[0, 0.1], [0.1, 0]]"}, "'curve'"},
        {{"curve", "[[0, 0], [1e30, 1]]"}, "'curve'"},
        {{"curve", "[[0, 0], [0.1]]"}, "'curve'"},
        {{"graph", NULL}, "'graph'"},
        {{"inputs", "{\"mel\": [-1, 80, 1, 8192]}"}, "another shape"},
        {{"inputs", "{\"mel\": [-1, 80, 1, 99999999]}"}, "impossible shape"},
        {{"inputs", "{\"mel\": [-1, 81, 1, 34]}"}, ""},
        {{"output", "{\"mel\": [-1, 80, 1, 34]}"}, "not a listener"},
    };
    struct kb_error err = {0};
    struct motion_model *m = NULL;
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        const struct meta changed[MAX_CHANGED] = {cases[t].meta};
        CLEANUP(kb_freep) char *path = write_model(changed, 0, 1, 0);
        print_message("# %s %s\n", cases[t].meta.key, cases[t].meta.value);
        assert_fails(err, KB_BAD_INPUT, cases[t].part, motion_model_load(&m, path, 1, &err));
        assert_non_null(strstr(err.text, path));
        unlink(path);
    }
    for (int i = 0; i < 2; i++) {
        CLEANUP(kb_freep) char *torn = write_model(NULL, 0, 1, i ? NAN : 1e30f);
        assert_fails(err, KB_BAD_INPUT, "'opening'", motion_model_load(&m, torn, 1, &err));
        unlink(torn);
    }
    CLEANUP(kb_freep) char *flat = write_model(NULL, 0, 0.5f, 0);
    assert_fails(err, KB_BAD_INPUT, "'opening'", motion_model_load(&m, flat, 1, &err));
    unlink(flat);
    CLEANUP(tensor_set_free) struct tensor_set *wav2lip = wav2lip_random(1);
    assert_ok(err, safetensors_write(flat, wav2lip, &err));
    assert_fails(err, KB_BAD_INPUT, "not a listener", motion_model_load(&m, flat, 1, &err));
    unlink(flat);
    assert_fails(err, KB_NOT_FOUND, "no-such", motion_model_load(&m, "no-such", 1, &err));

    // It loads, but what it tells is not of this world.
    for (int i = 0; i < 2; i++) {
        CLEANUP(kb_freep) char *spoilt = write_model(NULL, i ? NAN : 1e6f, 1, 0);
        CLEANUP(mel_free) struct mel *mel = silence(1);
        struct motion *none = NULL;
        assert_ok(err, motion_model_load(&m, spoilt, 1, &err));
        assert_fails(err, KB_BAD_INPUT, "leave the face", motion_run(&none, m, mel, NULL, &err));
        motion_model_free(&m);
        unlink(spoilt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_up),
        cmocka_unit_test(test_margin_is_left_out),
        cmocka_unit_test(test_silence_is_closed),
        cmocka_unit_test(test_as_pytorch),
        cmocka_unit_test(test_interpolates),
        cmocka_unit_test(test_voice),
        cmocka_unit_test(test_speech),
        cmocka_unit_test(test_progress_and_cancel),
        cmocka_unit_test(test_what_is_no_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
