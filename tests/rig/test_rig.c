// The whole rig over films of numbers: lips go where they are told, nothing else changes, and
// landmarks, speech and pictures that make no sense do no harm. Planes have no byte to spare, so
// that a sanitizer sees what is read or written beyond them.
#include "tests/test.h"

#include "rig/rig.h"
#include "rig/still.h"
#include "tests/rig/film.h"

#include <math.h>

#define N_FRAMES 50
#define SEAM     0.69f // of film_face(), canonical

typedef float lips_delta[2 * TRACK_N_LIPS][2];

// --- films, frames and speech ---

// A face that stands still, its mouth closed or opening once a second.
static struct track *make_film(struct shot face, bool speaks)
{
    struct shot shots[N_FRAMES];
    for (int i = 0; i < N_FRAMES; i++) {
        shots[i] = face;
        shots[i].open = speaks ? 0.045f * (1 - cosf(0.2513f * (float)i)) : 0;
    }
    return film_make(shots, N_FRAMES);
}

static struct rig *make_rig(const struct track *t, struct follow **follow)
{
    struct kb_error err = {0};
    struct rig *r = NULL;
    if (!*follow)
        assert_ok(err, follow_load(follow, &err));
    struct rig_params p = {.track = t, .follow = *follow};
    assert_ok(err, rig_create(&r, &p, &err));
    return r;
}

static AVFrame *make_frame(int width, int height)
{
    AVFrame *f = av_frame_alloc();
    f->width = width;
    f->height = height;
    f->format = AV_PIX_FMT_YUV420P;
    for (int k = 0; k < 3; k++) {
        int w = k ? (width + 1) / 2 : width, h = k ? (height + 1) / 2 : height;
        f->linesize[k] = w;
        f->data[k] = malloc((size_t)w * (size_t)h);
        for (int i = 0; i < w * h; i++)
            f->data[k][i] = (uint8_t)(60 + (i % w * 7 + i / w * 13) % 120);
    }
    return f;
}

static void frame_free(AVFrame **f)
{
    for (int k = 0; k < 3; k++)
        free((*f)->data[k]);
    av_frame_free(f);
}

// Upper lip up by 0.3 of the opening, the lower one down by 0.7, in the middle of each ring.
static void open_lips(lips_delta ret, float opening)
{
    memset(ret, 0, sizeof(lips_delta));
    for (int i = 0; i < 2 * TRACK_N_LIPS; i++) {
        int k = i % TRACK_N_LIPS;
        float bump = sinf((float)M_PI * (float)(k <= 10 ? k : 20 - k) / 10);
        ret[i][1] = bump * opening * (k <= 10 ? -0.3f : 0.7f);
    }
}

static struct rig_frame say(const AVFrame *frame, lips_delta delta)
{
    struct rig_frame f = {.track_frame = N_FRAMES / 2,
                          .strength = 1,
                          .scale_x = (float)frame->width / 1280,
                          .scale_y = (float)frame->height / 720};
    memcpy(f.delta, delta, sizeof(f.delta));
    return f;
}

// How many bytes differ from what make_frame() gave by more than `least`, outside of a box (NULL:
// anywhere).
static int n_changed(const AVFrame *frame, const int box[4], int least)
{
    CLEANUP(frame_free) AVFrame *before = make_frame(frame->width, frame->height);
    int n = 0;
    for (int k = 0; k < 3; k++) {
        int half = k > 0;
        for (int y = 0; y < (frame->height + half) >> half; y++)
            for (int x = 0; x < (frame->width + half) >> half; x++) {
                bool within = box && x >= box[0] >> half && y >= box[1] >> half &&
                              x <= box[2] >> half && y <= box[3] >> half;
                int at = y * frame->linesize[k] + x;
                n += !within && abs(frame->data[k][at] - before->data[k][at]) > least;
            }
    }
    return n;
}

