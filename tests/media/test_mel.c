#include "../test.h"

#include <math.h>

#include "base/file.h"
#include "media/mel.h"

static float *signal_samples(int *ret_n)
{
    struct kb_error err = {0};
    CLEANUP(file_unmap) struct file_map map = {0};
    assert_ok(err, file_map(&map, source_path("tests/golden/mel_signal.bin"), &err));
    const int16_t *from = (const int16_t *)(const void *)map.data;
    *ret_n = (int)(map.size / 2);
    float *samples = malloc((size_t)*ret_n * sizeof(float));
    assert_non_null(samples);
    for (int i = 0; i < *ret_n; i++)
        samples[i] = from[i] / 32768.0f;
    return samples;
}

static struct mel *mel_of(const float *samples, int n, const int *pieces, int n_pieces)
{
    struct kb_error err = {0};
    struct mel *m = mel_create();
    for (int at = 0, k = 0; at < n; k++) {
        int piece = KB_MIN(pieces[k % n_pieces], n - at);
        assert_ok(err, mel_feed(m, samples + at, piece, &err));
        at += piece;
    }
    assert_ok(err, mel_finish(m, &err));
    return m;
}

static void test_golden(void **state)
{
    static const int tables[][4] = {
        {1 << 20, 1, 1, 1}, {1, 1, 1, 1}, {399, 1, 1, 7}, {401, 200, 199, 4097}, {0, 6000, 3, 800},
    };
    struct kb_error err = {0};
    int n;
    CLEANUP(kb_freep) float *samples = signal_samples(&n);
    CLEANUP(file_unmap) struct file_map golden = {0};
    assert_ok(err, file_map(&golden, source_path("tests/golden/mel_columns.bin"), &err));
    const float *wanted = (const float *)(const void *)golden.data;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        CLEANUP(mel_free) struct mel *m = mel_of(samples, n, tables[t], 4);
        assert_int_equal(mel_columns(m), 1 + n / MEL_HOP);
        assert_int_equal(golden.size, (size_t)mel_columns(m) * MEL_BANDS * sizeof(float));
        assert_int_equal(mel_duration_us(m), (int64_t)n * 1000000 / MEL_RATE_HZ);
        float worst = 0;
        for (int i = 0; i < mel_columns(m) * MEL_BANDS; i++)
            worst = fmaxf(worst, fabsf(mel_column(m, i / MEL_BANDS)[i % MEL_BANDS] - wanted[i]));
        if (!(worst < 1e-3f))
            fail_msg("pieces %zu: off by %g", t, worst);
    }
}

static void test_window(void **state)
{
    int n;
    CLEANUP(kb_freep) float *samples = signal_samples(&n);
    CLEANUP(mel_free) struct mel *m = mel_of(samples, n, &n, 1);
    static const int firsts[] = {-20, -3, 0, 40, 90, 96, 97, 5000, -5000};
    float window[16 * MEL_BANDS];
    for (size_t t = 0; t < ARRAY_LEN(firsts); t++) {
        mel_window(m, firsts[t], 16, window);
        for (int k = 0; k < 16; k++) {
            int column = KB_MAX(KB_MIN(firsts[t] + k, mel_columns(m) - 1), 0);
            for (int b = 0; b < MEL_BANDS; b++)
                assert_true(window[b * 16 + k] == mel_column(m, column)[b]);
        }
    }
    assert_ptr_equal(mel_column(m, -1), mel_column(m, 0));
    assert_ptr_equal(mel_column(m, 1 << 30), mel_column(m, mel_columns(m) - 1));
}

static void test_short(void **state)
{
    static const struct {
        int n;
        enum kb_code code;
    } cases[] = {{0, KB_BAD_INPUT}, {1, KB_BAD_INPUT}, {401, KB_BAD_INPUT}, {799, KB_BAD_INPUT},
                 {800, KB_OK},      {801, KB_OK},      {1000, KB_OK}};
    float samples[1000] = {0};
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        struct kb_error err = {0};
        CLEANUP(mel_free) struct mel *m = mel_create();
        assert_ok(err, mel_feed(m, samples, cases[t].n, &err));
        enum kb_code code = mel_finish(m, &err);
        assert_int_equal(code, cases[t].code);
        if (code == KB_OK) {
            assert_int_equal(mel_columns(m), 1 + cases[t].n / MEL_HOP);
            assert_true(mel_column(m, 0)[0] == -4); // silence
        } else {
            assert_non_null(strstr(err.text, "ms long"));
        }
    }
}

