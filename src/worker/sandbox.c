// The cage of a worker: Landlock says what it may write, seccomp what it may ask of the kernel.
//
// Landlock is used by system call (glibc has no wrapper); its rights grew with the kernel, so each
// is asked for only where the kernel knows it. See landlock(7) and
// https://docs.kernel.org/userspace-api/landlock.html.
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Newer than Debian 12's header.
#define RIGHT_REFER    (1ULL << 13) // version 2
#define RIGHT_TRUNCATE (1ULL << 14) // version 3
#define NET_BIND_TCP   (1ULL << 0)  // version 4
#define NET_CONNECT    (1ULL << 1)

// Newer than Debian 12's libseccomp; the same number everywhere.
#define FCHMODAT2 452

struct ruleset {
    uint64_t fs, net;
};

#define WRITING                                                                                    \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                               \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |   \
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
    bool ok = allow(fd, data, writing) && allow(fd, "/dev/null", device) &&
              syscall(SYS_landlock_restrict_self, fd, 0) == 0;
    int saved = errno;
    close(fd);
    errno = saved;
    return ok;
}

// Calls that reach other machines, other processes or the machine's set-up, or change files by
// path in ways that Landlock does not watch.
static const int refused[] = {
    SCMP_SYS(socket),
    SCMP_SYS(socketpair),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(process_madvise),
    SCMP_SYS(rt_sigqueueinfo),
    SCMP_SYS(rt_tgsigqueueinfo),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(kill),
    SCMP_SYS(tkill),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(reboot),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(syslog),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    FCHMODAT2,
    SCMP_SYS(chown),
    SCMP_SYS(fchown),
    SCMP_SYS(lchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(setxattr),
    SCMP_SYS(lsetxattr),
    SCMP_SYS(fsetxattr),
    SCMP_SYS(removexattr),
    SCMP_SYS(lremovexattr),
    SCMP_SYS(fremovexattr),
};

static bool confine_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    bool ok = filter != NULL;
    for (size_t i = 0; ok && i < ARRAY_LEN(refused); i++)
        ok = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0) == 0;
    // abort() signals its own thread; nobody else's.
    ok = ok && seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(tgkill), 1,
                                SCMP_A0(SCMP_CMP_NE, (scmp_datum_t)getpid())) == 0;
    // Limits of other processes; its own are read and raised by limits.c.
    ok = ok && seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 1,
                                SCMP_A0(SCMP_CMP_NE, 0)) == 0;
    // Typing into the terminal that the server was started from.
    ok = ok && seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCSTI)) == 0;
    ok = ok && seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCLINUX)) == 0;
    ok = ok && seccomp_load(filter) == 0;
    seccomp_release(filter);
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
    if (!confine_calls())
        snprintf(ret_missing + strlen(ret_missing), 200 - strlen(ret_missing), "%sseccomp",
                 ret_missing[0] ? ", " : "");
    return KB_OK;
}
