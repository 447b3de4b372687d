#include "make.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "media/audio.h"
#include "media/mux.h"
#include "media/writer.h"

// A grey picture that changes with i, with a pattern that the eye of ffprobe never sees.
static AVFrame *picture(int width, int height, int i, int64_t pts, int64_t duration)
{
    AVFrame *f = av_frame_alloc();
    assert_non_null(f);
    f->format = AV_PIX_FMT_YUV420P;
    f->width = width;
    f->height = height;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    uint32_t noise = (uint32_t)i * 2654435761u + 1;
    for (int p = 0; p < 3; p++)
        for (int y = 0; y < height >> (p > 0); y++)
            for (int x = 0; x < width >> (p > 0); x++) {
                noise = noise * 1664525 + 1013904223;
                f->data[p][y * f->linesize[p] + x] = (uint8_t)(60 + 3 * i + (noise >> 27));
            }
    f->pts = pts;
    FRAME_DURATION(f) = duration;
    f->pict_type = AV_PICTURE_TYPE_I; // as decoders leave it; must not steer the encoder
    return f;
}

static enum kb_code write_film(const char *path, const struct writer_params *params, int n,
                               int64_t (*time_of)(int i), struct kb_error *err)
{
    CLEANUP(writer_close) struct writer *w = NULL;
    enum kb_code code = writer_open(&w, path, params, err);
    for (int i = 0; i < n && code == KB_OK; i++) {
        CLEANUP(av_frame_free)
        AVFrame *f =
            picture(params->width, params->height, i, time_of(i), time_of(i + 1) - time_of(i));
        code = writer_put(w, f, err);
    }
    return code == KB_OK ? writer_finish(w, err) : code;
}

static int64_t at_25(int i)
{
    return i * INT64_C(40000);
}

static int64_t at_ntsc_film(int i)
{
    return (i * INT64_C(1001000000) + 12000) / 24000;
}

static int64_t at_ntsc(int i)
{
    return (i * INT64_C(1001000000) + 15000) / 30000;
}

static int64_t at_60(int i)
{
    return i * INT64_C(1000000) / 60;
}

static int64_t at_squares(int i)
{
    return i * i * INT64_C(10007);
}

static const struct writer_params plain = {
    .width = 64, .height = 48, .frame_rate = {25, 1}, .crf = 18, .threads = 1};

static const char *part_of(const char *path)
{
    static char part[600];
    snprintf(part, sizeof(part), "%s.part", path);
    return part;
}

static void check_probe(const char *path, const char *streams, const char *entries,
                        const char *wanted)
{
    CLEANUP(kb_freep) char *text = probe(path, streams, entries);
    if (strcmp(text, wanted) != 0)
        fail_msg("%s: %s is '%s', wanted '%s'", path, entries, text, wanted);
}

