// SplitMix64 as in src/nn/import/wav2lip.c and tools/golden/*.py, and the comparison with what
// PyTorch made of the same inputs.
#ifndef TESTS_NN_RANDOM_H
#define TESTS_NN_RANDOM_H

#include "tests/test.h"

#include <math.h>

#include "base/file.h"
#include "nn/session.h"

static inline double random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-52 - 1;
}

// Fill "mel" (-4 … 4), then "face" (0 … 1), for all images of the session.
static inline void fill_inputs(struct session *s, uint64_t seed)
{
    for (int i = 0; i < session_n_inputs(s); i++) {
        struct value v = session_input_shape(s, i);
        bool is_mel = strcmp(v.name, "mel") == 0;
        assert_string_equal(v.name, i == 0 ? "mel" : "face");
        float *to = session_input(s, i);
        for (int k = 0; k < session_batch(s) * v.h * v.w * v.c; k++) {
            float r = (float)random_next(&seed);
            to[k] = is_mel ? r * 4 : r * 0.5f + 0.5f;
        }
    }
}

struct distance {
    double largest, psnr_db; // of values in 0 … 1
};

// Output 0 of n images against a golden file of every step-th row and column, in (n, c, h, w)
// order. The session's image first is compared with the file's image 0, and so on.
static inline struct distance compare_golden(const struct session *s, const char *path, int step,
                                             int n)
{
    struct kb_error err = {0};
    CLEANUP(file_unmap) struct file_map m = {0};
    assert_ok(err, file_map(&m, source_path(path), &err));
    struct value v = session_output_shape(s, 0);
    int h = (v.h + step - 1) / step, w = (v.w + step - 1) / step;
    assert_true((size_t)(n * v.c * h * w) * sizeof(float) <= m.size);
    const float *golden = (const float *)m.data, *out = session_output(s, 0);
    struct distance d = {0};
    double sum = 0;
    for (int i = 0; i < n; i++)
        for (int c = 0; c < v.c; c++)
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++) {
                    double a = out[((i * v.h + y * step) * v.w + x * step) * v.c + c];
                    double e = fabs(a - (double)*golden++);
                    d.largest = e > d.largest || isnan(e) ? e : d.largest;
                    sum += e * e;
                }
    d.psnr_db = -10 * log10(sum / (n * v.c * h * w) + 1e-30);
    return d;
}

#endif
