// Declared as the C library declares them for large files and for small ones, both of which the
// libraries use; with its macros that check sizes a definition would not compile.
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include "tests/faults/calls.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Seen by libraries, though all else of koubo is hidden.
#define LAYER __attribute__((visibility("default")))

// The function that this one stands before.
#define REAL(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&name) real_;                                                            \
        if (!real_)                                                                                \
            real_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                    \
        real_;                                                                                     \
    })

static struct {
    enum fault fault;
    long n, seen, broken;
    bool on, lasting, held;
    int paused;
    char folder[PATH_MAX];
    bool watched[1024]; // descriptors of what is below it
    call_fn *each;
    void *opaque;
    int64_t slept_ns;
    int sql_error;  // that a statement seemed to return last
    bool executing; // within sqlite3_exec()
} layer;

const char *fault_name(enum fault f)
{
    static const char *const names[N_FAULTS] = {"EIO",    "ENOSPC", "short", "killed",
                                                "memory", "BUSY",   "FULL"};
    return names[f];
}

void calls_break(enum fault f, long n, bool lasting)
{
    layer.fault = f;
    layer.n = n;
    layer.lasting = lasting;
    layer.seen = layer.broken = 0;
    layer.on = true;
}

void calls_mend(void)
{
    layer.on = false;
    layer.sql_error = SQLITE_OK;
}

void calls_hold(void)
{
    layer.held = true;
}

void calls_go_on(void)
{
    layer.held = false;
}

long calls_seen(void)
{
    return layer.seen;
}

long calls_broken(void)
{
    return layer.broken;
}

void calls_watch(const char *folder)
{
    snprintf(layer.folder, sizeof(layer.folder), "%s", folder ? folder : "");
    memset(layer.watched, 0, sizeof(layer.watched));
}

void calls_pause_memory(void)
{
    layer.paused++;
}

void calls_resume_memory(void)
{
    layer.paused--;
}

void calls_tell(call_fn *each, void *opaque)
{
    layer.each = each;
    layer.opaque = opaque;
}

// --- which call is it

// Does this one fail?
static bool due(void)
{
    if (!layer.on || layer.held || (layer.paused && layer.fault == FAULT_MEMORY))
        return false;
    layer.seen++;
    bool now = layer.n > 0 && (layer.lasting ? layer.seen >= layer.n : layer.seen == layer.n);
    layer.broken += now;
    return now;
}

static bool is_below(const char *path)
{
    size_t n = strlen(layer.folder);
    return n > 0 && strncmp(path, layer.folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool is_watched(int fd)
{
    return fd >= 0 && fd < (int)(sizeof(layer.watched)) && layer.watched[fd];
}

// Where the descriptor's file or folder lies now, "" if nobody knows.
static char *path_of(char ret[PATH_MAX], int fd)
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, ret, PATH_MAX - 1);
    ret[n > 0 ? n : 0] = '\0';
    return ret;
}

// The absolute path of path at a folder's descriptor. False: not below the watched folder.
static bool place_of(char ret[PATH_MAX], int folder, const char *path)
{
    char at[PATH_MAX];
    if (layer.folder[0] == '\0')
        return false;
    if (path[0] == '/' || folder == AT_FDCWD)
        snprintf(ret, PATH_MAX, "%s", path);
    else if ((size_t)snprintf(ret, PATH_MAX, "%s/%s", path_of(at, folder), path) >= PATH_MAX)
        return false;
    return is_below(ret);
}

// True: the call is to fail, errno says how. takes_space: a full disk stops it.
static bool fails(bool takes_space)
{
    bool counts = layer.fault == FAULT_DISK || layer.fault == FAULT_KILLED ||
                  (layer.fault == FAULT_FULL && takes_space);
    if (!counts || !due())
        return false;
    if (layer.fault == FAULT_KILLED)
        _exit(99);
    errno = layer.fault == FAULT_FULL ? ENOSPC : EIO;
    return true;
}

static bool file_fails(int fd, bool takes_space)
{
    return is_watched(fd) && fails(takes_space);
}

// How many bytes this write or read is to do.
static size_t share(int fd, size_t n)
{
    return n > 1 && layer.fault == FAULT_SHORT && is_watched(fd) && due() ? n / 2 : n;
}

static void tell(struct call c)
{
    if (layer.each)
        layer.each(layer.opaque, &c);
}

// --- opening