static void test_pictures(void **state)
{
    static const struct {
        const char *name;
        AVRational rate;
        int64_t (*time_of)(int i);
        const char *rate_text; // NULL: any
        int64_t bitrate;
    } cases[] = {
        {"25.mp4", {25, 1}, at_25, "25/1\n", 0},
        {"23.976.mp4", {24000, 1001}, at_ntsc_film, "24000/1001\n", 0},
        {"29.97.mp4", {30000, 1001}, at_ntsc, "30000/1001\n", 500000},
        {"60.mp4", {60, 1}, at_60, "60/1\n", 0},
        {"vfr 变.mp4", {25, 1}, at_squares, NULL, 0},
        {"no rate.mp4", {0, 1}, at_25, "25/1\n", 0},
        {"odd rate.mp4", {1234567, 50001}, at_25, "25/1\n", 0},
        {"-dash:colon.mp4", {2997003, 100000}, at_25, "25/1\n", 0},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        struct kb_error err = {0};
        struct writer_params params = plain;
        params.frame_rate = cases[t].rate;
        params.bitrate = cases[t].bitrate;
        const char *path = make_path(cases[t].name);
        assert_ok(err, write_film(path, &params, 30, cases[t].time_of, &err));
        assert_false(file_exists(part_of(path)));

        CLEANUP(reader_close) struct reader *r = NULL;
        assert_ok(err, reader_open(&r, path, NULL, &err));
        int n = 0;
        CLEANUP(av_frame_free) AVFrame *f = NULL;
        for (; reader_next(r, &f, &err) == KB_OK; n++, av_frame_free(&f)) {
            int64_t off = f->pts - cases[t].time_of(n);
            int64_t end_off = f->pts + FRAME_DURATION(f) - cases[t].time_of(n + 1);
            // mp4 keeps differences of decoding times; of the last picture shown that may not be
            // the last decoded, the duration is lost when it differs from its neighbours'.
            bool lost = n == 29 && !cases[t].rate_text;
            if (llabs(off) > 12 || (llabs(end_off) > 12 && !lost))
                fail_msg("%s: picture %d is off by %lld, %lld us", path, n, (long long)off,
                         (long long)end_off);
            int level = f->data[0][5] - 60 - 3 * n - 16;
            if (abs(level) > 20)
                fail_msg("%s: picture %d differs by %d", path, n, level);
        }
        assert_int_equal(n, 30);
        check_probe(path, "v", "stream=nb_frames", "30\n");
        if (cases[t].rate_text)
            check_probe(path, "v", "stream=avg_frame_rate", cases[t].rate_text);
        CLEANUP(kb_freep) char *length = probe(path, "v", "format=duration");
        if (fabs(atof(length) * 1e6 - (double)cases[t].time_of(30)) > 2000)
            fail_msg("%s: the header says %s", path, length);
    }
}

static void test_colour_tags(void **state)
{
    struct kb_error err = {0};
    struct writer_params params = plain;
    params.range = AVCOL_RANGE_JPEG;
    params.space = AVCOL_SPC_BT470BG;
    params.primaries = AVCOL_PRI_BT709;
    params.transfer = AVCOL_TRC_IEC61966_2_1;
    params.sample_aspect = (AVRational){4, 3};
    const char *path = make_path("tags.mp4");
    assert_ok(err, write_film(path, &params, 3, at_25, &err));
    CLEANUP(reader_close) struct reader *r = NULL;
    assert_ok(err, reader_open(&r, path, NULL, &err));
    const struct reader_info *info = reader_info(r);
    assert_int_equal(info->range, params.range);
    assert_int_equal(info->space, params.space);
    assert_int_equal(info->primaries, params.primaries);
    assert_int_equal(info->transfer, params.transfer);
    assert_int_equal(av_cmp_q(info->sample_aspect, params.sample_aspect), 0);
    // The index stands in front of the data.
    size_t size;
    CLEANUP(kb_freep) char *data = load_bytes(path, &size);
    char *moov = memmem(data, size, "moov", 4), *mdat = memmem(data, size, "mdat", 4);
    assert_true(moov && mdat && moov < mdat);
}

// Seconds of sound, and how loud (mean square).
static double sound_of(const char *path, double *ret_square)
{
    struct kb_error err = {0};
    CLEANUP(audio_close) struct audio_reader *a = NULL;
    assert_ok(err, audio_open(&a, path, NULL, &err));
    float samples[4096];
    int64_t total = 0;
    double sum = 0;
    int n;
    while (audio_read(a, samples, 4096, &n, &err) == KB_OK) {
        total += n;
        for (int i = 0; i < n; i++)
            sum += samples[i] * samples[i];
    }
    *ret_square = sum / (double)KB_MAX(total, 1);
    return total / 16000.0;
}

