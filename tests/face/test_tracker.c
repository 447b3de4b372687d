// Tracks made from videos: clips of people, and y4m files written here.
#include "tests/test.h"

#include "base/file.h"
#include "face/track_internal.h"
#include "media/reader.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static struct face_models *models; // loaded once for all tests
static char folder[] = "/tmp/koubo-tracker-XXXXXX";

static int set_up(void **state)
{
    struct kb_error err = {0};
    assert_ok(err, face_models_load(&models, &err));
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    face_models_free(&models);
    return rmdir(folder);
}

// Frames where the face is there, with nothing before its mouth, and its mean step from frame to
// frame as a part of its height.
static int seen(const struct track *t, int face, float *ret_motion)
{
    struct track_face now, before = {0};
    int n = 0, n_steps = 0;
    double motion = 0;
    for (int i = 0; i < track_info(t)->n_frames; i++) {
        track_face(t, face, i, &now);
        n += now.present;
        assert_true(now.cover < 0.1f);
        if (now.present && before.present) {
            for (int k = 0; k < TRACK_N_POINTS; k++)
                motion += (double)hypotf(now.points[k][0] - before.points[k][0],
                                         now.points[k][1] - before.points[k][1]) /
                          TRACK_N_POINTS / (double)(now.box[3] - now.box[1]);
            n_steps++;
        }
        before = now;
    }
    *ret_motion = (float)(motion / KB_MAX(n_steps, 1));
    return n;
}

// A person's skin: neither black nor white, redder than grey.
static void check_skin(const struct track *t, int face)
{
    float skin[3];
    track_skin(t, face, skin);
    if (!(skin[0] > 40 && skin[0] < 230 && skin[1] < 130 && skin[2] > 128 && skin[2] < 180))
        fail_msg("the skin is %.0f %.0f %.0f", (double)skin[0], (double)skin[1], (double)skin[2]);
}

// Open mouths among them, each inside the picture and the lips inside each.
static void check_mouths(const struct track *t, int face)
{
    float widest = 0;
    assert_in_range(track_n_mouths(t, face), 1, TRACK_MAX_MOUTHS);
    for (int i = 0; i < track_n_mouths(t, face); i++) {
        struct track_mouth m;
        track_mouth(t, face, i, &m);
        assert_true(m.scale == 1 && (int)m.x0 % 2 == 0 && (int)m.y0 % 2 == 0);
        assert_true((int)m.x0 + m.width <= track_info(t)->width);
        assert_true((int)m.y0 + m.height <= track_info(t)->height);
        for (int k = TRACK_OUTER_FIRST; k < TRACK_INNER_FIRST + TRACK_N_LIPS; k++)
            assert_true(m.points[k][0] > m.x0 && m.points[k][0] < m.x0 + (float)m.width &&
                        m.points[k][1] > m.y0 && m.points[k][1] < m.y0 + (float)m.height);
        const float *upper = m.points[track_point_of(13)], *lower = m.points[track_point_of(14)];
        widest = fmaxf(widest, (lower[1] - upper[1]) / (float)m.width);
    }
    assert_true(widest > 0.03f);
}

static void test_clips(void **state)
{
    static const struct {
        const char *name;
        int64_t limit_us;
        int n_frames, n_faces;
        float max_motion;
    } clips[] = {
        {"square_512.mp4", 2000000, 50, 1, 0.01f}, {"grid_lbax4n.mpg", 2000000, 50, 1, 0.01f},
        {"wide_1080p.mp4", 1000000, 25, 1, 0.01f}, {"two_people_720p.mp4", 1000000, 25, 2, 0.01f},
        {"uneven_700.mp4", 1000000, 23, 1, 0.01f},
    };
    for (size_t i = 0; i < ARRAY_LEN(clips); i++) {
        struct kb_error err = {0};
        CLEANUP(track_free) struct track *t = NULL;
        const struct track_params p = {.limit_us = clips[i].limit_us};
        assert_ok(err, track_make(&t, clip_path(clips[i].name), models, &p, &err));
        const struct track_info *info = track_info(t);
        assert_int_equal(info->n_faces, clips[i].n_faces);
        assert_true(abs(info->n_frames - clips[i].n_frames) <= 1);
        assert_int_equal(info->covered_us, clips[i].limit_us);
        for (int f = 0; f < info->n_faces; f++) {
            float motion;
            assert_int_equal(seen(t, f, &motion), info->n_frames);
            assert_true(motion < clips[i].max_motion);
            check_skin(t, f);
            check_mouths(t, f);
        }
    }
}

