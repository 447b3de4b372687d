#include "make.h"

#include <math.h>

#include "media/audio.h"
#include "media/mel.h"

struct heard {
    int64_t n;
    double sum, peak, early; // of squares; early: of the first 0.4 s
};

static enum kb_code hear(const char *path, const struct audio_params *params, int piece,
                         struct heard *ret, struct kb_error *err)
{
    CLEANUP(audio_close) struct audio_reader *a = NULL;
    enum kb_code code = audio_open(&a, path, params, err);
    if (code != KB_OK)
        return code;
    *ret = (struct heard){0};
    float samples[4096];
    int n;
    while ((code = audio_read(a, samples, piece, &n, err)) == KB_OK) {
        assert_in_range(n, 1, piece);
        for (int i = 0; i < n; i++) {
            double x = samples[i];
            ret->sum += x * x;
            ret->peak = fmax(ret->peak, fabs(x));
            if (ret->n + i < 6400)
                ret->early += x * x;
        }
        ret->n += n;
    }
    return code == KB_EOF ? KB_OK : code;
}

static void test_formats(void **state)
{
    static const struct {
        const char *name, *options;
    } cases[] = {
        {"a.wav", ""},
        {"a8.wav", "-ac 1 -ar 8000 -c:a pcm_u8"},
        {"f32.wav", "-ac 2 -ar 96000 -c:a pcm_f32le"},
        {"5.1.wav", "-ac 6 -ar 48000"},
        {"a.mp3", "-ar 44100 -ac 2 -b:a 128k"},
        {"a.m4a", "-ar 44100 -ac 2"},
        {"a.aac", "-ar 32000"},
        {"a.flac", "-ar 22050"},
        {"a.ogg", "-ar 44100 -ac 2 -c:a libvorbis"},
        {"a.opus", "-c:a libopus -ar 48000"},
        {"a.wma", "-ar 44100"},
        {"带 空格'引号\".mp3", ""},
        {"-dash.wav", ""},
        {"http:..%03d*.flac", ""},
        {"noending", "-f wav"},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        char options[256];
        snprintf(options, sizeof(options), "-f lavfi -i sine=frequency=440:duration=2.5 %s",
                 cases[t].options);
        const char *path = make_file(cases[t].name, options);
        struct kb_error err = {0};
        struct heard heard;
        assert_ok(err, hear(path, NULL, t % 2 ? 777 : 4096, &heard, &err));
        // Codecs without a length of their own add up to two frames of padding.
        if (fabs(heard.n / 16000.0 - 2.5) > 0.15)
            fail_msg("%s: %g s", cases[t].name, heard.n / 16000.0);
        // ffmpeg's sine has an amplitude of 1/8.
        double rms = sqrt(heard.sum / heard.n);
        if (rms < 0.05 || rms > 0.15)
            fail_msg("%s: rms %g", cases[t].name, rms);
    }
}

static void test_exact_length(void **state)
{
    const char *path = make_file("exact.wav", "-f lavfi -i sine=duration=1.2345:sample_rate=48000");
    struct kb_error err = {0};
    struct heard heard;
    assert_ok(err, hear(path, NULL, 1, &heard, &err));
    assert_in_range(heard.n, 19752 - 1, 19752 + 1);
    assert_ok(err, hear(path, &(struct audio_params){.rate_hz = 48000}, 4096, &heard, &err));
    assert_int_equal(heard.n, 59256);
    CLEANUP(audio_close) struct audio_reader *a = NULL;
    assert_ok(err, audio_open(&a, path, NULL, &err));
    assert_in_range(audio_duration_us(a), 1234000, 1235000);
}

static void test_late_start_is_silence(void **state)
{
    static const char *const names[] = {"late.mkv", "late.mp4", "late.mov"};
    for (size_t t = 0; t < ARRAY_LEN(names); t++) {
        const char *path =
            make_file(names[t], "-f lavfi -i testsrc2=s=64x64:d=2 -itsoffset 0.5 -f lavfi -i "
                                "sine=duration=1.5 -c:v mpeg4 -c:a aac");
        struct kb_error err = {0};
        struct heard heard;
        assert_ok(err, hear(path, NULL, 1000, &heard, &err));
        if (fabs(heard.n / 16000.0 - 2) > 0.1 || heard.early > 0.01 || heard.sum < 1)
            fail_msg("%s: %g s, %g early, %g", names[t], heard.n / 16000.0, heard.early, heard.sum);
    }
}

static void test_loudnorm(void **state)
{
    static const char *const durations[] = {"0.4", "2", "8"};
    for (size_t t = 0; t < ARRAY_LEN(durations); t++) {
        char options[256];
        snprintf(options, sizeof(options),
                 "-f lavfi -i sine=duration=%s -af volume=-20dB -ar 44100", durations[t]);
        const char *path = make_file("quiet.wav", options);
        struct kb_error err = {0};
        struct heard before, after;
        assert_ok(err, hear(path, NULL, 4096, &before, &err));
        assert_ok(err, hear(path, &(struct audio_params){.loudnorm = true}, 4096, &after, &err));
        assert_in_range(after.n, before.n - 320, before.n + 320);
        // Loudness is measured over 400 ms; less cannot be normalised.
        if (t > 0 && after.sum / after.n < 10 * before.sum / before.n)
            fail_msg("%s s: %g -> %g", durations[t], before.sum, after.sum);
        assert_true(after.peak <= 1);
    }
}

