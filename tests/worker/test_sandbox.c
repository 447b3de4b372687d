// The cage, from inside: each case is a child that enters it and tries something.
#include "tests/test.h"

#include "base/file.h"
#include "base/place.h"
#include "worker/limits.h"
#include "worker/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char data[64], elsewhere[64];
static int inherited[2]; // as a worker's to the server

static const char *join(const char *folder, const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static bool write_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    bool ok = fd >= 0 && write(fd, "x", 1) == 1;
    if (fd >= 0)
        close(fd);
    return ok;
}

// --- what is tried; each tells whether it succeeded

static bool renames_inside(void)
{
    char from[256];
    snprintf(from, sizeof(from), "%s/from", data);
    return write_file(from) && rename(from, join(data, "to")) == 0 && unlink(join(data, "to")) == 0;
}

static bool reads_elsewhere(void)
{
    int fd = open("/etc/passwd", O_RDONLY);
    char c;
    return fd >= 0 && read(fd, &c, 1) == 1;
}

static bool writes_nowhere(void)
{
    return write_file("/dev/null");
}

static void *nothing(void *opaque)
{
    return opaque;
}

static bool starts_threads(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0;
}

static bool writes_elsewhere(void)
{
    return write_file(join(elsewhere, "new"));
}

static bool overwrites_elsewhere(void)
{
    return open(join(elsewhere, "old"), O_WRONLY) >= 0;
}

static bool empties_elsewhere(void)
{
    return truncate(join(elsewhere, "old"), 0) == 0;
}

// Older Landlock sees no writing in this.
static bool empties_while_reading(void)
{
    errno = 0;
    return open(join(elsewhere, "old"), O_RDONLY | O_TRUNC) >= 0 || errno != EPERM;
}

static bool empties_its_own(void)
{
    int fd = open(join(data, "from"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    return fd >= 0 && close(fd) == 0 && open(join(data, "from"), O_WRONLY | O_TRUNC) >= 0;
}

static bool removes_elsewhere(void)
{
    return unlink(join(elsewhere, "old")) == 0;
}

static bool changes_modes(void)
{
    return chmod(join(elsewhere, "old"), 0777) == 0;
}

static bool links_outward(void)
{
    char from[256];
    snprintf(from, sizeof(from), "%s/from", data);
    return write_file(from) && link(from, join(elsewhere, "link")) == 0;
}

static bool links_inside(void)
{
    return symlink("/etc/passwd", join(data, "link")) == 0;
}

static bool names_a_file_twice(void)
{
    char from[256];
    snprintf(from, sizeof(from), "%s/from", data);
    return write_file(from) && link(from, join(data, "link")) == 0;
}

static bool makes_a_fifo(void)
{
    return mkfifo(join(data, "link"), 0600) == 0;
}

static bool starts_a_process(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return child > 0;
}

static bool has_others_signalled(void)
{
    int ends[2];
    return pipe(ends) == 0 && fcntl(ends[0], F_SETOWN, getppid()) == 0;
}

static bool watches_another(void)
{
    char c;
    struct iovec mine = {&c, 1}, theirs = {data, 1};
    return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) == 0 ||
           process_vm_readv(getppid(), &mine, 1, &theirs, 1, 0) == 1;
}

static bool lets_itself_be_watched(void)
{
    return prctl(PR_SET_DUMPABLE, 1) == 0;
}

static bool limits_another(void)
{
    struct rlimit limit;
    return prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit) == 0;
}

static bool slows_others(void)
{
    return setpriority(PRIO_PROCESS, (id_t)getppid(), 19) == 0 ||
           setpriority(PRIO_USER, 0, 19) == 0;
}

static bool lowers_its_priority(void)
{
    errno = 0;
    return nice(1) != -1 || errno == 0;
}

// What no kernel of today knows is refused as such: a library then does without.
static bool calls_what_is_new(void)
{
    errno = 0;
    return syscall(599) != -1 || errno != ENOSYS;
}

