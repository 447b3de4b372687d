// The cage of a worker: Landlock says what it may write, seccomp (calls.c) what it may ask of the
// kernel.
//
// Landlock is used by system call (glibc has no wrapper); its rights grew with the kernel, so each
// is asked for only where the kernel knows it. See landlock(7) and
// https://docs.kernel.org/userspace-api/landlock.html.
#include "worker/sandbox.h"

#include "worker/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
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

#define WRITING                                                                                    \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                               \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |   \
     LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)
// Nothing in its folder that leads elsewhere: links, sockets, devices.
#define NOWHERE                                                                                    \
    (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |  \
     LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

static bool allow(int ruleset, const char *path, uint64_t rights)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access = rights,
        .parent_fd = open(path, O_PATH | O_CLOEXEC),
    };
    bool ok = rule.parent_fd >= 0 &&
              syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
    if (rule.parent_fd >= 0)
        close(rule.parent_fd);
    return ok;
}

// False with errno 0 where the kernel has no Landlock.
static bool confine_files(const char *data)
{
    long version =
        syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        errno = 0;
        return false;
    }
    uint64_t writing = WRITING;
    writing |= version >= 2 ? RIGHT_REFER : 0;
    writing |= version >= 3 ? RIGHT_TRUNCATE : 0;
    struct ruleset rules = {.fs = writing | LANDLOCK_ACCESS_FS_EXECUTE,
                            .net = NET_BIND_TCP | NET_CONNECT};
    size_t size = version >= 4 ? sizeof(rules) : sizeof(rules.fs);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    if (fd < 0)
        return false;
    uint64_t device = LANDLOCK_ACCESS_FS_WRITE_FILE | (version >= 3 ? RIGHT_TRUNCATE : 0);
    bool ok = allow(fd, data, writing & ~(uint64_t)NOWHERE) && allow(fd, "/dev/null", device) &&
              syscall(SYS_landlock_restrict_self, fd, 0) == 0;
    int saved = errno;
    close(fd);
    errno = saved;
    return ok;
}

enum kb_code sandbox_enter(const char *data, char ret_missing[200], struct kb_error *err)
{
    ret_missing[0] = '\0';
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return kb_fail(err, KB_UNAVAILABLE, _("the worker cannot give up its privileges: %s"),
                       kb_strerror(errno));
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // no core files of users' videos
    if (!confine_files(data)) {
        if (errno)
            return kb_fail(
                err, KB_UNAVAILABLE,
                _("the worker cannot be confined to '%s': %s; --no-sandbox goes without"), data,
                kb_strerror(errno));
        snprintf(ret_missing, 200, "Landlock");
    }
    if (!calls_confine())
        snprintf(ret_missing + strlen(ret_missing), 200 - strlen(ret_missing), "%sseccomp",
                 ret_missing[0] ? ", " : "");
    return KB_OK;
}
