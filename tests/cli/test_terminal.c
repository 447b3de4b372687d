// What is said and asked on a terminal.
#include "tests/cli/program.h"

#include "base/file.h"

#include <signal.h>
#include <unistd.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean_asks_before_it_removes_all),
        cmocka_unit_test(clean_in_a_script_wants_a_yes),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
