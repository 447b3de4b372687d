#include "base/port.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE_LISTEN 0x0A // of /proc/net/tcp, see proc(5) and the kernel's tcp_states.h

// The inode of a socket that listens on port, 0 if none. table: /proc/net/tcp or tcp6.
static unsigned long listening_inode(const char *table, int port)
{
    FILE *f = fopen(table, "re");
    char line[512];
    unsigned long found = 0;
    while (f && !found && fgets(line, sizeof(line), f)) {
        unsigned local, state;
        unsigned long inode;
        // "sl local:port remote:port st tx:rx tr:when retrnsmt uid timeout inode"
        if (sscanf(line, " %*u: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu",
                   &local, &state, &inode) == 3 &&
            (int)local == port && state == STATE_LISTEN)
            found = inode;
    }
    if (f)
        fclose(f);
    return found;
}

static bool process_has(const char *pid, const char *wanted)
{
    CLEANUP(kb_freep) char *folder = kb_printf("/proc/%s/fd", pid);
    DIR *d = opendir(folder);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        char target[64];
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
        target[KB_MAX(n, 0)] = '\0';
        found = strcmp(target, wanted) == 0;
    }
    if (d)
        closedir(d);
    return found;
}

static void name_process(const char *pid, char ret[128])
{
    CLEANUP(kb_freep) char *path = kb_printf("/proc/%s/comm", pid);
    char name[64] = "?";
    FILE *f = fopen(path, "re");
    if (f && fgets(name, sizeof(name), f))
        name[strcspn(name, "\n")] = '\0';
    if (f)
        fclose(f);
    snprintf(ret, 128, _("%s (process %s)"), name, pid);
}

bool port_owner(int port, char ret[128])
{
    unsigned long inode = listening_inode("/proc/net/tcp", port);
    if (!inode)
        inode = listening_inode("/proc/net/tcp6", port);
    if (!inode)
        return false;
    snprintf(ret, 128, "%s", _("another user's program"));
    CLEANUP(kb_freep) char *wanted = kb_printf("socket:[%lu]", inode);
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        if (isdigit((unsigned char)e->d_name[0]) && process_has(e->d_name, wanted)) {
            name_process(e->d_name, ret);
            break;
        }
    }
    if (d)
        closedir(d);
    return true;
}