// Two faces stay apart to the end, and the choices mean what they say.
static void test_two_people(void **state)
{
    struct kb_error err = {0};
    CLEANUP(track_free) struct track *t = NULL;
    const struct track_params p = {.limit_us = 4000000};
    assert_ok(err, track_make(&t, clip_path("two_people_720p.mp4"), models, &p, &err));
    assert_int_equal(track_info(t)->n_faces, 2);
    int left = track_choose(t, FACE_LEFT, 0, &err), right = track_choose(t, FACE_RIGHT, 0, &err);
    assert_int_equal(track_choose(t, FACE_LARGEST, 0, &err), 0);
    assert_int_equal(track_choose(t, FACE_NUMBER, 2, &err), 1);
    assert_int_not_equal(left, right);
    for (int i = 0; i < track_info(t)->n_frames; i++) {
        struct track_face a, b;
        track_face(t, left, i, &a);
        track_face(t, right, i, &b);
        assert_true(a.present && b.present);
        assert_true(a.box[2] < 640 && b.box[0] > 640);
    }
}

// --- something before the mouth ---

// Thin fingers, sharper than all else, the colour of the skin here, where the mouth of this clip
// is.
static void paint_hand(AVFrame *f)
{
    for (int y = 176; y < 236; y++) {
        for (int x = 150; x < 240; x++) {
            if (hypotf((float)(x - 195) / 42, (float)(y - 206) / 29) >= 1)
                continue;
            f->data[0][y * f->linesize[0] + x] = (uint8_t)(130 + (int)(30 * sinf((float)x * 1.3f)));
            f->data[1][y / 2 * f->linesize[1] + x / 2] = 100;
            f->data[2][y / 2 * f->linesize[2] + x / 2] = 155;
        }
    }
}

static void write_frame(FILE *f, const AVFrame *frame)
{
    fprintf(f, "FRAME\n");
    for (int k = 0; k < 3; k++)
        for (int row = 0; row < frame->height >> (k ? 1 : 0); row++)
            fwrite(frame->data[k] + row * frame->linesize[k], 1,
                   (size_t)(frame->width >> (k ? 1 : 0)), f);
}

// A clip with a hand over its mouth from frame `first` on up to before `end`.
static void write_hand_film(const char *path, int first, int end)
{
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *r = NULL;
    assert_ok(err, reader_open(&r, clip_path("grid_lbax4n.mpg"), NULL, &err));
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fprintf(f, "YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\n", reader_info(r)->width,
            reader_info(r)->height);
    for (int i = 0;; i++) {
        CLEANUP(av_frame_free) AVFrame *frame = NULL;
        if (reader_next(r, &frame, &err) != KB_OK)
            break;
        assert_int_equal(av_frame_make_writable(frame), 0);
        if (i >= first && i < end)
            paint_hand(frame);
        write_frame(f, frame);
    }
    assert_int_equal(fclose(f), 0);
}

// The frames with the hand are known, and their mouths not kept.
static void check_hand_film(int first, int end)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *path = path_join(folder, "hand.y4m");
    CLEANUP(track_free) struct track *t = NULL;
    write_hand_film(path, first, end);
    assert_ok(err, track_make(&t, path, models, NULL, &err));
    unlink(path);
    assert_true(track_info(t)->n_frames > 70);
    for (int i = 0; i < track_info(t)->n_frames; i++) {
        struct track_face face;
        track_face(t, 0, i, &face);
        bool hand = i >= first && i < end;
        if (!face.present || (hand ? face.cover < 0.5f : face.cover > 0.1f))
            fail_msg("frame %d: cover %.3f", i, (double)face.cover);
    }
    for (int k = 0; k < track_n_mouths(t, 0); k++) {
        struct track_mouth m;
        track_mouth(t, 0, k, &m);
        assert_true(m.frame < first || m.frame >= end);
    }
}

