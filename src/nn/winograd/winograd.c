#include "nn/winograd/winograd.h"

#include "nn/winograd/kernels.h"

#include <omp.h>
#include <string.h>

#define ALIGN (64 / sizeof(float))

static const struct form {
    int down, across, out;
} forms[] = {
#define FORM(down, across, out) {down, across, out},
    WINOGRAD_FORMS(FORM)};
_Static_assert(ARRAY_LEN(forms) == WINOGRAD_N_FORMS, "one for each");

static const struct winograd_kernels *kernels_for(enum vector_set vectors)
{
#ifdef __x86_64__
    if (vectors == VECTORS_AVX512)
        return &winograd_avx512;
    if (vectors == VECTORS_AVX2)
        return &winograd_avx2;
#endif
    return &winograd_plain;
}

// --- the plan ---

// The points of a chunk, before and after the product, should stay in the second level of cache;
// but the weights are read once a chunk, so it has this many tiles at least.
#define CHUNK_BYTES (1 << 20)
#define CHUNK_LEAST 48
#define MAX_TILES   (1 << 30) // so that with a chunk more they are still an int

static int round_up(int n, int to)
{
    return (n + to - 1) / to * to;
}

static int tiles_of(const struct winograd *w)
{
    return w->shape.n * w->down * w->across;
}

static void choose_chunk(struct winograd *w)
{
    size_t bytes = (size_t)w->points * (w->in_row + w->out_row) * sizeof(float);
    int rows = w->kernels->rows, all = tiles_of(w);
    int fit = KB_MAX((int)(CHUNK_BYTES / bytes), CHUNK_LEAST);
    int n_chunks = round_up((all + fit - 1) / fit, w->threads);
    w->chunk = round_up((all + n_chunks - 1) / n_chunks, rows);
}

bool winograd_make(struct winograd *ret, const struct winograd_shape *shape, int tile,
                   enum vector_set vectors, int threads)
{
    const struct winograd_kernels *k = kernels_for(vectors);
    int form = 0;
    while (form < WINOGRAD_N_FORMS &&
           (forms[form].down != shape->kernel_h || forms[form].across != shape->kernel_w ||
            forms[form].out != tile))
        form++;
    if (form == WINOGRAD_N_FORMS || shape->in_c % k->lanes != 0 || shape->out_c % k->lanes != 0)
        return false;
    *ret = (struct winograd){
        .shape = *shape,
        .kernels = k,
        .tile = tile,
        .form = form,
        .points = WINOGRAD_POINTS(shape->kernel_h, tile) * WINOGRAD_POINTS(shape->kernel_w, tile),
        .panels = (shape->out_c + 2 * k->lanes - 1) / (2 * k->lanes),
        .across = (shape->out_w + tile - 1) / tile,
        .down = (shape->out_h + tile - 1) / tile,
        .threads = threads,
    };
    if ((int64_t)ret->down * ret->across > MAX_TILES / shape->n)
        return false;
    // Not a multiple of a page from tile to tile or point to point: they would displace each other
    // in the first level of cache.
    ret->in_row = (size_t)shape->in_c + ALIGN;
    ret->out_row = (size_t)ret->panels * 2 * (size_t)k->lanes + ALIGN;
    choose_chunk(ret);
    ret->in_step = (size_t)ret->chunk * ret->in_row + ALIGN;
    ret->out_step = (size_t)ret->chunk * ret->out_row + ALIGN;
    return true;
}

bool winograd_has_form(const struct winograd_shape *shape, enum vector_set vectors)
{
    struct winograd w;
    for (int tile = 2; tile <= WINOGRAD_MAX_OUT; tile++)
        if (winograd_make(&w, shape, tile, vectors, 1))
            return true;
    return false;
}

// Measured (docs/performance.md): floating point operations that take as long as to transform a
// number, in or out, and as to read a weight; the latter is dear also because there are up to four
// times as many of them, which all need memory. The library's direct convolutions reach four fifths
// of what the product does.
#define COST_TRANSFORM 45.0
#define COST_WEIGHT    80.0
#define COST_DIRECT    1.25

