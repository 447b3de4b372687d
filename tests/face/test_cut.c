// Where a film is cut: pictures of waves, which are moved, changed, lit and faded.
#include "tests/test.h"

#include "face/cut.h"
#include "media/frame.h"

#include <math.h>

#define W 320
#define H 240
#define N 20

// One frame: which of two scenes, how far it is moved, and in what light.
struct view {
    int scene;
    float x, light;
    float face;   // how far what is in the middle of it is moved
    bool resized; // the reader says that the film had another size before
    bool behind;  // the middle, and a little more, is always of the first scene
};

static const float middle[4] = {120, 60, 200, 160};

static AVFrame *draw(const struct view *v)
{
    AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = W;
    f->height = H;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    frame_mark_shot(f, v->resized);
    for (int k = 0; k < 3; k++)
        for (int y = 0; y < (k ? H / 2 : H); y++)
            for (int x = 0; x < (k ? W / 2 : W); x++) {
                float u = (float)x * (k ? 2 : 1), w = (float)y * (k ? 2 : 1);
                bool near = u > middle[0] - 10 && u < middle[2] + 10 && w > middle[1] - 10 &&
                            w < middle[3] + 10;
                bool in_face = u > middle[0] && u < middle[2] && w > middle[1] && w < middle[3];
                u += v->x + (in_face ? v->face : 0);
                float wave = v->scene && !(v->behind && near) ? sinf(u * 0.021f + w * 0.05f)
                                                              : cosf(u * 0.06f - w * 0.02f);
                float value = 120 + 60 * wave * (k ? 0.3f : 1) + (k ? 0 : v->light);
                f->data[k][y * f->linesize[k] + x] = (uint8_t)fminf(fmaxf(value, 0), 255);
            }
    return f;
}

// The kinds of cut found in N frames, each looked for as the tracker does.
static void find(const struct view *views, enum cut ret[N])
{
    CLEANUP(cuts_free) struct cuts *c = cuts_create();
    for (int i = 0, seen = 0; i < N; i++) {
        for (; seen < KB_MIN(i + CUT_AHEAD + 1, N); seen++) {
            CLEANUP(av_frame_free) AVFrame *f = draw(&views[seen]);
            cuts_see(c, f);
        }
        ret[i] = cuts_before(c, i, &middle, 1);
    }
}

static void check(const char *what, const struct view *views, int frame, enum cut kind)
{
    enum cut found[N];
    find(views, found);
    for (int i = 0; i < N; i++) {
        enum cut wanted = i == frame ? kind : CUT_NONE;
        if (found[i] != wanted)
            fail_msg("%s, frame %d: %d instead of %d", what, i, found[i], wanted);
    }
}

static void test_cuts(void **state)
{
    struct view cut[N] = {0}, moved[N] = {0}, last[N] = {0}, jump[N] = {0}, other[N] = {0};
    for (int i = 0; i < N; i++) {
        cut[i].scene = i >= 7;
        moved[i] = (struct view){.scene = i >= 1, .x = 3 * (float)i}; // the camera moves on
        last[i].scene = i == N - 1;
        jump[i].face = (i >= 7 ? 4 : 0) + 0.2f * sinf((float)i);
        other[i].face = i >= 7 ? 50 : 0;
    }
    check("another scene", cut, 7, CUT_VIEW);
    check("in a moving picture", moved, 1, CUT_VIEW);
    check("before the last frame", last, N - 1, CUT_VIEW);
    check("the face steps aside", jump, 7, CUT_JUMP);
    check("another face in the same place", other, 7, CUT_VIEW);
}

// A film that goes on in another size is another view, however alike its pictures are.
static void test_another_size(void **state)
{
    struct view still[N] = {0};
    still[9].resized = true;
    check("another size", still, 9, CUT_VIEW);
}

static void test_no_cuts(void **state)
{
    struct view still[N] = {0}, flash[N] = {0}, pan[N] = {0}, fade[N] = {0}, nod[N] = {0},
                shake[N] = {0};
    for (int i = 0; i < N; i++) {
        flash[i].light = i == 7 || i == 8 ? 90 : 0;
        pan[i].x = i < 7 ? 0 : 12 * (float)(i - 6);
        fade[i].light = -10 * (float)i;
        nod[i].face = 10 * sinf((float)i * 0.8f);
        shake[i].x = 15 * sinf((float)i * 1.9f);
    }
    check("a still", still, -1, CUT_NONE);
    check("a flash", flash, -1, CUT_NONE);
    check("a pan", pan, -1, CUT_NONE);
    check("a fade", fade, -1, CUT_NONE);
    check("a nod", nod, -1, CUT_NONE);
    check("a shaken camera", shake, -1, CUT_NONE);
    struct view slide[N] = {0};
    for (int i = 0; i < N; i++)
        slide[i] = (struct view){.scene = i >= 7, .behind = true, .face = sinf((float)i)};
    check("a slide behind somebody", slide, -1, CUT_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_another_size),
        cmocka_unit_test(test_no_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
