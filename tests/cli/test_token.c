// A token stays with those who are told it: not in the command line, not in any environment.
#include "tests/cli/program.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define TOKEN "pineapple-4f5f6bd1"
// Of a machine of a cluster.
#define SECRET "4f5f6bd14f5f6bd14f5f6bd14f5f6bd14f5f6bd14f5f6bd14f5f6bd14f5f6bd1"

// All of a file of /proc, its NULs as spaces; "" if it is gone.
static char *read_proc(int pid, const char *name)
{
    char path[64];
    struct text ret = {0};
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        text_hear(&ret, fd, 1 << 20, 5000000, NULL);
        close(fd);
    }
    for (size_t i = 0; i < ret.size; i++)
        if (ret.data[i] == '\0')
            ret.data[i] = ' ';
    text_add(&ret, "");
    return ret.data;
}

static void assert_silent(int pid)
{
    static const char *const names[] = {"cmdline", "environ"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(kb_freep) char *text = read_proc(pid, names[i]);
        if (strstr(text, TOKEN) || strstr(text, SECRET))
            fail_msg("the token stands in %s of process %d:\n%s", names[i], pid, text);
    }
}

// The port of a server that has started in the folder, 0 while there is none.
static int port_of(const char *data)
{
    char line[300] = "";
    CLEANUP(kb_freep) char *path = kb_printf("%s/lock", data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
    if (fd >= 0)
        close(fd);
    const char *colon = n > 0 ? strrchr(line, ':') : NULL;
    return colon ? atoi(colon + 1) : 0;
}

static int ask(int port, const char *token)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 0;
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    CLEANUP(kb_freep)
    char *request = kb_printf("GET /api/v1/system HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                              "Connection: close\r\nAuthorization: Bearer %s\r\n\r\n",
                              port, token);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    CLEANUP(text_free) struct text answer = {0};
    text_hear(&answer, fd, 1 << 20, 30000000, NULL);
    close(fd);
    assert_int_equal(sscanf(text_get(&answer), "HTTP/1.1 %d", &status), 1);
    return status;
}

// Is that process a child of pid?
static bool is_child(int child, int pid)
{
    CLEANUP(kb_freep) char *stat = read_proc(child, "stat");
    const char *bracket = strrchr(stat, ')');
    int parent = 0;
    return bracket && sscanf(bracket + 1, " %*c %d", &parent) == 1 && parent == pid;
}

static int check_children(int pid)
{
    int n = 0;
    DIR *all = opendir("/proc");
    for (struct dirent *e; (e = readdir(all));) {
        int child = atoi(e->d_name);
        if (child <= 0 || !is_child(child, pid))
            continue;
        n++;
        assert_silent(child);
    }
    closedir(all);
    return n;
}

static void run_server(const char *data, const char *option, const char *value)
{
    const char *const arguments[] = {"serve", "--port",     "0", "--data", data,  "--workers",
                                     "1",     "--min-free", "0", option,   value, NULL};
    int out, pid = program_start(arguments, &out), port = 0;
    for (int ms = 0; ms < 60000 && port == 0; ms += 50, usleep(50000))
        port = port_of(data);
    assert_true(port > 0);
    assert_silent(pid);
    int n = 0;
    for (int ms = 0; ms < 60000 && n < 2; ms += 50, usleep(50000))
        n = check_children(pid); // a worker and the inspector
    assert_int_equal(n, 2);
    assert_int_equal(ask(port, TOKEN), 200);
    assert_int_equal(ask(port, "another"), 401);
    kill(pid, SIGTERM);
    assert_int_equal(program_wait(pid), 0);
    close(out);
}

