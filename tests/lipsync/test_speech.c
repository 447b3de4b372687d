// What is said of a speech that is not as it should be.
#include "tests/media/make.h"

#include <math.h>

#include "base/log.h"
#include "lipsync/motion.h"
#include "lipsync/speech.h"
#include "media/voice.h"

#define TONE "-f lavfi -i sine=frequency=300:duration=3 "

// The lines of the log that hear of a file.
static char *log_of(const char *path)
{
    struct kb_error err = {0};
    const char *log = make_path("log");
    CLEANUP(mel_free) struct mel *mel = NULL;
    size_t size;
    unlink(log);
    assert_ok(err, log_open(make_dir, "log", false, 0, &err));
    assert_ok(err, speech_hear(&mel, path, "the speech", false, NULL, &err));
    log_close();
    return load_bytes(log, &size);
}

static void test_warnings(void **state)
{
    static const struct {
        const char *name, *options, *said; // NULL: nothing
    } cases[] = {
        {"good.wav", TONE, NULL},
        {"good.m4a", TONE "-c:a aac", NULL},
        {"good.mp3", TONE, NULL},
        {"late.mp4", "-f lavfi -i testsrc2=s=64x64:d=3 -itsoffset 0.5 " TONE "-c:v mpeg4 -c:a aac",
         NULL},
        {"hole.mkv", TONE "-af aselect='not(between(t,1,2))' -c:a pcm_s16le",
         "missing or damaged (1.0"},
        {"quiet.wav", TONE "-af volume=-50dB -c:a pcm_f32le", "very quiet (-7"},
        {"silent.wav", "-f lavfi -i anullsrc=d=1", "nothing is heard in 'the speech'"},
        {"nan.wav", TONE "-c:a pcm_f32le", "no numbers (1)"},
    };
    for (size_t t = 0; t < ARRAY_LEN(cases); t++) {
        const char *path = make_file(cases[t].name, cases[t].options);
        if (strcmp(cases[t].name, "nan.wav") == 0) {
            size_t size;
            CLEANUP(kb_freep) char *data = load_bytes(path, &size);
            const char *samples = memmem(data, size, "data", 4);
            memset((char *)samples + 8 + 4000, 0xff, 4);
            make_bytes(cases[t].name, data, size);
        }
        CLEANUP(kb_freep) char *log = log_of(path);
        const char *wanted = cases[t].said;
        if (wanted ? !strstr(log, wanted) || !strstr(log, "the speech") : log[0] != '\0')
            fail_msg("%s: the log says '%s'", cases[t].name, log);
    }
    // Where, in seconds.
    CLEANUP(kb_freep) char *log = log_of(make_path("hole.mkv"));
    const char *where = strstr(log, "for them: ");
    assert_non_null(where);
    double from = 0, to = 0;
    assert_int_equal(sscanf(where, "for them: %lf-%lf s", &from, &to), 2);
    assert_true(fabs(from - 1) < 0.05 && fabs(to - 2) < 0.05);
}

// A voice far away moves the lips as one that is near.
static void test_quiet_voice(void **state)
{
    struct kb_error err = {0};
    const char *voice = make_path("voice.wav");
    assert_ok(err, voice_speak(voice, "Where are we, and what is it about?",
                               &(struct voice_params){.voice = "en"}, NULL, &err));
    CLEANUP(motion_model_free) struct motion_model *model = NULL;
    assert_ok(err, motion_model_load(&model, NULL, 1, &err));
    struct motion *motions[2] = {0};
    for (int k = 0; k < 2; k++) {
        char options[1024];
        snprintf(options, sizeof(options), "-i %s -af volume=%ddB -c:a pcm_f32le", voice,
                 k ? -40 : -10);
        const char *path = make_file("level.wav", options);
        CLEANUP(mel_free) struct mel *mel = NULL;
        const struct watch quiet = {0};
        assert_ok(err, speech_hear(&mel, path, path, false, &quiet, &err));
        assert_ok(err, motion_run(&motions[k], model, mel, &quiet, &err));
    }
    float low[2], high[2];
    for (int k = 0; k < 2; k++)
        motion_range(motions[k], &low[k], &high[k]);
    if (high[0] < 0.02f || high[1] < 0.8f * high[0] || high[1] > 1.25f * high[0])
        fail_msg("the mouth opens to %g and %g", (double)high[0], (double)high[1]);
    motion_free(&motions[0]);
    motion_free(&motions[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_quiet_voice),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
