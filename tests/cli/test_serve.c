// koubo serve as others on the machine and in the network see it.
#include "tests/cli/program.h"

#include "base/file.h"
#include "base/text.h"

#include <signal.h>
#include <unistd.h>

#define GIVEN     "given-on-the-command-line-7x"
#define INHERITED "given-in-the-environment-9y"

// All of a file, also with NULs in it.
static void read_all(const char *path, struct text *ret)
{
    char block[4096];
    size_t n;
    FILE *f = fopen(path, "r");
    text_clear(ret);
    while (f && (n = fread(block, 1, sizeof(block), f)) > 0)
        text_add_bytes(ret, block, n);
    if (f)
        fclose(f);
}

static bool holds(const struct text *t, const char *what)
{
    return t->size > 0 && memmem(t->data, t->size, what, strlen(what));
}

static int serve(const char *data, int *out, const char *option, const char *value)
{
    int pid = program_start((const char *const[]){"serve", "--port", "0", "--workers", "1",
                                                  "--data", data, option, value, NULL},
                            out);
    CLEANUP(text_free) struct text lock = {0};
    CLEANUP(kb_freep) char *path = path_join(data, "lock");
    for (int i = 0; i < 600 && !holds(&lock, "http://"); i++) {
        usleep(50000);
        read_all(path, &lock);
    }
    assert_true(holds(&lock, "http://127.0.0.1:"));
    return pid;
}

static void look_for_secrets(const char *pid)
{
    static const char *const files[] = {"cmdline", "environ"};
    CLEANUP(text_free) struct text t = {0};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        CLEANUP(kb_freep) char *path = kb_printf("/proc/%s/%s", pid, files[i]);
        read_all(path, &t);
        if (holds(&t, GIVEN) || holds(&t, INHERITED))
            fail_msg("%s holds the token", path);
    }
}

// Not in the command line or the environment of the server, not in those of its workers.
static void the_token_is_shown_to_nobody(void **state)
{
    int out, n = 0;
    const char *data = in_folder("token");
    CLEANUP(kb_freep) char *ours = kb_printf("/proc/self/task/%d/children", (int)getpid());
    if (access(ours, R_OK) != 0)
        SKIP_TEST("this kernel does not list children");
    setenv("KOUBO_TOKEN", INHERITED, 1);
    int pid = serve(data, &out, "--token", GIVEN);
    unsetenv("KOUBO_TOKEN");
    CLEANUP(kb_freep) char *self = kb_printf("%d", pid);
    CLEANUP(kb_freep) char *children = kb_printf("/proc/%d/task", pid);
    look_for_secrets(self);
    CLEANUP(text_free) struct text t = {0};
    for (int i = 0; i < 600 && n == 0; i++) { // whichever thread started them
        CLEANUP(kb_freep) char *command = kb_printf("cat %s/*/children", children);
        FILE *f = popen(command, "r");
        char child[32];
        while (fscanf(f, "%31s", child) == 1) {
            look_for_secrets(child);
            n++;
        }
        pclose(f);
        usleep(50000);
    }
    assert_true(n > 0);
    CLEANUP(kb_freep) char *log = path_join(data, "logs/koubo.log");
    read_all(log, &t);
    assert_false(holds(&t, GIVEN));
    kill(pid, SIGTERM);
    assert_int_equal(program_wait(pid), 0);
    close(out);
}

// Where nothing is said, only this machine can connect.
static void loopback_is_the_default(void **state)
{
    int out, port = 0;
    const char *data = in_folder("loopback");
    int pid = serve(data, &out, "--lang", "en");
    CLEANUP(text_free) struct text t = {0};
    CLEANUP(kb_freep) char *lock = path_join(data, "lock");
    read_all(lock, &t);
    assert_int_equal(sscanf(strstr(t.data, "http://"), "http://127.0.0.1:%d", &port), 1);
    CLEANUP(kb_freep) char *here = kb_printf(" 0100007F:%04X 00000000:0000 0A ", port);
    CLEANUP(kb_freep) char *everywhere = kb_printf(":%04X 00000000:0000 0A ", port);
    read_all("/proc/net/tcp", &t);
    assert_true(holds(&t, here));
    *strstr(t.data, here) = '\0'; // and nothing else of that port
    assert_null(strstr(t.data, everywhere));
    CLEANUP(kb_freep) char *v6 = kb_printf(":%04X 00000000000000000000000000000000:0000 0A ", port);
    read_all("/proc/net/tcp6", &t);
    assert_false(holds(&t, v6));
    kill(pid, SIGTERM);
    assert_int_equal(program_wait(pid), 0);
    close(out);
}

static void a_wrong_proxy_is_said(void **state)
{
    struct outcome r = {0};
    RUN(&r, "serve", "--lang", "en", "--port", "0", "--data", in_folder("proxy"), "--trusted-proxy",
        "10.0.0.1", "--trusted-proxy", "proxy.example");
    assert_status(&r, 3);
    assert_says(r.err, "not 'proxy.example'");
    free(r.out);
    free(r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_token_is_shown_to_nobody),
        cmocka_unit_test(loopback_is_the_default),
        cmocka_unit_test(a_wrong_proxy_is_said),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
