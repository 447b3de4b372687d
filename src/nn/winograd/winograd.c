#include "nn/winograd/winograd.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define ALIGN 64 // bytes

static const struct form {
    int down, across, out;
} forms[] = {
#define FORM(down, across, out) {down, across, out},
    WINOGRAD_FORMS(FORM)};
_Static_assert(ARRAY_LEN(forms) == WINOGRAD_N_FORMS, "one for each");

// The loops for these types; false where there are none.
static bool choose_kernels(struct winograd *w, enum vector_set vectors)
{
    const struct winograd_shape *s = &w->shape;
    const struct winograd_kernels *k = &winograd_plain;
    const struct winograd_short_kernels *shorts = NULL;
#ifdef __x86_64__
    static const struct winograd_kernels *const all[] = {&winograd_plain, &winograd_avx2,
                                                         &winograd_avx512, &winograd_avx512};
    static const struct winograd_short_kernels *const all_shorts[] = {
        NULL, &winograd_short_avx2, &winograd_short_avx512, &winograd_short_vnni};
    k = all[vectors];
    shorts = all_shorts[vectors];
#endif
    if (s->in == WINOGRAD_F32) {
        w->kernels = k;
        w->lanes = k->lanes;
        w->rows = k->rows;
        return s->out == WINOGRAD_F32;
    }
    if (!shorts || !shorts->input[s->in][0] || !shorts->output[s->out][0])
        return false;
    w->shorts = shorts;
    w->lanes = shorts->lanes;
    w->rows = shorts->rows;
    return s->in_c >= 2 * w->lanes;
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

static size_t point_size(const struct winograd *w)
{
    return w->shorts ? sizeof(int16_t) : sizeof(float);
}

static size_t number_size(enum winograd_type t)
{
    return t == WINOGRAD_F32 ? 4 : t == WINOGRAD_BF16 ? 2 : 1;
}

static void choose_chunk(struct winograd *w)
{
    size_t bytes = (size_t)w->points * (w->in_row * point_size(w) + w->out_row * sizeof(float));
    int all = tiles_of(w);
    int fit = KB_MAX((int)(CHUNK_BYTES / bytes), CHUNK_LEAST);
    int n_chunks = round_up((all + fit - 1) / fit, w->threads);
    w->chunk = round_up((all + n_chunks - 1) / n_chunks, w->rows);
}

// Where inputs are multiplied by powers of 4 / 3 along a line, and outputs by those of 3 / 4, the
// places 1, -1, 2 and -2 stand for three quarters of themselves: then what is rounded off the
// points grows half as much on its way to the outputs.
#define SPREAD 0.75

static void choose_factors(struct winograd *w)
{
    const struct winograd_shape *s = &w->shape;
    const int rows = WINOGRAD_POINTS(s->kernel_h, w->tile);
    const int columns = WINOGRAD_POINTS(s->kernel_w, w->tile);
    w->spread_h = s->in == WINOGRAD_BF16 && s->kernel_h > 1 ? SPREAD : 1;
    w->spread_w = s->in == WINOGRAD_BF16 && s->kernel_w > 1 ? SPREAD : 1;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++)
            w->in_factors[r * columns + c] = (float)(pow(w->spread_h, -r) * pow(w->spread_w, -c));
    for (int r = 0; r < w->tile; r++)
        for (int c = 0; c < w->tile; c++)
            w->out_factors[r * w->tile + c] = (float)(pow(w->spread_h, r) * pow(w->spread_w, c));
    double reach[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS], most = 0;
    if (!w->shorts)
        return;
    winograd_reach(w, reach);
    for (int p = 0; p < w->points; p++)
        most = fmax(most, reach[p]);
    w->limit = s->in == WINOGRAD_U8 ? 255 : (float)(32766 / most);
}

