#include "make.h"

#include <libavutil/pixdesc.h>
#include <xxhash.h>

#include "media/ahead.h"

#define MAX_FRAMES 400

struct seen {
    int n;
    int64_t pts[MAX_FRAMES], duration[MAX_FRAMES];
    uint64_t hash[MAX_FRAMES];
};

static uint64_t picture_hash(const AVFrame *f)
{
    uint64_t h = 0;
    for (int p = 0; p < 3; p++)
        for (int y = 0; y < f->height >> (p > 0); y++)
            h = XXH64(f->data[p] + (ptrdiff_t)y * f->linesize[p], (size_t)f->width >> (p > 0), h);
    return h;
}

static void look_at(struct reader *r, struct seen *seen)
{
    struct kb_error err = {0};
    const struct reader_info *info = reader_info(r);
    enum kb_code code;
    for (;;) {
        CLEANUP(av_frame_free) AVFrame *f = NULL;
        code = reader_next(r, &f, &err);
        if (code != KB_OK || seen->n == MAX_FRAMES)
            break;
        assert_int_equal(f->format, AV_PIX_FMT_YUV420P);
        assert_int_equal(f->width, info->width);
        assert_int_equal(f->height, info->height);
        assert_int_equal(f->color_range, info->range);
        assert_int_equal(f->colorspace, info->space);
        seen->pts[seen->n] = f->pts;
        seen->duration[seen->n] = FRAME_DURATION(f);
        seen->hash[seen->n++] = picture_hash(f);
    }
    if (code != KB_EOF)
        fail_msg("code %d: %s", (int)code, err.text);
    for (int i = 0; i < seen->n; i++) {
        if (i > 0 && seen->pts[i] <= seen->pts[i - 1])
            fail_msg("pts %lld after %lld", (long long)seen->pts[i], (long long)seen->pts[i - 1]);
        assert_true(seen->duration[i] > 0);
        if (i > 0)
            assert_int_equal(seen->pts[i - 1] + seen->duration[i - 1], seen->pts[i]);
    }
}

static struct reader *open_ok(const char *path, const struct reader_params *params)
{
    struct kb_error err = {0};
    struct reader *r = NULL;
    assert_ok(err, reader_open(&r, path, params, &err));
    return r;
}

