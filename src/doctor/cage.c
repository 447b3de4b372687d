// What keeps a video that takes its worker over from going further: what of the cage the kernel
// offers, and whether the server that runs uses it.
#include "doctor/internal.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Does the running server's command line say --no-sandbox? Its arguments end in a NUL each.
static bool goes_without(const struct doctor *d)
{
    static const char wanted[] = "--no-sandbox";
    char url[256], arguments[8192];
    long pid;
    if (!doctor_server_running(d, &pid, url))
        return false;
    CLEANUP(kb_freep) char *path = kb_printf("/proc/%ld/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, arguments, sizeof(arguments)) : 0;
    if (fd >= 0)
        close(fd);
    return n > 0 && memmem(arguments, (size_t)n, wanted, sizeof(wanted));
}

void doctor_look_at_cage(struct doctor *d)
{
    long landlock =
        syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    bool seccomp = prctl(PR_GET_SECCOMP) >= 0;
    bool whole = landlock > 0 && seccomp;
    if (goes_without(d))
        doctor_add(d, "cage", _("workers' cage"), FINDING_WARNING,
                   _("start the server without --no-sandbox; that is for looking for faults"), "%s",
                   _("the server runs with --no-sandbox: a video that takes its worker over can do "
                     "what its user can"));
    else
        doctor_add(d, "cage", _("workers' cage"), whole ? FINDING_OK : FINDING_WARNING,
                   whole ? NULL
                         : _("videos from strangers are decoded with less protection here; use a "
                             "kernel of 5.13 or newer with Landlock and seccomp"),
                   _("no network, only listed system calls: %s; no other files: %s"),
                   seccomp ? _("yes") : _("no"), landlock > 0 ? _("yes") : _("no"));
}