// Where the sheet of skin lies that may move: rows and columns of rig/field.h, with a pixel to
// spare.
static void sheet_box(const struct rig *r, const struct shot *s, const AVFrame *frame, int ret[4])
{
    const struct person *p = rig_person(r);
    const float *left = p->neutral[TRACK_INNER_FIRST], *right = p->neutral[TRACK_INNER_FIRST + 10];
    float width = right[0] - left[0], nose = SEAM - p->neutral[track_point_of(2)][1];
    float chin = p->neutral[track_point_of(152)][1] - SEAM;
    const float box[4] = {left[0] - 1.1f * width, SEAM - 2.5f * nose, right[0] + 1.1f * width,
                          SEAM + 1.6f * chin};
    for (int k = 0; k < 4; k++) {
        float px = (k & 1 ? s->y : s->x) + s->scale * box[k];
        px *= k & 1 ? (float)frame->height / 720 : (float)frame->width / 1280;
        ret[k] = k < 2 ? (int)floorf(px) - 2 : (int)ceilf(px) + 2;
    }
}

// --- what it does ---

static const struct shot middle = {.scale = 300, .x = 400, .y = 100};

static void test_silence_changes_nothing(void **state)
{
    CLEANUP(track_free) struct track *t = make_film(middle, false);
    CLEANUP(follow_free) struct follow *follow = NULL;
    CLEANUP(rig_free) struct rig *r = make_rig(t, &follow);
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    CLEANUP(frame_free) AVFrame *frame = make_frame(1280, 720);
    lips_delta delta = {{0}};
    struct rig_frame f = say(frame, delta);
    rig_draw(r, c, frame, &f);
    int n = n_changed(frame, NULL, 12);
    print_message("# %d bytes are other ones\n", n);
    assert_true(n < 50);
    // And at strength 0 not one is, whatever is said.
    CLEANUP(frame_free) AVFrame *other = make_frame(1280, 720);
    open_lips(delta, 0.09f);
    f = say(other, delta);
    f.strength = 0;
    assert_false(rig_draw(r, c, other, &f));
    assert_int_equal(n_changed(other, NULL, 0), 0);
}

// The row of the brightest luma in a column between two rows.
static int brightest(const AVFrame *f, int x, int from, int to)
{
    int best = from;
    for (int y = from; y < to; y++)
        if (f->data[0][y * f->linesize[0] + x] > f->data[0][best * f->linesize[0] + x])
            best = y;
    return best;
}

// How far a stripe on the upper (0) or lower (1) lip moves down, between the lip's edges.
static int stripe_moves(const struct rig *r, struct canvas *c, int lip, lips_delta delta,
                        float strength)
{
    const int x = 550, seam = 307, stripe = seam + (lip ? 6 : -6);
    CLEANUP(frame_free) AVFrame *frame = make_frame(1280, 720);
    memset(frame->data[0], 60, 1280 * 720);
    for (int i = -1; i < 2; i++)
        memset(frame->data[0] + (stripe + i) * 1280, i ? 160 : 230, 1280);
    struct rig_frame f = say(frame, delta);
    f.strength = strength;
    f.mouth = (struct mouth_choice){-1, -1, 0}; // the skin alone
    assert_true(rig_draw(r, c, frame, &f));
    // Without a mouth in it the hole shows the skin of both lips again, up to its middle.
    return brightest(frame, x, lip ? seam + 12 : seam - 60, lip ? seam + 60 : seam) - stripe;
}

// Each lip goes where it is told to, and no further.
static void test_lips_as_told(void **state)
{
    CLEANUP(track_free) struct track *t = make_film(middle, false);
    CLEANUP(follow_free) struct follow *follow = NULL;
    CLEANUP(rig_free) struct rig *r = make_rig(t, &follow);
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    lips_delta delta;
    open_lips(delta, 0.09f);
    for (int i = 0; i < 2 * TRACK_N_LIPS; i++)
        if (i % TRACK_N_LIPS <= 10)
            delta[i][1] = 0; // the lower lip alone
    int upper = stripe_moves(r, c, 0, delta, 1), lower = stripe_moves(r, c, 1, delta, 1);
    print_message("# upper %+d, lower %+d\n", upper, lower);
    assert_true(abs(upper) <= 2 && lower > 14);
}

