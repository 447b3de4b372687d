// A library to be loaded before all others (LD_PRELOAD) into the programs of a test: the system's
// clock goes wrong by so many seconds, and the disk is full, whenever the first 16 bytes of the
// file $KOUBO_WEATHER say so: two numbers of 64 bits, seconds and full (0 or 1). Needs no root and
// leaves the machine's own clock and disk alone; the monotonic clock goes on as it does for a jump
// of the real one.
#undef _FILE_OFFSET_BITS // both names of each call are made here, whichever a program uses
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct weather {
    int64_t offset_s, full;
};

#define VISIBLE __attribute__((visibility("default")))

static const struct weather fair;
static const volatile struct weather *weather = &fair;

// Before main, so before a worker's cage.
__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("KOUBO_WEATHER");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct weather), PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED)
        weather = mapped;
    if (fd >= 0)
        close(fd);
}

// --- the clock

VISIBLE int clock_gettime(clockid_t id, struct timespec *ret)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(id, ret);
    if (code == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ret->tv_sec += weather->offset_s;
    return code;
}

VISIBLE int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;
    int code = clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return code;
}

VISIBLE time_t time(time_t *ret)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}

// --- the disk: of what goes to files nothing gets there, pipes and sockets are as ever

static int refuses(int fd)
{
    struct stat st;
    if (!weather->full || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return 0;
    errno = ENOSPC;
    return 1;
}

VISIBLE ssize_t write(int fd, const void *data, size_t n)
{
    return refuses(fd) ? -1 : syscall(SYS_write, fd, data, n);
}

VISIBLE ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return refuses(fd) ? -1 : syscall(SYS_writev, fd, parts, n);
}

VISIBLE ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    return refuses(fd) ? -1 : syscall(SYS_pwrite64, fd, data, n, at);
}

VISIBLE ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
    return pwrite(fd, data, n, at);
}

VISIBLE int fallocate(int fd, int mode, off_t at, off_t n)
{
    return refuses(fd) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, n);
}

VISIBLE int fallocate64(int fd, int mode, off64_t at, off64_t n)
{
    return fallocate(fd, mode, at, n);
}

VISIBLE int posix_fallocate(int fd, off_t at, off_t n)
{
    return refuses(fd) || syscall(SYS_fallocate, fd, 0, at, n) != 0 ? errno : 0;
}

VISIBLE int posix_fallocate64(int fd, off64_t at, off64_t n)
{
    return posix_fallocate(fd, at, n);
}

VISIBLE int statvfs64(const char *restrict path, struct statvfs64 *restrict ret)
{
    static int (*real)(const char *, struct statvfs64 *);
    if (!real)
        real = (int (*)(const char *, struct statvfs64 *))dlsym(RTLD_NEXT, "statvfs64");
    int code = real(path, ret);
    if (code == 0 && weather->full)
        ret->f_bavail = ret->f_bfree = 0;
    return code;
}