static void test_hand_before_mouth(void **state)
{
    if (!models)
        SKIP_TEST("no models of faces");
    check_hand_film(4, 14); // before it is known how the mouth looks
    check_hand_film(30, 45);
}

static void put_header(FILE *f, int width, int height)
{
    assert_non_null(f);
    fprintf(f, "YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\n", width, height);
}

// --- cuts ---

// Appends the frames [first, end) of a clip, turned by 180 degrees if so wanted.
static void append_clip(FILE *f, const char *clip, int first, int end, bool turned)
{
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *r = NULL;
    assert_ok(err, reader_open(&r, clip_path(clip), NULL, &err));
    for (int i = 0; i < end; i++) {
        CLEANUP(av_frame_free) AVFrame *frame = NULL;
        assert_ok(err, reader_next(r, &frame, &err));
        assert_int_equal(av_frame_make_writable(frame), 0);
        for (int k = 0; k < 3 && turned; k++) {
            int half = k ? 1 : 0, w = frame->width >> half, h = frame->height >> half;
            for (int n = 0; n < w * h / 2; n++) {
                int m = w * h - 1 - n;
                uint8_t *a = &frame->data[k][n / w * frame->linesize[k] + n % w];
                uint8_t *b = &frame->data[k][m / w * frame->linesize[k] + m % w], c = *a;
                *a = *b;
                *b = c;
            }
        }
        if (i >= first)
            write_frame(f, frame);
    }
}

// One person, another one in the same place, the first again: two faces, each only where they are,
// and the first one known again.
static void test_two_take_turns(void **state)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *path = path_join(folder, "turns.y4m");
    CLEANUP(track_free) struct track *t = NULL;
    FILE *f = fopen(path, "wb");
    put_header(f, 360, 288);
    append_clip(f, "grid_lbax4n.mpg", 0, 30, false);
    append_clip(f, "grid_brbk7n.mpg", 0, 25, false);
    append_clip(f, "grid_lbax4n.mpg", 40, 60, false);
    assert_int_equal(fclose(f), 0);
    assert_ok(err, track_make(&t, path, models, NULL, &err));
    unlink(path);
    assert_int_equal(track_info(t)->n_cuts, 2);
    assert_int_equal(track_cuts(t)[0].frame, 30);
    assert_int_equal(track_cuts(t)[1].frame, 55);
    assert_int_equal(track_cuts(t)[0].jump + track_cuts(t)[1].jump, 0);
    assert_int_equal(track_info(t)->n_faces, 2);
    for (int i = 0; i < 75; i++) {
        struct track_face a, b;
        track_face(t, 0, i, &a);
        track_face(t, 1, i, &b);
        assert_int_equal(a.present, i < 30 || i >= 55);
        assert_int_equal(b.present, i >= 30 && i < 55);
    }
    for (int face = 0; face < 2; face++) // and each has mouths of their own
        for (int i = 0; i < track_n_mouths(t, face); i++) {
            struct track_mouth m;
            track_mouth(t, face, i, &m);
            assert_int_equal(m.frame >= 30 && m.frame < 55, face == 1);
        }
}