static bool runs_programs(void)
{
    char *arguments[] = {(char *)"true", NULL};
    execv("/bin/true", arguments);
    return false; // a success does not come back; its exit code is 0
}

static bool connects(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    // refused by nobody listening would still be a way out
    return fd >= 0 &&
           (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == ECONNREFUSED);
}

static bool opens_unix_sockets(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool talks_to_its_own(void)
{
    char c = 0;
    return send(inherited[1], "x", 1, MSG_NOSIGNAL) == 1 && recv(inherited[0], &c, 1, 0) == 1;
}

static bool sends_to_addresses(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    errno = 0;
    return sendto(inherited[1], "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) == 1 ||
           errno != EPERM;
}

static bool signals_others(void)
{
    return kill(getppid(), 0) == 0;
}

static const struct {
    const char *name;
    bool (*try)(void);
    bool allowed;
    bool needs_landlock;
} cases[] = {
    {"rename inside", renames_inside, true, false},
    {"read elsewhere", reads_elsewhere, false, true},
    {"write to /dev/null", writes_nowhere, true, false},
    {"start a thread", starts_threads, true, false},
    {"write elsewhere", writes_elsewhere, false, true},
    {"overwrite elsewhere", overwrites_elsewhere, false, true},
    {"truncate elsewhere", empties_elsewhere, false, true},
    {"empty elsewhere by reading", empties_while_reading, false, false},
    {"empty its own", empties_its_own, true, false},
    {"remove elsewhere", removes_elsewhere, false, true},
    {"change modes elsewhere", changes_modes, false, false},
    {"link outward", links_outward, false, false},
    {"make a link", links_inside, false, false},
    {"give a file a second name", names_a_file_twice, false, false},
    {"make a FIFO", makes_a_fifo, false, false},
    {"start a process", starts_a_process, false, false},
    {"have others signalled", has_others_signalled, false, false},
    {"watch another process", watches_another, false, false},
    {"let itself be watched", lets_itself_be_watched, false, false},
    {"see another's limits", limits_another, false, false},
    {"slow others down", slows_others, false, false},
    {"lower its own priority", lowers_its_priority, true, false},
    {"call what is new", calls_what_is_new, false, false},
    {"talk through its own socket", talks_to_its_own, true, false},
    {"send to an address", sends_to_addresses, false, false},
    {"run a program", runs_programs, false, false},
    {"connect", connects, false, false},
    {"open a local socket", opens_unix_sockets, false, false},
    {"signal another process", signals_others, false, false},
};

enum { DID = 0, REFUSED = 1, NO_CAGE = 2, NO_LANDLOCK = 3 };

static int try_caged(size_t i)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct kb_error err = {0};
        char missing[200];
        if (sandbox_enter(data, &(struct sandbox_paths){0}, missing, &err) != KB_OK)
            _exit(NO_CAGE);
        if (cases[i].needs_landlock && strstr(missing, "Landlock"))
            _exit(NO_LANDLOCK);
        _exit(cases[i].try() ? DID : REFUSED);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_what_the_cage_lets_through(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unlink(join(data, "from"));
        assert_true(write_file(join(elsewhere, "old")));
        int outcome = try_caged(i);
        if (outcome == NO_LANDLOCK) {
            print_message("no Landlock here: '%s' not tried\n", cases[i].name);
            continue;
        }
        if (outcome != (cases[i].allowed ? DID : REFUSED))
            fail_msg("%s: %s", cases[i].name,
                     outcome == NO_CAGE ? "the cage could not be entered"
                     : outcome == DID   ? "was possible"
                                        : "was refused");
    }
    // The same things are possible outside, so what refused them was the cage.
    assert_true(writes_elsewhere());
    assert_true(connects());
    assert_true(signals_others());
    assert_true(links_inside() && unlink(join(data, "link")) == 0);
    assert_true(makes_a_fifo() && unlink(join(data, "link")) == 0);
}

// Nobody who forgets a field lets a stranger's file out.
static void test_a_worker_is_caged_unless_told(void **state)
{
    mkdir(join(data, "work"), 0700); // as the server does
    mkdir(join(data, "work/w1"), 0700);
    for (int unconfined = 0; unconfined < 2; unconfined++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct worker_params p = {.data = data, .id = "w1", .unconfined = unconfined};
            if (limits_enter(&p, NULL) != KB_OK)
                _exit(NO_CAGE);
            _exit(connects() ? DID : REFUSED);
        }
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), unconfined ? DID : REFUSED);
    }
    rmdir(join(data, "work/w1"));
    rmdir(join(data, "work"));
}

