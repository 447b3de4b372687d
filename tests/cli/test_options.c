// Help, usage errors, languages: everything that needs no media.
#include "tests/cli/program.h"

static void help_lists_every_option(void **state)
{
    static const struct {
        const char *command;
        const char *options[48];
    } table[] = {
        {"generate",
         {"-a, --audio",    "-i, --input",  "-o, --output",   "-y, --overwrite", "--text",
          "--voice",        "--model",      "--precision",    "--batch-size",    "--threads",
          "--face",         "--pads",       "--nosmooth",     "--loop",          "--keep-video",
          "--start",        "--duration",   "--height",       "--denoise",       "--loudnorm",
          "--crf",          "--preset",     "--bitrate",      "--mask-feather",  "--mask-dilate",
          "--sharpen",      "--track-dir",  "--preprocessed", "--no-cache",      "--progress",
          "-v, --verbose",  "-q, --quiet",  "--lang",         "-h, --help",      "--usage",
          "--mouth-amount", "--mouth-from", "--style-from",   "--still-motion",  "--paint",
          "--hdr",          "--face-at"}},
        {"batch",
         {"-a, --audio", "-i, --input", "-o, --output", "-f, --force", "--text", "--voice",
          "--model", "--face", "--face-at", "--pads", "--loop", "--crf", "--track-dir",
          "--preprocessed", "--sharpen", "--progress", "--lang"}},
        {"preprocess",
         {"-i, --input", "-o, --output", "-f, --force", "--learn-style", "--model", "--threads",
          "--progress", "--lang"}},
        {"dataset", {"-i, --input", "-o, --output", "--face", "--threads", "--progress"}},
        {"clean", {"--data=FOLDER", "$KOUBO_DATA", "--keep-days", "--lost", "--dry-run", "--lang"}},
        {"restore", {"--data=FOLDER", "$KOUBO_DATA", "--dry-run", "--lang"}},
        {"doctor",
         {"--data=FOLDER", "$KOUBO_DATA", "--port", "--json", "--lang", "--cluster=URL",
          "--depot=URL"}},
        {"eval", {"--truth", "--sync", "--json", "--threads", "--progress"}},
        {"bench", {"--json", "--only"}},
        {"demo", {"-i, --input", "-o, --output", "--text"}},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        RUN(&r, table[i].command, "--help");
        assert_status(&r, 0);
        for (int k = 0; table[i].options[k]; k++)
            assert_says(r.out, table[i].options[k]);
    }
    RUN(&r, "model", "run", "--help");
    assert_status(&r, 0);
    assert_says(r.out, "--input");
    assert_says(r.out, "--output-name");
    assert_says(r.out, "--precision");
    RUN(&r, "model", "quantize", "--help");
    assert_status(&r, 0);
    assert_says(r.out, "--input");
    assert_says(r.out, "OUT.safetensors");
    free(r.out);
    free(r.err);
}

static void help_says_defaults(void **state)
{
    struct outcome r = {0};
    RUN(&r, "generate", "--help");
    assert_says(r.out, "default: 18");
    assert_says(r.out, "pingpong");
    assert_says(r.out, "0 10");
    free(r.out);
    free(r.err);
}

static void every_command_is_listed(void **state)
{
    static const char *const commands[] = {"generate", "batch", "preprocess", "model",
                                           "eval",     "bench", "demo"};
    struct outcome r = {0};
    RUN(&r, "--help");
    assert_status(&r, 0);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        assert_says(r.out, commands[i]);
    RUN(&r, "--version");
    assert_status(&r, 0);
    assert_says(r.out, "koubo ");
    assert_int_equal(count_lines(r.out), 1);
    free(r.out);
    free(r.err);
}

static void version_names_what_koubo_stands_on(void **state)
{
    static const char *const says[] = {"koubo ",    "\ncommit ",        "\ncompiler ",
                                       "\nFFmpeg ", "avcodec ",         "\noneDNN ",
                                       "\nSQLite ", "\nlibmicrohttpd ", "\nlibcurl "};
    static const char *const verbose[] = {"-v", "--verbose"};
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(verbose); i++) {
        RUN(&r, "--version", verbose[i]);
        assert_status(&r, 0);
        for (size_t k = 0; k < ARRAY_LEN(says); k++)
            assert_says(r.out, says[k]);
    }
    free(r.out);
    free(r.err);
}