static void test_sound(void **state)
{
    static const struct {
        const char *name, *options; // of 3 s of sound
        bool loudnorm;
        int n; // pictures of 40 ms
        int64_t max_us;
        double seconds;
        const char *rate_channels;
        bool copied;
    } cases[] = {
        {"s.wav", "-ar 44100 -ac 2", false, 50, 0, 2, "44100\n2\n", false},
        {"s.wav", "-ar 44100 -ac 2", false, 100, 0, 3, "44100\n2\n", false},
        {"s.wav", "-ar 8000 -ac 1", false, 50, 0, 2, "8000\n1\n", false},
        {"51.wav", "-ar 48000 -ac 6", false, 25, 0, 1, "48000\n2\n", false},
        {"hi.flac", "-ar 192000 -ac 1", false, 25, 0, 1, "48000\n1\n", false},
        {"s.mp3", "-ar 32000 -ac 1", false, 50, 1500000, 1.5, "32000\n1\n", false},
        {"s.m4a", "-ar 44100 -ac 2", false, 50, 0, 2, "44100\n2\n", true},
        {"s.m4a", "-ar 44100 -ac 2", false, 100, 0, 3, "44100\n2\n", true},
        {"s.m4a", "-ar 44100 -ac 2", false, 50, 1500000, 1.5, "44100\n2\n", true},
        {"s.m4a", "-ar 44100 -ac 2", true, 50, 0, 2, "44100\n2\n", false},
        {"s.aac", "-ar 48000 -ac 1", false, 50, 0, 2, "48000\n1\n", true},
        {"s.mkv", "-ar 44100 -ac 1 -c:a aac", false, 50, 0, 2, "44100\n1\n", true},
        {"s.ts", "-ar 48000 -ac 2 -c:a aac", false, 50, 0, 2, "48000\n2\n", true},
        {"s.flv", "-ar 44100 -ac 2 -c:a aac", false, 50, 0, 2, "44100\n2\n", true},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        char options[256];
        snprintf(options, sizeof(options), "-f lavfi -i sine=duration=3 %s", cases[t].options);
        const char *sound = make_file(cases[t].name, options), *path = make_path("with.mp4");
        struct kb_error err = {0};
        struct writer_params params = plain;
        params.audio_path = sound;
        params.loudnorm = cases[t].loudnorm;
        params.max_duration_us = cases[t].max_us;
        assert_ok(err, write_film(path, &params, cases[t].n, at_25, &err));
        double before, after;
        sound_of(sound, &before);
        double seconds = sound_of(path, &after);
        // A copied packet is whole: up to 1024 samples more.
        if (seconds < cases[t].seconds - 0.03 || seconds > cases[t].seconds + 0.05)
            fail_msg("%s, %d pictures: %g s of sound", cases[t].name, cases[t].n, seconds);
        if (!cases[t].loudnorm && (after < before * 0.9 || after > before * 1.1))
            fail_msg("%s: loudness %g -> %g", cases[t].name, before, after);
        check_probe(path, "a", "stream=sample_rate,channels", cases[t].rate_channels);
        int pictures = cases[t].max_us ? (int)((cases[t].max_us + 39999) / 40000) : cases[t].n;
        char text[32];
        snprintf(text, sizeof(text), "%d\n", pictures);
        check_probe(path, "v", "stream=nb_frames", text);
        CLEANUP(kb_freep) char *length = probe(path, "a", "stream=duration");
        if (atof(length) > cases[t].seconds + 0.03 || atof(length) < cases[t].seconds - 0.05)
            fail_msg("%s: the sound's header says %s", cases[t].name, length);
        length[0] = '\0';
        CLEANUP(kb_freep) char *source_packets = probe(sound, "a", "packet=size");
        CLEANUP(kb_freep) char *packets = probe(path, "a", "packet=size");
        // ADTS loses its header, MPEG-TS adds up to others: sizes tell only for the plain ones.
        bool same = strncmp(packets, source_packets, 100) == 0;
        if ((strstr(cases[t].name, "m4a") || strstr(cases[t].name, "mkv")) &&
            same != cases[t].copied)
            fail_msg("%s: copied is %d", cases[t].name, same);
    }
}

