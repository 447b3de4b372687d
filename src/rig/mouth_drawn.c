// The drawn mouth: a cavity, a tongue, two rows of teeth, painted back to front in canonical units
// in front of the neutral mouth opened wide. Everything is a share of the skin's own luma, and its
// colours are shares of the skin's, so that it lies in the same light: in a grey film it is grey.
#include "rig/mouth_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH_MAX 384
#define WIDTH_MIN 32
#define FINE      1100.0f // samples in a canonical unit at least, whatever its pixels are
#define OPEN_UP   0.022f  // of the middle of the upper lip from the seam, canonical units
#define OPEN_DOWN 0.088f
#define WIDER     1.08f
#define BLACK     16.0f

// A place in the mouth and what is painted there. Luma is a share of the skin's; chroma a share
// of the skin's at equal luma.
struct spot {
    float x; // from the middle of the mouth, canonical units
    float y; // down from the seam
    float u; // x in half widths of the mouth
    float luma, yellow, red;
};

static float ramp(float from, float to, float v)
{
    float t = fminf(fmaxf((v - from) / (to - from), 0), 1);
    return t * t * (3 - 2 * t);
}

static float bell(float v, float width)
{
    return expf(-0.5f * v * v / (width * width));
}

static void paint(struct spot *s, float cover, float luma, float yellow, float red)
{
    s->luma += cover * (luma - s->luma);
    s->yellow += cover * (yellow - s->yellow);
    s->red += cover * (red - s->red);
}

static void paint_cavity(struct spot *s)
{
    // Darkest in the throat, a little light on the cheeks and the floor.
    float luma = 0.17f + 0.12f * ramp(0.03f, 0.09f, s->y) - 0.03f * bell(s->x, 0.04f);
    paint(s, 1, luma, 0.9f, 2.7f);
}

static void paint_tongue(struct spot *s)
{
    float x = s->x / 0.088f, y = (s->y - 0.086f) / 0.050f, r = sqrtf(x * x + y * y);
    float groove = bell(s->x, 0.006f) * ramp(1.0f, 0.3f, r);
    float shine = bell(s->x - 0.022f, 0.018f) + bell(s->x + 0.024f, 0.016f);
    float luma =
        0.58f - 0.27f * r * r - 0.06f * groove + 0.07f * shine * bell(s->y - 0.058f, 0.006f);
    paint(s, 0.95f * ramp(1.08f, 0.80f, r), luma, 0.85f, 1.7f);
}

// One row of teeth from the middle outward: where each ends (canonical units), and how much shorter
// it is than the first.
struct tooth {
    float end, shorter;
};
static const struct tooth upper_teeth[] = {{0.0400f, 0.0000f}, {0.0700f, 0.0032f},
                                           {0.0950f, 0.0018f}, {0.1130f, 0.0065f},
                                           {0.1280f, 0.0100f}, {0.1400f, 0.0130f}};
static const struct tooth lower_teeth[] = {{0.0235f, 0.0000f}, {0.0480f, 0.0004f},
                                           {0.0730f, 0.0002f}, {0.0920f, 0.0040f},
                                           {0.1080f, 0.0080f}, {0.1200f, 0.0120f}};

// The tooth at |x|: which, and where in it, -1..1.
static int tooth_at(const struct tooth *teeth, int n, float x, float *ret_at, float *ret_width)
{
    float start = 0;
    for (int i = 0; i < n; i++) {
        if (x < teeth[i].end || i == n - 1) {
            *ret_width = teeth[i].end - start;
            *ret_at = fminf((x - start) / *ret_width * 2 - 1, 1);
            return i;
        }
        start = teeth[i].end;
    }
    return 0;
}