static void wrong_options_are_exit_code_2(void **state)
{
    static const struct {
        const char *arguments[14];
        const char *says;
    } table[] = {
        {{"genrate"}, "did you mean 'generate'"},
        {{"xyzzy"}, "there is no command 'xyzzy'"},
        {{"--lang", "fr"}, "there is no language 'fr'"},
        {{"generate"}, "no"},
        {{"generate", "-a", "a", "-i", "v"}, "no output"},
        {{"generate", "-i", "v", "-o", "o"}, "no speech"},
        {{"generate", "-a", "a", "-o", "o"}, "no video"},
        {{"generate", "-a", "a", "--text", "t", "-i", "v", "-o", "o"}, "two speeches"},
        {{"generate", "-a", "a", "--voice", "t", "-i", "v", "-o", "o"}, "--voice needs --text"},
        {{"generate", "-a", "a", "-i", "v", "-o", "o", "--logo-size", "0.2"}, "needs --logo"},
        {{"generate", "-a", "a", "-i", "v", "-o", "o", "--music-duck", "no"}, "needs --music"},
        {{"generate", "-a", "a", "-i", "v", "-o", "o", "--background-key", "green"},
         "--background"},
        {{"generate", "-a", "a", "-i", "v", "-o", "o", "--preview=99"}, "--preview takes a number"},
        {{"generate", "-a", "a", "-i", "v", "o", "p"}, "'p' is one argument too many"},
        {{"generate", "--nonsense"}, "--nonsense"},
        {{"generate", "--crf", "52"}, "--crf takes a whole number from 0 to 51, not '52'"},
        {{"generate", "--crf", "x"}, "--crf takes"},
        {{"generate", "--preset", "quick"}, "ultrafast, superfast"},
        {{"generate", "--hdr", "on"}, "sdr, keep"},
        {{"generate", "--loop", "round"}, "pingpong, restart, freeze, none"},
        {{"generate", "--face", "nose"}, "largest, left"},
        {{"generate", "--face-at", "0.5"}, "--face-at takes two numbers from 0 to 1"},
        {{"batch", "--face-at", "320,200"}, "not '320,200'"},
        {{"generate", "--face-at", "0.5,0.5,soon"}, "seconds: 0.25,0.4,12.5; not '0.5,0.5,soon'"},
        {{"generate", "-a", "a", "-i", "v", "--face-at", "0.5,0.5,1"}, "no output"}, // understood
        {{"generate", "--precision", "f64"}, "auto, f32, bf16"},
        {{"generate", "--pads", "0", "10"}, "four whole numbers"},
        {{"generate", "--pads", "0,10,0"}, "four whole numbers"},
        {{"generate", "--pads", "0", "10", "x", "0"}, "four whole numbers"},
        {{"generate", "--start", "soon"}, "HH:MM:SS"},
        {{"generate", "--start", "-1"}, "HH:MM:SS"},
        {{"generate", "--duration", "0"}, "more than 0"},
        {{"generate", "--sharpen", "9"}, "--sharpen takes a number"},
        {{"generate", "--sharpen", "nan"}, "--sharpen takes a number"},
        {{"generate", "--paint", "maybe"}, "--paint takes one of yes, no"},
        {{"generate", "--mask-feather", "-1"}, "--mask-feather takes"},
        {{"generate", "--height", "1"}, "--height takes"},
        {{"generate", "--batch-size", "0"}, "--batch-size takes"},
        {{"generate", "--threads", "0"}, "--threads takes"},
        {{"generate", "--bitrate", "5M"}, "source"},
        {{"generate", "--progress", "loud"}, "bar, lines, json, none"},
        {{"generate", "-a", "a", "-i", "v", "-o", "o", "--crf", "3", "--bitrate", "source"},
         "exclude each other"},
        {{"generate", "-a", "a", "-i", "v", "-o", "o", "--no-cache", "--track-dir", "d"},
         "exclude each other"},
        {{"batch", "-a", "a", "-o", "o"}, "no videos"},
        {{"batch", "-a", "a", "v"}, "no output"},
        {{"preprocess"}, "no videos"},
        {{"dataset", "-o", "d"}, "no videos"},
        {{"dataset", "v"}, "no folder for the training data"},
        {{"dataset", "v", "-o", "d", "--face", "nose"}, "largest, left"},
        {{"dataset", "v", "-o", "d", "--threads", "0"}, "--threads takes"},
        {{"preprocess", "v", "--threads", "x"}, "--threads takes"},
        {{"eval", "--threads", "0"}, "--threads takes"},
        {{"clean", "x"}, "takes options only"},
        {{"restore", "x"}, "takes options only"},
        {{"doctor", "x"}, "takes options only"},
        {{"eval", "v"}, "no true video"},
        {{"eval", "--truth", "v"}, "no video"},
        {{"eval", "--sync", "v", "--truth", "w"}, "--sync looks at one video"},
        {{"eval", "--sync", "v", "w"}, "--sync looks at one video"},
        {{"model"}, ""},
        {{"model", "lst"}, "there is no command 'model lst'"},
        {{"model", "info"}, "no file"},
        {{"model", "convert", "a"}, "two files"},
        {{"model", "run", "m"}, "no output"},
        {{"model", "run", "m", "--input", "x", "-o", "y"}, "NAME=FILE.npy"},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        program_run(&r, table[i].arguments);
        assert_status(&r, 2);
        assert_says(r.err, table[i].says);
    }
    free(r.out);
    free(r.err);
}