static void test_lips_go_apart(void **state)
{
    CLEANUP(track_free) struct track *t = make_film(middle, false);
    CLEANUP(follow_free) struct follow *follow = NULL;
    CLEANUP(rig_free) struct rig *r = make_rig(t, &follow);
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    lips_delta delta;
    open_lips(delta, 0.09f);
    for (int half = 0; half < 2; half++) {
        int wanted = half ? 14 : 27;
        float strength = half ? 0.5f : 1;
        int upper = stripe_moves(r, c, 0, delta, strength);
        int lower = stripe_moves(r, c, 1, delta, strength);
        print_message("# upper %+d, lower %+d\n", upper, lower);
        assert_true(upper < 0 && lower > -upper);
        assert_true(abs(lower - upper - wanted) <= 3);
    }
}

// --- what must do no harm ---

static void test_speech_that_is_none(void **state)
{
    static const float values[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e38f, 1e6f};
    CLEANUP(track_free) struct track *t = make_film(middle, true);
    CLEANUP(follow_free) struct follow *follow = NULL;
    CLEANUP(rig_free) struct rig *r = make_rig(t, &follow);
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    CLEANUP(frame_free) AVFrame *frame = make_frame(1280, 720);
    for (size_t v = 0; v < ARRAY_LEN(values); v++)
        for (int which = 0; which < 3; which++) { // all numbers, one of the lips, one corner
            lips_delta delta;
            struct mouth_need need;
            struct mouth_choice choice;
            struct kb_error err = {0};
            open_lips(delta, 0.06f);
            for (int i = 0; i < 2 * TRACK_N_LIPS; i++)
                for (int k = 0; k < 2; k++)
                    if (which == 0 || i == (which == 1 ? 15 : TRACK_N_LIPS))
                        delta[i][k] = i & 1 ? values[v] : -values[v];
            struct rig_frame f = say(frame, delta);
            assert_true(rig_need(r, f.track_frame, (const float(*)[2])delta, &need));
            assert_ok(err, mouths_plan(rig_mouths(r), &need, 1, &choice, &err));
            assert_true(choice.a >= 0 && choice.a < mouths_count(rig_mouths(r)));
            f.mouth = choice;
            assert_false(rig_draw(r, c, frame, &f));
            assert_int_equal(n_changed(frame, NULL, 0), 0);
        }
    // Lips that cross, and such as leave the face, are drawn within reason.
    lips_delta delta;
    for (int i = 0; i < 4; i++) {
        static const float openings[] = {-0.3f, 0.5f, -1, 2};
        open_lips(delta, openings[i]);
        struct rig_frame f = say(frame, delta);
        rig_draw(r, c, frame, &f);
    }
}

