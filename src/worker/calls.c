// An allow-list: what is not here is refused, calls of later kernels too. It was found by running
// the suites of the workers with KOUBO_CAGE=tell on Debian 12 and reading what glibc 2.31 to 2.41
// call on x86-64 and aarch64; a call is listed with its older and newer forms.
#include "worker/calls.h"

#include "base/base.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

static const int allowed[] = {
    // memory
    SCMP_SYS(brk),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect), // the engine makes machine code
    SCMP_SYS(madvise),
    SCMP_SYS(memfd_create),
    SCMP_SYS(membarrier),
    // threads and their waiting
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(get_robust_list),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(rseq),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(gettid),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(sched_get_priority_min),
    SCMP_SYS(sched_get_priority_max),
    SCMP_SYS(getcpu),
    SCMP_SYS(getpriority),
    SCMP_SYS(get_mempolicy), // x265 spreads its threads and their memory over a large machine
    SCMP_SYS(set_mempolicy),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall),
    // signals of its own
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    // who, when, how much
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrandom),
    SCMP_SYS(getrusage),
    SCMP_SYS(getrlimit),
    SCMP_SYS(setrlimit),
    SCMP_SYS(times),
    SCMP_SYS(time),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    // open files
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(preadv),
    SCMP_SYS(preadv2),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev),
    SCMP_SYS(pwritev2),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(recvfrom), // from the socket that it was started with; there are no others
    // files by name: which, Landlock says
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd),
    SCMP_SYS(getdents),
    SCMP_SYS(getdents64),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(utimensat),
    SCMP_SYS(umask),
};

// Allowed with these values of an argument alone; of equal calls one must fit.
static const struct {
    int call;
    unsigned argument;
    uint32_t mask, value;
} narrowed[] = {
    // Emptying a file takes the right to write into it, also where Landlock is too old (before 6.2)
    // to see that of files opened for reading.
    {SCMP_SYS(open), 1, O_TRUNC, 0},
    {SCMP_SYS(open), 1, O_TRUNC | O_ACCMODE, O_TRUNC | O_WRONLY},
    {SCMP_SYS(open), 1, O_TRUNC | O_ACCMODE, O_TRUNC | O_RDWR},
    {SCMP_SYS(openat), 2, O_TRUNC, 0},
    {SCMP_SYS(openat), 2, O_TRUNC | O_ACCMODE, O_TRUNC | O_WRONLY},
    {SCMP_SYS(openat), 2, O_TRUNC | O_ACCMODE, O_TRUNC | O_RDWR},
    // Threads, not processes. clone3() hides its flags from us and is ENOSYS: glibc then takes
    // this.
    {SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD},
    // Names of threads and of memory.
    {SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME},
    {SCMP_SYS(prctl), 0, UINT32_MAX, PR_GET_NAME},
    {SCMP_SYS(prctl), 0, UINT32_MAX, 0x53564d41}, // PR_SET_VMA, newer than Debian 12's header
    // Not F_SETOWN and F_SETSIG, which have the kernel send signals to others.
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_DUPFD},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_DUPFD_CLOEXEC},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFD},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFD},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFL},
    {SCMP_SYS(fcntl), 1, UINT32_MAX, F_SETFL},
    // Is it a terminal? What can be read? Copies that share blocks. No typing into terminals.
    {SCMP_SYS(ioctl), 1, UINT32_MAX, TCGETS},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, TIOCGWINSZ},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FIONREAD},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, FICLONE},
    // Processors of its own threads, limits of its own process.
    {SCMP_SYS(sched_setaffinity), 0, UINT32_MAX, 0},
    {SCMP_SYS(prlimit64), 0, UINT32_MAX, 0},
};

// Libraries try these and have another way. Not told either: clone3() is called with all signals
// blocked, where the one that tells would end the process.
static const int unknown[] = {SCMP_SYS(clone3), SCMP_SYS(openat2), SCMP_SYS(io_uring_setup)};

// Numbers of calls are the same everywhere from here on; what this kernel's libraries do not know
// yet is to them a call that this kernel lacks.
#define NEWER_FROM 450
#define NEWER_TO   599

// --- telling what was refused

static char names[NEWER_TO + 1][24];

static void tell(int number, siginfo_t *info, void *context)
{
    int call = info->si_syscall;
    char line[96];
    const char *name = call >= 0 && call <= NEWER_TO && names[call][0] ? names[call] : "?";
    int n = snprintf(line, sizeof(line), "koubo: the cage refused %s (%d)\n", name, call);
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
    (void)ignored, (void)number;
    ucontext_t *c = context;
#if defined(__x86_64__)
    c->uc_mcontext.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
    c->uc_mcontext.regs[0] = (unsigned long long)-EPERM;
#endif
}

// The names are looked up before: that takes memory, which a signal's handler must not.
static bool tell_refusals(void)
{
    for (int i = 0; i <= NEWER_TO; i++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
        snprintf(names[i], sizeof(names[i]), "%s", name ? name : "");
        free(name);
    }
    struct sigaction act = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO | SA_NODEFER};
    return sigaction(SIGSYS, &act, NULL) == 0;
}

// --- the filter

// A call that this processor never had has a negative number here; it needs no rule.
static bool add(scmp_filter_ctx filter, uint32_t action, int call)
{
    return call < 0 || seccomp_rule_add(filter, action, call, 0) == 0;
}

static bool fill(scmp_filter_ctx filter)
{
    bool ok = true;
    for (size_t i = 0; ok && i < ARRAY_LEN(allowed); i++)
        ok = add(filter, SCMP_ACT_ALLOW, allowed[i]);
    for (size_t i = 0; ok && i < ARRAY_LEN(narrowed); i++)
        ok = narrowed[i].call < 0 ||
             seccomp_rule_add(filter, SCMP_ACT_ALLOW, narrowed[i].call, 1,
                              SCMP_CMP(narrowed[i].argument, SCMP_CMP_MASKED_EQ, narrowed[i].mask,
                                       narrowed[i].value)) == 0;
    // abort() signals its own thread; nobody else's.
    ok = ok && seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                                SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())) == 0;
    // Encoders let some of their threads wait for others.
    ok = ok && seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setpriority), 2,
                                SCMP_A0(SCMP_CMP_EQ, PRIO_PROCESS), SCMP_A1(SCMP_CMP_EQ, 0)) == 0;
    // send() on the socket that it has, and to no address.
    ok = ok && seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1,
                                SCMP_A4(SCMP_CMP_EQ, 0)) == 0;
    for (size_t i = 0; ok && i < ARRAY_LEN(unknown); i++)
        ok = add(filter, SCMP_ACT_ERRNO(ENOSYS), unknown[i]);
    for (int i = NEWER_FROM; ok && i <= NEWER_TO; i++)
        ok = add(filter, SCMP_ACT_ERRNO(ENOSYS), i);
    return ok;
}

bool calls_confine(void)
{
    const char *wish = getenv("KOUBO_CAGE");
    bool telling = wish && strcmp(wish, "tell") == 0 && tell_refusals();
    scmp_filter_ctx filter = seccomp_init(telling ? SCMP_ACT_TRAP : SCMP_ACT_ERRNO(EPERM));
    bool ok = filter && seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) == 0 &&
              fill(filter) && seccomp_load(filter) == 0;
    seccomp_release(filter);
    return ok;
}
