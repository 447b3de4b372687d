#include "films.h"
#include "heic.h"

#include <libavutil/pixdesc.h>
#include <math.h>

#include "media/ahead.h"

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
        {"s.avif",
         "-frames:v 1 -c:v libaom-av1 -still-picture 1 -cpu-used 8 -pix_fmt yuv420p",
         {0},
         1,
         320,
         240,
         AVCOL_RANGE_MPEG,
         AVCOL_SPC_UNSPECIFIED,
         -1},
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

// Pieces one after the other in one file, as recorders and downloads join them.
static const char *make_joined(const char *name, const char *const *options, int n)
{
    char *all = NULL;
    size_t size = 0;
    for (int i = 0; i < n; i++) {
        size_t more;
        CLEANUP(kb_freep) char *data = load_bytes(make_file("piece.ts", options[i]), &more);
        all = realloc(all, size + more);
        assert_non_null(all);
        memcpy(all + size, data, more);
        size += more;
    }
    const char *path = make_bytes(name, all, size);
    free(all);
    return path;
}

#define PIECE "-f lavfi -i testsrc2=s=64x64:r=25:d=0.64 -pix_fmt yuv420p -muxdelay 0 "

// The clock starts again after less than a second, or goes on elsewhere: the pictures go on.
static void test_clock_starts_again(void **state)
{
    static const char *const again[] = {PIECE "-c:v libx264", PIECE "-c:v libx264",
                                        PIECE "-c:v libx264"};
    static const char *const far[] = {PIECE "-c:v mpeg2video",
                                      PIECE "-c:v mpeg2video -output_ts_offset 5000",
                                      PIECE "-c:v mpeg2video -output_ts_offset 40"};
    static const char *const *const cases[] = {again, far};
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        const char *path = make_joined("joined.ts", cases[c], 3);
        CLEANUP(reader_close) struct reader *r = open_ok(path, NULL);
        struct seen seen = {0}, rest = {0};
        look_at(r, &seen);
        assert_int_equal(seen.n, 48);
        for (int i = 0; i < seen.n; i++)
            if (seen.pts[i] != 40000 * i)
                fail_msg("case %zu: picture %d at %lld", c, i, (long long)seen.pts[i]);
        // Neither does a reader that was never there lose its way.
        CLEANUP(reader_close) struct reader *fresh = open_ok(path, NULL);
        struct kb_error err = {0};
        assert_ok(err, reader_seek(fresh, seen.pts[40], &err));
        look_at(fresh, &rest);
        assert_int_equal(rest.n, 8);
        assert_int_equal(rest.pts[0], seen.pts[40]);
        assert_int_equal(rest.hash[7], seen.hash[47]);
    }
}

// A film that changes its size keeps the first one: what has other proportions gets bars, of the
// pixels' own shape too, and the picture after the change is a new shot.
static void test_size_changes(void **state)
{
#define WHITE(size, more)                                                                          \
    "-f lavfi -i color=white:s=" size ":r=25:d=0.4 " more                                          \
    " -pix_fmt yuv420p -muxdelay 0 -c:v libx264"
    static const struct {
        const char *first, *then;
        double x, y; // of the first pixel that is no bar, in parts of the picture
    } cases[] = {
        {WHITE("64x64", ""), WHITE("128x64", ""), 0, 0.25},
        {WHITE("64x64", ""), WHITE("64x128", ""), 0.25, 0},
        {WHITE("64x64", ""), WHITE("128x128", ""), 0, 0},
        {WHITE("128x72", ""), WHITE("64x48", ""), 0.125, 0},
        // 4:3 in 16:9, both anamorphic
        {WHITE("96x64", "-vf setdar=16/9"), WHITE("96x64", "-vf setdar=4/3"), 0.125, 0},
        {WHITE("96x80", "-vf setdar=16/9"), WHITE("64x36", "-vf setdar=16/9"), 0, 0},
    };
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        const char *const pieces[] = {cases[c].first, cases[c].then, cases[c].first};
        const char *path = make_joined("sizes.ts", pieces, 3);
        CLEANUP(reader_close) struct reader *r = open_ok(path, NULL);
        const struct reader_info *info = reader_info(r);
        for (int i = 0; i < 30; i++) {
            struct kb_error err = {0};
            CLEANUP(av_frame_free) AVFrame *f = NULL;
            assert_ok(err, reader_next(r, &f, &err));
            assert_int_equal(f->width, info->width);
            assert_int_equal(f->height, info->height);
            bool other = i >= 10 && i < 20, sized = c != 4;
            if (frame_is_new_shot(f) != (sized && (i == 10 || i == 20)))
                fail_msg("case %zu: new shot %d at picture %d", c, frame_is_new_shot(f), i);
            double x = other ? cases[c].x : 0, y = other ? cases[c].y : 0;
            for (int py = 0; py < f->height; py++)
                for (int px = 0; px < f->width; px++) {
                    double u = (px + 0.5) / f->width, v = (py + 0.5) / f->height;
                    bool bar = u < x || v < y || u > 1 - x || v > 1 - y;
                    int luma = f->data[0][py * f->linesize[0] + px];
                    bool rim = fabs(u - x) < 0.03 || fabs(v - y) < 0.04 || fabs(1 - x - u) < 0.03 ||
                               fabs(1 - y - v) < 0.04;
                    if (!rim && abs(luma - (bar ? 16 : 235)) > 2)
                        fail_msg("case %zu, picture %d: %d at %d, %d", c, i, luma, px, py);
                }
        }
    }
}

