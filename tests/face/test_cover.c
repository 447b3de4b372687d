// Covers of the mouth, on a face drawn here: skin, lips that speak, and things before them.
#include "tests/test.h"

#include "face/cover.h"

#include <math.h>

#define N      60
#define FIRST  30 // frames with something before the mouth
#define LAST   36
#define WIDTH  320
#define HEIGHT 240

// What a frame shows. Zero: a still face in the light of the others.
struct scene {
    float open, x;             // of the mouth; way of the head to the right; pixels
    float light, tint, shadow; // factor of all luma less 1; more V; factor of the lower face less 1
    int noise;
    bool hand,
        cup;   // skin with fingers over the mouth; a grey thing over the middle of the lower lip
    bool grey; // film
};

static void put(struct mesh *m, int kept, float x, float y)
{
    float *p = m->points[track_point_ids[kept]];
    p[0] = x;
    p[1] = y;
    p[2] = 0;
}

// Eyes 80 pixels from each other, a mouth 60 wide 80 below them, skin in rings around it.
static struct mesh face_of(const struct scene *s)
{
    struct mesh m = {.score = 1};
    float cx = 160 + s->x, cy = 150;
    for (int i = 0; i < MESH_POINTS; i++) {
        m.points[i][0] = cx + 30 * cosf((float)i); // nose and cheeks
        m.points[i][1] = cy - 50 + 15 * sinf((float)i * 1.7f);
    }
    put(&m, TRACK_OTHER_FIRST, cx - 40, cy - 80);
    put(&m, TRACK_OTHER_FIRST + 3, cx + 40, cy - 80);
    for (int i = 0; i < TRACK_N_LIPS; i++) {
        float a = (float)i / 10 * (float)M_PI, up = i < 10 ? 5 : 7 + s->open;
        put(&m, TRACK_MIDDLE_FIRST + i, cx - 26 * cosf(a), cy - up * sinf(a));
        put(&m, TRACK_OUTER_FIRST + i, cx - 30 * cosf(a), cy - (up + 4) * sinf(a));
    }
    for (int i = 0; i < TRACK_N_LOWER; i++) {
        float a = (float)i * 0.9f, r = 1 + 0.3f * (float)(i % 4);
        put(&m, TRACK_LOWER_FIRST + i, cx + 38 * r * cosf(a), cy + (18 + s->open) * r * sinf(a));
    }
    return m;
}

static void colour_at(const struct scene *s, float x, float y, int ret[3])
{
    float dx = x - 160 - s->x, dy = y - 150, lower = dy > 0 ? 7 + s->open : 5;
    float ring = hypotf(dx / 32, dy / (lower + 5));
    float hole = hypotf(dx / 22, dy / (lower - 4));
    ret[0] = 150 - (int)(0.2f * dx);
    ret[1] = 112;
    ret[2] = 148;
    if (ring < 1) { // lips
        ret[0] = 115;
        ret[2] = 160;
    }
    if (hole < 1 && s->open > 0) { // what is between them
        ret[0] = 60;
        ret[2] = 135;
    }
    for (int k = 1; k < 3; k++) // less light has less colour
        ret[k] = 128 + (int)((float)(ret[k] - 128) * (1 + s->light));
    if (s->shadow != 0 && dy > -20)
        ret[0] = (int)((float)ret[0] * (1 + s->shadow));
    if (s->hand && hypotf(dx / 45, dy / 35) < 1) { // fingers beside each other
        ret[0] = 140 + (int)(35 * sinf(dx * 0.4f));
        ret[2] = 150;
    }
    if (s->cup && hypotf(dx / 14, (dy - 25) / 25) < 1) {
        ret[0] = 50;
        ret[1] = ret[2] = 128;
    }
}

static void paint(AVFrame *f, const struct scene *s, uint32_t seed)
{
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            int c[3];
            colour_at(s, (float)x, (float)y, c);
            seed = seed * 1664525 + 1013904223;
            int noise = s->noise ? (int)(seed >> 16) % (2 * s->noise + 1) - s->noise : 0;
            f->data[0][y * f->linesize[0] + x] =
                (uint8_t)KB_MIN((int)((float)c[0] * (1 + s->light)) + noise, 255);
            for (int k = 1; k < 3; k++)
                f->data[k][y / 2 * f->linesize[k] + x / 2] =
                    s->grey ? 128 : (uint8_t)(c[k] + (k == 2 ? (int)s->tint : 0) + noise / 4);
        }
    }
}

