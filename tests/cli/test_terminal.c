// What is said and asked on a terminal.
#include "tests/cli/program.h"

#include "base/file.h"
#include "base/utf8.h"
#include "cli/screen.h"
#include "cluster/node.h"
#include "store/store.h"

#include <locale.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

// A data folder with one lost upload in it, which --keep-days 0 --lost removes.
static const char *make_data(void)
{
    struct kb_error err = {0};
    const char *folder = in_folder("data");
    if (!file_is_dir(folder)) {
        int out, pid = program_start((const char *const[]){"serve", "--port", "0", "--data", folder,
                                                           "--workers", "1", NULL},
                                     &out);
        for (int i = 0; i < 200 && !file_exists(in_folder("data/koubo.db")); i++)
            usleep(50000);
        kill(pid, SIGTERM);
        program_wait(pid);
        close(out);
    }
    assert_ok(err, file_make_dirs(in_folder("data/tracks"), &err));
    make_text_file("data/tracks/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.kbt", "a track");
    return folder;
}

static bool track_is_there(void)
{
    return file_exists(in_folder("data/tracks/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.kbt"));
}

static void clean_asks_before_it_removes_all(void **state)
{
    static const struct {
        const char *lang, *answer;
        bool goes;
        const char *question;
    } table[] = {
        {"en", "y\n", true, "[y/N]"},     {"en", "yes\n", true, "cannot be brought back"},
        {"zh", "是\n", true, "无法找回"}, {"zh", "y\n", true, "[y/N]"},
        {"en", "n\n", false, "[y/N]"},    {"en", "\n", false, "[y/N]"},
        {"en", "yesterday\n", false, ""}, {"en", "", false, "[y/N]"},
    };
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const char *data = make_data();
        RUN_ON_TERMINAL(&r, 80, table[i].answer, "clean", "--data", data, "--keep-days", "0",
                        "--lang", table[i].lang);
        assert_status(&r, table[i].goes ? 0 : 130);
        assert_says(r.out, table[i].question);
        assert_true(track_is_there() != table[i].goes);
    }
    free(r.out);
    free(r.err);
}

static void clean_in_a_script_wants_a_yes(void **state)
{
    struct outcome r = {0};
    const char *data = make_data();
    RUN(&r, "clean", "--data", data, "--keep-days", "0");
    assert_status(&r, 2);
    assert_says(r.err, "--yes");
    assert_true(track_is_there());
    RUN(&r, "clean", "--data", data, "--keep-days", "0", "--dry-run");
    assert_status(&r, 0);
    assert_says(r.out, ".kbt");
    assert_true(track_is_there());
    RUN(&r, "clean", "--data", data, "--keep-days", "1", "--yes");
    assert_status(&r, 0);
    assert_true(track_is_there());
    RUN(&r, "clean", "--data", data, "--keep-days", "0", "--yes");
    assert_status(&r, 0);
    assert_false(track_is_there());
    RUN(&r, "clean", "--data", data, "--keep-days", "-1", "--yes");
    assert_status(&r, 2);
    free(r.out);
    free(r.err);
}

// --- the bar

static int width_of(const char *line)
{
    int width = 0, length;
    for (; *line; line += length) {
        int w = wcwidth((wchar_t)utf8_next(line, &length));
        width += w > 0 ? w : 0;
    }
    return width;
}

static const char long_name[] = "一个谁也不会手打的很长很长的文件名 final version (copy 2).mp4";

// What one terminal line showed at one moment, the erasing taken off.
static void check_shown(char *shown, int columns, bool is_bar)
{
    char *erase = strstr(shown, "\033[K");
    if (erase)
        *erase = '\0';
    if (strchr(shown, '\033'))
        fail_msg("a command in '%s'", shown);
    if (is_bar && width_of(shown) >= columns)
        fail_msg("%d columns of %d: '%s'", width_of(shown), columns, shown);
}

// Every state of the bar, at several widths and with a name that has no room: what stands behind a
// carriage return is redrawn, so it must never wrap.
static void the_bar_never_wraps(void **state)
{
    static const struct {
        int columns;
        const char *lang, *elapsed, *left; // one of the texts that are shown while it runs
    } table[] = {{100, "en", "elapsed  0:0", "left --:--"},
                 {80, "zh", "已用  0:0", "剩余 --:--"},
                 {60, "zh", "已用  0:0", "剩余 --:--"},
                 {40, "zh", "%", "剩余 --:--"},
                 {20, "en", "%", "%"}};
    const char *video = make_talking_video(long_name), *sound = make_speech("speech.wav");
    struct outcome r = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        RUN_ON_TERMINAL(&r, table[i].columns, "", "batch", "-a", sound, video, "-o",
                        in_folder("bar"), "--no-cache", "--force", "--lang", table[i].lang);
        assert_status(&r, 0);
        assert_says(r.out, table[i].elapsed);
        assert_says(r.out, table[i].left);
        // Of fixed width: 18 columns in the brackets.
        for (const char *bar = r.out; (bar = strstr(bar, " [=")) && table[i].columns >= 60; bar++)
            assert_true(bar[20] == ']');
        for (char *rest = NULL, *line = strtok_r(r.out, "\n", &rest); line;
             line = strtok_r(NULL, "\n", &rest)) {
            bool redrawn = false;
            for (char *more = NULL, *shown = strtok_r(line, "\r", &more); shown;
                 shown = strtok_r(NULL, "\r", &more)) {
                redrawn = redrawn || strstr(shown, "%");
                check_shown(shown, table[i].columns, redrawn);
            }
        }
    }
    free(r.out);
    free(r.err);
}