static void nobody_reads_the_token(void **state)
{
    (void)state;
    const char *file = make_text_file("token", TOKEN "\nwhat else\n");
    run_server(in_folder("data"), "--token", TOKEN);
    run_server(in_folder("data"), "--token-file", file);
    setenv("KOUBO_TOKEN", TOKEN, 1);
    run_server(in_folder("data"), "--log-format", "text");
    unsetenv("KOUBO_TOKEN");
    CLEANUP(kb_freep) char *log = kb_printf("%s/logs/koubo.log", in_folder("data"));
    CLEANUP(text_free) struct text said = {0};
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    assert_true(text_hear(&said, fd, 1 << 20, 5000000, NULL));
    close(fd);
    assert_null(strstr(text_get(&said), TOKEN));
    assert_says(text_get(&said), "--token-file");
}

// Of a Redis that is not there, so that it waits.
static void run_machine(const char *data, const char *options[4])
{
    const char *const arguments[] = {
        "node",      "--data", data,       "--depot",  "http://127.0.0.1:1", "--name",   "n1",
        "--workers", "1",      options[0], options[1], options[2],           options[3], NULL};
    int out, n = 0, pid = program_start(arguments, &out);
    for (int ms = 0; ms < 60000 && n < 1; ms += 50, usleep(50000))
        n = check_children(pid); // a worker
    assert_int_equal(n, 1);
    assert_silent(pid);
    kill(pid, SIGTERM);
    assert_int_equal(program_wait(pid), 0);
    close(out);
}

static void nobody_reads_the_token_of_a_machine(void **state)
{
    (void)state;
#define URL "redis://koubo:" TOKEN "@127.0.0.1:1"
    const char *data = in_folder("machine"), *token = make_text_file("token", SECRET "\n");
    const char *url = make_text_file("cluster", URL "\n");
    run_machine(data, (const char *[]){"--cluster", URL, "--token", SECRET});
    run_machine(data, (const char *[]){"--cluster-file", url, "--token-file", token});
    setenv("KOUBO_CLUSTER", URL, 1);
    setenv("KOUBO_NODE_TOKEN", SECRET, 1);
    run_machine(data, (const char *[]){"--cache-gb", "0", "--drain", "1"});
    unsetenv("KOUBO_CLUSTER");
    unsetenv("KOUBO_NODE_TOKEN");
    CLEANUP(kb_freep) char *log = kb_printf("%s/logs/koubo.log", data);
    CLEANUP(text_free) struct text said = {0};
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    assert_true(text_hear(&said, fd, 1 << 20, 5000000, NULL));
    close(fd);
    assert_null(strstr(text_get(&said), TOKEN));
    assert_null(strstr(text_get(&said), SECRET));
    assert_says(text_get(&said), "127.0.0.1:1"); // that it cannot be reached
}

static void what_a_machine_lacks_is_asked_for(void **state)
{
    (void)state;
    struct outcome r = {0};
    RUN(&r, "node", "--lang", "en");
    assert_status(&r, 3);
    assert_says(r.err, "--cluster");
    RUN(&r, "node", "--lang", "en", "--cluster", "redis://127.0.0.1:1");
    assert_status(&r, 3);
    assert_says(r.err, "--depot");
    RUN(&r, "node", "--lang", "en", "--cluster", "redis://127.0.0.1:1", "--depot", "http://h:1");
    assert_status(&r, 3);
    assert_says(r.err, "--token-file");
    RUN(&r, "node", "--lang", "en", "--cluster", "redis://127.0.0.1:1", "--depot", "http://h:1",
        "--token", "abc", "--name", "n1", "--data", in_folder("none"));
    assert_status(&r, 3);
    assert_says(r.err, "no token of a machine");
    RUN(&r, "node", "--lang", "en", "--workers", "65");
    assert_status(&r, 2);
    assert_int_equal(access(in_folder("none"), F_OK), -1);
    free(r.out);
    free(r.err);
}

