// How far a text that is laid along a speech is off, against the voice that knows.
#include "tests/test.h"

#include "lipsync/spoken.h"
#include "media/voice.h"

#include <math.h>

static const char *const texts[] = {
    "大家好，欢迎来到今天的课程。我们将用三分钟，学会怎样制作口播视频。首先准备一段语音，再准备一个"
    "人物的视频；"
    "然后点击开始，等待几分钟就可以了！这个软件完全免费吗？是的，完全免费，也不需要显卡。",
    "Hello everyone, and welcome to this course. Today we learn how a video is made from a text "
    "alone, "
    "with a voice and with lips that say it. It takes three minutes; you need no graphics card.",
    "新版本支持 GPU 和 CPU 两种方式，速度提高了 30%。Please open the page, 然后选择 video "
    "文件，等待 5 分钟。",
};

static const char *voice_of(size_t i)
{
    return i == 1 ? "en" : "zh";
}

// Seconds that the beginnings of words are off: mean, and of the worst tenth the least.
static void compare(const struct words *told, const struct words *found, double *ret_mean,
                    double *ret_worst)
{
    double off[1000], sum = 0;
    int n = 0;
    for (int i = 0, k = 0; i < told->n && n < 1000; i++) {
        while (k < found->n && found->list[k].first < told->list[i].first)
            k++;
        if (k == found->n || found->list[k].first != told->list[i].first)
            continue;
        double d = fabs((double)(found->list[k].begin_us - told->list[i].begin_us)) / 1e6;
        int at = n++;
        for (; at > 0 && off[at - 1] > d; at--)
            off[at] = off[at - 1];
        off[at] = d;
        sum += d;
    }
    assert_true(n > 10);
    *ret_mean = sum / n;
    *ret_worst = off[n * 9 / 10];
}

static void test_error(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        char path[] = "/tmp/koubo-spoken-XXXXXX";
        struct kb_error err = {0};
        CLEANUP(words_free) struct words told = {0}, found = {0};
        CLEANUP(mel_free) struct mel *mel = NULL;
        double mean, worst;
        close(mkstemp(path));
        assert_ok(err, voice_speak(path, texts[i], &(struct voice_params){.voice = voice_of(i)},
                                   &told, &err));
        assert_ok(err, mel_from_file(&mel, path, false, NULL, &err));
        unlink(path);
        struct cancel cancel = {.requested = true};
        assert_fails(err, KB_CANCELLED, "", spoken_align(&found, texts[i], mel, &cancel, &err));
        assert_ok(err, spoken_align(&found, texts[i], mel, NULL, &err));
        compare(&told, &found, &mean, &worst);
        print_message(
            "# text %zu: %d words, off by %.3f s in the mean, a tenth by more than %.3f s\n", i,
            found.n, mean, worst);
        assert_true(mean < 0.3 && worst < 0.6);
        for (int k = 1; k < found.n; k++)
            assert_true(found.list[k].begin_us >= found.list[k - 1].begin_us &&
                        found.list[k].end_us >= found.list[k].begin_us);
    }
}

static void test_nothing(void **state)
{
    struct kb_error err = {0};
    struct words found = {0};
    CLEANUP(mel_free) struct mel *mel = mel_create();
    static const float silence[16000];
    assert_ok(err, mel_feed(mel, silence, 16000, &err));
    assert_ok(err, mel_finish(mel, &err));
    assert_fails(err, KB_BAD_INPUT, "no voice", spoken_align(&found, "你好", mel, NULL, &err));
    assert_fails(err, KB_BAD_INPUT, "no words", spoken_align(&found, "……", mel, NULL, &err));
    assert_null(found.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_error),
                                       cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