// edge: where the first tooth ends, y; down: the row hangs (upper teeth).
static void paint_teeth(struct spot *s, const struct tooth *teeth, int n, float edge, bool down,
                        float luma)
{
    // No mouth is even: the middle lies a little off, and one side stands a little higher.
    float x = s->x - 0.0012f, at, width, across = fabsf(x);
    int i = tooth_at(teeth, n, across, &at, &width);
    float uneven = 0.0004f * sinf((float)i * 2.4f + (x < 0 ? 1.9f : 0));
    float away = teeth[i].shorter + uneven + 0.05f * across * across;
    // Corners are round, outer ones more.
    float round = at * at, corner = 0.0034f * round * round * (at > 0 ? 1.25f : 0.8f);
    float inside = down ? edge - away - corner - s->y : s->y - (edge + away + corner);
    float cover = ramp(-0.0011f, 0.0011f, inside);
    // Between two teeth, a thin line that widens towards the edge.
    float from_gap = (1 - fabsf(at)) * width / 2;
    float gap = (0.10f + 0.16f * bell(inside, 0.007f)) *
                bell(from_gap, 0.0010f + 0.0006f * bell(inside, 0.005f));
    // Each tooth is a little cylinder, all of them an arch that goes back into the dark.
    float arch = 1 - 0.80f * ramp(0.25f, 1.05f, across / 0.125f);
    float form = 1 - 0.07f * round - 0.05f * ramp(0.007f, 0, inside);
    float warm = 0.9f + 0.25f * ramp(0.010f, 0.035f, inside) + (i == 2 ? 0.1f : 0);
    float gum = down ? ramp(0.040f, 0.048f, inside + 0.006f * round) : 0;
    paint(s, cover, luma * arch * form * (1 - gap), 0.68f * warm + 0.2f * gap, 0.55f + 0.5f * gap);
    paint(s, cover * gum, 0.55f * arch, 0.85f, 1.5f);
}

static void paint_spot(struct spot *s)
{
    paint_cavity(s);
    paint_tongue(s);
    paint_teeth(s, lower_teeth, ARRAY_LEN(lower_teeth), 0.0700f, false, 0.72f);
    paint_teeth(s, upper_teeth, ARRAY_LEN(upper_teeth), MOUTH_DRAWN_EDGE, true, 1.12f);
}

// --- from the mouth to the picture ---

// The edge of what may be seen of the drawing: squarer than lips are and a little wider, for no lip
// is painted that could be seen.
static void open_lips(struct mouth_entry *e, const float (*neutral)[3])
{
    float middle = (neutral[0][0] + neutral[LIPS_RIGHT][0]) / 2;
    for (int i = 0; i <= LIPS_RIGHT; i++) {
        int low = (TRACK_N_LIPS - i) % TRACK_N_LIPS;
        float u = (float)(i - LIPS_RIGHT / 2) / (LIPS_RIGHT / 2), bump = 1 - u * u * u * u;
        float seam = (neutral[i][1] + neutral[low][1]) / 2;
        memcpy(e->inner[i], neutral[i], sizeof(e->inner[i]));
        memcpy(e->inner[low], neutral[low], sizeof(e->inner[low]));
        e->inner[low][1] = seam + OPEN_DOWN * bump;
        e->inner[i][1] = seam - OPEN_UP * bump; // at the corners both are the seam
        e->inner[i][0] = middle + WIDER * (neutral[i][0] - middle);
        e->inner[low][0] = middle + WIDER * (neutral[low][0] - middle);
    }
}

static uint8_t to_byte(float v)
{
    return (uint8_t)lrintf(fminf(fmaxf(v, 0), 255));
}

// Adds a share of the YUV at a canonical place.
static void add_place(const struct mouth_entry *e, const struct mouth_light *skin,
                      const float at[2], float share, float ret[3])
{
    const float *left = e->inner[0], *right = e->inner[LIPS_RIGHT];
    float half = (right[0] - left[0]) / 2, middle = (left[0] + right[0]) / 2;
    float slope = (right[1] - left[1]) / (2 * half);
    float seam = e->inner[LIPS_RIGHT / 2][1] + OPEN_UP;
    // Teeth have their size in the face whatever the width of the mouth; they follow a slant of it.
    struct spot s = {.x = at[0] - middle, .u = (at[0] - middle) / half};
    s.y = at[1] - seam - slope * s.x;
    paint_spot(&s);
    float up = lip_edge_at((const float(*)[3])e->inner, false, at[0]).y;
    float down = lip_edge_at((const float(*)[3])e->inner, true, at[0]).y;
    s.luma *= mouth_shadow(at[1] - up, down - at[1]);
    s.luma *= 1 - 0.45f * ramp(0.6f, 1.05f, fabsf(s.u));

    // Dark skin has teeth brighter than itself, a dark picture has not; between the two.
    float light = fmaxf(skin->yuv[0] - BLACK, 8);
    light *= 1 + 0.3f * fmaxf(1 - light / 140, 0);
    ret[0] += share * fminf(BLACK + s.luma * light, 232);
    ret[1] += share * (128 + (skin->yuv[1] - 128) * s.yellow * s.luma);
    ret[2] += share * (128 + (skin->yuv[2] - 128) * s.red * s.luma);
}