double winograd_cost(const struct winograd *w)
{
    const double tiles = tiles_of(w), points = w->points, in = w->shape.in_c;
    const double out = w->panels * 2.0 * w->kernels->lanes;
    return points * (tiles * (2 * in * out + COST_TRANSFORM * (in + w->shape.out_c)) +
                     COST_WEIGHT * in * out);
}

double winograd_direct_cost(const struct winograd_shape *s)
{
    const double weights = (double)s->kernel_h * s->kernel_w * s->in_c * s->out_c;
    return weights * (COST_DIRECT * 2 * s->n * s->out_h * s->out_w + COST_WEIGHT);
}

static size_t zeros_size(const struct winograd *w)
{
    return (size_t)round_up(w->shape.in_c, ALIGN);
}

// Floats for one thread: zeros for what lies outside, points of the input, points of the output.
static size_t thread_size(const struct winograd *w)
{
    return zeros_size(w) + (size_t)w->points * (w->in_step + w->out_step);
}

size_t winograd_scratch_size(const struct winograd *w)
{
    return (size_t)w->threads * thread_size(w) * sizeof(float);
}

// --- weights ---

#define MAX_WIDTH 32 // of a panel: two vectors

size_t winograd_weights_size(const struct winograd *w)
{
    return (size_t)w->points * (size_t)w->panels * 2 * (size_t)w->kernels->lanes *
           (size_t)w->shape.in_c * sizeof(float);
}

// What a line of so many taps is at each point: ret[point][tap].
static void line_at_points(double ret[WINOGRAD_MAX_POINTS][3], int taps, int out)
{
    static const double at[] = {0, 1, -1, 2, -2};
    int points = WINOGRAD_POINTS(taps, out);
    memset(ret, 0, WINOGRAD_MAX_POINTS * sizeof(ret[0]));
    for (int i = 0; i < points; i++) {
        if (taps == 1) {
            ret[i][0] = 1;
            continue;
        }
        if (i == points - 1) { // infinity
            ret[i][taps - 1] = 1;
            continue;
        }
        double power = 1;
        for (int k = 0; k < points - 1; k++)
            power /= k == i ? 1 : at[i] - at[k];
        for (int t = 0; t < taps; t++, power *= at[i])
            ret[i][t] = power;
    }
}

// One kernel at every point: to[point * step].
static void kernel_at_points(const struct winograd *w, double down[][3], double across[][3],
                             const float *kernel, float *to, int step)
{
    const int taps_h = w->shape.kernel_h, taps_w = w->shape.kernel_w;
    const int rows = WINOGRAD_POINTS(taps_h, w->tile), columns = WINOGRAD_POINTS(taps_w, w->tile);
    for (int r = 0; r < rows; r++) {
        double line[3] = {0};
        for (int y = 0; y < taps_h; y++)
            for (int x = 0; x < taps_w; x++)
                line[x] += down[r][y] * (double)kernel[y * taps_w + x];
        for (int c = 0; c < columns; c++) {
            double sum = 0;
            for (int x = 0; x < taps_w; x++)
                sum += across[c][x] * line[x];
            to[(r * columns + c) * step] = (float)sum;
        }
    }
}

void winograd_weights(const struct winograd *w, const float *weight, float *ret)
{
    const struct winograd_shape *s = &w->shape;
    const int width = 2 * w->kernels->lanes, taps = s->kernel_h * s->kernel_w;
    double down[WINOGRAD_MAX_POINTS][3], across[WINOGRAD_MAX_POINTS][3];
    line_at_points(down, s->kernel_h, w->tile);
    line_at_points(across, s->kernel_w, w->tile);
#pragma omp parallel for schedule(static)
    for (int panel = 0; panel < w->panels; panel++) {
        const int n = KB_MIN(width, s->out_c - panel * width);
        for (int i = 0; i < s->in_c; i++) {
            float points[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS * MAX_WIDTH] = {0};
            for (int o = 0; o < n; o++) {
                size_t from = (size_t)(panel * width + o) * (size_t)s->in_c + (size_t)i;
                kernel_at_points(w, down, across, weight + from * (size_t)taps, points + o, width);
            }
            for (int p = 0; p < w->points; p++)
                memcpy(ret + (((size_t)p * (size_t)w->panels + (size_t)panel) * (size_t)s->in_c +
                              (size_t)i) *
                                 (size_t)width,
                       points + p * width, (size_t)width * sizeof(float));
        }
    }
}

