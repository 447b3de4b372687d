#include "nn/direct/direct.h"

#include "nn/direct/kernels.h"

#include <omp.h>
#include <string.h>

#define ALIGN      (64 / sizeof(float))
#define MAX_PIXELS (1 << 30) // so that with a chunk more they are still an int

// What a chunk's pixels are made of should stay in the first level of cache, beside a panel of
// weights; but those are read once a chunk, so it has this many pixels at least.
#define CHUNK_BYTES (16 << 10)
#define CHUNK_LEAST 24

static int64_t pixels_of(const struct direct *d)
{
    return (int64_t)d->shape.n * d->shape.out_h * d->shape.out_w;
}

// --- the plan ---

static const struct direct_kernels *kernels_for(enum vector_set vectors, int channels)
{
#ifdef __x86_64__
    if (vectors >= VECTORS_AVX512 && channels >= direct_avx512.lanes)
        return &direct_avx512;
    if (vectors >= VECTORS_AVX2 && channels >= direct_avx2.lanes)
        return &direct_avx2;
#endif
    return channels >= direct_plain.lanes ? &direct_plain : NULL;
}

// The fewest channels that fill vectors.
static int channels_of(const struct direct_shape *s)
{
    int n = s->out_c;
    if (s->way == DIRECT_DEPTHWISE)
        n = KB_MIN(n, s->in_c);
    return s->is_pooled ? KB_MIN(n, s->residual_c) : n;
}

bool direct_make(struct direct *ret, const struct direct_shape *shape, enum vector_set vectors,
                 int threads)
{
    struct direct d = {.shape = *shape,
                       .kernels = kernels_for(vectors, channels_of(shape)),
                       .depth = shape->in_c,
                       .threads = threads};
    if (!d.kernels || pixels_of(&d) > MAX_PIXELS)
        return false;
    int64_t pixels = pixels_of(&d);
    if (shape->way == DIRECT_PATCHES) {
        d.depth *= shape->kernel_h * shape->kernel_w;
        d.chunk = shape->out_w;
    } else {
        int rows = d.kernels->rows;
        int fit = KB_MAX((int)(CHUNK_BYTES / sizeof(float)) / shape->in_c, CHUNK_LEAST);
        d.chunk = (fit + rows - 1) / rows * rows;
    }
    d.n_chunks = (int)((pixels + d.chunk - 1) / d.chunk);
    *ret = d;
    return true;
}

// --- weights ---

// One or two vectors of output channels.
struct panel {
    int column, vectors;
};

// From its first column, which is 0 or where the panel before it ends. The last one overlaps that
// one where there are not enough columns left.
static struct panel panel_at(const struct direct *d, int column)
{
    int lanes = d->kernels->lanes, n = d->shape.out_c;
    struct panel p = {.vectors = n - column > lanes && n >= 2 * lanes ? 2 : 1};
    p.column = KB_MIN(column, n - p.vectors * lanes);
    return p;
}

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

// Floats of all panels.
static size_t panels_size(const struct direct *d)
{
    size_t n = 0;
    for (int column = 0; column < d->shape.out_c;) {
        struct panel p = panel_at(d, column);
        n += (size_t)(p.vectors * d->kernels->lanes) * (size_t)d->depth;
        column = p.column + p.vectors * d->kernels->lanes;
    }
    return aligned(n);
}

#define EACH 10 // taps, and the bias, of a channel by itself

size_t direct_weights_size(const struct direct *d)
{
    size_t each = d->shape.way == DIRECT_DEPTHWISE ? EACH * (size_t)d->shape.in_c : 0;
    return (panels_size(d) + each) * sizeof(float);
}

void direct_weights(const struct direct *d, const float *weight, const float *each,
                    const float *each_bias, float *ret)
{
    const struct direct_shape *s = &d->shape;
    const int lanes = d->kernels->lanes, taps = d->depth / s->in_c;
    float *to = ret;
    for (int column = 0; column < s->out_c;) {
        struct panel p = panel_at(d, column);
        for (int t = 0; t < taps; t++)
            for (int i = 0; i < s->in_c; i++)
                for (int o = 0; o < p.vectors * lanes; o++)
                    *to++ = weight[((size_t)(p.column + o) * (size_t)s->in_c + (size_t)i) *
                                       (size_t)taps +
                                   (size_t)t];
        column = p.column + p.vectors * lanes;
    }
    if (s->way != DIRECT_DEPTHWISE)
        return;
    to = ret + panels_size(d);
    for (int t = 0; t < EACH - 1; t++)
        for (int c = 0; c < s->in_c; c++)
            *to++ = each[c * (EACH - 1) + t];
    for (int c = 0; c < s->in_c; c++)
        *to++ = each_bias ? each_bias[c] : 0;
}