static void test_refuses(void **state)
{
    struct kb_error err = {0};
    struct heard heard;
    const char *path = make_file("mute.mp4", "-f lavfi -i testsrc2=s=64x64:d=0.2 -c:v mpeg4");
    assert_fails(err, KB_BAD_INPUT, "has no sound", hear(path, NULL, 100, &heard, &err));
    path = make_bytes("empty.mp3", "", 0);
    assert_fails(err, KB_BAD_INPUT, "empty", hear(path, NULL, 100, &heard, &err));
    path = make_bytes("text.wav", "this is no sound at all\n", 24);
    assert_fails(err, KB_BAD_INPUT, "not an audio or video", hear(path, NULL, 100, &heard, &err));
    assert_fails(err, KB_NOT_FOUND, "nothing.wav",
                 hear(make_path("nothing.wav"), NULL, 100, &heard, &err));
    assert_fails(err, KB_BAD_INPUT, "folder", hear(make_dir, NULL, 100, &heard, &err));
    assert_fails(err, KB_NOT_FOUND, "http://127.0.0.1/a.mp3",
                 hear("http://127.0.0.1/a.mp3", NULL, 100, &heard, &err));

    struct cancel cancel = {0};
    cancel_request(&cancel);
    path = make_file("c.wav", "-f lavfi -i sine=duration=1");
    assert_fails(err, KB_CANCELLED, "cancelled",
                 hear(path, &(struct audio_params){.cancel = &cancel}, 100, &heard, &err));
}

// A playlist must not be a door to other files.
static void test_playlists_stay_closed(void **state)
{
    make_file("secret.wav", "-f lavfi -i sine=duration=1");
    make_file("secret.ts", "-f lavfi -i sine=duration=1 -c:a aac");
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"list.wav", "ffconcat version 1.0\nfile '%s/secret.wav'\n"},
        {"list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n%s/secret.ts\n"
                      "#EXT-X-ENDLIST\n"},
        {"list.mp3", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n%s/secret.ts\n"
                     "#EXT-X-ENDLIST\n"},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        char text[512];
        snprintf(text, sizeof(text), cases[t].text, make_dir);
        const char *path = make_bytes(cases[t].name, text, strlen(text));
        struct kb_error err = {0};
        struct heard heard;
        assert_fails(err, KB_BAD_INPUT, cases[t].name, hear(path, NULL, 100, &heard, &err));
    }
}

static int64_t last_done;

static void note(void *opaque, const struct progress *p)
{
    assert_int_equal(p->stage, STAGE_AUDIO);
    assert_true(p->done >= last_done);
    last_done = p->done;
    (*(int *)opaque)++;
}

static void test_mel_from_file(void **state)
{
    struct kb_error err = {0};
    int calls = 0;
    CLEANUP(mel_free) struct mel *m = NULL;
    const char *path = make_file("m.wav", "-f lavfi -i sine=duration=3:frequency=500 -ar 44100");
    assert_ok(err, mel_from_file(&m, path, false, &(struct watch){NULL, note, &calls}, &err));
    assert_in_range(mel_columns(m), 240, 242);
    assert_true(calls > 2);
    assert_int_equal(last_done, mel_columns(m));
    // The bands are (mel(7600) - mel(55)) / 81 = 0.54 mel apart from 0.83 mel on; 500 Hz is 7.5
    // mel.
    const float *column = mel_column(m, 100);
    int loudest = 0;
    for (int b = 0; b < MEL_BANDS; b++)
        if (column[b] > column[loudest])
            loudest = b;
    assert_in_range(loudest, 11, 12);

    path = make_file("short.wav", "-f lavfi -i sine=duration=0.03");
    CLEANUP(mel_free) struct mel *none = NULL;
    assert_fails(err, KB_BAD_INPUT, "short.wav", mel_from_file(&none, path, false, NULL, &err));
    assert_null(none);
}

// Bytes that were changed anywhere may give an error or a sound, never a crash.
static void test_damaged(void **state)
{
    static const char *const names[] = {"d.m4a", "d.mp3", "d.ogg", "d.flac", "d.wav"};
    uint32_t seed = 1;
    for (size_t t = 0; t < ARRAY_LEN(names); t++) {
        size_t size;
        const char *path = make_file(names[t], "-f lavfi -i sine=duration=0.5");
        CLEANUP(kb_freep) char *data = load_bytes(path, &size);
        for (int round = 0; round < 8; round++) {
            for (int i = 0; i < 12; i++) {
                seed = seed * 1664525 + 1013904223;
                size_t range = i % 2 && size > 400 ? 400 : size;
                data[(seed >> 8) % range] = (char)(seed >> 24);
            }
            make_bytes(names[t], data, size - (round % 4 == 3 ? size / 3 : 0));
            struct kb_error err = {0};
            struct heard heard;
            if (hear(path, NULL, 4096, &heard, &err) != KB_OK)
                assert_true(err.text[0] != '\0');
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_exact_length),
        cmocka_unit_test(test_late_start_is_silence),
        cmocka_unit_test(test_loudnorm),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_playlists_stay_closed),
        cmocka_unit_test(test_mel_from_file),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
