// Pieces one after the other, to the sample; music that goes on, is heard in pauses and gives way.
#include "../test.h"

#include "media/loudness.h"
#include "media/mix.h"

#include <math.h>

#define RATE 48000

static char folder[] = "/tmp/koubo-mix-XXXXXX";
static char speech[64], music[64], silent[64], brief[64];

// A WAV of 16 bits, interleaved.
static void write_wav(char *path, const char *name, int rate, int channels, int n,
                      const int16_t *samples)
{
    snprintf(path, 64, "%s/%s", folder, name);
    uint32_t bytes = (uint32_t)n * (uint32_t)channels * 2;
    const struct {
        char riff[4];
        uint32_t size;
        char wave[8];
        uint32_t header;
        uint16_t format, channels;
        uint32_t rate, byte_rate;
        uint16_t block, bits;
        char data[4];
        uint32_t bytes;
    } h = {"RIFF",
           36 + bytes,
           "WAVEfmt ",
           16,
           1,
           (uint16_t)channels,
           (uint32_t)rate,
           (uint32_t)(rate * channels * 2),
           (uint16_t)(channels * 2),
           16,
           "data",
           bytes};
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(&h, 44, 1, f), 1);
    assert_int_equal(fwrite(samples, 2, (size_t)n * (size_t)channels, f),
                     (size_t)n * (size_t)channels);
    fclose(f);
}

static int set_up(void **state)
{
    static int16_t s[2 * 5 * RATE];
    if (!mkdtemp(folder))
        return -1;
    // 6 s: a second of a voice (a buzz of 130 Hz), a second of nothing, and so on
    for (int i = 0; i < 6 * 16000; i++)
        s[i] = (int16_t)(i / 16000 % 2 == 0 ? 9000 * fmod(i * 130 / 16000., 1) - 4500 : 0);
    write_wav(speech, "speech.wav", 16000, 1, 6 * 16000, s);
    memset(s, 0, sizeof(s));
    write_wav(silent, "silent.wav", 16000, 1, 16000, s);
    // 5 s: 440 Hz on the left, 660 on the right
    for (int i = 0; i < 5 * RATE; i++) {
        s[2 * i] = (int16_t)(12000 * sin(2 * M_PI * 440 * i / RATE));
        s[2 * i + 1] = (int16_t)(12000 * sin(2 * M_PI * 660 * i / RATE));
    }
    write_wav(music, "music.wav", RATE, 2, 5 * RATE, s);
    write_wav(brief, "brief.wav", RATE, 2, RATE / 2, s);
    return 0;
}

static int tear_down(void **state)
{
    unlink(speech);
    unlink(music);
    unlink(silent);
    unlink(brief);
    return rmdir(folder);
}

struct heard {
    float *side[2];
    int n;
};

static void heard_clear(struct heard *h)
{
    free(h->side[0]);
    free(h->side[1]);
}

static struct heard hear(const struct mix_params *p)
{
    struct kb_error err = {0};
    CLEANUP(mix_close) struct mix *m = NULL;
    CLEANUP(av_frame_free) AVFrame *f = av_frame_alloc();
    struct heard h = {{kb_alloc(40 * RATE * 4), kb_alloc(40 * RATE * 4)}, 0};
    assert_ok(err, mix_open(&m, p, &err));
    enum kb_code code;
    while ((code = mix_next(m, f, &err)) == KB_OK) {
        assert_true(h.n + f->nb_samples < 40 * RATE);
        for (int c = 0; c < 2; c++)
            memcpy(h.side[c] + h.n, f->extended_data[c], (size_t)f->nb_samples * 4);
        h.n += f->nb_samples;
        av_frame_unref(f);
    }
    if (code != KB_EOF)
        fail_msg("%s", err.text);
    return h;
}

// How much of a tone there is from one second to another, in dB.
static double tone(const struct heard *h, int side, double hz, double from, double to)
{
    double re = 0, im = 0;
    int first = (int)(from * RATE), n = (int)((to - from) * RATE);
    for (int i = 0; i < n; i++) {
        double a = 2 * M_PI * hz * i / RATE, hann = 1 - cos(2 * M_PI * i / n);
        re += hann * cos(a) * (double)h->side[side][first + i];
        im += hann * sin(a) * (double)h->side[side][first + i];
    }
    return 20 * log10(2 * sqrt(re * re + im * im) / n + 1e-9);
}

static double loudest(const struct heard *h, double from, double to)
{
    double most = 0;
    for (int i = (int)(from * RATE); i < (int)(to * RATE) && i < h->n; i++)
        most = fmax(most, fmax(fabs((double)h->side[0][i]), fabs((double)h->side[1][i])));
    return most;
}

static void test_pieces_are_as_long_as_their_pictures(void **state)
{
    const struct mix_params p = {.pieces = {{.path = music, .length_us = 1234567},
                                            {.path = speech, .length_us = 6500000},
                                            {.length_us = 333333}},
                                 .n_pieces = 3,
                                 .speech = 1};
    CLEANUP(heard_clear) struct heard h = hear(&p);
    assert_int_equal(h.n, 387259); // 8.067900 s
    int begin = 59259;             // 1.234567 s
    // The music is cut softly, the voice begins at its sample.
    assert_true(fabs((double)h.side[0][begin - 1]) < 0.01);
    assert_true(loudest(&h, 1.2, 1.22) > 0.3);
    assert_true(fabs((double)h.side[0][begin + 20]) > 0.1);
    assert_true(loudest(&h, 1.234567 + 1.02, 1.234567 + 1.98) < 0.001);
    assert_true(loudest(&h, 1.234567 + 6.0, 8.0679) < 0.001);
    // A voice of one channel is as loud in both.
    assert_true(h.side[0][begin + 500] == h.side[1][begin + 500]);
    assert_true(loudest(&h, 1.3, 2.2) < 0.2 && loudest(&h, 1.3, 2.2) > 0.12);
}