// A piece is cut out of a film of one person: the same face, which is not smoothed over the cut.
static void test_jump_cut(void **state)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *path = path_join(folder, "jump.y4m");
    CLEANUP(track_free) struct track *t = NULL;
    FILE *f = fopen(path, "wb");
    put_header(f, 512, 512);
    append_clip(f, "square_512.mp4", 0, 20, false);
    append_clip(f, "square_512.mp4", 40, 60, true); // as far as a camera can be moved
    append_clip(f, "square_512.mp4", 0, 20, false);
    assert_int_equal(fclose(f), 0);
    assert_ok(err, track_make(&t, path, models, NULL, &err));
    unlink(path);
    assert_int_equal(track_info(t)->n_cuts, 2);
    assert_int_equal(track_info(t)->n_faces, 1);
    for (int i = 0; i < 60; i++) {
        struct track_face face;
        float p[TRACK_N_POINTS][2];
        track_face(t, 0, i, &face);
        assert_true(face.present);
        assert_true((fabsf(face.roll) > 2.5f) == (i >= 20 && i < 40));
        const float *mouth = face.points[TRACK_INNER_FIRST], *eye = face.points[track_point_of(33)];
        assert_true((mouth[1] < eye[1]) == (i >= 20 && i < 40));
        assert_true(track_points_smooth(t, 0, i, 2, p));
        assert_true(fabsf(p[3][1] - face.points[3][1]) < 10);
    }
}

// A face of 50 pixels in a large picture is found in the first frame and followed to the last.
static void test_far_away(void **state)
{
    enum { W = 1920, H = 1080, N = 12 };
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *path = path_join(folder, "far.y4m");
    CLEANUP(kb_freep) uint8_t *planes = kb_alloc(W * H * 3 / 2);
    CLEANUP(track_free) struct track *t = NULL;
    CLEANUP(reader_close) struct reader *r = NULL;
    const struct reader_params p = {.height = 108};
    assert_ok(err, reader_open(&r, clip_path("grid_lbax4n.mpg"), &p, &err));
    FILE *f = fopen(path, "wb");
    put_header(f, W, H);
    memset(planes, 128, W * H * 3 / 2);
    for (int i = 0; i < N; i++) {
        CLEANUP(av_frame_free) AVFrame *frame = NULL;
        assert_ok(err, reader_next(r, &frame, &err));
        for (int k = 0; k < 3; k++) {
            int half = k ? 1 : 0, stride = W >> half;
            uint8_t *to = planes + (k ? W * H + (k - 1) * W * H / 4 : 0);
            for (int row = 0; row < frame->height >> half; row++)
                memcpy(to + ((600 >> half) + row) * stride + (1200 >> half),
                       frame->data[k] + row * frame->linesize[k], (size_t)(frame->width >> half));
        }
        fprintf(f, "FRAME\n");
        assert_int_equal(fwrite(planes, 1, W * H * 3 / 2, f), W * H * 3 / 2);
    }
    assert_int_equal(fclose(f), 0);
    assert_ok(err, track_make(&t, path, models, NULL, &err));
    unlink(path);
    assert_int_equal(track_info(t)->n_faces, 1);
    for (int i = 0; i < N; i++) {
        struct track_face face;
        track_face(t, 0, i, &face);
        assert_true(face.present && face.box[3] - face.box[1] < 64 && face.box[0] > 1200);
    }
}

// --- faces that come and go ---

// Grey frames with, from `first` to `last`, a face of a clip pasted at (x, y); 25 frames a second.
static void write_y4m(const char *path, int n, int first, int last, const AVFrame *face, int x,
                      int y)
{
    enum { W = 320, H = 240 };
    static uint8_t planes[W * H * 3 / 2];
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fprintf(f, "YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\n", W, H);
    for (int i = 0; i < n; i++) {
        memset(planes, 128, sizeof(planes));
        for (int k = 0; k < 3 && face && i >= first && i < last; k++) {
            int half = k ? 1 : 0, stride = W >> half;
            uint8_t *to = planes + (k ? W * H + (k - 1) * W * H / 4 : 0);
            for (int r = 0; r < (face->height >> half); r++)
                for (int c = 0; c < (face->width >> half); c++)
                    if ((y >> half) + r < (H >> half) && (x >> half) + c < stride)
                        to[((y >> half) + r) * stride + (x >> half) + c] =
                            face->data[k][r * face->linesize[k] + c];
        }
        fprintf(f, "FRAME\n");
        assert_int_equal(fwrite(planes, 1, sizeof(planes), f), sizeof(planes));
    }
    fclose(f);
}

