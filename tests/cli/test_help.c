// --help and --usage of every command, and that a terminal hears one language.
#include "tests/cli/program.h"

#include "base/text.h"
#include "base/utf8.h"

#include <locale.h>
#include <signal.h>
#include <unistd.h>
#include <wchar.h>

#define MAX_COMMANDS 40

// "generate", …, "model run", out of what --help lists. Returns how many.
static size_t list_commands(char ret[MAX_COMMANDS][32])
{
    size_t n = 0;
    struct outcome r = {0};
    RUN(&r, "--help");
    char *rest = NULL;
    for (char *line = strtok_r(r.out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (strncmp(line, "  ", 2) == 0 && line[2] != ' ' && !strstr(line, " koubo ") &&
            n < MAX_COMMANDS)
            sscanf(line, "%31s", ret[n++]);
    assert_true(n > 10);
    RUN(&r, "model", "--help");
    for (char *line = strtok_r(r.out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (strncmp(line, "  ", 2) == 0 && line[2] != ' ' && n < MAX_COMMANDS) {
            char word[16];
            sscanf(line, "%15s", word);
            snprintf(ret[n++], 32, "model %s", word);
        }
    free(r.out);
    free(r.err);
    return n;
}

static void help_of(struct outcome *ret, const char *command, const char *option, const char *lang)
{
    const char *space = strchr(command, ' ');
    char first[32];
    snprintf(first, sizeof(first), "%.*s", (int)strcspn(command, " "), command);
    if (space)
        RUN(ret, first, space + 1, option, "--lang", lang);
    else if (*command)
        RUN(ret, first, option, "--lang", lang);
    else
        RUN(ret, option, "--lang", lang);
    assert_status(ret, 0);
    assert_string_equal(ret->err, "");
}

static int width_of(const char *line)
{
    int width = 0, length;
    for (; *line; line += length) {
        int32_t c = utf8_next(line, &length);
        int w = wcwidth((wchar_t)c);
        if (w < 0)
            fail_msg("no letter: U+%04X in '%s'", (unsigned)c, line);
        width += w;
    }
    return width;
}

static bool begins_with_any(const char *line, const char *const *letters)
{
    line += strspn(line, " ");
    for (; *letters; letters++)
        if (strncmp(line, *letters, strlen(*letters)) == 0)
            return true;
    return false;
}

static bool ends_with_any(const char *line, const char *const *letters)
{
    for (size_t n = strlen(line); *letters; letters++)
        if (n >= strlen(*letters) && strcmp(line + n - strlen(*letters), *letters) == 0)
            return true;
    return false;
}

static void check_line(const char *command, const char *line, int columns)
{
    static const char *const closing[] = {"，", "。", "：", "；", "）", "、",
                                          "！", "？", "”",  "》", NULL};
    static const char *const opening[] = {"（", "“", "《", " ", NULL};
    if (width_of(line) >= columns)
        fail_msg("%s: %d columns of %d: '%s'", command, width_of(line), columns, line);
    if (begins_with_any(line, closing) || ends_with_any(line, opening))
        fail_msg("%s: a bad break: '%s'", command, line);
}

static void check_help(const char *command, const char *option, const char *lang, int columns)
{
    struct outcome r = {0};
    help_of(&r, command, option, lang);
    char *rest = NULL;
    for (char *line = strtok_r(r.out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        check_line(command, line, columns);
    free(r.out);
    free(r.err);
}

static void every_line_fits(void **state)
{
    static const struct {
        const char *columns;
        int width;
    } table[] = {{"60", 60}, {"50", 50}, {"200", 80}, {"0", 80}};
    static const char *const long_ones[] = {"generate",       "serve", "clean",
                                            "model quantize", "node",  "model"};
    char commands[MAX_COMMANDS][32];
    size_t n = list_commands(commands);
    for (size_t i = 0; i < n; i++) {
        check_help(commands[i], "--help", "zh", 80);
        check_help(commands[i], "--help", "en", 80);
        if (strcmp(commands[i], "model") != 0)
            check_help(commands[i], "--usage", "zh", 80);
    }
    for (size_t t = 0; t < ARRAY_LEN(table); t++) {
        setenv("COLUMNS", table[t].columns, 1);
        for (size_t i = 0; i < ARRAY_LEN(long_ones); i++)
            check_help(long_ones[i], "--help", i % 2 ? "en" : "zh", table[t].width);
        unsetenv("COLUMNS");
    }
    check_help("", "--help", "zh", 80);
    check_help("", "--help", "en", 80);
}

static void assert_option(const char *text, const char *option, const char *says)
{
    CLEANUP(kb_freep) char *row = kb_printf("%-29s%s", option, says);
    if (!strstr(text, row))
        fail_msg("'%s' is not in:\n%s", row, text);
}

static void options_are_aligned(void **state)
{
    struct outcome r = {0};
    help_of(&r, "generate", "--help", "zh");
    assert_int_equal(strncmp(r.out, "用法：koubo generate [选项...] -a SPEECH", 45), 0);
    assert_option(r.out, "  -a, --audio=FILE", "语音：任何有声音的文件\n");
    assert_option(r.out, "      --crf=N", "H.264");
    assert_says(r.out, "\n      --track-dir=FOLDER, --preprocessed=FOLDER\n"
                       "                             koubo preprocess");
    // In the order of the tables, not of the alphabet.
    assert_true(strstr(r.out, "--audio") < strstr(r.out, "--text"));
    assert_true(strstr(r.out, "--start") < strstr(r.out, "--duration"));
    help_of(&r, "eval", "--help", "en");
    assert_int_equal(strncmp(r.out,
                             "Usage: koubo eval [OPTION...] --truth TRUE.mp4 OUT.mp4\n"
                             "   or: koubo eval [OPTION...] --sync FILE.mp4\n",
                             97),
                     0);
    help_of(&r, "serve", "--help", "zh"); // "" is its ways, of which the catalogue tells its head
    assert_null(strstr(r.out, "Project-Id-Version"));
    setenv("COLUMNS", "60", 1);
    help_of(&r, "clean", "--help", "en");
    unsetenv("COLUMNS");
    assert_says(r.out, "\n        [--keep-gb X]"); // a bracket is never broken
    free(r.out);
    free(r.err);
}

// --- one language

static bool has_chinese(const char *text)
{
    for (int length; *text; text += length) {
        int32_t c = utf8_next(text, &length);
        if ((c >= 0x3000 && c <= 0x303f) || (c >= 0x4e00 && c <= 0x9fff) || c >= 0xff00)
            return true;
    }
    return false;
}

// Words that stand in English sentences and in no name, option or format.
static const char *english_word(const char *text)
{
    static const char *const words[] = {
        " the ",  " is ",    " of ",    " not ",   " with ", " or ", " for ",   "Usage",
        "error:", "warning", "No such", "missing", " an ",   " to ", "invalid", "option"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strstr(text, words[i]))
            return words[i];
    return NULL;
}

static void assert_language(const struct outcome *r, bool chinese)
{
    const char *const texts[] = {r->out, r->err};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (chinese && english_word(texts[i]))
            fail_msg("'%s' is English:\n%s", english_word(texts[i]), texts[i]);
        if (!chinese && has_chinese(texts[i]))
            fail_msg("Chinese in:\n%s", texts[i]);
    }
}

// A new string, or NULL while there is no file.
static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    CLEANUP(text_free) struct text t = {0};
    char buffer[4096];
    for (size_t n; f && (n = fread(buffer, 1, sizeof(buffer), f)) > 0;)
        text_add_bytes(&t, buffer, n);
    if (f)
        fclose(f);
    return TAKE(t.data);
}

// What a user can see without a film: help, argp's own and getopt's sentences, the system's; every
// step-th of them.
static void say_everything(bool chinese, const char *lang, size_t step)
{
    const struct {
        const char *arguments[10];
    } table[] = {
        {{"generate", "--nonsense"}},
        {{"generate", "--st"}},
        {{"generate", "--height"}},
        {{"generate", "-Z"}},
        {{"generate", "-a"}},
        {{"generate", "--denoise=yes"}},
        {{"generate", "--crf", "99"}},
        {{"generate"}},
        {{"model", "list", "x"}},
        {{"model", "nonsense"}},
        {{"genrate"}},
        {{"generate", "-a", "none.wav", "-i", "none.mp4", "-o", "o.mp4"}},
        {{"generate", "-a", "/", "-i", "/", "-o", "o.mp4"}},
        {{"generate", "-a", "/dev/null", "-i", "/dev/null", "-o", "/proc/o.mp4"}},
        {{"generate", "-a", in_folder("t.wav"), "-i", in_folder("t.wav"), "-o", "o.mp4"}},
        {{"batch", "-a", in_folder("t.wav"), in_folder("t.wav"), "-o", in_folder("o")}},
        {{"clean", "--data", "/none"}},
        {{"clean", "--keep-days", "0"}},
        {{"preprocess", "-o", "/proc/x", "none.mp4"}},
        {{"model", "info", in_folder("t.wav")}},
        {{"serve", "--data", "/proc/x"}},
    };
    make_text_file("t.wav", "neither sound nor picture");
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i += step) {
        const char *arguments[14] = {NULL};
        size_t n = 0;
        if (lang) {
            arguments[n++] = "--lang";
            arguments[n++] = lang;
        }
        for (size_t k = 0; table[i].arguments[k]; k++)
            arguments[n++] = table[i].arguments[k];
        program_run(&r, arguments);
        assert_true(r.status != 0);
        assert_true(strlen(r.err) > 0);
        assert_language(&r, chinese);
    }
    char commands[MAX_COMMANDS][32];
    size_t n = list_commands(commands);
    for (size_t i = 0; i < n && lang; i += 3 * step) { // every_line_fits() has seen all of them
        help_of(&r, commands[i], "--help", lang);
        assert_language(&r, chinese);
    }
    free(r.out);
    free(r.err);
}

static void one_language_a_terminal(void **state)
{
    static const struct {
        const char *lang, *locale, *language;
        bool chinese;
    } table[] = {
        {"en", "zh_CN.UTF-8", "zh_CN:zh", false}, {"zh", "C", "en", true},
        {"zh", "de_DE.UTF-8", "de", true},        {NULL, "zh_CN.UTF-8", NULL, true},
        {NULL, "zh_CN.UTF-8", "", true},          {NULL, "zh_CN.UTF-8", "de", true},
        {NULL, "zh_TW.UTF-8", "zh_TW:zh", true},  {NULL, "zh_CN.UTF-8", "en_US:en", false},
        {NULL, "en_US.UTF-8", "en:zh_CN", false}, {NULL, "C.UTF-8", "de:zh", true},
        {NULL, "de_DE.UTF-8", "de", false},       {NULL, "C", "zh_CN", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        setenv("LC_ALL", table[i].locale, 1);
        if (table[i].language)
            setenv("LANGUAGE", table[i].language, 1);
        else
            unsetenv("LANGUAGE");
        say_everything(table[i].chinese, table[i].lang, i < 2 ? 1 : 6);
    }
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("LANGUAGE", "en", 1);
}

// The server and its workers write one log.
static void one_language_a_log(void **state)
{
#ifdef __SANITIZE_ADDRESS__
    SKIP_TEST("a worker's address space is bounded, and the sanitizer's shadow does not fit");
#endif
    static const char *const langs[] = {"zh", "en"};
    for (size_t i = 0; i < ARRAY_LEN(langs); i++) {
        CLEANUP(kb_freep) char *data = kb_printf("%s", in_folder(langs[i]));
        CLEANUP(kb_freep) char *log = kb_printf("%s/logs/koubo.log", data);
        setenv("LC_ALL", i ? "zh_CN.UTF-8" : "C", 1);
        setenv("LANGUAGE", i ? "zh_CN" : "en", 1);
        int out;
        int pid = program_start((const char *const[]){"serve", "--port", "0", "--workers", "1",
                                                      "--data", data, "--lang", langs[i], NULL},
                                &out);
        struct outcome r = {.err = kb_strdup("")};
        for (int k = 0; k < 400 && !(r.out && strstr(r.out, " w1 ")); k++) {
            usleep(50000);
            kb_freep(&r.out);
            r.out = read_file(log);
        }
        kill(pid, SIGTERM);
        assert_int_equal(program_wait(pid), 0);
        close(out);
        kb_freep(&r.out);
        r.out = read_file(log);
        assert_says(r.out, " serve ");
        assert_says(r.out, " w1 ");
        assert_language(&r, i == 0);
        free(r.out);
        free(r.err);
    }
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("LANGUAGE", "en", 1);
}

// What start.sh says before koubo runs is in the language that koubo will speak.
static void set_up_speaks_it_too(void **state)
{
    static const struct {
        const char *locale, *language, *arguments[4];
    } table[] = {
        {"zh_CN.UTF-8", NULL, {NULL}},
        {"zh_CN.UTF-8", "", {NULL}},
        {"zh_CN.UTF-8", "en_US:en", {NULL}},
        {"en_US.UTF-8", "zh_CN:zh", {NULL}},
        {"C", "zh_CN", {NULL}},
        {"C.UTF-8", "de:zh", {NULL}},
        {"de_DE.UTF-8", "de", {NULL}},
        {"zh_CN.UTF-8", "zh_CN", {"--lang", "en"}},
        {"C", "en", {"--lang=zh"}},
        {"C", NULL, {"--lang", "zh", "generate"}},
        {"zh_CN.UTF-8", NULL, {"generate", "--", "--lang=en"}},
    };
    CLEANUP(kb_freep) char *folder = kb_strdup(source_path("tools/setup.sh"));
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const char *const *a = table[i].arguments;
        setenv("LC_ALL", table[i].locale, 1);
        unsetenv("LANGUAGE");
        if (table[i].language)
            setenv("LANGUAGE", table[i].language, 1);
        CLEANUP(kb_freep)
        char *command =
            kb_printf(". %s && choose_language %s %s %s && pick 中文 English", folder,
                      a[0] ? a[0] : "", a[0] && a[1] ? a[1] : "", a[0] && a[1] && a[2] ? a[2] : "");
        char said[32] = "";
        FILE *f = popen(command, "r");
        assert_non_null(f);
        assert_non_null(fgets(said, sizeof(said), f));
        assert_int_equal(pclose(f), 0);
        const char *arguments[8] = {NULL};
        size_t n = 0;
        for (size_t k = 0; k < 2 && a[0] && strncmp(a[0], "--lang", 6) == 0 && a[k]; k++)
            arguments[n++] = a[k];
        arguments[n] = "--help";
        program_run(&r, arguments);
        if (has_chinese(said) != has_chinese(r.out))
            fail_msg("row %zu: set-up says '%s', koubo %s", i, said, r.out);
    }
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("LANGUAGE", "en", 1);
    free(r.out);
    free(r.err);
}

static int setup(void **state)
{
    return setlocale(LC_CTYPE, "C.UTF-8") ? folder_setup(state) : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_fits),         cmocka_unit_test(options_are_aligned),
        cmocka_unit_test(one_language_a_terminal), cmocka_unit_test(one_language_a_log),
        cmocka_unit_test(set_up_speaks_it_too),
    };
    return cmocka_run_group_tests(tests, setup, folder_teardown);
}