static int open_at(int folder, const char *path, int flags, mode_t mode, const struct open_how *how)
{
    char place[PATH_MAX];
    struct stat64 st;
    bool below = place_of(place, folder, path);
    bool makes = below && (flags & O_CREAT) && lstat64(place, &st) != 0;
    if (below && fails(makes || (flags & O_TRUNC)))
        return -1;
    int fd = how ? (int)REAL(syscall)(SYS_openat2, folder, path, how, sizeof(*how))
                 : REAL(openat64)(folder, path, flags, mode);
    if (fd < 0 || fd >= (int)sizeof(layer.watched))
        return fd;
    layer.watched[fd] = below;
    if (!below)
        return fd;
    int number = errno;
    if (makes)
        tell((struct call){.what = CALL_CREATE, .path = place, .fd = fd});
    else if ((flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY)
        tell((struct call){.what = CALL_TRUNCATE, .path = place, .fd = fd});
    errno = number;
    return fd;
}

static mode_t mode_in(int flags, va_list args)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
    LAYER int name(const char *path, int flags, ...)                                               \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = mode_in(flags, args);                                                        \
        va_end(args);                                                                              \
        return open_at(AT_FDCWD, path, flags, mode, NULL);                                         \
    }
#define OPENAT(name)                                                                               \
    LAYER int name(int folder, const char *path, int flags, ...)                                   \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = mode_in(flags, args);                                                        \
        va_end(args);                                                                              \
        return open_at(folder, path, flags, mode, NULL);                                           \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

// The C library has no openat2() yet; all other calls of this kind go through.
LAYER long syscall(long number, ...)
{
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_openat2) {
        const struct open_how *how = (const struct open_how *)a[2];
        return open_at((int)a[0], (const char *)a[1], (int)how->flags, 0, how);
    }
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

LAYER int close(int fd)
{
    bool broken = file_fails(fd, false);
    if (fd >= 0 && fd < (int)sizeof(layer.watched))
        layer.watched[fd] = false;
    int number = errno, e = REAL(close)(fd); // it is closed in any case, as Linux does
    if (!broken)
        return e;
    errno = number;
    return -1;
}

LAYER DIR *opendir(const char *path)
{
    return is_below(path) && fails(false) ? NULL : REAL(opendir)(path);
}

// --- reading and writing

LAYER ssize_t read(int fd, void *data, size_t n)
{
    return file_fails(fd, false) ? -1 : REAL(read)(fd, data, share(fd, n));
}

LAYER ssize_t pread64(int fd, void *data, size_t n, off64_t offset)
{
    return file_fails(fd, false) ? -1 : REAL(pread64)(fd, data, share(fd, n), offset);
}

static void tell_written(int fd, const void *data, ssize_t n, int64_t offset)
{
    char path[PATH_MAX];
    if (n > 0 && layer.each && is_watched(fd))
        tell((struct call){.what = CALL_WRITE,
                           .path = path_of(path, fd),
                           .fd = fd,
                           .offset = offset,
                           .size = n,
                           .data = data});
}

LAYER ssize_t write(int fd, const void *data, size_t n)
{
    if (file_fails(fd, true))
        return -1;
    ssize_t written = REAL(write)(fd, data, share(fd, n));
    int number = errno;
    tell_written(fd, data, written, lseek64(fd, 0, SEEK_CUR) - written);
    errno = number;
    return written;
}

static ssize_t write_at(int fd, const void *data, size_t n, off64_t offset)
{
    if (file_fails(fd, true))
        return -1;
    ssize_t written = REAL(pwrite64)(fd, data, share(fd, n), offset);
    tell_written(fd, data, written, offset);
    return written;
}

LAYER ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset)
{
    return write_at(fd, data, n, offset);
}

LAYER ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
    return write_at(fd, data, n, offset);
}

LAYER int ftruncate64(int fd, off64_t size)
{
    char path[PATH_MAX];
    if (file_fails(fd, false))
        return -1;
    int e = REAL(ftruncate64)(fd, size);
    if (e == 0 && is_watched(fd))
        tell((struct call){
            .what = CALL_TRUNCATE, .path = path_of(path, fd), .fd = fd, .size = size});
    return e;
}

// Not to the disk: it would cost these tests most of their time, and what reaches the disk is told.
static int sync_file(int fd)
{
    char path[PATH_MAX];
    if (!is_watched(fd))
        return 0;
    if (fails(true))
        return -1;
    tell((struct call){.what = CALL_SYNC, .path = path_of(path, fd), .fd = fd});
    return 0;
}

LAYER int fsync(int fd)
{
    return sync_file(fd);
}

LAYER int fdatasync(int fd)
{
    return sync_file(fd);
}

// Blocks that two files share would not be seen here.
LAYER int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (request == FICLONE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return REAL(ioctl)(fd, request, argument);
}

// --- names

LAYER int renameat2(int from, const char *old, int to, const char *new, unsigned int flags)
{
    char old_place[PATH_MAX], new_place[PATH_MAX];
    bool below = place_of(old_place, from, old);
    below = place_of(new_place, to, new) || below;
    if (below && fails(true))
        return -1;
    int e = REAL(renameat2)(from, old, to, new, flags);
    if (e == 0 && below)
        tell((struct call){.what = CALL_RENAME, .path = old_place, .to = new_place, .fd = -1});
    return e;
}

LAYER int renameat(int from, const char *old, int to, const char *new)
{
    return renameat2(from, old, to, new, 0);
}

