// The cage of a worker: Landlock says what it may read and write, seccomp (calls.c) what it may ask
// of the kernel.
//
// Landlock is used by system call (glibc has no wrapper); its rights grew with the kernel, so each
// is asked for only where the kernel knows it. See landlock(7) and
// https://docs.kernel.org/userspace-api/landlock.html.
#include "worker/sandbox.h"

#include "base/file.h"
#include "worker/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// Newer than Debian 12's header.
#define RIGHT_REFER    (1ULL << 13) // version 2
#define RIGHT_TRUNCATE (1ULL << 14) // version 3
#define NET_BIND_TCP   (1ULL << 0)  // version 4
#define NET_CONNECT    (1ULL << 1)

struct ruleset {
    uint64_t fs, net;
};

#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
// In its own folder: no links, no folders, nothing but files.
#define WRITING                                                                                    \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG)
#define NOWHERE                                                                                    \
    (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |  \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | \
     LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_EXECUTE)

// What libraries read after the cage has closed: code and data that are loaded late (character
// sets, espeak-ng's voices, translations), the time zone, how many processors there are and what
// they can, and of processes the own one. Not /etc as a whole (passwd), no home, no other process.
static const char *const libraries[] = {
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/fonts",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm",
    "/sys/devices/system",
    "/sys/fs/cgroup",
};

void sandbox_add(struct sandbox_paths *p, const char *path)
{
    char **grown = reallocarray(p->list, (size_t)p->n + 1, sizeof(*grown));
    if (!grown)
        return; // then it cannot be read, and who reads it says so
    p->list = grown;
    p->list[p->n++] = kb_strdup(path);
}

void sandbox_paths_free(struct sandbox_paths *p)
{
    for (int i = 0; i < p->n; i++)
        free(p->list[i]);
    free(p->list);
    *p = (struct sandbox_paths){0};
}

// What is not there cannot be allowed and need not be.
static bool allow(int ruleset, const char *path, uint64_t rights)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access = rights,
        .parent_fd = open(path, O_PATH | O_CLOEXEC),
    };
    struct stat st;
    if (rule.parent_fd < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR;
    if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode)) // only folders are listed
        rule.allowed_access &= ~(uint64_t)LANDLOCK_ACCESS_FS_READ_DIR;
    bool ok = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
    int saved = errno;
    close(rule.parent_fd);
    errno = saved;
    return ok;
}

// False with errno 0 where the kernel has no Landlock.
static bool confine_files(const char *writes, const struct sandbox_paths *reads)
{
    long version =
        syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        errno = 0;
        return false;
    }
    uint64_t truncate = version >= 3 ? RIGHT_TRUNCATE : 0;
    struct ruleset rules = {.fs = READING | WRITING | NOWHERE | truncate |
                                  (version >= 2 ? RIGHT_REFER : 0),
                            .net = NET_BIND_TCP | NET_CONNECT};
    size_t size = version >= 4 ? sizeof(rules) : sizeof(rules.fs);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    if (fd < 0)
        return false;
    bool ok =
        (!writes || (file_is_dir(writes) && allow(fd, writes, READING | WRITING | truncate))) &&
        allow(fd, "/dev/null",
              LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | truncate);
    for (size_t i = 0; ok && i < ARRAY_LEN(libraries); i++)
        ok = allow(fd, libraries[i], READING);
    const char *translations = bindtextdomain("koubo", NULL);
    if (ok && translations)
        ok = allow(fd, translations, READING);
    for (int i = 0; ok && i < reads->n; i++)
        ok = allow(fd, reads->list[i], READING);
    ok = ok && syscall(SYS_landlock_restrict_self, fd, 0) == 0;
    int saved = errno;
    close(fd);
    errno = saved;
    return ok;
}

enum kb_code sandbox_enter(const char *writes, const struct sandbox_paths *reads,
                           char ret_missing[200], struct kb_error *err)
{
    ret_missing[0] = '\0';
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return kb_fail(err, KB_UNAVAILABLE, _("the worker cannot give up its privileges: %s"),
                       kb_strerror(errno));
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // no core files of users' videos
    if (!confine_files(writes, reads)) {
        if (errno)
            return kb_fail(
                err, KB_UNAVAILABLE,
                _("the worker cannot be confined to '%s': %s; --no-sandbox goes without"),
                writes ? writes : "/dev/null", kb_strerror(errno));
        snprintf(ret_missing, 200, "Landlock");
    }
    if (!calls_confine())
        snprintf(ret_missing + strlen(ret_missing), 200 - strlen(ret_missing), "%sseccomp",
                 ret_missing[0] ? ", " : "");
    return KB_OK;
}