static void test_faces_in_odd_places(void **state)
{
    static const struct shot places[] = {
        {.scale = 300, .x = -150, .y = 100},    // half outside, left,
        {.scale = 300, .x = 1130, .y = 100},    // right,
        {.scale = 300, .x = 400, .y = -207},    // the mouth on the upper edge,
        {.scale = 300, .x = 400, .y = 513},     // on the lower one
        {.scale = 300, .x = 1115, .y = 513},    // and in the corner
        {.scale = 300, .x = 4000, .y = 3000},   // nowhere near
        {.scale = 2500, .x = -600, .y = -1400}, // larger than the picture
        {.scale = 20, .x = 600, .y = 300},      // a mouth of four pixels
    };
    static const int sizes[][2] = {{1280, 720}, {16, 16}, {18, 34}, {426, 240}};
    CLEANUP(follow_free) struct follow *follow = NULL;
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    lips_delta delta;
    open_lips(delta, 0.09f);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        CLEANUP(track_free) struct track *t = make_film(places[i], true);
        CLEANUP(rig_free) struct rig *r = make_rig(t, &follow);
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
            CLEANUP(frame_free) AVFrame *frame = make_frame(sizes[s][0], sizes[s][1]);
            struct rig_frame f = say(frame, delta);
            int box[4];
            bool drawn = rig_draw(r, c, frame, &f);
            sheet_box(r, &places[i], frame, box);
            if (n_changed(frame, box, 0) > 0 || (!drawn && n_changed(frame, NULL, 0) > 0))
                fail_msg("place %zu, size %zu: something else has changed", i, s);
            assert_int_equal(drawn && i == 5, 0);
            assert_true(drawn || s > 0 || i >= 5);
        }
    }
}

static void test_frames_without_a_face(void **state)
{
    CLEANUP(track_free) struct track *t = make_film(middle, true);
    CLEANUP(follow_free) struct follow *follow = NULL;
    CLEANUP(rig_free) struct rig *r = make_rig(t, &follow);
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    CLEANUP(frame_free) AVFrame *frame = make_frame(1280, 720);
    lips_delta delta;
    open_lips(delta, 0.06f);
    struct rig_frame f = say(frame, delta);
    struct track_identity *face = t->faces;
    // A mouth without size is drawn as the others are, for its pose is known.
    for (int i = 0; i < TRACK_N_LIPS; i++)
        memcpy(face->records[10].points[TRACK_INNER_FIRST + i],
               face->records[10].points[TRACK_INNER_FIRST], sizeof(face->records[10].points[0]));
    f.track_frame = 10;
    rig_draw(r, c, frame, &f);
    CLEANUP(frame_free) AVFrame *other = make_frame(1280, 720);
    memset(face->records[20].points, 0, sizeof(face->records[20].points));
    face->records[30].box[2] = NAN;
    face->at[40] = -1;
    const int gone[] = {20, 30, 40, -1, N_FRAMES};
    for (size_t i = 0; i < ARRAY_LEN(gone); i++) {
        f.track_frame = gone[i];
        // (Its neighbours may lend the first one a pose by the smoothing over time.)
        if (i > 0 && rig_draw(r, c, other, &f))
            fail_msg("frame %d was drawn", gone[i]);
    }
    assert_int_equal(n_changed(other, NULL, 0), 0);
}

static void keep_square(struct track *t, int frame, int side, float scale)
{
    struct track_identity *id = t->faces;
    if (!id->mouths)
        id->mouths = kb_alloc(TRACK_MAX_MOUTHS * sizeof(*id->mouths));
    struct kept_mouth *m = &id->mouths[id->n_mouths++];
    *m = (struct kept_mouth){frame, side, side, 540, 300, scale, malloc(mouth_bytes(side, side))};
    memset(m->pixels, 200, mouth_bytes(side, side));
}

static void test_pictures_of_a_few_pixels(void **state)
{
    CLEANUP(follow_free) struct follow *follow = NULL;
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    lips_delta delta;
    open_lips(delta, 0.09f);
    for (int side = 2; side <= 10; side += 2) {
        CLEANUP(track_free) struct track *t = make_film(middle, true);
        keep_square(t, 12, side, 1);
        CLEANUP(rig_free) struct rig *r = make_rig(t, &follow);
        // Chroma with fewer than four samples cannot be sampled: such a picture is none.
        assert_int_equal(mouths_drawn(rig_mouths(r)), side < 8);
        CLEANUP(frame_free) AVFrame *frame = make_frame(1280, 720);
        struct rig_frame f = say(frame, delta);
        f.mouth.mix = 0.5f;
        int box[4];
        assert_true(rig_draw(r, c, frame, &f));
        sheet_box(r, &middle, frame, box);
        assert_int_equal(n_changed(frame, box, 0), 0);
    }
}

