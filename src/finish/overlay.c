#include "finish/overlay.h"

#include "base/vectorise.h"
#include "face/warp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ONE 256 // an opacity of 1

// One plane of the bitmap, in the frame's colours: value times alpha, and alpha.
struct layer {
    int width, height;
    uint16_t *value[2]; // 255 is 65280; luma has one, chroma two
    uint16_t *alpha;    // 1 is 65535
};

// All that the planes depend on.
struct look {
    enum AVColorSpace space;
    enum AVColorRange range;
    enum AVColorTransferCharacteristic transfer;
    enum AVChromaLocation location;
    bool hd;
    int odd_x, odd_y;
};

struct overlay {
    int width, height;
    uint8_t *rgba; // premultiplied, rows without gaps
    bool ready;    // luma and chroma are those of look
    struct look look;
    struct layer luma, chroma;
};

static void layer_clear(struct layer *l)
{
    free(l->value[0]);
    free(l->value[1]);
    free(l->alpha);
    *l = (struct layer){0};
}

static bool layer_make(struct layer *l, int width, int height, bool two)
{
    size_t n = (size_t)width * (size_t)height;
    layer_clear(l);
    *l = (struct layer){.width = width,
                        .height = height,
                        .value = {kb_calloc_checked(n, sizeof(uint16_t)),
                                  two ? kb_calloc_checked(n, sizeof(uint16_t)) : NULL},
                        .alpha = kb_calloc_checked(n, sizeof(uint16_t))};
    return l->value[0] && l->alpha && (!two || l->value[1]);
}

// --- the bitmap ---

static void copy_row(uint8_t *to, const uint8_t *from, const struct overlay_bitmap *b)
{
    for (int x = 0; x < b->width; x++, to += 4) {
        int a = b->alpha_only ? from[x] : from[4 * x + 3];
        for (int c = 0; c < 3; c++) {
            int colour = b->alpha_only ? ((int)(b->colour >> (16 - 8 * c) & 255) * a + 127) / 255
                                       : from[4 * x + c];
            to[c] = (uint8_t)KB_MIN(colour, a); // else it would be brighter than white
        }
        to[3] = (uint8_t)a;
    }
}

enum kb_code overlay_create(struct overlay **ret, const struct overlay_bitmap *b,
                            struct kb_error *err)
{
    *ret = NULL;
    if (b->width < 1 || b->height < 1 || b->width > OVERLAY_MAX_SIDE ||
        b->height > OVERLAY_MAX_SIDE)
        return kb_fail(err, KB_INTERNAL, _("a picture of %d x %d cannot be drawn"), b->width,
                       b->height);
    CLEANUP(overlay_free) struct overlay *o = kb_alloc(sizeof(*o));
    o->width = b->width;
    o->height = b->height;
    o->rgba = kb_calloc_checked((size_t)b->width * (size_t)b->height, 4);
    if (!o->rgba)
        return kb_no_memory(err);
    for (int y = 0; y < b->height; y++)
        copy_row(o->rgba + (size_t)y * (size_t)b->width * 4, b->data + y * b->stride, b);
    *ret = TAKE(o);
    return KB_OK;
}

int overlay_width(const struct overlay *o)
{
    return o->width;
}

int overlay_height(const struct overlay *o)
{
    return o->height;
}

void overlay_free(struct overlay **o)
{
    if (!*o)
        return;
    layer_clear(&(*o)->luma);
    layer_clear(&(*o)->chroma);
    free((*o)->rgba);
    free(TAKE(*o));
}

// --- into the frame's colours ---

// The signal of a page's white, as a part of the highest (ITU-R BT.2408, table 1).
static float white_of(enum AVColorTransferCharacteristic transfer)
{
    return transfer == AVCOL_TRC_SMPTE2084 ? 0.58f : transfer == AVCOL_TRC_ARIB_STD_B67 ? 0.75f : 1;
}

static uint16_t to_16(float value)
{
    return (uint16_t)lrintf(KB_MIN(KB_MAX(value, 0), 255) * 256);
}

