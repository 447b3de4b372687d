// Sounds as people have them: with holes, damaged, cancelling, beyond every scale. What is heard in
// a film is what its lips are made from.
#include "make.h"

#include <math.h>

#include "media/audio.h"
#include "media/mel.h"
#include "media/sound.h"
#include "media/writer.h"

#define RATE  16000
#define PIECE (RATE / 4)
#define REACH (RATE / 80) // how far a piece is looked for: 12 ms

// No piece of it is like another.
#define CHIRP "-f lavfi -i aevalsrc=0.3*sin(2*PI*(150*t+120*t*t))+0.1*sin(2*PI*(900*t+60*t*t)):d=5"
#define HOLE  " -af aselect='not(between(t,1.5,2.7))' "

struct heard {
    float *samples;
    int n;
};

static void heard_clear(struct heard *h)
{
    free(h->samples);
}

// The sound that lips are made from.
static struct heard hear(const char *path)
{
    struct kb_error err = {0};
    CLEANUP(audio_close) struct audio_reader *a = NULL;
    struct heard h = {.samples = malloc(40 * RATE * sizeof(float))};
    assert_non_null(h.samples);
    assert_ok(err, audio_open(&a, path, NULL, &err));
    enum kb_code code = KB_OK;
    for (int n; code == KB_OK && h.n < 39 * RATE; h.n += n) {
        code = audio_read(a, h.samples + h.n, 4096, &n, &err);
        n = code == KB_OK ? n : 0;
    }
    assert_int_equal(code, KB_EOF);
    for (int i = 0; i < h.n; i++)
        assert_true(isfinite(h.samples[i]));
    return h;
}

// What a player makes of a film, by its time stamps.
static struct heard play(const char *path)
{
    char options[1024];
    size_t size;
    snprintf(options, sizeof(options),
             "-i %s -vn -af aresample=async=1:min_hard_comp=0.01:first_pts=0 -ar %d -ac 1 -f f32le",
             path, RATE);
    float *samples = (float *)(void *)load_bytes(make_file("played.f32", options), &size);
    return (struct heard){samples, (int)(size / sizeof(float))};
}