// --- memory of a thread: zeros, what pixels are made of, the residual's largest ---

static size_t zeros_size(const struct direct *d)
{
    return d->shape.way == DIRECT_DEPTHWISE ? aligned((size_t)d->shape.in_c) : 0;
}

// PATCHES: floats of a row of the input, with all that the kernel reads beside it.
static size_t line_size(const struct direct_shape *s)
{
    int columns = (s->out_w - 1) * s->stride_w + s->kernel_w;
    return (size_t)columns * (size_t)s->in_c;
}

static size_t made_size(const struct direct *d)
{
    switch (d->shape.way) {
    case DIRECT_DEPTHWISE:
        return aligned((size_t)d->chunk * (size_t)d->shape.in_c);
    case DIRECT_PATCHES:
        return aligned((size_t)d->shape.kernel_h * line_size(&d->shape));
    default:
        return 0;
    }
}

static size_t thread_size(const struct direct *d)
{
    size_t pooled = d->shape.is_pooled ? (size_t)d->chunk * (size_t)d->shape.residual_c : 0;
    return zeros_size(d) + made_size(d) + aligned(pooled);
}

size_t direct_scratch_size(const struct direct *d)
{
    return (size_t)d->threads * thread_size(d) * sizeof(float);
}

// --- a run ---

static float *pixel(const struct image *im, int n, int y, int x)
{
    return (float *)im->data +
           (((ptrdiff_t)n * im->h + y) * im->w + x) * (ptrdiff_t)im->pixel_stride;
}

// Where a pixel of the output lies.
struct place {
    int image, y, x;
};

static struct place place_of(const struct direct_shape *s, int at)
{
    int in_image = at % (s->out_h * s->out_w);
    return (struct place){at / (s->out_h * s->out_w), in_image / s->out_w, in_image % s->out_w};
}

// What is read for pixels side by side, n of which are wanted, from this place on: as many groups
// as there are, or the pixels before and behind them. Returns how many pixels that are.
static int find_window(struct direct_window *w, const struct direct_shape *s,
                       const struct image *in, const struct place *at, int n, const float *zeros)
{
    const int y = at->y * s->stride_h - s->pad_top, x = at->x * s->stride_w - s->pad_left;
    const bool by_rows = x >= 0 && y >= 0 && y + 3 <= s->in_h;
    const int fit = by_rows ? (s->in_w - x - 3) / s->stride_w + 1 : 0;
    w->groups = KB_MAX(KB_MIN(fit, n), 0) / DIRECT_GROUP;
    if (w->groups > 0) {
        for (int r = 0; r < 3; r++)
            w->rows[r] = pixel(in, at->image, y + r, x);
        return w->groups * DIRECT_GROUP;
    }
    w->pixels = KB_MIN(n, DIRECT_GROUP);
    for (int r = 0; r < 3; r++)
        for (int c = 0; c < s->stride_w * (w->pixels - 1) + 3; c++) {
            bool inside = y + r >= 0 && y + r < s->in_h && x + c >= 0 && x + c < s->in_w;
            w->places[r][c] = inside ? pixel(in, at->image, y + r, x + c) : zeros;
        }
    return w->pixels;
}

static void make_depthwise(const struct direct *d, const struct direct_job *job, int first, int n,
                           const float *zeros, float *to)
{
    const struct direct_shape *s = &d->shape;
    const float *weights = job->weights + panels_size(d);
    struct direct_window w = {.stride = s->stride_w, .step = (size_t)job->in.pixel_stride};
    for (int i = 0; i < n;) {
        struct place at = place_of(s, first + i);
        for (const int end = KB_MIN(n, i + s->out_w - at.x); i < end;) {
            int done = find_window(&w, s, &job->in, &at, end - i, zeros);
            d->kernels->depthwise(&w, s->in_c, weights, weights + (EACH - 1) * s->in_c,
                                  to + (size_t)i * (size_t)s->in_c, (size_t)s->in_c);
            i += done;
            at.x += done;
        }
    }
}