static void test_music_gives_way(void **state)
{
    struct mix_params p = {
        .pieces = {{.length_us = 1000000},
                   {.path = speech, .length_us = 18000000},
                   {.path = silent, .length_us = 1000000}},
        .n_pieces = 3,
        .speech = 1,
        .music = {.path = music, .volume = 0.5f, .from_us = 1000000, .to_us = 19000000}};
    CLEANUP(heard_clear) struct heard h = hear(&p);
    assert_int_equal(h.n, 20 * RATE);
    // Nothing of it outside its time, little where it fades.
    assert_true(loudest(&h, 0, 0.99) < 0.0001);
    assert_true(loudest(&h, 19.05, 20) < 0.0001);
    double full = tone(&h, 0, 440, 10, 13); // the speech is over
    assert_true(tone(&h, 0, 440, 18.7, 19) < full - 6);
    // Both sides stay what they are.
    assert_true(tone(&h, 1, 660, 10, 13) > full - 1 && tone(&h, 1, 440, 10, 13) < full - 40);
    // 12 dB below the speech; under it at least 6 dB less, in a pause of a second it comes back.
    assert_true(tone(&h, 0, 440, 3.3, 3.9) < full - 6);
    assert_true(tone(&h, 0, 440, 2.8, 2.99) > tone(&h, 0, 440, 3.3, 3.9) + 2);
    // The speech is where it was: lips.
    int first = RATE + RATE / 10;
    while (first < h.n && fabs((double)h.side[0][first]) > 0.02)
        first++;
    assert_true(first < 2.1 * RATE);
    // The loops leave no gap, and the seams are not louder.
    for (double at = 9.2; at < 16.5; at += 0.1) {
        double now = tone(&h, 0, 440, at, at + 0.1);
        assert_true(now > full - 8 && now < full + 4);
    }
    // Without ducking it stays.
    p.music.steady = true;
    CLEANUP(heard_clear) struct heard steady = hear(&p);
    assert_int_equal(steady.n, 20 * RATE);
    assert_true(fabs(tone(&steady, 0, 440, 3.3, 3.9) - tone(&steady, 0, 440, 10, 13)) < 1.5);
    // Where the samples lie tells delays: the voice alone, with it, at the same time.
    int edge = 3 * RATE; // a second of silence before it
    assert_true(fabs((double)steady.side[0][edge + 200] - (double)h.side[0][edge + 200]) < 0.06);
}

static void test_how_loud_the_music_is(void **state)
{
    struct kb_error err = {0};
    double voice = 0, tune = 0, none = 0;
    assert_ok(err, loudness_of(&voice, speech, 0, NULL, &err));
    assert_ok(err, loudness_of(&tune, music, 0, NULL, &err));
    assert_ok(err, loudness_of(&none, silent, 0, NULL, &err));
    assert_true(none <= LOUDNESS_SILENT);
    struct mix_params p = {
        .pieces = {{.path = speech, .length_us = 12000000}},
        .n_pieces = 1,
        .music = {.path = music, .volume = 0.5f, .steady = true, .to_us = 12000000}};
    CLEANUP(heard_clear) struct heard h = hear(&p);
    // The file's tone is 12000 / 32768 high; it is moved to 12 dB below the voice.
    double wanted = 20 * log10(12000 / 32768.) + voice - 12.04 - tune;
    assert_true(fabs(tone(&h, 0, 440, 5.2, 6.8) - wanted) < 0.3); // between two seams
    p.music.volume = 0;
    CLEANUP(heard_clear) struct heard without = hear(&p);
    assert_true(loudest(&without, 7, 9) < 0.0001);
}

static void test_nothing_clips(void **state)
{
    const struct mix_params p = {
        .pieces = {{.path = music, .length_us = 8000000, .gain = 2.6f}},
        .n_pieces = 1,
        .music = {.path = brief, .volume = 1, .steady = true, .to_us = 8000000}};
    CLEANUP(heard_clear) struct heard h = hear(&p);
    assert_int_equal(h.n, 8 * RATE);
    assert_true(loudest(&h, 0, 8) < 0.86 && loudest(&h, 2, 4) > 0.7);
}

static void test_what_is_no_music(void **state)
{
    struct kb_error err = {0};
    struct mix *m = NULL;
    struct mix_params p = {.pieces = {{.path = speech, .length_us = 1000000}},
                           .n_pieces = 1,
                           .music = {.path = "/nowhere", .volume = 1, .to_us = 1000000}};
    assert_fails(err, KB_NOT_FOUND, "/nowhere", mix_open(&m, &p, &err));
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_as_long_as_their_pictures),
        cmocka_unit_test(test_music_gives_way),
        cmocka_unit_test(test_how_loud_the_music_is),
        cmocka_unit_test(test_nothing_clips),
        cmocka_unit_test(test_what_is_no_music),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
