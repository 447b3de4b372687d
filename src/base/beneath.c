// The folder that holds the last part is opened once, by openat2() where the kernel has it (5.6),
// else part by part; whatever is done is then done to a name in that descriptor. So a folder that
// is exchanged for a link in between changes nothing.
#include "base/beneath.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOLDER (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

// --- getting there

static void close_fd(const int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        close(*fd);
    errno = saved;
}

// 0, or the errno that says what is wrong with a path before it is looked at.
static int check(const char *path)
{
    for (const char *p = path;;) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return EXDEV;
        if (p[n] == '\0')
            return 0;
        p += n + 1;
    }
}

static int walk(int folder, const char *path)
{
    CLEANUP(close_fd) int at = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    CLEANUP(kb_freep) char *copy = kb_strdup(path);
    char *rest = copy;
    for (char *part; at >= 0 && (part = strsep(&rest, "/"));) {
        int next = openat(at, part, FOLDER);
        struct stat st;
        // With O_DIRECTORY a link is answered "not a folder"; this says which it was.
        if (next < 0 && errno == ENOTDIR && fstatat(at, part, &st, AT_SYMLINK_NOFOLLOW) == 0)
            errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
        close_fd(&at);
        at = next;
    }
    int ret = at;
    at = -1;
    return ret;
}

// The folder path below the open one.
static int enter_below(int folder, const char *path)
{
    struct open_how how = {
        .flags = FOLDER, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));
    // Older kernels, and containers whose filter is older than the call.
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        return walk(folder, path);
    // Its last part with O_DIRECTORY is "not a folder" when it is a link.
    return fd < 0 && errno == ENOTDIR ? walk(folder, path) : fd;
}

// Opens the folder that holds path; *ret_name is path's last part.
static int enter(const char *folder, const char *path, const char **ret_name)
{
    int wrong = check(path);
    if (wrong) {
        errno = wrong;
        return -1;
    }
    CLEANUP(close_fd) int base = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    int fd = base;
    if (base >= 0 && slash) {
        CLEANUP(kb_freep) char *above = kb_printf("%.*s", (int)(slash - path), path);
        return enter_below(base, above);
    }
    base = -1;
    return fd;
}

// --- files

// at: the folder that holds it.
static bool is_ours(const char *folder, int at, const struct stat *st)
{
    struct stat above;
    return st->st_uid == geteuid() || st->st_uid == 0 ||
           // A share of the network may show all files as one user's; it may be mounted on a folder
           // within.
           (stat(folder, &above) == 0 && above.st_uid == st->st_uid) ||
           (fstat(at, &above) == 0 && above.st_uid == st->st_uid);
}

// *ret_made: there was none, whatever else goes on here. One that another makes and removes
// meanwhile is tried for a few times.
static int open_or_make(int at, const char *name, int flags, mode_t mode, bool *ret_made)
{
    int fd = -1;
    for (int i = 0; i < 10; i++) {
        fd = flags & O_CREAT ? openat(at, name, flags | O_EXCL, mode) : -1;
        *ret_made = fd >= 0;
        if (fd >= 0 || ((flags & O_CREAT) && (errno != EEXIST || (flags & O_EXCL))))
            return fd;
        fd = openat(at, name, flags & ~O_CREAT);
        if (fd >= 0 || errno != ENOENT || !(flags & O_CREAT))
            break;
    }
    return fd;
}

int beneath_open(const char *folder, const char *path, int flags, mode_t mode)
{
    const char *name;
    CLEANUP(close_fd) int at = enter(folder, path, &name);
    if (at < 0)
        return -1;
    int careful = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    bool made;
    int fd = open_or_make(at, name, (flags & ~O_TRUNC) | careful, mode, &made);
    if (fd < 0) {
        if (errno == ENXIO || errno == EISDIR) // a FIFO or socket, a folder
            errno = EINVAL;
        return -1;
    }
    struct stat st;
    int wrong = 0;
    if (fstat(fd, &st) != 0)
        wrong = errno;
    else if (!S_ISREG(st.st_mode))
        wrong = EINVAL;
    else if (!made && !is_ours(folder, at, &st)) // a server may give what we make to "nobody"
        wrong = EPERM;
    if (!wrong && (flags & O_TRUNC) && ftruncate(fd, 0) != 0)
        wrong = errno;
    if (!wrong)
        return fd;
    close(fd);
    if (made)
        unlinkat(at, name, 0);
    errno = wrong;
    return -1;
}