static void make_luma(struct overlay *o, const struct yuv_matrix *m, float white)
{
    const uint8_t *p = o->rgba;
    size_t n = (size_t)o->width * (size_t)o->height;
    for (size_t i = 0; i < n; i++, p += 4) {
        float y = (float)m->y_offset * (float)p[3];
        for (int c = 0; c < 3; c++)
            y += m->to_y[c] * white * (float)p[c];
        o->luma.value[0][i] = to_16(y / 255);
        o->luma.alpha[i] = (uint16_t)(p[3] * 257);
    }
}

// What the luma samples before, at and after twice its number count in a chroma sample: it lies on
// the first of a pair, or between both.
static const float on_first[3] = {0.25f, 0.5f, 0.25f}, between[3] = {0, 0.5f, 0.5f};

static void make_chroma(struct overlay *o, const struct yuv_matrix *m, float white)
{
    enum AVChromaLocation l = o->look.location;
    const float *across = l == AVCHROMA_LOC_CENTER ? between : on_first;
    const float *down = l == AVCHROMA_LOC_TOPLEFT ? on_first : between;
    for (int cy = 0, i = 0; cy < o->chroma.height; cy++)
        for (int cx = 0; cx < o->chroma.width; cx++, i++) {
            float sum[4] = {0};
            for (int ty = 0; ty < 3; ty++)
                for (int tx = 0; tx < 3; tx++) {
                    int x = 2 * cx + tx - 1 - o->look.odd_x, y = 2 * cy + ty - 1 - o->look.odd_y;
                    if (x < 0 || x >= o->width || y < 0 || y >= o->height)
                        continue;
                    const uint8_t *p = o->rgba + ((size_t)y * (size_t)o->width + (size_t)x) * 4;
                    for (int c = 0; c < 4; c++)
                        sum[c] += across[tx] * down[ty] * (float)p[c];
                }
            float u = 128 * sum[3], v = 128 * sum[3];
            for (int c = 0; c < 3; c++) {
                u += m->to_u[c] * white * sum[c];
                v += m->to_v[c] * white * sum[c];
            }
            o->chroma.value[0][i] = to_16(u / 255);
            o->chroma.value[1][i] = to_16(v / 255);
            o->chroma.alpha[i] = (uint16_t)lrintf(sum[3] * 257);
        }
}

static bool look_same(const struct look *a, const struct look *b)
{
    return a->space == b->space && a->range == b->range && a->transfer == b->transfer &&
           a->location == b->location && a->hd == b->hd && a->odd_x == b->odd_x &&
           a->odd_y == b->odd_y;
}

static enum kb_code prepare(struct overlay *o, const AVFrame *f, int x, int y, struct kb_error *err)
{
    const struct look look = {.space = f->colorspace,
                              .range = f->color_range,
                              .transfer = f->color_trc,
                              .location = f->chroma_location,
                              .hd = f->height >= 720,
                              .odd_x = x & 1,
                              .odd_y = y & 1};
    if (o->ready && look_same(&look, &o->look))
        return KB_OK;
    o->ready = false;
    o->look = look;
    if (!layer_make(&o->luma, o->width, o->height, false) ||
        !layer_make(&o->chroma, (o->width + look.odd_x) / 2 + 1, (o->height + look.odd_y) / 2 + 1,
                    true))
        return kb_no_memory(err);
    struct yuv_matrix m = yuv_matrix_of(f);
    make_luma(o, &m, white_of(look.transfer));
    make_chroma(o, &m, white_of(look.transfer));
    o->ready = true;
    return KB_OK;
}

// --- drawing ---

KB_VECTORISED
static void draw_row(uint8_t *to, const uint16_t *value, const uint16_t *alpha, int n,
                     uint32_t opacity)
{
    for (int i = 0; i < n; i++) {
        uint32_t rest = 65536 - (alpha[i] * opacity >> 8);
        to[i] = (uint8_t)((to[i] * rest + value[i] * opacity + 32768) >> 16);
    }
}

// Over a picture that is transparent itself. beneath: its alpha there, 0 to 1.
static void draw_row_over(uint8_t *to, const float *beneath, const uint16_t *value,
                          const uint16_t *alpha, int n, uint32_t opacity)
{
    for (int i = 0; i < n; i++) {
        float part = (float)opacity / ONE, above = (float)alpha[i] / 65535 * part;
        float below = beneath[i] * (1 - above), all = above + below;
        if (all > 0)
            to[i] = (uint8_t)lrintf(
                KB_MIN(((float)value[i] / 256 * part + (float)to[i] * below) / all, 255));
    }
}

