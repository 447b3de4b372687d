// Films in all kinds of containers, made when a test asks for one, and what is seen in a film.
#ifndef TESTS_MEDIA_FILMS_H
#define TESTS_MEDIA_FILMS_H

#include "make.h"

#include <xxhash.h>

#include "media/reader.h"

#define MAX_FRAMES 400

struct seen {
    int n;
    int64_t pts[MAX_FRAMES], duration[MAX_FRAMES];
    uint64_t hash[MAX_FRAMES];
};

static inline uint64_t picture_hash(const AVFrame *f)
{
    uint64_t h = 0;
    for (int p = 0; p < 3; p++)
        for (int y = 0; y < f->height >> (p > 0); y++)
            h = XXH64(f->data[p] + (ptrdiff_t)y * f->linesize[p], (size_t)f->width >> (p > 0), h);
    return h;
}

static inline void look_at(struct reader *r, struct seen *seen)
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

static inline struct reader *open_ok(const char *path, const struct reader_params *params)
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

static inline const char *film(size_t i)
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

#endif
