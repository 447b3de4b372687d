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

static void test_speaks(void **state)
{
    static const struct {
        const char *text, *voice;
        int speed;
        float at_least, at_most;
    } cases[] = {
        {"你好，欢迎使用口播。", NULL, 0, 1, 8},
        {"你好，欢迎使用口播。", "zh", 300, 0.5f, 6},
        {"Hello, this is a test of the voice.", NULL, 0, 1, 8},
        {"Hello, this is a test of the voice.", "en-us", 80, 2, 12},
        {"<b>混合</b> of both & \"quotes\" [[h@l]]", "cmn", 0, 0.5f, 15},
    };
    const char *path = make_path("说话 1.wav");
    float durations[ARRAY_LEN(cases)];
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        struct kb_error err = {0};
        assert_ok(err, voice_speak(path, cases[t].text, cases[t].voice, cases[t].speed, &err));
        durations[t] = duration_s(path);
        if (durations[t] < cases[t].at_least || durations[t] > cases[t].at_most)
            fail_msg("'%s': %g s", cases[t].text, durations[t]);
    }
    assert_true(durations[1] < durations[0]);
    assert_true(durations[3] > durations[2]);
}

static void test_refuses(void **state)
{
    struct kb_error err = {0};
    const char *path = make_path("no.wav");
    assert_fails(err, KB_BAD_INPUT, "no text", voice_speak(path, "", NULL, 0, &err));
    assert_fails(err, KB_BAD_INPUT, "no text", voice_speak(path, " \n\t", NULL, 0, &err));
    assert_fails(err, KB_BAD_INPUT, "no voice 'klingonese'",
                 voice_speak(path, "hello", "klingonese", 0, &err));
    assert_non_null(strstr(err.text, "af"));
    CLEANUP(kb_freep) char *text = kb_alloc(200001);
    memset(text, 'a', 200000);
    assert_fails(err, KB_BAD_INPUT, "cut it", voice_speak(path, text, NULL, 0, &err));
    assert_false(file_exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speaks),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
