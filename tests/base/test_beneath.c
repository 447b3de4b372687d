#include "tests/test.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/place.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// A folder with a file, a folder within, and outside of it a secret to which links lead.
struct scene {
    char *place, *data, *outside, *secret;
};

static void put(const char *path, const char *text)
{
    struct kb_error err = {0};
    assert_ok(err, file_write_cached(path, text, strlen(text), &err));
}

static void tie(const struct scene *s, const char *name, const char *target)
{
    CLEANUP(kb_freep) char *path = path_join(s->data, name);
    assert_int_equal(symlink(target, path), 0);
}

static void scene_make(struct scene *s)
{
    struct kb_error err = {0};
    assert_ok(err, place_make(&s->place, "koubo-beneath", &err));
    s->data = path_join(s->place, "data");
    s->outside = path_join(s->place, "outside");
    s->secret = path_join(s->outside, "secret");
    CLEANUP(kb_freep) char *inner = path_join(s->data, "results/a");
    CLEANUP(kb_freep) char *file = path_join(inner, "film.mp4");
    assert_ok(err, file_make_dirs(inner, &err));
    assert_ok(err, file_make_dirs(s->outside, &err));
    put(file, "film");
    put(s->secret, "secret");
    tie(s, "results/a/end", s->secret);
    tie(s, "results/a/near", "film.mp4");
    tie(s, "results/away", s->outside);
    tie(s, "results/here", "a");
    tie(s, "magic", "/proc/self/fd/0");
    tie(s, "root", "/proc/self/root");
    CLEANUP(kb_freep) char *fifo = path_join(inner, "fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    CLEANUP(kb_freep) char *listener = path_join(inner, "socket");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    assert_true(strlen(listener) < sizeof(name.sun_path));
    memcpy(name.sun_path, listener, strlen(listener) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    close(fd);
}

static void scene_end(struct scene *s)
{
    place_end(&s->place);
    kb_freep(&s->data);
    kb_freep(&s->outside);
    kb_freep(&s->secret);
}

static const struct {
    const char *path;
    int number; // 0: opens
} paths[] = {
    {"results/a/film.mp4", 0},
    {"results/a/none", ENOENT},
    {"results/none/film.mp4", ENOENT},
    {"results/a/film.mp4/x", ENOTDIR},
    {"results/a/end", ELOOP},
    {"results/a/near", ELOOP},
    {"results/away/secret", ELOOP},
    {"results/here/film.mp4", ELOOP},
    {"magic", ELOOP},
    {"root/etc/passwd", ELOOP},
    {"results/a", EINVAL},
    {"results/a/fifo", EINVAL},
    {"results/a/socket", EINVAL},
    {"../outside/secret", EXDEV},
    {"results/../../outside/secret", EXDEV},
    {"results/a/..", EXDEV},
    {"results/./a/film.mp4", EXDEV},
    {"results//a/film.mp4", EXDEV},
    {"results/a/film.mp4/", EXDEV},
    {"/etc/passwd", EXDEV},
    {"", EXDEV},
    {".", EXDEV},
};

static void test_open(void **state)
{
    CLEANUP(scene_end) struct scene s = {0};
    scene_make(&s);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        errno = 0;
        int fd = beneath_open(s.data, paths[i].path, O_RDONLY, 0);
        if (paths[i].number ? errno != paths[i].number || fd >= 0 : fd < 0)
            fail_msg("'%s': %d, errno %d instead of %d", paths[i].path, fd, errno, paths[i].number);
        if (fd >= 0) {
            assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
            close(fd);
        }
        if (paths[i].number)
            assert_true(*beneath_reason(paths[i].number));
    }
    // The folder itself may be reached through a link: its owner chose it.
    CLEANUP(kb_freep) char *linked = path_join(s.place, "linked");
    assert_int_equal(symlink(s.data, linked), 0);
    assert_int_equal(beneath_size(linked, "results/a/film.mp4"), 4);
    assert_int_equal(beneath_open("/dev", "null", O_RDONLY, 0), -1);
    assert_int_equal(errno, EINVAL);
    CLEANUP(kb_freep) char *none = path_join(s.place, "none");
    assert_int_equal(beneath_open(none, "x", O_RDONLY, 0), -1);
    assert_int_equal(errno, ENOENT);
}

static void test_write(void **state)
{
    CLEANUP(scene_end) struct scene s = {0};
    scene_make(&s);
    int flags = O_WRONLY | O_CREAT | O_TRUNC;
    assert_int_equal(beneath_open(s.data, "results/a/end", flags, 0600), -1);
    assert_int_equal(beneath_open(s.data, "results/away/new", flags, 0600), -1);
    assert_int_equal(beneath_open(s.data, "results/a/fifo", flags, 0600), -1);
    struct stat st;
    assert_int_equal(stat(s.secret, &st), 0);
    assert_int_equal(st.st_size, 6);
    int fd = beneath_open(s.data, "results/a/film.mp4", flags, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(beneath_size(s.data, "results/a/film.mp4"), 0);
    fd = beneath_open(s.data, "results/new", flags | O_EXCL, 0600);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    close(fd);
    assert_int_equal(beneath_open(s.data, "results/new", flags | O_EXCL, 0600), -1);
    assert_int_equal(errno, EEXIST);
}

static void test_names(void **state)
{
    CLEANUP(scene_end) struct scene s = {0};
    scene_make(&s);
    struct stat st;
    // Nothing outside is touched, by whichever way it is named.
    assert_false(beneath_unlink(s.data, "results/away/secret"));
    assert_int_equal(errno, ELOOP);
    assert_false(beneath_unlink(s.data, "../outside/secret"));
    assert_false(beneath_rename(s.data, "results/away/secret", "results/got"));
    assert_false(beneath_rename(s.data, "results/a/film.mp4", "results/away/film.mp4"));
    assert_false(beneath_link(s.data, "results/a/end", "results/got"));
    assert_int_equal(errno, ELOOP);
    assert_false(beneath_link(s.data, "results/away/secret", "results/got"));
    assert_false(beneath_make_dirs(s.data, "results/away/x", 0700));
    assert_false(beneath_make_dirs(s.data, "results/../../x", 0700));
    assert_false(beneath_make_dirs(s.data, "results/away", 0700));
    assert_int_equal(errno, ELOOP);
    assert_false(beneath_make_dirs(s.data, "results/a/film.mp4", 0700));
    assert_false(beneath_rmdir(s.data, "results/away"));
    assert_null(beneath_list(s.data, "results/away"));
    assert_false(beneath_stat(s.data, "results/away/secret", &st));
    assert_int_equal(beneath_size(s.data, "results/a/end"), -1);
    assert_true(file_exists(s.secret));
    assert_int_equal(beneath_size(s.outside, "film.mp4"), -1);

    // A link is seen and removed as a link.
    assert_true(beneath_stat(s.data, "results/a/end", &st) && S_ISLNK(st.st_mode));
    assert_true(beneath_unlink(s.data, "results/a/end"));
    assert_true(file_exists(s.secret));

    assert_true(beneath_make_dirs(s.data, "work/w1/deep", 0700));
    assert_true(beneath_make_dirs(s.data, "work/w1/deep", 0700));
    assert_true(beneath_stat(s.data, "work/w1", &st));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_true(beneath_link(s.data, "results/a/film.mp4", "work/w1/film.mp4"));
    assert_false(beneath_link(s.data, "results/a/film.mp4", "work/w1/film.mp4"));
    assert_int_equal(errno, EEXIST);
    assert_true(beneath_rename(s.data, "work/w1/film.mp4", "work/w1/deep/it.mp4"));
    assert_int_equal(beneath_size(s.data, "work/w1/deep/it.mp4"), 4);
    assert_true(beneath_sync(s.data, "work/w1") && beneath_sync(s.data, ""));
    assert_false(beneath_rmdir(s.data, "work/w1/deep"));
    assert_true(beneath_unlink(s.data, "work/w1/deep/it.mp4"));
    assert_true(beneath_rmdir(s.data, "work/w1/deep"));
    int n = 0;
    DIR *d = beneath_list(s.data, "results");
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    assert_int_equal(n, 3);
    d = beneath_list(s.data, "");
    assert_non_null(d);
    closedir(d);
}

static void test_owner(void **state)
{
    if (geteuid() != 0)
        SKIP_TEST("only root can give a file away");
    CLEANUP(scene_end) struct scene s = {0};
    scene_make(&s);
    CLEANUP(kb_freep) char *film = path_join(s.data, "results/a/film.mp4");
    assert_int_equal(chown(film, 12345, 12345), 0);
    assert_int_equal(beneath_open(s.data, "results/a/film.mp4", O_RDWR | O_TRUNC, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(beneath_size(s.data, "results/a/film.mp4"), 4);
    // Of whose the folder is, the files are too.
    assert_int_equal(chown(s.data, 12345, 12345), 0);
    int fd = beneath_open(s.data, "results/a/film.mp4", O_RDONLY, 0);
    assert_true(fd >= 0);
    close(fd);
}

// results/ may be a mount with another owner: what lies in it is his.
static void test_owner_within(void **state)
{
    if (geteuid() != 0)
        SKIP_TEST("only root can give a file away");
    CLEANUP(scene_end) struct scene s = {0};
    scene_make(&s);
    CLEANUP(kb_freep) char *inner = path_join(s.data, "results/a");
    CLEANUP(kb_freep) char *film = path_join(inner, "film.mp4");
    assert_int_equal(chown(inner, 12345, 12345) | chown(film, 12345, 12345), 0);
    int fd = beneath_open(s.data, "results/a/film.mp4", O_RDONLY, 0);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(chown(film, 12346, 12346), 0);
    assert_int_equal(beneath_open(s.data, "results/a/film.mp4", O_RDONLY, 0), -1);
    assert_int_equal(errno, EPERM);
}

// A file system may say that what we make is another's, as an export of NFS does with root's files.
static void test_made_for_another(void **state)
{
    if (geteuid() != 0)
        SKIP_TEST("only root has files made for others");
    CLEANUP(scene_end) struct scene s = {0};
    scene_make(&s);
    assert_int_equal(chmod(s.place, 0755) | chmod(s.data, 0777), 0);
    setfsuid(12345);
    int fd = beneath_open(s.data, "new", O_WRONLY | O_CREAT, 0644);
    int number = errno;
    setfsuid(0);
    if (fd < 0 && number == EACCES)
        SKIP_TEST("a folder above lets nobody else in");
    struct stat st;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    close(fd);
    assert_int_equal(st.st_uid, 12345);
    // One that is there already may be anybody's.
    assert_int_equal(beneath_open(s.data, "new", O_WRONLY | O_CREAT, 0644), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(beneath_size(s.data, "new"), 0);
}

// Does what a child does behind a filter that answers a call with an error. False: no filter here.
static bool behind_filter(int call, int number, void (*what)(void **state))
{
    pid_t child = fork();
    if (child == 0) {
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        bool ok = filter &&
                  seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)number), call, 0) == 0 &&
                  seccomp_load(filter) == 0;
        seccomp_release(filter);
        if (!ok)
            _exit(77);
        what(NULL);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        return false;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return true;
}

static void sync_is_enough(void **state)
{
    CLEANUP(scene_end) struct scene s = {0};
    scene_make(&s);
    assert_true(beneath_sync(s.data, "results/a") && beneath_sync(s.data, ""));
    assert_false(beneath_sync(s.data, "results/none"));
    assert_int_equal(errno, ENOENT);
}

static void sync_fails(void **state)
{
    CLEANUP(scene_end) struct scene s = {0};
    scene_make(&s);
    assert_false(beneath_sync(s.data, "results/a"));
    assert_int_equal(errno, EIO);
}

// A file system that syncs no folders, and one that is broken.
static void test_no_sync(void **state)
{
    if (!behind_filter(SCMP_SYS(fsync), EINVAL, sync_is_enough) ||
        !behind_filter(SCMP_SYS(fsync), ENOTSUP, sync_is_enough) ||
        !behind_filter(SCMP_SYS(fsync), EIO, sync_fails))
        SKIP_TEST("this kernel lets no filter be set");
}

static void all_of_it(void **state)
{
    test_open(state);
    test_write(state);
    test_names(state);
}

// The same on a kernel without openat2 (ENOSYS), and where a container's filter refuses it (EPERM).
static void test_without_openat2(void **state)
{
    static const int numbers[] = {ENOSYS, EPERM};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (!behind_filter(SCMP_SYS(openat2), numbers[i], all_of_it))
            SKIP_TEST("this kernel lets no filter be set");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_owner_within),
        cmocka_unit_test(test_made_for_another),
        cmocka_unit_test(test_without_openat2),
        cmocka_unit_test(test_no_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