// What is transparent lies on white, whatever is hidden there.
static void test_transparency(void **state)
{
#define RED(alpha) "-f lavfi -i color=red@" alpha ":s=64x64:d=0.2,format=rgba "
    static const struct {
        const char *name, *options;
        int luma, u;
    } cases[] = {
        {"clear.png", RED("0.0") "-frames:v 1", 235, 128},
        {"half.png", "-f lavfi -i color=black@0.5:s=64x64,format=rgba -frames:v 1", 125, 128},
        {"clear.gif", RED("0.0") "-filter_complex split[a][b];[a]palettegen[p];[b][p]paletteuse",
         235, 128},
        {"clear.mov", RED("0.0") "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le", 235, 128},
        {"clear.webp", RED("0.0") "-c:v libwebp -lossless 1 -frames:v 1", 235, 128},
        {"opaque.mov", RED("1.0") "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le", 81, 90},
    };
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        const char *path = make_file(cases[c].name, cases[c].options);
        for (int height = 0; height <= 32; height += 32) {
            struct kb_error err = {0};
            CLEANUP(reader_close)
            struct reader *r = open_ok(path, &(struct reader_params){.height = height});
            CLEANUP(av_frame_free) AVFrame *f = NULL;
            assert_ok(err, reader_next(r, &f, &err));
            assert_int_equal(f->format, AV_PIX_FMT_YUV420P);
            int luma = mean_luma(f, 0.5, 0.5), u = f->data[1][4 * f->linesize[1] + 4];
            if (abs(luma - cases[c].luma) > 2 || abs(u - cases[c].u) > 2)
                fail_msg("%s: %d, %d", cases[c].name, luma, u);
        }
    }
}

// How much a row differs from the next one, for each of what it differs from the one after that:
// below 1 in a picture, above where the rows between are of another time.
static double combs(const AVFrame *f)
{
    int64_t next = 0, after = 0;
    for (int y = 0; y < f->height - 2; y++)
        for (int x = 0; x < f->width; x++) {
            const uint8_t *p = f->data[0] + (ptrdiff_t)y * f->linesize[0] + x;
            next += abs(p[0] - p[f->linesize[0]]);
            after += abs(p[0] - p[2 * f->linesize[0]]);
        }
    return (double)next / (double)KB_MAX(after, 1);
}