static const struct {
    const char *name, *options;
    const char *source; // lavfi
    int n, width, height, rate_num, rate_den;
    bool inexact_end; // the container keeps no length of the last picture
} films[] = {
    {"a.mp4", "-c:v libx264 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1, false},
    {"ntsc.mp4", "-c:v libx264", "testsrc2=s=64x64:r=30000/1001:d=1", 30, 64, 64, 30000, 1001,
     false},
    {"hevc.mp4", "-c:v libx265 -x265-params log-level=none:keyint=15",
     "testsrc2=s=128x128:r=25:d=1", 25, 128, 128, 25, 1, false},
    {"noedit.mp4", "-c:v libx264 -use_editlist 0 -g 12", "testsrc2=s=64x64:r=25:d=2", 50, 64, 64,
     25, 1, false},
    {"a.mov", "-c:v mpeg4 -g 12", "testsrc2=s=320x240:r=24:d=2", 48, 320, 240, 24, 1, false},
    {"prores.mov", "-c:v prores", "testsrc2=s=320x240:r=24:d=0.5", 12, 320, 240, 24, 1, false},
    {"a.avi", "-c:v mpeg4 -bf 2 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1, true},
    {"x.avi", "-c:v libx264 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1, true},
    {"mjpeg.avi", "-c:v mjpeg -pix_fmt yuvj420p", "testsrc2=s=320x240:r=15:d=1", 15, 320, 240, 15,
     1, false},
    {"a.mkv", "-c:v libx264 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1, true},
    {"open.mkv", "-c:v libx264 -x264-params open-gop=1:keyint=12:bframes=3",
     "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1, true},
    {"a.webm", "-c:v libvpx -deadline realtime -g 12", "testsrc2=s=160x120:r=25:d=2", 50, 160, 120,
     25, 1, true},
    {"vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 12",
     "testsrc2=s=160x120:r=25:d=1", 25, 160, 120, 25, 1, true},
    {"a.flv", "-c:v flv1 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1, true},
    {"x.flv", "-c:v libx264 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1, true},
    {"a.mpg", "-c:v mpeg1video -bf 2 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1,
     true},
    {"two.mpg", "-c:v mpeg2video -bf 2 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1,
     true},
    {"a.ts", "-c:v libx264 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1, true},
    {"raw.h264", "-c:v libx264 -g 12", "testsrc2=s=320x240:r=25:d=2", 50, 320, 240, 25, 1, true},
    {"a.gif", "", "testsrc2=s=64x64:r=10:d=1", 10, 64, 64, 10, 1, true},
    {"带 空格'引号\".mp4", "-c:v mpeg4", "testsrc2=s=64x64:r=25:d=0.4", 10, 64, 64, 25, 1, false},
    {"-dash.mp4", "-c:v mpeg4", "testsrc2=s=64x64:r=25:d=0.4", 10, 64, 64, 25, 1, false},
    {"http:%03d*?.mkv", "-c:v mpeg4", "testsrc2=s=64x64:r=25:d=0.4", 10, 64, 64, 25, 1, true},
    {"parts.mp4", "-c:v libx264 -g 12 -movflags frag_keyframe+empty_moov",
     "testsrc2=s=64x64:r=25:d=2", 50, 64, 64, 25, 1, false},
};

static const char *film(size_t i)
{
    static bool made[ARRAY_LEN(films)];
    if (!made[i]) {
        char options[512];
        snprintf(options, sizeof(options), "-f lavfi -i %s -pix_fmt yuv420p %s", films[i].source,
                 films[i].options);
        if (!strcmp(films[i].name, "prores.mov") || !strcmp(films[i].name, "a.gif"))
            snprintf(options, sizeof(options), "-f lavfi -i %s %s", films[i].source,
                     films[i].options);
        make_file(films[i].name, options);
        made[i] = true;
    }
    return make_path(films[i].name);
}

static void test_containers(void **state)
{
    for (size_t t = 0; t < ARRAY_LEN(films); t++) {
        CLEANUP(reader_close)
        struct reader *r = open_ok(film(t), &(struct reader_params){.threads = (int)(t % 3)});
        const struct reader_info *info = reader_info(r);
        struct seen seen = {0};
        look_at(r, &seen);
        const char *name = films[t].name;
        if (seen.n != films[t].n || info->width != films[t].width ||
            info->height != films[t].height || info->is_still)
            fail_msg("%s: %d pictures of %dx%d", name, seen.n, info->width, info->height);
        double rate = (double)films[t].rate_num / films[t].rate_den;
        if (av_q2d(info->frame_rate) < rate * 0.98 || av_q2d(info->frame_rate) > rate * 1.02)
            fail_msg("%s: rate %d/%d", name, info->frame_rate.num, info->frame_rate.den);
        for (int i = 0; i < seen.n; i++) {
            double off = (double)seen.pts[i] - i * 1e6 / rate;
            if (off < -1000 || off > 1000)
                fail_msg("%s: picture %d at %lld us", name, i, (long long)seen.pts[i]);
        }
        double end = (double)(seen.pts[seen.n - 1] + seen.duration[seen.n - 1]);
        if (end < seen.n * 1e6 / rate - 1500 || end > seen.n * 1e6 / rate + 1500)
            fail_msg("%s: ends at %g us", name, end);
        assert_string_not_equal(info->codec, "");
        if (!strstr(name, "raw") &&
            (info->duration_us < end * 0.9 || info->duration_us > end * 1.1 ||
             info->n_frames_estimate < seen.n * 9 / 10 ||
             info->n_frames_estimate > seen.n * 11 / 10))
            fail_msg("%s: %lld us, %lld pictures expected", name, (long long)info->duration_us,
                     (long long)info->n_frames_estimate);
    }
}

static void test_seek(void **state)
{
    for (size_t t = 0; t < ARRAY_LEN(films); t++) {
        CLEANUP(reader_close) struct reader *r = open_ok(film(t), NULL);
        struct seen all = {0};
        look_at(r, &all);
        static const int targets[] = {37, 11, 12, 13, 49, 0, 24, 23, 5};
        for (size_t k = 0; k < ARRAY_LEN(targets); k++) {
            int i = targets[k];
            if (i >= all.n)
                continue;
            struct kb_error err = {0};
            // Odd ones ask for a time just after the picture before.
            int64_t wanted = k % 2 && i > 0 ? all.pts[i - 1] + 1 : all.pts[i];
            assert_ok(err, reader_seek(r, wanted, &err));
            struct seen rest = {0};
            look_at(r, &rest);
            if (rest.n != all.n - i || rest.pts[0] != all.pts[i] || rest.hash[0] != all.hash[i] ||
                memcmp(rest.hash, all.hash + i, (size_t)rest.n * sizeof(*rest.hash)) != 0 ||
                memcmp(rest.pts, all.pts + i, (size_t)rest.n * sizeof(*rest.pts)) != 0)
                fail_msg("%s: seek to %d: %d pictures from %lld on, wanted %d from %lld",
                         films[t].name, i, rest.n, (long long)rest.pts[0], all.n - i,
                         (long long)all.pts[i]);
        }
        struct kb_error err = {0};
        AVFrame *f = NULL;
        assert_ok(err, reader_seek(r, all.pts[all.n - 1] + 1, &err));
        assert_int_equal(reader_next(r, &f, &err), KB_EOF);
        assert_ok(err, reader_seek(r, -5, &err));
        assert_ok(err, reader_next(r, &f, &err));
        assert_int_equal(f->pts, 0);
        assert_int_equal(picture_hash(f), all.hash[0]);
        av_frame_free(&f);
    }
}

static void test_variable_rate(void **state)
{
    // Pictures at 0, 1, 4, 9, 16… fiftieths of a second.
    static const char *const names[] = {"vfr.mkv", "vfr.mp4"};
    for (size_t t = 0; t < ARRAY_LEN(names); t++) {
        const char *path =
            make_file(names[t], "-f lavfi -i testsrc2=s=64x64:r=50:d=0.24 -vf "
                                "settb=1/1000,setpts=N*N*20 -vsync vfr -c:v libx264");
        CLEANUP(reader_close) struct reader *r = open_ok(path, NULL);
        struct seen seen = {0};
        look_at(r, &seen);
        assert_int_equal(seen.n, 12);
        for (int i = 0; i < seen.n; i++)
            assert_int_equal(seen.pts[i], i * i * 20000);
        struct kb_error err = {0};
        assert_ok(err, reader_seek(r, 500001, &err));
        struct seen rest = {0};
        look_at(r, &rest);
        assert_int_equal(rest.pts[0], 720000);
        assert_int_equal(rest.hash[0], seen.hash[6]);
    }
}

// The mean of a square of the luma, in 0..1 of the width and height.
static int mean_luma(const AVFrame *f, double x, double y)
{
    int sum = 0, x0 = (int)(x * f->width), y0 = (int)(y * f->height);
    for (int j = -3; j < 4; j++)
        for (int i = -3; i < 4; i++)
            sum += f->data[0][(y0 + j) * f->linesize[0] + x0 + i];
    return sum / 49;
}

// A white square in the upper left corner of a black picture tells where up is.
static void test_rotation(void **state)
{
    make_file("upright.mp4", "-f lavfi -i color=black:s=160x96:d=0.2 -vf "
                             "drawbox=0:0:40:40:white:fill -c:v libx264 -pix_fmt yuv420p");
    static const struct {
        int degrees; // counter-clockwise, of the tag "rotate" that ffmpeg 5 writes a matrix for
        int width, height;
        double x, y; // where the white corner goes
    } cases[] = {{90, 96, 160, 0.1, 0.9}, {180, 160, 96, 0.9, 0.9}, {270, 96, 160, 0.9, 0.1}};
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        char options[600];
        snprintf(options, sizeof(options), "-i %s -c copy -metadata:s:v rotate=%d",
                 make_path("upright.mp4"), cases[t].degrees);
        const char *path = make_file("turned.mp4", options);
        for (int height = 0; height <= 80; height += 80) {
            CLEANUP(reader_close)
            struct reader *r = open_ok(path, &(struct reader_params){.height = height});
            struct kb_error err = {0};
            CLEANUP(av_frame_free) AVFrame *f = NULL;
            assert_ok(err, reader_next(r, &f, &err));
            int h = height ? height : cases[t].height;
            int w = cases[t].width * h / cases[t].height;
            if (f->height != h || abs(f->width - w) > 1 ||
                mean_luma(f, cases[t].x, cases[t].y) < 200)
                fail_msg("%d degrees: %dx%d, corner %d", cases[t].degrees, f->width, f->height,
                         mean_luma(f, cases[t].x, cases[t].y));
            assert_null(av_frame_get_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX));
        }
    }
}

static void test_shapes(void **state)
{
    static const struct {
        const char *name, *options;
        struct reader_params params;
        int n, width, height;
        enum AVColorRange range;
        enum AVColorSpace space;
        int white; // luma, -1: any
    } cases[] = {
        {"odd.mkv",
         "-c:v libx264 -pix_fmt yuv444p",
         {0},
         5,
         320,
         240,
         AVCOL_RANGE_UNSPECIFIED,
         AVCOL_SPC_UNSPECIFIED,
         235},
        {"odd420.mkv",
         "-c:v ffv1 -pix_fmt yuv420p",
         {0},
         5,
         320,
         240,
         AVCOL_RANGE_UNSPECIFIED,
         AVCOL_SPC_UNSPECIFIED,
         235},
        {"odd420.mkv",
         "-c:v ffv1 -pix_fmt yuv420p",
         {.denoise = true},
         5,
         320,
         240,
         AVCOL_RANGE_UNSPECIFIED,
         AVCOL_SPC_UNSPECIFIED,
         235},
        {"small.mkv",
         "-c:v ffv1 -pix_fmt yuv420p",
         {.height = 121},
         5,
         160,
         120,
         AVCOL_RANGE_UNSPECIFIED,
         AVCOL_SPC_UNSPECIFIED,
         235},
        {"large.mkv",
         "-c:v ffv1 -pix_fmt yuv420p",
         {.height = 1080},
         5,
         320,
         240,
         AVCOL_RANGE_UNSPECIFIED,
         AVCOL_SPC_UNSPECIFIED,
         235},
        {"10bit.mkv",
         "-c:v libx264 -pix_fmt yuv420p10le",
         {0},
         5,
         320,
         240,
         AVCOL_RANGE_UNSPECIFIED,
         AVCOL_SPC_UNSPECIFIED,
         235},
        {"10full.mkv",
         "-vf scale=out_range=full -c:v ffv1 -pix_fmt yuv420p10le -color_range pc",
         {0},
         5,
         320,
         240,
         AVCOL_RANGE_JPEG,
         AVCOL_SPC_BT470BG,
         255},
        {"422.mkv",
         "-c:v ffv1 -pix_fmt yuv422p -colorspace smpte170m",
         {0},
         5,
         320,
         240,
         AVCOL_RANGE_UNSPECIFIED,
         AVCOL_SPC_SMPTE170M,
         235},
        {"gray.mkv",
         "-c:v ffv1 -pix_fmt gray",
         {0},
         5,
         320,
         240,
         AVCOL_RANGE_JPEG,
         AVCOL_SPC_BT470BG,
         255},
        {"rgb.mkv",
         "-c:v libx264rgb -pix_fmt rgb24",
         {.denoise = true},
         5,
         320,
         240,
         AVCOL_RANGE_MPEG,
         AVCOL_SPC_BT709,
         235},
        {"full.mp4",
         "-vf scale=out_range=full -pix_fmt yuvj420p -c:v libx264",
         {.height = 120},
         5,
         160,
         120,
         AVCOL_RANGE_JPEG,
         AVCOL_SPC_BT470BG,
         255},
        {"hd.mkv",
         "-s 1280x720 -c:v ffv1 -pix_fmt yuv420p",
         {.height = 360},
         5,
         640,
         360,
         AVCOL_RANGE_UNSPECIFIED,
         AVCOL_SPC_BT709,
         235},
        {"s.png", "-frames:v 1", {0}, 1, 320, 240, AVCOL_RANGE_MPEG, AVCOL_SPC_BT709, 235},
        {"alpha.png",
         "-frames:v 1 -pix_fmt rgba",
         {.height = 100},
         1,
         134,
         100,
         AVCOL_RANGE_MPEG,
         AVCOL_SPC_BT709,
         235},
        {"pal.png",
         "-frames:v 1 -pix_fmt pal8",
         {0},
         1,
         320,
         240,
         AVCOL_RANGE_MPEG,
         AVCOL_SPC_BT709,
         -1},
        {"gray.png",
         "-frames:v 1 -pix_fmt gray",
         {0},
         1,
         320,
         240,
         AVCOL_RANGE_JPEG,
         AVCOL_SPC_BT470BG,
         255},
        {"gray16.png",
         "-frames:v 1 -pix_fmt gray16be",
         {0},
         1,
         320,
         240,
         AVCOL_RANGE_JPEG,
         AVCOL_SPC_BT470BG,
         255},
        {"s.jpg",
         "-frames:v 1 -pix_fmt yuvj420p",
         {0},
         1,
         320,
         240,
         AVCOL_RANGE_JPEG,
         AVCOL_SPC_BT470BG,
         255},
        {"444.jpg",
         "-frames:v 1 -pix_fmt yuvj444p",
         {0},
         1,
         320,
         240,
         AVCOL_RANGE_JPEG,
         AVCOL_SPC_BT470BG,
         255},
        {"照片%d*.jpg",
         "-update 1 -frames:v 1 -pix_fmt yuvj420p",
         {.height = 120},
         1,
         160,
         120,
         AVCOL_RANGE_JPEG,
         AVCOL_SPC_BT470BG,
         255},
        {"s.bmp", "-frames:v 1", {0}, 1, 320, 240, AVCOL_RANGE_MPEG, AVCOL_SPC_BT709, 235},
        {"s.webp",
         "-frames:v 1",
         {0},
         1,
         320,
         240,
         AVCOL_RANGE_UNSPECIFIED,
         AVCOL_SPC_UNSPECIFIED,
         -1},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        char options[512];
        snprintf(options, sizeof(options), "-f lavfi -i color=white:s=321x241:d=0.2 %s",
                 cases[t].options);
        const char *name = cases[t].name;
        CLEANUP(reader_close)
        struct reader *r = open_ok(make_file(name, options), &cases[t].params);
        const struct reader_info *info = reader_info(r);
        if (info->width != cases[t].width || info->height != cases[t].height)
            fail_msg("%s: %dx%d", name, info->width, info->height);
        if (info->is_still != (cases[t].n == 1))
            fail_msg("%s: still %d", name, info->is_still);
        if (cases[t].white >= 0 &&
            ((info->range == AVCOL_RANGE_JPEG) != (cases[t].range == AVCOL_RANGE_JPEG) ||
             info->space != cases[t].space))
            fail_msg("%s: range %d space %d", name, info->range, info->space);
        struct kb_error err = {0};
        CLEANUP(av_frame_free) AVFrame *f = NULL;
        assert_ok(err, reader_next(r, &f, &err));
        int white = mean_luma(f, 0.1, 0.1), chroma = f->data[1][2 * f->linesize[1] + 2];
        if (cases[t].white >= 0 && (abs(white - cases[t].white) > 2 || abs(chroma - 128) > 2))
            fail_msg("%s: white is %d, %d", name, white, chroma);
        assert_ok(err, reader_seek(r, 0, &err));
        struct seen seen = {0};
        look_at(r, &seen);
        if (seen.n != cases[t].n)
            fail_msg("%s: %d pictures", name, seen.n);
        if (info->is_still) {
            assert_int_equal(seen.pts[0], 0);
            assert_int_equal(seen.duration[0], 40000);
            assert_ok(err, reader_seek(r, 1, &err));
            AVFrame *none = NULL;
            assert_int_equal(reader_next(r, &none, &err), KB_EOF);
        }
    }
}

static void test_refuses(void **state)
{
    struct kb_error err = {0};
    struct reader *r = NULL;
    static const char text[] = "这不是视频。This is not a video at all.\n";
    make_bytes("text.mp4", text, sizeof(text) - 1);
    make_bytes("notes.txt", text, sizeof(text) - 1);
    make_bytes("zero.mp4", "", 0);
    make_bytes("one.mp4", "x", 1);
    make_bytes("script.avi", "#!/bin/sh\necho hello\n", 21);
    make_file("sound.mp3", "-f lavfi -i sine=duration=0.3");
    make_file("cover.png", "-f lavfi -i testsrc2=s=64x64 -frames:v 1");
    char options[1200];
    snprintf(
        options, sizeof(options),
        "-f lavfi -i sine=duration=0.3 -i %s -map 0 -map 1 -disposition:v attached_pic -c:v png",
        make_path("cover.png"));
    make_file("cover.m4a", options);
    size_t size;
    CLEANUP(kb_freep) char *data = load_bytes(film(0), &size);
    make_bytes("cut.mp4", data, size / 2);
    make_bytes("head.mp4", data, 40);
    make_file("huge.png", "-f lavfi -i color=s=9000x16 -frames:v 1");
    make_file("thin.png", "-f lavfi -i color=s=16x64 -vf format=rgb24,crop=1:64 -frames:v 1");

    static const struct {
        const char *name;
        enum kb_code code;
        const char *part;
    } cases[] = {
        {"nothing.mp4", KB_NOT_FOUND, "No such file"},
        {"", KB_BAD_INPUT, "folder"},
        {"text.mp4", KB_BAD_INPUT, "not an audio or video file"},
        {"notes.txt", KB_BAD_INPUT, "not an audio or video file"},
        {"script.avi", KB_BAD_INPUT, "not an audio or video file"},
        {"zero.mp4", KB_BAD_INPUT, "empty (0 bytes)"},
        {"one.mp4", KB_BAD_INPUT, "not an audio or video file"},
        {"sound.mp3", KB_BAD_INPUT, "has no picture"},
        {"cover.m4a", KB_BAD_INPUT, "has no picture"},
        {"cut.mp4", KB_BAD_INPUT, "moov"},
        {"head.mp4", KB_BAD_INPUT, "moov"},
        {"huge.png", KB_BAD_INPUT, "8192x8192"},
        {"thin.png", KB_BAD_INPUT, "1x64"},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        assert_fails(err, cases[t].code, cases[t].part,
                     reader_open(&r, make_path(cases[t].name), NULL, &err));
        assert_null(r);
    }
    assert_fails(err, KB_BAD_INPUT, "regular", reader_open(&r, "/dev/zero", NULL, &err));
    assert_fails(err, KB_NOT_FOUND, "http:", reader_open(&r, "http://127.0.0.1/a.mp4", NULL, &err));
    assert_fails(err, KB_NOT_FOUND,
                 "concat:", reader_open(&r, "concat:/etc/hostname|/etc/passwd", NULL, &err));
}

static void test_broken_off(void **state)
{
    // The end is missing, the start can be played.
    static const size_t which[] = {6, 9, 11, 13, 15, 17};
    for (size_t t = 0; t < ARRAY_LEN(which); t++) {
        size_t size;
        CLEANUP(kb_freep) char *data = load_bytes(film(which[t]), &size);
        char name[64];
        snprintf(name, sizeof(name), "cut-%s", films[which[t]].name);
        CLEANUP(reader_close)
        struct reader *r = open_ok(make_bytes(name, data, size * 2 / 3), NULL);
        struct seen seen = {0};
        look_at(r, &seen);
        if (seen.n < 8 || seen.n > 45)
            fail_msg("%s: %d pictures", name, seen.n);
    }
}

// The same pictures again, in another size and without them if that is wanted, though the file has
// lost its name since it was opened.
static void test_restart(void **state)
{
    static const struct reader_params plain, small = {.height = 40, .threads = 3};
    for (size_t i = 0; i < ARRAY_LEN(films); i++) {
        struct kb_error err = {0};
        size_t size;
        CLEANUP(kb_freep) char *data = load_bytes(film(i), &size);
        CLEANUP(kb_freep) char *name = kb_printf("again-%s", films[i].name);
        const char *path = make_bytes(name, data, size);
        struct seen whole = {0}, seen = {0}, small_whole = {0};
        CLEANUP(reader_close) struct reader *r = open_ok(path, &plain), *s = open_ok(path, &small);
        look_at(r, &whole);
        look_at(s, &small_whole);
        unlink(path);
        for (int n = 0; n < 3; n++) { // from the start, the middle and the end
            const struct reader_params *p = n == 1 ? &small : &plain;
            const struct seen *wanted = n == 1 ? &small_whole : &whole;
            assert_ok(err, reader_restart(r, p, &err));
            assert_int_equal(reader_info(r)->height, n == 1 ? 40 : films[i].height);
            seen.n = 0;
            look_at(r, &seen);
            assert_int_equal(seen.n, wanted->n);
            for (int k = 0; k < seen.n; k++)
                if (seen.pts[k] != wanted->pts[k] || seen.hash[k] != wanted->hash[k] ||
                    seen.duration[k] != wanted->duration[k])
                    fail_msg("%s: picture %d is another", films[i].name, k);
            if (n == 0)
                assert_ok(err, reader_restart(r, &plain, &err));
            for (int k = 0; k < 5 && n == 0; k++) {
                CLEANUP(av_frame_free) AVFrame *f = NULL;
                assert_ok(err, reader_next(r, &f, &err));
            }
        }
        assert_ok(err, reader_seek(r, 0, &err)); // neither does a seek open it again
    }
}

static void test_cancel(void **state)
{
    struct kb_error err = {0};
    struct cancel cancel = {0};
    CLEANUP(reader_close)
    struct reader *r = open_ok(film(0), &(struct reader_params){.cancel = &cancel});
    CLEANUP(av_frame_free) AVFrame *f = NULL;
    assert_ok(err, reader_next(r, &f, &err));
    cancel_request(&cancel);
    av_frame_free(&f);
    assert_fails(err, KB_CANCELLED, "cancelled", reader_next(r, &f, &err));
    assert_fails(err, KB_CANCELLED, "cancelled", reader_seek(r, 1000000, &err));
    // Already cancelled when a file is opened: nothing is read, nothing freed twice.
    struct reader *none = NULL;
    assert_fails(err, KB_CANCELLED, "cancelled",
                 reader_open(&none, film(0), &(struct reader_params){.cancel = &cancel}, &err));
    assert_null(none);
}

// Bytes that were changed anywhere may give an error or pictures, never a crash.
static void test_ahead(void **state)
{
    CLEANUP(reader_close) struct reader *r = open_ok(film(0), NULL);
    CLEANUP(reader_close) struct reader *plain = open_ok(film(0), NULL);
    struct kb_error err = {0};
    struct seen seen = {0};
    look_at(plain, &seen);
    CLEANUP(ahead_stop) struct ahead *a = NULL;
    for (int n_ahead = 1; n_ahead < 80; n_ahead += 39) { // also more than the film has
        assert_ok(err, reader_seek(r, 0, &err));
        assert_ok(err, ahead_start(&a, r, n_ahead, &err));
        for (int i = 0; i < seen.n; i++) {
            CLEANUP(av_frame_free) AVFrame *f = NULL;
            assert_ok(err, ahead_next(a, &f, &err));
            assert_int_equal(f->pts, seen.pts[i]);
            assert_int_equal(picture_hash(f), seen.hash[i]);
        }
        for (int i = 0; i < 2; i++) { // it stays at the end
            AVFrame *f = NULL;
            assert_int_equal(ahead_next(a, &f, &err), KB_EOF);
        }
        ahead_stop(&a);
    }
    // Stopping in the middle waits for nobody and loses nothing.
    AVFrame *f = NULL;
    assert_ok(err, reader_seek(r, 0, &err));
    assert_ok(err, ahead_start(&a, r, 3, &err));
    assert_ok(err, ahead_next(a, &f, &err));
    av_frame_free(&f);
    ahead_stop(&a);
    ahead_stop(&a);

    struct cancel flag = {0};
    struct reader_params rp = {.cancel = &flag};
    CLEANUP(reader_close) struct reader *cancelled = open_ok(film(0), &rp);
    cancel_request(&flag);
    assert_ok(err, ahead_start(&a, cancelled, 3, &err));
    enum kb_code code;
    while ((code = ahead_next(a, &f, &err)) == KB_OK)
        av_frame_free(&f);
    assert_int_equal(code, KB_CANCELLED);
    assert_int_equal(err.code, KB_CANCELLED);
}

static void test_damaged(void **state)
{
    static const size_t which[] = {1, 6, 9, 11, 13, 15, 19, 20};
    uint32_t seed = 7;
    for (size_t t = 0; t < ARRAY_LEN(which); t++) {
        size_t size;
        CLEANUP(kb_freep) char *good = load_bytes(film(which[t]), &size);
        char name[64];
        snprintf(name, sizeof(name), "bad-%s", films[which[t]].name);
        for (int round = 0; round < 5; round++) {
            CLEANUP(kb_freep) char *data = malloc(size);
            memcpy(data, good, size);
            for (int i = 0; i < 10; i++) {
                seed = seed * 1664525 + 1013904223;
                size_t range = i % 2 && size > 1000 ? 1000 : size;
                data[(seed >> 8) % range] = (char)(seed >> 24);
            }
            const char *path = make_bytes(name, data, size);
            struct kb_error err = {0};
            CLEANUP(reader_close) struct reader *r = NULL;
            if (reader_open(&r, path, NULL, &err) != KB_OK) {
                assert_true(err.text[0] != '\0');
                continue;
            }
            AVFrame *f = NULL;
            for (int i = 0; i < 30 && reader_next(r, &f, &err) == KB_OK; i++)
                av_frame_free(&f);
            reader_seek(r, 400000, &err);
            if (reader_next(r, &f, &err) == KB_OK)
                av_frame_free(&f);
        }
    }
}

// Real pictures: MPEG-1 as the corpus has it, and H.264.
static void test_clips(void **state)
{
    static const struct {
        const char *name;
        int width, height;
    } cases[] = {{"grid_lbax4n.mpg", 360, 288}, {"square_512.mp4", 512, 512}};
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        const char *path = clip_path(cases[t].name);
        CLEANUP(reader_close) struct reader *r = open_ok(path, NULL);
        assert_int_equal(reader_info(r)->width, cases[t].width);
        assert_int_equal(reader_info(r)->height, cases[t].height);
        struct seen all = {0}, rest = {0};
        look_at(r, &all);
        assert_true(all.n > 50);
        struct kb_error err = {0};
        assert_ok(err, reader_seek(r, all.pts[40], &err));
        look_at(r, &rest);
        assert_int_equal(rest.n, KB_MIN(all.n - 40, MAX_FRAMES));
        assert_int_equal(rest.hash[0], all.hash[40]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_containers),    cmocka_unit_test(test_seek),
        cmocka_unit_test(test_variable_rate), cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_shapes),        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_broken_off),    cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_restart),       cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_clips),         cmocka_unit_test(test_ahead),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