// YUV of one pixel: the mean of as many places in it as a fine drawing has there.
static void pixel_at(const struct mouth_entry *e, const struct mouth_light *skin, int x, int y,
                     float ret[3])
{
    int n = (int)ceilf(FINE / e->scale);
    memset(ret, 0, 3 * sizeof(*ret));
    for (int v = 0; v < n; v++)
        for (int u = 0; u < n; u++) {
            const float at[2] = {((float)x + ((float)u + 0.5f) / (float)n) / e->scale + e->x0,
                                 ((float)y + ((float)v + 0.5f) / (float)n) / e->scale + e->y0};
            add_place(e, skin, at, 1 / (float)(n * n), ret);
        }
}

static void draw_pixels(const struct mouth_entry *e, const struct mouth_light *skin, uint8_t *luma,
                        uint8_t *u, uint8_t *v)
{
    int width = e->picture.width, height = e->picture.height;
    for (int y = 0; y < height; y += 2) {
        for (int x = 0; x < width; x += 2) {
            float chroma[2] = {0}, pixel[3];
            for (int k = 0; k < 4; k++) {
                pixel_at(e, skin, x + (k & 1), y + (k >> 1), pixel);
                luma[(y + (k >> 1)) * width + x + (k & 1)] = to_byte(pixel[0]);
                chroma[0] += pixel[1] / 4;
                chroma[1] += pixel[2] / 4;
            }
            u[y / 2 * (width / 2) + x / 2] = to_byte(chroma[0]);
            v[y / 2 * (width / 2) + x / 2] = to_byte(chroma[1]);
        }
    }
}

enum kb_code mouth_draw(struct mouths *m, const struct mouth_light *skin, float scale,
                        struct kb_error *err)
{
    const float(*neutral)[3] = (const float(*)[3])m->person.neutral + TRACK_INNER_FIRST;
    struct mouth_entry *e = &m->entries[0];
    memset(e, 0, sizeof(*e));
    open_lips(e, neutral);
    float left = e->inner[0][0], width = e->inner[LIPS_RIGHT][0] - left;
    float top = INFINITY, bottom = -INFINITY;
    for (int i = 0; i < TRACK_N_LIPS; i++) {
        top = fminf(top, e->inner[i][1]);
        bottom = fmaxf(bottom, e->inner[i][1]);
    }
    // A tenth of the mouth's width about it, so that sampling at the rim finds the same colours.
    float border = width / 10;
    e->pose = (struct pose){.scale = 1, .r = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    // A quarter finer than the film, so that neither its own pixels nor fewer of them show.
    int columns = (int)fminf(fmaxf(1.25f * scale * (width + 2 * border), WIDTH_MIN), WIDTH_MAX);
    columns += columns & 1;
    e->scale = (float)columns / (width + 2 * border);
    e->x0 = left - border;
    e->y0 = top - border;
    int height = (int)ceilf((bottom - top + 2 * border) * e->scale);
    height += height & 1;
    size_t n = (size_t)columns * (size_t)height;
    m->pixels = kb_calloc_checked(n, 2);
    if (!m->pixels)
        return kb_no_memory(err);
    uint8_t *u = m->pixels + n, *v = u + n / 4;
    e->picture = (struct mouth_picture){
        {m->pixels, u, v}, {columns, columns / 2, columns / 2}, columns, height};
    e->light = *skin;
    e->aperture = 0.08f; // as lips would have that open so far
    e->jaw = JAW_OF_GAP * e->aperture;
    draw_pixels(e, skin, m->pixels, u, v);
    m->n = 1;
    m->drawn = true;
    return KB_OK;
}