// What of the data folder a worker reaches: its own folder to write in, what users gave and the
// caches to read, and nothing else.
static const struct {
    const char *name;
    bool reads, writes;
} places[] = {
    {"work/w1/a.mp4", true, true},
    {"files/a", true, false},
    {"tracks/a.kbt", true, false},
    {"networks/a.kbp", true, false},
    {"koubo.db", false, false},
    {"koubo.db-wal", false, false},
    {"id", false, false},
    {"lock", false, false},
    {"results/1_a/a.mp4", false, false},
    {"logs/koubo.log", false, false},
    {"uploads/a.part", false, false},
    {"thumbs/a.jpg", false, false},
    {"backups/a.db", false, false},
    {"work/w2/a.mp4", false, false},
};

// 0: as the table says, else the row, from 1 (100 more: of writing).
static int try_places(void)
{
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        int fd = open(join(data, places[i].name), O_RDONLY);
        if ((fd >= 0) != places[i].reads)
            return (int)i + 1;
        fd = open(join(data, places[i].name), O_WRONLY);
        CLEANUP(kb_freep) char *made = kb_printf("%s/%s.new", data, places[i].name);
        int fresh = open(made, O_WRONLY | O_CREAT | O_EXCL, 0600);
        bool moved = rename(join(data, "work/w1/a.mp4"), made) == 0;
        if (moved)
            rename(made, join(data, "work/w1/a.mp4"));
        if ((fd >= 0) != places[i].writes || (fresh >= 0) != places[i].writes ||
            moved != places[i].writes)
            return (int)i + 101;
    }
    return 0;
}

static void test_what_of_the_data_folder_is_reached(void **state)
{
    struct kb_error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        CLEANUP(kb_freep) char *path = path_join(data, places[i].name);
        CLEANUP(kb_freep) char *folder = path_folder(path);
        assert_ok(err, file_make_dirs(folder, &err));
        assert_ok(err, file_write_cached(path, "x", 1, &err));
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION) <
            1)
            _exit(255);
        struct worker_params p = {.data = data, .id = "w1"};
        _exit(limits_enter(&p, NULL) == KB_OK ? try_places() : 254);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    int row = WEXITSTATUS(status);
    if (row == 255)
        SKIP_TEST("this kernel has no Landlock");
    if (row != 0)
        fail_msg("'%s' is %s otherwise", places[(row - 1) % 100].name,
                 row > 100 ? "written" : "read");
}

static int set_up(void **state)
{
    snprintf(data, sizeof(data), "/tmp/koubo-cage-XXXXXX");
    snprintf(elsewhere, sizeof(elsewhere), "/tmp/koubo-cage-XXXXXX");
    return mkdtemp(data) && mkdtemp(elsewhere) &&
                   socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, inherited) == 0
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    close(inherited[0]);
    close(inherited[1]);
    unlink(join(data, "from"));
    unlink(join(elsewhere, "old"));
    unlink(join(elsewhere, "new"));
    return place_remove(data) && place_remove(elsewhere) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_the_cage_lets_through, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_worker_is_caged_unless_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_of_the_data_folder_is_reached, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("worker/sandbox", tests, NULL, NULL);
}
