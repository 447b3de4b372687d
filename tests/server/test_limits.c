// A server that the system gives little: few descriptors, little memory. It is a process of its
// own, so that the client's sockets are not counted with its own.
#include "tests/server/live.h"

#include "base/file.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    struct site site;
    pid_t pid;
    int stop; // the server ends when this is closed
} few;

// The server's process: tells its port, or 0 with a sentence.
static void serve(int tell, int hear, int resource, rlim_t most)
{
    struct rlimit limit = {most, most};
    struct kb_error err = {0};
    struct server *s = NULL;
    struct server_params p = {
        .data = few.site.folder, .supervisor.n_workers = -1, .lang = "en", .token = "long enough"};
    char line[700], c;
    setrlimit(resource, &limit);
    server_start(&s, &p, &err);
    int n = snprintf(line, sizeof(line), "%d %s", s ? server_port(s) : 0, err.text);
    bool told = write(tell, line, (size_t)n + 1) == n + 1;
    while (told && s && read(hear, &c, 1) == -1)
        ;
    server_stop(&s);
    _exit(0);
}

static void begin(int resource, rlim_t most, char ret_sentence[700])
{
    int told[2], stop[2];
    char line[700] = "";
    site_open(&few.site);
    store_close(&few.site.store);
    assert_true(pipe(told) == 0 && pipe(stop) == 0);
    few.pid = fork();
    if (few.pid == 0) {
        close(told[0]);
        close(stop[1]);
        serve(told[1], stop[0], resource, most);
    }
    close(told[1]);
    close(stop[0]);
    few.stop = stop[1];
    for (size_t n = 0; n < sizeof(line) && read(told[0], line + n, 1) == 1 && line[n]; n++) {
    }
    close(told[0]);
    char *end;
    few.site.port = (int)strtol(line, &end, 10);
    snprintf(ret_sentence, 700, "%s", end + (*end == ' '));
}

static int stop(void **state)
{
    struct kb_error err = {0};
    close(few.stop);
    waitpid(few.pid, NULL, 0);
    assert_ok(err, store_open(&few.site.store, few.site.folder, false, &err));
    site_stop(&few.site);
    return 0;
}

static int ask(const char *path)
{
    CLEANUP(reply_clear) struct reply r = {0};
    site_ask(&few.site, &r, "GET", path, "Authorization: Bearer long enough\r\n", NULL, 0);
    return r.status;
}

static void few_descriptors(void **state)
{
    enum { N = 60 };
    int fds[N], n_kept = 0, n_refused = 0;
    char sentence[700];
    begin(RLIMIT_NOFILE, 64, sentence);
    if (few.site.port == 0)
        fail_msg("%s", sentence);
    for (int i = 0; i < N; i++) { // slow strangers
        fds[i] = site_connect(&few.site);
        site_sendf(fds[i], "GET /api/v1/system HTTP/1.1\r\nX: ");
    }
    int64_t start_us = kb_now_us();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask("/healthz"), 200);
        assert_int_equal(ask("/api/v1/system"), 200);
        assert_int_equal(ask("/api/v1/logs"), 200);
    }
    assert_true(kb_now_us() - start_us < 20000000);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    for (int i = 0; i < N; i++) { // one who has the token, and wants all places
        char head[13] = "";
        fds[i] = site_connect(&few.site);
        site_sendf(fds[i], "GET /api/v1/system HTTP/1.1\r\nHost: localhost\r\n"
                           "Authorization: Bearer long enough\r\n\r\n");
        if (recv(fds[i], head, 12, MSG_WAITALL) == 12 && strcmp(head, "HTTP/1.1 200") == 0)
            n_kept++;
        else
            n_refused += strcmp(head, "HTTP/1.1 429") == 0;
    }
    assert_in_range(n_kept, 4, 20);
    assert_true(n_refused > 0);
    assert_int_equal(ask("/healthz"), 200); // and says so while it is full
    assert_int_equal(ask("/api/v1/system"), 429);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    CLEANUP(kb_freep) char *log = path_join(few.site.folder, "logs/koubo.log");
    struct file_map map = {0};
    struct kb_error err = {0};
    assert_ok(err, file_map(&map, log, &err));
    assert_null(memmem(map.data, map.size, "cannot be", 9));
    file_unmap(&map);
}

static void too_few(void **state)
{
    char sentence[700];
    begin(RLIMIT_NOFILE, 40, sentence);
    assert_int_equal(few.site.port, 0);
    assert_non_null(strstr(sentence, "ulimit -n"));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // they map terabytes
static void too_little_memory(void **state)
{
    char sentence[700];
    begin(RLIMIT_AS, 700000000, sentence);
    assert_int_equal(few.site.port, 0);
    assert_non_null(strstr(sentence, "only 700 MB of memory"));
}
#endif

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(few_descriptors, stop),
        cmocka_unit_test_teardown(too_few, stop),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test_teardown(too_little_memory, stop),
#endif
    };
    return cmocka_run_group_tests_name("server/limits", tests, NULL, NULL);
}