// --- a run ---

struct place {
    int image, y, x; // of a tile's first output
};

static struct place place_of(const struct winograd *w, int tile)
{
    int in_image = tile % (w->down * w->across);
    return (struct place){tile / (w->down * w->across), in_image / w->across * w->tile,
                          in_image % w->across * w->tile};
}

static float *pixel(const struct image *im, int n, int y, int x)
{
    return (float *)im->data +
           (((ptrdiff_t)n * im->h + y) * im->w + x) * (ptrdiff_t)im->pixel_stride;
}

static void take_in(const struct winograd *w, const struct winograd_job *job, int tile,
                    const float *zeros, float *to)
{
    const struct winograd_shape *s = &w->shape;
    const int rows = WINOGRAD_POINTS(s->kernel_h, w->tile);
    const int columns = WINOGRAD_POINTS(s->kernel_w, w->tile);
    const float *pixels[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS];
    struct place at = place_of(w, tile);
    for (int r = 0; r < rows; r++) {
        int y = at.y - s->pad_top + r;
        for (int c = 0; c < columns; c++) {
            int x = at.x - s->pad_left + c;
            bool inside = y >= 0 && y < s->in_h && x >= 0 && x < s->in_w;
            pixels[r * columns + c] = inside ? pixel(&job->in, at.image, y, x) : zeros;
        }
    }
    w->kernels->input[w->form](pixels, s->in_c, to, w->in_step);
}

static void give_out(const struct winograd *w, const struct winograd_job *job, int tile,
                     const float *from)
{
    const struct winograd_shape *s = &w->shape;
    const struct image *out = &job->out, *residual = &job->residual;
    struct place at = place_of(w, tile);
    const int step = job->interleaved ? 2 : 1;
    struct winograd_finish f = {
        .bias = job->bias,
        .slope = job->slope,
        .top = job->top,
        .to = pixel(out, at.image, at.y * step + job->row, at.x * step + job->column),
        .to_row = (ptrdiff_t)out->w * out->pixel_stride * step,
        .to_pixel = out->pixel_stride * step,
        .rows = KB_MIN(w->tile, s->out_h - at.y),
        .columns = KB_MIN(w->tile, s->out_w - at.x),
    };
    if (residual->data) {
        f.residual = pixel(residual, at.image, at.y, at.x);
        f.residual_row = (ptrdiff_t)residual->w * residual->pixel_stride;
        f.residual_pixel = residual->pixel_stride;
    }
    w->kernels->output[w->form](from, w->out_step, s->out_c, &f);
}

static void run_chunk(const struct winograd *w, const struct winograd_job *job, int first,
                      const float *zeros, float *in, float *out)
{
    const int n = KB_MIN(w->chunk, tiles_of(w) - first), width = 2 * w->kernels->lanes;
    const float *weights = job->weights;
    for (int i = 0; i < n; i++)
        take_in(w, job, first + i, zeros, in + (size_t)i * w->in_row);
    for (int p = 0; p < w->points; p++) {
        for (int panel = 0; panel < w->panels; panel++) {
            w->kernels->product(n, w->shape.in_c, in + (size_t)p * w->in_step, w->in_row, weights,
                                out + (size_t)p * w->out_step + panel * width, w->out_row);
            weights += w->shape.in_c * width;
        }
    }
    for (int i = 0; i < n; i++)
        give_out(w, job, first + i, out + (size_t)i * w->out_row);
}

void winograd_run(const struct winograd *w, const struct winograd_job *job)
{
    const int n = tiles_of(w);
#pragma omp parallel num_threads(w->threads)
    {
        float *zeros = (float *)job->scratch + (size_t)omp_get_thread_num() * thread_size(w);
        float *in = zeros + zeros_size(w), *out = in + (size_t)w->points * w->in_step;
        memset(zeros, 0, zeros_size(w) * sizeof(float));
#pragma omp for schedule(dynamic)
        for (int first = 0; first < n; first += w->chunk)
            run_chunk(w, job, first, zeros, in, out);
    }
}
