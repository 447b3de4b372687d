// Films that are none, that end too early, or whose bytes were changed.
#include "films.h"
#include "heic.h"

#include "media/formats.h"

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
    make_bytes("cut.heic", red_heic, sizeof(red_heic) / 2);
    make_file("whole.webp", "-f lavfi -i testsrc2=s=64x64:r=20:d=0.2 -c:v libwebp_anim");
    CLEANUP(kb_freep) char *webp = load_bytes(make_path("whole.webp"), &size);
    make_bytes("cut.webp", webp, size / 2);
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
        {"cut.mp4", KB_BAD_INPUT, "cut short or damaged"},
        {"head.mp4", KB_BAD_INPUT, "cut short or damaged"},
        {"cut.heic", KB_BAD_INPUT, "HEIC"},
        {"cut.webp", KB_BAD_INPUT, "animated WebP"},
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

// Demuxers and decoders that few people need are not reached: not by their names, not by their
// content under another name, not within a container that is read.
static void test_rare_formats(void **state)
{
    static const struct {
        const char *name, *options, *part;
    } cases[] = {
        {"rare.mp4", "-f lavfi -i testsrc2=s=64x64:d=0.2 -c:v mpeg4 -f nut", "NUT"},
        {"rare.avi", "-f lavfi -i testsrc2=s=64x64:d=0.2 -c:v asv1", "'asv1'"},
        {"rare.voc", "-f lavfi -i sine=duration=0.3", "Creative Voice"},
    };
    static const char list[] = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n"
                               "#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n";
    struct kb_error err = {0};
    struct reader *r = NULL;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_file(cases[i].name, cases[i].options);
        assert_fails(err, KB_BAD_INPUT, cases[i].part,
                     reader_open(&r, make_path(cases[i].name), NULL, &err));
        assert_non_null(strstr(err.text, "convert it to MP4"));
    }
    make_bytes("list.m3u8", list, sizeof(list) - 1);
    assert_fails(err, KB_BAD_INPUT, "HTTP Live Streaming",
                 reader_open(&r, make_path("list.m3u8"), NULL, &err));
    // What FFmpeg opens by itself is held to the same.
    AVFormatContext *demux = avformat_alloc_context();
    assert_true(format_restrict(demux));
    assert_int_equal(avformat_open_input(&demux, make_path("rare.voc"), NULL, NULL),
                     AVERROR(EINVAL));
    assert_null(format_decoder(AV_CODEC_ID_ASV1));
    assert_non_null(format_decoder(AV_CODEC_ID_H264));
}

static bool decoder_known(const char *name)
{
    return avcodec_find_decoder_by_name(name) != NULL;
}

static bool demuxer_known(const char *name)
{
    return av_find_input_format(name) != NULL;
}

// Those of other libraries (lib...) are FFmpeg's if whoever built it had them; the others are, from
// 5.1 on, in every FFmpeg that was not cut down.
static int count_unknown(const char *list, bool (*known)(const char *))
{
    CLEANUP(kb_freep) char *names = kb_strdup(list);
    int n = 0;
    char *rest = NULL;
    for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        if (strncmp(name, "lib", 3) != 0 && !known(name)) {
            print_message("FFmpeg knows no '%s'\n", name);
            n++;
        }
    return n;
}

static void test_names_are_those_of_ffmpeg(void **state)
{
    AVFormatContext *demux = avformat_alloc_context();
    assert_true(format_restrict(demux));
    assert_int_equal(count_unknown(demux->codec_whitelist, decoder_known), 0);
    assert_int_equal(count_unknown(demux->format_whitelist, demuxer_known), 0);
    avformat_free_context(demux);
}