// Interlaced films: as many pictures as they have, without combs; also where only a part is.
static void test_interlaced(void **state)
{
#define TFF    "scroll=h=0.02,interlace=scan=tff -pix_fmt yuv420p -g 12 -muxdelay 0 "
#define BFF    "scroll=h=0.02,interlace=scan=bff -pix_fmt yuv420p -g 12 -muxdelay 0 "
#define MOVING "-f lavfi -i testsrc2=s=320x240:r=50:d=1 -vf "
    static const struct {
        const char *name, *options;
    } cases[] = {
        {"tff.mp4", MOVING TFF "-c:v libx264 -flags +ildct+ilme -x264opts tff=1"},
        {"bff.mp4", MOVING BFF "-c:v libx264 -flags +ildct+ilme -x264opts bff=1"},
        {"tff.mpg", MOVING TFF "-c:v mpeg2video -flags +ildct+ilme -top 1 -q 2"},
    };
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        const char *path = make_file(cases[c].name, cases[c].options);
        CLEANUP(reader_close) struct reader *r = open_ok(path, NULL);
        struct kb_error err = {0};
        for (int seek = 0; seek < 2; seek++) {
            int first = seek ? 14 : 0;
            if (seek)
                assert_ok(err, reader_seek(r, first * 40000, &err));
            for (int i = first; i < 25; i++) {
                CLEANUP(av_frame_free) AVFrame *f = NULL;
                assert_ok(err, reader_next(r, &f, &err));
                if (llabs(f->pts - i * 40000) > 20 || llabs(FRAME_DURATION(f) - 40000) > 20)
                    fail_msg("%s: picture %d at %lld", cases[c].name, i, (long long)f->pts);
                if (combs(f) > 1)
                    fail_msg("%s: picture %d: %.2f", cases[c].name, i, combs(f));
            }
            AVFrame *none = NULL;
            assert_int_equal(reader_next(r, &none, &err), KB_EOF);
        }
    }
    // Progressive, then interlaced, then of another size.
    const char *const pieces[] = {
        "-f lavfi -i testsrc2=s=320x240:r=25:d=0.4 -pix_fmt yuv420p -muxdelay 0 -c:v libx264",
        MOVING TFF "-t 0.4 -c:v libx264 -flags +ildct+ilme -x264opts tff=1",
        "-f lavfi -i testsrc2=s=320x480:r=50:d=0.4 -vf " TFF
        "-c:v libx264 -flags +ildct+ilme -x264opts tff=1"};
    CLEANUP(reader_close) struct reader *r = open_ok(make_joined("mixed.ts", pieces, 3), NULL);
    for (int i = 0; i < 30; i++) {
        struct kb_error err = {0};
        CLEANUP(av_frame_free) AVFrame *f = NULL;
        assert_ok(err, reader_next(r, &f, &err));
        assert_int_equal(f->pts, i * 40000);
        if (combs(f) > 1)
            fail_msg("mixed: picture %d: %.2f", i, combs(f));
    }
}

// Films for bright screens get the colours of all others; ten bits alone change nothing.
static void test_bright(void **state)
{
#define TO(trc)                                                                                    \
    " -vf zscale=tin=bt709:pin=bt709:min=bt709:rin=tv:t=" trc ":p=bt2020:m=bt2020nc:npl=203,"      \
    "format=yuv420p10le -c:v libx265 -x265-params log-level=none -color_trc " trc                  \
    " -color_primaries bt2020 -colorspace bt2020nc"
#define GROUND(colour) "-f lavfi -i color=" colour ":s=320x240:r=25:d=0.2"
    static const struct {
        const char *name, *options;
        int luma, u, v, within;
    } cases[] = {
        {"white.mp4", GROUND("white") TO("smpte2084"), 210, 128, 128, 8},
        {"white-hlg.mp4", GROUND("white") TO("arib-std-b67"), 210, 128, 128, 20},
        {"grey.mp4", GROUND("gray") TO("smpte2084"), 126, 128, 128, 8},
        {"red.mp4", GROUND("red") TO("smpte2084"), 60, 104, 226, 14},
        {"ten.mp4",
         GROUND("red") " -vf scale=out_color_matrix=bt709,format=yuv420p10le -colorspace bt709 "
                       "-color_trc bt709 -color_primaries bt709 -c:v libx264",
         63, 102, 240, 2},
    };
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        const char *path = make_file(cases[c].name, cases[c].options);
        for (int height = 0; height <= 120; height += 120) {
            CLEANUP(reader_close)
            struct reader *r = open_ok(path, &(struct reader_params){.height = height});
            const struct reader_info *info = reader_info(r);
            assert_int_equal(info->transfer, AVCOL_TRC_BT709);
            assert_int_equal(info->primaries, AVCOL_PRI_BT709);
            assert_int_equal(info->space, AVCOL_SPC_BT709);
            struct kb_error err = {0};
            CLEANUP(av_frame_free) AVFrame *f = NULL;
            assert_ok(err, reader_next(r, &f, &err));
            assert_int_equal(f->format, AV_PIX_FMT_YUV420P);
            assert_int_equal(f->height, height ? height : 240);
            int luma = mean_luma(f, 0.5, 0.5);
            int u = f->data[1][9 * f->linesize[1] + 9], v = f->data[2][9 * f->linesize[2] + 9];
            int within = cases[c].within;
            if (abs(luma - cases[c].luma) > within || abs(u - cases[c].u) > within ||
                abs(v - cases[c].v) > within)
                fail_msg("%s: %d, %d, %d", cases[c].name, luma, u, v);
        }
    }
}