DIR *beneath_list(const char *folder, const char *path)
{
    const char *name = ".";
    CLEANUP(close_fd)
    int at = *path ? enter(folder, path, &name) : open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = at < 0 ? -1 : openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    DIR *d = fdopendir(fd);
    if (!d)
        close_fd(&fd);
    return d;
}

bool beneath_stat(const char *folder, const char *path, struct stat *ret)
{
    const char *name;
    CLEANUP(close_fd) int at = enter(folder, path, &name);
    return at >= 0 && fstatat(at, name, ret, AT_SYMLINK_NOFOLLOW) == 0;
}

long long beneath_size(const char *folder, const char *path)
{
    struct stat st;
    if (!beneath_stat(folder, path, &st))
        return -1;
    if (S_ISREG(st.st_mode))
        return (long long)st.st_size;
    errno = S_ISLNK(st.st_mode) ? ELOOP : EINVAL;
    return -1;
}

// --- names

bool beneath_unlink(const char *folder, const char *path)
{
    const char *name;
    CLEANUP(close_fd) int at = enter(folder, path, &name);
    return at >= 0 && unlinkat(at, name, 0) == 0;
}

bool beneath_rmdir(const char *folder, const char *path)
{
    const char *name;
    CLEANUP(close_fd) int at = enter(folder, path, &name);
    return at >= 0 && unlinkat(at, name, AT_REMOVEDIR) == 0;
}

bool beneath_rename(const char *folder, const char *from, const char *to)
{
    const char *old_name, *new_name;
    CLEANUP(close_fd) int old = enter(folder, from, &old_name);
    CLEANUP(close_fd) int new = old < 0 ? -1 : enter(folder, to, &new_name);
    return new >= 0 && renameat(old, old_name, new, new_name) == 0;
}

bool beneath_link(const char *folder, const char *from, const char *to)
{
    const char *old_name, *new_name;
    CLEANUP(close_fd) int old = enter(folder, from, &old_name);
    CLEANUP(close_fd) int new = old < 0 ? -1 : enter(folder, to, &new_name);
    struct stat st;
    if (new < 0 || fstatat(old, old_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    if (!S_ISREG(st.st_mode)) {
        errno = S_ISLNK(st.st_mode) ? ELOOP : EINVAL;
        return false;
    }
    return linkat(old, old_name, new, new_name, 0) == 0;
}

bool beneath_make_dirs(const char *folder, const char *path, mode_t mode)
{
    CLEANUP(kb_freep) char *part = kb_strdup(path);
    struct stat st;
    for (char *p = part;; p++) {
        char end = *p;
        if (end != '/' && end)
            continue;
        *p = '\0';
        const char *name;
        CLEANUP(close_fd) int at = enter(folder, part, &name);
        if (at < 0 || (mkdirat(at, name, mode) != 0 && errno != EEXIST))
            return false;
        if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            return false;
        if (!S_ISDIR(st.st_mode)) {
            errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
            return false;
        }
        *p = end;
        if (!end)
            return true;
    }
}

bool beneath_sync(const char *folder, const char *path)
{
    DIR *d = beneath_list(folder, path);
    bool ok = d && (fsync(dirfd(d)) == 0 || errno == EINVAL || errno == ENOTSUP);
    int saved = errno;
    if (d)
        closedir(d);
    errno = saved;
    return ok;
}

bool beneath_is_gone(int number)
{
    return number == ENOENT || number == ENOTDIR || number == ELOOP || number == EXDEV ||
           number == EINVAL || number == ENAMETOOLONG;
}

const char *beneath_reason(int number)
{
    switch (number) {
    case ELOOP:
        return _("there is a link, and koubo follows none here");
    case EXDEV:
        return _("the name leads out of the folder");
    case EINVAL:
        return _("it is not a regular file");
    case EPERM:
        return _("it belongs to another user");
    default:
        return kb_strerror(number);
    }
}