struct seen_progress {
    int calls;
    int64_t last;
    struct cancel *cancel; // raised at the fifth call
};

static void on_progress(void *opaque, const struct progress *p)
{
    struct seen_progress *s = opaque;
    assert_int_equal(p->stage, STAGE_PREPROCESSING);
    assert_true(p->done >= s->last && p->total >= p->done);
    s->last = p->done;
    if (++s->calls == 5 && s->cancel)
        cancel_request(s->cancel);
}

static void test_no_face(void **state)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *path = path_join(folder, "grey.y4m");
    CLEANUP(track_free) struct track *t = NULL, *back = NULL, *none = NULL;
    write_y4m(path, 30, 0, 0, NULL, 0, 0);
    struct seen_progress s = {0};
    struct track_params p = {.watch = {NULL, on_progress, &s}};
    assert_ok(err, track_make(&t, path, models, &p, &err));
    assert_int_equal(track_info(t)->n_faces, 0);
    assert_int_equal(track_info(t)->n_frames, 30);
    assert_int_equal(track_info(t)->covered_us, INT64_MAX);
    assert_int_equal(s.last, 30);
    assert_int_equal(track_choose(t, FACE_LARGEST, 0, &err), -1);
    // Also such a track can be kept.
    CLEANUP(kb_freep) char *kept = path_join(folder, "grey.kbt");
    assert_ok(err, track_save(t, kept, &err));
    assert_ok(err, track_load(&back, kept, &err));
    assert_int_equal(track_info(back)->n_faces, 0);

    struct cancel cancel = {0};
    s = (struct seen_progress){.cancel = &cancel};
    p.watch.cancel = &cancel;
    assert_fails(err, KB_CANCELLED, "", track_make(&none, path, models, &p, &err));
    assert_null(none);
    assert_int_equal(s.calls, 5);
    assert_fails(err, KB_NOT_FOUND, "nothing.mp4",
                 track_make(&none, "/tmp/nothing.mp4", models, NULL, &err));
    unlink(path);
    unlink(kept);
}

static AVFrame *small_face(void)
{
    struct kb_error err = {0};
    CLEANUP(reader_close) struct reader *r = NULL;
    AVFrame *f = NULL;
    const struct reader_params p = {.height = 200};
    assert_ok(err, reader_open(&r, clip_path("square_512.mp4"), &p, &err));
    assert_ok(err, reader_next(r, &f, &err));
    return f;
}

// Gone for half a second it is the same face; two frames of something are no face.
static void test_losses(void **state)
{
    struct kb_error err = {0};
    AVFrame *face = small_face();
    CLEANUP(kb_freep) char *path = path_join(folder, "loss.y4m");
    CLEANUP(track_free) struct track *t = NULL, *brief = NULL;
    write_y4m(path, 60, 5, 25, face, 20, 20);
    CLEANUP(kb_freep) char *again = path_join(folder, "loss2.y4m");
    write_y4m(again, 20, 0, 20, face, 26, 24);
    // Frames 45 … 59 show it again a little further on: the files' frames are of equal size.
    FILE *f = fopen(path, "r+b"), *g = fopen(again, "rb");
    const long header = (long)strlen("YUV4MPEG2 W320 H240 F25:1 Ip A1:1 C420jpeg\n");
    const long frame = (long)strlen("FRAME\n") + 320 * 240 * 3 / 2;
    CLEANUP(kb_freep) uint8_t *bytes = malloc((size_t)frame * 15);
    fseek(g, header, SEEK_SET);
    assert_int_equal(fread(bytes, 1, (size_t)frame * 15, g), frame * 15);
    fseek(f, header + 35 * frame, SEEK_SET);
    assert_int_equal(fwrite(bytes, 1, (size_t)frame * 15, f), frame * 15);
    fclose(f);
    fclose(g);

    assert_ok(err, track_make(&t, path, models, NULL, &err));
    assert_int_equal(track_info(t)->n_faces, 1);
    for (int i = 0; i < 60; i++) {
        struct track_face at;
        track_face(t, 0, i, &at);
        assert_int_equal(at.present, (i >= 5 && i < 25) || (i >= 35 && i < 50));
    }
    write_y4m(path, 60, 20, 22, face, 20, 20);
    assert_ok(err, track_make(&brief, path, models, NULL, &err));
    assert_int_equal(track_info(brief)->n_faces, 0);
    av_frame_free(&face);
    unlink(path);
    unlink(again);
}