// The encoder writes its settings into the stream.
static void test_automatic_preset(void **state)
{
    static const char *const presets[] = {NULL, "auto", "veryfast"};
    static const char *const wanted[] = {"rc_lookahead=10", "mbtree=1", "subme=1", "aq=2:0.80",
                                         "decimate=0"};
    for (size_t i = 0; i < ARRAY_LEN(presets); i++) {
        struct kb_error err = {0};
        struct writer_params p = plain;
        p.preset = presets[i];
        const char *path = make_path("preset.mp4");
        assert_ok(err, write_film(path, &p, 3, at_25, &err));
        struct file_map file = {0};
        assert_ok(err, file_map(&file, path, &err));
        for (size_t k = 0; k < ARRAY_LEN(wanted); k++) {
            bool there = memmem(file.data, file.size, wanted[k], strlen(wanted[k])) != NULL;
            assert_true(there == (k < 2 || i < 2)); // the first two are veryfast's, too
        }
        file_unmap(&file);
    }
}

static void test_refuses(void **state)
{
    const char *mute = make_file("mute.mp4", "-f lavfi -i testsrc2=s=64x64:d=0.2 -c:v mpeg4");
    const struct {
        const char *path;
        struct writer_params params;
        int n;
        enum kb_code code;
        const char *part;
    } cases[] = {
        {"missing/out.mp4", plain, 1, KB_NOT_FOUND, "does not exist"},
        {"odd.mp4", {.width = 63, .height = 48}, 1, KB_BAD_INPUT, "must be even"},
        {"crf.mp4", {.width = 64, .height = 48, .crf = 52}, 1, KB_BAD_INPUT, "0 to 51"},
        {"preset.mp4", {.width = 64, .height = 48, .preset = "warp"}, 1, KB_BAD_INPUT, "veryfast"},
        {"mute.mp4.mp4",
         {.width = 64, .height = 48, .audio_path = mute},
         1,
         KB_BAD_INPUT,
         "has no sound"},
        {"gone.mp4",
         {.width = 64, .height = 48, .audio_path = "/gone.wav"},
         1,
         KB_NOT_FOUND,
         "/gone.wav"},
        {"none.mp4", plain, 0, KB_BAD_INPUT, "no picture"},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        struct kb_error err = {0};
        const char *path = make_path(cases[t].path);
        assert_fails(err, cases[t].code, cases[t].part,
                     write_film(path, &cases[t].params, cases[t].n, at_25, &err));
        assert_false(file_exists(path));
        assert_false(file_exists(part_of(path)));
    }
}

static void test_giving_up(void **state)
{
    struct kb_error err = {0};
    const char *path = make_path("given up.mp4");
    struct cancel cancel = {0};
    struct writer_params params = plain;
    params.cancel = &cancel;
    struct writer *w = NULL;
    assert_ok(err, writer_open(&w, path, &params, &err));
    CLEANUP(av_frame_free) AVFrame *f = picture(64, 48, 0, 0, 40000);
    assert_ok(err, writer_put(w, f, &err));
    assert_true(file_exists(part_of(path)));
    cancel_request(&cancel);
    assert_fails(err, KB_CANCELLED, "cancelled", writer_put(w, f, &err));
    assert_fails(err, KB_CANCELLED, "cancelled", writer_finish(w, &err));
    assert_false(file_exists(part_of(path)));
    writer_close(&w);

    cancel = (struct cancel){0};
    assert_ok(err, writer_open(&w, path, &params, &err));
    CLEANUP(av_frame_free) AVFrame *wrong = picture(32, 48, 0, 0, 40000);
    assert_fails(err, KB_INTERNAL, "32x48", writer_put(w, wrong, &err));
    writer_close(&w);
    assert_null(w);
    assert_false(file_exists(part_of(path)));
    assert_false(file_exists(path));
}

