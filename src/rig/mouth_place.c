// Where the pixels between the lips come from. In canonical space the skull stands still, so upper
// teeth stay where they are, and lower teeth move as far as the jaw does; what lies between them,
// dark, takes up the difference. The picture's own lips must not be seen: every vertex stays within
// the hole of its picture, by a margin.
#include "rig/mouth_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

// Canonical units. Inner lips are found to within a pixel or two, and lips are blurred into the
// hole.
#define MARGIN        0.005f
#define MARGIN_PIXELS 1.0f
#define MARGIN_SHARE  0.2f // of the hole's height at most
// Upper incisors end below the closed seam, where lower ones begin when the teeth are together.
#define UPPER_TEETH  0.02f
#define LOWER_TEETH  (-0.004f)
#define SHOWN_OF_GAP 0.35f // of drawn teeth, below the upper lip
#define SHOWN_MOST   0.018f
#define DARK_LACK    0.010f // what the picture lacks between the rows of teeth when it is dark there
#define DARKEST      0.25f
#define DARK_EDGE    0.005f // from full light to the dark
#define USABLE_GAP   0.3f   // share of the hole's greatest height: nearer to a corner is only lip

struct placing {
    const struct mouth_entry *e;
    bool drawn;              // it has no lips, and its shadows are known
    const float (*inner)[3]; // of the target
    float margin;
    float usable[2], middle;    // of the picture, x
    float jaw;                  // further down in the target than in the picture
    float upper_end, lower_end; // of what belongs to the skull, and to the jaw; y of the target
    float shift[2];             // of the upper and of the lower teeth, so that no lip is seen
};

static float clampf(float v, float low, float high)
{
    return fminf(fmaxf(v, low), high);
}

// What of the picture may be seen at x: its hole less the margin.
static void hole_at(const struct placing *p, float x, float *ret_low, float *ret_high)
{
    float upper = lip_edge_at(p->e->inner, false, x).y, lower = lip_edge_at(p->e->inner, true, x).y;
    float margin = fminf(p->margin, fmaxf(lower - upper, 0) * MARGIN_SHARE);
    *ret_low = upper + margin;
    *ret_high = fmaxf(lower - margin, upper + margin);
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
    p->upper_end -= fminf(p->shift[0], 0);
}

// The map of one column: for `upper` from the top the skull's part of the picture, from y `first`
// down; for `lower` from the bottom the jaw's, up to y `last`; between them what the picture has
// between, dark where it has too little.
struct column {
    float top, height, first, last, upper, lower;
    float dark; // of what is between, 0..1
};

static struct column column_of(const struct placing *p, float x, float top, float bottom)
{
    struct column c = {.top = top, .height = fmaxf(bottom - top, 0)};
    float low, high;
    hole_at(p, source_x(p, x), &low, &high);
    // Where rigid teeth put the rims, cut to the hole.
    c.first = clampf(top + p->shift[0], low, high);
    c.last = fmaxf(clampf(bottom - p->jaw + p->shift[1], low, high), c.first);
    c.upper = fminf(clampf(p->upper_end - top, 0, c.height), high - c.first);
    c.lower = fminf(clampf(bottom - p->lower_end, 0, c.height - c.upper), c.last - low);
    float middle = c.height - c.upper - c.lower, has = c.last - c.lower - c.first - c.upper;
    if (has < 0 && middle < 2 * DARK_EDGE) { // room for the dark between two rows that overlap
        float room = fminf(DARK_EDGE - middle / 2, fminf(c.upper, c.lower));
        c.upper -= room;
        c.lower -= room;
        middle += 2 * room;
        has += 2 * room;
    }
    if (!p->drawn)
        c.dark = clampf((middle - fmaxf(has, 0) - 2 * p->margin) / DARK_LACK, 0, 1);
    bool hidden = c.dark > 0.9f && middle > 1.99f * DARK_EDGE;
    if (has < 0 && !hidden) { // no dark to hide a jump in: all of it a little smaller
        float share = fmaxf(c.last - c.first, 0) / (c.upper + c.lower);
        c.upper *= share;
        c.lower *= share;
    }
    return c;
}

static float source_y(const struct column *c, float y)
{
    float d = y - c->top, middle = c->height - c->upper - c->lower;
    float begin = c->first + c->upper, end = fmaxf(c->last - c->lower, begin);
    if (d <= c->upper)
        return c->first + fmaxf(d, 0);
    if (d >= c->height - c->lower || middle <= 0)
        return c->last - fmaxf(c->height - d, 0);
    return begin + (d - c->upper) / middle * (end - begin);
}

// The factor of light between the rows of teeth: none of it at their edges.
static float darkness_at(const struct column *c, float y)
{
    float d = y - c->top - c->upper, rest = c->height - c->upper - c->lower - d;
    float deep = clampf(fminf(d, c->lower > 0 ? rest : d) / DARK_EDGE, 0, 1);
    return 1 - (1 - DARKEST) * c->dark * deep * deep * (3 - 2 * deep);
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
    return clampf(shadow * narrow, 0.3f, 1.05f);
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
    for (int row = 0; row < MOUTH_ROWS; row++) {
        float at = (float)row / (MOUTH_ROWS - 1), source[2], low, high;
        int v = row * MOUTH_COLUMNS + i;
        float *target = ret->target[v];
        for (int k = 0; k < 2; k++)
            target[k] = up[k] + at * (down[k] - up[k]);
        source[0] = source_x(p, target[0]);
        hole_at(p, source[0], &low, &high); // a column may lean
        source[1] = clampf(source_y(&column, target[1]), low, high);
        ret->shade[v] =
            shade_at(p, gap, target, up[1], down[1], source) * darkness_at(&column, target[1]);
        to_picture(p, source, ret->source[v]);
    }
}

void mouths_place(const struct mouths *m, int picture, const float (*target)[3],
                  struct mouth_grid *ret)
{
    assert(picture >= 0 && picture < m->n);
    const struct mouth_entry *e = &m->entries[picture];
    const float(*neutral)[3] = m->person.neutral + TRACK_INNER_FIRST;
    float seam = (neutral[5][1] + neutral[TRACK_N_LIPS - 5][1]) / 2;
    float jaw = person_jaw(&m->person, target);
    struct placing p = {.e = e,
                        .drawn = m->drawn,
                        .inner = target + TRACK_INNER_FIRST,
                        .margin = fmaxf(MARGIN, MARGIN_PIXELS / (e->pose.scale * e->scale)),
                        .jaw = jaw - e->jaw,
                        .upper_end = seam + UPPER_TEETH,
                        .lower_end = seam + LOWER_TEETH + jaw};
    if (m->drawn)
        p.margin = 0;
    find_usable(&p);
    find_shifts(&p);
    float gap = lips_aperture(target);
    if (m->drawn)
        show_teeth(&p, seam + MOUTH_DRAWN_EDGE, gap);
    for (int i = 0; i < MOUTH_COLUMNS; i++)
        place_column(&p, i, gap, ret);
    ret->from = e->picture;
    ret->light = e->light;
}