static void test_cache(void **state)
{
    struct kb_error err = {0};
    CLEANUP(kb_freep) char *video = path_join(folder, "grey.y4m");
    CLEANUP(kb_freep) char *cache = path_join(folder, "cache/deep");
    write_y4m(video, 30, 0, 0, NULL, 0, 0);
    static const struct {
        int64_t limit_us;
        bool cached;
        int n_frames;
    } steps[] = {
        {400000, false, 10},                     // made
        {400000, true, 10},  {200000, true, 10}, // a shorter look is covered
        {800000, false, 20},                     // a longer one is not
        {0, false, 30},      {0, true, 30},      {400000, true, 30},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        CLEANUP(track_free) struct track *t = NULL;
        const struct track_params p = {.limit_us = steps[i].limit_us};
        bool cached = !steps[i].cached;
        assert_ok(err, track_obtain(&t, video, cache, models, &p, &cached, &err));
        assert_int_equal(cached, steps[i].cached);
        assert_int_equal(track_info(t)->n_frames, steps[i].n_frames);
    }
    // A hash that is known already is not computed again.
    CLEANUP(track_free) struct track *given = NULL;
    const struct track_params known = {.video_hash = "0123456789abcdef0123456789abcdef"};
    assert_ok(err, track_make(&given, video, models, &known, &err));
    assert_string_equal(track_info(given)->video_hash, known.video_hash);
    // A damaged file is made anew.
    char hash[33];
    assert_ok(err, file_hash(hash, video, &err));
    CLEANUP(kb_freep) char *name = kb_printf("%s/%s.kbt", cache, hash);
    assert_true(file_exists(name));
    assert_int_equal(truncate(name, 100), 0);
    for (int i = 0; i < 3; i++) {
        CLEANUP(track_free) struct track *t = NULL;
        bool cached = false;
        // The third time without a cache.
        assert_ok(err, track_obtain(&t, video, i < 2 ? cache : NULL, models, NULL, &cached, &err));
        assert_int_equal(cached, i == 1);
    }
    // With a limit the new track stays and what was not used for longest goes.
    CLEANUP(kb_freep)
    char *old = kb_printf("%s/old.kbt", cache), *other = kb_printf("%s/note.txt", cache);
    assert_ok(err, file_write_atomic(old, "old", 3, &err));
    assert_ok(err, file_write_atomic(other, "other", 5, &err));
    for (int i = 0; i < 2; i++) {
        CLEANUP(track_free) struct track *t = NULL;
        const struct track_params p = {.limit_us = 200000, .cache_limit = 1 << 20 >> 20 * i};
        unlink(name);
        assert_ok(err, track_obtain(&t, video, cache, models, &p, NULL, &err));
        assert_true(file_exists(name) && file_exists(other));
        assert_int_equal(file_exists(old), i == 0); // a mebibyte, then a byte
    }
    unlink(other);
    // A cache that cannot be written is not an error.
    CLEANUP(track_free) struct track *t = NULL;
    assert_ok(err, track_obtain(&t, video, "/proc/nowhere", models, NULL, NULL, &err));
    unlink(name);
    unlink(video);
    rmdir(cache);
    CLEANUP(kb_freep) char *parent = path_folder(cache);
    rmdir(parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clips),
        cmocka_unit_test(test_two_people),
        cmocka_unit_test(test_hand_before_mouth),
        cmocka_unit_test(test_two_take_turns),
        cmocka_unit_test(test_jump_cut),
        cmocka_unit_test(test_far_away),
        cmocka_unit_test(test_no_face),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_cache),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