// What FFmpeg does not read: HEIC, a picture, and animated WebP, a film.
static void test_gallery(void **state)
{
    struct kb_error err = {0};
    struct seen seen = {0}, again = {0};
    const char *heic = make_bytes("red.heic", red_heic, sizeof(red_heic));
    CLEANUP(reader_close) struct reader *picture = open_ok(heic, NULL);
    const struct reader_info *info = reader_info(picture);
    assert_true(info->is_still && info->width == 64 && info->height == 48);
    assert_string_equal(info->codec, "heic");
    CLEANUP(av_frame_free) AVFrame *f = NULL;
    assert_ok(err, reader_next(picture, &f, &err));
    assert_in_range(mean_luma(f, 0.5, 0.5), 58, 68); // red of BT.709 is 63, 102, 240
    assert_in_range(f->data[2][4 * f->linesize[2] + 4], 230, 242);
    assert_ok(err, reader_restart(picture, &(struct reader_params){.height = 24}, &err));
    look_at(picture, &seen);
    assert_int_equal(seen.n, 1);

    const char *webp = make_file("moving.webp", "-f lavfi -i testsrc2=s=64x64:r=20:d=1 -loop 0 "
                                                "-c:v libwebp_anim -lossless 1");
    CLEANUP(reader_close) struct reader *film = open_ok(webp, NULL);
    info = reader_info(film);
    assert_true(!info->is_still && info->width == 64 && info->n_frames_estimate == 20);
    assert_string_equal(info->codec, "webp");
    assert_true(av_q2d(info->frame_rate) > 19.9 && av_q2d(info->frame_rate) < 20.1);
    seen.n = 0;
    look_at(film, &seen);
    assert_int_equal(seen.n, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(seen.pts[i], 50000 * i);
    assert_int_equal(seen.duration[19], 50000);
    assert_true(seen.hash[3] != seen.hash[4]);
    assert_ok(err, reader_seek(film, 500000, &err));
    look_at(film, &again);
    assert_int_equal(again.n, 10);
    assert_int_equal(again.hash[0], seen.hash[10]);
    assert_int_equal(again.hash[9], seen.hash[19]);
}

static int64_t last_of(const char *path)
{
    CLEANUP(reader_close) struct reader *r = open_ok(path, NULL);
    struct seen seen = {0};
    look_at(r, &seen);
    assert_int_equal(reader_info(r)->last_us, seen.duration[seen.n - 1]);
    return seen.duration[seen.n - 1];
}

// The last picture may stand for long, but not for longer than the film says that it is.
static void test_last_stands(void **state)
{
    const char *gif = make_file("stands.gif", "-f lavfi -i testsrc2=s=64x48:r=25:d=1 "
                                              "-final_delay 300");
    char options[600];
    snprintf(options, sizeof(options), "-i %s -c copy", gif);
    const char *film = make_file("stands.mov", options);
    assert_int_equal(last_of(gif), 3000000);
    assert_int_equal(last_of(film), 3000000);
    // This one does not say how long it is.
    assert_in_range(last_of(make_file("endless.png", "-f lavfi -i testsrc2=s=64x48:r=25:d=10 "
                                                     "-f apng -final_delay 6000")),
                    39000, 41000);
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
        cmocka_unit_test(test_containers),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_variable_rate),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_last_stands),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_clips),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_clock_starts_again),
        cmocka_unit_test(test_size_changes),
        cmocka_unit_test(test_transparency),
        cmocka_unit_test(test_interlaced),
        cmocka_unit_test(test_bright),
        cmocka_unit_test(test_gallery),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