// The rows of the input that a row of the output reads, with zeros beside them.
static void make_lines(const struct direct *d, const struct direct_job *job, int first, float *to)
{
    const struct direct_shape *s = &d->shape;
    const struct place at = place_of(s, first);
    const size_t size = line_size(s), pixel_size = (size_t)s->in_c * sizeof(float);
    const int columns = (s->out_w - 1) * s->stride_w + s->kernel_w;
    const int n = KB_MIN(s->in_w, columns - s->pad_left);
    memset(to, 0, (size_t)s->kernel_h * size * sizeof(*to));
    for (int r = 0; r < s->kernel_h; r++) {
        int y = at.y * s->stride_h - s->pad_top + r;
        if (y < 0 || y >= s->in_h || n <= 0)
            continue;
        const float *from = pixel(&job->in, at.image, y, 0);
        float *line = to + (size_t)r * size + (size_t)(s->pad_left * s->in_c);
        if (job->in.pixel_stride == s->in_c) {
            memcpy(line, from, (size_t)n * pixel_size);
            continue;
        }
        for (int x = 0; x < n; x++)
            memcpy(line + x * s->in_c, from + x * job->in.pixel_stride, pixel_size);
    }
}

static void make_largest(const struct direct *d, const struct image *from, int first, int n,
                         float *to)
{
    const struct direct_shape *s = &d->shape;
    for (int i = 0, end; i < n; i = end) {
        struct place at = place_of(s, first + i);
        end = KB_MIN(n, i + s->out_w - at.x);
        d->kernels->largest(pixel(from, at.image, 2 * at.y, 2 * at.x),
                            pixel(from, at.image, 2 * at.y + 1, 2 * at.x),
                            (size_t)from->pixel_stride, end - i, s->residual_c,
                            to + (size_t)i * (size_t)s->residual_c);
    }
}

static void run_chunk(const struct direct *d, const struct direct_job *job, int first,
                      const float *zeros, float *made)
{
    const struct direct_shape *s = &d->shape;
    float *pooled = made + made_size(d);
    const int n = KB_MIN(d->chunk, (int)pixels_of(d) - first), lanes = d->kernels->lanes;
    struct direct_product p = {.pixels = n,
                               .runs = 1,
                               .run = d->depth,
                               .from = made,
                               .from_row = (size_t)s->in_c,
                               .weights = job->weights,
                               .top = job->top,
                               .to_row = (size_t)job->out.pixel_stride};
    if (s->way == DIRECT_DEPTHWISE) {
        make_depthwise(d, job, first, n, zeros, made);
    } else if (s->way == DIRECT_PATCHES) {
        make_lines(d, job, first, made);
        p.runs = s->kernel_h;
        p.run = s->kernel_w * s->in_c;
        p.from_row = (size_t)s->stride_w * (size_t)s->in_c;
        p.from_run = line_size(s);
    } else {
        p.from = pixel(&job->in, 0, 0, first);
        p.from_row = (size_t)job->in.pixel_stride;
    }
    const float *residual = NULL;
    if (s->is_pooled) {
        make_largest(d, &job->residual, first, n, pooled);
        residual = pooled;
        p.residual_row = (size_t)s->residual_c;
    } else if (s->residual_c > 0) {
        residual = pixel(&job->residual, 0, 0, first);
        p.residual_row = (size_t)job->residual.pixel_stride;
    }
    for (int column = 0; column < s->out_c;) {
        struct panel panel = panel_at(d, column);
        int width = panel.vectors * lanes;
        p.bias = job->bias + panel.column;
        p.slope = job->slope + panel.column;
        p.residual_n = s->residual_c - panel.column;
        p.residual = residual && p.residual_n > 0 ? residual + panel.column : NULL;
        p.to = pixel(&job->out, 0, 0, first) + panel.column;
        d->kernels->product(&p, panel.vectors);
        p.weights += (size_t)width * (size_t)d->depth;
        column = panel.column + width;
    }
}

static void run_chunks(const struct direct *d, const struct direct_job *job, int thread,
                       int n_threads)
{
    float *zeros = (float *)job->scratch + (size_t)thread * thread_size(d);
    memset(zeros, 0, zeros_size(d) * sizeof(*zeros));
    for (int i = thread; i < d->n_chunks; i += n_threads)
        run_chunk(d, job, i * d->chunk, zeros, zeros + zeros_size(d));
}

void direct_run(const struct direct *d, const struct direct_job *job)
{
    int threads = KB_MIN(d->threads, d->n_chunks);
    if (threads == 1) {
        run_chunks(d, job, 0, 1);
        return;
    }
#pragma omp parallel num_threads(threads)
    run_chunks(d, job, omp_get_thread_num(), omp_get_num_threads());
}