// A lip far away from its face makes no mouth that could be drawn.
static void test_a_lip_far_away(void **state)
{
    CLEANUP(track_free) struct track *t = make_film(middle, false);
    CLEANUP(follow_free) struct follow *follow = NULL;
    for (int i = 0; i < N_FRAMES; i++) {
        struct track_record *record = &t->faces[0].records[i];
        float points[TRACK_N_POINTS][3];
        struct mesh mesh = {.score = 0.95f};
        record_points(record, points);
        points[TRACK_INNER_FIRST + 12][1] += 20000; // beside the middle, where nobody looks
        for (int k = 0; k < MESH_POINTS; k++)
            memcpy(mesh.points[k], points[0], sizeof(mesh.points[k]));
        for (int k = 0; k < TRACK_N_POINTS; k++)
            memcpy(mesh.points[track_point_ids[k]], points[k], sizeof(points[k]));
        record_pack(record, &mesh);
    }
    struct kb_error err = {0};
    struct rig *r = NULL;
    assert_ok(err, follow_load(&follow, &err));
    struct rig_params p = {.track = t, .follow = follow};
    assert_fails(err, KB_BAD_INPUT, "landmarks make a face", rig_create(&r, &p, &err));
}

// --- a still picture ---

static void test_a_still_picture_lives(void **state)
{
    static const struct shot places[] = {{.scale = 300, .x = 400, .y = 100},
                                         {.scale = 300, .x = -150, .y = 500},
                                         {.scale = 2500, .x = -600, .y = -1400},
                                         {.scale = 300, .x = 4000, .y = 3000}};
    static const int sizes[][2] = {{1280, 720}, {16, 16}};
    CLEANUP(canvas_free) struct canvas *c = canvas_create();
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
            CLEANUP(track_free) struct track *t = make_film(places[i], false);
            float scale_x = (float)sizes[s][0] / 1280, scale_y = (float)sizes[s][1] / 720;
            struct still still;
            if (!still_begin(&still, t, 0, 0, scale_x, scale_y, 1))
                continue;
            int n = 0;
            for (int at = 0; at < 6; at++) {
                CLEANUP(frame_free) AVFrame *frame = make_frame(sizes[s][0], sizes[s][1]);
                struct still_state now = still_at(&still, at * 1700000, 0.5f);
                now.blink = at & 1 ? 1 : now.blink;
                still_draw(&still, c, frame, &now);
                n += n_changed(frame, NULL, 0);
                // Nothing at the edges moves.
                const int w = frame->width, h = frame->height;
                CLEANUP(frame_free) AVFrame *before = make_frame(w, h);
                if (i == 0)
                    assert_memory_equal(frame->data[0], before->data[0], (size_t)w);
            }
            assert_true(s > 0 || (i == 3 ? n == 0 : n > 0));
        }
    CLEANUP(track_free) struct track *t = make_film(middle, false);
    struct still still;
    assert_false(still_begin(&still, t, 0, 0, 1, 1, 0));
    assert_false(still_begin(&still, t, 0, 0, 1, 1, NAN));
    t->faces[0].records[0].box[0] = NAN;
    assert_false(still_begin(&still, t, 0, 0, 1, 1, 1));
    assert_false(still_begin(&still, t, 0, N_FRAMES, 1, 1, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silence_changes_nothing),
        cmocka_unit_test(test_lips_go_apart),
        cmocka_unit_test(test_lips_as_told),
        cmocka_unit_test(test_speech_that_is_none),
        cmocka_unit_test(test_faces_in_odd_places),
        cmocka_unit_test(test_frames_without_a_face),
        cmocka_unit_test(test_pictures_of_a_few_pixels),
        cmocka_unit_test(test_a_lip_far_away),
        cmocka_unit_test(test_a_still_picture_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
