// koubo bench as it is started: what it prints, not how fast it is.
#include "tests/test.h"

#include <jansson.h>
#include <sys/wait.h>

#include "nn/session.h"

// The exit status of koubo bench with these arguments; its standard output as JSON if there is one.
static int bench(const char *arguments, json_t **ret)
{
    const char *program = getenv("KOUBO_PROGRAM");
    assert_non_null(program);
    CLEANUP(kb_freep) char *command = kb_printf("exec '%s' bench -q %s", program, arguments);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    json_error_t error;
    *ret = json_loadf(f, 0, &error);
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_json(void **state)
{
    json_auto_t *figures = NULL;
    // What a processor cannot compute in is null, and the status says so.
    bool bf16 = precision_resolve(PRECISION_AUTO, false) == PRECISION_BF16;
    assert_int_equal(bench("--json --only network --repeat 1", &figures), bf16 ? 0 : 5);
    static const char *const numbers[] = {"network.wav2lip.f32.fps", "network.wav2lip.int8.fps",
                                          "machine.cores", "network.wav2lip.bf16.fps"};
    assert_true(bf16 || json_is_null(json_object_get(figures, numbers[3])));
    for (size_t i = 0; i < ARRAY_LEN(numbers) - !bf16; i++)
        if (!(json_number_value(json_object_get(figures, numbers[i])) > 0))
            fail_msg("%s is missing or not above 0", numbers[i]);
    assert_non_null(json_string_value(json_object_get(figures, "machine.cpu")));
    assert_non_null(json_string_value(json_object_get(figures, "machine.isa")));
    assert_int_equal(json_object_size(figures), 6); // nothing else was asked for
}

// The listener is many times as fast as speech, and a mouth takes no second.
static void test_rig(void **state)
{
    CLEANUP(kb_freep)
    char *arguments =
        kb_printf("--json --only rig --repeat 1 --clip '%s'", clip_path("grid_brbk7n.mpg"));
    json_auto_t *figures = NULL;
    assert_int_equal(bench(arguments, &figures), 0);
    static const char *const times[] = {"rig.720p_ms", "rig.1080p_ms"};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        double ms = json_number_value(json_object_get(figures, times[i]));
        if (!(ms > 0.05 && ms < 1000))
            fail_msg("%s is %g", times[i], ms);
    }
    assert_true(json_number_value(json_object_get(figures, "rig.listener.x")) > 2);
}

// What is drawn after the mouth: letters take some time, and no second.
static void test_finish(void **state)
{
    CLEANUP(kb_freep)
    char *arguments = kb_printf("--json --only finish.captions --repeat 1 --clip '%s'",
                                clip_path("grid_brbk7n.mpg"));
    json_auto_t *figures = NULL;
    assert_int_equal(bench(arguments, &figures), 0);
    double ms = json_number_value(json_object_get(figures, "finish.captions_ms"));
    assert_true(ms > 0 && ms < 1000);
}

static void test_clip(void **state)
{
    const char *clip = clip_path("grid_brbk7n.mpg");
    CLEANUP(kb_freep)
    char *arguments = kb_printf("--json --only stage.decode --repeat 1 --clip '%s'", clip);
    json_auto_t *figures = NULL;
    assert_int_equal(bench(arguments, &figures), 0);
    assert_true(json_number_value(json_object_get(figures, "stage.decode.fps")) > 0);
}

// A whole job gives its time and its peak of memory.
static void test_job(void **state)
{
    const char *clip = clip_path("grid_brbk7n.mpg");
    CLEANUP(kb_freep)
    char *arguments = kb_printf("--json --only job.720p_60s.cold --repeat 1 --clip '%s'", clip);
    json_auto_t *figures = NULL;
    assert_int_equal(bench(arguments, &figures), 0);
    assert_true(json_number_value(json_object_get(figures, "job.720p_60s.cold_s")) > 0);
    assert_true(json_number_value(json_object_get(figures, "memory.720p_mb")) > 30);
}

static void test_failures(void **state)
{
    static const struct {
        const char *arguments;
        int status;
    } cases[] = {
        {"--only nothing 2>/dev/null", 2},
        {"--repeat 0 2>/dev/null", 2},
        {"surplus 2>/dev/null", 2},
        {"--tune --json 2>/dev/null", 2},
        {"--clip nowhere.mp4 --only stage.decode 2>/dev/null", 3},
        {"--clip /dev/null --only stage.decode 2>/dev/null", 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_auto_t *figures = NULL;
        int status = bench(cases[i].arguments, &figures);
        if (status != cases[i].status)
            fail_msg("%s: exit status %d, not %d", cases[i].arguments, status, cases[i].status);
    }
}

// A measurement that fails costs its own figure and the exit status, nothing else.
static void test_partial(void **state)
{
    json_auto_t *figures = NULL;
    CLEANUP(kb_freep)
    char *arguments = kb_printf("--json --only stage.decode --repeat 1 --clip '%s' 2>/dev/null",
                                source_path("meson.build"));
    assert_int_equal(bench(arguments, &figures), 3);
    assert_true(json_is_null(json_object_get(figures, "stage.decode.fps")));
    assert_non_null(json_object_get(figures, "machine.cpu"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),    cmocka_unit_test(test_rig), cmocka_unit_test(test_finish),
        cmocka_unit_test(test_clip),    cmocka_unit_test(test_job), cmocka_unit_test(test_failures),
        cmocka_unit_test(test_partial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