static void names_lose_their_middle(void **state)
{
    static const struct {
        const char *text;
        int width;
        const char *cut;
    } table[] = {
        {"person.mp4", 10, "person.mp4"},
        {"person.mp4", 9, "pers….mp4"},
        {"人物视频.mp4", 12, "人物视频.mp4"},
        {"人物视频.mp4", 11, "人物…频.mp4"},
        {"人物视频.mp4", 8, "人物…mp4"},
        {"人物视频", 2, "…"},
        {"人物视频", 0, ""},
        {"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
        {"a\033[31mb\tc", 20, "a?[31mb?c"},
        {"a\xff z", 20, "a\uFFFD z"},
        {"\xc2\x9b"
         "31m",
         20,
         "¿"
         "31m"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        CLEANUP(kb_freep) char *cut = screen_cut(table[i].text, table[i].width);
        assert_string_equal(cut, table[i].cut);
        assert_true(width_of(cut) <= KB_MAX(table[i].width, 0));
    }
}

static void text_in_lines(void **state)
{
    static const struct {
        const char *text;
        int column, indent, width;
        const char *lines;
    } table[] = {
        {"one two three", 0, 0, 8, "one two\nthree"},
        {"one two three", 4, 2, 8, "one\n  two\n  three"},
        {"把语音调到这里，再说", 0, 0, 10, "把语音调到\n这里，再说"},
        {"把语音调这里，再说", 0, 0, 12, "把语音调这\n里，再说"},
        {"默认（自动）", 0, 0, 6, "默认\n（自\n动）"},
        {"用 --keep-days 和 a|b", 0, 0, 13, "用\n--keep-days\n和 a|b"},
        {"a\nb", 0, 2, 20, "a\n  b"},
        {"", 3, 3, 20, ""},
        {"unbreakable", 0, 0, 4, "unbreakable"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        CLEANUP(text_free) struct text t = {0};
        screen_wrap(&t, table[i].text, table[i].column, table[i].indent, table[i].width);
        assert_string_equal(text_get(&t), table[i].lines);
    }
}

// Rows of a table stay in their columns where the terminal is narrow.
static void the_doctor_stays_in_its_columns(void **state)
{
    struct outcome r = {0};
    static const char *const langs[] = {"zh", "en"};
    for (size_t i = 0; i < ARRAY_LEN(langs); i++) {
        RUN_ON_TERMINAL(&r, 60, "", "doctor", "--data", in_folder("none"), "--lang", langs[i]);
        int n = 0;
        for (char *rest = NULL, *line = strtok_r(r.out, "\r\n", &rest); line;
             line = strtok_r(NULL, "\r\n", &rest), n++) {
            if (width_of(line) >= 60)
                fail_msg("%d columns: '%s'", width_of(line), line);
        }
        assert_true(n > 8);
    }
    free(r.out);
    free(r.err);
}

// On a machine of a cluster nobody is told to start a server.
static void the_doctor_looks_at_a_machine(void **state)
{
    struct outcome r = {0};
    struct kb_error err = {0};
    struct store *s = NULL;
    CLEANUP(kb_freep) char *share = kb_strdup(in_folder("share"));
    CLEANUP(kb_freep) char *node = path_join(share, "koubo-node");
    setenv("XDG_DATA_HOME", share, 1);
    setenv("KOUBO_DATA", in_folder("none"), 1); // as start.sh does
    RUN(&r, "doctor", "--depot", "http://127.0.0.1:9", "--lang", "en");
    assert_says(r.out, "koubo-node");
    assert_null(strstr(r.out, "./start.sh"));

    assert_ok(err, file_make_dirs(share, &err));
    assert_ok(err, store_open(&s, node, true, &err));
    assert_ok(err, setting_put(s, NODE_SETTING, "{\"name\":\"n1\"}", &err));
    store_close(&s);
    unsetenv("XDG_DATA_HOME");
    RUN(&r, "doctor", "--data", node, "--lang", "en");
    assert_says(r.out, "needs no backup");
    assert_null(strstr(r.out, "./start.sh"));
    unsetenv("KOUBO_DATA");
    free(r.out);
    free(r.err);
}

// A server whose workers have no cage is named as such; where no server runs, the kernel is asked.
static void the_doctor_sees_a_missing_cage(void **state)
{
    struct outcome r = {0};
    CLEANUP(kb_freep) char *data = kb_strdup(in_folder("uncaged"));
    CLEANUP(kb_freep) char *lock = path_join(data, "lock");
    int out, pid = program_start((const char *const[]){"serve", "--port", "0", "--data", data,
                                                       "--workers", "1", "--no-sandbox", NULL},
                                 &out);
    struct stat st = {0};
    for (int i = 0; i < 600 && (stat(lock, &st) != 0 || st.st_size == 0); i++)
        usleep(50000);
    RUN(&r, "doctor", "--data", data, "--lang", "en");
    assert_says(r.out, "--no-sandbox");
    kill(pid, SIGTERM);
    program_wait(pid);
    close(out);
    RUN(&r, "doctor", "--data", data, "--lang", "en");
    assert_says(r.out, "listed system calls");
    assert_null(strstr(r.out, "--no-sandbox"));
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
        cmocka_unit_test(names_lose_their_middle),
        cmocka_unit_test(text_in_lines),
        cmocka_unit_test(the_doctor_stays_in_its_columns),
        cmocka_unit_test(the_doctor_looks_at_a_machine),
        cmocka_unit_test(the_doctor_sees_a_missing_cage),
        cmocka_unit_test(the_bar_never_wraps),
        cmocka_unit_test(clean_asks_before_it_removes_all),
        cmocka_unit_test(clean_in_a_script_wants_a_yes),
    };
    return cmocka_run_group_tests(tests, setup, folder_teardown);
}