// Somebody who talks and moves a little.
static struct scene talk(int i)
{
    float t = (float)i;
    return (struct scene){
        .open = 6 * fmaxf(0, sinf(t * 0.5f)), .x = 4 * sinf(t * 0.07f), .noise = 6};
}

static void look(struct cover_look *ret, const struct scene *s, uint32_t seed)
{
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = WIDTH;
    f->height = HEIGHT;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    paint(f, s, seed);
    struct mesh mesh = face_of(s);
    cover_see(ret, f, &mesh);
}

static void film(struct cover_look *looks, struct cover_model *m, struct scene (*scene)(int))
{
    for (int i = 0; i < N; i++) {
        struct scene s = scene(i);
        look(&looks[i], &s, (uint32_t)i * 77 + 1);
    }
    cover_learn(m, looks, N);
}

static void check_covered(const char *name, struct scene (*scene)(int), bool in_the_middle)
{
    struct cover_look looks[N];
    struct cover_model m;
    film(looks, &m, scene);
    for (int i = 0; i < N; i++) {
        float cover = cover_of(&m, &looks[i]);
        bool covered = in_the_middle && i >= FIRST && i < LAST;
        if (covered ? cover < 0.4f : cover > 0.1f)
            fail_msg("%s: frame %d: cover %.3f", name, i, (double)cover);
    }
}

static struct scene hand(int i)
{
    struct scene s = talk(i);
    s.hand = i >= FIRST && i < LAST;
    return s;
}

static struct scene cup(int i)
{
    struct scene s = talk(i);
    s.cup = i >= FIRST && i < LAST;
    return s;
}

static struct scene grey_hand(int i)
{
    struct scene s = hand(i);
    s.grey = true;
    return s;
}

static void test_what_covers(void **state)
{
    check_covered("hand", hand, true);
    check_covered("cup", cup, true);
    check_covered("grey_hand", grey_hand, true);
}

// Once only, so that it is not usual.
static struct scene shout(int i)
{
    struct scene s = talk(i);
    s.open = i >= FIRST && i < LAST ? 16 : s.open * 0.2f;
    return s;
}

static struct scene dark(int i)
{
    struct scene s = talk(i);
    s.light = i >= FIRST && i < LAST ? -0.4f : 0;
    return s;
}

static struct scene shaded(int i)
{
    struct scene s = talk(i);
    s.shadow = i >= FIRST && i < LAST ? -0.2f : 0;
    return s;
}

static struct scene tinted(int i)
{
    struct scene s = talk(i);
    s.tint = i >= FIRST && i < LAST ? 8 : 0;
    return s;
}

static void test_what_does_not(void **state)
{
    check_covered("talk", talk, false);
    check_covered("shout", shout, false);
    check_covered("dark", dark, false);
    check_covered("shaded", shaded, false);
    check_covered("tinted", tinted, false);
}

// Leaves the picture to the right and comes back: what is beyond the edge tells nothing.
static struct scene leaving(int i)
{
    struct scene s = talk(i);
    s.x = i >= FIRST && i < LAST ? 50 * (float)(i - FIRST) : s.x;
    return s;
}

static void test_edge(void **state)
{
    check_covered("leaving", leaving, false);
}

static struct scene always(int i)
{
    struct scene s = talk(i);
    s.cup = true;
    return s;
}

static struct scene always_grey(int i)
{
    struct scene s = always(i);
    s.grey = true;
    return s;
}

// What is there all the time is no cover, but the lip is not seen; in a grey film nobody can tell.
static void test_hidden_all_the_time(void **state)
{
    static const struct {
        struct scene (*scene)(int);
        float low, high;
    } cases[] = {{talk, 0, 0}, {hand, 0, 0}, {always, 0.2f, 1}, {always_grey, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cover_look looks[N];
        struct cover_model m;
        film(looks, &m, cases[i].scene);
        float hides = cover_hides(&m);
        if (!(hides >= cases[i].low && hides <= cases[i].high))
            fail_msg("case %zu: %.3f", i, (double)hides);
    }
    check_covered("always", always, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_covers),
        cmocka_unit_test(test_what_does_not),
        cmocka_unit_test(test_edge),
        cmocka_unit_test(test_hidden_all_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
