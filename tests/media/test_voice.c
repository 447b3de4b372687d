#include "make.h"

#include "base/file.h"
#include "media/audio.h"
#include "media/voice.h"

static float duration_s(const char *path)
{
    struct kb_error err = {0};
    CLEANUP(audio_close) struct audio_reader *a = NULL;
    assert_ok(err, audio_open(&a, path, NULL, &err));
    float samples[4096], peak = 0;
    int64_t total = 0;
    int n;
    while (audio_read(a, samples, 4096, &n, &err) == KB_OK) {
        total += n;
        for (int i = 0; i < n; i++)
            peak = KB_MAX(peak, samples[i]);
    }
    assert_true(peak > 0.05f);
    return total / 16000.0f;
}

static void speak(const char *path, const char *text, const struct voice_params *p,
                  struct words *ret)
{
    struct kb_error err = {0};
    assert_ok(err, voice_speak(path, text, p, ret, &err));
}

static void test_speaks(void **state)
{
    static const struct {
        const char *text, *voice;
        double speed;
        float at_least, at_most;
    } cases[] = {
        {"你好，欢迎使用口播。", NULL, 0, 1, 8},
        {"你好，欢迎使用口播。", "zh", 2, 0.5f, 6},
        {"Hello, this is a test of the voice.", NULL, 0, 1, 8},
        {"Hello, this is a test of the voice.", "en-us", 0.5, 2, 12},
        {"<b>混合</b> of both & \"quotes\" [[h@l]]", "cmn", 0, 0.5f, 15},
    };
    const char *path = make_path("说话 1.wav");
    float durations[ARRAY_LEN(cases)];
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        const struct voice_params p = {.voice = cases[t].voice, .speed = cases[t].speed};
        speak(path, cases[t].text, &p, NULL);
        durations[t] = duration_s(path);
        if (durations[t] < cases[t].at_least || durations[t] > cases[t].at_most)
            fail_msg("'%s': %g s", cases[t].text, durations[t]);
    }
    assert_true(durations[1] < 0.65f * durations[0]);
    assert_true(durations[3] > 1.5f * durations[2]);
}

// The samples of a file of 22,050 Hz.
static int16_t *load_samples(const char *path, size_t *ret_n)
{
    size_t size;
    char *bytes = load_bytes(path, &size);
    int16_t *ret = malloc(size);
    *ret_n = (size - 44) / 2;
    memcpy(ret, bytes + 44, size - 44);
    free(bytes);
    return ret;
}

#define RATE 22050.0

// The loudest sample between two times.
static int loudest(const int16_t *samples, size_t n, double from_s, double to_s)
{
    int most = 0;
    for (size_t i = (size_t)(KB_MAX(from_s, 0) * RATE); i < n && (double)i < to_s * RATE; i++)
        most = KB_MAX(most, abs(samples[i]));
    return most;
}

// Each word is where something is heard; between sentences is the pause that was asked for.
static void test_words(void **state)
{
    static const char text[] =
        "你好，今天是2024年。价格是3.14元！\n\nDr. Smith isn't here: 50% off.";
    static const char *const words[] = {"你", "好",    "今",    "天",   "是",   "2024",
                                        "年", "价",    "格",    "是",   "3.14", "元",
                                        "Dr", "Smith", "isn't", "here", "50%",  "off"};
    CLEANUP(words_free) struct words w = {0};
    size_t n;
    const char *path = make_path("words.wav");
    const struct voice_params p = {.has_pause = true, .pause_ms = 800};
    speak(path, text, &p, &w);
    assert_string_equal(w.text, text);
    assert_int_equal(w.n, ARRAY_LEN(words));
    CLEANUP(kb_freep) int16_t *samples = load_samples(path, &n);
    double end_s = (double)n / RATE;
    for (int i = 0; i < w.n; i++) {
        const struct word *word = &w.list[i];
        double from = (double)word->begin_us / 1e6, to = (double)word->end_us / 1e6;
        if (word->n != strlen(words[i]) || memcmp(text + word->first, words[i], word->n) != 0)
            fail_msg("word %d is '%.*s'", i, (int)word->n, text + word->first);
        if (to - from < 0.05 || to - from > 2.5 || to > end_s + 0.001 ||
            loudest(samples, n, from, to) < 500)
            fail_msg("'%s' from %g to %g s", words[i], from, to);
    }
    const double pauses[][2] = {{6, 0.8}, {11, 1.6}}; // behind these words; a line has ended twice
    for (size_t k = 0; k < ARRAY_LEN(pauses); k++) {
        int last = (int)pauses[k][0];
        double from = (double)w.list[last].end_us / 1e6;
        double to = (double)w.list[last + 1].begin_us / 1e6;
        if (to - from < pauses[k][1] - 0.1 || to - from > pauses[k][1] + 0.1)
            fail_msg("a pause of %g s and not %g", to - from, pauses[k][1]);
        assert_true(loudest(samples, n, from + 0.03, to - 0.03) < 30);
    }
}

// Where sentences begin and end nothing jumps.
static void test_no_clicks(void **state)
{
    CLEANUP(words_free) struct words w = {0};
    size_t n;
    const char *path = make_path("clicks.wav");
    const struct voice_params p = {.voice = "en", .has_pause = true};
    speak(path, "One. Two! Three? Four.", &p, &w);
    CLEANUP(kb_freep) int16_t *samples = load_samples(path, &n);
    assert_int_equal(w.n, 4);
    for (int i = 0; i < w.n; i++) {
        size_t at = (size_t)((double)w.list[i].begin_us / 1e6 * RATE + 0.5);
        for (size_t k = at > 2 ? at - 2 : 0; k < at + 2; k++)
            assert_true(abs(samples[k]) < 100);
    }
    assert_true(abs(samples[0]) < 100 && abs(samples[n - 1]) < 100);
    // Without a pause one follows the other at once.
    for (int i = 0; i < 3; i++)
        assert_true(w.list[i + 1].begin_us - w.list[i].end_us < 60000);
}

static void test_refuses(void **state)
{
    struct kb_error err = {0};
    const char *path = make_path("no.wav");
    const struct voice_params klingon = {.voice = "klingonese"};
    struct cancel stop = {0};
    const struct voice_params stopped = {.cancel = &stop};
    assert_fails(err, KB_BAD_INPUT, "no text", voice_speak(path, "", NULL, NULL, &err));
    assert_fails(err, KB_BAD_INPUT, "no text", voice_speak(path, " \n\t…", NULL, NULL, &err));
    assert_fails(err, KB_BAD_INPUT, "not UTF-8", voice_speak(path, "a\xff", NULL, NULL, &err));
    assert_fails(err, KB_BAD_INPUT, "no voice 'klingonese'",
                 voice_speak(path, "hello", &klingon, NULL, &err));
    assert_non_null(strstr(err.text, "af"));
    CLEANUP(kb_freep) char *text = kb_alloc(200001);
    memset(text, 'a', 200000);
    assert_fails(err, KB_BAD_INPUT, "cut it", voice_speak(path, text, NULL, NULL, &err));
    cancel_request(&stop);
    assert_fails(err, KB_CANCELLED, "", voice_speak(path, "hello", &stopped, NULL, &err));
    assert_false(file_exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speaks),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_no_clicks),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