// Whatever a float file holds, the values stay within -4..4.
static void test_hostile_samples(void **state)
{
    float samples[2000];
    for (int i = 0; i < 2000; i++)
        samples[i] = i % 7 == 0 ? NAN : i % 5 == 0 ? INFINITY : 1e30f;
    int n = 2000;
    CLEANUP(mel_free) struct mel *m = mel_of(samples, n, &n, 1);
    for (int i = 0; i < mel_columns(m) * MEL_BANDS; i++) {
        float v = mel_column(m, i / MEL_BANDS)[i % MEL_BANDS];
        assert_true(v >= -4 && v <= 4);
    }
}

// Quiet is heard as if it were not, however quiet; loud beyond full scale as if it were at it. What
// is in between is as published (test_golden).
static void test_levels(void **state)
{
    static const struct {
        double db, same_as; // of the signal's own level
        double add;         // to each value of the other, 8 a hundred dB; what is clipped differs
    } cases[] = {
        {-40, -30, 0}, {-60, -30, 0}, {-79, -30, 0}, {-29, -30, 0.08}, {-100, -30, -0.8},
    };
    int n;
    CLEANUP(kb_freep) float *samples = signal_samples(&n);
    CLEANUP(mel_free) struct mel *whole = mel_of(samples, n, &n, 1);
    double own = mel_level_db(whole);
    CLEANUP(kb_freep) float *scaled = malloc((size_t)n * sizeof(float));
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        const double levels[] = {cases[t].db, cases[t].same_as};
        struct mel *mels[2];
        for (int k = 0; k < 2; k++) {
            for (int i = 0; i < n; i++)
                scaled[i] = samples[i] * (float)pow(10, (levels[k] - own) / 20);
            mels[k] = mel_of(scaled, n, &n, 1);
            assert_true(fabs(mel_level_db(mels[k]) - levels[k]) < 0.1);
        }
        float worst = 0;
        for (int i = 0; i < mel_columns(whole) * MEL_BANDS; i++) {
            float a = mel_column(mels[0], i / MEL_BANDS)[i % MEL_BANDS];
            float b = mel_column(mels[1], i / MEL_BANDS)[i % MEL_BANDS] + (float)cases[t].add;
            if (a > -3.9f && b > -3.9f && a < 3.9f)
                worst = fmaxf(worst, fabsf(a - b));
        }
        if (worst > 0.01f)
            fail_msg("%g dB as %g dB: off by %g", cases[t].db, cases[t].same_as, (double)worst);
        mel_free(&mels[0]);
        mel_free(&mels[1]);
    }
}

// A knock is no speech, and pauses do not make it quieter.
static void test_level(void **state)
{
    enum { N = 10 * MEL_RATE_HZ };
    CLEANUP(kb_freep) float *samples = calloc(N, sizeof(float));
    for (int i = 0; i < N / 4; i++)
        samples[i] = 0.01f * sinf(0.3f * (float)i);
    for (int i = 0; i < 300; i++)
        samples[N / 2 + i] = 0.9f;
    int n = N;
    CLEANUP(mel_free) struct mel *m = mel_of(samples, n, &n, 1);
    double level = mel_level_db(m);
    if (fabs(level - -43) > 0.2)
        fail_msg("%g dB", level);
    memset(samples, 0, N * sizeof(float));
    CLEANUP(mel_free) struct mel *silent = mel_of(samples, n, &n, 1);
    assert_true(mel_level_db(silent) == -INFINITY);
    assert_true(mel_column(silent, 100)[40] == -4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_window),
        cmocka_unit_test(test_short),  cmocka_unit_test(test_hostile_samples),
        cmocka_unit_test(test_levels), cmocka_unit_test(test_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