// What recorders of screens, editors and old phones wrote, and docs/films.md lists.
static void test_old_and_odd_films(void **state)
{
    static const enum AVCodecID ids[] = {
        AV_CODEC_ID_RA_144,       AV_CODEC_ID_RA_288,  AV_CODEC_ID_ADPCM_G726,
        AV_CODEC_ID_ADPCM_G726LE, AV_CODEC_ID_VP7,     AV_CODEC_ID_TSCC,
        AV_CODEC_ID_MSS2,         AV_CODEC_ID_MSRLE,   AV_CODEC_ID_LAGARITH,
        AV_CODEC_ID_R210,         AV_CODEC_ID_SVQ1,    AV_CODEC_ID_RV10,
        AV_CODEC_ID_INDEO5,       AV_CODEC_ID_EVRC,    AV_CODEC_ID_QCELP,
        AV_CODEC_ID_MLP,          AV_CODEC_ID_DVAUDIO, AV_CODEC_ID_MUSEPACK8,
    };
    static const struct {
        const char *name, *options;
    } made[] = {
        {"screen.avi", "-f lavfi -i testsrc2=s=64x64:d=0.2 -c:v zmbv"},
        {"flash.flv", "-f lavfi -i testsrc2=s=64x64:d=0.2 -c:v flashsv"},
        {"edited.mov", "-f lavfi -i testsrc2=s=64x64:d=0.2 -c:v r210"},
        {"old.mov", "-f lavfi -i testsrc2=s=64x64:d=0.2 -c:v svq1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        if (!format_decoder(ids[i]))
            fail_msg("no decoder of %s", avcodec_get_name(ids[i]));
    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        struct seen seen = {0};
        CLEANUP(reader_close)
        struct reader *r = open_ok(make_file(made[i].name, made[i].options), NULL);
        look_at(r, &seen);
        assert_int_equal(seen.n, 5);
    }
}

// A gallery's file with a byte changed is a picture or a reason.
static void test_changed_gallery(void **state)
{
    size_t size;
    make_file("few.webp", "-f lavfi -i testsrc2=s=32x32:r=20:d=0.2 -c:v libwebp_anim");
    CLEANUP(kb_freep) char *webp = load_bytes(make_path("few.webp"), &size);
    const struct {
        const void *data;
        size_t size;
    } files[] = {{red_heic, sizeof(red_heic)}, {webp, size}};
    for (size_t t = 0; t < ARRAY_LEN(files); t++) {
        for (size_t i = 0; i < files[t].size; i += 5) {
            CLEANUP(kb_freep) uint8_t *changed = malloc(files[t].size);
            memcpy(changed, files[t].data, files[t].size);
            changed[i] ^= (uint8_t)(i % 2 ? 0xff : 0x01);
            struct kb_error err = {0};
            CLEANUP(reader_close) struct reader *r = NULL;
            enum kb_code code =
                reader_open(&r, make_bytes("changed", changed, files[t].size), NULL, &err);
            while (code == KB_OK) {
                CLEANUP(av_frame_free) AVFrame *f = NULL;
                code = reader_next(r, &f, &err);
            }
            if (code != KB_EOF && (code != KB_BAD_INPUT || !err.text[0]))
                fail_msg("file %zu, byte %zu: code %d, %s", t, i, (int)code, err.text);
        }
    }
}

// A packet that says it has two gigabytes: that is the file's fault, not the machine's, which has
// no memory for it and would be asked again and again.
static void test_packet_beyond_memory(void **state)
{
    struct kb_error err = {0};
    size_t size;
    make_file("sizes.mp4", "-f lavfi -i testsrc2=s=64x64:r=25:d=0.4 -c:v libx264 -movflags "
                           "frag_keyframe+empty_moov");
    CLEANUP(kb_freep) char *film = load_bytes(make_path("sizes.mp4"), &size);
    char *sizes = memmem(film, size, "trun", 4);
    assert_non_null(sizes);
    memcpy(sizes + 20, "\x7f\xff\xff\xf0", 4); // of the first one, behind flags, number and place
    CLEANUP(reader_close) struct reader *r = NULL;
    enum kb_code code = reader_open(&r, make_bytes("lies.mp4", film, size), NULL, &err);
    if (code != KB_OK && code != KB_BAD_INPUT)
        fail_msg("code %d: %s", (int)code, err.text);
}

// Pictures that are shown for hours each, and together for longer than can be counted.
static void test_endless_webp(void **state)
{
    struct kb_error err = {0};
    size_t size;
    make_file("many.webp",
              "-f lavfi -i color=s=32x32:r=20:d=8,noise=alls=50:allf=t -c:v libwebp_anim");
    CLEANUP(kb_freep) char *webp = load_bytes(make_path("many.webp"), &size);
    int n = 0;
    for (char *p = webp; (p = memmem(p, size - (size_t)(p - webp), "ANMF", 4)); p += 8, n++)
        memset(p + 20, 0xff, 3);
    assert_true(n > 128);
    CLEANUP(reader_close) struct reader *r = NULL;
    const char *path = make_bytes("endless.webp", webp, size);
    assert_fails(err, KB_BAD_INPUT, "animated WebP", reader_open(&r, path, NULL, &err));
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

// Bytes that were changed anywhere may give an error or pictures, never a crash.
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),           cmocka_unit_test(test_changed_gallery),
        cmocka_unit_test(test_endless_webp),      cmocka_unit_test(test_broken_off),
        cmocka_unit_test(test_damaged),           cmocka_unit_test(test_packet_beyond_memory),
        cmocka_unit_test(test_rare_formats),      cmocka_unit_test(test_names_are_those_of_ffmpeg),
        cmocka_unit_test(test_old_and_odd_films),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