static void chinese(void **state)
{
    static const struct {
        const char *arguments[6];
        const char *says;
    } table[] = {
        {{"--lang", "zh", "--help"}, "让视频里的人说出"},
        {{"--help", "--lang=zh"}, "用法"},
        {{"generate", "--help", "--lang", "zh"}, "语音"},
        {{"--lang", "zh", "generate", "--help"}, "用法"},
        {{"--lang", "zh", "genrate"}, "没有命令"},
        {{"generate", "--crf", "52", "--lang", "zh"}, "整数"},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        program_run(&r, table[i].arguments);
        if (!strstr(r.out, table[i].says) && !strstr(r.err, table[i].says))
            fail_msg("'%s' is not in:\n%s%s", table[i].says, r.out, r.err);
    }
    free(r.out);
    free(r.err);
}

// A container has LANG but not the locale it names.
static void language_by_locale(void **state)
{
    static const struct {
        const char *locale, *language, *says;
    } table[] = {
        {"zh_CN.UTF-8", NULL, "用法"},  {"zh_TW.UTF-8", NULL, "用法"}, {"C", NULL, "Usage"},
        {"de_DE.UTF-8", NULL, "Usage"}, {"C.UTF-8", "zh_CN", "用法"},  {"", NULL, "Usage"},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        setenv("LC_ALL", table[i].locale, 1);
        unsetenv("LANGUAGE");
        if (table[i].language)
            setenv("LANGUAGE", table[i].language, 1);
        RUN(&r, "--help");
        assert_status(&r, 0);
        assert_says(r.out, table[i].says);
    }
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("LANGUAGE", "en", 1);
    free(r.out);
    free(r.err);
}

// What is said: nothing for developers without being asked, and an option beats the variable.
static void levels_of_the_log(void **state)
{
    static const struct {
        const char *variable, *option;
        bool debug;
        int status;
    } table[] = {
        {NULL, "--", false, 3},    {NULL, "-v", false, 3},      {NULL, "-vv", true, 3},
        {"debug", "--", true, 3},  {"verbose", "--", false, 3}, {"debug", "-q", false, 3},
        {"error", "-vv", true, 3}, {"", "--", false, 3},        {"loud", "-vv", false, 2},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].variable)
            setenv("KOUBO_LOG", table[i].variable, 1);
        RUN(&r, "model", "info", table[i].option, in_folder("none.pth"));
        unsetenv("KOUBO_LOG");
        assert_status(&r, table[i].status);
        assert_true(!strstr(r.err, "version") == !table[i].debug);
        assert_says(r.err, table[i].status == 2 ? "KOUBO_LOG takes one of error" : "none.pth");
    }
    free(r.out);
    free(r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_listed),
        cmocka_unit_test(version_names_what_koubo_stands_on),
        cmocka_unit_test(help_lists_every_option),
        cmocka_unit_test(help_says_defaults),
        cmocka_unit_test(wrong_options_are_exit_code_2),
        cmocka_unit_test(chinese),
        cmocka_unit_test(language_by_locale),
        cmocka_unit_test(levels_of_the_log),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