bool winograd_make(struct winograd *ret, const struct winograd_shape *shape, int tile,
                   enum vector_set vectors, int threads)
{
    struct winograd w = {.shape = *shape, .tile = tile, .threads = threads};
    while (w.form < WINOGRAD_N_FORMS &&
           (forms[w.form].down != shape->kernel_h || forms[w.form].across != shape->kernel_w ||
            forms[w.form].out != tile))
        w.form++;
    if (w.form == WINOGRAD_N_FORMS || !choose_kernels(&w, vectors) || shape->in_c % w.lanes != 0 ||
        shape->out_c % w.lanes != 0)
        return false;
    w.points = WINOGRAD_POINTS(shape->kernel_h, tile) * WINOGRAD_POINTS(shape->kernel_w, tile);
    w.panels = (shape->out_c + 2 * w.lanes - 1) / (2 * w.lanes);
    w.across = (shape->out_w + tile - 1) / tile;
    w.down = (shape->out_h + tile - 1) / tile;
    if ((int64_t)w.down * w.across > MAX_TILES / shape->n)
        return false;
    // Not a multiple of a page from tile to tile or point to point: they would displace each other
    // in the first level of cache.
    w.in_row = (size_t)shape->in_c + ALIGN / point_size(&w);
    w.out_row = (size_t)w.panels * 2 * (size_t)w.lanes + ALIGN / sizeof(float);
    choose_chunk(&w);
    w.in_step = (size_t)w.chunk * w.in_row + ALIGN / point_size(&w);
    w.out_step = (size_t)w.chunk * w.out_row + ALIGN / sizeof(float);
    choose_factors(&w);
    *ret = w;
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

// Points in 16 bits: their products take half the time, weights half the memory. The library's
// products of bf16 take half the time too, those of u8 a quarter.
#define SHORT_TRANSFORM 30.0
#define SHORT_WEIGHT    40.0

double winograd_cost(const struct winograd *w)
{
    const double tiles = tiles_of(w), points = w->points, in = w->shape.in_c;
    const double out = w->panels * 2.0 * w->lanes;
    const double transform = w->shorts ? SHORT_TRANSFORM : COST_TRANSFORM;
    const double weight = w->shorts ? SHORT_WEIGHT : COST_WEIGHT, product = w->shorts ? 1 : 2;
    return points *
           (tiles * (product * in * out + transform * (in + w->shape.out_c)) + weight * in * out);
}

double winograd_direct_cost(const struct winograd_shape *s)
{
    const double weights = (double)s->kernel_h * s->kernel_w * s->in_c * s->out_c;
    const double part = s->in == WINOGRAD_F32 ? 1 : s->in == WINOGRAD_BF16 ? 0.5 : 0.25;
    return part * weights * (COST_DIRECT * 2 * s->n * s->out_h * s->out_w + COST_WEIGHT);
}

// Where one thread's memory has what: zeros for what lies outside the picture, what the tiles of a
// chunk were scaled by, points of the input, points of the output; and how much that is. In bytes.
struct parts {
    size_t scales, in, out, size;
};

static size_t after(size_t at, size_t bytes)
{
    return (at + bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static struct parts parts_of(const struct winograd *w)
{
    struct parts p;
    p.scales = after(0, (size_t)w->shape.in_c * number_size(w->shape.in));
    p.in = after(p.scales, (size_t)w->chunk * sizeof(float));
    p.out = after(p.in, (size_t)w->points * w->in_step * point_size(w));
    p.size = after(p.out, (size_t)w->points * w->out_step * sizeof(float));
    return p;
}

size_t winograd_scratch_size(const struct winograd *w)
{
    return (size_t)w->threads * parts_of(w).size;
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

static void *pixel(const struct image *im, enum winograd_type type, int n, int y, int x)
{
    ptrdiff_t at = (((ptrdiff_t)n * im->h + y) * im->w + x) * (ptrdiff_t)im->pixel_stride;
    return (char *)im->data + at * (ptrdiff_t)number_size(type);
}

// Writes the points of a tile. Returns what its numbers were multiplied by.
static float to_short_points(const struct winograd *w, const void *const *pixels, int16_t *to)
{
    const struct winograd_shape *s = &w->shape;
    float factors[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS] = {0}, scale = 1;
    if (s->in == WINOGRAD_BF16) {
        float largest = w->shorts->largest(pixels, w->points, s->in_c);
        scale = largest > 1e-30f ? w->limit / largest : 0;
        for (int p = 0; p < w->points; p++)
            factors[p] = scale * w->in_factors[p];
    }
    w->shorts->input[s->in][w->form](pixels, s->in_c, factors, to, w->in_step);
    return scale;
}

static void take_in(const struct winograd *w, const struct winograd_job *job, int tile,
                    const char *zeros, float *ret_scale, void *to)
{
    const struct winograd_shape *s = &w->shape;
    const int rows = WINOGRAD_POINTS(s->kernel_h, w->tile);
    const int columns = WINOGRAD_POINTS(s->kernel_w, w->tile);
    const void *pixels[WINOGRAD_MAX_POINTS * WINOGRAD_MAX_POINTS];
    struct place at = place_of(w, tile);
    for (int r = 0; r < rows; r++) {
        int y = at.y - s->pad_top + r;
        for (int c = 0; c < columns; c++) {
            int x = at.x - s->pad_left + c;
            bool inside = y >= 0 && y < s->in_h && x >= 0 && x < s->in_w;
            pixels[r * columns + c] = inside ? pixel(&job->in, s->in, at.image, y, x) : zeros;
        }
    }
    if (w->shorts)
        *ret_scale = to_short_points(w, pixels, to);
    else
        w->kernels->input[w->form]((const float *const *)pixels, s->in_c, to, w->in_step);
}

// scale: of the tile (to_short_points()).
static void give_out(const struct winograd *w, const struct winograd_job *job, int tile,
                     float scale, const float *from)
{
    const struct winograd_shape *s = &w->shape;
    const struct image *out = &job->out, *residual = &job->residual;
    struct place at = place_of(w, tile);
    const int step = job->interleaved ? 2 : 1;
    float factors[WINOGRAD_MAX_OUT * WINOGRAD_MAX_OUT];
    struct winograd_finish f = {
        .factors = factors,
        .bias = job->bias,
        .slope = job->slope,
        .top = job->top,
        .residual_factor = job->residual_factor,
        .to = pixel(out, s->out, at.image, at.y * step + job->row, at.x * step + job->column),
        .to_row = (ptrdiff_t)out->w * out->pixel_stride * step,
        .to_pixel = out->pixel_stride * step,
        .rows = KB_MIN(w->tile, s->out_h - at.y),
        .columns = KB_MIN(w->tile, s->out_w - at.x),
    };
    if (residual->data) {
        f.residual = pixel(residual, s->out, at.image, at.y, at.x);
        f.residual_row = (ptrdiff_t)residual->w * residual->pixel_stride;
        f.residual_pixel = residual->pixel_stride;
    }
    if (!w->shorts) {
        w->kernels->output[w->form](from, w->out_step, s->out_c, &f);
        return;
    }
    for (int i = 0; i < w->tile * w->tile; i++)
        factors[i] = scale > 0 ? w->out_factors[i] / scale : 0;
    w->shorts->output[s->out][w->form](from, w->out_step, s->out_c, &f);
}

// The sums of one point for one panel. Returns the weights of the next panel.
static const char *multiply(const struct winograd *w, int n, const void *in, const char *weights,
                            const float *scales, float *out)
{
    const int depth = w->shape.in_c;
    if (w->shorts)
        w->shorts->product(n, depth, in, w->in_row, (const int16_t *)(const void *)weights, scales,
                           out, w->out_row);
    else
        w->kernels->product(n, depth, in, w->in_row, (const float *)(const void *)weights, out,
                            w->out_row);
    return weights + (size_t)depth * 2 * (size_t)w->lanes * point_size(w);
}

static void run_chunk(const struct winograd *w, const struct winograd_job *job, int first,
                      char *memory)
{
    const struct parts parts = parts_of(w);
    const int n = KB_MIN(w->chunk, tiles_of(w) - first), width = 2 * w->lanes;
    const char *weights = job->weights;
    const float *scales = (const float *)(const void *)(weights + winograd_scales_at(w));
    float *tile_scales = (float *)(void *)(memory + parts.scales);
    float *out = (float *)(void *)(memory + parts.out);
    char *in = memory + parts.in;
    for (int i = 0; i < n; i++)
        take_in(w, job, first + i, memory, tile_scales + i,
                in + (size_t)i * w->in_row * point_size(w));
    for (int p = 0; p < w->points; p++) {
        for (int panel = 0; panel < w->panels; panel++) {
            weights = multiply(w, n, in + (size_t)p * w->in_step * point_size(w), weights, scales,
                               out + (size_t)p * w->out_step + panel * width);
            scales += width;
        }
    }
    for (int i = 0; i < n; i++)
        give_out(w, job, first + i, tile_scales[i], out + (size_t)i * w->out_row);
}

void winograd_run(const struct winograd *w, const struct winograd_job *job)
{
    const int n = tiles_of(w);
    const struct parts parts = parts_of(w);
#pragma omp parallel num_threads(w->threads)
    {
        char *memory = (char *)job->scratch + (size_t)omp_get_thread_num() * parts.size;
        memset(memory, 0, parts.in);
#pragma omp for schedule(dynamic)
        for (int first = 0; first < n; first += w->chunk)
            run_chunk(w, job, first, memory);
    }
}