LAYER int rename(const char *old, const char *new)
{
    return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

LAYER int linkat(int from, const char *old, int to, const char *new, int flags)
{
    char old_place[PATH_MAX], new_place[PATH_MAX];
    bool below = place_of(old_place, from, old);
    below = place_of(new_place, to, new) && below;
    if (below && fails(true))
        return -1;
    int e = REAL(linkat)(from, old, to, new, flags);
    if (e == 0 && below)
        tell((struct call){.what = CALL_LINK, .path = old_place, .to = new_place, .fd = -1});
    return e;
}

LAYER int link(const char *old, const char *new)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

LAYER int unlinkat(int folder, const char *path, int flags)
{
    char place[PATH_MAX];
    bool below = place_of(place, folder, path);
    if (below && fails(false))
        return -1;
    int e = REAL(unlinkat)(folder, path, flags);
    if (e == 0 && below)
        tell((struct call){
            .what = flags & AT_REMOVEDIR ? CALL_RMDIR : CALL_UNLINK, .path = place, .fd = -1});
    return e;
}

LAYER int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

LAYER int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

LAYER int mkdirat(int folder, const char *path, mode_t mode)
{
    char place[PATH_MAX];
    bool below = place_of(place, folder, path);
    if (below && fails(true))
        return -1;
    int e = REAL(mkdirat)(folder, path, mode);
    if (e == 0 && below)
        tell((struct call){.what = CALL_MKDIR, .path = place, .fd = -1});
    return e;
}

LAYER int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

// --- time

static int put_clock_on(const struct timespec *wanted)
{
    layer.slept_ns += wanted->tv_sec * 1000000000LL + wanted->tv_nsec;
    return 0;
}

LAYER int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    (void)left;
    return put_clock_on(wanted);
}

LAYER int usleep(useconds_t us)
{
    return put_clock_on(&(struct timespec){us / 1000000, us % 1000000 * 1000L});
}

LAYER unsigned int sleep(unsigned int s)
{
    return (unsigned)put_clock_on(&(struct timespec){.tv_sec = s});
}

LAYER int clock_gettime(clockid_t clock, struct timespec *ret)
{
    int e = REAL(clock_gettime)(clock, ret);
    int64_t ns = ret->tv_nsec + layer.slept_ns;
    if (e == 0 && clock == CLOCK_MONOTONIC) {
        ret->tv_sec += ns / 1000000000;
        ret->tv_nsec = ns % 1000000000;
    }
    return e;
}

// --- memory

#if CALLS_HAVE_MEMORY
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static bool memory_fails(void)
{
    if (layer.fault != FAULT_MEMORY || !due())
        return false;
    errno = ENOMEM;
    return true;
}

LAYER void *malloc(size_t size)
{
    return memory_fails() ? NULL : __libc_malloc(size);
}

LAYER void *calloc(size_t n, size_t size)
{
    return memory_fails() ? NULL : __libc_calloc(n, size);
}

LAYER void *realloc(void *p, size_t size)
{
    return memory_fails() ? NULL : __libc_realloc(p, size);
}
#endif

// --- SQLite

// True: the statement is to fail before it does anything.
static bool statement_fails(sqlite3 *db)
{
    layer.sql_error = SQLITE_OK;
    if (layer.executing || (layer.fault != FAULT_LOCKED && layer.fault != FAULT_TABLES) || !due())
        return false;
    if (layer.fault == FAULT_TABLES && !sqlite3_get_autocommit(db)) {
        layer.executing = true;
        REAL(sqlite3_exec)(db, "ROLLBACK", NULL, NULL, NULL);
        layer.executing = false;
    }
    layer.sql_error = layer.fault == FAULT_LOCKED ? SQLITE_BUSY : SQLITE_FULL;
    return true;
}

LAYER int sqlite3_step(sqlite3_stmt *q)
{
    return statement_fails(sqlite3_db_handle(q)) ? layer.sql_error : REAL(sqlite3_step)(q);
}

LAYER int sqlite3_exec(sqlite3 *db, const char *sql, sqlite3_callback each, void *opaque,
                       char **ret_error)
{
    // What gives up a transaction always works. SQLite calls it itself, without a text where it had
    // no memory for one.
    if ((!sql || strcmp(sql, "ROLLBACK") != 0) && statement_fails(db))
        return layer.sql_error;
    bool before = layer.executing;
    layer.executing = true;
    int e = REAL(sqlite3_exec)(db, sql, each, opaque, ret_error);
    layer.executing = before;
    return e;
}

LAYER int sqlite3_extended_errcode(sqlite3 *db)
{
    return layer.sql_error ? layer.sql_error : REAL(sqlite3_extended_errcode)(db);
}

LAYER int sqlite3_errcode(sqlite3 *db)
{
    return layer.sql_error ? layer.sql_error : REAL(sqlite3_errcode)(db);
}

LAYER const char *sqlite3_errmsg(sqlite3 *db)
{
    return layer.sql_error ? sqlite3_errstr(layer.sql_error) : REAL(sqlite3_errmsg)(db);
}
