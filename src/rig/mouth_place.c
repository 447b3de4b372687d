// Where the pixels between the lips come from. In canonical space the skull stands still, so upper
// teeth stay where they are, and lower teeth move as far as the jaw does; what lies between them
// takes up the difference, dark where the picture has too little there: a few rows of teeth
// stretched over an open mouth are stripes. The picture's own lips must not be seen: every vertex
// stays within the hole of its picture, by a margin.
#include "rig/mouth_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

// Canonical units. Inner lips are found to within a pixel or two, and lips are blurred into the
// hole.
#define MARGIN        0.005f
#define MARGIN_PIXELS 1.0f
#define MARGIN_SHARE  0.2f  // of the hole's height at most
#define SHOWN_OF_GAP  0.35f // of drawn teeth, below the upper lip
#define SHOWN_MOST    0.018f
// What is between the rows of teeth may be so much longer than in the picture; what is lacking then
// is dark, wholly so from DARK_LACK on.
#define STRETCH     0.35f
#define DARK_LACK   0.005f
#define LACK_PIXELS 3.0f   // or so many, if they are more
#define DARK_EDGE   0.004f // from no dark to all of it, and as many pixels besides
#define EDGE_PIXELS 1.5f
#define DEEP        0.5f // of the cavity's light is lost under the upper teeth
#define ASIDE       0.4f // and towards the corners
#define USABLE_GAP  0.3f // share of the hole's greatest height: nearer to a corner is only lip

struct placing {
    const struct mouth_entry *e;
    bool drawn;              // it has no lips, and its shadows are known
    const float (*inner)[3]; // of the target
    float margin, dark_lack, dark_edge;
    float usable[2], middle;    // of the picture, x
    float jaw;                  // further down in the target than in the picture
    float upper_end, lower_end; // of what belongs to the skull, and to the jaw; y of the target
    float shift[2];             // of the upper and of the lower teeth, so that no lip is seen
};

static float clampf(float v, float low, float high)
{
    return fminf(fmaxf(v, low), high);
}

// The hole of the picture at x.
static void hole_at(const struct placing *p, float x, float *ret_low, float *ret_high)
{
    *ret_low = lip_edge_at(p->e->inner, false, x).y;
    *ret_high = fmaxf(lip_edge_at(p->e->inner, true, x).y, *ret_low);
}

// The nearest of what may be seen of it: the hole less the margin. What stands at its rim goes on
// up to the lip: teeth are upright, and the lip's shadow lies there.
static float seen_at(const struct placing *p, float x, float y)
{
    float low, high;
    hole_at(p, x, &low, &high);
    float margin = fminf(p->margin, (high - low) * MARGIN_SHARE);
    return clampf(y, low + margin, high - margin);
}

// --- across ---

static void find_usable(struct placing *p)
{
    const float(*inner)[3] = p->e->inner;
    enum { N = 64 };
    float left = inner[0][0], step = (inner[LIPS_RIGHT][0] - left) / N, gaps[N + 1], most = 0;
    for (int i = 0; i <= N; i++) {
        float x = left + step * (float)i;
        gaps[i] = lip_edge_at(inner, true, x).y - lip_edge_at(inner, false, x).y;
        most = fmaxf(most, gaps[i]);
    }
    int first = 0, last = N;
    while (first < N / 2 - 1 && gaps[first] < USABLE_GAP * most)
        first++;
    while (last > N / 2 + 1 && gaps[last] < USABLE_GAP * most)
        last--;
    p->usable[0] = left + step * (float)first;
    p->usable[1] = left + step * (float)last;
    p->middle = (p->usable[0] + p->usable[1]) / 2;
}

// Skull-rigid; where the target reaches further to a side than the picture does, the outer part of
// that side is stretched, the incisors least.
static float source_x(const struct placing *p, float x)
{
    int side = x > p->middle;
    float have = fabsf(p->usable[side] - p->middle);
    float need = fabsf(p->inner[side ? LIPS_RIGHT : 0][0] - p->middle);
    if (need <= have)
        return x;
    float ratio = have / need, u = clampf((x - p->middle) / need, -1, 1);
    // u less a cubic reaches 3/4 and stays monotone; what is more is done evenly.
    float even = fminf(ratio / 0.75f, 1), bent = 1 - ratio / even;
    return p->middle + need * even * (u - bent * u * u * u);
}

// --- down ---

// Of both rims' columns in the middle of the mouth: the shift without which some of the picture's
// lip would be seen, the same for all columns so that rows of teeth stay straight.
static void find_shifts(struct placing *p)
{
    for (int i = 3; i <= 7; i++) {
        const float *up = p->inner[i], *down = p->inner[TRACK_N_LIPS - i];
        float low, high;
        hole_at(p, source_x(p, (up[0] + down[0]) / 2), &low, &high);
        p->shift[0] = fmaxf(p->shift[0], low - up[1]);
        p->shift[1] = fminf(p->shift[1], high - (down[1] - p->jaw));
    }
}