// A head whose Redis is away: it serves the page, and the address with its password is nowhere.
static void run_head(const char *data, const char *option, const char *value)
{
    const char *const arguments[] = {"serve",  "--lang", "en",        "--port", "0",
                                     "--data", data,     "--workers", "0",      "--min-free",
                                     "0",      option,   value,       NULL};
    int out, pid = program_start(arguments, &out), port = 0;
    for (int ms = 0; ms < 60000 && port == 0; ms += 50, usleep(50000))
        port = port_of(data);
    assert_true(port > 0);
    assert_silent(pid);
    int n = 0;
    for (int ms = 0; ms < 60000 && n < 1; ms += 50, usleep(50000))
        n = check_children(pid);
    assert_int_equal(n, 1); // the inspector alone
    kill(pid, SIGTERM);
    assert_int_equal(program_wait(pid), 0);
    close(out);
}

static void nobody_reads_the_password_of_redis(void **state)
{
    (void)state;
    const char address[] = "redis://head:" TOKEN "@127.0.0.1:1";
    const char *file = make_text_file("cluster", "redis://head:" TOKEN "@127.0.0.1:1\n");
    run_head(in_folder("data"), "--cluster", address);
    run_head(in_folder("data"), "--cluster-file", file);
    setenv("KOUBO_CLUSTER", address, 1);
    run_head(in_folder("data"), "--log-format", "text");
    unsetenv("KOUBO_CLUSTER");
    CLEANUP(kb_freep) char *log = kb_printf("%s/logs/koubo.log", in_folder("data"));
    CLEANUP(text_free) struct text said = {0};
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    assert_true(text_hear(&said, fd, 1 << 20, 5000000, NULL));
    close(fd);
    assert_null(strstr(text_get(&said), TOKEN));
    assert_says(text_get(&said), "--cluster-file");
}

static void a_head_without_a_cluster(void **state)
{
    (void)state;
    struct outcome r = {0};
    RUN(&r, "serve", "--lang", "en", "--data", in_folder("other"), "--workers", "0");
    assert_true(r.status != 0);
    assert_says(r.err, "say with --cluster");
    RUN(&r, "serve", "--lang", "en", "--data", in_folder("other"), "--depot", "s3://films");
    assert_true(r.status != 0);
    assert_says(r.err, "say with --cluster");
    RUN(&r, "serve", "--lang", "en", "--data", in_folder("other"), "--port", "0", "--cluster",
        "redis://127.0.0.1:1", "--depot", "ftp://films");
    assert_true(r.status != 0);
    assert_says(r.err, "no address of an S3 store");
    RUN(&r, "serve", "--lang", "en", "--data", in_folder("other"), "--port", "0", "--cluster",
        "redis://127.0.0.1:1", "--depot", "https://head.example.com"); // that is what machines say
    assert_true(r.status != 0);
    assert_says(r.err, "no address of an S3 store");
    RUN(&r, "serve", "--lang", "en", "--data", in_folder("other"), "--port", "0", "--cluster",
        "http://127.0.0.1:1");
    assert_true(r.status != 0);
    assert_says(r.err, "redis://");
    free(r.out);
    free(r.err);
}

static void a_file_that_is_no_token(void **state)
{
    (void)state;
    struct outcome r = {0};
    static const char *const contents[] = {"", "\n" TOKEN "\n"};
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        const char *file = make_text_file("token", contents[i]);
        RUN(&r, "serve", "--lang", "en", "--data", in_folder("other"), "--token-file", file);
        assert_true(r.status != 0);
        assert_says(r.err, "must begin with a line");
    }
    RUN(&r, "serve", "--lang", "en", "--data", in_folder("other"), "--token-file",
        in_folder("none"));
    assert_true(r.status != 0);
    assert_says(r.err, "the file of the token or address");
    RUN(&r, "serve", "--lang", "en", "--data", in_folder("other"), "--allow-address", "nas.local");
    assert_true(r.status != 0);
    assert_says(r.err, "192.168.1.0/24");
    assert_int_equal(access(in_folder("other"), F_OK), -1); // nothing was begun
    free(r.out);
    free(r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_reads_the_token, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(nobody_reads_the_token_of_a_machine, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(what_a_machine_lacks_is_asked_for, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(nobody_reads_the_password_of_redis, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(a_head_without_a_cluster, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_no_token, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