// The alpha of a frame where a row of a plane lies: of chroma, the mean of four.
static void read_alpha(const AVFrame *f, bool chroma, int x, int y, int n, float *ret)
{
    if (!chroma) {
        const uint8_t *row = f->data[3] + (ptrdiff_t)y * f->linesize[3];
        for (int i = 0; i < n; i++)
            ret[i] = (float)row[x + i] / 255;
        return;
    }
    const uint8_t *a = f->data[3] + (ptrdiff_t)KB_MIN(2 * y, f->height - 1) * f->linesize[3];
    const uint8_t *b = f->data[3] + (ptrdiff_t)KB_MIN(2 * y + 1, f->height - 1) * f->linesize[3];
    for (int i = 0; i < n; i++) {
        int left = KB_MIN(2 * (x + i), f->width - 1), right = KB_MIN(left + 1, f->width - 1);
        ret[i] = (float)(a[left] + a[right] + b[left] + b[right]) / (4 * 255);
    }
}

struct job {
    AVFrame *frame;
    uint32_t opacity;
    float *beneath; // a row, of frames with transparency
};

static void draw_layer(const struct job *j, const struct layer *l, bool chroma, int x, int y)
{
    AVFrame *f = j->frame;
    int width = chroma ? (f->width + 1) / 2 : f->width;
    int height = chroma ? (f->height + 1) / 2 : f->height;
    int left = KB_MAX(-x, 0), n = KB_MIN(l->width, width - x) - left;
    int bottom = KB_MIN(l->height, height - y);
    for (int row = KB_MAX(-y, 0); n > 0 && row < bottom; row++) {
        ptrdiff_t from = (ptrdiff_t)row * l->width + left;
        if (j->beneath)
            read_alpha(f, chroma, x + left, y + row, n, j->beneath);
        for (int p = 0; p < 2 && l->value[p]; p++) {
            int plane = chroma ? 1 + p : 0;
            uint8_t *to = f->data[plane] + (ptrdiff_t)(y + row) * f->linesize[plane] + x + left;
            if (j->beneath)
                draw_row_over(to, j->beneath, l->value[p] + from, l->alpha + from, n, j->opacity);
            else
                draw_row(to, l->value[p] + from, l->alpha + from, n, j->opacity);
        }
    }
}

// Alpha over alpha: as a plane whose every value is 255.
static void draw_alpha(const struct job *j, const struct layer *l, int x, int y)
{
    AVFrame *f = j->frame;
    int left = KB_MAX(-x, 0), right = KB_MIN(l->width, f->width - x);
    int bottom = KB_MIN(l->height, f->height - y);
    for (int row = KB_MAX(-y, 0); row < bottom; row++)
        for (int i = left; i < right; i++) {
            uint8_t *a = f->data[3] + (ptrdiff_t)(y + row) * f->linesize[3] + x + i;
            uint32_t above = l->alpha[(ptrdiff_t)row * l->width + i] * j->opacity >> 8;
            *a = (uint8_t)((*a * (65535 - above) + 255 * above + 32767) / 65535);
        }
}

enum kb_code overlay_draw(struct overlay *o, AVFrame *frame, int x, int y, float opacity,
                          struct kb_error *err)
{
    struct job j = {.frame = frame,
                    .opacity = (uint32_t)lrintf(KB_MIN(KB_MAX(opacity, 0), 1) * ONE)};
    if (j.opacity == 0 || x >= frame->width || y >= frame->height || x <= -o->width - 1 ||
        y <= -o->height - 1)
        return KB_OK;
    enum kb_code code = prepare(o, frame, x, y, err);
    if (code != KB_OK)
        return code;
    if (av_frame_make_writable(frame) < 0)
        return kb_no_memory(err);
    CLEANUP(kb_freep) float *beneath = NULL;
    if (frame->format == AV_PIX_FMT_YUVA420P)
        beneath = j.beneath = kb_alloc((size_t)KB_MAX(o->width, 4) * sizeof(float));
    draw_layer(&j, &o->luma, false, x, y);
    draw_layer(&j, &o->chroma, true, (x - o->look.odd_x) / 2, (y - o->look.odd_y) / 2);
    if (beneath)
        draw_alpha(&j, &o->luma, x, y);
    return KB_OK;
}