// Drawn teeth are guessed, and so may come down with the upper lip: some of them shows under it.
static void show_teeth(struct placing *p, float edge, float gap)
{
    float show = clampf(SHOWN_OF_GAP * gap, 0, SHOWN_MOST);
    p->shift[0] = fminf(p->shift[0], edge - show - p->inner[LIPS_RIGHT / 2][1]);
}

// The map of one column, from the top down: the skull's part of the picture, what the picture has
// between the rows of teeth, the jaw's part. Lengths in the target and in the picture.
enum { SKULL, BETWEEN, JAW, N_PARTS };
struct column {
    float top, first; // where the target begins, and the picture
    float to[N_PARTS], from[N_PARTS];
    float dark; // of what is between, 0..1
};

static struct column column_of(const struct placing *p, float x, float top, float bottom)
{
    struct column c = {.top = top};
    float height = fmaxf(bottom - top, 0), low, high;
    hole_at(p, source_x(p, x), &low, &high);
    // Where rigid teeth put the rims, cut to the hole.
    c.first = clampf(top + p->shift[0], low, high);
    float last = fmaxf(clampf(bottom - p->jaw + p->shift[1], low, high), c.first);
    float skull = fminf(clampf(p->upper_end - top, 0, height), last - c.first);
    float jaw = fminf(clampf(bottom - p->lower_end, 0, height - skull), last - c.first - skull);
    float between = fmaxf(last - c.first - skull - jaw, 0), has = skull + jaw + between;
    c.from[SKULL] = skull;
    c.from[JAW] = jaw;
    c.from[BETWEEN] = between;
    float lack = height - has - (p->drawn ? INFINITY : STRETCH * between);
    c.dark = clampf((lack - p->margin) / p->dark_lack, 0, 1);
    c.to[SKULL] = skull;
    c.to[JAW] = jaw;
    c.to[BETWEEN] = fmaxf(height - skull - jaw, 0);
    return c;
}

// Rows of the grid stand close where the light changes: at the edges of the teeth.
#define PART_ROWS    4 // of teeth
#define BETWEEN_ROWS (MOUTH_ROWS - 1 - 2 * PART_ROWS)
_Static_assert(BETWEEN_ROWS == 6, "two for each edge, two for what is between them");

struct place {
    float target, source, dark;
    float down; // of what is between, 0..1
};

static struct place between_at(const struct column *c, float dark_edge, int row)
{
    float length = c->to[BETWEEN], edge = fminf(dark_edge, length / 2);
    const float at[BETWEEN_ROWS + 1] = {
        0, edge / 2, edge, length / 2, length - edge, length - edge / 2, length};
    // At an edge without teeth the lip begins, and the dark goes on to it.
    float above = c->to[SKULL] > 0 ? at[row] : INFINITY;
    float below = c->to[JAW] > 0 ? length - at[row] : INFINITY;
    float deep = fminf(fminf(above, below) / dark_edge, 1);
    return (struct place){
        .target = c->top + c->to[SKULL] + at[row],
        .source =
            c->first + c->from[SKULL] + (length > 0 ? at[row] / length : 0) * c->from[BETWEEN],
        .dark = c->dark * deep * deep * (3 - 2 * deep),
        .down = length > 0 ? at[row] / length : 1,
    };
}

static struct place place_at(const struct column *c, float dark_edge, int row)
{
    if (row >= PART_ROWS && row <= PART_ROWS + BETWEEN_ROWS)
        return between_at(c, dark_edge, row - PART_ROWS);
    bool jaw = row > PART_ROWS;
    int part = jaw ? JAW : SKULL;
    float share = (float)(jaw ? row - PART_ROWS - BETWEEN_ROWS : row) / PART_ROWS;
    struct place p = {c->top + share * c->to[part], c->first + share * c->from[part], 0, 1};
    if (jaw) {
        p.target += c->to[SKULL] + c->to[BETWEEN];
        p.source += c->from[SKULL] + c->from[BETWEEN];
    }
    return p;
}

// --- what is seen where ---

static float gap_light(float gap)
{
    return 0.75f + 0.25f * clampf(gap / 0.04f, 0, 1);
}

// The picture has the shadows of its own lips in it; these are those of the target in their place.
static float shade_at(const struct placing *p, float target_gap, const float target[2],
                      float target_up, float target_down, const float source[2])
{
    float up = lip_edge_at(p->e->inner, false, source[0]).y;
    float down = lip_edge_at(p->e->inner, true, source[0]).y;
    float now = mouth_shadow(target[1] - target_up, target_down - target[1]);
    float then = mouth_shadow(source[1] - up, down - source[1]);
    // How dark such shadows are in a film is not known; less than half is never wrong by much.
    float shadow = p->drawn ? now / then : powf(now / then, 0.4f);
    float narrow = fminf(gap_light(target_gap) / gap_light(p->e->aperture), 1);
    return shadow * narrow;
}