static double square(const float *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

// Where is the piece of a at a sample found in b? Samples later, and how well.
static int find_piece(const struct heard *a, int at, const struct heard *b, double *ret_r)
{
    int found = 0;
    double here = square(a->samples + at, PIECE);
    *ret_r = -1;
    for (int lag = -REACH; lag <= REACH; lag++) {
        int from = at + lag;
        if (from < 0 || from + PIECE > b->n)
            continue;
        double sum = 0;
        for (int i = 0; i < PIECE; i++)
            sum += (double)a->samples[at + i] * (double)b->samples[from + i];
        double r = sum / sqrt(here * square(b->samples + from, PIECE));
        if (r > *ret_r) {
            *ret_r = r;
            found = lag;
        }
    }
    return found;
}

// A film of grey pictures as long as the sound.
static const char *make_film(const char *sound, const struct mel *mel, bool told)
{
    struct kb_error err = {0};
    const char *path = make_path("film.mp4");
    struct writer_params p = {.width = 64,
                              .height = 48,
                              .frame_rate = {25, 1},
                              .crf = 40,
                              .threads = 1,
                              .audio_path = sound,
                              .audio_facts = told ? mel_sound(mel) : NULL,
                              .max_duration_us = mel_duration_us(mel)};
    CLEANUP(writer_close) struct writer *w = NULL;
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    f->format = AV_PIX_FMT_YUV420P;
    f->width = p.width;
    f->height = p.height;
    assert_int_equal(av_frame_get_buffer(f, 0), 0);
    for (int k = 0; k < 3; k++)
        memset(f->data[k], 100, (size_t)f->linesize[k] * (k ? 24 : 48));
    assert_ok(err, writer_open(&w, path, &p, &err));
    for (f->pts = 0; f->pts < p.max_duration_us; f->pts += 40000) {
        FRAME_DURATION(f) = 40000;
        assert_ok(err, writer_put(w, f, &err));
    }
    assert_ok(err, writer_finish(w, &err));
    return path;
}

// Every piece of what lips were made from is in the film, in its place.
static void check_film(const char *sound, const struct mel *mel, bool told)
{
    CLEANUP(heard_clear) struct heard lips = hear(sound);
    CLEANUP(heard_clear) struct heard film = play(make_film(sound, mel, told));
    assert_int_equal((int64_t)lips.n * 1000000 / RATE, mel_duration_us(mel));
    if (film.n < lips.n - RATE / 50 || film.n > lips.n + RATE / 10)
        fail_msg("%s: %g s of lips, %g s of sound", sound, (double)lips.n / RATE,
                 (double)film.n / RATE);
    for (int at = 0; at + PIECE <= lips.n; at += PIECE) {
        double r;
        if (square(lips.samples + at, PIECE) < PIECE * 1e-5)
            continue;
        int lag = find_piece(&lips, at, &film, &r);
        if (abs(lag) > RATE / 500 || r < 0.9)
            fail_msg("%s (%d): the piece at %g s is %g ms off, correlation %g", sound, told,
                     (double)at / RATE, lag * 1000.0 / RATE, r);
    }
}

static struct mel *mel_of(const char *path)
{
    struct kb_error err = {0};
    struct mel *m = NULL;
    assert_ok(err, mel_from_file(&m, path, false, NULL, &err));
    return m;
}

static void check_sound(const char *path, double seconds, double missing)
{
    CLEANUP(mel_free) struct mel *mel = mel_of(path);
    const struct sound_facts *f = mel_sound(mel);
    double length = (double)mel_duration_us(mel) / 1e6;
    if (fabs(length - seconds) > 0.15 || fabs(f->missing_s - missing) > 0.15)
        fail_msg("%s: %g s, of which %g are missing", path, length, f->missing_s);
    if (missing > 0 && (f->n_holes < 1 || f->holes[0].at_s < 1 || f->holes[0].at_s > 2))
        fail_msg("%s: %d holes, the first at %g s", path, f->n_holes, f->holes[0].at_s);
    check_film(path, mel, true);
}

// What the time stamps say is missing is silence, whatever holds them; what they say otherwise is
// followed.
static void test_stamps(void **state)
{
    static const struct {
        const char *name, *options;
        double seconds, missing;
        bool copied;
    } cases[] = {
        {"hole.m4a", CHIRP HOLE "-c:a aac", 5, 1.2, true},
        {"hole.mkv", CHIRP HOLE "-c:a aac", 5, 1.2, true},
        {"hole.ts", CHIRP HOLE "-c:a aac", 5, 1.2, true},
        {"hole.flv", CHIRP HOLE "-c:a aac", 5, 1.2, true},
        {"parts.mp4",
         CHIRP HOLE "-c:a aac -movflags frag_keyframe+empty_moov -frag_duration 300000", 5, 1.2,
         true},
        {"hole.webm", CHIRP HOLE "-c:a libopus", 5, 1.2, false},
        {"hole.ogg", CHIRP HOLE "-c:a libopus", 5, 1.2, false},
        {"hole2.mkv", CHIRP HOLE "-ar 44100 -c:a libmp3lame", 5, 1.2, false},
        {"hole3.mkv", CHIRP HOLE "-c:a pcm_s16le", 5, 1.2, false},
        {"early.mkv", CHIRP " -c:a aac -output_ts_offset -0.5 -avoid_negative_ts disabled", 5, 0,
         true},
        {"early.mp4", CHIRP " -c:a aac -output_ts_offset -0.5 -avoid_negative_ts disabled", 4.5, 0,
         true},
        {"parts2.mp4", CHIRP " -c:a aac -movflags frag_keyframe+empty_moov+delay_moov", 5, 0, true},
        {"wrap.ts", CHIRP " -c:a aac -output_ts_offset 95441 -muxdelay 0", 5, 0, true},
        {"tremble.mkv",
         CHIRP " -c:a aac -bsf:a setts=pts=PTS+if(mod(N\\,7)\\,0\\,25*random(1)):dts=DTS", 5, 0,
         true},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        const char *path = make_file(cases[t].name, cases[t].options);
        check_sound(path, cases[t].seconds, cases[t].missing);
        if (!cases[t].copied)
            continue;
        CLEANUP(mel_free) struct mel *mel = mel_of(path);
        check_film(path, mel, false); // packets as they are stand in the same places
    }
}

static uint32_t next_random(uint32_t *seed)
{
    return (*seed = *seed * 1664525 + 1013904223) >> 8;
}

// Of about a second of AAC nothing but the headers is right.
static void test_damaged_frames(void **state)
{
    size_t size;
    uint32_t seed = 7;
    CLEANUP(kb_freep) char *data = load_bytes(make_file("whole.aac", CHIRP " -c:a aac"), &size);
    int frame = 0;
    for (size_t at = 0; at + 7 < size; frame++) {
        const uint8_t *h = (const uint8_t *)data + at;
        assert_int_equal(h[0], 0xff);
        size_t length = (size_t)((h[3] & 3) << 11 | h[4] << 3 | h[5] >> 5);
        double s = frame * 1024.0 / 44100;
        for (size_t i = at + 7; i < at + length && s > 1.5 && s < 2.5; i++)
            data[i] = (char)next_random(&seed);
        at += length;
    }
    check_sound(make_bytes("damaged.aac", data, size), 5, 1);
}

// A receiver that lost packets, and one that was stopped and started again.
static void test_transport_stream(void **state)
{
    size_t size;
    CLEANUP(kb_freep) char *data = load_bytes(make_file("whole.ts", CHIRP " -c:a aac"), &size);
    CLEANUP(kb_freep) char *less = malloc(2 * size);
    assert_non_null(less);
    size_t n = size / 188, first = n * 3 / 10, end = n / 2, rest = (n - end) * 188;
    memcpy(less, data, first * 188);
    memcpy(less + first * 188, data + end * 188, rest);
    check_sound(make_bytes("lost.ts", less, first * 188 + rest), 5, 1);

    memcpy(less, data, n / 2 * 188);
    memcpy(less + n / 2 * 188, data, n / 4 * 188);
    check_sound(make_bytes("twice.ts", less, (n / 2 + n / 4) * 188), 3.7, 0);
}

// --- of our own making ---

static void put(uint8_t *to, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

// A WAV file of float samples (frames times channels of them) at RATE, into ret: its size.
static size_t wav_bytes(uint8_t *ret, const float *samples, int frames, int channels)
{
    uint32_t bytes = (uint32_t)frames * (uint32_t)channels * 4;
    memcpy(ret, "RIFF....WAVEfmt ", 16);
    put(ret + 4, 36 + bytes, 4);
    put(ret + 16, 16, 4);
    put(ret + 20, 3, 2); // IEEE float
    put(ret + 22, (uint32_t)channels, 2);
    put(ret + 24, RATE, 4);
    put(ret + 28, RATE * (uint32_t)channels * 4, 4);
    put(ret + 32, (uint32_t)channels * 4, 2);
    put(ret + 34, 32, 2);
    memcpy(ret + 36, "data", 4);
    put(ret + 40, bytes, 4);
    memcpy(ret + 44, samples, bytes);
    return 44 + bytes;
}

static const char *make_wav(const char *name, const float *samples, int frames, int channels)
{
    static uint8_t bytes[44 + 8 * 2 * RATE * 4];
    assert_true(frames * channels <= 8 * 2 * RATE);
    return make_bytes(name, bytes, wav_bytes(bytes, samples, frames, channels));
}

static float chirp(int i)
{
    double t = (double)i / RATE;
    return (float)(0.3 * sin(2 * M_PI * (150 * t + 120 * t * t)));
}

#define SECONDS 3
#define FRAMES  (SECONDS * RATE)

static void test_no_numbers(void **state)
{
    float samples[FRAMES];
    for (int i = 0; i < FRAMES; i++)
        samples[i] = chirp(i);
    samples[1000] = NAN;
    samples[RATE] = INFINITY;
    samples[RATE + 1] = -INFINITY;
    samples[2 * RATE] = 1e30f;
    const char *path = make_wav("nan.wav", samples, FRAMES, 1);
    CLEANUP(mel_free) struct mel *mel = mel_of(path);
    assert_int_equal(mel_sound(mel)->n_bad, 4);
    check_film(path, mel, true);
    check_film(path, mel, false);
}

static float worst_difference(const struct mel *a, const struct mel *b)
{
    float worst = 0;
    assert_int_equal(mel_columns(a), mel_columns(b));
    for (int i = 0; i < mel_columns(a) * MEL_BANDS; i++)
        worst = fmaxf(worst, fabsf(mel_column(a, i / MEL_BANDS)[i % MEL_BANDS] -
                                   mel_column(b, i / MEL_BANDS)[i % MEL_BANDS]));
    return worst;
}

// Beyond 0 dB, up to the scale of 16-bit integers: scaled, not clipped.
static void test_above_full_scale(void **state)
{
    static const float scales[] = {4, 32768 / 0.3f};
    float samples[FRAMES];
    for (int i = 0; i < FRAMES; i++)
        samples[i] = chirp(i) / 0.3f;
    CLEANUP(mel_free) struct mel *full = mel_of(make_wav("full.wav", samples, FRAMES, 1));
    for (size_t t = 0; t < ARRAY_LEN(scales); t++) {
        float loud[FRAMES];
        for (int i = 0; i < FRAMES; i++)
            loud[i] = samples[i] * scales[t];
        const char *path = make_wav("loud.wav", loud, FRAMES, 1);
        CLEANUP(mel_free) struct mel *mel = mel_of(path);
        assert_true(worst_difference(mel, full) < 0.02f);
        check_film(path, mel, true);
        CLEANUP(heard_clear) struct heard film = play(make_path("film.mp4"));
        float peak = 0;
        for (int i = 0; i < film.n; i++)
            peak = fmaxf(peak, fabsf(film.samples[i]));
        if (peak < 0.9f || peak > 1.1f)
            fail_msg("times %g: the loudest is %g", (double)scales[t], (double)peak);
    }
}

// One sample of rubbish, as large as it likes, does not make the speech inaudible.
static void test_click(void **state)
{
    float samples[FRAMES];
    for (int i = 0; i < FRAMES; i++)
        samples[i] = chirp(i);
    samples[RATE] = 1e4f;
    const char *path = make_wav("click.wav", samples, FRAMES, 1);
    CLEANUP(mel_free) struct mel *mel = mel_of(path);
    make_film(path, mel, true);
    CLEANUP(heard_clear) struct heard film = play(make_path("film.mp4"));
    double loud = sqrt(square(film.samples + 2 * RATE, PIECE) / square(samples + 2 * RATE, PIECE));
    if (loud < 0.05)
        fail_msg("the speech is %g times as loud as it was", loud);
}

// Two channels that are opposites, whole or in part: heard as one alone.
static void test_opposite_channels(void **state)
{
    static const float rights[] = {-1, -0.8f, -1.1f};
    float one[FRAMES], two[2 * FRAMES];
    for (int i = 0; i < FRAMES; i++)
        one[i] = i < RATE / 2 ? 0 : chirp(i);
    for (size_t t = 0; t < ARRAY_LEN(rights); t++) {
        float louder = fmaxf(1, -rights[t]);
        for (int i = 0; i < FRAMES; i++) {
            two[2 * i] = one[i] / louder;
            two[2 * i + 1] = one[i] * rights[t] / louder;
        }
        CLEANUP(mel_free) struct mel *plain = mel_of(make_wav("one.wav", one, FRAMES, 1));
        CLEANUP(mel_free) struct mel *mel = mel_of(make_wav("two.wav", two, FRAMES, 2));
        float worst = worst_difference(mel, plain);
        if (worst > 0.02f)
            fail_msg("right = %g left: off by %g", (double)rights[t], (double)worst);
    }
    // Everybody's mean where nothing cancels: another voice on either side.
    for (int i = 0; i < FRAMES; i++) {
        float other = 0.2f * sinf(0.2f * (float)i);
        two[2 * i] = one[i];
        two[2 * i + 1] = other;
        one[i] = (one[i] + other) / 2;
    }
    CLEANUP(mel_free) struct mel *mean = mel_of(make_wav("mean.wav", one, FRAMES, 1));
    CLEANUP(mel_free) struct mel *both = mel_of(make_wav("both.wav", two, FRAMES, 2));
    assert_true(worst_difference(mean, both) < 0.01f);
}

// A program that copies files one behind the other makes one sound of them.
static void test_joined(void **state)
{
    static uint8_t bytes[2 * (44 + FRAMES * 4 * 2)];
    float samples[2 * FRAMES];
    for (int i = 0; i < 2 * FRAMES; i++)
        samples[i] = chirp(i / 2);
    size_t half = wav_bytes(bytes, samples, FRAMES, 2);
    size_t size = half + wav_bytes(bytes + half, samples + FRAMES, FRAMES / 2, 2);
    const char *path = make_bytes("joined.wav", bytes, size);
    CLEANUP(mel_free) struct mel *mel = mel_of(path);
    assert_int_equal(mel_duration_us(mel), SECONDS * 1500000);
    check_film(path, mel, true);

    // Where a length is not said all that follows is samples, once.
    size_t streams = half;
    for (int i = 0; i < 50; i++)
        streams += wav_bytes(bytes + streams, samples, 0, 2);
    CLEANUP(mel_free) struct mel *long_one = mel_of(make_bytes("streams.wav", bytes, streams));
    assert_true(mel_duration_us(long_one) <= (int64_t)streams / 8 * 1000000 / RATE);

    // What follows is no sound.
    size = half + 30;
    CLEANUP(mel_free) struct mel *cut = mel_of(make_bytes("cut.wav", bytes, size));
    assert_int_equal(mel_duration_us(cut), SECONDS * 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stamps),
        cmocka_unit_test(test_damaged_frames),
        cmocka_unit_test(test_transport_stream),
        cmocka_unit_test(test_no_numbers),
        cmocka_unit_test(test_above_full_scale),
        cmocka_unit_test(test_click),
        cmocka_unit_test(test_opposite_channels),
        cmocka_unit_test(test_joined),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