// A limit on the size of files stands in for a full disk. Small ones fail while pictures are
// written, large ones when the index is moved to the front.
static void test_full_disk(void **state)
{
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct kb_error err = {0};
    const char *path = make_path("full.mp4");
    assert_ok(err, write_film(path, &plain, 60, at_25, &err));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
    const rlim_t limits[] = {1, 1000, (rlim_t)st.st_size / 2, (rlim_t)st.st_size - 300,
                             (rlim_t)st.st_size - 1};
    for (size_t t = 0; t < ARRAY_LEN(limits); t++) {
        struct rlimit limit = {limits[t], old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        enum kb_code code = write_film(path, &plain, 60, at_25, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        if (code != KB_NO_SPACE || !strstr(err.text, "disk is full"))
            fail_msg("%d bytes: code %d, %s", (int)limits[t], (int)code, err.text);
        assert_false(file_exists(path));
        assert_false(file_exists(part_of(path)));
    }
}

// Decode, encode, decode: what went in comes out, sound included.
static void test_whole_way(void **state)
{
    struct kb_error err = {0};
    const char *from = make_file("from.mp4", "-f lavfi -i testsrc2=s=160x120:r=30000/1001:d=2 -f "
                                             "lavfi -i sine=duration=2 -pix_fmt yuv420p -c:v "
                                             "libx264 -colorspace bt709 -color_primaries bt709 "
                                             "-color_trc bt709 -c:a aac");
    const char *path = make_path("to.mp4");
    CLEANUP(reader_close) struct reader *r = NULL;
    assert_ok(err, reader_open(&r, from, NULL, &err));
    const struct reader_info *info = reader_info(r);
    struct writer_params params = {.width = info->width,
                                   .height = info->height,
                                   .frame_rate = info->frame_rate,
                                   .sample_aspect = info->sample_aspect,
                                   .range = info->range,
                                   .space = info->space,
                                   .primaries = info->primaries,
                                   .transfer = info->transfer,
                                   .crf = 12,
                                   .audio_path = from};
    CLEANUP(writer_close) struct writer *w = NULL;
    assert_ok(err, writer_open(&w, path, &params, &err));
    CLEANUP(av_frame_free) AVFrame *f = NULL;
    for (; reader_next(r, &f, &err) == KB_OK; av_frame_free(&f))
        assert_ok(err, writer_put(w, f, &err));
    assert_ok(err, writer_finish(w, &err));
    check_probe(path, "v", "stream=avg_frame_rate,nb_frames", "30000/1001\n60\n");
    check_probe(path, "v", "stream=color_space", "bt709\n");
    CLEANUP(kb_freep) char *length = probe(path, "v", "format=duration");
    assert_true(atof(length) > 1.99 && atof(length) < 2.01);

    CLEANUP(reader_close) struct reader *back = NULL;
    assert_ok(err, reader_open(&back, path, NULL, &err));
    assert_ok(err, reader_seek(r, 0, &err));
    CLEANUP(av_frame_free) AVFrame *g = NULL;
    for (int n = 0; reader_next(r, &f, &err) == KB_OK; n++, av_frame_free(&f), av_frame_free(&g)) {
        assert_ok(err, reader_next(back, &g, &err));
        assert_in_range(g->pts + 2 - f->pts, 0, 4);
        int64_t sum = 0;
        for (int y = 0; y < f->height; y++)
            for (int x = 0; x < f->width; x++)
                sum += abs(f->data[0][y * f->linesize[0] + x] - g->data[0][y * g->linesize[0] + x]);
        if (sum > 4 * f->height * f->width)
            fail_msg("picture %d: mean difference %g", n, (double)sum / f->height / f->width);
    }
}

// What FFmpeg refuses is told in its words, and nobody is sent to look at the disk.
static void test_refused_header(void **state)
{
    struct kb_error err = {0};
    struct mux m = {0};
    assert_ok(err, mux_open(&m, make_path("refused.mp4"), NULL, &err));
    AVStream *stream = avformat_new_stream(m.out, NULL);
    assert_non_null(stream);
    stream->codecpar->codec_type = AVMEDIA_TYPE_VIDEO;
    stream->codecpar->codec_id = AV_CODEC_ID_H264; // without a size
    stream->time_base = (AVRational){1, 25};
    assert_fails(err, KB_BAD_INPUT, "dimensions not set", mux_start(&m, &err));
    assert_null(strstr(err.text, "disk"));
    mux_close(&m);
    assert_false(file_exists(make_path("refused.mp4")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_colour_tags),
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_automatic_preset),
        cmocka_unit_test(test_giving_up),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_refused_header),
        cmocka_unit_test(test_whole_way),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