// A cavity is lightest where the tongue lies: at the lower teeth, in the middle.
static float depth_at(const struct place *at, float aside)
{
    return 1 - at->dark * (1 - (1 - DEEP * (1 - at->down)) * (1 - ASIDE * aside * aside));
}

// Pixel of the picture of a canonical place between its lips.
static void to_picture(const struct placing *p, const float at[2], float ret[2])
{
    const struct mouth_entry *e = p->e;
    struct lip_edge up = lip_edge_at(e->inner, false, at[0]);
    struct lip_edge down = lip_edge_at(e->inner, true, at[0]);
    float part = down.y - up.y > 1e-6f ? clampf((at[1] - up.y) / (down.y - up.y), 0, 1) : 0.5f;
    const float canonical[3] = {at[0], at[1], up.z + part * (down.z - up.z)};
    float picture[2];
    pose_apply(&e->pose, canonical, picture);
    ret[0] = clampf((picture[0] - e->x0) * e->scale, 0, (float)e->picture.width);
    ret[1] = clampf((picture[1] - e->y0) * e->scale, 0, (float)e->picture.height);
}

static void place_column(const struct placing *p, int i, float gap, struct mouth_grid *ret)
{
    // Columns stand at the ring's points and between them.
    const float(*inner)[3] = p->inner;
    float up[2], down[2];
    int a = i / 2, b = (i + 1) / 2;
    for (int k = 0; k < 2; k++) {
        up[k] = (inner[a][k] + inner[b][k]) / 2;
        down[k] = (inner[(TRACK_N_LIPS - a) % TRACK_N_LIPS][k] +
                   inner[(TRACK_N_LIPS - b) % TRACK_N_LIPS][k]) /
                  2;
    }
    if (down[1] < up[1]) // lips that cross have nothing between them
        up[1] = down[1] = (up[1] + down[1]) / 2;
    struct column column = column_of(p, (up[0] + down[0]) / 2, up[1], down[1]);
    float height = down[1] - up[1];
    float aside = 2 * (float)i / (MOUTH_COLUMNS - 1) - 1;
    for (int row = 0; row < MOUTH_ROWS; row++) {
        struct place at = place_at(&column, p->dark_edge, row);
        float share = height > 0 ? (at.target - up[1]) / height : 0, source[2];
        int v = row * MOUTH_COLUMNS + i;
        float *target = ret->target[v];
        target[0] = up[0] + share * (down[0] - up[0]);
        target[1] = at.target;
        source[0] = source_x(p, target[0]);
        source[1] = seen_at(p, source[0], at.source);
        float shade = shade_at(p, gap, target, up[1], down[1], source) * depth_at(&at, aside);
        ret->shade[v] = clampf(shade, 0.3f, 1.05f);
        ret->dark[v] = at.dark;
        to_picture(p, source, ret->source[v]);
    }
}

void mouths_place(const struct mouths *m, int picture, const float (*target)[3],
                  struct mouth_grid *ret)
{
    assert(picture >= 0 && picture < m->n);
    const struct mouth_entry *e = &m->entries[picture];
    float seam = mouth_seam(m);
    float jaw = person_jaw(&m->person, target);
    struct placing p = {.e = e,
                        .drawn = m->drawn,
                        .inner = target + TRACK_INNER_FIRST,
                        .margin = fmaxf(MARGIN, MARGIN_PIXELS / (e->pose.scale * e->scale)),
                        .jaw = jaw - e->jaw,
                        .upper_end = seam + e->upper_end,
                        .lower_end = seam + e->lower_end + jaw - e->jaw};
    p.dark_lack = fmaxf(DARK_LACK, LACK_PIXELS / (e->pose.scale * e->scale));
    p.dark_edge = DARK_EDGE + EDGE_PIXELS / (e->pose.scale * e->scale);
    if (m->drawn)
        p.margin = 0;
    find_usable(&p);
    find_shifts(&p);
    float gap = lips_aperture(target);
    if (m->drawn)
        show_teeth(&p, seam + MOUTH_DRAWN_EDGE, gap);
    p.upper_end -= p.shift[0];
    p.lower_end -= p.shift[1];
    for (int i = 0; i < MOUTH_COLUMNS; i++)
        place_column(&p, i, gap, ret);
    ret->from = e->picture;
    ret->light = e->light;
    // As the library's cavity would be in this picture's light.
    float lit = fmaxf(e->light.yuv[0] - 16, 1) / fmaxf(m->cavity_skin.yuv[0] - 16, 1);
    ret->cavity = m->cavity;
    ret->cavity.yuv[0] = 16 + (m->cavity.yuv[0] - 16) * lit;
}
